"""Servers as scopes: what they accept is theirs, and ends with them.

``async with serve("tcp://:8000", Echo) as server:`` accepts while the block runs;
``server = await serve(…)`` until `Server.close`, or until the reactor stops.
Closing stops accepting at once, asks each connection to come to an end
(`IDrainable.drain`; one that cannot be asked is closed once what it wrote has
left), and aborts what is left when the time for that is over.
"""

from __future__ import annotations

import errno
import socket

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred, gather, maybe_deferred, succeed
from sennit.core.endpoint.schemes import listen_at, load_endpoint
from sennit.core.errors import ConfigError, EndpointSyntaxError
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.listening import Listener, listen_tcp, listen_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from types import TracebackType
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IListener, IPeerLimits
    from sennit.core.protocol import DatagramFactory, ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.transport.stream import SocketTransport
    from sennit.core.transport.tls import ServerTLS

__all__ = [
    "Server",
    "check_listening",
    "listen_fd_endpoint",
    "listen_tcp_endpoint",
    "listen_unix_endpoint",
    "serve",
]

DRAIN: Final = 30.0
"""Seconds that connections have to come to an end by themselves."""
FAREWELL: Final = 5.0
"""Seconds that what was aborted has to let go (durable steps under `commit`)."""
BACKLOG: Final = 1024
"""Connections the kernel keeps waiting."""


