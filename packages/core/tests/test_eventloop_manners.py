"""What asyncio's own tests showed of its loop's manners: debug mode, errors, forks, ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.reactor.base import Reactor, run
from sennit.core.reactor.eventloop import ReactorEventLoop, new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    Main = Callable[[], Coroutine[Any, Any, Any]]


def under_run(main: Main) -> Any:
    async def call(reactor: Reactor) -> Any:
        return await main()

    return run(call)


def under_runner(main: Main) -> Any:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(params=[under_run, under_runner])
def drive(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    way: Callable[[Main], Any] = request.param
    return way


# ── debug mode ────────────────────────────────────────────────────────────────


@pytest.fixture
def debugging() -> Iterator[ReactorEventLoop]:
    loop = new_event_loop()
    loop.set_debug(True)
    yield loop
    loop.close()


def test_calls_of_debug_mode_know_where_they_were_made(debugging: ReactorEventLoop) -> None:
    handles: list[Any] = [
        debugging.call_soon(print),
        debugging.call_soon_threadsafe(print),
        debugging.call_later(5, print),
        debugging.call_at(5, print),
    ]

    for handle in handles:
        traceback = handle._source_traceback
        assert traceback[-1].name == "test_calls_of_debug_mode_know_where_they_were_made"
        assert isinstance(handle, asyncio.Handle)
        assert "created at" in repr(handle)
        handle.cancel()
        assert handle.cancelled()
    debugging.run_until_complete(asyncio.sleep(0))


def test_a_cancelled_call_of_debug_mode_is_not_made(debugging: ReactorEventLoop) -> None:
    calls: list[str] = []
    debugging.call_soon(calls.append, "soon").cancel()
    debugging.call_later(0, calls.append, "later").cancel()
    debugging.call_later(0, calls.append, "made")
    debugging.call_later(0.01, debugging.stop)

    debugging.run_forever()

    assert calls == ["made"]


def test_a_failed_call_of_debug_mode_names_its_handle(debugging: ReactorEventLoop) -> None:
    contexts: list[dict[str, Any]] = []
    debugging.set_exception_handler(lambda _, context: contexts.append(context))
    handle = debugging.call_soon(lambda: 1 / 0)
    debugging.call_soon(debugging.stop)

    debugging.run_forever()

    (context,) = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle
    assert context["source_traceback"]


def test_debug_mode_can_be_left(debugging: ReactorEventLoop) -> None:
    debugging.set_debug(False)
    assert not isinstance(debugging.call_soon(int), asyncio.Handle)
    debugging.close()
    debugging.set_debug(False)
    with pytest.raises(RuntimeError, match="closed"):
        debugging.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        debugging.call_later(1, print)
    with pytest.raises(RuntimeError, match="closed"):
        debugging.call_at(1, print)


# ── what asyncio's own tests showed ───────────────────────────────────────────


def test_a_descriptor_of_a_transport_is_nobody_elses_to_watch(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
            loop.add_reader(here, print)
        transport.close()
        there.close()
        await asyncio.sleep(0)

    drive(main)


def test_a_socket_that_cannot_be_watched_fails_who_waits_for_its_transport(
    drive: Callable[[Main], Any],
) -> None:
    class Odd(socket.socket):
        def fileno(self) -> Any:
            return "none"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setblocking(False)
        odd = Odd(fileno=here.detach())
        with pytest.raises((TypeError, ValueError)):
            await loop.create_connection(asyncio.Protocol, sock=odd)
        odd.close()
        there.close()

    drive(main)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (concurrent.futures.CancelledError(), asyncio.CancelledError),
        (concurrent.futures.InvalidStateError("no"), asyncio.InvalidStateError),
        (StopIteration(), RuntimeError),
    ],
)
def test_errors_of_threads_are_translated_as_asyncio_does(
    drive: Callable[[Main], Any], raised: BaseException, expected: type[BaseException]
) -> None:
    def fail() -> None:
        raise raised

    async def main() -> None:
        future = asyncio.get_running_loop().run_in_executor(None, fail)
        done, _ = await asyncio.wait([future])
        assert done == {future}
        with pytest.raises(expected):
            future.result()

    drive(main)


def test_an_executor_that_does_not_end_in_time_is_left_with_a_warning() -> None:
    loop: Any = new_event_loop()
    held = threading.Event()
    waiting = loop.run_in_executor(None, held.wait)
    with pytest.warns(RuntimeWarning, match="still run"):
        loop.run_until_complete(loop.shutdown_default_executor(timeout=0.05))
    held.set()
    loop.run_until_complete(waiting)
    with pytest.raises(RuntimeError, match="shutdown"):
        loop.run_in_executor(None, print)
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_runs_a_loop_of_its_own(drive: Callable[[Main], Any]) -> None:
    async def in_child() -> int:
        await asyncio.sleep(0)
        return 7

    async def main() -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                with asyncio.Runner(loop_factory=new_event_loop) as runner:
                    status = runner.run(in_child())
            finally:
                os.write(writing, bytes([status]))
                os._exit(0)
        os.close(writing)
        answer = await asyncio.to_thread(os.read, reading, 1)
        os.close(reading)
        os.waitpid(child, 0)
        assert answer == b"\x07"
        await asyncio.sleep(0)  # this loop is as it was

    drive(main)


def test_a_file_is_left_where_sending_it_ended(
    drive: Callable[[Main], Any], tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(8 << 20))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        with path.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            there.setblocking(False)
            assert await loop.sock_recv(there, 65536)
            there.close()
            with pytest.raises(ConnectionError):
                await sending
            assert 65536 <= file.tell() < 8 << 20

    drive(main)
