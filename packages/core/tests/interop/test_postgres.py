"""The database pool against a real PostgreSQL, through psycopg 3."""

from __future__ import annotations

import asyncio
import resource
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from packages.core.tests.interop.postgres import PostgresURL, postgres_server
from sennit.core.database import (
    AcquireTimeoutError,
    DatabaseUsageError,
    Pool,
    StatementTimeoutError,
    TransactionAbortedError,
    as_named,
)
from sennit.core.reactor.base import Reactor

if TYPE_CHECKING:
    from collections.abc import Generator

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def dsn() -> Generator[PostgresURL, None, None]:
    with postgres_server() as url:
        yield url


async def backends(pool: Pool) -> int:
    """Other statements of ours that the server still works on."""
    count: int = await pool.fetch_value(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    return count


async def quiet(pool: Pool) -> None:
    """Wait until the server works on nothing else of ours."""
    async with asyncio.timeout(10):
        while await backends(pool):
            await asyncio.sleep(0.01)


async def test_both_ways_to_the_server_and_a_row_with_names(dsn: PostgresURL) -> None:
    for url in (dsn, dsn.unix):
        async with Pool(psycopg, url, size=1) as pool:
            row = await pool.fetch_one("SELECT 1 AS one, %s::text AS word", ("x",), rows=as_named)
            assert row is not None
            assert (row.one, row.word) == (1, "x")


async def test_a_transaction_commits_or_rolls_back(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=2) as pool:
        await pool.execute("CREATE TABLE moved (id int PRIMARY KEY)")
        async with pool.transaction() as tx:
            assert await tx.execute("INSERT INTO moved VALUES (1)") == 1
            assert await pool.fetch_value("SELECT count(*) FROM moved") == 0, "not seen yet"
        with pytest.raises(LookupError):
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO moved VALUES (2)")
                raise LookupError
        assert await pool.fetch_all("SELECT id FROM moved") == [(1,)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            await pool.execute("INSERT INTO moved VALUES (1)")
        assert pool.status.idle == pool.status.open, "an error of SQL costs no connection"


async def test_isolation_is_what_was_asked_for(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=2) as pool:
        for level in ("read committed", "repeatable read", "serializable"):
            async with pool.transaction(isolation=level) as tx:
                assert await tx.fetch_value("SHOW transaction_isolation") == level
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with pool.transaction(read_only=True) as tx:
                await tx.execute("CREATE TABLE never (id int)")
        with pytest.raises(DatabaseUsageError, match="isolation is one of"):
            async with pool.transaction(isolation="snapshot; DROP TABLE x"):
                pass
        await pool.execute("CREATE TABLE sums (n int)")
        with pytest.raises(psycopg.errors.SerializationFailure):
            async with (
                pool.transaction(isolation="serializable") as left,
                pool.transaction(isolation="serializable") as right,
            ):
                for tx in (left, right):
                    await tx.fetch_value("SELECT sum(n) FROM sums")
                for tx in (left, right):
                    await tx.execute("INSERT INTO sums VALUES (1)")


async def test_a_savepoint_is_undone_by_itself(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=1) as pool:
        await pool.execute("CREATE TABLE saved (id int PRIMARY KEY)")
        async with pool.transaction() as tx:
            await tx.execute("INSERT INTO saved VALUES (1)")
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with tx.savepoint():
                    await tx.execute("INSERT INTO saved VALUES (2)")
                    async with tx.savepoint():
                        await tx.execute("INSERT INTO saved VALUES (1)")
            async with tx.savepoint():
                await tx.execute("INSERT INTO saved VALUES (3)")
            with pytest.raises(TimeoutError):
                async with tx.savepoint(), asyncio.timeout(0.05):
                    await tx.execute("SELECT pg_sleep(30)")
        assert await pool.fetch_all("SELECT id FROM saved ORDER BY id") == [(1,), (3,)]


async def test_a_transaction_whose_error_was_hidden_says_that_nothing_was_committed(
    dsn: PostgresURL,
) -> None:
    """The server answers COMMIT with ROLLBACK then, and no error at all."""
    async with Pool(psycopg, dsn, size=1) as pool:
        with pytest.raises(TransactionAbortedError, match="nothing was committed"):
            async with pool.transaction() as tx:
                await tx.execute("CREATE TABLE gone (id int)")
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await tx.fetch_value("SELECT 1/0")
        assert await pool.fetch_value("SELECT to_regclass('gone')") is None


async def test_a_backend_that_was_killed_is_replaced(dsn: PostgresURL) -> None:
    """The statement that finds it out fails; the next one has a new connection."""
    async with Pool(psycopg, dsn, size=1) as pool, Pool(psycopg, dsn, size=1) as other:
        for at, idempotent in enumerate((False, True)):
            victim = await pool.fetch_value("SELECT pg_backend_pid()")
            assert await other.fetch_value("SELECT pg_terminate_backend(%s, 5000)", (victim,))
            if idempotent:
                pid = await pool.fetch_value("SELECT pg_backend_pid()", idempotent=True)
            else:
                with pytest.raises(psycopg.OperationalError):
                    await pool.fetch_value("SELECT pg_backend_pid()")
                pid = await pool.fetch_value("SELECT pg_backend_pid()")
            assert pid != victim, at
        assert pool.status.open == 1


async def test_a_transaction_whose_backend_was_killed_fails_and_is_not_run_again(
    dsn: PostgresURL,
) -> None:
    async with Pool(psycopg, dsn, size=1) as pool, Pool(psycopg, dsn, size=1) as other:
        with pytest.raises(psycopg.OperationalError):
            async with pool.transaction() as tx:
                victim = await tx.fetch_value("SELECT pg_backend_pid()")
                await other.fetch_value("SELECT pg_terminate_backend(%s, 5000)", (victim,))
                await tx.fetch_value("SELECT 1")
        assert await pool.fetch_value("SELECT 1") == 1


async def test_idle_connections_are_examined_and_replaced_before_use(dsn: PostgresURL) -> None:
    async with (
        Pool(psycopg, dsn, size=3, min_size=3, check_after=0.0) as pool,
        Pool(psycopg, dsn, size=1) as other,
    ):
        await other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert await asyncio.gather(*(pool.fetch_value("SELECT 1") for _ in range(9))) == [1] * 9


async def test_what_is_cancelled_is_ended_in_the_server(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=1) as pool, Pool(psycopg, dsn, size=1) as other:
        pid = await pool.fetch_value("SELECT pg_backend_pid()")
        sleeping = pool.execute("SELECT pg_sleep(60)")
        async with asyncio.timeout(5):
            while not await backends(other):
                await asyncio.sleep(0.01)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        await quiet(other)
        assert await pool.fetch_value("SELECT pg_backend_pid()") == pid, "and is used again"


async def test_a_statement_has_a_time_limit(dsn: PostgresURL) -> None:
    async with (
        Pool(psycopg, dsn, size=1, statement_timeout=0.05) as pool,
        Pool(psycopg, dsn, size=1) as other,
    ):
        with pytest.raises(StatementTimeoutError, match=r"0\.05 s"):
            await pool.execute("SELECT pg_sleep(60)")
        await quiet(other)
        assert await pool.fetch_value("SELECT 1 FROM pg_sleep(0.1)", timeout=10) == 1


async def test_a_cancelled_transaction_is_rolled_back(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=1) as pool:
        await pool.execute("CREATE TABLE cut (id int)")

        async def work() -> None:
            async with pool.transaction() as tx:
                await tx.execute("INSERT INTO cut VALUES (1)")
                await tx.execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await work()
        assert await pool.fetch_value("SELECT count(*) FROM cut") == 0


async def test_a_hundred_thousand_rows_are_streamed_in_little_memory(dsn: PostgresURL) -> None:
    """Each row has 1 KiB: together 100 MiB, of which 500 rows are here at a time."""
    async with Pool(psycopg, dsn, size=1) as pool:
        query = "SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) AS n"
        count = total = 0
        before = 0
        async for number, text in pool.stream(query):
            count += 1
            total += number
            assert len(text) == 1000
            if count == 2000:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (count, total) == (100_000, 5_000_050_000)
        assert grown < 10 * 1024, f"{grown} KiB more than after the first rows"


async def test_a_stream_that_is_left_gives_its_connection_back(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=1, acquire_timeout=5) as pool:
        query = "SELECT n FROM generate_series(1, 1000000) AS n"
        async with aclosing(pool.stream(query, batch=10)) as rows:
            async for (number,) in rows:
                if number == 25:
                    break
        assert await pool.fetch_value("SELECT 1") == 1
        async with pool.transaction() as tx:
            async for (number,) in tx.stream(query, batch=3):
                assert await tx.fetch_value("SELECT %s::int", (number,)) == number
                if number == 10:
                    break
            assert await tx.fetch_value("SELECT 2") == 2
        with pytest.raises(psycopg.errors.SyntaxError):
            async for _ in pool.stream("SELEKT 1"):
                pass
        assert pool.status.idle == 1


async def test_two_connections_serve_fifty_users(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=2) as pool:
        await pool.execute("CREATE TABLE counter AS SELECT 0 AS n")
        most = 0

        async def use() -> None:
            nonlocal most
            async with pool.transaction() as tx:
                most = max(most, pool.status.open)
                await tx.execute("UPDATE counter SET n = n + 1")

        await asyncio.gather(*(use() for _ in range(50)))
        assert await pool.fetch_value("SELECT n FROM counter") == 50
        assert most == 2


async def test_who_waits_too_long_hears_who_has_the_connections(dsn: PostgresURL) -> None:
    # It has to do for the opening of a connection too, on a machine that others keep busy.
    async with Pool(psycopg, dsn, size=1, acquire_timeout=2.0) as pool:
        async with pool.transaction():
            with pytest.raises(
                AcquireTimeoutError, match=r"all 1 were in use, one of them for \d+\.\d s"
            ):
                await pool.fetch_value("SELECT 1")
        assert await pool.fetch_value("SELECT 1") == 1


async def test_a_server_that_is_not_there_fails_who_asks() -> None:
    async with Pool(psycopg, "host=127.0.0.1 port=1 connect_timeout=2", size=2) as pool:
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                await pool.fetch_value("SELECT 1")
        assert pool.status.open == 0


async def test_a_transaction_begun_by_hand_is_refused(dsn: PostgresURL) -> None:
    async with Pool(psycopg, dsn, size=1) as pool:
        with pytest.raises(DatabaseUsageError, match="transaction"):
            await pool.execute("BEGIN")
        assert await pool.fetch_value("SELECT pg_current_xact_id_if_assigned()") is None


def test_a_pool_closes_with_its_reactor(dsn: PostgresURL) -> None:
    pools: list[Pool] = []

    async def main(reactor: Reactor) -> None:
        pool = await Pool(psycopg, dsn, size=2, min_size=2).open()
        assert pool.status == (2, 2, 2, 0, 0.0)
        pools.append(pool)

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert pools[0].status.open == 0
    with psycopg.connect(dsn) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        assert connection.execute(query).fetchone() == (1,)
