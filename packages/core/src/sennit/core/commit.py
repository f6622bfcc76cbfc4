"""`commit()`: a step that is not cancelled halfway.

A handler is cancelled when its connection goes, its exchange is reset or its
server ends. Between "the message is on its way to the disk" and "it is there"
that must not happen::

    async with commit():
        await store.write_and_sync(message)
        await store.rename_into_place(message)
    self.engine.accept_message()

Cancellations that arrive inside, from whoever, take effect where the block ends,
which raises `CancelledError` there if the block itself did not fail.

`sync_directory` is what makes a rename last.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path
    from types import TracebackType

__all__ = ["commit", "sync_directory"]


class commit:  # noqa: N801 - it is used like a function
    """Hold cancellation back until the end of an ``async with`` block.

    Holds for the Task that enters it, not for others that it starts or waits
    for. Blocks may be nested; the outermost counts. A block that never ends
    makes its Task unstoppable: keep to what has to be whole, with time-outs of
    its own.

    Raises:
        RuntimeError: It was entered outside a Task, or twice.
    """

    __slots__ = ("_held", "_inner", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._inner = False
        self._held: list[tuple[Any, ...]] = []

    async def __aenter__(self) -> None:
        import asyncio

        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("commit() shields a Task, and none runs here")
        if self._task is not None:
            raise RuntimeError("this commit() was entered already")
        self._task = task
        self._inner = task in _shielded
        if not self._inner:
            _shielded.add(task)
            # An attribute of the object hides the class's method from all who call it:
            # the driver, `asyncio.timeout`, TaskGroup and the end of the loop alike.
            task.cancel = self._hold  # type: ignore[method-assign]  # in front of it

    def _hold(self, *message: Any, **named: Any) -> bool:
        task = self._task
        if task is None or task.done():
            return False
        self._held.append((*message, *named.values()))
        return True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if task is None or self._inner:
            return
        _shielded.discard(task)
        del task.cancel
        held, self._held = self._held, []
        for message in held:
            task.cancel(*message)
        if held and kind is None:
            import asyncio

            await asyncio.sleep(0)


_shielded: set[asyncio.Task[Any]] = set()
"""Tasks that are inside an outermost block now."""


def sync_directory(folder: str | Path) -> None:
    """See that a rename in a directory is on the disk."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
