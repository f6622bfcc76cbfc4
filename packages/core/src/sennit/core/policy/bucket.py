"""The token bucket that all rate limits are made of."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Tokens that come at a rate and gather up to a burst.

    What is taken beyond what is there is owed: whoever took it waits until the
    debt is paid, and whoever takes next waits longer. So several that share one
    bucket are served in the order in which they took.

    Over any span of t seconds no more than ``burst + rate * t`` tokens are
    granted without a wait, plus the one taking that began the debt.

    Args:
        rate: Tokens per second.
        burst: Tokens that gather at most; one second's worth when left out.

    Raises:
        ValueError: One of them is not above 0.
    """

    __slots__ = ("_tokens", "_when", "burst", "rate")

    def __init__(self, rate: float, burst: float | None = None) -> None:
        if not rate > 0 or not (burst is None or burst > 0):
            raise ValueError(f"a rate ({rate}) and a burst ({burst}) are above 0")
        self.rate = rate
        self.burst = max(rate, 1.0) if burst is None else burst
        self._tokens = self.burst
        self._when: float | None = None

    def __repr__(self) -> str:
        """Rate and burst."""
        return f"<{type(self).__name__} {self.rate:g}/s, burst {self.burst:g}>"

    def available(self, now: float) -> float:
        """Tokens that are there at the time `now` (seconds, monotonic); negative is a debt."""
        when = self._when
        if when is None:
            self._when = now
        elif now > when:
            self._tokens = min(self.burst, self._tokens + (now - when) * self.rate)
            self._when = now
        return self._tokens

    def take(self, amount: float, now: float) -> float:
        """Take `amount` tokens, there or not; seconds until they are paid for, 0 if they are."""
        self._tokens = left = self.available(now) - amount
        return 0.0 if left >= 0 else -left / self.rate

    def try_take(self, amount: float, now: float) -> bool:
        """Take `amount` tokens if they are all there."""
        if self.available(now) < amount:
            return False
        self._tokens -= amount
        return True

    def full(self, now: float) -> bool:
        """Whether it is as full as it gets, which says that it need not be remembered."""
        return self.available(now) >= self.burst
