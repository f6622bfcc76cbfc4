"""Who has which connection, and who waits: the pool's book-keeping, without threads or drivers.

At most `size` connections exist, those being opened or examined counted. Who waits longest is
served first. A connection that fails to open fails one waiter, and lets the next one try.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sennit.core.database.errors import AcquireTimeoutError, PoolClosedError
from sennit.core.deferred import Deferred
from sennit.core.errors import PoolFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    class Timer(Protocol):
        """What a clock returns."""

        def cancel(self) -> object: ...

    class Clock(Protocol):
        """What of a reactor is needed here."""

        def time(self) -> float: ...

        def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer: ...


__all__ = ["Connection", "Slots"]


class Connection(Protocol):
    """What the book-keeping writes on each connection.

    Attributes:
        made: When it was opened.
        used: When it was last taken or given back.
        suspect: Whether it must be examined before it is used again.
    """

    made: float
    used: float
    suspect: bool


C = TypeVar("C", bound=Connection)


class Slots(Generic[C]):
    """The connections of one pool.

    Args:
        clock: Tells the time and calls later.
        size: Connections at most.
        min_size: Connections that are kept though they are idle.
        max_waiting: Those who may wait for one.
        open: Opens a connection.
        close: Closes one.
        check: Says whether one still lives; ``None``: all are believed to.
        check_after: Seconds without use after which one is examined.
        idle_time: Seconds without use after which one is closed.
        max_age: Seconds after which one is closed in any case.
        failed: Told of a connection that could not be opened while nobody waited for it.
    """

    def __init__(
        self,
        clock: Clock,
        size: int,
        *,
        open: Callable[[], Deferred[C]],  # noqa: A002 - the word for it
        close: Callable[[C], object],
        check: Callable[[C], Deferred[bool]] | None = None,
        min_size: int = 0,
        max_waiting: int = 10_000,
        check_after: float = 5.0,
        idle_time: float = 600.0,
        max_age: float = 3600.0,
        failed: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self._clock = clock
        self.size = size
        self._min_size = min_size
        self._max_waiting = max_waiting
        self._open = open
        self._close = close
        self._check = check
        self._check_after = check_after
        self._idle_time = idle_time
        self._max_age = max_age
        self._failed = failed
        self._idle: list[C] = []  # the last one used at the end
        self._busy: OrderedDict[C, None] = OrderedDict()
        self._opening = 0
        self._checking = 0
        self._waiters: OrderedDict[Deferred[C], Timer | None] = OrderedDict()
        self._sweeper: Timer | None = None
        self._closed = False
        self._empty: list[Deferred[None]] = []

    # ── figures ───────────────────────────────────────────────────────────────

    @property
    def total(self) -> int:
        """Connections that exist, those being opened or examined included."""
        return len(self._idle) + len(self._busy) + self._opening + self._checking

    @property
    def idle(self) -> int:
        """Connections that wait for work."""
        return len(self._idle)

    @property
    def busy(self) -> tuple[C, ...]:
        """Connections in use, the longest held first."""
        return tuple(self._busy)

    @property
    def waiting(self) -> int:
        """Those who wait for a connection."""
        return len(self._waiters)

    @property
    def oldest(self) -> float:
        """Seconds that the connection held for the longest has been held."""
        for each in self._busy:
            return self._clock.time() - each.used
        return 0.0

    # ── taking and giving back ────────────────────────────────────────────────

    def acquire(self, timeout: float | None = None) -> Deferred[C]:
        """A connection for the caller alone, until `release`.

        Fails with `AcquireTimeoutError`, `PoolClosedError`, `PoolFullError`, or what the driver
        raised when it could not open one.
        """
        waiter: Deferred[C] = Deferred(self._forget)
        if self._closed:
            waiter.errback(PoolClosedError("the pool of database connections is closed"))
            return waiter
        if len(self._waiters) >= self._max_waiting:
            waiter.errback(
                PoolFullError(
                    f"{len(self._waiters)} wait for one of {self.size} database connections "
                    f"already; one of them has been in use for {self.oldest:.1f} s"
                )
            )
            return waiter
        self._waiters[waiter] = None
        self._serve()
        if timeout is not None and waiter in self._waiters:
            self._waiters[waiter] = self._clock.call_later(timeout, self._expire, waiter, timeout)
        return waiter

    def release(self, connection: C, *, usable: bool = True) -> None:
        """Give a connection back.

        Args:
            connection: One that `acquire` gave.
            usable: It may be given to somebody else; else it is closed, and counts no more.
        """
        if connection not in self._busy:
            return
        del self._busy[connection]
        now = connection.used = self._clock.time()
        if usable and not self._closed and now - connection.made < self._max_age:
            self._idle.append(connection)
        else:
            self._close(connection)
        self._serve()
        self._arm()
        self._tell_empty()

    def suspect_all(self) -> None:
        """One connection was found dead: the idle ones may be, too."""
        for each in self._idle:
            each.suspect = True

    def fill(self) -> None:
        """Open as many as are kept at least."""
        while self.total < self._min_size and not self._closed:
            self._open_one()

    def close(self) -> Deferred[None]:
        """Give out no more; fires when the last one in use was given back."""
        self._closed = True
        waiters = list(self._waiters)
        for waiter in waiters:
            self._fail(waiter, PoolClosedError("the pool of database connections was closed"))
        idle, self._idle = self._idle, []
        for each in idle:
            self._close(each)
        self._arm()
        done: Deferred[None] = Deferred()
        self._empty.append(done)
        self._tell_empty()
        return done

    def give_up(self) -> None:
        """Wait no longer, once closed: what is being opened is closed when it is there."""
        told, self._empty = self._empty, []
        for each in told:
            each.callback(None)

    # ── within ────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        """Give what is idle to who waits, and open what is missing."""
        while self._idle and len(self._waiters) > self._checking and not self._closed:
            connection = self._idle.pop()
            now = self._clock.time()
            if now - connection.made >= self._max_age:
                self._close(connection)
            elif self._check is not None and (
                connection.suspect or now - connection.used >= self._check_after
            ):
                self._checking += 1
                self._check(connection).add_callbacks(
                    partial(self._checked, connection), partial(self._not_alive, connection)
                )
            else:
                self._hand(connection)
        while (
            len(self._waiters) > self._opening + self._checking
            and self.total < self.size
            and not self._closed
        ):
            self._open_one()

    def _hand(self, connection: C) -> None:
        waiter, timer = self._waiters.popitem(last=False)
        if timer is not None:
            timer.cancel()
        connection.used = self._clock.time()
        self._busy[connection] = None
        waiter.callback(connection)

    def _open_one(self) -> None:
        self._opening += 1
        self._open().add_callbacks(self._opened, self._not_opened)

    def _opened(self, connection: C) -> None:
        self._opening -= 1
        connection.made = connection.used = self._clock.time()
        connection.suspect = False
        self._settle(connection)

    def _not_opened(self, error: BaseException) -> None:
        self._opening -= 1
        for waiter in self._waiters:
            self._fail(waiter, error)
            break
        else:
            self._failed(error)
        self._serve()
        self._tell_empty()

    def _checked(self, connection: C, alive: bool) -> None:
        self._checking -= 1
        if alive:
            connection.suspect = False
            connection.used = self._clock.time()
            self._settle(connection)
            return
        self._close(connection)
        self.suspect_all()
        self._serve()
        self._tell_empty()

    def _not_alive(self, connection: C, error: BaseException) -> None:
        self._checked(connection, False)

    def _settle(self, connection: C) -> None:
        """A connection that is known to live goes to the first who waits."""
        if self._closed:
            self._close(connection)
        elif self._waiters:
            self._hand(connection)
        else:
            self._idle.append(connection)
            self._arm()
        self._tell_empty()

    def _forget(self, waiter: Deferred[C]) -> None:
        timer = self._waiters.pop(waiter, None)
        if timer is not None:
            timer.cancel()

    def _fail(self, waiter: Deferred[C], error: BaseException) -> None:
        self._forget(waiter)
        waiter.errback(error)

    def _expire(self, waiter: Deferred[C], timeout: float) -> None:
        if waiter in self._waiters:
            others = len(self._waiters) - 1
            opening = self._opening + self._checking
            self._fail(
                waiter, AcquireTimeoutError(timeout, self.size, self.oldest, others, opening)
            )

    def _tell_empty(self) -> None:
        if self._closed and not self.total:
            self.give_up()

    # ── what is not used any more ─────────────────────────────────────────────

    def _arm(self) -> None:
        """Look again when the connection idle for the longest will be due."""
        if self._closed or not self._idle:
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
        elif self._sweeper is None:
            delay = max(min(self._idle_time, self._max_age) / 2, 0.1)
            self._sweeper = self._clock.call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock.time()
        kept: list[C] = []
        idle, self._idle = self._idle, []
        spare = len(idle) + len(self._busy) + self._opening + self._checking - self._min_size
        for each in idle:
            too_old = now - each.made >= self._max_age
            if too_old or (spare > 0 and now - each.used >= self._idle_time):
                spare -= 1
                self._close(each)
            else:
                kept.append(each)
        self._idle = kept
        self.fill()
        self._arm()
