"""Writing lines to a descriptor without ever waiting for it.

A reader that does not read must not stop the loop: a full pipe, a terminal on
hold, a disk that hangs. Lines go to a bounded queue that a thread of its own
empties; when that is full, lines are dropped and counted, and the count is
written once there is room again (HARDENING fault-14).

The thread writes to the descriptor itself: a thread that waits inside
``sys.stdout`` holds a lock that the interpreter wants when it ends.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["LineWriter", "keep_standard_descriptors", "lines_dropped"]

WAITING: Final = 2_000
"""Lines that wait at most."""

WAITING_OCTETS: Final = 4 * 1024 * 1024
"""Octets that wait at most."""

_PIECE: Final = 4096
"""Octets written at a time: what a pipe takes as one (PIPE_BUF)."""


class LineWriter:
    """Lines to a descriptor, from any thread, in the order of writing.

    Args:
        fd: Where to; it is not closed.
        name: The thread's name.
        dropped: Makes the line that tells how many were dropped; nothing is told
            when left out.

    Attributes:
        dropped: Lines dropped so far.
    """

    def __init__(self, fd: int, *, name: str = "sennit-output", notice: str = "") -> None:
        self._fd = fd
        self._notice = notice
        self._lines: deque[bytes] = deque()
        self._octets = 0
        self._untold = 0
        self.dropped = 0
        self._changed = threading.Condition(threading.Lock())
        self._busy = False
        self._closed = False
        self._broken = False
        # What is known of the piece that is being written, in case it is lost.
        self._cut = False
        self._lead = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def write(self, text: str) -> bool:
        """Queue `text`, to which a line end is added. Never waits.

        Returns:
            Whether there was room for it.
        """
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._closed or self._broken:
                return False
            if len(self._lines) >= WAITING or self._octets + len(data) > WAITING_OCTETS:
                self.dropped += 1
                self._untold += 1
                if self._notice:
                    _count_dropped()
                return False
            self._lines.append(data)
            self._octets += len(data)
            self._changed.notify_all()
            if not self._started:
                self._started = True
                self._thread.start()
        return True

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until all that was queued is written, `timeout` seconds at most.

        Returns:
            Whether it is.
        """
        with self._changed:
            return self._changed.wait_for(
                lambda: self._broken or not (self._lines or self._busy), timeout
            )

    def close(self, timeout: float = 1.0) -> bool:
        """`flush`, and take no more; a thread that hangs is left behind."""
        written = self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            started = self._started
        if written and started:
            self._thread.join(timeout)
        return written

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if not self._lines:
                    self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                data = self._take()
                self._busy = True
            if not self._write(data):
                with self._changed:
                    self._broken = True
                    self._busy = False
                    self._lines.clear()
                    self._changed.notify_all()
                return

    def _take(self) -> bytes:
        """The lines that go out together; under the lock."""
        pieces: list[bytes] = []
        if self._cut:
            pieces.append(b"\n")
        self._told = 0
        if self._untold and self._notice:
            pieces.append((self._notice.format(self._untold) + "\n").encode())
            self._told, self._untold = self._untold, 0
        self._lead = sum(map(len, pieces))
        size = 0
        while self._lines and size < 16 * _PIECE:
            piece = self._lines.popleft()
            self._octets -= len(piece)
            size += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _lose(self, data: bytes, written: int) -> None:
        """Count the lines for which the disk has no room."""
        lines = data.count(b"\n", max(written, self._lead))
        with self._changed:
            self.dropped += lines
            self._untold += lines + (self._told if written < self._lead else 0)
            if written:
                self._cut = data[written - 1 : written] != b"\n"
        for _ in range(lines if self._notice else 0):
            _count_dropped()

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._fd, view[:_PIECE])
            except InterruptedError:
                continue
            except BlockingIOError:
                # Somebody made it non-blocking; wait here, where nobody else waits.
                if not _wait_for_room(self._fd):
                    return False
                continue
            except OSError as error:
                if error.errno in _FULL:
                    self._lose(data, len(data) - len(view))
                    return True
                # The reader has gone (EPIPE): nobody to tell.
                return False
            view = view[written:]
        self._cut = False
        return True


_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Errors of a disk on which there may be room again."""


def keep_standard_descriptors() -> None:
    """Open those of descriptors 0 to 2 that are closed, on nothing.

    Else the next file or socket would have their number, and get what is written to them.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


_dropped = 0


def _count_dropped() -> None:
    global _dropped
    _dropped += 1


def lines_dropped() -> int:
    """Lines of the process's logs (writers that tell of it) for which there was no room."""
    return _dropped


def _wait_for_room(fd: int) -> bool:
    import select

    try:
        select.select([], [fd], [])
    except (OSError, ValueError):
        return False
    return True
