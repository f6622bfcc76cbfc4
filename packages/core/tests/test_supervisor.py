"""A supervisor and its workers, as processes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.errors import SennitError, UsageError
from sennit.core.ops.admin import CommandError, ask_blocking
from sennit.core.reactor.base import run
from sennit.core.service.backoff import BackOff
from sennit.core.service.runner import NodeRun
from sennit.core.service.sdnotify import ServiceManager
from sennit.core.service.settings import Settings
from sennit.core.service.supervisor import Supervisor, interpreter_flags
from sennit.core.service.worker import WorkerRun
from sennit.core.service.workers import READY, Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="reads /proc; supervision was run on Linux alone"
)

# `Any`: processes and loads are made by fixtures of conftest.py, which is no module to import.


WHO = '[service.who]\ntype = "who"\nlisten = ["tcp://127.0.0.1:0"]\n'
ADMIN = '[admin]\nsocket = "admin.sock"\n'


# ── serving ───────────────────────────────────────────────────────────────────


def test_workers_share_one_port(sennit: Callable[..., Any]) -> None:
    process = sennit(WHO, "--workers", "2")

    workers = process.workers()
    assert len(workers) == 2
    # Both wait at the same socket: whoever is not stopped answers.
    for stopped, other in (workers, workers[::-1]):
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert {process.who()[0] for _ in range(5)} == {str(other)}
        finally:
            os.kill(stopped, signal.SIGCONT)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_the_supervisor_loads_no_service_and_no_tls(sennit: Callable[..., Any]) -> None:
    """It holds the sockets and nothing else, so nothing that breaks can break it."""
    process = sennit(WHO, "--workers", "1")

    with open(f"/proc/{process.pid}/maps") as file:
        maps = file.read()
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        command = file.read().split(b"\0")
    assert b"sennit.core.service.supervisor" in command
    assert not re.search("msgspec|cryptography", maps)  # what configurations and TLS load


def test_a_worker_inherits_no_descriptor_but_its_own(sennit: Callable[..., Any]) -> None:
    process = sennit(WHO, "--workers", "2")

    for pid in process.workers():
        names = [os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")]
        # Control, sockets, bus, one listener, the two ends of the wake-up, and output.
        assert sum(each.startswith("socket:") for each in names) <= 6, names
        assert "/dev/null" in names


def test_only_the_first_worker_runs_what_only_one_may(sennit: Callable[..., Any]) -> None:
    process = sennit('[service.alone]\ntype = "single"\n', "--workers", "2")

    assert {process.who()[1] for _ in range(8)} == {"1"}


def test_workers_count_together_and_hear_each_other(sennit: Callable[..., Any]) -> None:
    process = sennit(WHO, "--workers", "2")
    first, second = process.workers()

    def at(pid: int, line: str) -> str:
        other = second if pid == first else first
        os.kill(other, signal.SIGSTOP)
        try:
            return str(process.answer(line))
        finally:
            os.kill(other, signal.SIGCONT)

    assert [at(first, "count a"), at(second, "count a"), at(first, "count a")] == ["1", "2", "3"]

    os.kill(second, signal.SIGSTOP)
    try:
        sock = process.connect()
        file = sock.makefile("rb")
        assert file.readline().split()[0] == str(first).encode()
        sock.sendall(b"listen news\n")
        assert file.readline() == b"listening\n"
    finally:
        os.kill(second, signal.SIGCONT)
    assert at(second, "publish news hello") == "published"
    assert file.readline() == b"hello\n"
    sock.close()


def test_the_number_of_workers_may_stand_in_the_file(sennit: Callable[..., Any]) -> None:
    process = sennit("[node]\nworkers = 2\n" + WHO)

    assert len(process.workers()) == 2


def test_a_mistake_is_told_once_and_nothing_is_left(sennit: Callable[..., Any]) -> None:
    """HARDENING fault-19."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'[service.who]\ntype = "who"\nlisten = ["tcp://127.0.0.1:{port}"]\n'
        process = sennit(text, "--workers", "3", ready=False)

        assert process.wait() == 2

    assert sum("is in use" in line for line in process.log) == 1


# ── workers that end ──────────────────────────────────────────────────────────


