"""The benchmark library measures what it says, and judges by it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import loads
from tools.benchmark import Benchmark
from tools.processes import Child, cpu_time, private_memory
from tools.workspace import ROOT

BENCH = """\
from __future__ import annotations
import socket
from tools import loads
from tools.benchmark import Benchmark, Ready, main

echo = Benchmark("echo", load=loads.echo(connections=1, size=64, operations=300))
sums = Benchmark("sums", operations=20_000, operation="sum")

@echo.server("plain")
def plain(ready: Ready) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ready(listener.getsockname()[1])
    while True:
        peer, _ = listener.accept()
        while data := peer.recv(65536):
            peer.sendall(data)

@echo.server("absent", requires=["no_such_package"])
def absent(ready: Ready) -> None: ...

@sums.code("short")
def short(n: int) -> None:
    for _ in range(n):
        sum(range(10))

@sums.code("long")
def long(n: int) -> None:
    for _ in range(n):
        sum(range(400))

sums.at_most("short", 0.5, of="long")
sums.at_most("long", 0.5, of="short")

if __name__ == "__main__":
    main(echo, sums)
"""


def run(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(file), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "bench_it.py"
    path.write_text(BENCH)
    return path


def test_a_server_is_measured_by_its_own_cpu(bench: Path) -> None:
    ran = run(bench, "echo", "--rounds", "1")

    assert ran.returncode == 0, ran.stderr
    [row] = [line for line in ran.stdout.splitlines() if line.startswith("| plain")]
    assert 0 < float(row.split("|")[2]) < 5000
    assert "Absent: absent (no Python package no_such_package)" in ran.stdout


def test_a_bound_that_is_not_kept_fails_the_check_and_only_that(bench: Path) -> None:
    ran = run(bench, "sums", "--rounds", "2", "--check")

    assert ran.returncode == 1, ran.stderr
    assert "short at most 0.5 x long" in ran.stdout
    assert ran.stdout.count("NOT KEPT") == 1
    assert run(bench, "sums", "--rounds", "1").returncode == 0


def test_a_server_that_answers_wrongly_cannot_win() -> None:
    """What is too short or too long is an error of the load, not a figure."""
    code = (
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "peer, _ = listener.accept()\n"
        "peer.recv(9)\n"
    )
    with Child([sys.executable, "-c", code]) as server:
        port = int(server.line(20))
        with pytest.raises(loads.LoadError):
            loads.accept_echo(operations=1).run(port)


def test_cpu_time_counts_the_work_of_a_process_and_not_its_waiting() -> None:
    code = (
        "import sys, time\n"
        "print('up', flush=True); sys.stdin.readline()\n"
        "while time.process_time() < 0.3: pass\n"
        "print('done', flush=True); sys.stdin.readline()\n"
    )
    with Child([sys.executable, "-c", code]) as child:
        child.line(20)
        before = cpu_time(child.pid)
        child.tell("go")
        child.line(20)
        spent = cpu_time(child.pid) - before
        assert private_memory(child.pid) > 1 << 20

    assert 0.1e9 < spent < 0.5e9


def test_a_child_is_gone_with_its_block() -> None:
    with Child([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        pid = child.pid
        began = time.monotonic()

    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_without_a_load_is_refused() -> None:
    with pytest.raises(ValueError, match="no load"):
        Benchmark("it").server("name")(lambda ready: None)
