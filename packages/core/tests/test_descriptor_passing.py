"""Descriptors over Unix sockets: order, bounds, and that none is ever left open."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.errors import ConnectionLost, LimitReachedError, UsageError
from sennit.core.interfaces import IDescriptorTransport, IStreamTransport, adapt
from sennit.core.protocol import DatagramProtocol, Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.testing.loopback import loopback_pair
from sennit.core.transport.descriptors import ReceivedDescriptors, UnixTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "SCM_RIGHTS"), reason="this system passes no descriptors"
)


def open_descriptors() -> list[str]:
    """What the descriptors of this process are, in no order."""
    found: list[str] = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return sorted(found)


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    """Whatever a test does, it leaves the descriptors that there were."""
    before = len(open_descriptors())
    yield
    assert len(open_descriptors()) == before


def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
    reactor = Reactor()
    try:
        reactor.run(main)
        assert reactor.handlers == {}
    finally:
        reactor.close()


class Taker(Protocol):
    """Takes every descriptor, and writes down in which order all came."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[Any] = asyncio.Queue()
        self.fds: list[int] = []
        self.ended = asyncio.get_running_loop().create_future()

    def descriptors_received(self, descriptors: ReceivedDescriptors) -> None:
        taken = descriptors.take_all()
        self.fds += taken
        self.came.put_nowait(len(taken))

    def data_received(self, data: bytes) -> None:
        self.came.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        for fd in self.fds:
            os.close(fd)
        self.ended.set_result(exc)

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return await self.came.get()

    async def octets(self, count: int) -> list[Any]:
        """What came until so many octets had, octets that came together as one."""
        events: list[Any] = []
        while sum(len(each) for each in events if isinstance(each, bytes)) < count:
            events.append(await self.next())
        return events


class Ignores(Protocol):
    """Has no method for descriptors."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self.came.put_nowait(data)


def pipe_with(text: bytes) -> int:
    """The reading end of a pipe that has `text` in it, and the end of it."""
    ours, theirs = os.pipe()
    os.write(theirs, text)
    os.close(theirs)
    return ours


def test_unix_transports_keep_their_contracts() -> None:
    async def main(reactor: Reactor) -> None:
        pair = loopback_pair(Protocol(), Protocol(), "unix", reactor=reactor)
        assert verifyObject(IDescriptorTransport, pair.first)
        assert verifyObject(IStreamTransport, pair.first)
        tcp = loopback_pair(Protocol(), Protocol(), "tcp", reactor=reactor)
        with pytest.raises(TypeError, match="IDescriptorTransport"):
            adapt(IDescriptorTransport, tcp.first)

    run(main)


def test_descriptors_come_in_order_and_are_the_senders_files() -> None:
    async def main(reactor: Reactor) -> None:
        sender, taker = Protocol(), Taker()
        pair = loopback_pair(sender, taker, "unix", reactor=reactor)
        files = [pipe_with(b"first"), pipe_with(b"second"), pipe_with(b"third")]
        first: Any = pair.first
        first.write(b"before ")
        first.send_descriptors(files[:2], b"with two ")
        first.write(b"between ")
        first.send_descriptors(files[2:], b"with one ")
        first.write(b"after")
        for each in files:
            os.close(each)  # they are duplicated already
        events = await taker.octets(len(b"before with two between with one after"))
        octets = b"".join(each for each in events if isinstance(each, bytes))
        assert octets == b"before with two between with one after"
        # Never after the octets they were sent with.
        for count, mark in ((2, b"with two"), (1, b"with one")):
            at = events.index(count)
            assert mark not in b"".join(each for each in events[:at] if isinstance(each, bytes))
        assert [os.read(fd, 10) for fd in taker.fds] == [b"first", b"second", b"third"]
        assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in taker.fds)
        assert not any(os.get_inheritable(fd) for fd in taker.fds)
        first.close()
        await taker.ended

    run(main)


def test_servers_and_clients_of_unix_sockets_pass_descriptors(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        takers: list[Taker] = []

        def build() -> Taker:
            takers.append(Taker())
            return takers[-1]

        await reactor.listen_unix(build, path)
        client: Any = await reactor.connect_unix(Protocol, path)
        assert type(client.transport) is UnixTransport
        file = pipe_with(b"x")
        client.transport.send_descriptors([file])
        os.close(file)
        while not takers:
            await asyncio.sleep(0)
        assert await takers[0].octets(1) == [1, b"\0"]
        client.transport.close()
        await takers[0].ended

    run(main)


def test_descriptors_that_nobody_takes_are_closed() -> None:
    async def main(reactor: Reactor) -> None:
        class TakesOne(Taker):
            def descriptors_received(self, descriptors: ReceivedDescriptors) -> None:
                assert len(descriptors) == 3
                self.fds.append(descriptors.take())
                assert len(descriptors) == 2
                self.came.put_nowait(repr(descriptors))

        taker = TakesOne()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor)
        before = len(open_descriptors())
        file = pipe_with(b"x")
        pair.first.send_descriptors([file, file, file], b"y")
        os.close(file)
        await taker.octets(1)
        assert len(open_descriptors()) == before + 1
        pair.first.abort()
        await taker.ended

    run(main)


def test_a_protocol_that_asks_for_none_gets_none() -> None:
    async def main(reactor: Reactor) -> None:
        ignores = Ignores()
        pair: Any = loopback_pair(Protocol(), ignores, "unix", reactor=reactor)
        before = len(open_descriptors())
        file = pipe_with(b"x")
        pair.first.send_descriptors([file], b"hello")
        os.close(file)
        assert await ignores.came.get() == b"hello"
        assert len(open_descriptors()) == before
        # Its successor may ask for them.
        taker = Taker()
        pair.second.set_protocol(taker)
        file = pipe_with(b"x")
        pair.first.send_descriptors([file], b"z")
        os.close(file)
        assert await taker.octets(1) == [1, b"z"]
        pair.first.abort()
        await taker.ended

    run(main)


@pytest.mark.parametrize("count", [5, 6, 250])
def test_more_than_wanted_at_once_ends_the_connection(count: int) -> None:
    """A peer must not fill this process' table of descriptors: a bound with a name."""

    async def main(reactor: Reactor) -> None:
        taker = Taker()
        taker.max_descriptors = 4  # type: ignore[attr-defined]  # found by the transport
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor)
        file = pipe_with(b"x")
        pair.first.send_descriptors([file] * 4, b"four")
        assert await taker.octets(4) == [4, b"four"]
        pair.first.send_descriptors([file] * count, b"many")
        os.close(file)
        error = await taker.ended
        assert isinstance(error, LimitReachedError)
        assert error.reason == pair.second.close_reason == "limit:descriptors"
        assert taker.came.empty()

    run(main)


