"""Connections through proxies: SOCKS 5 and HTTP's CONNECT, one behind another if need be.

Two ways to say so::

    connect("tls://example.org:443", Client, via="socks5://127.0.0.1:1080")
    connect("socks5+tls://example.org:443?proxy=127.0.0.1:1080", Client)

In ``via`` the part before the colon is the proxy's kind, and behind a plus sign how
it is reached itself: ``socks5://host:port``, ``http-connect://host:port`` (TCP),
``http-connect+tls://host:port``, ``socks5+unix:run/proxy.sock``. In a URL the target
stands where it always does, and the option ``proxy`` is ``host:port``, or a URL of
an endpoint (``proxy=tls://proxy.example:3128``).

Names are looked up by the proxy; TLS to the target is inside the tunnel and
verified against the target's name. Credentials never stand in a URL, which logs
quote: they are arguments of `Proxy`, or ``login=env:NAME`` / ``login=file:PATH``
names where ``user:password`` is.
"""

from __future__ import annotations

from sennit.core.address import InternetAddress
from sennit.core.endpoint.connect import builder, connect
from sennit.core.endpoint.fronting import ClientFront
from sennit.core.endpoint.http_connect import ConnectFault, HTTPConnectEngine
from sennit.core.endpoint.parse import parse_endpoint
from sennit.core.endpoint.socks_engine import (
    Established,
    Refused,
    SocksClientEngine,
    SocksFault,
)
from sennit.core.errors import ConnectError, EndpointSyntaxError, UsageError
from sennit.core.policy.wrapper import TransportWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.errors import ConnectionLost
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS

    ViaOne: TypeAlias = "str | Proxy"
    Via: TypeAlias = "ViaOne | Sequence[ViaOne]"

__all__ = ["Proxy", "connect_http", "connect_socks5", "connect_via"]

_ENGINES: Final[Mapping[str, type[SocksClientEngine | HTTPConnectEngine]]] = {
    "socks5": SocksClientEngine,
    "http-connect": HTTPConnectEngine,
}


class Proxy:
    """A proxy to connect through.

    Args:
        url: Such as ``socks5://127.0.0.1:1080`` or ``http-connect+tls://proxy.example:3128``.
        username: What to log in with, if the proxy wants that.
        password: Likewise; never shown.
        tls: How to talk TLS to the proxy itself; the system's trust when left out.

    Raises:
        EndpointSyntaxError: The URL names no proxy.
    """

    __slots__ = ("_password", "endpoint", "kind", "tls", "url", "username")

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        tls: ClientTLS | None = None,
    ) -> None:
        scheme, _, rest = url.partition(":")
        kind, _, inner = scheme.partition("+")
        if kind not in _ENGINES:
            raise EndpointSyntaxError(
                _shown(url), "a proxy is socks5://HOST:PORT or http-connect://HOST:PORT"
            )
        if "@" in rest and not rest.startswith("@"):
            raise EndpointSyntaxError(
                _shown(url), "a login does not belong into a URL: Proxy(url, username, password)"
            )
        endpoint = parse_endpoint(f"{inner or 'tcp'}:{rest}")
        _check_proxy(url, endpoint)
        self.url = url
        self.kind = kind
        self.endpoint = endpoint.url
        self.username = username
        self._password = password
        self.tls = tls

    def __repr__(self) -> str:
        """The URL; nothing of the login."""
        return f"<Proxy {self.url}>"

    def engine(self, host: str, port: int) -> SocksClientEngine | HTTPConnectEngine:
        """What asks it for a connection to `host`."""
        return _ENGINES[self.kind](host, port, username=self.username, password=self._password)


def _shown(url: str) -> str:
    """A URL that people may see: without what stands before an at sign."""
    head, at, tail = url.rpartition("@")
    return url if not at else f"{head.partition(':')[0]}://…@{tail}"


def _check_proxy(url: str, endpoint: Endpoint) -> None:
    row = endpoint.row
    if row is None or endpoint.prefix is not None or row.connect is None or row.datagrams:
        raise EndpointSyntaxError(url, "a proxy is reached by tcp, tls, unix or tls+unix")
    if row.form == "authority" and not (endpoint.host and endpoint.port):
        raise EndpointSyntaxError(url, "a proxy has a host and a port")


