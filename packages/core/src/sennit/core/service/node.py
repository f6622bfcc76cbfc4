"""A node: the services of this process, as they run now.

`Node` brings the services of a configuration up, all or none, replaces what a changed
configuration changes (``reload.py``), and brings them down. What surrounds it, signals,
privileges, a supervisor, is the runner's (``runner.py``, ``worker.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.core.errors import ConfigError, UsageError
from sennit.core.service.certificates import CertificateWatch
from sennit.core.service.restart import SupervisedService
from sennit.core.service.sockets import LocalSockets
from sennit.core.service.tree import (
    DRAIN_SECONDS,
    StartError,
    abandon_tree,
    begin_tree,
    close_tree,
    leaves,
    prepare_tree,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from sennit.core.interfaces import IService
    from sennit.core.reactor.base import Reactor
    from sennit.core.service.loading import ConfiguredService, NodeConfig
    from sennit.core.service.reload import PreparedReload, ReloadReport
    from sennit.core.service.sockets import SupervisedSockets
    from sennit.core.service.tree import Surroundings

__all__ = ["Entry", "Node", "Started", "abandon", "raise_all"]

STARTING: Final = "starting"
RUNNING: Final = "running"
DRAINING: Final = "draining"
STOPPED: Final = "stopped"


class Started(NamedTuple):
    """When a node began to serve.

    Attributes:
        wall: Seconds since 1970, for people.
        monotonic: Monotonic seconds, to tell how long that is.
    """

    wall: float
    monotonic: float


class Entry:
    """One service of a node.

    Attributes:
        configured: Its name, plugin and configuration.
        tree: What holds it and starts it anew when it fails.
        since: When it was started.
        drained: Whether it was brought down by a command.
    """

    __slots__ = ("configured", "drained", "since", "tree")

    def __init__(self, configured: ConfiguredService, tree: SupervisedService) -> None:
        self.configured = configured
        self.tree = tree
        self.since = Started(time.time(), time.monotonic())
        self.drained = False

    @property
    def service(self) -> IService:
        """The service itself, as it is now."""
        return self.tree.service

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it can be reached."""
        return self.tree.urls

    @property
    def status(self) -> str:
        """``running``, ``restarting``, ``failed``, ``drained``, …."""
        return "drained" if self.drained else self.tree.status

    @property
    def trouble(self) -> str | None:
        """Why it does not serve; ``None`` when it does."""
        if self.status == RUNNING:
            return None
        error = self.tree.failure
        why = "" if error is None else f": {type(error).__name__}: {error}"
        return f"service {self.configured.name!r} is {self.status}{why}"


