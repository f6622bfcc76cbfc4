"""Frames cut out of octets, each weighed before anything is done with it.

A frame leaves here whole, with the nine octets before it, and only if its size,
its stream and its place are what RFC 9113 allows: the preface first, then
SETTINGS; a header block without anything between its frames, in few of them and
not too large. So what stands behind can be given one frame at a time, and never
holds more of one than there may be.

Sources: RFC 9113 §3.4, §4.1, §4.2, §6; RFC 9218 §7.1. Not here: what frames mean
to a stream (``connection.py``), the fields in them (``grammar.py``).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.web.http2.limits import HTTP2Limits

    Frame = tuple[int, int, int, bytes]

__all__ = ["FrameReader", "FramingError", "frame_head"]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113 §3.4)."""
MAX_FRAME: Final = 16 * 1024
"""Octets of a frame's payload that are taken: what everybody must allow, and we allow no more."""
HEAD: Final = 9
"""Octets before a frame's payload."""

_SIZES: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4, PRIORITY: 5}
_OF_STREAMS: Final = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION})
_OF_CONNECTION: Final = frozenset({SETTINGS, PING, GOAWAY, PRIORITY_UPDATE})

_pack = Struct(">HBBBL").pack
_unpack = Struct(">HBBBL").unpack_from


class FramingError(Exception):
    """The octets break a rule, and the connection cannot go on (RFC 9113 §5.4.1).

    Attributes:
        code: The error code that says so.
        rule: The rule broken, such as ``RFC 9113 §4.2``.
    """

    def __init__(self, code: int, message: str, rule: str) -> None:
        super().__init__(message)
        self.code = code
        self.rule = rule


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine octets before a payload (RFC 9113 §4.1)."""
    return _pack(length >> 8, length & 255, kind, flags, stream)


class FrameReader:
    """Cuts frames out of what one side sends.

    Args:
        limits: What is too much.
        preface: What must come before the first frame.

    Attributes:
        settled: The first SETTINGS frame has come.
        in_block: A header block is open: its last frame has not come.
    """

    __slots__ = ("_at", "_block", "_frames", "_in", "_limits", "_preface", "_stream", "in_block",
                 "settled")  # fmt: skip

    def __init__(self, limits: HTTP2Limits, preface: bytes = b"") -> None:
        self._limits = limits
        self._preface = preface
        self._in = b""
        self._at = 0
        self._stream = 0  # whose header block is open
        self._block = 0  # its octets
        self._frames = 0  # its CONTINUATIONs
        self.settled = False
        self.in_block = False

    def receive(self, data: bytes) -> None:
        """Take octets, cut anywhere."""
        if self._at >= len(self._in):
            self._in = bytes(data)
        else:
            self._in = self._in[self._at :] + data
        self._at = 0

    def rest(self) -> bytes:
        """What was received and not given out as frames; it is forgotten here."""
        rest = self._in[self._at :]
        self._in = b""
        self._at = 0
        return rest

    @property
    def partial(self) -> bool:
        """Whether the rest of a frame is awaited that is not content."""
        left = len(self._in) - self._at
        return left > 0 and (left < HEAD or self._in[self._at + 3] != DATA)

    def next_frame(self) -> Frame | None:
        """Type, flags, stream, and the whole frame; ``None`` where octets are missing.

        Raises:
            FramingError: The octets are no frame that may stand here.
        """
        data = self._in
        at = self._at
        if self._preface:
            return self._past_preface()
        if len(data) - at < HEAD:
            return None
        high, low, kind, flags, stream = _unpack(data, at)
        size = high << 8 | low
        stream &= 0x7FFF_FFFF
        if size > MAX_FRAME:
            raise FramingError(FRAME_SIZE_ERROR, f"a frame of {size} octets", "RFC 9113 §4.2")
        if not self.settled or self.in_block or kind > HEADERS or not stream:
            self._judge(kind, flags, stream, size)
        end = at + HEAD + size
        if len(data) < end:
            return None
        self._at = end
        if kind == HEADERS:
            self._begin_block(flags, stream, size)
        elif kind == CONTINUATION:
            self._go_on_with_block(flags, size)
        elif kind == SETTINGS:
            self.settled = True
        return kind, flags, stream, data[at:end]

    def _past_preface(self) -> Frame | None:
        wanted = self._preface
        come = self._in[: len(wanted)]
        if not wanted.startswith(come):
            # What came beside it depends on how it was cut, and is not quoted.
            raise FramingError(PROTOCOL_ERROR, "no preface of HTTP/2", "RFC 9113 §3.4")
        if len(come) < len(wanted):
            return None
        self._at = len(wanted)
        self._preface = b""
        return self.next_frame()

    def _judge(self, kind: int, flags: int, stream: int, size: int) -> None:
        """Whether a frame with this head may come now."""
        if not self.settled and (kind != SETTINGS or flags & ACK):
            raise FramingError(PROTOCOL_ERROR, "SETTINGS must come first", "RFC 9113 §3.4")
        if self.in_block and (kind != CONTINUATION or stream != self._stream):
            raise FramingError(PROTOCOL_ERROR, "a frame within a header block", "RFC 9113 §4.3")
        if not stream and kind in _OF_STREAMS:
            raise FramingError(PROTOCOL_ERROR, f"type {kind} on stream 0", "RFC 9113 §6")
        if stream and kind in _OF_CONNECTION:
            raise FramingError(PROTOCOL_ERROR, f"type {kind} on a stream", "RFC 9113 §6")
        fixed = _SIZES.get(kind)
        if fixed is not None and size != fixed:
            raise FramingError(FRAME_SIZE_ERROR, f"type {kind} with {size} octets", "RFC 9113 §4.2")
        if kind == SETTINGS:
            if size % 6 or (flags & ACK and size):
                raise FramingError(
                    FRAME_SIZE_ERROR, f"SETTINGS with {size} octets", "RFC 9113 §6.5"
                )
        elif kind == GOAWAY:
            if size < 8:
                raise FramingError(FRAME_SIZE_ERROR, f"GOAWAY with {size} octets", "RFC 9113 §6.8")
        elif kind == PUSH_PROMISE:
            raise FramingError(PROTOCOL_ERROR, "PUSH_PROMISE", "RFC 9113 §8.4")
        elif kind == CONTINUATION and not self.in_block:
            raise FramingError(PROTOCOL_ERROR, "CONTINUATION without HEADERS", "RFC 9113 §6.10")

    def _begin_block(self, flags: int, stream: int, size: int) -> None:
        if not flags & END_HEADERS:
            self.in_block = True
            self._stream = stream
            self._block = size
            self._frames = 0

    def _go_on_with_block(self, flags: int, size: int) -> None:
        limits = self._limits
        self._block += size
        self._frames += 1
        if self._frames > limits.continuations or self._block > limits.block:
            # CVE-2024-27316.
            raise FramingError(
                ENHANCE_YOUR_CALM,
                f"a header block of {self._block} octets in {self._frames + 1} frames",
                "RFC 9113 §10.5.1",
            )
        if flags & END_HEADERS:
            self.in_block = False
