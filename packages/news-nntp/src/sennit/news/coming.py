"""An article on its way to a server's engine: what came of it, and what is said to it.

It is collected up to a limit. One that is longer, or that is not wanted, is read to its end and
thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.news.errors import NNTPProtocolError
from sennit.news.events import ArticlePosted, ArticleSent, ArticleTaken
from sennit.news.grammar import BlockDecoder, response_line

if TYPE_CHECKING:
    from sennit.news.events import Asked
    from sennit.news.grammar import Received
    from sennit.news.limits import Limits

__all__ = ["Coming"]


class Coming:
    """An article that comes.

    Attributes:
        exchange: Of its answer.
        refusal: The answer, when it is not wanted any more.
        ended: Whether all of it has come.
    """

    __slots__ = (
        "_decoder",
        "_kind",
        "_message_id",
        "_parts",
        "_size",
        "ended",
        "exchange",
        "refusal",
    )

    def __init__(self, kind: type[Asked], message_id: bytes, exchange: int) -> None:
        self._kind = kind
        self._message_id = message_id
        self.exchange = exchange
        self.refusal: bytes | None = None
        self.ended = False
        self._parts: list[bytes] = []
        self._size = 0
        self._decoder: BlockDecoder | None = None  # once it was not there whole

    def read(self, received: Received, limits: Limits) -> None:
        """Take what has come of it; refuse one that is too long.

        Raises:
            NNTPProtocolError: It is longer than what may be thrown away.
        """
        piece = None if self._decoder is not None else received.whole_block()
        if piece is not None:
            self.ended = True
        else:
            decoder = self._decoder
            if decoder is None:
                decoder = self._decoder = BlockDecoder()
            data = received.take()
            if not data:
                return
            piece = decoder.receive(data)
            received.unread(data[decoder.behind :])
            self.ended = decoder.ended
        self._size += len(piece)
        if self.refusal is not None:
            if self._size > limits.max_discarded:
                raise NNTPProtocolError(
                    f"an article of more than {limits.max_discarded} octets", "limit:max_discarded"
                )
        elif self._size > limits.max_article:
            self.refusal = self._too_long()
            self._parts.clear()
        else:
            self._parts.append(piece)

    def event(self) -> ArticlePosted | ArticleSent | ArticleTaken:
        """What is told of it when it has ended."""
        octets = b"".join(self._parts)
        if self._kind is ArticlePosted:
            return ArticlePosted(octets)
        if self._kind is ArticleSent:
            return ArticleSent(self._message_id, octets)
        return ArticleTaken(self._message_id, octets, self.exchange)

    def _too_long(self) -> bytes:
        """The answer to an article that is too long."""
        if self._kind is ArticlePosted:
            return response_line(441, "Article too long")
        if self._kind is ArticleSent:
            return response_line(437, "Article too long")
        return response_line(439, self._message_id)
