"""Wildmats: meaning, syntax, and what they cost."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.errors import NNTPProtocolError
from sennit.news.wildmat import EVERYTHING, Pattern, Wildmat, parse_pattern, parse_wildmat


@pytest.mark.parametrize(
    ("wildmat", "name", "matches"),
    [
        # The examples of RFC 3977 §4.4 and §4.2.
        ("a*,!*b,*c*", "aaa", True),
        ("a*,!*b,*c*", "abb", False),
        ("a*,!*b,*c*", "ccb", True),
        ("a*,!*b,*c*", "xxx", False),
        ("a*,c*,!*b", "ccb", False),
        ("a?a", "axa", True),
        ("a?a", "aa", False),
        ("tx.natives,*", "anything", True),
        ("comp.*,!comp.lang.*", "comp.os", True),
        ("comp.*,!comp.lang.*", "comp.lang.c", False),
        ("!junk", "junk", False),
        ("!junk,*", "junk", True),
        ("fr.caf?", "fr.café", True),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a**b", "ab", True),
        ("*", "", True),
        ("a", "A", False),
    ],
)
def test_the_last_pattern_that_matches_decides(wildmat: str, name: str, matches: bool) -> None:
    assert Wildmat(wildmat).matches(name) is matches


@pytest.mark.parametrize(
    "text", ["", ",", "a,", ",a", "a,,b", "!", "a,!", "a!b", "[a-z]", "a\\*", "a b", "!!a", "\0"]
)
def test_what_is_no_wildmat_is_a_fault(text: str) -> None:
    with pytest.raises(NNTPProtocolError):
        parse_wildmat(text)


def test_a_wildmat_of_names_alone_tells_them() -> None:
    assert parse_wildmat("a.b,c.d,a.b").names == ("a.b", "c.d")
    assert parse_wildmat("a.b,!c.d").names is None
    assert parse_wildmat("a.*").names is None
    assert EVERYTHING.names is None


def test_one_text_is_read_once() -> None:
    assert parse_wildmat("comp.*") is parse_wildmat("comp.*")
    assert repr(parse_wildmat("comp.*")) == "Wildmat('comp.*')"


@pytest.mark.parametrize(
    ("pattern", "content", "matches"),
    [
        # The examples of RFC 2980 §3.3.1.
        ("[^]-]", "]", False),
        ("[^]-]", "-", False),
        ("[^]-]", "a", True),
        ("[^]-]", "ab", False),
        ("*bdc", "bdc", True),
        ("*bdc", "a bdc", True),
        ("*bdc", "bdcx", False),
        ("[0-9a-zA-Z]", "G", True),
        ("[0-9a-zA-Z]", "!", False),
        ("a??d", "abcd", True),
        ("a??d", "abd", False),
        # A dash first or last, a bracket first, a backslash within.
        ("[a-]", "-", True),
        ("[-a]", "-", True),
        ("[]a]", "]", True),
        ("[]-a]", "_", True),
        ("[\\]", "\\", True),
        ("[^^]", "^", False),
        ("[a^]", "^", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("[a-ce-g]*", "dd", False),
        ("[a-mg-z]", "p", True),
        ("[*?]", "x", False),
        # A backslash takes away what stands behind it means.
        ("\\[a]", "[a]", True),
        ("\\*", "x", False),
        ("\\*", "*", True),
        ("a\\\\b", "a\\b", True),
        ("\\x", "x", True),
        # Nothing else is special.
        ("!a,b", "!a,b", True),
        ("!a,b", "b", False),
        ("*é?", "caféx", True),
        ("[à-ü]", "é", True),
        ("*\udce9*", "caf\udce9", True),
        ("", "", True),
        ("*", "", True),
    ],
)
def test_a_pattern_knows_sets_and_backslashes(pattern: str, content: str, matches: bool) -> None:
    assert Pattern(pattern).matches(content) is matches


@pytest.mark.parametrize("text", ["[", "[]", "[^]", "[^", "a[b", "[a-", "[a-]x[", "\\", "a\\\\\\"])
def test_what_is_no_pattern_is_a_fault(text: str) -> None:
    with pytest.raises(NNTPProtocolError):
        parse_pattern(text)


def test_a_text_of_a_pattern_is_read_once() -> None:
    assert parse_pattern("[a]*") is parse_pattern("[a]*")
    assert repr(parse_pattern("[a]*")) == "Pattern('[a]*')"


@given(st.text("abc", max_size=9), st.integers(0, 9), st.integers(0, 9))
def test_where_a_content_is_cut_changes_nothing(content: str, one: int, other: int) -> None:
    for text in ("", "*", "a*b[a-b]*", "*[^a]?c", "abc"):
        pattern = Pattern(text)
        states = pattern.follow("")
        first, last = sorted((one, other))
        for part in (content[:first], content[first:last], content[last:]):
            states = pattern.follow(part, states)
        assert pattern.accepts(states) is pattern.matches(content)


SET = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(st.sampled_from(["a", "b-d", "c", "a-a", "e-b"]), min_size=1, max_size=4),
)


@given(
    items=st.lists(st.one_of(st.sampled_from("abcd*?"), SET), max_size=6),
    content=st.text("abcde", max_size=8),
)
def test_it_means_what_its_sets_mean(
    items: list[str | tuple[str, list[str]]], content: str
) -> None:
    text = plain = ""
    for each in items:
        if isinstance(each, tuple):
            text += f"[{each[0]}{''.join(each[1])}]"
            # The module has no ranges the wrong way round.
            named = "".join(part for part in each[1] if part != "e-b")
            plain += f"[{each[0]}{named}]" if named else "." if each[0] else "(?!)"
        else:
            text += each
            plain += {"*": ".*", "?": "."}.get(each, each)

    assert Pattern(text).matches(content) is bool(re.fullmatch(plain, content))


PATTERN = st.text("ab*?", min_size=1, max_size=6)


@given(
    patterns=st.lists(st.tuples(st.booleans(), PATTERN), min_size=1, max_size=4),
    name=st.text("ab", max_size=8),
)
def test_it_means_what_its_patterns_mean(patterns: list[tuple[bool, str]], name: str) -> None:
    expected = False
    for yes, pattern in patterns:
        if re.fullmatch(pattern.replace("*", ".*").replace("?", "."), name):
            expected = yes
    text = ",".join(("" if yes else "!") + pattern for yes, pattern in patterns)

    assert Wildmat(text).matches(name) is expected


@pytest.mark.parametrize("wildmat", ["*a" * 100 + "*b", "?," * 240 + "?", "*a," * 160 + "!*b"])
def test_no_wildmat_takes_long(wildmat: str) -> None:
    """Not even against a hundred names made for it (HARDENING nntp-4: 100 ms)."""
    compiled = Wildmat(wildmat)
    began = time.process_time()

    for _ in range(100):
        compiled.matches("a" * 200)

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "pattern", ["*a" * 240 + "*b", "*[a-y]" * 80 + "*z", "[^b]*" * 98, "*[abcdefghij]" * 38 + "z"]
)
@pytest.mark.parametrize("content", ["a" * 20_000, "".join(map(chr, range(0x4E00, 0x9C00)))])
def test_no_pattern_takes_long(pattern: str, content: str) -> None:
    """HARDENING nntp-4: nor against a content of ever other characters."""
    compiled = Pattern(pattern)
    began = time.process_time()

    compiled.matches(content)

    assert time.process_time() - began < 0.1
