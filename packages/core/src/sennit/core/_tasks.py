"""Tasks for handlers: they begin at once where Python can do that."""

from __future__ import annotations

import sys
from asyncio import Task
from typing import TYPE_CHECKING, TypeVar

from sennit.core.reactor.base import current_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context
    from typing import Any

__all__ = ["start_task"]

T = TypeVar("T")


def start_task(coroutine: Coroutine[Any, Any, T], context: Context) -> Task[T]:
    """Make a Task of a coroutine in `context`, its first step taken already if possible.

    Raises:
        ReactorNotRunningError: No loop runs in this thread (then the coroutine is closed).
    """
    try:
        loop = current_loop()
    except BaseException:
        coroutine.close()
        raise
    if sys.version_info >= (3, 12):
        return Task(coroutine, loop=loop, context=context, eager_start=loop.is_running())
    return Task(coroutine, loop=loop, context=context)
