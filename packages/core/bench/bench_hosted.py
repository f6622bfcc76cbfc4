"""The same transports on the reactor, and inside asyncio and uvloop; asyncio's own beside them."""

from __future__ import annotations

from typing import Any

from sennit.core.protocol import Protocol
from tools import loads
from tools.benchmark import Benchmark, Ready, main

hosted = Benchmark("hosted-echo", load=loads.echo(connections=64, size=1024))


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@hosted.server("sennit")
def native(ready: Ready) -> None:
    """The reactor by itself, where coroutines run too: asyncio's loop is the reactor's."""
    from sennit.core.reactor.base import Reactor, run

    async def serve(reactor: Reactor) -> None:
        await _listen(reactor, ready)

    run(serve)


@hosted.server("in asyncio")
def in_asyncio(ready: Ready) -> None:
    """One descriptor and one timer of asyncio's loop."""
    import asyncio

    asyncio.run(_hosted(ready))


@hosted.server("in uvloop", requires=["uvloop"])
def in_uvloop(ready: Ready) -> None:
    """The same of uvloop's."""
    import uvloop

    uvloop.run(_hosted(ready))


@hosted.server("asyncio")
def asyncios_own(ready: Ready) -> None:
    """asyncio's loop and transports."""
    import asyncio

    asyncio.run(_asyncio_style(ready))


@hosted.server("new_event_loop")
def reactors_loop(ready: Ready) -> None:
    """asyncio's interface, the reactor's loop and transports."""
    import asyncio

    from sennit.core.reactor.eventloop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_asyncio_style(ready))


async def _listen(reactor: Any, ready: Ready) -> None:
    import asyncio

    listener = await reactor.listen_tcp(Echo, 0, "127.0.0.1")
    ready(listener.port)
    await asyncio.Event().wait()


async def _hosted(ready: Ready) -> None:
    from sennit.core.reactor.base import current_reactor

    await _listen(current_reactor(), ready)


async def _asyncio_style(ready: Ready) -> None:
    import asyncio

    factory: Any = Echo  # one protocol for all: asyncio's names
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    ready(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


hosted.at_most("in asyncio", 1.2, of="sennit")
hosted.at_most("in uvloop", 1.2, of="sennit")
hosted.limit("in asyncio", "less than asyncio", lambda median: median["asyncio"])

if __name__ == "__main__":
    main(hosted)
