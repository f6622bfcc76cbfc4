"""The poller of macOS and the BSDs: ``kqueue``, written to its manual page.

Not run on the machines this project is tested on, which are all Linux.

A filter is registered per direction. ``EV_EOF`` on the read filter comes while
octets may still wait, so it reads as READ; on the write filter it means that
the peer takes no more, which the next write will find out. ``fflags`` then
holds the socket's error, if any.
"""

from __future__ import annotations

import select as _select
import sys

from sennit.core.reactor.pollers import ERROR, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.platform != "linux" and sys.platform != "win32":

    class KqueuePoller:
        """Waits with one ``kqueue`` descriptor."""

        __slots__ = ("_known", "_kqueue")

        def __init__(self) -> None:
            self._kqueue = _select.kqueue()
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
            changes = []
            for bit, which in (
                (READ, _select.KQ_FILTER_READ),
                (WRITE, _select.KQ_FILTER_WRITE),
            ):
                if mask & bit and not before & bit:
                    changes.append(_select.kevent(fd, which, _select.KQ_EV_ADD))
                elif before & bit and not mask & bit:
                    changes.append(_select.kevent(fd, which, _select.KQ_EV_DELETE))
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
            found: dict[int, int] = {}
            for event in self._kqueue.control(None, max(len(self._known) * 2, 1), timeout):
                mask = READ if event.filter == _select.KQ_FILTER_READ else WRITE
                if event.flags & _select.KQ_EV_ERROR or (
                    event.flags & _select.KQ_EV_EOF and event.fflags
                ):
                    mask |= ERROR
                found[event.ident] = found.get(event.ident, 0) | mask
            return list(found.items())

        def fileno(self) -> int:
            """The descriptor another loop can wait on."""
            return self._kqueue.fileno()

        def close(self) -> None:
            """Give the descriptor back."""
            self._kqueue.close()
            self._known.clear()
