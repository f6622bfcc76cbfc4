"""What the kernel says beside a datagram: which address was asked, and what went wrong.

IP_PKTINFO and IPV6_RECVPKTINFO give the destination of a datagram that a socket
bound to every address has received (ip(7), RFC 3542 §6.2), and choose where one
leaves from. IP_RECVERR and IPV6_RECVERR make Linux keep the ICMP errors that come
for a socket, with the datagram's destination, also where the socket is not
connected (ip(7), ipv6(7)). Elsewhere ICMP errors come to connected sockets alone.

Nothing here does I/O: socket options by name, ancillary data to values and back.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

from sennit.core.errors import DatagramError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, TypeAlias

    Ancillary: TypeAlias = Sequence[tuple[int, int, bytes]]

__all__ = [
    "ANCILLARY_SIZE",
    "Asked",
    "ask_for_destinations",
    "ask_for_errors",
    "destination_of",
    "error_of",
    "leave_from",
]

_LINUX: Final = sys.platform == "linux"
# Python names these only from 3.14 on (linux/in.h, linux/in6.h); elsewhere they are other things.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_IP_PKTINFO: Final = 8 if _LINUX else 26 if sys.platform == "darwin" else None
_IPV6_RECVPKTINFO: Final[int | None] = getattr(socket, "IPV6_RECVPKTINFO", None)
_IPV6_PKTINFO: Final[int | None] = getattr(socket, "IPV6_PKTINFO", None)

_IN_PKTINFO = struct.Struct("=i4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")
_EXTENDED_ERR = struct.Struct("=IBBBxII")
"""struct sock_extended_err (linux/errqueue.h): errno, origin, type, code, info, data."""
_ORIGIN_LOCAL: Final = 1
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3

ANCILLARY_SIZE: Final = 512
"""Octets for what comes beside a datagram."""


class Asked:
    """Where a datagram was sent to.

    Attributes:
        packed: This host's address that an answer should leave from, or ``None``.
        destination: The address in the datagram's header.
        interface: Index of the interface it came through.
    """

    __slots__ = ("destination", "interface", "packed")

    def __init__(self, packed: bytes | None, destination: bytes, interface: int) -> None:
        self.packed = packed
        self.destination = destination
        self.interface = interface


def ask_for_errors(sock: socket.socket) -> bool:
    """Have the kernel keep ICMP errors for `sock`; whether it does."""
    if not _LINUX:
        return False
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if sock.family == socket.AF_INET6:
            # Both, since a socket may serve both families.
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    except OSError:
        return False
    return True


def ask_for_destinations(sock: socket.socket) -> bool:
    """Have the kernel tell the destination of each datagram; whether it does."""
    try:
        if sock.family == socket.AF_INET6:
            if _IPV6_RECVPKTINFO is None:
                return False
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        elif _IP_PKTINFO is None:
            return False
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    except OSError:
        return False
    return True


def destination_of(ancillary: Ancillary) -> Asked | None:
    """What `ask_for_destinations` asked for."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            interface, ours, header = _IN_PKTINFO.unpack_from(data)
            return Asked(ours, header, interface)
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            header, interface = _IN6_PKTINFO.unpack_from(data)
            # A group's address (ff00::/8, RFC 4291 §2.7) is nobody's to send from.
            return Asked(None if header[0] == 0xFF else header, header, interface)
    return None


def leave_from(
    family: int, packed: bytes | None, interface: int
) -> list[tuple[int, int, bytes]] | None:
    """Ancillary data that makes a datagram leave from an address, or through an interface."""
    if packed is None and not interface:
        return None
    if family == socket.AF_INET6:
        if _IPV6_PKTINFO is None:
            return None
        data = _IN6_PKTINFO.pack(packed or bytes(16), interface)
        return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, data)]
    if _IP_PKTINFO is None:
        return None
    data = _IN_PKTINFO.pack(interface, packed or bytes(4), bytes(4))
    return [(socket.IPPROTO_IP, _IP_PKTINFO, data)]


def error_of(ancillary: Ancillary, peer: Any) -> DatagramError | None:
    """An entry of the kernel's queue of errors; ``None`` where the sender knows already.

    Args:
        ancillary: What came beside it.
        peer: Whom the datagram was for. (`Any`: as `socket` names it.)
    """
    for level, kind, data in ancillary:
        if (level, kind) not in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        ):
            continue
        code, origin, icmp_type, icmp_code, _, _ = _EXTENDED_ERR.unpack_from(data)
        if origin == _ORIGIN_LOCAL:
            return None  # `sendto` has said so itself
        offender = _offender(data[_EXTENDED_ERR.size :])
        icmp = (icmp_type, icmp_code) if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6) else None
        return DatagramError(code, os.strerror(code), peer=peer, offender=offender, icmp=icmp)
    return None


def _offender(name: bytes) -> str | None:
    """The address in a ``sockaddr`` of Linux."""
    if len(name) < 8:
        return None
    family = int.from_bytes(name[:2], sys.byteorder)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, name[4:8])
    if family == socket.AF_INET6 and len(name) >= 24:
        return socket.inet_ntop(socket.AF_INET6, name[8:24])
    return None
