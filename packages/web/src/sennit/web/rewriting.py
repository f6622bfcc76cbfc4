r"""Paths written anew, and clients sent elsewhere: old addresses, https, one name, slashes.

A rule's pattern is that of a route (``routing.py``): parameters are whole segments, so a
match costs time linear in the path and no pattern can be made to take long. A target is a
template of the same form with the parameters in it::

    rewrite([
        Rewrite("/blog/{year:int}/{rest:path}", "/archive/{year}/{rest}"),
        Redirect("/old/{rest:path}", "/new/{rest}", 308),
    ])

Rules are tried once each, from the first to the last: what one has rewritten is seen by
those behind it, so there are no loops.

Where a client is sent never depends on more of what it said than the template takes, and
no path leads to another host: ``//evil.example/`` is a path here, and stays one.

Sources: RFC 9110 §10.2.2, §15.4; RFC 3986 §3.3, §4.2; RFC 6797 (HSTS).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from sennit.web.converters import CONVERTERS
from sennit.web.errors import WebUsageError
from sennit.web.response import HTTPError, redirect
from sennit.web.routing import Match, Router, parse_pattern
from sennit.web.virtualhosts import host_name
from sennit.web.wrappers import ask, then

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    from sennit.web.request import Request
    from sennit.web.response import Response
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

__all__ = [
    "Redirect",
    "Rewrite",
    "canonical_host",
    "https_only",
    "rewrite",
    "trailing_slash",
]

_HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SAFE: Final = "!$&'()*+,-.:;=@_~"
_TARGET_SAFE: Final = "!#$%&'()*+,-./:;=?@[]_~{}"
_SAFE_METHODS: Final = (b"GET", b"HEAD")


class Rewrite:
    """Paths that are answered as if others had been asked for.

    Args:
        pattern: Of the paths.
        target: A path with the pattern's parameters in it and no query: that of the request
            stays. What is not ASCII is percent-encoded.

    Raises:
        WebUsageError: The pattern is none, or the target has what it does not.
    """

    def __init__(self, pattern: str, target: str) -> None:
        self.pattern = pattern
        self.target = target = quote(target, safe=_TARGET_SAFE)
        self._router = Router()
        self._router.add(pattern, _never, None)
        self._kinds = {
            each[0]: CONVERTERS[each[1]]
            for each in parse_pattern(pattern)
            if not isinstance(each, str)
        }
        if not target.startswith("/") and not isinstance(self, Redirect):
            raise WebUsageError(f"a path begins with a slash: {target!r}")
        if ("?" in target or "#" in target) and not isinstance(self, Redirect):
            raise WebUsageError(f"a path has neither query nor fragment: {target!r}")
        holes = set(_HOLE.findall(target))
        if not holes <= set(self._kinds) or "{" in _HOLE.sub("", target):
            raise WebUsageError(f"{target!r} has parameters that {pattern!r} has not")

    def fill(self, segments: list[str]) -> str | None:
        """The target, percent-encoded, for a path that matches; ``None`` for others."""
        found = self._router.match(segments, "GET")
        if not isinstance(found, Match):
            return None
        params = found.params

        def put(hole: re.Match[str]) -> str:
            kind = self._kinds[hole[1]]
            text = kind.to_text(params[hole[1]])
            if "?" in self.target[: hole.start()]:
                # One value of the query, which cannot begin another.
                return quote(text, safe="")
            # An encoded slash inside a segment stays one.
            parts = text.split("/") if kind.tail else [text]
            return "/".join(quote(each, safe=_SAFE) for each in parts)

        filled = _HOLE.sub(put, self.target)
        # What begins with two slashes would name a host (RFC 3986 §4.2).
        return "/" + filled.lstrip("/") if filled.startswith("//") else filled


class Redirect(Rewrite):
    """Paths whose clients are sent elsewhere.

    Args:
        pattern: Of the paths.
        target: A path, or a URL with ``http:`` or ``https:``, with the pattern's parameters
            in its path or query; the request's query goes along unless it has one.
        status: 301, 302, 303, 307 or 308.

    Raises:
        WebUsageError: As of `Rewrite`; or a parameter would choose the host.
    """

    def __init__(self, pattern: str, target: str, status: int = 308) -> None:
        super().__init__(pattern, target)
        if not urlsplit(target).netloc.isascii():
            raise WebUsageError(f"a host is written in ASCII (xn--…): {target!r}")
        if not target.startswith("/"):
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise WebUsageError(f"{target!r} is neither a path nor a URL of the web")
            if "{" in parts.netloc:
                raise WebUsageError(f"a parameter would choose the host: {target!r}")
        elif target.startswith("//"):
            raise WebUsageError(f"{target!r} names a host without a scheme")
        redirect("/", status)  # refuses a status that is none
        self.status = status


def rewrite(rules: Sequence[Rewrite]) -> Wrapper:
    """A wrapper that applies rules to paths, each once, in this order.

    A redirection to where the client is already is none.
    """
    listed = tuple(rules)

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            for rule in listed:
                try:
                    filled = rule.fill(request.segments)
                except HTTPError:
                    break  # a path that is not well encoded; whoever looks for it says so
                if filled is None:
                    continue
                if isinstance(rule, Redirect):
                    if filled != request.raw_path:
                        return redirect(_with_query(filled, request), rule.status)
                    continue
                request.rewrite(filled)
            return handler(request)

        return call

    return wrap


def https_only(
    *,
    port: int = 443,
    status: int = 308,
    hsts: int | None = None,
    subdomains: bool = False,
    exempt: Iterable[str] = (),
) -> Wrapper:
    """A wrapper that sends clients without TLS to the same address with it.

    Args:
        port: That ``https`` is on.
        status: Of the redirection.
        hsts: Seconds for which browsers shall not even try without TLS (RFC 6797); sent
            over TLS only. Not to be undone before they are over, so it is left out by default.
        subdomains: Whether that holds for all names beneath, too.
        exempt: Paths that are answered without TLS, such as ``/.well-known/acme-challenge/``;
            one that ends in a slash stands for all beneath.
    """
    redirect("/", status)
    exact = frozenset(each for each in exempt if not each.endswith("/"))
    folders = tuple(each for each in exempt if each.endswith("/"))
    value = None
    if hsts is not None:
        value = f"max-age={int(hsts)}{'; includeSubDomains' if subdomains else ''}".encode()

    def wrap(handler: Handler) -> Handler:
        def change(response: Response) -> Response:
            if value is not None:
                response.headers = [*response.headers, (b"strict-transport-security", value)]
            return response

        def call(request: Request) -> Answer:
            if request.secure:
                return handler(request) if value is None else then(ask(handler, request), change)
            path = request.raw_path
            if path in exact or (folders and path.startswith(folders)):
                return handler(request)
            host = host_name(request.host)
            if not host:
                raise HTTPError(400)
            place = host if port == 443 else f"{host}:{port}"
            return redirect(f"https://{place}{_path_of(request)}", status)

        return call

    return wrap


def canonical_host(host: str, *, status: int = 308, scheme: str | None = None) -> Wrapper:
    """A wrapper that sends clients which ask for another host to this one.

    Args:
        host: With its port, if that is not the usual one.
        status: Of the redirection.
        scheme: ``https`` or ``http``; that of the request when left out.

    Raises:
        WebUsageError: It is no host.
    """
    redirect("/", status)
    if urlsplit(f"//{host}").netloc != host or not host or "@" in host:
        raise WebUsageError(f"no host: {host!r:.100}")
    wanted = host.lower()

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            if request.host.lower() == wanted:
                return handler(request)
            return redirect(f"{scheme or request.scheme}://{wanted}{_path_of(request)}", status)

        return call

    return wrap


def trailing_slash(mode: Literal["remove", "add"] = "remove", *, status: int = 308) -> Wrapper:
    """A wrapper that has paths end all in one way; GET and HEAD alone are sent elsewhere.

    Args:
        mode: ``remove`` takes slashes off the end; ``add`` puts one there, except behind a
            name with a dot, which looks like a file's.
        status: Of the redirection.
    """
    redirect("/", status)
    if mode not in ("remove", "add"):
        raise WebUsageError(f"slashes are added or removed, not {mode!r}")

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            path = request.raw_path
            if request.head.method in _SAFE_METHODS and path.startswith("/") and path != "/":
                if mode == "remove":
                    wanted = path.rstrip("/") or "/"
                else:
                    last = path.rpartition("/")[2]
                    wanted = path + "/" if last and "." not in last else path
                if wanted != path:
                    wanted = "/" + wanted.lstrip("/")
                    return redirect(_with_query(wanted, request), status)
            return handler(request)

        return call

    return wrap


def _path_of(request: Request) -> str:
    """Path and query, such that they cannot be taken for a host."""
    path = request.raw_path
    return _with_query("/" + path.lstrip("/"), request)


def _with_query(target: str, request: Request) -> str:
    query = request.query_string
    return f"{target}?{query}" if query and "?" not in target else target


def _never(request: Request) -> Answer:
    """The handler of a pattern that is only matched."""
    raise HTTPError(404)  # pragma: no cover
