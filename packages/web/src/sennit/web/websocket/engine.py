"""`WSProtoEngine`: frames read by wsproto, behind the verbs that every engine of ours has.

Octets go to wsproto's frame layer (`wsproto.frame_protocol.FrameProtocol`), frames
and parts of frames come out of it, and messages out of those. What wsproto does not
bound is bounded by an extension of its own kind that it asks about each frame's
header and payload: the size of a message (before its payload is taken, and while it
is decompressed), its fragments, and the order of frames, as soon as a header shows it.

A client's mask is taken off before wsproto sees a frame, which it then reads as one
that needs none: its own way costs 95 µs per 64 KiB of the 106 that the engine took
with it, ours 2 to 65 (``masking.py``).

Sources: RFC 6455 §5, §7.4, §8.1; RFC 7692 §6; wsproto's documentation. Not here:
writing and states (``conversation.py``), the other engine (``fast.py``).
"""

from __future__ import annotations

import zlib
from codecs import getincrementaldecoder
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed, RsvBits

from sennit.core.engine import NEED_DATA
from sennit.web.websocket.conversation import NOT_OCTETS, NOT_TEXT, OPEN, TOO_BIG, Conversation
from sennit.web.websocket.events import MessageReceived, PieceReceived, PongReceived
from sennit.web.websocket.grammar import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Broken,
)
from sennit.web.websocket.masking import mask

if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from collections.abc import Callable

    from wsproto.frame_protocol import Frame, FrameDecoder, Opcode

    from sennit.core.engine import NoEvent
    from sennit.web.websocket.deflate import Agreed, Inflater
    from sennit.web.websocket.events import Event
    from sennit.web.websocket.limits import WebSocketLimits

__all__ = ["WSProtoEngine"]

TOGETHER: Final = 1024
"""Parts of a message that are put together before it has ended."""
_DATA: Final = (BINARY, TEXT)
"""Numbers: to look a member of an Enum up costs more than to compare it."""
_NO_BITS: Final = RsvBits(False, False, False)
_RSV1: Final = RsvBits(True, False, False)
_new_decoder: Callable[[], IncrementalDecoder] = getincrementaldecoder("utf-8")


