"""Tasks for handlers: they take their first step at once where Python can do that.

From 3.12 on asyncio offers it. On 3.11 a new Task has left its first step at the
end of the loop's queue; on the reactor's own loop it is taken from there and run,
unless another Task runs (then asyncio would refuse it, and it waits its turn).
"""

from __future__ import annotations

import sys
from asyncio import Task, tasks
from typing import TYPE_CHECKING, TypeVar

from sennit.core._waiting import current_loop
from sennit.core.reactor.base import Reactor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from contextvars import Context
    from typing import Any

__all__ = ["start_task"]

T = TypeVar("T")

if sys.version_info < (3, 12):
    # What `asyncio.current_task` looks into; it is no more than a function around it.
    _current_tasks: dict[asyncio.AbstractEventLoop, Task[Any]] = vars(tasks)["_current_tasks"]


def start_task(
    coroutine: Coroutine[Any, Any, T],
    context: Context,
    loop: asyncio.AbstractEventLoop | None = None,
    name: str | None = None,
) -> Task[T]:
    """Make a Task of a coroutine in `context`, its first step taken already if possible.

    Args:
        coroutine: Not begun yet.
        context: What it runs in, its own.
        loop: The running loop, where the caller knows it: to ask costs a system call on 3.11.
        name: What the Task is called; left out, asyncio makes a name up, which is not free.

    Raises:
        ReactorNotRunningError: No loop runs in this thread (then the coroutine is closed).
    """
    if loop is None:
        try:
            loop = current_loop()
        except BaseException:
            coroutine.close()
            raise
    if sys.version_info >= (3, 12):
        eager = loop.is_running()
        return Task(coroutine, loop=loop, context=context, name=name, eager_start=eager)
    task = Task(coroutine, loop=loop, context=context, name=name)
    # Here and not in a function of its own: every handler that is a coroutine passes.
    reactor: object = getattr(loop, "reactor", None)
    if isinstance(reactor, Reactor) and _current_tasks.get(loop) is None:
        ready = reactor._ready
        step = ready[-1].fn if ready else None
        if step is not None and getattr(step, "__self__", None) is task:
            ready.pop()
            context.run(step)
    return task
