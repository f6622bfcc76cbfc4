"""One SQLite store for all services of a process that name its file.

A service whose table has changed gets ready beside the old one, which still answers: both then have
the same store, since a file has one that writes to it. Whoever lets go of it last closes it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SharedStore"]


class SharedStore:
    """A share in the store of a file.

    Args:
        path: The file.
        host: The name that stands in Xref, if this is the first share.
        settings: What else `SQLiteStore` is told, likewise.

    Attributes:
        store: The store, which can be used between `open` and `close`.
    """

    def __init__(self, path: Path, host: str, **settings: Any) -> None:  # Any: as that has it
        key = os.path.realpath(path)
        found = _opened.get(key)
        if found is None:
            found = _opened[key] = _Opened(SQLiteStore(path, host=host, **settings))
        self._opened = found
        self._open = False
        self.store = found.store

    async def open(self) -> None:
        """Open the store, unless somebody has.

        Raises:
            StoreError: It cannot be opened.
        """
        async with self._opened.changing:
            if not self._opened.shares:
                await self.store
            self._opened.shares += 1
            self._open = True

    async def close(self) -> None:
        """Let go of the store; harmless when that was done."""
        async with self._opened.changing:
            if self._open:
                self._open = False
                self._opened.shares -= 1
                if not self._opened.shares:
                    await self.store.close()


class _Opened:
    """A store, and how many have it open."""

    __slots__ = ("__weakref__", "changing", "shares", "store")

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.shares = 0
        self.changing = asyncio.Lock()


_opened: Final[WeakValueDictionary[str, _Opened]] = WeakValueDictionary()
