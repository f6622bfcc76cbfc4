"""What a row looks like: a tuple, a dict, a named tuple, or an object of one's own class.

A row factory is called once per result with the names of its columns, and gives the function
that makes each row. It runs in the connection's thread.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

__all__ = ["RowFactory", "as_dicts", "as_named", "as_tuples", "as_type", "as_values", "columns_of"]

R = TypeVar("R")

# Values of a database have the types that its driver gives them, hence Any.
RowFactory: TypeAlias = Callable[[Sequence[str]], Callable[[Sequence[Any]], R]]
"""From the names of the columns to the function that makes a row of its values."""


def as_tuples(columns: Sequence[str]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Rows as plain tuples, which is what they are when nothing is said."""
    return tuple


def as_dicts(columns: Sequence[str]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Rows as dicts, by name of the column."""
    names = tuple(columns)
    return lambda row: dict(zip(names, row, strict=True))


@lru_cache(256)
def _named(names: tuple[str, ...]) -> Any:
    # A column may be called anything; those that cannot be attributes become _0, _1, …
    made: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # its names are known when it runs
    return made._make


def as_named(columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Rows as named tuples: ``row.name``, and still ``row[0]``."""
    make: Callable[[Sequence[Any]], Any] = _named(tuple(columns))
    return make


def as_values(columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """The first column of each row alone."""
    return lambda row: row[0]


def as_type(cls: Callable[..., R]) -> RowFactory[R]:
    """Rows as objects of a class, called with the columns as keywords (dataclass, Struct)."""

    def factory(columns: Sequence[str]) -> Callable[[Sequence[Any]], R]:
        names = tuple(columns)
        return lambda row: cls(**dict(zip(names, row, strict=True)))

    return factory


def columns_of(cursor: Any) -> list[str]:
    """Names of the columns of an executed cursor (PEP 249)."""
    return [str(column[0]) for column in cursor.description]
