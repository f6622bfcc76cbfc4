"""Databases: a pool of connections for any DB-API 2 driver, transactions, streamed rows.

`Pool` is the way in, `sqlite_pool` and `sqlite_database` its forms for SQLite. What a row
looks like is said by `as_dicts`, `as_named`, `as_type` (plain tuples without a word).
"""

from __future__ import annotations

from sennit.core.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.core.database.errors import (
        AcquireTimeoutError,
        DatabaseError,
        DatabaseUsageError,
        PoolClosedError,
        StatementTimeoutError,
        TransactionAbortedError,
    )
    from sennit.core.database.pool import Pool, PoolStatus
    from sennit.core.database.rows import (
        RowFactory,
        as_dicts,
        as_named,
        as_tuples,
        as_type,
        as_values,
    )
    from sennit.core.database.sqlite import SQLiteDatabase, sqlite_database, sqlite_pool
    from sennit.core.database.transaction import Savepoint, Transaction

__all__ = [
    "AcquireTimeoutError",
    "DatabaseError",
    "DatabaseUsageError",
    "Pool",
    "PoolClosedError",
    "PoolStatus",
    "RowFactory",
    "SQLiteDatabase",
    "Savepoint",
    "StatementTimeoutError",
    "Transaction",
    "TransactionAbortedError",
    "as_dicts",
    "as_named",
    "as_tuples",
    "as_type",
    "as_values",
    "sqlite_database",
    "sqlite_pool",
]

_ROOMS = {
    "errors": (
        "AcquireTimeoutError",
        "DatabaseError",
        "DatabaseUsageError",
        "PoolClosedError",
        "StatementTimeoutError",
        "TransactionAbortedError",
    ),
    "pool": ("Pool", "PoolStatus"),
    "rows": ("RowFactory", "as_dicts", "as_named", "as_tuples", "as_type", "as_values"),
    "sqlite": ("SQLiteDatabase", "sqlite_database", "sqlite_pool"),
    "transaction": ("Savepoint", "Transaction"),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
