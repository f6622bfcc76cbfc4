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
when it has. A class that sets `linger` lets a peer which is still sending read that
answer. `drain()` calls the engine's `close()`. `finished()` fires when the
connection has gone and all handlers have ended. Idle and total time-outs are worn
around a protocol (``sennit.core.policy``): they call `timed_out`.

**Changing over.** `switch_protocol` hands the transport, and the octets not read,
to another protocol (WebSocket, CONNECT); `start_tls` goes on with a fresh engine
over TLS (STARTTLS), `stop_tls` with the same one in clear (FTP's CCC).

Not here: the client's side (``sennit.core.client_driver``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from sennit.core._driver import BLOCKED
from sennit.core._exchanges import NONE_OPEN, Exchanges
from sennit.core._handles import adopt, build_tables, handles, union_of
from sennit.core._inbox import Body, Inbox, weight_of
from sennit.core.engine import NEED_DATA, Belongs, Ends, NoEvent, ServerEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core._driver import Clock
    from sennit.core.engine import Event

__all__ = ["Body", "EngineProtocol", "Inbox", "handles"]

# `Any`: the events of an engine are its own affair; `EventT` names them.
EngineT = TypeVar("EngineT", bound=ServerEngine[Any])
EventT = TypeVar("EventT")

_BY_INBOX: Callable[[Any, Any], object] = Exchanges.__dict__["_to_exchange"]
"""What a class's table has for events that go to the inbox of their exchange."""


class EngineProtocol(Exchanges[EngineT], Generic[EngineT, EventT]):
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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "events" not in cls.__dict__ and (found := union_of(cls, EngineProtocol)):
            cls.events = found
        tables = build_tables(cls, cls.events, _BY_INBOX)
        if tables is not None:
            cls._table = tables.methods
            cls._begins = tables.begins
            cls._extras = tables.extras
        cls._gives_credit = cls.__dict__.get("consumed") is not None or cls._gives_credit

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        super().__init__(engine, clock=clock)
        # What is read per event stands in the object: Python finds it faster there.
        self._open = NONE_OPEN
        self._table = type(self)._table
        if not self._table:
            raise TypeError(f"{type(self).__qualname__} handles no events")

    # ── what handlers use ─────────────────────────────────────────────────────

    def inbox(self, event: Event) -> Inbox[EventT]:
        """The inbox of the exchange that this event has begun, for its handler.

        Raises:
            ValueError: That exchange is not open (any more).
        """
        handler = self._open.get(event.exchange)
        if handler is None or handler.event is not event:
            if not (self._turning or self._serving) or handler is not None:
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
                if method is None or (self._open and type(event) in self._begins):
                    event = self._pull(event)
                else:
                    try:
                        result = method(self, event)
                    except Exception as error:
                        self._failed(event, error)
                    else:
                        if result is not None or self._open:
                            self._keep(event, result)
                    if self._stash is not None or self._held:
                        event = self._pull(None)
                    else:
                        event = self.engine.next_event()
                        if event is not NEED_DATA:
                            event = self._pull(event, more=True)
            pieces = self.engine.data_to_send()
            if pieces:
                if len(pieces) == 1 and type(pieces[0]) is bytes:
                    self._out.write(pieces[0])
                else:
                    self._send(pieces)
        except Exception as error:
            self._engine_failed(error)
            return
        finally:
            self._turning = False
        if event is not NEED_DATA or self._held | self._waiting:
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
            self._engine_failed(error)
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
            if self._held & self._blocked:
                if event is not None and type(event) is not NoEvent:
                    self._stash = event
                    event = None
                return event
            if event is None:
                event = self._stash
                if event is None:
                    event = self.engine.next_event()
                else:
                    self._stash = None
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
        if event is not None:
            if type(event) is NoEvent:
                return event
            self._stash = event
        self._ask_for_turn()
        return None

    def _awaited(self) -> None:
        super()._awaited()
        if self._turning and self._stash is None and not self._held & BLOCKED:
            self._take_ahead()

    def _take_ahead(self) -> None:
        """A handler waits within a turn: it gets what has come already without having waited.

        That is the whole of a request whose content came with it: to put its handler to
        sleep and to wake it costs more than all else. What begins something is stashed.
        As many as may be taken in a turn at all: others want theirs.
        """
        try:
            while self._turning <= self.max_events:
                self._turning += 1
                event: object = self.engine.next_event()
                kind = type(event)
                if kind is NoEvent:
                    return
                if not issubclass(kind, Belongs) or self._table.get(kind) is not _BY_INBOX:
                    self._stash = event
                    return
                belongs = cast("Event", event)
                handler = self._open.get(belongs.exchange)
                if handler is None or handler.inbox is None or self._later or kind in self._extras:
                    self._to_exchange(belongs)
                else:
                    self._waiting += weight_of(belongs)
                    handler.inbox.put(belongs)
                    if issubclass(kind, Ends):
                        return
        except Exception as error:
            self._engine_failed(error)

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
