"""Connecting: by URL, to the first address that answers.

Happy Eyeballs (RFC 8305): IPv6 and IPv4 addresses are looked up side by side
(an answer for IPv4 waits 50 ms for IPv6's, §3) and tried in turn, families
alternating (§4), 250 ms apart (§5); when an attempt fails the next begins at
once. The first that stands wins, the others are closed.
"""

from __future__ import annotations

import errno
import os
import socket
from contextvars import copy_context
from functools import partial

from sennit.core.deferred import Deferred, fail
from sennit.core.endpoint.names import look_up
from sennit.core.endpoint.schemes import connect_to, load_endpoint
from sennit.core.errors import ConnectError, EndpointSyntaxError, UsageError
from sennit.core.reactor.pollers import WRITE
from sennit.core.transport.listening import is_numeric
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, TypeVar, overload

    from sennit.core.endpoint.names import Found
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.endpoint.proxy_header import ProxyHeader
    from sennit.core.endpoint.tunnel import Via
    from sennit.core.interfaces import IDatagramProtocol, IProtocolFactory, IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.stream import Stream
    from sennit.core.transport.tls import ClientTLS

    P = TypeVar("P", bound=IStreamProtocol)
    D = TypeVar("D", bound=IDatagramProtocol)

__all__ = [
    "builder",
    "connect",
    "connect_tcp",
    "connect_tcp_endpoint",
    "connect_unix",
    "connect_unix_endpoint",
    "open_stream",
]

RESOLUTION_DELAY: Final = 0.05
"""Seconds that IPv4's addresses wait for IPv6's (RFC 8305 §8)."""
ATTEMPT_DELAY: Final = 0.25
"""Seconds between the beginnings of two attempts (RFC 8305 §8)."""
_QUEUE_FULL_DELAY: Final = 0.02
"""Seconds until a Unix socket whose queue is full is tried again."""
_AF_UNIX: Final = getattr(socket, "AF_UNIX", None)
_IN_PROGRESS = frozenset(
    {errno.EINPROGRESS, errno.EINTR} | ({errno.EWOULDBLOCK} if os.name == "nt" else set[int]())
)
TIMEOUT: Final = 30.0
"""Seconds for look-up and all attempts together."""


class _Target:
    """One address to try."""

    __slots__ = ("address", "family", "shown")

    def __init__(self, family: int, address: Any, shown: str) -> None:
        self.family = family
        self.address = address
        self.shown = shown


