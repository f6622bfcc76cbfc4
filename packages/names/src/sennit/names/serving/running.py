"""The DNS servers that run in this process, by name.

For whoever is to ask one of them and is told its name: a path of a web site that answers DNS
over HTTPS out of the service ``dns`` of the same node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from sennit.names.server import DNSServer

__all__ = ["announce", "running_server", "withdraw"]

_running: Final[WeakValueDictionary[str, DNSServer]] = WeakValueDictionary()


def announce(server: DNSServer) -> None:
    """Let a server be found by its name, in the place of one that was."""
    _running[server.name] = server


def withdraw(server: DNSServer) -> None:
    """It ends; harmless where another one has its name by now."""
    if _running.get(server.name) is server:
        del _running[server.name]


def running_server(name: str) -> DNSServer | None:
    """The server of that name, if it runs."""
    return _running.get(name)
