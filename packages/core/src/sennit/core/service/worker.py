"""A worker: a node whose supervisor holds its sockets and says when to end.

A supervisor starts it with the command line that a person gave, and three connected
sockets: one to talk over (``control.py``), one to ask for listening sockets
(``sockets.py``), one for the bus. When the supervisor goes, whatever the reason, the first
ends, and the worker comes to an end as after SIGTERM: none is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import SennitError, UsageError
from sennit.core.service.control import Control
from sennit.core.service.privileges import die_with_parent
from sennit.core.service.runner import NodeRun
from sennit.core.service.sdnotify import ServiceManager
from sennit.core.service.sockets import SupervisedSockets

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from sennit.core.ops.admin import Administered
    from sennit.core.reactor.base import Reactor
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.node import Node
    from sennit.core.service.reload import PreparedReload
    from sennit.core.service.settings import Settings
    from sennit.core.service.tree import Surroundings

__all__ = ["ENVIRONMENT", "Supervised", "WorkerRun", "taken_from_supervisor"]

ENVIRONMENT: Final = "SENNIT_WORKER"
"""Variable in which a supervisor tells a worker what it needs."""


class Supervised:
    """What a supervisor gave this process.

    Attributes:
        number: Its number, from 1.
        workers: How many there are.
        first: Whether it is to show the table of services.
        held: Whether it is to wait, once everything is prepared, until it is told to begin.
        bus: Whether the supervisor passes messages between workers.
    """

    def __init__(self, text: str) -> None:
        told: dict[str, Any] = json.loads(text)
        self.number = int(told["number"])
        self.workers = int(told["workers"])
        self.first = bool(told["first"])
        self.held = bool(told["held"])
        self.control, self.sockets, self.bus = (
            socket.socket(fileno=int(each)) for each in told["fds"]
        )
        for each in (self.control, self.sockets, self.bus):
            each.set_inheritable(False)


def taken_from_supervisor() -> Supervised | None:
    """What a supervisor gave, if one has started this process; told once."""
    text = os.environ.pop(ENVIRONMENT, None)
    if text is None:
        return None
    if "LISTEN_PID" in os.environ:
        # Descriptors of socket activation come through the supervisor, which could not
        # know this process' number (sd_listen_fds(3)).
        os.environ["LISTEN_PID"] = str(os.getpid())
    return Supervised(text)


class WorkerRun(NodeRun):
    """One run of a worker.

    Args:
        config: A checked configuration.
        settings: How the process runs.
        supervised: What the supervisor gave.
    """

    def __init__(self, config: NodeConfig, settings: Settings, supervised: Supervised) -> None:
        super().__init__(config, settings)
        self._supervised = supervised
        self._manager = ServiceManager({})  # the supervisor speaks for all
        self._commands: Administered | None = None
        self._prepared: PreparedReload | None = None
        self._unwanted = False
        self._told_to_drain = False
        self._released: Deferred[None] = Deferred()
        self._control = Control(self._reactor, self._answer, self._told, self._abandoned)
        # Should it hang when the supervisor ends, its alarm clock will do the rest.
        die_with_parent(signal.SIGTERM)

    async def _main(self, reactor: Reactor) -> None:
        self._control.attach(self._supervised.control)
        await super()._main(reactor)

    # ── what differs ──────────────────────────────────────────────────────────

    @property
    def _delay(self) -> float:
        # The supervisor has waited already; who else has sent a signal has not.
        return 0.0 if self._told_to_drain else self._settings.drain_delay

    def _pid_file(self) -> None:
        return None

    def _sockets(self) -> SupervisedSockets:
        return SupervisedSockets(self._supervised.sockets)

    def _surround(self, reactor: Reactor) -> Surroundings:
        from sennit.core.bus.unix import UnixBus
        from sennit.core.service.tree import Surroundings

        here = self._supervised
        if self._settings.bus is not None:
            found = super()._surround(reactor)
            if found is not None:
                here.bus.close()
                found.worker, found.workers = here.number, here.workers
                return found
        bus = UnixBus(reactor, sock=here.bus)
        return Surroundings(bus, bus, worker=here.number, workers=here.workers)

    async def _granted(self) -> None:
        if self._supervised.held:
            self._control.tell("prepared", services=[each.name for each in self._config.services])
            await self._released
        await super()._granted()
        # Forgotten by the kernel when the user changed.
        die_with_parent(signal.SIGTERM)

    async def _administer(self, stack: AsyncExitStack, node: Node) -> None:
        """The supervisor has the admin socket; the rest is here."""
        from sennit.core.ops.service import Operation

        await stack.enter_async_context(
            Operation(node, watch=self._settings.watch, supervised=True)
        )

    def _warn_of_root(self, log: logging.Logger) -> None:
        if self._supervised.first:
            super()._warn_of_root(log)

    def _serving(self) -> None:
        table = self._table() if self._supervised.first else []
        self._control.tell("ready", table=table)

    def _ordered(self, signum: int) -> None:
        """SIGHUP and SIGUSR2 are for the supervisor."""

    # ── what the supervisor says ──────────────────────────────────────────────

    def _told(self, name: str, arguments: Mapping[str, Any]) -> None:
        if name == "deny":
            if hasattr(self, "node"):
                self.node.deny()
        elif name == "begin":
            if not self._released.called:
                self._released.callback(None)
        elif name == "drain":
            self._told_to_drain = True
            self._signalled(int(signal.SIGTERM))

    def _answer(self, name: str, arguments: Mapping[str, Any]) -> object:
        if name == "ping":
            return True
        if name == "prepare":
            return self._prepare()
        if name == "commit":
            return self._commit()
        if name == "abort":
            return self._abort()
        if name == "admin":
            return self._command(str(arguments["name"]), arguments["arguments"])
        raise UsageError(f"a worker cannot {name!r}")

    async def _prepare(self) -> dict[str, list[str]]:
        self._unwanted = False
        prepared = await self.node.prepare_reload()
        if self._unwanted:
            # The supervisor has not waited for it, and will not commit it.
            await prepared.abort()
            raise UsageError("this reload was given up")
        self._prepared = prepared
        return prepared.report.to_json()

    async def _commit(self) -> dict[str, list[str]]:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise UsageError("no reload was prepared")
        return (await prepared.commit()).to_json()

    async def _abort(self) -> None:
        self._unwanted = True
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.abort()

    async def _command(self, name: str, arguments: Mapping[str, Any]) -> object:
        if self._commands is None:
            from sennit.core.ops.commands import NodeCommands

            self._commands = NodeCommands(self.node)
        return await self._commands.command(name, arguments)

    def _abandoned(self) -> None:
        """The supervisor has gone."""
        if not self._stop.called and self._first is None:
            import logging

            self._told_to_drain = True  # there is nobody to look away any more
            logging.getLogger("sennit.node").error("the supervisor has gone, and so does this")
            self._on_signal(int(signal.SIGTERM), None)
        if self._supervised.held and not self._released.called:
            self._released.errback(SennitError("the supervisor has gone"))
