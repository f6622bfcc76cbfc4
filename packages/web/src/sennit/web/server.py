"""The server's side of an HTTP connection: requests to a handler, its answers to the engine.

A handler is any callable that takes a `Request` and returns a `Response`, a
Deferred of one or a coroutine of one. A plain handler that has its answer at
once costs no Task, no timer and no exchange: the answer leaves in the same turn.

Time limits are kept by one timer per connection that is set anew only when it has
come: a request on a kept connection writes down when it came, nothing more. What
is limited: the time for a whole head, however its octets dribble; the rate of
content; the time without progress of what is sent; the time between two requests
(HARDENING h1-9 to h1-11).

A connection that ends while the client still sends is closed in two steps, so
that the client can read the last answer before it learns of the end (RFC 9112
§9.6).

Sources: RFC 9110 §9, §15.5.9, §15.5.16; RFC 9112 §9. Not here: what a path means
(``resource.py``), files (``static.py``).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core._driver import BLOCKED, EOF, FINISHING, GONE, PRESSED
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import FilePart, PeerFault
from sennit.web.dates import DateKeeper
from sennit.web.http1.engine import H11ServerEngine, HTTP1ServerEngine
from sennit.web.events import BodyEnded, BodyReceived, RequestReceived
from sennit.web.limits import Limits
from sennit.web.request import Request
from sennit.web.response import HTTPError, Response, error_page
from sennit.web.writing import write_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sennit.core._driver import Clock
    from sennit.core.address import Address
    from sennit.core.interfaces import IDelayedCall
    from sennit.web.accesslog import AccessLog
    from sennit.web.http1.engine import DateLine
    from sennit.web.response import HeadersIn

    Answer = Response | Awaitable[Response]
    Handler = Callable[[Request], Answer]
    EngineFactory = Callable[[Limits, DateLine], HTTP1ServerEngine]

__all__ = ["HTTPServer", "HTTPServerProtocol", "Timeouts", "http_server"]

LARGE: Final = 1024 * 1024
"""Octets of content held in memory above which it leaves piece by piece."""
PIECE: Final = 128 * 1024
"""Octets of such a piece."""
LINGER: Final = 2.0
"""Seconds that a client has to take the last answer while it still sends."""


class Timeouts:
    """How long a client may take; seconds.

    Attributes:
        head: For a whole request head, from its first octet (of the first: from the connection).
        idle: Between two requests.
        write: Without progress of what is sent.
        body_grace: Before content has to come at `body_rate`.
        body_rate: Octets of content a second, on average.
    """

    __slots__ = ("body_grace", "body_rate", "head", "idle", "write")

    def __init__(
        self,
        *,
        head: float = 20.0,
        idle: float = 60.0,
        write: float = 60.0,
        body_grace: float = 5.0,
        body_rate: float = 240.0,
    ) -> None:
        self.head = head
        self.idle = idle
        self.write = write
        self.body_grace = body_grace
        self.body_rate = body_rate


class HTTPServer:
    """Serves one handler: the factory of its connections (an `IProtocolFactory`).

    Args:
        handler: Takes a `Request`; returns a `Response`, or a Deferred or coroutine of one.
        limits: What a client can make too large.
        timeouts: How long it may take.
        access_log: Where requests are written down.
        headers: Put into every response that does not have them.
        engine: Makes the engine of a connection; over h11 by default.
        wall_clock: Seconds since the epoch, for ``Date``.
        clock: Tells monotonic time and calls back; the transport's reactor by default.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        access_log: AccessLog | None = None,
        headers: HeadersIn = None,
        engine: EngineFactory = H11ServerEngine,
        wall_clock: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self.access_log = access_log
        self.headers = Response(headers=headers).headers
        self.engine = engine
        self.dates = DateKeeper(wall_clock)
        self.clock = clock

    def build_protocol(self, peer: Address | None) -> HTTPServerProtocol:
        """A protocol for one connection."""
        return HTTPServerProtocol(self)


def http_server(handler: Handler, **options: Any) -> HTTPServer:
    """Make of a handler what `sennit.core.serve` takes.

    Args:
        handler: Takes a `Request`; returns a `Response`, or a Deferred or coroutine of one.
        options: Those of `HTTPServer`. (`Any`: they are checked there.)
    """
    return HTTPServer(handler, **options)


