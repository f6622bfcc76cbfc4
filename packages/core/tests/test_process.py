"""Child processes: their pipes, terminals and descriptors, their end, and signals to them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import re
import resource
import signal
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.deferred import Deferred, gather
from sennit.core.errors import ConnectionLost, SpawnError, UsageError
from sennit.core.interfaces import IProcessProtocol, IProcessTransport
from sennit.core.process import run_process
from sennit.core.protocol import ProcessProtocol
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.reactor.pollers import pollers
from sennit.core.transport import process as process_module
from sennit.core.transport import reaping
from sennit.core.transport.pipes import PipeTransport
from sennit.core.transport.process import ProcessTransport, Terminal
from sennit.core.transport.reaping import ProcessStatus, descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


class Recorder(ProcessProtocol):
    """Writes down what it is told."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.said: dict[int, bytes] = {}
        self.lost: dict[int, Exception | None] = {}
        self.status: ProcessStatus | None = None
        self.exited: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said[fd] = self.said.get(fd, b"") + data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("lost", fd))
        self.lost[fd] = exc

    def pause_writing(self, fd: int) -> None:
        self.events.append(("pause", fd))

    def resume_writing(self, fd: int) -> None:
        self.events.append(("resume", fd))

    def process_exited(self, status: ProcessStatus) -> None:
        self.events.append("exited")
        self.exited.callback(None)

    def process_ended(self, status: ProcessStatus) -> None:
        self.events.append("ended")
        self.status = status
        self.ended.callback(None)


async def spawned(*command: str, **options: Any) -> tuple[Recorder, ProcessTransport]:
    """A program that runs, and who is told of it."""
    recorder = Recorder()
    process: Any = await current_reactor().spawn_process(recorder, command, **options)
    return recorder, process


