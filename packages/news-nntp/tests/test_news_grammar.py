"""Lines, blocks, ranges and dates of NNTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news import grammar
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.grammar import BlockDecoder


def test_a_command_is_words_the_first_in_capitals() -> None:
    assert grammar.parse_command(b"group  misc.test ") == (b"GROUP", [b"misc.test"])
    assert grammar.parse_command(b"LIST\tactive *.x") == (b"LIST", [b"active", b"*.x"])


@pytest.mark.parametrize("line", [b"", b" ", b"A", b"1ab", b"DA\0TE", b"DATE x\ry", b"DATE\nQUIT"])
def test_what_is_no_command_is_a_fault(line: bytes) -> None:
    with pytest.raises(NNTPProtocolError):
        grammar.parse_command(line)


def test_commands_are_written_as_they_are_read() -> None:
    line = grammar.command_line("over", b"1-", "é")

    assert line == b"over 1- \xc3\xa9\r\n"
    assert grammar.parse_command(line[:-2]) == (b"OVER", [b"1-", "é".encode()])


@pytest.mark.parametrize("argument", ["", " ", "a b", "a\r\nQUIT", "a\n", "\0", "x" * 506])
def test_arguments_that_are_not_one_word_are_refused(argument: str) -> None:
    with pytest.raises(NNTPUsageError):
        grammar.command_line("GROUP", argument)


def test_responses_have_a_code_and_a_text() -> None:
    assert grammar.response_line(211, "3 1 3 misc.test") == b"211 3 1 3 misc.test\r\n"
    assert grammar.parse_response(b"211 3 1 3 misc.test") == (211, b"3 1 3 misc.test")
    assert grammar.parse_response(b"205") == (205, b"")
    assert len(grammar.response_line(441, b"x" * 1000)) == grammar.MAX_RESPONSE


@pytest.mark.parametrize("line", [b"", b"20", b"2000 x", b"abc", b"600 x", b"099 x", b"+20 x"])
def test_what_has_no_code_is_no_response(line: bytes) -> None:
    with pytest.raises(NNTPProtocolError):
        grammar.parse_response(line)


@pytest.mark.parametrize("text", ["a\r\n205 bye", "a\n", "\r", "\0"])
def test_a_responses_text_is_one_line(text: str) -> None:
    with pytest.raises(NNTPUsageError):
        grammar.response_line(441, text)


def test_211_has_a_block_behind_listgroup_alone() -> None:
    assert grammar.has_block(211, "listgroup")
    assert not grammar.has_block(211, "GROUP")
    assert grammar.has_block(220, "ARTICLE")
    assert not grammar.has_block(223, "STAT")


@pytest.mark.parametrize(
    ("plain", "stuffed"),
    [
        (b"", b""),
        (b"a\r\n", b"a\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"..\r\n.x\r\n", b"...\r\n..x\r\n"),
        (b"a.\r\nb\n.\n\r\n", b"a.\r\nb\n.\n\r\n"),
    ],
)
def test_dots_that_begin_lines_are_doubled(plain: bytes, stuffed: bytes) -> None:
    """Lines end in CRLF alone (HARDENING nntp-1, RFC 3977 §3.1.1)."""
    assert grammar.stuff(plain) == stuffed
    assert grammar.unstuff(stuffed) == plain


LINES = st.lists(
    st.one_of(
        st.binary(max_size=20).map(lambda line: line.replace(b"\r\n", b"")),
        st.sampled_from([b".", b"..", b"", b"\r", b"\n", b".\r", b"\n.\n", b".\n", b"a."]),
    ),
    max_size=8,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@given(lines=LINES, behind=st.binary(max_size=10), cuts=st.lists(st.integers(0, 200)))
def test_a_block_is_read_as_it_was_wherever_it_is_cut(
    lines: bytes, behind: bytes, cuts: list[int]
) -> None:
    """HARDENING nntp-1: octets come through as they were, and only CRLF.CRLF ends."""
    wire = grammar.stuff(lines) + grammar.BLOCK_END + behind
    decoder = BlockDecoder()
    read = b""
    at = 0
    for cut in [*sorted(min(cut, len(wire)) for cut in cuts), len(wire)]:
        read += decoder.receive(wire[at:cut])
        if decoder.ended:
            assert wire[at + decoder.behind :] == behind
            break
        at = cut

    assert decoder.ended
    assert read == lines


@given(data=st.binary(), start=st.integers(0, 3))
def test_a_decoder_takes_any_octets(data: bytes, start: int) -> None:
    decoder = BlockDecoder()

    assert len(decoder.receive(b"abc"[:start] + data, start)) <= len(data)
    assert decoder.ended == (b"\r\n.\r\n" in b"\r\n" + data)
    if decoder.ended:
        assert decoder.receive(b"more", 1) == b""
        assert decoder.behind == 1


@pytest.mark.parametrize(
    ("octets", "good"),
    [
        (b"<a@b>", True),
        (b"<" + b"a" * 248 + b">", True),
        (b"<" + b"a" * 249 + b">", False),
        (b"a@b", False),
        (b"<>", False),
        (b"<a b@c>", False),
        (b"<a\0@c>", False),
        (b"<a>b>", False),
        (b"<\xe9@c>", False),
        (b"<a@b>\n", False),
    ],
)
def test_message_ids_are_short_printable_and_in_brackets(octets: bytes, good: bool) -> None:
    """HARDENING nntp-5 (RFC 3977 §3.6)."""
    assert grammar.is_message_id(octets) is good


def test_names_of_groups_and_fields() -> None:
    assert grammar.group_name(b"fr.caf\xc3\xa9") == "fr.café"
    for bad in (b"", b"a*", b"a b", b"a,b", b"a\\", b"a[b]", b"\xff", b"a?\0"):
        assert grammar.group_name(bad) is None
    assert grammar.is_field_name(b"Subject")
    assert grammar.is_field_name(b":bytes")
    assert not grammar.is_field_name(b"a:b")
    assert not grammar.is_field_name(b":")


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"5", (5, 5)),
        (b"5-", (5, grammar.MAX_NUMBER)),
        (b"5-9", (5, 9)),
        (b"5-3", (5, 3)),
        (b"0-0", (0, 0)),
    ],
)
def test_ranges_have_one_end_or_two(octets: bytes, found: tuple[int, int]) -> None:
    assert grammar.parse_range(octets) == found


@pytest.mark.parametrize(
    "octets",
    [b"", b"-5", b"a", b"1-99999999999", b"99999999999999999999", b"1-2-3", b"+1", b"\xb2", b"1_0"],
)
def test_what_is_no_range_is_a_fault(octets: bytes) -> None:
    """HARDENING nntp-4."""
    with pytest.raises(NNTPProtocolError):
        grammar.parse_range(octets)


def test_numbers_are_ascii_digits() -> None:
    assert grammar.parse_number(b"0042") == 42
    for bad in (b"", b"-1", b"1" * 19, b"1 ", "²".encode()):
        with pytest.raises(NNTPProtocolError):
            grammar.parse_number(bad)


NOW = 1_800_000_000.0  # 15 January 2027


@pytest.mark.parametrize(
    ("date", "time", "written"),
    [
        (b"19990624", b"000000", b"19990624000000"),
        (b"990624", b"000000", b"19990624000000"),
        (b"270101", b"235959", b"20270101235959"),
        (b"280101", b"000000", b"19280101000000"),
        (b"20161231", b"235960", b"20170101000000"),
        (b"08270115", b"080000", b"08270115080000"),
    ],
)
def test_dates_are_read_and_written(date: bytes, time: bytes, written: bytes) -> None:
    """Two digits are a year that is not to come (RFC 3977 §7.3.2)."""
    assert grammar.date_text(grammar.parse_date(date, time, NOW)) == written


@pytest.mark.parametrize(
    ("date", "time"),
    [
        (b"19991324", b"000000"),
        (b"19990230", b"000000"),
        (b"00000101", b"000000"),
        (b"19990101", b"240000"),
        (b"19990101", b"000061"),
        (b"1999010", b"000000"),
        (b"19990101", b"0000"),
        (b"+9990101", b"000000"),
    ],
)
def test_days_that_are_not_are_faults(date: bytes, time: bytes) -> None:
    with pytest.raises(NNTPProtocolError):
        grammar.parse_date(date, time, NOW)


@given(now=st.integers(0, 4_000_000_000))
def test_a_date_written_is_read_as_it_was(now: int) -> None:
    text = grammar.date_text(now)

    assert grammar.parse_date(text[:8], text[8:], NOW) == now
