"""One request of the client that is open on an HTTP/2 connection, and its way to its reader."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionAborted

if TYPE_CHECKING:
    from typing import Protocol

    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.web.client.messages import Inbox, IncomingResponse, OutgoingRequest
    from sennit.web.http2.tunnel import StreamTransport

    class Owner(Protocol):
        """Its connection."""

        def give_up(self, exchange: Exchange, error: BaseException) -> None: ...
        def credit(self, exchange: Exchange, octets: int) -> None: ...
        def take_over(self, exchange: Exchange, protocol: IStreamProtocol) -> IStreamTransport: ...


__all__ = ["NEVER", "Exchange"]

NEVER: Final = float("inf")
"""A time that does not come."""


class Exchange:
    """A request that is open, and its response's way to its reader (`Source`).

    Attributes:
        number: Its stream; 0 before it has one.
        request: What was asked.
        waiting: Who waits for the response; ``None`` once it was given.
        inbox: Where its content goes, once its head has come.
        sender: What sends its content.
        welcome: Fires when content that waits for 100 may be sent.
        tunnel: What goes over it once it was taken over.
        held: Octets that have come for that and wait until it reads.
        ended: Whether the end has, likewise.
        deadline: When it must have ended.
        read_by: When the next octets must have come or left.
        mark: What waited to be sent when that was set.
    """

    __slots__ = (
        "_connection",
        "deadline",
        "ended",
        "held",
        "inbox",
        "mark",
        "number",
        "read_by",
        "request",
        "sender",
        "tunnel",
        "waiting",
        "welcome",
    )

    def __init__(self, connection: Owner, request: OutgoingRequest) -> None:
        self._connection = connection
        self.number = 0
        self.request = request
        self.waiting: Deferred[IncomingResponse] | None = Deferred(self._given_up)
        self.inbox: Inbox | None = None
        self.sender: Deferred[None] | None = None
        self.welcome: Deferred[None] | None = None
        self.tunnel: StreamTransport | None = None
        self.held: deque[bytes] = deque()
        self.ended = False
        self.deadline = NEVER
        self.read_by = NEVER
        self.mark = 0

    def _given_up(self, _: Deferred[IncomingResponse]) -> None:
        self.waiting = None
        self._connection.give_up(self, ConnectionAborted("the request was cancelled", "cancelled"))

    def taken(self, octets: int) -> None:
        """The reader has taken so much of the content."""
        self._connection.credit(self, octets)

    def abandon(self) -> None:
        """Nobody wants the rest."""
        self.inbox = None
        self._connection.give_up(self, ConnectionAborted("the response was dropped", "cancelled"))

    def take_over(self, protocol: IStreamProtocol) -> IStreamTransport:
        """Give the stream to `protocol`, after 2xx to CONNECT."""
        return self._connection.take_over(self, protocol)
