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
from contextvars import Context, copy_context
from os import environ

from sennit.core._outcome import (
    Generic,
    Outcome,
    T,
    Unhandled,
    cast,
    describe_place,
    link_context,
    report,
    strip,
)
from sennit.core._waiting import (
    Bond,
    CoroutineType,
    FutureWaiter,
    Later,
    Limit,
    Failure,
    Waiter,
    await_plainly,
    current_loop,
    is_cancellation,
    new_cancellation,
    new_wait,
    start_task,
    wake,
)
from sennit.core.errors import AlreadyFiredError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
    from types import TracebackType
    from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

    from sennit.core._combine import gather, race

    P = ParamSpec("P")
    U = TypeVar("U")
    V = TypeVar("V")
    E = TypeVar("E", bound=BaseException)

    # What passes along a chain changes its type from link to link, in place,
    # which no checker can follow: inside this module it is Any.
    Entry: TypeAlias = tuple[Any, Any, Any]
    Turn: TypeAlias = tuple[
        "Deferred[Any]", Iterator[Entry] | None, bool, Any, TracebackType | None
    ]
else:

    def overload(function: object) -> object:
        """Stand in for `typing.overload`."""
        return function


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

# The states. In VALUE and ERROR the chain is empty and at rest.
_PENDING = 0
_VALUE = 1
_ERROR = 2
_RUNNING = 3  # the chain is being unwound
_CANCELLED = 4  # likewise, and cancel() was called meanwhile
_WAITING = 5  # for another Deferred

_FINALLY = ()
"""In the place of a callback's exception types: called on both sides."""

_HIDDEN = frozenset({__file__})
_debug = bool(environ.get("SENNIT_DEBUG"))


def set_debug(on: bool) -> None:
    """Remember where each Deferred is made, and say it when its error is lost.

    On from the start when the environment has ``SENNIT_DEBUG``.
    """
    global _debug
    _debug = on


