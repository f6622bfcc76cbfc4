r"""`DatagramEngineProtocol`: the driver that makes a datagram protocol of an engine.

Its mirror for streams is ``sennit.core.driver``, whose words are used here. An engine
of datagrams (`sennit.core.engine.DatagramEngine`) takes each datagram with its path and
the time, and gives back datagrams with theirs::

    @dataclass(slots=True)
    class Asked:
        text: bytes
        path: DatagramPath
        exchange: int

    class EchoEngine(Untimed):
        def __init__(self) -> None:
            self._in, self._out, self._count = deque[Asked](), list[Outgoing](), 0
        def receive_datagram(self, data: bytes, path: DatagramPath, now: float) -> None:
            self._count += 1
            self._in.append(Asked(data, path, self._count))
        def next_event(self) -> Asked | NoEvent:
            return self._in.popleft() if self._in else NEED_DATA
        def answer(self, asked: Asked) -> None:
            self._out.append((asked.text, asked.path))
        def datagrams_to_send(self) -> list[Outgoing]:
            out, self._out = self._out, []
            return out
        def internal_error(self, exchange: int) -> None: ...
        def close(self) -> None: ...

    class EchoServer(DatagramEngineProtocol[EchoEngine, Asked]):
        def __init__(self) -> None:
            super().__init__(EchoEngine())

        @handles(Asked)
        def echo(self, event: Asked) -> None:
            self.engine.answer(event)

    # async with serve("udp://:7", EchoServer): ...

A handler is a plain method or a coroutine, which becomes a Task of its own; several
run side by side, up to `max_handlers`; what comes beyond is answered with the
engine's `internal_error`, and so is what a handler fails at. An event that
`Interrupts` cancels the handlers of its exchange; one that `Belongs` to an exchange
goes to a plain method or is dropped; a `PeerFault` is logged.

A datagram that breaks the engine costs that datagram. The engine's timer is kept.
`drain` lets handlers finish (at most as long as the server's scope allows), then closes.
"""

from __future__ import annotations

from contextvars import copy_context
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from sennit.core._driver import has_timers
from sennit.core._handles import build_tables, handles, union_of
from sennit.core._waiting import is_cancellation
from sennit.core.address import DatagramPath
from sennit.core.deferred import Deferred
from sennit.core.engine import CLOSED, DatagramEngine, Interrupts, NoEvent, PeerFault
from sennit.core.protocol import DatagramProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from sennit.core._driver import Clock
    from sennit.core.engine import Event
    from sennit.core.interfaces import IDelayedCall

__all__ = ["DatagramEngineProtocol", "handles"]

# `Any`: the events of an engine are its own affair; `EventT` names them.
EngineT = TypeVar("EngineT", bound=DatagramEngine[Any])
EventT = TypeVar("EventT")


