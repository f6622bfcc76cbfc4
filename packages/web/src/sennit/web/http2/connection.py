"""What both sides of an HTTP/2 connection share: octets to frames to h2, and back out.

Octets pass the reader (``framing.py``), one frame at a time. h2 is given those
that move a stream or carry fields (HEADERS, DATA, RST_STREAM, SETTINGS): it keeps
the states of streams, HPACK, and the windows for what comes in. What it would
take without end, or what would end it too soon, is dealt with before: pings,
windows for what goes out, GOAWAY, priorities, and every flood.

Content goes out past h2, by windows and priorities that are kept beside it
(``sending.py``).

Every frame that costs work and brings nothing is paid for out of a budget that
time fills up again; so is every stream that is given up.

Sources: RFC 9113 §3.4, §5, §6, §8.1, §9.1; RFC 9218 §7.1, §10; CVE-2019-9511 to
-9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671. Not here: what requests and
answers are to each side (``engine.py``, ``client_engine.py``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, FilePart, NoEvent, PeerFault
from sennit.core.errors import MissingExtraError
from sennit.web.errors import WebProtocolError
from sennit.web.events import CHUNKED
from sennit.web.http2 import framing
from sennit.web.http2.framing import FrameReader, FramingError, frame_head
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.http2.opening import (
    INITIAL_WINDOW,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    open_h2,
)
from sennit.web.http2.sending import Sending
from sennit.web.http2.streams import Budget, Stream

try:
    from h2.exceptions import ProtocolError as H2Error
    from hpack import HPACKError
except ImportError as error:
    raise MissingExtraError(__name__, "sennit-web", "http2") from error

if TYPE_CHECKING:
    from sennit.core.interfaces import Buffer

    Piece = Buffer | FilePart

__all__ = ["HTTP2Engine"]

LARGEST_FRAME: Final = 64 * 1024
"""Octets of content in one frame, where the peer allows more yet."""
LARGEST_TABLE: Final = 64 * 1024
"""Octets of the table that h2 keeps to compress fields, where the peer allows more yet."""
TINY: Final = 4
"""Octets of content below which a frame is not worth its while (gRPC's smallest has five)."""

MOST_SETTINGS: Final = 64
"""Settings in one frame; the RFCs have ten, and each may concern every stream."""
GIVE_BACK: Final = 32 * 1024
"""Octets that nobody reads after which their window is given back."""
CUT_KEPT: Final = 1024
"""Streams that were reset here which are remembered: something may be on its way on them."""

EventT = TypeVar("EventT")


class HTTP2Engine(Sending, Generic[EventT]):
    """One side of a connection.

    Args:
        limits: How much and how long.
        client: Which side.
        settings: What the peer is told, by identifier.
        max_head: Octets of a decoded header section above which the connection ends.
    """

    def __init__(
        self, limits: HTTP2Limits, *, client: bool, settings: dict[int, int], max_head: int
    ) -> None:
        super().__init__(limits)
        self._client = client
        self._frames = FrameReader(limits, b"" if client else framing.PREFACE)
        self._events: deque[EventT | PeerFault] = deque()
        self._highest = 0  # of the streams that the client has begun
        # Streams that were reset here, the latest, and how much may still come of each.
        self._cut: dict[int, int] = {}
        self._owed = 0  # octets to be given back to the connection's window
        self._resets = Budget(limits.resets, limits.reset_rate)
        self._useless = Budget(limits.useless, limits.useless_rate)
        self._closing = False
        self._eof = False
        self._check_at: float | None = None
        self._began = 0.0
        self._partial_since = 0.0
        self._h2, self._out[:] = open_h2(limits, client, settings, max_head)

    # ── octets in, events out ─────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer, cut anywhere."""
        if not self._closed:
            self._frames.receive(data)

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._eof = True

    def next_event(self) -> EventT | PeerFault | NoEvent:
        """The next thing the peer said, or why there is nothing."""
        events = self._events
        while True:
            if events:
                return events.popleft()
            if self._closed:
                return CLOSED
            if self._closing and self._finished():
                self._close_now()
                continue
            try:
                frame = self._frames.next_frame()
                if frame is not None:
                    self._receive_frame(frame)
                    continue
            except FramingError as error:
                self._end(error.code, str(error), error.rule)
                continue
            if self._eof:
                self._input_ended()
                if not self._streams:
                    self._close_now()
                    continue
            if events:
                continue
            if self._check_at is not None and (self._frames.in_block or self._frames.partial):
                self._watch_partial()
            else:
                self._partial_since = 0.0
            return NEED_DATA

    def _finished(self) -> bool:
        """Whether nothing more will come of it, now that nothing new is begun."""
        raise TypeError("each side ends in its own way")  # pragma: no cover

    def _input_ended(self) -> None:
        """The peer sends no more: what it has not said whole will never be."""
        raise TypeError("each side ends in its own way")  # pragma: no cover

    def _receive_frame(self, frame: framing.Frame) -> None:
        """Do what a frame says.

        Raises:
            FramingError: It ends the connection.
        """
        kind, flags, number, raw = frame
        if kind == framing.HEADERS or kind == framing.CONTINUATION:
            self._receive_headers(flags, number, raw)
        elif kind == framing.DATA:
            self._receive_content(flags, number, raw)
        elif kind == framing.WINDOW_UPDATE:
            self._receive_window(number, raw)
        elif kind == framing.RST_STREAM:
            self._receive_reset(number, raw)
        elif kind == framing.SETTINGS:
            self._receive_settings(flags, raw)
        elif kind == framing.PING:
            self._receive_ping(flags, raw)
        elif kind == framing.GOAWAY:
            self._spend_useless("GOAWAY")
            last = int.from_bytes(raw[9:13], "big") & LARGEST_WINDOW
            self._peer_goes(last, int.from_bytes(raw[13:17], "big"), raw[17:])
        elif kind == framing.PRIORITY_UPDATE:
            self._spend_useless("PRIORITY_UPDATE")
            self._receive_priority(raw)
        else:
            # PRIORITY means nothing any more (§5.3.2), unknown types never did (§5.5).
            self._spend_useless(f"type {kind}")

    def _feed(self, raw: bytes) -> list[Any]:
        """Give h2 a frame; its events. (`Any`: they are of many kinds, told apart by type.)"""
        try:
            events: list[Any] = self._h2.receive_data(raw)
        except H2Error as error:
            self._h2.clear_outbound_data_buffer()
            code = int(error.error_code)
            if code == framing.PROTOCOL_ERROR and isinstance(error.__cause__, HPACKError):
                # Another code than h2 has for it (RFC 9113 §4.3).
                code = framing.COMPRESSION_ERROR
            raise FramingError(code, str(error), "RFC 9113 §5.4.1") from error
        except Exception as error:
            # h2 translates what its own libraries raise; what it should miss is the peer's too.
            self._h2.clear_outbound_data_buffer()
            raise FramingError(
                framing.PROTOCOL_ERROR, f"{error!r:.200}", "RFC 9113 §5.4.1"
            ) from error
        self._drain_h2()
        return events

    # ── fields and content ────────────────────────────────────────────────────

    def _receive_headers(self, flags: int, number: int, raw: bytes) -> None:
        raise TypeError("fields mean something else to each side")  # pragma: no cover

    def _receive_content(self, flags: int, number: int, raw: bytes) -> None:
        stream = self._streams.get(number)
        ends = flags & framing.END_STREAM
        size = len(raw) - framing.HEAD
        if flags & framing.PADDED:
            if not size or raw[9] >= size:
                raise FramingError(framing.PROTOCOL_ERROR, "padding without end", "RFC 9113 §6.1")
            size -= 1 + raw[9]
        if stream is None:
            if self._is_idle(number):
                raise FramingError(
                    framing.PROTOCOL_ERROR, "DATA on an idle stream", "RFC 9113 §5.1"
                )
            if number in self._cut:
                if not self._was_under_way(number, size, ends=bool(ends)):
                    self._spend_useless("DATA on a stream that was reset")
                self._give_back(raw)
                return
            self._count_control("DATA on a closed stream")
            self._feed(raw)
            return
        if not stream.open:
            self._feed(raw)
            self._fail_stream(
                stream, "DATA after END_STREAM", "RFC 9113 §5.1", framing.STREAM_CLOSED
            )
            return
        if size < TINY and not ends and not (stream.tunnel and size):
            self._spend_useless(f"DATA with {size} octets")
        if stream.length != CHUNKED and (
            stream.come + size > stream.length or (ends and stream.come + size < stream.length)
        ):
            self._give_back(raw)
            self._fail_stream(stream, "content of another length than announced", "RFC 9113 §8.1.1")
            return
        if size and not self._takes(stream, size):
            self._give_back(raw)
            return
        if ends and not size and stream.ended and self._counts_otherwise(stream):
            # h2 only has to know that it is over; nothing is said.
            self._h2.reset_stream(number, framing.NO_ERROR)
            self._h2.clear_outbound_data_buffer()
            stream.open = False
            self._content_ended(stream, [])
            return
        self._feed(raw)
        paid = len(raw) - framing.HEAD - size
        if paid:
            # Padding is read as soon as it has come.
            self._credit(number, paid)
        if size:
            stream.come += size
            if not stream.unread:
                stream.held = self._now
            stream.unread += size
            first = 10 if flags & framing.PADDED else 9
            self._content_came(stream, raw[first : first + size])
        if ends:
            stream.open = False
            self._content_ended(stream, [])

    def _give_back(self, raw: bytes) -> None:
        """A frame that h2 is not shown has taken from the connection's window all the same."""
        self._owed += len(raw) - framing.HEAD
        if self._owed >= GIVE_BACK:
            update = frame_head(4, framing.WINDOW_UPDATE, 0, 0) + self._owed.to_bytes(4, "big")
            self._out.append(update)
            self._owed = 0

    def _counts_otherwise(self, stream: Stream) -> bool:
        """Whether h2 expects content of this stream that nobody else does."""
        return False

    def _takes(self, stream: Stream, size: int) -> bool:
        """Whether so much more content is wanted; else the stream was dealt with."""
        return True

    def _content_came(self, stream: Stream, data: bytes) -> None:
        raise TypeError("content means something else to each side")  # pragma: no cover

    def _content_ended(self, stream: Stream, trailers: list[tuple[bytes, bytes]]) -> None:
        raise TypeError("content means something else to each side")  # pragma: no cover

    def consumed(self, exchange: int, octets: int) -> None:
        """So much content was taken by whoever reads it: the peer may send as much again."""
        stream = self._streams.get(exchange)
        if stream is not None:
            stream.unread -= octets
            if not stream.unread:
                # So long it was us for whom the rest waited.
                stream.begun += self._now - stream.held
                if stream.open:
                    self._watch(self._now + self._limits.body_grace)
        if not self._closed:
            self._credit(exchange, octets)

    def _await_content(self, stream: Stream) -> None:
        """What a stream's content was late for so far is forgiven."""
        rate = self._limits.body_rate
        if rate:
            stream.begun = self._now - stream.come / rate
            self._watch(self._now + self._limits.body_grace)

    def _credit(self, number: int, octets: int) -> None:
        if octets:
            try:
                self._h2.acknowledge_received_data(octets, number)
            except H2Error:
                # The stream, or h2's view of the connection, has ended.
                return
            self._drain_h2()

    # ── streams that are given up ─────────────────────────────────────────────

    def _is_idle(self, number: int) -> bool:
        """Whether a stream was never begun."""
        return number > self._highest or not number & 1

    def _receive_reset(self, number: int, raw: bytes) -> None:
        if self._is_idle(number):
            raise FramingError(
                framing.PROTOCOL_ERROR, "RST_STREAM on an idle stream", "RFC 9113 §6.4"
            )
        self._spend_reset()
        stream = self._streams.get(number)
        if stream is not None:
            self._feed(raw)
            self._forget(stream)
            self._stream_was_reset(stream, int.from_bytes(raw[9:13], "big"), remote=True)

    def _stream_was_reset(self, stream: Stream, code: int, *, remote: bool) -> None:
        raise TypeError("a reset means something else to each side")  # pragma: no cover

    def _spend_reset(self) -> None:
        """A stream was given up: by the peer, or because of what it did there.

        Raises:
            FramingError: Too often (CVE-2023-44487, CVE-2025-8671).
        """
        if not self._resets.spend(self._now):
            raise FramingError(
                framing.ENHANCE_YOUR_CALM, "too many streams were given up", "RFC 9113 §10.5"
            )

    def _reset_stream(self, number: int, code: int) -> None:
        """Queue RST_STREAM, and know nothing more of the stream."""
        stream = self._streams.get(number)
        if stream is not None:
            self._forget(stream)
        cut = self._cut
        if len(cut) >= CUT_KEPT:
            del cut[next(iter(cut))]
        # Its window, and as much again for a few heads.
        cut[number] = 2 * self._limits.stream_window
        try:
            self._h2.reset_stream(number, code)
        except H2Error:
            return  # it has ended on both sides
        self._drain_h2()

    def _was_under_way(self, number: int, size: int, *, ends: bool) -> bool:
        """Whether a frame was on its way when we gave its stream up (RFC 9113 §5.1).

        Whoever gives up large answers must not find the connection ended for what the
        windows had let out by then.

        Args:
            number: The stream.
            size: Octets that it counts for.
            ends: Whether nothing can be behind it.
        """
        left = self._cut.get(number, -1)
        if size > left or (size < TINY and not ends):
            return False
        self._cut[number] = -1 if ends else left - size
        return True

    def _fail_stream(
        self, stream: Stream, message: str, rule: str, code: int = framing.PROTOCOL_ERROR
    ) -> None:
        """The peer has broken a rule that costs one stream (RFC 9113 §5.4.2).

        Raises:
            FramingError: It did so too often.
        """
        self._reset_stream(stream.number, code)
        self._events.append(PeerFault(WebProtocolError(message, rule), stream.number))
        self._spend_reset()

    # ── what concerns the connection ──────────────────────────────────────────

    def _spend_useless(self, what: str) -> None:
        """A frame has come that brings nothing.

        Raises:
            FramingError: One too many.
        """
        if not self._useless.spend(self._now):
            raise FramingError(
                framing.ENHANCE_YOUR_CALM,
                f"too many frames that bring nothing, the last: {what}",
                "RFC 9113 §10.5",
            )

    def _count_control(self, what: str) -> None:
        """A frame has come that wants an answer.

        Raises:
            FramingError: Too many answers wait (CVE-2019-9512, CVE-2019-9515).
        """
        self._controls += 1
        if self._controls > self._limits.controls:
            raise FramingError(
                framing.ENHANCE_YOUR_CALM,
                f"{self._controls} answers wait to be read, the last to {what}",
                "RFC 9113 §10.5",
            )

    def _receive_settings(self, flags: int, raw: bytes) -> None:
        self._spend_useless("SETTINGS")
        if flags & framing.ACK:
            self._feed(raw)
            return
        self._count_control("SETTINGS")
        if len(raw) > framing.HEAD + 6 * MOST_SETTINGS:
            raise FramingError(
                framing.ENHANCE_YOUR_CALM, "too many settings at once", "RFC 9113 §10.5"
            )
        self._feed(raw)
        if self._h2.encoder.header_table_size > LARGEST_TABLE:
            self._h2.encoder.header_table_size = LARGEST_TABLE
        for at in range(9, len(raw), 6):
            code = raw[at] << 8 | raw[at + 1]
            value = int.from_bytes(raw[at + 2 : at + 6], "big")
            if code == INITIAL_WINDOW:
                self._change_windows(value)
            elif code == MAX_FRAME_SIZE:
                self._frame_size = min(value, LARGEST_FRAME)
            else:
                self._peer_setting(code, value)

    def _peer_setting(self, code: int, value: int) -> None:
        """The peer has told something that concerns one side only."""

    def _change_windows(self, initial: int) -> None:
        """All streams' windows change with the initial one (RFC 9113 §6.9.2)."""
        change = initial - self._initial
        self._initial = initial
        for stream in list(self._streams.values()):
            stream.window += change
            if stream.window > LARGEST_WINDOW:
                raise FramingError(
                    framing.FLOW_CONTROL_ERROR, "a window too large", "RFC 9113 §6.9.2"
                )
            self._arrange(stream)
        self._pump()

    def _receive_window(self, number: int, raw: bytes) -> None:
        more = int.from_bytes(raw[9:13], "big") & LARGEST_WINDOW
        if self._windows > 0:
            self._windows -= 1
        else:
            self._spend_useless("WINDOW_UPDATE")
        if not number:
            if not more:
                raise FramingError(
                    framing.PROTOCOL_ERROR, "a window opened by nothing", "RFC 9113 §6.9"
                )
            self._window += more
            if self._window > LARGEST_WINDOW:
                raise FramingError(
                    framing.FLOW_CONTROL_ERROR, "a window too large", "RFC 9113 §6.9.1"
                )
            self._pump()
            return
        stream = self._streams.get(number)
        if stream is None:
            if self._is_idle(number):
                raise FramingError(
                    framing.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream", "RFC 9113 §5.1"
                )
            return
        stream.window += more
        if not more:
            self._fail_stream(stream, "a window opened by nothing", "RFC 9113 §6.9")
        elif stream.window > LARGEST_WINDOW:
            self._fail_stream(
                stream, "a window too large", "RFC 9113 §6.9.1", framing.FLOW_CONTROL_ERROR
            )
        elif stream.queue:
            self._arrange(stream)
            self._pump()

    def _receive_ping(self, flags: int, raw: bytes) -> None:
        self._spend_useless("PING")
        payload = raw[9:]
        if flags & framing.ACK:
            self._ping_answered(payload)
            return
        self._count_control("PING")
        self._out.append(frame_head(8, framing.PING, framing.ACK, 0) + payload)

    def _ping_answered(self, payload: bytes) -> None:
        """The peer has answered a ping."""

    def _send_ping(self, payload: bytes) -> None:
        self._out.append(frame_head(8, framing.PING, 0, 0) + payload)

    def _receive_priority(self, raw: bytes) -> None:
        """PRIORITY_UPDATE means something to servers only (RFC 9218 §7)."""
        raise FramingError(framing.PROTOCOL_ERROR, "PRIORITY_UPDATE", "RFC 9218 §7.1")

    def _peer_goes(self, last: int, code: int, text: bytes) -> None:
        """The peer has said GOAWAY."""
        raise TypeError("a good-bye means something else to each side")  # pragma: no cover

    # ── the end ───────────────────────────────────────────────────────────────

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        self._close_now()
        self._events.clear()
        self._out = []
        return self._frames.rest()

    def _end(self, code: int, message: str, rule: str) -> None:
        """A connection error: say so, and close (RFC 9113 §5.4.1)."""
        self._say_goodbye(self._highest if not self._client else 0, code)
        fault = PeerFault(WebProtocolError(message, rule), CONNECTION)
        self._close_now()
        self._events.append(fault)

    def _say_goodbye(self, last: int, code: int) -> None:
        self._out.append(
            frame_head(8, framing.GOAWAY, 0, 0) + last.to_bytes(4, "big") + code.to_bytes(4, "big")
        )

    def _close_now(self) -> None:
        self._closed = self._closing = True
        for stream in list(self._streams.values()):
            self._forget(stream)
        self._frames.rest()

    # ── time ──────────────────────────────────────────────────────────────────

    def next_timeout(self) -> float | None:
        """When to be told the time; ``None`` before it was told for the first time."""
        return None if self._closed else self._check_at

    def handle_timeout(self, now: float) -> None:
        """It is `now`: refuse what took too long."""
        self._now = now
        check_at = self._check_at
        if check_at is None:
            self._began = self._active = now
            self._check_at = now + self._limits.preface
        elif now >= check_at and not self._closed:
            try:
                due = self._check_time(now)
            except FramingError as error:
                self._end(error.code, str(error), error.rule)
                due = now + 1
            self._check_at = max(due, now + 0.01)

    def _watch(self, when: float) -> None:
        """Something must have happened by then."""
        if self._check_at is not None and when < self._check_at:
            self._check_at = when

    def _watch_partial(self) -> None:
        if not self._partial_since:
            self._partial_since = self._now
            self._watch(self._now + self._limits.head)

    def _check_time(self, now: float) -> float:
        """End what took too long; when to look again.

        Raises:
            FramingError: The connection took too long.
        """
        limits = self._limits
        due = now + limits.idle
        if not self._frames.settled:
            due = self._began + limits.preface
            if now >= due:
                raise FramingError(framing.PROTOCOL_ERROR, "no preface in time", "RFC 9113 §3.4")
        if self._partial_since:
            until = self._partial_since + limits.head
            if now >= until:
                raise FramingError(
                    framing.ENHANCE_YOUR_CALM, "a header block takes too long", "RFC 9113 §10.5"
                )
            due = min(due, until)
        for stream in list(self._streams.values()):
            its = self._check_stream(stream, now)
            if its is not None:
                due = min(due, its)
        return due

    def _check_stream(self, stream: Stream, now: float) -> float | None:
        """Give up a stream that took too long, else say when it will have; ``None``: never.

        Raises:
            FramingError: It is not the only one.
        """
        if not stream.queued or stream.ended:
            return None
        if self.pressed or (stream.window > 0 and self._window > 0):
            # The transport is waited for, which its driver watches; or more urgent streams.
            stream.since = now
        until = stream.since + self._limits.write
        if now < until:
            return until
        # CVE-2019-9517.
        self._reset_stream(stream.number, framing.CANCEL)
        self._stream_was_reset(stream, framing.CANCEL, remote=False)
        self._spend_reset()
        return None
