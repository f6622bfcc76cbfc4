"""SQLite embedded: a pool with sensible settings, or one writer beside several readers.

SQLite lets one connection write at a time. With WAL, readers and that writer do not wait for
each other; so one connection that writes and a few that read are all a process can use.
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sennit.core.database.errors import DatabaseUsageError
from sennit.core.database.pool import Pool
from sennit.core.database.statements import Statements

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from types import TracebackType
    from typing import Self

    from sennit.core.database.rows import RowFactory
    from sennit.core.database.statements import Params
    from sennit.core.database.transaction import Transaction
    from sennit.core.deferred import Deferred

__all__ = ["SQLiteDatabase", "sqlite_database", "sqlite_pool"]

R = TypeVar("R")
T = TypeVar("T")


def _prepare(raw: Any, pragmas: Mapping[str, object]) -> None:
    for name, value in pragmas.items():
        raw.execute(f"PRAGMA {name} = {value}").close()


def sqlite_pool(
    path: str | os.PathLike[str],
    *,
    size: int = 1,
    busy_timeout: float = 5.0,
    wal: bool = True,
    foreign_keys: bool = True,
    pragmas: Mapping[str, object] | None = None,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Pool:
    """A `Pool` for a SQLite file.

    Args:
        path: The file, or ``:memory:`` (which is another database for each connection,
            so it has one that stays open).
        size: Connections at most.
        busy_timeout: Seconds that a statement waits for another connection's lock.
        wal: Keep a write-ahead log: readers and the writer do not wait for each other. It
            stays with the file.
        foreign_keys: Enforce them, which SQLite does not do by itself.
        pragmas: More of them, by name; they are part of the program, never a user's words.
        options: Keyword arguments for `sqlite3.connect`.
        settings: Keyword arguments for `Pool`.

    Raises:
        DatabaseUsageError: A database in memory with several connections.
    """
    file = os.fspath(path)
    in_memory = file in (":memory:", "") or "mode=memory" in file
    if in_memory:
        if size != 1:
            raise DatabaseUsageError("a database in memory belongs to one connection: size is 1")
        # Its one connection is the database: never closed before the pool is.
        settings = {"min_size": 1, "max_age": float("inf"), "idle_time": 1e9, **settings}
    chosen: dict[str, object] = {"busy_timeout": int(busy_timeout * 1000)}
    if wal and not in_memory:
        # With a log, a commit that a power cut undoes leaves the file whole (sqlite.org/wal.html).
        chosen |= {"journal_mode": "WAL", "synchronous": "NORMAL"}
    chosen |= {"foreign_keys": "ON" if foreign_keys else "OFF", **(pragmas or {})}
    settings = {"health_check": None, "name": "sennit-sqlite", **settings}
    return Pool(
        sqlite3.connect,
        file,
        # First, lest the switch to a log meets a lock and fails at once.
        options={"timeout": busy_timeout, **(options or {})},
        size=size,
        on_connect=partial(_prepare, pragmas=chosen),
        **settings,
    )


class SQLiteDatabase(Statements):
    """One writer and several readers of a file.

    `fetch_all`, `fetch_one`, `fetch_value` and `stream` go to the readers, which cannot
    change anything; `execute`, `execute_many`, `run` and `transaction` to the writer. What
    changes and gives rows back (``RETURNING``) belongs into a transaction.

    Attributes:
        writer: A pool of one connection.
        readers: A pool of several, which refuse to write.
    """

    def __init__(self, writer: Pool, readers: Pool) -> None:
        self.writer = writer
        self.readers = readers

    async def __aenter__(self) -> Self:
        # The writer first: it makes the file, and its log.
        await self.writer.open()
        try:
            await self.readers.open()
        except BaseException:
            await self.writer.close(0.0)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.readers.close()
        # The last one to close writes the log back into the file.
        await self.writer.close()

    def run(
        self,
        job: Callable[[Any], T],
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        reads: bool = False,
        atomic: bool = True,
    ) -> Deferred[T]:
        """Call `job` with the writer's connection, or with a reader's when `reads` is set."""
        pool = self.readers if reads else self.writer
        return pool.run(job, timeout=timeout, idempotent=idempotent, reads=reads, atomic=atomic)

    def transaction(
        self,
        *,
        isolation: str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> Transaction:
        """A transaction of the writer, or of a reader when `read_only` is set."""
        pool = self.readers if read_only else self.writer
        return pool.transaction(isolation=isolation, read_only=read_only, timeout=timeout)

    def _stream(
        self,
        sql: str,
        params: Params,
        batch: int,
        rows: RowFactory[R],
        timeout: float | None,
    ) -> AsyncGenerator[R, None]:
        return self.readers._stream(sql, params, batch, rows, timeout)


def sqlite_database(
    path: str | os.PathLike[str], *, readers: int = 4, **settings: Any
) -> SQLiteDatabase:
    """One connection that writes and `readers` that read the same file.

    Args:
        path: The file.
        readers: Connections that read, at most.
        settings: Keyword arguments for `sqlite_pool`.

    Raises:
        DatabaseUsageError: A database in memory, which readers could not see.
    """
    if os.fspath(path) in (":memory:", ""):
        raise DatabaseUsageError("a database in memory has one connection: use sqlite_pool")
    pragmas: Mapping[str, object] = settings.pop("pragmas", None) or {}
    for_writer: dict[str, Any] = {"min_size": 1, **settings}
    for_readers: dict[str, Any] = {"name": "sennit-sqlite-reader", **settings}
    return SQLiteDatabase(
        sqlite_pool(path, pragmas=pragmas, **for_writer),
        sqlite_pool(path, size=readers, pragmas={**pragmas, "query_only": "ON"}, **for_readers),
    )
