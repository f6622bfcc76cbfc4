"""A client that keeps a connection: `ReconnectingClient`.

It connects when it begins, and again whenever the connection has gone, after a
pause that grows with each failure and is never the same for two clients::

    client = ReconnectingClient("feed", "tls://feed.example:443", FeedProtocol)
    await client.start(reactor)
    feed = await client.connected()

Several endpoints are tried in turn, without a pause until each of them has failed.
A connection counts as good once it has stood for a while; one that is lost before
(a server that accepts and closes) is a failure as any other.

Pauses are drawn at random from the upper half of ``min_delay * factor ** failures``
(at most `max_delay`), so that the clients of a server which has restarted come
back one by one and not all at once.
"""

from __future__ import annotations

import logging
import random
from functools import partial

from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import ConnectError, ReactorError
from sennit.core.policy.wrapper import ProtocolWrapper
from sennit.core.service.tree import DRAIN_SECONDS, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final, Generic, Protocol, TypeVar

    from sennit.core.interfaces import IDelayedCall, IReactor, IStreamProtocol, IStreamTransport

    P = TypeVar("P", bound=IStreamProtocol)

    class Open(Protocol):
        """How a connection is made: `sennit.core.connect`, or something like it."""

        def __call__(
            self, url: str, factory: Callable[[], IStreamProtocol], /
        ) -> Deferred[Any]: ...

    class _Service(Service, Generic[P]):
        """For checkers: a service of one kind of protocol."""

else:

    class _Service(Service):
        """At run time there is one kind."""

        def __class_getitem__(cls, item):
            return cls


__all__ = ["ReconnectingClient"]

MIN_DELAY: Final = 1.0
"""Seconds before the second try."""
MAX_DELAY: Final = 300.0
"""Seconds between two tries at most."""
FACTOR: Final = 2.0
"""How much longer each pause is than the one before."""
GOOD_AFTER: Final = 10.0
"""Seconds after which a connection has been a good one."""

logger = logging.getLogger("sennit.client")


