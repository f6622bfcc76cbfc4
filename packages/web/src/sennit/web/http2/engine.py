"""The server side of one HTTP/2 connection, without I/O.

Octets go in through `receive_data` and come out of `next_event` as a
`RequestReceived` per stream and, where there is content, `BodyReceived` and
`BodyEnded`; a client that gives a request up is a `StreamReset`. `send_response`
answers, in any order; what is to be sent comes out of `data_to_send`, content in
the order that clients' priorities ask for. The verbs are those of the engine of
HTTP/1, so that the server above cannot tell them apart.

A request that breaks a rule costs its stream, octets that are no HTTP/2 the
connection. `close` says good-bye in two steps (RFC 9113 §6.8): first that no more
requests are wanted, then, when the client must know, which was the last one.

Sources: RFC 9110 §6.6.1, §9.3.2, §10.1.1, §15; RFC 9113 §5.1, §6.8, §8; RFC 8441;
RFC 9218. Not here: frames, windows, floods (``connection.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.engine import FilePart, PeerFault
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.events import CHUNKED, BodyEnded, BodyReceived, RequestHead, StreamReset
from sennit.web.grammar import REASONS
from sennit.web.http2 import framing, grammar
from sennit.web.http2.connection import HTTP2Engine
from sennit.web.http2.framing import FramingError
from sennit.web.http2.grammar import Malformed, TooLarge, outgoing
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.http2.opening import ENABLE_CONNECT, MAX_LIST, MAX_STREAMS, NO_PRIORITIES
from sennit.web.http2.priority import DEFAULT, parse_priority
from sennit.web.http2.streams import Stream, close_files
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer
    from sennit.web.http1.engine import DateLine

    Field = tuple[bytes, bytes]
    Piece = Buffer | FilePart

__all__ = ["HTTP2ServerEngine"]

ServerEvent = RequestHead | BodyReceived | BodyEnded | StreamReset | PeerFault
"""Every event that it emits."""

_ASKED, _STREAMING, _ANSWERED = range(3)
"""The phases of an answer."""

DRAIN_PING: Final = b"good-bye"
"""What the ping says whose answer tells that the client knows of the GOAWAY before it."""
_ABOVE_ALL: Final = 2**31 - 1

_STATUSES: Final = {status: (b":status", b"%d" % status) for status in REASONS}
_SENT_KEPT: Final = 128


class HTTP2ServerEngine(HTTP2Engine[ServerEvent]):
    """One connection as the server sees it.

    Args:
        limits: What is too much of a request.
        date: Whose line stands in every response.
        http2: What is too much of a connection, and too slow.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        date: DateLine | None = None,
        http2: HTTP2Limits | None = None,
    ) -> None:
        self._most = limits or Limits()
        http2 = http2 or HTTP2Limits()
        super().__init__(
            http2,
            client=False,
            settings={
                MAX_STREAMS: http2.streams,
                MAX_LIST: self._most.head,
                ENABLE_CONNECT: 1,
                NO_PRIORITIES: 1,
            },
            # Between one and two times the limit the client is told so by a 431.
            max_head=2 * self._most.head + 32 * self._most.fields,
        )
        self._date = date
        self._date_octets = b""
        self._date_field: Field | None = None
        self._sent: dict[int, int] = {}  # content of answers that are complete
        self._last = _ABOVE_ALL  # the last stream that GOAWAY has let in
        self._drain_by = 0.0  # when to take the client to know of the first GOAWAY
        self._early: dict[int, tuple[int, bool]] = {}  # priorities of what was not asked yet

    # ── requests ──────────────────────────────────────────────────────────────

    def _receive_headers(self, flags: int, number: int, raw: bytes) -> None:
        if self._frames.in_block:
            self._feed(raw)  # which keeps it until the last frame of the block has come
            return
        stream = self._streams.get(number)
        fresh = stream is None and number > self._highest
        if fresh:
            if not number & 1:
                raise FramingError(
                    framing.PROTOCOL_ERROR, f"a client's stream {number}", "RFC 9113 §5.1.1"
                )
            self._highest = number
        elif stream is None:
            self._count_control("HEADERS on a closed stream")
        for event in self._feed(raw):
            fields = getattr(event, "headers", None)
            if fields is not None:
                if fresh:
                    self._begin(number, fields, event.stream_ended is not None)
                elif stream is not None:
                    self._end_with_trailers(stream, fields)

    def _begin(self, number: int, fields: Sequence[Field], ended: bool) -> None:
        """A request has come."""
        if number > self._last or len(self._streams) >= self._limits.streams:
            # The client may ask again, elsewhere or later (RFC 9113 §8.7).
            self._reset_stream(number, framing.REFUSED_STREAM)
            if number > self._last:
                self._count_control("HEADERS after the last stream")
            else:
                self._spend_reset()
            return
        stream = self._streams[number] = Stream(number, self._initial, self._now)
        stream.open = not ended
        priority = self._early.pop(number, None) if self._early else None
        try:
            head, told = grammar.request_head(fields, ended, self._most, number)
        except Malformed as error:
            self._fail_stream(stream, str(error), error.rule)
            return
        except TooLarge as error:
            stream.head = error.head
            self._refuse(stream, error.status, str(error), "RFC 9110 §15.5")
            return
        stream.head = head
        if told or priority is not None:
            # What the client has thought better of counts (RFC 9218 §7).
            stream.priority = priority or parse_priority(told)
        if ended:
            self._events.append(head)
            return
        stream.length = head.length
        stream.tunnel = head.method == b"CONNECT"
        if head.length > self._most.body:
            self._refuse(stream, 413, "the content is too large", "RFC 9110 §15.5.14")
            return
        self._watch(self._now + self._limits.body_grace)
        self._events.append(head)

    def _end_with_trailers(self, stream: Stream, fields: Sequence[Field]) -> None:
        stream.open = False
        if stream.length != CHUNKED and stream.come != stream.length:
            message = "content of another length than announced"
            self._fail_stream(stream, message, "RFC 9113 §8.1.1")
            return
        try:
            trailers = grammar.trailer_fields(fields, self._most.fields)
        except Malformed as error:
            self._fail_stream(stream, str(error), error.rule)
            return
        self._content_ended(stream, trailers)

    def _takes(self, stream: Stream, size: int) -> bool:
        if stream.tunnel or stream.come + size <= self._most.body:
            return True
        self._refuse(stream, 413, "the content is too large", "RFC 9110 §15.5.14")
        return False

    def _content_came(self, stream: Stream, data: bytes) -> None:
        self._events.append(BodyReceived(stream.number, data))

    def _content_ended(self, stream: Stream, trailers: list[Field]) -> None:
        self._events.append(BodyEnded(stream.number, trailers))
        if stream.ended:
            self._forget(stream)

    def _stream_was_reset(self, stream: Stream, code: int, *, remote: bool) -> None:
        self._note_sent(stream)
        self._events.append(StreamReset(stream.number, code))

    def _receive_priority(self, raw: bytes) -> None:
        if len(raw) < 13:
            raise FramingError(framing.FRAME_SIZE_ERROR, "PRIORITY_UPDATE", "RFC 9218 §7.1")
        number = int.from_bytes(raw[9:13], "big") & _ABOVE_ALL
        if not number:
            raise FramingError(framing.PROTOCOL_ERROR, "the priority of stream 0", "RFC 9218 §7.1")
        stream = self._streams.get(number)
        if stream is not None:
            stream.priority = parse_priority(raw[13:], stream.priority)
            self._order.move(number, stream.priority)
        elif self._is_idle(number) and number & 1:
            if len(self._early) >= self._limits.streams:
                self._early.clear()
            self._early[number] = parse_priority(raw[13:], DEFAULT)

    # ── answers ───────────────────────────────────────────────────────────────

    def send_informational(self, exchange: int, status: int, headers: Sequence[Field] = ()) -> None:
        """Queue an interim response, such as 100 or 103 (RFC 9110 §15.2).

        100 is sent once, before the answer, and only to a client that waits for it.

        Raises:
            WebUsageError: The status is not interim, or the answer has begun.
            ValueError: A field cannot be sent.
        """
        stream = self._find(exchange)
        if stream is None:
            return
        if not 100 <= status <= 199 or status == 101:
            raise WebUsageError(f"{status} is no interim response of HTTP/2")
        if stream.phase != _ASKED:
            if status == 100:
                # The final status has told the client already (RFC 9110 §10.1.1).
                return
            raise WebUsageError("the response has begun already")
        if status == 100:
            if not stream.head.expect_continue or not stream.open or stream.come:
                return
            stream.head.expect_continue = False
            self._await_content(stream)
        fields = [(b":status", b"%d" % status)]
        for field in headers:
            kind, made = outgoing(field)
            if kind == grammar.LENGTH:
                raise WebUsageError("an interim response has no content")
            if made is not None:
                fields.append(made)
        self._h2.send_headers(exchange, fields)
        self._drain_h2()

    def send_response(
        self,
        exchange: int,
        status: int,
        headers: Sequence[Field] = (),
        body: Piece | Sequence[Piece] | None = b"",
        *,
        reason: bytes | None = None,
    ) -> None:
        """Queue the response to a request.

        ``Date`` and ``Content-Length`` are added as needed, what concerns a connection
        of HTTP/1 is left out; content is left out where the request or the status has
        none (HEAD, 204, 304). Ignored when the stream has ended meanwhile.

        Args:
            exchange: The request that is answered.
            status: Three digits, not interim.
            headers: (name, value) octet pairs.
            body: The whole content; or ``None`` when it follows by `send_body` and `end_body`.
            reason: Has no place in HTTP/2.

        Raises:
            WebUsageError: The request was answered already, or the headers
                contradict the content.
            ValueError: A field or status cannot be sent. Nothing was sent then.
        """
        stream = self._streams.get(exchange)
        if stream is None or stream.phase != _ASKED:
            if self._find(exchange) is None:
                close_files(body)
                return
            raise WebUsageError("the request was answered already")
        first = _STATUSES.get(status)
        if first is None or status < 200:
            if not 200 <= status <= 999:
                raise WebUsageError(f"{status} is no final status of HTTP/2")
            first = (b":status", b"%d" % status)
        fields = [first]
        announced = -1
        date = self._date_now()
        for field in headers:
            kind, made = outgoing(field)
            if kind:
                if kind == grammar.LENGTH:
                    announced = _announced(field[1], announced)
                    continue
                date = None
            if made is not None:
                fields.append(made)
        if date is not None:
            fields.insert(1, date)
        if body is None:
            size = announced
        elif isinstance(body, (list, tuple)):
            size = sum(map(len, body))
        else:
            size = len(body)
        method = stream.head.method
        bare = method == b"HEAD" or status in (204, 304)
        if method == b"CONNECT" and status < 300:
            # What follows is a tunnel's, not content (RFC 9110 §9.3.6).
            close_files(body)
            body = None
            size = -1
        elif bare:
            told = announced if announced >= 0 else size if status != 304 else -1
            if told >= 0 and status != 204:
                fields.append((b"content-length", b"%d" % told))
        elif size >= 0:
            if announced >= 0 and announced != size:
                raise WebUsageError(
                    f"Content-Length says {announced}, the content has {size} octets"
                )
            fields.append((b"content-length", b"%d" % size))
        if body is None:
            stream.phase = _STREAMING
            # What is announced is not held against content that is left out.
            stream.left = -2 if bare else size
            self._h2.send_headers(exchange, fields)
            self._drain_h2()
            return
        stream.phase = _ANSWERED
        if bare or not size:
            close_files(body)
            self._h2.send_headers(exchange, fields, end_stream=True)
            self._drain_h2()
            self._ended_ours(stream)
            return
        self._send_content(stream, fields, body, size)

    def send_body(self, exchange: int, data: Piece) -> None:
        """Queue a piece of the content of a response that was begun without it.

        Raises:
            WebUsageError: No such response is open, or more than was announced.
        """
        stream = self._find(exchange)
        if stream is None:
            close_files(data)
            return
        if stream.phase != _STREAMING:
            raise WebUsageError("no response is open that awaits content")
        size = len(data)
        if not size or stream.left == -2:
            close_files(data)
            return
        if stream.left >= 0:
            if size > stream.left:
                raise WebUsageError(f"{size - stream.left} octets more than Content-Length said")
            stream.left -= size
        stream.sent += size
        self._queue(stream, data)

    def end_body(self, exchange: int, trailers: Sequence[Field] = ()) -> None:
        """The content of a response is complete.

        Args:
            exchange: The request that was answered.
            trailers: Fields to send after the content.

        Raises:
            WebUsageError: No such response is open, or less than was announced came:
                then the stream is reset, since the client waits for the rest.
            ValueError: A trailer cannot be sent.
        """
        stream = self._find(exchange)
        if stream is None:
            return
        if stream.phase != _STREAMING:
            raise WebUsageError("no response is open that awaits content")
        if stream.left > 0:
            left = stream.left
            self._note_sent(stream)
            self._reset_stream(exchange, framing.INTERNAL_ERROR)
            raise WebUsageError(f"{left} octets less than Content-Length said")
        fields: list[Field] = []
        for field in trailers:
            kind, made = outgoing(field)
            if kind == grammar.LENGTH or made is None:
                raise WebUsageError(f"not in trailers: {field!r:.100}")
            fields.append(made)
        stream.phase = _ANSWERED
        stream.ending = True
        stream.trailers = fields or None
        self._arrange(stream)

    def reset(self, exchange: int) -> None:
        """Cut the response to a request where it is (RST_STREAM INTERNAL_ERROR)."""
        stream = self._find(exchange)
        if stream is not None:
            self._note_sent(stream)
            self._reset_stream(exchange, framing.INTERNAL_ERROR)

    def internal_error(self, exchange: int) -> None:
        """Answer 500 if nothing was answered yet, else cut the response where it is."""
        stream = self._streams.get(exchange)
        if stream is None:
            return
        if stream.phase == _ASKED:
            self._send_page(stream, 500)
        elif stream.phase == _STREAMING:
            self.reset(exchange)

    def _refuse(self, stream: Stream, status: int, message: str, rule: str) -> None:
        """Answer with an error, or cut the answer that was begun."""
        fault = PeerFault(WebProtocolError(message, rule, status), stream.number)
        if stream.phase == _ASKED:
            self._send_page(stream, status)
        elif not stream.ended:
            self._note_sent(stream)
            self._reset_stream(stream.number, framing.CANCEL)
        self._events.append(fault)

    def _send_page(self, stream: Stream, status: int) -> None:
        """A whole response that says no more than its status."""
        page = b"%d %b\n" % (status, REASONS[status])
        fields = [(b"content-type", b"text/plain; charset=utf-8")]
        self.send_response(stream.number, status, fields, page)

    def _ended_ours(self, stream: Stream) -> None:
        stream.ended = True
        self._note_sent(stream)
        if not stream.open:
            self._forget(stream)
        elif not stream.tunnel:
            # The answer is there: what the client still sends is of no use (RFC 9113 §8.1).
            self._reset_stream(stream.number, framing.NO_ERROR)

    def _note_sent(self, stream: Stream) -> None:
        sent = self._sent
        if len(sent) >= _SENT_KEPT:
            del sent[next(iter(sent))]
        sent[stream.number] = stream.sent - stream.queued

    def _find(self, exchange: int) -> Stream | None:
        """The stream of a request; ``None`` when it has ended, under the caller or long ago.

        Raises:
            WebUsageError: There never was one.
        """
        stream = self._streams.get(exchange)
        if stream is None and self._is_idle(exchange):
            raise WebUsageError(f"there was no request {exchange}")
        return stream

    def _date_now(self) -> Field | None:
        date = self._date
        if date is None:
            return None
        octets = date.octets
        if octets is not self._date_octets:
            self._date_octets = octets
            value = octets.partition(b":")[2].strip()
            self._date_field = (b"date", value) if value else None
        return self._date_field

    # ── what drivers ask ──────────────────────────────────────────────────────

    def is_open(self, exchange: int) -> bool:
        """Whether the response to that request is still to be begun, or to be completed."""
        stream = self._streams.get(exchange)
        return stream is not None and stream.phase != _ANSWERED

    def sent_of(self, exchange: int) -> int:
        """Octets of content of that answer, as far as they were accepted."""
        stream = self._streams.get(exchange)
        return self._sent.get(exchange, 0) if stream is None else stream.sent

    def end_tunnel(self, exchange: int) -> None:
        """Once our side of a stream has ended, the client's is of no use either."""
        stream = self._streams.get(exchange)
        if stream is not None:
            stream.tunnel = False
            if stream.ended:
                self._reset_stream(exchange, framing.NO_ERROR)

    @property
    def open_streams(self) -> int:
        """Requests that are not answered whole."""
        return len(self._streams)

    # ── the end ───────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Let nothing new in: say so, and which was the last once the client must know."""
        if self._closing:
            return
        self._closing = True
        if not self._frames.settled:
            # Nothing was asked, so nobody waits for more.
            self._last_goodbye()
            return
        self._say_goodbye(_ABOVE_ALL, framing.NO_ERROR)
        self._send_ping(DRAIN_PING)
        self._drain_by = self._now + self._limits.drain
        self._watch(self._drain_by)

    def _ping_answered(self, payload: bytes) -> None:
        if payload == DRAIN_PING and self._closing:
            self._last_goodbye()

    def _last_goodbye(self) -> None:
        if self._last == _ABOVE_ALL:
            self._last = self._highest
            self._drain_by = 0.0
            self._say_goodbye(self._last, framing.NO_ERROR)

    def _say_goodbye(self, last: int, code: int) -> None:
        super()._say_goodbye(min(last, self._last), code)

    def _peer_goes(self, last: int, code: int, text: bytes) -> None:
        # What it has asked is still answered; it asks nothing more (RFC 9113 §6.8).
        self._closing = True
        self._last_goodbye()

    def _finished(self) -> bool:
        return not self._streams and self._last != _ABOVE_ALL and not self._frames.in_block

    def _input_ended(self) -> None:
        for stream in list(self._streams.values()):
            if stream.open or (stream.queued and min(stream.window, self._window) <= 0):
                self._reset_stream(stream.number, framing.CANCEL)
                self._stream_was_reset(stream, framing.CANCEL, remote=False)

    # ── time ──────────────────────────────────────────────────────────────────

    def _check_time(self, now: float) -> float:
        due = super()._check_time(now)
        if self._drain_by:
            if now >= self._drain_by:
                self._last_goodbye()
            else:
                due = min(due, self._drain_by)
        if not self._streams and self._frames.settled and not self._closing:
            until = self._active + self._limits.idle
            if now >= until:
                self._closing = True
                self._last_goodbye()
            else:
                due = min(due, until)
        return due

    def _check_stream(self, stream: Stream, now: float) -> float | None:
        until = super()._check_stream(stream, now)
        limits = self._limits
        if stream.phase != _ASKED or not stream.open or stream.tunnel or not limits.body_rate:
            # Once it is answered it is a conversation, whose pauses are its own.
            return until
        if stream.unread or self.pressed or stream.head.expect_continue:
            # It is us who do not take it.
            if not stream.unread:
                self._await_content(stream)
            return until
        slow = stream.begun + limits.body_grace + stream.come / limits.body_rate
        if now < slow:
            return slow if until is None else min(slow, until)
        self._refuse(stream, 408, "the content comes too slowly", "RFC 9110 §15.5.9")
        return until


def _announced(value: bytes, before: int) -> int:
    if not (value.isdigit() and len(value) <= 18) or before >= 0:
        raise WebUsageError(f"Content-Length cannot be {value!r:.40}, or is there twice")
    return int(value)
