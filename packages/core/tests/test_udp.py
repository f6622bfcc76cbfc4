"""UDP transports over real sockets: reading, sending, errors of the network, every end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from sennit.core.address import DatagramPath, InternetAddress
from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    DatagramError,
    DatagramTooLongError,
    UsageError,
)
from sennit.core.interfaces import (
    IDatagramListener,
    IDatagramTransport,
    IListener,
    IMulticastTransport,
    adapt,
)
from sennit.core.protocol import DatagramProtocol, adapt_datagram_factory
from sennit.core.reactor.base import Reactor
from sennit.core.reactor.pollers import pollers
from sennit.core.testing.loopback import refusing_socket
from sennit.core.transport.datagram_sending import DROP_LIMIT, OVERHEAD
from sennit.core.transport.datagrams import DATAGRAMS_PER_TURN
from sennit.core.transport.flow import READY
from sennit.core.transport.udp import DatagramListener, UDPTransport, udp_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    OnPoller = Callable[[Callable[[Reactor], Coroutine[Any, Any, None]]], None]

LINUX = os.uname().sysname == "Linux"
LOCALHOSTS = ["127.0.0.1", "::1"]


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


class Recorder(DatagramProtocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.came: list[tuple[bytes, Any]] = []
        self.errors: list[OSError] = []
        self.events: list[str] = []
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.ended = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.append((data, peer))
        self._look()

    def error_received(self, exc: OSError) -> None:
        self.errors.append(exc)
        self._look()

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)

    def _look(self) -> None:
        for count, waiter in self.waiters:
            if len(self.came) + len(self.errors) >= count and not waiter.done():
                waiter.set_result(None)

    async def until(self, count: int) -> None:
        """Wait until so many datagrams and errors have come."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append((count, waiter))
        self._look()
        async with asyncio.timeout(10):
            await waiter


class Echo(Recorder):
    def datagram_received(self, data: bytes, peer: Any) -> None:
        super().datagram_received(data, peer)
        self.transport.sendto(data, peer)


class PathEcho(Recorder):
    def datagram_received_on_path(self, data: bytes, path: DatagramPath) -> None:
        super().datagram_received(data, path)
        self.transport.send_on_path(data, path)


