"""Deferreds and asyncio: awaiting, futures, coroutines, on asyncio's loop, uvloop and our own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from sennit.core.deferred import Deferred, Outcome, fail, maybe_deferred, shield, succeed
from sennit.core.reactor.base import Reactor

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    module: Any = pytest.importorskip(name)
    factory: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return factory


@pytest.fixture(params=["asyncio", "uvloop", "sennit.core.reactor.eventloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine to its end on each kind of loop."""
    with asyncio.Runner(loop_factory=loop_factory(request.param)) as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 20))


class Token:
    """Something a weak reference can watch."""


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- awaiting


def test_awaiting_one_that_is_at_rest_does_not_yield() -> None:
    waiting = succeed(3).__await__()
    with pytest.raises(StopIteration) as stop:
        next(waiting)
    assert stop.value.value == 3
    with pytest.raises(KeyError):
        next(fail(KeyError()).__await__())


def test_awaiting_without_a_running_loop_says_so() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(Deferred[int]().__await__())


def test_a_task_awaits_value_and_error(run: Run[None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        d: Deferred[int] = Deferred()
        loop.call_soon(d.callback, 5)
        assert await d == 5
        e: Deferred[int] = Deferred()
        error = ValueError("x")
        loop.call_soon(e.errback, error)
        with pytest.raises(ValueError, match="x") as caught:
            await e
        assert caught.value is error

    run(main())


def test_awaiting_never_consumes(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await turns()
        d.callback(7)
        assert [await task for task in tasks] == [7, 7, 7]
        assert await d == 7
        assert d.add_callback(lambda n: n + 1).outcome == Outcome(8)

    run(main())


def test_the_firing_callback_resumes_the_task_at_once(run: Run[None]) -> None:
    """A loop callback that fires runs the Task inside that call, as it would a callback."""

    async def main() -> None:
        d: Deferred[str] = Deferred()
        order: list[str] = []

        async def wait() -> None:
            order.append(await d)

        def fire() -> None:
            d.callback("resumed")
            order.append("fire returns")

        task = asyncio.create_task(wait())
        await turns()
        asyncio.get_running_loop().call_soon(fire)
        await task
        assert order == ["resumed", "fire returns"]

    run(main())


def test_a_task_that_fires_another_goes_on_first(run: Run[None]) -> None:
    """Two Tasks never run inside each other."""

    async def main() -> None:
        d: Deferred[str] = Deferred()
        order: list[str] = []

        async def wait() -> None:
            order.append(await d)

        task = asyncio.create_task(wait())
        await turns()
        d.callback("resumed")
        order.append("firing task goes on")
        await task
        assert order == ["firing task goes on", "resumed"]

    run(main())


def test_a_task_can_be_woken_in_the_very_context_it_runs_in(run: Run[None]) -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        loop = asyncio.get_running_loop()
        task = loop.create_task(wait(), context=context)
        await turns()
        loop.call_soon(d.callback, 1, context=context)
        assert await task == 1

    run(main())


def test_a_task_that_waits_sees_its_own_variables(run: Run[None]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("v", default="unset")

    async def main() -> None:
        d: Deferred[None] = Deferred()

        async def wait() -> str:
            variable.set("task")
            await d
            return variable.get()

        task = asyncio.create_task(wait())
        await turns()

        def request() -> None:
            variable.set("request")
            d.callback(None)

        asyncio.get_running_loop().call_soon(request)
        assert await task == "task"
        assert variable.get() == "unset"

    run(main())


def test_firing_before_the_loop_runs_wakes_the_task_later() -> None:
    loop = asyncio.new_event_loop()
    try:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        task = loop.create_task(wait())
        loop.call_soon(loop.stop)
        loop.run_forever()
        d.callback(4)
        assert not task.done()
        assert loop.run_until_complete(task) == 4
    finally:
        loop.close()


def test_a_loop_closed_meanwhile_does_not_disturb_who_fires() -> None:
    loop = asyncio.new_event_loop()
    d: Deferred[int] = Deferred()

    async def wait() -> int:
        return await d

    task = loop.create_task(wait())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    seen: list[int] = []
    d.add_callback(seen.append)
    d.callback(1)
    assert seen == [1]
    # It can never end, and asyncio would say so: that is what this test is about.
    stranded: Any = task
    stranded._log_destroy_pending = False


def test_gather_wait_for_timeout_and_task_group_accept_a_deferred(run: Run[None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one: Deferred[int] = Deferred()
        two: Deferred[int] = Deferred()
        loop.call_soon(one.callback, 1)
        loop.call_soon(two.callback, 2)
        # typeshed says tuple, the result is a list.
        assert list(await asyncio.gather(one, two, one, succeed(3))) == [1, 2, 1, 3]
        never: Deferred[int] = Deferred()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never, 0)
        never = Deferred()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await never
        assert never.fired

        async def wait(d: Deferred[int]) -> int:
            return await d

        async with asyncio.TaskGroup() as group:
            task = group.create_task(wait(one))
        assert task.result() == 1
        assert not asyncio.isfuture(one)

    run(main())


def test_a_second_waiter_gets_the_traceback_of_the_failure_not_grown(run: Run[None]) -> None:
    def explode(_: object) -> None:
        raise ValueError

    async def main() -> None:
        d: Deferred[Any] = Deferred()
        d.add_callback(explode)
        d.add_errback(lambda e: e)

        async def wait() -> list[str]:
            try:
                await d
            except ValueError as error:
                return [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            return []

        tasks = [asyncio.create_task(wait()) for _ in range(2)]
        await turns()
        asyncio.get_running_loop().call_soon(d.callback, None)
        traces = [await task for task in tasks]
        traces += [await wait(), await wait()]
        assert traces == [["wait", "__await__", "explode"]] * 4

    run(main())


def test_an_awaited_error_counts_as_handled(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        d: Deferred[int] = Deferred()
        loop.call_soon(d.errback, ValueError())
        with pytest.raises(ValueError):
            await d
        with pytest.raises(KeyError):
            await fail(KeyError())

    with caplog.at_level(logging.ERROR):
        run(main())
        gc.collect()
    assert not caplog.records


# -- cancelling an await


def test_cancelling_the_sole_awaiter_cancels_the_deferred(run: Run[None]) -> None:
    async def main() -> None:
        stopped: list[object] = []
        d: Deferred[int] = Deferred(stopped.append)

        async def wait() -> int:
            return await d

        task = asyncio.create_task(wait())
        await turns()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stopped == [d]
        assert d.outcome is not None
        assert isinstance(d.outcome.error, asyncio.CancelledError)

    run(main())


def test_cancelling_one_awaiter_of_several_cancels_that_wait_only(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not d.fired
        d.callback(1)
        assert await second == 1

    run(main())


def test_cancelling_all_awaiters_at_once_cancels_the_deferred(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await turns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        assert d.fired

    run(main())


def test_a_chain_that_waits_too_keeps_the_deferred_from_a_cancelled_awaiter(
    run: Run[None],
) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()
        outer = succeed(None).add_callback(lambda _: d)

        async def wait() -> int:
            return await d

        task = asyncio.create_task(wait())
        await turns()
        task.cancel()
        await asyncio.wait([task])
        assert not d.fired
        d.callback(2)
        assert outer.outcome == Outcome(2)

    run(main())


def test_a_result_that_comes_between_cancel_and_wake_up_cancels_nothing(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred(lambda d: pytest.fail("it has a result"))

        async def wait() -> int:
            return await d

        task = asyncio.create_task(wait())
        await turns()
        task.cancel()
        d.callback(1)
        await asyncio.wait([task])
        assert task.cancelled()
        assert d.outcome == Outcome(1)
        assert d._waits == 0

    run(main())


def test_an_error_that_comes_between_cancel_and_wake_up_is_not_told_as_lost(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    """It comes too late, like any result after a cancel: who waited has left."""

    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        task = asyncio.create_task(wait())
        await turns()
        task.cancel()
        d.errback(ValueError("late"))
        await asyncio.wait([task])
        assert task.cancelled()

    with caplog.at_level(logging.ERROR):
        run(main())
        gc.collect()
    assert not caplog.records


def test_an_awaiter_may_survive_its_cancellation_and_await_again(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            try:
                await shield(d)
            except asyncio.CancelledError:
                return await d
            return -1

        task = asyncio.create_task(wait())
        await turns()
        task.cancel()
        await turns()
        d.callback(3)
        assert await task == 3

    run(main())


def test_a_coroutine_closed_while_it_waits_is_forgotten(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred(lambda d: pytest.fail("closing is not cancelling"))

        async def wait() -> int:
            return await d

        coroutine = wait()
        coroutine.send(None)
        assert d._waits == 1
        coroutine.close()
        assert d._waits == 0
        d.callback(1)

    run(main())


def test_a_coroutine_resumed_by_hand_without_a_result_is_told(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()

        async def wait() -> int:
            return await d

        coroutine = wait()
        coroutine.send(None)
        with pytest.raises(RuntimeError, match="before the Deferred"):
            coroutine.send(None)
        assert d._waits == 0

    run(main())


def test_many_tasks_wait_wake_and_wait_again(run: Run[None]) -> None:
    """A loop's spare future goes from Task to Task; no result may go astray."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def work(number: int) -> list[int]:
            got: list[int] = []
            for step in range(20):
                d: Deferred[int] = Deferred()
                loop.call_soon(d.callback, number * 100 + step)
                if (number + step) % 3 == 0:
                    d.add_callback(lambda value: value)
                if (number + step) % 5 == 0:
                    await asyncio.sleep(0)
                if (number + step) % 7 == 0:
                    got.append(await asyncio.wait_for(d, 5))
                else:
                    got.append(await d)
            return got

        results = await asyncio.gather(*[work(number) for number in range(50)])
        for number, got in enumerate(results):
            assert got == [number * 100 + step for step in range(20)]

    run(main())


def test_a_long_lived_deferred_awaited_with_time_outs_does_not_grow(run: Run[None]) -> None:
    async def main() -> None:
        forever: Deferred[None] = Deferred()

        async def wait() -> None:
            await forever

        keeper = asyncio.create_task(wait())
        for _ in range(300):
            task = asyncio.create_task(wait())
            await turns(1)
            task.cancel()
            await asyncio.wait([task])
        assert forever._chain is not None
        assert len(forever._chain) < 64
        forever.callback(None)
        await keeper

    run(main())


def test_keyboard_interrupt_in_an_awaiting_task_leaves_the_chain_whole() -> None:
    async def main(d: Deferred[int], seen: list[int]) -> None:
        async def wait() -> None:
            await d
            raise KeyboardInterrupt

        task = asyncio.create_task(wait())
        await turns()
        d.add_callback(seen.append)
        asyncio.get_running_loop().call_soon(d.callback, 1)
        await task

    d: Deferred[int] = Deferred()
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main(d, seen))
    assert seen == [1]


# -- nothing is kept (with the collector off)


def test_awaiting_leaves_no_cycle_and_no_frame(run: Run[None]) -> None:
    def explode(_: object) -> None:
        token = Token()
        watches.append(weakref.ref(token))
        raise ValueError

    def begin(error: bool) -> Deferred[Token]:
        d: Deferred[Token] = Deferred()
        token = Token()
        watches.append(weakref.ref(token))
        if error:
            d.add_callback(explode)
        asyncio.get_running_loop().call_soon(d.callback, token)
        return d

    async def main() -> None:
        await begin(False)
        try:
            await begin(True)
        except ValueError:
            pass
        try:
            await succeed(Token()).add_callback(explode)
        except ValueError:
            pass
        await turns()
        assert len(watches) == 4
        assert [watch() for watch in watches] == [None] * 4

    watches: list[weakref.ref[Token]] = []
    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


# -- futures


def test_as_future_gives_value_and_error(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()
        future = d.as_future()
        assert asyncio.isfuture(future)
        d.callback(3)
        assert await future == 3
        assert await succeed(4).as_future() == 4
        with pytest.raises(KeyError):
            await fail(KeyError()).as_future()
        with pytest.raises(RuntimeError, match="StopIteration"):
            await fail(StopIteration()).as_future()

    run(main())


def test_cancelling_a_future_of_a_deferred_cancels_it_or_only_that_wait(run: Run[None]) -> None:
    async def main() -> None:
        d: Deferred[int] = Deferred()
        first, second = d.as_future(), d.as_future()
        first.cancel()
        await turns()
        assert not d.fired
        second.cancel()
        await turns()
        assert d.fired
        e: Deferred[int] = Deferred()
        future = e.as_future()
        e.cancel()
        await turns()
        assert future.cancelled()

    run(main())


def test_from_future_follows_the_future_and_cancels_it(run: Run[None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        d = Deferred.from_future(future)
        loop.call_soon(future.set_result, 1)
        assert await d == 1
        future = loop.create_future()
        d = Deferred.from_future(future)
        future.set_exception(KeyError("k"))
        with pytest.raises(KeyError):
            await d
        future = loop.create_future()
        d = Deferred.from_future(future)
        d.cancel()
        assert future.cancelled()
        await turns()
        assert d.outcome is not None
        assert isinstance(d.outcome.error, asyncio.CancelledError)
        done: asyncio.Future[int] = loop.create_future()
        done.set_result(2)
        assert Deferred.from_future(done).outcome == Outcome(2)

    run(main())


# -- coroutines


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return n * 2


async def at_once(n: int) -> int:
    return n + 1


async def broken(n: int) -> int:
    await asyncio.sleep(0)
    raise ValueError(n)


def test_a_chain_waits_for_a_coroutine_future_or_awaitable(run: Run[None]) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return double(50).__await__()

    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result("f")
        assert await succeed(4).add_callback(double).add_callback(at_once) == 9
        assert await succeed(4).add_callback(lambda _: future) == "f"
        assert await succeed(4).add_callback(lambda _: Awaitable()) == 100
        d: Deferred[int] = Deferred()
        d.add_callback(double)
        d.callback(1)
        assert await d == 2
        assert await maybe_deferred(double, 8) == 16

    run(main())


def test_an_error_of_a_coroutine_is_the_chains_error(run: Run[None]) -> None:
    async def main() -> None:
        d = succeed(3).add_callback(broken).catch(ValueError, lambda e: e.args)
        assert await d == (3,)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager Tasks are of Python 3.12")
def test_a_coroutine_that_never_waits_costs_no_turn(run: Run[None]) -> None:
    async def main() -> None:
        assert Deferred.from_coroutine(at_once(1)).outcome == Outcome(2)
        assert succeed(1).add_callback(at_once).outcome == Outcome(2)

    run(main())


def test_cancelling_a_deferred_cancels_its_coroutine_and_waits_for_its_end(
    run: Run[None],
) -> None:
    async def main() -> None:
        steps: list[str] = []

        async def tidy() -> None:
            try:
                await Deferred[None]()
            finally:
                await asyncio.sleep(0)
                steps.append("tidied")

        d = Deferred.from_coroutine(tidy())
        await turns()
        d.cancel()
        assert d.outcome is None
        with pytest.raises(asyncio.CancelledError):
            await d
        assert steps == ["tidied"]

        async def stubborn() -> str:
            try:
                await Deferred[None]()
            except asyncio.CancelledError:
                return "stayed"
            return ""

        e = Deferred.from_coroutine(stubborn())
        await turns()
        e.cancel()
        assert await e == "stayed"

    run(main())


def test_the_deferred_holds_its_task(run: Run[None]) -> None:
    async def main() -> None:
        gate: Deferred[int] = Deferred()

        async def wait() -> int:
            return await gate

        d = Deferred.from_coroutine(wait())
        await turns()
        gc.collect()
        gate.callback(6)
        assert await d == 6

    run(main())


def test_a_callbacks_coroutine_brings_up_the_loop_of_a_plain_reactor() -> None:
    got: list[int] = []

    async def work(n: int) -> int:
        d: Deferred[int] = Deferred()
        asyncio.get_running_loop().call_soon(d.callback, n + 1)
        return await d

    def begin(reactor: Reactor) -> None:
        succeed(1).add_callback(work).add_callback(got.append).add_finally(reactor.stop)

    Reactor().run(begin)
    assert got == [2]


def test_a_coroutine_without_a_loop_fails_clearly_and_is_closed() -> None:
    d: Deferred[Any] = succeed(1).add_callback(double)
    assert d.outcome is not None
    assert isinstance(d.outcome.error, RuntimeError)
    with pytest.raises(RuntimeError):
        Deferred.from_coroutine(double(1))


def test_a_coroutine_runs_in_the_context_its_callback_was_added_in(run: Run[None]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("c", default="unset")

    async def see(_: object) -> str:
        await asyncio.sleep(0)
        return variable.get()

    async def main() -> None:
        plain: Deferred[None] = Deferred()
        plain_end = contextvars.Context().run(plain.add_callback, see)
        own: Deferred[None] = Deferred()

        def add() -> Deferred[str]:
            variable.set("own")
            return own.add_callback(see)

        own_end = contextvars.Context().run(add)

        def request() -> None:
            variable.set("request")
            plain.callback(None)
            own.callback(None)

        contextvars.Context().run(request)
        assert await plain_end == "unset"
        assert await own_end == "own"

    run(main())


def test_a_task_factory_of_the_loop_is_honoured(run: Run[None]) -> None:
    async def main() -> None:
        made: list[str] = []

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **kw: Any) -> asyncio.Task[Any]:
            made.append(coro.__name__)
            return asyncio.Task(coro, loop=loop, **kw)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            assert await Deferred.from_coroutine(double(1)) == 2
        finally:
            loop.set_task_factory(None)
        assert made == ["double"]

    run(main())


def test_firing_from_another_thread_does_not_run_the_task_there(run: Run[None]) -> None:
    """It is a mistake, as with a future; but the Task stays in its own thread."""

    async def main() -> None:
        d: Deferred[int] = Deferred()
        where: list[int] = []

        async def wait() -> None:
            await d
            where.append(threading.get_ident())

        task = asyncio.create_task(wait())
        await turns()
        thread = threading.Thread(target=d.callback, args=(1,))
        thread.start()
        thread.join()
        assert not where
        await task
        assert where == [threading.get_ident()]

    run(main())
