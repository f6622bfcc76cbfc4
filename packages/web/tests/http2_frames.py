"""The other side of an HTTP/2 connection, octet by octet: says what it is told to, or worse."""

from __future__ import annotations

from typing import Any

from hpack import Decoder, Encoder

from sennit.core.engine import FilePart, NoEvent
from sennit.web.http2 import framing
from sennit.web.http2.framing import PREFACE, frame_head

Fields = list[tuple[bytes, bytes]]

GET: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.org"),
    (b":path", b"/"),
]
POST: Fields = [(b":method", b"POST"), *GET[1:]]
EMPTY_SETTINGS = frame_head(0, framing.SETTINGS, 0, 0)
BEGIN = PREFACE + EMPTY_SETTINGS


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return frame_head(len(payload), kind, flags, stream) + payload


class Side:
    """One side, beside the engine of the other.

    Attributes:
        frames: All that was heard: type, flags, stream, payload.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.decoder = Decoder()
        self.encoder = Encoder()
        self.frames: list[tuple[int, int, int, bytes]] = []
        self._rest = b""

    def block(self, fields: Fields) -> bytes:
        return bytes(self.encoder.encode(fields))

    def headers(self, stream: int, fields: Fields, *, end: bool = True, flags: int = 0) -> bytes:
        flags |= framing.END_HEADERS | (framing.END_STREAM if end else 0)
        return frame(framing.HEADERS, flags, stream, self.block(fields))

    def say(self, data: bytes) -> list[Any]:
        self.engine.receive_data(data)
        events = self.take()
        self.hear()
        return events

    def take(self) -> list[Any]:
        events: list[Any] = []
        while not isinstance(event := self.engine.next_event(), NoEvent):
            events.append(event)
        return events

    def hear(self) -> list[tuple[int, int, int, bytes]]:
        """Frames that were sent since: type, flags, stream, payload."""
        pieces: list[bytes] = []
        for piece in self.engine.data_to_send():
            if isinstance(piece, FilePart):
                piece.file.seek(piece.offset)
                pieces.append(piece.file.read(piece.length))
            else:
                pieces.append(bytes(piece))
        data = self._rest + b"".join(pieces)
        heard: list[tuple[int, int, int, bytes]] = []
        while len(data) >= 9:
            size = int.from_bytes(data[:3], "big")
            if len(data) < 9 + size:
                break
            stream = int.from_bytes(data[5:9], "big")
            heard.append((data[3], data[4], stream, data[9 : 9 + size]))
            data = data[9 + size :]
        self._rest = data
        self.frames += heard
        return heard

    def codes(self, kind: int) -> list[int]:
        at = 0 if kind == framing.RST_STREAM else 4
        return [
            int.from_bytes(payload[at : at + 4], "big")
            for each, _, _, payload in self.frames
            if each == kind
        ]

    def fields(self, stream: int) -> list[Fields]:
        """Field sections heard on a stream, decoded; once, since the table changes with them."""
        return [
            [(bytes(name), bytes(value)) for name, value in self.decoder.decode(payload, raw=True)]
            for kind, _, number, payload in self.frames
            if kind == framing.HEADERS and number == stream
        ]


class Client(Side):
    """A client."""

    def begin(self, settings: bytes = b"") -> None:
        self.say(PREFACE + frame(framing.SETTINGS, 0, 0, settings))


class Server(Side):
    """A server."""

    def begin(self, settings: bytes = b"") -> None:
        heard = b"".join(bytes(piece) for piece in self.engine.data_to_send())
        assert heard.startswith(PREFACE)
        self.settle(settings)

    def settle(self, settings: bytes = b"") -> None:
        self.say(frame(framing.SETTINGS, 0, 0, settings) + frame(framing.SETTINGS, 1, 0))
