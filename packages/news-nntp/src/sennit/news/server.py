"""The server's side of a connection, and what all connections of a server have in common.

::

    store = MemoryStore()
    factory = NNTPServerFactory(store, Intake(store, path_host="news.example"))
    async with serve("tcp://127.0.0.1:1119", factory) as running:
        await running.wait_closed()

A server is for readers, for peers that feed it, or for both (`Mode`). Who may do what is said by an
`Access`, by the address of a connection or its login. Where a portal is given, who has no access
yet is told to log in (480); passwords go over TLS alone unless `login_in_clear` is set by name.

The protocol is put together of its handlers, each in the module of what it answers (``serving/``).

Sources: RFC 3977 §3.4 (modes), §5.1 (greeting); RFC 8143 (TLS from the start at port 563: an
endpoint ``tls://``). Not here: the conversation (``engine.py``), articles (``store``,
``intake.py``).
"""

from __future__ import annotations

import time
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from sennit.core._faultlog import RateLimit
from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.sasl.channel import Channel, channel_of
from sennit.core.auth.sasl.server import DEFAULT_MECHANISMS, SASLServer
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.endpoint.networks import host_of
from sennit.core.interfaces import adapt
from sennit.core.reactor.base import current_loop, current_meter
from sennit.news._version import __version__
from sennit.news.access import Access, AccessRules
from sennit.news.engine import ServerEngine
from sennit.news.errors import NNTPUsageError
from sennit.news.events import Answered, ServerEvent
from sennit.news.grammar import response_line
from sennit.news.interfaces import IArticleStore, IIntake
from sennit.news.limits import Limits
from sennit.news.serving.incoming import TakesArticles
from sennit.news.serving.lists import AnswersLists, Listings
from sennit.news.serving.logins import LogsIn
from sennit.news.serving.patience import Patience
from sennit.news.serving.readers import AnswersReaders
from sennit.news.session import Offers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sennit.core._driver import Clock
    from sennit.core.auth.portal import Portal
    from sennit.core.interfaces import IDelayedCall
    from sennit.core.transport.tlscontext import ServerTLS
    from sennit.news.serving.metrics import NewsMetrics
    from sennit.news.session import Mode

__all__ = ["NNTPServerFactory", "NNTPServerProtocol"]

_PRIVATE: Final = Channel(private=True)
"""A connection on which nobody can read along."""


