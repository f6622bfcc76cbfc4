"""Calls that asyncio's users ask for: the reactor's own, and asyncio's handles in debug mode.

Out of debug mode a call is one slotted object in the reactor's queue (`LoopCall`), or
in its heap. In debug mode it is an `asyncio.Handle` besides, which knows where it was
made, and which the queue holds by a call that times it.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events
from contextvars import Context, copy_context
from heapq import heappush
from time import monotonic

from sennit.core.reactor.calls import DelayedCall, TimedCall
from sennit.core.reactor.loopbase import AsyncioLoop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

    Call = DelayedCall | asyncio.Handle
    Timer = TimedCall | asyncio.TimerHandle

__all__ = ["LoopCall", "LoopCalls", "TimerHandle"]


class LoopCall(DelayedCall):
    """A call asked for through asyncio's interface (its `asyncio.Handle`)."""

    __slots__ = ()


class TimerHandle(asyncio.TimerHandle):
    """asyncio's own, of debug mode, with the reactor's call behind it."""

    __slots__ = ("call",)

    call: TimedCall


def _quick_calls(reactor: Reactor) -> dict[str, Callable[..., object]]:
    """`call_soon`, `call_at` and `call_later` without a look at anything.

    asyncio calls the first for every step of every Task; the others are set for
    every time-out there is, and mostly cancelled.
    """
    append = reactor._ready.append
    heap, sequence = reactor._heap, reactor._sequence
    new = object.__new__

    def call_soon(
        callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopCall:
        # To call the class costs half as much again: Python goes through C to its constructor.
        call = new(LoopCall)
        call.fn = callback
        call.args = args
        call.context = (copy_context() or None) if context is None else context
        append(call)
        return call

    def call_at(
        when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimedCall:
        if context is None:
            context = copy_context() or None
        call = TimedCall(when, callback, args, context, reactor)
        heappush(heap, (when, next(sequence), call))
        if reactor._outside is not None:
            reactor._outside()
        return call

    def call_later(
        delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimedCall:
        # As above, spelled out: a call in between is a fifth of what it all costs.
        if context is None:
            context = copy_context() or None
        when = monotonic() + delay
        call = TimedCall(when, callback, args, context, reactor)
        heappush(heap, (when, next(sequence), call))
        if reactor._outside is not None:
            reactor._outside()
        return call

    return {"call_soon": call_soon, "call_at": call_at, "call_later": call_later}


_QUICK = ("call_soon", "call_at", "call_later")


class LoopCalls(AsyncioLoop):
    """The part of `ReactorEventLoop` that calls back: soon, later, from other threads."""

    def set_debug(self, enabled: bool) -> None:
        """Check threads, remember where calls were made and time them, or do not."""
        super().set_debug(enabled)
        if enabled or self._closed:
            self.check_calls()
        else:
            self.__dict__.update(_quick_calls(self._reactor))

    def check_calls(self) -> None:
        """Look at each call from now on: in debug mode, and once the loop is closed."""
        for name in _QUICK:
            self.__dict__.pop(name, None)

    def call_soon(  # type: ignore[override]  # a handle, but not of asyncio's class
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        """Call back in the next turn. This form is used in debug mode and once it is closed."""
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, "call_soon")
        handle = asyncio.Handle(callback, args, self, context)
        _leave_out_this_frame(handle)
        self._reactor.queue(LoopCall(self._run_handle, (handle,), None))
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        """`call_soon` from any thread."""
        self._check_closed()
        made: Call
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
            made = asyncio.Handle(callback, args, self, context)
            _leave_out_this_frame(made)
            call = LoopCall(self._run_handle, (made,), None)
        else:
            made = call = LoopCall(
                callback, args, (copy_context() or None) if context is None else context
            )
        self._reactor._ready.append(call)
        self._reactor._wake()
        return made

    def call_later(  # type: ignore[override]  # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        """Call back in `delay` seconds, not before. This form as `call_soon`'s."""
        if delay is None:  # pyright: ignore[reportUnnecessaryComparison]  # a common slip
            raise TypeError("delay must not be None")
        timer = self.call_at(monotonic() + delay, callback, *args, context=context)
        _leave_out_this_frame(timer)
        return timer

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        """Call back when `time` has come to `when`. This form as `call_soon`'s."""
        if when is None:  # pyright: ignore[reportUnnecessaryComparison]  # as above
            raise TypeError("when cannot be None")
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, "call_at")
        handle = TimerHandle(when, callback, args, self, context)
        _leave_out_this_frame(handle)
        handle.call = self._reactor.call_at(when, self._run_handle, handle)
        return handle

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """A timer of debug mode was cancelled (called by its handle)."""
        handle.call.cancel()

    def _run_handle(self, handle: asyncio.Handle) -> None:
        """In debug mode: call, and say if that kept the loop for long."""
        if handle.cancelled():
            return
        began = monotonic()
        handle._run()
        took = monotonic() - began
        if took >= self.slow_callback_duration:
            # Described and logged as asyncio does, wherever its logger leads to.
            asyncios: Any = base_events
            asyncios.logger.warning(
                "Executing %s took %.3f seconds", asyncios._format_handle(handle), took
            )
        # An error that outlives this call holds this frame, which must not hold what was called.
        del handle

    def time(self) -> float:
        """The reactor's time: monotonic seconds."""
        return monotonic()


def _leave_out_this_frame(handle: Any) -> None:
    """A handle's traceback ends where it was asked for, not in here."""
    if handle._source_traceback:
        del handle._source_traceback[-1]
