"""WebSockets of ASGI applications: the handshake is theirs to accept, messages go both ways.

The application is called when a client asks; what it answers decides. Accepting changes
the connection over (``sennit.web.websocket``), closing answers 403, and the extension
``websocket.http.response`` answers with a page of its own. A client that leaves is told
as ``websocket.disconnect``; the application has the same time to end as with requests.

Source: ASGI, HTTP & WebSocket message format 2.5. Not here: requests (``asgi.py``).
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from sennit.core._tasks import start_task
from sennit.core._waiting import Later, new_cancellation
from sennit.core.deferred import Deferred
from sennit.web.hosting.pieces import ClientDisconnectedError, named
from sennit.web.hosting.scopes import fields_of, scope_of
from sennit.web.response import Response, error_page
from sennit.web.websocket.errors import WebSocketClosedError, WebSocketProtocolError
from sennit.web.websocket.handshake import Declined, accept
from sennit.web.websocket.server import accept_websocket

if TYPE_CHECKING:
    import asyncio

    from sennit.core.interfaces import IDelayedCall
    from sennit.web.hosting.asgi import ASGI
    from sennit.web.hosting.lifespan import Message, Scope
    from sennit.web.hosting.scopes import Surroundings
    from sennit.web.request import Request
    from sennit.web.server import Answer
    from sennit.web.websocket.websocket import WebSocket

__all__ = ["serve_websocket"]

# How far it is.
_CONNECTING, _ANSWERING, _OPEN, _CLOSED = range(4)

_log = logging.getLogger("sennit.web.asgi")


def serve_websocket(host: ASGI, request: Request, around: Surroundings) -> Answer:
    """The answer to a request that asks for WebSocket.

    Args:
        host: Whose it is.
        request: The request.
        around: What is known of its connection.
    """
    head = request.head
    verdict = accept(head)
    if isinstance(verdict, Declined):
        return error_page(verdict.status, verdict.headers)
    scope = scope_of(request, around, host)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["extensions"] = {"websocket.http.response": {}}
    scope["subprotocols"] = [
        name.strip().decode("latin-1")
        for field, value in head.headers
        if field == b"sec-websocket-protocol"
        for name in value.split(b",")
        if name.strip()
    ]
    return _Socket(host, request).begin(scope, around)


class _Socket(Later):
    """One WebSocket: what the application receives and sends.

    Args:
        host: Whose it is.
        request: That asked for it.
    """

    def __init__(self, host: ASGI, request: Request) -> None:
        self._host = host
        self._request = request
        self._state = _CONNECTING
        self._told = False  # of the request
        self._gone = False  # the client has, before it was answered
        self._answer: Deferred[Response | None] = Deferred(self)
        self._opened: Deferred[None] = Deferred()
        self._done: Deferred[None] = Deferred()
        self._waiters: list[Deferred[None]] = []
        self._ws: WebSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._limit: IDelayedCall | None = None
        self._failed = False
        self._page: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._content: list[bytes] = []

    def begin(self, scope: Scope, around: Surroundings) -> Answer:
        """Call the application."""
        try:
            begun: Any = self._host.app(scope, self.receive, self.send)
            self._task = start_task(begun, copy_context(), around.loop, name="asgi-websocket")
        except Exception as error:
            self._report(error)
            self._over()
        else:
            self._host.tasks.add(self._task)
            self._task.add_done_callback(self._ended)
        return self._answer

    # ── what the application calls ────────────────────────────────────────────

    async def receive(self) -> Message:
        """The next message: first of all that a client connects."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        while self._ws is None and self._state < _CLOSED and not self._gone:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        ws = self._ws
        if ws is None:
            return {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        try:
            data = await ws.receive()
        except (WebSocketClosedError, WebSocketProtocolError):
            self._state = _CLOSED
            code = ws.close_code
            return {
                "type": "websocket.disconnect",
                "code": 1006 if code is None else code,
                "reason": ws.close_reason,
            }
        if isinstance(data, str):
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    async def send(self, message: Message) -> None:
        """Take a message."""
        kind = message["type"]
        if self._gone:
            raise ClientDisconnectedError
        state = self._state
        if kind == "websocket.send" and state == _OPEN:
            await self._say(message)
        elif kind == "websocket.accept" and state == _CONNECTING:
            await self._accept(message)
        elif kind == "websocket.close" and state in (_CONNECTING, _OPEN):
            await self._close(message.get("code", 1000), message.get("reason") or "")
        elif kind == "websocket.http.response.start" and state == _CONNECTING:
            self._start_page(message)
        elif kind == "websocket.http.response.body" and state == _ANSWERING:
            self._content.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._send_page()
        elif state == _CLOSED and kind in ("websocket.send", "websocket.close"):
            raise ClientDisconnectedError
        else:
            raise RuntimeError(f"{kind!r} was not expected {_WHEN[state]}")

    async def _say(self, message: Message) -> None:
        assert self._ws is not None
        data: Any = message.get("bytes")
        if (data is None) is (message.get("text") is None):
            raise ValueError("a message is either text or bytes")
        if data is None:
            data = message["text"]
        try:
            await self._ws.send(data)
        except WebSocketClosedError as error:
            self._state = _CLOSED
            raise ClientDisconnectedError from error

    async def _accept(self, message: Message) -> None:
        subprotocol = message.get("subprotocol")
        headers = fields_of(message.get("headers") or ())
        if any(name == b"sec-websocket-protocol" for name, _ in headers):
            raise ValueError("the subprotocol is given as such, not as a header")
        self._give(
            accept_websocket(
                self._request,
                self._serve,
                headers=headers,
                subprotocols=[] if subprotocol is None else [subprotocol],
            )
        )
        self._state = _OPEN
        await self._opened
        if self._gone:
            raise ClientDisconnectedError

    async def _close(self, code: int, reason: str) -> None:
        state, self._state = self._state, _CLOSED
        if state == _CONNECTING:
            self._give(error_page(403))
            self._wake()
        elif self._ws is not None:
            await self._ws.close(code, reason)

    def _start_page(self, message: Message) -> None:
        status = message["status"]
        if not 200 <= status <= 599:
            raise ValueError(f"{status!r:.40} is no status of an answer")
        self._page = status, fields_of(message.get("headers") or ())
        self._state = _ANSWERING

    def _send_page(self) -> None:
        assert self._page is not None
        status, headers = self._page
        self._state = _CLOSED
        response = Response(b"".join(self._content), status)
        response.headers = headers
        self._give(response)
        self._wake()

    # ── the connection ────────────────────────────────────────────────────────

    def _give(self, response: Response) -> None:
        if not self._answer.fired:
            self._answer.callback(response)

    async def _serve(self, ws: WebSocket) -> None:
        """Have the connection until the application ends (called once it was changed over)."""
        self._ws = ws
        self._opened.callback(None)
        self._wake()
        try:
            await self._done
        finally:
            if self._task is not None:
                # The client has gone: the application learns it from what it waits for.
                self._give_time()
                self._done = Deferred()
                await self._done
        if self._failed:
            await ws.close(1011)

    def cancel(self) -> None:
        """The client has gone before it was answered."""
        self._gone = True
        if not self._opened.fired:
            self._opened.callback(None)
        self._wake()
        self._give_time()

    def _give_time(self) -> None:
        if self._task is not None and self._limit is None:
            clock = self._request.connection._find_clock()
            self._limit = clock.call_at(clock.time() + self._host.limit, self._give_up)

    def _give_up(self) -> None:
        self._limit = None
        if self._task is not None:
            _log.warning(
                "an ASGI application went on for %g s after its client had gone, and is cancelled",
                self._host.limit,
                extra=named(self._request),
            )
            self._task.cancel()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.fired:
                waiter.callback(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._host.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(error)
        elif self._state in (_CONNECTING, _ANSWERING) and not self._gone:
            _log.error("an ASGI application returned without an answer", extra=named(self._request))
        self._over()

    def _over(self) -> None:
        self._task = None
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if not self._answer.fired:
            if self._gone:
                self._answer.errback(new_cancellation())
            else:
                self._answer.callback(error_page(500))
        self._state = _CLOSED
        if not self._done.fired:
            self._done.callback(None)

    def _report(self, error: BaseException) -> None:
        if isinstance(error, ClientDisconnectedError):
            return
        self._failed = True
        _log.error(
            "an ASGI application failed with a WebSocket",
            exc_info=error,
            extra=named(self._request),
        )


_WHEN = (
    "before the WebSocket was accepted",
    "while a page is sent in its place",
    "on an open WebSocket",
    "on a closed WebSocket",
)
