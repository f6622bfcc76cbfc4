"""Dates as HTTP writes them (RFC 9110 §5.6.7), and a Date line that keeps itself current."""

from __future__ import annotations

import calendar
import re
import time
from typing import TYPE_CHECKING, Final

from sennit.web.http1.engine import DateLine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DateKeeper", "format_date", "parse_date"]

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_MONTH_NUMBERS: Final = {name: at for at, name in enumerate(_MONTHS, 1)}
_IMF = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
).fullmatch


def format_date(seconds: float) -> str:
    """Seconds since the epoch as an IMF-fixdate, whatever the locale."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    )


def parse_date(text: str) -> int | None:
    """The seconds since the epoch of an IMF-fixdate; ``None`` for anything else.

    The two obsolete forms count as anything else: no client of this century writes
    them, and a condition with an unreadable date is ignored (RFC 9110 §13.1.3).
    """
    match = _IMF(text)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    number = _MONTH_NUMBERS.get(month)
    if number is None:
        return None
    if not (1 <= int(day) <= 31 and int(hour) < 24 and int(minute) < 60 and int(second) <= 60):
        return None
    try:
        return calendar.timegm(
            (int(year), number, int(day), int(hour), int(minute), int(second), 0, 0, 0)
        )
    except ValueError:
        return None


class DateKeeper:
    """The Date line of all connections of a server, remade when it is asked for a second later.

    Args:
        wall_clock: Seconds since the epoch.

    Attributes:
        line: What engines are given.
        due: Monotonic time at which `renew` has to be called before `line` is used.
        now: The wall clock when it was renewed last.
    """

    __slots__ = ("_wall_clock", "due", "line", "now")

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self.line = DateLine()
        self.due = float("-inf")
        self.now = 0.0

    def renew(self, monotonic: float) -> None:
        """Make the line anew; it holds for what is left of this second."""
        now = self.now = self._wall_clock()
        self.line.octets = b"date: %b\r\n" % format_date(now).encode("ascii")
        self.due = monotonic + 1.0 - now % 1.0
