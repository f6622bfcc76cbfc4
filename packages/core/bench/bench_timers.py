"""Timers: 100 000 of them set and cancelled, or set and fired.

Once through the reactor's own `call_later`, once through asyncio's interface on the
reactor's loop (`new_event_loop`); beside them asyncio's and uvloop's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Callable

    Body = Callable[[Any, int], None]
    """Does it with a loop (anything with `call_later`, `call_soon`, `stop`), so many times."""

TIMERS = 100_000


def nothing() -> None:
    """What the timers call."""


def set_and_cancel(loop: Any, n: int) -> None:
    """As time-outs are: set in the order of asking, all alive at once, none of them fires."""
    call_later = loop.call_later
    for timer in [call_later(30.0 + number % 7, nothing) for number in range(n)]:
        timer.cancel()
    loop.call_soon(loop.stop)


def set_and_fire(loop: Any, n: int) -> None:
    """All are due within a few milliseconds, in any order."""
    call_later = loop.call_later
    for number in range(n):
        call_later((number * 7919 % 1000) * 1e-6, nothing)
    # Behind them all, wherever their time has come to by then.
    call_later(0.01, lambda: call_later(0.01, loop.stop))


def on_loop(body: Body, loop: Any, n: int) -> None:
    try:
        loop.call_soon(body, loop, n)
        loop.run_forever()
    finally:
        loop.close()


def add(benchmark: Benchmark, body: Body) -> None:
    @benchmark.code("sennit")
    def reactor(n: int) -> None:
        from sennit.core.reactor.base import Reactor, run

        def begin(reactor: Reactor) -> None:
            body(reactor, n)

        run(begin)

    @benchmark.code("new_event_loop")
    def loop(n: int) -> None:
        from sennit.core.reactor.eventloop import new_event_loop

        on_loop(body, new_event_loop(), n)

    @benchmark.code("asyncio")
    def asyncio_peer(n: int) -> None:
        import asyncio

        on_loop(body, asyncio.SelectorEventLoop(), n)

    @benchmark.code("uvloop", requires=["uvloop"])
    def uvloop_peer(n: int) -> None:
        import uvloop

        on_loop(body, uvloop.new_event_loop(), n)

    benchmark.at_most("sennit", 1.0, of="asyncio")
    benchmark.at_most("new_event_loop", 1.0, of="asyncio")


cancelled = Benchmark("timers-cancelled", operation="timer set and cancelled", operations=TIMERS)
add(cancelled, set_and_cancel)

fired = Benchmark("timers-fired", operation="timer set and fired", operations=TIMERS)
add(fired, set_and_fire)

if __name__ == "__main__":
    main(cancelled, fired)
