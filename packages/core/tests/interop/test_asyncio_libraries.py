"""Strangers on the reactor: libraries written for asyncio run on it unmodified."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor, run
from sennit.core.reactor.eventloop import ReactorEventLoop, new_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    Main = Callable[[], Coroutine[Any, Any, Any]]
    Drive = Callable[[Main], Any]

pytestmark = pytest.mark.interop


def under_run(main: Main) -> Any:
    async def call(reactor: Reactor) -> Any:
        assert isinstance(asyncio.get_running_loop(), ReactorEventLoop)
        return await main()

    return run(call)


def under_runner(main: Main) -> Any:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(params=[under_run, under_runner])
def drive(request: pytest.FixtureRequest) -> Drive:
    way: Drive = request.param
    return way


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class OneAnswer(Protocol):
    """Enough HTTP/1.1 for a client: every request gets its own body back, if it has one."""

    def __init__(self) -> None:
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            body, self.buffer = rest[:length] or b"hello", rest[length:]
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                % len(body)
            )
            self.transport.write(body)


@pytest.mark.parametrize("encrypted", [False, True])
def test_aiohttps_client(
    drive: Drive, encrypted: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    aiohttp = pytest.importorskip("aiohttp")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server: Any
        if encrypted:
            factory: Any = OneAnswer
            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts[0])
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        else:
            server = await current_reactor().listen_tcp(OneAnswer, 0, "127.0.0.1")
            url = f"http://127.0.0.1:{server.port}/"
        async with aiohttp.ClientSession() as session:

            async def fetch(body: bytes) -> bytes:
                async with session.post(url, data=body, ssl=contexts[1]) as response:
                    assert response.status == 200
                    data: bytes = await response.read()
                    return data

            bodies = [b"x" * size for size in (1, 1000, 300_000)] * 3
            assert await asyncio.gather(*map(fetch, bodies)) == bodies
            async with session.get(url, ssl=contexts[1]) as response:
                assert await response.text() == "hello"
        server.close()
        await asyncio.sleep(0)

    drive(main)


def test_aiohttps_server_and_client(drive: Drive) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    web = pytest.importorskip("aiohttp.web")

    async def main() -> None:
        async def greet(request: Any) -> Any:
            return web.json_response({"name": request.match_info["name"]})

        async def chat(request: Any) -> Any:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data.upper())
            return socket

        application = web.Application()
        application.add_routes([web.get("/chat", chat), web.get("/{name}", greet)])
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            async with session.get("/sennit") as response:
                assert await response.json() == {"name": "sennit"}
            async with session.ws_connect("/chat") as socket:
                await socket.send_str("loud")
                assert await socket.receive_str() == "LOUD"
        await runner.cleanup()

    drive(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_httpx(
    drive: Drive, encrypted: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        factory: Any = OneAnswer
        server = await asyncio.get_running_loop().create_server(
            factory, "127.0.0.1", 0, ssl=contexts[0] if encrypted else None
        )
        port = server.sockets[0].getsockname()[1]
        url = f"http{'s' if encrypted else ''}://127.0.0.1:{port}/"
        async with httpx.AsyncClient(verify=contexts[1], trust_env=False) as client:
            answers = await asyncio.gather(
                *(client.post(url, content=b"y" * size) for size in (1, 1000, 300_000))
            )
            assert [len(answer.content) for answer in answers] == [1, 1000, 300_000]
            assert (await client.get(url)).text == "hello"
        server.close()

    drive(main)


def test_anyio(drive: Drive) -> None:
    anyio = pytest.importorskip("anyio")

    async def main() -> None:
        seen: list[int] = []

        async def count(number: int) -> None:
            await anyio.sleep(0.001 * number)
            seen.append(number)

        async with anyio.create_task_group() as group:
            for number in (3, 1, 2):
                group.start_soon(count, number)
        assert seen == [1, 2, 3]
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.001):
            await anyio.sleep_forever()
        here = threading.get_ident()
        assert await anyio.to_thread.run_sync(threading.get_ident) != here

        def back() -> int:
            value: int = anyio.from_thread.run_sync(threading.get_ident)
            return value

        assert await anyio.to_thread.run_sync(back) == here

        listener = await current_reactor().listen_tcp(OneAnswer, 0, "127.0.0.1")
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\n\r\n")
            got = b""
            while not got.endswith(b"hello"):
                got += await stream.receive()
        process = await anyio.run_process(["cat"], input=b"octets")
        assert process.stdout == b"octets"
        listener.close()

    drive(main)


def test_uvicorn_serves_on_the_loop() -> None:
    uvicorn = pytest.importorskip("uvicorn")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from uvicorn"})

    async def main() -> None:
        config = uvicorn.Config(
            application, host="127.0.0.1", port=0, log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"from uvicorn\r\n0\r\n\r\n")
        writer.close()
        server.should_exit = True
        await serving

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


# ── databases ─────────────────────────────────────────────────────────────────


def test_asyncpg(drive: Drive, postgres: str) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def main() -> None:
        async with asyncpg.create_pool(postgres, min_size=2, max_size=4) as pool:
            answers = await asyncio.gather(
                *(pool.fetchval("select $1::int * 2", number) for number in range(20))
            )
            assert answers == [number * 2 for number in range(20)]
            async with pool.acquire() as connection:
                rows: list[int] = [row[0] async for row in _rows(connection)]
                assert rows == list(range(1000))
                with pytest.raises(TimeoutError):
                    await connection.fetchval("select pg_sleep(5)", timeout=0.05)
                assert await connection.fetchval("select 1") == 1

    async def _rows(connection: Any) -> AsyncIterator[Any]:
        async with connection.transaction():
            async for row in connection.cursor("select generate_series(0, 999)"):
                yield row

    drive(main)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    import importlib.util
    from pathlib import Path

    # A file beside this one, which lies in no package.
    spec = importlib.util.spec_from_file_location(
        "postgres_of_libraries", Path(__file__).with_name("postgres.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.postgres_server() as url:
        yield str(url)


@pytest.fixture(scope="module")
def redis_socket() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        path = f"{folder}/s"
        server = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if b"eady to accept" in line:
                    break
            else:
                pytest.fail("redis-server did not start")
            yield path
        finally:
            server.terminate()
            server.communicate(timeout=10)


def test_redis(drive: Drive, redis_socket: str) -> None:
    redis = pytest.importorskip("redis.asyncio")

    async def main() -> None:
        client: Any = redis.Redis(unix_socket_path=redis_socket)
        async with client:
            assert await client.ping()
            await asyncio.gather(*(client.set(f"k{n}", b"v" * n) for n in range(50)))
            assert await client.get("k49") == b"v" * 49
            async with client.pubsub() as channel:
                await channel.subscribe("news")
                assert (await channel.get_message(timeout=5))["type"] == "subscribe"
                await client.publish("news", b"hello")
                assert (await channel.get_message(timeout=5))["data"] == b"hello"

    drive(main)


# ── the other way round: Sennit's clients in somebody else's loop ─────────────


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_sennit_client_under_uvicorn(loop: str) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    factory: Any = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    async def main() -> None:
        from sennit.core.endpoint.connect import open_stream

        backend = await current_reactor().listen_tcp(OneAnswer, 0, "127.0.0.1")

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async with await open_stream(f"tcp://127.0.0.1:{backend.port}") as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                await stream.read_until(b"\r\n\r\n")
                body = await stream.read_exactly(5)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(body)})

        config = uvicorn.Config(
            application, host="127.0.0.1", port=0, log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"hello" in await reader.read()
        writer.close()
        server.should_exit = True
        await serving
        backend.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


if sys.version_info >= (3, 12):

    def test_asyncio_run_takes_the_factory() -> None:
        async def main() -> bool:
            return isinstance(asyncio.get_running_loop(), ReactorEventLoop)

        start: Any = asyncio.run
        assert start(main(), loop_factory=new_event_loop)
