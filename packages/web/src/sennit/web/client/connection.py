"""What the pool asks of a connection, of whichever version, and what it is told.

`HTTP1ClientConnection` (``http1/client.py``) and `HTTP2ClientConnection`
(``http2/client.py``) are such connections: protocols on a transport, made by the
pool once it is known which version is spoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IClock
    from sennit.web.client.messages import IncomingResponse, OutgoingRequest

__all__ = ["ClientConnection", "ConnectionOwner"]


class ClientConnection(Protocol):
    """One connection. It is a stream protocol (``connection_made`` and the rest) too.

    Made as ``Kind(owner, limits, timeouts)``: a `ConnectionOwner`, `ResponseLimits`
    and `ClientTimeouts`.

    Attributes:
        version: ``b"1.1"`` or ``b"2"``.
        served: Requests answered whole.
        busy: Requests open.
    """

    version: bytes
    served: int
    busy: int

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    @property
    def room(self) -> int:
        """Requests that may begin now, beside those that are open; 0 for ever once it ends."""
        ...

    @property
    def ending(self) -> bool:
        """Whether it takes no more requests, now or later."""
        ...

    def begin(self, request: OutgoingRequest) -> Deferred[IncomingResponse]:
        """Send a request; fires with the response once its final head has come.

        Cancelling the Deferred gives the request up. It fails with `UnansweredError`
        where the connection ended before any octet of an answer, with
        `WebProtocolError` for what the server did wrong, `RequestTimeoutError` for
        what took too long (read, write, total; counted here from `begin`).

        Raises:
            ValueError: It cannot be sent; nothing was, and the connection is as it was.
        """
        ...

    def close(self) -> None:
        """Begin nothing new, finish what is open, then close."""

    def abort(self, reason: str) -> None:
        """End now; what is open fails."""


class ConnectionOwner(Protocol):
    """Who made a connection, and hears of it: the pool.

    Attributes:
        clock: Tells the time, and calls back.
    """

    @property
    def clock(self) -> IClock: ...

    def connection_changed(self, connection: ClientConnection) -> None:
        """A request has ended, or `room` or `ending` is another than before."""

    def connection_gone(self, connection: ClientConnection) -> None:
        """It has gone; called once."""
