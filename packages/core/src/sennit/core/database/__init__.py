"""Databases: a pool of connections for any DB-API 2 driver, transactions, streamed rows.

`Pool` is the way in, `sqlite_pool` and `sqlite_database` its forms for SQLite. What a row
looks like is said by `as_dicts`, `as_named`, `as_type` (plain tuples without a word).
"""

from __future__ import annotations

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

_HOME = {
    "Pool": "pool",
    "PoolStatus": "pool",
    "SQLiteDatabase": "sqlite",
    "Savepoint": "transaction",
    "Transaction": "transaction",
    "sqlite_database": "sqlite",
    "sqlite_pool": "sqlite",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name from the module it lives in, the first time it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = _HOME.get(name) or ("errors" if name.endswith("Error") else "rows")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