class _Race:
    """The attempts of one connection; `done` fires with the socket that stands."""

    def __init__(
        self,
        reactor: Reactor,
        what: str,
        timeout: float,
        local_address: tuple[str, int] | None = None,
        permit: Callable[[str], bool] | None = None,
    ) -> None:
        self._reactor = reactor
        self._what = what
        self._local = local_address
        self._permit = permit
        self._waiting: list[_Target] = []
        self._open: dict[int, tuple[socket.socket, _Target]] = {}
        self._errors: list[OSError] = []
        self._unresolved: list[OSError] = []
        self._lookups = 0
        self._retrying = False
        self._last_family = 0
        self._next: DelayedCall | None = None
        self._deadline: DelayedCall = reactor.call_later(timeout, self._timed_out, timeout)
        self.done: Deferred[socket.socket] = Deferred(self._cancelled)
        reactor.dependants.add(self)

    def reactor_stopped(self) -> None:
        """The reactor ends, and so does every attempt."""
        if not self.done.called:
            self._give_up("the reactor stopped")

    # ── names ─────────────────────────────────────────────────────────────────

    def look_up(self, host: str, port: int) -> None:
        """Try the addresses of a name as they become known."""
        families = [socket.AF_INET6, socket.AF_INET] if socket.has_ipv6 else [socket.AF_INET]
        self._lookups = len(families)
        for family in families:
            look_up(self._reactor, host, port, family).add_callbacks(
                partial(self._found, family), self._not_found
            )

    def _found(self, family: int, found: Sequence[Found]) -> None:
        self._lookups -= 1
        self.add([_target(family, each[4]) for each in found])
        if self.done.called:
            return
        if self._lookups and family == socket.AF_INET:
            if self._next is None:
                self._next = self._reactor.call_later(RESOLUTION_DELAY, self._try_next)
        elif not self._open or self._next is None:
            self._try_next()

    def _not_found(self, error: BaseException) -> None:
        self._lookups -= 1
        if not isinstance(error, OSError):
            error = OSError(errno.EINVAL, f"not a name: {error}")
        self._unresolved.append(error)
        if not self._open and not self.done.called:
            self._try_next()

    # ── attempts ──────────────────────────────────────────────────────────────

    def add(self, targets: Sequence[_Target]) -> None:
        """More addresses to try, after those that wait."""
        for target in targets:
            if self._permit is None or self._permit(target.address[0]):
                self._waiting.append(target)
            else:
                self._errors.append(_named(errno.EACCES, "not permitted", target))

    def start(self) -> None:
        """Begin with the first address."""
        self._try_next()

    def _take(self) -> _Target:
        """The next address: of the other family if there is one, IPv6 first (RFC 8305 §4)."""
        wanted = socket.AF_INET if self._last_family == socket.AF_INET6 else socket.AF_INET6
        for at, target in enumerate(self._waiting):
            if target.family == wanted:
                return self._waiting.pop(at)
        return self._waiting.pop(0)

    def _try_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._retrying = False
        while self._waiting and not self.done.called:
            target = self._take()
            self._last_family = target.family
            if self._attempt(target):
                self._expect()
                return
        if not self.done.called and not self._open and not self._lookups:
            self._give_up()

    def _expect(self) -> None:
        """In case nothing is heard of an attempt for a while."""
        if not self.done.called and not self._retrying:
            self._next = self._reactor.call_later(ATTEMPT_DELAY, self._try_next)

    def _attempt(self, target: _Target) -> bool:
        """Begin to connect; whether it is under way (or done)."""
        sock = None
        try:
            sock = socket.socket(target.family, socket.SOCK_STREAM)
            sock.setblocking(False)
            if self._local is not None and target.family != _AF_UNIX:
                if self._local[1] and os.name == "posix":
                    # Connections from there that have ended linger in the kernel for a minute.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(self._local)
            code = sock.connect_ex(target.address)
            if code in _IN_PROGRESS:
                fd = sock.fileno()
                self._reactor.watch(fd, WRITE, lambda mask: self._ready(fd))
                self._open[fd] = (sock, target)
                return True
        except (OSError, OverflowError) as error:
            if sock is not None:
                sock.close()
            number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
            self._errors.append(_named(number, text or str(error), target))
            return False
        if code == 0:
            self._won(sock)
        elif code == errno.EAGAIN and target.family == _AF_UNIX:
            # Too many wait there already; nothing tells when that is over.
            sock.close()
            self._waiting.insert(0, target)
            self._retrying = True
            self._next = self._reactor.call_later(_QUEUE_FULL_DELAY, self._try_next)
        else:
            sock.close()
            self._errors.append(_named(code, os.strerror(code), target))
            return False
        return True

    def _ready(self, fd: int) -> None:
        sock, target = self._open[fd]
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._reactor.unwatch(fd)
        del self._open[fd]
        if code:
            sock.close()
            self._errors.append(_named(code, os.strerror(code), target))
            self._try_next()
        else:
            self._won(sock)

    # ── the end ───────────────────────────────────────────────────────────────

    def _won(self, sock: socket.socket) -> None:
        self._clear()
        if self.done.called:
            sock.close()
        else:
            self.done.callback(sock)

    def _clear(self) -> None:
        self._deadline.cancel()
        self._reactor.dependants.discard(self)
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._waiting.clear()
        for fd, (sock, _) in list(self._open.items()):
            self._reactor.unwatch(fd)
            sock.close()
        self._open.clear()

    def _give_up(self, why: str = "") -> None:
        # That a name has no address of one family is news only if it has none at all.
        errors = self._errors or self._unresolved
        if why:
            for _, target in self._open.values():
                errors = [*errors, _named(errno.ETIMEDOUT, why, target)]
            if not self._open:
                errors = [*errors, OSError(errno.ETIMEDOUT, why)]
        self._clear()
        reasons = [str(each.strerror or each) for each in errors]
        text = "; ".join(dict.fromkeys(reasons)) or "it has no address"
        error = ConnectError(f"cannot connect to {self._what}: {text}", errors)
        error.__cause__ = errors[-1] if errors else None
        self.done.errback(error)

    def _timed_out(self, timeout: float) -> None:
        if not self.done.called:
            self._give_up(f"no answer within {timeout:g} s")

    def _cancelled(self, done: Deferred[socket.socket]) -> None:
        self._clear()


