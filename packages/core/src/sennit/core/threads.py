"""Threads for what blocks: a pool that grows on demand and ends with its reactor.

The interpreter's own pool would do, but loads logging and waits for its threads
when the interpreter ends; this one has daemon threads and an orderly `close`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextvars import copy_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeVar

    from sennit.core.deferred import Deferred
    from sennit.core.reactor.base import Reactor

    T = TypeVar("T")

__all__ = ["ThreadPool"]

_LIFE_WITHOUT_WORK: Final = 10.0
"""Seconds a thread waits for work before it ends."""


class ThreadPool:
    """Runs functions in threads, the longest waiting first.

    Args:
        size: Threads at most.
        name: What they are called, with a number.
    """

    def __init__(self, size: int | None = None, name: str = "sennit") -> None:
        self.size = size or min(32, (os.cpu_count() or 1) + 4)
        self._name = name
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._started = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken yet."""
        return len(self._work)

    def defer(
        self, reactor: Reactor, fn: Callable[..., T], *args: Any, **kwargs: Any
    ) -> Deferred[T]:
        """Run `fn` in a thread, in the caller's context; fires in the reactor's thread.

        Cancelling it before a thread has taken it means that it is not run;
        later the result is thrown away when it comes.
        """
        from sennit.core.deferred import Deferred

        context = copy_context()
        deferred: Deferred[T] = Deferred(_unwanted)

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
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
            elif len(self._threads) < self.size:
                self._started += 1
                thread = threading.Thread(
                    target=self._serve, name=f"{self._name}-{self._started}", daemon=True
                )
                self._threads.add(thread)
                try:
                    thread.start()
                except RuntimeError:
                    # The system gives no more; those there are will do, if there are any.
                    self._threads.discard(thread)
                    if not self._threads:
                        self._work.pop()
                        raise
        return deferred

    def _serve(self) -> None:
        try:
            while True:
                with self._changed:
                    self._idle += 1
                    try:
                        found = self._changed.wait_for(
                            lambda: self._work or self._closed, _LIFE_WITHOUT_WORK
                        )
                    finally:
                        self._idle -= 1
                    if not self._work:
                        if self._closed or not found:
                            return
                        continue
                    work = self._work.popleft()
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
        import time

        deadline = time.monotonic() + wait
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))


def _unwanted(deferred: Deferred[Any]) -> None:
    """A thread cannot be interrupted: only its result is thrown away."""


def _fire(deferred: Deferred[Any], value: Any, error: BaseException | None) -> None:
    if not deferred.called:
        if error is None:
            deferred.callback(value)
        else:
            deferred.errback(error)
