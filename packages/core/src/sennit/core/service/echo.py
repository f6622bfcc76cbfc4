"""The echo service: what comes goes back, in order, and datagrams too (RFC 862).

A peer that sends and does not read is not read from either: reading pauses
while more waits to be sent than the transport's mark. A connection on which
nothing moves is closed.

Whoever forges where a datagram comes from could set two echoes on each other for
ever. So datagrams from this service's own port, and from the ports that services
of this kind are known to have, are not answered. An answer is as long as its
question, so nothing is amplified.
"""

from __future__ import annotations

from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import DatagramProtocol, Protocol
from sennit.core.service.server import ServerService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.service.echo_config import EchoConfig
    from sennit.core.service.tree import ServiceContext

__all__ = [
    "EchoDatagrams",
    "EchoFactory",
    "EchoProtocol",
    "EchoService",
    "build_echo",
    "try_echo",
]

RESERVED_PORTS: Final = 1024
"""Ports below this are not answered by datagrams: echo, chargen, DNS and their like live there."""


class EchoProtocol(Protocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class EchoDatagrams(DatagramProtocol):
    """One UDP socket, for all who send to it.

    Attributes:
        ignored: Datagrams that were not answered, since another service may have sent them.
    """

    def __init__(self) -> None:
        self.ignored = 0
        self._port = 0

    def connection_made(self, transport: Any) -> None:  # Any: as the base has it
        super().connection_made(transport)
        self._port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, peer: Any) -> None:  # Any: as the base has it
        port = peer[1]
        if port < RESERVED_PORTS or port == self._port:
            self.ignored += 1
        else:
            self.transport.sendto(data, peer)


class EchoFactory:
    """Makes the echoes of connections and of datagram sockets.

    Args:
        idle: Seconds without an octet after which a connection is closed.
    """

    def __init__(self, idle: float) -> None:
        self._streams = with_timeouts(EchoProtocol, idle=idle)

    def build_protocol(self, peer: Address | None) -> IStreamProtocol | None:
        """The protocol of one connection."""
        return self._streams.build_protocol(peer)

    def build_datagram_protocol(self, local: Address | None) -> EchoDatagrams:
        """The protocol of one socket."""
        return EchoDatagrams()


class EchoService(ServerService):
    """Echo at every endpoint of one configuration.

    Args:
        config: What it was told.
        context: Its name and surroundings.
    """

    def __init__(self, config: EchoConfig, context: ServiceContext) -> None:
        super().__init__(
            context.name,
            EchoFactory(config.idle),
            context.endpoints(config),
            limits=context.limits(config),
        )


def build_echo(config: EchoConfig, context: ServiceContext) -> EchoService:
    """Assemble the service."""
    return EchoService(config, context)


def try_echo(config: EchoConfig, urls: Sequence[str]) -> list[str]:
    """A command per endpoint."""
    return [command for url in urls if (command := _command(url)) is not None]


def _command(url: str) -> str | None:
    scheme, _, rest = url.partition(":")
    if scheme in ("tcp", "tls", "udp"):
        host, _, port = rest.removeprefix("//").rpartition(":")
        host = host.strip("[]")
        if scheme != "tls":
            return f"nc {host} {port}" if scheme == "tcp" else f"nc -u {host} {port}"
        shown = f"[{host}]" if ":" in host else host
        return f"openssl s_client -quiet -connect {shown}:{port}"
    return f"nc -U {rest}" if scheme == "unix" else None
