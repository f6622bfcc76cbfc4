"""What records may stand together in a zone, and how many.

A `Draft` is a node while it is put together: its sets by what tells them apart, each its TTL and
its data, by what tells those apart (a dict keeps their order and drops repetitions).

Sources: RFC 1034 §3.6.2, RFC 1035 §5.2, RFC 2181 §10.1, RFC 4035 §2.5 (CNAME alone, beside
what DNSSEC needs), RFC 6672 §2.3, §2.4 (DNAME), RFC 2181 §5.2 (TTLs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from sennit.names.codes import META_TYPES, RRType, type_text
from sennit.names.errors import ZoneError
from sennit.names.name import Name, trusted
from sennit.names.rdata import rdata_from_wire
from sennit.names.zone.node import RRSIG, Node, pack, raw_rdatas, set_id, set_ttl

__all__ = [
    "FROM_OTHERS",
    "Draft",
    "Problem",
    "ZoneLimits",
    "identity",
    "is_within",
    "may_hold",
]

CNAME: Final = int(RRType.CNAME)
DNAME: Final = int(RRType.DNAME)
NS: Final = int(RRType.NS)
SOA: Final = int(RRType.SOA)
NSEC: Final = int(RRType.NSEC)
NSEC3: Final = int(RRType.NSEC3)
KEY: Final = int(RRType.KEY)

_SINGLE: Final = frozenset({CNAME, DNAME, SOA})
"""Types of which a name has one record."""
_BESIDE_CNAME: Final = frozenset({CNAME, NSEC, KEY})
"""Types that may stand beside a CNAME, and RRSIG (RFC 4034 §3, RFC 4035 §2.5)."""
_FOLDED_FROM: Final = {2: 0, 5: 0, 12: 0, 39: 0, 15: 2, 33: 6}
"""Types whose data end in their one name, and where that begins."""
_PLAIN: Final = frozenset(
    int(each)
    for each in (
        RRType.A, RRType.AAAA, RRType.TXT, RRType.DS, RRType.DNSKEY, RRType.TLSA, RRType.RRSIG,
        RRType.NSEC, RRType.NSEC3, RRType.CAA, RRType.SSHFP,
    )
)  # fmt: skip
"""Common types without names in their data whose case canonical form folds (RFC 6840 §5.1)."""

Sets: TypeAlias = dict[int, tuple[int, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class ZoneLimits:
    """How much a zone may hold that somebody else writes (HARDENING dns-13).

    Attributes:
        rrset: Records of one RRset.
        types: RRsets of one name, RRSIGs not counted.
        records: Records of the whole zone.
    """

    rrset: int = 100
    types: int = 100
    records: int = 1_000_000


FROM_OTHERS: Final = ZoneLimits()
"""What zones that come by transfer, and updates, are held to unless told otherwise. Files and
databases are the operator's own: they have no limit, and `sennit.names.zone.check` warns."""


class Problem(NamedTuple):
    """Something that is wrong in a zone, or should be known.

    Attributes:
        text: What, and what is allowed.
        file: Where; empty where it was no file.
        line: Number of the line; 0 where there is none.
    """

    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = (
            f"{self.file}:{self.line}: "
            if self.file and self.line
            else (f"line {self.line}: " if self.line else f"{self.file}: " if self.file else "")
        )
        return where + self.text


def may_hold(origin: Name, wire_key: bytes, rdtype: int) -> None:
    """See that a zone may have records of a type at a name.

    Raises:
        ZoneError: The name is outside, or the type is none of zones.
    """
    if not is_within(wire_key, origin.key):
        raise ZoneError(f"{trusted(wire_key)} is outside the zone {origin}")
    if rdtype in META_TYPES or not 0 < rdtype <= 0xFFFF:
        raise ZoneError(f"{type_text(rdtype)} is no type that a zone holds (RFC 6895 §3.1)")


def is_within(key: bytes, origin: bytes) -> bool:
    """Whether the name of `key` is that of `origin`, or beneath it."""
    if not key.endswith(origin):
        return False
    cut = len(key) - len(origin)
    position = 0
    while position < cut:
        position += 1 + key[position]
    return position == cut


