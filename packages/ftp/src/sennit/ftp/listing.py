"""What is in a directory, as text: the forms of LIST, NLST, MLST and MLSD.

`list_lines`, `name_lines` and `fact_lines` make octets of entries, each line ended with CRLF, to
be sent as they are. They leave out entries whose names cannot stand on a line (`is_speakable`),
so that nothing in a directory can break its listing.

LIST has no form in any RFC; what is written is what ``ls -l`` writes, since all clients read
that: nine columns, times in UTC, with the time of day for the last half year and the year before.
The facts of MLST and MLSD are those of `FACTS`; `select_facts` reads what OPTS MLST asks for.

Sources: RFC 3659 §2.3 (time values), §7 (facts, their names, FEAT and OPTS); POSIX, ls, "STDOUT".
Elsewhere: reading listings (``listing_reader.py``), names of paths (``paths.py``).
"""

from __future__ import annotations

import re
import stat
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sennit.ftp.interfaces import Entry

__all__ = [
    "DEFAULT_FACTS",
    "FACTS",
    "fact_line",
    "fact_lines",
    "feature",
    "is_speakable",
    "list_line",
    "list_lines",
    "name_lines",
    "parse_time_value",
    "select_facts",
    "time_value",
]

FACTS: Final = (
    "type",
    "size",
    "modify",
    "perm",
    "unique",
    "UNIX.mode",
    "UNIX.owner",
    "UNIX.group",
)
"""Facts that can be told, in the order in which they are written."""
DEFAULT_FACTS: Final = ("type", "size", "modify", "perm", "unique", "UNIX.mode")
"""Facts that are told unless OPTS MLST asks for others."""
RECENT: Final = 31_556_952 // 2
"""Seconds, half a year, for which LIST tells the time of day and not the year."""

_DAY: Final = 86_400
_LAST: Final = 253_402_300_799
"""The last second of the year 9999."""
_FIRST: Final = -62_135_596_800
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
)  # fmt: skip
_EPOCH: Final = date(1970, 1, 1).toordinal()
_UNSPEAKABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TIME_VALUE: Final = re.compile(r"([0-9]{14})(\.[0-9]{1,18})?")
_KINDS: Final = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}
_TYPES: Final = {"file": "file", "dir": "dir", "link": "OS.unix=symlink"}
_NO_WORD: Final = re.compile(r"[\s\0-\x1f\x7f-\x9f;=\ud800-\udfff]+")


def is_speakable(name: str) -> bool:
    """Whether a name can be told: no control characters, and nothing that is not UTF-8.

    Controls are no less than CR and LF: what else the terminal of a reader might obey is none
    of a name's business. A lone surrogate stands for octets of a file system that are not UTF-8.
    """
    if name.isascii():
        return name.isprintable() and name != ""
    return _UNSPEAKABLE.search(name) is None


# ── times ─────────────────────────────────────────────────────────────────────


def time_value(seconds: float) -> str:
    """Write POSIX seconds as ``YYYYMMDDHHMMSS`` (RFC 3659 §2.3), whole seconds, UTC."""
    whole = _within(seconds)
    day, second = divmod(whole, _DAY)
    found = date.fromordinal(day + _EPOCH)
    return (
        f"{found.year:04}{found.month:02}{found.day:02}"
        f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
    )


