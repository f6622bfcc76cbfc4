"""WebSocket echo: what one message costs the server, at 64 octets and at 64 KiB.

The load is a process that sends the same masked binary frames, made once, over
connections that it keeps, one message under way on each. Nobody compresses: the load
does not offer it. Each server answers a message with the same message.

`sennit` is a coroutine per connection that awaits messages; `sennit-calls` is a
`WebSocketProtocol`, told by calls; both with the engine that is the default.
`sennit-wsproto` is the coroutine with frames read by wsproto. The uvicorns are of
wsproto too.
"""

from __future__ import annotations

import asyncio
import base64
import os
import select
import socket
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from http_servers import granian_command, run_aiohttp, run_sennit, run_uvicorn

from tools.benchmark import Benchmark, Ready, main
from tools.loads import LoadError

TIMEOUT = 30.0


class MessageLoad:
    """Echoes of messages of one size over several connections."""

    operation = "message"

    def __init__(self, connections: int, size: int, amount: int) -> None:
        self.connections = connections
        self.size = size
        self.amount = amount
        self.describe = f"{connections} connections x {size} octets, ping-pong"

    def warm_up(self, port: int) -> None:
        self._work(port, max(self.connections, self.amount // 10))

    def run(self, port: int) -> int:
        return self._work(port, self.amount)

    def _work(self, port: int, amount: int) -> int:
        size = self.size
        key = b"\x12\x34\x56\x78"
        payload = b"\x00" * size
        mask = (key * (size // 4 + 1))[:size]
        if size < 126:
            ours, theirs = bytes((0x82, 0x80 | size)), bytes((0x82, size))
        elif size < 65536:
            ours = bytes((0x82, 0xFE)) + size.to_bytes(2, "big")
            theirs = bytes((0x82, 126)) + size.to_bytes(2, "big")
        else:
            ours = bytes((0x82, 0xFF)) + size.to_bytes(8, "big")
            theirs = bytes((0x82, 127)) + size.to_bytes(8, "big")
        message = ours + key + mask
        whole = len(theirs) + size
        poller = select.epoll()
        socks: dict[int, socket.socket] = {}
        missing: dict[int, int] = {}
        try:
            for _ in range(self.connections):
                sock = _open(port)
                sock.sendall(message)
                answer = b""
                while len(answer) < whole:
                    answer += _some(sock)
                if answer != theirs + payload:
                    raise LoadError(f"the echo is another: {answer[:20]!r}")
                socks[sock.fileno()] = sock
                missing[sock.fileno()] = whole
                poller.register(sock.fileno(), select.EPOLLIN)
            done = len(socks)
            sent = done
            for sock in socks.values():
                sock.sendall(message)
                sent += 1
            while done < amount:
                ready = poller.poll(TIMEOUT, self.connections)
                if not ready:
                    raise LoadError(f"no echo within {TIMEOUT:.0f} s after {done}")
                for fd, _ in ready:
                    sock = socks[fd]
                    missing[fd] -= len(_some(sock))
                    if missing[fd] > 0:
                        continue
                    missing[fd] = whole
                    done += 1
                    if sent < amount:
                        sent += 1
                        sock.sendall(message)
            return done
        finally:
            for sock in socks.values():
                sock.close()
            poller.close()


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 18)
    if not data:
        raise LoadError("the server closed a connection")
    return data


def _open(port: int) -> socket.socket:
    """A connection on which the handshake has been done."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        (
            "GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(sock)
    if b" 101 " not in answer or not answer.endswith(b"\r\n\r\n"):
        raise LoadError(f"no handshake: {answer[:60]!r}")
    return sock


small = Benchmark("echo-64", load=MessageLoad(64, 64, 60_000))
large = Benchmark("echo-64KiB", load=MessageLoad(8, 65536, 6_000))


def _serve_sennit(ready: Ready, handler: Any, **options: Any) -> None:
    from sennit.web import Site

    site = Site()
    site.websocket("/echo", **options)(handler)
    run_sennit(ready, site)


async def _echo(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


@small.server("sennit")
@large.server("sennit")
def sennit(ready: Ready) -> None:
    _serve_sennit(ready, _echo)


@small.server("sennit-calls")
@large.server("sennit-calls")
def sennit_calls(ready: Ready) -> None:
    from sennit.web.websocket.protocol import WebSocketProtocol

    class Echo(WebSocketProtocol):
        def message_received(self, data: Any) -> None:
            self.send(data)

    _serve_sennit(ready, Echo)


@small.server("sennit-wsproto")
@large.server("sennit-wsproto")
def sennit_wsproto(ready: Ready) -> None:
    from sennit.web.websocket.engine import WSProtoEngine

    _serve_sennit(ready, _echo, engine=WSProtoEngine)


@small.server("sennit-python")
@large.server("sennit-python")
def sennit_python(ready: Ready) -> None:
    # As where the extra `fast` is not installed: the mask comes off in Python.
    sys.modules["websockets"] = None  # type: ignore[assignment]  # how Python says "not there"
    _serve_sennit(ready, _echo)


@small.server("websockets", requires=["websockets"])
@large.server("websockets", requires=["websockets"])
def websockets_server(ready: Ready) -> None:
    from websockets.asyncio.server import serve

    async def echo(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    async def begin() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            ready(next(iter(server.sockets)).getsockname()[1])
            await asyncio.Event().wait()

    asyncio.run(begin())


@small.server("aiohttp", requires=["aiohttp"])
@large.server("aiohttp", requires=["aiohttp"])
def aiohttp_server(ready: Ready) -> None:
    from aiohttp import web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_bytes(message.data)
        return ws

    run_aiohttp(ready, web.get("/echo", echo))


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "bytes": event["bytes"]})


@small.server("uvicorn-wsproto", requires=["uvicorn", "wsproto"])
@large.server("uvicorn-wsproto", requires=["uvicorn", "wsproto"])
def uvicorn_wsproto(ready: Ready) -> None:
    run_uvicorn(ready, _asgi, ws="wsproto", loop="asyncio")


@small.server("uvicorn-wsproto-uvloop", requires=["uvicorn", "wsproto", "uvloop"])
@large.server("uvicorn-wsproto-uvloop", requires=["uvicorn", "wsproto", "uvloop"])
def uvicorn_wsproto_uvloop(ready: Ready) -> None:
    run_uvicorn(ready, _asgi, ws="wsproto", loop="uvloop")


@small.program("granian", requires=["granian"])
@large.program("granian", requires=["granian"])
def granian(port: int, folder: Path) -> list[str]:
    source = (
        "async def app(scope, receive, send):\n"
        "    if scope['type'] != 'websocket':\n"
        "        return\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    while True:\n"
        "        event = await receive()\n"
        "        if event['type'] != 'websocket.receive':\n"
        "            return\n"
        "        await send({'type': 'websocket.send', 'bytes': event['bytes']})\n"
    )
    return granian_command(port, folder, source, "--ws")


for each in (small, large):
    each.at_most("sennit", 1.0, of="websockets")
    each.at_most("sennit-wsproto", 0.75, of="uvicorn-wsproto")

if __name__ == "__main__":
    main(small, large)
