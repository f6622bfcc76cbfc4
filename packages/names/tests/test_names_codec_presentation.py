"""Presentation form: how text is taken apart, before record types look at it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.names.codes import (
    Rcode,
    class_from_text,
    class_text,
    opcode_text,
    rcode_text,
    type_from_text,
    type_text,
)
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.name import Name
from sennit.names.presentation import (
    Token,
    address_text,
    packed_address,
    printable,
    quoted,
    seconds_from_text,
    split,
    tokens_of,
    unescape,
)


def words(text: str) -> list[list[str]]:
    return [[each.text for each in entry.tokens] for entry in split(text.splitlines())]


def test_entries_are_lines_or_what_parentheses_hold_together() -> None:
    text = 'a b ; c\n\n  ; nothing\n( a\n b ; (\n) c\n"x y"z\n d'

    found = list(split(text.splitlines(keepends=True)))

    assert [(each.line, each.blank, [word.text for word in each.tokens]) for each in found] == [
        (1, False, ["a", "b"]),
        (4, False, ["a", "b", "c"]),
        (7, False, ["x y", "z"]),
        (8, True, ["d"]),
    ]
    assert found[2].tokens == [Token("x y", True), Token("z")]


def test_escapes_hide_what_would_end_a_word() -> None:
    assert words(r"a\ b a\;b a\(b a\"b \\ c") == [[r"a\ b", r"a\;b", r"a\(b", r"a\"b", r"\\", "c"]]
    assert words(r'"a\"b" "" ";("') == [[r"a\"b", "", ";("]]


def test_a_key_and_its_quoted_value_are_one_word() -> None:
    """RFC 9460 §2.1."""
    assert words('alpn="h2 h3" key1="\\"" a.b="c" ="d"') == [
        ["alpn=h2 h3", 'key1=\\"', "a.b=", "c", "=", "d"]
    ]


@pytest.mark.parametrize("text", ['"a', ")", "(", "a (\nb", '"a\\"', 'x="a'])
def test_what_does_not_match_is_refused_by_line(text: str) -> None:
    with pytest.raises(PresentationError) as found:
        list(split(["ok", *text.splitlines()], "zone"))
    assert found.value.line >= 2
    assert str(found.value).startswith("zone:")


@given(st.text(max_size=40) | st.text('ab\\"();= \n0129', max_size=40))
def test_no_text_raises_anything_but_a_presentation_error(text: str) -> None:
    try:
        for entry in split(text.split("\n")):
            for token in entry.tokens:
                unescape(token.text)
    except PresentationError:
        pass


@given(st.binary(max_size=40))
def test_octets_in_quotes_come_back(octets: bytes) -> None:
    tokens = tokens_of(quoted(octets))
    assert tokens.string() == octets
    assert tokens.at_end


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800", "\udce9\\034"])
def test_octets_that_are_no_utf_8_are_no_text(text: str) -> None:
    """What was read so that they are kept (arguments, files) is refused as other text is."""
    with pytest.raises(PresentationError, match="UTF-8"):
        unescape(text)
    with pytest.raises(PresentationError):
        Name(text)


def test_escapes_in_strings() -> None:
    assert unescape(r"a\"\065\\") == b'a"A\\'
    assert unescape("é") == "é".encode()
    assert unescape("\\é") == "é".encode()
    for text in ("\\", r"\25", r"\256", r"\1é1"):
        with pytest.raises(PresentationError):
            unescape(text)
    assert printable(b"a\0\xff") == "a.."


def test_a_cursor_reads_words_as_what_they_are() -> None:
    tokens = tokens_of("7 1h x a b", Name("example."))

    assert tokens.number(7) == 7
    assert tokens.seconds() == 3600
    assert tokens.name() == Name("x.example.")
    assert tokens.peek() == Token("a")
    with pytest.raises(PresentationError):
        tokens.expect_end()
    assert tokens.rest() == ["a", "b"]
    tokens.expect_end()
    assert tokens.peek() is None
    for read in (tokens.next, tokens.name, tokens.string, tokens.seconds, tokens.text):
        with pytest.raises(PresentationError):
            read()
    for text in ("8", "-1", "+1", "1_0", "0x1", "", "٣", "9" * 19):
        with pytest.raises(PresentationError):
            tokens_of(f'"{text}"').number(7)
    with pytest.raises(PresentationError):
        tokens_of("a\nb")
    assert tokens_of("").at_end


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("3600", 3600),
        ("1h30m", 5400),
        ("1W2D", 777600),
        ("2147483647", 2147483647),
        ("2147483648", None),
        ("", None),
        ("h", None),
        ("1x", None),
        ("-1", None),
        ("1 h", None),
        ("9" * 30, None),
        ("٣", None),
    ],
)
def test_times_may_have_units(text: str, seconds: int | None) -> None:
    assert seconds_from_text(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::FFFF:c000:201", "::ffff:192.0.2.1"),
        ("::", "::"),
    ],
)
def test_addresses_are_written_in_one_way(text: str, said: str) -> None:
    """RFC 5952, the same on every Python."""
    assert address_text(packed_address(text)) == said


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "1.2.3.04", "fe80::1%eth0", ":::", "1.2.3.٤"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PresentationError):
        packed_address(text)


def test_numbers_have_names_and_a_form_for_those_that_have_none() -> None:
    """RFC 3597 §5."""
    assert type_from_text("mx") == type_from_text("TYPE15") == 15
    assert (type_text(15), type_text(65280)) == ("MX", "TYPE65280")
    assert class_from_text("in") == class_from_text("class1") == 1
    assert (class_text(1), class_text(42)) == ("IN", "CLASS42")
    assert (opcode_text(5), opcode_text(15)) == ("UPDATE", "OPCODE15")
    assert (rcode_text(Rcode.NXDOMAIN), rcode_text(40)) == ("NXDOMAIN", "RCODE40")
    for text in ("NOSUCH", "TYPE", "TYPE65536", "TYPE-1", "TYPE1_0", "TYPE٣"):
        with pytest.raises(PresentationError):
            type_from_text(text)
    with pytest.raises(DNSUsageError):
        class_from_text("OUT")