class Refusing:
    """A socket that raises what it was told, then does what the kernel does."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.errors: list[OSError] = []
        self.calls = 0

    def sendto(self, data: Any, addr: Any) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.sock.sendto(data, addr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


async def pair(reactor: Reactor, host: str = "127.0.0.1", **options: Any) -> tuple[Any, Any]:
    """An echo that listens, and a recorder connected to it."""
    listener = await reactor.listen_udp(Echo, 0, host, **options)
    client = await reactor.connect_udp(Recorder, host, listener.port)
    return listener.transports[0].get_protocol(), client


def refusing(reactor: Reactor) -> tuple[Recorder, UDPTransport, Refusing]:
    """A transport whose socket refuses on demand."""
    sock = Refusing(udp_socket("127.0.0.1", 0))
    protocol = Recorder()
    transport = UDPTransport(reactor, sock, protocol)  # type: ignore[arg-type]  # as much of one as is used
    transport.start()
    return protocol, transport, sock


def test_transports_and_listeners_keep_their_contracts() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        transport = listener.transports[0]
        assert verifyObject(IDatagramListener, listener)
        assert verifyObject(IListener, listener)
        assert verifyObject(IMulticastTransport, transport)
        assert verifyObject(IDatagramTransport, transport)
        assert adapt(IMulticastTransport, transport) is transport

    run(main)


def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
    reactor = Reactor()
    try:
        reactor.run(main)
        assert reactor.handlers == {}
    finally:
        reactor.close()


@pytest.mark.parametrize("host", LOCALHOSTS)
def test_datagrams_go_both_ways_in_both_families(on_poller: OnPoller, host: str) -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor, host)
        for each in (b"one", b"", b"three"):
            client.transport.sendto(each)
        await client.until(3)
        assert [data for data, _ in client.came] == [b"one", b"", b"three"]
        assert client.came[0][1][:2] == (host, server.transport.local.port)
        assert client.transport.peer == server.transport.local
        assert server.transport.peer is None
        assert server.came[0][1][:2] == (host, client.transport.local.port)

    on_poller(main)


def test_one_socket_serves_both_families_if_asked_to() -> None:
    """IPv4 peers of a dual-stack socket look like ``::ffff:…`` (RFC 3493 §3.7)."""

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Echo, 0, "::", dual_stack=True)
        for host in LOCALHOSTS:
            client = await reactor.connect_udp(Recorder, host, listener.port)
            client.transport.sendto(b"x")  # type: ignore[attr-defined]  # a Recorder
            await client.until(1)  # type: ignore[attr-defined]  # a Recorder
        came = listener.transports[0].get_protocol().came
        assert [peer[0] for _, peer in came] == ["::ffff:127.0.0.1", "::1"]
        # …and an IPv4 address may be sent to as it is.
        other = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        listener.transports[0].sendto(b"y", ("127.0.0.1", other.port))
        await other.transports[0].get_protocol().until(1)

    run(main)


def test_a_socket_serves_one_family_unless_asked_otherwise() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Echo, 0, "::")
        again = await reactor.listen_udp(Echo, listener.port, "0.0.0.0")
        assert again.port == listener.port
        with pytest.raises(UsageError, match="addresses of IPv6"):
            listener.transports[0].sendto(b"x", ("127.0.0.1", 9))

    run(main)


def test_no_host_means_every_interface_of_both_families_at_one_port() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Echo, 0)
        assert [str(each) for each in listener.addresses] == [
            f"0.0.0.0:{listener.port}",
            f"[::]:{listener.port}",
        ]
        first, second = (each.get_protocol() for each in listener.transports)
        assert first is not second

    run(main)


# ── paths ─────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not LINUX, reason="only Linux has all of 127/8 on its loopback")
def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    """RFC 1122 §4.1.3.5: the source of an answer is the destination of the question."""

    async def main(reactor: Reactor) -> None:
        for bound, asked in (("0.0.0.0", "127.0.0.77"), ("::", "::1"), ("", "127.0.0.78")):
            listener = await reactor.listen_udp(PathEcho, 0, bound)
            client: Any = await reactor.connect_udp(Recorder, asked, listener.port)
            client.transport.sendto(b"who?")
            await client.until(1)
            assert client.came[0][1][:2] == (asked, listener.port)
            came = [c for each in listener.transports for c in each.get_protocol().came]
            path = came[0][1]
            assert path.local == InternetAddress(asked, listener.port)
            assert path.destination is None
            assert path.interface == socket.if_nametoindex("lo")

    run(main)


@pytest.mark.skipif(not LINUX, reason="only Linux has all of 127/8 on its loopback")
def test_a_dual_stack_socket_knows_the_ipv4_address_that_was_asked() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(PathEcho, 0, "::", dual_stack=True)
        client: Any = await reactor.connect_udp(Recorder, "127.0.0.9", listener.port)
        client.transport.sendto(b"who?")
        await client.until(1)
        assert client.came[0][1] == ("127.0.0.9", listener.port)

    run(main)


def test_a_socket_of_one_address_knows_the_path_without_asking() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(PathEcho, 0, "127.0.0.1")
        client: Any = await reactor.connect_udp(PathEcho, "127.0.0.1", listener.port)
        client.transport.sendto(b"x" * 100)
        await client.until(1)
        assert client.came[0][1].local == client.transport.local
        listener.close()
        client.transport.abort()

    run(main)


def test_a_datagram_can_be_sent_from_a_chosen_address() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Recorder, 0, "0.0.0.0")
        other = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        peer = ("127.0.0.1", other.port)
        local = InternetAddress("127.0.0.1", listener.port)
        listener.transports[0].send_on_path(b"x", DatagramPath(peer, local))
        listener.transports[0].send_on_path(b"y", DatagramPath(peer))
        received = other.transports[0].get_protocol()
        await received.until(2)
        assert [each for each, _ in received.came] == [b"x", b"y"]
        with pytest.raises(UsageError, match="no address of this socket's family"):
            listener.transports[0].send_on_path(b"", DatagramPath(peer, InternetAddress("::1", 1)))

    run(main)


# ── errors of the network ─────────────────────────────────────────────────────


def nobody(host: str) -> socket.socket:
    """A socket that keeps a port of `host`, at which nobody listens, from everybody else."""
    return refusing_socket("udp6" if ":" in host else "udp")


@pytest.mark.parametrize("host", LOCALHOSTS)
def test_a_connected_protocol_learns_that_nobody_listens(on_poller: OnPoller, host: str) -> None:
    """RFC 1122 §4.1.3.3: ICMP errors reach the application."""

    async def main(reactor: Reactor) -> None:
        with nobody(host) as closed:
            port = closed.getsockname()[1]
            client: Any = await reactor.connect_udp(Recorder, host, port)
            client.transport.sendto(b"anybody?")
            await client.until(1)
        error: Any = client.errors[0]
        assert type(client.errors[0]) is DatagramError
        assert error.errno == errno.ECONNREFUSED
        assert error.peer[:2] == (host, port)
        assert not client.transport.is_closing()

    on_poller(main)


@pytest.mark.skipif(not LINUX, reason="only Linux keeps errors for unconnected sockets")
@pytest.mark.parametrize("host", LOCALHOSTS)
def test_an_unconnected_protocol_learns_which_peer_is_not_there(
    on_poller: OnPoller, host: str
) -> None:
    """IP_RECVERR (ip(7)): type 3 code 3, for IPv6 type 1 code 4, is "port unreachable"."""

    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor, host)
        with nobody(host) as closed:
            port = closed.getsockname()[1]
            server.transport.sendto(b"anybody?", (host, port))
            await server.until(1)
        (error,) = server.errors
        assert (error.errno, error.peer[:2]) == (errno.ECONNREFUSED, (host, port))
        assert error.offender == host
        assert error.icmp == ((1, 4) if ":" in host else (3, 3))
        # The others are served as before.
        client.transport.sendto(b"still there?")
        await client.until(1)
        assert client.came[0][0] == b"still there?"

    on_poller(main)


@pytest.mark.parametrize("connected", [True, False])
def test_an_error_of_one_datagram_costs_no_other(connected: bool) -> None:
    """What the kernel says at a `sendto` may be of an earlier datagram: this one still leaves."""

    async def main(reactor: Reactor) -> None:
        with nobody("127.0.0.1") as late:
            address = late.getsockname()
            client: Any
            if connected:
                client = await reactor.connect_udp(Recorder, *address)
                target = None
            else:
                client = (
                    (await reactor.listen_udp(Recorder, 0, "127.0.0.1"))
                    .transports[0]
                    .get_protocol()
                )
                target = address
            client.transport.sendto(b"lost", target)
            # On loopback the error is there already, and nobody has turned the loop.
            late.connect(client.transport.get_extra_info("sockname"))
            late.settimeout(5)
            client.transport.sendto(b"arrives", target)
            assert late.recv(100) == b"arrives"
        assert len(client.errors) == (1 if connected or LINUX else 0)

    run(main)


def test_an_error_that_is_told_may_end_the_transport() -> None:
    async def main(reactor: Reactor) -> None:
        class Quitter(Recorder):
            def error_received(self, exc: OSError) -> None:
                super().error_received(exc)
                self.transport.abort()

        with nobody("127.0.0.1") as closed:
            client: Any = await reactor.connect_udp(Quitter, *closed.getsockname())
            client.transport.sendto(b"1")
            client.transport.sendto(b"2")
            client.transport.sendto(b"3")
            await client.ended
        assert len(client.errors) == 1

    run(main)


def test_an_error_while_reading_is_paused_does_not_spin(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        with nobody("127.0.0.1") as closed:
            client: Any = await reactor.connect_udp(Recorder, *closed.getsockname())
            client.transport.pause_reading()
            client.transport.sendto(b"1")
            await client.until(1)
        turns = 0
        original = reactor._poll

        def counted(timeout: float | None = None) -> Any:
            nonlocal turns
            turns += 1
            return original(timeout)

        reactor._poll = counted
        for _ in range(5):
            await asyncio.sleep(0)
        assert turns <= 5
        assert len(client.errors) == 1

    on_poller(main)


# ── what the caller does wrong ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("addr", "problem"),
    [
        (("localhost", 53), "names are looked up first"),
        (("127.0.0.1", 0), "a port from 1 to 65535"),
        (("127.0.0.1", 65536), "a port from 1 to 65535"),
        (("::1", 53), "addresses of IPv4"),
        (("127.0.0.1\0", 53), "addresses of IPv4"),
        ("127.0.0.1:53", "write (host, port)"),
        (("127.0.0.1", "53"), "write (host, port)"),
        (None, "needs an address"),
    ],
)
def test_what_is_no_address_is_refused_at_the_call(addr: Any, problem: str) -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        with pytest.raises(UsageError, match=problem.replace("(", r"\(").replace(")", r"\)")):
            listener.transports[0].sendto(b"x", addr)

    run(main)


def test_a_connected_transport_sends_to_its_peer_alone() -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        client.transport.sendto(b"x", client.transport.peer)
        client.transport.sendto(b"y", ("127.0.0.1", server.transport.local.port))
        with pytest.raises(UsageError, match="is connected to"):
            client.transport.sendto(b"z", ("127.0.0.1", 9))
        await client.until(2)

    run(main)


def test_a_datagram_too_long_is_the_callers_error() -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        with pytest.raises(DatagramTooLongError, match="65508 octets"):
            client.transport.sendto(bytes(65508))
        client.transport.sendto(bytes(65507))
        await client.until(1)
        assert client.came[0][0] == bytes(65507)
        assert client.errors == server.errors == []

    run(main)


@pytest.mark.parametrize("data", ["text", 5, None])
def test_only_octets_are_sent(data: Any) -> None:
    async def main(reactor: Reactor) -> None:
        _, client = await pair(reactor)
        with pytest.raises(TypeError, match="written as bytes"):
            client.transport.sendto(data)

    run(main)


def test_a_lent_buffer_may_change_after_it_was_sent() -> None:
    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError()]
        lent = bytearray(b"before")
        transport.sendto(lent, transport.local)
        lent[:] = b"after!"
        await protocol.until(1)
        assert protocol.came[0][0] == b"before"

    run(main)


# ── reading ───────────────────────────────────────────────────────────────────


def test_a_datagram_longer_than_wanted_is_dropped_and_counted() -> None:
    async def main(reactor: Reactor) -> None:
        for kind in (Recorder, PathEcho):
            listener = await reactor.listen_udp(kind, 0, "0.0.0.0", max_size=100)
            server = listener.transports[0].get_protocol()
            client: Any = await reactor.connect_udp(Recorder, "127.0.0.1", listener.port)
            client.transport.sendto(bytes(101))
            client.transport.sendto(bytes(5000))
            client.transport.sendto(bytes(100))
            await server.until(3)
            assert [len(data) for data, _ in server.came] == [100]
            assert [each.errno for each in server.errors] == [errno.EMSGSIZE] * 2
            assert server.errors[0].peer == server.came[0][1][:2] or kind is PathEcho
            assert listener.transports[0].drops == {"limit:datagram-size": 2}

    run(main)


def test_a_flood_leaves_turns_to_others(on_poller: OnPoller) -> None:
    """HARDENING default 4: a socket with a long queue is read in bounded batches."""

    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        server.transport.pause_reading()
        for _ in range(180):
            client.transport.sendto(b"x")
        server.transport.resume_reading()
        longest = before = 0
        while before < 180:
            await asyncio.sleep(0)
            longest = max(longest, len(server.came) - before)
            before = len(server.came)
        assert 1 < longest <= DATAGRAMS_PER_TURN

    on_poller(main)


def test_pausing_keeps_datagrams_in_the_kernel(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        server.transport.pause_reading()
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.sendto(b"x")
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.came == []
        server.transport.resume_reading()
        server.transport.resume_reading()
        await server.until(1)

    on_poller(main)


def test_pausing_in_a_batch_leaves_the_rest_of_it() -> None:
    async def main(reactor: Reactor) -> None:
        class Once(Recorder):
            def datagram_received(self, data: bytes, peer: Any) -> None:
                super().datagram_received(data, peer)
                self.transport.pause_reading()

        listener = await reactor.listen_udp(Once, 0, "127.0.0.1")
        server = listener.transports[0].get_protocol()
        client: Any = await reactor.connect_udp(Recorder, "127.0.0.1", listener.port)
        for number in range(5):
            client.transport.sendto(b"%d" % number)
        for count in range(1, 6):
            await server.until(count)
            assert len(server.came) == count
            server.transport.resume_reading()

    run(main)


# ── sending when the kernel refuses ───────────────────────────────────────────


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM])
def test_want_of_memory_is_waited_out(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """HARDENING fault-2: sending is tried again after a while, nothing is lost or reordered."""
    monkeypatch.setattr("sennit.core.transport.datagram_sending.RETRY", 0.001)

    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [OSError(code, "no memory")] * 3
        for number in range(4):
            transport.sendto(b"%d" % number, transport.local)
        assert sock.calls == 1  # what follows waits behind it
        await protocol.until(4)
        assert [data for data, _ in protocol.came] == [b"0", b"1", b"2", b"3"]
        assert protocol.errors == []
        assert transport.get_write_buffer_size() == 0

    run(main)


def test_what_the_kernel_refuses_waits_and_keeps_its_order(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError(), BlockingIOError()]
        for number in range(4):
            transport.sendto(b"%d" % number, transport.local)
        assert transport.get_write_buffer_size() == 4 * (1 + OVERHEAD)
        await protocol.until(4)
        assert [data for data, _ in protocol.came] == [b"0", b"1", b"2", b"3"]

    on_poller(main)


def test_producers_are_paused_at_the_high_mark_and_resumed_at_the_low_one() -> None:
    """HARDENING core-7, for datagrams."""

    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        transport.set_write_buffer_limits(high=1000, low=200)
        assert transport.get_write_buffer_limits() == (200, 1000)
        assert transport.writable() is READY
        sock.errors = [BlockingIOError()]
        sent = 0
        while not protocol.events:
            transport.sendto(bytes(100), transport.local)
            sent += 1
        assert sent == 1000 // (100 + OVERHEAD) + 1
        waiting = transport.writable()
        assert waiting is not READY
        await waiting
        assert protocol.events == ["pause", "resume"]
        await protocol.until(sent)

    run(main)


def test_past_the_hard_limit_datagrams_are_dropped_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING core-8 and default 27, for datagrams: a bound with a name."""

    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError()]
        size = 60_000
        fit = DROP_LIMIT // (size + OVERHEAD)
        for _ in range(fit + 5):
            transport.sendto(bytes(size), transport.local)
        assert transport.get_write_buffer_size() <= DROP_LIMIT
        assert transport.drops == {"limit:write-buffer": 5}
        assert not transport.is_closing()
        assert protocol.events == ["pause"]
        transport.abort()

    with caplog.at_level(logging.WARNING, "sennit"):
        run(main)
    (record,) = caplog.records
    assert "limit:write-buffer" in record.getMessage()


