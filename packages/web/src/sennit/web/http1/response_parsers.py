"""h11 behind the gate of responses: a second opinion, for tests and for who wants one.

It sees only octets that passed the gate (``response_framing.py``). What it reads must
be what the gate has read; where the two disagree, the connection ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11

from sennit.web.http1.verdict import Refused

if TYPE_CHECKING:
    from sennit.web.client.limits import ResponseLimits
    from sennit.web.http1.responses import ResponseHead

__all__ = ["H11ResponseParser"]


class H11ResponseParser:
    """Reads responses with h11: a connection of it per response.

    Args:
        limits: What is too much.
    """

    __slots__ = ("_connection", "_most")

    def __init__(self, limits: ResponseLimits) -> None:
        self._most = limits.target + limits.head + 1024
        self._connection: h11.Connection | None = None

    def begin(self, head: ResponseHead, method: bytes) -> None:
        """Have h11 read the head, and agree."""
        connection = h11.Connection(h11.CLIENT, self._most)
        asked: list[tuple[bytes, bytes]] = [(b"host", b"example")]
        if head.status == 101:
            asked += [(b"connection", b"upgrade"), (b"upgrade", b"x")]
        target = b"example:1" if method == b"CONNECT" else b"/"
        connection.send(h11.Request(method=method, target=target, headers=asked))
        connection.send(h11.EndOfMessage())
        connection.receive_data(head.raw)
        event = self._next(connection)
        if (
            not isinstance(event, (h11.Response, h11.InformationalResponse))
            or event.status_code != head.status
            or bytes(event.reason) != head.reason
            or list(event.headers) != _as_h11_has_them(head.headers)
        ):
            raise Refused(400, "the parser does not agree", "RFC 9112 §4")
        self._connection = connection if head.length else None

    def content(self, piece: bytes, wire: bytes) -> None:
        """Have h11 take the framing off, and agree on what is left."""
        connection = self._connection
        assert connection is not None, "content belongs to a response that has some"
        connection.receive_data(wire)
        taken = bytearray()
        while isinstance(event := self._next(connection), h11.Data):
            taken += event.data
        if isinstance(event, h11.EndOfMessage):
            self._connection = None
        if bytes(taken) != piece:
            raise Refused(400, "the parser does not agree", "RFC 9112 §6")

    def _next(self, connection: h11.Connection) -> Any:  # of h11's events
        try:
            return connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(400, str(error), "RFC 9112 §4") from None


def _as_h11_has_them(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fields with the one change that h11 makes to them."""
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers
    ]
