"""Listeners: descriptors that accept stream connections.

Connections are accepted in batches that grow while the kernel's queue is long
and shrink to one when it is not, so that a lone connection does not pay for
finding out that there is no second. `TCP_NODELAY` is set on the listening
socket, from which Linux hands it down; elsewhere on each connection.

Out of descriptors (EMFILE, ENFILE): one is kept in reserve, given up to take the
connection that waits, and taken again when that was closed; so the peer learns
at once, and the loop does not spin. Failing that, accepting pauses for a second.

Not here: sockets that are bound and listen (``binding.py``).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextvars import copy_context

from sennit.core._implements import implements
from sennit.core.address import address_from_socket
from sennit.core.reactor.pollers import READ
from sennit.core.transport.binding import tcp_sockets, unix_socket
from sennit.core.transport.stream import READ_SIZE, SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.names import Found
    from sennit.core.interfaces import IListener, IPeerLimits, IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor

__all__ = [
    "Listener",
    "is_numeric",
    "listen_tcp",
    "listen_unix",
]

ACCEPTS_PER_TURN: Final = 100
"""Connections accepted in one turn, so that nobody who is connected starves."""
PAUSE: Final = 1.0
"""Seconds without accepting when the system has nothing left to accept with."""
WARN_EVERY: Final = 10.0
"""Seconds between two warnings about that."""

RawSocket = socket.SocketType
# The numbers as C has them: a `socket.socket` makes an enum's member of one whenever it is asked.
_family: Callable[[socket.socket], int] = RawSocket.family.__get__
_type: Callable[[socket.socket], int] = RawSocket.type.__get__
_INHERITS_NODELAY: Final = sys.platform == "linux"
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_NO_MEMORY = frozenset({errno.ENOBUFS, errno.ENOMEM})


@implements("IListener")
class Listener:
    """Accepts the connections of one or more listening sockets.

    Args:
        reactor: Who waits for them.
        sockets: Bound and listening, from now on this object's own.
        factory: Makes a protocol per connection. If it has ``refusal(reason)``,
            the octets that returns are sent to a connection that is shed.
        limits: Decides on each connection first; none when left out.
        unlink: Path of a Unix socket to remove at the end.
        paused: Wait for `resume_accepting` before the first is accepted.
        on_close: Called once when it closes; who shares the sockets with it counts so.
        reserve: Keep a descriptor back for when there are none; a listener for one connection
            does without.

    Attributes:
        connections: The transports that it accepted and that are still there.
        on_empty: Called when the last of them has gone.
        label: The service it accepts for, as metrics and commands name it.
    """

    def __init__(
        self,
        reactor: Reactor,
        sockets: Sequence[socket.socket],
        factory: ProtocolFactory,
        *,
        limits: IPeerLimits | None = None,
        unlink: str | None = None,
        paused: bool = False,
        on_close: Callable[[], object] | None = None,
        reserve: bool = True,
    ) -> None:
        self._reactor = reactor
        self.set_factory(factory)
        self._sockets = list(sockets)
        self._addresses = tuple(address_from_socket(each.getsockname()) for each in sockets)
        self._limits = limits
        self._transport = _transport_kind(sockets)
        self._unlink = (unlink, _inode(unlink)) if unlink is not None else None
        self._context: Context | None = copy_context() or None
        self._acceptors = [_Acceptor(self, each) for each in self._sockets]
        self._keeps_reserve = reserve
        self._reserve = _open_reserve() if reserve else -1
        self._last_warning = -WARN_EVERY
        self._resume_call: Any = None
        self._on_close = on_close
        self._accepting = False
        self._closed = False
        self.connections: set[SocketTransport] = set()
        self.on_empty: Callable[[], object] | None = None
        self.label = ""
        reactor.dependants.add(self)
        if not paused:
            try:
                self.resume_accepting()
            except BaseException:
                self.close()
                raise

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<Listener {', '.join(map(str, self._addresses))}>"

    def set_factory(self, factory: ProtocolFactory) -> None:
        """Make the protocols of later connections with another factory (on reload)."""
        build = getattr(factory, "build_protocol", None)
        self._refusal: Callable[[str], bytes] | None = getattr(factory, "refusal", None)
        self._build: Callable[[Address], IStreamProtocol | None] | None = None
        self._make: Callable[[], IStreamProtocol | None]
        if build is not None and not isinstance(factory, type):
            self._build = build
        elif callable(factory):
            self._make = factory
        else:
            raise TypeError(
                f"{factory!r} builds no protocols: give a callable without arguments "
                "or an object with build_protocol(peer)"
            )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return self._addresses

    @property
    def port(self) -> int:
        """The port of the first address; 0 for a Unix socket."""
        return int(getattr(self._addresses[0], "port", 0))

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets, to hand to another process."""
        return tuple(self._sockets)

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel's queue."""
        if self._resume_call is not None:
            self._resume_call.cancel()
            self._resume_call = None
        if self._accepting:
            self._accepting = False
            for each in self._sockets:
                self._reactor.unwatch(each.fileno())

    def resume_accepting(self) -> None:
        """Accept (again)."""
        if not self._accepting and not self._closed:
            self._accepting = True
            for each in self._acceptors:
                self._reactor.watch(each.fd, READ, each.on_event)

    def accept_now(self, *, paused: bool = False) -> None:
        """Accept what waits already, without having been told of it by the poller.

        Args:
            paused: Also while accepting is paused, one connection at a time: who knows when the
                one he expects ought to be there need not have the poller watch for it.
        """
        for each in self._acceptors:
            if self._accepting or (paused and not self._closed):
                each.on_event(READ)

    def close(self) -> None:
        """Accept no more; connections that stand are not touched. Closing twice is harmless."""
        if self._closed:
            return
        self.pause_accepting()
        self._closed = True
        self._reactor.dependants.discard(self)
        if self._unlink is not None:
            path, inode = self._unlink
            # Only what we made: somebody else may listen there by now.
            if inode is not None and _inode(path) == inode:
                try:
                    os.unlink(path)
                except OSError:
                    pass
        for each in self._sockets:
            each.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
        if self._on_close is not None:
            self._on_close()

    def reactor_stopped(self) -> None:
        """The reactor ends, and so does the listener."""
        self.close()

    def connection_gone(self, transport: SocketTransport) -> None:
        """A connection of ours has ended."""
        self.connections.discard(transport)
        if self._limits is not None:
            self._limits.release(transport.accepted_from)
        if self.on_empty is not None and not self.connections:
            self.on_empty()

    # ── accepting ─────────────────────────────────────────────────────────────

    def take(self, sock: RawSocket, peer: object) -> None:
        """Make a connection of an accepted socket, or shed it."""
        limits = self._limits
        admitted = False
        transport: SocketTransport | None = None
        try:
            if limits is not None:
                reason = limits.admit(peer)
                if reason is not None:
                    self._refuse(sock, reason)
                    return
                admitted = True
            build = self._build
            protocol = self._make() if build is None else build(address_from_socket(peer))
            if protocol is not None:
                sock.setblocking(False)
                context = self._context
                if context is not None:
                    context = context.copy()
                kind = self._transport
                transport = kind(self._reactor, sock, protocol, peer, self, context)
                self.connections.add(transport)
                meter = self._reactor.meter
                if meter is not None:
                    meter.accepted(self, transport)
                transport.start()
                return
        except (KeyboardInterrupt, SystemExit):
            if transport is None:
                sock.close()
            raise
        except BaseException as error:
            # One connection fails, not the listener.
            self._reactor.report(error, f"while {self!r} took a connection")
            if transport is not None:
                self.connections.discard(transport)
        if admitted and limits is not None:
            limits.release(peer)
        sock.close()

    def _refuse(self, sock: RawSocket, reason: str) -> None:
        """Close a surplus connection, having told it why if its protocol has words for that."""
        if self._reactor.meter is not None:
            self._reactor.meter.refused(self, reason)
        refusal = self._refusal
        if refusal is not None:
            try:
                words = refusal(reason)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._reactor.report(error, f"while {self!r} refused a connection")
                words = b""
            try:
                sock.setblocking(False)
                sock.send(words)
                sock.shutdown(socket.SHUT_WR)
                # What was not received when a socket is closed makes a reset of the
                # end, and that can overtake the words.
                sock.recv(READ_SIZE)
            except OSError:
                pass
        sock.close()

    def accept_failed(self, acceptor: _Acceptor, error: OSError) -> None:
        """The system cannot accept; `error` says why."""
        if self._reactor.meter is not None:
            self._reactor.meter.accept_failed(self, error)
        code = error.errno
        if code in _NO_DESCRIPTORS:
            shed = self._shed(acceptor)
            self._warn(error, "a connection was shed" if shed else "accepting pauses")
            if shed:
                return
        elif code in _NO_MEMORY:
            self._warn(error, "accepting pauses")
        elif code in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
            # Closed or shut down under our feet: it will not get better.
            self._reactor.report(error, f"in {self!r}; it is closed")
            self.close()
            return
        else:
            # accept(2): errors of the connection that has just come. Try again.
            return
        self.pause_accepting()
        self._resume_call = self._reactor.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._resume_call = None
        if self._reserve < 0 and self._keeps_reserve:
            self._reserve = _open_reserve()
        self.resume_accepting()

    def _shed(self, acceptor: _Acceptor) -> bool:
        """Take the waiting connection with the reserved descriptor, and close it."""
        if self._reserve < 0:
            return False
        os.close(self._reserve)
        self._reserve = -1
        try:
            sock, _ = acceptor.sock.accept()
        except OSError:
            pass
        else:
            sock.close()
        self._reserve = _open_reserve()
        return self._reserve >= 0

    def _warn(self, error: OSError, outcome: str) -> None:
        now = self._reactor.time()
        if now - self._last_warning >= WARN_EVERY:
            self._last_warning = now
            import logging

            logging.getLogger("sennit").warning(
                "%r cannot accept: %s; %s", self, error.strerror, outcome
            )


