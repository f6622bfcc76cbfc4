"""No octets make the server's engine raise; no cut and no parser changes what it says of them.

The differential fuzzer: h11 and httptools read what the gate lets through, and have to
agree with it on every octet (``http1/parsers.py``), so that an engine with either says
the same as the gate alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.testing.engines import converse
from sennit.web.events import BodyEnded, RequestReceived
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from sennit.core.testing.engines import Conversation

_HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\n"

SEEDS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD http://example.com/x HTTP/1.1\r\nHost: example.com\r\nX-Y: z\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    _HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    _HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _HEAD + b"Content-Length: 5, 5\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def _answer(engine: Any, event: Any) -> None:
    if (isinstance(event, RequestReceived) and event.length == 0) or isinstance(event, BodyEnded):
        engine.send_response(event.exchange, 200, [(b"x", b"y")], b"ok")


def _run(engine: HTTP1ServerEngine, pieces: list[bytes]) -> Conversation:
    return converse(engine, pieces, _answer, eof=True)


def fuzz(data: bytes) -> None:
    """Hold all ways of reading `data` against each other."""
    limits = Limits(target=200, head=400, fields=12, body=500)
    whole = _run(HTTP1ServerEngine(limits), [data])
    assert _run(H11ServerEngine(limits), [data]) == whole
    assert _run(HTTPToolsServerEngine(limits), [data]) == whole
    by_octets = [data[at : at + 1] for at in range(len(data))]
    assert _run(HTTP1ServerEngine(limits), by_octets) == whole
    half = len(data) // 2
    assert _run(H11ServerEngine(limits), [data[:half], data[half:]]) == whole
    assert _run(HTTPToolsServerEngine(limits), [data[:half], data[half:]]) == whole
