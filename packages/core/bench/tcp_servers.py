"""The servers of the TCP benchmarks: one behaviour, written for each peer in its own manner.

Every server does the same work with its usual limits on: TCP_NODELAY, its own
flow control, its default read size. ``bare`` is the smallest correct loop one
can write in Python (no transport objects, no limits): what the language costs.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.benchmark import Benchmark, Ready

__all__ = ["Behaviour", "add_servers"]

Behaviour = Literal["echo", "sink", "source", "farewell"]
"""Echo; swallow; send as many octets as asked for (8 octets, big endian); one octet, then close."""

CHUNK = bytes(65536)
"""What a source writes at a time."""


def add_servers(
    benchmark: Benchmark, behaviour: Behaviour, *, bare: bool = True, twisted: bool = True
) -> None:
    """Declare the server of this behaviour for Sennit and its peers."""

    @benchmark.server("sennit")
    def sennit(ready: Ready) -> None:
        from sennit.core.policy.limits import ConnectionLimits
        from sennit.core.reactor.base import Reactor, run
        from sennit.core.transport.binding import tcp_sockets
        from sennit.core.transport.listening import Listener

        factory = asyncio_style(behaviour)

        def main(reactor: Reactor) -> None:
            sockets = tcp_sockets("127.0.0.1", 0)
            listener = Listener(
                reactor, sockets, factory, limits=ConnectionLimits(max_connections=100_000)
            )
            ready(listener.port)

        run(main)

    @benchmark.server("asyncio")
    def asyncio_peer(ready: Ready) -> None:
        import asyncio

        asyncio.run(serve_on_loop(behaviour, ready))

    @benchmark.server("uvloop", requires=["uvloop"])
    def uvloop_peer(ready: Ready) -> None:
        import uvloop

        uvloop.run(serve_on_loop(behaviour, ready))

    if twisted:

        @benchmark.server("twisted", requires=["twisted"])
        def twisted_peer(ready: Ready) -> None:
            serve_twisted(behaviour, ready)

    if bare:

        @benchmark.server("bare")
        def bare_loop(ready: Ready) -> None:
            serve_bare(behaviour, ready)


async def serve_on_loop(behaviour: Behaviour, ready: Ready) -> None:
    """Serve with whatever loop runs."""
    import asyncio

    server = await asyncio.get_running_loop().create_server(
        asyncio_style(behaviour), "127.0.0.1", 0, backlog=1024
    )
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def asyncio_style(behaviour: Behaviour) -> Callable[[], Any]:
    """The protocol for asyncio, uvloop and Sennit: one class runs on all three."""

    class Base:
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None: ...
        def eof_received(self) -> None: ...
        def connection_lost(self, exc: Exception | None) -> None: ...
        def pause_writing(self) -> None: ...
        def resume_writing(self) -> None: ...

    class Echo(Base):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def pause_writing(self) -> None:
            self.transport.pause_reading()

        def resume_writing(self) -> None:
            self.transport.resume_reading()

    class Source(Base):
        paused = False
        left = 0

        def data_received(self, data: bytes) -> None:
            self.left = int.from_bytes(data, "big")
            self.produce()

        def produce(self) -> None:
            while not self.paused and self.left:
                self.transport.write(CHUNK)
                self.left -= len(CHUNK)
                if not self.left:
                    self.transport.close()

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            self.produce()

    class Farewell(Base):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"x")
            transport.close()

    return {"echo": Echo, "sink": Base, "source": Source, "farewell": Farewell}[behaviour]


def serve_twisted(behaviour: Behaviour, ready: Ready) -> None:
    """The same with Twisted, on its epoll reactor."""
    from twisted.internet import interfaces, protocol, reactor
    from zope.interface import implementer

    class Base(protocol.Protocol):
        def connectionMade(self) -> None:  # noqa: N802 - their name
            self.transport.setTcpNoDelay(True)

    class Echo(Base):
        def connectionMade(self) -> None:  # noqa: N802 - their name
            super().connectionMade()
            self.transport.registerProducer(self.transport, True)

        def dataReceived(self, data: bytes) -> None:  # noqa: N802 - their name
            self.transport.write(data)

    @implementer(interfaces.IPushProducer)
    class Source(Base):
        paused = False
        left = 0

        def connectionMade(self) -> None:  # noqa: N802 - their name
            super().connectionMade()
            self.transport.registerProducer(self, True)

        def dataReceived(self, data: bytes) -> None:  # noqa: N802 - their name
            self.left = int.from_bytes(data, "big")
            self.produce()

        def produce(self) -> None:
            while not self.paused and self.left:
                self.transport.write(CHUNK)
                self.left -= len(CHUNK)
                if not self.left:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

        def pauseProducing(self) -> None:  # noqa: N802 - their name
            self.paused = True

        def resumeProducing(self) -> None:  # noqa: N802 - their name
            self.paused = False
            self.produce()

        def stopProducing(self) -> None:  # noqa: N802 - their name
            self.paused = True

    class Farewell(Base):
        def connectionMade(self) -> None:  # noqa: N802 - their name
            super().connectionMade()
            self.transport.write(b"x")
            self.transport.loseConnection()

    kinds: dict[str, type[Base]] = {
        "echo": Echo,
        "sink": Base,
        "source": Source,
        "farewell": Farewell,
    }
    factory = protocol.Factory.forProtocol(kinds[behaviour])
    port = reactor.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
    reactor.callWhenRunning(ready, port.getHost().port)
    reactor.run()


def serve_bare(behaviour: Behaviour, ready: Ready) -> None:
    """The smallest loop: epoll, one dict, `recv`, `send`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    left: dict[int, int] = {}
    ready(listener.getsockname()[1])

    def end(fd: int) -> None:
        poller.unregister(fd)
        connections.pop(fd).close()

    while True:
        for fd, mask in poller.poll():
            if fd == listener.fileno():
                try:
                    while True:
                        sock, _ = listener.accept()
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        if behaviour == "farewell":
                            sock.send(b"x")
                            sock.close()
                            continue
                        connections[sock.fileno()] = sock
                        poller.register(sock.fileno(), select.EPOLLIN)
                except BlockingIOError:
                    continue
            sock = connections[fd]
            try:
                if mask & ~select.EPOLLOUT:
                    data = sock.recv(65536)
                    if not data:
                        end(fd)
                        continue
                    if behaviour == "echo":
                        sock.send(data)
                    if behaviour == "source":
                        left[fd] = int.from_bytes(data, "big")
                        poller.modify(fd, select.EPOLLOUT)
                if mask & select.EPOLLOUT:
                    left[fd] -= sock.send(CHUNK[: left[fd]])
                    if not left[fd]:
                        end(fd)
            except BlockingIOError:
                pass
            except OSError:
                end(fd)
