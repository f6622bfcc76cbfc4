"""The server on transports: UDP, connections, their limits, and their end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import open_stream, serve
from sennit.core.address import DatagramPath, InternetAddress, UnixAddress
from sennit.core.ops.instruments import measure, stop_measuring
from sennit.core.ops.metrics import registry_of
from sennit.core.testing.memory import RecordingTransport
from sennit.names.authority import Authority
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import Rcode, RRType
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSUsageError
from sennit.names.limits import ServerLimits
from sennit.names.message import AA, QR, TC, Message, Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.request import Request
from sennit.names.server import DNSServer
from sennit.names.serving.cookies import Cookies
from sennit.names.serving.datagrams import DatagramServerProtocol
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.listening import serve_dns
from sennit.names.serving.queries import COOKIE
from sennit.names.serving.streams import StreamServerProtocol
from sennit.names.tsig import Key, Keyring, sign, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

LOCAL = InternetAddress("192.0.2.53", 53)
STRANGER = ("198.51.100.7", 4444)


class Zone:
    """Answers A for every name; what a test wants otherwise it says by the first label."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.gates: dict[str, asyncio.Event] = {}

    def respond(self, request: Request) -> Any:
        self.asked.append(request)
        name = request.message.question.name
        word = name.labels[0].decode() if name.labels else ""
        if word == "boom":
            raise LookupError("boom")
        if word == "nothing":
            return None
        reply = request.message.reply(flags=AA)
        reply.answers.append(Record(name, RRType.A, 60, A("192.0.2.1")))
        if word.startswith("late"):
            return self._late(word, reply)
        if word == "several":
            return self._several(reply)
        return reply

    async def _late(self, word: str, reply: Message) -> Message:
        await self.gates.setdefault(word, asyncio.Event()).wait()
        return reply

    async def _several(self, reply: Message) -> AsyncIterator[Message]:
        for _ in range(3):
            yield reply

    quick: Any = None


class Table(Zone):
    """The same, with one name that is answered from a table."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

        def quick(wire: bytes, size: int, peer: object) -> bytes | None:
            self.sizes.append(size)
            if b"\4boom" in wire[12:20]:
                raise LookupError("boom in quick")
            if b"\5quick" not in wire:
                return None
            return wire[:2] + b"\x84\0\0\1\0\0\0\0\0\0" + wire[12:]

        self.quick = quick


class Socket:
    """A datagram transport with nobody at the other end."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = False

    def sendto(self, data: bytes, peer: Any) -> None:
        self.sent.append((data, peer))

    def send_on_path(self, data: bytes, path: DatagramPath) -> None:
        self.sent.append((data, path))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def close(self, reason: str = "clean") -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def query(name: str = "www.example.org", number: int = 1) -> bytes:
    return Message.query(name, id=number).to_wire()


def bound(server: DNSServer, clock: Clock) -> tuple[DatagramServerProtocol, Socket]:
    server.clock = clock
    protocol = server.build_datagram_protocol(LOCAL)
    sock = Socket()
    protocol.connection_made(sock)
    return protocol, sock


# ── UDP ───────────────────────────────────────────────────────────────────────


def test_a_datagram_is_answered_to_where_it_came_from(clock: Clock) -> None:
    protocol, sock = bound(DNSServer(Zone()), clock)

    protocol.datagram_received(query(), STRANGER)

    ((wire, peer),) = sock.sent
    assert peer == STRANGER
    assert Message.from_wire(wire).answers


def test_a_plain_query_is_answered_from_the_table_and_taken_apart_by_nobody(clock: Clock) -> None:
    zone = Table()
    protocol, sock = bound(DNSServer(zone), clock)

    protocol.datagram_received(query("quick.example"), STRANGER)

    assert len(sock.sent) == 1
    assert zone.sizes == [512]
    assert not zone.asked


