"""Services: things that run from `start` to `stop`, and hold others.

A tree of services comes up in two steps. `prepare` takes what can be refused
(ports, files, keys) throughout the whole tree; only when all of it was granted
does `begin` set it to work. When anything fails, whatever was prepared is ended
in reverse order: a tree runs as a whole or leaves nothing behind.

A service of one's own overrides any of `prepare`, `begin` and `end`, and is
started and stopped by `start` and `stop`. An object that has only ``name``,
``start`` and ``stop`` (`sennit.core.interfaces.IService`), or a `Service` that
overrides `start` or `stop` themselves, may be a child too; it is started where
the others begin.

Nothing here needs more than the standard library.
"""

from __future__ import annotations

from sennit.core._implements import implements
from sennit.core.errors import ConfigError, ProtocolError, SennitError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Any, Final, TypeGuard, TypeVar

    from sennit.core.auth.interfaces import IChecker, IRealm
    from sennit.core.auth.portal import Portal
    from sennit.core.bus.interfaces import IBus, ICounters
    from sennit.core.interfaces import IPeerLimits, IReactor, IService
    from sennit.core.transport.tls import ServerTLS

    T = TypeVar("T")

__all__ = [
    "DRAIN_SECONDS",
    "ListenOn",
    "MultiService",
    "Service",
    "ServiceContext",
    "ServiceStateError",
    "StartError",
    "Surroundings",
    "abandon_tree",
    "begin_tree",
    "checked",
    "close_tree",
    "leaves",
    "prepare_tree",
]

DRAIN_SECONDS: Final = 30.0
"""Seconds that what is under way may take to finish (HARDENING, defaults 26)."""

_STOPPED: Final = "stopped"
_STARTING: Final = "starting"
_RUNNING: Final = "running"
_STOPPING: Final = "stopping"


class ServiceStateError(UsageError):
    """A service was asked for what its state forbids, such as to start twice."""


class StartError(SennitError):
    """A service could not be prepared because of something a person can change.

    Attributes:
        service: The service's name.
        key: The key of its configuration that led to it, such as ``listen``.
        index: Which item of that key, or ``None``.
        problem: What was found and what to do about it.
    """

    def __init__(
        self, service: str, problem: str, *, key: str | None = None, index: int | None = None
    ) -> None:
        where = "" if key is None else f" {key}" if index is None else f" {key}[{index}]"
        super().__init__(f"service {service!r}{where}: {problem}")
        self.service = service
        self.key = key
        self.index = index
        self.problem = problem


