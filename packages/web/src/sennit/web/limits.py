"""All that an HTTP/1.1 client can make too large, in one place."""

from __future__ import annotations

__all__ = ["Limits"]


class Limits:
    """What the server takes from one client; sizes in octets.

    Attributes:
        target: A request target.
        head: All field lines of a head, and of a trailer section.
        fields: Field lines of either.
        chunk_line: One chunk-size line.
        chunk_extension: One chunk's extensions.
        chunk_extensions: All extensions of one message.
        body: One message's content, however it is framed.
        swallow: Unread content that is thrown away to keep a connection; where
            more would come it is closed.
    """

    __slots__ = (
        "body",
        "chunk_extension",
        "chunk_extensions",
        "chunk_line",
        "fields",
        "head",
        "swallow",
        "target",
    )

    def __init__(
        self,
        *,
        target: int = 8 * 1024,
        head: int = 16 * 1024,
        fields: int = 100,
        chunk_line: int = 1024,
        chunk_extension: int = 256,
        chunk_extensions: int = 16 * 1024,
        body: int = 10 * 1024 * 1024,
        swallow: int = 64 * 1024,
    ) -> None:
        self.target = target
        self.head = head
        self.fields = fields
        self.chunk_line = chunk_line
        self.chunk_extension = chunk_extension
        self.chunk_extensions = chunk_extensions
        self.body = body
        self.swallow = swallow
