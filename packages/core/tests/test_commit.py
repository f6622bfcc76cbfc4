"""commit(): cancellation waits for the end of the step, whoever asks for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from sennit.core.commit import commit, sync_directory

if TYPE_CHECKING:
    from pathlib import Path


async def turn(times: int = 3) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def test_cancellation_takes_effect_where_the_block_ends() -> None:
    async def main() -> None:
        log: list[str] = []
        gate = asyncio.Event()

        async def work() -> None:
            async with commit():
                await gate.wait()
                log.append("whole")
            log.append("never")

        task = asyncio.ensure_future(work())
        await turn()
        assert task.cancel("why")
        assert task.cancel()
        await turn()
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["whole"]
        assert task.cancelled()

    asyncio.run(main())


def test_without_cancellation_nothing_happens_and_later_ones_work() -> None:
    async def main() -> None:
        async def work() -> None:
            async with commit():
                await asyncio.sleep(0)
            await asyncio.sleep(60)

        task = asyncio.ensure_future(work())
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_the_outermost_of_nested_blocks_counts() -> None:
    async def main() -> None:
        log: list[int] = []

        async def work() -> None:
            async with commit():
                async with commit():
                    await asyncio.sleep(0)
                log.append(1)
                await asyncio.sleep(0)
                log.append(2)
            log.append(3)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert log == [1, 2]

    asyncio.run(main())


def test_an_error_of_the_block_itself_passes_and_the_cancellation_comes_after() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def work() -> None:
            async with commit():
                await gate.wait()
                raise OSError("disk full")

        task = asyncio.ensure_future(work())
        await turn()
        task.cancel()
        gate.set()
        with pytest.raises(OSError, match="disk full"):
            await task

    asyncio.run(main())


def test_timeouts_and_task_groups_wait_too() -> None:
    async def main() -> None:
        log: list[str] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                async with commit():
                    await turn(5)
                    log.append("whole")
                log.append("never")

        async def durable() -> None:
            async with commit():
                await turn(5)
                log.append("whole too")

        async def failing() -> None:
            await asyncio.sleep(0)
            raise ValueError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(durable())
                group.create_task(failing())
        assert log == ["whole", "whole too"]

    asyncio.run(main())


def test_commit_is_for_tasks_and_for_one_use_at_a_time() -> None:
    async def main() -> None:
        shield = commit()
        async with shield:
            with pytest.raises(RuntimeError, match="entered already"):
                await shield.__aenter__()

    asyncio.run(main())

    coroutine = commit().__aenter__()
    loop = asyncio.new_event_loop()
    failed: list[BaseException] = []

    def outside() -> None:
        try:
            coroutine.send(None)
        except RuntimeError as error:
            failed.append(error)

    loop.call_soon(outside)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert "none runs here" in str(failed[0])


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be opened")
def test_a_directory_is_brought_to_the_disk_and_its_descriptor_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        assert os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        synced.append(descriptor)
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="full"):
        sync_directory(tmp_path)

    with pytest.raises(OSError, match="descriptor"):
        os.fstat(synced[0])
