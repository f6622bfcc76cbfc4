"""The answers of a server's engine of HTTP/1.1: what is written, and when an exchange ends.

Half of `HTTP1ServerEngine`: `send_response` and its kin put octets, lent buffers and
pieces of files into the queue that `data_to_send` empties. Each line is checked by
``grammar.py`` before the first octet leaves; Date, the framing and Connection are
added here, and content is left out where there can be none.

Sources: RFC 9110 §6.6.1 (Date), §8.6, §9.3.6, §10.1.1 (100-continue), §15; RFC 9112
§6, §7.1, §9. Elsewhere: what the client says (``engine.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.engine import FilePart, Untimed
from sennit.web import grammar
from sennit.web.errors import WebUsageError
from sennit.web.grammar import field_line, find_line, status_line
from sennit.web.http1.framing import Gate
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer
    from sennit.web.events import RequestHead

__all__ = ["ANSWERED", "ASKED", "NOTHING_ASKED", "STREAMING", "Answers", "DateLine"]

Field = tuple[bytes, bytes]
"""Name and value of a header field."""

JOIN_BELOW: Final = 16 * 1024
"""Octets of a body up to which it leaves in one piece with its head: a copy costs less then."""

NOTHING_ASKED, ASKED, STREAMING, ANSWERED = range(4)
"""The states of the answer to the open request."""

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


class Answers(Untimed):
    """What an engine answers with, and the state of the exchange that is open.

    Args:
        limits: What is too much.
        date: Whose line stands in every response.
    """

    __slots__ = (
        "_body_open",
        "_closed",
        "_closing",
        "_continued",
        "_date",
        "_exchange",
        "_framing",
        "_gate",
        "_grace",
        "_head",
        "_left",
        "_limits",
        "_out",
        "_phase",
        "_swallowed",
        "cut",
        "sent",
        "status",
        "unread",
    )

    def __init__(self, limits: Limits | None, date: DateLine | None) -> None:
        self._limits = limits or Limits()
        self._gate = Gate(self._limits)
        self._date = date or DateLine()
        self._out: list[Buffer | FilePart] = []
        self._head: RequestHead | None = None
        self._exchange = 0
        self._phase = NOTHING_ASKED
        self._framing = _WITHOUT_BODY
        self._left = 0
        self._swallowed = 0
        self._body_open = False
        self._continued = False
        self._closing = False
        self._grace = False
        self._closed = False
        self.status = 0
        self.sent = 0
        self.cut = False
        self.unread = False

    def data_to_send(self) -> list[Buffer | FilePart]:
        """What to send now, in order; each piece is given once."""
        out = self._out
        if out:
            self._out = []
        return out

    def _cut(self) -> None:
        self.cut = True
        self._end_connection(unread=True)

    def _end_connection(self, *, unread: bool) -> None:
        self._closed = self._closing = True
        self._head = None
        self._phase = NOTHING_ASKED
        self._body_open = False
        self.unread = unread
        self._gate.rest()

    def _end_exchange(self) -> None:
        """Request and response are complete: the next request may come out."""
        self._head = None
        self._phase = NOTHING_ASKED
        self._continued = False

    def send_informational(self, exchange: int, status: int, headers: Sequence[Field] = ()) -> None:
        """Queue an interim response, such as 100 or 103 (RFC 9110 §15.2).

        100 is sent once, before the answer, and only to a client that waits for it; to a
        client of HTTP/1.0 nothing is sent.

        Raises:
            WebUsageError: The status is not interim, or the answer has begun.
            ValueError: A field cannot be sent.
        """
        head = self._open_head(exchange)
        if head is None:
            return
        if not 100 <= status <= 199 or status == 101:
            raise WebUsageError(f"{status} is no interim response")
        if self._phase != ASKED:
            if status == 100:
                # The final status has told the client already (RFC 9110 §10.1.1).
                return
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
        if head is None or head.exchange != exchange or self._phase != ASKED:
            if self._open_head(exchange) is None:
                if body is not None:
                    self._close_parts(body)
                return
            raise WebUsageError("the request was answered already")
        pieces = [status_line(status, reason), self._date.octets]
        keep = not self._closing and self._keeps(head)
        announced = -1
        connection = False
        size = len(body) if type(body) is bytes else -1
        length = b"content-length: %d\r\n" % size
        for field in headers:
            kind, line = find_line(field) or field_line(field)
            if kind:
                if kind == grammar.LENGTH:
                    # The very line that is written below need not be read.
                    if size >= 0 and line == length and announced < 0:
                        announced = size
                    else:
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
        if size < 0:
            if body is None:
                size = announced
            else:
                size = sum(map(len, body)) if isinstance(body, (list, tuple)) else len(body)
            length = b"content-length: %d\r\n" % size
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
        pieces.append(length)
        pieces.append(b"\r\n")
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
            self._phase = NOTHING_ASKED
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
            self._phase = ANSWERED
        elif body is None:
            self._phase = STREAMING
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
        self._phase = STREAMING
        self._out.append(b"".join(pieces))

    def send_body(self, exchange: int, data: Buffer | FilePart) -> None:
        """Queue a piece of the content of a response that was begun without it.

        Raises:
            WebUsageError: No such response is open, or more than was announced.
        """
        if self._open_head(exchange) is None:
            self._close_parts(data)
            return
        if self._phase != STREAMING:
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
        if self._phase != STREAMING:
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
        self._phase = ANSWERED
        self._swallowed = 0


def _announced(value: bytes, before: int) -> int:
    if not (value.isdigit() and len(value) <= 18) or before >= 0:
        raise WebUsageError(f"Content-Length cannot be {value!r:.40}, or is there twice")
    return int(value)
