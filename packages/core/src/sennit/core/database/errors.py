"""What a pool of database connections raises by itself.

::

    SennitError
    └── DatabaseError                   all of the pool's own
        ├── AcquireTimeoutError         no connection came free in time (TimeoutError)
        ├── StatementTimeoutError       a statement was ended by its time limit (TimeoutError)
        ├── TransactionAbortedError     a commit that the database would have made a rollback
        ├── PoolClosedError             the pool is closed, or closes
        └── DatabaseUsageError          the caller's fault (ValueError)

Errors of the driver (``sqlite3.IntegrityError``, ``psycopg.errors.UniqueViolation``) pass
through as they are: they say more than any translation could.
"""

from __future__ import annotations

from sennit.core.errors import SennitError, UsageError

__all__ = [
    "AcquireTimeoutError",
    "DatabaseError",
    "DatabaseUsageError",
    "PoolClosedError",
    "StatementTimeoutError",
    "TransactionAbortedError",
]


class DatabaseError(SennitError):
    """Whatever the pool raises on purpose."""


class AcquireTimeoutError(DatabaseError, TimeoutError):
    """No connection of the pool came free in time.

    Attributes:
        size: Connections that the pool may have.
        oldest: Seconds that the connection in use for the longest has been in use.
        waiting: Others that waited at that moment.
    """

    def __init__(
        self, timeout: float, size: int, oldest: float, waiting: int, opening: int
    ) -> None:
        if opening:
            state = f"{opening} of {size} were being opened"
        else:
            state = f"all {size} were in use, one of them for {oldest:.1f} s"
        super().__init__(
            f"no database connection came free within {timeout:g} s: {state}; {waiting} more waited"
        )
        self.size = size
        self.oldest = oldest
        self.waiting = waiting


class StatementTimeoutError(DatabaseError, TimeoutError):
    """A statement took longer than it may, and was interrupted."""


class TransactionAbortedError(DatabaseError):
    """The transaction could only be rolled back, since a statement in it had failed."""


class PoolClosedError(DatabaseError):
    """The pool is closed, or was not opened yet."""


class DatabaseUsageError(DatabaseError, UsageError):
    """The caller asked for something that cannot be."""
