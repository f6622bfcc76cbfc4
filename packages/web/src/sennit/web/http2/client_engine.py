"""The client side of one HTTP/2 connection, without I/O.

`send_request` asks, as often as the server allows (`room`); its answer comes out of
`next_event` as `InformationalReceived`, `ResponseHead`, `BodyReceived` and
`BodyEnded`, or a `StreamReset`, which is a `RequestRefused` where the server has
surely done nothing. Content of requests waits for the server's windows
(`may_send`), content of answers is paid back once it was `consumed`.

Nothing is taken for granted from a server: interim responses, fields, resets and
frames that bring nothing are counted, pushes are refused, content of another length
than announced resets its stream (HARDENING h1-24, on HTTP/2). What callers supply is
checked before its first octet is queued (h1-25).

Sources: RFC 9110 §7.2, §8.6, §9.3.6, §10.1.1, §15.2; RFC 9113 §5.1, §6.8, §8; RFC
8441. Not here: frames, windows, floods (``connection.py``); time (``client.py``),
save for a server that says nothing at all, which is asked for a sign of life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.errors import MissingExtraError
from sennit.web.client.limits import ResponseLimits
from sennit.web.errors import WebUsageError
from sennit.web.events import CHUNKED, BodyEnded, BodyReceived, StreamReset
from sennit.web.http1.responses import InformationalReceived, ResponseHead
from sennit.web.http2 import framing, grammar
from sennit.web.http2.connection import HTTP2Engine
from sennit.web.http2.framing import FramingError
from sennit.web.http2.grammar import Malformed, outgoing
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.http2.opening import ENABLE_CONNECT, ENABLE_PUSH, MAX_LIST, MAX_STREAMS
from sennit.web.http2.responses import ClientEvent, RequestRefused
from sennit.web.http2.streams import Stream, close_files

try:
    from h2.events import InformationalResponseReceived, TrailersReceived
    from hpack import NeverIndexedHeaderTuple
except ImportError as error:
    raise MissingExtraError(__name__, "sennit-web", "http2") from error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer

    Field = tuple[bytes, bytes]
    Piece = Buffer | FilePart

__all__ = ["STREAMED", "HTTP2ClientEngine", "client_limits"]

STREAMED: Final = -1
"""The `length` of content that follows in pieces whose sum nobody knows."""
SUPPOSED: Final = 100
"""Requests that are begun at a time before the server has said how many it takes."""
_LAST: Final = 2**31 - 1
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that say ``content-length: 0`` where there is none (RFC 9110 §8.6)."""
_SECRET: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
"""Fields that no table is to remember (RFC 7541 §7.1.3)."""

_SENDING, _SENT = range(2)


class _Asked:
    """What is remembered of a request while its answer is open.

    Attributes:
        method: Its method.
        answered: The final head has come.
        bare: It announced content that such an answer never has (304, 204).
        informed: Interim responses so far.
    """

    __slots__ = ("answered", "bare", "informed", "method")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.answered = False
        self.bare = False
        self.informed = 0


def client_limits(limits: ResponseLimits) -> HTTP2Limits:
    """What a client takes from a server on one connection."""
    window = min(max(limits.buffer, 65_535), _LAST)
    return HTTP2Limits(
        stream_window=window,
        # No answer that nobody reads keeps another one waiting.
        window=min(SUPPOSED * window, _LAST),
        block=limits.head,
        continuations=limits.head // 4096,
        idle=30.0,
        drain=10.0,
    )


