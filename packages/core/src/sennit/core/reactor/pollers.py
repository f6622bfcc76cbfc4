"""What the pollers have in common: the event bits, and which poller this platform has best.

The bits are those of Linux' ``epoll`` and ``poll``, which therefore translate
nothing. A poller has ``register(fd, mask)``, ``modify(fd, mask)``,
``unregister(fd)``, ``poll(timeout)`` (seconds, ``None`` to wait for ever; a list
of (fd, mask)), ``close()`` and ``fileno()``, the descriptor another loop can
wait on, or ``None``.
"""

from __future__ import annotations

import select as _select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, Protocol

    class Poller(Protocol):
        """Waits for descriptors."""

        def register(self, fd: int, mask: int, /) -> None: ...
        def modify(self, fd: int, mask: int, /) -> None: ...
        def unregister(self, fd: int, /) -> None: ...
        def poll(self, timeout: float | None = None, /) -> Sequence[tuple[int, int]]: ...
        def fileno(self) -> int | None: ...
        def close(self) -> None: ...


__all__ = ["ERROR", "HANGUP", "ONCE", "PEER_CLOSED", "READ", "WRITE", "default_poller", "pollers"]

READ: Final = 0x001
"""Octets (or a connection to accept) are there, or the end of them."""
WRITE: Final = 0x004
"""The kernel takes octets."""
ERROR: Final = 0x008
"""The descriptor is in error; always reported, asked for or not."""
HANGUP: Final = 0x010
"""Both directions are closed; always reported."""
PEER_CLOSED: Final = 0x2000
"""The peer has closed its way out (EPOLLRDHUP); told apart from READ only where `epoll` can."""
ONCE: Final = 1 << 30
"""Report once, then nothing until `modify` (EPOLLONESHOT); a poller without it ignores PEER_CLOSED
and keeps the descriptor unregistered while nothing else is asked for."""


def pollers() -> list[str]:
    """Names of the pollers that this platform has, best first."""
    found: list[str] = []
    if hasattr(_select, "epoll"):
        found.append("epoll")
    if hasattr(_select, "kqueue"):
        found.append("kqueue")
    if hasattr(_select, "poll"):
        found.append("poll")
    found.append("select")
    return found


def default_poller(name: str | None = None) -> Poller:
    """A new poller: the one named, or the best there is.

    Raises:
        ValueError: This platform has none of that name.
    """
    chosen = name or pollers()[0]
    if chosen == "epoll" and hasattr(_select, "epoll"):
        from sennit.core.reactor.epoll import EpollPoller

        return EpollPoller()
    if chosen == "kqueue" and hasattr(_select, "kqueue"):
        from sennit.core.reactor.kqueue import KqueuePoller

        return KqueuePoller()
    if chosen == "poll" and hasattr(_select, "poll"):
        from sennit.core.reactor.poll import PollPoller

        return PollPoller()
    if chosen == "select":
        from sennit.core.reactor.select import SelectPoller

        return SelectPoller()
    raise ValueError(f"no poller {name!r} here; there are: {', '.join(pollers())}")
