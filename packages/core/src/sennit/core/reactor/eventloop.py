"""The reactor as asyncio's loop: what `asyncio.get_running_loop` returns under `run`.

`ReactorEventLoop` takes from asyncio what is the same on every loop (names to
addresses to sockets, `asyncio.Server`, subprocesses, pipes, datagrams, the
``sock_`` family) and puts the reactor beneath it: its ready queue, timers,
descriptors, signals and threads, and its transports (``loopstreams.py``).

It comes in two ways. A reactor that runs has one made when the first coroutine is
driven (`Reactor.event_loop`), which ends with the run. `new_event_loop` makes a
loop with a reactor of its own, for `asyncio.Runner` and whoever else takes a loop;
closing that loop closes the reactor.

Not here: the reactor inside a loop that somebody else runs (``foreign.py``).
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from contextvars import Context

from sennit.core.reactor.base import Reactor
from sennit.core.reactor.lifecycle import run_shutdown_calls
from sennit.core.reactor.loopbase import LoopSelector
from sennit.core.reactor.loopcalls import LoopCall
from sennit.core.reactor.loopsockets import LoopSockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.loopprocesses import LoopPipe

__all__ = ["LoopCall", "ReactorEventLoop", "end_tasks", "new_event_loop"]


class ReactorEventLoop(LoopSockets):
    """A reactor, as asyncio sees it.

    Args:
        reactor: Whose turns are this loop's.
        owns_reactor: Whether closing the loop closes the reactor.
    """

    def __init__(self, reactor: Reactor, *, owns_reactor: bool = False) -> None:
        self._reactor = reactor
        self._owns_reactor = owns_reactor
        self._thread_id: int | None = None
        self._before: tuple[Any, asyncio.AbstractEventLoop | None] = (None, None)
        self._listeners = {}
        super().__init__(LoopSelector(reactor))  # type: ignore[arg-type]  # as much of one as is used

    # Where asyncio has the two ends of its own wake-up pair.
    _ssock = _csock = None

    # Private, but the base class is made to have them replaced: asyncio's other loops do so.
    def _make_self_pipe(self) -> None:
        """The reactor has its own."""
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        """The reactor has its own."""
        self._internal_fds -= 1

    def _write_to_self(self) -> None:
        self._reactor._wake()

    def __repr__(self) -> str:
        """Class and state, as asyncio's loops say them."""
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    @property
    def reactor(self) -> Reactor:
        """Whose loop it is."""
        return self._reactor

    # ── running ───────────────────────────────────────────────────────────────

    def enter_thread(self) -> None:
        """Be asyncio's running loop of this thread, until `leave_thread`."""
        if self._thread_id is not None:
            return
        self._set_coroutine_origin_tracking(self._debug)
        self._thread_id = threading.get_ident()
        self._before = (sys.get_asyncgen_hooks(), asyncio._get_running_loop())
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
        )
        asyncio._set_running_loop(self)

    def leave_thread(self) -> None:
        """Undo `enter_thread`."""
        if self._thread_id is None:
            return
        self._thread_id = None
        (hooks, loop), self._before = self._before, (None, None)
        asyncio._set_running_loop(loop)
        self._set_coroutine_origin_tracking(False)
        sys.set_asyncgen_hooks(*hooks)

    def run_forever(self) -> None:
        """Turn until `stop`; one turn when that was called before.

        Raises:
            RuntimeError: It runs already, is closed, or another loop has this thread.
        """
        self._check_closed()
        self._check_running()
        reactor = self._reactor
        stopping = reactor._stopping
        reactor.begin()
        try:
            self.enter_thread()
            if stopping:
                Context().run(reactor._turns)
            else:
                reactor.spin()
        finally:
            self.leave_thread()
            reactor.leave()

    def stop(self) -> None:
        """End `run_forever`, or `Reactor.run`, after this turn."""
        self._reactor.stop()

    def close(self) -> None:
        """Close the loop, and the reactor if it is the loop's own.

        Raises:
            RuntimeError: It runs.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        reactor = self._reactor
        if self._owns_reactor:
            # asyncio's rule: what was to be called and has not been is forgotten.
            ready = [call for call in reactor._ready if type(call) is not LoopCall]
            reactor._ready.clear()
            reactor._ready.extend(ready)
            reactor._heap.clear()
            reactor._dead_timers = 0
            # Connections that are left tell their protocols, which may want the loop for it.
            self.enter_thread()
            reactor.end()
            reactor.close()
        else:
            self._shut()

    def reactor_ended(self) -> None:
        """The reactor's run is over, and so is this loop (called by `Reactor.end`)."""
        self.leave_thread()
        self._shut()

    def _shut(self) -> None:
        self.check_calls()
        for sock in list(self._listeners):
            self._listeners.pop(sock).close()
        if self._pool is not None:
            self._pool.close(0)
            self._pool = None
        super().close()

    # ── signals ───────────────────────────────────────────────────────────────────

    def add_signal_handler(  # type: ignore[override]  # typed by hand, as above
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call back in a turn of the loop when the signal comes.

        Raises:
            TypeError: A coroutine (function) cannot be called back.
            ValueError: The number is no signal.
            RuntimeError: The signal cannot be caught, or this is not the main thread.
        """
        if hasattr(callback, "__await__") or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signal handlers are set in the main thread only")
        try:
            self._reactor.add_signal_handler(sig, callback, *args)
        except OSError as error:
            raise RuntimeError(f"sig {sig} cannot be caught") from error

    def remove_signal_handler(self, sig: int) -> bool:
        """Let the signal do what it did before; False when there was no handler."""
        _check_signal(sig)
        return self._reactor.remove_signal_handler(sig)

    # ── the end of a run ──────────────────────────────────────────────────────────

    async def shutdown_asyncgens(self) -> None:
        """Close asynchronous generators; the reactor's shutdown hooks come first."""
        if self._owns_reactor:
            await run_shutdown_calls(self._reactor)
        await super().shutdown_asyncgens()

    # ── pipes and processes ───────────────────────────────────────────────────

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> LoopPipe:
        from sennit.core.reactor.loopprocesses import read_pipe

        return read_pipe(self, pipe, protocol, waiter)

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> LoopPipe:
        from sennit.core.reactor.loopprocesses import write_pipe

        return write_pipe(self, pipe, protocol, waiter)

    async def _make_subprocess_transport(self, protocol: Any, *args: Any, **kwargs: Any) -> Any:
        from sennit.core.reactor.loopprocesses import start_subprocess

        return await start_subprocess(self, protocol, *args, **kwargs)


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def new_event_loop() -> ReactorEventLoop:
    """Make an asyncio loop with a reactor of its own.

    For ``asyncio.Runner(loop_factory=new_event_loop)`` and whoever else takes a
    loop or a factory of loops. Closing the loop closes the reactor.
    """
    reactor = Reactor()
    loop = ReactorEventLoop(reactor, owns_reactor=True)
    reactor._event_loop = loop
    return loop


async def end_tasks(loop: ReactorEventLoop) -> None:
    """Cancel what still runs on the loop, wait for it, and report what failed.

    Awaited last in a run; asynchronous generators and the default executor end too.
    """
    me = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks(loop) if task is not me]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler(
                {
                    "message": "a task failed while the run ended",
                    "exception": error,
                    "task": task,
                }
            )
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
