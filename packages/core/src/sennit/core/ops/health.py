"""``/livez``, ``/readyz`` and ``/metrics`` over plain HTTP, for probes and scrapers.

* ``/livez``: 200 while the loop turns.
* ``/readyz``: 200, or 503 with the reasons, a line each: starting, draining, a
  service that has failed, threads that are starved.
* ``/metrics``: OpenMetrics or Prometheus' older text, as the client's ``Accept``
  asks (extra ``metrics``).

`RequestEngine` is an HTTP/1.1 server for requests without a body, one per
connection, strict where leniency would be of use to an attacker alone (RFC 9112:
§3 request line, §3.2 Host, §5 fields, §6.1 no body). It needs nothing of
``sennit.web``. What is answered comes from the commands ``ready`` and ``metrics`` of
an `Administered`, so a supervisor answers for its workers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from sennit.core.deferred import Deferred
from sennit.core.errors import MissingExtraError, SennitError
from sennit.core.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sennit.core.endpoint.listen import Server
    from sennit.core.interfaces import IStreamTransport
    from sennit.core.ops.admin import Administered
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ServerTLS

__all__ = ["Answer", "HealthServer", "Request", "RequestEngine", "answer"]

MAX_HEAD: Final = 8 * 1024
"""Octets of a request."""

DEADLINE: Final = 5.0
"""Seconds for a whole request to come."""

ANSWER_DEADLINE: Final = 30.0
"""Seconds for the answer to be made and to leave."""

LINGER: Final = 1.0
"""Seconds to read on after an answer, so that what was not read does not reset it
(RFC 9112 §9.6)."""

MAX_CONNECTIONS: Final = 64
"""Connections at one time."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]{1,2048}) HTTP/1\.([01])" % _TOKEN)
_FIELD = re.compile(rb"(%b):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*))?" % _TOKEN)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%\-\[\]:]*")

_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Request(NamedTuple):
    """A request without a body.

    Attributes:
        method: ``GET``, ``HEAD`` or another.
        path: Of its target, without a query.
        accept: Its ``Accept`` fields, together.
    """

    method: str
    path: str
    accept: str


class Answer(NamedTuple):
    """What a request is answered.

    Attributes:
        status: The code.
        text: The body.
        media_type: Of the body.
    """

    status: int
    text: bytes
    media_type: str = "text/plain; charset=utf-8"

    def encode(self, *, body: bool = True) -> bytes:
        """As octets; without the body for HEAD (RFC 9110 §9.3.2)."""
        allow = "Allow: GET, HEAD\r\n" if self.status == 405 else ""
        head = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}\r\n"
            f"Content-Type: {self.media_type}\r\n"
            f"Content-Length: {len(self.text)}\r\n"
            f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (self.text if body else b"")


class RequestEngine:
    """Reads one request. No I/O, no clock."""

    def __init__(self) -> None:
        self._data = b""
        self._searched = 0

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._data)

    def receive_data(self, data: bytes) -> Request | Answer | None:
        """Take octets.

        Returns:
            The request once it is whole, the answer to one that is wrong, or
            ``None`` while more is needed.
        """
        # At most one read beyond the limit is held.
        self._data += data
        if not self._searched and self._data[:2] in (b"\r", b"\r\n"):
            # One empty line before a request is let pass (RFC 9112 §2.2).
            if len(self._data) < 2:
                return None
            self._data = self._data[2:]
        end = self._data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(1, len(self._data) - 3)
            if len(self._data) > MAX_HEAD:
                return Answer(431, b"a request has at most 8 KiB\n")
            return None
        if end > MAX_HEAD:
            return Answer(431, b"a request has at most 8 KiB\n")
        return _parse(self._data[:end].split(b"\r\n"))


def _bad(problem: str) -> Answer:
    return Answer(400, problem.encode() + b"\n")


def _parse(lines: list[bytes]) -> Request | Answer:
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        if re.fullmatch(rb"[A-Z]+ [\x21-\x7e]+ HTTP/[0-9]\.[0-9]", lines[0]):
            return Answer(505, b"HTTP/1.1 is spoken here\n")
        return _bad("the request line is wrong")
    method, target, minor = match.groups()
    fields: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            return _bad("a field is wrong")
        fields.setdefault(field[1].lower(), []).append((field[2] or b"").rstrip(b" \t"))
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or (minor == b"1" and not hosts):
        return _bad("there is one Host field")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return _bad("the Host field is wrong")
    if b"transfer-encoding" in fields or any(
        length != b"0" for length in fields.get(b"content-length", [])
    ):
        return _bad("a request has no body here")
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):
        # RFC 9112 §3.2.2: a server takes the absolute form, too.
        absolute = re.fullmatch(rb"(?i:https?)://[^/?#]+(/[^?#]*)?", path)
        if absolute is None:
            return _bad("the target is wrong")
        path = absolute[1] or b"/"
    accept = b",".join(fields.get(b"accept", []))
    return Request(method.decode(), path.decode(), accept.decode("latin-1"))


