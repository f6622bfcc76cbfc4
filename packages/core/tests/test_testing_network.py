"""`MemoryNetwork`: programs on hosts in memory, and all that goes wrong between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import trustme
from zope.interface.verify import verifyObject

from packages.core.tests.sketches.room import Member
from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    DatagramError,
    DatagramTooLongError,
    EndpointSyntaxError,
    ReactorError,
    UsageError,
)
from sennit.core.interfaces import (
    IDatagramListener,
    IDatagramTransport,
    IListener,
    IMulticastTransport,
)
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import DatagramProtocol, Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.core.transport.memory_link import Link
from sennit.core.transport.tls import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any


SERVER = "10.0.0.1"
URL = "tcp://10.0.0.1:80"


class Echo(Protocol):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Keep(Protocol):
    """Keeps what comes, and when."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = False
        self.lost: list[Exception | None] = []

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Datagrams(DatagramProtocol):
    """Keeps datagrams and errors."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.lost = 0

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.got.append((data, peer))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


class Reflect(Datagrams):
    """Sends each datagram back."""

    def datagram_received(self, data: bytes, peer: Any) -> None:
        super().datagram_received(data, peer)
        self.transport.sendto(data, peer)


@pytest.fixture
def clock() -> Generator[Clock, None, None]:
    with Clock() as clock:
        yield clock


@pytest.fixture
def network(clock: Clock) -> Generator[MemoryNetwork, None, None]:
    network = MemoryNetwork(clock)
    yield network
    network.close()
    clock.pump()


def open_keep(network: MemoryNetwork, clock: Clock, url: str = URL, **options: Any) -> Keep:
    """A connected `Keep`."""
    keep = clock.run_until(network.connect(url, Keep, **options))
    assert isinstance(keep, Keep)
    return keep


def start(clock: Clock, network: MemoryNetwork, factory: Any = Echo, url: str = URL) -> Any:
    """A server that has begun."""
    return clock.run_until(network.serve(url, factory).start())


# ── programs as they are ──────────────────────────────────────────────────────


def test_a_server_and_a_client_run_unmodified_under_the_clock(
    clock: Clock, network: MemoryNetwork
) -> None:
    async def main(clock: Clock) -> bytes:
        async with serve("tcp://10.0.0.1:0", Echo) as server:
            stream = await open_stream(server.urls[0])
            await stream.send_all(b"hello\n")
            line = await stream.read_line()
            await stream.aclose()
            return line

    assert clock.run(main) == b"hello"


def test_a_coroutines_time_out_is_virtual(clock: Clock, network: MemoryNetwork) -> None:
    start(clock, network, Protocol)

    async def main(clock: Clock) -> float:
        stream = await open_stream(URL)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await stream.read_line()
        stream.abort()
        return clock.time()

    assert clock.run(main) == 600


def test_a_clock_without_a_network_says_so(clock: Clock) -> None:
    with pytest.raises(ReactorError, match="MemoryNetwork"):
        clock.connect_tcp(Keep, "10.0.0.1", 80)


def test_what_listens_provides_the_interface(clock: Clock, network: MemoryNetwork) -> None:
    for url in (URL, "unix:run/x.sock"):
        assert verifyObject(IListener, start(clock, network, Echo, url).listeners[0])
    listener = start(clock, network, Datagrams, "udp://10.0.0.1:53").listeners[0]
    assert verifyObject(IDatagramListener, listener)
    assert verifyObject(IDatagramTransport, listener.transports[0])
    assert verifyObject(IMulticastTransport, listener.transports[0])


def test_both_ends_know_where_they_are(clock: Clock, network: MemoryNetwork) -> None:
    server = start(clock, network)
    keep = open_keep(network, clock, source="10.0.0.9:1234")
    (far,) = server.connections

    assert keep.transport.local == far.peer == InternetAddress("10.0.0.9", 1234)
    assert keep.transport.peer == far.local == InternetAddress(SERVER, 80)


def test_a_hosts_program_runs_as_that_host(clock: Clock, network: MemoryNetwork) -> None:
    """A protocol that connects somewhere does so from the host that it serves on."""
    start(clock, network, Echo, "tcp://10.0.0.3:7")
    seen: list[Any] = []

    class Relay(Protocol):
        def connection_made(self, transport: Any) -> None:
            def connected(keep: Keep) -> None:
                seen.append(keep.transport.local)

            connect("tcp://10.0.0.3:7", Keep).add_callback(connected)

    with network.host("10.0.0.2"):
        start(clock, network, Relay, "tcp://:80")
    open_keep(network, clock, "tcp://10.0.0.2:80")
    clock.pump()

    assert [each.host for each in seen] == ["10.0.0.2"]


def test_loopback_is_each_hosts_own(clock: Clock, network: MemoryNetwork) -> None:
    with network.host("10.0.0.2"):
        clock.run_until(serve("tcp://127.0.0.1:80", Echo, reactor=current(clock)).start())
        keep = open_keep(network, clock, "tcp://localhost:80")
        assert keep.transport.peer == InternetAddress("127.0.0.1", 80)
    with network.host("10.0.0.3"), pytest.raises(ConnectError, match="refused"):
        open_keep(network, clock, "tcp://127.0.0.1:80")


def current(clock: Clock) -> Any:
    """The clock, where a reactor is wanted."""
    return clock


def test_names_lead_to_addresses_in_turn(clock: Clock, network: MemoryNetwork) -> None:
    """RFC 8305 §5: the next address is tried 250 ms after one that does not answer."""
    network.host("10.0.0.1", name="db.example").vanish()
    network.host("10.0.0.2")
    network.add_name("db.example", "10.0.0.2")
    start(clock, network, Echo, "tcp://10.0.0.2:80")

    keep = open_keep(network, clock, "tcp://db.example:80")

    assert keep.transport.peer == InternetAddress("10.0.0.2", 80)
    assert clock.time() == 0.25
    with pytest.raises(ConnectError, match="Name or service not known"):
        open_keep(network, clock, "tcp://nobody.example:80")


def test_one_cannot_listen_at_anothers_address_or_twice(
    clock: Clock, network: MemoryNetwork
) -> None:
    start(clock, network)
    with pytest.raises(OSError, match="in use"):
        start(clock, network)
    with network.host("10.0.0.2"), pytest.raises(OSError, match="assign"):
        start(clock, network)
    with pytest.raises(ValueError, match="address of"):
        network.host("10.0.0.9", SERVER)


def test_unix_paths_are_a_hosts_own(clock: Clock, network: MemoryNetwork) -> None:
    start(clock, network, Echo, "unix:run/x.sock")
    keep = open_keep(network, clock, "unix:run/x.sock")
    keep.transport.write(b"x")
    clock.pump()
    assert keep.data == b"x"
    with network.host("10.0.0.5"), pytest.raises(ConnectError, match=r"unix:run/x\.sock"):
        open_keep(network, clock, "unix:run/x.sock")


def test_a_server_drains_on_the_network(clock: Clock, network: MemoryNetwork) -> None:
    server = start(clock, network)
    keep = open_keep(network, clock)
    clock.run_until(server.close())
    clock.pump()

    assert keep.lost == [None]
    with pytest.raises(ConnectError, match="refused"):
        open_keep(network, clock)


def test_a_closed_network_gives_the_kernel_back(clock: Clock) -> None:
    network = MemoryNetwork(clock)
    network.close()
    with pytest.raises(ReactorError, match="MemoryNetwork"):
        clock.listen_tcp(Echo, 80)


async def test_it_stands_on_a_real_reactor_too() -> None:
    network = MemoryNetwork(current_reactor(), link=Link(latency=0.001))
    try:
        async with serve(URL, Echo):
            stream = await open_stream(URL)
            await stream.send_all(b"hello\n")
            assert await stream.read_line() == b"hello"
            await stream.aclose()
    finally:
        network.close()


def test_tls_is_talked_on_the_network(clock: Clock, network: MemoryNetwork) -> None:
    """Whole handshakes over a link that is slow, lossy and cuts finely."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = authority.issue_cert("web.example", key_type=trustme.KeyType.ECDSA)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    network.host(SERVER, name="web.example")
    network.link = Link(latency=0.02, loss=0.1, chunk=(1, 50))

    async def main(clock: Clock) -> bytes:
        tls = ServerTLS(chain, leaf.private_key_pem.bytes())
        async with serve("tls://10.0.0.1:443", Echo, tls=tls):
            trust = ClientTLS(trust=authority.cert_pem.bytes())
            async with await open_stream("tls://web.example:443", tls=trust) as stream:
                await stream.send_all(b"hello\n")
                return await stream.read_line()

    assert clock.run(main) == b"hello"
    assert clock.time() > 0.08


