"""One HTTP/2 connection of the client, on a recording transport and a virtual clock."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from packages.web.tests.http2_frames import Fields, Server, frame
from sennit.core.deferred import Deferred
from sennit.core.engine import NEED_DATA, FilePart, NoEvent
from sennit.core.errors import ConnectionAborted, ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web.client.limits import ClientTimeouts, ResponseLimits
from sennit.web.client.messages import IncomingResponse, OutgoingRequest
from sennit.web.errors import (
    RequestTimeoutError,
    UnansweredError,
    WebProtocolError,
    WebUsageError,
)
from sennit.web.http2 import framing
from sennit.web.http2.client import HTTP2ClientConnection

OK: Fields = [(b":status", b"200")]
ENABLE_CONNECT = b"\0\x08\0\0\0\x01"


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


class Wire:
    """A transport as `Server` sees an engine."""

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


class Owner:
    """A pool, as a connection sees it."""

    def __init__(self, clock: Clock) -> None:
        self.clock: Any = clock
        self.changes = 0
        self.gone = 0

    def connection_changed(self, connection: object) -> None:
        self.changes += 1

    def connection_gone(self, connection: object) -> None:
        self.gone += 1


class Connection:
    """A connection, and the server at its other end."""

    def __init__(
        self,
        clock: Clock,
        *,
        settings: bytes | None = b"",
        limits: ResponseLimits | None = None,
        timeouts: ClientTimeouts | None = None,
    ) -> None:
        self.clock = clock
        self.owner = Owner(clock)
        self.client = HTTP2ClientConnection(
            self.owner, limits or ResponseLimits(), timeouts or ClientTimeouts()
        )
        self.transport = RecordingTransport(self.client)
        self.server = Server(Wire(clock, self.transport))
        if settings is None:
            self.transport.take()
        else:
            self.server.begin(settings)
            self.server.frames.clear()

    def ask(self, *arguments: Any, **options: Any) -> Deferred[IncomingResponse]:
        method, url = arguments or ("GET", "https://example.org/")
        request = OutgoingRequest(method, url, **options)
        asked: list[Deferred[IncomingResponse]] = []
        self.do(lambda: asked.append(self.client.begin(request)))
        self.server.hear()
        return asked[0]

    def do(self, fn: Callable[[], object]) -> None:
        self.clock.call_soon(fn)
        self.clock.pump()

    def answer(self, stream: int = 1, fields: Fields = OK, body: bytes | None = None) -> None:
        data = self.server.headers(stream, fields, end=body is None)
        self.server.say(data if body is None else data + frame(framing.DATA, 1, stream, body))

    def read(self, answer: Deferred[IncomingResponse]) -> bytes:
        return self.clock.run(lambda _: given(answer).read())


def given(answer: Deferred[IncomingResponse]) -> IncomingResponse:
    found: list[IncomingResponse] = []

    def keep(response: IncomingResponse) -> IncomingResponse:
        found.append(response)
        return response

    answer.add_callback(keep)
    assert found, "it has not come"
    return found[0]


def failure(answer: Deferred[Any]) -> BaseException:
    found: list[BaseException] = []
    answer.add_errback(found.append)
    assert found, "it has not failed"
    return found[0]


# ── answers ───────────────────────────────────────────────────────────────────


def test_requests_stand_side_by_side(clock: Clock) -> None:
    connection = Connection(clock)
    first, second = connection.ask(), connection.ask()
    assert connection.client.busy == 2

    connection.answer(3, body=b"three")
    connection.answer(1, body=b"one")

    assert connection.read(first) == b"one"
    assert connection.read(second) == b"three"
    assert (connection.client.busy, connection.client.served) == (0, 2)
    assert connection.owner.changes == 2


def test_a_slow_reader_slows_its_own_stream_down(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()
    connection.server.say(connection.server.headers(1, OK, end=False))
    for _ in range(16):
        connection.server.say(frame(framing.DATA, 0, 1, bytes(16_384)))
    assert connection.server.codes(framing.WINDOW_UPDATE) == []
    assert connection.transport.reading

    connection.clock.run(lambda _: anext(aiter(given(answer).body)))
    connection.clock.run(lambda _: anext(aiter(given(answer).body)))
    for _ in range(8):
        connection.clock.run(lambda _: anext(aiter(given(answer).body)))
    connection.server.hear()

    updates = [n for kind, _, n, _ in connection.server.frames if kind == framing.WINDOW_UPDATE]
    assert 1 in updates


def test_interim_responses_are_told(clock: Clock) -> None:
    told: list[Any] = []

    def tell(status: int, headers: Fields) -> None:
        told.append((status, headers))

    connection = Connection(clock)
    connection.ask(
        "GET",
        "https://example.org/",
        on_informational=tell,
    )

    connection.server.say(connection.server.headers(1, [(b":status", b"103")], end=False))

    assert told == [(103, [])]


def test_trailers_come_with_the_end(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()
    connection.server.say(
        connection.server.headers(1, OK, end=False)
        + frame(framing.DATA, 0, 1, b"content")
        + connection.server.headers(1, [(b"x-sum", b"1")])
    )

    assert connection.read(answer) == b"content"
    assert given(answer).trailers == [(b"x-sum", b"1")]


# ── content of requests ───────────────────────────────────────────────────────


def test_content_is_asked_for_as_the_server_takes_it(clock: Clock) -> None:
    """HARDENING fault-15, the client's side of it."""
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(40):
            made += 8192
            yield bytes(8192)

    connection = Connection(clock)
    answer = connection.ask("POST", "https://example.org/", body=pieces())
    assert made <= 65_535 + 64 * 1024 + 8192

    for stream in (0, 1):
        connection.server.say(frame(framing.WINDOW_UPDATE, 0, stream, b"\0\x10\0\0"))
    connection.server.hear()

    assert made == 40 * 8192
    assert connection.server.frames[-1][1] == framing.END_STREAM
    connection.answer()
    assert given(answer).status == 200