async def run_to_end(*command: str, **options: Any) -> Recorder:
    """A program's whole life."""
    recorder, _ = await spawned(*command, **options)
    await recorder.ended
    return recorder


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that nobody tells of (`sennit_timeout` bounds it)."""
    while not condition():
        await asyncio.sleep(0.005)


def children() -> list[int]:
    """Children of this process, zombies included."""
    return descendants(os.getpid())


def descriptors_of_processes() -> list[str]:
    """What is open here of the kinds that this room opens (the rest is the reactor's)."""
    found: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if name.startswith(("pipe:", "/dev/pt", "/dev/null")) or "pidfd" in name:
            found.append(name)
    return sorted(found)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child, zombie or descriptor is left by any of these tests."""
    before = descriptors_of_processes()
    assert not children()
    yield
    for _ in range(500):
        if not children():
            break
        signal.sigtimedwait([], 0.01)
    assert not children()
    assert descriptors_of_processes() == before


@pytest.fixture(params=[True, False], ids=["pidfd", "thread"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors of processes, and without."""
    monkeypatch.setattr(reaping, "USE_PIDFD", request.param)


# ── what it says and how it ends ──────────────────────────────────────────────


@pytest.mark.parametrize("poller", pollers())
def test_a_child_reads_its_input_and_says_its_output_on_every_poller(poller: str) -> None:
    async def main(reactor: Reactor) -> None:
        recorder = Recorder()
        process = await reactor.spawn_process(recorder, ["cat"])
        process.write(b"hello ")
        process.write(b"there")
        process.close_pipe(0)
        await recorder.ended
        assert recorder.said == {1: b"hello there"}
        assert recorder.events[0] == "made"
        assert sorted(recorder.events[1:-1], key=str) == sorted(
            [("lost", 0), ("lost", 1), ("lost", 2), "exited"], key=str
        )
        assert recorder.events[-1] == "ended"
        assert recorder.lost == {0: None, 1: None, 2: None}

    reactor = Reactor(poller)
    try:
        reactor.run(main)
        assert reactor.handlers == {}
        assert not reactor.dependants
    finally:
        reactor.close()


@pytest.mark.usefixtures("either_way")
async def test_the_status_says_how_it_ended() -> None:
    """HARDENING fault-13: the exit status is right."""
    good = await run_to_end("true")
    assert good.status is not None
    assert good.status.success
    assert good.status.returncode == 0
    failed = await run_to_end("sh", "-c", "exit 3")
    assert failed.status == ProcessStatus(3)
    assert str(failed.status) == "exit code 3"
    assert failed.status is not None
    assert not failed.status.success
    killed = await run_to_end("sh", "-c", "kill -9 $$")
    assert killed.status == ProcessStatus(None, signal.SIGKILL)
    assert str(killed.status) == "killed by SIGKILL"
    assert killed.status is not None
    assert killed.status.returncode == -9


async def test_the_status_says_what_it_used() -> None:
    busy = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"
    recorder = await run_to_end("sh", "-c", busy)
    status = recorder.status
    assert status is not None
    assert status.user_time + status.system_time > 0.001
    assert status.max_rss > 100_000


async def test_the_contracts_are_kept() -> None:
    recorder, process = await spawned("true")
    assert verifyObject(IProcessTransport, process)
    assert verifyObject(IProcessProtocol, recorder, tentative=True)
    assert process.pid > 0
    assert process.get_extra_info("reactor") is current_reactor()
    assert process.get_extra_info("pid") == process.pid
    assert process.get_extra_info("nothing", 5) == 5
    assert "running" in repr(process)
    await recorder.ended
    assert "exit code 0" in repr(process)
    assert process.status == ProcessStatus(0)


async def test_octets_written_after_the_child_has_gone_are_ignored() -> None:
    recorder, process = await spawned("true")
    await recorder.ended
    process.write(b"too late")
    assert not process.send_signal(signal.SIGTERM)
    process.terminate()
    process.kill()


async def test_what_waits_for_a_child_that_reads_no_more_is_an_error_of_its_pipe() -> None:
    recorder, process = await spawned(
        "sh", "-c", "exec <&-; echo closed; read x <&1 || :; sleep 100"
    )
    await until(lambda: 1 in recorder.said)
    process.write(b"x" * 100)
    await until(lambda: 0 in recorder.lost)
    with pytest.raises(ConnectionLost):
        await process.writable(0)
    assert recorder.status is None
    process.kill()
    await recorder.ended


async def test_a_protocol_that_raises_is_reported_and_its_process_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Recorder):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            raise RuntimeError("no taste for data")

        def process_exited(self, status: ProcessStatus) -> None:
            raise RuntimeError("no taste for ends")

    recorder = Broken()
    await current_reactor().spawn_process(recorder, ["echo", "hello"])
    await recorder.ended
    assert recorder.status == ProcessStatus(0) or recorder.status == ProcessStatus(
        None, signal.SIGPIPE
    )
    assert "no taste for data" in caplog.text
    assert "no taste for ends" in caplog.text
    caplog.clear()


async def test_no_process_is_kept_by_a_ring_of_references() -> None:
    recorder, process = await spawned("true")
    await recorder.ended
    gone = weakref.ref(process)
    gc.collect()
    gc.disable()
    try:
        del recorder, process
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


# ── flow ──────────────────────────────────────────────────────────────────────


async def test_a_child_that_floods_a_paused_reader_is_held_up_by_its_pipe() -> None:
    """HARDENING core-20: back-pressure to the child, 64 KiB of its words in the pipe."""
    size = 20_000_000
    recorder = Recorder()
    made = recorder.connection_made

    def connection_made(transport: Any) -> None:
        made(transport)
        transport.pause_reading(1)

    recorder.connection_made = connection_made  # type: ignore[method-assign]  # to see the transport
    process: Any = await current_reactor().spawn_process(
        recorder, ["sh", "-c", f"head -c {size} /dev/zero; echo done >&2"]
    )
    pipe = process.pipe(1)
    await until(lambda: pipe.waiting_octets() == 65536)
    assert recorder.said == {}
    total = 0

    def count(fd: int, data: bytes) -> None:
        nonlocal total
        assert fd == 1 or total == size
        assert len(data) <= 65536
        total += len(data) if fd == 1 else 0

    process.pipe(1).get_protocol()._received = count
    process.resume_reading(1)
    await recorder.ended
    assert total == size
    assert recorder.said == {2: b"done\n"}