class _Gate(Extension):
    """Stands beside each frame that wsproto reads; says no with one of our faults.

    Args:
        inflater: Decompresses messages, when that was agreed on.
        most: Octets of one message.
        wire: Octets of one message that is compressed.
        fragments: Frames of one message.

    Attributes:
        fault: What it refused.
        taken: Octets of the frames that have come whole, without their keys.
        bare_at: Where a frame without a mask begins, counted likewise, if one has come.
    """

    name = "sennit"

    def __init__(self, inflater: Inflater | None, most: int, wire: int, fragments: int) -> None:
        self._inflater = inflater
        self._most = most
        self._max_wire = wire
        self._max_fragments = fragments
        self._inside = False  # a message has begun and not ended
        self._text = False
        self._squeezed = False
        self._fragments = 0
        self._wire = 0
        self._size = 0
        self._control = False
        self._header: tuple[Opcode, bool, int] | None = None  # of a frame that was let in
        self._decoder: IncrementalDecoder | None = None
        self._frame = 0  # octets of the frame that is being read
        self.fault: Broken | None = None
        self.taken = 0
        self.bare_at = -1

    def enabled(self) -> bool:
        """Always: wsproto asks only those that are."""
        return True

    def offer(self) -> bool | str:
        """The handshake is not wsproto's here (``handshake.py``)."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """A header has come: is the frame welcome?

        wsproto asks again for each read until the key has come too: so nothing is noted
        before `_begin`.
        """
        control = self._control = opcode >= CLOSE
        squeezed = False
        if rsv != _NO_BITS:
            squeezed = self._inflater is not None and not control and opcode != CONTINUATION
            if not squeezed or rsv != _RSV1:
                return self._refuse(Broken("a reserved bit", "RFC 6455 §5.2"))
        # A longer form than it needs was refused before this.
        wide = 0 if payload_length < 126 else 2 if payload_length < 65536 else 8
        self._frame = 2 + wide + payload_length
        if control:
            return rsv if self.taken != self.bare_at else self._refuse_bare()
        if opcode == CONTINUATION:
            squeezed = self._squeezed
            if not self._inside:
                return self._refuse(Broken("the continuation of nothing", "RFC 6455 §5.4"))
            if self._fragments >= self._max_fragments:
                return self._refuse(
                    Broken("a message of too many fragments", "RFC 6455 §10.4", 1009)
                )
            wire = self._wire + payload_length
        else:
            if self._inside:
                return self._refuse(Broken("a message inside another", "RFC 6455 §5.4"))
            wire = payload_length
        if wire > (self._max_wire if squeezed else self._most):
            return self._refuse(Broken(TOO_BIG, "RFC 6455 §10.4", 1009))
        if self.taken == self.bare_at:
            return self._refuse_bare()
        self._header = (opcode, squeezed, wire)
        # What is returned says which bits are known here.
        return rsv

    def _begin(self) -> None:
        """The payload of the frame that was let in begins, or it has none."""
        assert self._header is not None
        opcode, squeezed, self._wire = self._header
        self._header = None
        if opcode == CONTINUATION:
            self._fragments += 1
        else:
            self._inside = True
            self._text = opcode == TEXT
            self._squeezed = squeezed
            self._decoder = _new_decoder() if squeezed and self._text else None
            self._fragments = 1
            self._size = 0

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """Some of a frame's payload, unmasked."""
        if self._header is not None:
            self._begin()
        if self._control or not self._squeezed:
            return data
        return self._inflate(data, ended=False)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """A frame has come whole."""
        if self._header is not None:
            self._begin()
        self.taken += self._frame
        if self._control or not fin:
            return None
        self._inside = False
        return self._inflate(b"", ended=True) if self._squeezed else None

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        """Frames are written by ours."""
        return rsv, data

    def _inflate(self, data: bytes, *, ended: bool) -> bytes | CloseReason:
        # `Any`: there is one, else no message counts as compressed.
        inflater: Any = self._inflater
        room = self._most - self._size
        try:
            made: bytes = inflater.end(room) if ended else inflater.feed(data, room)
            if self._decoder is not None:
                # wsproto will do that too, but only after the size has been judged, and
                # which fault comes first must not depend on how the octets are cut.
                self._decoder.decode(made)
        except (zlib.error, UnicodeDecodeError):
            text = NOT_TEXT if self._text else NOT_OCTETS
            return self._refuse(Broken(text, "RFC 7692 §7.2.2", 1007))
        if len(made) > room:
            return self._refuse(Broken(TOO_BIG, "RFC 6455 §10.4", 1009))
        self._size += len(made)
        return made

    def _refuse_bare(self) -> CloseReason:
        return self._refuse(Broken("a frame without a mask", "RFC 6455 §5.1"))

    def _refuse(self, fault: Broken) -> CloseReason:
        self.fault = fault
        return CloseReason(fault.code)


class _Unmasker:
    """Takes masks and keys off a client's frames as they come, cut anywhere.

    Args:
        gate: Is told of a frame without a mask, which is the last one that is read.
    """

    __slots__ = ("_bare", "_gate", "_given", "_header", "_key", "_left", "_wide")

    def __init__(self, gate: _Gate) -> None:
        self._gate = gate
        self._header = bytearray()  # of the frame that is being read, with its key
        self._wide = 0  # octets of its extended length
        self._key = b""
        self._left = 0  # octets of its payload that have not come
        self._given = 0  # octets of whole frames, without their keys
        self._bare = False

    def unmask(self, data: bytes) -> bytes:
        """`data` as it would be without masks."""
        at = 0
        end = len(data)
        if (
            end > 6
            and 0x80 < data[1] < 0xFE
            and end == 6 + (data[1] & 0x7F)
            and not (self._left or self._header or self._bare)
        ):
            # One short frame, whole: what nearly all reads are.
            self._given += end - 4
            return bytes((data[0], data[1] & 0x7F)) + mask(data[6:], data[2:6])
        out: list[bytes] = []
        while at < end and not self._bare:
            left = self._left
            if left:
                chunk = data[at : at + left]
                at += len(chunk)
                self._left = left - len(chunk)
                key = self._key
                out.append(mask(chunk, key))
                turn = len(chunk) & 3
                self._key = key[turn:] + key[:turn]
                continue
            if not self._header and end - at >= 6 and data[at + 1] & 0x80:
                size = data[at + 1] & 0x7F
                begin = at + (2 if size < 126 else 4 if size == 126 else 10)
                if end - begin >= 4:
                    out.append(bytes((data[at], size)) + data[at + 2 : begin])
                    if size > 125:
                        size = int.from_bytes(data[at + 2 : begin], "big")
                    self._left = size
                    self._given += begin - at + size
                    at = begin + 4
                    self._key = data[begin:at]
                    continue
            out.append(self._take(data[at]))
            at += 1
        return b"".join(out)

    def _take(self, octet: int) -> bytes:
        """Take an octet of a header or a key; what is left of it for who knows no masks."""
        header = self._header
        header.append(octet)
        size = len(header)
        if size == 1:
            return b""
        if size == 2:
            if octet < 0x80:
                self._gate.bare_at = self._given
                self._bare = octet < 126
            short = octet & 0x7F
            self._wide = 0 if short < 126 else 2 if short == 126 else 8
            if octet == 0x80:
                # Without payload it would be taken for whole before its key has come.
                return b""
            return bytes((header[0], short))
        begin = 2 + self._wide
        if size <= begin:
            # Of a frame without a mask no more than its header is read.
            self._bare = size == begin and header[1] < 0x80
            return bytes((octet,))
        if size == begin + 4:
            self._key = bytes(header[begin:])
            self._left = int.from_bytes(header[2:begin], "big") if self._wide else header[1] & 0x7F
            self._given += begin + self._left
            whole = bytes((header[0], 0)) if header[1] == 0x80 else b""
            header.clear()
            return whole
        return b""


