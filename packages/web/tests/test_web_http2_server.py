"""One HTTP/2 connection of a server, on a recording transport and a virtual clock."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from packages.web.tests.http2_frames import GET, POST, Client, Fields, frame
from sennit.core.address import InternetAddress
from sennit.core.engine import NEED_DATA, FilePart, NoEvent
from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.interfaces import IStreamTransport
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import HTTP2Limits, HTTPServer, Request, Response, http_server, text
from sennit.web.answering import Upgrade
from sennit.web.client.messages import IncomingResponse, OutgoingRequest
from sennit.web.http2 import framing
from sennit.web.http2.reading import read_files
from sennit.web.http2.server import HTTP2ServerProtocol
from sennit.web.proxy.reverse import ReverseProxy
from sennit.web.websocket.server import accept_websocket

NOON = 784111777.0
WEBSOCKET: Fields = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *GET[1:],
    (b"sec-websocket-version", b"13"),
]


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


class Wire:
    """A transport as `Client` sees an engine."""

    def __init__(self, clock: Clock, transport: RecordingTransport) -> None:
        self.clock = clock
        self.transport = transport

    def receive_data(self, data: bytes) -> None:
        self.clock.call_soon(self.transport.receive, data)
        self.clock.pump()

    def next_event(self) -> NoEvent:
        return NEED_DATA

    def data_to_send(self) -> list[bytes]:
        return [self.transport.take()]


class Connection:
    """A client's view of one connection."""

    def __init__(self, clock: Clock, handler: Callable[[Request], Any], **options: Any) -> None:
        self.clock = clock
        self.server: HTTPServer = http_server(
            handler, clock=clock, wall_clock=lambda: NOON, http2=True, **options
        )
        self.protocol = HTTP2ServerProtocol(self.server)
        self.transport = RecordingTransport(self.protocol, peer=InternetAddress("192.0.2.1", 5000))
        self.client = Client(Wire(clock, self.transport))
        self.client.begin()
        self.client.frames.clear()

    def ask(self, stream: int, fields: Fields = GET, *, end: bool = True) -> None:
        self.client.say(self.client.headers(stream, fields, end=end))

    def say(self, data: bytes) -> None:
        self.client.say(data)

    def settle(self) -> None:
        self.clock.pump()
        self.client.hear()

    def content(self, stream: int) -> bytes:
        return b"".join(
            payload
            for kind, _, number, payload in self.client.frames
            if kind == framing.DATA and number == stream
        )

    def statuses(self) -> list[tuple[int, bytes]]:
        self.client.hear()
        heard = [(number, p) for kind, _, number, p in self.client.frames if kind == 1]
        self.client.frames = [each for each in self.client.frames if each[0] != 1]
        return [
            (number, bytes(value))
            for number, payload in heard
            for name, value in self.client.decoder.decode(payload, raw=True)
            if name == b":status"
        ]


def window(stream: int, octets: int) -> bytes:
    return frame(framing.WINDOW_UPDATE, 0, stream, octets.to_bytes(4, "big"))


def hello(request: Request) -> Response:
    return text("Hello")


# ── handlers ──────────────────────────────────────────────────────────────────


def test_a_plain_handler_answers_in_the_same_turn(clock: Clock) -> None:
    connection = Connection(clock, hello)

    connection.ask(1)

    assert connection.statuses() == [(1, b"200")]
    assert connection.content(1) == b"Hello"


def test_handlers_stand_side_by_side_and_answer_when_they_are_ready(clock: Clock) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(3 if request.path == "/slow" else 1)
        return text(request.path)

    connection = Connection(clock, handler)
    connection.ask(1, [*GET[:3], (b":path", b"/slow")])
    connection.ask(3, [*GET[:3], (b":path", b"/quick")])

    clock.advance(1)
    assert connection.statuses() == [(3, b"200")]
    clock.advance(2)
    assert connection.statuses() == [(1, b"200")]


