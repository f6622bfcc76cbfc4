"""What a client makes of responses: capabilities, groups, overviews, headers, dates; no I/O.

Each function takes what stood behind a code, or one line of a block without its CRLF, and raises
`NNTPProtocolError` where that is not what the RFC says it is. Octets stay octets, save where the
RFC gives a charset: names of groups and descriptions are UTF-8.

Sources: RFC 3977 §3.3 (capabilities), §6.1 (groups), §7.1 (DATE), §7.6 (LIST), §8.3 (OVER), §8.4
(OVERVIEW.FMT), §8.5 (HDR), RFC 6048 §2.2 (COUNTS). Not here: the first line's code and the end of
a block (``client_engine.py``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from sennit.news.errors import NNTPProtocolError
from sennit.news.grammar import is_message_id, parse_number
from sennit.news.interfaces import Group

__all__ = [
    "OVERVIEW_FIELDS",
    "Capabilities",
    "Overview",
    "parse_active",
    "parse_counts",
    "parse_created",
    "parse_date_reply",
    "parse_description",
    "parse_format",
    "parse_found",
    "parse_header",
    "parse_overview",
    "parse_selected",
]

OVERVIEW_FIELDS: Final = (
    "subject",
    "from",
    "date",
    "message-id",
    "references",
    ":bytes",
    ":lines",
)
"""The fields that every overview has behind the number, in this order (RFC 3977 §8.3.2)."""
_MAX_FIELDS: Final = 200
"""Fields of an overview that are told apart."""
_BLANKS: Final = re.compile(rb"[ \t]+")


def _name(octets: bytes) -> str:
    """A group's name; what is no UTF-8 is kept, to be said to the server as it came."""
    return octets.decode("utf-8", "surrogateescape")


class Capabilities:
    """What a server says it can do (RFC 3977 §3.3).

    Args:
        lines: As CAPABILITIES gives them; ``None`` of a server that knows no such command, of
            which nothing is known.

    Attributes:
        known: Whether the server has said anything.
        labels: Arguments by label, both in capitals as they came.
    """

    __slots__ = ("known", "labels")

    def __init__(self, lines: list[bytes] | None = None) -> None:
        self.known = lines is not None
        self.labels: dict[str, list[str]] = {}
        for line in lines or ():
            words = line.decode("utf-8", "backslashreplace").split()
            if words:
                # The first counts, as in all lists of that kind.
                self.labels.setdefault(words[0].upper(), [word.upper() for word in words[1:]])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self.labels) or 'none'}>"

    def __contains__(self, label: str) -> bool:
        return label in self.labels

    def has(self, label: str, argument: str) -> bool:
        """Whether a label has an argument (``LIST COUNTS``)."""
        return argument in self.labels.get(label, ())

    @property
    def mechanisms(self) -> list[str]:
        """SASL's mechanisms that one may log in by (RFC 4643 §3.2)."""
        return self.labels.get("SASL", []) if self.has("AUTHINFO", "SASL") else []


def parse_selected(text: bytes) -> Group:
    """Read what GROUP and LISTGROUP answer: ``number low high group`` (RFC 3977 §6.1.1)."""
    words = text.split()
    if len(words) < 4:
        raise NNTPProtocolError(f"not a group: {text[:64]!r}", "RFC 3977 §6.1.1.1")
    count, low, high = map(parse_number, words[:3])
    return Group(_name(words[3]), low=low, high=high, count=count)


def parse_active(line: bytes) -> Group:
    """Read a line of LIST ACTIVE: ``group high low status`` (RFC 3977 §7.6.3)."""
    words = line.split()
    if len(words) < 4:
        raise NNTPProtocolError(f"not an active group: {line[:64]!r}", "RFC 3977 §7.6.3")
    high, low = map(parse_number, words[1:3])
    count = max(high - low + 1, 0)
    return Group(_name(words[0]), low=low, high=high, count=count, status=_name(words[3]))


def parse_counts(line: bytes) -> Group:
    """Read a line of LIST COUNTS: ``group high low count status`` (RFC 6048 §2.2)."""
    words = line.split()
    if len(words) < 5:
        raise NNTPProtocolError(f"not a group with its count: {line[:64]!r}", "RFC 6048 §2.2")
    high, low, count = map(parse_number, words[1:4])
    return Group(_name(words[0]), low=low, high=high, count=count, status=_name(words[4]))


def parse_created(line: bytes) -> Group:
    """Read a line of LIST ACTIVE.TIMES: ``group time creator`` (RFC 3977 §7.6.4)."""
    words = line.split(None, 2)
    if len(words) < 2:
        raise NNTPProtocolError(f"not a group's time: {line[:64]!r}", "RFC 3977 §7.6.4")
    creator = words[2].decode("utf-8", "backslashreplace") if len(words) > 2 else ""
    return Group(_name(words[0]), created=float(parse_number(words[1])), creator=creator)


