"""The client against one nginx: what one request costs who asks.

`sennit` is the pool alone, `sennit-client` the client that programs use, which adds
headers, cookies, redirects and decoding. Each competitor runs on its own loop (aiohttp
and httpx on asyncio's, which they come with; `aiohttp-uvloop` on uvloop). Counted is
the CPU of the asking process alone, its start included and spread over all requests.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from sennit.core.testing.loopback import free_port
from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Get = Callable[[str], Awaitable[bytes]]

PORT: Final = "SENNIT_BENCH_NGINX"

sequential = Benchmark("client-sequential", operations=3000, operation="request")
concurrent = Benchmark("client-50-at-once", operations=5000, operation="request")
download = Benchmark("client-1-MiB", operations=150, operation="download")


def _url(path: str) -> str:
    return f"http://127.0.0.1:{os.environ[PORT]}{path}"


async def _ask(get: Get, count: int, at_once: int, path: str) -> None:
    url = _url(path)
    size = len(await get(url))

    async def ask(times: int) -> None:
        for _ in range(times):
            body = await get(url)
            assert len(body) == size, len(body)

    if at_once == 1:
        await ask(count)
    else:
        await asyncio.gather(*(ask(count // at_once) for _ in range(at_once)))


def _declare(benchmark: Benchmark, at_once: int, path: str) -> None:
    @benchmark.code("sennit")
    def sennit(count: int) -> None:
        from sennit.core import run
        from sennit.web.client.messages import OutgoingRequest
        from sennit.web.client.pool import Pool

        headers = [(b"accept", b"*/*"), (b"user-agent", b"sennit")]

        async def begin(_: object) -> None:
            async with Pool() as pool:

                async def get(url: str) -> bytes:
                    response = await pool.send(OutgoingRequest("GET", url, headers))
                    return await response.read()

                await _ask(get, count, at_once, path)

        run(begin)

    @benchmark.code("sennit-client")
    def sennit_client(count: int) -> None:
        from sennit.core import run
        from sennit.web.client.api import Client

        async def begin(_: object) -> None:
            async with Client() as client:

                async def get(url: str) -> bytes:
                    response = await client.get(url)
                    return response.content

                await _ask(get, count, at_once, path)

        run(begin)

    def aiohttp_on(run: Callable[[Any], None], count: int) -> None:
        import aiohttp

        async def begin() -> None:
            connector = aiohttp.TCPConnector(limit=100)
            async with aiohttp.ClientSession(connector=connector) as session:

                async def get(url: str) -> bytes:
                    async with session.get(url) as response:
                        return await response.read()

                await _ask(get, count, at_once, path)

        run(begin())

    @benchmark.code("aiohttp", requires=["aiohttp"])
    def aiohttp_client(count: int) -> None:
        aiohttp_on(asyncio.run, count)

    @benchmark.code("aiohttp-uvloop", requires=["aiohttp", "uvloop"])
    def aiohttp_uvloop(count: int) -> None:
        import uvloop

        aiohttp_on(uvloop.run, count)

    @benchmark.code("httpx", requires=["httpx"])
    def httpx_client(count: int) -> None:
        import httpx

        async def begin() -> None:
            async with httpx.AsyncClient(limits=httpx.Limits(max_connections=100)) as client:

                async def get(url: str) -> bytes:
                    return (await client.get(url)).content

                await _ask(get, count, at_once, path)

        asyncio.run(begin())

    for peer in ("aiohttp", "aiohttp-uvloop", "httpx"):
        benchmark.at_most("sennit-client", 1.0, of=peer)


_declare(sequential, 1, "/small")
_declare(concurrent, 50, "/small")
_declare(download, 1, "/large")


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    """Start nginx with a small file and one of 1 MiB, and say where in the environment."""
    (folder / "small").write_bytes(b"hello world\n")
    (folder / "large").write_bytes(bytes(1 << 20))
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;"
        "events { worker_connections 1024; }"
        "http { access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;"
        f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    os.environ[PORT] = str(port)
    return process


def _main() -> None:
    if PORT in os.environ:  # the competitors' own processes
        main(sequential, concurrent, download)
        return
    if shutil.which("nginx") is None:
        print("bench_client: left out, there is no nginx")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        process = _serve(Path(folder))
        try:
            main(sequential, concurrent, download)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    _main()
