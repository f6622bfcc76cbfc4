"""`Clock`: a reactor's time and queues without a reactor, moved by the test.

Nothing happens until the test says so, and then in the order in which a reactor
would do it: `pump` runs what is ready, `advance` moves time from timer to timer,
`run_until` and `run` move it as far as is needed. It is enough of a reactor for
memory transports, protocols, Deferreds and coroutines, so a test of an hour's
time-out takes a millisecond and gives the same result each time.

Coroutines: while the clock turns, it is the thread's current reactor and its
`event_loop` the running one, unless the thread has a loop already (a test that
is itself a coroutine); then coroutines belong to that loop, and the clock moves
timers and octets only.

Not here: descriptors, signals and threads (a reactor has those); the loop for
coroutines (``_clockloop.py``).
"""

from __future__ import annotations

import sys
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import cast

from sennit.core._implements import implements
from sennit.core.errors import ReactorError
from sennit.core.reactor.base import _current
from sennit.core.reactor.calls import DelayedCall, TimedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Any, Final, Self, TypeGuard, TypeVar, overload

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import (
        IDatagramListener,
        IDatagramProtocol,
        IListener,
        IStreamProtocol,
    )
    from sennit.core.protocol import DatagramFactory, ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing._clockloop import ClockEventLoop
    from sennit.core.testing.network import MemoryNetwork

    T = TypeVar("T")

__all__ = ["Clock"]

MOST_TURNS: Final = 100_000
"""Turns after which `pump` gives up: somebody queues work forever."""


