"""Several sites on one address, told apart by the host that is asked for.

::

    http_server(hosts({"a.example": site_a, "*.b.example": site_b}, default=site_a))

A name of one's own comes before a pattern, and of patterns the longest. What a site has of
limits and logs for its connections counts for nothing here: those are of the outer server.

Sources: RFC 9110 §7.2 (Host), §15.5.20 (421); RFC 9112 §3.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sennit.web.errors import WebUsageError
from sennit.web.response import error_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.web.request import Request
    from sennit.web.resource import Resource
    from sennit.web.server import Answer, Handler, HTTPServer

__all__ = ["handler_of", "host_name", "hosts"]

_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]").fullmatch
_PORT = re.compile(r":[0-9]*\Z")
MAX_HOST: Final = 255
"""Octets of a host that is looked for."""


def host_name(authority: str) -> str:
    """The host of an authority: in lower case, without port and closing dot."""
    return _PORT.sub("", authority).rstrip(".").lower()


def hosts(
    sites: Mapping[str, Handler | HTTPServer | Resource],
    *,
    default: Handler | HTTPServer | Resource | None = None,
    unknown: int = 421,
) -> Handler:
    """A handler that asks the site of the host.

    Args:
        sites: By host name without port; ``*.`` before a name stands for all hosts beneath it.
        default: For every other host, and for requests without any.
        unknown: What those are answered when there is no default: 421, or 404.

    Raises:
        WebUsageError: A name is none, or stands there twice.
    """
    exact: dict[str, Handler] = {}
    beneath: dict[str, Handler] = {}
    for name, site in sites.items():
        host = name.lower().rstrip(".")
        if _NAME(host) is None:
            raise WebUsageError(f"no name of a host: {name!r:.100}")
        table = exact
        if host.startswith("*."):
            table, host = beneath, host[2:]
        if host in table:
            raise WebUsageError(f"there is a site {name!r:.100} already")
        table[host] = handler_of(site)
    otherwise = None if default is None else handler_of(default)
    if unknown not in (404, 421):
        raise WebUsageError(f"an unknown host is answered 421 or 404, not {unknown}")

    def find(authority: str) -> Handler | None:
        host = host_name(authority)
        found = exact.get(host)
        if found is not None or not beneath or len(host) > MAX_HOST:
            return found
        _, _, rest = host.partition(".")
        while rest:
            found = beneath.get(rest)
            if found is not None:
                return found
            _, _, rest = rest.partition(".")
        return None

    def call(request: Request) -> Answer:
        handler = find(request.host) or otherwise
        return error_page(unknown) if handler is None else handler(request)

    return call


def handler_of(site: Handler | HTTPServer | Resource) -> Handler:
    """What answers: a handler, that of a server with its wrappers, or a resource."""
    from sennit.web.resource import Resource
    from sennit.web.server import HTTPServer

    if isinstance(site, HTTPServer):
        return site.handler
    if isinstance(site, Resource):
        return site.render
    return site
