"""Records of a zone that comes in, kept until all have come, then made a zone of.

While they come they are octets, each record a piece: what makes objects of a million names, and
has the collector look through them again and again, holds up a loop for longer than anybody should
wait. `Gathered.zone` does that, in a thread.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.names.zone.builder import Builder
from sennit.names.zone.files import resting_collector

if TYPE_CHECKING:
    from sennit.names.message import Record
    from sennit.names.name import Name
    from sennit.names.zone.rules import ZoneLimits
    from sennit.names.zone.zone import Zone

__all__ = ["Gathered"]

_FIXED: Final = Struct(">BHI")
"""Octets of the owner's name, type, TTL."""


class Gathered:
    """Records in the order in which they came."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, record: Record) -> None:
        """Keep a record."""
        wire = record.name.wire
        head = _FIXED.pack(len(wire), record.rdtype, record.ttl)
        self._pieces.append(b"".join((head, wire, record.rdata.wire)))

    def zone(self, origin: Name, limits: ZoneLimits) -> Zone:
        """The zone that they are; nothing is kept. It takes its time: call it in a thread.

        Raises:
            ZoneError: They are none.
        """
        zones: list[Zone] = []
        with resting_collector(zones):
            builder = Builder(origin, limits=limits)
            self._pieces.reverse()
            while self._pieces:
                piece = self._pieces.pop()
                size, rdtype, ttl = _FIXED.unpack_from(piece)
                behind = _FIXED.size + size
                wire = piece[_FIXED.size : behind]
                builder.add(wire, wire.lower(), rdtype, ttl, piece[behind:])
            zones.append(builder.finish())
        return zones[0]