class DatagramEngineProtocol(DatagramProtocol, Generic[EngineT, EventT]):
    """An engine of datagrams on a transport, and a handler per kind of event.

    Args:
        engine: A fresh engine, from now on this object's own.
        clock: Tells the time and calls back; the transport's reactor, or the
            running loop, when left out.

    Attributes:
        engine: The engine.
        events: The types of events the engine emits, where the type parameter
            cannot say it.
        max_handlers: Coroutines that run side by side.
        overflows: Events that came while so many ran.
    """

    events: ClassVar[tuple[type, ...]] = ()
    max_handlers: int = 1000

    _table: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "events" not in cls.__dict__ and (found := union_of(cls, DatagramEngineProtocol)):
            cls.events = found
        own: Callable[[Any, Any], object] = DatagramEngineProtocol.__dict__["_on_other"]
        tables = build_tables(cls, cls.events, own)
        if tables is not None:
            # Here nothing comes besides: what a class handles it handles alone.
            cls._table = {**tables.methods, **tables.extras}

    def __init__(self, engine: EngineT, *, clock: Clock | None = None) -> None:
        if not self._table:
            raise TypeError(f"{type(self).__qualname__} handles no events")
        self.engine = engine
        self.overflows = 0
        self._clock = clock
        self._timed = has_timers(cast("Any", engine))  # asks for its class alone
        self._timer: IDelayedCall | None = None
        self._timer_at: float | None = None
        self._open: dict[object, int] = {}  # Tasks and Deferreds: their exchange
        self._path: DatagramPath | None = None
        self._turning = False
        self._draining = False
        self._gone = False

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """Datagrams may be sent. (`Any`: it may be asyncio's own.)"""
        self.transport = transport
        if self._clock is None:
            reactor = transport.get_extra_info("reactor")
            if reactor is None and self._timed:
                from sennit.core._waiting import current_loop

                reactor = current_loop()
            self._clock = reactor
        if self._timed:
            self.engine.handle_timeout(self._now())
        self.proceed()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        """A datagram has come to a transport that knows no paths."""
        self.datagram_received_on_path(data, DatagramPath(peer))

    def datagram_received_on_path(self, data: bytes, path: DatagramPath) -> None:
        """A datagram has come: the engine's events are dealt with, then its answers leave."""
        self._path = path
        try:
            self.engine.receive_datagram(data, path, self._now())
        except Exception as error:
            self._report(error, "receive_datagram")
        self.proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed: handlers are cancelled."""
        self._gone = True
        self._stop_timer()
        for work in list(self._open):
            cast("Any", work).cancel()  # a Task or a Deferred

    # ── what protocols use ────────────────────────────────────────────────────

    def proceed(self) -> None:
        """Take the engine's events and send what it has to send.

        To be called after telling the engine something from outside a handler.
        """
        if self._turning:
            return
        self._turning = True
        event: object = None
        try:
            while not self._gone:
                event = self.engine.next_event()
                if type(event) is NoEvent:
                    break
                self._handle(event)
        except Exception as error:
            # The engine has failed at what came; the next datagram may do better.
            self._report(error, "next_event")
        finally:
            self._turning = False
        self.flush()
        if event is CLOSED and not self._open and not self._gone:
            self.transport.close("drained" if self._draining else "clean")

    def flush(self) -> None:
        """Send what the engine has to send, and look when it wants to be told the time."""
        if self._gone:
            return
        try:
            for data, path in self.engine.datagrams_to_send():
                self._send(data, path)
        except Exception as error:
            self._report(error, "datagrams_to_send")
        if self._timed:
            self._set_timer()

    def drain(self) -> None:
        """Begin nothing new; close once what is under way has been answered."""
        if not self._draining and not self._gone:
            self._draining = True
            self.engine.close()
            self.proceed()
            if not self._open and not self.transport.is_closing():
                self.transport.close("drained")

    @property
    def open_exchanges(self) -> int:
        """How many handlers have not ended."""
        return len(self._open)

    # ── events ────────────────────────────────────────────────────────────────

    def _handle(self, event: object) -> None:
        method = self._table.get(type(event)) or self._find_method(event)
        try:
            result = method(self, event)
        except Exception as error:
            self._failed(event, error)
            return
        if result is not None:
            self._keep(event, result)

    def _find_method(self, event: object) -> Callable[[Any, Any], object]:
        for base in type(event).__mro__[1:]:
            if base in self._table:
                self._table[type(event)] = self._table[base]
                return self._table[base]
        raise TypeError(
            f"{type(self.engine).__qualname__} emitted {type(event).__qualname__}, "
            f"which is not among the events of {type(self).__qualname__}"
        )

    def _on_other(self, event: Any) -> None:
        """What no class handles itself: faults, interruptions, what belongs to nobody."""
        if isinstance(event, PeerFault):
            from sennit.core._faultlog import log_fault

            peer = None if self._path is None else self._path.peer
            log_fault(type(self).__qualname__, peer, event.error.rule, event.error)
        elif isinstance(event, Interrupts):
            exchange = cast("Event", event).exchange
            for work in [each for each, number in self._open.items() if number == exchange]:
                cast("Any", work).cancel()  # a Task or a Deferred

    def _keep(self, event: Any, result: object) -> None:
        """A handler waits for something: its exchange is open until that is there."""
        if len(self._open) >= self.max_handlers:
            self.overflows += 1
            if type(result) is CoroutineType:
                result.close()
            elif isinstance(result, Deferred):
                cast("Deferred[object]", result).add_errback(lambda error: None).cancel()
            self._reply_with_error(event)
            return
        if type(result) is CoroutineType:
            from sennit.core._tasks import start_task

            coroutine = cast("Coroutine[Any, Any, object]", result)
            task = start_task(coroutine, copy_context())
            if task.done():
                self._task_ended(event, task)
                return
            self._open[task] = event.exchange
            task.add_done_callback(lambda done: self._task_ended(event, done))
        elif isinstance(result, Deferred):
            work = cast("Deferred[object]", result)
            self._open[work] = event.exchange
            work.add_callbacks(
                lambda _: self._ended(event, work, None),
                lambda error: self._ended(event, work, error),
            )
        else:
            self._failed(
                event,
                TypeError(
                    f"the handler of {type(event).__qualname__} returned {result!r}: "
                    "handlers return None, a Deferred or a coroutine"
                ),
            )

    def _task_ended(self, event: Any, task: asyncio.Task[object]) -> None:
        error = None if task.cancelled() else task.exception()
        self._ended(event, task, error)

    def _ended(self, event: Any, work: object, error: BaseException | None) -> None:
        self._open.pop(work, None)
        if error is not None and not is_cancellation(error):
            self._failed(event, error)
        self.proceed()
        if self._draining and not self._open and not self._gone:
            self.transport.close("drained")

    def _failed(self, event: Any, error: BaseException) -> None:
        failed: object = event
        kind = type(failed)
        self._report(error, getattr(self._table.get(kind), "__name__", kind.__qualname__))
        self._reply_with_error(event)

    def _reply_with_error(self, event: Any) -> None:
        if self._gone:
            return
        try:
            self.engine.internal_error(event.exchange)
        except Exception as error:
            self._report(error, "internal_error")

    def _report(self, error: BaseException, where: str) -> None:
        from sennit.core._faultlog import log_bug

        peer = None if self._path is None else self._path.peer
        log_bug(type(self).__qualname__, peer, where, error)

    # ── sending and time ──────────────────────────────────────────────────────

    def _send(self, data: Any, path: DatagramPath) -> None:
        try:
            send_on_path = getattr(self.transport, "send_on_path", None)
            if send_on_path is not None:
                send_on_path(data, path)
            else:
                self.transport.sendto(data, path.peer)
        except Exception as error:
            # Too long, or nowhere to go: the others still leave.
            self._report(error, "sendto")

    def _now(self) -> float:
        clock = self._clock
        return monotonic() if clock is None else clock.time()

    def _set_timer(self) -> None:
        when = self.engine.next_timeout()
        if when == self._timer_at:
            return
        self._stop_timer()
        if when is not None and self._clock is not None:
            self._timer_at = when
            self._timer = self._clock.call_at(when, self._time_has_come)

    def _stop_timer(self) -> None:
        self._timer_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_has_come(self) -> None:
        self._timer = None
        self._timer_at = None
        if self._gone:
            return
        try:
            self.engine.handle_timeout(self._now())
        except Exception as error:
            self._report(error, "handle_timeout")
        self.proceed()
