"""What files look like at one moment, and what has changed between two of them.

Both ways of observing end here, so that they tell the same: inotify only says when and where
to look again. A path is followed through its symbolic links, so that a link which comes to
point elsewhere (as Kubernetes swaps ``..data``) is a file that was modified.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Change", "Entry", "FileEvent", "Look", "diff", "look"]

_MOST_LINKS: Final = 40
"""Symbolic links on the way to one file, as Linux limits them."""


class Change(StrEnum):
    """What happened to a file."""

    CREATED = "created"
    MODIFIED = "modified"
    MOVED = "moved"
    REMOVED = "removed"


class FileEvent(NamedTuple):
    """One change.

    Attributes:
        change: What happened.
        path: To which file: the path that was given, or one below it.
        source: Where it was before, for `Change.MOVED`.
    """

    change: Change
    path: str
    source: str | None = None


class Entry(NamedTuple):
    """What tells one state of a file from another. Of a folder only that it is there."""

    device: int
    inode: int
    modified: int
    size: int
    is_folder: bool


class Look(NamedTuple):
    """What was found.

    Attributes:
        entries: Each file and folder, by path.
        folders: Folders in which something may happen that matters, with the names that do;
            ``None``: all of them.
    """

    entries: dict[str, Entry]
    folders: dict[str, set[str] | None]


def look(paths: Iterable[str], *, recursive: bool) -> Look:
    """Look at files, and at what is in folders.

    Args:
        paths: Absolute; they need not exist.
        recursive: Look at folders in those folders, too.
    """
    found = Look({}, {})
    for path in paths:
        _follow(path, found.folders)
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.entries[path] = _entry(status)
        if stat.S_ISDIR(status.st_mode):
            _look_in(path, found, recursive)
    return found


def _entry(status: os.stat_result) -> Entry:
    if stat.S_ISDIR(status.st_mode):
        return Entry(status.st_dev, status.st_ino, 0, 0, True)
    return Entry(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, False)


def _look_in(folder: str, found: Look, recursive: bool) -> None:
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        found.folders[here] = None
        try:
            with os.scandir(here) as entries:
                inside = list(entries)
        except OSError:
            continue  # it has just gone, or is not ours to read
        for each in inside:
            try:
                found.entries[each.path] = _entry(each.stat())
                deeper = recursive and each.is_dir(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile, or a link to nowhere
            if deeper:
                waiting.append(each.path)


def _follow(path: str, folders: dict[str, set[str] | None]) -> None:
    """Note each folder that decides what `path` is: that of each link on the way, and its own.

    Where a folder on the way does not exist, the one in which it would appear.
    """
    links = 0
    here, rest = "/", [each for each in path.split("/") if each]
    while rest:
        name = rest.pop(0)
        if name == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, name)
        try:
            mode = os.lstat(step).st_mode
        except OSError:
            _note(folders, here, name)
            return
        if stat.S_ISLNK(mode):
            _note(folders, here, name)
            links += 1
            try:
                target = os.readlink(step)
            except OSError:
                return
            if links > _MOST_LINKS:
                return
            rest = [each for each in target.split("/") if each and each != "."] + rest
            if target.startswith("/"):
                here = "/"
            continue
        if not rest:
            _note(folders, here, name)
        here = step


def _note(folders: dict[str, set[str] | None], folder: str, name: str) -> None:
    names = folders.setdefault(folder, set())
    if names is not None:
        names.add(name)


def diff(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[FileEvent]:
    """What happened between two looks, in the order of paths; what went before what came."""
    gone = {path: entry for path, entry in before.items() if path not in after}
    came = {path: entry for path, entry in after.items() if path not in before}
    # The number of a file may be given to another one at once; with its time and size it
    # is the same file, elsewhere.
    sources = {entry: path for path, entry in gone.items() if not entry.is_folder}
    moved: list[FileEvent] = []
    for path, entry in sorted(came.items()):
        source = sources.pop(entry, None)
        if source is not None:
            moved.append(FileEvent(Change.MOVED, path, source))
            del gone[source], came[path]
    changed = [path for path, entry in after.items() if path in before and before[path] != entry]
    return [
        *(FileEvent(Change.REMOVED, path) for path in sorted(gone, reverse=True)),
        *moved,
        *(FileEvent(Change.CREATED, path) for path in sorted(came)),
        *(FileEvent(Change.MODIFIED, path) for path in sorted(changed)),
    ]
