"""One HTTP/1.1 connection of the client: the engine on a transport.

`begin` sends a request and gives a Deferred of its response; octets come into the
engine and go out of it into the response's `Inbox`, all inside `data_received`. No
Task is made and no timer armed for a request: there is one timer, which is armed
anew only when it goes off too early. Only content that comes piece by piece from
the program has a Task, since the program's iterable has to be waited for while the
answer may come first.

It is not built on core's `ClientEngineProtocol`, which queues commands and collects
replies for protocols that pipeline: here one request is open, its content goes
straight to its reader, and what both cost is most of a small request.

Sources: RFC 9112 §9 (connections), RFC 9110 §10.1.1 (100-continue). Deliberately
elsewhere: what may be said (``client_engine.py``), who sends over which connection
(``sennit.web.client.pool``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred
from sennit.core.engine import FilePart, NoEvent, PeerFault
from sennit.core.errors import ConnectionAborted, ConnectionLost
from sennit.core.policy.timeouts import output_mark
from sennit.web.client.messages import Inbox, IncomingResponse
from sennit.web.errors import RequestTimeoutError, UnansweredError, WebUsageError
from sennit.web.events import BodyEnded, BodyReceived
from sennit.web.http1.client_engine import STREAMED, HTTP1ClientEngine
from sennit.web.http1.responses import InformationalReceived, ResponseHead

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence

    from sennit.core.interfaces import Buffer, IDelayedCall, IStreamProtocol, IStreamTransport
    from sennit.web.client.connection import ConnectionOwner
    from sennit.web.client.limits import ClientTimeouts, ResponseLimits
    from sennit.web.client.messages import OutgoingRequest

    Field = tuple[bytes, bytes]

__all__ = ["EXPECT_FROM", "HTTP1ClientConnection"]

EXPECT_FROM: Final = 1024 * 1024
"""Octets of content from which on it waits for 100: less is sent before an answer could come."""
_NEVER: Final = float("inf")


class HTTP1ClientConnection:
    """One connection.

    Args:
        owner: Hears of it.
        limits: What is taken from the server.
        timeouts: How long requests wait, unless they say otherwise.

    Attributes:
        version: ``b"1.1"``.
        served: Requests answered whole.
        busy: Requests open: 0 or 1.
        forwarded: Whether it ends at a proxy that forwards: targets are then in
            absolute form (RFC 9112 §3.2.2).
        added: Fields that every request gets, such as Proxy-Authorization.
    """

    __slots__ = (
        "__weakref__",
        "_content_of",
        "_deadline",
        "_engine",
        "_exchange",
        "_gone",
        "_inbox",
        "_limits",
        "_mark",
        "_owner",
        "_paused",
        "_pressed",
        "_read_by",
        "_request",
        "_room",
        "_sender",
        "_time",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_used",
        "_waiting",
        "_welcome",
        "added",
        "busy",
        "forwarded",
        "served",
        "transport",
        "version",
    )

    transport: IStreamTransport

    def __init__(
        self, owner: ConnectionOwner, limits: ResponseLimits, timeouts: ClientTimeouts
    ) -> None:
        self.version = b"1.1"
        self.served = 0
        self.busy = 0
        self.forwarded = False
        self.added: Sequence[Field] = ()
        self._owner = owner
        self._limits = limits
        self._timeouts = timeouts
        self._used = timeouts
        """The open request's."""
        self._engine = HTTP1ClientEngine(limits)
        self._time = owner.clock.time
        self._exchange = 0
        self._request: OutgoingRequest | None = None
        self._waiting: Deferred[IncomingResponse] | None = None
        self._inbox: Inbox | None = None
        self._sender: Deferred[None] | None = None
        self._content_of = 0
        """The exchange whose content comes from the program's iterable."""
        self._welcome: Deferred[None] | None = None
        """Fires when content that waits for 100 may be sent."""
        self._paused = False
        self._pressed = False
        self._room: Deferred[None] | None = None
        """Fires when more content may be written."""
        self._gone = False
        self._timer: IDelayedCall | None = None
        self._timer_at = _NEVER
        self._read_by = _NEVER
        """When the next octets must have come or left."""
        self._deadline = _NEVER
        """When the open request must have ended."""
        self._mark: object = None

    # ── the pool's side ───────────────────────────────────────────────────────

    @property
    def room(self) -> int:
        """Whether a request may begin: 1 or 0."""
        return 1 if self._engine.ready and not self._gone else 0

    @property
    def ending(self) -> bool:
        """Whether it takes no more requests, now or later."""
        return self._gone or not (self.busy or self._engine.ready)

    def begin(self, request: OutgoingRequest) -> Deferred[IncomingResponse]:
        """Send a request; fires with its response once the final head has come.

        Raises:
            ValueError: It cannot be sent; nothing was, and the connection is as it was.
        """
        engine = self._engine
        if self._gone:
            raise WebUsageError("the connection has gone")
        url = request.url
        method = request.method.encode("ascii")
        target = url.target
        host = url.host_field
        if method == b"CONNECT":
            if request.extensions is not None and request.extensions.get("protocol"):
                raise WebUsageError("a CONNECT with a protocol needs HTTP/2 (RFC 8441)")
            host = target = url.host_and_port.encode("ascii")
        elif self.forwarded:
            target = b"%b://%b%b" % (url.scheme.encode(), host, target)
        headers = request.headers
        if self.added:
            headers = [*headers, *self.added]
        body = request.body
        if body is None:
            self._exchange = engine.send_request(
                method, target, host, headers, upgrade=request.upgrade
            )
        else:
            self._send_with_content(request, body, method, target, host, headers)
        waiting: Deferred[IncomingResponse] = Deferred(self._given_up)
        self._waiting = waiting
        self._request = request
        self.busy = 1
        timeouts = self._used = request.timeouts or self._timeouts
        now = self._time()
        self._deadline = _NEVER
        if request.deadline is not None:
            self._deadline = request.deadline
        elif timeouts.total is not None:
            self._deadline = now + timeouts.total
        self._look_again(now)
        self.flush()
        if body is not None:
            self._begin_content(request, body)
        return waiting

    def _send_with_content(
        self,
        request: OutgoingRequest,
        body: bytes | FilePart | AsyncIterable[Buffer | FilePart],
        method: bytes,
        target: bytes,
        host: bytes,
        headers: Sequence[Field],
    ) -> None:
        """Queue the head, and the content too where it need not wait."""
        plain = isinstance(body, (bytes, FilePart))
        length = STREAMED if request.length is None else request.length
        if isinstance(body, (bytes, FilePart)):
            length = len(body)
            if request.length not in (None, length):
                raise WebUsageError(f"length says {request.length}, the content has {length}")
        expect = request.expect_continue
        if expect is None:
            expect = length >= EXPECT_FROM or length == STREAMED
        follows = expect or not plain
        self._exchange = self._engine.send_request(
            method,
            target,
            host,
            headers,
            None if follows else body,  # type: ignore[arg-type]  # plain, as `follows` says
            length=length if follows else None,
            expect_continue=expect,
            upgrade=request.upgrade,
        )
        request.expects = expect
        if expect:
            self._welcome = Deferred()

    def _begin_content(
        self, request: OutgoingRequest, body: bytes | FilePart | AsyncIterable[Buffer | FilePart]
    ) -> None:
        """Send what follows the head, as soon as it is welcome."""
        welcome = self._welcome
        if isinstance(body, (bytes, FilePart)):
            if welcome is not None:
                welcome.add_callback(self._send_plain, self._exchange, body)
        else:
            self._content_of = self._exchange
            sender = Deferred.from_coroutine(self._send_pieces(request, body, welcome))
            if not sender.called:
                self._sender = sender
            sender.add_errback(self._content_failed, self._exchange)

    def _send_plain(self, _: None, exchange: int, body: bytes | FilePart) -> None:
        self._engine.send_body(exchange, body)
        self._engine.end_body(exchange)
        self.flush()

    async def _send_pieces(
        self,
        request: OutgoingRequest,
        body: AsyncIterable[Buffer | FilePart],
        welcome: Deferred[None] | None,
    ) -> None:
        """Send content as fast as the program has it and the server takes it."""
        engine = self._engine
        exchange = self._exchange
        if welcome is not None:
            await welcome
        pieces = aiter(body)
        try:
            async for piece in pieces:
                if not self._sends(exchange):
                    return
                engine.send_body(exchange, piece)
                self.flush()
                if self._pressed:
                    # Not `transport.writable()`: whoever waited there when the connection
                    # is given up would leave an error behind that nobody takes.
                    self._room = Deferred()
                    await self._room
            if self._sends(exchange):
                engine.end_body(exchange, request.trailers() if request.trailers else ())
                self.flush()
                self._sender = None
                self._look_again(self._time())
                if self._waiting is None and self._inbox is None:
                    self._exchange_over()
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _sends(self, exchange: int) -> bool:
        return not self._gone and self._exchange == exchange and self._engine.sending

    def _content_failed(self, error: BaseException, exchange: int) -> None:
        """The program's iterable has raised, or gave more or less than was announced."""
        if self._content_of == exchange and not isinstance(error, ConnectionLost):
            self._fail(error)

    def close(self) -> None:
        """Begin nothing new, finish what is open, then close."""
        self._engine.close()
        if not self.busy and not self._gone:
            self.transport.close()

    def abort(self, reason: str) -> None:
        """End now; what is open fails."""
        self._fail(ConnectionAborted(f"the connection was given up: {reason}", reason), reason)

    def _given_up(self, _: Deferred[IncomingResponse]) -> None:
        """Nobody waits for the response any more."""
        self._waiting = None
        self.abort("cancelled")

    # ── the response's side (`Source`) ────────────────────────────────────────

    def taken(self, octets: int) -> None:
        """The reader has taken so much of the content."""
        inbox = self._inbox
        if self._paused and inbox is not None and inbox.size <= self._limits.buffer // 2:
            self._paused = False
            self._look_again(self._time())
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Nobody wants the rest: there is no other way to stop it than to end the connection."""
        self._inbox = None
        self.abort("cancelled")

    def take_over(self, protocol: IStreamProtocol) -> IStreamTransport:
        """Give the connection to `protocol`, after 101 or 2xx to CONNECT."""
        inbox = self._inbox
        if inbox is None or not self._paused or self._gone:
            raise WebUsageError("the connection is not to be taken over")
        rest = self._engine.release()
        transport = self.transport
        self._inbox = None
        self._leave()
        inbox.finish([])
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        # Before the rest is read: the protocol may pause for what it finds in there.
        transport.resume_reading()
        if rest:
            protocol.data_received(rest)
        return transport

    # ── the transport's side ──────────────────────────────────────────────────

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._engine.receive_data(data)
        self._read()

    def eof_received(self) -> bool | None:
        """The server sends no more."""
        if self.busy and not self._engine.answered:
            self._fail(UnansweredError("the server ended the connection instead of an answer"))
        else:
            self._engine.receive_eof()
            self._read()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        if self.busy:
            text = "the connection ended before any answer"
            if not self._engine.answered:
                reason = exc.reason if isinstance(exc, ConnectionLost) else "lost"
                error: BaseException = UnansweredError(text, reason)
                error.__cause__ = exc
            else:
                error = exc or ConnectionLost("the connection ended inside the answer")
            self._fail(error)
        self._leave()

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self._pressed = True
        self._look_again(self._time())

    def resume_writing(self) -> None:
        """There is room again: that is progress."""
        self._pressed = False
        self._look_again(self._time())
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def flush(self) -> None:
        """Send what the engine has queued."""
        transport = self.transport
        for piece in self._engine.data_to_send():
            if isinstance(piece, FilePart):
                self._send_file(piece)
            else:
                transport.write(piece)

    def _send_file(self, part: FilePart) -> None:
        def sent(count: int) -> None:
            if part.close_file:
                part.file.close()
            if count != part.length:
                self._fail(WebUsageError(f"{part!r} has only {count} octets"))

        def failed(error: BaseException) -> None:
            if part.close_file:
                part.file.close()
            if not isinstance(error, ConnectionLost):
                self._fail(error)

        self.transport.sendfile(part.file, part.offset, part.length).add_callbacks(sent, failed)

    # ── answers ───────────────────────────────────────────────────────────────

    def _read(self) -> None:
        """Give what has come to who waits for it.

        Whoever waits may go on inside `callback` and `feed`, and do here what he
        likes: so the head is given last, when all that came with it is in its place.
        """
        engine = self._engine
        inbox = self._inbox
        response: IncomingResponse | None = None
        while True:
            event = engine.next_event()
            if type(event) is BodyReceived:
                if inbox is not None:
                    inbox.feed(event.data)
            elif type(event) is ResponseHead:
                inbox = self._inbox = Inbox(self)
                response = self._make_response(event, inbox)
            elif type(event) is BodyEnded:
                waiting, self._waiting = self._waiting, None
                self._inbox = None
                self._exchange_over()
                if inbox is not None:
                    inbox.finish(event.trailers)
                if response is not None and waiting is not None:
                    waiting.callback(response)
                return
            elif type(event) is NoEvent:
                break
            elif isinstance(event, InformationalReceived):
                self._informed(event)
            elif isinstance(event, PeerFault):
                self._fail(event.error)
                return
        if self._gone:
            return
        if not self.busy:
            if not engine.ready:
                self.transport.close()
            return
        self._read_by = _NEVER if self._used.read is None else self._time() + self._used.read
        if inbox is not None and inbox.size > self._limits.buffer and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        if response is not None:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.callback(response)

    def _make_response(self, head: ResponseHead, inbox: Inbox) -> IncomingResponse:
        request = self._request
        assert request is not None, "an answer has a request"
        if self._welcome is not None:
            # The final answer has come first: the content is not wanted.
            self._engine.stop_body()
            self._no_content()
        elif self._sender is not None and not self._engine.sending:
            self._no_content()
        if head.takes_over:
            # What comes now is not ours to read.
            self._paused = True
            self.transport.pause_reading()
        length = head.announced
        if length is None and not head.length:
            length = 0
        return IncomingResponse(
            request, head.status, head.reason, head.version, head.headers, length, inbox,
            self.transport,
        )  # fmt: skip

    def _informed(self, event: InformationalReceived) -> None:
        request = self._request
        if event.status == 100:
            self._let_content_go()
        if request is not None and request.on_informational is not None:
            try:
                request.on_informational(event.status, event.headers)
            except Exception as error:
                self._fail(error)

    def _let_content_go(self) -> None:
        """Content that waits for 100 waits no more."""
        welcome, self._welcome = self._welcome, None
        if welcome is not None:
            if self._request is not None:
                # It is begun from here on: no 417 makes it as new again.
                self._request.expects = False
            welcome.callback(None)

    def _exchange_over(self) -> None:
        """The answer is whole; the connection is free, or ends, or content is still on its way."""
        if self._engine.sending:
            return
        self.busy = 0
        self.served += 1
        self._read_by = self._deadline = _NEVER
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        if self._sender is not None or self._welcome is not None:
            self._no_content()
        self._request = None
        if self._engine.ready:
            self._owner.connection_changed(self)
        else:
            self.transport.close()
            self._leave()

    def _no_content(self) -> None:
        """Nobody wants what the program still has to send."""
        sender, self._sender = self._sender, None
        request = self._request
        if self._welcome is not None:
            self._welcome = None
            body = None if request is None else request.body
            if isinstance(body, FilePart) and body.close_file:
                body.file.close()
        self._content_of = 0
        self._room = None
        if sender is not None:
            # What cancelling it comes to concerns nobody here.
            sender.add_errback(lambda _: None)
            sender.cancel()

    # ── the end ───────────────────────────────────────────────────────────────

    def _fail(self, error: BaseException, reason: str = "error") -> None:
        """What is open ends with this error, and the connection with it."""
        waiting, self._waiting = self._waiting, None
        inbox, self._inbox = self._inbox, None
        self._engine.release()
        if not self._gone:
            self.transport.abort(reason)
        self._leave()
        if inbox is not None:
            inbox.fail(error)
        if waiting is not None and not waiting.called:
            waiting.errback(error)

    def _leave(self) -> None:
        """The connection is nobody's here any more."""
        if self._gone:
            return
        self._gone = True
        self.busy = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._no_content()
        self._request = None
        self._owner.connection_gone(self)

    # ── time ──────────────────────────────────────────────────────────────────

    def _look_again(self, now: float) -> None:
        """There was progress, or something else is awaited now: find out until when it may last."""
        timeouts = self._used
        self._mark = None
        if self._welcome is not None:
            seconds: float | None = timeouts.expect
        elif self._engine.sending or self._pressed:
            seconds = timeouts.write
        else:
            seconds = timeouts.read
        self._read_by = when = _NEVER if seconds is None else now + seconds
        self._arm(min(when, self._deadline))

    def _arm(self, when: float) -> None:
        """See to it that `_tick` is called by then; earlier does no harm."""
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._owner.clock.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if not self.busy or self._gone:
            return
        now = self._time()
        if now >= self._deadline:
            total = self._used.total or 0.0
            self._fail(RequestTimeoutError("total", total, repr(self._request)), "timeout")
            return
        if now >= self._read_by and not self._patient(now):
            return
        self._arm(min(self._read_by, self._deadline))

    def _patient(self, now: float) -> bool:
        """Time is up for what was awaited; whether there is a reason to wait on."""
        if self._welcome is not None:
            # The server does not know the expectation (RFC 9110 §10.1.1).
            self._let_content_go()
            self._look_again(now)
            return not self._gone
        sending = self._pressed or self.transport.get_write_buffer_size() > 0
        if sending:
            mark = output_mark(self.transport)
            if mark != self._mark:
                self._mark = mark
                self._read_by = _NEVER if self._used.write is None else now + self._used.write
                return True
            phase, seconds = "write", self._used.write
        elif self._paused or self._sender is not None:
            # The reader is slow, or the program itself is slow to send.
            self._look_again(now)
            return True
        else:
            phase, seconds = "read", self._used.read
        self._fail(RequestTimeoutError(phase, seconds or 0.0, repr(self._request)), "timeout")
        return False
