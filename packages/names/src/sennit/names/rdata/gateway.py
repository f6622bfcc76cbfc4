"""Places that traffic is sent to, which may be an address, a name, or none: IPSECKEY, AMTRELAY.

Both say in an octet of its own of which kind the place is: 0 none, 1 an IPv4 address, 2 an IPv6
address, 3 a name, which is never compressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, TypeAlias

from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.name import Name, read_name
from sennit.names.presentation import address_text, packed_address
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.codecs import decoded, encoded

if TYPE_CHECKING:
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["AMTRELAY", "IPSECKEY"]

Place: TypeAlias = "Name | str | None"
"""A name, an address in text, or none."""
_NONE, _IPV4, _IPV6, _NAME = range(4)
_SIZES: Final = {_IPV4: 4, _IPV6: 16}


def _settled(place: Place) -> Place:
    return address_text(packed_address(place)) if isinstance(place, str) else place


def _kind(place: Place) -> int:
    if place is None:
        return _NONE
    if isinstance(place, Name):
        return _NAME
    return _IPV6 if ":" in place else _IPV4


def _read(
    kind: int, wire: bytes, position: int, end: int, names: dict[int, Name], rule: str
) -> tuple[Place, int]:
    """The place at a position, and the position behind it."""
    place: Place = None
    if kind == _NAME:
        place, position = read_name(wire, position, names)
    elif kind in _SIZES:
        begin, position = position, position + _SIZES[kind]
        if position <= end:
            place = address_text(wire[begin:position])
    elif kind:
        raise MessageFormatError(f"a place of kind {kind}", rule=rule)
    if position > end:
        raise cut_off()
    return place, position


def _write(place: Place, writer: Writer) -> None:
    if isinstance(place, Name):
        writer.plain_name(place)
    elif place is not None:
        writer.out += packed_address(place)


def _parse(kind: int, tokens: Tokens) -> Place:
    """The place that the next word is, which has to be of this kind."""
    place: Place = None
    if kind == _NAME:
        return tokens.name()
    if kind in _SIZES:
        place = _settled(tokens.text())
    elif kind or tokens.text() != ".":
        raise PresentationError("a place of kind 0 is '.', and there are 0 to 3")
    if _kind(place) != kind:
        raise PresentationError(f"{place!r} is no place of kind {kind}")
    return place


def _text(place: Place, origin: Name | None) -> str:
    return place.relative_to(origin) if isinstance(place, Name) else place or "."


class IPSECKEY(Rdata, rdtype=45):
    """A key for IPsec, and the gateway that has it (RFC 4025 §2).

    Attributes:
        precedence: The lowest is tried first.
        algorithm: 0 no key, 1 DSA, 2 RSA, 3 ECDSA.
        gateway: A `Name`, an address as text, or ``None``.
        public_key: Its octets.
    """

    __slots__ = ("algorithm", "gateway", "precedence", "public_key")

    precedence: int
    algorithm: int
    gateway: Place
    public_key: bytes

    def __init__(
        self,
        precedence: int,
        algorithm: int,
        gateway: Place = None,
        public_key: bytes = b"",
    ) -> None:
        if not 0 <= precedence <= 255 or not 0 <= algorithm <= 255:
            raise DNSUsageError("precedence and algorithm are numbers from 0 to 255")
        self.precedence = precedence
        self.algorithm = algorithm
        self.gateway = _settled(gateway)
        self.public_key = bytes(public_key)
        self._wire = None
        self._settle()

    @property
    def gateway_type(self) -> int:
        """0 none, 1 an IPv4 address, 2 an IPv6 address, 3 a name."""
        return _kind(self.gateway)

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The octets, whose second says what the gateway is."""
        if position + 3 > end:
            raise cut_off()
        precedence, kind, algorithm = wire[position : position + 3]
        gateway, position = _read(kind, wire, position + 3, end, names, "RFC 4025 §2.3")
        return cls(precedence, algorithm, gateway, wire[position:end])

    def write(self, writer: Writer) -> None:
        """Append the octets."""
        writer.out += bytes((self.precedence, self.gateway_type, self.algorithm))
        _write(self.gateway, writer)
        writer.out += self.public_key

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """Precedence, kind of gateway, algorithm, gateway, key."""
        precedence, kind, algorithm = (tokens.number(255) for _ in range(3))
        gateway = _parse(kind, tokens)
        key = decoded("".join(tokens.rest()), "base64")
        try:
            return cls(precedence, algorithm, gateway, key)
        except DNSUsageError as error:
            raise PresentationError(str(error)) from None

    def to_text(self, origin: Name | None = None) -> str:
        """Precedence, kind of gateway, algorithm, gateway, key."""
        return (
            f"{self.precedence} {self.gateway_type} {self.algorithm} "
            f"{_text(self.gateway, origin)} {encoded(self.public_key, 'base64')}"
        ).rstrip()

    def __repr__(self) -> str:
        return f"IPSECKEY({self.to_text()!r})"


class AMTRELAY(Rdata, rdtype=260):
    """A relay that multicast traffic of a sender can be had from by unicast (RFC 8777 §4).

    Attributes:
        precedence: The lowest is tried first.
        discovery_optional: Whether the relay may be used without looking for a nearer one.
        relay: A `Name`, an address as text, or ``None``: there is none to be used.
    """

    __slots__ = ("discovery_optional", "precedence", "relay")

    precedence: int
    discovery_optional: bool
    relay: Place

    def __init__(
        self, precedence: int, relay: Place = None, *, discovery_optional: bool = False
    ) -> None:
        if not 0 <= precedence <= 255:
            raise DNSUsageError("a precedence is a number from 0 to 255")
        self.precedence = precedence
        self.discovery_optional = discovery_optional
        self.relay = _settled(relay)
        self._wire = None

    @property
    def relay_type(self) -> int:
        """0 none, 1 an IPv4 address, 2 an IPv6 address, 3 a name."""
        return _kind(self.relay)

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The octets, whose second has a bit of its own, and what the relay is."""
        if position + 2 > end:
            raise cut_off()
        precedence, kind = wire[position : position + 2]
        relay, position = _read(kind & 0x7F, wire, position + 2, end, names, "RFC 8777 §4.2.3")
        if position != end:
            raise MessageFormatError("octets behind the relay", rule="RFC 8777 §4.2.4")
        return cls(precedence, relay, discovery_optional=kind >= 0x80)

    def write(self, writer: Writer) -> None:
        """Append the octets."""
        writer.out += bytes((self.precedence, self.discovery_optional << 7 | self.relay_type))
        _write(self.relay, writer)

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """Precedence, whether discovery is optional, kind of relay, relay."""
        precedence, optional, kind = tokens.number(255), tokens.number(1), tokens.number(127)
        relay = _parse(kind, tokens)
        tokens.expect_end()
        return cls(precedence, relay, discovery_optional=bool(optional))

    def to_text(self, origin: Name | None = None) -> str:
        """Precedence, whether discovery is optional, kind of relay, relay."""
        return (
            f"{self.precedence} {int(self.discovery_optional)} {self.relay_type} "
            f"{_text(self.relay, origin)}"
        )

    def __repr__(self) -> str:
        return f"AMTRELAY({self.to_text()!r})"
