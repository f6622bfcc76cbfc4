"""ASGI applications on one connection, on a virtual clock: scopes, messages, failures, ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.deferred import Deferred
from sennit.core.reactor.base import Reactor
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Limits, Request, Response, Site, http_server
from sennit.web.hosting.asgi import ASGI
from sennit.web.hosting.pieces import MARK
from sennit.web.resource import Resource
from sennit.web.wrappers import then

App = Callable[[Any, Any, Any], Awaitable[None]]

NOON = 784111777.0
GET = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: example.org\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.org\r\n"
DATE = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


class Connection:
    """A client's view of one connection to an application."""

    def __init__(self, clock: Clock, app: Any, *, handler: Any = None, **options: Any) -> None:
        self.clock = clock
        self.host = ASGI(app)
        self.server = http_server(
            handler or self.host, clock=clock, wall_clock=lambda: NOON, **options
        )
        self.protocol = self.server.build_protocol(None)
        self.transport = RecordingTransport(
            self.protocol,
            peer=InternetAddress("192.0.2.1", 5000),
            local=InternetAddress("192.0.2.2", 80),
        )

    def do(self, fn: Callable[..., object], *args: object) -> None:
        self.clock.call_soon(fn, *args)
        self.clock.pump()

    def send(self, data: bytes) -> bytes:
        """Send to the server, let everything settle; what came."""
        self.do(self.transport.receive, data)
        return self.transport.take()

    def lose(self) -> None:
        self.do(self.transport.lose, ConnectionResetError("reset"))


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(content: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"Content-Type", b"text/plain")))
    await send(body(b"Hello"))


PLAIN = b"content-type: text/plain\r\n"
HELLO = b"HTTP/1.1 200 OK\r\n" + DATE + PLAIN + b"content-length: 5\r\n\r\nHello"


# ── scopes ────────────────────────────────────────────────────────────────────


def scope_of(clock: Clock, request: bytes, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)
        await hello(scope, receive, send)

    Connection(clock, app, **options).send(request)
    return found


def test_a_scope_says_what_was_asked(clock: Clock) -> None:
    found = scope_of(
        clock,
        b"GET /caf%C3%A9/a%2Fb?q=1%20 HTTP/1.1\r\nHost: example.org\r\n"
        b"X-One: a\r\nx-one: b\r\n\r\n",
    )
    assert found == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/café/a/b",
        "raw_path": b"/caf%C3%A9/a%2Fb",
        "query_string": b"q=1%20",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-one", b"a"), (b"x-one", b"b")],
        "client": ("192.0.2.1", 5000),
        "server": ("192.0.2.2", 80),
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        },
    }


def test_an_old_client_is_told_apart(clock: Clock) -> None:
    found = scope_of(clock, b"PROPFIND / HTTP/1.0\r\n\r\n")
    assert (found["http_version"], found["method"]) == ("1.0", "PROPFIND")
    assert found["extensions"] == {"http.response.pathsend": {}}


def test_octets_that_are_no_utf_8_are_replaced_in_the_path(clock: Clock) -> None:
    found = scope_of(clock, b"GET /%FF HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (found["path"], found["raw_path"]) == ("/�", b"/%FF")


def test_a_unix_socket_is_a_server_without_a_port(clock: Clock) -> None:
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)
        await hello(scope, receive, send)

    connection = Connection(clock, app)
    connection.transport = RecordingTransport(
        connection.server.build_protocol(None),
        peer=UnixAddress(""),
        local=UnixAddress("/run/web.sock"),
    )
    assert connection.send(GET).endswith(b"Hello")
    assert (found["client"], found["server"]) == (None, ("/run/web.sock", None))


@pytest.mark.parametrize(
    ("target", "path", "root_path"),
    [
        (b"/shop/ja%2Fpan/tea", "/shop/ja/pan/tea", "/shop"),
        (b"/shop", "/shop", "/shop"),
        (b"/shop/", "/shop/", "/shop"),
        (b"/deep/in/x", "/deep/in/x", "/deep/in"),
    ],
)
def test_where_it_is_mounted_is_its_root_path(
    clock: Clock, target: bytes, path: str, root_path: str
) -> None:
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)
        await hello(scope, receive, send)

    site = Site(clock=clock)
    site.put_child("shop", ASGI(app))
    deep = Resource()
    deep.put_child("in", ASGI(app))
    site.put_child("deep", deep)
    Connection(clock, app, handler=site.handle).send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert (found["path"], found["root_path"]) == (path, root_path)


