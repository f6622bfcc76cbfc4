"""The poller that every platform has, Windows too: ``select``."""

from __future__ import annotations

import errno
import select as _select
import sys
import time

from sennit.core.reactor.pollers import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["SelectPoller"]


_FD_SETSIZE: Final = 1024
"""Windows counts descriptors instead of looking at their numbers."""


class SelectPoller:
    """Waits with ``select``, which knows only so many descriptors (FD_SETSIZE)."""

    __slots__ = ("_known", "_readers", "_writers")

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._readers: set[int] = set()
        self._writers: set[int] = set()

    def register(self, fd: int, mask: int) -> None:
        """Begin to watch `fd`.

        Raises:
            OSError: Its number is too high for ``select``.
        """
        if fd in self._known:
            raise FileExistsError(f"descriptor {fd} is registered already")
        if fd >= _FD_SETSIZE and sys.platform != "win32":
            # Waiting for it would fail, and that for all the others, too.
            raise OSError(errno.EMFILE, f"select cannot wait for descriptor {fd}")
        self._known.add(fd)
        self._set(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Ask for something else."""
        if fd not in self._known:
            raise FileNotFoundError(f"descriptor {fd} is not registered")
        self._set(fd, mask)

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._known.remove(fd)
        self._set(fd, 0)

    def _set(self, fd: int, mask: int) -> None:
        for bit, among in ((READ, self._readers), (WRITE, self._writers)):
            if mask & bit:
                among.add(fd)
            else:
                among.discard(fd)

    def poll(self, timeout: float | None = None) -> Sequence[tuple[int, int]]:
        """Wait at most `timeout` seconds."""
        if not self._readers and not self._writers and sys.platform == "win32":
            # Windows refuses to wait for nothing.
            time.sleep(3600.0 if timeout is None else timeout)
            return []
        # Windows reports a failed connection among the exceptional ones only.
        readable, writable, exceptional = _select.select(
            self._readers, self._writers, self._writers, timeout
        )
        found = dict.fromkeys(readable, READ)
        for fd in (*writable, *exceptional):
            found[fd] = found.get(fd, 0) | WRITE
        return list(found.items())

    def fileno(self) -> None:
        """``select`` has no descriptor that another loop could wait on."""

    def close(self) -> None:
        """Forget all."""
        self._known.clear()
        self._readers.clear()
        self._writers.clear()
