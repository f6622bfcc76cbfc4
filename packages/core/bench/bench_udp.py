"""UDP: echo of one socket for many clients; server CPU per datagram."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Any

from tools import loads
from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from tools.benchmark import Ready

echo = Benchmark("udp_echo", load=loads.udp_echo(clients=64, size=512))
lone = Benchmark("udp_echo_lone", load=loads.udp_echo(clients=1, size=512, operations=30_000))


class Echo:
    """For asyncio, uvloop and Sennit: one class runs on all three."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.transport.sendto(data, peer)

    def error_received(self, exc: Exception) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


async def serve_on_loop(ready: Ready) -> None:
    """Serve with whatever loop runs."""
    import asyncio

    loop = asyncio.get_running_loop()
    factory: Any = Echo  # by its shape
    transport, _ = await loop.create_datagram_endpoint(factory, ("127.0.0.1", 0))
    ready(transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()


def add_servers(benchmark: Benchmark) -> None:
    """Declare the echo of Sennit and its peers."""

    @benchmark.server("sennit")
    def sennit(ready: Ready) -> None:
        from sennit.core.reactor.base import Reactor, run

        def main_(reactor: Reactor) -> None:
            reactor.listen_udp(Echo, 0, "127.0.0.1").add_callback(lambda found: ready(found.port))

        run(main_)

    @benchmark.server("sennit-loop")
    def sennit_loop(ready: Ready) -> None:
        import asyncio

        from sennit.core import new_event_loop

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve_on_loop(ready))

    @benchmark.server("uvloop", requires=["uvloop"])
    def uvloop_peer(ready: Ready) -> None:
        import uvloop

        uvloop.run(serve_on_loop(ready))

    @benchmark.server("asyncio")
    def asyncio_peer(ready: Ready) -> None:
        import asyncio

        asyncio.run(serve_on_loop(ready))

    @benchmark.server("twisted", requires=["twisted"])
    def twisted_peer(ready: Ready) -> None:
        from twisted.internet import protocol, reactor

        class TwistedEcho(protocol.DatagramProtocol):  # type: ignore[misc]  # it has no types
            def datagramReceived(self, data: bytes, addr: Any) -> None:  # noqa: N802 - their name
                self.transport.write(data, addr)

        port = reactor.listenUDP(0, TwistedEcho(), interface="127.0.0.1", maxPacketSize=65536)
        reactor.callWhenRunning(ready, port.getHost().port)
        reactor.run()

    @benchmark.server("bare")
    def bare_loop(ready: Ready) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        poller = select.epoll()
        poller.register(sock.fileno(), select.EPOLLIN)
        ready(sock.getsockname()[1])
        while True:
            for _ in poller.poll():
                data, peer = sock.recvfrom(65536)
                sock.sendto(data, peer)


for each in (echo, lone):
    add_servers(each)
    each.at_most("sennit", 1.1, of="uvloop")

if __name__ == "__main__":
    main(echo, lone)
