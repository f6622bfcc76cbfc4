"""Threads for what blocks: pools that grow on demand and end with their reactor.

The interpreter's own pool would do, but loads logging and waits for its threads
when the interpreter ends; this one has daemon threads and an orderly `close`, a
bounded queue whose length and age can be read, and forgets what nobody wants any more.

`blocking_call_from_thread` is the way back: a thread waits for what the reactor does.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextvars import copy_context
from time import monotonic

from sennit.core.errors import PoolFullError, ReactorError, ReactorNotRunningError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Final, TypeVar, overload

    from sennit.core.deferred import Deferred
    from sennit.core.reactor.base import Reactor

    T = TypeVar("T")

__all__ = ["QUEUE", "ThreadPool", "blocking_call_from_thread"]

QUEUE: Final = 100_000
"""Calls that may wait for a thread of a pool, unless it is made with another bound."""

_LIFE_WITHOUT_WORK: Final = 10.0
"""Seconds a thread waits for work before it ends."""


class ThreadPool:
    """Runs functions in threads, the longest waiting first.

    Args:
        size: Threads at most.
        name: What they are called, with a number.
        queue: Calls that may wait for a thread; one more is refused.
        linger: Seconds a thread without work stays; ``None`` keeps it until `close`.
    """

    def __init__(
        self,
        size: int | None = None,
        name: str = "sennit",
        *,
        queue: int = QUEUE,
        linger: float | None = _LIFE_WITHOUT_WORK,
    ) -> None:
        if (size is not None and size < 1) or queue < 1:
            raise ValueError(f"size and queue are at least 1, not {size!r} and {queue!r}")
        self.size = size or min(32, (os.cpu_count() or 1) + 4)
        self.queue = queue
        self.name = name
        self._linger = linger
        # In order of asking; what is cancelled is taken out wherever it stands.
        self._work: OrderedDict[Deferred[Any], tuple[float, Callable[[], None]]] = OrderedDict()
        self._changed = threading.Condition(threading.Lock())
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._started = 0
        self._closed = False

    def __repr__(self) -> str:
        """Its threads and queue, for whoever looks at a reactor."""
        return (
            f"<ThreadPool {self.name}: {self.busy} of {self.size} busy, {self.waiting} calls wait>"
        )

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken yet."""
        return len(self._work)

    @property
    def busy(self) -> int:
        """Threads that are at work."""
        return len(self._threads) - self._idle

    @property
    def oldest_age(self) -> float:
        """Seconds that the call which waits longest has waited for a thread; 0.0 when none does."""
        with self._changed:
            for since, _ in self._work.values():
                return max(monotonic() - since, 0.0)
        return 0.0

    def defer(
        self, reactor: Reactor, fn: Callable[..., T], *args: Any, **kwargs: Any
    ) -> Deferred[T]:
        """Run `fn` in a thread, in the caller's context; fires in the reactor's thread.

        Cancelling it before a thread has taken it means that it is not run;
        later the result is thrown away when it comes.

        Raises:
            PoolFullError: As many calls as may wait do so.
            RuntimeError: The pool is closed, or the system gives no thread at all.
        """
        from sennit.core.deferred import Deferred

        context = copy_context()
        deferred: Deferred[T] = Deferred(self.forget)

        def work() -> None:
            if deferred.called:
                return
            try:
                value = context.run(fn, *args, **kwargs)
            except BaseException as error:
                reactor.call_from_thread(_fire, deferred, None, error)
            else:
                reactor.call_from_thread(_fire, deferred, value, None)

        with self._changed:
            if self._closed:
                raise RuntimeError("the thread pool is closed")
            if len(self._work) >= self.queue:
                since = next(iter(self._work.values()))[0]
                raise PoolFullError(
                    f"thread pool {self.name!r}: {len(self._work)} calls wait already, the oldest "
                    f"for {monotonic() - since:.1f} s, and all {self.size} threads are at work"
                )
            self._work[deferred] = (monotonic(), work)
            if self._idle >= len(self._work):
                self._changed.notify()
            elif len(self._threads) < self.size:
                self._started += 1
                thread = threading.Thread(
                    target=self._serve, name=f"{self.name}-{self._started}", daemon=True
                )
                self._threads.add(thread)
                try:
                    thread.start()
                except RuntimeError:
                    # The system gives no more; those there are will do, if there are any.
                    self._threads.discard(thread)
                    if not self._threads:
                        del self._work[deferred]
                        raise
        return deferred

    def forget(self, deferred: Deferred[Any]) -> bool:
        """Do not run what `defer` returned this for; False when a thread has taken it.

        A thread cannot be interrupted: only its result is thrown away then.
        """
        with self._changed:
            return self._work.pop(deferred, None) is not None

    def _serve(self) -> None:
        try:
            while True:
                with self._changed:
                    self._idle += 1
                    try:
                        found = self._changed.wait_for(
                            lambda: self._work or self._closed, self._linger
                        )
                    finally:
                        self._idle -= 1
                    if not self._work:
                        if self._closed or not found:
                            # Before the lock is given up: who comes with work then must
                            # not count on a thread that has left.
                            self._threads.discard(threading.current_thread())
                            return
                        continue
                    _, (_, work) = self._work.popitem(last=False)
                work()
                del work
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())

    def close(self, wait: float = 5.0, *, finish: bool = False) -> None:
        """Take no more work, drop what nobody has begun, wait for the rest.

        Args:
            wait: Seconds for all threads together; one that is stuck is left to
                itself, and does not keep the interpreter from ending.
            finish: Do not drop anything; all that was asked for is run.
        """
        with self._changed:
            self._closed = True
            if not finish:
                self._work.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = monotonic() + wait
        for thread in threads:
            thread.join(max(deadline - monotonic(), 0))


