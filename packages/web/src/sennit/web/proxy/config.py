"""What configurations say of proxies: how servers behind are asked, and ``type = "web-proxy"``."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated, Literal

from sennit.core.errors import MissingExtraError

try:
    from sennit.core.service.config import (
        File,
        Listen,
        Meta,
        Path,
        ServiceConfig,
        Table,
        default_list,
        listen_on,
        refers,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-web", "service") from error

__all__ = ["ForwardConfig", "UpstreamTable"]

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Style = Literal["x-forwarded", "forwarded"]


class UpstreamTable(Table, kw_only=True, frozen=True):
    """How the servers behind a proxy are asked.

    Attributes:
        prefix: Path that is taken off before a request goes on, as /shop.
        policy: Which server gets a request.
        key: What policy hash goes by: client for the address, or cookie:NAME.
        host: What Host says to a server: client for the client's, upstream for the server's own.
        forwarded: How servers are told whom a request came from.
        http2: Whether HTTP/2 is spoken: on where a server of https offers it, or always.
        trust: Certificates that vouch for servers of https, in place of the system's.
        retries: Other servers that are tried when one fails.
        retry_statuses: Statuses that count as failures where a request may be repeated.
        most_open: Requests open to one server at a time, unless it says otherwise.
        waiting: Requests that may wait for room.
        patience: Seconds that they do.
        connect_timeout: Seconds for a connection.
        read_timeout: Seconds for the next octets of an answer.
        fall: Failures one after the other that take a server out.
        rise: Checks one after the other that take it in.
        pause: Seconds that it gets no requests after failures; doubled each time.
        slow_start: Seconds in which one that came back grows to its full share.
        check: Path that is asked for to see whether a server is well; left out, no checks.
        check_interval: Seconds between two checks.
        check_timeout: Seconds for the answer to one.
        upgrades: Whether WebSockets go through.
        tunnel_idle: Seconds without an octet after which one is cut.
    """

    prefix: str = ""
    policy: Literal["round-robin", "least-open", "hash"] = "round-robin"
    key: str = "client"
    host: str = "client"
    forwarded: list[Style] = default_list("x-forwarded")
    http2: Literal["off", "on", "always"] = "off"
    trust: File | None = None
    retries: Annotated[int, Meta(ge=0)] = 2
    retry_statuses: list[Annotated[int, Meta(ge=500, le=599)]] = []
    most_open: Count = 100
    waiting: Annotated[int, Meta(ge=0)] = 1000
    patience: Seconds = 5.0
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds = 60.0
    fall: Count = 3
    rise: Count = 2
    pause: Annotated[float, Meta(gt=0, le=300)] = 10.0
    slow_start: Annotated[float, Meta(ge=0)] = 0.0
    check: str | None = None
    check_interval: Seconds = 5.0
    check_timeout: Seconds = 2.0
    upgrades: bool = True
    tunnel_idle: Seconds = 600.0


class ForwardConfig(ServiceConfig, kw_only=True, frozen=True):
    """Fetch from others, and tunnel to them, on behalf of clients.

    Attributes:
        listen: Where to listen.
        clients: Networks that are served: 10.0.0.0/8, loopback, private, any.
        hosts: Names that may be asked for, each with all below it; left out, any.
        deny_hosts: Names that may not.
        allow: Networks that are reached whatever deny says.
        deny: Networks that are not reached; special holds multicast and reserved ones.
        ports: Ports that requests may go to, and ranges of them.
        connect_ports: Ports that tunnels may lead to.
        users: Table [users.NAME] whose users must log in; without it nobody needs to.
        login_in_clear: Whether passwords are taken without TLS, too.
        forwarded: How servers are told whom a request came from; left out, they are not.
        connect_timeout: Seconds for look-up and connecting.
        read_timeout: Seconds for the next octets of an answer.
        idle: Seconds without an octet after which a tunnel is cut.
        max_tunnels: Tunnels that stand at a time.
        max_body: Octets of a request's content.
        access_log: File that requests are written to; "-" for standard output.
        access_log_style: The form of its lines.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:3128")
    clients: list[str] = default_list("loopback")
    hosts: list[str] = []
    deny_hosts: list[str] = []
    allow: list[str] = []
    deny: list[str] = default_list("loopback", "private", "link-local", "special")
    ports: list[str] = default_list("80", "443", "1024-65535")
    connect_ports: list[str] = default_list("443")
    users: Annotated[str, refers("users")] | None = None
    login_in_clear: bool = False
    forwarded: list[Style] = []
    connect_timeout: Seconds = 30.0
    read_timeout: Seconds = 60.0
    idle: Seconds = 600.0
    max_tunnels: Count = 1000
    max_body: Annotated[int, Meta(ge=0)] = 1024 * 1024 * 1024
    access_log: Path | Literal["-"] | None = None
    access_log_style: Literal["common", "combined", "json"] = "combined"

    def __post_init__(self) -> None:
        """Check what only the rules can read.

        Raises:
            ValueError: One of them cannot; the message names the key.
        """
        from sennit.web.proxy.rules import ForwardRules

        for key in RULES:
            try:
                ForwardRules(**{key: getattr(self, key)})
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error


RULES = ("clients", "hosts", "deny_hosts", "allow", "deny", "ports", "connect_ports")
"""Keys that are `ForwardRules`' arguments."""
