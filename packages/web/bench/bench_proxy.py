"""A request through a reverse proxy over connections that are kept: what it costs the proxy.

Behind all of them stands the same nginx, whose CPU is not counted, and answers with
eleven octets. `sennit` is `ReverseProxy` as it comes; `aiohttp` its server with its
client behind, written as its documentation has it, streaming.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from sennit.core.testing.loopback import free_port
from tools import loads
from tools.benchmark import Benchmark, Ready, main

proxy = Benchmark("proxy", load=loads.requests(connections=64, seconds=3))

PORT = "SENNIT_BENCH_UPSTREAM"
"""Variable that says where the server behind is."""


def _nginx(folder: Path, port: int, more: str, location: str) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid;"
        f"error_log {folder}/error.log crit;"
        "events { worker_connections 1024; }"
        "http { access_log off; keepalive_requests 100000000; default_type text/plain;"
        f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f"{more} server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(config)]


@proxy.server("sennit")
def sennit(ready: Ready) -> None:
    from sennit.core import Reactor, run, serve
    from sennit.web import ReverseProxy, http_server

    async def begin(reactor: Reactor) -> None:
        handler = ReverseProxy([f"http://127.0.0.1:{os.environ[PORT]}"])
        async with handler, serve("tcp://127.0.0.1:0", http_server(handler)) as server:
            ready(server.port)
            await server.wait_closed()

    run(begin)


@proxy.server("aiohttp", requires=["aiohttp"])
def aiohttp_proxy(ready: Ready) -> None:
    from aiohttp import ClientSession, web

    base = f"http://127.0.0.1:{os.environ[PORT]}"

    async def begin() -> None:
        async with ClientSession(auto_decompress=False) as session:

            async def hand_on(request: web.Request) -> web.StreamResponse:
                headers = request.headers.copy()
                headers["X-Forwarded-For"] = request.remote or ""
                body = request.content if request.body_exists else None
                async with session.request(
                    request.method, base + request.path_qs, headers=headers, data=body
                ) as answer:
                    response = web.StreamResponse(status=answer.status, headers=answer.headers)
                    await response.prepare(request)
                    async for piece in answer.content.iter_any():
                        await response.write(piece)
                    await response.write_eof()
                    return response

            app = web.Application()
            app.router.add_route("*", "/{rest:.*}", hand_on)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ready(runner.addresses[0][1])
            await asyncio.Event().wait()

    asyncio.run(begin())


@proxy.program("nginx", program="nginx")
def nginx(port: int, folder: Path) -> list[str]:
    behind = f"upstream behind {{ server 127.0.0.1:{os.environ[PORT]}; keepalive 64; }}"
    location = (
        "proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection '';"
        "proxy_set_header X-Forwarded-For $remote_addr;"
    )
    return _nginx(folder, port, behind, location)


@proxy.program("haproxy", program="haproxy")
def haproxy(port: int, folder: Path) -> list[str]:
    config = folder / "haproxy.cfg"
    config.write_text(
        "global\n  nbthread 1\n  maxconn 1000\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        "  option forwardfor\n"
        f"frontend front\n  bind 127.0.0.1:{port}\n  default_backend behind\n"
        f"backend behind\n  server one 127.0.0.1:{os.environ[PORT]}\n"
    )
    return ["haproxy", "-db", "-f", str(config)]


proxy.at_most("sennit", 1.0, of="aiohttp")


def _main() -> None:
    """Run with a server behind, which is nobody's child."""
    if os.environ.get(PORT) or shutil.which("nginx") is None:
        main(proxy)
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        process = subprocess.Popen(_nginx(folder, port, "", "return 200 'hello world';"))
        try:
            os.environ[PORT] = str(port)
            time.sleep(0.3)
            main(proxy)
        finally:
            process.terminate()
            process.wait(5)


if __name__ == "__main__":
    _main()
