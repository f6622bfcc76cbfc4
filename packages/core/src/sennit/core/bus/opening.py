"""From a bus' URL to the bus: ``memory:``, ``unix:PATH``, or what a distribution brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core.plugin import find, resolve

if TYPE_CHECKING:
    from sennit.core.bus.interfaces import IBus, ICounters
    from sennit.core.reactor.base import Reactor

__all__ = ["BUSES", "open_bus"]

BUSES: Final = {
    "memory": "sennit.core.bus.memory:open_bus",
    "unix": "sennit.core.bus.unix:open_bus",
}
"""Those that core brings, by the scheme of their URL."""


def open_bus(url: str, reactor: Reactor) -> tuple[IBus, ICounters]:
    """The bus that `url` names, and the counters beside it.

    Raises:
        UnknownPluginError: There is none of that scheme.
        BrokenPluginError: It cannot be loaded.
        UsageError: The rest of the URL is not what its bus wants.
    """
    scheme = url.partition(":")[0]
    target = BUSES.get(scheme)
    # Any: what plugins are named as carries no type.
    opener: Any = resolve(target) if target else find("sennit.buses", scheme)
    return cast("tuple[IBus, ICounters]", opener(url, reactor))
