"""A sketch of IMAP's ways: tags, a literal that waits for its continuation, IDLE and DONE.

::

    C: t1 NOOP                      S: t1 OK
    C: t2 APPEND {5}                S: + go ahead      (when the handler says so)
    C: hello                        S: t2 OK 5
    C: t3 IDLE                      S: + idling
                                    S: * EXISTS 4      (pushed)
    C: DONE                         S: t3 OK
    C: t4 LOGOUT                    S: * BYE, t4 OK, closes
"""

from __future__ import annotations

from dataclasses import dataclass

from packages.core.tests.sketches.lines import Lines, LineTooLongError
from sennit.core.engine import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    SOLE,
    Belongs,
    Ends,
    NoEvent,
    PeerFault,
)
from sennit.core.errors import ProtocolError, UsageError

MAX_LINE = 1024
MAX_LITERAL = 100_000
INACTIVITY = 1800.0


@dataclass(slots=True)
class Command:
    """A whole command: NOOP, LOGOUT, SLOW."""

    tag: bytes
    name: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Append:
    """A command whose literal is announced; it comes when it was asked for."""

    tag: bytes
    size: int
    exchange: int = SOLE


@dataclass(slots=True)
class LiteralData(Belongs):
    data: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class LiteralEnd(Ends):
    exchange: int = SOLE


@dataclass(slots=True)
class Idle:
    tag: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Done(Ends):
    """The client wants to do something else."""

    exchange: int = SOLE


Event = Command | Append | LiteralData | LiteralEnd | Idle | Done | PeerFault


class MailboxEngine:
    """The server's side."""

    def __init__(self) -> None:
        self._lines = Lines(MAX_LINE)
        self._out: list[bytes] = []
        self._pending: bytes | None = None  # the tag that waits for its answer
        self._literal: int | None = None  # octets of it still to come
        self._literal_wanted = False
        self._idling = False
        self._eof = False
        self._closing = False
        self._closed = False
        self._now = 0.0
        self._deadline: float | None = None

    # ── in ──
    def receive_data(self, data: bytes) -> None:
        if not self._closed:
            self._lines.feed(data)
            if self._now:
                self._deadline = self._now + INACTIVITY

    def receive_eof(self) -> None:
        self._eof = True

    def next_event(self) -> Event | NoEvent:
        if self._closed:
            return CLOSED
        if self._literal is not None:
            return self._next_of_literal()
        if self._pending is not None and not self._idling:
            return PAUSED
        if self._closing and self._pending is None:
            return self._say_bye(b"* BYE shutting down")
        try:
            line = self._lines.next_line()
        except LineTooLongError as error:
            return self._fault(error)
        if line is None:
            if self._eof and self._idling:
                return self._end_idling()
            if self._eof:
                self._closed = True
                return CLOSED
            return NEED_DATA
        if self._idling:
            if line.upper() != b"DONE":
                return self._fault(ProtocolError(f"{line[:40]!r} while idling", "RFC 2177 §3"))
            return self._end_idling()
        return self._command(line)

    def _end_idling(self) -> Done:
        self._idling = False
        return Done()

    def _next_of_literal(self) -> Event | NoEvent:
        assert self._literal is not None
        if not self._literal_wanted:
            # Octets before the continuation are held, as any client's impatience is.
            return PAUSED
        if self._literal == 0:
            try:
                line = self._lines.next_line()
            except LineTooLongError as error:
                return self._fault(error)
            if line is None:
                if self._eof:
                    return self._fault(ProtocolError("the stream ended in a command", "sketch §2"))
                return NEED_DATA
            if line:
                return self._fault(ProtocolError(f"{line[:40]!r} after a literal", "sketch §2"))
            self._literal = None
            return LiteralEnd()
        data = self._lines.take(self._literal)
        if not data:
            if self._eof:
                return self._fault(ProtocolError("the stream ended in a literal", "sketch §2"))
            return NEED_DATA
        self._literal -= len(data)
        return LiteralData(data)

    def _command(self, line: bytes) -> Event:
        words = line.split(b" ")
        if len(words) < 2 or not words[0].isalnum():
            return self._fault(ProtocolError(f"{line[:40]!r} is no command", "sketch §3"))
        tag, name = words[0], words[1].upper()
        if name == b"APPEND":
            size = words[2][1:-1] if len(words) == 3 else b""
            if not (size.isdigit() and len(size) <= 18 and int(size) <= MAX_LITERAL):
                return self._fault(ProtocolError(f"{line[:40]!r}: no literal", "sketch §2"))
            self._pending, self._literal, self._literal_wanted = tag, int(size), False
            return Append(tag, int(size))
        if name == b"IDLE" and len(words) == 2:
            self._pending, self._idling = tag, True
            self._out.append(b"+ idling\r\n")
            return Idle(tag)
        if name in (b"NOOP", b"LOGOUT", b"SLOW") and len(words) == 2:
            self._pending = tag
            return Command(tag, name)
        return self._fault(ProtocolError(f"{line[:40]!r} is no command", "sketch §3"))

    def _fault(self, error: ProtocolError) -> PeerFault:
        self._out.append(b"* BAD\r\n* BYE\r\n")
        self._end()
        return PeerFault(error)

    def _say_bye(self, line: bytes) -> NoEvent:
        self._out.append(line + b"\r\n")
        self._end()
        return CLOSED

    def _end(self) -> None:
        self._closed = True
        self._pending = self._literal = self._deadline = None
        self._idling = False
        self._lines.clear()

    # ── out ──
    def want_literal(self) -> None:
        if self._literal is None:
            raise UsageError("no literal waits")
        self._literal_wanted = True
        self._out.append(b"+ go ahead\r\n")

    def answer(self, text: bytes) -> None:
        if self._closed:
            return
        if self._pending is None:
            raise UsageError("no command waits for an answer")
        tag, self._pending = self._pending, None
        self._literal = None
        self._idling = False
        self._out.append(tag + b" " + text + b"\r\n")

    def bye(self) -> None:
        self._out.append(b"* BYE\r\n")
        self.answer(b"OK")
        self._end()

    def send_exists(self, count: int) -> None:
        if not self._closed:
            self._out.append(b"* EXISTS %d\r\n" % count)

    def internal_error(self, exchange: int) -> None:
        if self._pending is not None and self._literal is None:
            self.answer(b"NO internal error")
        elif not self._closed:
            self._say_bye(b"* BYE internal error")

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    # ── time and end ──
    def next_timeout(self) -> float | None:
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        self._now = now
        if self._deadline is None:
            if not self._closed:
                self._deadline = now + INACTIVITY
        elif now >= self._deadline:
            self._say_bye(b"* BYE idle for too long")

    def close(self) -> None:
        self._closing = True

    def release(self) -> bytes:
        rest = self._lines.clear()
        self._end()
        self._out.clear()
        return rest
