"""`Pool`: connections of any DB-API 2 driver, each in a thread of its own.

Nothing here blocks the loop: statements run in the threads, their results come back as
Deferreds. A connection that was found dead is replaced; what failed on it fails, unless the
caller allowed a second try. Who waits too long hears who holds the connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sennit.core.database.connection import Link, open_link
from sennit.core.database.drivers import driver_of, run_plain
from sennit.core.database.errors import DatabaseError, DatabaseUsageError, PoolClosedError
from sennit.core.database.slots import Slots
from sennit.core.database.statements import Statements
from sennit.core.database.transaction import RECOVER_SECONDS, Transaction, commit
from sennit.core.deferred import Deferred, gather, succeed
from sennit.core.reactor.base import current_reactor
from sennit.core.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from sennit.core.database.rows import RowFactory
    from sennit.core.database.statements import Params
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall

__all__ = ["Pool", "PoolStatus"]

R = TypeVar("R")
T = TypeVar("T")


class PoolStatus(NamedTuple):
    """The figures of a pool at one moment.

    Attributes:
        size: Connections it may have.
        open: Connections it has.
        idle: Those that nobody uses.
        waiting: Who waits for one.
        oldest: Seconds that the one in use for the longest has been in use.
    """

    size: int
    open: int
    idle: int
    waiting: int
    oldest: float


class Pool(Statements):
    """Connections to one database, opened on demand, up to a number.

    Use it as ``async with Pool(…) as pool:``, or call `open` and `close`; the reactor
    closes it when it stops. Each statement run on the pool itself is a transaction by itself.

    Args:
        connect: A driver's module (``sqlite3``, ``psycopg``), or a function that connects.
        args: Given to it.
        options: Keyword arguments for it.
        size: Connections at most.
        min_size: Connections that are opened at once and kept.
        acquire_timeout: Seconds to wait for a connection, its opening included.
        statement_timeout: Seconds that a statement may take; ``None``: as long as it likes.
        max_waiting: Statements that may wait for a connection.
        max_age: Seconds after which a connection is replaced.
        idle_time: Seconds without use after which one is closed, down to `min_size`.
        health_check: A statement that any living connection answers, or a function of the
            driver's connection that raises on a dead one; ``None`` believes all to live.
        check_after: Seconds without use after which a connection is asked that first.
        on_connect: Called with each new connection of the driver, in its thread.
        stream_cursor: Makes the cursor for `stream`, where the driver is not known here and
            its plain cursors hold the whole result.
        interrupt: Ends the statement that a connection runs; called in another thread. Known
            for ``sqlite3`` and ``psycopg``; a connection that nobody can interrupt is given
            up when the one who waits for it does not wait any more.
        name: What its threads are called.

    Raises:
        DatabaseUsageError: The arguments do not fit together.
    """

    def __init__(
        self,
        connect: Any,  # a module, or a function that gives the driver's own connection
        *args: Any,
        options: Mapping[str, Any] | None = None,
        size: int = 10,
        min_size: int = 0,
        acquire_timeout: float | None = 30.0,
        statement_timeout: float | None = None,
        max_waiting: int = 10_000,
        max_age: float = 3600.0,
        idle_time: float = 600.0,
        health_check: str | Callable[[Any], object] | None = "SELECT 1",
        check_after: float = 5.0,
        on_connect: Callable[[Any], object] | None = None,
        stream_cursor: Callable[[Any], Any] | None = None,
        interrupt: Callable[[Any], object] | None = None,
        name: str = "sennit-db",
    ) -> None:
        if not 0 <= min_size <= size or size < 1:
            raise DatabaseUsageError(
                f"size is at least 1 and min_size at most that, not {size} and {min_size}"
            )
        function = connect if callable(connect) else getattr(connect, "connect", None)
        if function is None:
            raise DatabaseUsageError(f"{connect!r} is neither a function nor a driver's module")
        self._connect: Callable[[], Any] = partial(function, *args, **(options or {}))
        self._size = size
        self._min_size = min_size
        self._acquire_timeout = acquire_timeout
        self._statement_timeout = statement_timeout
        self._limits = {
            "max_waiting": max_waiting,
            "check_after": check_after,
            "idle_time": idle_time,
            "max_age": max_age,
        }
        self._health_check = health_check
        self._on_connect = on_connect
        self._make_driver = partial(driver_of, stream_cursor=stream_cursor, interrupt=interrupt)
        self._name = name
        self._opened = 0
        self._open = False
        self._slots: Slots[Link] | None = None
        self._helpers: ThreadPool | None = None
        self._reactor: Reactor | None = None
        self._hook: DelayedCall | None = None
        self._endings: set[Deferred[None]] = set()

    def __repr__(self) -> str:
        if not self._open:
            return f"<Pool {self._name}, closed>"
        status = self.status
        return (
            f"<Pool {self._name}: {status.open} of {status.size} open, {status.idle} idle, "
            f"{status.waiting} wait>"
        )

    @property
    def status(self) -> PoolStatus:
        """Its figures now."""
        slots = self._slots
        if slots is None:
            return PoolStatus(self._size, 0, 0, 0, 0.0)
        return PoolStatus(slots.size, slots.total, slots.idle, slots.waiting, slots.oldest)

    # ── life ──────────────────────────────────────────────────────────────────

    async def open(self) -> Self:
        """Belong to the reactor of this thread, and open what is kept open at least.

        Raises:
            DatabaseUsageError: It is open already.
            Exception: What the driver raised when it could not connect.
        """
        if self._slots is not None:
            raise DatabaseUsageError("this pool is open already")
        reactor = self._reactor = current_reactor()
        self._helpers = ThreadPool(4, f"{self._name}-interrupt")
        limits: Any = self._limits
        self._slots = Slots(
            reactor,
            self._size,
            open=self._open_link,
            close=self._close_link,
            check=None if self._health_check is None else self._check,
            min_size=self._min_size,
            failed=_log_failure,
            **limits,
        )
        self._open = True
        self._hook = reactor.at_shutdown(self.close)
        try:
            # Taken all at once, so that as many are opened.
            first = [self._acquire() for _ in range(self._min_size)]
            for link in await gather(*first):
                self.give_back(link)
        except BaseException:
            await self.close(0.0)
            raise
        return self

    async def close(self, drain: float = 5.0) -> None:
        """Take no more statements; end when the last connection is closed.

        Args:
            drain: Seconds that statements and transactions under way may take to finish.
        """
        slots, reactor, helpers = self._slots, self._reactor, self._helpers
        if slots is None or reactor is None or helpers is None or not self._open:
            return
        self._open = False
        if self._hook is not None:
            self._hook.cancel()
        deadline = reactor.time() + drain
        empty = slots.close()
        late = reactor.call_later(drain, self._give_up, slots)
        try:
            await empty
            for ending in list(self._endings):
                left = max(deadline - reactor.time(), 1.0)
                await ending.timeout(left, reactor).add_errback(_ignore)
        finally:
            late.cancel()
            helpers.close(1.0)
            self._slots = None

    def _give_up(self, slots: Slots[Link]) -> None:
        """The time of those who still use a connection is over, and of those that open one."""
        for link in slots.busy:
            link.abandon()
        # A driver that waits for a host that is away may do so for minutes.
        slots.give_up()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # ── work ──────────────────────────────────────────────────────────────────

    def run(
        self,
        job: Callable[[Any], T],
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        reads: bool = False,
        atomic: bool = True,
    ) -> Deferred[T]:
        """Call `job` with a connection of the driver, in that connection's thread.

        What it does is one transaction: committed when `job` returns, rolled back when
        it raises. With `atomic` off each statement is one by itself, where the driver has that.
        """
        whole = partial(_atomic if atomic else _single, job=job, reads=reads)
        return Deferred.from_coroutine(self._run(whole, timeout, idempotent))

    def transaction(
        self,
        *,
        isolation: str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
    ) -> Transaction:
        """``async with pool.transaction() as tx:`` commits at the end, or rolls back.

        Args:
            isolation: A level of the SQL standard, such as ``serializable``; for SQLite the
                lock it begins with (``deferred``, ``immediate``, ``exclusive``); the database's
                own default when left out (SQLite: ``immediate``).
            read_only: It will change nothing.
            timeout: Seconds for each statement in it.
        """
        limit = self._statement_timeout if timeout is None else timeout
        return Transaction(self, isolation, read_only=read_only, timeout=limit)

    async def _stream(
        self,
        sql: str,
        params: Params,
        batch: int,
        rows: RowFactory[R],
        timeout: float | None,
    ) -> AsyncGenerator[R, None]:
        async with Transaction(
            self, None, read_only=False, timeout=self._statement_timeout, streams=True
        ) as transaction:
            found = transaction._stream(sql, params, batch, rows, timeout)
            try:
                async for row in found:
                    yield row
            finally:
                await found.aclose()

    async def _run(
        self, whole: Callable[[Link, Any], T], timeout: float | None, idempotent: bool
    ) -> T:
        limit = self._statement_timeout if timeout is None else timeout
        tries = 2 if idempotent else 1
        while True:
            tries -= 1
            link = await self.take()
            try:
                value = await link.run(partial(whole, link), limit)
            except BaseException as error:
                if link.pending:
                    self.recover(link)  # it still runs, interrupted
                    raise
                self.give_back(link)
                if link.dead and tries and not isinstance(error, DatabaseError):
                    continue
                raise
            self.give_back(link)
            return value

    # ── connections ───────────────────────────────────────────────────────────

    def _acquire(self) -> Deferred[Link]:
        if self._slots is None or not self._open:
            raise PoolClosedError("this pool is not open: use `async with Pool(…) as pool`")
        return self._slots.acquire(self._acquire_timeout)

    async def take(self) -> Link:
        """A connection for the caller alone, until `give_back` or `recover`."""
        waiting = self._acquire()
        try:
            return await waiting
        except BaseException:
            # Cancelled in the very turn in which it came.
            outcome = waiting.outcome
            if outcome is not None and outcome.error is None:
                self.give_back(outcome.value)  # type: ignore[arg-type]  # without an error there is a value
            raise

    def give_back(self, link: Link) -> None:
        """Let others have a connection that is in no transaction; a dead one is closed."""
        slots = self._slots
        if slots is not None:
            if link.dead:
                slots.suspect_all()
            slots.release(link, usable=not link.dead)

    def recover(self, link: Link) -> Deferred[None]:
        """Give back a connection on which something failed, once it is rolled back."""
        if link.dead:
            self.give_back(link)
            return succeed(None)

        def failed(_: BaseException) -> None:
            # One that cannot roll back is no connection any more.
            link.dead = True
            self.give_back(link)

        def rolled_back(_: None) -> None:
            self.give_back(link)

        return link.run(link.driver.rollback, RECOVER_SECONDS).add_callbacks(rolled_back, failed)

    def _open_link(self) -> Deferred[Link]:
        assert self._reactor is not None
        assert self._helpers is not None
        self._opened += 1
        return open_link(
            self._reactor,
            self._connect_one,
            self._helpers,
            name=f"{self._name}-{self._opened}",
            make_driver=self._make_driver,
            abandoned=self.give_back,
        )

    def _connect_one(self) -> Any:
        raw = self._connect()
        if self._on_connect is not None:
            try:
                self._on_connect(raw)
            except BaseException:
                raw.close()
                raise
        return raw

    def _close_link(self, link: Link) -> None:
        ending = link.close()
        self._endings.add(ending)
        ending.add_finally(lambda: self._endings.discard(ending))

    def _check(self, link: Link) -> Deferred[bool]:
        check = self._health_check
        if isinstance(check, str):
            ask: Callable[[Any], object] = partial(run_plain, sql=check)
        else:
            assert check is not None
            ask = check
        return link.run(partial(_single, link, job=ask), self._acquire_timeout).add_callback(_alive)


def _single(link: Link, raw: Any, job: Callable[[Any], T], *, reads: bool = False) -> T:
    """Run `job`, which is one statement (in the link's thread)."""
    try:
        value = job(raw)
        link.driver.end_single(raw)
    except BaseException:
        _undo(link, raw)
        raise
    return value


def _atomic(link: Link, raw: Any, job: Callable[[Any], T], *, reads: bool) -> T:
    """Run `job` as one transaction (in the link's thread)."""
    driver = link.driver
    try:
        driver.begin(raw, None, streams=reads)
        value = job(raw)
        commit(link, raw)
    except BaseException:
        _undo(link, raw)
        raise
    return value


def _undo(link: Link, raw: Any) -> None:
    try:
        link.driver.rollback(raw)
    except Exception:
        # One that cannot roll back is no connection any more.
        link.dead = True


def _alive(_: object) -> bool:
    return True


def _ignore(error: BaseException) -> None:
    """A thread that does not end is left to itself."""


def _log_failure(error: BaseException) -> None:
    import logging

    logging.getLogger("sennit.database").warning("could not open a connection: %s", error)
