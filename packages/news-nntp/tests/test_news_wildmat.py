"""Wildmats: meaning, syntax, and what they cost."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.errors import NNTPProtocolError
from sennit.news.wildmat import EVERYTHING, Wildmat, parse_wildmat


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
