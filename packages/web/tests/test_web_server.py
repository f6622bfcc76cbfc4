"""One HTTP connection on a recording transport and a virtual clock: handlers, time limits, ends.

All of it with the engine of the gate alone and with those that have a library behind it.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred, succeed
from sennit.core.engine import FilePart
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import (
    AccessLog,
    HTTP1ServerProtocol,
    HTTPError,
    HTTPServer,
    Limits,
    Request,
    Response,
    Site,
    Timeouts,
    http_server,
    text,
)
from sennit.web.answering import Upgrade
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
from sennit.web.http1.server import GRACE, LINGER

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
NOON = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


@pytest.fixture(
    params=[HTTP1ServerEngine, H11ServerEngine, HTTPToolsServerEngine],
    ids=["gate", "h11", "httptools"],
    autouse=True,
)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with each engine."""
    monkeypatch.setattr(Connection, "engine", request.param)


class Connection:
    """A client's view of one connection."""

    engine: Any = HTTP1ServerEngine

    def __init__(self, clock: Clock, handler: Callable[[Request], Any], **options: Any) -> None:
        self.clock = clock
        options.setdefault("engine", self.engine)
        self.server: HTTPServer = http_server(
            handler, clock=clock, wall_clock=lambda: NOON, **options
        )
        self.protocol: HTTP1ServerProtocol = self.server.build_protocol(None)
        self.transport = RecordingTransport(self.protocol, peer=InternetAddress("192.0.2.1", 5000))

    def do(self, fn: Callable[..., object], *args: object) -> None:
        """Call something in a turn of the clock, where coroutines can begin; let all settle."""
        self.clock.call_soon(fn, *args)
        self.clock.pump()

    def receive(self, data: bytes) -> None:
        """Send to the server, and let everything settle."""
        self.do(self.transport.receive, data)

    def send(self, data: bytes) -> bytes:
        """Likewise; returns what came."""
        self.receive(data)
        return self.transport.take()


def hello(request: Request) -> Response:
    return text("Hello")


HELLO = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nHello"
)


# ── handlers ──────────────────────────────────────────────────────────────────


def test_a_plain_handler_answers_in_the_same_turn(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.receive(GET)
    assert connection.transport.take() == HELLO
    assert not connection.protocol.busy


def test_an_echo_may_begin_its_answer_before_it_asks_for_the_content(clock: Clock) -> None:
    """Also where the client waits for leave to send it: curl does, from 1 MiB."""

    async def echo(request: Request) -> None:
        answer = request.start(200)
        async for piece in request.body:
            await answer.write(bytes(piece))
        answer.end()

    connection = Connection(clock, echo)
    head = connection.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert connection.send(b"hi").endswith(b"2\r\nhi\r\n0\r\n\r\n")


def test_what_cannot_be_called_is_no_handler() -> None:
    """A site, of which the handler is `Site.handle`: told at once, and not to its clients."""
    site: Any = Site()
    with pytest.raises(TypeError, match=r"site\.handle"):
        http_server(site)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_content_that_is_not_there_ends_at_once(clock: Clock, method: bytes) -> None:
    """A client that sends none would else keep its handler for ever."""

    async def count(request: Request) -> Response:
        pieces = [bytes(piece) async for piece in request.body]
        ends: Any = request.body.end
        assert request.body.ended
        rest = await request.body.read(5)
        return text(f"{pieces} {ends.trailers} {rest!r} {request.body.take()!r}")

    connection = Connection(clock, count)
    for field in (b"", b"Content-Length: 0\r\n"):
        asked = method + b" / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n"
        assert connection.send(asked).endswith(b"\r\n\r\n[] [] b'' None")
    assert not connection.protocol.busy


def test_a_coroutine_and_a_deferred_answer_when_they_have_it(clock: Clock) -> None:
    waiting: Deferred[Response] = Deferred()

    async def later(request: Request) -> Response:
        await asyncio.sleep(1)
        return text("Hello")

    def sooner(request: Request) -> Deferred[Response]:
        return waiting

    handlers: list[Callable[[Request], Any]] = [later, sooner]
    for handler in handlers:
        connection = Connection(clock, handler)
        assert connection.send(GET) == b""
        assert connection.protocol.busy
        clock.advance(1)
        if not waiting.called and handler is not later:
            connection.do(waiting.callback, text("Hello"))
        assert connection.transport.take() == HELLO


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a Task begins at once since Python 3.12")
def test_a_handler_whose_request_turns_out_bad_at_once_is_never_begun(clock: Clock) -> None:
    """A client could fill the log with coroutines that were never awaited."""
    begun: list[Request] = []

    async def upload(request: Request) -> Response:
        begun.append(request)
        return text("Hello")

    connection = Connection(clock, upload)
    sent = connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n5_0\r\nhello\r\n")
    assert sent.startswith(b"HTTP/1.1 400 ")
    connection.do(connection.transport.lose)
    assert not begun
    gc.collect()  # a warning is an error here


def test_pipelined_requests_are_answered_in_order_one_at_a_time(clock: Clock) -> None:
    """HARDENING h1-12."""
    begun: list[str] = []
    first: Deferred[Response] = Deferred()

    def handler(request: Request) -> Any:
        begun.append(request.path)
        return first if request.path == "/0" else text(request.path)

    connection = Connection(clock, handler)
    three = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3))
    assert connection.send(three) == b""
    assert begun == ["/0"]
    connection.do(first.callback, text("/0"))
    answers = connection.transport.take()
    assert begun == ["/0", "/1", "/2"]
    assert answers.index(b"\n/0") < answers.index(b"\n/1") < answers.index(b"\n/2")


