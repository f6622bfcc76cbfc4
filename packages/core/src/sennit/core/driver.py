r"""`EngineProtocol`: the one driver, which makes a server's protocol of an engine.

How an engine is written stands in ``sennit.core.engine``. A protocol is a class
that says what to do on each event::

    from dataclasses import dataclass
    from sennit.core import EngineProtocol, handles, serve
    from sennit.core.engine import CLOSED, NEED_DATA, SOLE, NoEvent, Untimed

    @dataclass(slots=True)
    class Line:
        text: bytes
        exchange: int = SOLE

    class LineEngine(Untimed):
        def __init__(self) -> None:
            self._in, self._out, self._over = b"", list[bytes](), False
        def receive_data(self, data: bytes) -> None:
            self._in += data
        def receive_eof(self) -> None:
            self._over = True
        close = receive_eof
        def next_event(self) -> Line | NoEvent:
            line, found, rest = self._in.partition(b"\n")
            if not found:
                return CLOSED if self._over else NEED_DATA
            self._in = rest
            return Line(line)
        def send_line(self, text: bytes) -> None:
            self._out.append(text + b"\n")
        def data_to_send(self) -> list[bytes]:
            out, self._out = self._out, []
            return out
        def release(self) -> bytes:
            return self._in
        def internal_error(self, exchange: int) -> None:
            self.send_line(b"?")

    class LineEcho(EngineProtocol[LineEngine, Line]):
        def __init__(self) -> None:
            super().__init__(LineEngine())

        @handles(Line)
        def echo(self, event: Line) -> None:
            self.engine.send_line(event.text)

    # async with serve("tcp://:7000", LineEcho): ...

**Handlers.** `@handles(Kind, …)` marks the method for events of these types. The
second type parameter (or the class attribute `events`) is the union of all that
the engine emits; a class that leaves one of them without a handler is refused
when it is made, save those that derive from `Belongs` or `Interrupts` and
`PeerFault`, with which the driver deals itself.

* A *plain method* that returns ``None`` has dealt with the event when it returns;
  it costs one dict look-up. What it queued in the engine is sent right after.
* A *coroutine method* becomes a Task of its own, owned by the connection, begun
  at once where Python can (3.12+). Its exchange is open until it ends. Several
  exchanges are open side by side, up to `max_handlers`; of one exchange, the next
  event that begins something waits until the handler has ended.
* A plain method may return a Deferred; its exchange is open until that fires.

An open exchange receives what `Belongs` to it: `self.inbox(event)` has the
events, `self.body(event)` the octets in them (``async for chunk in body``, or
`take()` without waiting). `consumed(event)` is called for each one taken, for
protocols that give credit. What belongs to an exchange that is not open any more
is dropped (and counted as consumed). A protocol that would rather have these
events delivered to a plain method marks it with `@handles` for their type.

**Sending.** What the engine has to send leaves after each turn (all the events of
what was received), when a handler ends or waits for its inbox or for
`writable()`, and when `flush()` says so. `await self.writable()` in a loop that
produces is all that flow control asks of a handler. `push(send, …)` calls a method
of the engine and sends, for what nobody asked for. After telling the engine
something from outside any handler call `proceed()`. While the transport is above
its mark no event is taken from the engine, and reading pauses.

**Errors.** A handler's exception is logged, once, and `internal_error(exchange)`
asks the engine for its reply. A `PeerFault` is logged at INFO, its error is raised
where the exchange's handler waits for its inbox; if it waits elsewhere it is
cancelled. An `Interrupts` cancels it, and so does the loss of the connection, save
inside ``async with commit():`` (``sennit.core.commit``).

**The end.** When the engine says `CLOSED` what is left is sent and the transport
closed; if a handler has not ended then, its way out is closed at once and the rest
when it has. `drain()` calls the engine's `close()`. `finished()` fires when the
connection has gone and all handlers have ended. Idle and total time-outs are worn
around a protocol (``sennit.core.policy``): they ask `busy` and call `timed_out`.

**Changing over.** `switch_protocol` hands the transport, and the octets not read,
to another protocol (WebSocket, CONNECT); `start_tls` goes on with a fresh engine
over TLS (STARTTLS).

Not here: the client's side (``sennit.core.client_driver``).
"""

from __future__ import annotations

