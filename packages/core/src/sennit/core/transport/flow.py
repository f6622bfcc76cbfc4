"""The flow control every stream transport shares: two marks, one hard limit, one wait.

`pause_writing` and `resume_writing` are called at the high and the low mark;
`writable` is the awaitable form of the same. Past the hard limit the connection
is aborted with the reason ``limit:write-buffer``: a peer that never reads must
not hold the program's memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import Any, Final

    from sennit.core.deferred import Deferred
    from sennit.core.errors import ConnectionLost, LimitReachedError
    from sennit.core.interfaces import IStreamProtocol

__all__ = ["HARD_LIMIT", "HIGH_WATER", "LOW_WATER", "READY", "FlowControl"]

HIGH_WATER: Final = 64 * 1024
"""Octets waiting to be sent at which producers are paused."""
LOW_WATER: Final = 16 * 1024
"""Octets at which they are resumed."""
HARD_LIMIT: Final = 16 * 1024 * 1024
"""Octets past which the connection is aborted."""


class _Ready:
    """An awaitable that is ready: awaiting it costs no turn and no object."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield  # pragma: no cover - makes this a generator


READY: Final = _Ready()
"""What `writable` returns when there is room."""


class FlowControl:
    """Marks, the protocol's pauses, and those who wait for room.

    A transport calls `_pressed` when octets were added and `_relieved` when some
    have left, if `_pressing` says that somebody cares.
    """

    __slots__ = ("_hard", "_high", "_low", "_pressing", "_protocol", "_waiters")

    _protocol: IStreamProtocol
    _hard: int

    def __init__(self) -> None:
        self._high = HIGH_WATER
        self._low = LOW_WATER
        self._hard = HARD_LIMIT
        self._pressing = False
        self._waiters: list[Deferred[None]] | None = None

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent."""
        raise TypeError("a transport counts its own octets")  # pragma: no cover

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks, ``(low, high)``, in octets."""
        return self._low, self._high

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None, *, hard: int | None = None
    ) -> None:
        """Set the marks at which producers are paused and resumed.

        Args:
            high: Octets; 64 KiB or four times `low` when left out.
            low: Octets; a quarter of `high` when left out.
            hard: Octets past which the connection is aborted; as it was when left out.

        Raises:
            ValueError: Not ``0 <= low <= high <= hard``.
        """
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if hard is None:
            hard = max(self._hard, high)
        if not 0 <= low <= high <= hard:
            raise ValueError(f"not 0 <= low ({low}) <= high ({high}) <= hard ({hard})")
        self._high, self._low, self._hard = high, low, hard
        size = self.get_write_buffer_size()
        if size > high:
            self._pause()
        elif self._why_gone() is None and not self._holds_files():
            self._relieved(size)

    def _holds_files(self) -> bool:
        """Whether a file is on its way, which keeps producers waiting however little there is."""
        return False

    def writable(self) -> Awaitable[None]:
        """Wait until more may be written; free when there is room.

        Fails with `ConnectionLost` when the connection ends first, or has ended.
        """
        if not self._pressing:
            return READY
        from sennit.core.deferred import Deferred, fail

        lost = self._why_gone()
        if lost is not None:
            return fail(lost)

        waiter: Deferred[None] = Deferred(self._stop_waiting)
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return waiter

    def _stop_waiting(self, waiter: Deferred[None]) -> None:
        if self._waiters is not None and waiter in self._waiters:
            self._waiters.remove(waiter)

    def _why_gone(self) -> ConnectionLost | None:
        """What waiting for room fails with once the connection has ended.

        Asked only while `_pressing`, which therefore is set when it ends: a
        producer that waits for room then learns it instead of turning for ever.
        """
        return None

    def _pause(self) -> None:
        """Above the high mark: tell the protocol, once."""
        if not self._pressing:
            self._pressing = True
            try:
                self._protocol.pause_writing()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "pause_writing")

    def _relieved(self, size: int) -> None:
        """Octets have left: below the low mark everybody may go on."""
        if self._pressing and size <= self._low:
            self._pressing = False
            try:
                self._protocol.resume_writing()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "resume_writing")
            self._wake_waiters(None)

    def _overflow(self, size: int, peer: object) -> LimitReachedError:
        """Past the hard limit: say so, once, for the connection ends by it (HARDENING core-8)."""
        import logging

        from sennit.core.errors import LimitReachedError

        logging.getLogger("sennit").warning(
            "Connection with %s aborted, limit:write-buffer: %d octets wait, it does not read",
            peer,
            size,
        )
        return LimitReachedError(
            f"{size} octets wait for a peer that does not read", "limit:write-buffer"
        )

    def _wake_waiters(self, error: BaseException | None) -> None:
        waiters = self._waiters
        if waiters:
            self._waiters = None
            for waiter in waiters:
                if error is None:
                    waiter.callback(None)
                else:
                    waiter.errback(error)

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that ends its connection, nothing else."""
        raise error  # pragma: no cover - every transport has its own
