"""Types of the early years that zones still hold here and there.

Sources: RFC 1035 §3.3, §3.4.2, RFC 1183, RFC 1706 (NSAP), RFC 1712 (GPOS), RFC 3123 (APL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.presentation import address_text, generic_text, packed_address
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.codecs import decoded
from sennit.names.rdata.fields import (
    CompressedName,
    IPv4,
    LowerName,
    MaybeText,
    Mnemonic,
    Text,
)

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["APL", "GPOS", "ISDN", "MB", "MD", "MF", "MG", "MINFO", "MR", "NSAP", "RP", "WKS", "X25"]


class MD(Rdata, rdtype=3):
    """A mail destination; MX took its place (RFC 1035 §3.3.4)."""

    target: CompressedName


class MF(Rdata, rdtype=4):
    """A mail forwarder; MX took its place (RFC 1035 §3.3.5)."""

    target: CompressedName


class MB(Rdata, rdtype=7):
    """The host of a mailbox (RFC 1035 §3.3.3)."""

    target: CompressedName


class MG(Rdata, rdtype=8):
    """A member of a mail group (RFC 1035 §3.3.6)."""

    target: CompressedName


class MR(Rdata, rdtype=9):
    """The new name of a mailbox (RFC 1035 §3.3.8)."""

    target: CompressedName


class MINFO(Rdata, rdtype=14):
    """Who looks after a mailbox or list (RFC 1035 §3.3.7)."""

    rmailbx: CompressedName
    emailbx: CompressedName


class RP(Rdata, rdtype=17):
    """The person responsible (RFC 1183 §2): a mailbox, and a name with TXT records."""

    mbox: LowerName
    txt: LowerName


class X25(Rdata, rdtype=19):
    """An X.25 address (RFC 1183 §3.1)."""

    address: Text


class ISDN(Rdata, rdtype=20):
    """An ISDN number, and a subaddress or ``None`` (RFC 1183 §3.2)."""

    address: Text
    subaddress: MaybeText


class GPOS(Rdata, rdtype=27):
    """A place on earth, in decimal text; LOC took its place (RFC 1712)."""

    longitude: Text
    latitude: Text
    altitude: Text


class _NSAP:
    """Octets to the end; ``0x47.0005.80`` in text."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[bytes, int]:
        return wire[position:end], end

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        text = tokens.text()
        if text[:2] not in {"0x", "0X"}:
            raise PresentationError(f"{text!r:.60} does not begin with 0x")
        return decoded(text[2:].replace(".", ""), "hex")

    def format(self, value: bytes, origin: Name | None) -> str:
        return f"0x{value.hex()}"

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise DNSUsageError(f"octets are needed, not {value!r:.80}")
        return value


NSAPAddress = Annotated[bytes, _NSAP()]


class NSAP(Rdata, rdtype=22):
    """An address of OSI's network service (RFC 1706 §5)."""

    rule = "RFC 1706 §5"

    address: NSAPAddress

    def validate(self) -> None:
        """There is one."""
        if not self.address:
            raise DNSUsageError("there is no address in it")


