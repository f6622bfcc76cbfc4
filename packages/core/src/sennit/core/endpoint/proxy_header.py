"""The PROXY protocol's header, versions 1 and 2, without I/O.

A proxy that passes a connection on says in front of it where it came from.
`ProxyHeader` is what it says, `ProxyHeaderReader` reads it, `ProxyHeader.encode`
writes it. Whom to believe is the affair of ``haproxy.py``.

Source: "The PROXY protocol, versions 1 & 2" (haproxy's proxy-protocol.txt): §2.1 (text),
§2.2 (binary), §2.2.1-§2.2.8 (TLVs). What does not follow it to the letter is a fault.
"""

from __future__ import annotations

import struct
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.engine import CLOSED, NEED_DATA
from sennit.core.errors import ProtocolError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, Literal

    from sennit.core.address import Address
    from sennit.core.engine import NoEvent

__all__ = [
    "MAX_V1",
    "MAX_V2",
    "SIGNATURE",
    "ProxyFault",
    "ProxyHeader",
    "ProxyHeaderReader",
    "ProxyTLS",
    "crc32c",
]

MAX_V1: Final = 107
"""Octets of a text header, CRLF included (§2.1)."""
MAX_V2: Final = 536
"""Octets of a binary header in all: what one packet holds wherever it goes (§2.2)."""
MAX_UNIQUE_ID: Final = 128
"""Octets of a unique id (§2.2.5)."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""What a binary header begins with (§2.2)."""
_TEXT: Final = b"PROXY "

ALPN: Final = 0x01
AUTHORITY: Final = 0x02
CRC32C: Final = 0x03
NOOP: Final = 0x04
UNIQUE_ID: Final = 0x05
TLS: Final = 0x20
TLS_VERSION: Final = 0x21
TLS_COMMON_NAME: Final = 0x22
TLS_CIPHER: Final = 0x23
TLS_SIGNATURE: Final = 0x24
TLS_KEY: Final = 0x25
NETNS: Final = 0x30