@pytest.mark.parametrize("chunk", [1, (1, 3), 1000])
def test_engines_are_driven_on_the_network(
    clock: Clock, network: MemoryNetwork, chunk: int | tuple[int, int]
) -> None:
    """An `EngineProtocol` on a host, its peer behind a link that cuts anywhere."""
    network.link = Link(latency=0.01, jitter=0.01, chunk=chunk)
    members: set[Member] = set()
    start(clock, network, lambda: Member(members))
    keep, other = open_keep(network, clock), open_keep(network, clock)
    keep.transport.write(b"one\r\ntwo\r\nthree\r\n")
    clock.run_until(lambda: (keep.data + other.data).count(b"\n") == 6)
    assert keep.data == other.data == b"one\r\ntwo\r\nthree\r\n"
    network.cut(how="reset")
    clock.advance(1)
    assert not members


def test_a_listener_that_is_paused_keeps_who_comes_waiting(
    clock: Clock, network: MemoryNetwork
) -> None:
    server = clock.run_until(network.serve(URL, Echo, paused=True).start())
    connecting = network.connect(URL, Keep)
    clock.advance(20)
    assert not connecting.called
    server.resume_accepting()
    clock.pump()
    assert connecting.called


# ── time ──────────────────────────────────────────────────────────────────────


