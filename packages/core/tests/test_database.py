"""The database pool with sqlite3, which is always there, and with drivers made up for a test."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from sennit.core import database
from sennit.core.database import (
    AcquireTimeoutError,
    DatabaseUsageError,
    Pool,
    PoolClosedError,
    StatementTimeoutError,
    TransactionAbortedError,
    as_dicts,
    as_named,
    as_type,
    as_values,
    sqlite_database,
    sqlite_pool,
)
from sennit.core.database import connection as connections
from sennit.core.errors import PoolFullError, SennitError
from sennit.core.reactor.base import Reactor, current_reactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"


@pytest.fixture
async def pool() -> AsyncGenerator[Pool, None]:
    async with sqlite_pool(":memory:") as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)")
        await pool.execute_many(
            "INSERT INTO t VALUES (?, ?)", [(at, f"word {at}") for at in range(10)]
        )
        yield pool


async def count(pool: Pool) -> int:
    number: int = await pool.fetch_value("SELECT count(*) FROM t")
    return number


# ── statements ────────────────────────────────────────────────────────────────


async def test_statements_give_counts_rows_and_values(pool: Pool) -> None:
    assert await pool.execute("UPDATE t SET word = 'x' WHERE id < ?", (3,)) == 3
    assert await pool.fetch_all("SELECT * FROM t WHERE id < 2") == [(0, "x"), (1, "x")]
    assert await pool.fetch_one("SELECT * FROM t WHERE id = :id", {"id": 5}) == (5, "word 5")
    assert await pool.fetch_one("SELECT * FROM t WHERE id = 99") is None
    assert await pool.fetch_value("SELECT 1 WHERE 0") is None


async def test_a_row_is_what_one_asks_for(pool: Pool) -> None:
    @dataclasses.dataclass
    class Word:
        id: int
        word: str

    query = "SELECT id, word FROM t WHERE id = 1"
    assert await pool.fetch_one(query, rows=as_dicts) == {"id": 1, "word": "word 1"}
    assert await pool.fetch_all(query, rows=as_type(Word)) == [Word(1, "word 1")]
    assert await pool.fetch_all("SELECT id FROM t WHERE id < 3", rows=as_values) == [0, 1, 2]
    named = await pool.fetch_one("SELECT id, id + 1 AS class, id + 2 FROM t", rows=as_named)
    assert named is not None
    assert (named.id, named[1], named._1) == (0, 1, 1)


async def test_a_statement_that_gives_no_rows_gives_none(pool: Pool) -> None:
    assert await pool.fetch_all("DELETE FROM t WHERE id = 0") == []
    assert await pool.fetch_one("DELETE FROM t WHERE id = 1") is None
    assert [row async for row in pool.stream("DELETE FROM t WHERE id = 2")] == []
    assert await count(pool) == 7


async def test_what_is_done_with_the_drivers_connection_is_one_transaction(pool: Pool) -> None:
    def job(raw: sqlite3.Connection) -> None:
        raw.execute("DELETE FROM t")
        raise LookupError

    with pytest.raises(LookupError):
        await pool.run(job)
    assert await count(pool) == 10
    with pytest.raises(LookupError):
        await pool.run(job, atomic=False)
    assert await count(pool) == 0


async def test_errors_of_the_driver_come_as_they_are_and_cost_no_connection(pool: Pool) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await pool.execute_many("INSERT INTO t VALUES (?, ?)", [(10, "new"), (1, "there already")])
    assert await count(pool) == 10, "all of them or none"
    assert pool.status == (1, 1, 1, 0, 0.0)


async def test_the_drivers_own_connection_is_at_hand_in_its_thread(pool: Pool) -> None:
    def job(raw: sqlite3.Connection) -> str:
        raw.execute("DELETE FROM t")
        return threading.current_thread().name

    assert (await pool.run(job)).startswith("sennit-sqlite")
    assert await count(pool) == 0


async def test_the_loop_turns_while_a_statement_runs(pool: Pool) -> None:
    running = pool.fetch_value(FOREVER)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.fired
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# ── transactions ──────────────────────────────────────────────────────────────


async def test_a_transaction_commits_at_its_end_and_rolls_back_on_an_exception(pool: Pool) -> None:
    async with pool.transaction() as tx:
        await tx.execute("DELETE FROM t WHERE id = 0")
    assert await count(pool) == 9
    with pytest.raises(LookupError):
        async with pool.transaction() as tx:
            await tx.execute("DELETE FROM t")
            raise LookupError
    assert await count(pool) == 9


async def test_a_cancelled_transaction_is_rolled_back(pool: Pool) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with pool.transaction() as tx:
            await tx.execute("DELETE FROM t")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(pool) == 10


async def test_savepoints_nest(pool: Pool) -> None:
    async with pool.transaction() as tx, tx.savepoint():
        await tx.execute("DELETE FROM t WHERE id = 0")
        with pytest.raises(LookupError):
            async with tx.savepoint():
                await tx.execute("DELETE FROM t")
                raise LookupError
        assert await tx.fetch_value("SELECT count(*) FROM t") == 9
    assert await count(pool) == 9


async def test_a_transaction_is_used_once_and_inside(pool: Pool) -> None:
    tx = pool.transaction()
    with pytest.raises(DatabaseUsageError, match="not entered"):
        tx.execute("DELETE FROM t")
    async with tx:
        with pytest.raises(DatabaseUsageError, match="run again"):
            tx.fetch_value("SELECT 1", idempotent=True)
    with pytest.raises(DatabaseUsageError, match="has ended"):
        tx.execute("DELETE FROM t")
    with pytest.raises(DatabaseUsageError, match="once"):
        async with tx:
            pass
    with pytest.raises(DatabaseUsageError, match="deferred, immediate"):
        async with pool.transaction(isolation="serializable"):
            pass
    assert await count(pool) == 10


async def test_a_transaction_that_the_database_gave_up_says_so(pool: Pool) -> None:
    with pytest.raises(TransactionAbortedError):
        async with pool.transaction() as tx:
            await tx.execute("DELETE FROM t")
            await tx.execute("ROLLBACK")
    assert await count(pool) == 10


async def test_one_begun_by_hand_is_refused(pool: Pool) -> None:
    with pytest.raises(DatabaseUsageError, match="async with"):
        await pool.execute("BEGIN")
    async with pool.transaction():
        pass


# ── streams ───────────────────────────────────────────────────────────────────


async def test_streamed_rows_come_in_batches(pool: Pool) -> None:
    rows = [row async for row in pool.stream("SELECT id FROM t", batch=3, rows=as_values)]
    assert rows == list(range(10))
    assert pool.status.idle == 1


async def test_a_stream_is_read_no_further_than_is_wanted(pool: Pool) -> None:
    made: list[int] = []

    def note(number: int) -> int:
        made.append(number)
        return number

    await pool.run(lambda raw: raw.create_function("note", 1, note), reads=True)
    async with aclosing(pool.stream("SELECT note(id) FROM t", batch=2)) as rows:
        async for _ in rows:
            break
    assert len(made) <= 3
    assert await count(pool) == 10, "its connection is given back"


async def test_a_loop_that_is_left_gives_the_connection_back_without_aclosing(pool: Pool) -> None:
    async for _ in pool.stream("SELECT id FROM t", batch=2):
        break
    async with asyncio.timeout(5):
        assert await count(pool) == 10


async def test_a_batch_of_none_is_refused(pool: Pool) -> None:
    with pytest.raises(DatabaseUsageError, match="batch"):
        async for _ in pool.stream("SELECT 1", batch=0):
            pass


# ── time limits ───────────────────────────────────────────────────────────────


async def test_a_statement_is_interrupted_after_its_time_limit(pool: Pool) -> None:
    with pytest.raises(StatementTimeoutError, match=r"0\.02 s"):
        await pool.fetch_value(FOREVER, timeout=0.02)
    assert await count(pool) == 10, "the same connection serves the next one"


async def test_what_is_cancelled_before_it_ran_is_not_run(pool: Pool) -> None:
    async with pool.transaction() as tx:
        first = tx.fetch_value(FOREVER)
        second = tx.execute("DELETE FROM t")
        second.cancel()
        first.cancel()
        for each in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await each
        assert await tx.fetch_value("SELECT count(*) FROM t") == 10


async def test_acquiring_has_a_time_limit_that_names_the_holder(pool: Pool) -> None:
    pool._acquire_timeout = 0.02
    async with pool.transaction():
        with pytest.raises(AcquireTimeoutError, match="all 1 were in use") as caught:
            await pool.execute("DELETE FROM t")
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.oldest >= 0.01


# ── drivers that know less ────────────────────────────────────────────────────


class Cursor:
    rowcount = 1
    arraysize = 1
    description = [("one",)]

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def execute(self, sql: str, params: object = None) -> None:
        self._raw.said(sql)

    def fetchone(self) -> tuple[int]:
        return (1,)

    def close(self) -> None: ...


class Raw:
    """A connection of a driver that keeps to PEP 249 and can do no more."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.thread = threading.get_ident()
        self.dead = False
        self.log: list[str] = []

    def said(self, what: str) -> None:
        assert threading.get_ident() == self.thread, "used in another thread"
        self.log.append(what)
        if what in self._database.blocks:
            assert self._database.go.wait(10)
        if self.dead:
            raise ConnectionResetError("the server has gone")

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self.said("commit")

    def rollback(self) -> None:
        self.said("rollback")

    def close(self) -> None:
        self.log.append("close")
        self._database.closed.append(self)


