"""Counts by name, for ever or over a window of time; the number of names is bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sennit.core.errors import UsageError

__all__ = ["MAX_NAMES", "Counts"]

MAX_NAMES: Final = 100_000
"""Counters kept at most; the one not used for longest goes first."""

MAX_NAME: Final = 255
"""Characters of a counter's name."""


class _Window:
    """Two buckets of a window's length: this one, and the one before it."""

    __slots__ = ("before", "began", "now")

    def __init__(self, began: float) -> None:
        self.began = began
        self.now = 0
        self.before = 0

    def total(self, window: float, time: float) -> int:
        passed = time - self.began
        if passed >= window:
            # Whole windows have passed; only the last one counts for anything.
            self.before = self.now if passed < 2 * window else 0
            self.now = 0
            self.began += window * (passed // window)
            passed = time - self.began
        left = max(0.0, 1.0 - passed / window)
        return self.now + int(self.before * left)


class Counts:
    """The counters themselves; time is passed in.

    Args:
        limit: Names kept at most.

    Attributes:
        forgotten: Counters that had to give way to others.
    """

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        self._totals: OrderedDict[tuple[str, float | None], int | _Window] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._totals)

    def add(self, name: str, amount: int, window: float | None, now: float) -> int:
        """Count, and give the total.

        Raises:
            UsageError: The name is too long, or the window no time.
        """
        if len(name) > MAX_NAME:
            raise UsageError(f"a counter's name has {MAX_NAME} characters at most")
        if window is not None and not 0 < window <= 31 * 86_400:
            raise UsageError(f"a window of {window} seconds is no time")
        key = (name, window)
        found = self._totals.get(key)
        if found is None:
            if not amount:
                return 0
            if len(self._totals) >= self._limit:
                self._totals.popitem(last=False)
                self.forgotten += 1
            found = 0 if window is None else _Window(now)
        else:
            self._totals.move_to_end(key)
        if isinstance(found, int):
            self._totals[key] = found = found + amount
            return found
        assert window is not None
        self._totals[key] = found
        found.total(window, now)
        found.now += amount
        return found.total(window, now)

    def get(self, name: str, window: float | None, now: float) -> int:
        """The total."""
        return self.add(name, 0, window, now)

    def reset(self, name: str, window: float | None) -> None:
        """Count from 0 again."""
        self._totals.pop((name, window), None)
