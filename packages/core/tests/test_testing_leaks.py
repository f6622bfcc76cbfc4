"""What was left behind is named, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from sennit.core.deferred import Deferred
from sennit.core.testing.clock import Clock
from sennit.core.testing.leaks import LeakError, Snapshot, assert_no_leaks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


class Held:
    """Something that a program may keep."""

    __slots__ = ("value",)


class Kept(Held):
    """A kind of it."""

    __slots__ = ()


def left_by(act: Callable[[], object], **options: object) -> tuple[Any, str]:
    """What `act` gave, and the complaint about it."""
    made: Any = None
    with pytest.raises(LeakError) as caught, assert_no_leaks(patience=0.05, **options):  # type: ignore[arg-type]  # options of several types
        made = act()
    return made, str(caught.value)


def test_a_clean_block_passes() -> None:
    def work() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        Deferred[None]().callback(None)

    with assert_no_leaks(objects=[Held]):
        work()


@ON_LINUX
def test_a_socket_that_listens_is_named_with_its_place() -> None:
    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    sock, text = left_by(listen)
    assert isinstance(sock, socket.socket)
    assert f"listening at {sock.getsockname()}" in text
    sock.close()


@ON_LINUX
def test_pipes_are_named_and_files_when_asked() -> None:
    ends: tuple[int, int]
    ends, text = left_by(os.pipe)
    for each in ends:
        assert f"descriptor {each}: pipe:" in text
        os.close(each)
    with open(os.devnull) as file:
        snapshot = Snapshot(deferreds=False)
        with open(os.devnull):
            assert snapshot.left(patience=0) == []
        snapshot = Snapshot(files=True, deferreds=False)
        with open(__file__) as other:
            assert any(__file__ in each for each in snapshot.left(patience=0))
        assert other.closed
    assert file.closed


def test_a_thread_is_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="straggler")
    _, text = left_by(thread.start)
    stop.set()
    thread.join()
    assert "thread straggler" in text


@ON_LINUX
def test_children_are_named_and_zombies_called_so() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        pass
    snapshot = Snapshot(deferreds=False, descriptors=False)
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (text,) = snapshot.left(patience=0)
    child.wait()
    assert text.startswith(f"child {child.pid} (")
    assert text.endswith("a zombie")
    assert snapshot.left(patience=0) == []


def test_timers_and_tasks_of_a_reactor_are_named() -> None:
    with Clock() as clock:

        async def forever() -> None:
            await clock_future

        clock_future = clock.event_loop.create_future()
        before = clock.call_later(5, print)
        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(LeakError, match="timer") as caught, assert_no_leaks(clock):
            clock.call_later(7, print)
            tasks.append(clock.event_loop.create_task(forever(), name="waiter"))
            clock.turn()
        assert "Task waiter" in str(caught.value)
        assert len([each for each in caught.value.left if each.startswith("timer")]) == 1
        before.cancel()
        tasks[0].cancel()
        clock.pump()


def test_pending_deferreds_are_named() -> None:
    deferred: Deferred[None]
    deferred, text = left_by(Deferred)
    assert "pending Deferred: <Deferred pending" in text
    with assert_no_leaks():
        deferred.callback(None)


def test_objects_of_chosen_classes_are_counted_with_their_subclasses() -> None:
    old = Kept()
    made, text = left_by(lambda: [Kept() for _ in range(12)], objects=[Held])
    assert isinstance(made, list)
    assert text.count("Kept: <") == 10
    assert "Kept: 2 more" in text
    assert old is not made[0]


def test_tracemalloc_tells_where_something_was_made() -> None:
    tracemalloc.start()
    try:
        _, text = left_by(Kept, objects=[Held])
    finally:
        tracemalloc.stop()
    assert f"made at {__file__}:" in text


def test_an_error_of_the_block_goes_before() -> None:
    with pytest.raises(KeyError), assert_no_leaks(objects=[Held]):
        kept = Kept()
        raise KeyError(kept)
