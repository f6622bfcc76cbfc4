"""Parts of a run: back-off, pid file, service manager, sockets that are shared."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.reactor.base import run
from sennit.core.service.backoff import BackOff
from sennit.core.service.control import Control
from sennit.core.service.pidfile import PidFile, PidFileHeldError, read_pid
from sennit.core.service.sdnotify import ServiceManager, watchdog_seconds
from sennit.core.service.settings import RunOptions, Settings
from sennit.core.service.sockets import LocalSockets, SocketServer, SupervisedSockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

# ── back-off ──────────────────────────────────────────────────────────────────


def test_waits_double_up_to_the_longest() -> None:
    backoff = BackOff(1.0, 30.0, jitter=0.0)

    assert [backoff.failed(0.0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_time_without_failure_begins_anew() -> None:
    backoff = BackOff(1.0, 30.0, jitter=0.0, settled=60.0)
    backoff.failed(0.0)
    assert backoff.failed(10.0) == 2.0
    assert backoff.failed(70.0) == 1.0
    assert backoff.failed(71.0, lived=1000.0) == 1.0


def test_too_many_failures_in_a_row_are_the_end() -> None:
    backoff = BackOff(1.0, limit=2)

    assert backoff.failed(0.0) is not None
    assert backoff.failed(0.0) is not None
    assert backoff.failed(0.0) is None
    backoff.reset()
    assert backoff.failed(0.0) is not None


@given(st.integers(1, 5000), st.floats(0, 1))
def test_a_wait_lies_within_its_jitter(failures: int, chance: float) -> None:
    backoff = BackOff(1.0, 30.0, jitter=0.5, chance=lambda: chance)
    backoff.failures = failures - 1

    wait = backoff.failed(0.0, lived=0.0)

    assert wait is not None
    assert 0.5 <= wait <= 30.0


# ── pid file ──────────────────────────────────────────────────────────────────


def test_a_pid_file_is_held_while_the_process_runs(tmp_path: Path) -> None:
    path = tmp_path / "it.pid"
    held = PidFile(path)
    assert path.read_text() == f"{os.getpid()}\n"

    with pytest.raises(PidFileHeldError, match=f"process {os.getpid()} runs already") as caught:
        PidFile(path)
    assert caught.value.pid == os.getpid()

    held.close()
    held.close()
    assert os.listdir(tmp_path) == []


def test_a_pid_file_of_a_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "it.pid"
    code = (
        "import os, sys; from sennit.core.service.pidfile import PidFile;"
        "held = PidFile(sys.argv[1]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=30)
    assert read_pid(path) not in (None, os.getpid())

    held = PidFile(path)

    assert read_pid(path) == os.getpid()
    held.close()


def test_a_file_that_somebody_else_has_put_there_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "it.pid"
    held = PidFile(path)
    path.unlink()
    path.write_text("4711\n")

    held.close()

    assert read_pid(path) == 4711


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 20, "1 2"])
def test_a_pid_file_without_a_number_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "it.pid").write_text(text)

    assert read_pid(tmp_path / "it.pid") is None


# ── service manager ───────────────────────────────────────────────────────────


def test_nobody_is_told_who_did_not_ask() -> None:
    assert not ServiceManager({}).tell("READY=1")
    assert not ServiceManager({"NOTIFY_SOCKET": "relative"}).tell("READY=1")
    assert not ServiceManager({"NOTIFY_SOCKET": "/no/such/socket"}).tell("READY=1")


def test_an_abstract_address_is_spoken_to() -> None:
    """sd_notify(3): a leading @ stands for NUL."""
    name = f"sennit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        told = ServiceManager({"NOTIFY_SOCKET": f"@{name}"})
        told.ready("all well")
        assert manager.recv(100) == b"READY=1\nSTATUS=all well"
        told.status("busy")
        told.status("busy")
        told.stopping()
        assert manager.recv(100) == b"STATUS=busy"
        assert manager.recv(100) == b"STOPPING=1"
        with pytest.raises(ValueError, match="line end"):
            told.tell("STATUS=a\nREADY=1")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdogs_time_is_for_one_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    """sd_watchdog_enabled(3)."""
    assert watchdog_seconds(environ) == seconds


# ── settings ──────────────────────────────────────────────────────────────────


def test_the_command_line_comes_before_the_file() -> None:
    from sennit.core.service.config import NodeTable

    table = NodeTable(workers=2, drain=5.0, user="www-data")

    found = Settings.merged(table, RunOptions(workers="cpus", drain=0.0))

    assert found.workers is not None
    assert found.workers >= 1
    assert (found.drain, found.user) == (0.0, "www-data")
    assert Settings(**found.to_json()).to_json() == found.to_json()


# ── sockets ───────────────────────────────────────────────────────────────────


def close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_a_place_is_shared_until_its_last_user_has_gone(tmp_path: Path) -> None:
    source = LocalSockets()
    path = tmp_path / "a.sock"
    first, release_first = source.unix(str(path), 16, 0o600)
    second, release_second = source.unix(str(path), 16, 0o600)
    assert first[0].fileno() != second[0].fileno()

    close_all(first)
    release_first()
    release_first()  # twice is once
    assert path.exists()
    close_all(second)
    release_second()
    assert not path.exists()
    assert source.places == ()


def test_a_further_copy_lets_no_other_user_wait_in_accept() -> None:
    """The flag is one for all copies (open(2), "open file description")."""
    source = LocalSockets()
    (first,), _ = source.tcp("127.0.0.1", 0, 16, False)
    port = first.getsockname()[1]
    first.setblocking(False)
    source.asker.preparing("")

    (second,), _ = source.tcp("127.0.0.1", 0, 16, False)

    assert second.getsockname()[1] == port
    assert not os.get_blocking(first.fileno())
    with pytest.raises(BlockingIOError):
        first.accept()
    close_all([first, second])
    source.close()


def test_a_port_that_the_system_chose_is_a_services_own() -> None:
    source = LocalSockets()

    def ask(owner: str, times: int) -> list[int]:
        source.preparing(owner)
        ports: list[int] = []
        for _ in range(times):
            sockets, _ = source.tcp("127.0.0.1", 0, 16, False)
            ports.append(sockets[0].getsockname()[1])
            close_all(sockets)
        return ports

    first, other, again = ask("a", 2), ask("b", 1), ask("a", 2)
    assert first == again
    assert len({*first, *other}) == 3
    source.close()


def test_workers_get_one_listener_and_a_datagram_socket_each() -> None:
    local = LocalSockets()
    pairs = [socket.socketpair() for _ in range(2)]
    servers = [SocketServer(local, pair[0], number) for number, pair in enumerate(pairs, 1)]

    def serve(server: SocketServer, sock: socket.socket) -> None:
        while server.readable():
            pass

    threads = [
        threading.Thread(target=serve, args=(server, pair[0]))
        for server, pair in zip(servers, pairs, strict=True)
    ]
    for each in threads:
        each.start()
    workers = [SupervisedSockets(pair[1]) for pair in pairs]
    tcp: list[tuple[list[socket.socket], Callable[[], object]]] = []
    for worker in workers:
        worker.preparing("site")
        tcp.append(worker.tcp("127.0.0.1", 0, 16, False))
    ports = {sockets[0].getsockname()[1] for sockets, _ in tcp}
    assert len(ports) == 1
    first, _ = workers[0].udp("127.0.0.1", 0, False)
    port = first[0].getsockname()[1]
    own = [worker.udp("127.0.0.1", port, False)[0][0] for worker in workers]
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1"):
        workers[0].tcp("192.0.2.1", 0, 16, False)

    # A datagram arrives at one of them, and stays there.
    assert own[0].getsockname() == own[1].getsockname()
    for sockets, release in tcp:
        close_all(sockets)
        release()
    assert not [each for each in local.places if each[0] == "tcp"]
    close_all([*first, *own])
    for worker in workers:
        worker.close()
    for each in threads:
        each.join(5)
    for server in servers:
        for let_go in server.close():
            let_go()
    local.close()


def test_an_answer_that_comes_too_late_is_not_taken_for_another() -> None:
    here, there = socket.socketpair()
    local = LocalSockets()
    server = SocketServer(local, here, 1)
    worker = SupervisedSockets(there)
    with there:
        there.settimeout(0.001)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                worker.tcp("127.0.0.1", 0, 16, False)
        assert server.readable()
        thread = threading.Thread(target=lambda: [server.readable() for _ in range(4)])
        thread.start()
        there.settimeout(10.0)

        sockets, _ = worker.udp("127.0.0.1", 0, False)

        worker.preparing("other")
        thread.join()
        assert sockets[0].type == socket.SOCK_DGRAM
        # What nobody took is given back.
        assert [key[0] for key in local.places] == ["udp"]
        assert not sockets[0].get_inheritable()
        sockets[0].close()
        for each in server.close():
            each()


def test_a_long_answer_does_not_end_the_connection_to_the_supervisor() -> None:
    """Else a worker would end whose state is asked for."""

    async def main(reactor: Reactor) -> None:
        ends = socket.socketpair()
        lost: list[int] = []

        def answer(*_: object) -> str:
            return "x" * 2**25

        def ignore(*_: object) -> None: ...

        worker, supervisor = (
            Control(reactor, answer, ignore, functools.partial(lost.append, n)) for n in range(2)
        )
        worker.attach(ends[0])
        supervisor.attach(ends[1])
        assert len(await supervisor.ask("admin")) == 2**25
        assert not lost

    run(main)


def test_descriptors_that_are_closed_are_not_given_to_files(tmp_path: Path) -> None:
    """Else a connection could get what is logged."""
    code = """
import os, sys
from sennit.core.service.cli import main
assert sys.stdout is None
try:
    main(["check", "none.toml"])
finally:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    os.write(fd, str(fd).encode())
"""
    found = tmp_path / "number"
    subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, "-c", code, str(found)],
        check=False,
        timeout=20,
    )
    assert int(found.read_text()) > 2
