"""The reactor: its life, its queue, timers, threads, descriptors and signals."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import ReactorError, ReactorNotRunningError
from sennit.core.protocol import Protocol
from sennit.core.reactor import turning
from sennit.core.reactor.base import Reactor, current_loop, current_reactor, run
from sennit.core.reactor.pollers import READ, pollers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=pollers())
def reactor(request: pytest.FixtureRequest) -> Iterator[Reactor]:
    made = Reactor(request.param)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    yield here, there
    here.close()
    there.close()


def run_program(source: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ── run ───────────────────────────────────────────────────────────────────────


def test_run_returns_what_a_coroutine_main_returns(reactor: Reactor) -> None:
    async def main(given: Reactor) -> int:
        assert given is reactor is current_reactor()
        await asyncio.sleep(0)
        return 7

    assert reactor.run(main) == 7


def test_run_says_that_it_wants_the_function_and_not_its_call(reactor: Reactor) -> None:
    async def main() -> None:
        raise AssertionError

    run: Any = reactor.run
    with pytest.raises(TypeError, match=r"give the function and not its call: run\(main\)"):
        run(main())
    with pytest.raises(TypeError, match="7 is no function"):
        run(7)
    reactor.run(Reactor.stop)


def test_run_ends_with_the_deferred_that_main_returned(reactor: Reactor) -> None:
    def main(given: Reactor) -> Deferred[str]:
        deferred: Deferred[str] = Deferred()
        given.call_later(0.001, deferred.callback, "late")
        return deferred

    assert reactor.run(main) == "late"


def test_run_ends_with_a_deferred_that_has_fired_already(reactor: Reactor) -> None:
    def main(given: Reactor) -> Deferred[str]:
        return succeed("now")

    assert reactor.run(main) == "now"


def test_run_with_a_plain_main_goes_on_until_stop(reactor: Reactor) -> None:
    seen: list[str] = []

    def main(given: Reactor) -> None:
        seen.append("main")
        given.call_later(0.001, later)

    def later() -> None:
        seen.append("later")
        reactor.stop()

    outcome: object = reactor.run(main)
    assert outcome is None
    assert seen == ["main", "later"]


def test_run_without_main_goes_on_until_stop(reactor: Reactor) -> None:
    reactor.call_later(0.001, reactor.stop)

    reactor.run()

    assert not reactor.running


@pytest.mark.parametrize("kind", ["coroutine", "deferred", "plain"])
def test_run_raises_what_main_raised(reactor: Reactor, kind: str) -> None:
    async def coroutine(given: Reactor) -> None:
        raise KeyError("main")

    def deferred(given: Reactor) -> Deferred[None]:
        return fail(KeyError("main"))

    def plain(given: Reactor) -> None:
        raise KeyError("main")

    mains: dict[str, Callable[[Reactor], object]] = {
        "coroutine": coroutine,
        "deferred": deferred,
        "plain": plain,
    }
    with pytest.raises(KeyError, match="main"):
        reactor.run(mains[kind])
    assert not reactor.running


def test_stop_cancels_a_main_that_waits(reactor: Reactor) -> None:
    seen: list[str] = []

    async def main(given: Reactor) -> None:
        given.call_soon(given.stop)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0.001)
            seen.append("cleaned up")
            raise

    reactor.run(main)

    assert seen == ["cancelled", "cleaned up"]


def test_a_reactor_runs_again_after_it_has_run(reactor: Reactor) -> None:
    async def main(given: Reactor) -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    loops = [reactor.run(main) for _ in range(3)]

    assert len({id(loop) for loop in loops}) == 3
    assert all(loop.is_closed() for loop in loops)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_second_run_knows_nothing_of_what_the_first_left(reactor: Reactor) -> None:
    seen: list[str] = []
    reactor.call_later(1000, seen.append, "timer")
    reactor.call_soon(reactor.stop)
    reactor.run()
    reactor.call_later(0.001, reactor.stop)
    reactor.run()

    assert seen == []


def test_a_closed_reactor_refuses_to_run() -> None:
    reactor = Reactor()
    reactor.close()
    reactor.close()

    with pytest.raises(ReactorError, match="closed"):
        reactor.run()


def test_a_running_reactor_refuses_to_run_or_close_and_so_does_another_in_its_thread() -> None:
    refused: list[str] = []
    other = Reactor()

    def main(reactor: Reactor) -> None:
        for attempt in (reactor.run, reactor.close, other.run):
            with pytest.raises(ReactorError) as caught:
                attempt()
            refused.append(str(caught.value))
        reactor.stop()

    run(main)
    other.close()

    assert refused == [
        "this reactor runs already",
        "a running reactor cannot be closed: stop it first",
        "another reactor runs in this thread",
    ]


def test_run_is_refused_where_asyncio_runs_already() -> None:
    async def main() -> None:
        with pytest.raises(ReactorError, match="runs a loop already"):
            run()

    asyncio.run(main())


def test_an_unknown_poller_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ValueError, match="select"):
        Reactor("carrier-pigeon")


def test_outside_a_run_there_is_no_current_reactor_and_no_loop() -> None:
    with pytest.raises(ReactorNotRunningError):
        current_reactor()
    with pytest.raises(ReactorNotRunningError):
        current_loop()


def test_several_reactors_run_in_threads_each_with_a_loop_of_its_own() -> None:
    barrier = threading.Barrier(4, timeout=20)
    found: dict[int, tuple[Reactor, asyncio.AbstractEventLoop]] = {}

    async def main(reactor: Reactor) -> None:
        await asyncio.sleep(0)
        found[threading.get_ident()] = (current_reactor(), asyncio.get_running_loop())
        assert current_reactor() is reactor
        await asyncio.to_thread(barrier.wait)

    threads = [threading.Thread(target=run, args=(main,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len({id(reactor) for reactor, _ in found.values()}) == 4
    assert len({id(loop) for _, loop in found.values()}) == 4


def test_runs_leave_no_descriptor_behind() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_tcp(Protocol, 0, "127.0.0.1")
        loop = asyncio.get_running_loop()
        await loop.create_connection(asyncio.Protocol, "127.0.0.1", listener.port)
        paused = await reactor.listen_tcp(Protocol, 0, "127.0.0.1")
        paused.pause_accepting()
        await reactor.defer_to_thread(int)

    run(main)
    gc.collect()
    before = open_descriptors()
    for _ in range(5):
        run(main)
    gc.collect()

    assert open_descriptors() == before


def test_a_plain_program_loads_neither_asyncio_nor_logging_nor_openssl() -> None:
    program = run_program(
        """
        import sys
        from sennit.core.protocol import Protocol
        from sennit.core.reactor.base import run

        def main(reactor):
            reactor.listen_tcp(Protocol, 0, "127.0.0.1").add_callback(lambda _: reactor.stop())

        run(main)
        names = ("asyncio", "logging", "ssl", "OpenSSL", "zope", "inspect", "dataclasses", "typing")
        print([name for name in names if name in sys.modules])
        """
    )
    out, err = program.communicate(timeout=30)

    assert (out.strip(), err) == ("[]", "")


# ── shutdown ──────────────────────────────────────────────────────────────────


def test_shutdown_hooks_run_last_first_and_are_waited_for(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def slow() -> None:
        seen.append("slow begins")
        await asyncio.sleep(0.001)
        seen.append("slow ends")

    def deferred() -> Deferred[None]:
        made: Deferred[None] = Deferred()
        made.add_callback(lambda _: seen.append("deferred"))
        reactor.call_later(0.001, made.callback, None)
        return made

    def broken() -> None:
        seen.append("broken")
        raise LookupError("hook")

    async def main(given: Reactor) -> str:
        given.at_shutdown(seen.append, "first asked for")
        given.at_shutdown(slow)
        given.at_shutdown(broken)
        given.at_shutdown(deferred)
        given.at_shutdown(seen.append, "never").cancel()
        return "value"

    assert reactor.run(main) == "value"
    assert seen == ["deferred", "broken", "slow begins", "slow ends", "first asked for"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


def test_tasks_that_are_left_are_cancelled_and_their_errors_reported(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    left: list[asyncio.Task[None]] = []

    async def obedient() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("obedient")

    async def clumsy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("clumsy")

    async def main(given: Reactor) -> None:
        left.extend(asyncio.ensure_future(each()) for each in (obedient, clumsy))
        await asyncio.sleep(0)

    reactor.run(main)

    assert seen == ["obedient"]
    assert ["clumsy" in str(record.exc_info) for record in caplog.records] == [True]


def test_system_exit_in_a_callback_ends_the_run_in_good_order(reactor: Reactor) -> None:
    seen: list[str] = []

    async def main(given: Reactor) -> None:
        given.at_shutdown(seen.append, "hook")
        given.call_soon(sys.exit, 3)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("main cancelled")

    with pytest.raises(SystemExit) as caught:
        reactor.run(main)

    assert caught.value.code == 3
    assert seen == ["main cancelled", "hook"]


def test_system_exit_in_main_ends_the_run_in_good_order(reactor: Reactor) -> None:
    seen: list[str] = []

    async def main(given: Reactor) -> None:
        given.at_shutdown(seen.append, "hook")
        await asyncio.sleep(0)
        sys.exit(4)

    with pytest.raises(SystemExit) as caught:
        reactor.run(main)

    assert (caught.value.code, seen) == (4, ["hook"])


def test_connections_that_are_left_are_told_when_the_run_ends() -> None:
    seen: list[BaseException | None] = []
    accepted: Deferred[None] = Deferred()

    class Seeing(Protocol):
        def data_received(self, data: bytes) -> None:
            accepted.callback(None)

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(exc)

    with socket.socket() as client:

        async def main(reactor: Reactor) -> None:
            listener = await reactor.listen_tcp(Seeing, 0, "127.0.0.1")
            client.connect(("127.0.0.1", listener.port))
            client.send(b"x")
            await accepted

        run(main)

    assert [getattr(error, "reason", None) for error in seen] == ["drained"]


# ── the ready queue and exceptions ────────────────────────────────────────────


def test_calls_run_in_the_order_of_asking_and_cancelled_ones_do_not(reactor: Reactor) -> None:
    seen: list[int] = []
    calls = [reactor.call_soon(seen.append, number) for number in range(5)]
    calls[3].cancel()
    reactor.call_soon(reactor.stop)
    reactor.run()

    assert seen == [0, 1, 2, 4]
    assert [call.cancelled() for call in calls] == [False, False, False, True, False]


class Unwanted(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [ValueError, asyncio.CancelledError, GeneratorExit, Unwanted, StopIteration]
)
@pytest.mark.parametrize("where", ["call_soon", "call_later", "from_thread", "reader", "flush"])
def test_an_exception_in_a_callback_is_logged_once_and_the_loop_goes_on(
    where: str,
    error: type[BaseException],
    caplog: pytest.LogCaptureFixture,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """HARDENING fault-10."""
    here, there = pair
    reactor = Reactor()

    def bad() -> None:
        reactor.remove_reader(here.fileno())
        reactor.call_later(0.001, reactor.stop)
        raise error("callback")

    if where == "call_soon":
        reactor.call_soon(bad)
    elif where == "call_later":
        reactor.call_later(0.001, bad)
    elif where == "from_thread":
        reactor.call_from_thread(bad)
    elif where == "reader":
        there.send(b"x")
        reactor.add_reader(here.fileno(), bad)
    else:
        reactor.flush_later(bad)
    reactor.run()
    reactor.close()

    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_an_exception_in_a_protocol_ends_its_connection_and_no_other(
    method: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10."""

    class Bad(Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)

    def explode(self: Bad, *args: object) -> None:
        raise error("protocol")

    setattr(Bad, method, explode)
    lost: list[Exception | None] = []

    class Echo(Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main(reactor: Reactor) -> None:
        bad = await reactor.listen_tcp(Bad, 0, "127.0.0.1")
        good = await reactor.listen_tcp(Echo, 0, "127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", bad.port)
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", good.port)
        writer.write(b"x")
        writer.write_eof()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        other_writer.write(b"still here")
        assert await other_reader.readexactly(10) == b"still here"
        writer.close()
        other_writer.close()

    run(main)

    assert [getattr(each, "reason", None) for each in lost] == ["error"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error]


# ── timers ────────────────────────────────────────────────────────────────────


def test_timers_fire_in_order_and_never_early(reactor: Reactor) -> None:
    fired: list[tuple[float, float]] = []

    def note(when: float) -> None:
        fired.append((when, time.monotonic()))

    now = reactor.time()
    delays = [0.02, 0.001, 0.01, 0.0, 0.015, 0.005, 0.0051, 0.0049]
    for delay in delays:
        reactor.call_at(now + delay, note, now + delay)
    reactor.call_later(0.03, reactor.stop)
    reactor.run()

    assert [when for when, _ in fired] == sorted(now + delay for delay in delays)
    assert all(at >= when for when, at in fired)


def test_timers_of_one_moment_fire_in_the_order_of_asking(reactor: Reactor) -> None:
    fired: list[int] = []
    moment = reactor.time() + 0.002
    for number in range(50):
        reactor.call_at(moment, fired.append, number)
    reactor.call_at(moment, reactor.stop)
    reactor.run()

    assert fired == list(range(50))


def test_which_timers_are_due_follows_the_monotonic_clock_alone(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-12: the clock is read through `monotonic`; here it stands until it jumps."""
    now = 1000.0
    monkeypatch.setattr(turning, "monotonic", lambda: now)
    fired: list[str] = []
    reactor.call_later(60, fired.append, "minute")
    reactor.call_later(0, fired.append, "now")

    def jump() -> None:
        nonlocal now
        assert fired == ["now"]
        now += 60
        reactor.call_later(0, reactor.stop)

    reactor.call_later(0, jump)
    reactor.run()

    assert fired == ["now", "minute"]


def test_a_cancelled_timer_does_not_fire_and_may_be_cancelled_twice(reactor: Reactor) -> None:
    fired: list[str] = []
    timer = reactor.call_later(0.001, fired.append, "cancelled")
    timer.cancel()
    timer.cancel()
    late = reactor.call_later(0, fired.append, "fired")
    reactor.call_later(0.003, reactor.stop)
    reactor.run()
    late.cancel()

    assert fired == ["fired"]
    assert timer.cancelled()


def test_cancelled_timers_are_thrown_out_of_the_heap_when_they_are_the_most() -> None:
    reactor = Reactor()
    keep = [reactor.call_later(1000 + number, int) for number in range(100)]
    for _ in range(10_000):
        reactor.call_later(500, int).cancel()
        assert len(reactor._heap) <= 2 * 100 + 66
    for timer in keep[::2]:
        timer.cancel()
    whens = [entry[0] for entry in reactor._heap if entry[2].fn is not None]
    assert sorted(whens) == [timer.when() for timer in keep[1::2]]
    reactor.close()


@pytest.mark.parametrize("ending", [False, True])
def test_a_timer_that_an_event_sets_fires_whether_more_events_come_or_not(
    reactor: Reactor, ending: bool
) -> None:
    """Turns of nothing but events follow each other at once: timers are looked at all the same."""
    ours, theirs = socket.socketpair()
    late: list[float] = []

    def readable(mask: int) -> None:
        if ending:
            ours.recv(1)
        if not late:
            reactor.call_later(0.005, int).cancel()
            due = reactor.time() + 0.01
            reactor.call_at(due, lambda: late.append(reactor.time() - due))
            late.append(0.0)
        elif len(late) == 2:
            reactor.unwatch(ours.fileno())
            reactor.stop()

    def main(given: Reactor) -> None:
        reactor.watch(ours.fileno(), READ, readable)
        reactor.call_later(0.02, theirs.send, b"x")
        # What is far away, or has come and gone, keeps nothing from firing.
        reactor.call_later(3600, int)
        reactor.call_later(0.001, int).cancel()
        theirs.send(b"x")

    with ours, theirs:
        reactor.run(main)
    assert late[1] >= 0


# ── threads ───────────────────────────────────────────────────────────────────


def test_no_call_from_a_storm_of_threads_is_lost_or_out_of_order(reactor: Reactor) -> None:
    threads, calls = 4, 2500
    seen: list[tuple[int, int]] = []

    def storm(number: int) -> None:
        for call in range(calls):
            reactor.call_from_thread(seen.append, (number, call))
        reactor.call_from_thread(done, number)

    finished: set[int] = set()

    def done(number: int) -> None:
        finished.add(number)
        if len(finished) == threads:
            reactor.stop()

    workers = [threading.Thread(target=storm, args=(each,)) for each in range(threads)]

    def main(given: Reactor) -> None:
        for worker in workers:
            worker.start()

    reactor.run(main)
    for worker in workers:
        worker.join(10)

    assert len(seen) == threads * calls
    for number in range(threads):
        assert [call for who, call in seen if who == number] == list(range(calls))


def test_a_call_from_a_thread_wakes_a_reactor_that_waits(reactor: Reactor) -> None:
    turns = 0

    def ping() -> None:
        nonlocal turns
        turns += 1
        if turns == 200:
            reactor.stop()
        else:
            answered.set()

    answered = threading.Event()

    def thread() -> None:
        for _ in range(200):
            reactor.call_from_thread(ping)
            if not answered.wait(20):
                return
            answered.clear()

    worker = threading.Thread(target=thread)

    def main(given: Reactor) -> None:
        worker.start()

    reactor.run(main)
    answered.set()
    worker.join(20)

    assert turns == 200


def test_a_wake_up_between_the_two_steps_of_the_last_one_is_not_lost() -> None:
    """A thread wakes the reactor while it takes note of an earlier wake-up."""
    reactor = Reactor()
    seen: list[str] = []
    take_note = reactor._on_wake

    class Interleaved:
        """The reading end; before and after each read another thread has its way."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def recv(self, size: int) -> bytes:
            from_thread("before the read")
            data = self._sock.recv(size)
            from_thread("after the read")
            return data

    def from_thread(name: str) -> None:
        worker = threading.Thread(target=reactor.call_from_thread, args=(seen.append, name))
        worker.start()
        worker.join()

    def interleave(mask: int) -> None:
        assert reactor._wake_sockets is not None
        here, there = reactor._wake_sockets
        reactor._wake_sockets = (Interleaved(here), there)  # type: ignore[assignment]  # stands in
        try:
            take_note(mask)
        finally:
            reactor._wake_sockets = (here, there)

    def main(given: Reactor) -> None:
        assert given._wake_sockets is not None
        given.handlers[given._wake_sockets[0].fileno()] = interleave
        given.call_from_thread(seen.append, "first")
        given.call_later(0.002, last_one)
        given.call_later(20, given.stop)

    def last_one() -> None:
        # The reactor waits without a timer in sight when this comes.
        worker = threading.Timer(0.002, reactor.call_from_thread, (reactor.stop,))
        worker.start()
        workers.append(worker)

    workers: list[threading.Timer] = []
    began = time.monotonic()
    reactor.run(main)
    reactor.close()
    for worker in workers:
        worker.join()

    assert time.monotonic() - began < 10
    assert seen[:3] == ["first", "before the read", "after the read"]


def test_a_thread_gives_its_result_or_its_error(reactor: Reactor) -> None:
    async def main(given: Reactor) -> None:
        here = threading.get_ident()
        assert await given.defer_to_thread(threading.get_ident) != here
        assert await given.defer_to_thread(divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            await given.defer_to_thread(divmod, 7, 0)
        with pytest.raises(SystemExit):
            await given.defer_to_thread(sys.exit)

    reactor.run(main)


def test_a_call_that_waits_for_a_thread_can_be_cancelled(reactor: Reactor) -> None:
    ran: list[str] = []
    hold, held = threading.Event(), threading.Event()

    def block() -> None:
        held.set()
        hold.wait(20)

    async def main(given: Reactor) -> None:
        first = given.defer_to_thread(block)
        await given.defer_to_thread(held.wait, 20)
        assert given._threads is not None
        given._threads.size = 0  # no more than there are
        waiting = [given.defer_to_thread(hold.wait, 20) for _ in range(4)]
        cancelled = given.defer_to_thread(ran.append, "cancelled")
        cancelled.cancel()
        hold.set()
        await first
        for each in waiting:
            await each
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await given.defer_to_thread(ran.append, "last")

    reactor.run(main)

    assert ran == ["last"]


def test_threads_end_with_the_run() -> None:
    before = threading.active_count()

    async def main(reactor: Reactor) -> None:
        for _ in range(3):
            await reactor.defer_to_thread(int)

    run(main)

    assert threading.active_count() == before


# ── descriptors ───────────────────────────────────────────────────────────────


def test_readers_and_writers_are_called_and_removed(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    seen: list[str] = []

    def readable() -> None:
        seen.append(here.recv(10).decode())
        assert reactor.remove_reader(here.fileno())
        assert not reactor.remove_reader(here.fileno())
        reactor.stop()

    def writable() -> None:
        seen.append("writable")
        assert reactor.remove_writer(here.fileno())
        assert not reactor.remove_writer(here.fileno())
        there.send(b"octets")

    reactor.add_reader(here.fileno(), readable)
    reactor.add_writer(here.fileno(), writable)
    reactor.run()

    assert seen == ["writable", "octets"]
    assert not reactor.handlers


def test_a_second_reader_replaces_the_first(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    seen: list[str] = []

    def second() -> None:
        seen.append("second")
        reactor.remove_reader(here.fileno())
        reactor.stop()

    first = reactor.add_reader(here.fileno(), seen.append, "first")
    reactor.add_reader(here.fileno(), second)
    there.send(b"x")
    reactor.run()

    assert seen == ["second"]
    assert first.cancelled()


def test_a_reader_learns_that_the_other_end_has_gone(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair

    def readable() -> None:
        assert here.recv(10) == b""
        reactor.remove_reader(here.fileno())
        reactor.stop()

    reactor.add_reader(here.fileno(), readable)
    there.close()
    reactor.run()


def test_a_reader_may_remove_the_descriptor_of_a_later_event(reactor: Reactor) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[int] = []

    def readable(number: int) -> None:
        seen.append(number)
        for here, _ in pairs:
            reactor.remove_reader(here.fileno())
            here.close()
        reactor.call_soon(reactor.stop)

    for number, (here, there) in enumerate(pairs):
        there.send(b"x")
        reactor.add_reader(here.fileno(), readable, number)
    reactor.run()
    for _, there in pairs:
        there.close()

    assert len(seen) == 1


def test_removing_a_closed_descriptor_is_harmless_and_its_number_can_be_used_again(
    reactor: Reactor,
) -> None:
    here, there = socket.socketpair()
    number = here.fileno()
    reactor.add_reader(number, int)
    here.close()
    there.close()
    assert reactor.remove_reader(number)
    assert number not in reactor.handlers


@pytest.mark.skipif("epoll" not in pollers(), reason="no epoll here")
def test_a_number_that_was_closed_unannounced_is_watched_anew() -> None:
    reactor = Reactor("epoll")
    here, there = socket.socketpair()
    number = here.fileno()
    reactor.add_reader(number, int)
    peer, new = socket.socketpair()
    os.dup2(new.fileno(), number)  # another file under the old number
    reactor.add_reader(number, reactor.stop)
    peer.send(b"x")
    reactor.run()
    reactor.close()
    for each in (here, there, peer, new):
        each.close()


def test_a_descriptor_of_a_transport_is_refused() -> None:
    async def main(reactor: Reactor) -> None:
        known = set(reactor.handlers)
        await reactor.listen_tcp(Protocol, 0, "127.0.0.1")
        (fd,) = set(reactor.handlers) - known
        with pytest.raises(ReactorError, match="belongs to a transport"):
            reactor.add_reader(fd, int)

    run(main)


# ── signals ───────────────────────────────────────────────────────────────────


def test_a_signal_handler_runs_in_a_turn_and_the_old_one_comes_back(reactor: Reactor) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    seen: list[str] = []

    def main(given: Reactor) -> None:
        given.add_signal_handler(signal.SIGUSR1, handler)
        assert given.handles_signal(signal.SIGUSR1)
        given.call_soon(os.kill, os.getpid(), signal.SIGUSR1)

    def handler() -> None:
        seen.append("signal")
        reactor.stop()

    reactor.run(main)

    assert seen == ["signal"]
    assert signal.getsignal(signal.SIGUSR1) is before
    assert not reactor.remove_signal_handler(signal.SIGUSR1)
    previous = signal.set_wakeup_fd(-1)
    assert previous == -1


WAITING = """
    import asyncio, sys
    from sennit.core.reactor.base import run

    async def main(reactor):
        async def hook():
            print("hook", flush=True)
        reactor.at_shutdown(hook)
        print("ready", flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            if "stubborn" in sys.argv:
                await asyncio.Event().wait()
            raise

    def plain(reactor):
        print("ready", flush=True)
        if "stuck" in sys.argv:
            reactor.call_soon(stuck)

    def stuck():
        while True:
            pass

    run(plain if "plain" in sys.argv else main)
    print("after", flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 0)])
def test_a_signal_cancels_main_and_ends_the_program_in_good_order(
    number: signal.Signals, code: int
) -> None:
    program = run_program(WAITING)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(number)
    out, _ = program.communicate(timeout=30)

    assert out == "cancelled\nhook\n"
    assert program.returncode == code


def test_a_signal_stops_a_reactor_with_a_plain_main() -> None:
    program = run_program(WAITING, "plain")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGTERM)
    out, err = program.communicate(timeout=30)

    assert (out, err, program.returncode) == ("after\n", "", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_with_its_number(number: signal.Signals) -> None:
    """HARDENING fault-5."""
    program = run_program(WAITING, "stubborn")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGTERM)
    assert program.stdout.readline() == "cancelled\n"
    program.send_signal(number)
    out, _ = program.communicate(timeout=30)

    assert out == ""
    assert program.returncode == 128 + number


def test_a_handler_of_the_programs_own_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:

        async def main(reactor: Reactor) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)

        run(main)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert seen == [signal.SIGTERM]


def test_signals_are_left_alone_when_that_is_asked_for(reactor: Reactor) -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[object] = []

    def main(given: Reactor) -> None:
        found.append(signal.getsignal(signal.SIGINT))
        given.stop()

    reactor.run(main, handle_signals=False)

    assert found == [before]


# ── what is logged ────────────────────────────────────────────────────────────


def test_errors_go_to_the_handler_that_asyncios_loop_was_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[dict[str, object]] = []

    async def main(reactor: Reactor) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        reactor.call_soon(int, "not a number")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        run(main)

    assert [type(each["exception"]) for each in seen] == [ValueError]
    assert not caplog.records
