"""HTTP hello over connections that are kept: what one request costs the server.

`sennit` is the default engine, that of the gate alone; `sennit-h11` and
`sennit-httptools` have a library's parser behind it, which has to agree. All answer
``GET /`` with the same eleven octets of plain text, with Date and Content-Length.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from http_servers import granian_command, run_aiohttp, run_sennit, run_twisted, run_uvicorn

from tools import loads
from tools.benchmark import Benchmark, Ready, main

hello = Benchmark("hello", load=loads.requests(connections=64, seconds=3))

TEXT = "hello world"


def _serve_sennit(ready: Ready, engine: Any) -> None:
    from sennit.web import Request, Response, Site, text

    site = Site() if engine is None else Site(engine=engine)

    @site.route("/")
    def root(request: Request) -> Response:
        return text(TEXT)

    run_sennit(ready, site)


@hello.server("sennit")
def sennit(ready: Ready) -> None:
    _serve_sennit(ready, None)


@hello.server("sennit-h11")
def sennit_h11(ready: Ready) -> None:
    from sennit.web import H11ServerEngine

    _serve_sennit(ready, H11ServerEngine)


@hello.server("sennit-httptools", requires=["httptools"])
def sennit_httptools(ready: Ready) -> None:
    from sennit.web import HTTPToolsServerEngine

    _serve_sennit(ready, HTTPToolsServerEngine)


@hello.server("sennit-async")
def sennit_async(ready: Ready) -> None:
    from sennit.web import Request, Response, Site, text

    site = Site()

    @site.route("/")
    async def root(request: Request) -> Response:
        return text(TEXT)

    run_sennit(ready, site)


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = TEXT.encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


@hello.server("uvicorn-h11", requires=["uvicorn", "h11"])
def uvicorn_h11(ready: Ready) -> None:
    run_uvicorn(ready, _asgi, http="h11", loop="asyncio")


@hello.server("uvicorn-httptools-uvloop", requires=["uvicorn", "httptools", "uvloop"])
def uvicorn_httptools(ready: Ready) -> None:
    run_uvicorn(ready, _asgi, http="httptools", loop="uvloop")


@hello.server("aiohttp", requires=["aiohttp"])
def aiohttp_server(ready: Ready) -> None:
    from aiohttp import web

    async def root(request: web.Request) -> web.Response:
        return web.Response(text=TEXT)

    run_aiohttp(ready, web.get("/", root))


@hello.server("twisted.web", requires=["twisted"])
def twisted_web(ready: Ready) -> None:
    from twisted.web import resource

    class Root(resource.Resource):
        isLeaf = True  # noqa: N815 - Twisted's name

        def render_GET(self, request: Any) -> bytes:  # noqa: N802 - likewise
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return TEXT.encode()

    run_twisted(ready, Root())


@hello.program("granian", requires=["granian"])
def granian(port: int, folder: Path) -> list[str]:
    source = (
        "async def app(scope, receive, send):\n"
        f"    body = {TEXT.encode()!r}\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': ["
        "(b'content-type', b'text/plain; charset=utf-8'),"
        "(b'content-length', str(len(body)).encode())]})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    return granian_command(port, folder, source)


@hello.program("nginx", program="nginx")
def nginx(port: int, folder: Path) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid;"
        f"error_log {folder}/error.log crit;"
        "events { worker_connections 1024; }"
        "http { access_log off; keepalive_requests 100000000; default_type text/plain;"
        f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f"server {{ listen 127.0.0.1:{port};"
        f"location / {{ return 200 '{TEXT}'; }} }} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(config)]


hello.at_most("sennit", 1.0, of="granian")
hello.at_most("sennit-h11", 1.0, of="twisted.web")

if __name__ == "__main__":
    main(hello)
