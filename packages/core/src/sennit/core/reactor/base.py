"""The reactor: one loop over descriptors, timers, a ready queue and threads.

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

A reactor lives by itself (`Reactor.run`), under asyncio's `Runner`
(``eventloop.py``), or inside a loop that somebody else runs (``foreign.py``),
which waits on one descriptor and calls `Reactor.turn`.

Not here: sockets (``sennit.core.transport``), asyncio (``eventloop.py``).
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections import deque
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic

from sennit.core._implements import implements
from sennit.core.errors import ReactorError, ReactorNotRunningError
from sennit.core.reactor.calls import DelayedCall, TimedCall
from sennit.core.reactor.pollers import ERROR, HANGUP, READ, WRITE, default_poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, Final, Protocol, TypeVar, overload

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IListener, IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.eventloop import ReactorEventLoop
    from sennit.core.reactor.pollers import Poller
    from sennit.core.threads import ThreadPool

    T = TypeVar("T")

    class Dependant(Protocol):
        """Whatever must end when its reactor does."""

        def reactor_stopped(self) -> None: ...

    class Ending(Protocol):
        """A transport whose connection is over."""

        def finish(self) -> None: ...

    class Host(Protocol):
        """A loop that a reactor lives in, as the reactor sees it (``foreign.py``)."""

        def request_turn(self) -> None:
            """Call `Reactor.turn` soon; asked for once per turn at most."""

        def turn_ended(self, delay: float | None) -> None:
            """The next turn is due in `delay` seconds; ``None`` when only an event can want it."""

        def stop(self) -> object:
            """Begin to shut down and end the reactor; it has been asked to stop."""

        def event_loop(self) -> asyncio.AbstractEventLoop:
            """The asyncio loop of this thread, where there is one."""
            ...


__all__ = ["Reactor", "current_loop", "current_reactor", "run"]

_LONGEST_WAIT: Final = 3600.0
"""Seconds one poll waits at most; some kernels count milliseconds in 32 bits."""

_LAYERS: Final = 3
"""Transports on top of each other whose writes leave in the same turn."""

_FEW_TIMERS: Final = 64
"""Cancelled timers that are left in the heap without thinking about it."""


class _Current(threading.local):
    reactor: Reactor | None = None


_current = _Current()


class _Descriptor:
    """What `add_reader` and `add_writer` know of one descriptor."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: DelayedCall | None = None
        self.writer: DelayedCall | None = None

    def mask(self) -> int:
        return (READ if self.reader else 0) | (WRITE if self.writer else 0)

    def handle(self, mask: int) -> None:
        reader, writer = self.reader, self.writer
        if reader is not None and mask & (READ | ERROR | HANGUP):
            _call(reader)
        if writer is not None and mask & (WRITE | ERROR | HANGUP):
            _call(writer)


def _call(call: DelayedCall) -> None:
    fn = call.fn
    if fn is None:
        return
    if call.context is None:
        fn(*call.args)
    else:
        call.context.run(fn, *call.args)


