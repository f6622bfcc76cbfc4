"""The chain of NSEC or NSEC3 records of a zone as it would be, while a change is worked out.

Places are octets that sort as the chain does: `sennit.names.zone.chain.sort_key` of a name, or
the label of its hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sennit.names.zone.zone import Zone

__all__ = ["ChainOverlay"]


class ChainOverlay:
    """The chain of a zone as it would be, over the one that is.

    Args:
        zone: The zone as it is.
        nsec3: Whether the chain is one of hashes.
    """

    __slots__ = ("_added", "_chain", "_gone", "_nsec3")

    def __init__(self, zone: Zone, *, nsec3: bool) -> None:
        self._chain = zone.chain
        self._nsec3 = nsec3
        self._added: dict[bytes, bytes] = {}
        self._gone: set[bytes] = set()

    def _had(self, place: bytes) -> bool:
        return self._chain.has_hash(place) if self._nsec3 else self._chain.has_place(place)

    def has(self, place: bytes) -> bool:
        """Whether there is a record for this place."""
        return place in self._added or (place not in self._gone and self._had(place))

    def add(self, place: bytes, key: bytes) -> bool:
        """Put a name in; whether it is new."""
        if self.has(place):
            return False
        self._gone.discard(place)
        if not self._had(place):
            self._added[place] = key
        return True

    def remove(self, place: bytes) -> bool:
        """Take a name out; whether it was there."""
        if not self.has(place):
            return False
        if self._added.pop(place, None) is None:
            self._gone.add(place)
        return True

    def key(self, place: bytes) -> bytes:
        """The name at a place; of hashes that is not known, nor needed."""
        found: bytes | None = self._added.get(place)
        if found is not None or self._nsec3:
            return found or b""
        return self._chain.key_at(place)

    def before(self, place: bytes) -> bytes:
        """The place before one, around the end."""
        return self._next(place, forward=False)

    def after(self, place: bytes) -> bytes:
        """The place behind one, around the end."""
        return self._next(place, forward=True)

    def _next(self, place: bytes, *, forward: bool) -> bytes:
        found = self._chain.neighbours(place, forward=forward, nsec3=self._nsec3)
        old = next((each for each in found if each not in self._gone), None)
        candidates: list[bytes] = [*self._added, *(() if old is None else (old,))]
        if not candidates:
            return place
        if forward:
            ahead = [each for each in candidates if each > place]
            return min(ahead) if ahead else min(candidates)
        behind = [each for each in candidates if each < place]
        return max(behind) if behind else max(candidates)
