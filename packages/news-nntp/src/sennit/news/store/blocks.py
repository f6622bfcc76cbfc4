"""How the file keeps the overview: lines ready-made, 32 numbers of a group in a row.

A range of the overview is then a few rows whose octets are joined; what a reader asks for costs
what is given, whatever the group has besides. Numbers begin a block where their lowest five bits
are nought. A block has its articles as numbers of 64 bits, in which the lowest five bits are those
of the number in the group and the rest is the article's row; and its lines, in the same order.

Rows of blocks are called by the group's key and the upper bits of the number (`block_of`), so that
those of a group lie together. The place of an article in a group is one number, too (`place_of`).

Only arithmetic and octets here: no database.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BITS",
    "LOW",
    "block_of",
    "blocks_of",
    "cut",
    "first_number",
    "key_of",
    "line_at",
    "pack",
    "place_of",
    "unpack",
    "unplace",
    "with_line",
]

BITS: Final = 5
"""Bits of a number that say where in its block it is; 32 lines are about 8 KiB."""
LOW: Final = (1 << BITS) - 1
_NUMBER_BITS: Final = 31  # RFC 3977 §6
_UPPER: Final = _NUMBER_BITS - BITS


def block_of(key: int, number: int) -> int:
    """Give the row in which a number of a group is."""
    return key << _UPPER | number >> BITS


def key_of(block: int) -> int:
    """Give the key of the group that a row is of."""
    return block >> _UPPER


def blocks_of(key: int) -> tuple[int, int]:
    """Give the first and the last row that a group can have."""
    return key << _UPPER, (key + 1 << _UPPER) - 1


def first_number(block: int) -> int:
    """Give the lowest number that a row can have."""
    return (block & (1 << _UPPER) - 1) << BITS


def place_of(key: int, number: int) -> int:
    """Give a group's key and a number as one."""
    return key << _NUMBER_BITS | number


def unplace(place: int) -> tuple[int, int]:
    """Undo `place_of`."""
    return place >> _NUMBER_BITS, place & (1 << _NUMBER_BITS) - 1


def pack(numbers: Sequence[int]) -> bytes:
    """Make octets of numbers."""
    return struct.pack(f">{len(numbers)}Q", *numbers)


def unpack(octets: bytes) -> tuple[int, ...]:
    """Undo `pack`."""
    return struct.unpack(f">{len(octets) >> 3}Q", octets)


def line_at(lines: bytes, number: int) -> bytes | None:
    """Give the fields behind a number, without CRLF."""
    begin = b"%d\t" % number
    if lines.startswith(begin):
        at = 0
    else:
        at = lines.find(b"\r\n" + begin) + 2
        if at < 2:
            return None
    return lines[at + len(begin) : lines.index(b"\r\n", at)]


def with_line(lines: bytes, number: int, fields: bytes) -> bytes:
    """Write other fields behind a number that is there."""
    begin = b"\r\n%d\t" % number
    before, found, behind = (b"\r\n" + lines).partition(begin)
    assert found  # a number is in the row in which its place says it is
    return b"".join((before, begin, fields, behind[behind.index(b"\r\n") :]))[2:]


def cut(lines: bytes, low: int, high: int) -> bytes:
    """Give those lines whose numbers are in a range."""
    begin = _begin_of(lines, low, 0)
    return lines[begin : _begin_of(lines, high + 1, begin)]


def _begin_of(lines: bytes, number: int, begin: int) -> int:
    """Give where the first line begins that has a number or a higher one, from a line on."""
    # Halved by octets: to read the numbers of all 32 lines costs ten times as much.
    end = len(lines)
    while begin < end:
        at = lines.rfind(b"\n", begin, (begin + end) >> 1) + 1 or begin
        if int(lines[at : lines.index(b"\t", at)]) < number:
            begin = lines.index(b"\n", at) + 1
        else:
            end = at
    return begin
