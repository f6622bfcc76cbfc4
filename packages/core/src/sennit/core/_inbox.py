"""What reaches a handler after the event that started it: its inbox, and the body in it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from sennit.core.deferred import Deferred
from sennit.core.engine import Ends
from sennit.core.errors import LimitReachedError, UsageError

if TYPE_CHECKING:
    from typing import Protocol, Self

    from sennit.core.interfaces import Buffer

    class Keeper(Protocol):
        """The driver, as an inbox sees it."""

        def _awaited(self) -> None: ...
        def _taken(self, event: Any, weight: int) -> None: ...


__all__ = ["Body", "Inbox", "add_piece"]

E = TypeVar("E")

EVENT_WEIGHT = 64
"""Octets that an event counts for besides its data."""


SMALL: Final = 1024
"""Octets of a piece below which it is put together with others."""
TOGETHER: Final = 64 * 1024
"""Octets that small pieces are put together to, about."""


def add_piece(pieces: list[Buffer], piece: Buffer) -> None:
    """Keep a piece of something behind those before it.

    Small ones are put together: a peer that sends two octets at a time would else have each
    of them kept in an object of fifty.
    """
    if pieces and len(piece) < SMALL:
        last = pieces[-1]
        if type(last) is bytearray and len(last) < TOGETHER:
            last += piece
        else:
            pieces.append(bytearray(piece))
    else:
        # A bytearray in the list is ours, and may grow.
        pieces.append(bytes(piece) if type(piece) is bytearray else piece)


def weight_of(event: object) -> int:
    """Octets that an event takes while it waits, roughly."""
    data = getattr(event, "data", None)
    return EVENT_WEIGHT if data is None else EVENT_WEIGHT + len(data)


class Inbox(Generic[E]):
    """The events that belong to an open exchange, in order, for its handler.

    Iterate over it (``async for``), `await get()`, or `take()` what is there.
    After the event that ends the exchange's input (`Ends`), which comes out too,
    there is nothing more.

    Attributes:
        ended: Whether all that ever comes has been taken.
    """

    __slots__ = ("_error", "_events", "_keeper", "_last", "_waiter", "ended")

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._events: deque[E] = deque()
        self._waiter: Deferred[None] | None = None
        self._error: BaseException | None = None
        self._last = False  # the last one has been put
        self.ended = False

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._events)

    def take(self) -> E | None:
        """The next event if it is there, else ``None`` at once.

        Raises:
            ProtocolError: The peer broke a rule of this exchange, after what was taken.
            ConnectionLost: The connection went (in `commit`, where that does not cancel).
        """
        events = self._events
        if events:
            event = events.popleft()
            if isinstance(event, Ends):
                self.ended = True
            self._keeper._taken(event, weight_of(event))
            return event
        if self._error is not None and not self.ended:
            self.ended = True
            raise self._error
        return None

    async def get(self) -> E | None:
        """The next event; waits for it. ``None`` when nothing more will come.

        Raises:
            ProtocolError: The peer broke a rule of this exchange.
            ConnectionLost: The connection went.
            UsageError: Somebody else waits here.
        """
        while True:
            event = self.take()
            if event is not None or self.ended or self._last:
                return event
            self._keeper._awaited()
            if self._events:
                return self.take()
            if self._error is not None or self._last:
                continue
            if self._waiter is not None:
                raise UsageError("two coroutines wait at one inbox")
            waiter: Deferred[None] = Deferred()
            self._waiter = waiter
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        event = await self.get()
        if event is None:
            raise StopAsyncIteration
        return event

    # ── the driver's side ─────────────────────────────────────────────────────

    @property
    def awaited(self) -> bool:
        """Whether somebody waits here now."""
        return self._waiter is not None

    def put(self, event: E) -> None:
        """Add an event; wakes who waits."""
        self._events.append(event)
        if isinstance(event, Ends):
            self._last = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """After what waits comes this error, unless the input ended before."""
        if self._error is None and not self._last:
            self._error = error
            self._wake()

    def close(self) -> None:
        """Nothing more will come."""
        self._last = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.callback(None)


class Body:
    """The octets of an exchange's input, out of its inbox.

    Iterate over it (``async for chunk in body``), `take()` a chunk that is there,
    or `await read(limit)` for all of them.

    Attributes:
        end: The event that ended it, once it was seen; trailers stand there.
    """

    __slots__ = ("_inbox", "end")

    def __init__(self, inbox: Inbox[Any]) -> None:
        self._inbox = inbox
        self.end: Ends | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it has been taken."""
        return self._inbox.ended

    def finish(self, end: Ends) -> None:
        """There is none: nothing will come, not even an event that says so.

        Args:
            end: What stands for that event.
        """
        self._inbox.ended = True
        self.end = end

    def take(self) -> Buffer | None:
        """The next chunk if it is there, else ``None`` at once (see `ended`).

        Raises:
            ProtocolError: The peer broke a rule of this exchange.
        """
        while (event := self._inbox.take()) is not None:
            data = self._octets(event)
            if data:
                return data
        return None

    async def read(self, limit: int) -> bytes:
        """All of it that was not taken yet.

        Raises:
            LimitReachedError: There are more than `limit` octets. What was read is lost.
            ProtocolError: The peer broke a rule of this exchange.
        """
        chunks: list[Buffer] = []
        size = 0
        inbox = self._inbox
        while not inbox.ended:
            event = inbox.take() if inbox else await inbox.get()
            if event is None:
                break
            if inbox.ended:
                self.end = event
            chunk: Buffer | None = getattr(event, "data", None)
            if chunk:
                size += len(chunk)
                if size > limit:
                    raise LimitReachedError(f"the body has more than {limit} octets", "limit:body")
                add_piece(chunks, chunk)
        if len(chunks) == 1 and type(chunks[0]) is bytes:
            return chunks[0]
        return b"".join(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        while (event := await self._inbox.get()) is not None:
            data = self._octets(event)
            if data:
                return data
        raise StopAsyncIteration

    def _octets(self, event: object) -> Buffer | None:
        if isinstance(event, Ends):
            self.end = event
        # By agreement octets stand in `data` (`sennit.core.engine.Belongs`).
        return cast("Buffer | None", getattr(event, "data", None))
