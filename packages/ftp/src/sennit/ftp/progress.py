"""Whether a transfer moves: looked at now and then, the same on both sides.

A look costs little beside the octets between two of them, where a timer that each octet arms anew
would cost much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.interfaces import IClock, IDelayedCall

__all__ = ["ProgressWatch"]

LOOKS: Final = 4
"""How often one looks within the time that a transfer may stand still."""


class ProgressWatch:
    """Looks whether something moves, from now on, and tells once when it has not for too long.

    Args:
        clock: Measures.
        patience: Seconds that it may stand still; it is told after a quarter more at most.
        mark: Gives a value that changes while it moves.
        stalled: Called when it has stood still.

    Attributes:
        excused: Whether it may stand still now: it is this side's own doing.
    """

    __slots__ = ("_clock", "_interval", "_mark", "_seen", "_stalled", "_still", "_timer", "excused")

    def __init__(
        self,
        clock: IClock,
        patience: float,
        mark: Callable[[], object],
        stalled: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._interval = patience / LOOKS
        self._mark = mark
        self._stalled = stalled
        self._seen: object = None
        self._still = 0  # looks in a row that saw nothing move
        self.excused = False
        self._timer: IDelayedCall | None = clock.call_later(self._interval, self._look)

    def forgive(self) -> None:
        """What it has stood still so far does not count."""
        self._seen = None
        self._still = 0

    def stop(self) -> None:
        """Look no more; harmless when that was said."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        # Who has this holds it, and these hold him.
        self._mark = self._stalled = _nothing

    def _look(self) -> None:
        mark = self._mark()
        if self.excused or mark != self._seen:
            self._seen = mark
            self._still = 0
        else:
            self._still += 1
            if self._still >= LOOKS:
                self._timer = None
                stalled = self._stalled
                self.stop()
                stalled()
                return
        self._timer = self._clock.call_later(self._interval, self._look)


def _nothing() -> None:
    pass
