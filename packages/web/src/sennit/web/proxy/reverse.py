"""A reverse proxy: requests handed on to servers behind this one.

::

    proxy = ReverseProxy(["http://10.0.0.7:8000", "http://10.0.0.8:8000"])

    async with proxy, serve("tcp://:8080", http_server(proxy)) as server:
        await server.wait_closed()

`ReverseProxy` is a handler, and a resource (``site.put_child("shop", proxy)``). Content
streams in both directions as fast as its reader takes it, and is held nowhere.
Messages are read whole and written anew (``fields.py``), so nothing of one server's
framing reaches the other.

**When an upstream fails** the request goes to another where that is safe (RFC 9110
§9.2.2): it did not leave this host, or its method may be repeated, and of its content
nothing, or no more than is kept, has left. No upstream that is well, or none with room
in time: 503 with Retry-After. Nothing sensible back: 502. Nothing back in time: 504.
An answer that breaks off is broken off, never ended as if it were whole.

**Upgrades** (WebSocket first of all) become a tunnel once the upstream has agreed. A
WebSocket over HTTP/2 (RFC 8441) goes on as one over HTTP/1.1.

Sources: RFC 9110 §7.6, §7.8, §9.2.2, §15.6; RFC 9209 is not written. Not here: which
upstream (``upstream.py``), whether it is well (``health.py``, ``checks.py``), names of
the inside (``translation.py``), whom a request came from (``forwarded.py``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from sennit.core.endpoint.joining import Side, Tunnel
from sennit.core.endpoint.networks import host_of
from sennit.core.errors import ConnectError, PoolFullError, TLSError
from sennit.core.reactor.base import current_reactor
from sennit.web.answering import Upgrade
from sennit.web.client.limits import ClientTimeouts, PoolLimits
from sennit.web.client.messages import IDEMPOTENT
from sennit.web.client.pool import Pool
from sennit.web.errors import (
    RequestTimeoutError,
    UnansweredError,
    WebProtocolError,
    WebUsageError,
)
from sennit.web.proxy.content import Content
from sennit.web.proxy.fields import (
    check_pseudonym,
    check_way,
    end_to_end,
    forwards_left,
    request_fields,
    via_field,
)
from sennit.web.proxy.forwarded import Forwarder
from sennit.web.proxy.relaying import hand_back, outgoing
from sennit.web.proxy.translation import Translation
from sennit.web.proxy.upstream import NoUpstreamError, Upstream, Upstreams
from sennit.web.resource import Resource
from sennit.web.response import HTTPError, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Final, Self

    from sennit.web.client.messages import IncomingResponse
    from sennit.web.proxy.checks import HealthCheck
    from sennit.web.request import Request
    from sennit.web.server import Answer

    Field = tuple[bytes, bytes]

__all__ = ["ReverseProxy"]

PATIENCE: Final = 5.0
"""Seconds that a request waits for room at an upstream."""
TUNNEL_IDLE: Final = 600.0
"""Seconds without an octet after which a tunnel is cut."""
KEPT_CONTENT: Final = 64 * 1024
"""Octets of a request's content that are kept, in case another upstream needs them."""

_FAILURES: Final = (ConnectionError, TimeoutError, WebProtocolError, PoolFullError)
"""What may come of asking an upstream (core's errors of connections are `ConnectionError`)."""

_log = logging.getLogger("sennit.web")