def test_empty_datagrams_that_wait_are_bounded_too() -> None:
    async def main(reactor: Reactor) -> None:
        _, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError()]
        for _ in range(DROP_LIMIT // OVERHEAD + 3):
            transport.sendto(b"", transport.local)
        assert transport.drops == {"limit:write-buffer": 3}
        transport.abort()

    run(main)


def test_an_error_of_the_system_is_told_with_the_peer() -> None:
    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [OSError(errno.EPERM, "a firewall"), OSError(errno.EMSGSIZE, "the path")]
        transport.sendto(b"x", ("127.0.0.1", 9))
        (error,) = protocol.errors
        assert (error.errno, error.peer) == (errno.EPERM, ("127.0.0.1", 9))  # type: ignore[attr-defined]  # a DatagramError has a peer
        with pytest.raises(DatagramTooLongError):
            transport.sendto(b"x", ("127.0.0.1", 9))

    run(main)


@pytest.mark.parametrize("kind", [Recorder, PathEcho])
def test_nothing_is_received_after_an_abort_in_error_received(kind: type[Recorder]) -> None:
    class Strict(kind):  # type: ignore[misc,valid-type]  # pyright: ignore[reportUntypedBaseClass]
        def error_received(self, exc: OSError) -> None:
            super().error_received(exc)
            self.transport.abort()

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Strict, 0, "0.0.0.0", max_size=10)
        protocol: Any = listener.transports[0].get_protocol()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"first", b"too long for this one", b"after"):
                sender.sendto(data, ("127.0.0.1", listener.port))
        async with asyncio.timeout(10):
            await protocol.ended
        assert [data for data, _ in protocol.came] == [b"first"]

    run(main)


