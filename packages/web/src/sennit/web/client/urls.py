"""URLs as a client needs them: taken apart, checked, and put together again.

`URL` reads one; what it keeps is what leaves on the wire: host in ASCII, request
target in octets. Characters beyond ASCII are percent-encoded as UTF-8 (RFC 3987
§3.1), host names become A-labels; spaces, controls and whatever else a URI cannot
hold are refused and not mended, since a URL with a line feed in it is an attempt
at something (CVE-2019-9740 and its kin).

Sources: RFC 3986 §2, §3, §5.2 (resolution), §6.2.2 (case and dot segments); RFC
9110 §4.2. ``ws`` and ``wss`` are RFC 6455's; ``http+unix://%2Frun%2Fx.sock/path``
is the custom of those who serve HTTP at a Unix socket. Deliberately elsewhere:
query strings from mappings (`urllib.parse.urlencode`), what redirects may do
(``redirects.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_URL", "URL", "Origin"]

Origin = tuple[str, str, int]
"""Scheme, host and port: what two URLs must share to be of one origin (RFC 6454 §4)."""

MAX_URL: Final = 64 * 1024
"""Characters in a URL. Servers take fewer."""

DEFAULT_PORTS: Final[Mapping[str, int]] = {
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "http+unix": 0,
}
"""The schemes there are, and their ports."""

_SECURE: Final = frozenset({"https", "wss"})
_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""RFC 3986, appendix B."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]").search
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?").fullmatch
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?").fullmatch
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}").fullmatch
_ESCAPES = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"(?:[!$&-;=?@A-Z_a-z~/]|%[0-9A-Fa-f]{2})*").fullmatch
"""Path or query that can stay as it is (RFC 3986 §3.3, §3.4)."""
_ZONE = re.compile(r"%[^\]]*")
_KEPT_AT_MOST: Final = 256

_IN_PATH: Final = "!$%&'()*+,-./:;=@_~"
_IN_QUERY: Final = _IN_PATH + "?"


class URL:
    """One URL, absolute.

    Args:
        text: As people write it.

    Raises:
        ValueError: It is none, or none that a client can ask for.

    Attributes:
        scheme: In lower case.
        host: In lower case and ASCII; an IPv6 address without brackets.
        port: The scheme's own when the URL names none.
        path: As it is sent; never empty.
        query: Without question mark, as it is sent; ``None`` where there is none.
        fragment: Never sent; ``None`` where there is none.
        username: Decoded; empty where there is none.
        password: Likewise. Neither is ever shown or sent by itself.
        unix: Path of the Unix socket that an ``http+unix`` URL names, else ``None``.
        target: The request target in origin form, octets (RFC 9112 §3.2.1).
        authority: Host, and port where it is not the scheme's own.
        host_field: The same in octets, without the zone of an address: what Host says.
        origin: Scheme, host and port.
        secure: Whether it is spoken over TLS.
    """

    __slots__ = (
        "authority",
        "fragment",
        "host",
        "host_field",
        "origin",
        "password",
        "path",
        "port",
        "query",
        "scheme",
        "secure",
        "target",
        "unix",
        "username",
    )

    def __init__(self, text: str) -> None:
        scheme, authority, path, query, fragment = _split(text)
        if scheme is None or authority is None:
            raise ValueError(f"not an absolute URL: {_shown(text)}")
        if scheme not in DEFAULT_PORTS:
            raise ValueError(f"one cannot fetch {scheme!r:.40}: {_shown(text)}")
        if "\\" in authority:
            # Browsers take it for a slash: what is a host to them is a user here.
            raise ValueError(f"a backslash where a host stands: {_shown(text)}")
        user, at, place = authority.rpartition("@")
        name, colon, password = user.partition(":")
        self.scheme = scheme
        self.secure = scheme in _SECURE
        self.username = unquote(name) if at else ""
        self.password = unquote(password) if colon else ""
        self.unix: str | None = None
        if scheme == "http+unix":
            self.unix = unquote(place)
            if not self.unix or "\0" in self.unix:
                raise ValueError(f"no Unix socket in {_shown(text)}")
            self.host, self.port, self.authority = place, 0, "localhost"
        else:
            self.host, self.port = _host_and_port(place, DEFAULT_PORTS[scheme], text)
            shown = f"[{self.host}]" if ":" in self.host else self.host
            own = self.port == DEFAULT_PORTS[scheme]
            self.authority = shown if own else f"{shown}:{self.port}"
        self.path = _without_dots(_encoded(path, _IN_PATH)) or "/"
        self.query = None if query is None else _encoded(query, _IN_QUERY)
        self.fragment = fragment
        whole = self.path if self.query is None else f"{self.path}?{self.query}"
        self.target = whole.encode("ascii")
        # A zone means something to this machine alone (RFC 6874 §3).
        named = _ZONE.sub("", self.authority) if "%" in self.authority else self.authority
        self.host_field = named.encode("ascii")
        self.origin: Origin = (scheme, self.host, self.port)

    @classmethod
    def of(cls, url: str | URL) -> URL:
        """A URL that is one already, or what its text says; texts that recur are read once."""
        if type(url) is not str:
            if isinstance(url, URL):
                return url
            raise TypeError(f"a URL is a str or a URL, not {type(url).__name__}")
        found = _read.get(url)
        if found is None:
            found = cls(url)
            if len(_read) >= _KEPT_AT_MOST:
                _read.clear()
            if len(url) <= 1024:
                _read[url] = found
        return found

    def join(self, reference: str) -> URL:
        """Resolve a reference against this URL (RFC 3986 §5.2).

        Raises:
            ValueError: What comes of it is no URL that a client can ask for.
        """
        scheme, authority, path, query, fragment = _split(reference)
        if scheme is not None:
            return URL(reference)
        if authority is not None:
            return URL(f"{self.scheme}:{reference}")
        if not path:
            path = self.path
            if query is None:
                query = self.query
        elif not path.startswith("/"):
            path = self.path.rpartition("/")[0] + "/" + path
        return self._with(path, query, fragment)

    def with_query(self, query: str | None) -> URL:
        """The same with another query, which stands as it will be sent."""
        return self._with(self.path, query, self.fragment)

    def _with(self, path: str, query: str | None, fragment: str | None) -> URL:
        text = f"{self.scheme}://{self._place}{path}"
        if query is not None:
            text += f"?{query}"
        if fragment is not None:
            text += f"#{fragment}"
        made = URL(text)
        made.username, made.password = self.username, self.password
        return made

    @property
    def host_and_port(self) -> str:
        """What CONNECT asks for and an endpoint names: always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def _place(self) -> str:
        return self.host if self.unix is not None else self.authority

    def __str__(self) -> str:
        """As it can be read again, without user and password."""
        text = f"{self.scheme}://{self._place}{self.target.decode('ascii')}"
        return text if self.fragment is None else f"{text}#{self.fragment}"

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return (str(self), self.username, self.password) == (
            str(other),
            other.username,
            other.password,
        )

    def __hash__(self) -> int:
        return hash((self.origin, self.target))


