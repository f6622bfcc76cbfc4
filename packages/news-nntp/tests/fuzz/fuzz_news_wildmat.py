"""Fuzz target: wildmats and patterns mean what they should, and no text makes one raise aught else.

Octets that begin with ``=`` are a pattern of XPAT, others a wildmat; behind a NUL stands a text.
"""

from __future__ import annotations

import re

from sennit.news.errors import NNTPProtocolError
from sennit.news.wildmat import Pattern, Wildmat

SEEDS = [
    b"comp.*,!comp.lang.*\0comp.lang.c",
    b"*a*a*a*b\0aaaaaaaaaaaaaaaaaaaa",
    b"a?c,!*\0abc",
    b"!junk,misc.*\0misc.test",
    b"=[^]-]*[a-c-]\\*?\0xyz*a",
    b"=*[a-z]*[^a-z]\0abc 7",
]


def fuzz(data: bytes) -> None:
    """Match a name; patterns of few stars are checked against regular expressions."""
    text, _, name = data.partition(b"\0")
    subject = name[:200].decode("utf-8", "surrogateescape")
    if text[:1] == b"=":
        fuzz_pattern(text[1:500].decode("utf-8", "surrogateescape"), subject)
        return
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


def fuzz_pattern(text: str, content: str) -> None:
    """Match a content; patterns of few stars are checked by trying all ways."""
    try:
        pattern = Pattern(text)
    except NNTPProtocolError:
        return
    found = pattern.matches(content)
    if text.count("*") <= 4 and len(content) <= 40:
        assert found is _matches(text, content)


def _matches(text: str, content: str) -> bool:
    """The same by the letter of RFC 2980 §3.3, slowly."""
    if not text:
        return not content
    if text[0] == "*":
        return any(_matches(text[1:], content[at:]) for at in range(len(content) + 1))
    if not content:
        return False
    if text[0] == "[":
        end = text.index("]", 3 if text[1] == "^" else 2)
        named = text[2 if text[1] == "^" else 1 : end]
        inside, at = False, 0
        while at < len(named):
            if named[at + 1 : at + 2] == "-" and at + 2 < len(named):
                inside |= named[at] <= content[0] <= named[at + 2]
                at += 3
            else:
                inside |= named[at] == content[0]
                at += 1
        return inside is not (text[1] == "^") and _matches(text[end + 1 :], content[1:])
    if text[0] == "\\":
        text = text[1:]
    elif text[0] == "?":
        return _matches(text[1:], content[1:])
    return text[0] == content[0] and _matches(text[1:], content[1:])