def test_a_prefix_that_a_proxy_took_off_is_put_in_front(clock: Clock) -> None:
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)
        await hello(scope, receive, send)

    Connection(clock, app, handler=ASGI(app, root_path="/outer/")).send(GET)
    assert (found["path"], found["root_path"]) == ("/outer/a b", "/outer")
    assert found["raw_path"] == b"/a%20b"


def test_every_request_has_its_own_copy_of_the_state(clock: Clock) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["state"]))
        scope["state"]["mine"] = 1
        await hello(scope, receive, send)

    connection = Connection(clock, app)
    pool: list[int] = []
    connection.host.state = {"pool": pool}
    connection.send(GET + GET)
    assert seen == [{"pool": pool}, {"pool": pool}]
    assert seen[0]["pool"] is seen[1]["pool"] is pool


# ── answers ───────────────────────────────────────────────────────────────────


def test_an_answer_after_waiting_leaves_when_it_is_there(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await hello(scope, receive, send)

    connection = Connection(clock, app)
    assert connection.send(GET) == b""
    assert len(connection.host.tasks) == 1
    clock.advance(1.0)
    assert connection.transport.take() == HELLO
    assert not connection.host.tasks
    assert connection.send(GET) == b""


def test_what_is_wrapped_around_handlers_is_wrapped_around_applications(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"one", True))
        await send(body(b"two"))

    def seen(response: Response) -> Response:
        response.add_header("x-seen", "yes")
        return response

    def wrapped(request: Request) -> Any:
        return then(ASGI(app)(request), seen)

    assert b"x-seen: yes\r\n" in Connection(clock, app, handler=wrapped).send(GET)


def test_an_answer_in_pieces_is_chunked(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"transfer-encoding", b"identity"), (b"x", b"y")))
        await send(body(b"one", True))
        await asyncio.sleep(1)
        await send(body(b"", True))
        await send(body(b"two", True))
        await send(body())

    connection = Connection(clock, app)
    head = b"HTTP/1.1 200 OK\r\n" + DATE + b"x: y\r\ntransfer-encoding: chunked\r\n\r\n"
    assert connection.send(GET) == head + b"3\r\none\r\n"
    clock.advance(1.0)
    assert connection.transport.take() == b"3\r\ntwo\r\n0\r\n\r\n"
    assert connection.send(GET).startswith(head)


def test_an_announced_length_frames_the_answer(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"6")))
        await send(body(b"one", True))
        await send(body(b"two"))

    got = Connection(clock, app).send(GET)
    assert got.endswith(b"content-length: 6\r\n\r\nonetwo")
    assert b"chunked" not in got


@pytest.mark.parametrize("whole", [True, False])
def test_head_has_the_head_alone(clock: Clock, whole: bool) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"x", b"y")))
        for _ in range(0 if whole else 50):
            await send(body(b"z" * 10_000, True))
        await send(body(b"Hello"))
        ended.append((await receive())["type"])
        ended.append((await receive())["type"])

    connection = Connection(clock, app)
    got = connection.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.endswith(b"\r\n\r\n")
    assert (b"content-length: 5\r\n" in got) is whole
    assert ended == ["http.disconnect", "http.disconnect"]
    assert connection.send(GET).startswith(b"HTTP/1.1 200")


def test_messages_after_the_answer_are_ignored(clock: Clock) -> None:
    """By the specification: further messages on the channel will be ignored."""
    after: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await send(body(b"more"))
        after.append("sent")

    assert Connection(clock, app).send(GET) == HELLO
    assert after == ["sent"]


def test_work_after_the_answer_goes_on_beside_the_next_request(clock: Clock) -> None:
    done: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await asyncio.sleep(5)
        done.append(1)

    connection = Connection(clock, app)
    assert connection.send(GET) == HELLO
    assert connection.send(GET) == HELLO
    assert len(connection.host.tasks) == 2
    clock.advance(5.0)
    assert done == [1, 1]
    assert not connection.host.tasks


