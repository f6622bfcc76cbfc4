"""Topics, who subscribes to them, and handing messages out."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core.bus.interfaces import ISubscription
from sennit.core.deferred import Deferred
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = [
    "MAX_MESSAGE",
    "MAX_TOPIC",
    "MessageStream",
    "Subscription",
    "Topics",
    "check_message",
    "check_topic",
]

MAX_TOPIC: Final = 255
"""Octets of a topic, as UTF-8."""

MAX_MESSAGE: Final = 1024 * 1024
"""Octets of a message."""


def check_topic(topic: str, *, pattern: bool = False) -> bytes:
    """The octets of a topic.

    Raises:
        UsageError: It is empty, too long, or holds a ``*`` where none may be.
    """
    data = topic.encode()
    if not 0 < len(data) <= MAX_TOPIC:
        raise UsageError(f"a topic has 1 to {MAX_TOPIC} octets, not {len(data)}")
    if "*" in (topic[:-1] if pattern else topic):
        where = "at the end of what is subscribed to" if pattern else "in what is subscribed to"
        raise UsageError(f"'*' stands {where} alone: {topic!r}")
    return data


def check_message(topic: str, message: bytes) -> bytes:
    """The octets of the topic.

    Raises:
        UsageError: Topic or message cannot be sent.
    """
    if len(message) > MAX_MESSAGE:
        raise UsageError(f"a message has {MAX_MESSAGE} octets at most, not {len(message)}")
    return check_topic(topic)


@implementer(ISubscription)
class Subscription:
    """One interest in a topic.

    Attributes:
        topic: What was subscribed to.
        dropped: Messages that it missed because it was slow.
    """

    __slots__ = ("_topics", "dropped", "receive", "topic")

    def __init__(self, topics: Topics, topic: str, receive: Callable[[str, bytes], object]) -> None:
        self._topics: Topics | None = topics
        self.topic = topic
        self.receive = receive
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Subscription {self.topic}{' closed' if self._topics is None else ''}>"

    def close(self) -> None:
        """Get no more messages; harmless when it is closed already."""
        topics, self._topics = self._topics, None
        if topics is not None:
            topics.remove(self)


class Topics:
    """Who subscribes to what, in one process.

    Args:
        changed: Is told when the first subscribes to a topic (true), and when the last
            has gone (false).
    """

    def __init__(self, changed: Callable[[str, bool], object] | None = None) -> None:
        self._exact: dict[str, list[Subscription]] = {}
        self._prefixes: dict[str, list[Subscription]] = {}
        self._changed = changed

    def __iter__(self) -> Iterator[str]:
        """What is subscribed to."""
        yield from self._exact
        for each in self._prefixes:
            yield each + "*"

    def add(self, topic: str, receive: Callable[[str, bytes], object]) -> Subscription:
        """Subscribe.

        Raises:
            UsageError: It is no topic.
        """
        check_topic(topic, pattern=True)
        found = Subscription(self, topic, receive)
        table, key = self._place(topic)
        first = key not in table
        table.setdefault(key, []).append(found)
        if first and self._changed is not None:
            self._changed(topic, True)
        return found

    def remove(self, subscription: Subscription) -> None:
        """Undo `add`."""
        table, key = self._place(subscription.topic)
        there = table.get(key, [])
        if subscription in there:
            there.remove(subscription)
            if not there:
                del table[key]
                if self._changed is not None:
                    self._changed(subscription.topic, False)

    def _place(self, topic: str) -> tuple[dict[str, list[Subscription]], str]:
        return (self._prefixes, topic[:-1]) if topic.endswith("*") else (self._exact, topic)

    def hand_out(self, topic: str, message: bytes) -> None:
        """Call everybody who subscribes to `topic`."""
        found = list(self._exact.get(topic, ()))
        for prefix, there in self._prefixes.items():
            if topic.startswith(prefix):
                found += there
        for each in found:
            try:
                each.receive(topic, message)
            except Exception as error:
                logging.getLogger("sennit.bus").error(
                    "a subscriber failed", exc_info=error, extra={"topic": topic}
                )


class MessageStream:
    """A subscription as an asynchronous iterator; the oldest give way when too many wait.

    Args:
        topics: Where to subscribe.
        topic: What to.
        limit: Messages that wait at most.
    """

    def __init__(self, topics: Topics, topic: str, limit: int) -> None:
        if limit < 1:
            raise UsageError(f"limit ({limit}) is a number of messages, 1 at least")
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._limit = limit
        self._waiter: Deferred[None] | None = None
        self._closed = False
        self._subscription = topics.add(topic, self._receive)

    @property
    def dropped(self) -> int:
        """Messages that were dropped because this end was slow."""
        return self._subscription.dropped

    def _receive(self, topic: str, message: bytes) -> None:
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._subscription.dropped += 1
        self._waiting.append((topic, message))
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    def __aiter__(self) -> MessageStream:
        """Itself."""
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        """The next message, with its topic."""
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = Deferred()
            await self._waiter
        return self._waiting.popleft()

    def close(self) -> None:
        """End the iteration, once what waits was taken."""
        self._closed = True
        self._subscription.close()
        self._wake()

    async def aclose(self) -> None:
        """As `close`; what ``contextlib.aclosing`` calls."""
        self.close()

    async def __aenter__(self) -> MessageStream:
        """Itself; leaving the block closes it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
