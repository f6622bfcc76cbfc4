"""The contracts of datagrams, of multicast, and of descriptors that go over Unix sockets.

A module of its own since ``sennit.core.interfaces``, which has all of these names too,
is long enough without them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol as Interface

    from sennit.core.address import Address, DatagramPath
    from sennit.core.deferred import Deferred

    Buffer = bytes | bytearray | memoryview
else:
    from sennit.core._contract import Interface

__all__ = [
    "IDatagramListener",
    "IDatagramProtocol",
    "IDatagramProtocolFactory",
    "IDatagramReactor",
    "IDatagramTransport",
    "IDescriptorTransport",
    "IMulticastTransport",
]


class IDatagramProtocol(Interface):
    """What a datagram transport calls: asyncio's `DatagramProtocol`, under asyncio's names.

    One that has ``datagram_received_on_path(data, path)`` gets that in the place of
    `datagram_received`, and one that has ``descriptors_received(descriptors)`` gets
    those that came with a datagram just before it (Unix sockets).
    """

    def connection_made(self, transport: Any) -> object:
        """Datagrams may be sent. (`Any`: a protocol may narrow it to its transport.)"""

    def datagram_received(self, data: Any, peer: Any) -> object:
        """A datagram has come from `peer`, as `socket` names it."""

    def error_received(self, exc: Any) -> object:
        """A `DatagramError`: the network says something of a datagram. It ends nothing."""

    def connection_lost(self, exc: Exception | None) -> object:
        """The transport is closed."""

    def pause_writing(self) -> object:
        """Too much waits to be sent."""

    def resume_writing(self) -> object:
        """There is room again."""


class IDatagramProtocolFactory(Interface):
    """Makes the protocol of a datagram socket. A callable without arguments adapts to it."""

    def build_datagram_protocol(self, local: Any) -> IDatagramProtocol:
        """A protocol for the socket that is bound to `local` (an `Address`)."""
        ...


class IDatagramTransport(Interface):
    """A datagram socket: all that `asyncio.DatagramTransport` has, and what servers miss in it.

    Its `close_reason` is ``clean``, ``aborted``, ``drained`` or ``error``. Errors of the
    network end nothing, nor do exceptions of the protocol, which are logged.
    """

    @property
    def local(self) -> Address | None:
        """The address it is bound to."""
        ...

    @property
    def peer(self) -> Address | None:
        """The peer of a connected transport, else ``None``."""
        ...

    @property
    def close_reason(self) -> str | None:
        """Why it ended or is ending; ``None`` while it is open."""
        ...

    @property
    def drops(self) -> Mapping[str, int]:
        """Datagrams dropped so far, by the name of the limit."""
        ...

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram, at once where the system takes it. Ignored after the end.

        `addr` is what `datagram_received` was given, or an `Address`, or (host in
        digits, port), or a Unix socket's path; nothing on a connected transport.
        Raises `DatagramTooLongError`, and `UsageError` for what is no address.
        """

    def send_on_path(self, data: Buffer, path: DatagramPath) -> None:
        """Send one datagram to `path.peer`, from `path.local`."""

    def writable(self) -> Awaitable[None]:
        """Wait until more may be sent; free when there is room."""
        ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Marks in octets at which `pause_writing` and `resume_writing` are called."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks, ``(low, high)``."""
        ...

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent."""
        ...

    def pause_reading(self) -> None:
        """Leave datagrams in the kernel's queue, which drops what it has no room for."""

    def resume_reading(self) -> None:
        """Go on reading."""

    def is_reading(self) -> bool:
        """Whether datagrams would be delivered now."""
        ...

    def close(self, reason: str = "clean") -> None:
        """Send what waits, then close. No more is received."""

    def abort(self, reason: str = "aborted") -> None:
        """Close now, throw away what waits."""

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        ...

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to `protocol`, an `IDatagramProtocol`, from now on."""

    def get_protocol(self) -> Any:
        """Who is delivered to."""
        ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's open-ended questions: ``peername``, ``sockname``, ``socket`` …"""
        ...


