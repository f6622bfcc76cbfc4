"""From a table of the configuration to a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.service.server import ServerService
from sennit.ftp.limits import Limits
from sennit.ftp.server import FTPServerFactory
from sennit.ftp.store import MemoryDirectory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.service.tree import Service, ServiceContext
    from sennit.ftp.config import FTPConfig

__all__ = ["build", "try_commands"]


def build(config: FTPConfig, context: ServiceContext) -> Service:
    """Assemble the service; nothing is opened yet."""
    directory = MemoryDirectory(
        {key.encode(): value.encode() for key, value in config.values.items()}
    )
    factory = FTPServerFactory(directory, Limits(idle=config.idle))
    return ServerService(context.name, factory, context.endpoints(config))


def try_commands(config: FTPConfig, urls: Sequence[str]) -> list[str]:
    """Give commands that show the running service at work."""
    key = next(iter(config.values), "motd")
    return [
        f"printf 'GET {key}\\r\\nQUIT\\r\\n' | nc {host.strip('[]')} {port}"
        for scheme, _, address in (url.partition("://") for url in urls)
        for host, _, port in [address.rpartition(":")]
        if scheme == "tcp"
    ]
