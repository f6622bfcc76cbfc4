"""The poller for platforms with ``poll`` alone."""

from __future__ import annotations

import math
import select as _select

from sennit.core.reactor.pollers import ERROR, HANGUP, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PollPoller"]

_ASKED = READ | WRITE


class PollPoller:
    """Waits with ``poll``; a mask that asks for nothing leaves the descriptor out altogether."""

    __slots__ = ("_known", "_poll")

    def __init__(self) -> None:
        self._poll = _select.poll()
        self._known: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        """Begin to watch `fd`."""
        if fd in self._known:
            raise FileExistsError(f"descriptor {fd} is registered already")
        self._known[fd] = mask
        if mask & _ASKED:
            self._poll.register(fd, mask & _ASKED)

    def modify(self, fd: int, mask: int) -> None:
        """Ask for something else."""
        before = self._known[fd] & _ASKED
        self._known[fd] = mask
        asked = mask & _ASKED
        if asked:
            self._poll.register(fd, asked)
        elif before:
            self._poll.unregister(fd)

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        if self._known.pop(fd) & _ASKED:
            self._poll.unregister(fd)

    def poll(self, timeout: float | None = None) -> Sequence[tuple[int, int]]:
        """Wait at most `timeout` seconds; rounded up, lest a timer be met by a spin."""
        if timeout is None:
            events = self._poll.poll()
        else:
            events = self._poll.poll(math.ceil(timeout * 1000) if timeout > 0 else 0)
        return [
            # POLLNVAL: closed under our feet; to its owner an error like any other.
            (fd, (mask & (_ASKED | ERROR | HANGUP)) or ERROR)
            for fd, mask in events
        ]

    def fileno(self) -> None:
        """``poll`` has no descriptor that another loop could wait on."""

    def close(self) -> None:
        """Forget all."""
        self._known.clear()
