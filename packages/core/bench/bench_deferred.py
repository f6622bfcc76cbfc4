"""Deferred: a chain of five callbacks, and ten awaits that go through the loop.

Every side does the same: one thing to wait for is made, firing it is left to
the loop's next turn (``call_soon``, Twisted's ``callLater(0)``), and a coroutine
awaits it, ten times per operation. The loops are asyncio's, Sennit's own, and
Twisted's reactor; what is awaited is asyncio's Future or a Deferred.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Callable

AWAITS = 10


def same(value: int) -> int:
    return value


chain = Benchmark("deferred-chain", operation="Deferred with five callbacks", operations=100_000)


@chain.code("sennit")
def sennit_chain(n: int) -> None:
    """Create, add five callbacks, fire."""
    from sennit.core.deferred import Deferred

    make = Deferred[int]
    for _ in range(n):
        d = make()
        d.add_callback(same)
        d.add_callback(same)
        d.add_callback(same)
        d.add_callback(same)
        d.add_callback(same)
        d.callback(1)


@chain.code("twisted", requires=["twisted"])
def twisted_chain(n: int) -> None:
    """The same with Twisted's."""
    from twisted.internet.defer import Deferred

    make: Any = Deferred  # a foreign edge: checked where it is installed only
    for _ in range(n):
        d = make()
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.callback(1)


chain.at_most("sennit", 0.7, of="twisted")

awaits = Benchmark("deferred-await", operation="ten awaits", operations=5_000)


async def await_futures(n: int) -> None:
    loop = asyncio.get_running_loop()
    make, call_soon = loop.create_future, loop.call_soon
    for _ in range(n * AWAITS):
        future = make()
        call_soon(future.set_result, 1)
        await future


async def await_deferreds(n: int) -> None:
    from sennit.core.deferred import Deferred

    loop = asyncio.get_running_loop()
    make, call_soon = Deferred[int], loop.call_soon
    for _ in range(n * AWAITS):
        deferred = make()
        call_soon(deferred.callback, 1)
        await deferred


def on_sennit(main_coroutine: Callable[[int], Any], n: int) -> None:
    from sennit.core.reactor.eventloop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main_coroutine(n))


@awaits.code("asyncio")
def asyncio_future(n: int) -> None:
    """A Future on asyncio's loop."""
    asyncio.run(await_futures(n))


@awaits.code("sennit")
def sennit_deferred(n: int) -> None:
    """A Deferred on Sennit's loop."""
    on_sennit(await_deferreds, n)


@awaits.code("sennit-on-asyncio")
def sennit_on_asyncio(n: int) -> None:
    """A Deferred on asyncio's loop."""
    asyncio.run(await_deferreds(n))


@awaits.code("future-on-sennit")
def future_on_sennit(n: int) -> None:
    """A Future on Sennit's loop."""
    on_sennit(await_futures, n)


@awaits.code("twisted", requires=["twisted"])
def twisted_deferred(n: int) -> None:
    """Twisted's Deferred in a coroutine on its reactor."""
    from twisted.internet import defer, reactor

    the_reactor: Any = reactor
    module: Any = defer

    async def run() -> None:
        make, call_later = module.Deferred, the_reactor.callLater
        for _ in range(n * AWAITS):
            deferred = make()
            call_later(0, deferred.callback, 1)
            await deferred
        # The reactor can be run again after crash(), not after stop().
        the_reactor.crash()

    the_reactor.callWhenRunning(lambda: module.ensureDeferred(run()))
    the_reactor.run(installSignalHandlers=False)


awaits.at_most("sennit", 1.0, of="asyncio")
awaits.at_most("sennit-on-asyncio", 1.0, of="asyncio")
awaits.at_most("sennit", 0.5, of="twisted")

if __name__ == "__main__":
    main(chain, awaits)