class FakeDatabase:
    def __init__(self) -> None:
        self.made: list[Raw] = []
        self.closed: list[Raw] = []
        self.blocks: set[str] = set()
        self.go = threading.Event()
        self.refuses: BaseException | None = None
        self.together: threading.Barrier | None = None

    def connect(self) -> Raw:
        error = self.refuses
        if error is not None:
            if self.together is not None:
                self.together.wait(5)
            raise error
        self.made.append(Raw(self))
        return self.made[-1]


async def test_any_driver_is_used_by_the_standard_alone() -> None:
    """PEP 249: a statement on the pool is a transaction by itself."""
    fake = FakeDatabase()
    async with Pool(fake, size=2) as pool:
        await pool.execute("one")
        async with pool.transaction(isolation="serializable") as tx:
            await tx.execute("two")
        with pytest.raises(LookupError):
            async with pool.transaction() as tx:
                await tx.execute("three")
                raise LookupError
    assert fake.made[0].log == [
        "one",
        "commit",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "two",
        "commit",
        "three",
        "rollback",
        "close",
    ]


async def test_a_connection_that_cannot_be_interrupted_is_given_up_and_replaced() -> None:
    fake = FakeDatabase()
    fake.blocks.add("slow")
    async with Pool(fake, size=1) as pool:
        with pytest.raises(StatementTimeoutError):
            await pool.execute("slow", timeout=0.2)  # it has begun by then
        assert await pool.fetch_value("quick") == 1
        assert len(fake.made) == 2
        assert fake.closed == [], "its thread is still at work"
        fake.go.set()
    assert len(fake.closed) == 2


