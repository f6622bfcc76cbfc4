"""The poller of macOS and the BSDs: ``kqueue``, written to its manual page.

Not run on the machines this project is tested on, which are all Linux.

A filter is registered per direction. ``EV_EOF`` on the read filter comes while
octets may still wait, so it reads as READ; on the write filter it means that
the peer takes no more, which the next write will find out. ``fflags`` then
holds the socket's error, if any.
"""

from __future__ import annotations

import select

from sennit.core.reactor.pollers import ERROR, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["KqueuePoller"]


class KqueuePoller:
    """Waits with one ``kqueue`` descriptor."""

    __slots__ = ("_known", "_kqueue", "_select")

    def __init__(self) -> None:
        # Any: this platform's `select` may not have what is used here.
        self._select: Any = select
        self._kqueue: Any = self._select.kqueue()
        self._known: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        """Begin to watch `fd`."""
        if fd in self._known:
            raise FileExistsError(f"descriptor {fd} is registered already")
        self._known[fd] = 0
        self.modify(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Ask for something else."""
        before = self._known[fd]
        kernel = self._select
        changes: list[Any] = []
        for bit, which in ((READ, kernel.KQ_FILTER_READ), (WRITE, kernel.KQ_FILTER_WRITE)):
            if mask & bit and not before & bit:
                changes.append(kernel.kevent(fd, which, kernel.KQ_EV_ADD))
            elif before & bit and not mask & bit:
                changes.append(kernel.kevent(fd, which, kernel.KQ_EV_DELETE))
        if changes:
            self._kqueue.control(changes, 0, 0)
        self._known[fd] = mask

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        if fd in self._known:
            self.modify(fd, 0)
        del self._known[fd]

    def poll(self, timeout: float | None = None) -> Sequence[tuple[int, int]]:
        """Wait at most `timeout` seconds."""
        kernel = self._select
        found: dict[int, int] = {}
        for event in self._kqueue.control(None, max(len(self._known) * 2, 1), timeout):
            mask = READ if event.filter == kernel.KQ_FILTER_READ else WRITE
            if event.flags & kernel.KQ_EV_ERROR or (
                event.flags & kernel.KQ_EV_EOF and event.fflags
            ):
                mask |= ERROR
            fd: int = event.ident
            found[fd] = found.get(fd, 0) | mask
        return list(found.items())

    def fileno(self) -> int:
        """The descriptor another loop can wait on."""
        fd: int = self._kqueue.fileno()
        return fd

    def close(self) -> None:
        """Give the descriptor back."""
        self._kqueue.close()
        self._known.clear()
