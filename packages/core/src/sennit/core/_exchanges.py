"""The exchanges of a server's connection: handlers, their inboxes, their order, their end.

Not here: the turns in which events are taken from the engine, and how handlers are
written (``driver.py``).
"""

from __future__ import annotations

from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from sennit.core._driver import FINISHING, GONE, SUSPENDED
from sennit.core._handover import Handover
from sennit.core._inbox import Inbox, weight_of
from sennit.core._waiting import is_cancellation
from sennit.core.deferred import Deferred, shield
from sennit.core.engine import CONNECTION, Belongs, Interrupts, PeerFault, ServerEngine
from sennit.core.errors import ConnectionLost, ProtocolError, SennitError, TLSError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from sennit.core.engine import Event

__all__ = ["NONE_OPEN", "Exchanges", "Handler"]

# `Any`: the events of an engine are its own affair.
EngineT = TypeVar("EngineT", bound=ServerEngine[Any])


class Handler:
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

NONE_OPEN: dict[int, Handler] = {}
_NONE_LATER: dict[int, deque[Any]] = {}
"""What every connection has until it needs its own; never changed."""


class Exchanges(Handover[EngineT]):
    """What `EngineProtocol` knows of its open exchanges."""

    max_handlers: int = 100

    # By type of event; "begins" are those that start a handler. Made per class.
    _table: dict[type, Callable[[Any, Any], object]] = {}
    _begins: ClassVar[set[type]] = set()
    _extras: ClassVar[dict[type, Callable[[Any, Any], object]]] = {}
    _gives_credit: ClassVar[bool] = False

    _open = NONE_OPEN
    _later = _NONE_LATER
    _serving = False
    _finished: Deferred[None] | None = None

    # ── what protocols may override ─────────────────────────────────────────────

    def internal_error(self, exchange: int) -> None:
        """A handler has failed: queue the protocol's reply that says so."""
        self.engine.internal_error(exchange)

    def consumed(self, event: Any) -> None:
        """An event was taken out of its inbox, or dropped: give the peer credit for it.

        Called for every event that `Belongs`, once. (`Any`: one of `EventT`.)
        """

    # ── beginning ───────────────────────────────────────────────────────────────

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

    # ── handlers that have not ended ────────────────────────────────────────────

    def _open_exchange(self, event: Event) -> Handler:
        if self._open is NONE_OPEN:
            self._open = {}
        handler = Handler(event)
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

    def _start(self, handler: Handler, coroutine: Coroutine[Any, Any, object]) -> None:
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

    async def _supervise(self, handler: Handler, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a handler's coroutine; its answer leaves in the very step in which it ends."""
        handler.begun = True
        try:
            await coroutine
        except Exception as error:
            self._ended(handler, error)
        except BaseException as error:
            self._ended(handler, error)
            if is_cancellation(error) or isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            # Any other was told just now; nobody asks the Task, which would tell it once more.
        else:
            self._ended(handler, None)

    def _never_began(self, handler: Handler, coroutine: Coroutine[Any, Any, object]) -> None:
        if not handler.begun:
            handler.begun = True
            coroutine.close()
            from asyncio import CancelledError

            self._ended(handler, CancelledError())

    def _ended(self, handler: Handler, error: BaseException | None) -> None:
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

    def _expected(self, handler: Handler, error: BaseException) -> bool:
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
        if self._held & SUSPENDED or self.transport.is_closing():
            # Between two engines: a handshake that failed ends the connection in a moment.
            return isinstance(error, (ConnectionLost, ProtocolError, TLSError))
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

    def _cancel(self, handler: Handler) -> None:
        handler.cancelled = True
        work = handler.work
        if work is not None:
            work.cancel()

    # ── events of exchanges that are open ───────────────────────────────────────

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

    def _taken_ahead(self) -> bool:
        ahead = bool(self._later) or any(handler.inbox for handler in self._open.values())
        # On its way out the connection begins nothing of it.
        self._later = _NONE_LATER
        return ahead

    # ── the end ─────────────────────────────────────────────────────────────────

    def finished(self) -> Deferred[None]:
        """Fires when the connection has gone and every handler has ended."""
        if self._finished is None:
            self._finished = Deferred()
            self._perhaps_finished()

        return shield(self._finished)

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

    def _given_away(self, error: ConnectionLost) -> None:
        self._later = _NONE_LATER
        for handler in list(self._open.values()):
            # Not cancelled: one of them has given it away, and may have more to do.
            if handler.inbox is not None:
                handler.inbox.fail(error)
        self._perhaps_finished()

    def _perhaps_finished(self) -> None:
        if self._finished is not None and self._held & GONE and not self._open:
            finished = self._finished
            if not finished.fired:
                finished.callback(None)