def test_a_queued_datagram_too_long_is_told_to_the_protocol() -> None:
    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError(), OSError(errno.EMSGSIZE, "the path")]
        transport.sendto(b"long", transport.local)
        transport.sendto(b"short", transport.local)
        await protocol.until(2)
        assert [each.errno for each in protocol.errors] == [errno.EMSGSIZE]
        assert [data for data, _ in protocol.came] == [b"short"]

    run(main)


# ── bugs of the protocol ──────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, GeneratorExit])
def test_an_exception_of_the_protocol_costs_that_datagram_alone(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10: logged with its context; the socket serves the others."""

    async def main(reactor: Reactor) -> None:
        class Fragile(Echo):
            def datagram_received(self, data: bytes, peer: Any) -> None:
                if data == b"bad":
                    raise kind("a bug")
                super().datagram_received(data, peer)

            def error_received(self, exc: OSError) -> NoReturn:
                raise kind("another")

        listener = await reactor.listen_udp(Fragile, 0, "127.0.0.1")
        client: Any = await reactor.connect_udp(Recorder, "127.0.0.1", listener.port)
        with nobody("127.0.0.1") as closed:
            listener.transports[0].sendto(b"?", closed.getsockname())
            client.transport.sendto(b"bad")
            client.transport.sendto(b"good")
            await client.until(1)
        assert client.came[0][0] == b"good"

    run(main)
    text = caplog.text
    assert "datagram_received failed" in text
    assert "error_received failed" in text or not LINUX
    assert "a bug" in text


def test_many_failures_are_not_many_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING default 25: one line per event, rate-limited."""

    class OftenBroken(DatagramProtocol):
        count = 0

        def datagram_received(self, data: bytes, peer: Any) -> NoReturn:
            OftenBroken.count += 1
            raise LookupError("again")

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(OftenBroken, 0, "127.0.0.1")
        client: Any = await reactor.connect_udp(Recorder, "127.0.0.1", listener.port)
        for _ in range(40):
            client.transport.sendto(b"x")
        while OftenBroken.count < 40:
            await asyncio.sleep(0)

    run(main)
    assert 1 <= len(caplog.records) <= 10


def test_a_protocol_that_cannot_begin_fails_the_listening() -> None:
    async def main(reactor: Reactor) -> None:
        class Broken(Recorder):
            def connection_made(self, transport: Any) -> None:
                raise LookupError("no table")

        with pytest.raises(LookupError):
            await reactor.listen_udp(Broken, 0, "127.0.0.1")
        with pytest.raises(LookupError):
            await reactor.connect_udp(Broken, "127.0.0.1", 9)

    run(main)


# ── ends ──────────────────────────────────────────────────────────────────────


def test_closing_sends_what_waits_and_aborting_does_not() -> None:
    async def main(reactor: Reactor) -> None:
        other = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        received = other.transports[0].get_protocol()
        target = ("127.0.0.1", other.port)
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError()]
        transport.sendto(b"waits", target)
        transport.close()
        transport.close()
        transport.sendto(b"too late", target)
        assert transport.is_closing()
        assert await protocol.ended is None
        assert transport.close_reason == "clean"
        await received.until(1)

        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError()]
        transport.sendto(b"never", target)
        waiting = transport.writable()
        transport.abort()
        transport.abort()
        error = await protocol.ended
        assert isinstance(error, ConnectionLost)
        assert error.reason == transport.close_reason == "aborted"
        await waiting
        with pytest.raises(ConnectionLost):
            await transport.writable()
        assert transport.local is not None
        assert sock.fileno() == -1
        assert [data for data, _ in received.came] == [b"waits"]

    run(main)


