"""The reactor inside a loop that somebody else runs: one descriptor, one timer.

An ``epoll`` or ``kqueue`` descriptor can itself be waited on. So the foreign loop
watches that one, holds one timer for the reactor's next one, and calls
`Reactor.turn` when either wants it, or when something was queued outside a turn.
Everything else (transports, timers, threads) is the reactor's as always.

`Host` is what all such loops have in common; a subclass says in four methods how
its loop watches, calls soon and calls later. `AsyncioHost` is the one for asyncio
and whatever has its interface, uvloop for one. `reactor_in` makes it on the spot.

The end: asyncio closes its asynchronous generators before it closes a loop. One
of them is ours, and takes the reactor with it: shutdown hooks run, listeners
close, connections abort.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from contextvars import Context
from weakref import WeakKeyDictionary, ref

from sennit.core.deferred import Deferred
from sennit.core.errors import ReactorError
from sennit.core.reactor.base import Reactor
from sennit.core.reactor.lifecycle import run_shutdown_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable
    from typing import Any

    from sennit.core.reactor.calls import Cancellable

__all__ = ["AsyncioHost", "Host", "reactor_in"]


class Host(ABC):
    """A foreign loop, as its reactor sees it.

    Made in the loop's thread; the reactor turns from then on until `stop`.

    Args:
        poller: Name of the reactor's poller; one with a descriptor.

    Attributes:
        reactor: The reactor that lives in it.

    Raises:
        ReactorError: The poller has no descriptor, or the loop cannot watch one.
    """

    owns_thread = False
    """Whether no other loop of asyncio's kind can run in this thread (``windows.py``)."""

    def __init__(self, poller: str | None = None) -> None:
        self._ended = True  # for `__del__`, should this fail
        self._asked = False
        self._timer: Cancellable | None = None
        self._due = 0.0
        self._stopped: Deferred[None] | None = None
        self.reactor = reactor = Reactor(poller)
        try:
            fd = reactor.fileno()
            reactor.begin(self)
            try:
                self.watch(fd)
            except BaseException:
                reactor.end()
                raise
        except BaseException:
            reactor.close()
            raise
        self._fd = fd
        self._ended = False

    # ── what a loop must know ─────────────────────────────────────────────────

    @abstractmethod
    def watch(self, fd: int) -> None:
        """Call `turn` whenever `fd` can be read, in an empty context.

        Raises:
            ReactorError: This loop cannot.
        """

    @abstractmethod
    def unwatch(self, fd: int) -> None:
        """Watch it no more; the loop may be closed already."""

    @abstractmethod
    def call_soon(self, fn: Callable[[], object]) -> object:
        """Call `fn` from the loop itself, in an empty context."""

    @abstractmethod
    def call_later(self, delay: float, fn: Callable[[], object]) -> Cancellable:
        """Call `fn` in `delay` seconds, in an empty context."""

    def event_loop(self) -> asyncio.AbstractEventLoop:
        """asyncio's loop of this thread.

        Raises:
            ReactorError: This kind of loop has none.
        """
        raise ReactorError(f"{type(self).__name__} is no asyncio loop: it drives no coroutines")

    # ── turns ─────────────────────────────────────────────────────────────────

    def turn(self) -> None:
        """Let the reactor do what is to be done now (called by the loop)."""
        self._asked = False
        self.reactor.turn()

    def request_turn(self) -> None:
        """Turn soon (called by the reactor)."""
        if not self._asked:
            self._asked = True
            self.call_soon(self._asked_turn)

    def _asked_turn(self) -> None:
        # An event may have made a turn meanwhile, which did all there was.
        if self._asked:
            self.turn()

    def turn_ended(self, delay: float | None) -> None:
        """The next turn is due in `delay` seconds (called by the reactor)."""
        if delay is None:
            # A timer that is left wakes us once for nothing; cheaper than moving it each turn.
            return
        if delay <= 0:
            self.request_turn()
            return
        due = self.reactor.time() + delay
        timer = self._timer
        if timer is not None:
            if self._due <= due:
                return
            timer.cancel()
        self._due = due
        self._timer = self.call_later(delay, self._timed_turn)

    def _timed_turn(self) -> None:
        self._timer = None
        self.turn()

    # ── the end ───────────────────────────────────────────────────────────────

    def stop(self) -> Deferred[None]:
        """Run the shutdown hooks, then end the reactor; fires when that is done."""
        if self._stopped is None:
            self._stopped = run_shutdown_calls(self.reactor)
            # What ends turns must not do so inside one, where the last hook may have come.
            self._stopped.add_callback(self._hop).add_callback(self._end)
        return self._stopped

    def _hop(self, _: None) -> Deferred[None]:
        hop: Deferred[None] = Deferred()
        self.call_soon(lambda: hop.callback(None))
        return hop

    def _end(self, _: None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.unwatch(self._fd)
        self.reactor.end()
        self.reactor.close()

    def __del__(self) -> None:
        """Say that the loop has gone and left the reactor as it was."""
        if not self._ended:
            self._ended = True
            warnings.warn(
                f"the reactor inside {self!r} was never stopped: its loop ended without "
                "shutdown_asyncgens() (asyncio.run calls it)",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
            self.reactor.abandon()


class AsyncioHost(Host):
    """An asyncio loop, or one with its interface, as host.

    Args:
        loop: The loop that runs in this thread.
        poller: As for `Host`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, poller: str | None = None) -> None:
        self._loop = loop
        # A turn asked for inside a request's Task must not see that request's variables.
        self._context = Context()
        super().__init__(poller)
        self._keeper = _keep(ref(self))
        # Its first step tells the loop of it, and waits for nothing.
        try:
            self._keeper.__anext__().send(None)
        except StopIteration:
            pass

    def __repr__(self) -> str:
        """The loop it is for."""
        return f"<{type(self).__name__} {self._loop!r}>"

    def watch(self, fd: int) -> None:
        """Through `add_reader`, which a Proactor does not have."""
        try:
            # `add_reader` takes no context, but remembers the one it is called in.
            Context().run(self._loop.add_reader, fd, self.turn)
        except NotImplementedError as error:
            raise ReactorError(
                f"{type(self._loop).__name__} cannot watch a descriptor, so no reactor can live "
                "in it: use asyncio.SelectorEventLoop, or sennit.core.run"
            ) from error

    def unwatch(self, fd: int) -> None:
        """Through `remove_reader`."""
        if not self._loop.is_closed():
            self._loop.remove_reader(fd)

    def call_soon(self, fn: Callable[[], object]) -> asyncio.Handle:
        """The loop's own."""
        return self._loop.call_soon(fn, context=self._context)

    def call_later(self, delay: float, fn: Callable[[], object]) -> asyncio.TimerHandle:
        """The loop's own."""
        return self._loop.call_later(delay, fn, context=self._context)

    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The host itself."""
        return self._loop

    def _end(self, _: None) -> None:
        _hosts.pop(self._loop, None)
        super()._end(None)


async def _keep(host: ref[AsyncioHost]) -> AsyncGenerator[None, None]:
    """Live as long as the loop's asynchronous generators do, then stop the reactor."""
    try:
        yield
    finally:
        if (living := host()) is not None:
            await living.stop()


# The loop holds its host (by the reader), and the host its loop: a value that were more than a
# weak reference would keep both for ever.
_hosts: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[AsyncioHost]] = WeakKeyDictionary()


def reactor_in(loop: asyncio.AbstractEventLoop, poller: str | None = None) -> Reactor:
    """The reactor that lives in an asyncio loop; made on the spot the first time.

    Args:
        loop: The loop that runs in this thread.
        poller: Name of the new reactor's poller; the best one when left out.

    Raises:
        ReactorError: The loop does not run here, is one that cannot watch a
            descriptor (Windows' Proactor), or the poller has none.
    """
    known = _hosts.get(loop)
    host = None if known is None else known()
    if host is None:
        import asyncio

        if asyncio._get_running_loop() is not loop:
            raise ReactorError("a reactor can be put into a running loop only, in its own thread")
        guest: Any = getattr(loop, "reactor", None)
        if isinstance(guest, Reactor):
            return guest
        host = AsyncioHost(loop, poller)
        _hosts[loop] = ref(host)
    return host.reactor