class Deferred(Generic[T]):
    """A value that is not here yet.

    Each method that adds a callback returns the Deferred itself, whose result
    is from then on what that callback returns.

    Args:
        canceller: Called with the Deferred by `cancel`; it stops what is under
            way, and may fire the Deferred. If it does not, the Deferred fails
            with `asyncio.CancelledError`.
    """

    # Only what every Deferred needs is set when it is made, for speed; the
    # comment says in which state the others hold something.
    __slots__ = (
        "__weakref__",
        "_canceller",  # PENDING; afterwards None, or _DROP (see there)
        "_chain",  # entries to come, or None
        "_dead",  # after a waiter left: how many entries are of waiters that left
        "_guard",  # ERROR: an Unhandled, or None when somebody took the error
        "_kept",  # WAITING: what add_finally passes on, or None
        "_place",  # when debugging: where it was made
        "_rest",  # WAITING: an iterator over entries to come before _chain
        "_result",  # VALUE, ERROR
        "_source",  # WAITING: the Deferred waited for
        "_state",
        "_trace",  # ERROR: the traceback as it was where it failed
        "_waits",  # how many waiters stand in the chain
    )

    _state: int
    _chain: list[Entry] | None
    _canceller: Callable[[Deferred[T]], object] | None
    _waits: int
    _dead: int
    _guard: Unhandled | None
    _kept: tuple[bool, Any, TracebackType | None] | None
    _place: str
    _rest: Iterator[Entry] | None
    _result: Any
    _source: Deferred[Any] | None
    _trace: TracebackType | None

    def __init__(self, canceller: Callable[[Deferred[T]], object] | None = None) -> None:
        self._state = _PENDING
        self._chain = None
        self._canceller = canceller
        self._waits = 0
        if _debug:
            self._place = describe_place(sys._getframe(1), _HIDDEN)

    # -- the chain ---------------------------------------------------------

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
        if state == _VALUE:
            self._state = _RUNNING
            try:
                value = fn(self._result, *args, **kw)
            except BaseException as exc:
                strip(exc)
                _unwind(self, False, exc, exc.__traceback__)
                return self
            if self._chain is None and not hasattr(value, "__await__"):
                self._result = value
                self._state = _VALUE
            else:
                first = (_give, None, ((value,), {}, copy_context(), None))
                _unwind(self, True, None, None, iter([first]))
            return self
        if state == _ERROR:
            return self
        context = copy_context()
        entry = (fn, None, (args, kw, context, None) if args or kw or context else None)
        if self._chain is None:
            self._chain = [entry]
        else:
            self._chain.append(entry)
        return self

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
        if self._state != _VALUE:
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
        for kind in wanted:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"catch() takes exception classes, not {kind!r}")
        if wanted and self._state != _VALUE:
            self._add(None, fn, args, kw, wanted)
        return self

    def add_finally(self, fn: Callable[[], object], /) -> Deferred[T]:
        """Call `fn` without arguments on either side; the result passes through.

        If it returns something to wait for, the result passes afterwards. What
        it raises takes the result's place.
        """
        self._add(fn, fn, (), {}, _FINALLY)
        return self

    def _add(
        self,
        callback: Callable[..., Any] | None,
        errback: Callable[..., Any],
        args: tuple[Any, ...],
        kw: dict[str, Any],
        types: tuple[type[BaseException], ...] | None,
    ) -> None:
        context = copy_context()
        more = args or kw or context or types is not None
        self._enter((callback, errback, (args, kw, context, types) if more else None))

    def _enter(self, entry: Entry) -> None:
        """Put an entry at the end of the chain, and go on if the chain is at rest."""
        if self._chain is None:
            self._chain = [entry]
            state = self._state
            if state == _VALUE:
                _unwind(self, True, self._result, None)
            elif state == _ERROR:
                guard = self._guard
                if guard is not None:
                    guard.disarm()
                    self._guard = None
                error, trace = self._result, self._trace
                self._result = self._trace = None
                _unwind(self, False, error, trace, None, guard is None)
        else:
            self._chain.append(entry)

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
                waiter = chain[0][2]
                if type(waiter) is list:
                    self._chain = None
                    self._waits = 0
                    self._result = value
                    self._state = _VALUE
                    wake(waiter.pop(), value)
                    return
            _unwind(self, True, value, None)
            return
        self._result = value
        self._state = _VALUE

    def errback(self, error: BaseException) -> None:
        """Fire with an error.

        Raises:
            AlreadyFiredError: As for `callback`.
            TypeError: `error` is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"errback() takes an exception, not {error!r}")
        if self._state:
            self._refuse()
            return
        self._canceller = None
        _unwind(self, False, error, error.__traceback__)

    def _refuse(self) -> None:
        if self._canceller is _drop:
            self._canceller = None
            return
        place = getattr(self, "_place", None)
        raise AlreadyFiredError(
            "this Deferred was fired already" + (f"; it was made at\n{place}" if place else "")
        )

    @property
    def fired(self) -> bool:
        """Whether it was fired, or cancelled; the chain may still be waiting."""
        return self._state != _PENDING

    called = fired

    @property
    def outcome(self) -> Outcome[T] | None:
        """Value or error at the end of the chain; ``None`` while there is none.

        Who reads an error here has taken it: it is not logged as lost.
        """
        if self._state == _VALUE:
            return Outcome(self._result)
        if self._state == _ERROR:
            self._take()
            return Outcome(None, self._result.with_traceback(self._trace))
        return None

    def _take(self) -> None:
        """Note that the error at the end of the chain has found somebody."""
        if self._guard is not None:
            self._guard.disarm()
            self._guard = None

    # -- cancelling ----------------------------------------------------------

    def cancel(self) -> None:
        """Give it up.

        Not fired: the canceller is called; if that leaves it unfired, it fails
        with `asyncio.CancelledError`, or with what the canceller raised.
        Waiting for another Deferred: that one is cancelled, unless others wait
        for it too; then only this wait ends, with `CancelledError`. While a
        callback runs: what the chain next waits for is cancelled. At rest:
        nothing happens.
        """
        target: Deferred[Any] = self
        slow: Deferred[Any] = self
        step = False
        while target._state == _WAITING:
            source = cast("Deferred[Any]", target._source)
            # The second test is for a ring of Deferreds that wait for each
            # other: it is met from behind, and opened here.
            if source._waits > 1 or source is slow:
                target._source = None
                source._lose()
                rest, target._rest, target._kept = target._rest, None, None
                _unwind(target, False, new_cancellation(), None, rest)
                return
            target = source
            if step:
                slow = cast("Deferred[Any]", slow._source)
            step = not step
        if target._state == _RUNNING:
            target._state = _CANCELLED
        elif target._state == _PENDING:
            target._cancel_pending()

    def _cancel_pending(self) -> None:
        canceller = self._canceller
        if isinstance(canceller, Later):
            # What it stands for takes its time to end, and says so itself.
            canceller.cancel()
            return
        self._canceller = None
        error: BaseException | None = None
        if canceller is not None:
            try:
                canceller(self)
            except BaseException as exc:
                strip(exc)
                error = exc
        if self._state != _PENDING:
            if error is not None:
                report("A canceller fired its Deferred, then failed", error)
        else:
            # Who was to fire it may not know, and is forgiven once.
            self._canceller = _drop
            if error is None:
                error = new_cancellation()
            _unwind(self, False, error, error.__traceback__)

    def timeout(self, seconds: float, clock: Clock) -> Deferred[T]:
        """Cancel it after this many seconds; the error is then `TimeoutError`.

        What is in the chain when this is called must end in time; what is added
        later need not.

        Args:
            seconds: From now.
            clock: A reactor, an asyncio loop, or any object whose
                ``call_later(seconds, fn)`` returns something with ``cancel()``.
        """
        if self._state != _VALUE and self._state != _ERROR:
            limit = Limit(self)
            limit.timer = clock.call_later(seconds, limit.expire)
            self.add_callbacks(limit.succeeded, limit.failed)
        return self

    # -- waiting -------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, T]:
        state = self._state
        if state == _VALUE:
            return cast("T", self._result)
        if state == _ERROR:
            self._take()
            error, trace = self._result, self._trace
        else:
            future = new_wait()
            token = [future]
            self._waits += 1
            if self._chain is None:
                self._chain = [(True, True, token)]
            else:
                self._chain.append((True, True, token))
            try:
                value = yield from future
            except BaseException:
                # Cancelled, or closed: the Task is gone without the result.
                if token:
                    token.clear()
                    if future.cancelled():
                        self._give_up()
                    else:
                        self._lose()
                raise
            if type(value) is not Failure:
                return cast("T", value)
            error, trace = value.error, value.trace
            del value, future, token
        # The error's traceback is about to hold this frame.
        del self
        try:
            raise error.with_traceback(trace)
        finally:
            del error, trace

    def _watch(self, waiter: object) -> None:
        """Enter a waiter: an object with ``arrive`` and ``_source``."""
        self._waits += 1
        self._enter((True, True, waiter))

    def _lose(self) -> None:
        """Count a waiter that has left; its entry stays until dead ones are the most."""
        self._waits -= 1
        dead = self._dead = getattr(self, "_dead", 0) + 1
        if dead > 16 and dead > self._waits:
            self._dead = 0
            if self._chain is not None:
                self._chain = [entry for entry in self._chain if self._is_live(entry)]
            if self._state == _WAITING and self._rest is not None:
                self._rest = iter([entry for entry in self._rest if self._is_live(entry)])

    def _is_live(self, entry: Entry) -> bool:
        waiter = entry[2]
        if entry[0] is not True:
            return True
        return bool(waiter) if type(waiter) is list else waiter._source is self

    def _give_up(self) -> None:
        """Count a waiter that was cancelled: with the last one the Deferred goes."""
        self._lose()
        if not self._waits:
            self.cancel()

    def arrive(
        self,
        ok: bool,
        result: Any,
        trace: TracebackType | None,
    ) -> Turn:
        """Go on with what another Deferred's chain came to (called by that chain)."""
        kept, self._kept = self._kept, None
        if kept is not None and ok:
            ok, result, trace = kept
        self._state = _RUNNING
        rest, self._rest = self._rest, None
        return (self, rest, ok, result, trace)

    def as_future(self) -> asyncio.Future[T]:
        """Return a future of the current loop with this result.

        Cancelling the future gives up this wait, and the Deferred with it when
        nobody else waits.
        """
        future: asyncio.Future[T] = current_loop().create_future()
        waiter = FutureWaiter(self, future)
        future.add_done_callback(waiter.future_done, context=Context())
        self._watch(waiter)
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

    def __repr__(self) -> str:
        state = self._state
        if state == _VALUE:
            what = f"value={self._result!r}"
        elif state == _ERROR:
            what = f"error={self._result!r}"
        elif state == _WAITING:
            what = f"waiting for {object.__repr__(self._source)}"
        else:
            what = "pending" if state == _PENDING else "running"
        return f"<Deferred {what} at {id(self):#x}>"