async def test_writing_to_a_child_that_does_not_read_pauses_the_producer() -> None:
    recorder, process = await spawned("sh", "-c", "read go; cat | wc -c")
    process.write(b"go\n" + bytes(300_000))
    assert recorder.events == ["made"] or ("pause", 0) in recorder.events
    await process.writable()
    process.close_pipe(0)
    await recorder.ended
    assert recorder.events.index(("pause", 0)) < recorder.events.index(("resume", 0))
    assert recorder.said[1].strip() == b"300000"


async def test_a_child_that_reads_nothing_cannot_fill_the_memory() -> None:
    recorder, process = await spawned("sleep", "100")
    process.pipe(0).set_write_buffer_limits(65536, hard=1 << 20)
    process.write(bytes(2 << 20))
    await until(lambda: 0 in recorder.lost)
    assert getattr(recorder.lost[0], "reason", "") == "limit:write-buffer"
    process.kill()
    await recorder.ended


# ── the end ───────────────────────────────────────────────────────────────────


async def test_exited_and_ended_are_two_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """HARDENING core-20: a grandchild that holds the pipe does not put the end off for ever."""
    monkeypatch.setattr(process_module, "LINGER", 0.05)
    recorder, process = await spawned("sh", "-c", "sleep 100 & echo $!", process_group=0)
    await recorder.exited
    assert recorder.status is None
    await recorder.ended
    assert recorder.events.count("ended") == recorder.events.count("exited") == 1
    assert recorder.events[-1] == "ended"
    assert getattr(recorder.lost[1], "reason", "") == "lingered"
    os.kill(int(recorder.said[1]), signal.SIGKILL)
    assert process.ended


async def test_the_end_waits_for_octets_that_the_protocol_has_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_module, "LINGER", 0.02)
    recorder, process = await spawned("sh", "-c", "sleep 100 & echo $!")
    process.pause_reading()
    await recorder.exited
    loop = asyncio.get_running_loop()
    later = loop.time() + 0.1
    await until(lambda: loop.time() > later)
    assert recorder.said == {}
    assert recorder.status is None
    process.resume_reading()
    await recorder.ended
    os.kill(int(recorder.said[1]), signal.SIGKILL)


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    """HARDENING core-20: TERM, then KILL."""
    recorder, process = await spawned("sh", "-c", "trap '' TERM; echo ready; sleep 100; sleep 100")
    await until(lambda: 1 in recorder.said)
    process.terminate(0.05)
    process.terminate(0.05)
    await recorder.ended
    assert recorder.status == ProcessStatus(None, signal.SIGKILL)


async def test_terminate_reaches_descendants_wherever_they_have_gone() -> None:
    """Those of its group, those in sessions of their own, and those that ignore SIGTERM."""
    recorder, process = await spawned(
        "sh",
        "-c",
        "sleep 100 & echo $!; setsid sh -c 'trap \"\" TERM; echo $$; sleep 100; sleep 100' & wait",
        process_group=0,
    )
    await until(lambda: recorder.said.get(1, b"").count(b"\n") == 2)
    pids = [int(each) for each in recorder.said[1].split()]
    process.terminate(0.05)
    await recorder.ended
    for pid in pids:
        await until(lambda pid=pid: not _alive(pid))  # type: ignore[misc]  # a default binds the loop's value


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_signal_reaches_the_process_alone() -> None:
    recorder, process = await spawned(
        "sh", "-c", "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.01; done"
    )
    await until(lambda: 1 in recorder.said)
    assert process.send_signal(signal.SIGUSR1)
    await recorder.ended
    assert recorder.said[1] == b"ready\ngot\n"
    assert recorder.status == ProcessStatus(4)


@pytest.mark.usefixtures("either_way")
def test_a_reactor_that_stops_leaves_no_child_behind() -> None:
    recorder = Recorder()

    async def main(reactor: Reactor) -> None:
        await reactor.spawn_process(recorder, ["sleep", "100"])

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert recorder.events[-1] == "ended"


# ── reaping ───────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("either_way")
async def test_a_thief_who_reaps_our_child_does_not_keep_it_from_ending() -> None:
    """HARDENING fault-13: another library waits for all children."""
    recorder = Recorder()
    await current_reactor().spawn_process(recorder, ["true"], descriptors={})
    if reaping.USE_PIDFD:
        # The loop cannot have turned since: the thief is first.
        os.waitpid(-1, 0)
    await recorder.ended
    assert recorder.status is not None
    if reaping.USE_PIDFD:
        assert not recorder.status.known
        assert recorder.status.returncode is None
        assert "somebody else" in str(recorder.status)


