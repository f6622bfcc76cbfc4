"""Ports for data connections where the configuration names none: those of the system, at random.

The kernel finds a free port by itself when it is asked for port 0, but it searches: 6 µs on
Linux, and 250 to 800 where some 10 000 connections have ended within the last minute (TIME_WAIT),
as they have on a server of many small files. To try one costs the same at any time.

Sources: RFC 6056 §3.3.2 (random ports, with tries), §3.2 (ports that are not to be taken).
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Final

from sennit.core.transport.binding import system_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["any_port", "free_choice"]

TRIES: Final = 16
"""Ports that are tried before the kernel is left to search."""
_SETTINGS: Final = "/proc/sys/net/ipv4"


def any_port() -> Iterator[int]:
    """Ports to try, in an order that nobody can guess; 0, for any that is free, is the last."""
    ports = free_choice()
    for _ in range(TRIES if ports else 0):
        yield ports[secrets.randbelow(len(ports))]
    yield 0


@cache
def free_choice(settings: str = _SETTINGS) -> range:
    """Ports that the system hands out by itself, as it was set up when this was first asked.

    None where some of them are reserved for others: the kernel knows which.
    """
    try:
        with open(f"{settings}/ip_local_reserved_ports", encoding="ascii") as file:
            if file.read().strip():
                return range(0)
    except OSError:
        pass  # a system that reserves none
    ports = system_ports(settings)
    return range(max(ports.start, 1024), ports.stop)
