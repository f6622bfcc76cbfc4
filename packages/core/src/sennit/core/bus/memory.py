"""A bus and counters for one process."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from zope.interface import implementer

from sennit.core.bus.counting import MAX_NAMES, Counts
from sennit.core.bus.interfaces import IBus, ICounters
from sennit.core.bus.topics import MessageStream, Subscription, Topics, check_message
from sennit.core.deferred import Deferred, maybe_deferred, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.reactor.base import Reactor

__all__ = ["MemoryBus", "MemoryCounters", "open_bus"]


@implementer(IBus)
class MemoryBus:
    """Hands messages to the subscribers in this process, in the order of publishing.

    A message that is published while another is handed out waits its turn, so that every
    subscriber sees the same order.

    Attributes:
        dropped: Always 0: whoever is here is reached.
    """

    dropped = 0

    def __init__(self) -> None:
        self._topics = Topics()
        self._queue: deque[tuple[str, bytes]] = deque()
        self._busy = False

    def publish(self, topic: str, message: bytes) -> None:
        """Hand `message` to whoever subscribes to `topic`.

        Raises:
            UsageError: Topic or message cannot be sent.
        """
        check_message(topic, message)
        self._queue.append((topic, message))
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                self._topics.hand_out(*self._queue.popleft())
        finally:
            self._busy = False

    def subscribe(self, topic: str, receive: Callable[[str, bytes], object]) -> Subscription:
        """Call ``receive(topic, message)`` for each message to `topic`."""
        return self._topics.add(topic, receive)

    def messages(self, topic: str, *, limit: int = 1000) -> MessageStream:
        """The messages to `topic` as an asynchronous iterator."""
        return MessageStream(self._topics, topic, limit)

    def close(self) -> Deferred[None]:
        """Nothing is held."""
        return succeed(None)


@implementer(ICounters)
class MemoryCounters:
    """Counters of this process.

    Args:
        clock: Gives monotonic seconds.
        limit: Names kept at most.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, limit: int = MAX_NAMES) -> None:
        self._counts = Counts(limit)
        self._clock = clock

    def add(self, name: str, amount: int = 1, *, window: float | None = None) -> Deferred[int]:
        """Count, and learn the total."""
        return maybe_deferred(self._counts.add, name, amount, window, self._clock())

    def get(self, name: str, *, window: float | None = None) -> Deferred[int]:
        """The total."""
        return maybe_deferred(self._counts.get, name, window, self._clock())

    def reset(self, name: str, *, window: float | None = None) -> Deferred[None]:
        """Count from 0 again."""
        return maybe_deferred(self._counts.reset, name, window)


def open_bus(url: str, reactor: Reactor) -> tuple[MemoryBus, MemoryCounters]:
    """What ``memory:`` stands for."""
    return MemoryBus(), MemoryCounters(reactor.time)
