"""The datagrams of a network in memory: lost, late, twice and out of order, if the link says so.

A transport gives each datagram to the network there and then; nothing waits on this side, so
the protocol is never paused. What arrives waits in a queue of bounded size while reading is
paused, as in a kernel, and is dropped and counted past that.

Where nobody listens the sender hears of it (RFC 792, RFC 4443 §3.1: port unreachable).
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from sennit.core._implements import implements
from sennit.core.address import DatagramPath, InternetAddress
from sennit.core.errors import (
    ConnectionAborted,
    DatagramError,
    DatagramTooLongError,
    UsageError,
)
from sennit.core.protocol import adapt_datagram_factory
from sennit.core.reactor.calls import DelayedCall
from sennit.core.testing.hosts import ANY, family_of
from sennit.core.transport.datagram_listening import DatagramListening
from sennit.core.transport.flow import READY
from sennit.core.transport.multicast import is_multicast
from sennit.core.transport.sending import owned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextvars import Context
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer, IDatagramProtocol
    from sennit.core.protocol import DatagramFactory
    from sennit.core.testing.hosts import Host

__all__ = ["MemoryDatagramListener", "MemoryDatagramTransport"]

LONGEST: Final = 65507
"""Octets of the longest datagram that UDP over IPv4 carries (RFC 768, RFC 791)."""
QUEUE: Final = 208 * 1024
"""Octets that wait to be read, as in a kernel by default."""
EVERYBODY: Final = "255.255.255.255"


def _socket_name(address: str, port: int) -> tuple[Any, ...]:
    """Host and port as `socket` names them."""
    return (address, port, 0, 0) if family_of(address) == socket.AF_INET6 else (address, port)


@implements("IDatagramTransport", "IMulticastTransport")
class MemoryDatagramTransport:
    """A datagram socket of a host in memory.

    Args:
        host: Whose it is.
        local: Address and port it is bound to.
        protocol: Who is delivered to.
        peer: The one peer of a connected one.
        max_size: Octets of the longest datagram to receive.
        broadcast: Whether it may send to everybody.
        owner: Is told when it has gone.
        context: Where the protocol's methods are called.
        shared: Let others have the port too.

    Attributes:
        place: Address and port it is bound to.
        max_size: Octets of the longest datagram to receive.
        shared: Whether others may have the port too.
    """

    def __init__(
        self,
        host: Host,
        local: tuple[str, int],
        protocol: IDatagramProtocol,
        *,
        context: Context,
        peer: tuple[str, int] | None = None,
        max_size: int = 65535,
        broadcast: bool = False,
        owner: MemoryDatagramListener | None = None,
        shared: bool = False,
    ) -> None:
        self.max_size = max_size
        self.place = local
        self.shared = shared
        self._host = host
        self._reactor = host.network.reactor
        self._local = InternetAddress(*local)
        self._peer = None if peer is None else InternetAddress(*peer)
        self._protocol = protocol
        self._context = context
        self._broadcast = broadcast
        self._owner = owner
        self._groups: set[tuple[str, str | None]] = set()
        self._loops = True
        self._inbox: deque[tuple[bytes, tuple[Any, ...], str | None]] = deque()
        self._held = 0
        self._drops: dict[str, int] = {}
        self._marks = (16 * 1024, 64 * 1024)
        self._reading = True
        self._delivering = False
        self._close_reason: str | None = None
        host.sockets.append(self)

    def __repr__(self) -> str:
        """Ends and state."""
        ends = f"{self._local}" if self._peer is None else f"{self._local} - {self._peer}"
        return f"<{type(self).__name__} {ends} {self._close_reason or 'open'}>"

    def start(self) -> None:
        """Tell the protocol that it may send.

        Raises:
            BaseException: `connection_made` did; the transport is aborted.
        """
        try:
            self._context.copy().run(self._protocol.connection_made, self)
        except BaseException:
            self.abort("error")
            raise

    # ── who it is ─────────────────────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """The address it is bound to."""
        return self._local

    @property
    def peer(self) -> Address | None:
        """The peer of a connected one, else ``None``."""
        return self._peer

    @property
    def close_reason(self) -> str | None:
        """Why it ended; ``None`` while it is open."""
        return self._close_reason

    @property
    def drops(self) -> Mapping[str, int]:
        """Datagrams dropped here, by limit: ``limit:read-queue``, ``limit:datagram-size``."""
        return dict(self._drops)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``peername``, ``sockname``, ``reactor``."""
        if name == "peername" and self._peer is not None:
            return _socket_name(self._peer.host, self._peer.port)
        if name == "sockname":
            return _socket_name(*self.place)
        if name == "reactor":
            return self._reactor
        return default

    def get_protocol(self) -> IDatagramProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IDatagramProtocol) -> None:
        """Deliver to `protocol` from now on."""
        self._protocol = protocol

    # ── sending ───────────────────────────────────────────────────────────────

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram; ignored after the end.

        Raises:
            DatagramTooLongError: UDP carries none that long.
            UsageError: `addr` is missing, no address in digits, or not the peer.
            TypeError: `data` is not bytes-like.
        """
        octets = bytes(data if isinstance(data, bytes) else owned(data))
        to = self._destination(addr)
        if len(octets) > LONGEST:
            raise DatagramTooLongError(
                f"a datagram of {len(octets)} octets: UDP carries {LONGEST} at most"
            )
        if self._close_reason is not None:
            return
        if to[0] == EVERYBODY and not self._broadcast:
            self._fail_later(errno.EACCES, to, "broadcast is not allowed: broadcast=True")
            return
        self._host.network.post(self._host, self, to, octets)

    def _destination(self, addr: Any) -> tuple[str, int]:
        if addr is None:
            if self._peer is None:
                raise UsageError("a datagram needs an address: this transport is not connected")
            return self._peer.host, self._peer.port
        try:
            host, port, *_ = addr
        except (TypeError, ValueError):
            host = port = None
        if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65536:
            raise UsageError(f"{addr!r} is no UDP address: write (host, port)")
        if self._peer is not None and (host, port) != (self._peer.host, self._peer.port):
            raise UsageError(f"this transport is connected to {self._peer}, not to {addr!r}")
        if not family_of(host):
            raise UsageError(f"one sends to addresses, not to {host!r}: names are looked up first")
        return host, port

    def send_on_path(self, data: Buffer, path: DatagramPath) -> None:
        """Send one datagram to `path.peer`."""
        self.sendto(data, path.peer)

    def source_for(self, destination: str) -> tuple[str, int]:
        """The address and port that a datagram leaves from."""
        address, port = self.place
        return (self._host.source_for(destination) if address in ANY else address), port

    def writable(self) -> Awaitable[None]:
        """There is always room."""
        return READY

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Kept, though nothing waits here.

        Raises:
            ValueError: Not ``0 <= low <= high``.
        """
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        low = high // 4 if low is None else low
        if not 0 <= low <= high:
            raise ValueError(f"not 0 <= low ({low}) <= high ({high})")
        self._marks = (low, high)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks, ``(low, high)``."""
        return self._marks

    def get_write_buffer_size(self) -> int:
        """None wait."""
        return 0

    # ── receiving ─────────────────────────────────────────────────────────────

    def hears(self, group: str, source: str) -> bool:
        """Whether it joined a group, for that sender."""
        return (group, None) in self._groups or (group, source) in self._groups

    @property
    def loops(self) -> bool:
        """Whether this host's own members hear what it sends to groups."""
        return self._loops

    def wants(self, source: tuple[str, int]) -> bool:
        """Whether a datagram from there is for it: one that is connected hears its peer alone."""
        return self._peer is None or (self._peer.host, self._peer.port) == source

    def arrive(self, data: bytes, source: tuple[str, int], group: str | None = None) -> None:
        """A datagram has come."""
        if self._close_reason is not None:
            return
        if len(data) > self.max_size:
            self._count("limit:datagram-size")
            problem = f"a datagram longer than {self.max_size} octets was dropped"
            self._fail_later(errno.EMSGSIZE, source, problem)
            return
        if self._held + len(data) > QUEUE:
            self._count("limit:read-queue")
            return
        self._held += len(data)
        self._inbox.append((data, _socket_name(*source), group))
        self._deliver_later()

    def _count(self, limit: str) -> None:
        self._drops[limit] = self._drops.get(limit, 0) + 1

    def unreachable(self, to: tuple[str, int], code: int, text: str = "") -> None:
        """The network says that a datagram did not arrive."""
        self._fail_later(code, to, text or os.strerror(code))

    def _fail_later(self, code: int, peer: tuple[str, int], text: str) -> None:
        name = _socket_name(*peer)
        kind = (3, 1) if family_of(peer[0]) == socket.AF_INET6 else (3, 3)
        kind = (1, 4) if kind == (3, 1) else kind
        icmp = kind if code == errno.ECONNREFUSED else None
        error = DatagramError(code, f"{InternetAddress(*peer)}: {text}", peer=name, icmp=icmp)
        self._queue(self._tell, error)

    def _tell(self, error: DatagramError) -> None:
        if self._close_reason is None:
            self._call("error_received", self._protocol.error_received, error)

    def _queue(self, fn: Callable[..., object], *args: Any) -> None:
        self._reactor.queue(DelayedCall(fn, args, self._context))

    def _deliver_later(self) -> None:
        if not self._delivering and self._reading:
            self._delivering = True
            self._queue(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        while self._inbox and self._reading and self._close_reason is None:
            data, peer, group = self._inbox.popleft()
            self._held -= len(data)
            on_path = getattr(self._protocol, "datagram_received_on_path", None)
            if on_path is None:
                self._call("datagram_received", self._protocol.datagram_received, data, peer)
                continue
            local = InternetAddress(*self.source_for(peer[0]))
            to = None if group is None else InternetAddress(group, local.port)
            path = DatagramPath(peer, local, to)
            self._call("datagram_received_on_path", on_path, data, path)

    def _call(self, method: str, fn: Callable[..., object], *args: Any) -> None:
        """Call the protocol; what it raises is logged, and ends nothing."""
        try:
            fn(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            from sennit.core._faultlog import log_bug

            log_bug(type(self._protocol).__qualname__, self, method, error)

    def pause_reading(self) -> None:
        """Leave datagrams in the queue, which drops what it has no room for."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        self._reading = True
        if self._inbox:
            self._deliver_later()

    def is_reading(self) -> bool:
        """Whether datagrams would be delivered now."""
        return self._reading and self._close_reason is None

    # ── groups ────────────────────────────────────────────────────────────────

    def join_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive what is sent to `group`; there is one network, so `interface` says nothing.

        Raises:
            UsageError: That is no group.
        """
        if not is_multicast(group):
            raise UsageError(f"{group!r} is no multicast group (224.0.0.0/4, ff00::/8)")
        self._groups.add((group, source))

    def leave_group(
        self, group: str, *, interface: str | int | None = None, source: str | None = None
    ) -> None:
        """Receive it no more.

        Raises:
            OSError: It was not joined.
        """
        if (group, source) not in self._groups:
            raise OSError(errno.EADDRNOTAVAIL, f"{group} was not joined")
        self._groups.discard((group, source))

    def set_multicast_ttl(self, hops: int) -> None:
        """There are no routers here, only a number to check.

        Raises:
            UsageError: It is not from 0 to 255.
        """
        if not 0 <= hops <= 255:
            raise UsageError(f"a datagram passes from 0 to 255 routers, not {hops}")

    def set_multicast_loop(self, loop: bool) -> None:
        """Whether this host's own members hear what is sent from here."""
        self._loops = loop

    def set_multicast_interface(self, interface: str | int) -> None:
        """There is one network."""

    # ── the end ───────────────────────────────────────────────────────────────

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._close_reason is not None

    def close(self, reason: str = "clean") -> None:
        """Receive no more."""
        self._end(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Receive no more; the protocol is told that it was aborted."""
        self._end(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def _end(self, error: ConnectionAborted | None, reason: str) -> None:
        if self._close_reason is not None:
            return
        self._close_reason = reason
        if self in self._host.sockets:
            self._host.sockets.remove(self)
        self._inbox.clear()
        self._queue(self._finish, error)

    def _finish(self, error: ConnectionAborted | None) -> None:
        self._call("connection_lost", self._protocol.connection_lost, error)
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.connection_gone(self)


@implements("IListener", "IDatagramListener")
class MemoryDatagramListener(DatagramListening["MemoryDatagramTransport"]):
    """Bound datagram sockets of a host in memory, under the verbs of a listener."""

    def __init__(
        self,
        host: Host,
        places: Sequence[tuple[str, int]],
        factory: DatagramFactory,
        *,
        max_size: int,
        broadcast: bool,
        paused: bool,
        scoped: bool,
        groups: Sequence[str] = (),
        shared: bool = False,
    ) -> None:
        addresses = tuple(InternetAddress(*each) for each in places)
        super().__init__(addresses, paused=paused, scoped=scoped)
        context = host.context()
        build = adapt_datagram_factory(factory)
        for place in places:
            made = MemoryDatagramTransport(
                host,
                place,
                context.copy().run(build, InternetAddress(*place)),
                context=context.copy(),
                max_size=max_size,
                broadcast=broadcast,
                owner=self,
                shared=shared,
            )
            for group in groups:
                made.join_group(group)
            if paused:
                made.pause_reading()
            self._transports.append(made)
        self._alive.update(self._transports)
        for made in self._transports:
            made.start()
