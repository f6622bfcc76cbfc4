"""Files of the system that are being received.

`NewFile` writes to a temporary name in the file's directory, which nobody is shown; `commit`
puts the octets on the disk, gives the file its name and puts the directory on the disk, before
it is done. Whenever the process or the machine ends, there is the old file or the new one.
`GrowingFile` writes a file where it is (REST, APPE), and holds it locked.

Few octets wait in memory for more, or for `commit`: a small file is made, written, put on the
disk and named in one visit of a thread. Where nothing stands in its place it has no temporary
name either, if the system has files without a name (O_TMPFILE): no lock, nobody to sweep it away,
and nothing that a crash could leave. (To make a file takes 10 µs, but 200 and more where the
disk is just being told of others, which is whenever files come one after the other.) Where
``fsync`` has taken no time for a while, as in file systems that are memory, no thread is visited
for it: that costs about 100 µs, and what is waited for there is less than looking at a file.

Whatever goes wrong, nothing of a new file is left, unless it is to be kept: then what arrived
gets the name when the rest does not come, if the name is free. What arrived of a file that grows
stays.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core.deferred import Deferred, shield
from sennit.ftp.errors import FileUnavailableError, FTPUsageError, StoreError
from sennit.ftp.interfaces import IDrainingWriter
from sennit.ftp.store.root import OPEN_FILES, WRITING, in_thread, lock, unlink_and_close

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.core.interfaces import Buffer
    from sennit.ftp.interfaces import FilePath
    from sennit.ftp.store.quota import Account
    from sennit.ftp.store.root import Root

__all__ = ["GrowingFile", "NewFile"]

KEPT: Final = 64 * 1024
"""Octets that wait in memory before they are written."""
LARGE: Final = 16 * 1024 * 1024
"""Octets of a file from which on it is removed or cut in a thread: that frees many blocks."""
QUICK: Final = 50e-6
"""Seconds for putting a file and its directory on the disk that are none."""
QUICK_BEFORE: Final = 16
"""Files for which that took no time, one after the other, until no thread is visited."""
_MOST_PIECES: Final = 1024
"""Pieces of one ``writev`` (POSIX: IOV_MAX of Linux and macOS)."""
_TRIES: Final = 16
# What systems and file systems say that know no such files (open(2)).
_NO_NAMELESS: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS}
)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class _Writer(ABC):
    """What both kinds have: octets that wait, one visit of a thread at a time, accounts."""

    def __init__(self, root: Root, account: Account, path: FilePath, fd: int = -1) -> None:
        self._root = root
        self._account = account
        self._path = path
        self._fd = fd
        self._ended = False
        self._waiting: list[Buffer] = []
        self._size_waiting = 0
        self._taken = 0
        self._written = 0
        self._in_place_of = 0
        self._visit: Deferred[None] | None = None
        self._drained = 0  # octets that the thread took by itself and that are not counted yet

    @property
    def path(self) -> FilePath:
        return self._path

    @property
    @abstractmethod
    def keeps(self) -> bool: ...

    async def write(self, pieces: Sequence[Buffer]) -> None:
        self._check_open()
        size = sum(map(len, pieces))
        try:
            self._account.demand(size, instead_of=self._in_place_of)
        except BaseException:
            await self._give_up()
            raise
        self._take(size)
        self._size_waiting += size
        if self._size_waiting < KEPT:
            # What is not to be changed needs no copy.
            self._waiting += [each if type(each) is bytes else bytes(each) for each in pieces]
            return
        await self._visit_thread(self._write_all, [*self._waiting, *pieces])

    @property
    def drains(self) -> bool:
        # Where octets are counted they are asked for before they are written.
        return self._account.quota.octets is None

    async def write_on(self, pieces: Sequence[Buffer], more: Callable[[], Buffer | None]) -> None:
        self._check_open()
        self._take(sum(map(len, pieces)))
        await self._visit_thread(self._write_on, [*self._waiting, *pieces], more)

    def _write_on(self, pieces: Sequence[Buffer], more: Callable[[], Buffer | None]) -> None:
        self._write_all(pieces)
        while (piece := more()) is not None:
            self._write_all([piece])
            self._drained += len(piece)

    def _take(self, size: int) -> None:
        self._account.add(size)
        self._taken += size

    def _check_open(self) -> None:
        if self._ended:
            raise FTPUsageError("this writer has ended")
        if self._visit is not None:
            raise FTPUsageError("what was written before is not done yet")

    def _write_all(self, pieces: Sequence[Buffer]) -> None:
        left = [memoryview(each).cast("B") for each in pieces if len(each)]
        while left:
            written = os.writev(self._fd, left[:_MOST_PIECES])
            self._written += written
            done = 0
            while done < len(left) and written >= len(left[done]):
                written -= len(left[done])
                done += 1
            del left[:done]
            if written:
                left[0] = left[0][written:]

    async def _visit_thread(self, work: Callable[..., None], *args: object) -> None:
        """Do it in a thread; whatever goes wrong there ends this writer."""
        self._waiting = []
        self._size_waiting = 0
        self._visit = Deferred()
        try:
            with WRITING:
                await in_thread(work, *args)
        except StoreError:
            self._leave()
            await self._give_up()
            raise
        except BaseException:
            self._leave()
            await self.abort()  # cancelled: what was written is written
            raise
        self._leave()

    def _leave(self) -> None:
        visit, self._visit = self._visit, None
        if self._drained:
            self._take(self._drained)
            self._drained = 0
        if visit is not None:
            visit.callback(None)

    async def _settle(self) -> None:
        """Wait until no thread is at work on this file."""
        while self._visit is not None:
            await shield(self._visit)

    def _end(self) -> bool:
        """Give the file's descriptor back; whether that had not been done."""
        if self._ended:
            return False
        self._ended = True
        self._waiting = []
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return True

    @abstractmethod
    async def abort(self) -> None: ...

    async def _give_up(self) -> None:
        """The store has failed, not the client."""
        await self.abort()