def test_others_serve_while_a_worker_that_was_killed_is_replaced(
    sennit: Callable[..., Any], load: Any
) -> None:
    process = sennit(WHO, "--workers", "2")
    victim, other = process.workers()

    with load(process) as calls:
        calls.wait_for(50)
        os.kill(victim, signal.SIGKILL)
        process.wait_for("serves")
        calls.wait_for(50)

    # What the dead one had accepted is lost with it; nobody is refused.
    assert not [each for each in calls.failures if "Refused" in each]
    assert len(calls.failures) <= 4
    after = process.workers()
    assert len(after) == 2
    assert other in after
    assert victim not in after
    assert any("killed by SIGKILL" in line for line in process.log)


def test_a_worker_that_hangs_is_killed_and_replaced(sennit: Callable[..., Any]) -> None:
    process = sennit("[node]\nworkers = 1\nhang_timeout = 1\n" + WHO)
    before = process.workers()

    with process.connect() as sock:
        sock.recv(100)
        sock.sendall(b"hang\n")
        process.wait_for("has not answered for 1 s and is killed")
        process.wait_for("serves")

    assert process.workers() != before
    assert process.who()[1] == "1"


def test_a_worker_that_ends_again_and_again_is_waited_for_longer(
    sennit: Callable[..., Any],
) -> None:
    process = sennit(WHO, "--workers", "1")

    for times in (1, 2):
        with process.connect() as sock:
            sock.recv(100)
            sock.sendall(b"exit\n")
            sock.recv(1)
        process.wait_for("serves", times)

    assert sum("has ended: status 3" in line for line in process.log) == 2
    assert any("is started again in" in line for line in process.log)


def test_no_worker_outlives_its_supervisor(
    sennit: Callable[..., Any], wait_gone: Callable[[int], None]
) -> None:
    process = sennit(WHO, "--workers", "2")
    workers = process.workers()

    process.signal(signal.SIGKILL)

    for each in workers:
        wait_gone(each)
    process.process.wait(10)


def test_a_worker_that_hangs_does_not_outlive_its_supervisor_either(
    sennit: Callable[..., Any], wait_gone: Callable[[int], None]
) -> None:
    process = sennit("[node]\nworkers = 1\ndrain = 0\n" + WHO)
    (worker,) = process.workers()
    with process.connect() as sock:
        sock.recv(100)
        sock.sendall(b"hang\n")
        time.sleep(0.1)  # it sleeps by now, and answers nobody
        process.signal(signal.SIGKILL)
        # As a person would who sees it linger; its own alarm comes after the drain limit.
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.3)
        if os.path.exists(f"/proc/{worker}"):
            try:
                os.kill(worker, signal.SIGTERM)
            except ProcessLookupError:
                pass
        wait_gone(worker)


# ── the end ───────────────────────────────────────────────────────────────────


def test_what_is_under_way_may_finish(sennit: Callable[..., Any]) -> None:
    """HARDENING fault-4."""
    process = sennit(WHO, "--workers", "2")
    with process.connect() as sock, sock.makefile("rb") as file:
        file.readline()
        process.signal(signal.SIGTERM)
        process.wait_for("no new connections")
        sock.sendall(b"late\n")
        assert file.readline() == b"late\n"

    assert process.wait() == 0
    with pytest.raises(OSError, match="refused"):
        process.connect()


def test_a_second_signal_ends_all_at_once(
    sennit: Callable[..., Any], wait_gone: Callable[[int], None]
) -> None:
    """HARDENING fault-5."""
    process = sennit(WHO, "--workers", "2")
    workers = process.workers()
    with process.connect() as sock:
        sock.recv(100)
        process.signal(signal.SIGTERM)
        process.wait_for("no new connections")
        time.sleep(0.3)  # signals closer than that are one
        process.signal(signal.SIGTERM)

        assert process.wait() == 128 + signal.SIGTERM
    for each in workers:
        wait_gone(each)


def test_a_worker_that_does_not_drain_is_cut_off(sennit: Callable[..., Any]) -> None:
    process = sennit("[node]\nworkers = 1\ndrain = 0.2\n" + WHO)
    with process.connect() as sock:
        sock.recv(100)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_readiness_is_denied_before_doors_close(sennit: Callable[..., Any]) -> None:
    process = sennit("[node]\nworkers = 1\ndrain_delay = 1\n" + ADMIN + WHO)
    path = str(process.folder / "admin.sock")
    assert ask_blocking(path, "ready") == {"ready": True, "reasons": []}

    process.signal(signal.SIGTERM)
    process.wait_for("not ready any more")

    assert ask_blocking(path, "ready")["ready"] is False
    assert process.who()[1] == "1"
    assert process.wait() == 0