class _HealthProtocol(Protocol):
    """One request, one answer."""

    def __init__(self, administered: Administered, reactor: Reactor) -> None:
        self._administered = administered
        self._reactor = reactor
        self._engine: RequestEngine | None = RequestEngine()
        self._timer: Any = None  # of any reactor
        self._task: Deferred[None] | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        self._timer = self._reactor.call_later(DEADLINE, self._late)

    def data_received(self, data: bytes) -> None:
        if self._engine is None:
            return  # asked one thing already
        found = self._engine.receive_data(data)
        if found is None:
            return
        self._engine = None
        self._timer.cancel()
        self._timer = self._reactor.call_later(ANSWER_DEADLINE, self._give_up)
        if isinstance(found, Answer):
            self._send(found)
        else:
            self._task = Deferred.from_coroutine(self._handle(found))
            self._task.add_errback(self._failed)

    def eof_received(self) -> bool:
        return self._engine is None  # else it will not ask any more

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def drain(self) -> None:
        """The server closes: a request under way is answered, others are not waited for."""
        if self._engine is not None:
            self.transport.close("drained")

    async def _handle(self, request: Request) -> None:
        self._send(await answer(self._administered, request), body=request.method != "HEAD")

    def _failed(self, error: BaseException) -> None:
        from sennit.core._waiting import is_cancellation

        if not is_cancellation(error):
            self._reactor.report(error, "while a health check was answered")
            self._send(Answer(500, b"internal error\n"))

    def _send(self, found: Answer, *, body: bool = True) -> None:
        self.transport.write(found.encode(body=body))
        self.transport.write_eof()
        self._timer.cancel()
        self._timer = self._reactor.call_later(LINGER, self._leave)

    def _leave(self) -> None:
        # Who does not read the answer must not keep the place of another.
        self._timer = self._reactor.call_later(ANSWER_DEADLINE, self._give_up)
        self.transport.close()

    def _late(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None and engine.begun:
            self._send(Answer(408, b"the request did not come in time\n"))
        else:
            self.transport.close("timeout")

    def _give_up(self) -> None:
        self.transport.abort("timeout")


async def answer(administered: Administered, request: Request) -> Answer:
    """What a request is answered."""
    if request.path not in ("/livez", "/readyz", "/metrics"):
        return Answer(404, b"there are /livez, /readyz and /metrics\n")
    if request.method not in ("GET", "HEAD"):
        return Answer(405, b"GET or HEAD\n")
    if request.path == "/livez":
        return Answer(200, b"ok\n")
    try:
        if request.path == "/readyz":
            ready = cast("dict[str, Any]", await administered.command("ready", {}))
            if ready["ready"]:
                return Answer(200, b"ready\n")
            return Answer(503, "".join(f"{each}\n" for each in ready["reasons"]).encode())
        found = cast(
            "dict[str, Any]",
            await administered.command("metrics", {"format": "text", "accept": request.accept}),
        )
        return Answer(200, found["text"].encode(), found["type"])
    except MissingExtraError as error:
        return Answer(501, f"{error}\n".encode())
    except (SennitError, TimeoutError) as error:
        return Answer(503, f"{error}\n".encode("utf-8", "replace"))


class HealthServer:
    """Serves the three at one or more endpoints.

    Args:
        administered: Whose health it is.
        listen: URLs, each with the certificate of a ``tls:`` one, or ``None``.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        administered: Administered,
        listen: Iterable[tuple[str, ServerTLS | None]],
        reactor: Reactor | None = None,
    ) -> None:
        self._administered = administered
        self._listen = list(listen)
        self._reactor = reactor
        self._servers: list[Server] = []

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it serves."""
        return tuple(url for server in self._servers for url in server.urls)

    async def start(self) -> HealthServer:
        """Listen at all of them, or none.

        Raises:
            OSError: An address is in use, or not ours.
        """
        from sennit.core.endpoint.listen import serve
        from sennit.core.policy.limits import ConnectionLimits
        from sennit.core.reactor.base import current_reactor

        reactor = self._reactor or current_reactor()
        limits = ConnectionLimits(max_connections=MAX_CONNECTIONS)
        try:
            for url, tls in self._listen:
                server = serve(
                    url,
                    lambda: _HealthProtocol(self._administered, reactor),
                    tls=tls,
                    limits=limits,
                    drain=2.0,
                    reactor=reactor,
                )
                await server.start()
                for listener in server.listeners:
                    if hasattr(listener, "label"):
                        listener.label = "admin"
                self._servers.append(server)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Serve no more; what is under way is answered."""
        servers, self._servers = self._servers, []
        for ending in [server.close() for server in servers]:
            await ending

    async def __aenter__(self) -> HealthServer:
        """Listen."""
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        """`close`."""
        await self.close()