class Server:
    """Listeners and their connections (made by `serve`)."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        factory: ProtocolFactory | DatagramFactory,
        *,
        reactor: Reactor,
        tls: ServerTLS | None,
        limits: IPeerLimits | None,
        drain: float,
        handshake_timeout: float,
        paused: bool,
    ) -> None:
        self._endpoints = endpoints
        self._factory = factory
        self._reactor = reactor
        self._tls = tls
        self._limits = limits
        self._drain = drain
        self._handshake_timeout = handshake_timeout
        self._paused = paused
        self._listeners: list[Listener] = []
        self._starting: Deferred[None] | None = None
        self._failure: BaseException | None = None
        self._closing: Deferred[None] | None = None
        self._closed = False
        self._aborting = False
        self._waiting: list[Deferred[None]] = []
        self._hook: DelayedCall | None = None
        self._limit: DelayedCall | None = None

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<Server {', '.join(self.urls) or 'closed'}>"

    # ── what it is ────────────────────────────────────────────────────────────

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real port where 0 was asked for."""
        return tuple(address for each in self._listeners for address in each.addresses)

    @property
    def port(self) -> int:
        """The port of the first address."""
        return self._listeners[0].port

    @property
    def urls(self) -> tuple[str, ...]:
        """The same as URLs one can connect to."""
        found: list[str] = []
        for endpoint, listener in zip(self._endpoints, self._listeners, strict=False):
            form = "" if endpoint.row is None else endpoint.row.form
            for address in listener.addresses:
                if isinstance(address, InternetAddress):
                    # A descriptor's scheme says nothing about how to reach it.
                    plain = "tls" if endpoint.secure else "tcp"
                    scheme = endpoint.scheme if form == "authority" else plain
                    found.append(f"{scheme}://{address}")
                elif form == "path":
                    found.append(f"{endpoint.scheme}:{address.path}")
                else:
                    found.append(f"{'tls+' if endpoint.secure else ''}{address}")
        return tuple(found)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """What accepts for it."""
        return tuple(self._listeners)

    @property
    def connections(self) -> frozenset[SocketTransport]:
        """The transports of the connections that stand."""
        return frozenset(each for listener in self._listeners for each in listener.connections)

    # ── beginning ─────────────────────────────────────────────────────────────

    def start(self) -> Deferred[Server]:
        """Bind and listen; fires with this server. All endpoints, or none.

        Fails with `OSError` for an address that is in use or not ours.
        """
        if self._starting is None:
            self._starting = self._start()
        waiter: Deferred[Server] = Deferred(self._not_wanted)

        def started(_: None) -> None:
            if self._failure is None:
                waiter.callback(self)
            else:
                waiter.errback(self._failure)

        def failed(error: BaseException) -> None:
            self._failure = error  # whoever asks again learns it, too
            waiter.errback(error)

        self._starting.add_callbacks(started, failed)
        return waiter

    def _not_wanted(self, waiter: Deferred[Server]) -> None:
        """Whoever would own it does not wait for it any more."""
        self.close(0)

    def _start(self) -> Deferred[None]:
        self._hook = self._reactor.at_shutdown(self.close)
        listening = [maybe_deferred(self._listen, each) for each in self._endpoints]

        def check(outcomes: Sequence[Any]) -> None:
            good = [each.value for each in outcomes if each.error is None]
            bad = [each.error for each in outcomes if each.error is not None]
            if bad or self._closed:
                for listener in good:
                    listener.close()
                self._forget_hook()
                raise bad[0] if bad else OSError("the server was closed while it started")
            self._listeners.extend(good)
            if not self._paused:
                for listener in good:
                    listener.resume_accepting()

        return gather(*listening, return_outcomes=True).add_callback(check)

    def _listen(self, endpoint: Endpoint) -> Deferred[Any] | Any:  # Any: see `listen_at`
        factory: Any = self._factory  # Any: of streams or datagrams, as the scheme has it
        if endpoint.secure and self._tls is not None:  # `serve` has seen to that
            from sennit.core.transport.tls import server_factory

            factory = server_factory(factory, self._tls, handshake_timeout=self._handshake_timeout)
        return listen_at(endpoint, factory, reactor=self._reactor, limits=self._limits, paused=True)

    def resume_accepting(self) -> None:
        """Accept (again), after `serve(paused=True)` or `pause_accepting`."""
        for each in self._listeners:
            each.resume_accepting()

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel's queue."""
        for each in self._listeners:
            each.pause_accepting()

    def __await__(self) -> Generator[Any, Any, Server]:
        """Begin to listen; this server."""
        return self.start().__await__()

    async def __aenter__(self) -> Server:
        """Begin to listen."""
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Come to an end in good order; at once when even that is cancelled."""
        try:
            await self.close()
        except BaseException:
            self.close(0)
            raise

    # ── ending ────────────────────────────────────────────────────────────────

    def close(self, drain: float | None = None) -> Deferred[None]:
        """Accept no more, and let what stands come to an end.

        Args:
            drain: Seconds for that; `serve`'s when left out, 0 to abort at once.

        Returns:
            Fires when the last connection has gone.
        """
        self._closed = True
        for each in self._listeners:
            each.close()
        limit = self._drain if drain is None else drain
        if self._closing is None:
            self._closing = Deferred()
            self._limit = self._reactor.call_later(limit, self._abort)
            for each in self._listeners:
                each.on_empty = self._look
            for transport in self.connections:
                self._ask_to_end(transport)
            self._look()
        elif self._limit is not None and drain is not None and not self._aborting:
            # A second thought.
            self._limit.cancel()
            self._limit = self._reactor.call_later(limit, self._abort)
        return self.wait_closed()

    def wait_closed(self) -> Deferred[None]:
        """Fires when the server was closed and its last connection has gone."""
        if self._closing is not None and self._closing.called:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting_no_more)
        self._waiting.append(waiter)
        return waiter

    def _waiting_no_more(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _ask_to_end(self, transport: SocketTransport) -> None:
        drain = getattr(transport.get_protocol(), "drain", None)
        try:
            if drain is None:
                transport.close("drained")
            else:
                drain()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._reactor.report(error, f"while {transport!r} was drained")
            transport.abort("drained")

    def _look(self) -> None:
        if not self.connections:
            self._finished()

    def _abort(self) -> None:
        """The time to end by itself is over for every connection that is left."""
        if self._closing is None or self._closing.called:
            return
        self._aborting = True
        for transport in self.connections:
            transport.abort("drained")
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._reactor.call_later(FAREWELL, self._finished)
        self._look()

    def _finished(self) -> None:
        self._forget_hook()
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        closing = self._closing
        if closing is not None and not closing.called:
            closing.callback(None)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def _forget_hook(self) -> None:
        if self._hook is not None:
            self._hook.cancel()
            self._hook = None


def listen_tcp_endpoint(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> Deferred[IListener]:
    """The schemes ``tcp`` and ``tls``."""
    return listen_tcp(
        reactor,
        factory,
        endpoint.port,
        endpoint.host,
        backlog=endpoint.number("backlog", BACKLOG),
        reuse_port=endpoint.flag("reuse_port"),
        limits=limits,
        paused=paused,
    )


def listen_unix_endpoint(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> Deferred[IListener]:
    """The schemes ``unix`` and ``tls+unix``."""
    return listen_unix(
        reactor,
        factory,
        endpoint.path,
        backlog=endpoint.number("backlog", BACKLOG),
        mode=endpoint.number("mode", 0o666, base=8, most=0o777),
        limits=limits,
        paused=paused,
    )


def listen_fd_endpoint(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> Listener:
    """The scheme ``fd``."""
    fd, source = endpoint.fd, reactor.socket_source
    if source is None:
        return Listener(reactor, [_inherited(fd)], factory, limits=limits, paused=paused)
    try:
        (sock,), release = source.fd(fd)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on fd:{fd}: {error.strerror}") from error
    try:
        check_listening(sock, f"fd:{fd}")
        return Listener(reactor, [sock], factory, limits=limits, paused=paused, on_close=release)
    except BaseException:
        sock.close()
        raise


def _inherited(fd: int) -> socket.socket:
    """The listening socket that is descriptor `fd`.

    Raises:
        OSError: It is none; the descriptor is left as it is.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on fd:{fd}: {error.strerror}") from error
    try:
        check_listening(sock, f"fd:{fd}")
    except OSError:
        sock.detach()
        raise
    return sock


