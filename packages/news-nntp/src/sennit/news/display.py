"""Articles and overviews as text for people: decoded, and harmless to a terminal; no I/O.

What peers wrote may hold escape sequences, characters that turn writing around, and line ends where
none belong. Words of headers encoded by RFC 2047 are decoded, bodies by what Content-Type and
Content-Transfer-Encoding say; what cannot be decoded is shown as it is. Everything is escaped.

Sources: RFC 2045, RFC 2047, RFC 5536 §2.2 (MIME in netnews). Not here: what a terminal is told
besides (``commands.py``).
"""

from __future__ import annotations

import re
from email.errors import MessageError
from email.header import decode_header, make_header
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any, Final

from sennit.core.ops.records import escape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

__all__ = ["article_fields", "article_lines", "field_text", "harmless"]

FIELDS: Final = ("From", "Newsgroups", "Followup-To", "Subject", "Date", "Message-ID", "References")
"""Fields that are shown, unless all are asked for."""
_LONGEST: Final = 16_384
"""Octets of a line that are shown."""
_PARTS: Final = 100
"""Parts of an article that are looked at."""
_ENDLESS: Final = re.compile(
    rb"(?i)(?:\A|[\r\n])content-(?:type|disposition):(?:[^\r\n]|\r?\n[ \t]|\r[ \t]){1000}"
)
"""Parameters so long that Python's parser, whose time grows with their square, would never end."""


def harmless(text: str) -> str:
    """One line, without what a terminal obeys; tabs stay."""
    return "\t".join(escape(piece, _LONGEST) for piece in text.split("\t"))


def field_text(octets: bytes | str) -> str:
    """The content of a field for people: encoded words decoded, unfolded, harmless."""
    text = octets if isinstance(octets, str) else octets.decode("utf-8", "replace")
    text = text.replace("\r\n", "").replace("\t", " ")
    if "=?" in text:
        try:
            text = str(make_header(decode_header(text))) or text
        except (MessageError, LookupError, ValueError):
            pass  # shown as it is
    return harmless(" ".join(text.split()))


def article_fields(octets: bytes, *, everything: bool = False) -> list[tuple[str, str]]:
    """The fields of an article: (name, content), decoded and harmless.

    Args:
        octets: The article.
        everything: All of them, as they come; else those that readers look at.
    """
    head = octets.partition(b"\r\n\r\n")[0]
    found: list[tuple[str, str]] = []
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, colon, content = line.partition(b":")
        if colon:
            found.append((escape(name.decode("ascii", "replace"), _LONGEST), field_text(content)))
    if everything:
        return found
    by_name = {name.lower(): (name, content) for name, content in reversed(found)}
    return [by_name[each.lower()] for each in FIELDS if each.lower() in by_name]


def article_lines(octets: bytes) -> Iterator[str]:
    """The lines of an article's body: its parts of text decoded, others named; harmless.

    Args:
        octets: The article.
    """
    try:
        if _ENDLESS.search(octets):
            raise MessageError("too long")
        parts = _parts(BytesParser().parsebytes(octets))
    except (MessageError, RecursionError, ValueError, LookupError, AttributeError):
        # Python's parser has its limits; the octets are there all the same.
        yield from _lines(octets.partition(b"\r\n\r\n")[2], "utf-8")
        return
    for count, (kind, name, content, charset) in enumerate(parts):
        if content is None:
            yield harmless(f"[{kind}{f' {name}' if name else ''}, not shown]")
            continue
        if count:
            yield ""
        yield from _lines(content, charset)


def _lines(content: bytes, charset: str) -> Iterator[str]:
    try:
        text = content.decode(charset, "replace")
    except (LookupError, ValueError):  # also of names with NUL
        text = content.decode("utf-8", "replace")
    for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        yield harmless(line)


def _parts(message: Message) -> list[tuple[str, str, bytes | None, str]]:
    """Kind, file name, octets and charset of each part that is a leaf; no octets where no text."""
    found: list[tuple[str, str, bytes | None, str]] = []
    for part in message.walk():
        if part.is_multipart():
            continue
        kind = part.get_content_type()
        content: bytes | None = None
        if part.get_content_maintype() == "text":
            # `Any`: the email package says what this is by an argument.
            decoded: Any = part.get_payload(decode=True)
            if not decoded:
                decoded = str(part.get_payload()).encode("utf-8", "surrogateescape")
            content = decoded
        charset = part.get_content_charset() or "utf-8"
        found.append((kind, part.get_filename() or "", content, charset))
        if len(found) >= _PARTS:
            break
    return found
