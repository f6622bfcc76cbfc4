"""Listings of other servers, read: MLSD, and what LIST writes on Unix, Windows and elsewhere.

Octets go in through `ListingReader.receive_data`, entries come out as lines end; `finish` gives
the last, which may lack its end. A line that cannot be read makes no entry and is counted in
`skipped`; nothing a server writes raises anything. `parse_fact_line` reads what MLST answers,
`parse_list_line` a single line of LIST.

LIST has no form (RFC 959 §4.1.3 leaves it to the system): each line is taken for what it looks
like, be it

* the nine columns of ``ls -l``: with or without group and number of links, with the marks of
  ACLs, devices, links with ``->``, names of months in some languages, dates as ISO 8601 has
  them, and the columns of NetWare and of servers of the old Mac;
* what Windows' ``dir`` writes, with ``<DIR>`` and dates in either order;
* EPLF (D. J. Bernstein, "Easily Parsed LIST Format").

A time in such a line is of the server's zone, which it does not tell: it is taken for UTC, and
a date without a year for the last such that is no more than a day ahead. The facts of MLSD are
exact (RFC 3659 §2.3, §7.5).

No entry leads out of its directory: names with a slash, ``.`` and ``..`` make none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sennit.ftp.interfaces import Entry
from sennit.ftp.listing import day_of, parse_time_value
from sennit.ftp.replies import name_is_safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer

__all__ = ["MAX_LINE", "ListingReader", "parse_fact_line", "parse_list_line"]

MAX_LINE: Final = 16_384
"""Octets of the longest line; a longer one is skipped."""

_DAY: Final = 86_400
# English, then what German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian and Polish
# servers write where it differs.
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "jan january ene gen janv sty",
            "feb february fév févr fev lut",
            "mar march mär mrz mars mrt",
            "apr april avr abr kwi",
            "may mai mag mei maj maio mayo",
            "jun june juin giu cze",
            "jul july juil lug lip",
            "aug august août ago aoû sie",
            "sep sept september set wrz",
            "oct october okt ott out paź",
            "nov november lis",
            "dec december dez déc dic des gru",
        ),
        1,
    )
    for name in names.split()
}
_MODE: Final = re.compile(r"([-bcdlpsDCn])([-rwxsStTlL]{9})[+.@*]?")
# What most servers write, read at once: a third of the time of going through its columns.
_PLAIN: Final = re.compile(
    r"([-d])([-rwxsStT]{9}) +([0-9]{1,9}) +([^ \t]+) +([^ \t]+) +([0-9]{1,18}) "
    r"([A-Z][a-z]{2}) +([0-9]{1,2}) +([0-9]{4}|[0-9]{2}:[0-9]{2}) (.+)"
)
_NETWARE: Final = re.compile(r"([-d]) ?\[[-A-Z]{1,16}\]")
_TOKEN: Final = re.compile(r"[^ \t]+")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_DEVICE: Final = re.compile(r"[0-9]{1,9},(?:[0-9]{1,9})?")
_ISO_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_SHORT_DATE: Final = re.compile(r"([0-9]{2})-([0-9]{2})")
_DAY_OF_MONTH: Final = re.compile(r"([0-9]{1,2})[.,]?")
_YEAR: Final = re.compile(r"[0-9]{4}")
_CLOCK: Final = re.compile(r"([0-9]{1,2})[:.]([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]{1,9})?)?")
_ZONE: Final = re.compile(r"[-+][0-9]{4}|[A-Z]{3,5}")
_DOS: Final = re.compile(
    r"([0-9]{1,4})[-/.]([0-9]{1,2})[-/.]([0-9]{2,4}) +"
    r"([0-9]{1,2}):([0-9]{2})(?::[0-9]{2})? ?([AaPp][Mm]?)? +"
    r"(?:(<(?:DIR|JUNCTION|SYMLINKD?)>) +|([0-9][0-9,.]{0,24}) )(.+)"
)
_KINDS: Final = {"-": "file", "n": "file", "C": "file", "d": "dir", "D": "dir", "l": "link"}
_IGNORED: Final = re.compile(r"(?:total|insgesamt|totale?|razem|totalt|итого)?:? *[0-9.,]*[kKMG]?")
_LONGEST_HEAD: Final = 12
"""Columns after which a date has begun, or never does."""


class ListingReader:
    """Reads a listing as it comes.

    Args:
        now: POSIX seconds: which year a date without one is of.
        facts: Whether it is one of MLSD; else of LIST.
        max_line: Octets of the longest line.

    Attributes:
        skipped: Lines that could not be read, or whose names lead elsewhere.
    """

    def __init__(self, now: float, *, facts: bool = False, max_line: int = MAX_LINE) -> None:
        self._now = now
        self._facts = facts
        self._max_line = max_line
        self._rest = b""
        self._too_long = False
        self.skipped = 0

    def receive_data(self, data: Buffer) -> list[Entry]:
        """Take octets; give the entries of the lines that have ended."""
        *lines, rest = bytes(data).split(b"\n")
        if lines:
            lines[0] = self._rest + lines[0]
            if self._too_long:
                del lines[0]
                self._too_long = False
            self._rest = rest
        elif not self._too_long:
            self._rest += rest
        if len(self._rest) > self._max_line:
            self._too_long = True
            self._rest = b""
            self.skipped += 1
        return self._read(lines)

    def finish(self) -> list[Entry]:
        """Nothing more comes; give the entry of a last line that has not ended."""
        rest, self._rest = self._rest, b""
        return self._read([rest]) if rest else []

    def _read(self, lines: Sequence[bytes]) -> list[Entry]:
        entries: list[Entry] = []
        for octets in lines:
            if len(octets) > self._max_line:
                self.skipped += 1
                continue
            line = octets.decode("utf-8", "surrogateescape").rstrip("\r")
            if self._facts:
                entry, known = _read_facts(line)
            else:
                entry = parse_list_line(line, self._now)
                known = entry is not None or _IGNORED.fullmatch(line.strip().lower()) is not None
            if entry is not None and entry.name not in {".", ".."}:
                if name_is_safe(entry.name):
                    entries.append(entry)
                else:
                    self.skipped += 1
            elif not known:
                self.skipped += 1
        return entries


# ── MLSD and MLST ─────────────────────────────────────────────────────────────


def parse_fact_line(line: str) -> Entry | None:
    """Read a line of facts (RFC 3659 §7.2); ``None`` when it is none.

    Args:
        line: Without its end. One space before it, as MLST's answers have it, does not matter.

    Returns:
        An entry whose name is as it stands there: MLST tells whole paths.
    """
    if line.startswith(" ") and ";" in line.partition(" ")[2].partition(" ")[0]:
        line = line[1:]
    split = _split_facts(line)
    if split is None:
        return None
    facts, name = split
    return _entry_of(facts, name) if name else None


def _read_facts(line: str) -> tuple[Entry | None, bool]:
    """The entry of a line of MLSD, and whether it was one: the directory itself makes none."""
    split = _split_facts(line)
    if split is None:
        return None, not line.strip()
    facts, name = split
    if facts.get("type", "").lower() in {"cdir", "pdir"}:
        return None, True
    return (_entry_of(facts, name), True) if name else (None, False)


def _split_facts(line: str) -> tuple[dict[str, str], str] | None:
    text, space, name = line.partition(" ")
    if not space or (text and not text.endswith(";")):
        return None
    facts: dict[str, str] = {}
    for each in text.split(";")[:-1]:
        fact, equals, value = each.partition("=")
        if not equals:
            return None
        facts[fact.lower()] = value
    return facts, name


def _entry_of(facts: dict[str, str], name: str) -> Entry:
    get = facts.get
    text = get("type", "file")
    kind = text.lower()
    target = ""
    if kind in {"dir", "cdir", "pdir"}:
        kind = "dir"
    elif kind.startswith(("os.unix=slink", "os.unix=symlink")):
        kind, target = "link", text.partition(":")[2]
    elif kind != "file":
        kind = "other"
    mode = get("unix.mode", "")
    return Entry(
        name,
        kind,
        size=_count(get("size", get("sizd", "")), -1),
        modified=parse_time_value(get("modify", "")) or 0.0,
        mode=int(mode, 8) & 0o7777 if re.fullmatch("[0-7]{1,7}", mode) else _usual_mode(kind),
        owner=get("unix.ownername") or get("unix.owner") or get("unix.uid", ""),
        group=get("unix.groupname") or get("unix.group") or get("unix.gid", ""),
        permissions=get("perm", "").lower(),
        unique=get("unique", ""),
        target=target,
    )


def _count(text: str, otherwise: int) -> int:
    return int(text) if _NUMBER.fullmatch(text) else otherwise


def _usual_mode(kind: str) -> int:
    return 0o755 if kind == "dir" else 0o644


# ── LIST ──────────────────────────────────────────────────────────────────────


def parse_list_line(line: str, now: float) -> Entry | None:
    """Read a line of LIST; ``None`` when it is none that is known.

    Args:
        line: Without its end.
        now: POSIX seconds: which year a date without one is of.
    """
    if not line or len(line) > MAX_LINE:
        return None
    if line[0] == "+":
        return _parse_eplf(line)
    found = _PLAIN.fullmatch(line)
    if found is not None:
        return _parse_plain(found, now)
    found = _MODE.match(line)
    if found is not None:
        return _parse_unix(line, found, now)
    if "0" <= line[0] <= "9":
        return _parse_dos(line)
    found = _NETWARE.match(line)
    if found is not None:
        return _parse_unix(line, found, now)
    return None


def _parse_plain(found: re.Match[str], now: float) -> Entry | None:
    first, bits, links, owner, group, size, month, day, last, name = found.groups()
    dated = _parse_date((month, day, last), 0, now)
    if dated is None:
        return None
    return Entry(
        name,
        "file" if first == "-" else "dir",
        size=int(size),
        modified=dated[0],
        mode=_mode_bits(bits),
        owner=owner,
        group=group,
        links=int(links),
    )


def _parse_unix(line: str, mode: re.Match[str], now: float) -> Entry | None:
    words: list[str] = []
    ends: list[int] = []
    for token in _TOKEN.finditer(line, mode.end()):
        words.append(token[0])
        ends.append(token.end())
        if len(words) == _LONGEST_HEAD + 6:
            break
    for at in range(1, min(len(words), _LONGEST_HEAD)):
        # The size stands before the date; that of a device is two numbers.
        size = _NUMBER.fullmatch(words[at - 1])
        if size is None and _DEVICE.fullmatch(words[at - 1]) is None:
            continue
        dated = _parse_date(words, at, now)
        if dated is None:
            continue
        modified, last = dated
        strict = mode.re is _MODE
        rest = line[ends[last] :]
        name = rest[1:] if strict else rest.strip()
        if not name:
            return None
        head = words[: at - 1]
        kind = _KINDS.get(mode[1], "other")
        target = ""
        octets = int(size[0]) if size is not None else 0
        if size is not None and head and _DEVICE.fullmatch(head[-1]):
            head, octets = head[:-1], 0
        if kind == "link":
            name, target = _split_link(name, octets)
            if not name:
                return None
        links = 1
        if head and _NUMBER.fullmatch(head[0]) and (len(head) > 1 or not strict):
            links, head = int(head[0]), head[1:]
        return Entry(
            name,
            kind,
            size=octets,
            modified=modified,
            mode=_mode_bits(mode[2]) if strict else _usual_mode(kind),
            owner=head[0] if head else "",
            group=head[1] if len(head) > 1 else "",
            links=links,
            target=target,
        )
    return None


def _split_link(text: str, size: int) -> tuple[str, str]:
    """The name and target of ``a -> b``; the size of a link is the length of its target."""
    at = text.find(" -> ")
    first = at
    while at >= 0:
        if len(text[at + 4 :].encode("utf-8", "surrogateescape")) == size:
            return text[:at], text[at + 4 :]
        at = text.find(" -> ", at + 1)
    return (text, "") if first < 0 else (text[:first], text[first + 4 :])


_SET_ALSO: Final = {2: 0o4000, 5: 0o2000, 8: 0o1000}


@lru_cache(512)
def _mode_bits(text: str) -> int:
    bits = 0
    for at, letter in enumerate(text):
        if letter in "rwxst":
            bits |= 0o400 >> at
        if letter in "sStTlL":
            bits |= _SET_ALSO.get(at, 0)
    return bits


def _parse_date(words: Sequence[str], at: int, now: float) -> tuple[float, int] | None:
    """The time that begins at a word, and its last word; ``None`` when none does."""
    word = words[at]
    count = len(words) - at
    if word[0].isdigit():
        iso = _ISO_DATE.fullmatch(word)
        if iso is not None:
            day = day_of(int(iso[1]), int(iso[2]), int(iso[3]))
            second = _seconds(words[at + 1]) if count > 1 else None
            if day is None or second is None:
                return None
            if count > 3 and _ZONE.fullmatch(words[at + 2]) and "." in words[at + 1]:
                return _by_zone(day * _DAY + second, words[at + 2]), at + 2
            return float(day * _DAY + second), at + 1
        short = _SHORT_DATE.fullmatch(word)
        if short is not None:
            second = _seconds(words[at + 1]) if count > 1 else None
            if second is None:
                return None
            return _latest(int(short[1]), int(short[2]), second, now), at + 1
    if count < 3:
        return None
    month = _month(word)
    day_text = words[at + 1]
    if month is None:
        month, day_text = _month(words[at + 1]), word
    of_month = _DAY_OF_MONTH.fullmatch(day_text)
    if month is None or of_month is None:
        return None
    last = words[at + 2]
    if _YEAR.fullmatch(last):
        day = day_of(int(last), month, int(of_month[1]))
        return None if day is None else (float(day * _DAY), at + 2)
    second = _seconds(last)
    if second is None:
        return None
    if count > 4 and last.count(":") == 2 and _YEAR.fullmatch(words[at + 3]):
        day = day_of(int(words[at + 3]), month, int(of_month[1]))
        return None if day is None else (float(day * _DAY + second), at + 3)
    return _latest(month, int(of_month[1]), second, now), at + 2


def _month(word: str) -> int | None:
    return _MONTHS.get(word.lower().rstrip(".,"))


def _seconds(word: str) -> int | None:
    """Seconds since midnight of ``HH:MM`` and its like."""
    found = _CLOCK.fullmatch(word)
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    return hour * 3600 + minute * 60 + second


def _by_zone(seconds: int, zone: str) -> float:
    if zone[0] not in "+-":
        return float(seconds)
    ahead = int(zone[1:3]) * 3600 + int(zone[3:]) * 60
    return float(seconds - ahead if zone[0] == "+" else seconds + ahead)


def _latest(month: int, day: int, second: int, now: float) -> float:
    """The last such date that is no more than a day ahead; 0.0 where there is none."""
    year = _year_of(now)
    for each in range(year + 1, year - 9, -1):  # 29 February may be eight years ago
        found = day_of(each, month, day)
        if found is not None and found * _DAY + second <= now + _DAY:
            return float(found * _DAY + second)
    return 0.0


def _year_of(now: float) -> int:
    year = 1970 + int(now // 31_556_952)
    first = day_of(year, 12, 31)
    return year if first is None or first * _DAY + _DAY > now else year + 1


def _parse_dos(line: str) -> Entry | None:
    found = _DOS.fullmatch(line)
    if found is None:
        return None
    first, second, third = int(found[1]), int(found[2]), int(found[3])
    if len(found[1]) == 4:
        year, month, day = first, second, third
    else:
        year = third if third > 99 else third + (1900 if third >= 70 else 2000)
        # Month before day, unless it can be no month.
        month, day = (second, first) if first > 12 else (first, second)
    date = day_of(year, month, day)
    hour, minute = int(found[4]), int(found[5])
    if found[6]:
        hour = hour % 12 + (12 if found[6][0] in "Pp" else 0)
    if date is None or hour > 23 or minute > 59:
        return None
    name = found[9]
    mark, octets = found[7], found[8]
    kind, target = "file", ""
    if mark == "<DIR>":
        kind = "dir"
    elif mark:
        kind = "link"
        name, bracket, target = name.partition(" [")
        target = target.removesuffix("]") if bracket else ""
    size = 0 if octets is None else int(octets.replace(",", "").replace(".", "")[:18])
    return Entry(
        name,
        kind,
        size=size,
        modified=float(date * _DAY + hour * 3600 + minute * 60),
        mode=_usual_mode(kind),
        owner="",
        group="",
        target=target,
    )


def _parse_eplf(line: str) -> Entry | None:
    text, tab, name = line[1:].partition("\t")
    if not tab or not name:
        return None
    kind, size, modified, mode, unique = "other", 0, 0.0, None, ""
    for fact in text.split(","):
        if fact == "/":
            kind = "dir"
        elif fact == "r" and kind != "dir":
            kind = "file"
        elif fact[:1] == "s":
            size = _count(fact[1:], 0)
        elif fact[:1] == "m":
            modified = float(_count(fact[1:], 0))
        elif fact[:1] == "i":
            unique = fact[1:]
        elif fact[:2] == "up" and re.fullmatch("[0-7]{1,4}", fact[2:]):
            mode = int(fact[2:], 8)
    return Entry(
        name,
        kind,
        size=size,
        modified=modified,
        mode=_usual_mode(kind) if mode is None else mode,
        owner="",
        group="",
        unique=unique,
    )
