"""``udp:`` URLs: servers as scopes, clients, options, and a service of a configuration."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.parse import parse_endpoint
from sennit.core.errors import ConnectError, EndpointSyntaxError
from sennit.core.protocol import DatagramProtocol, Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.service.config import Listen
from sennit.core.service.echo import EchoDatagrams, build_echo, try_echo
from sennit.core.service.echo_config import EchoConfig
from sennit.core.service.server import ServerService
from sennit.core.service.sockets import LocalSockets
from sennit.core.service.tree import ListenOn, ServiceContext, StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sennit.core.transport.tls import ServerTLS


class Echo(DatagramProtocol):
    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.transport.sendto(data, peer)


class Client(DatagramProtocol):
    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.put_nowait((data, peer))


async def exchange(url: str, data: bytes = b"hello", **options: Any) -> bytes:
    client = await connect(url, Client, **options)
    client.transport.sendto(data)
    async with asyncio.timeout(10):
        answer, _ = await client.came.get()
    client.transport.close()
    return answer


async def test_a_server_is_reached_at_its_urls() -> None:
    async with serve(["udp://127.0.0.1:0", "udp://[::1]:0?ttl=3"], Echo) as server:
        assert [url.rpartition(":")[0] for url in server.urls] == ["udp://127.0.0.1", "udp://[::1]"]
        assert not server.connections
        for url in server.urls:
            assert await exchange(url) == b"hello"
        listener: Any = server.listeners[1]
        view = listener.transports[0].get_extra_info("socket")
        assert view.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 3
        assert await exchange(server.urls[0], local_address=("127.0.0.1", 0)) == b"hello"


async def test_a_name_is_looked_up() -> None:
    async with serve("udp://localhost:0", Echo) as server:
        assert await exchange(f"udp://127.0.0.1:{server.port}") == b"hello"
        assert await exchange(f"udp://localhost:{server.port}") in (b"hello",)


async def test_nothing_is_received_before_a_paused_server_accepts() -> None:
    async with serve("udp://127.0.0.1:0", Echo, paused=True) as server:
        client = await connect(server.urls[0], Client)
        client.transport.sendto(b"early")
        for _ in range(5):
            await asyncio.sleep(0)
        assert client.came.empty()
        server.resume_accepting()
        assert (await client.came.get())[0] == b"early"
        client.transport.close()


async def test_a_server_that_cannot_have_all_its_endpoints_has_none() -> None:
    probe = await serve("udp://127.0.0.1:0", Echo)
    port = probe.port
    await probe.close()
    with pytest.raises(OSError, match=r"cannot listen on udp 192\.0\.2\.1:9"):
        await serve([f"udp://127.0.0.1:{port}", "udp://192.0.2.1:9"], Echo)
    for _ in range(3):  # sockets are closed at the end of a turn
        await asyncio.sleep(0)
    again = await serve(f"udp://127.0.0.1:{port}", Echo)
    await again.close()


async def test_one_factory_may_serve_datagrams_and_streams() -> None:
    class StreamEcho(Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Both:
        def build_protocol(self, peer: Any) -> StreamEcho:
            return StreamEcho()

        def build_datagram_protocol(self, local: Any) -> Echo:
            return Echo()

    async with serve(["udp://127.0.0.1:0", "tcp://127.0.0.1:0"], Both()) as server:
        assert await exchange(server.urls[0]) == b"hello"
        stream = await open_stream(server.urls[1])
        await stream.send_all(b"hello")
        assert await stream.read_exactly(5) == b"hello"
        stream.close()


@pytest.mark.parametrize(
    ("attempt", "problem"),
    [
        (lambda: serve("udp://[::1]:0?dual_stack=yes", Echo).start(), "dual_stack goes with"),
        (lambda: serve("udp://127.0.0.1:0?max_size=0", Echo).start(), "max_size is at least 1"),
        (lambda: parse_endpoint("udp://127.0.0.1:0?backlog=3"), "no option 'backlog'"),
        (lambda: serve("udp://127.0.0.1:0?ttl=256", Echo).start(), "from 0 to 255"),
        (lambda: serve("udp://127.0.0.1:0?broadcast=maybe", Echo), "yes or no"),
        (lambda: connect("udp://127.0.0.1:0", Client), "a host and a port"),
        (lambda: connect("udp://:53", Client), "a host and a port"),
        (lambda: open_stream("udp://127.0.0.1:53"), "no stream"),
        (lambda: parse_endpoint("udp:127.0.0.1"), "two slashes"),
    ],
)
async def test_mistakes_are_named(attempt: Callable[[], Any], problem: str) -> None:
    with pytest.raises(EndpointSyntaxError, match=problem):
        await attempt()


async def test_a_name_that_is_none_fails_the_connection() -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.invalid"):
        await connect("udp://nowhere.invalid:9", Client)


async def test_a_service_listens_for_datagrams() -> None:
    service = ServerService("echo", Echo, [ListenOn("udp://127.0.0.1:0")])
    reactor: Any = current_reactor()
    await service.start(reactor)
    assert await exchange(service.urls[0]) == b"hello"
    await service.stop()


async def test_a_service_of_connections_says_that_it_has_no_datagrams() -> None:
    class Streams:
        def build_protocol(self, peer: Any) -> Protocol:
            return Protocol()

    listen = [ListenOn("tcp://127.0.0.1:0"), ListenOn("udp://127.0.0.1:0", index=1)]
    with pytest.raises(StartError, match="which carries datagrams") as refused:
        await ServerService("site", Streams(), listen).start(current_reactor())
    assert (refused.value.key, refused.value.index) == ("listen", 1)


def no_certificates(name: str) -> ServerTLS:
    raise AssertionError(name)


async def test_the_echo_service_answers_datagrams_and_connections(tmp_path: Path) -> None:
    """RFC 862."""
    context = ServiceContext("echo", tmp_path, no_certificates)
    config = EchoConfig(listen=[Listen("udp://127.0.0.1:0"), Listen("tcp://127.0.0.1:0")])
    service = build_echo(config, context)
    await service.start(current_reactor())
    assert await exchange(service.urls[0]) == b"hello"
    async with await open_stream(service.urls[1]) as stream:
        await stream.send_all(b"hello")
        assert await stream.read_exactly(5) == b"hello"
    assert try_echo(config, service.urls) == [
        f"nc -u 127.0.0.1 {service.servers[0].port}",
        f"nc 127.0.0.1 {service.servers[1].port}",
    ]
    await service.stop()


def test_two_echoes_do_not_keep_each_other_busy() -> None:
    """Whoever forges the source of one datagram would start that."""
    transport = Sent()
    echo = EchoDatagrams()
    echo.connection_made(transport)

    for port in (7, 19, 1023, 8007):
        echo.datagram_received(b"x", ("127.0.0.1", port))
    assert (transport.sent, echo.ignored) == ([], 4)

    echo.datagram_received(b"x", ("::1", 1024, 0, 0))
    assert transport.sent == [(b"x", ("::1", 1024, 0, 0))]


class Sent:
    """A transport of port 8007."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def get_extra_info(self, name: str) -> Any:
        return {"sockname": ("0.0.0.0", 8007)}[name]

    def sendto(self, data: bytes, peer: Any) -> None:
        self.sent.append((data, peer))


async def test_sockets_come_from_the_reactors_source_if_it_has_one() -> None:
    """So a service may take over the socket, and its queue, of the one it replaces."""
    reactor = current_reactor()
    reactor.socket_source = source = LocalSockets()
    try:
        first = await serve("udp://127.0.0.1:0", Echo)
        port = first.port
        assert len(source.places) == 1
        assert await exchange(first.urls[0]) == b"hello"
        await first.close()
        await asyncio.sleep(0)
        assert not source.places
        every = await serve("udp://:0?broadcast=yes", Echo)
        assert await exchange(f"udp://[::1]:{every.port}") == b"hello"
        assert port
        await every.close()
    finally:
        reactor.socket_source = None
        source.close()
