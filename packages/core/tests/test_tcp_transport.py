"""The stream transport over real sockets: reading, writing, flow control and every end."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import struct
import weakref
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.errors import ConnectionAborted, ConnectionLost, ReactorError
from sennit.core.interfaces import IStreamTransport
from sennit.core.policy.pacing import rate_limited
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.policy.traffic import with_traffic_log
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.reactor.pollers import READ, pollers
from sennit.core.transport.flow import READY
from sennit.core.transport.stream import READ_SIZE, SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    OnPoller = Callable[[Callable[[Reactor], Coroutine[Any, Any, None]]], None]

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=pollers())
def on_poller(request: pytest.FixtureRequest) -> OnPoller:
    """Runs a main on a reactor of each poller, and sees that it leaves no descriptor."""

    def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
        reactor = Reactor(request.param)
        try:
            reactor.run(main)
            assert reactor.handlers == {}
        finally:
            reactor.close()

    return run


class Recorder(Protocol):
    """Writes down what it is told."""

    def __init__(self, keep: bool | None = None) -> None:
        self.events: list[str] = []
        self.data = b""
        self.lost: list[Exception | None] = []
        self.keep = keep
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.events.append("data")

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return self.keep

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.append(exc)
        if not self.ended.done():
            self.ended.set_result(None)


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


def tcp_pair(**options: int) -> tuple[Any, socket.socket]:
    """A connected TCP pair: the kernel's socket for a transport, and the peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if "rcvbuf" in options:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["rcvbuf"])
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    if "sndbuf" in options:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options["sndbuf"])
    return raw(ours), nonblocking(peer)


def unix_pair(**options: int) -> tuple[Any, socket.socket]:
    ours, peer = socket.socketpair()
    if "sndbuf" in options:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options["sndbuf"])
    return raw(ours), nonblocking(peer)


def raw(sock: socket.socket) -> Any:
    sock.setblocking(False)
    return socket.SocketType(sock.family, sock.type, sock.proto, sock.detach())


