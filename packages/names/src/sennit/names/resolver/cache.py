"""The resolver's cache: what was learnt, until its time is over, and never more than fits.

Entries are found by name and type, aliases and absences in their place. Time is passed in, in
seconds. What is past its end is found by `Cache.stale` alone, and is thrown away when it is
past that, too. When there is no room, what was used longest ago goes first.

Sources: RFC 1034 §4.3.4, RFC 2181 §5 (ranking, TTLs), RFC 2308 (absences), RFC 8020 (nothing is
beneath a name that does not exist), RFC 8767 (stale data), RFC 9520 (failures).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from sennit.names.codes import type_text
from sennit.names.dnssec.verdict import Security
from sennit.names.message import Record
from sennit.names.resolver.entries import CNAME_TYPE, DNAME_TYPE, Delegation, Entry, Kind
from sennit.names.resolver.limits import ResolverLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.names.name import Name

__all__ = ["Cache"]

FAILED: Final = 0x10000
"""Added to a type: the place of failures, beside the stale data that they are no reason to lose."""
ABSENT: Final = 0x20000
"""In a type's place: the name does not exist."""
DELEGATED: Final = 0x20001
"""In a type's place: the servers of the zone that begins at the name."""

_ENTRY: Final = 700
_RDATA: Final = 260
_RECORD: Final = 760
"""Octets that objects take besides what they hold, measured on CPython 3.11."""

Key = tuple[bytes, int]