@implements("IClock")
class Clock:
    """Virtual time: seconds pass only when the test lets them.

    Args:
        start: What `time` says at first.

    Attributes:
        errors: Exceptions that callbacks raised, in order. `advance` and its
            kin raise the first one when they end, unless `keep_errors` is set.
        keep_errors: Leave reported errors in `errors`, for the test to look at.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._ready: list[DelayedCall] = []
        self._heap: list[tuple[float, int, TimedCall]] = []
        self._sequence = count()
        self._flushes: list[Callable[[], object]] = []
        self._shutdown_calls: list[DelayedCall] = []
        self._turning = False
        self._event_loop: ClockEventLoop | None = None
        self.errors: list[BaseException] = []
        self.keep_errors = False
        self.dependants: set[Any] = set()  # as a reactor's: whatever ends with it
        self.network: MemoryNetwork = _NO_NETWORK

    def __repr__(self) -> str:
        """Its time, and how much waits."""
        return f"<Clock at {self._now:g} s, {len(self.pending)} timers, {len(self._ready)} ready>"

    # ── what a reactor offers ─────────────────────────────────────────────────

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def call_soon(
        self, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> DelayedCall:
        """Call `fn(*args)` in the next turn, in the order of asking."""
        call = DelayedCall(fn, args, (copy_context() or None) if context is None else context)
        self._ready.append(call)
        return call

    call_from_thread = call_soon

    def queue(self, call: DelayedCall) -> None:
        """`call_soon` for one who made the call, and its context, himself."""
        self._ready.append(call)

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> TimedCall:
        """Call `fn(*args)` once `delay` seconds have been let pass."""
        return self.call_at(self._now + delay, fn, *args)

    def call_at(
        self, when: float, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimedCall:
        """Call `fn(*args)` when `time()` has come to `when`."""
        if context is None:
            context = copy_context() or None
        call = TimedCall(when, fn, args, context, _as_reactor(self))
        heappush(self._heap, (when, next(self._sequence), call))
        return call

    def timer_cancelled(self) -> None:
        """A timer is dead; it is dropped when its time comes."""

    def flush_later(self, flush: Callable[[], object]) -> None:
        """Call `flush` once at the end of this turn."""
        self._flushes.append(flush)

    def at_shutdown(self, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` in `close`, the last asked for first."""
        call = DelayedCall(fn, args, copy_context() or None)
        self._shutdown_calls.append(call)
        return call

    def report(self, error: BaseException, where: str) -> None:
        """Keep an exception that nobody else will see, for the test to see."""
        error.add_note(f"(raised {where})")
        self.errors.append(error)

    @property
    def running(self) -> bool:
        """Whether it turns now."""
        return self._turning

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """An asyncio loop on this clock's time, made when first asked for."""
        if self._event_loop is None or self._event_loop.is_closed():
            from sennit.core.testing._clockloop import ClockEventLoop

            self._event_loop = ClockEventLoop(self)
        if self._turning and _current.reactor is _as_reactor(self):
            self._event_loop.enter_thread()
        return self._event_loop

    # ── endpoints: those of its network ───────────────────────────────────────

    def listen_tcp(
        self, factory: ProtocolFactory, port: int, host: str = "", **options: Any
    ) -> Deferred[IListener]:
        """Accept connections on the network in memory."""
        return self.network.listen_tcp(factory, port, host, **options)

    def connect_tcp(
        self, factory: ProtocolFactory, host: str, port: int, **options: Any
    ) -> Deferred[IStreamProtocol]:
        """Connect on the network in memory."""
        return self.network.connect_tcp(factory, host, port, **options)

    def listen_unix(
        self, factory: ProtocolFactory, path: str, **options: Any
    ) -> Deferred[IListener]:
        """Accept connections at a path of the present host."""
        return self.network.listen_unix(factory, path, **options)

    def connect_unix(
        self, factory: ProtocolFactory, path: str, **options: Any
    ) -> Deferred[IStreamProtocol]:
        """Connect to a path of the present host."""
        return self.network.connect_unix(factory, path, **options)

    def listen_udp(
        self, factory: DatagramFactory, port: int, host: str = "", **options: Any
    ) -> Deferred[IDatagramListener]:
        """Receive datagrams on the network in memory."""
        return self.network.listen_udp(factory, port, host, **options)

    def connect_udp(
        self, factory: DatagramFactory, host: str, port: int, **options: Any
    ) -> Deferred[IDatagramProtocol]:
        """Exchange datagrams with one peer on the network in memory."""
        return self.network.connect_udp(factory, host, port, **options)

    # ── what a test does ──────────────────────────────────────────────────────

    @property
    def pending(self) -> list[TimedCall]:
        """Timers that wait, the nearest first."""
        return [entry[2] for entry in sorted(self._heap) if not entry[2].cancelled()]

    @property
    def idle(self) -> bool:
        """Whether nothing can happen before time passes."""
        return not self._flushes and all(call.cancelled() for call in self._ready)

    def next_timer(self) -> float | None:
        """When the nearest timer is due; ``None`` without timers."""
        heap = self._heap
        while heap and heap[0][2].cancelled():
            heappop(heap)
        return heap[0][0] if heap else None

    def turn(self) -> None:
        """One turn: timers that are due, what was ready, then what was written leaves.

        Raises:
            ReactorError: Called from inside a turn: they never nest.
        """
        self._forbid_nesting()
        self._turning = True
        entered = self._enter()
        try:
            Context().run(self._turn)
        finally:
            self._turning = False
            if entered:
                self._leave()

    def _forbid_nesting(self) -> None:
        if self._turning:
            raise ReactorError("the clock turns already: let the callback return first")

    def _turn(self) -> None:
        heap = self._heap
        while heap and heap[0][0] <= self._now:
            timer = heappop(heap)[2]
            if not timer.cancelled():
                timer.left_heap()
                self._ready.append(timer)
        ready, self._ready = self._ready, []
        for call in ready:
            fn = call.fn
            if fn is None:
                continue
            try:
                if call.context is None:
                    fn(*call.args)
                else:
                    call.context.run(fn, *call.args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.report(error, f"in a call of {fn!r}")
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            try:
                flush()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.report(error, "while sending")

    def pump(self) -> None:
        """Turn until nothing can happen before time passes.

        Raises:
            ReactorError: It never comes to rest.
            BaseException: What a callback raised (see `errors`).
        """
        self._settle()
        self._raise_reported()

    def _settle(self) -> None:
        self._forbid_nesting()
        for _ in range(MOST_TURNS):
            due = self.next_timer()
            if self.idle and (due is None or due > self._now):
                return
            self.turn()
        raise ReactorError(f"still busy after {MOST_TURNS} turns in which no time passed")

    def advance(self, seconds: float) -> None:
        """Let time pass: each timer that is due is called at its own time, and all it causes.

        Args:
            seconds: How long, from 0 on.

        Raises:
            ValueError: It is negative.
            BaseException: What a callback raised (see `errors`).
        """
        if seconds < 0:
            raise ValueError(f"time does not go back ({seconds} s)")
        end = self._now + seconds
        self._settle()
        while (due := self.next_timer()) is not None and due <= end:
            self._now = max(self._now, due)
            self._settle()
        self._now = max(self._now, end)
        self._raise_reported()

    if TYPE_CHECKING:

        @overload
        def run_until(self, wanted: Deferred[T], *, limit: float = 3600.0) -> T: ...
        @overload
        def run_until(self, wanted: Callable[[], object], *, limit: float = 3600.0) -> None: ...

    def run_until(
        self, wanted: Deferred[Any] | Callable[[], object], *, limit: float = 3600.0
    ) -> Any:
        """Let time pass from timer to timer until something is so.

        Args:
            wanted: A Deferred that shall have fired, or a function of no
                argument that shall return something true.
            limit: Virtual seconds after which to give up.

        Returns:
            The value of the Deferred; ``None`` for a function.

        Raises:
            TimeoutError: It did not come about in `limit` seconds, or nothing
                waits that could bring it about.
            BaseException: The Deferred's error, or what a callback raised.
        """
        deferred = wanted if _is_deferred(wanted) else None
        if deferred is None:
            reached = cast("Callable[[], object]", wanted)
        else:

            def reached() -> object:
                return deferred.outcome is not None

        end = self._now + limit
        while not self._turn_until(reached):
            due = self.next_timer()
            if due is None or due > end:
                self._raise_reported()
                why = "nothing waits any more" if due is None else f"not within {limit:g} s"
                raise TimeoutError(f"{wanted!r} did not come about: {why}")
            self._now = max(self._now, due)
        self._raise_reported()
        if deferred is not None and (outcome := deferred.outcome) is not None:
            deferred.add_errback(_taken)
            return outcome.unwrap()
        return None

    def _turn_until(self, reached: Callable[[], object]) -> bool:
        """Turn until `reached` or nothing can happen at this time; whether it was reached."""
        self._forbid_nesting()
        for _ in range(MOST_TURNS):
            if reached():
                return True
            due = self.next_timer()
            if self.idle and (due is None or due > self._now):
                return False
            self.turn()
        raise ReactorError(f"still busy after {MOST_TURNS} turns in which no time passed")

    def run(self, main: Callable[[Clock], Awaitable[T]], *, limit: float = 24 * 3600.0) -> T:
        """Run ``async main(clock)`` to its end, time passing whenever all wait.

        Args:
            main: A coroutine function, or one that returns a Deferred.
            limit: Virtual seconds after which `TimeoutError` is raised.

        Returns:
            What it returns.
        """
        from sennit.core.deferred import maybe_deferred

        box: list[Deferred[T]] = []

        def start() -> None:
            box.append(maybe_deferred(main, self))

        self.call_soon(start)
        self.turn()
        if not box:
            self._raise_reported()
            raise ReactorError("main was not started")
        return self.run_until(box[0], limit=limit)

    def _raise_reported(self) -> None:
        if self.errors and not self.keep_errors:
            errors, self.errors = self.errors, []
            raise errors[0]

    # ── the thread's current reactor ──────────────────────────────────────────

    def _enter(self) -> bool:
        """Become the thread's reactor for one turn, if it has none."""
        if _current.reactor is not None or _runs_a_loop():
            return False
        _current.reactor = _as_reactor(self)
        if self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.enter_thread()
        return True

    def _leave(self) -> None:
        _current.reactor = None
        if self._event_loop is not None:
            self._event_loop.leave_thread()

    def close(self) -> None:
        """Call the shutdown hooks, cancel the coroutines that are left, forget all timers."""
        while self._shutdown_calls:
            call = self._shutdown_calls.pop()
            if call.fn is not None:
                self._ready.append(call)
                self._settle()
        if self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.cancel_tasks()
            self._settle()
            self._event_loop.close()
        self._ready.clear()
        self._heap.clear()
        self._flushes.clear()
        self._raise_reported()

    def __enter__(self) -> Self:
        """Close it at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """`close`, whose own complaints do not hide the block's."""
        try:
            self.close()
        except BaseException:
            if error is None:
                raise


class _NoNetwork:
    """What a clock has in place of a network, until there is one."""

    def __getattr__(self, name: str) -> Any:
        raise ReactorError(
            f"a Clock has no sockets, so there is no {name}: make a MemoryNetwork(clock) first"
        )


_NO_NETWORK: MemoryNetwork = _NoNetwork()  # type: ignore[assignment]  # it only refuses


def _is_deferred(wanted: object) -> TypeGuard[Deferred[Any]]:
    from sennit.core.deferred import Deferred

    return isinstance(wanted, Deferred)


def _taken(error: BaseException) -> None:
    """The error is raised to the test."""


def _runs_a_loop() -> bool:
    if "asyncio" not in sys.modules:
        return False
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _as_reactor(clock: Clock) -> Reactor:
    """The clock, for who asks `current_reactor`: it has what a transport or a protocol needs."""
    return clock  # type: ignore[return-value]  # a stand-in by shape, without descriptors
