"""Fuzz target: no octets stop the reading of an mbox file; overviews are lines of eight fields."""

from __future__ import annotations

from io import BytesIO

from sennit.news.article import parse
from sennit.news.errors import ArticleError
from sennit.news.importing import mbox_articles
from sennit.news.overview import field_of, filed_line, header_of, overview, with_xref

_ARTICLE = (
    b"Path: a\nFrom: Ann <ann@example.org>\nNewsgroups: misc.test\nSubject: A\n\tsubject\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\nMessage-ID: <1@example.net>\nReferences: <0@x>\n"
    b"Xref: other misc.test:7\n\nHello.\n\n>From the end\n"
)

SEEDS = [
    b"From x\n" + _ARTICLE + b"\nFrom y\r\n" + _ARTICLE.replace(b"\n", b"\r\n") + b"\r\n",
    b"\n\nFrom \n\nFrom \nA:\n\n>>From\n",
    _ARTICLE,
]


def fuzz(data: bytes) -> None:
    """Positions rise up to the end; what is an article has an overview, with its Xref too."""
    before = 0
    for octets, position in mbox_articles(BytesIO(data), max_size=2000):
        assert before <= position <= len(data)
        before = position
        if octets is None:
            continue
        assert octets.count(b"\n") == octets.count(b"\r\n")
        try:
            article = parse(octets)
        except ArticleError:
            continue
        line = filed_line(overview(article), b"host misc.test:1")
        assert line.count(b"\t") == 7
        assert not set(line) & set(b"\r\n\0")
        whole, body_at = with_xref(octets, article.body_at, b"host misc.test:1")
        assert whole[body_at:] == octets[article.body_at :]
        assert field_of(line, ":bytes") == b"%d" % len(whole)
        head = whole[:body_at]
        assert header_of(head, "Message-ID") == field_of(line, "message-id") == article.message_id
