"""What is an article, and what its fields say."""

from __future__ import annotations

import subprocess
import sys
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from news_articles import NOW, composed, parsed

from sennit.news.article import (
    format_date,
    is_group_name,
    is_message_id,
    parse,
    parse_date,
    parse_groups,
    parse_path,
)
from sennit.news.errors import ArticleError


def test_an_article_says_what_decides_where_it_goes() -> None:
    article = parsed({"Newsgroups": "misc.test, misc.other,misc.test"}, body=b"one\r\ntwo\r\n")

    assert article.message_id == b"<1@example.net>"
    assert article.groups == ("misc.test", "misc.other")
    assert article.date == NOW - 60
    assert article.octets[article.body_at :] == b"one\r\ntwo\r\n"
    assert article.lines == 2
    assert (
        b"".join(whole for _, whole in article.fields) + b"\r\n"
        == (article.octets[: article.body_at])
    )


def test_folded_fields_are_unfolded_and_stay_as_they_are() -> None:
    article = parsed({"Subject": "a\r\n b\r\n\tc", "X-8-bit": "gr\u00fcn"})

    assert article.content(b"subject") == b"a b\tc"
    assert article.content(b"x-8-bit") == "gr\u00fcn".encode()
    assert article.content(b"x-none") is None
    assert b"Subject: a\r\n b\r\n\tc\r\n" in article.octets


NAMES = ("From", "Newsgroups", "Subject", "Date", "Message-ID", "Path")


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (composed(body=b"a\0b\r\n"), "NUL"),
        (composed(body=b"a\rb\r\n"), "bare CR"),
        (composed(body=b"a\nb\r\n"), "bare CR or LF"),
        (composed(body=b"a\r"), "bare CR"),
        (composed(body=b"no end"), "last line"),
        (composed().replace(b"\r\n\r\n", b"\r\n"), "no field|no body"),
        (composed()[:-10], "no body"),
        (composed({"Subject": "x" * 990}), "998"),
        (composed({"Subject": "a\r\n" + " " + "x" * 998}), "998"),
        (composed({"X-Long": "a" + "\r\n b" * 20_000}), "head of more than 65536 octets"),
        (composed({"X-Field": None, "message-id": "<2@example.net>"}), "more than one Message-ID"),
        (composed({"SUBJECT": "again"}), "more than one Subject"),
        (composed({"Bad name": "x"}), "no field in line 7"),
        (b" x\r\n" + composed(), "begins with a continued line"),
        (composed({"Subject": "a\r\n  \r\n b"}), "blank line within Subject"),
        (composed().replace(b"Subject: ", b"Subject:"), "no blank behind Subject:"),
        (composed({"Message-ID": "<a b@c>"}), "no Message-ID in"),
        (composed({"Message-ID": "<../../x@y>"}), "no Message-ID in"),
        (composed({"Date": "yesterday"}), "no date"),
        (composed({"Path": "a b c,d"}), "no path"),
        (composed({"Newsgroups": "a..b"}), "no names of groups"),
        (composed({"Newsgroups": "../x"}), "no names of groups"),
        (composed({"Newsgroups": "misc.test misc.other"}), "no names of groups"),
        (composed({"Newsgroups": "misc.test,"}), "no names of groups"),
        (composed({"Newsgroups": "x" * 498}), "no names of groups"),
        (composed({"Control": "cancel <a@b>", "Supersedes": "<a@b>"}), "Control and Supersedes"),
        (composed({"Supersedes": "x"}), "no Message-ID in Supersedes"),
        (composed(dict.fromkeys((f"X-{n}" for n in range(1000)), "x")), "more than 1000 fields"),
        *((composed({name: None}), f"no {name}") for name in NAMES),
        *((composed({name: ""}), f"empty {name}") for name in NAMES),
        (b"", "no body"),
    ],
)
def test_what_is_no_article_is_refused_with_the_reason(octets: bytes, reason: str) -> None:
    """HARDENING nntp-2, nntp-5."""
    with pytest.raises(ArticleError, match=reason) as refused:
        parse(octets)

    assert refused.value.reason.isascii()
    assert refused.value.reason.isprintable()


def test_an_article_may_be_as_long_as_allowed_and_no_longer() -> None:
    """HARDENING nntp-2: 1 MiB."""
    size = len(composed(body=b""))
    longest = composed(body=b"x" * ((1 << 20) - size - 2) + b"\r\n")

    assert parse(longest).octets == longest
    with pytest.raises(ArticleError, match="more than 1048576 octets"):
        parse(longest + b".\r\n")
    with pytest.raises(ArticleError, match="more than 100 octets"):
        parse(longest, max_size=100)


def test_lines_of_bodies_may_be_long() -> None:
    body = b"x" * 3000 + b"\r\n.\r\n..\r\n\xff\xfe\r\n"

    assert parsed(body=body).octets.endswith(body)


