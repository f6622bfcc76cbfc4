"""The PROXY protocol: its header both ways, and servers behind proxies (HARDENING core-18)."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.endpoint import haproxy
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.haproxy import ProxiedFactory, ProxiedTransport, _Gate
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.networks import Networks
from sennit.core.endpoint.proxy_header import (
    SIGNATURE,
    ProxyFault,
    ProxyHeader,
    ProxyHeaderReader,
    crc32c,
)
from sennit.core.endpoint.socks import SocksRules
from sennit.core.engine import CLOSED, NEED_DATA
from sennit.core.errors import EndpointSyntaxError, UsageError
from sennit.core.interfaces import IProxiedTransport, adapt
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENT = InternetAddress("192.0.2.7", 56324)
SERVER = InternetAddress("198.51.100.1", 443)
CLIENT6 = InternetAddress("2001:db8::7", 56324)
SERVER6 = InternetAddress("2001:db8::1", 443)


def read(data: bytes, *, step: int = 0) -> tuple[Any, bytes]:
    """What a reader says of some octets, and what it leaves."""
    reader = ProxyHeaderReader()
    for at in range(0, len(data), step or len(data) or 1):
        reader.receive_data(data[at : at + (step or len(data))])
        event = reader.next_event()
        if event is not NEED_DATA:
            reader.receive_data(data[at + (step or len(data)) :])
            return event, reader.release()
    return reader.next_event(), reader.release()


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + body


# ── the header ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", CLIENT, SERVER),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", CLIENT6, SERVER6),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            InternetAddress("255.255.255.255", 65535),
            InternetAddress("255.255.255.255", 65535),
        ),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff::1 what ever it is 7\r\n", None, None),
    ],
)
def test_a_line_says_both_ends(line: bytes, source: Any, destination: Any) -> None:
    """PROXY protocol §2.1."""
    header, rest = read(line + b"GET /")
    assert (header.source, header.destination, header.version) == (source, destination, 1)
    assert rest == b"GET /"
    if source is not None:
        assert header.encode() == line


def test_the_longest_line_of_the_specification_is_read() -> None:
    """§2.1: 107 octets with the CRLF, in the worst case."""
    ones = "ffff:f...f:ffff ffff:f...f:ffff".replace("f...f", ":".join(["ffff"] * 6))
    line = f"PROXY UNKNOWN {ones} 65535 65535\r\n".encode()
    assert len(line) <= 107
    line = line[:-2].ljust(105, b"5") + b"\r\n"
    assert len(line) == 107
    assert isinstance(read(line)[0], ProxyHeader)
    assert isinstance(read(line[:-2] + b"5\r\n")[0], ProxyFault)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
        b"PROXY TCP5 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.007 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100 56324 443\r\n",
        b"PROXY TCP4 host.example 198.51.100.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 080 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        b"PROXY TCP4 \xd9\xa1 198.51.100.1 1 443\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\r\n\r\n\0\r\nQUIX\n",
        b"x",
        b"PROXY UNKNOWN " + b"5" * 100,
    ],
)
def test_a_line_that_is_not_to_the_letter_is_a_fault(line: bytes) -> None:
    """HARDENING core-18, §2.1: never believed."""
    for step in (0, 1):
        event, rest = read(line + (b"5" * 120 if not line.endswith(b"\r\n") else b""), step=step)
        assert isinstance(event, ProxyFault), event
        assert event.rule.startswith("PROXY §2")
        assert line not in (event.args[0], rest)


def test_a_line_of_108_octets_is_dropped_as_soon_as_that_is_known() -> None:
    """HARDENING core-18: 107 octets, whether or not the end has come."""
    reader = ProxyHeaderReader()
    reader.receive_data(b"PROXY UNKNOWN " + b"5" * 92)
    assert reader.next_event() is NEED_DATA
    reader.receive_data(b"5")
    assert isinstance(reader.next_event(), ProxyFault)
    assert reader.next_event() is CLOSED


def test_a_binary_header_as_the_specification_lays_it_out() -> None:
    """§2.2: octet by octet, for IPv4 over TCP."""
    octets = (
        b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c"
        b"\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
    )
    header, rest = read(octets + b"hello")
    assert header == ProxyHeader(CLIENT, SERVER)
    assert rest == b"hello"
    assert header.encode() == octets


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(CLIENT, SERVER),
        ProxyHeader(CLIENT6, SERVER6),
        ProxyHeader(CLIENT6, SERVER6, datagram=True),
        ProxyHeader(UnixAddress("/run/a.sock"), UnixAddress("@name")),
        ProxyHeader(UnixAddress(""), UnixAddress("x" * 108)),
        ProxyHeader(),
        ProxyHeader(local=True),
        ProxyHeader(tlvs=[(1, b"h2"), (2, b"example.org"), (5, bytes(128)), (0x30, b"ns")]),
        ProxyHeader(CLIENT, SERVER, version=1),
        ProxyHeader(CLIENT6, SERVER6, version=1),
        ProxyHeader(version=1),
    ],
)
def test_what_is_written_is_read(header: ProxyHeader) -> None:
    for step in (0, 1, 7):
        event, rest = read(header.encode() + b"rest", step=step)
        assert event == header
        assert rest == b"rest"
        assert repr(header).startswith("<ProxyHeader v")
        assert hash(event) == hash(header)


def test_a_local_command_counts_as_the_connection_itself() -> None:
    """§2.2: LOCAL; what it says further is skipped, family and all."""
    header, rest = read(v2(0x20, 0x7F, b"\x04\xff\xff" + bytes(30)) + b"x")
    assert header.local
    assert header.source is None
    assert rest == b"x"


TLS_TLV = bytes((3,)) + bytes(4) + b"\x21\0\x07TLSv1.3\x22\0\x05Alice\x23\0\x03AES"


def test_tlvs_say_more() -> None:
    """§2.2.1-§2.2.8."""
    header, _ = read(
        ProxyHeader(
            CLIENT,
            SERVER,
            tlvs=[
                (1, b"h2"),
                (2, "bücher.example".encode()),
                (5, b"\x01id"),
                (0x30, b"blue"),
                (0x20, TLS_TLV),
                (0xE0, b"own"),
            ],
        ).encode()
    )
    assert (header.alpn, header.authority) == (b"h2", "bücher.example")
    assert (header.unique_id, header.netns, header.tlv(0xE0)) == (b"\x01id", "blue", b"own")
    tls = header.tls
    assert (tls.over_tls, tls.certificate_on_connection, tls.verified) == (True, True, True)
    assert (tls.version, tls.common_name, tls.cipher) == ("TLSv1.3", "Alice", "AES")
    assert (tls.signature, tls.key) == ("", "")
    assert "TLSv1.3" in repr(tls)
    bare, _ = read(ProxyHeader(CLIENT, SERVER).encode())
    assert (bare.alpn, bare.authority, bare.netns, bare.tls) == (None, None, None, None)


@pytest.mark.parametrize(
    ("flags", "verify", "verified"), [(1, 0, False), (3, 0, True), (5, 0, True), (3, 1, False)]
)
def test_no_certificate_is_no_good_certificate(flags: int, verify: int, verified: bool) -> None:
    """§2.2.6: verify is zero, too, where there was nothing to verify."""
    value = struct.pack("!BI", flags, verify)
    header, _ = read(ProxyHeader(CLIENT, SERVER, tlvs=[(0x20, value)]).encode())
    assert header.tls.verified is verified


def test_padding_is_passed_over() -> None:
    """§2.2.4: NOOP."""
    body = ProxyHeader(CLIENT, SERVER).encode()[16:]
    header, _ = read(v2(0x21, 0x11, body + b"\x04\0\x03abc\x01\0\x02h2"))
    assert header.tlvs == ((1, b"h2"),)


def test_the_checksum_is_checked() -> None:
    """§2.2.3; the sums are RFC 3720's (appendix B.4)."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    good = ProxyHeader(CLIENT, SERVER, tlvs=[(1, b"h2")]).encode(checksum=True)
    header, _ = read(good)
    assert header.alpn == b"h2"
    for at in (20, 32, len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 1
        event, _ = read(bytes(bad))
        assert isinstance(event, ProxyFault), at
    # A checksum in front of another TLV counts as well.
    body = good[16:28] + good[-7:] + good[28:-7]
    blank = v2(0x21, 0x11, body[:15] + bytes(4) + body[19:])
    moved = blank[:31] + struct.pack("!I", crc32c(blank)) + blank[35:]
    assert read(moved)[0].alpn == b"h2"


@pytest.mark.parametrize(
    "octets",
    [
        v2(0x21, 0x11, b"", length=65535),
        v2(0x21, 0x11, b"", length=521),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x21, bytes(35)),
        v2(0x21, 0x31, bytes(215)),
        v2(0x22, 0x11, bytes(12)),
        v2(0x11, 0x11, bytes(12)),
        v2(0x2F, 0x11, bytes(12)),
        v2(0x21, 0x10, bytes(12)),
        v2(0x21, 0x13, bytes(12)),
        v2(0x21, 0x41, bytes(12)),
        v2(0x21, 0x01, bytes(12)),
        v2(0x21, 0x11, bytes(12) + b"\x01"),
        v2(0x21, 0x11, bytes(12) + b"\x01\0"),
        v2(0x21, 0x11, bytes(12) + b"\x01\0\x03ab"),
        v2(0x21, 0x11, bytes(12) + b"\x03\0\x03abc"),
        v2(0x21, 0x11, bytes(12) + b"\x05\0\x81" + bytes(129)),
        v2(0x21, 0x11, bytes(12) + b"\x20\0\x04abcd"),
        v2(0x21, 0x11, bytes(12) + b"\x20\0\x08\x01" + bytes(4) + b"\x21\0\x05"),
    ],
)
def test_a_binary_header_that_is_not_to_the_letter_is_a_fault(octets: bytes) -> None:
    """HARDENING core-18: length 65 535, TLV past the end, what nobody defined."""
    for step in (0, 1):
        event, rest = read(octets, step=step)
        assert isinstance(event, ProxyFault), event
        if not step:
            assert rest == b""