def _named(code: int | None, text: str, target: _Target) -> OSError:
    return OSError(code, f"{target.shown}: {text}")


def _target(family: int, address: Any) -> _Target:
    host, port = address[0], address[1]
    return _Target(family, address, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def builder(factory: ProtocolFactory) -> Callable[[], IStreamProtocol]:
    """The call that makes a client's protocol.

    Raises:
        TypeError: `factory` makes no protocols.
    """
    from sennit.core.protocol import adapt_factory

    build = adapt_factory(factory)

    def make() -> IStreamProtocol:
        protocol = build(None)
        if protocol is None:
            raise ConnectError("the factory refused the connection")
        return protocol

    return make


def _attach(
    reactor: Reactor, racing: _Race, make: Callable[[], IStreamProtocol]
) -> Deferred[IStreamProtocol]:
    """Put a protocol on the socket that wins."""
    context = copy_context() or None

    def connected(sock: socket.socket) -> IStreamProtocol:
        try:
            protocol = make()
            kind = SocketTransport
            if sock.family != _AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                from sennit.core.transport.descriptors import UnixTransport

                kind = UnixTransport
            own = None if context is None else context.copy()
            transport = kind(reactor, _raw(sock), protocol, context=own)
        except BaseException:
            sock.close()
            raise
        transport.start()
        return protocol

    return racing.done.add_callback(connected)


def _raw(sock: socket.socket) -> socket.socket:
    """The same descriptor without the Python object around the kernel's."""
    family, kind, proto = sock.family, sock.type, sock.proto
    return socket.SocketType(family, kind, proto, fileno=sock.detach())  # type: ignore[return-value]  # transports use what both have


def connect_tcp(
    reactor: Reactor,
    factory: ProtocolFactory,
    host: str,
    port: int,
    *,
    timeout: float = TIMEOUT,
    local_address: tuple[str, int] | None = None,
    permit: Callable[[str], bool] | None = None,
) -> Deferred[IStreamProtocol]:
    """Connect to the first address of `host` that answers.

    Args:
        reactor: Who waits.
        factory: Makes the protocol.
        host: Name or address.
        port: Port number.
        timeout: Seconds for look-up and all attempts together.
        local_address: Host and port to connect from.
        permit: Whether an address may be tried, asked once the name is looked up; one
            that may not counts as an attempt that failed with ``EACCES``.

    Returns:
        Fires with the protocol, after its `connection_made`. Fails with
        `ConnectError`, whose `attempts` say what happened at each address.
    """
    if reactor.network is not None:
        return reactor.network.connect_tcp(
            factory, host, port, timeout=timeout, local_address=local_address, permit=permit
        )
    make = builder(factory)
    if not 0 < port < 65536:
        raise UsageError(f"one connects to a port from 1 to 65535, not {port}")
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if is_numeric(host):
        numbers = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numbers)
        except OSError as error:  # an interface that is not there
            problem = f"cannot connect to {shown}: {error.strerror or error}"
            return fail(ConnectError(problem, [error]))
        racing = _Race(reactor, shown, timeout, local_address, permit)
        racing.add([_target(each[0], each[4]) for each in found[:1]])
        racing.start()
    else:
        racing = _Race(reactor, shown, timeout, local_address, permit)
        racing.look_up(host, port)
    return _attach(reactor, racing, make)


