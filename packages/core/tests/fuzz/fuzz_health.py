"""No octets make the reader of health checks raise, and where they are cut changes nothing."""

from __future__ import annotations

from sennit.core.ops.health import MAX_HEAD, Answer, Request, RequestEngine

SEEDS = (
    b"\x05GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x01HEAD /readyz?verbose HTTP/1.0\r\n\r\n",
    b"\x09\r\nGET http://a:1/metrics HTTP/1.1\r\nHost: a:1\r\nAccept: text/plain;q=0.5\r\n\r\n",
    b"\x02POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"\x03GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\x04GET /livez HTTP/1.1\nHost: x\r\n folded\r\n\r\n",
)


def read(data: bytes, step: int) -> Request | Answer | None:
    """What comes of octets that arrive in pieces."""
    engine = RequestEngine()
    for at in range(0, len(data), step):
        found = engine.receive_data(data[at : at + step])
        if found is not None:
            return found
    return None


def fuzz(data: bytes) -> None:
    """The first octet says where the rest is cut."""
    step, data = (data[0] or 1, data[1:]) if data else (1, b"")
    whole = read(data, len(data) or 1)
    if len(data) <= MAX_HEAD:
        assert read(data, step) == whole
    if isinstance(whole, Answer):
        assert whole.status in (400, 431, 505)
        assert whole.encode().count(b"\r\n\r\n") == 1
    elif whole is not None:
        assert whole.path.startswith("/")
        assert not set(whole.path) & {"\r", "\n", "\0", " "}
