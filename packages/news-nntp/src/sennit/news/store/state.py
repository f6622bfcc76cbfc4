"""What is known of `SQLiteStore`'s file without asking it.

Groups, with their counts and marks; how much waits for each peer; and where young articles are by
Message-ID. Digests of Message-IDs are spread over the whole of their table, so that to write one is
to write a page; those of the last quarter of a million articles are therefore kept here, in 256
parts by their first octet, and go into the table a part at a time, several to a page. When the file
is opened they come out of the articles themselves, from where the file says they may be missing.

All of it is changed in the loop's thread alone, between two transactions.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from sennit.news.interfaces import Group

if TYPE_CHECKING:
    import sqlite3

__all__ = ["PART", "Known", "State", "digest_of", "load"]

_PARTS: Final = 256
PART: Final = 1024
"""Articles after which the next part of the young digests goes into the table.

At ten million articles the table has about 50 000 pages, so five digests go into each."""


class Known(Group):
    """A group, and the key it has in the file. Nobody changes one after it was made.

    Attributes:
        key: As above.
    """

    __slots__ = ("key",)

    def __init__(self, key: int, name: str, **told: Any) -> None:
        super().__init__(name, **told)
        self.key = key


def digest_of(message_id: bytes) -> bytes:
    """Give what stands for a Message-ID in the file: 16 octets that no two have alike."""
    return blake2b(message_id, digest_size=16).digest()


class State:
    """What is known of the file without asking it; changed in the loop's thread alone.

    Attributes:
        groups: By name.
        names: Names of groups by key.
        waiting: How many articles wait for each peer.
        article: The highest row that an article has had.
        place: The highest place in a queue.
        young: Rows of articles by digest, in 256 parts, each in the order of rows.
        unsettled: Articles that came since one of them went into the table.
        changes: Goes up with each transaction: what was read before may be old.
    """

    def __init__(self) -> None:
        self.groups: dict[str, Known] = {}
        self.names: dict[int, str] = {}
        self.waiting: Counter[str] = Counter()
        self.article = 0
        self.place = 0
        self.young: list[dict[bytes, int]] = [{} for _ in range(_PARTS)]
        self.unsettled = 0
        self.changes = 0
        self._sorted: list[str] | None = None

    def put_group(self, name: str, group: Known | None) -> None:
        """Learn of a group that changed, or (``None``) of one that was removed."""
        before = self.groups.get(name)
        if before is None or group is None:
            self._sorted = None
        if before is not None:
            del self.names[before.key]
        if group is not None:
            self.groups[name] = group
            self.names[group.key] = name
        elif before is not None:
            del self.groups[name]

    def listed(self) -> list[Known]:
        """Give all groups, by name."""
        if self._sorted is None:
            self._sorted = sorted(self.groups)
        groups = self.groups
        return [groups[name] for name in self._sorted]

    def young_row(self, digest: bytes) -> int | None:
        """Give the row of a young article."""
        return self.young[digest[0]].get(digest)

    def parts(self) -> list[tuple[int, int]]:
        """Give (oldest row, part) of the parts that have any, the oldest first."""
        firsts = ((next(iter(part.values())), at) for at, part in enumerate(self.young) if part)
        return sorted(firsts)


def load(raw: sqlite3.Connection) -> State:
    """Read what is known, from a file just opened."""
    state = State()
    for key, name, low, high, count, status, description, created, creator in raw.execute(
        "SELECT key, name, low, high, count, status, description, created, creator FROM groups"
    ):
        state.groups[name] = Known(
            key,
            name,
            low=low,
            high=high,
            count=count,
            status=status,
            description=description,
            created=created,
            creator=creator,
        )
        state.names[key] = name
    state.waiting.update(dict(raw.execute("SELECT feed, count(*) FROM queue GROUP BY feed")))
    (settled,) = raw.execute("SELECT article FROM settled").fetchone()
    (highest,) = raw.execute("SELECT coalesce(max(id), 0) FROM articles").fetchone()
    # What is below is not looked at when the file is opened again: no new one may be there.
    state.article = max(settled, highest)
    for row, message_id in raw.execute(
        "SELECT id, message_id FROM articles WHERE id > ? ORDER BY id", (settled,)
    ):
        digest = digest_of(message_id)
        state.young[digest[0]][digest] = row
        state.unsettled += 1
    # Else processes that add little, each, would leave more and more to read here.
    state.unsettled = max(state.unsettled - _PARTS * PART // 2, 0)
    (state.place,) = raw.execute("SELECT coalesce(max(place), 0) FROM queue").fetchone()
    return state
