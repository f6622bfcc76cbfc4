"""The overview: fields of an article, and fields found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.article import parse
from sennit.news.overview import (
    OVERVIEW_FMT,
    field_of,
    filed_line,
    header_of,
    in_overview,
    overview,
    with_xref,
    xref_of,
)

HEAD = (
    b"Path: demo!not-for-mail\r\nFrom: Ann\t<ann@example.org>\r\nNewsgroups: misc.test\r\n"
    b"Subject: I am just\r\n\ta test\r\nDate: 6 Oct 1998 04:38:40 -0500\r\n"
    b"Message-ID: <45223423@example.com>\r\nReferences: <a@x>\r\n <b@x>\r\nX-Odd:\r\n y\r\n"
)
ARTICLE = HEAD + b"\r\nThis is\r\nit.\r\n"


def test_the_overview_has_the_fields_that_its_format_tells() -> None:
    """RFC 3977 §8.3.2: unfolded, with blanks for tabs; §8.4.2: in this order."""
    fields = overview(parse(ARTICLE)).split(b"\t")

    assert fields == [
        b"I am just a test",
        b"Ann <ann@example.org>",
        b"6 Oct 1998 04:38:40 -0500",
        b"<45223423@example.com>",
        b"<a@x> <b@x>",
        b"%d" % len(ARTICLE),
        b"2",
    ]
    assert [each.rstrip(b":") for each in OVERVIEW_FMT[:5]] == [
        b"Subject",
        b"From",
        b"Date",
        b"Message-ID",
        b"References",
    ]
    assert OVERVIEW_FMT[5:] == (b"Bytes:", b"Lines:", b"Xref:full")


def test_fields_are_found_again() -> None:
    xref = xref_of(b"news.example.org", [("misc.test", 7), ("tést.ü", 9)])
    line = filed_line(overview(parse(ARTICLE)), xref)
    octets, body_at = with_xref(ARTICLE, len(HEAD) + 2, xref)

    assert field_of(line, "SUBJECT") == b"I am just a test"
    assert field_of(line, "references") == b"<a@x> <b@x>"
    assert field_of(line, ":bytes") == b"%d" % len(octets)
    assert field_of(line, ":lines") == b"2"
    assert field_of(line, "Xref") == "news.example.org misc.test:7 tést.ü:9".encode()
    assert octets[:body_at] == HEAD + b"Xref: " + xref + b"\r\n\r\n"
    assert octets[body_at:] == b"This is\r\nit.\r\n"
    assert in_overview("Message-ID")
    assert not in_overview("Newsgroups")
    assert not in_overview(":other")


def test_an_article_without_an_empty_line_gets_an_xref_too() -> None:
    octets, body_at = with_xref(b"A: b\r\n", 6, b"h g:1")

    assert octets == b"A: b\r\nXref: h g:1\r\n"
    assert body_at == len(octets)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Newsgroups", b"misc.test"),
        ("newsgroups", b"misc.test"),
        ("Subject", b"I am just a test"),
        ("From", b"Ann <ann@example.org>"),
        ("X-Odd", b"y"),
        ("Pat", b""),
        ("ath", b""),
        ("X.Odd", b""),
        ("", b""),
        ("ü", b""),
    ],
)
def test_fields_of_a_head_are_found_by_their_whole_name(name: str, content: bytes) -> None:
    assert header_of(HEAD, name) == content


def test_of_several_fields_the_first_counts() -> None:
    assert header_of(b"A: 1\r\na: 2\r\n", "A") == b"1"


@given(st.binary(), st.text(max_size=5))
def test_no_octets_make_the_search_fail_and_what_is_found_is_one_line(
    head: bytes, name: str
) -> None:
    found = header_of(head, name)

    assert not set(found) & set(b"\r\n\t\0")


def test_a_long_head_is_searched_in_linear_time() -> None:
    """A megabyte of what nearly fits."""
    assert header_of(b"A: " + b"\r\n " * 300_000 + b"\r", "A") == b""
    assert header_of(b"\r\n".join([b"AA: x"] * 100_000), "A") == b""
