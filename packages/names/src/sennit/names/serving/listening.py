"""UDP and TCP on one port, as every name server has them (RFC 7766 §5)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from sennit.core.endpoint.listen import serve

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from sennit.core.endpoint.listen import Server
    from sennit.names.server import DNSServer

__all__ = ["DNSListening", "serve_dns"]

_PORTS_TRIED: Final = 10
"""Ports tried until one is free for both."""


def serve_dns(
    server: DNSServer, host: str = "127.0.0.1", port: int = 53, **options: Any
) -> DNSListening:
    """Serve UDP and TCP at one address and port: ``await`` it, or enter it with ``async with``.

    Args:
        server: What is served.
        host: Address or name; empty for every interface.
        port: 0 for one that is free in both.
        options: Those of `sennit.core.serve`, save `tls`. (`Any`: they are checked there.)
    """
    return DNSListening(server, host, port, options)


class DNSListening:
    """A UDP and a TCP server on one port (made by `serve_dns`)."""

    def __init__(self, server: DNSServer, host: str, port: int, options: dict[str, Any]) -> None:
        self._server = server
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._options = options
        self._both: list[Server] = []

    def __repr__(self) -> str:
        return f"<DNSListening {', '.join(self.urls) or 'closed'}>"

    @property
    def port(self) -> int:
        """The port."""
        return self._both[0].port

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it can be asked."""
        return tuple(url for each in self._both for url in each.urls)

    async def start(self) -> DNSListening:
        """Bind and listen.

        Raises:
            OSError: The port is in use, or the address not ours; nothing is left bound.
        """
        tries = 1 if self._port else _PORTS_TRIED
        for left in reversed(range(tries)):
            udp = await self._serve("udp", self._port)
            try:
                tcp = await self._serve("tcp", self._port or udp.port)
            except OSError as error:
                await udp.close(0)
                if error.errno != errno.EADDRINUSE or not left:
                    raise
                continue
            except BaseException:
                await udp.close(0)
                raise
            self._both = [udp, tcp]
            break
        return self

    async def _serve(self, scheme: str, port: int) -> Server:
        return await serve(f"{scheme}://{self._host}:{port}", self._server, **self._options)

    async def close(self, drain: float | None = None) -> None:
        """Take no more queries, answer those under way, close.

        Args:
            drain: Seconds for that; `serve`'s when left out, 0 to abort at once.
        """
        # Both begin to close before the first is waited for.
        for closing in [each.close(drain) for each in self._both]:
            await closing

    async def wait_closed(self) -> None:
        """Return when it was closed and the last connection has gone."""
        for each in self._both:
            await each.wait_closed()

    def __await__(self) -> Generator[Any, Any, DNSListening]:
        """Begin to listen."""
        return self.start().__await__()

    async def __aenter__(self) -> DNSListening:
        """Begin to listen."""
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Come to an end in good order."""
        await self.close()