def test_a_failure_of_the_protocol_closes_what_it_did_not_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING fault-10."""

    async def main(reactor: Reactor) -> None:
        class Broken(Taker):
            def descriptors_received(self, descriptors: ReceivedDescriptors) -> None:
                self.fds.append(descriptors.take())
                raise LookupError("no room")

        taker = Broken()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor)
        file = pipe_with(b"x")
        pair.first.send_descriptors([file, file], b"xy")
        os.close(file)
        assert getattr(await taker.ended, "reason", None) == "error"
        assert taker.came.empty()

    run(main)
    assert "descriptors_received" in caplog.text


def test_what_a_peer_that_resets_had_sent_is_not_leaked() -> None:
    """HARDENING fault-7: the peer ends at any point; nothing is left open."""

    async def main(reactor: Reactor) -> None:
        taker = Taker()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor)
        pair.second.pause_reading()
        file = pipe_with(b"x")
        for _ in range(20):
            pair.first.send_descriptors([file], bytes(1000))
        await asyncio.sleep(0)
        pair.second.abort()
        await taker.ended
        for _ in range(3):
            # The transport may not know yet: then these wait, and go with it.
            try:
                pair.first.send_descriptors([file], bytes(1000))
            except ConnectionLost:
                pass
            await asyncio.sleep(0)
        os.close(file)
        pair.first.abort()

    run(main)


def test_what_waits_to_be_sent_is_closed_with_the_transport() -> None:
    async def main(reactor: Reactor) -> None:
        taker = Taker()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor, buffer=4096)
        pair.second.pause_reading()
        file = pipe_with(b"x")
        pair.first.write(bytes(300_000))
        before = len(open_descriptors())
        pair.first.send_descriptors([file, file], b"late")
        assert len(open_descriptors()) == before + 2
        os.close(file)
        pair.first.abort()
        with pytest.raises(ConnectionLost):
            pair.first.send_descriptors([0], b"x")
        pair.second.abort()
        await taker.ended

    run(main)


def test_long_octets_with_descriptors_arrive_whole_under_flow_control() -> None:
    async def main(reactor: Reactor) -> None:
        taker = Taker()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor, buffer=4096)
        data = os.urandom(200_000)
        file = pipe_with(b"x")
        pair.first.send_descriptors([file], data)
        pair.first.send_descriptors([file], b"end")
        pair.first.close()
        os.close(file)
        events = await taker.octets(len(data) + 3)
        assert b"".join(each for each in events if isinstance(each, bytes)) == data + b"end"
        assert [each for each in events if isinstance(each, int)] == [1, 1]
        assert await taker.ended is None

    run(main)


def test_too_many_under_way_are_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """HARDENING fault-2: ETOOMANYREFS (unix(7)) is a want of room, not an end."""
    monkeypatch.setattr("sennit.core.transport.sending.RETRY", 0.001)

    class Full:
        def __init__(self, sock: Any) -> None:
            self.sock = sock
            self.refusals = 2

        def sendmsg(self, *args: Any) -> int:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.ETOOMANYREFS, "Too many references")
            return int(self.sock.sendmsg(*args))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    async def main(reactor: Reactor) -> None:
        taker = Taker()
        pair: Any = loopback_pair(Protocol(), taker, "unix", reactor=reactor)
        pair.first._sock = full = Full(pair.first._sock)
        file = pipe_with(b"x")
        pair.first.send_descriptors([file], b"x")
        pair.first.write(b"y")
        os.close(file)
        assert await taker.octets(2) in ([1, b"x", b"y"], [1, b"xy"])
        assert full.refusals == 0
        pair.first.close()
        await taker.ended

    run(main)


def test_what_cannot_be_sent_is_refused_at_the_call() -> None:
    async def main(reactor: Reactor) -> None:
        pair: Any = loopback_pair(Protocol(), Protocol(), "unix", reactor=reactor)
        with pytest.raises(UsageError, match="at least one octet"):
            pair.first.send_descriptors([0], b"")
        with pytest.raises(UsageError, match="1 to 253"):
            pair.first.send_descriptors([], b"x")
        with pytest.raises(UsageError, match="1 to 253"):
            pair.first.send_descriptors([0] * 254, b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            pair.first.send_descriptors([0, 99_999], b"x")
        with pytest.raises(UsageError, match="was taken"):
            ReceivedDescriptors([]).take()

    run(main)


def test_a_protocol_that_lends_buffers_cannot_ask_for_descriptors() -> None:
    class Lends(Taker):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray(10)

        def buffer_updated(self, count: int) -> None: ...

    async def main(reactor: Reactor) -> None:
        pair: Any = loopback_pair(Protocol(), Protocol(), "unix", reactor=reactor)
        with pytest.raises(UsageError, match="lends buffers"):
            pair.first.set_protocol(Lends())

    run(main)


# ── datagrams ─────────────────────────────────────────────────────────────────


class DatagramTaker(DatagramProtocol):
    def __init__(self) -> None:
        self.came: asyncio.Queue[Any] = asyncio.Queue()
        self.fds: list[int] = []

    def descriptors_received(self, descriptors: ReceivedDescriptors) -> None:
        self.fds.append(descriptors.take())
        self.came.put_nowait("descriptors")

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        for fd in self.fds:
            os.close(fd)


def test_datagrams_carry_descriptors(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(DatagramTaker, path)
        taker = listener.transports[0].get_protocol()
        client: Any = await reactor.connect_unix_datagram(DatagramProtocol, path)
        file = pipe_with(b"hello")
        client.transport.sendto(b"plain")
        client.transport.send_descriptors([file, file], b"with two")
        client.transport.send_descriptors([file] * 17, b"with too many")
        client.transport.sendto(b"last")
        os.close(file)
        came = [await taker.came.get() for _ in range(4)]
        assert came == [b"plain", "descriptors", b"with two", b"last"]
        assert os.read(taker.fds[0], 10) == b"hello"
        assert not os.get_inheritable(taker.fds[0])
        assert taker.transport.drops == {"limit:descriptors": 1}
        with pytest.raises(UsageError, match="1 to 253"):
            client.transport.send_descriptors([], b"x")

    run(main)


def test_datagrams_that_wait_with_descriptors_leave_or_are_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(DatagramTaker, path)
        taker = listener.transports[0].get_protocol()
        taker.transport.pause_reading()
        client: Any = await reactor.connect_unix_datagram(DatagramProtocol, path)
        before = len(open_descriptors())
        file = pipe_with(b"hello")
        sent = 0
        while not client.transport.get_write_buffer_size():
            client.transport.send_descriptors([file], bytes(3000))
            sent += 1
        assert len(open_descriptors()) == before + 2
        taker.transport.resume_reading()
        for _ in range(2 * sent):
            await taker.came.get()
        assert len(taker.fds) == sent
        taker.transport.pause_reading()
        while not client.transport.get_write_buffer_size():
            client.transport.send_descriptors([file], bytes(3000))
        client.transport.set_write_buffer_limits(high=0, hard=0)
        client.transport.send_descriptors([file], b"dropped")
        assert client.transport.drops == {"limit:write-buffer": 1}
        client.transport.abort()
        client.transport.send_descriptors([file], b"ignored")
        os.close(file)

    run(main)
