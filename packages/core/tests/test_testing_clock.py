from __future__ import annotations

import asyncio
import contextvars

import pytest
from zope.interface.verify import verifyObject

from sennit.core.deferred import Deferred
from sennit.core.errors import ReactorError
from sennit.core.interfaces import IClock
from sennit.core.reactor.base import current_reactor
from sennit.core.testing.clock import Clock


def test_a_clock_is_an_iclock() -> None:
    assert verifyObject(IClock, Clock())


def test_time_stands_still_until_it_is_advanced() -> None:
    clock = Clock(start=7.0)

    assert clock.time() == 7.0
    clock.advance(2.5)
    assert clock.time() == 9.5


def test_timers_are_called_in_order_each_at_its_own_time() -> None:
    clock = Clock()
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.time()))

    clock.call_later(3, note, "late")
    clock.call_later(1, note, "early")
    clock.call_at(1, note, "second of the same time")
    clock.advance(2)
    assert seen == [("early", 1), ("second of the same time", 1)]
    clock.advance(1)
    assert seen[2:] == [("late", 3)]


def test_a_timer_set_by_a_timer_is_called_in_the_same_advance_if_due() -> None:
    clock = Clock()
    seen: list[float] = []

    def tick() -> None:
        seen.append(clock.time())
        clock.call_later(1, tick)

    tick()
    clock.advance(3)

    assert seen == [0, 1, 2, 3]


def test_a_cancelled_timer_is_not_called_and_not_pending() -> None:
    clock = Clock()
    seen: list[int] = []
    first = clock.call_later(1, seen.append, 1)
    second = clock.call_later(2, seen.append, 2)

    first.cancel()

    assert clock.pending == [second]
    clock.advance(5)
    assert seen == [2]
    assert clock.pending == []


def test_ready_calls_run_in_the_order_of_asking_before_what_was_written_leaves() -> None:
    clock = Clock()
    seen: list[str] = []
    clock.flush_later(lambda: seen.append("flush"))
    clock.call_soon(seen.append, "first")
    clock.call_soon(seen.append, "second")

    clock.pump()

    assert seen == ["first", "second", "flush"]


def test_calls_run_in_the_context_they_were_asked_for_in() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    clock = Clock()
    seen: list[str] = []
    clock.call_soon(lambda: seen.append(variable.get()))
    token = variable.set("some")
    clock.call_later(1, lambda: seen.append(variable.get()))
    clock.advance(1)
    variable.reset(token)

    assert seen == ["none", "some"]


def test_what_a_callback_raises_reaches_the_test() -> None:
    clock = Clock()
    seen: list[int] = []

    def fail() -> None:
        raise LookupError("gone")

    clock.call_soon(fail)
    clock.call_soon(seen.append, 1)

    with pytest.raises(LookupError, match="gone"):
        clock.pump()
    assert seen == [1]
    clock.keep_errors = True
    clock.call_soon(fail)
    clock.pump()
    assert [str(error) for error in clock.errors] == ["gone"]


def test_work_that_never_ends_is_an_error_and_no_hang() -> None:
    clock = Clock()

    def again() -> None:
        clock.call_soon(again)

    again()
    with pytest.raises(ReactorError, match="still busy"):
        clock.pump()


def test_turns_never_nest() -> None:
    clock = Clock()
    clock.call_soon(clock.pump)
    clock.call_soon(lambda: None)

    with pytest.raises(ReactorError, match="turns already"):
        clock.pump()


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError):
        Clock().advance(-1)


def test_run_until_gives_the_value_or_error_of_a_deferred() -> None:
    clock = Clock()
    good: Deferred[int] = Deferred()
    bad: Deferred[int] = Deferred()
    clock.call_later(30, good.callback, 5)
    clock.call_later(60, bad.errback, KeyError("x"))

    assert clock.run_until(good) == 5
    assert clock.time() == 30
    with pytest.raises(KeyError):
        clock.run_until(bad)


def test_run_until_stops_as_soon_as_a_condition_holds() -> None:
    clock = Clock()
    seen: list[int] = []
    for second in range(1, 10):
        clock.call_later(second, seen.append, second)

    clock.run_until(lambda: 3 in seen)

    assert seen == [1, 2, 3]
    assert clock.time() == 3


@pytest.mark.parametrize("timers", [[], [99.0]])
def test_run_until_gives_up_when_nothing_can_bring_it_about(timers: list[float]) -> None:
    clock = Clock()
    for seconds in timers:
        clock.call_later(seconds, id, 0)

    with pytest.raises(TimeoutError):
        clock.run_until(Deferred[None](), limit=50)


def test_coroutines_run_on_virtual_time() -> None:
    clock = Clock()

    async def main(clock: Clock) -> float:
        begun = clock.time()
        await asyncio.sleep(3600)
        fired: Deferred[int] = Deferred()
        clock.call_later(5, fired.callback, 3)
        assert await fired == 3
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(50)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1))
            group.create_task(asyncio.sleep(9))
        return clock.time() - begun

    assert clock.run(main) == 3600 + 5 + 2 + 9
    clock.close()


def test_what_a_coroutine_raises_is_raised_by_run() -> None:
    clock = Clock()

    async def main(clock: Clock) -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        clock.run(main)


def test_close_cancels_the_coroutines_that_are_left() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("cancelled")

    with Clock() as clock:
        clock.call_soon(Deferred.from_coroutine, wait())
        clock.pump()
        assert ended == []
    assert ended == ["cancelled"]


def test_the_clock_is_the_current_reactor_only_while_it_turns() -> None:
    clock = Clock()
    seen: list[object] = []
    clock.call_soon(lambda: seen.append(current_reactor()))

    clock.pump()

    assert seen == [clock]
    with pytest.raises(ReactorError):
        current_reactor()
