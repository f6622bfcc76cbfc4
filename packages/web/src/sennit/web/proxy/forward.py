"""A forward proxy: requests for others' servers, and tunnels to them, for clients that ask.

::

    proxy = ForwardProxy(ForwardRules(clients=["10.0.0.0/8"]))

    async with proxy, serve("tcp://10.0.0.1:3128", http_server(proxy)) as server:
        await server.wait_closed()

Requests come in absolute form (``GET http://example.com/ HTTP/1.1``) and go on over
connections that are shared; everything over TLS comes as CONNECT, and gets a tunnel
in which this proxy reads nothing. Who may use it, and for what, is said by
`ForwardRules`; a portal asks for a login besides (RFC 9110 §11.7: 407).

What is refused is refused with 403; a server that cannot be reached is 502, one that
takes too long 504.

Sources: RFC 9110 §7.6, §9.3.6; RFC 9112 §3.2.2, §3.2.3. Not here: the rules
(``rules.py``), content (``relaying.py``).
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect_tcp
from sennit.core.endpoint.joining import Side, Tunnel
from sennit.core.errors import ConnectError, PoolFullError
from sennit.core.reactor.base import current_reactor
from sennit.web.answering import Upgrade
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.pool import Pool
from sennit.web.client.urls import URL
from sennit.web.errors import WebProtocolError
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
from sennit.web.proxy.relaying import hand_back, outgoing, url_at
from sennit.web.proxy.rules import ForwardRules
from sennit.web.resource import Resource
from sennit.web.response import HTTPError, Response

if TYPE_CHECKING:
    from typing import Final, Self

    from sennit.core.auth.limits import LoginLimits
    from sennit.core.auth.portal import Portal
    from sennit.web.client.limits import PoolLimits
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler

__all__ = ["ForwardProxy"]

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for look-up and connecting."""
TUNNEL_IDLE: Final = 600.0
"""Seconds without an octet after which a tunnel is cut."""
MOST_TUNNELS: Final = 1000
"""Tunnels that stand at a time."""

_FAILURES: Final = (ConnectionError, TimeoutError, WebProtocolError, PoolFullError)

_log = logging.getLogger("sennit.web")


