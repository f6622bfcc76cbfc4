"""The reactor inside loops that others run: asyncio's own, and uvloop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.errors import ReactorError
from sennit.core.protocol import Protocol
from sennit.core.reactor import foreign
from sennit.core.reactor.base import Reactor, current_loop, current_reactor
from sennit.core.reactor.eventloop import new_event_loop
from sennit.core.reactor.foreign import AsyncioHost, Host, reactor_in

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Main = Callable[[], Coroutine[Any, Any, Any]]
    Drive = Callable[[Main], Any]


def in_asyncio(main: Main) -> Any:
    return asyncio.run(main())


def in_uvloop(main: Main) -> Any:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(params=[in_asyncio, in_uvloop])
def drive(request: pytest.FixtureRequest) -> Drive:
    way: Drive = request.param
    return way


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def test_the_reactor_is_made_on_the_spot_once_per_loop(drive: Drive) -> None:
    found: list[Reactor] = []

    async def main() -> None:
        reactor = current_reactor()
        assert reactor is current_reactor() is reactor_in(asyncio.get_running_loop())
        assert reactor.running
        assert reactor.event_loop is asyncio.get_running_loop() is current_loop()
        found.append(reactor)

    drive(main)
    drive(main)

    assert found[0] is not found[1]
    assert not found[0].running


def test_servers_and_clients_just_work(drive: Drive) -> None:
    async def main() -> None:
        listener = await current_reactor().listen_tcp(Echo, 0, "127.0.0.1")

        async def talk() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            for _ in range(20):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*(talk() for _ in range(20)))
        listener.close()

    drive(main)


def test_a_megabyte_goes_through_and_what_is_written_outside_a_turn_leaves(drive: Drive) -> None:
    class Keep(Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.callback(self)

    made: Deferred[Keep] = Deferred()

    async def main() -> None:
        listener = await current_reactor().listen_tcp(Keep, 0, "127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        keep = await made
        await asyncio.sleep(0.001)
        data = os.urandom(1 << 20)
        keep.transport.write(data)
        assert await reader.readexactly(len(data)) == data
        keep.transport.write(b"end")
        keep.transport.close()
        assert await reader.read() == b"end"
        writer.close()

    drive(main)


def test_timers_fire_in_order_and_never_early(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()
        fired: list[tuple[float, float]] = []
        began = reactor.time()
        last: Deferred[None] = Deferred()

        def note(when: float) -> None:
            fired.append((when, time.monotonic()))

        for delay in (0.02, 0.001, 0.01, 0.0, 0.005):
            reactor.call_at(began + delay, note, began + delay)
        reactor.call_later(500, int)
        reactor.call_later(0.025, last.callback, None)
        await last
        assert [when for when, _ in fired] == sorted(when for when, _ in fired)
        assert len(fired) == 5
        assert all(at >= when for when, at in fired)

    drive(main)


def test_a_nearer_timer_set_outside_a_turn_is_met_in_time(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()
        reactor.call_later(1000, int)
        await asyncio.sleep(0.001)
        fired: Deferred[None] = Deferred()
        reactor.call_later(0.001, fired.callback, None)
        async with asyncio.timeout(20):
            await fired

    drive(main)


def test_twenty_thousand_wake_ups_and_none_is_lost(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()
        loop = asyncio.get_running_loop()
        count = 0
        done: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            nonlocal count
            count += 1
            if count == 20_000:
                done.set_result(None)

        # From a thread: some one at a time, each waking a loop that waits, some in a flood.
        answered = threading.Event()

        def answer() -> None:
            wake()
            answered.set()

        def thread() -> None:
            for _ in range(4_000):
                reactor.call_from_thread(answer)
                answered.wait(20)
                answered.clear()
            for _ in range(6_000):
                reactor.call_from_thread(wake)

        # From the loop's callbacks and the reactor's in turn, from timers, and from a task.
        def chain(left: int) -> None:
            wake()
            if left > 1:
                if left % 2:
                    reactor.call_soon(chain, left - 1)
                else:
                    loop.call_soon(chain, left - 1)

        def timers(left: int) -> None:
            wake()
            if left > 1:
                reactor.call_later(0, timers, left - 1)

        async def task() -> None:
            for _ in range(2_000):
                fired: Deferred[None] = Deferred()
                reactor.call_soon(fired.callback, None)
                await fired
                wake()

        worker = threading.Thread(target=thread)
        worker.start()
        chain(4_000)
        timers(2_000)
        await task()
        for _ in range(2_000):
            reactor.call_soon(wake)
        async with asyncio.timeout(50):
            await done
        worker.join()
        assert count == 20_000

    drive(main)


def test_threads_give_their_results(drive: Drive) -> None:
    async def main() -> None:
        assert await current_reactor().defer_to_thread(divmod, 7, 3) == (2, 1)

    drive(main)


def test_coroutines_and_deferreds_meet(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()

        async def later(value: int) -> int:
            await asyncio.sleep(0)
            return value

        assert await Deferred.from_coroutine(later(3)) == 3
        given: Deferred[int] = Deferred()
        given.add_callback(later)
        reactor.call_later(0.001, given.callback, 4)
        assert await asyncio.wait_for(given, 20) == 4

    drive(main)


def test_the_end_runs_hooks_closes_listeners_and_aborts_connections(drive: Drive) -> None:
    seen: list[str] = []
    before = len(os.listdir("/proc/self/fd"))

    class Seeing(Echo):
        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(f"lost: {getattr(exc, 'reason', exc)}")

    async def hook() -> None:
        await asyncio.sleep(0.001)
        seen.append("coroutine hook")

    def deferred_hook() -> Deferred[None]:
        fired: Deferred[None] = Deferred()
        fired.add_callback(lambda _: seen.append("deferred hook"))
        current_reactor().call_later(0.001, fired.callback, None)
        return fired

    async def main() -> None:
        reactor = current_reactor()
        listener = await reactor.listen_tcp(Seeing, 0, "127.0.0.1")
        paused = await reactor.listen_tcp(Seeing, 0, "127.0.0.1")
        paused.pause_accepting()
        reactor.at_shutdown(hook)
        reactor.at_shutdown(deferred_hook)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"x")
        await reader.readexactly(1)
        await reactor.defer_to_thread(int)
        writer.transport.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"x")
        await reader.readexactly(1)
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    drive(main)
    for writer in writers:
        writer.transport.abort()
    writers.clear()
    gc.collect()

    assert seen[1:] == ["deferred hook", "coroutine hook", "lost: drained"]
    assert len(os.listdir("/proc/self/fd")) <= before


def test_stop_ends_the_reactor_and_leaves_the_loop(drive: Drive) -> None:
    async def main() -> None:
        first = current_reactor()
        ended = asyncio.Event()
        first.at_shutdown(ended.set)
        first.stop()
        await asyncio.wait_for(ended.wait(), 20)
        while first.running:
            await asyncio.sleep(0)
        second = current_reactor()
        assert second is not first
        fired: Deferred[int] = Deferred()
        second.call_soon(fired.callback, 5)
        assert await fired == 5

    drive(main)


def test_a_loop_that_ends_without_closing_its_generators_is_warned_of() -> None:
    loop = asyncio.new_event_loop()

    async def main() -> None:
        current_reactor()

    loop.run_until_complete(main())
    before = len(os.listdir("/proc/self/fd"))
    loop.close()
    del loop
    with pytest.warns(ResourceWarning, match="was never stopped"):
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_loop_and_its_reactor_are_not_kept_alive_by_each_other() -> None:
    async def main() -> None:
        current_reactor()

    asyncio.run(main())
    gc.collect()
    assert not list(foreign._hosts)


def test_turns_never_nest(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()
        depth = 0
        deepest = 0
        done: Deferred[None] = Deferred()

        def call(left: int) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            reactor.call_soon(call, left - 1) if left else done.callback(None)
            reactor.turn()
            depth -= 1

        reactor.call_soon(call, 10)
        await done
        assert deepest == 1

    drive(main)


def test_an_error_in_a_callback_is_logged_and_the_reactor_goes_on(
    drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        fired: Deferred[None] = Deferred()
        current_reactor().call_soon(int, "x")
        current_reactor().call_soon(fired.callback, None)
        await fired

    with caplog.at_level(logging.WARNING):
        drive(main)

    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


@pytest.mark.parametrize("poller", ["select", "poll"])
def test_a_poller_without_a_descriptor_is_refused(poller: str) -> None:
    async def main() -> None:
        with pytest.raises(ReactorError, match="no descriptor"):
            reactor_in(asyncio.get_running_loop(), poller)
        assert not list(foreign._hosts)

    asyncio.run(main())


def test_a_loop_that_cannot_watch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' Proactor raises `NotImplementedError` from `add_reader`."""

    class ProactorLike(asyncio.SelectorEventLoop):
        def add_reader(  # type: ignore[override]  # typed by hand
            self, fd: Any, callback: Any, *args: Any
        ) -> None:
            raise NotImplementedError

    async def main() -> None:
        with pytest.raises(ReactorError, match="ProactorLike cannot watch"):
            current_reactor()

    with asyncio.Runner(loop_factory=ProactorLike) as runner:
        runner.run(main())


