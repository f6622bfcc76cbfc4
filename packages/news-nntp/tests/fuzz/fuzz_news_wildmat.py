"""Fuzz target: wildmats mean what their patterns mean, and no text makes one raise aught else."""

from __future__ import annotations

import re

from sennit.news.errors import NNTPProtocolError
from sennit.news.wildmat import Wildmat

SEEDS = [
    b"comp.*,!comp.lang.*\0comp.lang.c",
    b"*a*a*a*b\0aaaaaaaaaaaaaaaaaaaa",
    b"a?c,!*\0abc",
    b"!junk,misc.*\0misc.test",
]


def fuzz(data: bytes) -> None:
    """Match a name; patterns of few stars are checked against regular expressions."""
    text, _, name = data.partition(b"\0")
    subject = name[:200].decode("utf-8", "surrogateescape")
    try:
        wildmat = Wildmat(text[:500].decode("utf-8", "surrogateescape"))
    except NNTPProtocolError:
        return
    found = wildmat.matches(subject)
    if text.count(b"*") > 4:
        return
    expected = False
    for pattern in wildmat.text.split(","):
        plain = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(plain, subject, re.DOTALL):
            expected = pattern[0] != "!"
    assert found is expected
