"""Patterns with parameters: what they match, how they are told apart, the way back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Limits, Request, Resource, Response, Site, WebUsageError, text
from sennit.web.converters import Converter
from sennit.web.request import decode_segments
from sennit.web.response import HTTPError
from sennit.web.routing import Match, Router, bind, parse_pattern

if TYPE_CHECKING:
    from sennit.web.server import Answer, Handler


def answer(request: Request) -> Response:
    return text("")


def router(*patterns: str, **named: str) -> Router:
    made = Router()
    for pattern in patterns:
        made.add(pattern, answer)
    for name, pattern in named.items():
        made.add(pattern, answer, name=name)
    return made


def led(made: Router, path: str, method: str = "GET") -> Any:
    """The pattern and parameters that a path leads to, or what `match` said instead."""
    found = made.match(decode_segments(path.encode()), method)
    if isinstance(found, Match):
        return found.route.pattern, found.params
    return found


# ── what matches ──────────────────────────────────────────────────────────────


def test_a_parameter_is_converted() -> None:
    made = router("/users/{id:int}/files/{path:path}")
    assert led(made, "/users/7/files/a/b.txt") == (
        "/users/{id:int}/files/{path:path}",
        {"id": 7, "path": "a/b.txt"},
    )


@pytest.mark.parametrize(
    ("kind", "segment", "value"),
    [
        ("str", "Zo%C3%AB", "Zoë"),
        ("str", "a%2Fb", "a/b"),
        ("int", "007", 7),
        ("float", "1.5", 1.5),
        ("float", "2", 2.0),
        (
            "uuid",
            "12345678-1234-5678-1234-567812345678",
            uuid.UUID("12345678123456781234567812345678"),
        ),
        ("path", "a/b/", "a/b/"),
        ("path", "", ""),
    ],
)
def test_kinds_take_what_they_are_of(kind: str, segment: str, value: object) -> None:
    assert led(router(f"/x/{{p:{kind}}}"), f"/x/{segment}")[1] == {"p": value}


@pytest.mark.parametrize(
    ("kind", "segment"),
    [
        ("str", ""),
        ("int", "-1"),
        ("int", "+1"),
        ("int", "1_0"),
        ("int", "0x1"),
        ("int", "1" * 19),
        ("int", "%D9%A1"),
        ("int", "1.0"),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "1e5"),
        ("float", ".5"),
        ("float", "1."),
        ("uuid", "{12345678-1234-5678-1234-567812345678}"),
        ("uuid", "12345678123456781234567812345678"),
        ("path", "a%2Fb"),
        ("path", "../etc/passwd"),
        ("path", "a/%2e%2e/b"),
        ("path", "./a"),
    ],
)
def test_what_cannot_be_converted_leads_nowhere(kind: str, segment: str) -> None:
    """HARDENING, defaults 8: digits only, at most 18."""
    assert led(router(f"/x/{{p:{kind}}}"), f"/x/{segment}") is None


def test_an_encoded_slash_stays_inside_its_segment() -> None:
    made = router("/a/{x}", "/a/{x}/c")
    assert led(made, "/a/b%2Fc") == ("/a/{x}", {"x": "b/c"})


def test_the_end_counts() -> None:
    made = router("/a", "/b/")
    assert led(made, "/a/") is None
    assert led(made, "/b") is None
    assert led(made, "/b/") == ("/b/", {})


def test_a_fixed_name_comes_before_a_parameter_and_a_picky_kind_before_others() -> None:
    made = router("/u/{x:path}", "/u/{x}", "/u/{x:float}", "/u/{x:int}", "/u/me")
    assert led(made, "/u/me") == ("/u/me", {})
    assert led(made, "/u/1") == ("/u/{x:int}", {"x": 1})
    assert led(made, "/u/1.5") == ("/u/{x:float}", {"x": 1.5})
    assert led(made, "/u/you") == ("/u/{x}", {"x": "you"})
    assert led(made, "/u/you/too") == ("/u/{x:path}", {"x": "you/too"})


def test_a_way_that_ends_nowhere_is_gone_back() -> None:
    made = router("/a/b/c", "/{x}/b/d", "/a/{y}/e", "/{rest:path}")
    assert led(made, "/a/b/d") == ("/{x}/b/d", {"x": "a"})
    assert led(made, "/a/b/e") == ("/a/{y}/e", {"y": "b"})
    assert led(made, "/a/b/f") == ("/{rest:path}", {"rest": "a/b/f"})


def test_fixed_names_are_decoded_too() -> None:
    made = router("/caf%C3%A9", "/thé")
    assert led(made, "/caf%c3%a9")[0] == "/caf%C3%A9"
    assert led(made, "/th%C3%A9")[0] == "/thé"


# ── methods ───────────────────────────────────────────────────────────────────


def test_methods_are_told_apart_and_told_of() -> None:
    made = Router()
    made.add("/u/{id:int}", answer, ("GET",))
    made.add("/u/{id:int}", answer, ("PUT", "DELETE"))
    assert led(made, "/u/1", "PUT")[1] == {"id": 1}
    assert led(made, "/u/1", "HEAD")[1] == {"id": 1}
    assert led(made, "/u/1", "POST") == {"GET", "HEAD", "PUT", "DELETE"}
    assert led(made, "/u/x", "POST") is None


def test_the_next_pattern_may_have_the_method() -> None:
    made = Router()
    made.add("/u/me", answer, ("GET",))
    made.add("/u/{name}", answer, ("DELETE",))
    assert led(made, "/u/me", "DELETE") == ("/u/{name}", {"name": "me"})
    assert led(made, "/u/me", "POST") == {"GET", "HEAD", "DELETE"}


@pytest.mark.parametrize("first", ["HEAD", "GET"])
def test_head_may_have_an_answer_of_its_own(first: str) -> None:
    made = Router()
    methods = (first, {"HEAD": "GET", "GET": "HEAD"}[first])
    for method in methods:
        made.add("/a", answer, (method,), name=method)
    found = made.match(["a"], "HEAD")
    assert isinstance(found, Match)
    assert found.route.name == "HEAD"


# ── what is refused ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "pattern",
    [
        *("a", "", "/{id:nonsense}", "/a{id}", "/{id}b", "/{1}"),
        *("/{a}/{a}", "/{p:path}/x", "/a?b", "/%zz"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(WebUsageError):
        router(pattern)


@pytest.mark.parametrize(
    ("one", "other"),
    [("/a", "/a"), ("/{x}", "/{y}"), ("/a/{x:int}/b", "/a/{y:int}/b"), ("/é", "/%C3%A9")],
)
def test_conflicts_are_refused_when_they_are_made(one: str, other: str) -> None:
    with pytest.raises(WebUsageError, match="already"):
        router(one, other)
    with pytest.raises(WebUsageError, match="already"):
        router(a="/x").add("/y", answer, name="a")


# ── the way back ──────────────────────────────────────────────────────────────


def test_a_named_route_tells_its_path() -> None:
    made = router(user="/users/{id:int}", file="/files/{path:path}", price="/price/{of:float}")
    assert made.url_for("user", id=7) == "/users/7"
    assert made.url_for("file", path="a b/ü?.txt") == "/files/a%20b/%C3%BC%3F.txt"
    assert made.url_for("price", of=1.5) == "/price/1.5"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("nobody", {}),
        ("user", {}),
        ("user", {"id": 1, "more": 2}),
        ("user", {"id": -1}),
        ("user", {"id": "x"}),
        ("file", {"path": "../x"}),
        ("word", {"w": ""}),
        ("word", {"w": ".."}),
        ("word", {"w": "\0"}),
    ],
)
def test_a_path_that_would_not_lead_back_is_refused(name: str, params: Any) -> None:
    made = router(user="/users/{id:int}", file="/files/{path:path}", word="/w/{w}")
    with pytest.raises(WebUsageError):
        made.url_for(name, **params)


@given(
    st.text(min_size=1, max_size=20).filter(
        lambda each: each not in (".", "..") and "\0" not in each
    ),
    st.integers(0, 10**18 - 1),
)
def test_every_path_leads_back(word: str, number: int) -> None:
    made = router(it="/a/{word}/{number:int}")
    try:
        word.encode()
    except UnicodeEncodeError:
        return
    path = made.url_for("it", word=word, number=number)
    assert led(made, path)[1] == {"word": word, "number": number}


@given(st.binary(max_size=60))
def test_no_path_makes_the_router_raise(octets: bytes) -> None:
    made = router("/a/{x:int}/{y:path}", "/{z}", "/a/{u:uuid}", "/a/{f:float}/b")
    try:
        segments = decode_segments(b"/" + octets)
    except HTTPError as error:
        assert error.status == 404  # noqa: PT017 - others are fine, too
        return
    made.match(segments, "GET")


# ── growing ───────────────────────────────────────────────────────────────────


def test_a_kind_may_be_added() -> None:
    made = Router()
    made.add_converter("hex", Converter(lambda word: int(word, 16), "{:x}".format, rank=5))
    made.add("/c/{colour:hex}", answer, name="colour")
    assert led(made, "/c/ff")[1] == {"colour": 255}
    assert made.url_for("colour", colour=255) == "/c/ff"
    with pytest.raises(WebUsageError):
        made.add_converter("int", Converter(int))


def test_a_router_is_mounted_below_a_prefix_with_what_it_gets_later() -> None:
    inner, made = Router(), Router()
    inner.add("/{id:int}", answer, name="one")
    made.mount("/users/{who}/posts", inner, name="posts")
    inner.add("/", answer, name="all")
    assert led(made, "/users/ann/posts/3")[1] == {"who": "ann", "id": 3}
    assert led(made, "/users/ann/posts/")[1] == {"who": "ann"}
    assert made.url_for("posts.all", who="ann") == "/users/ann/posts/"
    with pytest.raises(WebUsageError):
        made.mount("/users/{name}/posts", inner)
    with pytest.raises(WebUsageError):
        made.mount("/x", made)


def test_a_mounted_handler_is_left_the_rest() -> None:
    made = Router()
    made.add("/files/{of}", answer, None, mounted=True)
    made.add("/files/{of}/index", answer)
    found = made.match(["files", "ann", "a", "b"], "PUT")
    assert isinstance(found, Match)
    assert (found.params, found.rest) == ({"of": "ann"}, ["a", "b"])
    exact = made.match(["files", "ann", "index"], "GET")
    assert isinstance(exact, Match)
    assert exact.route.pattern == "/files/{of}/index"


def test_functions_ask_for_parameters_by_name() -> None:
    def asking(request: Request, id: int, more: str = "x") -> Response:  # noqa: A002 - the user's name
        return text("")

    def all_of_them(request: Request, **params: object) -> Response:
        return text("")

    assert bind(answer, ["id"]) is answer
    bound: list[object] = [bind(asking, ["id"]), bind(all_of_them, ["id"])]
    assert asking not in bound
    assert all_of_them not in bound
    with pytest.raises(WebUsageError, match="'id'"):
        bind(asking, ["name"])


# ── cost ──────────────────────────────────────────────────────────────────────


def cost(made: Router, path: str) -> float:
    segments = decode_segments(path.encode())
    best = 1.0
    for _ in range(7):
        begun = time.process_time()
        for _ in range(300):
            made.match(segments, "GET")
        best = min(best, time.process_time() - begun)
    return best


def test_the_number_of_fixed_routes_costs_nothing() -> None:
    few = router("/api/users/{id:int}/files", "/api/a/{x}")
    many = router("/api/users/{id:int}/files", *(f"/api/n{n}/{{x}}" for n in range(5000)))
    assert cost(many, "/api/users/7/files") < 3 * cost(few, "/api/users/7/files")


def test_long_paths_cost_linear_time() -> None:
    made = router("/{a:path}", "/x/{b}/{c:path}")
    short, long = cost(made, "/x" * 100), cost(made, "/x" * 800)
    assert long < 24 * short  # eight times as much, or sixty-four


def test_patterns_are_parsed_once_and_plainly() -> None:
    assert parse_pattern("/a/{b:int}/") == ("a", ("b", "int"), "")


# ── a site ────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def ask(
    clock: Clock, site: Site, line: str, body: bytes = b"", more: str = ""
) -> tuple[int, dict[str, str], bytes]:
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{line} HTTP/1.1\r\nHost: example.com\r\n{length}{more}\r\n".encode()
    clock.call_soon(transport.receive, head + body)
    clock.pump()
    answer_head, _, content = transport.take().partition(b"\r\n\r\n")
    first, *lines = answer_head.decode().split("\r\n")
    return int(first.split()[1]), dict(each.split(": ", 1) for each in lines), content


def test_a_site_gives_parameters_to_who_asks_for_them(clock: Clock) -> None:
    site = Site()

    @site.route("/users/{id:int}/{rest:path}", name="user")
    async def user(request: Request, id: int, *, rest: str) -> Response:  # noqa: A002 - the path's
        return text(f"{id + 1} {rest} {request.params}")

    @site.route("/users/me")
    def me(request: Request) -> Response:
        return text("it is me")

    expected = b"8 a/b {'id': 7, 'rest': 'a/b'}"
    assert ask(clock, site, "GET /users/7/a/b?c=d")[2] == expected
    assert ask(clock, site, "GET /users/me?a")[2] == b"it is me"
    assert ask(clock, site, "GET /users/m%65")[2] == b"it is me"
    assert ask(clock, site, "GET /users/x/y")[0] == 404
    assert ask(clock, site, "GET /users/%zz/y")[0] == 404
    assert site.url_for("user", id=1, rest="x") == "/users/1/x"


def test_a_site_tells_what_it_has_answers_to(clock: Clock) -> None:
    site = Site()
    site.route("/a")(answer)
    site.route("/a", methods=("POST",))(answer)
    site.route("/b/{c}", methods=("DELETE",))(answer)
    status, headers, _ = ask(clock, site, "PUT /a")
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    status, headers, _ = ask(clock, site, "GET /b/c")
    assert (status, headers["allow"]) == (405, "DELETE, OPTIONS")
    status, headers, _ = ask(clock, site, "OPTIONS /b/c")
    assert (status, headers["allow"]) == (204, "DELETE, OPTIONS")
    assert ask(clock, site, "BREW /a")[0] == 501
    assert ask(clock, site, "HEAD /a")[0] == 200


def test_other_spellings_of_a_fixed_path_are_the_same_path(clock: Clock) -> None:
    site = Site()

    def here(request: Request) -> Response:
        return text("here")

    site.route("/caf%c3%a9/(x)")(here)
    for path in ("/caf%C3%A9/(x)", "/caf%c3%a9/(x)", "/c%61f%C3%A9/%28x%29"):
        assert ask(clock, site, f"GET {path}")[2] == b"here"


async def measured(request: Request) -> Response:
    size = 0
    async for piece in request.body:
        size += len(piece)
    return text(str(size))


CHUNKED = "Transfer-Encoding: chunked\r\n"


def chunked(size: int) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)


def test_a_route_may_take_more_or_less_content_than_its_site(clock: Clock) -> None:
    site = Site(limits=Limits(body=100))
    site.route("/usual", methods=("POST",))(measured)
    site.route("/more", methods=("POST",), limit=1000)(measured)
    site.route("/{less}", methods=("POST",), limit=10)(measured)
    for path, limit in (("/usual", 100), ("/more", 1000), ("/other", 10)):
        assert ask(clock, site, f"POST {path}", b"x" * limit)[::2] == (200, str(limit).encode())
        assert ask(clock, site, f"POST {path}", b"x" * (limit + 1))[0] == 413
        status, _, content = ask_chunked(clock, site, path, limit)
        assert (status, content) == (200, str(limit).encode())
        assert ask_chunked(clock, site, path, limit + 1)[0] == 413


def ask_chunked(
    clock: Clock, site: Site, path: str, size: int
) -> tuple[int, dict[str, str], bytes]:
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    head = f"POST {path} HTTP/1.1\r\nHost: example.com\r\n{CHUNKED}\r\n".encode()
    clock.call_soon(transport.receive, head + chunked(size))
    clock.pump()
    answer_head, _, content = transport.take().partition(b"\r\n\r\n")
    return int(answer_head.split()[1]), {}, content


def test_wrappers_stand_around_a_site_and_around_a_route(clock: Clock) -> None:
    def marking(word: str) -> Callable[[Handler], Handler]:
        def wrapper(handler: Handler) -> Handler:
            def call(request: Request) -> Answer:
                request.state.setdefault("way", []).append(word)
                return handler(request)

            return call

        return wrapper

    site = Site(wrappers=[marking("a"), marking("b")])

    @site.route("/x/{y}", wrappers=[marking("c"), marking("d")])
    def shown(request: Request, y: str) -> Response:
        return text(" ".join(request.state["way"]) + y)

    assert ask(clock, site, "GET /x/e")[2] == b"a b c de"


def joined(request: Request) -> Response:
    return text("|".join(request.segments))


class Shown(Resource):
    leaf = True

    def render_get(self, request: Request) -> Response:
        return text(f"{request.params} {request.segments}")


def test_resources_and_functions_are_mounted(clock: Clock) -> None:
    site = Site()
    tree = Resource()
    tree.put_child("leaf", Shown())
    site.mount("/of/{user}", tree)
    site.mount("/fn/", joined)
    assert ask(clock, site, "GET /of/ann/leaf/a/b")[2] == b"{'user': 'ann'} ['a', 'b']"
    assert ask(clock, site, "GET /of/ann/none")[0] == 404
    assert ask(clock, site, "PUT /fn/a%2Fb/c")[2] == b"a/b|c"
    assert ask(clock, site, "GET /fn")[2] == b""
    with pytest.raises(WebUsageError):
        site.mount("/fn", tree)


def test_a_router_is_mounted_in_a_site(clock: Clock) -> None:
    api, site = Router(), Site(limits=Limits(body=10))
    api.add("/things", joined, name="things")
    site.mount("/api/v1", api, name="api")
    api.route("/big", methods=("POST",), limit=100)(measured)
    assert ask(clock, site, "GET /api/v1/things")[2] == b"api|v1|things"
    assert ask(clock, site, "POST /api/v1/big", b"x" * 50)[2] == b"50"
    assert site.url_for("api.things") == "/api/v1/things"
    with pytest.raises(WebUsageError):
        site.mount("/x", api, limit=5)


def test_routes_come_before_the_tree(clock: Clock) -> None:
    site = Site()
    site.put_child("a", Shown())
    site.route("/a/b")(joined)
    site.route("/c/{d}")(answer)
    assert ask(clock, site, "GET /a/b")[2] == b"a|b"
    assert ask(clock, site, "GET /a/c")[2] == b"{} ['c']"


# ── content ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("application/json", b'{"a": [1, "\xc3\xa9"]}', (200, "{'a': [1, 'é']}")),
        ("application/problem+json; charset=utf-8", b"[]", (200, "[]")),
        ("text/plain", b"[]", (415, None)),
        ("application/json", b"{", (400, None)),
        ("application/json", b"", (400, None)),
        ("application/json", b"NaN", (400, None)),
        ("application/json", b'{"a": 1, "a": 2}', (400, None)),
        ("application/json", b"\xff", (400, None)),
        ("application/json", b"[" * 65 + b"]" * 65, (400, None)),
        ("application/json", b" " * 1001, (413, None)),
    ],
)
def test_json_is_read_within_limits(
    clock: Clock, kind: str, content: bytes, expected: tuple[int, str | None]
) -> None:
    """HARDENING, defaults 20: JSON of 1 MiB and a depth of 64."""
    site = Site()

    @site.route("/", methods=("POST",))
    async def shown(request: Request) -> Response:
        return text(str(await request.json(1000)))

    status, _, answer = ask(clock, site, "POST /", content, f"Content-Type: {kind}\r\n")
    assert status == expected[0]
    if expected[1] is not None:
        assert answer.decode() == expected[1]