def test_a_table_that_fails_is_logged_and_the_long_way_taken(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    protocol, sock = bound(DNSServer(Table()), clock)

    protocol.datagram_received(query("boom.example"), STRANGER)

    assert Message.from_wire(sock.sent[0][0]).rcode == Rcode.SERVFAIL
    assert "quick failed for" in caplog.text


@pytest.mark.parametrize("port", [0, 7, 19, 53])
def test_no_answer_goes_to_a_port_that_answers_answers(port: int, clock: Clock) -> None:
    """HARDENING dns-4, also where the answer is at hand."""
    protocol, sock = bound(DNSServer(Table()), clock)

    protocol.datagram_received(query("quick.example"), ("192.0.2.9", port))
    protocol.datagram_received(query(), ("192.0.2.9", port))

    assert not sock.sent
    assert protocol.engine.drops == {"port": 2}


def test_no_answer_to_what_is_none(clock: Clock) -> None:
    """HARDENING dns-4."""
    protocol, sock = bound(DNSServer(Zone()), clock)

    protocol.datagram_received(Message(1, QR).to_wire(), STRANGER)
    protocol.datagram_received(b"", STRANGER)
    protocol.datagram_received(query("nothing.example"), STRANGER)

    assert not sock.sent
    assert protocol.engine.drops == {"response": 1, "short": 1, "no answer": 1}


def test_a_flood_from_one_network_gets_twenty_answers_a_second(clock: Clock) -> None:
    """HARDENING dns-6: 10 000 a second, of three types, from all over a /24."""
    for zone, name, count in ((Table(), "quick.example", 10_000), (Zone(), "www.example", 1000)):
        protocol, sock = bound(DNSServer(zone), clock)
        for n in range(count):
            rdtype = (RRType.ANY, RRType.TXT, RRType.DNSKEY)[n % 3]
            wire = Message.query(name, rdtype).to_wire()
            protocol.datagram_received(wire, (f"198.51.100.{n % 256}", 1024 + n))

        whole = [each for each, _ in sock.sent if not each[2] & 2]
        cut = [each for each, _ in sock.sent if each[2] & 2]
        assert len(whole) == 20
        assert len(cut) == (count - 20) // 2
        assert all(len(each) == len(query(name)) for each in cut)
        sock.sent.clear()
        protocol.datagram_received(query(name), ("203.0.113.1", 1024))
        assert len(sock.sent) == 1


def test_this_machine_is_not_limited_unless_it_is_to_be(clock: Clock) -> None:
    for count_loopback, expected in ((False, 100), (True, 20)):
        limits = ServerLimits(count_loopback=count_loopback, slip=0)
        protocol, sock = bound(DNSServer(Table(), limits=limits), clock)
        for _ in range(100):
            protocol.datagram_received(query("quick.example"), ("127.0.0.1", 1024))

        assert len(sock.sent) == expected
    unlimited = ServerLimits(rate=0, network_rate=0)
    protocol, sock = bound(DNSServer(Table(), limits=unlimited), clock)
    for _ in range(100):
        protocol.datagram_received(query("quick.example"), STRANGER)
    assert len(sock.sent) == 100


def test_addresses_that_are_free_of_rates_are_remembered_up_to_a_bound(clock: Clock) -> None:
    protocol, _ = bound(DNSServer(Table()), clock)
    for n in range(3000):
        protocol.datagram_received(query("quick.example"), (f"127.1.{n >> 8}.{n & 255}", 1024))

    assert len(protocol._free) <= 1024


def test_a_client_with_a_cookie_or_a_key_is_not_limited(clock: Clock) -> None:
    """RFC 7873 §5.2.4: it has shown that it is where it says."""
    key = Key("k.", b"s" * 32)
    server = DNSServer(
        Zone(),
        cookies=Cookies(b"k" * 16),
        keys=Keyring([key]),
        limits=ServerLimits(slip=0),
        wall_clock=lambda: 1e9,
    )
    protocol, sock = bound(server, clock)
    shown = b"c" * 8 + Cookies(b"k" * 16).make(b"c" * 8, STRANGER[0], 1e9)
    known = Message.query("a.example")
    known.edns = EDNS(options=[Option(COOKIE, shown)])
    signed = sign(query(), key, 10**9)[0]
    for _ in range(30):
        protocol.datagram_received(known.to_wire(), STRANGER)
        protocol.datagram_received(signed, STRANGER)

    assert len(sock.sent) == 60


async def test_more_queries_at_a_time_than_allowed_are_servfail(clock: Clock) -> None:
    zone = Zone()
    protocol, sock = bound(DNSServer(zone, limits=ServerLimits(datagrams_in_flight=2)), clock)
    for n in range(3):
        protocol.datagram_received(query("late.example", n), STRANGER)
    await asyncio.sleep(0)

    assert [Message.from_wire(each).rcode for each, _ in sock.sent] == [Rcode.SERVFAIL]
    zone.gates["late"].set()
    while len(sock.sent) < 3:
        await asyncio.sleep(0)
    assert not protocol.engine._open


async def test_several_messages_are_for_connections_as_who_asks_over_udp_is_told(
    clock: Clock,
) -> None:
    """RFC 1995 §2: an IXFR over UDP is one message. The first of several would seem to be all."""
    protocol, sock = bound(DNSServer(Zone()), clock)

    protocol.datagram_received(query("several.example"), STRANGER)
    while not sock.sent:
        await asyncio.sleep(0)

    ((wire, _),) = sock.sent
    answer = Message.from_wire(wire)
    assert answer.flags & TC
    assert not answer.answers
    assert not protocol.open_exchanges


def test_a_socket_of_all_addresses_answers_from_the_one_that_was_asked(clock: Clock) -> None:
    server = DNSServer(Table(), clock=clock)
    protocol: Any = server.build_datagram_protocol(InternetAddress("0.0.0.0", 53))
    sock = Socket()
    protocol.connection_made(sock)
    path = DatagramPath(STRANGER, InternetAddress("192.0.2.53", 53))

    protocol.datagram_received_on_path(query("quick.example"), path)
    protocol.datagram_received_on_path(query("www.example"), path)
    protocol.datagram_received_on_path(query("boom.example"), path)
    protocol.datagram_received_on_path(query("quick.example"), DatagramPath(("192.0.2.1", 7)))

    assert [to for _, to in sock.sent] == [path] * 3
    for _ in range(60):
        protocol.datagram_received_on_path(query("quick.example"), path)
    assert len(sock.sent) < 50


def test_dns_goes_over_no_unix_socket_in_datagrams() -> None:
    with pytest.raises(DNSUsageError, match="UDP"):
        DNSServer(Zone()).build_datagram_protocol(UnixAddress("/run/dns"))


def test_what_cannot_answer_is_no_responder() -> None:
    for wrong in (object(), object, 5):
        with pytest.raises(DNSUsageError, match="responder"):
            DNSServer(wrong)  # type: ignore[arg-type]  # that is what is wrong with it


def test_responder_and_server_have_one_payload() -> None:
    """Short answers of the one, and long ones of the other, would be cut at two sizes."""
    zones = Authority(payload=4096)
    for responder in (zones, Dispatcher(zones)):
        with pytest.raises(DNSUsageError, match="4096 octets and the server in 1232"):
            DNSServer(responder)
        DNSServer(responder, limits=ServerLimits(payload=4096))
    DNSServer(Dispatcher(), limits=ServerLimits(payload=4096))


def test_a_function_is_a_responder(clock: Clock) -> None:
    protocol, sock = bound(DNSServer(lambda request: request.message.reply(3)), clock)

    protocol.datagram_received(query(), STRANGER)

    assert Message.from_wire(sock.sent[0][0]).rcode == Rcode.NXDOMAIN


class Watch:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def answered(self, transport: str, peer: Any, query: bytes, answer: bytes) -> None:
        self.told.append((transport, str(Rcode(answer[3] & 15).name)))

    def dropped(self, transport: str, peer: Any, reason: str) -> None:
        self.told.append((transport, reason))


def test_who_watches_is_told_of_every_datagram(clock: Clock) -> None:
    watch = Watch()
    protocol, _ = bound(DNSServer(Table(), watch=watch, limits=ServerLimits(rate=3)), clock)
    for wire, port in (
        (query("quick.example"), 1024),
        (query("www.example"), 1024),
        (query("boom.example"), 1024),
        (query("nothing.example"), 1024),
        (query("www.example"), 7),
        (b"short", 1024),
        (query("quick.example"), 1024),
        (query("quick.example"), 1024),
        (query("quick.example"), 1024),
    ):
        protocol.datagram_received(wire, ("192.0.2.1", port))

    assert [what for _, what in watch.told] == [
        "NOERROR",
        "NOERROR",
        "SERVFAIL",
        "no answer",
        "port",
        "no query",
        "NOERROR",
        "NOERROR",
        "rate:drop",
    ]


# ── connections ───────────────────────────────────────────────────────────────


def framed(*wires: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in wires)


def unframed(octets: bytes) -> list[Message]:
    found: list[Message] = []
    while octets:
        size = int.from_bytes(octets[:2], "big")
        found.append(Message.from_wire(octets[2 : 2 + size]))
        octets = octets[2 + size :]
    return found


def connected(
    server: DNSServer, clock: Clock, host: str = STRANGER[0]
) -> tuple[StreamServerProtocol, RecordingTransport]:
    server.clock = clock
    peer = InternetAddress(host, 4444)
    protocol = server.build_protocol(peer)
    return protocol, RecordingTransport(protocol, peer=peer, extra={"peername": (host, 4444)})


def test_a_connection_has_many_queries_and_each_its_answer(clock: Clock) -> None:
    protocol, transport = connected(DNSServer(Table()), clock)

    transport.receive(framed(query("quick.a", 1), query("www.a", 2), query("boom.a", 3)))

    assert [(each.id, each.rcode) for each in unframed(transport.take())] == [
        (1, Rcode.NOERROR),
        (2, Rcode.NOERROR),
        (3, Rcode.SERVFAIL),
    ]
    transport.receive_eof()
    assert transport.closed
    assert not protocol._server.connections


async def test_answers_leave_in_the_order_in_which_they_are_there(clock: Clock) -> None:
    """RFC 7766 §7."""
    zone = Zone()
    _, transport = connected(DNSServer(zone), clock)

    transport.receive(framed(query("late1.a", 1), query("late2.a", 2), query("www.a", 3)))
    await asyncio.sleep(0)
    for word in ("late2", "late1"):
        zone.gates[word].set()
        for _ in range(5):
            await asyncio.sleep(0)

    assert [each.id for each in unframed(transport.take())] == [3, 2, 1]


async def test_a_zone_transfer_is_several_messages_as_fast_as_they_are_read(clock: Clock) -> None:
    _, transport = connected(DNSServer(Zone()), clock)

    transport.receive(framed(query("several.a", 9)))
    while len(unframed(transport.written)) < 3:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [each.id for each in unframed(transport.take())] == [9, 9, 9]
    assert transport.reading


def test_whoever_sends_no_message_is_let_go(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING dns-7: length 0, and a message that is none; one line in the log."""
    caplog.set_level(logging.INFO)
    for octets in (b"\0\0", framed(b"abc"), framed(Message(1, QR).to_wire())):
        _, transport = connected(DNSServer(Zone()), clock)
        transport.receive(octets)
        assert transport.closed
    assert "broke RFC 1035" in caplog.text


def test_an_octet_a_second_is_too_slow(clock: Clock) -> None:
    """HARDENING dns-7: length, then one octet per second, is closed after 10 s."""
    _, transport = connected(DNSServer(Zone()), clock)
    wire = framed(query())
    transport.receive(wire[:2])
    seconds = 0
    while not transport.closed:
        transport.receive(wire[2 + seconds : 3 + seconds])
        clock.advance(1)
        seconds += 1
    assert seconds == 10


def test_an_idle_connection_ends_after_ten_seconds(clock: Clock) -> None:
    """HARDENING dns-7."""
    _, transport = connected(DNSServer(Zone()), clock)
    clock.advance(9)
    transport.receive(framed(query()))
    clock.advance(9.5)
    assert not transport.closed

    clock.advance(0.5)
    assert transport.closed


async def test_a_late_answer_gives_a_connection_its_idle_time_once(clock: Clock) -> None:
    zone = Zone()
    _, transport = connected(DNSServer(zone), clock)
    transport.receive(framed(query("late.example")))
    await asyncio.sleep(0)
    clock.advance(25)
    zone.gates["late"].set()
    while not transport.written:
        await asyncio.sleep(0)
    clock.advance(9.5)
    assert not transport.closed
    clock.advance(0.6)
    assert transport.closed


def test_whoever_asks_and_does_not_read_is_not_read_and_then_let_go(clock: Clock) -> None:
    """HARDENING dns-7: 10 000 queries without reading."""
    server = DNSServer(Table())
    _, transport = connected(server, clock)
    transport.block()
    most = 0
    for _ in range(1000):
        if transport.closed:
            break
        if transport.reading:
            transport.receive(framed(*[query("quick.a")] * 10))
        most = max(most, transport.get_write_buffer_size())

    assert not transport.reading
    assert most < 128 * 1024
    clock.advance(11)
    assert transport.closed
    assert transport.close_reason == "limit:write"
    assert not server.connections


def test_whoever_reads_slowly_is_served(clock: Clock) -> None:
    _, transport = connected(DNSServer(Table()), clock)
    transport.block()
    while transport.reading:
        transport.receive(framed(*[query("quick.a")] * 10))
    for _ in range(8):
        clock.advance(9)
        transport.unblock(1000)
        transport.block()
    assert not transport.closed


async def test_no_more_than_32_queries_are_under_way(clock: Clock) -> None:
    """HARDENING dns-7."""
    zone = Zone()
    protocol, transport = connected(DNSServer(zone), clock)
    transport.receive(framed(*[query("late.a", n) for n in range(100)]))
    await asyncio.sleep(0)

    assert len(zone.asked) == 32
    while transport.reading:
        transport.receive(framed(*[query("late.a")] * 100))
    assert len(zone.asked) == 32
    zone.gates["late"].set()
    while not transport.reading:
        clock.pump()
        await asyncio.sleep(0)
    assert protocol.open_exchanges <= 32


def test_an_address_has_25_connections(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING dns-7."""
    server = DNSServer(Zone())
    found = [connected(server, clock)[1] for _ in range(30)]

    assert [each.closed for each in found] == [False] * 25 + [True] * 5
    assert found[-1].close_reason == "limit:connections-per-address"
    assert "limit:connections-per-address" in caplog.text
    assert not connected(server, clock, "192.0.2.1")[1].closed
    found[0].lose()
    assert not connected(server, clock)[1].closed
    local = [connected(server, clock, "127.0.0.1")[1] for _ in range(30)]
    assert not any(each.closed for each in local)


async def test_one_connection_too_many_takes_the_place_of_the_longest_idle(clock: Clock) -> None:
    """HARDENING dns-7: 500 connections; those at work stay."""
    server = DNSServer(Zone(), limits=ServerLimits(connections=150))
    _, busy = connected(server, clock, "192.0.2.1")
    busy.receive(framed(query("late.a")))
    found: list[RecordingTransport] = []
    for n in range(500):
        clock.advance(0.01)
        found.append(connected(server, clock, f"10.0.{n >> 4}.1")[1])

    assert len(server.connections) == 150
    assert not busy.closed
    assert [each.closed for each in found] == [True] * 351 + [False] * 149
    assert found[0].close_reason == "limit:connections"
    busy.lose()


async def test_where_all_are_at_work_a_newcomer_is_refused(clock: Clock) -> None:
    watch = Watch()
    server = DNSServer(Zone(), limits=ServerLimits(connections=2), watch=watch)
    busy = [connected(server, clock, f"10.0.0.{n}")[1] for n in range(2)]
    for each in busy:
        each.receive(framed(query("late.a")))

    _, transport = connected(server, clock, "10.0.0.9")

    assert transport.close_reason == "limit:connections"
    assert len(server.connections) == 2
    assert watch.told == [("tcp", "limit:connections")]
    assert server._per_address.connections == 2
    for each in busy:
        each.lose()


def test_draining_before_the_connection_stands_ends_it(clock: Clock) -> None:
    protocol = DNSServer(Zone(), clock=clock).build_protocol(None)
    protocol.drain()
    transport = RecordingTransport(protocol)
    assert transport.closed


async def test_a_connection_that_is_lost_takes_its_queries_with_it(clock: Clock) -> None:
    """HARDENING fault-7."""
    wire = framed(query("late.a"), query("several.a"), query("www.a"))
    for cut in range(len(wire) + 1):
        server = DNSServer(Zone())
        protocol, transport = connected(server, clock)
        transport.receive(wire[:cut])
        transport.lose(ConnectionResetError())
        await protocol.finished()
        assert not server.connections


async def test_an_answer_that_was_not_begun_when_its_client_went_is_given_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """On older Pythons a coroutine begins a turn later than its query came."""
    del memory_network
    server = DNSServer(Zone())
    protocol, transport = connected(server, clock)
    transport.receive(framed(query("late.a"), query("several.a")))
    transport.lose()
    await protocol.finished()
    assert not protocol._unbegun
    udp, _ = bound(server, clock)
    udp.datagram_received(query("late.a"), STRANGER)
    udp.connection_lost(None)
    await asyncio.sleep(0)
    assert not udp._unbegun


def test_a_transport_that_fails_costs_one_answer(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-2: what cannot be sent is logged, and others are answered."""
    server = DNSServer(Zone(), clock=clock)

    class Broken(Socket):
        def sendto(self, data: bytes, peer: Any) -> None:
            raise OSError("no way")

        def send_on_path(self, data: bytes, path: DatagramPath) -> None:
            raise OSError("no way")

    for host in ("192.0.2.53", "0.0.0.0"):
        protocol: Any = server.build_datagram_protocol(InternetAddress(host, 53))
        protocol.connection_made(Broken())
        path = DatagramPath(STRANGER, LOCAL)
        if host == "0.0.0.0":
            protocol.datagram_received_on_path(query(), path)
        else:
            protocol.datagram_received(query(), STRANGER)
        assert not protocol.engine._open
    assert "sendto failed for" in caplog.text


def test_draining_answers_what_is_under_way(clock: Clock) -> None:
    protocol, transport = connected(DNSServer(Zone()), clock)
    protocol.drain()
    assert transport.closed


def test_who_watches_is_told_of_connections_too(clock: Clock) -> None:
    watch = Watch()
    _, transport = connected(DNSServer(Table(), watch=watch), clock)
    transport.receive(framed(query("quick.a"), query("www.a"), query("nothing.a")))

    assert watch.told == [("tcp", "NOERROR"), ("tcp", "NOERROR"), ("tcp", "no answer")]


# ── signatures ────────────────────────────────────────────────────────────────


def test_a_signed_query_gets_a_signed_answer_and_a_wrong_one_is_told_so(clock: Clock) -> None:
    """RFC 8945 §5."""
    key = Key("k.example.", b"s" * 32)
    zone = Zone()
    server = DNSServer(zone, keys=Keyring([key]), wall_clock=lambda: 1_000_000.5)
    protocol, sock = bound(server, clock)
    signed, mac = sign(query(), key, 1_000_000)
    wrong = Key("k.example.", b"t" * 32)
    strange = Key("x.example.", b"s" * 32)

    protocol.datagram_received(signed, STRANGER)
    protocol.datagram_received(sign(query(), wrong, 1_000_000)[0], STRANGER)
    protocol.datagram_received(sign(query(), strange, 1_000_000)[0], STRANGER)
    protocol.datagram_received(sign(query(), key, 990_000)[0], STRANGER)

    wires = [each for each, _ in sock.sent]
    answers = [Message.from_wire(each) for each in wires]
    verify(wires[0], answers[0], Keyring([key]), 1_000_000, request_mac=mac)
    assert zone.asked[0].key == Name("k.example.")
    assert len(zone.asked) == 1
    assert [each.rcode for each in answers[1:]] == [Rcode.NOTAUTH] * 3
    assert [each.tsig.rdata.error for each in answers[1:] if each.tsig] == [16, 17, 18]  # type: ignore[attr-defined]  # TSIG's own data


async def test_each_message_of_a_transfer_is_signed(clock: Clock) -> None:
    """RFC 8945 §5.3.1."""
    from sennit.names.tsig import Verifier

    key = Key("k.example.", b"s" * 32)
    server = DNSServer(Zone(), keys=Keyring([key]), wall_clock=lambda: 1_000_000.5)
    _, transport = connected(server, clock)
    signed, mac = sign(query("several.a"), key, 1_000_000)

    transport.receive(framed(signed))
    while len(unframed(transport.written)) < 3:
        await asyncio.sleep(0)

    verifier = Verifier(key, mac)
    octets = transport.take()
    for message in unframed(octets):
        size = int.from_bytes(octets[:2], "big")
        verifier.verify(octets[2 : 2 + size], message, 1_000_000)
        octets = octets[2 + size :]
    verifier.finish()


async def test_the_messages_of_a_long_transfer_are_signed_when_they_are_made(
    clock: Clock,
) -> None:
    """They are good for 300 s from then, however long ago the question was."""
    from sennit.names.rdata.tsig import TSIG

    key = Key("k.example.", b"s" * 32)
    times = iter(range(1_000_000, 2_000_000, 250))
    server = DNSServer(Zone(), keys=Keyring([key]), wall_clock=lambda: next(times))
    _, transport = connected(server, clock)

    transport.receive(framed(sign(query("several.a"), key, 1_000_000)[0]))
    while len(unframed(transport.written)) < 3:
        await asyncio.sleep(0)

    signed = [each.tsig.rdata for each in unframed(transport.written) if each.tsig]
    assert [each.time_signed - 1_000_000 for each in signed if isinstance(each, TSIG)] == [
        250, 500, 750,
    ]  # fmt: skip


def test_a_signature_fits_into_what_may_be_sent(clock: Clock) -> None:
    key = Key("k.example.", b"s" * 32)

    class Large(Zone):
        def respond(self, request: Request) -> Any:
            reply = request.message.reply()
            name = request.message.question.name
            reply.answers = [Record(name, RRType.A, 1, A(f"192.0.2.{n}")) for n in range(26)]
            return reply

    server = DNSServer(Large(), keys=Keyring([key]), wall_clock=lambda: 1_000_000)
    protocol, sock = bound(server, clock)
    protocol.datagram_received(query(), STRANGER)
    protocol.datagram_received(sign(query(), key, 1_000_000)[0], STRANGER)

    plain, signed = (each for each, _ in sock.sent)
    assert not Message.from_wire(plain).flags & TC
    assert Message.from_wire(signed).flags & TC
    assert len(signed) <= 512


# ── on a network ──────────────────────────────────────────────────────────────


def test_one_object_serves_udp_and_tcp_at_one_port(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = DNSServer(Zone())
    host = memory_network.host("10.0.0.53")

    async def talk(_: object) -> list[int]:
        async with host.run(serve_dns, server, "10.0.0.53", 53) as running:
            assert running.port == 53
            assert running.urls == ("udp://10.0.0.53:53", "tcp://10.0.0.53:53")
            first = await exchange_udp(Message.query("www.example"), ("10.0.0.53", 53))
            async with await open_stream("tcp://10.0.0.53:53") as stream:
                await stream.send_all(framed(query("www.example", 7)))
                size = int.from_bytes(await stream.read_exactly(2), "big")
                second = Message.from_wire(await stream.read_exactly(size))
            return [len(first.answers), len(second.answers)]

    assert clock.run(talk) == [1, 1]


async def test_a_free_port_is_free_for_both() -> None:
    server = DNSServer(Zone())
    async with serve_dns(server, "127.0.0.1", 0) as running:
        ports = {each.rpartition(":")[2] for each in running.urls}
        assert ports == {str(running.port)}
        assert str(running.port) in repr(running)
        with pytest.raises(OSError, match="in use"):
            await serve_dns(server, "127.0.0.1", running.port)
        answer = await exchange_udp(Message.query("www.a"), ("127.0.0.1", running.port))
        assert answer.flags & QR
    await running.wait_closed()


async def test_answers_that_are_waited_for_leave_while_the_server_ends() -> None:
    zone = Zone()
    server = DNSServer(zone)
    running = await serve(["udp://127.0.0.1:0", "tcp://127.0.0.1:0"], server)
    ports = [address.port for address in running.addresses if isinstance(address, InternetAddress)]
    asked = asyncio.ensure_future(
        exchange_udp(Message.query("late.a"), ("127.0.0.1", ports[0]), timeout=5)
    )
    while not zone.asked:
        await asyncio.sleep(0)
    ending = running.close(5)
    zone.gates["late"].set()

    assert (await asked).answers
    await ending


async def test_other_ways_ask_the_same_responder() -> None:
    """What DNS over HTTPS stands on."""
    watch = Watch()
    server = DNSServer(Table(), watch=watch)

    assert isinstance(server.answer(query("quick.a"), STRANGER), bytes)
    assert isinstance(server.answer(query("www.a"), STRANGER), bytes)
    assert server.answer(b"", STRANGER) is None
    assert server.answer(query("nothing.a"), STRANGER) is None
    several: Any = server.answer(query("several.a"), STRANGER)
    assert isinstance(await several, bytes)
    assert [what for _, what in watch.told] == [
        "NOERROR",
        "NOERROR",
        "no answer",
        "no answer",
        "NOERROR",
    ]


async def test_queries_are_counted_once_the_reactor_is_measured(reactor: Reactor) -> None:
    measure(reactor)
    try:
        watch = Watch()
        server = DNSServer(Zone(), name="counted", watch=watch)
        async with serve_dns(server, "127.0.0.1", 0) as running:
            await exchange_udp(Message.query("www.a"), ("127.0.0.1", running.port))
        found = {
            family["name"]: [sample["labels"] for sample in family["samples"]]
            for family in registry_of(reactor).read()
        }
    finally:
        stop_measuring(reactor)
    assert {"service": "counted", "transport": "udp", "type": "A"} in found["sennit_names_queries"]
    assert watch.told == [("udp", "NOERROR")]
