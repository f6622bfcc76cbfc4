"""Groups of another server into a store, over several connections, going on where it ended.

What is there is asked by overview, a range of numbers at a time; what the store knows by its
Message-ID is left out, the rest fetched, many articles under way, and added. Ranges are handed to
connections in order. When a range and all before it are on the disk, `Marks` says so for the next
time; without marks, or where they are lost, the overview alone is read again.

An article stays as it came, save that its Xref, which is each server's own, is left out. It goes
into all groups that are pulled and that it names. One that the store has already, out of another
group, is filed in this one, too, if it names it, and not fetched again.

Sources: RFC 3977 §6 (groups, numbers), §8.3 (OVER). Not here: what peers offer by themselves
(``intake.py``); articles out of files (``importing.py``); the client (``client.py``).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConnectError, ConnectionLost
from sennit.core.reactor.base import current_reactor
from sennit.core.service.backoff import BackOff
from sennit.news.article import MAX_ARTICLE, is_group_name
from sennit.news.client import NNTPClient
from sennit.news.client_opening import parse_url
from sennit.news.errors import (
    ArticleError,
    DuplicateError,
    NNTPProtocolError,
    NNTPReplyError,
    NNTPTransientError,
    NNTPUsageError,
    StoreError,
    TryLaterError,
)
from sennit.news.grammar import MAX_COMMAND, is_message_id
from sennit.news.importing import Refusals, filed_from
from sennit.news.interfaces import History
from sennit.news.overview import newsgroups_of
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.news.client import Connecting
    from sennit.news.interfaces import Group, IArticleStore
    from sennit.news.wildmat import Wildmat

    Adding = deque[tuple[bytes, Awaitable[Sequence[tuple[str, int]]]]]
    """Articles under way to the disk: Message-IDs, and what comes of each."""

__all__ = ["Marks", "Pulled", "pull"]

CONNECTIONS: Final = 2
"""Connections to the server at a time."""
_RANGE: Final = 500
"""Numbers of a range, to begin with."""
_LARGEST_RANGE: Final = 100_000
"""Numbers of a range in groups with few articles."""
_UNDER_WAY: Final = 200
"""Articles of one connection that are under way to the disk."""
_TRIES: Final = 4
"""Times that a connection may end before a range is done."""
_SHORTEST: Final = 2.0
_LONGEST: Final = 16.0
"""Seconds before it is opened again."""
_MOST_GROUPS: Final = 1_000_000
"""Groups that a server may have."""
_LONGEST_WILDMAT: Final = MAX_COMMAND - 32
"""Octets of one that a server is asked by."""
_DESCRIBED: Final = 512
"""Characters of what is told of a group."""


class Marks:
    """Up to which number each group of each server is done, in a file.

    Args:
        path: The file, JSON; made when there is none. Without it marks last as long as this object.

    Raises:
        NNTPUsageError: The file is none of these.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._marks: dict[str, dict[str, int]] = {}
        self._changed = False
        self._saving = Lock()
        if self._path is None or not self._path.exists():
            return
        try:
            # `Any`: whatever somebody may have written there.
            read: Any = json.loads(self._path.read_text("utf-8"))
            self._marks = {
                str(server): {str(group): int(number) for group, number in marks.items()}
                for server, marks in read.items()
            }
        except (ValueError, AttributeError, TypeError) as error:
            raise NNTPUsageError(
                f"{self._path} has no marks of pulled groups ({error}); "
                "remove it, and only overviews are read again"
            ) from error

    def get(self, server: str, group: str) -> int:
        """Give the number up to which a group is done; 0 for none."""
        return self._marks.get(server, {}).get(group, 0)

    def set(self, server: str, group: str, number: int) -> None:
        """Note that a group is done up to a number."""
        self._marks.setdefault(server, {})[group] = number
        self._changed = True

    @property
    def changed(self) -> bool:
        """Whether the file lacks something."""
        return self._changed and self._path is not None

    def save(self) -> None:
        """Write them down, whole or not at all."""
        if self._path is None:
            return
        made = self._path.with_name(f"{self._path.name}.new")
        # Groups end at the same time, each in a thread: one file, one writer.
        with self._saving:
            self._changed = False
            with made.open("w", encoding="utf-8") as file:
                json.dump(self._marks, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._path)


