"""Which articles are taken in, into which groups, and to whom they go on: `Intake`.

A peer's article is parsed, looked up in the history, judged (age, distribution, groups,
moderation), given its new Path, and added to the store; in the same step it is queued for the
peers that are to have it. A reader's goes through the injecting agent (``injection.py``) first.
What is done when `Intake.take` and `Intake.post` return, no power cut can lose: the store says so.

Of several peers that offer one article at once, the first is to send it, and the others are told
to ask again later; should it not come within a while, the next may.

Sources: RFC 5537 §3.5 (injecting), §3.6 (relaying), §3.7 (serving: moderated groups); RFC 3977
§6.3.2 and RFC 4644 §2.4 (what offers are answered).
Not here: what is an article (``article.py``); what control messages do (``control.py``); the queue
of moderators (``moderation.py``); sending what is queued (``feeds.py``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core._faultlog import RateLimit, escape
from sennit.core.commit import commit
from sennit.news.article import MAX_ARTICLE, is_message_id, parse, parse_date
from sennit.news.errors import ArticleError, DuplicateError, StoreError, TryLaterError
from sennit.news.injection import Injection, distributions_of, effective_date, inject, relay
from sennit.news.interfaces import Filed, Group, History, IIntake, Wanted
from sennit.news.overview import overview
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sennit.news.article import ParsedArticle
    from sennit.news.control import Control
    from sennit.news.feeds import Feed
    from sennit.news.interfaces import IArticleStore
    from sennit.news.moderation import IModerators

__all__ = ["Intake", "IntakePolicy"]

MAX_AWAITED: Final = 10_000
"""Articles that peers were told to send and have not sent, of which is remembered who sends."""

logger = logging.getLogger("sennit.news")


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What is taken.

    Attributes:
        max_size: Octets of one article.
        max_age: Seconds since an article was injected, after which it is refused: no longer than
            the history remembers, or old articles come again (RFC 5537 §3.6).
        max_ahead: Seconds that its date may be in the future.
        max_groups: Groups that a peer's article may name.
        distributions: Wildmat of the distributions that are taken; one that matches is enough.
        junk: The group into which articles go that name none of ours; ``None`` refuses them.
        remember_refused: Do not have articles sent again that were refused for what they are.
        offer_wait: Seconds for which others are told to wait when a peer was told to send.
    """

    max_size: int = MAX_ARTICLE
    max_age: float = 10 * 86400.0
    max_ahead: float = 86400.0
    max_groups: int = 50
    distributions: str = "*"
    junk: str | None = None
    remember_refused: bool = True
    offer_wait: float = 30.0


