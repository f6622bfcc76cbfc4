"""The service that most strands are: servers at the endpoints of one configuration.

`ServerService.prepare` binds every endpoint and lets none accept; `begin` lets
all of them. So a port that is in use leaves no connection half served.
"""

from __future__ import annotations

import errno
from typing import cast

from sennit.core.errors import UsageError
from sennit.core.service.tree import Service, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.listen import Server
    from sennit.core.interfaces import IPeerLimits, IReactor, IService
    from sennit.core.protocol import DatagramFactory, ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.service.tree import ListenOn

__all__ = ["ServerService"]


class ServerService(Service):
    """Serves one factory at each of its endpoints.

    Args:
        name: The service's name.
        factory: Builds the protocol of each connection, and of each socket at endpoints of
            datagrams (``udp:``); one that has both ``build_protocol`` and
            ``build_datagram_protocol`` serves both.
        listen: Where to listen: ``context.endpoints(config)``.
        limits: Connection limits over all endpoints: ``context.limits(config)``.
        children: Services that it needs or holds.
    """

    def __init__(
        self,
        name: str,
        factory: ProtocolFactory | DatagramFactory,
        listen: Sequence[ListenOn],
        *,
        limits: IPeerLimits | None = None,
        children: Iterable[IService] = (),
    ) -> None:
        super().__init__(name, children)
        self._factory = factory
        self._listen = list(listen)
        self._limits = limits
        self._servers: list[Server] = []
        self._endings: list[Deferred[None]] = []

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers, one per endpoint, once prepared."""
        return tuple(self._servers)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it can be reached, with the real port where 0 was asked for."""
        return (*(url for server in self._servers for url in server.urls), *super().urls)

    async def prepare(self, reactor: IReactor) -> None:
        """Bind every endpoint; none accepts yet.

        Raises:
            StartError: An address is in use or not ours; an `ExceptionGroup` of
                them when it is several.
        """
        # Here, so that a configuration can be checked without loading transports.
        from sennit.core.endpoint.listen import serve

        refused: list[StartError] = []
        try:
            for each in self._listen:
                if _only_streams(self._factory) and _has_datagrams(each.url):
                    refused.append(
                        StartError(
                            self.name,
                            f'found "{each.url}", which carries datagrams, and this service '
                            "serves connections: tcp:, tls: and unix: carry those",
                            key="listen",
                            index=each.index,
                        )
                    )
                    continue
                server = serve(
                    each.url,
                    self._factory,
                    tls=each.tls,
                    limits=self._limits,
                    paused=True,
                    reactor=cast("Reactor", reactor),
                )
                try:
                    await server.start()
                except (OSError, UsageError) as error:
                    refused.append(
                        StartError(
                            self.name,
                            _explain(each.url, error),
                            key="listen",
                            index=each.index,
                        )
                    )
                else:
                    self._servers.append(server)
                    for listener in server.listeners:
                        # A plugin's may be no `Listener`.
                        if hasattr(listener, "label"):
                            listener.label = self.name
        except BaseException:
            await self.end(0.0)
            raise
        if refused:
            await self.end(0.0)
            if len(refused) == 1:
                raise refused[0]
            raise ExceptionGroup(f"service {self.name!r} cannot listen", refused)

    async def begin(self) -> None:
        """Let every endpoint accept."""
        for server in self._servers:
            server.resume_accepting()

    def close_doors(self, drain: float) -> None:
        """Accept no more, and ask every connection to end within `drain` seconds."""
        self._endings = [server.close(drain) for server in self._servers]

    async def end(self, drain: float) -> None:
        """Wait until every connection has ended, or was aborted after `drain` seconds."""
        if not self._endings:
            self.close_doors(drain)
        endings, self._endings = self._endings, []
        for ending in endings:
            await ending
        self._servers.clear()


def _only_streams(factory: object) -> bool:
    """Whether it says that it makes protocols of streams alone; a plain callable says nothing."""
    return (
        hasattr(factory, "build_protocol")
        and not hasattr(factory, "build_datagram_protocol")
        and not callable(factory)
    )


def _has_datagrams(url: str) -> bool:
    from sennit.core.endpoint.parse import parse_endpoint

    row = parse_endpoint(url).row
    return row is not None and row.datagrams


def _explain(url: str, error: Exception) -> str:
    """Why nobody can listen at `url`, for the person who wrote it there."""
    code = error.errno if isinstance(error, OSError) else None
    found = f'found "{url}"'
    if code == errno.EADDRINUSE:
        return (
            f"{found}, which is in use: another program listens there; "
            "end that one, or choose another port"
        )
    if code == errno.EACCES:
        return (
            f"{found}, which this user may not listen on; "
            "ports below 1024 are reserved to root, and a Unix socket needs a folder "
            "that can be written to"
        )
    if code == errno.EADDRNOTAVAIL:
        return f"{found}, which is no address of this machine"
    if code == errno.ENOENT:
        return f"{found}, whose folder does not exist"
    return f"{found}: {error}"
