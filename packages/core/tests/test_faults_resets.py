"""Peers that reset, at every octet of a conversation (HARDENING fault-7).

Each octet twice: the reset overtakes what was sent, and the server has had time to
act on it. Afterwards every connection was told once that it is over, nothing escaped
into the log, no descriptor, timer or Task is left (the plugin for pytest looks), and the
next peer is served as if nothing had been.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from packages.core.tests.sketches.mailbox import Append, Command, Idle, MailboxEngine
from packages.core.tests.sketches.mailbox import Event as MailEvent
from packages.core.tests.sketches.multiplex import Data, MultiplexEngine, Opened, frame
from packages.core.tests.sketches.multiplex import Event as StreamEvent
from packages.core.tests.sketches.room import Member
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.socks import SocksRules, SocksServer
from sennit.core.framing.line import LineProtocol
from sennit.core.framing.netstring import NetstringProtocol
from sennit.core.framing.prefix import PrefixProtocol
from sennit.core.policy.pacing import rate_limited
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.policy.traffic import with_traffic_log
from sennit.core.policy.wrapper import ProtocolWrapper, WrappingFactory
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import Stream, stream_handler

if TYPE_CHECKING:
    from collections.abc import Callable

LINGER = struct.pack("ii", 1, 0)
ANYWHERE = "tcp://127.0.0.1:0"


class Told(ProtocolWrapper):
    """Counts what the protocol inside is told."""

    made = 0
    lost = 0

    def connection_made(self, transport: Any) -> None:
        type(self).made += 1
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert self.made
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).lost += 1
        super().connection_lost(exc)


class Lines(LineProtocol):
    def line_received(self, line: bytes) -> None:
        self.send_line(line)


class Netstrings(NetstringProtocol):
    def netstring_received(self, data: bytes) -> None:
        self.send_netstring(data)


class Frames(PrefixProtocol):
    def frame_received(self, frame: bytes) -> None:
        self.send_frame(frame)


class Mailbox(EngineProtocol[MailboxEngine, MailEvent]):
    """Its handlers wait: for octets, for another turn, for the end of IDLE."""

    def __init__(self) -> None:
        super().__init__(MailboxEngine())

    @handles(Command)
    async def command(self, event: Command) -> None:
        await asyncio.sleep(0)
        if event.name == b"LOGOUT":
            self.engine.bye()
        else:
            self.engine.answer(b"OK")

    @handles(Append)
    async def append(self, event: Append) -> None:
        self.engine.want_literal()
        data = b"".join([bytes(each) async for each in self.body(event)])
        self.engine.answer(b"OK %d" % len(data))

    @handles(Idle)
    async def idle(self, event: Idle) -> None:
        await self.inbox(event).get()
        self.engine.answer(b"OK")


class Multiplex(EngineProtocol[MultiplexEngine, StreamEvent]):
    def __init__(self) -> None:
        super().__init__(MultiplexEngine())

    def consumed(self, event: Any) -> None:
        if isinstance(event, Data):
            self.engine.grant(event.exchange, len(event.data))

    @handles(Opened)
    async def opened(self, event: Opened) -> None:
        data = b"".join([bytes(each) async for each in self.body(event)])
        self.engine.send(event.exchange, data, end=True)


async def echo_lines(stream: Stream) -> None:
    async for line in stream.lines():
        await stream.send_all(line + b"\r\n")


def with_deferreds() -> Protocol:
    """A protocol whose answers come later, whether or not somebody is still there."""

    class Later(LineProtocol):
        def line_received(self, line: bytes) -> None:
            done: Deferred[bytes] = Deferred()
            done.add_callback(self.send_line)
            current_reactor().call_soon(done.callback, line)

    return Later()


def room() -> Callable[[], Member]:
    members: set[Member] = set()
    return lambda: Member(members)


V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\xdc\4\1\xbb"
HELLO = b"HELLO\r\nBYE!\r\n"
MAIL = b"t1 NOOP\r\nt2 APPEND {5}\r\nhello\r\nt3 IDLE\r\nDONE\r\nt4 LOGOUT\r\n"
STREAMS = (
    frame(b"O", 1, b"a") + frame(b"O", 2) + frame(b"D", 1, b"xyz") + frame(b"E", 2) + frame(b"E", 1)
)

CONVERSATIONS: dict[str, tuple[str, Any, bytes, bytes]] = {
    "lines": (ANYWHERE, Lines, HELLO, HELLO),
    "netstrings": (ANYWHERE, Netstrings, b"5:hello,0:,3:bye,", b"5:hello,0:,3:bye,"),
    "frames": (ANYWHERE, Frames, b"\0\0\0\5hello\0\0\0\0", b"\0\0\0\5hello\0\0\0\0"),
    "deferreds": (ANYWHERE, with_deferreds, HELLO, HELLO),
    "streams": (ANYWHERE, stream_handler(echo_lines), HELLO, HELLO),
    "mailbox": (
        ANYWHERE,
        Mailbox,
        MAIL,
        b"t1 OK\r\n+ go ahead\r\nt2 OK 5\r\n+ idling\r\nt3 OK\r\n* BYE\r\nt4 OK\r\n",
    ),
    # The stream whose end came with its beginning is answered at once.
    "multiplexed": (ANYWHERE, Multiplex, STREAMS, b"E"),
    "room": (ANYWHERE, room(), HELLO, HELLO),
    "timeouts": (ANYWHERE, with_timeouts(Lines, idle=60.0), HELLO, HELLO),
    "rates": (ANYWHERE, rate_limited(Lines, read=1e9, write=1e9), HELLO, HELLO),
    "traffic": (ANYWHERE, with_traffic_log(Lines), HELLO, HELLO),
    "proxied v1": (f"haproxy+{ANYWHERE}", Lines, V1 + HELLO, HELLO),
    "proxied v2": (f"haproxy+{ANYWHERE}", Lines, V2 + HELLO, HELLO),
}


def caller(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.setblocking(False)
    return sock


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    sock.close()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def converse(port: int, script: bytes, size: int) -> bytes:
    """What a peer is answered that behaves."""
    loop = asyncio.get_running_loop()
    with caller(port) as sock:
        await loop.sock_sendall(sock, script)
        got = b""
        async with asyncio.timeout(5):
            while len(got) < size and (data := await loop.sock_recv(sock, 65536)):
                got += data
    return got


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_reset_after_any_octet_is_told_once_and_harms_nobody(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7: SO_LINGER 0 after every octet of each script."""
    url, factory, script, answer = CONVERSATIONS[name]
    told: Any = type("CountingTold", (Told,), {})  # counters of its own
    async with serve(url, WrappingFactory(factory, told)) as server:
        assert (await converse(server.port, script, len(answer)))[: len(answer)] == answer
        await until(lambda: not server.connections)
        before = open_descriptors()
        assert (told.made, told.lost) == (1, 1)
        for at in range(len(script) + 1):
            for late in (0, 6):
                sock = caller(server.port)
                if at:
                    sock.send(script[:at])
                await turns(late)
                reset(sock)
                await turns(1)
        await until(lambda: not server.connections)
        assert told.lost == told.made
        # A connection may go before anybody accepts it; and one whose PROXY header is not
        # whole is no connection of the protocol's.
        assert told.made > len(HELLO)
        assert (await converse(server.port, script, len(answer)))[: len(answer)] == answer
        await until(lambda: not server.connections)
        await until(lambda: open_descriptors() == before)
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []


@pytest.mark.parametrize("name", ["lines", "streams", "mailbox", "rates"])
async def test_a_reset_while_much_waits_to_be_sent_is_told_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7: in the midst of answers that nobody reads."""
    url, factory, _, _ = CONVERSATIONS[name]
    told: Any = type("CountingTold", (Told,), {})  # counters of its own
    line = b"t1 NOOP\r\n" if name == "mailbox" else b"x" * 500 + b"\r\n"
    async with serve(url, WrappingFactory(factory, told)) as server:
        for rounds in (1, 10, 100):
            sock = caller(server.port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            for _ in range(rounds):
                try:
                    sock.send(line * 200)
                except BlockingIOError:
                    pass
                await asyncio.sleep(0)
            reset(sock)
            await until(lambda: not server.connections)
        assert (told.made, told.lost) == (3, 3)
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []


class Target(Protocol):
    """Echoes; counts."""

    def __init__(self, ends: list[int]) -> None:
        self.ends = ends

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(1)


@pytest.mark.parametrize("kind", ["connect", "name", "bind", "associate", "login"])
async def test_a_reset_after_any_octet_of_a_socks_conversation_leaves_nothing(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7; RFC 1928 §3-§7, RFC 1929."""
    ends: list[int] = []
    rules = SocksRules(allow=["loopback"])

    def check(name: str, password: str) -> bool:
        return (name, password) == ("a", "b")

    proxy = (
        SocksServer(rules, check=check)
        if kind == "login"
        else SocksServer(rules, bind=True, udp=True)
    )
    async with (
        serve(ANYWHERE, lambda: Target(ends)) as target,
        serve(ANYWHERE, proxy) as server,
    ):
        port = target.port.to_bytes(2, "big")
        place = b"\x01\x7f\0\0\1" + port
        if kind == "name":
            place = b"\x03\x09127.0.0.1" + port
        command = {"bind": b"\x05\x02\0", "associate": b"\x05\x03\0"}.get(kind, b"\x05\x01\0")
        greeting = b"\x05\x01\x02\x01\x01a\x01b" if kind == "login" else b"\x05\x01\0"
        script = greeting + command + place + b"ahead"
        size = 2 + (2 if kind == "login" else 0) + 10
        whole = kind in ("connect", "name", "login")
        answer = await converse(server.port, script, size + 5 * whole)
        assert answer[size - 10 :][:2] == b"\x05\0", answer
        assert answer.endswith(b"ahead") is whole
        await until(lambda: not server.connections and not target.connections)
        before = open_descriptors()
        for at in range(len(script) + 1):
            for late in (0, 3, 10):
                sock = caller(server.port)
                if at:
                    sock.send(script[:at])
                await turns(late)
                reset(sock)
                await turns(1)
        await until(lambda: not server.connections and not target.connections)
        assert proxy.tunnels == 0
        assert (await converse(server.port, script, size))[size - 10 :][:2] == b"\x05\0"
        await until(lambda: not server.connections and not target.connections)
        await until(lambda: open_descriptors() == before)
        assert not whole or len(ends) >= 3
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []


@pytest.mark.parametrize("at", range(0, len(HELLO) + 1, 3))
async def test_a_reset_reaches_a_handler_of_asyncios_streams_as_its_error(at: int) -> None:
    """HARDENING fault-7: asyncio's own servers, on our transports."""
    ended: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
            ended.append("end")
        except ConnectionError as error:
            ended.append(type(error).__name__)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    sock = caller(server.sockets[0].getsockname()[1])
    sock.send(HELLO[:at] or b"x")
    await turns(10)
    reset(sock)
    await until(lambda: ended)
    assert ended in (["ConnectionResetError"], ["ConnectionLost"])
    server.close()
    await server.wait_closed()