def parse_description(line: bytes) -> tuple[str, str]:
    """Read a line of LIST NEWSGROUPS: a group, blanks, its description (RFC 3977 §7.6.6)."""
    name, *rest = _BLANKS.split(line, 1)
    if not name:
        raise NNTPProtocolError(f"not a description: {line[:64]!r}", "RFC 3977 §7.6.6")
    return _name(name), rest[0].decode("utf-8", "backslashreplace") if rest else ""


def parse_found(text: bytes) -> tuple[int, bytes]:
    """Read what ARTICLE and its kin answer: number and Message-ID (RFC 3977 §6.2.1).

    The number is 0 for an article that was asked for by its Message-ID.
    """
    words = text.split(None, 2)
    if len(words) < 2:
        raise NNTPProtocolError(f"not an article: {text[:64]!r}", "RFC 3977 §6.2.1.1")
    return parse_number(words[0]), words[1]


def parse_date_reply(text: bytes) -> datetime:
    """Read what DATE answers, ``yyyymmddhhmmss`` in UTC (RFC 3977 §7.1)."""
    word, _, _ = text.partition(b" ")
    if len(word) == 14 and word.isdigit():
        try:
            return datetime.strptime(word.decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass  # such as the 31st of a month of thirty
    raise NNTPProtocolError(f"not a date: {text[:64]!r}", "RFC 3977 §7.1.1")


def parse_header(line: bytes) -> tuple[int, bytes]:
    """Read a line of HDR: a number, a blank, a field's content (RFC 3977 §8.5)."""
    number, _, content = line.partition(b" ")
    # XHDR, which is older, repeats the Message-ID that it was asked by, where HDR says 0.
    return 0 if is_message_id(number) else parse_number(number), content


# ── overviews ─────────────────────────────────────────────────────────────────


def parse_format(lines: list[bytes]) -> tuple[str, ...]:
    """Read what LIST OVERVIEW.FMT answers: the names of an overview's fields, in small letters.

    The first seven are what they are whatever it says (RFC 3977 §8.4.2: ``Bytes:`` may stand for
    ``:bytes``). Of those behind them, which come with their names, the name is all that counts.
    """
    names = [
        line.decode("ascii", "replace").lower().removesuffix(":full").removesuffix(":")
        for line in lines[len(OVERVIEW_FIELDS) : _MAX_FIELDS]
    ]
    return OVERVIEW_FIELDS + tuple(names)


class Overview:
    """One article in an overview (RFC 3977 §8.3).

    Args:
        number: In the group; 0 for one that was asked for by its Message-ID.
        columns: What stands behind it.
        names: What the columns are (`parse_format`).

    Attributes:
        number: The article's number.
        columns: As they came, octets.
    """

    __slots__ = ("_names", "columns", "number")

    def __init__(
        self, number: int, columns: list[bytes], names: tuple[str, ...] = OVERVIEW_FIELDS
    ) -> None:
        self.number = number
        self.columns = columns
        self._names = names

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.subject[:64]!r}>"

    def _column(self, at: int) -> bytes:
        return self.columns[at] if at < len(self.columns) else b""

    def _text(self, at: int) -> str:
        return self._column(at).decode("utf-8", "replace")

    def _count(self, at: int) -> int | None:
        column = self._column(at).strip()
        return int(column) if column.isdigit() and len(column) <= 18 else None

    @property
    def subject(self) -> str:
        """The content of Subject, as it is: words encoded by RFC 2047 are."""
        return self._text(0)

    @property
    def author(self) -> str:
        """The content of From, likewise."""
        return self._text(1)

    @property
    def date(self) -> str:
        """The content of Date."""
        return self._text(2)

    @property
    def message_id(self) -> bytes:
        """With its angle brackets."""
        return self._column(3).strip()

    @property
    def references(self) -> list[bytes]:
        """The Message-IDs that the article refers to, the oldest first."""
        return self._column(4).split()

    @property
    def size(self) -> int | None:
        """Octets of the article; None where the server does not say."""
        return self._count(5)

    @property
    def lines(self) -> int | None:
        """Lines of the body; None where the server does not say."""
        return self._count(6)

    def field(self, name: str) -> bytes | None:
        """The content of a field that the server's overviews have; None where this one has none.

        Args:
            name: In small letters, such as ``xref``, or ``:bytes``.
        """
        if name in OVERVIEW_FIELDS:
            return self._column(OVERVIEW_FIELDS.index(name))
        if name not in self._names:
            return None
        # Those behind the seventh say their names, whatever their place (RFC 3977 §8.3.2).
        start = name.encode() + b":"
        for column in self.columns[len(OVERVIEW_FIELDS) :]:
            if column[: len(start)].lower() == start:
                return column[len(start) :].strip()
        return None


def parse_overview(line: bytes, names: tuple[str, ...] = OVERVIEW_FIELDS) -> Overview:
    """Read a line of OVER or XOVER."""
    number, *columns = line.split(b"\t", _MAX_FIELDS)
    return Overview(parse_number(number), columns, names)
