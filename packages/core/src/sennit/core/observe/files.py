"""`observe`: told of changes to files, by callback or ``async for``."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import UsageError
from sennit.core.observe.inotify import Inotify, inotify_of
from sennit.core.observe.statpoll import Entry, FileEvent, Look, diff, look
from sennit.core.reactor.base import current_reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sennit.core.observe.inotify import Listener
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall

    Path = str | os.PathLike[str]

__all__ = ["Observer", "observe"]

PENDING: Final = 10_000
"""Events that wait to be read; beyond that nothing is looked at until some were."""

_PATIENCE: Final = 10
"""Settle times after which a folder that never rests is looked at all the same."""


def observe(
    paths: Path | Iterable[Path],
    callback: Callable[[FileEvent], object] | None = None,
    *,
    recursive: bool = False,
    settle: float = 0.1,
    polling: float | None = None,
    reactor: Reactor | None = None,
) -> Observer:
    """Observe files, and what is in folders.

    A file may be missing now, be replaced by another one, or be reached through symbolic
    links that come to point elsewhere; a change is told once it has rested for the settle
    time, and several changes within that time as one.

    Args:
        paths: One or several. Of a folder, what is directly in it.
        callback: Called with each event; without one the observer is read by ``async for``.
        recursive: Observe folders within folders.
        settle: Seconds without another change before one is told.
        polling: Look every so many seconds, without inotify (network file systems tell
            the kernel nothing of what others write).
        reactor: The one of this thread when left out.

    Returns:
        What runs until it is closed, or the reactor ends: ``async with observe(…) as changes``
        goes on once it sees every change.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    absolute = list(dict.fromkeys(os.path.abspath(os.fspath(each)) for each in several))
    if not absolute:
        raise UsageError("observe() takes one path at least")
    if settle < 0 or (polling is not None and polling <= 0):
        raise UsageError("settle is 0 or more seconds, polling more than 0")
    return Observer(
        current_reactor() if reactor is None else reactor,
        absolute,
        callback,
        recursive=recursive,
        settle=settle,
        polling=polling,
    )


