"""One connection of a driver in a thread that is its own, and how what runs there is ended.

Everything that touches the driver's connection runs in that thread, in order of asking, so
drivers that bind a connection to a thread (``sqlite3``) are content. Only the interruption of
a statement comes from another thread, and holds the next one back until it is done.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sennit.core.database.drivers import Driver, driver_of
from sennit.core.database.errors import StatementTimeoutError
from sennit.core.deferred import Deferred, shield
from sennit.core.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.reactor.base import Reactor

__all__ = ["Link", "open_link"]

T = TypeVar("T")

INTERRUPT_SECONDS: Final = 5.0
"""Seconds that a driver has to end an interrupted statement; then the connection is given up."""

_AGAIN: Final = 0.05
"""Seconds between two interruptions: the first may come before the statement has begun."""


class _Call(Generic[T]):
    """One function in a connection's thread, and who waits for it."""

    def __init__(self, link: Link, job: Callable[[Any], T]) -> None:
        self.job = job
        self.ended = threading.Event()
        self.deferred: Deferred[T] = Deferred(self._cancelled)
        self._link = link
        self._timer: Any = None
        self._given_up: Any = None
        self._inner: Deferred[T]

    def begin(self, timeout: float | None) -> None:
        link = self._link
        link.pending += 1
        self._inner = link.threads.defer(link.reactor, link.do, self)
        self._inner.add_callbacks(self._succeeded, self._failed)
        if timeout is not None:
            self._timer = link.reactor.call_later(timeout, self._expire, timeout)

    def _succeeded(self, value: T) -> None:
        self._end()
        if not self.deferred.called:
            self.deferred.callback(value)

    def _failed(self, error: BaseException) -> None:
        self._end()
        if not self.deferred.called:
            self.deferred.errback(error)

    def _end(self) -> None:
        self._link.pending -= 1
        for timer in (self._timer, self._given_up):
            if timer is not None:
                timer.cancel()

    def _expire(self, timeout: float) -> None:
        self._timer = None
        if not self.deferred.called:
            self._stop()
            self.deferred.errback(
                StatementTimeoutError(f"the database has not answered within {timeout:g} s")
            )

    def _cancelled(self, deferred: Deferred[T]) -> None:
        self._stop()

    def _stop(self) -> None:
        """Nobody wants the result any more."""
        link = self._link
        if link.threads.forget(self._inner):
            self._inner.cancel()  # its errback counts it as ended
        elif link.driver.can_interrupt:
            self._given_up = link.reactor.call_later(INTERRUPT_SECONDS, link.abandon)
            link.helpers.defer(link.reactor, link.interrupt, self).add_errback(link.complain)
        else:
            link.abandon()


class Link:
    """One connection.

    Attributes:
        raw: The driver's own connection; touched in the link's thread only.
        driver: Its ways.
        pending: Functions that run or wait in the thread.
        dead: It cannot be used any more.
        made, used, suspect: The pool's notes.

    Args:
        reactor: Whose thread hears of results.
        threads: One thread, which stays.
        helpers: Threads for interruptions.
        raw: As above.
        driver: As above.
        abandoned: Told when it is given up though its thread is still at work.
    """

    def __init__(
        self,
        reactor: Reactor,
        threads: ThreadPool,
        helpers: ThreadPool,
        raw: Any,
        driver: Driver,
        abandoned: Callable[[Link], object],
    ) -> None:
        self.reactor = reactor
        self.threads = threads
        self.helpers = helpers
        self.raw = raw
        self.driver = driver
        self.pending = 0
        self.dead = False
        self.made = self.used = 0.0
        self.suspect = False
        self._abandoned = abandoned
        self._closing: Deferred[None] | None = None
        self._lock = threading.Lock()
        self._current: _Call[Any] | None = None

    def run(self, job: Callable[[Any], T], timeout: float | None = None) -> Deferred[T]:
        """Call `job` with the driver's connection, after what was asked for before.

        Cancelled, or after `timeout` seconds, what runs is interrupted where the driver
        can do that; else the connection is given up.
        """
        call = _Call(self, job)
        call.begin(timeout)
        return call.deferred

    def do(self, call: _Call[T]) -> T:
        """Run one function (in the link's thread)."""
        with self._lock:
            self._current = call
        try:
            return call.job(self.raw)
        finally:
            # An interruption under way must have happened: it is not for the next one.
            with self._lock:
                self._current = None
            call.ended.set()

    def interrupt(self, call: _Call[Any]) -> None:
        """Interrupt a function until it ends (in a helper's thread)."""
        while not call.ended.is_set() and not self.dead:
            with self._lock:
                if self._current is call:
                    self.driver.interrupt(self.raw)
            call.ended.wait(_AGAIN)

    def complain(self, error: BaseException) -> None:
        """A statement could not be interrupted; the connection will be given up in time."""
        import logging

        logging.getLogger("sennit.database").warning("could not interrupt a statement: %s", error)

    def abandon(self) -> None:
        """Do not wait for what runs; the thread closes the connection when it is done."""
        if not self.dead:
            self.dead = True
            self.close()
            self._abandoned(self)

    def close(self) -> Deferred[None]:
        """Close the connection, after what was asked for before; the thread ends then."""
        self.dead = True
        if self._closing is not None:
            return shield(self._closing)
        self._closing = done = Deferred[None]()

        def closed(_: object) -> None:
            # The thread has nothing left to do and ends; joined, lest it outlives a test.
            self.threads.close(1.0, finish=True)
            done.callback(None)

        self.threads.defer(self.reactor, _close, self.raw).add_callbacks(closed, closed)
        return shield(done)


def _close(raw: Any) -> None:
    try:
        raw.close()
    except Exception:
        # It was dead before: there is nothing left to close.
        pass


def open_link(
    reactor: Reactor,
    connect: Callable[[], Any],
    helpers: ThreadPool,
    *,
    name: str,
    make_driver: Callable[[Any], Driver] = driver_of,
    abandoned: Callable[[Link], object],
) -> Deferred[Link]:
    """Connect in a new thread; fails with what the driver raised."""
    # sqlite3 wants the very thread that connected: it stays however long it is idle.
    threads = ThreadPool(1, name, linger=None)

    def begin() -> tuple[Any, Driver]:
        raw = connect()
        try:
            driver = make_driver(raw)
            driver.prepare(raw)
        except BaseException:
            _close(raw)
            raise
        return raw, driver

    def made(pair: tuple[Any, Driver]) -> Link:
        return Link(reactor, threads, helpers, *pair, abandoned)

    def failed(error: BaseException) -> BaseException:
        threads.close(1.0)
        return error

    return threads.defer(reactor, begin).add_errback(failed).add_callback(made)
