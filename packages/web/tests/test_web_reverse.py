"""A reverse proxy on a network in memory: streams, failures, retries, upgrades, smuggling."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import Stream, open_stream, serve
from sennit.core.testing.clock import Clock
from sennit.web import (
    HTTPError,
    Limits,
    Request,
    Response,
    Site,
    WebUsageError,
    http_server,
    text,
)
from sennit.web.answering import ResponseWriter
from sennit.web.client.limits import ClientTimeouts
from sennit.web.proxy.checks import HealthCheck
from sennit.web.proxy.forwarded import Forwarder
from sennit.web.proxy.health import HealthRules
from sennit.web.proxy.reverse import ReverseProxy
from sennit.web.proxy.upstream import HashBy, Upstream, Upstreams

if TYPE_CHECKING:
    from sennit.core.testing.network import MemoryNetwork

Handler = Callable[[Request], Any]
Came = tuple[int, dict[str, str], bytes]


class Scene:
    """A proxy at ``front:80`` before the upstreams that a test has begun."""

    def __init__(self, network: MemoryNetwork, clock: Clock) -> None:
        self.network = network
        self.clock = clock
        self.next = 1
        self.programs: list[tuple[Any, Callable[[], Any]]] = []

    def upstream(self, name: str, handler: Handler) -> None:
        """Serve a handler at ``http://NAME:8000``."""
        self.upstream_protocol(name, http_server(handler, limits=Limits(body=10**12)))

    def upstream_protocol(self, name: str, factory: Any) -> None:
        self.next += 1
        host = self.network.host(f"10.0.0.{self.next}", name=name)
        self.programs.append((host, lambda: self._serve("tcp://0.0.0.0:8000", factory)))

    def upstream_raw(self, name: str, handle: Callable[[Stream], Awaitable[object]]) -> None:
        """Serve octets."""
        from sennit.core.stream import stream_handler

        async def run(stream: Stream) -> None:
            await handle(stream)

        self.upstream_protocol(name, stream_handler(run))

    async def _serve(self, url: str, factory: Any) -> None:
        async with serve(url, factory) as server:
            await server.wait_closed()

    def front(self, handler: Any, **options: Any) -> None:
        host = self.network.host("10.0.1.1", name="front")

        async def main() -> None:
            async with handler:
                options.setdefault("limits", Limits(body=10**12))
                await self._serve("tcp://0.0.0.0:80", http_server(handler, **options))

        self.programs.append((host, main))

    def run(self, main: Callable[[], Awaitable[object]]) -> None:
        """Run a client, and what else there is beside it."""

        async def begin(_: Clock) -> None:
            create = asyncio.get_running_loop().create_task
            running = [create(each(), context=host.context()) for host, each in self.programs]
            try:
                await main()
            finally:
                for task in running:
                    task.cancel()
                if running:
                    await asyncio.wait(running)

        self.clock.run(begin)


@pytest.fixture
def scene(memory_network: MemoryNetwork, clock: Clock) -> Scene:
    return Scene(memory_network, clock)


async def read_response(stream: Stream, *, head_only: bool = False) -> Came:
    """The next response: status, fields, content with its framing taken off."""
    head = (await stream.read_until(b"\r\n\r\n", 65536)).decode("latin-1")
    first, *lines = head.split("\r\n")
    fields: dict[str, str] = {}
    for each in lines:
        name, _, value = each.partition(": ")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    status = int(first.split()[1])
    content = b""
    if head_only or status < 200 or status in (204, 304):
        pass
    elif "content-length" in fields:
        content = await stream.read_exactly(int(fields["content-length"]))
    elif fields.get("transfer-encoding") == "chunked":
        while size := int(await stream.read_line(), 16):
            content += await stream.read_exactly(size)
            await stream.read_line()
        while line := await stream.read_line():
            name, _, value = line.decode().partition(": ")
            fields["trailer " + name] = value
    return status, fields, content


async def ask(data: str | bytes, **options: Any) -> Came:
    """Send one request to the proxy; what comes back."""
    async with await open_stream("tcp://front:80") as stream:
        await stream.send_all(data.encode() if isinstance(data, str) else data)
        return await read_response(stream, **options)


