"""HTTP/2: what one request costs the server, a small answer and a file of 1 MiB.

In clear, begun with the preface, and once more over TLS, where Twisted speaks it too. All
answer with Date and Content-Length. Sennit and hypercorn stand on h2, granian on hyper.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from http_servers import granian_command

from tools import loads
from tools.benchmark import Benchmark, Ready, certificate, main

MIB = 1024 * 1024
TEXT = "hello world"

hello = Benchmark("hello", load=loads.http2_requests(operations=20_000))
secure = Benchmark("hello-tls", load=loads.http2_requests(operations=10_000, tls=True))
file = Benchmark("file", load=loads.http2_requests(operations=400, path="/1m.bin", size=MIB))


def _serve_sennit(ready: Ready, folder: str | None, tls: bool) -> None:
    from sennit.core import Reactor, ServerTLS, run, serve
    from sennit.web import Request, Response, Site, StaticFiles, text

    site = Site() if folder is None else Site(StaticFiles(folder))

    @site.route("/")
    def root(request: Request) -> Response:
        return text(TEXT)

    async def begin(reactor: Reactor) -> None:
        if tls:
            serving = serve("tls://127.0.0.1:0", site, tls=ServerTLS(*certificate()))
        else:
            serving = serve("tcp://127.0.0.1:0", site)
        async with serving as server:
            ready(server.port)
            await server.wait_closed()

    run(begin)


def _hypercorn(ready: Ready, folder: str | None, tls: bool) -> None:
    import asyncio
    import socket

    from hypercorn import asyncio as hypercorn_asyncio
    from hypercorn.config import Config

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = TEXT.encode()
        if folder is not None:
            # As frameworks send files: read in pieces of 64 KiB.
            with open(f"{folder}/1m.bin", "rb") as opened:
                await send(_start(b"application/octet-stream", MIB))
                while piece := opened.read(65_536):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await send(_start(b"text/plain; charset=utf-8", len(body)))
        await send({"type": "http.response.body", "body": body})

    config = Config()
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config.bind = [f"fd://{sock.detach()}"]
    config.loglevel = "CRITICAL"
    config.keep_alive_max_requests = 10**9  # else it says good-bye after a thousand
    if tls:
        config.certfile, config.keyfile = certificate()
    with socket.socket(fileno=os.dup(int(config.bind[0][5:]))) as other:
        ready(other.getsockname()[1])
    # `Any`: its types are partly unknown.
    serve: Any = getattr(hypercorn_asyncio, "serve")  # noqa: B009 - typed by nobody
    asyncio.run(serve(app, config, mode="asgi"))


def _start(kind: bytes, size: int) -> dict[str, Any]:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % size)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _fill(folder: Path) -> None:
    (folder / "1m.bin").write_bytes(os.urandom(MIB))


def _nginx(port: int, folder: Path, tls: bool) -> list[str]:
    root = folder / "root"
    root.mkdir()
    _fill(root)
    # Its worker may be another user than the owner of the folder.
    for each in (folder, root):
        each.chmod(0o755)
    config = folder / "nginx.conf"
    more = ""
    if tls:
        chain, key = certificate()
        more = f"ssl_certificate {chain}; ssl_certificate_key {key};"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid;"
        f"error_log {folder}/error.log crit; events {{ worker_connections 1024; }}"
        "http { access_log off; keepalive_requests 100000000; sendfile on; default_type text/plain;"
        f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;"
        f"server {{ listen 127.0.0.1:{port} {'ssl ' if tls else ''}http2; {more} root {root};"
        f"location = / {{ return 200 '{TEXT}'; }} }} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(config)]


def _granian(port: int, folder: Path, tls: bool) -> list[str]:
    source = (
        "async def app(scope, receive, send):\n"
        f"    body = {TEXT.encode()!r}\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': ["
        "(b'content-type', b'text/plain; charset=utf-8'),"
        "(b'content-length', str(len(body)).encode())]})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    more: list[str] = []
    if tls:
        chain, key = certificate()
        more = ["--ssl-certificate", chain, "--ssl-keyfile", key]
    return granian_command(port, folder, source, "--http", "2", *more)


def _declare(benchmark: Benchmark, *, tls: bool) -> None:
    @benchmark.server("sennit", requires=["h2"])
    def sennit(ready: Ready) -> None:
        _serve_sennit(ready, None, tls)

    @benchmark.server("hypercorn", requires=["hypercorn"])
    def hypercorn(ready: Ready) -> None:
        _hypercorn(ready, None, tls)

    @benchmark.program("nginx", program="nginx")
    def nginx(port: int, folder: Path) -> list[str]:
        return _nginx(port, folder, tls)

    @benchmark.program("granian", requires=["granian"])
    def granian(port: int, folder: Path) -> list[str]:
        return _granian(port, folder, tls)

    benchmark.at_most("sennit", 0.7, of="hypercorn")


_declare(hello, tls=False)
_declare(secure, tls=True)


@secure.server("twisted.web", requires=["twisted", "priority", "h2"])
def twisted_web(ready: Ready) -> None:
    from twisted.internet import reactor, ssl
    from twisted.web import resource, server

    reactor_: Any = reactor  # Twisted picks its class at run time

    class Root(resource.Resource):
        isLeaf = True  # noqa: N815 - Twisted's name

        def render_GET(self, request: Any) -> bytes:  # noqa: N802 - likewise
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return TEXT.encode()

    chain, key = certificate()
    pems = Path(chain).read_bytes() + Path(key).read_bytes()
    options = ssl.PrivateCertificate.loadPEM(pems).options()
    site = server.Site(Root())
    ready(reactor_.listenSSL(0, site, options, interface="127.0.0.1").getHost().port)
    reactor_.run()


@file.server("sennit", requires=["h2"])
def sennit_file(ready: Ready) -> None:
    with TemporaryDirectory() as folder:
        _fill(Path(folder))
        _serve_sennit(ready, folder, tls=False)


@file.server("hypercorn", requires=["hypercorn"])
def hypercorn_file(ready: Ready) -> None:
    with TemporaryDirectory() as folder:
        _fill(Path(folder))
        _hypercorn(ready, folder, tls=False)


@file.program("nginx", program="nginx")
def nginx_file(port: int, folder: Path) -> list[str]:
    return _nginx(port, folder, tls=False)


file.at_most("sennit", 0.7, of="hypercorn")

if __name__ == "__main__":
    main(hello, secure, file)