@implements("IService")
class Service:
    """Something that runs, and the services it holds.

    Args:
        name: Its identity in logs, commands and reload.
        children: Services that start after this one, in order, and stop before
            it, in reverse order.

    Attributes:
        on_failure: Called with the service and the error when it fails while it runs
            (`fail`); set by whoever holds it.
    """

    def __init__(self, name: str, children: Iterable[IService] = ()) -> None:
        self._name = name
        self._children = list(children)
        self._started: list[IService] = []
        self._prepared = False
        self._state = _STOPPED
        self.on_failure: Callable[[IService, BaseException], object] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} {self._state}>"

    @property
    def name(self) -> str:
        """Its identity in logs, commands and reload."""
        return self._name

    @property
    def children(self) -> tuple[IService, ...]:
        """The services it holds, in the order in which they start."""
        return tuple(self._children)

    @property
    def running(self) -> bool:
        """Whether `start` has ended well and `stop` was not called since."""
        return self._state == _RUNNING

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it and its children can be reached, once they are prepared."""
        found: list[str] = []
        for child in self._children:
            found.extend(getattr(child, "urls", ()))
        return tuple(found)

    def add(self, child: IService) -> None:
        """Hold one more service.

        Raises:
            ServiceStateError: This one is not stopped.
        """
        if self._state != _STOPPED:
            raise ServiceStateError(f"{self!r} holds what it holds until it is stopped")
        self._children.append(child)

    # ── what a service of one's own overrides ─────────────────────────────────

    async def prepare(self, reactor: IReactor) -> None:
        """Take what can be refused: bind ports, open files, load keys.

        If it raises it has cleaned up after itself. If it returns, `end` is called
        in any case.
        """

    async def begin(self) -> None:
        """Go to work; everything in the whole tree was granted."""

    def close_doors(self, drain: float) -> None:
        """Begin nothing new: the whole tree is about to end, within `drain` seconds.

        Called throughout the tree before the first `end`. Must not wait or raise.
        """

    async def end(self, drain: float) -> None:
        """Come to an end within `drain` seconds, and give back what `prepare` took."""

    def examine(self) -> list[str]:
        """Look through the files that the configuration names, for ``sennit check``.

        Nothing but them is opened, and nothing is kept.

        Returns:
            What a person should know of them, a line each.

        Raises:
            StartError: One of them is such that the service could not start.
        """
        return []

    async def prepare_reload(self) -> Callable[[], object] | None:
        """Get ready to go on with other contents of the files that the configuration names.

        Called on a reload, when the configuration itself has not changed. Whatever can fail
        is done here, beside what is in use (read the zone, parse the password file); raising
        leaves this service and every other as it was.

        Returns:
            Puts it to use, and cannot fail; ``None`` where there is nothing to do.
        """
        return None

    # ── failing ───────────────────────────────────────────────────────────────

    def fail(self, error: BaseException) -> None:
        """Say that this service cannot go on, to whoever holds it.

        What holds it decides: a `SupervisedService` (as every service of a node is inside
        one) starts it anew; any other fails with it.
        """
        if self._state != _RUNNING:
            return
        if self.on_failure is not None:
            self.on_failure(self, error)
            return
        import logging

        logging.getLogger("sennit.service").error(
            "service %r failed, and nobody starts it again", self._name, exc_info=error
        )

    def child_failed(self, child: IService, error: BaseException) -> None:
        """A service that this one holds has failed: this one has, unless it knows better."""
        self.fail(error)

    # ── life cycle ────────────────────────────────────────────────────────────

    async def start(self, reactor: IReactor) -> None:
        """Bring the whole tree up; return when it is at work.

        Raises:
            ServiceStateError: It is not stopped.
            Exception: Whatever failed; nothing of the tree is left behind.
        """
        if self._state != _STOPPED:
            raise ServiceStateError(f"{self!r} cannot be started")
        self._state = _STARTING
        try:
            await self._prepare_all(reactor)
            await self._begin_all(reactor)
        except BaseException as error:
            self._close_all_doors(0.0)
            for later in await self._end_all(0.0):
                error.add_note(f"and while it was ended: {type(later).__name__}: {later}")
            self._state = _STOPPED
            raise
        self._state = _RUNNING

    async def stop(self, drain: float = DRAIN_SECONDS) -> None:
        """Bring the whole tree to an end; harmless when it is stopped already.

        Args:
            drain: Seconds that what is under way may take to finish.

        Raises:
            Exception: What went wrong in one service; the others were ended all
                the same. Several are raised as an `ExceptionGroup`.
        """
        if self._state in (_STOPPED, _STOPPING):
            return
        if self._state == _STARTING:
            raise ServiceStateError(f"{self!r} is starting: cancel that instead")
        self._state = _STOPPING
        try:
            self._close_all_doors(drain)
            errors = await self._end_all(drain)
        finally:
            self._state = _STOPPED
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"service {self._name!r} did not end well", errors)

    async def _prepare_all(self, reactor: IReactor) -> None:
        await self.prepare(reactor)
        self._prepared = True
        self._state = _STARTING
        await self._prepare_children(reactor)

    async def _prepare_children(self, reactor: IReactor) -> None:
        for child in self._children:
            if _in_two_steps(child):
                await child._prepare_all(reactor)

    async def _begin_all(self, reactor: IReactor) -> None:
        await self.begin()
        await self._begin_children(reactor)
        self._state = _RUNNING

    async def _begin_children(self, reactor: IReactor) -> None:
        for child in self._children:
            if isinstance(child, Service) and child.on_failure is None:
                child.on_failure = self.child_failed
            if _in_two_steps(child):
                await child._begin_all(reactor)
            else:
                await child.start(reactor)
                self._started.append(child)

    def _close_all_doors(self, drain: float) -> None:
        if self._prepared:
            self.close_doors(drain)
        for child in self._children:
            if isinstance(child, Service):
                child._close_all_doors(drain)

    async def _end_all(self, drain: float) -> list[Exception]:
        """End children, the last first, then this one; what failed, in that order."""
        errors = await self._end_children(drain)
        if self._prepared:
            self._prepared = False
            self._state = _STOPPING
            try:
                await self.end(drain)
            except Exception as error:
                errors.append(error)
        self._state = _STOPPED
        return errors

    async def _end_children(self, drain: float) -> list[Exception]:
        from time import monotonic

        deadline = monotonic() + drain
        errors: list[Exception] = []
        for child in reversed(self._children):
            errors += await self._end_child(child, max(deadline - monotonic(), 0.0))
        return errors

    async def _end_child(self, child: IService, drain: float) -> list[Exception]:
        if _in_two_steps(child):
            return await child._end_all(drain)
        if child in self._started:
            self._started.remove(child)
            try:
                if isinstance(child, Service):
                    await child.stop(drain)
                else:
                    await child.stop()
            except Exception as error:
                return [error]
        return []


class MultiService(Service):
    """Services that do not need each other: they end side by side, in one drain time.

    All of them are asked for what they need even when one is refused, so that a
    person hears of every port in use at once.
    """

    async def _prepare_children(self, reactor: IReactor) -> None:
        errors: list[StartError] = []
        for child in self._children:
            if _in_two_steps(child):
                try:
                    await child._prepare_all(reactor)
                except StartError as error:
                    errors.append(error)
                except ConfigError as error:
                    # Found only now, as a log file that cannot be opened is.
                    errors.append(StartError(child.name, error.problem, key=error.key))
                except ExceptionGroup as group:
                    matched, rest = group.split(StartError)
                    if rest is not None or matched is None:
                        raise
                    errors.extend(leaves(matched))
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("services could not be prepared", errors)

    async def _end_children(self, drain: float) -> list[Exception]:
        from asyncio import gather

        ends = [self._end_child(child, drain) for child in reversed(self._children)]
        return [error for errors in await gather(*ends) for error in errors]


class ListenOn:
    """One place to listen on, its references resolved.

    Attributes:
        url: The endpoint.
        tls: The certificate and what goes with it, where one was named.
        index: Which item of the configuration's ``listen`` it was.
    """

    __slots__ = ("index", "tls", "url")

    def __init__(self, url: str, tls: ServerTLS | None = None, index: int | None = None) -> None:
        self.url = url
        self.tls = tls
        self.index = index

    def __repr__(self) -> str:
        return f"<ListenOn {self.url}{'' if self.tls is None else ' with TLS'}>"


class Surroundings:
    """What the services of one node share.

    Attributes:
        bus: Messages between services, workers and, through a broker, machines.
        counters: Counts over all workers, for limits.
        worker: The number of this worker, from 1; 0 where there is one process.
        workers: How many there are; 1 where there is one process.
    """

    __slots__ = ("bus", "counters", "worker", "workers")

    def __init__(
        self, bus: IBus, counters: ICounters, *, worker: int = 0, workers: int = 1
    ) -> None:
        self.bus = bus
        self.counters = counters
        self.worker = worker
        self.workers = workers


class ServiceContext:
    """What a plugin's `build` is told beside its configuration.

    Attributes:
        name: The service's name: ``site`` for ``[service.site]``.
        folder: Where relative paths of the configuration begin (those of type
            `Path` are absolute already).

    Args:
        name: As above.
        folder: As above.
        tls: Finds what a name under ``[tls]`` stands for.
        surroundings: What it shares with others; a bus in memory when left out, as where
            a configuration is only checked.
        users: Finds what a name under ``[users]`` stands for.
    """

    __slots__ = ("_surroundings", "_tls", "_users", "folder", "name")

    def __init__(
        self,
        name: str,
        folder: Path,
        tls: Callable[[str], ServerTLS],
        surroundings: Surroundings | None = None,
        users: Callable[[str], IChecker] | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self._tls = tls
        self._users = users
        self._surroundings = surroundings

    @property
    def bus(self) -> IBus:
        """Where messages go to the same service in other workers, and come from there."""
        return self._shared().bus

    @property
    def counters(self) -> ICounters:
        """Counts over all workers."""
        return self._shared().counters

    @property
    def worker(self) -> int:
        """The number of this worker, from 1; 0 where there is one process."""
        return 0 if self._surroundings is None else self._surroundings.worker

    def _shared(self) -> Surroundings:
        if self._surroundings is None:
            from sennit.core.bus.memory import MemoryBus, MemoryCounters

            self._surroundings = Surroundings(MemoryBus(), MemoryCounters())
        return self._surroundings

    def tls(self, name: str) -> ServerTLS:
        """The certificate called `name` in the configuration.

        Raises:
            ConfigError: Its files cannot be used.
        """
        return self._tls(name)

    def users(self, name: str) -> IChecker:
        """The users called `name` in the configuration.

        Raises:
            ConfigError: They cannot be used, or there are none.
        """
        if self._users is None:
            raise ConfigError(f"there is no table [users.{name}]", key="users")
        return self._users(name)

    def portal(self, name: str, realm: IRealm) -> Portal:
        """A portal to `realm` for the users called `name` in the configuration.

        Raises:
            ConfigError: They cannot be used, or there are none.
        """
        from sennit.core.auth.portal import Portal

        return Portal(realm, [self.users(name)])

    def endpoints(self, config: Any, *, alpn: Sequence[str] = ()) -> list[ListenOn]:
        """Where `config` (a `ServiceConfig`) says to listen, certificates loaded.

        Args:
            config: The configuration.
            alpn: What this service agrees on by ALPN (RFC 7301), in order of preference.
                Another one may show the same certificates and agree on something else.

        Raises:
            ConfigError: A certificate cannot be used.
        """
        found: list[ListenOn] = []
        for index, each in enumerate(config.listen):
            tls = None if each.tls is None else self._tls(each.tls)
            if tls is not None and alpn:
                tls = tls.agreeing_on(alpn)
            found.append(ListenOn(each.url, tls, index))
        return found

    def limits(self, config: Any) -> IPeerLimits:
        """The connection limits that `config` (a `ServiceConfig`) sets, one object per service."""
        from sennit.core.policy.limits import ConnectionLimits

        return ConnectionLimits(
            max_per_address=config.max_per_address,
            max_connections=config.max_connections,
            count_loopback=config.count_loopback,
        )


def checked(key: str, make: Callable[[], T]) -> T:
    """Make a part of a service; what is wrong with it is said of a key of its table.

    Args:
        key: The key, dotted where it is in a table within: ``peer.NAME``.
        make: Makes the part.

    Raises:
        ConfigError: It cannot be made of what was given.
    """
    try:
        return make()
    except (UsageError, ProtocolError) as error:
        raise ConfigError(str(error), key=key) from error


# ── a tree's phases one by one, for whoever replaces parts of it (``node.py``) ────


async def prepare_tree(service: Service, reactor: IReactor) -> None:
    """Take all that can be refused, throughout the tree of `service`.

    Raises:
        Exception: What was refused; what had been taken was given back.
    """
    try:
        await service._prepare_all(reactor)
    except BaseException:
        await abandon_tree(service)
        raise


async def begin_tree(service: Service, reactor: IReactor) -> None:
    """Set a prepared tree to work; from now on `Service.stop` ends it."""
    await service._begin_all(reactor)


async def abandon_tree(service: Service) -> list[Exception]:
    """End a tree that is not to begin, or failed to; what went wrong."""
    service._close_all_doors(0.0)
    return await service._end_all(0.0)


def close_tree(service: Service, drain: float) -> None:
    """Let a running tree begin nothing new, ahead of `Service.stop`."""
    service._close_all_doors(drain)


def _in_two_steps(child: IService) -> TypeGuard[Service]:
    """Whether `child` is started by its hooks, not by a `start` or `stop` of its own."""
    return (
        isinstance(child, Service)
        and type(child).start is Service.start
        and type(child).stop is Service.stop
    )


def leaves(group: ExceptionGroup[Exception]) -> list[StartError]:
    """The start errors of a group and of the groups in it."""
    found: list[StartError] = []
    waiting: list[Exception] = [group]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, StartError):
            found.append(each)
        waiting[:0] = getattr(each, "exceptions", ())
    return found