def test_latency_counts_there_and_back(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(latency=0.05)
    start(clock, network)
    keep = open_keep(network, clock)
    assert clock.time() == pytest.approx(0.1)

    keep.transport.write(b"x")
    clock.run_until(lambda: keep.data)
    assert clock.time() == pytest.approx(0.2)


def test_a_link_of_a_pair_of_hosts_may_differ(clock: Clock, network: MemoryNetwork) -> None:
    one, other = network.host("10.0.0.1"), network.host("10.0.0.2")
    network.set_link(one, other, Link(latency=1.0), Link(latency=2.0))
    start(clock, network)
    with other:
        open_keep(network, clock)
    assert clock.time() == pytest.approx(3.0)
    open_keep(network, clock)
    assert clock.time() == pytest.approx(3.0)


def test_bandwidth_takes_its_time(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(bandwidth=1000.0)
    keeps: list[Keep] = []

    def make() -> Keep:
        keeps.append(Keep())
        return keeps[-1]

    start(clock, network, make)
    keep = open_keep(network, clock)
    keep.transport.write(bytes(5000))
    clock.advance(2.0)
    assert 0 < len(keeps[0].data) <= 2000
    clock.advance(3.01)
    assert len(keeps[0].data) == 5000


def test_two_connections_share_what_is_narrow(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(bandwidth=1000.0)
    keeps: list[Keep] = []

    def make() -> Keep:
        keeps.append(Keep())
        return keeps[-1]

    start(clock, network, make)
    for keep in [open_keep(network, clock), open_keep(network, clock)]:
        keep.transport.write(bytes(1000))
    clock.advance(1.5)
    assert sum(len(each.data) for each in keeps) == 1000
    clock.advance(0.51)
    assert [len(each.data) for each in keeps] == [1000, 1000]


def test_a_slow_reader_holds_the_writer(clock: Clock, network: MemoryNetwork) -> None:
    """HARDENING fault-15: what waits stays within the marks."""
    network.link = Link(bandwidth=1024.0, capacity=4096)
    start(clock, network, Keep)
    keep = open_keep(network, clock)
    transport = keep.transport
    paused: list[bool] = []
    keep.pause_writing = lambda: paused.append(True)  # type: ignore[method-assign]  # to see when it is called
    transport.write(bytes(200_000))
    clock.advance(10)

    assert paused == [True]
    assert 180_000 < transport.get_write_buffer_size() < 196_000


# ── loss ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_stream_is_late_but_whole(clock: Clock, seed: int) -> None:
    """RFC 9293 §3.8.1: what is lost is sent again, and all behind it waits."""
    network = MemoryNetwork(clock, link=Link(latency=0.01, jitter=0.02, loss=0.2), seed=seed)
    start(clock, network)
    keep = open_keep(network, clock)
    sent = bytes(range(256)) * 400
    keep.transport.write(sent)
    clock.run_until(lambda: len(keep.data) == len(sent))

    assert keep.data == sent
    assert clock.time() > 0.2
    network.close()


def test_the_seed_decides_everything() -> None:
    def run(seed: int) -> tuple[float, list[int]]:
        with Clock() as clock:
            link = Link(latency=0.01, jitter=0.02, loss=0.3, chunk=(1, 900))
            network = MemoryNetwork(clock, link=link, seed=seed)
            start(clock, network)
            keep = open_keep(network, clock)
            keep.transport.write(bytes(30_000))
            clock.run_until(lambda: len(keep.data) == 30_000)
            network.close()
            return clock.time(), [len(each) for each in keep.pieces]

    assert run(1) == run(1)
    assert run(1) != run(2)
    with Clock() as clock:
        assert "seed 7" in repr(MemoryNetwork(clock, seed=7))


def test_segments_are_cut_as_one_says(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(chunks=(1, 5, 2), chunk=4)
    start(clock, network)
    keep = open_keep(network, clock, back=Link())
    keep.transport.write(b"abcdefghijklmn")
    clock.pump()

    assert b"".join(keep.pieces) == b"abcdefghijklmn"
    keep = open_keep(network, clock)
    keep.transport.write(b"abcdefghijklmn")
    clock.pump()
    assert b"".join(keep.pieces) == b"abcdefghijklmn"
    assert max(len(each) for each in keep.pieces) <= 5
    assert len(keep.pieces) >= 5


# ── cuts ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("how", ["reset", "close", "vanish"])
def test_a_connection_is_cut_after_exactly_so_many_octets(
    clock: Clock, network: MemoryNetwork, at: int, how: Any
) -> None:
    keeps: list[Keep] = []

    def make() -> Keep:
        keeps.append(Keep())
        return keeps[-1]

    start(clock, network, make)
    keep = open_keep(network, clock, there=Link(cut_after=at, cut=how))
    keep.transport.write(b"hello")
    clock.pump()

    (far,) = keeps
    assert far.data == b"hello"[:at]
    if how == "vanish":
        assert far.lost == keep.lost == []
        clock.advance(86400)
        assert far.lost == keep.lost == []
    elif how == "close":
        assert far.ended
        assert keep.ended
        assert far.lost == keep.lost == [None]
    else:
        assert [type(each) for each in keep.lost] == [ConnectionLost]
        assert [type(each) for each in far.lost] == [ConnectionLost]


def test_connections_are_cut_by_schedule(clock: Clock, network: MemoryNetwork) -> None:
    one = network.host(SERVER)
    start(clock, network)
    keep = open_keep(network, clock)
    other = open_keep(network, clock, source="10.0.0.9")
    clock.call_later(5, network.cut, one, network.host("10.0.0.9"))
    clock.advance(4)
    assert other.lost == []
    clock.advance(2)
    assert len(other.lost) == 1
    assert keep.lost == []
    assert network.cut() == 1
    clock.pump()
    assert isinstance(keep.lost[0], ConnectionLost)


def test_a_vanished_peer_is_only_found_by_time_outs(clock: Clock, network: MemoryNetwork) -> None:
    """Writes succeed until the link and the buffer are full; then a time-out has to tell."""
    server = network.host(SERVER)
    start(clock, network)
    quiet = open_keep(network, clock)
    timed = clock.run_until(network.connect(URL, with_timeouts(Keep, idle=30)))
    inside: Any = timed
    server.vanish()

    quiet.transport.write(bytes(100_000))
    clock.advance(29)
    assert quiet.lost == []
    assert quiet.transport.get_write_buffer_size() == 100_000 - 64 * 1024
    assert inside.wrapped.lost == []
    clock.advance(2)
    assert len(inside.wrapped.lost) == 1
    assert quiet.lost == []


def test_who_vanished_and_came_back_goes_on(clock: Clock, network: MemoryNetwork) -> None:
    server = network.host(SERVER)
    start(clock, network)
    keep = open_keep(network, clock)
    server.vanish()
    keep.transport.write(b"hello")
    clock.advance(100)
    assert keep.data == b""
    server.come_back()
    clock.advance(1)
    assert keep.data == b"hello"


def test_who_was_rebooted_answers_with_a_reset(clock: Clock, network: MemoryNetwork) -> None:
    """RFC 9293 §3.5.2: a segment for a connection that does not exist is answered by RST."""
    server = network.host(SERVER)
    start(clock, network)
    keep = open_keep(network, clock)
    server.vanish()
    server.come_back(rebooted=True)
    clock.advance(10)
    assert keep.lost == []
    keep.transport.write(b"hello")
    clock.advance(10)
    assert [type(each) for each in keep.lost] == [ConnectionLost]
    assert keep.transport.close_reason == "reset"


def test_nobody_answers_for_who_vanished(clock: Clock, network: MemoryNetwork) -> None:
    start(clock, network)
    network.host(SERVER).vanish()
    with pytest.raises(ConnectError, match="no answer within 7 s"):
        open_keep(network, clock, timeout=7)
    assert clock.time() == 7


def test_a_partition_heals(clock: Clock, network: MemoryNetwork) -> None:
    start(clock, network)
    here = [network.client]
    keep = open_keep(network, clock)
    network.partition(here, [network.host(SERVER)])
    keep.transport.write(b"one ")
    clock.advance(10)
    keep.transport.write(b"two")
    clock.advance(10)
    assert keep.data == b""
    network.heal()
    clock.advance(1)
    assert keep.data == b"one two"


def test_what_is_on_its_way_when_a_partition_begins_waits_too(
    clock: Clock, network: MemoryNetwork
) -> None:
    network.link = Link(latency=1.0)
    start(clock, network)
    keep = open_keep(network, clock)
    keep.transport.write(b"hello")
    clock.advance(0.5)
    network.partition([network.client], [network.host(SERVER)])
    clock.advance(10)
    network.heal()
    network.partition([network.client], [network.host(SERVER)])
    clock.advance(10)
    assert keep.data == b""
    network.heal()
    clock.advance(3)
    assert keep.data == b"hello"


def test_a_client_that_gives_up_takes_its_connection_back(
    clock: Clock, network: MemoryNetwork
) -> None:
    network.link = Link(latency=1.0)
    server = start(clock, network)
    connecting: Deferred[Any] = network.connect(URL, Keep)
    connecting.add_errback(lambda _: None)
    clock.advance(1.5)
    assert len(server.connections) == 1
    connecting.cancel()
    clock.advance(2)
    assert len(server.connections) == 0


def test_links_that_carry_nothing_are_refused(clock: Clock) -> None:
    for link in (
        Link(capacity=0),
        Link(chunk=0),
        Link(chunk=(3, 2)),
        Link(bandwidth=0),
        Link(mtu=0),
        Link(loss=1.5),
        Link(latency=-1),
        Link(cut="melt"),  # type: ignore[arg-type]  # what must be refused
    ):
        with pytest.raises(ValueError, match=r"Link|melt"):
            MemoryNetwork(clock, link=link)


# ── datagrams ─────────────────────────────────────────────────────────────────


def listen(network: MemoryNetwork, clock: Clock, factory: Any = Datagrams, url: str = "") -> Any:
    """The protocol of a listening socket."""
    server = start(clock, network, factory, url or "udp://10.0.0.1:53")
    return server.listeners[0].transports[0].get_protocol()


def test_datagrams_are_exchanged(clock: Clock, network: MemoryNetwork) -> None:
    server = listen(network, clock, Reflect)
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    client.transport.sendto(b"hello")
    client.transport.sendto(b"")
    clock.pump()

    assert [data for data, _ in client.got] == [b"hello", b""]
    assert client.got[0][1] == ("10.0.0.1", 53)
    assert server.got[0][1] == tuple(client.transport.local[:2])


def test_a_port_where_nobody_listens_says_so(clock: Clock, network: MemoryNetwork) -> None:
    """RFC 1122 §4.1.3.3: the application is told of ICMP errors."""
    network.host(SERVER)
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    client.transport.sendto(b"hello")
    clock.pump()
    (error,) = client.errors
    assert isinstance(error, DatagramError)
    assert error.errno == 111
    assert error.icmp == (3, 3)
    client.transport.close()
    client.transport.sendto(b"late")
    clock.pump()
    assert client.lost == 1


def test_datagrams_are_lost_doubled_and_overtaken(clock: Clock) -> None:
    link = Link(latency=0.01, loss=0.2, duplicate=0.1, reorder=0.1)
    network = MemoryNetwork(clock, link=link, seed=3)
    server = listen(network, clock)
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    for number in range(500):
        client.transport.sendto(number.to_bytes(2, "big"))
        clock.advance(0.001)
    clock.advance(1)
    numbers = [int.from_bytes(data, "big") for data, _ in server.got]

    assert network.sent == 500
    assert 60 < network.lost < 140
    assert len(set(numbers)) == 500 - network.lost
    assert 20 < len(numbers) - len(set(numbers)) < 70
    assert numbers != sorted(numbers)
    network.close()


def test_a_datagram_longer_than_the_mtu_does_not_pass(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(mtu=1200)
    server = listen(network, clock)
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    client.transport.sendto(bytes(1200))
    client.transport.sendto(bytes(1201))
    clock.pump()
    assert [len(data) for data, _ in server.got] == [1200]
    assert client.errors[0].errno == 90
    with pytest.raises(DatagramTooLongError):
        client.transport.sendto(bytes(65508))
    with pytest.raises(UsageError, match="connected"):
        client.transport.sendto(b"x", ("10.0.0.2", 1))
    with pytest.raises(UsageError, match="looked up"):
        server.transport.sendto(b"x", ("example.org", 1))
    with pytest.raises(UsageError, match="no UDP address"):
        server.transport.sendto(b"x", 7)
    with pytest.raises(UsageError, match="not connected"):
        server.transport.sendto(b"x")


def test_a_partition_loses_datagrams(clock: Clock, network: MemoryNetwork) -> None:
    network.link = Link(latency=0.1)
    server = listen(network, clock)
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    client.transport.sendto(b"on its way")
    clock.advance(0.05)
    network.partition([network.client], [network.host(SERVER)])
    client.transport.sendto(b"late")
    clock.advance(1)
    network.heal()
    client.transport.sendto(b"well")
    clock.advance(1)
    assert [data for data, _ in server.got] == [b"well"]
    assert network.lost == 2


def test_a_paused_socket_drops_past_its_queue(clock: Clock, network: MemoryNetwork) -> None:
    server = listen(network, clock)
    server.transport.pause_reading()
    client = clock.run_until(network.connect("udp://10.0.0.1:53", Datagrams))
    for _ in range(10):
        client.transport.sendto(bytes(60_000))
    clock.pump()
    assert server.transport.drops == {"limit:read-queue": 7}
    server.transport.resume_reading()
    clock.pump()
    assert len(server.got) == 3


def test_groups_reach_their_members(clock: Clock, network: MemoryNetwork) -> None:
    """RFC 1112 §4: a datagram for a group goes to every host that joined it."""
    members: list[Any] = []
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        with network.host(address):
            members.append(listen(network, clock, Datagrams, "udp://0.0.0.0:5353"))
    for each in members[:2]:
        each.transport.join_group("224.0.0.251")
    members[2].transport.sendto(b"who", ("224.0.0.251", 5353))
    clock.pump()
    assert [len(each.got) for each in members] == [1, 1, 0]
    assert members[0].got[0][1] == ("10.0.0.3", 5353)
    members[0].transport.leave_group("224.0.0.251")
    members[1].transport.set_multicast_loop(False)
    members[1].transport.sendto(b"who", ("224.0.0.251", 5353))
    clock.pump()
    assert [len(each.got) for each in members] == [1, 1, 0]


def test_everybody_is_reached_by_who_may(clock: Clock, network: MemoryNetwork) -> None:
    servers = [
        listen(network, clock, Datagrams, f"udp://10.0.0.{number}:67?broadcast=yes")
        for number in (1, 2)
    ]
    shy = listen(network, clock, Datagrams, "udp://10.0.0.3:67")
    servers[0].transport.sendto(b"x", ("255.255.255.255", 67))
    shy.transport.sendto(b"y", ("255.255.255.255", 67))
    clock.pump()
    assert [data for data, _ in servers[1].got] == [b"x"]
    assert shy.errors[0].errno == 13


def test_a_closed_network_ends_everything(clock: Clock) -> None:
    network = MemoryNetwork(clock)
    start(clock, network)
    server = listen(network, clock)
    keep = open_keep(network, clock)
    network.close()
    clock.pump()
    assert len(keep.lost) == 1
    assert server.lost == 1


def test_a_bad_url_is_refused_as_elsewhere(clock: Clock, network: MemoryNetwork) -> None:
    refused: Callable[[], object] = lambda: network.connect("tcp://10.0.0.1", Keep)  # noqa: E731 - its type is said here
    with pytest.raises(EndpointSyntaxError):
        refused()


def test_an_address_family_that_a_host_lacks_is_no_way(
    clock: Clock, network: MemoryNetwork
) -> None:
    start(clock, network)
    with network.host("2001:db8::7"), pytest.raises(ConnectError, match="no IPv4 address"):
        open_keep(network, clock)
