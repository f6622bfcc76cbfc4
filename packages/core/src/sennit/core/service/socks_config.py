"""What ``[service.NAME]`` with ``type = "socks"`` can say."""

from __future__ import annotations

from typing import Annotated

from sennit.core.service.config import (
    Listen,
    Meta,
    ServiceConfig,
    default_list,
    listen_on,
    refers,
)

__all__ = ["SocksConfig"]

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class SocksConfig(ServiceConfig, kw_only=True, frozen=True):
    """Connect to others on behalf of clients (SOCKS 5).

    Attributes:
        listen: Where to listen.
        clients: Networks that are served: 10.0.0.0/8, loopback, private, any.
        allow: Targets that are reached whatever deny says, in the same words.
        deny: Targets that are not reached; special holds multicast and reserved networks.
        ports: Ports that are reached, and ranges of them.
        deny_ports: Ports that are not.
        users: Table [users.NAME] whose users must log in; without it nobody needs to.
        bind: Whether clients may have ports opened (BIND).
        udp: Whether datagrams are relayed (UDP ASSOCIATE).
        idle: Seconds without an octet after which a tunnel is cut.
        connect_timeout: Seconds for look-up and connecting.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:1080")
    clients: list[str] = default_list("loopback")
    allow: list[str] = []
    deny: list[str] = default_list("loopback", "private", "link-local", "special")
    ports: list[str] = default_list("1-65535")
    deny_ports: list[str] = default_list("25")
    users: Annotated[str, refers("users")] | None = None
    bind: bool = False
    udp: bool = True
    idle: Seconds = 600.0
    connect_timeout: Seconds = 30.0

    def __post_init__(self) -> None:
        """Check what only the rules can read."""
        from sennit.core.endpoint.socks import SocksRules
        from sennit.core.errors import UsageError

        for key in ("clients", "allow", "deny", "ports", "deny_ports"):
            try:
                SocksRules(**{key: getattr(self, key)})
            except UsageError as error:
                raise ValueError(f"{key}: {error}") from error
