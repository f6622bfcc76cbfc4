"""One stream of a connection, as far as h2 does not know it, and what peers pay with."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sennit.core.engine import FilePart
from sennit.web.events import CHUNKED
from sennit.web.http2.priority import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer

    Piece = Buffer | FilePart

__all__ = ["Budget", "Stream", "close_files"]


class Budget:
    """So many at once, and so many more a second.

    Args:
        burst: How many at once.
        rate: How many more a second.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._at = 0.0

    def spend(self, now: float) -> bool:
        """Take one; False when there is none."""
        if self._left < 1:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
        elif self._left == self._burst:
            self._at = now
        self._left -= 1
        return True


class Stream:
    """One stream, as far as h2 does not know it.

    Attributes:
        number: Its number.
        window: Octets that the peer takes (RFC 9113 §6.9).
        queue: Pieces of content that wait to be sent.
        queued: Their octets.
        sent: Octets of content taken from the caller.
        ending: Nothing more will be queued.
        trailers: Fields to send after the content.
        ended: Our side of it has ended: END_STREAM has been queued.
        open: The peer's side has not.
        length: Octets of content the peer announced, or `CHUNKED`.
        come: Octets of content that came.
        unread: Octets of those that nobody has taken yet.
        tunnel: What passes is no HTTP (CONNECT): small pieces are as good as large ones.
        priority: Urgency, and whether pieces are of use.
        since: When something of it was last sent, or began to wait for that.
        begun: When its content would have begun to come, had it come as slowly as it may.
        held: When the first of what nobody has taken yet has come.
        phase: What its side's engine makes of it.
        head: The request.
    """

    __slots__ = (
        "begun",
        "come",
        "ended",
        "ending",
        "head",
        "held",
        "left",
        "length",
        "number",
        "open",
        "phase",
        "priority",
        "queue",
        "queued",
        "sent",
        "since",
        "trailers",
        "tunnel",
        "unread",
        "window",
    )

    def __init__(self, number: int, window: int, now: float) -> None:
        self.number = number
        self.window = window
        self.queue: deque[Piece] = deque()
        self.queued = 0
        self.sent = 0
        self.ending = False
        self.trailers: list[tuple[bytes, bytes]] | None = None
        self.ended = False
        self.open = True
        self.length = CHUNKED
        self.come = 0
        self.unread = 0
        self.left = -1
        self.tunnel = False
        self.priority = DEFAULT
        self.since = self.begun = self.held = now
        self.phase = 0
        self.head: Any = None  # each side has its own kind


def close_files(pieces: Piece | Sequence[Piece] | deque[Piece] | None) -> None:
    """Files that will not leave are not the caller's any more; close those so marked."""
    if isinstance(pieces, FilePart):
        if pieces.close_file:
            pieces.file.close()
    elif isinstance(pieces, (list, tuple, deque)):
        for piece in pieces:
            if isinstance(piece, FilePart):
                close_files(piece)
