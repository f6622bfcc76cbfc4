"""The way out of a socket transport: its queue, and how it empties.

What a protocol writes while its `data_received` runs leaves in one ``send`` right
after it; what is written from elsewhere leaves once, at the end of the turn. Several
small pieces are joined, large ones leave by ``sendmsg``, pieces of files by
``sendfile``. Writability is asked for only when the kernel has refused something.
"""

from __future__ import annotations

import errno
import socket
from functools import partial

from sennit.core.errors import ConnectionAborted, ConnectionLost, ReactorError
from sennit.core.reactor.pollers import ONCE, PEER_CLOSED, READ, WRITE
from sennit.core.transport.flow import FlowControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from typing import IO, Any, Final

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.filepiece import FilePiece

__all__ = [
    "CLOSING",
    "CORKED",
    "FRESH",
    "GONE",
    "HALF",
    "LOOSE",
    "NOT_EMPTYING",
    "NO_MEMORY",
    "OPEN",
    "RETRY",
    "Sending",
    "owned",
]

JOIN_BELOW: Final = 16 * 1024
"""Octets up to which several pieces are joined for one ``send``; above, ``sendmsg``."""
PIECES_AT_ONCE: Final = 512
"""Pieces of one ``sendmsg`` (IOV_MAX is 1 024 on Linux)."""

FEW_PIECES: Final = 1024
"""Pieces that wait for a slow peer; more are joined, lest their number cost more than they hold."""
RETRY: Final = 0.05
"""Seconds until sending or receiving is tried again after the system had no memory for it."""
NO_MEMORY = frozenset({errno.ENOBUFS, errno.ENOMEM})
"""What passes by itself."""

OPEN, HALF, CLOSING, GONE = 0, 1, 2, 3
"""States of a connection. HALF: `write_eof` was called. Only OPEN ones take what is written."""

NOT_EMPTYING, EMPTYING, IN_A_CALL = 0, 1, 2
"""Whether the queue is being sent; IN_A_CALL: by who has just put a file into it."""

LOOSE, FRESH, CORKED = 0, 1, 2
"""Whether the protocol is being called: not; called, and nothing waits to be sent; called."""


