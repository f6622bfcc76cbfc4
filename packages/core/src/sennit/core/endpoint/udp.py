"""UDP by name and by URL: ``udp://127.0.0.1:5300``, ``udp://[::]:5300``, ``udp://:5300``.

Names are looked up in threads (``names.py``). One listens on all the addresses of a
name, or of the machine where there is none, with a socket and a protocol for each;
one is connected to the first address that the system has a way to. Whether
anybody answers there no look-up can tell: UDP has no handshake.
"""

from __future__ import annotations

import errno
import os
import socket
from contextvars import copy_context

from sennit.core.address import InternetAddress
from sennit.core.deferred import fail, maybe_deferred
from sennit.core.errors import ConnectError, EndpointSyntaxError, UsageError
from sennit.core.transport.datagrams import MAX_DATAGRAM
from sennit.core.transport.listening import is_numeric
from sennit.core.transport.udp import DatagramListener, UDPTransport, tune, udp_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.names import Found
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IDatagramListener, IDatagramProtocol, IPeerLimits
    from sennit.core.protocol import DatagramFactory
    from sennit.core.reactor.base import Reactor

__all__ = ["connect", "connect_udp", "listen", "listen_multicast", "listen_udp"]

OPTIONS: Final = ("broadcast", "dual_stack", "max_size", "reuse_port", "ttl")
"""What may follow the question mark of a ``udp:`` URL."""
_PORTS_TRIED: Final = 10
"""Ports tried until one is free in both families."""


def listen_udp(
    reactor: Reactor,
    factory: DatagramFactory,
    port: int,
    host: str = "",
    *,
    dual_stack: bool = False,
    reuse_port: bool = False,
    broadcast: bool = False,
    ttl: int | None = None,
    max_size: int = MAX_DATAGRAM,
    paused: bool = False,
    scoped: bool = False,
) -> Deferred[IDatagramListener]:
    """Receive UDP datagrams.

    Args:
        reactor: Whose turns receive them.
        factory: Makes a protocol per socket: a callable without arguments, or an
            `IDatagramProtocolFactory`.
        port: 0 lets the system choose, the same for all addresses.
        host: Address or name; empty for every interface of both families, with a
            socket for each family.
        dual_stack: With ``::``: one socket for both families, whose IPv4 peers look
            like ``::ffff:127.0.0.1``.
        reuse_port: Let other sockets have the port too, and share the datagrams.
        broadcast: Allow sending to broadcast addresses.
        ttl: Routers that a datagram may pass; the system's choice when left out.
        max_size: Octets of the longest datagram to receive; longer ones are
            dropped, counted, and told to `error_received`.
        paused: Receive nothing before `resume_accepting`.
        scoped: See `DatagramListener`.

    Returns:
        Fires with the listener. Fails with `OSError` for an address that is in use or
        not ours.
    """
    if not 0 < max_size <= MAX_DATAGRAM:
        raise UsageError(f"max_size is a number from 1 to {MAX_DATAGRAM}, not {max_size}")
    if dual_stack and host != "::":
        raise UsageError("dual_stack makes one socket of ::, which serves both families")
    if reactor.network is not None:
        return reactor.network.listen_udp(
            factory,
            port,
            host,
            broadcast=broadcast,
            max_size=max_size,
            paused=paused,
            scoped=scoped,
        )

    def bind(hosts: Sequence[str]) -> DatagramListener:
        sockets: list[socket.socket] = []
        releases: list[Callable[[], object]] = []
        try:
            chosen = port
            for each in hosts:
                try:
                    if reactor.socket_source is None or dual_stack:
                        sockets.append(
                            udp_socket(each, chosen, dual_stack=dual_stack, reuse_port=reuse_port)
                        )
                    else:
                        made, release = reactor.socket_source.udp(each, chosen, reuse_port)
                        sockets += made
                        releases.append(release)
                except OSError as error:
                    if not host and sockets and error.errno in _NO_IPV6:
                        continue  # a machine without IPv6
                    raise
                chosen = chosen or int(sockets[0].getsockname()[1])
            for sock in sockets:
                tune(sock, broadcast=broadcast, ttl=ttl)
            return DatagramListener(
                reactor,
                sockets,
                factory,
                max_size=max_size,
                paused=paused,
                scoped=scoped,
                release=lambda: _call_all(releases),
            )
        except BaseException:
            for sock in sockets:
                sock.close()
            _call_all(releases)
            raise

    def bind_all(hosts: Sequence[str]) -> DatagramListener:
        for _ in range(_PORTS_TRIED if len(hosts) > 1 and not port else 0):
            try:
                return bind(hosts)
            except OSError as error:
                # The port that the system chose for one family is taken in the other.
                if error.errno != errno.EADDRINUSE:
                    raise
        return bind(hosts)

    if not host:
        return maybe_deferred(bind_all, ["0.0.0.0", "::"] if socket.has_ipv6 else ["0.0.0.0"])
    if is_numeric(host):
        return maybe_deferred(bind_all, [host])
    from sennit.core.endpoint.names import look_up

    def unknown(error: BaseException) -> DatagramListener:
        raise OSError(
            getattr(error, "errno", None) or errno.EADDRNOTAVAIL,
            f"cannot listen on udp {host}:{port}: {getattr(error, 'strerror', None) or error}",
        ) from error

    def looked_up(found: Sequence[Found]) -> DatagramListener:
        return bind_all(list(dict.fromkeys(str(each[4][0]) for each in found)))

    return look_up(reactor, host, port).add_callbacks(looked_up, unknown)


