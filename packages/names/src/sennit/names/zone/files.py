"""The zone files of a server: read, and read again when they have changed, without a gap.

`ZoneFiles.read` reads what has changed since the last time and touches no zone that is in use,
so it may run in a thread; `Reading.put_into` swaps the zones, which takes one step each; and
`Reading.let_go`, in a thread again, takes apart those that were replaced, since a million names
are not freed in no time. A file that is broken leaves the zone that was there, and its errors
are told.

While a file is read the collector of cycles rests: all that comes is kept, and to look through it
again and again holds up whoever else runs (0.3 s at a time for a million names). For the same
reason a large zone is put where the collector does not look (`gc.freeze`).

A file is named after its zone: ``example.org.zone``, ``example.org.db``, ``db.example.org``,
``example.org``; or the name is given with its path.
"""

from __future__ import annotations

import gc
import glob
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from sys import getrefcount
from typing import TYPE_CHECKING, Final

from sennit.names.errors import PresentationError, ZoneError
from sennit.names.name import Name
from sennit.names.zone.zonefile import ZoneReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from sennit.names.zone.zone import Zone
    from sennit.names.zone.zoneset import ZoneSet

__all__ = ["Reading", "ZoneFiles", "origin_of", "resting_collector"]

_ENDS: Final = (".zone", ".db", ".hosts", ".txt")
_LARGE: Final = 100_000
"""Names from which on a zone is kept from the collector: looking through them takes 10 ms."""
_AT_ONCE: Final = 1000
"""Names of a zone that are freed before others get their turn."""


def origin_of(path: str) -> Name:
    """The zone that a file is named after.

    Raises:
        PresentationError: Its name is none of a zone.
    """
    name = os.path.basename(path)
    for end in _ENDS:
        if name.endswith(end):
            name = name.removesuffix(end)
            break
    else:
        name = name.removeprefix("db.")
    return Name(name.rstrip(".") + ".")


@dataclass(slots=True)
class Reading:
    """What came of reading files.

    Attributes:
        zones: Zones that are new, or changed.
        removed: Names of zones whose files are no more.
        errors: What is wrong, one line each; the zones of those files stay as they were.
        replaced: Zones that were in use until `put_into`.
    """

    zones: list[Zone] = field(default_factory=list["Zone"])
    removed: list[Name] = field(default_factory=list[Name])
    errors: list[str] = field(default_factory=list[str])
    replaced: list[Zone] = field(default_factory=list["Zone"])

    def put_into(self, zones: ZoneSet) -> None:
        """Swap the zones of a set for these."""
        for zone in self.zones:
            old = zones.replace(zone)
            if old is not None and old is not zone:
                self.replaced.append(old)
        for origin in self.removed:
            if origin in zones:
                self.replaced.append(zones.remove(origin))

    def let_go(self) -> None:
        """Forget the zones that were replaced, piece by piece: for a thread.

        What somebody else still has of them, such as a transfer, stays whole.
        """
        while self.replaced:
            zone = self.replaced.pop()
            parts = zone.parts()
            del zone
            while parts:
                part = parts.pop()
                if getrefcount(part) > 2:  # more than `part`, and the argument
                    continue
                while part:
                    if isinstance(part, list):
                        del part[-_AT_ONCE:]
                    else:
                        part.popitem()

    def __bool__(self) -> bool:
        """Whether anything is to be swapped."""
        return bool(self.zones or self.removed)


class ZoneFiles:
    """Files of zones, and what they were like when they were read.

    Args:
        patterns: Paths, or patterns of them: ``zones/*.zone``.
        named: More files, by the names of their zones.
        folder: What relative paths are relative to.
        rdclass: The zones' class.
    """

    def __init__(
        self,
        patterns: Iterable[str] = (),
        *,
        named: Mapping[str, str] | None = None,
        folder: str | os.PathLike[str] = ".",
        rdclass: int = 1,
    ) -> None:
        self._folder = os.fspath(folder)
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._named = {Name(name): path for name, path in (named or {}).items()}
        self._rdclass = rdclass
        self._known: dict[Name, dict[str, tuple[int, int, int]]] = {}
        self._loaded: set[Name] = set()

    def __repr__(self) -> str:
        return f"<ZoneFiles {len(self._known)} zones>"

    def paths(self) -> dict[Name, str]:
        """The files that there are now, by zone.

        Raises:
            ZoneError: A file is named after no zone, a path leads to no file, or two files are
                of one zone.
        """
        found: dict[Name, str] = {}
        for name, path in self._named.items():
            found[name] = os.path.join(self._folder, path)
        for pattern in self._patterns:
            whole = os.path.join(self._folder, pattern)
            has_magic = glob.has_magic(whole)
            paths = sorted(glob.glob(whole)) if has_magic else [whole]
            for path in paths:
                if has_magic and (os.path.basename(path).startswith(".") or os.path.isdir(path)):
                    continue
                try:
                    origin = origin_of(path)
                except PresentationError as error:
                    raise ZoneError(f"{path} is named after no zone: {error.message}") from error
                if found.setdefault(origin, path) != path:
                    raise ZoneError(f"{found[origin]} and {path} are both of the zone {origin}")
        return found

    def changed(self) -> bool:
        """Whether a file is new, gone, or not as it was when it was read."""
        try:
            paths = self.paths()
        except ZoneError:
            return True
        return paths.keys() != self._known.keys() or any(
            _stamps(self._known[origin]) != self._known[origin] for origin in paths
        )

    def read(self, *, everything: bool = False) -> Reading:
        """Read the files that have changed since the last time.

        Args:
            everything: Read all of them.
        """
        reading = Reading()
        try:
            paths = self.paths()
        except ZoneError as error:
            reading.errors.append(str(error))
            return reading
        with resting_collector(reading.zones):
            for origin, path in paths.items():
                known = self._known.get(origin)
                if not everything and known and path in known and _stamps(known) == known:
                    continue
                self._read(origin, path, reading)
        for origin in [each for each in self._known if each not in paths]:
            del self._known[origin]
            if origin in self._loaded:
                self._loaded.remove(origin)
                reading.removed.append(origin)
        return reading

    def _read(self, origin: Name, path: str, reading: Reading) -> None:
        reader = ZoneReader(origin, rdclass=self._rdclass)
        # What it is like before it is read: a change meanwhile is another change.
        before = _stamps([path])
        try:
            reader.read_file(path)
            zone = reader.finish()
            _ = zone.chain  # made here, where nobody waits for it: seconds for a million names
            reading.zones.append(zone)
            self._loaded.add(origin)
        except ZoneError as error:
            reading.errors += error.problems
        except OSError as error:
            reading.errors.append(f"{path}: {error.strerror or error}")
        self._known[origin] = _stamps([path, *reader.files]) | before


@contextmanager
def resting_collector(zones: list[Zone]) -> Generator[None]:
    """Let the collector of cycles rest while these zones come to be; see above."""
    works = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if any(len(each) >= _LARGE for each in zones):
            gc.freeze()
        if works:
            gc.enable()


def _stamps(paths: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """What tells versions of files apart: when changed, size, which file."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            found[path] = (0, -1, 0)
        else:
            found[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found
