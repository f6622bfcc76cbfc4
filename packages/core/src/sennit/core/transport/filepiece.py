"""A piece of a file in a transport's queue: sent by the kernel, read where it cannot be."""

from __future__ import annotations

import errno
import os
import socket

from sennit.core.deferred import Deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Final

__all__ = ["FilePiece"]

AT_ONCE: Final = 1 << 20
"""Octets asked of one ``sendfile``, so that one fast peer does not keep the loop."""
READ_AT_ONCE: Final = 64 * 1024
"""Octets read at a time where ``sendfile`` does not work."""


class FilePiece:
    """Octets of a file that wait to be sent.

    Args:
        file: Open for reading. Anything with ``fileno`` whose position does not
            matter, or anything with ``seek`` and ``read``.
        offset: Octet to begin at.
        count: How many; up to the end when ``None``.

    Attributes:
        done: Fires with the octets sent.
        sent: Octets sent so far.
    """

    __slots__ = ("_count", "_fd", "_file", "_offset", "_rest", "done", "sent")

    def __init__(self, file: IO[bytes], offset: int, count: int | None) -> None:
        if offset < 0 or (count is not None and count < 0):
            raise ValueError(f"offset ({offset}) and count ({count}) count octets, from zero")
        self._file = file
        self._offset = offset
        self._count = count
        self._rest = b""
        self.sent = 0
        self.done: Deferred[int] = Deferred(_keep_sending)
        try:
            self._fd = file.fileno() if hasattr(os, "sendfile") else -1
        except (AttributeError, OSError):
            self._fd = -1  # nothing the kernel knows, such as a BytesIO

    def send(self, out: int) -> bool:
        """Send to socket descriptor `out`; whether something is left.

        Raises:
            BlockingIOError: The kernel takes no more for now.
            OSError: The connection or the file is broken.
        """
        if self._fd >= 0:
            wanted = AT_ONCE if self._count is None else min(self._count - self.sent, AT_ONCE)
            if wanted <= 0:
                return False
            try:
                sent = os.sendfile(out, self._fd, self._offset + self.sent, wanted)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                    raise
                # A file system or socket that cannot: read it ourselves.
                self._fd = -1
            else:
                self.sent += sent
                if sent == 0:
                    return False
                if self._count is not None and self.sent >= self._count:
                    return False
                raise BlockingIOError(errno.EAGAIN, "one piece a turn")
        return self._read_and_send(out)

    def _read_and_send(self, out: int) -> bool:
        rest = self._rest or self.read(READ_AT_ONCE)
        if not rest:
            return False
        self._rest = rest
        # A view on the transport's descriptor, which it closes itself.
        with socket.socket(fileno=os.dup(out)) as view:
            sent = view.send(rest)
        self.sent += sent
        self._rest = rest[sent:]
        raise BlockingIOError(errno.EAGAIN, "one piece a turn")

    def read(self, most: int) -> bytes:
        """The next octets of the piece, at most `most`; empty at its end."""
        at = self.sent + len(self._rest)
        wanted = most if self._count is None else min(self._count - at, most)
        if wanted <= 0:
            return b""
        self._file.seek(self._offset + at)
        return self._file.read(wanted)

    def finish(self) -> None:
        """It has left, whole or up to the file's end."""
        if not self.done.called:
            self.done.callback(self.sent)

    def fail(self, error: BaseException) -> None:
        """The connection ended first."""
        if not self.done.called:
            self.done.errback(error)


def _keep_sending(done: Deferred[int]) -> None:
    """Octets announced to the peer cannot be taken back: cancelling only stops the wait."""
