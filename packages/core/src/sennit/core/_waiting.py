"""The two ways between a Deferred and asyncio, and who waits in a chain.

`Wait` is what ``await deferred`` yields to its Task; `FutureWaiter` hands a
result to an asyncio future; `Bond` fires a Deferred when a future is done.
asyncio is imported when the first of them is made, or something is cancelled.

Not here: the chain in which they stand (``deferred.py``).
"""

from __future__ import annotations

import sys
from _thread import get_ident
from contextvars import Context

from sennit.core._outcome import strip

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from sennit.core._outcome import cast
else:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType
    from typing import Any, Protocol, TypeVar, cast

    from sennit.core.deferred import Deferred

    U = TypeVar("U")

    class Timer(Protocol):
        """What a clock returns."""

        def cancel(self) -> object: ...

    class Clock(Protocol):
        """Anything that can call later: a reactor, an asyncio loop."""

        def call_later(
            self, delay: float, fn: Callable[..., object], /, *args: object
        ) -> Timer: ...


# -- asyncio, when it is needed ----------------------------------------------

_running_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
_loop_or_none: Callable[[], Any]  # a loop or None, with an attribute of ours on it
_Future: type[asyncio.Future[Any]]
_done: asyncio.Future[None]
_current_task: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None]


def _load_asyncio() -> Callable[[], asyncio.AbstractEventLoop]:
    """Bind what is used of asyncio to globals: an import costs even when it is done."""
    global _running_loop, _loop_or_none, _current_task, _Future, _done
    import asyncio

    _Future = asyncio.Future
    _done = _Future(loop=cast("asyncio.AbstractEventLoop", _NoLoop()))
    _done.set_result(None)
    _loop_or_none = asyncio._get_running_loop
    if sys.version_info >= (3, 12):
        _current_task = asyncio.current_task
    else:
        # The function is C from 3.12 on only; this is the look-up it makes.
        _current_task = vars(asyncio.tasks)["_current_tasks"].get
    _running_loop = asyncio.get_running_loop
    return _running_loop


def new_cancellation() -> asyncio.CancelledError:
    """Return a new `asyncio.CancelledError`."""
    from asyncio import CancelledError

    return CancelledError()


def is_cancellation(error: BaseException) -> bool:
    """Whether this is `asyncio.CancelledError`, asked without importing asyncio."""
    module = sys.modules.get("asyncio")
    return module is not None and isinstance(error, module.CancelledError)


def current_loop() -> asyncio.AbstractEventLoop:
    """Return the running asyncio loop, or the running reactor's own.

    Raises:
        RuntimeError: There is neither.
    """
    if _running_loop is None:
        _load_asyncio()
    loop: asyncio.AbstractEventLoop | None = _loop_or_none()
    if loop is not None:
        return loop
    from sennit.core.reactor.base import current_loop

    return current_loop()


def start_task(
    coroutine: Coroutine[Any, Any, U], loop: asyncio.AbstractEventLoop
) -> asyncio.Task[U]:
    if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
        from asyncio import Task

        return Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


async def await_plainly(awaitable: Awaitable[U]) -> U:
    return await awaitable


_sample = await_plainly(cast("Awaitable[object]", None))
CoroutineType = type(_sample)
_sample.close()
del _sample


class Later:
    """A canceller of the house: what it stands for says itself when it has ended."""

    __slots__ = ()

    def cancel(self) -> None:
        """Ask it to end; the Deferred stays unfired until it has."""
        raise NotImplementedError

    def __call__(self, deferred: Deferred[Any]) -> None:
        """Be a canceller in the checkers' eyes; `Deferred.cancel` calls `cancel`."""
        self.cancel()


class Bond(Later):
    """Ties a Deferred to the future that will fire it; its canceller, too."""

    __slots__ = ("_deferred", "_future")

    _deferred: Deferred[Any] | None
    _future: asyncio.Future[Any]

    def tie(self, deferred: Deferred[U], future: asyncio.Future[U]) -> None:
        """Fire the Deferred when the future is done."""
        self._deferred = deferred
        self._future = future
        if future.done():
            self.future_done(future)
        else:
            future.add_done_callback(self.future_done, context=Context())

    def future_done(self, future: asyncio.Future[Any]) -> None:
        deferred, self._deferred = self._deferred, None
        if deferred is None or deferred.fired:
            return
        try:
            result = future.result()
        except BaseException as exc:
            strip(exc)
            deferred.errback(exc)
        else:
            deferred.callback(result)

    def cancel(self) -> None:
        self._future.cancel()


class Failure:
    """An error on its way to a Task, as a value: a future would alter and log it."""

    __slots__ = ("error", "trace")

    def __init__(self, error: BaseException, trace: TracebackType | None) -> None:
        self.error = error
        self.trace = trace


class _NoLoop:
    """What a future that is done from the start needs of a loop: not to be debugged."""

    get_debug = staticmethod(bool)


def new_wait() -> asyncio.Future[Any]:
    """Return a future of the running loop for a Task to wait on, to be yielded as it is.

    To make one costs as much as all else here, and `wake` leaves the one it
    had as new: so each loop keeps one to be used again.

    Raises:
        RuntimeError: No asyncio loop is running.
    """
    loop: Any = (_running_loop or _load_asyncio())()
    try:
        future: asyncio.Future[Any] = loop._sennit_wait
        del loop._sennit_wait
    except AttributeError:
        future = _Future(loop=loop)
    future._asyncio_future_blocking = True
    return future


def wake(future: asyncio.Future[Any]) -> None:
    """Let the Task that waits on this future go on; it finds the result elsewhere.

    It goes on inside this call where its loop is running and no Task is: that
    saves a turn of the loop. Else in the next turn, as always with asyncio.
    """
    loop: Any = future.get_loop()
    try:
        here = loop._thread_id == get_ident()
    except AttributeError:
        # Not a loop of Python's making. Asked last: it costs a system call on 3.11.
        here = _loop_or_none() is loop
    if here and _current_task(loop) is None:
        callbacks: Any = future._callbacks
        if callbacks is not None and len(callbacks) == 1:
            ((step, context),) = callbacks
            future.remove_done_callback(step)
            loop._sennit_wait = future
            try:
                # The Task asks what it is given for a result, which need not be
                # the very future it waits on; that one stays pending.
                context.run(step, _done)
            except RuntimeError:
                # Whoever fires us may be in the very context of the Task.
                task = getattr(step, "__self__", None)
                if getattr(task, "_fut_waiter", None) is not future:
                    raise
                del loop._sennit_wait
                future.set_result(None)
                loop.call_soon(step, future, context=context)
            # The Task's error may hold this frame, which must not hold the error.
            del future, step, context, callbacks
            return
    if not future.done() and not loop.is_closed():
        future.set_result(None)


class Limit:
    """A time-out laid on a Deferred."""

    __slots__ = ("_deferred", "_expired", "timer")

    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred: Deferred[Any] | None = deferred
        self._expired = False
        self.timer: Timer | None = None

    def expire(self) -> None:
        self.timer = None
        deferred = self._deferred
        if deferred is not None:
            self._expired = True
            deferred.cancel()

    def _end(self) -> None:
        self._deferred = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def succeeded(self, value: U) -> U:
        self._end()
        return value

    def failed(self, error: BaseException) -> BaseException:
        self._end()
        if self._expired and is_cancellation(error):
            raise TimeoutError("the Deferred took too long") from error
        return error
