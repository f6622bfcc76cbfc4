"""Trying again: which failures and answers are worth it, when, and how often.

Only what may be repeated is repeated by itself: GET, HEAD, OPTIONS, PUT, DELETE and TRACE,
and any method when the server surely did nothing yet. Waits grow by doubling and are
drawn at random below that, so that clients that failed together do not come back
together; a server that says when (Retry-After) is believed, within bounds. A budget
keeps a client from making a bad hour worse: when much fails, little is repeated.

Nothing here waits or knows the time: `delay` says how long, and the client waits.

Sources: RFC 9110 §9.2.2 (idempotent methods), §10.2.3 (Retry-After), §15.6.4; RFC 6585 §4.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from sennit.core.errors import ConnectError, ConnectionLost, LimitReachedError, TLSError
from sennit.web.client.messages import IDEMPOTENT
from sennit.web.dates import parse_date
from sennit.web.errors import (
    CutShortError,
    RequestTimeoutError,
    UnansweredError,
    WebUsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Retries", "parse_retry_after"]

STATUSES: Final = frozenset({429, 502, 503, 504})
"""Answers that say "later": too many requests, or whoever should answer is not there."""


class Retries:
    """What a client tries again.

    Args:
        total: Tries after the first.
        statuses: Answers that are not taken for one.
        methods: What may be repeated; ``None`` for every method, which only who knows
            the server can say.
        first: Seconds that the first wait has at most; each later one twice as many.
        longest: Seconds of the longest wait by our own count.
        longest_asked: Seconds of the longest wait that a server may ask for: where it
            asks for more its answer is given to the caller.
        timeouts: Whether an answer that did not come in time is asked for again.
        budget: Retries in a row that are there at once; each request that needed none
            earns a tenth of one back. ``None`` for no such bound.
        draw: A number from 0 to below 1.
        wall_clock: Seconds since the epoch.
    """

    def __init__(
        self,
        total: int = 3,
        *,
        statuses: Iterable[int] = STATUSES,
        methods: Iterable[str] | None = IDEMPOTENT,
        first: float = 0.5,
        longest: float = 30.0,
        longest_asked: float = 120.0,
        timeouts: bool = True,
        budget: int | None = 20,
        draw: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if total < 0 or first <= 0 or longest <= 0:
            raise WebUsageError("retries are counted from 0, and waits have some length")
        self.total = total
        self.statuses = frozenset(statuses)
        self.methods = None if methods is None else frozenset(methods)
        self.first = first
        self.longest = longest
        self.longest_asked = longest_asked
        self.timeouts = timeouts
        self._budget = budget
        self._tokens = float(budget or 0)
        self._draw = draw
        self._wall_clock = wall_clock

    def __repr__(self) -> str:
        return f"<Retries {self.total}>"

    def after_error(self, method: str, error: BaseException, attempt: int) -> float | None:
        """Seconds to wait after a failure; ``None`` not to try again.

        Args:
            method: Of the request that failed.
            error: How.
            attempt: How many retries there have been.
        """
        if attempt >= self.total or not self._may_repeat(method, error):
            return None
        return self._spend(self._own_delay(attempt))

    def after_status(
        self, method: str, status: int, retry_after: str | None, attempt: int
    ) -> float | None:
        """Seconds to wait after an answer; ``None`` to take it.

        Args:
            method: Of the request that was answered.
            status: With what.
            retry_after: The value of Retry-After.
            attempt: How many retries there have been.
        """
        if status not in self.statuses:
            return None
        if attempt >= self.total or not (self.methods is None or method in self.methods):
            return None
        asked = None if retry_after is None else parse_retry_after(retry_after, self._wall_clock())
        if asked is None:
            return self._spend(self._own_delay(attempt))
        if asked > self.longest_asked:
            return None
        # Everybody was told the same moment; so not all at it.
        return self._spend(asked + self._draw() * min(1.0, self.first))

    def succeeded(self) -> None:
        """A request needed no retry: a tenth of one is earned."""
        if self._budget is not None:
            self._tokens = min(float(self._budget), self._tokens + 0.1)

    def _may_repeat(self, method: str, error: BaseException) -> bool:
        repeatable = self.methods is None or method in self.methods
        if isinstance(error, UnansweredError) and error.untouched:
            return True
        if isinstance(error, CutShortError):
            return repeatable
        if isinstance(error, RequestTimeoutError):
            if error.phase in ("connect", "pool"):
                return True  # nothing was sent
            return repeatable and self.timeouts and error.phase != "total"
        if isinstance(error, TLSError):
            return False  # a certificate is not better the second time
        if isinstance(error, ConnectError):
            # Nothing was sent, so any method will do.
            return not any(isinstance(each, TLSError) for each in error.attempts)
        return (
            repeatable
            and isinstance(error, ConnectionLost)
            and not isinstance(error, LimitReachedError)
        )

    def _own_delay(self, attempt: int) -> float:
        return self._draw() * min(self.longest, self.first * 2.0 ** min(attempt, 60))

    def _spend(self, delay: float) -> float | None:
        if self._budget is None:
            return delay
        if self._tokens < 1:
            return None
        self._tokens -= 1
        return delay


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds that Retry-After asks for; ``None`` where it cannot be read.

    Args:
        value: A number of seconds, or a date.
        now: Seconds since the epoch.
    """
    value = value.strip(" \t")
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= 12 else float("inf")
    when = parse_date(value)
    return None if when is None else max(0.0, when - now)
