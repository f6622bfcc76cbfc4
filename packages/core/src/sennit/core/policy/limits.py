"""How many connections there may be: in total, and from one address.

An address is an IPv4 address or an IPv6 /64 unless other prefixes are given, since
one subscriber has all of that. Loopback and Unix sockets count in the total only,
unless `count_loopback` is set: what shares the machine (a proxy, a test) is not
one more stranger.
"""

from __future__ import annotations

import socket
from functools import partial
from time import monotonic

from sennit.core._implements import implements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.interfaces import IPeerLimits
    from sennit.core.policy.bucket import TokenBucket

__all__ = [
    "MAX_CONNECTIONS",
    "MAX_PER_ADDRESS",
    "AllLimits",
    "ConnectionLimits",
    "ConnectionRates",
    "address_key",
]

MAX_PER_ADDRESS: Final = 50
"""Connections from one IPv4 address or IPv6 /64."""
MAX_CONNECTIONS: Final = 10_000
"""Connections of one server."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about the same address."""
MAX_LOGGED: Final = 1024
"""Addresses whose last log line is remembered; beyond, they share one line."""

MAX_REMEMBERED: Final = 1024
"""Hosts whose key is remembered, so that it is worked out once per visitor, not per visit."""

MAX_RATES: Final = 10_000
"""Addresses whose rate is remembered; beyond, those known longest are forgotten."""

RATE: Final = "limit:connection-rate"
"""Why a connection is refused: they come too fast."""
RATE_PER_ADDRESS: Final = "limit:connection-rate-per-address"
"""Why a connection is refused: they come too fast from this address."""
TOTAL: Final = "limit:connections"
"""Why a connection is refused: there are too many."""
PER_ADDRESS: Final = "limit:connections-per-address"
"""Why a connection is refused: there are too many from this address."""

_MAPPED: Final = bytes(10) + b"\xff\xff"
_LOOPBACK6: Final = bytes(15) + b"\1"


def address_key(peer: Any, ipv4_prefix: int = 32, ipv6_prefix: int = 64) -> str:
    """What connections of `peer` are counted under: its network, or ``local``.

    Args:
        peer: An `Address`, or what `accept` returned: a tuple that begins with
            host and port; anything else for a Unix socket. (``Any``: it is the
            `socket` module's.)
        ipv4_prefix: Bits of an IPv4 address that count, 0 to 32.
        ipv6_prefix: Bits of an IPv6 address that count, 0 to 128.

    Returns:
        ``local`` for loopback, Unix sockets and memory.
    """
    host = _host(peer)
    if host is None:
        return "local"
    if ":" not in host:
        return "local" if host.startswith("127.") else _ipv4_network(host, ipv4_prefix)
    host = host.partition("%")[0]
    try:
        packed = socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return host
    if packed[:12] == _MAPPED:
        host = socket.inet_ntop(socket.AF_INET, packed[12:])
        return "local" if host.startswith("127.") else _ipv4_network(host, ipv4_prefix)
    if packed == _LOOPBACK6:
        return "local"
    return f"{socket.inet_ntop(socket.AF_INET6, _masked(packed, ipv6_prefix))}/{ipv6_prefix}"


def _ipv4_network(host: str, prefix: int) -> str:
    """The network of `prefix` bits that an IPv4 address is in; the address itself for 32."""
    if prefix == 32:
        return host
    try:
        packed = socket.inet_aton(host)
    except OSError:
        return host
    return f"{socket.inet_ntoa(_masked(packed, prefix))}/{prefix}"


def _masked(packed: bytes, prefix: int) -> bytes:
    """An address with all bits after the first `prefix` cleared."""
    spare = len(packed) * 8 - prefix
    return (int.from_bytes(packed, "big") >> spare << spare).to_bytes(len(packed), "big")


def _check_prefixes(ipv4_prefix: int, ipv6_prefix: int) -> tuple[int, int]:
    if not (0 <= ipv4_prefix <= 32 and 0 <= ipv6_prefix <= 128):
        raise ValueError(
            f"a prefix has 0 to 32 bits (found {ipv4_prefix}), in IPv6 0 to 128 ({ipv6_prefix})"
        )
    return ipv4_prefix, ipv6_prefix


