"""One ASGI application, hosted by Sennit and by others: what one request costs the server.

The application answers ``GET /`` with eleven octets of plain text, in two messages and
without waiting. All add Date; none writes an access log or runs a lifespan. Connections
are kept. `plain` is a handler of Sennit's own that says the same: the difference is what
the interface costs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools import loads
from tools.benchmark import Benchmark, Ready, main

asgi = Benchmark("asgi", load=loads.requests(connections=64, seconds=3))

TEXT = b"hello world"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError(scope["type"])
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(TEXT)),
            ],
        }
    )
    await send({"type": "http.response.body", "body": TEXT})


def _serve(ready: Ready, handler: Any) -> None:
    from sennit.core import Reactor, run, serve
    from sennit.web import http_server

    async def begin(reactor: Reactor) -> None:
        async with serve("tcp://127.0.0.1:0", http_server(handler)) as server:
            ready(server.port)
            await server.wait_closed()

    run(begin)


@asgi.server("sennit")
def sennit(ready: Ready) -> None:
    from sennit.web.hosting.asgi import ASGI

    _serve(ready, ASGI(_app))


@asgi.server("sennit-plain")
def sennit_plain(ready: Ready) -> None:
    from sennit.web import Request, Response, text

    def hello(request: Request) -> Response:
        return text("hello world")

    _serve(ready, hello)


def _uvicorn(ready: Ready, http: str, loop: str) -> None:
    import socket

    import uvicorn

    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        _app, http=http, loop=loop, lifespan="off", access_log=False, log_level="error"
    )
    ready(sock.getsockname()[1])
    uvicorn.Server(config).run(sockets=[sock])


@asgi.server("uvicorn-httptools-uvloop", requires=["uvicorn", "httptools", "uvloop"])
def uvicorn_httptools(ready: Ready) -> None:
    _uvicorn(ready, "httptools", "uvloop")


@asgi.server("uvicorn-h11", requires=["uvicorn", "h11"])
def uvicorn_h11(ready: Ready) -> None:
    _uvicorn(ready, "h11", "asyncio")


def _module(folder: Path) -> str:
    """The application as a module that other programs can import; its name."""
    (folder / "hello_asgi.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] != 'http':\n"
        "        raise RuntimeError(scope['type'])\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': ["
        "(b'content-type', b'text/plain; charset=utf-8'),"
        f"(b'content-length', b'{len(TEXT)}')]}})\n"
        f"    await send({{'type': 'http.response.body', 'body': {TEXT!r}}})\n"
    )
    return "hello_asgi:app"


@asgi.program("hypercorn", requires=["hypercorn"])
def hypercorn(port: int, folder: Path) -> list[str]:
    app = _module(folder)
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); from hypercorn.__main__ import main"
    return [
        sys.executable, "-c", f"{start}; sys.exit(main())", "--bind", f"127.0.0.1:{port}",
        "--workers", "0", "--worker-class", "uvloop", "--error-logfile", "-", app,
    ]  # fmt: skip


@asgi.program("granian", requires=["granian"])
def granian(port: int, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "granian", "--interface", "asginl", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--no-access-log", "--log-level", "error",
        "--working-dir", str(folder), _module(folder),
    ]  # fmt: skip


asgi.at_most("sennit", 1.0, of="uvicorn-httptools-uvloop")

if __name__ == "__main__":
    main(asgi)
