"""How servers are run for the benchmarks of HTTP: Sennit and its peers, each in its usual manner.

Each takes a free port of 127.0.0.1, says so, and serves until it is ended; none writes an
access log. What they answer is for the benchmarks to say.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tools.benchmark import Ready

__all__ = ["granian_command", "run_aiohttp", "run_sennit", "run_twisted", "run_uvicorn"]


def run_sennit(ready: Ready, factory: Any) -> None:
    """Serve a `Site`, or what `http_server` returns."""
    from sennit.core import Reactor, run, serve

    async def begin(reactor: Reactor) -> None:
        async with serve("tcp://127.0.0.1:0", factory) as server:
            ready(server.port)
            await server.wait_closed()

    run(begin)


def run_uvicorn(ready: Ready, app: Any, *, loop: str, **options: Any) -> None:
    """Serve an ASGI application."""
    import socket

    import uvicorn

    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app, loop=loop, lifespan="off", access_log=False, log_level="error", **options
    )
    ready(sock.getsockname()[1])
    uvicorn.Server(config).run(sockets=[sock])


def run_aiohttp(
    ready: Ready, *routes: Any, run: Callable[[Coroutine[Any, Any, None]], object] | None = None
) -> None:
    """Serve routes (`aiohttp.web.get` and its kin) on asyncio's loop, or by another `run`."""
    import asyncio

    from aiohttp import web

    async def begin() -> None:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready(runner.addresses[0][1])
        await asyncio.Event().wait()

    (run or asyncio.run)(begin())


def run_twisted(ready: Ready, root: Any) -> None:
    """Serve a resource of twisted.web."""
    from twisted.internet import reactor
    from twisted.web import server

    reactor_: Any = reactor  # Twisted picks its class at run time
    ready(reactor_.listenTCP(0, server.Site(root), interface="127.0.0.1").getHost().port)
    reactor_.run()


def granian_command(
    port: int, folder: Path, source: str, *options: str, interface: str = "asgi"
) -> list[str]:
    """The command that serves an ASGI application, which is ``app`` in a module's `source`."""
    (folder / "granian_app.py").write_text(source)
    return [
        sys.executable, "-m", "granian", "--interface", interface, "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--no-access-log", "--log-level", "error",
        "--working-dir", str(folder), *options, "granian_app:app",
    ]  # fmt: skip