class HTTP2ClientEngine(HTTP2Engine[ClientEvent]):
    """One connection as the client sees it.

    Args:
        limits: What is too much of an answer.
        http2: What is too much of a connection. `idle` is how long the server may say
            nothing while it owes an answer before it is asked for a sign of life, and
            `drain` how long that may take.

    Attributes:
        told: The server's settings have come.
        goodbye: The error code of its GOAWAY; ``None`` while there was none.
    """

    def __init__(
        self, limits: ResponseLimits | None = None, http2: HTTP2Limits | None = None
    ) -> None:
        self._most = limits or ResponseLimits()
        super().__init__(
            http2 or client_limits(self._most),
            client=True,
            settings={ENABLE_PUSH: 0, MAX_LIST: self._most.head},
            max_head=self._most.head,
        )
        self._next = 1
        self._allowed = SUPPOSED
        self._extended = False
        self._heard = 0.0  # when octets came last
        self._pinged = 0.0  # when a sign of life was asked for; 0: it is not awaited
        self.goodbye: int | None = None

    # ── requests ──────────────────────────────────────────────────────────────

    @property
    def told(self) -> bool:
        """Whether the server's settings have come."""
        return self._frames.settled

    @property
    def extended_connect(self) -> bool:
        """Whether the server takes CONNECT with a protocol (RFC 8441 §3)."""
        return self._extended

    @property
    def room(self) -> int:
        """Requests that may be begun now."""
        if self._closing or self._closed or self._eof or self._next > _LAST:
            return 0
        return max(self._allowed - len(self._streams), 0)

    @property
    def ending(self) -> bool:
        """Whether no request may be begun any more."""
        return self._closing or self._closed or self._eof or self._next > _LAST

    def send_request(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        headers: Sequence[Field] = (),
        body: Piece | Sequence[Piece] | None = None,
        *,
        length: int | None = None,
        expect_continue: bool = False,
        scheme: bytes = b"https",
        protocol: bytes | None = None,
    ) -> int:
        """Queue a request.

        Content-Length and Expect are added as needed; what concerns a connection of
        HTTP/1 is left out, and a Host among `headers` goes before `host`.

        Args:
            method: Method octets.
            target: Path and query; empty for a CONNECT without `protocol`.
            host: The authority.
            headers: (name, value) octet pairs.
            body: The whole content; ``None`` for none, or where `length` says that it follows.
            length: Octets of content that follows by `send_body` and `end_body`;
                `STREAMED` where that is not known; ``None`` for none.
            expect_continue: Whether to ask for 100 before it is sent.
            scheme: Of what is asked for.
            protocol: What an extended CONNECT asks for (RFC 8441).

        Returns:
            The number of its exchange.

        Raises:
            ValueError: Something cannot be sent; nothing was queued.
            WebUsageError: No request may be begun now, or the headers contradict the content.
        """
        if self.room <= 0:
            raise WebUsageError("the connection takes no request now")
        tunnel = method == b"CONNECT"
        if protocol is not None and not self._extended:
            raise WebUsageError("the server takes no CONNECT with a protocol (RFC 8441)")
        regular, announced, other = _fields_of(headers)
        fields = _pseudo(method, scheme, other or host, target, protocol)
        fields += regular
        if tunnel:
            length = STREAMED
        elif body is not None:
            length = sum(map(len, body)) if isinstance(body, (list, tuple)) else len(body)
        elif length is None and method in _WITH_CONTENT:
            fields.append((b"content-length", b"0"))
        if length is not None and length >= 0:
            if announced not in (-1, length):
                raise WebUsageError(
                    f"Content-Length says {announced}, the content has {length} octets"
                )
            fields.append((b"content-length", b"%d" % length))
        elif announced >= 0 and not tunnel:
            if length is None:
                raise WebUsageError("Content-Length without content")
            length = announced
            fields.append((b"content-length", b"%d" % length))
        if expect_continue:
            fields.append((b"expect", b"100-continue"))
        number = self._next
        self._next += 2
        self._highest = number
        stream = self._streams[number] = Stream(number, self._initial, self._now)
        stream.head = _Asked(method)
        stream.tunnel = tunnel
        if len(self._streams) == 1:
            self._heard = self._now
        self._watch(self._now + self._limits.idle)
        if length is None or (not length and not tunnel):
            stream.phase = _SENT
            self._h2.send_headers(number, fields, end_stream=True)
            self._drain_h2()
            self._ended_ours(stream)
        elif body is None:
            stream.left = length
            self._h2.send_headers(number, fields)
            self._drain_h2()
        else:
            stream.phase = _SENT
            self._send_content(stream, fields, body, length)
        return number

    def sending(self, exchange: int) -> bool:
        """Whether content of that request is still wanted."""
        stream = self._streams.get(exchange)
        return stream is not None and stream.phase == _SENDING

    def send_body(self, exchange: int, data: Piece) -> None:
        """Queue a piece of the content of a request that was begun without it.

        Ignored once the answer is complete, or the stream has gone.

        Raises:
            WebUsageError: No content was announced, or less.
        """
        stream = self._streams.get(exchange)
        if stream is None:
            close_files(data)
            return
        if stream.phase != _SENDING:
            raise WebUsageError("no request is open that awaits content")
        if stream.left >= 0:
            size = len(data)
            if size > stream.left:
                raise WebUsageError(f"{size - stream.left} octets more than Content-Length said")
            stream.left -= size
        stream.sent += len(data)
        self._queue(stream, data)

    def end_body(self, exchange: int, trailers: Sequence[Field] = ()) -> None:
        """The content of a request is complete.

        Args:
            exchange: Which.
            trailers: Fields to send after it.

        Raises:
            WebUsageError: No content was awaited, or less than announced came: then the
                request is given up.
            ValueError: A trailer cannot be sent.
        """
        stream = self._streams.get(exchange)
        if stream is None:
            return
        if stream.phase != _SENDING:
            raise WebUsageError("no request is open that awaits content")
        if stream.left > 0:
            left = stream.left
            self._reset_stream(exchange, framing.CANCEL)
            raise WebUsageError(f"{left} octets less than Content-Length said")
        fields, announced, host = _fields_of(trailers)
        if announced >= 0 or host:
            raise WebUsageError("Content-Length and Host have no place in trailers")
        stream.phase = _SENT
        stream.ending = True
        stream.trailers = fields or None
        self._arrange(stream)

    def cancel(self, exchange: int) -> bool:
        """Give a request up; nothing more of it will come out."""
        if exchange in self._streams:
            self._reset_stream(exchange, framing.CANCEL)
        return True

    def reset(self, exchange: int) -> None:
        """The same, for whoever does not ask."""
        self.cancel(exchange)

    def is_open(self, exchange: int) -> bool:
        """Whether more content may be sent on it."""
        return self.sending(exchange)

    def end_tunnel(self, exchange: int) -> None:
        """Once our side of a stream has ended, the server's is of no use either."""
        stream = self._streams.get(exchange)
        if stream is not None:
            stream.tunnel = False
            if stream.ended:
                self._reset_stream(exchange, framing.CANCEL)

    # ── answers ───────────────────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server, cut anywhere."""
        self._heard = self._now
        super().receive_data(data)

    def _receive_headers(self, flags: int, number: int, raw: bytes) -> None:
        if self._frames.in_block:
            self._feed(raw)  # which keeps it until the last frame of the block has come
            return
        if self._is_idle(number):
            raise FramingError(
                framing.PROTOCOL_ERROR, f"HEADERS on stream {number}", "RFC 9113 §5.1"
            )
        stream = self._streams.get(number)
        if stream is None and not self._was_under_way(
            number, self._limits.stream_window // 4, ends=bool(flags & framing.END_STREAM)
        ):
            self._count_control("HEADERS on a closed stream")
        for event in self._feed(raw):
            fields = getattr(event, "headers", None)
            if fields is not None and stream is not None and number in self._streams:
                self._fields_came(stream, event, fields)

    def _fields_came(self, stream: Stream, event: Any, fields: Sequence[Field]) -> None:
        """Fields of a stream. (`Any`: one of three kinds of h2's, which are told apart here.)"""
        asked: _Asked = stream.head
        try:
            if isinstance(event, TrailersReceived):
                if stream.length not in (CHUNKED, stream.come):
                    raise Malformed("content of another length than announced", "RFC 9113 §8.1.1")
                trailers = grammar.trailer_fields(fields, self._most.fields)
                stream.open = False
                self._content_ended(stream, trailers)
                return
            status, headers, announced = grammar.response_head(fields)
            if len(fields) > self._most.fields:
                raise Malformed(f"{len(fields)} fields", "RFC 9113 §10.5.1")
            if isinstance(event, InformationalResponseReceived):
                asked.informed += 1
                if status == 101 or asked.informed > self._most.informational:
                    raise Malformed(f"{status}, or too many like it", "RFC 9113 §8.6")
                self._events.append(InformationalReceived(stream.number, status, headers))
                return
        except Malformed as error:
            self._fail_stream(stream, str(error), error.rule)
            return
        ended = getattr(event, "stream_ended", None) is not None
        self._answered(stream, status, headers, announced, ended)

    def _answered(
        self,
        stream: Stream,
        status: int,
        headers: list[Field],
        announced: int | None,
        ended: bool,
    ) -> None:
        asked: _Asked = stream.head
        head = ResponseHead(status, b"", b"2", headers)
        head.exchange = stream.number
        head.announced = announced
        head.takes_over = asked.method == b"CONNECT" and status < 300
        without = asked.method == b"HEAD" or status in (204, 304)
        if without:
            stream.length = 0
            # Which h2 knows of HEAD only (RFC 9110 §8.6).
            asked.bare = bool(announced) and status in (204, 304)
        elif head.takes_over or announced is None:
            stream.length = CHUNKED
        else:
            stream.length = announced
        if not head.takes_over:
            stream.tunnel = False
        if ended and stream.length > 0:
            self._fail_stream(stream, "content was announced and is missing", "RFC 9113 §8.1.1")
            return
        if stream.length > self._most.body:
            self._fail_stream(stream, f"{stream.length} octets of content", "limit:body")
            return
        head.length = 0 if ended else stream.length
        asked.answered = True
        self._events.append(head)
        if ended:
            stream.open = False
            self._content_ended(stream, [])

    def _counts_otherwise(self, stream: Stream) -> bool:
        bare: bool = stream.head.bare
        return bare

    def _takes(self, stream: Stream, size: int) -> bool:
        if not stream.head.answered:
            self._fail_stream(stream, "content before its head", "RFC 9113 §8.1")
            return False
        if not stream.tunnel and stream.come + size > self._most.body:
            self._fail_stream(stream, f"more than {self._most.body} octets", "limit:body")
            return False
        return True

    def _content_came(self, stream: Stream, data: bytes) -> None:
        self._events.append(BodyReceived(stream.number, data))

    def _content_ended(self, stream: Stream, trailers: list[Field]) -> None:
        self._events.append(BodyEnded(stream.number, trailers))
        if stream.ended:
            self._forget(stream)
        elif not stream.tunnel:
            # The answer is whole: the rest of the request is of no use (RFC 9113 §8.1).
            self._reset_stream(stream.number, framing.CANCEL)

    def _stream_was_reset(self, stream: Stream, code: int, *, remote: bool) -> None:
        if not stream.open and code == framing.NO_ERROR:
            return  # the answer was whole; only the rest of the request is not wanted
        refused = code == framing.REFUSED_STREAM
        kind = RequestRefused if refused else StreamReset
        self._events.append(kind(stream.number, code))

    def _peer_setting(self, code: int, value: int) -> None:
        if code == MAX_STREAMS:
            self._allowed = value
        elif code == ENABLE_CONNECT:
            self._extended = value == 1

    # ── the end ───────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Begin nothing new, finish what is open, then close."""
        self._closing = True

    def _peer_goes(self, last: int, code: int, text: bytes) -> None:
        self._closing = True
        self.goodbye = code
        for stream in list(self._streams.values()):
            if stream.number > last:
                self._forget(stream)
                self._events.append(RequestRefused(stream.number, code))

    def _finished(self) -> bool:
        if self._streams:
            return False
        self._say_goodbye(0, framing.NO_ERROR)
        return True

    def _input_ended(self) -> None:
        for stream in list(self._streams.values()):
            self._reset_stream(stream.number, framing.CANCEL)
            self._events.append(StreamReset(stream.number, framing.CANCEL))

    # ── time ──────────────────────────────────────────────────────────────────

    def _ping_answered(self, payload: bytes) -> None:
        self._pinged = 0.0

    def _check_time(self, now: float) -> float:
        due = super()._check_time(now)
        limits = self._limits
        if not self._streams:
            self._pinged = 0.0
            return due
        if self._pinged and self._heard < self._pinged:
            until = self._pinged + limits.drain
            if now >= until:
                raise FramingError(framing.NO_ERROR, "the server is silent", "RFC 9113 §6.7")
            return min(due, until)
        self._pinged = 0.0
        until = self._heard + limits.idle
        if now >= until:
            self._pinged = now
            self._send_ping(b"alive?\0\0")
            until = now + limits.drain
        return min(due, until)