class Sending(FlowControl):
    """Half of `SocketTransport`: the attributes it names belong to both."""

    __slots__ = (
        "_answer",
        "_close_reason",
        "_context",
        "_cork",
        "_emptying",
        "_eof_in",
        "_fd",
        "_mask",
        "_out",
        "_queued",
        "_reactor",
        "_reading",
        "_registered",
        "_send",
        "_size",
        "_sock",
        "_state",
        "_unheard",
    )

    _answer: bytes | memoryview
    _close_reason: str | None
    _context: Context | None
    _cork: int
    _emptying: int
    _eof_in: bool
    _fd: int
    _mask: int
    _out: list[Any]  # of bytes, memoryview or FilePiece
    _queued: bool
    _reactor: Reactor
    _reading: bool
    _registered: int
    _send: Callable[[bytes | memoryview], int]
    _size: int
    _sock: RawSocket
    _state: int
    _unheard: bool  # sending has failed; what was received before has not been looked at

    def _watch(self, mask: int) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _failed(self, error: OSError | None) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _ended_out(self) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        if type(data) is not bytes:
            data = owned(data)
        if self._cork == FRESH:
            # The first octets of a `data_received` with nothing before them: the
            # event's own code sends them, without queue or count.
            self._cork = CORKED
            self._answer = data
            return
        if self._answer:
            self._queue_answer()
        if self._state or not data:
            if self._state == HALF:
                raise ReactorError("write after write_eof")
            return
        self._out.append(data)
        self._size = size = self._size + len(data)
        if size >= self._high:
            self._pressed()
        elif not self._cork and not self._queued:
            self._flush_soon()

    def _queue_answer(self) -> None:
        """Something comes behind the answer of this event: it takes its place in the queue."""
        self._out.append(self._answer)
        self._size += len(self._answer)
        self._answer = b""

    def _flush_soon(self) -> None:
        self._queued = True
        # It may tell the protocol to resume.
        self._call_later_on(self._flush)

    def _call_later_on(self, fn: Callable[[], object]) -> None:
        """Call at the end of the turn, in the connection's context."""
        if self._context is None:
            self._reactor.flush_later(fn)
        else:
            self._reactor.flush_later(partial(self._context.run, fn))

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together where they can."""
        for piece in pieces:
            self.write(piece)

    def _pressed(self) -> None:
        """Above the high mark: send at once what the kernel takes, then look again."""
        if self._mask & WRITE:
            self._too_much()
        else:
            self._flush()

    def _too_much(self) -> None:
        """Octets wait that the kernel does not take: pause producers, or give the peer up."""
        if self._size > self._high and self._state != GONE:
            if len(self._out) > FEW_PIECES:
                self._join_pieces()
            self._pause()
            if self._size > self._hard:
                self._lose(
                    self._overflow(self._size, getattr(self, "peer", None)), "limit:write-buffer"
                )

    def _join_pieces(self) -> None:
        """Make few large pieces of many small ones; every octet is copied once at most."""
        joined: list[Any] = []
        small: list[Any] = []
        size = 0
        for piece in self._out:
            length = _length(piece)
            if 0 <= length < JOIN_BELOW:
                small.append(piece)
                size += length
                if size < 4 * JOIN_BELOW:
                    continue
            if small:
                joined.append(b"".join(small))
                small.clear()
                size = 0
            if not 0 <= length < JOIN_BELOW:
                joined.append(piece)
        if small:
            joined.append(b"".join(small))
        self._out[:] = joined

    def _flush(self) -> None:
        """Send what is queued, until the kernel refuses."""
        self._queued = False
        out = self._out
        if self._mask & WRITE or not out or self._state == GONE:
            self._emptying = NOT_EMPTYING
            return
        self._emptying = self._emptying or EMPTYING
        try:
            if len(out) == 1 and type(out[0]) is bytes:
                data = out.pop()
                send = self._send
                try:
                    sent = send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    out.append(data)
                    raise
                if sent != len(data):
                    self._refused(data, sent)
                    return
                self._size = 0
            else:
                self._send_many()
                if self._state == GONE:
                    return
        except BlockingIOError:
            pass
        except OSError as error:
            self._not_sent(error)
            return
        finally:
            self._emptying = NOT_EMPTYING
        if out:
            self._wait_to_send()
        elif self._state or self._pressing:
            self._drained()

    def _not_sent(self, error: OSError) -> None:
        """Sending has failed: for want of memory it is tried again in a while, else that is it."""
        if error.errno not in NO_MEMORY:
            self._unheard = self._reading and not self._eof_in
            self._failed(error)
            return
        if self._registered & WRITE:
            mask = self._mask & ~WRITE
            self._watch(mask if mask & READ else mask | ONCE)
        # As if the kernel had refused, though the poller does not know: it would spin.
        self._mask |= WRITE
        self._reactor.call_later(RETRY, self._send_again)
        self._too_much()

    def _answer_not_sent(self, data: bytes | memoryview, error: OSError) -> None:
        self._out.append(data)
        self._size = len(data)
        self._not_sent(error)

    def _send_again(self) -> None:
        if self._state != GONE:
            self._mask &= ~WRITE | self._registered
            self._flush()

    def _refused(self, data: bytes | memoryview, sent: int) -> None:
        """The kernel took only `sent` octets of the one piece there was."""
        self._out.append(memoryview(data)[sent:] if sent else data)
        self._size = len(data) - sent
        self._wait_to_send()

    def _wait_to_send(self) -> None:
        self._watch(self._mask | WRITE)
        self._too_much()

    def _send_many(self) -> None:
        """Send pieces until the queue is empty or the kernel takes less than it was given."""
        out = self._out
        while out:
            first = out[0]
            if not isinstance(first, (bytes, memoryview)):
                if not self._send_file_piece(first):
                    return
                continue
            pieces = out
            for at, piece in enumerate(out):
                if at == PIECES_AT_ONCE or not isinstance(piece, (bytes, memoryview)):
                    pieces = out[:at]
                    break
            if len(pieces) == 1:
                given = _length(out[0])
                sent = self._send(out[0])
            elif self._size <= JOIN_BELOW:
                data = b"".join(pieces)
                given = len(data)
                sent = self._send(data)
            else:
                given = sum(map(_length, pieces))
                sent = self._sock.sendmsg(pieces)
            self._size -= sent
            if sent == given:
                del out[: len(pieces)]
                continue
            at = 0
            while sent >= (length := _length(out[at])):
                sent -= length
                at += 1
            del out[:at]
            if sent:
                out[0] = memoryview(out[0])[sent:]
            return

    def _send_file_piece(self, piece: FilePiece) -> bool:
        """Send of a file what the kernel takes; whether the piece is done with."""
        if piece.by_kernel:
            left = piece.send_by_kernel(self._fd)
        else:
            try:
                block = piece.next_block()
            except Exception as error:
                self._file_failed(piece, error)
                return False
            if block:
                piece.advance(self._send(block))
            left = bool(block)
        if left:
            # One bite a turn, so that a fast peer does not keep the loop.
            return False
        self._out.pop(0)
        if self._emptying == IN_A_CALL:
            # Its Deferred is not even in the hands of who will wait for it.
            self._call_later_on(piece.finish)
        else:
            piece.finish()
        return self._state != GONE

    def _file_failed(self, piece: FilePiece, error: Exception) -> None:
        """A file cannot be read: what was promised of it cannot be sent, nor what comes behind."""
        piece.fail(error)
        lost = ConnectionAborted(f"a file could not be read: {error}", "error")
        lost.__cause__ = error
        self._lose(lost, "error")

    def _on_writable(self) -> None:
        """The kernel takes octets again."""
        # Writability stays registered with the poller until it is known that
        # nothing is left: what is produced now may well be refused again.
        self._mask &= ~WRITE
        self._emptying = EMPTYING
        try:
            self._send_many()
        except BlockingIOError:
            pass
        except OSError as error:
            self._not_sent(error)
            return
        finally:
            self._emptying = NOT_EMPTYING
        if not self._out:
            if self._state or self._pressing:
                self._drained()
        elif self._state != GONE:
            self._mask |= WRITE
            # A file on its way keeps producers waiting, however few octets there are besides.
            if self._pressing and self._size <= self._low and not self._holds_files():
                self._relieved(self._size)
        if not self._out and self._state != GONE:
            mask = self._mask
            if not mask & READ:
                # The peer's end is news only once.
                mask |= ONCE if self._eof_in else PEER_CLOSED | ONCE
            self._watch(mask)

    def _holds_files(self) -> bool:
        return not all(isinstance(piece, (bytes, memoryview)) for piece in self._out)

    def _drained(self) -> None:
        """Everything has left: go on with what waited for that."""
        if self._state == CLOSING:
            self._lose(None, self._close_reason or "clean")
            return
        if self._state == HALF:
            self._shut_out()
        if self._why_gone() is None:
            self._relieved(0)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent (those of files not counted)."""
        return self._size + len(self._answer)

    def output_mark(self) -> object:
        """A value that changes while what waits to be sent makes progress, files included."""
        first = self._out[0] if self._out else None
        return self.get_write_buffer_size(), len(self._out), getattr(first, "sent", 0)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`, by ``sendfile(2)`` where that works.

        Args:
            file: Open for reading, until the Deferred has fired.
            offset: Octet to begin at.
            count: Octets to send; all up to the end when left out.

        Returns:
            Fires with the octets sent, fewer than `count` if the file ended first.
        """
        from sennit.core.transport.filepiece import FilePiece

        piece = FilePiece(file, offset, count)
        self.send_piece(piece)
        return piece.done

    def send_piece(self, piece: FilePiece) -> None:
        """`sendfile` for one who made the piece, and looks how much of it has left."""
        if self._state != OPEN:
            piece.fail(ConnectionLost("the connection is closed", self._close_reason or "lost"))
            return
        if self._answer:
            self._queue_answer()
        self._out.append(piece)
        if self._emptying == NOT_EMPTYING:
            # Right behind its head: what the peer is woken for is there when it looks. And
            # most files leave whole, of which no producer need hear.
            self._emptying = IN_A_CALL
            self._flush()
            if not self._out or self._why_gone() is not None:
                return
        self._pause()  # a file on its way is enough: producers wait until it has left

    def can_write_eof(self) -> bool:
        """Sockets can."""
        return True

    def write_eof(self) -> None:
        """Close the way out once all that was written has left."""
        if self._answer:
            self._queue_answer()
        if self._state == OPEN:
            self._state = HALF
            self._cork = self._cork and CORKED
            if not self._out:
                self._shut_out()

    def _shut_out(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._failed(error)
            return
        self._ended_out()


def _length(piece: bytes | memoryview[int] | FilePiece) -> int:
    """Octets of a piece in the queue; -1 for one of a file, which is not counted."""
    return len(piece) if isinstance(piece, (bytes, memoryview)) else -1


def owned(data: Buffer) -> bytes | memoryview:
    """`data` in a form that nobody else changes, not copied where that is sure already."""
    if isinstance(data, memoryview):
        if data.readonly and type(data.obj) is bytes and data.contiguous:
            return data if data.format == "B" else data.cast("B")
        return data.tobytes()
    if isinstance(data, (bytes, bytearray)):  # pyright: ignore[reportUnnecessaryIsInstance]
        return bytes(data)
    raise TypeError(f"octets are written as bytes, not {type(data).__name__}")
