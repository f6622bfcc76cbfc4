"""The resource tree: segments, methods, routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Resource, Response, Site, WebUsageError, html, json, redirect, text


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def ask(clock: Clock, site: Site, line: str) -> tuple[int, dict[str, str], bytes]:
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    request = f"{line} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode()
    clock.call_soon(transport.receive, request)
    clock.pump()
    head, _, body = transport.take().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(each.split(": ", 1) for each in lines), body


class Shown(Resource):
    """Answers with what it was given."""

    leaf = True

    def render_get(self, request: Request) -> Response:
        return text("|".join(request.segments))


class Person(Resource):
    def __init__(self, name: str) -> None:
        self.name = name

    def render_get(self, request: Request) -> Response:
        return text(f"I am {self.name}")

    async def render_post(self, request: Request) -> Response:
        return text(f"posted to {self.name}")


class People(Resource):
    def get_child(self, name: str, request: Request) -> Resource | None:
        return Person(name) if name else None


def test_a_path_is_walked_segment_by_segment(clock: Clock) -> None:
    site = Site()
    site.put_child("people", People())
    assert ask(clock, site, "GET /people/ann")[2] == b"I am ann"
    assert ask(clock, site, "GET /people/an%20n%2F")[2] == b"I am an n/"
    assert ask(clock, site, "POST /people/ann")[2] == b"posted to ann"
    for path in ("/", "/people", "/people/", "/people/ann/x", "/other", "/people/../people/ann"):
        assert ask(clock, site, f"GET {path}")[0] == (405 if path in ("/people",) else 404), path


def test_a_leaf_gets_the_rest(clock: Clock) -> None:
    site = Site()
    site.put_child("leaf", Shown())
    assert ask(clock, site, "GET /leaf/a/b%20c/?q=1")[2] == b"a|b c|"
    assert ask(clock, site, "GET /leaf")[2] == b""


def test_methods_are_those_that_it_has(clock: Clock) -> None:
    """RFC 9110 §9.3.2, §9.3.7, §15.5.6, §15.6.2."""
    site = Site(People())
    assert ask(clock, site, "HEAD /ann")[2] == b""
    status, headers, _ = ask(clock, site, "OPTIONS /ann")
    assert (status, headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    status, headers, _ = ask(clock, site, "DELETE /ann")
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    assert ask(clock, site, "BREW /ann")[0] == 501
    assert ask(clock, site, "get /ann")[0] == 501
    assert ask(clock, site, "__CLASS__ /ann")[0] == 501
    assert ask(clock, site, "OPTIONS *")[0] == 204
    assert ask(clock, site, "CONNECT example.com:443")[0] == 501


def test_a_route_is_a_function(clock: Clock) -> None:
    site = Site()

    @site.route("/")
    def root(request: Request) -> Response:
        return text(f"{request.host} {request.query}")

    @site.route("/both", methods=("GET", "POST"))
    async def both(request: Request) -> Response:
        return text(request.method)

    assert ask(clock, site, "GET /?a=b&a=c")[2] == b"example.com {'a': ['b', 'c']}"
    assert ask(clock, site, "GET http://example.com")[0] == 200
    assert ask(clock, site, "POST /both")[2] == b"POST"
    status, headers, _ = ask(clock, site, "PUT /both")
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    with pytest.raises(WebUsageError):
        site.route("/")(root)
    with pytest.raises(WebUsageError):
        site.route("no-slash")


def test_too_many_query_fields_are_400(clock: Clock) -> None:
    """HARDENING defaults 16: 1 000 fields."""
    site = Site()

    @site.route("/")
    def root(request: Request) -> Response:
        return text(str(len(request.query)))

    assert ask(clock, site, "GET /?" + "&".join(["a=b"] * 1000))[0] == 200
    assert ask(clock, site, "GET /?" + "&".join(["a=b"] * 1001))[0] == 400


def test_children_have_distinct_names_without_slashes() -> None:
    root = Resource()
    root.put_child("a", Resource())
    for name in ("a", "b/c"):
        with pytest.raises(WebUsageError):
            root.put_child(name, Resource())


def test_the_short_ways_to_a_response() -> None:
    assert text("é").body == "é".encode()
    assert html("<p>", 201).header("Content-Type") == "text/html; charset=utf-8"
    assert json({"a": [1, "é"]}).body == '{"a":[1,"é"]}'.encode()
    assert text("x", headers={"Content-Type": "text/csv"}).headers == [
        (b"content-type", b"text/csv")
    ]
    with pytest.raises(ValueError, match="not JSON compliant"):
        json(float("nan"))
    response = Response(headers=[("A", "b")])
    response.add_header("A", "c")
    response.set_header("D", "e")
    assert response.headers == [(b"a", b"b"), (b"a", b"c"), (b"d", b"e")]


@pytest.mark.parametrize("location", ["/a\r\nX: y", "/a\n", "/\0", "/\x7f"])
def test_a_redirect_cannot_be_split(location: str) -> None:
    """HARDENING h1-15."""
    with pytest.raises(WebUsageError):
        redirect(location)


def test_a_redirect_is_encoded_and_escaped() -> None:
    """HARDENING h1-22."""
    response = redirect('/é"<script>', 303)
    assert response.header("location") == "/%C3%A9%22%3Cscript%3E"
    assert b"<script" not in bytes(_content(response.body))
    with pytest.raises(WebUsageError):
        redirect("/", 200)


def _content(body: Any) -> bytes:
    assert isinstance(body, bytes)
    return body