async def test_a_driver_may_be_told_how_to_interrupt() -> None:
    fake = FakeDatabase()
    fake.blocks.add("slow")
    async with Pool(fake, size=1, interrupt=lambda raw: fake.go.set()) as pool:
        with pytest.raises(StatementTimeoutError):
            await pool.execute("slow", timeout=0.2)  # it has begun by then
        await pool.execute("quick")
    assert len(fake.made) == 1


async def test_an_interruption_that_does_nothing_gives_the_connection_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "INTERRUPT_SECONDS", 0.05)
    fake = FakeDatabase()
    fake.blocks.add("slow")
    async with Pool(fake, size=1, interrupt=lambda raw: None) as pool:
        with pytest.raises(StatementTimeoutError):
            await pool.execute("slow", timeout=0.2)  # it has begun by then
        await pool.execute("quick")
        fake.go.set()
    assert len(fake.made) == 2


async def test_a_dead_connection_is_replaced_and_its_statement_not_run_again() -> None:
    fake = FakeDatabase()
    async with Pool(fake, size=1) as pool:
        await pool.execute("one")
        fake.made[0].dead = True
        with pytest.raises(ConnectionResetError):
            await pool.execute("two")
        await pool.execute("three")
        fake.made[1].dead = True
        assert await pool.fetch_value("four", idempotent=True) == 1
    # A thread closes what is dead, beside what is asked next.
    first, second, third = fake.made
    assert first.log == ["one", "commit", "two", "rollback", "close"]
    assert second.log[:2] == ["three", "commit"]
    assert third.log[:2] == ["four", "commit"]


