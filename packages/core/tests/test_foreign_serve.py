"""`serve`, `connect` and `open_stream` inside loops that others run, in clear and over TLS."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import Server, serve
from sennit.core.errors import ConnectError, ConnectionLost, TLSError
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import Stream, stream_handler
from sennit.core.transport.tls import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    Main = Callable[[], Coroutine[Any, Any, Any]]
    Drive = Callable[[Main], Any]

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
LEAF = CA.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
CHAIN = b"".join(each.bytes() for each in LEAF.cert_chain_pems)
SERVER = ServerTLS(CHAIN, LEAF.private_key_pem.bytes())
CLIENT = ClientTLS(trust=CA.cert_pem.bytes())
OTHER_CLIENT = ClientTLS(trust=trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.bytes())


def in_asyncio(main: Main) -> Any:
    return asyncio.run(_limited(main))


def in_uvloop(main: Main) -> Any:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_limited(main))


async def _limited(main: Main) -> Any:
    async with asyncio.timeout(20):
        return await main()


@pytest.fixture(params=[in_asyncio, in_uvloop])
def drive(request: pytest.FixtureRequest) -> Drive:
    way: Drive = request.param
    return way


@pytest.fixture(autouse=True)
def descriptors(drive: Drive) -> Iterator[None]:
    """Every test gives back what it has opened."""
    drive(_nothing)  # uvloop's first loop opens two descriptors for good
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


async def _nothing() -> None:
    current_reactor()


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ask(Protocol):
    """Says something and waits for as many octets."""

    def __init__(self) -> None:
        self.got = b""
        self.enough: Deferred[bytes] = Deferred()
        self.wanted = 0
        self.gone: Deferred[Exception | None] = Deferred()

    def ask(self, data: bytes) -> Deferred[bytes]:
        self.wanted = len(data)
        self.transport.write(data)
        return self.enough

    def data_received(self, data: bytes) -> None:
        self.got += data
        if len(self.got) >= self.wanted and not self.enough.called:
            self.enough.callback(self.got)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.callback(exc)


async def shout(stream: Stream) -> None:
    async for line in stream.lines():
        await stream.send_all(line.upper() + b"\n")


def test_a_scope_serves_protocols_and_handlers(drive: Drive) -> None:
    async def main() -> None:
        async with (
            serve("tcp://127.0.0.1:0", Echo) as echo,
            serve("tcp://127.0.0.1:0", stream_handler(shout)) as shouting,
        ):
            asking = await connect(f"tcp://127.0.0.1:{echo.port}", Ask)
            assert await asking.ask(b"hello") == b"hello"
            async with await open_stream(f"tcp://127.0.0.1:{shouting.port}") as stream:
                await stream.send_all(b"one\ntwo\n")
                assert await stream.read_line() == b"ONE"
                assert await stream.read_line() == b"TWO"
            # Strangers are served, too.
            reader, writer = await asyncio.open_connection("127.0.0.1", shouting.port)
            writer.write(b"three\n")
            assert await reader.readline() == b"THREE\n"
            writer.close()
            await writer.wait_closed()
        # The scope has ended, and with it its connections.
        assert await asking.gone is None

    drive(main)


def test_tls_is_served_and_verified(drive: Drive) -> None:
    sent = os.urandom(1_000_000)

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", Echo, tls=SERVER) as server:
            url = f"tls://127.0.0.1:{server.port}"
            asking = await connect(url, Ask, tls=CLIENT)
            assert await asking.ask(sent) == sent
            async with await open_stream(url, tls=CLIENT, server_hostname="localhost") as stream:
                await stream.send_all(b"over and out")
                assert await stream.read_exactly(12) == b"over and out"
            with pytest.raises(TLSError, match=r"127\.0\.0\.1"):
                await connect(url, Ask, tls=OTHER_CLIENT)

    drive(main)


def test_the_loops_own_client_talks_tls_to_our_server(drive: Drive) -> None:
    async def main() -> None:
        context = ssl.create_default_context()
        CA.configure_trust(context)
        factory = with_timeouts(stream_handler(shout), idle=30)
        async with serve("tls://127.0.0.1:0", factory, tls=SERVER) as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
            )
            writer.write(b"hush\n")
            assert await reader.readline() == b"HUSH\n"
            writer.close()
            await writer.wait_closed()

    drive(main)


def test_a_stream_in_clear_goes_over_to_tls(drive: Drive) -> None:
    async def starting(stream: Stream) -> None:
        assert await stream.read_line() == b"STARTTLS"
        await stream.send_all(b"GO\n")
        await stream.start_tls(SERVER, server_side=True)
        await stream.send_all(await stream.read_line() + b"!\n")

    async def main() -> None:
        async with (
            serve("tcp://127.0.0.1:0", stream_handler(starting)) as server,
            await open_stream(f"tcp://127.0.0.1:{server.port}") as stream,
        ):
            await stream.send_all(b"STARTTLS\n")
            assert await stream.read_line() == b"GO"
            await stream.start_tls(CLIENT, server_hostname="localhost")
            await stream.send_all(b"secret\n")
            assert await stream.read_line() == b"secret!"

    drive(main)


def test_unix_sockets_are_served(drive: Drive, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        async with (
            serve(f"unix:{path}", stream_handler(shout)),
            await open_stream(f"unix:{path}") as stream,
        ):
            await stream.send_all(b"hey\n")
            assert await stream.read_line() == b"HEY"
        assert not path.exists()

    drive(main)


def test_nobody_there_is_an_error_that_names_the_place(drive: Drive) -> None:
    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", Echo) as server:
            port = server.port
        with pytest.raises(ConnectError, match=f"127.0.0.1:{port}"):
            await open_stream(f"tcp://127.0.0.1:{port}")

    drive(main)


def test_cancelling_a_handler_ends_its_connection_only(drive: Drive) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def wait(stream: Stream) -> None:
        if await stream.read_line() == b"wait":
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await stream.send_all(b"waiting\n")
            await asyncio.Event().wait()
        await stream.send_all(b"fine\n")

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", stream_handler(wait)) as server:
            url = f"tcp://127.0.0.1:{server.port}"
            async with await open_stream(url) as first, await open_stream(url) as second:
                await first.send_all(b"wait\n")
                assert await first.read_line() == b"waiting"
                tasks[0].cancel()
                with pytest.raises(ConnectionLost):
                    await first.read_exactly(1)
                await second.send_all(b"go\n")
                assert await second.read_line() == b"fine"

    drive(main)


def test_awaiting_serve_leaves_the_server_to_the_loop(drive: Drive) -> None:
    """A notebook's cell: no scope; the server ends with the loop, and its handlers do."""
    ended: list[str] = []
    servers: list[Server] = []

    async def wait(stream: Stream) -> None:
        try:
            await stream.read_line()
        finally:
            ended.append("handler")

    async def main() -> None:
        servers.append(await serve("tcp://127.0.0.1:0", stream_handler(wait), drain=0.1))
        async with asyncio.timeout(5):
            client = await open_stream(f"tcp://127.0.0.1:{servers[0].port}")
            while not servers[0].connections:
                await client.transport.writable()
                await asyncio.sleep(0)
        current_reactor().at_shutdown(ended.append, "hook")

    drive(main)
    assert sorted(ended) == ["handler", "hook"]
    assert not servers[0].connections


