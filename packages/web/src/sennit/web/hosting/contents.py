"""What a web service serves: files, other servers, or an application of one of several kinds.

A kind is a key of ``[service.NAME]``, of which a table has exactly one, and a class here:
made when the configuration is read, started once privileges were given up, stopped when
every connection has ended. To serve another kind of content is to add a key to
`WebConfig` and a class to `KINDS`.

Nobody's code is imported by root on behalf of a service that is going to be somebody
else: where root prepares a service its application is loaded only when it begins.
Elsewhere it is loaded while the service is prepared, so that a reload whose new
application does not start changes nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from sennit.core.service.tree import StartError
from sennit.web.response import error_page

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final

    from sennit.core.service.tree import ServiceContext
    from sennit.web.config import WebConfig
    from sennit.web.hosting.asgi import ASGI
    from sennit.web.hosting.wsgi import WSGI
    from sennit.web.server import Handler

__all__ = [
    "KINDS",
    "ASGIContent",
    "AppContent",
    "Content",
    "FilesContent",
    "NoContent",
    "ProxyContent",
    "WSGIContent",
    "content_of",
]

_log = logging.getLogger("sennit.web")


class Content(Protocol):
    """What a service serves.

    Args:
        config: The service's configuration.
        context: Its name and surroundings.
    """

    def __init__(self, config: WebConfig, context: ServiceContext) -> None: ...

    async def start(self) -> Handler:
        """Load what is to be loaded; who answers requests.

        Raises:
            StartError: It cannot be served.
        """
        ...

    async def stop(self, limit: float) -> None:
        """Give it all back, within `limit` seconds; every connection has ended."""

    @property
    def runs_code(self) -> bool:
        """Whether `start` runs code of the application's."""
        ...


class FilesContent:
    """``root``: the files of a folder."""

    runs_code = False

    def __init__(self, config: WebConfig, context: ServiceContext) -> None:
        from sennit.web.static import StaticFiles

        assert config.root is not None
        self._files = StaticFiles(
            config.root,
            index=config.index,
            follow=config.follow,
            listing=config.listing,
            precompressed=config.precompressed,
            max_age=config.max_age,
        )

    async def start(self) -> Handler:
        """Nothing is to be loaded."""
        from sennit.web.resource import Site

        return Site(self._files).handler

    async def stop(self, limit: float) -> None:
        """Close the folder."""
        self._files.close()


class _Loaded:
    """An application that is loaded by its name."""

    runs_code = True
    key = ""

    def __init__(self, config: WebConfig, context: ServiceContext) -> None:
        self.config = config
        self.name = context.name
        self.multiprocess = context.worker > 0
        self._folder: Path = config.app_dir or context.folder

    # `Any`: whatever the application's author made it.
    def load(self) -> Any:
        """The application.

        Raises:
            StartError: It cannot be loaded, or is one of another kind.
        """
        # Files are served without it.
        from sennit.web.hosting.loading import ApplicationError, load_application

        target: str = getattr(self.config, self.key)
        try:
            found = load_application(target, factory=self.config.factory, folder=self._folder)
            self.check(found)
        except ApplicationError as error:
            cause = error.__cause__
            if cause is not None and not isinstance(cause, ModuleNotFoundError):
                _log.error("loading %s failed", target, exc_info=cause)
            raise StartError(self.name, f"found {target!r}: {error}", key=self.key) from error
        return found

    def check(self, found: Any) -> None:
        """Refuse what is no application of this kind."""
        from sennit.web.hosting.loading import check_kind

        check_kind(found, self.key)


class ASGIContent(_Loaded):
    """``asgi``: an ASGI application."""

    key = "asgi"
    host: ASGI | None = None

    async def start(self) -> Handler:
        """Load it, and have it start up."""
        from sennit.web.hosting.asgi import ASGI
        from sennit.web.hosting.lifespan import LifespanError

        config = self.config
        host = ASGI(
            self.load(),
            root_path=config.root_path,
            limit=config.abandon_after,
            lifespan_needed=config.lifespan == "on",
        )
        if config.lifespan != "off":
            try:
                await host.startup()
            except LifespanError as error:
                if error.__cause__ is not None:
                    _log.error("%s did not start", config.asgi, exc_info=error.__cause__)
                problem = f"found {config.asgi!r}, which did not start: {error}"
                raise StartError(self.name, problem, key=self.key) from error
        self.host = host
        return host

    async def stop(self, limit: float) -> None:
        """Wait for what is under way, and have it shut down."""
        host, self.host = self.host, None
        if host is not None:
            await host.shutdown(limit)


class WSGIContent(_Loaded):
    """``wsgi``: a WSGI application."""

    key = "wsgi"
    host: WSGI | None = None

    async def start(self) -> Handler:
        """Load it."""
        from sennit.web.hosting.wsgi import WSGI

        self.host = WSGI(
            self.load(),
            threads=self.config.threads,
            queue=self.config.queue,
            multiprocess=self.multiprocess,
        )
        return self.host

    async def stop(self, limit: float) -> None:
        """End its threads."""
        from sennit.core.reactor.base import current_reactor

        host, self.host = self.host, None
        if host is not None:
            await current_reactor().defer_to_thread(host.close, limit)


class AppContent(_Loaded):
    """``app``: a `Site`, a resource or a handler, made with Sennit."""

    key = "app"

    def check(self, found: Any) -> None:
        from sennit.web.hosting.loading import ApplicationError
        from sennit.web.resource import Resource
        from sennit.web.server import HTTPServer

        if not isinstance(found, (HTTPServer, Resource)) and not callable(found):
            raise ApplicationError(
                f"it is of type {type(found).__name__}; "
                "a Site, a Resource or a handler can be served"
            )

    async def start(self) -> Handler:
        """Load it; of a server its handler is taken, limits and logs are this service's."""
        from sennit.web.virtualhosts import handler_of

        return handler_of(self.load())

    async def stop(self, limit: float) -> None:
        """Nothing is held."""


class ProxyContent:
    """``proxy``: what other servers have."""

    runs_code = False

    def __init__(self, config: WebConfig, context: ServiceContext) -> None:
        from sennit.web.proxy.configured import configured_proxy

        assert config.proxy is not None
        self._proxy = configured_proxy(config.proxy, config.upstream, config.trusted_proxies)

    async def start(self) -> Handler:
        """Begin to see whether they are well."""
        await self._proxy.__aenter__()
        return self._proxy

    async def stop(self, limit: float) -> None:
        """Close the connections to them."""
        await self._proxy.aclose()


class NoContent:
    """Nothing but the paths that have handlers."""

    runs_code = False

    async def start(self) -> Handler:
        """There is nothing to be loaded."""
        return lambda request: error_page(404)

    async def stop(self, limit: float) -> None:
        """Nothing is held."""


KINDS: Final[dict[str, type[Content]]] = {
    "root": FilesContent,
    "asgi": ASGIContent,
    "wsgi": WSGIContent,
    "app": AppContent,
    "proxy": ProxyContent,
}
"""What can be served, by the key that says it."""


def content_of(config: WebConfig, context: ServiceContext) -> Content | NoContent:
    """What a configuration says to serve; `WebConfig` has seen to it that it says something."""
    for key, kind in KINDS.items():
        if getattr(config, key) is not None:
            return kind(config, context)
    return NoContent()
