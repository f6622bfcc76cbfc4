"""One run of a node: bring services up, say so, wait, bring them down.

`run` is what ``sennit up`` and ``sennit NAME`` do with a checked configuration: with
workers it becomes their supervisor (``supervisor.py``), else it serves by itself
(`NodeRun`), and in a process that a supervisor has started it is a worker (``worker.py``).

Everything is bound before anything is accepted; in between privileges are given up. Then
a table and the line ``ready`` go to standard output. SIGHUP reads the configuration again.
The first SIGINT or SIGTERM denies readiness, waits the drain delay, stops accepting and
lets what is under way finish; the second ends the process there and then (HARDENING,
defaults 26; fault-4, fault-5).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AsyncExitStack
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import SennitError, UsageError
from sennit.core.reactor.base import Reactor
from sennit.core.service.logs import set_up
from sennit.core.service.node import Node
from sennit.core.service.output import LineWriter
from sennit.core.service.privileges import Privileges, is_root
from sennit.core.service.sdnotify import ServiceManager
from sennit.core.service.settings import RunOptions, Settings
from sennit.core.service.sockets import LocalSockets
from sennit.core.service.tables import Row, render

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import FrameType

    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.pidfile import PidFile
    from sennit.core.service.sockets import SupervisedSockets
    from sennit.core.service.tree import Surroundings

__all__ = ["NodeRun", "privileges", "run"]

LEFTOVER: Final = 10.0
"""Seconds beyond the drain limit after which a service that does not end is given up."""

SAME_SIGNAL: Final = 0.2
"""Seconds within which a second signal is the first one told twice."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_SOON: Final = ("sennit.core._faultlog", "sennit.core._tasks", "sennit.core.transport.peek")
"""What the first connection or the first fault imports."""

_LATE: Final = (
    "sennit.core.ops.admin",
    "sennit.core.ops.commands",
    "sennit.core.ops.dump",
    "sennit.core.ops.exposition",
    "sennit.core.ops.health",
    "sennit.core.ops.service",
    "sennit.core.service.reload",
    "sennit.core.stream",
    "sennit.core.transport.descriptors",
    "gzip",
    "resource",
    "traceback",
)
"""What else is imported while serving, with all it imports in turn."""


