"""The server's side of a connection in every version of HTTP: requests in, answers out.

A handler is any callable that takes a `Request` and returns a `Response`, a
Deferred of one or a coroutine of one. A plain handler that has its answer at
once costs no Task, no timer and no exchange: the answer leaves in the same turn.
A handler that would rather give its answer piece by piece begins it itself
(`Request.start`, `Request.reply`) and returns ``None``.

Sources: RFC 9110 §9, §10.1.1, §15.5.16. Not here: one version's connection, its
time limits and its end (``http1/server.py``, ``http2/server.py``); what a path
means (``resource.py``).
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from sennit.core._driver import EOF
from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import FilePart, PeerFault
from sennit.web.answering import ResponseWriter, Upgrade
from sennit.web.events import RequestReceived
from sennit.web.request import Request
from sennit.web.response import HTTPError, Response, error_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from typing import Protocol

    from sennit.core.address import Address
    from sennit.core.engine import NoEvent
    from sennit.core.interfaces import Buffer
    from sennit.web.limits import Limits
    from sennit.web.server import HTTPServer

    Field = tuple[bytes, bytes]

    class HTTPEngine(Protocol):
        """What the engines of all versions have besides the verbs of every engine."""

        def receive_data(self, data: bytes) -> None: ...
        def receive_eof(self) -> None: ...
        def next_event(self) -> Any | NoEvent: ...
        def data_to_send(self) -> Sequence[Buffer | FilePart]: ...
        def next_timeout(self) -> float | None: ...
        def handle_timeout(self, now: float) -> None: ...
        def close(self) -> None: ...
        def release(self) -> bytes: ...
        def internal_error(self, exchange: int) -> None: ...
        def send_informational(
            self, exchange: int, status: int, headers: Sequence[Field] = ()
        ) -> None: ...
        def send_response(
            self,
            exchange: int,
            status: int,
            headers: Sequence[Field] = (),
            body: Buffer | FilePart | Sequence[Buffer | FilePart] | None = b"",
            *,
            reason: bytes | None = None,
        ) -> None: ...
        def send_body(self, exchange: int, data: Buffer | FilePart) -> None: ...
        def end_body(self, exchange: int, trailers: Sequence[Field] = ()) -> None: ...
        def reset(self, exchange: int) -> None: ...
        def is_open(self, exchange: int) -> bool: ...
        def sent_of(self, exchange: int) -> int: ...
        def may_send(self, exchange: int) -> bool: ...


__all__ = ["LARGE", "PIECE", "HTTPConnection"]

LARGE: Final = 1024 * 1024
"""Octets of content held in memory above which it leaves piece by piece."""
PIECE: Final = 128 * 1024
"""Octets of such a piece."""

# `Any`: an engine's events are its version's own.
EngineT = TypeVar("EngineT", bound="HTTPEngine")
EventT = TypeVar("EventT")


class HTTPConnection(EngineProtocol[EngineT, EventT], Generic[EngineT, EventT]):
    """One connection of a server.

    Args:
        server: Whose connection it is.
        engine: A fresh engine of the version that is spoken.
    """

    _began = 0.0  # when the connection was made, or the last request came or was answered
    _first = True  # no request has come yet
    _head_began = 0.0  # when the first octet of an unfinished head was noticed; 0 for none
    _content_began = 0.0  # likewise for content
    _named: Address | None = None  # who is there, where a foreign transport has told

    on_half_close: Callable[[], object] | None = None
    """Called when the client sends no more: set by a handler that has to know (HTTP/1)."""

    surroundings: Any
    """What hosted applications are told of it, once one has asked (``hosting/asgi.py``)."""

    def __init__(self, server: HTTPServer, engine: EngineT) -> None:
        super().__init__(engine, clock=server.clock)
        self._server = server
        self._handle = server.handler
        self._log = server.access_log
        self._dates = server.dates
        self._timeouts = server.timeouts
        # Coroutines of handlers that have not had their first step, by exchange.
        self._unbegun: dict[int, Any] = {}

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return bool(self.transport.get_extra_info("cipher"))

    @property
    def limits(self) -> Limits:
        """What a client can make too large."""
        return self._server.limits

    @property
    def body_limit(self) -> int:
        """Octets of content that a handler takes which has no limit of its own."""
        return self._server.body_limit

    @property
    def client_name(self) -> str:
        """The client's address without its port, for logs."""
        return getattr(self.peer, "host", None) or "-"

    @property
    def peer(self) -> Address | None:
        """Who is connected, which may be a proxy (`Request.peer` may know better)."""
        transport: Any = self.transport
        try:
            peer: Address | None = transport.peer
        except AttributeError:
            # asyncio's own has none: what it says is a tuple, or of a Unix socket a path.
            named: Any = transport.get_extra_info("peername")
            if self._named is None and isinstance(named, tuple):
                self._named = InternetAddress(named[0], named[1])
            peer = self._named
        return peer

    @property
    def local(self) -> Address | None:
        """Where the client has come in."""
        transport: Any = self.transport
        try:
            local: Address | None = transport.local
        except AttributeError:
            named: Any = transport.get_extra_info("sockname")
            local = InternetAddress(named[0], named[1]) if isinstance(named, tuple) else None
        return local

    def time(self) -> float:
        """Monotonic seconds."""
        return self._now()

    def call_later(self, delay: float, fn: Callable[[], object]) -> None:
        """Call something in a while, whether this connection is still there or not."""
        clock = self._find_clock()
        clock.call_at(clock.time() + delay, fn)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        clock = self._find_clock()
        self._now = clock.time
        self._began = clock.time()
        super().connection_made(transport)

    @property
    def half_closed(self) -> bool:
        """Whether the client sends no more; it may still wait for answers."""
        return bool(self._held & EOF)

    def eof_received(self) -> bool:
        stays = super().eof_received()
        if stays and self.on_half_close is not None:
            self.on_half_close()
        return stays

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # The request turned out bad in the octets that came with it, or the client has
        # gone: Python would warn of coroutines that were never awaited.
        for exchange in list(self._unbegun):
            self._forget_unbegun(exchange)

    def _forget_unbegun(self, exchange: int) -> None:
        """The handler of an exchange will never take its first step."""
        unbegun = self._unbegun.pop(exchange, None)
        if unbegun is not None and hasattr(unbegun, "close"):
            unbegun.close()

    # ── requests ──────────────────────────────────────────────────────────────

    @handles(RequestReceived)
    def serve_request(self, head: RequestReceived) -> Any:
        """Ask the handler. (`Any`: nothing, a Deferred or a coroutine, as the driver has it.)"""
        now = self._began = head.came = self._now()
        self._first = False
        self._head_began = self._content_began = 0.0
        if now >= self._dates.due:
            self._dates.renew(now)
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
            return self._answer_any(head, answer)
        self._unbegun[head.exchange] = answer
        return self._answer_later(head, answer)

    def _answer_found(self, answer: Response | None, head: RequestReceived) -> Any:
        self._answered_late()
        # A coroutine, when the content streams: the chain waits for it.
        return self._answer_any(head, answer)

    def _answered_late(self) -> None:
        """Time has passed since the request came: look at the clock again."""
        now = self._began = self._now()
        if now >= self._dates.due:
            self._dates.renew(now)

    async def _answer_later(self, head: RequestReceived, answer: Any) -> None:
        self._unbegun.pop(head.exchange, None)
        try:
            response = await answer
        except HTTPError as error:
            response = error_page(error.status, error.headers)
        self._answered_late()
        streaming = self._answer_any(head, response)
        if streaming is not None:
            await streaming
            self._began = self._now()

    def _answer_any(self, head: RequestReceived, answer: object) -> Any:
        """Queue what a handler gave, if it is a response, or has been given already.

        Raises:
            TypeError: It is neither; the text says what would be.
        """
        if isinstance(answer, Response):
            if isinstance(answer, Upgrade):
                return self._change_over(head, answer)
            return self._answer(head, answer)
        if answer is None and not self.engine.is_open(head.exchange):
            return None
        raise TypeError(
            f"a handler gave {answer!r:.60}; it gives a Response, such as text(…), something "
            "to await that does, or None once it has answered by itself (Request.start)"
        )

    # ── answers ───────────────────────────────────────────────────────────────

    def _answer(self, head: RequestReceived, response: Response) -> Any:
        """Queue a response; a coroutine when its content is still to be produced."""
        headers = response.headers
        if self._server.headers:
            headers = self.with_defaults(headers)
        body = response.body
        if type(body) is not bytes and not isinstance(
            body, (FilePart, list, tuple, bytearray, memoryview)
        ):
            if isinstance(body, AsyncIterable):
                return self._stream(head, response, headers, body)
            kind = type(body).__name__
            raise TypeError(
                f"the content of a response is octets or gives them piece by piece, not {kind}; "
                "text(…), html(…) and json(…) make octets"
            )
        if response.trailers is not None or (
            (len(body) if type(body) is bytes else _octets_in(body)) > LARGE
        ):
            return self._stream_parts(head, response, headers, body)
        engine = self.engine
        engine.send_response(head.exchange, response.status, headers, body, reason=response.reason)
        if self._log is not None:
            self._log.request(self, head, response.status, engine.sent_of(head.exchange))
        return None

    def with_defaults(self, headers: list[Field]) -> list[Field]:
        """Headers of a response, with those that the server puts into every one."""
        there = {name for name, _ in headers}
        return headers + [each for each in self._server.headers if each[0] not in there]

    def _stream_parts(
        self, head: RequestReceived, response: Response, headers: list[Field], body: Any
    ) -> Any:
        """Content that would fill the transport leaves piece by piece, as the client takes it."""
        parts = _parts_of(body)

        async def pieces() -> AsyncIterator[Any]:
            for part in parts:
                if type(part) is FilePart:
                    yield part
                    continue
                view = memoryview(part)
                for at in range(0, len(view), PIECE):
                    yield view[at : at + PIECE]

        if response.trailers is None:
            headers = [each for each in headers if each[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % sum(map(len, parts))))
        return self._stream(head, response, headers, pieces())

    async def _stream(
        self,
        head: RequestReceived,
        response: Response,
        headers: list[Field],
        body: AsyncIterable[Any],
    ) -> None:
        engine = self.engine
        exchange = head.exchange
        begun = False
        try:
            engine.send_response(exchange, response.status, headers, None, reason=response.reason)
            begun = True
            if head.method != b"HEAD":
                async for piece in body:
                    if type(piece) is str:
                        raise TypeError("a piece of content is octets, not str: encode it")
                    engine.send_body(exchange, piece)
                    await self.room(exchange)
            engine.end_body(exchange, response.closing_fields())
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            if begun and self._log is not None:
                self._log.request(self, head, response.status, engine.sent_of(exchange))

    def room(self, exchange: int) -> Awaitable[None]:
        """Send what is queued, then wait until that answer may have more content.

        Fails with `ConnectionLost` when the connection ends first.
        """
        return self.writable()

    def start_response(
        self,
        head: RequestReceived,
        status: int,
        headers: list[Field],
        *,
        reason: bytes | None = None,
    ) -> ResponseWriter:
        """Begin an answer whose content is given piece by piece (`Request.start`)."""
        self._answered_late()
        if self._server.headers:
            headers = self.with_defaults(headers)
        self.engine.send_response(head.exchange, status, headers, None, reason=reason)
        return ResponseWriter(self, head, status)

    def reply(
        self,
        head: RequestReceived,
        status: int,
        headers: list[Field],
        body: Buffer | FilePart | Sequence[Buffer | FilePart],
        *,
        reason: bytes | None = None,
    ) -> None:
        """Give a whole answer, and send it (`Request.reply`)."""
        self._answered_late()
        if self._server.headers:
            headers = self.with_defaults(headers)
        engine = self.engine
        engine.send_response(head.exchange, status, headers, body, reason=reason)
        if self._log is not None:
            self._log.request(self, head, status, engine.sent_of(head.exchange))
        self.flush()

    def answer_ended(self, head: RequestReceived, status: int) -> None:
        """A `ResponseWriter` is done, one way or the other."""
        self._began = self._now()
        if self._log is not None:
            self._log.request(self, head, status, self.engine.sent_of(head.exchange))
        self.flush()

    def inform(self, head: RequestReceived, status: int, headers: list[Field]) -> None:
        """Send an interim response (RFC 9110 §15.2)."""
        self.engine.send_informational(head.exchange, status, headers)
        self.flush()

    def go_on(self, head: RequestReceived) -> None:
        """The content is wanted: say so to a client that waits (RFC 9110 §10.1.1)."""
        if head.expect_continue:
            self.engine.send_informational(head.exchange, 100)

    def _change_over(self, head: RequestReceived, answer: Upgrade) -> Any:
        """Answer, then give the connection, or what this version has for it, away."""
        raise TypeError("a version of HTTP changes over in its own way")  # pragma: no cover

    @handles(PeerFault)
    def note_fault(self, event: PeerFault) -> None:
        """A request was refused: that is in the access log too."""
        if self._log is not None:
            status = getattr(event.error, "status", 400)
            self._log.refused(self, status, self.engine.sent_of(event.exchange))


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
