"""The gate every HTTP/1.1 request passes before a parser sees it.

Octets go in through `Gate.receive`; a whole request head comes out of
`Gate.next_head` as a `RequestHead`, body octets come out of `Gate.next_body`,
and whatever a strict reading of RFC 9112 does not allow comes out as a
`Refused` with the status that answers it. A library parser behind the gate
sees only octets that passed, so that every parser gives the same verdict, and
nobody has to look again for what the gate has seen: method, target, fields,
framing, persistence, expectation, upgrade.

A head is judged by one regular expression over all of it, a chunk line by one
over that line; only a head that fails, or has not come whole, is looked at line
by line (`Gate._diagnose`), in the order of the stream, so that the verdict does
not depend on where the octets were cut. Clients send the same fields again and
again: of field lines that are, to the octet, those of the request before on the
same connection, the verdict is known (ten fields of a browser cost 8 µs to judge
and less than 1 to recognize).

Stricter than the grammar, on purpose: no white space in chunk extensions
outside quotes (RFC 9112 §7.1.1 lets it be), no control octets but HTAB in field
values (RFC 9110 §5.5 lets some be replaced), no repeated Content-Length even
where the values agree (§8.6), no ``#`` in a target, no user in an authority
(§4.2.4), no comma or quote in Host.

Sources: RFC 9112 §2.2, §2.3, §3, §5, §6, §7, §9; RFC 9110 §5, §7, §8.6, §10.1.1;
RFC 6585 §5. Deliberately elsewhere: time limits (``server.py``), the state of the
conversation (``engine.py``).
"""

from __future__ import annotations

import re

from sennit.web.events import CHUNKED, RequestHead
from sennit.web.http1.targets import TCHAR, is_host, odd_coding, other_form
from sennit.web.http1.verdict import (
    PrefaceSeen,
    Refused,
    bad_chunk_line,
    bad_field,
    bad_octet,
    too_large,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.web.limits import Limits

    _Known = tuple[
        bytes, list[tuple[bytes, bytes]], bytes | None, int, bool, bool, bytes | None, bool
    ]

__all__ = [
    "AT_CHUNK_LINE",
    "AT_HEAD",
    "AT_LENGTH",
    "FIELDS",
    "LENGTH",
    "STUCK",
    "TCHAR",
    "VALUE",
    "Gate",
]


VALUE = rb"[\t -~\x80-\xff]"

# Possessive quantifiers: a failed match never goes back, so each is linear.
_HEAD = re.compile(
    rb"(%b{1,32}+) ([!\"$-~]++) HTTP/1\.([0-9])\r\n((?:%b++:%b*+\r\n)*+)\r\n"
    % (TCHAR, TCHAR, VALUE)
).match
_LINE = re.compile(rb"(%b{1,32}+) (/[!\"$-~]*+) HTTP/1\.([0-9])\r\n" % TCHAR).match
"""A request line whose target is a path."""
_REQUEST_LINE = re.compile(rb"(%b++) ([!\"$-~]++) HTTP/([0-9])\.([0-9])" % TCHAR).fullmatch
_FIELD_LINE = re.compile(rb"(%b++):(%b*+)" % (TCHAR, VALUE)).fullmatch
FIELDS = re.compile(rb"([^:\r\n]++):([^\r\n]*+)\r\n").findall
_BAD_OCTET = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"((?:;%b++(?:=(?:%b++|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+\"))?+)*+)"
    % (TCHAR, TCHAR)
).fullmatch

_LONGEST_METHOD: Final = 32
_KEPT_BLOCK: Final = 1024
"""Octets of field lines up to which they are kept to be recognized."""
_LINE_REST: Final = _LONGEST_METHOD + 11
"""Octets of a request line besides its target: method, two spaces, version."""

_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"content-length",
        b"expect",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_IN_TRAILERS: Final = frozenset({b"content-length", b"host", b"transfer-encoding", b"trailer"})
_HARMLESS_UPGRADES: Final = frozenset({b"h2c"})
"""Offers that clients attach to any request, bodies included, and that nobody here accepts."""


# What the gate waits for.
AT_HEAD, AT_LENGTH, AT_CHUNK_LINE, AT_CHUNK, AT_CHUNK_END, AT_TRAILERS, STUCK = range(7)


class Gate:
    """Scans one connection's requests, one after the other.

    `next_head` until it gives a head; then, if its length is not 0, `next_body`
    until `in_body` is false; then `next_head` again. Both return ``None`` when
    octets are missing and raise `Refused`, from then on every time, when the
    octets cannot be let through.

    Args:
        limits: What is too much.

    Attributes:
        in_body: Whether content, or its end, is still to come.
        show_wire: Whether what is let through is shown to somebody else as well: only then
            heads have their `RequestHead.raw`, and `wire` is kept.
        wire: The octets of the piece `next_body` returned last as a parser is to be
            given them: for a chunked body with its chunk lines, extensions taken out.
        trailers: Fields after a chunked body, once `in_body` is false again.
        preface: Whether the preface of HTTP/2 may come instead of a first request: then it
            raises `PrefaceSeen`, having used none of it.
    """

    __slots__ = (
        "_at",
        "_checked",
        "_data",
        "_extensions",
        "_field_count",
        "_fields_from",
        "_in_fields",
        "_known",
        "_known_block",
        "_known_host",
        "_left",
        "_limits",
        "_line_at",
        "_refusal",
        "_seen",
        "_skipped",
        "_state",
        "_taken",
        "in_body",
        "preface",
        "show_wire",
        "trailers",
        "wire",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._data: bytes | bytearray = b""
        self._at = 0
        """Where in `_data` the octets begin that nobody has used yet."""
        self._seen = 0
        """Up to where `_data` was searched for the end of what is awaited."""
        self._state = AT_HEAD
        self._left = 0
        """Octets of content, or of this chunk, still to come."""
        self._taken = 0
        self._extensions = 0
        self._skipped = False
        self._line_at = 0
        """Where the line begins that `_diagnose` is at."""
        self._checked = 0
        """Up to where that line was found good."""
        self._in_fields = False
        """Whether `_diagnose` is past the request line."""
        self._fields_from = 0
        self._field_count = 0
        self._known_host: bytes | None = None
        self._known: _Known | None = None
        """What the request before said, if its target was a path and its lines are kept."""
        self._known_block = b""
        """Its field lines."""
        self._refusal: Refused | None = None
        self.in_body = False
        self.preface = False
        self.show_wire = False
        self.wire = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    def receive(self, data: bytes) -> None:
        """Take in octets as they come."""
        kept = self._data
        if not kept:
            # The usual case: whole requests, nothing left over, no copy.
            self._data = data
            return
        shift = self._at
        if type(kept) is bytearray:
            if shift < 65536:
                kept += data
                return
            del kept[:shift]
            kept += data
        else:
            self._data = bytearray(memoryview(kept)[shift:])
            self._data += data
        self._at = 0
        self._seen -= shift
        self._checked -= shift
        self._line_at -= shift
        self._fields_from -= shift

    @property
    def buffered(self) -> int:
        """Octets taken in and not used yet."""
        return len(self._data) - self._at

    @property
    def awaited(self) -> int:
        """Octets of content still to come, as far as is known (of a chunked one: of this chunk)."""
        return self._left if self.in_body else 0

    @property
    def come(self) -> int:
        """Octets of this message's content that have come so far, in chunks or not."""
        return self._taken - self._left + self.buffered

    @property
    def begun(self) -> bool:
        """Whether some of a head has come that is not whole yet."""
        return self._state == AT_HEAD and self.buffered > 0

    @property
    def line_seen(self) -> bool:
        """Whether a request line has come whole, its head not."""
        return self.begun and self._in_fields

    def rest(self) -> bytes:
        """Give up the octets not used yet, for whoever speaks next on the connection."""
        rest = bytes(self._data[self._at :])
        self._used(len(self._data))
        return rest

    def refuse(self, refusal: Refused) -> Refused:
        """Let nothing through any more."""
        self._refusal = refusal
        self._state = STUCK
        self._used(len(self._data))
        self.in_body = False
        return refusal

    # ── heads ─────────────────────────────────────────────────────────────────

    def next_head(self) -> RequestHead | None:
        """The next request head; ``None`` while it has not come whole.

        Raises:
            Refused: It cannot be let through.
        """
        data = self._data
        at = self._at
        if self._state != AT_HEAD:
            if self._refusal is not None:
                raise self._refusal
            return None
        if not data:
            return None
        if data[at] == 13 and not self._skipped:
            # RFC 9112 §2.2: one empty line before a request line is ignored.
            if len(data) - at < 2:
                return None
            if data[at + 1] != 10:
                raise self.refuse(bad_octet(13))
            self._skipped = True
            self._used(at + 2)
            return self.next_head()
        end = data.find(b"\r\n\r\n", self._seen)
        if end < 0:
            self._seen = max(at, len(data) - 3)
            self._diagnose(len(data))
            return None
        end += 4
        if self._known is not None:
            head = self._recognize(data, at, end, self._known)
            if head is not None:
                return head
        match = _HEAD(data, at, end)
        limits = self._limits
        if match is None or match.end() != end:
            self._diagnose(end)
            raise self.refuse(Refused(400, "the head is malformed", "RFC 9112 §2.2"))
        method, target, minor, block = match.groups()
        found = FIELDS(block)
        if len(target) > limits.target or len(block) > limits.head or len(found) > limits.fields:
            self._diagnose(end)
            raise self.refuse(Refused(431, "the head is too large", "RFC 6585 §5"))
        try:
            head = self._judge(method, target, minor, found)
            if self.show_wire:
                # A later minor version is ours (RFC 9110 §2.5); not every parser knows.
                head.raw = b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, head.version, block)
        except Refused as refusal:
            self.refuse(refusal)
            raise
        self._used(end)
        self._skipped = self._in_fields = self.preface = False
        if len(block) <= _KEPT_BLOCK and head.path is target:
            # Copies: what becomes of the head itself is not in our hands.
            self._known = (
                head.version,
                head.headers.copy(),
                head.host,
                head.length,
                head.keep_alive,
                head.expect_continue,
                head.upgrade,
                head.encoded,
            )
            self._known_block = block
        return head

    def _recognize(
        self, data: bytes | bytearray, at: int, end: int, known: _Known
    ) -> RequestHead | None:
        """The head in front, if its field lines are those of the one before.

        Everything but the request line, which is judged by itself, follows from them and
        the version.
        """
        match = _LINE(data, at, end)
        if match is None:
            return None
        line_end = match.end()
        block = self._known_block
        if end - line_end != len(block) + 2 or data[line_end : end - 2] != block:
            return None
        method, target, minor = match.groups()
        version, headers, host, length, keep_alive, expect_continue, upgrade, encoded = known
        if (
            (minor == b"0") is not (version == b"1.0")
            or len(target) > self._limits.target
            or method == b"CONNECT"
        ):
            return None
        head = RequestHead(
            method,
            target,
            version,
            headers.copy(),
            host,
            length,
            keep_alive,
            expect_continue,
            upgrade,
            encoded,
        )
        if self.show_wire:
            head.raw = b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, block)
        self._used(end)
        self._skipped = self._in_fields = False
        if length:
            self._begin_content(length)
        return head

    def _judge(
        self,
        method: bytes,
        target: bytes,
        minor: bytes,
        found: list[tuple[bytes, bytes]],
    ) -> RequestHead:
        """What the fields of a well-formed head say about the message, if they may say it."""
        headers: list[tuple[bytes, bytes]] = []
        host: bytes | None = None
        special: dict[bytes, bytes] | None = None
        for name, value in found:
            name = name.lower()
            value = value.strip(b" \t")
            headers.append((name, value))
            if name == b"host":
                if host is not None:
                    raise Refused(400, "more than one Host", "RFC 9112 §3.2")
                host = value
            elif name in _SPECIAL:
                if special is None:
                    special = {name: value}
                elif name not in special:
                    special[name] = value
                elif name == b"content-length":
                    raise Refused(400, "more than one Content-Length", "RFC 9112 §6.3")
                else:
                    special[name] += b", " + value
        if minor != b"0":
            version = b"1.1"
            if host is None:
                raise Refused(400, "no Host", "RFC 9112 §3.2")
        else:
            version = b"1.0"
        if host is not None and host != self._known_host:
            if is_host(host) is None:
                raise Refused(400, "Host names no host", "RFC 9112 §3.2")
            self._known_host = host
        path = target
        if target[0] != 47 or method == b"CONNECT":
            path, host = other_form(method, target, host)
        head = RequestHead(method, target, version, headers, host, 0, version == b"1.1")
        head.path = path
        if special is not None:
            self._weigh(head, special)
            if head.length:
                if method == b"CONNECT":
                    raise Refused(400, "content in a CONNECT request", "RFC 9110 §9.3.6")
                self._begin_content(head.length)
        return head

    def _begin_content(self, length: int) -> None:
        self.in_body = True
        self.trailers = []
        self._taken = self._extensions = 0
        if length == CHUNKED:
            self._state = AT_CHUNK_LINE
        else:
            self._state = AT_LENGTH
            self._left = self._taken = length

    def _weigh(self, head: RequestHead, special: dict[bytes, bytes]) -> None:
        """Read the fields that say how the message is framed and what comes after it."""
        old = head.version == b"1.0"
        length = special.get(b"content-length")
        coding = special.get(b"transfer-encoding")
        if coding is not None:
            if length is not None:
                raise Refused(400, "Content-Length and Transfer-Encoding", "RFC 9112 §6.3")
            if old:
                raise Refused(400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 §6.1")
            if coding.lower() != b"chunked":
                raise odd_coding(coding)
            head.length = CHUNKED
        elif length is not None:
            if LENGTH(length) is None:
                raise Refused(400, "Content-Length is no length", "RFC 9110 §8.6")
            head.length = int(length)
        connection = special.get(b"connection")
        options: list[bytes] = []
        if connection is not None:
            options = [option.strip(b" \t") for option in connection.lower().split(b",")]
            if b"close" in options:
                head.keep_alive = False
            elif old and b"keep-alive" in options:
                head.keep_alive = True
        upgrade = special.get(b"upgrade")
        if upgrade is not None:
            if head.length:
                offered = {offer.strip(b" \t").lower() for offer in upgrade.split(b",")}
                if not offered <= _HARMLESS_UPGRADES:
                    raise Refused(400, "Upgrade in a request with content", "RFC 9110 §7.8")
            if b"upgrade" in options and not old:
                head.upgrade = upgrade
        encoding = special.get(b"content-encoding")
        if encoding is not None and encoding.lower() not in (b"", b"identity"):
            head.encoded = True
        expect = special.get(b"expect")
        if expect is not None and not old:
            if expect.lower() != b"100-continue":
                raise Refused(417, "an expectation nobody knows", "RFC 9110 §10.1.1")
            head.expect_continue = head.length != 0
        if head.length > self._limits.body:
            raise Refused(413, "the content is too large", "RFC 9110 §15.5.14")

    def _diagnose(self, end: int) -> None:
        """Find the first thing wrong with the head's octets up to `end`, line by line.

        Remembers where it was, so that a head which comes octet by octet is looked at
        once. What comes first in the stream is what is refused, wherever it was cut.
        """
        data = self._data
        limits = self._limits
        while True:
            start = self._line_at
            stop = data.find(b"\n", self._checked, end)
            whole = stop >= 0
            if not whole:
                stop = end
            # A CR at the very end may yet become a line end.
            text_end = stop - 1 if stop > start and data[stop - 1] == 13 else stop
            if self._in_fields:
                room, status = limits.head - (start - self._fields_from), 431
            else:
                room, status = limits.target + _LINE_REST, 414
            bad = _BAD_OCTET(data, self._checked, text_end)
            if bad is not None and bad.start() - start <= room:
                raise self.refuse(bad_octet(data[bad.start()]))
            if text_end - start > room:
                raise self.refuse(too_large(status))
            if not whole:
                self._checked = text_end
                return
            if text_end == stop:
                raise self.refuse(bad_octet(10))
            line = bytes(data[start:text_end])
            if not self._in_fields:
                self._check_request_line(line)
                self._in_fields = True
                self._fields_from = stop + 1
                self._field_count = 0
            elif not line:
                return
            else:
                self._field_count += 1
                if self._field_count > limits.fields or stop + 1 - start > room:
                    raise self.refuse(too_large(431))
                if _FIELD_LINE(line) is None:
                    raise self.refuse(bad_field(line))
            self._line_at = self._checked = stop + 1

    def _check_request_line(self, line: bytes) -> None:
        match = _REQUEST_LINE(line)
        if match is None:
            raise self.refuse(Refused(400, "no request line", "RFC 9112 §3"))
        if len(match[1]) > _LONGEST_METHOD:
            raise self.refuse(Refused(501, "an overlong method", "RFC 9112 §3"))
        if len(match[2]) > self._limits.target:
            raise self.refuse(too_large(414))
        if match[3] != b"1":
            if self.preface and line == b"PRI * HTTP/2.0":
                raise PrefaceSeen
            status = 505 if match[3] > b"1" else 400
            raise self.refuse(Refused(status, "not HTTP/1", "RFC 9112 §2.3"))

    # ── content ───────────────────────────────────────────────────────────────

    def next_body(self) -> bytes | None:
        """The next octets of the content; ``None`` while none have come.

        Empty when only framing was taken (a chunk line, the end); `wire` then holds it.

        Raises:
            Refused: They cannot be let through.
        """
        if self._state == AT_LENGTH:
            at = self._at
            data = self._data
            have = len(data) - at
            if not have:
                return None
            if have >= self._left:
                have = self._left
                self._state = AT_HEAD
                self.in_body = False
            self._left -= have
            if at == 0 and have == len(data) and type(data) is bytes:
                piece = data
            else:
                piece = bytes(data[at : at + have])
            self._used(at + have)
            if self.show_wire:
                self.wire = piece
            return piece
        if self._refusal is not None:
            raise self._refusal
        return self._next_chunk_part() if self.in_body else None

    def _used(self, upto: int) -> None:
        """Octets up to here are done with; nothing is kept when those are all."""
        if upto == len(self._data):
            self._data = b""
            upto = 0
        self._at = self._seen = self._checked = self._line_at = upto

    def _next_chunk_part(self) -> bytes | None:
        data = self._data
        at = self._at
        if self._state == AT_CHUNK:
            have = min(len(data) - at, self._left)
            if not have:
                return None
            self._left -= have
            piece = bytes(data[at : at + have])
            self._used(at + have)
            if not self._left:
                self._state = AT_CHUNK_END
            if self.show_wire:
                self.wire = piece
            return piece
        if self._state == AT_CHUNK_END:
            have = len(data) - at
            if (have and data[at] != 13) or (have > 1 and data[at + 1] != 10):
                raise self.refuse(Refused(400, "a chunk without an end", "RFC 9112 §7.1"))
            if have < 2:
                return None
            self._used(at + 2)
            self._state = AT_CHUNK_LINE
            if self.show_wire:
                self.wire = b"\r\n"
            return b""
        if self._state == AT_CHUNK_LINE:
            return self._read_chunk_line()
        return self._read_trailers()

    def _read_chunk_line(self) -> bytes | None:
        data = self._data
        at = self._at
        limits = self._limits
        stop = data.find(b"\r\n", self._seen, at + limits.chunk_line)
        if stop < 0:
            upto = min(len(data), at + limits.chunk_line)
            bad = _BAD_OCTET(data, self._seen, upto)
            if bad is not None and not (data[bad.start()] == 13 and bad.start() == len(data) - 1):
                raise self.refuse(bad_chunk_line())
            if len(data) - at >= limits.chunk_line:
                raise self.refuse(bad_chunk_line())
            self._seen = max(at, upto - 1)
            return None
        match = _CHUNK_LINE(data, at, stop)
        if match is None:
            raise self.refuse(bad_chunk_line())
        size = int(match[1], 16)
        extensions = match.end() - match.end(1)
        if extensions:
            self._extensions += extensions
            if extensions > limits.chunk_extension or self._extensions > limits.chunk_extensions:
                raise self.refuse(Refused(400, "overlong chunk extensions", "RFC 9112 §7.1.1"))
        self._taken += size
        if self._taken > limits.body:
            raise self.refuse(Refused(413, "the content is too large", "RFC 9110 §15.5.14"))
        self._used(stop + 2)
        if self.show_wire:
            self.wire = b"%x\r\n" % size
        if size:
            self._state = AT_CHUNK
            self._left = size
        else:
            self._state = AT_TRAILERS
            self._in_fields = True
            self._fields_from = self._at
            self._field_count = 0
        return b""

    def _read_trailers(self) -> bytes | None:
        data = self._data
        at = self._at
        if data.startswith(b"\r\n", at):
            end = at + 2
        else:
            self._diagnose(len(data))
            # The empty line is where `_diagnose` stopped, if it came.
            if not data.startswith(b"\r\n", self._line_at):
                return None
            end = self._line_at + 2
            for name, value in FIELDS(bytes(data[at : self._line_at])):
                name = name.lower()
                if name in _NOT_IN_TRAILERS:
                    raise self.refuse(
                        Refused(400, "a trailer that would change the framing", "RFC 9110 §6.5.1")
                    )
                self.trailers.append((name, value.strip(b" \t")))
        if self.show_wire:
            self.wire = bytes(data[at:end])
        self._used(end)
        self._in_fields = False
        self._state = AT_HEAD
        self.in_body = False
        return b""
