"""One run of a reactor: main, signals, shutdown hooks, and what asyncio left behind."""

from __future__ import annotations

import signal
import threading

from sennit.core.deferred import Deferred, maybe_deferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.reactor.base import Reactor

__all__ = ["Run", "log_error"]


def log_error(error: BaseException, where: str) -> None:
    """Log an exception that nobody else will see, with its traceback."""
    import logging

    logging.getLogger("sennit").error(
        "Unhandled %s %s", type(error).__name__, where, exc_info=error
    )


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
        self._previous: dict[int, Any] = {}

    def run(self, main: Callable[[Reactor], object] | None) -> object:
        """Begin, run `main`, shut down, end; the outcome of `main`."""
        reactor = self._reactor
        reactor.begin()
        try:
            self._take_signals()
            if main is not None:
                reactor.call_soon(self._start, main)
            reactor.spin()
            self._cancel_main()
            self._shut_down()
            return self._outcome()
        finally:
            self._give_signals_back()
            reactor.end()

    def _start(self, main: Callable[[Reactor], object]) -> None:
        self._main = maybe_deferred(main, self._reactor)
        if not isinstance(outcome := self._main.outcome, type(None)) and outcome.error is None:
            # A plain function has done its part: the reactor runs until `stop`.
            # A coroutine that never waited has ended, and so has the run.
            if not _awaited(main):
                self._main = None
                return
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
        reactor = self._reactor
        while deferred.outcome is None:
            watched = deferred.add_callbacks(self._ended, self._failed)
            if watched.outcome is None:
                reactor.spin()

    def _shut_down(self) -> None:
        reactor = self._reactor
        while call := reactor.pop_shutdown_call():
            fn = call.fn
            if fn is None:
                continue
            if call.context is None:
                waiting = maybe_deferred(fn, *call.args)
            else:
                waiting = call.context.run(maybe_deferred, fn, *call.args)
            self._wait(waiting)
            waiting.add_errback(log_error, "in a shutdown hook")
        loop = reactor.made_event_loop
        if loop is not None:
            from sennit.core.reactor.eventloop import end_tasks

            ending = Deferred.from_coroutine(end_tasks(loop))
            self._wait(ending)
            ending.add_errback(log_error, "while asyncio's tasks were ended")

    def _outcome(self) -> object:
        import_error: BaseException | None = None
        main = self._main
        value: object = None
        if main is not None:
            outcome = main.outcome
            if outcome is not None:
                import_error = outcome.error
                value = None if import_error is not None else outcome.value
                main.add_errback(_forget)
        if import_error is not None:
            if type(import_error).__name__ == "CancelledError":
                if self._ended_by == signal.SIGINT:
                    raise KeyboardInterrupt
                if self._ended_by is not None:
                    raise SystemExit(0)
                return None
            raise import_error
        return value

    # ── signals ───────────────────────────────────────────────────────────────

    def _take_signals(self) -> None:
        if not self._handle_signals or (
            threading.current_thread() is not threading.main_thread()
        ):
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
                self._previous[each] = signal.signal(each, _end_at_once)
            self._reactor.stop()


def _awaited(main: Callable[[Reactor], object]) -> bool:
    """Whether `main` is a coroutine function, also behind `partial` or as a method."""
    while hasattr(main, "func"):
        main = main.func
    code = getattr(getattr(main, "__func__", main), "__code__", None)
    return bool(code and code.co_flags & 0x80)  # inspect.CO_COROUTINE, without inspect


def _end_at_once(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _forget(error: BaseException) -> None:
    """The error has been raised to the caller of `run`."""
