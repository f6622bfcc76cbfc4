"""How long to wait before the next try: longer each time, and never quite the same.

Jitter keeps those who failed together from trying together (HARDENING fault-20).
"""

from __future__ import annotations

import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackOff"]


class BackOff:
    """Waits that double from `initial` to `maximum`, each shortened by a random part.

    Args:
        initial: Seconds of the first wait.
        maximum: Seconds of the longest.
        jitter: The largest part, from 0 to 1, by which a wait is shortened.
        settled: Seconds without a failure after which it begins anew.
        limit: Failures in a row after which it gives up; ``None`` for never.
        chance: Gives a number from 0 to 1; for tests.

    Attributes:
        failures: Failures in a row.
    """

    __slots__ = (
        "_chance",
        "_initial",
        "_jitter",
        "_last",
        "_limit",
        "_maximum",
        "_settled",
        "failures",
    )

    def __init__(
        self,
        initial: float = 1.0,
        maximum: float = 30.0,
        *,
        jitter: float = 0.25,
        settled: float = 60.0,
        limit: int | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < initial <= maximum:
            raise ValueError(f"a back-off from {initial} to {maximum} seconds does not grow")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter is a part, from 0 to 1, not {jitter}")
        self._initial = initial
        self._maximum = maximum
        self._jitter = jitter
        self._settled = settled
        self._limit = limit
        self._chance = chance
        self._last: float | None = None
        self.failures = 0

    def failed(self, now: float, lived: float | None = None) -> float | None:
        """Count a failure.

        Args:
            now: Monotonic seconds.
            lived: Seconds that what failed had been well before; since the last failure
                when left out.

        Returns:
            Seconds to wait before the next try; ``None`` to give up.
        """
        if lived is None:
            lived = 0.0 if self._last is None else now - self._last
        if lived >= self._settled:
            self.failures = 0
        self._last = now
        self.failures += 1
        if self._limit is not None and self.failures > self._limit:
            return None
        # The exponent is bounded before it is used: a float has an end.
        wait = self._initial * 2.0 ** min(self.failures - 1, 64)
        return min(wait, self._maximum) * (1 - self._jitter * self._chance())

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self._last = None
