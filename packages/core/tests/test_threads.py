"""The thread pool: it grows on demand, keeps the order, and ends with its reactor."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred, gather
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Generator

who: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def pool() -> Generator[ThreadPool, None, None]:
    pool = ThreadPool(2, "test-pool")
    yield pool
    pool.close()


async def test_the_result_comes_back_to_the_reactors_thread(pool: ThreadPool) -> None:
    threads: list[str] = []

    def work(number: int, *, factor: int) -> int:
        threads.append(threading.current_thread().name)
        return number * factor

    back: list[threading.Thread] = []
    waiting = pool.defer(current_reactor(), work, 6, factor=7)
    waiting.add_finally(lambda: back.append(threading.current_thread()))
    assert await waiting == 42
    assert threads == ["test-pool-1"]
    assert back == [threading.current_thread()]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
async def test_so_does_what_is_raised(pool: ThreadPool, error: BaseException) -> None:
    def work() -> None:
        raise error

    waiting = pool.defer(current_reactor(), work)
    caught: list[BaseException] = []
    waiting.add_errback(caught.append)
    async with asyncio.timeout(5):
        while not caught:
            await asyncio.sleep(0.001)
    assert caught == [error]
    assert await pool.defer(current_reactor(), int, "5") == 5, "the thread goes on"


async def test_it_runs_in_the_callers_context(pool: ThreadPool) -> None:
    token = who.set("the caller")
    waiting = pool.defer(current_reactor(), who.get)
    who.reset(token)
    assert await waiting == "the caller"
    assert await pool.defer(current_reactor(), who.get) == "nobody"


async def test_there_are_never_more_threads_than_its_size(pool: ThreadPool) -> None:
    go = threading.Event()
    names: set[str] = set()

    def work(number: int) -> None:
        assert go.wait(5)
        names.add(threading.current_thread().name)

    waiting = [pool.defer(current_reactor(), work, at) for at in range(20)]
    async with asyncio.timeout(5):
        while pool.waiting > 18:
            await asyncio.sleep(0.001)
    assert pool.waiting == 18
    go.set()
    await gather(*waiting)
    assert names <= {"test-pool-1", "test-pool-2"}


async def test_a_thread_that_is_free_is_used_again(pool: ThreadPool) -> None:
    names = set[str]()
    for _ in range(10):
        name = await pool.defer(current_reactor(), lambda: threading.current_thread().name)
        names.add(name)
        async with asyncio.timeout(5):
            while not pool._idle:
                await asyncio.sleep(0.001)
    assert len(names) == 1


async def test_what_is_cancelled_before_a_thread_took_it_is_not_run(pool: ThreadPool) -> None:
    go = threading.Event()
    run: list[int] = []
    holding = [pool.defer(current_reactor(), go.wait, 5) for _ in range(2)]
    waiting = pool.defer(current_reactor(), run.append, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await gather(*holding)
    assert await pool.defer(current_reactor(), int) == 0
    assert run == []


async def test_the_result_of_what_is_cancelled_later_is_thrown_away(pool: ThreadPool) -> None:
    go, begun = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert go.wait(5)
        return 5

    waiting = pool.defer(current_reactor(), work)
    assert await pool.defer(current_reactor(), begun.wait, 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await pool.defer(current_reactor(), int) == 0


async def test_closed_it_takes_no_more_and_drops_what_nobody_has_begun() -> None:
    pool = ThreadPool(1)
    go = threading.Event()
    run: list[int] = []
    first = pool.defer(current_reactor(), go.wait, 5)
    pool.defer(current_reactor(), run.append, 1)
    async with asyncio.timeout(5):
        while pool.waiting > 1:
            await asyncio.sleep(0.001)
    go.set()
    pool.close()
    assert await first
    with pytest.raises(RuntimeError, match="closed"):
        pool.defer(current_reactor(), int)
    assert pool._threads == set()


async def test_or_finishes_it() -> None:
    pool = ThreadPool(1)
    run: list[int] = []
    waiting = [pool.defer(current_reactor(), run.append, at) for at in range(50)]
    pool.close(finish=True)
    assert run == list(range(50))
    await gather(*waiting)


async def test_a_thread_that_is_stuck_does_not_hold_up_the_end() -> None:
    pool = ThreadPool(1)
    go, begun = threading.Event(), threading.Event()

    def stick() -> bool:
        begun.set()
        return go.wait(30)

    waiting = pool.defer(current_reactor(), stick)
    assert begun.wait(5)
    reactor = current_reactor()
    began = reactor.time()
    pool.close(0.05)
    assert 0.04 < reactor.time() - began < 5
    go.set()
    await waiting


async def test_the_system_may_give_no_thread(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.defer(current_reactor(), int)
    assert pool.waiting == 0
    go = threading.Event()
    first = pool.defer(current_reactor(), go.wait, 5)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second: Deferred[int] = pool.defer(current_reactor(), int, "7")
    go.set()
    assert await first
    assert await second == 7, "the one there is does it"


def test_a_reactors_own_pools_end_with_it() -> None:
    names: list[str] = []

    async def main(reactor: Reactor) -> None:
        names.append(await reactor.defer_to_thread(lambda: threading.current_thread().name))

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert names[0].startswith("sennit-worker")
    assert not [each for each in threading.enumerate() if each.name == names[0]]


async def test_work_that_comes_while_an_idle_thread_leaves_is_done() -> None:
    """The thread has given the lock up and not gone yet: nobody may count on it."""
    pool = ThreadPool(1, "test-leaving", linger=0.01)
    reactor = current_reactor()
    left, asked = threading.Event(), threading.Event()

    class Changed(threading.Condition):
        """Stops a thread where it has just given the lock up."""

        def __exit__(self, *args: Any) -> None:
            super().__exit__(*args)
            if threading.current_thread().name == "test-leaving-1" and not pool._work and ran:
                left.set()
                asked.wait(5)

    ran: list[int] = []
    pool._changed = Changed(threading.Lock())
    try:
        await pool.defer(reactor, int)
        ran.append(1)
        async with asyncio.timeout(5):
            while not left.is_set():
                await asyncio.sleep(0.001)
            waiting = pool.defer(reactor, int, "7")
            asked.set()
            assert await waiting == 7
    finally:
        asked.set()
        pool.close()
