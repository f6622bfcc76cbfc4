"""Netnews articles read: what is one, and what its fields say; no I/O, no clock.

An article comes as the octets that were on the wire, dots not doubled. `parse` says why it is none
(`ArticleError`), or gives a `ParsedArticle`: where its body begins, its fields in their order, and
the fields that decide where it goes. Nothing is changed: what comes out of a store is octet for
octet what went in, MIME and 8-bit text included.

Sources: RFC 5536 §2.2 (fields, their lines), §3.1 (mandatory fields), §3.2 (others, each at most
once); RFC 3977 §3.6 (Message-IDs of at most 250 octets), §4.1 (names of groups); RFC 5322 §3.3 and
§4.3 (dates, obsolete zones included, as they are in old articles).
Not here: what an injecting agent adds and what a relaying one does to Path (``injection.py``);
what is wanted at all (``intake.py``); the overview (``overview.py``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from sennit.news.errors import ArticleError
from sennit.news.grammar import MAX_MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_ARTICLE",
    "MAX_FIELDS",
    "MAX_HEAD",
    "MAX_HEADER_LINE",
    "ParsedArticle",
    "format_date",
    "is_group_name",
    "is_message_id",
    "parse",
    "parse_date",
    "parse_groups",
    "parse_path",
]

MAX_ARTICLE: Final = 1 << 20
"""Octets of one article, unless the caller allows others."""
MAX_HEADER_LINE: Final = 998
"""Octets of one line of the head, its CRLF not counted (RFC 5536 §2.2)."""
MAX_HEAD: Final = 64 * 1024
"""Octets of one head: reading it takes the longer the more lines it has."""
MAX_FIELDS: Final = 1000
"""Fields of one head."""
MAX_GROUP_NAME: Final = 497
"""Octets of a group's name: with a command before it, it has to fit into a line of NNTP."""

