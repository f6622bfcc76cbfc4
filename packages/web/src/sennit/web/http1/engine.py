"""The server side of one HTTP/1.1 connection, without I/O.

Octets go in through `receive_data`, pass the gate (``framing.py``) and come out of
`next_event` as a `RequestReceived` and, where there is content, `BodyReceived` and
`BodyEnded`. `send_response` and its kin answer (``answers.py``); what is to be sent
comes out of `data_to_send`.

The gate knows all that a request says, so nothing else need read it. A library's
parser may stand behind it as a second opinion, which can only make the engine
stricter: ``parsers.py`` has engines with h11 and with httptools. They are there for
who wants two readers to agree on every request, and as oracles of the tests; both
are slower (bench/README.md).

One request is open at a time: what a client pipelines waits in the gate until
the answer before it is complete (RFC 9112 §9.3.2).

Sources: RFC 9110 §6.6.1 (Date), §8.6, §9.3.2, §10.1.1 (100-continue), §15; RFC
9112 §6, §7, §9. Deliberately elsewhere: time limits and what requests mean
(``server.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, PAUSED, NoEvent, PeerFault
from sennit.web import grammar
from sennit.web.errors import WebProtocolError
from sennit.web.events import BodyEnded, BodyReceived, HTTP2Offered
from sennit.web.grammar import status_line
from sennit.web.http1.answers import ANSWERED, ASKED, STREAMING, Answers, DateLine
from sennit.web.http1.verdict import CutShort, PrefaceSeen, Refused

if TYPE_CHECKING:
    from sennit.web.events import ServerEvent
    from sennit.web.http1.parsers import Parser
    from sennit.web.limits import Limits

__all__ = ["DateLine", "HTTP1ServerEngine"]


class HTTP1ServerEngine(Answers):
    """One connection as the server sees it.

    Args:
        limits: What is too much.
        date: Whose line stands in every response.
        offer_http2: Whether a connection may begin with the preface of HTTP/2: then
            `HTTP2Offered` comes out, then `CLOSED`, unless somebody else takes over.
        parser: Has to agree on what passed the gate; nobody has to when it is left out.

    Attributes:
        status: Of the response that was begun last.
        sent: Octets of its content so far.
        cut: The last response could not be completed: the connection must be reset,
            lest its end be taken for the content's.
        unread: The connection ends with octets of the client's left unread.
    """

    __slots__ = ("_eof", "_fault", "_parser")

    def __init__(
        self,
        limits: Limits | None = None,
        date: DateLine | None = None,
        *,
        offer_http2: bool = False,
        parser: Parser | None = None,
    ) -> None:
        super().__init__(limits, date)
        self._parser = parser
        self._gate.preface = offer_http2
        self._gate.show_wire = parser is not None
        self._eof = False
        self._fault: PeerFault | None = None

    # ── octets in, events out ─────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client, cut anywhere."""
        if not self._closed:
            self._gate.receive(data)

    def receive_eof(self) -> None:
        """The client sends no more; what it asked is still answered."""
        self._eof = True

    def next_event(self) -> ServerEvent | NoEvent:
        """The next thing the client said, or why there is nothing.

        `PAUSED` while a request whose content has come waits for its answer.
        """
        if self._head is None:
            if self._closed:
                fault, self._fault = self._fault, None
                return CLOSED if fault is None else fault
            try:
                head = self._gate.next_head()
                if head is None:
                    if self._eof or (self._closing and not (self._gate.begun or self._grace)):
                        self._closed = True
                        return CLOSED
                    return NEED_DATA
                if self._parser is not None:
                    self._parser.begin(head)
                    head.raw = b""
            except Refused as refusal:
                return self._refuse(refusal)
            except PrefaceSeen:
                # Whoever takes over reads all of it, out of `release`; here is nothing to be done.
                self._closed = True
                return HTTP2Offered()
            if self._closing:
                self._grace = False
            self._exchange = head.exchange = self._exchange + 1
            self._head = head
            self._phase = ASKED
            self._body_open = head.length != 0
            return head
        if not self._body_open:
            return PAUSED
        return self._next_content()

    def _next_content(self) -> ServerEvent | NoEvent:
        gate = self._gate
        try:
            while gate.in_body:
                piece = gate.next_body()
                if piece is None:
                    if not self._eof:
                        return NEED_DATA
                    raise gate.refuse(CutShort("content"))
                if self._parser is not None:
                    self._parser.content(piece, gate.wire)
                if self._phase == ANSWERED:
                    self._swallowed += len(piece)
                    if self._swallowed > self._limits.swallow:
                        self._end_connection(unread=True)
                        return CLOSED
                elif piece:
                    return BodyReceived(self._exchange, piece)
        except Refused as refusal:
            return self._refuse(refusal)
        self._body_open = False
        if self._phase == ANSWERED:
            self._end_exchange()
            return self.next_event()
        return BodyEnded(self._exchange, gate.trailers)

    @property
    def head_begun(self) -> bool:
        """Whether a request head has come in part."""
        return self._head is None and self._gate.begun

    @property
    def request_line_seen(self) -> bool:
        """Whether of such a head at least the request line has come."""
        return self._head is None and self._gate.line_seen

    @property
    def at_rest(self) -> bool:
        """Whether no request is open or has come in part: a kept connection between two."""
        # `Gate.buffered`, spelled out: this is asked after each turn.
        gate = self._gate
        return self._head is None and len(gate._data) == gate._at

    @property
    def content_awaited(self) -> bool:
        """Whether the open request's content is still coming."""
        return self._body_open and self._gate.in_body

    @property
    def content_come(self) -> int:
        """Octets of the open request's content that have come, as far as is known."""
        return self._gate.come

    # ── the end ───────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Answer what is under way with ``Connection: close``, begin nothing new."""
        self._closing = True
        self._grace = False

    def close_after_next(self) -> None:
        """Answer one more request, with ``Connection: close``.

        A client that keeps the connection may be sending it at this very moment, and
        would have to guess whether it was read (RFC 9112 §9.5). A request that is open
        is the one, unless its answer has begun and did not say so.
        """
        if not self._closing:
            self._closing = True
            self._grace = self._head is None or self._phase != ASKED

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        self._closed = True
        self._head = None
        return self._gate.rest()

    def internal_error(self, exchange: int) -> None:
        """Answer 500 if nothing was answered yet, else cut the response where it is."""
        head = self._head
        if head is None or head.exchange != exchange or self._phase == ANSWERED:
            return
        if self._phase == ASKED:
            self._out.append(self._error_page(500, self._closing or not self._keeps(head)))
            self._finish_response()
        else:
            self._cut()

    def reset(self, exchange: int) -> None:
        """Cut the response to a request where it is: its connection cannot go on."""
        if self._open_head(exchange) is not None:
            self._cut()

    def is_open(self, exchange: int) -> bool:
        """Whether the response to that request is still to be begun, or to be completed."""
        head = self._head
        return head is not None and head.exchange == exchange and self._phase != ANSWERED

    def sent_of(self, exchange: int) -> int:
        """Octets of content of the response that was begun last."""
        return self.sent

    def may_send(self, exchange: int) -> bool:
        """Whether more content is wanted: here the transport alone says so."""
        return True

    def refuse(self, status: int, message: str, rule: str = "") -> None:
        """Answer with an error, if nothing was answered yet, and end the connection.

        For what the engine cannot see, such as the time; a `PeerFault` comes out next.
        """
        self._fault = self._refuse(Refused(status, message, rule))

    def _refuse(self, refusal: Refused) -> PeerFault:
        error = WebProtocolError(str(refusal), refusal.rule, refusal.status)
        exchange = CONNECTION if self._head is None else self._exchange
        if self._phase == STREAMING:
            self._cut()
        elif self._phase != ANSWERED:
            self._out.append(self._error_page(refusal.status, True))
        self._end_connection(unread=True)
        return PeerFault(error, exchange)

    def _error_page(self, status: int, last: bool) -> bytes:
        """A whole response that says no more than its status."""
        reason = grammar.REASONS[status]
        page = b"%d %b\n" % (status, reason)
        self.status = status
        self.sent = len(page)
        end = b"connection: close\r\n\r\n" if last else b"\r\n"
        head = b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b" % (
            status_line(status),
            self._date.octets,
            len(page),
            end,
        )
        if last:
            self._closing = True
        if self._head is not None and self._head.method == b"HEAD":
            self.sent = 0
            return head
        return head + page
