"""A server that a zone is copied from, and how it stands with a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.endpoint.networks import Networks, host_of
from sennit.names.client.servers import server_from_text
from sennit.names.client.stream import StreamClient
from sennit.names.errors import DNSUsageError

if TYPE_CHECKING:
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.servers import Server
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.tsig import Key

__all__ = ["Primary", "ZoneStatus"]


class Primary:
    """A server that has a zone first.

    Args:
        server: As `sennit.names.client.servers` has it: an address, ``udp://…`` (SOA over UDP,
            transfers over TCP), ``tcp://…``, or ``tls://…`` (all of it over TLS, RFC 9103).
        key: Signs what is asked, and must sign what is answered.
        tls: What to believe; the system's trust when left out.

    Raises:
        DNSUsageError: It is no server that zones come from.
    """

    __slots__ = ("_networks", "key", "server", "tls")

    def __init__(
        self, server: Server | str, key: Key | None = None, *, tls: ClientTLS | None = None
    ) -> None:
        self.server = server_from_text(server) if isinstance(server, str) else server
        if self.server.scheme == "https":
            raise DNSUsageError("zones are not transferred over HTTPS")
        self.key = key
        self.tls = tls
        self._networks = Networks(self.server.host)

    def sent(self, request: Request) -> bool:
        """Whether a request came from it, signed as agreed."""
        host = host_of(request.peer)
        return (
            host is not None
            # An IPv4 address may be written as IPv6 where a socket takes both.
            and self._networks.trusts(host)
            and (self.key is None or self.key.name == request.key)
        )

    def __repr__(self) -> str:
        return f"<Primary {self.server}{'' if self.key is None else f' {self.key.name}'}>"

    def client(self, reactor: Reactor | None) -> StreamClient:
        """A connection to it, made when it is used."""
        profile = self.server.profile()
        if profile is not None:
            if self.tls is not None:
                profile.tls = self.tls
            # Zones are given to those alone who agree on it (RFC 9103 §7.1).
            profile.tls = profile.context().offering(["dot"])
        return StreamClient((self.server.host, self.server.port), profile, reactor=reactor)


class ZoneStatus:
    """How it stands with a copy, for people.

    Attributes:
        zone: The zone.
        serial: Version of the copy; ``None`` for none.
        state: ``missing``, ``current`` or ``expired``.
        checked: Seconds since a primary confirmed it; ``None`` for never.
        next_check: Seconds until the next look.
        expires: Seconds until it may not be used any more.
        error: What went wrong last, empty when all is well.
    """

    __slots__ = ("checked", "error", "expires", "next_check", "serial", "state", "zone")

    def __init__(
        self,
        zone: Name,
        serial: int | None,
        state: str,
        checked: float | None,
        next_check: float,
        expires: float | None,
        error: str,
    ) -> None:
        self.zone = zone
        self.serial = serial
        self.state = state
        self.checked = checked
        self.next_check = next_check
        self.expires = expires
        self.error = error

    def __repr__(self) -> str:
        return f"<ZoneStatus {self.zone} {self.state} {self.serial}: {self.error or 'well'}>"
