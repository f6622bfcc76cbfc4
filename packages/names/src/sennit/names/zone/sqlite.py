"""Zones in a SQLite database, which others may change while we answer from it.

Two tables (`SCHEMA`): zones, each with a version that whoever changes its records counts up,
and records. Names are written in lower case, absolute; ``path`` is the name with its labels
turned around (``org.example.www.``, `path_of`), which finds what is beneath a name by an index.

Look-ups run in a thread. What was found is kept, up to some number of names, and thrown away
when the zone's version has changed, which is looked at at most once in `recheck` seconds. These
zones are not signed, and not given to secondaries.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.core.database.sqlite import sqlite_database
from sennit.names.codes import type_from_text, type_text
from sennit.names.errors import DNSError, ZoneError
from sennit.names.name import Name, trusted
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.zone.data import IZoneData
from sennit.names.zone.rules import Draft, may_hold

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sennit.core.database.sqlite import SQLiteDatabase
    from sennit.names.message import Record
    from sennit.names.zone.node import Node
    from sennit.names.zone.zone import Zone

__all__ = ["SCHEMA", "SQLiteZone", "SQLiteZones", "path_of"]

SCHEMA: Final = """\
CREATE TABLE IF NOT EXISTS zones (
    origin  TEXT PRIMARY KEY,              -- example.org.
    version INTEGER NOT NULL DEFAULT 0     -- counted up with each change of its records
);
CREATE TABLE IF NOT EXISTS records (
    zone TEXT NOT NULL REFERENCES zones (origin) ON DELETE CASCADE,
    name TEXT NOT NULL,                    -- www.example.org.
    path TEXT NOT NULL,                    -- org.example.www.
    ttl  INTEGER NOT NULL DEFAULT 3600 CHECK (ttl BETWEEN 0 AND 2147483647),
    type TEXT NOT NULL,                    -- A
    data TEXT NOT NULL                     -- 192.0.2.1; names in full, or relative to the zone
);
CREATE INDEX IF NOT EXISTS records_by_path ON records (zone, path);
"""
"""The tables, made where they are missing."""

NAMES_KEPT: Final = 10_000
"""Names of a zone that are kept in memory."""


def path_of(name: Name) -> str:
    """A name with its labels turned around: ``org.example.www.``; the root's is empty."""
    return "".join(str(Name.from_labels([label])) for label in reversed(trusted(name.key).labels))


