"""From a table of the configuration to a running service."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Realm
from sennit.core.auth.sasl.server import DEFAULT_MECHANISMS
from sennit.core.endpoint.networks import Networks
from sennit.core.errors import ConfigError
from sennit.core.service.restart import BackgroundService
from sennit.core.service.server import ServerService
from sennit.core.service.tree import StartError, checked
from sennit.news.access import Access, AccessRules
from sennit.news.article import is_group_name
from sennit.news.client import NNTPClient
from sennit.news.control import Control
from sennit.news.errors import NNTPUsageError, StoreError
from sennit.news.expiry import Expiry, Rule, expire
from sennit.news.feeds import Feed, Feeder
from sennit.news.injection import Injection
from sennit.news.intake import Intake, IntakePolicy
from sennit.news.limits import Limits
from sennit.news.moderation import HeldArticles
from sennit.news.server import NNTPServerFactory
from sennit.news.serving.lists import Listings
from sennit.news.store.shared import SharedStore
from sennit.news.wildmat import parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.news.client import Connecting
    from sennit.news.config import AccessTable, NewsConfig, PeerTable
    from sennit.news.interfaces import IArticleStore

__all__ = ["NewsService", "build_news", "try_news"]

_DAY: Final = 86_400.0
_MODERATED: Final = "(moderated)"

_log = logging.getLogger("sennit.news")


class NewsService(ServerService):
    """A news server at every endpoint of one configuration, with its feeds and its expiry.

    Args:
        config: What it was told.
        context: Its name and surroundings.

    Attributes:
        store: Its articles, while it runs.
    """

    def __init__(self, config: NewsConfig, context: ServiceContext) -> None:
        self._config = config
        name = config.name or socket.gethostname()
        # The default is not absolute.
        self._path = path = context.folder / config.store
        if not path.name or path.is_dir():
            raise ConfigError(f"{path} is a folder: name a file, such as news.db", key="store")
        self._share = checked(
            "name",
            lambda: SharedStore(path, name, threads=config.read_in_threads, cache=config.cache),
        )
        self.store = store = self._share.store
        self._wanted = checked("groups", lambda: [_group_of(each) for each in config.groups])
        # Those that are offered nothing, too: their names stand in Path.
        peers = [
            checked(f"peer.{each}", partial(_feed_of, each, table))
            for each, table in config.peer.items()
        ]
        feeds = [each for each in peers if each.url]
        self._intake = intake = _intake_of(config, name, path, store, feeds)
        limits = config.limits
        factory = NNTPServerFactory(
            store,
            intake,
            portal=None if config.users is None else context.portal(config.users, _realm(config)),
            access=_rules(config),
            limits=Limits(
                max_line=limits.line,
                max_response=limits.response,
                max_article=config.max_article,
                max_discarded=limits.discarded,
                max_streamed=limits.streamed,
                max_streamed_octets=limits.streamed_octets,
                max_ratio=limits.ratio,
                listed_at_once=limits.listed_at_once,
                login=config.login_timeout,
                idle=config.idle_timeout,
                progress=config.stall_timeout,
            ),
            tls=None if config.tls is None else context.tls(config.tls),
            mode=config.mode,
            compress=config.compress,
            new_news=config.new_news,
            login_in_clear=config.login_in_clear,
            listings=checked(
                "motd",
                lambda: Listings(
                    motd=config.motd,
                    subscriptions=config.subscriptions,
                    distributions=config.distribution,
                    distrib_pats=config.distrib_pats,
                    moderators=config.moderators,
                ),
            ),
            login_limits=LoginLimits(
                limits.logins, limits.login_delay, count_loopback=config.count_loopback
            ),
            mechanisms=DEFAULT_MECHANISMS if config.mechanisms is None else config.mechanisms,
            banner=config.banner,
            name=context.name,
        )
        children: list[BackgroundService] = []
        for feed in feeds:
            table = config.peer[feed.name]
            feeder = Feeder(
                store,
                feed,
                connect=partial(_connect, feed.url, tls=table.tls),
                retry=table.retry,
                linger=table.linger,
            )
            intake.watch(feed.name, feeder.wake)
            children.append(feeder)
        rules = checked("expire", lambda: [_rule(config, at) for at in range(len(config.expire))])
        expiry = Expiry(rules, remembered=config.remember)
        children.append(_Expires(store, expiry, config.expire_every * 3600))
        super().__init__(
            context.name,
            factory,
            context.endpoints(config),
            limits=context.limits(config),
            children=children,
        )

    async def prepare(self, reactor: IReactor) -> None:
        """Open the store, make the groups that are missing, then bind every endpoint.

        Raises:
            StartError: The store cannot be opened, or an address not be listened on.
        """
        try:
            try:
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                await self._share.open()
                await self._make_groups()
            except StoreError as error:
                raise StartError(self.name, str(error), key="store") from error
            except OSError as error:
                found = f"the folder {self._path.parent} cannot be made: {error.strerror}"
                raise StartError(self.name, found, key="store") from error
            await super().prepare(reactor)
        except BaseException:
            await self._share.close()
            raise

    async def end(self, drain: float) -> None:
        """End every connection, then let go of the store."""
        try:
            await super().end(drain)
        finally:
            await self._share.close()

    async def _make_groups(self) -> None:
        there = {each.name: each for each in await self.store.groups()}
        for name, status, description in self._wanted:
            found = there.get(name)
            if found is None or (description and found.description != description):
                await self.store.create_group(
                    name,
                    status=status if found is None else found.status,
                    description=description,
                    creator=self.name,
                )
        # Those that it files into of itself: for control messages, and for junk.
        await self._intake.prepare()


class _Expires(BackgroundService):
    """Looks now and then for what is due to go.

    Args:
        store: Whose articles.
        expiry: When they go.
        every: Seconds between two looks.
    """

    def __init__(self, store: IArticleStore, expiry: Expiry, every: float) -> None:
        super().__init__("expiry")
        self._store = store
        self._expiry = expiry
        self._every = every

    async def run(self) -> None:
        """Look, and wait, for ever."""
        while True:
            try:
                done = await expire(self._store, self._expiry, time.time())
            except StoreError as error:
                _log.warning("nothing more is expired now: %s", error)
            else:
                if done.dropped or done.forgotten:
                    _log.info("%r", done)
            await asyncio.sleep(self._every)


def _group_of(text: str) -> tuple[str, str, str]:
    """Name, status and description of a line such as ``local.test  What it is about``.

    Raises:
        NNTPUsageError: The name is none.
    """
    name, _, description = text.partition(" ")
    description = description.strip()
    if not is_group_name(name):
        raise NNTPUsageError(f"{name!r} is no name of a group")
    moderated = description.lower().endswith(_MODERATED)
    return name, "m" if moderated else "y", description


def _feed_of(name: str, table: PeerTable) -> Feed:
    return Feed(
        name,
        table.url or "",
        groups=table.groups,
        distributions=table.distributions,
        exclude=table.exclude,
        max_groups=table.max_groups,
        max_size=table.max_size,
        max_backlog=table.max_backlog,
        window=table.window,
    )


def _connect(url: str, *, tls: bool) -> Connecting:
    return NNTPClient.connect(url, reader=False, tls="starttls" if tls else None)


def _intake_of(
    config: NewsConfig, name: str, path: Path, store: IArticleStore, feeds: Sequence[Feed]
) -> Intake:
    key = b"" if config.trace_key is None else config.trace_key.reveal().encode()
    lock_key = b"" if config.lock_key is None else config.lock_key.reveal().encode()
    control: Control | None = None
    if config.control:
        control = checked(
            "issuers",
            lambda: Control(
                store,
                path_host=name,
                kinds=config.control,
                trusted=[each for each, table in config.peer.items() if table.trusted],
                issuers=config.issuers,
                clock=time.time,
            ),
        )
    checked("distributions", lambda: parse_wildmat(config.distributions))
    if config.junk is not None and not is_group_name(config.junk):
        raise ConfigError(f"{config.junk!r} is no name of a group", key="junk")
    return Intake(
        store,
        path_host=name,
        feeds=feeds,
        # The name has been looked at by the store.
        injection=checked(
            "complaints_to",
            lambda: Injection(
                name,
                trace=config.trace,
                key=key,
                lock_key=lock_key,
                complaints_to=config.complaints_to,
                max_groups=config.max_crosspost,
                max_followups=config.max_followups,
            ),
        ),
        policy=IntakePolicy(
            max_size=config.max_article,
            max_age=config.max_age * _DAY,
            max_groups=config.max_groups,
            distributions=config.distributions,
            junk=config.junk,
            remember_refused=config.remember_refused,
            offer_wait=config.offer_wait,
        ),
        identities={
            each: table.identities for each, table in config.peer.items() if table.identities
        },
        moderators=HeldArticles(path.with_name(f"{path.name}.held")),
        control=control,
    )


def _rules(config: NewsConfig) -> AccessRules:
    """Who may do what before a login."""
    for key, wildmat in (("read", config.read), ("post", config.post)):
        checked(key, partial(Access, wildmat or None))
    peers: list[tuple[Networks, Access]] = []
    for name, table in config.peer.items():
        if table.networks:
            found = checked(f"peer.{name}.networks", partial(Networks, ",".join(table.networks)))
            peers.append((found, Access(config.read or None, None, transit=True, name=name)))
    return AccessRules(peers, default=Access(config.read or None, config.post or None))


def _realm(config: NewsConfig) -> Realm:
    """What users may do."""
    access = {
        name: checked(f"user.{name}", partial(_access_of, name, table))
        for name, table in config.user.items()
    }
    others = Access("*", "*")
    realm = Realm()

    @realm.provides(Access)
    async def open_access(name: str) -> Access:
        return access.get(name) or others.named(name)

    return realm


def _access_of(name: str, table: AccessTable) -> Access:
    return Access(table.read or None, table.post or None, approve=table.approve, name=name)


def _rule(config: NewsConfig, at: int) -> Rule:
    table = config.expire[at]
    return Rule(
        table.groups,
        days=table.days,
        minimum=table.minimum,
        maximum=table.maximum,
        count=table.count,
    )


def build_news(config: NewsConfig, context: ServiceContext) -> NewsService:
    """Assemble the service; nothing is opened yet."""
    return NewsService(config, context)


def try_news(config: NewsConfig, urls: Iterable[str]) -> list[str]:
    """Give a list of groups per endpoint."""
    found: list[str] = []
    for url in urls:
        scheme, _, place = url.partition("://")
        host, _, port = place.rpartition(":")
        if scheme in ("tcp", "tls"):
            name = "" if config.read or config.users is None else "NAME@"
            how = "nntps" if scheme == "tls" else "nntp"
            found.append(f"sennit news list {how}://{name}{host}:{port}/")
    return found