async def test_a_child_whose_number_somebody_has_reaped_already_ends() -> None:
    """The same, before there is a descriptor to stand for it."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    ended: Deferred[ProcessStatus] = Deferred()
    child = reaping.watch_child(current_reactor(), pid, ended.callback)
    assert not (await ended).known
    assert not child.send_signal(signal.SIGTERM)


@pytest.mark.usefixtures("either_way")
async def test_children_end_though_the_kernel_reaps_them_by_itself() -> None:
    """SIGCHLD is ignored: nobody learns how they ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        recorder = await run_to_end("true")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert recorder.status is not None
    assert not recorder.status.known


async def test_children_of_others_are_left_to_them() -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
    await run_to_end("true")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


async def many_children(number: int) -> None:
    """So many short lives, twenty at a time."""
    left = number
    statuses: list[ProcessStatus | None] = []

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            code = left % 3
            recorder = await run_to_end("/bin/sh", "-c", f"exit {code}", descriptors={}, env={})
            assert recorder.status == ProcessStatus(code)
            statuses.append(recorder.status)

    await gather(*[Deferred.from_coroutine(one_after_the_other()) for _ in range(20)])
    assert len(statuses) == number
    assert children() == []


async def test_hundreds_of_children_leave_no_zombie() -> None:
    """HARDENING fault-13, in short."""
    await many_children(300)


@pytest.mark.soak
@pytest.mark.sennit(timeout=600)
async def test_ten_thousand_children_leave_no_zombie() -> None:
    """HARDENING fault-13."""
    await many_children(10_000)


# ── what cannot be started ────────────────────────────────────────────────────

NUL = "a\0b"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["echo", NUL], {}),
        ([NUL], {}),
        (["true"], {"env": {"A": NUL}}),
        (["true"], {"env": {NUL: "a"}}),
        (["true"], {"env": {"A=B": "a"}}),
        (["true"], {"env": {"": "a"}}),
        (["true"], {"cwd": NUL}),
        (["true"], {"executable": NUL}),
        ([], {}),
        ("true", {}),
        (["true"], {"descriptors": {-1: "r"}}),
        (["true"], {"descriptors": {1: "x"}}),
        (["true"], {"descriptors": {1: "&2"}}),
        (["true"], {"descriptors": {1: "&1"}}),
        (["true"], {"descriptors": {1: None}}),
        (["true"], {"descriptors": {1: -3}}),
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(command: Any, options: Any) -> None:
    """HARDENING core-21: NUL in argument or environment, among others."""
    with pytest.raises(UsageError):
        current_reactor().spawn_process(Recorder(), command, **options)