# ── reload ────────────────────────────────────────────────────────────────────


def test_a_reload_changes_all_workers_and_loses_no_call(
    sennit: Callable[..., Any], load: Any
) -> None:
    process = sennit(WHO, "--workers", "2")
    workers = process.workers()

    with load(process) as calls:
        calls.wait_for(20)
        process.write(WHO + 'word = "new"\n')
        process.signal(signal.SIGHUP)
        process.wait_for("reloaded: changed who", 2)
        calls.wait_for(20)

    assert calls.failures == []
    assert process.workers() == workers
    assert {tuple(process.who()[3:]) for _ in range(10)} == {("new",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("this is no TOML", "not TOML"),
        (WHO + "colour = 1\n", "[service.who] colour: found an unknown key"),
        (
            WHO + '[service.b]\ntype = "who"\nlisten = "unix:no/such/folder/s"\n',
            "[service.b] listen[0]",
        ),
    ],
)
def test_a_reload_that_fails_changes_nothing(
    sennit: Callable[..., Any], text: str, message: str
) -> None:
    """HARDENING fault-18."""
    process = sennit(WHO + 'word = "old"\n', "--workers", "2")

    process.write(text)
    process.signal(signal.SIGHUP)
    process.wait_for("not reloaded, everything is as it was: sennit.toml:")

    assert any("ERROR" in line and message in line for line in process.log), process.log
    assert {tuple(process.who()[3:]) for _ in range(10)} == {("old",)}
    process.write(WHO + 'word = "good"\n')
    process.signal(signal.SIGHUP)
    process.wait_for("reloaded: changed who", 2)
    assert process.who()[3] == "good"


def test_a_service_that_is_removed_refuses_callers(sennit: Callable[..., Any]) -> None:
    process = sennit(
        WHO + '[service.local]\ntype = "who"\nlisten = "unix:local.sock"\n', "--workers", "2"
    )
    path = process.folder / "local.sock"
    assert path.is_socket()

    process.write(WHO)
    process.signal(signal.SIGHUP)
    process.wait_for("removed local", 2)

    deadline = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ── rolling restart ───────────────────────────────────────────────────────────


def test_a_rolling_restart_runs_new_code_and_loses_no_call(
    sennit: Callable[..., Any], load: Any, wait_gone: Callable[[int], None]
) -> None:
    """HARDENING fault-4, for each worker."""
    process = sennit(WHO, "--workers", "2")
    before = process.workers()
    code = process.folder / "supervised.py"

    with load(process) as calls:
        calls.wait_for(50)
        code.write_text(code.read_text().replace('VERSION = "one"', 'VERSION = "two"'))
        process.signal(signal.SIGUSR2)
        process.wait_for("all workers were replaced")
        calls.wait_for(50)

    assert calls.failures == []
    assert calls.versions == {"one", "two"}
    assert {process.who()[2] for _ in range(10)} == {"two"}
    for each in before:
        wait_gone(each)


def test_new_code_that_does_not_start_replaces_nothing(sennit: Callable[..., Any]) -> None:
    process = sennit(WHO, "--workers", "2")
    before = process.workers()

    (process.folder / "supervised.py").write_text("raise RuntimeError('broken')")
    process.signal(signal.SIGUSR2)
    process.wait_for("not restarted: the new worker 1 did not come up")

    assert process.workers() == before
    assert process.who()[2] == "one"


# ── the admin socket ──────────────────────────────────────────────────────────


def test_commands_are_answered_for_all_workers(sennit: Callable[..., Any]) -> None:
    process = sennit("[node]\nworkers = 2\n" + ADMIN + WHO)
    path = str(process.folder / "admin.sock")

    with process.connect() as sock:
        sock.recv(100)
        status = ask_blocking(path, "status")
        shown = ask_blocking(path, "connections", service="who")

    assert status["node"]["state"] == "running"
    assert [each["pid"] for each in status["workers"]] == process.workers()
    (service,) = status["services"]
    assert (service["name"], service["connections"], service["trouble"]) == ("who", 1, None)
    assert shown["total"] == 1
    assert shown["connections"][0]["worker"] in (1, 2)
    workers = [
        each
        for each in ask_blocking(path, "metrics", format="json")
        if each["name"] == "sennit_workers"
    ]
    assert workers[0]["samples"][0]["value"] == 2

    process.write("[node]\nworkers = 2\n" + ADMIN + WHO + 'word = "new"\n')
    assert ask_blocking(path, "reload")["changed"] == ["who"]
    assert process.who()[3] == "new"
    process.write(WHO + "nonsense = 1\n")
    with pytest.raises(CommandError, match="nonsense"):
        ask_blocking(path, "reload")
    process.wait_for("ERROR   admin - not reloaded, everything is as it was: sennit.toml:4:")
    process.write("[node]\nworkers = 2\n" + ADMIN + WHO)
    assert ask_blocking(path, "restart") == {"restarted": [1, 2]}
    ask_blocking(path, "drain", name="who")
    with pytest.raises(OSError, match="refused"):
        process.connect()
    assert ask_blocking(path, "ready")["ready"] is False
    ask_blocking(path, "drain")
    assert process.wait() == 0


