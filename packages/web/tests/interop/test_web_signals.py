"""`sennit web` as a process under load: signals, reloads and rolling restarts lose no request.

wrk counts what a client sees: a read error is an answer that did not come whole, a connect or
write error a connection that nobody accepted, as there must be once the listener has gone.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed"),
]

LIMIT = 30.0
SENNIT = [sys.executable, "-m", "sennit.core.service.cli", "web"]


class Web:
    """A `sennit web` process that serves a folder."""

    def __init__(self, root: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*SENNIT, str(root), "--listen", "tcp://127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.timer = threading.Timer(LIMIT, self.process.kill)
        self.timer.start()
        self.log: list[str] = []
        self.logged = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        assert self.process.stdout is not None
        table = ""
        for line in self.process.stdout:
            if line == "ready\n":
                break
            table += line
        found = re.search(r"//127\.0\.0\.1:(\d+)", table)
        assert found is not None, (table, self.log)
        self.port = int(found[1])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.logged:
                self.log.append(line)
                self.logged.notify_all()

    def wait_logged(self, words: str) -> None:
        with self.logged:
            assert self.logged.wait_for(lambda: any(words in each for each in self.log), LIMIT), (
                self.log
            )

    def end(self) -> int:
        status = self.process.wait(LIMIT)
        self.timer.cancel()
        self.reader.join(LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Start servers; whatever still runs at the end is killed."""
    (tmp_path / "page.html").write_text("<p>Hello\n" * 100)
    (tmp_path / "big.bin").write_bytes(b"x" * (1 << 20))
    started: list[Web] = []

    def start(*options: str) -> Web:
        started.append(Web(tmp_path, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.end()


class Load:
    """wrk at 200 connections for a few seconds."""

    def __init__(self, port: int, seconds: int, path: str = "/page.html") -> None:
        self.process = subprocess.Popen(
            ["wrk", "-t1", "-c200", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def errors(self) -> dict[str, int]:
        """What went wrong, by kind; and the answers that were not 2xx."""
        said, _ = self.process.communicate(timeout=LIMIT)
        found = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        counts = map(int, found.groups()) if found else (0, 0, 0, 0)
        kinds = ("connect", "read", "write", "timeout")
        errors: dict[str, int] = dict(zip(kinds, counts, strict=True))
        other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        errors["status"] = int(other[1]) if other else 0
        answered = re.search(r"(\d+) requests in", said)
        assert answered is not None
        assert int(answered[1]) > 200
        return errors


@pytest.mark.parametrize("path", ["/page.html", "/big.bin"])
def test_sigterm_under_load_finishes_every_answer(web: Callable[..., Web], path: str) -> None:
    """HARDENING fault-4."""
    server = web()
    load = Load(server.port, 3, path)
    time.sleep(1)  # wrk gives no sign of its own
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    assert server.process.returncode == 0
    errors = load.errors()
    assert (errors["read"], errors["timeout"], errors["status"]) == (0, 0, 0)


def test_a_reload_under_load_is_not_noticed(web: Callable[..., Web]) -> None:
    """HARDENING fault-4."""
    server = web()
    load = Load(server.port, 3)
    for _ in range(3):
        time.sleep(0.6)
        server.process.send_signal(signal.SIGHUP)
    errors = load.errors()
    assert errors == {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0


def test_a_rolling_restart_of_workers_under_load_is_not_noticed(web: Callable[..., Web]) -> None:
    """HARDENING fault-4."""
    server = web("--workers", "2")
    load = Load(server.port, 5)
    time.sleep(0.6)
    server.process.send_signal(signal.SIGUSR2)
    errors = load.errors()
    assert errors == {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0, server.log


def test_a_second_sigterm_stops_at_once(web: Callable[..., Web]) -> None:
    """HARDENING fault-5: a client that never reads its download would hold it for 30 s."""
    server = web()
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        assert sock.recv(10) == b"HTTP/1.1 2"
        server.process.send_signal(signal.SIGTERM)
        server.wait_logged("SIGTERM")
        time.sleep(1)  # two of one keystroke count as one
        assert server.process.poll() is None
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() in (128 + signal.SIGTERM, -signal.SIGTERM)
        assert time.monotonic() - began < 5
