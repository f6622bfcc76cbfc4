"""POST of 64 KiB over connections that are kept, read whole and answered with its length.

Everybody takes the content in memory, as a form or a JSON document would be, and answers
with a few octets of plain text.
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

SIZE = 64 * 1024
post = Benchmark("post-64k", load=loads.requests(connections=16, seconds=3, post=SIZE))


def _serve_sennit(ready: Ready, engine: Any) -> None:
    from sennit.web import Request, Response, Site, text

    site = Site() if engine is None else Site(engine=engine)

    @site.route("/", methods=["POST"])
    async def root(request: Request) -> Response:
        return text(str(len(await request.body.read(1 << 20))))

    run_sennit(ready, site)


@post.server("sennit")
def sennit(ready: Ready) -> None:
    _serve_sennit(ready, None)


@post.server("sennit-h11")
def sennit_h11(ready: Ready) -> None:
    from sennit.web import H11ServerEngine

    _serve_sennit(ready, H11ServerEngine)


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(len(b"".join(chunks))).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@post.server("uvicorn-httptools-uvloop", requires=["uvicorn", "httptools", "uvloop"])
def uvicorn_httptools(ready: Ready) -> None:
    run_uvicorn(ready, _asgi, http="httptools", loop="uvloop")


def _aiohttp(ready: Ready, run: Any = None) -> None:
    from aiohttp import web

    async def root(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    run_aiohttp(ready, web.post("/", root), run=run)


@post.server("aiohttp", requires=["aiohttp"])
def aiohttp_server(ready: Ready) -> None:
    _aiohttp(ready)


@post.server("aiohttp-uvloop", requires=["aiohttp", "uvloop"])
def aiohttp_uvloop(ready: Ready) -> None:
    import uvloop

    _aiohttp(ready, uvloop.run)


@post.server("twisted.web", requires=["twisted"])
def twisted_web(ready: Ready) -> None:
    from twisted.web import resource

    class Root(resource.Resource):
        isLeaf = True  # noqa: N815 - Twisted's name

        def render_POST(self, request: Any) -> bytes:  # noqa: N802 - likewise
            request.setHeader(b"content-type", b"text/plain")
            return str(len(request.content.read())).encode()

    run_twisted(ready, Root())


@post.program("granian", requires=["granian"])
def granian(port: int, folder: Path) -> list[str]:
    source = (
        "async def app(scope, receive, send):\n"
        "    chunks, more = [], True\n"
        "    while more:\n"
        "        message = await receive()\n"
        "        chunks.append(message.get('body', b''))\n"
        "        more = message.get('more_body')\n"
        "    body = str(len(b''.join(chunks))).encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': ["
        "(b'content-type', b'text/plain'), (b'content-length', str(len(body)).encode())]})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    return granian_command(port, folder, source)


post.at_most("sennit", 1.0, of="aiohttp-uvloop")
post.at_most("sennit", 1.0, of="uvicorn-httptools-uvloop")

if __name__ == "__main__":
    main(post)