def _drop(deferred: Deferred[Any]) -> None:
    """In the canceller's place after a cancel: one late firing is dropped."""


def _give(_: object, value: Any) -> Any:
    """Return the value: brings an awaitable into a chain."""
    return value


def _unwind(
    deferred: Deferred[Any],
    ok: bool,
    result: Any,
    trace: TracebackType | None,
    rest: Iterator[Entry] | None = None,
    taken: bool = False,
) -> None:
    """Run a chain to its end, or to where it must wait, and those that waited for it.

    Args:
        deferred: What to run; at rest, just fired, or no longer waiting.
        ok: The side it is on.
        result: Value or error.
        trace: The error's traceback as it was where it failed.
        rest: Entries that come before those in the Deferred's ``_chain``.
        taken: The error has been seen by a waiter already.
    """
    # What was set up where no variable was set must see none: where there are
    # some now, it runs in an empty context. Looked at once, not per callback.
    clean = not copy_context()
    todo: deque[Turn] | None = None
    interrupt: BaseException | None = None
    while True:
        deferred._state = _RUNNING
        while True:
            if rest is None:
                chain = deferred._chain
                if chain is None:
                    break
                # Callbacks added from here on make a new list, run next.
                deferred._chain = None
                rest = iter(chain)
                del chain
            for good, bad, more in rest:
                fn = good if ok else bad
                if fn is None:
                    continue
                try:
                    if more is None:
                        out = fn(result) if clean else Context().run(fn, result)
                    elif fn is True:
                        if type(more) is list:
                            if not more:
                                deferred._dead -= 1
                                continue
                            deferred._waits -= 1
                            future = more.pop()
                            if not future.done():
                                taken = True
                                wake(future, result if ok else Failure(result, trace))
                            continue
                        if more._source is not deferred:
                            deferred._dead -= 1
                            continue
                        more._source = None
                        deferred._waits -= 1
                        taken = True
                        turn = more.arrive(ok, result, trace)
                        if turn is not None:
                            if todo is None:
                                todo = _new_queue()
                            todo.append(turn)
                        continue
                    else:
                        args, kw, context, types = more
                        run = context.run if context else _call if clean else Context().run
                        if types is None:
                            out = run(fn, result, *args, **kw)
                        elif types is _FINALLY:
                            out = run(fn)
                        elif isinstance(result, types):
                            out = run(fn, result, *args, **kw)
                        else:
                            continue
                except BaseException as exc:
                    if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                        interrupt = exc
                        if fn is True:
                            continue
                    strip(exc)
                    if not ok:
                        link_context(exc, result)
                    ok, result, trace, taken = False, exc, exc.__traceback__, False
                    continue
                kept = None
                if ok:
                    if not hasattr(out, "__await__"):
                        if more is None or more[3] is None:
                            result = out
                        continue
                elif out is result:
                    continue
                if more is not None and more[3] is _FINALLY:
                    if not hasattr(out, "__await__"):
                        continue
                    kept = (ok, result, trace)
                elif not hasattr(out, "__await__"):
                    ok, result, trace = True, out, None
                    continue
                # Something to wait for.
                try:
                    if isinstance(out, Deferred):
                        source = out
                    else:
                        context = more[2] if type(more) is tuple else None
                        source = (context or Context()).run(_adopt, out)
                    if source is deferred:
                        raise TypeError("a callback returned the Deferred that called it")
                except BaseException as exc:
                    strip(exc)
                    ok, result, trace, taken = False, exc, exc.__traceback__, False
                    continue
                if deferred._state == _CANCELLED:
                    deferred._state = _RUNNING
                    if source._waits:
                        ok, result, trace = False, new_cancellation(), None
                        taken = False
                        continue
                    source.cancel()
                if source._state == _VALUE:
                    if kept is None:
                        ok, result, trace = True, source._result, None
                elif source._state == _ERROR:
                    source._take()
                    ok, result, trace, taken = False, source._result, source._trace, False
                else:
                    deferred._source = source
                    deferred._rest = rest
                    deferred._kept = kept
                    deferred._state = _WAITING
                    source._watch(deferred)
                    break
            else:
                rest = None
                continue
            break
        if deferred._state != _WAITING:
            deferred._result = result
            if ok:
                deferred._state = _VALUE
            else:
                deferred._trace = trace
                deferred._guard = (
                    None
                    if taken or result is interrupt or is_cancellation(result)
                    else Unhandled(result, getattr(deferred, "_place", None))
                )
                deferred._state = _ERROR
        if not todo:
            break
        deferred, rest, ok, result, trace = todo.popleft()
        taken = False
    if interrupt is not None:
        raise interrupt


