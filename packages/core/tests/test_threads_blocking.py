"""Threads that wait for the reactor, bounded queues, a loop that no stuck thread holds up."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.endpoint import names
from sennit.core.endpoint.connect import open_stream
from sennit.core.errors import ConnectError, PoolFullError, ReactorError, ReactorNotRunningError
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.threads import ThreadPool, blocking_call_from_thread

if TYPE_CHECKING:
    from collections.abc import Callable

who: ContextVar[str] = ContextVar("who", default="nobody")


async def in_thread(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await current_reactor().defer_to_thread(fn, *args, **kwargs)


# ── blocking_call_from_thread ─────────────────────────────────────────────────


async def test_a_thread_gets_what_the_reactor_returns() -> None:
    reactor = current_reactor()
    threads: list[int] = []

    def add(left: int, *, right: int) -> int:
        threads.append(threading.get_ident())
        return left + right

    assert await in_thread(blocking_call_from_thread, reactor, add, 40, right=2) == 42
    assert threads == [threading.get_ident()]


async def test_it_waits_for_a_deferred() -> None:
    reactor = current_reactor()

    def later() -> Deferred[str]:
        fired: Deferred[str] = Deferred()
        reactor.call_later(0.001, fired.callback, "came")
        return fired

    assert await in_thread(blocking_call_from_thread, reactor, later) == "came"


async def test_it_waits_for_a_coroutine_in_the_threads_context() -> None:
    reactor = current_reactor()

    async def ask() -> str:
        await asyncio.sleep(0)
        return who.get()

    def work() -> str:
        who.set("the thread")
        return blocking_call_from_thread(reactor, ask)

    assert await in_thread(work) == "the thread"
    assert who.get() == "nobody"


async def test_what_is_raised_is_raised_in_the_thread() -> None:
    reactor = current_reactor()
    error = LookupError("there")

    async def refuse() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await in_thread(blocking_call_from_thread, reactor, refuse)
    assert caught.value is error


async def test_the_reactors_own_thread_is_refused() -> None:
    with pytest.raises(ReactorError, match="wait for itself"):
        blocking_call_from_thread(current_reactor(), int)


async def test_after_the_time_limit_what_is_under_way_is_cancelled() -> None:
    reactor = current_reactor()
    cancelled: Deferred[str] = Deferred()
    waiting: Deferred[None] = Deferred(lambda _: cancelled.callback("cancelled"))

    with pytest.raises(TimeoutError, match=r"0\.01 s"):
        await in_thread(blocking_call_from_thread, reactor, lambda: waiting, timeout=0.01)

    assert await cancelled == "cancelled"
    assert waiting.fired


def test_a_reactor_that_does_not_run_is_refused_at_once() -> None:
    reactor = Reactor()
    with pytest.raises(ReactorNotRunningError):
        blocking_call_from_thread(reactor, int)
    reactor.run(lambda reactor: reactor.stop())
    with pytest.raises(ReactorNotRunningError):
        blocking_call_from_thread(reactor, int)
    reactor.close()


def test_a_reactor_that_stops_meanwhile_lets_the_thread_go() -> None:
    outcome: list[BaseException] = []
    ended = threading.Event()

    def main(reactor: Reactor) -> None:
        def never() -> Deferred[None]:
            reactor.call_soon(reactor.stop)
            return Deferred()

        def work() -> None:
            try:
                blocking_call_from_thread(reactor, never)
            except BaseException as error:
                outcome.append(error)
            ended.set()

        threading.Thread(target=work).start()

    reactor = Reactor()
    reactor.run(main)
    assert ended.wait(5)
    reactor.close()
    assert isinstance(outcome[0], ReactorNotRunningError)


def test_so_does_one_that_ends_before_it_took_the_call() -> None:
    """Whatever moment the end falls on, no thread hangs."""
    for _ in range(30):
        outcomes: list[object] = []
        threads: list[threading.Thread] = []
        reactor = Reactor()
        reactor.run(partial(_ask_until_it_ends, threads=threads, outcomes=outcomes))
        for each in threads:
            each.join(5)
        reactor.close()
        assert len(outcomes) == 3


def _ask_until_it_ends(
    reactor: Reactor, threads: list[threading.Thread], outcomes: list[object]
) -> None:
    go = threading.Event()

    def work() -> None:
        go.set()
        while True:
            try:
                blocking_call_from_thread(reactor, int)
            except ReactorNotRunningError as error:
                outcomes.append(error)
                return

    threads.extend(threading.Thread(target=work) for _ in range(3))
    for each in threads:
        each.start()
    go.wait(5)
    reactor.stop()


# ── a queue with a bound ──────────────────────────────────────────────────────


async def test_a_full_queue_refuses_with_its_figures() -> None:
    """HARDENING fault-9: what waits for a thread is bounded."""
    pool = ThreadPool(1, "tiny", queue=2)
    go, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(5)

    try:
        held: list[Deferred[Any]] = [pool.defer(current_reactor(), hold)]
        assert begun.wait(5)
        held += [pool.defer(current_reactor(), int) for _ in range(2)]
        with pytest.raises(PoolFullError, match=r"'tiny': 2 calls wait already.* all 1 threads"):
            pool.defer(current_reactor(), int)
        held[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await held.pop()
        held.append(pool.defer(current_reactor(), int))
    finally:
        go.set()
    for each in held:
        await each
    pool.close()


async def test_length_and_age_of_the_queue_can_be_read() -> None:
    """HARDENING fault-9: the age of the queue is in the statistics."""
    pool = ThreadPool(1, "read")
    go, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(5)

    assert (pool.waiting, pool.oldest_age, pool.busy) == (0, 0.0, 0)
    held: list[Deferred[Any]] = [pool.defer(current_reactor(), hold)]
    assert begun.wait(5)
    held.append(pool.defer(current_reactor(), int))
    async with asyncio.timeout(5):
        while pool.oldest_age < 0.01:
            await asyncio.sleep(0.001)
    assert (pool.waiting, pool.busy) == (1, 1)
    assert "1 of 1 busy, 1 calls wait" in repr(pool)
    go.set()
    for each in held:
        await each
    assert pool.oldest_age == 0.0
    pool.close()


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 1, "queue": 0}])
def test_a_pool_of_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPool(**bad)


def test_a_reactor_may_be_told_its_number_of_threads() -> None:
    async def main(reactor: Reactor) -> None:
        assert reactor.thread_pool is None
        await reactor.defer_to_thread(int)
        assert reactor.thread_pool is not None
        assert reactor.thread_pool.size == 3

    reactor = Reactor(threads=3)
    reactor.run(main)
    reactor.close()


# ── threads that are stuck ────────────────────────────────────────────────────


def test_a_pool_full_of_stuck_threads_holds_up_neither_timers_nor_names(
    starved: Callable[[], float],
) -> None:
    """HARDENING fault-9: the loop's latency stays small, time-outs fire, names are found."""
    go = threading.Event()
    late: list[float] = []

    async def main(reactor: Reactor) -> None:
        stuck = [reactor.defer_to_thread(go.wait, 30) for _ in range(20)]
        with pytest.raises(TimeoutError):
            await reactor.defer_to_thread(int).timeout(0.01, reactor)
        for _ in range(50):
            due = reactor.time() + 0.001 - starved()
            await asyncio.sleep(0.001)
            late.append(reactor.time() - due - starved())
        assert await names.look_up(reactor, "127.0.0.1", 80)
        assert reactor.thread_pool is not None
        assert reactor.thread_pool.oldest_age > 0.01
        go.set()
        for each in stuck:
            await each

    reactor = Reactor(threads=2)
    reactor.run(main)
    reactor.close()
    late.sort()
    assert late[48] < 0.05


