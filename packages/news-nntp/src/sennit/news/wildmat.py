"""Wildmats: which newsgroups are meant (RFC 3977 §4); and patterns of contents, which are older.

A wildmat is patterns with commas between; one that begins with ``!`` says no. The last one that
matches decides; when none does, the answer is no. ``*`` stands for any run of characters, ``?`` for
one character. A `Pattern`, as XPAT has it, is one pattern, in which commas and exclamation marks
are characters as others are; it knows sets in brackets, too, which RFC 3977 has taken away:
``[a-z]``, ``[^0-9]``; and a backslash takes the meaning of what stands behind it away.

All patterns are matched at once, as one automaton whose states are the bits of a number: each
character of the name costs a few operations on numbers of as many bits as the wildmat has
characters, whatever stars there are. What a character does is looked up among the ranges of
characters that are named anywhere, once. What most people write, whole names and ``prefix.*``,
needs no automaton.

Sources: RFC 3977 §4.1 (syntax), §4.2 (meaning); RFC 2980 §3.3 (sets, backslashes). Beyond the
letter of the former the first pattern of a wildmat may say no, too, as people write it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sennit.news.errors import NNTPProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = Sequence[tuple[int, int]]
    """Of characters, by number, both ends included; none stands in two of them."""

__all__ = ["EVERYTHING", "Pattern", "Wildmat", "parse_pattern", "parse_wildmat"]

_STAR: Final[Ranges] = ((-1, -1),)
_ANY: Final[Ranges] = ((0, 0x10FFFF),)
_LEARNT: Final = 256
"""Characters of which is remembered what they do."""
_SYNTAX: Final = re.compile(r"!?[^\x00-!,\[\\\]\x7f]+(?:,!?[^\x00-!,\[\\\]\x7f]+)*")


class _Automaton:
    """Patterns as states, the bits of a number. `add` them, then `run` over texts."""

    __slots__ = ("_at", "_does", "_learnt", "_loops", "_next", "_starts", "_turns")

    def __init__(self) -> None:
        self._next = 1
        self._starts = 0
        self._loops = 0  # states that stay: a star stands there
        # By character: states of which it changes whether that one, and those behind it, lead on.
        self._turns: dict[int, int] = {}
        self._at: list[int] = []
        self._does: list[int] = []
        self._learnt: dict[str, int] = {}

    def add(self, items: Sequence[Ranges]) -> int:
        """Add a pattern; the bit length of its last state."""
        # A pattern of k items that are no stars has k + 1 states: how many have matched.
        self._starts |= self._next
        for ranges in items:
            if ranges is _STAR:
                self._loops |= self._next
                continue
            for low, high in ranges:
                self._turns[low] = self._turns.get(low, 0) ^ self._next
                self._turns[high + 1] = self._turns.get(high + 1, 0) ^ self._next
            self._next <<= 1
        self._next <<= 1
        return self._next.bit_length() - 1

    def run(self, text: str, states: int | None = None) -> int:
        """Give the states in which a text ends, from those in which what stands before it does."""
        if states is None:
            states = self._starts
        loops, learnt = self._loops, self._learnt
        for each in text:
            leads = learnt.get(each)
            if leads is None:
                leads = self._learn(each)
            states = ((states & leads) << 1) | (states & loops)
            if not states:
                break
        return states

    def _learn(self, character: str) -> int:
        """States from which a character leads to the next one."""
        if not self._does:
            leads = 0
            for at, turns in sorted(self._turns.items()):
                leads ^= turns
                self._at.append(at)
                self._does.append(leads)
        place = bisect_right(self._at, ord(character)) - 1
        leads = self._does[place] if place >= 0 else 0
        if len(self._learnt) < _LEARNT:
            self._learnt[character] = leads
        return leads


class Wildmat:
    """One wildmat, ready to match. `parse_wildmat` gives the same one for the same text.

    Args:
        text: As it is written.

    Raises:
        NNTPProtocolError: It is none.
    """

    __slots__ = ("_automaton", "_finals", "_plain", "names", "text")

    def __init__(self, text: str) -> None:
        if not _SYNTAX.fullmatch(text):
            raise NNTPProtocolError(f"not a wildmat: {text[:64]!r}", "RFC 3977 §4.1")
        self.text = text
        patterns = [(each.removeprefix("!"), each[0] != "!") for each in text.split(",")]
        self.names: tuple[str, ...] | None = None
        """The names it says yes to, when it is nothing but names."""
        if all(yes and "*" not in each and "?" not in each for each, yes in patterns):
            self.names = tuple(dict.fromkeys(each for each, _ in patterns))
        # Whole names, and beginnings with a star behind: (text, is a beginning, says yes).
        self._plain: list[tuple[str, bool, bool]] | None = []
        for each, yes in reversed(patterns):
            if "?" in each or "*" in each[:-1]:
                self._plain = None
                break
            self._plain.append((each.removesuffix("*"), each.endswith("*"), yes))
        if self._plain is None:
            self._automaton = _Automaton()
            # The bit length of each last state, and what it says.
            self._finals = {self._automaton.add(_items(each)): yes for each, yes in patterns}

    def matches(self, name: str) -> bool:
        """Tell whether a name is meant."""
        if self._plain is not None:
            for text, begins, yes in self._plain:
                if name.startswith(text) if begins else name == text:
                    return yes
            return False
        states = self._automaton.run(name)
        # Later patterns have the higher bits: the first last state from above decides.
        while states:
            length = states.bit_length()
            if length in self._finals:
                return self._finals[length]
            states ^= 1 << (length - 1)
        return False

    def __repr__(self) -> str:
        return f"Wildmat({self.text!r})"


def _items(pattern: str) -> list[Ranges]:
    return [
        _STAR if each == "*" else _ANY if each == "?" else ((ord(each), ord(each)),)
        for each in pattern
    ]


class Pattern:
    """One pattern of contents (RFC 2980 §3.3), ready to match; `parse_pattern` gives them.

    Args:
        text: As it is written.

    Raises:
        NNTPProtocolError: It is none: a set does not end, or nothing stands behind a backslash.
    """

    __slots__ = ("_automaton", "_final", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._automaton = _Automaton()
        self._final = 1 << self._automaton.add(_old_items(text)) - 1

    def matches(self, content: str) -> bool:
        """Tell whether a content is meant, the whole of it."""
        return self.accepts(self.follow(content))

    def follow(self, part: str, states: int | None = None) -> int:
        """Match part of a content.

        Args:
            part: It.
            states: What came of the part before it; ``None`` for the first one.

        Returns:
            What `accepts` tells whether the content may end there.
        """
        return self._automaton.run(part, states)

    def accepts(self, states: int) -> bool:
        """Tell whether a content is meant, out of what has come of its last part."""
        return states & self._final != 0

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def _old_items(text: str) -> list[Ranges]:
    items: list[Ranges] = []
    at = 0
    while at < len(text):
        each = text[at]
        at += 1
        if each == "[":
            ranges, at = _set(text, at)
            items.append(ranges)
            continue
        if each == "\\":
            each = text[at : at + 1]
            at += 1
            if not each:
                raise NNTPProtocolError("nothing behind a backslash", "RFC 2980 §3.3")
        elif each in "*?":
            items.append(_STAR if each == "*" else _ANY)
            continue
        items.append(((ord(each), ord(each)),))
    return items


def _set(text: str, at: int) -> tuple[Ranges, int]:
    """Read a set behind its bracket; its characters, and where it ends."""
    other = text[at : at + 1] == "^"
    begin = at = at + other
    named: list[tuple[int, int]] = []
    # A bracket may be its first character.
    while at == begin or text[at : at + 1] != "]":
        low = high = text[at : at + 1]
        if not low:
            raise NNTPProtocolError(f"a set without end: {text[:64]!r}", "RFC 2980 §3.3")
        at += 1
        # A dash is itself where it begins or ends the set.
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high = text[at + 1]
            at += 2
        named.append((ord(low), ord(high)))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(named):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        elif first <= last:  # one the wrong way round has no characters
            merged.append((first, last))
    return _others(merged) if other else merged, at + 1


def _others(ranges: Ranges) -> Ranges:
    """All characters that are in none of these."""
    lows = [0, *(high + 1 for _, high in ranges)]
    highs = [*(low - 1 for low, _ in ranges), 0x10FFFF]
    return [(low, high) for low, high in zip(lows, highs, strict=True) if low <= high]


@lru_cache(maxsize=256)
def parse_pattern(text: str) -> Pattern:
    """Give the `Pattern` of a text.

    Raises:
        NNTPProtocolError: It is none.
    """
    return Pattern(text)


@lru_cache(maxsize=256)
def parse_wildmat(text: str) -> Wildmat:
    """Give the `Wildmat` of a text.

    Raises:
        NNTPProtocolError: It is none.
    """
    return Wildmat(text)


EVERYTHING: Final = parse_wildmat("*")
"""Matches every name."""