@implementer(IDrainingWriter)
class NewFile(_Writer):
    """A file that nobody sees until it is whole.

    Args:
        root: Where it will be.
        account: What it counts for.
        path: What it will be called.
        place: A descriptor of its directory, from now on this object's.
        name: Its name there.
        there: The file whose place it takes, if there is one.
        may_replace: Whether it may take the place of one at all.
        umask: Permission bits that it does not have, unless the one before had them.
        sync: Whether it is on the disk when `commit` is done.
        keeps: Whether what has come gets the name when the rest does not come.
    """

    def __init__(
        self,
        root: Root,
        account: Account,
        path: FilePath,
        place: int,
        name: str,
        there: os.stat_result | None,
        *,
        may_replace: bool,
        umask: int,
        sync: bool,
        keeps: bool = False,
    ) -> None:
        super().__init__(root, account, path)
        self._place = place
        self._name = name
        self._temporary = ""
        self._may_replace = may_replace
        self._mode = 0o666 & ~umask if there is None else stat.S_IMODE(there.st_mode) & 0o777
        self._in_place_of = 0 if there is None else there.st_size
        self._replaces = there is not None
        self._gone: int | None = None
        self._sync = sync
        self._keeps = keeps
        self._named = False
        account.add(files=1)
        root.receiving.files += 1

    @property
    def keeps(self) -> bool:
        return self._keeps and not self._ended

    def _take(self, size: int) -> None:
        super()._take(size)
        self._root.receiving.octets += size

    async def commit(self) -> None:
        self._check_open()
        try:
            # What has no name yet and replaces nothing will see when it gets its name.
            if self._fd >= 0 or self._replaces or not self._root.nameless:
                with WRITING:
                    self._look_at_target()
            few = self._taken < KEPT and (self._gone or 0) < LARGE
            if few and (not self._sync or self._root.quick >= QUICK_BEFORE):
                with WRITING:
                    self._finish(self._waiting)
        except BaseException:
            await self._give_up()
            raise
        if not self._named:
            await self._visit_thread(self._finish, self._waiting)
        if self._end():
            os.close(self._place)

    def _look_at_target(self) -> None:
        """See what it takes the place of now."""
        gone = 0
        try:
            found = os.lstat(self._name, dir_fd=self._place)
        except FileNotFoundError:
            self._gone = None
        else:
            if not self._may_replace or not stat.S_ISREG(found.st_mode):
                raise FileUnavailableError
            self._gone = gone = found.st_size
        if gone < self._in_place_of:  # it has become less meanwhile
            self._account.demand(self._taken, instead_of=self._taken + gone)

    def _write_all(self, pieces: Sequence[Buffer]) -> None:
        if self._fd < 0:
            self._temporary, self._fd = _open_temporary(self._place)
        super()._write_all(pieces)

    def _finish(self, pieces: Sequence[Buffer]) -> None:
        nameless = self._fd < 0 and self._gone is None and self._root.nameless
        if nameless:
            self._fd = _open_nameless(self._place)
            if self._fd < 0:
                nameless = self._root.nameless = False
                self._look_at_target()
        self._write_all(pieces)
        with suppress(PermissionError):  # a file system without permission bits
            os.fchmod(self._fd, self._mode)
        waited = self._put_on_disk(self._fd) if self._sync else 0.0
        if nameless:
            try:
                self._give_first_name(self._name)
            except FileExistsError:
                # Somebody has made one meanwhile, whose place it takes now if it may.
                self._look_at_target()
                lock(self._fd)  # else it would be taken for left over
                temporary = _temporary_name()
                self._give_first_name(temporary)
                self._temporary = temporary
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._root.nameless = False
                os.close(self._fd)
                self._fd = -1
                self._written = 0
                self._look_at_target()
                self._finish(pieces)
                return
        if self._temporary and (self._may_replace or not self._name_if_free()):
            os.rename(self._temporary, self._name, src_dir_fd=self._place, dst_dir_fd=self._place)
        self._named = True
        if self._sync:
            waited += self._put_on_disk(self._place)
            self._root.quick = self._root.quick + 1 if waited < QUICK else 0

    def _give_first_name(self, name: str) -> None:
        os.link(f"{OPEN_FILES}/{self._fd}", name, dst_dir_fd=self._place, follow_symlinks=True)

    @staticmethod
    def _put_on_disk(fd: int) -> float:
        """Wait until it is there; seconds that took."""
        began = time.perf_counter()
        os.fsync(fd)
        return time.perf_counter() - began

    def _name_if_free(self) -> bool:
        """Give the name unless somebody else has got it; whether the file system can do that."""
        place = self._place
        try:
            os.link(
                self._temporary,
                self._name,
                src_dir_fd=place,
                dst_dir_fd=place,
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Between having looked and giving the name, only strangers act.
            return False
        self._named = True
        os.unlink(self._temporary, dir_fd=place)
        return True

    async def _give_up(self) -> None:
        self._keeps = False
        await self.abort()

    async def abort(self) -> None:
        await self._settle()
        if self._keeps and self._taken and not self._ended:
            self._keeps = False  # it is tried once
            self._may_replace = False
            with suppress(StoreError):  # somebody has made it meanwhile, or the disk is full
                await self.commit()
        large = self._written >= LARGE
        # Closed first: who closes a file last that has no name frees its blocks.
        if not self._end():
            return
        if self._named or not self._temporary:
            os.close(self._place)
            return
        with suppress(OSError):
            if large:
                await in_thread(unlink_and_close, self._temporary, self._place)
            else:
                unlink_and_close(self._temporary, self._place)

    def _end(self) -> bool:
        if not super()._end():
            return False
        self._root.taken.discard(self._path)
        self._root.receiving.octets -= self._taken
        self._root.receiving.files -= 1
        if not self._named:
            self._account.add(-self._taken, -1)
        elif self._gone is not None:
            self._account.add(-self._gone, -1)
        return True


def _open_nameless(place: int) -> int:
    """Make a file that has no name; -1 where the system or file system cannot."""
    try:
        return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=place)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
        return -1