GET = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


def get(target: str, *lines: str, method: str = "GET") -> str:
    more = "".join(f"{each}\r\n" for each in lines)
    return f"{method} {target} HTTP/1.1\r\nHost: example.com\r\n{more}\r\n"


def tell(request: Request) -> Response:
    """What came, as lines."""
    lines = [f"{request.method} {request.head.target.decode()}"]
    lines += [f"{name.decode()}: {value.decode('latin-1')}" for name, value in request.headers]
    return text("\n".join(lines))


def say(what: str, request: Request) -> Response:
    """Answer every request with the same."""
    return text(what)


# ── there and back ────────────────────────────────────────────────────────────


def test_a_request_goes_on_rewritten_and_its_answer_comes_back(scene: Scene) -> None:
    scene.upstream("one", tell)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        status, fields, content = await ask(
            get(
                "/a%20b/c?q=1", "Connection: keep-alive, X-Mine", "X-Mine: 1", "Cookie: a=b",
                "X-Forwarded-For: 127.0.0.1", "X_Real_IP: 127.0.0.1", "Via: 1.0 far",
            )
        )  # fmt: skip
        assert status == 200
        assert fields["via"] == "1.1 sennit"
        assert content.decode().split("\n") == [
            "GET /a%20b/c?q=1", "host: example.com", "cookie: a=b", "via: 1.0 far, 1.1 sennit",
            "x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http",
            "x-forwarded-host: example.com",
        ]  # fmt: skip

    scene.run(main)


def test_host_and_forwarding_are_as_told(scene: Scene) -> None:
    scene.upstream("one", tell)
    upstream = Upstream("http://one:8000/base")
    options: dict[str, Any] = {"forwarder": Forwarder(["forwarded"]), "via": None}
    scene.front(ReverseProxy([upstream], host="upstream", prefix="/shop", **options))

    async def main() -> None:
        status, fields, content = await ask(get("/shop/cart"))
        assert content.decode().split("\n") == [
            "GET /base/cart", "host: one:8000", "via: 1.1 sennit",
            'forwarded: for=192.0.2.1;proto=http;host="example.com"',
        ]  # fmt: skip
        assert "via" not in fields
        assert (await ask(get("/elsewhere")))[0] == 404
        assert (await ask(get("/shop/../admin")))[0] == 400
        assert status == 200

    scene.run(main)


def test_a_proxy_is_a_resource_too(scene: Scene) -> None:
    scene.upstream("one", tell)
    site = Site()
    proxy = ReverseProxy(["http://one:8000"], prefix="/shop", host="other.example")
    site.put_child("shop", proxy)

    async def main() -> None:
        async with proxy, serve("tcp://127.0.0.1:80", site):
            stream = await open_stream("tcp://127.0.0.1:80")
            await stream.send_all(get("/shop/a/b", method="DELETE").encode())
            _, _, content = await read_response(stream)
            assert content.startswith(b"DELETE /a/b\nhost: other.example\n")
            await stream.aclose()

    scene.run(main)


def test_answers_without_content_keep_their_fields(scene: Scene) -> None:
    def answer(request: Request) -> Response:
        if request.path == "/304":
            return Response(b"", 304, {"etag": '"a"'})
        if request.path == "/204":
            return Response(b"", 204, {"x-y": "z"})
        return text("12345", headers={"x-y": "z"})

    scene.upstream("one", answer)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            await stream.send_all(get("/", method="HEAD").encode())
            status, fields, _ = await read_response(stream, head_only=True)
            assert (status, fields["content-length"], fields["x-y"]) == (200, "5", "z")
            await stream.send_all(get("/304").encode())
            status, fields, _ = await read_response(stream)
            assert (status, fields["etag"]) == (304, '"a"')
            await stream.send_all(get("/204").encode())
            assert (await read_response(stream))[0] == 204
            await stream.send_all(get("/").encode())
            assert (await read_response(stream))[2] == b"12345"

    scene.run(main)


