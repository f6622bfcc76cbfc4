"""Requests that pages of other origins make: which are allowed, and what they may see.

`cors` answers preflights itself and adds its fields to answers. Nothing is allowed but what
is listed; with credentials an origin is always named, never ``*``; an origin that is not
allowed gets the answer without the fields, and its browser keeps the answer from the page.

Sources: the Fetch standard of WHATWG, §3.2 (CORS protocol), §3.2.3 (responses), §3.2.5
(credentials). This is no protection of the server: who is no browser sends what it likes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sennit.web.response import Response
from sennit.web.wrappers import ask, then

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

__all__ = ["cors"]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+", re.ASCII).fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
MAX_ASKED: Final = 64
"""Header names of one preflight that are looked at."""


def cors(
    origins: Iterable[str] | str = (),
    *,
    methods: Iterable[str] = ("GET", "HEAD", "POST"),
    headers: Iterable[str] = (),
    expose: Iterable[str] = (),
    credentials: bool = False,
    max_age: int = 600,
    allow: Callable[[str], bool] | None = None,
) -> Wrapper:
    """A wrapper that lets pages of other origins ask.

    Args:
        origins: Such as ``https://app.example``; or ``"*"`` for every one.
        methods: That they may use.
        headers: Of requests that they may set, besides those that any page may.
        expose: Headers of answers that they may read, likewise.
        credentials: Whether cookies and the like go along.
        max_age: Seconds that a browser may remember what a preflight said.
        allow: Whether an origin that is not listed is allowed, by its text.

    Raises:
        ValueError: Something listed cannot be one, or ``*`` with credentials.
    """
    every = origins == "*"
    named = [origins] if isinstance(origins, str) else list(origins)
    listed: frozenset[str] = frozenset(() if every else named)
    for each in listed:
        if each != "null" and (_ORIGIN(each) is None or each.count("/") != 2):
            raise ValueError(f"an origin is scheme://host[:port] in lower case, not {each!r:.100}")
    if every and credentials:
        raise ValueError("every origin with credentials would be no protection: name them")
    methods, headers, expose = tuple(methods), tuple(headers), tuple(expose)
    for each in (*methods, *headers, *expose):
        if _TOKEN(each) is None:
            raise ValueError(f"no name of a method or header: {each!r:.100}")
    names = frozenset(each.lower() for each in headers)

    def allowed(origin: str) -> bool:
        return every or origin in listed or (allow is not None and allow(origin))

    def fields(origin: str) -> list[tuple[bytes, bytes]]:
        found = [(b"access-control-allow-origin", b"*" if every else origin.encode("latin-1"))]
        if credentials:
            found.append((b"access-control-allow-credentials", b"true"))
        return found

    def preflight(origin: str, method: str, asked: str) -> Response:
        response = Response(b"", 204)
        response.headers.append(
            (b"vary", b"origin, access-control-request-method, access-control-request-headers")
        )
        wanted = [each.strip().lower() for each in asked.split(",", MAX_ASKED) if each.strip()]
        if not allowed(origin) or method not in methods or not names.issuperset(wanted):
            return response
        response.headers += fields(origin)
        response.headers.append((b"access-control-allow-methods", ", ".join(methods).encode()))
        if wanted:
            # All that are allowed, not what was asked: the browser remembers the answer.
            response.headers.append((b"access-control-allow-headers", ", ".join(headers).encode()))
        if max_age:
            response.headers.append((b"access-control-max-age", b"%d" % max_age))
        return response

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            origin = request.header("origin")
            if origin is not None and request.head.method == b"OPTIONS":
                method = request.header("access-control-request-method")
                if method is not None:
                    asked = request.header("access-control-request-headers") or ""
                    return preflight(origin, method, asked)

            def change(response: Response) -> Response:
                added: list[tuple[bytes, bytes]] = []
                if not every:
                    # Also where no origin was: a cache must not give that answer to one.
                    added.append((b"vary", b"origin"))
                if origin is not None and allowed(origin):
                    added += fields(origin)
                    if expose:
                        value = ", ".join(expose).encode("ascii")
                        added.append((b"access-control-expose-headers", value))
                response.headers = [*response.headers, *added]
                return response

            return then(ask(handler, request), change)

        return call

    return wrap
