"""The files of one user in a directory of the system, and nothing else.

What is asked for is opened beneath the root by descriptor (``root.py``); links are not followed,
or only as far as they stay beneath. What is missing, forbidden, a link, no regular file, or has
a name that cannot be told gets one answer. What is sent is read in ``reading.py``, what is
received is written in ``writing.py``.

To look at or open a file takes the loop a few microseconds, to go to a thread takes about 90 of
CPU: so that is done in the loop, as for files of the Web, and threads have what waits for the
disk: writing, ``fsync``, large directories, large pieces that are read.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core.beneath import Descriptor
from sennit.ftp.errors import (
    FileBusyError,
    FileNameError,
    FileUnavailableError,
)
from sennit.ftp.interfaces import Entry, IFileStore, IReader, IWriter
from sennit.ftp.store.places import (
    FLAGS,
    change_mode,
    check_room,
    check_writable,
    kind_of,
    look,
    make_directory,
    sweep_directory,
    sync_and_close,
)
from sennit.ftp.store.quota import Account, Quota
from sennit.ftp.store.reading import FileReader
from sennit.ftp.store.root import (
    DIRECTORY,
    READING,
    WRITING,
    Root,
    in_thread,
    lock,
    unlink_and_close,
)
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
from sennit.ftp.store.writing import LARGE, GrowingFile, NewFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from sennit.ftp.interfaces import FilePath
    from sennit.ftp.store.rules import Words

__all__ = ["DirectoryStore"]

BATCH: Final = 1000
"""Entries of a directory that a thread looks at in one go."""
FIRST_BATCH: Final = 100
"""Entries that are looked at in the loop, which most directories have no more of."""


@implementer(IFileStore)
class DirectoryStore:
    """The files of one user.

    Args:
        root: Their directory; a `Root` where several stores share one.
        permissions: What the user may do, as `Permissions` takes it.
        quota: How much there may be beneath the root.
        umask: Permission bits that new files and directories do not have.
        hidden: Whether names that begin with a dot are there.
        follow: Whether links are followed that stay beneath the root; a `Root` has its own say.
        sync: Whether what is received is on the disk before it is acknowledged.
        keep_broken: Whether what has come of a new file that breaks off gets the file's name, so
            that it can be gone on with (and anybody sees it, as if it were whole).
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | Root,
        *,
        permissions: Words | Mapping[str, Words] | Permissions = "all",
        quota: Quota | None = None,
        umask: int = 0o022,
        hidden: bool = True,
        follow: bool = False,
        sync: bool = True,
        keep_broken: bool = False,
    ) -> None:
        self._root = root if isinstance(root, Root) else Root(root, follow=follow)
        self._permissions = Permissions.of(permissions)
        self._names = Names(hidden=hidden)
        self._quota = quota
        self._account = Account(quota, self._root.usage)
        self._umask = umask
        self._sync = sync
        self._keep_broken = keep_broken

    @property
    def root(self) -> Root:
        """The directory."""
        return self._root

    async def count(self) -> None:
        """Know how much there is, where that matters; removes what a crash has left."""
        if self._quota is not None:
            await self._root.count()

    def close(self) -> None:
        """Give the root's descriptor back; it is opened again when it is needed."""
        self._root.close()

    # ── looking ───────────────────────────────────────────────────────────────

    def _find(self, path: FilePath, need: int, *, last: bool = True) -> tuple[int, str, FilePath]:
        """Go to where a path is, if all that is needed may be done in its directory."""
        permissions = self._permissions
        permissions.need(need, path[:-1])
        place, name, way = self._root.find(path, last=last)
        if way is not path and permissions.at(way[:-1]) & need != need:
            self._root.leave(place)
            raise FileUnavailableError
        return place, name, way

    def _entry(self, name: str, path: FilePath, found: os.stat_result) -> Entry:
        kind = kind_of(found.st_mode)
        return Entry(
            name,
            kind,
            size=found.st_size,
            modified=found.st_mtime,
            mode=found.st_mode & 0o7777,
            # No owner and group: names of accounts are not told (RFC 2577 §6).
            permissions=self._permissions.letters(path, is_directory=kind == "dir"),
            unique=f"{found.st_dev:x}g{found.st_ino:x}",
            links=found.st_nlink,
        )

    async def stat(self, path: FilePath) -> Entry:
        self._names.find(path)
        if not self._permissions.can_see(path):
            raise FileUnavailableError
        with READING:
            place, name, way = self._root.find(path)
            try:
                found = os.lstat(name, dir_fd=place)
            finally:
                self._root.leave(place)
        if stat.S_ISLNK(found.st_mode) or (way is not path and not self._permissions.can_see(way)):
            raise FileUnavailableError
        return self._entry(path[-1] if path else "", way, found)

    async def list_directory(self, path: FilePath) -> AsyncIterator[Sequence[Entry]]:
        self._names.find(path)
        with READING:
            self._permissions.need(LIST, path)
            place, name, way = self._root.find(path)
            try:
                self._permissions.need(LIST, way)
                fd = os.open(name, DIRECTORY, dir_fd=place)
            finally:
                self._root.leave(place)
            try:
                found = os.scandir(fd)
            except BaseException:
                os.close(fd)
                raise
        try:
            entries, links, more = self._take(found, way, FIRST_BATCH)
            while True:
                with READING:
                    entries += self._entries_behind(links, way)
                if entries:
                    yield entries
                if not more:
                    break
                with READING:
                    entries, links, more = await in_thread(self._take, found, way, BATCH)
        finally:
            found.close()
            os.close(fd)

    def _take(
        self, found: Iterator[os.DirEntry[str]], path: FilePath, most: int
    ) -> tuple[list[Entry], list[str], bool]:
        """Look at the next entries: give them, names of links, and whether there may be more."""
        entries: list[Entry] = []
        links: list[str] = []
        shows = self._names.shows
        for seen, each in enumerate(found, 1):
            name = each.name
            if shows(name):
                if each.is_symlink():
                    links.append(name)
                else:
                    try:
                        status = each.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        pass  # gone meanwhile
                    else:
                        entries.append(self._entry(name, (*path, name), status))
            if seen == most:
                return entries, links, True
        return entries, links, False

    def _entries_behind(self, links: Sequence[str], path: FilePath) -> list[Entry]:
        """What links lead to, where they are followed and lead to something beneath the root."""
        entries: list[Entry] = []
        if self._root.follow:
            for name in links:
                try:
                    place, last, way = self._root.find((*path, name))
                except OSError:
                    continue
                try:
                    if self._permissions.can_see(way):
                        entries.append(self._entry(name, way, os.lstat(last, dir_fd=place)))
                except OSError:
                    continue
                finally:
                    self._root.leave(place)
        return entries

    # ── files ─────────────────────────────────────────────────────────────────

    async def open_reader(self, path: FilePath) -> IReader:
        self._names.find(path)
        with READING:
            place, name, way = self._find(path, READ)
            try:
                fd = os.open(name, os.O_RDONLY | FLAGS, dir_fd=place)
            finally:
                self._root.leave(place)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise FileUnavailableError
            except BaseException:
                os.close(fd)
                raise
        return FileReader(self._entry(path[-1] if path else "", way, found), Descriptor(fd))

    async def open_writer(
        self,
        path: FilePath,
        *,
        offset: int = 0,
        append: bool = False,
        unique: bool = False,
        size: int | None = None,
    ) -> IWriter:
        if unique:
            self._names.find(path[:-1])
        if self._quota is not None:
            await self.count()
        with WRITING:
            if unique:
                path = self._free_name(path)
            self._names.give(path)
            place, name, way = self._root.find(path)
            try:
                there = look(name, place)
                if there is not None and not stat.S_ISREG(there.st_mode):
                    raise FileUnavailableError
                allowed = self._permissions.at(path[:-1]) & self._permissions.at(way[:-1])
                at = where_to_write(
                    allowed, None if there is None else there.st_size, offset, append
                )
                if at is not None:
                    return self._grow(way, place, name, at, size)
                replaced = 0 if there is None else there.st_size
                self._account.demand(size or 0, int(there is None), instead_of=replaced)
                if size:
                    check_room(place, size)
                check_writable(place)
                own = os.open(".", DIRECTORY, dir_fd=place)
            finally:
                self._root.leave(place)
            writer = NewFile(
                self._root,
                self._account,
                path,
                own,
                name,
                there,
                may_replace=bool(allowed & WRITE) and not unique,
                umask=self._umask,
                sync=self._sync,
                keeps=self._keep_broken and there is None and not unique and may_go_on(allowed),
            )
            if unique:
                self._root.taken.add(path)
            return writer

    def _grow(self, path: FilePath, place: int, name: str, at: int, size: int | None) -> IWriter:
        """Write a file that is there, from an octet on."""
        fd = os.open(name, os.O_WRONLY | FLAGS, dir_fd=place)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size < at:
                raise FileUnavailableError
            if not lock(fd):
                raise FileBusyError("The file is being written")
            behind = found.st_size - at
            self._account.demand(size or 0, instead_of=behind)
        except BaseException:
            os.close(fd)
            raise
        return GrowingFile(self._root, self._account, path, fd, at, behind=behind, sync=self._sync)

    def _free_name(self, path: FilePath) -> FilePath:
        """A path that is free, in a directory or like a proposal (STOU)."""
        directory, proposed = path, "ftp"
        place, name, _ = self._root.find(path)
        try:
            there = look(name, place)
        finally:
            self._root.leave(place)
        if there is None or not stat.S_ISDIR(there.st_mode):
            directory, proposed = path[:-1], path[-1]
            self._names.give(path)
        for name in free_names(proposed, bare=directory != path):
            path = (*directory, name)
            place, name, _ = self._root.find(path, last=False)
            try:
                there = look(name, place)
            finally:
                self._root.leave(place)
            if there is None and path not in self._root.taken:
                return path
        raise FileNameError("No name is free")

    async def remove_file(self, path: FilePath) -> None:
        self._names.find(path)
        _not_root(path)
        with WRITING:
            place, name, _ = self._find(path, DELETE, last=False)
            try:
                found = os.lstat(name, dir_fd=place)
                if stat.S_ISDIR(found.st_mode) or self._is_dead_link(found):
                    raise FileUnavailableError
                if found.st_size < LARGE:
                    os.unlink(name, dir_fd=place)
                    place_to_go = -1
                else:
                    place_to_go = os.dup(place)
            finally:
                self._root.leave(place)
            if place_to_go >= 0:
                await in_thread(unlink_and_close, name, place_to_go)
        self._account.add(-found.st_size if stat.S_ISREG(found.st_mode) else 0, -1)

    def _is_dead_link(self, found: os.stat_result) -> bool:
        """Whether it is a link where none is followed, and so nothing."""
        return stat.S_ISLNK(found.st_mode) and not self._root.follow

    async def set_mode(self, path: FilePath, mode: int) -> None:
        self._names.find(path)
        _not_root(path)
        check_mode(mode)
        with WRITING:
            place, name, _ = self._find(path, CHANGE)
            try:
                change_mode(name, place, mode)
            finally:
                self._root.leave(place)

    async def set_modified(self, path: FilePath, modified: float) -> None:
        self._names.find(path)
        _not_root(path)
        with WRITING:
            place, name, _ = self._find(path, CHANGE)
            try:
                found = os.lstat(name, dir_fd=place)
                if stat.S_ISLNK(found.st_mode):
                    raise FileUnavailableError
                os.utime(name, (found.st_atime, modified), dir_fd=place, follow_symlinks=False)
            except (OverflowError, ValueError):
                raise FileUnavailableError from None  # no time of a file
            finally:
                self._root.leave(place)

    # ── directories and names ─────────────────────────────────────────────────

    async def make_directory(self, path: FilePath) -> None:
        self._names.give(path)
        await self.count()
        with WRITING:
            place, name, _ = self._find(path, MKDIR, last=False)
            try:
                self._account.demand(files=1)
                own = os.open(".", DIRECTORY, dir_fd=place)
                try:
                    make_directory(name, own, 0o777 & ~self._umask)
                except BaseException:
                    os.close(own)
                    raise
            finally:
                self._root.leave(place)
            self._account.add(files=1)
            await self._put_on_disk(own)

    async def remove_directory(self, path: FilePath) -> None:
        self._names.find(path)
        _not_root(path)
        with WRITING:
            place, name, way = self._find(path, DELETE, last=False)
            try:
                if self._keeps_name(path, way):
                    raise FileUnavailableError
                try:
                    os.rmdir(name, dir_fd=place)
                except OSError:
                    if not sweep_directory(name, place):
                        raise
                    os.rmdir(name, dir_fd=place)
            finally:
                self._root.leave(place)
        self._account.add(files=-1)

    async def rename(self, source: FilePath, target: FilePath) -> None:
        self._names.find(source)
        _not_root(source)
        self._names.give(target)
        with WRITING:
            place, name, from_way = self._find(source, RENAME, last=False)
            try:
                own = os.open(".", DIRECTORY, dir_fd=place)
            finally:
                self._root.leave(place)
            try:
                place, new_name, way = self._find(target, 0, last=False)
                try:
                    new_own = os.open(".", DIRECTORY, dir_fd=place)
                finally:
                    self._root.leave(place)
            except BaseException:
                os.close(own)
                raise
            try:
                allowed = self._permissions.at(target[:-1]) & self._permissions.at(way[:-1])
                keeps = self._keeps_name(source, from_way)
                self._rename(own, name, new_own, new_name, allowed, keeps=keeps)
            except BaseException:
                os.close(own)
                os.close(new_own)
                raise
            await self._put_on_disk(new_own, own)

    def _keeps_name(self, path: FilePath, way: FilePath) -> bool:
        """Whether permissions are said of it, under the name given or where links led."""
        return self._permissions.is_named(path) or self._permissions.is_named(way)

    def _rename(
        self, own: int, name: str, new_own: int, new_name: str, allowed: int, *, keeps: bool
    ) -> None:
        found = os.lstat(name, dir_fd=own)
        is_directory = stat.S_ISDIR(found.st_mode)
        if self._is_dead_link(found) or (is_directory and keeps):
            raise FileUnavailableError
        there = look(new_name, new_own)
        if there is None:
            need = MKDIR if is_directory else CREATE
        elif is_directory or not stat.S_ISREG(there.st_mode):
            raise FileUnavailableError
        elif os.path.samestat(found, there):
            return  # two names of one file, and both stay
        else:
            need = WRITE
        if not allowed & need:
            raise FileUnavailableError
        os.rename(name, new_name, src_dir_fd=own, dst_dir_fd=new_own)
        if there is not None:
            self._account.add(-there.st_size, -1)

    async def _put_on_disk(self, *places: int) -> None:
        """See that names are on the disk; closes the descriptors of their directories."""
        if self._sync:
            await in_thread(sync_and_close, places)
        else:
            for each in places:
                os.close(each)


def _not_root(path: FilePath) -> None:
    if not path:
        raise FileUnavailableError
