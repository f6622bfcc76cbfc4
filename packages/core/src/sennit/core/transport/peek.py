"""A look at a transport's socket, for `get_extra_info("socket")`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from typing import Any

__all__ = ["SocketView"]


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
