"""Codecs of octets and strings: behind their length, of a fixed size, or to the end of the data.

Source: RFC 1035 §3.3 (character-strings), RFC 4648 (hex, base64, base32hex). Numbers and names
are coded in ``fields.py``, which also has the aliases that declarations are written with.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.presentation import quoted, unescape
from sennit.names.rdata.base import cut_off

if TYPE_CHECKING:
    from sennit.names.name import Name as DomainName
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = [
    "STRING",
    "CharacterString",
    "CharacterStrings",
    "Counted",
    "Fixed",
    "MaybeString",
    "Octets",
    "Rest",
    "TagString",
    "decoded",
    "encoded",
]


class CharacterString:
    """One character-string: a length octet and up to 255 octets (RFC 1035 §3.3)."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes, int]:
        if position >= end:
            raise cut_off()
        behind = position + 1 + wire[position]
        if behind > end:
            raise cut_off()
        return wire[position + 1 : behind], behind

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out.append(len(value))
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        return tokens.string()

    def format(self, value: bytes, origin: DomainName | None) -> str:
        return quoted(value)

    def check(self, value: Any) -> bytes:
        octets = value.encode() if isinstance(value, str) else value
        if not isinstance(octets, bytes) or len(octets) > 255:
            raise DNSUsageError(f"a string of at most 255 octets is needed, not {value!r:.80}")
        return octets


class MaybeString:
    """One character-string, or none at all (``None``), at the end of the data."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes | None, int]:
        return (None, end) if position >= end else STRING.read(wire, position, end, names)

    def write(self, value: bytes | None, writer: Writer) -> None:
        if value is not None:
            STRING.write(value, writer)

    def parse(self, tokens: Tokens) -> bytes | None:
        return None if tokens.at_end else tokens.string()

    def format(self, value: bytes | None, origin: DomainName | None) -> str:
        return "" if value is None else quoted(value)

    def check(self, value: Any) -> bytes | None:
        return None if value is None else STRING.check(value)


class TagString(CharacterString):
    """A character-string that text has without quotes: ASCII letters and digits."""

    def format(self, value: bytes, origin: DomainName | None) -> str:
        return value.decode("ascii")

    def check(self, value: Any) -> bytes:
        octets = super().check(value)
        if not (octets.isascii() and octets.isalnum()):
            raise DNSUsageError(f"letters and digits are needed, not {value!r:.80}")
        return octets


class Rest:
    """Octets to the end of the data; one quoted string in text, however long."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes, int]:
        return wire[position:end], end

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        return unescape(tokens.text())

    def format(self, value: bytes, origin: DomainName | None) -> str:
        return quoted(value)

    def check(self, value: Any) -> bytes:
        octets = value.encode() if isinstance(value, str) else value
        if not isinstance(octets, bytes):
            raise DNSUsageError(f"octets are needed, not {value!r:.80}")
        return octets


