"""The way out of an end in memory: its queue, what leaves at the end of a turn, cuts.

The other half, what arrives and the life of an end, is ``memory.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionAborted, ConnectionLost, ReactorError
from sennit.core.reactor.calls import DelayedCall
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.memory_link import READ_SIZE
from sennit.core.transport.sending import CLOSING, GONE, OPEN, owned

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator
    from contextvars import Context
    from random import Random
    from typing import IO, Final

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock
    from sennit.core.transport.memory_link import Cut, Link, Way

__all__ = ["ABORT", "END", "RESET", "MemorySending"]

END: Final = 0
"""The other end sends no more."""
RESET: Final = 1
"""The connection broke; what came before it still counts."""
ABORT: Final = 2
"""The other end gave up; what it sent and nobody has read is void."""


class MemorySending(FlowControl):
    """Half of `MemoryTransport`: the attributes it names belong to both."""

    __slots__ = (
        "_chunks",
        "_close_reason",
        "_context",
        "_corked",
        "_cut",
        "_eof_in",
        "_eof_out",
        "_held",
        "_link",
        "_other",
        "_out",
        "_peer",
        "_queued",
        "_random",
        "_reactor",
        "_severed",
        "_size",
        "_state",
        "_way",
    )

    _chunks: Iterator[int]
    _close_reason: str | None
    _context: Context | None
    _corked: bool
    _cut: int | None
    _eof_in: bool
    _eof_out: bool
    _held: int
    _link: Link
    _other: MemorySending | None
    _out: deque[bytes | memoryview | FilePiece]
    _peer: Address | None
    _queued: bool
    _random: Random | None
    _reactor: Reactor | Clock
    _severed: bool
    _size: int
    _state: int
    _way: Way | None

    def _arrive(self, what: bytes | memoryview | int) -> None:
        """Something has come over the link (the other half's)."""

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        """The connection is over (the other half's)."""

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close (the other half's)."""

    def _next_chunk(self) -> int:
        """Most octets the other end's protocol is handed at a time, asked for each time."""
        size = next(self._chunks, 0)
        if size:
            return size
        chunk = self._link.chunk
        if not isinstance(chunk, tuple):
            return chunk
        assert self._random is not None
        return self._random.randint(*chunk)

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        piece = data if type(data) is bytes else owned(data)
        if self._state != OPEN:
            return
        if self._eof_out:
            raise ReactorError("write after write_eof")
        size = len(piece)
        if not size:
            return
        self._out.append(piece)
        self._size += size
        if self._size > self._high:
            self._pressed()
        else:
            self._flush_at_end_of_turn()

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together where they can."""
        for piece in pieces:
            self.write(piece)

    def _flush_at_end_of_turn(self) -> None:
        if not self._corked and not self._queued:
            self._queued = True
            self._reactor.flush_later(self._flush)

    def _flush_soon(self) -> None:
        """The reader has made room (and is in a context that is not ours)."""
        if not self._queued:
            self._queued = True
            self._reactor.queue(DelayedCall(self._flush, (), self._context))

    def _pressed(self) -> None:
        """Above the high mark: send at once what the link takes, then look again."""
        self._flush()
        if self._size > self._high and self._state == OPEN:
            self._pause()
            if self._size > self._hard:
                self._lose(self._overflow(self._size, self._peer), "limit:write-buffer")

    def _flush(self) -> None:
        """Send what is queued, as far as the link takes it."""
        self._queued = False
        other = self._other
        if other is None:
            return
        out = self._out
        while out and self._state != GONE:
            if other._state == GONE and self._way is None:
                # Octets for an end that has closed are answered with a reset.
                self._lose(ConnectionLost("the other end has closed", "reset"), "reset")
                return
            room = self._link.capacity - other._held
            if room <= 0:
                break
            data = self._next_octets(room)
            if data:
                self._transmit(other, data)
        if self._state == GONE:
            return
        if out:
            if self._size > self._high:
                self._pause()
            elif self._size <= self._low and not any(type(each) is FilePiece for each in out):
                self._relieved(self._size)
        elif self._pressing or self._state or self._eof_out:
            self._drained()

    def _next_octets(self, room: int) -> bytes | memoryview:
        """The head of the queue, at most `room` octets; empty at the end of a file."""
        piece = self._out[0]
        if isinstance(piece, FilePiece):
            try:
                data: bytes | memoryview = piece.next_block(min(room, READ_SIZE))
            except (OSError, ValueError) as error:
                lost = ConnectionAborted(f"the file cannot be read: {error}", "error")
                lost.__cause__ = error
                self._lose(lost, "error")
                return b""
            piece.advance(len(data))
            if not data:
                self._out.popleft()
                piece.finish()
            return data
        if len(piece) <= room:
            data = self._out.popleft()  # type: ignore[assignment]  # it is `piece`, and no file
        else:
            view = memoryview(piece)
            data = view[:room]
            self._out[0] = view[room:]
        self._size -= len(data)
        return data

    def _transmit(self, other: MemorySending, what: bytes | memoryview | int) -> None:
        """Put octets or a sign on the link."""
        way = self._way
        if isinstance(what, int):
            self._send_over(way, 0, other, what)
            return
        if self._cut is not None:
            what = what[: self._cut]
            self._cut -= len(what)
        other._held += len(what)
        if way is None:
            if what:
                self._send_over(way, len(what), other, what)
        else:
            step = way.segment
            for at in range(0, len(what), step):
                part = what[at : at + step]
                self._send_over(way, len(part), other, part)
        if self._cut == 0 and not self._severed:
            self.cut(self._link.cut)

    def _send_over(
        self, way: Way | None, size: int, other: MemorySending, what: bytes | memoryview | int
    ) -> None:
        if self._severed:
            return
        if way is None:
            self._landed(other, what)
        else:
            way.carry(size, self._landed, other, what)

    def _landed(self, other: MemorySending, what: bytes | memoryview | int) -> None:
        """Something of ours has come to the other end's host."""
        if other._state != GONE:
            other._arrive(what)
        elif not isinstance(what, int):
            # Octets for an end that has closed are answered with a reset.
            other._send_over(other._way, 0, self, RESET)

    def cut(self, how: Cut = "reset") -> None:
        """Break the connection, as a `Link` does with its ``cut_after``; what left arrives.

        Args:
            how: ``reset`` and ``close`` reach the other end by the link; with ``vanish``
                neither end hears of the other again.

        Raises:
            ValueError: There is no such way to break it.
        """
        other = self._other
        if other is None or self._state == GONE:
            return
        if how == "reset":
            self._send_over(self._way, 0, other, RESET)
            self._lose(ConnectionLost("the connection was cut", "reset"), "reset")
        elif how == "close":
            self._send_over(self._way, 0, other, END)
            other._send_over(other._way, 0, self, END)
        elif how != "vanish":
            raise ValueError(f"a connection is cut by reset, close or vanish, not {how!r}")
        self._severed = other._severed = True

    def _drained(self) -> None:
        """Everything has left: go on with what waited for that."""
        if self._state == CLOSING:
            self._lose(None, self._close_reason or "clean")
            return
        if self._eof_out:
            self._shut_out()
        if self._state != GONE:
            self._relieved(self._size)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent (those of files not counted)."""
        return self._size

    def output_mark(self) -> object:
        """A value that changes while what waits to be sent makes progress, files included."""
        first = self._out[0] if self._out else None
        return self._size, len(self._out), getattr(first, "sent", 0)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`; it is read as the link takes it.

        Args:
            file: Open for reading, until the Deferred has fired.
            offset: Octet to begin at.
            count: Octets to send; all up to the end when left out.

        Returns:
            Fires with the octets sent, fewer than `count` if the file ended first.
        """
        piece = FilePiece(file, offset, count)
        if self._state != OPEN or self._eof_out:
            piece.fail(ConnectionLost("the connection is closed", self._close_reason or "lost"))
            return piece.done
        self._out.append(piece)
        # A file on its way is more than enough: producers wait until it has left.
        self._pause()
        self._flush_at_end_of_turn()
        return piece.done

    def can_write_eof(self) -> bool:
        """Memory can."""
        return True

    def write_eof(self) -> None:
        """Close the way out once all that was written has left."""
        if self._eof_out or self._state != OPEN:
            return
        self._eof_out = True
        if not self._out:
            self._shut_out()

    def _shut_out(self) -> None:
        if self._other is not None:
            self._transmit(self._other, END)
        if self._eof_in:
            self.close()