def test_a_file_is_sent_and_closed(clock: Clock) -> None:
    file = io.BytesIO(b"0123456789")
    connection = Connection(clock)

    connection.ask("PUT", "https://example.org/", body=FilePart(file, 2, 5, close_file=True))

    assert [p for kind, *_, p in connection.server.frames if kind == 0] == [b"23456"]
    assert file.closed


def test_content_waits_for_100_only_if_asked_to(clock: Clock) -> None:
    connection = Connection(clock, timeouts=ClientTimeouts(expect=1.0))
    connection.ask("POST", "https://example.org/", body=b"now")
    connection.ask("POST", "https://example.org/", body=b"later", expect_continue=True)
    connection.ask("POST", "https://example.org/", body=b"at last", expect_continue=True)
    assert [p for kind, *_, p in connection.server.frames if kind == 0] == [b"now"]

    connection.server.say(connection.server.headers(3, [(b":status", b"100")], end=False))
    connection.server.hear()
    clock.advance(2)
    connection.server.hear()

    sent = [p for kind, *_, p in connection.server.frames if kind == 0]
    assert b"".join(sent) == b"nowlaterat last"


def test_a_program_that_fails_to_give_its_content_costs_its_stream(clock: Clock) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError("no more")

    connection = Connection(clock)
    answer = connection.ask("POST", "https://example.org/", body=pieces())
    connection.server.hear()

    assert isinstance(failure(answer), RuntimeError)
    assert connection.server.codes(framing.RST_STREAM) == [framing.CANCEL]
    assert not connection.transport.closed


def test_an_answer_that_comes_first_ends_the_sending(clock: Clock) -> None:
    ended: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(8192)
        finally:
            ended.append(True)

    connection = Connection(clock)
    answer = connection.ask("POST", "https://example.org/", body=pieces())

    connection.answer(1, [(b":status", b"413")])
    clock.pump()

    assert given(answer).status == 413
    assert ended == [True]
    assert connection.client.busy == 0


# ── what goes wrong ───────────────────────────────────────────────────────────


def test_giving_up_costs_one_stream(clock: Clock) -> None:
    connection = Connection(clock)
    answer, other = connection.ask(), connection.ask()

    connection.do(answer.cancel)
    connection.server.hear()
    connection.answer(3)

    assert connection.server.codes(framing.RST_STREAM) == [framing.CANCEL]
    assert given(other).status == 200
    assert connection.client.busy == 0
    answer.add_errback(lambda _: None)


