"""What a client makes of responses: examples of the RFCs, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.testing.engines import assert_no_io
from sennit.news.client_replies import (
    OVERVIEW_FIELDS,
    Capabilities,
    parse_active,
    parse_counts,
    parse_created,
    parse_date_reply,
    parse_description,
    parse_format,
    parse_found,
    parse_header,
    parse_overview,
    parse_selected,
)
from sennit.news.errors import NNTPProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable


def test_importing_it_leaves_the_sockets_alone() -> None:
    assert_no_io("sennit.news.client_replies")


def test_capabilities_are_labels_with_arguments() -> None:
    """RFC 3977 §5.2.3, RFC 4643 §3.2."""
    known = Capabilities(
        b"VERSION 2\nreader\nLIST ACTIVE newsgroups\nAUTHINFO USER SASL\nSASL PLAIN x\n\n"
        b"LIST COUNTS\n\xff \xfe".split(b"\n")
    )
    assert known.known
    assert "READER" in known
    assert "POST" not in known
    assert known.has("LIST", "NEWSGROUPS")
    assert not known.has("LIST", "COUNTS")
    assert known.mechanisms == ["PLAIN", "X"]
    assert repr(known).startswith("<Capabilities VERSION READER LIST AUTHINFO SASL")


def test_mechanisms_are_for_logins_only_where_authinfo_says_so() -> None:
    """RFC 4643 §3.1: SASL may be advertised for other ends."""
    assert Capabilities([b"AUTHINFO USER", b"SASL PLAIN"]).mechanisms == []


def test_nothing_is_known_of_servers_that_do_not_say() -> None:
    assert not Capabilities().known
    assert Capabilities([]).known


@pytest.mark.parametrize(
    ("parse", "octets", "attributes"),
    [
        (
            parse_selected,
            b"1234 3000234 3002322 misc.test list follows",
            {"name": "misc.test", "count": 1234, "low": 3000234, "high": 3002322},
        ),
        (
            parse_active,
            b"rec.food.drink.tea 100 51 y",
            {"name": "rec.food.drink.tea", "count": 50, "low": 51, "high": 100, "status": "y"},
        ),
        (parse_active, b"misc.test 3002322 3000234 =other", {"status": "=other"}),
        (parse_active, b"a 4 5 y", {"count": 0, "low": 5, "high": 4}),
        (parse_active, "grüße 1 1 y".encode(), {"name": "grüße"}),
        (
            parse_counts,
            b"misc.test 3002322 3000234 1234 y",
            {"count": 1234, "low": 3000234, "high": 3002322},
        ),
        (
            parse_created,
            b"misc.test 930445408 <creatme@isc.org>",
            {"created": 930445408.0, "creator": "<creatme@isc.org>"},
        ),
        (parse_created, b"a 0", {"created": 0.0, "creator": ""}),
    ],
)
def test_lines_of_groups_are_read(
    parse: Callable[[bytes], object], octets: bytes, attributes: dict[str, Any]
) -> None:
    group = parse(octets)
    assert {name: getattr(group, name) for name in attributes} == attributes


@pytest.mark.parametrize(
    ("parse", "octets"),
    [
        (parse_selected, b"1 2 3"),
        (parse_selected, b"1 2 x a"),
        (parse_active, b""),
        (parse_active, b"a 1 -1 y"),
        (parse_active, b"a 1 \xc2\xb2 y"),
        (parse_active, b"a 1 9999999999999999999 y"),
        (parse_counts, b"a 1 1 y"),
        (parse_created, b"a"),
        (parse_created, b"a b c"),
        (parse_description, b""),
        (parse_description, b"\tx"),
        (parse_found, b"1"),
        (parse_found, b"x <1@x>"),
        (parse_date_reply, b""),
        (parse_date_reply, b"1999062313562"),
        (parse_date_reply, b"19990623135624x"),
        (parse_date_reply, b"20230230000000"),
        (parse_date_reply, "１".encode() * 5),
        (parse_header, b"x y"),
        (parse_header, b""),
        (parse_overview, b"\t"),
        (parse_overview, b"1 \ts"),
    ],
)
def test_what_is_none_of_them_is_the_servers_fault(
    parse: Callable[[bytes], object], octets: bytes
) -> None:
    """HARDENING, defaults 8."""
    with pytest.raises(NNTPProtocolError):
        parse(octets)


def test_dates_descriptions_articles_and_headers_are_read() -> None:
    assert parse_date_reply(b"19990623135624") == datetime(1999, 6, 23, 13, 56, 24, tzinfo=UTC)
    assert parse_date_reply(b"19990623135624 GMT").year == 1999
    assert parse_description(b"misc.test \t General \xc3\xbc") == ("misc.test", "General ü")
    assert parse_found(b"3000234 <45223423@example.com> and more") == (
        3000234,
        b"<45223423@example.com>",
    )
    assert parse_header(b"3000234 I am just a test article") == (
        3000234,
        b"I am just a test article",
    )
    assert parse_header(b"0 ") == (0, b"")
    assert parse_header(b"<1@x> y") == (0, b"y")


def test_the_order_of_an_overview_is_what_it_is_and_more_fields_have_names() -> None:
    """RFC 3977 §8.4.2."""
    lines = [b"x:"] * 7 + [b"Xref:full", b"Keywords:FULL", b"\xff"]
    names = parse_format(lines)
    assert names[:7] == OVERVIEW_FIELDS
    assert names[7:9] == ("xref", "keywords")
    assert parse_format([]) == OVERVIEW_FIELDS
    row = parse_overview(b"7\ts\tf\td\t <1@x> \t\t\t\tkeywords: a, b\tXREF: x a:1", names)
    assert (row.message_id, row.references, row.size, row.lines) == (b"<1@x>", [], None, None)
    assert row.field("xref") == b"x a:1"
    assert row.field("keywords") == b"a, b"
    assert row.field("subject") == b"s"
    assert repr(row) == "<Overview 7 's'>"


def test_an_overview_of_a_million_columns_is_cut() -> None:
    assert len(parse_overview(b"1" + b"\t" * 1_000_000).columns) == 200
