"""A query as servers hand it to whoever answers it.

Sources: RFC 1035 §4.2 (transports), RFC 6891 §6.2.5 (sizes), RFC 8945 §5 (TSIG).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sennit.names.message import Message
    from sennit.names.name import Name

__all__ = ["Request"]


class Request:
    """One query, whatever carried it.

    Attributes:
        message: The query, taken apart.
        wire: Its octets.
        peer: Who asks, as `socket` names it: (host, port, …); what is behind a proxy's header
            where there is one.
        transport: ``udp``, ``tcp``, ``tls`` or ``https``.
        key: Name of the TSIG key that signed it, verified; ``None`` for no signature.
        max_size: Octets that the answer may have: what EDNS says, and our own limit.
    """

    __slots__ = ("key", "max_size", "message", "peer", "transport", "wire")

    def __init__(
        self,
        message: Message,
        wire: bytes,
        peer: Any,
        transport: str = "udp",
        *,
        key: Name | None = None,
        max_size: int = 0xFFFF,
    ) -> None:
        self.message = message
        self.wire = wire
        self.peer = peer
        self.transport = transport
        self.key = key
        self.max_size = max_size

    @property
    def dnssec_ok(self) -> bool:
        """Whether the records of DNSSEC are wanted."""
        edns = self.message.edns
        return edns is not None and edns.dnssec_ok

    def __repr__(self) -> str:
        return f"<Request {self.message!r} by {self.transport} from {self.peer}>"
