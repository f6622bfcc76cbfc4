"""UDP: sockets of both families, what only they have beside `DatagramTransport`, and listeners.

An unconnected socket on Linux asks for a queue of errors (`udp_control`), so that a
protocol learns which of its peers cannot be reached. A protocol that asks for paths
(``datagram_received_on_path``) on a socket bound to every address gets each
datagram with the address it was sent to, at the price of a ``recvmsg``.

Sources: RFC 768, RFC 1122 §4.1.3, RFC 3493 §5.3 (dual stack).
Not here: names and URLs (``sennit.core.endpoint.udp``).
"""

from __future__ import annotations

import errno
import socket
import sys
from contextvars import Context, copy_context

from sennit.core._implements import implements
from sennit.core.address import DatagramPath, InternetAddress, address_from_socket
from sennit.core.errors import UsageError
from sennit.core.reactor.pollers import READ
from sennit.core.transport.datagram_listening import DatagramListening
from sennit.core.transport.datagrams import (
    DATAGRAMS_PER_TURN,
    ERRORS_PER_TURN,
    MAX_DATAGRAM,
    OCTETS_PER_TURN,
    DatagramTransport,
)
from sennit.core.transport.sending import GONE
from sennit.core.transport.udp_control import (
    ANCILLARY_SIZE,
    ask_for_destinations,
    ask_for_errors,
    destination_of,
    error_of,
    leave_from,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from sennit.core.interfaces import Buffer, IDatagramProtocol
    from sennit.core.protocol import DatagramFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.datagrams import Owner

__all__ = ["DatagramListener", "UDPTransport", "tune", "udp_socket"]

_WILDCARDS: Final = ("0.0.0.0", "::")
_MAPPED: Final = "::ffff:"
"""What an IPv4 address looks like on a socket that serves both families (RFC 4291 §2.5.5.2)."""
_MAPPED_PACKED: Final = bytes(10) + b"\xff\xff"
_UNREACHABLE = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ECONNRESET,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EACCES,
    }
)
"""What an ICMP error becomes on a connected socket (RFC 1122 §4.1.3.3, udp(7))."""
# Past a named tuple's own, which is a function in Python.
_new_tuple: Any = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # generic
_MOST_ADDRESSES: Final = 64
"""Addresses of this host that are remembered in their text form."""