class Pulled(Refusals):
    """How far it is.

    Attributes:
        groups: How many there are.
        group: The one from which articles came last.
        added: Articles that are in the store now and were not.
        filed: Articles that are in one more group now, and were in the store.
        known: Articles that the store knew, in that group, as gone, or as none of that group.
        gone: Articles that the server did not have any more when they were asked for.
        refused: How many were no articles, or too large, by reason.
        octets: Of articles that were fetched.
        done: Numbers that are done with.
        total: How many there are.
    """

    __slots__ = (
        "added",
        "done",
        "filed",
        "gone",
        "group",
        "groups",
        "known",
        "octets",
        "total",
    )

    def __init__(self) -> None:
        super().__init__()
        self.groups = 0
        self.group = ""
        self.added = self.filed = self.known = self.gone = self.octets = self.done = self.total = 0

    def __repr__(self) -> str:
        return (
            f"<Pulled {self.added} articles of {self.groups} groups, {self.filed} filed in one "
            f"more, {self.known} known, {self.gone} gone, {self.refused.total()} refused; at "
            f"{self.done} of {self.total}>"
        )


class _Pulling:
    """One group on its way.

    Attributes:
        name: Its name.
        start: The number that is taken next.
        high: The last one.
        size: Numbers of the next range.
        mark: Up to where all is done.
    """

    __slots__ = ("_done", "high", "mark", "name", "size", "start")

    def __init__(self, name: str, start: int, high: int) -> None:
        self.name = name
        self.start = start
        self.high = high
        self.size = _RANGE
        self.mark = start - 1
        self._done: dict[int, int] = {}

    def finish(self, low: int, high: int) -> None:
        """A range is done."""
        self._done[low] = high
        while self.mark + 1 in self._done:
            self.mark = self._done.pop(self.mark + 1)


