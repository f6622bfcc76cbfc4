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

from sennit.core.lazy import lazy_names
from sennit.web._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.web.accesslog import AccessLog, SeveralLogs
    from sennit.web.auth import require_login
    from sennit.web.client.api import Client, fetch
    from sennit.web.client.auth import BasicAuth, BearerAuth, DigestAuth
    from sennit.web.client.cookies import CookieJar
    from sennit.web.client.eventstream import ServerSentEvent
    from sennit.web.client.limits import ClientTimeouts, PoolLimits, ResponseLimits
    from sennit.web.client.proxies import Proxies, Proxy, proxies_from_environment
    from sennit.web.client.response import ClientResponse, StatusError
    from sennit.web.client.retries import Retries
    from sennit.web.client.urls import URL
    from sennit.web.compression import compress, decode_requests
    from sennit.web.converters import Converter
    from sennit.web.crossorigin import cors
    from sennit.web.errorpages import error_pages
    from sennit.web.errors import (
        BodyTooLargeError,
        CutShortError,
        RequestTimeoutError,
        UnansweredError,
        WebError,
        WebProtocolError,
        WebUsageError,
    )
    from sennit.web.forms import Form, FormError, FormLimits, Upload
    from sennit.web.handlers import HandlerResource
    from sennit.web.hosting.asgi import ASGI
    from sennit.web.hosting.wsgi import WSGI
    from sennit.web.http1.engine import HTTP1ServerEngine
    from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
    from sennit.web.http1.server import HTTP1ServerProtocol
    from sennit.web.http2.limits import HTTP2Limits
    from sennit.web.limits import Limits
    from sennit.web.metrics import RequestMetrics
    from sennit.web.proxy.checks import HealthCheck
    from sennit.web.proxy.forward import ForwardProxy
    from sennit.web.proxy.forwarded import Forwarder, trust_forwarded
    from sennit.web.proxy.health import HealthRules
    from sennit.web.proxy.reverse import ReverseProxy
    from sennit.web.proxy.rules import ForwardRules
    from sennit.web.proxy.upstream import HashBy, LeastOpen, RoundRobin, Upstream, Upstreams
    from sennit.web.request import Request
    from sennit.web.requestids import RequestIDFilter, current_request_id, request_ids
    from sennit.web.resource import FunctionResource, Resource, Site
    from sennit.web.response import (
        HTTPError,
        MissingFieldError,
        Response,
        error_page,
        html,
        json,
        redirect,
        text,
    )
    from sennit.web.rewriting import (
        Redirect,
        Rewrite,
        canonical_host,
        https_only,
        rewrite,
        trailing_slash,
    )
    from sennit.web.routing import Router
    from sennit.web.rpc.errors import MismatchError, RPCError
    from sennit.web.rpc.exposing import Methods, exposed
    from sennit.web.rpc.jsonrpc import JSONRPC, JSONRPCClient
    from sennit.web.rpc.jsonrpc_peer import JSONRPCPeer
    from sennit.web.rpc.limits import RPCLimits
    from sennit.web.rpc.xmlrpc import XMLRPC, XMLRPCClient
    from sennit.web.server import HTTPServer, Timeouts, http_server
    from sennit.web.sessions.interfaces import ISessionStore
    from sennit.web.sessions.session import Session
    from sennit.web.sessions.stores import MemorySessions, SignedCookies, SQLiteSessions
    from sennit.web.sessions.wrapping import with_sessions
    from sennit.web.sse import Event, EventHub, EventStream
    from sennit.web.static import StaticFiles
    from sennit.web.virtualhosts import hosts
    from sennit.web.websocket.client import connect_websocket
    from sennit.web.websocket.deflate import Deflate
    from sennit.web.websocket.engine import WSProtoEngine
    from sennit.web.websocket.errors import (
        WebSocketClosedError,
        WebSocketProtocolError,
        WebSocketRefusedError,
    )
    from sennit.web.websocket.fast import FastEngine
    from sennit.web.websocket.grammar import encode_message
    from sennit.web.websocket.limits import WebSocketLimits, WebSocketTimeouts
    from sennit.web.websocket.protocol import WebSocketProtocol
    from sennit.web.websocket.server import WebSocketResource, accept_websocket
    from sennit.web.websocket.websocket import WebSocket
    from sennit.web.wrappers import ask, then