def check_listening(sock: socket.socket, shown: str) -> None:
    """See that a socket that others opened listens.

    Raises:
        OSError: It does not; the text quotes the endpoint as `shown`.
    """
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except (AttributeError, OSError):
        listens = 1  # this system does not tell
    if not listens or sock.type != socket.SOCK_STREAM:
        raise OSError(errno.EINVAL, f"cannot listen on {shown}: it is no listening stream socket")


def serve(
    url: str | Iterable[str],
    factory: ProtocolFactory | DatagramFactory,
    *,
    tls: ServerTLS | None = None,
    limits: IPeerLimits | None = None,
    drain: float = DRAIN,
    handshake_timeout: float = 10.0,
    paused: bool = False,
    reactor: Reactor | None = None,
) -> Server:
    """A server at one or more endpoints: ``await`` it, or enter it with ``async with``.

    Args:
        url: Such as ``tcp://127.0.0.1:8080``, ``tls://:443``, ``unix:run/x.sock``; or several.
        factory: Makes a protocol per connection: a callable without arguments, or
            an `IProtocolFactory`. For ``udp:`` it makes a `DatagramProtocol` per socket.
        tls: Certificates, for ``tls:`` endpoints. If it names no application protocols (ALPN)
            and the factory has an attribute ``alpn`` that does, those are agreed on.
        limits: Connections per address and in total; `ConnectionLimits` with its
            defaults (50 and 10 000) when left out.
        drain: Seconds that connections have to end by themselves at `close`.
        handshake_timeout: Seconds a TLS handshake may take in all.
        paused: Bind, but accept nothing before `Server.resume_accepting`.
        reactor: The current one when left out.

    Raises:
        EndpointSyntaxError: A URL names no endpoint one can listen at.
        ConfigError: A ``tls:`` endpoint without `tls`.
        ReactorNotRunningError: No `reactor` was given and none runs.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise EndpointSyntaxError("", "a server needs at least one endpoint")
    endpoints = [load_endpoint(each) for each in urls]
    for each in endpoints:
        row = each.prefix or each.row
        if row is not None and row.listen is None:
            raise EndpointSyntaxError(each.url, row.no_listen)
        if each.secure and tls is None:
            raise ConfigError(f"{each.url} needs tls=ServerTLS(certificate, key)")
    if tls is not None and not tls.alpn and (spoken := getattr(factory, "alpn", ())):
        tls = tls.agreeing_on(spoken)
    if limits is None:
        from sennit.core.policy.limits import ConnectionLimits

        limits = ConnectionLimits()
    return Server(
        endpoints,
        factory,
        reactor=reactor or current_reactor(),
        tls=tls,
        limits=limits,
        drain=drain,
        handshake_timeout=handshake_timeout,
        paused=paused,
    )
