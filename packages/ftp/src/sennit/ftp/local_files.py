"""Files of this machine that are fetched or sent: whole under their name, or not there.

What is fetched goes into a file beside the wanted one and takes its name when all has come and is
on the disk. The file beside has a made-up name and goes with the failure, or, where a transfer is
to be resumed, is called ``NAME.part`` and stays. The disk is waited for in a thread.

Not here: names that servers gave, which nobody may trust (``mirror.py``).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING, TypeVar

from sennit.core.commit import commit
from sennit.core.reactor.base import current_reactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from sennit.core.interfaces import Buffer

    T = TypeVar("T")

__all__ = ["Destination", "in_thread", "write_all"]


async def in_thread(fn: Callable[..., T], *args: object) -> T:
    """Wait for the disk; not less long when cancelled, since the thread goes on."""
    async with commit():
        return await current_reactor().defer_to_thread(fn, *args)


def write_all(file: IO[bytes], data: Buffer) -> None:
    """Write all of it, also to files without a buffer, which may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


class Destination:
    """Where a file goes that is fetched (made by `open`).

    Args:
        target: Its path in the end.
        beside: That of the file beside.
        file: The file beside, open for writing at its end.
        offset: Octets that were there.
        keep: Whether it stays when the rest does not come.
    """

    def __init__(
        self, target: str, beside: str, file: IO[bytes], offset: int, *, keep: bool
    ) -> None:
        self._target = target
        self._beside = beside
        self._file = file
        self.offset = offset
        self._keep = keep

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, resume: bool) -> Destination:
        """Begin, or go on with what is there (in a thread).

        Args:
            path: Where it is to be. What a link leads to is replaced, and not the link.
            resume: Go on with ``NAME.part``, and leave it there on failure.

        Raises:
            OSError: It cannot be.
        """
        target = os.fspath(path)
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        target = os.path.realpath(target)
        folder, name = os.path.split(target)
        if resume:
            beside = f"{target}.part"
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        else:
            short = os.fsencode(name)[:100].decode("utf-8", "ignore")
            beside = os.path.join(folder, f".{short}.{secrets.token_hex(6)}.part")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(beside, flags, 0o666), "wb", buffering=0)
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "what is to be gone on with is no file", beside)
            offset = file.seek(0, os.SEEK_END)
            return cls(target, beside, file, offset, keep=resume)
        except BaseException:
            file.close()
            raise

    def begin_anew(self) -> None:
        """What is there is of no use."""
        self._file.truncate(0)
        self._file.seek(0)
        self.offset = 0

    def write(self, data: Buffer) -> None:
        """Write behind what is there."""
        write_all(self._file, data)

    def read_back(self, begin: int, length: int) -> bytes:
        """What is there already, for a hash."""
        with open(self._beside, "rb") as file:
            file.seek(begin)
            return file.read(length)

    def finish(self, modified: float | None) -> None:
        """All has come: bring it to the disk, and give it its name.

        Args:
            modified: POSIX seconds of its last change.
        """
        with self._file as file:
            try:
                mode = stat.S_IMODE(os.stat(self._target).st_mode) & 0o777
            except OSError:
                pass
            else:
                if os.name == "posix":
                    os.fchmod(file.fileno(), mode)
            if modified is not None:
                os.utime(self._beside, (modified, modified))
            os.fsync(file.fileno())
        os.replace(self._beside, self._target)
        if os.name == "posix":
            folder = os.open(os.path.dirname(self._target) or ".", os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def give_up(self) -> None:
        """It does not come: what there is stays if it is to be resumed. Harmless afterwards."""
        self._file.close()
        if not self._keep:
            try:
                os.unlink(self._beside)
            except FileNotFoundError:
                pass  # it has its name already