def test_a_transport_ends_with_its_reactor() -> None:
    ends: list[Any] = []

    async def main(reactor: Reactor) -> None:
        class Told(Recorder):
            def connection_lost(self, exc: Exception | None) -> None:
                ends.append(exc)

        listener = await reactor.listen_udp(Told, 0, "127.0.0.1")
        listener.transports[0].pause_reading()

    run(main)
    (error,) = ends
    assert error.reason == "drained"


def test_a_listener_asks_protocols_that_can_drain_and_closes_the_others() -> None:
    async def main(reactor: Reactor) -> None:
        class Drains(Recorder):
            def drain(self) -> None:
                self.events.append("drain")

        listener = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        empty: list[str] = []
        listener.on_empty = lambda: empty.append("x")  # type: ignore[attr-defined]  # a DatagramListener
        assert not listener.connections
        listener.close()
        assert len(listener.connections) == 1
        await listener.transports[0].get_protocol().ended
        assert empty == ["x"]
        assert not listener.connections

        listener = await reactor.listen_udp(Drains, 0, "127.0.0.1")
        protocol = listener.transports[0].get_protocol()
        listener.close()
        listener.close()
        assert protocol.events == ["drain"]
        assert protocol.transport.is_reading()
        protocol.transport.close()
        await protocol.ended

    run(main)


