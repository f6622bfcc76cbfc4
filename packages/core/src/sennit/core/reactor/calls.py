"""What waits to be called: one slotted object per call, no handle around it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, Protocol

    from sennit.core.reactor.turning import Turning

    class Cancellable(Protocol):
        """What some loop returned for a call it will make."""

        def cancel(self) -> object: ...


__all__ = ["DelayedCall", "TimedCall"]


class DelayedCall:
    """A call that waits in the ready queue (an `IDelayedCall`).

    Attributes:
        context: Where it runs; ``None`` for the reactor's own, empty one.
    """

    __slots__ = ("args", "context", "fn")

    def __init__(
        self, fn: Callable[..., object] | None, args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.fn = fn
        self.args = args
        self.context = context

    def cancel(self) -> None:
        """Do not call it. Harmless when it was called or cancelled already."""
        self.fn = None
        self.args = ()
        self.context = None

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self.fn is None

    def __repr__(self) -> str:
        """The function, or that it is cancelled."""
        what = "cancelled" if self.fn is None else repr(self.fn)
        return f"<{type(self).__name__} {what}>"


class TimedCall(DelayedCall):
    """A call that waits for its time in the heap."""

    __slots__ = ("_moment", "_reactor")

    def __init__(
        self,
        moment: float,
        fn: Callable[..., object] | None,
        args: tuple[Any, ...],
        context: Context | None,
        reactor: Turning,
    ) -> None:
        self._moment = moment
        self.fn = fn
        self.args = args
        self.context = context
        self._reactor: Turning | None = reactor

    def when(self) -> float:
        """The reactor's time at which it is due."""
        return self._moment

    def cancel(self) -> None:
        """Do not call it. Its place in the heap is given up when half the heap is dead."""
        reactor = self._reactor
        if reactor is not None:
            self._reactor = None
            reactor.timer_cancelled()
        self.fn = None
        self.args = ()
        self.context = None

    def left_heap(self) -> None:
        """It has been taken from the heap: cancelling it is of no interest any more."""
        self._reactor = None
