"""Other people's WebSockets against ours, over sockets: `websockets` and aiohttp, both ways round.

And the list of frames (``websocket_frames.py``) that is asked of our server with either engine, and
of a server made with `websockets`: a list that only ours passes would prove nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from packages.web.tests.websocket_frames import BYE, SCRIPTS, Answer, Script, parse
from sennit.core import serve
from sennit.web import Site, connect_websocket
from sennit.web.websocket.engine import WSProtoEngine
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.limits import WebSocketLimits
from sennit.web.websocket.websocket import WebSocket

if TYPE_CHECKING:
    from sennit.core import Reactor

pytestmark = pytest.mark.interop

websockets: Any = pytest.importorskip("websockets", reason="websockets is not installed")
MIB = 1024 * 1024
MESSAGES: list[Any] = [
    "hello",
    "κόσμε 😀",
    b"\0\xff" * 50,
    "",
    b"",
    b"x" * 65_535,
    b"y" * 65_536,
    os.urandom(MIB),
    "tight " * 20_000,
]


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def make_site(engine: Any) -> Site:
    site = Site()
    site.websocket("/echo", engine=engine, subprotocols=["chat"])(echo)

    @site.websocket("/pieces", engine=engine)
    async def pieces(ws: WebSocket) -> None:
        async for message in ws:
            async with ws.message() as outgoing:
                for at in range(0, len(message), 1000):
                    await outgoing.send(message[at : at + 1000])

    @site.websocket("/close", engine=engine)
    async def close(ws: WebSocket) -> None:
        await ws.close(4321, "of our own")

    @site.websocket("/ping", engine=engine)
    async def ping(ws: WebSocket) -> None:
        await ws.send(str(await ws.ping() < 5))
        await ws.receive()

    return site


@pytest.fixture(params=[FastEngine, WSProtoEngine], ids=["fast", "wsproto"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def port(engine: Any) -> AsyncIterator[int]:
    async with serve("tcp://127.0.0.1:0", make_site(engine)) as server:
        yield server.port


# ── the client of `websockets` ────────────────────────────────────────────────


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_the_websockets_client(port: int, compression: str | None) -> None:
    async with websockets.connect(
        f"ws://127.0.0.1:{port}/echo",
        compression=compression,
        subprotocols=["other", "chat"],
        max_size=None,
    ) as ws:
        assert ws.subprotocol == "chat"
        agreed = ws.response.headers.get("sec-websocket-extensions")
        assert (agreed is not None) is (compression is not None)
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send(["in ", "three ", "fragments"])
        assert await ws.recv() == "in three fragments"
        await (await ws.ping())
        await ws.pong()
        await ws.close(4000, "bye")
    assert ws.close_code == 4000

    async with websockets.connect(f"ws://127.0.0.1:{port}/pieces", compression=compression) as ws:
        await ws.send("0123456789" * 1000)
        assert [len(piece) async for piece in ws.recv_streaming()] == [1000] * 10 + [0]

    async with websockets.connect(f"ws://127.0.0.1:{port}/ping") as ws:
        assert await ws.recv() == "True"

    async with websockets.connect(f"ws://127.0.0.1:{port}/close") as ws:
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (4321, "of our own")


async def test_the_websockets_client_is_refused(port: int) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        async with websockets.connect(f"ws://127.0.0.1:{port}/nowhere"):
            pass
    assert caught.value.response.status_code == 404


async def test_a_message_of_the_websockets_client_that_is_too_big(port: int) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo", compression=None) as ws:
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await ws.send(b"x" * (MIB + 1))
            await ws.recv()
        assert ws.close_code == 1009


# ── the client of aiohttp ─────────────────────────────────────────────────────


@pytest.mark.parametrize("compress", [0, 15])
async def test_the_aiohttp_client(port: int, compress: int) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{port}/echo",
            protocols=["chat"],
            compress=compress,
            max_msg_size=0,
        ) as ws,
    ):
        assert ws.protocol == "chat"
        assert bool(ws.compress) is bool(compress)
        for message in MESSAGES:
            if isinstance(message, str):
                await ws.send_str(message)
            else:
                await ws.send_bytes(message)
            assert (await ws.receive()).data == message
        await ws.ping(b"x")
        await ws.close(code=4001, message=b"bye")
        assert ws.close_code == 4001


# ── our client ────────────────────────────────────────────────────────────────


async def talk(url: str, engine: Any, *, compression: bool) -> None:
    limits = WebSocketLimits(message=2 * MIB)
    async with connect_websocket(
        url, engine=engine, limits=limits, compression=compression, subprotocols=["chat"]
    ) as ws:
        assert ws.subprotocol == "chat"
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.receive() == message
        async with ws.message() as outgoing:
            for piece in ("in ", "three ", "fragments"):
                await outgoing.send(piece)
        assert await ws.receive() == "in three fragments"
        assert await ws.ping() < 5
    assert ws.close_code == 1000


@pytest.mark.parametrize("compression", [True, False])
async def test_our_client_and_a_websockets_server(engine: Any, compression: bool) -> None:
    from websockets.asyncio.server import serve as serve_websockets

    async def handler(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    options: Any = {"max_size": None, "subprotocols": ["chat"]}  # a NewType of its own
    async with serve_websockets(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await talk(f"ws://127.0.0.1:{port}/", engine, compression=compression)


@pytest.mark.parametrize("compression", [True, False])
async def test_our_client_and_an_aiohttp_server(engine: Any, compression: bool) -> None:
    web = pytest.importorskip("aiohttp.web", reason="aiohttp is not installed")

    async def handler(request: Any) -> Any:
        ws = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if isinstance(message.data, str):
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        await talk(f"ws://127.0.0.1:{port}/", engine, compression=compression)
    finally:
        await runner.cleanup()


# ── the list, over sockets ────────────────────────────────────────────────────

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15\r\n"


def play(port: int, script: Script, patience: float) -> list[Answer]:
    """Send what the script says; what came back until the Close frame."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as sock:
        sock.sendall(HANDSHAKE + (DEFLATE if script.deflate else b"") + b"\r\n")
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, data = data.partition(b"\r\n\r\n")
        assert b" 101 " in head, head
        assert (b"permessage-deflate" in head) is script.deflate
        # A server whose handlers run beside its reader may answer a good-bye before it
        # has answered what came before: so that is said last.
        parts = [script.send.removesuffix(BYE), BYE] if script.send.endswith(BYE) else [script.send]
        wanted = len(script.expect) - len(parts) + 1
        try:
            for part in parts:
                sock.sendall(part)
                answers = parse(data)[0]
                while len(answers) < wanted and not any(each.opcode == 8 for each in answers):
                    more = sock.recv(1 << 20)
                    if not more:
                        return answers
                    data += more
                    answers = parse(data)[0]
                wanted += 1
        except (ConnectionError, TimeoutError):
            pass
        return parse(data)[0]


