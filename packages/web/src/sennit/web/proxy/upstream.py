"""The servers behind a reverse proxy, and which of them gets a request.

An `Upstream` is one server: where it is, how much it takes, how it is. `Upstreams`
are several that do the same; `acquire` gives the one whose turn it is by their
*policy*, waits for room where all are busy, and says why where there is none.

Policies: `RoundRobin` (by weight, and evenly spread), `LeastOpen` (the one with the
fewest requests open for its weight), `HashBy` (the same for the same key; when one
goes, only its keys move).

Sources: the smooth weighted round robin and rendezvous hashing as they are known.
Not here: how an upstream is judged (``health.py``), sending (``reverse.py``).
"""

from __future__ import annotations

import math
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred
from sennit.web.client.urls import URL
from sennit.web.errors import WebError, WebUsageError
from sennit.web.proxy.health import Health, HealthRules, State
from sennit.web.proxy.relaying import url_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    class IPolicy(Protocol):
        """Chooses."""

        def choose(self, among: Sequence[Upstream], key: str, now: float) -> Upstream:
            """The one of these (there is one at least) that gets a request."""
            ...


__all__ = ["HashBy", "LeastOpen", "NoUpstreamError", "RoundRobin", "Upstream", "Upstreams"]

MOST_OPEN = 100
"""Requests that are open to one upstream at a time, unless it says otherwise."""


class NoUpstreamError(WebError):
    """No upstream takes a request now.

    Attributes:
        retry_after: Seconds after which one may.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Upstream:
    """One server.

    Args:
        url: Where it is: ``http://host:port``, ``https://…`` or ``http+unix://%2Fpath``,
            perhaps with a path that stands in front of every request's.
        weight: How much of the work it gets, beside others.
        most_open: Requests that are open to it at a time.
        backup: Whether it gets requests only where no other can.

    Attributes:
        url: As given.
        base: The path in front, without a slash at its end.
        health: How it is.
        open: Requests that are open.
        served: Requests that it has answered.
        failed: Requests that it has not.

    Raises:
        ValueError: The URL is none, or a number makes no sense.
    """

    __slots__ = (
        "backup",
        "base",
        "current",
        "failed",
        "health",
        "most_open",
        "name",
        "open",
        "served",
        "url",
        "weight",
    )

    def __init__(
        self,
        url: str | URL,
        *,
        weight: float = 1.0,
        most_open: int = MOST_OPEN,
        backup: bool = False,
        health: HealthRules | None = None,
    ) -> None:
        self.url = URL.of(url)
        if self.url.scheme not in ("http", "https", "http+unix"):
            raise WebUsageError(f"an upstream is http or https, not {self.url.scheme}")
        if self.url.query is not None or self.url.fragment is not None or self.url.username:
            raise WebUsageError(f"an upstream has no query, fragment or login: {self.url}")
        if not (weight > 0 and math.isfinite(weight)) or most_open < 1:
            raise WebUsageError(f"weight ({weight}) is above 0, most_open ({most_open}) from 1")
        self.base = self.url.path.rstrip("/").encode("ascii")
        self.name = str(self.url)
        self.weight = weight
        self.most_open = most_open
        self.backup = backup
        self.health = Health(health, self._changed)
        self.open = 0
        self.served = 0
        self.failed = 0
        self.current = 0.0  # of the round robin

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.health.state.value}, {self.open} open>"

    def at(self, target: bytes) -> URL:
        """The URL of a request target here: path and query as they will be sent."""
        return url_at(self.url, self.base + target)

    def _changed(self, before: State, after: State) -> None:
        if State.TRIED in (before, after) and after is not State.UP:
            return
        import logging

        level = logging.INFO if after is State.UP else logging.WARNING
        logging.getLogger("sennit.web").log(
            level, "upstream %s is %s, was %s", self.name, after.value, before.value
        )


class RoundRobin:
    """One after the other, those of more weight oftener, and evenly spread."""

    def choose(self, among: Sequence[Upstream], key: str, now: float) -> Upstream:
        total = 0.0
        best = among[0]
        for each in among:
            weight = each.weight * each.health.share(now)
            total += weight
            each.current += weight
            if each.current > best.current:
                best = each
        best.current -= total
        return best


class LeastOpen:
    """The one with the fewest open requests for its weight."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, among: Sequence[Upstream], key: str, now: float) -> Upstream:
        # Of those that are even another one each time.
        self._turn = (self._turn + 1) % len(among)
        turned = [*among[self._turn :], *among[: self._turn]]
        return min(
            turned, key=lambda each: (each.open + 1) / (each.weight * each.health.share(now))
        )


