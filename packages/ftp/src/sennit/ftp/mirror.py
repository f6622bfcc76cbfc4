"""Whole trees, fetched or sent: what has changed, over several connections side by side.

One connection lists, `parallel` others move files. In memory are the entries of one directory,
the directories still to be looked at, and a few files that wait. What has the same size and time
stays as it is; times come from MLSD, or are asked for one by one (MDTM) where a listing is not to
be believed.

What may work later (a 4yz, a connection that is lost) is tried again after a while; what fails
for good is told in the result, and the rest goes on.

Names are the server's: one that is no plain name is left out, and nothing is written or removed
through a link of this machine: a file replaces the link itself. Links of the server are not
followed. A directory that is a file in the copy, or the other way, is replaced only where what
the original does not have is to be removed.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sennit.core.errors import ConnectError, ConnectionLost, TLSError
from sennit.core.service.backoff import BackOff
from sennit.ftp.errors import FTPError, FTPTransientError, FTPUsageError, TransferError
from sennit.ftp.local_files import SLACK, in_thread
from sennit.ftp.replies import name_is_safe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias, TypeVar

    from sennit.ftp.client import FTPClient
    from sennit.ftp.interfaces import Entry

    OnStep: TypeAlias = Callable[["Step"], object]
    T = TypeVar("T")

__all__ = ["Mirrored", "Step", "mirror"]

SHORTEST: Final = 1.0
"""Seconds before the second try; each later wait is twice as long."""
LONGEST: Final = 30.0
"""Seconds of the longest wait between two tries."""
_FAILURES: Final = 100
"""Failures that a result tells of one by one."""
_FOR_NOW: Final = (FTPTransientError, TransferError, ConnectionLost, ConnectError)


@dataclass(slots=True)
class Step:
    """Something that was done, or is being done.

    Attributes:
        what: ``get``, ``put``, ``same``, ``mkdir``, ``remove``, ``left`` (links, devices, names
            that lead elsewhere) or ``failed``; ``progress`` while a file is on its way.
        path: Of the file or directory, below the top of the tree.
        done: Octets that are there.
        size: Octets in all.
        error: Why it failed.
    """

    what: str
    path: str
    done: int = 0
    size: int = 0
    error: Exception | None = None


@dataclass(slots=True)
class Mirrored:
    """What came of it.

    Attributes:
        copied: Files that were moved.
        octets: How many that were.
        same: Files that were there already.
        removed: Files and directories that were removed.
        left: What was not moved: links, devices, names that lead elsewhere.
        failed: Files and directories that failed.
        failures: The first of them, and why.
    """

    copied: int = 0
    octets: int = 0
    same: int = 0
    removed: int = 0
    left: int = 0
    failed: int = 0
    failures: list[tuple[str, Exception]] = field(default_factory=list[tuple[str, Exception]])


@dataclass(slots=True)
class _Job:
    """A file to be moved, by its path below the top."""

    path: str
    size: int


class _Mirror:
    """One run.

    Args:
        client: Connected; it lists, and further ones are made after it.
        remote: The top at the server, as the server says it.
        local: The top here.
    """

    def __init__(
        self,
        client: FTPClient,
        remote: str,
        local: str,
        *,
        upload: bool,
        parallel: int,
        delete: bool,
        retries: int,
        on_step: OnStep | None,
    ) -> None:
        self._lister = _Worker(self, client)
        self._first = client
        self._remote = remote.rstrip("/")
        self._local = local
        self._upload = upload
        self._parallel = parallel
        self._delete = delete
        self._retries = retries
        self._on_step = on_step
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(2 * parallel)
        self.result = Mirrored()

    # ── the run ───────────────────────────────────────────────────────────────

    async def run(self) -> Mirrored:
        """Do it all."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._parallel):
                group.create_task(self._work())
            directories = [""]
            while directories:
                path = directories.pop()
                look = self._look_local if self._upload else self._look_remote
                try:
                    directories += reversed(await look(path))
                except (FTPError, OSError) as error:
                    if not path:
                        raise
                    self._failed(path, error)
            for _ in range(self._parallel):
                await self._jobs.put(None)
        return self.result

    def leave(self) -> None:
        """Close what was opened to list."""
        self._lister.drop()

    async def _work(self) -> None:
        worker = _Worker(self, None)
        try:
            while (job := await self._jobs.get()) is not None:
                await self._move(worker, job)
            await worker.leave()
        finally:
            worker.drop()

    async def _move(self, worker: _Worker, job: _Job) -> None:
        here, there = self.here(job.path), self.there(job.path)

        def progress(done: int, total: int | None) -> None:
            self.tell("progress", job.path, done, job.size if total is None else total)

        async def move(ftp: FTPClient) -> int:
            if self._upload:
                return await ftp.put(here, there, on_progress=progress)
            return await ftp.get(there, here, on_progress=progress, follow=False)

        try:
            octets = await worker.attempt(move)
        except (FTPError, OSError) as error:
            self._failed(job.path, error)
        else:
            self.result.copied += 1
            self.result.octets += octets
            self.tell("put" if self._upload else "get", job.path, octets, octets)

    # ── from the server ───────────────────────────────────────────────────────

    async def _look_remote(self, path: str) -> list[str]:
        """Compare a directory of the server with ours; the directories in it."""
        here = self.here(path)
        entries, whole = await self._lister.attempt(lambda ftp: _list(ftp, self.there(path)))
        if not path and self._remote:
            # Some servers list what is not there as nothing: nothing must be removed for that.
            await self._lister.attempt(lambda ftp: _visit(ftp, self._remote))
        if self._delete and path:
            self.result.removed += await in_thread(_make_room, here)
        if await in_thread(_make_directory, here):
            self.tell("mkdir", path)
        known = await in_thread(_names_here, here)
        directories: list[str] = []
        for name, entry in entries.items():
            below = _join(path, name)
            if not _is_local_name(name) or entry.kind not in ("file", "dir"):
                self._left(below)
            elif entry.kind == "dir":
                directories.append(below)
            elif await self._differs(below, entry, known.get(name)):
                if self._delete and name in known and stat.S_ISDIR(known[name].st_mode):
                    self.result.removed += await in_thread(_remove_here, self.here(below))
                await self._jobs.put(_Job(below, max(0, entry.size)))
            else:
                self.result.same += 1
                self.tell("same", below, entry.size, entry.size)
        if self._delete and whole:
            for name in known.keys() - entries.keys():
                below = _join(path, name)
                self.result.removed += await in_thread(_remove_here, self.here(below))
                self.tell("remove", below)
        return directories

    async def _differs(self, path: str, entry: Entry, known: os.stat_result | None) -> bool:
        if known is None or not stat.S_ISREG(known.st_mode):
            return True
        if entry.size >= 0 and entry.size != known.st_size:
            return True
        modified = await self._modified(path, entry)
        return abs(modified - known.st_mtime) > SLACK

    async def _modified(self, path: str, entry: Entry) -> float:
        """When the server's file was changed, exactly."""
        if self._first.tells_facts:
            return entry.modified
        asked = await self._lister.attempt(lambda ftp: ftp.modified(self.there(path)))
        return entry.modified if asked is None else asked

    # ── to the server ─────────────────────────────────────────────────────────

    async def _look_local(self, path: str) -> list[str]:
        """Compare a directory of ours with the server's; the directories in it."""
        there = self.there(path)
        ours = await in_thread(_names_here, self.here(path))
        entries: Mapping[str, Entry]
        try:
            entries, whole = await self._lister.attempt(lambda ftp: _list(ftp, there))
            if not entries:
                # Some servers list what is not there as nothing.
                await self._lister.attempt(lambda ftp: _make_remote(ftp, there))
        except FTPError:
            await self._lister.attempt(lambda ftp: _make_remote(ftp, there))
            self.tell("mkdir", path)
            entries = {}
            whole = False
        directories: list[str] = []
        for name, known in ours.items():
            below, entry = _join(path, name), entries.get(name)
            if self._delete and entry is not None and _is_other(known, entry):
                await self._remove(below, entry.kind)
                entry = None
            if stat.S_ISDIR(known.st_mode) and name_is_safe(name):
                directories.append(below)
            elif not stat.S_ISREG(known.st_mode) or not name_is_safe(name):
                self._left(below)
            elif (
                entry is None
                or entry.size != known.st_size
                or await self._modified(below, entry) < known.st_mtime - SLACK
            ):
                await self._jobs.put(_Job(below, known.st_size))
            else:
                self.result.same += 1
                self.tell("same", below, known.st_size, known.st_size)
        if self._delete and whole:
            for name in entries.keys() - ours.keys():
                await self._remove(_join(path, name), entries[name].kind)
        return directories

    async def _remove(self, path: str, kind: str) -> None:
        """Remove what the server has."""
        there = self.there(path)
        self.result.removed += await self._lister.attempt(
            lambda ftp: _remove_there(ftp, there, kind)
        )
        self.tell("remove", path)

    # ── what both use ─────────────────────────────────────────────────────────

    def here(self, path: str) -> str:
        """A path below the top, here."""
        return os.path.join(self._local, *path.split("/")) if path else self._local

    def there(self, path: str) -> str:
        """A path below the top, at the server."""
        return f"{self._remote}/{path}" if path else self._remote or "/"

    def another(self) -> Awaitable[FTPClient]:
        """A further connection."""
        return self._first.another()

    def waits(self) -> BackOff:
        """How long to wait before trying something again, and how often."""
        return BackOff(SHORTEST, LONGEST, jitter=0.5, limit=self._retries)

    def tell(self, what: str, path: str, done: int = 0, size: int = 0) -> None:
        """Tell who wants to know."""
        if self._on_step is not None:
            self._on_step(Step(what, path, done, size))

    def _left(self, path: str) -> None:
        self.result.left += 1
        self.tell("left", path)

    def _failed(self, path: str, error: Exception) -> None:
        self.result.failed += 1
        if len(self.result.failures) < _FAILURES:
            self.result.failures.append((path, error))
        if self._on_step is not None:
            self._on_step(Step("failed", path, error=error))