def test_a_request_that_is_given_up_cancels_its_handler_alone(clock: Clock) -> None:
    cancelled: list[str] = []

    async def handler(request: Request) -> Response:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled.append(request.path)
            raise
        return text("done")

    connection = Connection(clock, handler)
    connection.ask(1, [*GET[:3], (b":path", b"/given-up")])
    connection.ask(3)
    connection.say(frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    clock.advance(5)

    assert cancelled == ["/given-up"]
    assert connection.statuses() == [(3, b"200")]
    assert not connection.transport.closed


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a Task begins at once since Python 3.12")
def test_a_handler_that_was_given_up_before_its_first_step_leaves_no_coroutine(
    clock: Clock,
) -> None:
    async def handler(request: Request) -> Response:
        return text("never")

    connection = Connection(clock, handler)

    connection.say(
        connection.client.headers(1, GET) + frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x08")
    )

    assert connection.statuses() == []
    assert not connection.protocol.busy


def test_cancelled_handlers_count_until_they_have_ended(clock: Clock) -> None:
    """HARDENING h2-1: never more at work than there may be streams."""
    running = most = 0

    async def handler(request: Request) -> Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
            raise
        finally:
            running -= 1
        return text("")

    connection = Connection(clock, handler)
    for stream in range(1, 301, 2):
        connection.ask(stream)
        connection.say(frame(framing.RST_STREAM, 0, stream, b"\0\0\0\x08"))

    assert most == 100
    clock.advance(10)
    clock.advance(10)
    assert running == 0
    assert not connection.protocol.busy


def test_content_is_read_with_its_own_window(clock: Clock) -> None:
    reading = asyncio.Event()

    async def handler(request: Request) -> Response:
        await reading.wait()
        return text(str(len(await request.read())))

    connection = Connection(clock, handler)
    connection.ask(1, POST, end=False)
    for _ in range(16):
        connection.say(frame(framing.DATA, 0, 1, bytes(16_384)))
    assert connection.client.codes(framing.GOAWAY) == []
    assert [kind for kind, *_ in connection.client.frames if kind == framing.WINDOW_UPDATE] == []
    assert connection.transport.reading

    clock.call_soon(reading.set)
    connection.settle()
    connection.say(frame(framing.DATA, 1, 1, b"end"))

    assert [n for kind, _, n, _ in connection.client.frames if kind == framing.WINDOW_UPDATE] != []
    assert connection.content(1) == b"262147"


def test_a_writer_waits_for_the_window_of_its_stream(clock: Clock) -> None:
    """HARDENING fault-15: what waits for a slow reader stays within marks."""
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        while made < 1 << 30:
            made += 8192
            yield bytes(8192)

    connection = Connection(clock, lambda request: Response(pieces()))
    connection.ask(1)

    read = 65_535
    for _ in range(20):
        clock.advance(1)
        connection.client.hear()
        assert len(connection.content(1)) == read
        assert made <= read + 64 * 1024 + 16 * 1024
        connection.say(window(0, 1024) + window(1, 1024))
        read += 1024
    connection.transport.lose()
    clock.pump()
    assert not connection.protocol.busy


def test_a_response_writer_waits_and_ends_with_trailers(clock: Clock) -> None:
    written: list[int] = []

    async def handler(request: Request) -> None:
        writer = request.start(200, {"x-a": "b"})
        for _ in range(20):
            await writer.write(bytes(8192))
            written.append(writer.sent)
        writer.end([(b"x-sum", b"1")])

    connection = Connection(clock, handler)
    connection.ask(1)
    assert len(written) == 15  # the window, and 64 KiB that wait for it

    connection.say(window(0, 200_000) + window(1, 200_000))

    assert written[-1] == 20 * 8192
    assert len(connection.content(1)) == 20 * 8192
    assert connection.client.frames[-1][:2] == (framing.HEADERS, 5)


def test_early_hints_come_first(clock: Clock) -> None:
    def handler(request: Request) -> Response:
        request.early_hints("</style.css>; rel=preload")
        return text("Hello")

    connection = Connection(clock, handler)
    connection.ask(1)

    assert connection.statuses() == [(1, b"103"), (1, b"200")]


def test_content_waits_for_100_where_the_client_does(clock: Clock) -> None:
    async def handler(request: Request) -> Response:
        return text((await request.read()).decode())

    connection = Connection(clock, handler)
    connection.ask(1, [*POST, (b"expect", b"100-continue")], end=False)
    assert connection.statuses() == [(1, b"100")]

    connection.say(frame(framing.DATA, 1, 1, b"content"))

    assert connection.statuses() == [(1, b"200")]
    assert connection.content(1) == b"content"


def test_an_exception_is_500_and_costs_its_stream_alone(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10."""

    def handler(request: Request) -> Response:
        if request.path == "/bad":
            raise RuntimeError("no")
        return text("Hello")

    connection = Connection(clock, handler)
    connection.ask(1, [*GET[:3], (b":path", b"/bad")])
    connection.ask(3)

    assert connection.statuses() == [(1, b"500"), (3, b"200")]
    assert "RuntimeError: no" in caplog.text


def test_the_access_log_has_requests_and_refusals(clock: Clock) -> None:
    class Log:
        lines: list[Any] = []

        def request(self, connection: Any, head: Any, status: int, sent: int) -> None:
            self.lines.append((head.version, head.path, status, sent))

        def refused(self, connection: Any, status: int, sent: int) -> None:
            self.lines.append((status, sent))

    connection = Connection(clock, hello, access_log=Log())
    connection.ask(1)
    connection.ask(3, [*GET, (b"Bad", b"1")])

    assert Log.lines == [(b"2", b"/", 200, 5), (400, 0)]


# ── files ─────────────────────────────────────────────────────────────────────


def test_a_file_is_read_in_stretches_and_closed(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "file"
    octets = os.urandom(50_000)
    path.write_bytes(octets)
    files: list[Any] = []

    def handler(request: Request) -> Response:
        files.append(path.open("rb"))
        return Response(FilePart(files[0], 100, 49_900, close_file=True))

    connection = Connection(clock, handler)
    connection.ask(1)

    assert connection.content(1) == octets[100:]
    assert files[0].closed


def test_a_file_that_is_shorter_than_it_was_ends_the_connection(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The head of its frame has promised the octets."""
    file = io.BytesIO(b"short")
    connection = Connection(
        clock, lambda request: Response(FilePart(file, 0, 100, close_file=True))
    )
    connection.ask(1)

    assert connection.transport.aborted
    assert file.closed
    assert "EOFError" in caplog.text


def test_parts_that_follow_one_another_are_read_at_once() -> None:
    class File(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    file = File(bytes(range(200)))

    pieces = read_files(
        [b"h", FilePart(file, 0, 50), b"h", FilePart(file, 50, 50), FilePart(file, 150, 10)]
    )

    assert [bytes(piece) for piece in pieces] == [
        b"h",
        bytes(range(50)),
        b"h",
        bytes(range(50, 100)),
        bytes(range(150, 160)),
    ]
    assert file.reads == 2


# ── the end, and time ─────────────────────────────────────────────────────────


def test_draining_says_so_and_answers_what_is_open(clock: Clock) -> None:
    """HARDENING fault-4."""

    async def handler(request: Request) -> Response:
        await asyncio.sleep(5)
        return text("Hello")

    connection = Connection(clock, handler)
    connection.ask(1)

    connection.protocol.drain()
    connection.client.hear()
    ping = next(p for kind, _, _, p in connection.client.frames if kind == framing.PING)
    connection.ask(3)
    connection.say(frame(framing.PING, framing.ACK, 0, ping))
    connection.ask(5)
    clock.advance(5)

    assert connection.client.codes(framing.RST_STREAM) == [framing.REFUSED_STREAM]
    assert connection.statuses() == [(1, b"200"), (3, b"200")]
    clock.advance(2)
    assert connection.transport.close_reason == "drained"


def test_an_idle_connection_is_let_go(clock: Clock) -> None:
    connection = Connection(clock, hello)
    connection.ask(1)

    clock.advance(59)
    assert not connection.transport.eof_written
    clock.advance(3)

    connection.client.hear()
    assert connection.client.codes(framing.GOAWAY) == [framing.NO_ERROR]
    assert connection.transport.closed


def test_a_client_that_reads_nothing_is_given_up_after_a_minute(clock: Clock) -> None:
    """As h1-11."""
    connection = Connection(clock, lambda request: Response(bytes(10 << 20)))
    connection.say(window(0, 1 << 30) + frame(framing.SETTINGS, 0, 0, b"\0\x04\x40\0\0\0"))
    connection.transport.block()
    connection.ask(1)

    clock.advance(55)
    assert not connection.transport.closed
    clock.advance(10)

    assert connection.transport.close_reason == "timeout"


def test_a_connection_that_breaks_a_rule_hears_why_before_it_is_closed(clock: Clock) -> None:
    connection = Connection(clock, hello)

    connection.say(frame(framing.DATA, 0, 0, b"x"))

    assert connection.client.codes(framing.GOAWAY) == [framing.PROTOCOL_ERROR]
    assert connection.transport.eof_written
    clock.advance(1)
    assert connection.transport.closed


def test_every_cut_of_what_comes_gives_the_same(clock: Clock) -> None:
    connection = Connection(clock, hello)
    data = connection.client.headers(1, GET) + connection.client.headers(3, GET)

    for at in range(len(data)):
        connection.say(data[at : at + 1])

    assert connection.statuses() == [(1, b"200"), (3, b"200")]


@pytest.mark.parametrize("how", ["lose", "receive_eof"])
def test_an_end_at_any_octet_ends_all_that_was_begun(clock: Clock, how: str) -> None:
    """HARDENING fault-7."""

    async def handler(request: Request) -> Response:
        return text(str(len(await request.read())))

    data = b""
    for at in range(200):
        connection = Connection(clock, handler)
        data = connection.client.headers(1, POST, end=False) + frame(framing.DATA, 0, 1, b"some")
        data += connection.client.headers(3, GET) + frame(framing.DATA, 1, 1, b"more")
        connection.say(data[:at])
        clock.call_soon(getattr(connection.transport, how))
        clock.advance(2)

        assert not connection.protocol.busy
        assert connection.transport.closed
        assert connection.transport.errors == []
        if at > len(data):
            break


# ── how it is chosen ──────────────────────────────────────────────────────────


def test_a_connection_that_begins_with_the_preface_speaks_http2(clock: Clock) -> None:
    server: HTTPServer = http_server(hello, clock=clock, wall_clock=lambda: NOON)
    transport = RecordingTransport(server.build_protocol(None))
    client = Client(Wire(clock, transport))

    client.begin()
    client.say(client.headers(1, GET))

    assert (framing.DATA, 1, 1, b"Hello") in client.frames
    assert isinstance(transport.get_protocol(), HTTP2ServerProtocol)


def test_limits_of_ones_own_are_kept(clock: Clock) -> None:
    server: HTTPServer = http_server(hello, clock=clock, http2=HTTP2Limits(streams=7))
    transport = RecordingTransport(HTTP2ServerProtocol(server))
    client = Client(Wire(clock, transport))

    [settings, *_] = client.hear()

    assert b"\0\x03\0\0\0\x07" in settings[3]


# ── a stream that is given away ───────────────────────────────────────────────


def test_content_that_is_not_there_ends_at_once(clock: Clock) -> None:
    """A client that sends none would else keep its handler for ever."""

    async def count(request: Request) -> Response:
        return text(str([bytes(piece) async for piece in request.body]))

    connection = Connection(clock, count)
    connection.ask(1)
    connection.settle()

    assert connection.content(1) == b"[]"
    assert not connection.protocol.busy


class Echo(Protocol):
    """Says again what it hears, and notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(bytes(data))
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return False

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc if exc is None else type(exc))


def _tunnel(clock: Clock) -> tuple[Connection, Echo]:
    echo = Echo()
    connection = Connection(clock, lambda request: Upgrade(echo))
    connection.ask(1, WEBSOCKET, end=False)
    connection.settle()
    assert connection.statuses() == [(1, b"200")]
    return connection, echo


def test_a_protocol_runs_on_one_stream_beside_requests(clock: Clock) -> None:
    """RFC 8441 §5."""
    connection, echo = _tunnel(clock)

    connection.say(frame(framing.DATA, 0, 1, b"one"))
    connection.settle()
    connection.say(frame(framing.DATA, 1, 1, b"two"))
    connection.settle()

    assert echo.calls == ["made", b"one", b"two", "eof", None]
    assert connection.content(1) == b"onetwo"
    assert connection.client.frames[-1][:3] == (framing.DATA, framing.END_STREAM, 1)
    assert not connection.transport.closed
    assert not connection.protocol.busy


def test_a_stream_is_a_transport(clock: Clock) -> None:
    connection, echo = _tunnel(clock)

    assert verifyObject(IStreamTransport, echo.transport)
    assert echo.transport.peer == InternetAddress("192.0.2.1", 5000)
    assert echo.transport.get_protocol() is echo
    assert connection.transport.peer == echo.transport.peer


def test_a_stream_sends_files_and_many_pieces(clock: Clock) -> None:
    connection, echo = _tunnel(clock)
    file = io.BytesIO(b"0123456789")
    sent: list[int] = []

    echo.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    echo.transport.sendfile(file, 2, 5).add_callback(sent.append)
    echo.transport.sendfile(file, 8).add_callback(sent.append)
    connection.settle()

    assert connection.content(1) == b"abc2345689"
    assert sent == [5, 2]
    assert echo.transport.can_write_eof()
    assert echo.transport.get_extra_info("nothing", 7) == 7


def test_after_its_end_a_stream_takes_nothing_more(clock: Clock) -> None:
    connection, echo = _tunnel(clock)
    lost: list[BaseException] = []
    echo.transport.write_eof()
    with pytest.raises(UsageError):
        echo.transport.write(b"late")

    echo.transport.close()
    echo.transport.write(b"later yet")
    echo.transport.sendfile(io.BytesIO(b"x")).add_errback(lost.append)
    connection.settle()

    assert echo.transport.is_closing()
    assert not echo.transport.is_reading()
    assert isinstance(lost[0], ConnectionLost)
    assert connection.content(1) == b""


def test_a_protocol_that_fails_when_it_begins_or_ends_costs_its_stream_alone(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class FailsAtOnce(Echo):
        def connection_made(self, transport: Any) -> None:
            raise RuntimeError("not now")

    class FailsLate(Echo):
        def eof_received(self) -> bool:
            raise RuntimeError("not then")

    protocols: list[Protocol] = [FailsLate(), FailsAtOnce()]
    connection = Connection(clock, lambda request: Upgrade(protocols.pop()))
    for stream in (1, 3):
        connection.ask(stream, WEBSOCKET, end=False)
        connection.settle()
    connection.say(frame(framing.DATA, 1, 3))
    connection.settle()

    assert "not now" in caplog.text
    assert "not then" in caplog.text
    assert connection.client.codes(framing.RST_STREAM) == [framing.INTERNAL_ERROR] * 2
    assert not connection.transport.closed
    assert not connection.protocol.busy


def test_its_protocol_is_paused_while_the_window_is_closed(clock: Clock) -> None:
    connection, echo = _tunnel(clock)

    for _ in range(20):
        echo.transport.write(bytes(8192))
    connection.settle()
    assert echo.calls == ["made", "pause"]
    assert echo.transport.get_write_buffer_size() == 20 * 8192 - 65_535
    connection.say(window(0, 200_000) + window(1, 200_000))
    connection.settle()

    assert echo.calls == ["made", "pause", "resume"]
    assert len(connection.content(1)) == 20 * 8192


def test_whoever_writes_without_end_to_a_closed_window_is_stopped(clock: Clock) -> None:
    connection, echo = _tunnel(clock)

    for _ in range(17 * 16):
        echo.transport.write(bytes(65_536))
    connection.settle()

    assert echo.transport.close_reason == "limit:write-buffer"
    assert echo.calls[-1] is ConnectionLost
    assert not connection.transport.closed


def test_reading_can_be_paused_which_closes_the_window(clock: Clock) -> None:
    connection, echo = _tunnel(clock)
    echo.transport.pause_reading()
    for _ in range(16):
        connection.say(frame(framing.DATA, 0, 1, bytes(16_384)))
    connection.settle()
    assert echo.calls == ["made"]

    connection.clock.call_soon(echo.transport.resume_reading)
    connection.settle()

    assert sum(len(call) for call in echo.calls if isinstance(call, bytes)) == 262_144


def test_a_paused_protocol_hears_of_no_end_of_input_until_it_reads(clock: Clock) -> None:
    connection, echo = _tunnel(clock)
    echo.transport.pause_reading()
    connection.say(frame(framing.DATA, framing.END_STREAM, 1))
    connection.settle()
    assert echo.calls == ["made"]

    connection.clock.call_soon(echo.transport.resume_reading)
    connection.settle()

    assert echo.calls == ["made", "eof", None]


def test_a_handshake_goes_through_a_proxy_with_one_key(clock: Clock) -> None:
    """HTTP/2 needs none and HTTP/1.1 takes one: what a client sends all the same is dropped."""
    asked: list[OutgoingRequest] = []

    class Stub:
        async def send(self, request: OutgoingRequest) -> IncomingResponse:
            asked.append(request)
            raise ConnectionLost

    pool: Any = Stub()
    connection = Connection(clock, ReverseProxy(["http://one"], pool=pool, retries=0))
    connection.ask(1, [*WEBSOCKET, (b"sec-websocket-key", b"mine")], end=False)
    connection.settle()

    keys = [value for name, value in asked[0].headers if name == b"sec-websocket-key"]
    assert len(keys) == 1
    assert keys != [b"mine"]


@pytest.mark.parametrize("how", ["close", "abort", "write_eof"])
def test_ending_it_ends_the_stream_and_not_the_connection(clock: Clock, how: str) -> None:
    connection, echo = _tunnel(clock)
    echo.transport.write(b"last")
    getattr(echo.transport, how)()
    connection.settle()
    if how == "write_eof":
        assert echo.calls == ["made"]
        connection.say(frame(framing.DATA, 1, 1, b""))
        connection.settle()

    assert echo.calls[-1] is (ConnectionLost if how == "abort" else None)
    assert connection.content(1) == (b"" if how == "abort" else b"last")
    resets = connection.client.codes(framing.RST_STREAM)
    assert resets == {"close": [framing.NO_ERROR], "abort": [framing.INTERNAL_ERROR]}.get(how, [])
    assert not connection.protocol.busy
    connection.ask(3, WEBSOCKET, end=False)
    assert connection.statuses() == [(3, b"200")]


def test_draining_reaches_the_protocols_on_streams(clock: Clock) -> None:
    """One that can be asked says its good-bye itself; another is closed."""

    class Polite(Echo):
        def drain(self) -> None:
            self.transport.write(b"bye")
            self.transport.close()

    echo, polite = Echo(), Polite()
    protocols: list[Protocol] = [polite, echo]
    connection = Connection(clock, lambda request: Upgrade(protocols.pop()))
    for stream in (1, 3):
        connection.ask(stream, WEBSOCKET, end=False)
        connection.settle()

    connection.clock.call_soon(connection.protocol.drain)
    connection.settle()
    clock.advance(3)

    assert connection.content(3) == b"bye"
    assert echo.calls[-1] is None
    assert connection.transport.close_reason == "drained"


def test_a_client_that_gives_it_up_is_a_lost_connection(clock: Clock) -> None:
    connection, echo = _tunnel(clock)

    connection.say(frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    connection.settle()

    assert echo.calls == ["made", ConnectionLost]
    with pytest.raises(ConnectionLost):
        clock.run(lambda _: echo.transport.writable())


def test_the_loss_of_the_connection_is_that_of_its_streams(clock: Clock) -> None:
    connection, echo = _tunnel(clock)

    connection.transport.lose()
    connection.settle()

    assert len(echo.calls) == 2
    assert issubclass(echo.calls[1], ConnectionLost)


def test_a_protocol_that_fails_costs_its_stream_alone(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Echo):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("no")

    connection = Connection(clock, lambda request: Upgrade(Fails()))
    connection.ask(1, WEBSOCKET, end=False)

    connection.say(frame(framing.DATA, 0, 1, b"x"))
    connection.settle()

    assert connection.client.codes(framing.RST_STREAM) == [framing.INTERNAL_ERROR]
    assert "RuntimeError: no" in caplog.text
    assert not connection.transport.closed


def test_only_a_connect_can_give_its_stream_away(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(clock, lambda request: Upgrade(Echo()))

    connection.ask(1)

    assert connection.statuses() == [(1, b"500")]
    assert "2xx to CONNECT" in caplog.text


def test_websocket_runs_over_a_stream(clock: Clock) -> None:
    async def chat(ws: Any) -> None:
        async for message in ws:
            await ws.send(message.upper())

    connection = Connection(clock, lambda request: accept_websocket(request, chat))
    connection.ask(1, WEBSOCKET, end=False)
    connection.settle()
    assert connection.statuses() == [(1, b"200")]

    connection.say(frame(framing.DATA, 0, 1, b"\x81\x82\0\0\0\0hi"))
    connection.settle()
    connection.say(frame(framing.DATA, 0, 1, b"\x88\x82\0\0\0\0\x03\xe8"))
    connection.settle()
    connection.say(frame(framing.DATA, 1, 1))
    connection.settle()

    assert connection.content(1) == b"\x81\x02HI" + b"\x88\x02\x03\xe8"
    assert not connection.protocol.busy
