"""The DNS servers that run in this process, by name.

For whoever is to ask one of them and is told its name: a path of a web site that answers DNS
over HTTPS out of the service ``dns`` of the same node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import ref

if TYPE_CHECKING:
    from sennit.names.server import DNSServer

__all__ = ["announce", "running_server", "withdraw"]

_running: Final[dict[str, list[ref[DNSServer]]]] = {}
"""By name those that run, the newest last: at a reload there are two for a while."""


def announce(server: DNSServer) -> None:
    """Let a server be found by its name, before one that is there still."""
    _running.setdefault(server.name, []).append(ref(server))


def withdraw(server: DNSServer) -> None:
    """It ends; one that has its name, too, is found (again)."""
    left = [each for each in _running.get(server.name, ()) if each() not in (server, None)]
    if left:
        _running[server.name] = left
    else:
        _running.pop(server.name, None)


def running_server(name: str) -> DNSServer | None:
    """The server of that name, if it runs."""
    for each in reversed(_running.get(name, ())):
        server = each()
        if server is not None:
            return server
    return None