class HTTPServerProtocol(
    EngineProtocol[HTTP1ServerEngine, RequestReceived | BodyReceived | BodyEnded | PeerFault]
):
    """One connection.

    Args:
        server: Whose connection it is.
    """

    engine: HTTP1ServerEngine

    _held: int
    _alarm: IDelayedCall | None = None
    _alarm_at = float("inf")
    _lingering = False
    _began = 0.0  # when the connection was made, or the last request came or was answered
    _first = True  # no request has come yet
    _head_began = 0.0  # when the first octet of an unfinished head was noticed; 0 for none
    _content_began = 0.0  # likewise for content
    _stuck_since = 0.0  # when what is to be sent was seen not to move; 0 for not at all
    _progress: object = None
    _unbegun: Any = None  # a handler's coroutine that has not had its first step

    def __init__(self, server: HTTPServer) -> None:
        super().__init__(server.engine(server.limits, server.dates.line), clock=server.clock)
        self._server = server
        self._handle = server.handler
        self._log = server.access_log
        self._dates = server.dates
        self._timeouts = server.timeouts

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return bool(self.transport.get_extra_info("cipher"))

    @property
    def client_name(self) -> str:
        """The client's address without its port, for logs."""
        peer = self.transport.peer
        return getattr(peer, "host", None) or "-"

    def call_later(self, delay: float, fn: Callable[[], object]) -> None:
        """Call something in a while, whether this connection is still there or not."""
        clock = self._find_clock()
        clock.call_at(clock.time() + delay, fn)

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        clock = self._find_clock()
        self._now = clock.time
        self._began = clock.time()
        self._set_alarm(self._began + self._timeouts.head)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._held or len(data) > self.max_parse:
            self._receive_slowly(data)
        else:
            self.engine.receive_data(data)
            self._turn()
        if not self.engine.at_rest:
            self._watch()

    def eof_received(self) -> bool:
        if self._lingering:
            return False
        stays = super().eof_received()
        # Lingering began in there, and the client has said all: nothing to wait for.
        return stays and not self._lingering

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        super().connection_lost(exc)
        unbegun, self._unbegun = self._unbegun, None
        if unbegun is not None and hasattr(unbegun, "close"):
            # The request turned out bad in the octets that came with it, or the client
            # has gone: Python would warn of a coroutine that was never awaited.
            unbegun.close()

    # ── requests ──────────────────────────────────────────────────────────────

    @handles(RequestReceived)
    def serve_request(self, head: RequestReceived) -> Any:
        """Ask the handler. (`Any`: nothing, a Deferred or a coroutine, as the driver has it.)"""
        now = self._began = self._now()
        self._first = False
        self._head_began = self._content_began = 0.0
        if now >= self._dates.due:
            self._dates.renew(now)
        if head.encoded and head.length:
            # Content codings are not undone here (RFC 9110 §15.5.16).
            return self._answer(head, error_page(415, {"accept-encoding": "identity"}))
        request = Request(head, self)
        try:
            answer = self._handle(request)
        except HTTPError as error:
            answer = error_page(error.status, error.headers)
        if type(answer) is Response:
            return self._answer(head, answer)
        if isinstance(answer, Deferred):
            answer.catch(HTTPError, _as_page)
            return answer.add_callback(self._answer_found, head)
        if not hasattr(answer, "__await__"):
            return self._answer(head, _response(answer))
        self._unbegun = answer
        return self._answer_later(head, answer)

    def _answer_found(self, answer: Response, head: RequestReceived) -> Any:
        self._answered_late()
        # A coroutine, when the content streams: the chain waits for it.
        return self._answer(head, _response(answer))

    def _answered_late(self) -> None:
        """Time has passed since the request came: look at the clock again."""
        now = self._began = self._now()
        if now >= self._dates.due:
            self._dates.renew(now)

    async def _answer_later(self, head: RequestReceived, answer: Any) -> None:
        self._unbegun = None
        try:
            response = await answer
        except HTTPError as error:
            response = error_page(error.status, error.headers)
        self._answered_late()
        streaming = self._answer(head, _response(response))
        if streaming is not None:
            await streaming
            self._began = self._now()

    def _answer(self, head: RequestReceived, response: Response) -> Any:
        """Queue a response; a coroutine when its content is still to be produced."""
        headers = response.headers
        if self._server.headers:
            headers = self._with_defaults(headers)
        body = response.body
        if type(body) is not bytes and not isinstance(
            body, (FilePart, list, tuple, bytearray, memoryview)
        ):
            if isinstance(body, AsyncIterable):
                return self._stream(head, response, headers, body)
            raise TypeError(f"the content of a response cannot be {type(body).__name__}")
        if (len(body) if type(body) is bytes else _octets_in(body)) > LARGE:
            return self._stream_large(head, response, headers, body)
        engine = self.engine
        engine.send_response(head.exchange, response.status, headers, body, reason=response.reason)
        if self._log is not None:
            self._log.request(self, head, response.status, engine.sent)
        return None

    def _with_defaults(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        there = {name for name, _ in headers}
        return headers + [each for each in self._server.headers if each[0] not in there]

    def _stream_large(
        self,
        head: RequestReceived,
        response: Response,
        headers: list[tuple[bytes, bytes]],
        body: Any,
    ) -> Any:
        """Content that would fill the transport leaves piece by piece, as the client takes it."""
        parts = _parts_of(body)
        size = sum(map(len, parts))

        async def pieces() -> AsyncIterator[Any]:
            for part in parts:
                if type(part) is FilePart:
                    yield part
                    continue
                view = memoryview(part)
                for at in range(0, len(view), PIECE):
                    yield view[at : at + PIECE]

        headers = [each for each in headers if each[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % size))
        return self._stream(head, response, headers, pieces())

    async def _stream(
        self,
        head: RequestReceived,
        response: Response,
        headers: list[tuple[bytes, bytes]],
        body: AsyncIterable[Any],
    ) -> None:
        engine = self.engine
        exchange = head.exchange
        engine.send_response(exchange, response.status, headers, None, reason=response.reason)
        try:
            if head.method != b"HEAD":
                async for piece in body:
                    engine.send_body(exchange, piece)
                    await self.writable()
            engine.end_body(exchange)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            if self._log is not None:
                self._log.request(self, head, response.status, engine.sent)

    def go_on(self, head: RequestReceived) -> None:
        """The content is wanted: say so to a client that waits (RFC 9110 §10.1.1)."""
        if head.expect_continue:
            self.engine.send_informational(head.exchange, 100)

    @handles(PeerFault)
    def note_fault(self, event: PeerFault) -> None:
        """A request was refused: that is in the access log too."""
        if self._log is not None:
            self._log.refused(self, getattr(event.error, "status", 400), self.engine.sent)

    # ── the end ───────────────────────────────────────────────────────────────

    def _finish(self) -> None:
        engine = self.engine
        if self._held & (GONE | FINISHING):
            return
        if engine.cut:
            self._held |= FINISHING
            self._leave()
            self.transport.abort("error")
            return
        if engine.unread and not self._held & EOF and not self._open and self._out.can_write_eof():
            # The client still sends. To close now would reset the connection, and the
            # reset would take the answer with it (RFC 9112 §9.6).
            self._held |= FINISHING
            self._leave()
            self._lingering = True
            self._out.write_eof()
            self._watch_reading()
            self._set_alarm(self._now() + LINGER)
            return
        super()._finish()

    # ── time ──────────────────────────────────────────────────────────────────

    def _watch(self) -> None:
        """Something has begun that must not take for ever: see that the timer comes in time."""
        now = self._now()
        due = self._due(now)
        if due is not None and due < self._alarm_at:
            self._set_alarm(due)

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._find_clock().call_at(when, self._ring)

    def _ring(self) -> None:
        """The timer has come: end the connection if it took too long, else look again later."""
        self._alarm = None
        self._alarm_at = float("inf")
        if self._lingering:
            self.transport.abort("clean")
            return
        if self._held & GONE:
            return
        now = self._now()
        due = self._due(now)
        if due is None:
            # A handler is at work: it takes the time that it takes.
            due = now + self._timeouts.idle
        elif due <= now:
            self._too_late()
            if self._held & (GONE | FINISHING) and self._alarm is not None:
                return
            due = now + self._timeouts.write
        if not self._held & GONE and self._alarm is None:
            self._set_alarm(due)

    def _due(self, now: float) -> float | None:
        """When what the client is at must have ended; ``None`` when it is at nothing."""
        times = self._timeouts
        if self._held & PRESSED or self.transport.get_write_buffer_size():
            progress = write_progress(self.transport)
            if not self._stuck_since or progress != self._progress:
                self._progress = progress
                self._stuck_since = now
            # Looked at often enough to tell no progress from little of it.
            due = self._stuck_since + times.write
            return due if due <= now else min(due, now + times.write / 12)
        self._stuck_since = 0.0
        engine = self.engine
        if engine.content_awaited:
            if not self._content_began:
                self._content_began = now
            if self._reading_paused:
                # It is us who do not take it.
                self._content_began = max(self._content_began, now - times.body_grace)
                return now + times.body_grace
            due = self._content_began + times.body_grace
            if times.body_rate:
                due += engine.content_come / times.body_rate
            return due
        self._content_began = 0.0
        if engine.head_begun:
            if not self._head_began:
                self._head_began = self._began if self._first else now
            return self._head_began + times.head
        self._head_began = 0.0
        if self._first:
            return self._began + times.head
        if self._open or self._held & BLOCKED:
            return None
        return self._began + times.idle

    def _too_late(self) -> None:
        if self._stuck_since:
            self.transport.abort("timeout")
            return
        engine = self.engine
        if engine.content_awaited:
            engine.refuse(408, "the content comes too slowly", "RFC 9110 §15.5.9")
        elif engine.request_line_seen:
            engine.refuse(408, "the head comes too slowly", "RFC 9110 §15.5.9")
        else:
            self.transport.close("timeout" if self._first or engine.head_begun else "idle")
            return
        self.proceed()


def _response(answer: object) -> Response:
    """What a handler gave, if it is a response.

    Raises:
        TypeError: It is not; the text says what would be.
    """
    if isinstance(answer, Response):
        return answer
    raise TypeError(
        f"a handler gave {answer!r:.60}; it gives a Response, such as text(…), "
        "or something to await that does"
    )


def _octets_in(body: Any) -> int:
    """Octets of content that would wait in memory; those of files do not."""
    return sum(len(part) for part in _parts_of(body) if type(part) is not FilePart)


def _parts_of(body: Any) -> list[Any]:
    if isinstance(body, (list, tuple)):
        parts: list[Any] = [*cast("list[Any]", body)]
        return parts
    return [body]


def _as_page(error: HTTPError) -> Response:
    return error_page(error.status, error.headers)