# ── from a thread to the reactor, and back ────────────────────────────────────


class _Blocked:
    """A thread that waits for the reactor.

    The lock is held until there is something to know; whoever releases it first has told it.
    """

    def __init__(self) -> None:
        self._told = threading.Lock()
        self._told.acquire()
        self.deferred: Deferred[Any] | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def wait(self, timeout: float | None) -> bool:
        return self._told.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))

    def begin(self, fn: Callable[..., object], args: Any, kwargs: Any) -> None:
        """Call it (in the reactor's thread)."""
        from sennit.core.deferred import maybe_deferred

        self.deferred = maybe_deferred(fn, *args, **kwargs)
        self.deferred.add_callbacks(self._succeeded, self._failed)

    def _succeeded(self, value: Any) -> None:
        self.value = value
        self._tell()

    def _failed(self, error: BaseException) -> None:
        self.error = error
        self._tell()

    def give_up(self) -> None:
        """The reactor has ended; nothing more will come."""
        if self._told.locked():
            self.error = ReactorNotRunningError("the reactor ended while a thread waited for it")
            self._tell()

    def cancel(self) -> None:
        """Nobody waits any more (in the reactor's thread)."""
        if self.deferred is not None:
            self.deferred.cancel()

    def _tell(self) -> None:
        try:
            self._told.release()
        except RuntimeError:
            # Told already, when the reactor ended; this comes too late.
            pass


if TYPE_CHECKING:

    @overload
    def blocking_call_from_thread(
        reactor: Reactor,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...
    @overload
    def blocking_call_from_thread(
        reactor: Reactor,
        fn: Callable[..., T],
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...


def blocking_call_from_thread(
    reactor: Reactor,
    fn: Callable[..., Any],
    *args: Any,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Call `fn` in the reactor's thread, from another one, and wait for what becomes of it.

    A Deferred or coroutine that it returns is waited for, too. It runs in the
    context variables of the caller.

    Args:
        reactor: A reactor that runs in another thread.
        fn: What to call there.
        args: Given to `fn`.
        timeout: Seconds to wait; then what is under way is cancelled.
        kwargs: Given to `fn`.

    Returns:
        What `fn` returned.

    Raises:
        ReactorError: This is the reactor's own thread, which would wait for itself.
        ReactorNotRunningError: The reactor does not run, or ended meanwhile.
        TimeoutError: It took too long.
        BaseException: What `fn` raised.
    """
    if reactor.in_own_thread():
        raise ReactorError(
            "blocking_call_from_thread in the reactor's own thread would wait for itself: "
            "call the function, and await what it returns"
        )
    blocked = reactor.blocked
    if blocked is None:
        raise ReactorNotRunningError("this reactor does not run: a thread would wait for ever")
    call = _Blocked()
    blocked.add(call)
    try:
        # Asked after it was added: who ends a reactor puts another thing in this
        # place first, and then tells all that were added.
        if reactor.blocked is not blocked:
            raise ReactorNotRunningError("the reactor has just ended")
        entry = reactor.call_from_thread(call.begin, fn, args, kwargs)
        try:
            told = call.wait(timeout)
        except BaseException:
            # A signal's handler in the main thread: nobody waits any more.
            entry.cancel()
            reactor.call_from_thread(call.cancel)
            raise
        if not told:
            entry.cancel()
            reactor.call_from_thread(call.cancel)
            raise TimeoutError(f"the reactor has not answered within {timeout:g} s")
        if call.error is not None:
            raise call.error
        return call.value
    finally:
        blocked.discard(call)
        # The error's traceback holds this frame.
        del call


def _fire(deferred: Deferred[Any], value: Any, error: BaseException | None) -> None:
    if not deferred.called:
        if error is None:
            deferred.callback(value)
        else:
            deferred.errback(error)