def _temporary_name() -> str:
    return f".sennit-{secrets.token_hex(8)}.part"


def _open_temporary(place: int) -> tuple[str, int]:
    """Make a file that nobody sees, locked so that it is not taken for left over."""
    for _ in range(_TRIES):
        name = _temporary_name()
        # It is nobody else's before it has its name.
        fd = os.open(
            name,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=place,
        )
        try:
            # Somebody may have swept it away between the two calls.
            if lock(fd) and os.fstat(fd).st_nlink == 1:
                return name, fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise FileUnavailableError


@implementer(IDrainingWriter)
class GrowingFile(_Writer):
    """A file that grows where it is.

    Args:
        root: Where it is.
        account: What it counts for.
        path: What it is called.
        fd: Open for writing and locked; from now on this object's.
        at: Octet from which on it is written.
        behind: Octets that are there from that one on, and go with the first that come.
        sync: Whether it is on the disk when `commit` is done.
    """

    def __init__(
        self,
        root: Root,
        account: Account,
        path: FilePath,
        fd: int,
        at: int,
        *,
        behind: int,
        sync: bool,
    ) -> None:
        super().__init__(root, account, path, fd)
        self._at = at
        self._in_place_of = behind
        self._cut = False
        self._sync = sync

    @property
    def keeps(self) -> bool:
        return not self._ended

    def _write_all(self, pieces: Sequence[Buffer]) -> None:
        if not self._cut:
            os.ftruncate(self._fd, self._at)
            self._cut = True
            os.lseek(self._fd, self._at, os.SEEK_SET)
        super()._write_all(pieces)

    def _finish(self, pieces: Sequence[Buffer]) -> None:
        self._write_all(pieces)
        if self._sync:
            os.fsync(self._fd)

    async def commit(self) -> None:
        self._check_open()
        await self._visit_thread(self._finish, self._waiting)
        self._end()

    async def abort(self) -> None:
        await self._settle()
        # What has arrived stays: the client will go on from there.
        pieces, self._waiting = self._waiting, []
        if pieces:
            with suppress(StoreError):
                await self._visit_thread(self._write_all, pieces)
        self._end()

    def _end(self) -> bool:
        if not super()._end():
            return False
        self._account.add(self._written - self._taken - (self._in_place_of if self._cut else 0))
        return True
