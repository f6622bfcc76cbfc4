"""The file of `SQLiteStore`: its tables, which version they are of, and who has it open.

A file is made whole or not at all, and marked as ours: another program's database, and one that a
later version of this package has written, are refused and left as they are.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sennit.core.commit import sync_directory
from sennit.news.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VERSION", "connect_reader", "lock", "prepare"]

VERSION: Final = 1
"""Of the tables."""
_APPLICATION: Final = 0x534E4E54  # "SNNT"
_PAGE: Final = 8192
"""Octets of a page: of 2 400-octet articles three fit in, and adding cost 27 µs against 37."""

_TABLES: Final = (
    # Keys are never used again: blocks of a removed group may still be there.
    """CREATE TABLE groups (
        key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
        low INTEGER NOT NULL, high INTEGER NOT NULL, count INTEGER NOT NULL,
        status TEXT NOT NULL, description TEXT NOT NULL, created REAL NOT NULL,
        creator TEXT NOT NULL)""",
    "CREATE TABLE removed_groups (key INTEGER PRIMARY KEY)",
    # What was seen: an article, or 0 for one that is gone. By digest, so that rows are short.
    "CREATE TABLE seen (digest BLOB PRIMARY KEY, article INTEGER NOT NULL) WITHOUT ROWID",
    # Up to which row all articles are in `seen`.
    "CREATE TABLE settled (article INTEGER NOT NULL)",
    "INSERT INTO settled VALUES (0)",
    "CREATE TABLE gone (since REAL, digest BLOB, PRIMARY KEY (since, digest)) WITHOUT ROWID",
    # Apart from its octets, so that expiry and NEWNEWS read little.
    """CREATE TABLE articles (
        id INTEGER PRIMARY KEY, message_id BLOB NOT NULL, received REAL NOT NULL,
        expires REAL, places BLOB NOT NULL)""",
    "CREATE INDEX articles_received ON articles (received)",
    "CREATE INDEX articles_expires ON articles (expires) WHERE expires IS NOT NULL",
    "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body_at INTEGER NOT NULL, octets BLOB NOT NULL)",
    # ids before lines: who wants the ids alone does not read pages of lines.
    "CREATE TABLE blocks (block INTEGER PRIMARY KEY, ids BLOB NOT NULL, lines BLOB NOT NULL)",
    """CREATE TABLE queue (
        feed TEXT, place INTEGER, message_id BLOB NOT NULL, PRIMARY KEY (feed, place))
        WITHOUT ROWID""",
)


def lock(path: Path) -> sqlite3.Connection:
    """Make sure that nobody else has a store open, until what is given is closed.

    The lock is SQLite's own on an empty file beside the store: it works wherever SQLite does,
    holds within a process, too, and ends with the process that has it.

    Raises:
        StoreError: Somebody has it, or there can be no lock.
    """
    held = sqlite3.connect(f"{path}.lock", timeout=0.0, isolation_level=None)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        held.close()
        if "locked" in str(error):
            raise StoreError(f"{path} is open already, here or in another process") from error
        raise StoreError(f"{path} cannot be locked: {error}") from error
    return held


_NO_ENTRY: Final = ("SQLITE_CANTOPEN", "SQLITE_READONLY")


def prepare(path: Path) -> None:
    """Make the file if there is none, and look whether it is one of ours.

    Raises:
        StoreError: It is not, or it cannot be opened.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            if _value(raw, "SELECT count(*) FROM sqlite_master") == 0:
                _create(raw)
                sync_directory(path.parent)
            application = _value(raw, "PRAGMA application_id")
            version = _value(raw, "PRAGMA user_version")
    except (sqlite3.Error, OSError) as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_NOTADB":
            raise StoreError(f"{path} is no store of news, but another kind of file") from error
        hint = "; this user has to be able to write in its folder" if name in _NO_ENTRY else ""
        raise StoreError(f"{path}: {error}{hint}") from error
    if application != _APPLICATION:
        raise StoreError(f"{path} is a database, but no store of news")
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a later version: its tables are of version {version}, "
            f"and this one knows {VERSION}"
        )


def _create(raw: sqlite3.Connection) -> None:
    raw.execute(f"PRAGMA page_size = {_PAGE}")
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        raw.execute(table)
    raw.execute(f"PRAGMA application_id = {_APPLICATION}")
    raw.execute(f"PRAGMA user_version = {VERSION}")
    raw.execute("COMMIT")


def _value(raw: sqlite3.Connection, sql: str) -> int:
    row: tuple[Any] = raw.execute(sql).fetchone()
    return int(row[0])


def connect_reader(path: Path, cache: int) -> sqlite3.Connection:
    """Open the file for reading, in the thread that calls.

    Args:
        path: A file that was made ready, and has its writer.
        cache: Octets of pages to keep.
    """
    raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    raw.execute("PRAGMA query_only = ON")
    raw.execute(f"PRAGMA cache_size = -{cache >> 10}")
    return raw