def run(
    config: NodeConfig,
    options: RunOptions | None = None,
    *,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run every service of `config` until a signal comes.

    Args:
        config: A checked configuration.
        options: What the command line says of running.
        arguments: The command line itself, with which workers are started; that of this
            process when left out.

    Returns:
        The exit status: 0, or 1 when a service did not end well.

    Raises:
        ConfigError: A service cannot be brought up because of the configuration,
            such as a port in use. Nothing is left running.
        SennitError: The pid file is held by another process.
    """
    options = RunOptions() if options is None else options
    admin = config.admin
    settings = Settings.merged(
        config.node,
        options,
        None if admin is None else str(admin.socket_in(config.folder)),
    )
    from sennit.core.service.worker import WorkerRun, taken_from_supervisor

    supervised = taken_from_supervisor()
    if supervised is not None:
        return WorkerRun(config, settings, supervised).run()
    if settings.workers is not None:
        from sennit.core.service.supervisor import become_supervisor

        # What is wrong is told here, by the one whom a person has started.
        config.build()
        privileges(config, settings)
        settings.probes = _probes(config)
        become_supervisor(settings, sys.argv[1:] if arguments is None else arguments)
    return NodeRun(config, settings).run()


def _probes(config: NodeConfig) -> list[str]:
    """Where a supervisor answers probes.

    Raises:
        ConfigError: Over TLS: a supervisor holds no keys.
    """
    listen = [] if config.admin is None else config.admin.listen
    for index, each in enumerate(listen):
        if each.tls is not None:
            raise config.origin.error(
                ("admin", "listen", index),
                f'found "{each.url}" with a certificate, which needs one process: with workers '
                "the supervisor answers probes, and it reads no keys; write a tcp: URL",
            )
    return [each.url for each in listen]


def _load_modules(names: Iterable[str]) -> None:
    """Load what is imported when it is first wanted, while its files may still be read.

    When that is, there may be no descriptor left to open them with; and an interpreter may lie
    where its new user cannot look: in somebody's home, say.
    """
    for name in names:
        try:
            import_module(name)
        except ImportError:
            # An extra that is not installed, or not on this system: who wants it is told.
            continue


def privileges(config: NodeConfig, settings: Settings) -> Privileges:
    """Whom to become.

    Raises:
        ConfigError: There is no such user, or this process cannot become it.
    """
    try:
        return Privileges(
            settings.user,
            settings.group,
            settings.groups,
            settings.capabilities,
            no_new_privs=settings.no_new_privs,
        )
    except UsageError as error:
        raise config.origin.error(("node",), str(error)) from error


class NodeRun:
    """The state of one run.

    Args:
        config: A checked configuration.
        settings: How the process runs.

    Attributes:
        node: The node, once it is made.
    """

    node: Node

    def __init__(self, config: NodeConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._privileges = privileges(config, settings)
        self._out = LineWriter(1, name="sennit-stdout")
        self._log = LineWriter(2, name="sennit-log", notice="… {} log lines were dropped")
        self._manager = ServiceManager()
        self._stop: Deferred[int] = Deferred()
        self._status = 0
        self._reactor = Reactor()
        self._first: float | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        self._reloading = self._reload_wanted = False

    def run(self) -> int:
        """Run until a signal comes; the exit status.

        Raises:
            ConfigError: A service cannot be brought up; nothing is left running.
        """
        # First of all, since it holds for threads that are made later.
        self._privileges.forbid_new()
        pid_file = self._pid_file()
        put_back = set_up(self._log, self._settings.log_level, self._settings.log_format)
        reactor = self._reactor
        handlers: dict[int, Callable[[int, FrameType | None], object]] = dict.fromkeys(
            _SIGNALS, self._on_signal
        )
        for name in ("SIGHUP", "SIGUSR2"):
            if hasattr(signal, name):
                handlers[getattr(signal, name)] = self._on_order
        before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
        try:
            reactor.run(self._main, handle_signals=False)
        finally:
            self._disarm()
            reactor.close()
            for signum, handler in before.items():
                signal.signal(signum, handler)
            put_back()
            self._out.close()
            self._log.close()
            if pid_file is not None:
                pid_file.close()
        return self._status

    async def _main(self, reactor: Reactor) -> None:
        import logging

        # The handlers are not the reactor's, so it must be told: a signal that comes between
        # the last step of Python and the wait for events would else be heard after the next one.
        reactor._watch_signals()
        log = logging.getLogger("sennit.node")
        config = self._config
        async with AsyncExitStack() as stack:
            surroundings = self._surround(reactor)
            if surroundings is not None:
                stack.push_async_callback(_close_bus, surroundings)
            await self._look_names_up(stack, reactor)
            node = self.node = Node(
                config,
                reactor,
                read=self._reader(),
                sockets=self._sockets(),
                surroundings=surroundings,
                on_drain=lambda: self._signalled(int(signal.SIGTERM)),
                drain=self._settings.drain,
            )
            await node.start(self._granted)
            try:
                self._warn_of_root(log)
                await self._administer(stack, node)
                self._serving()
                signum = await self._stop
                await self._linger(log, signal.Signals(signum).name)
            finally:
                await self._end(node, log)

    async def _linger(self, log: logging.Logger, why: str) -> None:
        """The time between denied readiness and closed doors."""
        self._manager.stopping()
        self.node.deny()
        if self._delay:
            log.info("%s: not ready any more, and serving for %g s", why, self._delay)
            done: Deferred[None] = Deferred()
            self._reactor.call_later(self._delay, done.callback, None)
            await done
        drain = self._settings.drain
        log.info("%s: no new connections, %g seconds for those that are there", why, drain)

    async def _end(self, node: Node, log: logging.Logger) -> None:
        from asyncio import timeout

        try:
            async with timeout(self._settings.drain + LEFTOVER):
                await node.stop(self._settings.drain)
        except TimeoutError:
            self._status = 1
            log.error("a service did not end in time and is given up")
        except Exception as error:
            self._status = 1
            log.error("a service did not end well", exc_info=error)
        else:
            log.info("stopped")
        finally:
            self._manager.unwatch()

    # ── what a worker does otherwise ──────────────────────────────────────────

    @property
    def _delay(self) -> float:
        return self._settings.drain_delay

    def _pid_file(self) -> PidFile | None:
        path = self._settings.pid_file
        if path is None:
            return None
        from sennit.core.service.pidfile import PidFile

        try:
            return PidFile(path)
        except OSError as error:
            problem = f"{path} cannot be written: {error.strerror}"
            raise self._config.origin.error(("node", "pid_file"), problem) from error

    def _sockets(self) -> LocalSockets | SupervisedSockets:
        return LocalSockets()

    def _surround(self, reactor: Reactor) -> Surroundings | None:
        from sennit.core.bus.opening import open_bus
        from sennit.core.service.tree import Surroundings

        url = self._settings.bus
        if url is None:
            return None
        try:
            return Surroundings(*open_bus(url, reactor))
        except SennitError as error:
            raise self._config.origin.error(("node", "bus"), str(error)) from error

    async def _look_names_up(self, stack: AsyncExitStack, reactor: Reactor) -> None:
        """Give the reactor the resolver that ``[node]`` names."""
        from sennit.core.resolver import resolver

        name = self._settings.resolver
        if name is None or name == "system":
            return
        try:
            reactor.resolver = await stack.enter_async_context(resolver(name=name, reactor=reactor))
        except SennitError as error:
            raise self._config.origin.error(("node", "resolver"), str(error)) from error

    async def _granted(self) -> None:
        """Everything is bound, nothing was accepted: here privileges are given up."""
        _load_modules(_SOON)
        if self._privileges.changes_ids:
            _load_modules(_LATE)
        self._privileges.drop()

    async def _administer(self, stack: AsyncExitStack, node: Node) -> None:
        """Open what the node is operated by, as ``[admin]`` says."""
        from sennit.core.ops.service import Operation

        settings = self._settings
        await stack.enter_async_context(
            Operation(node, socket=settings.admin, watch=settings.watch)
        )

    def _warn_of_root(self, log: logging.Logger) -> None:
        if is_root():
            log.warning("services run as root; [node] user, or --user, says as whom they should")

    def _serving(self) -> None:
        """Everything serves: tell whoever waits for that."""
        for line in self._table():
            self._out.write(line)
        self._out.write("ready")
        self._manager.ready("serving")
        self._manager.watch(self._reactor)

    # ── what is common ────────────────────────────────────────────────────────

    def _reader(self) -> Callable[[], NodeConfig] | None:
        """What reads the configuration anew; ``None`` where it came from options."""
        file, shown = self._config.file, self._config.origin.file
        if file is None or shown is None:
            return None
        folder = os.getcwd()

        def read() -> NodeConfig:
            from sennit.core.service.loading import load

            # As the user named it, in messages too, whatever the folder is by now.
            return load(shown if os.path.isabs(shown) or os.getcwd() == folder else file)

        return read

    def _table(self) -> list[str]:
        """Lines that say what runs, where, and what to try."""
        rows: list[Row] = []
        for name, entry in self.node.entries.items():
            plugin = entry.configured.plugin
            commands = plugin.try_commands(entry.configured.config, entry.urls)
            shown = tuple(plugin.shown(url) for url in entry.urls)
            rows.append(Row(name, plugin.name, shown, tuple(commands)))
        return list(render(rows, terminal=sys.stdout is not None and sys.stdout.isatty()))

    # ── orders ────────────────────────────────────────────────────────────────

    def _on_order(self, signum: int, frame: FrameType | None) -> None:
        """Take SIGHUP or SIGUSR2: something to do, not an end."""
        self._reactor.call_from_thread(self._ordered, signum)

    def _ordered(self, signum: int) -> None:
        if signum == getattr(signal, "SIGHUP", None):
            self._later(self._reload())
            return
        import logging

        logging.getLogger("sennit.node").warning(
            "SIGUSR2 restarts workers one by one, and there are none: see [node] workers"
        )

    def _later(self, work: Coroutine[object, object, None]) -> None:
        import asyncio

        task = asyncio.ensure_future(work)
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:

        if self._reloading:
            # What is under way may have read the file before it was changed again.
            self._reload_wanted = True
            return
        self._reloading = True
        try:
            while True:
                self._reload_wanted = False
                await self._reload_once()
                if not self._reload_wanted:
                    return
        finally:
            self._reloading = False

    async def _reload_once(self) -> None:
        import logging

        self._manager.reloading()
        try:
            await self.node.reload()
        except SennitError as error:
            logging.getLogger("sennit.node").error(
                "not reloaded, everything is as it was: %s", error
            )
        except Exception as error:
            logging.getLogger("sennit.node").error(
                "not reloaded, everything is as it was", exc_info=error
            )
        finally:
            self._manager.ready()

    # ── signals ───────────────────────────────────────────────────────────────

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """Take a signal where Python has interrupted whatever it was doing.

        Not through the reactor: a loop that does not turn must end at a second signal
        too. So nothing here may take a lock, as logging and threads do.
        """
        now = monotonic()
        if self._first is None:
            self._first = now
            self._arm()
            self._reactor.call_from_thread(self._signalled, signum)
        elif now - self._first >= SAME_SIGNAL:
            # No clean-up: who sends a second one has seen the first take too long. No
            # moment leaves half a file behind (HARDENING, durability rule).
            os._exit(128 + signum)

    def _signalled(self, signum: int) -> None:
        if not self._stop.called:
            self._stop.callback(signum)

    def _arm(self) -> None:
        """End the process even if the loop never turns again."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, _overdue)
            signal.setitimer(signal.ITIMER_REAL, self._delay + self._settings.drain + 2 * LEFTOVER)

    def _disarm(self) -> None:
        if self._first is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _overdue(signum: int, frame: FrameType | None) -> None:
    import select

    if select.select([], [2], [], 0)[1]:
        os.write(2, b"sennit: did not end in time; the loop does not turn\n")
    os._exit(1)


async def _close_bus(surroundings: Surroundings) -> None:
    await surroundings.bus.close()