def test_nothing_is_said_of_a_length_that_the_upstream_has_not_told(scene: Scene) -> None:
    """To HEAD, content-length: 0 would say that GET has no content (RFC 9110 §8.6)."""

    async def answer(stream: Stream) -> None:
        await stream.read_until(b"\r\n\r\n", 65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.read_until(b"\r\n\r\n", 65536)

    scene.upstream_raw("one", answer)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            await stream.send_all(get("/", method="HEAD").encode())
            status, fields, _ = await read_response(stream, head_only=True)
            assert status == 200
            assert "content-length" not in fields

    scene.run(main)


def test_content_and_trailers_pass_in_both_directions(scene: Scene) -> None:
    async def echo(request: Request) -> Response:
        content = await request.read()
        end: Any = request.body.end
        trailers = [*end.trailers, (b"x-end", b"2"), (b"content-type", b"evil/x")]

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 3):
                yield content[at : at + 3]
                await asyncio.sleep(0.01)

        return Response(pieces(), trailers=trailers)

    scene.upstream("one", echo)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        data = head + "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trail: 1\r\n\r\n"
        status, fields, content = await ask(data)
        assert (status, content) == (200, b"hello world")
        assert (fields["trailer x-trail"], fields["trailer x-end"]) == ("1", "2")
        assert "trailer content-type" not in fields
        _, _, content = await ask(get("/", "Content-Length: 5", method="POST") + "hello")
        assert content == b"hello"

    scene.run(main)


def test_interim_responses_pass_and_100_comes_when_the_upstream_wants_the_content(
    scene: Scene,
) -> None:
    async def answer(request: Request) -> Response:
        request.early_hints("</style.css>; rel=preload")
        if request.path == "/refuse":
            raise HTTPError(403)
        await asyncio.sleep(0.2)
        return text((await request.read()).decode())

    scene.upstream("one", answer)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            head = get("/", "Expect: 100-continue", "Content-Length: 5", method="PUT")
            await stream.send_all(head.encode())
            status, fields, _ = await read_response(stream)
            assert (status, fields["link"]) == (103, "</style.css>; rel=preload")
            assert (await read_response(stream))[0] == 100
            await stream.send_all(b"hello")
            assert (await read_response(stream))[2] == b"hello"
        async with await open_stream("tcp://front:80") as stream:
            head = get("/refuse", "Expect: 100-continue", "Content-Length: 5", method="PUT")
            await stream.send_all(head.encode())
            assert (await read_response(stream))[0] == 103
            assert (await read_response(stream))[0] == 403

    scene.run(main)


def test_what_comes_slowly_is_passed_on_as_it_comes(scene: Scene) -> None:
    """Nothing is buffered: server-sent events go through."""

    async def events(request: Request) -> None:
        writer = request.start(200, {"content-type": "text/event-stream"})
        writer.flush()
        for n in range(3):
            await asyncio.sleep(5)
            await writer.write(b"data: %d\n\n" % n)
        writer.end()

    scene.upstream("one", events)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            before = scene.clock.time()
            await stream.send_all(GET.encode())
            head = await stream.read_until(b"\r\n\r\n")
            assert b"text/event-stream" in head
            assert scene.clock.time() - before < 1
            for n in range(3):
                assert await stream.read_line() == b"9"
                assert await stream.read_exactly(11) == b"data: %d\n\n\r\n" % n
                assert scene.clock.time() - before == pytest.approx(5 * (n + 1), abs=0.5)

    scene.run(main)