def fits(answers: list[Answer], script: Script, *, beside: bool) -> bool:
    """Whether they are what was expected, or as good.

    Args:
        answers: What came.
        script: What was expected.
        beside: Whether the handler runs beside the reader, so that what closes the
            connection may overtake an echo.
    """
    last = script.expect[-1]
    good = [last, *(last._replace(payload=code.to_bytes(2, "big")) for code in script.codes)]
    if not answers or answers[-1] not in good:
        return False
    return answers[:-1] == script.expect[:-1] or (
        beside and all(each in script.expect for each in answers[:-1])
    )


async def failures(port: int, reactor: Reactor, *, beside: bool = False) -> dict[str, Any]:
    """The scripts that a server does not answer as they expect."""

    def run() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for script in SCRIPTS:
            answers = play(port, script, 0.5 if beside else 10)
            if not fits(answers, script, beside=beside):
                found[script.name] = (answers[-1:], script.expect[-1:])
        return found

    return await reactor.defer_to_thread(run)


async def test_our_server_answers_the_whole_list(port: int, reactor: Reactor) -> None:
    assert await failures(port, reactor) == {}


_WHERE_IT_DIFFERS = {
    "a short length in 2 octets": "takes it (RFC 6455 §5.2 has the shortest form only)",
    "a short length in 8 octets": "likewise",
    "a length of 2^63": "answers 1009: it looks at the size, not at the bit",
    "a bad octet in the second fragment": "sees it when the message has ended",
    "bad text before its frame has ended": "sees it when the frame has come whole",
    "a Close inside a message": "answers 1002, where RFC 6455 §5.4 lets control frames in",
}
"""Where the other server is laxer or later, and why that is no reason to be so too."""


async def test_a_websockets_server_answers_the_whole_list(reactor: Reactor) -> None:
    """The list is the RFCs', and not what our engines happen to do."""
    from websockets.asyncio.server import serve as serve_websockets

    async def handler(ws: Any) -> None:
        async for message in ws:
            await ws.send(message)

    async with serve_websockets(handler, "127.0.0.1", 0, max_size=MIB) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        found = await failures(port, reactor, beside=True)

    assert set(found) == set(_WHERE_IT_DIFFERS), found