async def test_an_idle_connection_is_asked_whether_it_lives() -> None:
    fake = FakeDatabase()
    async with Pool(fake, size=1, check_after=0.0, health_check="well?") as pool:
        await pool.execute("one")
        await pool.execute("two")
        assert fake.made[0].log == ["one", "commit", "well?", "commit", "two", "commit"]
        fake.made[0].dead = True
        await pool.execute("three")
        assert fake.made[1].log == ["three", "commit"]


async def test_a_database_that_is_down_fails_who_asks_and_is_tried_again() -> None:
    fake = FakeDatabase()
    fake.refuses = ConnectionRefusedError("down")
    async with Pool(fake, size=2) as pool:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await pool.execute("one")
        fake.refuses = None
        assert await pool.execute("one") == 1


async def test_connections_that_are_kept_must_open() -> None:
    fake = FakeDatabase()
    fake.refuses = ConnectionRefusedError("down")
    # Neither is refused before both have asked: none of the first try is late for the second.
    fake.together = threading.Barrier(2)
    pool = Pool(fake, size=2, min_size=2)
    with pytest.raises(ConnectionRefusedError):
        await pool.open()
    with pytest.raises(PoolClosedError):
        await pool.execute("one")
    fake.refuses = None
    async with pool:
        assert len(fake.made) == 2


async def test_on_connect_that_fails_closes_the_connection() -> None:
    fake = FakeDatabase()

    def refuse(raw: Raw) -> None:
        raise LookupError

    async with Pool(fake, on_connect=refuse) as pool:
        with pytest.raises(LookupError):
            await pool.execute("one")
    assert fake.closed == fake.made


async def test_who_waits_is_bounded() -> None:
    fake = FakeDatabase()
    fake.blocks.add("slow")
    async with Pool(fake, size=1, max_waiting=1) as pool:
        first = pool.execute("slow")
        async with asyncio.timeout(5):
            while not fake.made or not fake.made[0].log:
                await asyncio.sleep(0.001)
        second = pool.execute("quick")
        await asyncio.sleep(0)
        with pytest.raises(PoolFullError, match="1 wait for one of 1"):
            await pool.execute("quick")
        fake.go.set()
        assert await first == await second == 1


async def test_a_pool_that_closes_lets_finish_what_runs_and_refuses_the_rest() -> None:
    fake = FakeDatabase()
    fake.blocks.add("slow")
    pool = await Pool(fake, size=1).open()
    running = pool.execute("slow")
    async with asyncio.timeout(5):
        while not fake.made or not fake.made[0].log:
            await asyncio.sleep(0.001)
    waiting = pool.execute("late")
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.close())
    with pytest.raises(PoolClosedError):
        await waiting
    fake.go.set()
    assert await running == 1
    await closing
    assert fake.made[0].log == ["slow", "commit", "close"]
    await pool.close()


async def test_a_statement_that_is_stuck_does_not_hold_up_the_end() -> None:
    fake = FakeDatabase()
    fake.blocks.add("slow")
    pool = await Pool(fake, size=1).open()
    running = pool.execute("slow")
    running.add_errback(lambda error: None)
    async with asyncio.timeout(5):
        while not fake.made or not fake.made[0].log:
            await asyncio.sleep(0.001)
    began = current_reactor().time()
    current_reactor().call_later(0.3, fake.go.set)
    await pool.close(0.02)
    assert current_reactor().time() - began < 3
    fake.go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("sennit-db"):
            thread.join(5)


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 2, "min_size": 3}])
def test_a_pool_of_nothing_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(DatabaseUsageError):
        Pool(sqlite3, ":memory:", **bad)  # type: ignore[arg-type]  # what must be refused


