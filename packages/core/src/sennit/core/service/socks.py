"""The SOCKS service: `sennit.core.endpoint.socks` at the endpoints of a configuration."""

from __future__ import annotations

from sennit.core.auth.limits import LoginLimits
from sennit.core.endpoint.socks import SocksRules, SocksServer
from sennit.core.errors import LoginDenied
from sennit.core.service.server import ServerService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.auth.interfaces import IChecker
    from sennit.core.endpoint.socks import Check
    from sennit.core.service.socks_config import SocksConfig
    from sennit.core.service.tree import ServiceContext

__all__ = ["SocksService", "build_socks", "check_by", "try_socks"]


class SocksService(ServerService):
    """A SOCKS server at every endpoint of one configuration.

    Args:
        config: What it was told.
        context: Its name and surroundings.
    """

    def __init__(self, config: SocksConfig, context: ServiceContext) -> None:
        rules = SocksRules(
            clients=config.clients,
            allow=config.allow,
            deny=config.deny,
            ports=config.ports,
            deny_ports=config.deny_ports,
        )
        server = SocksServer(
            rules,
            check=None if config.users is None else check_by(context.users(config.users)),
            logins=None if config.users is None else LoginLimits(),
            bind=config.bind,
            udp=config.udp,
            idle=config.idle,
            connect_timeout=config.connect_timeout,
        )
        super().__init__(
            context.name, server, context.endpoints(config), limits=context.limits(config)
        )


def check_by(checker: IChecker) -> Check:
    """A check of logins by the house's checkers (`sennit.core.auth`)."""

    async def check(username: str, password: str) -> bool:
        from sennit.core.auth.credentials import PasswordCredentials

        try:
            found = checker.check(PasswordCredentials(username, password))
            if not isinstance(found, str):
                await found
        except LoginDenied:
            return False
        return True

    return check


def build_socks(config: SocksConfig, context: ServiceContext) -> SocksService:
    """Assemble the service."""
    return SocksService(config, context)


def try_socks(config: SocksConfig, urls: Sequence[str]) -> list[str]:
    """A command per endpoint."""
    found: list[str] = []
    for url in urls:
        scheme, _, place = url.partition("://")
        if scheme == "tcp":
            host, _, port = place.rpartition(":")
            login = " --proxy-user NAME:PASSWORD" if config.users else ""
            found.append(f"curl --socks5-hostname {host}:{port}{login} https://example.org/")
    return found
