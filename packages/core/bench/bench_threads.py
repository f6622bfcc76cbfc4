"""Round trips to a thread and back: one after the other, and many at once.

A round trip is a function that does nothing, run in a thread, awaited in the loop:
`defer_to_thread` on the reactor and `asyncio.to_thread` on its loop, on asyncio's own
and on uvloop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Call = Callable[[Callable[[], None]], Awaitable[None]]

AT_ONCE = 50


def nothing() -> None:
    """What runs in the thread."""


async def in_turn(call: Call, n: int) -> None:
    for _ in range(n):
        await call(nothing)


async def at_once(call: Call, n: int) -> None:
    for _ in range(n // AT_ONCE):
        await asyncio.gather(*[call(nothing) for _ in range(AT_ONCE)])


def add(benchmark: Benchmark, way: Callable[[Call, int], Any]) -> None:
    @benchmark.code("defer_to_thread")
    def deferred(n: int) -> None:
        from sennit.core.reactor.base import Reactor, run

        async def begin(reactor: Reactor) -> None:
            await way(reactor.defer_to_thread, n)

        run(begin)

    @benchmark.code("to_thread on new_event_loop")
    def on_the_reactor(n: int) -> None:
        from sennit.core.reactor.eventloop import new_event_loop

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(way(asyncio.to_thread, n))

    @benchmark.code("asyncio")
    def asyncio_peer(n: int) -> None:
        asyncio.run(way(asyncio.to_thread, n))

    @benchmark.code("uvloop", requires=["uvloop"])
    def uvloop_peer(n: int) -> None:
        import uvloop

        uvloop.run(way(asyncio.to_thread, n))

    benchmark.at_most("defer_to_thread", 1.0, of="asyncio")
    benchmark.at_most("to_thread on new_event_loop", 1.0, of="asyncio")


one = Benchmark("threads-in-turn", operation="round trip", operations=5_000)
add(one, in_turn)

many = Benchmark("threads-at-once", operation="round trip", operations=10_000)
add(many, at_once)

if __name__ == "__main__":
    main(one, many)