def test_an_address_in_use_is_named() -> None:
    """HARDENING fault-19."""

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Recorder, 0, "127.0.0.1")
        with pytest.raises(
            OSError, match=f"cannot listen on udp 127.0.0.1:{listener.port}"
        ) as told:
            await reactor.listen_udp(Recorder, listener.port, "127.0.0.1")
        assert told.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match=r"cannot listen on udp nowhere\.invalid:0"):
            await reactor.listen_udp(Recorder, 0, "nowhere.invalid")
        with pytest.raises(ConnectError, match=r"cannot connect to udp nowhere\.invalid:9"):
            await reactor.connect_udp(Recorder, "nowhere.invalid", 9)

    run(main)


def test_sockets_share_a_port_if_asked_to() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Recorder, 0, "127.0.0.1", reuse_port=True)
        await reactor.listen_udp(Recorder, listener.port, "127.0.0.1", reuse_port=True)

    run(main)


def test_broadcasting_has_to_be_asked_for() -> None:
    async def main(reactor: Reactor) -> None:
        plain: Any = (await reactor.listen_udp(Recorder, 0, "0.0.0.0")).transports[0]
        asked: Any = (await reactor.listen_udp(Recorder, 0, "0.0.0.0", broadcast=True)).transports[
            0
        ]
        port = asked.local.port
        plain.sendto(b"x", ("<broadcast>", port))
        (error,) = plain.get_protocol().errors
        assert error.errno in (errno.EACCES, errno.ENETUNREACH)
        # The loopback's own broadcast address reaches every socket bound to all.
        asked.sendto(b"to all", ("127.255.255.255", port))
        await asked.get_protocol().until(1)

    run(main)


