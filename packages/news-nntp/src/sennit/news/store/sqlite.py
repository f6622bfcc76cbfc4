"""The store that is the default: groups, overview, history, articles and queues in one SQLite file.

Changes are done by one connection in a thread of its own. What comes while a transaction is on its
way to the disk shares the next one: under load an fsync serves hundreds of articles, and `add` of
each is done when it is on the disk (a write-ahead log, ``synchronous = FULL``). An article is
there whole or not at all, with its numbers, its lines of the overview and its places in queues.

What is asked for by number or Message-ID, and ranges in pieces, is read in the loop's thread from
a connection that cannot write: that takes 10 to 60 µs, and a hop into a thread and back costs more
than the reading (``bench/README.md``). Where the file lies on a disk that seeks, and does not fit
into memory, `threads` has all reading done in threads. Long searches always are.

Groups, with their counts and marks, are held in memory, and so are the lengths of queues.

Space that articles leave is used for the next ones; the file does not shrink but by `vacuum`.
``reading.py`` and ``writing.py`` have the statements, ``schema.py`` the tables, ``blocks.py`` how
lines of the overview are kept.

Sources: RFC 3977 §6 (numbers), sqlite.org/wal.html, sqlite.org/pragma.html.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zope.interface import implementer

from sennit.core.database.errors import DatabaseError
from sennit.core.database.sqlite import SQLiteDatabase, sqlite_database
from sennit.core.deferred import Deferred
from sennit.core.reactor.base import current_reactor
from sennit.news.errors import NewsError, NNTPUsageError, StoreError
from sennit.news.interfaces import Aged, IArticleReader, IArticleStore
from sennit.news.overview import field_of, in_overview
from sennit.news.store.blocks import unpack, unplace
from sennit.news.store.filing import BATCH, Answering, check_group, check_host, check_line
from sennit.news.store.reading import Reader
from sennit.news.store.schema import connect_reader, lock, prepare
from sennit.news.store.state import State, load
from sennit.news.store.writing import Batch, run

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Generator, Sequence
    from types import TracebackType
    from typing import Self

    from sennit.news.interfaces import Filed, Group
    from sennit.news.store.reading import Old

__all__ = ["MAX_WAITING", "MAX_WAITING_OCTETS", "SQLiteStore"]

T = TypeVar("T")

MAX_WAITING: Final = 100_000
"""Changes that may wait for the disk; one more fails at once."""
MAX_WAITING_OCTETS: Final = 256 << 20
"""Octets of articles that may wait; one more article fails at once."""
_MAX_JOBS: Final = 1000
"""Changes in one transaction."""
_MAX_OCTETS: Final = 8 << 20
"""Octets of articles in one transaction."""
_STEP: Final = 250
"""Articles that go in one change: what waits behind it waits about 20 ms."""
_STEP_BLOCKS: Final = 8
_FILED: Final = 32 << 10
"""Octets written to file an article in one more group, about: itself, and rows of two overviews."""
_CACHE: Final = 32 << 20
"""Octets of pages that each connection keeps, unless told otherwise."""
_CHECKPOINT: Final = 2000
"""Pages of log at which they are written into the file: 16 MiB."""


class _Job:
    """A change that waits, and who wants to know."""

    __slots__ = ("change", "done", "weight")

    def __init__(self, change: Callable[[Batch], Any], weight: int) -> None:
        self.change = change
        self.weight = weight
        # Whoever does not wait any more does not take it back: others are on the same way.
        self.done: Deferred[Any] = Deferred()


@implementer(IArticleStore)
class SQLiteStore(Answering):
    """Newsgroups and articles in a file.

    Use it as ``async with SQLiteStore.open(path) as store:``, or await it and call `close`; it
    belongs to the reactor that runs then.

    Args:
        path: The file; made when there is none. Its log and its lock lie beside it.
        host: The name that stands in Xref.
        threads: Read in threads, not in the loop's.
        cache: Octets of pages that each connection keeps.
        clock: Tells the time, in POSIX seconds.

    Raises, when it is opened:
        StoreError: The file is no store, of a later version, open elsewhere, or cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        host: str = "localhost",
        threads: bool = False,
        cache: int = _CACHE,
        clock: Callable[[], float] = time,
    ) -> None:
        self.path = Path(path)
        self._host = check_host(host)
        self._in_threads = threads
        self._cache = cache
        self._clock = clock
        self._state = State()
        self._lock: sqlite3.Connection | None = None
        self._raw: sqlite3.Connection | None = None
        self._reader: Reader | None = None
        self._database: SQLiteDatabase | None = None
        self._jobs: list[_Job] = []
        self._octets = 0
        self._writing: Deferred[None] | None = None
        self._vacuuming = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], **settings: Any) -> Self:
        """Give a store that opens when it is awaited, or entered; arguments as for the class."""
        return cls(path, **settings)

    # ── life ─────────────────────────────────────────────────────────────────

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self) -> Self:
        if self._database is not None:
            raise NNTPUsageError(f"{self.path} is open already")
        try:
            self._lock = lock(self.path)
            await current_reactor().defer_to_thread(prepare, self.path)
            self._database = sqlite_database(
                self.path,
                readers=2,
                max_age=float("inf"),
                pragmas={
                    "synchronous": "FULL",
                    "fullfsync": "ON",  # on macOS fsync alone leaves it to the disk's cache
                    "cache_size": -(self._cache >> 10),
                    "wal_autocheckpoint": _CHECKPOINT,
                    "journal_size_limit": 64 << 20,
                },
            )
            await self._database.__aenter__()
            self._state = await self._database.run(load)
            self._raw = connect_reader(self.path, self._cache)
            self._reader = Reader(self._raw, self._state)
            self._reader.hold()
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise StoreError(f"{self.path}: {error}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Finish what waits for the disk, and let go of the file."""
        if self._writing is not None:
            await self._writing
        database, self._database = self._database, None
        if self._raw is not None:
            self._raw.close()
            self._raw = None
        if database is not None:
            await database.__aexit__(None, None, None)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def now(self) -> IArticleReader | None:
        """Answers at once; ``None`` where reading is done in threads, and before it is open."""
        return None if self._in_threads else self._reader

    async def vacuum(self) -> None:
        """Write the file anew without the space that articles have left.

        Nothing can be added meanwhile, and the disk must hold the file twice.

        Raises:
            StoreError: It cannot be done.
        """
        database, reader = self._open_database(), self._reader
        self._vacuuming = True
        try:
            if reader is not None:
                reader.let_go()
            await database.run(lambda raw: raw.execute("VACUUM").close(), atomic=False)
        except (sqlite3.Error, DatabaseError) as error:
            raise StoreError(f"{self.path}: {error}") from error
        finally:
            self._vacuuming = False

    def _open_database(self) -> SQLiteDatabase:
        if self._database is None:
            raise StoreError(f"{self.path} is not open")
        return self._database

    # ── many changes on one way to the disk ──────────────────────────────────

    def _change(self, change: Callable[[Batch], T], weight: int = 0) -> Deferred[T]:
        """Have a change made; fires when it is on the disk.

        Args:
            change: Called in the writer's thread.
            weight: Octets that it writes, about.
        """
        self._open_database()
        if len(self._jobs) >= MAX_WAITING or self._octets + weight > MAX_WAITING_OCTETS:
            raise StoreError(
                f"{len(self._jobs)} changes of {self._octets} octets wait for the disk already"
            )
        self._octets += weight
        job = _Job(change, weight)
        self._jobs.append(job)
        if self._writing is None:
            self._writing = Deferred()
            # What else comes in this turn goes along.
            current_reactor().call_soon(self._write)
        return job.done

    def _write(self) -> None:
        jobs: list[_Job] = []
        octets = 0
        for job in self._jobs[:_MAX_JOBS]:
            octets += job.weight
            if jobs and octets > _MAX_OCTETS:
                break
            jobs.append(job)
        del self._jobs[: len(jobs)]
        self._octets -= sum(job.weight for job in jobs)
        changes = [job.change for job in jobs]
        try:
            if self._reader is not None:
                self._reader.let_go()
            written = self._open_database().run(partial(run, self._state, self._host, changes))
        except Exception as error:
            self._failed(jobs, error)
            return
        written.add_callbacks(partial(self._written, jobs), partial(self._failed, jobs))

    def _written(self, jobs: list[_Job], outcome: tuple[Batch, list[Any]]) -> None:
        batch, results = outcome
        batch.adopt()
        for job, result in zip(jobs, results, strict=True):
            if not job.done.called:
                if isinstance(result, NewsError):
                    job.done.errback(result)
                else:
                    job.done.callback(result)
        self._go_on()

    def _failed(self, jobs: list[_Job], error: BaseException) -> None:
        for job in jobs:
            if not job.done.called:
                failure = StoreError(f"{self.path} cannot be written: {error}")
                failure.__cause__ = error
                job.done.errback(failure)
        self._go_on()

    def _go_on(self) -> None:
        if self._jobs:
            current_reactor().call_soon(self._write)
        elif self._writing is not None:
            ended, self._writing = self._writing, None
            if self._reader is not None and not self._vacuuming:
                # Until the next change the file is what it is.
                self._reader.hold()
            ended.callback(None)

    # ── groups ───────────────────────────────────────────────────────────────

    async def groups(self) -> Sequence[Group]:
        """Give all groups, by name."""
        return self._state.listed()

    def create_group(
        self, name: str, *, status: str = "y", description: str = "", creator: str = ""
    ) -> Deferred[None]:
        """Make a group, or change what is told of it; its articles stay."""
        check_group(name, status)
        description, creator = check_line(description), check_line(creator)
        created = self._clock()
        return self._change(
            lambda batch: batch.create_group(name, status, description, creator, created)
        )

    async def remove_group(self, name: str) -> bool:
        """Remove a group and its numbers; False when there is none."""
        if not await self._change(lambda batch: batch.remove_group(name)):
            return False
        await self._purge()
        return True

    async def _purge(self) -> None:
        """Remove what removed groups have left, in steps."""
        when = self._clock()
        while await self._change(lambda batch: batch.purge(when, _STEP_BLOCKS)):
            pass

    # ── reading ──────────────────────────────────────────────────────────────

    async def _ask(self, question: Callable[[IArticleReader], T]) -> T:
        if self._in_threads:
            return await self._search(question)
        if self._database is None or self._reader is None:
            raise StoreError(f"{self.path} is not open")
        return question(self._reader)

    async def _search(self, question: Callable[[Reader], T]) -> T:
        """Put a question to a reader in a thread."""
        state = self._state
        try:
            return await self._open_database().run(
                lambda raw: question(Reader(raw, state)), reads=True
            )
        except (sqlite3.Error, DatabaseError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    async def headers(
        self, group: str, low: int, high: int, name: str
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Give (number, unfolded content) of a field or metadata item, in batches."""
        if in_overview(name):
            async for piece in self.overview(group, low, high):
                pairs = [line.split(b"\t", 1) for line in piece.split(b"\r\n")[:-1]]
                yield [(int(number), field_of(fields, name)) for number, fields in pairs]
            return
        at = low

        def heads(reader: Reader) -> tuple[list[tuple[int, bytes]], int]:
            return reader.heads(group, at, high, name)

        while at <= high:
            contents, at = await self._search(heads)
            if contents:
                yield contents

    async def new_news(
        self, since: float, wanted: Callable[[str], bool]
    ) -> AsyncIterator[Sequence[bytes]]:
        """Give the Message-IDs of what came since, in groups for which `wanted` says so."""
        received, row = since, -1
        verdicts: dict[int, bool] = {}

        def behind(reader: Reader) -> list[tuple[int, float, bytes, bytes]]:
            return reader.since(received, row, BATCH)

        while rows := await self._search(behind):
            found: list[bytes] = []
            for row, received, message_id, places in rows:  # noqa: B007 - `behind` goes on from there
                for place in unpack(places):
                    key, _ = unplace(place)
                    verdict = verdicts.get(key)
                    if verdict is None:
                        name = self._state.names.get(key)
                        verdict = verdicts[key] = name is not None and wanted(name)
                    if verdict:
                        found.append(message_id)
                        break
            if found:
                yield found

    # ── what was seen, and what comes ────────────────────────────────────────

    def add(self, filed: Filed) -> Deferred[list[tuple[str, int]]]:
        """Keep an article; fires when no power cut can lose it. Gives its numbers by group."""
        return self._change(lambda batch: batch.add(filed), len(filed.octets))

    def file_in(self, message_id: bytes, groups: Sequence[str]) -> Deferred[list[tuple[str, int]]]:
        """File an article that is there in more groups; fires as `add`, with its numbers there."""
        return self._change(lambda batch: batch.file_in(message_id, groups), _FILED)

    def remember(self, message_id: bytes, when: float) -> Deferred[None]:
        """Note an article that was refused or cancelled before it came."""
        return self._change(lambda batch: batch.remember(message_id, when))

    def remove(self, message_id: bytes) -> Deferred[bool]:
        """Remove an article and remember it; False when there is none."""
        when = self._clock()
        return self._change(lambda batch: batch.remove(message_id, when))

    # ── what is to go ────────────────────────────────────────────────────────

    async def aged(self, before: float, expired: float) -> AsyncIterator[Sequence[Aged]]:
        """Give what came before a moment, the longest ago first, in batches."""
        key, row = float("-inf"), -1

        def by_age(reader: Reader) -> list[Old]:
            return reader.aged(key, row, before, BATCH)

        def by_expires(reader: Reader) -> list[Old]:
            return reader.expired(key, row, expired, before, BATCH)

        for question in (by_age, by_expires):
            key, row = float("-inf"), -1
            while rows := await self._search(question):
                yield [
                    Aged(message_id, received, expires, self._named(places))
                    for _, _, message_id, places, received, expires in rows
                ]
                key, row = rows[-1][:2]

    def _named(self, places: bytes) -> list[tuple[str, int]]:
        pairs = map(unplace, unpack(places))
        names = self._state.names
        return [(names[key], number) for key, number in pairs if key in names]

    async def drop(self, places: Sequence[tuple[str, int]], when: float) -> int:
        """Take articles out of groups, by number; gives how many are in no group any more."""
        removed = 0
        for at in range(0, len(places), _STEP):
            step = places[at : at + _STEP]
            removed += await self._change(
                partial(Batch.drop, places=step, when=when), _MAX_OCTETS // 4
            )
        return removed

    async def forget(self, before: float) -> int:
        """Do not remember any more what went, or was refused, before; gives how many.

        What removed groups had left when the process ended goes now, too.
        """
        await self._purge()
        forgotten = 0
        while count := await self._change(lambda batch: batch.forget(before, BATCH)):
            forgotten += count
        return forgotten

    # ── what is to be offered to peers ───────────────────────────────────────

    async def queued(self, feed: str, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Give (place in the queue, Message-ID) of what waits behind a place, in order."""
        if limit < 1:
            raise NNTPUsageError(f"limit is at least 1, not {limit}")
        return await self._search(lambda reader: reader.queued(feed, after, limit))

    def unqueue(self, feed: str, places: Sequence[int]) -> Deferred[None]:
        """Forget what the peer has, or does not want."""
        return self._change(lambda batch: batch.unqueue(feed, places))

    async def queue_length(self, feed: str) -> int:
        """Tell how many wait."""
        return self._state.waiting[feed]
