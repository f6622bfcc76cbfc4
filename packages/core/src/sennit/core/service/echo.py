"""The echo service: what comes goes back, in order (RFC 862).

A peer that sends and does not read is not read from either: reading pauses
while more waits to be sent than the transport's mark. A connection on which
nothing moves is closed.
"""

from __future__ import annotations

from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import Protocol
from sennit.core.service.server import ServerService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.service.echo_config import EchoConfig
    from sennit.core.service.tree import ServiceContext

__all__ = ["EchoProtocol", "EchoService", "build_echo", "try_echo"]


class EchoProtocol(Protocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class EchoService(ServerService):
    """Echo at every endpoint of one configuration.

    Args:
        config: What it was told.
        context: Its name and surroundings.
    """

    def __init__(self, config: EchoConfig, context: ServiceContext) -> None:
        super().__init__(
            context.name,
            with_timeouts(EchoProtocol, idle=config.idle),
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
    if scheme in ("tcp", "tls"):
        host, _, port = rest.removeprefix("//").rpartition(":")
        host = host.strip("[]")
        # Every interface has no address to connect to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
        if scheme == "tcp":
            return f"nc {host} {port}"
        shown = f"[{host}]" if ":" in host else host
        return f"openssl s_client -quiet -connect {shown}:{port}"
    return f"nc -U {rest}" if scheme == "unix" else None
