"""Wildmats: which newsgroups are meant (RFC 3977 §4).

A wildmat is patterns with commas between; one that begins with ``!`` says no. The last one that
matches decides; when none does, the answer is no. ``*`` stands for any run of characters, ``?`` for
one character.

All patterns are matched at once, as one automaton whose states are the bits of a number: each
character of the name costs a few operations on numbers of as many bits as the wildmat has
characters, whatever stars there are. What most people write, whole names and ``prefix.*``, needs
no automaton.

Sources: RFC 3977 §4.1 (syntax), §4.2 (meaning). Beyond its letter the first pattern may say no,
too, as people write it. Not here: sets in brackets, which RFC 3977 has taken away.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sennit.news.errors import NNTPProtocolError

__all__ = ["EVERYTHING", "Wildmat", "parse_wildmat"]

_SYNTAX: Final = re.compile(r"!?[^\x00-!,\[\\\]\x7f]+(?:,!?[^\x00-!,\[\\\]\x7f]+)*")


class Wildmat:
    """One wildmat, ready to match. `parse_wildmat` gives the same one for the same text.

    Args:
        text: As it is written.

    Raises:
        NNTPProtocolError: It is none.
    """

    __slots__ = ("_any", "_finals", "_loops", "_moves", "_plain", "_starts", "names", "text")

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
            self._build(patterns)

    def _build(self, patterns: list[tuple[str, bool]]) -> None:
        # A pattern of k characters that are no stars has k + 1 states: how many have matched.
        moves: dict[str, int] = {}  # states from which a character leads to the next one
        self._any = 0  # states from which every character does
        self._loops = 0  # states that stay: a star stands there
        self._starts = 0
        self._finals: dict[int, bool] = {}  # the bit length of a last state, and what it says
        bit = 1
        for pattern, yes in patterns:
            self._starts |= bit
            for each in pattern:
                if each == "*":
                    self._loops |= bit
                    continue
                if each == "?":
                    self._any |= bit
                else:
                    moves[each] = moves.get(each, 0) | bit
                bit <<= 1
            self._finals[bit.bit_length()] = yes
            bit <<= 1
        self._moves = {each: states | self._any for each, states in moves.items()}

    def matches(self, name: str) -> bool:
        """Tell whether a name is meant."""
        if self._plain is not None:
            for text, begins, yes in self._plain:
                if name.startswith(text) if begins else name == text:
                    return yes
            return False
        states, loops, moves, otherwise = self._starts, self._loops, self._moves, self._any
        for each in name:
            states = ((states & moves.get(each, otherwise)) << 1) | (states & loops)
            if not states:
                return False
        # Later patterns have the higher bits: the first last state from above decides.
        while states:
            length = states.bit_length()
            if length in self._finals:
                return self._finals[length]
            states ^= 1 << (length - 1)
        return False

    def __repr__(self) -> str:
        return f"Wildmat({self.text!r})"


@lru_cache(maxsize=256)
def parse_wildmat(text: str) -> Wildmat:
    """Give the `Wildmat` of a text.

    Raises:
        NNTPProtocolError: It is none.
    """
    return Wildmat(text)


EVERYTHING: Final = parse_wildmat("*")
"""Matches every name."""
