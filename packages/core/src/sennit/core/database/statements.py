"""The verbs that a pool, a transaction and a pair of pools have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sennit.core.database.rows import RowFactory, as_tuples, as_values, columns_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from sennit.core.deferred import Deferred

    # Whatever the driver takes for a parameter, hence Any.
    Params = Sequence[Any] | Mapping[str, Any] | None

__all__ = ["Statements"]

R = TypeVar("R")
T = TypeVar("T")


def _execute(cursor: Any, sql: str, params: Params) -> None:
    # With None some drivers take the % in a statement for themselves.
    if params is None:
        cursor.execute(sql)
    else:
        cursor.execute(sql, params)


class Statements(ABC):
    """Runs SQL in the paramstyle of the driver: ``?`` for sqlite3, ``%s`` for psycopg.

    Every method returns a Deferred. Cancelling it interrupts the statement where the driver
    can do that. Errors of the driver come as they are.

    Arguments that all share: `timeout` is in seconds, the default is the pool's
    `statement_timeout`. `idempotent` allows the pool to run the statement a second time, when
    its connection turns out to be dead; never inside a transaction.
    """

    @abstractmethod
    def run(
        self,
        job: Callable[[Any], T],
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        reads: bool = False,
        atomic: bool = True,
    ) -> Deferred[T]:
        """Call `job` with the driver's own connection, in that connection's thread.

        Args:
            job: For what the driver can do beyond these verbs (COPY, backup).
            timeout: Seconds.
            idempotent: See the class.
            reads: It changes nothing.
            atomic: All that it does is one transaction; off for what cannot be in one.
        """

    @abstractmethod
    def _stream(
        self,
        sql: str,
        params: Params,
        batch: int,
        rows: RowFactory[R],
        timeout: float | None,
    ) -> AsyncGenerator[R, None]: ...

    def execute(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[int]:
        """Run a statement; gives the number of rows that it changed (-1: the driver cannot say)."""

        def job(raw: Any) -> int:
            cursor = raw.cursor()
            try:
                _execute(cursor, sql, params)
                return int(cursor.rowcount)
            finally:
                cursor.close()

        return self.run(job, timeout=timeout, idempotent=idempotent, atomic=False)

    def execute_many(
        self, sql: str, params: Iterable[Params], *, timeout: float | None = None
    ) -> Deferred[int]:
        """Run a statement once for each set of parameters, all in one transaction."""

        def job(raw: Any) -> int:
            cursor = raw.cursor()
            try:
                cursor.executemany(sql, params)
                return int(cursor.rowcount)
            finally:
                cursor.close()

        return self.run(job, timeout=timeout)

    @overload
    def fetch_all(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[list[tuple[Any, ...]]]: ...
    @overload
    def fetch_all(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[R],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[list[R]]: ...

    def fetch_all(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[Any] = as_tuples,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[Any]:
        """All rows of a result, as a list; `rows` says what each looks like (``rows.py``)."""

        def job(raw: Any) -> list[Any]:
            cursor = raw.cursor()
            try:
                _execute(cursor, sql, params)
                if cursor.description is None:
                    return []  # the statement gives no rows; some drivers refuse to fetch then
                return list(map(rows(columns_of(cursor)), cursor.fetchall()))
            finally:
                cursor.close()

        return self.run(job, timeout=timeout, idempotent=idempotent, reads=True, atomic=False)

    @overload
    def fetch_one(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[tuple[Any, ...] | None]: ...
    @overload
    def fetch_one(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[R],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[R | None]: ...

    def fetch_one(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[Any] = as_tuples,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[Any]:
        """The first row of a result, or ``None``."""

        def job(raw: Any) -> Any:
            cursor = raw.cursor()
            try:
                _execute(cursor, sql, params)
                if cursor.description is None:
                    return None
                make = rows(columns_of(cursor))
                row = cursor.fetchone()
                return None if row is None else make(row)
            finally:
                cursor.close()

        return self.run(job, timeout=timeout, idempotent=idempotent, reads=True, atomic=False)

    def fetch_value(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Deferred[Any]:
        """The first column of the first row, or ``None``."""
        return self.fetch_one(sql, params, rows=as_values, timeout=timeout, idempotent=idempotent)

    @overload
    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        batch: int = 500,
        timeout: float | None = None,
    ) -> AsyncGenerator[tuple[Any, ...], None]: ...
    @overload
    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[R],
        batch: int = 500,
        timeout: float | None = None,
    ) -> AsyncGenerator[R, None]: ...

    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        rows: RowFactory[Any] = as_tuples,
        batch: int = 500,
        timeout: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The rows of a query, one by one; never more than `batch` of them are in memory.

        The next ones are asked for when those are used up. Outside of a transaction the
        whole is one, on a connection of its own, until the last row or `aclose`: a loop that
        is left early does best inside ``contextlib.aclosing``.

        Args:
            sql: A statement that gives rows.
            params: Its parameters.
            rows: What each row looks like.
            batch: Rows fetched at a time.
            timeout: Seconds for each batch.
        """
        return self._stream(sql, params, batch, rows, timeout)
