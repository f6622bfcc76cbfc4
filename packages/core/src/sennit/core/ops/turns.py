"""The turn once more, with a clock in it.

`Turning._turns` has no branch for who might want to measure: it would cost every
event of every program. A reactor that is measured runs `turns` in its place
(`sennit.core.ops.instruments.measure` puts it there), which does the same in the
same order, and tells a `TurnMeter` when each callback began and how long it took.

``test_ops_instruments.py`` holds the two against each other.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop
from time import monotonic
from typing import TYPE_CHECKING

from sennit.core.reactor.turning import _NO_CALL, _QUICK, _ROUNDS, _no_handler

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from sennit.core.ops.metrics import CounterValue, HistogramValue
    from sennit.core.reactor.base import Reactor

__all__ = ["TurnMeter", "turns"]


class TurnMeter:
    """What is told of each turn.

    Slots, since two of them are set for every event.

    Attributes:
        began: When the callback that runs now began; 0 while none runs.
        slow: Seconds after which a callback counts as blocking.
        turn_time: Takes how long each turn took, waiting not counted.
        timer_lag: Takes how late each timer came.
        events: Events of descriptors.
        calls: Calls of the ready queue.
    """

    __slots__ = ("began", "calls", "events", "slow", "timer_lag", "turn_time")

    began: float
    slow: float
    turn_time: HistogramValue
    timer_lag: HistogramValue
    events: CounterValue
    calls: CounterValue

    def blocked(self, callback: object, seconds: float) -> None:
        """A callback took that long, which is more than `slow`."""


def turns(reactor: Reactor, meter: TurnMeter, context: Context | None = None) -> None:
    """`Turning._turns` of `reactor`, measured."""
    poll, handlers, ready, heap = (
        reactor._poll,
        reactor.handlers,
        reactor._ready,
        reactor._heap,
    )
    once = context is None
    counted = meter.events
    turn_time = meter.turn_time
    counts, bounds = turn_time.counts, turn_time.bounds
    while once or not reactor._stopping:
        if once or ready or reactor._flushes or reactor._endings:
            timeout: float | None = 0
        elif heap:
            timeout = reactor._wait()
        else:
            timeout = None
        meter.began = 0.0
        events = poll(timeout)
        slow = meter.slow  # a watch may have changed it
        first = began = meter.began = monotonic()
        handler: Callable[[int], object] = _no_handler
        for fd, mask in events:
            try:
                handler = handlers[fd]
            except KeyError:
                continue
            try:
                handler(mask)
            except (KeyboardInterrupt, SystemExit):
                meter.began = 0.0
                raise
            except BaseException as error:
                reactor.report(error, "in the handler of a descriptor")
            now = monotonic()
            if now - began > slow:
                meter.blocked(handler, now - began)
            meter.began = began = now
        if events:
            counted.value += len(events)
        if heap:
            _take_due(reactor, meter)
        if ready:
            _run_ready(reactor, meter, 0 if once else _ROUNDS)
            began = meter.began
        if reactor._flushes or reactor._endings:
            if reactor._flushes:
                reactor._run_flushes()
            if reactor._endings:
                handler = _no_handler
                reactor._run_endings()
            now = monotonic()
            if now - began > slow:
                meter.blocked(reactor._run_flushes, now - began)
            began = now
        # `HistogramValue.observe`, written out: it is called once a turn.
        took = began - first
        counts[bisect_left(bounds, took)] += 1
        turn_time.total += took
        if once or context:
            break
    meter.began = 0.0


def _take_due(reactor: Reactor, meter: TurnMeter) -> None:
    heap = reactor._heap
    now = monotonic()
    while heap and heap[0][0] <= now:
        when, _, timer = heappop(heap)
        if timer.fn is None:
            reactor._dead_timers -= 1
        else:
            timer.left_heap()
            reactor._ready.append(timer)
            meter.timer_lag.observe(now - when)


def _run_ready(reactor: Reactor, meter: TurnMeter, rounds: int) -> None:
    ready = reactor._ready
    slow = meter.slow
    until = 0.0
    began = meter.began = monotonic()
    made = 0
    while True:
        made += len(ready)
        for _ in range(len(ready)):
            call = ready.popleft()
            fn = call.fn
            if fn is not None:
                try:
                    if call.context is None:
                        fn(*call.args)
                    else:
                        call.context.run(fn, *call.args)
                except (KeyboardInterrupt, SystemExit):
                    meter.began = 0.0
                    raise
                except BaseException as error:
                    reactor.report(error, f"in a call of {fn!r}")
                now = monotonic()
                if now - began > slow:
                    meter.blocked(fn, now - began)
                meter.began = began = now
        rounds -= 1
        if not ready or rounds < 0 or reactor._flushes or reactor._endings or reactor._stopping:
            break
        now = monotonic()
        if not until:
            until = now + _QUICK
        elif now > until:
            break
    meter.calls.value += made
    # As in the other one: an error that outlives this turn must not hold the call.
    call, fn = _NO_CALL, None
