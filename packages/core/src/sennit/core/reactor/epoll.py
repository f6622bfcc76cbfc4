"""The poller of Linux: ``epoll`` as it is, since its bits are the house's own."""

from __future__ import annotations

import select as _select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EpollPoller"]


class EpollPoller:
    """Waits with one ``epoll`` descriptor. Its methods are the kernel object's own."""

    __slots__ = ("_epoll", "fileno", "modify", "poll", "register", "unregister")

    def __init__(self) -> None:
        epoll = _select.epoll()
        self._epoll = epoll
        self.register: Callable[[int, int], None] = epoll.register
        self.modify: Callable[[int, int], None] = epoll.modify
        self.unregister: Callable[[int], None] = epoll.unregister
        self.poll: Callable[[float | None], Sequence[tuple[int, int]]] = epoll.poll
        self.fileno: Callable[[], int] = epoll.fileno

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()
