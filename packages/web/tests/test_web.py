"""What the package offers, and what importing it does not do."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sennit.web

NAMES = [
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


def test_the_public_names_are_these() -> None:
    assert sennit.web.__all__ == NAMES
    assert dir(sennit.web) == sorted(NAMES)
    for name in NAMES:
        assert getattr(sennit.web, name) is not None


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sight'"):
        getattr(sennit.web, "Sight")  # noqa: B009 - a name that checkers refuse, too


def test_importing_it_loads_none_of_its_rooms() -> None:
    program = (
        "import sys, sennit.web; "
        "loaded = [m for m in sys.modules if m.startswith(('sennit.web.', 'h11', 'asyncio'))]; "
        "print([m for m in loaded if m != 'sennit.web._version'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout.strip() == "[]"
