"""Listings that are written: columns, facts, times."""

from __future__ import annotations

import calendar
import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp import Entry
from sennit.ftp.listing import (
    DEFAULT_FACTS,
    FACTS,
    fact_line,
    fact_lines,
    feature,
    is_speakable,
    list_line,
    list_lines,
    name_lines,
    parse_time_value,
    select_facts,
    time_value,
)


def at(text: str) -> float:
    """POSIX seconds of a time in UTC."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")))


NOW = at("2026-03-01 12:00:00")


# ── LIST and NLST ─────────────────────────────────────────────────────────────


def test_a_file_has_nine_columns() -> None:
    entry = Entry("a b.txt", "file", size=1234, modified=at("2026-02-28 23:59:59"), mode=0o640)

    assert list_line(entry, NOW) == (
        "-rw-r-----   1 ftp      ftp              1234 Feb 28 23:59 a b.txt"
    )


@pytest.mark.parametrize(
    ("modified", "text"),
    [
        ("2026-03-01 12:00:00", "Mar  1 12:00"),
        ("2026-03-01 12:00:01", "Mar  1  2026"),
        ("2025-08-30 21:00:00", "Aug 30  2025"),
        ("2025-08-30 21:10:00", "Aug 30 21:10"),
        ("1970-01-01 00:00:00", "Jan  1  1970"),
        ("2100-02-28 00:00:00", "Feb 28  2100"),
    ],
)
def test_the_last_half_year_has_its_time_of_day_and_others_their_year(
    modified: str, text: str
) -> None:
    assert f" {text} a" in list_line(Entry("a", "file", modified=at(modified)), NOW)


@pytest.mark.parametrize(
    ("kind", "mode", "text"),
    [
        ("file", 0o644, "-rw-r--r--"),
        ("file", 0o4755, "-rwsr-xr-x"),
        ("dir", 0o755, "drwxr-xr-x"),
        ("dir", 0o1777, "drwxrwxrwt"),
        ("other", 0o600, "prw-------"),
        ("strange", 0o600, "prw-------"),
    ],
)
def test_the_first_column_is_what_it_is_and_its_bits(kind: str, mode: int, text: str) -> None:
    assert list_line(Entry("a", kind, mode=mode), NOW).split()[0] == text


def test_a_link_tells_where_it_leads() -> None:
    line = list_line(Entry("a", "link", target="b/c", mode=0o777), NOW)
    assert line.startswith("lrwxrwxrwx")
    assert line.endswith(" a -> b/c")


def test_an_owner_is_one_word() -> None:
    line = list_line(Entry("n", "file", owner="a b\r\n", group=""), NOW)
    assert line.split()[2:4] == ["a_b_", "-"]


NAMES = ["a\nb", "a\r", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\udcff", "", "a\u2029"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_cannot_be_told_breaks_no_listing(name: str) -> None:
    entries = [Entry("a", "file"), Entry(name, "file"), Entry("z", "dir")]

    for octets in (list_lines(entries, NOW), name_lines(entries), fact_lines(entries)):
        lines = octets.split(b"\r\n")
        assert len(lines) == 3
        assert lines[0].endswith(b"a")
        assert lines[1].endswith(b"z")
    assert fact_line(entries[1]) == ""
    assert not is_speakable(name)


@pytest.mark.parametrize("name", ["a b", "ü", "日本", "👩‍💻", "\xa0", "a\u202eb"])
def test_other_names_are_told_in_utf_8(name: str) -> None:
    assert is_speakable(name)
    assert name_lines([Entry(name, "file")]) == f"{name}\r\n".encode()


def test_names_may_be_told_with_what_was_asked_for() -> None:
    assert name_lines([Entry("a", "file"), Entry("b", "dir")], "d/") == b"d/a\r\nd/b\r\n"


# ── facts ─────────────────────────────────────────────────────────────────────


def test_a_file_is_told_by_its_facts() -> None:
    entry = Entry(
        "a b", "file", size=7, modified=NOW, permissions="adfrw", unique="1g2", mode=0o640
    )

    assert fact_line(entry) == (
        "type=file;size=7;modify=20260301120000;perm=adfrw;unique=1g2;UNIX.mode=0640; a b"
    )
    assert fact_line(entry, FACTS).endswith("UNIX.owner=ftp;UNIX.group=ftp; a b")
    assert fact_lines([entry, entry], ("type",)) == b"type=file; a b\r\ntype=file; a b\r\n"
    assert fact_line(entry, ()) == " a b"


def test_a_directory_has_no_size_and_may_be_the_current_one() -> None:
    entry = Entry("", "dir", modified=0.0, permissions="el", mode=0o755)
    assert fact_line(entry, DEFAULT_FACTS, name="/d", kind="cdir") == (
        "type=cdir;modify=19700101000000;perm=el;UNIX.mode=0755; /d"
    )


def test_what_is_neither_has_a_type_of_its_system() -> None:
    assert fact_line(Entry("a", "other"), ("type",)) == "type=OS.unix=other; a"
    assert fact_line(Entry("a", "link"), ("type",)) == "type=OS.unix=symlink; a"


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ()),
        ("type;size;", ("type", "size")),
        ("SIZE;Type;unknown;UNIX.Mode;", ("type", "size", "UNIX.mode")),
        ("type", ("type",)),
        (";;;" * 1000, ()),
    ],
)
def test_facts_are_chosen_in_any_case_and_order(text: str, facts: tuple[str, ...]) -> None:
    """RFC 3659 §7.9."""
    assert select_facts(text) == facts


def test_the_feature_marks_what_is_chosen() -> None:
    """RFC 3659 §7.8."""
    assert feature(("type", "modify")) == (
        "MLST type*;size;modify*;perm;unique;UNIX.mode;UNIX.owner;UNIX.group;"
    )


# ── times ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("19700101000000", 0.0),
        ("20000229235959", at("2000-02-29 23:59:59")),
        ("20160101000000.5", at("2016-01-01 00:00:00") + 0.5),
        ("19691231235959", -1.0),
    ],
)
def test_a_time_is_fourteen_digits(text: str, seconds: float) -> None:
    assert parse_time_value(text) == seconds
    if "." not in text:
        assert time_value(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "1970", "20010229000000", "20000101240000", "20000101006000", "00000101000000",
        "20000101000000.", "2000010100000a", " 20000101000000", "20000101000000\n",
        "+0000101000000",        "19100101000000.1234567890123456789", "٢٠٠٠٠١٠١٠٠٠٠٠٠",
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time_value(text) is None


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300, -1e300])
def test_no_time_of_a_file_breaks_a_listing(seconds: float) -> None:
    entry = Entry("a", "file", modified=seconds)
    assert re.fullmatch(r"[0-9]{14}", time_value(seconds))
    assert list_line(entry, NOW).endswith("a")
    assert fact_line(entry).endswith("; a")


@given(st.integers(-62_000_000_000, 250_000_000_000))
def test_a_time_is_read_as_it_was_written(seconds: int) -> None:
    assert parse_time_value(time_value(seconds)) == seconds