def connect_unix(
    reactor: Reactor, factory: ProtocolFactory, path: str, *, timeout: float = TIMEOUT
) -> Deferred[IStreamProtocol]:
    """Connect to a Unix socket, ``@name`` in the abstract space.

    Returns:
        Fires with the protocol. Fails with `ConnectError`.
    """
    if reactor.network is not None:
        return reactor.network.connect_unix(factory, path, timeout=timeout)
    make = builder(factory)
    racing = _Race(reactor, f"unix:{path}", timeout)
    address = "\0" + path[1:] if path.startswith("@") else path
    racing.add([_Target(socket.AF_UNIX, address, f"unix:{path}")])
    racing.start()
    return _attach(reactor, racing, make)


def connect_tcp_endpoint(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None,
) -> Deferred[IStreamProtocol]:
    """The schemes ``tcp`` and ``tls``."""
    return connect_tcp(
        reactor,
        factory,
        endpoint.host,
        endpoint.port,
        timeout=timeout,
        local_address=local_address,
    )


def connect_unix_endpoint(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None,
) -> Deferred[IStreamProtocol]:
    """The schemes ``unix`` and ``tls+unix``; there is no address to connect from."""
    return connect_unix(reactor, factory, endpoint.path, timeout=timeout)


if TYPE_CHECKING:

    @overload
    def connect(
        url: str,
        factory: Callable[[], P],
        *,
        tls: ClientTLS | None = None,
        server_hostname: str | None = None,
        timeout: float = TIMEOUT,
        local_address: tuple[str, int] | None = None,
        via: Via | None = None,
        proxy_header: ProxyHeader | None = None,
        reactor: Reactor | None = None,
    ) -> Deferred[P]: ...
    @overload
    def connect(
        url: str,
        factory: Callable[[], D],
        *,
        timeout: float = TIMEOUT,
        local_address: tuple[str, int] | None = None,
        reactor: Reactor | None = None,
    ) -> Deferred[D]: ...
    @overload
    def connect(
        url: str,
        factory: IProtocolFactory,
        *,
        tls: ClientTLS | None = None,
        server_hostname: str | None = None,
        timeout: float = TIMEOUT,
        local_address: tuple[str, int] | None = None,
        via: Via | None = None,
        proxy_header: ProxyHeader | None = None,
        reactor: Reactor | None = None,
    ) -> Deferred[IStreamProtocol]: ...


