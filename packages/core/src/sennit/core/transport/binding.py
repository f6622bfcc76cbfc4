"""Sockets that are bound and listen: TCP at an address or at all of them, Unix at a path."""

from __future__ import annotations

import errno
import os
import socket
import stat
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

__all__ = ["DYNAMIC", "remove_stale", "system_ports", "tcp_sockets", "unix_socket"]

DYNAMIC: Final = range(49_152, 65_536)
"""Ports that are nobody's (RFC 6335 §6), where the system does not tell which it hands out."""

_PORTS_TRIED: Final = 10
"""Ports tried until one is free in both families."""


def system_ports(settings: str = "/proc/sys/net/ipv4") -> range:
    """Ports that the system hands out by itself, to whoever asks for any."""
    try:
        with open(f"{settings}/ip_local_port_range", encoding="ascii") as file:
            first, last = map(int, file.read().split())
    except (OSError, ValueError):
        return DYNAMIC
    return range(first, last + 1)


def tcp_sockets(
    host: str,
    port: int,
    *,
    others: Iterable[int] = (),
    backlog: int = 1024,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Bound and listening sockets for a numeric `host`.

    Args:
        host: An IPv4 or IPv6 address; empty for every interface of both families.
        port: 0 lets the system choose (the same for both families).
        others: Ports to try while the one before is taken, where `host` is an address: a taken
            one costs no more than being told so.
        backlog: Connections the kernel keeps waiting.
        reuse_port: Let other sockets listen there too (SO_REUSEPORT).

    Raises:
        OSError: The address is in use or not ours; `strerror` names it.
    """
    for _ in range(_PORTS_TRIED if not host and not port else 0):
        try:
            return _tcp_sockets(host, port, backlog, reuse_port)
        except OSError as error:
            # The port that the system chose for one family is taken in the other.
            if error.errno != errno.EADDRINUSE:
                raise
    return _tcp_sockets(host, port, backlog, reuse_port, others if host else ())


def _tcp_sockets(
    host: str, port: int, backlog: int, reuse_port: bool, others: Iterable[int] = ()
) -> list[socket.socket]:
    hosts = [host] if host else ["0.0.0.0", "::"]
    sockets: list[socket.socket] = []
    try:
        for each in hosts:
            family = socket.AF_INET6 if ":" in each else socket.AF_INET
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                if not host and sockets:
                    continue  # a machine without IPv6
                raise
            sockets.append(sock)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                if family == socket.AF_INET6:
                    address, _, scope = each.partition("%")
                    number = (
                        (int(scope) if scope.isdigit() else socket.if_nametoindex(scope))
                        if scope
                        else 0
                    )
                    end: tuple[Any, ...] = (0, number)
                else:
                    address, end = each, ()
                _bind(sock, address, end, chain((port,), others))
                sock.listen(backlog)
            except OSError as error:
                if not host and len(sockets) > 1 and error.errno == errno.EADDRNOTAVAIL:
                    sockets.pop().close()
                    continue
                shown = f"[{each}]:{port}" if ":" in each else f"{each}:{port}"
                raise OSError(
                    error.errno, f"cannot listen on {shown}: {os.strerror(error.errno or 0)}"
                ) from error
            if each != hosts[-1]:
                port = port or sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(sock: socket.socket, host: str, end: tuple[Any, ...], ports: Iterable[int]) -> None:
    """Bind to the first of the ports that is free."""
    taken: OSError | None = None
    for port in ports:
        try:
            sock.bind((host, port, *end))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = error
        else:
            return
    if taken is not None:
        raise taken


def unix_socket(path: str, *, backlog: int = 1024, mode: int = 0o666) -> socket.socket:
    """A bound and listening Unix socket; a file that nobody listens on is replaced.

    Args:
        path: In the file system, or ``@name`` in Linux' abstract space.
        backlog: Connections the kernel keeps waiting.
        mode: Permissions of the socket file.

    Raises:
        OSError: Somebody listens there (EADDRINUSE), it is another kind of file
            (EEXIST), or the directory does not let us.
    """
    abstract = path.startswith("@")
    if not abstract:
        remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        sock.bind("\0" + path[1:] if abstract else path)
        bound = not abstract
        if bound:
            # Nobody can connect before `listen`.
            os.chmod(path, mode)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        if bound:
            os.unlink(path)
        raise _cannot_listen(path, error) from error
    return sock


def _cannot_listen(path: str, error: OSError) -> OSError:
    # A path that is too long has no number of its own.
    return OSError(
        error.errno or errno.ENAMETOOLONG,
        f"cannot listen on unix:{path}: {error.strerror or error}",
    )


def remove_stale(path: str, kind_of_socket: int = socket.SOCK_STREAM) -> None:
    """Remove a socket file that nobody serves any more.

    Raises:
        OSError: Somebody does (EADDRINUSE), or it is another kind of file (EEXIST).
    """
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_listen(path, error) from error
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, f"cannot listen on unix:{path}: a file of that name is there")
    with socket.socket(socket.AF_UNIX, kind_of_socket) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            try:
                os.unlink(path)
            except OSError as error:
                raise _cannot_listen(path, error) from error
            return
        except BlockingIOError:
            pass  # more wait there already than it wants
        except OSError as error:
            # EPROTOTYPE: somebody lives there who speaks another kind.
            if error.errno != errno.EPROTOTYPE:
                raise _cannot_listen(path, error) from error
    raise OSError(errno.EADDRINUSE, f"cannot listen on unix:{path}: it is in use")
