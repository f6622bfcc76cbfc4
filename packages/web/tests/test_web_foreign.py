"""The server on transports that are not Sennit's own: asyncio's, whose verbs are fewer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sennit.web import ASGI, Request, Response, Site, Timeouts, WebSocket, http_server, text
from sennit.web.websocket.limits import WebSocketTimeouts

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


def converse(handler: Callable[[Request], Any], talk: Talk, **options: Any) -> list[str]:
    """Serve on a loop of asyncio's, and talk over one connection; what the loop complained of."""
    complaints: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        factory = http_server(handler, **options)
        made: list[Any] = []

        def build() -> Any:
            made.append(factory.build_protocol(None))
            return made[-1]

        server = await loop.create_server(build, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(5):
                await talk(reader, writer)
        finally:
            server.close()
            writer.transport.abort()
            for protocol in made:
                protocol.transport.abort()
            # The turn in which both ends close their sockets.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
    return complaints


def test_requests_are_answered_and_say_who_asks() -> None:
    def who(request: Request) -> Response:
        assert request.peer is request.connection.peer
        return text(f"{request.peer} {request.connection.client_name}")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        _, port = writer.get_extra_info("sockname")
        answer = await reader.readuntil(b"127.0.0.1:%d 127.0.0.1" % port)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

    assert converse(who, talk) == []


def test_a_hosted_application_is_told_of_both_ends() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append((scope["client"], scope["server"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        ends = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        assert told == [ends]

    assert converse(ASGI(app).render, talk) == []


@pytest.mark.parametrize(
    ("octets", "timeouts", "answer"),
    [
        (b"", Timeouts(head=0.05), b""),
        (b"GET / HT", Timeouts(head=0.05), b""),
        (GET[:-2], Timeouts(head=0.05), b"HTTP/1.1 408 "),
        (GET, Timeouts(idle=0.05), b"HTTP/1.1 200 "),
    ],
    ids=["nothing", "half a line", "half a head", "idle"],
)
def test_whoever_is_too_slow_is_let_go(octets: bytes, timeouts: Timeouts, answer: bytes) -> None:
    """HARDENING h1-9."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        came = await reader.read()
        assert came.startswith(answer)
        assert bool(came) is bool(answer)

    assert converse(lambda _: text("Hello"), talk, timeouts=timeouts) == []


def test_an_answer_that_breaks_off_is_cut() -> None:
    """HARDENING app-1."""

    async def half(request: Request) -> None:
        answer = request.start(200, {"content-length": "10"})
        await answer.write(b"half")
        answer.abort()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        came = await reader.read()
        assert came.startswith(b"HTTP/1.1 200 OK\r\n")
        assert came.endswith(b"\r\n\r\nhalf")

    assert converse(half, talk) == []


def test_a_websocket_that_shows_no_sign_of_life_is_let_go() -> None:
    site = Site()

    @site.websocket("/", timeouts=WebSocketTimeouts(ping_interval=0.05, ping_timeout=0.05))
    async def echo(ws: WebSocket) -> None:
        async for message in ws:
            await ws.send(message)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        came = b""
        try:
            while piece := await reader.read(65536):
                came += piece
        except ConnectionResetError:
            # Aborted: what was on its way may be lost.
            pass
        assert came.startswith(b"\x89\x00")

    assert converse(site.handle, talk) == []
