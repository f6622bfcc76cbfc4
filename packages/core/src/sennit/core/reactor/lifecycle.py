"""One run of a reactor: main, signals, shutdown hooks, and what asyncio left behind."""

from __future__ import annotations

import signal
import threading

from sennit.core.deferred import Deferred, fail, maybe_deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

__all__ = ["Run", "log_error", "run_shutdown_calls"]


def log_error(error: BaseException, where: str) -> None:
    """Log an exception that nobody else will see, with its traceback."""
    try:
        import logging

        logging.getLogger("sennit").error(
            "Unhandled %s %s", type(error).__name__, where, exc_info=error
        )
    except MemoryError:
        # There is none left to tell of it, either; whoever reports must go on all the same.
        pass


def run_shutdown_calls(reactor: Reactor) -> Deferred[None]:
    """Run the hooks of `Reactor.at_shutdown`, the last asked for first, each to its end.

    What a hook raises is logged; the others run all the same.
    """
    done: Deferred[None] = Deferred()

    def go_on(_: object) -> None:
        while call := reactor.pop_shutdown_call():
            fn, context = call.fn, call.context
            if fn is None:
                continue
            if context is None:
                hook = maybe_deferred(fn, *call.args)
            else:
                hook = context.run(maybe_deferred, fn, *call.args)
            hook.add_errback(log_error, "in a shutdown hook")
            if hook.outcome is None:
                hook.add_callback(go_on)
                return
        done.callback(None)

    go_on(None)
    return done


def _no_function(main: Any) -> TypeError:
    """What to tell somebody who writes ``run(main())``, as asyncio wants it."""
    if hasattr(main, "cr_frame"):
        main.close()  # or Python warns that nobody has awaited it
        name = getattr(main, "__name__", "main")
        return TypeError(
            f"give the function and not its call: run({name}); it is given the reactor"
        )
    return TypeError(f"{main!r} is no function that can be given the reactor")


class Run:
    """What `Reactor.run` does, once.

    Args:
        reactor: Whose run it is.
        handle_signals: Whether SIGINT and SIGTERM end it.
    """

    def __init__(self, reactor: Reactor, *, handle_signals: bool) -> None:
        self._reactor = reactor
        self._handle_signals = handle_signals
        self._main: Deferred[Any] | None = None
        self._ended_by: int | None = None
        self._at_once = False
        self._previous: dict[int, Any] = {}

    def run(self, main: Callable[[Reactor], object] | None) -> object:
        """Begin, run `main`, shut down, end; the outcome of `main`."""
        reactor = self._reactor
        reactor.begin()
        try:
            self._take_signals()
            if main is not None:
                reactor.call_soon(self._start, main)
            interrupt = self._spin()
            # A callback that exits the program does so in good order, too.
            self._cancel_main()
            self._shut_down()
            if interrupt is not None:
                raise interrupt
            return self._outcome()
        finally:
            self._give_signals_back()
            reactor.end(at_once=self._at_once)

    def _spin(self) -> BaseException | None:
        """Turn until `stop`, or until something raised `KeyboardInterrupt` or `SystemExit`."""
        try:
            self._reactor.spin()
        except (KeyboardInterrupt, SystemExit) as interrupt:
            if self._at_once:
                raise
            return interrupt
        return None

    def _start(self, main: Callable[[Reactor], object]) -> None:
        try:
            if not callable(main):
                raise _no_function(main)
            value = main(self._reactor)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._main = fail(error)
        else:
            if not hasattr(value, "__await__"):
                # A plain function has done its part: the reactor runs until `stop`.
                return
            self._main = maybe_deferred(lambda: value)
        self._main.add_callbacks(self._ended, self._failed)

    def _ended(self, value: Any) -> Any:
        self._reactor.stop()
        return value

    def _failed(self, error: BaseException) -> Any:
        self._reactor.stop()
        raise error

    def _cancel_main(self) -> None:
        main = self._main
        if main is not None and main.outcome is None:
            main.cancel()
            self._wait(main)

    def _wait(self, deferred: Deferred[Any]) -> None:
        """Turn until `deferred` has an outcome."""
        while deferred.outcome is None:
            watched = deferred.add_callbacks(self._ended, self._failed)
            if watched.outcome is None:
                self._spin()

    def _shut_down(self) -> None:
        self._wait(run_shutdown_calls(self._reactor))
        loop = self._reactor.made_event_loop
        if loop is not None:
            from sennit.core.reactor.eventloop import end_tasks

            ending = Deferred.from_coroutine(end_tasks(loop))
            self._wait(ending)
            ending.add_errback(log_error, "while asyncio's tasks were ended")

    def _outcome(self) -> object:
        outcome = None if self._main is None else self._main.outcome
        if outcome is None:
            return None
        error = outcome.error
        if error is None:
            return outcome.value
        if type(error).__name__ != "CancelledError":
            raise error
        if self._ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        if self._ended_by is not None:
            raise SystemExit(0)
        return None

    # ── signals ───────────────────────────────────────────────────────────────

    def _take_signals(self) -> None:
        if not self._handle_signals or (threading.current_thread() is not threading.main_thread()):
            return
        reactor = self._reactor
        free = (signal.SIG_DFL, signal.default_int_handler)
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) in free and not reactor.handles_signal(signum):
                reactor.add_signal_handler(signum, self._interrupted, signum)

    def _give_signals_back(self) -> None:
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)

    def _interrupted(self, signum: int) -> None:
        if self._ended_by is None:
            self._ended_by = signum
            # From now on the second one ends even a callback that never returns.
            for each in (signal.SIGINT, signal.SIGTERM):
                self._reactor.remove_signal_handler(each)
                self._previous[each] = signal.signal(each, self._end_at_once)
            self._reactor.stop()

    def _end_at_once(self, signum: int, frame: object) -> None:
        self._at_once = True
        raise SystemExit(128 + signum)
