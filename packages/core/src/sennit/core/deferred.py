"""`Deferred`: a value that is not here yet, with a chain of callbacks.

The result of each callback is the input of the next. A callback may return a
Deferred, a coroutine or another awaitable: the chain waits for it. Chains
unwind in a loop (`_unwind`), never in recursion, however long or deep they
are, in time linear in their length.

Who waits for a Deferred (an ``await``, another Deferred's chain, `shield`,
`as_future`) stands in the chain like a callback, sees the result as it is at
that place, and takes nothing away: what was added later, and every other
waiter, sees the same.

Coroutines are asyncio's, which is imported when the first one is driven or
something is cancelled, and not before. A Task that awaits a Deferred goes on
inside the call that fires it, as a callback would, when the loop is at hand
and no other Task is running; else in the loop's next turn. So the answer to a
request leaves in the turn that brought it.

Not here: `gather` and `race` (``_combine.py``, offered here by name), what
an outcome is and how a lost error is reported (``_outcome.py``).
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from os import environ

from sennit.core._chain import (
    ERROR,
    FINALLY,
    PENDING,
    RUNNING,
    VALUE,
    WAITING,
    Chain,
    FutureWaiter,
    ShieldWaiter,
    drop,
    give,
    unwind,
)
from sennit.core._outcome import Outcome, describe_place, strip
from sennit.core._waiting import (
    Bond,
    CoroutineType,
    Failure,
    Limit,
    await_plainly,
    current_loop,
    new_wait,
    start_task,
    wake,
)
from sennit.core.errors import AlreadyFiredError

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from sennit.core._outcome import Generic, T, cast, overload
else:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

    from sennit.core._chain import Entry
    from sennit.core._combine import gather, race
    from sennit.core._waiting import Clock

    P = ParamSpec("P")
    T = TypeVar("T")
    U = TypeVar("U")
    V = TypeVar("V")
    E = TypeVar("E", bound=BaseException)


__all__ = [
    "Deferred",
    "Outcome",
    "fail",
    "gather",
    "maybe_deferred",
    "race",
    "set_debug",
    "shield",
    "succeed",
]

_HIDDEN = frozenset({__file__})
_debug = bool(environ.get("SENNIT_DEBUG"))


def set_debug(on: bool) -> None:
    """Remember where each Deferred is made, and say it when its error is lost.

    On from the start when the environment has ``SENNIT_DEBUG``.
    """
    global _debug
    _debug = on


class Deferred(Chain, Generic[T]):
    """A value that is not here yet.

    Each method that adds a callback returns the Deferred itself, whose result
    is from then on what that callback returns.

    Args:
        canceller: Called with the Deferred by `cancel`; it stops what is under
            way, and may fire the Deferred. If it does not, the Deferred fails
            with `asyncio.CancelledError`.
    """

    __slots__ = ()

    def __init__(self, canceller: Callable[[Deferred[T]], object] | None = None) -> None:
        self._state = PENDING
        self._chain = None
        self._canceller = canceller
        self._waits = 0
        if _debug:
            self._place = describe_place(sys._getframe(1), _HIDDEN)

    # -- the chain ---------------------------------------------------------

    # A lambda is understood best where no ParamSpec is: hence the plain forms.
    @overload
    def add_callback(self, fn: Callable[[T], Awaitable[U]], /) -> Deferred[U]: ...

    @overload
    def add_callback(self, fn: Callable[[T], U], /) -> Deferred[U]: ...

    @overload
    def add_callback(
        self,
        fn: Callable[Concatenate[T, P], Awaitable[U]],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> Deferred[U]: ...

    @overload
    def add_callback(
        self, fn: Callable[Concatenate[T, P], U], /, *args: P.args, **kw: P.kwargs
    ) -> Deferred[U]: ...

    def add_callback(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call `fn` with the value, once there is one; its result takes the value's place.

        Args:
            fn: Called with the value and the arguments given here. What it
                raises moves the chain to the error side.
            args: Given to `fn` after the value.
            kw: Likewise.
        """
        state = self._state
        if state == VALUE:
            self._state = RUNNING
            try:
                value = fn(self._result, *args, **kw)
            except BaseException as exc:
                strip(exc)
                unwind(self, False, exc, exc.__traceback__)
                try:
                    return self
                finally:
                    del self  # see the end of `unwind`
            if self._chain is None and not hasattr(value, "__await__"):
                self._result = value
                self._state = VALUE
            else:
                first: Entry = (give, None, ((value,), {}, copy_context(), None))
                unwind(self, True, None, None, iter([first]))
            return self
        if state == ERROR:
            return self
        context = copy_context()
        entry = (fn, None, (args, kw, context, None) if args or kw or context else None)
        if self._chain is None:
            self._chain = [entry]
        else:
            self._chain.append(entry)
        return self

    @overload
    def add_errback(self, fn: Callable[[BaseException], BaseException], /) -> Deferred[T]: ...

    @overload
    def add_errback(self, fn: Callable[[BaseException], Awaitable[U]], /) -> Deferred[T | U]: ...

    @overload
    def add_errback(self, fn: Callable[[BaseException], U], /) -> Deferred[T | U]: ...

    @overload
    def add_errback(
        self,
        fn: Callable[Concatenate[BaseException, P], BaseException],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> Deferred[T]: ...

    @overload
    def add_errback(
        self,
        fn: Callable[Concatenate[BaseException, P], Awaitable[U]],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> Deferred[T | U]: ...

    @overload
    def add_errback(
        self, fn: Callable[Concatenate[BaseException, P], U], /, *args: P.args, **kw: P.kwargs
    ) -> Deferred[T | U]: ...

    def add_errback(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call `fn` with the error, if there is one.

        What it returns is the value from there on, except that the very
        exception it was given stays the error: log it and pass it on.
        """
        if self._state != VALUE:
            self._add(None, fn, args, kw, None)
        return self

    @overload
    def add_callbacks(
        self, callback: Callable[[T], Awaitable[U]], errback: Callable[[BaseException], V], /
    ) -> Deferred[U | V]: ...

    @overload
    def add_callbacks(
        self, callback: Callable[[T], U], errback: Callable[[BaseException], V], /
    ) -> Deferred[U | V]: ...

    def add_callbacks(
        self, callback: Callable[[Any], Any], errback: Callable[[BaseException], Any], /
    ) -> Deferred[Any]:
        """Add a callback and an errback at one place: only one of them is called.

        The errback does not see what the callback raises.
        """
        self._add(callback, errback, (), {}, None)
        return self

    @overload
    def catch(
        self, types: type[E] | tuple[type[E], ...], fn: Callable[[E], Awaitable[U]], /
    ) -> Deferred[T | U]: ...

    @overload
    def catch(
        self, types: type[E] | tuple[type[E], ...], fn: Callable[[E], U], /
    ) -> Deferred[T | U]: ...

    @overload
    def catch(
        self,
        types: type[E] | tuple[type[E], ...],
        fn: Callable[Concatenate[E, P], Awaitable[U]],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> Deferred[T | U]: ...

    @overload
    def catch(
        self,
        types: type[E] | tuple[type[E], ...],
        fn: Callable[Concatenate[E, P], U],
        /,
        *args: P.args,
        **kw: P.kwargs,
    ) -> Deferred[T | U]: ...

    def catch(
        self,
        types: type[BaseException] | tuple[type[BaseException], ...],
        fn: Callable[..., Any],
        /,
        *args: Any,
        **kw: Any,
    ) -> Deferred[Any]:
        """Call `fn` with the error if it is one of these types, like ``except``.

        Raises:
            TypeError: `types` is not an exception class, nor a tuple of them.
        """
        wanted = types if isinstance(types, tuple) else (types,)
        for kind in cast("tuple[object, ...]", wanted):
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"catch() takes exception classes, not {kind!r}")
        if wanted and self._state != VALUE:
            self._add(None, fn, args, kw, wanted)
        return self

    def add_finally(self, fn: Callable[[], object], /) -> Deferred[T]:
        """Call `fn` without arguments on either side; the result passes through.

        If it returns something to wait for, the result passes afterwards. What
        it raises takes the result's place.
        """
        self._add(fn, fn, (), {}, FINALLY)
        return self

    # -- firing --------------------------------------------------------------

    def callback(self, value: T) -> None:
        """Fire with a value.

        Raises:
            AlreadyFiredError: It was fired before. One late result is dropped
                in silence when the Deferred was cancelled meanwhile.
        """
        if self._state:
            self._refuse()
            return
        if type(value) is Deferred:
            raise TypeError("a Deferred is not a value; return it from a callback instead")
        self._canceller = None
        chain = self._chain
        if chain is not None:
            # One Task that awaits it and nothing else is what happens most.
            if self._waits == 1 and len(chain) == 1:
                task, _, token = chain[0]
                if task is True:
                    self._chain = None
                    self._waits = 0
                    self._result = value
                    self._state = VALUE
                    future, token[0], token[1] = token[0], None, value
                    wake(future)
                    return
            unwind(self, True, value, None)
            del self, value, chain  # see the end of `unwind`
            return
        self._result = value
        self._state = VALUE

    def errback(self, error: BaseException) -> None:
        """Fire with an error.

        Raises:
            AlreadyFiredError: As for `callback`.
            TypeError: `error` is no exception.
        """
        if not isinstance(cast("object", error), BaseException):
            raise TypeError(f"errback() takes an exception, not {error!r}")
        if self._state:
            self._refuse()
            return
        self._canceller = None
        unwind(self, False, error, error.__traceback__)
        del self, error

    def _refuse(self) -> None:
        if self._canceller is drop:
            self._canceller = None
            return
        place = getattr(self, "_place", None)
        raise AlreadyFiredError(
            "this Deferred was fired already" + (f"; it was made at\n{place}" if place else "")
        )

    @property
    def fired(self) -> bool:
        """Whether it was fired, or cancelled; the chain may still be waiting."""
        return self._state != PENDING

    called = fired

    @property
    def outcome(self) -> Outcome[T] | None:
        """Value or error at the end of the chain; ``None`` while there is none.

        Who reads an error here has taken it: it is not logged as lost.
        """
        if self._state == VALUE:
            return Outcome(self._result)
        if self._state == ERROR:
            self._take()
            return Outcome(None, self._result.with_traceback(self._trace))
        return None

    def timeout(self, seconds: float, clock: Clock) -> Deferred[T]:
        """Cancel it after this many seconds; the error is then `TimeoutError`.

        What is in the chain when this is called must end in time; what is added
        later need not.

        Args:
            seconds: From now.
            clock: A reactor, an asyncio loop, or any object whose
                ``call_later(seconds, fn)`` returns something with ``cancel()``.
        """
        if self._state != VALUE and self._state != ERROR:
            limit = Limit(self)
            limit.timer = clock.call_later(seconds, limit.expire)
            self.add_callbacks(limit.succeeded, limit.failed)
        return self

    # -- waiting -------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, T]:
        state = self._state
        if state == VALUE:
            return cast("T", self._result)
        if state == ERROR:
            self._take()
            error, trace = self._result, self._trace
        else:
            future = new_wait()
            token: list[Any] = [future, None]
            self._waits += 1
            if self._chain is None:
                self._chain = [(True, True, token)]
            else:
                self._chain.append((True, True, token))
            try:
                yield future
                if token[0] is not None:
                    raise RuntimeError("resumed before the Deferred awaited had a result")
            except BaseException:
                # Cancelled, or closed: the Task is gone without the result.
                if token[0] is not None:
                    token[0] = None
                    self._lose()
                    if future.cancelled() and not self._waits:
                        self.cancel()
                raise
            result = token[1]
            if type(result) is not Failure:
                return cast("T", result)
            error, trace = result.error, result.trace
            del result, future, token
        # The error's traceback is about to hold this frame.
        del self
        try:
            raise error.with_traceback(trace)
        finally:
            del error, trace

    def as_future(self) -> asyncio.Future[T]:
        """Return a future of the current loop with this result.

        Cancelling the future gives up this wait, and the Deferred with it when
        nobody else waits.
        """
        future: asyncio.Future[T] = current_loop().create_future()
        FutureWaiter(self, future)
        return future

    @staticmethod
    def from_future(future: asyncio.Future[U]) -> Deferred[U]:
        """Return a Deferred with a future's result; cancelling it cancels the future."""
        bond: Bond = Bond()
        deferred: Deferred[U] = Deferred(bond)
        bond.tie(deferred, future)
        return deferred

    @staticmethod
    def from_coroutine(coroutine: Coroutine[Any, Any, U]) -> Deferred[U]:
        """Drive a coroutine as an asyncio Task of the current loop.

        On Python 3.12 and later it starts at once. The Deferred holds the Task;
        cancelling it cancels the Task, and it fires when the Task has ended.

        Raises:
            RuntimeError: There is no loop to drive it.
        """
        try:
            loop = current_loop()
        except BaseException:
            coroutine.close()
            raise
        return Deferred.from_future(start_task(coroutine, loop))

    def _adopt(self, awaitable: Awaitable[Any]) -> Chain:
        return _adopt(awaitable)

    def __repr__(self) -> str:
        state = self._state
        if state == VALUE:
            what = f"value={self._result!r}"
        elif state == ERROR:
            what = f"error={self._result!r}"
        elif state == WAITING:
            what = f"waiting for {object.__repr__(self._source)}"
        else:
            what = "pending" if state == PENDING else "running"
        return f"<Deferred {what} at {id(self):#x}>"


def _adopt(awaitable: Awaitable[Any]) -> Deferred[Any]:
    """Make a Deferred of what can be awaited; a Deferred is returned as it is."""
    if isinstance(awaitable, Deferred):
        return awaitable
    if isinstance(awaitable, CoroutineType):
        return Deferred.from_coroutine(cast("Coroutine[Any, Any, Any]", awaitable))
    if getattr(type(awaitable), "_asyncio_future_blocking", None) is not None:
        return Deferred.from_future(cast("asyncio.Future[Any]", awaitable))
    return Deferred.from_coroutine(await_plainly(awaitable))


def succeed(value: U) -> Deferred[U]:
    """Return a Deferred that has this value already."""
    deferred: Deferred[U] = Deferred()
    deferred.callback(value)
    return deferred


def fail(error: BaseException) -> Deferred[Any]:
    """Return a Deferred that has this error already."""
    deferred: Deferred[Any] = Deferred()
    deferred.errback(error)
    return deferred


@overload
def maybe_deferred(
    fn: Callable[P, Awaitable[U]], /, *args: P.args, **kw: P.kwargs
) -> Deferred[U]: ...


@overload
def maybe_deferred(fn: Callable[P, U], /, *args: P.args, **kw: P.kwargs) -> Deferred[U]: ...


def maybe_deferred(fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Deferred[Any]:
    """Call a function; whether it returns, raises or is a coroutine, make it a Deferred."""
    try:
        value = fn(*args, **kw)
        if hasattr(value, "__await__"):
            return _adopt(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:
        strip(exc)
        return fail(exc)
    return succeed(value)


def shield(deferred: Deferred[U]) -> Deferred[U]:
    """Return a Deferred with the same result, whose cancelling leaves this one alone."""
    waiter = ShieldWaiter()
    target: Deferred[U] = Deferred(waiter.cancel)
    waiter.begin(deferred, target)
    return target


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # They are built on Deferred, and needed by few: loaded when asked for.
        if name in ("gather", "race"):
            from sennit.core import _combine

            value = globals()[name] = getattr(_combine, name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
