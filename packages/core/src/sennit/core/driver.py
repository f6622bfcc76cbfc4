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
to another protocol (WebSocket, CONNECT); `start_tls` and `replace_engine` serve
STARTTLS.

Not here: the client's side (``sennit.core.client_driver``).
"""

from __future__ import annotations

from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin, overload

from sennit.core._driver import (
    BLOCKED,
    GONE,
    SUSPENDED,
    TIMED,
    Driver,
    has_timers,
)
from sennit.core._inbox import Body, Inbox, weight_of
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
from sennit.core.errors import ConnectionLost, ProtocolError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from sennit.core._driver import Clock
    from sennit.core.engine import Event
    from sennit.core.interfaces import IStreamProtocol

__all__ = ["Body", "EngineProtocol", "Inbox", "handles"]

# `Any`: the events of an engine are its own affair; `EventT` names them.
EngineT = TypeVar("EngineT", bound=ServerEngine[Any])
EventT = TypeVar("EventT")
S = TypeVar("S")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_MARK = "_handles_events"


@overload
def handles(a: type[A], /) -> Callable[[Callable[[S, A], R]], Callable[[S, A], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], /
) -> Callable[[Callable[[S, A | B], R]], Callable[[S, A | B], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], c: type[C], /
) -> Callable[[Callable[[S, A | B | C], R]], Callable[[S, A | B | C], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], c: type[C], d: type[D], /
) -> Callable[[Callable[[S, A | B | C | D], R]], Callable[[S, A | B | C | D], R]]: ...
def handles(*kinds: type) -> Callable[[Any], Any]:
    """Mark the method of an `EngineProtocol` that handles events of these types.

    Args:
        kinds: Types of events, up to four; write one method for more.
    """

    def mark(method: Any) -> Any:
        setattr(method, _MARK, kinds)
        return method

    return mark


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


_NONE_OPEN: dict[int, _Handler] = {}
_NONE_LATER: dict[int, deque[Any]] = {}
"""What every connection has until it needs its own; never changed."""


class EngineProtocol(Driver[EngineT], Generic[EngineT, EventT]):
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
    _table: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    _begins: ClassVar[frozenset[type]] = frozenset()
    _extras: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    _gives_credit: ClassVar[bool] = False

    _open = _NONE_OPEN
    _later = _NONE_LATER
    _stash: Any = None  # an event that was taken and must wait for the next turn
    _serving = False
    _finished: Deferred[None] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "events" not in cls.__dict__:
            found = _union_of(cls)
            if found:
                cls.events = found
        names: dict[type, str] = {}
        for base in reversed(cls.__mro__):
            for name, member in vars(base).items():
                for kind in getattr(member, _MARK, ()):
                    names[kind] = name
        if not cls.events:
            if names and not getattr(cls, "__parameters__", ()):
                raise TypeError(
                    f"{cls.__qualname__} does not say which events there are: derive from "
                    "EngineProtocol[TheEngine, TheUnionOfEvents], or set the attribute events"
                )
            return
        _build_tables(cls, names)

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        super().__init__(engine, clock=clock)
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

    def _turn(self) -> None:
        """Take events from the engine until there are none, then send.

        A request that a plain method answers passes here and nowhere else.
        """
        self._turning = True
        find = self._table.get
        engine = self.engine
        try:
            event = self._stash
            if event is None:
                event = engine.next_event()
            else:
                self._stash = None
            for _ in range(self.max_events):
                method = find(type(event))
                if method is None:
                    if type(event) is NoEvent:
                        break
                    method = self._find_method(event)
                if self._open and type(event) in self._begins:
                    self._admit(event)
                else:
                    try:
                        result = method(self, event)
                    except Exception as error:
                        self._failed(event, error)
                    else:
                        if result is not None or self._open:
                            self._keep(event, result)
                engine = self.engine
                if self._held & BLOCKED:
                    event = None
                    break
                event = engine.next_event()
                if event is NEED_DATA:
                    break
                # There is more: send what is ready, so that a peer which asks
                # without reading stops at the transport's mark.
                pieces = engine.data_to_send()
                if pieces:
                    self._send(pieces)
                    if self._held & BLOCKED:
                        if type(event) is not NoEvent:
                            self._stash = event
                            event = None
                        break
            else:
                self._stash = event
                self._ask_for_turn()
            pieces = engine.data_to_send()
            if pieces:
                self._send(pieces)
        except Exception as error:
            self._broken(error, f"{type(self.engine).__qualname__}")
            return
        finally:
            self._turning = False
        if event is not NEED_DATA or self._held:
            self._after(event)

    def _find_method(self, event: Any) -> Callable[[Any, Any], object]:
        """The method for a type of event that was not named itself: that of its nearest base."""
        kind = type(event)
        for base in kind.__mro__[1:]:
            method = self._table.get(base)
            if method is not None:
                # Noted, so that it is found at once from now on.
                self._table[kind] = method
                if base in self._begins:
                    type(self)._begins |= {kind}
                if base in self._extras:
                    self._extras[kind] = self._extras[base]
                return method
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
            self._start(handler, result)
        elif isinstance(result, Deferred):
            self._own_context()
            handler.work = result
            handler.begun = True
            result.add_callbacks(
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
        from sennit.core._tasks import start_task

        try:
            task = start_task(self._supervise(handler, coroutine), self._own_context())
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
            self.flush()
            if self._open or not self._held & BLOCKED:
                self._proceed()
        if not self._open:
            self._handlers_ended()

    def _run_here(self, fn: Callable[[], None]) -> None:
        context = self._context
        if context is None or self._turning:
            fn()
        else:
            context.copy().run(fn)

    def _expected(self, handler: _Handler, error: BaseException) -> bool:
        """Whether a handler's end with `error` is no bug of its own."""
        if handler.cancelled or handler.fault is not None:
            return True
        return self._lost is not None and isinstance(error, ConnectionLost)

    def _failed(self, event: Any, error: BaseException) -> None:
        """A handler has failed: the protocol's reply, and one log line."""
        method = self._table.get(type(event))
        self._report(error, getattr(method, "__name__", type(event).__qualname__))
        handler = self._open.get(event.exchange)
        if handler is not None and handler.event is event and handler.work is None:
            # A plain method that asked for its inbox and then failed.
            handler.fault = ProtocolError("failed")
            self._ended(handler, None)
        if self._held & GONE:
            return
        try:
            self.internal_error(event.exchange)
        except Exception as failure:
            self._broken(failure, "internal_error")

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
        extra = self._extras.get(type(event))
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

    def taken(self, event: object, weight: int) -> None:
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

    # ── changing over ─────────────────────────────────────────────────────────

    def switch_protocol(self, protocol: IStreamProtocol) -> None:
        """Send what is queued, then give the connection to another protocol.

        What the engine has not read goes to its `data_received`. This protocol
        hears of the connection no more; the handler that calls this should end.
        """
        self.flush()
        pieces = self.engine.data_to_send()
        if pieces:
            self._send(pieces)
        rest = self.engine.release() + self._unparsed
        self._leave()
        self._stash = None
        was_paused = self._reading_paused
        self._held |= GONE
        self._lost = ConnectionLost("the connection was given to another protocol", "switched")
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if rest:
            protocol.data_received(rest)
        if was_paused:
            self.transport.resume_reading()

    def replace_engine(self, engine: EngineT) -> None:
        """Go on with a fresh engine (after `start_tls`, which forgets all that was said)."""
        self.engine = engine
        self._stash = None
        timed = TIMED if has_timers(engine) else 0
        self._held = self._held & ~TIMED | timed
        if timed:
            engine.handle_timeout(self._time())

    async def start_tls(self, context: Any, *, handshake_timeout: float = 10.0) -> None:
        """End the engine, send what it has to send, and talk TLS from here on.

        Call `replace_engine` afterwards, in the same handler: the engine was
        released, and nothing that was said before may count (RFC 3207 §4.2).

        Args:
            context: A `sennit.core.transport.tls.ServerTLS`. (`Any`: TLS is an extra.)
            handshake_timeout: Seconds for the whole handshake.

        Raises:
            ProtocolError: The peer sent octets before the handshake: the
                connection is aborted (CVE-2011-0411 and its kin).
            TLSError: The handshake failed.
        """
        self._held |= SUSPENDED
        pieces = self.engine.data_to_send()
        if pieces:
            self._send(pieces)
        if self.engine.release() or self._unparsed:
            self.transport.abort("error")
            raise ProtocolError(
                "octets in clear after the command that starts TLS", "RFC 3207 §4.2"
            )
        self._reading_paused = False
        self.transport = await self.transport.start_tls(
            context, server_side=True, handshake_timeout=handshake_timeout
        )
        self._out = self.transport
        self._held &= ~SUSPENDED