def test_536_octets_are_enough_and_the_most() -> None:
    """§2.2, HARDENING core-18."""
    fits = ProxyHeader(CLIENT, SERVER, tlvs=[(0xE0, bytes(536 - 28 - 3))])
    assert len(fits.encode()) == 536
    assert read(fits.encode())[0] == fits
    with pytest.raises(UsageError, match="at most 536 octets, not 537"):
        ProxyHeader(CLIENT, SERVER, tlvs=[(0xE0, bytes(536 - 27 - 3))]).encode()


def test_an_end_inside_the_header_is_a_fault() -> None:
    reader = ProxyHeaderReader()
    reader.receive_data(b"PROXY TCP4 ")
    reader.receive_eof()
    assert isinstance(reader.next_event(), ProxyFault)


def test_a_version_that_is_not_wanted_is_not_understood() -> None:
    reader = ProxyHeaderReader((2,))
    reader.receive_data(b"PROXY UNKNOWN\r\n")
    assert isinstance(reader.next_event(), ProxyFault)


def test_what_cannot_be_said_is_the_callers_fault() -> None:
    with pytest.raises(UsageError, match="not of one family"):
        ProxyHeader(CLIENT, SERVER6)
    with pytest.raises(UsageError, match="not of one family"):
        ProxyHeader(CLIENT, None)
    with pytest.raises(UsageError, match="addresses, no names"):
        ProxyHeader(InternetAddress("a.example", 1), SERVER).encode()
    with pytest.raises(UsageError, match="addresses and nothing else"):
        ProxyHeader(version=1, tlvs=[(1, b"h2")]).encode()
    with pytest.raises(UsageError, match="checksum=True"):
        ProxyHeader(tlvs=[(3, bytes(4))]).encode()
    with pytest.raises(UsageError, match="at most 108"):
        ProxyHeader(UnixAddress("x" * 109), UnixAddress("")).encode()
    assert ProxyHeader(UnixAddress("a"), UnixAddress("b"), version=1).encode() == (
        b"PROXY UNKNOWN\r\n"
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=80).map(lambda rest: b"PROXY TCP4 " + rest + b"\r\n"),
        st.binary(max_size=80).map(lambda rest: v2(0x21, 0x11, bytes(12) + rest)),
        st.binary(max_size=80).map(lambda rest: SIGNATURE + rest),
    ),
    st.integers(1, 90),
)
def test_where_the_octets_are_cut_changes_nothing(data: bytes, cut: int) -> None:
    whole, rest = read(data)
    parts, left = read(data, step=cut)
    if isinstance(whole, ProxyFault):
        assert isinstance(parts, ProxyFault)
    else:
        assert (parts, left) == (whole, rest)
        if isinstance(whole, ProxyHeader) and whole.version == 2:
            assert data.endswith(rest)


ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)


