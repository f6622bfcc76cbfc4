"""How often a login may fail: on one connection, and from one address.

A protocol asks for `LoginLimits.tries` when its connection is made and tells it how
each login went::

    tries = limits.tries(transport.peer)
    …
    tries.check()  # raises TooManyTriesError: close, saying so
    try:
        session = await portal.login(credentials, IMailbox)
    except LoginDenied:
        await tries.failed()  # the delay; then the answer that hides why
        …
    else:
        tries.succeeded()

Three tries per connection and a second's delay each are HARDENING's; beyond those an
address that fails again and again is not heard for a while, on new connections either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.errors import TooManyTriesError
from sennit.core.policy.limits import address_key

if TYPE_CHECKING:
    from typing import Any

    from sennit.core.interfaces import IClock

__all__ = ["DELAY", "MAX_TRIES", "LoginLimits", "LoginTries"]

MAX_TRIES: Final = 3
"""Failed logins on one connection."""
DELAY: Final = 1.0
"""Seconds between a failed login and its answer."""
MAX_FROM_ADDRESS: Final = 30
"""Failed logins from one IPv4 address or IPv6 /64 within `WINDOW`."""
WINDOW: Final = 600.0
"""Seconds after which an address begins anew."""
MAX_REMEMBERED: Final = 10_000
"""Addresses that are remembered; beyond, the one that failed first is forgotten."""


class LoginLimits:
    """What all connections of a server have in common.

    Args:
        tries: Failed logins on one connection.
        delay: Seconds between a failed login and its answer.
        per_address: Failed logins from one address within `window`.
        window: Seconds.
        count_loopback: Whether loopback and Unix sockets count per address, too.
        clock: Time and timers; the running reactor's when left out.
    """

    def __init__(
        self,
        tries: int = MAX_TRIES,
        delay: float = DELAY,
        *,
        per_address: int = MAX_FROM_ADDRESS,
        window: float = WINDOW,
        count_loopback: bool = False,
        clock: IClock | None = None,
    ) -> None:
        self.max_tries = tries
        self.delay = delay
        self._per_address = per_address
        self._window = window
        self._count_loopback = count_loopback
        self._clock = clock
        self._failures: dict[str, tuple[float, int]] = {}

    @property
    def clock(self) -> IClock:
        """Where time comes from."""
        if self._clock is not None:
            return self._clock
        from sennit.core.reactor.base import current_reactor

        return current_reactor()

    def tries(self, peer: Any) -> LoginTries:
        """The count of one connection. (`peer` is its `Address`, or ``None``.)"""
        key = address_key(peer)
        if key == "local":
            key = key if self._count_loopback else ""
        return LoginTries(self, key)

    def shut_out(self, key: str) -> bool:
        """Whether an address has failed too often."""
        since, count = self._failures.get(key, (0.0, 0))
        return count >= self._per_address and self.clock.time() - since < self._window

    def count(self, key: str) -> None:
        """One more failed login from an address."""
        now = self.clock.time()
        since, count = self._failures.pop(key, (now, 0))
        if now - since >= self._window:
            since, count = now, 0
        # Put back at the end: who failed last is forgotten last.
        self._failures[key] = (since, count + 1)
        if len(self._failures) > MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]


class LoginTries:
    """The logins of one connection.

    Attributes:
        failures: How many failed.
    """

    __slots__ = ("_key", "_limits", "failures")

    def __init__(self, limits: LoginLimits, key: str) -> None:
        self._limits = limits
        self._key = key
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether no more are heard."""
        if self.failures >= self._limits.max_tries:
            return True
        return bool(self._key) and self._limits.shut_out(self._key)

    def check(self) -> None:
        """Ask before each login.

        Raises:
            TooManyTriesError: No more are heard; close the connection.
        """
        if self.failures >= self._limits.max_tries:
            raise TooManyTriesError("too many failed logins on this connection")
        if self.exhausted:
            raise TooManyTriesError("too many failed logins from this address")

    async def failed(self) -> None:
        """A login failed; returns after the delay, when it is time to say so."""
        self.failures += 1
        if self._key:
            self._limits.count(self._key)
        if self._limits.delay > 0:
            from sennit.core.deferred import Deferred

            waiting: Deferred[None] = Deferred()
            timer = self._limits.clock.call_later(self._limits.delay, waiting.callback, None)
            try:
                await waiting
            finally:
                timer.cancel()

    def succeeded(self) -> None:
        """A login was good: this connection begins anew. Its address does not."""
        self.failures = 0
