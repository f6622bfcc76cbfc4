"""Nodes as processes, for the tests that need them, and how busy the machine is."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

import pytest

from sennit.core import plugin
from sennit.core.plugin import KNOWN_SERVICES
from sennit.core.service import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def gopher(monkeypatch: pytest.MonkeyPatch) -> str:
    """A service that a strand is known to bring, and that is installed nowhere."""
    known: dict[str, tuple[str, str]] = {**KNOWN_SERVICES, "gopher": ("sennit-gopher", "Burrow")}
    for module in (plugin, commands):
        monkeypatch.setattr(module, "KNOWN_SERVICES", known)
    return "gopher"


LIMIT = 45.0
"""Seconds after which anything here has failed."""

PLUGIN = """
import os, time
from sennit.core.plugin import ServicePlugin
from sennit.core.protocol import Protocol
from sennit.core.service.config import Listen, ServiceConfig, listen_on
from sennit.core.service.server import ServerService

VERSION = "one"

class WhoConfig(ServiceConfig, frozen=True, kw_only=True):
    listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
    word: str = ""

class Who(Protocol):
    '''Says who it is, then answers lines; when it is to end it does so after an answer.'''
    def __init__(self, config, context):
        self.config, self.context = config, context
        self.answered = self.draining = False
    def connection_made(self, transport):
        super().connection_made(transport)
        who = f"{os.getpid()} {self.context.worker} {VERSION} {self.config.word}"
        transport.write(who.strip().encode() + b"\\n")
    def data_received(self, data):
        word, _, rest = data.decode().strip().partition(" ")
        if word == "hang":
            time.sleep(60)
        elif word == "exit":
            os._exit(3)
        elif word == "count":
            self.context.counters.add(rest).add_callbacks(self.answer, self.answer)
        elif word == "listen":
            self.context.bus.subscribe(rest, lambda topic, message: self.answer(message.decode()))
            # The hub answers in turn: who has its answer is known to want the topic.
            self.context.counters.add("listening").add_callbacks(
                lambda _: self.transport.write(b"listening\\n"), self.answer)
        elif word == "publish":
            topic, _, message = rest.partition(" ")
            self.context.bus.publish(topic, message.encode())
            self.answer("published")
        else:
            self.answer(word)
    def answer(self, text):
        self.transport.write(f"{text}\\n".encode())
        self.answered = True
        if self.draining:
            self.transport.close()
    def drain(self):
        self.draining = True
        if self.answered:
            self.transport.close()

def build(config, context):
    return ServerService(context.name, lambda: Who(config, context), context.endpoints(config),
                         limits=context.limits(config))

def plugin(name, **more):
    return ServicePlugin(name, "Say who it is", config=WhoConfig, build=build, **more)