def nonblocking(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


class Sends:
    """A socket that counts its ``send`` and ``sendmsg``, and may take only so much of each."""

    def __init__(self, sock: Any, most: int | None = None) -> None:
        self.sock = sock
        self.sent: list[bytes] = []
        self.most = most
        self.errors: list[OSError] = []

    def send(self, data: Any) -> int:
        if self.errors:
            raise self.errors.pop(0)
        size = self.sock.send(data if self.most is None else data[: self.most])
        self.sent.append(bytes(data[:size]))
        return int(size)

    def sendmsg(self, pieces: Any) -> int:
        return self.send(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def begin(sock: Any, protocol: Any, **options: Any) -> SocketTransport:
    from sennit.core.reactor.base import current_reactor

    transport = SocketTransport(current_reactor(), sock, protocol, **options)
    transport.start()
    return transport


async def receive(peer: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < size:
        data = await loop.sock_recv(peer, min(size - len(got), 65536))
        if not data:
            break
        got += data
    return got


async def receive_all(peer: socket.socket) -> bytes:
    return await receive(peer, 1 << 40)


async def send(peer: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(peer, data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


# ── echo ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_what_comes_is_sent_back(on_poller: OnPoller, pair: Any) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = pair()
        protocol = Echo()
        transport = begin(sock, protocol)
        with peer:
            for size in (1, 1000, 100_000, 1_000_000):
                data = bytes(range(256)) * (size // 256 + 1)
                sending = asyncio.ensure_future(send(peer, data))
                assert await receive(peer, len(data)) == data
                await sending
        await protocol.ended
        assert protocol.events[0] == "made"
        assert protocol.events[-1] == "lost"
        assert protocol.lost == [None]
        assert transport.close_reason == "clean"

    on_poller(main)


async def test_it_provides_the_interface() -> None:
    sock, peer = tcp_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        assert verifyObject(IStreamTransport, transport)
        transport.close()
        await protocol.ended


# ── how writes leave ──────────────────────────────────────────────────────────


async def test_what_is_written_during_one_event_leaves_in_one_send() -> None:
    """DESIGN, Reactor: writes coalesce within the turn."""

    class Chatty(Recorder):
        def data_received(self, data: bytes) -> None:
            for octet in data:
                self.transport.write(bytes([octet]))
            self.transport.writelines([b"-", b"", b"!"])

    sock, peer = unix_pair()
    sends = Sends(sock)
    with peer:
        protocol = Chatty()
        transport = begin(sends, protocol)
        peer.send(b"abc")
        assert await receive(peer, 5) == b"abc-!"
        assert sends.sent == [b"abc-!"]
        transport.close()
        await protocol.ended


async def test_what_is_written_from_elsewhere_leaves_once_at_the_end_of_the_turn() -> None:
    sock, peer = unix_pair()
    sends = Sends(sock)
    with peer:
        protocol = Recorder()
        transport = begin(sends, protocol)
        await turns()
        for _ in range(10):
            transport.write(b"x")
        assert sends.sent == []
        assert transport.get_write_buffer_size() == 10
        await turns(2)
        assert sends.sent == [b"x" * 10]
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.ended


async def test_large_pieces_leave_by_sendmsg_uncopied() -> None:
    class Counting(Sends):
        pieces = 0

        def sendmsg(self, pieces: Any) -> int:
            self.pieces += len(pieces)
            return int(self.sock.sendmsg(pieces))

    sock, peer = unix_pair()
    counting = Counting(sock)
    with peer:
        protocol = Recorder()
        transport = begin(counting, protocol)
        transport.writelines([b"a" * 10_000, b"b" * 10_000])
        assert await receive(peer, 20_000) == b"a" * 10_000 + b"b" * 10_000
        assert counting.pieces == 2
        assert counting.sent == []
        transport.close()
        await protocol.ended


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 8, 9, 20])
@pytest.mark.parametrize("join_below", [16 * 1024, 0], ids=["joined", "sendmsg"])
async def test_a_send_cut_anywhere_loses_nothing(
    most: int, join_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call takes only `most` octets, which cuts at, before and behind every piece."""
    monkeypatch.setattr("sennit.core.transport.sending.JOIN_BELOW", join_below)
    sock, peer = unix_pair()
    with peer:
        protocol = Recorder()
        transport = begin(Sends(sock, most), protocol)
        pieces = [b"12", b"345", b"6", b"7890", b"abcdefgh", b"i"]
        transport.writelines(pieces)
        assert await receive(peer, 19) == b"".join(pieces)
        transport.write(b"more")
        transport.close()
        assert await receive_all(peer) == b"more"
        await protocol.ended


def test_a_full_kernel_is_waited_for(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = unix_pair(sndbuf=4096)
        protocol = Recorder()
        transport = begin(sock, protocol)
        data = [bytes([at % 256]) * (at % 977) for at in range(2000)]
        with peer:
            for each in data:
                transport.write(each)
            await turns()
            assert transport.get_write_buffer_size() > 0
            transport.close()
            assert await receive_all(peer) == b"".join(data)
        await protocol.ended
        assert transport.close_reason == "clean"

    on_poller(main)


async def test_many_small_pieces_that_wait_are_joined() -> None:
    """Their number must not cost more than what they hold (HARDENING core-8)."""
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        for at in range(200_000):
            transport.write(b"%06d;" % at)
        assert len(transport._out) < 5000
        assert transport.get_write_buffer_size() > 1_000_000
        transport.close()
        assert await receive_all(peer) == b"".join(b"%06d;" % at for at in range(200_000))
        await protocol.ended


async def test_joining_keeps_large_pieces_and_files_in_their_places(
    tmp_path: Any,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"F" * 5000)
    sock, peer = unix_pair(sndbuf=4096)
    with peer, path.open("rb") as file:
        protocol = Recorder()
        transport = begin(sock, protocol)
        expected = b""
        transport.write(b"0" * 100_000)
        for at in range(30):
            for _ in range(100):
                transport.write(b"s%d" % at)
            transport.write(b"L" * 20_000)
            transport.sendfile(file)
            expected += b"s%d" % at * 100 + b"L" * 20_000 + b"F" * 5000
        transport.close()
        assert await receive_all(peer) == b"0" * 100_000 + expected
        await protocol.ended


@pytest.mark.parametrize("during", ["an event", "no event"])
async def test_what_was_written_cannot_be_changed_afterwards(during: str) -> None:
    """The transport owns what it was given."""
    array = bytearray(b"abcdef")
    view = memoryview(array)[1:4]
    slow = memoryview(b"0123456789")[2:8:2]
    words = memoryview(bytes(8)).cast("I")

    def write(transport: Any) -> None:
        transport.write(array)
        transport.write(view)
        transport.write(slow)
        transport.write(words)
        array[:] = b"XXXXXX"

    class Writing(Recorder):
        def data_received(self, data: bytes) -> None:
            write(self.transport)

    sock, peer = unix_pair()
    with peer:
        protocol = Writing()
        transport = begin(sock, protocol)
        if during == "an event":
            peer.send(b"!")
        else:
            write(transport)
        assert await receive(peer, 20) == b"abcdefbcd246" + bytes(8)
        view.release()
        array.extend(b"not exported any more")
        transport.close()
        await protocol.ended


async def test_what_is_no_octets_is_refused() -> None:
    sock, peer = unix_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        wrong: Any
        for wrong in ("text", 5, None, [b"x"]):
            with pytest.raises(TypeError, match="bytes"):
                transport.write(wrong)
        transport.write(b"")
        transport.write(bytearray())
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.ended


async def test_writing_after_the_loss_is_ignored() -> None:
    sock, peer = unix_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.abort()
        transport.write(b"ignored")
        await protocol.ended
        transport.write(b"ignored")
        transport.writelines([b"ignored"])
        transport.write_eof()
        transport.close()
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
        transport.set_write_buffer_limits(10)
        await turns()
        assert protocol.events == ["made", "lost"]
        assert transport.get_write_buffer_size() == 0


async def test_writing_after_write_eof_is_an_error() -> None:
    sock, peer = unix_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(ReactorError, match="write_eof"):
            transport.write(b"more")
        transport.close()
        transport.write(b"ignored")
        await protocol.ended


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("how", ["answer", "one piece", "many pieces", "when writable"])
async def test_want_of_memory_in_send_is_waited_out(number: int, how: str) -> None:
    """HARDENING fault-2: retried with back-off, nothing is lost."""
    sock, peer = unix_pair(sndbuf=4096)
    sends = Sends(sock)
    errors = [OSError(number, "injected"), OSError(number, "injected")]
    size = 100_000
    with peer:
        protocol: Recorder = Echo() if how == "answer" else Recorder()
        transport = begin(sends, protocol)
        await turns()
        if how == "answer":
            sends.errors = errors
            size = 1000
            peer.send(b"." * size)
        elif how == "one piece":
            sends.errors = errors
            transport.write(b"." * size)
        elif how == "many pieces":
            sends.errors = errors
            transport.writelines([b"." * (size // 2)] * 2)
        else:
            transport.write(b"." * size)
            await turns()
            sends.errors = errors
        assert await receive(peer, size) == b"." * size
        assert sends.errors == []
        assert transport.close_reason is None
        await until(lambda: transport.get_write_buffer_size() == 0)
        transport.close()
        await protocol.ended


# ── flow control ──────────────────────────────────────────────────────────────


def test_producers_are_paused_at_the_high_mark_and_resumed_at_the_low(
    on_poller: OnPoller,
) -> None:
    """HARDENING defaults 5."""

    async def main(reactor: Reactor) -> None:
        sock, peer = unix_pair(sndbuf=4096)
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.set_write_buffer_limits(100_000, 20_000)
        assert transport.get_write_buffer_limits() == (20_000, 100_000)
        with peer:
            assert transport.writable() is READY
            transport.write(b"." * 100_000)
            await turns()
            assert protocol.events == ["made"]
            transport.write(b"." * 50_000)
            assert protocol.events == ["made", "pause"]
            waiting = transport.writable()
            transport.write(b"." * 50_000)
            got = 0
            sizes: list[int] = []
            while "resume" not in protocol.events:
                sizes.append(transport.get_write_buffer_size())
                got += len(await receive(peer, 1000))
            assert protocol.events == ["made", "pause", "resume"]
            assert sizes[-1] > 20_000 - 20_000
            assert transport.get_write_buffer_size() <= 20_000
            await waiting
            assert transport.writable() is READY
            assert await receive(peer, 200_000 - got)
            transport.close()
        await protocol.ended

    on_poller(main)


async def test_a_mark_that_is_lowered_pauses_and_one_that_is_raised_resumes() -> None:
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.write(b"." * 60_000)
        await turns()
        assert protocol.events == ["made"]
        transport.set_write_buffer_limits(1000)
        assert protocol.events == ["made", "pause"]
        transport.set_write_buffer_limits(low=100_000)
        assert protocol.events == ["made", "pause", "resume"]
        assert transport.get_write_buffer_limits() == (100_000, 400_000)
        for high, low, hard in ((10, 20, None), (-1, None, None), (10, 5, 9)):
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(high, low, hard=hard)
        transport.abort()
        await protocol.ended


async def test_waiting_for_room_fails_when_the_connection_ends_and_when_it_has() -> None:
    """A producer's loop must not go on for ever."""
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.write(b"." * 300_000)
        waiting = asyncio.ensure_future(_await(transport.writable()))
        await turns()
        transport.abort()
        with pytest.raises(ConnectionLost) as caught:
            await waiting
        assert caught.value.reason == "aborted"
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await transport.writable()
        assert protocol.events == ["made", "pause", "lost"]


async def test_so_does_it_in_memory() -> None:
    from sennit.core.transport.memory import memory_pair

    first, second = Recorder(), Recorder()
    memory_pair(first, second)
    await until(lambda: first.events and second.events)
    first.transport.abort()
    await first.ended
    await second.ended
    for each in (first, second):
        with pytest.raises(ConnectionLost):
            await each.transport.writable()
        each.transport.set_write_buffer_limits(10)
        assert "resume" not in each.events


async def _await(awaitable: Any) -> None:
    await awaitable


async def test_past_the_hard_limit_the_connection_is_aborted() -> None:
    """HARDENING core-8."""
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.set_write_buffer_limits(1000, hard=50_000)
        transport.write(b"." * 40_000)
        assert transport.close_reason is None
        transport.write(b"." * 40_000)
        assert transport.close_reason == "limit:write-buffer"
        await protocol.ended
        (error,) = protocol.lost
        assert isinstance(error, ConnectionAborted)
        assert error.reason == "limit:write-buffer"
        assert "does not read" in str(error)


# ── pausing reading ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_pausing_loses_no_octet(on_poller: OnPoller, pair: Any) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert self.transport.is_reading()
            self.transport.pause_reading()
            self.transport.pause_reading()
            assert not self.transport.is_reading()

    async def main(reactor: Reactor) -> None:
        sock, peer = pair()
        protocol = Pausing()
        transport = begin(sock, protocol)
        data = bytes(range(256)) * 4000
        with peer:
            sending = asyncio.ensure_future(send(peer, data))
            await until(lambda: protocol.data)
            while len(protocol.data) < len(data):
                seen = len(protocol.data)
                await turns()
                assert len(protocol.data) == seen
                transport.resume_reading()
                transport.resume_reading()
                await until(lambda: len(protocol.data) > seen)  # noqa: B023 - awaited here
            await sending
            assert protocol.data == data
            transport.resume_reading()
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            assert protocol.events[-2:] == ["eof", "lost"]

    on_poller(main)


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
@pytest.mark.parametrize("end", ["shutdown", "close", "reset"])
def test_an_end_while_paused_costs_at_most_two_turns_and_waits_behind_the_octets(
    on_poller: OnPoller, pair: Any, end: str
) -> None:
    """DESIGN, Reactor: FIN and RST while paused."""

    async def main(reactor: Reactor) -> None:
        sock, peer = pair()
        protocol = Recorder()
        transport = begin(sock, protocol)
        events = 0

        handler = reactor.handlers[transport._fd]

        def counting(mask: int) -> None:
            nonlocal events
            events += 1
            handler(mask)

        reactor.handlers[transport._fd] = counting
        transport.pause_reading()
        with peer:
            peer.send(b"last words")
            await turns()
            if end == "shutdown":
                peer.shutdown(socket.SHUT_WR)
            else:
                if end == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                peer.close()
            await turns(50)
            assert events <= 3  # the octets, the end, and for Unix its hangup
            if not (end == "reset" and pair is tcp_pair):
                assert protocol.events == ["made"]
            transport.resume_reading()
            await protocol.ended
        if end == "reset" and pair is tcp_pair:
            assert transport.close_reason == "reset"
            assert isinstance(protocol.lost[0], ConnectionLost)
        else:
            assert protocol.data == b"last words"
            assert protocol.events == ["made", "data", "eof", "lost"]
            assert transport.close_reason == "clean"

    on_poller(main)


@pytest.mark.skipif("epoll" not in pollers(), reason="only epoll tells")
async def test_a_reset_while_paused_ends_the_connection_at_once() -> None:
    sock, peer = tcp_pair()
    protocol = Recorder()
    transport = begin(sock, protocol)
    transport.pause_reading()
    peer.send(b"x")
    await turns()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()
    async with asyncio.timeout(10):
        await protocol.ended
    assert transport.close_reason == "reset"


async def test_reading_paused_in_connection_made_begins_when_resumed() -> None:
    class Shy(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    sock, peer = unix_pair()
    with peer:
        peer.send(b"early")
        protocol = Shy()
        transport = begin(sock, protocol)
        await turns(5)
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data)
        assert protocol.data == b"early"
        transport.close()
        await protocol.ended


# ── half-close ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_our_half_close_leaves_behind_what_was_written_and_reading_goes_on(
    on_poller: OnPoller, pair: Any
) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = pair(sndbuf=4096)
        protocol = Recorder()
        transport = begin(sock, protocol)
        assert transport.can_write_eof()
        with peer:
            transport.write(b"." * 200_000)
            transport.write_eof()
            assert not transport.is_closing()
            assert await receive_all(peer) == b"." * 200_000
            peer.send(b"answer")
            await until(lambda: protocol.data == b"answer")
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            assert protocol.events[-2:] == ["eof", "lost"]
            assert protocol.lost == [None]
            assert transport.close_reason == "clean"

    on_poller(main)


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_the_peers_half_close_leaves_the_way_out_open_if_asked(
    on_poller: OnPoller, pair: Any
) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = pair()
        protocol = Recorder(keep=True)
        transport = begin(sock, protocol)
        with peer:
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "eof" in protocol.events)
            assert not transport.is_reading()
            for _ in range(3):
                await turns()
                transport.write(b"." * 300_000)
                assert await receive(peer, 300_000) == b"." * 300_000
            transport.pause_reading()
            transport.resume_reading()
            await turns()
            assert protocol.events.count("eof") == 1
            transport.write_eof()
            assert await receive_all(peer) == b""
        await protocol.ended
        assert protocol.lost == [None]
        assert transport.close_reason == "clean"

    on_poller(main)


async def test_without_that_the_peers_end_closes_once_all_has_left() -> None:
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Recorder(keep=False)
        transport = begin(sock, protocol)
        transport.write(b"." * 200_000)
        peer.shutdown(socket.SHUT_WR)
        await until(transport.is_closing)
        assert await receive_all(peer) == b"." * 200_000
        await protocol.ended
        assert protocol.lost == [None]


async def test_a_peer_that_goes_away_altogether_after_its_half_close_is_noticed() -> None:
    sock, peer = unix_pair()
    protocol = Recorder(keep=True)
    transport = begin(sock, protocol)
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in protocol.events)
    transport.write(b"." * 500_000)
    await turns()
    peer.close()
    await protocol.ended
    assert transport.close_reason == "reset"


async def test_a_protocol_without_eof_received_ends_its_connection_only() -> None:
    class Bare:
        lost: Any = ()

        def connection_made(self, transport: Any) -> None: ...
        def data_received(self, data: bytes) -> None: ...

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost = exc

    sock, peer = unix_pair()
    protocol = Bare()
    begin(sock, protocol)
    peer.close()
    await until(lambda: protocol.lost != ())
    assert isinstance(protocol.lost, ConnectionAborted)


# ── closing ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_close_sends_what_is_queued_first(on_poller: OnPoller, pair: Any) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = pair(sndbuf=4096)
        protocol = Recorder()
        transport = begin(sock, protocol)
        with peer:
            transport.write(b"." * 300_000)
            transport.close()
            transport.close("late")
            assert transport.is_closing()
            assert transport.close_reason == "clean"
            assert await receive_all(peer) == b"." * 300_000
        await protocol.ended
        assert transport.close_reason == "clean"
        assert protocol.lost == [None]

    on_poller(main)


@pytest.mark.parametrize("extra", [b"", b" and more"])
async def test_close_inside_data_received_sends_the_answer_first(extra: bytes) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            if extra:
                self.transport.write(extra)
            self.transport.close("idle")
            self.transport.write(b"ignored")

    sock, peer = unix_pair()
    with peer:
        protocol = Once()
        transport = begin(sock, protocol)
        peer.send(b"answer")
        assert await receive_all(peer) == b"answer" + extra
        await protocol.ended
        assert transport.close_reason == "idle"
        assert protocol.lost == [None]


async def test_half_close_inside_data_received_sends_the_answer_first() -> None:
    class Half(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            self.transport.write_eof()

    sock, peer = unix_pair()
    with peer:
        protocol = Half()
        begin(sock, protocol)
        peer.send(b"answer")
        assert await receive_all(peer) == b"answer"
    await protocol.ended


async def test_a_connection_that_says_its_word_in_connection_made_and_closes() -> None:
    class Curt(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"no")
            transport.close()

    sock, peer = unix_pair()
    with peer:
        protocol = Curt()
        begin(sock, protocol)
        assert await receive_all(peer) == b"no"
        await protocol.ended


async def test_abort_resets_and_throws_away() -> None:
    sock, peer = tcp_pair(sndbuf=4096)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.write(b"." * 1_000_000)
        transport.abort()
        assert protocol.events[-1] != "lost", "told at the end of the turn, not inside"
        await protocol.ended
        with pytest.raises(ConnectionResetError):
            await receive_all(peer)
    (error,) = protocol.lost
    assert isinstance(error, ConnectionAborted)
    assert transport.close_reason == "aborted"


@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "pause_writing", "resume_writing"]
)
async def test_abort_inside_any_method_ends_it_there(where: str) -> None:
    protocol, transport = await _provoke(where, lambda protocol: protocol.transport.abort("shed"))
    assert transport.close_reason == "shed"
    (error,) = protocol.lost
    assert isinstance(error, ConnectionAborted)
    assert error.reason == "shed"
    assert protocol.events[-1] == "lost"


async def _provoke(
    where: str, act: Callable[[Recorder], object], **options: Any
) -> tuple[Recorder, SocketTransport]:
    """Have a connection on which each method is called, and `act` in one of them."""

    class Acting(Recorder):
        pass

    def method(self: Acting, *args: Any) -> object:
        result = getattr(super(Acting, self), where)(*args)
        act(self)
        return result

    method.__name__ = where
    setattr(Acting, where, method)
    sock, peer = unix_pair(sndbuf=4096)
    protocol = Acting()
    with peer:
        transport = begin(sock, protocol, **options)
        peer.send(b"data")
        await until(lambda: protocol.data or protocol.lost)
        transport.write(b"." * 300_000)
        while "pause" in protocol.events and "resume" not in protocol.events and not protocol.lost:
            try:
                peer.recv(65536)
            except BlockingIOError:
                await asyncio.sleep(0)
            except OSError:
                break
            await asyncio.sleep(0)
        if not protocol.lost:
            peer.shutdown(socket.SHUT_WR)
            while not protocol.lost:
                try:
                    peer.recv(65536)
                except OSError:
                    pass
                await asyncio.sleep(0)
    await protocol.ended
    return protocol, transport


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        asyncio.CancelledError(),
        GeneratorExit(),
        OSError(errno.EAGAIN, "mine, not the kernel's"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "where",
    [
        "connection_made",
        "data_received",
        "eof_received",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ],
)
async def test_what_a_method_raises_ends_its_connection_and_nothing_else(
    where: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10."""

    def fail(protocol: Recorder) -> None:
        raise error

    protocol, transport = await _provoke(where, fail)
    assert protocol.events.count("lost") == 1
    assert protocol.events[-1] == "lost"
    if where != "connection_lost":
        assert transport.close_reason == "error"
        assert isinstance(protocol.lost[0], ConnectionAborted)
    (record,) = caplog.records
    assert where in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize("where", ["connection_made", "data_received", "connection_lost"])
def test_an_interrupt_inside_a_method_ends_the_run(where: str) -> None:
    async def main(reactor: Reactor) -> None:
        def interrupt(protocol: Recorder) -> None:
            raise KeyboardInterrupt

        if where == "connection_made":
            reactor.call_soon(lambda: asyncio.ensure_future(_provoke(where, interrupt)))
            await asyncio.sleep(5)
        await _provoke(where, interrupt)

    reactor = Reactor()
    with pytest.raises(KeyboardInterrupt):
        reactor.run(main)
    reactor.close()
    gc.collect()


# ── how a connection can end ──────────────────────────────────────────────────


@pytest.mark.parametrize("at", range(12))
def test_a_reset_after_any_octet_is_told_once(on_poller: OnPoller, at: int) -> None:
    """HARDENING fault-7: RST after every byte offset of a script."""

    async def main(reactor: Reactor) -> None:
        script = b"HELLO\r\nBYE!\n"
        sock, peer = tcp_pair()
        protocol = Echo()
        begin(sock, protocol)
        if at:
            peer.send(script[:at])
            if at % 2:
                await receive(peer, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        await protocol.ended
        assert protocol.events.count("lost") == 1
        assert protocol.events[-1] == "lost"
        assert protocol.transport.close_reason == "reset"
        assert isinstance(protocol.lost[0], ConnectionLost)

    on_poller(main)


async def test_a_peer_that_closes_while_much_waits_is_a_reset() -> None:
    sock, peer = unix_pair(sndbuf=4096)
    protocol = Recorder()
    transport = begin(sock, protocol)
    transport.write(b"." * 500_000)
    await turns()
    peer.close()
    await protocol.ended
    assert transport.close_reason == "reset"
    assert protocol.lost[0] is not None
    assert isinstance(protocol.lost[0].__cause__, OSError)


@pytest.mark.parametrize("paused", [False, True])
async def test_what_a_peer_said_before_it_stopped_listening_is_heard(paused: bool) -> None:
    """As of a server that refuses an upload, answers and closes with octets unread."""
    sock, peer = unix_pair(sndbuf=4096)
    protocol = Recorder()
    transport = begin(sock, protocol)
    transport.write(b"." * 500_000)
    await turns()
    if paused:
        transport.pause_reading()
    peer.sendall(b"413")
    peer.close()
    transport.write(b"." * 500_000)
    await protocol.ended
    assert protocol.data == (b"" if paused else b"413")
    assert transport.close_reason == "reset"
    assert protocol.events[-1] == "lost"


def test_a_reactor_that_stops_ends_its_connections() -> None:
    kept: list[Any] = []

    async def main(reactor: Reactor) -> None:
        for paused in (False, True):
            sock, peer = tcp_pair()
            protocol = Recorder(keep=True)
            transport = begin(sock, protocol)
            if paused:
                transport.pause_reading()
            kept.extend([protocol, peer])
        await turns()

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    for protocol in (kept[0], kept[2]):
        assert protocol.events == ["made", "lost"]
        assert protocol.transport.close_reason == "drained"
    for peer in (kept[1], kept[3]):
        peer.close()


# ── protocols ─────────────────────────────────────────────────────────────────


class Lending:
    """asyncio's buffered kind of protocol."""

    def __init__(self, size: int = 1000) -> None:
        self.buffer = bytearray(size)
        self.data = b""
        self.events: list[str] = []
        self.lost: Any = ()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        self.transport.write(self.buffer[:nbytes])

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


def test_a_buffered_protocol_lends_its_buffer(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        sock, peer = unix_pair()
        protocol = Lending()
        transport = begin(sock, protocol)
        data = bytes(range(256)) * 100
        with peer:
            await send(peer, data)
            assert await receive(peer, len(data)) == data
            transport.pause_reading()
            peer.send(b"later")
            await turns()
            assert protocol.data == data
            transport.resume_reading()
            assert await receive(peer, 5) == b"later"
        await until(lambda: protocol.lost is None)
        assert protocol.events == ["eof"]

    on_poller(main)


@pytest.mark.parametrize("error", [BlockingIOError(), ValueError(), asyncio.CancelledError()])
async def test_a_buffer_that_is_not_lent_ends_the_connection(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Mean(Lending):
        def get_buffer(self, sizehint: int) -> bytearray:
            raise error

    for protocol in (Mean(), Lending(0)):
        sock, peer = unix_pair()
        with peer:
            begin(sock, protocol)
            peer.send(b"x")
            await until(lambda: protocol.lost != ())  # noqa: B023 - awaited here
        assert isinstance(protocol.lost, ConnectionAborted)
        assert protocol.transport.close_reason == "error"
    assert "empty buffer" in str(caplog.records[1].exc_info)


@pytest.mark.parametrize(
    "around",
    [
        None,
        partial(with_timeouts, idle=60.0),
        partial(rate_limited, read=1e6),
        partial(with_traffic_log, level=logging.CRITICAL),
    ],
)
async def test_a_buffered_protocol_may_have_more_read_without_the_poller(around: Any) -> None:
    """It says so through what is around it, too."""

    class Eager(Lending):
        def buffer_updated(self, nbytes: int) -> bool:  # type: ignore[override]  # it has a say
            self.data += self.buffer[:nbytes]
            return self.data != b"12345678"

    sock, peer = unix_pair()
    with peer:
        protocol = Eager(4)
        worn = protocol if around is None else around(lambda: protocol).build_protocol(None)
        transport = begin(sock, worn)
        peer.send(b"123456789")
        peer.shutdown(socket.SHUT_WR)
        transport._on_event_buffered(READ)
        assert protocol.data == b"12345678"
        transport._on_event_buffered(READ)
        assert (protocol.data, protocol.events) == (b"123456789", ["eof"])
        await until(lambda: protocol.lost != ())


@pytest.mark.parametrize("successor", [Recorder, Lending])
async def test_who_has_more_read_and_is_replaced_gets_none_of_it(successor: type[Any]) -> None:
    class Last(Lending):
        def buffer_updated(self, nbytes: int) -> bool:  # type: ignore[override]  # it has a say
            self.data += self.buffer[:nbytes]
            self.transport.set_protocol(after)
            return True

    sock, peer = unix_pair()
    with peer:
        protocol: Any = Last(4)
        after: Any = successor()
        transport = after.transport = begin(sock, protocol)
        peer.send(b"12345678")
        await until(lambda: after.data)
        assert (protocol.data, after.data) == (b"1234", b"5678")
        transport.abort()
        await turns()


async def test_the_protocol_can_be_changed_in_mid_stream() -> None:
    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            second.transport = self.transport
            self.transport.set_protocol(second)

    sock, peer = unix_pair()
    with peer:
        first, second = First(), Echo()
        transport = begin(sock, first)
        peer.send(b"one")
        await until(lambda: first.data)
        assert transport.get_protocol() is second
        peer.send(b"two")
        assert await receive(peer, 3) == b"two"
        transport.close()
        await second.ended
        assert first.events == ["made", "data"]
        assert second.events == ["data", "lost"]


async def test_a_buffered_successor_gets_what_comes_in_the_same_turn() -> None:
    """Whoever takes over while whole reads come one behind the other misses none."""

    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            second.transport = self.transport
            successor: Any = second
            self.transport.set_protocol(successor)

    sock, peer = unix_pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with peer:
        first, second = First(), Lending(700)
        transport = begin(sock, first)
        data = bytes(range(256)) * 600
        sent = peer.send(data)
        assert sent > READ_SIZE
        await until(lambda: len(first.data) + len(second.data) == sent)
        assert first.data + second.data == data[:sent]
        transport.abort()
        await until(lambda: second.lost != ())


async def test_fairness_a_peer_that_sends_much_leaves_the_others_their_turn() -> None:
    """HARDENING defaults 4: at most 256 KiB of one connection in one turn."""
    sock, peer = unix_pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        transport.pause_reading()
        sent = peer.send(b"." * 1_000_000)
        transport.resume_reading()
        before = 0
        while len(protocol.data) < sent:
            await asyncio.sleep(0)
            assert len(protocol.data) - before <= 4 * READ_SIZE
            before = len(protocol.data)
        transport.close()
        await protocol.ended


# ── what it tells ─────────────────────────────────────────────────────────────


async def test_it_knows_its_ends() -> None:
    sock, peer = tcp_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        assert transport.local == InternetAddress(*peer.getpeername())
        assert transport.peer == InternetAddress(*peer.getsockname())
        info = transport.get_extra_info
        assert info("peername") == peer.getsockname()
        assert info("sockname") == peer.getpeername()
        assert info("nothing") is None
        assert info("nothing", 5) == 5
        assert info("reactor") is transport._reactor
        view = info("socket")
        assert view.family == socket.AF_INET
        assert view.type == socket.SOCK_STREAM
        assert view.proto in {0, socket.IPPROTO_TCP}
        assert view.gettimeout() == 0.0
        assert view.getpeername() == peer.getsockname()
        assert view.getsockname() == peer.getpeername()
        view.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert view.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert view.fileno() == transport._fd
        assert not hasattr(view, "recv")
        assert "open" in repr(transport)
        transport.close()
        await protocol.ended
        assert transport.local is None
        assert transport.peer == InternetAddress(*peer.getsockname())
        assert info("sockname", "gone") == "gone"
        assert info("socket", "gone") == "gone"
        assert info("peername") == peer.getsockname()
        assert "clean" in repr(transport)


async def test_a_nameless_unix_peer_has_an_empty_address() -> None:
    sock, peer = unix_pair()
    with peer:
        protocol = Recorder()
        transport = begin(sock, protocol)
        assert transport.peer == UnixAddress("")
        assert str(transport.peer) == "unix:"
        transport.close()
        await protocol.ended


# ── context ───────────────────────────────────────────────────────────────────

who: ContextVar[str] = ContextVar("who", default="nobody")


async def test_every_method_runs_in_the_context_of_the_connection() -> None:
    """DESIGN, Context."""
    seen: dict[str, str] = {}

    class Looking(Recorder):
        def __getattribute__(self, name: str) -> Any:
            if name in METHODS:
                method = super().__getattribute__(name)

                def call(*args: Any) -> Any:
                    seen[name] = who.get()
                    return method(*args)

                call.__name__ = name
                return call
            return super().__getattribute__(name)

    context = copy_context()
    context.run(who.set, "the connection")
    sock, peer = unix_pair(sndbuf=4096)
    with peer:
        protocol = Looking()
        transport = begin(sock, protocol, context=context)
        peer.send(b"x")
        await until(lambda: protocol.data)
        context.copy().run(transport.write, b"." * 300_000)
        await receive(peer, 300_000)
        peer.shutdown(socket.SHUT_WR)
        await protocol.ended
    assert seen == dict.fromkeys(METHODS, "the connection")


METHODS = (
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
)


async def test_a_producer_resumed_at_the_end_of_a_turn_has_its_context(tmp_path: Any) -> None:
    seen: list[str] = []

    class Looking(Recorder):
        def resume_writing(self) -> None:
            seen.append(who.get())

    path = tmp_path / "file"
    path.write_bytes(b"x")
    context = copy_context()
    context.run(who.set, "the connection")
    sock, peer = unix_pair()
    with peer, path.open("rb") as file:
        protocol = Looking()
        transport = begin(sock, protocol, context=context)
        await transport.sendfile(file)
        await turns()
        assert seen == ["the connection"]
        transport.close()
        await protocol.ended


# ── nothing is left ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["close", "abort", "peer", "reset"])
@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("kind", ["plain", "buffered"])
async def test_transport_and_protocol_are_freed_without_the_collector(
    end: str, context: bool, kind: str
) -> None:
    sock, peer = tcp_pair()
    protocol: Any = Lending() if kind == "buffered" else Echo()
    own = copy_context() if context else None
    transport = begin(sock, protocol, context=own)
    del own
    peer.send(b"hello")
    assert await receive(peer, 5) == b"hello"
    gc.collect()
    gc.disable()
    try:
        traces: list[weakref.ref[Any]] = [weakref.ref(transport), weakref.ref(protocol)]
        if end == "close":
            transport.close()
        elif end == "abort":
            transport.abort()
        else:
            if end == "reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.close()
        async with asyncio.timeout(5):
            while protocol.lost in ((), []):
                await asyncio.sleep(0)
        del transport, protocol
        await turns()
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()
        peer.close()
