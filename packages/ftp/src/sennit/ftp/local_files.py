"""Files of this machine that are fetched or sent: whole under their name, or not there.

What is fetched goes into a file beside the wanted one and takes its name when all has come and is
on the disk. The file beside has a made-up name and goes with the failure, or, where a transfer is
to be resumed, is called ``NAME.part`` and stays. Where there is none, what stands under the name
may be what another program left of the file: it becomes ``NAME.part`` when the rest begins to
come. The disk is waited for in a thread.

Not here: names that servers gave, which nobody may trust (``mirror.py``).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, TypeVar

from sennit.core.commit import commit, sync_directory
from sennit.core.deferred import Deferred
from sennit.core.reactor.base import current_reactor
from sennit.ftp.client_data import BATCH

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import IO

    from sennit.core.interfaces import Buffer

    T = TypeVar("T")

__all__ = [
    "SLACK",
    "Destination",
    "descriptor_of",
    "in_thread",
    "is_pipe",
    "pieces_of",
    "write_all",
]

SLACK: Final = 2.0
"""Seconds by which times may differ that mean the same: file systems round them."""


async def in_thread(fn: Callable[..., T], *args: object) -> T:
    """Wait for the disk; not less long when cancelled, since the thread goes on."""
    async with commit():
        return await current_reactor().defer_to_thread(fn, *args)


def write_all(file: IO[bytes], data: Buffer) -> None:
    """Write all of it, also to files without a buffer, which may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def descriptor_of(file: IO[bytes]) -> int | None:
    """Its number at the system; ``None`` where it has none: in memory, mostly."""
    try:
        return file.fileno()
    except (OSError, AttributeError, ValueError):
        return None


def is_pipe(file: IO[bytes]) -> bool:
    """Whether it is the system's, and no file: a pipe, terminal or device."""
    number = descriptor_of(file)
    return number is not None and not stat.S_ISREG(os.fstat(number).st_mode)


async def pieces_of(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    """What is left of it, a piece at a time."""
    number, pipe = descriptor_of(file), is_pipe(file)
    # What comes through a pipe goes on as it comes.
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    while True:
        if number is None or (pipe and await _readable(number)):
            data = read(BATCH)
        else:
            data = await in_thread(read, BATCH)
        if not data:
            break
        yield data


async def _readable(number: int) -> bool:
    """Wait until a pipe or terminal can be read; whether that can be waited for.

    A thread that reads what nobody writes would outlast every cancellation.
    """
    reactor = current_reactor()
    ready: Deferred[None] = Deferred()

    def fire() -> None:
        if not ready.fired:
            ready.callback(None)

    try:
        reactor.add_reader(number, fire)
    except PermissionError:
        return False  # a device that always can, /dev/zero say
    try:
        await ready
    finally:
        reactor.remove_reader(number)
    return True


class Destination:
    """Where a file goes that is fetched (made by `open`).

    Args:
        target: Its path in the end.
        beside: That of the file beside.
        resume: Whether that stays when the rest does not come.
        found: Go on with what stands under the name itself.

    Attributes:
        offset: Octets that were there.
        found: POSIX seconds of the last change of what stands under the name, where that is to
            be gone on with.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, target: str, beside: str, *, resume: bool, found: float | None) -> None:
        self._target = target
        self._beside = beside
        self._keep = resume
        self.found = found
        self._written = beside if found is None else target
        self._file = _open(self._written, os.O_CREAT | (0 if resume else os.O_EXCL))
        self.offset = self._file.seek(0, os.SEEK_END)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, resume: bool, follow: bool = True
    ) -> Destination:
        """Begin, or go on with what is there (in a thread).

        Args:
            path: Where it is to be.
            resume: Go on with ``NAME.part``, else with ``NAME``, and leave what came on failure.
            follow: Replace what a link leads to, and not the link.

        Raises:
            OSError: It cannot be, or something is there that is no file.
        """
        target = os.path.realpath(path) if follow else os.path.abspath(path)
        there: os.stat_result | None = None
        try:
            there = os.lstat(target)
        except FileNotFoundError:
            pass
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
            # A device would become a file.
            raise OSError(errno.EINVAL, "what is there is no file", target)
        if resume:
            beside = f"{target}.part"
            found = None
            if there is not None and stat.S_ISREG(there.st_mode) and there.st_size:
                found = None if os.path.lexists(beside) else there.st_mtime
        else:
            folder, name = os.path.split(target)
            short = os.fsencode(name)[:100].decode("utf-8", "ignore")
            beside = os.path.join(folder, f".{short}.{secrets.token_hex(6)}.part")
            found = None
        return cls(target, beside, resume=resume, found=found)

    def begin(self, useful: bool) -> None:
        """More comes, behind what is there or instead of it."""
        if self.found is not None:
            self.found = None
            self._written = self._beside
            if useful:
                os.rename(self._target, self._beside)
            else:
                self._file.close()
                self._file = _open(self._beside, os.O_CREAT)
        if not useful:
            self._file.truncate(0)
            self._file.seek(0)
            self.offset = 0

    def write(self, data: Buffer) -> None:
        """Write behind what is there."""
        write_all(self._file, data)

    def read_back(self, begin: int, length: int) -> bytes:
        """What is there already, for a hash."""
        with open(self._written, "rb") as file:
            file.seek(begin)
            return file.read(length)

    def finish(self, modified: float | None) -> None:
        """All has come: bring it to the disk, and give it its name.

        Args:
            modified: POSIX seconds of its last change.
        """
        with self._file as file:
            try:
                there = os.lstat(self._target).st_mode
            except OSError:
                pass
            else:
                if os.name == "posix" and stat.S_ISREG(there):
                    os.fchmod(file.fileno(), stat.S_IMODE(there) & 0o777)
            if modified is not None:
                os.utime(self._written, (modified, modified))
            os.fsync(file.fileno())
        os.replace(self._written, self._target)
        sync_directory(os.path.dirname(self._target))

    def give_up(self, useless: bool = False) -> None:
        """It does not come: what there is stays if it is to be resumed. Harmless afterwards.

        Args:
            useless: Nothing can be gone on with; what another program left stays all the same.
        """
        self._file.close()
        if not self._keep or (useless and self.found is None):
            try:
                os.unlink(self._beside)
            except FileNotFoundError:
                pass  # it has its name already


def _open(path: str, flags: int) -> IO[bytes]:
    """Open for writing: a file, and none that a link leads to."""
    for each in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, each, 0)
    file = os.fdopen(os.open(path, os.O_WRONLY | flags, 0o666), "wb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "what is to be gone on with is no file", path)
    return file
