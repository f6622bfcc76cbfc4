"""An article on its way to a server's engine: what came of it, and what is said to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.news.events import ArticlePosted, ArticleSent, ArticleTaken
from sennit.news.grammar import response_line

if TYPE_CHECKING:
    from sennit.news.events import Asked
    from sennit.news.grammar import BlockDecoder

__all__ = ["Coming"]


class Coming:
    """An article that comes.

    Attributes:
        kind: The event it ends in.
        message_id: Under which it was announced.
        exchange: Of its answer.
        refusal: The answer, when it is not wanted any more.
        parts: What came of it.
        size: Octets that came of it.
        decoder: Once it was not there whole.
    """

    __slots__ = ("decoder", "exchange", "kind", "message_id", "parts", "refusal", "size")

    def __init__(self, kind: type[Asked], message_id: bytes, exchange: int) -> None:
        self.kind = kind
        self.message_id = message_id
        self.exchange = exchange
        self.refusal: bytes | None = None
        self.parts: list[bytes] = []
        self.size = 0
        self.decoder: BlockDecoder | None = None

    def event(self, octets: bytes) -> ArticlePosted | ArticleSent | ArticleTaken:
        """What is told of it."""
        if self.kind is ArticlePosted:
            return ArticlePosted(octets)
        if self.kind is ArticleSent:
            return ArticleSent(self.message_id, octets)
        return ArticleTaken(self.message_id, octets, self.exchange)

    def too_long(self) -> bytes:
        """The answer to an article that is too long."""
        if self.kind is ArticlePosted:
            return response_line(441, "Article too long")
        if self.kind is ArticleSent:
            return response_line(437, "Article too long")
        return response_line(439, self.message_id)
