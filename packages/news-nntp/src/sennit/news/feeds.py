"""What goes on to peers: which articles are for whom (`Feed`), and sending them (`Feeder`).

`Intake` asks every `Feed` whether an article is for it, and has the store queue it in the same step
in which it is kept. A `Feeder`, one for each peer, offers what waits: by CHECK and TAKETHIS, many
under way at once, where the peer streams (RFC 4644), else by IHAVE. What the peer has, takes or
will not have leaves the queue, once it has said so; what it wants later stays, and so does all
when the connection goes. An article is thus never lost, and is offered twice only if the process
or the connection ended between the peer's word and the queue: the peer knows it then.

Sources: RFC 5537 §3.6 (relaying: not to those whom Path names; distributions); RFC 4644 §2
(streaming), RFC 3977 §6.3.2 (IHAVE).
Not here: the queue (``store``); the client (``client.py``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from sennit.core._faultlog import escape
from sennit.core.errors import SennitError
from sennit.core.ops.metrics import registry_of
from sennit.core.service.backoff import BackOff
from sennit.core.service.restart import BackgroundService
from sennit.news.client import NNTPClient, Offered
from sennit.news.errors import NNTPUsageError
from sennit.news.injection import distributions_of, passed
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.core.deferred import Deferred
    from sennit.core.ops.metrics import Registry
    from sennit.news.article import ParsedArticle
    from sennit.news.client import Connecting
    from sennit.news.interfaces import IArticleStore

__all__ = ["Feed", "Feeder"]

MIN_DELAY: Final = 1.0
"""Seconds before a peer that is away is tried again."""
MAX_DELAY: Final = 600.0
"""Seconds between two tries at most."""
RETRY: Final = 60.0
"""Seconds after which a peer is offered again what it wanted later."""
LINGER: Final = 60.0
"""Seconds for which a connection is kept when nothing waits."""

logger = logging.getLogger("sennit.news.feeds")


class Feed:
    """A peer, and what it is to have.

    Args:
        name: Its name: in Path, and of its queue.
        url: Where it is, as for `NNTPClient.connect`.
        groups: Wildmat: an article is for it when one of its groups matches.
        distributions: Wildmat, likewise; what is ``local`` stays here (RFC 5536 §3.2.4).
        exclude: Other names in Path with which an article is not for it.
        max_groups: Articles that name more groups are not for it.
        max_size: Nor are those of more octets.
        max_backlog: How many may wait for it; the oldest are given up then.
        window: How many it is offered at once.

    Raises:
        NNTPUsageError: The numbers are none, or the name cannot be one.
        NNTPProtocolError: A wildmat is none.
    """

    def __init__(
        self,
        name: str,
        url: str = "",
        *,
        groups: str = "*",
        distributions: str = "*,!local",
        exclude: Sequence[str] = (),
        max_groups: int = 50,
        max_size: int = 1 << 20,
        max_backlog: int = 1_000_000,
        window: int = 64,
    ) -> None:
        if not name or not name.isascii() or not name.isprintable() or set(name) & set("! ,"):
            raise NNTPUsageError(f"no name for a peer: {name[:64]!r}")
        if min(max_groups, max_size, max_backlog, window) < 1:
            raise NNTPUsageError("a feed's limits are at least 1")
        self.name = name
        self.url = url
        self.max_backlog = max_backlog
        self.window = window
        self._groups = parse_wildmat(groups)
        self._distributions = parse_wildmat(distributions)
        self._max_groups = max_groups
        self._max_size = max_size
        self._excluded = frozenset(each.lower().encode() for each in (name, *exclude))

    def takes(self, article: ParsedArticle) -> bool:
        """Say whether an article is for this peer."""
        return (
            any(map(self._groups.matches, article.groups))
            and len(article.groups) <= self._max_groups
            and len(article.octets) <= self._max_size
            and self._excluded.isdisjoint(passed(article))
            and any(map(self._distributions.matches, distributions_of(article)))
        )


class Feeder(BackgroundService):
    """Offers a peer what waits for it, as long as the service runs.

    Args:
        store: Whose queue it is.
        feed: The peer.
        connect: Makes a connection; by default to the feed's URL.
        back_off: How long to wait when the peer is away.
        retry: Seconds until what it wanted later is offered again.
        linger: Seconds for which a connection is kept when nothing waits.
        registry: Where it is counted; that of the running reactor when left out.

    Attributes:
        feed: The peer.
        error: Why the last connection failed; ``None`` once one has not.
    """

    def __init__(
        self,
        store: IArticleStore,
        feed: Feed,
        *,
        connect: Callable[[], Connecting] | None = None,
        back_off: BackOff | None = None,
        retry: float = RETRY,
        linger: float = LINGER,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(f"feed {feed.name}")
        self.feed = feed
        self.error: Exception | None = None
        self._store = store
        self._connect = connect or (lambda: NNTPClient.connect(feed.url, reader=False))
        self._back_off = back_off or BackOff(MIN_DELAY, MAX_DELAY)
        self._retry = retry
        self._linger = linger
        self._registry = registry
        self._woken = asyncio.Event()
        # Behind this place of the queue nothing was offered yet; before it stands what is
        # wanted later.
        self._after = 0
        self._again: float | None = None

    def wake(self) -> None:
        """Say that something was queued: `Intake.watch` calls it."""
        self._woken.set()

    async def run(self) -> None:
        """Offer, and wait, for ever."""
        registry = self._registry or registry_of()
        self._counter = registry.counter(
            "sennit_news_offered", "Articles offered to peers, by answer.", ("feed", "answer")
        )
        self._gauge = registry.gauge("sennit_news_backlog", "Articles that wait.", ("feed",))
        while True:
            self._after, self._again = 0, None
            await self._bound()
            # Before it is looked: what comes from here on wakes.
            self._woken.clear()
            if not await self._store.queued(self.feed.name, 0, 1):
                await self._woken.wait()
            began = _now()
            try:
                async with self._connect() as client:
                    await self._serve(client)
                self.error = None
            except (SennitError, OSError, TimeoutError) as error:
                self._failed(error)
                pause = self._back_off.failed(_now(), _now() - began)
                await asyncio.sleep(MAX_DELAY if pause is None else pause)

    def _failed(self, error: Exception) -> None:
        if self.error is None or type(self.error) is not type(error):
            # Not each time: a peer may be away for days.
            logger.warning("feed %s: %s", escape(self.feed.name), escape(str(error)))
        self.error = error

    async def _bound(self) -> None:
        """Give up the oldest of what waits, where too many do."""
        feed = self.feed
        length = await self._store.queue_length(feed.name)
        excess = length - feed.max_backlog
        if excess > 0:
            logger.warning("feed %s: %d of %d are given up", escape(feed.name), excess, length)
        while excess > 0:
            oldest = await self._store.queued(feed.name, 0, min(excess, 1000))
            if not oldest:
                break
            await self._store.unqueue(feed.name, [place for place, _ in oldest])
            self._count("given up", len(oldest))
            excess -= len(oldest)
        self._gauge.labels(feed.name).set(min(length, feed.max_backlog))

    async def _serve(self, client: NNTPClient) -> None:
        """Offer all that comes, on one connection, until nothing has come for a while."""
        streams = await client.start_streaming()
        offer = self._stream if streams else self._send_singly
        while True:
            self._woken.clear()
            await offer(client)
            self.error = None
            now = _now()
            wait = self._linger
            if self._again is not None:
                wait = min(max(self._again - now, 0.0), wait)
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                if self._again is None:
                    return
                if _now() >= self._again:
                    self._after, self._again = 0, None
            await self._bound()

    # ── streaming (RFC 4644) ─────────────────────────────────────────────────

    async def _stream(self, client: NNTPClient) -> None:
        """Offer what waits, to the end of the queue.

        While the answers to one lot of CHECKs travel, the articles of the lot before are sent.
        """
        feed, store = self.feed, self._store
        wanted: list[tuple[int, bytes]] = []
        while True:
            batch = await store.queued(feed.name, self._after, feed.window)
            done: list[int] = []
            asked: list[tuple[int, bytes, Deferred[Offered]]] = []
            sent: list[tuple[int, bytes, Deferred[Offered]]] = []
            try:
                for place, message_id in batch:
                    self._after = place
                    try:
                        asked.append((place, message_id, client.check(message_id)))
                    except NNTPUsageError as error:
                        done.append(self._dropped(place, error))
                for place, message_id in wanted:
                    article = await store.article(message_id)
                    if article is None:
                        done.append(self._dropped(place, None))  # expired, or cancelled
                        continue
                    try:
                        sent.append(
                            (place, message_id, client.takethis(message_id, article.octets))
                        )
                    except NNTPUsageError as error:
                        done.append(self._dropped(place, error))
                    await client.writable()
                for place, _, answer in sent:
                    self._answered(place, await answer, done)
                wanted = [
                    (place, message_id)
                    for place, message_id, answer in asked
                    if self._answered(place, await answer, done)
                ]
            finally:
                for _, _, answer in (*asked, *sent):
                    answer.add_errback(_known)
                if done:
                    await store.unqueue(feed.name, done)
            if not batch and not wanted:
                return

    # ── one by one (RFC 3977 §6.3.2) ─────────────────────────────────────────

    async def _send_singly(self, client: NNTPClient) -> None:
        feed, store = self.feed, self._store
        while batch := await store.queued(feed.name, self._after, feed.window):
            for place, message_id in batch:
                done: list[int] = []
                article = await store.article(message_id)
                if article is None:
                    done.append(self._dropped(place, None))
                else:
                    try:
                        answer = await client.ihave(message_id, article.octets)
                        self._answered(place, answer, done)
                    except NNTPUsageError as error:
                        done.append(self._dropped(place, error))
                self._after = place
                if done:
                    await store.unqueue(feed.name, done)

    # ── what the peer says ───────────────────────────────────────────────────

    def _answered(self, place: int, answer: Offered, done: list[int]) -> bool:
        """Note an answer; true when the article is to be sent."""
        if answer is Offered.WANTED:
            return True
        self._count(answer.value)
        if answer is Offered.LATER:
            if self._again is None:
                self._again = _now() + self._retry
        else:
            done.append(place)
        return False

    def _dropped(self, place: int, error: Exception | None) -> int:
        """Note what cannot be offered: it is not there, or no other server would read it."""
        if error is not None:
            logger.warning("feed %s: %s", escape(self.feed.name), escape(str(error)))
        self._count("gone")
        return place

    def _count(self, answer: str, by: int = 1) -> None:
        self._counter.labels(self.feed.name, answer).inc(by)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _known(error: BaseException) -> None:
    """The connection's end is told once; each answer that was awaited fails of it."""