def test_many_at_once_get_their_own_answers(drive: Drive) -> None:
    async def one(url: str, number: int) -> None:
        async with await open_stream(url, tls=CLIENT, server_hostname="localhost") as stream:
            for turn in range(5):
                line = b"%d-%d" % (number, turn)
                await stream.send_all(line + b"\n")
                assert await stream.read_line() == line

    async def main() -> None:
        async with (
            serve("tls://127.0.0.1:0", stream_handler(shout), tls=SERVER) as server,
            asyncio.TaskGroup() as group,
        ):
            for number in range(20):
                group.create_task(one(f"tls://localhost:{server.port}", number))

    drive(main)


def test_a_cancelled_connect_leaves_nothing(drive: Drive) -> None:
    async def main() -> None:
        # Accepts, and never says a word of TLS.
        async with serve("tcp://127.0.0.1:0", Protocol) as server:
            url = f"tls://127.0.0.1:{server.port}"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await connect(url, Ask, tls=CLIENT)
            with pytest.raises(TLSError):
                await connect(url, Ask, tls=CLIENT, timeout=0.3)

    drive(main)


def test_certificates_change_while_the_server_stands(drive: Drive, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(leaf: trustme.LeafCert) -> None:
        certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())

    async def main() -> None:
        write(LEAF)
        tls = ServerTLS(certificate, key)
        async with serve("tls://127.0.0.1:0", Echo, tls=tls) as server:
            url = f"tls://127.0.0.1:{server.port}"
            old = await connect(url, Ask, tls=CLIENT)
            write(CA.issue_cert("elsewhere.example", key_type=trustme.KeyType.ECDSA))
            tls.reload()
            await connect(url, Ask, tls=CLIENT, server_hostname="elsewhere.example")
            with pytest.raises(TLSError):
                await connect(url, Ask, tls=CLIENT)
            assert await old.ask(b"still here") == b"still here"

    drive(main)
