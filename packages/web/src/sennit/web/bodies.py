"""Content that is counted, or decoded, on its way to a handler.

A body that needs neither is core's own and costs nothing of this; the others are used in
the same way. What is too much, or broken, is an `HTTPError`: raised where the handler reads,
it becomes the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core._inbox import add_piece
from sennit.core.driver import Body
from sennit.core.errors import LimitReachedError
from sennit.web.errors import WebProtocolError
from sennit.web.events import BodyReceived
from sennit.web.response import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.core.interfaces import Buffer
    from sennit.web.decoding import ContentDecoder

__all__ = ["CountedBody", "DecodedBody", "GuardedInbox", "guarded"]


def guarded(body: Body, limit: int, decoder: ContentDecoder | None) -> CountedBody:
    """A body as its handler gets it.

    Args:
        body: As it comes.
        limit: Octets of it, as they come.
        decoder: Takes a content coding off, if there is one.
    """
    if decoder is not None:
        return DecodedBody(body, limit, decoder)
    return CountedBody(body, limit)


class CountedBody(Body):
    """Content with a limit of its own.

    Args:
        body: Whose place it takes.
        limit: Octets at most.
    """

    __slots__ = ("_left",)

    def __init__(self, body: Body, limit: int) -> None:
        super().__init__(body._inbox)
        self._left = limit

    def take(self) -> Buffer | None:
        """The next piece if it is there, else ``None`` at once (see `ended`).

        Raises:
            HTTPError: There are too many octets, or they are broken.
            ProtocolError: The peer broke a rule of this exchange.
        """
        data = super().take()
        if data is not None:
            self._count(data)
        return data

    async def __anext__(self) -> Buffer:
        data = await super().__anext__()
        self._count(data)
        return data

    async def read(self, limit: int) -> bytes:
        """All of it that was not taken yet, piece by piece: each is to be counted.

        Raises:
            LimitReachedError: There are more than `limit` octets. What was read is lost.
            HTTPError: There are too many octets, or they are broken.
            ProtocolError: The peer broke a rule of this exchange.
        """
        chunks: list[Buffer] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                raise LimitReachedError(f"the body has more than {limit} octets", "limit:body")
            add_piece(chunks, chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Nobody takes any more."""
        self._inbox.close()

    def _count(self, data: Buffer) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise HTTPError(413)


class DecodedBody(CountedBody):
    """Content with its coding taken off, a piece at a time.

    Args:
        body: Whose place it takes.
        limit: Octets of it, as they come.
        decoder: Takes the coding off, and counts what comes out.
    """

    __slots__ = ("_decoder", "_finished", "_pieces")

    def __init__(self, body: Body, limit: int, decoder: ContentDecoder) -> None:
        super().__init__(body, limit)
        self._decoder = decoder
        self._pieces: Iterator[bytes] | None = None
        self._finished = False

    @property
    def ended(self) -> bool:
        """Whether all of it has been taken."""
        return super().ended and self._pieces is None

    def take(self) -> Buffer | None:
        """As of `CountedBody`: a piece, decoded."""
        while True:
            if (piece := self._next_piece()) is not None:
                return piece
            data = super().take()
            if data is None:
                if super().ended:
                    self._finish()
                return None
            self._pieces = self._decoder.decode(data)

    async def __anext__(self) -> Buffer:
        while True:
            if (piece := self._next_piece()) is not None:
                return piece
            try:
                data = await super().__anext__()
            except StopAsyncIteration:
                self._finish()
                raise
            self._pieces = self._decoder.decode(data)

    def _next_piece(self) -> bytes | None:
        if self._pieces is None:
            return None
        try:
            piece = next(self._pieces, None)
        except WebProtocolError as error:
            raise HTTPError(error.status, None, str(error)) from error
        if piece is None:
            self._pieces = None
        return piece

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        try:
            self._decoder.finish()
        except WebProtocolError as error:
            raise HTTPError(error.status, None, str(error)) from error


class GuardedInbox:
    """The same for who takes events, as hosted applications do; used as an inbox is.

    Args:
        body: The content, counted or decoded.
        exchange: Number of the request.
    """

    __slots__ = ("_body", "_exchange")

    def __init__(self, body: CountedBody, exchange: int) -> None:
        self._body = body
        self._exchange = exchange

    @property
    def ended(self) -> bool:
        """Whether the last event was taken."""
        return self._body.ended

    def take(self) -> BodyReceived | None:
        """The next event if it is there, else ``None`` at once.

        Raises:
            ProtocolError: The peer broke a rule of this exchange, or sent too much.
        """
        try:
            data = self._body.take()
        except HTTPError as error:
            raise _as_fault(error) from error
        return None if data is None else BodyReceived(self._exchange, bytes(data))

    async def get(self) -> BodyReceived | None:
        """The next event; waits for it. ``None`` when nothing more will come.

        Raises:
            ProtocolError: The peer broke a rule of this exchange, or sent too much.
        """
        try:
            data = await anext(self._body, None)
        except HTTPError as error:
            raise _as_fault(error) from error
        return None if data is None else BodyReceived(self._exchange, bytes(data))

    def close(self) -> None:
        """Nobody takes any more."""
        self._body.close()


def _as_fault(error: HTTPError) -> WebProtocolError:
    return WebProtocolError(str(error), "RFC 9110 §15.5.14", error.status)