def _union_of(cls: type) -> tuple[type, ...]:
    """The event types in the type parameter of the class's `EngineProtocol[…]` base."""
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, EngineProtocol):
            found: list[type] = []
            for argument in get_args(base):
                members = _flatten(argument)
                if isinstance(argument, type) and _is_engine(argument):
                    continue
                found.extend(members)
            if found:
                return tuple(dict.fromkeys(found))
    return ()


def _is_engine(kind: type) -> bool:
    return hasattr(kind, "next_event")


def _flatten(argument: Any) -> list[type]:
    if isinstance(argument, type) and get_origin(argument) is None:
        return [argument]
    return [kind for each in get_args(argument) for kind in _flatten(each)]


def _build_tables(cls: type[EngineProtocol[Any, Any]], names: dict[type, str]) -> None:
    """Make the tables of a class, or refuse it.

    Raises:
        TypeError: An event has no handler, or a handler's event is none.
    """
    table: dict[type, Callable[[Any, Any], object]] = {}
    extras: dict[type, Callable[[Any, Any], object]] = {}
    begins: set[type] = set()
    for kind, name in names.items():
        method = getattr(cls, name)
        if not any(issubclass(kind, each) or issubclass(each, kind) for each in cls.events):
            raise TypeError(
                f"{cls.__qualname__}.{name} handles {kind.__qualname__}, "
                f"which is not among the events: {', '.join(e.__qualname__ for e in cls.events)}"
            )
        if issubclass(kind, (Interrupts, PeerFault, Belongs)):
            code = getattr(method, "__code__", None)
            if code is not None and code.co_flags & 0x80:  # CO_COROUTINE
                raise TypeError(
                    f"{cls.__qualname__}.{name}: {kind.__qualname__} begins no exchange, "
                    "so its handler must be a plain method"
                )
            if issubclass(kind, Belongs):
                table[kind] = method
            else:
                extras[kind] = method
                table[kind] = EngineProtocol._to_exchange
        else:
            table[kind] = method
            begins.add(kind)
    missing: list[str] = []
    for kind in cls.events:
        if kind in table:
            continue
        base = next((each for each in kind.__mro__ if each in table), None)
        if base is not None:
            table[kind] = table[base]
            if base in begins:
                begins.add(kind)
            if base in extras:
                extras[kind] = extras[base]
        elif issubclass(kind, (Belongs, Interrupts, PeerFault)):
            table[kind] = EngineProtocol._to_exchange
        else:
            missing.append(kind.__qualname__)
    if missing:
        raise TypeError(f"{cls.__qualname__} leaves events without a handler: {', '.join(missing)}")
    cls._table = table
    cls._begins = frozenset(begins)
    cls._extras = extras
    cls._gives_credit = cls.consumed is not EngineProtocol.consumed
