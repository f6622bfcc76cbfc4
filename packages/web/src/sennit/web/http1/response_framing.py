"""The gate every HTTP/1.1 response passes before a parser sees it.

The gate of requests (``framing.py``) with another first line: what is a field, what
a chunk, where a head ends and how much of it is too much is the same and is judged
there. What differs is here: the status line, and where content ends, which depends
on the request too (RFC 9112 §6.3).

As strict as towards clients, and for the same reason: a proxy in between that reads
a response otherwise gives somebody else's answer to the next request. So both
framing headers, a repeated Content-Length, a folded field, a bare LF, a coding that
was not asked for are refused. Let pass: a status line without the space behind the
status (RFC 9112 §4 wants it, many servers forget it).

Sources: RFC 9112 §4, §6, §7, §9; RFC 9110 §6.4.1, §8.6, §9.3.6, §15.
"""

from __future__ import annotations

import re

from sennit.web.events import CHUNKED
from sennit.web.http1.framing import (
    AT_CHUNK_LINE,
    AT_HEAD,
    AT_LENGTH,
    FIELDS,
    LENGTH,
    STUCK,
    TCHAR,
    VALUE,
    Gate,
)
from sennit.web.http1.responses import UNTIL_CLOSE, ResponseHead
from sennit.web.http1.verdict import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.web.client.limits import ResponseLimits

__all__ = ["ResponseGate"]

_HEAD = re.compile(
    rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (%b*+))?+\r\n((?:%b++:%b*+\r\n)*+)\r\n"
    % (VALUE, TCHAR, VALUE)
).match
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9]{2}(?: %b*+)?+" % VALUE).fullmatch
_SPECIAL: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})

_AT_CLOSE: Final = 100
"""The gate's state while content goes on until the connection ends."""


class ResponseGate(Gate):
    """Scans one connection's responses, one after the other.

    `next_response` until it gives a head; then, if content follows, `next_body` until
    `in_body` is false; then `next_response` again.

    Args:
        limits: What is too much.
    """

    __slots__ = ()

    def __init__(self, limits: ResponseLimits) -> None:
        # Both kinds of limits have what the gate asks for, by the same names.
        super().__init__(limits)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def refuse(self, refusal: Refused) -> Refused:
        """Let nothing through any more."""
        if refusal.status == 414:
            # What the gate of requests says of a first line that is too long.
            refusal = Refused(431, "the status line is too long", "RFC 9112 §4")
        return super().refuse(refusal)

    def next_response(self, method: bytes) -> ResponseHead | None:
        """The next response head; ``None`` while it has not come whole.

        Args:
            method: Of the request it answers.

        Raises:
            Refused: It cannot be let through.
        """
        if self._state != AT_HEAD:
            if self._refusal is not None:
                raise self._refusal
            return None
        data = self._data
        if not data:
            return None
        at = self._at
        end = data.find(b"\r\n\r\n", self._seen)
        if end < 0:
            self._seen = max(at, len(data) - 3)
            self._diagnose(len(data))
            return None
        end += 4
        match = _HEAD(data, at, end)
        limits = self._limits
        if match is None or match.end() != end:
            self._diagnose(end)
            raise self.refuse(Refused(400, "the head is malformed", "RFC 9112 §2.2"))
        minor, status, reason, block = match.groups()
        found = FIELDS(block)
        if (
            len(block) > limits.head
            or len(found) > limits.fields
            or match.start(4) - at - 2 > limits.target
        ):
            self._diagnose(end)
            raise self.refuse(Refused(431, "the head is too large", "RFC 6585 §5"))
        headers: list[tuple[bytes, bytes]] = []
        special: dict[bytes, bytes] | None = None
        for name, value in found:
            name = name.lower()
            value = value.strip(b" \t")
            headers.append((name, value))
            if name in _SPECIAL:
                if special is None:
                    special = {name: value}
                elif name not in special:
                    special[name] = value
                elif name == b"content-length":
                    raise self.refuse(Refused(400, "more than one Content-Length", "RFC 9112 §6.3"))
                else:
                    special[name] += b", " + value
        head = ResponseHead(
            int(status),
            reason or b"",
            b"1.0" if minor == b"0" else b"1.1",
            headers,
        )
        try:
            self._frame(head, method, special)
            if self.show_wire:
                # A later minor version is ours (RFC 9110 §2.5); not every parser knows.
                head.raw = b"HTTP/%b %b %b\r\n%b\r\n" % (head.version, status, head.reason, block)
        except Refused as refusal:
            self.refuse(refusal)
            raise
        self._used(end)
        self._in_fields = False
        return head

    def _frame(self, head: ResponseHead, method: bytes, special: dict[bytes, bytes] | None) -> None:
        """Find out where the content ends (RFC 9112 §6.3), and whether the connection goes on."""
        coding: bytes | None = None
        if special is not None:
            length = special.get(b"content-length")
            coding = special.get(b"transfer-encoding")
            if length is not None:
                if coding is not None:
                    raise Refused(400, "Content-Length and Transfer-Encoding", "RFC 9112 §6.3")
                if LENGTH(length) is None:
                    raise Refused(400, "Content-Length is no length", "RFC 9110 §8.6")
                head.announced = int(length)
            if coding is not None:
                # Also where no content follows: what says nonsense here says it elsewhere.
                if head.version == b"1.0":
                    raise Refused(400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 §6.1")
                if coding.lower() != b"chunked":
                    raise Refused(
                        400, "a Transfer-Encoding that is not chunked alone", "RFC 9112 §6.1"
                    )
            connection = special.get(b"connection")
            if connection is not None:
                options = [option.strip(b" \t") for option in connection.lower().split(b",")]
                if b"close" in options:
                    head.keep_alive = False
                elif b"keep-alive" in options:
                    head.keep_alive = True
        status = head.status
        if status == 101 or (method == b"CONNECT" and 200 <= status <= 299):
            head.takes_over = True
            return
        if status < 200 or status == 204 or status == 304 or method == b"HEAD":
            return
        self._taken = self._extensions = self._left = 0
        if coding is not None:
            head.length = CHUNKED
            self._state = AT_CHUNK_LINE
        elif head.announced is None:
            head.length = UNTIL_CLOSE
            head.keep_alive = False
            self._state = _AT_CLOSE
        else:
            head.length = head.announced
            if not head.length:
                return
            if head.length > self._limits.body:
                raise Refused(413, "the content is too large", "RFC 9110 §15.5.14")
            self._state = AT_LENGTH
            self._left = self._taken = head.length
        self.in_body = True
        self.trailers = []

    def _check_request_line(self, line: bytes) -> None:
        """Judge the first line of a head that failed, or has not come whole."""
        if _STATUS_LINE(line) is None:
            raise self.refuse(Refused(400, f"no status line: {line[:60]!r}", "RFC 9112 §4"))
        if len(line) > self._limits.target:
            raise self.refuse(Refused(431, "the status line is too long", "RFC 9112 §4"))

    def next_body(self) -> bytes | None:
        """The next octets of the content; ``None`` while none have come."""
        if self._state != _AT_CLOSE:
            return super().next_body()
        at = self._at
        have = len(self._data) - at
        if not have:
            return None
        have = min(have, self._limits.body - self._taken)
        if not have:
            raise self.refuse(Refused(413, "the content is too large", "RFC 9110 §15.5.14"))
        self._taken += have
        piece = bytes(self._data[at : at + have])
        self._used(at + have)
        if self.show_wire:
            self.wire = piece
        return piece

    def end(self) -> bool:
        """No more octets will come; whether that is the end of the content.

        To be called when `next_body` has nothing.
        """
        if self._state != _AT_CLOSE:
            return False
        self._state = STUCK
        self.in_body = False
        return True
