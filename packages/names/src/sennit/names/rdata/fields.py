"""How the fields of record data are coded, on the wire and in presentation form.

A field of a type is annotated with one of the aliases (``preference: Uint16``), which name
the Python type of its value and the codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar

from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.name import Name as DomainName
from sennit.names.name import read_name
from sennit.names.presentation import address_text, packed_address
from sennit.names.rdata.base import cut_off
from sennit.names.rdata.codecs import (
    STRING,
    CharacterStrings,
    Counted,
    Fixed,
    MaybeString,
    Octets,
    Rest,
    TagString,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Base64",
    "CompressedName",
    "CountedBase32",
    "CountedHex",
    "Field",
    "Hex",
    "IPv4",
    "Locator64",
    "LowerName",
    "MaybeText",
    "Mnemonic",
    "Octets6",
    "Octets8",
    "PlainName",
    "RestText",
    "Seconds",
    "Tag",
    "Text",
    "Texts",
    "Timestamp",
    "TypeNumber",
    "Uint8",
    "Uint16",
    "Uint32",
]

T = TypeVar("T")

ALGORITHMS: Final = {
    "RSAMD5": 1,
    "DH": 2,
    "DSA": 3,
    "RSASHA1": 5,
    "NSEC3DSA": 6,
    "NSEC3RSASHA1": 7,
    "RSASHA256": 8,
    "RSASHA512": 10,
    "ECCGOST": 12,
    "ECDSAP256SHA256": 13,
    "ECDSAP384SHA384": 14,
    "ED25519": 15,
    "ED448": 16,
    "INDIRECT": 252,
    "PRIVATEDNS": 253,
    "PRIVATEOID": 254,
}
"""Algorithms of DNSSEC by their mnemonics (RFC 4034 §A.1 and the registry)."""


class Field(Protocol[T]):
    """A codec: how values of a field are read and written."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[T, int]:
        """The value at `position`, and the position behind it; at most up to `end`.

        Raises:
            MessageFormatError: There is none.
        """
        ...

    def write(self, value: T, writer: Writer) -> None:
        """Append the value."""

    def parse(self, tokens: Tokens) -> T:
        """The value that the next token, or all that are left, stand for.

        Raises:
            PresentationError: They stand for none.
        """
        ...

    def format(self, value: T, origin: DomainName | None) -> str:
        """Presentation form of the value."""
        ...

    def check(self, value: Any) -> T:
        """The value, given by a program, as it is kept.

        Raises:
            DNSUsageError: It cannot be one.
        """
        ...


class _Unsigned:
    """A number of `size` octets."""

    named = False

    def __init__(self, size: int) -> None:
        self.size = size
        self.packing = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        self.most = (1 << 8 * size) - 1

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[int, int]:
        behind = position + self.size
        if behind > end:
            raise cut_off()
        return int.from_bytes(wire[position:behind], "big"), behind

    def write(self, value: int, writer: Writer) -> None:
        writer.out += value.to_bytes(self.size, "big")

    def parse(self, tokens: Tokens) -> int:
        return tokens.number(self.most)

    def format(self, value: int, origin: DomainName | None) -> str:
        return str(value)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value <= self.most:
            raise DNSUsageError(f"a number from 0 to {self.most} is needed, not {value!r}")
        return int(value)


class _Seconds(_Unsigned):
    """A time in seconds, which zone files may write with units: ``1h30m``."""

    def parse(self, tokens: Tokens) -> int:
        token = tokens.peek()
        if token is not None and token.text.isdigit():
            return tokens.number(self.most)
        return tokens.seconds()


class _TypeNumber(_Unsigned):
    """The number of a type, by its mnemonic in text."""

    def parse(self, tokens: Tokens) -> int:
        from sennit.names.codes import type_from_text

        return tokens.said(type_from_text)

    def format(self, value: int, origin: DomainName | None) -> str:
        from sennit.names.codes import type_text

        return type_text(value)


class _Name:
    """A domain name.

    Args:
        compressed: Whether it may be compressed when sent (the types of RFC 1035).
        lower: Whether canonical form lower-cases it (RFC 4034 §6.2).
    """

    def __init__(self, *, compressed: bool, lower: bool) -> None:
        self.compressed = compressed
        self.lower = lower

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[DomainName, int]:
        name, behind = read_name(wire, position, names)
        if behind > end:
            raise cut_off()
        return name, behind

    def write(self, value: DomainName, writer: Writer) -> None:
        if self.compressed:
            writer.name(value)
        elif self.lower:
            writer.folded_name(value)
        else:
            writer.plain_name(value)

    def parse(self, tokens: Tokens) -> DomainName:
        return tokens.name()

    def format(self, value: DomainName, origin: DomainName | None) -> str:
        return value.relative_to(origin)

    def check(self, value: Any) -> DomainName:
        if isinstance(value, str):
            return DomainName(value)
        if not isinstance(value, DomainName):
            raise DNSUsageError(f"a name is needed, not {value!r}")
        return value