@implementer(IZoneData)
class SQLiteZone:
    """One zone of a database; made by `SQLiteZones`."""

    def __init__(
        self,
        database: SQLiteDatabase,
        origin: Name,
        *,
        recheck: float = 1.0,
        names: int = NAMES_KEPT,
        time: Callable[[], float] = monotonic,
    ) -> None:
        self.origin = origin
        self.rdclass = 1
        self.expired = False
        self.chain = None
        self._database = database
        self._zone = str(trusted(origin.key))
        self._recheck = recheck
        self._names = names
        self._time = time
        self._version: int | None = None
        self._checked = 0.0
        self._cache: OrderedDict[bytes, Node | None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SQLiteZone {self.origin}>"

    def get_node(self, key: bytes, rdtype: int = 255) -> Node | Awaitable[Node | None] | None:
        """The records of a name, out of memory or out of the database."""
        del rdtype  # all of a name are one row or a few
        if (
            key in self._cache
            and self._version is not None
            and self._time() - self._checked < self._recheck
        ):
            self._cache.move_to_end(key)
            return self._cache[key]
        return self._fetch(key)

    async def _fetch(self, key: bytes) -> Node | None:
        now = self._time()
        known = self._version if key in self._cache else None
        version, node = await self._database.run(
            lambda raw: self._read(raw, key, known), reads=True
        )
        if version != self._version:
            self._cache.clear()
            self._version = version
        self._checked = now
        if node is _SAME:
            if key in self._cache:
                return self._cache[key]
            return await self._fetch(key)  # thrown away by another meanwhile
        kept: Node | None = node
        self._cache[key] = kept
        self._cache.move_to_end(key)
        if len(self._cache) > self._names:
            self._cache.popitem(last=False)
        return kept

    # `Any`: a connection of sqlite3, in a thread; and a node, none, or that it has not changed.
    def _read(self, raw: Any, key: bytes, known: int | None) -> tuple[int, Any]:
        found = raw.execute("SELECT version FROM zones WHERE origin = ?", (self._zone,)).fetchone()
        if found is None:
            raise ZoneError(f"the zone {self.origin} is no longer in the database")
        if found[0] == known:
            return found[0], _SAME
        name = trusted(key)
        path = path_of(name)
        rows = raw.execute(
            "SELECT ttl, type, data FROM records WHERE zone = ? AND path = ?", (self._zone, path)
        ).fetchall()
        if not rows:
            # '/' is what follows '.': all that begins with the path is beneath the name.
            beneath = raw.execute(
                "SELECT 1 FROM records WHERE zone = ? AND path > ? AND path < ? LIMIT 1",
                (self._zone, path, path[:-1] + "/" if path else "\x7f"),
            ).fetchone()
            return found[0], Draft(key).node(1) if beneath else None
        return found[0], self._node(name, rows)

    def _node(self, name: Name, rows: Iterable[tuple[int, str, str]]) -> Node:
        draft = Draft(name.wire)
        for ttl, kind, data in rows:
            try:
                rdtype = type_from_text(kind)
                may_hold(self.origin, name.key, rdtype)
                rdata = parse_rdata(rdtype, tokens_of(data, self.origin)).wire
            except DNSError as error:
                raise ZoneError(f"{name} {kind} {data!r:.80}: {error}") from error
            draft.add(rdtype, ttl, rdata)
        problem = draft.check(apex=name == self.origin)
        if problem is not None:
            raise ZoneError(f"{name}: {problem}")
        return draft.node(self.rdclass)


_SAME: Final = object()
"""What is kept still holds."""


class SQLiteZones:
    """All zones of a database; an asynchronous context, open while it is in use.

    Args:
        path: The file; tables are made where they are missing.
        recheck: Seconds for which a change may stay unseen.
        names: Names of each zone that are kept in memory.
        time: The clock for `recheck`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        recheck: float = 1.0,
        names: int = NAMES_KEPT,
        time: Callable[[], float] = monotonic,
    ) -> None:
        self._database = sqlite_database(path)
        self._recheck = recheck
        self._names = names
        self._time = time

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        await self._database.run(_make)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._database.__aexit__(kind, error, trace)

    async def zones(self) -> list[SQLiteZone]:
        """The zones that it has now, for `Authority`.

        Raises:
            ZoneError: A zone's name is none.
        """
        found = await self._database.run(_origins, reads=True)
        try:
            names = [Name(each) for each in found]
        except DNSError as error:
            raise ZoneError(f"a zone of the database: {error}") from error
        return [
            SQLiteZone(
                self._database, each, recheck=self._recheck, names=self._names, time=self._time
            )
            for each in names
        ]

    async def store(self, zone: Zone) -> None:
        """Put a zone into the database, in the place of one that has its name."""
        rows = [_row(zone, each) for each in zone.records()]
        await self._database.run(lambda raw: _store(raw, str(trusted(zone.origin.key)), rows))


def _make(raw: Any) -> None:
    for each in SCHEMA.split(";\n"):
        if each.strip():
            raw.execute(each)


def _origins(raw: Any) -> list[str]:
    return [row[0] for row in raw.execute("SELECT origin FROM zones ORDER BY origin")]


def _row(zone: Zone, record: Record) -> tuple[str, str, str, int, str, str]:
    name = trusted(record.name.key)
    return (
        str(trusted(zone.origin.key)),
        str(name),
        path_of(name),
        record.ttl,
        type_text(record.rdtype),
        record.rdata.to_text(),
    )


def _store(raw: Any, zone: str, rows: list[tuple[str, str, str, int, str, str]]) -> None:
    raw.execute(
        "INSERT INTO zones (origin) VALUES (?) "
        "ON CONFLICT (origin) DO UPDATE SET version = version + 1",
        (zone,),
    )
    raw.execute("DELETE FROM records WHERE zone = ?", (zone,))
    raw.executemany(
        "INSERT INTO records (zone, name, path, ttl, type, data) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
