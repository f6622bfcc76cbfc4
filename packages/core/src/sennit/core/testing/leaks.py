"""What a piece of a program left behind: descriptors, threads, children, timers, Tasks, objects.

::

    with assert_no_leaks(reactor, objects=[Session]):
        ...

At the end of the block what was not there before it is named, with where it was made as far
as that is known: `tracemalloc` knows it of objects, when it traces. The pytest plugin looks
after each asynchronous test in the same way, but for objects and Deferreds.

Not seen: memory that only C knows of (watch ``tracemalloc`` or the process's size for that).
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any, Final

    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock

__all__ = [
    "LeakError",
    "LostErrors",
    "Snapshot",
    "assert_no_leaks",
    "open_children",
    "open_descriptors",
]

PATIENCE: Final = 1.0
"""Seconds in which threads and children that are ending may end."""
SHOWN: Final = 10
"""Objects of one class that are named one by one."""
KINDS: Final = ("socket:", "pipe:", "anon_inode:")
"""Descriptors that a program has to close: sockets, pipes, pollers, timers, watches, pidfds."""
LOST: Final = {
    "sennit": ("Nobody handled the error of a Deferred",),
    "asyncio": ("was never retrieved", "was destroyed but it is pending"),
}
"""By logger: what a line of the log says when an error, or a Task, is thrown away."""


class LeakError(AssertionError):
    """Something was left behind.

    Attributes:
        left: What, a line each.
    """

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__("left behind:\n" + "\n".join(f"  {each}" for each in left))
        self.left = tuple(left)


class LostErrors(logging.Handler):
    """Collects the errors that nobody handled, as the log tells them.

    A Deferred's or a Task's error speaks when it is freed. What lies in a cycle is freed by
    the next collection, in whichever test that falls: collect before asking.

    Attributes:
        lines: What was told, a line each.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def start(self) -> None:
        """Listen to the log."""
        for name in LOST:
            logging.getLogger(name).addHandler(self)

    def stop(self) -> None:
        """Listen no more."""
        for name in LOST:
            logging.getLogger(name).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(each in text for each in LOST.get(record.name, ())):
            error = record.exc_info[1] if record.exc_info else None
            text = " ".join(text.splitlines())
            self.lines.append(text if error is None else f"{text}: {error!r}")


def open_descriptors(*, files: bool = False) -> dict[int, str]:
    """The descriptors of this process, by number, with what they are.

    Args:
        files: Files, directories and devices too.

    Returns:
        Such as ``{5: "socket:[12345] 127.0.0.1:80"}``; none where the system does not tell.
    """
    found: dict[int, str] = {}
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for each in numbers:
        try:
            name = os.readlink(f"/proc/self/fd/{each}")
        except OSError:
            continue  # the listing's own, closed by now
        if files or name.startswith(KINDS):
            found[int(each)] = name
    return found


def open_children() -> set[int]:
    """Children of this process, those included that have ended and nobody waited for."""
    found: set[int] = set()
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:
        return found
    for each in threads:
        try:
            with open(f"/proc/self/task/{each}/children") as children:
                found.update(map(int, children.read().split()))
        except OSError:
            continue  # the thread has ended, or this kernel does not tell
    return found


