"""Names of the inside in what goes outside: Location, and the paths of cookies.

A proxy that stands at ``/shop`` and hands requests on to ``http://10.0.0.7:9000/app``
gets ``Location: http://10.0.0.7:9000/app/cart`` back, which is nowhere to the client:
that is ``https://example.com/shop/cart``. `Translation` knows the one prefix and the
other.

Sources: RFC 9110 §8.7, §10.2.2; RFC 6265 §5.2.3, §5.2.4.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sennit.web.errors import WebUsageError
from sennit.web.response import HTTPError

if TYPE_CHECKING:
    from typing import Final

    from sennit.web.client.urls import URL

    Field = tuple[bytes, bytes]

__all__ = ["Translation", "check_path"]

_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*").fullmatch
_ATTRIBUTE: Final = re.compile(rb";[ \t]*(path|domain)[ \t]*=[ \t]*([^;]*)", re.IGNORECASE)
_ESCAPED: Final = re.compile(rb"%(2[eEfF]|5[cC])").sub
_DECODED: Final = {b"2e": b".", b"2f": b"/", b"5c": b"\\"}
_URL: Final = re.compile(rb"(?:(https?):)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch
_PORTS: Final = {b"http": b":80", b"https": b":443"}


def check_path(path: bytes) -> None:
    """Whether a path means the same to everybody who reads it.

    ``/app/../admin`` is in ``/app`` to a proxy that compares prefixes and in ``/admin``
    to a server that resolves them; so is ``/app/..%2fadmin`` to some.

    Args:
        path: The path of a request, without its query.

    Raises:
        HTTPError: 400, it has a segment of one or two dots, however written.
    """
    if b"." not in path and b"%" not in path:
        return
    plain = _ESCAPED(lambda found: _DECODED[found[1].lower()], path).replace(b"\\", b"/")
    if any(each in (b".", b"..") for each in plain.split(b"/")):
        raise HTTPError(400)


class Translation:
    """What the inside calls things, and what the outside does.

    Args:
        prefix: Path in front of what the proxy answers for, such as ``/shop``; taken
            off before a request goes on.

    Raises:
        WebUsageError: The prefix is none.
    """

    def __init__(self, prefix: str = "") -> None:
        prefix = prefix.rstrip("/")
        if _PREFIX(prefix) is None:
            raise WebUsageError(f"a prefix is a path such as /shop, not {prefix!r:.100}")
        self.prefix = prefix.encode("ascii")

    def inward(self, target: bytes) -> bytes:
        """The target of a request without the prefix.

        Raises:
            HTTPError: 404, it does not begin with it; 400, its path is ambiguous.
        """
        path, mark, query = target.partition(b"?")
        check_path(path)
        if not self.prefix:
            return target
        rest = path[len(self.prefix) :]
        if not path.startswith(self.prefix) or (rest and not rest.startswith(b"/")):
            raise HTTPError(404)
        return (rest or b"/") + mark + query

    def outward(
        self, headers: list[Field], upstream: URL, base: bytes, host: bytes, scheme: bytes
    ) -> list[Field]:
        """The fields of a response as the outside has to read them.

        Args:
            headers: (lower-case name, value) octet pairs.
            upstream: Where the request went.
            base: Path in front of every target there, without a slash at its end.
            host: The authority that the client asked for.
            scheme: How it asked.
        """
        made: list[Field] = []
        for field in headers:
            name, value = field
            if name == b"location" or name == b"content-location":
                field = name, self._location(value, upstream, base, host, scheme)
            elif name == b"set-cookie" and (base != self.prefix or b"domain" in value.lower()):
                field = name, self._cookie(value, upstream, base)
            made.append(field)
        return made

    def _location(
        self, value: bytes, upstream: URL, base: bytes, host: bytes, scheme: bytes
    ) -> bytes:
        found = _URL(value)
        if found is None:
            if value.startswith(b"/"):
                return self._path(value, base)
            return value
        theirs = (found[1] or upstream.scheme.encode("ascii")).lower()
        authority = found[2].lower().removesuffix(_PORTS.get(theirs, b""))
        own = upstream.authority.encode("ascii")
        inside = authority == own and theirs == upstream.scheme.encode("ascii")
        # A server that was told the client's Host speaks of itself by that.
        if not inside and authority != host.lower().removesuffix(_PORTS.get(scheme, b"")):
            return value
        if not inside and base == self.prefix:
            return value
        return scheme + b"://" + host + self._path(found[3] or b"/", base)

    def _path(self, path: bytes, base: bytes) -> bytes:
        rest = path[len(base) :]
        if base and (not path.startswith(base) or (rest and rest[:1] not in b"/?#")):
            return path
        return self.prefix + rest or b"/"

    def _cookie(self, value: bytes, upstream: URL, base: bytes) -> bytes:
        own = upstream.host.encode("ascii")

        def change(found: re.Match[bytes]) -> bytes:
            named = found[2].strip()
            if found[1].lower() == b"path":
                return b"; Path=" + self._path(named, base)
            # The server's own name is nothing that a browser would take a cookie for.
            return b"" if named.lower().lstrip(b".") == own else found[0]

        return _ATTRIBUTE.sub(change, value)