_read: dict[str, URL] = {}
"""URLs by their text: programs ask for the same again and again."""


def _split(text: str) -> tuple[str | None, str | None, str, str | None, str | None]:
    """The five parts; the scheme in lower case.

    Raises:
        ValueError: A space or control is in it, or it is too long.
    """
    if len(text) > MAX_URL:
        raise ValueError(f"a URL of {len(text)} characters")
    bad = _FORBIDDEN(text)
    if bad is not None:
        raise ValueError(f"{bad.group()!r} cannot be in a URL: {_shown(text)}")
    match = _PARTS.fullmatch(text)
    assert match is not None, "every text matches"
    scheme, authority, path, query, fragment = match.groups()
    if scheme is not None:
        if _SCHEME(scheme) is None:
            raise ValueError(f"no scheme: {_shown(text)}")
        scheme = scheme.lower()
    return scheme, authority, path, query, fragment


def _host_and_port(place: str, default: int, text: str) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, tail = place[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"no host in {_shown(text)}")
        import ipaddress  # few URLs have an address in brackets

        try:
            host = str(ipaddress.IPv6Address(host.replace("%25", "%", 1)))
        except ValueError as error:
            raise ValueError(f"no IPv6 address in {_shown(text)}: {error}") from error
        port = tail[1:]
    else:
        host, _, port = place.partition(":")
        host = host.lower()
        if not host.isascii():
            # It brings OpenSSL in, which few programs with such names do without.
            from sennit.core.transport.tlsnames import ascii_name

            host = ascii_name(host, host=True).decode("ascii")
        if _HOST(host) is None or len(host) > 254 or ".." in host:
            raise ValueError(f"no host in {_shown(text)}")
        if _NUMERIC(host) is not None and _IPV4(host) is None:
            # The C library reads 127.1 and 0x7f000001 as addresses, a filter may not.
            raise ValueError(f"an odd IPv4 address in {_shown(text)}")
    if not port:
        return host, default
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"no port in {_shown(text)}")
    return host, int(port)


def _encoded(text: str, safe: str) -> str:
    """Path or query as it can be sent; escapes that are there already stay."""
    if _PLAIN(text) is not None:
        return text
    return quote(_ESCAPES.sub("%25", text), safe=safe)


def _without_dots(path: str) -> str:
    """A path without ``.`` and ``..`` (RFC 3986 §5.2.4)."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    last = len(segments) - 1
    for at, segment in enumerate(segments):
        if segment == "." or segment == "..":
            if segment == ".." and len(kept) > 1:
                kept.pop()
            if at == last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)


def _shown(text: str) -> str:
    """A URL fit to be shown: short, and without what stands before an at sign."""
    head, at, tail = text.rpartition("@")
    return repr(text[:200] if not at else f"{head.partition('//')[0][:20]}//…@{tail[:200]}")
