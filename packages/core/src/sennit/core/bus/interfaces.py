"""The contracts of buses. Beside core's others, since few programs need them.

Delivery is **at most once**: a subscriber that is slow, or away, misses messages, and the
bus counts them. Who needs more keeps state elsewhere and publishes that it has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["IBus", "ICounters", "ISubscription"]


class ISubscription(Interface):
    """Interest in a topic, until it is closed."""

    @property
    def topic(self) -> str:
        """What was subscribed to."""
        ...

    @property
    def dropped(self) -> int:
        """Messages that this subscriber missed because it was slow."""
        ...

    def close(self) -> None:
        """Get no more messages; harmless when it is closed already."""


class IBus(Interface):
    """Publish to topics, subscribe to them."""

    @property
    def dropped(self) -> int:
        """Messages that were lost on the way to or from this end."""
        ...

    def publish(self, topic: str, message: bytes) -> None:
        """Send `message` to whoever subscribes to `topic`, this end included.

        Never waits, and never fails for a reason that lies elsewhere: a message that
        cannot be sent is dropped and counted.

        Raises:
            UsageError: The topic or the message is too long, or the topic not a topic.
        """

    def subscribe(self, topic: str, receive: Callable[[str, bytes], object]) -> ISubscription:
        """Call ``receive(topic, message)`` for each message to `topic`.

        Args:
            topic: A topic; one that ends in ``*`` means all that begin so.
            receive: Is called in the loop. What it raises is logged, and hurts no other.
        """
        ...

    def messages(self, topic: str, *, limit: int = 1000) -> AsyncIterator[tuple[str, bytes]]:
        """The same as an asynchronous iterator.

        Args:
            topic: As above.
            limit: Messages that wait at most; when a newer one comes the oldest is dropped.
        """
        ...

    def close(self) -> Awaitable[None]:
        """Let go of the bus; messages that were published leave first."""
        ...


class ICounters(Interface):
    """Counts by name, over all who share the bus."""

    def add(self, name: str, amount: int = 1, *, window: float | None = None) -> Awaitable[int]:
        """Count, and learn the total.

        Args:
            name: The counter's name.
            amount: How much to add.
            window: Seconds that a count lasts: the total is that of the last `window`
                seconds, taken as evenly spread within the one before. For ever when left out.

        Fails with `ConnectionLost` while whoever keeps the counts cannot be reached: the
        caller decides whether that admits or refuses.
        """
        ...

    def get(self, name: str, *, window: float | None = None) -> Awaitable[int]:
        """The total."""
        ...

    def reset(self, name: str, *, window: float | None = None) -> Awaitable[None]:
        """Count from 0 again."""
        ...
