"""Reading Set-Cookie as browsers do: with tolerance, and to the letter of the algorithm.

Pure functions: octets in, values out; nothing raises on what a server sends. What is
done with a cookie that was read, and to whom it goes, is the jar's (``cookies.py``).

Sources: RFC 6265bis §5.1.1 (dates), §5.1.3 (domains), §5.1.4 (paths), §5.6 (Set-Cookie).
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from typing import Final

__all__ = [
    "MAX_AGE",
    "ParsedCookie",
    "default_path",
    "domain_matches",
    "is_address",
    "parse_cookie_date",
    "parse_set_cookie",
    "path_matches",
]

MAX_PAIR: Final = 4096
"""Octets of name and value together; a longer cookie is ignored."""
MAX_ATTRIBUTE: Final = 1024
"""Octets of an attribute's value; a longer attribute is ignored."""
MAX_AGE: Final = 400 * 24 * 3600
"""Seconds that a cookie lives at most, whatever it says: 400 days."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_NUMBER = re.compile(rb"-?[0-9]+").fullmatch

_DELIMITERS = re.compile(r"[\t\x20-/;-@\[-`{-~]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL).fullmatch
_DAY = re.compile(r"([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL).fullmatch
_YEAR = re.compile(r"([0-9]{2,4})(?:[^0-9].*)?", re.DOTALL).fullmatch
_MONTHS: Final = {
    name: at
    for at, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}").fullmatch


@dataclass(slots=True)
class ParsedCookie:
    """What one Set-Cookie field says.

    Attributes:
        name: May be empty.
        value: As it will be sent back.
        expires: Seconds since the epoch, or ``None`` where it does not say.
        max_age: Seconds from now, at most 400 days; 0 or less for "at once".
        domain: Lower case, without a leading dot; empty where it does not say.
        path: Begins with a slash, or ``None`` where it does not say.
        secure: Only over TLS.
        http_only: Not for scripts.
        same_site: ``strict``, ``lax``, ``none``, or empty.
    """

    name: bytes
    value: bytes
    expires: int | None = None
    max_age: int | None = None
    domain: str = ""
    path: str | None = None
    secure: bool = False
    http_only: bool = False
    same_site: str = ""


def parse_set_cookie(field: bytes) -> ParsedCookie | None:
    """Read one field's value; ``None`` where it sets no cookie."""
    if _CONTROL(field) is not None:
        return None
    pair, _, rest = field.partition(b";")
    name, equals, value = pair.partition(b"=")
    if not equals:
        name, value = b"", pair
    name, value = name.strip(b" \t"), value.strip(b" \t")
    if not (name or value) or len(name) + len(value) > MAX_PAIR:
        return None
    cookie = ParsedCookie(name, value)
    for attribute in rest.split(b";"):
        key, _, said = attribute.partition(b"=")
        said = said.strip(b" \t")
        if len(said) <= MAX_ATTRIBUTE:
            _apply(cookie, key.strip(b" \t").lower(), said)
    return cookie


def _apply(cookie: ParsedCookie, key: bytes, said: bytes) -> None:
    """Take in one attribute; of several of one name the last counts."""
    if key == b"expires":
        when = parse_cookie_date(said.decode("latin-1"))
        if when is not None:
            cookie.expires = when
    elif key == b"max-age":
        if _NUMBER(said) is not None:
            # Long numbers are capped by their length: int() takes time for many digits.
            age = MAX_AGE if len(said) > 18 else min(int(said), MAX_AGE)
            cookie.max_age = 0 if said.startswith(b"-") else age
    elif key == b"domain":
        try:
            domain = said.decode("ascii")
        except UnicodeDecodeError:
            domain = "\0"  # matches no host: the cookie is ignored (§5.7, step 8)
        cookie.domain = domain.removeprefix(".").lower()
    elif key == b"path":
        cookie.path = said.decode("latin-1") if said.startswith(b"/") else None
    elif key == b"secure":
        cookie.secure = True
    elif key == b"httponly":
        cookie.http_only = True
    elif key == b"samesite":
        flag = said.decode("latin-1").lower()
        cookie.same_site = flag if flag in ("strict", "lax", "none") else ""


def parse_cookie_date(text: str) -> int | None:
    """Seconds since the epoch of whatever looks like a date; ``None`` where nothing does.

    Any order of day, month, year and time does (RFC 6265bis §5.1.1).
    """
    clock: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _DELIMITERS.split(text[:MAX_ATTRIBUTE]):
        if clock is None and (match := _TIME(token)) is not None:
            clock = (int(match[1]), int(match[2]), int(match[3]))
        elif day is None and (match := _DAY(token)) is not None:
            day = int(match[1])
        elif month is None and (number := _MONTHS.get(token[:3].lower())) is not None:
            month = number
        elif year is None and (match := _YEAR(token)) is not None:
            year = int(match[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if 70 <= year <= 99:
        year += 1900
    elif year <= 69:
        year += 2000
    hour, minute, second = clock
    if year < 1601 or hour > 23 or minute > 59 or second > 59:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))


def default_path(path: str) -> str:
    """The path of a cookie that names none, from that of its request (§5.1.4)."""
    if not path.startswith("/") or path.count("/") == 1:
        return "/"
    return path.rpartition("/")[0]


def path_matches(path: str, wanted: str) -> bool:
    """Whether a request's path is at or below a cookie's (§5.1.4)."""
    if not path.startswith(wanted):
        return False
    return len(path) == len(wanted) or wanted.endswith("/") or path[len(wanted)] == "/"


def domain_matches(host: str, domain: str) -> bool:
    """Whether a host is a domain, or below it; addresses are below nothing (§5.1.3)."""
    if host == domain:
        return True
    return host.endswith(f".{domain}") and not is_address(host)


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    return ":" in host or _IPV4(host) is not None
