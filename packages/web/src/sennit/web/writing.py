"""Whether what is being sent gets anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.policy.timeouts import output_mark

if TYPE_CHECKING:
    from sennit.core.interfaces import IStreamTransport

__all__ = ["write_progress"]

_SIOCOUTQ: Final = 0x5411
"""The ioctl that tells how many octets the peer has not acknowledged (Linux, tcp(7))."""


def write_progress(transport: IStreamTransport) -> object:
    """A value that changes while the peer takes octets.

    What waits here is not enough to tell: the kernel's buffer alone may take a slow
    but honest client longer than the limit to drain. So the kernel is asked too.
    """
    waiting = output_mark(transport)
    socket = transport.get_extra_info("socket")
    if socket is None:
        return waiting
    try:
        import fcntl

        return waiting, fcntl.ioctl(socket.fileno(), _SIOCOUTQ, b"\0\0\0\0")
    except (ImportError, OSError, ValueError):
        return waiting
