"""asyncio's subprocesses and pipes on the house's transports, compared with asyncio's own loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.reactor.eventloop import new_event_loop
from sennit.core.reactor.loopprocesses import LoopPipe, LoopSubprocess
from sennit.core.transport.reaping import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Main = Callable[[], Coroutine[Any, Any, Any]]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "sennit": new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Runs a main on our loop, and then on asyncio's: both are to do the same."""

    def on(main: Main) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    return on


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child is left by any of these tests."""
    yield
    assert descendants(os.getpid()) == []


def test_a_subprocess_communicates(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        data = bytes(range(256)) * 4000
        out, err = await process.communicate(data)
        assert (out, err) == (data, b"")
        assert await process.wait() == process.returncode == 0

    run(main)


def test_a_shell_says_its_lines_and_exits(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell(
            "echo one; echo two >&2; exit 3", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"one\n"
        assert await process.stdout.read() == b"two\n"
        assert await process.wait() == 3

    run(main)


def test_signals_reach_it_and_are_its_returncode(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        for name, arguments, expected in (
            ("terminate", (), -signal.SIGTERM),
            ("kill", (), -signal.SIGKILL),
            ("send_signal", (signal.SIGINT,), -signal.SIGINT),
        ):
            process = await asyncio.create_subprocess_exec("sleep", "100")
            getattr(process, name)(*arguments)
            assert await process.wait() == expected

    run(main)


def test_what_cannot_be_started_raises_the_systems_error(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("no-such-program")
        with pytest.raises(ValueError, match="null byte"):
            await asyncio.create_subprocess_exec("echo", "a\0b")
        with pytest.raises(ValueError, match="universal_newlines must be False"):
            wrong: Any = {"universal_newlines": True}
            await asyncio.create_subprocess_exec("echo", **wrong)

    run(main)


def test_input_that_is_not_read_is_no_error_of_communicate(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=subprocess.PIPE)
        await process.communicate(bytes(1_000_000))
        assert process.returncode == 0
        process = await asyncio.create_subprocess_exec("true", stdin=subprocess.PIPE)
        assert process.stdin is not None
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                process.stdin.write(bytes(100_000))
                await process.stdin.drain()
        await process.wait()

    run(main)


def test_the_limit_of_a_stream_holds_the_program_up(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "head", "-c", "1000000", "/dev/zero", stdout=subprocess.PIPE, limit=1000
        )
        assert process.stdout is not None
        size = 0
        while data := await process.stdout.read(5000):
            size += len(data)
        assert size == 1_000_000
        assert await process.wait() == 0

    run(main)


def test_a_protocol_is_told_of_pipes_and_end(run: Callable[[Main], Any]) -> None:
    class Recorder(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.events: list[Any] = []
            self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: Any) -> None:
            self.events.append("made")

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            self.events.append((fd, data))

        def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
            self.events.append(("lost", fd, exc))

        def process_exited(self) -> None:
            self.events.append("exited")

        def connection_lost(self, exc: Exception | None) -> None:
            self.events.append("ended")
            self.ended.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, "cat")
        stdin: Any = transport.get_pipe_transport(0)
        stdin.write(b"hello")
        stdin.close()
        await protocol.ended
        assert protocol.events[0] == "made"
        assert protocol.events[-1] == "ended"
        assert sorted(map(str, protocol.events[1:-1])) == sorted(
            map(
                str,
                [(1, b"hello"), ("lost", 0, None), ("lost", 1, None), ("lost", 2, None), "exited"],
            )
        )
        assert transport.get_returncode() == 0
        transport.close()

    run(main)


def test_pipes_are_connected_to_streams(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0)
        )
        transport, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(write, "wb", 0))
        transport.write(b"line\nrest")
        assert await reader.readline() == b"line\n"
        assert transport.can_write_eof()
        transport.write_eof()
        assert transport.is_closing()
        assert await reader.read() == b"rest"

    run(main)


def test_a_file_is_no_pipe(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with open(__file__, "rb") as file:
            with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
                await loop.connect_read_pipe(asyncio.Protocol, file)
            with pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets"):
                await loop.connect_write_pipe(asyncio.Protocol, file)

    run(main)


def test_a_reader_that_goes_ends_the_write_pipe(run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[asyncio.Future[Any]] = []

        class Writer(asyncio.Protocol):
            def __init__(self) -> None:
                lost.append(loop.create_future())

            def connection_lost(self, exc: Exception | None) -> None:
                lost[-1].set_result(exc)

        for data, expected in ((b"", type(None)), (bytes(1_000_000), BrokenPipeError)):
            read, write = os.pipe()
            transport, _ = await loop.connect_write_pipe(Writer, os.fdopen(write, "wb", 0))
            transport.write(data)
            os.close(read)
            assert isinstance(await lost[-1], expected)

    run(main)


def test_it_is_ours_that_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")
        transport: Any = made[0]
        assert type(transport) is LoopSubprocess
        stdin: Any = transport.get_pipe_transport(0)
        assert issubclass(type(stdin), LoopPipe)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        transport.close()
        await transport._wait()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_a_loop_in_any_thread_starts_processes() -> None:
    """Without a child watcher or a signal handler."""
    codes: list[int] = []

    async def main() -> int:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
        return await process.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            codes.append(runner.run(main()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert codes == [4]


def test_a_thief_does_not_keep_a_subprocess_from_ending() -> None:
    """HARDENING fault-13: it is gone, with asyncio's code for who knows how."""

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
        os.waitpid(process.pid, 0)
        assert await process.wait() in (255, 4)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
