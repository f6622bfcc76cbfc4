"""Type bitmaps: which types a name has, as NSEC, NSEC3 and CSYNC say it (RFC 4034 §4.1.2).

The value is a tuple of type numbers in ascending order. Windows that are out of order, empty
or end in a zero octet are refused, so that each set has one form on the wire.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

from sennit.names.codes import type_from_text, type_text
from sennit.names.errors import DNSUsageError, MessageFormatError

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["Types", "bitmap_of", "types_of"]

_RULE: Final = "RFC 4034 §4.1.2"
_SMALL: Final = 48
"""Octets of a bitmap that is worth remembering: answers repeat them, and they are small."""
_BITS: Final = tuple(tuple(bit for bit in range(8) if octet & 0x80 >> bit) for octet in range(256))


def types_of(bitmap: bytes) -> tuple[int, ...]:
    """The types that a bitmap's octets stand for.

    Raises:
        MessageFormatError: They are no bitmap.
    """
    return _remembered(bitmap) if len(bitmap) <= _SMALL else _types(bitmap)


def _types(bitmap: bytes) -> tuple[int, ...]:
    found: list[int] = []
    position, size, last = 0, len(bitmap), -1
    while position < size:
        window = bitmap[position]
        length = bitmap[position + 1] if position + 1 < size else 0
        behind = position + 2 + length
        if window <= last or not 0 < length <= 32 or behind > size or not bitmap[behind - 1]:
            raise MessageFormatError("a type bitmap that is none", rule=_RULE)
        last = window
        base = window << 8
        for octet in bitmap[position + 2 : behind]:
            if octet:
                found += [base + bit for bit in _BITS[octet]]
            base += 8
        position = behind
    return tuple(found)


_remembered = lru_cache(maxsize=512)(_types)


def bitmap_of(types: tuple[int, ...]) -> bytes:
    """The octets of a bitmap; `types` ascend."""
    out = bytearray()
    window, bits = -1, bytearray()
    for each in types:
        if each >> 8 != window:
            if bits:
                out += bytes((window, len(bits))) + bits
            window, bits = each >> 8, bytearray()
        octet = (each & 0xFF) >> 3
        if octet >= len(bits):
            bits += bytes(octet + 1 - len(bits))
        bits[octet] |= 0x80 >> (each & 7)
    if bits:
        out += bytes((window, len(bits))) + bits
    return bytes(out)


class _Types:
    """A bitmap, up to the end of the data; mnemonics in text, up to the end of the entry."""

    named = False

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[tuple[int, ...], int]:
        return types_of(wire[position:end]), end

    def write(self, value: tuple[int, ...], writer: Writer) -> None:
        writer.out += bitmap_of(value)

    def parse(self, tokens: Tokens) -> tuple[int, ...]:
        return tuple(sorted({type_from_text(each) for each in tokens.rest()}))

    def format(self, value: tuple[int, ...], origin: Name | None) -> str:
        return " ".join(map(type_text, value))

    def check(self, value: Any) -> tuple[int, ...]:
        types = sorted({int(each) for each in value})
        if types and not 0 <= types[0] <= types[-1] <= 0xFFFF:
            raise DNSUsageError("types are numbers from 0 to 65535")
        return tuple(types)


Types = Annotated[tuple[int, ...], _Types()]
"""Numbers of types, ascending, as a bitmap to the end of the data."""
