"""`connect_websocket` and `Client.websocket` against our own server, and against hostile ones.

In memory, over HTTP/1.1, TLS, a Unix socket, a proxy and HTTP/2, on a virtual clock.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import trustme

from packages.web.tests.websocket_frames import frame
from sennit.core import ClientTLS, ServerTLS, serve
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.web import Client, Request, Response, Site, connect_websocket, http_server, text
from sennit.web.errors import RequestTimeoutError, WebUsageError
from sennit.web.proxy.forward import ForwardProxy
from sennit.web.proxy.rules import ForwardRules
from sennit.web.websocket.engine import WSProtoEngine
from sennit.web.websocket.errors import (
    WebSocketClosedError,
    WebSocketProtocolError,
    WebSocketRefusedError,
)
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.limits import WebSocketLimits, WebSocketTimeouts
from sennit.web.websocket.websocket import WebSocket

T = TypeVar("T")
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
URL = "ws://example/chat"


def go(clock: Clock, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something to its end."""
    return clock.run(lambda _: coroutine)


@pytest.fixture(params=[FastEngine, WSProtoEngine], ids=["fast", "wsproto"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def make_site(seen: list[Any] | None = None) -> Site:
    site = Site()

    @site.websocket("/chat", subprotocols=["two", "one"])
    async def chat(ws: WebSocket) -> None:
        if seen is not None:
            seen.append(ws.request)
        async for message in ws:
            await ws.send(message)

    @site.route("/login")
    def login(request: Request) -> Response:
        return Response(b"", 204, {"set-cookie": "session=1"})

    @site.route("/page")
    def page(request: Request) -> Response:
        return text("no WebSocket here")

    return site


# ── against our server ────────────────────────────────────────────────────────


def test_messages_both_ways(clock: Clock, memory_network: MemoryNetwork, engine: Any) -> None:
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with (
            serve("tcp://10.0.0.1:80", make_site()),
            connect_websocket(URL, subprotocols=["one", "two"], engine=engine) as ws,
        ):
            assert ws.subprotocol == "two"
            assert ws.response is not None
            assert ws.response.status == 101
            assert ws.request is None
            for message in ("héllo", b"\0" * 70_000, "", b"", "tight " * 1000):
                await ws.send(message)
                assert await ws.receive() == message
            assert await ws.ping() >= 0
            async with ws.message() as outgoing:
                await outgoing.send("by ")
                await outgoing.send("pieces")
            assert await ws.receive() == "by pieces"
        assert ws.close_code == 1000
        with pytest.raises(WebSocketClosedError):
            await ws.receive()

    go(clock, main())
    assert clock.pending == []


def test_it_can_be_awaited_and_closed_by_hand(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with serve("tcp://10.0.0.1:80", make_site()):
            ws = await connect_websocket("http://example/chat", compression=False)
            await ws.send("x")
            async for message in ws:
                assert message == "x"
                break
            await ws.close(4000, "done")
            assert ws.close_code == 4000
            await ws.close()

    go(clock, main())
    assert clock.pending == []


def test_an_error_inside_the_context_closes_with_1011(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    codes: list[int | None] = []
    site = Site()

    @site.websocket("/chat")
    async def chat(ws: WebSocket) -> None:
        async for _ in ws:
            pass
        codes.append(ws.close_code)

    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with serve("tcp://10.0.0.1:80", site):
            with pytest.raises(KeyError):
                async with connect_websocket(URL):
                    raise KeyError

    go(clock, main())
    assert codes == [1011]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def shown(authority: trustme.CA) -> tuple[bytes, bytes]:
    made = authority.issue_cert("example")
    return b"".join(part.bytes() for part in made.cert_chain_pems), made.private_key_pem.bytes()


def test_over_tls_only_http1_is_offered(
    clock: Clock, memory_network: MemoryNetwork, authority: trustme.CA
) -> None:
    """RFC 6455 §4.1; though client and server both know HTTP/2, which has no upgrade."""
    site = make_site()
    tls = ServerTLS(*shown(authority), alpn=site.alpn)
    memory_network.host("10.0.0.1", name="example")
    trust = ClientTLS(trust=authority.cert_pem.bytes())

    async def main() -> None:
        async with (
            serve("tls://10.0.0.1:443", site, tls=tls),
            connect_websocket("wss://example/chat", tls=trust) as ws,
            Client("https://example", tls=trust) as client,
        ):
            assert ws.secure
            await ws.send("x")
            assert await ws.receive() == "x"
            assert (await client.get("/page")).version == "2"
            async with client.websocket("/chat") as another:
                await another.send("y")
                assert await another.receive() == "y"

    go(clock, main())


def test_over_http2_when_asked(
    clock: Clock, memory_network: MemoryNetwork, authority: trustme.CA, engine: Any
) -> None:
    """RFC 8441: one stream of a connection, in TLS and in clear."""
    seen: list[Any] = []
    site = make_site(seen)
    tls = ServerTLS(*shown(authority), alpn=site.alpn)
    memory_network.host("10.0.0.1", name="example")
    trust = ClientTLS(trust=authority.cert_pem.bytes())

    async def talk(ws: WebSocket) -> None:
        for message in ("x", b"y" * 300_000, "tight " * 1000):
            await ws.send(message)
            assert await ws.receive() == message

    async def main() -> None:
        async with (
            serve("tls://10.0.0.1:443", site, tls=tls),
            serve("tcp://10.0.0.1:80", site),
        ):
            url = "wss://example/chat"
            options: Any = {"subprotocols": ["one"], "engine": engine}
            async with connect_websocket(url, tls=trust, http2=True, **options) as ws:
                assert ws.subprotocol == "one"
                assert ws.response is not None
                assert ws.response.status == 200
                await talk(ws)
            assert ws.close_code == 1000
            async with connect_websocket(URL, http2=True, **options) as ws:
                await talk(ws)
            async with Client("https://example", tls=trust) as client:
                assert (await client.get("/page")).version == "2"
                async with client.websocket("/chat", http2=True) as ws:
                    await talk(ws)
                    assert (await client.get("/page")).status == 200

    go(clock, main())
    assert {each.version for each in seen} == {"2"}
    assert clock.pending == []


def test_a_server_without_http2_is_an_error_when_that_was_asked(
    clock: Clock, memory_network: MemoryNetwork, authority: trustme.CA
) -> None:
    site = Site(http2=False)
    tls = ServerTLS(*shown(authority), alpn=["http/1.1"])
    memory_network.host("10.0.0.1", name="example")
    trust = ClientTLS(trust=authority.cert_pem.bytes())

    async def main() -> None:
        async with serve("tls://10.0.0.1:443", site, tls=tls):
            with pytest.raises(OSError, match=r"."):
                await connect_websocket("wss://example/chat", tls=trust, http2=True)
            async with Client("https://example", tls=trust) as client:
                assert (await client.get("/")).version == "1.1"
                with pytest.raises(WebUsageError, match="HTTP/2"):
                    await client.websocket("/chat", http2=True)

    go(clock, main())


def test_at_a_unix_socket(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        async with (
            serve("unix:/run/web.sock", make_site()),
            connect_websocket("ws://localhost/chat", unix="/run/web.sock") as ws,
        ):
            await ws.send("x")
            assert await ws.receive() == "x"

    go(clock, main())


def test_through_a_proxy_even_cleartext_is_tunnelled(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 6455 §4.1: by CONNECT, since what comes is not HTTP for long."""
    asked: list[str] = []
    memory_network.host("10.0.0.1", name="example")
    memory_network.host("10.0.0.2", name="proxy")
    rules = ForwardRules(clients=["any"], allow=["10.0.0.0/8"], connect_ports=["80"])
    forward = ForwardProxy(rules)

    async def proxy(request: Request) -> Any:
        asked.append(f"{request.method} {request.head.target.decode()}")
        answer: Any = forward(request)
        return await answer if hasattr(answer, "__await__") else answer

    async def main() -> None:
        async with (
            serve("tcp://10.0.0.1:80", make_site()),
            serve("tcp://10.0.0.2:3128", http_server(proxy)),
            connect_websocket(URL, proxy="http://proxy:3128") as ws,
        ):
            await ws.send("x")
            assert await ws.receive() == "x"

    go(clock, main())
    assert asked == ["CONNECT example:80"]


def test_a_client_lends_its_cookies_login_and_headers(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    seen: list[Any] = []
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with (
            serve("tcp://10.0.0.1:80", make_site(seen)),
            Client("http://example", auth=("u", "p"), headers={"x-a": "b"}) as client,
        ):
            await client.get("/login")
            async with client.websocket("/chat", params={"q": "1"}, headers={"x-c": "d"}) as ws:
                await ws.send("x")
                assert await ws.receive() == "x"
            async with client.websocket("ws://example/chat", subprotocols=["one"]) as ws:
                assert ws.subprotocol == "one"

    go(clock, main())
    first, second = seen
    assert first.query == {"q": ["1"]}
    assert first.header("x-c") == "d"
    for request in seen:
        assert request.header("cookie") == "session=1"
        assert request.header("authorization") == "Basic dTpw"
        assert request.header("x-a") == "b"
    assert second.header("x-c") is None


def test_a_client_that_is_closed_opens_nothing(clock: Clock) -> None:
    async def main() -> None:
        client = Client("http://example")
        await client.aclose()
        with pytest.raises(WebUsageError, match="closed"):
            await client.websocket("/chat")

    go(clock, main())


def test_a_no_says_why(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with serve("tcp://10.0.0.1:80", make_site()):
            for path, status in (("/nowhere", 404), ("/page", 200)):
                with pytest.raises(WebSocketRefusedError) as caught:
                    await connect_websocket(f"ws://example{path}")
                assert caught.value.status == status
                assert dict(caught.value.headers)[b"content-type"].startswith(b"text/plain")
            with pytest.raises(ConnectError):
                await connect_websocket("ws://example:81/chat")

    go(clock, main())
    assert clock.pending == []


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://example/", {}),
        ("ws://example/#fragment", {}),
        ("no url", {}),
        (URL, {"subprotocols": ["a b"]}),
        (URL, {"subprotocols": "chat"}),
        (URL, {"headers": {"upgrade": "x"}}),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        connect_websocket(url, **options)


@pytest.mark.parametrize("options", [{"headers": {"x": "a\r\ny: z"}}, {"origin": "a\r\nb: c"}])
def test_line_ends_of_callers_are_not_sent(
    clock: Clock, memory_network: MemoryNetwork, options: dict[str, Any]
) -> None:
    """HARDENING h1-25, for the handshake."""
    seen: list[Any] = []
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with serve("tcp://10.0.0.1:80", make_site(seen)):
            with pytest.raises(ValueError, match="control"):
                await connect_websocket(URL, **options)

    go(clock, main())
    assert seen == []


# ── against a server that is none of ours ─────────────────────────────────────


class Scripted(Protocol):
    """Agrees to the handshake, then says what it is told to."""

    say: bytes = b""
    agree = True
    close = False
    answer: Callable[[bytes], bytes] | None = None

    def __init__(self) -> None:
        self.head = b""
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transports.append(self)

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head += data
            if b"\r\n\r\n" in self.head and self.agree:
                self.transport.write(agreement(self.head) + self.say)
                if self.close:
                    self.transport.close()
            return
        self.received += data


transports: list[Scripted] = []


def agreement(head: bytes) -> bytes:
    key = head.lower().index(b"sec-websocket-key: ") + 19
    digest = hashlib.sha1(head[key : key + 24] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n\r\n"
    )


@pytest.fixture
def script(memory_network: MemoryNetwork) -> type[Scripted]:
    """A class whose attributes say what the server does."""
    transports.clear()

    class Script(Scripted):
        pass

    memory_network.listen("example:80", Script)
    return Script


def plain(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    return frame(opcode, payload, key=None, **options)


def test_frames_behind_the_handshake_are_read(clock: Clock, script: type[Scripted]) -> None:
    script.say = plain(TEXT, b"welcome") + plain(CLOSE, b"\x03\xe9away")
    script.close = True

    async def main() -> list[Any]:
        found: list[Any] = []
        ws = await connect_websocket(URL)
        await asyncio.sleep(5)  # what waits is not lost with the connection
        async for message in ws:
            found += [message]
        return [*found, ws.close_code, ws.close_reason]

    assert go(clock, main()) == ["welcome", 1001, "away"]
    assert clock.pending == []


def test_an_end_without_a_good_bye_is_an_error(clock: Clock, script: type[Scripted]) -> None:
    script.say = plain(TEXT, b"a") + plain(TEXT, b"cut")[:3]
    script.close = True

    async def main() -> list[Any]:
        found: list[Any] = []
        ws = await connect_websocket(URL)
        with pytest.raises(WebSocketClosedError) as caught:
            async for message in ws:
                found += [message]
        return [*found, caught.value.code]

    assert go(clock, main()) == ["a", 1006]


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (frame(TEXT, b"masked"), 1002),
        (plain(TEXT, b"\xff"), 1007),
        (plain(BINARY, b"", size=1 << 40), 1009),
    ],
)
def test_a_server_that_breaks_a_rule_is_told_and_left(
    clock: Clock, script: type[Scripted], engine: Any, say: bytes, code: int
) -> None:
    """HARDENING ws-1, ws-3, ws-4, from the client's side."""
    script.say = plain(TEXT, b"before") + say

    async def main() -> None:
        ws = await connect_websocket(URL, engine=engine)
        assert await ws.receive() == "before"
        with pytest.raises(WebSocketProtocolError) as caught:
            await ws.receive()
        assert caught.value.code == code
        assert ws.close_code == code
        await ws.close()

    go(clock, main())
    (server,) = transports
    assert server.received[:2] == bytes((0x88, server.received[1]))
    assert server.received[1] & 0x80
    key = server.received[2:6]
    said = bytes(a ^ b for a, b in zip(server.received[6:8], key, strict=False))
    assert int.from_bytes(said, "big") == code


def test_each_frame_has_a_key_of_its_own(clock: Clock, script: type[Scripted]) -> None:
    """RFC 6455 §10.3."""

    async def main() -> None:
        ws = await connect_websocket(URL)
        for _ in range(200):
            await ws.send(b"")
        await asyncio.sleep(1)
        ws.transport.abort()

    go(clock, main())
    (server,) = transports
    keys = {server.received[at + 2 : at + 6] for at in range(0, len(server.received), 6)}
    assert len(server.received) == 200 * 6
    assert len(keys) > 190


@pytest.mark.parametrize(
    "answer",
    [
        agreement(b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="),
        b"HTTP/1.1 101 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_server_that_did_not_read_the_key_is_not_believed(
    clock: Clock, script: type[Scripted], answer: bytes
) -> None:
    script.agree = False

    async def main() -> None:
        opening = asyncio.ensure_future(connect_websocket(URL).open())
        await asyncio.sleep(1)
        transports[0].transport.write(answer)
        with pytest.raises(WebSocketRefusedError):
            await opening

    go(clock, main())
    assert clock.pending == []


def test_a_handshake_that_is_not_answered_is_given_up(clock: Clock, script: type[Scripted]) -> None:
    script.agree = False

    async def main() -> None:
        with pytest.raises(RequestTimeoutError):
            await connect_websocket(URL, handshake_timeout=3)

    go(clock, main())
    assert clock.time() < 5


def test_a_server_that_does_not_answer_the_good_bye_is_left(
    clock: Clock, script: type[Scripted]
) -> None:
    timeouts = WebSocketTimeouts(close=2)

    async def main() -> int | None:
        async with connect_websocket(URL, timeouts=timeouts) as ws:
            pass
        return ws.close_code

    assert go(clock, main()) == 1006
    assert clock.time() < 5
    assert clock.pending == []


def test_a_dead_server_is_noticed_by_its_silence(clock: Clock, script: type[Scripted]) -> None:
    async def main() -> int:
        ws = await connect_websocket(URL)
        with pytest.raises(WebSocketClosedError) as caught:
            await ws.receive()
        return caught.value.code

    assert go(clock, main()) == 1006
    assert clock.time() == pytest.approx(40, abs=1)
    assert transports[0].received[0] == 0x89


def test_a_server_that_floods_is_read_no_faster_than_the_program_reads(
    clock: Clock, script: type[Scripted]
) -> None:
    script.say = plain(BINARY, bytes(30_000)) * 10

    async def main() -> None:
        ws = await connect_websocket(URL, limits=WebSocketLimits(waiting=50_000))
        await asyncio.sleep(1)
        assert not ws.transport.is_reading()
        for _ in range(10):
            assert len(await ws.receive()) == 30_000
        assert ws.transport.is_reading()
        ws.transport.abort()

    go(clock, main())


def test_long_messages_are_read_by_pieces(clock: Clock, script: type[Scripted]) -> None:
    script.say = plain(TEXT, b"one ", fin=False) + plain(CONTINUATION, b"two") + plain(TEXT, b"3")

    async def main() -> list[Any]:
        ws = await connect_websocket(URL, pieces=True)
        pieces = [piece async for piece in ws.receive_pieces()]
        found = ["".join(map(str, pieces)), await ws.receive()]
        ws.transport.abort()
        return found

    assert go(clock, main()) == ["one two", "3"]


def test_a_loss_fails_a_sender_that_waits(clock: Clock, script: type[Scripted]) -> None:
    async def main() -> None:
        ws = await connect_websocket(URL)
        transports[0].transport.pause_reading()

        async def flood() -> None:
            while True:
                await ws.send(bytes(50_000))

        task = asyncio.ensure_future(flood())
        await asyncio.sleep(1)
        ws.transport.abort()
        with pytest.raises((ConnectionLost, WebSocketClosedError)):
            await task

    go(clock, main())


def test_two_ends_that_send_at_once_do_not_wait_for_each_other(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Both have more to say than the way between them holds, and both read."""
    memory_network.host("10.0.0.1", name="example")
    site = Site()
    sizes: list[int] = []

    async def both(ws: WebSocket) -> None:
        async def read() -> None:
            for _ in range(20):
                sizes.append(len(await ws.receive()))  # noqa: PERF401 - one by one, as they come

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for _ in range(20):
                await ws.send(bytes(300_000))

    site.websocket("/chat")(both)

    async def main() -> None:
        async with (
            serve("tcp://10.0.0.1:80", site),
            connect_websocket(URL, compression=False) as ws,
        ):
            await both(ws)

    go(clock, main())
    assert sizes == [300_000] * 40
    assert clock.time() < 30
