"""Reading `SQLiteStore`'s file: point look-ups, and ranges in pieces of bounded cost.

A `Reader` answers in the thread that has its connection, and sees what was committed. Each
statement is a snapshot by itself, or all are one from `hold` to `let_go`; what goes between two of
them is not found.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.news.errors import StoreError
from sennit.news.interfaces import Article, History, IArticleReader
from sennit.news.overview import header_of
from sennit.news.store.blocks import (
    BITS,
    LOW,
    block_of,
    blocks_of,
    cut,
    first_number,
    line_at,
    unpack,
    unplace,
)
from sennit.news.store.state import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.news.interfaces import Group
    from sennit.news.store.state import Known, State

    Old = tuple[float, int, bytes, bytes, float, float | None]
    """(what it is sorted by, row, Message-ID, places, received, Expires)."""

__all__ = ["Reader"]

MOST_BLOCKS: Final = 512
"""Rows of overview that are kept for single look-ups: a few MiB at most."""
_BLOCKS: Final = 8
"""Rows of overview in a piece: about 64 KiB."""
_BLOCKS_OF_NUMBERS: Final = 64
_BLOCKS_OF_HEADS: Final = 2
"""As many articles are read whole for a piece of what the overview does not have."""
_AT: Final = 4
"""Where the Message-ID is in a line: behind number, Subject, From and Date."""
_IDS: Final = "SELECT block, ids FROM blocks WHERE block BETWEEN ? AND ? ORDER BY block LIMIT ?"
_LINES: Final = "SELECT block, lines FROM blocks WHERE block BETWEEN ? AND ? ORDER BY block LIMIT ?"


@implementer(IArticleReader)
class Reader:
    """Answers at once, out of a connection that reads.

    Args:
        raw: The connection.
        state: What is known without asking the file, as somebody else keeps it.
    """

    def __init__(self, raw: sqlite3.Connection, state: State) -> None:
        self._raw = raw
        # One for all: to make one costs as much as a small row.
        self._cursor = raw.cursor()
        self._state = state
        self._groups = state.groups
        # Blocks that were read since something changed: readers come back to those of a group.
        self._blocks: dict[int, tuple[tuple[int, ...], list[bytes]]] = {}
        self._changes: int = -1

    def hold(self) -> None:
        """See the file as it is now until `let_go`: locks are taken once, not for each look-up.

        Meanwhile the log cannot begin anew: nobody should write.
        """
        if not self._raw.in_transaction:
            self._raw.execute("BEGIN").close()

    def let_go(self) -> None:
        """See what is committed from now on."""
        if self._raw.in_transaction:
            self._raw.execute("COMMIT").close()

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Give all rows of a query.

        Raises:
            StoreError: The file cannot be read.
        """
        try:
            return self._cursor.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the store cannot be read: {error}") from error

    def group(self, name: str) -> Group | None:
        return self._groups.get(name)

    def history(self, message_id: bytes) -> History:
        row = self._row(message_id)
        if row is None:
            return History.UNKNOWN
        return History.PRESENT if row else History.GONE

    def _row(self, message_id: bytes) -> int | None:
        """Give the row of an article, 0 when it is gone."""
        digest = digest_of(message_id)
        row = self._state.young_row(digest)
        if row is None:
            found = self.rows("SELECT article FROM seen WHERE digest = ?", digest)
            row = found[0][0] if found else None
        return row

    # ── articles ─────────────────────────────────────────────────────────────

    def article(self, message_id: bytes) -> Article | None:
        found = self.rows("SELECT octets, body_at FROM bodies WHERE id = ?", self._row(message_id))
        return Article(message_id, *found[0]) if found else None

    def article_at(self, group: str, number: int) -> Article | None:
        ids, lines = self._read_block(group, number)
        at = _index_of(ids, number)
        if at < 0:
            return None
        found = self.rows("SELECT octets, body_at FROM bodies WHERE id = ?", ids[at] >> BITS)
        # Its Message-ID need not be looked up besides.
        return Article(lines[at].split(b"\t", _AT + 1)[_AT], *found[0]) if found else None

    def locate(self, group: str, number: int) -> bytes | None:
        ids, lines = self._read_block(group, number)
        at = _index_of(ids, number)
        return None if at < 0 else lines[at].split(b"\t", _AT + 1)[_AT]

    def neighbour(self, group: str, number: int, step: int) -> tuple[int, bytes] | None:
        known = self._groups.get(group)
        if known is None:
            return None
        # In the file no number is below 0 or of more than 31 bits.
        number = max(min(number, known.high + 1), 0)
        first, last = blocks_of(known.key)
        block = min(block_of(known.key, number), last)
        if step > 0:
            found = self.rows(
                "SELECT block, ids FROM blocks WHERE block BETWEEN ? AND ? ORDER BY block LIMIT 2",
                block,
                last,
            )
        else:
            found = self.rows(
                "SELECT block, ids FROM blocks WHERE block BETWEEN ? AND ?"
                " ORDER BY block DESC LIMIT 2",
                first,
                block,
            )
        for at, ids in found:
            base = first_number(at)
            for each in unpack(ids)[:: 1 if step > 0 else -1]:
                there = base | each & LOW
                if there > number if step > 0 else there < number:
                    message_id = self._message_id(each >> BITS)
                    if message_id is not None:
                        return there, message_id
        return None

    def number_in(self, group: str, message_id: bytes) -> int | None:
        known = self._groups.get(group)
        if known is not None:
            for key, number in self.places_of(message_id):
                if key == known.key:
                    return number
        return None

    def places_of(self, message_id: bytes) -> list[tuple[int, int]]:
        """Give (key of a group, number) of where an article is."""
        found = self.rows("SELECT places FROM articles WHERE id = ?", self._row(message_id))
        return [unplace(each) for each in unpack(found[0][0])] if found else []

    def _read_block(self, group: str, number: int) -> tuple[tuple[int, ...], list[bytes]]:
        """Give ids and lines of the block that a number of a group is in; read unless kept."""
        known = self._groups.get(group)
        if known is None or not known.low <= number <= known.high:
            return (), []
        blocks, changes = self._blocks, self._state.changes
        if changes != self._changes or len(blocks) > MOST_BLOCKS:
            blocks.clear()
            self._changes = changes
        block = block_of(known.key, number)
        kept = blocks.get(block)
        if kept is None:
            found = self.rows("SELECT ids, lines FROM blocks WHERE block = ?", block)
            ids, lines = found[0] if found else (b"", b"")
            kept = blocks[block] = unpack(ids), lines.split(b"\r\n")
        return kept

    def _message_id(self, row: int) -> bytes | None:
        found = self.rows("SELECT message_id FROM articles WHERE id = ?", row) if row else None
        return found[0][0] if found else None

    # ── ranges ───────────────────────────────────────────────────────────────

    def overview_of(self, message_id: bytes) -> bytes | None:
        for key, number in self.places_of(message_id):
            line = self._line(key, number)
            if line is not None:
                return line
        return None

    def overview(self, group: str, low: int, high: int) -> tuple[bytes, int]:
        known, begin, end = self._range(group, low, high)
        if known is None:
            return b"", high + 1
        key = known.key
        if begin == end:
            line = self._line(key, begin)
            return (b"" if line is None else b"%d\t%b\r\n" % (begin, line)), high + 1
        found, following = self._piece(_LINES, key, begin, end, _BLOCKS)
        if not found:
            return b"", high + 1
        pieces = [lines for _, lines in found]
        if found[-1][0] == block_of(key, end) and end & LOW != LOW:
            pieces[-1] = cut(pieces[-1], begin, end)
        if begin & LOW and found[0][0] == block_of(key, begin):
            pieces[0] = cut(pieces[0], begin, end)
        return b"".join(pieces), following if following <= end else high + 1

    def _line(self, key: int, number: int) -> bytes | None:
        """Give the fields behind one number of a group."""
        found = self.rows("SELECT lines FROM blocks WHERE block = ?", block_of(key, number))
        return line_at(found[0][0], number) if found else None

    def numbers(self, group: str, low: int, high: int) -> tuple[Sequence[int], int]:
        entries, following = self.entries(group, low, high, _BLOCKS_OF_NUMBERS)
        return [number for number, _ in entries], following

    def entries(
        self, group: str, low: int, high: int, blocks: int
    ) -> tuple[list[tuple[int, int]], int]:
        """Give (number, the article's row) of a piece, and the number from which to go on."""
        known, begin, end = self._range(group, low, high)
        if known is None:
            return [], high + 1
        found, following = self._piece(_IDS, known.key, begin, end, blocks)
        entries = [
            (first_number(block) | each & LOW, each >> BITS)
            for block, ids in found
            for each in unpack(ids)
        ]
        if entries and (entries[0][0] < begin or entries[-1][0] > end):
            entries = [each for each in entries if begin <= each[0] <= end]
        return entries, following if following <= end else high + 1

    def _piece(
        self, sql: str, key: int, begin: int, end: int, most: int
    ) -> tuple[list[tuple[int, bytes]], int]:
        """Give the first blocks of a range (`_IDS` or `_LINES`), and the number behind them.

        It is above `end` when the range has no more.
        """
        found = self.rows(sql, block_of(key, begin), block_of(key, end), most)
        return found, first_number(found[-1][0]) + LOW + 1 if len(found) == most else end + 1

    def _range(self, group: str, low: int, high: int) -> tuple[Known | None, int, int]:
        """Give a group and the part of a range that it can have; no group when it has none."""
        known = self._groups.get(group)
        if known is None:
            return None, 0, 0
        low, high = max(low, known.low), min(high, known.high)
        return (known if low <= high else None), low, high

    def heads(
        self, group: str, low: int, high: int, name: str
    ) -> tuple[list[tuple[int, bytes]], int]:
        """Give (number, content of a field) out of the articles, of a piece of a range."""
        entries, following = self.entries(group, low, high, _BLOCKS_OF_HEADS)
        contents: list[tuple[int, bytes]] = []
        for number, row in entries:
            found = self.rows(
                "SELECT substr(octets, 1, body_at) FROM bodies WHERE id = ?",
                row,
            )
            if found:
                contents.append((number, header_of(found[0][0], name)))
        return contents, following

    # ── by age, and what waits ───────────────────────────────────────────────

    def since(self, received: float, row: int, limit: int) -> list[tuple[int, float, bytes, bytes]]:
        """Give (row, received, Message-ID, places) of what came behind an article."""
        return self.rows(
            "SELECT id, received, message_id, places FROM articles"
            " WHERE (received, id) > (?, ?) ORDER BY received, id LIMIT ?",
            received,
            row,
            limit,
        )

    def aged(self, received: float, row: int, before: float, limit: int) -> list[Old]:
        """Give what came behind an article and before a moment."""
        return self.rows(
            "SELECT received, id, message_id, places, received, expires FROM articles"
            " WHERE (received, id) > (?, ?) AND received < ? ORDER BY received, id LIMIT ?",
            received,
            row,
            before,
            limit,
        )

    def expired(
        self, expires: float, row: int, before: float, came: float, limit: int
    ) -> list[Old]:
        """Give what expires behind an article and before a moment, and did not come before."""
        return self.rows(
            "SELECT expires, id, message_id, places, received, expires FROM articles"
            " WHERE expires IS NOT NULL AND (expires, id) > (?, ?) AND expires < ?"
            " AND received >= ? ORDER BY expires, id LIMIT ?",
            expires,
            row,
            before,
            came,
            limit,
        )

    def queued(self, feed: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Give (place, Message-ID) of what waits behind a place."""
        return self.rows(
            "SELECT place, message_id FROM queue WHERE feed = ? AND place > ? ORDER BY place"
            " LIMIT ?",
            feed,
            after,
            limit,
        )


def _index_of(ids: Sequence[int], number: int) -> int:
    """Give which one of a block's ids a number has, or -1."""
    if not ids:
        return -1
    low = number & LOW
    # Where none is missing it stands where it is counted to.
    at = low - (ids[0] & LOW)
    if 0 <= at < len(ids) and ids[at] & LOW == low:
        return at
    return next((at for at, each in enumerate(ids) if each & LOW == low), -1)
