"""A directory of the system as the root of users: the way down, what lies there, what a crash left.

`Root` is shared by all sessions that have the directory for their root. `find` leads to where a
path is: a descriptor of its directory, and a name there (`sennit.core.beneath`). Links lead
nowhere, or, where they are followed, as far as they stay beneath the root: each name of their
targets is opened by itself too, and ``..`` goes back to a descriptor that was passed.

`Root.count` counts what there is, for quotas, and removes the temporary names of uploads that a
crash cut off: those whose files nobody holds locked.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sennit.core.beneath import Folder
from sennit.core.commit import commit
from sennit.core.reactor.base import current_reactor
from sennit.ftp.errors import (
    FileBusyError,
    FileNameError,
    FileUnavailableError,
    NoSpaceError,
)
from sennit.ftp.store.quota import Usage
from sennit.ftp.store.rules import TEMPORARY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from sennit.ftp.interfaces import FilePath

    T = TypeVar("T")

__all__ = ["READING", "WRITING", "Root", "in_thread", "lock", "sweep", "unlink_and_close"]

MOST_LINKS: Final = 40
"""Links that are followed on the way to one file."""
RECOUNT: Final = 600.0
"""Seconds after which what lies beneath a root is counted anew, when somebody logs in."""

OPEN_FILES: Final = "/proc/self/fd"
"""Where a file that has no name yet is found, to be given one."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened to be listed, or put on the disk."""
_PASSAGE: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_BUSY: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.ETXTBSY, errno.EAGAIN}
)
_NO_ROOM: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS, errno.EMLINK}
)

_log = logging.getLogger("sennit.ftp")


class _Translation:
    """Makes errors of the system those of stores; ``with`` one of the two there are."""

    def __init__(self, no_room: type[NoSpaceError | FileBusyError]) -> None:
        self._no_room = no_room

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _NO_ROOM or error.errno in _BUSY:
            # Who asked is told to try again; who can do something about it is told what it was.
            _log.warning("The files of FTP: %s", error.strerror, extra={"phase": "store"})
        if error.errno in _NO_ROOM:
            raise self._no_room("The disk has no room, or is broken") from error
        if error.errno in _BUSY:
            raise FileBusyError("Not now: try again later") from error
        if error.errno == errno.ENAMETOOLONG:
            raise FileNameError("The name is too long") from error
        # Missing, forbidden, a link, no directory, not empty: nobody is told which.
        raise FileUnavailableError from error


WRITING: Final = _Translation(NoSpaceError)
"""For what makes or changes something."""
READING: Final = _Translation(FileBusyError)
"""For what only looks."""


async def in_thread(work: Callable[..., T], *args: Any) -> T:  # Any: whatever `work` takes
    """Run what waits for the disk; who is cancelled meanwhile waits for its end nevertheless."""
    async with commit():
        return await current_reactor().defer_to_thread(work, *args)


def unlink_and_close(name: str, place: int) -> None:
    """Remove a file from its directory, and give back the directory's descriptor."""
    try:
        os.unlink(name, dir_fd=place)
    finally:
        os.close(place)


