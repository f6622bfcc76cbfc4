"""Services that are started again when they fail, and services that are one coroutine.

`SupervisedService` holds one service, makes it anew when it fails (`Service.fail`), and
waits longer each time; after too many failures in a row it gives up and fails itself.
Every service of a node is inside one. `BackgroundService` is for work that is a loop:
an exception that leaves its `run` is its failure.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred
from sennit.core.service.backoff import BackOff
from sennit.core.service.tree import Service, abandon_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.interfaces import IReactor, IService

__all__ = ["BackgroundService", "SupervisedService"]

LIMIT = 10
"""Failures in a row after which a service is given up."""

FAREWELL = 5.0
"""Seconds that the connections of a service that failed have to end."""


class SupervisedService(Service):
    """Holds one service and starts it anew when it fails.

    Args:
        name: Its name, the same as the service's.
        make: Makes the service, and makes it again after a failure.
        first: The service to begin with, where it was made already.
        backoff: How long to wait before each new start, and when to give up.

    Attributes:
        service: The service as it is now.
        restarts: How often it was started anew.
        failure: Why it is down; ``None`` while it is not.
        gave_up: Whether it failed too often and is not tried again.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], IService],
        *,
        first: IService | None = None,
        backoff: BackOff | None = None,
    ) -> None:
        self.service = make() if first is None else first
        super().__init__(name, [self.service])
        self._make = make
        self._backoff = BackOff(limit=LIMIT) if backoff is None else backoff
        self._reactor: IReactor | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: Deferred[None] | None = None
        self.restarts = 0
        self.failure: BaseException | None = None
        self.gave_up = False

    @property
    def status(self) -> str:
        """In a word: ``running``, ``restarting``, ``failed``, or what its life cycle says."""
        if self.gave_up:
            return "failed"
        return "restarting" if self.failure is not None else self._state

    async def prepare(self, reactor: IReactor) -> None:
        """Remember where to start it again."""
        self._reactor = reactor

    def close_doors(self, drain: float) -> None:
        """Start nothing anew."""
        if self._task is not None:
            self._task.cancel()

    async def end(self, drain: float) -> None:
        """Wait until a new start that was under way is undone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def prepare_reload(self) -> Callable[[], object] | None:
        """What the service does."""
        if isinstance(self.service, Service) and self.failure is None:
            return await self.service.prepare_reload()
        return None

    def child_failed(self, child: IService, error: BaseException) -> None:
        """Start it anew."""
        if child is self.service and self._task is None:
            self.failure = error
            self._task = asyncio.ensure_future(self._again(error))

    async def _again(self, error: BaseException) -> None:
        reactor = self._reactor
        if reactor is None:  # pragma: no cover - `prepare` has seen to that
            return
        log = logging.getLogger("sennit.service")
        extra = {"service": self.name}
        while True:
            self.failure = error
            for each in await self._end_child(self.service, FAREWELL):
                log.error("while it ended after a failure", exc_info=each, extra=extra)
            wait = self._backoff.failed(reactor.time())
            if wait is None:
                self.gave_up = True
                log.error(
                    "failed %d times in a row and is given up",
                    self._backoff.failures,
                    exc_info=error,
                    extra=extra,
                )
                self._task = None
                self.fail(error)
                return
            log.error("failed; it is started again in %.1f s", wait, exc_info=error, extra=extra)
            await self._sleep(reactor, wait)
            made: IService | None = None
            try:
                made = self._make()
                self._children[:] = [made]
                await self._prepare_children(reactor)
                await self._begin_children(reactor)
            except Exception as again:
                error = again
                if isinstance(made, Service):
                    for each in await abandon_tree(made):
                        again.add_note(f"and while it was ended: {type(each).__name__}: {each}")
                continue
            except BaseException:
                if isinstance(made, Service):
                    await abandon_tree(made)
                raise
            self.service = made
            self.restarts += 1
            self.failure = None
            self._task = None
            log.info("runs again", extra=extra)
            return

    async def _sleep(self, reactor: IReactor, seconds: float) -> None:
        self._wake = Deferred()
        call = reactor.call_later(seconds, self._wake.callback, None)
        try:
            await self._wake
        finally:
            call.cancel()


class BackgroundService(Service):
    """A service whose work is one coroutine.

    A subclass defines `run`. It is cancelled when the service ends; an exception that
    leaves it is the service's failure, and returning is a good end.
    """

    _work: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """The work; by default there is none."""

    async def begin(self) -> None:
        """Set `run` to work."""
        self._work = asyncio.ensure_future(self.run())
        self._work.set_name(f"service {self.name}")
        self._work.add_done_callback(self._done)

    async def end(self, drain: float) -> None:
        """Cancel `run` and wait for it, `drain` seconds at most."""
        work, self._work = self._work, None
        if work is not None and not work.done():
            work.cancel()
            await asyncio.wait([work], timeout=max(drain, FAREWELL))

    def _done(self, work: asyncio.Task[None]) -> None:
        if work.cancelled():
            return
        error = work.exception()
        if error is not None and work is self._work:
            self.fail(error)