async def test_a_name_server_that_is_a_black_hole_fails_a_look_up_in_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HARDENING fault-8: at most five seconds per try, and the loop goes on."""
    assert names.LOOK_UP_SECONDS <= 5
    monkeypatch.setattr(names, "LOOK_UP_SECONDS", 0.02)
    go = threading.Event()

    def black_hole(*_: object) -> list[Any]:
        go.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", black_hole)
    reactor = current_reactor()
    began = reactor.time()
    # More than there are threads: those that wait for one fail in the same time.
    asked = [names.look_up(reactor, f"host{at}.example", 80) for at in range(20)]
    try:
        for each in asked:
            with pytest.raises(socket.gaierror, match="no answer about 'host") as caught:
                await each
            assert caught.value.errno == socket.EAI_AGAIN
        assert reactor.time() - began < 2
        assert reactor.resolver_threads is not None
        assert reactor.resolver_threads.waiting == 0, "what has failed waits for no thread"
        # The failure of a connection says so, too.
        with pytest.raises(ConnectError):
            await open_stream("tcp://other.example:80")
    finally:
        go.set()
        reactor.resolver_threads, pool = None, reactor.resolver_threads
        assert pool is not None
        pool.close()


async def test_the_timer_of_a_look_up_goes_with_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = current_reactor()

    def at_once(*_: object) -> list[Any]:
        return []

    monkeypatch.setattr(socket, "getaddrinfo", at_once)
    assert await names.look_up(reactor, "x.example", 80) == []
    timers = [each for _, _, each in reactor._heap if each.fn is not None]
    assert all("look_up" not in getattr(each.fn, "__qualname__", "") for each in timers)


def test_a_wall_clock_that_jumps_moves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """HARDENING fault-12: timers keep to monotonic time."""
    import time

    days = iter([86400.0, -86400.0] * 1000)
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall + next(days))
    fired: list[str] = []

    async def main(reactor: Reactor) -> None:
        reactor.call_later(0.002, fired.append, "soon")
        tomorrow = reactor.call_later(3600, fired.append, "in an hour")
        await asyncio.sleep(0.01)
        tomorrow.cancel()
        with pytest.raises(TimeoutError):
            await Deferred[None]().timeout(0.001, reactor)

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert fired == ["soon"]
