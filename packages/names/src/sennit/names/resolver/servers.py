"""What is known of upstream servers: how quick they are, what they do not understand or serve.

`Servers.choose` picks the one to ask next: mostly one of the quick ones, now and then another, so
that its time is known, and one that did not answer not before its pause is over, unless there
are no others. Time and chance are passed in.

One that gave an error for some name of a zone is asked after the others of that zone for a
while, but not left out: the error is that name's (RFC 9520 §3.2), and others may be well.

Sources: RFC 6298 §2 (smoothed times), RFC 6891 §6.2.2 (servers without EDNS), RFC 2308 §7
(servers that are down or lame).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.names.name import Name

    Address = tuple[str, int]

__all__ = ["Server", "Servers"]

UNKNOWN_TIME: Final = 0.12
"""Seconds that a server is thought to take before it was asked."""
LEAST_WAIT: Final = 0.25
MOST_WAIT: Final = 2.0
FIRST_WAIT: Final = 0.8
"""Seconds that an answer is waited for: bounds, and for a server not known."""
BAND: Final = 0.1
"""Servers are equally good within this many seconds of the best."""
PROBE: Final = 0.05
"""How often one is asked that is not among the best."""
FIRST_PAUSE: Final = 1.0
MOST_PAUSE: Final = 300.0
"""Seconds that a silent server is left alone, doubled with each failure."""
HABIT: Final = 3600.0
"""Seconds that a missing EDNS or a zone that is not served is remembered."""
LAME_ZONES: Final = 20
"""Zones remembered per server that it does not serve; likewise those it gave errors for."""
DOUBT: Final = 30.0
"""Seconds that others of a zone's servers are preferred to one that gave an error."""


class Server:
    """One server, by address and port.

    Attributes:
        time: Seconds that its answers take, smoothed; a guess before the first.
        deviation: How far they are from that.
        failures: Times in a row that it did not answer.
        pause: When it may be asked again.
        plain_until: Until when it is asked without EDNS.
        cookies: Whether it gave us one (RFC 7873): then an answer without one is doubtful.
        lame: Zones that it does not serve, and until when.
        doubtful: Zones that it gave an error for, and until when others are preferred.
    """

    __slots__ = (
        "address",
        "cookies",
        "deviation",
        "doubtful",
        "failures",
        "known",
        "lame",
        "pause",
        "plain_until",
        "time",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.known = False
        # Where there is no way over IPv6 it is not found out with each new server.
        self.time = UNKNOWN_TIME + 2 * BAND if ":" in address[0] else UNKNOWN_TIME
        self.deviation = 0.0
        self.failures = 0
        self.pause = 0.0
        self.plain_until = 0.0
        self.cookies = False
        self.lame: dict[bytes, float] = {}
        self.doubtful: dict[bytes, float] = {}

    def wait(self) -> float:
        """Seconds to wait for its answer (RFC 6298 §2, doubled with each failure)."""
        base = self.time + 4 * self.deviation if self.known else FIRST_WAIT
        return min(MOST_WAIT, max(LEAST_WAIT, base) * (1 << min(self.failures, 3)))

    def answered(self, seconds: float) -> None:
        """It did, after so long."""
        if self.known:
            self.deviation += (abs(seconds - self.time) - self.deviation) / 4
            self.time += (seconds - self.time) / 8
        else:
            self.known, self.time, self.deviation = True, seconds, seconds / 2
        self.failures = 0
        self.pause = 0.0

    def failed(self, now: float) -> None:
        """It did not."""
        self.failures += 1
        self.pause = now + min(MOST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures - 1, 16))

    def mark_lame(self, zone: Name, now: float) -> None:
        """It does not serve a zone; remember for an hour."""
        _remember(self.lame, zone, now + HABIT)

    def mark_doubtful(self, zone: Name, now: float) -> None:
        """It gave an error for something of a zone."""
        _remember(self.doubtful, zone, now + DOUBT)

    def is_lame(self, zone: Name, now: float) -> bool:
        """Whether it is remembered not to serve a zone."""
        return self.lame.get(zone.key, 0.0) > now

    def is_doubtful(self, zone: Name, now: float) -> bool:
        """Whether others of the zone's servers are to be preferred."""
        return self.doubtful.get(zone.key, 0.0) > now


def _remember(zones: dict[bytes, float], zone: Name, until: float) -> None:
    if len(zones) >= LAME_ZONES:
        del zones[next(iter(zones))]
    zones[zone.key] = until


class Servers:
    """All servers that were asked lately.

    Args:
        most: How many are remembered.
        chance: Gives numbers from 0 to 1.
    """

    def __init__(self, most: int, chance: Callable[[], float]) -> None:
        self._most = most
        self._chance = chance
        self._known: OrderedDict[Address, Server] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def server(self, address: Address) -> Server:
        """What is known of a server."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = Server(address)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(address)
        return found

    def choose(
        self, addresses: Iterable[Address], zone: Name, now: float, tried: set[Address]
    ) -> Server | None:
        """The next one to ask for something of a zone; ``None`` when all were tried."""
        left = [self.server(each) for each in addresses if each not in tried]
        left = [each for each in left if not each.is_lame(zone, now)]
        awake = [each for each in left if each.pause <= now]
        if not awake:
            # All are silent: the one that was so for the shortest time.
            return min(left, key=lambda each: each.pause, default=None)
        awake = [each for each in awake if not each.is_doubtful(zone, now)] or awake
        best = min(each.time for each in awake)
        good = [each for each in awake if each.time <= best + BAND]
        others = len(good) < len(awake) and self._chance() < PROBE
        pool = awake if others else good
        return pool[int(self._chance() * len(pool)) % len(pool)]

    def statistics(self, now: float) -> dict[str, int]:
        """Counts, by name."""
        return {
            "servers": len(self._known),
            "silent_servers": sum(each.pause > now for each in self._known.values()),
        }