@pytest.mark.parametrize("how", ["plain", "coroutine", "deferred"])
def test_a_handler_may_raise_an_http_error(clock: Clock, how: str) -> None:
    def plain(request: Request) -> Response:
        raise HTTPError(403, {"x": "y"})

    async def coroutine(request: Request) -> Response:
        raise HTTPError(403, {"x": "y"})

    def deferred(request: Request) -> Deferred[Response]:
        found: Deferred[Response] = Deferred()
        found.errback(HTTPError(403, {"x": "y"}))
        return found

    handlers = {"plain": plain, "coroutine": coroutine, "deferred": deferred}
    answer = Connection(clock, handlers[how]).send(GET)
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"x: y\r\n" in answer


@pytest.mark.parametrize("how", ["plain", "coroutine"])
def test_a_bug_is_500_without_traceback_and_the_connection_goes_on(
    clock: Clock, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING h1-22, fault-10, app-1."""
    calls = 0

    def plain(request: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("secret detail")
        return text("Hello")

    async def coroutine(request: Request) -> Response:
        return plain(request)

    connection = Connection(clock, plain if how == "plain" else coroutine)
    with caplog.at_level(logging.ERROR):
        answer = connection.send(GET)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"secret" not in answer
    assert b"Traceback" not in answer
    assert len(caplog.records) == 1
    assert connection.send(GET) == HELLO


@pytest.mark.parametrize("how", ["plain", "coroutine", "Deferred"])
def test_a_handler_that_gives_no_response_is_named_as_the_bug(
    clock: Clock, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def coroutine(request: Request) -> Any:
        return None

    def deferred(request: Request) -> Any:
        return succeed("Hello")

    def plain(request: Request) -> Any:
        return "Hello"

    handler = {"plain": plain, "coroutine": coroutine, "Deferred": deferred}[how]
    connection = Connection(clock, handler)
    with caplog.at_level(logging.ERROR):
        answer = connection.send(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert len(caplog.records) == 1
    error = (caplog.records[0].exc_info or (None, None))[1]
    assert "it gives a Response" in f"{caplog.text} {error}"


def test_a_response_that_cannot_be_sent_is_a_bug(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING h1-15."""
    connection = Connection(clock, lambda request: Response(b"", 200, {"x": "a\r\nX: y"}))
    with caplog.at_level(logging.ERROR):
        answer = connection.send(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"X: y" not in answer


def test_headers_of_the_server_are_in_every_response_that_lacks_them(clock: Clock) -> None:
    connection = Connection(clock, hello, headers={"Server": "x", "Content-Type": "no"})
    answer = connection.send(GET)
    assert b"server: x\r\n" in answer
    assert answer.count(b"content-type") == 1


# ── content ───────────────────────────────────────────────────────────────────


async def echo(request: Request) -> Response:
    return Response(await request.read(100))


def test_content_is_read_whole_or_in_pieces(clock: Clock) -> None:
    async def count(request: Request) -> Response:
        sizes = [len(chunk) async for chunk in request.body]
        return text(f"{len(sizes)} {sum(sizes)}")

    connection = Connection(clock, echo)
    connection.send(POST + b"Content-Length: 5\r\n\r\nhe")
    assert connection.send(b"llo").endswith(b"\r\n\r\nhello")
    connection = Connection(clock, count)
    connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert connection.send(b"2\r\nde\r\n0\r\n\r\n").endswith(b"2 5")


def test_100_is_sent_when_the_content_is_asked_for(clock: Clock) -> None:
    """RFC 9110 §10.1.1."""
    connection = Connection(clock, echo)
    fields = b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert connection.send(POST + fields) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.send(b"hi").endswith(b"hi")
    refusing = Connection(clock, hello)
    answer = refusing.send(POST + fields)
    assert b"100 Continue" not in answer
    assert b"connection: close\r\n" in answer


def test_more_content_than_a_handler_reads_is_413(clock: Clock) -> None:
    announced = Connection(clock, echo).send(POST + b"Content-Length: 101\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413 ")
    chunk = b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n"
    assert Connection(clock, echo).send(POST + chunk).startswith(b"HTTP/1.1 413 ")


def test_coded_content_is_415(clock: Clock) -> None:
    """HARDENING h1-16: content codings are not undone."""
    for coding in (b"gzip", b"gzip, gzip, gzip"):
        connection = Connection(clock, echo)
        fields = b"Content-Encoding: %b\r\nContent-Length: 2\r\n\r\nxx" % coding
        answer = connection.send(POST + fields)
        assert answer.startswith(b"HTTP/1.1 415 Unsupported Media Type\r\n")
        assert b"accept-encoding: identity\r\n" in answer
        assert connection.send(POST + b"Content-Length: 2\r\n\r\nok").endswith(b"ok")


def test_reading_pauses_while_a_handler_does_not_take_the_content(clock: Clock) -> None:
    """HARDENING fault-15: what waits stays within the mark and one read."""
    go: Deferred[None] = Deferred()

    async def slow(request: Request) -> Response:
        body = request.body
        await go
        return text(str(len(await body.read(10**7))))

    connection = Connection(clock, slow)
    connection.send(POST + b"Content-Length: 1000000\r\n\r\n")
    given = 0
    while connection.transport.reading:
        connection.receive(b"x" * 10_000)
        given += 10_000
        assert given < 200_000
    connection.do(go.callback, None)
    while given < 1_000_000:
        connection.receive(b"x" * 10_000)
        given += 10_000
    assert connection.transport.take().endswith(b"1000000")


# ── streams ───────────────────────────────────────────────────────────────────


def test_a_streamed_response_waits_for_a_slow_reader(clock: Clock) -> None:
    """HARDENING core-7 at this height: produced is what the marks allow and one piece."""
    produced = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(100):
            produced += 16_384
            yield b"x" * 16_384

    connection = Connection(clock, lambda request: Response(pieces()))
    connection.transport.block()
    connection.receive(GET)
    assert produced <= 6 * 16_384
    connection.do(connection.transport.unblock)
    assert produced == 100 * 16_384
    assert connection.transport.take().endswith(b"\r\n0\r\n\r\n")


def test_content_larger_than_a_transport_holds_leaves_piece_by_piece(clock: Clock) -> None:
    """Defaults 5: what waits for a client stays at the marks, however much there is."""
    contents: list[Any] = [b"x" * 20_000_000, [b"x" * 10_000_000, bytearray(b"x" * 10_000_000)]]
    for content in contents:
        response = Response(content)

        def large(request: Request, response: Response = response) -> Response:
            return response

        connection = Connection(clock, large)
        connection.transport.block()
        connection.receive(GET)
        assert connection.transport.get_write_buffer_size() < 400_000
        connection.do(connection.transport.unblock)
        answer = connection.transport.take()
        assert b"content-length: 20000000\r\n" in answer
        assert answer.count(b"x") == 20_000_000 + answer.partition(b"\r\n\r\n")[0].count(b"x")


def test_a_producer_that_fails_cuts_the_response(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING app-1: no fake end of the body."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("half way")

    connection = Connection(clock, lambda request: Response(pieces()))
    with caplog.at_level(logging.ERROR):
        answer = connection.send(GET)
    assert not answer.endswith(b"0\r\n\r\n")
    assert connection.transport.aborted


def test_a_producer_is_closed_when_the_client_goes(clock: Clock) -> None:
    """HARDENING fault-7."""
    closed: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(1)
        finally:
            closed.append(True)

    connection = Connection(clock, lambda request: Response(pieces()))
    connection.send(GET)
    connection.do(connection.transport.lose, ConnectionResetError())
    assert closed == [True]


def test_a_file_is_sent_and_closed(clock: Clock) -> None:
    file = io.BytesIO(b"0123456789")
    part = FilePart(file, 2, 5, close_file=True)
    answer = Connection(clock, lambda request: Response(part)).send(GET)
    assert answer.endswith(b"content-length: 5\r\n\r\n23456")
    assert file.closed


def test_a_file_is_closed_when_the_client_goes(clock: Clock) -> None:
    file = io.BytesIO(b"0123456789")
    connection = Connection(clock, lambda request: Response(FilePart(file, 0, 9, close_file=True)))
    connection.transport.block()
    connection.receive(GET)
    assert not file.closed
    connection.do(connection.transport.lose, ConnectionResetError())
    assert file.closed


# ── time ──────────────────────────────────────────────────────────────────────


def test_a_head_that_dribbles_is_408_in_20_seconds(clock: Clock) -> None:
    """HARDENING h1-9: the time is for the whole head; octets do not renew it."""
    connection = Connection(clock, hello)
    connection.send(b"GET / HTTP/1.1\r\n")
    for _ in range(3):
        clock.advance(5)
        assert connection.send(b"X") == b""
    clock.advance(4.9)
    assert connection.transport.take() == b""
    clock.advance(0.2)
    assert connection.transport.take().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    clock.advance(5)
    assert connection.transport.closed


@pytest.mark.parametrize("octets", [b"", b"GE"])
def test_without_a_request_line_the_connection_is_plainly_closed(
    clock: Clock, octets: bytes
) -> None:
    """HARDENING h1-9."""
    connection = Connection(clock, hello)
    if octets:
        connection.send(octets)
    clock.advance(19.9)
    assert not connection.transport.closed
    clock.advance(0.2)
    assert connection.transport.closed
    assert connection.transport.take() == b""


def test_a_later_head_has_its_own_20_seconds(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.send(GET)
    clock.advance(50)
    connection.send(GET[:-4])
    clock.advance(19.9)
    assert connection.transport.take() == b""
    clock.advance(0.2)
    assert connection.transport.take().startswith(b"HTTP/1.1 408 ")


def test_an_idle_time_shorter_than_that_of_a_head_is_kept(clock: Clock) -> None:
    connection = Connection(clock, hello, timeouts=Timeouts(head=20, idle=2))
    clock.advance(1)
    assert connection.send(GET) == HELLO
    clock.advance(1.5)
    assert not connection.transport.closed
    clock.advance(0.6)
    assert connection.transport.close_reason == "idle"

    # A head that is late all but makes its timer late for what comes after it.
    connection = Connection(clock, hello, timeouts=Timeouts(head=20, idle=2))
    connection.receive(GET[:10])
    clock.advance(15)
    assert connection.send(GET[10:]) == HELLO
    clock.advance(2.1)
    assert connection.transport.close_reason == "idle"


def test_an_idle_connection_is_closed_after_60_seconds_and_a_used_one_is_not(
    clock: Clock,
) -> None:
    connection = Connection(clock, hello)
    for _ in range(5):
        assert connection.send(GET) == HELLO
        clock.advance(50)
        assert not connection.transport.closed
    clock.advance(9.9)
    assert not connection.transport.closed
    clock.advance(0.2)
    assert connection.transport.closed
    assert connection.transport.close_reason == "idle"


def test_content_that_stops_is_408_in_time_behind_another_request_too(clock: Clock) -> None:
    """HARDENING h1-10."""

    async def slow(request: Request) -> Response:
        if request.method == "GET":
            await asyncio.sleep(1)
        return text(str(len(await request.read())))

    connection = Connection(clock, slow)
    connection.receive(GET + POST + b"Content-Length: 10\r\n\r\nhalf")
    clock.advance(1)
    assert connection.transport.take().endswith(b"\r\n\r\n0")
    clock.advance(5.1)
    assert connection.transport.take().startswith(b"HTTP/1.1 408 ")


def test_content_that_dribbles_is_408(clock: Clock) -> None:
    """HARDENING h1-10: 240 octets a second after 5 seconds of grace."""
    connection = Connection(clock, echo, limits=Limits(body=10**7))

    async def take(request: Request) -> Response:
        return text(str(len(await request.read(10**7))))

    connection = Connection(clock, take)
    connection.send(POST + b"Content-Length: 1000000\r\n\r\n")
    clock.advance(4.9)
    assert connection.send(b"x") == b""
    clock.advance(0.2)
    assert connection.transport.take().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not connection.protocol.busy


def test_content_that_comes_fast_enough_is_waited_for(clock: Clock) -> None:
    async def take(request: Request) -> Response:
        return text(str(len(await request.read(10**7))))

    connection = Connection(clock, take)
    connection.send(POST + b"Content-Length: 30000\r\n\r\n")
    for _ in range(30):
        clock.advance(3)
        connection.receive(b"x" * 1000)
    assert connection.transport.take().endswith(b"30000")


def test_a_handler_that_does_not_read_is_not_the_clients_fault(clock: Clock) -> None:
    async def sleepy(request: Request) -> Response:
        body = request.body
        await asyncio.sleep(100)
        return text(str(len(await body.read(10**7))))

    connection = Connection(clock, sleepy)
    connection.send(POST + b"Content-Length: 200000\r\n\r\n")
    given = 0
    while connection.transport.reading:
        connection.receive(b"x" * 10_000)
        given += 10_000
    clock.advance(99)
    assert connection.transport.take() == b""
    assert not connection.transport.closed
    clock.advance(1)
    while given < 200_000:
        connection.receive(b"x" * 10_000)
        given += 10_000
    assert connection.transport.take().endswith(b"200000")


def test_a_handler_takes_the_time_that_it_takes(clock: Clock) -> None:
    async def sleepy(request: Request) -> Response:
        await asyncio.sleep(1000)
        return text("Hello")

    connection = Connection(clock, sleepy)
    connection.send(GET)
    clock.advance(999)
    assert not connection.transport.closed
    clock.advance(1)
    assert connection.transport.take() == HELLO


@pytest.mark.parametrize("how", ["octets", "file", "stream"])
def test_a_client_that_does_not_read_is_aborted_after_60_seconds(clock: Clock, how: str) -> None:
    """HARDENING h1-11."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 16_384

    def handler(request: Request) -> Response:
        if how == "file":
            return Response(FilePart(io.BytesIO(b"x" * 10**6), 0, 10**6, close_file=True))
        return Response(pieces() if how == "stream" else b"x" * 10**6)

    connection = Connection(clock, handler)
    connection.transport.block()
    connection.receive(GET)
    clock.advance(30)
    connection.do(connection.transport.unblock, 1000)  # some progress: another 60 seconds
    clock.advance(55)
    assert not connection.transport.closed
    clock.advance(10)
    assert connection.transport.aborted
    assert connection.transport.close_reason == "timeout"


def test_timeouts_can_be_set(clock: Clock) -> None:
    connection = Connection(clock, hello, timeouts=Timeouts(head=1, idle=2))
    connection.send(GET)
    clock.advance(1.9)
    assert not connection.transport.closed
    clock.advance(0.2)
    assert connection.transport.closed


def test_a_connection_has_one_timer_and_a_request_makes_none(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.send(GET)
    before = clock.pending
    for _ in range(10):
        connection.send(GET)
    assert clock.pending == before
    assert len(before) == 1
    connection.do(connection.transport.lose)
    assert clock.pending == []


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_refused_client_can_read_why_before_the_connection_ends(clock: Clock) -> None:
    """RFC 9112 §9.6: the way out is closed first, what still comes is thrown away."""
    connection = Connection(clock, hello)
    assert connection.send(b"GET / HTTP/1.1\r\nHost: <\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert connection.transport.eof_written
    assert not connection.transport.closed
    assert connection.send(GET * 100) == b""
    connection.do(connection.transport.receive_eof)
    assert connection.transport.closed


def test_a_refused_client_that_goes_on_is_cut_off(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.send(b"\0")
    clock.advance(2.1)
    assert connection.transport.closed
    assert clock.pending == []


def test_connection_close_closes(clock: Clock) -> None:
    connection = Connection(clock, hello)
    answer = connection.send(GET[:-2] + b"Connection: close\r\n\r\n")
    assert b"connection: close\r\n" in answer
    assert connection.transport.closed
    assert connection.transport.close_reason == "clean"


def test_draining_lets_a_download_finish(clock: Clock) -> None:
    """HARDENING fault-4: what is under way is finished, with the connection after it."""
    file = io.BytesIO(b"x" * 100_000)

    def handler(request: Request) -> Response:
        return Response(FilePart(file, 0, 100_000, close_file=True))

    connection = Connection(clock, handler)
    connection.transport.block()
    connection.receive(GET)
    connection.do(connection.protocol.drain)
    connection.do(connection.transport.unblock)
    assert connection.transport.take().endswith(b"x" * 100_000)
    clock.advance(2 * GRACE)
    assert connection.transport.closed
    assert connection.transport.close_reason == "drained"


def test_draining_answers_what_was_asked_with_connection_close(clock: Clock) -> None:
    """HARDENING fault-4."""
    waiting: Deferred[Response] = Deferred()
    connection = Connection(clock, lambda request: waiting)
    connection.send(GET)
    connection.do(connection.protocol.drain)
    assert not connection.transport.closed
    connection.do(waiting.callback, text("Hello"))
    assert b"connection: close\r\n" in connection.transport.take()
    assert connection.transport.closed


def test_draining_an_idle_connection_closes_it_unless_it_asks_once_more(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.send(GET)
    connection.do(connection.protocol.drain)
    assert not connection.transport.closed
    clock.advance(GRACE)
    assert connection.transport.closed
    assert connection.transport.close_reason == "drained"


def test_a_draining_connection_answers_one_more_request(clock: Clock) -> None:
    """HARDENING fault-4: the client may have sent it before it could learn of the end."""
    connection = Connection(clock, hello)
    connection.send(GET)
    connection.do(connection.protocol.drain)
    clock.advance(GRACE / 2)
    answer = connection.send(GET + GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close\r\n" in answer
    clock.advance(LINGER)
    assert connection.transport.closed


def test_a_connection_whose_first_request_may_be_on_its_way_is_given_a_moment(
    clock: Clock,
) -> None:
    """HARDENING fault-4."""
    connection = Connection(clock, hello)
    connection.do(connection.protocol.drain)
    clock.advance(GRACE / 2)
    assert b"connection: close\r\n" in connection.send(GET)
    connection = Connection(clock, hello)
    connection.do(connection.protocol.drain)
    clock.advance(GRACE)
    assert connection.transport.closed


def test_an_answer_that_did_not_say_so_is_not_the_last_of_a_draining_connection(
    clock: Clock,
) -> None:
    """HARDENING fault-4: its head had left before anybody asked the connection to end."""
    more: Deferred[bytes] = Deferred()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield await more

    connection = Connection(clock, lambda request: Response(pieces()))
    assert b"connection: close" not in connection.send(GET)
    connection.do(connection.protocol.drain)
    clock.advance(20 * GRACE)
    assert not connection.transport.closed
    connection.do(more.callback, b"two")
    assert connection.transport.take().endswith(b"two\r\n0\r\n\r\n")
    assert not connection.transport.closed
    answer = connection.send(GET)
    assert b"connection: close\r\n" in answer
    clock.advance(LINGER)
    assert connection.transport.closed


def test_a_draining_connection_waits_until_its_client_has_taken_the_answer(clock: Clock) -> None:
    """HARDENING fault-4: before that it cannot ask again."""
    connection = Connection(clock, hello)
    connection.transport.block()
    connection.receive(GET)
    connection.do(connection.protocol.drain)
    clock.advance(5 * GRACE)
    assert not connection.transport.closed
    connection.do(connection.transport.unblock)
    clock.advance(GRACE / 2)
    assert b"connection: close\r\n" in connection.send(GET)


# ── answers given piece by piece ──────────────────────────────────────────────


def test_a_handler_may_give_its_answer_piece_by_piece(clock: Clock) -> None:
    async def handler(request: Request) -> None:
        answer = request.start(200, {"X-Kind": "pieces"})
        await answer.write(b"one")
        answer.send(b"two")
        answer.end([(b"x-sum", b"6")])
        assert answer.ended
        assert answer.sent == 6

    connection = Connection(clock, handler)
    answer = connection.send(GET)
    assert b"x-kind: pieces\r\ntransfer-encoding: chunked\r\n\r\n" in answer
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 6\r\n\r\n")
    assert connection.send(GET).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_answer_that_was_begun_and_not_ended_is_cut(clock: Clock) -> None:
    """No end may be made up: the client could take what it has for the whole."""

    async def handler(request: Request) -> None:
        await request.start().write(b"one")

    connection = Connection(clock, handler)
    connection.send(GET)
    assert connection.transport.close_reason == "error"


def test_a_handler_may_go_on_behind_its_answer_and_holds_nobody_up(clock: Clock) -> None:
    waiting: Deferred[None] = Deferred()

    async def handler(request: Request) -> None:
        request.reply(200, [(b"x-kind", b"whole")], b"Hello")
        await waiting

    connection = Connection(clock, handler)
    assert connection.send(GET).endswith(b"x-kind: whole\r\ncontent-length: 5\r\n\r\nHello")
    assert connection.send(GET).endswith(b"Hello")
    assert connection.protocol.open_exchanges == 2
    connection.do(waiting.callback, None)
    assert connection.protocol.open_exchanges == 0


def test_a_handler_that_gives_nothing_has_failed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(clock, lambda request: None)
    assert connection.send(GET).startswith(b"HTTP/1.1 500 ")
    assert "a handler gave None" in caplog.text


def test_early_hints_go_before_the_answer(clock: Clock) -> None:
    """RFC 8297."""

    def handler(request: Request) -> Response:
        request.early_hints("</style.css>; rel=preload; as=style")
        return text("Hello")

    answer = Connection(clock, handler).send(GET)
    assert answer.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n"
        b"HTTP/1.1 200 OK\r\n"
    )


def test_trailers_are_asked_for_when_the_content_has_been_sent(clock: Clock) -> None:
    seen: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two"):
            seen.append(piece)
            yield piece

    def handler(request: Request) -> Response:
        return Response(pieces(), trailers=lambda: {"X-Pieces": str(len(seen))})

    answer = Connection(clock, handler).send(GET)
    assert answer.endswith(b"0\r\nx-pieces: 2\r\n\r\n")


def test_whole_content_with_trailers_is_chunked(clock: Clock) -> None:
    connection = Connection(clock, lambda request: Response(b"one", trailers={"X-Sum": "3"}))
    assert connection.send(GET).endswith(b"3\r\none\r\n0\r\nx-sum: 3\r\n\r\n")


# ── changing over ─────────────────────────────────────────────────────────────


class Shout(Protocol):
    """Gives back what it gets, louder."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


UPGRADE = b"GET /shout HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"


def test_an_upgrade_gives_the_connection_away_with_what_came_behind(clock: Clock) -> None:
    connection = Connection(clock, lambda request: Upgrade(Shout(), {"X-Kind": "loud"}))
    answer = connection.send(UPGRADE + b"hello ")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nx-kind: loud\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\nHELLO " in answer
    assert connection.send(b"there") == b"THERE"
    assert clock.pending == []


def test_an_upgrade_nobody_asked_for_is_the_handler_s_fault(clock: Clock) -> None:
    connection = Connection(clock, lambda request: Upgrade(Shout()))
    assert connection.send(GET).startswith(b"HTTP/1.1 500 ")


def test_connect_can_be_answered_with_a_tunnel(clock: Clock) -> None:
    """RFC 9110 §9.3.6: a 2xx to CONNECT has neither content nor framing."""

    async def handler(request: Request) -> Response:
        assert request.host == "example.org:443"
        return Upgrade(Shout(), status=200)

    connection = Connection(clock, handler)
    answer = connection.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length" not in answer
    assert b"transfer-encoding" not in answer
    assert connection.send(b"hello") == b"HELLO"


def test_a_refused_connect_is_an_answer_like_others(clock: Clock) -> None:
    connection = Connection(clock, lambda request: text("no\n", 403))
    answer = connection.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"content-length: 3\r\n\r\nno\n")


def test_the_preface_of_http2_is_refused_where_it_is_off(clock: Clock) -> None:
    """HARDENING h1-13."""
    connection = Connection(clock, hello, http2=False)
    answer = connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 505 ")


def test_the_preface_of_http2_is_one_only_at_the_beginning(clock: Clock) -> None:
    connection = Connection(clock, hello, http2=True)
    connection.send(GET)
    assert connection.send(b"PRI * HTTP/2.0\r\n\r\n").startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("at", range(len(GET)))
def test_a_reset_at_any_octet_leaves_nothing_behind(clock: Clock, at: int) -> None:
    """HARDENING fault-7."""
    connection = Connection(clock, hello)
    connection.receive(GET[:at] or b"G")
    connection.do(connection.transport.lose, ConnectionResetError())
    assert clock.pending == []
    assert connection.transport.errors == []


def test_a_handler_is_cancelled_when_its_client_goes(clock: Clock) -> None:
    ended: list[str] = []

    async def sleepy(request: Request) -> Response:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return text("x")

    connection = Connection(clock, sleepy)
    connection.send(GET)
    connection.do(connection.transport.lose, ConnectionResetError())
    assert ended == ["cancelled"]


# ── the access log ────────────────────────────────────────────────────────────


def test_each_request_is_one_line(clock: Clock) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, wall_clock=lambda: NOON)
    connection = Connection(clock, hello, access_log=log)
    connection.send(b'GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: x"y\xff\r\nReferer: /b\r\n\r\n')
    connection.send(b"\0")
    log.close()
    lines = stream.getvalue().decode("ascii").splitlines()
    stamp = "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000]"
    assert lines == [
        stamp + r' "GET /a HTTP/1.1" 200 5 "/b" "x\x22y\xff"',
        stamp + ' "-" 400 16 "-" "-"',
    ]