def test_a_service_is_drained_in_the_workers_too_that_were_replaced(
    sennit: Callable[..., Any],
) -> None:
    """Its port was open for a moment longer than the command had said."""
    process = sennit("[node]\nworkers = 2\n" + ADMIN + WHO)
    path = str(process.folder / "admin.sock")
    old = process.workers()
    for each in old:
        # They learn late that they are to leave.
        os.kill(each, signal.SIGSTOP)
    assert ask_blocking(path, "restart") == {"restarted": [1, 2]}

    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(ask_blocking, path, "drain", name="who")
        # The new ones have heard both in turn.
        assert ask_blocking(path, "status")["node"]["state"] == "running"
        assert not drained.done()
        for each in old:
            os.kill(each, signal.SIGCONT)
        assert drained.result(30) == {"drained": "who"}
    with pytest.raises(OSError, match="refused"):
        process.connect()


def test_a_worker_that_hangs_does_not_hide_how_the_others_are(
    sennit: Callable[..., Any],
) -> None:
    """Readiness too: the others take what it does not."""
    process = sennit("[node]\nworkers = 2\n" + ADMIN + WHO)
    path = str(process.folder / "admin.sock")
    os.kill(process.workers()[0], signal.SIGSTOP)

    status = ask_blocking(path, "status")
    assert status["node"]["not_ready"] == ["worker 1 does not answer"]
    assert len(status["workers"]) == 2
    assert ask_blocking(path, "ready")["ready"]

    os.kill(process.workers()[1], signal.SIGSTOP)
    with pytest.raises(CommandError, match="1 does not answer; worker 2 does not answer"):
        ask_blocking(path, "status")


# ── who has started it ────────────────────────────────────────────────────────


def test_a_service_manager_hears_of_workers_from_the_supervisor_alone(
    sennit: Callable[..., Any],
) -> None:
    """sd_notify(3); systemd.service(5), Type=notify-reload."""
    folder = os.environ.get("TMPDIR", "/tmp")
    address = f"{folder}/sennit-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        try:
            process = sennit(
                WHO,
                "--workers",
                "2",
                environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"},
            )

            def told() -> str:
                while True:
                    found = manager.recv(1000).decode()
                    if found != "WATCHDOG=1":
                        return found

            assert told() == "READY=1\nSTATUS=2 workers serving"
            for _ in range(3):
                assert manager.recv(100) == b"WATCHDOG=1"
            process.signal(signal.SIGHUP)
            reloading, _, when = told().partition("\n")
            assert reloading == "RELOADING=1"
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert 0 <= microseconds - int(when.removeprefix("MONOTONIC_USEC=")) < 20_000_000
            assert told() == "READY=1"
            process.signal(signal.SIGTERM)
            assert told() == "STOPPING=1"
            assert process.wait() == 0
        finally:
            os.unlink(address)


def test_a_second_supervisor_learns_which_process_runs(sennit: Callable[..., Any]) -> None:
    """HARDENING fault-19."""
    text = '[node]\nworkers = 1\npid_file = "sennit.pid"\n' + WHO
    process = sennit(text)
    file = process.folder / "sennit.pid"
    assert file.read_text() == f"{process.pid}\n"

    second = sennit(text, ready=False)
    assert second.wait() == 1
    assert any(f"process {process.pid} runs already" in line for line in second.log)

    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not file.exists()


