"""Datagrams over Unix sockets: paths, abstract names, stale files, a full receiver."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import UnixAddress
from sennit.core.errors import ConnectError, DatagramTooLongError, UsageError
from sennit.core.interfaces import IDatagramTransport, IDescriptorTransport
from sennit.core.protocol import DatagramProtocol
from sennit.core.reactor.base import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)


def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
    reactor = Reactor()
    try:
        reactor.run(main)
        assert reactor.handlers == {}
    finally:
        reactor.close()


class Recorder(DatagramProtocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[OSError] = asyncio.Queue()
        self.events: list[str] = []
        self.ended = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.put_nowait((data, peer))

    def error_received(self, exc: OSError) -> None:
        self.errors.put_nowait(exc)

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)

    async def next(self) -> tuple[bytes, Any]:
        async with asyncio.timeout(10):
            return await self.came.get()


class Echo(Recorder):
    def datagram_received(self, data: bytes, peer: Any) -> None:
        super().datagram_received(data, peer)
        self.transport.sendto(data, peer)


def test_transports_keep_their_contracts(tmp_path: Path) -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Recorder, str(tmp_path / "x"))
        assert verifyObject(IDatagramTransport, listener.transports[0])
        assert verifyObject(IDescriptorTransport, listener.transports[0])

    run(main)


def test_a_client_without_a_name_is_given_one_to_be_answered_at(tmp_path: Path) -> None:
    path = str(tmp_path / "echo")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Echo, path, mode=0o600)
        assert os.stat(path).st_mode & 0o777 == 0o600
        client: Any = await reactor.connect_unix_datagram(Recorder, path)
        client.transport.sendto(b"hello")
        assert await client.next() == (b"hello", path)
        assert client.transport.peer == UnixAddress(path)
        assert str(client.transport.local).startswith("unix:@")
        listener.close()
        await listener.transports[0].get_protocol().ended
        assert not os.path.exists(path)

    run(main)


def test_abstract_names_and_paths_are_addresses(tmp_path: Path) -> None:
    name = f"@sennit-{os.getpid()}"
    ours = str(tmp_path / "client")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Recorder, name)
        server = listener.transports[0].get_protocol()
        client: Any = await reactor.connect_unix_datagram(Recorder, name, local_path=ours)
        client.transport.sendto(b"hello")
        data, peer = await server.next()
        assert (data, peer) == (b"hello", ours)
        for to in (peer, UnixAddress(ours), ours.encode()):
            server.transport.sendto(b"back", to)
            assert (await client.next())[0] == b"back"
        client.transport.close()
        await client.ended
        assert not os.path.exists(ours)
        # A peer that is gone is told, and ends nothing.
        server.transport.sendto(b"back", peer)
        assert (await server.errors.get()).errno == errno.ENOENT
        for bad in ("", ("127.0.0.1", 9), 5, None):
            with pytest.raises(UsageError):
                server.transport.sendto(b"x", bad)

    run(main)


def test_a_sender_without_a_name_cannot_be_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Echo, path)
        server = listener.transports[0].get_protocol()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            nameless.sendto(b"x", path)
        assert await server.next() == (b"x", None)
        error = await server.errors.get()
        assert error.errno in (errno.ENOTCONN, errno.EDESTADDRREQ)

    run(main)


def test_a_file_that_nobody_serves_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    """HARDENING fault-19: a stale socket is replaced only when dead."""
    path = str(tmp_path / "x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)

    async def main(reactor: Reactor) -> None:
        await reactor.listen_unix_datagram(Recorder, path)
        with pytest.raises(OSError, match="it is in use") as told:
            await reactor.listen_unix_datagram(Recorder, path)
        assert told.value.errno == errno.EADDRINUSE
        # Somebody who speaks in streams lives there just as well.
        other = str(tmp_path / "stream")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as living:
            living.bind(other)
            living.listen()
            with pytest.raises(OSError, match="it is in use"):
                await reactor.listen_unix_datagram(Recorder, other)
        plain = tmp_path / "file"
        plain.write_text("precious")
        with pytest.raises(OSError, match="a file of that name"):
            await reactor.listen_unix_datagram(Recorder, str(plain))
        assert plain.read_text() == "precious"
        with pytest.raises(OSError, match="cannot listen on unix"):
            await reactor.listen_unix_datagram(Recorder, str(tmp_path / ("x" * 200)))
        with pytest.raises(ConnectError, match="cannot connect to unix datagram"):
            await reactor.connect_unix_datagram(Recorder, str(tmp_path / "nobody"))
        assert sorted(os.listdir(tmp_path)) == ["file", "stream", "x"]

    run(main)


def test_a_full_receiver_makes_the_sender_wait_and_loses_nothing(tmp_path: Path) -> None:
    """HARDENING core-7: pauses at the mark; Unix datagrams are reliable (unix(7))."""
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Recorder, path)
        server = listener.transports[0].get_protocol()
        server.transport.pause_reading()
        client: Any = await reactor.connect_unix_datagram(Recorder, path)
        sent = 0
        while not client.events:
            client.transport.sendto(b"%d" % sent + bytes(5000))
            sent += 1
        assert client.events == ["pause"]
        server.transport.resume_reading()
        for number in range(sent):
            data, _ = await server.next()
            assert data == b"%d" % number + bytes(5000)
        await client.transport.writable()
        assert client.events == ["pause", "resume"]
        assert client.transport.drops == {}

    run(main)


def test_a_datagram_too_long_is_the_callers_error(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Recorder, path, max_size=1000)
        client: Any = await reactor.connect_unix_datagram(Recorder, path)
        with pytest.raises(DatagramTooLongError):
            client.transport.sendto(bytes(64 << 20))
        client.transport.sendto(bytes(1001))
        client.transport.sendto(bytes(1000))
        server = listener.transports[0].get_protocol()
        assert len((await server.next())[0]) == 1000
        assert listener.transports[0].drops == {"limit:datagram-size": 1}

    run(main)


def test_a_receiver_that_has_gone_is_told_to_a_connected_sender(tmp_path: Path) -> None:
    path = str(tmp_path / "x")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_unix_datagram(Recorder, path)
        client: Any = await reactor.connect_unix_datagram(Recorder, path)
        listener.close()
        await listener.transports[0].get_protocol().ended
        client.transport.sendto(b"x")
        assert (await client.errors.get()).errno == errno.ECONNREFUSED
        assert not client.transport.is_closing()

    run(main)


def test_a_full_receiver_holds_up_nobody_else_and_costs_no_turns(tmp_path: Path) -> None:
    """An unconnected socket is called writable whatever its receivers' queues are like."""
    full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    full.bind(str(tmp_path / "full"))
    free = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    free.bind(str(tmp_path / "free"))
    with full, free:
        for each in (full, free):
            each.setblocking(False)

        async def main(reactor: Reactor) -> None:
            listener = await reactor.listen_unix_datagram(Recorder, str(tmp_path / "x"))
            transport = listener.transports[0]
            sent = [b"%d" % number for number in range(100)]
            for each in sent:
                transport.sendto(each, str(tmp_path / "full"))
            waiting = transport.get_write_buffer_size()
            assert waiting
            transport.sendto(b"at once", str(tmp_path / "free"))
            assert free.recv(100) == b"at once"
            assert transport.get_write_buffer_size() == waiting
            turns = 0

            def turned(mask: int) -> None:
                nonlocal turns
                turns += 1

            fd = transport.get_extra_info("socket").fileno()
            handler, reactor.handlers[fd] = reactor.handlers[fd], turned
            for _ in range(20):
                await asyncio.sleep(0)
            assert turns == 0
            reactor.handlers[fd] = handler
            came: list[bytes] = []
            async with asyncio.timeout(10):
                while len(came) < len(sent):
                    try:
                        came.append(full.recv(100))
                    except BlockingIOError:
                        await asyncio.sleep(0)
            assert came == sent
            assert transport.get_write_buffer_size() == 0
            listener.close()

        run(main)