def test_a_loop_that_does_not_run_here_is_refused() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(ReactorError, match="running loop"):
        reactor_in(loop)
    loop.close()


def test_the_reactors_own_loop_hosts_nobody_else() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert reactor_in(loop) is current_reactor()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_signal_handlers_work_and_leave_the_hosts_alone(drive: Drive) -> None:
    import signal

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR2, theirs.set)
        reactor = current_reactor()
        reactor.add_signal_handler(signal.SIGUSR1, ours.set)
        for number, event in ((signal.SIGUSR1, ours), (signal.SIGUSR2, theirs)):
            os.kill(os.getpid(), number)
            await asyncio.wait_for(event.wait(), 20)
        assert reactor.remove_signal_handler(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR2)

    drive(main)


def test_a_host_needs_four_methods() -> None:
    """A loop of another kind, made by hand: a list of calls and a `select`."""
    import select

    class ByHand(Host):
        def __init__(self) -> None:
            self.calls: list[Callable[[], object]] = []
            self.timers: list[tuple[float, Callable[[], object]]] = []
            super().__init__()

        def watch(self, fd: int) -> None:
            self.fd = fd

        def unwatch(self, fd: int) -> None:
            self.fd = -1

        def call_soon(self, fn: Callable[[], object]) -> object:
            self.calls.append(fn)
            return None

        def call_later(self, delay: float, fn: Callable[[], object]) -> Any:
            outer, entry = self, (time.monotonic() + delay, fn)
            self.timers.append(entry)

            class Timer:
                def cancel(self) -> None:
                    if entry in outer.timers:
                        outer.timers.remove(entry)

            return Timer()

        def once(self) -> None:
            calls, self.calls = self.calls, []
            for fn in calls:
                fn()
            if self.fd >= 0 and select.select([self.fd], [], [], 0.001)[0]:
                self.turn()
            for entry in list(self.timers):
                if entry[0] <= time.monotonic():
                    self.timers.remove(entry)
                    entry[1]()

    host = ByHand()
    reactor = host.reactor
    seen: list[str] = []
    reactor.call_later(0.002, seen.append, "timer")
    reactor.call_soon(seen.append, "soon")
    threading.Thread(target=reactor.call_from_thread, args=(seen.append, "thread")).start()
    while len(seen) < 3:
        host.once()
    with pytest.raises(ReactorError, match="no asyncio loop"):
        reactor.event_loop  # noqa: B018 - it is the property that raises
    reactor.at_shutdown(seen.append, "hook")
    ended = host.stop()
    while ended.outcome is None:
        host.once()

    assert set(seen) == {"soon", "timer", "thread", "hook"}
    assert seen[-1] == "hook"
    assert (host.fd, reactor.running) == (-1, False)


def test_stopping_twice_is_stopping_once() -> None:
    async def main() -> None:
        host = AsyncioHost(asyncio.get_running_loop())
        await asyncio.gather(host.stop(), host.stop())
        assert not host.reactor.running

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
