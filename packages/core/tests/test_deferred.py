"""The chain of a Deferred: order, sides, waiting, cancelling, contexts, what is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, assert_type

import pytest

from sennit.core import deferred as module
from sennit.core.deferred import Deferred, Outcome, fail, maybe_deferred, set_debug, shield, succeed
from sennit.core.errors import AlreadyFiredError

T = TypeVar("T")
Lost = list[logging.LogRecord]


@pytest.fixture
def lost(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Lost]]:
    """Return what has been logged as lost so far."""

    def records() -> Lost:
        return [record for record in caplog.records if record.name == "sennit"]

    with caplog.at_level(logging.ERROR, logger="sennit"):
        yield records


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the collector off, so that only reference counts free anything."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def give(what: T) -> Callable[[object], T]:
    """Return a callback that returns this."""
    return lambda _: what


class Token:
    """Something a weak reference can watch."""


class ManualTimer:
    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn = fn
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """A clock whose timers fire when the test says so."""

    def __init__(self) -> None:
        self.timers: list[ManualTimer] = []

    def call_later(self, delay: float, fn: Callable[..., object], /, *args: object) -> ManualTimer:
        timer = ManualTimer(lambda: fn(*args))
        self.timers.append(timer)
        return timer


def error_of(deferred: Deferred[Any]) -> BaseException | None:
    outcome = deferred.outcome
    return None if outcome is None else outcome.error


# -- results pass along the chain


def test_each_callback_gets_what_the_one_before_returned() -> None:
    d: Deferred[int] = Deferred()
    end: object = d.add_callback(lambda n: n + 1).add_callback(str).add_callback(str.__add__, "!")
    assert end is d
    d.callback(1)
    assert d.outcome == Outcome("2!")


def test_arguments_and_keywords_given_with_a_callback_reach_it() -> None:
    def join(value: int, left: str, *, right: str) -> str:
        return f"{left}{value}{right}"

    assert succeed(1).add_callback(join, "<", right=">").outcome == Outcome("<1>")
    d: Deferred[int] = Deferred()
    d.add_callback(join, "<", right=">")
    d.callback(2)
    assert d.outcome == Outcome("<2>")


def test_a_callback_added_after_firing_runs_at_once() -> None:
    seen: list[int] = []
    d = succeed(3)
    d.add_callback(seen.append)
    assert seen == [3]


def test_raising_moves_to_the_error_side_and_returning_moves_back() -> None:
    def skipped(value: object) -> str:
        pytest.fail("skipped")

    d: Deferred[int] = Deferred()
    d.add_callback(lambda n: 1 // n).add_callback(skipped).add_errback(
        lambda error: type(error).__name__
    ).add_callback(str.lower)
    d.callback(0)
    assert d.outcome == Outcome("zerodivisionerror")


@pytest.mark.parametrize("late", [False, True])
def test_an_errback_that_returns_the_very_exception_stays_on_the_error_side(late: bool) -> None:
    error = ValueError("x")
    logged: list[BaseException] = []

    def log(exc: BaseException) -> BaseException:
        logged.append(exc)
        return exc

    d: Deferred[object] = Deferred()
    if late:
        d.errback(error)
    d.add_errback(log).add_callback(lambda _: pytest.fail("value side")).add_errback(log)
    if not late:
        d.errback(error)
    assert logged == [error, error]
    assert error_of(d) is error


def test_an_errback_that_returns_another_exception_returns_a_value() -> None:
    other = KeyError()
    d: Deferred[object] = fail(ValueError())
    d.add_errback(lambda _: other)
    assert d.outcome == Outcome(other)


def test_an_error_raised_by_an_errback_remembers_the_one_it_arose_from() -> None:
    first = ValueError("first")

    def fail_too(error: BaseException) -> None:
        raise KeyError("second")

    d: Deferred[object] = Deferred()
    d.add_errback(fail_too)
    d.errback(first)
    error = error_of(d)
    assert isinstance(error, KeyError)
    assert error.__context__ is first


def test_an_errback_that_raises_the_cause_closes_no_ring_of_contexts() -> None:
    inner = ValueError()
    outer = KeyError()
    outer.__context__ = inner

    def unwrap(error: BaseException) -> None:
        raise inner

    d: Deferred[object] = Deferred()
    d.add_errback(unwrap)
    d.errback(outer)
    assert error_of(d) is inner
    assert inner.__context__ is None


def test_add_callbacks_calls_one_of_the_two_and_never_the_errback_for_its_own_callback() -> None:
    def boom(value: object) -> object:
        raise KeyError

    d: Deferred[object] = succeed(1)
    d.add_callbacks(boom, lambda error: pytest.fail("saw its own callback's error"))
    assert isinstance(error_of(d), KeyError)
    e: Deferred[object] = fail(ValueError())
    e.add_callbacks(boom, lambda error: "healed")
    assert e.outcome == Outcome("healed")


def tell(error: Exception, tag: str) -> tuple[str, str]:
    return (tag, str(error))


def test_catch_takes_only_the_types_it_names() -> None:
    d: Deferred[object] = Deferred()
    d.catch(KeyError, lambda e: pytest.fail("other type"))
    d.catch((TypeError, ValueError), tell, "caught")
    d.errback(ValueError("v"))
    assert d.outcome == Outcome(("caught", "v"))
    assert succeed(1).catch(ValueError, lambda e: 2).outcome == Outcome(1)


def test_catch_of_no_types_takes_nothing() -> None:
    d: Deferred[object] = fail(ValueError())
    d.catch((), lambda e: 1)
    assert isinstance(error_of(d), ValueError)


@pytest.mark.parametrize("types", [int, "ValueError", (ValueError, 3)])
def test_catch_refuses_what_is_no_exception_class(types: object) -> None:
    d: Deferred[object] = Deferred()
    with pytest.raises(TypeError, match="exception classes"):
        wrong: Any = types
        d.catch(wrong, print)


def test_add_finally_is_called_on_both_sides_and_the_result_passes() -> None:
    calls: list[str] = []
    assert succeed(1).add_finally(lambda: calls.append("value")).outcome == Outcome(1)
    error = ValueError()
    d: Deferred[object] = Deferred()
    d.add_finally(lambda: calls.append("error"))
    d.errback(error)
    assert calls == ["value", "error"]
    assert error_of(d) is error


def test_add_finally_waits_for_what_it_returns_and_keeps_the_result() -> None:
    for ok in (True, False):
        wait: Deferred[str] = Deferred()
        d: Deferred[object] = Deferred()
        d.add_finally(lambda wait=wait: wait)  # type: ignore[misc]
        error = ValueError()
        if ok:
            d.callback(1)
        else:
            d.errback(error)
        assert d.outcome is None
        wait.callback("ignored")
        assert d.outcome == (Outcome(1) if ok else Outcome(None, error))


def test_what_add_finally_raises_takes_the_place_of_the_result() -> None:
    def boom() -> None:
        raise KeyError

    d = succeed(1).add_finally(boom)
    assert isinstance(error_of(d), KeyError)
    wait: Deferred[str] = Deferred()
    e = succeed(1).add_finally(lambda: wait)
    wait.errback(TypeError())
    assert isinstance(error_of(e), TypeError)


def test_callbacks_added_while_one_runs_run_in_the_order_they_were_added() -> None:
    calls: list[int] = []
    d: Deferred[int] = Deferred()

    def first(value: int) -> None:
        calls.append(1)
        d.add_callback(lambda _: calls.append(3))
        d.add_callback(second)

    def second(value: object) -> None:
        d.add_callback(lambda _: calls.append(4))

    d.add_callback(first)
    d.add_callback(lambda _: calls.append(2))
    d.callback(0)
    assert calls == [1, 2, 3, 4]


# -- firing once


def test_firing_twice_raises() -> None:
    d = succeed(1)
    with pytest.raises(AlreadyFiredError):
        d.callback(1)
    with pytest.raises(AlreadyFiredError):
        d.errback(ValueError())
    assert d.fired
    assert d.called
    assert d.outcome == Outcome(1)


def test_firing_with_a_deferred_is_refused_and_leaves_it_unfired() -> None:
    d: Deferred[object] = Deferred()
    with pytest.raises(TypeError, match="return it from a callback"):
        d.callback(Deferred[int]())
    assert not d.fired


def test_errback_refuses_what_is_no_exception() -> None:
    d: Deferred[object] = Deferred()
    with pytest.raises(TypeError, match="exception"):
        wrong: Any = "text"
        d.errback(wrong)
    assert not d.fired


def test_the_outcome_is_none_until_the_chain_is_at_rest() -> None:
    inner: Deferred[int] = Deferred()
    d: Deferred[object] = Deferred()
    assert d.outcome is None
    d.add_callback(lambda _: inner)
    d.callback(None)
    assert d.fired
    assert d.outcome is None
    inner.callback(4)
    assert d.outcome == Outcome(4)


def test_an_outcome_unwraps_to_its_value_or_raises_its_error() -> None:
    assert Outcome(3).unwrap() == 3
    assert Outcome(3).ok
    error = ValueError()
    bad: Outcome[int] = Outcome(None, error)
    with pytest.raises(ValueError, match=r"^$") as caught:
        bad.unwrap()
    assert caught.value is error
    assert not bad.ok
    assert bad != Outcome(None)
    assert bad == Outcome(None, error)
    assert hash(bad) == hash(Outcome[int](None, error))
    assert repr(bad) == "Outcome(error=ValueError())"


# -- waiting for another Deferred


def test_a_chain_waits_for_the_deferred_a_callback_returns() -> None:
    inner: Deferred[int] = Deferred()
    d: Deferred[str] = Deferred()
    waiting = d.add_callback(give(inner)).add_callback(lambda n: n * 2)
    assert_type(waiting, Deferred[int])
    d.callback("go")
    assert waiting.outcome is None
    inner.callback(21)
    assert waiting.outcome == Outcome(42)


def test_waiting_takes_nothing_away_from_what_is_waited_for() -> None:
    inner: Deferred[int] = Deferred()
    outers = [succeed(None).add_callback(lambda _: inner) for _ in range(3)]
    inner.add_callback(lambda n: n + 1)
    late = Deferred[None]()
    inner.callback(1)
    late.callback(None)
    assert [d.outcome for d in outers] == [Outcome(1)] * 3
    assert inner.outcome == Outcome(2)
    assert late.add_callback(lambda _: inner).outcome == Outcome(2)


def test_an_error_of_the_deferred_waited_for_is_the_chains_error() -> None:
    inner: Deferred[int] = Deferred()
    d: Deferred[object] = succeed(None).add_callback(lambda _: inner)
    error = ValueError()
    inner.errback(error)
    assert error_of(d) is error


def test_a_callback_that_returns_its_own_deferred_fails_clearly() -> None:
    d: Deferred[object] = Deferred()
    d.add_callback(lambda _: d)
    d.callback(1)
    error = error_of(d)
    assert isinstance(error, TypeError)
    assert "the Deferred that called it" in str(error)


def test_an_errback_may_return_a_deferred() -> None:
    inner: Deferred[int] = Deferred()
    d: Deferred[object] = Deferred()
    d.add_errback(lambda _: inner)
    d.errback(ValueError())
    inner.callback(1)
    assert d.outcome == Outcome(1)


def test_who_waits_sees_the_result_as_it_is_at_its_place_in_the_chain() -> None:
    inner: Deferred[int] = Deferred()
    before: Deferred[int] = succeed(None).add_callback(lambda _: inner)
    inner.add_callback(lambda n: n * 10)
    after: Deferred[int] = succeed(None).add_callback(lambda _: inner)
    inner.callback(1)
    assert (before.outcome, after.outcome) == (Outcome(1), Outcome(10))


# -- length and depth (HARDENING core-22)


def test_a_million_callbacks_unwind_in_linear_time() -> None:
    """HARDENING core-22."""

    def run(count: int) -> float:
        d: Deferred[int] = Deferred()
        add = d.add_callback
        for _ in range(count):
            add(int.__invert__)
        start = time.process_time()
        d.callback(5)
        spent = time.process_time() - start
        assert d.outcome == Outcome(5)
        return spent

    small = min(run(50_000) for _ in range(3))
    assert run(1_000_000) < 20 * small * 4


def test_a_hundred_thousand_fired_deferreds_chained_through_callbacks() -> None:
    """HARDENING core-22: each returns the next, all have fired."""
    count = 100_000
    d: Deferred[int] = succeed(0)
    for _ in range(count):
        following = succeed(1)
        following.add_callback(give(d))
        d = following
    assert d.outcome == Outcome(0)


def link_up(chain: list[Deferred[str]]) -> None:
    """Make each wait for the next, and fire all but the last, the outermost first."""
    for outer, inner in itertools.pairwise(chain):
        outer.add_callback(give(inner))
    for outer in chain[:-1]:
        outer.callback("")


def test_a_hundred_thousand_deferreds_each_waiting_for_the_next() -> None:
    """HARDENING core-22: built from the outside in, fired at the inner end."""
    chain: list[Deferred[str]] = [Deferred() for _ in range(100_001)]
    link_up(chain)
    assert chain[0].outcome is None
    chain[-1].callback("end")
    assert all(d.outcome == Outcome("end") for d in chain)


def test_a_deep_chain_is_cancelled_and_freed_without_recursion() -> None:
    """HARDENING core-22."""
    chain: list[Deferred[str]] = [Deferred() for _ in range(100_001)]
    link_up(chain)
    outermost = chain[0]
    del chain
    outermost.cancel()
    assert isinstance(error_of(outermost), asyncio.CancelledError)


def test_a_deep_chain_that_never_fires_is_freed_without_recursion() -> None:
    chain: list[Deferred[str]] = [Deferred() for _ in range(100_001)]
    link_up(chain)
    watch = weakref.ref(chain[0])
    del chain
    gc.collect()
    assert watch() is None


def test_each_of_many_callbacks_returning_a_fresh_deferred_costs_the_same() -> None:
    """A pause in the middle of a long chain does not copy what is left of it."""

    def run(count: int) -> float:
        inner: list[Deferred[int]] = []

        def pause(_: int) -> Deferred[int]:
            inner.append(Deferred())
            return inner[-1]

        d: Deferred[int] = Deferred()
        for _ in range(count):
            d.add_callback(pause)
        start = time.process_time()
        d.callback(0)
        for number in range(count):
            inner[number].callback(number)
        spent = time.process_time() - start
        assert d.outcome == Outcome(count - 1)
        return spent

    small = min(run(2_000) for _ in range(3))
    assert run(40_000) < 20 * small * 4


def test_a_chain_that_prolongs_itself_does_not_grow() -> None:
    d: Deferred[int] = Deferred()

    def again(n: int) -> int:
        if n:
            d.add_callback(again)
        return n - 1

    d.add_callback(again)
    d.callback(100_000)
    assert d.outcome == Outcome(-1)


def test_a_hundred_thousand_cancels_inside_callbacks() -> None:
    """HARDENING core-22: cancel inside a callback, without recursion."""
    count = 100_000
    d: Deferred[object] = Deferred()

    def cancel_and_wait(_: object) -> Deferred[object]:
        d.cancel()
        return Deferred()

    for _ in range(count):
        d.add_callback(cancel_and_wait)
        d.add_errback(lambda error: None)
    d.callback(None)
    assert d.outcome == Outcome(None)


# -- cancelling


def test_cancel_without_a_canceller_fails_with_asyncios_cancelled_error() -> None:
    d: Deferred[object] = Deferred()
    d.cancel()
    assert isinstance(error_of(d), asyncio.CancelledError)


def test_cancel_calls_the_canceller_which_may_fire_it() -> None:
    d: Deferred[str] = Deferred(lambda d: d.callback("partial"))
    d.cancel()
    assert d.outcome == Outcome("partial")


def test_a_canceller_that_does_not_fire_leaves_it_to_cancelled_error() -> None:
    called: list[object] = []
    d: Deferred[object] = Deferred(called.append)
    d.cancel()
    assert called == [d]
    assert isinstance(error_of(d), asyncio.CancelledError)


def test_a_canceller_that_raises_resolves_it_with_that_error() -> None:
    def canceller(d: Deferred[object]) -> None:
        raise KeyError("cannot")

    d: Deferred[object] = Deferred(canceller)
    d.cancel()
    assert isinstance(error_of(d), KeyError)


def test_an_error_of_a_canceller_after_it_fired_is_not_lost(lost: Callable[[], Lost]) -> None:
    def canceller(d: Deferred[int]) -> None:
        d.callback(1)
        raise KeyError("afterwards")

    d: Deferred[int] = Deferred(canceller)
    d.cancel()
    assert d.outcome == Outcome(1)
    assert len(lost()) == 1


def test_a_canceller_that_cancels_again_does_not_recurse() -> None:
    d: Deferred[object] = Deferred(lambda d: d.cancel())
    d.cancel()
    assert isinstance(error_of(d), asyncio.CancelledError)


def test_one_late_result_after_a_cancel_is_dropped_and_a_second_is_refused() -> None:
    d: Deferred[int] = Deferred()
    d.cancel()
    d.callback(1)
    assert isinstance(error_of(d), asyncio.CancelledError)
    with pytest.raises(AlreadyFiredError):
        d.callback(2)


def test_cancel_of_one_that_is_at_rest_does_nothing() -> None:
    d = succeed(1)
    d.cancel()
    assert d.outcome == Outcome(1)
    called: list[object] = []
    e: Deferred[int] = Deferred(called.append)
    e.callback(1)
    e.cancel()
    assert not called


def test_cancel_reaches_through_to_the_deferred_waited_for() -> None:
    inner: Deferred[str] = Deferred(lambda d: d.callback("stopped"))
    d: Deferred[object] = succeed(None)
    d.add_callback(lambda _: succeed(None).add_callback(lambda _: inner))
    d.cancel()
    assert inner.outcome == Outcome("stopped")
    assert d.outcome == Outcome("stopped")


def test_cancelling_one_chain_that_waits_spares_what_others_wait_for() -> None:
    inner: Deferred[int] = Deferred()
    one: Deferred[object] = succeed(None).add_callback(lambda _: inner)
    two: Deferred[object] = succeed(None).add_callback(lambda _: inner)
    one.cancel()
    assert isinstance(error_of(one), asyncio.CancelledError)
    assert not inner.fired
    two.cancel()
    assert isinstance(error_of(inner), asyncio.CancelledError)
    assert isinstance(error_of(two), asyncio.CancelledError)


def test_cancel_inside_a_callback_cancels_what_the_chain_waits_for_next() -> None:
    inner: Deferred[int] = Deferred()
    d: Deferred[object] = Deferred()

    def give_up(_: object) -> Deferred[int]:
        d.cancel()
        return inner

    d.add_callback(give_up)
    d.callback(None)
    assert isinstance(error_of(inner), asyncio.CancelledError)
    assert isinstance(error_of(d), asyncio.CancelledError)


def test_cancel_inside_a_callback_spares_what_others_wait_for() -> None:
    inner: Deferred[int] = Deferred()
    other: Deferred[int] = succeed(None).add_callback(lambda _: inner)
    d: Deferred[object] = Deferred()

    def give_up(_: object) -> Deferred[int]:
        d.cancel()
        return inner

    d.add_callback(give_up)
    d.callback(None)
    assert isinstance(error_of(d), asyncio.CancelledError)
    inner.callback(3)
    assert other.outcome == Outcome(3)


def test_cancel_of_one_whose_turn_is_next_cancels_what_it_waits_for_next() -> None:
    """What both waited for has fired; one of them cancels the other, whose turn is to come."""
    source: Deferred[None] = Deferred()
    late: Deferred[None] = Deferred()
    first = succeed(None).add_callback(lambda _: source)
    second = succeed(None).add_callback(lambda _: source).add_callback(lambda _: late)
    first.add_callback(lambda _: second.cancel())

    source.callback(None)

    for each in (late, second):
        assert each.outcome is not None
        assert isinstance(each.outcome.error, asyncio.CancelledError)
    assert first.outcome == Outcome(None)


def test_cancel_inside_the_last_callback_is_forgotten() -> None:
    for d in (Deferred[int](), succeed(0)):
        d.add_callback(lambda n, d=d: d.cancel())  # type: ignore[misc]
        if not d.fired:
            d.callback(0)
        assert d.outcome == Outcome(None)
        inner: Deferred[int] = Deferred()
        d.add_callback(give(inner))
        assert not inner.fired


def test_cancel_opens_a_ring_of_deferreds_that_wait_for_each_other() -> None:
    for size in (2, 3, 4, 7):
        ring: list[Deferred[object]] = [Deferred() for _ in range(size)]
        for number, d in enumerate(ring):
            d.add_callback(give(ring[(number + 1) % size]))
        for d in ring:
            d.callback(None)
        ring[0].cancel()
        assert all(isinstance(error_of(d), asyncio.CancelledError) for d in ring), size


def test_shield_keeps_cancelling_from_what_is_behind_it() -> None:
    inner: Deferred[int] = Deferred()
    first, second = shield(inner), shield(inner)
    first.cancel()
    assert isinstance(error_of(first), asyncio.CancelledError)
    assert not second.fired
    inner.callback(1)
    assert second.outcome == Outcome(1)
    assert inner.outcome == Outcome(1)
    assert shield(inner).outcome == Outcome(1)


def test_a_shield_passes_errors_and_counts_as_having_taken_them(
    lost: Callable[[], Lost],
) -> None:
    inner: Deferred[object] = Deferred()
    covered = shield(inner)
    error = ValueError()
    inner.errback(error)
    assert error_of(covered) is error
    del inner, covered
    gc.collect()
    assert not lost()


def test_waiters_that_come_and_go_leave_nothing_behind() -> None:
    """A Deferred that lives as long as the program, awaited with a time-out again and again."""
    forever: Deferred[int] = Deferred()
    before = shield(forever)
    for _ in range(1_000):
        now = shield(forever)
        before.cancel()
        before = now
    chain = forever._chain
    assert chain is not None
    assert len(chain) < 64
    forever.callback(1)
    assert before.outcome == Outcome(1)


# -- time-outs


def test_timeout_fails_with_timeout_error_after_cancelling() -> None:
    clock = ManualClock()
    cancelled: list[object] = []
    d: Deferred[object] = Deferred(cancelled.append)
    assert d.timeout(3, clock) is d
    clock.timers[0].fn()
    assert cancelled == [d]
    error = error_of(d)
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, asyncio.CancelledError)


def test_timeout_is_called_off_when_the_result_comes_first() -> None:
    clock = ManualClock()
    d: Deferred[int] = Deferred()
    d.timeout(3, clock)
    d.callback(1)
    assert clock.timers[0].cancelled
    clock.timers[0].fn()
    assert d.outcome == Outcome(1)
    e: Deferred[object] = Deferred()
    e.timeout(3, clock)
    e.errback(ValueError())
    assert isinstance(error_of(e), ValueError)
    assert clock.timers[1].cancelled


def test_timeout_leaves_a_cancel_by_others_a_cancel() -> None:
    clock = ManualClock()
    d: Deferred[object] = Deferred()
    d.timeout(3, clock)
    d.cancel()
    assert isinstance(error_of(d), asyncio.CancelledError)
    assert clock.timers[0].cancelled


def test_timeout_covers_only_what_was_in_the_chain_before() -> None:
    clock = ManualClock()
    d: Deferred[object] = Deferred()
    d.timeout(3, clock)
    later: Deferred[object] = Deferred()
    d.add_callback(lambda _: later)
    d.callback(None)
    assert clock.timers[0].cancelled
    assert not later.fired


def test_timeout_of_one_that_is_at_rest_sets_no_timer() -> None:
    clock = ManualClock()
    succeed(1).timeout(1, clock)
    assert not clock.timers


# -- errors nobody took


def test_an_error_nobody_took_is_logged_when_the_deferred_goes(lost: Callable[[], Lost]) -> None:
    d: Deferred[object] = fail(ValueError("unseen"))
    assert not lost()
    del d
    (record,) = lost()
    assert record.levelno == logging.ERROR
    assert "Nobody handled" in record.getMessage()
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "ValueError('unseen')"


def test_an_error_raised_in_a_chain_is_logged_with_its_traceback(
    lost: Callable[[], Lost], caplog: pytest.LogCaptureFixture
) -> None:
    def explode(_: object) -> None:
        raise KeyError("in the chain")

    succeed(1).add_callback(explode)
    gc.collect()
    assert len(lost()) == 1
    assert "in explode" in caplog.text


def by_errback(d: Deferred[object]) -> None:
    d.add_errback(lambda e: None)


def by_looking(d: Deferred[object]) -> None:
    assert d.outcome is not None


def by_waiting(d: Deferred[object]) -> None:
    succeed(None).add_callback(lambda _: d).add_errback(lambda e: None)


def by_passing_on(d: Deferred[object]) -> None:
    d.add_errback(lambda e: e).add_errback(lambda e: None)


@pytest.mark.parametrize("take", [by_errback, by_looking, by_waiting, by_passing_on])
def test_an_error_that_was_taken_is_not_logged(
    take: Callable[[Deferred[object]], None], lost: Callable[[], Lost]
) -> None:
    d: Deferred[object] = fail(ValueError())
    take(d)
    del d
    gc.collect()
    assert not lost()


def test_an_error_passed_on_by_its_last_errback_is_still_logged(
    lost: Callable[[], Lost],
) -> None:
    fail(ValueError()).add_errback(lambda e: e)
    gc.collect()
    assert len(lost()) == 1


def test_a_new_error_after_a_taken_one_is_logged(lost: Callable[[], Lost]) -> None:
    def again(_: BaseException) -> None:
        raise KeyError

    d: Deferred[object] = fail(ValueError())
    assert d.outcome is not None
    d.add_errback(again)
    del d
    gc.collect()
    assert len(lost()) == 1


def test_a_cancellation_nobody_took_is_not_an_error(lost: Callable[[], Lost]) -> None:
    d: Deferred[object] = Deferred()
    d.cancel()
    del d
    gc.collect()
    assert not lost()


def test_debugging_says_where_a_lost_deferred_was_made(lost: Callable[[], Lost]) -> None:
    set_debug(True)
    try:
        d: Deferred[object] = fail(ValueError())
        del d
        with pytest.raises(AlreadyFiredError, match="test_debugging_says_where"):
            succeed(1).callback(2)
    finally:
        set_debug(False)
    (record,) = lost()
    assert "it was made at" in record.getMessage()
    assert "test_debugging_says_where_a_lost_deferred_was_made" in record.getMessage()
    assert 'deferred.py", line' not in record.getMessage().replace("test_deferred.py", "")


def test_an_error_lost_at_the_end_of_the_program_is_still_told() -> None:
    code = (
        "from sennit.core.deferred import fail\nimport sys\nkept = fail(ValueError('at the end'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "ValueError: at the end" in done.stderr


def test_keyboard_interrupt_reaches_the_caller_after_the_chain_was_told() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    seen: list[BaseException] = []
    d: Deferred[object] = Deferred()
    d.add_callback(interrupt).add_errback(seen.append)
    with pytest.raises(KeyboardInterrupt):
        d.callback(None)
    assert isinstance(seen[0], KeyboardInterrupt)
    assert d.outcome == Outcome(None)


# -- nothing is kept (with the collector off)


@pytest.mark.usefixtures("no_collector")
def test_success_leaves_no_cycle() -> None:
    token = Token()
    watch = weakref.ref(token)
    d: Deferred[Token] = Deferred(lambda d: None)
    inner: Deferred[Token] = Deferred()

    def begin(d: Deferred[Token], inner: Deferred[Token]) -> None:
        # The callbacks hold both Deferreds, whose chains hold the callbacks.
        d.add_callback(lambda t: inner).add_callback(lambda t: (t, d)[0])
        d.add_finally(lambda: [d, inner].clear())

    begin(d, inner)
    shielded = shield(d)
    d.callback(token)
    inner.callback(token)
    d_watch = weakref.ref(d)
    del token, d, inner, shielded
    assert watch() is None
    assert d_watch() is None


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("fired_first", [False, True])
def test_no_frame_is_kept_after_an_error_was_handled(fired_first: bool) -> None:
    watches: list[weakref.ref[Token]] = []

    def explode(_: object) -> None:
        token = Token()
        watches.append(weakref.ref(token))
        raise ValueError

    def run() -> Deferred[object]:
        d: Deferred[object] = Deferred()
        if fired_first:
            d.callback(None)
        d.add_callback(explode)
        d.add_errback(lambda error: None)
        if not fired_first:
            d.callback(None)
        return d

    d = run()
    assert [watch() for watch in watches] == [None]
    d_watch = weakref.ref(d)
    del d
    assert d_watch() is None


@pytest.mark.usefixtures("no_collector")
def test_no_frame_is_kept_after_an_error_went_through_several_deferreds() -> None:
    watches: list[weakref.ref[Token]] = []

    def explode(_: object) -> None:
        token = Token()
        watches.append(weakref.ref(token))
        raise ValueError

    def run() -> None:
        inner: Deferred[object] = Deferred()
        inner.add_callback(explode)
        outer = succeed(None).add_callback(lambda _: inner)
        outer.catch(ValueError, lambda error: None)
        inner.callback(None)
        inner.add_errback(lambda error: None)

    run()
    assert [watch() for watch in watches] == [None]


@pytest.mark.usefixtures("no_collector")
def test_a_cancelled_deferred_leaves_no_cycle() -> None:
    inner: Deferred[int] = Deferred()
    d = succeed(None).add_callback(give(inner))
    d.cancel()
    watches = [weakref.ref(d), weakref.ref(inner)]
    del d, inner
    assert [watch() for watch in watches] == [None, None]


def test_the_unwinding_does_not_show_in_tracebacks() -> None:
    def explode(_: object) -> None:
        raise ValueError

    d: Deferred[object] = succeed(1).add_callback(explode)
    error = error_of(d)
    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code.co_name == "explode"
    assert error.__traceback__.tb_next is None


# -- contexts

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def see(_: object = None) -> str:
    return variable.get()


def test_a_callback_runs_in_the_context_it_was_added_in() -> None:
    d: Deferred[object] = Deferred()
    seen: list[str] = []

    def add(name: str) -> None:
        variable.set(name)
        d.add_callback(lambda _: seen.append(variable.get()))

    contextvars.Context().run(add, "a")
    contextvars.Context().run(add, "b")
    contextvars.Context().run(d.callback, None)
    assert seen == ["a", "b"]


def test_what_is_set_up_without_variables_sees_none_when_fired_from_a_request() -> None:
    d: Deferred[object] = Deferred()
    seen: list[str] = []
    errors: list[str] = []
    finals: list[str] = []

    def see_with(value: object, more: str) -> None:
        seen.append(more + variable.get())

    def add() -> None:
        d.add_callback(lambda _: seen.append(variable.get()))
        d.add_callback(see_with, "with arguments ")
        d.add_finally(lambda: finals.append(variable.get()))
        d.add_callback(lambda _: 1 // 0)
        d.catch(ZeroDivisionError, lambda e: errors.append(variable.get()))

    def request() -> None:
        variable.set("request")
        d.callback(None)

    contextvars.Context().run(add)
    contextvars.Context().run(request)
    assert seen == ["unset", "with arguments unset"]
    assert errors == ["unset"]
    assert finals == ["unset"]


def test_a_callback_added_to_a_fired_deferred_runs_in_the_present_context() -> None:
    def request() -> Deferred[str]:
        variable.set("request")
        return succeed(None).add_callback(see)

    assert contextvars.Context().run(request).outcome == Outcome("request")


def test_an_empty_context_is_not_stored() -> None:
    d: Deferred[object] = Deferred()
    contextvars.Context().run(d.add_callback, see)
    assert d._chain == [(see, None, None)]


# -- maybe_deferred


def test_maybe_deferred_takes_a_value_a_deferred_and_an_error() -> None:
    assert maybe_deferred(int, "3").outcome == Outcome(3)
    inner: Deferred[int] = Deferred()
    assert maybe_deferred(lambda: inner) is inner
    d: Deferred[object] = maybe_deferred(int, "x")
    assert isinstance(error_of(d), ValueError)
    with pytest.raises(KeyboardInterrupt):
        maybe_deferred(_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt


# -- the module


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from sennit.core.deferred import Deferred, succeed\n"
        "d = Deferred(); d.add_callback(lambda v: succeed(v)).add_errback(print)\n"
        "d.callback(1); assert d.outcome.value == 1\n"
        "heavy = {'asyncio', 'OpenSSL', 'ssl', 'dataclasses', 'inspect', 'logging', 'zope',\n"
        "         'typing'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_each_public_name_is_there_and_a_misspelt_one_is_not() -> None:
    for name in module.__all__:
        assert getattr(module, name) is not None
    misspelt = "gahter"
    with pytest.raises(AttributeError, match=misspelt):
        getattr(module, misspelt)


def test_a_deferred_can_be_parametrised_and_weakly_referenced() -> None:
    d = Deferred[int]()
    assert weakref.ref(d)() is d
    assert not hasattr(d, "__dict__")


@pytest.mark.parametrize(
    ("deferred", "words"),
    [
        (Deferred[int](), "pending"),
        (succeed(3), "value=3"),
        (succeed(None).add_callback(lambda _: Deferred[int]()), "waiting for"),
    ],
)
def test_repr_says_the_state(deferred: Deferred[object], words: str) -> None:
    assert words in repr(deferred)
