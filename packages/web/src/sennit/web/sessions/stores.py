"""Where sessions are kept: in the client's own cookie, in memory, in a file of SQLite.

* `SignedCookies`: nothing is kept here. A client can read what is in it, and keep an old one:
  a session that was ended is good until its time is over for whoever copied its cookie.
* `MemorySessions`: gone with the process, and not shared with other workers.
* `SQLiteSessions`: durable, shared by the workers of one machine.

Those of several machines are in ``redis.py``. Stores keep no tokens: who reads the table
cannot be any of those whose sessions are in it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, cast

from zope.interface import implementer

from sennit.web.cookies import MAX_COOKIE
from sennit.web.sessions.interfaces import MAX_TOKEN, ISessionStore, Record
from sennit.web.sessions.signing import Signer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from sennit.core.database.pool import Pool
    from sennit.web.sessions.signing import Key

__all__ = [
    "MemorySessions",
    "SQLiteSessions",
    "SignedCookies",
    "decoded",
    "encoded",
    "key_of",
    "new_token",
]

MAX_RECORD: Final = 64 * 1024
"""Octets of one session that are kept here."""
SWEEP: Final = 10.0
"""Seconds at least between two looks at everything that is kept in memory."""
TOKEN: Final = 32
"""Random octets of a token."""


def new_token() -> str:
    """A token that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(TOKEN)


def key_of(token: str) -> str:
    """What a token is looked up by: its digest, so that tables hold no tokens."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def encoded(record: Record, limit: int = MAX_RECORD) -> bytes:
    """A record as octets.

    Raises:
        ValueError: It has no JSON form, or is too large.
    """
    form = [round(record.created, 3), round(record.seen, 3), record.data]
    try:
        made = json.dumps(form, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"a session holds what JSON can: {error}") from None
    octets = made.encode()
    if len(octets) > limit:
        raise ValueError(f"a session has {len(octets)} octets, and {limit} at most are kept")
    return octets


def decoded(octets: bytes) -> Record | None:
    """The record of these octets; ``None`` for what is none."""
    try:
        form: Any = json.loads(octets)
        created, seen, data = form
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(data, dict) or isinstance(created, bool) or isinstance(seen, bool):
        return None
    if not isinstance(created, (int, float)) or not isinstance(seen, (int, float)):
        return None
    return Record(cast("dict[str, Any]", data), float(created), float(seen))


@implementer(ISessionStore)
class SignedCookies:
    """Sessions in the cookie itself, signed.

    Args:
        key: As of `Signer`.
        old_keys: Likewise.
        max_age: Seconds after which one is not believed any more, whatever is in it.
        wall_clock: Seconds since the epoch.

    Raises:
        WebUsageError: A key is too short.
    """

    def __init__(
        self,
        key: Key,
        *,
        old_keys: Sequence[Key] = (),
        max_age: float = 14 * 86400.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = Signer(key, "session cookie", old_keys)
        self._max_age = max_age
        self._wall_clock = wall_clock

    async def load(self, token: str) -> Record | None:
        """What is in it, if it is signed here and not too old."""
        if len(token) > MAX_TOKEN:
            return None
        found = self._signer.verify(token)
        if found is None:
            return None
        octets, signed = found
        if not -60 <= self._wall_clock() - signed <= self._max_age:
            return None
        return decoded(octets)

    async def save(self, token: str | None, record: Record, expires: float) -> str | None:
        """A new cookie."""
        # A quarter of what base64 makes of it, and room for the cookie's name.
        octets = encoded(record, (MAX_COOKIE - 200) * 3 // 4)
        return self._signer.sign(octets, self._wall_clock())

    async def delete(self, token: str) -> None:
        """Nothing: the client is told to forget it."""


@implementer(ISessionStore)
class MemorySessions:
    """Sessions in memory.

    Args:
        limit: How many; beyond, the one that was saved first is forgotten.
        wall_clock: Seconds since the epoch.
    """

    def __init__(self, limit: int = 10_000, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._wall_clock = wall_clock
        self._kept: dict[str, tuple[bytes, float]] = {}  # by `key_of` their tokens
        self._swept = -SWEEP

    def __len__(self) -> int:
        """How many are kept, expired ones among them."""
        return len(self._kept)

    async def load(self, token: str) -> Record | None:
        """The session of a token."""
        key = key_of(token)
        found = self._kept.get(key)
        if found is None:
            return None
        if found[1] <= self._wall_clock():
            del self._kept[key]
            return None
        return decoded(found[0])

    async def save(self, token: str | None, record: Record, expires: float) -> str | None:
        """Keep it, last in line to be forgotten."""
        octets = encoded(record)
        if token is None:
            token = new_token()
            if len(self._kept) >= self._limit:
                self._make_room()
        elif self._kept.pop(key_of(token), None) is None:
            return None
        self._kept[key_of(token)] = (octets, expires)
        return token

    def _make_room(self) -> None:
        now = self._wall_clock()
        # All are looked at now and then only: whoever fills it would have it done each time.
        if not 0 <= now - self._swept < SWEEP:
            self._swept = now
            for key in [each for each, kept in self._kept.items() if kept[1] <= now]:
                del self._kept[key]
        while len(self._kept) >= self._limit:
            del self._kept[next(iter(self._kept))]

    async def delete(self, token: str) -> None:
        """Forget it."""
        self._kept.pop(key_of(token), None)


@implementer(ISessionStore)
class SQLiteSessions:
    """Sessions in a file of SQLite.

    Use it as ``async with SQLiteSessions("sessions.db") as store``. Statements run in a
    thread. What was saved is on the disk before the client hears of it.

    Args:
        path: The file; made if it is not there.
        sweep: Seconds between two removals of what has expired.
        wall_clock: Seconds since the epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sweep: float = 600.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        from sennit.core.database import sqlite_pool

        self._pool: Pool = sqlite_pool(
            path, pragmas={"synchronous": "FULL"}, name="sennit-sessions"
        )
        self._sweep = sweep
        self._swept = 0.0
        self._wall_clock = wall_clock

    async def __aenter__(self) -> Self:
        await self._pool.open()
        try:
            await self._pool.execute(
                "CREATE TABLE IF NOT EXISTS sennit_sessions ("
                "id TEXT PRIMARY KEY, expires REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID"
            )
            await self._pool.execute(
                "CREATE INDEX IF NOT EXISTS sennit_sessions_expires ON sennit_sessions (expires)"
            )
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.close()

    async def load(self, token: str) -> Record | None:
        """The session of a token."""
        octets = await self._pool.fetch_value(
            "SELECT record FROM sennit_sessions WHERE id = ? AND expires > ?",
            [key_of(token), self._wall_clock()],
        )
        return None if octets is None else decoded(bytes(octets))

    async def save(self, token: str | None, record: Record, expires: float) -> str | None:
        """Write it, and remove what has expired now and then."""
        octets = encoded(record)
        now = self._wall_clock()
        if now - self._swept >= self._sweep:
            self._swept = now
            await self._pool.execute("DELETE FROM sennit_sessions WHERE expires <= ?", [now])
        if token is None:
            token = new_token()
            await self._pool.execute(
                "INSERT INTO sennit_sessions (id, expires, record) VALUES (?, ?, ?)",
                [key_of(token), expires, octets],
            )
            return token
        changed = await self._pool.execute(
            "UPDATE sennit_sessions SET expires = ?, record = ? WHERE id = ?",
            [expires, octets, key_of(token)],
        )
        return token if changed else None

    async def delete(self, token: str) -> None:
        """Forget it."""
        await self._pool.execute("DELETE FROM sennit_sessions WHERE id = ?", [key_of(token)])
