"""The chain inside a Deferred: its entries, how they run, who waits in it.

`Chain` is the untyped heart of `sennit.core.deferred.Deferred`, its only
subclass, where the public methods and their types are. `unwind` runs chains in
one loop: a chain that waited for the one just run comes next in the same loop,
so neither length nor depth costs stack.

An entry is a tuple ``(callback, errback, more)``. ``more`` is ``None`` for the
plain case, or ``(args, keywords, context, types)`` where something was given
with the callback or variables were set. The entry of one that waits has
``True`` for both callbacks where a Task awaits, ``False`` where another `Chain`
or a `Waiter` does; its ``more`` is a token, a list of two that holds the Task's
future or the waiter, and room for the Task's result. Who comes first puts
``None`` in the first place: the chain that arrives there, or the one that waits
no longer.
"""

from __future__ import annotations

from contextvars import Context, copy_context

from sennit.core._outcome import Unhandled, link_context, report, strip
from sennit.core._waiting import Failure, Later, is_cancellation, new_cancellation, wake

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from sennit.core._outcome import cast
else:
    import asyncio
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType
    from typing import Any, TypeAlias, cast

    # What passes along a chain changes its type from link to link, in place,
    # which no checker can follow: inside this module it is Any.
    Entry: TypeAlias = tuple[Any, Any, Any]
    Turn: TypeAlias = tuple["Chain", Iterator[Entry] | None, bool, Any, TracebackType | None]


# The states. In VALUE and ERROR the chain is empty and at rest.
PENDING: int = 0
VALUE: int = 1
ERROR: int = 2
RUNNING: int = 3  # the chain is being unwound
CANCELLED: int = 4  # likewise, and cancel() was called meanwhile
WAITING: int = 5  # for another Deferred

FINALLY = ()
"""In the place of a callback's exception types: called on both sides."""


class Chain:
    """A result and what is to be done with it."""

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
        "_token",  # WAITING: its entry in the chain of _source
        "_trace",  # ERROR: the traceback as it was where it failed
        "_waits",  # how many waiters stand in the chain
    )

    _state: int
    _chain: list[Entry] | None
    _canceller: Callable[[Any], object] | None
    _waits: int
    _dead: int
    _guard: Unhandled | None
    _kept: tuple[bool, Any, TracebackType | None] | None
    _place: str
    _rest: Iterator[Entry] | None
    _result: Any
    _source: Chain | None
    _token: list[Any]
    _trace: TracebackType | None

    def _adopt(self, awaitable: Awaitable[Any]) -> Chain:
        """Make a Deferred of what can be awaited (a `Deferred` knows how)."""
        raise TypeError(f"{type(self).__name__} cannot wait for {awaitable!r}")

    def _add(
        self,
        callback: Callable[..., Any] | None,
        errback: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kw: dict[str, Any],
        types: tuple[type[BaseException], ...] | None,
    ) -> None:
        """Enter a callback with the context it is set up in."""
        context = copy_context()
        more = args or kw or context or types is not None
        self._enter((callback, errback, (args, kw, context, types) if more else None))

    def _enter(self, entry: Entry) -> None:
        """Put an entry at the end of the chain, and go on if the chain is at rest."""
        if self._chain is None:
            self._chain = [entry]
            state = self._state
            if state == VALUE:
                unwind(self, True, self._result, None)
            elif state == ERROR:
                guard = self._guard
                if guard is not None:
                    guard.disarm()
                    self._guard = None
                error, trace = self._result, self._trace
                self._result = self._trace = None
                seen = guard is None
                del guard
                unwind(self, False, error, trace, None, seen)
                del self, error, trace
        else:
            self._chain.append(entry)

    def _take(self) -> None:
        """Note that the error at the end of the chain has found somebody."""
        if self._guard is not None:
            self._guard.disarm()
            self._guard = None

    def cancel(self) -> None:
        """Give it up.

        Not fired: the canceller is called; if that leaves it unfired, it fails
        with `asyncio.CancelledError`, or with what the canceller raised.
        Waiting for another Deferred: that one is cancelled, unless others wait
        for it too; then only this wait ends, with `CancelledError`. While a
        callback runs: what the chain next waits for is cancelled. At rest:
        nothing happens.
        """
        target: Chain = self
        slow: Chain = self
        step = False
        while target._state == WAITING:
            source = cast("Chain", target._source)
            # The second test is for a ring of Deferreds that wait for each
            # other: it is met from behind, and opened here.
            if source._waits > 1 or source is slow:
                target._token[0] = None
                target._source = None
                source._lose()
                rest, target._rest, target._kept = target._rest, None, None
                unwind(target, False, new_cancellation(), None, rest)
                return
            target = source
            if step:
                slow = cast("Chain", slow._source)
            step = not step
        if target._state == RUNNING:
            target._state = CANCELLED
        elif target._state == PENDING:
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
        if self._state != PENDING:
            if error is not None:
                report("A canceller fired its Deferred, then failed", error)
        else:
            # Who was to fire it may not know, and is forgiven once.
            self._canceller = drop
            if error is None:
                error = new_cancellation()
            unwind(self, False, error, error.__traceback__)

    def _watch(self, waiter: Chain | Waiter) -> None:
        """Enter one that waits; its ``arrive`` is called with the result."""
        self._waits += 1
        waiter._source = self
        waiter._token = [waiter, None]
        self._enter((False, False, waiter._token))

    def _lose(self) -> None:
        """Count a waiter that has left; its entry stays until dead ones are the most."""
        self._waits -= 1
        dead = self._dead = getattr(self, "_dead", 0) + 1
        if dead > 16 and dead > self._waits:
            self._dead = 0
            if self._chain is not None:
                self._chain = [entry for entry in self._chain if _is_live(entry)]
            if self._state == WAITING and self._rest is not None:
                self._rest = iter([entry for entry in self._rest if _is_live(entry)])

    def arrive(self, ok: bool, result: Any, trace: TracebackType | None) -> Turn:
        """Go on with what another Deferred's chain came to (called by that chain)."""
        kept, self._kept = self._kept, None
        if kept is not None and ok:
            ok, result, trace = kept
        self._state = RUNNING
        self._source = None
        rest, self._rest = self._rest, None
        return (self, rest, ok, result, trace)