def test_a_slow_reader_slows_the_upstream_down_and_memory_stays(scene: Scene) -> None:
    """HARDENING fault-15: neither direction is held in the proxy."""
    sent = taken = 0

    async def download(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(1000):
                yield bytes(64 * 1024)
                sent += 64 * 1024

        return Response(pieces())

    async def upload(request: Request) -> Response:
        nonlocal taken
        async for piece in request.body:
            taken += len(piece)
            if taken > 100_000:
                await asyncio.sleep(3600)
        return text("done")

    scene.upstream("one", lambda r: upload(r) if r.method == "PUT" else download(r))
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        stream = await open_stream("tcp://front:80")
        await stream.send_all(GET.encode())
        await stream.receive_some(1)
        await asyncio.sleep(30)
        assert sent < 2 * 1024 * 1024
        stream.abort()
        stream = await open_stream("tcp://front:80")
        await stream.send_all(get("/", "Content-Length: 1000000000", method="PUT").encode())
        given = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                while True:
                    await stream.send_all(bytes(64 * 1024))
                    given += 64 * 1024
        assert given < 3 * 1024 * 1024
        stream.abort()

    scene.run(main)


# ── requests that are refused, or must not be two ─────────────────────────────


def test_what_is_smuggled_never_reaches_the_upstream(scene: Scene) -> None:
    """HARDENING h1-1 to h1-5 behind a proxy: framing is ours on both sides."""
    seen: list[str] = []

    async def note(request: Request) -> Response:
        seen.append(f"{request.method} {request.path} {(await request.read()).decode()!r}")
        return text("ok")

    scene.upstream("one", note)
    scene.front(ReverseProxy(["http://one:8000"]))
    inner = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"

    async def main() -> None:
        for lines in (
            ["Content-Length: 4", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: xchunked"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            ["Content-Length: 4", "Content-Length: 5"],
            ["Upgrade: websocket", "Connection: upgrade", f"Content-Length: {len(inner)}"],
        ):
            await ask(get("/", *lines, method="POST") + inner)
        _, _, content = await ask(
            get("/", "Connection: content-length", f"Content-Length: {len(inner)}", method="POST")
            + inner
        )
        assert content == b"ok"
        assert all("/admin" not in each.partition(" '")[0] for each in seen)

    scene.run(main)


def test_trace_and_connect_are_not_handed_on_and_forwards_are_counted(scene: Scene) -> None:
    scene.upstream("one", tell)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        assert (await ask(get("/", method="TRACE")))[0] == 405
        connect = "CONNECT one:22 HTTP/1.1\r\nHost: one:22\r\n\r\n"
        assert (await ask(connect))[0] == 405
        assert (await ask(get("/", "Max-Forwards: 0", method="OPTIONS")))[0] == 204
        _, _, content = await ask(get("*", "Max-Forwards: 5", method="OPTIONS"))
        assert content.startswith(b"OPTIONS *\n")
        assert b"\nmax-forwards: 4\n" in content
        status, _, _ = await ask(get("/", "Via: " + ", ".join(["1.1 sennit"] * 20)))
        assert status == 508

    scene.run(main)


def test_content_that_is_too_large_is_refused_as_everywhere(scene: Scene) -> None:
    scene.upstream("one", lambda request: request.read())
    scene.front(ReverseProxy(["http://one:8000"]), limits=Limits(body=10))

    async def main() -> None:
        big = get("/", "Content-Length: 11", method="POST") + "x" * 11
        assert (await ask(big))[0] == 413
        chunked = get("/", "Transfer-Encoding: chunked", method="POST")
        assert (await ask(chunked + "b\r\nxxxxxxxxxxx\r\n0\r\n\r\n"))[0] == 413

    scene.run(main)


# ── upstreams that fail ───────────────────────────────────────────────────────


def test_one_that_is_not_there_is_passed_over_and_left_alone_for_a_while(scene: Scene) -> None:
    scene.network.host("10.0.0.100", name="gone")
    scene.upstream("one", lambda request: text("one"))
    upstreams = Upstreams(
        ["http://gone:8000", "http://one:8000"], health=HealthRules(fall=2, pause=30)
    )
    scene.front(ReverseProxy(upstreams))
    gone, one = upstreams

    async def main() -> None:
        for _ in range(10):
            put = get("/", "Content-Length: 2", method="POST") + "hi"
            assert (await ask(put))[2] == b"one"
        assert (gone.failed, one.served) == (2, 10)
        assert one.open == gone.open == 0
        await asyncio.sleep(30)
        assert (await ask(GET))[2] == b"one"
        assert (await ask(GET))[2] == b"one"
        assert gone.failed == 3

    scene.run(main)


def test_an_answer_that_never_begins_is_asked_for_elsewhere_where_that_is_safe(
    scene: Scene,
) -> None:
    """RFC 9110 §9.2.2."""
    came: list[bytes] = []

    async def drop(stream: Stream) -> None:
        came.append(await stream.read_until(b"\r\n\r\n"))
        stream.abort()

    scene.upstream_raw("bad", drop)

    async def good(request: Request) -> Response:
        return text(f"{request.method} {len(await request.read())}")

    scene.upstream("one", good)
    rules = HealthRules(fall=1000)

    def upstreams() -> Upstreams:
        # The bad one is always asked first.
        return Upstreams(
            [
                Upstream("http://bad:8000", health=rules),
                Upstream("http://one:8000", backup=True, health=rules),
            ]
        )

    scene.front(ReverseProxy(upstreams(), kept_content=1000))

    async def main() -> None:
        assert (await ask(GET))[2] == b"GET 0"
        put = get("/", "Content-Length: 500", method="PUT") + "x" * 500
        assert (await ask(put))[2] == b"PUT 500"
        # Not to be repeated: its method, or content that has gone by.
        post = get("/", "Content-Length: 2", method="POST") + "hi"
        assert (await ask(post))[0] == 502
        large = get("/", "Content-Length: 5000", method="PUT") + "x" * 5000
        assert (await ask(large))[0] == 502
        assert len(came) == 4

    scene.run(main)


def test_statuses_that_count_as_failures_are_asked_for_elsewhere(scene: Scene) -> None:
    scene.upstream("bad", lambda request: text("overloaded", 503))
    scene.upstream("one", lambda request: text("one"))
    proxy = ReverseProxy(
        [Upstream("http://bad:8000"), Upstream("http://one:8000", backup=True)],
        retry_statuses={503},
    )
    scene.front(proxy)

    async def main() -> None:
        assert (await ask(GET))[2] == b"one"
        post = get("/", "Content-Length: 2", method="POST") + "hi"
        status, _, content = await ask(post)
        assert (status, content) == (503, b"overloaded")

    scene.run(main)


def test_what_an_upstream_does_wrong_has_a_status_of_its_own(scene: Scene) -> None:
    async def nonsense(stream: Stream) -> None:
        await stream.read_until(b"\r\n\r\n")
        await stream.send_all(b"SSH-2.0-x\r\n")
        await asyncio.sleep(3600)

    async def silence(stream: Stream) -> None:
        await asyncio.sleep(3600)

    async def split(stream: Stream) -> None:
        await stream.read_until(b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nX: a\rb\r\ncontent-length: 0\r\n\r\n")

    for name, handle in (("nonsense", nonsense), ("silence", silence), ("split", split)):
        scene.upstream_raw(name, handle)
    site = Site()
    proxies = {
        name: ReverseProxy([f"http://{name}:8000"], timeouts=ClientTimeouts(read=5.0))
        for name in ("nonsense", "silence", "split", "nowhere")
    }
    for name, proxy in proxies.items():
        site.put_child(name, proxy)

    async def main() -> None:
        async with serve("tcp://127.0.0.1:80", site):
            for name, status in (
                ("nonsense", 502), ("silence", 504), ("split", 502), ("nowhere", 502),
            ):  # fmt: skip
                async with await open_stream("tcp://127.0.0.1:80") as stream:
                    await stream.send_all(get(f"/{name}").encode())
                    found, _, content = await read_response(stream)
                    assert found == status, name
                    assert name.encode() not in content
            for proxy in proxies.values():
                await proxy.aclose()

    scene.run(main)


def test_none_that_is_well_is_503_with_a_time_to_come_back(scene: Scene) -> None:
    scene.front(ReverseProxy(Upstreams(["http://gone:8000"], health=HealthRules(fall=1, pause=20))))

    async def main() -> None:
        assert (await ask(GET))[0] == 502
        status, fields, _ = await ask(GET)
        assert (status, fields["retry-after"]) == (503, "20")

    scene.run(main)


def test_none_with_room_is_503_after_some_waiting(scene: Scene) -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(3)
        return text("slow")

    scene.upstream("one", slow)
    upstreams = Upstreams([Upstream("http://one:8000", most_open=1)], waiting=1)
    scene.front(ReverseProxy(upstreams, patience=5))

    async def main() -> None:
        answers = await asyncio.gather(ask(GET), ask(GET), ask(GET))
        assert sorted(each[0] for each in answers) == [200, 200, 503]
        assert next(iter(upstreams)).open == 0

    scene.run(main)


def test_half_an_answer_is_never_passed_off_as_whole(scene: Scene) -> None:
    async def half(stream: Stream) -> None:
        request = await stream.read_until(b"\r\n\r\n")
        if b"/chunked" in request:
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            await stream.send_all(head + b"5\r\nhello\r\n")
        else:
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await asyncio.sleep(1)
        stream.abort()

    scene.upstream_raw("one", half)
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        for path in ("/chunked", "/length"):
            async with await open_stream("tcp://front:80") as stream:
                await stream.send_all(get(path).encode())
                came = b""
                try:
                    async for piece in stream:
                        came += piece
                except ConnectionError:
                    pass
                assert came.partition(b"\r\n\r\n")[2] in (b"5\r\nhello\r\n", b"hello")

    scene.run(main)


def test_a_client_that_goes_takes_its_request_along(scene: Scene) -> None:
    gone: list[str] = []

    async def slow(request: Request) -> Response:
        try:
            await asyncio.sleep(3600)
        finally:
            gone.append("handler")
        return text("never")

    scene.upstream("one", slow)
    upstreams = Upstreams(["http://one:8000"])
    scene.front(ReverseProxy(upstreams))

    async def main() -> None:
        stream = await open_stream("tcp://front:80")
        await stream.send_all(GET.encode())
        await asyncio.sleep(1)
        assert next(iter(upstreams)).open == 1
        stream.abort()
        await asyncio.sleep(1)
        assert gone == ["handler"]
        upstream = next(iter(upstreams))
        assert (upstream.open, upstream.failed) == (0, 0)

    scene.run(main)


def test_a_client_whose_content_is_broken_is_at_fault_and_not_the_upstream(scene: Scene) -> None:
    async def slow(request: Request) -> Response:
        return text(str(len(await request.read())))

    scene.upstream("one", slow)
    upstreams = Upstreams(["http://one:8000"])
    scene.front(ReverseProxy(upstreams))

    async def main() -> None:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        async with await open_stream("tcp://front:80") as stream:
            await stream.send_all(head.encode() + b"5\r\nhello\r\n")
            await asyncio.sleep(1)
            await stream.send_all(b"nonsense\r\n")
            assert (await read_response(stream))[0] == 400
        await asyncio.sleep(1)
        upstream = next(iter(upstreams))
        assert (upstream.open, upstream.failed) == (0, 0)

    scene.run(main)


# ── checks, keys ──────────────────────────────────────────────────────────────


def test_checks_take_a_sick_upstream_out_and_a_well_one_in(scene: Scene) -> None:
    well = {"one": True, "two": True}

    def serve_as(name: str) -> Handler:
        def answer(request: Request) -> Response:
            if request.path == "/health":
                return text("", 200 if well[name] else 500)
            return text(name)

        return answer

    for name in well:
        scene.upstream(name, serve_as(name))
    check = HealthCheck("/health", interval=1, jitter=0)
    scene.front(ReverseProxy(["http://one:8000", "http://two:8000"], check=check))

    async def main() -> None:
        async def who() -> set[bytes]:
            return {(await ask(GET))[2] for _ in range(4)}

        assert await who() == {b"one", b"two"}
        well["one"] = False
        await asyncio.sleep(5)
        assert await who() == {b"two"}
        well["one"] = True
        await asyncio.sleep(5)
        assert await who() == {b"one", b"two"}

    scene.run(main)


def test_a_cookie_leads_to_the_same_upstream(scene: Scene) -> None:
    for name in ("one", "two", "three"):
        scene.upstream(name, functools.partial(say, name))
    urls = [f"http://{name}:8000" for name in ("one", "two", "three")]
    scene.front(ReverseProxy(Upstreams(urls, policy=HashBy()), key="cookie:id"))

    async def main() -> None:
        found: set[bytes] = set()
        for user in range(12):
            answers = {(await ask(get("/", f"Cookie: id={user}")))[2] for _ in range(3)}
            assert len(answers) == 1
            found |= answers
        assert found == {b"one", b"two", b"three"}

    scene.run(main)
    with pytest.raises(WebUsageError):
        ReverseProxy(urls, key="header:x")


# ── upgrades ──────────────────────────────────────────────────────────────────


def test_an_upgrade_becomes_a_tunnel(scene: Scene) -> None:
    heads: list[bytes] = []

    async def upgrade(stream: Stream) -> None:
        heads.append(await stream.read_until(b"\r\n\r\n"))
        # The first octets of the new protocol come with the answer.
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello"
        )
        async for piece in stream:
            await stream.send_all(piece.upper())
        await stream.send_all(b"bye")

    scene.upstream_raw("one", upgrade)
    upstreams = Upstreams(["http://one:8000"])
    scene.front(ReverseProxy(upstreams))
    asked = get("/chat", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: k")

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            await stream.send_all(asked.encode())
            status, fields, _ = await read_response(stream)
            assert status == 101
            assert fields["upgrade"].lower() == "websocket"
            assert fields["connection"] == "upgrade"
            assert fields["sec-websocket-accept"] == "x"
            assert await stream.read_exactly(5) == b"hello"
            await stream.send_all(b"abc")
            assert await stream.read_exactly(3) == b"ABC"
            assert next(iter(upstreams)).open == 1
            await stream.send_eof()
            assert await stream.read_exactly(3) == b"bye"
        await asyncio.sleep(1)
        assert next(iter(upstreams)).open == 0
        assert b"upgrade: websocket" in heads[0].lower()
        assert b"sec-websocket-key: k" in heads[0].lower()

    scene.run(main)


def test_an_upgrade_that_is_refused_is_an_answer_like_any_other(scene: Scene) -> None:
    scene.upstream("one", lambda request: text("no", 426))
    scene.front(ReverseProxy(["http://one:8000"]))

    async def main() -> None:
        asked = get("/chat", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: k")
        assert (await ask(asked))[0] == 426
        # What may not be changed over to is not asked for.
        status, _, content = await ask(get("/", "Upgrade: h2c", "Connection: Upgrade"))
        assert (status, content) == (426, b"no")

    scene.run(main)


def test_a_tunnel_in_which_nothing_moves_is_cut(scene: Scene) -> None:
    async def upgrade(stream: Stream) -> None:
        await stream.read_until(b"\r\n\r\n")
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        await asyncio.sleep(3600)

    scene.upstream_raw("one", upgrade)
    upstreams = Upstreams(["http://one:8000"])
    scene.front(ReverseProxy(upstreams, tunnel_idle=60))

    async def main() -> None:
        async with await open_stream("tcp://front:80") as stream:
            asked = get("/", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: k")
            await stream.send_all(asked.encode())
            await read_response(stream)
            before = scene.clock.time()
            with pytest.raises(ConnectionError):
                await stream.read_exactly(1)
            assert 60 <= scene.clock.time() - before <= 130
        assert next(iter(upstreams)).open == 0

    scene.run(main)


def test_an_upstream_over_http2_is_asked_like_any_other(scene: Scene) -> None:
    async def echo(request: Request) -> Response | None:
        writer: ResponseWriter = request.start(200, {"x-version": request.version})
        async for piece in request.body:
            await writer.write(piece)
        writer.end([(b"x-end", b"1")])
        return None

    scene.upstream("one", echo)
    scene.front(ReverseProxy(["http://one:8000"], http2="always"))

    async def main() -> None:
        post = get("/", "Content-Length: 5", method="POST") + "hello"
        status, fields, content = await ask(post)
        assert (status, fields["x-version"], content) == (200, "2", b"hello")
        assert fields["trailer x-end"] == "1"

    scene.run(main)
