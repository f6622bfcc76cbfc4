"""The web service: files or an application, at the endpoints of one configuration."""

from __future__ import annotations

import sys
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Literal

from sennit.core.errors import ConfigError, MissingExtraError
from sennit.core.reactor.base import current_meter
from sennit.core.service.privileges import is_root
from sennit.core.service.server import ServerService
from sennit.core.service.tree import StartError
from sennit.web.accesslog import AccessLog, SeveralLogs
from sennit.web.handlers import mounted
from sennit.web.hosting.contents import content_of
from sennit.web.hosting.wrapping import handlers_of, wrappers_of
from sennit.web.limits import Limits
from sennit.web.response import Response, error_page
from sennit.web.server import HTTPServer, Timeouts
from sennit.web.wrappers import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sennit.core.address import Address
    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.web.config import WebConfig
    from sennit.web.http1.server import HTTP1ServerProtocol
    from sennit.web.metrics import RequestMetrics
    from sennit.web.request import Request

__all__ = ["WebService", "build_web", "open_log", "sample_files", "try_web"]


def _not_yet(request: Request) -> Response:
    """Answer before there is anything to be served."""
    return error_page(503)


class _MeasuredServer(HTTPServer):
    """A server whose requests are counted once its reactor is measured.

    That is looked at when a connection begins; a node without metrics has no more of it.

    Args:
        service: What it is called in metrics.
        options: As of `HTTPServer`. (`Any`: they are checked there.)
    """

    def __init__(self, service: str, **options: Any) -> None:
        super().__init__(_not_yet, **options)
        self._service = service
        self._metrics: RequestMetrics | None = None

    def build_protocol(self, peer: Address | None) -> HTTP1ServerProtocol:
        if self._metrics is None and (meter := current_meter()) is not None:
            from sennit.web.metrics import RequestMetrics

            self._metrics = RequestMetrics(self._service, meter.registry)
            log = self.access_log
            self.access_log = self._metrics if log is None else SeveralLogs([log, self._metrics])
        return super().build_protocol(peer)


class WebService(ServerService):
    """One server at its endpoints.

    Args:
        config: What it was told.
        context: Its name and surroundings.

    Attributes:
        site: What it serves.
    """

    _log: AccessLog | None = None

    def __init__(self, config: WebConfig, context: ServiceContext) -> None:
        self._config = config
        self._content = content_of(config, context)
        self._wrappers = wrappers_of(config, context)
        self._handlers = handlers_of(config)
        self._loaded = False
        if config.reload:
            from sennit.web.hosting.reloading import refuse_reload

            refuse_reload(config)
        try:
            self.site = _MeasuredServer(
                context.name,
                http2=config.http2,
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
        except MissingExtraError as error:
            raise ConfigError(str(error), key="http2") from error
        super().__init__(
            context.name,
            self.site,
            context.endpoints(config, alpn=["h2", "http/1.1"] if self.site.http2 else ["http/1.1"]),
            limits=context.limits(config),
        )

    async def prepare(self, reactor: IReactor) -> None:
        """Open the access log, load what is served, then bind every endpoint.

        Raises:
            StartError: The log cannot be opened, the application not be started, or an
                address not be listened on.
        """
        config = self._config
        log = open_log(self.name, config.access_log, config.access_log_style)
        self._log = self.site.access_log = log
        try:
            if not (self._content.runs_code and is_root()):
                await self._start()
            await super().prepare(reactor)
        except BaseException:
            await self._close(0.0)
            raise

    async def begin(self) -> None:
        """Load what root has not loaded, then accept.

        Raises:
            StartError: The application cannot be started.
        """
        if not self._loaded:
            await self._start()
        await super().begin()

    async def end(self, drain: float) -> None:
        """End every connection, then what was served, then write what is left of the log."""
        deadline = monotonic() + drain
        try:
            await super().end(drain)
        finally:
            await self._close(max(deadline - monotonic(), 0.0))

    async def _start(self) -> None:
        if self._config.reload:
            from sennit.web.hosting.reloading import reporting_files

            with reporting_files():
                handler = await self._content.start()
        else:
            handler = await self._content.start()
        if self._handlers:
            handler = mounted(self._handlers)(handler)
        self.site.handler = wrap(handler, self._wrappers)
        self._loaded = True

    async def _close(self, limit: float) -> None:
        log, self._log = self._log, None
        self.site.access_log = None
        self._loaded = False
        try:
            await self._content.stop(limit)
            for each in self._handlers.values():
                await each.aclose()
        finally:
            if log is not None:
                log.close()


def open_log(
    name: str, path: Path | str | None, style: Literal["common", "combined", "json"]
) -> AccessLog | None:
    """The access log that a service's configuration names; ``None`` where it names none.

    Args:
        name: The service's.
        path: A file, or ``-`` for standard output.
        style: Of its lines.

    Raises:
        StartError: It cannot be written to.
    """
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
            raise StartError(name, problem, key="access_log") from error
    return AccessLog(stream, style, close_stream=path != "-")


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
            web = "https" if scheme == "tls" else "http"
            found.append(f"curl {'-k ' if scheme == 'tls' else ''}{web}://{host}:{port}/")
    return found


def sample_files() -> dict[str, str]:
    """A page for a new configuration to serve."""
    return {
        "public/index.html": "<!doctype html>\n<meta charset=utf-8>\n<title>It works</title>\n"
        "<h1>It works</h1>\n<p>This page is <code>public/index.html</code>.\n"
    }
