"""The server's side of an HTTP/1.1 connection: its time limits, its end, what it changes to.

Time limits are kept by one timer per connection that is set anew only when it has
come: a request on a kept connection writes down when it came, nothing more. What
is limited: the time for a whole head, however its octets dribble; the rate of
content; the time without progress of what is sent; the time between two requests
(HARDENING h1-9 to h1-11).

A connection that ends while the client still sends is closed in two steps, so
that the client can read the last answer before it learns of the end (RFC 9112
§9.6). One that is asked to end answers one more request, since the client may be
sending it at that very moment, having had an answer that did not say that the
connection ends.

Sources: RFC 9110 §7.8, §9.3.6, §15.5.9; RFC 9112 §9; RFC 9113 §3.3. Not here:
handlers and their answers (``connection.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core._driver import BLOCKED, EOF, FINISHING, GONE, PRESSED
from sennit.core.driver import handles
from sennit.core.engine import PeerFault
from sennit.web.connection import HTTPConnection
from sennit.web.errors import WebUsageError
from sennit.web.events import BodyEnded, BodyReceived, HTTP2Offered, RequestReceived
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.writing import write_progress

if TYPE_CHECKING:
    from sennit.core.errors import ConnectionLost
    from sennit.core.interfaces import IDelayedCall
    from sennit.web.answering import Upgrade
    from sennit.web.server import HTTPServer

__all__ = ["GRACE", "LINGER", "HTTP1ServerProtocol", "speaks_http2"]

LINGER: Final = 2.0
"""Seconds that a client has to take the last answer while it still sends."""
GRACE: Final = 1.0
"""Seconds for which a connection that is asked to end waits for one more request, once the
client has taken all that was answered."""


class HTTP1ServerProtocol(
    HTTPConnection[
        HTTP1ServerEngine, RequestReceived | BodyReceived | BodyEnded | HTTP2Offered | PeerFault
    ]
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
    _grace = False  # asked to end, and waiting for one more request
    _rest: object = None  # what it was like when that was looked at last
    _stuck_since = 0.0  # when what is to be sent was seen not to move; 0 for not at all
    _progress: object = None

    def __init__(self, server: HTTPServer) -> None:
        engine = server.engine(server.limits, server.dates.line, offer_http2=server.http2)
        super().__init__(server, engine)

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._server.http2 and speaks_http2(transport):
            self._held |= GONE
            self._begin_http2()
            return
        times = self._timeouts
        # Once the request has come it is to be in time for the end of the rest after it.
        self._set_alarm(self._find_clock().time() + min(times.head, times.idle))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.engine.at_rest:
            self._watch()

    def _turn(self) -> None:
        super()._turn()
        # A request that waited behind another may lack some of its content.
        if not self._held & GONE and not self.engine.at_rest:
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
        self._silence()
        super().connection_lost(exc)

    def _given_away(self, error: ConnectionLost) -> None:
        self._silence()
        super()._given_away(error)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # ── changing over ─────────────────────────────────────────────────────────

    def _change_over(self, head: RequestReceived, answer: Upgrade) -> None:
        headers = list(answer.headers)
        if answer.status == 101:
            if head.upgrade is None or head.length:
                raise WebUsageError("101 answers a request without content that asks for it")
            if answer.header("upgrade") is None:
                headers.append((b"upgrade", head.upgrade))
            headers.append((b"connection", b"upgrade"))
        elif head.method != b"CONNECT" or not 200 <= answer.status <= 299:
            raise WebUsageError(f"{answer.status} changes nothing over: 101, or 2xx to CONNECT")
        if self._server.headers:
            headers = self.with_defaults(headers)
        self.engine.send_response(head.exchange, answer.status, headers, reason=answer.reason)
        if self._log is not None:
            self._log.request(self, head, answer.status, 0)
        self.switch_protocol(answer.protocol)

    @handles(HTTP2Offered)
    def change_to_http2(self, event: HTTP2Offered) -> None:
        """The connection begins with the preface of HTTP/2 (RFC 9113 §3.3)."""
        from sennit.web.http2.server import HTTP2ServerProtocol

        self.switch_protocol(HTTP2ServerProtocol(self._server))

    def _begin_http2(self) -> None:
        """TLS has agreed on HTTP/2 (RFC 9113 §3.2)."""
        from sennit.web.http2.server import HTTP2ServerProtocol

        protocol = HTTP2ServerProtocol(self._server)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)

    # ── the end ───────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Finish what is under way, answer one more request, then close (`IDrainable`)."""
        if self._draining or self._held & (GONE | FINISHING):
            return
        self._draining = self._grace = True
        self.engine.close_after_next()
        self._rest = self._at_rest()
        self._set_alarm(self._now() + GRACE)
        self.proceed()

    def _at_rest(self) -> object:
        """A value that stays the same while nothing happens; ``None`` while something does."""
        transport = self.transport
        if (
            not self.engine.at_rest
            or self._open
            or self._held & PRESSED
            or transport.get_write_buffer_size()
        ):
            return None
        # A client cannot ask before it has what was answered: the kernel may hold much of it.
        return self._began, write_progress(transport)

    def _end_grace(self) -> bool:
        """Asked to end: do it, if nothing has happened since the last look; whether it did."""
        rest = self._at_rest()
        if rest is None or rest != self._rest:
            self._rest = rest
            return False
        self._grace = False
        self.engine.close()
        self.proceed()
        return True

    def _finish(self) -> None:
        engine = self.engine
        if self._held & (GONE | FINISHING):
            return
        if engine.cut:
            self._held |= FINISHING
            self._leave()
            self._abort("error")
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
            self._abort("clean")
            return
        if self._held & GONE:
            return
        grace = self._grace and not self._held & FINISHING
        if grace and self._end_grace():
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
            self._set_alarm(min(due, now + (GRACE if grace else self._timeouts.idle)))

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
            self._abort("timeout")
            return
        engine = self.engine
        if engine.content_awaited:
            engine.refuse(408, "the content comes too slowly", "RFC 9110 §15.5.9")
        elif engine.request_line_seen:
            engine.refuse(408, "the head comes too slowly", "RFC 9110 §15.5.9")
        else:
            self._out.close("timeout" if self._first or engine.head_begun else "idle")
            return
        self.proceed()


def speaks_http2(transport: Any) -> bool:
    """Whether ALPN agreed on HTTP/2 (RFC 7301). (`Any`: it may be asyncio's own.)"""
    agreed: str | None = getattr(transport, "alpn_protocol", None)
    if agreed is None:
        inside = transport.get_extra_info("ssl_object")
        agreed = None if inside is None else inside.selected_alpn_protocol()
    return agreed == "h2"
