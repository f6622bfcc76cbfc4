"""A piece of a file in a transport's queue: sent by the kernel, read where it cannot be."""

from __future__ import annotations

import errno
import os

from sennit.core.deferred import Deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Final

__all__ = ["FilePiece"]

AT_ONCE: Final = 4 << 20
"""Octets asked of one ``sendfile``, so that one fast peer does not keep the loop.

A millisecond of a fast one; mostly it is the socket's buffer that ends it. With a quarter of it a
GiB over FTP took twice as many turns of the loop (1 024 to 545).
"""
READ_AT_ONCE: Final = 64 * 1024
"""Octets read at a time where ``sendfile`` does not work."""

_CONNECTION = frozenset(
    {errno.EAGAIN, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT}
    | {errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
"""Errors of ``sendfile`` that are not the file's."""


class FilePiece:
    """Octets of a file that wait to be sent.

    Args:
        file: Open for reading. Its position does not matter if it can ``seek``;
            else (a pipe) it is read from where it is, and waited for.
        offset: Octet to begin at.
        count: How many; up to the end when ``None``.
        over: Called once, with the octets sent or the error, in place of `done`: a
            Deferred and its callbacks cost a tenth of sending a small file.

    Attributes:
        done: Fires with the octets sent.
        sent: Octets sent so far.

    Raises:
        ValueError: `offset` or `count` is negative, the file is closed, or it
            cannot seek to `offset`.
    """

    __slots__ = (
        "_block", "_count", "_fd", "_file", "_offset", "_over", "_seekable", "done", "sent",
    )  # fmt: skip

    def __init__(
        self,
        file: IO[bytes],
        offset: int,
        count: int | None,
        over: Callable[[int | BaseException], object] | None = None,
    ) -> None:
        if offset < 0 or (count is not None and count < 0):
            raise ValueError(f"offset ({offset}) and count ({count}) count octets, from zero")
        self._file = file
        self._offset = offset
        self._count = count
        self.sent = 0
        self._over = over
        if over is None:
            self.done: Deferred[int] = Deferred(_keep_sending)
        self._block: bytes | memoryview = b""  # read, and not sent yet
        try:
            self._fd = file.fileno() if hasattr(os, "sendfile") else -1
        except (AttributeError, OSError):
            self._fd = -1  # nothing the kernel knows, such as a BytesIO
        self._seekable = file.seekable() if hasattr(file, "seekable") else True
        if not self._seekable:
            self._fd = -1
            if offset:
                raise ValueError(f"{file!r} cannot seek to octet {offset}")

    @property
    def by_kernel(self) -> bool:
        """Whether `send_by_kernel` is worth a try."""
        return self._fd >= 0

    def send_by_kernel(self, out: int) -> bool:
        """Send to socket descriptor `out` with ``sendfile``; whether something is left.

        Raises:
            BlockingIOError: The kernel takes no more for now.
            OSError: The connection is broken.
        """
        left = AT_ONCE if self._count is None else self._count - self.sent
        if left <= 0:
            return False
        try:
            sent = os.sendfile(out, self._fd, self._offset + self.sent, min(left, AT_ONCE))
        except OSError as error:
            if error.errno in _CONNECTION:
                raise
            # A file system or socket that cannot: it is read instead, and if it
            # cannot be read either, that says why.
            self._fd = -1
            return True
        self.sent += sent
        return sent > 0 and (self._count is None or self.sent < self._count)

    def next_block(self, most: int = READ_AT_ONCE) -> bytes | memoryview:
        """The next octets, not counted as sent; empty at the end of the piece.

        Raises:
            OSError: The file cannot be read (or whatever else its methods raise).
        """
        block = self._block
        if not block:
            wanted = most if self._count is None else min(self._count - self.sent, most)
            if wanted <= 0:
                return b""
            if self._seekable:
                self._file.seek(self._offset + self.sent)
            block = self._block = self._file.read(wanted)
        return block[:most]

    def advance(self, sent: int) -> None:
        """So many octets of `next_block` have been taken."""
        self.sent += sent
        # Whoever takes only a few at a time does not have the file read again for each.
        self._block = memoryview(self._block)[sent:]

    def finish(self) -> None:
        """It has left, whole or up to the file's end."""
        over = self._over
        if over is not None:
            self._over = _told
            over(self.sent)
        elif not self.done.called:
            self.done.callback(self.sent)

    def fail(self, error: BaseException) -> None:
        """It cannot be sent."""
        over = self._over
        if over is not None:
            self._over = _told
            over(error)
        elif not self.done.called:
            self.done.errback(error)


def _told(outcome: object) -> None:
    """Nobody is told twice."""


def _keep_sending(done: Deferred[int]) -> None:
    """Octets announced to the peer cannot be taken back: cancelling only stops the wait."""
