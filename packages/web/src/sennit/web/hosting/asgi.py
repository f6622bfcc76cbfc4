"""Hosting ASGI applications: a request becomes a scope, messages become an answer.

The application is called in a Task of its own, whose first step is taken at once: one
that has its answer without waiting costs little more than a plain handler. An answer
that is whole in its first message leaves as a `Response`; more messages become the
content of one (``pieces.py``). So whatever wraps handlers wraps applications too.

When the client leaves, the application is told (``http.disconnect``) and given time;
what it sends from then on raises `ClientDisconnectedError`, an `OSError` (version 2.4). Its
exchange stays open until it has ended, so that clients which come and go cannot have
more of them at work than the connection's limit; after `LIMIT` seconds it is cancelled
(HARDENING app-2).

An application that fails is answered 500 if nothing has left yet, else its answer is cut,
so that nobody takes it for whole (HARDENING app-1); what it raised is logged once. Content
that is too much or broken ends as if the client had left; then the answer says so (413, 400).

Sources: ASGI 3.0; HTTP & WebSocket message format 2.5; its extensions for trailers,
early hints and sending by path. Not here: scopes (``scopes.py``), WebSocket (``websockets.py``),
the application's own life (``lifespan.py``), which application (``loading.py``).
"""

from __future__ import annotations

import logging
import os
import stat
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core._tasks import start_task
from sennit.core._waiting import Later, new_cancellation
from sennit.core.deferred import Deferred
from sennit.core.engine import FilePart
from sennit.core.errors import ConnectionLost, ProtocolError
from sennit.web.errors import WebProtocolError
from sennit.web.hosting.pieces import (
    MARK,
    ClientDisconnectedError,
    Pieces,
    cut_answer,
    named,
)
from sennit.web.hosting.scopes import Surroundings, fields_of, scope_of
from sennit.web.resource import Resource
from sennit.web.response import Response, error_page

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Self

    from sennit.core._inbox import Inbox
    from sennit.core.interfaces import Buffer, IDelayedCall
    from sennit.web.bodies import GuardedInbox
    from sennit.web.hosting.lifespan import Application, Lifespan, Message
    from sennit.web.request import Request
    from sennit.web.server import Answer

__all__ = ["ASGI"]

LIMIT: Final = 30.0
"""Seconds that an application has to end once its client has gone."""

# How far the answer is.
_NOTHING, _STARTED, _STREAMING, _TRAILERS, _COMPLETE = range(5)

_NO_FIELDS: list[tuple[bytes, bytes]] = []

_log = logging.getLogger("sennit.web.asgi")


