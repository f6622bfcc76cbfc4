"""No octets make the reader of PROXY headers do anything but understand or refuse, however cut."""

from __future__ import annotations

from typing import Any

from sennit.core.endpoint.proxy_header import (
    MAX_V2,
    SIGNATURE,
    ProxyFault,
    ProxyHeader,
    ProxyHeaderReader,
)
from sennit.core.engine import NEED_DATA

SEEDS = (
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET /",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    SIGNATURE + b"\x21\x11\0\x0c" + bytes(12) + b"hello",
    SIGNATURE + b"\x20\0\0\0",
    SIGNATURE + b"\x21\x21\0\x29" + bytes(36) + b"\x01\0\x02h2",
    SIGNATURE + b"\x21\x31\0\xd8" + bytes(216),
    SIGNATURE + b"\x21\0\0\x17\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3\x03\0\x04abcd",
)


def fuzz(data: bytes) -> None:
    """The first octet says where the rest is cut; the outcome must be that of the whole."""
    step, data = (data[0] or 1, data[1:]) if data else (1, b"")
    whole, rest = _read([data])
    parts, left = _read([data[at : at + step] for at in range(0, len(data), step)])
    assert type(parts) is type(whole)
    if isinstance(whole, ProxyHeader):
        assert (parts, left) == (whole, rest)
        assert data.endswith(rest)
        assert len(data) - len(rest) <= MAX_V2
        # What was understood can be shown, and asked.
        assert repr(whole)
        for fact in (whole.tls, whole.authority, whole.netns):
            assert isinstance(str(fact), str)


def _read(pieces: list[bytes]) -> tuple[Any, bytes]:
    reader = ProxyHeaderReader()
    event: Any = NEED_DATA
    for at, piece in enumerate(pieces):
        reader.receive_data(piece)
        event = reader.next_event()
        if event is not NEED_DATA:
            reader.receive_data(b"".join(pieces[at + 1 :]))
            break
    assert isinstance(event, (ProxyHeader, ProxyFault)) or event is NEED_DATA
    return event, reader.release()