def test_hops_are_bounded_by_ttl() -> None:
    async def main(reactor: Reactor) -> None:
        for host, level, option in (
            ("127.0.0.1", socket.IPPROTO_IP, socket.IP_TTL),
            ("::1", socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
        ):
            listener = await reactor.listen_udp(Recorder, 0, host, ttl=7)
            view = listener.transports[0].get_extra_info("socket")
            assert view.getsockopt(level, option) == 7
            with pytest.raises(UsageError, match="ttl is a number"):
                await reactor.listen_udp(Recorder, 0, host, ttl=256)

    run(main)


def test_asyncios_questions_are_answered() -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        ask = client.transport.get_extra_info
        assert ask("peername") == ("127.0.0.1", server.transport.local.port)
        assert ask("sockname") == client.transport.local[:2]
        assert ask("reactor") is reactor
        assert ask("socket").getsockname() == ask("sockname")
        assert ask("cipher", "none") == "none"
        assert server.transport.get_extra_info("peername") is None
        assert "open" in repr(client.transport)
        assert "127.0.0.1" in repr(server.transport)
        client.transport.abort()
        await client.ended
        assert ask("sockname") is None
        assert ask("socket") is None

    run(main)


# ── contexts and factories ────────────────────────────────────────────────────


def test_a_protocol_is_called_in_the_context_it_was_made_in(on_poller: OnPoller) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []

    class Sees(Echo):
        def datagram_received(self, data: bytes, peer: Any) -> None:
            seen.append(variable.get())
            super().datagram_received(data, peer)

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(variable.get())
            super().connection_lost(exc)

    async def main(reactor: Reactor) -> None:
        variable.set("ours")
        listener = await reactor.listen_udp(Sees, 0, "127.0.0.1")
        context = copy_context()
        context.run(variable.set, "the client's")
        client: Any = await context.run(reactor.connect_udp, Sees, "127.0.0.1", listener.port)
        client.transport.sendto(b"x", None)
        await listener.transports[0].get_protocol().until(1)
        await client.until(1)
        client.transport.abort()
        await client.ended

    on_poller(main)
    assert seen[0] == "ours"
    assert "the client's" in seen


def test_a_factory_may_look_at_the_address() -> None:
    class Factory:
        def build_datagram_protocol(self, local: Any) -> Recorder:
            made = Recorder()
            made.events.append(str(local))
            return made

    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_udp(Factory(), 0, "127.0.0.1")
        protocol = listener.transports[0].get_protocol()
        assert protocol.events == [f"127.0.0.1:{listener.port}"]

    run(main)
    with pytest.raises(TypeError, match="builds no datagram protocols"):
        adapt_datagram_factory(5)  # type: ignore[arg-type]  # that is the test


def test_a_protocol_can_be_replaced() -> None:
    async def main(reactor: Reactor) -> None:
        server, client = await pair(reactor)
        fresh = Echo()
        fresh.connection_made(server.transport)
        server.transport.set_protocol(fresh)
        client.transport.sendto(b"x")
        await client.until(1)
        assert (server.came, len(fresh.came)) == ([], 1)

    run(main)


def test_a_listener_that_fails_leaves_no_socket() -> None:
    async def main(reactor: Reactor) -> None:
        before = len(os.listdir("/proc/self/fd")) if LINUX else 0
        calls: list[str] = []
        sock = udp_socket("127.0.0.1", 0)
        other = udp_socket("127.0.0.1", 0)

        def build() -> Recorder:
            if calls:
                raise LookupError("enough")
            calls.append("x")
            return Recorder()

        with pytest.raises(LookupError):
            DatagramListener(reactor, [sock, other], build)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not LINUX or len(os.listdir("/proc/self/fd")) == before

    run(main)


# ── properties ────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=2000), max_size=40), st.integers(0, 5))
def test_any_datagrams_come_whole_and_in_order(datagrams: list[bytes], refusals: int) -> None:
    """Over loopback, where nothing is lost while there is room, and whatever the kernel refuses."""

    async def main(reactor: Reactor) -> None:
        protocol, transport, sock = refusing(reactor)
        sock.errors = [BlockingIOError() for _ in range(refusals)]
        for each in datagrams:
            transport.sendto(each, transport.local)
        await protocol.until(len(datagrams))
        assert [data for data, _ in protocol.came] == datagrams
        assert transport.get_write_buffer_size() == 0

    run(main)


def test_who_was_told_of_no_beginning_is_told_of_no_end() -> None:
    events: list[tuple[str, int]] = []

    class Failing(DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            events.append(("made", id(self)))
            raise RuntimeError("no")

        def connection_lost(self, exc: Exception | None) -> None:
            events.append(("lost", id(self)))

    async def main(reactor: Reactor) -> None:
        sockets = [udp_socket("127.0.0.1", 0) for _ in range(2)]
        with pytest.raises(RuntimeError, match="no"):
            DatagramListener(reactor, sockets, Failing)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [name for name, _ in events] == ["made", "lost"]
        assert len({which for _, which in events}) == 1
        assert [each.fileno() for each in sockets] == [-1, -1]

    run(main)