class WSProtoEngine(Conversation):
    """One side of one WebSocket; the arguments are those of `Conversation`."""

    def __init__(
        self,
        *,
        client: bool = False,
        limits: WebSocketLimits | None = None,
        deflate: Agreed | None = None,
        key: Callable[[], bytes] | None = None,
        pieces: bool = False,
    ) -> None:
        super().__init__(client=client, limits=limits, deflate=deflate, key=key, pieces=pieces)
        self._gate = _Gate(
            self._inflater,
            self._max_message,
            self._max_wire,
            self._max_fragments,
        )
        self._unmasker = None if client else _Unmasker(self._gate)
        # As if it were a client: without masks.
        self._protocol = FrameProtocol(True, [self._gate])
        self._frames: deque[Frame] = deque()
        self._failed: Broken | None = None  # what came behind them
        # Of the message that is being read, all str or all octets (so `Any`): what came
        # last, and what was put together of what came before, lest a message that comes
        # octet by octet takes many times its size.
        self._parts: list[Any] = []
        self._blocks: list[Any] = []
        self._unread = b""

    def receive_data(self, data: bytes) -> None:
        self._unread = self._unread + data if self._unread else data

    def _read(self) -> Event | NoEvent:
        frames = self._frames
        while True:
            while frames:
                opcode, payload, _, finished = frames.popleft()
                if opcode in _DATA:
                    event = self._piece(payload, ended=finished)
                else:
                    event = self._interpret(opcode, payload)
                if event is not None:
                    return event
            if self._failed is not None:
                raise self._failed
            data = self._unread
            if not data:
                return NEED_DATA
            self._unread = b""
            if self._unmasker is not None:
                data = self._unmasker.unmask(data)
            protocol = self._protocol
            protocol.receive_bytes(data)
            try:
                # All of them: to leave its generator in between costs more than one more frame.
                for frame in protocol.received_frames():
                    frames.append(frame)
            except ParseFailed as failed:
                self._failed = self._fault_of(failed)

    def _fault_of(self, failed: ParseFailed) -> Broken:
        if self._gate.fault is not None:
            return self._gate.fault
        if failed.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA:
            return Broken(NOT_TEXT, "RFC 6455 §8.1", 1007)
        return Broken(str(failed)[:100], "RFC 6455 §5", int(failed.code))

    def _interpret(self, opcode: int, payload: Any) -> Event | None:
        """A control frame. (`Any`: what wsproto makes of its payload, by its opcode.)"""
        if opcode == PING:
            self._answer_ping(bytes(payload))
            return None
        if opcode == PONG:
            return PongReceived(bytes(payload))
        code, reason = payload
        return self._closed_by_peer(int(code), reason)

    def _piece(self, payload: Any, *, ended: bool) -> Event | None:
        if type(payload) is bytearray:
            payload = bytes(payload)
        if self._pieces:
            if (not payload and not ended) or self._state != OPEN:
                return None
            return PieceReceived(payload, ended)
        parts = self._parts
        if not ended:
            if payload:
                parts.append(payload)
                if len(parts) >= TOGETHER:
                    self._blocks.append(payload[:0].join(parts))
                    parts.clear()
            return None
        if parts or self._blocks:
            payload = payload[:0].join([*self._blocks, *parts, payload])
            self._parts = []
            self._blocks = []
        return MessageReceived(payload) if self._state == OPEN else None

    def _forget(self) -> bytes:
        rest, self._unread = self._unread, b""
        self._frames.clear()
        self._failed = None
        self._parts = []
        self._blocks = []
        return rest
