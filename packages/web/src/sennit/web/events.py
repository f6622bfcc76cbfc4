"""What an HTTP server engine tells: a request, the octets of its content, their end.

A handful per request and tens of thousands of requests a second: so these are
plain slotted classes, and the request is the gate's verdict itself, since a copy
would cost as much as making it.
"""

from __future__ import annotations

from sennit.core.engine import Belongs, Ends, PeerFault
from sennit.web.http1.verdict import RequestHead as RequestReceived

__all__ = ["BodyEnded", "BodyReceived", "PeerFault", "RequestReceived", "ServerEvent"]


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


ServerEvent = RequestReceived | BodyReceived | BodyEnded | PeerFault
"""Every event a server engine emits."""
