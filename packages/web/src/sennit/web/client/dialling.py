"""How a connection of the client comes to be: where to, through what, and speaking what.

A `Way` is made once per host and dials as often as the pool wants. Sockets, Happy
Eyeballs, TLS and tunnels are core's (``sennit.core.endpoint``); here is decided which
of them, and which version of HTTP is spoken once the connection stands: what ALPN
agreed on (RFC 7301, RFC 9113 §3.2), or what the program said it knows.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from sennit.core.endpoint.connect import connect, connect_tcp
from sennit.core.errors import ConnectError, MissingExtraError
from sennit.core.protocol import Protocol
from sennit.web.errors import WebUsageError
from sennit.web.http1.client import HTTP1ClientConnection

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Literal

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IStreamTransport
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.connection import ClientConnection, ConnectionOwner
    from sennit.web.client.limits import ClientTimeouts, ResponseLimits
    from sennit.web.client.proxies import Proxy
    from sennit.web.client.urls import URL

    HTTP2 = bool | Literal["always"] | None

__all__ = ["Dialler", "Way", "has_http2"]

_AGES: Final = 365 * 86400.0
"""Seconds that stand for no time-out."""


def has_http2() -> bool:
    """Whether the extra ``http2`` is installed."""
    return find_spec("h2") is not None and find_spec("sennit.web.http2.client") is not None


class Dialler:
    """What all ways of one pool have in common.

    Args:
        owner: Whose the connections are.
        responses: What is taken from servers.
        timeouts: The pool's.
        tls: How to talk TLS; the system's trust when left out.
        http2: As the pool's.
        local_address: Host and port to connect from.
        permit: As the pool's.
        reactor: Who waits.
        context: Where connections live: the pool's own, since they outlive the requests
            that they were made for.
    """

    def __init__(
        self,
        owner: ConnectionOwner,
        responses: ResponseLimits,
        timeouts: ClientTimeouts,
        *,
        tls: ClientTLS | None,
        http2: HTTP2,
        local_address: tuple[str, int] | None,
        permit: Callable[[str], bool] | None = None,
        reactor: Reactor,
        context: Context,
    ) -> None:
        if http2 is None:
            http2 = has_http2()
        elif http2 and not has_http2():
            raise MissingExtraError("HTTP/2", "sennit-web", "http2")
        self.owner = owner
        self.responses = responses
        self.timeouts = timeouts
        self.http2 = http2
        self.local_address = local_address
        self.permit = permit
        self.reactor = reactor
        self.context = context
        self._tls = tls
        self._ready_tls: dict[bool, ClientTLS] = {}

    def tls(self, multiplex: bool) -> ClientTLS:
        """How to talk TLS, offering HTTP/2 or not."""
        ready = self._ready_tls.get(multiplex)
        if ready is not None:
            return ready
        # Here, so that a program without https never loads OpenSSL.
        from sennit.core.transport.tls import ClientTLS

        offer = ["http/1.1"]
        if multiplex:
            offer = ["h2"] if self.http2 == "always" else ["h2", "http/1.1"]
        if self._tls is None:
            ready = ClientTLS(alpn=offer)
        elif multiplex and self._tls.alpn:
            ready = self._tls  # the program knows what it wants
        else:
            ready = self._tls.offering(offer)
        self._ready_tls[multiplex] = ready
        return ready

    def connection(self, multiplexed: bool) -> ClientConnection:
        """A connection that is yet to get its transport."""
        if multiplexed:
            from sennit.web.http2.client import HTTP2ClientConnection

            return HTTP2ClientConnection(self.owner, self.responses, self.timeouts)
        return HTTP1ClientConnection(self.owner, self.responses, self.timeouts)


class Way:
    """The way to one host.

    Args:
        dialler: What it shares with the others.
        url: Of a request to that host.
        proxy: Through which it goes.
        unix: The Unix socket it goes to instead.
    """

    __slots__ = (
        "_dialler",
        "_endpoint",
        "_forwarded",
        "_name",
        "_port",
        "_proxy",
        "_secure",
        "may_multiplex",
        "shown",
    )

    def __init__(
        self, dialler: Dialler, url: URL, proxy: Proxy | None, unix: str | None, *, upgrade: bool
    ) -> None:
        self._dialler = dialler
        self._secure = url.secure
        self._proxy = proxy
        self._name = url.host
        self._port = url.port
        self._forwarded = proxy is not None and proxy.forwards and url.scheme == "http"
        http2 = dialler.http2
        # RFC 6455 §4.1: a handshake of HTTP/1.1, which HTTP/2 has no upgrade for.
        upgrade = upgrade or url.scheme in ("ws", "wss")
        self.may_multiplex = (
            bool(http2) and not (upgrade or self._forwarded) and (self._secure or http2 == "always")
        )
        if dialler.permit is not None and (self._secure or proxy or url.unix or unix):
            raise WebUsageError("a pool that asks before it connects connects to http:// alone")
        path = url.unix or unix
        if path is not None:
            if "?" in path or "#" in path:
                raise WebUsageError(f"no Unix socket can be asked for at {path!r}")
            self._endpoint = f"tls+unix:{path}" if self._secure else f"unix:{path}"
            self._proxy = None
        elif proxy is not None and self._forwarded:
            scheme = "tls" if proxy.scheme == "https" else "tcp"
            self._endpoint = f"{scheme}://{proxy.place}"
        else:
            scheme = "tls" if self._secure else "tcp"
            self._endpoint = f"{scheme}://{url.host_and_port}"
        self.shown = self._endpoint if proxy is None else f"{self._endpoint} through {proxy}"

    def __str__(self) -> str:
        return self.shown

    def dial(self, timeout: float | None) -> Deferred[ClientConnection]:
        """Make a connection.

        Returns:
            Fires with a connection whose transport stands. Fails with `ConnectError` or
            `TLSError`.
        """
        dialler = self._dialler
        proxy = self._proxy
        options: dict[str, Any] = {
            "timeout": _AGES if timeout is None else timeout,
            "local_address": dialler.local_address,
            "reactor": dialler.reactor,
        }
        if self._forwarded and proxy is not None:
            if proxy.scheme == "https":
                options["tls"] = proxy.tls
        else:
            if self._secure:
                options["tls"] = dialler.tls(self.may_multiplex)
                options["server_hostname"] = self._name
            if proxy is not None:
                options["via"] = proxy.tunnel
        arrival = _Arrival(self)
        return dialler.context.copy().run(self._connect, arrival, options)

    def _connect(self, arrival: _Arrival, options: dict[str, Any]) -> Deferred[ClientConnection]:
        permit = self._dialler.permit
        if permit is not None:
            reactor = options.pop("reactor")
            opened: Deferred[Any] = connect_tcp(
                reactor, lambda: arrival, self._name, self._port, permit=permit, **options
            )
        else:
            opened = connect(self._endpoint, lambda: arrival, **options)
        return opened.add_callbacks(arrival.arrived, arrival.failed)

    def settle(self, transport: IStreamTransport) -> ClientConnection:
        """Find out what is spoken, and put who speaks it on the transport."""
        dialler = self._dialler
        multiplexed = False
        if self.may_multiplex:
            multiplexed = dialler.http2 == "always"
            if self._secure:
                chosen: str | None = getattr(transport, "alpn_protocol", None)
                if multiplexed and chosen not in (None, "h2"):
                    raise ConnectError(f"{self} speaks {chosen!r:.40} and not HTTP/2")
                multiplexed = multiplexed or chosen == "h2"
        connection = dialler.connection(multiplexed)
        proxy = self._proxy
        if self._forwarded and proxy is not None and isinstance(connection, HTTP1ClientConnection):
            connection.forwarded = True
            if proxy.authorization is not None:
                connection.added = ((b"proxy-authorization", proxy.authorization),)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection


class _Arrival(Protocol):
    """Stands on a transport until it is known who speaks on it."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._connection: ClientConnection | None = None
        self._error: BaseException | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands, handshake and tunnel done."""
        try:
            self._connection = self._way.settle(transport)
        except Exception as error:
            self._error = error
            transport.abort("error")

    def arrived(self, _: object) -> ClientConnection:
        """The connection, or why there is none after all."""
        if self._connection is None:
            raise self._error or ConnectError("the connection ended as soon as it stood")
        return self._connection

    def failed(self, error: BaseException) -> ClientConnection:
        """Say why there is none."""
        raise self._error or error
