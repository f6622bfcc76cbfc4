"""A zone as it would be: changes that are worked out, and not made yet.

A `View` lies over a zone, or over another view; what is put into it is seen through it, and
what is beneath stays as it is. `View.changes` tells the difference, `View.commit` hands it to
the view beneath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRType
from sennit.names.errors import DNSUsageError
from sennit.names.message import Record, RRset
from sennit.names.transfer.serial import advance, serial_of, with_serial
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata
    from sennit.names.zone.zone import Zone

__all__ = ["View"]

_SOA: Final = int(RRType.SOA)


class View:
    """A zone with changes over it. RRSIGs are not seen, and stay as they are.

    Args:
        beneath: The zone, or another view of it.

    Attributes:
        origin: The zone's name.
        rdclass: Its class.
    """

    __slots__ = ("_beneath", "_names", "_touched", "origin", "rdclass")

    def __init__(self, beneath: Zone | View) -> None:
        self.origin: Name = beneath.origin
        self.rdclass: int = beneath.rdclass
        self._beneath = beneath
        self._names: dict[bytes, dict[int, RRset]] = {}
        self._touched: dict[tuple[bytes, int], Name] = {}

    def rrsets(self, name: Name) -> dict[int, RRset]:
        """The RRsets of a name, by type. Not to be changed."""
        found = self._names.get(name.key)
        return self._below(name) if found is None else found

    def _below(self, name: Name) -> dict[int, RRset]:
        beneath = self._beneath
        if isinstance(beneath, View):
            return beneath.rrsets(name)
        node = beneath.nodes.get(name.key)
        return {} if node is None else node.rrsets

    def get(self, name: Name, rdtype: int) -> RRset | None:
        """The RRset of a name and type."""
        return self.rrsets(name).get(rdtype)

    @property
    def soa(self) -> Record:
        """The SOA record."""
        found = self.get(self.origin, _SOA)
        assert found is not None  # a zone without one is none
        return found.records()[0]

    @property
    def serial(self) -> int:
        """The version."""
        return serial_of(self.soa)

    def put(self, name: Name, rdtype: int, ttl: int, rdatas: list[Rdata]) -> None:
        """Give a name these records of a type, in the place of those it has; none for none."""
        sets = self._names.get(name.key)
        if sets is None:
            sets = self._names[name.key] = dict(self._below(name))
        if rdatas:
            sets[rdtype] = RRset(name, rdtype, ttl, rdatas, self.rdclass)
        else:
            sets.pop(rdtype, None)
        self._touched[name.key, rdtype] = name

    def add(self, record: Record) -> None:
        """Add a record; those of its type that are there get its TTL (RFC 2136 §3.4.2.2)."""
        there = self.get(record.name, record.rdtype)
        rdatas = [] if there is None else [each for each in there.rdatas if each != record.rdata]
        self.put(record.name, record.rdtype, record.ttl, [*rdatas, record.rdata])

    def remove(self, name: Name, rdata: Rdata) -> None:
        """Take a record away, whatever its TTL; none is harmless."""
        there = self.get(name, rdata.rdtype)
        if there is not None and rdata in there.rdatas:
            left = [each for each in there.rdatas if each != rdata]
            self.put(name, rdata.rdtype, there.ttl, left)

    def set_serial(self, serial: int) -> None:
        """Make it another version."""
        soa = with_serial(self.soa, serial)
        self.put(self.origin, _SOA, soa.ttl, [soa.rdata])

    def changes(self) -> Changes:
        """What goes and what comes; SOAs first, and the serial moved on where it was not."""
        changes = self._difference()
        if not changes.removed and not changes.added:
            return changes
        if self.serial == serial_of(_soa_beneath(self._beneath)):
            self.set_serial(advance(self.serial))
            changes = self._difference()
        return changes

    def _difference(self) -> Changes:
        removed: list[Record] = []
        added: list[Record] = []
        order = sorted(self._touched, key=lambda each: each[1] != _SOA)
        for key, rdtype in order:
            name = self._touched[key, rdtype]
            old = self._below(name).get(rdtype)
            new = self._names[key].get(rdtype)
            before: set[Rdata] = set() if old is None else set(old.rdatas)
            behind: set[Rdata] = set() if new is None else set(new.rdatas)
            moved = old is not None and new is not None and old.ttl != new.ttl
            if old is not None:
                removed += [
                    Record(old.name, rdtype, old.ttl, each, old.rdclass)
                    for each in old.rdatas
                    if moved or each not in behind
                ]
            if new is not None:
                added += [
                    Record(name, rdtype, new.ttl, each, new.rdclass)
                    for each in new.rdatas
                    if moved or each not in before
                ]
        return Changes(removed, added)

    def commit(self) -> None:
        """Hand what was changed to the view beneath.

        Raises:
            DNSUsageError: Beneath is the zone, which takes `changes`.
        """
        beneath = self._beneath
        if not isinstance(beneath, View):
            raise DNSUsageError("a zone is changed by what `changes` gives")
        beneath._names.update(self._names)
        beneath._touched.update(self._touched)


def _soa_beneath(beneath: Zone | View) -> Record:
    return beneath.soa