def test_sockets_of_a_service_manager_reach_the_workers(sennit: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        os.set_inheritable(sock.fileno(), True)
        process = sennit(
            f'[service.who]\ntype = "who"\nlisten = "fd:{sock.fileno()}"\n',
            "--workers",
            "2",
            fds=(sock.fileno(),),
            ready=False,
        )
        # Without LISTEN_FDS nothing says that the descriptor is for workers.
        assert process.wait() == 2
    assert any("fd:" in line for line in process.log)


# ── the supervisor alone ──────────────────────────────────────────────────────


def supervise(
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[[Supervisor], Awaitable[object]],
    *command: str,
    **settings: Any,
) -> int:
    """Run a supervisor in this process; `main` stands for its first workers."""
    supervisor = Supervisor(Settings(workers=1, drain=0.0, **settings), [], command=command)

    async def first() -> bool:
        async with asyncio.timeout(20):
            return bool(await main(supervisor))

    monkeypatch.setattr(supervisor, "_first_workers", first)
    return supervisor.run()


def test_a_signal_wakes_a_supervisor_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one between the last step of Python and the wait for events."""
    found: list[int] = []

    async def main(supervisor: Supervisor) -> None:
        found.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(found[0])

    assert supervise(monkeypatch, main) == 0
    assert found[0] > 0


def test_who_was_to_take_anothers_place_ends_with_the_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers: list[Worker] = []
    kill = Worker.kill

    def kill_late(worker: Worker) -> None:
        """As where the system takes its time to end a process."""
        worker._reactor.call_later(0.05, kill, worker)

    async def main(supervisor: Supervisor) -> None:
        workers.append(supervisor._start_worker(1, held=True))
        monkeypatch.setattr(Worker, "kill", kill_late)

    supervise(monkeypatch, main, "sleep", "60")

    (worker,) = workers
    try:
        assert worker.exit_status == 128 + signal.SIGKILL
        assert worker._channel is not None
        assert worker._channel.fileno() == -1
    finally:
        kill(worker)


def test_a_worker_that_ends_while_others_start_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[Worker] = []

    def note(worker: Worker) -> None:
        ended.append(worker)
        worker.let_go()

    async def main(supervisor: Supervisor) -> bool:
        supervisor.workers[1] = worker = supervisor._start_worker(1)
        gone = worker.gone(10.0)
        worker.kill()
        assert await gone
        monkeypatch.setattr(supervisor, "worker_ended", note)
        supervisor.reactor.call_soon(supervisor.request_stop)
        return True

    supervise(monkeypatch, main, "sleep", "60")

    assert [each.number for each in ended] == [1]


def test_a_worker_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when there are too many processes for a moment."""
    tries: list[int] = []

    async def main(supervisor: Supervisor) -> None:
        old = Worker(supervisor, 1, first=False)
        supervisor.workers[1] = old
        supervisor.state = READY
        supervisor._backoffs[1] = BackOff(0.001, 0.001)

        def start(number: int) -> Worker:
            tries.append(number)
            if len(tries) == 3:
                supervisor.workers.clear()
            raise SennitError("no process")

        monkeypatch.setattr(supervisor, "_start_worker", start)
        await supervisor._follow(old)

    supervise(monkeypatch, main)

    assert tries == [1, 1, 1]


def test_a_worker_that_ends_before_it_serves_is_followed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each failure would count twice, and waits would grow too fast."""
    tries: list[int] = []
    followed: list[object] = []

    async def main(supervisor: Supervisor) -> None:
        old = Worker(supervisor, 1, first=False)
        supervisor.workers[1] = old
        supervisor.state = READY
        supervisor._backoffs[1] = BackOff(0.001, 0.001)
        really = supervisor._start_worker

        def start(number: int) -> Worker:
            tries.append(number)
            if len(tries) == 3:
                supervisor.workers.clear()
                raise SennitError("enough")
            return really(number)

        def later(work: Coroutine[Any, Any, object]) -> None:
            followed.append(work)
            work.close()

        monkeypatch.setattr(supervisor, "_start_worker", start)
        monkeypatch.setattr(supervisor, "_later", later)
        await supervisor._follow(old)

    supervise(monkeypatch, main, "false")

    assert (len(tries), followed) == (3, [])


def test_a_program_that_is_not_there_is_no_reason_to_fall(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(Settings(workers=1), [], command=[str(tmp_path / "none")])

    assert supervisor.run() == 1


def test_a_worker_that_gets_too_few_descriptors_keeps_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    really = socket.socketpair

    def socketpair() -> tuple[socket.socket, socket.socket]:
        if made:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.extend(really())
        return made[0], made[1]

    async def main(supervisor: Supervisor) -> None:
        monkeypatch.setattr(socket, "socketpair", socketpair)
        with pytest.raises(SennitError, match="worker 1 cannot be started: Too many open files"):
            supervisor._start_worker(1)

    supervise(monkeypatch, main, "sleep", "60")

    assert [each.fileno() for each in made] == [-1, -1]


def test_a_hang_up_during_a_reload_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file may have changed after the first has read it."""
    reloads: list[Deferred[None]] = []

    async def main(supervisor: Supervisor) -> None:
        second: Deferred[None] = Deferred()

        async def reload() -> dict[str, Any]:
            reloads.append(Deferred())
            if len(reloads) == 2:
                second.callback(None)
            await reloads[-1]
            return {}

        monkeypatch.setattr(supervisor, "_reload", reload)
        supervisor.state = READY
        for _ in range(3):
            supervisor._ordered(signal.SIGHUP)
            await supervisor.sleep(0)
        assert len(reloads) == 1
        reloads[0].callback(None)
        await second
        reloads[1].callback(None)
        await supervisor.sleep(0)

    supervise(monkeypatch, main)

    assert len(reloads) == 2


def test_a_dump_is_asked_of_workers_that_serve_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGUSR1 would end one that has no handler for it yet."""
    told: list[Worker] = []

    def signal_worker(worker: Worker, signum: int) -> None:
        told.append(worker)

    async def main(supervisor: Supervisor) -> None:
        starting, serving = (Worker(supervisor, each, first=False) for each in (1, 2))
        serving.state = READY
        supervisor.workers.update({1: starting, 2: serving})
        monkeypatch.setattr(Worker, "signal", signal_worker)
        supervisor._ordered(signal.SIGUSR1)
        supervisor.workers.clear()

    supervise(monkeypatch, main)

    assert [each.number for each in told] == [2]


def test_modules_of_the_working_folder_are_not_the_librarys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A `json.py` where a node is started is not run by who may be root."""
    elsewhere = [each for each in sys.path if each not in ("", os.getcwd())]
    monkeypatch.setattr(sys, "path", elsewhere)
    assert "-P" in interpreter_flags()
    # Whoever was started with `-m` has it there.
    monkeypatch.setattr(sys, "path", [os.getcwd(), *elsewhere])
    assert "-P" not in interpreter_flags()


def test_a_worker_that_waits_for_others_ends_with_the_supervisor(
    sennit: Callable[..., Any],
) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    fds = tuple(each[1].fileno() for each in pairs)
    given = {"number": 2, "workers": 2, "first": False, "held": True, "fds": fds}
    environ = {"SENNIT_WORKER": json.dumps(given)}
    process = sennit('[service.alone]\ntype = "single"\n', ready=False, environ=environ, fds=fds)
    for each in pairs:
        each[1].close()
    control = pairs[0][0]
    control.settimeout(20)
    said = b""
    while b"prepared" not in said:
        piece = control.recv(4096)
        assert piece, process.log
        said += piece

    for each in pairs:
        each[0].close()

    assert process.wait() == 1


class _Node:
    """Stands for a node whose reloads take as long as one says."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def prepare_reload(self) -> Deferred[Any]:
        self.asked.append(Deferred())
        return self.asked[-1]

    reload = prepare_reload


class _Prepared:
    aborted = False

    async def abort(self) -> None:
        self.aborted = True


def test_a_reload_that_was_given_up_blocks_no_other() -> None:
    """A worker that prepares for longer than its supervisor waits hears of that first."""

    async def main(reactor: Reactor) -> None:
        worker: Any = WorkerRun.__new__(WorkerRun)
        worker.node, worker._prepared = _Node(), None
        preparing = asyncio.ensure_future(worker._prepare())
        await asyncio.sleep(0)
        await worker._abort()
        prepared = _Prepared()
        worker.node.asked[0].callback(prepared)
        with pytest.raises(UsageError, match="given up"):
            await preparing
        assert prepared.aborted

    run(main)


def test_a_hang_up_during_a_nodes_reload_is_followed_by_another() -> None:
    async def main(reactor: Reactor) -> None:
        node: Any = NodeRun.__new__(NodeRun)
        node.node, node._manager = _Node(), ServiceManager({})
        node._reloading = node._reload_wanted = False
        first = asyncio.ensure_future(node._reload())
        await asyncio.sleep(0)
        for _ in range(3):
            await node._reload()
        node.node.asked[0].callback(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        node.node.asked[1].callback(None)
        await first
        assert len(node.node.asked) == 2

    run(main)