@given(ADDRESSES, st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([1, 2]))
def test_every_address_survives(hosts: Any, one: int, other: int, version: Any) -> None:
    header = ProxyHeader(
        InternetAddress(str(hosts[0]), one), InternetAddress(str(hosts[1]), other), version=version
    )
    assert read(header.encode())[0] == header


# ── networks ──────────────────────────────────────────────────────────────────


def test_networks_see_through_ipv4_in_ipv6() -> None:
    inside = Networks("10.0.0.0/8,2001:db8::/32,loopback")
    for host in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "127.9.9.9"):
        assert host in inside, host
    assert "2001:db8::1%eth0" in inside
    assert "::1" in inside
    for host in ("11.0.0.1", "2001:db9::1", "::ffff:11.0.0.1", "name", "", "::2"):
        assert host not in inside, host
    assert "10.0.0.0/8" in repr(inside)
    with pytest.raises(UsageError, match=r"'10\.0\.0\.1/8' is no network"):
        Networks(["10.0.0.1/8"])


def test_a_peer_is_not_believed_to_be_what_its_address_embeds() -> None:
    """Whoever is on the same link may take 2002:7f00:1:: for its own (core-18)."""
    for inside in (Networks("10.0.0.0/8,loopback"), Networks("any")):
        for host in ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:127.0.0.1", "::1"):
            assert inside.trusts(host), host
    for host in ("64:ff9b::a01:203", "2002:a01:203::1", "2002:7f00:1::", "name", ""):
        assert not Networks("10.0.0.0/8,loopback").trusts(host), host
    gate = _Gate(None, None)
    assert gate.trusts(("::1", 1, 0, 0))
    assert not gate.trusts(("2002:7f00:1::", 1, 0, 0))
    assert not SocksRules().serves(("64:ff9b::7f00:1", 1, 0, 0))
    assert not SocksRules().permits("64:ff9b::7f00:1"), "a target is what it embeds"


