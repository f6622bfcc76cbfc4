"""TLS: handshakes full and resumed, streaming both ways; server CPU per operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tools import loads
from tools.benchmark import Benchmark, certificate, main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.benchmark import Ready

Behaviour = Literal["echo", "sink", "source"]
"""Echo everything; swallow everything; send as many octets as eight octets ask for, and close."""

CHUNK = bytes(65536)
"""What a source writes at a time."""


def protocol_for(behaviour: Behaviour) -> Callable[[], Any]:
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

    class Source(Base):
        paused = False
        left = 0

        def data_received(self, data: bytes) -> None:
            self.left = int.from_bytes(data, "big")
            self.produce()

        def produce(self) -> None:
            while self.left > 0 and not self.paused:
                self.left -= len(CHUNK)
                self.transport.write(CHUNK)
                if self.left <= 0:
                    self.transport.close()

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            self.produce()

    return {"echo": Echo, "sink": Base, "source": Source}[behaviour]


async def serve_on_loop(behaviour: Behaviour, ready: Ready) -> None:
    """Serve with whatever loop runs."""
    import asyncio
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    server = await asyncio.get_running_loop().create_server(
        protocol_for(behaviour), "127.0.0.1", 0, backlog=1024, ssl=context
    )
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def serve_twisted(behaviour: Behaviour, ready: Ready) -> None:
    """The same with Twisted, on its epoll reactor."""
    from pathlib import Path

    from twisted.internet import interfaces, protocol, reactor, ssl
    from zope.interface import implementer

    class Base(protocol.Protocol):
        def connectionMade(self) -> None:  # noqa: N802 - their name
            self.transport.setTcpNoDelay(True)

    class Echo(Base):
        def dataReceived(self, data: bytes) -> None:  # noqa: N802 - their name
            self.transport.write(data)

    @implementer(interfaces.IPushProducer)
    class Source(Base):
        paused = False
        left = 0

        def dataReceived(self, data: bytes) -> None:  # noqa: N802 - their name
            self.left = int.from_bytes(data, "big")
            self.transport.registerProducer(self, True)
            self.resumeProducing()

        def resumeProducing(self) -> None:  # noqa: N802 - their name
            self.paused = False
            while self.left > 0 and not self.paused:
                self.left -= len(CHUNK)
                self.transport.write(CHUNK)
                if self.left <= 0:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

        def pauseProducing(self) -> None:  # noqa: N802 - their name
            self.paused = True

        def stopProducing(self) -> None:  # noqa: N802 - their name
            self.paused = True

    chain, key = (Path(each).read_bytes() for each in certificate())
    options = ssl.PrivateCertificate.loadPEM(key + chain).options()
    kinds: dict[str, type[Base]] = {"echo": Echo, "sink": Base, "source": Source}
    factory = protocol.Factory.forProtocol(kinds[behaviour])
    port = reactor.listenSSL(0, factory, options, backlog=1024, interface="127.0.0.1")
    reactor.callWhenRunning(ready, port.getHost().port)
    reactor.run()


def add_servers(benchmark: Benchmark, behaviour: Behaviour, *, twisted: bool = True) -> None:
    """Declare the server of this behaviour for Sennit and its peers."""

    @benchmark.server("sennit", requires=["OpenSSL"])
    def sennit(ready: Ready) -> None:
        from sennit.core.reactor.base import Reactor, run
        from sennit.core.transport.binding import tcp_sockets
        from sennit.core.transport.listening import Listener
        from sennit.core.transport.tls import ServerTLS, server_factory

        factory = server_factory(protocol_for(behaviour), ServerTLS(*certificate()))

        def main(reactor: Reactor) -> None:
            ready(Listener(reactor, tcp_sockets("127.0.0.1", 0), factory).port)

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

        @benchmark.server("twisted", requires=["twisted", "OpenSSL"])
        def twisted_peer(ready: Ready) -> None:
            serve_twisted(behaviour, ready)


handshake = Benchmark("handshake", load=loads.tls_handshakes(operations=300))
add_servers(handshake, "echo")
handshake.at_most("sennit", 1.0, of="asyncio")

# Twisted is left out: it resumes no session, which the load takes for an error.
resumed = Benchmark("resumed", load=loads.tls_handshakes(operations=300, resume=True))
add_servers(resumed, "echo", twisted=False)
resumed.at_most("sennit", 1.0, of="asyncio")

stream_in = Benchmark("tls_stream_in", load=loads.tls_stream_in(mebibytes=128))
add_servers(stream_in, "sink")
stream_in.at_most("sennit", 1.0, of="twisted")

stream_out = Benchmark("tls_stream_out", load=loads.tls_stream_out(mebibytes=128))
add_servers(stream_out, "source")
stream_out.at_most("sennit", 1.0, of="asyncio")

if __name__ == "__main__":
    main(handshake, resumed, stream_in, stream_out)
