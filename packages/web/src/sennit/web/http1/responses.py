"""What an HTTP/1 client engine tells of responses: heads, final ones and interim ones.

Content and its end are `BodyReceived` and `BodyEnded` of ``sennit.web.events``.
"""

from __future__ import annotations

from sennit.core.engine import Belongs, PeerFault
from sennit.web.events import BodyEnded, BodyReceived

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["UNTIL_CLOSE", "ClientEvent", "InformationalReceived", "ResponseHead"]

UNTIL_CLOSE: Final = -2
"""`ResponseHead.length` of content that ends with the connection (RFC 9112 §6.3, rule 8)."""


class ResponseHead(Belongs):
    """A response: its head, and all that was learnt in judging it.

    Attributes:
        exchange: Number of the request it answers, from one.
        status: Three digits.
        reason: The phrase beside it, as it came; maybe empty.
        version: ``b"1.1"`` or ``b"1.0"`` (a later 1.x is treated as 1.1, RFC 9110 §2.5).
        headers: List of (lower-case name, value) octet pairs, wire order.
        length: Octets of content that follow; `CHUNKED`, `UNTIL_CLOSE`, or 0 for none.
        announced: What Content-Length says, also where no content follows; else ``None``.
        keep_alive: Whether the server lets the connection go on.
        takes_over: Whether another protocol is spoken from here on: 101, or 2xx to CONNECT.
        raw: The head as a parser is given it, if there is one.
    """

    __slots__ = (
        "announced",
        "exchange",
        "headers",
        "keep_alive",
        "length",
        "raw",
        "reason",
        "status",
        "takes_over",
        "version",
    )

    def __init__(
        self,
        status: int,
        reason: bytes,
        version: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.exchange = 0
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        self.length = 0
        self.announced: int | None = None
        self.keep_alive = version == b"1.1"
        self.takes_over = False
        self.raw = b""

    def __repr__(self) -> str:
        """Status and framing."""
        return f"<ResponseHead {self.status} length={self.length}>"


class InformationalReceived(Belongs):
    """An interim response has come (RFC 9110 §15.2); the final one is yet to come.

    Attributes:
        exchange: The request it belongs to.
        status: 100 to 199, but not 101.
        headers: List of (lower-case name, value) octet pairs, wire order.
    """

    __slots__ = ("exchange", "headers", "status")

    def __init__(self, exchange: int, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.exchange = exchange
        self.status = status
        self.headers = headers

    def __repr__(self) -> str:
        return f"InformationalReceived({self.exchange}, {self.status}, {self.headers!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not InformationalReceived:
            return NotImplemented
        return (self.exchange, self.status, self.headers) == (
            other.exchange,
            other.status,
            other.headers,
        )

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


ClientEvent = ResponseHead | InformationalReceived | BodyReceived | BodyEnded | PeerFault
"""Every event an HTTP/1 client engine emits."""