def lock(fd: int) -> bool:
    """Lock a file as one that is being written; whether nobody had."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks has none that others could hold.
        return error.errno not in {errno.EAGAIN, errno.EACCES}
    return True


class Root(Folder):
    """A directory that is the root of users.

    Args:
        path: Where it is.
        follow: Whether links are followed that stay beneath it.

    Attributes:
        usage: What lies there, once it was counted.
        taken: Paths that STOU has found and not filled yet.
        sessions: Who use it; its descriptor is given back with the last.
        quick: Files that were on the disk in no time, one after the other, the last among them.
        nameless: Whether files can be made here that have no name yet, as far as is known.
        receiving: What is counted in `usage` of files that have no name yet.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow: bool = False) -> None:
        super().__init__(path)
        self.follow = follow
        self.usage = Usage()
        self.taken: set[FilePath] = set()
        self.sessions = 0
        self.quick = 0
        self.nameless = hasattr(os, "O_TMPFILE") and os.access(OPEN_FILES, os.X_OK)
        self.receiving = Usage()
        self._counted = float("-inf")
        self._counting: asyncio.Lock | None = None

    # ── the way down ──────────────────────────────────────────────────────────

    def find(self, path: FilePath, *, last: bool = True) -> tuple[int, str, FilePath]:
        """Give a directory's descriptor, a name in it, and the path that leads there.

        Args:
            path: Names that stand for nothing else: no ``..``, no slash.
            last: Whether a link that is the last name is followed, where links are.

        Returns:
            What is to be given back by `leave` in the same turn; ``"."`` for the root; the path
            after links were followed.

        Raises:
            OSError: There is no such way.
        """
        if self.follow:
            return self._follow(path, last=last)
        if not path:
            return self.own(), ".", ()
        return self.descend(path[:-1]), path[-1], path

    def _follow(self, path: FilePath, *, last: bool) -> tuple[int, str, FilePath]:
        way = _Way(self)
        try:
            left = list(reversed(path))
            links = 0
            while left:
                name = left.pop()
                if name in {"", "."}:
                    continue
                if name == "..":
                    way.up()
                    continue
                end = not left
                if end and not last:
                    return way.end(name)
                target = way.link(name, may_lack=end)
                if target is None:
                    if end:
                        return way.end(name)
                    way.down(name)
                    continue
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    target = self._inside(target)
                    way.restart()
                left.extend(reversed(target.split("/")))
            return way.back()
        except BaseException:
            way.restart()
            raise

    def _inside(self, target: str) -> str:
        """The rest of an absolute target beneath this root."""
        for top in (self.path, os.path.realpath(self.path)):
            if target == top or target.startswith(top.rstrip("/") + "/"):
                return target[len(top.rstrip("/")) + 1 :]
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    # ── what lies there ───────────────────────────────────────────────────────

    async def count(self) -> None:
        """Know what there is: counted once, and anew when that was long ago."""
        if self._counting is None:
            import asyncio

            self._counting = asyncio.Lock()
        async with self._counting:
            if time.monotonic() - self._counted < RECOUNT:
                return
            with READING:
                own = os.dup(self.own())
            usage, receiving = self.usage, self.receiving
            octets, files = usage.octets - receiving.octets, usage.files - receiving.files
            counted = await in_thread(self._walk_and_close, own)
            # What others have written meanwhile counts too, be it twice.
            usage.octets = max(counted.octets + usage.octets - octets, 0)
            usage.files = max(counted.files + usage.files - files, 0)
            self._counted = time.monotonic()

    def clean(self) -> None:
        """Remove what a crash has left; in any thread.

        Raises:
            OSError: The root cannot be opened.
        """
        own = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._walk_and_close(own)

    @staticmethod
    def _walk_and_close(own: int) -> Usage:
        try:
            return _walk(own)
        finally:
            os.close(own)


class _Way:
    """Where one has got to, with the descriptors of all directories passed."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fds: list[int] = [root.own()]
        self._names: list[str] = []

    def down(self, name: str) -> None:
        self._fds.append(os.open(name, _PASSAGE, dir_fd=self._fds[-1]))
        self._names.append(name)

    def up(self) -> None:
        if not self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._names.pop()
        os.close(self._fds.pop())

    def restart(self) -> None:
        while self._names:
            self.up()

    def link(self, name: str, *, may_lack: bool) -> str | None:
        """Where a link leads; ``None`` when it is none."""
        try:
            found = os.lstat(name, dir_fd=self._fds[-1])
        except FileNotFoundError:
            if may_lack:
                return None
            raise
        if not stat.S_ISLNK(found.st_mode):
            return None
        return os.readlink(name, dir_fd=self._fds[-1])

    def end(self, name: str) -> tuple[int, str, FilePath]:
        path = (*self._names, name)
        for fd in self._fds[1:-1]:
            os.close(fd)
        return self._fds[-1], name, path

    def back(self) -> tuple[int, str, FilePath]:
        """The way has ended in a directory: the last name again."""
        if not self._names:
            return self._fds[0], ".", ()
        name = self._names.pop()
        os.close(self._fds.pop())
        return self.end(name)


# ── counting and sweeping ─────────────────────────────────────────────────────


def _walk(own: int) -> Usage:
    """Count what lies beneath a directory, and remove what a crash has left there.

    Files that are being received are not counted: their writers do.
    """
    usage = Usage()
    # Opened from the top each time: however deep a tree is, few descriptors are open at once.
    left: list[tuple[str, ...]] = [()]
    while left:
        path = left.pop()
        try:
            fd = _open_directory(own, path)
        except OSError:
            continue  # gone meanwhile, or not to be read
        try:
            with os.scandir(fd) as found:
                for each in found:
                    if TEMPORARY.fullmatch(each.name):
                        sweep(fd, each.name)
                        continue
                    usage.files += 1
                    if each.is_dir(follow_symlinks=False):
                        left.append((*path, each.name))
                    elif each.is_file(follow_symlinks=False):
                        with suppress(OSError):
                            usage.octets += each.stat(follow_symlinks=False).st_size
        except OSError:
            continue
        finally:
            os.close(fd)
    return usage


def _open_directory(own: int, path: tuple[str, ...]) -> int:
    fd = os.open(".", DIRECTORY, dir_fd=own)
    for name in path:
        try:
            below = os.open(name, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def sweep(directory: int, name: str) -> bool:
    """Remove a temporary name unless somebody writes its file; whether it was removed."""
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False  # it is being written, or nobody can tell
    finally:
        os.close(fd)
    return True