who = plugin("who")
single = plugin("single", scale="one")
"""


class SennitProcess:
    """A `sennit` process, a supervisor or a node that serves by itself."""

    def __init__(
        self, arguments: list[str], folder: Path, environ: dict[str, str], fds: tuple[int, ...] = ()
    ) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sennit.core.service.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), **environ},
            pass_fds=fds,
        )
        self.out: list[str] = []
        self.log: list[str] = []
        self._said = threading.Condition()
        self._timer = threading.Timer(2 * LIMIT, self.process.kill)
        self._timer.start()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.log)),
        ]
        for each in self._readers:
            each.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self, stream: IO[bytes], lines: list[str]) -> None:
        for line in stream:
            with self._said:
                lines.append(line.decode().rstrip("\n"))
                self._said.notify_all()

    def wait_for(self, words: str, times: int = 1) -> None:
        """Wait until so many lines of the log or of the output have said that."""

        def said() -> bool:
            return sum(words in line for line in [*self.log, *self.out]) >= times

        with self._said:
            assert self._said.wait_for(said, LIMIT), (words, self.log, self.out)

    def wait_ready(self) -> SennitProcess:
        with self._said:
            self._said.wait_for(
                lambda: "ready" in self.out or self.process.poll() is not None, LIMIT
            )
        assert "ready" in self.out, (self.out, self.log)
        return self

    @property
    def address(self) -> tuple[str, int]:
        found = re.search(r"tcp://([\d.]+):(\d+)", "\n".join(self.out))
        assert found is not None, self.out
        return found[1], int(found[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=LIMIT)

    def who(self, word: str = "x") -> list[str]:
        """Ask the test service once: process, worker, version, and its word."""
        with self.connect() as sock, sock.makefile("rb") as file:
            found = file.readline().decode().split()
            sock.sendall(word.encode() + b"\n")
            assert file.readline().decode().strip() == word
        return found

    def answer(self, line: str) -> str:
        with self.connect() as sock, sock.makefile("rb") as file:
            file.readline()
            sock.sendall(line.encode() + b"\n")
            return file.readline().decode().strip()

    def workers(self) -> list[int]:
        """The processes that it has started."""
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        with open(path) as file:
            return [int(each) for each in file.read().split()]

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def write(self, text: str) -> None:
        (self.folder / "sennit.toml").write_text(text)

    def wait(self) -> int:
        status = self.process.wait(LIMIT)
        self._timer.cancel()
        for each in self._readers:
            each.join(LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


@pytest.fixture
def sennit(tmp_path: Path) -> Iterator[Callable[..., SennitProcess]]:
    """Run ``sennit up`` on a text; services ``who`` and ``single`` can be named in it."""
    (tmp_path / "supervised.py").write_text(PLUGIN)
    info = tmp_path / "x_supervised-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x-supervised\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sennit.services]\nwho = supervised:who\nsingle = supervised:single\n"
    )
    started: list[SennitProcess] = []

    def start(
        text: str,
        *options: str,
        ready: bool = True,
        environ: dict[str, str] | None = None,
        fds: tuple[int, ...] = (),
    ) -> SennitProcess:
        (tmp_path / "sennit.toml").write_text(text)
        found = SennitProcess(["up", *options], tmp_path, environ or {}, fds)
        started.append(found)
        return found.wait_ready() if ready else found

    yield start
    for each in started:
        left = each.workers() if each.process.poll() is None else []
        each.close()
        for pid in left:
            # Its own would end by themselves; a test that failed must not wait for that.
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture
def starved() -> Callable[[], float]:
    """Tells the seconds that this thread has waited for a processor that others had.

    They are the machine's affair where a test measures how late the loop is.
    """

    def seconds() -> float:
        try:
            with open("/proc/thread-self/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except OSError:
            return 0.0  # this kernel does not tell

    return seconds


def gone(pid: int) -> bool:
    """Whether a process has ended, its parent's opinion aside."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def wait_gone() -> Callable[[int], None]:
    """Wait until a process has ended."""

    def wait(pid: int) -> None:
        deadline = time.monotonic() + LIMIT
        while not gone(pid):
            assert time.monotonic() < deadline, f"process {pid} still runs"
            time.sleep(0.02)

    return wait


class Load:
    """Callers that connect, ask and leave, one after the other, until told to stop."""

    def __init__(self, process: SennitProcess, callers: int = 4) -> None:
        self._process = process
        self._over = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self.seen: set[str] = set()
        self.versions: set[str] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        while not self._over.is_set():
            try:
                found = self._process.who()
            except (OSError, AssertionError) as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
            else:
                # As fast as it goes, all ports of this machine would be used up in seconds.
                self._over.wait(0.002)
                with self._lock:
                    self.answered += 1
                    self.seen.add(found[0])
                    self.versions.add(found[2])

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(LIMIT)

    def wait_for(self, more: int) -> None:
        """Wait until so many more calls were answered."""
        wanted = self.answered + more
        deadline = time.monotonic() + LIMIT
        while self.answered < wanted:
            assert time.monotonic() < deadline, (self.answered, self.failures[:3])
            time.sleep(0.01)


@pytest.fixture
def load() -> type[Load]:
    """Callers for a process."""
    return Load
