"""Octets of a message as they are put together: the writer, which compresses names.

A `Writer` remembers where each name it wrote stands, by the octets of its lower case, so that
one that ends alike becomes a pointer (RFC 1035 §4.1.4). The names of record data are compressed
in the types of RFC 1035 alone (RFC 3597 §4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sennit.names.name import Name

__all__ = ["Writer"]

_REACH: Final = 0x4000
"""Positions from here on no pointer reaches."""


class Writer:
    """A message under construction.

    Attributes:
        out: Its octets so far. Fields may append to it.
        names: Positions of names, by the octets of their lower case.
    """

    __slots__ = ("names", "out")

    out: bytearray
    names: dict[bytes, int]

    def __init__(self) -> None:
        self.out = bytearray()
        self.names = {}

    def name(self, name: Name) -> None:
        """Append a name, as a pointer where it can be one."""
        key, names, out = name.key, self.names, self.out
        known = names.get(key)
        if known is not None:
            out += (0xC000 | known).to_bytes(2, "big")
            return
        here, position, suffix = len(out), 0, key
        while length := suffix[0]:
            if here + position < _REACH:
                names[suffix] = here + position
            position += 1 + length
            suffix = key[position:]
            known = names.get(suffix)
            if known is not None:
                out += name.wire[:position]
                out += (0xC000 | known).to_bytes(2, "big")
                return
        out += name.wire

    def plain_name(self, name: Name) -> None:
        """Append a name in full, which later ones do not point to."""
        self.out += name.wire

    def folded_name(self, name: Name) -> None:
        """Append a name in full, whose case canonical form does not keep (RFC 4034 §6.2)."""
        self.out += name.wire
