"""Answers that are more than a value: content given piece by piece, and changing over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.web.response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer, IStreamProtocol
    from sennit.web.connection import HTTPConnection
    from sennit.web.events import RequestHead
    from sennit.web.response import HeadersIn

__all__ = ["ResponseWriter", "Upgrade"]


class ResponseWriter:
    """An answer under way (`Request.start`); its handler gives the content, then `end`.

    Args:
        connection: What it is sent over. (`Any` in its type: of whichever version.)
        head: The request that is answered.
        status: Of the answer.

    Attributes:
        head: As given.
        status: As given.
        ended: Whether nothing more may be sent.
    """

    __slots__ = ("_connection", "ended", "head", "status")

    def __init__(
        self, connection: HTTPConnection[Any, Any], head: RequestHead, status: int
    ) -> None:
        self._connection = connection
        self.head = head
        self.status = status
        self.ended = False

    @property
    def sent(self) -> int:
        """Octets of content so far."""
        sent: int = self._connection.engine.sent_of(self.head.exchange)
        return sent

    def send(self, data: Buffer | FilePart) -> None:
        """Queue a piece of the content; it leaves with the next `write`, `flush` or `end`.

        Raises:
            WebUsageError: More than was announced, or the answer is complete.
        """
        self._connection.engine.send_body(self.head.exchange, data)

    def write(self, data: Buffer | FilePart) -> Awaitable[None]:
        """Queue a piece of the content, and wait until the client keeps up.

        Raises:
            WebUsageError: More than was announced, or the answer is complete.

        Fails with:
            ConnectionLost: The client has gone.
        """
        connection = self._connection
        exchange = self.head.exchange
        connection.engine.send_body(exchange, data)
        return connection.room(exchange)

    def flush(self) -> None:
        """Let leave what was queued, its head first of all."""
        self._connection.flush()

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """The content is complete; harmless when that was said.

        Args:
            trailers: Fields behind the content, where the version and the framing have
                room for them.

        Raises:
            WebUsageError: Less came than was announced: the answer is cut.
            ValueError: A trailer cannot be sent.
        """
        if self.ended:
            return
        connection = self._connection
        try:
            connection.engine.end_body(self.head.exchange, trailers)
        except ValueError:
            self.ended = not connection.engine.is_open(self.head.exchange)
            raise
        self.ended = True
        connection.answer_ended(self.head, self.status)

    def abort(self) -> None:
        """Cut the answer, so that the client cannot take it for whole."""
        if not self.ended:
            self.ended = True
            self._connection.engine.reset(self.head.exchange)
            self._connection.answer_ended(self.head, self.status)
            self._connection.proceed()


class Upgrade(Response):
    """Gives the connection to another protocol: WebSocket, a tunnel.

    In HTTP/1 the answer is sent, then the connection is the protocol's; octets that
    came behind the request go to its `data_received`. In HTTP/2 the answer is 200, and
    the protocol gets a transport over that one stream.

    Args:
        protocol: Who goes on.
        headers: Of the answer; ``Connection`` and, for a 101, ``Upgrade`` if it is left
            out, are added.
        status: 101 to a request that asks for an upgrade, 200 to CONNECT.
    """

    __slots__ = ("protocol",)

    def __init__(
        self, protocol: IStreamProtocol, headers: HeadersIn = None, status: int = 101
    ) -> None:
        super().__init__(b"", status, headers)
        self.protocol = protocol
