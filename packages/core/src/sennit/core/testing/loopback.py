"""Two protocols joined by a real connection of this machine; ports that refuse, ports to give.

For tests of what only a kernel does: full socket buffers, resets, half-closed
connections, refusals. Where that does not matter, `sennit.core.transport.memory.memory_pair`
is quicker and always the same.
"""

from __future__ import annotations

import errno
import socket
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from sennit.core.transport.binding import system_ports
from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from typing import Final, Literal

    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.reactor.base import Reactor

    Kind = Literal["tcp", "tcp6", "unix"]
    RefusingKind = Literal["tcp", "tcp6", "udp", "udp6"]

__all__ = ["LoopbackPair", "free_port", "loopback_pair", "loopback_sockets", "refusing_socket"]

_HOSTS: Final = {
    "tcp": (socket.AF_INET, ("127.0.0.1", 0)),
    "tcp6": (socket.AF_INET6, ("::1", 0)),
}
_PATIENCE: Final = 5.0
"""Seconds a connection to this very machine may take."""
_PORTS: Final = range(10_240, 65_536)
"""What `free_port` chooses from; where servers are expected is below."""
_ENOUGH: Final = 1000

_given: set[int] = set()


class LoopbackPair(NamedTuple):
    """The two ends of a connection.

    Attributes:
        first: The end of the protocol given first, the one that connected.
        second: The end that was accepted.
    """

    first: SocketTransport
    second: SocketTransport


def loopback_sockets(
    kind: Kind = "tcp", *, buffer: int | None = None
) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, not blocking: who connected, who was accepted.

    Args:
        kind: ``tcp`` over 127.0.0.1, ``tcp6`` over ::1, or ``unix``.
        buffer: Octets for each of the kernel's buffers, as far as it listens;
            a small one fills quickly.

    Raises:
        ValueError: There is no such kind.
        OSError: The machine does not have it.
    """
    if kind == "unix":
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for each in (first, second):
            _shrink(each, buffer)
    elif kind in _HOSTS:
        family, address = _HOSTS[kind]
        first = socket.socket(family, socket.SOCK_STREAM)
        with socket.socket(family, socket.SOCK_STREAM) as listening:
            try:
                # What is accepted has the buffers of the socket that listened.
                _shrink(listening, buffer)
                _shrink(first, buffer)
                listening.bind(address)
                listening.listen(1)
                listening.settimeout(_PATIENCE)
                first.settimeout(_PATIENCE)
                first.connect(listening.getsockname())
                second, _ = listening.accept()
            except BaseException:
                first.close()
                raise
    else:
        raise ValueError(f"a loopback pair is tcp, tcp6 or unix, not {kind!r}")
    for each in (first, second):
        each.setblocking(False)
        if kind != "unix":
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return first, second


def loopback_pair(
    first: IStreamProtocol,
    second: IStreamProtocol,
    kind: Kind = "tcp",
    *,
    reactor: Reactor | None = None,
    buffer: int | None = None,
) -> LoopbackPair:
    """Connect two protocols by a real connection of this machine.

    Args:
        first: The protocol of the end that connects.
        second: The protocol of the end that is accepted.
        kind: ``tcp`` over 127.0.0.1, ``tcp6`` over ::1, or ``unix``.
        reactor: Whose turns move the octets; the one that runs when left out.
        buffer: Octets for each of the kernel's buffers.

    Returns:
        The transports; both protocols have been told that they are connected.
    """
    if reactor is None:
        from sennit.core.reactor.base import current_reactor

        reactor = current_reactor()
    context = copy_context() or None
    sockets = loopback_sockets(kind, buffer=buffer)
    transport = SocketTransport
    if kind == "unix":
        from sennit.core.transport.descriptors import UnixTransport

        transport = UnixTransport
    ends = [
        transport(reactor, sock, protocol, context=context)
        for sock, protocol in zip(sockets, (first, second), strict=True)
    ]
    for end in ends:
        end.start()
    return LoopbackPair(ends[0], ends[1])


def refusing_socket(kind: RefusingKind = "tcp") -> socket.socket:
    """A socket of this machine at whose address nobody answers while it is open.

    The number of a port that was bound and closed again is free for every other program;
    this one stays taken. Connections to it are refused, datagrams to it are answered by the
    kernel with "port unreachable".

    Args:
        kind: ``tcp`` or ``udp`` at 127.0.0.1, ``tcp6`` or ``udp6`` at ::1.

    Returns:
        The socket, to ask for its address (`socket.socket.getsockname`) and to close.

    Raises:
        ValueError: There is no such kind.
        OSError: The machine does not have it.
    """
    found = _HOSTS.get(kind.replace("udp", "tcp"))
    if found is None:
        raise ValueError(f"a refusing socket is tcp, tcp6, udp or udp6, not {kind!r}")
    family, address = found
    stream = kind.startswith("tcp")
    sock = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    try:
        sock.bind(address)
        # TCP: it does not listen. UDP: it hears its peer alone, and that is itself.
        if not stream:
            sock.connect(sock.getsockname())
    except BaseException:
        sock.close()
        raise
    return sock


def free_port(host: str = "127.0.0.1") -> int:
    """A port for a server that has to be given a number, free for TCP and UDP.

    It is none of those that the system gives to whoever asks for any, so that no connection
    and no listener takes it before the server does; and it is given once. A server that can
    listen at port 0 and say where that is, or take a socket, needs none of this.

    Args:
        host: A numeric address of this machine.

    Raises:
        OSError: There is no such address, or no free port.
    """
    from random import SystemRandom

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    others = system_ports()
    ports = [each for each in _PORTS if each not in others]
    if len(ports) < _ENOUGH:
        ports = list(_PORTS)
    # At random: other processes choose from the same.
    for port in SystemRandom().sample(ports, _ENOUGH):
        if port in _given:
            continue
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as probe:
                    probe.bind((host, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        _given.add(port)
        return port
    raise OSError(errno.EADDRINUSE, f"no port is free at {host}")


def _shrink(sock: socket.socket, buffer: int | None) -> None:
    if buffer is not None:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, buffer)