# ── servers ───────────────────────────────────────────────────────────────────


class Echo(Protocol):
    """Says who it takes the peer for, then gives back what comes."""

    made: list[Echo]
    lost: Any = ()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.made.append(self)
        transport.write(f"{transport.peer} {transport.local}\n".encode())

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


@pytest.fixture
def echo() -> type[Echo]:
    return type("Echo", (Echo,), {"made": []})


def front(factory: Any, **options: Any) -> tuple[RecordingTransport, Clock]:
    """A connection that waits for its header, on a virtual clock."""
    clock = Clock()
    protocol = ProxiedFactory(factory, **options).build_protocol(None)
    transport = RecordingTransport(
        protocol,
        local=InternetAddress("127.0.0.1", 80),
        peer=InternetAddress("127.0.0.1", 4000),
        extra={"reactor": clock},
    )
    return transport, clock


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_the_protocol_sees_the_client_and_the_octets_behind(echo: type[Echo], step: int) -> None:
    transport, clock = front(echo)
    octets = V1 + b"hello"
    for at in range(0, len(octets), step):
        transport.receive(octets[at : at + step])
    assert transport.written == b"192.0.2.7:56324 198.51.100.1:443\nhello"
    seen: Any = echo.made[0].transport
    assert adapt(IProxiedTransport, seen).proxy_header.source == CLIENT
    assert str(seen.proxy_local) == "127.0.0.1:80"
    assert seen.get_extra_info("peername") == ("192.0.2.7", 56324)
    assert seen.get_extra_info("sockname") == ("198.51.100.1", 443)
    assert seen.get_extra_info("proxy_header") is seen.proxy_header
    assert seen.get_extra_info("reactor") is clock
    clock.advance(10)
    assert not transport.closed
    transport.receive_eof()
    transport.lose()
    assert echo.made[0].lost is None


def test_a_proxy_that_speaks_for_itself_shows_its_own_addresses(echo: type[Echo]) -> None:
    """§2: LOCAL and UNKNOWN are the connection's own addresses."""
    for header in (ProxyHeader(local=True), ProxyHeader(version=1), ProxyHeader()):
        transport, _ = front(echo)
        transport.receive(header.encode())
        assert transport.written == b"127.0.0.1:4000 127.0.0.1:80\n"