def _fields_of(headers: Sequence[Field]) -> tuple[list[Field], int, bytes]:
    """Fields as they are sent, the announced length, and the Host among them.

    Raises:
        ValueError: One cannot be sent.
    """
    fields: list[Field] = []
    announced = -1
    host = b""
    for field in headers:
        kind, made = outgoing(field)
        if kind == grammar.LENGTH:
            value = field[1]
            if not (value.isdigit() and len(value) <= 18) or announced >= 0:
                raise WebUsageError(f"Content-Length cannot be {value!r:.40}, or is there twice")
            announced = int(value)
        elif made is None:
            continue
        elif made[0] == b"host":
            host = made[1]
        elif made[0] in _SECRET:
            fields.append(NeverIndexedHeaderTuple(*made))
        elif made[0] != b"te" or made[1].lower() == b"trailers":
            fields.append(made)
    return fields, announced, host


def _pseudo(
    method: bytes, scheme: bytes, host: bytes, target: bytes, protocol: bytes | None
) -> list[Field]:
    """Pseudo-header fields, checked.

    Raises:
        ValueError: One cannot be sent.
    """
    if not grammar.is_method(method):
        raise ValueError(f"a method cannot be {method!r:.100}")
    if not grammar.is_host(host):
        raise ValueError(f"a host cannot be {host!r:.100}")
    fields = [(b":method", method), (b":authority", host)]
    if method != b"CONNECT" or protocol is not None:
        if not (grammar.is_path(target) or (target == b"*" and method == b"OPTIONS")):
            raise ValueError(f"a target cannot be {target!r:.100}")
        if scheme not in (b"http", b"https"):
            raise ValueError(f"a scheme cannot be {scheme!r:.40}")
        fields += [(b":scheme", scheme), (b":path", target)]
    if protocol is not None:
        if method != b"CONNECT" or not grammar.is_token(protocol):
            raise ValueError(f"a protocol cannot be {protocol!r:.100}")
        fields.append((b":protocol", protocol))
    return fields