class _Worker:
    """A connection that is opened when it is needed, and again when it was lost.

    Args:
        run: Whose.
        client: One that stands, which is not closed here.
    """

    def __init__(self, run: _Mirror, client: FTPClient | None) -> None:
        self._run = run
        self._client = client
        self._lent = client

    async def attempt(self, do: Callable[[FTPClient], Awaitable[T]]) -> T:
        """Do something, again if it fails and may work later."""
        waits = self._run.waits()
        while True:
            try:
                if self._client is None or self._client.closed:
                    await self.leave()
                    self._client = await self._run.another()
                return await do(self._client)
            except TLSError:
                raise  # a certificate is not better the second time
            except _FOR_NOW:
                delay = waits.failed(0.0, lived=0.0)  # however long it had gone well
                if delay is None:
                    raise
                await asyncio.sleep(delay)

    def drop(self) -> None:
        """Leave what was opened here without a word."""
        if self._client is not None and self._client is not self._lent:
            self._client.disconnect()

    async def leave(self) -> None:
        """Close what was opened here."""
        client, self._client = self._client, None
        if client is not None and client is not self._lent:
            await client.quit()


async def mirror(
    client: FTPClient,
    remote: str,
    local: str | os.PathLike[str],
    *,
    upload: bool = False,
    parallel: int = 4,
    delete: bool = False,
    retries: int = 3,
    on_step: OnStep | None = None,
) -> Mirrored:
    """Make one tree like another (see `FTPClient.mirror`).

    Args:
        client: Connected.
        remote: The tree at the server.
        local: The tree here.
        upload: Whether ours is the original.
        parallel: Files that are moved side by side.
        delete: Remove what the original does not have.
        retries: Tries after the first.
        on_step: Called with each `Step`.
    """
    if parallel < 1 or retries < 0:
        raise FTPUsageError("at least one connection, and no fewer than no retries")
    top = remote
    if not remote.startswith("/"):
        top = _join(await client.pwd(), remote) if remote not in ("", ".") else await client.pwd()
    here: str = os.path.abspath(os.fspath(local))
    if not upload:
        await in_thread(lambda: os.makedirs(here, exist_ok=True))
    run = _Mirror(
        client,
        top,
        os.path.realpath(here),
        upload=upload,
        parallel=parallel,
        delete=delete,
        retries=retries,
        on_step=on_step,
    )
    try:
        return await run.run()
    except BaseExceptionGroup as group:
        # The group is asyncio's way; who called sees what went wrong.
        raise group.exceptions[0] from None
    finally:
        run.leave()


