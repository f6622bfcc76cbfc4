"""Asking upstreams how they are, again and again.

Each upstream is asked by itself, at intervals that vary a little, so that a crowd of
proxies does not ask in step. What comes of it is its `Health`'s affair.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sennit.core.errors import SennitError
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.messages import OutgoingRequest
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from sennit.web.client.messages import IncomingResponse
    from sennit.web.proxy.upstream import Upstream, Upstreams

    Send = Callable[[OutgoingRequest], Awaitable[IncomingResponse]]

__all__ = ["HealthCheck"]

LOOKED_AT = 64 * 1024
"""Octets of an answer in which what is wanted has to be."""


class HealthCheck:
    """A request that tells whether an upstream is well.

    Args:
        path: What is asked for, with GET.
        interval: Seconds between two requests.
        jitter: The part of the interval by which it varies, either way.
        timeout: Seconds for the whole answer.
        statuses: Those of an upstream that is well.
        host: What Host says; the upstream's own authority when left out.
        content: Octets that have to be in the first 64 KiB of the answer.

    Raises:
        WebUsageError: A number makes no sense, or the path is none.
    """

    def __init__(
        self,
        path: str = "/",
        *,
        interval: float = 5.0,
        jitter: float = 0.1,
        timeout: float = 2.0,
        statuses: Container[int] = range(200, 400),
        host: str | None = None,
        content: bytes = b"",
    ) -> None:
        if not path.startswith("/") or not path.isascii():
            raise WebUsageError(f"a path begins with a slash: {path!r:.100}")
        if interval <= 0 or timeout <= 0 or not 0 <= jitter < 1:
            raise WebUsageError("interval and timeout are above 0, jitter is a part of 1")
        self.path = path.encode("ascii")
        self.interval = interval
        self.jitter = jitter
        self.statuses = statuses
        self.host = host
        self.content = content
        self.timeouts = ClientTimeouts(
            connect=timeout, read=timeout, write=timeout, pool=timeout, total=timeout
        )

    async def run(self, upstreams: Upstreams, send: Send, chance: Callable[[], float]) -> None:
        """Ask them until this is cancelled.

        Args:
            upstreams: Whom.
            send: By what.
            chance: Gives numbers from 0 to 1.
        """
        async with asyncio.TaskGroup() as tasks:
            for each in upstreams:
                tasks.create_task(self._watch(upstreams, each, send, chance))

    async def _watch(
        self,
        upstreams: Upstreams,
        upstream: Upstream,
        send: Send,
        chance: Callable[[], float],
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            if await self.ask(upstream, send):
                upstream.health.check_done(clock())
                upstreams.wake()
            else:
                upstream.health.check_failed(clock())
            await asyncio.sleep(self.interval * (1 + self.jitter * (2 * chance() - 1)))

    async def ask(self, upstream: Upstream, send: Send) -> bool:
        """Whether an upstream answers as it should, now."""
        headers = [] if self.host is None else [(b"host", self.host.encode("ascii"))]
        request = OutgoingRequest("GET", upstream.at(self.path), headers, timeouts=self.timeouts)
        try:
            response = await send(request)
            try:
                if response.status not in self.statuses:
                    return False
                return not self.content or self.content in await _beginning(response)
            finally:
                await response.aclose()
        except (SennitError, OSError):
            return False


async def _beginning(response: IncomingResponse) -> bytes:
    """The first octets of an answer."""
    found = b""
    async for piece in response.body:
        found += piece
        if len(found) >= LOOKED_AT:
            break
    return found[:LOOKED_AT]
