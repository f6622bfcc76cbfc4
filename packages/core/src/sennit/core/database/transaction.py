"""Transactions and savepoints: ``async with``, committed at the end or rolled back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sennit.core.database.drivers import run_plain
from sennit.core.database.errors import (
    DatabaseUsageError,
    TransactionAbortedError,
)
from sennit.core.database.rows import columns_of
from sennit.core.database.statements import Statements, _execute

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from sennit.core.database.connection import Link
    from sennit.core.database.pool import Pool
    from sennit.core.database.rows import RowFactory
    from sennit.core.database.statements import Params
    from sennit.core.deferred import Deferred

__all__ = ["RECOVER_SECONDS", "Savepoint", "Transaction", "commit"]

R = TypeVar("R")
T = TypeVar("T")

RECOVER_SECONDS: Final = 10.0
"""Seconds that a rollback may take; then the connection is given up."""


class Transaction(Statements):
    """One transaction, on a connection that nobody else has meanwhile.

    What is asked for runs in order of asking. Made by `Pool.transaction`.
    """

    def __init__(
        self,
        pool: Pool,
        isolation: str | None,
        *,
        read_only: bool,
        timeout: float | None,
        streams: bool = False,
    ) -> None:
        self._pool = pool
        self._isolation = isolation
        self._read_only = read_only
        self._timeout = timeout
        self._streams = streams
        self._link: Link | None = None
        self._used = False
        self._savepoints = 0

    async def __aenter__(self) -> Transaction:
        if self._used:
            raise DatabaseUsageError("a transaction is entered once; ask the pool for another one")
        self._used = True
        link = await self._pool.take()
        try:
            link.driver.check_level(self._isolation)
            await link.run(
                partial(
                    link.driver.begin,
                    isolation=self._isolation,
                    read_only=self._read_only,
                    streams=self._streams,
                ),
                self._timeout,
            )
        except BaseException:
            self._pool.recover(link)
            raise
        self._link = link
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        link = self._link
        assert link is not None
        self._link = None
        try:
            if kind is None:
                await link.run(lambda raw: commit(link, raw), self._timeout)
        except BaseException:
            self._pool.recover(link)
            raise
        if kind is None:
            self._pool.give_back(link)
            return
        # A Task that was cancelled does not wait here; nobody gets the connection before
        # it was rolled back in any case.
        rolled_back = self._pool.recover(link)
        if isinstance(error, Exception):
            await rolled_back

    def run(
        self,
        job: Callable[[Any], T],
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        reads: bool = False,
        atomic: bool = True,
    ) -> Deferred[T]:
        """Call `job` with the driver's own connection; see `Statements.run`."""
        if idempotent:
            raise DatabaseUsageError("what is in a transaction is not run again by itself")
        link = self._open_link()
        return link.run(job, self._timeout if timeout is None else timeout)

    def savepoint(self) -> Savepoint:
        """A part of it that can be rolled back by itself: ``async with tx.savepoint():``."""
        self._open_link()
        self._savepoints += 1
        return Savepoint(self, f"sennit_{self._savepoints}")

    def _open_link(self) -> Link:
        if self._link is None:
            state = "has ended" if self._used else "was not entered; write `async with`"
            raise DatabaseUsageError(f"this transaction {state}")
        return self._link

    async def _stream(
        self,
        sql: str,
        params: Params,
        batch: int,
        rows: RowFactory[R],
        timeout: float | None,
    ) -> AsyncGenerator[R, None]:
        if batch < 1:
            raise DatabaseUsageError(f"batch is at least 1, not {batch}")
        link = self._open_link()

        def begin(raw: Any) -> Any:
            cursor = link.driver.stream_cursor(raw)
            try:
                cursor.arraysize = batch
                _execute(cursor, sql, params)
            except BaseException:
                _close_quietly(cursor)
                raise
            return cursor

        make: Callable[[Any], R] | None = None

        def fetch(cursor: Any) -> list[R]:
            nonlocal make
            if make is None:
                if cursor.description is None:
                    return []
                make = rows(columns_of(cursor))
            return list(map(make, cursor.fetchmany(batch)))

        cursor = await self.run(begin, timeout=timeout)
        try:
            while found := await self.run(lambda _: fetch(cursor), timeout=timeout):
                for row in found:
                    yield row
        finally:
            if self._link is link and not link.dead:
                # Not waited for: it runs before anything that is asked for later.
                link.run(lambda _: _close_quietly(cursor)).add_errback(_ignore)


class Savepoint:
    """A part of a transaction: kept at the end of its ``async with``, undone by an exception."""

    def __init__(self, transaction: Transaction, name: str) -> None:
        self._transaction = transaction
        self._name = name

    async def __aenter__(self) -> Savepoint:
        await self._transaction.run(lambda raw: run_plain(raw, f"SAVEPOINT {self._name}"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self._transaction.run(
                lambda raw: run_plain(raw, f"RELEASE SAVEPOINT {self._name}")
            )
            return

        def undo(raw: Any) -> None:
            run_plain(raw, f"ROLLBACK TO SAVEPOINT {self._name}")
            run_plain(raw, f"RELEASE SAVEPOINT {self._name}")

        undone = self._transaction.run(undo, timeout=RECOVER_SECONDS)
        if isinstance(error, Exception):
            try:
                await undone
            except Exception as later:
                # What led here says more; the transaction as a whole will fail to commit.
                error.add_note(f"and its savepoint could not be undone: {later}")
        else:
            undone.add_errback(_ignore)


def commit(link: Link, raw: Any) -> None:
    """Commit, unless that would be a rollback (in the link's thread)."""
    if link.driver.aborted(raw):
        raise TransactionAbortedError(
            "nothing was committed: a statement in this transaction had failed, "
            "after which the database only rolls back (put it into a savepoint)"
        )
    link.driver.commit(raw)


def _close_quietly(cursor: Any) -> None:
    try:
        cursor.close()
    except Exception:
        # Its transaction has failed, or its connection: it is closed by that.
        pass


def _ignore(error: BaseException) -> None:
    """The transaction fails as a whole, which says so."""
