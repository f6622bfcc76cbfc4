"""Zones that are changed, held by a service and by the one that takes its place at a reload.

A service whose configuration has changed is made anew, and gets ready while the old one still
answers. Both then have one and the same `UpdatableZone`: a change that the old one makes
meanwhile is there in the new one too, and one journal has one writer. Whoever lets go of it last
closes it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sennit.names.update.update import UpdatableZone

__all__ = ["hold", "keep", "release"]

_held: Final[dict[str, tuple[UpdatableZone, int]]] = {}


def _key(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(path)


def hold(path: str | os.PathLike[str]) -> UpdatableZone | None:
    """The zone of a zone file that somebody in this process changes already; held once more."""
    key = _key(path)
    if key not in _held:
        return None
    zone, count = _held[key]
    _held[key] = (zone, count + 1)
    return zone


def keep(path: str | os.PathLike[str], zone: UpdatableZone) -> None:
    """Let others hold the zone of a zone file, too; it is held once now."""
    _held[_key(path)] = (zone, 1)


async def release(path: str | os.PathLike[str]) -> None:
    """Let go of what `hold` gave or `keep` was given; the last one closes it."""
    key = _key(path)
    zone, count = _held[key]
    if count > 1:
        _held[key] = (zone, count - 1)
        return
    # First: nobody is to be given one that closes.
    del _held[key]
    await zone.aclose()
