"""Child processes of a benchmark, and what they cost.

CPU time is read from the process's own CPU clock, which counts nanoseconds (the figures of
``/proc/<pid>/stat`` count hundredths of a second). Linux only, as all our measuring is.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["Child", "cpu_time", "private_memory"]


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold anything; the parent follows it and the state.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    family: list[int] = []
    queue = [pid]
    while queue:
        each = queue.pop()
        family.append(each)
        queue += children.get(each, ())
    return family


def cpu_time(pid: int) -> int:
    """Nanoseconds of user and system time that a process and its descendants have used."""
    total = 0
    for each in _family(pid):
        try:
            # The kernel's numbering of another process's CPU clock (see clock_getcpuclockid(3)).
            total += time.clock_gettime_ns((~each << 3) | 2)
        except OSError:
            continue
    return total


def private_memory(pid: int) -> int:
    """Octets that would be free again if a process and its descendants went away."""
    total = 0
    for each in _family(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Dirty:", "Private_Clean:")):
                total += int(line.split()[1]) * 1024
    return total


class Child:
    """A process in a group of its own, spoken to in lines; gone when the block ends.

    Args:
        command: Program and arguments.
        quiet: Its output is thrown away (a foreign server's chatter).
    """

    def __init__(self, command: Sequence[str], *, quiet: bool = False) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing is measured at the end: the whole group goes at once, workers included.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def check_alive(self) -> None:
        """Raise if the process has ended."""
        status = self._process.poll()
        if status is not None:
            raise RuntimeError(f"{' '.join(self._command)} ended with status {status}")

    def line(self, timeout: float) -> str:
        """The next line of its output."""
        out = self._process.stdout
        assert out is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{' '.join(self._command)} was silent for {timeout:.0f} s")
            data = os.read(out.fileno(), 65536)
            if not data:
                status = self._process.wait()
                raise RuntimeError(f"{' '.join(self._command)} ended with status {status}")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def tell(self, text: str) -> None:
        """Write a line to its input."""
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(text.encode() + b"\n")
            stream.flush()
        except BrokenPipeError:
            print(f"{' '.join(self._command)} no longer listens", file=sys.stderr)