class CharacterStrings:
    """One or more character-strings, up to the end of the data."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[tuple[bytes, ...], int]:
        found: list[bytes] = []
        while position < end:
            behind = position + 1 + wire[position]
            if behind > end:
                raise cut_off()
            found.append(wire[position + 1 : behind])
            position = behind
        if not found:
            raise cut_off()
        return tuple(found), position

    def write(self, value: tuple[bytes, ...], writer: Writer) -> None:
        for each in value:
            writer.out.append(len(each))
            writer.out += each

    def parse(self, tokens: Tokens) -> tuple[bytes, ...]:
        found = [tokens.string()]
        while not tokens.at_end:
            found.append(tokens.string())
        return tuple(found)

    def format(self, value: tuple[bytes, ...], origin: DomainName | None) -> str:
        return " ".join(map(quoted, value))

    def check(self, value: Any) -> tuple[bytes, ...]:
        many = (value,) if isinstance(value, str | bytes) else tuple(value)
        if not many:
            raise DNSUsageError("at least one string is needed")
        return tuple(map(STRING.check, many))


class Counted:
    """Octets behind their number; one word in text, in hex or base32hex (RFC 5155 §3.3).

    Args:
        coding: ``hex``, where ``-`` stands for none, or ``base32hex``.
    """

    named = False

    def __init__(self, coding: str) -> None:
        self.coding = coding

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes, int]:
        return STRING.read(wire, position, end, names)

    def write(self, value: bytes, writer: Writer) -> None:
        STRING.write(value, writer)

    def parse(self, tokens: Tokens) -> bytes:
        text = tokens.text()
        if self.coding == "hex" and text == "-":
            return b""
        octets = decoded(text, self.coding)
        if not 0 < len(octets) <= 255:
            raise PresentationError(f"1 to 255 octets are needed, not {len(octets)}")
        return octets

    def format(self, value: bytes, origin: DomainName | None) -> str:
        return encoded(value, self.coding) or "-"

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) > 255:
            raise DNSUsageError(f"at most 255 octets are needed, not {value!r:.80}")
        return value


def decoded(text: str, coding: str) -> bytes:
    """The octets that `text` stands for.

    Args:
        text: Without blanks.
        coding: ``hex``, ``base64`` or ``base32hex`` (without padding, RFC 5155 §3.3).

    Raises:
        PresentationError: It is not so coded.
    """
    try:
        if coding == "hex":
            return bytes.fromhex(text)
        if coding == "base64":
            return base64.b64decode(text, validate=True)
        return base64.b32hexdecode(text + "=" * (-len(text) % 8), casefold=True)
    except (ValueError, binascii.Error):
        raise PresentationError(f"{text[:60]!r} is not {coding}") from None


def encoded(octets: bytes, coding: str) -> str:
    """The text that `decoded` reads."""
    if coding == "hex":
        return octets.hex().upper()
    if coding == "base64":
        return base64.b64encode(octets).decode("ascii")
    return base64.b32hexencode(octets).decode("ascii").rstrip("=")


class Fixed:
    """A number of octets; hexadecimal in text, with something between.

    Args:
        size: Octets.
        group: Digits that stand together.
        between: What stands between groups.
        least: Digits that a group may be written with, zeros before them left out.
    """

    named = False

    def __init__(self, size: int, group: int, between: str, least: int) -> None:
        self.size = size
        self.group = group
        self.between = between
        self.least = least

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes, int]:
        behind = position + self.size
        if behind > end:
            raise cut_off()
        return wire[position:behind], behind

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        text = tokens.text()
        groups = text.split(self.between)
        if len(groups) * self.group != self.size * 2 or any(
            not self.least <= len(each) <= self.group for each in groups
        ):
            raise PresentationError(
                f"{text!r:.60} are not {self.size * 2 // self.group} groups of {self.group} digits"
            )
        return decoded("".join([each.zfill(self.group) for each in groups]), "hex")

    def format(self, value: bytes, origin: DomainName | None) -> str:
        digits = value.hex()
        return self.between.join(
            [digits[at : at + self.group] for at in range(0, len(digits), self.group)]
        )

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != self.size:
            raise DNSUsageError(f"{self.size} octets are needed, not {value!r:.80}")
        return value


class Octets:
    """Octets up to the end of the data, in hex or base64 in text (blanks allowed)."""

    named = False

    def __init__(self, coding: str) -> None:
        self.coding = coding

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, DomainName]
    ) -> tuple[bytes, int]:
        return wire[position:end], end

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += value

    def parse(self, tokens: Tokens) -> bytes:
        return decoded("".join(tokens.rest()), self.coding)

    def format(self, value: bytes, origin: DomainName | None) -> str:
        return encoded(value, self.coding)

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise DNSUsageError(f"octets are needed, not {value!r:.80}")
        return value


STRING: Final = CharacterString()
"""The codec of one character-string."""
