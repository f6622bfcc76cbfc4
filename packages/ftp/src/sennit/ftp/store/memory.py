"""Files in memory, for tests, demonstrations and what need not outlive the process.

`MemoryStore` keeps what ``IFileStore`` promises as `DirectoryStore` does, answers alike, and
needs neither disk nor threads, so that it runs in virtual time too. Several users have the same
files, each with permissions and a quota of his own, by `MemoryStore.shared_with`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.ftp.errors import (
    FileBusyError,
    FileNameError,
    FileUnavailableError,
    FTPUsageError,
    StoreError,
)
from sennit.ftp.interfaces import Entry, IFileStore, IReader, IWriter
from sennit.ftp.store.quota import Account, Quota
from sennit.ftp.store.rules import (
    CHANGE,
    CREATE,
    DELETE,
    LIST,
    MKDIR,
    READ,
    RENAME,
    WRITE,
    Names,
    Permissions,
    check_mode,
    free_names,
    may_go_on,
    where_to_write,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from typing import IO

    from sennit.core.interfaces import Buffer
    from sennit.ftp.interfaces import FilePath
    from sennit.ftp.store.rules import Words

__all__ = ["MemoryStore"]

BATCH: Final = 1000
"""Entries of a directory that are given at a time."""


class _File:
    """A file: its octets, which grow where they are or are replaced by others."""

    __slots__ = ("content", "grows", "mode", "modified", "number")

    def __init__(self, content: bytearray, mode: int, modified: float, number: int) -> None:
        self.content = content
        self.mode = mode
        self.modified = modified
        self.number = number
        self.grows = False


class _Directory:
    """A directory: what is in it, by name."""

    __slots__ = ("inside", "mode", "modified", "number")

    def __init__(self, mode: int, modified: float, number: int) -> None:
        self.inside: dict[str, _File | _Directory] = {}
        self.mode = mode
        self.modified = modified
        self.number = number


class _Tree:
    """What all stores of the same files share.

    Attributes:
        taken: Names that STOU has found and not filled yet.
    """

    def __init__(self, wall_clock: Callable[[], float], umask: int) -> None:
        self.wall_clock = wall_clock
        self.umask = umask
        self._numbers = 0
        self.taken: set[FilePath] = set()
        self.root = self.new_directory()

    def new_file(self, content: bytearray) -> _File:
        return _File(content, 0o666 & ~self.umask, self.wall_clock(), self._number())

    def new_directory(self) -> _Directory:
        return _Directory(0o777 & ~self.umask, self.wall_clock(), self._number())

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


@implementer(IFileStore)
class MemoryStore:
    """The files of one user, in memory.

    Args:
        files: What there is at first: octets by path, such as ``{"a/b.txt": b"..."}``. A path
            that ends with a slash is an empty directory.
        permissions: What the user may do, as `Permissions` takes it.
        quota: How much there may be.
        umask: Permission bits that new files and directories do not have.
        hidden: Whether names that begin with a dot are there.
        keep_broken: As of `DirectoryStore`.
        wall_clock: POSIX seconds: when files change.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        permissions: Words | Mapping[str, Words] | Permissions = "all",
        quota: Quota | None = None,
        umask: int = 0o022,
        hidden: bool = True,
        keep_broken: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._keep_broken = keep_broken
        self._tree = _Tree(wall_clock, umask)
        self._account = Account(quota)
        self._permissions = Permissions.of(permissions)
        self._names = Names(hidden=hidden)
        for text, content in (files or {}).items():
            self._put(text, content)

    def shared_with(
        self,
        *,
        permissions: Words | Mapping[str, Words] | Permissions = "all",
        quota: Quota | None = None,
    ) -> MemoryStore:
        """Give another user a store of the same files."""
        other = object.__new__(type(self))
        other._tree = self._tree
        other._account = Account(quota, self._account.usage)
        other._permissions = Permissions.of(permissions)
        other._names = self._names
        other._keep_broken = self._keep_broken
        return other

    def _put(self, text: str, content: bytes) -> None:
        *above, name = text.removeprefix("/").split("/")
        directory = self._tree.root
        for each in above:
            self._names.give((each,))
            if each not in directory.inside:
                directory.inside[each] = self._tree.new_directory()
                self._account.add(files=1)
            below = directory.inside[each]
            if not isinstance(below, _Directory):
                raise FTPUsageError(f"{each!r} of {text!r} is a file already")
            directory = below
        if name:
            self._names.give((name,))
            directory.inside[name] = self._tree.new_file(bytearray(content))
            self._account.add(len(content), 1)

    # ── looking ───────────────────────────────────────────────────────────────

    def _find(self, path: FilePath) -> _File | _Directory:
        self._names.find(path)
        found: _File | _Directory = self._tree.root
        for name in path:
            below = found.inside.get(name) if isinstance(found, _Directory) else None
            if below is None:
                raise FileUnavailableError
            found = below
        return found

    def _directory(self, path: FilePath) -> _Directory:
        found = self._find(path)
        if not isinstance(found, _Directory):
            raise FileUnavailableError
        return found

    def _file(self, path: FilePath) -> _File:
        found = self._find(path)
        if not isinstance(found, _File):
            raise FileUnavailableError
        return found

    def _look(self, path: FilePath) -> _File | _Directory | None:
        """What stands at a path whose directory is there."""
        return self._directory(path[:-1]).inside.get(path[-1])

    def _entry(self, path: FilePath, found: _File | _Directory) -> Entry:
        kind, size = ("file", len(found.content)) if isinstance(found, _File) else ("dir", 0)
        return Entry(
            path[-1] if path else "",
            kind,
            size=size,
            modified=found.modified,
            mode=found.mode,
            permissions=self._permissions.letters(path, is_directory=kind == "dir"),
            unique=f"{found.number:x}",
        )

    async def stat(self, path: FilePath) -> Entry:
        if not self._permissions.can_see(path):
            raise FileUnavailableError
        return self._entry(path, self._find(path))

    async def list_directory(self, path: FilePath) -> AsyncIterator[Sequence[Entry]]:
        self._permissions.need(LIST, path)
        inside = list(self._directory(path).inside.items())
        for begin in range(0, len(inside), BATCH):
            yield [
                self._entry((*path, name), found) for name, found in inside[begin : begin + BATCH]
            ]

    # ── files ─────────────────────────────────────────────────────────────────

    async def open_reader(self, path: FilePath) -> IReader:
        if not path:
            raise FileUnavailableError
        self._permissions.need(READ, path[:-1])
        found = self._file(path)
        return _Reader(self._entry(path, found), found.content)

    async def open_writer(
        self,
        path: FilePath,
        *,
        offset: int = 0,
        append: bool = False,
        unique: bool = False,
        size: int | None = None,
    ) -> IWriter:
        self._names.find(path[:-1])
        if unique:
            path = self._free_name(path)
        self._names.give(path)
        found = self._look(path)
        if isinstance(found, _Directory):
            raise FileUnavailableError
        there = None if found is None else len(found.content)
        allowed = self._permissions.at(path[:-1])
        at = where_to_write(allowed, there, offset, append)
        if found is not None and at is not None:
            return self._grow(path, found, at, size)
        self._account.demand(size or 0, 1 if found is None else 0, instead_of=there or 0)
        self._account.add(files=1)
        if unique:
            self._tree.taken.add(path)
        may_replace = bool(allowed & WRITE) and not unique
        keeps = self._keep_broken and found is None and not unique and may_go_on(allowed)
        return _NewFile(self, path, there or 0, may_replace=may_replace, keeps=keeps)

    def _grow(self, path: FilePath, found: _File, at: int, size: int | None) -> IWriter:
        """Write a file that is there, from an octet on."""
        if found.grows:
            raise FileBusyError("The file is being written")
        self._account.demand(size or 0, instead_of=len(found.content) - at)
        found.grows = True
        return _GrowingFile(self, path, found, at)

    def _free_name(self, path: FilePath) -> FilePath:
        """A path that is free, in a directory or like a proposal (STOU)."""
        if not path or isinstance(self._look(path), _Directory):
            directory, proposed = path, "ftp"
        else:
            directory, proposed = path[:-1], path[-1]
            self._names.give(path)
        taken = self._directory(directory).inside
        for name in free_names(proposed, bare=directory != path):
            path = (*directory, name)
            if name not in taken and path not in self._tree.taken:
                return path
        raise FileNameError("No name is free")

    async def remove_file(self, path: FilePath) -> None:
        if not path:
            raise FileUnavailableError
        self._permissions.need(DELETE, path[:-1])
        found = self._file(path)
        self._take_away(path)
        self._account.add(-len(found.content), -1)

    async def set_mode(self, path: FilePath, mode: int) -> None:
        self._changed(path, mode=check_mode(mode))

    async def set_modified(self, path: FilePath, modified: float) -> None:
        self._changed(path, modified=modified)

    def _changed(
        self, path: FilePath, *, mode: int | None = None, modified: float | None = None
    ) -> None:
        if not path:
            raise FileUnavailableError
        self._permissions.need(CHANGE, path[:-1])
        found = self._find(path)
        if mode is not None:
            found.mode = mode
        if modified is not None:
            found.modified = modified

    # ── directories and names ─────────────────────────────────────────────────

    async def make_directory(self, path: FilePath) -> None:
        if not path:
            raise FileUnavailableError
        self._permissions.need(MKDIR, path[:-1])
        self._names.give(path)
        if self._look(path) is not None:
            raise FileUnavailableError
        self._account.demand(files=1)
        self._account.add(files=1)
        self._place(path, self._tree.new_directory())

    async def remove_directory(self, path: FilePath) -> None:
        if not path or self._permissions.is_named(path):
            raise FileUnavailableError
        self._permissions.need(DELETE, path[:-1])
        if self._directory(path).inside:
            raise FileUnavailableError
        self._take_away(path)
        self._account.add(files=-1)

    async def rename(self, source: FilePath, target: FilePath) -> None:
        if not source or not target:
            raise FileUnavailableError
        self._permissions.need(RENAME, source[:-1])
        found = self._find(source)
        is_directory = isinstance(found, _Directory)
        if is_directory and self._permissions.is_named(source):
            raise FileUnavailableError
        self._names.give(target)
        there = self._look(target)
        if there is found:
            return
        if there is None:
            self._permissions.need(MKDIR if is_directory else CREATE, target[:-1])
        elif isinstance(there, _Directory) or is_directory:
            raise FileUnavailableError
        else:
            self._permissions.need(WRITE, target[:-1])
        if target[: len(source)] == source:  # into itself
            raise FileUnavailableError
        if isinstance(there, _File):
            self._account.add(-len(there.content), -1)
        self._take_away(source)
        self._place(target, found)

    def _place(self, path: FilePath, found: _File | _Directory) -> None:
        directory = self._directory(path[:-1])
        directory.inside[path[-1]] = found
        directory.modified = self._tree.wall_clock()

    def _take_away(self, path: FilePath) -> None:
        directory = self._directory(path[:-1])
        del directory.inside[path[-1]]
        directory.modified = self._tree.wall_clock()


