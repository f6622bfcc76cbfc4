"""The zones that a server answers for.

Which zone holds a name is found by taking labels off it, one dictionary look-up each, so it does
not matter how many zones there are. A zone is replaced in one step: whoever asks sees the old
one or the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.names.codes import class_text
from sennit.names.errors import DNSUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sennit.names.name import Name
    from sennit.names.zone.zone import Zone

__all__ = ["ZoneSet"]


class ZoneSet:
    """Zones of one class, by their names.

    Args:
        zones: Zones to begin with.
        rdclass: Their class.

    Attributes:
        on_change: Called with a zone that was added, removed, replaced (the new one) or
            changed.
    """

    def __init__(self, zones: Iterable[Zone] = (), *, rdclass: int = 1) -> None:
        self.rdclass = rdclass
        self.on_change: list[Callable[[Zone], None]] = []
        self.zones: dict[bytes, Zone] = {}
        for each in zones:
            self.add(each)

    def add(self, zone: Zone) -> None:
        """Add a zone.

        Raises:
            DNSUsageError: There is one of this name, or it is of another class.
        """
        if zone.origin.key in self.zones:
            raise DNSUsageError(f"there are two zones {zone.origin}")
        self.replace(zone)

    def replace(self, zone: Zone) -> Zone | None:
        """Put a zone in the place of the one that has its name, and give that one.

        Raises:
            DNSUsageError: It is of another class.
        """
        if zone.rdclass != self.rdclass:
            raise DNSUsageError(f"the zone {zone.origin} is of class {class_text(zone.rdclass)}")
        old = self.zones.get(zone.origin.key)
        self.zones[zone.origin.key] = zone
        if old is not zone:
            if old is not None:
                old.watchers.remove(self._changed)
            zone.watchers.append(self._changed)
            self._changed(zone)
        return old

    def remove(self, origin: Name) -> Zone:
        """Take a zone out, and give it.

        Raises:
            DNSUsageError: There is none of this name.
        """
        zone = self.zones.pop(origin.key, None)
        if zone is None:
            raise DNSUsageError(f"there is no zone {origin}")
        zone.watchers.remove(self._changed)
        self._changed(zone)
        return zone

    def by_origin(self, origin: Name) -> Zone | None:
        """The zone of this very name."""
        return self.zones.get(origin.key)

    def find(self, name: Name) -> Zone | None:
        """The deepest zone that holds a name, or would."""
        return self.find_key(name.key)

    def find_key(self, key: bytes) -> Zone | None:
        """The same by the name's octets in lower case."""
        zones = self.zones
        found = zones.get(key)
        while found is None and len(key) > 1:
            key = key[1 + key[0] :]
            found = zones.get(key)
        return found

    def __iter__(self) -> Iterator[Zone]:
        return iter(tuple(self.zones.values()))

    def __len__(self) -> int:
        return len(self.zones)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, origin: object) -> bool:
        key = getattr(origin, "key", None)
        return key in self.zones

    def _changed(self, zone: Zone) -> None:
        for call in tuple(self.on_change):
            call(zone)
