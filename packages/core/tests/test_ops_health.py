"""/livez, /readyz and /metrics: what is answered, and what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core import open_stream
from sennit.core.errors import MissingExtraError, SennitError
from sennit.core.ops import health
from sennit.core.ops.health import Answer, HealthServer, Request, RequestEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class Node:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.failure: BaseException | None = None
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def command(self, name: str, arguments: Mapping[str, Any]) -> object:
        self.asked.append((name, arguments))
        if self.failure is not None:
            raise self.failure
        if name == "ready":
            return {"ready": not self.reasons, "reasons": self.reasons}
        return {"type": "text/x", "text": "a 1\n"}


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def url(node: Node) -> AsyncIterator[str]:
    async with HealthServer(node, [("tcp://127.0.0.1:0", None)]) as server:
        yield server.urls[0]


async def ask(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    async with await open_stream(url) as stream:
        await stream.send_all(request)
        data = b"".join([piece async for piece in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), fields, body


def get(path: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


async def test_a_loop_that_turns_is_alive(url: str, node: Node) -> None:
    status, fields, body = await ask(url, get("/livez"))
    assert (status, body) == (200, b"ok\n")
    assert fields["Content-Length"] == "3"
    assert fields["Connection"] == "close"
    assert fields["Cache-Control"] == "no-store"
    assert node.asked == []


async def test_a_node_that_is_not_ready_says_why(url: str, node: Node) -> None:
    assert (await ask(url, get("/readyz")))[::2] == (200, b"ready\n")
    node.reasons = ["the node is draining", "service 'a' failed"]
    status, _, body = await ask(url, get("/readyz?verbose"))
    assert status == 503
    assert body.splitlines() == [b"the node is draining", b"service 'a' failed"]


async def test_metrics_come_in_the_form_that_is_asked_for(url: str, node: Node) -> None:
    status, fields, body = await ask(url, get("/metrics", more="Accept: a/b\r\nAccept: c/d\r\n"))
    assert (status, fields["Content-Type"], body) == (200, "text/x", b"a 1\n")
    assert node.asked == [("metrics", {"format": "text", "accept": "a/b,c/d"})]


async def test_head_has_the_same_head_and_no_body(url: str) -> None:
    """RFC 9110 §9.3.2."""
    _, fields, body = await ask(url, get("/livez", "HEAD"))
    assert fields["Content-Length"] == "3"
    assert body == b""


async def test_other_methods_and_other_paths_are_told_what_there_is(url: str) -> None:
    status, fields, _ = await ask(url, get("/livez", "DELETE"))
    assert (status, fields["Allow"]) == (405, "GET, HEAD")
    assert (await ask(url, get("/")))[0] == 404
    assert (await ask(url, get("/livez/")))[0] == 404


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (SennitError("no worker answers"), 503),
        (MissingExtraError("x", "sennit-core", "metrics"), 501),
        (RuntimeError("bug"), 500),
    ],
)
async def test_what_fails_is_a_status_and_no_traceback(
    url: str, node: Node, failure: BaseException, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING, defaults 23: no tracebacks to clients."""
    node.failure = failure
    found, _, body = await ask(url, get("/metrics"))
    assert found == status
    assert b"Traceback" not in body
    assert bool(caplog.records) == (status == 500)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\nHost: a\n\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"\r\nGET /livez HTTP/1.1\r\nHost:\r\n\r\n", 200),
        (b"GET http://a:1/livez?x HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 100_000, 431),
    ],
)
async def test_what_is_ambiguous_is_refused(url: str, request_: bytes, status: int) -> None:
    """RFC 9112 §2.2, §3, §3.2, §5.1, §5.2, §6.1; RFC 6585 §5."""
    assert (await ask(url, request_))[0] == status


async def test_a_second_request_is_not_answered(url: str) -> None:
    assert (await ask(url, get("/livez") * 3))[2] == b"ok\n"


async def test_a_request_that_does_not_come_whole_ends_at_its_deadline(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING h1-9: 408 if anything was seen, else a plain close."""
    monkeypatch.setattr(health, "DEADLINE", 0.02)
    assert (await ask(url, b"GET /liv"))[0] == 408
    async with await open_stream(url) as stream:
        assert await stream.receive_some() == b""


async def test_a_client_that_goes_ends_what_was_done_for_it(url: str, node: Node) -> None:
    cancelled: list[bool] = []
    begun = asyncio.Event()

    async def hang(name: str, arguments: Mapping[str, Any]) -> object:
        begun.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    node.command = hang  # type: ignore[method-assign]  # a node that never answers
    stream = await open_stream(url)
    await stream.send_all(get("/readyz"))
    await begun.wait()
    stream.abort()
    while not cancelled:
        await asyncio.sleep(0)


async def test_an_address_in_use_leaves_nothing_open(url: str, node: Node) -> None:
    server = HealthServer(node, [("tcp://127.0.0.1:0", None), (url, None)])
    with pytest.raises(OSError, match="in use"):
        await server.start()
    assert server.urls == ()


# ── the engine ────────────────────────────────────────────────────────────────


@given(st.binary(max_size=300), st.data())
def test_no_octets_make_the_engine_raise_and_cuts_change_nothing(
    octets: bytes, data: st.DataObject
) -> None:
    octets = octets + b"\r\n\r\n"
    whole = RequestEngine().receive_data(octets)
    cut = data.draw(st.integers(0, len(octets)))
    engine = RequestEngine()
    found = engine.receive_data(octets[:cut]) or engine.receive_data(octets[cut:])
    assert found == whole


@given(
    st.sampled_from(["GET", "HEAD", "X"]),
    st.from_regex(r"/[a-z/]{0,20}", fullmatch=True),
    st.from_regex(r"[a-z/*;=., ]{0,20}", fullmatch=True),
    st.lists(st.integers(0, 120)),
)
def test_a_request_is_read_however_it_is_cut(
    method: str, path: str, accept: str, cuts: list[int]
) -> None:
    octets = get(path, method, f"Accept: {accept}\r\n")
    engine = RequestEngine()
    found: Request | Answer | None = None
    at = 0
    for cut in [*sorted(cuts), len(octets)]:
        found = engine.receive_data(octets[at:cut]) if found is None else found
        at = max(at, cut)
    assert found == Request(method, path, accept.strip(" "))