def identity(rdtype: int, rdata: bytes) -> bytes:
    """What tells data of a type apart: their canonical form, where it matters."""
    if rdtype in _PLAIN:
        return rdata
    start = _FOLDED_FROM.get(rdtype)
    if start is not None:
        return rdata[:start] + rdata[start:].lower()
    return rdata_from_wire(rdtype, rdata).canonical


class Draft:
    """A node while it is put together.

    Attributes:
        wire: The owner's octets, case kept.
        sets: (TTL, data) by what tells sets apart.
    """

    __slots__ = ("sets", "wire")

    def __init__(self, wire: bytes, node: Node | None = None) -> None:
        self.wire = wire
        self.sets: Sets = {}
        for each in node.sets if node is not None else ():
            rdtype = each[4] << 8 | each[5]
            self.sets[set_id(each)] = (
                set_ttl(each),
                {identity(rdtype, rdata): rdata for rdata in raw_rdatas(each)},
            )

    def add(self, rdtype: int, ttl: int, rdata: bytes, *, least: bool = True) -> bool:
        """Add a record; whether it is a new one.

        Args:
            rdtype: Its type.
            ttl: Its TTL. The set's becomes the least of its records' (RFC 2181 §5.2), or this
                one where `least` is false (an update's, RFC 2136 §3.4.2.2).
            rdata: Its data, names in full.
            least: See `ttl`.
        """
        which = RRSIG << 16 | rdata[0] << 8 | rdata[1] if rdtype == RRSIG else rdtype
        same = identity(rdtype, rdata)
        found = self.sets.get(which)
        if found is None:
            self.sets[which] = (ttl, {same: rdata})
            return True
        known, rdatas = found
        if ttl != known and (ttl < known or not least):
            self.sets[which] = (ttl, rdatas)
        if same in rdatas:
            return False
        rdatas[same] = rdata
        return True

    def remove(self, rdtype: int, rdata: bytes) -> bool:
        """Take a record away; whether there was one."""
        which = RRSIG << 16 | rdata[0] << 8 | rdata[1] if rdtype == RRSIG else rdtype
        found = self.sets.get(which)
        if found is None or found[1].pop(identity(rdtype, rdata), None) is None:
            return False
        if not found[1]:
            del self.sets[which]
        return True

    def check(self, *, apex: bool, limits: ZoneLimits | None = None) -> str | None:
        """What is wrong with the records that stand here; ``None`` for nothing.

        Args:
            apex: Whether the name is the zone's own.
            limits: How many there may be.
        """
        sets = self.sets
        for which, (_, rdatas) in sets.items():
            if len(rdatas) > 1:
                if which in _SINGLE:
                    return f"{len(rdatas)} {type_text(which)} records; one is allowed"
                if limits is not None and len(rdatas) > limits.rrset:
                    kind = type_text(which & 0xFFFF if which <= 0xFFFF else RRSIG)
                    return f"{len(rdatas)} {kind} records; {limits.rrset} are allowed"
        if not apex and SOA in sets:
            return "SOA at another name than the zone's"
        if len(sets) > 1:
            types = [each for each in sets if each <= 0xFFFF]
            if CNAME in sets:
                others = [type_text(each) for each in types if each not in _BESIDE_CNAME]
                if others:
                    return f"CNAME and other data ({', '.join(sorted(others)[:4])})"
            if DNAME in sets and NS in sets and not apex:
                return "DNAME and NS at a name that is not the zone's (RFC 6672 §2.3)"
            if limits is not None and len(types) > limits.types:
                return f"{len(types)} types of records; {limits.types} are allowed"
        return None

    def node(self, rdclass: int) -> Node:
        """The node that it has become."""
        return Node(
            self.wire,
            tuple(
                pack(which if which <= 0xFFFF else RRSIG, rdclass, ttl, rdatas.values())
                for which, (ttl, rdatas) in self.sets.items()
            ),
        )
