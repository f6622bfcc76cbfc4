"""A name of a zone and its records, packed.

A zone may have millions of records, of which few are looked at; so each RRset is one `bytes`
object, and becomes a `RRset` when somebody wants to see it. What is kept is what is sent: the
records as they stand in an answer whose question is their owner's name, at octet 12 of the
message, with the names in their data in full. A plain answer is thus a piece of the zone,
copied.

A packed set: the number of records (two octets), then for each record ``C0 0C``, type, class,
TTL, length, data. RRSIGs are one set for each type that they cover (RFC 4035 §2.2).

Sources: RFC 1035 §4.1.3, §4.1.4 (the pointer), RFC 2181 §5.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.names.message import RRset
from sennit.names.name import Name, trusted
from sennit.names.rdata import rdata_from_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Node", "pack", "pack_one", "raw_rdatas", "set_id", "set_ttl", "unpack"]

POINTER: Final = b"\xc0\x0c"
"""A name that is the question's."""
RRSIG: Final = 46
_FIXED: Final = Struct(">HHHIH")
_COUNT: Final = Struct(">H")
_RRSIG_OCTETS: Final = RRSIG.to_bytes(2, "big")


def pack(rdtype: int, rdclass: int, ttl: int, rdatas: Iterable[bytes]) -> bytes:
    """A packed set of these data."""
    head = _FIXED.pack(0xC00C, rdtype, rdclass, ttl, 0)[:-2]
    parts = [b""]
    for rdata in rdatas:
        parts += (head, len(rdata).to_bytes(2, "big"), rdata)
    parts[0] = _COUNT.pack((len(parts) - 1) // 3)
    return b"".join(parts)


def pack_one(rdtype: int, rdclass: int, ttl: int, rdata: bytes) -> bytes:
    """A packed set of one record."""
    return b"\0\1" + _FIXED.pack(0xC00C, rdtype, rdclass, ttl, len(rdata)) + rdata


def set_id(packed: bytes) -> int:
    """What tells the sets of a node apart: the type; of RRSIGs 46 << 16 and the type covered."""
    rdtype = packed[4] << 8 | packed[5]
    return RRSIG << 16 | packed[14] << 8 | packed[15] if rdtype == RRSIG else rdtype


def set_ttl(packed: bytes) -> int:
    """The TTL of a set's records."""
    return int.from_bytes(packed[8:12], "big")


def raw_rdatas(packed: bytes) -> Iterator[bytes]:
    """The data of each record, names in full."""
    position, size = 12, len(packed)
    while position < size:
        behind = position + 2 + (packed[position] << 8 | packed[position + 1])
        yield packed[position + 2 : behind]
        position = behind + 10


def unpack(name: Name, packed: bytes) -> RRset:
    """A packed set as an `RRset` of `name`."""
    _, rdtype, rdclass, ttl, _ = _FIXED.unpack_from(packed, 2)
    return RRset(
        name, rdtype, ttl, [rdata_from_wire(rdtype, each) for each in raw_rdatas(packed)], rdclass
    )


class Node:
    """A name and its records; nobody changes one after it was made.

    A name without records, beneath which others have some, is an empty non-terminal
    (RFC 4592 §2.2.2).

    Attributes:
        wire: The owner's octets, case kept.
        sets: Its sets, packed.
    """

    __slots__ = ("sets", "wire")

    def __init__(self, wire: bytes, sets: tuple[bytes, ...] = ()) -> None:
        self.wire = wire
        self.sets = sets

    @property
    def name(self) -> Name:
        """The owner."""
        return trusted(self.wire)

    @property
    def rrsets(self) -> dict[int, RRset]:
        """Its RRsets by type, made for the caller; without RRSIGs."""
        name = self.name
        return {
            each[4] << 8 | each[5]: unpack(name, each)
            for each in self.sets
            if each[4:6] != _RRSIG_OCTETS
        }

    @property
    def signatures(self) -> dict[int, RRset]:
        """Its RRSIGs by the type that they cover, made for the caller."""
        name = self.name
        return {
            each[14] << 8 | each[15]: unpack(name, each)
            for each in self.sets
            if each[4:6] == _RRSIG_OCTETS
        }

    @property
    def types(self) -> frozenset[int]:
        """The types that it has, RRSIG among them."""
        return frozenset(each[4] << 8 | each[5] for each in self.sets)

    def packed(self, rdtype: int) -> bytes | None:
        """The packed set of a type that is not RRSIG."""
        octets = rdtype.to_bytes(2, "big")
        for each in self.sets:
            if each[4:6] == octets:
                return each
        return None

    def packed_signatures(self, covered: int) -> bytes | None:
        """The packed RRSIGs of a type."""
        octets = covered.to_bytes(2, "big")
        for each in self.sets:
            if each[4:6] == _RRSIG_OCTETS and each[14:16] == octets:
                return each
        return None

    def get(self, rdtype: int) -> RRset | None:
        """The RRset of a type that is not RRSIG."""
        packed = self.packed(rdtype)
        return None if packed is None else unpack(self.name, packed)

    def get_signatures(self, covered: int) -> RRset | None:
        """The RRSIGs of a type."""
        packed = self.packed_signatures(covered)
        return None if packed is None else unpack(self.name, packed)

    def all_sets(self) -> Iterator[RRset]:
        """Each set, RRSIGs too, in stored order."""
        name = self.name
        for each in self.sets:
            yield unpack(name, each)

    def __bool__(self) -> bool:
        """Whether it has records."""
        return bool(self.sets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return (
            self.wire.lower() == other.wire.lower()
            and self.rrsets == other.rrsets
            and self.signatures == other.signatures
        )

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets

    def __repr__(self) -> str:
        return f"<Node {self.name} {sorted(self.types)}>"