class Node:
    """The services of one process.

    Args:
        config: What to run.
        reactor: Who runs it.
        read: Reads the configuration anew for a reload; where it is left out, a reload
            reads certificates and the files of services alone.
        sockets: Where listening sockets come from.
        surroundings: What the services share.
        on_drain: Is called when everything is to be brought down by a command; without it
            the node does that, and the process stays.

    Attributes:
        config: What runs.
        reactor: Who runs it.
        state: ``starting``, ``running``, ``draining`` or ``stopped``.
        started: When it began to serve; ``None`` before.
        reloads: How often the configuration was replaced.
        drain_seconds: What `stop` and `drain` allow when they are not told.
    """

    def __init__(
        self,
        config: NodeConfig,
        reactor: Reactor,
        *,
        read: Callable[[], NodeConfig] | None = None,
        sockets: LocalSockets | SupervisedSockets | None = None,
        surroundings: Surroundings | None = None,
        on_drain: Callable[[], object] | None = None,
        drain: float = DRAIN_SECONDS,
    ) -> None:
        self.config = config
        self.reactor = reactor
        self.state = STARTING
        self.started: Started | None = None
        self.reloads = 0
        self.drain_seconds = drain
        self.sockets = LocalSockets() if sockets is None else sockets
        self._read = read
        self._surroundings = surroundings
        self._on_drain = on_drain
        self._entries: dict[str, Entry] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._pending: PreparedReload | None = None
        self._reloading = False
        self._certificates = CertificateWatch({})

    def __repr__(self) -> str:
        return f"<Node {self.state}: {', '.join(self._entries) or 'no services'}>"

    @property
    def services(self) -> Mapping[str, IService]:
        """The services that run, by name, in the order of the configuration."""
        return {name: each.service for name, each in self._entries.items()}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The same with what is known of each."""
        return dict(self._entries)

    @property
    def reading(self) -> Callable[[], NodeConfig] | None:
        """What reads the configuration anew."""
        return self._read

    def ready(self) -> list[str]:
        """Why this node should get no new work; empty when it should."""
        if self.state != RUNNING:
            return [f"the node is {self.state}"]
        return [why for each in self._entries.values() if (why := each.trouble) is not None]

    # ── up ────────────────────────────────────────────────────────────────────

    async def start(self, granted: Callable[[], Awaitable[None]] | None = None) -> None:
        """Bring every service up: all are bound before the first accepts.

        Args:
            granted: Awaited in between: nothing can be refused any more, and no octet of a
                peer was read. There privileges are given up.

        Raises:
            ConfigError: A service cannot be brought up; nothing is left of any.
        """
        self.reactor.socket_source = self.sockets
        entries = self.build(self.config, self.wanted(self.config))
        try:
            await self.prepare(self.config, entries)
            if granted is not None:
                await granted()
            for each in entries:
                await begin_tree(each.tree, self.reactor)
        except BaseException as error:
            await abandon(entries)
            self.state = STOPPED
            if isinstance(error, StartError):
                # Some do only now what can be refused, when root's powers were given up.
                raise self.config.located(error) from error
            raise
        self._entries = {each.configured.name: each for each in entries}
        await self._certificates.start(self.reactor)
        self._certificates.watch(self.config.contexts)
        self.started = Started(time.time(), time.monotonic())
        self.state = RUNNING

    def wanted(self, config: NodeConfig) -> list[ConfiguredService]:
        """Those services of `config` that run in this process."""
        worker = 0 if self._surroundings is None else self._surroundings.worker
        return [each for each in config.services if worker <= 1 or each.plugin.scale == "any"]

    def build(self, config: NodeConfig, wanted: Iterable[ConfiguredService]) -> list[Entry]:
        """Assemble services; nothing is opened.

        Raises:
            ConfigError: One or more cannot be.
        """
        errors: list[ConfigError] = []
        for name in config.tls:
            try:
                config.server_tls(name)
            except ConfigError as error:
                errors.append(error)
        entries: list[Entry] = []
        for each in wanted if not errors else ():
            try:
                entries.append(self._entry(config, each))
            except ConfigError as error:
                errors.append(error)
        raise_all(errors)
        return entries

    def _entry(self, config: NodeConfig, each: ConfiguredService) -> Entry:
        def make() -> IService:
            self.sockets.preparing(each.name)
            return config.build_service(each, self._surroundings)

        first = config.build_service(each, self._surroundings)
        return Entry(each, SupervisedService(each.name, make, first=first))

    async def prepare(self, config: NodeConfig, entries: Iterable[Entry]) -> None:
        """Take what can be refused, for each; all are asked, so that all refusals are heard.

        Raises:
            ConfigError: Something was refused; `abandon` the entries.
        """
        refused: list[StartError] = []
        for each in entries:
            name = each.configured.name
            self.sockets.preparing(name)
            try:
                await prepare_tree(each.tree, self.reactor)
            except StartError as error:
                refused.append(error)
            except ConfigError as error:
                # Found only now, as a log file that cannot be opened is.
                refused.append(StartError(name, error.problem, key=error.key))
            except ExceptionGroup as group:
                matched, rest = group.split(StartError)
                if rest is not None or matched is None:
                    raise
                refused += leaves(matched)
        raise_all([config.located(each) for each in refused])

    # ── reload ────────────────────────────────────────────────────────────────

    async def reload(self) -> ReloadReport:
        """Read the configuration again and go on with it, or change nothing.

        Raises:
            ConfigError: It cannot be used; everything is as it was.
            UsageError: The node does not run, or is being reloaded.
        """
        prepared = await self.prepare_reload()
        return await prepared.commit()

    async def prepare_reload(self) -> PreparedReload:
        """The first half of `reload`: all that can fail, beside what runs.

        Returns:
            What `PreparedReload.commit` or `PreparedReload.abort` ends. Until then no other
            reload can begin.

        Raises:
            ConfigError: The configuration cannot be used; everything is as it was.
            UsageError: The node does not run, or is being reloaded.
        """
        # Only a node that is reloaded pays for it.
        from sennit.core.service.reload import prepare_reload

        if self.state != RUNNING:
            raise UsageError(f"the node is {self.state}: it is not reloaded")
        if self._reloading:
            raise UsageError("the node is being reloaded already")
        self._reloading = True
        try:
            pending = await prepare_reload(self)
        except BaseException:
            self._reloading = False
            raise
        if self.state != RUNNING:
            # The end has begun meanwhile.
            await pending.abort()
            raise UsageError(f"the node is {self.state}: it is not reloaded")
        self._pending = pending
        return pending

    def replaced(self, config: NodeConfig, entries: Mapping[str, Entry]) -> list[Entry]:
        """Go on with other services (called by a reload that has begun them).

        Returns:
            Those that are not among them, which still run.
        """
        old = [each for each in self._entries.values() if each not in entries.values()]
        self.config = config
        self._entries = dict(entries)
        self.reloads += 1
        # Other files perhaps, and objects that have taken over what is new.
        self._certificates.watch(config.contexts)
        return old

    def reload_ended(self) -> None:
        """Another reload may begin."""
        self._reloading = False
        self._pending = None

    def end_later(self, entries: Iterable[Entry]) -> None:
        """Let services that were replaced come to an end beside those that run."""
        for each in entries:
            close_tree(each.tree, self.drain_seconds)
            task = asyncio.ensure_future(self._end(each, self.drain_seconds))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, entry: Entry, drain: float) -> None:
        try:
            await entry.tree.stop(drain)
        except Exception as error:
            logging.getLogger("sennit.node").error(
                "a service did not end well",
                exc_info=error,
                extra={"service": entry.configured.name},
            )

    # ── down ──────────────────────────────────────────────────────────────────

    async def drain(self, name: str | None = None) -> None:
        """Bring one service down, or all of them and with them the process.

        A reload brings a service that was drained up again.

        Raises:
            UsageError: There is no service of that name.
        """
        if name is None:
            if self._on_drain is None:
                await self.stop()
            else:
                self._on_drain()
            return
        entry = self._entries.get(name)
        if entry is None:
            there = ", ".join(self._entries) or "none"
            raise UsageError(f"there is no service {name!r}; there are: {there}")
        entry.drained = True
        close_tree(entry.tree, self.drain_seconds)
        # A node that is told to end meanwhile waits for this, too.
        ending = asyncio.ensure_future(entry.tree.stop(self.drain_seconds))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await ending

    def deny(self) -> None:
        """Be not ready any more, and serve all the same: the end is near."""
        if self.state == RUNNING:
            self.state = DRAINING

    async def stop(self, drain: float | None = None) -> None:
        """Bring every service down; what is under way may finish within `drain` seconds.

        Raises:
            Exception: What went wrong in one service; the others were ended all the same.
        """
        if self.state == STOPPED:
            return
        self.state = DRAINING
        if self._pending is not None:
            await self._pending.abort()
        await self._certificates.stop()
        limit = self.drain_seconds if drain is None else drain
        entries = list(self._entries.values())
        for each in entries:
            close_tree(each.tree, limit)
        ends = [each.tree.stop(limit) for each in entries]
        results = await asyncio.gather(*ends, *self._ending, return_exceptions=True)
        self.state = STOPPED
        errors = [each for each in results if isinstance(each, Exception)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("services did not end well", errors)


async def abandon(entries: Iterable[Entry]) -> None:
    """End services that are not to serve; what fails meanwhile is logged."""
    for each in entries:
        for error in await abandon_tree(each.tree):
            logging.getLogger("sennit.node").error(
                "a service that was not to begin did not end well",
                exc_info=error,
                extra={"service": each.configured.name},
            )


def raise_all(errors: list[ConfigError]) -> None:
    """Raise what there is, as one error."""
    from sennit.core.service.loading import SeveralConfigError

    if errors:
        raise errors[0] if len(errors) == 1 else SeveralConfigError(errors)
