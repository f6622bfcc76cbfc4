"""Programs awaited by coroutines: input, output, limits, time-outs, and nothing left behind."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import (
    ProcessError,
    ProcessFailedError,
    ProcessLimitError,
    ProcessTimeoutError,
    SpawnError,
    UsageError,
)
from sennit.core.process import open_process, run_process
from sennit.core.transport import process as process_module
from sennit.core.transport.process import Terminal
from sennit.core.transport.reaping import ProcessStatus, descendants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child is left by any of these tests."""
    yield
    assert descendants(os.getpid()) == []


async def some() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d\n" % number


async def test_a_result_says_what_came_of_a_program() -> None:
    result = await run_process(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert result.stdout == b"out\n"
    assert result.stderr == b"err\n"
    assert result.returncode == 3
    assert not result.success
    assert 0 < result.duration < 30
    assert repr(result) == "<ProcessResult 'sh' exit code 3, 4 octets out, 4 of errors>"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, b""),
        (b"", b""),
        (b"octets", b"octets"),
        (bytearray(b"more"), b"more"),
        (memoryview(b"views"), b"views"),
        (bytes(1_000_000), bytes(1_000_000)),
    ],
)
async def test_input_may_be_octets(given: Any, expected: bytes) -> None:
    assert (await run_process(["cat"], input=given)).stdout == expected


