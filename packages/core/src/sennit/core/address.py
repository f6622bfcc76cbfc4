"""Addresses of the two ends of a connection.

Plain tuples, so that they compare, hash and pickle, and pass to `socket`
functions; with names, so that code reads; and with a `str` that people know:
``127.0.0.1:80``, ``[::1]:80``, ``unix:/run/x.sock``.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class _InternetFields(NamedTuple):
        host: str
        port: int
        flowinfo: int = 0
        scope_id: int = 0

    class _UnixFields(NamedTuple):
        path: str

    class _PathFields(NamedTuple):
        peer: Any
        local: Address | None = None
        destination: Address | None = None
        interface: int = 0

else:
    # typing, for its NamedTuple, costs more to import than all of TCP.
    _InternetFields = namedtuple("_InternetFields", "host port flowinfo scope_id", defaults=(0, 0))
    _UnixFields = namedtuple("_UnixFields", "path")
    _PathFields = namedtuple(
        "_PathFields", "peer local destination interface", defaults=(None, None, 0)
    )

__all__ = ["Address", "DatagramPath", "InternetAddress", "UnixAddress", "address_from_socket"]


class InternetAddress(_InternetFields):
    """Host and port of an IPv4 or IPv6 end.

    Attributes:
        host: The address in its text form; a name where it was not resolved.
        port: Port number.
        flowinfo: IPv6 flow information, else 0.
        scope_id: IPv6 scope, else 0.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """``127.0.0.1:80`` or ``[::1]:80``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(_UnixFields):
    """Path of a Unix socket; empty where the end has none, ``@name`` in the abstract space."""

    __slots__ = ()

    def __str__(self) -> str:
        """``unix:/run/web.sock``, ``unix:`` for an end without a name."""
        return f"unix:{self.path}"


class DatagramPath(_PathFields):
    """The way of a datagram: both ends, so that an answer leaves from the address that was asked.

    Attributes:
        peer: The other end, as `socket` names it or an `Address`.
        local: This end: where an answer leaves from. ``None`` for whatever the
            system chooses.
        destination: What the datagram was sent to, where that is no address of
            this end's own: a multicast group, a broadcast address. Else ``None``.
        interface: Index of the interface it came through; to a path without
            `local`, the one that it leaves through. 0 where it is not known.
    """

    __slots__ = ()


Address = InternetAddress | UnixAddress
"""What `IStreamTransport.local` and `peer` are."""


def address_from_socket(name: object) -> Address:
    """The address for what `getsockname`, `getpeername` or `accept` returned."""
    if isinstance(name, tuple):
        return InternetAddress(*name)
    if isinstance(name, bytes):
        name = "@" + name[1:].decode("utf-8", "surrogateescape") if name[:1] == b"\0" else name
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    text = str(name) if name else ""
    return UnixAddress("@" + text[1:] if text[:1] == "\0" else text)
