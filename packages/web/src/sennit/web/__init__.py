"""HTTP for Sennit: a server for files, resources and applications.

::

    from sennit.core import run, serve
    from sennit.web import Site, text

    site = Site()

    @site.route("/")
    async def hello(request):
        return text("Hello")

    async def main(reactor):
        async with serve("tcp://127.0.0.1:8080", site) as server:
            await server.wait_closed()

    run(main)

Everything is loaded when it is first used.
"""

from __future__ import annotations

from sennit.web._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.web.accesslog import AccessLog
    from sennit.web.client.api import Client, fetch
    from sennit.web.client.auth import BasicAuth, BearerAuth, DigestAuth
    from sennit.web.client.cookies import CookieJar
    from sennit.web.client.eventstream import ServerSentEvent
    from sennit.web.client.limits import ClientTimeouts, PoolLimits
    from sennit.web.client.response import ClientResponse, StatusError
    from sennit.web.client.retries import Retries
    from sennit.web.client.urls import URL
    from sennit.web.errors import (
        BodyTooLargeError,
        RequestTimeoutError,
        WebError,
        WebProtocolError,
        WebUsageError,
    )
    from sennit.web.http1.engine import HTTP1ServerEngine
    from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
    from sennit.web.http1.server import HTTP1ServerProtocol
    from sennit.web.limits import Limits
    from sennit.web.request import Request
    from sennit.web.resource import FunctionResource, Resource, Site
    from sennit.web.response import HTTPError, Response, error_page, html, json, redirect, text
    from sennit.web.server import HTTPServer, Timeouts, http_server
    from sennit.web.static import StaticFiles

__all__ = [
    "URL",
    "AccessLog",
    "BasicAuth",
    "BearerAuth",
    "BodyTooLargeError",
    "Client",
    "ClientResponse",
    "ClientTimeouts",
    "CookieJar",
    "DigestAuth",
    "FunctionResource",
    "H11ServerEngine",
    "HTTP1ServerEngine",
    "HTTP1ServerProtocol",
    "HTTPError",
    "HTTPServer",
    "HTTPToolsServerEngine",
    "Limits",
    "PoolLimits",
    "Request",
    "RequestTimeoutError",
    "Resource",
    "Response",
    "Retries",
    "ServerSentEvent",
    "Site",
    "StaticFiles",
    "StatusError",
    "Timeouts",
    "WebError",
    "WebProtocolError",
    "WebUsageError",
    "__version__",
    "error_page",
    "fetch",
    "html",
    "http_server",
    "json",
    "redirect",
    "text",
]

_ROOMS = {
    "accesslog": ("AccessLog",),
    "client.api": ("Client", "fetch"),
    "client.auth": ("BasicAuth", "BearerAuth", "DigestAuth"),
    "client.cookies": ("CookieJar",),
    "client.eventstream": ("ServerSentEvent",),
    "client.limits": ("ClientTimeouts", "PoolLimits"),
    "client.response": ("ClientResponse", "StatusError"),
    "client.retries": ("Retries",),
    "client.urls": ("URL",),
    "errors": (
        "BodyTooLargeError",
        "RequestTimeoutError",
        "WebError",
        "WebProtocolError",
        "WebUsageError",
    ),
    "http1.engine": ("HTTP1ServerEngine",),
    "http1.parsers": ("H11ServerEngine", "HTTPToolsServerEngine"),
    "http1.server": ("HTTP1ServerProtocol",),
    "limits": ("Limits",),
    "request": ("Request",),
    "resource": ("FunctionResource", "Resource", "Site"),
    "response": ("HTTPError", "Response", "error_page", "html", "json", "redirect", "text"),
    "server": ("HTTPServer", "Timeouts", "http_server"),
    "static": ("StaticFiles",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name from the room it lives in, the first time it is asked for."""
        room = _HOME.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{room}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