def _describe_child(pid: int) -> str:
    """What a child is, and whether it waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            name, _, rest = stat.read().partition(" (")[2].rpartition(") ")
    except OSError:
        return f"child {pid}"
    return f"child {pid} ({name}){', a zombie' if rest.startswith('Z') else ''}"


def _describe_descriptor(number: int, name: str) -> str:
    """What a descriptor is, for a socket where it is bound to."""
    if name.startswith("socket:"):
        import socket

        try:
            sock = socket.socket(fileno=os.dup(number))
        except OSError:
            return f"descriptor {number}: {name}"
        with sock:
            try:
                listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                ends = f"listening at {sock.getsockname()}" if listens else str(sock.getsockname())
            except OSError:
                return f"descriptor {number}: {name}"
        return f"descriptor {number}: {name} {ends}"
    return f"descriptor {number}: {name}"


class Snapshot:
    """What there is now, to be compared with what there is later.

    Args:
        reactor: Whose timers, descriptors and Tasks to look at; none when left out.
        objects: Classes whose instances are counted, subclasses' included.
        descriptors: Look at the process's descriptors.
        files: At those of files, too.
        threads: Look at threads.
        children: Look at child processes.
        deferreds: Look at Deferreds that have not fired.
    """

    def __init__(
        self,
        reactor: Reactor | Clock | None = None,
        *,
        objects: Sequence[type] = (),
        descriptors: bool = True,
        files: bool = False,
        threads: bool = True,
        children: bool = True,
        deferreds: bool = True,
    ) -> None:
        self._reactor = reactor
        self._classes = tuple(objects)
        self._files = files
        if objects or deferreds:
            gc.collect()
        self._descriptors = open_descriptors(files=files) if descriptors else None
        self._threads = set(threading.enumerate()) if threads else None
        self._children = open_children() if children else None
        # By identity: those that were there are held, or their numbers would be used again.
        self._objects = _instances(self._classes)
        self._deferreds = _pending_deferreds() if deferreds else None
        self._timers = {id(each): each for each in _timers(reactor)}
        self._tasks = {id(each): each for each in _tasks(reactor)}

    def left(self, *, patience: float = PATIENCE) -> list[str]:
        """What is there now and was not then, a line each.

        Args:
            patience: Seconds to wait for threads and children that are ending.
        """
        if self._classes or self._deferreds is not None:
            gc.collect()
        left: list[str] = []
        if self._descriptors is not None:
            for number, name in sorted(open_descriptors(files=self._files).items()):
                if self._descriptors.get(number) != name:
                    left.append(_describe_descriptor(number, name))
        left += self._threads_left(patience)
        left += self._children_left(patience)
        for call in _timers(self._reactor):
            if id(call) not in self._timers:
                left.append(f"timer: {call!r}{_made_at(call)}")
        for task in _tasks(self._reactor):
            if id(task) not in self._tasks:
                left.append(f"Task {task.get_name()}: {task.get_coro()!r}{_made_at(task)}")
        left += _grown("", self._objects, _instances(self._classes))
        if self._deferreds is not None:
            left += _grown("pending ", self._deferreds, _pending_deferreds())
        return left

    def allow(self, earlier: Snapshot) -> None:
        """Take what has come since `earlier` for something that was there all the time.

        Descriptors, threads and children alone: what a thing that outlives this look is made of.
        """
        if self._descriptors is not None and earlier._descriptors is not None:
            for number, name in open_descriptors(files=self._files).items():
                if earlier._descriptors.get(number) != name:
                    self._descriptors[number] = name
        if self._threads is not None and earlier._threads is not None:
            self._threads |= set(threading.enumerate()) - earlier._threads
        if self._children is not None and earlier._children is not None:
            self._children |= open_children() - earlier._children

    def _threads_left(self, patience: float) -> list[str]:
        if self._threads is None:
            return []
        deadline = time.monotonic() + patience
        while True:
            threads = [each for each in threading.enumerate() if each not in self._threads]
            if not threads or time.monotonic() >= deadline:
                return [f"thread {each.name}" for each in threads]
            threads[0].join(0.02)

    def _children_left(self, patience: float) -> list[str]:
        if self._children is None:
            return []
        deadline = time.monotonic() + patience
        while True:
            children = open_children() - self._children
            if not children or time.monotonic() >= deadline:
                return [_describe_child(each) for each in sorted(children)]
            time.sleep(0.01)


@contextmanager
def assert_no_leaks(
    reactor: Reactor | Clock | None = None,
    *,
    objects: Sequence[type] = (),
    patience: float = PATIENCE,
    **looked_at: bool,
) -> Generator[Snapshot, None, None]:
    """Let a block leave nothing behind.

    Args:
        reactor: Whose timers, descriptors and Tasks to look at.
        objects: Classes of which no more instances may live than before.
        patience: Seconds in which threads and children may end.
        looked_at: ``descriptors=False`` and so on: see `Snapshot`.

    Raises:
        LeakError: Something was left behind. An exception of the block goes before.
    """
    before = Snapshot(reactor, objects=objects, **looked_at)
    yield before
    left = before.left(patience=patience)
    if left:
        raise LeakError(left)


def _instances(classes: tuple[type, ...]) -> dict[int, Any]:
    if not classes:
        return {}
    return {id(each): each for each in gc.get_objects() if _is_one(each, classes)}


def _is_one(each: object, classes: tuple[type, ...]) -> bool:
    # Of its type, not `isinstance`: that asks proxies for their `__class__`, which may raise.
    return issubclass(type(each), classes)


def _pending_deferreds() -> dict[int, Any]:
    from sennit.core.deferred import Deferred

    return {key: each for key, each in _instances((Deferred,)).items() if each.outcome is None}


def _grown(what: str, before: dict[int, Any], now: dict[int, Any]) -> list[str]:
    fresh = [each for key, each in now.items() if key not in before]
    found: dict[str, list[Any]] = {}
    for each in fresh:
        found.setdefault(type(each).__qualname__, []).append(each)
    lines: list[str] = []
    for name, each in sorted(found.items()):
        lines += [f"{what}{name}: {_safe_repr(one)}{_made_at(one)}" for one in each[:SHOWN]]
        if len(each) > SHOWN:
            lines.append(f"{what}{name}: {len(each) - SHOWN} more")
    return lines


def _safe_repr(each: object) -> str:
    try:
        return repr(each)[:200]
    except Exception as error:
        return f"<{type(each).__name__} whose repr raised {error!r}>"


def _made_at(each: object) -> str:
    """Where it was made, if `tracemalloc` traced then."""
    import tracemalloc

    if not tracemalloc.is_tracing():
        return ""
    trace = tracemalloc.get_object_traceback(each)
    if not trace:
        return ""
    frame = trace[-1]
    return f", made at {frame.filename}:{frame.lineno}"


def _timers(reactor: Reactor | Clock | None) -> list[Any]:
    if reactor is None:
        return []
    return [entry[2] for entry in reactor._heap if entry[2].fn is not None]


def _tasks(reactor: Reactor | Clock | None) -> list[Any]:
    loop = None if reactor is None else reactor._event_loop
    if loop is None:
        return []
    import asyncio

    current = asyncio.current_task(loop)
    return [each for each in asyncio.all_tasks(loop) if each is not current]
