"""The store that keeps nothing: articles in memory, for tests and for small servers.

It does all that `IArticleStore` says, at once, and forgets it when the process ends.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from time import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zope.interface import implementer

from sennit.news.errors import DuplicateError, NNTPUsageError, StoreError
from sennit.news.interfaces import Aged, Article, Group, History, IArticleReader, IArticleStore
from sennit.news.overview import (
    field_of,
    filed_line,
    header_of,
    in_overview,
    refiled,
    with_xref,
    xref_of,
)
from sennit.news.store.filing import (
    BATCH,
    Answering,
    check_group,
    check_host,
    check_line,
    next_number,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sennit.news.interfaces import Filed

__all__ = ["MemoryStore"]

T = TypeVar("T")

_PIECE: Final = 256
"""Lines of the overview in a piece."""


class _Entry:
    """An article, and what is told of it."""

    __slots__ = ("age", "article", "expires", "fields", "places", "received")

    def __init__(
        self, article: Article, fields: bytes, filed: Filed, places: dict[str, int], given: int
    ) -> None:
        # By which it stands among all: when it came, and a number that no other has.
        self.age = filed.received, given, article.message_id
        self.article = article
        self.fields = fields
        self.received = filed.received
        self.expires = filed.expires
        self.places = places


class _Shelf:
    """A group: its numbers, ascending, and which articles they are."""

    __slots__ = ("entries", "group", "numbers")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.numbers: list[int] = []
        self.entries: dict[int, _Entry] = {}

    def tell(self, **changed: Any) -> None:
        """Make a group of which something else is told: who was told before keeps the old one."""
        told = {name: getattr(self.group, name) for name in Group.__slots__}
        self.group = Group(**{**told, **changed})

    def put(self, number: int, entry: _Entry) -> None:
        """Give an article its number."""
        self.numbers.append(number)
        self.entries[number] = entry
        self.tell(high=number, count=self.group.count + 1, low=self.numbers[0])

    def take(self, number: int) -> _Entry | None:
        """Take a number away; its low-water mark rises, and never sinks."""
        entry = self.entries.pop(number, None)
        if entry is not None:
            del self.numbers[bisect_left(self.numbers, number)]
            low = self.numbers[0] if self.numbers else self.group.high + 1
            self.tell(count=self.group.count - 1, low=low)
        return entry


@implementer(IArticleReader)
class _Reader:
    """What is in memory, read at once."""

    def __init__(self) -> None:
        self.shelves: dict[str, _Shelf] = {}
        self.entries: dict[bytes, _Entry] = {}
        self.gone: dict[bytes, float] = {}

    def group(self, name: str) -> Group | None:
        shelf = self.shelves.get(name)
        return None if shelf is None else shelf.group

    def history(self, message_id: bytes) -> History:
        if message_id in self.entries:
            return History.PRESENT
        return History.GONE if message_id in self.gone else History.UNKNOWN

    def article(self, message_id: bytes) -> Article | None:
        entry = self.entries.get(message_id)
        return None if entry is None else entry.article

    def entry_at(self, group: str, number: int) -> _Entry | None:
        shelf = self.shelves.get(group)
        return None if shelf is None else shelf.entries.get(number)

    def article_at(self, group: str, number: int) -> Article | None:
        entry = self.entry_at(group, number)
        return None if entry is None else entry.article

    def locate(self, group: str, number: int) -> bytes | None:
        entry = self.entry_at(group, number)
        return None if entry is None else entry.article.message_id

    def neighbour(self, group: str, number: int, step: int) -> tuple[int, bytes] | None:
        shelf = self.shelves.get(group)
        if shelf is None:
            return None
        numbers = shelf.numbers
        place = bisect_right(numbers, number) if step > 0 else bisect_left(numbers, number) - 1
        if not 0 <= place < len(numbers):
            return None
        found = numbers[place]
        return found, shelf.entries[found].article.message_id

    def number_in(self, group: str, message_id: bytes) -> int | None:
        entry = self.entries.get(message_id)
        return None if entry is None else entry.places.get(group)

    def overview_of(self, message_id: bytes) -> bytes | None:
        entry = self.entries.get(message_id)
        return None if entry is None else entry.fields

    def numbers(self, group: str, low: int, high: int) -> tuple[Sequence[int], int]:
        numbers, following = self._piece(group, low, high, BATCH)
        return numbers, following

    def overview(self, group: str, low: int, high: int) -> tuple[bytes, int]:
        numbers, following = self._piece(group, low, high, _PIECE)
        entries = self.shelves[group].entries if numbers else {}
        lines = [b"%d\t%b\r\n" % (number, entries[number].fields) for number in numbers]
        return b"".join(lines), following

    def _piece(self, group: str, low: int, high: int, size: int) -> tuple[list[int], int]:
        shelf = self.shelves.get(group)
        if shelf is None:
            return [], high + 1
        begin = bisect_left(shelf.numbers, low)
        end = bisect_right(shelf.numbers, high, begin)
        if end - begin <= size:
            return shelf.numbers[begin:end], high + 1
        return shelf.numbers[begin : begin + size], shelf.numbers[begin + size]


@implementer(IArticleStore)
class MemoryStore(Answering):
    """Newsgroups and articles in memory.

    Args:
        host: The name that stands in Xref.
        clock: Tells the time, in POSIX seconds.
    """

    def __init__(self, *, host: str = "localhost", clock: Callable[[], float] = time) -> None:
        self._host = check_host(host)
        self._clock = clock
        self._reader = _Reader()
        self._ages: list[tuple[float, int, bytes]] = []
        self._queues: dict[str, dict[int, bytes]] = {}
        self._given = 0

    @property
    def now(self) -> IArticleReader:
        """Answers at once."""
        return self._reader

    # ── groups ───────────────────────────────────────────────────────────────

    async def groups(self) -> Sequence[Group]:
        """Give all groups, by name."""
        return [shelf.group for _, shelf in sorted(self._reader.shelves.items())]

    async def create_group(
        self, name: str, *, status: str = "y", description: str = "", creator: str = ""
    ) -> None:
        """Make a group, or change what is told of it; its articles stay."""
        check_group(name, status)
        description, creator = check_line(description), check_line(creator)
        shelf = self._reader.shelves.get(name)
        if shelf is None:
            group = Group(name, created=self._clock())
            shelf = self._reader.shelves[name] = _Shelf(group)
        creator = creator or shelf.group.creator
        shelf.tell(status=status, description=description, creator=creator)

    async def remove_group(self, name: str) -> bool:
        """Remove a group and its numbers; False when there is none."""
        shelf = self._reader.shelves.get(name)
        if shelf is None:
            return False
        self._drop([(name, number) for number in shelf.numbers], self._clock())
        del self._reader.shelves[name]
        return True

    # ── reading ──────────────────────────────────────────────────────────────

    async def _ask(self, question: Callable[[IArticleReader], T]) -> T:
        return question(self._reader)

    async def headers(
        self, group: str, low: int, high: int, name: str
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Give (number, unfolded content) of a field or metadata item, in batches."""
        known = in_overview(name)
        async for numbers in self.numbers(group, low, high):
            batch: list[tuple[int, bytes]] = []
            for number in numbers:
                entry = self._reader.entry_at(group, number)
                if entry is not None:
                    found = (
                        field_of(entry.fields, name)
                        if known
                        else header_of(entry.article.head, name)
                    )
                    batch.append((number, found))
            yield batch

    async def new_news(
        self, since: float, wanted: Callable[[str], bool]
    ) -> AsyncIterator[Sequence[bytes]]:
        """Give the Message-IDs of what came since, in groups for which `wanted` says so."""
        ages = self._ages[bisect_left(self._ages, (since, 0, b"")) :]
        entries = self._reader.entries
        for begin in range(0, len(ages), BATCH):
            found = [
                message_id
                for _, _, message_id in ages[begin : begin + BATCH]
                if message_id in entries and any(map(wanted, entries[message_id].places))
            ]
            if found:
                yield found

    # ── what was seen, and what comes ────────────────────────────────────────

    async def add(self, filed: Filed) -> Sequence[tuple[str, int]]:
        """Keep an article. Gives its numbers by group."""
        reader = self._reader
        message_id = filed.message_id
        if message_id in reader.entries or message_id in reader.gone:
            raise DuplicateError("duplicate")
        shelves = [
            reader.shelves[name] for name in dict.fromkeys(filed.groups) if name in reader.shelves
        ]
        if not shelves:
            raise StoreError("the article's groups are not there")
        groups = [shelf.group for shelf in shelves]
        places = [(group.name, next_number(group.name, group.high)) for group in groups]
        xref = xref_of(self._host, places)
        article = Article(message_id, *with_xref(filed.octets, filed.body_at, xref))
        self._given += 1
        fields = filed_line(filed.overview, xref)
        entry = _Entry(article, fields, filed, dict(places), self._given)
        reader.entries[message_id] = entry
        for shelf, (_, number) in zip(shelves, places, strict=True):
            shelf.put(number, entry)
        insort(self._ages, entry.age)
        for feed in dict.fromkeys(filed.feeds):
            self._given += 1
            self._queues.setdefault(feed, {})[self._given] = message_id
        return places

    async def file_in(self, message_id: bytes, groups: Sequence[str]) -> Sequence[tuple[str, int]]:
        """File an article that is there in more groups; its numbers there."""
        entry = self._reader.entries.get(message_id)
        if entry is None:
            return []
        shelves = [
            shelf
            for name in dict.fromkeys(groups)
            if name not in entry.places and (shelf := self._reader.shelves.get(name)) is not None
        ]
        if not shelves:
            return []
        places = [
            (shelf.group.name, next_number(shelf.group.name, shelf.group.high)) for shelf in shelves
        ]
        xref = xref_of(self._host, [*entry.places.items(), *places])
        octets, body_at, entry.fields = refiled(
            entry.article.octets, entry.article.body_at, entry.fields, xref
        )
        entry.article = Article(message_id, octets, body_at)
        entry.places.update(places)
        for shelf, (_, number) in zip(shelves, places, strict=True):
            shelf.put(number, entry)
        return places

    async def remember(self, message_id: bytes, when: float) -> None:
        """Note an article that was refused or cancelled before it came."""
        if message_id not in self._reader.entries:
            self._reader.gone.setdefault(message_id, when)

    async def remove(self, message_id: bytes) -> bool:
        """Remove an article and remember it; False when there is none."""
        entry = self._reader.entries.get(message_id)
        if entry is None:
            return False
        self._drop(list(entry.places.items()), self._clock())
        return True

    # ── what is to go ────────────────────────────────────────────────────────

    async def aged(self, before: float, expired: float) -> AsyncIterator[Sequence[Aged]]:
        """Give what came before a moment, the longest ago first, in batches."""
        at = bisect_left(self._ages, (before, 0, b""))
        entries = self._reader.entries
        ages = self._ages[:at] + [
            each
            for each in self._ages[at:]
            if (expires := entries[each[2]].expires) is not None and expires < expired
        ]
        for begin in range(0, len(ages), BATCH):
            found = [entries.get(message_id) for _, _, message_id in ages[begin : begin + BATCH]]
            yield [
                Aged(each.article.message_id, each.received, each.expires, [*each.places.items()])
                for each in found
                if each is not None
            ]

    async def drop(self, places: Sequence[tuple[str, int]], when: float) -> int:
        """Take articles out of groups, by number; gives how many are in no group any more."""
        return self._drop(places, when)

    def _drop(self, places: Sequence[tuple[str, int]], when: float) -> int:
        reader = self._reader
        removed = 0
        for name, number in places:
            shelf = reader.shelves.get(name)
            entry = None if shelf is None else shelf.take(number)
            if entry is None:
                continue
            del entry.places[name]
            if not entry.places:
                message_id = entry.article.message_id
                del reader.entries[message_id]
                del self._ages[bisect_left(self._ages, entry.age)]
                reader.gone[message_id] = when
                removed += 1
        return removed

    async def forget(self, before: float) -> int:
        """Do not remember any more what went, or was refused, before; gives how many."""
        gone = self._reader.gone
        old = [message_id for message_id, when in gone.items() if when < before]
        for message_id in old:
            del gone[message_id]
        return len(old)

    # ── what is to be offered to peers ───────────────────────────────────────

    async def queued(self, feed: str, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Give (place in the queue, Message-ID) of what waits behind a place, in order."""
        if limit < 1:
            raise NNTPUsageError(f"limit is at least 1, not {limit}")
        waiting: list[tuple[int, bytes]] = []
        for each in self._queues.get(feed, {}).items():
            if each[0] > after:
                waiting.append(each)
                if len(waiting) == limit:
                    break
        return waiting

    async def unqueue(self, feed: str, places: Sequence[int]) -> None:
        """Forget what the peer has, or does not want."""
        queue = self._queues.get(feed, {})
        for place in places:
            queue.pop(place, None)

    async def queue_length(self, feed: str) -> int:
        """Tell how many wait."""
        return len(self._queues.get(feed, ()))