def parse_time_value(text: str) -> float | None:
    """Read ``YYYYMMDDHHMMSS``, with or without a fraction; ``None`` when it is no time."""
    found = _TIME_VALUE.fullmatch(text)
    if found is None:
        return None
    digits = found[1]
    hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:14])
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second (§2.3)
        return None
    day = day_of(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    if day is None:
        return None
    whole = day * _DAY + hour * 3600 + minute * 60 + second
    return whole + float(found[2] or 0)


@lru_cache(4096)
def day_of(year: int, month: int, day: int) -> int | None:
    """Days since 1970 of a date; ``None`` when there is none such."""
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def _within(seconds: float) -> int:
    # A file system may tell any number, and no listing fails for it.
    return int(min(max(seconds, _FIRST), _LAST) // 1) if seconds == seconds else 0


class _Dates:
    """Dates as LIST has them, each day of a listing written once."""

    __slots__ = ("_days", "_now", "_since")

    def __init__(self, now: float) -> None:
        self._now = now
        self._since = now - RECENT
        self._days: dict[int, tuple[str, int]] = {}

    def text(self, seconds: float) -> str:
        whole = _within(seconds)
        day, second = divmod(whole, _DAY)
        known = self._days.get(day)
        if known is None:
            found = date.fromordinal(day + _EPOCH)
            known = self._days[day] = (f"{_MONTHS[found.month - 1]} {found.day:2}", found.year)
        if self._since < seconds <= self._now:
            return f"{known[0]} {second // 3600:02}:{second // 60 % 60:02}"
        return f"{known[0]}  {known[1]:04}"


# ── LIST and NLST ─────────────────────────────────────────────────────────────


def list_lines(entries: Iterable[Entry], now: float) -> bytes:
    """Write entries in the form of ``ls -l``.

    Args:
        entries: What is written, in their order.
        now: POSIX seconds: which dates are of the last half year.
    """
    lines: list[str] = []
    dates = _Dates(now)
    modes: dict[tuple[str, int], str] = {}
    for entry in entries:
        name = entry.name
        if not is_speakable(name):
            continue
        key = (entry.kind, entry.mode)
        mode = modes.get(key)
        if mode is None:
            mode = modes[key] = _mode_text(entry.kind, entry.mode)
        if entry.kind == "link" and is_speakable(entry.target):
            name = f"{name} -> {entry.target}"
        lines.append(
            f"{mode} {entry.links:3} {_word(entry.owner):8} {_word(entry.group):8} "
            f"{max(entry.size, 0):12} {dates.text(entry.modified)} {name}\r\n"
        )
    return "".join(lines).encode()


def list_line(entry: Entry, now: float) -> str:
    """Write one entry in the form of ``ls -l``, without an end of line."""
    return list_lines((entry,), now).decode()[:-2]


def name_lines(entries: Iterable[Entry], prefix: str = "") -> bytes:
    """Write names, one a line, each with `prefix` before it (RFC 1123 §4.1.2.7)."""
    return "".join(
        [f"{prefix}{each.name}\r\n" for each in entries if is_speakable(each.name)]
    ).encode()


def _mode_text(kind: str, mode: int) -> str:
    # What can only be listed is shown as a pipe: no client tries to fetch one.
    return stat.filemode(_KINDS.get(kind, stat.S_IFIFO) | mode & 0o7777)


def _word(text: str) -> str:
    """One column: nobody's name may begin the next."""
    return text if text.isalnum() else _NO_WORD.sub("_", text) or "-"


# ── MLST and MLSD ─────────────────────────────────────────────────────────────


def fact_lines(entries: Iterable[Entry], facts: Sequence[str] = DEFAULT_FACTS) -> bytes:
    """Write entries with their facts: the lines of MLSD (RFC 3659 §7.2).

    Args:
        entries: What is written, in their order.
        facts: Which, out of `FACTS` and in that order.
    """
    known: dict[int, str] = {}
    return "".join(
        [
            f"{_facts(entry, facts, entry.kind, known)} {entry.name}\r\n"
            for entry in entries
            if is_speakable(entry.name)
        ]
    ).encode()


def fact_line(
    entry: Entry, facts: Sequence[str] = DEFAULT_FACTS, *, name: str | None = None, kind: str = ""
) -> str:
    """Write one entry with its facts, without an end of line; nothing where no line can hold it.

    Args:
        entry: What is written.
        facts: Which, out of `FACTS` and in that order.
        name: What stands for the entry's own name: the path that MLST was asked for.
        kind: What stands for its own kind: ``cdir`` or ``pdir`` (§7.5.1).
    """
    shown = entry.name if name is None else name
    if not is_speakable(shown):
        return ""
    return f"{_facts(entry, facts, kind or entry.kind, {})} {shown}"


def _facts(entry: Entry, facts: Sequence[str], kind: str, times: dict[int, str]) -> str:
    parts: list[str] = []
    for fact in facts:
        if fact == "type":
            parts.append(f"type={_TYPES.get(kind, kind if kind[1:] == 'dir' else 'OS.unix=other')}")
        elif fact == "size":
            if entry.kind != "dir" and entry.size >= 0:  # of directories it would mean nothing
                parts.append(f"size={entry.size}")
        elif fact == "modify":
            whole = _within(entry.modified)
            text = times.get(whole)
            if text is None:
                text = times[whole] = time_value(whole)
            parts.append(f"modify={text}")
        elif fact == "perm":
            parts.append(f"perm={_word(entry.permissions) if entry.permissions else ''}")
        elif fact == "unique":
            if entry.unique:
                parts.append(f"unique={_word(entry.unique)}")
        elif fact == "UNIX.mode":
            parts.append(f"UNIX.mode=0{entry.mode & 0o7777:03o}")
        elif fact == "UNIX.owner":
            parts.append(f"UNIX.owner={_word(entry.owner)}")
        elif fact == "UNIX.group":
            parts.append(f"UNIX.group={_word(entry.group)}")
    return ";".join(parts) + ";" if parts else ""


def select_facts(text: str) -> tuple[str, ...]:
    """Choose the facts that OPTS MLST names (RFC 3659 §7.9): those that are known, in our order.

    Args:
        text: Names, each ended with ``;``, in any case; empty for none at all.
    """
    asked = {each.strip().lower() for each in text.split(";", 64)}
    return tuple(fact for fact in FACTS if fact.lower() in asked)


def feature(facts: Sequence[str]) -> str:
    """Write the line of FEAT: all facts, those that are selected with a ``*`` (§7.8)."""
    return "MLST " + "".join(f"{each}{'*' if each in facts else ''};" for each in FACTS)