class ASGI(Resource):
    """An ASGI application, to stand where any handler or resource stands.

    ``async with ASGI(app) as handler`` tells the application of its start and its end;
    one that need not know works without.

    Args:
        app: The application.
        root_path: Where it is mounted, for whoever asks from outside: a prefix that a
            proxy in front takes off.
        limit: Seconds that it has to end once its client has gone.
        lifespan_needed: Whether an application without lifespan is refused.

    Attributes:
        leaf: The application finds its own way below where it is mounted.
        app: As given.
        root_path: As given.
        limit: As given.
        state: What it has left for its requests when it started, each of which gets a copy.
        tasks: Its requests that have not ended.
    """

    leaf = True

    def __init__(
        self,
        app: Application,
        *,
        root_path: str = "",
        limit: float = LIMIT,
        lifespan_needed: bool = False,
    ) -> None:
        self.app = app
        self.root_path = root_path.rstrip("/")
        self.limit = limit
        self.tasks: set[asyncio.Task[None]] = set()
        self._lifespan_needed = lifespan_needed
        self._lifespan: Lifespan | None = None
        self.state: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<ASGI {self.app!r:.60}>"

    # ── its life ──────────────────────────────────────────────────────────────

    async def startup(self) -> None:
        """Have the application start up.

        Raises:
            LifespanError: It said that it cannot.
        """
        from sennit.web.hosting.lifespan import Lifespan

        lifespan = Lifespan(self.app, needed=self._lifespan_needed)
        await lifespan.startup()
        self._lifespan = lifespan
        self.state = lifespan.state if lifespan.supported else None

    async def shutdown(self, limit: float = LIMIT) -> None:
        """Wait for what is under way, then have the application shut down.

        Args:
            limit: Seconds for both together; what has not ended then is cancelled.

        Raises:
            LifespanError: It said that it cannot, or took too long.
        """
        import asyncio
        from time import monotonic

        deadline = monotonic() + limit
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=limit)
            for task in list(self.tasks):
                task.cancel()
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=1.0)
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.shutdown(deadline - monotonic())

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    # ── requests ──────────────────────────────────────────────────────────────

    def __call__(self, request: Request) -> Answer:
        """Be a handler."""
        connection = request.connection
        try:
            around = connection.surroundings
        except AttributeError:
            around = connection.surroundings = Surroundings(request)
        head = request.head
        if head.upgrade is not None or head.protocol is not None:
            from sennit.web.hosting.websockets import serve_websocket
            from sennit.web.websocket.handshake import wants_websocket

            if wants_websocket(head):
                return serve_websocket(self, request, around)
        exchange = _Exchange(self, request)
        try:
            coroutine = self.app(scope_of(request, around, self), exchange.receive, exchange.send)
            # `Any`: an application promises no more than something to await.
            begun: Any = coroutine
            task = start_task(begun, copy_context(), around.loop, "asgi")
        except Exception as error:
            exchange.failed(error)
        else:
            if not task.done():
                exchange.task = task
                self.tasks.add(task)
                task.add_done_callback(exchange.ended)
            elif exchange.whole and not task.cancelled() and task.exception() is None:
                # The path of nearly every request.
                return exchange.response
            else:
                exchange.ended(task)
        response = exchange.response
        if response is not None:
            exchange.handed = True
            return response
        answer = exchange.answer = Deferred(exchange)
        return answer

    render = __call__