def test_a_path_is_sent_by_the_kernel(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content of a file")
    seen: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for path in ("relative", str(tmp_path), str(tmp_path / "none")):
            if not seen:
                await send(start())
            try:
                await send({"type": "http.response.pathsend", "path": path})
            except (ValueError, OSError) as error:
                seen.append(error)
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    got = Connection(clock, app).send(GET)
    assert got.endswith(b"content-length: 17\r\n\r\ncontent of a file")
    assert len(seen) == 3


def test_trailers_come_behind_the_content(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"trailer", b"x-sum"), trailers=True))
        await send(body(b"one"))
        await send(
            {"type": "http.response.trailers", "headers": [(b"X-A", b"1")], "more_trailers": True}
        )
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"2")]})

    got = Connection(clock, app).send(GET)
    assert got.endswith(b"3\r\none\r\n0\r\nx-a: 1\r\nx-sum: 2\r\n\r\n")


def test_early_hints_come_before_the_answer(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        links = [b"</a.css>; rel=preload; as=style"]
        await send({"type": "http.response.early_hint", "links": links})
        await hello(scope, receive, send)

    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload; as=style\r\n\r\n"
    assert Connection(clock, app).send(GET) == hint + HELLO


def test_a_slow_client_keeps_the_application_waiting(clock: Clock) -> None:
    sent = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for _ in range(1000):
            await send(body(b"x" * 10_000, True))
            sent[0] += 10_000
        await send(body())

    connection = Connection(clock, app)
    connection.transport.block()
    connection.send(GET)
    held = sent[0]
    assert held <= 4 * MARK + connection.transport.get_write_buffer_limits()[1]
    connection.transport.unblock()
    clock.pump()
    assert sent[0] == 10_000_000
    assert connection.transport.take().endswith(b"0\r\n\r\n")


# ── content of requests ───────────────────────────────────────────────────────


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        await send(body(message["body"], message["more_body"]))
        if not message["more_body"]:
            return


def test_content_is_received_as_it_comes(clock: Clock) -> None:
    connection = Connection(clock, echo)
    connection.send(POST + b"Content-Length: 6\r\n\r\n")
    assert connection.send(b"abc").endswith(b"3\r\nabc\r\n")
    assert connection.send(b"def" + GET).startswith(b"3\r\ndef\r\n0\r\n\r\nHTTP/1.1 200")


def test_content_of_unknown_length_ends_when_the_client_says_so(clock: Clock) -> None:
    connection = Connection(clock, echo)
    connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert connection.send(b"3\r\nabc\r\n").endswith(b"3\r\nabc\r\n")
    assert connection.send(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_small_content_is_one_message(clock: Clock) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        await hello(scope, receive, send)

    Connection(clock, app).send(POST + b"Content-Length: 3\r\n\r\nabc")
    assert seen == [{"type": "http.request", "body": b"abc", "more_body": False}]


def test_a_client_that_waits_is_told_to_go_on_when_content_is_received(clock: Clock) -> None:
    connection = Connection(clock, echo)
    got = connection.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.send(b"abc").endswith(b"abc")
    other = Connection(clock, hello)
    got = other.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")


def test_content_that_is_not_received_stops_the_client(clock: Clock) -> None:
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        while (await receive())["more_body"]:
            pass
        await hello(scope, receive, send)

    connection = Connection(clock, app)
    connection.send(POST + b"Content-Length: 200000\r\n\r\n")
    for _ in range(7):
        connection.send(b"x" * 10_000)
    assert not connection.transport.reading
    connection.do(gate.set)
    assert connection.transport.reading
    assert connection.send(b"x" * 130_000) == HELLO


def test_content_beyond_the_limit_is_a_disconnect(clock: Clock) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect":
                return

    connection = Connection(clock, app, limits=Limits(body=5))
    connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    got = connection.send(b"3\r\nabc\r\n")
    assert got.startswith(b"HTTP/1.1 413")
    assert seen == ["http.request", "http.disconnect"]
    assert not connection.host.tasks


# ── failures (HARDENING app-1) ────────────────────────────────────────────────

PAGE = b"content-length: 26\r\n\r\n500 Internal Server Error\n"


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("secret")


async def _raises_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"x-a", b"b")))
    raise RuntimeError("secret")


async def _returns(scope: Any, receive: Any, send: Any) -> None:
    return


async def _returns_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(start())


async def _body_first(scope: Any, receive: Any, send: Any) -> None:
    await send(body(b"x"))


async def _starts_twice(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(start())


async def _odd_message(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.something"})


async def _odd_status(scope: Any, receive: Any, send: Any) -> None:
    await send(start(101))


async def _text(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send({"type": "http.response.body", "body": "text"})


async def _split(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"x", b"a\r\nset-cookie: b")))
    await send(body())


async def _odd_header(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [("x", "y")]})
    await send(body())


