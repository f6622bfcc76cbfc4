"""Frames with their length in front: one, two or four octets, either byte order.

The length counts the octets after it. It is compared with the limit before
anything is kept for it.
"""

from __future__ import annotations

from sennit.core.framing.octets import FramedProtocol, Octets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    from sennit.core.interfaces import Buffer

__all__ = ["MAX_FRAME", "PrefixDecoder", "PrefixProtocol", "encode_prefixed"]

MAX_FRAME: Final = 1024 * 1024
"""Octets of one frame, its prefix not counted."""

_WIDTHS: Final = (1, 2, 4)


class PrefixDecoder(Octets):
    """Cuts octets into frames with a length in front.

    Args:
        width: Octets of the length: 1, 2 or 4 (8, 16 or 32 bits).
        byteorder: ``big`` (the network's) or ``little``.
        max_length: Octets of one frame at most.
    """

    __slots__ = ("_byteorder", "_width", "max_length")

    def __init__(
        self,
        width: int = 4,
        byteorder: Literal["big", "little"] = "big",
        *,
        max_length: int = MAX_FRAME,
    ) -> None:
        _check_shape(width, byteorder)
        if max_length < 0:
            raise ValueError(f"max_length ({max_length}) counts octets")
        super().__init__()
        self._width = width
        self._byteorder: Literal["big", "little"] = byteorder
        self.max_length = max_length

    def next_frame(self) -> bytes | None:
        """The next frame without its length; ``None`` until it is whole.

        Raises:
            ProtocolError: It is too long.
        """
        if self._error is not None:
            self._check()
        begin = self._start + self._width
        if self._size < 0:
            if begin > len(self._data):
                return None
            size = int.from_bytes(self._data[self._start : begin], self._byteorder)
            if size > self.max_length:
                self._broken(
                    f"a frame of {size} octets, {self.max_length} are allowed", "limit:frame"
                )
            self._size = size
        end = begin + self._size
        if end > len(self._data):
            return None
        self._start = begin
        return self._cut(end, end)


def encode_prefixed(
    data: Buffer, width: int = 4, byteorder: Literal["big", "little"] = "big"
) -> bytes:
    """`data` with its length in front.

    Raises:
        ValueError: The length does not fit, or there is no such prefix.
    """
    _check_shape(width, byteorder)
    if len(data) >> 8 * width:
        raise ValueError(f"{len(data)} octets do not fit a length of {8 * width} bits")
    return len(data).to_bytes(width, byteorder) + data


def _check_shape(width: int, byteorder: str) -> None:
    if width not in _WIDTHS:
        raise ValueError(f"a length has 1, 2 or 4 octets, not {width!r}")
    if byteorder not in {"big", "little"}:
        raise ValueError(f"byte order is 'big' or 'little', not {byteorder!r}")


class PrefixProtocol(FramedProtocol):
    """A protocol of frames with a length in front; a subclass defines `frame_received`.

    Attributes:
        width: Octets of the length: 1, 2 or 4.
        byteorder: ``big`` or ``little``.
        max_length: Octets of one frame at most, either way.
    """

    width: int = 4
    byteorder: Literal["big", "little"] = "big"
    max_length: int = MAX_FRAME

    def _make_decoder(self) -> PrefixDecoder:
        self._frames = PrefixDecoder(self.width, self.byteorder, max_length=self.max_length)
        return self._frames

    def _hand_out(self) -> bool:
        frame = self._frames.next_frame()
        if frame is None:
            return False
        self.frame_received(frame)
        return True

    def frame_received(self, frame: bytes) -> None:
        """A frame has come.

        Args:
            frame: Its octets, without the length.
        """

    def send_frame(self, data: Buffer) -> None:
        """Send octets as a frame.

        Raises:
            ValueError: They are more than `max_length`, or than the length can say.
        """
        if len(data) > self.max_length:
            raise ValueError(f"{len(data)} octets, {self.max_length} are allowed")
        self.transport.write(encode_prefixed(data, self.width, self.byteorder))