from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from sennit.core._driver import BLOCKED, FINISHING, GONE
from sennit.core._handles import adopt, build_tables, handles, union_of
from sennit.core._handover import Handover
from sennit.core._inbox import Body, Inbox, weight_of
from sennit.core._waiting import is_cancellation
from sennit.core.deferred import Deferred
from sennit.core.engine import (
    CONNECTION,
    NEED_DATA,
    Belongs,
    Interrupts,
    NoEvent,
    PeerFault,
    ServerEngine,
)
from sennit.core.errors import ConnectionLost, ProtocolError, SennitError, TLSError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from sennit.core._driver import Clock
    from sennit.core.engine import Event

__all__ = ["Body", "EngineProtocol", "Inbox", "handles"]

# `Any`: the events of an engine are its own affair; `EventT` names them.
EngineT = TypeVar("EngineT", bound=ServerEngine[Any])
EventT = TypeVar("EventT")


class _Handler:
    """A handler that has not ended.

    Attributes:
        work: Its Task or Deferred; ``None`` while it takes its first step.
        begun: Whether its coroutine has taken its first step.
        cancelled: Whether the driver has cancelled it.
        fault: The rule that the peer broke in its exchange.
    """

    __slots__ = ("begun", "cancelled", "event", "exchange", "fault", "inbox", "work")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.exchange = event.exchange
        self.work: asyncio.Task[None] | Deferred[Any] | None = None
        self.inbox: Inbox[Any] | None = None
        self.begun = False
        self.cancelled = False
        self.fault: ProtocolError | None = None


_start_task: Callable[[Coroutine[Any, Any, None], Context], asyncio.Task[None]] | None = None

_NONE_OPEN: dict[int, _Handler] = {}
_NONE_LATER: dict[int, deque[Any]] = {}
"""What every connection has until it needs its own; never changed."""


