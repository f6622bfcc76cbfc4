"""The same work once for all who ask for it at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from sennit.core.deferred import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """Work under way, by key. Whoever asks for a key that is there waits with the others.

    Work that nobody waits for any more is cancelled.
    """

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[Hashable, _Work[T]] = {}

    def __len__(self) -> int:
        """How much is under way."""
        return len(self._open)

    async def run(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``make()``, or of what was begun for this key before and goes on."""
        work = self._open.get(key)
        if work is None:
            work = self._open[key] = _Work(Deferred.from_coroutine(make()))
        work.waiting += 1
        try:
            return await work.done
        finally:
            work.waiting -= 1
            finished = work.done.called
            if self._open.get(key) is work and (finished or not work.waiting):
                del self._open[key]
            if not finished and not work.waiting:
                work.done.cancel()
                work.done.add_errback(lambda _: None)


class _Work(Generic[T]):
    __slots__ = ("done", "waiting")

    def __init__(self, done: Deferred[T]) -> None:
        self.done = done
        self.waiting = 0
