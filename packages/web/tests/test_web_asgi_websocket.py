"""WebSockets of ASGI applications: accepting, refusing, both ways, both ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sennit.core import serve
from sennit.web import http_server
from sennit.web.hosting.asgi import ASGI
from sennit.web.websocket.client import connect_websocket
from sennit.web.websocket.errors import WebSocketClosedError, WebSocketRefusedError


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[tuple[str, ASGI]]:
    host = ASGI(app)
    async with serve("tcp://127.0.0.1:0", http_server(host)) as server:
        yield f"ws://127.0.0.1:{server.port}", host


async def calls_over(host: ASGI) -> None:
    """Wait until no call of the application is under way."""
    if host.tasks:
        await asyncio.wait(host.tasks)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def test_messages_go_both_ways() -> None:
    async with served(echo) as (url, host):
        async with await connect_websocket(url) as ws:
            await ws.send("text")
            assert await ws.receive() == "text"
            await ws.send(b"octets")
            assert await ws.receive() == b"octets"
        await calls_over(host)


async def test_a_scope_says_what_was_asked() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await receive()
        await send(
            {"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-mine", b"yes")]}
        )
        await receive()

    async with (
        served(app) as (url, _),
        await connect_websocket(f"{url}/a%20b?q=1", subprotocols=["one", "two"]) as ws,
    ):
        assert ws.subprotocol == "two"
        await ws.send("done")
    (scope,) = seen
    assert scope["scheme"] == "ws"
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q=1")
    assert scope["subprotocols"] == ["one", "two"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope
    assert scope["http_version"] == "1.1"


async def test_closing_before_accepting_is_403() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})
        seen.append(await receive())

    async with served(app) as (url, host):
        with pytest.raises(WebSocketRefusedError) as caught:
            await connect_websocket(url)
        assert caught.value.status == 403
        await calls_over(host)
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_a_page_may_refuse_in_its_place() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        start = {"type": "websocket.http.response.start", "status": 401}
        await send({**start, "headers": [(b"x-why", b"because")]})
        await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"way"})

    async with served(app) as (url, _):
        with pytest.raises(WebSocketRefusedError) as caught:
            await connect_websocket(url)
    assert caught.value.status == 401
    assert (b"x-why", b"because") in caught.value.headers


@pytest.mark.parametrize("late", [False, True])
async def test_an_application_that_fails_before_accepting_is_500(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if late:
            await asyncio.sleep(0)
            await send({"type": "websocket.send", "text": "too early"})
        raise RuntimeError("secret")

    async with served(app) as (url, _):
        with caplog.at_level(logging.ERROR), pytest.raises(WebSocketRefusedError) as caught:
            await connect_websocket(url)
    assert caught.value.status == 500
    assert len(caplog.records) == 1


async def test_one_that_says_nothing_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async with served(app) as (url, _):
        with pytest.raises(WebSocketRefusedError) as caught:
            await connect_websocket(url)
    assert caught.value.status == 500
    assert "without an answer" in caplog.text


@pytest.mark.parametrize(("how", "code"), [("returns", 1000), ("raises", 1011), ("closes", 3001)])
async def test_how_it_ends_is_how_it_closes(
    how: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if how == "raises":
            raise RuntimeError("secret")
        if how == "closes":
            await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
            with pytest.raises(OSError, match="disconnected"):
                await send({"type": "websocket.send", "text": "more"})

    async with served(app) as (url, _):
        ws = await connect_websocket(url)
        with pytest.raises(WebSocketClosedError) as caught:
            await ws.receive()
        assert caught.value.code == code
        await ws.close()
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == (
        how == "raises"
    )


async def test_a_client_that_leaves_is_told_with_its_code() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        with pytest.raises(OSError, match="disconnected"):
            await send({"type": "websocket.send", "bytes": b"more"})
        seen.append("ended")

    async with served(app) as (url, host):
        ws = await connect_websocket(url)
        await ws.close(3003, "bye")
        ws = await connect_websocket(url)
        ws.transport.abort()
        await calls_over(host)
    assert seen == [
        {"type": "websocket.disconnect", "code": 3003, "reason": "bye"},
        "ended",
        {"type": "websocket.disconnect", "code": 1006, "reason": ""},
        "ended",
    ]


async def test_one_that_goes_on_is_cancelled_at_the_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING app-2."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with served(app) as (url, host):
        host.limit = 0.05
        ws = await connect_websocket(url)
        ws.transport.abort()
        await calls_over(host)
    assert ended == ["cancelled"]
    assert "went on for 0.05 s" in caplog.text


async def test_messages_of_no_sense_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(ValueError, match="not as a header"):
            headers = [(b"sec-websocket-protocol", b"x")]
            await send({"type": "websocket.accept", "headers": headers})
        await send({"type": "websocket.accept"})
        for wrong in ({}, {"text": "a", "bytes": b"b"}):
            with pytest.raises(ValueError, match="either text or bytes"):
                await send({"type": "websocket.send", **wrong})
        with pytest.raises(RuntimeError, match="was not expected on an open WebSocket"):
            await send({"type": "websocket.accept"})

    async with served(app) as (url, _):
        ws = await connect_websocket(url)
        with pytest.raises(WebSocketClosedError) as caught:
            await ws.receive()
        assert caught.value.code == 1000
        await ws.close()
    assert not caplog.records


async def test_a_broken_handshake_does_not_reach_the_application() -> None:
    called: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    host = ASGI(app)
    async with serve("tcp://127.0.0.1:0", http_server(host)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 12\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 426")
        writer.close()
    assert not called
