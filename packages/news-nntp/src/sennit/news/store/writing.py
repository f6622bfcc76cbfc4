"""Writing `SQLiteStore`'s file: many changes, one transaction, in the writer's thread.

A `Batch` begins from what is known after the last one, and works on copies: when its transaction
fails, all of it is forgotten. An article that cannot be added says so before anything of it is
written, and the others of the batch go in.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sennit.news.errors import DuplicateError, NewsError, StoreError
from sennit.news.overview import filed_line, refiled, with_xref, xref_of
from sennit.news.store.blocks import (
    BITS,
    LOW,
    block_of,
    blocks_of,
    first_number,
    key_of,
    line_at,
    pack,
    place_of,
    unpack,
    unplace,
    with_line,
)
from sennit.news.store.filing import next_number
from sennit.news.store.state import PART, Known, digest_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from sennit.news.interfaces import Filed
    from sennit.news.store.state import State

__all__ = ["Batch", "run"]

_MAX_SETTLED: Final = 8
"""Parts of the young digests that go into the table with one transaction."""


def run(
    state: State, host: bytes, jobs: Sequence[Callable[[Batch], Any]], raw: sqlite3.Connection
) -> tuple[Batch, list[Any]]:
    """Do what was asked for, in order, within the caller's transaction.

    Returns:
        The batch, for `Batch.adopt`, and of each job what it gave, or the `NewsError` it raised.
    """
    batch = Batch(raw, state, host)
    results: list[Any] = []
    for job in jobs:
        try:
            results.append(job(batch))
        except NewsError as error:
            results.append(error)
    batch.finish()
    return batch, results


class Batch:
    """Changes that are made together; `adopt` has the state learn of them.

    Attributes:
        groups: Groups that changed, by name; ``None`` for one that was removed.
        waiting: How many more articles wait for each peer.
        article: The highest row of an article.
        place: The highest place in a queue.
        young: Rows of articles that came, by digest.
        removed: Digests of articles that went.
        settled: Which parts of the young digests went into the table.
    """

    def __init__(self, raw: sqlite3.Connection, state: State, host: bytes) -> None:
        self._raw = raw
        self._state = state
        self._host = host
        self.groups: dict[str, Known | None] = {}
        self.waiting: Counter[str] = Counter()
        self.young: dict[bytes, int] = {}
        self.removed: list[bytes] = []
        self.settled: list[int] = []
        self._made: dict[int, str] = {}  # names of groups that are new, by key
        self.article = state.article
        self.place = state.place
        self._articles: list[tuple[object, ...]] = []
        self._bodies: list[tuple[object, ...]] = []
        self._queue: list[tuple[object, ...]] = []
        # Of each row of blocks what is added to it: ids and lines.
        self._blocks: dict[int, tuple[list[int], list[bytes]]] = {}

    def _group(self, name: str) -> Known | None:
        return self.groups[name] if name in self.groups else self._state.groups.get(name)

    def _group_of(self, key: int) -> Known | None:
        name = self._made.get(key) or self._state.names.get(key)
        group = None if name is None else self._group(name)
        return group if group is not None and group.key == key else None

    def _touched(self, name: str) -> Known | None:
        """Give a group that may be changed: nobody else has it yet."""
        group = self.groups.get(name)
        if group is None and name not in self.groups:
            before = self._state.groups.get(name)
            if before is not None:
                group = self.groups[name] = Known(
                    before.key,
                    name,
                    low=before.low,
                    high=before.high,
                    count=before.count,
                    status=before.status,
                    description=before.description,
                    created=before.created,
                    creator=before.creator,
                )
        return group

    def adopt(self) -> None:
        """Let the state know what has changed, once it is on the disk (in the loop's thread)."""
        state = self._state
        state.changes += 1
        for name, group in self.groups.items():
            state.put_group(name, group)
        state.waiting.update(self.waiting)
        state.article = self.article
        state.place = self.place
        for part in self.settled:
            state.young[part] = {}
        state.unsettled -= len(self.settled) * PART
        state.unsettled += len(self.young)
        for digest, row in self.young.items():
            state.young[digest[0]][digest] = row
        for digest in self.removed:
            state.young[digest[0]].pop(digest, None)

    # ── articles come ────────────────────────────────────────────────────────

    def add(self, filed: Filed) -> list[tuple[str, int]]:
        """Add an article; its numbers by group.

        Raises:
            DuplicateError: It is there, or was.
            StoreError: None of its groups is there, or one has no more numbers.
        """
        names = [name for name in dict.fromkeys(filed.groups) if self._group(name) is not None]
        if not names:
            raise StoreError("the article's groups are not there")
        groups = [group for name in names if (group := self._touched(name)) is not None]
        places = [(group.name, next_number(group.name, group.high)) for group in groups]
        xref = xref_of(self._host, places)
        octets, body_at = with_xref(filed.octets, filed.body_at, xref)
        fields = filed_line(filed.overview, xref)
        digest = digest_of(filed.message_id)
        if self._row(digest) is not None:
            raise DuplicateError("duplicate")
        row = self.article = self.article + 1
        self.young[digest] = row
        filed_at = self._place(row, fields, groups, places)
        self._articles.append(
            (row, filed.message_id, filed.received, filed.expires, pack(filed_at))
        )
        self._bodies.append((row, body_at, octets))
        for feed in dict.fromkeys(filed.feeds):
            self.place += 1
            self._queue.append((feed, self.place, filed.message_id))
            self.waiting[feed] += 1
        return places

    def _place(
        self,
        row: int,
        fields: bytes,
        groups: Sequence[Known],
        places: Sequence[tuple[str, int]],
    ) -> list[int]:
        """Give an article its numbers; its places by them."""
        filed_at: list[int] = []
        for group, (_, number) in zip(groups, places, strict=True):
            filed_at.append(place_of(group.key, number))
            ids, lines = self._blocks.setdefault(block_of(group.key, number), ([], []))
            ids.append(row << BITS | number & LOW)
            lines.append(b"%d\t%b\r\n" % (number, fields))
            group.high = number
            group.count += 1
        return filed_at

    def file_in(self, message_id: bytes, names: Sequence[str]) -> list[tuple[str, int]]:
        """File an article that is there in more groups; its numbers in them.

        Raises:
            StoreError: One of them has no more numbers.
        """
        self._flush()
        row = self._row(digest_of(message_id)) or 0
        found = self._raw.execute("SELECT places FROM articles WHERE id = ?", (row,)).fetchone()
        if found is None:
            return []
        filed_at = unpack(found[0])
        # A group that was removed, and whose places are not purged yet, has no name.
        before = [
            (group.name, number)
            for key, number in map(unplace, filed_at)
            if (group := self._group_of(key)) is not None
        ]
        there = {name for name, _ in before}
        groups = [
            group
            for name in dict.fromkeys(names)
            if name not in there and (group := self._touched(name)) is not None
        ]
        if not groups:
            return []
        places = [(group.name, next_number(group.name, group.high)) for group in groups]
        rows = [(block_of(*unplace(place)), unplace(place)[1]) for place in filed_at]
        fields = line_at(self._lines(rows[0][0]), rows[0][1])
        assert fields is not None  # an article is in the blocks of its places
        xref = xref_of(self._host, [*before, *places])
        # Read here, and not for what an import has again.
        octets, body_at = self._raw.execute(
            "SELECT octets, body_at FROM bodies WHERE id = ?", (row,)
        ).fetchone()
        octets, body_at, fields = refiled(octets, body_at, fields, xref)
        for block, number in rows:
            self._raw.execute(
                "UPDATE blocks SET lines = ? WHERE block = ?",
                (with_line(self._lines(block), number, fields), block),
            )
        filed_at += tuple(self._place(row, fields, groups, places))
        self._raw.execute("UPDATE articles SET places = ? WHERE id = ?", (pack(filed_at), row))
        self._raw.execute(
            "UPDATE bodies SET body_at = ?, octets = ? WHERE id = ?", (body_at, octets, row)
        )
        return places

    def _lines(self, block: int) -> bytes:
        found = self._raw.execute("SELECT lines FROM blocks WHERE block = ?", (block,)).fetchone()
        lines: bytes = found[0]
        return lines

    def _row(self, digest: bytes) -> int | None:
        """Give the row of an article; 0, or one where there is none, when it is gone."""
        row = self.young.get(digest) or self._state.young_row(digest)
        if row is None:
            found = self._raw.execute(
                "SELECT article FROM seen WHERE digest = ?", (digest,)
            ).fetchone()
            row = found[0] if found else None
        return row

    def remember(self, message_id: bytes, when: float) -> None:
        """Note one that is not to come, unless it is known."""
        digest = digest_of(message_id)
        if self._row(digest) is None:
            self._raw.execute("INSERT INTO seen VALUES (?, 0)", (digest,))
            self._raw.execute("INSERT INTO gone VALUES (?, ?)", (when, digest))

    # ── and go ───────────────────────────────────────────────────────────────

    def remove(self, message_id: bytes, when: float) -> bool:
        """Remove an article from all its groups."""
        self._flush()
        found = self._raw.execute(
            "SELECT places FROM articles WHERE id = ?", (self._row(digest_of(message_id)),)
        ).fetchone()
        if found is None:
            return False
        self._take(unpack(found[0]), when)
        return True

    def drop(self, places: Sequence[tuple[str, int]], when: float) -> int:
        """Take articles out of groups; gives how many are in none any more."""
        self._flush()
        wanted: list[int] = []
        for name, number in places:
            group = self._group(name)
            if group is not None and group.low <= number <= group.high:
                wanted.append(place_of(group.key, number))
        return self._take(wanted, when)

    def _take(self, places: Sequence[int], when: float) -> int:
        """Take places out of their blocks, and remove articles that have no others."""
        by_block: dict[int, set[int]] = {}
        for place in places:
            key, number = unplace(place)
            by_block.setdefault(block_of(key, number), set()).add(number)
        lost: dict[int, set[int]] = {}  # places that articles lose, by row
        lows: dict[str, Known] = {}
        for block, numbers in by_block.items():
            key = key_of(block)
            rows = self._cut_block(block, numbers)
            for number, row in rows:
                lost.setdefault(row, set()).add(place_of(key, number))
            group = self._group_of(key)
            if group is not None and (group := self._touched(group.name)) is not None:
                group.count -= len(rows)
                if any(number == group.low for number, _ in rows):
                    lows[group.name] = group
        for group in lows.values():
            group.low = self._lowest(group)
        return self._unfile(lost, when)

    def _cut_block(self, block: int, numbers: set[int]) -> list[tuple[int, int]]:
        """Take numbers out of a block; gives those that were there, and their articles' rows."""
        found = self._raw.execute(
            "SELECT ids, lines FROM blocks WHERE block = ?", (block,)
        ).fetchone()
        if found is None:
            return []
        base = first_number(block)
        ids, lines = unpack(found[0]), found[1].split(b"\r\n")
        kept = [at for at, each in enumerate(ids) if base | each & LOW not in numbers]
        if not kept:
            self._raw.execute("DELETE FROM blocks WHERE block = ?", (block,))
        elif len(kept) < len(ids):
            self._raw.execute(
                "UPDATE blocks SET ids = ?, lines = ? WHERE block = ?",
                (
                    pack([ids[at] for at in kept]),
                    b"".join([lines[at] + b"\r\n" for at in kept]),
                    block,
                ),
            )
        there = [(base | each & LOW, each >> BITS) for each in ids]
        return [each for each in there if each[0] in numbers]

    def _lowest(self, group: Known) -> int:
        """Give the lowest number that a group has, or the one behind its highest."""
        found = self._raw.execute(
            "SELECT block, ids FROM blocks WHERE block BETWEEN ? AND ? ORDER BY block LIMIT 1",
            blocks_of(group.key),
        ).fetchone()
        if found is None:
            return group.high + 1
        return first_number(found[0]) | unpack(found[1])[0] & LOW

    def _unfile(self, lost: dict[int, set[int]], when: float) -> int:
        removed = 0
        for row, places in lost.items():
            found = self._raw.execute(
                "SELECT message_id, places FROM articles WHERE id = ?", (row,)
            ).fetchone()
            if found is None:
                continue
            kept = [place for place in unpack(found[1]) if place not in places]
            if kept:
                self._raw.execute("UPDATE articles SET places = ? WHERE id = ?", (pack(kept), row))
                continue
            digest = digest_of(found[0])
            self._raw.execute("DELETE FROM articles WHERE id = ?", (row,))
            self._raw.execute("DELETE FROM bodies WHERE id = ?", (row,))
            self._raw.execute("REPLACE INTO seen VALUES (?, 0)", (digest,))
            self.removed.append(digest)
            self._raw.execute("INSERT OR IGNORE INTO gone VALUES (?, ?)", (when, digest))
            removed += 1
        return removed

    def forget(self, before: float, limit: int) -> int:
        """Do not remember the longest gone any more; gives how many."""
        found = self._raw.execute(
            "SELECT since, digest FROM gone WHERE since < ? ORDER BY since LIMIT ?", (before, limit)
        ).fetchall()
        self._raw.executemany("DELETE FROM gone WHERE since = ? AND digest = ?", found)
        self._raw.executemany(
            "DELETE FROM seen WHERE digest = ? AND article = 0", [(digest,) for _, digest in found]
        )
        return len(found)

    # ── groups ───────────────────────────────────────────────────────────────

    def create_group(
        self, name: str, status: str, description: str, creator: str, created: float
    ) -> None:
        """Make a group, or change what is told of it."""
        group = self._touched(name)
        if group is not None:
            group.status, group.description = status, description
            group.creator = creator or group.creator
            return
        made = self._raw.execute(
            "INSERT INTO groups (name, low, high, count, status, description, created, creator)"
            " VALUES (?, 1, 0, 0, ?, ?, ?, ?)",
            (name, status, description, created, creator),
        )
        key = made.lastrowid or 0
        self._made[key] = name
        self.groups[name] = Known(
            key,
            name,
            status=status,
            description=description,
            created=created,
            creator=creator,
        )

    def remove_group(self, name: str) -> bool:
        """Remove a group; `purge` removes its articles, after a crash, too."""
        self._flush()
        group = self._group(name)
        if group is None:
            return False
        self.groups[name] = None
        self._raw.execute("DELETE FROM groups WHERE key = ?", (group.key,))
        self._raw.execute("INSERT INTO removed_groups VALUES (?)", (group.key,))
        return True

    def purge(self, when: float, blocks: int) -> bool:
        """Take some articles out of removed groups; False when there were none."""
        self._flush()
        found = self._raw.execute("SELECT key FROM removed_groups LIMIT 1").fetchone()
        if found is None:
            return False
        rows = self._raw.execute(
            "SELECT block, ids FROM blocks WHERE block BETWEEN ? AND ? LIMIT ?",
            (*blocks_of(found[0]), blocks),
        ).fetchall()
        self._take(
            [
                place_of(found[0], first_number(block) | each & LOW)
                for block, ids in rows
                for each in unpack(ids)
            ],
            when,
        )
        if not rows:
            self._raw.execute("DELETE FROM removed_groups WHERE key = ?", found)
        return True

    # ── queues ───────────────────────────────────────────────────────────────

    def unqueue(self, feed: str, places: Sequence[int]) -> None:
        """Take places out of a queue."""
        self._flush()
        taken = self._raw.executemany(
            "DELETE FROM queue WHERE feed = ? AND place = ?", [(feed, place) for place in places]
        )
        self.waiting[feed] -= max(taken.rowcount, 0)

    # ── the end ──────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        """Write what was added, for those who read it."""
        if not self._blocks:
            return
        self._raw.executemany("INSERT INTO articles VALUES (?, ?, ?, ?, ?)", self._articles)
        self._raw.executemany("INSERT INTO bodies VALUES (?, ?, ?)", self._bodies)
        self._raw.executemany("INSERT INTO queue VALUES (?, ?, ?)", self._queue)
        for block, (ids, lines) in self._blocks.items():
            packed, joined = pack(ids), b"".join(lines)
            # A block that begins here is new: numbers are not given twice.
            found = (
                self._raw.execute(
                    "SELECT ids, lines FROM blocks WHERE block = ?", (block,)
                ).fetchone()
                if ids[0] & LOW
                else None
            )
            if found is not None:
                packed, joined = found[0] + packed, found[1] + joined
            self._raw.execute("REPLACE INTO blocks VALUES (?, ?, ?)", (block, packed, joined))
        self._articles, self._bodies, self._queue, self._blocks = [], [], [], {}

    def _settle(self) -> None:
        """Write parts of the young digests into the table, one for so many articles that came."""
        state = self._state
        if state.unsettled < PART:
            return
        parts = state.parts()
        self.settled = [part for _, part in parts[: min(state.unsettled // PART, _MAX_SETTLED)]]
        for part in self.settled:
            # One that has gone meanwhile is there already.
            self._raw.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)", sorted(state.young[part].items())
            )
        left = parts[len(self.settled) :]
        oldest = left[0][0] if left else state.article + 1
        self._raw.execute("UPDATE settled SET article = ?", (oldest - 1,))

    def finish(self) -> None:
        """Write what is left."""
        self._flush()
        self._settle()
        self._raw.executemany(
            "UPDATE groups SET low = ?, high = ?, count = ?, status = ?, description = ?,"
            " creator = ? WHERE key = ?",
            [
                (
                    group.low,
                    group.high,
                    group.count,
                    group.status,
                    group.description,
                    group.creator,
                    group.key,
                )
                for group in self.groups.values()
                if group is not None
            ],
        )