class ReverseProxy(Resource):
    """Hands requests on.

    Args:
        upstreams: Where to: URLs, `Upstream` objects, or `Upstreams`.
        prefix: Path in front of what it answers for, taken off on the way in and put
            before Location and cookies' paths on the way out.
        host: What Host says to the upstream: ``client`` for what the client said,
            ``upstream`` for the upstream's own, or any other authority.
        forwarder: What is said of whom a request came from; X-Forwarded-For and its
            kin when left out.
        key: What a request is known by, for `HashBy`: ``client`` for its address,
            ``cookie:NAME``, or a function.
        pool: What to send by; one of its own when left out.
        timeouts: How long an upstream may take.
        http2: Of its own pool: ``True`` where an upstream of https offers it,
            ``"always"`` without asking, ``False`` for never.
        tls: Of its own pool: a `ClientTLS`; upstreams are verified by the system's trust
            when left out.
        retries: Other upstreams that are tried when one fails.
        retry_statuses: Answers that count as a failure as long as others can be tried,
            such as 503, for methods that may be repeated.
        kept_content: Octets of content that are kept for such a try.
        patience: Seconds that a request waits for room.
        upgrades: Protocols that may be changed over to; none for no upgrades.
        via: What it calls itself in Via; ``None`` to say nothing in responses. (In
            requests it has to.)
        check: How upstreams are asked whether they are well; runs within ``async with``.
        tunnel_idle: Seconds without an octet after which a tunnel is cut.

    Attributes:
        upstreams: Where to.

    Raises:
        ValueError: One of them makes no sense.
    """

    leaf = True

    def __init__(
        self,
        upstreams: Iterable[str | Upstream] | Upstreams,
        *,
        prefix: str = "",
        host: str = "client",
        forwarder: Forwarder | None = None,
        key: str | Callable[[Request], str] = "client",
        pool: Pool | None = None,
        timeouts: ClientTimeouts | None = None,
        http2: Any = False,  # Any: as the pool has it
        tls: Any = None,
        retries: int = 2,
        retry_statuses: Collection[int] = (),
        kept_content: int = KEPT_CONTENT,
        patience: float = PATIENCE,
        upgrades: Collection[str] = ("websocket",),
        via: str | None = "sennit",
        check: HealthCheck | None = None,
        tunnel_idle: float = TUNNEL_IDLE,
    ) -> None:
        self.upstreams = upstreams if isinstance(upstreams, Upstreams) else Upstreams(upstreams)
        self._translation = Translation(prefix)
        self._host = host
        self._forwarder = forwarder or Forwarder()
        self._key = _key_by(key) if isinstance(key, str) else key
        self._timeouts = timeouts or ClientTimeouts(connect=5.0, read=60.0, write=60.0)
        # How many connections there are is up to the upstreams, one by one.
        limits = PoolLimits(total=100_000, per_host=100_000, idle=1024, idle_per_host=256)
        self._own = None if pool else Pool(limits=limits, tls=tls, http2=http2)
        self._pool: Any = pool or self._own  # one of the two
        # What is changed over to needs a connection of its own.
        self._tunnels = Pool(limits=limits, tls=tls, http2=False) if http2 and not pool else None
        self._retries = retries
        self._retry_statuses = frozenset(retry_statuses)
        self._keep = kept_content
        self._patience = patience
        self._upgrades = frozenset(each.lower().encode("ascii") for each in upgrades)
        self._via_out = via is not None
        self._via = via or "sennit"
        check_pseudonym(self._via)
        self._check = check
        self._checking: asyncio.Task[None] | None = None
        self._tunnel_idle = tunnel_idle
        self._standing: set[Tunnel] = set()

    def __repr__(self) -> str:
        return f"<ReverseProxy to {', '.join(each.name for each in self.upstreams)}>"

    # ── life ──────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Ask upstreams how they are, if that was wanted, until the end of the block."""
        if self._check is not None and self._checking is None:
            chance = secrets.SystemRandom().random
            self._checking = asyncio.get_running_loop().create_task(
                self._check.run(self.upstreams, self._pool.send, chance)
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End checks and tunnels, and close the pools that are its own."""
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()
            await asyncio.wait([checking])
        for each in list(self._standing):
            each.abort("drained")
        for pool in (self._own, self._tunnels):
            if pool is not None:
                await pool.aclose()

    # ── requests ──────────────────────────────────────────────────────────────

    def render(self, request: Request) -> Answer:
        """As a resource: whatever the method."""
        return self(request)

    async def __call__(self, request: Request) -> Response | None:
        """Hand a request on, and its answer back."""
        head = request.head
        method = request.method
        upgrade = self._upgrade_of(request)
        if method == "TRACE" or (method == "CONNECT" and not upgrade):
            # TRACE would tell what is added on the way in.
            raise HTTPError(405, {"allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"})
        left = forwards_left(method, head.headers)
        if left == 0:
            return Response(b"", 204)
        target = b"*" if head.path == b"*" else self._translation.inward(head.path)
        headers = request_fields(head.headers)
        check_way(head.headers)
        headers.append(via_field(head.headers, head.version, self._via))
        if left is not None:
            headers.append((b"max-forwards", b"%d" % (left - 1)))
        # Who is connected, and not whom that one names: its word is weighed there.
        peer = request.connection.peer
        headers += self._forwarder.fields(peer, request.scheme, request.host, head.headers)
        content = Content(request, self._keep) if head.length and not upgrade else None
        if upgrade:
            headers = _upgrading(headers, upgrade, request)
            if method == "CONNECT":
                method = "GET"
        return await self._try(request, method, target, headers, content, upgrade)

    def _upgrade_of(self, request: Request) -> bytes:
        """The protocol that a request asks to change over to, if it may; else empty."""
        head = request.head
        wanted = head.protocol if head.version == b"2" else head.upgrade
        if not wanted or (head.length and head.version != b"2"):
            return b""
        names = [each.strip() for each in wanted.lower().split(b",")]
        # Only what is asked for alone: the upstream would choose, and we have to know what.
        return names[0] if len(names) == 1 and names[0] in self._upgrades else b""

    async def _try(
        self,
        request: Request,
        method: str,
        target: bytes,
        headers: list[Field],
        content: Content | None,
        upgrade: bytes,
    ) -> Response | None:
        """Send a request to one upstream after the other until one answers."""
        clock = asyncio.get_running_loop().time
        key = self._key(request)
        tried: list[Upstream] = []
        failure: BaseException | None = None
        while True:
            try:
                upstream = await self.upstreams.acquire(key, tried, clock, self._patience)
            except NoUpstreamError as error:
                raise _refusal(failure or error) from error
            held = _Held(self.upstreams, upstream, clock)
            response: IncomingResponse | None = None
            try:
                response = await self._send(
                    request, upstream, method, target, headers, content, upgrade
                )
                tried.append(upstream)
                if response.status in self._retry_statuses and self._may_go_on(
                    tried, method, content
                ):
                    held.failed()
                    failure = WebProtocolError(f"answered {response.status}")
                    continue
                held.answered()
                if upgrade and response.status == 101:
                    answer = self._join(request, response, held)
                    response = None
                    return answer
                fields = self._outward(request, upstream, response)
                return await hand_back(request, response, fields, held.broke)
            except _FAILURES as error:
                if content is not None and content.error is not None:
                    # It is the client that broke off, or sent too much.
                    raise content.error from None
                if held.judged:
                    raise
                if not isinstance(error, PoolFullError):
                    held.failed()
                tried.append(upstream)
                failure = error
                _log.info("upstream %s failed: %s", upstream.name, error)
                if not self._may_try_again(error, tried, method, content):
                    raise _refusal(error) from error
            finally:
                if response is not None:
                    await response.aclose()
                if not held.joined:
                    held.close()

    def _may_go_on(self, tried: list[Upstream], method: str, content: Content | None) -> bool:
        """Whether a request that an upstream may have acted on can go to another."""
        return (
            len(tried) <= self._retries
            and len(tried) < len(self.upstreams)
            and method in IDEMPOTENT
            and (content is None or content.replayable)
        )

    def _may_try_again(
        self, error: BaseException, tried: list[Upstream], method: str, content: Content | None
    ) -> bool:
        untouched = (
            isinstance(error, (ConnectError, TLSError, PoolFullError))
            or (isinstance(error, UnansweredError) and error.untouched)
            or (isinstance(error, RequestTimeoutError) and error.phase in ("connect", "pool"))
        )
        if untouched:
            return len(tried) <= self._retries and (content is None or content.replayable)
        return isinstance(error, UnansweredError) and self._may_go_on(tried, method, content)

    async def _send(
        self,
        request: Request,
        upstream: Upstream,
        method: str,
        target: bytes,
        headers: list[Field],
        content: Content | None,
        upgrade: bytes,
    ) -> IncomingResponse:
        head = request.head
        if self._host == "client":
            headers = [(b"host", head.host or upstream.url.authority.encode("ascii")), *headers]
        elif self._host != "upstream":
            headers = [(b"host", self._host.encode("ascii")), *headers]

        sent = outgoing(
            request,
            method,
            upstream.at(target),
            headers,
            content,
            self._timeouts,
            upgrade=bool(upgrade),
        )
        pool = self._tunnels if upgrade and self._tunnels is not None else self._pool
        response: IncomingResponse = await pool.send(sent)
        return response

    # ── answers ───────────────────────────────────────────────────────────────

    def _outward(
        self, request: Request, upstream: Upstream, response: IncomingResponse
    ) -> list[Field]:
        headers = self._translation.outward(
            end_to_end(response.headers),
            upstream.url,
            upstream.base,
            request.head.host or b"",
            request.scheme.encode("ascii"),
        )
        if self._via_out:
            headers = [each for each in headers if each[0] != b"via"]
            headers.append(via_field(response.headers, response.version, self._via))
        return headers

    def _join(self, request: Request, response: IncomingResponse, held: _Held) -> Response:
        """Make a tunnel of the two connections."""
        headers = self._outward(request, held.upstream, response)
        protocol = response.header(b"upgrade")
        status = 101
        if request.head.version == b"2":
            # RFC 8441 §5: there is nothing to change over, and no key to be proven.
            status = 200
            headers = [each for each in headers if each[0] != b"sec-websocket-accept"]
        elif protocol is not None:
            headers.append((b"upgrade", protocol))
        near, far = Side(), Side()
        tunnel = Tunnel(near, far, current_reactor(), self._tunnel_idle)

        def over(_: object = None) -> None:
            self._standing.discard(tunnel)
            held.close()

        tunnel.on_end = over
        held.joined = True
        self._standing.add(tunnel)
        response.take_over(far)
        return Upgrade(near, headers, status)


class _Held:
    """An upstream that works on a request, until it does no more."""

    def __init__(
        self, upstreams: Upstreams, upstream: Upstream, clock: Callable[[], float]
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._closed = False
        self.upstream = upstream
        self.judged = False
        self.joined = False

    def answered(self) -> None:
        """It has answered, whatever."""
        self.judged = True
        self.upstream.served += 1
        self.upstream.health.request_done(self._clock())

    def failed(self) -> None:
        """It has not."""
        self.judged = True
        self.upstream.failed += 1
        self.upstream.health.request_failed(self._clock())

    def broke(self, error: BaseException) -> None:
        """Its answer broke off."""
        self.upstream.failed += 1
        _log.info("upstream %s broke off its answer: %s", self.upstream.name, error)

    def close(self) -> None:
        """The request has ended."""
        if self._closed:
            return
        self._closed = True
        if not self.judged:
            self.upstream.health.request_given_up(self._clock())
        self._upstreams.release(self.upstream)


def _key_by(name: str) -> Callable[[Request], str]:
    """The function that says what a request is known by.

    Raises:
        WebUsageError: There is none of that name.
    """
    if name == "client":
        return lambda request: host_of(request.peer) or ""
    kind, _, cookie = name.partition(":")
    if kind == "cookie" and cookie:
        return lambda request: request.cookies.get(cookie, "")
    raise WebUsageError(f"a key is 'client' or 'cookie:NAME', not {name!r:.100}")


def _upgrading(headers: list[Field], upgrade: bytes, request: Request) -> list[Field]:
    """The fields of a request that asks to change over."""
    asked = [*headers, (b"connection", b"upgrade"), (b"upgrade", upgrade)]
    if request.head.version == b"2":
        # HTTP/2's has no key, HTTP/1's must (RFC 8441 §5, RFC 6455 §4.1), and one only.
        asked = [each for each in asked if each[0] != b"sec-websocket-key"]
        asked.append((b"sec-websocket-key", b64encode(secrets.token_bytes(16))))
    return asked


def _refusal(error: BaseException) -> HTTPError:
    """What is said to a client whose request no upstream has answered."""
    if isinstance(error, NoUpstreamError):
        return HTTPError(503, {"retry-after": str(int(error.retry_after + 0.999))})
    if isinstance(error, PoolFullError):
        return HTTPError(503, {"retry-after": "1"})
    return HTTPError(504 if isinstance(error, TimeoutError) else 502)
