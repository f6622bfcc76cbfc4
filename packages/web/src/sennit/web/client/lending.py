"""The pool as core's `IHTTPClient`, for strands that ask by HTTP and are not about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sennit.core.http import HTTPAnswer, IHTTPClient
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from sennit.core.transport.tls import ClientTLS

__all__ = ["LentClient"]


@implementer(IHTTPClient)
class LentClient:
    """Asks servers, over connections that it keeps (`IHTTPClient`).

    Args:
        tls: What to believe and to show; the system's trust when left out.
    """

    def __init__(self, *, tls: ClientTLS | None = None) -> None:
        self._pool = Pool(tls=tls)

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        content: bytes = b"",
        *,
        timeout: float = 30.0,
        limit: int = 1024 * 1024,
    ) -> HTTPAnswer:
        """Ask, and read the answer to its end (`IHTTPClient.fetch`)."""
        timeouts = ClientTimeouts(
            connect=timeout, read=timeout, write=timeout, pool=timeout, total=timeout
        )
        request = OutgoingRequest(method, url, headers, content or None, timeouts=timeouts)
        response = await self._pool.send(request)
        return HTTPAnswer(response.status, response.headers, await response.read(limit))

    async def aclose(self) -> None:
        """Close its connections. Harmless when done."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
