"""What an HTTP/2 client engine tells besides what every version does."""

from __future__ import annotations

from sennit.core.engine import PeerFault
from sennit.web.events import BodyEnded, BodyReceived, StreamReset
from sennit.web.http1.responses import InformationalReceived, ResponseHead

__all__ = ["ClientEvent", "RequestRefused"]


class RequestRefused(StreamReset):
    """The server has surely done nothing for a request: it may be sent again.

    It was refused (RFC 9113 §8.7), or the server's good-bye has left it out (§6.8).
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"RequestRefused({self.exchange}, {self.code})"


ClientEvent = (
    ResponseHead | InformationalReceived | BodyReceived | BodyEnded | StreamReset | PeerFault
)
"""Every event that it emits; a `RequestRefused` is a `StreamReset`."""
