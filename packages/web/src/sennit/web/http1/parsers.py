"""Library parsers behind the gate, each behind the same three calls.

A parser sees only octets that passed the gate (``framing.py``). It may be the
stricter one: what it does not like is refused too. What it reads must be what
the gate has read; where the two disagree, the connection ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from sennit.web.http1.verdict import Refused

if TYPE_CHECKING:
    from typing import Protocol

    from sennit.web.events import RequestHead
    from sennit.web.limits import Limits

    class Parser(Protocol):
        """A library's opinion on octets that passed the gate. It may be the stricter one."""

        def begin(self, head: RequestHead) -> None:
            """A request begins. Raises `Refused` when the library sees it otherwise."""

        def content(self, piece: bytes, wire: bytes) -> bytes:
            """Content octets: as the gate reads them, and as they were framed; returns them."""
            ...


__all__ = ["H11Parser"]


class H11Parser:
    """Reads requests with h11: a connection of it per request, since h11 is never told answers."""

    __slots__ = ("_connection", "_most")

    def __init__(self, limits: Limits) -> None:
        self._most = limits.target + limits.head + 1024
        self._connection: h11.Connection | None = None

    def begin(self, head: RequestHead) -> None:
        """Have h11 read the head, and agree."""
        connection = h11.Connection(h11.SERVER, self._most)
        connection.receive_data(head.raw)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error), "RFC 9112 §2.2") from None
        if not isinstance(event, h11.Request) or event.target != head.target:
            raise Refused(400, "the parser does not agree", "RFC 9112 §2.2")
        self._connection = connection if head.length else None

    def content(self, piece: bytes, wire: bytes) -> bytes:
        """Have h11 take the framing off, and agree on what is left."""
        connection = self._connection
        assert connection is not None, "content belongs to a request that has some"
        connection.receive_data(wire)
        taken = bytearray()
        try:
            while isinstance(event := connection.next_event(), h11.Data):
                taken += event.data
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error), "RFC 9112 §7.1") from None
        if isinstance(event, h11.EndOfMessage):
            self._connection = None
        if bytes(taken) != piece:
            raise Refused(400, "the parser does not agree", "RFC 9112 §6")
        return piece
