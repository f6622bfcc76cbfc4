"""gather and race: order, first failure, cancelling, what nobody took."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
from typing import Any, assert_type, cast

import pytest

from sennit.core.deferred import Deferred, Outcome, fail, gather, race, succeed


def error_of(deferred: Deferred[Any]) -> BaseException | None:
    outcome = deferred.outcome
    return None if outcome is None else outcome.error


def test_gather_gives_the_values_in_the_order_of_its_arguments() -> None:
    one: Deferred[int] = Deferred()
    two: Deferred[str] = Deferred()
    both = gather(one, two)
    assert_type(both, Deferred[tuple[int, str]])
    two.callback("b")
    assert both.outcome is None
    one.callback(1)
    assert both.outcome == Outcome((1, "b"))
    assert gather(*[succeed(n) for n in range(9)]).outcome == Outcome(tuple(range(9)))


def test_gather_of_nothing_is_an_empty_tuple() -> None:
    nothing: list[Deferred[int]] = []
    assert gather(*nothing).outcome == Outcome(())


def test_gather_takes_nothing_away_from_its_members() -> None:
    one: Deferred[int] = Deferred()
    result = gather(one, one, succeed(2))
    one.add_callback(lambda n: n * 10)
    one.callback(1)
    assert result.outcome == Outcome((1, 1, 2))
    assert one.outcome == Outcome(10)


def test_gather_fails_with_the_first_error_and_cancels_the_others() -> None:
    stopped: list[object] = []
    slow: Deferred[int] = Deferred(stopped.append)
    bad: Deferred[int] = Deferred()
    result = gather(slow, bad)
    error = ValueError()
    bad.errback(error)
    assert stopped == [slow]
    assert error_of(result) is error


def test_gather_spares_a_member_that_others_wait_for() -> None:
    shared: Deferred[int] = Deferred()
    other = succeed(None).add_callback(lambda _: shared)
    result = gather(shared, fail(ValueError()))
    assert isinstance(error_of(result), ValueError)
    shared.callback(1)
    assert other.outcome == Outcome(1)


def test_a_second_error_in_gather_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def canceller(d: Deferred[int]) -> None:
        d.errback(KeyError("second"))

    slow: Deferred[int] = Deferred(canceller)
    result = gather(slow, fail(ValueError("first")))
    assert isinstance(error_of(result), ValueError)
    assert len(caplog.records) == 1
    assert "KeyError: 'second'" in caplog.text


def test_gather_with_outcomes_lets_each_end_as_it_will() -> None:
    error = ValueError()
    slow: Deferred[int] = Deferred()
    result = gather(slow, fail(error), return_outcomes=True)
    assert result.outcome is None
    slow.callback(1)
    outcome = result.outcome
    assert outcome is not None
    assert outcome.unwrap() == (Outcome(1), Outcome(None, error))


@pytest.mark.parametrize("outcomes", [False, True])
def test_cancelling_gather_cancels_its_members(outcomes: bool) -> None:
    members: list[Deferred[int]] = [Deferred(), Deferred()]
    result: Deferred[Any]
    if outcomes:
        result = gather(*members, return_outcomes=True)
    else:
        result = gather(*members)
    result.cancel()
    assert all(isinstance(error_of(d), asyncio.CancelledError) for d in members)
    assert isinstance(error_of(result), asyncio.CancelledError)


def test_gather_and_race_take_coroutines_and_wait_for_their_clean_up() -> None:
    cleaned: list[int] = []

    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def endless() -> int:
        try:
            return await Deferred[int]()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    async def broken() -> int:
        await asyncio.sleep(0)
        raise ValueError

    async def main() -> None:
        assert await gather(work(1), work(2), succeed(3)) == (1, 2, 3)
        with pytest.raises(ValueError):
            await gather(endless(), broken())
        assert cleaned == [1]
        assert await race(endless(), work(5)) == (1, 5)

    asyncio.run(main())


def test_race_gives_the_first_success_and_cancels_the_others() -> None:
    stopped: list[object] = []
    slow: Deferred[str] = Deferred(stopped.append)
    early: Deferred[str] = Deferred()
    result = race(slow, fail(ValueError()), early)
    assert result.outcome is None
    early.callback("won")
    assert result.outcome == Outcome((2, "won"))
    assert stopped == [slow]


def test_race_fails_with_all_errors_when_nobody_wins() -> None:
    late: Deferred[int] = Deferred()
    result = race(late, fail(ValueError("b")))
    late.errback(KeyError("a"))
    error = error_of(result)
    assert isinstance(error, ExceptionGroup)
    members: tuple[object, ...] = cast("ExceptionGroup[Exception]", error).exceptions
    assert [type(each) for each in members] == [KeyError, ValueError]


def test_cancelling_race_cancels_all() -> None:
    members: list[Deferred[int]] = [Deferred(), Deferred()]
    result = race(*members)
    result.cancel()
    assert isinstance(error_of(result), asyncio.CancelledError)
    assert all(d.fired for d in members)


def test_race_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        race()


def test_the_losers_errors_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        result = race(fail(ValueError()), succeed(1), fail(KeyError()))
        assert result.outcome == Outcome((1, 1))
        del result
        gc.collect()
    assert not caplog.records


def test_each_module_can_be_imported_first() -> None:
    for name in ("_combine", "_chain", "_waiting", "_outcome", "deferred"):
        subprocess.run([sys.executable, "-c", f"import sennit.core.{name}"], check=True, timeout=60)