async def test_wrong_uses_say_what_is_right() -> None:
    with pytest.raises(DatabaseUsageError, match="neither a function nor"):
        Pool("sqlite:///x")
    pool = sqlite_pool(":memory:")
    assert "closed" in repr(pool)
    with pytest.raises(PoolClosedError, match="async with"):
        await pool.execute("SELECT 1")
    async with pool:
        assert "1 of 1 open, 1 idle" in repr(pool)
        with pytest.raises(DatabaseUsageError, match="open already"):
            await pool.open()


async def test_a_connection_that_is_never_there_does_not_keep_a_pool_from_closing() -> None:
    """A host that is away holds a driver for minutes; the process must end before that."""
    answered = threading.Event()
    database = FakeDatabase()

    def connect() -> object:
        answered.wait(10)
        return database.connect()

    pool = Pool(connect, size=1, acquire_timeout=0.01)
    await pool.open()
    try:
        with pytest.raises(AcquireTimeoutError):
            await pool.fetch_one("SELECT 1")
        async with asyncio.timeout(5):
            await pool.close(0.01)
    finally:
        answered.set()
    async with asyncio.timeout(5):
        # It came too late, and is closed all the same.
        while not database.closed:
            await asyncio.sleep(0.001)


def test_a_pool_closes_with_its_reactor() -> None:
    fake = FakeDatabase()

    async def main(reactor: Reactor) -> None:
        pool = await Pool(fake, size=1).open()
        await pool.execute("one")

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert fake.closed == fake.made
    assert not [each for each in threading.enumerate() if each.name.startswith("sennit-db")]


async def test_cancelled_in_the_turn_in_which_its_connection_came_it_gives_it_back() -> None:
    """asyncio may cancel a Task whose wait has a result already; the connection is not lost."""
    fake = FakeDatabase()
    async with Pool(fake, size=1, acquire_timeout=5) as pool:
        for _ in range(50):
            tasks = [asyncio.ensure_future(pool.take()) for _ in range(3)]
            while not any(each.done() for each in tasks):
                await asyncio.sleep(0)
            for each in tasks:
                if each.done():
                    pool.give_back(each.result())
                each.cancel()
            for done in await asyncio.gather(*tasks, return_exceptions=True):
                assert done is not None
            async with asyncio.timeout(5):
                while pool.status.idle != 1:
                    await asyncio.sleep(0)


# ── SQLite ────────────────────────────────────────────────────────────────────


async def test_sqlite_has_sensible_settings(tmp_path: Path) -> None:
    async with sqlite_pool(tmp_path / "x.db", pragmas={"cache_size": 123}) as pool:
        for pragma, value in (
            ("journal_mode", "wal"),
            ("foreign_keys", 1),
            ("busy_timeout", 5000),
            ("synchronous", 1),
            ("cache_size", 123),
        ):
            assert await pool.fetch_value(f"PRAGMA {pragma}") == value


async def test_one_writes_while_others_read(tmp_path: Path) -> None:
    async with sqlite_database(tmp_path / "x.db", readers=2) as db:
        await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        async with db.transaction() as tx:
            assert await tx.fetch_value("INSERT INTO t VALUES (7) RETURNING id") == 7
            assert await db.fetch_all("SELECT * FROM t") == [], "readers do not wait"
        assert [row async for row in db.stream("SELECT * FROM t")] == [(7,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await db.fetch_value("INSERT INTO t VALUES (8) RETURNING id")
        async with db.transaction(read_only=True) as tx:
            assert await tx.fetch_value("SELECT count(*) FROM t") == 1
        await asyncio.gather(*(db.execute("INSERT INTO t DEFAULT VALUES") for _ in range(20)))
        assert await db.fetch_value("SELECT count(*) FROM t") == 21
    assert not (tmp_path / "x.db-wal").exists(), "the log was written back"


def test_a_database_in_memory_has_one_connection() -> None:
    with pytest.raises(DatabaseUsageError, match="size is 1"):
        sqlite_pool(":memory:", size=2)
    with pytest.raises(DatabaseUsageError, match="sqlite_pool"):
        sqlite_database(":memory:")


def test_the_package_offers_what_it_lists() -> None:
    assert set(dir(database)) == set(database.__all__)
    for name in database.__all__:
        assert getattr(database, name) is not None
    with pytest.raises(AttributeError):
        _ = database.Nothing  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue]
    assert issubclass(database.DatabaseError, SennitError)
