"""The client's side: `connect_websocket`.

::

    async with connect_websocket("wss://example.com/chat", subprotocols=["chat.v2"]) as ws:
        await ws.send("hello")
        async for message in ws:
            ...

The request goes out and its answer comes in as any other of the client's, through a
`Pool`: what a redirect, a proxy, a Unix socket or a broken response means is known
there. When the server has agreed, the connection is taken out of the pool (in HTTP/2,
one stream of it) and is the WebSocket's; it ends with it.

`Client.websocket` (``client/api.py``) is the same with a client's cookies, login and
pool. Several attempts are the program's own affair: a WebSocket that was lost is not
opened again by itself, since nobody here knows what was under way on it.

Sources: RFC 6455 §4.1, §5.3, §10.3; RFC 8441. Not here: the handshake's judgement
(``handshake.py``), what is done with it (``websocket.py``).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, Final

from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.client.urls import URL
from sennit.web.errors import WebUsageError
from sennit.web.response import Response
from sennit.web.websocket.deflate import Deflate
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.handshake import ClientHandshake
from sennit.web.websocket.limits import WebSocketLimits, WebSocketTimeouts
from sennit.web.websocket.websocket import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.client.proxies import Proxies, Proxy
    from sennit.web.response import HeadersIn
    from sennit.web.websocket.conversation import Conversation
    from sennit.web.websocket.websocket import WebSocket

    Ask = Callable[[OutgoingRequest], Awaitable[IncomingResponse]]

__all__ = ["ConnectingWebSocket", "connect_websocket"]

HANDSHAKE_TIMEOUT: Final = 20.0
"""Seconds from the call to the server's agreement, all that lies between included."""
_HTTP: Final = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_WS: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def connect_websocket(
    url: str | URL,
    *,
    subprotocols: Sequence[str] = (),
    headers: HeadersIn = None,
    origin: str | None = None,
    compression: Deflate | bool = True,
    limits: WebSocketLimits | None = None,
    timeouts: WebSocketTimeouts | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    pieces: bool = False,
    tls: ClientTLS | None = None,
    proxy: str | Proxy | Proxies | None = None,
    unix: str | None = None,
    http2: bool = False,
    engine: Callable[..., Conversation] = FastEngine,
    reactor: Reactor | None = None,
) -> ConnectingWebSocket:
    """Connect to a server: ``async with`` it, or ``await`` it for the `WebSocket`.

    Args:
        url: ``ws://…`` or ``wss://…`` (``http`` and ``https`` mean the same).
        subprotocols: What this side speaks above WebSocket, best first.
        headers: More fields of the request.
        origin: Whose program it is, where a server asks.
        compression: Whether, and how, messages may be compressed.
        limits: What the server can make too large.
        timeouts: How long it may take, once the WebSocket is open.
        handshake_timeout: Seconds until then; ``None`` for as long as it takes.
        pieces: Whether messages are read by pieces (`WebSocket.receive_pieces`).
        tls: What to believe and to show; the system's trust when left out.
        proxy: A proxy to go through.
        unix: Path of a Unix socket to go to, whatever the host.
        http2: Whether to speak HTTP/2 (RFC 8441; needs the extra ``http2``): then a server
            that does not is an error.
        engine: Makes the engine.
        reactor: The current one when left out.

    Raises:
        ValueError: Something cannot be asked for; nothing was sent.

    Awaiting it raises `WebSocketRefusedError` where the server says no, and what
    `Pool.send` does where there is no answer.
    """
    pool = Pool(
        tls=tls,
        proxy=proxy,
        unix=unix,
        http2="always" if http2 else False,
        timeouts=ClientTimeouts(total=handshake_timeout),
        reactor=reactor,
    )
    return ConnectingWebSocket(
        pool.send,
        url,
        subprotocols=subprotocols,
        headers=headers,
        origin=origin,
        compression=compression,
        limits=limits,
        timeouts=timeouts,
        pieces=pieces,
        http2=http2,
        engine=engine,
        pool=pool,
    )


