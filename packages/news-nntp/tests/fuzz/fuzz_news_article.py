"""Fuzz target: no octets are more than an article or an `ArticleError`, nor what comes of them."""

from __future__ import annotations

from sennit.news.article import parse
from sennit.news.errors import ArticleError
from sennit.news.injection import Injection, distributions_of, inject, passed, relay
from sennit.news.overview import overview

_WHOLE = (
    b"Path: a!b!not-for-mail\r\nFrom: Ann <ann@example.org>\r\nNewsgroups: misc.test,misc.other\r\n"
    b"Subject: A\r\n subject\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"Message-ID: <1@example.net>\r\nDistribution: world\r\n\r\nHello.\r\n..\r\n"
)
_SHORT = b"From: a@b\r\nNewsgroups: x\r\nSubject: \tx\r\nFollowup-To: x,y\r\n\r\nx\r\n"

SEEDS = [_WHOLE, _SHORT]

_HOW = Injection("news.example.org", trace="plain")


def fuzz(data: bytes) -> None:
    """What is kept parses again, and has the body that came."""
    for proto in (False, True):
        try:
            article = parse(data, proto=proto)
        except ArticleError:
            continue
        assert article.octets == data
        body = data[article.body_at :]
        overview(article)
        passed(article)
        distributions_of(article)
        try:
            kept = (
                inject(article, _HOW, poster="ann", host="192.0.2.1", now=1.7e9, unique="u")
                if proto
                else relay(article, "news.example.org", "peer", ("peer",))
            )
        except ArticleError:
            continue
        again = parse(kept.octets)
        assert again.octets[again.body_at :] == body
        assert again.groups == article.groups