@pytest.mark.parametrize("options", [{}, {"pty": True}], ids=["popen", "helper"])
async def test_what_cannot_be_started_says_what_and_why(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """HARDENING core-21: missing binary, not executable, E2BIG, no such folder."""
    (tmp_path / "plain").write_text("echo")
    (tmp_path / "script").write_text("#!/nowhere/sh\n")
    (tmp_path / "script").chmod(0o755)
    cases: list[tuple[list[str], dict[str, Any], int, str]] = [
        (["no-such-program"], {}, errno.ENOENT, "none of the folders of PATH"),
        ([f"{tmp_path}/none"], {}, errno.ENOENT, f"cannot start '{tmp_path}/none'"),
        ([f"{tmp_path}/plain"], {}, errno.EACCES, "Permission denied"),
        ([f"{tmp_path}/script"], {}, errno.ENOENT, "its interpreter is not"),
        ([f"{tmp_path}/plain/x"], {}, errno.ENOTDIR, "Not a directory"),
        (["true"], {"cwd": f"{tmp_path}/none"}, errno.ENOENT, "working directory '/"),
        (["true", *["x" * 100_000] * 30], {}, errno.E2BIG, "octets of arguments"),
    ]
    for command, more, number, text in cases:
        recorder = Recorder()
        with pytest.raises(SpawnError, match=re.escape(text)) as caught:
            await current_reactor().spawn_process(recorder, command, **options, **more)
        assert caught.value.errno == number
        assert caught.value.command == command[0]
        assert isinstance(caught.value, OSError)
        assert recorder.events == []
        assert len(str(caught.value)) < 400
    # A helper ends just after it has told; the loop, which reaps it, must still run then.
    await until(lambda: not children())


async def test_a_process_without_descriptors_left_says_so() -> None:
    """HARDENING core-21's neighbour: EMFILE is an error of the call, and leaves nothing open."""
    await run_to_end("true")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, hard))
    try:
        with pytest.raises(SpawnError, match="cannot start 'true'") as caught:
            await current_reactor().spawn_process(Recorder(), ["true"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize("options", [{"pty": True}, {"descriptors": {0: "w", 1: "r", 7: "rw"}}])
async def test_a_helper_without_descriptors_left_is_an_error_of_the_start(options: Any) -> None:
    """HARDENING fault-1: wherever it happens the Deferred fails, and nothing stays open."""
    await run_to_end("true", **options)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd"))) + 1
    codes: set[int | None] = set()
    for spare in range(14):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 12, hard))
        taken: list[int] = []
        try:
            try:
                while True:
                    taken.append(os.open("/", os.O_RDONLY))
            except OSError:
                for _ in range(min(spare, len(taken))):
                    os.close(taken.pop())
            starting = current_reactor().spawn_process(Recorder(), ["true"], **options)
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        try:
            process: Any = await starting
            await process.protocol.ended
        except SpawnError as error:
            codes.add(error.errno)
    # The helper has the limit, too, and says so in its own way.
    assert codes in ({errno.EMFILE}, {errno.EMFILE, errno.EBADF})
    await until(lambda: not children())


def test_what_select_cannot_wait_for_is_an_error_of_the_start() -> None:
    async def main(reactor: Reactor) -> None:
        held: list[int] = []
        try:
            while not held or held[-1] < 1100:
                held.append(os.open("/", os.O_RDONLY))
            with pytest.raises(SpawnError, match="select cannot wait"):
                await reactor.spawn_process(Recorder(), ["true"], pty=True)
            with pytest.raises(ConnectionLost, match="select cannot wait"):
                await run_process(["echo", "said"])
        finally:
            for fd in held:
                os.close(fd)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this system allows no descriptors that high")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    reactor = Reactor("select")
    try:
        reactor.run(main)
    finally:
        reactor.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_start_that_is_cancelled_leaves_no_child() -> None:
    starting = current_reactor().spawn_process(Recorder(), ["sleep", "100"], pty=True)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not children())


# ── descriptors ───────────────────────────────────────────────────────────────

LIST_FDS = "import os; print(*sorted(int(x) for x in os.listdir('/proc/self/fd'))[:-1])"


def open_many() -> list[int]:
    """Descriptors up to 1023, which a child would inherit if it were let."""
    read, write = os.pipe()
    opened = [read, write]
    while opened[-1] < 1023:
        opened.append(os.dup(read))
        os.set_inheritable(opened[-1], True)
    return opened


@pytest.mark.parametrize("options", [{}, {"session": True, "gid": os.getgid()}])
async def test_a_child_sees_only_the_descriptors_it_was_given(options: dict[str, Any]) -> None:
    """HARDENING core-21: descriptors 3 to 1023 are open here."""
    opened = open_many()
    try:
        recorder = await run_to_end("ls", "/proc/self/fd", **options)
    finally:
        for fd in opened:
            os.close(fd)
    assert recorder.said[1].split() == [b"0", b"1", b"2", b"3"]  # 3: the folder ls reads


async def test_a_child_has_pipes_at_whatever_numbers_are_asked_for() -> None:
    recorder, process = await spawned(
        "sh",
        "-c",
        "cat <&5 >&7; echo both >&2; ls /proc/self/fd",
        descriptors={1: "r", 2: "&1", 5: "w", 7: "r"},
    )
    assert sorted(process.pipes) == [1, 5, 7]
    process.write(b"through", 5)
    process.close_pipe(5)
    await recorder.ended
    assert recorder.said[7] == b"through"
    lines = recorder.said[1].split()
    assert lines == [b"both", b"0", b"1", b"2", b"3", b"5", b"7"]