_UNIX_PATH: Final = 108
_FAMILIES: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Family and transport to the octets of their addresses (§2.2)."""


class ProxyFault(ProtocolError):  # noqa: N818 - an event, as `PeerFault` is
    """What came is no PROXY header; `rule` names the section."""


class ProxyTLS:
    """What the proxy says of TLS between the client and itself (§2.2.6).

    Attributes:
        over_tls: Whether the client spoke TLS.
        certificate_on_connection: It showed a certificate on this connection.
        certificate_in_session: It showed one at least once in the TLS session.
        verified: The certificate was found good; False also where none was shown.
        version: Such as ``TLSv1.3``.
        common_name: Of the certificate's subject.
        cipher: Name of the cipher suite.
        signature: Algorithm that signed the certificate.
        key: Algorithm of the certificate's key.
    """

    __slots__ = (
        "certificate_in_session",
        "certificate_on_connection",
        "cipher",
        "common_name",
        "key",
        "over_tls",
        "signature",
        "verified",
        "version",
    )

    def __init__(self, flags: int, verify: int, fields: dict[int, bytes]) -> None:
        self.over_tls = bool(flags & 1)
        self.certificate_on_connection = bool(flags & 2)
        self.certificate_in_session = bool(flags & 4)
        # Zero also says that there was nothing to verify.
        self.verified = verify == 0 and bool(flags & 6)
        self.version = _text(fields.get(TLS_VERSION))
        self.common_name = _text(fields.get(TLS_COMMON_NAME))
        self.cipher = _text(fields.get(TLS_CIPHER))
        self.signature = _text(fields.get(TLS_SIGNATURE))
        self.key = _text(fields.get(TLS_KEY))

    def __repr__(self) -> str:
        return f"<ProxyTLS {self.version} {self.cipher} verified={self.verified}>"


class ProxyHeader:
    """What a proxy says of the connection it passes on.

    Args:
        source: Where the client is; ``None`` where the proxy does not know or say.
        destination: What the client connected to; both or none.
        tlvs: Further facts in order, (type, octets); in version 2 only.
        version: 1 or 2.
        local: The proxy speaks for itself (a health check): the connection's own
            addresses count.
        datagram: The client sends datagrams (version 2).

    Raises:
        UsageError: The addresses do not go together.
    """

    __slots__ = ("datagram", "destination", "local", "source", "tlvs", "version")

    def __init__(
        self,
        source: Address | None = None,
        destination: Address | None = None,
        *,
        tlvs: Sequence[tuple[int, bytes]] = (),
        version: Literal[1, 2] = 2,
        local: bool = False,
        datagram: bool = False,
    ) -> None:
        if _family(source) != _family(destination):
            raise UsageError(f"{source} and {destination} are not of one family")
        self.source = source
        self.destination = destination
        self.tlvs = tuple(tlvs)
        self.version: Literal[1, 2] = version
        self.local = local
        self.datagram = datagram

    def __repr__(self) -> str:
        """Both ends."""
        who = "local" if self.local else f"{self.source or 'unknown'} to {self.destination}"
        return f"<ProxyHeader v{self.version} {who}>"

    def __eq__(self, other: object) -> bool:
        """Whether all that is said is the same."""
        return isinstance(other, ProxyHeader) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    def __hash__(self) -> int:
        """By the addresses."""
        return hash((self.source, self.destination))

    def tlv(self, kind: int) -> bytes | None:
        """The octets of the first TLV of a type."""
        for each, value in self.tlvs:
            if each == kind:
                return value
        return None

    @property
    def alpn(self) -> bytes | None:
        """The protocol that TLS agreed on with the client (RFC 7301)."""
        return self.tlv(ALPN)

    @property
    def authority(self) -> str | None:
        """The host name the client asked for (SNI)."""
        value = self.tlv(AUTHORITY)
        return None if value is None else _text(value)

    @property
    def unique_id(self) -> bytes | None:
        """The proxy's own name for the connection."""
        return self.tlv(UNIQUE_ID)

    @property
    def netns(self) -> str | None:
        """Name of the network namespace."""
        value = self.tlv(NETNS)
        return None if value is None else _text(value)

    @property
    def tls(self) -> ProxyTLS | None:
        """TLS between client and proxy; ``None`` where the proxy does not say."""
        value = self.tlv(TLS)
        if value is None:
            return None
        flags, verify = struct.unpack_from("!BI", value)
        return ProxyTLS(flags, verify, dict(_tlvs(value[5:])))

    # ── writing ───────────────────────────────────────────────────────────────

    def encode(self, *, checksum: bool = False) -> bytes:
        """The header as it stands in front of the connection.

        Args:
            checksum: End it with a CRC32c (version 2).

        Raises:
            UsageError: It cannot be said in this version, or is too long.
        """
        return self._encode_v1() if self.version == 1 else self._encode_v2(checksum)

    def _encode_v1(self) -> bytes:
        if self.tlvs or self.local or self.datagram:
            raise UsageError("version 1 of the PROXY protocol says addresses and nothing else")
        family = _family(self.source)
        if family not in ("4", "6"):
            return b"PROXY UNKNOWN\r\n"
        source, destination = _packed(self.source, family), _packed(self.destination, family)
        kind = IPv4Address if family == "4" else IPv6Address
        hosts = f"{kind(source[:-2])} {kind(destination[:-2])}"
        ports = f"{_port(self.source)} {_port(self.destination)}"
        return f"PROXY TCP{family} {hosts} {ports}\r\n".encode("ascii")

    def _encode_v2(self, checksum: bool) -> bytes:
        family = "" if self.local else _family(self.source)
        transport = 2 if self.datagram else 1
        if not family:
            kind, body = 0, b""
        elif family == "unix":
            kind = 0x30 | transport
            body = _path(self.source) + _path(self.destination)
        else:
            kind = (0x10 if family == "4" else 0x20) | transport
            source, destination = _packed(self.source, family), _packed(self.destination, family)
            body = source[:-2] + destination[:-2] + source[-2:] + destination[-2:]
        for each, value in self.tlvs:
            if each == CRC32C:
                raise UsageError("say checksum=True instead of giving the CRC32c")
            _check_tlv(each, value)
            body += struct.pack("!BH", each, len(value)) + value
        if checksum:
            body += struct.pack("!BHI", CRC32C, 4, 0)
        command = 0x20 if self.local else 0x21
        head = SIGNATURE + struct.pack("!BBH", command, kind, len(body)) + body
        if len(head) > MAX_V2:
            raise UsageError(f"a PROXY header has at most {MAX_V2} octets, not {len(head)}")
        if checksum:
            head = head[:-4] + struct.pack("!I", crc32c(head))
        return head


