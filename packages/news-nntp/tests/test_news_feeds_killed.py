"""A feed whose two ends are killed at any moment: every article arrives, and once."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from news_process import GROUP

from sennit.core.testing.loopback import free_port
from sennit.news.interfaces import History
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("news_process.py")


class Ends:
    """The processes of both ends."""

    def __init__(self, folder: Path, port: int, count: int) -> None:
        self._words = {
            "send": ("send", folder / "a.db", str(port), str(count)),
            "receive": ("receive", folder / "b.db", str(port)),
        }
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.kept: set[str] = set()

    def start(self, role: str) -> None:
        """Start one."""
        self._running[role] = subprocess.Popen(
            [sys.executable, str(PROGRAM), *map(str, self._words[role])],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            # It waits where nobody reads what it says: it does not run far ahead.
            pipesize=4096,
        )

    def lines(self, role: str) -> Iterator[str]:
        """What one says, until it ends."""
        output = self._running[role].stdout
        assert output is not None
        for line in output:
            if role == "send" and line.startswith("kept "):
                self.kept.add(line.split()[1])
            yield line.strip()

    def until(self, role: str, said: str) -> None:
        """Read what one says until it says this."""
        for line in self.lines(role):
            if line == said:
                return
        raise AssertionError(f"{role} ended before it said {said!r}")

    def kill(self, role: str) -> None:
        """Kill one, and read what it said before."""
        process = self._running.pop(role, None)
        if process is None:
            return
        process.kill()
        self._running[role] = process
        for _ in self.lines(role):
            pass
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        del self._running[role]

    def end(self) -> None:
        """Kill what runs."""
        for role in list(self._running):
            self.kill(role)


async def check(folder: Path, port: int, *, count: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    ends = Ends(folder, port, count)
    try:
        ends.start("receive")
        ends.until("receive", "listening")
        ends.start("send")
        for _ in range(kills):
            said = islice(ends.lines("send"), chance.randrange(1, 60))
            assert "all kept" not in said, "there is time for all kills"
            role = chance.choice(("send", "receive"))
            ends.kill(role)
            ends.start(role)
            if role == "receive":
                ends.until("receive", "listening")
        ends.kill("send")
        ends.start("send")
        ends.until("send", "all kept")
        ends.until("send", "empty")
    finally:
        ends.end()
    async with SQLiteStore.open(folder / "b.db") as store:
        group = await store.group(GROUP)
        assert group is not None
        assert (group.count, group.high) == (count, count), "each has arrived, and once"
        for message_id in ends.kept | {f"<{number}@x>" for number in range(count)}:
            assert await store.history(message_id.encode()) is History.PRESENT


async def test_every_article_arrives_once_whoever_is_killed(tmp_path: Path, port: int) -> None:
    """HARDENING fault-6: with SIGKILL, at either end, at any moment."""
    await check(tmp_path, port, count=150, kills=3, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.sennit(timeout=600)
async def test_every_article_arrives_once_after_a_hundred_kills(tmp_path: Path, port: int) -> None:
    """HARDENING fault-6, the long form."""
    await check(tmp_path, port, count=20_000, kills=100, seed=2)


@pytest.fixture
def port() -> int:
    """A port that is free."""
    return free_port()