def test_a_header_has_five_seconds_in_all(echo: type[Echo]) -> None:
    """HARDENING core-18: a total, so that drops of octets do not help."""
    transport, clock = front(echo)
    for at in range(4):
        transport.receive(V1[at : at + 1])
        clock.advance(1.0)
    assert not transport.closed
    transport.receive(V1[4:5])
    clock.advance(0.99)
    assert not transport.closed
    clock.advance(0.02)
    assert transport.aborted
    assert transport.close_reason == "timeout"
    assert echo.made == []


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n", v2(0x21, 0x11, b"", 65535), V1[:20]])
def test_what_is_no_header_is_dropped(
    octets: bytes, echo: type[Echo], caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING core-18: at once, and never taken for the protocol's own octets."""
    transport, clock = front(echo)
    transport.receive(octets)
    if octets in V1:
        transport.receive_eof()
    assert transport.aborted
    assert transport.written == b""
    assert echo.made == []
    assert len(caplog.records) == 1
    assert "dropped" in caplog.text
    clock.advance(10)


def test_a_factory_that_refuses_the_client_drops_the_connection() -> None:
    class Refusing:
        def build_protocol(self, peer: Any) -> None:
            assert peer == CLIENT

    transport, _ = front(Refusing())
    transport.receive(V1)
    assert transport.aborted


def test_a_protocol_that_closes_at_once_gets_no_octets(echo: type[Echo]) -> None:
    class Curt(echo):  # type: ignore[misc, valid-type]  # a class that a fixture gives
        def connection_made(self, transport: Any) -> None:
            transport.close()

        def data_received(self, data: bytes) -> None:
            raise AssertionError("nobody asked for it")

    transport, _ = front(Curt)
    transport.receive(V1 + b"x")
    assert transport.close_reason == "clean"
    assert not transport.errors


def test_a_protocol_that_lends_its_buffer_gets_the_octets_behind() -> None:
    class Lender(Protocol):
        buffer = bytearray(4)
        got = b""

        def get_buffer(self, hint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, count: int) -> None:
            self.got += self.buffer[:count]

    lender = Lender()
    transport, _ = front(lambda: lender)
    transport.receive(V1 + b"hello world")
    assert lender.got == b"hello world"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("version", ["", "?version=1", "?version=2"])
async def test_a_client_says_who_it_is_and_a_server_believes_it(
    host: str, version: str, echo: type[Echo]
) -> None:
    async with serve(f"haproxy+tcp://{host}:0", echo) as server:
        (url,) = server.urls
        assert url.startswith("haproxy+tcp://")
        said = ProxyHeader(CLIENT, SERVER)
        client = await connect(url + version, Collector, proxy_header=said)
        await until(lambda: client.data)
        assert client.data == b"192.0.2.7:56324 198.51.100.1:443\n"
        (transport,) = server.connections
        assert transport.peer == CLIENT
        client.transport.abort()
        await until(lambda: not server.connections)


class Collector(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost: Any = ()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


async def test_a_client_says_its_own_addresses_when_nothing_else(echo: type[Echo]) -> None:
    async with serve("haproxy+tcp://127.0.0.1:0", echo) as server:
        client = await connect(server.urls[0], Collector)
        await until(lambda: client.data)
        own = client.transport
        assert client.data == f"{own.local} {own.peer}\n".encode()
        client.transport.abort()


async def test_a_header_goes_over_a_unix_socket(echo: type[Echo], tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serve(f"haproxy+unix:{path}", echo) as server:
        assert server.urls == (f"haproxy+unix:{path}",)
        ends = ProxyHeader(UnixAddress("@client"), UnixAddress("/front"))
        client = await connect(server.urls[0], Collector, proxy_header=ends)
        await until(lambda: client.data)
        assert client.data == b"unix:@client unix:/front\n"
        client.transport.abort()


async def test_who_is_not_trusted_is_dropped_unheard(
    echo: type[Echo], caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING core-18: a header from an unlisted address is never believed."""
    haproxy._warned.clear()
    async with serve("haproxy+tcp://127.0.0.1:0?trusted=10.0.0.0/8", echo) as server:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", server.port)) as peer:
                peer.setblocking(False)
                peer.send(V1)
                loop = asyncio.get_running_loop()
                try:
                    assert await loop.sock_recv(peer, 10) == b""
                except ConnectionResetError:
                    pass
        assert echo.made == []
    assert len(caplog.records) == 1
    assert "?trusted=127.0.0.1" in caplog.text


def test_without_a_word_only_this_machine_is_trusted() -> None:
    gate = haproxy._Gate(None, None)
    for peer in (("127.0.0.1", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0), "", b"\0x"):
        assert gate.trusts(peer), peer
    for peer in (("10.0.0.1", 1), ("192.0.2.1", 1), ("2001:db8::1", 1, 0, 0)):
        assert not gate.trusts(peer), peer


async def test_limits_count_the_clients_and_not_the_proxy(echo: type[Echo]) -> None:
    limits = ConnectionLimits(max_per_address=1)
    async with serve("haproxy+tcp://127.0.0.1:0", echo, limits=limits) as server:
        clients: list[Collector] = []
        for host in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
            header = ProxyHeader(InternetAddress(host, 1), SERVER)
            clients.append(await connect(server.urls[0], Collector, proxy_header=header))
        await until(lambda: clients[0].data and clients[1].data and clients[2].lost != ())
        assert clients[2].data == b""
        assert limits.connections == 2
        assert limits.connections_from(("192.0.2.7", 5)) == 1
        clients[0].transport.abort()
        await until(lambda: limits.connections == 1)
        header = ProxyHeader(CLIENT, SERVER)
        again = await connect(server.urls[0], Collector, proxy_header=header)
        await until(lambda: again.data)
        for each in (clients[1], again):
            each.transport.abort()
        await until(lambda: not server.connections)
        assert limits.connections == 0


async def test_headers_that_do_not_come_are_limited_in_number(
    echo: type[Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "MAX_PENDING", 2)
    limits = ConnectionLimits()
    async with serve("haproxy+tcp://127.0.0.1:0", echo, limits=limits) as server:
        peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        loop = asyncio.get_running_loop()
        peers[2].setblocking(False)
        assert await loop.sock_recv(peers[2], 10) == b""
        assert limits.connections == 0
        for each in peers:
            each.close()
        await until(lambda: not server.connections)
        client = await connect(server.urls[0], Collector)
        await until(lambda: client.data)
        client.transport.abort()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("haproxy+tcp://127.0.0.1:0?trusted=here", "'here' is no network"),
        ("haproxy+tcp://127.0.0.1:0?version=3", "version is 1 or 2, not '3'"),
        ("haproxy+serial:x", r"there is no 'haproxy\+serial'; there are haproxy\+tcp"),
        ("haproxy+tcp://127.0.0.1:0?mode=600", "no option 'mode' for haproxy"),
        ("haproxy+tcp://:x", "write haproxy"),
    ],
)
async def test_options_that_make_no_sense_are_told(url: str, problem: str) -> None:
    with pytest.raises(EndpointSyntaxError, match=problem):
        await serve(url, Collector)


async def test_what_a_client_cannot_say_fails(echo: type[Echo]) -> None:
    async with serve("haproxy+tcp://127.0.0.1:0", echo) as server:
        with pytest.raises(UsageError, match="no names"):
            wrong = ProxyHeader(InternetAddress("a.example", 1), SERVER)
            await connect(server.urls[0], Collector, proxy_header=wrong)
        with pytest.raises(EndpointSyntaxError, match="where one listens"):
            await connect(server.urls[0] + "?trusted=any", Collector)
        with pytest.raises(EndpointSyntaxError, match="goes with haproxy"):
            await connect("tcp://127.0.0.1:1", Collector, proxy_header=ProxyHeader())


async def test_tls_begins_behind_the_header(echo: type[Echo]) -> None:
    trustme = pytest.importorskip("trustme")
    from sennit.core.transport.tls import ClientTLS, ServerTLS

    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    own = ServerTLS(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
    trust = ClientTLS(trust=ca.cert_pem.bytes())
    async with serve("haproxy+tls://127.0.0.1:0", echo, tls=own) as server:
        client = await connect(
            server.urls[0],
            Collector,
            tls=trust,
            server_hostname="localhost",
            proxy_header=ProxyHeader(CLIENT, SERVER, tlvs=[(2, b"front")]),
        )
        await until(lambda: client.data)
        assert client.data == b"192.0.2.7:56324 198.51.100.1:443\n"
        seen: Any = echo.made[0].transport
        assert seen.get_extra_info("proxy_header").authority == "front"
        assert seen.peer == CLIENT
        client.transport.abort()
        await until(lambda: not server.connections)


def test_a_proxied_transport_keeps_its_contract() -> None:
    from zope.interface.verify import verifyObject

    transport = RecordingTransport(Protocol())
    assert verifyObject(IProxiedTransport, ProxiedTransport(transport, ProxyHeader()))
