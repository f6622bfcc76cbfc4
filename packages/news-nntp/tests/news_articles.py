"""Articles for tests of what takes them in."""

from __future__ import annotations

from sennit.news.article import ParsedArticle, format_date, parse

__all__ = ["HOST", "NOW", "composed", "parsed"]

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 +0000."""
HOST = "news.example.org"

BASE = {
    "Path": "peer.example.net!not-for-mail",
    "From": "Ann <ann@example.org>",
    "Newsgroups": "misc.test",
    "Subject": "A subject",
    "Date": format_date(NOW - 60).decode(),
    "Message-ID": "<1@example.net>",
}


def composed(
    fields: dict[str, str | None] | None = None, *, body: bytes = b"Hello.\r\n", proto: bool = False
) -> bytes:
    """An article, or a proto-article, with other fields than it would have; ``None`` is none."""
    all_fields: dict[str, str | None] = {**BASE}
    if proto:
        for name in ("Path", "Date", "Message-ID"):
            del all_fields[name]
    all_fields.update(fields or {})
    head = "".join(f"{name}: {text}\r\n" for name, text in all_fields.items() if text is not None)
    return head.encode() + b"\r\n" + body


def parsed(
    fields: dict[str, str | None] | None = None, *, body: bytes = b"Hello.\r\n", proto: bool = False
) -> ParsedArticle:
    """The same, parsed."""
    return parse(composed(fields, body=body, proto=proto), proto=proto)
