"""What changed in a zone, version by version: what IXFR is answered from.

Bounded by versions and by records; the oldest go first. Where a change does not follow on the
last one, all that was before is forgotten: differences across the gap cannot be told.

Sources: RFC 1995 §5 (condensation may be done, and what to purge).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRType
from sennit.names.errors import DNSUsageError
from sennit.names.transfer.serial import serial_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.message import Record
    from sennit.names.zone.zone import Changes, Zone

__all__ = ["MAX_RECORDS", "MAX_VERSIONS", "Entry", "History"]

MAX_VERSIONS: Final = 1000
"""Versions of a zone that are remembered."""
MAX_RECORDS: Final = 100_000
"""Records in all of their differences together."""
_SOA: Final = int(RRType.SOA)


def _soa(records: Iterable[Record]) -> Record | None:
    return next((each for each in records if each.rdtype == _SOA), None)


class Entry:
    """The differences between two versions.

    Attributes:
        old: Serial of the version before.
        new: Serial of the version behind.
        changes: What went and what came, both SOAs among them.
    """

    __slots__ = ("changes", "new", "old")

    def __init__(self, old: int, new: int, changes: Changes) -> None:
        self.old = old
        self.new = new
        self.changes = changes

    @classmethod
    def of(cls, changes: Changes) -> Entry | None:
        """The differences that these changes are; ``None`` where they change no SOA."""
        gone, come = _soa(changes.removed), _soa(changes.added)
        if gone is None or come is None:
            return None
        return cls(serial_of(gone), serial_of(come), changes)

    @property
    def records(self) -> int:
        """How many records it has."""
        return len(self.changes.removed) + len(self.changes.added)

    def __repr__(self) -> str:
        return f"<Entry {self.old} to {self.new}, {self.records} records>"


class History:
    """The last versions of one zone.

    Args:
        max_versions: Versions that are remembered.
        max_records: Records in their differences.
    """

    __slots__ = ("_entries", "_max_records", "_max_versions", "_records")

    def __init__(self, *, max_versions: int = MAX_VERSIONS, max_records: int = MAX_RECORDS) -> None:
        if max_versions < 0 or max_records < 0:
            raise DNSUsageError("a history cannot be shorter than nothing")
        self._entries: deque[Entry] = deque()
        self._records = 0
        self._max_versions = max_versions
        self._max_records = max_records

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<History of {len(self._entries)} versions, {self._records} records>"

    @property
    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._records = 0

    def append(self, entry: Entry) -> None:
        """Remember the differences that led to the newest version."""
        if self._entries and self._entries[-1].new != entry.old:
            self.clear()
        self._entries.append(entry)
        self._records += entry.records
        while self._entries and (
            len(self._entries) > self._max_versions or self._records > self._max_records
        ):
            self._records -= self._entries.popleft().records

    def note(self, zone: Zone, changes: Changes) -> None:
        """Remember what changed in a zone (``zone.on_change.append(history.note)``)."""
        del zone  # one history, one zone
        entry = Entry.of(changes)
        if entry is None or entry.old == entry.new:
            # It changed without a new serial: whoever has that serial may have either.
            self.clear()
        else:
            self.append(entry)

    def since(self, serial: int, current: int) -> list[Entry] | None:
        """The differences from one version to the newest, oldest first.

        Args:
            serial: The version that is had.
            current: The version that the zone is at.

        Returns:
            ``None`` where they are not known (any more).
        """
        if not self._entries or self._entries[-1].new != current:
            return None
        found: list[Entry] = []
        for entry in reversed(self._entries):
            found.append(entry)
            if entry.old == serial:
                found.reverse()
                return found
        return None