__all__ = [
    "ASGI",
    "JSONRPC",
    "URL",
    "WSGI",
    "XMLRPC",
    "AccessLog",
    "BasicAuth",
    "BearerAuth",
    "BodyTooLargeError",
    "Client",
    "ClientResponse",
    "ClientTimeouts",
    "Converter",
    "CookieJar",
    "CutShortError",
    "Deflate",
    "DigestAuth",
    "Event",
    "EventHub",
    "EventStream",
    "FastEngine",
    "Form",
    "FormError",
    "FormLimits",
    "ForwardProxy",
    "ForwardRules",
    "Forwarder",
    "FunctionResource",
    "H11ServerEngine",
    "HTTP1ServerEngine",
    "HTTP1ServerProtocol",
    "HTTP2Limits",
    "HTTPError",
    "HTTPServer",
    "HTTPToolsServerEngine",
    "HandlerResource",
    "HashBy",
    "HealthCheck",
    "HealthRules",
    "ISessionStore",
    "JSONRPCClient",
    "JSONRPCPeer",
    "LeastOpen",
    "Limits",
    "MemorySessions",
    "Methods",
    "MismatchError",
    "MissingFieldError",
    "PoolLimits",
    "Proxies",
    "Proxy",
    "RPCError",
    "RPCLimits",
    "Redirect",
    "Request",
    "RequestIDFilter",
    "RequestMetrics",
    "RequestTimeoutError",
    "Resource",
    "Response",
    "ResponseLimits",
    "Retries",
    "ReverseProxy",
    "Rewrite",
    "RoundRobin",
    "Router",
    "SQLiteSessions",
    "ServerSentEvent",
    "Session",
    "SeveralLogs",
    "SignedCookies",
    "Site",
    "StaticFiles",
    "StatusError",
    "Timeouts",
    "UnansweredError",
    "Upload",
    "Upstream",
    "Upstreams",
    "WSProtoEngine",
    "WebError",
    "WebProtocolError",
    "WebSocket",
    "WebSocketClosedError",
    "WebSocketLimits",
    "WebSocketProtocol",
    "WebSocketProtocolError",
    "WebSocketRefusedError",
    "WebSocketResource",
    "WebSocketTimeouts",
    "WebUsageError",
    "XMLRPCClient",
    "__version__",
    "accept_websocket",
    "ask",
    "canonical_host",
    "compress",
    "connect_websocket",
    "cors",
    "current_request_id",
    "decode_requests",
    "encode_message",
    "error_page",
    "error_pages",
    "exposed",
    "fetch",
    "hosts",
    "html",
    "http_server",
    "https_only",
    "json",
    "proxies_from_environment",
    "redirect",
    "request_ids",
    "require_login",
    "rewrite",
    "text",
    "then",
    "trailing_slash",
    "trust_forwarded",
    "with_sessions",
]

_ROOMS = {
    "accesslog": ("AccessLog", "SeveralLogs"),
    "auth": ("require_login",),
    "client.api": ("Client", "fetch"),
    "client.auth": ("BasicAuth", "BearerAuth", "DigestAuth"),
    "client.cookies": ("CookieJar",),
    "client.eventstream": ("ServerSentEvent",),
    "client.limits": ("ClientTimeouts", "PoolLimits", "ResponseLimits"),
    "client.proxies": ("Proxies", "Proxy", "proxies_from_environment"),
    "client.response": ("ClientResponse", "StatusError"),
    "client.retries": ("Retries",),
    "client.urls": ("URL",),
    "compression": ("compress", "decode_requests"),
    "converters": ("Converter",),
    "crossorigin": ("cors",),
    "errorpages": ("error_pages",),
    "errors": (
        "BodyTooLargeError",
        "CutShortError",
        "RequestTimeoutError",
        "UnansweredError",
        "WebError",
        "WebProtocolError",
        "WebUsageError",
    ),
    "forms": ("Form", "FormError", "FormLimits", "Upload"),
    "handlers": ("HandlerResource",),
    "hosting.asgi": ("ASGI",),
    "hosting.wsgi": ("WSGI",),
    "http1.engine": ("HTTP1ServerEngine",),
    "http1.parsers": ("H11ServerEngine", "HTTPToolsServerEngine"),
    "http1.server": ("HTTP1ServerProtocol",),
    "http2.limits": ("HTTP2Limits",),
    "limits": ("Limits",),
    "metrics": ("RequestMetrics",),
    "proxy.checks": ("HealthCheck",),
    "proxy.forward": ("ForwardProxy",),
    "proxy.forwarded": ("Forwarder", "trust_forwarded"),
    "proxy.health": ("HealthRules",),
    "proxy.reverse": ("ReverseProxy",),
    "proxy.rules": ("ForwardRules",),
    "proxy.upstream": ("HashBy", "LeastOpen", "RoundRobin", "Upstream", "Upstreams"),
    "request": ("Request",),
    "requestids": ("RequestIDFilter", "current_request_id", "request_ids"),
    "resource": ("FunctionResource", "Resource", "Site"),
    "response": (
        "HTTPError",
        "MissingFieldError",
        "Response",
        "error_page",
        "html",
        "json",
        "redirect",
        "text",
    ),
    "rewriting": (
        "Redirect",
        "Rewrite",
        "canonical_host",
        "https_only",
        "rewrite",
        "trailing_slash",
    ),
    "routing": ("Router",),
    "rpc.errors": ("MismatchError", "RPCError"),
    "rpc.exposing": ("Methods", "exposed"),
    "rpc.jsonrpc": ("JSONRPC", "JSONRPCClient"),
    "rpc.jsonrpc_peer": ("JSONRPCPeer",),
    "rpc.limits": ("RPCLimits",),
    "rpc.xmlrpc": ("XMLRPC", "XMLRPCClient"),
    "server": ("HTTPServer", "Timeouts", "http_server"),
    "sessions.interfaces": ("ISessionStore",),
    "sessions.session": ("Session",),
    "sessions.stores": ("MemorySessions", "SQLiteSessions", "SignedCookies"),
    "sessions.wrapping": ("with_sessions",),
    "sse": ("Event", "EventHub", "EventStream"),
    "static": ("StaticFiles",),
    "virtualhosts": ("hosts",),
    "websocket.client": ("connect_websocket",),
    "websocket.deflate": ("Deflate",),
    "websocket.engine": ("WSProtoEngine",),
    "websocket.errors": ("WebSocketClosedError", "WebSocketProtocolError", "WebSocketRefusedError"),
    "websocket.fast": ("FastEngine",),
    "websocket.grammar": ("encode_message",),
    "websocket.limits": ("WebSocketLimits", "WebSocketTimeouts"),
    "websocket.protocol": ("WebSocketProtocol",),
    "websocket.server": ("WebSocketResource", "accept_websocket"),
    "websocket.websocket": ("WebSocket",),
    "wrappers": ("ask", "then"),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