class ForwardProxy(Resource):
    """Answers for others' servers.

    Args:
        rules: Who may use it and for what; safe ones when left out.
        portal: Who has to log in; nobody when left out. Needs TLS, loopback or a Unix
            socket on the client's side, unless `allow_plaintext`.
        allow_plaintext: Let passwords be sent without TLS.
        logins: How often logins may fail.
        timeouts: How long a server may take.
        limits: How many connections there are for requests.
        most_tunnels: Tunnels that stand at a time.
        tunnel_idle: Seconds without an octet after which one is cut.
        forwarder: What servers are told of whom a request came from; nothing when left out.
        via: What it calls itself in Via.

    Attributes:
        rules: As given.
        tunnels: Tunnels that stand, or are being made.
    """

    leaf = True

    def __init__(
        self,
        rules: ForwardRules | None = None,
        *,
        portal: Portal | None = None,
        allow_plaintext: bool = False,
        logins: LoginLimits | None = None,
        timeouts: ClientTimeouts | None = None,
        limits: PoolLimits | None = None,
        most_tunnels: int = MOST_TUNNELS,
        tunnel_idle: float = TUNNEL_IDLE,
        forwarder: Forwarder | None = None,
        via: str = "sennit",
    ) -> None:
        check_pseudonym(via)
        self.rules = rules or ForwardRules()
        self._timeouts = timeouts or ClientTimeouts(connect=CONNECT_TIMEOUT)
        self._pool = Pool(
            limits=limits, timeouts=self._timeouts, http2=False, permit=self.rules.permits
        )
        self._most_tunnels = most_tunnels
        self._idle = tunnel_idle
        self._forwarder = forwarder or Forwarder(())
        self._via = via
        self.tunnels = 0
        self._standing: set[Tunnel] = set()
        self._ask: Handler = self._hand_on
        if portal is not None:
            from sennit.web.auth import require_login

            guard = require_login(
                portal,
                realm="proxy",
                limits=logins,
                allow_plaintext=allow_plaintext,
                for_proxy=True,
            )
            self._ask = guard(self._hand_on)

    def __repr__(self) -> str:
        return f"<ForwardProxy with {self.tunnels} tunnels>"

    # ── life ──────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cut tunnels and close connections to servers."""
        for each in list(self._standing):
            each.abort("drained")
        await self._pool.aclose()

    # ── requests ──────────────────────────────────────────────────────────────

    def render(self, request: Request) -> Answer:
        """As a resource: whatever the method."""
        return self(request)

    def __call__(self, request: Request) -> Answer:
        """Do what a client wants of others' servers."""
        if not self.rules.serves(request.connection.peer):
            raise HTTPError(403)
        return self._ask(request)

    async def _hand_on(self, request: Request) -> Response | None:
        if request.method == "CONNECT":
            return await self._connect(request)
        url = _url_of(request)
        if not self.rules.permits_host(url.host) or not self.rules.permits_port(
            url.port, tunnel=False
        ):
            raise HTTPError(403)
        head = request.head
        left = forwards_left(request.method, head.headers)
        if request.method == "TRACE" or left == 0:
            raise HTTPError(405)
        check_way(head.headers)
        headers = request_fields(head.headers)
        headers.append(via_field(head.headers, head.version, self._via))
        if left is not None:
            headers.append((b"max-forwards", b"%d" % (left - 1)))
        peer = request.connection.peer
        headers += self._forwarder.fields(peer, request.scheme, url.authority, head.headers)
        content = Content(request, 0) if head.length else None
        sent = outgoing(request, request.method, url, headers, content, self._timeouts)
        response: IncomingResponse | None = None
        try:
            response = await self._pool.send(sent)
            fields = [each for each in end_to_end(response.headers) if each[0] != b"via"]
            fields.append(via_field(response.headers, response.version, self._via))

            def broke(error: BaseException) -> None:
                _log.info("%s broke off its answer: %s", url.authority, error)

            return await hand_back(request, response, fields, broke)
        except _FAILURES as error:
            if content is not None and content.error is not None:
                raise content.error from None
            if response is not None:
                raise
            raise _refusal(error) from error
        finally:
            if response is not None:
                await response.aclose()

    # ── tunnels ───────────────────────────────────────────────────────────────

    async def _connect(self, request: Request) -> Response:
        head = request.head
        if head.protocol is not None:
            raise HTTPError(501)
        host, port = _place_of(head.host or b"")
        rules = self.rules
        if not rules.permits_host(host) or not rules.permits_port(port, tunnel=True):
            raise HTTPError(403)
        if self.tunnels >= self._most_tunnels:
            raise HTTPError(503, {"retry-after": "10"})
        near, far = Side(), Side()
        self.tunnels += 1
        joined = False
        try:
            connecting: Deferred[Any] = connect_tcp(
                current_reactor(),
                lambda: far,
                host,
                port,
                timeout=self._timeouts.connect or CONNECT_TIMEOUT,
                permit=rules.permits,
            )
            try:
                await connecting
            except ConnectError as error:
                raise _refusal(error) from error
            tunnel = Tunnel(near, far, current_reactor(), self._idle)

            def over() -> None:
                self.tunnels -= 1
                self._standing.discard(tunnel)

            tunnel.on_end = over
            joined = True
            self._standing.add(tunnel)
        finally:
            if not joined:
                self.tunnels -= 1
                if far.stands:
                    far.transport.abort()
        return Upgrade(near, status=200)


def _url_of(request: Request) -> URL:
    """What a request for somebody else asks for.

    Raises:
        HTTPError: 400, it asks nothing of a proxy; 501, it asks for what goes through tunnels.
    """
    head = request.head
    scheme = head.scheme if head.version == b"2" else head.target.partition(b":")[0].lower()
    if scheme == b"https":
        # It would have to be read here: that is what CONNECT is for.
        raise HTTPError(501)
    if scheme != b"http" or not head.host:
        raise HTTPError(400)
    try:
        base = URL(f"http://{head.host.decode('ascii')}/")
    except ValueError:
        raise HTTPError(400) from None
    return url_at(base, head.path)


def _place_of(authority: bytes) -> tuple[str, int]:
    """Host and port of a CONNECT (RFC 9110 §9.3.6).

    Raises:
        HTTPError: 400, there are none.
    """
    text = authority.decode("ascii", "replace")
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise HTTPError(400)
    try:
        # Names and addresses are read as in URLs, the odd forms of IPv4 refused.
        return URL(f"http://{host}/").host, int(port)
    except ValueError:
        raise HTTPError(400) from None


def _refusal(error: BaseException) -> HTTPError:
    """What is said to a client whose server did not answer."""
    attempts: tuple[BaseException, ...] = tuple(getattr(error, "attempts", ()))
    if attempts and all(getattr(each, "errno", 0) == errno.EACCES for each in attempts):
        # By the rules, and not by anybody out there.
        return HTTPError(403)
    late = any(getattr(each, "errno", 0) == errno.ETIMEDOUT for each in attempts)
    if isinstance(error, PoolFullError):
        return HTTPError(503, {"retry-after": "1"})
    if late or isinstance(error, TimeoutError) or getattr(error, "reason", "") == "timeout":
        return HTTPError(504)
    return HTTPError(502)
