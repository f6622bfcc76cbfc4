"""What a Deferred ended with, and the watch over errors that nobody took.

`Outcome` is public and reached through ``sennit.core.deferred``; the rest of
this module serves the Deferred alone.

Not here: the chain itself (``sennit.core.deferred``).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if not TYPE_CHECKING:
    # What these modules need of `typing` when they run, so that it need not be imported.

    class Generic:
        """Stands in for `typing.Generic`."""

        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls

    T = object

    def cast(kind: object, value: object) -> object:
        """Return the value: the cast is for the checkers."""
        return value

    def overload(function: object) -> object:
        """Return the function: overloads are for the checkers."""
        return function
else:
    from types import FrameType, TracebackType
    from typing import Generic, TypeVar, cast

    T = TypeVar("T")


__all__ = ["Outcome"]

PLACE_DEPTH = 6
"""How many callers of a Deferred's making are remembered while debugging."""


class Outcome(Generic[T]):
    """A value or an error, as one thing to hand about.

    Attributes:
        value: What came out; ``None`` when there is an error.
        error: The exception, or ``None``.
    """

    __slots__ = ("_trace", "error", "value")

    value: T | None
    error: BaseException | None

    def __init__(self, value: T | None = None, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error
        self._trace: TracebackType | None = None if error is None else error.__traceback__

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error as it was when the outcome was made."""
        if self.error is None:
            return cast("T", self.value)
        raise self.error.with_traceback(self._trace)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcome):
            return NotImplemented
        theirs = cast("Outcome[object]", other)
        return self.error is theirs.error and self.value == theirs.value

    def __hash__(self) -> int:
        return hash((self.value, self.error))

    def __repr__(self) -> str:
        if self.error is None:
            return f"Outcome({self.value!r})"
        return f"Outcome(error={self.error!r})"


class Unhandled:
    """Lies beside an error until somebody takes it, and speaks when it is thrown away.

    A finaliser on the Deferred itself would cost every Deferred a call; this
    one is made for errors only.
    """

    __slots__ = ("_error", "_place")

    def __init__(self, error: BaseException, place: str | None) -> None:
        self._error: BaseException | None = error
        self._place = place

    def disarm(self) -> None:
        """Say nothing later: somebody took the error."""
        self._error = None

    def __del__(self) -> None:
        error = self._error
        if error is not None:
            self._error = None
            report("Nobody handled the error of a Deferred", error, self._place)


def report(message: str, error: BaseException, place: str | None = None) -> None:
    """Log an error that has no other way out.

    Args:
        message: What happened, as a sentence without its stop.
        error: The exception.
        place: Where the Deferred was made, when that is known.
    """
    if place is not None:
        message = f"{message}; it was made at\n{place}"
    if sys.is_finalizing() and "logging" not in sys.modules:
        # Nothing can be imported any more, and silence is not an answer.
        sys.__excepthook__(type(error), error, error.__traceback__)
        return
    import logging

    logging.getLogger("sennit").error(
        "%s", message, exc_info=(type(error), error, error.__traceback__)
    )


def describe_place(frame: FrameType | None, hidden: frozenset[str]) -> str:
    """Name the nearest callers of a Deferred's making, the innermost last.

    Args:
        frame: Where to begin.
        hidden: File names that say nothing to the reader: those of this house.
    """
    lines: list[str] = []
    while frame is not None and len(lines) < PLACE_DEPTH:
        code = frame.f_code
        if code.co_filename not in hidden:
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
        frame = frame.f_back
    return "\n".join(reversed(lines))


def link_context(error: BaseException, earlier: BaseException) -> None:
    """Note that `error` arose while `earlier` was handled, as Python's ``except`` does.

    Nothing is linked where that would close a ring.
    """
    if error is earlier or error.__context__ is not None:
        return
    link: BaseException | None = earlier
    while link is not None:
        if link is error:
            return
        link = link.__context__
    error.__context__ = earlier


def strip(error: BaseException) -> None:
    """Take our own frame off a traceback: it is noise, and it would close a ring."""
    trace = error.__traceback__
    if trace is not None:
        error.__traceback__ = trace.tb_next