def test_a_proto_article_may_lack_what_an_injecting_agent_adds() -> None:
    """RFC 5537 §3.4.1."""
    article = parsed(proto=True)

    assert (article.message_id, article.date) == (b"", None)
    with pytest.raises(ArticleError, match="no Newsgroups"):
        parsed({"Newsgroups": None}, proto=True)


def test_fields_that_have_no_content_may_be_others_than_the_mandatory_ones() -> None:
    assert parsed({"Organization": ""}).content(b"organization") == b""


@pytest.mark.parametrize(
    ("octets", "yes"),
    [
        (b"<a@b>", True),
        (b"<a.b+c/d=e@news.example.org>", True),
        (b"<a@[192.0.2.1]>", True),
        (b"<" + b"a" * 246 + b"@b>", True),
        (b"<" + b"a" * 247 + b"@b>", False),
        (b"a@b", False),
        (b"<a@b", False),
        (b"<a>", False),
        (b"<>", False),
        (b"<a@>", False),
        (b"<@b>", False),
        (b"<a b@c>", False),
        (b"<a@b>\r\n", False),
        (b"<a@b>\n", False),
        (b"<a\0@b>", False),
        (b"<a>@b>", False),
        (b"<../../x@y>", False),
        (b"<\xe9@b>", False),
    ],
)
def test_a_message_id_is_told_from_what_is_none(octets: bytes, yes: bool) -> None:
    """HARDENING nntp-5, RFC 5536 §3.1.3."""
    assert is_message_id(octets) is yes


@pytest.mark.parametrize("name", ["a", "misc.test", "comp.lang.c++", "de.gr\u00fcn", "a_b-c.1"])
def test_names_of_groups_are_taken(name: str) -> None:
    assert is_group_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "../x", "a b", "a*", "a?b", "a[b]", "!a", "a\\b", "a\n"]
)
def test_what_is_no_name_of_a_group_is_not(name: str) -> None:
    assert not is_group_name(name)


def test_a_list_of_groups_is_utf8() -> None:
    assert parse_groups("de.gr\u00fcn".encode()) == ("de.gr\u00fcn",)
    with pytest.raises(ArticleError, match="UTF-8"):
        parse_groups(b"de.gr\xfcn")


def test_a_path_is_its_entries() -> None:
    """RFC 5536 §3.1.5: two exclamation marks have an empty entry between them."""
    assert parse_path(b"a!!b!.POSTED.1.2.3.4!not-for-mail") == [
        b"a", b"", b"b", b".POSTED.1.2.3.4", b"not-for-mail",
    ]  # fmt: skip
    assert parse_path(b"a! b") == [b"a", b"b"]
    assert parse_path(b"a,b") == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"Thu, 01 Jan 1970 00:00:00 +0000", 0),
        (b"1 Jan 1970 00:00 GMT", 0),
        (b"Thu, 1 Jan 70 01:30:00 +0130", 0),
        (b"31 Dec 1969 19:00:00 EST", 0),
        (b"Tue, 14 Nov 2023 22:13:20 +0000 (UTC)", NOW),
        (b"Sat, 30 Jun 12 23:59:60 -0000", 1341100799),
        (b"1 Jan 1970 00:00:00 XYZ", 0),
        (b"32 Jan 1970 00:00:00 +0000", None),
        (b"1 Foo 1970 00:00:00 +0000", None),
        (b"1 Jan 1970 24:00:00 +0000", None),
        (b"1 Jan 0000 00:00:00 +0000", None),
        (b"1 Jan 1970 00:00:00 +9999", None),
        (b"1 Jan 1970", None),
        (b"", None),
        (b"1 Jan 0001 00:00:00 +2359", -62135683140),
    ],
)
def test_dates_are_read(text: bytes, moment: float | None) -> None:
    assert parse_date(text) == moment


@given(st.integers(0, 4_000_000_000))
def test_a_date_that_was_written_is_read_again(moment: int) -> None:
    assert parse_date(format_date(moment)) == moment


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(bytes.replace, st.just(composed()), st.binary(max_size=3), st.binary(max_size=9)),
    )
)
def test_no_octets_raise_anything_but_an_article_error(octets: bytes) -> None:
    try:
        article = parse(octets)
    except ArticleError:
        return
    assert article.octets == octets
    assert article.groups
    assert article.with_fields(article.fields).octets == octets


def test_reading_costs_what_the_article_is_long() -> None:
    """A head of one folded field, and of many, takes linear time (HARDENING core-10)."""

    def spent(lines: int) -> float:
        octets = composed({"X-Long": "x" + "\r\n " * 1 + ("y" * 20 + "\r\n ") * lines + "z"})
        best = 1e9
        for _ in range(3):
            began = process_time()
            for _ in range(20):
                parse(octets)
            best = min(best, process_time() - began)
        return best

    assert spent(2_400) < 6 * spent(600) + 0.005


def test_reading_articles_needs_no_sockets() -> None:
    code = (
        "import sennit.news.article, sennit.news.injection, sys;"
        "assert not {'socket', 'ssl', 'asyncio', 'selectors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