class _Tunnelled(TransportWrapper):
    """A tunnel whose first stretch is a socket of this machine, which is not all of it."""

    __slots__ = ()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions, and whether there is a ``tunnel``."""
        return True if name == "tunnel" else self.wrapped.get_extra_info(name, default)

    def start_tls(self, context: Any, **options: Any) -> Deferred[IStreamTransport]:
        """TLS from here on."""
        from sennit.core.transport.tls import upgrade

        return upgrade(self, context, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the wrapper has the rest by __getattr__


class _TunnelFront(ClientFront):
    """Asks the proxy for a connection; then hands over."""

    def __init__(
        self,
        make: Callable[[], IStreamProtocol],
        timeout: float,
        proxy: Proxy,
        engine: SocksClientEngine | HTTPConnectEngine,
        target: str,
    ) -> None:
        super().__init__(make, timeout)
        self._proxy = proxy
        self._engine = engine
        self._target = target

    def begin(self) -> None:
        self._send()

    def received(self, data: bytes) -> None:
        self._engine.receive_data(data)
        self._look()

    def ended(self) -> None:
        self._engine.receive_eof()
        self._look()

    def late(self) -> None:
        self.fail(self._error("no answer in time"), "timeout")

    def hand_over(
        self, protocol: IStreamProtocol, rest: bytes, shown: IStreamTransport | None = None
    ) -> None:
        if shown is None and not isinstance(self.transport.peer, InternetAddress):
            # Who asks whether others can read along must not be told of a Unix socket.
            shown = _Tunnelled(self.transport)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # the wrapper has the rest by __getattr__
        super().hand_over(protocol, rest, shown)

    def explain(self, error: ConnectionLost) -> BaseException:
        return self._error(f"the proxy ended the connection ({error})")

    def _send(self) -> None:
        pieces = self._engine.data_to_send()
        if pieces:
            self.transport.writelines(pieces)

    def _look(self) -> None:
        event = self._engine.next_event()
        self._send()
        if isinstance(event, Established):
            self.give(self._engine.release())
        elif isinstance(event, Refused):
            self.fail(self._error(event.reason))
        elif isinstance(event, (SocksFault, ConnectFault)):
            self.fail(self._error(f"{event} ({event.rule})", event))

    def _error(self, why: str, cause: BaseException | None = None) -> ConnectError:
        text = f"cannot connect to {self._target} through {self._proxy.url}: {why}"
        error = ConnectError(text, [] if cause is None else [cause])
        error.__cause__ = cause
        return error


def connect_via(
    via: Via,
    host: str,
    port: int,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None,
) -> Deferred[Any]:  # Any: the factory's protocol
    """Connect to `host` through one proxy, or through several, the nearest first.

    Returns:
        Fires with the protocol once it is connected. Fails with `ConnectError`.

    Raises:
        EndpointSyntaxError: A URL names no proxy.
        UsageError: No proxy was given.
    """
    hops = [via] if isinstance(via, (str, Proxy)) else list(via)
    if not hops:
        raise UsageError("via names at least one proxy")
    proxies = [Proxy(each) if isinstance(each, str) else each for each in hops]
    last, before = proxies[-1], proxies[:-1]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    engine = last.engine(host, port)
    deadline = reactor.time() + timeout
    front = _TunnelFront(builder(factory), timeout, last, engine, target)

    def make() -> _TunnelFront:
        # What is left of the time is the proxy's.
        front.set_timeout(max(deadline - reactor.time(), 0.001))
        return front

    reached = connect(
        last.endpoint,
        make,
        via=before or None,
        tls=last.tls,
        timeout=timeout,
        local_address=local_address,
        reactor=reactor,
    )
    return reached.add_callback(lambda _: front.done)


def connect_socks5(endpoint: Endpoint, factory: ProtocolFactory, **options: Any) -> Deferred[Any]:
    """The prefix ``socks5``. (``Any``: see `sennit.core.endpoint.schemes`.)"""
    return _connect("socks5", endpoint, factory, **options)


def connect_http(endpoint: Endpoint, factory: ProtocolFactory, **options: Any) -> Deferred[Any]:
    """The prefix ``http-connect``. (``Any``: see `sennit.core.endpoint.schemes`.)"""
    return _connect("http-connect", endpoint, factory, **options)


def _connect(
    kind: str,
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None,
    more: object,
) -> Deferred[Any]:
    text = endpoint.options.get("proxy")
    if not text:
        raise EndpointSyntaxError(endpoint.url, "say which proxy: ?proxy=127.0.0.1:1080")
    scheme, colon, rest = text.partition(":")
    known = colon and scheme in ("tcp", "tls", "unix", "tls+unix")
    url = f"{kind}+{scheme}:{rest}" if known else f"{kind}://{text}"
    username, password = _login(endpoint)
    return connect_via(
        Proxy(url, username, password),
        endpoint.host,
        endpoint.port,
        factory,
        reactor=reactor,
        timeout=timeout,
        local_address=local_address,
    )


def _login(endpoint: Endpoint) -> tuple[str | None, str | None]:
    """``user:password`` from where the option ``login`` says."""
    where = endpoint.options.get("login")
    if where is None:
        return None, None
    source, _, name = where.partition(":")
    if source == "env" and name:
        import os

        text = os.environ.get(name)
        if text is None:
            raise EndpointSyntaxError(endpoint.url, f"option login: there is no variable {name}")
    elif source == "file" and name:
        try:
            with open(name, encoding="utf-8") as file:
                text = file.readline(1024).rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            raise EndpointSyntaxError(endpoint.url, f"option login: {error}") from error
    else:
        raise EndpointSyntaxError(
            endpoint.url, "option login is env:NAME or file:PATH, where user:password stands"
        )
    username, colon, password = text.partition(":")
    if not colon or not username:
        raise EndpointSyntaxError(
            endpoint.url, "option login: what stands there is no user:password"
        )
    return username, password
