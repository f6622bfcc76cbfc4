"""A zone put together from records, one by one, in any order.

Records of one owner usually come one after the other; they are gathered, in a `Draft` if there
are several, and packed into a node when another owner turns up. An owner that turns up again
gets a draft that stays until the end, so that no order makes this slow.

Sources: RFC 1035 §5.2 (what is looked at when a zone is loaded), RFC 4592 §2.2.2 (empty
non-terminals).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import META_TYPES, type_text
from sennit.names.errors import ZoneError
from sennit.names.name import trusted
from sennit.names.zone.node import Node, pack_one
from sennit.names.zone.rules import DNAME, NS, SOA, Draft, Problem, ZoneLimits, is_within
from sennit.names.zone.zone import Zone

if TYPE_CHECKING:
    from sennit.names.name import Name

__all__ = ["MAX_PROBLEMS", "Builder", "add_non_terminals", "raise_problems"]

MAX_PROBLEMS: Final = 20
"""Problems of a zone that are told in one go."""


def raise_problems(problems: list[Problem]) -> None:
    """Raise the `ZoneError` that tells of all these; nothing where there are none."""
    if problems:
        first = problems[0]
        raise ZoneError(
            "\n".join([first.text, *map(str, problems[1:])]),
            line=first.line,
            file=first.file,
            problems=tuple(map(str, problems)),
        )


class Builder:
    """A zone under construction.

    Args:
        origin: Name of the zone.
        rdclass: Its class.
        limits: How much it may hold; ``None`` for any number.

    Attributes:
        problems: What is wrong so far.
        file: Where the records that are being added stand.
    """

    def __init__(self, origin: Name, rdclass: int = 1, limits: ZoneLimits | None = None) -> None:
        self.origin = origin
        self.rdclass = rdclass
        self.limits = limits
        self.problems: list[Problem] = []
        self.file = ""
        self._nodes: dict[bytes, Node] = {}
        self._drafts: dict[bytes, Draft] = {}
        self._cuts: set[bytes] = set()
        self._key = b""
        # An owner's first record, which mostly is its only one; a draft from the second on.
        self._one: tuple[bytes, int, int, bytes] | None = None
        self._draft: Draft | None = None
        self._line = 0
        self._count = 0

    def fault(self, text: str, line: int = 0) -> None:
        """Note that something is wrong.

        Raises:
            ZoneError: There are too many problems already.
        """
        self.problems.append(Problem(text, self.file, line))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(Problem(f"no more than {MAX_PROBLEMS} problems are told"))
            raise_problems(self.problems)

    def add(
        self, wire: bytes, key: bytes, rdtype: int, ttl: int, rdata: bytes, line: int = 0
    ) -> None:
        """Add a record; what is wrong with it is noted in `problems`.

        Args:
            wire: The owner's octets.
            key: The same in lower case.
            rdtype: The type.
            ttl: Seconds.
            rdata: The data, names in full.
            line: Number of the line where it stands.
        """
        if rdtype in META_TYPES or not rdtype:
            self.fault(f"{type_text(rdtype)} is no type that a zone holds", line)
            return
        if key != self._key:
            if self._key:
                self._flush()
            known = self._nodes.get(key)
            if known is None:
                origin = self.origin.key
                if key[1 + key[0] :] != origin and not is_within(key, origin):
                    self.fault(f"{trusted(wire)} is outside the zone {self.origin}", line)
                    return
            elif key in self._drafts:
                self._draft = self._drafts[key]
            else:
                self._draft = self._drafts[key] = Draft(known.wire, known)
            self._key = key
        if rdtype in (NS, DNAME) and (key != self.origin.key or rdtype == DNAME):
            self._cuts.add(key)
        self._line = line
        draft = self._draft
        if draft is None:
            if self._one is None:
                self._one = (wire, rdtype, ttl, rdata)
                self._counted()
                return
            draft = self._draft = Draft(self._one[0])
            draft.add(*self._one[1:])
            self._one = None
        if draft.add(rdtype, ttl, rdata):
            self._counted()
            limits = self.limits
            if limits is not None:
                problem = draft.check(apex=key == self.origin.key, limits=limits)
                if problem is not None:
                    self.fault(f"{trusted(wire)}: {problem}", line)
                    raise_problems(self.problems)

    def _counted(self) -> None:
        self._count += 1
        if self.limits is not None and self._count > self.limits.records:
            raise ZoneError(f"more than {self.limits.records} records are too many for a zone")

    def _flush(self) -> None:
        """Pack what was gathered of an owner."""
        key, one, draft = self._key, self._one, self._draft
        self._key, self._one, self._draft = b"", None, None
        if one is not None:
            wire, rdtype, ttl, rdata = one
            if rdtype == SOA and key != self.origin.key:
                self.fault(f"{trusted(wire)}: SOA at another name than the zone's", self._line)
            wire = key if wire == key else wire
            self._nodes[key] = Node(wire, (pack_one(rdtype, self.rdclass, ttl, rdata),))
        elif draft is not None and draft.sets:
            problem = draft.check(apex=key == self.origin.key, limits=self.limits)
            if problem is not None:
                self.fault(f"{trusted(draft.wire)}: {problem}", self._line)
            if key in self._drafts:
                self._nodes[key] = _PENDING
            else:
                self._nodes[key] = draft.node(self.rdclass)

    def finish(self) -> Zone:
        """The zone.

        Raises:
            ZoneError: Something is wrong with it: all of `problems`.
        """
        if self._key:
            self._flush()
        nodes = self._nodes
        for key, draft in self._drafts.items():
            nodes[key] = draft.node(self.rdclass)
        self._drafts.clear()
        apex = nodes.get(self.origin.key)
        if apex is None or apex.packed(SOA) is None:
            self.fault(f"the zone {self.origin} has no SOA")
        elif apex.packed(NS) is None:
            self.fault(f"the zone {self.origin} has no NS")
        raise_problems(self.problems)
        add_non_terminals(nodes, self.origin.key)
        return Zone(self.origin, nodes, self._cuts, rdclass=self.rdclass)


_PENDING: Final = Node(b"\0")
"""Holds the place of a node that is a draft until the end."""


def add_non_terminals(nodes: dict[bytes, Node], origin: bytes) -> None:
    """Add a node without records for each name that has none and has others beneath it."""
    size = len(origin)
    missing: dict[bytes, bytes] = {}
    for key, node in nodes.items():
        if len(key) == size:
            continue
        cut = 1 + key[0]
        above = key[cut:]
        wire = node.wire[cut:]
        while len(above) > size and above not in nodes and above not in missing:
            missing[above] = wire
            cut = 1 + above[0]
            above, wire = above[cut:], wire[cut:]
    for key, wire in missing.items():
        nodes[key] = Node(key if key == wire else wire)
