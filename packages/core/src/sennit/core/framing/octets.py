"""What every decoder of frames does with octets, and what every framed protocol does with frames.

`Octets` holds what came and was not read: a piece is kept as it is while it is
read whole, and copied only where a frame spans pieces. Taking from the front
moves nothing.

A decoder raises `ProtocolError` when the peer broke a rule. From then on it
raises the same error again, and keeps nothing of what comes.
"""

from __future__ import annotations

from sennit.core.errors import ProtocolError
from sennit.core.protocol import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from sennit.core.interfaces import Buffer

__all__ = ["FramedProtocol", "Octets"]


class Octets:
    """Octets that came and were not read yet; the base of the decoders."""

    __slots__ = ("_data", "_error", "_searched", "_size", "_start")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._start = 0
        # Where a search that found nothing goes on; the subclass's affair.
        self._searched = 0
        # Octets of the frame under way, once its length is known; its head still waits.
        self._size = -1
        self._error: ProtocolError | None = None

    @property
    def waiting(self) -> int:
        """Octets that wait."""
        return len(self._data) - self._start

    def receive_data(self, data: Buffer) -> None:
        """Octets have come."""
        if self._error is not None:
            return
        kept = self._data
        if self._start == len(kept):
            self._data = data if type(data) is bytes else bytes(data)
            self._start = self._searched = 0
            return
        if self._start:
            self._searched = max(self._searched - self._start, 0)
        if type(kept) is bytearray:
            if self._start:
                del kept[: self._start]
            kept += data
        else:
            longer = bytearray(memoryview(kept)[self._start :])
            longer += data
            self._data = longer
        self._start = 0

    def take(self, most: int | None = None) -> bytes:
        """The next octets as they are, all of them or `most`; empty when none wait.

        Raises:
            ValueError: `most` is negative.
        """
        if most is not None and most < 0:
            raise ValueError(f"cannot take {most} octets")
        end = len(self._data)
        if most is not None:
            end = min(end, self._start + most)
        return self._cut(end, end)

    def unread(self, data: Buffer) -> None:
        """Put octets back in front of what waits."""
        if data:
            rest = self.take()
            self._data = b"".join((data, rest))
            self._size = -1
            self._start = self._searched = 0

    def release(self) -> bytes:
        """End this decoder and hand over what it did not read, for whoever reads on."""
        return self.take()

    def _cut(self, end: int, after: int) -> bytes:
        """The octets up to `end`; reading goes on at `after`."""
        data = self._data
        piece = data[self._start : end]
        self._start = self._searched = after
        self._size = -1
        if after == len(data):
            self._data = b""
            self._start = self._searched = 0
        return piece if type(piece) is bytes else bytes(piece)

    def _broken(self, message: str, rule: str) -> NoReturn:
        """The peer broke a rule: drop everything, now and later."""
        self._error = ProtocolError(message, rule)
        self._data = b""
        self._start = self._searched = 0
        raise self._error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)


class FramedProtocol(Protocol):
    """A protocol that is handed whole frames; the base of those in this room.

    Reading can be paused between two frames (`pause_frames`), not only between
    two pieces of the transport's.
    """

    def __init__(self) -> None:
        self._decoder = self._make_decoder()
        self._frames_paused = False
        self._handing_out = False

    # ── what a subclass defines ───────────────────────────────────────────────

    def _make_decoder(self) -> Octets:
        raise TypeError(f"{type(self).__qualname__} has no decoder")

    def _hand_out(self) -> bool:
        """Hand the next frame to the subclass; whether there was one."""
        return False

    def frame_refused(self, error: ProtocolError) -> None:
        """The peer broke the rules of framing; nothing more is read from it.

        Aborts the connection, with the limit's name as the reason where it was
        one; override it to answer first.

        Args:
            error: What it did, and which rule that broke.
        """
        self.transport.abort(error.rule if error.rule.startswith("limit:") else "error")

    # ── reading ───────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Octets have come: hand out the frames they complete."""
        self._decoder.receive_data(data)
        if not self._handing_out:
            self._hand_out_all()

    def _hand_out_all(self) -> None:
        self._handing_out = True
        try:
            while not self._frames_paused and not self.transport.is_closing():
                if not self._hand_out():
                    break
        except ProtocolError as error:
            if error is not self._decoder._error:
                raise
            self.frame_refused(error)
        finally:
            self._handing_out = False

    def pause_frames(self) -> None:
        """Hand out no more frames, also not those that have come, until `resume_frames`."""
        self._frames_paused = True
        self.transport.pause_reading()

    def resume_frames(self) -> None:
        """Go on."""
        if self._frames_paused:
            self._frames_paused = False
            if not self._handing_out:
                self._hand_out_all()
            if not self._frames_paused:
                self.transport.resume_reading()

    def release(self) -> bytes:
        """Hand over the octets that were not read, for the protocol that follows this one."""
        return self._decoder.release()

    def switch_to(self, protocol: Any) -> None:
        """Let another protocol go on from here: transport, and octets that were not read.

        Args:
            protocol: Its `connection_made` is called. (`Any`: it may narrow its
                transport.)
        """
        self._frames_paused = True
        rest = self._decoder.release()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if rest:
            protocol.data_received(rest)