_NO_IPV6: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def _call_all(releases: list[Callable[[], object]]) -> None:
    while releases:
        releases.pop()()


def listen_multicast(
    reactor: Reactor,
    factory: DatagramFactory,
    port: int,
    groups: Sequence[str] = (),
    *,
    host: str = "",
    interface: str | int | None = None,
    source: str | None = None,
    ttl: int = 1,
    loop: bool = True,
    max_size: int = MAX_DATAGRAM,
) -> Deferred[IDatagramListener]:
    """Receive what is sent to multicast groups, at a port that others may listen on, too.

    Every socket of the port on this host receives what is sent to a group it joined.

    Args:
        reactor: Whose turns receive.
        factory: Makes the protocol.
        port: 0 lets the system choose.
        groups: To join at once, all of one family; `IMulticastTransport.join_group`
            joins and leaves more.
        host: Address to bind to; every address of the groups' family when left out
            (IPv4 where there are no groups).
        interface: To join on, and to send through: name, index, or (IPv4) address.
        source: The one sender to listen to (RFC 4607).
        ttl: Routers that a datagram to a group may pass; 1 stays on this network.
        loop: Whether this host's own members hear what is sent from here.
        max_size: Octets of the longest datagram to receive.

    Returns:
        Fires with the listener. Fails with `OSError` when the port is taken by one
        that does not share it, or a group cannot be joined.

    Raises:
        UsageError: The groups are none, or of two families.
    """
    from sennit.core.transport.multicast import (
        Member,
        is_multicast,
        only_own_groups,
        set_membership,
        set_outgoing_interface,
        set_reach,
    )

    six = [":" in each for each in (*groups, *([host] if host else ()))]
    if len(set(six)) > 1:
        raise UsageError("one socket has groups of one family: listen twice for both")
    family = socket.AF_INET6 if six and six[0] else socket.AF_INET
    for each in groups:
        if not is_multicast(each, family):
            raise UsageError(f"{each!r} is no multicast group (224.0.0.0/4, ff00::/8)")
    if reactor.network is not None:
        wild = "::" if family == socket.AF_INET6 else "0.0.0.0"
        return reactor.network.listen_udp(
            factory, port, host or wild, max_size=max_size, groups=groups, shared=True
        )
    bound = host or ("::" if family == socket.AF_INET6 else "0.0.0.0")

    def bind() -> DatagramListener:
        sock = udp_socket(bound, port, reuse_address=True)
        try:
            only_own_groups(sock)
            set_reach(sock, hops=ttl, loop=loop)
            if interface is not None:
                set_outgoing_interface(sock, interface)
            for each in groups:
                set_membership(sock, Member(family, each, interface, source), True)
            return DatagramListener(reactor, [sock], factory, max_size=max_size)
        except BaseException:
            sock.close()
            raise

    return maybe_deferred(bind)


