"""Rates of answers over UDP, where an address may be forged and an answer is larger than a query.

Each network (a /24, in IPv6 a /56) gets so many answers a second of one kind, and so many in
all. What is beyond is dropped, save that every second one (`slip`) is sent without records and
with TC: whoever was really asking comes back by TCP, whose address is proved.

There is one bucket of tokens per network and kind, kept in the order of use; when there are
too many the ones used longest ago go, so that made-up addresses cost memory up to a bound.
A bucket that nobody has used for a second is full, and needs no remembering.

Time is passed in, in monotonic seconds. Not here: who is not limited at all (``server.py``).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from sennit.core.policy.limits import address_key

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from sennit.names.limits import ServerLimits

__all__ = ["RateLimiter", "Verdict"]

_MOST_HOSTS: Final = 4096
"""Addresses whose network is remembered."""


class Verdict(Enum):
    """What becomes of an answer."""

    SEND = "send"
    SLIP = "slip"
    DROP = "drop"


SEND: Final = Verdict.SEND
SLIP: Final = Verdict.SLIP
DROP: Final = Verdict.DROP


class _Bucket:
    __slots__ = ("beyond", "tokens", "when")

    def __init__(self, tokens: float, when: float) -> None:
        self.tokens = tokens
        self.when = when
        self.beyond = 0


class RateLimiter:
    """Says which answers a client gets.

    Args:
        limits: Rates, and how many of them are remembered.

    Attributes:
        slipped: Answers that were sent without their records.
        dropped: Answers that were not sent.
    """

    __slots__ = ("_buckets", "_limits", "_networks", "dropped", "slipped")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._buckets: dict[Hashable, _Bucket] = {}
        self._networks: dict[str, str] = {}
        self.slipped = 0
        self.dropped = 0

    def __len__(self) -> int:
        """How many rates are remembered."""
        return len(self._buckets)

    def network(self, peer: Any) -> str:
        """What a peer is counted under; ``local`` for loopback. (`Any`: as `socket` names it.)"""
        host: str = peer[0]
        found = self._networks.get(host)
        if found is None:
            limits = self._limits
            found = address_key(peer, limits.ipv4_prefix, limits.ipv6_prefix)
            if len(self._networks) >= _MOST_HOSTS:
                self._networks.clear()
            self._networks[host] = found
        return found

    def judge(self, network: str, kind: Hashable, now: float) -> Verdict:
        """Whether an answer of some kind may be sent to a network at the time `now`."""
        limits = self._limits
        verdict = SEND
        if limits.rate:
            verdict = self._take((network, kind), limits.rate, now)
        if verdict is SEND and limits.network_rate:
            verdict = self._take(network, limits.network_rate, now)
        if verdict is SLIP:
            self.slipped += 1
        elif verdict is DROP:
            self.dropped += 1
        return verdict

    def _take(self, key: Hashable, rate: float, now: float) -> Verdict:
        buckets = self._buckets
        bucket = buckets.pop(key, None)
        if bucket is None:
            if len(buckets) >= self._limits.rates:
                del buckets[next(iter(buckets))]
            bucket = _Bucket(max(rate, 1.0), now)
        elif now > bucket.when:
            bucket.tokens = min(max(rate, 1.0), bucket.tokens + (now - bucket.when) * rate)
            bucket.when = now
        buckets[key] = bucket  # used last
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return SEND
        slip = self._limits.slip
        bucket.beyond += 1
        return SLIP if slip and bucket.beyond % slip == 0 else DROP
