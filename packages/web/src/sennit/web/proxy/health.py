"""Whether an upstream is well: a state machine that is told of requests and checks.

::

    state     what happened                                   becomes
    UP        `fall` requests failed, one after the other     RESTING for `pause` seconds
    RESTING   the pause is over, and a request is sent        TRIED (one request at a time)
    TRIED     it was answered                                 UP
    TRIED     it failed                                       RESTING, twice as long as before
    UP, …     `fall` checks failed, one after the other       SICK
    SICK      `rise` checks went well, one after the other    UP

Requests alone judge where there are no checks (passive), and both do where there
are. A SICK upstream gets no requests at all. One that has come UP again may be
given less to do for a while (`share`).

No clock and no I/O: time comes in as `now`. Not here: sending checks (``checks.py``).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Health", "HealthRules", "State"]


class State(Enum):
    """How an upstream is."""

    UP = "up"
    RESTING = "resting"
    TRIED = "tried"
    SICK = "sick"


class HealthRules:
    """When an upstream counts as well or not.

    Attributes:
        fall: Failures one after the other, of requests or of checks, that bring it down.
        rise: Checks one after the other that bring it up.
        pause: Seconds that it gets no requests when requests have failed.
        longest_pause: Seconds to which that grows, doubling each time.
        slow_start: Seconds in which one that came up grows to its full share; 0 for at once.
    """

    __slots__ = ("fall", "longest_pause", "pause", "rise", "slow_start")

    def __init__(
        self,
        *,
        fall: int = 3,
        rise: int = 2,
        pause: float = 10.0,
        longest_pause: float = 300.0,
        slow_start: float = 0.0,
    ) -> None:
        if fall < 1 or rise < 1:
            raise WebUsageError(f"fall ({fall}) and rise ({rise}) count from 1")
        if not 0 < pause <= longest_pause or slow_start < 0:
            raise WebUsageError("a pause is above 0 and no longer than the longest one")
        self.fall = fall
        self.rise = rise
        self.pause = pause
        self.longest_pause = longest_pause
        self.slow_start = slow_start


class Health:
    """How one upstream is.

    Args:
        rules: When it counts as what.
        changed: Called with the state before and the one that begins.

    Attributes:
        state: What it counts as.
    """

    __slots__ = (
        "_changed",
        "_failures",
        "_pause",
        "_rules",
        "_successes",
        "_until",
        "_up_since",
        "state",
    )

    def __init__(
        self,
        rules: HealthRules | None = None,
        changed: Callable[[State, State], object] | None = None,
    ) -> None:
        self._rules = rules or HealthRules()
        self._changed = changed
        self.state = State.UP
        self._failures = 0
        self._successes = 0
        self._pause = 0.0
        self._until = 0.0
        self._up_since = float("-inf")

    def may_try(self, now: float) -> bool:
        """Whether a request may be sent to it."""
        state = self.state
        return state is State.UP or (state is State.RESTING and now >= self._until)

    def next_try(self) -> float | None:
        """When one may be sent again; ``None`` where only a check can say so."""
        return self._until if self.state is State.RESTING else None

    def begin(self, now: float) -> None:
        """A request is sent to it."""
        if self.state is State.RESTING and now >= self._until:
            self._become(State.TRIED)

    def request_done(self, now: float) -> None:
        """A request was answered."""
        self._failures = 0
        if self.state is State.TRIED:
            self._rise(now)

    def request_given_up(self, now: float) -> None:
        """A request ended in a way that says nothing of it."""
        if self.state is State.TRIED:
            self._become(State.RESTING)

    def request_failed(self, now: float) -> None:
        """It could not be reached, or did not answer as it must."""
        if self.state is State.TRIED:
            self._rest(now)
        elif self.state is State.UP:
            self._failures += 1
            if self._failures >= self._rules.fall:
                self._rest(now)

    def check_done(self, now: float) -> None:
        """A check went well."""
        if self.state is State.UP:
            self._failures = 0
            return
        self._failures = 0
        self._successes += 1
        if self._successes >= self._rules.rise:
            self._rise(now)

    def check_failed(self, now: float) -> None:
        """A check did not."""
        self._successes = 0
        if self.state is State.SICK:
            return
        self._failures += 1
        if self._failures >= self._rules.fall or self.state is not State.UP:
            self._become(State.SICK)

    def share(self, now: float) -> float:
        """The part of its weight that it can take now: above 0, 1 for all of it."""
        over = self._rules.slow_start
        if not over:
            return 1.0
        return min(1.0, max(0.1, (now - self._up_since) / over))

    def _rise(self, now: float) -> None:
        self._failures = self._successes = 0
        self._pause = 0.0
        self._up_since = now
        self._become(State.UP)

    def _rest(self, now: float) -> None:
        rules = self._rules
        self._pause = min(self._pause * 2 or rules.pause, rules.longest_pause)
        self._until = now + self._pause
        self._failures = self._successes = 0
        self._become(State.RESTING)

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        if self._changed is not None and before is not state:
            self._changed(before, state)
