"""What `get_extra_info` of a socket's transport answers, a look at the socket among it."""

from __future__ import annotations

from sennit.core.transport.sending import GONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from typing import Any

    from sennit.core.transport.datagrams import DatagramTransport
    from sennit.core.transport.stream import SocketTransport

__all__ = ["SocketView", "socket_info"]


def socket_info(
    transport: SocketTransport | DatagramTransport, name: str, default: Any
) -> Any:  # Any: asyncio's open-ended answers
    """`get_extra_info` of what both kinds have of a socket: ``sockname``, ``socket``."""
    if name == "sockname":
        try:
            return transport._sock.getsockname()
        except OSError:
            return default
    if name == "socket":
        return default if transport._state == GONE else SocketView(transport._sock)
    return default


class SocketView:
    """A socket that can be asked and tuned, not read, written or closed."""

    __slots__ = ("_sock",)

    def __init__(self, sock: RawSocket) -> None:
        self._sock = sock

    @property
    def family(self) -> int:
        """Address family."""
        return self._sock.family

    @property
    def type(self) -> int:
        """Socket type."""
        return self._sock.type

    @property
    def proto(self) -> int:
        """Protocol number."""
        return self._sock.proto

    def fileno(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    def getsockname(self) -> Any:
        """This end, as `socket` gives it."""
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        """The other end."""
        return self._sock.getpeername()

    def getsockopt(self, *args: Any) -> int | bytes:
        """An option's value."""
        getsockopt: Any = self._sock.getsockopt  # two forms, as `args` say
        value: int | bytes = getsockopt(*args)
        return value

    def setsockopt(self, *args: Any) -> None:
        """Set an option."""
        self._sock.setsockopt(*args)

    def gettimeout(self) -> float:
        """Always non-blocking."""
        return 0.0
