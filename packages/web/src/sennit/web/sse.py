"""Server-sent events: a stream of small messages that a browser listens to.

`EventStream` is the answer that sends what an asynchronous iterable gives: an `Event`, or
anything else as its data. The client's pace is the iterable's: the next one is asked for
when the last has left. When nothing came for `keep_alive` seconds a comment is sent, so
that proxies in between see life, and a client that has gone is noticed.

`EventHub` tells many listeners the same: each event is encoded once and its octets are
shared; a listener that does not keep up with `limit` of them is ended, and its browser
comes back with ``Last-Event-ID``, from where the hub goes on as far as it remembers::

    hub = EventHub(history=100)

    @site.route("/events")
    def listen(request):
        return hub.listen(request)

Sources: the HTML standard of WHATWG, §9.2 (server-sent events).
Elsewhere: the client's side (``client/events.py``).
"""

from __future__ import annotations

import os
import re
from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred
from sennit.core.reactor.base import current_loop
from sennit.web.response import Response, error_page
from sennit.web.wrappers import Closing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

    from sennit.web.request import Request
    from sennit.web.response import HeadersIn

__all__ = ["Event", "EventHub", "EventStream"]

KEEP_ALIVE: Final = 15.0
"""Seconds without an event after which a comment is sent."""
COMMENT: Final = b":\n\n"
"""It."""

_LINE_END = re.compile(r"\r\n|\r|\n")


class Event:
    """One message.

    Args:
        data: Its text, of any number of lines.
        event: Its kind; ``message`` for browsers when left out.
        id: What a client that comes back says it has seen last.
        retry: Seconds after which a client that lost the connection comes back.

    Attributes:
        encoded: The octets that are sent.

    Raises:
        ValueError: A kind or an id with a line end, or an id with a NUL: it would be
            another field, or none at all.
    """

    __slots__ = ("encoded", "id")

    def __init__(
        self,
        data: object = "",
        event: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
        retry: float | None = None,
    ) -> None:
        lines: list[str] = []
        if event is not None:
            lines.append(f"event: {_one_line('event', event)}")
        if id is not None:
            if "\0" in id:
                raise ValueError("an id with a NUL is none")
            lines.append(f"id: {_one_line('id', id)}")
        if retry is not None:
            if not 0 <= retry < 1e9:
                raise ValueError(f"seconds before a retry cannot be {retry!r}")
            lines.append(f"retry: {int(retry * 1000)}")
        lines.extend(f"data: {line}" for line in _LINE_END.split(str(data)))
        self.id = id
        self.encoded = ("\n".join(lines) + "\n\n").encode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<Event {self.encoded[:64]!r}>"


def _one_line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError(f"a line end in the {name} of an event: {value!r:.100}")
    return value


class EventStream(Response):
    """The answer that is a stream of events.

    Args:
        events: Gives events as they happen; ended when the client goes.
        keep_alive: Seconds without one after which a comment is sent; ``None`` for never.
        retry: Seconds after which clients come back when it ends.
        headers: More headers.
    """

    __slots__ = ()

    def __init__(
        self,
        events: AsyncIterable[object],
        *,
        keep_alive: float | None = KEEP_ALIVE,
        retry: float | None = None,
        headers: HeadersIn = None,
    ) -> None:
        steps = aiter(events)
        super().__init__(Closing(_lively(steps, _first(retry), keep_alive), steps), 200, headers)
        _describe(self)


def _first(retry: float | None) -> bytes:
    """What is sent at once, so that the client learns that it is connected."""
    return COMMENT if retry is None else b"retry: %d\n\n" % int(retry * 1000)


def _describe(response: Response) -> None:
    response.set_header("content-type", "text/event-stream")
    if response.header("cache-control") is None:
        response.set_header("cache-control", "no-store")


async def _lively(
    steps: AsyncIterator[object], first: bytes, keep_alive: float | None
) -> AsyncGenerator[bytes, None]:
    """The octets of events, and comments where none come."""
    import asyncio

    yield first
    waiting: asyncio.Future[object] | None = None
    try:
        while True:
            # A Task, since what is waited for must not be given up when it takes long.
            waiting = waiting or asyncio.ensure_future(_next(steps))
            await asyncio.wait((waiting,), timeout=keep_alive)
            if not waiting.done():
                yield COMMENT
                continue
            done, waiting = waiting, None
            try:
                event = done.result()
            except StopAsyncIteration:
                return
            yield (event if isinstance(event, Event) else Event(event)).encoded
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait((waiting,))


