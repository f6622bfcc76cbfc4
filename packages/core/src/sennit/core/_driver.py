"""What both sides' drivers share: an engine on a transport.

Octets in and out, file parts, waiting for room, the one timer, pausing of
reading, the end. Who pulls the events, and what becomes of them, stands in
``driver.py`` (servers) and ``client_driver.py`` (clients).
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, FilePart, Untimed
from sennit.core.errors import ConnectionDone, ConnectionLost
from sennit.core.transport.flow import READY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from contextvars import Context
    from typing import Protocol

    from sennit.core.deferred import Deferred
    from sennit.core.engine import Engine
    from sennit.core.interfaces import Buffer, IDelayedCall, IStreamTransport

    class Clock(Protocol):
        """What the driver asks of a reactor or an asyncio loop."""

        def time(self) -> float: ...
        def call_at(
            self, when: float, callback: Callable[..., object], /, *args: Any
        ) -> IDelayedCall: ...
        def call_soon(
            self,
            callback: Callable[..., object],
            /,
            *args: Any,
            context: Context | None = None,
        ) -> object: ...


__all__ = ["Driver", "has_timers"]

# `Any`: what an engine emits is its own affair; the driver passes it through.
EngineT = TypeVar("EngineT", bound="Engine[Any]")
P = ParamSpec("P")

# Why a turn is not as simple as can be; zero is the common case.
TIMED: Final = 1  # the engine has timers
STALLED: Final = 2  # the engine said PAUSED
PRESSED: Final = 4  # the transport is above its mark
LATER: Final = 8  # the next turn is asked for already
SUSPENDED: Final = 16  # between two engines, or in a handshake
FINISHING: Final = 32  # the engine has said CLOSED; some handlers have not ended
GONE: Final = 64  # the connection has gone, or belongs to another protocol
EOF: Final = 128  # the peer sends no more
BLOCKED: Final = PRESSED | LATER | SUSPENDED | FINISHING | GONE


_new_piece: Any = None  # `FilePiece`, once one was needed

LONGEST_BURST: Final = 16
"""Times that `writable` is free before it lets the loop turn once."""


class _Yield:
    """An awaitable that takes one turn of the loop."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


YIELD: Final = _Yield()