@implementer(IIntake)
class Intake:
    """Takes articles into a store.

    Args:
        store: Where they lie.
        path_host: This server's name in Path.
        feeds: The peers to which they go on.
        injection: How posts are injected; by default in `path_host`'s name, telling nothing of
            their posters.
        policy: What is taken.
        identities: By a peer's name, the names by which it may stand first in Path, when they are
            others than that one.
        moderators: Who gets posts to moderated groups; without them these are refused.
        control: Acts on control messages; without it they are kept as other articles are.
        clock: Tells the time, in POSIX seconds.
        unique: Gives what makes a Message-ID unlike any other.
    """

    def __init__(
        self,
        store: IArticleStore,
        *,
        path_host: str,
        feeds: Sequence[Feed] = (),
        injection: Injection | None = None,
        policy: IntakePolicy | None = None,
        identities: Mapping[str, Sequence[str]] | None = None,
        moderators: IModerators | None = None,
        control: Control | None = None,
        clock: Callable[[], float] = time,
        unique: Callable[[], str] = lambda: token_hex(12),
    ) -> None:
        self.store = store
        self.path_host = path_host
        self.feeds = tuple(feeds)
        self.injection = injection or Injection(path_host, trace="none")
        self.policy = policy or IntakePolicy()
        self._distributions = parse_wildmat(self.policy.distributions)
        self._identities = identities or {}
        self._moderators = moderators
        self._control = control
        self._clock = clock
        self._unique = unique
        self._told = RateLimit()
        # Message-ID → (the peer that was told to send it, until when others wait).
        self._awaited: dict[bytes, tuple[str, float]] = {}
        self._watchers: dict[str, Callable[[], object]] = {}

    async def prepare(self) -> None:
        """Make the groups it needs: ``control``, where messages are acted on, and that for junk."""
        needed = {"control": "Control messages"} if self._control is not None else {}
        if self.policy.junk is not None:
            needed[self.policy.junk] = "Articles of other newsgroups"
        for name, description in needed.items():
            if await self.store.group(name) is None:
                # Not for posts; what peers send goes there.
                await self.store.create_group(name, status="n", description=description)

    def watch(self, feed: str, fn: Callable[[], object]) -> None:
        """Have a function called whenever something was queued for a feed."""
        self._watchers[feed] = fn

    # ── what peers offer ─────────────────────────────────────────────────────

    async def wants(self, message_id: bytes, peer: str) -> Wanted:
        """Say whether an article is to be sent."""
        if not is_message_id(message_id):
            return Wanted.NO
        now = self._clock()
        awaited = self._awaited
        sender = awaited.get(message_id)
        if sender is not None and sender[0] != peer and sender[1] > now:
            return Wanted.LATER
        try:
            known = await self.store.history(message_id)
        except StoreError:
            return Wanted.LATER
        if known is not History.UNKNOWN:
            return Wanted.NO
        awaited.pop(message_id, None)
        while awaited:  # the oldest stand first
            oldest = next(iter(awaited))
            if awaited[oldest][1] > now and len(awaited) < MAX_AWAITED:
                break
            del awaited[oldest]
        awaited[message_id] = (peer, now + self.policy.offer_wait)
        return Wanted.YES

    async def take(self, octets: bytes, peer: str, message_id: bytes | None = None) -> None:
        """Take what a peer sends; done when no power cut can lose it."""
        try:
            article = parse(octets, max_size=self.policy.max_size)
            if message_id is not None and article.message_id != message_id:
                raise ArticleError("Message-ID is not the one that was offered")
            await self._take(article, peer)
        except StoreError as error:
            raise self._later(error) from error
        finally:
            if message_id is not None:
                self._awaited.pop(message_id, None)

    async def _take(self, article: ParsedArticle, peer: str) -> None:
        if await self.store.history(article.message_id) is not History.UNKNOWN:
            raise DuplicateError("duplicate")
        try:
            self._check_relayed(article)
            groups = await self._groups_for(article)
        except ArticleError:
            # Not where the octets were no article: another peer may have it whole.
            if self.policy.remember_refused:
                await self.store.remember(article.message_id, self._clock())
            raise
        kept = relay(article, self.path_host, peer, self._identities.get(peer, (peer,)))
        await self._keep(kept, groups, peer)
        if self._control is not None:
            await self._control.taken(kept, peer)

    def _check_relayed(self, article: ParsedArticle) -> None:
        policy = self.policy
        now = self._clock()
        date = effective_date(article) or 0.0
        if date < now - policy.max_age:
            raise ArticleError("too old")
        if date > now + policy.max_ahead:
            raise ArticleError("its date is in the future")
        if len(article.groups) > policy.max_groups:
            raise ArticleError(f"more than {policy.max_groups} newsgroups")
        if not any(map(self._distributions.matches, distributions_of(article))):
            raise ArticleError("unwanted distribution")

    async def _groups_for(self, article: ParsedArticle) -> list[str]:
        """The store's groups into which a peer's article goes (RFC 5537 §3.7)."""
        groups: list[str] = []
        closed = 0
        for group in await self._existing(article):
            if group.status == "m" and b"approved" not in article:
                raise ArticleError("not approved, in a moderated newsgroup")
            if group.status[:1] == "=":
                groups.append(group.status[1:])
            elif group.status == "x":
                closed += 1
            elif group.status != "j":
                groups.append(group.name)
        # In the catch-all is what is in no other; nothing for closed groups alone (RFC 6048 §3.1).
        if not groups and closed < len(article.groups) and self.policy.junk is not None:
            groups.append(self.policy.junk)
        if not groups:
            raise ArticleError("no newsgroup that is here")
        return list(dict.fromkeys(groups))

    async def _existing(self, article: ParsedArticle) -> list[Group]:
        names: Sequence[str] = article.groups
        control = article.content(b"control")
        if control is not None:
            # Control messages have groups of their own where the store has them: what they say
            # of a newsgroup is nothing that its readers want to read.
            kind = control.split(maxsplit=1)[:1]
            special = f"control.{kind[0].decode('ascii', 'replace').lower() if kind else ''}"
            found = [await self.store.group(name) for name in (special, "control")]
            first = next((group for group in found if group is not None), None)
            if first is not None:
                return [first]
        found = [await self.store.group(name) for name in names]
        return [group for group in found if group is not None]

    # ── what readers post ────────────────────────────────────────────────────

    async def post(self, octets: bytes, *, poster: str, host: str, may_approve: bool) -> bytes:
        """Take what a reader posts; its Message-ID once no power cut can lose it."""
        article = parse(octets, max_size=self.policy.max_size, proto=True)
        try:
            return await self._post(article, poster, host, may_approve=may_approve)
        except StoreError as error:
            raise self._later(error) from error

    async def _post(
        self, article: ParsedArticle, poster: str, host: str, *, may_approve: bool
    ) -> bytes:
        if b"approved" in article and not may_approve:
            raise ArticleError("you may not approve articles")
        control = (article.content(b"control") or b"").split()[:1]
        if control and control != [b"cancel"] and not may_approve:
            raise ArticleError("you may not send control messages")
        groups = await self._existing(article)
        if not groups:
            raise ArticleError("no newsgroup that is here")
        if not control:
            for group in groups:
                if group.status not in ("y", "m"):
                    raise ArticleError("no posts to one of its newsgroups")
        injected = inject(
            article,
            self.injection,
            poster=poster,
            host=host,
            now=self._clock(),
            unique=self._unique(),
        )
        if await self.store.history(injected.message_id) is not History.UNKNOWN:
            raise DuplicateError("duplicate")
        moderated = next((group for group in groups if group.status == "m"), None)
        if moderated is not None and b"approved" not in article and not control:
            await self._submit(moderated.name, injected)
            return injected.message_id
        await self._keep(injected, [group.name for group in groups], "")
        if self._control is not None:
            await self._control.posted(
                injected, self.injection, poster=poster, may_approve=may_approve
            )
        return injected.message_id

    async def _submit(self, group: str, article: ParsedArticle) -> None:
        """Hand a post to the moderators of the first moderated group (RFC 5537 §3.5.1)."""
        if self._moderators is None:
            raise ArticleError("nobody moderates this newsgroup here")
        # It is injected when it is approved: what this agent added, but for what tells one
        # article from another, goes.
        proto = article.with_fields(
            [
                each
                for each in article.fields
                if each[0] not in (b"path", b"injection-date", b"injection-info")
            ]
        )
        async with commit():
            await self._moderators.submit(group, proto.message_id, proto.octets)

    # ── keeping ──────────────────────────────────────────────────────────────

    async def _keep(self, article: ParsedArticle, groups: Sequence[str], peer: str) -> None:
        feeds = [feed.name for feed in self.feeds if feed.name != peer and feed.takes(article)]
        expires = article.content(b"expires")
        filed = Filed(
            article.message_id,
            article.octets,
            article.body_at,
            groups=groups,
            overview=overview(article),
            received=self._clock(),
            expires=None if expires is None else parse_date(expires),
            feeds=feeds,
        )
        async with commit():
            await self.store.add(filed)
        for name in feeds:
            watcher = self._watchers.get(name)
            if watcher is not None:
                watcher()

    def _later(self, error: StoreError) -> TryLaterError:
        suppressed = self._told.admit("kept")
        if suppressed is not None:
            more = f" ({suppressed} more were not logged)" if suppressed else ""
            logger.warning("an article could not be kept: %s%s", escape(str(error)), more)
        return TryLaterError("the article cannot be kept now")
