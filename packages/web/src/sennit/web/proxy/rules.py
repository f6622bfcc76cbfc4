"""Who may use a forward proxy, and for what.

An open proxy is found and abused within hours, and one that reaches its own network
opens that network. So unless told otherwise only clients of this machine are served,
tunnels lead to port 443 alone, and no address is reached that is not public.

Names are held against `hosts` before they are looked up, addresses against networks
when they are about to be connected to: a name that points inside does not get there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sennit.core.endpoint.socks import GUARDED, SocksRules
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from sennit.core.address import Address

__all__ = ["ForwardRules"]

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}|[0-9a-f:.]+").fullmatch


class ForwardRules:
    """Who may use a forward proxy, and for what.

    Args:
        clients: Networks that are served (a Unix socket's clients always are).
        hosts: Names that may be asked for, each with all below it; any when empty.
        deny_hosts: Names that may not, likewise.
        allow: Networks that are reached whatever `deny` says.
        deny: Networks that are not.
        ports: Ports that requests may go to, such as ``80`` and ``1024-65535``.
        connect_ports: Ports that tunnels may lead to.

    Raises:
        ValueError: A name, a network or a port is none.
    """

    __slots__ = ("_deny_hosts", "_hosts", "_requests", "_tunnels")

    def __init__(
        self,
        *,
        clients: Iterable[str] = ("loopback",),
        hosts: Iterable[str] = (),
        deny_hosts: Iterable[str] = (),
        allow: Iterable[str] = (),
        deny: Iterable[str] = GUARDED,
        ports: Iterable[str] = ("80", "443", "1024-65535"),
        connect_ports: Iterable[str] = ("443",),
    ) -> None:
        self._hosts = [_name(each) for each in hosts]
        self._deny_hosts = [_name(each) for each in deny_hosts]
        networks = {"clients": list(clients), "allow": list(allow), "deny": list(deny)}
        self._requests = SocksRules(ports=ports, deny_ports=(), **networks)
        self._tunnels = SocksRules(ports=connect_ports, deny_ports=(), **networks)

    def serves(self, peer: Address | None) -> bool:
        """Whether a client from there is served."""
        return self._requests.serves(peer)

    def permits_host(self, host: str) -> bool:
        """Whether a name, or an address that is asked for, may be looked up."""
        host = host.lower().rstrip(".")
        if any(_covers(each, host) for each in self._deny_hosts):
            return False
        return not self._hosts or any(_covers(each, host) for each in self._hosts)

    def permits_port(self, port: int, *, tunnel: bool) -> bool:
        """Whether a port may be reached."""
        return (self._tunnels if tunnel else self._requests).permits_port(port)

    def permits(self, address: str) -> bool:
        """Whether an address may be connected to."""
        return self._requests.permits(address)


def _name(text: str) -> str:
    name = text.strip().lower().removeprefix("*").strip(".")
    if _NAME(name) is None:
        raise WebUsageError(f"no name of a host: {text!r:.100}")
    return name


def _covers(name: str, host: str) -> bool:
    return host == name or host.endswith("." + name)
