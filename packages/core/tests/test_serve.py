"""Servers as scopes: what they accept is theirs, and ends with them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import Server, serve
from sennit.core.errors import ConfigError, ConnectionAborted, ConnectionLost, EndpointSyntaxError
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK = "tcp://127.0.0.1:0"


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost: Any = ()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def talk(server: Server, **options: Any) -> Client:
    """A client that has said something and got it back."""
    client = await connect(server.urls[0], Client, **options)
    client.transport.write(b"ping")
    await until(lambda: client.data == b"ping")
    return client


async def test_a_server_accepts_while_its_block_runs() -> None:
    async with serve(LOOPBACK, Echo) as server:
        assert server.addresses == (InternetAddress("127.0.0.1", server.port),)
        assert server.urls == (f"tcp://127.0.0.1:{server.port}",)
        assert server.urls[0] in repr(server)
        assert len(server.listeners) == 1
        client = await talk(server)
        assert len(server.connections) == 1
        url = server.urls[0]
    await until(lambda: client.lost is None)
    assert server.connections == frozenset()
    with pytest.raises(ConnectionError):
        await connect(url, Client)


async def test_or_until_it_is_closed() -> None:
    server = await serve(LOOPBACK, Echo)
    client = await talk(server)
    waiting = [server.wait_closed() for _ in range(2)]
    abandoned = server.wait_closed()
    abandoned.add_errback(lambda _: None)
    abandoned.cancel()
    assert not waiting[0].called
    await server.close()
    assert all(each.called for each in waiting)
    await server.close()
    await server.wait_closed()
    await until(lambda: client.lost is None)


async def test_several_endpoints_are_one_server(tmp_path: Path) -> None:
    urls = [LOOPBACK, f"unix:{tmp_path}/x.sock", LOOPBACK]
    async with serve(urls, Echo) as server:
        assert server.urls[1] == urls[1]
        assert len(set(server.urls)) == 3
        clients = [await connect(url, Client) for url in server.urls]
        await until(lambda: len(server.connections) == 3)
    await until(lambda: all(each.lost is None for each in clients))
    assert not os.path.exists(f"{tmp_path}/x.sock")


async def test_one_that_fails_leaves_nothing_bound(tmp_path: Path) -> None:
    """All endpoints, or none."""
    path = f"{tmp_path}/x.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve([LOOPBACK, f"unix:{path}", f"tcp://127.0.0.1:{port}"], Echo)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            await server
    assert caught.value.errno == errno.EADDRINUSE
    assert not os.path.exists(path)
    assert server.addresses == ()
    assert not current_reactor().dependants
    with pytest.raises(OSError, match="in use"):
        await server.start()


async def test_what_is_no_endpoint_is_refused_at_the_call() -> None:
    with pytest.raises(EndpointSyntaxError, match="at least one"):
        serve([], Echo)
    with pytest.raises(EndpointSyntaxError, match="port is missing"):
        serve("tcp://localhost", Echo)
    with pytest.raises(ConfigError, match="ServerTLS"):
        serve("tls://:443", Echo)
    wrong: Any = 5
    with pytest.raises(TypeError, match="builds no protocols"):
        await serve(LOOPBACK, wrong)
    with pytest.raises(Exception, match="gopher"):
        await serve("gopher:x", Echo)


async def test_paused_it_binds_and_waits() -> None:
    async with serve(LOOPBACK, Echo, paused=True) as server:
        client = await connect(server.urls[0], Client)
        client.transport.write(b"ping")
        for _ in range(10):
            await asyncio.sleep(0)
        assert client.data == b""
        server.resume_accepting()
        await until(lambda: client.data == b"ping")
        server.pause_accepting()
        second = await connect(server.urls[0], Client)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(server.connections) == 1
    await until(lambda: client.lost is None and second.lost != ())


async def test_the_default_limits_are_those_of_the_house() -> None:
    """HARDENING defaults 3."""
    server = serve(LOOPBACK, Echo)
    limits = server._limits
    assert isinstance(limits, ConnectionLimits)
    assert (limits._max_per_address, limits._max_connections) == (50, 10_000)
    async with serve(LOOPBACK, Echo, limits=ConnectionLimits(max_connections=1)) as server:
        client = await talk(server)
        second = await connect(server.urls[0], Client)
        await until(lambda: second.lost != ())
        assert client.lost == ()


# ── draining ──────────────────────────────────────────────────────────────────


class Drainable(Echo):
    """Ends when it is told to, some time after it was asked."""

    drained: list[Drainable]

    def drain(self) -> None:
        type(self).drained.append(self)


@pytest.fixture
def drainable() -> type[Drainable]:
    class Fresh(Drainable):
        drained = []

    return Fresh


async def test_closing_asks_each_connection_to_come_to_an_end(
    drainable: type[Drainable],
) -> None:
    server = await serve(LOOPBACK, drainable)
    clients = [await talk(server) for _ in range(3)]
    closing = server.close()
    assert len(drainable.drained) == 3
    for each in drainable.drained:
        assert not closing.called
        each.transport.write(b" last words")
        each.transport.close()
        await until(lambda: each.transport not in server.connections)  # noqa: B023 - awaited here
    await closing
    await until(lambda: all(each.lost is None for each in clients))
    assert clients[0].data == b"ping last words"


async def test_what_cannot_be_asked_is_closed_once_its_words_have_left() -> None:
    class Loud(Echo):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"." * 2_000_000)
            closings.append(server.close())

    closings: list[Deferred[None]] = []
    server = await serve(LOOPBACK, Loud)
    client = await connect(server.urls[0], Client)
    client.transport.write(b"x")
    await until(lambda: closings)
    (transport,) = server.connections
    await closings[0]
    assert transport.close_reason == "drained"
    await until(lambda: client.lost is None)
    assert len(client.data) == 2_000_000


async def test_what_does_not_end_in_time_is_aborted(drainable: type[Drainable]) -> None:
    server = await serve(LOOPBACK, drainable, drain=0.03)
    client = await talk(server)
    (transport,) = server.connections
    await server.close()
    assert transport.close_reason == "drained"
    await until(lambda: isinstance(client.lost, ConnectionError))


async def test_a_second_close_may_be_in_more_of_a_hurry(drainable: type[Drainable]) -> None:
    server = await serve(LOOPBACK, drainable, drain=1000)
    client = await talk(server)
    first = server.close()
    again = server.close()
    assert not first.called
    await server.close(0)
    assert first.called
    assert again.called
    await until(lambda: client.lost != ())


async def test_a_drain_that_raises_aborts_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Echo):
        def drain(self) -> None:
            raise ValueError("broken")

    server = await serve(LOOPBACK, Broken)
    clients = [await talk(server) for _ in range(2)]
    await server.close()
    assert len(caplog.records) == 2
    await until(lambda: all(each.lost != () for each in clients))


async def test_a_block_that_is_cancelled_while_it_drains_aborts(
    drainable: type[Drainable],
) -> None:
    inside: asyncio.Future[Server] = asyncio.get_running_loop().create_future()

    async def block() -> None:
        async with serve(LOOPBACK, drainable) as server:
            inside.set_result(server)

    task = asyncio.ensure_future(block())
    server = await inside
    await asyncio.sleep(0)
    del server
    await task

    inside = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def held() -> None:
        async with serve(LOOPBACK, drainable) as server:
            inside.set_result(server)
            await leave.wait()

    task = asyncio.ensure_future(held())
    server = await inside
    client = await talk(server)
    leave.set()
    await until(lambda: drainable.drained)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: client.lost != ())
    await server.wait_closed()


async def test_a_start_that_nobody_waits_for_any_more_leaves_nothing() -> None:
    async def start() -> None:
        await serve("tcp://localhost:0", Echo)

    task = asyncio.ensure_future(start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not current_reactor().dependants)


def test_a_reactor_that_stops_drains_its_servers(drainable: type[Drainable]) -> None:
    kept: list[Any] = []

    async def main(reactor: Reactor) -> None:
        server = await serve(LOOPBACK, drainable, drain=0.05)
        kept.extend([server, await talk(server)])

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    server, client = kept
    assert len(drainable.drained) == 1
    assert server.connections == frozenset()
    assert client.lost is not ()  # noqa: F632 - it was lost, one way or the other
    assert not reactor._shutdown_calls


async def test_servers_that_come_and_go_leave_nothing_with_the_reactor() -> None:
    reactor = current_reactor()
    for _ in range(50):
        async with serve(LOOPBACK, Echo):
            pass
    assert len(reactor._shutdown_calls) <= 2
    assert not reactor.dependants


# ── inherited descriptors ─────────────────────────────────────────────────────


async def test_an_inherited_socket_is_listened_on() -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    async with serve(f"fd:{inherited.detach()}", Echo) as server:
        assert server.urls == (f"tcp://127.0.0.1:{server.port}",)
        client = await talk(server)
    await until(lambda: client.lost is None)


async def test_a_descriptor_that_does_not_listen_is_refused_and_left_alone() -> None:
    with socket.socket() as unbound, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for each in (unbound, datagrams):
            with pytest.raises(OSError, match="no listening stream socket"):
                await serve(f"fd:{each.fileno()}", Echo)
            assert each.getsockname()
    with open(os.devnull, "rb") as file:
        with pytest.raises(OSError, match=f"cannot listen on fd:{file.fileno()}"):
            await serve(f"fd:{file.fileno()}", Echo)
        assert file.read() == b""
    with pytest.raises(OSError, match="cannot listen on fd:999999"):
        await serve("fd:999999", Echo)


# ── TLS ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def contexts() -> tuple[Any, Any]:
    """What a server shows and what a client believes."""
    pytest.importorskip("OpenSSL")
    trustme = pytest.importorskip("trustme")
    from sennit.core.transport.tls import ClientTLS, ServerTLS

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
    return (
        ServerTLS(chain, certificate.private_key_pem.bytes()),
        ClientTLS(trust=authority.cert_pem.bytes()),
    )


async def test_a_server_over_tls_drains_the_protocol_above(
    contexts: tuple[Any, Any], drainable: type[Drainable], tmp_path: Path
) -> None:
    ours, theirs = contexts
    urls = ["tls://127.0.0.1:0", f"tls+unix:{tmp_path}/x.sock"]
    server = await serve(urls, drainable, tls=ours)
    assert server.urls[0].startswith("tls://127.0.0.1:")
    assert server.urls[1] == urls[1]
    client = await talk(server, tls=theirs)
    second = await connect(server.urls[1], Client, tls=theirs, server_hostname="localhost")
    await until(lambda: len(server.connections) == 2)
    silent = socket.create_connection(("127.0.0.1", server.port))
    await until(lambda: len(server.connections) == 3)
    closing = server.close()
    assert len(drainable.drained) == 2
    for each in drainable.drained:
        each.transport.write(b" last words")
        each.transport.close()
    await closing
    await until(lambda: client.lost is None and second.lost is None)
    assert client.data == b"ping last words"
    with silent, pytest.raises(ConnectionResetError):
        silent.setblocking(True)
        silent.recv(1)
        raise ConnectionResetError


async def test_a_protocol_over_tls_that_cannot_be_asked_is_closed(
    contexts: tuple[Any, Any],
) -> None:
    ours, theirs = contexts
    async with serve("tls://127.0.0.1:0", Echo, tls=ours) as server:
        client = await talk(server, tls=theirs)
    await until(lambda: client.lost is None)


async def test_waiting_for_room_over_tls_fails_when_the_connection_has_gone(
    contexts: tuple[Any, Any],
) -> None:
    """As over a socket: a producer's loop must not go on for ever."""
    ours, theirs = contexts
    async with serve("tls://127.0.0.1:0", Echo, tls=ours) as server:
        client = await talk(server, tls=theirs)
        client.transport.abort()
        await until(lambda: client.lost != ())
        with pytest.raises(ConnectionLost):
            await client.transport.writable()
        client.transport.write(b"ignored")


async def test_a_handler_may_close_its_own_server() -> None:
    class Last(Echo):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            closed.append(server.close())

    closed: list[Any] = []
    server = await serve(LOOPBACK, Last)
    client = await talk(server)
    await closed[0]
    await until(lambda: client.lost is None)
    assert not isinstance(client.lost, ConnectionAborted)