def connect(
    url: str,
    factory: Any,  # a ProtocolFactory, for udp: a DatagramFactory; the overloads say which
    *,
    tls: ClientTLS | None = None,
    server_hostname: str | None = None,
    timeout: float = TIMEOUT,
    local_address: tuple[str, int] | None = None,
    via: Via | None = None,
    proxy_header: ProxyHeader | None = None,
    reactor: Reactor | None = None,
) -> Deferred[Any]:
    """Connect to an endpoint.

    Args:
        url: Such as ``tcp://example.org:80``, ``tls://example.org:443``, ``unix:run/x.sock``,
            ``udp://192.0.2.1:53``.
        factory: Makes the protocol; for ``udp:`` a `DatagramProtocol`.
        tls: How to talk TLS to a ``tls:`` endpoint; the system's trust when left out.
        server_hostname: The name the certificate must carry, when not the URL's.
        timeout: Seconds until the connection stands, TLS handshake included.
        local_address: Host and port to connect from.
        via: A proxy, or several, the nearest first: ``socks5://127.0.0.1:1080``,
            ``http-connect://proxy.example:3128``, or a `sennit.core.endpoint.tunnel.Proxy`,
            which may have a login.
        proxy_header: What to say in front, for ``haproxy+…``; the own addresses when left out.
        reactor: The current one when left out.

    Returns:
        Fires with the protocol once it is connected (over TLS: shaken hands).
        Fails with `ConnectError`, or `TLSError` when the handshake fails.

    Raises:
        EndpointSyntaxError: The URL names no endpoint one can connect to.
        ReactorNotRunningError: No `reactor` was given and none runs.
    """
    from sennit.core.reactor.base import current_reactor

    endpoint = load_endpoint(url)
    chosen = reactor or current_reactor()
    row = endpoint.prefix or endpoint.row
    if row is not None and row.connect is None:
        raise EndpointSyntaxError(url, row.no_connect)
    needs_port = endpoint.row is not None and endpoint.row.form == "authority"
    if needs_port and not (endpoint.host and endpoint.port):
        raise EndpointSyntaxError(url, "one connects to a host and a port")
    if tls is not None and not endpoint.secure:
        raise EndpointSyntaxError(url, "tls was given: write tls://, or use start_tls later")
    if proxy_header is not None and (endpoint.prefix is None or endpoint.prefix.name != "haproxy"):
        raise EndpointSyntaxError(url, "a proxy_header goes with haproxy+tcp:// and its kin")
    if via is not None and (endpoint.prefix is not None or not needs_port):
        raise EndpointSyntaxError(url, "one connects via a proxy to tcp:// or tls://")
    if via is not None and endpoint.row is not None and endpoint.row.datagrams:
        raise EndpointSyntaxError(url, "no datagrams go via a proxy")
    shaken: Deferred[Any] | None = None
    if endpoint.secure:
        from sennit.core.transport.tls import ClientTLS, client_protocol

        name = server_hostname or endpoint.host
        if not name:
            raise EndpointSyntaxError(url, "TLS needs server_hostname to verify")
        make = builder(factory)
        lower, shaken = client_protocol(make(), tls or ClientTLS(), name)
        deadline = chosen.time() + timeout

        def lower_factory() -> IStreamProtocol:
            # What is left of the time is the handshake's.
            lower.set_handshake_timeout(max(deadline - chosen.time(), 0.001))
            return lower
    else:
        lower_factory = factory
    if via is None:
        opened = connect_to(
            endpoint,
            lower_factory,
            reactor=chosen,
            timeout=timeout,
            local_address=local_address,
            more=proxy_header,
        )
    else:
        from sennit.core.endpoint.tunnel import connect_via

        opened = connect_via(
            via,
            endpoint.host,
            endpoint.port,
            lower_factory,
            reactor=chosen,
            timeout=timeout,
            local_address=local_address,
        )
    if shaken is None:
        return opened
    handshake = shaken

    def shake(_: object) -> Deferred[Any]:
        return handshake

    def never(error: BaseException) -> Deferred[Any]:
        # Nobody waits for a handshake that will not come.
        handshake.add_errback(lambda _: None)
        handshake.cancel()
        return fail(error)

    return opened.add_callbacks(shake, never)


def open_stream(
    url: str,
    *,
    tls: ClientTLS | None = None,
    server_hostname: str | None = None,
    timeout: float = TIMEOUT,
    local_address: tuple[str, int] | None = None,
    via: Via | None = None,
    proxy_header: ProxyHeader | None = None,
    reactor: Reactor | None = None,
) -> Deferred[Stream]:
    """Connect to an endpoint and read and write it as a `Stream` (see `connect`)."""
    from sennit.core.stream import StreamProtocol

    row = load_endpoint(url).row
    if row is not None and row.datagrams:
        raise EndpointSyntaxError(url, "there are only datagrams, no stream")

    return connect(
        url,
        StreamProtocol,
        tls=tls,
        server_hostname=server_hostname,
        timeout=timeout,
        local_address=local_address,
        via=via,
        proxy_header=proxy_header,
        reactor=reactor,
    ).add_callback(lambda protocol: protocol.stream)
