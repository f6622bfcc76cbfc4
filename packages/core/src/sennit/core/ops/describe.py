"""Callbacks, frames and coroutines in words, for who has to find them in the source."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

__all__ = ["callback_name", "code_place", "coroutine_places", "frames_of", "place", "short_path"]

_PARTIAL: Any = partial  # Any: of whatever function, which has no name for a checker


def short_path(file: str) -> str:
    """A file's path without the folder of `sys.path` it was found in."""
    best = ""
    for folder in sys.path:
        if len(folder) > len(best) and file.startswith(folder + "/"):
            best = folder
    return file[len(best) + 1 :] if best else file


def place(frame: FrameType) -> str:
    """Function, file and line of a frame: ``Echo.data_received (app.py:12)``."""
    return code_place(frame.f_code, frame.f_lineno)


def code_place(code: CodeType, line: int | None = None) -> str:
    """Function, file and line of code; its first line when none is given."""
    where = code.co_firstlineno if line is None else line
    return f"{code.co_qualname} ({short_path(code.co_filename)}:{where})"


def callback_name(fn: object) -> str:
    """What a callback is, and where it is defined if that can be told."""
    step: Any = fn
    while isinstance(step, _PARTIAL):
        # `partial(context.run, handler)` is how a handler keeps its context.
        keeps = getattr(step.func, "__name__", "") == "run" and step.args
        step = step.args[0] if keeps else step.func
    fn = step
    owner: Any = getattr(fn, "__self__", None)
    if isinstance(owner, SocketTransport):
        protocol = owner.get_protocol()
        return f"{type(protocol).__qualname__} of {owner.peer}"
    get_coro = getattr(owner, "get_coro", None)
    if get_coro is not None:
        coroutine = get_coro()
        name = owner.get_name() if hasattr(owner, "get_name") else "a task"
        return f"task {name} of {getattr(coroutine, '__qualname__', coroutine)!s}"
    code: CodeType | None = getattr(fn, "__code__", None)
    if code is not None:
        return code_place(code)
    return str(getattr(fn, "__qualname__", None) or repr(fn))


def frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def coroutine_places(coroutine: object, most: int = 32) -> list[str]:
    """Where a coroutine waits: from its own frame to the innermost one it awaits."""
    places: list[str] = []
    step: Any = coroutine
    while step is not None and len(places) < most:
        frame = getattr(step, "cr_frame", None)
        if frame is None:
            frame = getattr(step, "gi_frame", None) or getattr(step, "ag_frame", None)
        if frame is None:
            break
        places.append(place(frame))
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    return places
