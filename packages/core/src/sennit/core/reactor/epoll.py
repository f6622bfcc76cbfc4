"""The poller of Linux: ``epoll`` as it is, since its bits are the house's own."""

from __future__ import annotations

import select as _select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EpollPoller"]


class EpollPoller:
    """Waits with one ``epoll`` descriptor. Its methods are the kernel object's own."""

    __slots__ = ("_epoll", "fileno", "modify", "poll", "register", "unregister")

    if TYPE_CHECKING:

        def register(self, fd: int, mask: int, /) -> None: ...
        def modify(self, fd: int, mask: int, /) -> None: ...
        def unregister(self, fd: int, /) -> None: ...
        def poll(self, timeout: float | None = None, /) -> Sequence[tuple[int, int]]: ...
        def fileno(self) -> int: ...

    def __init__(self) -> None:
        epoll = _select.epoll()
        self._epoll = epoll
        for name in ("register", "modify", "unregister", "poll", "fileno"):
            setattr(self, name, getattr(epoll, name))

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()
