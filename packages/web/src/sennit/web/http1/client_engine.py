"""The client side of one HTTP/1.1 connection, without I/O.

`send_request` asks; what is to be sent comes out of `data_to_send`. Octets go in
through `receive_data`, pass the gate (``response_framing.py``), then a library's
parser where one was given, and come out of `next_event` as `InformationalReceived`,
`ResponseHead`, `BodyReceived` and `BodyEnded`.

One request is open at a time: pipelining is a server's duty and a client's risk
(RFC 9112 §9.3.2), and not done. Where the connection can take another request after
the answer, `ready` is true again; where not, `CLOSED` comes out.

What callers supply is checked before its first octet is queued: method, target and
host here, fields in ``grammar.py`` (HARDENING h1-25). Octets that come while nothing
was asked end the connection: they would be read as the answer to the next request.

Sources: RFC 9112 §3, §6, §7, §9; RFC 9110 §7.8, §8.6, §9.3.6, §10.1.1, §15.2.
Deliberately elsewhere: time, connections and who may use them (``client.py``, the
pool), proxies' credentials.
"""

from __future__ import annotations

import re

from sennit.core.engine import (
    CLOSED,
    CONNECTION,
    NEED_DATA,
    PAUSED,
    FilePart,
    PeerFault,
    Untimed,
)
from sennit.web import grammar
from sennit.web.errors import CutShortError, WebProtocolError, WebUsageError
from sennit.web.events import BodyEnded, BodyReceived
from sennit.web.grammar import field_line, find_line
from sennit.web.http1.response_framing import ResponseGate
from sennit.web.http1.responses import InformationalReceived, ResponseHead
from sennit.web.http1.verdict import CutShort, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, Protocol

    from sennit.core.engine import NoEvent
    from sennit.core.interfaces import Buffer
    from sennit.web.client.limits import ResponseLimits
    from sennit.web.http1.responses import ClientEvent

    Field = tuple[bytes, bytes]

    class ResponseParser(Protocol):
        """A library's opinion on octets that passed the gate. It may be the stricter one."""

        def begin(self, head: ResponseHead, method: bytes) -> None:
            """A head has come, interim ones too. Raises `Refused` when it is read otherwise."""

        def content(self, piece: bytes, wire: bytes) -> None:
            """Content octets: as the gate reads them, and as they were framed."""


__all__ = ["JOIN_BELOW", "STREAMED", "HTTP1ClientEngine"]

