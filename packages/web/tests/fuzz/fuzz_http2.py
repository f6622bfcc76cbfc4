"""No octets make either side's engine of HTTP/2 raise, and no cut changes what it says of them.

What is made up are frames as well as octets: a mutated length would else hide nearly all of
them behind the first. So each input is read twice: as it is, and as a list of frames, whose
lengths are put right (type, flags, stream, length, that many octets of payload, and so on).
"""

from __future__ import annotations

from typing import Any

from hpack import Encoder

from sennit.core.testing.engines import converse
from sennit.web.events import BodyEnded, BodyReceived, RequestReceived
from sennit.web.http2.client_engine import HTTP2ClientEngine
from sennit.web.http2.engine import HTTP2ServerEngine
from sennit.web.http2.framing import PREFACE, frame_head
from sennit.web.limits import Limits

_SETTINGS = frame_head(0, 4, 0, 0)
_GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


def _listed(*frames: tuple[int, int, int, bytes]) -> bytes:
    return b"".join(
        bytes((kind, flags, stream, len(payload))) + payload
        for kind, flags, stream, payload in frames
    )


_BLOCK = bytes(Encoder().encode(_GET))
SEEDS = (
    PREFACE + _SETTINGS + frame_head(len(_BLOCK), 1, 5, 1) + _BLOCK,
    _listed((1, 5, 1, _BLOCK), (8, 0, 0, b"\0\0\1\0"), (3, 0, 1, b"\0\0\0\x08")),
    _listed((1, 4, 1, _BLOCK), (0, 0, 1, b"hello"), (0, 9, 1, b"\1x\0")),
    _listed((1, 1, 1, _BLOCK[:3]), (9, 0, 1, _BLOCK[3:5]), (9, 4, 1, _BLOCK[5:])),
    _listed((4, 0, 0, b"\0\4\0\0\0\0"), (1, 5, 3, _BLOCK), (4, 0, 0, b"\0\4\0\1\0\0")),
    _listed((6, 0, 0, bytes(8)), (7, 0, 0, bytes(8)), (16, 0, 0, b"\0\0\0\1u=1,i")),
    _listed((1, 4, 1, b"\x88"), (0, 1, 1, b"x"), (3, 0, 3, b"\0\0\0\7"), (5, 4, 1, bytes(4))),
)


def _frames(data: bytes) -> bytes:
    """The frames that an input lists."""
    made: list[bytes] = []
    while len(data) >= 4:
        kind, flags, stream, size = data[:4]
        payload = data[4 : 4 + size]
        made.append(frame_head(len(payload), kind % 18, flags, stream % 16) + payload)
        data = data[4 + size :]
    return b"".join(made)


def _answer(engine: Any, event: Any) -> None:
    if isinstance(event, BodyReceived):
        engine.consumed(event.exchange, len(event.data))
    elif isinstance(event, BodyEnded) or (isinstance(event, RequestReceived) and not event.length):
        engine.send_response(event.exchange, 200, [(b"x", b"y")], b"ok")


def _read(engine: Any, event: Any) -> None:
    if isinstance(event, BodyReceived):
        engine.consumed(event.exchange, len(event.data))


def _server() -> HTTP2ServerEngine:
    return HTTP2ServerEngine(Limits(target=200, head=400, fields=12, body=500))


def _client() -> HTTP2ClientEngine:
    engine = HTTP2ClientEngine()
    for _ in range(3):
        engine.send_request(b"GET", b"/", b"a")
    engine.data_to_send()
    return engine


def fuzz(data: bytes) -> None:
    """Give `data` to both sides, at once and in pieces."""
    frames = _frames(data)
    half = len(data) // 2
    whole = converse(_server(), [data], _answer, eof=True)
    assert converse(_server(), [data[:half], data[half:]], _answer, eof=True) == whole
    for make, answer, text in (
        (_server, _answer, PREFACE + _SETTINGS + frames),
        (_client, _read, _SETTINGS + frames),
    ):
        at_once = converse(make(), [text], answer, eof=True)
        octets = [text[at : at + 1] for at in range(len(text))]
        assert converse(make(), octets, answer, eof=True) == at_once
