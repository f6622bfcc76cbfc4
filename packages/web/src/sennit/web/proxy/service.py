"""The forward proxy at the endpoints of a configuration: ``sennit web-proxy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.service.server import ServerService
from sennit.web.client.limits import ClientTimeouts
from sennit.web.limits import Limits
from sennit.web.proxy.forward import ForwardProxy
from sennit.web.proxy.forwarded import Forwarder
from sennit.web.proxy.rules import ForwardRules
from sennit.web.server import HTTPServer
from sennit.web.service import open_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.web.accesslog import AccessLog
    from sennit.web.proxy.config import ForwardConfig

__all__ = ["ForwardService", "build_forward", "try_forward"]


class ForwardService(ServerService):
    """One forward proxy.

    Args:
        config: What it was told.
        context: Its name and surroundings.

    Attributes:
        proxy: What answers.
    """

    _log: AccessLog | None = None

    def __init__(self, config: ForwardConfig, context: ServiceContext) -> None:
        portal = None
        if config.users is not None:
            from sennit.core.auth.portal import Portal

            portal = Portal(checkers=[context.users(config.users)])
        self._config = config
        self.proxy = ForwardProxy(
            ForwardRules(
                clients=config.clients,
                hosts=config.hosts,
                deny_hosts=config.deny_hosts,
                allow=config.allow,
                deny=config.deny,
                ports=config.ports,
                connect_ports=config.connect_ports,
            ),
            portal=portal,
            allow_plaintext=config.login_in_clear,
            timeouts=ClientTimeouts(connect=config.connect_timeout, read=config.read_timeout),
            most_tunnels=config.max_tunnels,
            tunnel_idle=config.idle,
            forwarder=Forwarder(config.forwarded),
        )
        self._server = HTTPServer(self.proxy, http2=False, limits=Limits(body=config.max_body))
        super().__init__(
            context.name,
            self._server,
            context.endpoints(config, alpn=["http/1.1"]),
            limits=context.limits(config),
        )

    async def prepare(self, reactor: IReactor) -> None:
        """Open the access log, then bind every endpoint.

        Raises:
            StartError: The log cannot be opened, or an address not be listened on.
        """
        config = self._config
        log = open_log(self.name, config.access_log, config.access_log_style)
        self._log = self._server.access_log = log
        try:
            await super().prepare(reactor)
        except BaseException:
            self._close_log()
            raise

    async def end(self, drain: float) -> None:
        """End every connection, tunnels included, then write what is left of the log."""
        try:
            await super().end(drain)
        finally:
            await self.proxy.aclose()
            self._close_log()

    def _close_log(self) -> None:
        log, self._log = self._log, None
        self._server.access_log = None
        if log is not None:
            log.close()


def build_forward(config: ForwardConfig, context: ServiceContext) -> ForwardService:
    """Assemble the service; nothing is opened yet."""
    return ForwardService(config, context)


def try_forward(config: ForwardConfig, urls: Sequence[str]) -> list[str]:
    """A curl command per endpoint."""
    found: list[str] = []
    login = " --proxy-user NAME:PASSWORD" if config.users else ""
    for url in urls:
        scheme, _, place = url.partition("://")
        if scheme in ("tcp", "tls"):
            host, _, port = place.rpartition(":")
            web = "https" if scheme == "tls" else "http"
            found.append(f"curl -x {web}://{host}:{port}{login} https://example.org/")
    return found