class Observer:
    """Files under observation; made by `observe`.

    Attributes:
        started: Fires when every later change will be seen.
    """

    def __init__(
        self,
        reactor: Reactor,
        paths: list[str],
        callback: Callable[[FileEvent], object] | None,
        *,
        recursive: bool,
        settle: float,
        polling: float | None,
    ) -> None:
        self._reactor = reactor
        self._paths = paths
        self._callback = callback
        self._recursive = recursive
        self._settle = settle
        self._polling = polling
        self._inotify: Inotify | None = None
        self._watches: dict[str, tuple[int, Listener]] = {}
        self._names: dict[str, set[str] | None] = {}
        self._entries: dict[str, Entry] | None = None
        self._events: deque[FileEvent] = deque()
        self._reader: Deferred[FileEvent | None] | None = None
        self._timer: DelayedCall | None = None
        self._latest = 0.0
        self._looking = False
        self._again = False
        self._closed = False
        self.started: Deferred[None] = Deferred()
        reactor.dependants.add(self)
        self._look()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "polling" if self._polling else "inotify"
        return f"<Observer of {len(self._paths)} paths, {state}>"

    @property
    def is_polling(self) -> bool:
        """Whether files are looked at now and then, instead of when the kernel says so."""
        return self._polling is not None

    def close(self) -> None:
        """Observe no more; who reads events comes to their end."""
        if self._closed:
            return
        self._closed = True
        self._reactor.dependants.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for number, listener in self._watches.values():
            if self._inotify is not None and not self._inotify.closed:
                self._inotify.unwatch(number, listener)
        self._watches.clear()
        if not self.started.fired:
            self.started.callback(None)
        if self._reader is not None:
            reader, self._reader = self._reader, None
            if not reader.fired:
                reader.callback(None)

    def reactor_stopped(self) -> None:
        """Its reactor ends."""
        self.close()

    # ── for who reads ─────────────────────────────────────────────────────────

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FileEvent:
        event = await self._next()
        if event is None:
            raise StopAsyncIteration
        return event

    def _next(self) -> Deferred[FileEvent | None]:
        if self._callback is not None:
            return fail(UsageError("this observer has a callback, which takes its events"))
        if self._events:
            event = self._events.popleft()
            if len(self._events) == PENDING - 1 and not self._closed:
                self._look_soon()
            return succeed(event)
        if self._closed:
            return succeed(None)
        if self._reader is not None and not self._reader.fired:
            return fail(UsageError("another one waits for this observer's events"))
        self._reader = Deferred()
        return self._reader

    async def __aenter__(self) -> Self:
        await self.started
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── looking ───────────────────────────────────────────────────────────────

    def _hint(self, folder: str, name: str | None) -> None:
        """Something happened in a folder."""
        if self._closed:
            return
        names = self._names.get(folder)
        if name is None or names is None or name in names:
            if name is None:
                # The folder itself may have gone; another one of that name is not watched.
                self._forget(folder)
            self._look_soon()

    def _look_soon(self) -> None:
        """Look when nothing has happened for the settle time, or for long enough."""
        now = self._reactor.time()
        if self._timer is None or self._polling is not None:
            self._latest = now + self._settle * _PATIENCE
        if self._timer is not None:
            self._timer.cancel()
        delay = min(self._settle, max(self._latest - now, 0.0))
        self._timer = self._reactor.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._closed or len(self._events) >= PENDING:
            return
        if self._looking:
            self._again = True
            return
        self._looking = True
        # In a thread: a disk that sleeps, or a server that is away, must not stop the loop.
        self._reactor.defer_to_thread(look, self._paths, recursive=self._recursive).add_callbacks(
            self._looked, self._failed
        )

    def _failed(self, error: BaseException) -> None:
        """Should not happen; but who observes must not fall silent."""
        self._looking = False
        if not self._closed:
            self._reactor.report(error, "while files were looked at")
            self._timer = self._reactor.call_later(max(self._settle, 1.0), self._look)

    def _looked(self, found: Look) -> None:
        self._looking = False
        if self._closed:
            return
        before, self._entries = self._entries, found.entries
        if self._polling is None:
            complete = self._watch(found)
        else:
            complete = True
            self._timer = self._reactor.call_later(self._polling, self._look)
        if not complete or self._again:
            # What happened before the new watches stood was told to nobody.
            self._again = False
            if self._timer is not None:
                self._timer.cancel()
            self._look()
        elif not self.started.fired:
            self.started.callback(None)
        if before is not None:
            for event in diff(before, found.entries):
                self._give(event)

    def _give(self, event: FileEvent) -> None:
        if self._closed:
            return
        if self._callback is not None:
            try:
                self._callback(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._reactor.report(error, "in the callback of an observer of files")
        elif self._reader is not None and not self._reader.fired:
            reader, self._reader = self._reader, None
            reader.callback(event)
        else:
            self._events.append(event)

    # ── inotify ───────────────────────────────────────────────────────────────

    def _watch(self, found: Look) -> bool:
        """Watch the folders that matter now; whether they were all watched before."""
        self._names = found.folders
        for folder in [each for each in self._watches if each not in found.folders]:
            self._forget(folder)
        new = [each for each in found.folders if each not in self._watches]
        for folder in new:
            try:
                if self._inotify is None or self._inotify.closed:
                    self._inotify = inotify_of(self._reactor)
                listener = partial(self._hint, folder)
                self._watches[folder] = (self._inotify.watch(folder, listener), listener)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile; the next look finds out
            except PermissionError:
                # It may be passed through but not read: nobody tells what happens in it.
                self._fall_back(f"{folder} cannot be read")
                return True
            except OSError as error:
                self._fall_back(f"inotify: {error.strerror}")
                return True
        return not new

    def _forget(self, folder: str) -> None:
        watch = self._watches.pop(folder, None)
        if watch is not None and self._inotify is not None and not self._inotify.closed:
            self._inotify.unwatch(*watch)

    def _fall_back(self, why: str) -> None:
        """Look now and then, from now on."""
        import logging

        logging.getLogger("sennit.observe").warning(
            "%s: files are looked at every second instead (%s%s)",
            why,
            self._paths[0],
            f" and {len(self._paths) - 1} more" if len(self._paths) > 1 else "",
        )
        for folder in list(self._watches):
            self._forget(folder)
        self._polling = 1.0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.call_later(self._polling, self._look)