@implements("IReactor")
class Reactor:
    """One loop; as many as one likes per process, one running per thread.

    Args:
        poller: ``epoll``, ``kqueue``, ``poll`` or ``select``; the best of the
            platform when it is left out.

    Raises:
        ValueError: The platform has no such poller.
    """

    def __init__(self, poller: str | None = None) -> None:
        self._poller: Poller = default_poller(poller)
        self._poll = self._poller.poll
        self.handlers: dict[int, Callable[[int], object]] = {}
        # Those that end with the reactor, though they may have no descriptor watched.
        self.dependants: set[Dependant] = set()
        self._descriptors: dict[int, _Descriptor] = {}
        self._ready: deque[DelayedCall] = deque()
        self._heap: list[tuple[float, int, TimedCall]] = []
        self._sequence = count()
        self._dead_timers = 0
        self._flushes: list[Callable[[], object]] = []
        self._endings: list[Ending] = []
        # Called by whatever queues work; set only while a host owns the loop and no turn runs.
        self._outside: Callable[[], object] | None = None
        self._host: Host | None = None
        self._running = False
        self._stopping = False
        self._closed = False
        self._thread: int | None = None
        self._wake_sockets: tuple[socket.socket, socket.socket] | None = None
        self._woken = False
        self._signals: dict[int, tuple[DelayedCall, Any]] = {}
        self._shutdown_calls: list[DelayedCall] = []
        self._event_loop: ReactorEventLoop | None = None
        self._threads: ThreadPool | None = None
        self.resolver_threads: ThreadPool | None = None

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

    def ended(self, transport: Ending) -> None:
        """Call `transport.finish()` at the end of this turn."""
        self._endings.append(transport)
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

    # ── threads ───────────────────────────────────────────────────────────────

    def call_from_thread(
        self, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> DelayedCall:
        """`call_soon` from any thread."""
        call = DelayedCall(fn, args, (copy_context() or None) if context is None else context)
        self._ready.append(call)
        self._wake()
        return call

    def _wake(self) -> None:
        """Make a poll that may be waiting return.

        The flag is lowered after the octet is read, and the ready queue is run
        after that: who finds it raised has queued before the queue is run. (Lowered
        before, it would stay raised for ever when the read takes the octet of
        somebody who has raised it in between.)
        """
        if not self._woken:
            self._woken = True
            sockets = self._wake_sockets
            if sockets is not None:
                try:
                    sockets[1].send(b"\0")
                except OSError:
                    # Full: a wake-up is under way. Closed: nothing waits any more.
                    pass

    def _on_wake(self, mask: int) -> None:
        if self._wake_sockets is not None:
            try:
                self._wake_sockets[0].recv(4096)
            except BlockingIOError:
                pass
        self._woken = False

    def defer_to_thread(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run `fn` in the thread pool; the Deferred fires in this thread."""
        if self._threads is None:
            from sennit.core.threads import ThreadPool

            self._threads = ThreadPool(name="sennit-worker")
        return self._threads.defer(self, fn, *args, **kwargs)

    # ── descriptors ───────────────────────────────────────────────────────────

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

    def add_reader(self, fd: int, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` whenever `fd` can be read; replaces, and cancels, the one before.

        Raises:
            ReactorError: The descriptor belongs to a transport.
            OSError: The kernel cannot watch it.
        """
        entry = self._descriptor(fd, READ)
        before, entry.reader = entry.reader, DelayedCall(fn, args, copy_context() or None)
        if before is not None:
            before.cancel()
        return entry.reader

    def add_writer(self, fd: int, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` whenever `fd` can be written; replaces, and cancels, the one before.

        Raises:
            ReactorError: The descriptor belongs to a transport.
            OSError: The kernel cannot watch it.
        """
        entry = self._descriptor(fd, WRITE)
        before, entry.writer = entry.writer, DelayedCall(fn, args, copy_context() or None)
        if before is not None:
            before.cancel()
        return entry.writer

    def _descriptor(self, fd: int, wanted: int) -> _Descriptor:
        """The entry of `fd`, which the poller watches for `wanted` too from now on."""
        entry = self._descriptors.get(fd)
        if entry is None:
            if fd in self.handlers:
                raise ReactorError(f"descriptor {fd} belongs to a transport")
            entry = _Descriptor()
            self.watch(fd, wanted, entry.handle)
            self._descriptors[fd] = entry
            return entry
        mask = entry.mask() | wanted
        try:
            self.rewatch(fd, mask)
        except FileNotFoundError:
            # Closed without a word to us, and the number given to another one.
            self._poller.register(fd, mask)
        return entry

    def remove_reader(self, fd: int) -> bool:
        """Stop calling the reader of `fd`; False when there was none."""
        entry = self._descriptors.get(fd)
        if entry is None or entry.reader is None:
            return False
        entry.reader.cancel()
        entry.reader = None
        self._descriptor_changed(fd, entry)
        return True

    def remove_writer(self, fd: int) -> bool:
        """Stop calling the writer of `fd`; False when there was none."""
        entry = self._descriptors.get(fd)
        if entry is None or entry.writer is None:
            return False
        entry.writer.cancel()
        entry.writer = None
        self._descriptor_changed(fd, entry)
        return True

    def _descriptor_changed(self, fd: int, entry: _Descriptor) -> None:
        mask = entry.mask()
        try:
            if mask:
                self.rewatch(fd, mask)
            else:
                del self._descriptors[fd]
                self.unwatch(fd)
        except (OSError, ValueError):
            # Closed before it was removed; the kernel has forgotten it by itself.
            pass

    # ── signals ───────────────────────────────────────────────────────────────

    def add_signal_handler(self, signum: int, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` in a turn of the loop when signal `signum` comes.

        Raises:
            ValueError: The number is no signal, or this is not the main thread.
            OSError: The signal cannot be caught.
        """
        before = self._signals.get(signum)
        call = DelayedCall(fn, args, copy_context() or None)
        previous = before[1] if before else signal.getsignal(signum)
        signal.signal(signum, self._on_signal)
        self._signals[signum] = (call, previous)
        if self._running:
            self._watch_signals()

    def remove_signal_handler(self, signum: int) -> bool:
        """Let the signal do what it did before; False when there was no handler."""
        entry = self._signals.pop(signum, None)
        if entry is None:
            return False
        signal.signal(signum, signal.SIG_DFL if entry[1] is None else entry[1])
        return True

    def _on_signal(self, signum: int, frame: object) -> None:
        entry = self._signals.get(signum)
        if entry is not None:
            call = entry[0]
            self._ready.append(DelayedCall(call.fn, call.args, call.context))
            # The interpreter's wake-up octet ends the poll of the main thread;
            # this one serves a poll that some other poller has swallowed it in.
            self._wake()

    def _watch_signals(self) -> None:
        # Inside another loop the wake-up descriptor is that loop's to set.
        if (
            self._wake_sockets is not None
            and self._host is None
            and threading.current_thread() is threading.main_thread()
        ):
            signal.set_wakeup_fd(self._wake_sockets[1].fileno(), warn_on_full_buffer=False)

    def _unwatch_signals(self) -> None:
        sockets = self._wake_sockets
        if sockets is not None and threading.current_thread() is threading.main_thread():
            previous = signal.set_wakeup_fd(-1)
            if previous not in (-1, sockets[1].fileno()):
                signal.set_wakeup_fd(previous)

    def handles_signal(self, signum: int) -> bool:
        """Whether `add_signal_handler` was called for it."""
        return signum in self._signals

    def fileno(self) -> int:
        """The one descriptor that tells another loop of all events (``foreign.py``).

        Raises:
            ReactorError: This kind of poller has none.
        """
        fd = self._poller.fileno()
        if fd is None:
            raise ReactorError(
                f"{type(self._poller).__name__} has no descriptor that another loop could watch: "
                "a reactor inside another loop needs epoll or kqueue"
            )
        return fd

    # ── life cycle ────────────────────────────────────────────────────────────

    @property
    def running(self) -> bool:
        """Whether it turns now, by itself or inside another loop."""
        return self._running

    def begin(self, host: Host | None = None) -> None:
        """Become this thread's reactor (for `run` and those who turn it themselves).

        Raises:
            ReactorError: It runs already, it was closed, or another loop has the thread.
        """
        if self._closed:
            raise ReactorError("this reactor was closed")
        if self._running:
            raise ReactorError("this reactor runs already")
        if host is None:
            if _current.reactor is not None:
                raise ReactorError("another reactor runs in this thread")
            _current.reactor = self
        self._running = True
        self._stopping = False
        self._thread = threading.get_ident()
        self._host = host
        if self._wake_sockets is None:
            here, there = socket.socketpair()
            here.setblocking(False)
            there.setblocking(False)
            self._woken = False
            self._wake_sockets = (here, there)
            self.watch(here.fileno(), READ, self._on_wake)
        if self._signals:
            self._watch_signals()
        if host is not None:
            self._outside = self._request_turn
            if self._ready or self._heap or self._flushes:
                self._request_turn()
        elif self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.enter_thread()

    def leave(self) -> None:
        """Let go of the thread, and keep all that waits for the next `begin`."""
        if self._signals and self._host is None:
            self._unwatch_signals()
        self._running = False
        self._stopping = False
        self._thread = None
        if _current.reactor is self:
            _current.reactor = None

    def end(self, *, at_once: bool = False) -> None:
        """Undo `begin`: what still waits is forgotten, signals do what they did before.

        Args:
            at_once: The program is to end this moment: tell nobody, wait for nothing.
        """
        interrupt: BaseException | None = None
        if not at_once:
            for each in list(self.dependants):
                each.reactor_stopped()
            for handler in list(self.handlers.values()):
                _tell_stopped(handler)
            interrupt = self._run_out()
        loop = self._event_loop
        if loop is not None:
            loop.reactor_ended()
        for signum in list(self._signals):
            self.remove_signal_handler(signum)
        sockets = self._wake_sockets
        if sockets is not None:
            self._unwatch_signals()
            self._wake_sockets = None
            self.unwatch(sockets[0].fileno())
            sockets[0].close()
            sockets[1].close()
        for fd in list(self._descriptors):
            self.remove_reader(fd)
            self.remove_writer(fd)
        for pool in (self._threads, self.resolver_threads):
            if pool is not None:
                pool.close(0 if at_once else 5)
        self._threads = self.resolver_threads = None
        self._ready.clear()
        self._heap.clear()
        self._flushes.clear()
        self._endings.clear()
        self._dead_timers = 0
        self._outside = None
        self.leave()
        self._host = None
        if interrupt is not None:
            raise interrupt

    def _run_out(self) -> BaseException | None:
        """A few turns without waiting, in which what was closed tells its protocols so."""
        self._outside = None
        interrupt: BaseException | None = None
        for _ in range(8):
            try:
                Context().run(self._turns, once=True)
            except (KeyboardInterrupt, SystemExit) as error:
                interrupt = error
            if not self._ready and not self._flushes and not self._endings:
                break
        return interrupt

    def close(self) -> None:
        """Give the poller's descriptor back; the reactor cannot run again."""
        if self._running:
            raise ReactorError("a running reactor cannot be closed: stop it first")
        if not self._closed:
            self._closed = True
            self._poller.close()

    def abandon(self) -> None:
        """Give descriptors back and call nobody: the loop it lived in has gone."""
        self._outside = None
        if self._wake_sockets is not None:
            self._wake_sockets[0].close()
            self._wake_sockets[1].close()
            self._wake_sockets = None
        self._host = None
        self._running = False
        self.close()

    def stop(self) -> None:
        """End `run` in good order; harmless when it is ending already."""
        self._stopping = True
        if self._outside is not None:
            self._outside()

    def at_shutdown(self, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` when the reactor stops, the last asked for first.

        What it returns, if it is a Deferred or awaitable, is waited for.
        """
        call = DelayedCall(fn, args, copy_context() or None)
        self._shutdown_calls.append(call)
        return call

    def pop_shutdown_call(self) -> DelayedCall | None:
        """The hook asked for last, taken off the list (for the one who ends the run)."""
        return self._shutdown_calls.pop() if self._shutdown_calls else None

    if TYPE_CHECKING:

        @overload
        def run(self, main: None = None, *, handle_signals: bool = True) -> None: ...
        @overload
        def run(
            self,
            main: Callable[[Reactor], Coroutine[Any, Any, T]],
            *,
            handle_signals: bool = True,
        ) -> T: ...
        @overload
        def run(
            self, main: Callable[[Reactor], Deferred[T]], *, handle_signals: bool = True
        ) -> T: ...
        @overload
        def run(self, main: Callable[[Reactor], None], *, handle_signals: bool = True) -> None: ...

    def run(
        self, main: Callable[[Reactor], object] | None = None, *, handle_signals: bool = True
    ) -> object:
        """Turn until `main` has ended, then shut down in good order.

        Args:
            main: Called with the reactor in the first turn. If it returns a
                coroutine or a Deferred, `run` ends with that, else (and without
                `main`) with `stop`.
            handle_signals: SIGINT and SIGTERM cancel `main`, or stop; a second
                one raises `SystemExit` with 128 + its number there and then.
                Only in the main thread, and only where nobody handles them.

        Returns:
            The outcome of `main`.

        Raises:
            ReactorError: It runs already, was closed, or this thread has a loop.
            KeyboardInterrupt: SIGINT ended a `main` that did not return by itself.
            SystemExit: SIGTERM did (status 0).
        """
        if "asyncio" in sys.modules:
            import asyncio

            try:
                asyncio.get_running_loop()
            except RuntimeError:
                pass
            else:
                raise ReactorError("this thread runs a loop already; await in it, or use serve()")
        from sennit.core.reactor.lifecycle import Run

        return Run(self, handle_signals=handle_signals).run(main)

    def spin(self) -> None:
        """Turn until `stop`, each turn that follows a polluted one in a fresh context."""
        while not self._stopping:
            Context().run(self._turns)
        self._stopping = False

    def turn(self) -> None:
        """One turn without waiting, for a host (``foreign.py``)."""
        if self._outside is None:
            # Called from inside a turn: they never nest.
            return
        self._outside = None
        try:
            Context().run(self._turns, once=True)
        finally:
            host = self._host
            if host is not None:
                self._outside = self._request_turn
                if self._stopping:
                    self._stopping = False
                    host.stop()
                host.turn_ended(self._wait())

    def _request_turn(self) -> None:
        """Ask the host for one turn; not again before that turn has ended."""
        host = self._host
        if host is not None:
            self._outside = _already_asked
            host.request_turn()

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

    def _turns(self, once: bool = False) -> None:
        """Turn until `stop` or until the context is not empty any more; `once`: without waiting."""
        poll, handlers, ready, heap = self._poll, self.handlers, self._ready, self._heap
        while once or not self._stopping:
            if once or ready or self._flushes or self._endings:
                timeout: float | None = 0
            elif heap:
                timeout = self._wait()
            else:
                timeout = None
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
            if heap:
                self._take_due()
            if ready:
                self._run_ready()
            if self._flushes:
                self._run_flushes()
            if self._endings:
                self._run_endings()
            if once or copy_context():
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

    def _run_ready(self) -> None:
        """Call what is in the queue now; what that queues has its turn in the next one."""
        ready = self._ready
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

    def _run_flushes(self) -> None:
        """Send what was written in this turn; a layer's flush queues that of the layer below."""
        for _ in range(_LAYERS):
            flushes, self._flushes = self._flushes, []
            for flush in flushes:
                try:
                    flush()
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:
                    self.report(error, "while sending")
            if not self._flushes:
                return

    def _run_endings(self) -> None:
        """Close what was lost in this turn."""
        endings, self._endings = self._endings, []
        for transport in endings:
            try:
                transport.finish()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.report(error, "while a connection ended")

    def report(self, error: BaseException, where: str) -> None:
        """Log an exception that nobody else will see.

        Where asyncio's loop was given an exception handler, that one gets it.
        """
        loop = self._event_loop
        if loop is not None and loop.get_exception_handler() is not None:
            loop.call_exception_handler(
                {"message": f"Unhandled {type(error).__name__} {where}", "exception": error}
            )
            return
        from sennit.core.reactor.lifecycle import log_error

        log_error(error, where)

    # ── asyncio ───────────────────────────────────────────────────────────────

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """This reactor as asyncio's loop, made when first asked for; the host's when embedded."""
        if self._host is not None:
            return self._host.event_loop()
        if self._event_loop is None or self._event_loop.is_closed():
            from sennit.core.reactor.eventloop import ReactorEventLoop

            self._event_loop = ReactorEventLoop(self)
        if self._thread == threading.get_ident():
            self._event_loop.enter_thread()
        return self._event_loop

    @property
    def made_event_loop(self) -> ReactorEventLoop | None:
        """`event_loop` if it was ever asked for."""
        return self._event_loop

    # ── sockets ───────────────────────────────────────────────────────────────

    def listen_tcp(
        self,
        factory: ProtocolFactory,
        port: int,
        host: str = "",
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
    ) -> Deferred[IListener]:
        """Accept TCP connections; an empty `host` means every interface of both families."""
        from sennit.core.transport import listening

        return listening.listen_tcp(
            self, factory, port, host, backlog=backlog, reuse_port=reuse_port
        )

    def connect_tcp(
        self,
        factory: ProtocolFactory,
        host: str,
        port: int,
        *,
        timeout: float = 30.0,
        local_address: tuple[str, int] | None = None,
    ) -> Deferred[IStreamProtocol]:
        """Connect to the first address of `host` that answers (RFC 8305)."""
        from sennit.core.endpoint import connect

        return connect.connect_tcp(
            self, factory, host, port, timeout=timeout, local_address=local_address
        )

    def listen_unix(
        self, factory: ProtocolFactory, path: str, *, backlog: int = 1024, mode: int = 0o666
    ) -> Deferred[IListener]:
        """Accept connections to a Unix socket; replaces a socket file that nobody serves."""
        from sennit.core.transport import listening

        return listening.listen_unix(self, factory, path, backlog=backlog, mode=mode)

    def connect_unix(
        self, factory: ProtocolFactory, path: str, *, timeout: float = 30.0
    ) -> Deferred[IStreamProtocol]:
        """Connect to a Unix socket."""
        from sennit.core.endpoint import connect

        return connect.connect_unix(self, factory, path, timeout=timeout)


def _already_asked() -> None:
    """A host owes the reactor a turn; nothing to do."""


def _tell_stopped(handler: Callable[[int], object]) -> None:
    """Tell the owner of a descriptor, if it is one of ours, that its reactor stops."""
    bound = getattr(handler, "args", (handler,))[0]
    owner = getattr(bound, "__self__", None)
    stopped = getattr(owner, "reactor_stopped", None)
    if stopped is not None:
        stopped()


def current_reactor() -> Reactor:
    """The reactor that runs in this thread.

    Inside an asyncio loop that somebody else runs, an embedded one, made on the spot.

    Raises:
        ReactorNotRunningError: There is neither.
    """
    reactor = _current.reactor
    if reactor is not None:
        return reactor
    if "asyncio" in sys.modules:
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            from sennit.core.reactor.foreign import reactor_in

            return reactor_in(loop)
    raise ReactorNotRunningError(
        "no reactor runs in this thread: call this from run(main), or inside a running asyncio loop"
    )


def current_loop() -> asyncio.AbstractEventLoop:
    """asyncio's loop of this thread: the running one, or the running reactor's, made on demand.

    Raises:
        ReactorNotRunningError: Neither runs.
    """
    if "asyncio" in sys.modules:
        import asyncio

        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    return current_reactor().event_loop


if TYPE_CHECKING:

    @overload
    def run(main: None = None, *, poller: str | None = None) -> None: ...
    @overload
    def run(
        main: Callable[[Reactor], Coroutine[Any, Any, T]], *, poller: str | None = None
    ) -> T: ...
    @overload
    def run(main: Callable[[Reactor], Awaitable[T]], *, poller: str | None = None) -> T: ...
    @overload
    def run(main: Callable[[Reactor], None], *, poller: str | None = None) -> None: ...


def run(main: Callable[[Reactor], object] | None = None, *, poller: str | None = None) -> object:
    """Make a reactor, run `main` with it, and give everything back (see `Reactor.run`)."""
    reactor = Reactor(poller)
    run_it: Any = reactor.run  # its overloads are for callers
    try:
        return run_it(main)
    finally:
        reactor.close()
