"""The way out of a transport that is asyncio's own, with what ours have besides.

Such a transport has no `sendfile` and takes no close reason. A file is read in
pieces, as fast as the transport takes them; what is written after it waits here.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from sennit.core.interfaces import Buffer

__all__ = ["ForeignOut"]

PIECE: Final = 64 * 1024
"""Octets read of a file at a time."""


class _File:
    """A piece of a file that is under way."""

    __slots__ = ("_count", "_file", "_offset", "done", "sent")

    def __init__(self, file: IO[bytes], offset: int, count: int) -> None:
        self._file = file
        self._offset = offset
        self._count = count
        self.sent = 0
        self.done: Deferred[int] = Deferred(_go_on)

    def read(self) -> bytes:
        """The next octets; empty at the end of the piece or of the file."""
        wanted = min(self._count - self.sent, PIECE)
        if wanted <= 0:
            return b""
        self._file.seek(self._offset + self.sent)
        data = self._file.read(wanted)
        self.sent += len(data)
        return data


def _go_on(done: Deferred[int]) -> None:
    """Octets announced to the peer cannot be taken back: cancelling only stops the wait."""


class ForeignOut:
    """Writes to an asyncio transport for a driver.

    Args:
        transport: The transport. (`Any`: asyncio's, uvloop's or whoever's.)
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._queue: deque[Buffer | _File] = deque()  # a file, and what waits behind it
        self._pressed = False
        self._sending = False
        self._closing = False

    def write(self, data: Buffer) -> None:
        """Queue octets behind what is under way."""
        if self._queue:
            self._queue.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """Queue several."""
        if self._queue:
            self._queue.extend(pieces)
        elif not self._transport.is_closing():
            self._transport.writelines(pieces)

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> Deferred[int]:
        """Send a piece of a file; fires with the octets sent."""
        piece = _File(file, offset, count)
        self._queue.append(piece)
        self._send()
        return piece.done

    def can_write_eof(self) -> bool:
        """Whether the way out can be closed by itself, now."""
        return not self._queue and bool(self._transport.can_write_eof())

    def write_eof(self) -> None:
        """Close the way out."""
        self._transport.write_eof()

    def close(self, reason: str = "clean") -> None:
        """Close once everything has left; asyncio keeps no reason."""
        self._closing = True
        if not self._queue:
            self._transport.close()

    # ── the driver's side ─────────────────────────────────────────────────────

    def pause(self) -> None:
        """The transport is above its mark."""
        self._pressed = True

    def resume(self) -> bool:
        """It is below its mark; whether the way is free (no file is under way)."""
        self._pressed = False
        self._send()
        return not self._pressed and not self._queue

    def lost(self, error: BaseException) -> None:
        """The connection has gone: so have the files on their way."""
        queue, self._queue = self._queue, deque()
        for piece in queue:
            if isinstance(piece, _File):
                piece.done.errback(error)

    def _send(self) -> None:
        """Hand over what waits, until the transport is above its mark."""
        if self._sending:
            return
        self._sending = True
        queue = self._queue
        try:
            while queue and not self._pressed and not self._transport.is_closing():
                piece = queue[0]
                if not isinstance(piece, _File):
                    self._transport.write(queue.popleft())
                    continue
                try:
                    data = piece.read()
                except (OSError, ValueError) as error:
                    queue.popleft()
                    piece.done.errback(error)
                    continue
                if data:
                    self._transport.write(data)
                else:
                    queue.popleft()
                    piece.done.callback(piece.sent)
        finally:
            self._sending = False
        if self._closing and not queue:
            self._transport.close()
