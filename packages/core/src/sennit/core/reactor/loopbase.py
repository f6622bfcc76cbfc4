"""What the parts of `ReactorEventLoop` stand on: asyncio's loop, as its subclasses see it.

asyncio keeps private what its own loops are built of; this module names the part of
it that ours replaces or calls, with types.
"""

from __future__ import annotations

import asyncio
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from sennit.core.reactor.base import Reactor

    class AsyncioLoop(asyncio.SelectorEventLoop):
        """asyncio's loop with what it keeps private, and its subclasses build on."""

        _closed: bool
        _debug: bool
        _default_executor: object
        _internal_fds: int
        _reactor: Reactor

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _stop_serving(self, sock: socket.socket) -> None: ...

else:
    AsyncioLoop = asyncio.SelectorEventLoop

__all__ = ["AsyncioLoop", "LastWord", "LoopSelector", "number"]


class LoopSelector:
    """In the place of asyncio's selector: the reactor's poller waits, this only tells of what."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def get_key(self, fileobj: Any) -> SelectorKey:
        """What is waited for (asked by the `repr` of asyncio's own transports)."""
        fd = number(fileobj)
        entry = self._reactor._descriptors[fd]
        events = (EVENT_READ if entry.reader else 0) | (EVENT_WRITE if entry.writer else 0)
        return SelectorKey(fileobj, fd, events, (entry.reader, entry.writer))

    def close(self) -> None:
        """Nothing to give back."""


class LastWord:
    """Hands a protocol the error as asyncio would, instead of the house's."""

    __slots__ = ("_error", "_protocol")

    def __init__(self, protocol: Any, error: BaseException | None) -> None:
        self._protocol = protocol
        self._error = error

    def connection_lost(self, error: object) -> None:
        """The connection is gone."""
        self._protocol.connection_lost(self._error)


def number(fd: Any) -> int:
    """The descriptor of a number or file.

    Raises:
        ValueError: It is neither, or a closed file.
    """
    if isinstance(fd, int):
        found = fd
    else:
        try:
            found = int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
    if found < 0:
        raise ValueError(f"Invalid file descriptor: {found}")
    return found