class _Exchange(Later):
    """One request: what the application receives and sends."""

    # Defaults that stand in the class are those which hardly a request changes.
    pieces: Pieces | None = None
    task: asyncio.Task[None] | None = None
    handed = False  # the answer was given to the connection
    _quiet = False  # the client sends no more
    _told = False  # all of the request's content was received by the application
    _left = 0
    _inbox: Inbox[Any] | GuardedInbox | None = None
    _waiters: list[Deferred[None]] | None = None
    _trailers: list[tuple[bytes, bytes]] | None = None
    _limit: IDelayedCall | None = None
    _fault: BaseException | None = None

    def __init__(self, host: ASGI, request: Request) -> None:
        self.request = request
        self._host = host
        # Read by every request: Python finds them faster here than in the class.
        self.answer: Deferred[Response | None] | None = None
        self.response: Response | None = None
        self.whole = False  # the answer is complete, and was never a part
        self.gone = False  # the client has
        self._state = _NOTHING
        self._status = 0
        self._headers = _NO_FIELDS
        self._wants_trailers = False
        self._receives = False  # somebody has to be told when the answer is complete
        self._listens = False  # the application waits, or has waited, for the client to leave
        if request.head.length:
            self._receives = True
            self._left = request.head.length
            # Now, while the exchange is being opened.
            self._inbox = request.inbox()

    # ── what the application calls ────────────────────────────────────────────

    async def receive(self) -> Message:
        """The next message: the request's content, then its end."""
        if not self._told and not self.gone and self._state != _COMPLETE:
            if self._inbox is None:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._content(self._inbox)
            if message is not None:
                return message
        connection = self.request.connection
        if self.request.head.version != b"2":
            # Who closes a connection seems to send no more, until something is sent to it. An
            # application that waits for nothing else is told; what it sends is tried all the same.
            self._quiet = connection.half_closed
            connection.on_half_close = self._half_closed
        self._listens = self._receives = True
        while not (self.gone or self._quiet or self._state == _COMPLETE):
            waiter: Deferred[None] = Deferred()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if self._waiters and waiter in self._waiters:
                    self._waiters.remove(waiter)
        return {"type": "http.disconnect"}

    def _half_closed(self) -> None:
        self._quiet = True
        self._wake()

    async def _content(self, inbox: Inbox[Any] | GuardedInbox) -> Message | None:
        """The next piece of the request's content; ``None`` when it will not come."""
        try:
            event = inbox.take()
            if event is None and not inbox.ended:
                self.request.connection.go_on(self.request.head)
                event = await inbox.get()
        except (ConnectionLost, ProtocolError) as error:
            self._fault = error
            self._disconnected()
            return None
        if event is None:
            if not inbox.ended:
                return None
            data = b""
        else:
            data = getattr(event, "data", b"")
            if type(data) is not bytes:
                data = bytes(data)
        if self._left > 0:
            self._left -= len(data)
        self._told = inbox.ended or self._left == 0
        return {"type": "http.request", "body": data, "more_body": not self._told}

    async def send(self, message: Message) -> None:
        """Take a message: the answer, or a part of it."""
        kind = message["type"]
        if self.gone:
            raise ClientDisconnectedError
        state = self._state
        if kind == "http.response.body":
            if state == _STARTED:
                body = message.get("body", b"")
                if type(body) is not bytes:
                    body = _octets(body)
                more = message.get("more_body", False)
                if more or self._wants_trailers:
                    await self._begin(body, more=more)
                else:
                    self._complete(body)
                return
            if state == _STREAMING:
                await self._continue(
                    _octets(message.get("body", b"")), more=message.get("more_body", False)
                )
                return
            if state == _COMPLETE:
                return
        elif kind == "http.response.start":
            if state == _NOTHING:
                status = message["status"]
                if not 200 <= status <= 599:
                    raise ValueError(f"{status!r:.40} is no status of an answer")
                self._headers = fields_of(message.get("headers", ()))
                self._status = status
                if message.get("trailers", False):
                    self._wants_trailers = True
                self._state = _STARTED
                return
        elif kind == "http.response.pathsend":
            if state == _STARTED:
                self._send_path(message["path"])
                return
        elif kind == "http.response.trailers":
            if state == _TRAILERS:
                assert self._trailers is not None
                self._trailers += fields_of(message.get("headers", ()))
                if not message.get("more_trailers", False):
                    self._end_stream()
                return
        elif kind == "http.response.early_hint" and state == _NOTHING:
            self.request.inform(103, [(b"link", link) for link in message.get("links", ())])
            return
        raise RuntimeError(f"{kind!r} was not expected {_WHEN[state]}")

    # ── the answer ────────────────────────────────────────────────────────────

    def _give(self, response: Response) -> None:
        """The connection waits for it."""
        answer, self.answer = self.answer, None
        assert answer is not None
        self.handed = True
        answer.callback(response)

    def _complete(self, body: bytes | FilePart) -> None:
        """The whole answer is there."""
        self._state = _COMPLETE
        self.whole = True
        if self._receives:
            self._stop_receiving()
        response = self.response = Response(body, self._status)
        response.headers = self._headers
        if self.answer is not None:
            self._give(response)

    async def _begin(self, body: bytes, *, more: bool) -> None:
        """The first part of an answer is there."""
        pieces = self.pieces = Pieces(None, self._left_alone)
        response = Response(pieces, self._status)
        if self._wants_trailers:
            self._trailers = []
            response.trailers = lambda: self._trailers or []
        self._state = _STREAMING
        response.headers = self._headers
        self.response = response
        if self.answer is not None:
            self._give(response)
        await self._continue(body, more=more)

    async def _continue(self, body: bytes, *, more: bool) -> None:
        pieces = self.pieces
        assert pieces is not None
        if body:
            pieces.put(body)
        if not more:
            if self._wants_trailers:
                self._state = _TRAILERS
            else:
                self._end_stream()
        elif pieces.waiting > MARK and not pieces.left:
            await pieces.room()
            if self.gone:
                raise ClientDisconnectedError

    def _end_stream(self) -> None:
        self._state = _COMPLETE
        if self.pieces is not None:
            self.pieces.end()
        self._stop_receiving()

    def _send_path(self, path: str) -> None:
        if not os.path.isabs(path):
            raise ValueError(f"a path to send is absolute, not {path!r:.100}")
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed once it has left
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            file.close()
            raise ValueError(f"{path!r:.100} is no regular file")
        self._complete(FilePart(file, 0, found.st_size, close_file=True))

    # ── the client's end, and the application's ───────────────────────────────

    def cancel(self) -> None:
        """The client has gone (called through the Deferred, which stays open until we end)."""
        self._disconnected()

    async def _left_alone(self) -> None:
        """Nobody takes what is left of the content; returns when the application has ended."""
        if self.request.head.method == b"HEAD":
            # It has no content; what comes is for nobody, and that is no fault.
            return
        self._disconnected()
        task = self.task
        if task is None or task.done():
            return
        waiter: Deferred[None] = Deferred()
        task.add_done_callback(lambda _: _fire(waiter))
        await waiter

    def _disconnected(self) -> None:
        """Tell the application, and see to it that it ends."""
        if self.gone:
            return
        self.gone = True
        self._stop_receiving()
        task = self.task
        if task is not None and not task.done() and self._limit is None:
            clock = self.request.connection._find_clock()
            self._limit = clock.call_at(clock.time() + self._host.limit, self._give_up)

    def _give_up(self) -> None:
        self._limit = None
        if self.task is not None and not self.task.done():
            _log.warning(
                "an ASGI application went on for %g s after its client had gone, and is cancelled",
                self._host.limit,
                extra=named(self.request),
            )
            self.task.cancel()

    def _stop_receiving(self) -> None:
        """Nothing more comes from the client: whoever waits for it is told."""
        if self._listens:
            self._listens = False
            self.request.connection.on_half_close = None
            self._wake()
        if self._inbox is not None:
            self._inbox.close()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            _fire(waiter)

    def ended(self, task: asyncio.Task[None]) -> None:
        """The application has returned, raised, or was cancelled."""
        self._host.tasks.discard(task)
        self.task = None
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if task.cancelled():
            if not self.gone and self._state != _COMPLETE:
                _log.warning("an ASGI application was cancelled", extra=named(self.request))
        elif (error := task.exception()) is not None:
            self._report(error)
        elif self._state < _COMPLETE and not self.gone:
            what = "before its answer was complete" if self.handed else "without an answer"
            _log.error("an ASGI application returned %s", what, extra=named(self.request))
        self._over()

    def failed(self, error: BaseException) -> None:
        """It could not even be called."""
        self._report(error)
        self._over()

    def _over(self) -> None:
        """Nothing more will come: answer 500, or cut what has begun."""
        if self._state == _COMPLETE:
            return
        self._state = _COMPLETE
        self._stop_receiving()
        if self.handed:
            if self.pieces is not None and not self.pieces.left:
                cut_answer(self.request)
                self.pieces.end()
            return
        answer, self.answer = self.answer, None
        status = 500 if not self.gone else self._refusal()
        if status:
            self.response = error_page(status)
            if answer is not None:
                answer.callback(self.response)
        elif answer is not None:
            # The driver knows why: it has cancelled this, or the client broke a rule.
            answer.errback(self._fault or new_cancellation())

    def _refusal(self) -> int:
        """What content that was refused on its way is answered; 0 where nobody waits for that.

        A limit of the route's own or a broken coding (``bodies.py``); what breaks the framing
        the engine has answered by itself.
        """
        fault, request = self._fault, self.request
        if isinstance(fault, WebProtocolError) and request.connection.engine.is_open(
            request.head.exchange
        ):
            return fault.status
        return 0

    def _report(self, error: BaseException) -> None:
        if isinstance(error, ClientDisconnectedError):
            return
        if self.gone:
            _log.info(
                "an ASGI application ended with %s: %s, its client having gone",
                type(error).__name__,
                error,
                extra=named(self.request),
            )
            return
        _log.error("an ASGI application failed", exc_info=error, extra=named(self.request))


_WHEN: Final = (
    "before http.response.start",
    "after http.response.start",
    "among the content",
    "after the content, where trailers are",
    "after the answer",
)


def _fire(waiter: Deferred[None]) -> None:
    if not waiter.fired:
        waiter.callback(None)


def _octets(body: Any) -> bytes:  # Any: what an application gives
    if type(body) is bytes:
        return body
    if isinstance(body, (bytearray, memoryview)):
        return bytes(cast("Buffer", body))
    raise TypeError(f"content is octets, not {type(body).__name__}")