async def _wrong_length(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"content-length", b"3")))
    await send(body(b"12345"))


def _not_async(scope: Any, receive: Any, send: Any) -> None:
    return


def _too_few() -> None:
    return


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "app",
    [
        _raises, _raises_after_start, _returns, _returns_after_start, _body_first, _starts_twice,
        _odd_message, _odd_status, _text, _split, _odd_header, _wrong_length, _not_async, _too_few,
    ],
)  # fmt: skip
def test_a_failure_before_anything_has_left_is_answered_500(
    clock: Clock, caplog: pytest.LogCaptureFixture, app: Any, late: bool
) -> None:
    async def later(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await app(scope, receive, send)

    connection = Connection(clock, later if late else app)
    with caplog.at_level(logging.ERROR):
        connection.do(connection.transport.receive, GET)
        clock.advance(1.0)
    got = connection.transport.take()
    assert got.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert got.endswith(PAGE)
    assert b"secret" not in got
    assert b"x-a" not in got
    assert len(caplog.records) == 1
    # The connection goes on.
    connection.do(connection.transport.receive, GET)
    clock.advance(1.0)
    assert connection.transport.take().startswith(b"HTTP/1.1 500")


@pytest.mark.parametrize("how", ["raises", "returns", "starts again", "is cancelled"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_failure_on_the_way_cuts_the_answer(
    clock: Clock, caplog: pytest.LogCaptureFixture, how: str, announced: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, *([(b"content-length", b"10")] if announced else [])))
        await send(body(b"first", True))
        await asyncio.sleep(1)
        if how == "raises":
            raise RuntimeError("secret")
        if how == "starts again":
            await send(start())
        if how == "is cancelled":
            raise asyncio.CancelledError

    connection = Connection(clock, app)
    with caplog.at_level(logging.WARNING):
        assert b"first" in connection.send(GET)
        clock.advance(1.0)
    assert connection.transport.take() == b""
    assert connection.transport.is_closing()
    assert connection.transport.close_reason == "error"
    assert len(caplog.records) == 1


def test_more_content_than_was_announced_is_cut(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"content-length", b"6")))
        await send(body(b"first", True))
        await send(body(b"second", True))
        await receive()
        await receive()

    connection = Connection(clock, app)
    with caplog.at_level(logging.ERROR):
        got = connection.send(GET)
    assert b"second" not in got
    assert connection.transport.is_closing()
    assert not connection.host.tasks


def test_a_failure_after_the_answer_is_logged_and_no_more(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        raise RuntimeError("too late")

    connection = Connection(clock, app)
    with caplog.at_level(logging.ERROR):
        assert connection.send(GET) == HELLO
    assert len(caplog.records) == 1
    assert connection.send(GET) == HELLO


# ── clients that leave (HARDENING app-2) ──────────────────────────────────────


def test_an_application_that_waits_is_told_when_the_client_leaves(clock: Clock) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive(), await receive()])
        with pytest.raises(OSError, match="disconnected"):
            await send(start())
        seen.append("ended")

    connection = Connection(clock, app)
    connection.send(GET)
    connection.lose()
    assert [each["type"] for each in seen[:3]] == [
        "http.request", "http.disconnect", "http.disconnect",
    ]  # fmt: skip
    assert seen[3:] == ["ended"]
    assert not connection.host.tasks