@implementer(IReader)
class _Reader:
    """A file that is sent: its octets at the moment of opening, unless it grows."""

    def __init__(self, entry: Entry, content: bytearray) -> None:
        self._entry = entry
        self._content: bytearray | None = content

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def file(self) -> IO[bytes] | None:
        return None

    async def read(self, offset: int, length: int) -> bytes:
        if self._content is None:
            raise FTPUsageError("this reader is closed")
        return bytes(self._content[offset : offset + length])

    def close(self) -> None:
        self._content = None


@implementer(IWriter)
class _NewFile:
    """A file that nobody sees until it is whole."""

    def __init__(
        self,
        store: MemoryStore,
        path: FilePath,
        replaced: int,
        *,
        may_replace: bool,
        keeps: bool,
    ) -> None:
        self._store = store
        self._path = path
        self._replaced = replaced
        self._may_replace = may_replace
        self._keeps = keeps
        self._content: bytearray | None = bytearray()

    @property
    def keeps(self) -> bool:
        return self._keeps and self._content is not None

    @property
    def path(self) -> FilePath:
        return self._path

    async def write(self, pieces: Sequence[Buffer]) -> None:
        content = self._content
        if content is None:
            raise FTPUsageError("this writer has ended")
        account = self._store._account
        octets = sum(map(len, pieces))
        try:
            account.demand(octets, instead_of=self._replaced)
        except BaseException:
            self._end()
            raise
        account.add(octets)
        for piece in pieces:
            content += piece

    async def commit(self) -> None:
        content = self._content
        if content is None:
            raise FTPUsageError("this writer has ended")
        store = self._store
        try:
            there = store._look(self._path)
            if isinstance(there, _Directory) or (there is not None and not self._may_replace):
                raise FileUnavailableError
            gone = 0 if there is None else len(there.content)
            if gone < self._replaced:  # what it was to replace has become less meanwhile
                store._account.demand(len(content), instead_of=len(content) + gone)
            made = store._tree.new_file(content)
            if there is not None:
                made.mode = there.mode
                store._account.add(-gone, -1)
            store._place(self._path, made)
        except BaseException:
            self._end()
            raise
        self._content = None
        store._tree.taken.discard(self._path)

    async def abort(self) -> None:
        if self._keeps and self._content:
            self._may_replace = False
            with suppress(StoreError):  # somebody has made it meanwhile
                await self.commit()
        self._end()

    def _end(self) -> None:
        content, self._content = self._content, None
        if content is not None:
            self._store._account.add(-len(content), -1)
            self._store._tree.taken.discard(self._path)


