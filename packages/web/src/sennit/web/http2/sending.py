"""Content on its way out: queues by stream, windows, and DATA frames cut out of both.

Pieces wait by stream (`Stream.queue`), octets and file parts alike; `data_to_send`
cuts frames out of them in the order that priorities ask for (``priority.py``), as
far as the windows of stream and connection reach, and only so much at a time as a
transport likes. Nothing is copied, no file is opened; h2 is told of the end alone.

Sources: RFC 9113 §5.2, §6.1, §6.9, §8.1; RFC 9218 §10. Not here: where windows come
from (``connection.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.engine import FilePart
from sennit.web.http2 import framing
from sennit.web.http2.framing import frame_head
from sennit.web.http2.priority import Order
from sennit.web.http2.streams import close_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h2.connection import H2Connection

    from sennit.core.interfaces import Buffer
    from sennit.web.http2.limits import HTTP2Limits
    from sennit.web.http2.streams import Stream

    Piece = Buffer | FilePart

__all__ = ["Sending"]

BURST: Final = 128 * 1024
"""Octets of content given out at once: twice what makes a transport ask for a pause."""
WINDOWS_PER_FRAME: Final = 4
"""WINDOW_UPDATEs that a frame of content sent pays for."""
MOST_PAID: Final = 1000
"""WINDOW_UPDATEs that are paid for at most."""
JOIN_BELOW: Final = 16 * 1024
"""Octets of content up to which it leaves in one piece with its head: a copy costs less then."""
SMALL: Final = 2048
"""Octets of a piece up to which it is copied together with its neighbours: cheaper than apart."""


class Sending:
    """What a connection sends.

    Args:
        limits: How much may wait.

    Attributes:
        pressed: The transport wants no more for now; its driver says so.
        roomy: Streams that may be given content again, for which somebody waits: their
            driver takes them out.
    """

    _h2: H2Connection

    def __init__(self, limits: HTTP2Limits) -> None:
        self._limits = limits
        self._out: list[Piece] = []
        self._streams: dict[int, Stream] = {}
        self._order = Order()
        self._window: int = 65_535
        self._initial: int = 65_535
        self._frame_size: int = framing.MAX_FRAME
        self._controls = 0
        self._windows = 100  # WINDOW_UPDATEs that are paid for
        self._closed = False
        self._now = 0.0
        self._active = 0.0  # when a stream was begun or ended last
        self._awaited: set[int] = set()
        self.pressed = False
        self.roomy: list[int] = []

    def _drain_h2(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._out.append(data)

    def _watch(self, when: float) -> None:
        """Something must have happened by then."""
        raise TypeError("time is the connection's")  # pragma: no cover

    @property
    def more(self) -> bool:
        """Whether `data_to_send` would have content to give at once, or after the last pieces."""
        return bool(self._order) and self._window > 0 and not self._closed

    def data_to_send(self) -> list[Piece]:
        """What to send now, in order; each piece is given once."""
        if self._order and not self.pressed:
            self._pump()
        out = self._out
        if not out:
            return out
        self._out = []
        self._controls = 0
        return out if len(out) == 1 else _joined(out)

    def may_send(self, exchange: int) -> bool:
        """Whether more content is wanted of that answer; else `roomy` will say when."""
        stream = self._streams.get(exchange)
        if stream is None or stream.queued < self._limits.buffer:
            return True
        self._awaited.add(exchange)
        return False

    def waiting(self, exchange: int) -> int:
        """Octets of content of that answer that wait to be sent."""
        stream = self._streams.get(exchange)
        return 0 if stream is None else stream.queued

    def _send_content(
        self,
        stream: Stream,
        fields: list[tuple[bytes, bytes]],
        body: Piece | Sequence[Piece],
        size: int,
    ) -> None:
        """Queue fields and the whole content behind them."""
        stream.sent = size
        if (
            type(body) is bytes
            and size <= JOIN_BELOW
            and size <= self._window
            and size <= (stream.window if stream.window < self._frame_size else self._frame_size)
            and not self._order
        ):
            self._send_whole(stream, fields, body)
            return
        self._h2.send_headers(stream.number, fields)
        self._drain_h2()
        stream.ending = True
        if isinstance(body, (list, tuple)):
            for piece in body:
                self._queue(stream, piece)
        else:
            self._queue(stream, body)  # type: ignore[arg-type]  # a buffer or a FilePart

    def _send_whole(self, stream: Stream, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        """The usual message: it fits into the windows, and leaves at once, in one piece."""
        size = len(body)
        # h2 takes the stream to end with its fields; here the flag moves to the content.
        self._h2.send_headers(stream.number, fields, end_stream=True)
        made = self._h2.data_to_send()
        self._out.append(
            b"".join(
                (
                    made[:4],
                    _WITHOUT_END[made[4]],
                    made[5:],
                    frame_head(size, framing.DATA, framing.END_STREAM, stream.number),
                    body,
                )
            )
        )
        self._window -= size
        stream.window -= size
        self._windows = min(self._windows + WINDOWS_PER_FRAME, MOST_PAID)
        self._ended_ours(stream)

    def _queue(self, stream: Stream, piece: Piece) -> None:
        if not len(piece):
            close_files(piece)
            return
        if not stream.queue:
            stream.since = self._now
        stream.queue.append(piece)
        stream.queued += len(piece)
        self._arrange(stream)
        self._watch(self._now + self._limits.write)

    def _arrange(self, stream: Stream) -> None:
        """See whether a stream has something to send, and a window for it."""
        if stream.ended:
            return
        if stream.queued:
            if stream.window > 0:
                self._order.add(stream.number, stream.priority)
            else:
                self._order.remove(stream.number)
        elif stream.ending:
            self._order.add(stream.number, stream.priority)

    def _pump(self) -> None:
        """Cut DATA frames out of what waits, in order of priority."""
        order = self._order
        if self.pressed or self._closed:
            return
        left = BURST
        while order and left > 0:
            stream = self._streams[order.first()]
            if self._window <= 0 and stream.queued:
                return
            left -= self._send_frame(stream)
            order.turn_over(stream.number)

    def _send_frame(self, stream: Stream) -> int:
        """Queue a frame of a stream's content; its octets."""
        number = stream.number
        size = min(stream.queued, self._frame_size, stream.window, self._window)
        if size <= 0:
            size = 0
        last = stream.ending and size == stream.queued
        if last and stream.trailers:
            last = False
            if not size:
                self._send_trailers(stream)
                return 0
        flags = 0
        if last:
            flags = framing.END_STREAM
            # h2 must know of the end; the frame it makes of that is ours.
            self._h2.end_stream(number)
            self._h2.clear_outbound_data_buffer()
        out = self._out
        out.append(frame_head(size, framing.DATA, flags, number))
        queue = stream.queue
        wanted = size
        while wanted:
            piece = queue[0]
            octets = len(piece)
            if octets <= wanted:
                out.append(queue.popleft())
                wanted -= octets
                continue
            if isinstance(piece, FilePart):
                file, offset = piece.file, piece.offset
                out.append(FilePart(file, offset, wanted))
                queue[0] = FilePart(
                    file, offset + wanted, octets - wanted, close_file=piece.close_file
                )
            else:
                view = piece if type(piece) is memoryview else memoryview(piece)
                out.append(view[:wanted])
                queue[0] = view[wanted:]
            wanted = 0
        stream.queued -= size
        stream.window -= size
        self._window -= size
        self._windows = min(self._windows + WINDOWS_PER_FRAME, MOST_PAID)
        stream.since = self._now
        if last:
            self._order.remove(number)
            self._ended_ours(stream)
        elif stream.queued:
            if stream.window <= 0:
                self._order.remove(number)
        elif not stream.ending:
            self._order.remove(number)
        elif stream.trailers:
            self._send_trailers(stream)
        if number in self._awaited and stream.queued <= self._limits.buffer >> 1:
            self._awaited.discard(number)
            self.roomy.append(number)
        return size + framing.HEAD

    def _send_trailers(self, stream: Stream) -> None:
        self._order.remove(stream.number)
        self._h2.send_headers(stream.number, stream.trailers or [], end_stream=True)
        self._drain_h2()
        self._ended_ours(stream)

    def _ended_ours(self, stream: Stream) -> None:
        """Our side of a stream has ended."""
        stream.ended = True
        if not stream.open:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """A stream has ended on both sides."""
        number = stream.number
        self._streams.pop(number, None)
        self._order.remove(number)
        self._active = self._now
        if number in self._awaited:
            self._awaited.discard(number)
            self.roomy.append(number)
        if stream.queue:
            close_files(stream.queue)
            stream.queue.clear()
            stream.queued = 0


_WITHOUT_END: Final = [bytes((flags & ~framing.END_STREAM,)) for flags in range(256)]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The same octets in fewer pieces: small neighbours are put together."""
    found: list[Piece] = []
    small: list[Any] = []
    for piece in pieces:
        if len(piece) <= SMALL and not isinstance(piece, FilePart):
            small.append(piece)
            continue
        if small:
            found.append(small[0] if len(small) == 1 else b"".join(small))
            small = []
        found.append(piece)
    if small:
        found.append(small[0] if len(small) == 1 else b"".join(small))
    return found
