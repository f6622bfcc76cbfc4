"""What each driver does in its own way, beyond DB-API 2 (PEP 249).

`Driver` keeps to that standard alone and serves any driver; `SQLite` and `Psycopg` know more:
how to begin a transaction as one asks for it, how to end a statement that runs, how to read a
result piece by piece. All of it is called in the connection's thread, except `interrupt`.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sennit.core.database.errors import DatabaseUsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Driver", "Psycopg", "SQLite", "driver_of", "run_plain"]

_LEVELS: Final = ("read uncommitted", "read committed", "repeatable read", "serializable")
"""Of the SQL standard (ISO 9075-2, 4.35.4)."""
_LOCKS: Final = ("deferred", "immediate", "exclusive")

_names = count(1)


def run_plain(raw: Any, sql: str) -> None:
    """Execute a statement that gives nothing back."""
    cursor = raw.cursor()
    try:
        cursor.execute(sql)
    finally:
        cursor.close()


class Driver:
    """A driver of which nothing is known but that it keeps to DB-API 2.

    Args:
        stream_cursor: Makes the cursor for streamed rows of a connection, where
            plain cursors hold the whole result.
        interrupt: Ends the statement that a connection runs; called in another thread.
    """

    # Any throughout: connections and cursors are the driver's own, typed by no common name.

    levels: tuple[str, ...] = _LEVELS

    def __init__(
        self,
        stream_cursor: Callable[[Any], Any] | None = None,
        interrupt: Callable[[Any], object] | None = None,
    ) -> None:
        self._stream_cursor = stream_cursor
        self._interrupt = interrupt

    @property
    def can_interrupt(self) -> bool:
        """Whether a running statement can be ended from elsewhere."""
        return self._interrupt is not None

    def interrupt(self, raw: Any) -> None:
        """End the statement that runs; in another thread than the connection's."""
        if self._interrupt is not None:
            self._interrupt(raw)

    def check_level(self, isolation: str | None) -> None:
        """Refuse an isolation level that there is not.

        Raises:
            DatabaseUsageError: It is none of `levels`.
        """
        if isolation is not None and isolation.lower() not in self.levels:
            raise DatabaseUsageError(
                f"isolation is one of {', '.join(self.levels)}, not {isolation!r}"
            )

    def prepare(self, raw: Any) -> None:
        """Make a new connection ready."""

    def begin(
        self, raw: Any, isolation: str | None, *, read_only: bool = False, streams: bool = False
    ) -> None:
        """Begin a transaction; with plain DB-API the first statement does that.

        Args:
            raw: The driver's connection.
            isolation: One of `levels`, or the database's default.
            read_only: It will change nothing.
            streams: It is one streamed statement, and should lock nobody out.
        """
        modes = [] if isolation is None else [f"ISOLATION LEVEL {isolation.upper()}"]
        if read_only:
            modes.append("READ ONLY")
        if modes:
            run_plain(raw, "SET TRANSACTION " + ", ".join(modes))

    def commit(self, raw: Any) -> None:
        """Make the transaction last."""
        raw.commit()

    def rollback(self, raw: Any) -> None:
        """Undo the transaction."""
        raw.rollback()

    def end_single(self, raw: Any) -> None:
        """End a statement that was a transaction by itself."""
        raw.commit()

    def aborted(self, raw: Any) -> bool:
        """Whether a commit would be a rollback."""
        return False

    def stream_cursor(self, raw: Any) -> Any:
        """A cursor whose rows come piece by piece, if the driver has such."""
        return raw.cursor() if self._stream_cursor is None else self._stream_cursor(raw)


class SQLite(Driver):
    """``sqlite3``: transactions are begun by us, since the module leaves out some."""

    levels = _LOCKS

    @property
    def can_interrupt(self) -> bool:
        return True

    def interrupt(self, raw: Any) -> None:
        raw.interrupt()

    def prepare(self, raw: Any) -> None:
        # The module's own way begins before some statements and not before others.
        raw.isolation_level = None

    def begin(
        self, raw: Any, isolation: str | None, *, read_only: bool = False, streams: bool = False
    ) -> None:
        # Who begins by reading and then writes may be refused at once, whatever the
        # busy time-out is (SQLITE_BUSY_SNAPSHOT): so a transaction takes the lock first.
        lock = isolation or ("deferred" if read_only or streams else "immediate")
        run_plain(raw, f"BEGIN {lock.upper()}")

    def commit(self, raw: Any) -> None:
        if raw.in_transaction:
            run_plain(raw, "COMMIT")

    def rollback(self, raw: Any) -> None:
        if raw.in_transaction:
            run_plain(raw, "ROLLBACK")

    def end_single(self, raw: Any) -> None:
        if raw.in_transaction:
            raise _begun_by_hand()

    def aborted(self, raw: Any) -> bool:
        # Some errors (a full disk, an interrupt while it wrote) undo the whole of it.
        return not raw.in_transaction


class Psycopg(Driver):
    """``psycopg`` 3: autocommit, so that a single statement costs one exchange."""

    @property
    def can_interrupt(self) -> bool:
        return True

    def interrupt(self, raw: Any) -> None:
        safe = getattr(raw, "cancel_safe", None)  # from 3.2 on
        if safe is None:
            raw.cancel()
        else:
            safe(timeout=5.0)

    def prepare(self, raw: Any) -> None:
        raw.autocommit = True

    def begin(
        self, raw: Any, isolation: str | None, *, read_only: bool = False, streams: bool = False
    ) -> None:
        level = "" if isolation is None else f" ISOLATION LEVEL {isolation.upper()}"
        run_plain(raw, f"BEGIN{level}{' READ ONLY' if read_only else ''}")

    def end_single(self, raw: Any) -> None:
        if raw.info.transaction_status.name != "IDLE":
            raise _begun_by_hand()

    def aborted(self, raw: Any) -> bool:
        # COMMIT would be answered with ROLLBACK, and no error.
        return bool(raw.info.transaction_status.name == "INERROR")

    def stream_cursor(self, raw: Any) -> Any:
        if self._stream_cursor is not None:
            return self._stream_cursor(raw)
        return raw.cursor(name=f"sennit_{next(_names)}")


def _begun_by_hand() -> DatabaseUsageError:
    return DatabaseUsageError(
        "a statement began a transaction that nobody would end; use `async with transaction()`"
    )


def driver_of(
    raw: Any,
    stream_cursor: Callable[[Any], Any] | None = None,
    interrupt: Callable[[Any], object] | None = None,
) -> Driver:
    """The driver that a connection is of, told by the classes it is made of."""
    modules = {cls.__module__.partition(".")[0] for cls in type(raw).__mro__}
    kind = SQLite if "sqlite3" in modules else Psycopg if "psycopg" in modules else Driver
    return kind(stream_cursor, interrupt)
