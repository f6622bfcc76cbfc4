"""WebSockets on a site: handlers, back-pressure, time, the end. On a transport that records.

All of it with frames read by either engine.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from packages.web.tests.websocket_frames import (
    BYE,
    Answer,
    close,
    frame,
    parse,
    squeeze,
)
from sennit.core.address import InternetAddress
from sennit.core.broadcast import Broadcast
from sennit.core.errors import UsageError
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Response, Site
from sennit.web.errors import WebUsageError
from sennit.web.routing import Router
from sennit.web.websocket.engine import WSProtoEngine
from sennit.web.websocket.errors import WebSocketClosedError, WebSocketProtocolError
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.grammar import encode_message
from sennit.web.websocket.limits import WebSocketLimits, WebSocketTimeouts
from sennit.web.websocket.protocol import WebSocketProtocol
from sennit.web.websocket.server import WebSocketResource, accept_websocket
from sennit.web.websocket.websocket import WebSocket

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


@pytest.fixture(params=[FastEngine, WSProtoEngine], ids=["fast", "wsproto"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with each engine."""
    monkeypatch.setattr(Peer, "engine", request.param)


class Peer:
    """A client's view of one WebSocket."""

    engine: Any = FastEngine

    def __init__(
        self,
        clock: Clock,
        handler: Any,
        *,
        fields: bytes = b"",
        shake: bool = True,
        **options: Any,
    ) -> None:
        self.clock = clock
        options.setdefault("engine", self.engine)
        options.setdefault("timeouts", WebSocketTimeouts(ping_interval=None))
        site = Site(clock=clock)
        site.websocket("/ws", **options)(handler)
        self.site = site
        self.transport = RecordingTransport(
            site.build_protocol(None), peer=InternetAddress("192.0.2.1", 5000)
        )
        self.head = b""
        self._wire = b""
        self._count = 0
        if shake:
            self.receive(HANDSHAKE + fields + b"\r\n")
            self.head, _, self._wire = self.transport.take().partition(b"\r\n\r\n")

    @property
    def protocol(self) -> Any:
        return self.transport.get_protocol()

    def receive(self, data: bytes, cut: int | None = None) -> None:
        """The server gets octets; all settles."""
        self.clock.call_soon(lambda: self.transport.receive(data, cut=cut))
        self.clock.pump()

    def say(self, data: str | bytes, **options: Any) -> None:
        if isinstance(data, str):
            self.receive(frame(TEXT, data.encode(), **options))
        else:
            self.receive(frame(BINARY, data, **options))

    def heard(self) -> list[Answer]:
        """What came since the last time."""
        self.clock.pump()
        self._wire += self.transport.take()
        found, _ = parse(self._wire)
        count, self._count = self._count, len(found)
        return found[count:]


def closed(code: int) -> Answer:
    return Answer(CLOSE, struct.pack(">H", code))


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


# ── the handshake on a connection ─────────────────────────────────────────────


def test_an_echo(clock: Clock) -> None:
    peer = Peer(clock, echo)
    assert peer.head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in peer.head

    peer.say("héllo")
    peer.say(b"\0\1\2")
    assert peer.heard() == [Answer(TEXT, "héllo".encode()), Answer(BINARY, b"\0\1\2")]

    peer.receive(BYE)
    assert peer.heard() == [closed(1000)]
    assert peer.transport.eof_written
    peer.clock.call_soon(peer.transport.receive_eof)
    peer.clock.pump()
    assert peer.transport.close_reason == "clean"
    assert clock.pending == []


def test_frames_that_come_behind_the_handshake_are_not_lost(clock: Clock) -> None:
    peer = Peer(clock, echo, shake=False)
    peer.receive(HANDSHAKE + b"\r\n" + frame(TEXT, b"early") + frame(TEXT, b"bird"), 1)

    _, _, rest = peer.transport.written.partition(b"\r\n\r\n")
    assert parse(rest)[0] == [Answer(TEXT, b"early"), Answer(TEXT, b"bird")]


