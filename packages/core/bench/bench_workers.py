"""Workers: what two of them serve beside one, and what a request costs then.

Each request burns one millisecond of CPU. A supervisor runs one worker or two, in turn;
one process with 32 connections asks. Requests per second are by the clock, so they mean
something only while the machine has a processor for each worker and a part of one for
whoever asks, whose own CPU is printed; the CPU per request is that of the workers and the
supervisor, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

CONNECTIONS: Final = 32
PLUGIN: Final = """
import time
from sennit.core.plugin import ServicePlugin
from sennit.core.protocol import Protocol
from sennit.core.service.config import Listen, ServiceConfig, listen_on
from sennit.core.service.server import ServerService

class BurnConfig(ServiceConfig, frozen=True, kw_only=True):
    listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
    turns: int

class Burn(Protocol):
    turns = 0
    def data_received(self, data):
        for _ in range(len(data)):
            for _ in range(self.turns):
                pass
            self.transport.write(b"x")

def build(config, context):
    Burn.turns = config.turns
    return ServerService(context.name, Burn, context.endpoints(config))

burn = ServicePlugin("burn", "Burn CPU", config=BurnConfig, build=build)
"""


def turns_of_a_millisecond() -> int:
    """How often an empty loop turns in one millisecond of CPU, at best of several tries."""
    best = 0
    for _ in range(20):
        begun = time.thread_time_ns()
        for _ in range(100_000):
            pass
        best = max(best, 100_000 * 1_000_000 // (time.thread_time_ns() - begun))
    return best


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, workers: int, seconds: float) -> tuple[float, float, float]:
    """Requests per second, CPU per request in milliseconds, and CPU of this process likewise."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sennit.core.service.cli", "up", "--workers", str(workers)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    port = 0
    for line in process.stdout:
        if found := re.search(r"tcp://127.0.0.1:(\d+)", line):
            port = int(found[1])
        if line == "ready\n":
            break
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            pids = [process.pid, *map(int, file.read().split())]
        return _ask(port, pids, seconds)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _ask(port: int, pids: list[int], seconds: float) -> tuple[float, float, float]:
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port))
        selector.register(sock, selectors.EVENT_READ)
        sock.sendall(b"x")
    done = 0
    before = 0.0
    begun = mine = 0.0
    end = time.monotonic() + seconds / 4  # to get going
    for warm in (True, False):
        while time.monotonic() < end:
            for key, _ in selector.select(0.1):
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                peer.recv(64)
                peer.send(b"x")
                done += 1
        if warm:
            done = 0
            before = sum(map(cpu_of, pids))
            mine = time.process_time()
            begun = time.monotonic()
            end = begun + seconds
    passed = time.monotonic() - begun
    used = sum(map(cpu_of, pids)) - before
    mine = time.process_time() - mine
    for key in list(selector.get_map().values()):
        selector.unregister(key.fileobj)
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    selector.close()
    return done / passed, 1000 * used / done, 1000 * mine / done


def main() -> int:
    """Run the rounds and print the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--check", action="store_true", help="fail where a bound is not met")
    given, _ = parser.parse_known_args()
    found: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "burning.py").write_text(PLUGIN)
        info = folder / "x_burning-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x-burning\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[sennit.services]\nburn = burning:burn\n")
        (folder / "sennit.toml").write_text(
            f'[service.burn]\ntype = "burn"\nturns = {turns_of_a_millisecond()}\n'
        )
        for index in range(given.rounds):
            for workers in (1, 2) if index % 2 else (2, 1):
                found[workers].append(measure(folder, workers, given.seconds))
    print(f"{'':10}{'requests/s':>12}{'CPU ms':>9}{'asking ms':>11}")
    medians: dict[int, list[float]] = {}
    for workers, results in found.items():
        medians[workers] = [median(column) for column in zip(*results, strict=True)]
        rate, cpu, mine = medians[workers]
        print(f"{workers} worker{'s' if workers > 1 else ' ':4}{rate:12.0f}{cpu:9.3f}{mine:11.3f}")
    gain = medians[2][0] / medians[1][0]
    cost = medians[2][1] / medians[1][1]
    print(f"two beside one: {gain:.2f} x the requests (at least 1.7)")
    print(f"                {cost:.2f} x the CPU per request (at most 1.1)")
    return 1 if given.check and (gain < 1.7 or cost > 1.1) else 0


if __name__ == "__main__":
    sys.exit(main())
