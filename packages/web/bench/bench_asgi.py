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

from http_servers import granian_command, run_sennit, run_uvicorn

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


@asgi.server("sennit")
def sennit(ready: Ready) -> None:
    from sennit.web import http_server
    from sennit.web.hosting.asgi import ASGI

    run_sennit(ready, http_server(ASGI(_app)))


@asgi.server("sennit-plain")
def sennit_plain(ready: Ready) -> None:
    from sennit.web import Request, Response, http_server, text

    def hello(request: Request) -> Response:
        return text("hello world")

    run_sennit(ready, http_server(hello))


@asgi.server("uvicorn-httptools-uvloop", requires=["uvicorn", "httptools", "uvloop"])
def uvicorn_httptools(ready: Ready) -> None:
    run_uvicorn(ready, _app, http="httptools", loop="uvloop")


@asgi.server("uvicorn-h11", requires=["uvicorn", "h11"])
def uvicorn_h11(ready: Ready) -> None:
    run_uvicorn(ready, _app, http="h11", loop="asyncio")


SOURCE = (
    "async def app(scope, receive, send):\n"
    "    if scope['type'] != 'http':\n"
    "        raise RuntimeError(scope['type'])\n"
    "    await send({'type': 'http.response.start', 'status': 200, 'headers': ["
    "(b'content-type', b'text/plain; charset=utf-8'),"
    f"(b'content-length', b'{len(TEXT)}')]}})\n"
    f"    await send({{'type': 'http.response.body', 'body': {TEXT!r}}})\n"
)
"""The application as a module that other programs can import."""


@asgi.program("hypercorn", requires=["hypercorn"])
def hypercorn(port: int, folder: Path) -> list[str]:
    (folder / "hello_asgi.py").write_text(SOURCE)
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); from hypercorn.__main__ import main"
    return [
        sys.executable, "-c", f"{start}; sys.exit(main())", "--bind", f"127.0.0.1:{port}",
        "--workers", "0", "--worker-class", "uvloop", "--error-logfile", "-", "hello_asgi:app",
    ]  # fmt: skip


@asgi.program("granian", requires=["granian"])
def granian(port: int, folder: Path) -> list[str]:
    return granian_command(port, folder, SOURCE, interface="asginl")


asgi.at_most("sennit", 1.0, of="uvicorn-httptools-uvloop")

if __name__ == "__main__":
    main(asgi)