def _call(fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
    return fn(*args, **kw)


def _new_queue() -> deque[Turn]:
    from collections import deque

    return deque()


class ShieldWaiter(Waiter):
    """Fires a Deferred of its own; cancelling that one only ends the wait."""

    __slots__ = ("_target",)

    def __init__(self, source: Deferred[Any]) -> None:
        self._source = source
        self._target: Deferred[Any] = Deferred(self.cancel)

    def arrive(self, ok: bool, result: Any, trace: TracebackType | None) -> Turn | None:
        target = self._target
        if target._state == _PENDING:
            target._canceller = None
            target._state = _RUNNING
            return (target, None, ok, result, trace)
        return None

    def cancel(self, deferred: Deferred[Any]) -> None:
        source = self.leave()
        if source is not None:
            source._lose()


def _adopt(awaitable: Awaitable[U]) -> Deferred[U]:
    """Make a Deferred of what can be awaited; a Deferred is returned as it is."""
    if isinstance(awaitable, Deferred):
        return cast("Deferred[U]", awaitable)
    if isinstance(awaitable, CoroutineType):
        return Deferred.from_coroutine(awaitable)
    if getattr(type(awaitable), "_asyncio_future_blocking", None) is not None:
        return Deferred.from_future(cast("asyncio.Future[U]", awaitable))
    return Deferred.from_coroutine(await_plainly(awaitable))


# -- making them ---------------------------------------------------------------


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
    waiter = ShieldWaiter(deferred)
    target: Deferred[U] = waiter._target
    deferred._watch(waiter)
    return target


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # They are built on Deferred, and needed by few: loaded when asked for.
        if name in ("gather", "race"):
            from sennit.core import _combine

            value = globals()[name] = getattr(_combine, name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
