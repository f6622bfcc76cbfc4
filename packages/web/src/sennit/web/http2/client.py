"""One HTTP/2 connection of the client: many requests side by side on one transport.

`begin` sends a request and gives a Deferred of its response; octets come into the
engine and go out of it into the responses' inboxes, all inside `data_received`. A
reader that is slow slows its own stream down, through its window, and nothing else.
There is one timer for all requests, armed anew only when it goes off too early.

A request that the server has surely not acted on fails with an `UnansweredError`
that says so (`untouched`): the pool sends it again elsewhere (RFC 9113 §6.8, §8.7).

Sources: RFC 9113 §5.4, §6.8, §8.7, §9.1; RFC 8441 §5; RFC 9110 §10.1.1. Not here:
what may be said (``client_engine.py``), who sends over which connection
(``sennit.web.client.pool``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred
from sennit.core.engine import CONNECTION, FilePart, NoEvent, PeerFault
from sennit.core.errors import ConnectionAborted, ConnectionLost
from sennit.web.client.messages import Inbox, IncomingResponse
from sennit.web.errors import RequestTimeoutError, UnansweredError, WebUsageError
from sennit.web.events import BodyEnded, BodyReceived, StreamReset
from sennit.web.http1.responses import InformationalReceived, ResponseHead
from sennit.web.http2.client_engine import STREAMED, HTTP2ClientEngine
from sennit.web.http2.exchange import NEVER, Exchange
from sennit.web.http2.reading import read_files
from sennit.web.http2.responses import RequestRefused
from sennit.web.http2.streams import close_files
from sennit.web.http2.tunnel import Carrying, StreamTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from sennit.core.interfaces import Buffer, IDelayedCall, IStreamProtocol, IStreamTransport
    from sennit.web.client.connection import ConnectionOwner
    from sennit.web.client.limits import ClientTimeouts, ResponseLimits
    from sennit.web.client.messages import OutgoingRequest

    Content = bytes | FilePart | AsyncIterable[Buffer | FilePart]

__all__ = ["HTTP2ClientConnection"]


class HTTP2ClientConnection(Carrying):
    """One connection.

    Args:
        owner: Hears of it.
        limits: What is taken from the server.
        timeouts: How long requests wait, unless they say otherwise.

    Attributes:
        version: ``b"2"``.
        served: Requests answered whole.
        busy: Requests open.
    """

    transport: IStreamTransport

    def __init__(
        self, owner: ConnectionOwner, limits: ResponseLimits, timeouts: ClientTimeouts
    ) -> None:
        self.version = b"2"
        self.served = 0
        self.busy = 0
        self._owner = owner
        self._timeouts = timeouts
        self._engine = HTTP2ClientEngine(limits)
        self._time = owner.clock.time
        self._open: dict[int, Exchange] = {}
        self._untold: list[Exchange] = []  # those that the server's settings decide about
        self._rooms = {}
        self._gone = False
        self._reading = False  # events are being dealt with
        self._flushing = False  # a flush was asked for
        self._had_room = True
        self._timer: IDelayedCall | None = None
        self._timer_at = NEVER

    # ── the pool's side ───────────────────────────────────────────────────────

    @property
    def room(self) -> int:
        """Requests that may begin now, beside those that are open."""
        return 0 if self._gone else max(self._engine.room - len(self._untold), 0)

    @property
    def ending(self) -> bool:
        """Whether it takes no more requests, now or later."""
        return self._gone or self._engine.ending

    def begin(self, request: OutgoingRequest) -> Deferred[IncomingResponse]:
        """Send a request; fires with its response once the final head has come.

        Raises:
            ValueError: It cannot be sent; nothing was, and the connection is as it was.
        """
        if self._gone:
            raise WebUsageError("the connection has gone")
        exchange = Exchange(self, request)
        waiting = exchange.waiting
        assert waiting is not None, "a fresh exchange is waited for"
        extensions = request.extensions or {}
        if extensions.get("protocol") and not self._engine.told:
            # Whether it may be asked at all, the server's settings say (RFC 8441 §3).
            self._untold.append(exchange)
        else:
            self._send(exchange)
        self.busy += 1
        timeouts = request.timeouts or self._timeouts
        now = self._time()
        if request.deadline is not None:
            exchange.deadline = request.deadline
        elif timeouts.total is not None:
            exchange.deadline = now + timeouts.total
        self._progress(exchange, now)
        self._begin_content(exchange)
        self.flush()
        return waiting

    def _send(self, exchange: Exchange) -> None:
        """Queue the head, and the content too where it need not wait.

        Raises:
            ValueError: It cannot be sent.
        """
        request = exchange.request
        url = request.url
        method = request.method.encode("ascii")
        extensions = request.extensions or {}
        protocol: bytes | str | None = extensions.get("protocol")
        if isinstance(protocol, str):
            protocol = protocol.encode("ascii")
        host = url.host_field
        if method == b"CONNECT" and protocol is None:
            host = url.host_and_port.encode("ascii")
        headers = request.headers
        priority: bytes | None = extensions.get("priority")
        if priority is not None:
            headers = [*headers, (b"priority", priority)]
        body = request.body
        length = request.length
        if isinstance(body, (bytes, FilePart)):
            if length not in (None, len(body)):
                raise WebUsageError(f"length says {length}, the content has {len(body)}")
            length = len(body)
        elif body is not None and length is None:
            length = STREAMED
        # Content that nobody wants costs a stream here, not the connection: only who asks
        # for it waits for 100.
        expect = bool(request.expect_continue) and body is not None
        whole = isinstance(body, (bytes, FilePart)) and not expect
        exchange.number = self._engine.send_request(
            method,
            url.target,
            host,
            headers,
            body if whole else None,  # type: ignore[arg-type]  # octets or a file, as `whole` says
            length=None if whole else length,
            expect_continue=expect,
            scheme=b"http" if url.scheme in ("http", "ws") else b"https",
            protocol=protocol,
        )
        if expect:
            exchange.welcome = Deferred()
        self._open[exchange.number] = exchange

    def _begin_content(self, exchange: Exchange) -> None:
        """Send what follows the head, as soon as it is welcome."""
        body = exchange.request.body
        if body is None or not exchange.number or not self._engine.sending(exchange.number):
            return
        if isinstance(body, (bytes, FilePart)):
            if exchange.welcome is not None:
                exchange.welcome.add_callback(self._send_plain, exchange, body)
            return
        sender = Deferred.from_coroutine(self._send_pieces(exchange, body))
        if not sender.called:
            exchange.sender = sender
        sender.add_errback(self._content_failed, exchange)

    def _send_plain(self, _: None, exchange: Exchange, body: bytes | FilePart) -> None:
        engine = self._engine
        if engine.sending(exchange.number):
            engine.send_body(exchange.number, body)
            engine.end_body(exchange.number)
            self._flush_soon()

    async def _send_pieces(self, exchange: Exchange, body: AsyncIterable[Any]) -> None:
        """Send content as fast as the program has it and the server takes it."""
        engine = self._engine
        number = exchange.number
        if exchange.welcome is not None:
            await exchange.welcome
        pieces = aiter(body)
        try:
            async for piece in pieces:
                if not engine.sending(number):
                    return
                engine.send_body(number, piece)
                self.flush()
                room = self.when_roomy(number)
                if room is not None:
                    await room
                else:
                    await self.transport.writable()
            if engine.sending(number):
                trailers = exchange.request.trailers
                engine.end_body(number, trailers() if trailers else ())
                self.flush()
        finally:
            exchange.sender = None
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _content_failed(self, error: BaseException, exchange: Exchange) -> None:
        """The program's iterable has raised, or gave more or less than was announced."""
        if self._open.get(exchange.number) is exchange and not isinstance(error, ConnectionLost):
            self.give_up(exchange, error)

    def close(self) -> None:
        """Begin nothing new, finish what is open, then close."""
        if not self._gone:
            self._engine.close()
            self._read()

    def abort(self, reason: str) -> None:
        """End now; what is open fails."""
        self._fail_all(ConnectionAborted(f"the connection was given up: {reason}", reason))
        if not self._gone:
            self.transport.abort(reason)
            self._leave()

    # ── responses' side ───────────────────────────────────────────────────────

    def credit(self, exchange: Exchange, octets: int) -> None:
        """So much of a response was read."""
        self._progress(exchange, self._time())
        self._engine.consumed(exchange.number, octets)
        self._flush_soon()

    def give_up(self, exchange: Exchange, error: BaseException) -> None:
        """A request is of no use any more: only its stream ends."""
        if exchange in self._untold:
            self._untold.remove(exchange)
        elif self._open.get(exchange.number) is exchange:
            inbox = exchange.inbox
            if inbox is not None and inbox.size:
                self._engine.consumed(exchange.number, inbox.size)
            self._engine.cancel(exchange.number)
        else:
            return
        self._over(exchange, error)
        self._flush_soon()
        self._owner.connection_changed(self)

    def take_over(self, exchange: Exchange, protocol: IStreamProtocol) -> IStreamTransport:
        """Give a stream to `protocol`, after 2xx to CONNECT."""
        inbox = exchange.inbox
        if inbox is None or exchange.request.method != "CONNECT":
            raise WebUsageError("the stream is not to be taken over")
        early = inbox.take_all()
        exchange.inbox = None
        inbox.finish([])
        if early:
            exchange.held.append(early)
        stream = exchange.tunnel = StreamTransport(self, exchange.number, protocol)
        stream.begin()
        self.reading_on(exchange.number)
        return stream

    def reading_on(self, exchange: int) -> None:
        """Octets that came before, or while reading was paused."""
        opened = self._open.get(exchange)
        tunnel = None if opened is None else opened.tunnel
        if opened is None or tunnel is None:
            return
        while opened.held and tunnel.is_reading():
            data = opened.held.popleft()
            self._engine.consumed(exchange, len(data))
            tunnel.deliver(data)
        if opened.ended and not opened.held and tunnel.is_reading():
            opened.ended = False
            tunnel.deliver_eof()
        self._flush_soon()

    def left_on(self, exchange: int) -> None:
        """The protocol on a stream has heard of the end."""
        opened = self._open.get(exchange)
        if opened is not None:
            self._over(opened, None)
            self._owner.connection_changed(self)

    def call_soon(self, fn: Callable[[], object]) -> object:
        """Call it in the next turn."""
        return self._owner.clock.call_later(0, fn)

    def _sender(self) -> HTTP2ClientEngine:
        return self._engine

    # ── the transport's side ──────────────────────────────────────────────────

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands."""
        self.transport = transport
        self._engine.handle_timeout(self._time())
        self.flush()
        self._arm(self._time() + 1.0)

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._engine.handle_timeout(self._time())
        self._engine.receive_data(data)
        self._read()

    def eof_received(self) -> bool | None:
        """The server sends no more."""
        self._engine.receive_eof()
        self._lost("the server ended the connection")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        self._lost("the connection ended", exc)
        self._leave()

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self._engine.pressed = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._engine.pressed = False
        self.flush()

    def flush(self) -> None:
        """Send what the engine has queued."""
        if self._gone or self._reading or not hasattr(self, "transport"):
            return
        pieces: Any = self._engine.data_to_send()
        if pieces:
            try:
                pieces = read_files(pieces)
            except (OSError, EOFError) as error:
                # A frame's head has promised what is not there.
                close_files(pieces)
                self._fail_all(error)
                self.transport.abort("error")
                self._leave()
                return
            if len(pieces) == 1:
                self.transport.write(pieces[0])
            else:
                self.transport.writelines(pieces)
        if self._engine.roomy:
            self._wake()
        if self._engine.more and not self._engine.pressed:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing and not self._gone:
            self._flushing = True
            self.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    # ── answers ───────────────────────────────────────────────────────────────

    def _read(self) -> None:
        """Give what has come to who waits for it.

        Whoever waits may go on inside `callback` and `feed`, and do here what he
        likes: so heads are given last, when all that came is in its place.
        """
        if self._reading:
            return
        engine = self._engine
        given: list[tuple[Deferred[IncomingResponse], IncomingResponse]] = []
        now = self._time()
        changed = False
        self._reading = True
        try:
            while not isinstance(event := engine.next_event(), NoEvent):
                if isinstance(event, PeerFault) and event.exchange == CONNECTION:
                    self._fail_all(event.error)
                    continue
                exchange = self._open.get(event.exchange)
                if exchange is None:
                    if type(event) is BodyReceived:
                        engine.consumed(event.exchange, len(event.data))
                    continue
                exchange.read_by = NEVER
                if type(event) is BodyReceived:
                    self._content_came(exchange, event.data)
                elif type(event) is ResponseHead:
                    self._head_came(exchange, event, given)
                elif type(event) is BodyEnded:
                    changed = True
                    self._content_ended(exchange, event)
                elif isinstance(event, InformationalReceived):
                    self._informed(exchange, event)
                elif isinstance(event, (StreamReset, PeerFault)):
                    changed = True
                    self._over(exchange, _reason_of(event))
                self._progress(exchange, now)
        finally:
            self._reading = False
        if engine.told and self._untold:
            self._send_untold()
        self.flush()
        if event is NoEvent.CLOSED:
            self._lost("the connection was closed")
            if not self._gone:
                self.transport.close()
                self._leave()
        elif changed or (self.room > 0) is not self._had_room:
            self._had_room = self.room > 0
            self._owner.connection_changed(self)
        for waiting, response in given:
            if not waiting.called:
                waiting.callback(response)

    def _head_came(
        self,
        exchange: Exchange,
        head: ResponseHead,
        given: list[tuple[Deferred[IncomingResponse], IncomingResponse]],
    ) -> None:
        inbox = exchange.inbox = Inbox(exchange)
        if exchange.welcome is not None:
            # The final answer has come first: the content is not wanted.
            self._no_content(exchange)
        length = head.announced
        if length is None and not head.length:
            length = 0
        response = IncomingResponse(
            exchange.request, head.status, b"", b"2", head.headers, length, inbox, self.transport
        )
        waiting, exchange.waiting = exchange.waiting, None
        if waiting is not None:
            given.append((waiting, response))

    def _content_came(self, exchange: Exchange, data: bytes) -> None:
        if exchange.tunnel is not None:
            exchange.held.append(data)
            self.reading_on(exchange.number)
        elif exchange.inbox is not None:
            exchange.inbox.feed(data)
        else:
            self._engine.consumed(exchange.number, len(data))

    def _content_ended(self, exchange: Exchange, event: BodyEnded) -> None:
        inbox = exchange.inbox
        if exchange.tunnel is not None:
            exchange.ended = True
            self.reading_on(exchange.number)
            return
        exchange.inbox = None
        self.served += 1
        self._over(exchange, None)
        if inbox is not None:
            if inbox.size:
                # Its stream has ended: what is left concerns the connection's window alone.
                self._engine.consumed(exchange.number, inbox.size)
            inbox.finish(event.trailers)

    def _informed(self, exchange: Exchange, event: InformationalReceived) -> None:
        if event.status == 100 and exchange.welcome is not None:
            welcome, exchange.welcome = exchange.welcome, None
            welcome.callback(None)
        inform = exchange.request.on_informational
        if inform is not None:
            try:
                inform(event.status, event.headers)
            except Exception as error:
                self._engine.cancel(exchange.number)
                self._over(exchange, error)

    def _send_untold(self) -> None:
        """The server's settings have come: send what waited for them."""
        untold, self._untold = self._untold, []
        for exchange in untold:
            if self._engine.room <= 0:
                # It takes fewer than was supposed, or has said good-bye: another one may do.
                text = "the server takes no more requests on this connection"
                self._over(exchange, UnansweredError(text, "reset", untouched=True))
                continue
            try:
                self._send(exchange)
            except Exception as error:
                self._over(exchange, error)
            else:
                self._begin_content(exchange)

    # ── the end ───────────────────────────────────────────────────────────────

    def _over(self, exchange: Exchange, error: BaseException | None) -> None:
        """A request has ended: whole, where there is no error."""
        if self._open.pop(exchange.number, None) is None and exchange.number:
            return
        self.busy -= 1
        self._no_content(exchange)
        waiting, exchange.waiting = exchange.waiting, None
        inbox, exchange.inbox = exchange.inbox, None
        tunnel, exchange.tunnel = exchange.tunnel, None
        if error is None:
            return
        if tunnel is not None:
            lost = error if isinstance(error, ConnectionLost) else ConnectionLost(str(error))
            tunnel.lost(lost)
        if inbox is not None:
            inbox.fail(error)
        if waiting is not None and not waiting.called:
            waiting.errback(error)

    def _no_content(self, exchange: Exchange) -> None:
        """Nobody wants what the program still has to send."""
        sender, exchange.sender = exchange.sender, None
        if exchange.welcome is not None:
            exchange.welcome = None
            body = exchange.request.body
            if isinstance(body, FilePart) and body.close_file:
                body.file.close()
        if sender is not None:
            # What cancelling it comes to concerns nobody here.
            sender.add_errback(lambda _: None)
            sender.cancel()

    def _fail_all(self, error: BaseException) -> None:
        for exchange in [*self._open.values(), *self._untold]:
            self._over(exchange, error)
        self._untold.clear()

    def _lost(self, text: str, exc: Exception | None = None) -> None:
        """Nothing more will come: what is open has no answer, or half of one."""
        reason = exc.reason if isinstance(exc, ConnectionLost) else "lost"
        for exchange in [*self._open.values(), *self._untold]:
            if exchange.waiting is not None:
                error: ConnectionLost = UnansweredError(f"{text} before any answer", reason)
            else:
                error = ConnectionLost(f"{text} inside an answer", reason)
            error.__cause__ = exc
            self._over(exchange, error)
        self._untold.clear()

    def _leave(self) -> None:
        """The connection is nobody's here any more."""
        if self._gone:
            return
        self._gone = True
        self._fail_rooms(ConnectionLost("the connection has gone"))
        self._engine.release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owner.connection_gone(self)

    # ── time ──────────────────────────────────────────────────────────────────

    def _progress(self, exchange: Exchange, now: float) -> None:
        """Something came or left, or something else is awaited now."""
        timeouts = exchange.request.timeouts or self._timeouts
        number = exchange.number
        if exchange.welcome is not None:
            seconds: float | None = timeouts.expect
        elif self._engine.sending(number) or self._engine.waiting(number):
            seconds = timeouts.write
        else:
            seconds = timeouts.read
        exchange.mark = self._engine.waiting(number)
        exchange.read_by = NEVER if seconds is None else now + seconds
        self._arm(min(exchange.read_by, exchange.deadline))

    def _arm(self, when: float) -> None:
        """See to it that `_tick` is called by then; earlier does no harm."""
        if when < self._timer_at and not self._gone:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._owner.clock.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        if self._gone:
            return
        now = self._time()
        self._engine.handle_timeout(now)
        due = self._engine.next_timeout() or NEVER
        for exchange in [*self._open.values(), *self._untold]:
            if now >= exchange.deadline:
                total = (exchange.request.timeouts or self._timeouts).total or 0.0
                self._timed_out(exchange, "total", total)
            elif now >= exchange.read_by and not self._patient(exchange, now):
                continue
            else:
                due = min(due, exchange.read_by, exchange.deadline)
        self._read()
        if due != NEVER:
            self._arm(due)

    def _patient(self, exchange: Exchange, now: float) -> bool:
        """Time is up for what was awaited; whether there is a reason to wait on."""
        timeouts = exchange.request.timeouts or self._timeouts
        if exchange.tunnel is not None:
            self._progress(exchange, now)  # whoever took it over has a time of his own
            return True
        if exchange.welcome is not None:
            # The server does not know the expectation (RFC 9110 §10.1.1).
            welcome, exchange.welcome = exchange.welcome, None
            welcome.callback(None)
            self._progress(exchange, now)
            return True
        waiting = self._engine.waiting(exchange.number)
        if waiting:
            if waiting != exchange.mark:
                self._progress(exchange, now)
                return True
            self._timed_out(exchange, "write", timeouts.write or 0.0)
            return False
        inbox = exchange.inbox
        if exchange.sender is not None or (inbox is not None and inbox.size):
            # The reader is slow, or the program itself is slow to send.
            self._progress(exchange, now)
            return True
        self._timed_out(exchange, "read", timeouts.read or 0.0)
        return False

    def _timed_out(self, exchange: Exchange, phase: str, seconds: float) -> None:
        self.give_up(exchange, RequestTimeoutError(phase, seconds, repr(exchange.request)))


def _reason_of(event: StreamReset | PeerFault) -> BaseException:
    """What a request fails with that the server has given up, or spoilt."""
    if isinstance(event, PeerFault):
        return event.error
    text = f"the server gave the request up (code {event.code})"
    if isinstance(event, RequestRefused):
        return UnansweredError(text, "reset", untouched=True)
    return ConnectionAborted(text, "reset")
