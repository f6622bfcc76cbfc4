"""A bus over a Unix socket: `BusHub` in one process, `UnixBus` in each of the others.

A frame is a length of four octets, an octet that says what it is, and its content:

* ``S`` and ``U`` with a topic: subscribe, and undo it;
* ``P`` with the topic's length in one octet, topic, message: publish, and deliver;
* ``C`` with JSON: a question to the counters, ``{"id", "do", "name", "amount", "window"}``;
  ``R`` with JSON answers it;
* ``D`` with a number: so many messages were dropped on the way to you.

The hub keeps no message for who is slow: past a limit on what waits for one client its
further messages are dropped and counted, and it is told so once there is room.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from zope.interface import implementer

from sennit.core.bus.counting import Counts
from sennit.core.bus.interfaces import IBus, ICounters
from sennit.core.bus.topics import (
    MAX_MESSAGE,
    MAX_TOPIC,
    MessageStream,
    Subscription,
    Topics,
    check_message,
    check_topic,
)
from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import ConnectionLost, ProtocolError, UsageError
from sennit.core.framing.prefix import PrefixProtocol
from sennit.core.service.backoff import BackOff

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sennit.core.interfaces import IListener
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall

__all__ = ["BusHub", "UnixBus", "adopt_socket", "open_bus"]

MAX_WAITING: Final = 1024 * 1024
"""Octets that wait for one client; when there are more, further messages are dropped."""

MAX_TOPICS: Final = 10_000
"""Topics that one client may subscribe to."""

MAX_QUESTIONS: Final = 10_000
"""Questions to the counters that may be open at one client."""

_MAX_FRAME: Final = 2 + MAX_TOPIC + MAX_MESSAGE
_SUBSCRIBE: Final = b"S"
_UNSUBSCRIBE: Final = b"U"
_PUBLISH: Final = b"P"
_COUNT: Final = b"C"
_RESULT: Final = b"R"
_DROPPED: Final = b"D"


def _publication(topic: bytes, message: bytes) -> bytes:
    return b"".join((_PUBLISH, bytes((len(topic),)), topic, message))


def _parse_publication(frame: bytes) -> tuple[bytes, bytes]:
    """Topic and message.

    Raises:
        ProtocolError: It is cut short.
    """
    end = 2 + (frame[1] if len(frame) > 1 else 0)
    if end == 2 or len(frame) < end:
        raise ProtocolError("a message without a topic", "bus")
    return frame[2:end], frame[end:]


class _Frames(PrefixProtocol):
    """Frames, each handed on by its first octet; nonsense ends the connection."""

    max_length = _MAX_FRAME

    def frame_received(self, frame: bytes) -> None:
        try:
            self.take(frame[:1], frame)
        except (ProtocolError, UsageError, ValueError, KeyError, TypeError) as error:
            import logging

            logging.getLogger("sennit.bus").warning("a bus connection is ended: %s", error)
            self.transport.abort("error")

    def take(self, kind: bytes, frame: bytes) -> None:
        """Deal with one frame."""


# ── the hub ───────────────────────────────────────────────────────────────────


class _Client(_Frames):
    """One connection, seen from the hub."""

    def __init__(self, hub: BusHub) -> None:
        super().__init__()
        self._hub = hub
        self.topics: set[str] = set()
        self.missed = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._hub.clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._hub.forget(self)

    def resume_writing(self) -> None:
        if self.missed:
            self.send_frame(_DROPPED + str(self.missed).encode())
            self.missed = 0

    def take(self, kind: bytes, frame: bytes) -> None:
        if kind == _PUBLISH:
            topic, _ = _parse_publication(frame)
            self._hub.deliver(topic.decode(), frame)
        elif kind == _SUBSCRIBE:
            wanted = frame[1:].decode()
            check_topic(wanted, pattern=True)
            if len(self.topics) >= MAX_TOPICS:
                raise ProtocolError(f"more than {MAX_TOPICS} topics", "bus")
            if wanted not in self.topics:
                self.topics.add(wanted)
                self._hub.subscribe(self, wanted)
        elif kind == _UNSUBSCRIBE:
            self._hub.unsubscribe(self, frame[1:].decode())
        elif kind == _COUNT:
            self.send_frame(_RESULT + json.dumps(self._hub.count(json.loads(frame[1:]))).encode())
        else:
            raise ProtocolError(f"a frame of kind {kind!r}", "bus")

    def deliver(self, frame: bytes) -> None:
        """Send a message on, unless too much waits already."""
        # Not counting this one: the largest would never have its turn.
        if self.transport.get_write_buffer_size() > MAX_WAITING:
            self.missed += 1
            self._hub.dropped += 1
        else:
            self.send_frame(frame)


class BusHub:
    """Passes messages between its clients, and counts for all of them.

    Args:
        reactor: Who waits for its connections.

    Attributes:
        clients: The connections that stand.
        dropped: Messages that were not delivered because a client was slow.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._listener: IListener | None = None
        self._exact: dict[str, set[_Client]] = {}
        self._prefixes: dict[str, set[_Client]] = {}
        self._counts = Counts()
        self.clients: set[_Client] = set()
        self.dropped = 0

    def listen(self, path: str, *, mode: int = 0o600) -> Deferred[IListener]:
        """Accept clients at a Unix socket, as any program of this user may be.

        Fails with `OSError` when somebody listens there.
        """
        listening = self._reactor.listen_unix(lambda: _Client(self), path, mode=mode)

        def listens(listener: IListener) -> IListener:
            self._listener = listener
            return listener

        return listening.add_callback(listens)

    def adopt(self, sock: socket.socket) -> None:
        """Take a connected socket as a client's."""
        adopt_socket(self._reactor, sock, _Client(self))

    def close(self) -> None:
        """Let every client go."""
        if self._listener is not None:
            self._listener.close()
        for each in list(self.clients):
            each.transport.close()

    def subscribe(self, client: _Client, topic: str) -> None:
        """A client wants a topic."""
        table, key = self._place(topic)
        table.setdefault(key, set()).add(client)

    def unsubscribe(self, client: _Client, topic: str) -> None:
        """A client wants it no more."""
        client.topics.discard(topic)
        table, key = self._place(topic)
        there = table.get(key)
        if there is not None:
            there.discard(client)
            if not there:
                del table[key]

    def _place(self, topic: str) -> tuple[dict[str, set[_Client]], str]:
        return (self._prefixes, topic[:-1]) if topic.endswith("*") else (self._exact, topic)

    def forget(self, client: _Client) -> None:
        """A client has gone."""
        self.clients.discard(client)
        for topic in list(client.topics):
            self.unsubscribe(client, topic)

    def deliver(self, topic: str, frame: bytes) -> None:
        """Send a message to everybody who wants its topic, to each once."""
        found = self._exact.get(topic, set[_Client]())
        for prefix, there in self._prefixes.items():
            if topic.startswith(prefix):
                found = found | there
        for each in list(found):
            each.deliver(frame)

    def count(self, question: Any) -> dict[str, object]:
        """Answer a question to the counters."""
        number, do, name = question["id"], question["do"], question["name"]
        window = question.get("window")
        if not isinstance(name, str) or not isinstance(window, float | int | None):
            raise ProtocolError("a question to the counters is broken", "bus")
        try:
            if do == "reset":
                self._counts.reset(name, window)
                return {"id": number, "total": 0}
            amount = int(question["amount"]) if do == "add" else 0
            return {
                "id": number,
                "total": self._counts.add(name, amount, window, self._reactor.time()),
            }
        except UsageError as error:
            return {"id": number, "error": str(error)}