def _host(peer: Any) -> str | None:
    """The host of an internet address; ``None`` for all others."""
    if isinstance(peer, tuple):
        address: tuple[Any, ...] = peer  # pyright: ignore[reportUnknownVariableType]
        if len(address) > 1:
            return str(address[0])
    return None


class _Logged:
    """When a refusal was logged, and how many were not since."""

    __slots__ = ("silent", "when")

    def __init__(self, when: float) -> None:
        self.when = when
        self.silent = 0


@implements("IPeerLimits")
class ConnectionLimits:
    """Admits connections up to a number in total and a number per address.

    One object may serve several listeners; it counts what they have together.

    Args:
        max_per_address: From one address, as the prefixes have it.
        max_connections: In total.
        count_loopback: Count loopback addresses (each by itself) and Unix
            sockets (all as one) per address, too.
        ipv4_prefix: Bits of an IPv4 address that make one address here.
        ipv6_prefix: Bits of an IPv6 address likewise.
        time: Measures the time between two log lines, in seconds.

    Attributes:
        admitted: Connections admitted so far.
        refused: Connections refused so far, by reason.
    """

    def __init__(
        self,
        *,
        max_per_address: int = MAX_PER_ADDRESS,
        max_connections: int = MAX_CONNECTIONS,
        count_loopback: bool = False,
        ipv4_prefix: int = 32,
        ipv6_prefix: int = 64,
        time: Callable[[], float] = monotonic,
    ) -> None:
        self._prefixes = _check_prefixes(ipv4_prefix, ipv6_prefix)
        if max_per_address < 1 or max_connections < 1:
            raise ValueError("a limit below 1 admits nobody")
        self._max_per_address = max_per_address
        self._max_connections = max_connections
        self._count_loopback = count_loopback
        self._time = time
        self._open = 0
        self._keys: dict[str, str | None] = {}
        self._by_address: dict[str, int] = {}
        self._logged: dict[str, _Logged] = {}
        self.admitted = 0
        self.refused: dict[str, int] = {TOTAL: 0, PER_ADDRESS: 0}

    @property
    def connections(self) -> int:
        """Connections that stand."""
        return self._open

    def connections_from(self, peer: Any) -> int:
        """Connections that stand and are counted under the address of `peer`."""
        key = self._key(peer)
        return 0 if key is None else self._by_address.get(key, 0)

    def admit(self, peer: Any) -> str | None:
        """``None`` to admit, else the reason: a limit's name."""
        if self._open >= self._max_connections:
            self._refuse("", TOTAL, f"{self._max_connections} connections are open")
            return TOTAL
        try:
            key = self._keys[peer[0]]
        except (KeyError, IndexError, TypeError):
            key = self._key(peer)
        if key is not None:
            count = self._by_address.get(key, 0)
            if count >= self._max_per_address:
                self._refuse(key, PER_ADDRESS, f"{count} connections from {key} are open")
                return PER_ADDRESS
            self._by_address[key] = count + 1
        self._open += 1
        self.admitted += 1
        return None

    def release(self, peer: Any) -> None:
        """A connection that was admitted has gone."""
        if self._open:
            self._open -= 1
        try:
            key = self._keys[peer[0]]
        except (KeyError, IndexError, TypeError):
            key = self._key(peer)
        if key is None:
            return
        count = self._by_address.get(key, 0)
        if count > 1:
            self._by_address[key] = count - 1
        else:
            # Only addresses that are connected take room.
            self._by_address.pop(key, None)

    def _key(self, peer: Any) -> str | None:
        """What `peer` is counted under; ``None`` when it is not.

        Remembered by host for the next visit. No path of a Unix socket can be taken
        for one: of a string the first character is looked up, and no host is that short.
        """
        host = _host(peer)
        if host is None:
            return self._find_key(peer)
        if len(self._keys) >= MAX_REMEMBERED:
            self._keys.clear()
        key = self._keys[host] = self._find_key(peer)
        return key

    def _find_key(self, peer: Any) -> str | None:
        key = address_key(peer, *self._prefixes)
        if key != "local":
            return key
        if not self._count_loopback:
            return None
        return _host(peer) or key

    # ── saying so ─────────────────────────────────────────────────────────────

    def _refuse(self, key: str, reason: str, why: str) -> None:
        """Count it, and log it once a minute per address."""
        self.refused[reason] += 1
        now = self._time()
        entry = self._logged.get(key)
        if entry is None:
            if len(self._logged) >= MAX_LOGGED:
                self._forget_old(now)
            if len(self._logged) >= MAX_LOGGED:
                key = "others"
                entry = self._logged.get(key)
        if entry is None:
            entry = self._logged[key] = _Logged(now - LOG_INTERVAL)
        if now - entry.when < LOG_INTERVAL:
            entry.silent += 1
            return
        import logging

        more = f"; {entry.silent} more since the last line" if entry.silent else ""
        entry.when = now
        entry.silent = 0
        logging.getLogger("sennit").warning("Connection refused, %s: %s%s", reason, why, more)

    def _forget_old(self, now: float) -> None:
        for key, entry in list(self._logged.items()):
            if now - entry.when >= LOG_INTERVAL:
                del self._logged[key]


