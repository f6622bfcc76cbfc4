"""What a server counts and logs of its sessions.

One line is logged per transfer and per login, with the fields of ``sennit.core.ops.records``:
who, which command, how it went. Counters stand in the registry of the reactor
(`sennit.core.ops.metrics`), from where the node's admin endpoint shows them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sennit.core.ops.metrics import registry_of

if TYPE_CHECKING:
    from sennit.core.ops.metrics import CounterValue, Registry

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
        self._transfers: dict[tuple[str, int], CounterValue] = {}
        self._octets: dict[bool, CounterValue] = {}
        self._logins: dict[str, CounterValue] = {}

    def _where(self) -> Registry:
        if self._registry is None:
            self._registry = registry_of()
        return self._registry

    def transferred(self, verb: str, code: int, octets: int, *, inward: bool) -> None:
        """A transfer ended, with that reply."""
        key = (verb, code)
        found = self._transfers.get(key)
        if found is None:
            found = self._transfers[key] = (
                self._where()
                .counter(
                    "sennit_ftp_transfers", "Transfers ended.", ("service", "command", "reply")
                )
                .labels(self._service, verb, code)
            )
        found.value += 1
        moved = self._octets.get(inward)
        if moved is None:
            moved = self._octets[inward] = (
                self._where()
                .counter(
                    "sennit_ftp_octets", "Octets of data connections.", ("service", "direction")
                )
                .labels(self._service, "in" if inward else "out")
            )
        moved.value += octets

    def logged_in(self, outcome: str) -> None:
        """A login was tried: ``accepted``, ``denied``, ``unavailable`` or ``too many``."""
        found = self._logins.get(outcome)
        if found is None:
            found = self._logins[outcome] = (
                self._where()
                .counter("sennit_ftp_logins", "Logins tried.", ("service", "outcome"))
                .labels(self._service, outcome)
            )
        found.value += 1
