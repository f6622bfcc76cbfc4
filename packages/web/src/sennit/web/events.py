"""What an HTTP server engine tells: a request, the octets of its content, their end.

The same in every version of HTTP. A handful per request and tens of thousands of
requests a second: so these are plain slotted classes, and in HTTP/1 the request is
the gate's verdict itself, since a copy would cost as much as making it.
"""

from __future__ import annotations

from sennit.core.engine import CONNECTION, Belongs, Ends, Interrupts, PeerFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = [
    "CHUNKED",
    "BodyEnded",
    "BodyReceived",
    "HTTP2Offered",
    "PeerFault",
    "RequestHead",
    "RequestReceived",
    "ServerEvent",
    "StreamReset",
]

CHUNKED: Final = -1
"""`RequestHead.length` of content whose length is not known beforehand."""


class RequestHead:
    """A request: its head, and all that was learnt in judging it.

    Attributes:
        exchange: Number of the request on its connection, from one.
        method: Method octets; methods are case-sensitive (RFC 9110 §9.1).
        target: Request target as it was sent.
        path: Path and query: the target, without scheme and authority if it had them.
        version: ``b"1.1"``, ``b"1.0"`` (a later 1.x is treated as 1.1, RFC 9110 §2.5) or ``b"2"``.
        headers: List of (lower-case name, value) octet pairs, wire order.
        host: The authority asked for: the target's, else the Host field's; ``None`` in a
            1.0 request without.
        length: Octets of the content; `CHUNKED` when only its end will tell, 0 for none.
        keep_alive: Whether the client lets the connection go on.
        expect_continue: Whether it waits for 100 before it sends the content.
        upgrade: The Upgrade field, if Connection names it.
        encoded: Whether the content carries a content coding other than identity.
        raw: In HTTP/1 the head as a parser behind the gate is given it, with CRLF line ends and
            the empty line; nothing once it has agreed, or where there is none.
        scheme: What HTTP/2 says in ``:scheme``; empty in HTTP/1, where the connection tells.
        protocol: What an extended CONNECT asks for (``:protocol``, RFC 8441); else ``None``.
        came: When the server began to answer it, monotonic seconds; nobody else sets it.
        notes: What was learnt of it on the way, for logs (`Request.state`); likewise, and
            not there when there is nothing: ask by `getattr`.
    """

    __slots__ = (
        "came",
        "encoded",
        "exchange",
        "expect_continue",
        "headers",
        "host",
        "keep_alive",
        "length",
        "method",
        "notes",
        "path",
        "protocol",
        "raw",
        "scheme",
        "target",
        "upgrade",
        "version",
    )

    came: float
    notes: dict[str, Any]

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        headers: list[tuple[bytes, bytes]],
        host: bytes | None,
        length: int = 0,
        keep_alive: bool = True,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
        encoded: bool = False,
        path: bytes | None = None,
        raw: bytes = b"",
        exchange: int = 0,
        scheme: bytes = b"",
        protocol: bytes | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.host = host
        self.length = length
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.encoded = encoded
        self.path = target if path is None else path
        self.raw = raw
        self.exchange = exchange
        self.scheme = scheme
        self.protocol = protocol

    def __repr__(self) -> str:
        """Method, target and framing, cut short."""
        return f"<RequestHead {self.method!r} {self.target[:64]!r} length={self.length}>"


RequestReceived = RequestHead
"""A request has come: its head is the event."""


class BodyReceived(Belongs):
    """Octets of a request's content, transfer coding taken off.

    Attributes:
        exchange: The request they belong to.
        data: The octets; never empty.
    """

    __slots__ = ("data", "exchange")

    def __init__(self, exchange: int, data: bytes) -> None:
        self.exchange = exchange
        self.data = data

    def __repr__(self) -> str:
        return f"BodyReceived({self.exchange}, {len(self.data)} octets)"

    def __eq__(self, other: object) -> bool:
        if type(other) is not BodyReceived:
            return NotImplemented
        return self.exchange == other.exchange and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class BodyEnded(Ends):
    """The content has come whole.

    Attributes:
        exchange: The request it belongs to.
        trailers: List of (lower-case name, value) octet pairs sent after a chunked body.
    """

    __slots__ = ("exchange", "trailers")

    def __init__(self, exchange: int, trailers: list[tuple[bytes, bytes]]) -> None:
        self.exchange = exchange
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"BodyEnded({self.exchange}, {self.trailers!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not BodyEnded:
            return NotImplemented
        return self.exchange == other.exchange and self.trailers == other.trailers

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class StreamReset(Interrupts):
    """The client has given a request up (HTTP/2, RFC 9113 §6.4).

    Attributes:
        exchange: Which.
        code: Its error code.
    """

    __slots__ = ("code", "exchange")

    def __init__(self, exchange: int, code: int) -> None:
        self.exchange = exchange
        self.code = code

    def __repr__(self) -> str:
        return f"StreamReset({self.exchange}, {self.code})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not StreamReset:
            return NotImplemented
        return self.exchange == other.exchange and self.code == other.code

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class HTTP2Offered:
    """A connection in clear begins with the preface of HTTP/2 (RFC 9113 §3.3).

    The engine of HTTP/1 has ended: whoever speaks HTTP/2 takes all octets from its
    `release`, at once.
    """

    __slots__ = ()

    exchange = CONNECTION

    def __repr__(self) -> str:
        return "HTTP2Offered()"


ServerEvent = RequestHead | BodyReceived | BodyEnded | HTTP2Offered | PeerFault
"""Every event a server engine of HTTP/1 emits."""