class _Pull:
    """The whole work."""

    def __init__(
        self,
        store: IArticleStore,
        connect: Callable[[], Connecting],
        server: str,
        wanted: Wildmat,
        marks: Marks,
        *,
        by_date: bool,
        max_size: int,
        progress: Callable[[Pulled], object] | None,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.connect = connect
        self.server = server
        self.wanted = wanted
        self.marks = marks
        self.by_date = by_date
        self.max_size = max_size
        self.progress = progress
        self.clock = clock
        self.pulled = Pulled()
        self.waiting: deque[_Pulling] = deque()
        self.returned: list[tuple[_Pulling, int, int]] = []

    # ── what there is ─────────────────────────────────────────────────────────

    async def list_groups(self, news: NNTPClient, limit: int | None) -> None:
        """Ask for the groups, and make them in the store."""
        groups: dict[str, Group] = {}
        about: dict[str, str] = {}
        # One that no command has room for is for this side alone.
        fits = len(self.wanted.text.encode()) <= _LONGEST_WILDMAT
        wildmat = self.wanted.text if fits else None
        async for group in news.groups(wildmat):
            # Servers that do not know wildmats give all.
            if self.wanted.matches(group.name):
                if not is_group_name(group.name):
                    self.pulled.refuse("the name of a group cannot be one")
                    continue
                groups[group.name] = group
                if len(groups) > _MOST_GROUPS:
                    raise NNTPProtocolError(f"more than {_MOST_GROUPS} groups", "limit:groups")
        with suppress(NNTPReplyError):  # many have none
            async for name, description in news.descriptions(wildmat):
                if name in groups:
                    about[name] = description[:_DESCRIBED]
        for group in groups.values():
            try:
                await self._make(group, about.get(group.name, ""))
            except NNTPUsageError:
                self.pulled.refuse("the status of a group cannot be one")
                continue
            start = max(group.low, 1)
            mark = self.marks.get(self.server, group.name)
            if mark <= group.high:
                # Else the server has begun to count anew.
                start = max(start, mark + 1)
            if limit is not None:
                start = max(start, group.high - limit + 1)
            self.pulled.groups += 1
            if start <= group.high:
                self.pulled.total += group.high - start + 1
                self.waiting.append(_Pulling(group.name, start, group.high))

    async def _make(self, group: Group, description: str) -> None:
        if await self.store.group(group.name) is None:
            shown = "".join(each if each.isprintable() else " " for each in description)
            await self.store.create_group(group.name, status=group.status, description=shown)

    def take(self) -> tuple[_Pulling, int, int] | None:
        """The next range for a connection."""
        if self.returned:
            return self.returned.pop()
        while self.waiting:
            group = self.waiting[0]
            if group.start > group.high:
                self.waiting.popleft()
                continue
            low, high = group.start, min(group.start + group.size - 1, group.high)
            group.start = high + 1
            return group, low, high
        return None

    # ── connections ───────────────────────────────────────────────────────────

    async def run(self, connections: int, limit: int | None) -> Pulled:
        """Pull all there is."""
        async with self.connect() as news:
            await self.list_groups(news, limit)
            self.tell()
            tasks = [asyncio.ensure_future(self.serve(news))]
            tasks += [asyncio.ensure_future(self.help()) for _ in range(connections - 1)]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                # What was left behind by a connection that ended when the first was done.
                await self.serve(news)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.save()
        self.tell()
        return self.pulled

    async def serve(self, news: NNTPClient) -> None:
        """Work on ranges over the first connection, or others in its place when it ends."""
        try:
            await self.work(news)
        except (ConnectionLost, TryLaterError) as error:
            await self.again(error)

    async def help(self) -> None:
        """Likewise over one more, if the server allows it."""
        # Else with no more connections than there are: what this one was at, others do.
        with suppress(ConnectionLost, ConnectError, TryLaterError, NNTPReplyError):
            try:
                async with self.connect() as news:
                    await self.work(news)
            except ConnectionLost as error:
                await self.again(error)

    async def again(self, error: Exception) -> None:
        """Go on over a new connection, a few times."""
        waits = BackOff(_SHORTEST, _LONGEST, limit=_TRIES)
        # However long a connection has been well: what it has brought counts.
        while (wait := waits.failed(0.0, lived=0.0)) is not None:
            before = self.steps()
            await asyncio.sleep(wait)
            if not (self.returned or self.waiting):
                return None  # others have done it meanwhile
            try:
                async with self.connect() as news:
                    return await self.work(news)
            except (ConnectionLost, ConnectError, TryLaterError) as latest:
                error = latest
            if self.steps() > before:
                waits.reset()
        raise error

    def steps(self) -> int:
        """A number that grows as it gets on."""
        return self.pulled.done + self.pulled.added + self.pulled.filed

    async def work(self, news: NNTPClient) -> None:
        """Pull ranges until there are none."""
        selected = ""
        while (taken := self.take()) is not None:
            group, low, high = taken
            try:
                if selected != group.name:
                    await news.group(group.name)
                    selected = group.name
                rows = await self.pull_range(news, group.name, low, high)
            except BaseException as error:
                if isinstance(error, NNTPTransientError) and error.code == 411:
                    # It was removed meanwhile.
                    group.start = group.high + 1
                    continue
                self.returned.append(taken)
                if isinstance(error, NNTPTransientError) and error.code == 400:
                    # The server leaves (RFC 3977 §3.2.1.2), as connections do that break.
                    raise TryLaterError(str(error)) from error
                raise
            if rows * 8 < high - low + 1:
                group.size = min(group.size * 4, _LARGEST_RANGE)
            elif rows > 2 * _RANGE:
                group.size = max(group.size // 2, _RANGE)
            group.finish(low, high)
            self.marks.set(self.server, group.name, group.mark)
            self.pulled.done += high - low + 1
            self.tell()
            if group.mark == group.high:
                await self.save()

    async def save(self) -> None:
        """Write the marks down, not in this thread."""
        if self.marks.changed:
            await current_reactor().defer_to_thread(self.marks.save)

    def tell(self) -> None:
        """Say how far it is."""
        if self.progress is not None:
            self.progress(self.pulled)

    # ── articles ──────────────────────────────────────────────────────────────

    async def pull_range(self, news: NNTPClient, group: str, low: int, high: int) -> int:
        """Pull what is missing of a range; how many articles the server has there."""
        rows = 0
        missing: list[int] = []
        elsewhere: list[bytes] = []
        pulled = self.pulled
        pulled.group = group
        async for row in news.over(low, high):
            rows += 1
            message_id = row.message_id
            if is_message_id(message_id):
                known = await self.history(message_id)
                if known is not History.UNKNOWN:
                    if known is History.GONE or await self.is_in(group, message_id):
                        pulled.known += 1
                    else:
                        elsewhere.append(message_id)
                    continue
                if row.size is not None and row.size > self.max_size:
                    pulled.refuse("too large")
                    continue
            missing.append(row.number)
        for at in range(0, len(elsewhere), _UNDER_WAY):
            some = [self.file_in(group, each) for each in elsewhere[at : at + _UNDER_WAY]]
            # All are waited for, also when one fails.
            for error in await asyncio.gather(*some, return_exceptions=True):
                if error is not None:
                    raise error
            self.tell()
        adding: Adding = deque()

        def is_gone(_: object) -> None:
            pulled.gone += 1

        try:
            async for article in news.fetch(missing, missing=is_gone):
                pulled.octets += len(article.octets)
                try:
                    if len(article.octets) > self.max_size:
                        raise ArticleError("too large")
                    received = None if self.by_date else self.clock()
                    filed = filed_from(article.octets, None, self.wanted, received)
                    if group not in filed.groups:
                        # Such as control messages, which stand in a group of their own.
                        filed.groups = [group]
                except ArticleError as error:
                    pulled.refuse(error.reason)
                    continue
                adding.append((filed.message_id, self.store.add(filed)))
                if len(adding) >= _UNDER_WAY:
                    await self.added(group, adding)
                    self.tell()
        finally:
            await self.settle(group, adding)
        return rows

    async def settle(self, group: str, adding: Adding) -> None:
        """Wait for all that is under way to the disk, whatever has happened."""
        failure: StoreError | None = None
        while adding:
            try:
                await self.added(group, adding)
            except StoreError as error:
                failure = error
        if failure is not None:
            raise failure

    async def added(self, group: str, adding: Adding) -> None:
        """Wait for the first of them."""
        message_id, outcome = adding.popleft()
        try:
            await outcome
            self.pulled.added += 1
        except DuplicateError:
            # Another connection has brought it, out of another group.
            await self.file_in(group, message_id)

    async def file_in(self, group: str, message_id: bytes) -> None:
        """File what the store has in a group that it names, if it is not in there."""
        article = await self.store.article(message_id)
        # Else a server could have what only some may read here shown to those who read its group.
        named = article is not None and group in newsgroups_of(article.head)
        if named and await self.store.file_in(message_id, [group]):
            self.pulled.filed += 1
        else:
            self.pulled.known += 1

    async def is_in(self, group: str, message_id: bytes) -> bool:
        """Whether an article is in a group; at once where the store can."""
        now = self.store.now
        if now is None:
            return await self.store.number_in(group, message_id) is not None
        return now.number_in(group, message_id) is not None

    async def history(self, message_id: bytes) -> History:
        """What the store knows; at once where it can."""
        now = self.store.now
        return await self.store.history(message_id) if now is None else now.history(message_id)


async def pull(
    store: IArticleStore,
    server: str | Callable[[], Connecting],
    groups: str,
    *,
    name: str = "",
    connections: int = CONNECTIONS,
    limit: int | None = None,
    marks: Marks | None = None,
    by_date: bool = False,
    max_size: int = MAX_ARTICLE,
    progress: Callable[[Pulled], object] | None = None,
    clock: Callable[[], float] = time,
) -> Pulled:
    """Put what a store misses of a server's groups into it; groups are made.

    It may be stopped at any moment, and begun again.

    Args:
        store: Where articles go.
        server: Its URL, or what connects to it.
        groups: Which ones: a wildmat.
        name: Of the server, in marks; its URL's host and port when left out.
        connections: To the server at a time; fewer, when it does not allow as many.
        limit: The newest numbers of each group, and none that are older.
        marks: Up to where groups are done, and where that is noted.
        by_date: Articles count as received when their Date says, and not now.
        max_size: Octets that an article may have.
        progress: Told after each range, and in between.
        clock: Tells the time, in POSIX seconds.

    Raises:
        ConnectError: There is no connection to the server.
        ConnectionLost: It ended again and again.
        NNTPReplyError: The server does not give what is asked for.
        StoreError: The store cannot keep an article.
        NNTPUsageError: The arguments cannot be.
        NNTPProtocolError: The wildmat is none, or the server breaks the rules.
    """
    if connections < 1:
        raise NNTPUsageError(f"one connection at least, not {connections}")
    if limit is not None and limit < 1:
        raise NNTPUsageError(f"one article at least, not {limit}")
    if isinstance(server, str):
        url = server
        name = name or parse_url(url).endpoint
        server = partial(NNTPClient.connect, url)
    if not name:
        raise NNTPUsageError("marks need a name for the server")
    work = _Pull(
        store,
        server,
        name,
        parse_wildmat(groups),
        Marks() if marks is None else marks,
        by_date=by_date,
        max_size=max_size,
        progress=progress,
        clock=clock,
    )
    return await work.run(connections, limit)
