"""An asyncio loop on a `Clock`'s time: Tasks and timers, nothing that waits for a kernel."""

from __future__ import annotations

import asyncio
import threading
from asyncio import events
from typing import TYPE_CHECKING, Any, TypeVarTuple

from sennit.core.reactor.calls import DelayedCall

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from sennit.core.reactor.calls import TimedCall
    from sennit.core.testing.clock import Clock

Ts = TypeVarTuple("Ts")

__all__ = ["ClockEventLoop"]


class _TimerHandle(asyncio.TimerHandle):
    """A timer of asyncio's that is also one of the clock's."""

    clock_call: TimedCall | None = None

    def cancel(self) -> None:
        if self.clock_call is not None:
            self.clock_call.cancel()
            self.clock_call = None
        super().cancel()


class ClockEventLoop(asyncio.BaseEventLoop):
    """What a coroutine sees as its loop while a `Clock` turns.

    Args:
        clock: Whose time and queue it uses.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def __del__(self, _warn: object = None) -> None:
        """Nothing is behind this loop, so nothing leaks when it is dropped."""

    def time(self) -> float:
        return self._clock.time()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._clock.queue(DelayedCall(_run_handle, (handle,), None))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = _TimerHandle(when, callback, args, self, context)
        handle.clock_call = self._clock.call_at(when, _run_handle, handle)
        return handle

    def enter_thread(self) -> None:
        """Be the running loop of this thread."""
        if events._get_running_loop() is not self:
            self._thread_id = threading.get_ident()
            events._set_running_loop(self)

    def leave_thread(self) -> None:
        """Be it no longer."""
        self._thread_id = None  # type: ignore[assignment]  # asyncio's own sign for it
        if events._get_running_loop() is self:
            events._set_running_loop(None)

    def cancel_tasks(self) -> None:
        """Cancel every Task of this loop that has not ended."""
        for task in asyncio.all_tasks(self):
            task.cancel()

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would log is kept by the clock, for the test to see."""
        error = context.get("exception")
        message = str(context.get("message"))
        self._clock.report(
            error if isinstance(error, BaseException) else RuntimeError(message), f"({message})"
        )


def _run_handle(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()