def test_one_that_raises_since_the_client_left_is_no_error(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """ASGI 2.4: servers do not log the error that they have raised."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        while True:
            await send(body(b"x" * 10_000, True))

    connection = Connection(clock, app)
    connection.transport.block()
    with caplog.at_level(logging.WARNING):
        connection.send(GET)
        assert len(connection.host.tasks) == 1
        connection.lose()
    assert not connection.host.tasks
    assert not caplog.records


def test_one_that_goes_on_is_cancelled_at_the_limit(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    tries = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            while True:
                try:
                    await send(body(b"x" * 1000, True))
                except OSError:
                    tries[0] += 1
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    connection = Connection(clock, app)
    connection.send(GET)
    finished = connection.protocol.finished()
    connection.lose()
    clock.advance(29.0)
    assert tries[0] >= 29
    assert not ended
    # It counts as open until it has ended.
    assert not finished.fired
    assert len(connection.host.tasks) == 1
    with caplog.at_level(logging.WARNING):
        clock.advance(1.5)
    assert ended == ["cancelled"]
    assert "went on for 30 s" in caplog.text
    assert not connection.host.tasks
    assert finished.fired


def test_one_that_had_not_answered_is_cancelled_at_the_limit_too(clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    connection = Connection(clock, app)
    connection.send(GET)
    finished = connection.protocol.finished()
    connection.lose()
    clock.advance(29.0)
    assert not finished.fired
    clock.advance(2.0)
    assert finished.fired
    assert not connection.host.tasks


def test_a_client_that_sends_no_more_is_taken_for_one_that_left_by_who_waits_for_that(
    clock: Clock,
) -> None:
    """A closed connection looks like this until something is sent; an answer is tried."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append((await receive())["type"])
        await hello(scope, receive, send)

    connection = Connection(clock, app)
    connection.send(GET)
    connection.do(connection.transport.receive_eof)
    assert seen == ["http.disconnect"]
    assert connection.transport.take() == HELLO

    connection = Connection(clock, app)
    connection.transport.receive(GET[:5])
    connection.clock.call_soon(connection.transport.receive, GET[5:])
    connection.do(connection.transport.receive_eof)
    assert connection.transport.take() == HELLO


def test_a_client_that_leaves_while_it_sends_content_is_a_disconnect(clock: Clock) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            seen.append((await receive())["type"])
            if seen[-1] == "http.disconnect":
                return

    connection = Connection(clock, app)
    connection.send(POST + b"Content-Length: 10\r\n\r\nabc")
    connection.lose()
    assert seen == ["http.request", "http.disconnect"]
    assert not connection.host.tasks


def test_errors_after_the_client_left_are_told_quietly(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        raise RuntimeError("the client has gone")

    connection = Connection(clock, app)
    with caplog.at_level(logging.INFO, "sennit.web.asgi"):
        connection.send(GET)
        connection.lose()
    assert [each.levelname for each in caplog.records] == ["INFO"]


# ── the first step, taken at once on the reactor ──────────────────────────────


async def in_one_turn(reactor: Reactor, app: Any, request: bytes = GET) -> bytes:
    """What comes of a request before anything else runs."""
    server = http_server(ASGI(app), wall_clock=lambda: NOON)
    transport = RecordingTransport(server.build_protocol(None), extra={"reactor": reactor})
    got: Deferred[bytes] = Deferred()

    def receive() -> None:
        transport.receive(request)
        got.callback(transport.take())

    # From the reactor, as octets come: not from within a Task.
    reactor.call_soon(receive)
    found = await got
    lost: Deferred[None] = Deferred()

    def lose() -> None:
        transport.lose()
        lost.callback(None)

    reactor.call_soon(lose)
    await lost
    return found


async def test_an_answer_without_waiting_leaves_in_the_turn_of_the_request(
    reactor: Reactor,
) -> None:
    assert await in_one_turn(reactor, hello) == HELLO
    assert await in_one_turn(reactor, hello, GET + GET) == HELLO + HELLO


async def test_a_failure_in_the_turn_of_the_request_is_answered_500_whatever_was_sent(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING app-1: nothing of it has left yet."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", True))
        raise RuntimeError("secret")

    assert (await in_one_turn(reactor, fails)).endswith(PAGE)
    for app in (_raises, _returns, _not_async, _too_few):
        assert (await in_one_turn(reactor, app)).endswith(PAGE)
    assert len(caplog.records) == 5


async def test_pieces_that_are_there_at_once_are_an_answer_too(reactor: Reactor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"one", True))
        await send(body(b"two"))

    assert (await in_one_turn(reactor, app)).startswith(b"HTTP/1.1 200")


async def test_shutting_down_waits_for_what_is_under_way_then_cancels_it() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            seen.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            seen.append(name)
        except asyncio.CancelledError:
            seen.append(f"{name} cancelled")
            raise

    host = ASGI(app)
    await host.startup()
    for name, seconds in (("short", 0.0), ("long", 60.0)):
        task = asyncio.ensure_future(work(name, seconds))
        host.tasks.add(task)
        task.add_done_callback(host.tasks.discard)
    await host.shutdown(0.05)
    assert seen == ["short", "long cancelled", "shutdown"]


def test_it_says_what_it_is() -> None:
    assert repr(ASGI(hello)).startswith("<ASGI <function hello")
