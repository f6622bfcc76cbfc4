"""No octets make a WebSocket engine raise; both come to one verdict, however the octets are cut."""

from __future__ import annotations

from typing import Any

from packages.web.tests.websocket_frames import BYE, close, frame, squeeze
from sennit.core.engine import NoEvent
from sennit.web.websocket.deflate import Agreed
from sennit.web.websocket.engine import WSProtoEngine
from sennit.web.websocket.events import MessageReceived, PeerFault
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.handshake import parse_extensions
from sennit.web.websocket.limits import WebSocketLimits

_TEXT, _BINARY, _CONTINUATION, _PING = 1, 2, 0, 9

SEEDS = (
    b"\x00" + frame(_TEXT, b"hello") + BYE,
    b"\x00" + frame(_BINARY, b"x" * 130, fin=False) + frame(_CONTINUATION, b"y") + close(1001),
    b"\x00" + frame(_PING, b"p") + frame(_TEXT, "κόσμε".encode(), fin=False),
    b"\x01" + frame(_TEXT, squeeze(b"tight tight tight"), rsv=0x40) + BYE,
    b"\x01" + frame(_BINARY, squeeze(bytes(400)), rsv=0x40),
    b"\x02" + frame(_TEXT, b"to a client", key=None) + frame(8, b"\x03\xe8", key=None),
    b"\x00" + frame(_BINARY, b"", size=1 << 62) + frame(_BINARY, b"", size=1 << 63),
    b'\x00permessage-deflate; server_max_window_bits=10, x; a="b"',
)


def _run(make: Any, data: bytes, step: int, kind: int) -> Any:
    engine = make(
        client=bool(kind & 2),
        key=lambda: b"abcd",
        deflate=Agreed() if kind & 1 else None,
        limits=WebSocketLimits(message=300, fragments=5),
    )
    told: list[Any] = []
    out = b""
    last: Any = None

    def go_on() -> None:
        nonlocal last, out
        while not isinstance(event := engine.next_event(), NoEvent):
            if isinstance(event, PeerFault):
                # The texts differ, and with them the Close frame.
                engine.data_to_send()
                told.append(event.error.code)  # type: ignore[attr-defined]  # of that event
                continue
            told.append(event)
            if isinstance(event, MessageReceived) and not engine.closing:
                engine.send_message(event.data)
        last = event
        if not any(isinstance(each, int) for each in told):
            out += b"".join(map(bytes, engine.data_to_send()))

    for at in range(0, len(data), step):
        engine.receive_data(data[at : at + step])
        go_on()
    engine.receive_eof()
    go_on()
    return told, last


def fuzz(data: bytes) -> None:
    """Hold the engines against each other, and against other cuts."""
    kind, data = (data[0], data[1:]) if data else (0, b"")
    whole = _run(FastEngine, data, max(len(data), 1), kind)
    assert _run(WSProtoEngine, data, max(len(data), 1), kind) == whole
    assert _run(FastEngine, data, 1, kind) == whole
    assert _run(WSProtoEngine, data, 1, kind) == whole
    try:
        parse_extensions([data])
    except ValueError:
        pass
