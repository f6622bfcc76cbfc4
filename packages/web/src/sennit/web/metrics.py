"""What a server counts of its requests, once somebody wants to know.

One object is both, a log of requests and a wrapper::

    metrics = RequestMetrics("shop")
    site = Site(wrappers=[metrics], access_log=SeveralLogs([log, metrics]))

As a log it counts requests by method and class of status, octets of content, and how long
answers took; as a wrapper the handlers at work. Series are looked up once and kept: a
request costs a few additions, and a server without metrics nothing.

They are in the registry of the reactor (`sennit.core.ops.metrics`), from where the node's
admin endpoint shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.ops.metrics import registry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sennit.core.ops.metrics import CounterValue, GaugeValue, Registry
    from sennit.web.connection import HTTPConnection
    from sennit.web.events import RequestHead
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler

__all__ = ["RequestMetrics"]

_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT")
)
"""Methods with series of their own; who makes up others gets ``other``."""


class RequestMetrics:
    """Counts the requests of a server.

    Args:
        service: A label that tells this server from others of the process.
        registry: Where; that of the running reactor when left out, looked up with the first
            request.
    """

    def __init__(self, service: str = "web", registry: Registry | None = None) -> None:
        self._service = service
        self._registry = registry
        self._answered: dict[tuple[bytes, int], CounterValue] = {}
        self._refused: dict[int, CounterValue] = {}
        self._series: _Series | None = None

    @property
    def series(self) -> _Series:
        """What is counted into."""
        if self._series is None:
            self._series = _Series(self._registry or registry_of(), self._service)
        return self._series

    def request(
        self, connection: HTTPConnection[Any, Any], head: RequestHead, status: int, sent: int
    ) -> None:
        """A request was answered."""
        key = (head.method, status // 100)
        found = self._answered.get(key)
        if found is None:
            method = head.method if head.method in _METHODS else b"other"
            labels = (self._service, method.decode("ascii"), f"{status // 100}xx")
            found = self.series.requests.labels(*labels)
            if method is head.method:
                self._answered[key] = found
        found.value += 1
        series = self.series
        series.octets.value += sent
        came: float | None = getattr(head, "came", None)
        if came is not None:
            series.seconds.observe(connection.time() - came)

    def refused(self, connection: HTTPConnection[Any, Any], status: int, sent: int) -> None:
        """Octets that were no request, or a request that broke a rule, were answered."""
        found = self._refused.get(status)
        if found is None:
            found = self.series.refused.labels(self._service, status)
            self._refused[status] = found
        found.value += 1

    def __call__(self, handler: Handler) -> Handler:
        """Count the requests that a handler is at work on."""

        def call(request: Request) -> Answer:
            working = self.series.working
            working.value += 1
            later = False
            try:
                answer = handler(request)
                if isinstance(answer, Deferred):
                    later = True
                    return answer.add_finally(working.dec)
                if hasattr(answer, "__await__"):
                    later = True
                    return _Working(answer, working.dec)
                return answer
            finally:
                if not later:
                    working.value -= 1

        return call


class _Series:
    """The series of one server."""

    def __init__(self, registry: Registry, service: str) -> None:
        self.requests = registry.counter(
            "sennit_web_requests",
            "Requests answered.",
            ("service", "method", "status"),
        )
        self.refused = registry.counter(
            "sennit_web_refused", "What was no request.", ("service", "status")
        )
        self.octets: CounterValue = registry.counter(
            "sennit_web_sent_octets", "Octets of content sent.", ("service",)
        ).labels(service)
        self.seconds = registry.histogram(
            "sennit_web_request_seconds",
            "From a request's head to the end of its answer.",
            ("service",),
        ).labels(service)
        self.working: GaugeValue = registry.gauge(
            "sennit_web_handlers", "Requests that handlers are at work on.", ("service",)
        ).labels(service)


class _Working:
    """An answer that is awaited, and what is called when it is there, or never will be."""

    __slots__ = ("_answer", "_done")

    # Any: whatever the handler gives to be awaited.
    def __init__(self, answer: Any, done: Callable[[], object]) -> None:
        self._answer = answer
        self._done = done

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            steps: Generator[Any, Any, Any] = self._answer.__await__()
            return (yield from steps)
        finally:
            self._done()

    def close(self) -> None:
        """Nobody will await it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()
        self._done()