def _is_live(entry: Entry) -> bool:
    """Whether an entry is a callback, or one that still waits."""
    return (entry[0] is not True and entry[0] is not False) or entry[2][0] is not None


def drop(deferred: Chain) -> None:
    """In the canceller's place after a cancel: one late firing is dropped."""


def give(_: object, value: Any) -> Any:
    """Return the value: brings an awaitable into a chain."""
    return value


def unwind(
    deferred: Chain,
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
    good: Any
    bad: Any
    more: Any
    fn: Any
    out: Any
    run: Any
    types: Any
    args: Any
    kw: Any
    waiter: Any
    source: Chain
    kept: tuple[bool, Any, TracebackType | None] | None
    while True:
        # Those that come next have it from `arrive`, or were cancelled since.
        if todo is None:
            deferred._state = RUNNING
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
                    elif fn is True or fn is False:
                        waiter = more[0]
                        if waiter is None:
                            deferred._dead -= 1
                            continue
                        more[0] = None
                        deferred._waits -= 1
                        if fn is True:
                            # A wait that was cancelled in this very turn has taken it
                            # too: the error comes too late, as after any cancel.
                            taken = True
                            if not waiter.done():
                                more[1] = result if ok else Failure(result, trace)
                                wake(waiter)
                            continue
                        taken = True
                        turn = waiter.arrive(ok, result, trace)
                        if turn is not None:
                            if todo is None:
                                todo = _new_queue()
                            todo.append(turn)
                            turn = None
                        continue
                    else:
                        args, kw, context, types = more
                        run = context.run if context else _call if clean else Context().run
                        if types is None:
                            out = run(fn, result, *args, **kw)
                        elif types is FINALLY:
                            out = run(fn)
                        elif not isinstance(result, types):
                            continue
                        else:
                            out = run(fn, result, *args, **kw)
                except BaseException as exc:
                    if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                        interrupt = exc
                    if fn is True or fn is False:
                        # A waiter failed to take the result: not the chain's affair.
                        if exc is not interrupt:
                            report("What waited for a Deferred could not go on", exc)
                        continue
                    strip(exc)
                    if not ok:
                        link_context(exc, result)
                    ok, result, trace, taken = False, exc, exc.__traceback__, False
                    continue
                # A class may have the method for its instances: it is no awaitable itself.
                waits = hasattr(out, "__await__") and hasattr(out.__class__, "__await__")
                if more is not None and more[3] is FINALLY:
                    if not waits:
                        continue
                    kept = (ok, result, trace)  # pyright: ignore[reportUnknownVariableType]
                else:
                    if not ok:
                        if out is result:
                            continue
                        trace = None
                    if not waits:
                        ok, result = True, out
                        continue
                    kept = None
                # Something to wait for.
                try:
                    if isinstance(out, Chain):
                        source = out
                    else:
                        context = None if more is None else more[2]
                        run = (context or Context()).run
                        source = run(deferred._adopt, out)
                    if source is deferred:
                        raise TypeError("a callback returned the Deferred that called it")
                except BaseException as exc:
                    strip(exc)
                    ok, result, trace, taken = False, exc, exc.__traceback__, False
                    continue
                if deferred._state == CANCELLED:
                    deferred._state = RUNNING
                    if source._waits:
                        ok, result, trace = False, new_cancellation(), None
                        taken = False
                        continue
                    source.cancel()
                if source._state == VALUE:
                    if kept is None:
                        ok, result, trace = True, source._result, None
                elif source._state == ERROR:
                    source._take()
                    ok, result, trace, taken = False, source._result, source._trace, False
                else:
                    deferred._rest = rest
                    deferred._kept = kept
                    deferred._state = WAITING
                    source._watch(deferred)
                    break
            else:
                rest = None
                continue
            break
        if deferred._state != WAITING:
            deferred._result = result
            if ok:
                deferred._state = VALUE
            else:
                deferred._trace = trace
                deferred._guard = (
                    None
                    if taken or result is interrupt or is_cancellation(result)
                    else Unhandled(result, getattr(deferred, "_place", None))
                )
                deferred._state = ERROR
        if not todo:
            break
        deferred, rest, ok, result, trace = todo.popleft()
        taken = False
    # The frame of a callback that raised holds this one (f_back), for as long
    # as its error lives: what it would keep alive from here is let go.
    out = fn = good = bad = more = args = kw = run = kept = waiter = None
    source = deferred
    del deferred, source, result, trace, rest
    if interrupt is not None:
        raise interrupt


def _call(fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
    return fn(*args, **kw)


def _new_queue() -> deque[Turn]:
    from collections import deque

    return deque()


class Waiter:
    """One that waits in a Deferred's chain and takes nothing away from it."""

    __slots__ = ("_source", "_token")

    _source: Chain
    _token: list[Any]

    def leave(self) -> Chain | None:
        """Wait no longer; return what was waited for, or ``None`` if the result has come."""
        if self._token[0] is None:
            return None
        self._token[0] = None
        self._source._lose()
        return self._source

    def arrive(self, ok: bool, result: Any, trace: TracebackType | None) -> Turn | None:
        """Take the result, and return what is to be unwound next, if anything is."""
        raise NotImplementedError


class FutureWaiter(Waiter):
    """Hands a Deferred's result to an asyncio future."""

    __slots__ = ("_future",)

    def __init__(self, source: Chain, future: asyncio.Future[Any]) -> None:
        self._future = future
        future.add_done_callback(self.future_done, context=Context())
        source._watch(self)

    def arrive(self, ok: bool, result: Any, trace: TracebackType | None) -> None:
        future = self._future
        if future.done() or future.get_loop().is_closed():
            return
        if ok:
            future.set_result(result)
            return
        result.__traceback__ = trace
        if is_cancellation(result):
            future.cancel()
        elif isinstance(result, StopIteration):
            error = RuntimeError("a Deferred failed with StopIteration")
            error.__cause__ = result
            future.set_exception(error)
        else:
            future.set_exception(result)

    def future_done(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            source = self.leave()
            if source is not None and not source._waits:
                source.cancel()


class ShieldWaiter(Waiter):
    """Fires a Deferred of its own; cancelling that one only ends the wait."""

    __slots__ = ("_target",)

    _target: Chain

    def begin(self, source: Chain, target: Chain) -> None:
        """Fire `target` when there is a result of `source`."""
        self._target = target
        source._watch(self)

    def arrive(self, ok: bool, result: Any, trace: TracebackType | None) -> Turn | None:
        target = self._target
        if target._state == PENDING:
            target._canceller = None
            target._state = RUNNING
            return (target, None, ok, result, trace)
        return None

    def cancel(self, deferred: Chain) -> None:
        self.leave()