@implementer(IWriter)
class _GrowingFile:
    """A file that grows where it is; what is behind goes with the first octets that come."""

    def __init__(self, store: MemoryStore, path: FilePath, found: _File, at: int) -> None:
        self._store = store
        self._path = path
        self._found: _File | None = found
        self._at: int | None = at

    @property
    def path(self) -> FilePath:
        return self._path

    @property
    def keeps(self) -> bool:
        return self._found is not None

    async def write(self, pieces: Sequence[Buffer]) -> None:
        found = self._found
        if found is None:
            raise FTPUsageError("this writer has ended")
        octets = sum(map(len, pieces))
        account = self._store._account
        behind = 0 if self._at is None else len(found.content) - self._at
        try:
            account.demand(octets, instead_of=behind)
        except BaseException:
            await self.abort()
            raise
        if octets:
            self._cut(found)
            account.add(octets)
            for piece in pieces:
                found.content += piece
            found.modified = self._store._tree.wall_clock()

    def _cut(self, found: _File) -> None:
        if self._at is not None:
            self._store._account.add(self._at - len(found.content))
            del found.content[self._at :]
            self._at = None

    async def commit(self) -> None:
        if self._found is None:
            raise FTPUsageError("this writer has ended")
        self._cut(self._found)
        await self.abort()

    async def abort(self) -> None:
        found, self._found = self._found, None
        if found is not None:
            found.grows = False
