"""What datagram transports receive, send and drop, counted while somebody measures.

A counted transport has a `CountedSocket` in the place of its socket, which counts
what passes; one that nobody counts has the socket itself, and costs nothing. What
the kernel has dropped because nobody read it is the kernel's to say (SO_MEMINFO,
``sock_diag(7)``), and asked for when somebody reads.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

from sennit.core.transport.datagrams import DatagramTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.core.reactor.base import Reactor

__all__ = [
    "CountedSocket",
    "count_datagrams",
    "datagram_transports_of",
    "drops_of",
    "stop_counting_datagrams",
    "tally_of",
]

RECEIVE_BUFFER: Final = "limit:receive-buffer"
"""Why the kernel drops what has come: its queue for the socket is full."""
_SO_MEMINFO: Final = 55
_DROPS_AT: Final = 8
"""SK_MEMINFO_DROPS among the numbers of SO_MEMINFO (``linux/sock_diag.h``)."""
_ERRQUEUE: Final[int] = getattr(socket, "MSG_ERRQUEUE", 0)


class CountedSocket:
    """A datagram socket that counts. (`Any`: it does as the socket does.)

    Attributes:
        sock: The socket itself.
        received: Datagrams that were received.
        received_octets: Their octets.
        sent: Datagrams that the kernel has taken.
        sent_octets: Their octets.
    """

    __slots__ = ("received", "received_octets", "sent", "sent_octets", "sock")

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.received = self.received_octets = self.sent = self.sent_octets = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        """Receive a datagram."""
        data, peer = self.sock.recvfrom(size)
        self.received += 1
        self.received_octets += len(data)
        return data, peer

    def recvmsg(self, size: int, room: int = 0, flags: int = 0) -> Any:
        """Receive a datagram with what is attached; entries of the queue of errors are none."""
        came = self.sock.recvmsg(size, room, flags)
        if not flags & _ERRQUEUE:
            self.received += 1
            self.received_octets += len(came[0])
        return came

    def send(self, data: Any) -> int:
        """Send a datagram."""
        return self._went(self.sock.send(data))

    def sendto(self, data: Any, addr: Any) -> int:
        """Send one to an address."""
        return self._went(self.sock.sendto(data, addr))

    def sendmsg(self, *args: Any) -> int:
        """Send one with something attached."""
        return self._went(self.sock.sendmsg(*args))

    def _went(self, octets: int) -> int:
        self.sent += 1
        self.sent_octets += octets
        return octets


def count_datagrams(transport: DatagramTransport) -> None:
    """Count what `transport` receives and sends from now on."""
    if type(transport._sock) is not CountedSocket:
        _put(transport, CountedSocket(transport._sock))


def stop_counting_datagrams(transport: DatagramTransport) -> None:
    """Undo `count_datagrams`."""
    if type(transport._sock) is CountedSocket:
        _put(transport, transport._sock.sock)


def _put(transport: DatagramTransport, sock: Any) -> None:
    transport._sock = sock
    transport._receive = sock.recvfrom
    transport._send = sock.send
    transport._sendto = sock.sendto


def tally_of(transport: DatagramTransport) -> tuple[int, int, int, int] | None:
    """Datagrams received and their octets, sent and theirs; ``None`` where nobody counts."""
    sock = transport._sock
    if type(sock) is not CountedSocket:
        return None
    return sock.received, sock.received_octets, sock.sent, sock.sent_octets


def drops_of(transport: DatagramTransport) -> dict[str, int]:
    """Datagrams dropped so far, by reason, those included that the kernel has dropped."""
    drops = dict(transport.drops)
    if sys.platform == "linux":
        try:
            told = transport._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        except OSError:
            return drops
        numbers = struct.unpack(f"={len(told) // 4}I", told)
        if len(numbers) > _DROPS_AT and numbers[_DROPS_AT]:
            drops[RECEIVE_BUFFER] = numbers[_DROPS_AT]
    return drops


def datagram_transports_of(reactor: Reactor) -> Iterator[DatagramTransport]:
    """The datagram transports that stand in a reactor."""
    for each in list(reactor.dependants):
        if isinstance(each, DatagramTransport):
            yield each
