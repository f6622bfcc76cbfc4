"""The client's cookies: kept per domain and path, sent where they belong and nowhere else.

A `CookieJar` takes the Set-Cookie fields of each response and gives the Cookie field
of each request, as browsers do: domains and paths are matched, ``Secure`` cookies
leave over TLS only (or stay in this machine) and are not overwritten from outside it,
the prefixes ``__Host-`` and ``__Secure-`` mean what they say, what expires goes, and no
site can fill the jar.

A cookie for a whole domain is taken only where the public suffix list is at hand
(extra ``cookies``); without it each goes back to the one host that set it, and to a
domain of a single label none is ever given.

For SameSite: a program's requests are what in a browser a person's own typing would be,
so all of them are of the same site, and the attribute is kept and not asked for.

A jar can be saved as, and read from, the text file that curl and wget use.

Sources: RFC 6265bis §5.5 (suffixes), §5.7 (storage), §5.8 (retrieval), §6.1 (limits).
Elsewhere: reading one field (``setcookie.py``); a server's cookies (``sennit.web.cookies``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sennit.web.client.setcookie import (
    MAX_AGE,
    default_path,
    domain_matches,
    is_address,
    parse_set_cookie,
    path_matches,
)
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from sennit.web.client.setcookie import ParsedCookie
    from sennit.web.client.urls import URL

    Key = tuple[str, bool, str, bytes]

__all__ = ["Cookie", "CookieJar"]

MAX_COOKIES: Final = 3000
"""Cookies in a jar (RFC 6265bis §6.1)."""
MAX_PER_DOMAIN: Final = 180
"""Cookies of one domain, as browsers have it; at least 50 by §6.1."""
MAX_FIELD: Final = 16 * 1024
"""Octets of one Cookie field: servers refuse longer heads anyway."""


class Cookie:
    """One cookie in a jar.

    Attributes:
        name: Octets; may be empty.
        value: Octets.
        domain: The host that set it, or the domain it is for.
        path: What requests must ask for at or below.
        host_only: Whether it goes to just that host.
        expires: Seconds since the epoch; ``None`` for as long as the jar lives.
        secure: Whether it leaves only over TLS.
        http_only: Whether scripts were not to see it.
        same_site: ``strict``, ``lax``, ``none``, or empty.
        created: When it was set first.
        used: When it was sent last.
    """

    __slots__ = (
        "created",
        "domain",
        "expires",
        "host_only",
        "http_only",
        "name",
        "path",
        "same_site",
        "secure",
        "used",
        "value",
    )

    def __init__(
        self,
        name: bytes,
        value: bytes,
        domain: str,
        path: str = "/",
        *,
        host_only: bool = True,
        expires: float | None = None,
        secure: bool = False,
        http_only: bool = False,
        same_site: str = "",
        created: float = 0.0,
    ) -> None:
        self.name = name
        self.value = value
        self.domain = domain
        self.path = path
        self.host_only = host_only
        self.expires = expires
        self.secure = secure
        self.http_only = http_only
        self.same_site = same_site
        self.created = created
        self.used = created

    def __repr__(self) -> str:
        # Without its value, which may be a login.
        return f"<Cookie {self.name!r:.80} of {self.domain}{self.path}>"

    @property
    def key(self) -> Key:
        """What makes two cookies one: the later replaces the earlier."""
        return (self.domain, self.host_only, self.path, self.name)


class CookieJar:
    """Cookies of many sites.

    Args:
        is_public_suffix: Whether nobody can own a domain; ``None`` to ask the library of
            the extra ``cookies``, or to know of no domain where that is missing.
        wall_clock: Seconds since the epoch.
        max_cookies: How many there may be.
        max_per_domain: How many of one domain.
    """

    def __init__(
        self,
        *,
        is_public_suffix: Callable[[str], bool] | None = None,
        wall_clock: Callable[[], float] = time.time,
        max_cookies: int = MAX_COOKIES,
        max_per_domain: int = MAX_PER_DOMAIN,
    ) -> None:
        self._is_public = is_public_suffix
        self._wall_clock = wall_clock
        self._max_cookies = max_cookies
        self._max_per_domain = max_per_domain
        self._domains: dict[str, dict[Key, Cookie]] = {}
        self._count = 0

    def __repr__(self) -> str:
        return f"<CookieJar of {self._count} cookies>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Cookie]:
        """Every cookie, those too whose time is over and that nobody asked for since."""
        for of_domain in list(self._domains.values()):
            yield from list(of_domain.values())

    # ── what servers set ──────────────────────────────────────────────────────

    def receive(self, url: URL, fields: Iterable[bytes]) -> None:
        """Take in the Set-Cookie fields of a response.

        Args:
            url: What was asked for.
            fields: The value of each, as it came. Nothing in them raises.
        """
        for field in fields:
            parsed = parse_set_cookie(field)
            if parsed is not None:
                self._store(parsed, url)

    def _store(self, parsed: ParsedCookie, url: URL) -> None:
        """RFC 6265bis §5.7, in its order."""
        now = self._wall_clock()
        host = _host(url)
        secure_url = _is_secure(url)
        domain, host_only = self._domain_for(parsed.domain, host)
        if not domain or (parsed.secure and not secure_url):
            return
        path = default_path(url.path) if parsed.path is None else parsed.path
        if not _prefix_holds(parsed, host_only):
            return
        expires: float | None = parsed.expires
        if parsed.max_age is not None:
            expires = now + parsed.max_age if parsed.max_age > 0 else float("-inf")
        elif expires is not None:
            expires = min(expires, now + MAX_AGE)
        cookie = Cookie(
            parsed.name,
            parsed.value,
            domain,
            path,
            host_only=host_only,
            expires=expires,
            secure=parsed.secure,
            http_only=parsed.http_only,
            same_site=parsed.same_site,
            created=now,
        )
        if not cookie.secure and not secure_url and self._shields(cookie):
            return
        self._put(cookie, now)

    def _domain_for(self, wanted: str, host: str) -> tuple[str, bool]:
        """The domain a cookie is for, and whether for that host only; empty for no cookie."""
        if not wanted or (wanted == host and "." not in host):
            return host, True
        if "." not in wanted or not domain_matches(host, wanted):
            return "", True
        is_public = self._is_public
        if is_public is None:
            from sennit.web.client.suffixes import find_suffixes

            is_public = self._is_public = find_suffixes()
        if is_public is None:
            return host, True
        if wanted == host and is_address(host):
            return host, True
        if is_public(wanted):
            # A host that is a suffix itself has cookies of its own (§5.7, step 9).
            return (host, True) if wanted == host else ("", True)
        return wanted, False

    def _shields(self, cookie: Cookie) -> bool:
        """Whether a Secure cookie is in the way of one that came in the clear."""
        for other in self:
            if (
                other.secure
                and other.name == cookie.name
                and (
                    domain_matches(other.domain, cookie.domain)
                    or domain_matches(cookie.domain, other.domain)
                )
                and path_matches(cookie.path, other.path)
            ):
                return True
        return False

    # ── what is kept ──────────────────────────────────────────────────────────

    def _put(self, cookie: Cookie, now: float) -> None:
        key = cookie.key
        of_domain = self._domains.get(cookie.domain)
        old = None if of_domain is None else of_domain.get(key)
        if old is not None:
            cookie.created = old.created
            self._drop(old)
        if cookie.expires is not None and cookie.expires <= now:
            return
        of_domain = self._domains.setdefault(cookie.domain, {})
        of_domain[key] = cookie
        self._count += 1
        if len(of_domain) > self._max_per_domain:
            self._evict(list(of_domain.values()), len(of_domain) - self._max_per_domain, now)
        if self._count > self._max_cookies:
            # A tenth at a time: sorting thousands for each cookie would be a lever.
            spare = max(1, self._max_cookies // 10)
            self._evict(list(self), self._count - self._max_cookies + spare - 1, now)

    def _evict(self, cookies: list[Cookie], number: int, now: float) -> None:
        """Drop what is over, then what is not Secure, then what was not used for longest."""
        cookies.sort(key=lambda each: (_alive(each, now), each.secure, each.used))
        for cookie in cookies[:number]:
            self._drop(cookie)

    def _drop(self, cookie: Cookie) -> None:
        of_domain = self._domains.get(cookie.domain)
        if of_domain is not None and of_domain.pop(cookie.key, None) is not None:
            self._count -= 1
            if not of_domain:
                del self._domains[cookie.domain]

    # ── what is sent ──────────────────────────────────────────────────────────

    def field(self, url: URL) -> bytes | None:
        """The value of the Cookie field for a request, or ``None`` where none fits."""
        found = self.matching(url)
        if not found:
            return None
        pairs: list[bytes] = []
        size = 0
        for cookie in found:
            pair = b"%b=%b" % (cookie.name, cookie.value) if cookie.name else cookie.value
            size += len(pair) + 2
            if size > MAX_FIELD:
                break
            pairs.append(pair)
        return b"; ".join(pairs) or None

    def matching(self, url: URL) -> list[Cookie]:
        """The cookies for a request, in the order they are sent (RFC 6265bis §5.8.3)."""
        if not self._count:
            return []
        now = self._wall_clock()
        host = _host(url)
        secure_url = _is_secure(url)
        found: list[Cookie] = []
        for domain in _domains_of(host):
            for cookie in list(self._domains.get(domain, {}).values()):
                if cookie.expires is not None and cookie.expires <= now:
                    self._drop(cookie)
                elif (
                    (cookie.domain == host or not cookie.host_only)
                    and (secure_url or not cookie.secure)
                    and path_matches(url.path, cookie.path)
                ):
                    cookie.used = now
                    found.append(cookie)
        found.sort(key=lambda each: (-len(each.path), each.created))
        return found

    # ── what the program does ─────────────────────────────────────────────────

    def set(
        self,
        name: str,
        value: str,
        *,
        domain: str,
        path: str = "/",
        host_only: bool = True,
        expires: float | None = None,
        secure: bool = False,
        http_only: bool = False,
    ) -> Cookie:
        """Put a cookie in.

        Args:
            name: Its name.
            value: Its value.
            domain: The host it is for, and with ``host_only=False`` those below it.
            path: What requests ask for at or below.
            host_only: Whether it is for just that host.
            expires: Seconds since the epoch, or ``None``.
            secure: Whether it leaves only over TLS.
            http_only: Kept, and not asked for.

        Raises:
            ValueError: A control or a semicolon in any of them, an equals sign in the
                name, no domain, or a path without its slash.
        """
        made = Cookie(
            _checked(name, "name", "=;"),
            _checked(value, "value", ";"),
            _checked(domain, "domain", ";/").decode("ascii").removeprefix(".").lower(),
            _checked(path, "path", ";").decode("utf-8"),
            host_only=host_only,
            expires=expires,
            secure=secure,
            http_only=http_only,
            created=self._wall_clock(),
        )
        if not made.domain or not made.path.startswith("/"):
            raise WebUsageError(f"a cookie needs a domain and a path: {domain!r}, {path!r}")
        self._put(made, self._wall_clock())
        return made

    def get(self, name: str, *, domain: str | None = None) -> str | None:
        """The value of a cookie by its name; of several the one that was set last."""
        wanted = name.encode("utf-8")
        found = [
            each
            for each in self
            if each.name == wanted and (domain is None or each.domain == domain.lower())
        ]
        if not found:
            return None
        return max(found, key=lambda each: each.created).value.decode("utf-8", "replace")

    def clear(self, domain: str | None = None) -> None:
        """Drop every cookie, or those of one domain."""
        if domain is None:
            self._domains.clear()
            self._count = 0
        else:
            self._count -= len(self._domains.pop(domain.lower(), {}))

    def end_session(self) -> None:
        """Drop the cookies that were to last as long as the session."""
        for cookie in self:
            if cookie.expires is None:
                self._drop(cookie)

    def save(self, path: str | os.PathLike[str], *, session: bool = False) -> None:
        """Write the jar to a file, readable to its owner alone, whole or not at all.

        Args:
            path: Where to; curl's ``-b`` reads it.
            session: Whether cookies that name no end are written too.
        """
        from sennit.web.client.cookiefile import write_cookies

        now = self._wall_clock()
        kept = [
            each for each in self if _alive(each, now) and (session or each.expires is not None)
        ]
        write_cookies(path, kept)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a file that `save`, or curl's ``-c``, wrote; what is in the jar already stays.

        Raises:
            OSError: It cannot be read.
            ValueError: It is no file of cookies.
        """
        from sennit.web.client.cookiefile import read_cookies

        now = self._wall_clock()
        for cookie in read_cookies(path):
            cookie.created = cookie.used = now
            self._put(cookie, now)


