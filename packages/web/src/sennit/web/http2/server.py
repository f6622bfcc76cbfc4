"""The server's side of an HTTP/2 connection: many handlers side by side, and their windows.

What takes too long the engine says itself, all but one thing: octets that the
transport does not get rid of. A connection that is asked to end says so, and
answers what it was asked (RFC 9113 §6.8).

Sources: RFC 9113 §5.2, §6.8; RFC 8441 §5. Not here: handlers and their answers
(``connection.py`` above); a stream as a transport (``tunnel.py``); files (``reading.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core._driver import FINISHING, GONE, PRESSED
from sennit.core.deferred import Deferred
from sennit.core.driver import handles
from sennit.core.engine import FilePart, PeerFault
from sennit.core.errors import ConnectionLost
from sennit.web.connection import HTTPConnection
from sennit.web.errors import WebUsageError
from sennit.web.events import BodyEnded, BodyReceived, RequestReceived, StreamReset
from sennit.web.http2.engine import HTTP2ServerEngine
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.http2.reading import read_files
from sennit.web.http2.streams import close_files
from sennit.web.http2.tunnel import Carrying, StreamTransport
from sennit.web.writing import write_progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.core.interfaces import Buffer, IDelayedCall, IStreamProtocol
    from sennit.web.answering import Upgrade
    from sennit.web.server import HTTPServer

__all__ = ["HTTP2ServerProtocol"]

LINGER = 1.0
"""Seconds for which a client that was sent away may still send, lest the good-bye be lost."""


class HTTP2ServerProtocol(
    Carrying,
    HTTPConnection[
        HTTP2ServerEngine, RequestReceived | BodyReceived | BodyEnded | StreamReset | PeerFault
    ],
):
    """One connection.

    Args:
        server: Whose connection it is.
    """

    engine: HTTP2ServerEngine
    linger = LINGER

    _held: int
    _alarm: IDelayedCall | None = None
    _progress: object = None
    _stuck_since = 0.0
    _asked_more = False

    def __init__(self, server: HTTPServer) -> None:
        limits = server.http2_limits
        if limits is None:
            times = server.timeouts
            limits = HTTP2Limits(
                head=times.head,
                idle=times.idle,
                write=times.write,
                body_grace=times.body_grace,
                body_rate=times.body_rate,
            )
        super().__init__(server, HTTP2ServerEngine(server.limits, server.dates.line, limits))
        self.max_handlers = limits.streams
        # Each stream has a window, and all have one together: that is the limit here. To stop
        # reading would keep the client's windows from us, too.
        self.max_waiting = 2 * limits.window + 64 * (limits.useless + limits.window // 1024)
        self._patience = limits.write
        self._rooms = {}
        self._tunnels: dict[int, StreamTransport] = {}
        self._readers: dict[int, Deferred[None]] = {}

    # ── what the transport calls ──────────────────────────────────────────────

    def pause_writing(self) -> None:
        self.engine.pressed = True
        super().pause_writing()
        if self._alarm is None:
            self._stuck_since = self._now()
            self._set_alarm()

    def resume_writing(self) -> None:
        self.engine.pressed = False
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        super().connection_lost(exc)

    # ── what is sent ──────────────────────────────────────────────────────────

    def _send(self, pieces: Sequence[Buffer | FilePart]) -> None:
        for piece in pieces:
            if type(piece) is FilePart:
                try:
                    # One copy more costs less than two writes for each frame.
                    pieces = (b"".join(read_files(pieces)),)
                except (OSError, EOFError) as error:
                    # The frame's head has promised them.
                    close_files(pieces)
                    self._broken(error, "reading a file")
                    return
                break
        super()._send(pieces)
        engine = self.engine
        if engine.roomy:
            self._wake()
        if engine.more and not self._asked_more and not self._held & (PRESSED | GONE):
            self._asked_more = True
            self._find_clock().call_soon(self._send_more)

    def _send_more(self) -> None:
        """The next burst of content, now that others had their turn."""
        self._asked_more = False
        if not self._held & (PRESSED | GONE | FINISHING):
            self.proceed()

    def room(self, exchange: int) -> Awaitable[None]:
        """Send what is queued, then wait until that answer may have more content.

        Fails with `ConnectionLost` when the connection ends first.
        """
        self.flush()
        return self.when_roomy(exchange) or self.writable()

    def _fail_writers(self, error: ConnectionLost) -> None:
        self._fail_rooms(error)
        super()._fail_writers(error)

    def consumed(self, event: Any) -> None:
        """Content was taken by its handler, or dropped: the client may send as much again."""
        if type(event) is BodyReceived:
            self.engine.consumed(event.exchange, len(event.data))

    # ── streams ───────────────────────────────────────────────────────────────

    @handles(StreamReset)
    def forget_request(self, event: StreamReset) -> None:
        """The client has given a request up; its handler, cancelled, may not have begun."""
        self._forget_unbegun(event.exchange)

    @handles(PeerFault)
    def note_fault(self, event: PeerFault) -> None:
        super().note_fault(event)
        self._forget_unbegun(event.exchange)

    def _change_over(self, head: RequestReceived, answer: Upgrade) -> Any:
        """Give the protocol a transport over this one stream, which is the exchange's handler."""
        status = 200 if answer.status == 101 else answer.status
        if head.method != b"CONNECT" or not 200 <= status <= 299:
            raise WebUsageError("in HTTP/2 a stream is given away by 2xx to CONNECT alone")
        headers = [each for each in answer.headers if each[0] != b"sec-websocket-accept"]
        if self._server.headers:
            headers = self.with_defaults(headers)
        self.engine.send_response(head.exchange, status, headers, None)
        if self._log is not None:
            self._log.request(self, head, status, 0)
        return self._carry(head, answer.protocol)

    async def _carry(self, head: RequestReceived, protocol: IStreamProtocol) -> None:
        """Be the connection that a protocol thinks it has, for as long as it wants it."""
        stream = self._tunnels[head.exchange] = StreamTransport(self, head.exchange, protocol)
        body = self.body(head)
        error: ConnectionLost | None = ConnectionLost("the stream was reset", "reset")
        try:
            stream.begin()
            async for chunk in body:
                while not stream.is_reading() and not stream.is_closing():
                    await self._until_reading(head.exchange)
                stream.deliver(bytes(chunk))
            while not stream.is_reading() and not stream.is_closing():
                await self._until_reading(head.exchange)
            stream.deliver_eof()
            # Our side goes on until the protocol closes it, which ends this by cancelling it.
            await Deferred()
        except ConnectionLost as lost:
            error = lost
            raise
        finally:
            del self._tunnels[head.exchange]
            self._readers.pop(head.exchange, None)
            stream.lost(self._lost or error)

    def drain(self) -> None:
        """Say so, answer what was asked, and have the protocols on streams do likewise."""
        super().drain()
        for stream in list(self._tunnels.values()):
            drain: Callable[[], object] = getattr(stream.get_protocol(), "drain", stream.close)
            drain()

    def _until_reading(self, exchange: int) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._readers[exchange] = waiter
        return waiter

    # ── what carries a stream that was given away ─────────────────────────────

    def _sender(self) -> HTTP2ServerEngine:
        return self.engine

    def reading_on(self, exchange: int) -> None:
        """Its protocol reads again."""
        waiter = self._readers.pop(exchange, None)
        if waiter is not None and not waiter.fired:
            waiter.callback(None)

    def left_on(self, exchange: int) -> None:
        """Its protocol has heard of the end: so that of its exchange has come."""
        handler = self._open.get(exchange)
        if handler is not None and handler.begun:
            self._cancel(handler)

    def call_soon(self, fn: Callable[[], object]) -> object:
        """Call it in the next turn."""
        return self._find_clock().call_soon(fn)

    def _flush_soon(self) -> None:
        """Let leave what was queued, with what else is queued in this turn of the loop."""
        if not self._asked_more and not self._turning:
            self._asked_more = True
            self._find_clock().call_soon(self._send_more)

    # ── time ──────────────────────────────────────────────────────────────────

    def _set_alarm(self) -> None:
        self._alarm = self._find_clock().call_at(self._now() + self._patience / 12, self._ring)

    def _ring(self) -> None:
        """While the transport is full: see whether anything leaves at all."""
        self._alarm = None
        if self._held & GONE or not self._held & PRESSED:
            return
        now = self._now()
        progress = write_progress(self.transport)
        if progress != self._progress:
            self._progress = progress
            self._stuck_since = now
        elif now - self._stuck_since >= self._patience:
            self._abort("timeout")
            return
        self._set_alarm()