def connect_udp(
    reactor: Reactor,
    factory: DatagramFactory,
    host: str,
    port: int,
    *,
    local_address: tuple[str, int] | None = None,
    broadcast: bool = False,
    ttl: int | None = None,
    max_size: int = MAX_DATAGRAM,
    timeout: float = 30.0,
) -> Deferred[IDatagramProtocol]:
    """Exchange UDP datagrams with one peer alone; others' are not received.

    Args:
        reactor: Whose turns receive.
        factory: Makes the protocol.
        host: Address or name of the peer.
        port: The peer's.
        local_address: Host and port to send from.
        broadcast: Allow the peer to be a broadcast address.
        ttl: Routers that a datagram may pass; the system's choice when left out.
        max_size: Octets of the longest datagram to receive.
        timeout: Seconds that looking up a name may take.

    Returns:
        Fires with the protocol, after its `connection_made`. Fails with `ConnectError`.
        Whether anybody is there shows when something was sent (`error_received`).
    """
    from sennit.core.protocol import adapt_datagram_factory

    build = adapt_datagram_factory(factory)
    if not 0 < port < 65536:
        raise UsageError(f"one connects to a port from 1 to 65535, not {port}")
    if not 0 < max_size <= MAX_DATAGRAM:
        raise UsageError(f"max_size is a number from 1 to {MAX_DATAGRAM}, not {max_size}")
    if reactor.network is not None:
        return reactor.network.connect_udp(
            factory,
            host,
            port,
            local_address=local_address,
            broadcast=broadcast,
            max_size=max_size,
        )
    shown = f"udp [{host}]:{port}" if ":" in host else f"udp {host}:{port}"
    context = copy_context() or None

    def connected(found: Sequence[Found]) -> IDatagramProtocol:
        sock = _connected_socket(
            found, shown, local_address, lambda new: tune(new, broadcast=broadcast, ttl=ttl)
        )
        try:
            protocol = build(_local_of(sock))
            transport = UDPTransport(
                reactor,
                sock,
                protocol,
                connected=True,
                max_size=max_size,
                context=None if context is None else context.copy(),
            )
        except BaseException:
            sock.close()
            raise
        transport.start()
        return protocol

    def unknown(error: BaseException) -> IDatagramProtocol:
        attempts = [error] if isinstance(error, OSError) else []
        text = getattr(error, "strerror", None) or error
        raise ConnectError(f"cannot connect to {shown}: {text}", attempts) from error

    if is_numeric(host):
        numbers = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=numbers)
        except OSError as error:  # an interface that is not there
            text = error.strerror or error
            return fail(ConnectError(f"cannot connect to {shown}: {text}", [error]))
        return maybe_deferred(connected, found)
    from sennit.core.endpoint.names import look_up

    looking = look_up(reactor, host, port).timeout(timeout, reactor)
    return looking.add_callbacks(connected, unknown)


def _local_of(sock: socket.socket) -> InternetAddress:
    return InternetAddress(*sock.getsockname())


def _connected_socket(
    found: Sequence[Found],
    shown: str,
    local_address: tuple[str, int] | None,
    prepare: Callable[[socket.socket], object],
) -> socket.socket:
    """A socket connected to the first of the addresses that there is a way to.

    Raises:
        ConnectError: There is none; `attempts` says why not, address by address.
    """
    errors: list[OSError] = []
    for family, _, _, _, address in found:
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            prepare(sock)
            if local_address is not None:
                sock.bind(local_address)
            sock.connect(address)
        except OSError as error:
            if sock is not None:
                sock.close()
            text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
            errors.append(OSError(error.errno, f"{InternetAddress(*address)}: {text}"))
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        else:
            return sock
    reasons = "; ".join(str(each.strerror) for each in errors) or "it has no address"
    raise ConnectError(f"cannot connect to {shown}: {reasons}", errors)


# ── by URL ────────────────────────────────────────────────────────────────────


def listen(
    endpoint: Endpoint,
    factory: Any,  # a `DatagramFactory`; `serve` is typed for streams
    *,
    reactor: Reactor,
    limits: IPeerLimits | None = None,
    paused: bool = False,
) -> Deferred[IDatagramListener]:
    """Listen at ``udp://…`` for `serve`. Limits of connections do not concern datagrams."""
    ttl = endpoint.number("ttl", 0, most=255)
    max_size = endpoint.number("max_size", MAX_DATAGRAM)
    dual_stack = endpoint.flag("dual_stack")
    if not max_size:
        raise EndpointSyntaxError(endpoint.url, "option max_size is at least 1")
    if dual_stack and endpoint.host != "::":
        raise EndpointSyntaxError(endpoint.url, "option dual_stack goes with udp://[::]:PORT")
    return listen_udp(
        reactor,
        factory,
        endpoint.port,
        endpoint.host,
        dual_stack=dual_stack,
        reuse_port=endpoint.flag("reuse_port"),
        broadcast=endpoint.flag("broadcast"),
        ttl=ttl or None,
        max_size=max_size,
        paused=paused,
        scoped=True,
    )


def connect(
    endpoint: Endpoint,
    factory: Any,  # a `DatagramFactory`; `connect` is typed for streams
    *,
    reactor: Reactor,
    timeout: float = 30.0,
    local_address: tuple[str, int] | None = None,
) -> Deferred[IDatagramProtocol]:
    """Connect to ``udp://…`` for `sennit.core.connect`.

    Raises:
        EndpointSyntaxError: The URL names no host or no port.
    """
    if not endpoint.host or not endpoint.port:
        raise EndpointSyntaxError(endpoint.url, "one connects to a host and a port")
    return connect_udp(
        reactor,
        factory,
        endpoint.host,
        endpoint.port,
        local_address=local_address,
        broadcast=endpoint.flag("broadcast"),
        ttl=endpoint.number("ttl", 0, most=255) or None,
        max_size=endpoint.number("max_size", MAX_DATAGRAM) or MAX_DATAGRAM,
        timeout=timeout,
    )
