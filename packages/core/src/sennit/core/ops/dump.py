"""What a program is doing this moment: stacks, and all that is open and awaited.

`snapshot` gathers it, `text_of` writes it for people. `dump_on_signal` writes it to
the log when a signal comes, from a thread of its own: so it works when the loop
does not turn any more, which is when it is wanted most.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core.deferred import Deferred
from sennit.core.ops.describe import callback_name, coroutine_places, frames_of, place
from sennit.core.ops.records import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sennit.core.reactor.base import Reactor

__all__ = ["dump_on_signal", "snapshot", "task_list", "text_of"]

MOST: Final = 200
"""Entries of one kind that are shown; the rest is counted."""

DEEPEST: Final = 64
"""Frames of one stack."""


def snapshot(reactor: Reactor, services: Sequence[str] = ()) -> dict[str, Any]:
    """Everything, as JSON has it. May be called from any thread.

    Args:
        reactor: Whose.
        services: A line on each service that runs in it.
    """
    return {
        "pid": os.getpid(),
        "services": _few(list(services)),
        "threads": _threads(),
        "tasks": _few(task_list(reactor)),
        "deferreds": _few(list(_deferreds())),
        "timers": _few(_timers(reactor)),
        "ready": _few([callback_name(each.fn) for each in _copied(reactor._ready) if each.fn]),
        "descriptors": _few(_descriptors(reactor)),
    }


def _few(entries: list[Any]) -> dict[str, Any]:
    return {"count": len(entries), "first": entries[:MOST]}


def _copied(queue: Any) -> list[Any]:
    """A copy of what the loop may be changing in its thread."""
    for _ in range(5):
        try:
            return list(queue)
        except RuntimeError:
            continue
    return []


def _threads() -> list[dict[str, Any]]:
    names = {each.ident: each for each in threading.enumerate()}
    found: list[dict[str, Any]] = []
    for ident, frame in sys._current_frames().items():
        thread = names.get(ident)
        stack = [place(each) for each in frames_of(frame)]
        found.append(
            {
                "id": ident,
                "name": "unknown" if thread is None else thread.name,
                "daemon": thread is not None and thread.daemon,
                "stack": stack[:DEEPEST],
            }
        )
    return sorted(found, key=lambda each: each["id"] != threading.main_thread().ident)


def task_list(reactor: Reactor) -> list[dict[str, Any]]:
    """The Tasks of a reactor's asyncio loop that are not done, and where each waits."""
    host = reactor._host
    loop = reactor.made_event_loop if host is None else host.event_loop()
    if loop is None:
        return []
    found: list[dict[str, Any]] = []
    for task in _copied(asyncio.all_tasks(loop)):
        coroutine = task.get_coro()
        found.append(
            {
                "name": task.get_name(),
                "coroutine": str(getattr(coroutine, "__qualname__", coroutine)),
                "cancelling": task.cancelling(),
                "waits": coroutine_places(coroutine),
            }
        )
    return sorted(found, key=lambda each: (each["coroutine"], each["name"]))


def _deferreds() -> Iterator[str]:
    """Deferreds that somebody waits for; where they were made, when debugging is on."""
    for each in gc.get_objects():
        # `type` and not `isinstance`, which a proxy may answer by doing something.
        if type(each) is Deferred and not each.called:
            made = getattr(cast("Any", each), "_place", None)
            yield "pending" if made is None else f"pending, made at {made}"


def _timers(reactor: Reactor) -> list[dict[str, Any]]:
    now = reactor.time()
    return [
        {"in": round(when - now, 3), "call": callback_name(timer.fn)}
        for when, _, timer in sorted(_copied(reactor._heap), key=lambda each: each[:2])
        if timer.fn is not None
    ]


def _descriptors(reactor: Reactor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for fd, handler in sorted(_copied(reactor.handlers.items())):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            name = ""
        found.append({"fd": fd, "is": name, "handler": callback_name(handler)})
    return found


def text_of(found: Mapping[str, Any]) -> str:
    """A snapshot for people; what comes from peers is escaped."""
    lines = [f"process {found['pid']}"]
    for thread in found["threads"]:
        lines.append(f"thread {thread['name']}{' (daemon)' if thread['daemon'] else ''}")
        lines += [f"    {each}" for each in thread["stack"]]
    for kind, show in _KINDS.items():
        entries = found[kind]
        lines.append(f"{kind}: {entries['count']}")
        for each in entries["first"]:
            lines += [f"    {line}" for line in show(each)]
        if entries["count"] > len(entries["first"]):
            lines.append(f"    … and {entries['count'] - len(entries['first'])} more")
    return "\n".join(escape(line) for line in lines)


_KINDS: Final[dict[str, Callable[[Any], list[str]]]] = {
    "services": lambda text: [text],
    "tasks": lambda task: [
        f"{task['name']}: {task['coroutine']}",
        *(f"    {each}" for each in task["waits"]),
    ],
    "deferreds": lambda text: [text],
    "timers": lambda timer: [f"in {timer['in']} s: {timer['call']}"],
    "ready": lambda text: [text],
    "descriptors": lambda entry: [f"{entry['fd']} {entry['is']}: {entry['handler']}"],
}


def dump_on_signal(
    reactor: Reactor,
    signum: int | None = None,
    services: Callable[[], Sequence[str]] = tuple,
) -> Callable[[], None]:
    """Write a dump to the log whenever a signal comes. To be called in the main thread.

    Args:
        reactor: Of whom.
        signum: The signal; SIGUSR1 when left out.
        services: Tells a line on each service.

    Returns:
        What undoes it.

    Raises:
        ValueError: This is not the main thread, or there is no such signal.
    """
    number = getattr(signal, "SIGUSR1", 0) if signum is None else signum

    here, there = os.pipe()
    os.set_blocking(there, False)

    def serve() -> None:
        # Nothing but its end is read from a closed pipe.
        while os.read(here, 64):
            _write(reactor, services)
        os.close(here)

    thread = threading.Thread(target=serve, name="sennit-dump", daemon=True)

    def on_signal(signum: int, frame: object) -> None:
        # Wherever it came, locks may be held: nothing that takes one is done here.
        try:
            os.write(there, b"!")
        except BlockingIOError:
            pass  # asked for often enough

    before = signal.signal(number, on_signal)
    thread.start()

    def undo() -> None:
        signal.signal(number, signal.SIG_DFL if before is None else before)
        os.close(there)
        thread.join(1.0)

    return undo


def _write(reactor: Reactor, services: Callable[[], Sequence[str]]) -> None:
    log = logging.getLogger("sennit.dump")
    try:
        lines = text_of(snapshot(reactor, services())).split("\n")
    except Exception as error:
        log.error("a dump failed", exc_info=error)
        return
    for line in lines:
        # Each is a message of its own kind, which no filter of repeats counts.
        log.log(logging.WARNING, line)