async def test_descriptors_can_change_places(tmp_path: Path) -> None:
    """What is 8 here is 9 there and the other way round, so that each is in the other's way."""
    first, second = (
        os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("first", "second")
    )
    try:
        await run_to_end(
            "sh",
            "-c",
            f"echo one >/proc/self/fd/{second}; echo two >/proc/self/fd/{first}",
            descriptors={first: second, second: first},
        )
    finally:
        os.close(first)
        os.close(second)
    assert (tmp_path / "first").read_text() == "one\n"
    assert (tmp_path / "second").read_text() == "two\n"


async def test_files_of_ours_become_its_standard_streams(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open("rb") as read, (tmp_path / "out").open("wb") as write:
        await run_to_end("cat", descriptors={0: read, 1: write})
    assert (tmp_path / "out").read_text() == "from a file"


async def test_a_descriptor_that_keeps_its_number_needs_no_helper() -> None:
    read, write = os.pipe()
    try:
        recorder, _ = await spawned(
            "sh", "-c", f"echo hi >/proc/self/fd/{write}", descriptors={write: write}
        )
        await recorder.ended
        assert os.read(read, 100) == b"hi\n"
        with pytest.raises(SpawnError, match="no pipes"):
            await spawned("true", descriptors={9: 1022})
    finally:
        os.close(read)
        os.close(write)


async def test_one_descriptor_can_go_both_ways() -> None:
    recorder, process = await spawned("sh", "-c", "cat <&4 >&4", descriptors={4: "rw"})
    process.write(b"there and back", 4)
    process.pipe(4).write_eof()
    await recorder.ended
    assert recorder.said == {4: b"there and back"}
    with pytest.raises(UsageError, match="there are: 4"):
        process.pipe(1)


async def test_what_is_inherited_is_ours(capfd: pytest.CaptureFixture[str]) -> None:
    recorder = await run_to_end("echo", "to the console", descriptors={1: "inherit"})
    assert recorder.said == {}
    assert capfd.readouterr().out == "to the console\n"
    await run_to_end("sh", "-c", "echo helped", descriptors={1: "inherit", 9: "null"})
    assert capfd.readouterr().out == "helped\n"


# ── as what it runs ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("helper", [{}, {9: "null"}], ids=["popen", "helper"])
async def test_environment_folder_and_mask_are_as_asked_for(
    tmp_path: Path, helper: dict[int, str]
) -> None:
    recorder = await run_to_end(
        "/bin/sh",
        "-c",
        "echo $A $LC_CTYPE; pwd; umask; cat /proc/$$/environ | tr '\\0' '\\n'",
        env={"A": "b", "Ä": "ö"},
        cwd=tmp_path,
        umask=0o027,
        descriptors={1: "r", **helper},
    )
    lines = recorder.said[1].decode().splitlines()
    assert lines == ["b", str(tmp_path), "0027", "A=b", "Ä=ö"]


@pytest.mark.parametrize("helper", [{}, {9: "null"}], ids=["popen", "helper"])
async def test_arguments_arrive_octet_by_octet(helper: dict[int, str]) -> None:
    odd = [b"\xff\xfe", "ä€".encode(), b"", b"a b'\"$x", b"-c"]
    recorder = Recorder()
    await current_reactor().spawn_process(
        recorder, ["printf", "%s\n", *odd], descriptors={1: "r", **helper}
    )
    await recorder.ended
    assert recorder.said[1] == b"".join(each + b"\n" for each in odd)


@pytest.mark.parametrize("helper", [{}, {9: "null"}], ids=["popen", "helper"])
async def test_a_child_begins_with_no_signal_blocked_and_sigpipe_as_usual(
    helper: dict[int, str],
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1} if helper else {})
    try:
        recorder = await run_to_end(
            "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status", descriptors={1: "r", **helper}
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    masks = [int(line.split()[1], 16) for line in recorder.said[1].splitlines()]
    assert masks[0] == 0
    assert not masks[1] & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGINT - 1))


