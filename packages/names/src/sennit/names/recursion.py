"""Whom recursion is for: a resolver that is open to the world is a weapon (RFC 5358)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.endpoint.networks import Networks, host_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOCAL_NETS", "RecursionClients"]

LOCAL_NETS: Final = ("loopback", "private", "link-local")
"""Whom recursion is for unless somebody says otherwise."""
_MOST: Final = 4096
"""Clients of whom it is remembered whether recursion is for them."""


class RecursionClients:
    """The clients that are answered, as networks; what was found of each is remembered.

    Args:
        networks: Networks and addresses, as `Networks` names them.

    Raises:
        UsageError: There is no such network.
    """

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: str | Iterable[str]) -> None:
        self._networks = Networks(networks)
        self._known: dict[str, bool] = {}

    def allows(self, peer: Any) -> bool:
        """Whether recursion is for this peer. (`Any`: as `socket` names it.)"""
        try:
            return self._known[peer[0]]
        except (KeyError, TypeError, IndexError):
            pass
        host = host_of(peer)
        if host is None:
            return True  # a Unix socket, whose clients are on this machine
        if len(self._known) >= _MOST:
            self._known.clear()
        found = self._known[host] = self._networks.trusts(host)
        return found
