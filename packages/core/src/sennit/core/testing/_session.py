"""The reactor of one test, and the search for what the test left behind."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sennit.core.reactor.base import Reactor
from sennit.core.reactor.eventloop import ReactorEventLoop
from sennit.core.testing.leaks import LostErrors, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Final, TypeVar

    T = TypeVar("T")

__all__ = ["Session"]

SETTLING: Final = 0.5
"""Seconds in which what is ending when the test ends may go on to do so."""
THREADS_END: Final = 1.0
"""Seconds in which threads and children may end."""


class Session:
    """Runs the coroutines of one test: fixtures, the test, fixtures again.

    Args:
        poller: Which poller; the platform's best when ``None``.
        timeout: Seconds for each of them.
        leaks: Do not look for what was left behind.
    """

    def __init__(self, *, poller: str | None, timeout: float, leaks: bool) -> None:
        self._poller = poller
        self._timeout = timeout
        self._leaks = leaks
        self._runner: asyncio.Runner | None = None
        self._reactor: Reactor | None = None
        self._plain: Reactor | None = None
        self._errors = LostErrors()
        self._looked = False
        self._before: Snapshot | None = None

    def look_around(self) -> None:
        """Note what is there before the test."""
        if not self._leaks and not self._looked:
            self._looked = True
            self._before = Snapshot(deferreds=False)
            self._errors.start()

    @contextmanager
    def outliving(self) -> Generator[None, None, None]:
        """What is made inside it ends with a later test, and is not left behind by this one."""
        before = self._before
        if before is None:
            yield
            return
        earlier = Snapshot(deferreds=False)
        yield
        before.allow(earlier)

    def reactor(self, *, running: bool) -> Reactor:
        """The reactor of the coroutines, or (not `running`) one that the test runs itself."""
        if running:
            self._run(_nothing)
            assert self._reactor is not None
            return self._reactor
        if self._plain is None:
            self._plain = Reactor(self._poller)
        return self._plain

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, others of this test going on meanwhile.

        Raises:
            TimeoutError: It took too long.
        """

        async def limited() -> T:
            limit = asyncio.timeout(self._timeout)
            try:
                async with limit:
                    return await coroutine
            except TimeoutError as error:
                if limit.expired():
                    raise TimeoutError(f"took more than {self._timeout:g} s") from error
                raise

        return self._run(limited)

    def _run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=self._make_loop)
        return self._runner.run(main())

    def _make_loop(self) -> ReactorEventLoop:
        self._reactor = reactor = Reactor(self._poller)
        loop = ReactorEventLoop(reactor, owns_reactor=True)
        reactor._event_loop = loop
        return loop

    # ── the end ───────────────────────────────────────────────────────────────

    def close(self, *, check: bool) -> list[str]:
        """End everything; what was left behind, if it shall be looked for."""
        check = check and self._looked
        left: list[str] = []
        try:
            if self._runner is not None:
                if check:
                    left = self._runner.run(self._settle())
                self._runner.close()
            for reactor in (self._plain, self._reactor):
                if reactor is not None and not reactor.running:
                    reactor.close()
            # Not the cycles' collector's time otherwise: a lost error speaks when it is freed,
            # and that of a test that may lose it must not be heard in the next.
            self._runner = self._plain = self._reactor = None
            gc.collect()
            if check:
                if self._before is not None:
                    left += [f"  {each}" for each in self._before.left(patience=THREADS_END)]
                left += [f"  {line}" for line in self._errors.lines]
        finally:
            self._errors.stop()
        return left

    async def _settle(self) -> list[str]:
        """What the reactor still holds, once what was ending has ended."""
        deadline = time.monotonic() + SETTLING
        while True:
            left = self._held()
            if not left or time.monotonic() >= deadline:
                return left
            await asyncio.sleep(0 if time.monotonic() < deadline - SETTLING * 0.9 else 0.01)

    def _held(self) -> list[str]:
        reactor = self._reactor
        assert reactor is not None
        me = asyncio.current_task()
        left = [
            f"  Task {task.get_name()}: {task.get_coro()!r}"
            for task in asyncio.all_tasks()
            if task is not me and not task.done()
        ]
        owners = [_owner(handler) for handler in reactor.handlers.values()]
        left += [f"  open: {owner!r}" for owner in owners if owner is not reactor]
        left += [f"  timer: {call!r}" for _, _, call in reactor._heap if call.fn is not None]
        return left


async def _nothing() -> None:
    """A turn, so that there is a loop."""


def _owner(handler: Callable[..., Any]) -> object:
    """Whose descriptor this is: the object behind a bound method, also in a context's `run`."""
    bound: Any = getattr(handler, "args", (handler,))[0]
    owner = getattr(bound, "__self__", bound)
    reader = getattr(owner, "reader", None) or getattr(owner, "writer", None)
    return owner if reader is None else reader