async def test_a_blocked_signal_here_is_not_blocked_there() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        recorder = await run_to_end("grep", "SigBlk", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert int(recorder.said[1].split()[1], 16) == 0


async def test_it_can_be_put_into_a_group_or_session_of_its_own() -> None:
    show = "cut -d' ' -f1,5,6 /proc/self/stat"
    for options, group, session in (
        ({}, False, False),
        ({"process_group": 0}, True, False),
        ({"session": True}, True, True),
        ({"session": True, "descriptors": {1: "r", 9: "null"}}, True, True),
        ({"process_group": 0, "descriptors": {1: "r", 9: "null"}}, True, False),
    ):
        more: dict[str, Any] = dict(options)
        recorder = await run_to_end("sh", "-c", f"exec {show}", **more)
        pid, its_group, its_session = map(int, recorder.said[1].split())
        assert (its_group == pid) is group
        assert (its_session == pid) is session


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
async def test_it_can_run_as_somebody_else() -> None:
    recorder = await run_to_end("sh", "-c", "id -u; id -g; id -G", uid=65534, gid=65533, groups=[7])
    assert recorder.said[1].split() == [b"65534", b"65533", b"65533", b"7"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may")
async def test_who_may_not_become_somebody_else_is_told() -> None:
    with pytest.raises(SpawnError, match="its user"):
        await spawned("true", uid=0)


async def test_the_file_that_runs_may_differ_from_the_name_it_is_given() -> None:
    recorder = await run_to_end("other-name", "-c", "echo $0", executable="/bin/sh")
    assert recorder.said[1] == b"other-name\n"


# ── terminals ─────────────────────────────────────────────────────────────────


async def test_a_terminal_is_the_childs_controlling_one() -> None:
    recorder = await run_to_end("sh", "-c", "tty; stty size </dev/tty", pty=Terminal(30, 100))
    name, size = recorder.said[1].splitlines()
    assert name.startswith(b"/dev/pts/")
    assert size == b"30 100"
    assert recorder.lost == {1: None}


async def test_a_terminal_echoes_edits_and_ends_its_input() -> None:
    recorder, process = await spawned("cat", pty=True)
    process.write(b"helloo\x7f\n")
    process.close_pipe(0)
    await recorder.ended
    assert recorder.said[1].endswith(b"hello\r\n")
    assert recorder.said[1].startswith(b"helloo")
    assert recorder.status == ProcessStatus(0)


async def test_keys_of_a_terminal_are_signals() -> None:
    recorder, process = await spawned("sh", "-c", "echo ready; exec sleep 100", pty=True)
    await until(lambda: b"ready" in recorder.said.get(1, b""))
    process.write(b"\x03")
    await recorder.ended
    assert recorder.status == ProcessStatus(None, signal.SIGINT)


async def test_a_raw_terminal_passes_octets_as_they_are() -> None:
    recorder, process = await spawned("head", "-c", "5", pty=Terminal(raw=True))
    process.write(b"\x03\x04\r\nx")
    await recorder.ended
    assert recorder.said[1] == b"\x03\x04\r\nx"


async def test_a_child_learns_that_its_window_has_changed() -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
    recorder, process = await spawned("sh", "-c", script, pty=True)
    await until(lambda: b"ready" in recorder.said.get(1, b""))
    process.set_window_size(44, 132)
    await recorder.ended
    assert recorder.said[1].splitlines() == [b"ready", b"44 132"]
    process.set_window_size(10, 10)
    _, plain = await spawned("true")
    with pytest.raises(UsageError, match="no terminal"):
        plain.set_window_size(1, 1)
    await until(lambda: plain.ended)


async def test_the_pipes_of_a_terminal_are_one() -> None:
    recorder, process = await spawned("cat", pty=True)
    pipe = process.pipe(0)
    assert isinstance(pipe, PipeTransport)
    assert pipe is process.pipe(1)
    assert not pipe.can_write_eof()
    assert pipe.peer is None
    assert fcntl.fcntl(pipe.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    process.terminate()
    await recorder.ended
    assert recorder.status is not None


def test_nothing_of_this_is_loaded_by_who_starts_no_process() -> None:
    import subprocess

    code = (
        "import sys; import sennit.core.reactor.base, sennit.core.transport.stream;"
        "print([m for m in sys.modules if 'process' in m or 'reaping' in m or 'pipes' in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


if TYPE_CHECKING:

    def accepts(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None: ...
