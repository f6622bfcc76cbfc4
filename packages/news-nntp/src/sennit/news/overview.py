"""The overview: what readers are told of an article before they fetch it; no I/O.

`overview` makes of an article the fields that stand behind its number in a line of OVER, and
`OVERVIEW_FMT` is what LIST OVERVIEW.FMT says of them. A store adds the number and Xref when it
files the article (`filed_line`), and writes Xref into its head (`with_xref`). `field_of` and
`header_of` are HDR's two sources: a line of the overview, and a head. `newsgroups_of` tells where
an article belongs.

Contents are unfolded, and tabs and NULs in them are blanks (RFC 3977 §8.3.2), so that a line has as
many fields as it has tabs and one more.

Sources: RFC 3977 §8.1 (metadata), §8.3 (OVER), §8.4 (LIST OVERVIEW.FMT), §8.5 (HDR); RFC 5536
§3.1.4 (Newsgroups), §3.2.14 (Xref).
Not here: what an article is (``article.py``); the numbers (``store``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sennit.news.article import parse_groups
from sennit.news.errors import ArticleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.news.article import ParsedArticle

__all__ = [
    "OVERVIEW_FMT",
    "field_of",
    "filed_line",
    "header_of",
    "in_overview",
    "newsgroups_of",
    "overview",
    "refiled",
    "with_xref",
    "xref_of",
]

OVERVIEW_FMT: Final = (
    b"Subject:",
    b"From:",
    b"Date:",
    b"Message-ID:",
    b"References:",
    # Not ``:bytes`` and ``:lines``, which mean the same (RFC 3977 §8.4.2): slrn makes no use of an
    # overview that has those, and INN says it so, too.
    b"Bytes:",
    b"Lines:",
    b"Xref:full",
)
"""The fields behind the number, in their order (RFC 3977 §8.4.2)."""

_PLACES: Final = {
    "subject": 0,
    "from": 1,
    "date": 2,
    "message-id": 3,
    "references": 4,
    ":bytes": 5,
    ":lines": 6,
    "xref": 7,
}
_FROM_HEAD: Final = (b"subject", b"from", b"date", b"message-id", b"references")
_BLANKS: Final = bytes.maketrans(b"\t\0\r\n", b"    ")
_XREF: Final = b"Xref: "


def overview(article: ParsedArticle) -> bytes:
    """Give the fields of an article behind its number, without Xref (RFC 3977 §8.3.2)."""
    fields = [(article.content(name) or b"").translate(_BLANKS) for name in _FROM_HEAD]
    fields.append(b"%d\t%d" % (len(article.octets), article.lines))
    return b"\t".join(fields)


def xref_of(host: bytes, places: Sequence[tuple[str, int]]) -> bytes:
    """Give the content of Xref: who filed the article, and where (RFC 5536 §3.2.14)."""
    return host + b"".join(b" %b:%d" % (name.encode(), number) for name, number in places)


def with_xref(octets: bytes, body_at: int, xref: bytes) -> tuple[bytes, int]:
    """Write Xref at the end of a head that has none; gives where the body begins then.

    Args:
        octets: An article.
        body_at: Where its body begins.
        xref: The field's content.
    """
    field = b"%b%b\r\n" % (_XREF, xref)
    # Before the empty line, where there is one.
    at = body_at - 2 if octets[:body_at].endswith(b"\r\n\r\n") else body_at
    return b"".join((octets[:at], field, octets[at:])), body_at + len(field)


def filed_line(overview: bytes, xref: bytes) -> bytes:
    """Give the fields behind the number, Xref among them, of an article that gets an Xref."""
    head, size, lines = overview.rsplit(b"\t", 2)
    # The octets are those that a reader gets (RFC 3977 §8.1.1).
    whole = int(size) + len(_XREF) + len(xref) + 2
    return b"%b\t%d\t%b\t%b%b" % (head, whole, lines, _XREF, xref)


def refiled(octets: bytes, body_at: int, fields: bytes, xref: bytes) -> tuple[bytes, int, bytes]:
    """Write another Xref where `with_xref` and `filed_line` have written one.

    Args:
        octets: The article.
        body_at: Where its body begins.
        fields: What stands behind its number.
        xref: The new content.

    Returns:
        The three as they are then.
    """
    head, size, lines, old = fields.rsplit(b"\t", 3)
    end = body_at - 2 if octets[body_at - 4 : body_at] == b"\r\n\r\n" else body_at
    begin = end - 2 - len(old)
    assert octets[begin : end - 2] == old  # the last field of the head
    more = len(_XREF) + len(xref) - len(old)
    whole = b"".join((octets[:begin], _XREF, xref, octets[end - 2 :]))
    return whole, body_at + more, b"%b\t%d\t%b\t%b%b" % (head, int(size) + more, lines, _XREF, xref)


def in_overview(name: str) -> bool:
    """Tell whether HDR's field, or metadata item, stands in the overview."""
    return name.lower() in _PLACES


def field_of(fields: bytes, name: str) -> bytes:
    """Give the content of a field out of an overview.

    Args:
        fields: What stands behind the number, without CRLF.
        name: One for which `in_overview` says yes.
    """
    place = _PLACES[name.lower()]
    content = fields.split(b"\t", place + 1)[place]
    return content[len(_XREF) :] if place == _PLACES["xref"] else content


@lru_cache(maxsize=256)
def _field(name: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"^%b:([^\r]*(?:\r\n[ \t][^\r]*)*)" % re.escape(name.encode("utf-8", "surrogateescape")),
        re.IGNORECASE | re.MULTILINE,
    )


def header_of(head: bytes, name: str) -> bytes:
    """Give the content of a field out of a head, unfolded; empty when there is none.

    Args:
        head: Its lines, each with its CRLF.
        name: The field's; of several of that name the first counts (RFC 3977 §8.5.2).
    """
    match = _field(name).search(head)
    if match is None:
        return b""
    return match[1].replace(b"\r\n", b"").translate(_BLANKS).strip(b" ")


def newsgroups_of(head: bytes) -> Sequence[str]:
    """Give the groups that a head names; none where what stands there is no list of them."""
    try:
        return parse_groups(header_of(head, "Newsgroups"))
    except ArticleError:
        return ()
