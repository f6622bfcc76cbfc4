"""A zone in memory: its names, and changes of it that are made whole or not at all.

`Zone.nodes` has a `Node` for each name with records and for each empty non-terminal, by the
name's octets in lower case. Nodes are replaced, never changed, so `Zone.snapshot` is the nodes
as they are, which the zone copies before its next change.

Sources: RFC 1034 §4.2 (zones), RFC 1982 (serials), RFC 2136 §3.4.2 (what a change does),
RFC 4592 §2.2.2 (empty non-terminals).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from sennit.names.codes import class_text
from sennit.names.errors import ZoneError
from sennit.names.message import Record
from sennit.names.name import Name, trusted
from sennit.names.zone.chain import Chain, sort_key
from sennit.names.zone.data import IZoneData
from sennit.names.zone.layer import Layer
from sennit.names.zone.node import Node, unpack
from sennit.names.zone.rules import DNAME, NS, SOA, Draft, ZoneLimits, may_hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping

    from sennit.names.message import RRset

__all__ = ["Changes", "Zone", "type_order"]


@dataclass(slots=True)
class Changes:
    """A difference between two versions of a zone; removals come first.

    Attributes:
        removed: Records that are no more; their TTLs do not count.
        added: Records that are new. An SOA takes the place of the old one, removed or not.
    """

    removed: list[Record] = field(default_factory=list[Record])
    added: list[Record] = field(default_factory=list[Record])

    def inverse(self) -> Changes:
        """What undoes it."""
        return Changes(self.added, self.removed)

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


@implementer(IZoneData)
class Zone:
    """A zone: all records of a name and of what is beneath it, up to the delegations.

    Made by `from_records`, or by `sennit.names.zone.zonefile.read_zone`.

    Attributes:
        origin: Its name.
        rdclass: Number of its class.
        nodes: Its names, by their octets in lower case; read, not changed.
        cuts: Keys of names with NS that are not `origin`, or with DNAME.
        version: Grows with each change.
        on_change: Called with the zone and what changed, after each change.
        expired: Whether it may not be answered from: a secondary's that was not refreshed in
            time (RFC 1035 §3.3.13).
        time_left: Tells seconds until it is expired; ``None`` for a zone that never is.
    """

    __slots__ = (
        "_chain",
        "_children",
        "_expired",
        "_shared",
        "_soa",
        "cuts",
        "nodes",
        "on_change",
        "origin",
        "rdclass",
        "time_left",
        "version",
        "watchers",
    )

    def __init__(
        self,
        origin: Name,
        nodes: MutableMapping[bytes, Node],
        cuts: set[bytes],
        *,
        rdclass: int = 1,
    ) -> None:
        self.origin = origin
        self.rdclass = rdclass
        self.nodes = nodes
        self.cuts = cuts
        self.version = 0
        self.on_change: list[Callable[[Zone, Changes], None]] = []
        self.watchers: list[Callable[[Zone], None]] = []
        self.time_left: Callable[[], float] | None = None
        self._expired = False
        self._shared = False
        self._soa: Record | None = None
        self._chain: Chain | None = None
        self._children: MutableMapping[bytes, int] | None = None

    @classmethod
    def from_records(
        cls,
        origin: Name,
        records: Iterable[Record],
        *,
        rdclass: int = 1,
        limits: ZoneLimits | None = None,
    ) -> Zone:
        """The zone that has these records, in whatever order.

        Args:
            origin: Its name.
            records: All records; repetitions count once.
            rdclass: Its class.
            limits: How much it may hold; `sennit.names.zone.rules.FROM_OTHERS` for what comes
                from elsewhere.

        Raises:
            ZoneError: They are no zone.
        """
        from sennit.names.zone.builder import Builder

        builder = Builder(origin, rdclass, limits)
        for record in records:
            if record.rdclass != rdclass:
                builder.fault(f"{record.name} is of class {class_text(record.rdclass)}")
                continue
            name = record.name
            builder.add(name.wire, name.key, record.rdtype, record.ttl, record.rdata.wire)
        return builder.finish()

    # ── what is in it ─────────────────────────────────────────────────────────

    @property
    def soa(self) -> Record:
        """Its SOA record."""
        if self._soa is None:
            packed = self.nodes[self.origin.key].packed(SOA)
            assert packed is not None, "no zone is without"
            self._soa = unpack(self.origin, packed).records()[0]
        return self._soa

    @property
    def serial(self) -> int:
        """The version that its SOA tells."""
        return int.from_bytes(self.soa.rdata.wire[-20:-16], "big")

    @property
    def chain(self) -> Chain:
        """The order of its names for proofs of absence, made when it is first asked for."""
        if self._chain is None:
            self._chain = Chain(self.nodes, self.origin.key)
        return self._chain

    def get_node(self, key: bytes, rdtype: int = 255) -> Node | None:
        """The node of a name by its octets in lower case, whatever the type."""
        del rdtype
        return self.nodes.get(key)

    def get(self, name: Name) -> Node | None:
        """The node of a name; ``None`` where the zone has no such name."""
        return self.nodes.get(name.key)

    def rrset(self, name: Name, rdtype: int) -> RRset | None:
        """The records of a name and type as they are stored, below delegations too."""
        node = self.nodes.get(name.key)
        return None if node is None else node.get(rdtype)

    def records(self, *, canonical: bool = False) -> Iterator[Record]:
        """All records: the SOA, the others of its name, then the rest.

        Args:
            canonical: In canonical order (RFC 4034 §6.1), types by number; else as stored.
        """
        yield self.soa
        for node in self.sorted_nodes() if canonical else self.stored_nodes():
            name = node.name
            sets = sorted(node.sets, key=type_order) if canonical else node.sets
            for packed in sets:
                if packed[4:6] != b"\0\6":
                    yield from unpack(name, packed).records()

    def stored_nodes(self) -> Iterator[Node]:
        """All nodes, that of the zone's name first."""
        own = self.origin.key
        yield self.nodes[own]
        for key, node in self.nodes.items():
            if key != own:
                yield node

    def sorted_nodes(self) -> list[Node]:
        """All nodes in canonical order."""
        return [self.nodes[key] for key in sorted(self.nodes, key=sort_key)]

    def parts(self) -> list[list[bytes] | dict[bytes, Any]]:
        """The large things that it is made of, for whoever lets it go bit by bit."""
        found: list[list[bytes] | dict[bytes, Any]] = []
        if self._chain is not None:
            found += self._chain.parts()
        found += [each for each in (self.nodes, self._children) if isinstance(each, dict)]
        return found

    def __len__(self) -> int:
        """How many names it has, empty non-terminals counted."""
        return len(self.nodes)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Zone {self.origin} {self.serial} {len(self.nodes)} names>"

    def __eq__(self, other: object) -> bool:
        """Whether both have the same records."""
        if not isinstance(other, Zone):
            return NotImplemented
        return (
            self.origin == other.origin
            and self.rdclass == other.rdclass
            and self.nodes == other.nodes
        )

    __hash__ = object.__hash__

    # ── changes ───────────────────────────────────────────────────────────────

    @property
    def expired(self) -> bool:
        """Whether it may not be answered from."""
        return self._expired

    @expired.setter
    def expired(self, value: bool) -> None:
        if value != self._expired:
            self._expired = value
            self._told()

    @property
    def expire(self) -> int:
        """Seconds that a copy of it may be used if it is right now (RFC 7314 §3)."""
        seconds = int.from_bytes(self.soa.rdata.wire[-8:-4], "big")
        return seconds if self.time_left is None else min(int(self.time_left()), seconds)

    def snapshot(self) -> Zone:
        """The zone as it is now, which stays so; costs nothing until the zone changes."""
        found = Zone(self.origin, self.nodes, self.cuts, rdclass=self.rdclass)
        found.version = self.version
        found._soa = self._soa
        found._expired = self._expired
        found.time_left = self.time_left
        self._shared = found._shared = True
        return found

    def trial(self) -> Zone:
        """A zone like this one, to be changed on trial; good until this one is changed."""
        if self._children is None:
            self._children = self._count_children()
        found = Zone(self.origin, Layer(self.nodes), set(self.cuts), rdclass=self.rdclass)
        found._children = Layer(self._children)
        return found

    def become(self, after: Zone, changes: Changes) -> None:
        """Be as a snapshot of this zone that was changed, elsewhere and in its own time.

        Args:
            after: The snapshot, which is not used any more.
            changes: The change that was made to it.
        """
        self.nodes = after.nodes
        self.cuts = after.cuts
        self._children = after._children
        self._chain = after._chain
        self._soa = None
        self._shared = False
        self._told()
        for call in tuple(self.on_change):
            call(self, changes)

    def has_beneath(self, key: bytes) -> bool:
        """Whether there are names beneath one."""
        if self._children is None:
            self._children = self._count_children()
        return bool(self._children.get(key))

    def apply(
        self, changes: Changes, *, limits: ZoneLimits | None = None, strict: bool = True
    ) -> None:
        """Make a change, all of it or none.

        Args:
            changes: What goes and what comes. A TTL that comes is that of the whole RRset from
                then on.
            limits: How many records may stand together; `FROM_OTHERS` for an update.
            strict: Refuse to remove what is not there.

        Raises:
            ZoneError: The zone would be none, or lacks what is to be removed.
        """
        drafts: dict[bytes, Draft] = {}
        new_soa = any(each.rdtype == SOA for each in changes.added)
        for record in changes.removed:
            draft = self._draft(drafts, record)
            if not draft.remove(record.rdtype, record.rdata.wire) and strict:
                raise ZoneError(f"{record} is not in the zone {self.origin}")
        if new_soa:
            origin_key = self.origin.key
            if origin_key not in drafts:
                drafts[origin_key] = Draft(self.origin.wire, self.nodes[origin_key])
            drafts[origin_key].sets.pop(SOA, None)
        for record in changes.added:
            if record.rdclass != self.rdclass:
                raise ZoneError(f"{record.name} is of class {class_text(record.rdclass)}")
            draft = self._draft(drafts, record)
            draft.add(record.rdtype, record.ttl, record.rdata.wire, least=False)
        for key, draft in drafts.items():
            apex = key == self.origin.key
            problem = draft.check(apex=apex, limits=limits)
            if problem is None and apex:
                lacks = [each for each in (SOA, NS) if each not in draft.sets]
                problem = "a zone has SOA and NS" if lacks else None
            if problem is not None:
                raise ZoneError(f"{trusted(draft.wire)}: {problem}")
        self._commit(drafts)
        self._told()
        for call in tuple(self.on_change):
            call(self, changes)

    def _draft(self, drafts: dict[bytes, Draft], record: Record) -> Draft:
        key = record.name.key
        draft = drafts.get(key)
        if draft is None:
            may_hold(self.origin, key, record.rdtype)
            node = self.nodes.get(key)
            draft = drafts[key] = Draft(record.name.wire if not node else node.wire, node)
        else:
            may_hold(self.origin, key, record.rdtype)
        return draft

    def _commit(self, drafts: dict[bytes, Draft]) -> None:
        if self._shared:
            self.nodes = dict(self.nodes)
            self.cuts = set(self.cuts)
            self._shared = False
        if self._children is None:
            self._children = self._count_children()
        for key, draft in drafts.items():
            new = draft.node(self.rdclass)
            old = self.nodes.get(key)
            if new:
                self._put(key, new, old)
            elif old is not None:
                self._empty(key, old)
            if (NS in draft.sets and key != self.origin.key) or DNAME in draft.sets:
                self.cuts.add(key)
            else:
                self.cuts.discard(key)
        self._soa = None

    def _count_children(self) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        own = self.origin.key
        for key in self.nodes:
            if key != own:
                above = key[1 + key[0] :]
                found[above] = found.get(above, 0) + 1
        return found

    def _set(self, key: bytes, old: Node | None, new: Node | None) -> None:
        if new is None:
            del self.nodes[key]
        else:
            self.nodes[key] = new
        if self._chain is not None and not self._chain.change(key, old, new):
            self._chain = None

    def _put(self, key: bytes, new: Node, old: Node | None) -> None:
        """Store a node, and empty ones above it where there are none yet."""
        self._set(key, old, new)
        children, own, wire = self._children, self.origin.key, new.wire
        assert children is not None
        while old is None and key != own:
            cut = 1 + key[0]
            key, wire = key[cut:], wire[cut:]
            children[key] = children.get(key, 0) + 1
            old = self.nodes.get(key)
            if old is None:
                self._set(key, None, Node(wire))

    def _empty(self, key: bytes, old: Node) -> None:
        """Take the records of a node away, and it and empty ones above it that nothing needs."""
        children, own = self._children, self.origin.key
        assert children is not None
        if children.get(key):
            self._set(key, old, Node(old.wire))
            return
        self._set(key, old, None)
        while key != own:
            key = key[1 + key[0] :]
            left = children[key] - 1
            if left:
                children[key] = left
                return
            del children[key]
            above = self.nodes[key]
            if above or key == own:
                return
            self._set(key, above, None)

    def _told(self) -> None:
        self.version += 1
        for call in tuple(self.watchers):
            call(self)


def type_order(packed: bytes) -> tuple[bytes, bytes]:
    """SOA first, the others by number, signatures behind what they cover."""
    if packed[4:6] == b"\0\x2e":
        return packed[14:16].replace(b"\0\6", b""), b"\1"
    return packed[4:6].replace(b"\0\6", b""), b""