async def _next(steps: AsyncIterator[object]) -> object:
    return await anext(steps)


# ── many listeners ────────────────────────────────────────────────────────────


class EventHub:
    """Tells many listeners the same.

    Args:
        limit: Events that may wait for one listener; one that is behind by more is ended.
        history: Events that are remembered for clients that come back.
        listeners: How many there may be; more are answered 503.
        keep_alive: Seconds without an event after which a comment is sent.
        retry: Seconds after which clients come back when their stream ends.

    Attributes:
        ended: Listeners that were ended because they did not keep up.
    """

    def __init__(
        self,
        *,
        limit: int = 64,
        history: int = 0,
        listeners: int = 10_000,
        keep_alive: float = KEEP_ALIVE,
        retry: float | None = None,
    ) -> None:
        self._limit = limit
        self._history: deque[tuple[str, bytes]] = deque(maxlen=history)
        self._most = listeners
        self._keep_alive = keep_alive
        self._retry = retry
        self._listeners: dict[_Listener, None] = {}
        # Numbers alone would begin anew with each start, and be taken for those of before.
        self._prefix = os.urandom(4).hex()
        self._count = 0
        self._closed = False
        self.ended = 0

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def send(self, event: object) -> int:
        """Tell everybody.

        Args:
            event: An `Event`, or its data. Where there is a history and it has no id, it
                gets one.

        Returns:
            How many listeners were told.
        """
        made = event if isinstance(event, Event) else Event(event)
        octets = made.encoded
        if self._history.maxlen:
            number = made.id
            if number is None:
                self._count += 1
                number = f"{self._prefix}-{self._count}"
                octets = b"id: %b\n%b" % (number.encode("ascii"), octets)
            self._history.append((number, octets))
        told = 0
        # A copy: who is ended is taken out.
        for listener in list(self._listeners):
            if listener.put(octets, self._limit):
                told += 1
            else:
                self.ended += 1
                del self._listeners[listener]
        return told

    def listen(self, request: Request, *, headers: HeadersIn = None) -> Response:
        """The answer to who wants to listen.

        Args:
            request: Its ``Last-Event-ID`` says what it has seen already.
            headers: More headers.
        """
        if self._closed or len(self._listeners) >= self._most:
            return error_page(503, {"retry-after": str(int(self._retry or 5) or 1)})
        seen = request.header("last-event-id")
        response = Response(self._stream(seen), 200, headers)
        _describe(response)
        return response

    def _missed(self, seen: str | None) -> list[bytes]:
        if seen is None:
            return []
        found = [octets for _, octets in self._history]
        for at, (number, _) in enumerate(self._history):
            if number == seen:
                return found[at + 1 :]
        # It has missed more than is remembered, or comes from before the start.
        return found

    async def _stream(self, seen: str | None) -> AsyncIterator[bytes]:
        listener = _Listener(self._keep_alive)
        self._listeners[listener] = None
        # In the same breath: nothing is told between what it missed and what it hears.
        missed = self._missed(seen)
        try:
            yield _first(self._retry) + b"".join(missed)
            while (octets := await listener.take()) is not None:
                yield octets
        finally:
            self._listeners.pop(listener, None)

    def close(self) -> None:
        """End all streams once they have sent what waits, and take no more."""
        self._closed = True
        for listener in list(self._listeners):
            listener.end()


class _Listener:
    """What waits for one listener, and the listener where it waits for that."""

    __slots__ = ("_keep_alive", "_over", "_pieces", "_waiter")

    def __init__(self, keep_alive: float) -> None:
        self._keep_alive = keep_alive
        self._pieces: list[bytes] = []
        self._waiter: Deferred[None] | None = None
        self._over = False

    def put(self, octets: bytes, limit: int) -> bool:
        """Have it told; false when it is too far behind, and ended."""
        if len(self._pieces) >= limit:
            self._pieces = []
            self.end()
            return False
        self._pieces.append(octets)
        self._wake()
        return True

    def end(self) -> None:
        """Nothing more comes."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    async def take(self) -> bytes | None:
        """All that waits, or a comment when nothing came for long; ``None`` at the end."""
        if not self._pieces and not self._over:
            self._waiter = Deferred()
            timer = current_loop().call_later(self._keep_alive, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        pieces, self._pieces = self._pieces, []
        if pieces:
            return b"".join(pieces)
        return None if self._over else COMMENT