class _Timestamp(_Unsigned):
    """Seconds since 1970, written as a date (RFC 4034 §3.2)."""

    def parse(self, tokens: Tokens) -> int:
        from datetime import UTC, datetime

        text = tokens.text()
        if not (text.isascii() and text.isdigit() and len(text) in {*range(1, 11), 14}):
            raise PresentationError(f"{text!r:.40} is no time: write YYYYMMDDHHmmSS")
        if len(text) < 14:
            value = int(text)
        else:
            try:
                when = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            except ValueError:
                raise PresentationError(f"{text!r} is no time") from None
            value = int(when.timestamp())
        if not 0 <= value <= self.most:
            raise PresentationError(f"{text!r} is a time before 1970, or after 2106")
        return value

    def format(self, value: int, origin: DomainName | None) -> str:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value, UTC).strftime("%Y%m%d%H%M%S")


class Mnemonic(_Unsigned):
    """A number, for which text may have a word.

    Args:
        size: Its octets.
        words: The words, in capitals, with their numbers.
        spoken: Whether text that is written has them, too.
    """

    def __init__(self, size: int, words: Mapping[str, int], *, spoken: bool = False) -> None:
        super().__init__(size)
        self.words = words
        self.spoken = {number: word for word, number in words.items()} if spoken else {}

    def parse(self, tokens: Tokens) -> int:
        token = tokens.peek()
        number = None if token is None else self.words.get(token.text.upper())
        if number is None:
            return tokens.number(self.most)
        tokens.position += 1
        return number

    def format(self, value: int, origin: DomainName | None) -> str:
        return self.spoken.get(value) or str(value)


class _IPv4:
    """An IPv4 address; its value is text, too."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[str, int]:
        if position + 4 > end:
            raise cut_off()
        return "{}.{}.{}.{}".format(*wire[position : position + 4]), position + 4

    def write(self, value: str, writer: Writer) -> None:
        writer.out += bytes(map(int, value.split(".")))

    def parse(self, tokens: Tokens) -> str:
        return self.check(tokens.text())

    def format(self, value: str, origin: DomainName | None) -> str:
        return value

    def check(self, value: Any) -> str:
        packed = packed_address(value)
        if len(packed) != 4:
            raise PresentationError(f"{value!r:.60} is no IPv4 address")
        return address_text(packed)


Uint8 = Annotated[int, _Unsigned(1)]
"""A number of one octet."""
Uint16 = Annotated[int, _Unsigned(2)]
"""A number of two octets."""
Uint32 = Annotated[int, _Unsigned(4)]
"""A number of four octets."""
Seconds = Annotated[int, _Seconds(4)]
"""A time in seconds, of four octets."""
TypeNumber = Annotated[int, _TypeNumber(2)]
"""The number of a type."""
CompressedName = Annotated[DomainName, _Name(compressed=True, lower=True)]
"""A name in a type of RFC 1035: compressed when sent, lower-cased in canonical form."""
LowerName = Annotated[DomainName, _Name(compressed=False, lower=True)]
"""A name that is never compressed, and lower-cased in canonical form (RFC 4034 §6.2)."""
PlainName = Annotated[DomainName, _Name(compressed=False, lower=False)]
"""A name that is never compressed, and keeps its case in canonical form (RFC 6840 §5.1)."""
Text = Annotated[bytes, STRING]
"""One character-string."""
Texts = Annotated[tuple[bytes, ...], CharacterStrings()]
"""One or more character-strings, to the end of the data."""
MaybeText = Annotated[bytes | None, MaybeString()]
"""One character-string or ``None``, at the end of the data."""
Tag = Annotated[bytes, TagString()]
"""One character-string of letters and digits."""
RestText = Annotated[bytes, Rest()]
"""Octets to the end of the data, one quoted string in text."""
IPv4 = Annotated[str, _IPv4()]
"""An IPv4 address."""
Octets6 = Annotated[bytes, Fixed(6, 2, "-", 2)]
"""Six octets, as EUI-48 addresses are written."""
Octets8 = Annotated[bytes, Fixed(8, 2, "-", 2)]
"""Eight octets, as EUI-64 addresses are written."""
Locator64 = Annotated[bytes, Fixed(8, 4, ":", 1)]
"""Eight octets, in four groups, which Knot reads with all of their zeros alone."""
Timestamp = Annotated[int, _Timestamp(4)]
"""A time in seconds since 1970, of four octets, a date in text."""
CountedHex = Annotated[bytes, Counted("hex")]
"""Up to 255 octets behind their number, hexadecimal in text, ``-`` for none."""
CountedBase32 = Annotated[bytes, Counted("base32hex")]
"""Up to 255 octets behind their number, base32hex in text."""
Algorithm = Annotated[int, Mnemonic(1, ALGORITHMS)]
"""The number of an algorithm of DNSSEC; text may give its mnemonic."""
Hex = Annotated[bytes, Octets("hex")]
"""Octets to the end of the data, hexadecimal in text."""
Base64 = Annotated[bytes, Octets("base64")]
"""Octets to the end of the data, base64 in text."""
