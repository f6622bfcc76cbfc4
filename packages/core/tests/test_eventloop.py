"""The reactor as asyncio's loop: what asyncio's own parts need of it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.errors import ReactorError
from sennit.core.reactor.base import Reactor, current_reactor, run
from sennit.core.reactor.eventloop import ReactorEventLoop, new_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    Main = Callable[[], Coroutine[Any, Any, Any]]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def under_run(main: Main) -> Any:
    async def call(reactor: Reactor) -> Any:
        return await main()

    return run(call)


def under_runner(main: Main) -> Any:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(params=[under_run, under_runner])
def drive(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Both ways in which the loop comes."""
    way: Callable[[Main], Any] = request.param
    return way


@pytest.fixture
def loop() -> Iterator[ReactorEventLoop]:
    made = new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


# ── which loop it is ──────────────────────────────────────────────────────────


def test_the_running_loop_is_the_reactors(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ReactorEventLoop)
        assert loop.is_running()
        assert loop.reactor is current_reactor()
        assert loop.reactor.event_loop is loop

    drive(main)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_runner_runs_several_mains_one_after_the_other() -> None:
    async def add(to: list[int]) -> int:
        await asyncio.sleep(0)
        to.append(len(to))
        return len(to)

    seen: list[int] = []
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert [runner.run(add(seen)) for _ in range(3)] == [1, 2, 3]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(add(seen)) == 4


def test_what_was_begun_in_one_call_goes_on_in_the_next(loop: ReactorEventLoop) -> None:
    async def begin() -> tuple[asyncio.Server, asyncio.Task[None]]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        return server, asyncio.ensure_future(asyncio.sleep(0.001))

    async def go_on(server: asyncio.Server, task: asyncio.Task[None]) -> bytes:
        await task
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"again")
        answer = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        server.close()
        return answer

    assert loop.run_until_complete(go_on(*loop.run_until_complete(begin()))) == b"again"


def test_stop_before_run_forever_makes_one_turn(loop: ReactorEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "called")
    loop.stop()
    loop.run_forever()
    assert seen == ["called"]
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_loop_cannot_run_twice_at_a_time_nor_beside_another(loop: ReactorEventLoop) -> None:
    other = new_event_loop()

    async def main() -> None:
        nothing = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(nothing)
        with pytest.raises(RuntimeError):
            other.run_until_complete(nothing)
        nothing.close()
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        with pytest.raises(ReactorError, match="runs a loop already"):
            run()

    loop.run_until_complete(main())
    other.close()


