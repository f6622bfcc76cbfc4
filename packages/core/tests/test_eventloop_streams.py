"""asyncio's streams, servers and transports on the reactor's own sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.reactor.base import Reactor, run
from sennit.core.reactor.eventloop import new_event_loop
from sennit.core.reactor.loopstreams import LoopTransport
from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    Main = Callable[[], Coroutine[Any, Any, Any]]


def under_run(main: Main) -> Any:
    async def call(reactor: Reactor) -> Any:
        return await main()

    return run(call)


def under_runner(main: Main) -> Any:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(params=[under_run, under_runner])
def drive(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    way: Callable[[Main], Any] = request.param
    return way


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Recorder(asyncio.Protocol):
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.gone: asyncio.Future[BaseException | None] = asyncio.Future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.gone.set_result(exc)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_megabyte_comes_back_as_it_went(
    drive: Callable[[Main], Any],
    kind: str,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        if kind == "unix":
            server = await asyncio.start_unix_server(echo, path)
            reader, writer = await asyncio.open_unix_connection(path)
        else:
            tls = contexts if kind == "tls" else (None, None)
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls[0])
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                server.sockets[0].getsockname()[1],
                ssl=tls[1],
                server_hostname="localhost" if kind == "tls" else None,
            )
        data = os.urandom(1 << 20)

        async def send() -> None:
            for at in range(0, len(data), 10_000):
                writer.write(data[at : at + 10_000])
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        sending = asyncio.ensure_future(send())
        assert await reader.readexactly(len(data)) == data
        await sending
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    drive(main)


def test_transports_are_the_houses_and_answer_asyncios_questions(
    drive: Callable[[Main], Any],
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(*name)
        transport = writer.transport
        assert isinstance(transport, SocketTransport)
        assert isinstance(transport, asyncio.Transport)
        assert writer.get_extra_info("peername") == name
        assert writer.get_extra_info("sockname")[0] == "127.0.0.1"
        assert writer.get_extra_info("absent", "default") == "default"
        sock = writer.get_extra_info("socket")
        assert sock.family == socket.AF_INET
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.transport.set_write_buffer_limits(high=0)
        assert writer.transport.get_write_buffer_size() == 0
        writer.close()
        await writer.wait_closed()
        server.close()

    drive(main)


def test_what_is_written_in_one_go_has_no_hard_limit(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 20):
                sizes.append(len(data))
            writer.write(b"done")
            writer.close()

        sizes: list[int] = []
        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(20 << 20))
        writer.write_eof()
        assert await reader.read() == b"done"
        assert sum(sizes) == 20 << 20
        writer.close()
        server.close()

    drive(main)


def test_aborting_is_no_error_and_a_reset_is_the_systems(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        _, client = await loop.create_connection(Recorder, *name)
        local = client.transport.get_extra_info("sockname")
        client.transport.abort()
        assert await client.gone is None
        assert client.transport.get_extra_info("peername") == name
        assert client.transport.get_extra_info("sockname") == local
        assert client.events == ["made", "lost"]
        with socket.create_connection(name) as raw:
            while len(made) < 2:
                await asyncio.sleep(0)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert type(await made[1].gone) is ConnectionResetError
        server.close()

    drive(main)


def test_an_exception_in_a_protocol_is_what_connection_lost_gets(
    drive: Callable[[Main], Any],
) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise LookupError("broken")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context))
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        _, client = await loop.create_connection(Broken, *server.sockets[0].getsockname())
        client.transport.write(b"x")
        assert isinstance(await client.gone, LookupError)
        assert [each["protocol"] for each in seen] == [client]
        server.close()

    drive(main)


def test_a_protocol_factory_that_fails_costs_one_connection(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        tries = iter([LookupError("no protocol")])

        def factory() -> asyncio.Protocol:
            for error in tries:
                raise error
            return Recorder()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*name)
        assert await reader.read() == b""
        writer.close()
        _, second = await loop.create_connection(Recorder, *name)
        await asyncio.sleep(0.001)
        assert not second.gone.done()
        assert [type(each) for each in seen] == [LookupError]
        second.transport.close()
        await second.gone
        server.close()

    drive(main)


def test_a_buffered_protocol_lends_its_buffer(drive: Callable[[Main], Any]) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(4)
            self.got = bytearray()
            self.complete: asyncio.Future[None] = asyncio.Future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.got += self.buffer[:nbytes]
            if len(self.got) == 11 and not self.complete.done():
                self.complete.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(
            Buffered, *server.sockets[0].getsockname()
        )
        transport.write(b"hello world")
        await protocol.complete
        assert protocol.got == b"hello world"
        transport.close()
        server.close()

    drive(main)


def test_streams_upgrade_to_tls(
    drive: Callable[[Main], Any], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(contexts[0])
        writer.write(b"secret: " + await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(upgrade, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(contexts[1], server_hostname="localhost")
        assert writer.get_extra_info("ssl_object") is not None
        writer.write(b"line\n")
        assert await reader.readline() == b"secret: line\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    drive(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_files_are_sent(
    drive: Callable[[Main], Any],
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
    encrypted: bool,
) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with (tmp_path / "file").open("rb") as file:
                writer.write(b"head")
                loop = asyncio.get_running_loop()
                sent.append(await loop.sendfile(writer.transport, file, 100, 250_000))
                positions.append(file.tell())
            writer.close()

        sent: list[int] = []
        positions: list[int] = []
        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=contexts[0] if encrypted else None
        )
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(),
            ssl=contexts[1] if encrypted else None,
            server_hostname="localhost" if encrypted else None,
        )
        assert await reader.read() == b"head" + content[100:250_100]
        assert (sent, positions) == ([250_000], [250_100])
        writer.close()
        await writer.wait_closed()
        server.close()

    drive(main)


def test_a_server_waits_for_its_connections(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        serving = asyncio.ensure_future(server.serve_forever())
        name = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*name)
        writer.write(b"x")
        await reader.readexactly(1)
        serving.cancel()
        await asyncio.sleep(0)
        assert not server.is_serving()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(*name)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()
        await asyncio.wait([serving])
        await server.wait_closed()

    drive(main)


def test_a_connection_given_up_before_it_began_tells_its_protocol_in_order(
    drive: Callable[[Main], Any],
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setblocking(False)
        protocol = Recorder()
        transport = LoopTransport(loop, here, protocol)  # type: ignore[arg-type]  # it is one
        loop.call_soon(transport.begin, None)
        transport.close()
        assert await protocol.gone is None
        assert protocol.events == ["made", "lost"]
        there.close()

    drive(main)


def test_many_connections_at_once(drive: Callable[[Main], Any]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=256)
        name = server.sockets[0].getsockname()

        async def talk(number: int) -> None:
            reader, writer = await asyncio.open_connection(*name)
            message = f"{number}\n".encode()
            for _ in range(3):
                writer.write(message)
                assert await reader.readline() == message
            writer.close()
            await writer.wait_closed()

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(talk(number))
        server.close()
        await server.wait_closed()

    drive(main)