class EngineProtocol(Handover[EngineT], Generic[EngineT, EventT]):
    """A server's side of one connection: an engine, and a handler per kind of event.

    The module's docstring tells how one is written.

    Args:
        engine: A fresh engine, from now on this object's own.
        clock: Tells the time and calls back; found by itself when left out.

    Attributes:
        events: The types of events the engine emits, where the type parameter
            cannot say it.
        max_handlers: Exchanges that are open side by side.
    """

    events: ClassVar[tuple[type, ...]] = ()
    max_handlers: int = 100

    # By type of event; "begins" are those that start a handler. Made per class.
    _table: dict[type, Callable[[Any, Any], object]] = {}
    _begins: ClassVar[set[type]] = set()
    _extras: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    _gives_credit: ClassVar[bool] = False

    _open = _NONE_OPEN
    _later = _NONE_LATER
    _serving = False
    _finished: Deferred[None] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "events" not in cls.__dict__ and (found := union_of(cls, EngineProtocol)):
            cls.events = found
        own: Callable[[Any, Any], object] = EngineProtocol.__dict__["_to_exchange"]
        tables = build_tables(cls, cls.events, own)
        if tables is not None:
            cls._table = tables.methods
            cls._begins = tables.begins
            cls._extras = tables.extras
        cls._gives_credit = cls.__dict__.get("consumed") is not None or cls._gives_credit

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        super().__init__(engine, clock=clock)
        # What is read per event stands in the object: Python finds it faster there.
        self._open = _NONE_OPEN
        self._table = type(self)._table
        if not self._table:
            raise TypeError(f"{type(self).__qualname__} handles no events")

    # ── what protocols may override ───────────────────────────────────────────

    def internal_error(self, exchange: int) -> None:
        """A handler has failed: queue the protocol's reply that says so."""
        self.engine.internal_error(exchange)

    def consumed(self, event: Any) -> None:
        """An event was taken out of its inbox, or dropped: give the peer credit for it.

        Called for every event that `Belongs`, once. (`Any`: one of `EventT`.)
        """

    # ── what handlers use ─────────────────────────────────────────────────────

    def inbox(self, event: Event) -> Inbox[EventT]:
        """The inbox of the exchange that this event has begun, for its handler.

        Raises:
            ValueError: That exchange is not open (any more).
        """
        handler = self._open.get(event.exchange)
        if handler is None or handler.event is not event:
            if not self._turning or handler is not None:
                raise ValueError(f"the exchange {event.exchange} has ended")
            # A plain method that is going to return a Deferred.
            handler = self._open_exchange(event)
        if handler.inbox is None:
            handler.inbox = Inbox(self)
            if self._lost is not None:
                handler.inbox.fail(self._lost)
        return handler.inbox

    def body(self, event: Event) -> Body:
        """The octets of the input of the exchange that this event has begun."""
        return Body(self.inbox(event))

    @property
    def busy(self) -> bool:
        """Whether an exchange is open or one waits to be: the connection is not idle."""
        return bool(self._open)

    @property
    def open_exchanges(self) -> int:
        """How many exchanges have a handler that has not ended."""
        return len(self._open)

    def finished(self) -> Deferred[None]:
        """Fires when the connection has gone and every handler has ended."""
        if self._finished is None:
            self._finished = Deferred()
            self._perhaps_finished()
        from sennit.core.deferred import shield

        return shield(self._finished)

    # ── turns ─────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Octets have come.

        A request that a plain method answers passes here and nowhere else: this is
        `_turn` for one event, without what only the second one needs.
        """
        if self._held or len(data) > self._most:
            self._receive_slowly(data)
            return
        self._turning = True
        try:
            engine = self.engine
            engine.receive_data(data)
            event: object = engine.next_event()
            if event is not NEED_DATA:
                # `Any`: a handler of events of that type, found in one look-up.
                method: Any = self._table.get(type(event))
                if method is None or self._open:
                    event = self._pull(event)
                else:
                    try:
                        result = method(self, event)
                    except Exception as error:
                        self._failed(event, error)
                    else:
                        if result is not None or self._open:
                            self._keep(event, result)
                    if self._held:
                        event = self._pull(None)
                    else:
                        engine = self.engine
                        event = engine.next_event()
                        if event is not NEED_DATA:
                            event = self._pull(event, more=True)
            pieces = engine.data_to_send()
            if pieces:
                if len(pieces) == 1 and type(pieces[0]) is bytes:
                    self._out.write(pieces[0])
                else:
                    self._send(pieces)
        except Exception as error:
            self._broken(error, type(self.engine).__qualname__)
            return
        finally:
            self._turning = False
        if event is not NEED_DATA or self._held:
            self._after(event)

    def _turn(self) -> None:
        """Take events from the engine until there are none, then send."""
        self._turning = True
        try:
            event, self._stash = self._stash, None
            event = self._pull(event)
            pieces = self.engine.data_to_send()
            if pieces:
                self._send(pieces)
        except Exception as error:
            self._broken(error, type(self.engine).__qualname__)
            return
        finally:
            self._turning = False
        self._after(event)

    def _pull(self, event: object, *, more: bool = False) -> object:
        """Deal with events until there are none, or enough for this turn of the loop.

        Args:
            event: One that was taken already, or ``None``.
            more: Whether it is not the first one of this turn.

        Returns:
            Why there are no more events; ``None`` when there may be.
        """
        for _ in range(self.max_events):
            if self._held & BLOCKED:
                if event is not None and type(event) is not NoEvent:
                    self._stash = event
                    event = None
                return event
            if event is None:
                event = self.engine.next_event()
            if event is NEED_DATA:
                return event
            if more:
                # Send what is ready before the next answer is made, so that a peer
                # which asks and asks without reading stops at the transport's mark.
                more = False
                pieces = self.engine.data_to_send()
                if pieces:
                    self._send(pieces)
                    continue
            kind = type(event)
            if kind is NoEvent:
                return event
            method = self._table.get(kind) or self._find_method(event)
            if self._open and kind in self._begins:
                self._admit(event)
            else:
                try:
                    result = method(self, event)
                except Exception as error:
                    self._failed(event, error)
                else:
                    if result is not None or self._open:
                        self._keep(event, result)
            event = None
            more = True
        if event is not None and type(event) is NoEvent:
            return event
        self._stash = event
        self._ask_for_turn()
        return None

    def _find_method(self, event: object) -> Callable[[Any, Any], object]:
        """The method for a type of event that was not named itself: that of its nearest base."""
        kind = type(event)
        for base in kind.__mro__[1:]:
            if base in self._table:
                # Noted, so that it is found at once from now on.
                adopt(kind, base, self._table, self._begins, self._extras)
                return self._table[kind]
        raise TypeError(
            f"{type(self.engine).__qualname__} emitted {kind.__qualname__}, "
            f"which is not among the events of {type(self).__qualname__}"
        )

    def _begin(self, event: Any) -> None:
        """Call the method for an event that begins an exchange."""
        try:
            result = self._table[type(event)](self, event)
        except Exception as error:
            self._failed(event, error)
        else:
            if result is not None or self._open:
                self._keep(event, result)

    def _admit(self, event: Any) -> None:
        """An event begins an exchange while others are open."""
        exchange = event.exchange
        if (
            exchange in self._open
            or exchange in self._later
            or len(self._open) >= self.max_handlers
        ):
            if self._later is _NONE_LATER:
                self._later = {}
            self._waiting += weight_of(event)
            self._later.setdefault(exchange, deque()).append(event)
        else:
            self._begin(event)

    def _serve_later(self) -> None:
        """Begin what had to wait and need not any more."""
        if self._serving:
            # An exchange ended within its first step; the loop below sees it.
            return
        self._serving = True
        try:
            progress = True
            while progress and self._later and not self._held & GONE:
                progress = False
                for exchange in list(self._later):
                    if len(self._open) >= self.max_handlers:
                        return
                    if exchange not in self._open and exchange in self._later:
                        self._begin_later(exchange)
                        progress = True
        finally:
            self._serving = False

    def _begin_later(self, exchange: int) -> None:
        queue = self._later[exchange]
        group = [queue.popleft()]
        while queue and type(queue[0]) not in self._begins:
            group.append(queue.popleft())
        if not queue:
            del self._later[exchange]
        self._waiting -= sum(map(weight_of, group))
        self._begin(group[0])
        for event in group[1:]:
            self._deliver(event)

    # ── handlers that have not ended ──────────────────────────────────────────

    def _open_exchange(self, event: Event) -> _Handler:
        if self._open is _NONE_OPEN:
            self._open = {}
        handler = _Handler(event)
        self._open[event.exchange] = handler
        return handler

    def _keep(self, event: Any, result: object) -> None:
        """A method returned something, or exchanges are open: see whether this one is."""
        handler = self._open.get(event.exchange)
        if handler is not None and handler.event is not event:
            handler = None
        if result is None:
            if handler is not None and handler.work is None:
                # It asked for its inbox, and did not wait.
                self._ended(handler, None)
            return
        if handler is None:
            handler = self._open_exchange(event)
        if type(result) is CoroutineType:
            self._start(handler, cast("Coroutine[Any, Any, object]", result))
        elif isinstance(result, Deferred):
            work = cast("Deferred[object]", result)
            self._own_context()
            handler.work = work
            handler.begun = True
            work.add_callbacks(
                lambda _: self._ended(handler, None), lambda error: self._ended(handler, error)
            )
        else:
            self._ended(
                handler,
                TypeError(
                    f"the handler of {type(event).__qualname__} returned {result!r}: "
                    "handlers return None, a Deferred or a coroutine"
                ),
            )

    def _start(self, handler: _Handler, coroutine: Coroutine[Any, Any, object]) -> None:
        global _start_task
        if _start_task is None:
            # asyncio is loaded by the first coroutine; the name is kept, since an import
            # statement costs half a microsecond even then.
            from sennit.core._tasks import start_task

            _start_task = start_task
        try:
            task = _start_task(self._supervise(handler, coroutine), self._own_context())
        except Exception as error:
            coroutine.close()
            self._ended(handler, error)
            return
        handler.work = task
        if not handler.begun:
            # Cancelled before its first step, a coroutine never learns of it.
            task.add_done_callback(lambda _: self._never_began(handler, coroutine))
        if handler.cancelled:
            task.cancel()

    async def _supervise(self, handler: _Handler, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a handler's coroutine; its answer leaves in the very step in which it ends."""
        handler.begun = True
        try:
            await coroutine
        except Exception as error:
            self._ended(handler, error)
        except BaseException as error:
            self._ended(handler, error)
            raise
        else:
            self._ended(handler, None)

    def _never_began(self, handler: _Handler, coroutine: Coroutine[Any, Any, object]) -> None:
        if not handler.begun:
            handler.begun = True
            coroutine.close()
            from asyncio import CancelledError

            self._ended(handler, CancelledError())

    def _ended(self, handler: _Handler, error: BaseException | None) -> None:
        """A handler has ended: close its exchange, begin what waited for that, go on."""
        if self._open.get(handler.exchange) is not handler:
            return
        del self._open[handler.exchange]
        if error is not None and not self._expected(handler, error):
            self._failed(handler.event, error)
        inbox = handler.inbox
        if inbox is not None:
            handler.inbox = None
            while inbox:
                inbox.take()
        if self._held & GONE:
            self._perhaps_finished()
            return
        if self._later:
            self._run_here(self._serve_later)
        if not self._turning:
            self.proceed()
        if not self._open:
            self._handlers_ended()

    def _run_here(self, fn: Callable[[], None]) -> None:
        context = self._context
        if context is None or self._turning:
            fn()
        else:
            context.copy().run(fn)

    def _expected(self, handler: _Handler, error: BaseException) -> bool:
        """Whether a handler's end with `error` is no bug of its own, and needs no reply."""
        if is_cancellation(error):
            if handler.cancelled or handler.fault is not None:
                return True
            work = handler.work
            if work is not None and not isinstance(work, Deferred) and work.cancelling():
                # Somebody else ends it (the server's scope, the loop): the peer is told so.
                self._reply_with_error(handler.exchange)
                return True
            return False
        if handler.fault is not None:
            return isinstance(error, SennitError)
        if self.transport.is_closing():
            return isinstance(error, (ConnectionLost, TLSError))
        return False

    def _failed(self, event: Any, error: BaseException) -> None:
        """A handler has failed: the protocol's reply, and one log line."""
        failed: object = event
        kind = type(failed)
        self._report(error, getattr(self._table.get(kind), "__name__", kind.__qualname__))
        handler = self._open.get(event.exchange)
        if handler is not None and handler.event is event and handler.work is None:
            # A plain method that asked for its inbox and then failed.
            self._ended(handler, None)
        self._reply_with_error(event.exchange)

    def _reply_with_error(self, exchange: int) -> None:
        if self._held & (GONE | FINISHING):
            return
        try:
            self.internal_error(exchange)
        except Exception as error:
            self._broken(error, "internal_error")

    def _cancel(self, handler: _Handler) -> None:
        handler.cancelled = True
        work = handler.work
        if work is not None:
            work.cancel()

    # ── events of exchanges that are open ─────────────────────────────────────

    def _to_exchange(self, event: Any) -> None:
        """What the table has for events with which the driver deals itself."""
        later = self._later.get(event.exchange)
        if later is None:
            self._deliver(event)
        elif issubclass(type(event), Interrupts):
            self._forget_last(event.exchange, later)
        else:
            self._waiting += weight_of(event)
            later.append(event)
        seen: object = event
        extra = self._extras.get(type(seen))
        if extra is not None:
            extra(self, event)

    def _forget_last(self, exchange: int, later: deque[Any]) -> None:
        """What has not begun is interrupted: it never will."""
        while later:
            event = later.pop()
            self._waiting -= weight_of(event)
            if type(event) in self._begins:
                break
            if isinstance(event, Belongs):
                self.consumed(event)
        if not later:
            del self._later[exchange]

    def _deliver(self, event: Any) -> None:
        if isinstance(event, PeerFault):
            self._fault(event)
            return
        handler = self._open.get(event.exchange)
        if isinstance(event, Interrupts):
            if handler is not None:
                self._cancel(handler)
        elif handler is None:
            self.consumed(event)
        else:
            if handler.inbox is None:
                handler.inbox = Inbox(self)
            self._waiting += weight_of(event)
            handler.inbox.put(event)

    def _taken(self, event: object, weight: int) -> None:
        """An inbox was relieved of an event (called by the inbox)."""
        self._waiting -= weight
        if self._held & GONE:
            return
        if self._gives_credit:
            self.consumed(event)
            self.flush()
        if self._reading_paused and not self._turning:
            self._watch_reading()

    def _fault(self, event: PeerFault) -> None:
        from sennit.core._faultlog import log_fault

        error = event.error
        log_fault(type(self).__qualname__, self._peer(), error.rule, error)
        if event.exchange == CONNECTION:
            handlers = list(self._open.values())
        else:
            handler = self._open.get(event.exchange)
            handlers = [] if handler is None else [handler]
        for handler in handlers:
            handler.fault = error
            inbox = handler.inbox
            if inbox is None:
                inbox = handler.inbox = Inbox(self)
            waits_there = inbox.awaited
            inbox.fail(error)
            if not waits_there:
                self._cancel(handler)

    # ── the end ───────────────────────────────────────────────────────────────

    def _idle(self) -> bool:
        return not self._open

    def _went(self, error: ConnectionLost) -> None:
        self._stash = None
        self._later = _NONE_LATER
        for handler in list(self._open.values()):
            if handler.inbox is not None:
                handler.inbox.fail(error)
            self._cancel(handler)
        self._perhaps_finished()

    def _perhaps_finished(self) -> None:
        if self._finished is not None and self._held & GONE and not self._open:
            finished = self._finished
            if not finished.fired:
                finished.callback(None)