class _Watched(ProtocolWrapper):
    """The protocol of a connection whose end is of interest."""

    __slots__ = ("_carrier", "_gone")

    def __init__(
        self, wrapped: IStreamProtocol, gone: Callable[[_Watched, Exception | None], object]
    ) -> None:
        super().__init__(wrapped)
        self._gone: Callable[[_Watched, Exception | None], object] | None = gone
        self._carrier: IStreamTransport | None = None

    @property
    def lost(self) -> bool:
        """Whether its connection has gone."""
        return self._gone is None

    @property
    def carrier(self) -> IStreamTransport | None:
        """The transport; after `start_tls` the one that the protocol inside uses."""
        current: IStreamTransport | None = getattr(self.wrapped, "transport", None)
        return self._carrier if current is None else current

    def connection_made(self, transport: IStreamTransport) -> None:
        """Remember what it is on, and pass it on."""
        self._carrier = transport
        self.wrapped.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, then tell."""
        gone, self._gone = self._gone, None
        try:
            self.wrapped.connection_lost(exc)
        finally:
            if gone is not None:
                gone(self, exc)


class ReconnectingClient(_Service["P"]):
    """A service that keeps one connection to one of several endpoints.

    Args:
        name: The service's name.
        urls: An endpoint, or several, in the order in which they are tried.
        factory: Makes a protocol for each connection.
        open: Connects: ``open(url, factory)``; `sennit.core.connect` when left
            out. ``partial(connect, tls=…, timeout=5)`` says how.
        min_delay: Seconds before the second try.
        max_delay: Seconds between two tries at most.
        factor: How much longer each pause is than the one before.
        good_after: Seconds after which a connection has been a good one, so that
            the next pause is the first again.
        max_failures: Failures in a row, each of all endpoints, after which it
            gives up; ``None`` for never.
        spread: Seconds within which the first try is made, at a random moment.
        jitter: Draws a number from 0 to 1; for tests.

    Raises:
        ValueError: No endpoint, or numbers that cannot be.
    """

    def __init__(
        self,
        name: str,
        urls: str | Iterable[str],
        factory: Callable[[], P],
        *,
        open: Open | None = None,  # noqa: A002 - what it does
        min_delay: float = MIN_DELAY,
        max_delay: float = MAX_DELAY,
        factor: float = FACTOR,
        good_after: float = GOOD_AFTER,
        max_failures: int | None = None,
        spread: float = 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(name)
        self._endpoints = (urls,) if isinstance(urls, str) else tuple(urls)
        if not self._endpoints:
            raise ValueError("a client needs an endpoint to connect to")
        if not (0 < min_delay <= max_delay and factor >= 1 and spread >= 0 and good_after >= 0):
            raise ValueError(
                f"not 0 < min_delay ({min_delay}) <= max_delay ({max_delay}), factor ({factor}) "
                f"at least 1, spread ({spread}) and good_after ({good_after}) at least 0"
            )
        if max_failures is not None and max_failures < 1:
            raise ValueError(f"max_failures ({max_failures}) is at least 1, or None")
        self._factory = factory
        self._open = open
        self._min_delay = min_delay
        self._max_delay = max_delay
        self._factor = factor
        self._good_after = good_after
        self._max_failures = max_failures
        self._spread = spread
        self._jitter = jitter
        self._reactor: IReactor | None = None
        self._at = 0  # the endpoint that is tried next
        self._tried = 0  # endpoints that have failed since the last pause
        self._failures = 0
        self._since = 0.0
        self._attempt: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._made: _Watched | None = None
        self._connection: _Watched | None = None
        self._waiting: list[Deferred[P]] = []
        self._ending: Deferred[None] | None = None
        self._given_up: ConnectError | None = None

    # ── who asks ──────────────────────────────────────────────────────────────

    @property
    def protocol(self) -> P | None:
        """The protocol of the connection that stands, if one does."""
        found: Any = None if self._connection is None else self._connection.wrapped
        return found  # type: ignore[no-any-return]  # what the factory made

    @property
    def failures(self) -> int:
        """Pauses in a row that led to no good connection."""
        return self._failures

    def connected(self, timeout: float | None = None) -> Deferred[P]:
        """The protocol of the connection that stands, or of the next one.

        Args:
            timeout: Seconds to wait; fails with `TimeoutError` then.

        Returns:
            Fails with `ConnectError` when the client has given up, and with
            `ReactorError` when it is not running, or stops.
        """
        protocol = self.protocol
        if protocol is not None:
            return succeed(protocol)
        if self._given_up is not None:
            return fail(self._given_up)
        if self._reactor is None:
            return fail(ReactorError(f"client {self.name!r} is not running"))
        waiter: Deferred[P] = Deferred(self._waits_no_more)
        self._waiting.append(waiter)
        if timeout is not None:
            waiter.timeout(timeout, self._reactor)
        return waiter

    def _waits_no_more(self, waiter: Deferred[P]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    # ── life cycle ────────────────────────────────────────────────────────────

    async def prepare(self, reactor: IReactor) -> None:
        """Take the reactor; nothing that can be refused."""
        self._reactor = reactor
        self._given_up = None
        self._at = self._tried = self._failures = 0

    async def begin(self) -> None:
        """Connect; does not wait for it."""
        if self._spread and self._reactor is not None:
            self._timer = self._reactor.call_later(self._jitter() * self._spread, self._try)
        else:
            self._try()

    def close_doors(self, drain: float) -> None:
        """Connect no more, and ask the connection to come to an end."""
        if self._ending is not None:
            return
        self._ending = Deferred()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempt is not None:
            self._attempt.cancel()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(ReactorError(f"client {self.name!r} was stopped"))
        connection, reactor = self._connection, self._reactor
        if connection is None or reactor is None:
            self._ending.callback(None)
            return
        ask = getattr(connection.wrapped, "drain", None)
        transport = connection.carrier
        if transport is not None:
            self._timer = reactor.call_later(drain, transport.abort, "drained")
        if ask is not None:
            ask()
        elif transport is not None:
            transport.close("drained")

    async def end(self, drain: float = DRAIN_SECONDS) -> None:
        """Wait until the connection has gone, or was aborted after `drain` seconds."""
        self.close_doors(drain)
        ending = self._ending
        if ending is not None:
            await ending
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._ending = self._reactor = None

    # ── connecting ────────────────────────────────────────────────────────────

    def _try(self) -> None:
        """Connect to the endpoint whose turn it is."""
        self._timer = None
        url = self._endpoints[self._at]
        self._made = None
        try:
            if self._open is None:
                from sennit.core.endpoint.connect import connect

                reactor: Any = self._reactor  # `connect` asks for the class, not the contract
                attempt = connect(url, self._build, reactor=reactor)
            else:
                attempt = self._open(url, self._build)
        except Exception as error:
            attempt = fail(error)
        self._attempt = attempt
        attempt.add_callbacks(self._stands, partial(self._failed, url))

    def _build(self) -> IStreamProtocol:
        self._made = made = _Watched(self._factory(), self._lost)
        return made

    def _stands(self, _: object) -> None:
        self._attempt = None
        made, reactor = self._made, self._reactor
        if made is None or reactor is None or made.lost:
            # It was lost as soon as it was made, and `_lost` has seen to that.
            return
        self._connection = made
        self._since = reactor.time()
        self._tried = 0
        if self._ending is not None:
            return
        logger.info("%s: connected to %s", self.name, self._endpoints[self._at])
        protocol = self.protocol
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if protocol is not None and not waiter.called:
                waiter.callback(protocol)

    def _lost(self, made: _Watched, exc: Exception | None) -> None:
        """A connection has gone, be it one that never counted as made."""
        if made is not self._made:
            return
        stood = self._connection is made
        self._connection = None
        if self._ending is not None:
            if not self._ending.called:
                self._ending.callback(None)
            return
        reactor = self._reactor
        if not stood or reactor is None:
            # The attempt will tell; unless it has succeeded and only its callback is missing.
            if self._attempt is None or self._attempt.called:
                self._attempt = None
                self._failed(self._endpoints[self._at], exc or ConnectError("closed at once"))
            return
        url = self._endpoints[self._at]
        logger.info("%s: connection to %s lost: %s", self.name, url, exc or "closed")
        if reactor.time() - self._since >= self._good_after:
            self._failures = 0
            self._pause()
        else:
            self._failed(url, exc or ConnectError("closed"), told=True)

    def _failed(self, url: str, error: BaseException, *, told: bool = False) -> None:
        """This endpoint has failed: try the next one, at once or after a pause."""
        self._attempt = None
        if self._ending is not None or self._reactor is None:
            return
        if not told:
            logger.warning("%s: cannot connect to %s: %s", self.name, url, error)
        self._at = (self._at + 1) % len(self._endpoints)
        self._tried += 1
        if self._tried < len(self._endpoints):
            # Not from here: endpoints that fail at once must not nest.
            self._timer = self._reactor.call_soon(self._try)
            return
        self._tried = 0
        self._failures += 1
        if self._max_failures is not None and self._failures >= self._max_failures:
            self._give_up(error)
        else:
            self._pause()

    def _pause(self) -> None:
        """Try again later."""
        reactor = self._reactor
        if reactor is None:
            return
        # 64 doublings are more than any maximum, and no overflow.
        longest = self._min_delay * self._factor ** min(max(self._failures - 1, 0), 64)
        delay = min(longest, self._max_delay) * (0.5 + self._jitter() / 2)
        self._timer = reactor.call_later(delay, self._try)

    def _give_up(self, error: BaseException) -> None:
        text = f"client {self.name!r} has given up after {self._failures} failures: {error}"
        logger.error("%s", text)
        self._given_up = ConnectError(text, [error])
        self._given_up.__cause__ = error
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(self._given_up)
        self.fail(self._given_up)
