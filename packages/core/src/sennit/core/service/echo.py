"""The echo service: what comes goes back, in order (RFC 862).

A peer that sends and does not read is not read from either: reading pauses
while more waits to be sent than the transport's mark. A connection on which
nothing moves is closed.
"""

from __future__ import annotations

from sennit.core.protocol import Protocol
from sennit.core.service.server import ServerService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import IDelayedCall, IReactor, IStreamTransport
    from sennit.core.service.echo_config import EchoConfig
    from sennit.core.service.tree import ServiceContext

__all__ = ["EchoProtocol", "EchoService", "build_echo", "try_echo"]


class EchoProtocol(Protocol):
    """One connection.

    Args:
        reactor: Where its time comes from.
        idle: Seconds without an octet after which it is closed.
    """

    def __init__(self, reactor: IReactor, idle: float) -> None:
        self._reactor = reactor
        self._idle = idle
        self._moved = reactor.time()
        self._timer: IDelayedCall | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        self._timer = self._reactor.call_later(self._idle, self._look)

    def data_received(self, data: bytes) -> None:
        self._moved = self._reactor.time()
        self.transport.write(data)

    def eof_received(self) -> bool:
        """The peer sends no more; what it sent still goes back."""
        self.transport.close()
        return True

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._moved = self._reactor.time()
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Close when idle; one timer looks again later instead of one per octet moving."""
        left = self._moved + self._idle - self._reactor.time()
        if left > 0:
            self._timer = self._reactor.call_later(left, self._look)
            return
        self._timer = None
        if self.transport.get_write_buffer_size():
            # It does not even read: closing would wait for it.
            self.transport.abort("idle")
        else:
            self.transport.close("idle")


class EchoService(ServerService):
    """Echo at every endpoint of one configuration.

    Args:
        config: What it was told.
        context: Its name and surroundings.
    """

    def __init__(self, config: EchoConfig, context: ServiceContext) -> None:
        super().__init__(
            context.name, self._make, context.endpoints(config), limits=context.limits(config)
        )
        self._idle = config.idle
        self._reactor: IReactor | None = None

    async def prepare(self, reactor: IReactor) -> None:
        self._reactor = reactor
        await super().prepare(reactor)

    def _make(self) -> EchoProtocol:
        assert self._reactor is not None
        return EchoProtocol(self._reactor, self._idle)


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
