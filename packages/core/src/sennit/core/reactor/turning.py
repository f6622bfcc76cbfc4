"""The turn: one poll, its events, the timers that are due, the ready queue, what was written.

A turn waits once for descriptors (`Poller.poll`), hands each event to the one
handler of its descriptor, moves the timers that are due to the ready queue,
runs what the queue held, and sends what was written meanwhile. There is no
handle, closure or allocation of ours per event: a transport leaves a bound
method in `handlers` and its socket in the poller.

Contexts: the loop runs in a context of its own, which is empty. What was set up
where no context variable had a value is stored with ``None`` and called plainly,
so it sees none either; everything else runs in the context it was set up in. A
callback that sets a variable in the loop's own context has it for the rest of
that turn only: the next one begins in a fresh context.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic

from sennit.core.reactor.calls import DelayedCall, TimedCall
from sennit.core.reactor.pollers import default_poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.ops.instruments import Meter
    from sennit.core.reactor.pollers import Poller


__all__ = ["Turning"]

_LONGEST_WAIT: Final = 3600.0
"""Seconds one poll waits at most; some kernels count milliseconds in 32 bits."""

_LAYERS: Final = 3
"""Transports on top of each other whose writes leave in the same turn."""

_ROUNDS: Final = 7
"""Times that what the ready queue has queued is run, too, before the kernel is asked again."""

_QUICK: Final = 0.0001
"""Seconds that this may take."""

_FEW_TIMERS: Final = 64
"""Cancelled timers that are left in the heap without thinking about it."""


def _no_handler(mask: int) -> None:
    """In the place of a handler that is not needed any more."""


_NO_CALL = DelayedCall(None, (), None)
"""In the place of the call just made, so that nothing keeps that one."""


class Turning:
    """The part of `Reactor` that turns, and what it turns over.

    Args:
        poller: Name of a poller; the platform's best when left out.
    """

    meter: Meter | None = None
    """Is told of connections and look-ups while somebody measures (``ops/instruments.py``)."""

    def __init__(self, poller: str | None = None) -> None:
        self._poller: Poller = default_poller(poller)
        self._poll = self._poller.poll
        self.handlers: dict[int, Callable[[int], object]] = {}
        self._ready: deque[DelayedCall] = deque()
        self._heap: list[tuple[float, int, TimedCall]] = []
        self._sequence = count()
        self._dead_timers = 0
        self._flushes: list[Callable[[], object]] = []
        self._endings: list[Callable[[], object]] = []
        # Called by whatever queues work; set only while a host owns the loop and no turn runs.
        self._outside: Callable[[], object] | None = None
        self._stopping = False

    # ── time and the ready queue ──────────────────────────────────────────────

    @staticmethod
    def time() -> float:
        """Monotonic seconds."""
        return monotonic()

    def call_soon(
        self, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> DelayedCall:
        """Call `fn(*args)` in this turn or the next one, in the order of asking."""
        call = DelayedCall(fn, args, (copy_context() or None) if context is None else context)
        self._ready.append(call)
        if self._outside is not None:
            self._outside()
        return call

    def queue(self, call: DelayedCall) -> None:
        """`call_soon` for one who made the call, and its context, himself."""
        self._ready.append(call)
        if self._outside is not None:
            self._outside()

    def ended(self, finish: Callable[[], object]) -> None:
        """Call `finish` at the end of this turn (for transports whose connection is over)."""
        self._endings.append(finish)
        if self._outside is not None:
            self._outside()

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> TimedCall:
        """Call `fn(*args)` in `delay` seconds, not before."""
        return self.call_at(monotonic() + delay, fn, *args)

    def call_at(
        self, when: float, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimedCall:
        """Call `fn(*args)` when `time()` has come to `when`."""
        call = TimedCall(
            when, fn, args, (copy_context() or None) if context is None else context, self
        )
        heappush(self._heap, (when, next(self._sequence), call))
        if self._outside is not None:
            self._outside()
        return call

    def timer_cancelled(self) -> None:
        """A timer in the heap is dead; when half of them are, the heap is made anew."""
        self._dead_timers += 1
        heap = self._heap
        if self._dead_timers > _FEW_TIMERS and self._dead_timers * 2 > len(heap):
            heap[:] = [entry for entry in heap if entry[2].fn is not None]
            heapify(heap)
            self._dead_timers = 0

    def flush_later(self, flush: Callable[[], object]) -> None:
        """Call `flush` once at the end of this turn (for transports that were written to)."""
        self._flushes.append(flush)
        if self._outside is not None:
            self._outside()

    # ── descriptors, for transports ───────────────────────────────────────────

    def watch(self, fd: int, mask: int, handler: Callable[[int], object]) -> None:
        """Call `handler(mask)` for the events of `fd` (for transports: one handler per `fd`).

        Raises:
            OSError: The kernel cannot watch it (``EPERM`` for a regular file).
        """
        self._poller.register(fd, mask)
        self.handlers[fd] = handler

    def rewatch(self, fd: int, mask: int) -> None:
        """Wait for other events of a watched `fd`."""
        self._poller.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Wait for `fd` no more; call it before the descriptor is closed."""
        del self.handlers[fd]
        self._poller.unregister(fd)

    # ── turning ───────────────────────────────────────────────────────────────

    def _wait(self) -> float | None:
        """Seconds until there is something to do without an event; ``None``: never."""
        if self._ready or self._flushes or self._endings or self._stopping:
            return 0
        heap = self._heap
        while heap and heap[0][2].fn is None:
            heappop(heap)
            self._dead_timers -= 1
        if heap:
            return min(max(heap[0][0] - monotonic(), 0), _LONGEST_WAIT)
        return None

    def _turns(self, context: Context | None = None) -> None:
        """Turn until `stop`, or until `context`, in which it runs, is not empty any more.

        Without one: a single turn that does not wait.
        """
        poll, handlers, ready, heap = self._poll, self.handlers, self._ready, self._heap
        once = context is None
        while once or not self._stopping:
            if once or ready or self._flushes or self._endings:
                timeout: float | None = 0
            elif heap:
                timeout = self._wait()
            else:
                timeout = None
            while True:
                for fd, mask in poll(timeout):
                    try:
                        handler = handlers[fd]
                    except KeyError:
                        continue  # given up by the handler of an earlier event of this turn
                    try:
                        handler(mask)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        self.report(error, "in the handler of a descriptor")
                if ready or self._flushes or self._endings or once or context or self._stopping:
                    break
                # Nothing but events was there, as in most turns: the next begins at once.
                if heap:
                    timeout = heap[0][0] - monotonic()
                    if not 0 < timeout < _LONGEST_WAIT:
                        break
                else:
                    timeout = None
            if heap:
                self._take_due()
            if ready:
                self._run_ready(0 if once else _ROUNDS)
            if self._flushes:
                self._run_flushes()
            if self._endings:
                handler = _no_handler  # lest the last one keeps a connection that ends
                self._run_endings()
            if once or context:
                return

    def _take_due(self) -> None:
        """Move the timers that are due to the ready queue."""
        heap = self._heap
        now = monotonic()
        while heap and heap[0][0] <= now:
            timer = heappop(heap)[2]
            if timer.fn is None:
                self._dead_timers -= 1
            else:
                timer.left_heap()
                self._ready.append(timer)

    def _run_ready(self, rounds: int) -> None:
        """Call what is in the queue now, and up to `rounds` times what that has queued.

        That is put off to the next turn when something waits to be sent or closed,
        which comes first, and when it takes long: then the kernel has a turn.
        """
        ready = self._ready
        until = 0.0
        while True:
            for _ in range(len(ready)):
                call = ready.popleft()
                fn = call.fn
                if fn is not None:
                    try:
                        if call.context is None:
                            fn(*call.args)
                        else:
                            call.context.run(fn, *call.args)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        self.report(error, f"in a call of {fn!r}")
            rounds -= 1
            if not ready or rounds < 0 or self._flushes or self._endings or self._stopping:
                break
            now = monotonic()
            if not until:
                until = now + _QUICK
            elif now > until:
                break
        # An error that outlives this turn holds this frame (f_back), which must not hold the call.
        call, fn = _NO_CALL, None

    def _run_flushes(self) -> None:
        """Send what was written in this turn; a layer's flush queues that of the layer below."""
        for _ in range(_LAYERS):
            flushes, self._flushes = self._flushes, []
            for flush in flushes:
                try:
                    flush()
                except (KeyboardInterrupt, SystemExit):
                    # The others still have their turn, if there is another one.
                    self._flushes[:0] = flushes[flushes.index(flush) + 1 :]
                    raise
                except BaseException as error:
                    self.report(error, "while sending")
            if not self._flushes:
                return

    def _run_endings(self) -> None:
        """Close what was lost in this turn."""
        endings, self._endings = self._endings, []
        for finish in endings:
            try:
                finish()
            except (KeyboardInterrupt, SystemExit):
                self._endings[:0] = endings[endings.index(finish) + 1 :]
                raise
            except BaseException as error:
                self.report(error, "while a connection ended")

    def _forget_waiting(self) -> None:
        """Forget what waits."""
        self._ready.clear()
        self._heap.clear()
        self._flushes.clear()
        self._endings.clear()
        self._dead_timers = 0

    def report(self, error: BaseException, where: str) -> None:
        """Log an exception that nobody else will see."""
        from sennit.core.reactor.lifecycle import log_error

        log_error(error, where)
