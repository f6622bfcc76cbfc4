"""What a server counts and logs of its sessions.

One line is logged per transfer and per login, with the fields of ``sennit.core.ops.records``:
who, which command, how it went. Counters stand in the registry of the reactor
(`sennit.core.ops.metrics`), from where the node's admin endpoint shows them.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Final

from sennit.core.ops.metrics import registry_of

if TYPE_CHECKING:
    from sennit.core.ops.metrics import Counter, Registry

__all__ = ["FTPMetrics", "log"]

log: Final = logging.getLogger("sennit.ftp")


class FTPMetrics:
    """Counts transfers and logins of a server.

    Args:
        service: A label that tells this server from others of the process.
        registry: Where; that of the running reactor when left out, looked up when first needed.
    """

    def __init__(self, service: str = "ftp", registry: Registry | None = None) -> None:
        self._service = service
        self._registry = registry

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        registry = registry_of() if self._registry is None else self._registry
        return registry.counter(name, about, ("service", *labels))

    @cached_property
    def _transfers(self) -> Counter:
        return self._counter("sennit_ftp_transfers", "Transfers ended.", "command", "reply")

    @cached_property
    def _octets(self) -> Counter:
        return self._counter("sennit_ftp_octets", "Octets of data connections.", "direction")

    @cached_property
    def _logins(self) -> Counter:
        return self._counter("sennit_ftp_logins", "Logins tried.", "outcome")

    def transferred(self, verb: str, code: int, octets: int, *, inward: bool) -> None:
        """A transfer ended, with that reply."""
        self._transfers.labels(self._service, verb, code).inc()
        self._octets.labels(self._service, "in" if inward else "out").inc(octets)

    def logged_in(self, outcome: str) -> None:
        """A login was tried: ``accepted``, ``denied``, ``unavailable`` or ``too many``."""
        self._logins.labels(self._service, outcome).inc()