class ProxyHeaderReader:
    """Reads the one header in front of a connection.

    Args:
        versions: Those that are understood.
    """

    def __init__(self, versions: Sequence[int] = (1, 2)) -> None:
        self._versions = frozenset(versions)
        self._data = b""
        self._taken = False
        self._ended = False

    def receive_data(self, data: bytes) -> None:
        """Octets have come."""
        self._data += data

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._ended = True

    def next_event(self) -> ProxyHeader | ProxyFault | NoEvent:
        """The header, a fault (the connection is to be dropped), or `NEED_DATA`."""
        if self._taken:
            return CLOSED
        try:
            found = self._read()
            if found is None and self._ended:
                raise ProxyFault("the end came inside the PROXY header", "PROXY §2")
        except ProxyFault as fault:
            self._taken = True
            self._data = b""
            return fault
        if found is None:
            return NEED_DATA
        self._taken = True
        return found

    def release(self) -> bytes:
        """What came behind the header: the connection's own octets."""
        rest, self._data = self._data, b""
        return rest

    def _read(self) -> ProxyHeader | None:
        data = self._data
        for version, start in ((1, _TEXT), (2, SIGNATURE)):
            if version in self._versions and data[: len(start)] == start[: len(data)]:
                if len(data) < len(start):
                    return None
                return self._read_v1() if version == 1 else self._read_v2()
        raise ProxyFault("no PROXY header in front of the connection", "PROXY §2")

    def _read_v1(self) -> ProxyHeader | None:
        end = self._data.find(b"\r\n", 0, MAX_V1)
        if end < 0:
            if len(self._data) >= MAX_V1:
                raise ProxyFault(f"no line of {MAX_V1} octets or less", "PROXY §2.1")
            return None
        line = self._data[:end]
        if line.startswith(b"PROXY UNKNOWN") and line[13:14] in (b"", b" "):
            # Whatever follows must be ignored.
            header = ProxyHeader(version=1)
        else:
            header = _parse_line(line)
        self._data = self._data[end + 2 :]
        return header

    def _read_v2(self) -> ProxyHeader | None:
        data = self._data
        if len(data) < 16:
            return None
        command, kind, length = struct.unpack_from("!BBH", data, 12)
        if 16 + length > MAX_V2:
            raise ProxyFault(f"a header of {16 + length} octets", "PROXY §2.2")
        if command not in (0x20, 0x21):
            raise ProxyFault(f"version and command {command:#04x}", "PROXY §2.2")
        if command == 0x21 and kind not in _FAMILIES:
            raise ProxyFault(f"family and protocol {kind:#04x}", "PROXY §2.2")
        if len(data) < 16 + length:
            return None
        head, self._data = data[: 16 + length], data[16 + length :]
        if command == 0x20:
            # All that follows is to be skipped, the family too; the checksum is not asked for.
            return ProxyHeader(local=True)
        taken = 16 + _FAMILIES[kind]
        if len(head) < taken:
            raise ProxyFault("the addresses end behind the header", "PROXY §2.2")
        tlvs = _tlvs(head[taken:])
        for each, value in tlvs:
            _check_tlv(each, value)
            if each == CRC32C:
                _verify(head, taken, value)
        source, destination = _addresses(kind, head[16:taken])
        return ProxyHeader(source, destination, tlvs=tlvs, datagram=kind & 15 == 2)


# ── version 1 ─────────────────────────────────────────────────────────────────


def _parse_line(line: bytes) -> ProxyHeader:
    words = line.split(b" ")
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyFault(f"not a PROXY line: {line[:60]!r}", "PROXY §2.1")
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    hosts: list[str] = []
    for word in words[2:4]:
        try:
            text = word.decode("ascii")
            host = kind(text)
        except (UnicodeDecodeError, AddressValueError) as error:
            raise ProxyFault(f"not an address: {word[:60]!r}", "PROXY §2.1") from error
        if "%" in text:
            raise ProxyFault(f"an address with a scope: {word[:60]!r}", "PROXY §2.1")
        hosts.append(str(host))
    ports: list[int] = []
    for word in words[4:6]:
        if not word.isdigit() or len(word) > 5 or int(word) > 65535 or word[:1] == b"0" != word:
            raise ProxyFault(f"not a port: {word[:60]!r}", "PROXY §2.1")
        ports.append(int(word))
    source, destination = (
        InternetAddress(host, port) for host, port in zip(hosts, ports, strict=True)
    )
    return ProxyHeader(source, destination, version=1)


