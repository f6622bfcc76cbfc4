"""Replies of a server, read: octets to `Reply`, and what some replies say inside their text.

`ReplyReader` takes octets cut anywhere and gives whole replies, of one line or of many. Lines
end in CRLF and in nothing else: a server that repeats a file's name in its text would let
whoever named the file write replies, were a bare line feed taken for an end. Text is UTF-8 (RFC
2640 §2.2); octets that are none are kept as surrogates, so that a name can be sent back as it
came.

Sources: RFC 959 §4.2 (replies), RFC 854 (IAC is doubled), RFC 2428 §3 (229), RFC 959 §5.4 (227,
257), RFC 3659 §4 (sizes), RFC 2389 §3 (FEAT).
Not here: what is asked, and in which order (``client_engine.py``); times and listings
(``listing.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sennit.core.engine import SOLE
from sennit.core.errors import ProtocolError
from sennit.core.framing.line import LineDecoder
from sennit.ftp.errors import (
    FTPPermanentError,
    FTPProtocolError,
    FTPReplyError,
    FTPTransientError,
)
from sennit.ftp.limits import ClientLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Reply",
    "ReplyReader",
    "features_of",
    "hash_of",
    "name_is_safe",
    "passive_port",
    "quoted_path",
    "refusal",
    "size_of",
]

_LINE: Final = re.compile(rb"([1-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_STRAY: Final = re.compile(rb"[\r\n\x00]")
_EXTENDED: Final = re.compile(r"\(([!-~])\1\1([0-9]{1,5})\1\)")
_SIX: Final = re.compile(r"(?<![0-9])" + r",".join([r"([0-9]{1,3})"] * 6) + r"(?![0-9])")
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_HEX: Final = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){4,64}(?![0-9A-Fa-f])", re.ASCII)


@dataclass(slots=True)
class Reply:
    """What the server said to one command.

    Attributes:
        code: 100 to 599.
        lines: Its text by lines, without codes; one line at least.
        exchange: There is one at a time.
    """

    code: int
    lines: tuple[str, ...]
    exchange: int = SOLE

    @property
    def text(self) -> str:
        """All lines, for people."""
        return " / ".join(line.strip() for line in self.lines)


class ReplyReader:
    """Octets in, replies out.

    Args:
        limits: How long lines may be, and how many a reply may have.
    """

    __slots__ = ("_code", "_lines", "_max_line", "_max_lines", "_received")

    def __init__(self, limits: ClientLimits | None = None) -> None:
        limits = limits or ClientLimits()
        self._max_line = limits.max_line
        self._max_lines = limits.max_reply_lines
        self._received = LineDecoder(max_line=limits.max_line - len(b"\r\n"), forbidden=b"")
        self._code: bytes | None = None  # of the reply of many lines that has begun
        self._lines: list[str] = []

    def receive(self, data: bytes) -> None:
        """Take octets, cut anywhere."""
        self._received.receive_data(data)

    @property
    def inside(self) -> bool:
        """Whether a reply has begun that has not ended."""
        return bool(self._code or self._received.waiting)

    def release(self) -> bytes:
        """Give back what was not read."""
        return self._received.release()

    def next_reply(self) -> Reply | None:
        """The next whole reply, or ``None`` until more has come.

        Raises:
            FTPProtocolError: A line or a reply is too long, or is none.
        """
        while (line := self._next_line()) is not None:
            match = _LINE.fullmatch(line)
            if self._code is None:
                if match is None:
                    raise FTPProtocolError(f"not a reply: {line[:64]!r}", "RFC 959 §4.2")
                if match[2] != b"-":
                    return Reply(int(match[1]), (_decode(match[3] or b""),))
                self._code = match[1]
                self._lines = [_decode(match[3])]
                continue
            if len(self._lines) >= self._max_lines:
                raise FTPProtocolError(
                    f"a reply of more than {self._max_lines} lines", "limit:max_reply_lines"
                )
            if match is None or match[1] != self._code:
                # The lines between are the server's to write (RFC 959 §4.2).
                self._lines.append(_decode(line))
                continue
            self._lines.append(_decode(match[3] or b""))
            if match[2] != b"-":
                reply = Reply(int(self._code), tuple(self._lines))
                self._code = None
                self._lines = []
                return reply
        return None

    def _next_line(self) -> bytes | None:
        try:
            line = self._received.next_line()
        except ProtocolError as error:
            raise FTPProtocolError(
                f"a line of more than {self._max_line} octets", "limit:max_line"
            ) from error
        if line is not None and _STRAY.search(line) is not None:
            raise FTPProtocolError(
                f"CR, LF or NUL inside a line: {line[:64]!r}", "RFC 959 §4.2: lines end in CRLF"
            )
        return line


def _decode(text: bytes) -> str:
    if b"\xff\xff" in text:
        text = text.replace(b"\xff\xff", b"\xff")
    return text.decode("utf-8", "surrogateescape")


def refusal(reply: Reply, command: str = "") -> FTPReplyError:
    """The error that a reply is.

    Args:
        reply: Its code tells the class.
        command: The word that was answered.
    """
    shown = [
        line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for line in reply.lines
    ]
    if reply.code >= 500:
        return FTPPermanentError(reply.code, shown, command)
    if reply.code >= 400:
        return FTPTransientError(reply.code, shown, command)
    return FTPReplyError(reply.code, shown, command)


# ── what stands inside ────────────────────────────────────────────────────────


def passive_port(reply: Reply) -> int:
    """The port of a reply to EPSV (229) or PASV (227).

    The address that a 227 names is left out: whom to connect to is known, and a server that
    names somebody else would have us connect to whom it likes (CVE-2020-8284, CVE-2021-4189).

    Raises:
        FTPProtocolError: There is none.
    """
    for line in reply.lines:
        if reply.code == 229:
            match = _EXTENDED.search(line)
            port = int(match[2]) if match else 0
        else:
            match = _SIX.search(line)
            numbers = [int(each) for each in match.groups()] if match else [256]
            port = numbers[4] << 8 | numbers[5] if max(numbers) < 256 else 0
        if 0 < port < 65536:
            return port
    raise FTPProtocolError(f"no port in {reply.text[:80]!r}", "RFC 2428 §3, RFC 959 §5.4")


def quoted_path(reply: Reply) -> str:
    """The path of a 257: between double quotes, those inside doubled (RFC 959, appendix II).

    Raises:
        FTPProtocolError: There is none.
    """
    line = reply.lines[0]
    begin = line.find('"')
    at = begin + 1
    while begin >= 0:
        end = line.find('"', at)
        if end < 0:
            break
        if line[end + 1 : end + 2] != '"':
            return line[begin + 1 : end].replace('""', '"')
        at = end + 2
    raise FTPProtocolError(f"no path in {reply.text[:80]!r}", "RFC 959, appendix II")


def size_of(reply: Reply) -> int:
    """The number of a 213 to SIZE (RFC 3659 §4).

    Raises:
        FTPProtocolError: There is none.
    """
    text = reply.lines[-1].strip(" ")
    if _NUMBER.fullmatch(text) is None:
        raise FTPProtocolError(f"no size: {text[:80]!r}", "RFC 3659 §4")
    return int(text)


def hash_of(reply: Reply, digits: int) -> str:
    """The hexadecimal digits of a reply to HASH or XSHA256, in lower case.

    Args:
        reply: It may tell a range of octets and a name, too.
        digits: How many the hash has.

    Raises:
        FTPProtocolError: There are none.
    """
    for line in reply.lines:
        for match in _HEX.finditer(line):
            if len(match[0]) == digits:
                return match[0].lower()
    raise FTPProtocolError(f"no hash in {reply.text[:80]!r}", "HASH")


def name_is_safe(name: str) -> bool:
    """Whether a name that a server gave is one name, and leads nowhere else."""
    return name not in ("", ".", "..") and not (
        "/" in name or "\0" in name or "\r" in name or "\n" in name  # for each of a listing
    )


def features_of(lines: Sequence[str]) -> dict[str, str]:
    """What a server says it can do beyond RFC 959: the lines of a 211 to FEAT (RFC 2389 §3.2).

    Returns:
        Their words in capitals, and what stands behind each.
    """
    found: dict[str, str] = {}
    for line in lines[1:-1]:
        word, _, more = line.strip(" ").partition(" ")
        if word:
            found[word.upper()] = more.strip(" ")
    return found
