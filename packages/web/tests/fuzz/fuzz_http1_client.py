"""No octets make the client's engine raise; no cut and no parser changes what it says of them."""

from __future__ import annotations

from sennit.core.testing.engines import converse
from sennit.web.client.limits import ResponseLimits
from sennit.web.http1.client_engine import HTTP1ClientEngine
from sennit.web.http1.response_parsers import H11ResponseParser

_OK = b"HTTP/1.1 200 OK\r\n"

SEEDS = (
    _OK + b"Content-Length: 5\r\n\r\nhello",
    _OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nrest",
    _OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _OK + b"Content-Length: 0\r\n\r\n" + _OK + b"\r\n",
)
_METHODS = (b"GET", b"HEAD", b"POST")


def _run(method: bytes, pieces: list[bytes], *, h11: bool) -> tuple[object, ...]:
    limits = ResponseLimits(target=60, head=400, fields=12, body=500, informational=3)
    engine = HTTP1ClientEngine(limits, H11ResponseParser(limits) if h11 else None)
    engine.send_request(method, b"/", b"example.com")
    engine.data_to_send()
    talk = converse(engine, pieces, eof=True)
    # What only a parser is shown is no part of what comes out.
    shown = [
        (name, [pair for pair in attributes if pair[0] != "raw"])
        for name, attributes in talk.events
    ]
    return shown, talk.sent, talk.last


def fuzz(data: bytes) -> None:
    """Hold all ways of reading `data` against each other."""
    method = _METHODS[len(data) % 3]
    whole = _run(method, [data], h11=False)
    assert _run(method, [data], h11=True) == whole
    by_octets = [data[at : at + 1] for at in range(len(data))]
    assert _run(method, by_octets, h11=False) == whole
    half = len(data) // 2
    assert _run(method, [data[:half], data[half:]], h11=True) == whole
