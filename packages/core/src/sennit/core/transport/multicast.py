"""Multicast of a UDP socket: groups to join and leave, and how datagrams leave for them.

Sources: RFC 1112 (hosts), RFC 3678 (source filters, and the calls that name an
interface by its index in both families), RFC 3493 §5.2 (IPv6), ip(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

from sennit.core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "Member",
    "is_multicast",
    "only_own_groups",
    "set_membership",
    "set_outgoing_interface",
    "set_reach",
]

_LINUX: Final = sys.platform == "linux"
# RFC 3678 §5; Python names none of them (linux/in.h).
_MCAST_JOIN_SOURCE_GROUP: Final = 46
_MCAST_LEAVE_SOURCE_GROUP: Final = 47
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29

_GROUP_SOURCE_REQ = struct.Struct("@I0Q128s128s" if struct.calcsize("P") == 8 else "@I128s128s")
"""struct group_source_req: an interface's index, then two ``sockaddr_storage``."""


class Member:
    """What a socket joins or leaves.

    Args:
        family: The socket's.
        group: Address of the group.
        interface: Name, index, or (IPv4) address; ``None`` for the system's choice.
        source: The one sender to listen to, or ``None`` for all.

    Raises:
        UsageError: One of them is not what it should be.
    """

    __slots__ = ("address", "family", "group", "index", "source")

    def __init__(
        self, family: int, group: str, interface: str | int | None, source: str | None
    ) -> None:
        self.family = family
        bare, percent, scope = group.partition("%")
        if percent and interface is None:
            interface = int(scope) if scope.isdigit() else scope
        if not is_multicast(bare, family):
            kind = "IPv6" if family == socket.AF_INET6 else "IPv4"
            raise UsageError(f"{group!r} is no multicast group of {kind}")
        self.group = bare
        self.source = source
        if source is not None:
            _packed(family, source, "source")
        self.index, self.address = _interface(family, interface)

    def __str__(self) -> str:
        """For messages."""
        return self.group if self.source is None else f"{self.group} from {self.source}"


def is_multicast(host: str, family: int | None = None) -> bool:
    """Whether `host` is the address of a group (of that family): 224.0.0.0/4, ff00::/8."""
    host = host.partition("%")[0]
    for each in (socket.AF_INET, socket.AF_INET6):
        if family in (None, each):
            try:
                first = socket.inet_pton(each, host)[0]
            except (OSError, ValueError):
                continue
            return first >> 4 == 14 if each == socket.AF_INET else first == 0xFF
    return False


def set_membership(sock: socket.socket, member: Member, join: bool) -> None:
    """Join a group, or leave it.

    Raises:
        OSError: The system does not: no such interface, joined already, too many groups,
            or sources cannot be chosen here.
    """
    try:
        if member.source is not None:
            _set_source(sock, member, join)
        elif member.family == socket.AF_INET6:
            option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
            packed = socket.inet_pton(socket.AF_INET6, member.group)
            sock.setsockopt(socket.IPPROTO_IPV6, option, struct.pack("@16sI", packed, member.index))
        else:
            option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
            sock.setsockopt(socket.IPPROTO_IP, option, _mreqn(member))
    except OSError as error:
        verb = "join" if join else "leave"
        text = error.strerror or str(error)
        raise OSError(error.errno, f"cannot {verb} {member}: {text}") from error


def _mreqn(member: Member) -> bytes:
    """struct ip_mreqn; the index wins where it is not 0."""
    return struct.pack(
        "@4s4si", socket.inet_aton(member.group), socket.inet_aton(member.address), member.index
    )


def _set_source(sock: socket.socket, member: Member, join: bool) -> None:
    """Source-specific membership (RFC 4607 §2, RFC 3678 §4.1.3 and §5.1.3)."""
    source = member.source or ""
    if not _LINUX:
        raise OSError(errno.ENOPROTOOPT, "sources can be chosen on Linux only")
    if member.family == socket.AF_INET and not member.index:
        option = 39 if join else 40  # IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP
        parts = (member.group, member.address, source)
        value = b"".join(map(socket.inet_aton, parts))
        sock.setsockopt(socket.IPPROTO_IP, option, value)
        return
    level = socket.IPPROTO_IPV6 if member.family == socket.AF_INET6 else socket.IPPROTO_IP
    option = _MCAST_JOIN_SOURCE_GROUP if join else _MCAST_LEAVE_SOURCE_GROUP
    value = _GROUP_SOURCE_REQ.pack(
        member.index, _sockaddr(member.family, member.group), _sockaddr(member.family, source)
    )
    sock.setsockopt(level, option, value)


def _sockaddr(family: int, host: str) -> bytes:
    packed = socket.inet_pton(family, host)
    if family == socket.AF_INET6:
        return struct.pack("=HHI16sI", family, 0, 0, packed, 0)
    return struct.pack("=HH4s", family, 0, packed)


def set_reach(sock: socket.socket, *, hops: int | None = None, loop: bool | None = None) -> None:
    """How far datagrams to groups go, and whether this host hears them itself.

    Raises:
        UsageError: `hops` is not from 0 to 255.
    """
    if hops is not None and not 0 <= hops <= 255:
        raise UsageError(f"a datagram passes 0 to 255 routers, not {hops}")
    if sock.family == socket.AF_INET6:
        if hops is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
        if loop is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, int(loop))
    else:
        if hops is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
        if loop is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(loop))


def set_outgoing_interface(sock: socket.socket, interface: str | int) -> None:
    """Send to groups through `interface`: name, index, or (IPv4) address.

    Raises:
        UsageError: There is none of that name.
        OSError: The system refuses it.
    """
    index, address = _interface(sock.family, interface)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        value = struct.pack("@4s4si", bytes(4), socket.inet_aton(address), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, value)


def only_own_groups(sock: socket.socket) -> None:
    """Receive from the groups that this socket joined, not from those that any on the host did.

    That is how it should be everywhere; Linux has to be asked (IP_MULTICAST_ALL, ip(7)).
    """
    if not _LINUX:
        return
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    except OSError:
        pass  # an older kernel: more is heard than was asked for


def _interface(family: int, interface: str | int | None) -> tuple[int, str]:
    """Index and IPv4 address, either of which may be nothing."""
    if interface is None:
        return 0, "0.0.0.0"
    if isinstance(interface, int):
        if interface < 0:
            raise UsageError(f"an interface's index is no negative number: {interface}")
        return interface, "0.0.0.0"
    if family == socket.AF_INET:
        try:
            socket.inet_pton(socket.AF_INET, interface)
        except OSError:
            pass
        else:
            return 0, interface
    try:
        return socket.if_nametoindex(interface), "0.0.0.0"
    except OSError as error:
        raise UsageError(
            f"there is no interface {interface!r}: {error.strerror or os.strerror(errno.ENODEV)}"
        ) from error


def _packed(family: int, host: str, what: str) -> bytes:
    try:
        return socket.inet_pton(family, host)
    except OSError as error:
        raise UsageError(f"{what} {host!r} is no address of the socket's family") from error