class _Acceptor:
    """One listening socket of a listener."""

    __slots__ = ("_accept", "_batch", "_kind", "_listener", "_nodelay", "fd", "sock")

    def __init__(self, listener: Listener, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._listener = listener
        self.sock = sock
        self.fd = sock.fileno()
        # What `socket.accept` calls itself; without the Python object around it.
        self._accept: Callable[[], tuple[int, object]] = sock._accept  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # not in typeshed
        self._kind = (_family(sock), _type(sock), sock.proto)
        self._batch = 1
        self._nodelay = False
        if self._kind[0] != getattr(socket, "AF_UNIX", None):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._nodelay = not _INHERITS_NODELAY

    def on_event(self, mask: int) -> None:
        listener = self._listener
        family, kind, proto = self._kind
        accept, take = self._accept, listener.take
        for taken in range(self._batch):
            try:
                fd, peer = accept()
            except BlockingIOError:
                self._batch = max(taken, 1)
                return
            except (ConnectionAbortedError, InterruptedError):
                continue
            except OSError as error:
                listener.accept_failed(self, error)
                return
            except MemoryError:
                listener.accept_failed(self, OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
                return
            sock = RawSocket(family, kind, proto, fd)
            if self._nodelay:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            take(sock, peer)
            if not listener._accepting:
                return
        self._batch = min(self._batch * 2, ACCEPTS_PER_TURN)


def _transport_kind(sockets: Sequence[socket.socket]) -> type[SocketTransport]:
    """What connections become: those of Unix sockets carry descriptors, too."""
    if sockets and _family(sockets[0]) == getattr(socket, "AF_UNIX", None):
        from sennit.core.transport.descriptors import UnixTransport

        return UnixTransport
    return SocketTransport


def _open_reserve() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return -1


def _inode(path: str) -> tuple[int, int] | None:
    if path.startswith(("@", "\0")):
        return None
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listen_tcp(
    reactor: Reactor,
    factory: ProtocolFactory,
    port: int,
    host: str = "",
    *,
    backlog: int = 1024,
    reuse_port: bool = False,
    limits: IPeerLimits | None = None,
    paused: bool = False,
) -> Deferred[IListener]:
    """`Reactor.listen_tcp`; a name is looked up in a thread, and all its addresses are used."""
    from sennit.core.deferred import maybe_deferred

    if reactor.network is not None:
        network = reactor.network
        return network.listen_tcp(factory, port, host, limits=limits, paused=paused)
    source = reactor.socket_source

    def listen(hosts: Sequence[str]) -> Listener:
        sockets: list[socket.socket] = []
        releases: list[Callable[[], object]] = []

        def release() -> None:
            for each in releases:
                each()

        try:
            for each in hosts:
                chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
                if source is None:
                    sockets += tcp_sockets(each, chosen, backlog=backlog, reuse_port=reuse_port)
                else:
                    found, let_go = source.tcp(each, chosen, backlog, reuse_port)
                    sockets += found
                    releases.append(let_go)
            return Listener(
                reactor, sockets, factory, limits=limits, paused=paused, on_close=release
            )
        except BaseException:
            for sock in sockets:
                sock.close()
            release()
            raise

    if not host or is_numeric(host):
        return maybe_deferred(listen, [host])
    from sennit.core.endpoint.names import look_up

    def unknown(error: BaseException) -> Listener:
        raise OSError(
            getattr(error, "errno", None) or errno.EADDRNOTAVAIL,
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
        ) from error

    def looked_up(found: Sequence[Found]) -> Listener:
        return listen(list(dict.fromkeys(str(each[4][0]) for each in found)))

    return look_up(reactor, host, port).add_callbacks(looked_up, unknown)


def is_numeric(host: str) -> bool:
    """Whether `host` is an address rather than a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def listen_unix(
    reactor: Reactor,
    factory: ProtocolFactory,
    path: str,
    *,
    backlog: int = 1024,
    mode: int = 0o666,
    limits: IPeerLimits | None = None,
    paused: bool = False,
) -> Deferred[IListener]:
    """`Reactor.listen_unix`."""
    from sennit.core.deferred import maybe_deferred

    if reactor.network is not None:
        return reactor.network.listen_unix(factory, path, limits=limits, paused=paused)
    source = reactor.socket_source

    def listen() -> Listener:
        if source is not None:
            # Whoever holds the sockets removes the file, too.
            (sock,), release = source.unix(path, backlog, mode)
            try:
                return Listener(
                    reactor, [sock], factory, limits=limits, paused=paused, on_close=release
                )
            except BaseException:
                sock.close()
                release()
                raise
        sock = unix_socket(path, backlog=backlog, mode=mode)
        unlink = None if path.startswith("@") else path
        try:
            return Listener(reactor, [sock], factory, limits=limits, unlink=unlink, paused=paused)
        except BaseException:
            sock.close()
            if unlink is not None and os.path.lexists(unlink):
                os.unlink(unlink)
            raise

    return maybe_deferred(listen)