async def test_input_may_be_an_iterable_or_a_file(tmp_path: Path) -> None:
    assert (await run_process(["cat"], input=some())).stdout == b"0\n1\n2\n"
    memory = io.BytesIO(b"not this, but this")
    memory.seek(10)
    assert (await run_process(["cat"], input=memory)).stdout == b"but this"
    (tmp_path / "in").write_bytes(b"file")
    with (tmp_path / "in").open("rb") as file:
        assert (await run_process(["cat"], input=file)).stdout == b"file"
    with pytest.raises(UsageError, match="input is"):
        await run_process(["cat"], input="text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_input_that_nobody_reads_is_no_error() -> None:
    result = await run_process(["true"], input=bytes(1_000_000), check=True)
    assert result.success


async def test_input_that_fails_ends_the_program() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("source")

    with pytest.raises(KeyError):
        await run_process(["cat"], input=broken())


async def test_errors_can_go_where_output_goes() -> None:
    result = await run_process(["sh", "-c", "echo a; echo b >&2; echo c"], merge_stderr=True)
    assert result.stdout == b"a\nb\nc\n"
    assert result.stderr == b""


async def test_output_may_be_handed_on_and_holds_the_program_up(tmp_path: Path) -> None:
    pieces: list[bytes] = []
    at_once = 0

    async def slowly(data: bytes) -> None:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        await asyncio.sleep(0)
        pieces.append(data)
        at_once -= 1

    command = ["head", "-c", "500000", "/dev/zero"]
    result = await run_process(command, stdout=slowly)
    assert sum(map(len, pieces)) == 500_000
    assert result.stdout == b""
    pieces.clear()
    await run_process(command, stdout=pieces.append)
    assert sum(map(len, pieces)) == 500_000
    with (tmp_path / "out").open("wb") as file:
        await run_process(command, stdout=file)
    assert (tmp_path / "out").stat().st_size == 500_000
    async with open_process(["wc", "-c"]) as counting:
        assert counting.stdin is not None
        assert counting.stdout is not None
        await run_process(command, stdout=counting.stdin)
        await counting.stdin.send_eof()
        assert (await counting.stdout.read_line()).strip() == b"500000"
    with pytest.raises(UsageError, match="output is"):
        await run_process(["true"], stdout="nowhere")


async def test_a_callback_that_fails_ends_the_program() -> None:
    def refuse(data: bytes) -> None:
        raise LookupError("no room")

    with pytest.raises(LookupError):
        await run_process(["yes"], stdout=refuse)

    async def refuse_later(data: bytes) -> None:
        await asyncio.sleep(0)
        raise LookupError("no room")

    with pytest.raises(LookupError):
        await run_process(["yes"], stdout=refuse_later)


async def test_a_program_that_takes_too_long_is_killed() -> None:
    with pytest.raises(ProcessTimeoutError, match=r"'sh' took longer than 0.1 s") as caught:
        await run_process(["sh", "-c", "echo begun; exec sleep 100"], timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.result.status == ProcessStatus(None, signal.SIGTERM)
    assert caught.value.result.stdout in (b"begun\n", b"")


@pytest.mark.parametrize("stream", ["standard output", "standard error"])
async def test_a_program_that_says_too_much_is_killed(stream: str) -> None:
    script = "yes" if stream == "standard output" else "yes >&2"
    with pytest.raises(ProcessLimitError, match=f"100000 octets on its {stream}") as caught:
        await run_process(["sh", "-c", script], limit=100_000)
    result = caught.value.result
    assert len(result.stdout + result.stderr) == 100_000
    assert not result.success


async def test_failure_is_an_error_where_it_is_asked_for() -> None:
    with pytest.raises(ProcessFailedError, match=r"exit code 2; it said b'oh no'") as caught:
        await run_process(["sh", "-c", "echo oh no >&2; exit 2"], check=True)
    assert isinstance(caught.value, ProcessError)
    assert caught.value.result.returncode == 2
    with pytest.raises(SpawnError, match="cannot start 'no-such-program'"):
        await run_process(["no-such-program"])
    with pytest.raises(UsageError):
        await run_process(["true"], descriptors={1: "r"})
    with pytest.raises(UsageError):
        await run_process(["true"], descriptors={5: "r"})
    with pytest.raises(UsageError):
        await run_process(["true"], pty=True)


async def test_cancelling_kills_the_whole_tree() -> None:
    """Children in its group and grandchildren in sessions of their own."""
    said: list[bytes] = []
    script = "sleep 100 & setsid sleep 101 & echo $! ; wait"
    task = asyncio.ensure_future(run_process(["sh", "-c", script], stdout=said.append))
    while not said:
        await asyncio.sleep(0.005)
    tree = descendants(os.getpid())
    assert len(tree) >= 2
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 3
    for pid in tree:
        while os.path.exists(f"/proc/{pid}") and _state(pid) != "Z":
            await asyncio.sleep(0.005)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def test_environment_and_folder_are_handed_on(tmp_path: Path) -> None:
    result = await run_process(["sh", "-c", "pwd; echo $A"], cwd=tmp_path, env={"A": "b"})
    assert result.stdout.decode().split() == [str(tmp_path), "b"]


# ── talking with one ──────────────────────────────────────────────────────────


async def test_a_program_is_talked_with_by_streams() -> None:
    async with open_process(["cat"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is None
        assert process.pid > 0
        await process.stdin.send_all(b"hello\n")
        assert await process.stdout.read_line() == b"hello"
        await process.stdin.send_eof()
        assert await process.stdout.receive_some() == b""
        assert (await process.wait()).success
        assert await process.stdin.receive_some() == b""
    assert process.status == ProcessStatus(0)


async def test_leaving_the_block_waits_for_the_program_whatever_it_still_says() -> None:
    async with open_process(["sh", "-c", "cat; yes | head -c 1000000; exit 5"]) as process:
        pass
    assert process.status == ProcessStatus(5)


async def test_a_block_that_raises_ends_its_program() -> None:
    process = open_process(["sleep", "100"])
    with pytest.raises(ZeroDivisionError):
        async with process:
            raise ZeroDivisionError
    assert process.status == ProcessStatus(None, signal.SIGTERM)

    async def enter() -> None:
        async with open_process(["sleep", "100"]):
            entered.set()

    entered = asyncio.Event()
    task = asyncio.ensure_future(enter())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_descriptors_and_terminals_are_streams_too() -> None:
    async with open_process(["sh", "-c", "echo four >&4"], descriptors={4: "r"}) as process:
        assert await process.stream(4).read_line() == b"four"
        with pytest.raises(UsageError):
            process.stream(5)
    async with open_process(["cat"], pty=Terminal(raw=True)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(b"x")
        assert await process.stdout.read_exactly(1) == b"x"
        process.terminate()
    assert process.status == ProcessStatus(None, signal.SIGTERM)


async def test_a_program_that_was_not_started_has_no_number() -> None:
    process = open_process(["cat"])
    assert process.status is None
    with pytest.raises(UsageError, match="async with"):
        _ = process.pid
    with pytest.raises(SpawnError):
        async with open_process(["no-such-program"]):
            pass
    async with open_process(["sleep", "100"]) as process:
        assert process.send_signal(signal.SIGKILL)
        await process.wait()
        process.kill()


@pytest.mark.parametrize(
    "options", [{"timeout": "5"}, {"timeout": -1}, {"timeout": float("nan")}, {"limit": None}]
)
async def test_what_no_limit_can_be_is_refused_before_the_program_runs(options: Any) -> None:
    with pytest.raises(UsageError, match="is a number of"):
        await run_process(["sleep", "100"], **options)


@pytest.mark.parametrize("stream", [io.BytesIO(), io.StringIO()])
async def test_a_file_in_memory_is_no_output_and_the_error_says_what_is(stream: Any) -> None:
    with pytest.raises(UsageError, match="is no file of the system's"):
        await run_process(["true"], stdout=stream)
    with pytest.raises(UsageError, match="descriptor 1 cannot be"):
        async with open_process(["true"], stdout=stream):
            raise AssertionError("not reached")


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_program_that_began_in_the_moment_of_a_cancellation_is_ended(
    streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = process_module._Launch._runs

    def runs(launch: Any) -> None:
        task.cancel()
        began(launch)

    async def talk() -> None:
        async with open_process(["sleep", "100"], pty=True):
            raise AssertionError("not reached")

    async def run() -> None:
        await run_process(["sleep", "100"], descriptors={900: 2})

    monkeypatch.setattr(process_module._Launch, "_runs", runs)
    task = asyncio.ensure_future(talk() if streaming else run())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descendants(os.getpid()) == []