@implements("IMulticastTransport")
class UDPTransport(DatagramTransport):
    """One UDP socket (arguments as for `DatagramTransport`)."""

    __slots__ = (
        "_addresses",
        "_broadcast",
        "_dual",
        "_errors_kept",
        "_leaving",
        "_on_path",
        "_port",
        "_ways",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        protocol: IDatagramProtocol,
        *,
        connected: bool = False,
        max_size: int = MAX_DATAGRAM,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        self._errors_kept = ask_for_errors(sock)
        self._dual = sock.family == socket.AF_INET6 and not sock.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        self._on_path: Callable[[bytes, DatagramPath], object] | None = None
        self._addresses: dict[bytes, InternetAddress] = {}
        # What was made of ancillary data, and ancillary data that were made, for the few
        # addresses that a host has: either costs more than a system call.
        self._ways: dict[bytes, tuple[Any, Any, int]] = {}
        self._leaving: dict[tuple[Any, int], Any] = {}
        self._port = 0
        super().__init__(
            reactor,
            sock,
            protocol,
            connected=connected,
            max_size=max_size,
            owner=owner,
            context=context,
        )

    # ── addresses ─────────────────────────────────────────────────────────────

    def _checked(self, addr: Any) -> Any:
        """Host and port in the form of the socket's family; no name is looked up."""
        try:
            host, port, *more = addr
        except (TypeError, ValueError):
            raise UsageError(f"{addr!r} is no UDP address: write (host, port)") from None
        if not isinstance(host, str) or not isinstance(port, int):
            raise UsageError(f"{addr!r} is no UDP address: write (host, port)")
        if not 0 < port < 65536:
            raise UsageError(f"one sends to a port from 1 to 65535, not {port}")
        if self._sock.family == socket.AF_INET:
            if host == "<broadcast>":
                host = "255.255.255.255"
            if _is(socket.AF_INET, host):
                return host, port
        elif _is(socket.AF_INET6, host.partition("%")[0]):
            return (host, port, *more)
        elif self._dual and _is(socket.AF_INET, host):
            return _MAPPED + host, port
        kind = "IPv4" if self._sock.family == socket.AF_INET else "IPv6"
        raise UsageError(
            f"this socket sends to addresses of {kind}, not to {host!r}: names are looked up first"
        )

    # ── errors ────────────────────────────────────────────────────────────────

    @property
    def _reports(self) -> bool:
        return self._errors_kept

    def _pending(self, code: int | None) -> bool:
        return code in _UNREACHABLE

    def _take_errors(self) -> int:
        """Read the kernel's queue of errors (MSG_ERRQUEUE, recvmsg(2))."""
        if not self._errors_kept:
            return 0
        taken = 0
        while taken < ERRORS_PER_TURN and self._state != GONE:
            try:
                _, ancillary, _, peer = self._sock.recvmsg(0, ANCILLARY_SIZE, socket.MSG_ERRQUEUE)
            except OSError:
                break
            taken += 1
            found = error_of(ancillary, peer)
            if found is not None:
                self._tell_error(self._kept(found))
        return taken

    def _kept(self, error: OSError) -> OSError:
        """An error from the queue, as the protocol gets it."""
        return error

    # ── paths ─────────────────────────────────────────────────────────────────

    def set_protocol(self, protocol: IDatagramProtocol) -> None:
        """Deliver to `protocol` from now on."""
        self._on_path = None
        super().set_protocol(protocol)

    def _prepare_paths(self, on_path: Callable[[bytes, DatagramPath], object]) -> None:
        local = self._sock.getsockname()
        if not self._connected and local[0] in _WILDCARDS and ask_for_destinations(self._sock):
            self._on_path = on_path
            self._port = local[1]
        else:
            super()._prepare_paths(on_path)

    def _reader(self) -> Callable[[int], object]:
        return self._on_event if self._on_path is None else self._on_event_with_paths

    def _on_event_with_paths(self, mask: int) -> None:
        """Receive a batch with the destination of each datagram."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        receive, deliver, most = self._sock.recvmsg, self._on_path, self._max_size
        batch, octets, ways = self._batch, 0, self._ways
        for taken in range(batch):
            try:
                data, ancillary, flags, peer = receive(most, ANCILLARY_SIZE)
            except BlockingIOError:
                self._batch = max(taken, 1)
                return
            except (OSError, MemoryError) as error:
                if not self._receive_failed(error):
                    return
                continue
            octets += len(data)
            if flags & socket.MSG_TRUNC:
                self._too_long(peer)
                if not self.is_reading():
                    return
                continue
            self._known = peer
            try:
                if deliver is not None:
                    # Nothing but where it was sent to was asked for, so one piece has it all.
                    way = ways.get(ancillary[0][2]) if len(ancillary) == 1 else None
                    if way is None:
                        path = self._path(peer, ancillary)
                    else:
                        path = _new_tuple(DatagramPath, (peer, *way))
                    deliver(data, path)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "datagram_received_on_path")
            if octets >= OCTETS_PER_TURN or not self.is_reading():
                return
        if batch < DATAGRAMS_PER_TURN:
            self._batch = batch * 2

    def _path(self, peer: Any, ancillary: Any) -> DatagramPath:
        way = self._way(ancillary)
        if len(ancillary) == 1:
            if len(self._ways) >= _MOST_ADDRESSES:
                self._ways.clear()
            self._ways[ancillary[0][2]] = way
        return DatagramPath(peer, *way)

    def _way(self, ancillary: Any) -> tuple[Any, Any, int]:
        """Local address, destination where that is another one, and interface."""
        asked = destination_of(ancillary)
        if asked is None:
            return None, None, 0
        local = None if asked.packed is None else self._address(asked.packed)
        if asked.packed == asked.destination:
            return local, None, asked.interface
        return local, self._address(asked.destination), asked.interface

    def _address(self, packed: bytes) -> InternetAddress:
        """This host's address in its text form, which is seldom a new one."""
        found = self._addresses.get(packed)
        if found is None:
            if len(packed) == 16 and packed.startswith(_MAPPED_PACKED):
                host = socket.inet_ntop(socket.AF_INET, packed[12:])
            else:
                family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
                host = socket.inet_ntop(family, packed)
            found = InternetAddress(host, self._port)
            if len(self._addresses) >= _MOST_ADDRESSES:
                # Destinations may be the peers' choice: groups, or a whole routed prefix.
                self._addresses.clear()
            self._addresses[packed] = found
        return found

    def send_on_path(self, data: Buffer, path: DatagramPath) -> None:
        """Send one datagram to `path.peer`, from `path.local` where the socket is bound to all.

        Where `local` is ``None`` and `interface` is not 0 it leaves through that one.
        """
        addr, local, _, interface = path
        try:
            ancillary = self._leaving[local, interface]
        except (KeyError, TypeError):
            ancillary = self._ancillary(path)
            if ancillary is None:
                self.sendto(data, addr)
                return
        if addr is self._known:
            if type(data) is bytes and not self._out and not self._state:
                try:
                    self._sock.sendmsg((data,), ancillary, 0, addr)
                    return
                except OSError:
                    pass  # tried again below, where all is seen to that can be wrong
        else:
            addr = self._destination(addr)
        self._send_with(data, addr, ancillary)

    def _ancillary(self, path: DatagramPath) -> Any:
        if self._connected or (not self._port and self._bound_to_one()):
            return None
        local, interface = path.local, path.interface
        if local is None:
            return leave_from(self._sock.family, None, interface) if interface else None
        made = self._leave_from(local, interface)
        if len(self._leaving) >= _MOST_ADDRESSES:
            self._leaving.clear()
        self._leaving[local, interface] = made
        return made

    def _leave_from(self, local: Any, interface: int) -> Any:
        """Ancillary data for a datagram that leaves from `local`."""
        family = self._sock.family
        if not isinstance(local, InternetAddress):
            raise UsageError(f"UDP leaves from no {local!r}")
        host = local.host
        if family == socket.AF_INET6 and ":" not in host:
            host = _MAPPED + host
        try:
            packed = socket.inet_pton(family, host.partition("%")[0])
        except OSError as error:
            raise UsageError(f"{local} is no address of this socket's family") from error
        # An address of one link needs to be told which (RFC 4007 §6).
        scope = interface if host.startswith("fe80:") else 0
        return leave_from(family, packed, scope)

    def _bound_to_one(self) -> bool:
        """Whether there is only one address to leave from; looks once."""
        name = self._sock.getsockname()
        if name[0] not in _WILDCARDS:
            return True
        self._port = name[1]
        return False

    # ── multicast ─────────────────────────────────────────────────────────────

    def join_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive what is sent to `group`; with `source` only what that host sends there.

        Args:
            group: Such as ``239.1.2.3``, ``ff02::fb``, ``ff02::fb%eth0``.
            interface: Name, index, or (IPv4) address; the system's choice when left out.
            source: Address of the one sender to listen to (RFC 4607); join again for more.

        Raises:
            UsageError: That is no group, interface or source of this socket's family.
            OSError: The system refuses it; the text says what was asked.
        """
        from sennit.core.transport.multicast import Member, set_membership

        set_membership(self._sock, Member(self._sock.family, group, interface, source), True)

    def leave_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive it no more; arguments as they were for `join_group`."""
        from sennit.core.transport.multicast import Member, set_membership

        set_membership(self._sock, Member(self._sock.family, group, interface, source), False)

    def set_multicast_ttl(self, hops: int) -> None:
        """Routers that a datagram to a group may pass: 1 (the default) stays on this network."""
        from sennit.core.transport.multicast import set_reach

        set_reach(self._sock, hops=hops)

    def set_multicast_loop(self, loop: bool) -> None:
        """Whether this host's own members hear what is sent from here (they do by default)."""
        from sennit.core.transport.multicast import set_reach

        set_reach(self._sock, loop=loop)

    def set_multicast_interface(self, interface: str | int) -> None:
        """Send to groups through this interface: name, index, or (IPv4) its address."""
        from sennit.core.transport.multicast import set_outgoing_interface

        set_outgoing_interface(self._sock, interface)


def _is(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def udp_socket(
    host: str,
    port: int,
    *,
    dual_stack: bool = False,
    reuse_port: bool = False,
    reuse_address: bool = False,
    broadcast: bool = False,
    ttl: int | None = None,
) -> socket.socket:
    """A non-blocking UDP socket bound to a numeric address.

    Args:
        host: Of either family.
        port: 0 lets the system choose.
        dual_stack: Whether a socket on ``::`` serves IPv4 as well, whose peers it
            sees as ``::ffff:127.0.0.1``.
        reuse_port: Let other sockets have the port too, and share the datagrams.
        reuse_address: Let other sockets have the port too, and all of them receive
            what is sent to groups.
        broadcast: Allow sending to broadcast addresses.
        ttl: Routers that a datagram may pass; the system's choice when left out.

    Raises:
        OSError: The address is in use or not ours; `strerror` names it.
        UsageError: `ttl` is not from 1 to 255.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        if reuse_address:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT") and sys.platform != "linux":
                # The BSDs mean by that what Linux means by the other.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tune(sock, broadcast=broadcast, ttl=ttl)
        try:
            if family == socket.AF_INET6:
                address, _, scope = host.partition("%")
                index = (
                    int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
                )
                sock.bind((address, port, 0, index))
            else:
                sock.bind((host, port))
        except OSError as error:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            text = error.strerror or str(error)
            raise OSError(error.errno, f"cannot listen on udp {shown}: {text}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket, *, broadcast: bool = False, ttl: int | None = None) -> None:
    """Set what a socket may be told after it was bound, too.

    Raises:
        UsageError: `ttl` is not from 1 to 255.
    """
    if broadcast:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if ttl is not None:
        if not 1 <= ttl <= 255:
            raise UsageError(f"ttl is a number from 1 to 255, not {ttl}")
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


@implements("IListener", "IDatagramListener")
class DatagramListener(DatagramListening["DatagramTransport"]):
    """The transports of one or more bound datagram sockets, under the verbs of a listener.

    Args:
        reactor: Who waits for them.
        sockets: Bound, from now on this object's own.
        factory: Makes a protocol per socket.
        transport: The kind of transport, `UDPTransport` when left out.
        max_size: Octets of the longest datagram to receive.
        paused: Wait for `resume_accepting` before the first is received.
        scoped: Whether somebody else (`Server`) asks `connections` to end after
            `close`; else `close` does.
        release: Called when all sockets are closed.
    """

    def __init__(
        self,
        reactor: Reactor,
        sockets: Sequence[socket.socket],
        factory: DatagramFactory,
        *,
        transport: type[DatagramTransport] | None = None,
        max_size: int = MAX_DATAGRAM,
        paused: bool = False,
        scoped: bool = False,
        release: Callable[[], object] | None = None,
    ) -> None:
        from sennit.core.protocol import DatagramProtocol, adapt_datagram_factory

        build = adapt_datagram_factory(factory)
        kind = transport or UDPTransport
        started = 0
        context = copy_context() or None
        addresses = tuple(address_from_socket(each.getsockname()) for each in sockets)
        super().__init__(addresses, paused=paused, scoped=scoped)
        self._sockets = tuple(sockets)
        self._release = release
        try:
            for sock, address in zip(self._sockets, self._addresses, strict=True):
                sock.setblocking(False)
                made = kind(
                    reactor,
                    sock,
                    build(address),
                    max_size=max_size,
                    owner=self,
                    context=None if context is None else context.copy(),
                )
                self._transports.append(made)
                self._alive.add(made)
                if paused:
                    made.pause_reading()
            for made in self._transports:
                started += 1
                made.start()
        except BaseException:
            self._closed = True
            for made in self._transports[started:]:
                # Who was told of no beginning is told of no end.
                made.set_protocol(DatagramProtocol())
            for made in self._transports:
                made.abort("error")
            for sock in self._sockets[len(self._transports) :]:
                sock.close()
            if not self._transports:
                self._let_go()
            raise

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets, to hand to another process."""
        return self._sockets

    def _let_go(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
