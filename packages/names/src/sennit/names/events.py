"""What the server's engines say: a query has come.

Slotted by hand, since a server makes tens of thousands a second of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sennit.core.address import DatagramPath

__all__ = ["DatagramQuery", "StreamQuery"]


class StreamQuery:
    """A message has come over a connection.

    Attributes:
        wire: Its octets, which nobody has taken apart; they have a header, and no QR.
        exchange: Its number on this connection.
    """

    __slots__ = ("exchange", "wire")

    def __init__(self, wire: bytes, exchange: int) -> None:
        self.wire = wire
        self.exchange = exchange

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.exchange}: {len(self.wire)} octets>"


class DatagramQuery(StreamQuery):
    """A message has come in a datagram.

    Attributes:
        path: Its way.
    """

    __slots__ = ("path",)

    def __init__(self, wire: bytes, exchange: int, path: DatagramPath) -> None:
        self.wire = wire
        self.exchange = exchange
        self.path = path
