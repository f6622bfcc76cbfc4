"""`WebSocketProtocol`: a WebSocket engine on a transport, for who would rather have calls.

It is the same on either side. Derive from it and say what to do with a message::

    class Echo(WebSocketProtocol):
        def message_received(self, data):
            self.send(data)

No Task and no queue stands between the octets and that method, which makes it the
cheapest way there is. While the peer does not take what was sent, nothing more is read
from it, so that a method which answers cannot be made to answer without end. `WebSocket`
(``websocket.py``) is the same with ``await``.

Kept here, by one timer per connection that is set anew only when it has come: pings
that show whether the peer is still there, and the time that it has for any sign of
life after one; the time for its Close frame after ours, and for the end of the
connection; the time without progress of what is sent. A peer that is not read,
because messages wait, is not blamed for its silence.

Sources: RFC 6455 §5.5.2, §7. Not here: the handshake (``handshake.py``), what one
class needs that is given to a handler (``websocket.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core._driver import FINISHING, GONE, PRESSED
from sennit.core.driver import EngineProtocol, handles
from sennit.web.websocket.conversation import Conversation
from sennit.web.websocket.events import (
    Event,
    MessageReceived,
    Opened,
    PeerClosed,
    PeerFault,
    PieceReceived,
    PongReceived,
)
from sennit.web.websocket.limits import WebSocketTimeouts
from sennit.web.writing import write_progress

if TYPE_CHECKING:
    from sennit.core._driver import Clock
    from sennit.core.interfaces import Buffer, IDelayedCall

__all__ = ["WebSocketProtocol"]


class WebSocketProtocol(EngineProtocol[Conversation, Event]):
    """One WebSocket, told by calls. Override `opened`, `message_received`, `closed`.

    Args:
        engine: A fresh engine of the side that this is.
        timeouts: How long the peer may take.
        subprotocol: What was agreed on.
        clock: Tells the time and calls back; the transport's reactor by default.

    Attributes:
        subprotocol: As given.
        timeouts: As given.
    """

    # A peer that is told why shall be able to read it (RFC 6455 §7.1.1).
    linger = 2.0

    _alarm: IDelayedCall | None = None
    _alarm_at = float("inf")
    _heard = False  # octets came since the last ping
    _next_ping = 0.0
    _pinged_at = 0.0  # when a ping left that nothing was heard after; 0 for none
    _close_by = 0.0  # when the connection has to be over; 0 before a Close frame was sent
    _stuck_since = 0.0  # when what is to be sent was seen not to move; 0 for not at all
    _progress: object = None

    def __init__(
        self,
        engine: Conversation,
        *,
        timeouts: WebSocketTimeouts | None = None,
        subprotocol: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(engine, clock=clock)
        self.max_waiting = engine.limits.waiting
        self.timeouts = timeouts or WebSocketTimeouts()
        self.subprotocol = subprotocol

    # ── what to override ──────────────────────────────────────────────────────

    def opened(self) -> Any:
        """The WebSocket is open.

        Returns:
            Nothing; or a coroutine or Deferred, which is then the connection's handler:
            cancelled when the connection goes. (`Any`: as the driver has it.)
        """

    def message_received(self, data: Any) -> None:
        """A message has come, or, where they are read by pieces, some of one.

        Args:
            data: `str` or `bytes`. (`Any`: a protocol may know which.)
        """

    def message_ended(self) -> None:
        """Where messages are read by pieces: the message has come whole."""

    def closed(self, code: int, reason: str) -> None:
        """Nothing more comes, and nothing can be sent; called once.

        Args:
            code: The peer's code; 1005 when it gave none, 1006 when it went without a
                Close frame; the code that it was told when it broke a rule.
            reason: What it said.
        """

    # ── verbs ─────────────────────────────────────────────────────────────────

    def send(self, data: str | Buffer) -> bool:
        """Send a whole message, `str` as text and octets as binary.

        Returns:
            Whether the peer keeps up. False: the transport is above its mark; whoever
            produces more should wait for `writable`.

        Raises:
            WebSocketClosedError: The WebSocket is closed or closing.
            WebUsageError: Another message is being sent in fragments.
        """
        self.engine.send_message(data)
        if not self._turning:
            self.flush()
        return not self._held & PRESSED

    def send_ping(self, payload: bytes = b"") -> None:
        """Send a ping; `pong_received` is called with its payload, if the peer is there."""
        self.engine.ping(payload)
        if not self._turning:
            self.flush()

    def say_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Say good-bye, once; the peer has `WebSocketTimeouts.close` seconds to answer.

        Raises:
            ValueError: No such code may be sent, or the reason is too long.
        """
        self.engine.close(code, reason)
        if not self._turning:
            self.proceed()
        self._expect_end()

    def pong_received(self, payload: bytes) -> None:
        """A pong has come, asked for or not."""

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return bool(self.transport.get_extra_info("cipher"))

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        interval = self.timeouts.ping_interval
        if interval is not None:
            self._next_ping = self._time() + interval
            self._set_alarm(self._next_ping)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.engine.quiet = True
        self._stuck_since = 0.0
        if self.timeouts.write is not None:
            self._ring_by(self._time() + self.timeouts.write / 4)

    def resume_writing(self) -> None:
        self.engine.quiet = False
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence()
        first = self.engine.close_code is None
        if first:
            self.engine.note_loss()
        super().connection_lost(exc)
        if first:
            self._over()

    def _given_away(self, error: Any) -> None:
        self._silence()
        super()._given_away(error)

    # ── events ────────────────────────────────────────────────────────────────

    @handles(Opened)
    def begin(self, event: Opened) -> Any:
        """The first event. (`Any`: as the driver has it.)"""
        return self.opened()

    @handles(MessageReceived)
    def take_message(self, event: MessageReceived) -> None:
        """A whole message."""
        self.message_received(event.data)

    @handles(PieceReceived)
    def take_piece(self, event: PieceReceived) -> None:
        """Some of a message."""
        if event.data or not event.ended:
            self.message_received(event.data)
        if event.ended:
            self.message_ended()

    @handles(PongReceived)
    def take_pong(self, event: PongReceived) -> None:
        """A pong."""
        self.pong_received(event.payload)

    @handles(PeerClosed)
    def take_close(self, event: PeerClosed) -> None:
        """The peer says good-bye, or has gone."""
        self._expect_end()
        self._over()

    @handles(PeerFault)
    def take_fault(self, event: PeerFault) -> None:
        """The peer broke a rule; the driver deals with the rest."""
        self._expect_end()
        self._over()

    def _over(self) -> None:
        code = self.engine.close_code
        self.closed(1006 if code is None else code, self.engine.close_reason)

    # ── the end ───────────────────────────────────────────────────────────────

    def internal_error(self, exchange: int) -> None:
        super().internal_error(exchange)
        self._expect_end()

    def drain(self) -> None:
        """Say that this side goes away (1001), and close when the peer has answered."""
        super().drain()
        self._expect_end()

    def timed_out(self, reason: str = "timeout") -> None:
        """A policy around this protocol has run out of patience."""
        if not self._held & (GONE | FINISHING):
            self.engine.close(1001)
        super().timed_out(reason)

    def _expect_end(self) -> None:
        """A Close frame has left: from here on the end is a matter of seconds."""
        if not self._close_by and not self._held & GONE:
            self._close_by = self._time() + self.timeouts.close
            self._ring_by(self._close_by)

    # ── time ──────────────────────────────────────────────────────────────────

    def _ring_by(self, when: float) -> None:
        if when < self._alarm_at:
            self._set_alarm(when)

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._find_clock().call_at(when, self._ring)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        """The timer has come: see what is due, and when to look again."""
        self._alarm = None
        self._alarm_at = float("inf")
        if self._held & GONE:
            return
        now = self._time()
        if self._close_by:
            if now >= self._close_by:
                self._abort("timeout")
                return
            self._set_alarm(self._close_by)
        if self._is_stuck(now):
            self._abort("timeout")
            return
        if not self._close_by:
            self._keep_alive(now)

    def _is_stuck(self, now: float) -> bool:
        """Whether what is sent has not moved for too long; else look again in time."""
        limit = self.timeouts.write
        if limit is None or not self._held & PRESSED:
            return False
        progress = write_progress(self.transport)
        if not self._stuck_since or progress != self._progress:
            self._progress = progress
            self._stuck_since = now
        elif now - self._stuck_since >= limit:
            return True
        self._ring_by(now + limit / 12)
        return False

    def _keep_alive(self, now: float) -> None:
        interval, patience = self.timeouts.ping_interval, self.timeouts.ping_timeout
        if interval is None:
            return
        if self._heard or self._reading_paused:
            self._pinged_at = 0.0
        if self._pinged_at and patience is not None:
            due = self._pinged_at + patience
            if now >= due:
                self.engine.close(1011, "no sign of life")
                self.flush()
                self._abort("timeout")
                return
            self._ring_by(due)
            return
        if now >= self._next_ping:
            self._next_ping = now + interval
            if not self._held & PRESSED:
                self._heard = False
                self._pinged_at = now
                self.send_ping()
                if patience is not None:
                    self._ring_by(now + patience)
        self._ring_by(self._next_ping)
