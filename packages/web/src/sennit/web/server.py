"""HTTP servers: what all connections of one have in common, and the factory of them.

::

    async with serve("tcp://127.0.0.1:8080", http_server(handler)) as server:
        await server.wait_closed()

Not here: a connection (``connection.py``, ``http1/server.py``, ``http2/server.py``);
what a path means (``resource.py``).
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sennit.core.errors import MissingExtraError
from sennit.web.dates import DateKeeper
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.server import HTTP1ServerProtocol
from sennit.web.limits import Limits
from sennit.web.response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from sennit.core._driver import Clock
    from sennit.core.address import Address
    from sennit.web.connection import HTTPConnection
    from sennit.web.events import RequestHead
    from sennit.web.http1.engine import DateLine
    from sennit.web.http2.limits import HTTP2Limits
    from sennit.web.request import Request
    from sennit.web.response import HeadersIn

    Answer = Response | Awaitable[Response | None] | None
    Handler = Callable[[Request], Answer]

    class EngineFactory(Protocol):
        """Makes the engine of one connection of HTTP/1."""

        def __call__(
            self, limits: Limits, date: DateLine, /, *, offer_http2: bool = False
        ) -> HTTP1ServerEngine: ...

    class RequestLog(Protocol):
        """What is told of every request: an access log, say."""

        def request(
            self, connection: HTTPConnection[Any, Any], head: RequestHead, status: int, sent: int, /
        ) -> object:
            """A request was answered, with so many octets of content."""

        def refused(
            self, connection: HTTPConnection[Any, Any], status: int, sent: int, /
        ) -> object:
            """Octets that were no request, or a request that broke a rule, were answered."""


__all__ = ["HTTPServer", "Timeouts", "http_server"]


class Timeouts:
    """How long a client may take; seconds.

    Attributes:
        head: For a whole request head, from its first octet (of the first: from the connection).
        idle: Between two requests.
        write: Without progress of what is sent.
        body_grace: Before content has to come at `body_rate`.
        body_rate: Octets of content a second, on average.
    """

    __slots__ = ("body_grace", "body_rate", "head", "idle", "write")

    def __init__(
        self,
        *,
        head: float = 20.0,
        idle: float = 60.0,
        write: float = 60.0,
        body_grace: float = 5.0,
        body_rate: float = 240.0,
    ) -> None:
        self.head = head
        self.idle = idle
        self.write = write
        self.body_grace = body_grace
        self.body_rate = body_rate


class HTTPServer:
    """Serves one handler: the factory of its connections (an `IProtocolFactory`).

    Args:
        handler: Takes a `Request`; returns a `Response`, or a Deferred or coroutine of one.
        limits: What a client can make too large.
        timeouts: How long it may take.
        access_log: Where requests are written down.
        headers: Put into every response that does not have them.
        engine: Makes the engine of a connection of HTTP/1. `H11ServerEngine` and
            `HTTPToolsServerEngine` have a second reader, which has to agree on each request.
        http2: Whether a connection may speak HTTP/2, agreed on by ALPN or begun with its
            preface; left out, it may where the extra ``http2`` is installed. `HTTP2Limits`
            in place of ``True`` say what a client may do there, and how slowly.
        wall_clock: Seconds since the epoch, for ``Date``.
        clock: Tells monotonic time and calls back; the transport's reactor by default.

    Raises:
        MissingExtraError: `http2` is asked for, and its extra is not installed.
        TypeError: The handler cannot be called.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        access_log: RequestLog | None = None,
        headers: HeadersIn = None,
        engine: EngineFactory = HTTP1ServerEngine,
        http2: bool | HTTP2Limits | None = None,
        wall_clock: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        if not callable(handler):
            # Else each request would find out; most likely it is a site.
            raise TypeError(f"a handler is called with a request, such as site.handle: {handler!r}")
        self.handler = handler
        self.limits = limits or Limits()
        self.body_limit = self.limits.body
        self.timeouts = timeouts or Timeouts()
        self.access_log: RequestLog | None = access_log
        self.headers = Response(headers=headers).headers
        self.engine = engine
        self.dates = DateKeeper(wall_clock)
        self.clock = clock
        self.http2 = _can_http2() if http2 is None else bool(http2)
        self.http2_limits = None if http2 is None or isinstance(http2, bool) else http2
        if http2 and not _can_http2():
            raise MissingExtraError("sennit.web.http2", "sennit-web", "http2")

    @property
    def alpn(self) -> tuple[str, ...]:
        """What its connections speak, for TLS to agree on (RFC 7301)."""
        return ("h2", "http/1.1") if self.http2 else ("http/1.1",)

    def run(self, *urls: str, **options: Any) -> None:
        """Serve until Ctrl-C or SIGTERM: all there is of a small program.

        Args:
            urls: Where, such as ``tcp://127.0.0.1:8080``.
            options: Those of `sennit.core.serve`. (`Any`: they are checked there.)
        """
        from sennit.core import run, serve

        async def main(reactor: object) -> None:
            async with serve(urls, self, **options) as server:
                await server.wait_closed()

        try:
            run(main)
        except KeyboardInterrupt:
            # That is how one ends it.
            return

    def build_protocol(self, peer: Address | None) -> HTTP1ServerProtocol:
        """A protocol for one connection; it hands over to HTTP/2 where that is spoken."""
        return HTTP1ServerProtocol(self)


def http_server(handler: Handler, **options: Any) -> HTTPServer:
    """Make of a handler what `sennit.core.serve` takes.

    Args:
        handler: Takes a `Request`; returns a `Response`, or a Deferred or coroutine of one.
        options: Those of `HTTPServer`. (`Any`: they are checked there.)
    """
    return HTTPServer(handler, **options)


def _can_http2() -> bool:
    """Whether the extra ``http2`` is installed; it is not loaded for that."""
    return find_spec("h2") is not None
