"""Ports for data connections where the configuration names none: those of the system, at random.

The kernel finds a free port by itself when it is asked for port 0, but it searches: 6 µs on
Linux, and 250 to 800 where some 10 000 connections have ended within the last minute (TIME_WAIT),
as they have on a server of many small files. To try one costs the same at any time.

Sources: RFC 6056 §3.3.2 (random ports, with tries), §3.2 (ports that are not to be taken).
"""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["any_port", "system_ports"]

TRIES: Final = 16
"""Ports that are tried before the kernel is left to search."""
DYNAMIC: Final = range(49_152, 65_536)
"""Ports that are nobody's (RFC 6335 §6), where the system does not tell which it hands out."""
_SETTINGS: Final = Path("/proc/sys/net/ipv4")


def any_port() -> Iterator[int]:
    """Ports to try, in an order that nobody can guess; 0, for any that is free, is the last."""
    ports = system_ports()
    for _ in range(TRIES if ports else 0):
        yield ports[secrets.randbelow(len(ports))]
    yield 0


@cache
def system_ports(settings: Path = _SETTINGS) -> range:
    """Ports that the system hands out by itself, as it was set up when this was first asked.

    None where some of them are reserved for others: the kernel knows which.
    """
    try:
        first, last = map(int, (settings / "ip_local_port_range").read_text("ascii").split())
        if (settings / "ip_local_reserved_ports").read_text("ascii").strip():
            return range(0)
    except (OSError, ValueError):
        return DYNAMIC
    return range(max(first, 1024), last + 1)