def _host(url: URL) -> str:
    return "localhost" if url.unix is not None else url.host.removesuffix(".")


def _is_secure(url: URL) -> bool:
    """Whether nobody reads along: over TLS, or within this machine.

    Browsers and curl count the machine's own addresses too, without which no program
    could be tried out whose cookies are Secure, as they should be.
    """
    if url.secure or url.unix is not None:
        return True
    host = _host(url)
    if is_address(host):
        return host.startswith("127.") or host == "::1"
    return host == "localhost" or host.endswith(".localhost")


def _domains_of(host: str) -> list[str]:
    """The host and every domain above it."""
    if is_address(host):
        return [host]
    labels = host.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))]


def _alive(cookie: Cookie, now: float) -> bool:
    return cookie.expires is None or cookie.expires > now


def _prefix_holds(parsed: ParsedCookie, host_only: bool) -> bool:
    """Whether a name that promises something keeps it (RFC 6265bis §4.1.3, §5.7)."""
    name = parsed.name.lower()
    if not name:
        # A nameless value is sent where a name would be, and could promise it there.
        value = parsed.value.lower()
        return not value.startswith((b"__secure-", b"__host-"))
    if name.startswith(b"__secure-"):
        return parsed.secure
    if name.startswith(b"__host-"):
        return parsed.secure and host_only and not parsed.domain and parsed.path == "/"
    return True


def _checked(text: str, what: str, forbidden: str) -> bytes:
    if any(ord(each) < 32 or ord(each) == 127 or each in forbidden for each in text):
        raise WebUsageError(f"the {what} of a cookie cannot be {text!r:.100}")
    return text.encode("utf-8")
