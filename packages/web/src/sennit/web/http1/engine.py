"""The server side of one HTTP/1.1 connection, without I/O.

Octets go in through `receive_data`, pass the gate (``framing.py``) and come out of
`next_event` as a `RequestReceived` and, where there is content, `BodyReceived` and
`BodyEnded`. `send_response` answers; what is to be sent comes out of
`data_to_send`. Responses are written here (``grammar.py`` checks every line).

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

from typing import TYPE_CHECKING, Final

from sennit.core.engine import (
    CLOSED,
    CONNECTION,
    NEED_DATA,
    PAUSED,
    FilePart,
    NoEvent,
    PeerFault,
    Untimed,
)
from sennit.web import grammar
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.events import BodyEnded, BodyReceived, HTTP2Offered
from sennit.web.grammar import field_line, find_line, status_line
from sennit.web.http1.framing import Gate
from sennit.web.http1.verdict import PrefaceSeen, Refused
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer
    from sennit.web.events import RequestHead, ServerEvent
    from sennit.web.http1.parsers import Parser


__all__ = ["DateLine", "HTTP1ServerEngine"]

Field = tuple[bytes, bytes]
"""Name and value of a header field."""

JOIN_BELOW: Final = 16 * 1024
"""Octets of a body up to which it leaves in one piece with its head: a copy costs less then."""

# The states of the answer to the open request.
_NOTHING_ASKED, _ASKED, _STREAMING, _ANSWERED = range(4)

# How a streamed body shows its end.
_BY_LENGTH, _BY_CHUNKS, _BY_CLOSE, _WITHOUT_BODY = range(4)


class DateLine:
    r"""The Date field of responses, kept by whoever has a clock; shared by many engines.

    Attributes:
        octets: The whole line, such as ``b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"``,
            or nothing where there is no clock (RFC 9110 §6.6.1).
    """

    __slots__ = ("octets",)

    def __init__(self, octets: bytes = b"") -> None:
        self.octets = octets


class HTTP1ServerEngine(Untimed):
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

    __slots__ = (
        "_body_open",
        "_closed",
        "_closing",
        "_continued",
        "_date",
        "_eof",
        "_exchange",
        "_fault",
        "_framing",
        "_gate",
        "_grace",
        "_head",
        "_left",
        "_limits",
        "_out",
        "_parser",
        "_phase",
        "_swallowed",
        "cut",
        "sent",
        "status",
        "unread",
    )

    def __init__(
        self,
        limits: Limits | None = None,
        date: DateLine | None = None,
        *,
        offer_http2: bool = False,
        parser: Parser | None = None,
    ) -> None:
        self._parser = parser
        self._limits = limits or Limits()
        self._gate = Gate(self._limits)
        self._gate.preface = offer_http2
        self._gate.show_wire = parser is not None
        self._date = date or DateLine()
        self._out: list[Buffer | FilePart] = []
        self._head: RequestHead | None = None
        self._exchange = 0
        self._phase = _NOTHING_ASKED
        self._framing = _WITHOUT_BODY
        self._left = 0
        self._swallowed = 0
        self._body_open = False
        self._continued = False
        self._closing = False
        self._grace = False
        self._closed = False
        self._eof = False
        self._fault: PeerFault | None = None
        self.status = 0
        self.sent = 0
        self.cut = False
        self.unread = False

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
            self._phase = _ASKED
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
                    raise gate.refuse(Refused(400, "the content was cut short", "RFC 9112 §8"))
                if self._parser is not None:
                    self._parser.content(piece, gate.wire)
                if self._phase == _ANSWERED:
                    self._swallowed += len(piece)
                    if self._swallowed > self._limits.swallow:
                        self._end_connection(unread=True)
                        return CLOSED
                elif piece:
                    return BodyReceived(self._exchange, piece)
        except Refused as refusal:
            return self._refuse(refusal)
        self._body_open = False
        if self._phase == _ANSWERED:
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
        return self._head is None and not self._gate.buffered

    @property
    def content_awaited(self) -> bool:
        """Whether the open request's content is still coming."""
        return self._body_open and self._gate.in_body

    @property
    def content_come(self) -> int:
        """Octets of the open request's content that have come, as far as is known."""
        return self._gate.come

    def data_to_send(self) -> list[Buffer | FilePart]:
        """What to send now, in order; each piece is given once."""
        out = self._out
        if out:
            self._out = []
        return out

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
            self._grace = self._head is None or self._phase != _ASKED

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        self._closed = True
        self._head = None
        return self._gate.rest()

    def internal_error(self, exchange: int) -> None:
        """Answer 500 if nothing was answered yet, else cut the response where it is."""
        head = self._head
        if head is None or head.exchange != exchange or self._phase == _ANSWERED:
            return
        if self._phase == _ASKED:
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
        return head is not None and head.exchange == exchange and self._phase != _ANSWERED

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
        if self._phase == _STREAMING:
            self._cut()
        elif self._phase != _ANSWERED:
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

    def _cut(self) -> None:
        self.cut = True
        self._end_connection(unread=True)

    def _end_connection(self, *, unread: bool) -> None:
        self._closed = self._closing = True
        self._head = None
        self._phase = _NOTHING_ASKED
        self._body_open = False
        self.unread = unread
        self._gate.rest()

    def _end_exchange(self) -> None:
        """Request and response are complete: the next request may come out."""
        self._head = None
        self._phase = _NOTHING_ASKED
        self._continued = False

    # ── answers ───────────────────────────────────────────────────────────────

    def send_informational(self, exchange: int, status: int, headers: Sequence[Field] = ()) -> None:
        """Queue an interim response, such as 100 or 103 (RFC 9110 §15.2).

        100 is sent once and only to a client that waits for it; to a client of
        HTTP/1.0 nothing is sent.

        Raises:
            WebUsageError: The status is not interim, or the answer has begun.
            ValueError: A field cannot be sent.
        """
        head = self._open_head(exchange)
        if head is None:
            return
        if not 100 <= status <= 199 or status == 101:
            raise WebUsageError(f"{status} is no interim response")
        if self._phase != _ASKED:
            raise WebUsageError("the response has begun already")
        if head.version == b"1.0":
            return
        if status == 100:
            if self._continued or not head.expect_continue or not self._body_open:
                return
            self._continued = True
        lines = [find_line(field) or field_line(field) for field in headers]
        for kind, line in lines:
            if kind in (grammar.LENGTH, grammar.TRANSFER_ENCODING):
                raise WebUsageError(f"an interim response has no content: {line!r:.100}")
        made = b"".join([status_line(status), *[line for _, line in lines], b"\r\n"])
        self._out.append(made)

    def send_response(
        self,
        exchange: int,
        status: int,
        headers: Sequence[Field] = (),
        body: Buffer | FilePart | Sequence[Buffer | FilePart] | None = b"",
        *,
        reason: bytes | None = None,
    ) -> None:
        """Queue the response to the open request.

        ``Date``, ``Content-Length``, ``Transfer-Encoding`` and ``Connection`` are
        added as needed; content is left out where the request or the status has
        none (HEAD, 204, 304). Ignored when the connection has ended meanwhile.

        Args:
            exchange: The request that is answered.
            status: Three digits, not interim (save 101).
            headers: (name, value) octet pairs.
            body: The whole content; or ``None`` when it follows by `send_body` and `end_body`:
                then a ``Content-Length`` in `headers` says how much, else it is chunked.
            reason: Instead of the usual reason phrase.

        Raises:
            WebUsageError: The request was answered already, or the headers
                contradict the content.
            ValueError: A field, status or reason cannot be sent. Nothing was sent then.
        """
        head = self._head
        if head is None or head.exchange != exchange or self._phase != _ASKED:
            if self._open_head(exchange) is None:
                if body is not None:
                    self._close_parts(body)
                return
            raise WebUsageError("the request was answered already")
        pieces = [status_line(status, reason), self._date.octets]
        keep = not self._closing and self._keeps(head)
        announced = -1
        connection = False
        for field in headers:
            kind, line = find_line(field) or field_line(field)
            if kind:
                if kind == grammar.LENGTH:
                    announced = _announced(field[1], announced)
                    continue
                if kind == grammar.TRANSFER_ENCODING:
                    raise WebUsageError("Transfer-Encoding is the engine's own affair")
                if kind == grammar.DATE:
                    pieces[1] = b""
                elif b"close" in field[1].lower():
                    keep = False
                    continue
                else:
                    connection = True
            pieces.append(line)
        if type(body) is bytes:
            size = len(body)
        elif body is None:
            size = announced
        elif isinstance(body, (list, tuple)):
            size = sum(map(len, body))
        else:
            size = len(body)
        if (
            head.method == b"HEAD"
            or status in (204, 304)
            or status < 200
            or (head.method == b"CONNECT" and status < 300)
        ):
            self._send_bare(head, status, pieces, announced, size, body, keep, connection)
            return
        if announced >= 0 and announced != size:
            raise WebUsageError(f"Content-Length says {announced}, the content has {size} octets")
        self.status = status
        if body is None:
            self._begin_stream(head, pieces, announced, keep)
            return
        self.sent = size
        if keep:
            if head.version == b"1.0":
                pieces.append(b"connection: keep-alive\r\n")
        else:
            pieces.append(b"connection: close\r\n")
            self._closing = True
        pieces.append(b"content-length: %d\r\n\r\n" % size)
        if type(body) is bytes and size <= JOIN_BELOW:
            pieces.append(body)
            self._out.append(b"".join(pieces))
        else:
            self._out.append(b"".join(pieces))
            if isinstance(body, (list, tuple)):
                self._out.extend(body)
            else:
                self._out.append(body)  # type: ignore[arg-type]  # a buffer or a FilePart
        if self._body_open:
            self._finish_response()
        else:
            # Inlined from `_end_exchange`: this is the path of nearly every response.
            self._head = None
            self._phase = _NOTHING_ASKED
            self._continued = False
            if self._closing:
                self._end_connection(unread=self._gate.buffered > 0)

    def _send_bare(
        self,
        head: RequestHead,
        status: int,
        pieces: list[bytes],
        announced: int,
        size: int,
        body: Buffer | FilePart | Sequence[Buffer | FilePart] | None,
        keep: bool,
        switching: bool,
    ) -> None:
        """A response that never has content, whatever its fields say."""
        if status < 200 and status != 101:
            raise WebUsageError(f"{status} is an interim response: use send_informational")
        if status == 101 and not switching:
            raise WebUsageError("101 needs Connection and Upgrade")
        # What follows is not HTTP (RFC 9110 §9.3.6, §15.2.2).
        changes_over = status == 101 or (head.method == b"CONNECT" and status < 300)
        if status != 204 and not changes_over:
            # What GET would have had (RFC 9110 §8.6); 304 says it only when it was told.
            told = announced if announced >= 0 else size if status != 304 else -1
            if told >= 0:
                pieces.append(b"content-length: %d\r\n" % told)
        if keep and head.version == b"1.0" and not changes_over:
            pieces.append(b"connection: keep-alive\r\n")
        elif not keep and not changes_over:
            pieces.append(b"connection: close\r\n")
            self._closing = True
        pieces.append(b"\r\n")
        self.status = status
        self.sent = 0
        self._out.append(b"".join(pieces))
        if changes_over:
            self._phase = _ANSWERED
        elif body is None:
            self._phase = _STREAMING
            self._framing = _WITHOUT_BODY
        else:
            self._close_parts(body)
            self._finish_response()

    def _close_parts(self, body: Buffer | FilePart | Sequence[Buffer | FilePart]) -> None:
        """Files that will not leave are not the caller's any more; close those so marked."""
        for part in body if isinstance(body, (list, tuple)) else (body,):
            if isinstance(part, FilePart) and part.close_file:
                part.file.close()

    def _begin_stream(
        self, head: RequestHead, pieces: list[bytes], announced: int, keep: bool
    ) -> None:
        """The head of a response whose content follows."""
        if announced >= 0:
            self._framing = _BY_LENGTH
            self._left = announced
            pieces.append(b"content-length: %d\r\n" % announced)
        elif head.version == b"1.0":
            self._framing = _BY_CLOSE
            keep = False
        else:
            self._framing = _BY_CHUNKS
            pieces.append(b"transfer-encoding: chunked\r\n")
        if not keep:
            pieces.append(b"connection: close\r\n")
            self._closing = True
        elif head.version == b"1.0":
            pieces.append(b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        self.sent = 0
        self._phase = _STREAMING
        self._out.append(b"".join(pieces))

    def send_body(self, exchange: int, data: Buffer | FilePart) -> None:
        """Queue a piece of the content of a response that was begun without it.

        Raises:
            WebUsageError: No such response is open, or more than was announced.
        """
        if self._open_head(exchange) is None:
            self._close_parts(data)
            return
        if self._phase != _STREAMING:
            raise WebUsageError("no response is open that awaits content")
        size = len(data)
        framing = self._framing
        if not size or framing == _WITHOUT_BODY:
            self._close_parts(data)
            return
        if framing == _BY_LENGTH:
            if size > self._left:
                raise WebUsageError(f"{size - self._left} octets more than Content-Length said")
            self._left -= size
        self.sent += size
        if framing != _BY_CHUNKS:
            self._out.append(data)
        elif type(data) is bytes and size <= JOIN_BELOW:
            self._out.append(b"%x\r\n%b\r\n" % (size, data))
        else:
            self._out += (b"%x\r\n" % size, data, b"\r\n")

    def end_body(self, exchange: int, trailers: Sequence[Field] = ()) -> None:
        """The content of the open response is complete.

        Args:
            exchange: The request that was answered.
            trailers: Fields to send after a chunked body; left out of any other.

        Raises:
            WebUsageError: No such response is open, or less than was announced came:
                then the connection is cut, since the client waits for the rest.
            ValueError: A trailer cannot be sent.
        """
        if self._open_head(exchange) is None:
            return
        if self._phase != _STREAMING:
            raise WebUsageError("no response is open that awaits content")
        if self._framing == _BY_CHUNKS:
            lines = [find_line(field) or field_line(field) for field in trailers]
            for kind, line in lines:
                if kind:
                    raise WebUsageError(f"not in trailers: {line!r:.100}")
            self._out.append(b"".join([b"0\r\n", *[line for _, line in lines], b"\r\n"]))
        elif self._framing == _BY_LENGTH and self._left:
            left = self._left
            self._cut()
            raise WebUsageError(f"{left} octets less than Content-Length said")
        self._finish_response()

    def _open_head(self, exchange: int) -> RequestHead | None:
        """The open request; ``None`` when the connection ended under the caller.

        Raises:
            WebUsageError: The exchange is over, or never was.
        """
        head = self._head
        if head is not None and head.exchange == exchange:
            return head
        if self._closed and exchange <= self._exchange:
            return None
        raise WebUsageError(f"request {exchange} is not open")

    def _keeps(self, head: RequestHead) -> bool:
        """Whether the connection can outlive the response, as far as the request goes."""
        if self._body_open:
            if head.expect_continue and not self._continued and not self._gate.buffered:
                # Whether content comes nobody can tell (RFC 9110 §10.1.1).
                return False
            if self._gate.awaited > self._limits.swallow:
                return False
        return head.keep_alive

    def _finish_response(self) -> None:
        """The response is complete; the request may not be."""
        closing = self._closing and not self._grace
        if not self._body_open:
            self._end_exchange()
            if closing:
                self._end_connection(unread=self._gate.buffered > 0)
            return
        if closing or self._gate.awaited > self._limits.swallow:
            self._end_connection(unread=True)
            return
        self._phase = _ANSWERED
        self._swallowed = 0


def _announced(value: bytes, before: int) -> int:
    if not (value.isdigit() and len(value) <= 18) or before >= 0:
        raise WebUsageError(f"Content-Length cannot be {value!r:.40}, or is there twice")
    return int(value)
