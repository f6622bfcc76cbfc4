"""The web service: a folder served over HTTP at the endpoints of one configuration."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

from sennit.core.reactor.base import current_reactor
from sennit.core.service.server import ServerService
from sennit.core.service.tree import StartError
from sennit.web.accesslog import AccessLog, SeveralLogs
from sennit.web.limits import Limits
from sennit.web.resource import Site
from sennit.web.server import Timeouts
from sennit.web.static import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.address import Address
    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.web.config import WebConfig
    from sennit.web.http1.server import HTTP1ServerProtocol
    from sennit.web.metrics import RequestMetrics
    from sennit.web.resource import Resource

__all__ = ["WebService", "build_web", "sample_files", "try_web"]


class _MeasuredSite(Site):
    """A site whose requests are counted once its reactor is measured.

    That is looked at when a connection begins; a node without metrics has no more of it.

    Args:
        service: What it is called in metrics.
        root: As of `Site`.
        options: Likewise. (`Any`: they are checked there.)
    """

    def __init__(self, service: str, root: Resource, **options: Any) -> None:
        super().__init__(root, **options)
        self._service = service
        self._metrics: RequestMetrics | None = None

    def build_protocol(self, peer: Address | None) -> HTTP1ServerProtocol:
        if self._metrics is None and (reactor := current_reactor()).meter is not None:
            from sennit.core.ops.metrics import registry_of
            from sennit.web.metrics import RequestMetrics

            self._metrics = RequestMetrics(self._service, registry_of(reactor))
            log = self.access_log
            self.access_log = self._metrics if log is None else SeveralLogs([log, self._metrics])
        return super().build_protocol(peer)


class WebService(ServerService):
    """One site at its endpoints.

    Args:
        config: What it was told.
        context: Its name and surroundings.

    Attributes:
        site: What it serves.
    """

    _log: AccessLog | None = None

    def __init__(self, config: WebConfig, context: ServiceContext) -> None:
        self._config = config
        self._files = StaticFiles(
            config.root,
            index=config.index,
            follow=config.follow,
            listing=config.listing,
            precompressed=config.precompressed,
            max_age=config.max_age,
        )
        self.site = _MeasuredSite(
            context.name,
            self._files,
            limits=Limits(
                target=config.max_target,
                head=config.max_head,
                fields=config.max_fields,
                body=config.max_body,
            ),
            timeouts=Timeouts(
                head=config.head_timeout,
                idle=config.idle_timeout,
                write=config.write_timeout,
                body_grace=config.body_grace,
                body_rate=config.body_rate,
            ),
            headers=config.headers,
        )
        super().__init__(
            context.name,
            self.site,
            context.endpoints(config),
            limits=context.limits(config),
        )

    async def prepare(self, reactor: IReactor) -> None:
        """Open the access log, then bind every endpoint.

        Raises:
            StartError: The log cannot be opened, or an address not be listened on.
        """
        self._log = self.site.access_log = self._open_log()
        try:
            await super().prepare(reactor)
        except BaseException:
            self._close()
            raise

    async def end(self, drain: float) -> None:
        """End every connection, then write what is left of the log."""
        try:
            await super().end(drain)
        finally:
            self._close()

    def _open_log(self) -> AccessLog | None:
        path = self._config.access_log
        if path is None:
            return None
        stream: IO[bytes]
        if path == "-":
            stream = sys.stdout.buffer
        else:
            try:
                stream = open(path, "ab")  # noqa: SIM115 - the log closes it
            except OSError as error:
                problem = f"found {str(path)!r}, which cannot be written to: {error.strerror}"
                raise StartError(self.name, problem, key="access_log") from error
        return AccessLog(stream, self._config.access_log_style, close_stream=path != "-")

    def _close(self) -> None:
        log, self._log = self._log, None
        self.site.access_log = None
        if log is not None:
            log.close()
        self._files.close()


def build_web(config: WebConfig, context: ServiceContext) -> WebService:
    """Assemble the service; nothing is opened yet."""
    return WebService(config, context)


def try_web(config: WebConfig, urls: Sequence[str]) -> list[str]:
    """A curl command per endpoint."""
    found: list[str] = []
    for url in urls:
        scheme, _, rest = url.partition(":")
        if scheme == "unix":
            found.append(f"curl --unix-socket {rest} http://localhost/")
        elif scheme in ("tcp", "tls"):
            host, _, port = rest.removeprefix("//").rpartition(":")
            # Every interface has no address to connect to.
            host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)
            web = "https" if scheme == "tls" else "http"
            found.append(f"curl {'-k ' if scheme == 'tls' else ''}{web}://{host}:{port}/")
    return found


def sample_files() -> dict[str, str]:
    """A page for a new configuration to serve."""
    return {
        "public/index.html": "<!doctype html>\n<meta charset=utf-8>\n<title>It works</title>\n"
        "<h1>It works</h1>\n<p>This page is <code>public/index.html</code>.\n"
    }