STREAMED: Final = -1
"""The `length` of content that follows in pieces whose sum nobody knows."""
JOIN_BELOW: Final = 16 * 1024
"""Octets of content up to which it leaves in one piece with its head: a copy costs less then."""

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}+").fullmatch
_TARGET = re.compile(rb"[!\"$-~]++").fullmatch
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.%]{2,64}\]|[A-Za-z0-9._~%\-]{0,255})(?::[0-9]{1,5})?"
).fullmatch
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that say ``content-length: 0`` where there is none (RFC 9110 §8.6)."""
_KEPT_AT_MOST: Final = 512

# The states of the open request.
_NOTHING_SENT, _SENDING, _SENT = range(3)

_starts: dict[tuple[bytes, bytes, bytes], bytes] = {}
"""Request lines with their Host, checked and made once: programs ask for the same again."""


class HTTP1ClientEngine(Untimed):
    """One connection as the client sees it.

    Args:
        limits: What is too much.
        parser: Reads again what passed the gate; ``None`` to believe the gate.

    Attributes:
        ready: Whether a request may be sent.
        answered: Whether an octet has come since the request was sent.
    """

    __slots__ = (
        "_chunked",
        "_closed",
        "_closing",
        "_eof",
        "_exchange",
        "_fault",
        "_gate",
        "_head",
        "_informed",
        "_left",
        "_limits",
        "_method",
        "_open",
        "_out",
        "_parser",
        "_sending",
        "_upgrade",
        "answered",
        "ready",
    )

    def __init__(self, limits: ResponseLimits, parser: ResponseParser | None = None) -> None:
        self._limits = limits
        self._parser = parser
        self._gate = ResponseGate(limits)
        self._gate.show_wire = parser is not None
        self._out: list[Buffer | FilePart] = []
        self._exchange = 0
        self._open = False
        self._sending = _NOTHING_SENT
        self._method = b""
        self._upgrade = False
        self._chunked = False
        self._left = 0
        self._informed = 0
        self._head: ResponseHead | None = None
        self._closing = False
        self._closed = False
        self._eof = False
        self._fault: PeerFault | None = None
        self.ready = True
        self.answered = False

    # ── requests ──────────────────────────────────────────────────────────────

    def send_request(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        headers: Sequence[Field] = (),
        body: Buffer | FilePart | None = None,
        *,
        length: int | None = None,
        expect_continue: bool = False,
        upgrade: bool = False,
    ) -> int:
        """Queue a request.

        Host, Content-Length, Transfer-Encoding and Expect are added as needed.

        Args:
            method: Method octets.
            target: Request target, in whichever form (RFC 9112 §3.2).
            host: What Host says, unless `headers` do.
            headers: (name, value) octet pairs.
            body: The whole content; ``None`` for none, or where `length` says that it follows.
            length: Octets of content that follows by `send_body` and `end_body`;
                `STREAMED` where that is not known; ``None`` for none.
            expect_continue: Whether to ask for 100 before it is sent.
            upgrade: Whether 101 may be the answer.

        Returns:
            The number of its exchange.

        Raises:
            ValueError: Something cannot be sent; nothing was queued.
            WebUsageError: Another request is open, the connection has ended, or the
                headers contradict the content.
        """
        if not self.ready:
            raise WebUsageError("the connection takes no request now")
        key = (method, target, host)
        start = _starts.get(key)
        if start is None:
            start = _first_lines(method, target, host)
        pieces = [start]
        announced = -1
        closing = False
        for field in headers:
            kind, line = find_line(field) or field_line(field)
            size = len(field[0])
            if kind:
                if kind == grammar.LENGTH:
                    announced = _announced(field[1], announced)
                    continue
                if kind == grammar.TRANSFER_ENCODING:
                    raise WebUsageError("Transfer-Encoding is the engine's own affair")
                if kind == grammar.CONNECTION and b"close" in field[1].lower():
                    closing = True
            elif size == 4 and field[0].lower() == b"host":
                if pieces[0] is not start or _HOST(field[1]) is None:
                    raise WebUsageError(f"Host cannot be {field[1]!r:.100}, or is there twice")
                pieces[0] = start[: start.index(b"\r\n") + 2]
            elif size == 6 and field[0].lower() == b"expect":
                raise WebUsageError("Expect is the engine's own affair")
            pieces.append(line)
        given = -1
        if body is not None:
            given = len(body)
        elif length is None:
            given = 0
        elif length >= 0:
            given = length
        if announced >= 0 and announced != given:
            if given >= 0:
                raise WebUsageError(f"Content-Length says {announced}, the content has {given}")
            given = announced
        self._chunked = False
        if given > 0 or body is not None or (length is not None and given == 0):
            pieces.append(b"content-length: %d\r\n" % given)
        elif given < 0:
            self._chunked = True
            pieces.append(b"transfer-encoding: chunked\r\n")
        elif method in _WITH_CONTENT or announced == 0:
            pieces.append(b"content-length: 0\r\n")
        follows = body is None and length is not None
        if expect_continue and follows:
            pieces.append(b"expect: 100-continue\r\n")
        pieces.append(b"\r\n")
        if body is None:
            self._out.append(b"".join(pieces))
        elif type(body) is bytes and given <= JOIN_BELOW:
            pieces.append(body)
            self._out.append(b"".join(pieces))
        else:
            self._out.append(b"".join(pieces))
            if given:
                self._out.append(body)
        self._left = given if follows else 0
        self._sending = _SENDING if follows else _SENT
        self._method = method
        self._upgrade = upgrade
        self._informed = 0
        self._closing = self._closing or closing
        self._open = True
        self.ready = self.answered = False
        self._exchange += 1
        return self._exchange

    @property
    def sending(self) -> bool:
        """Whether content of the open request is still to be given."""
        return self._sending == _SENDING

    def send_body(self, exchange: int, data: Buffer | FilePart) -> None:
        """Queue a piece of the open request's content; ignored once nobody wants it.

        Raises:
            WebUsageError: More than was announced.
        """
        size = len(data)
        if exchange != self._exchange or self._sending != _SENDING or not size:
            return
        if not self._chunked:
            if size > self._left:
                raise WebUsageError(f"{size - self._left} octets more than Content-Length said")
            self._left -= size
            self._out.append(data)
        elif type(data) is bytes and size <= JOIN_BELOW:
            self._out.append(b"%x\r\n%b\r\n" % (size, data))
        else:
            self._out += (b"%x\r\n" % size, data, b"\r\n")

    def end_body(self, exchange: int, trailers: Sequence[Field] = ()) -> None:
        """The content of the open request is complete.

        Args:
            exchange: The request.
            trailers: Fields to send after content in chunks; left out of any other.

        Raises:
            WebUsageError: Less than was announced came, or a field frames the message.
            ValueError: A trailer cannot be sent.
        """
        if exchange != self._exchange or self._sending != _SENDING:
            return
        if self._chunked:
            lines = [find_line(field) or field_line(field) for field in trailers]
            for kind, line in lines:
                if kind:
                    raise WebUsageError(f"not in trailers: {line!r:.100}")
            self._out.append(b"".join([b"0\r\n", *[line for _, line in lines], b"\r\n"]))
        elif self._left:
            raise WebUsageError(f"{self._left} octets less than Content-Length said")
        self._sending = _SENT
        if not self._open:
            self._end_exchange()

    def stop_body(self) -> None:
        """No more of the request's content will come: the connection ends with its answer."""
        if self._sending == _SENDING:
            self._sending = _NOTHING_SENT
            self._closing = True

    # ── octets in, events out ─────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server, cut anywhere."""
        if data and not self._closed:
            self.answered = True
            self._gate.receive(data)

    def receive_eof(self) -> None:
        """The server sends no more."""
        self._eof = True

    def next_event(self) -> ClientEvent | NoEvent:
        """The next thing the server said, or why there is nothing.

        `PAUSED` while the connection is another protocol's to take (`release`).
        """
        if not self._open:
            return self._look_at_idle()
        head = self._head
        gate = self._gate
        try:
            if head is None:
                return self._next_head()
            if head.takes_over:
                return PAUSED
            while gate.in_body:
                piece = gate.next_body()
                if piece is None:
                    if not self._eof:
                        return NEED_DATA
                    if not gate.end():
                        raise gate.refuse(CutShort("content"))
                    break
                if self._parser is not None:
                    self._parser.content(piece, gate.wire)
                if piece:
                    return BodyReceived(self._exchange, piece)
        except Refused as refusal:
            return self._refuse(refusal)
        self._head = None
        self._open = False
        self._end_exchange()
        return BodyEnded(self._exchange, gate.trailers if head.length else [])

    def _next_head(self) -> ClientEvent | NoEvent:
        gate = self._gate
        head = gate.next_response(self._method)
        if head is None:
            if not self._eof:
                return NEED_DATA
            if not self.answered:
                why = Refused(400, "the connection ended without an answer", "RFC 9112 §9.6")
            else:
                why = CutShort("head")
            raise gate.refuse(why)
        if self._parser is not None:
            self._parser.begin(head, self._method)
        head.exchange = self._exchange
        status = head.status
        if status < 200:
            if status != 101:
                self._informed += 1
                if self._informed > self._limits.informational:
                    raise gate.refuse(
                        Refused(400, "interim responses without end", "RFC 9110 §15.2")
                    )
                return InformationalReceived(self._exchange, status, head.headers)
            if not self._upgrade:
                raise gate.refuse(Refused(400, "101 that nobody asked for", "RFC 9110 §15.2.2"))
        self._head = head
        if not head.keep_alive:
            self._closing = True
        if self._sending == _SENDING and (status >= 300 or self._closing):
            # Who refuses does not want the rest; others may answer while they read.
            self.stop_body()
        return head

    def _look_at_idle(self) -> ClientEvent | NoEvent:
        if self._closed:
            fault, self._fault = self._fault, None
            return CLOSED if fault is None else fault
        if self._gate.buffered:
            return self._refuse(Refused(400, "octets that nobody asked for", "RFC 9112 §9.2"))
        if self._eof or (self._closing and self._sending != _SENDING):
            self._end_connection()
            return CLOSED
        return NEED_DATA

    def _end_exchange(self) -> None:
        """The answer is complete; the request's content may not be."""
        if self._sending == _SENDING:
            return
        self._sending = _NOTHING_SENT
        if self._closing or self._eof:
            self._end_connection()
        elif not self._gate.buffered:
            self.ready = True

    def _refuse(self, refusal: Refused) -> PeerFault:
        error = (
            CutShortError(str(refusal), 502)
            if isinstance(refusal, CutShort)
            else WebProtocolError(str(refusal), refusal.rule, 502)
        )
        exchange = self._exchange if self._open else CONNECTION
        self._end_connection()
        return PeerFault(error, exchange)

    def _end_connection(self) -> None:
        self._closed = self._closing = True
        self._open = self.ready = False
        self._head = None
        self._sending = _NOTHING_SENT
        self._gate.rest()

    def data_to_send(self) -> list[Buffer | FilePart]:
        """What to send now, in order; each piece is given once."""
        out = self._out
        if out:
            self._out = []
        return out

    # ── the end ───────────────────────────────────────────────────────────────

    @property
    def awaited(self) -> int:
        """Octets of the open response's content still to come, as far as is known; -1 if not."""
        head = self._head
        if head is None:
            return 0
        return self._gate.awaited if head.length >= 0 else -1

    def cancel(self, exchange: int) -> bool:
        """Give the open request up: the connection ends, there is no other way.

        Returns:
            Whether it was open.
        """
        if exchange != self._exchange or not self._open:
            return False
        self._end_connection()
        return True

    def close(self) -> None:
        """Finish what is open, begin nothing new."""
        self._closing = True
        self.ready = False

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        rest = self._gate.rest()
        self._out = []
        self._end_connection()
        return rest


def _first_lines(method: bytes, target: bytes, host: bytes) -> bytes:
    """Request line and Host.

    Raises:
        ValueError: One of the three cannot be sent.
    """
    if _METHOD(method) is None:
        raise WebUsageError(f"a method cannot be {method!r:.100}")
    if _TARGET(target) is None:
        raise WebUsageError(f"a request target cannot be {target!r:.100}")
    if _HOST(host) is None:
        raise WebUsageError(f"Host cannot be {host!r:.100}")
    made = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host)
    if len(made) <= 1024:
        if len(_starts) >= _KEPT_AT_MOST:
            _starts.clear()
        _starts[method, target, host] = made
    return made


def _announced(value: bytes, before: int) -> int:
    if not (value.isdigit() and len(value) <= 18) or before >= 0:
        raise WebUsageError(f"Content-Length cannot be {value!r:.40}, or is there twice")
    return int(value)
