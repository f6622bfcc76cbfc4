"""No octets make the SOCKS engines, or that of HTTP tunnels, do anything but go on or refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.endpoint.http_connect import HTTPConnectEngine
from sennit.core.endpoint.socks_engine import (
    Login,
    Request,
    SocksClientEngine,
    SocksFault,
    SocksServerEngine,
    decode_datagram,
)
from sennit.core.engine import CLOSED, NEED_DATA, PAUSED

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = (
    b"\x01\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x01\xbbGET /",
    b"\x02\x05\x02\x00\x02\x01\x05alice\x06secret\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50",
    b"\x03\x05\x01\x00\x05\x03\x00\x04" + bytes(18),
    b"\x04\x05\x00\x05\x00\x00\x01\xc0\x00\x02\x07\x00\x50hello",
    b"\x05\x05\x02\x01\x00\x05\x05\x00\x01" + bytes(6),
    b"\x06HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello",
    b"\x07HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\n\r\n",
    b"\x08\0\0\0\x01\xc0\x00\x02\x07\x00\x50x",
)
MAKERS: tuple[Callable[[], Any], ...] = (  # Any: three engines with the same verbs
    SocksServerEngine,
    lambda: SocksServerEngine(needs_login=True),
    lambda: SocksClientEngine("a.example", 1, username="a", password="b"),
    lambda: HTTPConnectEngine("a.example", 1),
)


def fuzz(data: bytes) -> None:
    """The first octet says where the rest is cut; the outcome must be that of the whole."""
    step, data = (data[0] or 1, data[1:]) if data else (1, b"")
    cut = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    for make in MAKERS:
        whole, parts = _converse(make(), [data]), _converse(make(), cut)
        assert parts[0] == whole[0]
        if not any("Fault" in each for each in whole[0]):
            assert parts == whole
    try:
        host, port, _, payload = decode_datagram(data)
    except SocksFault as fault:
        if not fault.rule:
            raise
    else:
        assert host
        assert 0 <= port <= 65535
        assert data.endswith(payload)


def _converse(engine: Any, pieces: list[bytes]) -> tuple[list[str], bytes, bytes]:
    """Kinds of all events when everything is granted, what was sent, and what is left."""
    kinds: list[str] = []
    out = b""
    for piece in pieces:
        engine.receive_data(piece)
        while True:
            event = engine.next_event()
            out += b"".join(engine.data_to_send())
            if event is NEED_DATA or event is CLOSED:
                break
            assert event is not PAUSED
            kinds.append(type(event).__name__)
            if isinstance(event, Login):
                engine.accept_login()
            elif isinstance(event, Request):
                assert event.host
                engine.accept_request("192.0.2.1", 1)
    out += b"".join(engine.data_to_send())
    return kinds, out, engine.release() if engine.next_event() is CLOSED else b""