@implements("IPeerLimits")
class ConnectionRates:
    """Refuses connections that come too fast, in total and per address.

    Args:
        rate: Connections per second in total; ``None`` for no such limit.
        burst: That many at once; one second's worth when left out.
        per_address: Connections per second from one address; ``None`` likewise.
        address_burst: That many at once from one address.
        count_loopback: Count loopback addresses and Unix sockets per address, too.
        ipv4_prefix: Bits of an IPv4 address that make one address here.
        ipv6_prefix: Bits of an IPv6 address likewise.
        time: Measures, in seconds.

    Attributes:
        refused: Connections refused so far, by reason.
    """

    def __init__(
        self,
        rate: float | None = None,
        *,
        burst: float | None = None,
        per_address: float | None = None,
        address_burst: float | None = None,
        count_loopback: bool = False,
        ipv4_prefix: int = 32,
        ipv6_prefix: int = 64,
        time: Callable[[], float] = monotonic,
    ) -> None:
        # Here, since most programs count connections and not their rate.
        from sennit.core.policy.bucket import TokenBucket

        self._total = None if rate is None else TokenBucket(rate, burst)
        self._new = (
            None if per_address is None else partial(TokenBucket, per_address, address_burst)
        )
        if self._new is not None:
            self._new()  # numbers that cannot be are told now
        self._count_loopback = count_loopback
        self._prefixes = _check_prefixes(ipv4_prefix, ipv6_prefix)
        self._time = time
        self._by_address: dict[str, TokenBucket] = {}
        self.refused: dict[str, int] = {RATE: 0, RATE_PER_ADDRESS: 0}

    def admit(self, peer: Any) -> str | None:
        """``None`` to admit, else the reason: a limit's name."""
        now = self._time()
        if self._total is not None and self._total.available(now) < 1:
            self.refused[RATE] += 1
            return RATE
        if self._new is not None:
            key = address_key(peer, *self._prefixes)
            if key != "local" or self._count_loopback:
                bucket = self._by_address.get(key)
                if bucket is None:
                    bucket = self._by_address[self._room(key, now)] = self._new()
                if not bucket.try_take(1, now):
                    self.refused[RATE_PER_ADDRESS] += 1
                    return RATE_PER_ADDRESS
        if self._total is not None:
            self._total.take(1, now)
        return None

    def _room(self, key: str, now: float) -> str:
        """Forget who has been quiet for so long that nothing is owed, when there are too many."""
        if len(self._by_address) >= MAX_RATES:
            for known, bucket in list(self._by_address.items()):
                if bucket.full(now):
                    del self._by_address[known]
            while len(self._by_address) >= MAX_RATES:
                del self._by_address[next(iter(self._by_address))]
        return key

    def release(self, peer: Any) -> None:
        """A connection that was admitted has gone, which no rate asks for."""


@implements("IPeerLimits")
class AllLimits:
    """Admits what every one of several limits admits.

    So ``AllLimits(ConnectionLimits(), ConnectionRates(100))`` counts connections and
    their rate, and two `ConnectionLimits` with other prefixes count hosts and networks.
    """

    def __init__(self, *limits: IPeerLimits) -> None:
        self._limits = limits

    def admit(self, peer: Any) -> str | None:
        """``None`` to admit, else the first reason; who admitted before is told that it went."""
        for at, each in enumerate(self._limits):
            reason = each.admit(peer)
            if reason is not None:
                for earlier in self._limits[:at]:
                    earlier.release(peer)
                return reason
        return None

    def release(self, peer: Any) -> None:
        """A connection that was admitted has gone."""
        for each in self._limits:
            each.release(peer)
