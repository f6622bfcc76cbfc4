"""Whether what is being sent gets anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sennit.core.interfaces import IStreamTransport

__all__ = ["write_progress"]

_TIOCOUTQ = 0x5411
"""The ioctl that tells how much the peer has not acknowledged (Linux, tcp(7): SIOCOUTQ)."""


def write_progress(transport: IStreamTransport) -> object:
    """A value that changes while the peer takes octets.

    What waits here is not enough to tell: the kernel's buffer alone may take a slow
    but honest client longer than the limit to drain. So the kernel is asked too.
    """
    waiting = transport.get_write_buffer_size()
    socket = transport.get_extra_info("socket")
    if socket is None:
        return waiting
    try:
        import fcntl
        import struct

        answer = fcntl.ioctl(socket.fileno(), _TIOCOUTQ, b"\0\0\0\0")
    except (ImportError, OSError, ValueError):
        return waiting
    return waiting, struct.unpack("i", answer)[0]
