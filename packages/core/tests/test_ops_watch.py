"""The watch names the callback that keeps the loop, and the line it is at."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sennit.core import Protocol, open_stream, serve
from sennit.core._faultlog import RateLimit
from sennit.core.errors import UsageError
from sennit.core.ops.describe import callback_name, coroutine_places, short_path
from sennit.core.ops.instruments import measure
from sennit.core.ops.watch import BlockingWatch

if TYPE_CHECKING:
    from sennit.core.reactor.base import Reactor


class Sleeper(Protocol):
    """Does what a callback must not."""

    def data_received(self, data: bytes) -> None:
        self.slow(data)

    def slow(self, data: bytes) -> None:
        time.sleep(0.3)  # the line that is looked for
        self.transport.write(data)


_LINE = inspect.getsourcelines(Sleeper.slow)[1] + 1


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "sennit.watch"]


async def test_a_callback_that_sleeps_is_named_while_it_does_and_timed_afterwards(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-11: over 100 ms in one callback; function and line."""
    watch = reactor.watch_blocking()
    async with (
        serve("tcp://127.0.0.1:0", Sleeper) as server,
        await open_stream(server.urls[0]) as stream,
    ):
        await stream.send_all(b"x")
        assert await stream.read_exactly(1) == b"x"
    watch.stop()
    # Where others have the processor meanwhile, other turns may be told of.
    during, after = [line for line in said(caplog) if "Sleeper" in line]
    here = "test_ops_watch.py"
    assert "Sleeper.data_received" in during
    assert "keeps the loop, for 0." in during
    assert "it is in Sleeper.slow (" in during
    assert f"{here}:{_LINE})" in during
    assert after.startswith("Sleeper of ")
    (record,) = [each for each in caplog.records if each.getMessage() == after]
    assert record.levelno == logging.WARNING
    assert 0.3 <= record.__dict__["duration"] < 1.0
    assert f"kept the loop for {record.__dict__['duration']:.3f} s" in after


async def test_a_quick_callback_is_not_told_of(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    async def quiet() -> bool:
        caplog.clear()
        watch = reactor.watch_blocking()
        for _ in range(20):
            await asyncio.sleep(0)
        watch.stop()
        return said(caplog) == []

    # Others may have the processor for as long as that in one of them.
    assert any([await quiet() for _ in range(3)])


async def test_a_step_of_a_task_is_told_by_the_task(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    watch = reactor.watch_blocking(0.02)

    async def stuck() -> None:
        threading.Event().wait(0.06)

    await asyncio.sleep(0.001)  # the turn that runs now is not measured yet
    await asyncio.create_task(stuck(), name="the-slow-one")
    await asyncio.sleep(0.001)
    watch.stop()
    during, after = [line for line in said(caplog) if "stuck" in line]
    assert "keeps the loop" in during
    assert "task the-slow-one of" in after


class Stopped:
    """A meter whose callback began at a given time."""

    began = 0.0
    slow = 0.1
    watch: BlockingWatch | None = None


async def test_one_that_stays_stuck_is_told_of_again_and_again_more_rarely(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    meter = measure(reactor)
    watch = BlockingWatch(reactor, meter, 0.1)
    meter.began = began = 1000.0
    for now in (0.05, 0.125, 0.25, 0.875, 1.5, 5.0, 15.5, 50.0):
        watch.look(began + now)
    lengths = [line.split("for ")[1].split(" s")[0] for line in said(caplog)]
    assert lengths == ["0.125", "1.500", "15.500"]


async def test_what_repeats_is_counted_instead_of_repeated(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    meter = measure(reactor)
    now = [0.0]
    watch = BlockingWatch(reactor, meter, 0.1, RateLimit(2, 60.0, lambda: now[0]))
    for began in range(10, 20):
        meter.began = float(began)
        watch.look(began + 0.5)
    assert len(said(caplog)) == 2
    now[0] = 61.0
    meter.began = 100.0
    watch.look(100.5)
    assert said(caplog)[-1].endswith("(8 more like this were not logged)")


async def test_a_callback_that_was_not_caught_in_time_is_told_of_when_it_ends(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    meter = measure(reactor)
    watch = BlockingWatch(reactor, meter, 0.1)
    watch.ended(said, 5.0, 0.123)
    assert said(caplog)[0].startswith("said (")
    assert said(caplog)[0].endswith("kept the loop for 0.123 s")


async def test_the_watch_ends_with_its_reactor_and_begins_anew(reactor: Reactor) -> None:
    first = reactor.watch_blocking()
    second = reactor.watch_blocking(0.5)
    assert "stopped" in repr(first)
    assert repr(second) == "<BlockingWatch over 0.5 s>"
    assert measure(reactor).slow == 0.5
    second.reactor_stopped()
    assert not [each for each in threading.enumerate() if each.name == "sennit-watch"]
    second.stop()


async def test_a_threshold_that_would_cost_too_much_is_refused(reactor: Reactor) -> None:
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError):
            BlockingWatch(reactor, measure(reactor), wrong)


# ── words for callbacks ───────────────────────────────────────────────────────


def test_a_function_is_told_by_its_name_file_and_line() -> None:
    line = said.__code__.co_firstlineno
    assert callback_name(said).startswith("said (")
    assert callback_name(said).endswith(f"test_ops_watch.py:{line})")
    assert callback_name(len) == "len"
    assert callback_name(Stopped()).startswith("<")


async def test_a_coroutine_is_told_down_to_where_it_waits() -> None:
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    places = coroutine_places(task.get_coro())
    assert [each.split(" ")[0].rpartition(".")[2] for each in places] == ["outer", "inner"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_path_is_shown_from_where_it_is_imported() -> None:
    assert short_path(asyncio.__file__) == "asyncio/__init__.py"
    assert short_path("<string>") == "<string>"
