"""The reactor inside the loop of a toolkit for windows: what Qt, GTK, Tk and Cocoa share.

Such a loop runs no coroutines of its own, so the reactor brings asyncio's loop with it:
inside a turn it is the running one, and Tasks, `asyncio.timeout` and every library of
asyncio work as under `sennit.core.run`. Between turns the thread is the toolkit's.

Two ways to use it. `WindowHost.run` runs the toolkit's loop and ``main`` with it, and
both end together::

    async def main(reactor):
        window = MyWindow()
        window.show()
        async with serve("tcp://127.0.0.1:8080", Greeter):
            await window.closed

    sennit.core.reactor.qt.run(main)

A program that runs the toolkit's loop by itself enters the host around it::

    with QtHost() as reactor:
        serve("tcp://127.0.0.1:8080", Greeter).start()
        app.exec()

When the toolkit's loop has ended the reactor goes on by itself for as long as its
shutdown takes: servers drain, hooks run, Tasks are cancelled.

A modal dialog that is opened by a handler of the toolkit (a button) does not hold the
reactor up. One that is opened from inside a turn does, since turns never nest: open it by
`Host.call_soon`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from sennit.core.errors import ReactorError
from sennit.core.reactor.eventloop import ReactorEventLoop
from sennit.core.reactor.foreign import Host
from sennit.core.reactor.lifecycle import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from sennit.core.deferred import Deferred
    from sennit.core.reactor.base import Reactor

__all__ = ["WindowHost"]


class _GuestLoop(ReactorEventLoop):
    """asyncio's loop over a reactor that lives in a toolkit's: it may be asked between turns."""

    def set_debug(self, enabled: bool) -> None:
        """Check threads and time callbacks, or do not."""
        super().set_debug(enabled)
        quick = self.__dict__.pop("call_soon", None)
        if quick is not None:
            reactor = self._reactor

            def call_soon(*args: Any, **context: Any) -> Any:
                call = quick(*args, **context)
                if reactor._outside is not None:
                    reactor._outside()
                return call

            self.__dict__["call_soon"] = call_soon


class _WindowRun(Run):
    """One run of a reactor in a toolkit's loop: `main` and that loop end together."""

    def __init__(self, host: WindowHost, *, handle_signals: bool) -> None:
        super().__init__(host.reactor, handle_signals=handle_signals)
        self._window = host

    def run(self, main: Callable[[Reactor], object] | None) -> object:
        """Run the toolkit's loop with `main`, then shut down; the outcome of `main`."""
        host, reactor = self._window, self._reactor
        try:
            self._take_signals()
            if main is not None:
                reactor.call_soon(self._start, main)
            try:
                host.run_loop()
            finally:
                host.detach()
            reactor.begin()
            self._cancel_main()
            self._shut_down()
            if host.interrupt is not None:
                raise host.interrupt
            return self._outcome()
        finally:
            self._give_signals_back()
            host.closed(at_once=self._at_once)


class WindowHost(Host):
    """A toolkit's loop, as its reactor sees it. It has the thread to itself.

    Args:
        poller: Name of the reactor's poller; one with a descriptor.

    Attributes:
        interrupt: The `KeyboardInterrupt` or `SystemExit` that ended a turn.

    Raises:
        ReactorError: Another reactor or loop runs in this thread.
    """

    owns_thread = True

    def __init__(self, poller: str | None = None) -> None:
        self._turning = False
        self._deaf = False
        self._attached = True
        self.interrupt: BaseException | None = None
        self._ended = True  # for `__del__`, should this fail
        if asyncio._get_running_loop() is not None:
            raise ReactorError("this thread runs an asyncio loop; a toolkit's loop wants its own")
        super().__init__(poller)

    # ── what a toolkit must know ──────────────────────────────────────────────

    @abstractmethod
    def run_loop(self) -> None:
        """Run the toolkit's loop until `quit_loop`, or until the user has closed all windows."""

    @abstractmethod
    def quit_loop(self) -> None:
        """End `run_loop`; harmless when it has ended."""

    # ── turns ─────────────────────────────────────────────────────────────────

    def turn(self) -> None:
        """Let the reactor do what is to be done now (called by the toolkit's loop)."""
        self._asked = False
        if not self._attached:
            return
        if self._turning:
            # A dialog inside one of the reactor's callbacks runs the toolkit's loop. The
            # descriptor would call again and again, as nobody takes what it tells of.
            if not self._deaf:
                self._deaf = True
                self.unwatch(self._fd)
            return
        self._turning = True
        reactor = self.reactor
        loop = reactor.made_event_loop
        if loop is not None:
            loop.enter_thread()
        try:
            reactor.turn()
        except (KeyboardInterrupt, SystemExit) as interrupt:
            # A toolkit would print it and go on.
            self.interrupt = interrupt
            self.quit_loop()
        finally:
            loop = reactor.made_event_loop
            if loop is not None:
                loop.leave_thread()
            self._turning = False
            if self._deaf:
                self._deaf = False
                self.watch(self._fd)

    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The reactor as asyncio's loop; the running one inside turns."""
        reactor = self.reactor
        loop = reactor.made_event_loop
        if loop is None or loop.is_closed():
            loop = reactor._event_loop = _GuestLoop(reactor)
        if self._turning:
            loop.enter_thread()
        return loop

    # ── running and ending ────────────────────────────────────────────────────

    def run(
        self, main: Callable[[Reactor], object] | None = None, *, handle_signals: bool = True
    ) -> object:
        """Run the toolkit's loop until `main` has ended, the reactor is stopped or the user quits.

        Args:
            main: As for `Reactor.run`. When the user quits, it is cancelled.
            handle_signals: As for `Reactor.run`.

        Returns:
            The outcome of `main`.
        """
        return _WindowRun(self, handle_signals=handle_signals).run(main)

    def __enter__(self) -> Reactor:
        """The reactor; it turns while the toolkit's loop runs."""
        return self.reactor

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shut down in good order; the toolkit's loop has ended."""
        self.detach()
        try:
            self.reactor.begin()
            Run(self.reactor, handle_signals=False)._shut_down()
        finally:
            self.closed()
        if error is None and self.interrupt is not None:
            raise self.interrupt

    def stop(self) -> Deferred[None]:
        """End the toolkit's loop (called when the reactor is stopped)."""
        from sennit.core.deferred import succeed

        self.quit_loop()
        return succeed(None)

    def detach(self) -> None:
        """Leave the toolkit's loop, which has ended; what waits is kept."""
        if not self._attached:
            return
        self._attached = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._deaf:
            self.unwatch(self._fd)
        reactor = self.reactor
        reactor._outside = None
        reactor.leave()
        reactor._host = None

    def closed(self, *, at_once: bool = False) -> None:
        """The reactor has shut down: end it."""
        self._ended = True
        if self.reactor.running:
            self.reactor.end(at_once=at_once)
        self.reactor.close()