class HashBy:
    """The same one for the same key, as long as it is well (rendezvous hashing).

    Without a key the one with the fewest open requests.
    """

    def __init__(self) -> None:
        self._others = LeastOpen()

    def choose(self, among: Sequence[Upstream], key: str, now: float) -> Upstream:
        if not key:
            return self._others.choose(among, key, now)
        return max(among, key=lambda each: _score(each, key))


def _score(upstream: Upstream, key: str) -> float:
    digest = blake2b(f"{upstream.name}\0{key}".encode(), digest_size=8).digest()
    # Above 0 and below 1, whatever the digest is.
    chance = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -upstream.weight / math.log(min(chance, 1 - 2**-53))


class Upstreams:
    """Servers that do the same.

    Args:
        upstreams: URLs, or `Upstream` objects.
        policy: Which one gets a request; `RoundRobin` when left out.
        health: When those given as URLs count as well.
        waiting: Requests that may wait for room.

    Raises:
        WebUsageError: There is none, or two of one name.
    """

    def __init__(
        self,
        upstreams: Iterable[str | Upstream],
        *,
        policy: IPolicy | None = None,
        health: HealthRules | None = None,
        waiting: int = 1000,
    ) -> None:
        self._all = [
            each if isinstance(each, Upstream) else Upstream(each, health=health)
            for each in upstreams
        ]
        if not self._all or len({each.name for each in self._all}) != len(self._all):
            raise WebUsageError("there is one upstream at least, and none of them twice")
        self._policy = policy or RoundRobin()
        self._most_waiting = waiting
        self._waiting: deque[Deferred[None]] = deque()

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<Upstreams {self._all!r}, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    def choose(self, key: str, tried: Sequence[Upstream], now: float) -> Upstream | None:
        """The one whose turn it is; ``None`` where those that are well are busy.

        Args:
            key: What the request is known by, for `HashBy`.
            tried: Those that will not do.
            now: Monotonic seconds.

        Raises:
            NoUpstreamError: None that will do is well.
        """
        well = [each for each in self._all if each.health.may_try(now) and each not in tried]
        if not well:
            times = [each.health.next_try() for each in self._all if each not in tried]
            known = [each - now for each in times if each is not None]
            raise NoUpstreamError("no upstream is well", max(1.0, min(known, default=10.0)))
        for backup in (False, True):
            free = [each for each in well if each.backup is backup and each.open < each.most_open]
            if free:
                return free[0] if len(free) == 1 else self._policy.choose(free, key, now)
        return None

    async def acquire(
        self,
        key: str,
        tried: Sequence[Upstream],
        clock: Callable[[], float],
        patience: float,
    ) -> Upstream:
        """The one whose turn it is, once it has room; `release` it afterwards.

        Args:
            key: What the request is known by, for `HashBy`.
            tried: Those that will not do.
            clock: Tells monotonic seconds.
            patience: Seconds to wait for room.

        Raises:
            NoUpstreamError: None is well, or none has room in that time.
        """
        # Who waits already comes first.
        found = None if self._waiting and not tried else self.choose(key, tried, clock())
        if found is None:
            found = await self._wait(key, tried, clock, patience)
        found.open += 1
        found.health.begin(clock())
        return found

    async def _wait(
        self,
        key: str,
        tried: Sequence[Upstream],
        clock: Callable[[], float],
        patience: float,
    ) -> Upstream:
        import asyncio

        if len(self._waiting) >= self._most_waiting:
            raise NoUpstreamError("too many requests wait for an upstream", 1.0)
        try:
            async with asyncio.timeout(patience):
                while True:
                    room: Deferred[None] = Deferred()
                    self._waiting.append(room)
                    try:
                        await room
                    except BaseException:
                        if room in self._waiting:
                            self._waiting.remove(room)
                        else:
                            # It was woken in that very moment: somebody else may go.
                            self.wake()
                        raise
                    found = self.choose(key, tried, clock())
                    if found is not None:
                        return found
        except TimeoutError:
            raise NoUpstreamError("every upstream is busy", 1.0) from None

    def release(self, upstream: Upstream) -> None:
        """A request to it has ended: there is room for another."""
        upstream.open -= 1
        self.wake()

    def wake(self) -> None:
        """There may be room: whoever waits longest looks."""
        while self._waiting:
            room = self._waiting.popleft()
            if not room.called:
                room.callback(None)
                return