def adopt_socket(reactor: Reactor, sock: socket.socket, protocol: Any) -> None:
    """Make a connection of a connected socket.

    Args:
        reactor: Who waits for it.
        sock: From now on the connection's own.
        protocol: Who is delivered to. (Any: it may narrow its transport.)
    """
    from sennit.core.transport.stream import SocketTransport

    sock.setblocking(False)
    SocketTransport(reactor, sock, protocol).start()


# ── a client ──────────────────────────────────────────────────────────────────


class _Link(_Frames):
    """The connection to the hub, seen from a client."""

    def __init__(self, bus: UnixBus) -> None:
        super().__init__()
        self._bus = bus

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._bus.linked(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._bus.unlinked(self)

    def take(self, kind: bytes, frame: bytes) -> None:
        if kind == _PUBLISH:
            topic, message = _parse_publication(frame)
            self._bus.delivered(topic.decode(), message)
        elif kind == _RESULT:
            self._bus.answered(json.loads(frame[1:]))
        elif kind == _DROPPED:
            self._bus.dropped += int(frame[1:])
        else:
            raise ProtocolError(f"a frame of kind {kind!r}", "bus")


@implementer(IBus, ICounters)
class UnixBus:
    """A client of a `BusHub`: a bus, and its counters.

    Subscriptions outlive the connection: it is made again, with growing waits. What is
    published in between is dropped and counted.

    Args:
        reactor: Who waits for the connection.
        path: Where the hub listens.
        sock: A socket that is connected to it, in place of `path`; then the connection is
            not made again.
        backoff: How long to wait before it is.

    Attributes:
        dropped: Messages that were lost on the way to or from here.
    """

    def __init__(
        self,
        reactor: Reactor,
        path: str | None = None,
        *,
        sock: socket.socket | None = None,
        backoff: BackOff | None = None,
    ) -> None:
        if (path is None) == (sock is None):
            raise UsageError("a bus is reached at a path or by a socket")
        self._reactor = reactor
        self._path = path
        self._backoff = backoff or BackOff(0.05, 5.0)
        self._topics = Topics(self._changed)
        self._link: _Link | None = None
        self._again: DelayedCall | None = None
        self._closed = False
        self._next = 0
        self._questions: dict[int, Deferred[int]] = {}
        self._linked: list[Deferred[None]] = []
        self.dropped = 0
        if sock is not None:
            adopt_socket(reactor, sock, _Link(self))
        else:
            self._connect()

    @property
    def connected(self) -> bool:
        """Whether the hub is reached now."""
        return self._link is not None

    def when_connected(self) -> Deferred[None]:
        """Fires when the hub is reached; fails with `ConnectionLost` when this is closed first."""
        if self._link is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._linked.append(waiter)
        return waiter

    # ── bus ───────────────────────────────────────────────────────────────────

    def publish(self, topic: str, message: bytes) -> None:
        """Send `message` to whoever subscribes to `topic`, this end included.

        Raises:
            UsageError: Topic or message cannot be sent.
        """
        data = check_message(topic, message)
        link = self._link
        if link is None or link.transport.get_write_buffer_size() > MAX_WAITING:
            self.dropped += 1
        else:
            link.send_frame(_publication(data, message))

    def subscribe(self, topic: str, receive: Callable[[str, bytes], object]) -> Subscription:
        """Call ``receive(topic, message)`` for each message to `topic`."""
        return self._topics.add(topic, receive)

    def messages(self, topic: str, *, limit: int = 1000) -> MessageStream:
        """The messages to `topic` as an asynchronous iterator."""
        return MessageStream(self._topics, topic, limit)

    def close(self) -> Deferred[None]:
        """Let go of the hub; messages that were published leave first."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        if self._link is not None:
            self._link.transport.close()
        self._fail_all("the bus was closed")
        waiting, self._linked = self._linked, []
        for each in waiting:
            if not each.called:
                each.errback(ConnectionLost("the bus was closed"))
        return succeed(None)

    def delivered(self, topic: str, message: bytes) -> None:
        """A message has come."""
        self._topics.hand_out(topic, message)

    def _changed(self, topic: str, wanted: bool) -> None:
        if self._link is not None:
            self._link.send_frame((_SUBSCRIBE if wanted else _UNSUBSCRIBE) + topic.encode())

    # ── counters ──────────────────────────────────────────────────────────────

    def add(self, name: str, amount: int = 1, *, window: float | None = None) -> Deferred[int]:
        """Count, and learn the total."""
        return self._ask({"do": "add", "name": name, "amount": amount, "window": window})

    def get(self, name: str, *, window: float | None = None) -> Deferred[int]:
        """The total."""
        return self._ask({"do": "get", "name": name, "window": window})

    def reset(self, name: str, *, window: float | None = None) -> Deferred[None]:
        """Count from 0 again."""
        asked = self._ask({"do": "reset", "name": name, "window": window})
        return asked.add_callback(_nothing)

    def _ask(self, question: dict[str, object]) -> Deferred[int]:
        link = self._link
        if link is None:
            return cast("Deferred[int]", fail(ConnectionLost("the bus cannot be reached")))
        if len(self._questions) >= MAX_QUESTIONS:
            return cast(
                "Deferred[int]",
                fail(ConnectionLost("the bus does not answer", "limit:questions")),
            )
        self._next += 1
        number = self._next
        # Giving up does not take the question back: its answer finds nobody.
        waiting: Deferred[int] = Deferred(lambda _: self._questions.pop(number, None))
        self._questions[number] = waiting
        link.send_frame(_COUNT + json.dumps({"id": number, **question}).encode())
        return waiting

    def answered(self, answer: Any) -> None:
        """The hub has answered."""
        waiting = self._questions.pop(answer["id"], None)
        if waiting is None:
            return
        if "error" in answer:
            waiting.errback(UsageError(str(answer["error"])))
        else:
            waiting.callback(int(answer["total"]))

    def _fail_all(self, why: str) -> None:
        questions, self._questions = self._questions, {}
        for each in questions.values():
            each.errback(ConnectionLost(why))

    # ── the connection ────────────────────────────────────────────────────────

    def _connect(self) -> None:
        self._again = None
        assert self._path is not None
        self._reactor.connect_unix(lambda: _Link(self), self._path).add_errback(self._refused)

    def _refused(self, error: BaseException) -> None:
        if not isinstance(error, OSError):
            self._reactor.report(error, "while a bus connected")
        self._connect_later()

    def _connect_later(self) -> None:
        if self._closed or self._path is None:
            return
        wait = self._backoff.failed(self._reactor.time())
        if wait is not None:
            self._again = self._reactor.call_later(wait, self._connect)

    def linked(self, link: _Link) -> None:
        """The connection stands: say again what is wanted."""
        if self._closed:
            link.transport.close()
            return
        self._link = link
        self._backoff.reset()
        for topic in self._topics:
            link.send_frame(_SUBSCRIBE + topic.encode())
        waiting, self._linked = self._linked, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def unlinked(self, link: _Link) -> None:
        """The connection has gone."""
        if link is self._link:
            self._link = None
        self._fail_all("the bus cannot be reached")
        self._connect_later()


def _nothing(total: int) -> None:
    """A counter that was reset is 0."""


def open_bus(url: str, reactor: Reactor) -> tuple[UnixBus, UnixBus]:
    """What ``unix:PATH`` stands for.

    Raises:
        UsageError: There is no path.
    """
    path = url.partition(":")[2]
    if not path:
        raise UsageError(f"{url!r} names no socket; write unix:PATH")
    found = UnixBus(reactor, path)
    return found, found