_ATEXT: Final = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
# mdtext has no `>`, `[`, `]` or backslash (RFC 5536 §3.1.3), which is what makes `>` end it.
_MESSAGE_ID: Final = re.compile(
    rb"<%b(?:\.%b)*@(?:%b(?:\.%b)*|\[[!-=?-Z^-~]*\])>" % (_ATEXT, _ATEXT, _ATEXT, _ATEXT)
)
# A name in the head: printable, no colon (RFC 5322 §3.6.8); then the colon.
_NAME: Final = re.compile(rb"([!-9;-~]+):")
# A whole field of a head without faults; lines that are empty or blank are none of it.
_FIELD: Final = re.compile(rb"([!-9;-~]+):(?:[ \t][^\r\n]*)?\r\n(?:[ \t]+[^ \t\r\n][^\r\n]*\r\n)*")
# What RFC 3977 §4.1 leaves to names of groups (no comma, star, question mark, brackets, backslash,
# exclamation mark), in components that are not empty. More than RFC 5536 §3.1.4 has: who relays
# does not refuse what others posted to groups in other letters.
_GROUP: Final = re.compile(r"[^\x00- !*,.?\[\]\\\x7f]+(?:\.[^\x00- !*,.?\[\]\\\x7f]+)*")
_PATH: Final = re.compile(rb"[!-+\--~]+")
_WSP: Final = (b" ", b"\t")
_BLANKS: Final = re.compile(rb"\r\n(?=[ \t])")
_DATE: Final = re.compile(
    rb"[ \t]*(?:[A-Za-z]{3},?[ \t]+)?(\d{1,2})[ \t]+([A-Za-z]{3})[ \t]+(\d{2,4})[ \t]+"
    rb"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:[ \t]+([+-]\d{4}|[A-Za-z]{1,5}))?[ \t]*(?:\(.*)?",
    re.DOTALL,
)
_DAYS: Final = b"Mon Tue Wed Thu Fri Sat Sun".split()
_NAMES_OF_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTHS: Final = {name.lower(): number for number, name in enumerate(_NAMES_OF_MONTHS, start=1)}
_ZONES: Final = {
    b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6,
    b"MDT": -6, b"MST": -7, b"PDT": -7, b"PST": -8,
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ONCE: Final = frozenset(
    b"approved archive also-control content-transfer-encoding content-type control date "
    b"distribution expires followup-to from injection-date injection-info lines message-id "
    b"mime-version newsgroups nntp-posting-date nntp-posting-host organization path references "
    b"reply-to sender subject summary supersedes user-agent xref".split()
)
"""Fields of which there is one at most (RFC 5536 §3, RFC 5322 §3.6), in small letters."""
_MANDATORY: Final = (b"from", b"newsgroups", b"subject")
"""Without these nothing is an article, not even a proto-article (RFC 5537 §3.4.1)."""
_MANDATORY_LATER: Final = (b"date", b"message-id", b"path")
"""These an injecting agent adds where they are missing."""


class ParsedArticle:
    """An article whose fields are known.

    Attributes:
        octets: The whole, dots not doubled.
        body_at: Where the body begins.
        fields: (name in small letters, whole field with its CRLFs), in their order: joined they
            are the head.
        message_id: With its brackets; empty in a proto-article that has none.
        groups: What Newsgroups names, each once, in its order.
        date: What Date says, in POSIX seconds; ``None`` in a proto-article without one.
    """

    __slots__ = (
        "_by_name",
        "_contents",
        "body_at",
        "date",
        "fields",
        "groups",
        "message_id",
        "octets",
    )

    def __init__(
        self,
        octets: bytes,
        body_at: int,
        fields: Sequence[tuple[bytes, bytes]],
        by_name: dict[bytes, bytes],
    ) -> None:
        self.octets = octets
        self.body_at = body_at
        self.fields = fields
        self._by_name = by_name
        self._contents: dict[bytes, bytes] = {}
        self.message_id = b""
        self.groups: tuple[str, ...] = ()
        self.date: float | None = None

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name

    def content(self, name: bytes) -> bytes | None:
        """Give the content of a field, unfolded, without blanks around it.

        Args:
            name: In small letters. Of several fields of that name the first counts.
        """
        found = self._contents.get(name)
        if found is not None:
            return found
        whole = self._by_name.get(name)
        if whole is None:
            return None
        content = whole[len(name) + 1 : -2]
        # Unfolding takes the line ends away and leaves the blanks (RFC 5322 §2.2.3).
        found = (_BLANKS.sub(b"", content) if b"\r\n" in content else content).strip(b" \t")
        self._contents[name] = found
        return found

    @property
    def lines(self) -> int:
        """Lines of the body."""
        return self.octets.count(b"\n", self.body_at)

    def with_fields(self, fields: Sequence[tuple[bytes, bytes]]) -> ParsedArticle:
        """Give the article with another head; what decides where it goes is read anew."""
        by_name: dict[bytes, bytes] = {}
        for name, whole in fields:
            by_name.setdefault(name, whole)
        head = b"".join([whole for _, whole in fields])
        other = ParsedArticle(
            b"".join((head, b"\r\n", memoryview(self.octets)[self.body_at :])),
            len(head) + 2,
            fields,
            by_name,
        )
        other.groups = self.groups
        # What has stayed need not be read again.
        if by_name.get(b"message-id") is self._by_name.get(b"message-id"):
            other.message_id = self.message_id
        else:
            other.message_id = other.content(b"message-id") or b""
        if by_name.get(b"date") is self._by_name.get(b"date"):
            other.date = self.date
        else:
            date = other.content(b"date")
            other.date = None if date is None else parse_date(date)
        return other


def parse(octets: bytes, *, max_size: int = MAX_ARTICLE, proto: bool = False) -> ParsedArticle:
    """Read an article.

    Args:
        octets: The whole, dots not doubled.
        max_size: Octets that it may have.
        proto: It is a proto-article (RFC 5537 §3.4.1), to which an injecting agent may add
            Message-ID, Date and Path.

    Raises:
        ArticleError: It is none; the reason says why.
    """
    if len(octets) > max_size:
        raise ArticleError(f"article of more than {max_size} octets")
    if b"\0" in octets:
        raise ArticleError("NUL in article")
    ends = octets.count(b"\r\n")
    if octets.count(b"\r") != ends or octets.count(b"\n") != ends:
        raise ArticleError("bare CR or LF in article")
    head_end = octets.find(b"\r\n\r\n")
    if head_end < 0:
        raise ArticleError("no empty line, so no body")
    if head_end > MAX_HEAD:
        raise ArticleError(f"head of more than {MAX_HEAD} octets")
    if not octets.endswith(b"\r\n"):
        raise ArticleError("last line has no end")
    article = ParsedArticle(octets, head_end + 4, *_read_head(octets[: head_end + 2]))
    _read_fields(article, proto=proto)
    return article


def _read_head(head: bytes) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """Read the lines before the empty one, the last one's CRLF with them."""
    fields: list[tuple[bytes, bytes]] = []
    by_name: dict[bytes, bytes] = {}
    if len(head) <= MAX_HEADER_LINE or max(map(len, head.split(b"\r\n"))) <= MAX_HEADER_LINE:
        # Fields at a time, not lines: half the work.
        at = 0
        for match in _FIELD.finditer(head):
            if match.start() != at:
                break
            at = match.end()
            _note(match[1].lower(), match[0], fields, by_name)
        if at == len(head):
            return fields, by_name
    return _read_lines(head)


def _read_lines(head: bytes) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """The same, line by line: it says what is wrong, and where."""
    fields: list[tuple[bytes, bytes]] = []
    by_name: dict[bytes, bytes] = {}
    name = b""
    at = began = 0  # this line, and the field whose lines are being read
    for number, line in enumerate(head.split(b"\r\n"), start=1):
        if len(line) > MAX_HEADER_LINE:
            raise ArticleError(f"line of more than {MAX_HEADER_LINE} octets in head")
        if line[:1] in _WSP:
            if not name:
                raise ArticleError("head begins with a continued line")
            if not line.strip(b" \t"):
                raise ArticleError(f"blank line within {_told(name)}")
        else:
            if name:
                _note(name, head[began:at], fields, by_name)
            if not line:
                break  # behind the last CRLF
            match = _NAME.match(line)
            if match is None:
                raise ArticleError(f"no field in line {number} of head")
            if line[match.end() : match.end() + 1] not in (b" ", b"\t", b""):
                # The blank is not left to taste in netnews (RFC 5536 §2.2).
                raise ArticleError(f"no blank behind {_told(match[1])}:")
            name, began = match[1].lower(), at
        at += len(line) + 2
    return fields, by_name


def _note(
    name: bytes, whole: bytes, fields: list[tuple[bytes, bytes]], by_name: dict[bytes, bytes]
) -> None:
    fields.append((name, whole))
    if name not in by_name:
        by_name[name] = whole
    elif name in _ONCE:
        raise ArticleError(f"more than one {_told(name)}")
    if len(fields) > MAX_FIELDS:
        raise ArticleError(f"more than {MAX_FIELDS} fields in head")


def _read_fields(article: ParsedArticle, *, proto: bool) -> None:
    for name in _MANDATORY if proto else _MANDATORY + _MANDATORY_LATER:
        if name not in article:
            raise ArticleError(f"no {_told(name)}")
    for name in _MANDATORY + _MANDATORY_LATER:
        if article.content(name) == b"":
            raise ArticleError(f"empty {_told(name)}")
    message_id = article.content(b"message-id")
    if message_id is not None:
        if not is_message_id(message_id):
            raise ArticleError("no Message-ID in Message-ID")
        article.message_id = message_id
    date = article.content(b"date")
    if date is not None:
        article.date = parse_date(date)
        if article.date is None:
            raise ArticleError("no date in Date")
    path = article.content(b"path")
    if path is not None and not parse_path(path):
        raise ArticleError("no path in Path")
    article.groups = parse_groups(article.content(b"newsgroups") or b"")
    if b"control" in article and b"supersedes" in article:
        raise ArticleError("Control and Supersedes in one article")  # RFC 5536 §3.2.3
    superseded = article.content(b"supersedes")
    if superseded is not None and not is_message_id(superseded):
        raise ArticleError("no Message-ID in Supersedes")


def _told(name: bytes) -> str:
    """A field's name as it is told to people."""
    text = "-".join(word.capitalize() for word in name[:64].decode("ascii", "replace").split("-"))
    return text.removesuffix("Id") + "ID" if text == "Message-Id" else text


def is_message_id(octets: bytes) -> bool:
    """Say whether octets are a Message-ID, brackets included (RFC 5536 §3.1.3)."""
    return len(octets) <= MAX_MESSAGE_ID and _MESSAGE_ID.fullmatch(octets) is not None


def is_group_name(name: str) -> bool:
    """Say whether a group may have this name."""
    return (
        _GROUP.fullmatch(name) is not None
        and len(name.encode("utf-8", "surrogatepass")) <= MAX_GROUP_NAME
    )


def parse_groups(content: bytes) -> tuple[str, ...]:
    """Read the content of Newsgroups: each group once, in order (RFC 5536 §3.1.4).

    Raises:
        ArticleError: It is no list of groups.
    """
    try:
        names = [name.strip(" \t") for name in content.decode("utf-8").split(",")]
    except UnicodeDecodeError:
        raise ArticleError("Newsgroups is not UTF-8") from None
    for name in names:
        if not is_group_name(name):
            raise ArticleError("no names of groups in Newsgroups")
    return tuple(dict.fromkeys(names))


def parse_path(content: bytes) -> list[bytes]:
    """Read the content of Path: its entries, this side first; empty when it is none.

    Blanks may stand around the exclamation marks (RFC 5536 §3.1.5); of ``a!!b`` the empty entry
    between them, which says that `b` was verified, is given too.
    """
    joined = b"".join(content.split())
    return joined.split(b"!") if _PATH.fullmatch(joined) else []


def format_date(moment: float) -> bytes:
    """Write a date as Date and Injection-Date have it (RFC 5322 §3.3), in UTC."""
    when = _EPOCH + timedelta(seconds=int(moment))
    # Not by strftime, whose words are those of the user's language.
    return b"%b, %02d %b %04d %02d:%02d:%02d +0000" % (
        _DAYS[when.weekday()],
        when.day,
        _NAMES_OF_MONTHS[when.month - 1],
        when.year,
        when.hour,
        when.minute,
        when.second,
    )


def parse_date(content: bytes) -> float | None:
    """Read a date (RFC 5322 §3.3, §4.3): POSIX seconds, or ``None`` when it is none."""
    match = _DATE.fullmatch(content)
    if match is None:
        return None
    day, month, year, hour, minute, second, zone = match.groups()
    number = int(year)
    if len(year) < 4:  # RFC 5322 §4.3: 00–49 are of this century, others count from 1900
        number += 2000 if len(year) == 2 and number < 50 else 1900
    offset = 0
    if zone and zone[:1] in b"+-":
        offset = (int(zone[1:3]) * 60 + int(zone[3:])) * (-1 if zone[:1] == b"-" else 1)
    elif zone:
        offset = 60 * _ZONES.get(zone.upper(), 0)
    try:
        moment = datetime(
            number,
            _MONTHS.get(month.lower(), 0),
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59),  # a leap second is told as the one before it
            tzinfo=timezone(timedelta(minutes=offset)),
        )
        # Not `timestamp()`, which asks the platform.
        return (moment - _EPOCH).total_seconds()
    except (ValueError, OverflowError):
        return None