def test_what_is_no_handshake_gets_a_page(clock: Clock) -> None:
    peer = Peer(clock, echo, shake=False)
    peer.receive(b"GET /ws HTTP/1.1\r\nHost: example.com\r\n\r\n")

    assert peer.transport.take().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    peer.receive(b"POST /ws HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n")
    assert peer.transport.take().startswith(b"HTTP/1.1 405 ")


def test_a_page_of_another_site_is_refused(clock: Clock) -> None:
    """HARDENING ws-7, on a connection."""
    handled: list[WebSocket] = []

    async def handler(ws: WebSocket) -> None:
        handled.append(ws)

    other = b"Origin: https://evil.example\r\nCookie: session=1\r\n"
    peer = Peer(clock, handler, fields=other, origins="same")
    assert peer.head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    own = b"Origin: http://example.com\r\nCookie: session=1\r\n"
    assert Peer(clock, handler, fields=own, origins="same").head.startswith(b"HTTP/1.1 101 ")
    assert len(handled) == 1


def test_a_handler_sees_the_request_and_the_subprotocol(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        assert ws.request is not None
        seen.extend([ws.request.header("x-a"), ws.subprotocol, ws.peer, ws.secure, ws.response])
        seen.append(repr(ws))

    fields = b"X-A: b\r\nSec-WebSocket-Protocol: one, two\r\n"
    peer = Peer(clock, handler, fields=fields, subprotocols=["two", "one"])

    assert b"\r\nsec-websocket-protocol: two\r\n" in peer.head
    address = InternetAddress("192.0.2.1", 5000)
    assert seen == ["b", "two", address, False, None, "<WebSocket open>"]


def test_parameters_of_the_path_reach_the_handler(clock: Clock) -> None:
    router = Router()
    seen: list[Any] = []

    @router.websocket("/rooms/{room}/{number:int}")
    async def chat(ws: WebSocket, number: int, room: str) -> None:
        seen.append((room, number))

    site = Site(clock=clock)
    site.mount("/chat", router)
    transport = RecordingTransport(site.build_protocol(None))
    request = HANDSHAKE.replace(b"/ws", b"/chat/rooms/red/7") + b"\r\n"
    clock.call_soon(transport.receive, request)
    clock.pump()

    assert seen == [("red", 7)]


def test_a_handler_of_ones_own_accepts_by_itself(clock: Clock) -> None:
    site = Site(clock=clock)

    @site.route("/ws")
    async def door(request: Request) -> Response:
        return accept_websocket(request, echo, headers={"set-cookie": "a=b"})

    transport = RecordingTransport(site.build_protocol(None))
    clock.call_soon(transport.receive, HANDSHAKE + b"\r\n" + frame(TEXT, b"hi"))
    clock.pump()

    head, _, rest = transport.written.partition(b"\r\n\r\n")
    assert b"\r\nset-cookie: a=b\r\n" in head
    assert parse(rest)[0] == [Answer(TEXT, b"hi")]


def test_a_resource_in_a_tree_is_one_too(clock: Clock) -> None:
    site = Site(clock=clock)
    site.put_child("ws", WebSocketResource(echo))
    transport = RecordingTransport(site.build_protocol(None))
    clock.call_soon(transport.receive, HANDSHAKE + b"\r\n" + frame(TEXT, b"hi"))
    clock.pump()

    assert parse(transport.written.partition(b"\r\n\r\n")[2])[0] == [Answer(TEXT, b"hi")]


def test_wrong_options_are_seen_where_they_are_given(clock: Clock) -> None:
    site = Site()
    with pytest.raises(WebUsageError, match="token"):
        site.websocket("/a", subprotocols=["a b"])(echo)
    with pytest.raises(TypeError):
        site.websocket("/b", colour="red")(echo)
    with pytest.raises(WebUsageError, match="no WebSocketProtocol"):
        site.websocket("/c")(int)  # type: ignore[type-var]  # that is the point


def test_messages_are_compressed_with_a_client_that_can(clock: Clock) -> None:
    """RFC 7692."""
    fields = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    peer = Peer(clock, echo, fields=fields)
    assert b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12" in peer.head
    peer.receive(frame(TEXT, squeeze(b"tight " * 50), rsv=0x40))
    wire = peer.transport.written
    assert wire[0] == 0xC1
    assert len(wire) < 60
    assert peer.heard() == [Answer(TEXT, b"tight " * 50)]

    assert b"permessage" not in Peer(clock, echo, fields=fields, compression=False).head


# ── receiving ─────────────────────────────────────────────────────────────────


def test_reading_pauses_while_messages_wait_that_nobody_reads(clock: Clock) -> None:
    go_on = asyncio.Event()
    seen: list[int] = []
    arrived = seen.append

    async def slow(ws: WebSocket) -> None:
        await go_on.wait()
        async for message in ws:
            arrived(len(message))

    peer = Peer(clock, slow, limits=WebSocketLimits(waiting=10_000))
    peer.say(b"x" * 6000)
    assert peer.transport.reading
    peer.say(b"x" * 6000)
    assert not peer.transport.reading

    go_on.set()
    clock.pump()
    assert seen == [6000, 6000]
    assert peer.transport.reading


def test_receive_gives_one_message_and_raises_at_the_end(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        seen.append(await ws.receive())
        try:
            await ws.receive()
        except WebSocketClosedError as error:
            seen.append((error.code, error.reason, ws.close_code, ws.close_reason, ws.closing))

    peer = Peer(clock, handler)
    peer.say("one")
    peer.receive(close(4001, b"why"))

    assert seen == ["one", (4001, "why", 4001, "why", True)]


def test_messages_that_wait_are_read_after_the_peer_said_good_bye(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(5)
        seen.extend([message async for message in ws])

    peer = Peer(clock, handler)
    peer.receive(frame(TEXT, b"a") + frame(TEXT, b"b") + BYE)
    clock.advance(5)

    assert seen == ["a", "b"]
    assert peer.heard() == [closed(1000)]


def test_an_end_without_a_good_bye_is_told_as_an_error(clock: Clock) -> None:
    """RFC 6455 §7.1.5: 1006."""
    seen: list[Any] = []
    arrived = seen.append

    async def handler(ws: WebSocket) -> None:
        try:
            async for message in ws:
                arrived(message)
        except WebSocketClosedError as error:
            seen.append(error.code)

    peer = Peer(clock, handler)
    peer.say("a")
    clock.call_soon(peer.transport.receive_eof)
    clock.pump()

    assert seen == ["a", 1006]
    assert peer.transport.closed


def test_a_fault_of_the_peer_is_raised_where_the_handler_reads(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sennit")
    seen: list[Any] = []
    arrived = seen.append

    async def handler(ws: WebSocket) -> None:
        try:
            async for message in ws:
                arrived(message)
        except WebSocketProtocolError as error:
            seen.append(error.code)
            raise

    peer = Peer(clock, handler)
    peer.receive(frame(TEXT, b"good") + frame(TEXT, b"\xff"))

    assert seen == ["good", 1007]
    assert peer.heard() == [closed(1007)]
    assert peer.transport.eof_written
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "RFC 6455 §8.1" in lines[0]
    clock.advance(30)
    assert peer.transport.closed


def test_two_readers_of_one_websocket_are_a_mistake(clock: Clock) -> None:
    errors: list[BaseException] = []

    async def handler(ws: WebSocket) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ws.receive())
            try:
                await asyncio.sleep(0)
                await ws.receive()
            except UsageError as error:
                errors.append(error)

    peer = Peer(clock, handler)
    peer.say("x")

    assert "two coroutines" in str(errors[0])


def test_who_gave_up_waiting_may_wait_again(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        try:
            async with asyncio.timeout(3):
                await ws.receive()
        except TimeoutError:
            seen.append("late")
        seen.append(await ws.receive())

    peer = Peer(clock, handler)
    clock.advance(3)
    peer.say("here")

    assert seen == ["late", "here"]


def test_a_long_message_is_read_by_pieces(clock: Clock) -> None:
    seen: list[Any] = []
    arrived = seen.append

    async def handler(ws: WebSocket) -> None:
        async for piece in ws.receive_pieces():
            arrived(piece)
        seen.append(await ws.receive())
        async for message in ws:
            arrived(message)

    peer = Peer(clock, handler, pieces=True)
    whole = frame(BINARY, b"abc", fin=False) + frame(CONTINUATION, b"def")
    peer.receive(whole[:8])
    assert seen == [b"ab"]
    peer.receive(whole[8:])
    assert b"".join(seen) == b"abcdef"
    peer.receive(frame(TEXT, b"who", fin=False) + frame(CONTINUATION, b"le") + frame(TEXT, b"!"))
    assert seen[-2:] == ["whole", "!"]

    peer.receive(frame(TEXT, b"cut", fin=False) + BYE)
    clock.pump()
    assert peer.heard()[-1] == closed(1000)


def test_pieces_of_a_site_that_reads_whole_messages_are_one(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        seen.extend([piece async for piece in ws.receive_pieces()])
        seen.extend([piece async for piece in ws.receive_pieces()])

    peer = Peer(clock, handler)
    peer.receive(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + BYE)

    assert seen == ["ab"]
    assert peer.heard() == [closed(1000)]


# ── sending ───────────────────────────────────────────────────────────────────


def test_sending_waits_for_room(clock: Clock) -> None:
    sent: list[int] = []

    async def handler(ws: WebSocket) -> None:
        for n in range(20):
            await ws.send(bytes(20_000))
            sent.append(n)

    peer = Peer(clock, handler, shake=False)
    peer.transport.block()
    peer.receive(HANDSHAKE + b"\r\n")
    assert len(sent) < 5
    peer.transport.unblock()
    clock.pump()

    assert len(sent) == 20


def test_what_is_not_awaited_is_sent_all_the_same(clock: Clock) -> None:
    async def handler(ws: WebSocket) -> None:
        ws.send("a")
        ws.send(bytearray(b"b"))
        with pytest.raises(TypeError, match="int"):
            ws.send(3)  # type: ignore[arg-type]  # that is the point
        await ws.receive()

    assert Peer(clock, handler).protocol is not None
    peer = Peer(clock, handler, shake=False)
    peer.receive(HANDSHAKE + b"\r\n")
    rest = peer.transport.written.partition(b"\r\n\r\n")[2]
    assert parse(rest)[0][:2] == [Answer(TEXT, b"a"), Answer(BINARY, b"b")]


def test_a_message_by_pieces_goes_out_as_fragments_and_others_wait(clock: Clock) -> None:
    order: list[str] = []

    async def handler(ws: WebSocket) -> None:
        async def interrupt() -> None:
            order.append("asks")
            await ws.send("after")
            order.append("sent")

        async with ws.message() as message:
            await message.send("one ")
            task = asyncio.create_task(interrupt())
            await asyncio.sleep(1)
            await message.send("two")
            order.append("ends")
        await task
        async with ws.message(text=True):
            pass
        await ws.send(_numbers())
        await ws.receive()

    async def _numbers() -> AsyncIterator[bytes]:
        for n in range(3):
            yield b"%d" % n

    peer = Peer(clock, handler)
    clock.advance(1)

    assert order == ["asks", "ends", "sent"]
    assert peer.heard() == [
        Answer(TEXT, b"one two"),
        Answer(TEXT, b"after"),
        Answer(TEXT, b""),
        Answer(BINARY, b"012"),
    ]


def test_half_a_message_is_not_left_to_be_taken_for_whole(clock: Clock) -> None:
    async def handler(ws: WebSocket) -> None:
        async with ws.message() as message:
            await message.send("half")
            raise ValueError("no more")

    peer = Peer(clock, handler)

    assert peer.heard() == [closed(1011)]


def test_a_message_by_pieces_is_sent_inside_its_context(clock: Clock) -> None:
    errors: list[BaseException] = []

    async def handler(ws: WebSocket) -> None:
        message = ws.message()
        try:
            await message.send("x")
        except WebUsageError as error:
            errors.append(error)

    Peer(clock, handler)
    assert "inside" in str(errors[0])


def test_after_the_good_bye_nothing_is_sent(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        await asyncio.sleep(1)
        try:
            await ws.send("late")
        except WebSocketClosedError as error:
            seen.append(error.code)
            raise

    peer = Peer(clock, handler)
    peer.receive(close(1001))
    clock.advance(1)

    assert seen == [1001]
    assert peer.heard() == [closed(1001)]


def test_a_broadcast_encodes_once_for_many(clock: Clock) -> None:
    encoded: list[str] = []

    def encode(message: str) -> bytes:
        encoded.append(message)
        return encode_message(message)

    everybody = Broadcast("close", encode=encode)
    streaming = asyncio.Event()

    async def handler(ws: WebSocket) -> None:
        everybody.add(ws.member)
        assert ws.member is ws.member
        async for _ in ws:
            async with ws.message() as message:
                await message.send("in ")
                await streaming.wait()
                await message.send("pieces")

    peers = [Peer(clock, handler) for _ in range(3)]
    assert everybody.send("hello") == 3
    assert [peer.heard() for peer in peers] == [[Answer(TEXT, b"hello")]] * 3
    assert encoded == ["hello"]

    # One is in the midst of a message: a frame between its fragments would break it.
    peers[0].say("go")
    everybody.send("meanwhile")
    assert peers[0].heard() == []
    assert peers[1].heard() == [Answer(TEXT, b"meanwhile")]
    clock.call_soon(streaming.set)
    assert peers[0].heard() == [Answer(TEXT, b"in pieces"), Answer(TEXT, b"meanwhile")]

    # Behind a Close frame nothing comes.
    peers[2].receive(BYE)
    everybody.send("bye")
    assert peers[2].heard() == [Answer(TEXT, b"meanwhile"), closed(1000)]
    assert len(everybody) == 2


def test_a_member_that_does_not_read_is_cut_off(clock: Clock) -> None:
    everybody = Broadcast("close", limit=1000, encode=encode_message)

    async def handler(ws: WebSocket) -> None:
        everybody.add(ws.member)
        await ws.receive()

    peer = Peer(clock, handler)
    peer.transport.block()
    for _ in range(3):
        everybody.send(b"x" * 900)

    assert peer.transport.close_reason == "limit:broadcast"


# ── pings and time ────────────────────────────────────────────────────────────


def test_a_ping_tells_how_long_its_answer_took(clock: Clock) -> None:
    seen: list[float] = []

    async def handler(ws: WebSocket) -> None:
        seen.append(await ws.ping())
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ws.ping())
            second = group.create_task(ws.ping())
        seen.extend([first.result(), second.result()])
        await ws.receive()

    peer = Peer(clock, handler)
    (asked,) = peer.heard()
    clock.advance(0.5)
    peer.receive(frame(PONG, b"not asked for") + frame(PONG, asked.payload))
    assert seen == [0.5]

    # A pong answers the pings before it too (RFC 6455 §5.5.3).
    _, asked = peer.heard()
    clock.advance(0.25)
    peer.receive(frame(PONG, asked.payload))
    assert seen == [0.5, 0.25, 0.25]


def test_a_ping_fails_when_the_websocket_closes(clock: Clock) -> None:
    seen: list[int] = []

    async def handler(ws: WebSocket) -> None:
        try:
            await ws.ping()
        except WebSocketClosedError as error:
            seen.append(error.code)

    Peer(clock, handler).receive(BYE)
    assert seen == [1000]


def test_a_quiet_peer_is_pinged_and_one_that_answers_stays(clock: Clock) -> None:
    peer = Peer(clock, echo, timeouts=WebSocketTimeouts())
    for _ in range(5):
        clock.advance(20)
        assert peer.heard() == [Answer(PING, b"")]
        peer.receive(frame(PONG))
    assert not peer.transport.closed


def test_pings_of_a_peer_that_does_not_read_are_answered_once_it_does(clock: Clock) -> None:
    """RFC 6455 §5.5.3: the last one will do; a flood of them fills no buffer."""

    async def talk(ws: WebSocket) -> None:
        await ws.send(bytes(100_000))
        await ws.receive()

    peer = Peer(clock, talk, shake=False)
    peer.transport.block()
    peer.receive(HANDSHAKE + b"\r\n")
    size = peer.transport.get_write_buffer_size()
    for n in range(2000):
        peer.receive(frame(PING, b"%d" % n * 20))
    assert peer.transport.get_write_buffer_size() == size
    clock.call_soon(peer.transport.unblock)
    clock.pump()

    answers, _ = parse(peer.transport.written.partition(b"\r\n\r\n")[2])
    assert [answer for answer in answers if answer.opcode == PONG] == [Answer(PONG, b"1999" * 20)]


def test_a_peer_that_gives_no_sign_of_life_is_given_up(clock: Clock) -> None:
    peer = Peer(clock, echo, timeouts=WebSocketTimeouts())
    clock.advance(20)
    assert peer.heard() == [Answer(PING, b"")]
    clock.advance(19.5)
    assert not peer.transport.closed
    clock.advance(1)

    assert peer.transport.aborted
    assert peer.transport.close_reason == "timeout"
    assert peer.heard() == [closed(1011)]
    assert clock.pending == []


def test_anything_that_comes_is_a_sign_of_life(clock: Clock) -> None:
    peer = Peer(clock, echo, timeouts=WebSocketTimeouts())
    clock.advance(25)
    peer.receive(frame(TEXT, b"a long one")[:4])
    clock.advance(19)

    assert not peer.transport.closed


def test_a_peer_that_is_not_read_is_not_blamed_for_its_silence(clock: Clock) -> None:
    async def deaf(ws: WebSocket) -> None:
        await asyncio.sleep(200)

    limits = WebSocketLimits(waiting=100)
    peer = Peer(clock, deaf, timeouts=WebSocketTimeouts(), limits=limits)
    peer.say(b"x" * 1000)
    assert not peer.transport.reading
    clock.advance(150)

    assert not peer.transport.closed


def test_pings_can_be_left_out(clock: Clock) -> None:
    peer = Peer(clock, echo, timeouts=WebSocketTimeouts(ping_interval=None))
    clock.advance(3600)

    assert peer.heard() == []
    assert not peer.transport.closed
    patient = Peer(clock, echo, timeouts=WebSocketTimeouts(ping_timeout=None))
    clock.advance(100)
    assert patient.heard() == [Answer(PING, b"")] * 5
    assert not patient.transport.closed


def test_a_peer_that_takes_nothing_is_given_up(clock: Clock) -> None:
    async def talk(ws: WebSocket) -> None:
        while True:
            await ws.send(bytes(50_000))

    peer = Peer(clock, talk, shake=False, timeouts=WebSocketTimeouts(ping_interval=None))
    peer.transport.block()
    peer.receive(HANDSHAKE + b"\r\n")
    for _ in range(9):
        clock.advance(10)
        peer.transport.unblock(10)
    assert not peer.transport.closed
    clock.advance(90)

    assert peer.transport.aborted
    assert peer.transport.close_reason == "timeout"


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_handler_that_returns_closes_with_1000(clock: Clock) -> None:
    async def brief(ws: WebSocket) -> None:
        await ws.send("that is all")

    peer = Peer(clock, brief)
    assert peer.heard() == [Answer(TEXT, b"that is all"), closed(1000)]
    assert not peer.transport.closed
    peer.say("late")
    peer.receive(BYE)
    assert peer.transport.eof_written
    clock.advance(3)
    assert peer.transport.close_reason == "clean"


def test_a_handler_that_fails_closes_with_1011_and_one_line(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(ws: WebSocket) -> None:
        raise RuntimeError("oops")

    peer = Peer(clock, broken)

    assert peer.heard() == [closed(1011)]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "oops" in caplog.records[0].getMessage()


def test_close_waits_for_the_peers_for_a_limited_time(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        try:
            await ws.close(4000, "enough")
            seen.append("answered")
        except asyncio.CancelledError:
            seen.append("gone")
            raise

    peer = Peer(clock, handler)
    assert peer.heard() == [closed(4000)]
    peer.say("thrown away")
    assert seen == []
    peer.receive(close(4000))
    assert seen == ["answered"]

    silent = Peer(clock, handler)
    clock.advance(9)
    assert not silent.transport.closed
    clock.advance(1)
    assert silent.transport.aborted
    clock.pump()
    assert seen == ["answered", "gone"]


def test_messages_do_not_keep_a_close_from_being_seen(clock: Clock) -> None:
    """What nobody reads any more does not stop the reading."""
    done: list[int | None] = []

    async def handler(ws: WebSocket) -> None:
        await ws.receive()
        await ws.close()
        done.append(ws.close_code)

    peer = Peer(clock, handler, limits=WebSocketLimits(waiting=1000))
    peer.say("go")
    for _ in range(20):
        peer.say(b"x" * 900)
    peer.receive(BYE)

    assert done == [1000]


def test_closing_twice_does_no_harm_and_odd_codes_are_refused(clock: Clock) -> None:
    seen: list[Any] = []

    async def handler(ws: WebSocket) -> None:
        for code in (1005, 999, 5000):
            with pytest.raises(ValueError, match="Close frame"):
                await ws.close(code)
        with pytest.raises(ValueError, match="123"):
            await ws.close(1000, "x" * 124)
        assert not ws.closing
        async with ws:
            pass
        await ws.close(1001)
        seen.append(ws.close_code)

    peer = Peer(clock, handler)
    peer.receive(BYE)

    assert seen == [1000]
    assert peer.heard() == [closed(1000)]


def test_a_handler_is_cancelled_when_the_connection_is_lost(clock: Clock) -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(f"cancelled {ws.close_code}")
            raise

    peer = Peer(clock, handler)
    clock.call_soon(peer.transport.lose)
    clock.pump()

    assert seen == ["cancelled 1006"]
    assert clock.pending == []


def test_a_handler_that_ignores_a_good_bye_is_cancelled_in_the_end(clock: Clock) -> None:
    seen: list[str] = []

    async def handler(ws: WebSocket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    peer = Peer(clock, handler)
    peer.receive(BYE)
    clock.advance(9)
    assert seen == []
    clock.advance(2)

    assert seen == ["cancelled"]
    assert peer.transport.closed


def test_draining_says_1001(clock: Clock) -> None:
    """RFC 6455 §7.4.1: the server goes down."""
    ended: list[int | None] = []

    async def handler(ws: WebSocket) -> None:
        async for _ in ws:
            pass
        ended.append(ws.close_code)

    peer = Peer(clock, handler)
    clock.call_soon(peer.protocol.drain)
    assert peer.heard() == [closed(1001)]
    peer.receive(close(1001))

    assert ended == [1001]
    clock.call_soon(peer.transport.receive_eof)
    clock.pump()
    assert peer.transport.close_reason == "drained"


def test_a_policy_that_runs_out_of_patience_says_so(clock: Clock) -> None:
    peer = Peer(clock, echo)
    clock.call_soon(peer.protocol.timed_out, "idle")

    assert peer.heard() == [closed(1001)]
    assert peer.transport.close_reason == "idle"


# ── by calls ──────────────────────────────────────────────────────────────────


class Calls(WebSocketProtocol):
    """Notes what it is told."""

    told: list[Any]

    def opened(self) -> None:
        self.told = [("opened", self.subprotocol)]

    def message_received(self, data: Any) -> None:
        self.told.append(data)
        self.send(data)

    def message_ended(self) -> None:
        self.told.append("whole")

    def pong_received(self, payload: bytes) -> None:
        self.told.append(("pong", payload))

    def closed(self, code: int, reason: str) -> None:
        self.told.append(("closed", code, reason))


def test_a_protocol_is_told_by_calls(clock: Clock) -> None:
    peer = Peer(clock, Calls)
    protocol = peer.protocol
    peer.receive(frame(TEXT, b"a") + frame(BINARY, b"b"))
    protocol.send_ping(b"?")
    peer.receive(frame(PONG, b"?"))
    assert peer.heard() == [Answer(TEXT, b"a"), Answer(BINARY, b"b"), Answer(PING, b"?")]
    assert protocol.send("c") is True
    peer.receive(close(3000, b"so long"))

    assert protocol.told == [
        ("opened", None),
        "a",
        b"b",
        ("pong", b"?"),
        ("closed", 3000, "so long"),
    ]
    assert peer.heard() == [Answer(TEXT, b"c"), closed(3000)]
    with pytest.raises(WebSocketClosedError):
        protocol.send("d")


def test_a_protocol_may_close_and_hears_of_a_loss_once(clock: Clock) -> None:
    peer = Peer(clock, Calls)
    protocol = peer.protocol
    clock.call_soon(peer.protocol.say_close, 4000, "x")
    assert peer.heard() == [closed(4000)]
    clock.call_soon(peer.transport.lose)
    clock.pump()
    assert protocol.told == [("opened", None), ("closed", 1006, "")]

    faulty = Peer(clock, Calls)
    protocol = faulty.protocol
    faulty.receive(frame(3))
    clock.call_soon(faulty.transport.lose)
    clock.pump()
    assert [each[:2] for each in protocol.told] == [("opened", None), ("closed", 1002)]


def test_a_protocol_may_read_by_pieces(clock: Clock) -> None:
    class Pieces(Calls):
        def message_received(self, data: Any) -> None:
            self.told.append(data)

    peer = Peer(clock, Pieces, pieces=True)
    protocol = peer.protocol
    peer.receive(frame(TEXT, b"a", fin=False))
    peer.receive(frame(CONTINUATION, b"b"))
    peer.receive(frame(BINARY))

    assert protocol.told == [("opened", None), "a", "b", "whole", "whole"]


def test_a_protocols_failure_is_1011(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(WebSocketProtocol):
        def message_received(self, data: Any) -> None:
            raise RuntimeError("oops")

    peer = Peer(clock, Broken)
    peer.say("x")

    assert peer.heard() == [closed(1011)]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    clock.advance(11)
    assert peer.transport.closed


def test_a_protocol_that_sends_without_asking_is_told_when_the_peer_is_slow(clock: Clock) -> None:
    kept_up: list[bool] = []

    class Loud(WebSocketProtocol):
        def message_received(self, data: Any) -> None:
            kept_up.extend(self.send(bytes(30_000)) for _ in range(4))

        def later(self) -> bool:
            return self.send("x")

    peer = Peer(clock, Loud)
    peer.transport.block()
    peer.say("go")
    assert peer.protocol.later() is False
