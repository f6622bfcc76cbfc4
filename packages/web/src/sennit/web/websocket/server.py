"""The server's side: a request that asks for WebSocket becomes one, and a handler has it.

::

    site = Site()

    @site.websocket("/chat", subprotocols=["chat.v2"], origins="same")
    async def chat(ws):
        async for message in ws:
            await ws.send(message)

The decorator takes a coroutine function of a `WebSocket`, or a class derived from
`WebSocketProtocol`, of which one is made per connection. In a tree of resources the
same is `WebSocketResource`; in a handler of one's own, `accept_websocket`.

Sources: RFC 6455 §4.2, §10.2; RFC 8441 §5. Not here: the handshake's judgement
(``handshake.py``), the protocol (``protocol.py``), the two ways to have it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from sennit.web.answering import Upgrade
from sennit.web.errors import WebUsageError
from sennit.web.resource import Resource
from sennit.web.response import Response, error_page
from sennit.web.websocket.deflate import Deflate
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.handshake import Declined, accept, check_subprotocols
from sennit.web.websocket.limits import WebSocketLimits, WebSocketTimeouts
from sennit.web.websocket.protocol import WebSocketProtocol
from sennit.web.websocket.websocket import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.web.request import Request
    from sennit.web.response import HeadersIn
    from sennit.web.websocket.conversation import Conversation
    from sennit.web.websocket.handshake import Origins

    # `Any`: parameters of the path may follow the WebSocket.
    WebSocketHandler = Callable[..., Awaitable[object]] | type[WebSocketProtocol]

__all__ = ["WebSocketOptions", "WebSocketResource", "accept_websocket"]


class WebSocketOptions:
    """What a server agrees to, and what it bears; the same for many connections.

    Args:
        subprotocols: What the handler speaks above WebSocket, best first.
        origins: Pages of which origins may connect: their origins, such as
            ``https://example.com``; ``"same"`` for those of the host that is asked; a
            function of the Origin; ``None`` for all. A browser sends the user's cookies
            along whoever's page it is that connects: where they mean anything, say who may.
        limits: What a peer can make too large.
        timeouts: How long it may take.
        compression: Whether, and how, messages are compressed with clients that can.
        pieces: Whether messages are read by pieces (`WebSocket.receive_pieces`).
        engine: Makes the engine of a connection.

    Raises:
        WebUsageError: A subprotocol is no token.
    """

    __slots__ = (
        "compression",
        "engine",
        "limits",
        "origins",
        "pieces",
        "subprotocols",
        "timeouts",
    )

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = (),
        origins: Origins = None,
        limits: WebSocketLimits | None = None,
        timeouts: WebSocketTimeouts | None = None,
        compression: Deflate | bool = True,
        pieces: bool = False,
        engine: Callable[..., Conversation] = FastEngine,
    ) -> None:
        self.subprotocols = check_subprotocols(subprotocols)
        self.origins = origins
        self.limits = limits or WebSocketLimits()
        self.timeouts = timeouts or WebSocketTimeouts()
        self.compression = Deflate() if compression is True else compression or None
        self.pieces = pieces
        self.engine = engine


def accept_websocket(
    request: Request,
    handler: WebSocketHandler,
    *,
    headers: HeadersIn = None,
    options: WebSocketOptions | None = None,
    arguments: dict[str, Any] | None = None,
    **more: Any,
) -> Response:
    """The answer to a request that asks for WebSocket; a handler returns it.

    Args:
        request: The request.
        handler: A coroutine function of a `WebSocket`, or a class derived from
            `WebSocketProtocol`.
        headers: More headers of the answer, such as cookies.
        options: What is agreed to; made of `more` when left out.
        arguments: Given to a coroutine function after the `WebSocket`. (`Any`: its own.)
        more: Those of `WebSocketOptions`. (`Any`: they are checked there.)

    Returns:
        An `Upgrade`, or a page that says why not.

    Raises:
        WebUsageError: The handler is none, or an option is wrong.
    """
    if options is None:
        options = WebSocketOptions(**more)
    elif more:
        raise WebUsageError("options are given together or one by one")
    verdict = accept(
        request.head,
        subprotocols=options.subprotocols,
        origins=options.origins,
        deflate=options.compression,
        headers=Response(headers=headers).headers,
    )
    if isinstance(verdict, Declined):
        return error_page(verdict.status, verdict.headers)
    engine = options.engine(limits=options.limits, deflate=verdict.deflate, pieces=options.pieces)
    protocol: WebSocketProtocol
    if isinstance(handler, type):
        _check(handler)
        protocol = handler(engine, timeouts=options.timeouts, subprotocol=verdict.subprotocol)
    else:
        run = handler
        if arguments:
            given = arguments

            def run_with(ws: Any) -> Awaitable[object]:
                return handler(ws, **given)

            run = run_with
        protocol = session = WebSocketSession(
            engine, run, timeouts=options.timeouts, subprotocol=verdict.subprotocol
        )
        session.websocket.request = request
    return Upgrade(protocol, verdict.headers, verdict.status)


def _check(kind: type) -> None:
    if not issubclass(kind, WebSocketProtocol):
        raise WebUsageError(f"{kind!r} is no WebSocketProtocol")


class WebSocketResource(Resource):
    """A leaf of a tree of resources that WebSockets begin at.

    Args:
        handler: A coroutine function of a `WebSocket`, which may ask for parameters of the
            path; or a class derived from `WebSocketProtocol`.
        options: Those of `WebSocketOptions`. (`Any`: they are checked there.)

    Raises:
        WebUsageError: The handler is none, or an option is wrong.
    """

    leaf = True

    def __init__(self, handler: WebSocketHandler, **options: Any) -> None:
        self._handler = handler
        self._options = WebSocketOptions(**options)
        self._asked: tuple[str, ...] = ()
        if isinstance(handler, type):
            _check(handler)
        else:
            self._asked = tuple(list(inspect.signature(handler).parameters)[1:])

    def render(self, request: Request) -> Response:
        if self._asked:
            params = request.params
            arguments = {name: params[name] for name in self._asked if name in params}
        else:
            arguments = None
        return accept_websocket(request, self._handler, options=self._options, arguments=arguments)