def test_dropping_a_response_costs_one_stream(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()
    connection.server.say(
        connection.server.headers(1, OK, end=False) + frame(framing.DATA, 0, 1, bytes(1000))
    )

    connection.clock.run(lambda _: given(answer).aclose())
    clock.pump()
    connection.server.hear()

    assert connection.server.codes(framing.RST_STREAM) == [framing.CANCEL]
    assert connection.client.busy == 0


def test_what_was_surely_not_done_says_so(clock: Clock) -> None:
    """RFC 9113 §6.8, §8.7."""
    connection = Connection(clock)
    refused, late, failed = connection.ask(), connection.ask(), connection.ask()

    connection.server.say(frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x07"))
    connection.server.say(frame(framing.RST_STREAM, 0, 5, b"\0\0\0\x02"))
    connection.server.say(frame(framing.GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0"))
    clock.pump()

    errors = [failure(each) for each in (refused, late)]
    assert [type(error) for error in errors] == [UnansweredError] * 2
    assert all(isinstance(error, UnansweredError) and error.untouched for error in errors)
    assert type(failure(failed)) is ConnectionAborted
    assert (connection.client.room, connection.client.ending) == (0, True)
    assert connection.transport.closed
    assert connection.owner.gone == 1


def test_the_end_of_the_connection_ends_what_is_open(clock: Clock) -> None:
    connection = Connection(clock)
    unanswered, half = connection.ask(), connection.ask()
    connection.server.say(connection.server.headers(3, OK, end=False))

    connection.transport.lose()
    clock.pump()

    error = failure(unanswered)
    assert isinstance(error, UnansweredError)
    assert not error.untouched
    with pytest.raises(ConnectionLost, match="inside an answer"):
        connection.read(half)
    assert connection.owner.gone == 1


def test_a_server_that_breaks_a_rule_is_left(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()

    connection.server.say(frame(framing.PUSH_PROMISE, 4, 1, b"\0\0\0\x02"))

    assert isinstance(failure(answer), WebProtocolError)
    assert connection.transport.closed
    assert connection.server.codes(framing.GOAWAY) == [framing.PROTOCOL_ERROR]


def test_a_malformed_answer_costs_its_request(clock: Clock) -> None:
    connection = Connection(clock)
    answer, other = connection.ask(), connection.ask()

    connection.answer(1, [*OK, (b"Upper", b"1")])
    connection.answer(3)

    assert isinstance(failure(answer), WebProtocolError)
    assert given(other).status == 200


@pytest.mark.parametrize(
    ("phase", "timeouts"),
    [("read", ClientTimeouts(read=5.0)), ("total", ClientTimeouts(total=5.0))],
)
def test_what_takes_too_long_costs_its_stream(
    clock: Clock, phase: str, timeouts: ClientTimeouts
) -> None:
    connection = Connection(clock, timeouts=timeouts)
    answer = connection.ask()

    clock.advance(4)
    assert not answer.called
    clock.advance(2)
    connection.server.hear()

    error = failure(answer)
    assert isinstance(error, RequestTimeoutError)
    assert error.phase == phase
    assert connection.server.codes(framing.RST_STREAM) == [framing.CANCEL]
    assert not connection.transport.closed


def test_a_window_that_stays_shut_is_a_time_out_of_writing(clock: Clock) -> None:
    connection = Connection(clock, timeouts=ClientTimeouts(write=5.0))
    answer = connection.ask("POST", "https://example.org/", body=bytes(100_000))

    clock.advance(6)
    clock.advance(6)

    error = failure(answer)
    assert isinstance(error, RequestTimeoutError)
    assert error.phase == "write"


def test_a_file_that_is_shorter_than_it_was_ends_the_connection(clock: Clock) -> None:
    connection = Connection(clock)
    file = io.BytesIO(b"short")

    answer = connection.ask(
        "PUT", "https://example.org/", body=FilePart(file, 0, 100, close_file=True)
    )

    assert isinstance(failure(answer), EOFError)
    assert file.closed
    assert connection.transport.aborted
    assert connection.owner.gone == 1


def test_whoever_is_told_of_an_interim_response_and_fails_costs_his_request(clock: Clock) -> None:
    def fail(status: int, headers: Fields) -> None:
        raise RuntimeError("no")

    connection = Connection(clock)
    answer = connection.ask("GET", "https://example.org/", on_informational=fail)

    connection.server.say(connection.server.headers(1, [(b":status", b"103")], end=False))

    assert isinstance(failure(answer), RuntimeError)
    assert connection.server.codes(framing.RST_STREAM) == [framing.CANCEL]


def test_aborting_fails_what_is_open(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()

    connection.do(lambda: connection.client.abort("idle"))

    assert isinstance(failure(answer), ConnectionAborted)
    assert connection.transport.close_reason == "idle"
    assert (connection.client.room, connection.client.ending) == (0, True)


def test_a_server_that_says_nothing_at_all_is_left(clock: Clock) -> None:
    connection = Connection(clock, timeouts=ClientTimeouts(read=None))
    answer = connection.ask()

    clock.advance(31)
    connection.server.hear()
    assert connection.server.frames[-1][0] == framing.PING
    clock.advance(11)

    assert isinstance(failure(answer), WebProtocolError)
    assert connection.transport.closed


def test_a_priority_and_a_plain_connect_are_said_as_the_rfcs_have_them(clock: Clock) -> None:
    connection = Connection(clock)

    connection.ask("GET", "https://example.org/", extensions={"priority": b"u=1, i"})
    connection.ask("CONNECT", "https://[::1]:8443")

    [first], [second] = connection.server.fields(1), connection.server.fields(3)
    assert (b"priority", b"u=1, i") in first
    assert second == [(b":method", b"CONNECT"), (b":authority", b"[::1]:8443")]


def test_closing_finishes_what_is_open(clock: Clock) -> None:
    connection = Connection(clock)
    answer = connection.ask()

    connection.do(connection.client.close)
    assert not connection.transport.closed
    connection.answer()

    assert given(answer).status == 200
    assert connection.transport.closed
    with pytest.raises(WebUsageError):
        connection.client.begin(OutgoingRequest("GET", "https://example.org/"))


def test_the_server_says_how_many_requests_there_may_be(clock: Clock) -> None:
    connection = Connection(clock, settings=b"\0\x03\0\0\0\x01")
    connection.ask()

    assert connection.client.room == 0
    changes = connection.owner.changes
    connection.answer()
    assert connection.client.room == 1
    assert connection.owner.changes > changes


# ── a stream that is taken over ───────────────────────────────────────────────


class Peer(Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc if exc is None else type(exc))


def _websocket(clock: Clock) -> tuple[Connection, Peer]:
    connection = Connection(clock, settings=None)
    answer = connection.ask(
        "CONNECT", "https://example.org/chat", extensions={"protocol": b"websocket"}
    )
    connection.server.settle(ENABLE_CONNECT)
    connection.server.say(
        connection.server.headers(1, OK, end=False) + frame(framing.DATA, 0, 1, b"early")
    )
    peer = Peer()
    connection.do(lambda: given(answer).take_over(peer))
    return connection, peer


def test_an_extended_connect_waits_for_the_settings_and_is_taken_over(clock: Clock) -> None:
    """RFC 8441."""
    connection, peer = _websocket(clock)
    assert peer.calls == [b"early"]

    connection.do(lambda: peer.transport.write(b"hello"))
    connection.server.say(frame(framing.DATA, 0, 1, b"answer"))
    connection.server.hear()
    connection.do(peer.transport.pause_reading)
    connection.server.say(frame(framing.DATA, 0, 1, b"held back"))
    assert peer.calls == [b"early", b"answer"]
    connection.do(peer.transport.resume_reading)
    connection.server.say(frame(framing.DATA, 1, 1))
    clock.pump()

    assert peer.calls == [b"early", b"answer", b"held back", "eof", None]
    assert b"hello" in [p for kind, *_, p in connection.server.frames if kind == 0]
    assert connection.client.busy == 0


def test_a_server_without_extended_connect_is_not_asked(clock: Clock) -> None:
    connection = Connection(clock, settings=None)
    answer = connection.ask(
        "CONNECT", "https://example.org/chat", extensions={"protocol": b"websocket"}
    )

    connection.server.settle()
    clock.pump()

    assert isinstance(failure(answer), WebUsageError)
    assert connection.client.busy == 0


@pytest.mark.parametrize("goodbye", [False, True])
def test_what_waited_for_settings_that_have_no_room_for_it_may_go_elsewhere(
    clock: Clock, goodbye: bool
) -> None:
    """Nothing of it was sent: that is no mistake of the caller's, and worth another try."""
    connection = Connection(clock, settings=None)
    extended: dict[str, Any] = {"extensions": {"protocol": b"websocket"}}
    first = connection.ask("CONNECT", "https://example.org/chat", **extended)
    second = connection.ask("CONNECT", "https://example.org/chat", **extended)

    said = frame(framing.SETTINGS, 0, 0, ENABLE_CONNECT + b"\0\x03\0\0\0\x01")
    if goodbye:
        said += frame(framing.GOAWAY, 0, 0, bytes(8))
    connection.server.say(said)
    clock.pump()

    for each in (first, second) if goodbye else (second,):
        error = failure(each)
        assert isinstance(error, UnansweredError)
        assert error.untouched
    assert connection.client.busy == (0 if goodbye else 1)


def test_the_loss_of_the_connection_is_that_of_the_stream(clock: Clock) -> None:
    connection, peer = _websocket(clock)

    connection.transport.lose()
    clock.pump()

    assert issubclass(peer.calls[-1], ConnectionLost)
    assert connection.client.busy == 0
