"""What a node runs to be operated, as ``[admin]`` and the command line say.

The admin socket, the HTTP endpoints for probes, the watch over callbacks, and the
dump on SIGUSR1: begun together, ended together. A node without ``[admin]`` has the
dump on SIGUSR1 alone.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING

from sennit.core.errors import ConfigError, MissingExtraError
from sennit.core.ops.instruments import measure

if TYPE_CHECKING:
    from types import TracebackType

    from sennit.core.ops.admin import Administered
    from sennit.core.ops.config import AdminConfig
    from sennit.core.ops.health import HealthServer
    from sennit.core.reactor.base import Reactor
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.node import Node

__all__ = ["Operation"]


class Operation:
    """``async with Operation(node):`` while a node runs.

    Args:
        node: The node.
        socket: Path of the admin socket; ``None`` for that of the configuration.
        watch: Seconds that a callback may keep the loop; 0 for no watch.
        supervised: Whether a supervisor has the socket and the endpoints.

    Attributes:
        urls: Where probes are answered.
    """

    def __init__(
        self,
        node: Node,
        *,
        socket: str | None = None,
        watch: float = 0.0,
        supervised: bool = False,
    ) -> None:
        self._node = node
        self._socket = socket
        self._watch = watch
        self._supervised = supervised
        self._stack = AsyncExitStack()
        self.urls: tuple[str, ...] = ()

    async def __aenter__(self) -> Operation:
        """Begin.

        Raises:
            ConfigError: The socket or an endpoint cannot be had.
        """
        async with AsyncExitStack() as stack:
            await self._begin(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        await self._stack.aclose()

    async def _begin(self, stack: AsyncExitStack) -> None:
        node = self._node
        reactor, admin = node.reactor, node.config.admin
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR1"):
            from sennit.core.ops.commands import service_lines
            from sennit.core.ops.dump import dump_on_signal

            stack.callback(dump_on_signal(reactor, services=lambda: service_lines(node)))
        if self._watch:
            stack.callback(reactor.watch_blocking(self._watch).stop)
        if admin is None:
            return
        if self._supervised:
            if admin.metrics:
                # From the beginning on, and not from the first command on.
                measure(reactor)
            return
        from sennit.core.ops.commands import NodeCommands

        commands = NodeCommands(node)
        stack.callback(commands.close)
        await _administer(
            stack,
            commands,
            admin,
            node.config,
            reactor,
            self._socket or os.fspath(admin.socket_in(node.config.folder)),
            self,
        )


async def _administer(
    stack: AsyncExitStack,
    administered: Administered,
    admin: AdminConfig,
    config: NodeConfig,
    reactor: Reactor,
    path: str,
    operation: Operation,
) -> None:
    """Open the admin socket and the endpoints of ``[admin]``.

    Raises:
        ConfigError: One of them cannot be had.
    """
    from sennit.core.ops.admin import AdminServer

    try:
        await stack.enter_async_context(AdminServer(administered, path, reactor))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EROFS):
            problem = f"this user cannot make {path!r}: name a place that can be written to"
            raise config.origin.error(("admin", "socket"), problem) from error
        raise _refused(config, "socket", error) from error
    if admin.listen:
        try:
            # Its imports take longer than a callback should, were they left to the first scrape.
            import_module("sennit.core.ops.exposition")
        except MissingExtraError:
            pass  # /metrics says which extra it needs
        server = _health(administered, admin, config, reactor)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise _refused(config, "listen", error) from error
        operation.urls = server.urls


def _health(
    administered: Administered, admin: AdminConfig, config: NodeConfig, reactor: Reactor
) -> HealthServer:
    from sennit.core.ops.health import HealthServer

    listen = [
        (each.url, None if each.tls is None else config.server_tls(each.tls))
        for each in admin.listen
    ]
    return HealthServer(administered, listen, reactor)


def _refused(config: NodeConfig, key: str, error: OSError) -> ConfigError:
    return config.origin.error(("admin", key), error.strerror or str(error))