# ── names and files ───────────────────────────────────────────────────────────


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}" if directory else name


def _is_local_name(name: str) -> bool:
    """Whether a server's name is one name here, too."""
    return name_is_safe(name) and os.path.basename(name) == name and not os.path.splitdrive(name)[0]


async def _list(ftp: FTPClient, path: str) -> tuple[Mapping[str, Entry], bool]:
    """What a directory of the server holds, and whether all of it could be read."""
    entries = {entry.name: entry for entry in await ftp.ls(path)}
    return entries, not ftp.skipped


async def _visit(ftp: FTPClient, path: str) -> None:
    """Go to a directory and back, which fails where it is none."""
    before = await ftp.pwd()
    await ftp.cwd(path)
    await ftp.cwd(before)


async def _make_remote(ftp: FTPClient, path: str) -> None:
    try:
        await ftp.mkdir(path)
    except FTPError as error:
        if isinstance(error, FTPTransientError):
            raise
        await ftp.ls(path)  # it may be there already; else this says why not


async def _remove_there(ftp: FTPClient, path: str, kind: str) -> int:
    """Remove what the server has; how much that was."""
    if kind != "dir":
        await ftp.remove(path)
        return 1
    removed = 1
    for entry in await ftp.ls(path):
        removed += await _remove_there(ftp, _join(path, entry.name), entry.kind)
    await ftp.rmdir(path)
    return removed


def _is_other(known: os.stat_result, entry: Entry) -> bool:
    """Whether the server has a directory where we have a file, or the other way."""
    if stat.S_ISDIR(known.st_mode):
        return entry.kind == "file"
    return stat.S_ISREG(known.st_mode) and entry.kind == "dir"


def _make_room(path: str) -> int:
    """Remove what is here where a directory is to be, unless it is one; how much that was."""
    if not os.path.lexists(path) or stat.S_ISDIR(os.lstat(path).st_mode):
        return 0
    return _remove_here(path)


def _make_directory(path: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        return False
    return True


def _names_here(path: str) -> dict[str, os.stat_result]:
    found: dict[str, os.stat_result] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            found[entry.name] = entry.stat(follow_symlinks=False)
    return found


def _remove_here(path: str) -> int:
    """Remove what is here, links and not what they lead to; how much that was."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return 1
    removed = 1
    for name in os.listdir(path):
        removed += _remove_here(os.path.join(path, name))
    os.rmdir(path)
    return removed