class _Ports:
    """Bits by the number of a port, to the end of the data."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[bytes, int]:
        if end - position > 8192:
            raise MessageFormatError("more ports than there are", rule="RFC 1035 §3.4.2")
        return wire[position:end], end

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        bits = bytearray()
        for text in tokens.rest():
            word = text.lower()
            if word not in _SERVICES and not (
                word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 0xFFFF
            ):
                raise PresentationError(f"{text!r:.40} is no port: write its number")
            port = _SERVICES[word] if word in _SERVICES else int(word)
            if port >> 3 >= len(bits):
                bits += bytes((port >> 3) + 1 - len(bits))
            bits[port >> 3] |= 0x80 >> (port & 7)
        return bytes(bits)

    def format(self, value: bytes, origin: Name | None) -> str:
        return " ".join(map(str, _ports(value)))

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) > 8192:
            raise DNSUsageError("a bitmap of at most 8192 octets is needed")
        return value


def _ports(bitmap: bytes) -> list[int]:
    return [
        at * 8 + bit for at, octet in enumerate(bitmap) for bit in range(8) if octet & 0x80 >> bit
    ]


_SERVICES: Final = {
    "ftp-data": 20,
    "ftp": 21,
    "telnet": 23,
    "smtp": 25,
    "time": 37,
    "domain": 53,
    "tftp": 69,
    "finger": 79,
    "http": 80,
    "pop3": 110,
    "nntp": 119,
    "ntp": 123,
}
"""Ports that may be named; others are written as numbers."""


Protocol = Annotated[int, Mnemonic(1, {"ICMP": 1, "TCP": 6, "UDP": 17})]
Ports = Annotated[bytes, _Ports()]


class WKS(Rdata, rdtype=11):
    """The services of a host (RFC 1035 §3.4.2).

    Attributes:
        address: The host's.
        protocol: 6 TCP, 17 UDP.
        bitmap: A bit for each port.
    """

    address: IPv4
    protocol: Protocol
    bitmap: Ports

    def to_text(self, origin: Name | None = None) -> str:
        """Address, protocol, ports; in octets where those are followed by more without any."""
        if self.bitmap.endswith(b"\0"):
            return generic_text(self.wire)
        return super().to_text(origin)

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports that are served, ascending."""
        return tuple(_ports(self.bitmap))


class _Prefixes:
    """Prefixes to the end of the data, each a text such as ``!1:192.168.38.0/28``."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[tuple[str, ...], int]:
        found: list[str] = []
        while position < end:
            if position + 4 > end:
                raise cut_off()
            family = int.from_bytes(wire[position : position + 2], "big")
            prefix, length = wire[position + 2], wire[position + 3] & 0x7F
            negated = "!" if wire[position + 3] & 0x80 else ""
            part = wire[position + 4 : position + 4 + length]
            position += 4 + length
            size = _SIZES.get(family)
            if (
                size is None
                or position > end
                or length > size
                or prefix > size * 8
                or part[-1:] == b"\0"
            ):
                raise MessageFormatError("an address prefix that is none", rule="RFC 3123 §4")
            address = address_text(part + bytes(size - length))
            found.append(f"{negated}{family}:{address}/{prefix}")
        return tuple(found), position

    def write(self, value: tuple[str, ...], writer: Writer) -> None:
        for text in value:
            family, prefix, packed = _prefix(text)
            part = packed.rstrip(b"\0")
            flag = 0x80 if text[0] == "!" else 0
            writer.out += bytes((0, family, prefix, flag | len(part))) + part

    def parse(self, tokens: Tokens) -> tuple[str, ...]:
        return self.check(tokens.rest())

    def format(self, value: tuple[str, ...], origin: Name | None) -> str:
        return " ".join(value)

    def check(self, value: Any) -> tuple[str, ...]:
        found: list[str] = []
        for text in value:
            family, prefix, packed = _prefix(str(text))
            address = address_text(packed)
            found.append(f"{'!' if text[0] == '!' else ''}{family}:{address}/{prefix}")
        return tuple(found)


_SIZES: Final = {1: 4, 2: 16}
"""Octets of an address, by its family."""


def _prefix(text: str) -> tuple[int, int, bytes]:
    family, _, rest = text.removeprefix("!").partition(":")
    address, _, bits = rest.partition("/")
    packed = packed_address(address)
    if family != {4: "1", 16: "2"}[len(packed)] or not (
        bits.isascii() and bits.isdigit() and len(bits) <= 3 and int(bits) <= len(packed) * 8
    ):
        raise PresentationError(f"{text!r:.60} is no prefix: write 1:192.0.2.0/24")
    return int(family), int(bits), packed


Prefixes = Annotated[tuple[str, ...], _Prefixes()]


class APL(Rdata, rdtype=42):
    """Address prefixes (RFC 3123).

    Attributes:
        prefixes: Texts, ``1:192.0.2.0/24`` for IPv4, ``2:2001:db8::/32`` for IPv6, with ``!``
            before one that is excluded.
    """

    prefixes: Prefixes
