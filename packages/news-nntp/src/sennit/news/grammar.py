"""Lines, blocks, ranges and dates of NNTP, both ways: stateless, save for one decoder.

A command is a line of words (`parse_command`, `command_line`), a response a line that begins with
a code of three digits (`parse_response`, `response_line`). Some responses, and articles that come
in, are blocks of lines: a line that begins with a dot has it doubled, a line of one dot ends the
block (`stuff`, `unstuff`, `BlockDecoder`). Only CRLF ends a line here: a bare LF or CR is an octet
of the line in which it stands, so that nobody can end a block where its other reader goes on.

Sources: RFC 3977 §3.1 (commands, responses, blocks), §3.6 (Message-IDs), §6 (numbers), §7.3.2
(dates), §9 (grammar). Not here: wildmats (``wildmat.py``), what an article is (``article.py``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from sennit.core.framing.line import LineDecoder
from sennit.news.errors import NNTPProtocolError, NNTPUsageError

__all__ = [
    "BLOCK_CODES",
    "BLOCK_END",
    "MAX_COMMAND",
    "MAX_MESSAGE_ID",
    "MAX_NUMBER",
    "MAX_RESPONSE",
    "BlockDecoder",
    "Received",
    "command_line",
    "date_text",
    "group_name",
    "has_block",
    "is_field_name",
    "is_message_id",
    "parse_command",
    "parse_date",
    "parse_number",
    "parse_range",
    "parse_response",
    "response_line",
    "stuff",
    "unstuff",
]

MAX_COMMAND: Final = 512
"""Octets of a command, CRLF included (RFC 3977 §3.1)."""
MAX_RESPONSE: Final = 512
"""Octets of the first line of a response, CRLF included (RFC 3977 §3.1)."""
MAX_MESSAGE_ID: Final = 250
"""Octets of a Message-ID, angle brackets included (RFC 3977 §3.6, RFC 5536 §3.1.3)."""
MAX_NUMBER: Final = 2_147_483_647
"""The highest number an article may have (RFC 3977 §6)."""
BLOCK_END: Final = b".\r\n"
"""What stands behind the last line of a block (RFC 3977 §3.1.1)."""
BLOCK_CODES: Final = frozenset({100, 101, 215, 220, 221, 222, 224, 225, 230, 231, 282})
"""Codes behind which a block follows, whatever was asked (RFC 3977 Appendix C; 282 of XGTITLE)."""

_TERMINATOR: Final = b"\r\n.\r\n"
_MESSAGE_ID: Final = re.compile(rb"<[\x21-\x3d\x3f-\x7e]{1,%d}>" % (MAX_MESSAGE_ID - 2))
_GROUP: Final = re.compile(rb"[^\x00-\x20*,?\[\\\]\x7f]+")
_FIELD: Final = re.compile(rb"[\x21-\x39\x3b-\x7e]+")
# To the blank behind it, of those that `bytes.split` knows.
_WORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9.-]{2,}(?!\S)")
_COMMAND: Final = re.compile(_WORD.pattern + rb"[^\x00\r\n]*")
_DOTTED: Final = re.compile(rb"\r\n\.")
_BARE: Final = re.compile(rb"[\x00\r\n]")
_RANGE: Final = re.compile(rb"([0-9]{1,18})(?:(-)([0-9]{1,18})?)?")


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


# ── commands and responses ────────────────────────────────────────────────────


def parse_command(line: bytes) -> tuple[bytes, list[bytes]]:
    """Take a command apart, into its first word in capitals and those behind it.

    Args:
        line: Without its CRLF.

    Raises:
        NNTPProtocolError: It has NUL, CR or LF, or begins with what is no word.
    """
    if _COMMAND.fullmatch(line):
        words = line.split()
        return words[0].upper(), words[1:]
    # At the very beginning: who reads a command may go by its first letter.
    if not _WORD.match(line):
        raise NNTPProtocolError(f"not a command: {line[:64]!r}", "RFC 3977 §9.2")
    raise NNTPProtocolError(f"NUL, CR or LF within a command: {line[:64]!r}", "RFC 3977 §3.1")


def command_line(word: str | bytes, *arguments: str | bytes) -> bytes:
    """Make a command, CRLF included.

    Raises:
        NNTPUsageError: An argument is empty or more than one word, or the line is too long.
    """
    words = [_octets(word), *map(_octets, arguments)]
    for each in words:
        # Else an argument could pass for further commands.
        if not each or each.split() != [each] or b"\0" in each:
            raise NNTPUsageError(f"not one word: {each[:64]!r}")
    line = b" ".join(words) + b"\r\n"
    if len(line) > MAX_COMMAND:
        raise NNTPUsageError(f"a command of {len(line)} octets; {MAX_COMMAND} is the most")
    return line


def parse_response(line: bytes) -> tuple[int, bytes]:
    """Take the first line of a response apart, into its code and what stands behind it.

    Raises:
        NNTPProtocolError: It does not begin with a code (RFC 3977 §3.2).
    """
    code = line[:3]
    if len(code) < 3 or not code.isdigit() or not b"1" <= code[:1] <= b"5" or line[3:4].strip():
        raise NNTPProtocolError(f"not a response: {line[:64]!r}", "RFC 3977 §3.2")
    return int(code), line[4:]


def response_line(code: int, text: str | bytes = b"") -> bytes:
    """Make the first line of a response, CRLF included; a text too long is cut.

    Raises:
        NNTPUsageError: The text is more than one line.
    """
    octets = text if type(text) is bytes else _octets(text)
    if _BARE.search(octets):
        # Else a text could pass for further responses.
        raise NNTPUsageError(f"a response's text is not one line: {octets[:64]!r}")
    return b"%d %b\r\n" % (code, octets[: MAX_RESPONSE - 6])


def has_block(code: int, word: str | bytes) -> bool:
    """Tell whether a block follows a response to a command.

    211 is the one code for which it depends on the command (RFC 3977 §6.1.2).
    """
    return code in BLOCK_CODES or (code == 211 and _octets(word).upper() == b"LISTGROUP")


# ── blocks ────────────────────────────────────────────────────────────────────


def stuff(octets: bytes) -> bytes:
    """Double the dots that begin lines; the end of the block (`BLOCK_END`) is not added.

    Args:
        octets: Whole lines, the last one with its CRLF too.
    """
    # Nearly no article has one: a search costs a tenth of a replacement, and this one two thirds of
    # what `in` does.
    if _DOTTED.search(octets):
        octets = octets.replace(b"\r\n.", b"\r\n..")
    return b"." + octets if octets[:1] == b"." else octets


def unstuff(octets: bytes) -> bytes:
    """Undo `stuff`, for lines without the end of their block."""
    if b"\r\n." in octets:
        octets = octets.replace(b"\r\n.", b"\r\n")
    return octets[1:] if octets[:1] == b"." else octets


class BlockDecoder:
    """Gives the lines of a block as they come, dots undone, until it ends.

    Attributes:
        ended: Whether the end of the block has come.
        behind: Where, in what was given last, that begins which is behind the block's end.
    """

    __slots__ = ("_held", "_skip", "behind", "ended")

    def __init__(self) -> None:
        # As if a line end stood before the block: then its first line is like every other.
        self._held = b"\r\n"
        self._skip = 2
        self.ended = False
        self.behind = 0

    def receive(self, data: bytes, start: int = 0) -> bytes:
        """Take octets of the peer, cut anywhere, and give what of the block is certain.

        Args:
            data: Octets from the connection.
            start: Where in them those of the block begin.
        """
        if self.ended:
            self.behind = start
            return b""
        held = len(self._held)
        octets = self._held + (data[start:] if start else data)
        end = octets.find(_TERMINATOR)
        if end >= 0:
            self.ended = True
            self.behind = start + end + len(_TERMINATOR) - held
            certain, self._held = octets[: end + 2], b""
        else:
            self.behind = len(data)
            # The end of a block may have begun; nothing else is kept back.
            cut = len(octets)
            for length in (4, 3, 2, 1):
                if octets.endswith(_TERMINATOR[:length]):
                    cut -= length
                    break
            certain, self._held = octets[:cut], octets[cut:]
        if b"\r\n." in certain:
            certain = certain.replace(b"\r\n.", b"\r\n")
        if self._skip and certain:
            certain = certain[self._skip :]
            self._skip = 0
        return certain


class Received(LineDecoder):
    """Octets of a connection that were not read: lines, and blocks."""

    __slots__ = ()

    def whole_block(self) -> bytes | None:
        """Take a block that begins here and has come whole, dots undone."""
        data, start = self._data, self._start
        if data.startswith(BLOCK_END, start):
            self._cut(start, start + 3)
            return b""
        end = data.find(_TERMINATOR, start)
        return None if end < 0 else unstuff(self._cut(end + 2, end + 5))


# ── arguments ─────────────────────────────────────────────────────────────────


def is_message_id(octets: bytes) -> bool:
    """Tell whether that is a Message-ID (RFC 3977 §3.6)."""
    return _MESSAGE_ID.fullmatch(octets) is not None


def group_name(octets: bytes) -> str | None:
    """Give the name of a newsgroup, or None when that cannot be one (RFC 3977 §9.8)."""
    if not _GROUP.fullmatch(octets):
        return None
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def is_field_name(octets: bytes) -> bool:
    """Tell whether that is the name of a header field, or of metadata with its colon."""
    return _FIELD.fullmatch(octets.removeprefix(b":")) is not None


def parse_number(octets: bytes) -> int:
    """Read an article's number.

    Raises:
        NNTPProtocolError: It is none: not ASCII digits alone, or more than eighteen.
    """
    if not octets.isdigit() or len(octets) > 18:
        raise NNTPProtocolError(f"not a number: {octets[:64]!r}", "RFC 3977 §9.8")
    return int(octets)


def parse_range(octets: bytes) -> tuple[int, int]:
    """Read ``5``, ``5-`` or ``5-9``: both ends included; an empty one has its ends swapped.

    Raises:
        NNTPProtocolError: It is none, or goes beyond the highest number (RFC 3977 §6).
    """
    found = _RANGE.fullmatch(octets)
    if found is None:
        raise NNTPProtocolError(f"not a range: {octets[:64]!r}", "RFC 3977 §9.8")
    low = int(found[1])
    high = int(found[3]) if found[3] else MAX_NUMBER if found[2] else low
    if low > MAX_NUMBER or high > MAX_NUMBER:
        raise NNTPProtocolError(f"beyond {MAX_NUMBER}: {octets[:64]!r}", "RFC 3977 §6")
    return low, high


def parse_date(date: bytes, time: bytes, now: float) -> float:
    """Read the date and time of NEWGROUPS and NEWNEWS (RFC 3977 §7.3.2), as POSIX seconds.

    They are taken as UTC, with or without the word GMT: that is the zone of this server.

    Args:
        date: ``yyyymmdd`` or ``yymmdd``.
        time: ``hhmmss``.
        now: The year in which two digits stand for one that is not to come.

    Raises:
        NNTPProtocolError: There is no such day or time.
    """
    if not (date.isdigit() and time.isdigit() and len(date) in (6, 8) and len(time) == 6):
        raise NNTPProtocolError(f"not a date: {date[:16]!r} {time[:16]!r}", "RFC 3977 §7.3.2")
    year = int(date[:-4])
    if len(date) == 6:
        this = _EPOCH + timedelta(seconds=now)
        year += this.year - this.year % 100
        if year > this.year:
            year -= 100
    try:
        # A leap second is the first one of the next minute.
        day = datetime(year, int(date[-4:-2]), int(date[-2:]), tzinfo=UTC)
        second = int(time[4:])
        if second > 60:
            raise ValueError("a minute has 60 seconds, sometimes 61")
        moment = day.replace(hour=int(time[:2]), minute=int(time[2:4]))
    except ValueError as error:
        raise NNTPProtocolError(
            f"not a date: {date[:16]!r} {time[:16]!r}", "RFC 3977 §7.3.2"
        ) from error
    return (moment - _EPOCH).total_seconds() + second


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def date_text(now: float) -> bytes:
    """Write a time as the answer to DATE has it, ``yyyymmddhhmmss`` in UTC (RFC 3977 §7.1)."""
    moment = _EPOCH + timedelta(seconds=now)
    return b"%04d%02d%02d%02d%02d%02d" % moment.timetuple()[:6]