class Cache:
    """Answers, absences, failures and delegations.

    Args:
        limits: How much is kept, and how long.

    Attributes:
        octets: What it takes, estimated.
        hits: How often something was found.
        misses: How often somebody else had to be asked; counted by who asks.
        evicted: Entries that went for want of room.
        refused: Entries that were too large, or one type too many of their name.
    """

    def __init__(self, limits: ResolverLimits | None = None) -> None:
        self._limits = limits or ResolverLimits()
        self._kept: OrderedDict[Key, Entry | Delegation] = OrderedDict()
        self._types: dict[bytes, tuple[int, ...]] = {}
        self._dnames = 0
        self.octets = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0
        self.refused = 0

    def __len__(self) -> int:
        """How many entries it has, those past their end included."""
        return len(self._kept)

    # ── in ────────────────────────────────────────────────────────────────────

    def put(self, entry: Entry, now: float) -> Entry:
        """Keep an entry, its time cut to what the limits say.

        Returns:
            The entry that is kept: the old one, where that is to be believed more.
        """
        limits = self._limits
        if entry.kind is Kind.FAILURE:
            life = limits.failure_ttl
            place = FAILED + entry.rdtype
        elif entry.kind is Kind.NXDOMAIN:
            life = min(entry.ttl, limits.max_negative_ttl, limits.max_ttl)
            place = ABSENT
        else:
            most = limits.max_negative_ttl if entry.kind is Kind.NODATA else limits.max_ttl
            life = min(max(entry.ttl, limits.min_ttl), most, limits.max_ttl)
            place = entry.rdtype
        entry.expires = now + life
        key = (entry.name.key, place)
        old = self._kept.get(key)
        if (
            isinstance(old, Entry)
            and old.expires > now
            and old.rank > entry.rank
            and old.security is not Security.BOGUS
        ):
            return old
        if life <= 0:
            return entry
        entry.size = _size(entry)
        if not self._keep(key, entry):
            return entry
        if entry.kind is Kind.NXDOMAIN:
            for rdtype in self._types.get(entry.name.key, ()):
                if rdtype < FAILED and not self._is_secure((entry.name.key, rdtype), now):
                    self._drop((entry.name.key, rdtype))
        elif entry.kind in (Kind.RECORDS, Kind.NODATA):
            self._drop((entry.name.key, ABSENT))
            self._drop((entry.name.key, FAILED + entry.rdtype))
        return entry

    def _is_secure(self, key: Key, now: float) -> bool:
        """Whether an entry is proven, which an absence that nobody has validated yet is not."""
        entry = self._kept.get(key)
        return (
            isinstance(entry, Entry) and entry.security is Security.SECURE and entry.expires > now
        )

    def put_delegation(
        self, delegation: Delegation, now: float, until: float | None = None
    ) -> None:
        """Keep what a parent says of a zone's servers.

        Args:
            delegation: It.
            now: The time.
            until: When it ends at the latest.
        """
        delegation.expires = now + min(max(delegation.ttl, 1), self._limits.max_ttl)
        if until is not None:
            delegation.expires = min(delegation.expires, until)
        delegation.size = (
            _ENTRY
            + sum(200 + 2 * len(each.wire) for each in delegation.servers)
            + sum(120 * (1 + len(each)) for each in delegation.glue.values())
        )
        self._keep((delegation.zone.key, DELEGATED), delegation)

    def _keep(self, key: Key, entry: Entry | Delegation) -> bool:
        name, place = key
        limits = self._limits
        self._drop(key)
        if entry.size > limits.cache_octets:
            self.refused += 1
            return False
        types = self._types.get(name, ())
        if len(types) >= limits.types:
            # Whoever asks for odd types of a name keeps nobody from its addresses.
            self.refused += 1
            self._drop((name, types[0]))
            types = types[1:]
        self._kept[key] = entry
        self._types[name] = (*types, place)
        self.octets += entry.size
        if place == DNAME_TYPE:
            self._dnames += 1
        while len(self._kept) > limits.cache_entries or self.octets > limits.cache_octets:
            self.evicted += 1
            self._drop(next(iter(self._kept)))
        return True

    def _drop(self, key: Key) -> None:
        entry = self._kept.pop(key, None)
        if entry is None:
            return
        name, place = key
        self.octets -= entry.size
        if place == DNAME_TYPE:
            self._dnames -= 1
        left = tuple(each for each in self._types[name] if each != place)
        if left:
            self._types[name] = left
        else:
            del self._types[name]

    # ── out ───────────────────────────────────────────────────────────────────

    def get(self, name: Name, rdtype: int, now: float) -> Entry | None:
        """The entry of a name and type, or of the name's absence; not what stands in its place."""
        key = name.key
        return self._fresh((key, rdtype), now) or self._absence(key, rdtype, now)

    def find(self, name: Name, rdtype: int, now: float) -> Entry | None:
        """What is known in answer to a question: records, alias, absence or failure.

        Args:
            name: What is asked for.
            rdtype: Its type.
            now: The time.
        """
        entry = self._find(name, rdtype, now)
        if entry is not None:
            self.hits += 1
            entry.hits += 1
        return entry

    def _find(self, name: Name, rdtype: int, now: float) -> Entry | None:
        key = name.key
        types = self._types.get(key)
        if types is not None:
            entry = self._fresh((key, rdtype), now)
            if entry is not None:
                return entry
            if rdtype != CNAME_TYPE:
                entry = self._fresh((key, CNAME_TYPE), now)
                if entry is not None and entry.kind is Kind.RECORDS:
                    return entry
            entry = self._absence(key, rdtype, now) or self._fresh((key, FAILED + rdtype), now)
            if entry is not None:
                return entry
        return self._above(name, now)

    def _absence(self, key: bytes, rdtype: int, now: float) -> Entry | None:
        """The absence of a name; one that is bogus is so for the type it came for alone.

        RFC 4035 §4.7: what is bad is kept by name, type and class.
        """
        entry = self._fresh((key, ABSENT), now)
        if entry is not None and entry.security is Security.BOGUS and entry.rdtype != rdtype:
            return None
        return entry

    def has_failed(self, name: Name, rdtype: int, now: float) -> bool:
        """Whether nobody could be asked a moment ago."""
        return self._fresh((name.key, FAILED + rdtype), now) is not None

    def _above(self, name: Name, now: float) -> Entry | None:
        """A DNAME above the name, or an ancestor that is proved not to exist (RFC 8020)."""
        wire = name.key
        types = self._types
        while (length := wire[0]) and len(wire) > 2:
            wire = wire[1 + length :]
            known = types.get(wire)
            if known is None:
                continue
            if self._dnames and DNAME_TYPE in known:
                entry = self._fresh((wire, DNAME_TYPE), now)
                if entry is not None and entry.kind is Kind.RECORDS:
                    return entry
            if ABSENT in known:
                entry = self._fresh((wire, ABSENT), now)
                if entry is not None and entry.security is Security.SECURE:
                    return entry
        return None

    def _fresh(self, key: Key, now: float) -> Entry | None:
        entry = self._kept.get(key)
        if not isinstance(entry, Entry):
            return None
        if entry.expires > now:
            self._kept.move_to_end(key)
            return entry
        if entry.expires + self._limits.stale <= now or (key[1] >= FAILED and key[1] != ABSENT):
            self._drop(key)
        return None

    def stale(self, name: Name, rdtype: int, now: float) -> Entry | None:
        """What was known until not long ago, for when nobody can be asked (RFC 8767)."""
        key = name.key
        for place in (rdtype, CNAME_TYPE, ABSENT):
            entry = self._kept.get((key, place))
            if (
                isinstance(entry, Entry)
                and entry.expires + self._limits.stale > now
                and entry.security is not Security.BOGUS
                and (place != CNAME_TYPE or rdtype == CNAME_TYPE or entry.kind is Kind.RECORDS)
            ):
                return entry
        return None

    def delegation(self, name: Name, now: float) -> Delegation | None:
        """The deepest delegation known on the way to a name."""
        wire = name.key
        kept = self._kept
        while True:
            found = kept.get((wire, DELEGATED))
            if isinstance(found, Delegation):
                if found.expires > now:
                    kept.move_to_end((wire, DELEGATED))
                    return found
                self._drop((wire, DELEGATED))
            length = wire[0]
            if not length:
                return None
            wire = wire[1 + length :]

    # ── operators ─────────────────────────────────────────────────────────────

    def flush(self, name: Name) -> int:
        """Forget all that is known of a name; how many entries went."""
        types = self._types.get(name.key, ())
        for place in types:
            self._drop((name.key, place))
        return len(types)

    def flush_zone(self, zone: Name) -> int:
        """Forget all that is known of a name and of what is beneath it; how many entries went."""
        from sennit.names.name import trusted

        suffix = zone.key
        keys = [
            key for key in self._kept if key[0].endswith(suffix) and trusted(key[0]).is_below(zone)
        ]
        for key in keys:
            self._drop(key)
        return len(keys)

    def drop_delegation(self, zone: Name) -> None:
        """Forget a zone's servers."""
        self._drop((zone.key, DELEGATED))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._types.clear()
        self._dnames = 0
        self.octets = 0

    def statistics(self) -> dict[str, int]:
        """Counts, by name."""
        return {
            "entries": len(self._kept),
            "octets": self.octets,
            "hits": self.hits,
            "misses": self.misses,
            "evicted": self.evicted,
            "refused": self.refused,
        }

    def dump(self, now: float) -> Iterator[str]:
        """Line by line what is known, in presentation form; comments say what is no record."""
        for (_, place), entry in self._kept.items():
            if isinstance(entry, Delegation):
                yield f"; {entry.zone} is served by {' '.join(map(str, entry.servers))}"
                for server, addresses in entry.glue.items():
                    yield f";   glue {server} {' '.join(addresses)}"
                continue
            left = int(entry.expires - now)
            note = f"; {left} s, {entry.rank.name.lower()}, {entry.security.name.lower()}"
            if entry.kind is Kind.RECORDS:
                for rdata in entry.rdatas:
                    yield f"{Record(entry.name, entry.rdtype, max(left, 0), rdata)} {note}"
            else:
                what = "" if place == ABSENT else f" {type_text(entry.rdtype)}"
                yield f"; {entry.name}{what} {entry.kind.name} {entry.text}{note}"


def _size(entry: Entry) -> int:
    return (
        _ENTRY
        + 2 * len(entry.name.wire)
        + sum(_RDATA + 2 * len(each.wire) for each in entry.rdatas)
        + sum(_RDATA + 2 * len(each.wire) for each in entry.signatures)
        + sum(_RECORD + 2 * len(each.rdata.wire) for each in entry.authority)
    )