class NNTPServerProtocol(
    AnswersReaders,
    AnswersLists,
    TakesArticles,
    LogsIn,
    EngineProtocol[ServerEngine, ServerEvent],
):
    """One connection of a reader or a peer.

    Args:
        server: What all connections have in common.
    """

    def __init__(self, server: NNTPServerFactory) -> None:
        super().__init__(ServerEngine(server.offers, server.limits), clock=server.clock)
        self.server = server
        self.store = server.store
        self.now = server.store.now
        self.metrics = server.metrics
        self.login = None
        self.host = ""
        self._login_timer: IDelayedCall | None = None

    def connection_made(self, transport: Any) -> None:
        """Greet, once it is known who may be there. (`Any`: it may be asyncio's own.)"""
        self.transport = transport
        # `at_once` takes first steps outside of any Task: what they wait for needs a loop.
        current_loop()
        peer: Any = getattr(transport, "peer", None)
        self.host = host_of(peer) or ""
        self.tries = self.server.login_limits.tries(peer)
        self.open(secure=getattr(transport, "channel_binding", None) is not None)
        self.engine.greet(self.server.banner)
        if self.server.portal is not None and not self._may_anything():
            wait = self._find_clock()
            self._login_timer = wait.call_at(
                wait.time() + self.server.limits.login, self._waited_for_login
            )
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: its login ends."""
        self.stop_waiting_for_login()
        super().connection_lost(exc)
        login, self.login = self.login, None
        if login is not None:
            Deferred.from_coroutine(login.logout())

    def fresh_engine(self) -> ServerEngine:
        """An engine that reads nothing until `open`."""
        return ServerEngine(self.server.offers, self.server.limits)

    def open(self, *, secure: bool) -> None:
        """Let the engine read, now that it is known what is offered, and to whom."""
        session = self.engine.session
        session.offers = self.server.offers_on(self.transport)
        session.secure = secure
        access = self.server.access.of(getattr(self.transport, "peer", None))
        # A peer is known by its address.
        self.grant(access, known=access.transit)

    def timed_out(self, reason: str = "timeout") -> None:
        """Nothing came for too long: say so, and close."""
        self.engine.leave("Nothing came for too long")
        super().timed_out(reason)

    @handles(Answered)
    def go_on(self, event: Answered) -> None:
        """What was answered is sent before more is: a client that does not read gets no more."""

    def stop_waiting_for_login(self) -> None:
        """The client has logged in, or has gone."""
        timer, self._login_timer = self._login_timer, None
        if timer is not None:
            timer.cancel()

    def _may_anything(self) -> bool:
        access = self.access
        return access.reads or access.posts or access.transit

    def _waited_for_login(self) -> None:
        self._login_timer = None
        self.engine.leave("No login in time")
        super().timed_out("limit:login")


class NNTPServerFactory:
    """What all connections of a server have in common; the factory of their protocols.

    Args:
        store: Has the articles; anything that adapts to `IArticleStore`.
        intake: Takes articles in (`IIntake`); without one nobody posts or feeds.
        portal: Checks logins, and opens an `Access` for each; without one there are none.
        access: What connections may do before a login, and without one: the same for all, or by
            address. To read everything and to post nothing, when left out.
        limits: What each connection is allowed.
        tls: What STARTTLS begins; without it there is none.
        mode: For whom the server is.
        compress: Offer COMPRESS DEFLATE, to who is known.
        listings: What LIST has of the operator's.
        new_news: Answer NEWNEWS.
        login_in_clear: Take passwords over connections that anybody can read.
        login_limits: How often logins may fail.
        mechanisms: What AUTHINFO SASL may offer.
        banner: What the greeting says.
        name: The service's name, for metrics; there are some where the reactor is measured.
        wall_clock: Seconds since the epoch.
        clock: Tells monotonic time and calls back; the transport's reactor by default.

    Attributes:
        told: Which lines on articles that are not taken go into the log.

    Raises:
        NNTPUsageError: The mode is none.
    """

    def __init__(
        self,
        store: object,
        intake: object | None = None,
        *,
        portal: Portal | None = None,
        access: Access | AccessRules | None = None,
        limits: Limits | None = None,
        tls: ServerTLS | None = None,
        mode: Mode = "both",
        compress: bool = False,
        listings: Listings | None = None,
        new_news: bool = True,
        login_in_clear: bool = False,
        login_limits: LoginLimits | None = None,
        mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
        banner: str = "",
        name: str = "news",
        wall_clock: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        if mode not in ("reader", "transit", "both", "switching"):
            raise NNTPUsageError(f"a server is for reader, transit, both or switching, not {mode}")
        self.store: IArticleStore = adapt(IArticleStore, store)
        self.intake: IIntake | None = None if intake is None else adapt(IIntake, intake)
        self.portal = portal
        if not isinstance(access, AccessRules):
            access = AccessRules(default=Access() if access is None else access)
        self.access = access
        self.limits = Limits() if limits is None else limits
        self.tls = tls
        self.listings = Listings() if listings is None else listings
        self.login_limits = LoginLimits() if login_limits is None else login_limits
        self.sasl = (
            None if portal is None else SASLServer(portal, mechanisms, in_clear=login_in_clear)
        )
        self.banner = banner
        self.name = name
        self.wall_clock = wall_clock
        self.clock = clock
        self.metrics: NewsMetrics | None = None
        self.told = RateLimit()
        self._in_clear = login_in_clear
        self.offers = Offers(
            mode=mode,
            tls=tls is not None,
            compress=compress,
            lists=self.listings.offered,
            new_news=new_news,
            software=f"Sennit {__version__}",
        )

    def build_protocol(self, peer: object) -> Patience:
        """Build one for a new connection, that does not wait for ever."""
        self._measure()
        limits = self.limits
        return Patience(NNTPServerProtocol(self), idle=limits.idle, progress=limits.progress)

    def refusal(self, reason: str) -> bytes:
        """What is said to one connection too many, before it is closed."""
        return response_line(400, f"Too many connections ({reason})")

    def offers_on(self, transport: Any) -> Offers:
        """What is offered on a connection. (`Any`: its transport, with TLS or without.)"""
        if self.portal is None or self.sasl is None:
            return self.offers
        channel = channel_of(transport)
        offers = copy(self.offers)
        offers.login = True
        offers.passwords = (channel.private or self._in_clear) and self.portal.understands(
            PasswordCredentials
        )
        offers.mechanisms = tuple(self.sasl.offered(channel))
        if not channel.private:
            offers.private_mechanisms = tuple(self.sasl.offered(_PRIVATE))
        return offers

    def _measure(self) -> None:
        """Count once the reactor is measured; a program without metrics has none."""
        if self.metrics is None and (meter := current_meter()) is not None:
            from sennit.news.serving.metrics import NewsMetrics

            self.metrics = NewsMetrics(self.name, meter.registry)