def test_a_closed_loop_refuses_everything(loop: ReactorEventLoop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    for call in (
        lambda: loop.call_soon(int),
        lambda: loop.call_later(1, int),
        lambda: loop.call_soon_threadsafe(int),
        lambda: loop.run_in_executor(None, int),
        lambda: loop.add_reader(0, int),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_closing_forgets_what_was_to_be_called(loop: ReactorEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "soon")
    loop.call_later(0, seen.append, "later")
    loop.close()

    assert seen == []


def test_closing_ends_connections_and_gives_back_every_descriptor() -> None:
    lost: list[str] = []

    class Watching(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(type(exc).__name__)

    async def leave_open() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Watching, "127.0.0.1", 0)
        await loop.create_connection(Watching, *server.sockets[0].getsockname()[:2])
        await asyncio.to_thread(int)

    def once() -> None:
        loop = new_event_loop()
        loop.run_until_complete(leave_open())
        loop.close()

    once()
    before = len(os.listdir("/proc/self/fd"))
    once()
    assert len(os.listdir("/proc/self/fd")) == before
    assert lost == ["NoneType"] * 4


def test_shutdown_hooks_run_under_a_runner() -> None:
    seen: list[str] = []

    async def hook() -> None:
        await asyncio.sleep(0.001)
        seen.append("hook")

    async def main() -> None:
        current_reactor().at_shutdown(hook)

    under_runner(main)

    assert seen == ["hook"]


def test_loops_run_in_threads_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=20)

    async def main() -> int:
        await asyncio.to_thread(barrier.wait)
        return id(asyncio.get_running_loop())

    found: set[int] = set()
    threads = [threading.Thread(target=lambda: found.add(under_runner(main))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == 3


# ── calls ─────────────────────────────────────────────────────────────────────


def test_calls_run_in_order_and_can_be_cancelled(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        handles = [loop.call_soon(seen.append, number) for number in range(4)]
        assert not handles[1].cancelled()
        handles[1].cancel()
        assert handles[1].cancelled()
        timer = loop.call_later(0.001, seen.append, 9)
        assert abs(timer.when() - loop.time() - 0.001) < 1
        loop.call_at(loop.time(), seen.append, 8).cancel()
        await asyncio.sleep(0.002)
        assert seen == [0, 2, 3, 9]
        assert not handles[0].cancelled()

    drive(main)


def test_a_call_from_a_thread_wakes_the_loop(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            future: asyncio.Future[int] = loop.create_future()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, 5))
            thread.start()
            assert await future == 5
            thread.join()

    drive(main)


def test_contexts_are_asyncios(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        def note() -> None:
            seen.append(variable.get())

        def change() -> None:
            variable.set("changed inside")
            loop.call_soon(note)

        loop.call_soon(note)
        variable.set("first")
        loop.call_soon(note)
        timer = loop.call_later(0.001, note)
        given = contextvars.copy_context()
        variable.set("second")
        loop.call_soon(note, context=given)
        loop.call_soon(change)
        loop.call_soon(note)
        empty = contextvars.Context()
        loop.call_soon(variable.set, "kept there", context=empty)
        await asyncio.sleep(0.003)
        assert seen == ["none", "first", "first", "second", "changed inside", "first"]
        assert empty[variable] == "kept there"
        assert timer.when() <= loop.time()

    drive(main)


def test_a_variable_set_by_a_call_without_context_is_gone_in_the_next_turn() -> None:
    async def main(reactor: Reactor) -> str:
        loop = asyncio.get_running_loop()
        later: asyncio.Future[str] = loop.create_future()
        loop.call_soon(variable.set, "leak")
        loop.call_later(0.001, lambda: later.set_result(variable.get()))
        return await later

    assert run(main) == "none"


def test_errors_in_callbacks_reach_the_exception_handler(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context))
        loop.call_soon(int, "x")
        loop.call_later(0, int, "x")
        here, there = socket.socketpair()
        loop.add_writer(here, lambda: (loop.remove_writer(here), int("x")))
        await asyncio.sleep(0.002)
        here.close()
        there.close()
        assert [type(each["exception"]) for each in seen] == [ValueError] * 3

    drive(main)


def test_debug_mode_names_slow_callbacks_and_checks_threads(
    loop: ReactorEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="Non-thread-safe"):
            await loop.run_in_executor(pool, loop.call_soon, int)
        with pytest.raises(TypeError, match="coroutines"):
            loop.call_soon(echo)
        with pytest.raises(TypeError, match="callable"):
            loop.call_later(0, 5)  # type: ignore[arg-type]  # that is the point
        loop.call_later(0, noticeable)
        await asyncio.sleep(0.001)

    def noticeable() -> None:
        """Be named in the log."""

    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(main())

    assert any("noticeable" in record.getMessage() for record in caplog.records)
    assert any("<Task" in record.getMessage() for record in caplog.records)


# ── what asyncio builds on it ─────────────────────────────────────────────────


def test_task_groups_timeouts_gather_and_wait_for(drive: Callable[[Main], Any]) -> None:
    async def value(result: int) -> int:
        await asyncio.sleep(0)
        return result

    async def bad() -> None:
        await asyncio.sleep(0)
        raise KeyError("bad")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(value(number)) for number in range(5)]
        assert [task.result() for task in tasks] == [0, 1, 2, 3, 4]
        waiting: asyncio.Task[bool] | None = None
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(asyncio.Event().wait())
                group.create_task(bad())
        assert caught.group_contains(KeyError)
        assert waiting is not None
        assert waiting.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        async with asyncio.timeout(None) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        assert await asyncio.wait_for(value(3), 60) == 3
        assert await asyncio.gather(*map(value, range(4))) == [0, 1, 2, 3]
        done, pending = await asyncio.wait(
            [asyncio.ensure_future(value(1)), asyncio.ensure_future(asyncio.Event().wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert (len(done), len(pending)) == (1, 1)

    drive(main)


def test_threads_give_results_errors_and_contexts(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set("here")
        assert await asyncio.to_thread(variable.get) == "here"
        assert await loop.run_in_executor(None, divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 7, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.run_in_executor(None, next, iter(()))
        with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
            name = await loop.run_in_executor(pool, lambda: threading.current_thread().name)
            assert name.startswith("mine")
        held, hold = threading.Event(), threading.Event()

        def block() -> None:
            held.set()
            hold.wait(20)

        blocked = loop.run_in_executor(None, block)
        await asyncio.to_thread(held.wait, 20)
        blocked.cancel()
        hold.set()
        with pytest.raises(asyncio.CancelledError):
            await blocked

    drive(main)


def test_what_the_default_executor_has_taken_is_done_before_the_end(
    drive: Callable[[Main], Any],
) -> None:
    seen: list[int] = []
    gate = threading.Event()

    async def main() -> None:
        def work(number: int) -> None:
            gate.wait(20)
            seen.append(number)

        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.run_in_executor(None, work, number)
        gate.set()

    drive(main)

    assert sorted(seen) == list(range(100))


def test_the_default_executor_takes_nothing_after_its_end(loop: ReactorEventLoop) -> None:
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="shutdown"):
        loop.run_in_executor(None, int)


def test_names_are_looked_up(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")

    drive(main)


def test_asynchronous_generators_are_closed_at_the_end(drive: Callable[[Main], Any]) -> None:
    seen: list[str] = []

    async def generate() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    kept: list[AsyncGenerator[int, None]] = []

    async def main() -> None:
        generator = generate()
        kept.append(generator)
        await anext(generator)

    drive(main)

    assert seen == ["closed"]


def test_a_cancelled_main_raises_what_asyncio_raises() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        under_runner(main)


def test_keyboard_interrupt_cancels_main_and_comes_out() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        under_runner(main)
    with pytest.raises(KeyboardInterrupt):
        under_run(main)

    assert seen == ["cleaned up"] * 2


def test_keyboard_interrupt_in_a_callback_leaves_the_loop_usable(loop: ReactorEventLoop) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, 5)) == 5


def test_signal_handlers(drive: Callable[[Main], Any]) -> None:
    before = signal.getsignal(signal.SIGUSR1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[str] = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, came.set_result, "signal")
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await came == "signal"
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        for wrong, error in ((signal.SIGKILL, RuntimeError), (9999, ValueError)):
            with pytest.raises(error):
                loop.add_signal_handler(wrong, int)
        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGUSR1, main)
        loop.add_signal_handler(signal.SIGUSR1, int)

    drive(main)

    assert signal.getsignal(signal.SIGUSR1) is before


def test_signal_handlers_are_refused_outside_the_main_thread() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="main thread"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, int)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(under_runner, main).result(20)


def test_subprocesses(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; data = sys.stdin.read(); print(data.upper()); sys.exit(3)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"octets")
        assert (out, process.returncode) == (b"OCTETS\n", 3)
        sleeper = await asyncio.create_subprocess_exec("sleep", "1000")
        sleeper.terminate()
        assert await sleeper.wait() == -signal.SIGTERM

    drive(main)


def test_datagrams_have_asyncios_manners(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[bytes] = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                came.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        await asyncio.sleep(0)
        assert isinstance(transport, asyncio.DatagramTransport)
        assert isinstance(transport, asyncio.Transport)
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=transport.get_extra_info("sockname")
        )
        sender.sendto(b"packet")
        assert await came == b"packet"
        sender.close()
        transport.close()
        await asyncio.sleep(0)

    drive(main)


def test_plain_sockets(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            listening.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listening))
            await loop.sock_connect(client, listening.getsockname())
            server, _ = await accepting
            with server:
                data = os.urandom(1 << 20)
                sending = asyncio.ensure_future(loop.sock_sendall(client, data))
                got = bytearray()
                while len(got) < len(data):
                    got += await loop.sock_recv(server, 65536)
                await sending
                assert got == data
                waiting = asyncio.ensure_future(loop.sock_recv(server, 1))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert not loop.remove_reader(server)

    drive(main)


def test_a_reader_for_a_file_that_is_closed_or_none_is_refused(loop: ReactorEventLoop) -> None:
    here, there = socket.socketpair()
    here.close()
    there.close()
    with pytest.raises(ValueError, match="Invalid file"):
        loop.add_reader(here, int)
    with pytest.raises(ValueError, match="Invalid file"):
        loop.add_reader("stdin", int)  # type: ignore[arg-type]  # that is the point


def test_a_handshake_with_a_stranger_fails_on_both_sides_and_hurts_nobody(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=ssl.create_default_context(), server_hostname="localhost"
            )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        try:
            await reader.read()
        except ConnectionResetError:
            pass  # octets were left unread; either end is right
        writer.close()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls, server_hostname="localhost"
        )
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()
        server.close()

    under_runner(main)