class ConnectingWebSocket:
    """A WebSocket that is being opened; made by `connect_websocket` and `Client.websocket`.

    Args:
        ask: Sends the request.
        url: Where to.
        pool: Closed with the WebSocket.
        (The others: see `connect_websocket`.)

    Raises:
        ValueError: Something cannot be asked for.
    """

    def __init__(
        self,
        ask: Ask,
        url: str | URL,
        *,
        subprotocols: Sequence[str] = (),
        headers: HeadersIn = None,
        origin: str | None = None,
        compression: Deflate | bool = True,
        limits: WebSocketLimits | None = None,
        timeouts: WebSocketTimeouts | None = None,
        pieces: bool = False,
        http2: bool = False,
        engine: Callable[..., Conversation] = FastEngine,
        pool: Pool | None = None,
    ) -> None:
        found = URL.of(url)
        scheme = (_HTTP if http2 else _WS).get(found.scheme)
        if scheme is None:
            raise WebUsageError(f"a WebSocket is at ws:// or wss://, not at {found}")
        if found.fragment is not None:
            raise WebUsageError(f"the URL of a WebSocket has no fragment: {found}")
        if scheme != found.scheme:
            found = URL(scheme + str(found)[len(found.scheme) :])
        handshake = ClientHandshake(
            secrets.token_bytes(16),
            subprotocols=subprotocols,
            deflate=Deflate() if compression is True else compression or None,
            origin=origin,
            headers=Response(headers=headers).headers,
            over_http2=http2,
        )
        self._handshake = handshake
        self._request = OutgoingRequest(
            "CONNECT" if http2 else "GET",
            found,
            handshake.headers,
            upgrade=not http2,
            extensions={"protocol": "websocket"} if http2 else None,
        )
        self._ask = ask
        self._pool = pool
        self._limits = limits
        self._timeouts = timeouts
        self._pieces = pieces
        self._engine = engine
        self._websocket: WebSocket | None = None

    @property
    def request(self) -> OutgoingRequest:
        """What is asked."""
        return self._request

    async def open(self) -> WebSocket:
        """Do the handshake.

        Raises:
            WebSocketRefusedError: The server says no.
        """
        try:
            response = await self._ask(self._request)
            try:
                session = self._begin(response)
            except BaseException:
                await response.aclose()
                raise
        except BaseException:
            if self._pool is not None:
                await self._pool.aclose(0)
            raise
        pool = self._pool
        if pool is not None:
            # A connection of HTTP/1.1 has left it; one of HTTP/2 carries the WebSocket.
            session.finished().add_callback(lambda _: pool.aclose(0))
        return session.websocket

    def _begin(self, response: IncomingResponse) -> WebSocketSession:
        agreed = self._handshake.check(response.status, response.headers)
        engine = self._engine(
            client=True,
            limits=self._limits,
            deflate=agreed.deflate,
            key=_Keys().next,
            pieces=self._pieces,
        )
        session = WebSocketSession(engine, timeouts=self._timeouts, subprotocol=agreed.subprotocol)
        session.websocket.response = response
        response.take_over(session)
        return session

    def __await__(self) -> Generator[Any, Any, WebSocket]:
        return self.open().__await__()

    async def __aenter__(self) -> WebSocket:
        self._websocket = await self.open()
        return self._websocket

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        websocket, self._websocket = self._websocket, None
        if websocket is not None:
            await websocket.__aexit__(kind, error, traceback)
        if self._pool is not None:
            await self._pool.aclose()


class _Keys:
    """Keys for masks: unforeseeable (RFC 6455 §5.3, §10.3), a system call for many at a time."""

    __slots__ = ("_at", "_octets")

    def __init__(self) -> None:
        self._octets = b""
        self._at = 0

    def next(self) -> bytes:
        """Four octets that nobody could foresee."""
        at = self._at
        if at == len(self._octets):
            self._octets = os.urandom(512)
            at = 0
        self._at = at + 4
        return self._octets[at : at + 4]
