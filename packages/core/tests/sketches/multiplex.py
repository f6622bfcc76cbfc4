"""A sketch of a multiplexed protocol: streams side by side, credit for each, resets.

A frame is a kind (one octet), a stream (one octet), a length (two octets) and so
much payload. Kinds: ``O`` opens a stream with a request, ``D`` carries its octets,
``E`` ends them, ``R`` resets it, ``W`` gives credit (its payload counts octets).
Either side may have `WINDOW` octets of a stream on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sennit.core.engine import (
    CLOSED,
    CONNECTION,
    NEED_DATA,
    Belongs,
    Ends,
    Interrupts,
    NoEvent,
    PeerFault,
    Untimed,
)
from sennit.core.errors import ProtocolError, UsageError

WINDOW = 1000
MAX_STREAMS = 32
MAX_PAYLOAD = 2000


@dataclass(slots=True)
class Opened:
    exchange: int
    request: bytes


@dataclass(slots=True)
class Data(Belongs):
    exchange: int
    data: bytes


@dataclass(slots=True)
class End(Ends):
    exchange: int


@dataclass(slots=True)
class Credit(Belongs):
    """More may be sent on the stream."""

    exchange: int


@dataclass(slots=True)
class Reset(Interrupts):
    exchange: int


Event = Opened | Data | End | Credit | Reset | PeerFault


@dataclass(slots=True)
class Stream:
    receive_credit: int = WINDOW
    send_credit: int = WINDOW
    ended: bool = False
    waiting: list[bytes] = field(default_factory=list[bytes])
    ending: bool = False


def frame(kind: bytes, stream: int, payload: bytes = b"") -> bytes:
    return kind + bytes([stream]) + len(payload).to_bytes(2, "big") + payload


class MultiplexEngine(Untimed):
    """The server's side."""

    def __init__(self) -> None:
        self._in = bytearray()
        self._out: list[bytes] = []
        self._streams: dict[int, Stream] = {}
        self._last = -1
        self._eof = False
        self._closing = False
        self._closed = False

    def receive_data(self, data: bytes) -> None:
        if not self._closed:
            self._in += data

    def receive_eof(self) -> None:
        self._eof = True

    def close(self) -> None:
        self._closing = True

    def next_event(self) -> Event | NoEvent:
        while not self._closed:
            if self._closing and not self._streams:
                self._end()
                break
            if len(self._in) < 4:
                return self._none()
            size = int.from_bytes(self._in[2:4], "big")
            if size > MAX_PAYLOAD:
                return self._fault(f"a frame of {size} octets")
            if len(self._in) < 4 + size:
                return self._none()
            kind, number = bytes(self._in[:1]), self._in[1]
            payload = bytes(self._in[4 : 4 + size])
            del self._in[: 4 + size]
            event = self._interpret(kind, number, payload)
            if event is not None:
                return event
        return CLOSED

    def _none(self) -> Event | NoEvent:
        if not self._eof:
            return NEED_DATA
        for number, stream in self._streams.items():
            if not stream.ended:
                # Its input will not end any more; nor will credit come.
                del self._streams[number]
                return Reset(number)
        if any(stream.waiting for stream in self._streams.values()):
            self._streams = {n: s for n, s in self._streams.items() if not s.waiting}
        if self._streams:
            return NEED_DATA
        self._end()
        return CLOSED

    def _interpret(self, kind: bytes, number: int, payload: bytes) -> Event | None:
        stream = self._streams.get(number)
        if kind == b"O":
            if number <= self._last or len(self._streams) >= MAX_STREAMS:
                return self._fault(f"stream {number} cannot be opened")
            self._last = number
            if self._closing:
                self._out.append(frame(b"R", number))
                return None
            self._streams[number] = Stream()
            return Opened(number, payload)
        if number > self._last or kind not in (b"D", b"E", b"R", b"W"):
            return self._fault(f"{kind!r} on stream {number}")
        if stream is None:
            return None  # it was on its way when the stream ended
        if kind == b"W":
            if len(payload) != 2:
                return self._fault("credit without a figure")
            stream.send_credit += int.from_bytes(payload, "big")
            if stream.send_credit > 1 << 20:
                return self._fault("too much credit")
            self._send_waiting(number, stream)
            return Credit(number) if number in self._streams else None
        if kind == b"R":
            del self._streams[number]
            return Reset(number)
        if stream.ended:
            return self._fault(f"{kind!r} after the end of stream {number}")
        if kind == b"E":
            stream.ended = True
            return End(number)
        stream.receive_credit -= len(payload)
        if stream.receive_credit < 0:
            return self._fault(f"more than the credit of stream {number}")
        return Data(number, payload) if payload else None

    def _fault(self, what: str) -> PeerFault:
        self._out.append(frame(b"R", 255, what.encode()))
        self._end()
        return PeerFault(ProtocolError(what, "sketch §4"), CONNECTION)

    def _end(self) -> None:
        self._closed = True
        self._streams.clear()
        self._in.clear()

    # ── out ──
    def grant(self, number: int, octets: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and not stream.ended and octets:
            stream.receive_credit += octets
            self._out.append(frame(b"W", number, octets.to_bytes(2, "big")))

    def unsent(self, number: int) -> int:
        """Octets that wait for credit."""
        stream = self._streams.get(number)
        return 0 if stream is None else sum(map(len, stream.waiting))

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # reset meanwhile
        if stream.ending:
            raise UsageError("the answer has ended")
        if data:
            stream.waiting.append(data)
        stream.ending = end
        self._send_waiting(number, stream)

    def _send_waiting(self, number: int, stream: Stream) -> None:
        while stream.waiting and stream.send_credit:
            data = stream.waiting.pop(0)
            some, rest = data[: stream.send_credit], data[stream.send_credit :]
            stream.send_credit -= len(some)
            self._out.append(frame(b"D", number, some))
            if rest:
                stream.waiting.insert(0, rest)
        if stream.ending and not stream.waiting:
            self._out.append(frame(b"E", number))
            del self._streams[number]

    def internal_error(self, exchange: int) -> None:
        if self._streams.pop(exchange, None) is not None:
            self._out.append(frame(b"R", exchange, b"internal error"))

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        rest = bytes(self._in)
        self._end()
        self._out.clear()
        return rest
