"""`gather` and `race`: several Deferreds or awaitables as one.

Both are reached through ``sennit.core.deferred``. They wait in the chains of
what they are given as any other waiter does: nothing is taken away there, and
what others wait for too is not cancelled.
"""

from __future__ import annotations

from sennit.core._outcome import Outcome, report
from sennit.core._waiting import Later, is_cancellation, new_cancellation
from sennit.core.deferred import Deferred, succeed

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from sennit.core._outcome import overload
else:
    from collections.abc import Awaitable
    from typing import Any, Literal, TypeVar, overload

    A = TypeVar("A")
    B = TypeVar("B")
    C = TypeVar("C")
    D = TypeVar("D")
    U = TypeVar("U")


__all__ = ["gather", "race"]


def _follow(awaitable: Awaitable[U]) -> Deferred[U]:
    """Return a Deferred that waits for this one as one of its waiters."""
    return succeed(None).add_callback(lambda _: awaitable)


class _Combination(Later):
    """What `gather` and `race` have in common: one Deferred per member, and an end."""

    __slots__ = ("_cancelled", "_links", "deferred", "left")

    def __init__(self, awaitables: tuple[Awaitable[Any], ...]) -> None:
        self.deferred: Deferred[Any] = Deferred(self)
        self.left = len(awaitables)
        self._cancelled = False
        # All are begun before the result of any is looked at.
        self._links = [_follow(awaitable) for awaitable in awaitables]
        for index, link in enumerate(self._links):
            member = _Member(self, index)
            link.add_callbacks(member.succeeded, member.failed)

    def succeeded(self, index: int, value: object) -> None:
        raise NotImplementedError

    def failed(self, index: int, error: BaseException) -> None:
        raise NotImplementedError

    def cancel(self) -> None:
        self._cancelled = True
        self.cancel_members()

    def cancel_members(self) -> None:
        for link in self._links:
            link.cancel()


class _Member:
    """The place of one member."""

    __slots__ = ("_index", "_owner")

    def __init__(self, owner: _Combination, index: int) -> None:
        self._owner = owner
        self._index = index

    def succeeded(self, value: object) -> None:
        self._owner.succeeded(self._index, value)

    def failed(self, error: BaseException) -> None:
        self._owner.failed(self._index, error)


class _Gathering(_Combination):
    __slots__ = ("_as_outcomes", "_error", "_results")

    def __init__(self, awaitables: tuple[Awaitable[Any], ...], as_outcomes: bool) -> None:
        self._as_outcomes = as_outcomes
        self._error: BaseException | None = None
        self._results: list[Any] = [None] * len(awaitables)
        super().__init__(awaitables)

    def succeeded(self, index: int, value: object) -> None:
        self._results[index] = Outcome(value) if self._as_outcomes else value
        self._count()

    def failed(self, index: int, error: BaseException) -> None:
        if self._as_outcomes:
            self._results[index] = Outcome(None, error)
        elif self._error is None:
            self._error = error
            self.cancel_members()
        elif not is_cancellation(error):
            report("A second error in gather(), which fails with the first one", error)
        self._count()

    def _count(self) -> None:
        self.left -= 1
        if self.left:
            return
        self._links.clear()
        if self.deferred.fired:
            return
        if self._error is None and self._as_outcomes and self._cancelled:
            self._error = new_cancellation()
        if self._error is None:
            self.deferred.callback(tuple(self._results))
        else:
            error, self._error = self._error, None
            self.deferred.errback(error)


class _Race(_Combination):
    __slots__ = ("_errors",)

    def __init__(self, awaitables: tuple[Awaitable[Any], ...]) -> None:
        self._errors: list[BaseException | None] = [None] * len(awaitables)
        super().__init__(awaitables)

    def succeeded(self, index: int, value: object) -> None:
        if not self.deferred.fired:
            self.deferred.callback((index, value))
            self.cancel_members()

    def failed(self, index: int, error: BaseException) -> None:
        self.left -= 1
        if self.deferred.fired:
            return
        self._errors[index] = error
        if not self.left:
            errors = [error for error in self._errors if error is not None]
            self._errors.clear()
            self.deferred.errback(
                new_cancellation()
                if self._cancelled
                else BaseExceptionGroup("nobody won the race", errors)
            )


@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], /, *, return_outcomes: Literal[False] = False
) -> Deferred[tuple[A, B]]: ...


@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /, *, return_outcomes: Literal[False] = False
) -> Deferred[tuple[A, B, C]]: ...


@overload
def gather(
    a: Awaitable[A],
    b: Awaitable[B],
    c: Awaitable[C],
    d: Awaitable[D],
    /,
    *,
    return_outcomes: Literal[False] = False,
) -> Deferred[tuple[A, B, C, D]]: ...


@overload
def gather(
    *awaitables: Awaitable[U], return_outcomes: Literal[False] = False
) -> Deferred[tuple[U, ...]]: ...


@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], /, *, return_outcomes: Literal[True]
) -> Deferred[tuple[Outcome[A], Outcome[B]]]: ...


@overload
def gather(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /, *, return_outcomes: Literal[True]
) -> Deferred[tuple[Outcome[A], Outcome[B], Outcome[C]]]: ...


@overload
def gather(
    *awaitables: Awaitable[U], return_outcomes: Literal[True]
) -> Deferred[tuple[Outcome[U], ...]]: ...


def gather(*awaitables: Awaitable[Any], return_outcomes: bool = False) -> Deferred[Any]:
    """Wait for all of them.

    Coroutines among them are begun in order. When one fails the others are
    cancelled, and when all have ended the result is the first error; a later
    one that is no cancellation is logged. Cancelling the result cancels all.

    Args:
        awaitables: Deferreds, coroutines, futures.
        return_outcomes: Let each end as it will, and give an `Outcome` for each.

    Returns:
        The tuple of their values, or of their outcomes, in the order given.
    """
    if not awaitables:
        return succeed(())
    return _Gathering(awaitables, return_outcomes).deferred


def race(*awaitables: Awaitable[U]) -> Deferred[tuple[int, U]]:
    """Wait for the first that succeeds, and cancel the others.

    Errors of those that lose are dropped. If all fail, the error is an
    `ExceptionGroup` of theirs in the order given. Cancelling the result cancels all.

    Returns:
        The place of the winner, counted from 0, and its value.

    Raises:
        ValueError: Nobody takes part.
    """
    if not awaitables:
        raise ValueError("race() needs at least one awaitable")
    return _Race(awaitables).deferred
