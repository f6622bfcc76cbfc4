"""Cookies as a server sees them: ``Cookie`` read with tolerance, ``Set-Cookie`` written without.

What browsers send is taken pair by pair: a pair that is none is left out and the
others stay, since a neighbour under the same domain can set what he likes. What an
application sets is checked to the letter, `ValueError` before the first octet
(HARDENING h1-15): no attribute can be smuggled into a value or a path.

Safe unless told otherwise: ``HttpOnly``, ``Secure`` and ``SameSite=Lax``.

Sources: RFC 6265 §4, §5.4; RFC 6265bis (the draft that browsers follow) §4.1.2,
§4.1.3 (the prefixes ``__Host-`` and ``__Secure-``); CHIPS (``Partitioned``).
Elsewhere: the client's jar (``client/cookies.py``); sessions (``sessions/``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from sennit.web.dates import format_date

if TYPE_CHECKING:
    SameSite = Literal["strict", "lax", "none"]

__all__ = ["MAX_COOKIE", "MAX_COOKIES", "cookie_field", "expired_cookie_field", "parse_cookies"]

MAX_COOKIE: Final = 4096
"""Octets of a name and a value together, beyond which browsers drop a cookie (RFC 6265bis §5.6)."""
MAX_COOKIES: Final = 180
"""Pairs of one request that are looked at; a browser keeps no more for one domain."""
MAX_ATTRIBUTE: Final = 1024
"""Octets of an attribute's value, beyond which browsers pass over it (RFC 6265bis §5.6)."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*").fullmatch
_PATH = re.compile(r"/[ -:<-~]*").fullmatch
_DOMAIN = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
).fullmatch
_READABLE = re.compile(r"[^\x00-\x1f\x7f]*").fullmatch


def parse_cookies(value: str | bytes) -> dict[str, str]:
    """The cookies of a ``Cookie`` field.

    Args:
        value: The field's value; several fields joined by ``; ``.

    Returns:
        Values by name, quotes around a value taken off. Of several of one name the
        first counts: browsers send the one with the longest path first (RFC 6265
        §5.4). Pairs whose name is no token, or that hold a control octet or what is
        no UTF-8, are left out.
    """
    octets = value.encode("latin-1", "replace") if isinstance(value, str) else value
    found: dict[str, str] = {}
    for pair in octets.split(b";", MAX_COOKIES)[:MAX_COOKIES]:
        name, equals, rest = pair.partition(b"=")
        if not equals:
            continue
        try:
            key = name.strip(b" \t").decode("ascii")
            content = rest.strip(b" \t").decode("utf-8")
        except UnicodeDecodeError:
            continue
        if len(content) >= 2 and content[0] == content[-1] == '"':
            content = content[1:-1]
        if key in found or _TOKEN(key) is None or _READABLE(content) is None:
            continue
        found[key] = content
    return found


def cookie_field(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    expires: float | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = True,
    http_only: bool = True,
    same_site: SameSite | None = "lax",
    partitioned: bool = False,
) -> bytes:
    """The value of a ``Set-Cookie`` field.

    Args:
        name: A token. ``__Host-…`` asks for `secure`, the path ``/`` and no domain;
            ``__Secure-…`` for `secure`: browsers refuse them otherwise, and so does this.
        value: Visible ASCII without quote, comma, semicolon and backslash; anything
            else is for the caller to encode (`urllib.parse.quote` will do).
        max_age: Seconds that the browser keeps it; until it is closed when left out.
        expires: The same as a date, seconds since the epoch; `max_age` wins.
        path: It is sent for paths below this one; ``None``: below that of the request.
        domain: It is sent to this host and all beneath it; to this host alone when left out.
        secure: It is sent over TLS only.
        http_only: Scripts do not see it.
        same_site: Whether it goes with requests that other sites cause; ``None`` says nothing.
        partitioned: It is kept apart for each site that embeds this one.

    Raises:
        ValueError: One of them cannot be sent, or they do not go together.
    """
    if _TOKEN(name) is None:
        raise ValueError(f"the name of a cookie cannot be {name!r:.100}")
    if _VALUE(value) is None:
        raise ValueError(f"the value of the cookie {name!r:.100} has what it must not; encode it")
    if len(name) + len(value) > MAX_COOKIE:
        raise ValueError(f"the cookie {name!r:.100} has more than {MAX_COOKIE} octets")
    _check_prefix(name, path=path, domain=domain, secure=secure)
    if not secure and (partitioned or same_site == "none"):
        raise ValueError("SameSite=None and Partitioned go with secure cookies only")
    line = [f"{name}={value}"]
    if max_age is not None:
        line.append(f"Max-Age={int(max_age)}")
    if expires is not None:
        line.append(f"Expires={format_date(expires)}")
    if domain is not None:
        host = domain.lower().removeprefix(".")
        if _DOMAIN(host) is None or len(host) > 253:
            raise ValueError(f"the domain of a cookie cannot be {domain!r:.100}")
        line.append(f"Domain={host}")
    if path is not None:
        if _PATH(path) is None or len(path) > MAX_ATTRIBUTE:
            raise ValueError(f"the path of a cookie cannot be {path!r:.100}")
        line.append(f"Path={path}")
    if secure:
        line.append("Secure")
    if http_only:
        line.append("HttpOnly")
    if same_site is not None:
        if same_site not in ("strict", "lax", "none"):
            raise ValueError(f"same_site is strict, lax, none or None, not {same_site!r:.100}")
        line.append(f"SameSite={same_site.capitalize()}")
    if partitioned:
        line.append("Partitioned")
    return "; ".join(line).encode("ascii")


def expired_cookie_field(
    name: str,
    *,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = True,
    same_site: SameSite | None = "lax",
    partitioned: bool = False,
) -> bytes:
    """The value of a ``Set-Cookie`` field that makes a browser forget a cookie.

    Path and domain must be those it was set with.

    Raises:
        ValueError: As of `cookie_field`.
    """
    return cookie_field(
        name,
        "",
        # Old clients know dates only.
        max_age=0,
        expires=0.0,
        path=path,
        domain=domain,
        secure=secure,
        same_site=same_site,
        partitioned=partitioned,
    )


def _check_prefix(name: str, *, path: str | None, domain: str | None, secure: bool) -> None:
    """The rules of the prefixes; browsers compare them without regard to case."""
    lower = name.lower()
    if lower.startswith(("__secure-", "__host-")) and not secure:
        raise ValueError(f"{name!r:.100} must be secure (RFC 6265bis §4.1.3)")
    if lower.startswith("__host-") and (domain is not None or path != "/"):
        raise ValueError(f"{name!r:.100} has the path / and no domain (RFC 6265bis §4.1.3.2)")