# ── version 2 ─────────────────────────────────────────────────────────────────


def _addresses(kind: int, body: bytes) -> tuple[Address | None, Address | None]:
    family = kind >> 4
    if family == 0:
        return None, None
    if family == 3:
        return _unix(body[:_UNIX_PATH]), _unix(body[_UNIX_PATH:])
    size, form = (4, IPv4Address) if family == 1 else (16, IPv6Address)
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * size)
    return (
        InternetAddress(str(form(body[:size])), source_port),
        InternetAddress(str(form(body[size : 2 * size])), destination_port),
    )


def _unix(field: bytes) -> UnixAddress:
    if field[:1] == b"\0":
        name = field[1:].rstrip(b"\0")
        return UnixAddress("@" + _text(name) if name else "")
    return UnixAddress(_text(field.partition(b"\0")[0]))


def _tlvs(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise ProxyFault("a TLV ends behind the header", "PROXY §2.2")
        kind, length = struct.unpack_from("!BH", data, at)
        at += 3
        if at + length > len(data):
            raise ProxyFault("a TLV ends behind the header", "PROXY §2.2")
        if kind != NOOP:
            found.append((kind, data[at : at + length]))
        at += length
    return found


def _check_tlv(kind: int, value: bytes) -> None:
    if kind == CRC32C and len(value) != 4:
        raise ProxyFault(f"a CRC32c of {len(value)} octets", "PROXY §2.2.3")
    if kind == UNIQUE_ID and len(value) > MAX_UNIQUE_ID:
        raise ProxyFault(f"a unique id of {len(value)} octets", "PROXY §2.2.5")
    if kind == TLS:
        if len(value) < 5:
            raise ProxyFault("a TLS part without its fields", "PROXY §2.2.6")
        _tlvs(value[5:])


def _verify(head: bytes, taken: int, value: bytes) -> None:
    """Compare the checksum with that of the header, its own field zero (§2.2.3)."""
    at = taken
    while head[at] != CRC32C:
        at += 3 + int.from_bytes(head[at + 1 : at + 3], "big")
    blank = head[: at + 3] + bytes(4) + head[at + 7 :]
    if crc32c(blank) != int.from_bytes(value, "big"):
        raise ProxyFault("the CRC32c is wrong", "PROXY §2.2.3")


def _text(value: bytes | None) -> str:
    """What a peer calls UTF-8, whatever it is."""
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def _family(address: Address | None) -> str:
    """``4``, ``6``, ``unix``, or nothing where there is no address."""
    if address is None:
        return ""
    if isinstance(address, UnixAddress):
        return "unix"
    return "6" if ":" in address.host else "4"


def _packed(address: Address | None, family: str) -> bytes:
    assert isinstance(address, InternetAddress)
    host = address.host.partition("%")[0]
    try:
        packed = (IPv4Address(host) if family == "4" else IPv6Address(host)).packed
    except AddressValueError as error:
        raise UsageError(f"a PROXY header has addresses, no names: {address}") from error
    return packed + struct.pack("!H", address.port)


def _port(address: Address | None) -> int:
    assert isinstance(address, InternetAddress)
    return address.port


def _path(address: Address | None) -> bytes:
    assert isinstance(address, UnixAddress)
    name = address.path.encode("utf-8", "surrogateescape")
    if name[:1] == b"@":
        name = b"\0" + name[1:]
    if len(name) > _UNIX_PATH:
        raise UsageError(f"the path of a Unix socket has at most {_UNIX_PATH} octets")
    return name.ljust(_UNIX_PATH, b"\0")


@cache
def _table() -> tuple[int, ...]:
    """The remainders of each octet by Castagnoli's polynomial (RFC 3720 §12.1), reflected."""
    table: list[int] = []
    for each in range(256):
        value = each
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The CRC32c of octets (RFC 3720 Appendix B.4 has examples)."""
    table = _table()
    value = 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ table[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF
