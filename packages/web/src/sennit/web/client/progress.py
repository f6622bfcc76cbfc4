"""Telling how far an upload or a download is: often enough to be seen, not for every octet.

A `Meter` counts what passes and calls back at most every `INTERVAL` seconds, at the
beginning and at the end. Time is passed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from sennit.core.interfaces import Buffer

    OnProgress = Callable[["Progress"], object]
    B = TypeVar("B", bound=Buffer)

__all__ = ["Meter", "Progress", "metered"]

INTERVAL: Final = 0.1
"""Seconds between two calls."""


class Progress:
    """How far it is.

    Attributes:
        done: Octets that have passed.
        total: Octets in all, or ``None`` where nobody knows.
        seconds: Since it began.
        finished: Whether that was all.
        offset: Octets that were there before: a download that goes on where an
            earlier one ended. They are in `done` and in `total`, not in `rate`.
    """

    __slots__ = ("done", "finished", "offset", "seconds", "total")

    def __init__(self, done: int, total: int | None, seconds: float, offset: int = 0) -> None:
        self.done = done
        self.total = total
        self.seconds = seconds
        self.finished = False
        self.offset = offset

    def __repr__(self) -> str:
        return f"<Progress {self.done} of {self.total} in {self.seconds:.3g} s>"

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; ``None`` where the total is not known."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def rate(self) -> float:
        """Octets a second so far."""
        return (self.done - self.offset) / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds that the rest will take at this rate; ``None`` where that cannot be said."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


class Meter:
    """Counts octets, and tells of them.

    Args:
        callback: Called with a `Progress`, which is the same object each time.
        total: Octets in all, where known.
        clock: Seconds, monotonic.
        offset: Octets that were there before.
    """

    __slots__ = ("_began", "_callback", "_clock", "_due", "progress")

    def __init__(
        self,
        callback: OnProgress,
        total: int | None,
        clock: Callable[[], float],
        offset: int = 0,
    ) -> None:
        self._callback = callback
        self._clock = clock
        self._began = self._due = clock()
        self.progress = Progress(offset, total, 0.0, offset)

    def count(self, octets: int) -> None:
        """So many more have passed."""
        progress = self.progress
        progress.done += octets
        now = self._clock()
        if now >= self._due:
            self._due = now + INTERVAL
            progress.seconds = now - self._began
            self._callback(progress)

    def finish(self) -> None:
        """That was all."""
        progress = self.progress
        progress.seconds = self._clock() - self._began
        progress.finished = True
        self._callback(progress)


async def metered(source: AsyncIterable[B], meter: Meter) -> AsyncIterator[B]:
    """What `source` gives, counted as it passes."""
    async for piece in source:
        meter.count(len(piece))
        yield piece
    meter.finish()
