"""How questions get to upstream servers: sockets for UDP, connections that are kept for the rest.

`Carrier` is the `Exchange` that a resolver has by default. Tests, and programs with ways of
their own, give another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.https import HTTPSClient
    from sennit.names.client.stream import StreamClient
    from sennit.names.message import Message

__all__ = ["Carrier"]

MOST: Final = 200
"""Servers to which connections are kept."""


class Carrier:
    """Carries questions by UDP, TCP, TLS and HTTPS.

    Args:
        tls: What is believed of certificates; the system's trust when left out.
    """

    def __init__(self, tls: ClientTLS | None = None) -> None:
        self._tls = tls
        self._streams: OrderedDict[tuple[str, tuple[str, int]], StreamClient] = OrderedDict()
        self._https: dict[str, HTTPSClient] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __call__(
        self,
        message: Message,
        server: tuple[str, int],
        transport: str,
        *,
        timeout: float,
        match_case: bool = False,
    ) -> Message:
        """The answer to a question; see `sennit.names.resolver.querying.Exchange`."""
        if transport == "udp":
            from sennit.names.client.udp import exchange_udp

            return await exchange_udp(message, server, timeout=timeout, match_case=match_case)
        if transport != "tcp" and message.edns is not None:
            from sennit.names.client.exchange import padded

            message = padded(message)  # RFC 8467 §4.1: how long a name is shows in what is hidden
        if transport.startswith("https:"):
            return await self._over_https(transport.removeprefix("https:"), message, timeout)
        return await self._stream(transport, server).exchange(message, timeout=timeout)

    async def _over_https(self, url: str, message: Message, timeout: float) -> Message:
        client = self._https.get(url)
        if client is None:
            from sennit.names.client.https import HTTPSClient

            client = self._https[url] = HTTPSClient(url, tls=self._tls)
        return await client.exchange(message, timeout=timeout)

    def _stream(self, transport: str, server: tuple[str, int]) -> StreamClient:
        key = transport, server
        client = self._streams.get(key)
        if client is not None:
            self._streams.move_to_end(key)
            return client
        from sennit.names.client.stream import StreamClient, TLSProfile

        profile = None
        if transport != "tcp":
            profile = TLSProfile(transport.partition(":")[2] or None, tls=self._tls)
        client = self._streams[key] = StreamClient(server, profile)
        if len(self._streams) > MOST:
            _, oldest = self._streams.popitem(last=False)
            task = asyncio.get_running_loop().create_task(oldest.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return client

    async def aclose(self) -> None:
        """Close all connections."""
        streams, self._streams = self._streams, OrderedDict()
        for stream in streams.values():
            await stream.aclose()
        https, self._https = self._https, {}
        for client in https.values():
            await client.aclose()
        if self._closing:
            await asyncio.wait(self._closing)