class IMulticastTransport(IDatagramTransport, Interface):
    """A UDP transport, which may join multicast groups (RFC 1112, RFC 3678, RFC 3493 §5.2).

    An interface is given by name (``eth0``), by index, or (IPv4) by its address.
    """

    def join_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive what is sent to `group`; with `source` only what that host sends there."""

    def leave_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive it no more; arguments as they were for `join_group`."""

    def set_multicast_ttl(self, hops: int) -> None:
        """Routers that a datagram to a group may pass: 1 (the default) stays on this network."""

    def set_multicast_loop(self, loop: bool) -> None:
        """Whether this host's own members hear what is sent from here (they do by default)."""

    def set_multicast_interface(self, interface: str | int) -> None:
        """Send to groups through this interface."""


class IDescriptorTransport(Interface):
    """A transport over a Unix socket, which carries descriptors of open files too.

    A protocol that has a method ``descriptors_received(descriptors)`` receives them:
    a `sennit.core.transport.descriptors.ReceivedDescriptors`, called before the octets
    (or the datagram) they came with. Those it does not take are closed when it returns.
    """

    def send_descriptors(self, fds: Sequence[int], data: Buffer) -> None:
        """Send octets with descriptors attached, in order with what else is sent.

        They are duplicated at once, so the caller may close its own. On a datagram
        transport that is not connected the address follows.
        """


class IDatagramListener(Interface):
    """What listens for datagrams: a transport per socket. Also an `IListener`."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real port where 0 was asked for."""
        ...

    @property
    def port(self) -> int:
        """The port of the first address (0 for a Unix socket)."""
        ...

    @property
    def transports(self) -> tuple[Any, ...]:
        """One `IMulticastTransport` per address (for Unix sockets an `IDatagramTransport`)."""
        ...

    @property
    def connections(self) -> Any:
        """None while it listens; while it closes, the transports that still have to send."""
        ...

    def pause_accepting(self) -> None:
        """Leave datagrams in the kernel's queue."""

    def resume_accepting(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Receive no more; what waits is sent, then the sockets are closed."""


class IDatagramReactor(Interface):
    """What a reactor offers for datagrams (a part of `IReactor`)."""

    def listen_udp(
        self,
        factory: IDatagramProtocolFactory | Callable[[], IDatagramProtocol],
        port: int,
        host: str = "",
        **options: Any,
    ) -> Deferred[IDatagramListener]:
        """Receive UDP datagrams; an empty `host` means every interface of both families.

        There is a protocol per socket. Options: `sennit.core.transport.udp.listen_udp`.
        """
        ...

    def connect_udp(
        self,
        factory: IDatagramProtocolFactory | Callable[[], IDatagramProtocol],
        host: str,
        port: int,
        **options: Any,
    ) -> Deferred[IDatagramProtocol]:
        """Exchange UDP datagrams with one peer alone; fires with the protocol."""
        ...

    def listen_multicast(
        self,
        factory: IDatagramProtocolFactory | Callable[[], IDatagramProtocol],
        port: int,
        groups: Sequence[str] = (),
        **options: Any,
    ) -> Deferred[IDatagramListener]:
        """Receive what is sent to multicast groups, at a port that others may listen on, too."""
        ...

    def listen_unix_datagram(
        self,
        factory: IDatagramProtocolFactory | Callable[[], IDatagramProtocol],
        path: str,
        **options: Any,
    ) -> Deferred[IDatagramListener]:
        """Receive datagrams at a Unix socket; replaces a socket file that nobody serves."""
        ...

    def connect_unix_datagram(
        self,
        factory: IDatagramProtocolFactory | Callable[[], IDatagramProtocol],
        path: str,
        **options: Any,
    ) -> Deferred[IDatagramProtocol]:
        """Exchange datagrams with one Unix socket; fires with the protocol."""
        ...
