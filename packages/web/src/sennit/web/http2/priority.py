"""Who sends first: priorities of RFC 9218, and an order of streams made of them.

Streams that have something to send, and a window for it, stand here by urgency.
Of one urgency those whose answer is of use only whole go one after another, in
the order in which they were asked for; those whose answer is of use in pieces
share. Where there are both, they take turns, so that neither waits for ever.

Sources: RFC 9218 §4, §5, §7.1, §10; RFC 9651 §3.2 (dictionaries), as far as needed.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["DEFAULT", "Order", "parse_priority"]

DEFAULT: Final[tuple[int, bool]] = (3, False)
"""Urgency and whether pieces are of use, where nothing is said (§4.1, §4.2)."""
LEVELS: Final = 8

_MEMBER = re.compile(
    rb"[ \t]*+([a-z*][a-z0-9_\-.*]*+)(?:=(\"(?:[^\"\\]|\\.)*+\"|[^,;\"]*+))?+(;[^,]*+)?+[ \t]*+"
).fullmatch


def parse_priority(value: bytes, before: tuple[int, bool] = DEFAULT) -> tuple[int, bool]:
    """Urgency (0 first, 7 last), and whether pieces of the answer are of use.

    A value that is no dictionary is ignored whole, a parameter that makes no sense by
    itself (§4): `before` stays.
    """
    urgency: int | None = None
    incremental: bool | None = None
    for member in value.split(b","):
        match = _MEMBER(member)
        if match is None:
            return before
        name, given = match[1], match[2]
        if name == b"u":
            # The last of a name counts (RFC 9651 §3.2).
            urgency = int(given) if given is not None and given in _URGENCIES else None
        elif name == b"i":
            incremental = _FLAGS.get(given)
    return (
        before[0] if urgency is None else urgency,
        before[1] if incremental is None else incremental,
    )


_FLAGS: Final = {None: True, b"?1": True, b"?0": False}
_URGENCIES: Final = frozenset(b"%d" % urgency for urgency in range(LEVELS))


class _Level:
    """Streams of one urgency."""

    __slots__ = ("shared", "sharing", "whole")

    def __init__(self) -> None:
        self.whole: list[int] = []  # those that go one after another
        self.shared: deque[int] = deque()  # those that take turns
        self.sharing = False  # it is the turn of the latter


class Order:
    """Streams that could send now, by number.

    `first` says whose turn it is, `turn_over` that it had a share of it.
    """

    __slots__ = ("_levels", "_place")

    def __init__(self) -> None:
        # Most connections never have anybody wait, and need none of these.
        self._levels: list[_Level | None] = [None] * LEVELS
        self._place: dict[int, tuple[int, bool]] = {}

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, number: int) -> bool:
        return number in self._place

    def add(self, number: int, priority: tuple[int, bool]) -> None:
        """A stream has something to send; harmless if that is known."""
        if number in self._place:
            return
        self._place[number] = priority
        level = self._levels[priority[0]]
        if level is None:
            level = self._levels[priority[0]] = _Level()
        if priority[1]:
            level.shared.append(number)
        else:
            insort(level.whole, number)

    def remove(self, number: int) -> None:
        """It has not, or may not; harmless if that is known."""
        place = self._place.pop(number, None)
        level = None if place is None else self._levels[place[0]]
        if place is not None and level is not None:
            if place[1]:
                level.shared.remove(number)
            else:
                level.whole.remove(number)

    def move(self, number: int, priority: tuple[int, bool]) -> None:
        """Its priority is another now."""
        if number in self._place:
            self.remove(number)
            self.add(number, priority)

    def first(self) -> int:
        """Whose turn it is.

        Raises:
            LookupError: Nobody has anything to send.
        """
        for level in self._levels:
            if level is None:
                continue
            if level.whole and not (level.sharing and level.shared):
                return level.whole[0]
            if level.shared:
                return level.shared[0]
        raise LookupError("nobody has anything to send")

    def turn_over(self, number: int) -> None:
        """The first one had a share; it may have gone meanwhile."""
        place = self._place.get(number)
        level = None if place is None else self._levels[place[0]]
        if place is not None and level is not None:
            level.sharing = not place[1]
            if place[1]:
                level.shared.rotate(-1)