class Driver(Generic[EngineT]):
    """An engine on whatever transport turns up.

    Args:
        engine: A fresh engine, from now on this object's own.
        clock: Tells the time and calls back: a reactor or asyncio loop. Found by
            the transport, or the running one, when left out.

    Attributes:
        engine: The engine.
        transport: The transport, from `connection_made` on.
        max_waiting: Octets that may wait for handlers, or in the engine behind an
            open command, before reading pauses.
        max_parse: Octets given to the engine per turn of the loop.
        max_events: Events taken from the engine per turn of the loop.
        linger: Seconds for which, after the last answer, octets that the peer still
            sends are read and thrown away, unless it closes first. Closing with octets
            unread resets the connection, which may destroy that answer on its way
            (RFC 9112 §9.6). Zero: close at once.
    """

    max_waiting: int = 64 * 1024
    max_parse: int = 256 * 1024
    max_events: int = 64
    linger: float = 0.0

    engine: EngineT
    transport: IStreamTransport

    _blocked = BLOCKED  # what keeps it from taking events
    _held = 0
    _turning: int = False  # in a turn: one, and one for every event taken ahead in it
    _waiting: int = 0  # octets in inboxes
    _backlog: int = 0  # octets received while the engine was stalled
    _reading_paused = False
    _unparsed: bytes = b""
    _writers: list[Deferred[None]] | None = None
    _clock: Clock | None = None
    _timer: IDelayedCall | None = None
    _timer_at = 0.0
    _context: Context | None = None
    _lost: ConnectionLost | None = None
    _draining = False
    _stays = False  # given away; who has the connection now goes on without more input
    _burst = 0
    _out: Any = None  # the transport, or what stands in for the methods it lacks

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        self.engine = engine
        # What is read per event stands in the object: Python finds it faster there.
        self._most = self.max_parse
        self._held = 0
        self._turning = False
        self._out = None
        if clock is not None:
            self._clock = clock
        if has_timers(engine):
            self._held = TIMED

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """The connection stands. (`Any`: it may be asyncio's own.)"""
        self.transport = transport
        if hasattr(transport, "sendfile"):
            self._out = transport
        else:
            from sennit.core._foreign_out import ForeignOut

            self._out = ForeignOut(transport)
        if self._held & TIMED:
            self.engine.handle_timeout(self._time())
        self._turn()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        if self._held or len(data) > self._most:
            self._receive_slowly(data)
        else:
            self.engine.receive_data(data)
            self._turn()

    def eof_received(self) -> bool:
        """The peer sends no more; what is open will still be answered."""
        held = self._held
        self._held = held | EOF
        if held & GONE:
            return False
        if held & FINISHING:
            if self._idle():
                self._close()
            return True
        if not self._unparsed:
            try:
                self.engine.receive_eof()
            except Exception as error:
                self._engine_failed(error)
                return False
            self._proceed()
        if self._out is not self.transport and self.transport.get_extra_info("sslcontext"):
            return False  # asyncio's TLS cannot keep its way out open, and warns
        return self._stays or not self._held & GONE

    def pause_writing(self) -> None:
        """Too much waits to be sent: no event is taken from the engine until there is room."""
        self._held |= PRESSED
        if self._out is not self.transport:
            self._out.pause()
        if not self._turning:
            self._watch_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        out = self._out
        if out is not self.transport and not out.resume():
            return
        self._held &= ~PRESSED
        writers, self._writers = self._writers, None
        if writers:
            for writer in writers:
                writer.callback(None)
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        if self._held & GONE:
            return
        if isinstance(exc, ConnectionLost):
            error = exc
        elif exc is None:
            error = ConnectionDone()
        else:
            error = ConnectionLost(str(exc), "reset")
            error.__cause__ = exc
        self._lost = error
        self._held |= GONE
        self._leave()
        if self._out is not self.transport:
            self._out.lost(error)
        try:
            unsent = self.engine.data_to_send()
        except Exception as failure:
            # Handlers learn of the end all the same.
            self._report(failure, type(self.engine).__qualname__)
            unsent = ()
        for piece in unsent:
            if type(piece) is FilePart:
                _done_with(piece)
        self._fail_writers(error)
        self._went(error)

    def _fail_writers(self, error: ConnectionLost) -> None:
        writers, self._writers = self._writers, None
        for writer in writers or ():
            writer.errback(error)

    def _leave(self) -> None:
        """No more turns."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._unparsed = b""

    # ── turns ─────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        """Take events from the engine until there are none, then send (each side its own way)."""
        raise TypeError("a driver pulls its engine's events")  # pragma: no cover

    def _went(self, error: ConnectionLost) -> None:
        """The connection has gone: end what depends on it."""

    def _idle(self) -> bool:
        """Whether nothing is open that an answer may still come of."""
        return True

    def _receive_slowly(self, data: bytes) -> None:
        """`data_received`, when something is not as usual."""
        held = self._held
        if held & (GONE | FINISHING):
            return
        if self._unparsed:
            self._unparsed += data
            return
        if len(data) > self.max_parse:
            self._unparsed = data[self.max_parse :]
            data = data[: self.max_parse]
        try:
            if held & TIMED:
                self.engine.handle_timeout(self._time())
            self.engine.receive_data(data)
        except Exception as error:
            self._engine_failed(error)
            return
        if held & (STALLED | self._blocked):
            self._backlog += len(data)
        self._proceed_here()
        if self._unparsed and not self._held & (LATER | GONE):
            self._ask_for_turn()

    def _proceed_here(self) -> None:
        """A turn if one may be taken now; in any case look whether to go on reading."""
        if self._turning:
            return
        if self._held & self._blocked:
            self._watch_reading()
        else:
            self._turn()

    def _proceed(self) -> None:
        """The same, from wherever: handlers are started in the connection's own context."""
        context = self._context
        if context is None:
            self._proceed_here()
        elif not self._turning:
            context.copy().run(self._proceed_here)

    def proceed(self) -> None:
        """Go on, after the engine was told something from outside a handler.

        Sends what it has to send, and takes the events that this made possible.
        """
        try:
            self.flush()
        except Exception as error:
            self._engine_failed(error)
        else:
            self._proceed()

    def _ask_for_turn(self) -> None:
        """Enough for this turn of the loop: others want theirs."""
        self._held |= LATER
        self._watch_reading()
        context = self._context
        if context is None:
            self._find_clock().call_soon(self._next_turn)
        else:
            self._find_clock().call_soon(self._next_turn, context=context.copy())

    def _next_turn(self) -> None:
        self._held &= ~LATER
        if self._held & (GONE | FINISHING):
            return
        rest = self._unparsed
        if rest and not self._held & self._blocked:
            self._unparsed = b""
            try:
                self.engine.receive_data(rest[: self.max_parse])
                self._unparsed = rest[self.max_parse :]
                if not self._unparsed and self._held & EOF:
                    self.engine.receive_eof()
            except Exception as error:
                self._engine_failed(error)
                return
        self._proceed_here()
        if self._unparsed and not self._held & (LATER | GONE):
            self._ask_for_turn()

    def _after(self, event: object) -> None:
        """The end of a turn that ended in something else than a plain `NEED_DATA`."""
        held = self._held
        if held & GONE:
            return
        if event is CLOSED:
            self._finish()
            return
        if event is PAUSED:
            self._held |= STALLED
        elif event is NEED_DATA:
            if held & STALLED:
                self._held &= ~STALLED
            if not held & self._blocked:
                self._backlog = 0
            if held & EOF and not self._unparsed and self._idle():
                # Nothing was asked that is not answered, and nothing will be.
                self._finish()
                return
        if held & TIMED:
            self._rearm()
        self._watch_reading()

    def _finish(self) -> None:
        """The engine has closed: send the rest and go, once the handlers have ended."""
        if self._held & (GONE | FINISHING):
            return
        self._held |= FINISHING
        self._leave()
        if self._idle():
            self._part()
            return
        if self._out.can_write_eof():
            # The peer need not wait for what handlers do after their answer.
            self._out.write_eof()
        self._watch_reading()

    def _handlers_ended(self) -> None:
        """The last handler has: go, if that was what we waited for."""
        if self._held & FINISHING and not self._held & GONE:
            self._part()

    def _part(self) -> None:
        """Close, or let the peer close first."""
        if self._timer is not None:
            return  # the end of the last handler led here already
        if self.linger <= 0 or self._held & EOF or not self._out.can_write_eof():
            self._close()
            return
        self._out.write_eof()
        self._watch_reading()
        self._timer = self._find_clock().call_at(self._time() + self.linger, self._close)

    def _close(self) -> None:
        self._out.close("drained" if self._draining else "clean")

    def _watch_reading(self) -> None:
        """Pause or resume reading, as what waits demands."""
        held = self._held
        if held & (GONE | SUSPENDED):
            return
        most = self.max_waiting
        pause = (
            held & (PRESSED | LATER) & self._blocked != 0
            or self._waiting > (most >> 1 if self._reading_paused else most)
            or (held & (STALLED | self._blocked) != 0 and self._backlog > most)
        ) and not held & FINISHING
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _taken(self, event: object, weight: int) -> None:
        """An inbox has been relieved of an event (called by the inbox)."""
        self._waiting -= weight
        if self._reading_paused and not self._turning:
            self._watch_reading()

    def _awaited(self) -> None:
        """A handler waits for events (called by the inbox): send what it said before.

        An engine that has paused until it was told that may have the events already, out
        of octets that the peer did not hold back for as long as it ought to have.
        """
        self.flush()
        if self._held & STALLED:
            self._proceed()

    # ── sending ───────────────────────────────────────────────────────────────

    def flush(self) -> None:
        """Send what the engine has to send.

        Done by itself after a handler has ended and whenever one waits for
        something of the driver's. Call it when a handler wants its octets to
        leave while it waits for something else.
        """
        pieces = self.engine.data_to_send()
        if pieces:
            self._send(pieces)
        if self._held & TIMED and not self._held & (GONE | FINISHING):
            self._rearm()

    def push(self, send: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Send what nobody asked for: call a method of the engine, then send.

        Args:
            send: Queues something in the engine, such as ``self.engine.send_exists``.
            args: For `send`.
            kwargs: For `send`.

        Returns:
            Whether the peer keeps up. False: the transport is above its mark, or
            the connection is over (then `send` was not called).
        """
        if self._held & (GONE | FINISHING):
            return False
        send(*args, **kwargs)
        self.flush()
        return not self._held & (PRESSED | GONE | FINISHING)

    def _send(self, pieces: Sequence[Buffer | FilePart]) -> None:
        if self._held & (GONE | FINISHING):
            for piece in pieces:
                if type(piece) is FilePart:
                    _done_with(piece)
            return
        for piece in pieces:
            if type(piece) is FilePart:
                break
        else:
            if len(pieces) == 1:
                self._out.write(pieces[0])
            else:
                self._out.writelines(pieces)
            return
        for piece in pieces:
            if type(piece) is FilePart:
                self._send_file(piece)
            else:
                self._out.write(piece)

    def _send_file(self, part: FilePart) -> None:
        if part.length == 0:
            _done_with(part)
            return

        def over(outcome: int | BaseException) -> None:
            _done_with(part)
            if isinstance(outcome, int):
                if outcome < part.length:
                    error = EOFError(f"{part!r} ended after {outcome} octets")
                    self._broken(error, "sending a file")
            elif not isinstance(outcome, ConnectionLost):
                self._broken(outcome, "sending a file")

        send_piece = getattr(self._out, "send_piece", None)
        if send_piece is None:
            self._out.sendfile(part.file, part.offset, part.length).add_callbacks(over, over)
            return
        global _new_piece
        if _new_piece is None:
            from sennit.core.transport.filepiece import FilePiece

            _new_piece = FilePiece
        send_piece(_new_piece(part.file, part.offset, part.length, over))

    def writable(self) -> Awaitable[None]:
        """Send what the engine has, then wait for room; free when there is some.

        Fails with `ConnectionLost` when the connection ends first.
        """
        self.flush()
        if not self._held & (PRESSED | GONE):
            self._burst += 1
            if self._burst < LONGEST_BURST:
                return READY
            # A peer that reads as fast as one writes must not keep the loop.
            self._burst = 0
            return YIELD
        from sennit.core.deferred import Deferred, fail

        if self._held & GONE:
            return fail(self._lost or ConnectionDone())
        writer: Deferred[None] = Deferred(self._forget_writer)
        if self._writers is None:
            self._writers = []
        self._writers.append(writer)
        return writer

    def _forget_writer(self, writer: Deferred[None]) -> None:
        if self._writers and writer in self._writers:
            self._writers.remove(writer)

    # ── time ──────────────────────────────────────────────────────────────────

    def _find_clock(self) -> Clock:
        clock = self._clock
        if clock is None:
            clock = self.transport.get_extra_info("reactor")
            if clock is None:
                from sennit.core.reactor.base import current_loop

                clock = current_loop()
            self._clock = clock
        return clock

    def _time(self) -> float:
        return self._find_clock().time()

    def _rearm(self) -> None:
        """One timer, armed anew only when it would come too late."""
        when = self.engine.next_timeout()
        if when is None or (self._timer is not None and self._timer_at <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._find_clock().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._held & (GONE | FINISHING):
            return
        try:
            when = self.engine.next_timeout()
            if when is not None and when <= (now := self._time()):
                self.engine.handle_timeout(now)
                self.flush()
                self._proceed()
            if not self._held & (GONE | FINISHING):
                self._rearm()
        except Exception as error:
            self._engine_failed(error)

    # ── the end ───────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Finish what is under way, begin nothing new, then close (`IDrainable`)."""
        if self._draining or self._held & (GONE | FINISHING):
            return
        self._draining = True
        try:
            self.engine.close()
        except Exception as error:
            self._engine_failed(error)
        else:
            # Before the connection stands there is nothing to go on with; `connection_made` does.
            if self._out is not None:
                self.proceed()

    def timed_out(self, reason: str = "timeout") -> None:
        """A policy around this protocol has run out of patience (idle, or in total).

        Closes the connection with that reason; a protocol that has words for it
        says them first.

        Args:
            reason: The close reason, such as ``idle`` or ``timeout``.
        """
        self.flush()
        if not self._held & GONE:
            self._out.close(reason)

    def _broken(self, error: BaseException, where: str) -> None:
        """This side has failed in a way that only the connection's end can tell."""
        self._report(error, where)
        self._abort("error")

    def _engine_failed(self, error: BaseException) -> None:
        """The engine has raised, where it must not: a bug, which costs this connection."""
        self._broken(error, type(self.engine).__qualname__)

    def _abort(self, reason: str) -> None:
        if self._held & GONE:
            return
        if self._out is self.transport:
            self.transport.abort(reason)
        else:
            self.transport.abort()  # asyncio's takes no reason

    def _report(self, error: BaseException, where: str) -> None:
        from sennit.core._faultlog import log_bug

        log_bug(type(self).__qualname__, self._peer(), where, error)

    def _peer(self) -> object:
        transport = getattr(self, "transport", None)
        if transport is None:
            return "nobody yet"
        peer = getattr(transport, "peer", None) or transport.get_extra_info("peername")
        return "a peer without address" if peer is None else peer

    def _own_context(self) -> Context:
        """The connection's context, a copy per handler; taken when the first one is started."""
        if self._context is None:
            self._context = copy_context()
        return self._context.copy()


def has_timers(engine: Engine[Any]) -> bool:
    """Whether the engine did not take its timers from `Untimed`."""
    return getattr(type(engine), "next_timeout", None) is not Untimed.next_timeout


def _done_with(part: FilePart) -> None:
    if part.close_file:
        part.file.close()
