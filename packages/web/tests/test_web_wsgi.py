"""WSGI applications in their threads: what they are told, what becomes of what they say."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from sennit.core import serve
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.web import Limits, Request, Site, decode_requests, http_server
from sennit.web.hosting.wsgi import WSGI, FileWrapper, Input

Environ = dict[str, Any]


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncGenerator[int]:
    """A server of one application; its port."""
    handler = WSGI(app, **options)
    async with serve("tcp://127.0.0.1:0", http_server(handler)) as server:
        yield server.port
    handler.close()


async def talk(port: int, *parts: bytes) -> tuple[bytes, bytes]:
    """Send octets on a new connection; the head and the content of what comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        whole = await reader.read()
    except ConnectionResetError:
        whole = b"reset\r\n\r\n"
    writer.close()
    head, _, content = whole.partition(b"\r\n\r\n")
    return head, content


def get(path: str = "/", *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: example.org", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def happens(event: threading.Event) -> None:
    """Wait for what an application does in its thread."""
    assert await current_reactor().defer_to_thread(event.wait, 10)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a client does that has died."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def dechunk(content: bytes) -> bytes:
    found = b""
    while True:
        size, _, content = content.partition(b"\r\n")
        if not int(size, 16):
            return found
        found += content[: int(size, 16)]
        content = content[int(size, 16) + 2 :]


# ── what it is told ───────────────────────────────────────────────────────────


async def test_the_environment_says_what_was_asked() -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Any) -> list[bytes]:
        seen.update(environ)
        seen["content"] = environ["wsgi.input"].read()
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"Hello, ", b"world"]

    headers = [
        "X-One: a", "X-One: b", "Cookie: a=1", "Cookie: b=2", "Content-Type: text/x",
        "Content-Length: 4", "X_One: forged", "Proxy: http://evil.example",
    ]  # fmt: skip
    async with served(app) as port:
        head, content = await talk(
            port, get("/caf%C3%A9/a%2Fb?q=1&r=%20", *headers, method="POST"), b"body"
        )
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 12" in head
    assert content == b"Hello, world"
    assert seen["content"] == b"body"
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/caf\xc3\xa9/a/b",
        "QUERY_STRING": "q=1&r=%20",
        "REQUEST_URI": "/caf%C3%A9/a%2Fb?q=1&r=%20",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.org",
        "HTTP_X_ONE": "a,b",
        "HTTP_COOKIE": "a=1; b=2",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert "HTTP_PROXY" not in seen
    assert "HTTP_CONTENT_TYPE" not in seen


async def test_where_it_is_mounted_is_its_script_name() -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]

    site = Site()
    handler = WSGI(app)
    site.put_child("shop", handler)
    async with serve("tcp://127.0.0.1:0", site) as server:
        assert (await talk(server.port, get("/shop")))[1] == b"/shop|"
        assert (await talk(server.port, get("/shop/")))[1] == b"/shop|/"
        assert (await talk(server.port, get("/shop/a%2Fb/c")))[1] == b"/shop|/a/b/c"
    handler.close()


async def test_it_passes_the_validator_of_the_standard_library() -> None:
    """PEP 3333 by `wsgiref.validate`: environment, input, iteration, close."""

    def simple(environ: Environ, start: Any) -> list[bytes]:
        environ["wsgi.errors"].write("a line\n")
        environ["wsgi.errors"].writelines(["another\n"])
        environ["wsgi.errors"].flush()
        content = environ["wsgi.input"].read(3)
        content += environ["wsgi.input"].readline(2)
        content += b"".join(environ["wsgi.input"].readlines(1))
        content += b"".join(environ["wsgi.input"])
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
        return [content]

    async with served(validator(simple)) as port:
        for headers, parts in (
            (["Content-Length: 12"], [b"a\nbcd\nefghi\n"]),
            (["Transfer-Encoding: chunked"], [b"5\r\na\nbcd\r\n", b"7\r\n\nefghi\n\r\n0\r\n\r\n"]),
            ([], []),
        ):
            method = "POST" if parts else "GET"
            head, content = await talk(port, get("/x?y", *headers, method=method), *parts)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert content == (b"a\nbcd\nefghi\n" if parts else b"")


# ── content ───────────────────────────────────────────────────────────────────


async def test_each_piece_leaves_before_the_next_is_asked_for() -> None:
    """PEP 3333, "Buffering and Streaming": no block is delayed."""
    seen = threading.Event()

    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"first"
        assert seen.wait(5)
        yield b""
        yield b"second"

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get())
        await reader.readuntil(b"first")
        seen.set()
        rest = await reader.read()
        writer.close()
    assert b"second" in rest
    assert rest.endswith(b"0\r\n\r\n")


async def test_an_announced_block_is_a_whole_answer() -> None:
    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "5")])
        yield b"Hello"

    async with served(app) as port:
        head, content = await talk(port, get())
    assert b"transfer-encoding" not in head
    assert content == b"Hello"


async def test_what_is_written_by_hand_comes_first() -> None:
    """PEP 3333, "The write() Callable"."""

    def app(environ: Environ, start: Any) -> list[bytes]:
        write = start("200 OK", [])
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three"]

    async with served(app) as port:
        assert dechunk((await talk(port, get()))[1]) == b"one two three"


async def test_a_file_is_sent_by_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1024)
    closed: list[str] = []

    class File(io.FileIO):
        def close(self) -> None:
            closed.append("file")
            super().close()

    def app(environ: Environ, start: Any) -> Any:
        file = File(path)
        file.seek(256)
        start("200 OK", [])
        return environ["wsgi.file_wrapper"](file, 4096)

    async with served(app) as port:
        before = len(os.listdir("/proc/self/fd"))
        head, content = await talk(port, get())
        assert content == path.read_bytes()[256:]
        assert b"content-length: 261888" in head
        assert closed[0] == "file"
        assert (await talk(port, get(method="HEAD")))[1] == b""
        while len(os.listdir("/proc/self/fd")) > before:
            # Nothing tells when the kernel has sent a file, and the server has closed its copy.
            await asyncio.sleep(0.001)


async def test_what_only_looks_like_a_file_is_read() -> None:
    def app(environ: Environ, start: Any) -> Any:
        start("200 OK", [("Content-Length", "10000")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 10000), 512)

    async with served(app) as port:
        assert (await talk(port, get()))[1] == b"x" * 10000


async def test_content_is_read_while_it_comes() -> None:
    begun = threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        first = environ["wsgi.input"].read(65536)
        begun.set()
        rest = environ["wsgi.input"].read()
        start("200 OK", [])
        return [b"%d %d" % (len(first), len(rest))]

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/", "Content-Length: 300000", method="POST") + b"x" * 70000)
        await happens(begun)
        writer.write(b"y" * 230000)
        assert (await reader.read()).endswith(b"\r\n\r\n65536 234464")
        writer.close()


async def test_a_client_that_waits_is_told_to_go_on_when_content_is_read() -> None:
    """RFC 9110 §10.1.1."""

    def app(environ: Environ, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else b"no"]

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/read", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.read()).endswith(b"\r\n\r\nhi")
        writer.close()
        ask = get("/", "Content-Length: 2", "Expect: 100-continue", method="PUT")
        head, _ = await talk(port, ask)
        assert head.startswith(b"HTTP/1.1 200")


async def test_content_beyond_the_limit_is_refused_and_the_application_told() -> None:
    told: list[BaseException] = []
    begun, done = threading.Event(), threading.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read(10)
            begun.set()
            environ["wsgi.input"].read()
        except Exception as error:
            told.append(error)
            raise
        finally:
            done.set()
        return []

    handler = WSGI(app)
    server = http_server(handler, limits=Limits(body=100_000))
    async with serve("tcp://127.0.0.1:0", server) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        chunk = b"%x\r\n" % 90_000 + b"x" * 90_000 + b"\r\n"
        writer.write(get("/", "Transfer-Encoding: chunked", method="POST") + chunk)
        await happens(begun)
        writer.write(chunk)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        await happens(done)
        writer.close()
    handler.close()
    assert len(told) == 1


async def test_content_that_turns_out_too_much_or_broken_is_the_servers_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The application has not begun to answer, and whatever it makes of it is for nobody."""

    def app(environ: Environ, start: Any) -> list[bytes]:
        with contextlib.suppress(OSError):
            environ["wsgi.input"].read()
        start("500 Oops", [])
        return [b"oops"]

    handler = WSGI(app)
    site = Site(wrappers=[decode_requests()])
    site.mount("/", handler, limit=10)
    chunked = b"b\r\n12345678901\r\n0\r\n\r\n"
    ask = ["Transfer-Encoding: chunked"]
    async with serve("tcp://127.0.0.1:0", site) as server:
        head, _ = await talk(server.port, get("/", *ask, method="POST"), chunked)
        assert head.startswith(b"HTTP/1.1 413 ")
        ask.append("Content-Encoding: gzip")
        head, _ = await talk(server.port, get("/", *ask, method="POST"), b"5\r\n12345\r\n0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
    handler.close()
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


# ── rules ─────────────────────────────────────────────────────────────────────


def _twice(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [])
    start("200 OK", [])
    return []


def _never(environ: Environ, start: Any) -> list[bytes]:
    return [b"x"]


def _hop(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Connection", "close")])
    return []


def _split(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("X-A", "b\r\nX-C: d")])
    return []


def _status(environ: Environ, start: Any) -> list[bytes]:
    start("OK", [])
    return []


def _text(environ: Environ, start: Any) -> Any:
    start("200 OK", [])
    return ["text"]


def _text_later(environ: Environ, start: Any) -> Any:
    start("200 OK", [])
    yield "text"


def _too_much(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Length", "1")])
    return [b"12"]


def _too_little(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Length", "5")])
    return [b"12"]


def _odd_length(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Length", "+5")])
    return [b"12345"]


def _raises(environ: Environ, start: Any) -> list[bytes]:
    raise RuntimeError("secret")


def _raises_after(environ: Environ, start: Any) -> list[bytes]:
    start("200 OK", [])
    raise RuntimeError("secret")


def _exits(environ: Environ, start: Any) -> list[bytes]:
    raise SystemExit(3)


@pytest.mark.parametrize(
    "app",
    [
        _twice, _never, _hop, _split, _status, _text, _text_later, _too_much, _too_little,
        _odd_length, _raises, _raises_after, _exits,
    ],
)  # fmt: skip
async def test_what_breaks_the_rules_is_answered_500_without_a_traceback(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING app-1: nothing has left, so the page says so; one record of the log does."""
    async with served(app) as port:
        with caplog.at_level(logging.ERROR):
            head, content = await talk(port, get())
    assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert content == b"500 Internal Server Error\n"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_that_fails_on_its_way_is_cut(
    announced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING app-1: the connection is reset, so that nobody takes it for whole."""

    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "1000")] if announced else [])
        yield b"first"
        raise RuntimeError("secret")

    async with served(app) as port:
        with caplog.at_level(logging.ERROR):
            head, content = await talk(port, get())
    assert not content.endswith(b"0\r\n\r\n")
    assert len(content) < 100
    assert len(caplog.records) == 1
    assert head


async def test_less_than_was_announced_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "10")])
        yield b"first"

    async with served(app) as port:
        with caplog.at_level(logging.ERROR):
            await talk(port, get())
            head, content = await talk(port, get(method="HEAD"))
    assert "5 octets less than Content-Length said" in caplog.text
    assert b"content-length: 10" in head
    assert content == b""


async def test_an_error_page_may_take_the_place_of_what_has_not_left() -> None:
    """PEP 3333, exc_info."""

    def app(environ: Environ, start: Any) -> list[bytes]:
        import sys

        start("200 OK", [("X-A", "b")])
        try:
            raise RuntimeError("secret")
        except RuntimeError:
            start("503 Later Please", [], sys.exc_info())
        return [b"sorry"]

    async with served(app) as port:
        head, content = await talk(port, get())
    assert head.startswith(b"HTTP/1.1 503 Later Please\r\n")
    assert b"x-a" not in head
    assert content == b"sorry"


async def test_too_late_for_an_error_page_the_error_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def app(environ: Environ, start: Any) -> Iterator[bytes]:
        import sys

        start("200 OK", [])
        yield b"first"
        try:
            raise KeyError("first error")
        except KeyError:
            start("500 Oops", [], sys.exc_info())

    async with served(app) as port:
        with caplog.at_level(logging.ERROR):
            await talk(port, get())
    assert "first error" in caplog.text


async def test_what_goes_to_wsgi_errors_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: Any) -> list[bytes]:
        print("a", "line", file=environ["wsgi.errors"])
        environ["wsgi.errors"].write("no line yet")
        environ["wsgi.errors"].flush()
        start("204 No Content", [])
        return []

    async with served(app) as port:
        with caplog.at_level(logging.ERROR):
            await talk(port, get())
    assert [each.getMessage() for each in caplog.records] == ["a line", "no line yet"]


# ── the end ───────────────────────────────────────────────────────────────────


class Closing:
    """An endless iterable that says when it is closed."""

    def __init__(self, block: bytes = b"x" * 10_000) -> None:
        self.block = block
        self.asked = 0
        self.closed = threading.Event()

    def __iter__(self) -> Closing:
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        return self.block

    def close(self) -> None:
        self.closed.set()


async def test_a_client_that_does_not_read_keeps_the_application_waiting() -> None:
    found: list[Closing] = []

    def app(environ: Environ, start: Any) -> Closing:
        start("200 OK", [])
        found.append(Closing())
        return found[-1]

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        writer.write(get())
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != found[0].asked:
            before = found[0].asked
            # Nothing tells that it waits, other than that it asks no more.
            await asyncio.sleep(0.1)
        # What the sockets of both sides take, and what may wait here; not one piece more.
        assert before < 2000
        writer.transport.abort()
        await happens(found[0].closed)
    assert found[0].asked <= before + 100


async def test_when_the_client_leaves_iteration_stops_and_the_iterable_is_closed() -> None:
    found = Closing(b"x")

    def app(environ: Environ, start: Any) -> Closing:
        start("200 OK", [])
        return found

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await happens(found.closed)


async def test_head_stops_the_iteration_at_once() -> None:
    found = Closing()

    def app(environ: Environ, start: Any) -> Closing:
        start("200 OK", [])
        return found

    async with served(app) as port:
        head, content = await talk(port, get(method="HEAD"))
        assert head.startswith(b"HTTP/1.1 200")
        assert content == b""
        await happens(found.closed)


async def test_iterables_are_closed_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    """PEP 3333: close() is called, also when the application has failed."""
    closed: list[str] = []

    class Body:
        def __init__(self, what: str) -> None:
            self.what = what

        def __iter__(self) -> Iterator[bytes]:
            if self.what == "fail":
                raise RuntimeError("no")
            yield b"x"

        def close(self) -> None:
            closed.append(self.what)

    def app(environ: Environ, start: Any) -> Body:
        start("200 OK", [])
        return Body(environ["PATH_INFO"][1:])

    async with served(app) as port:
        await talk(port, get("/good"))
        await talk(port, get("/fail"))
    assert closed == ["good", "fail"]


async def test_a_starved_pool_queues_then_refuses(reactor: Reactor) -> None:
    """HARDENING app-3: 20 threads and 100 in the queue by default, then 503 and Retry-After."""
    gate = threading.Event()
    begun = threading.Semaphore(0)

    def app(environ: Environ, start: Any) -> list[bytes]:
        begun.release()
        assert gate.wait(10)
        start("200 OK", [])
        return [b"done"]

    def hello(request: Request) -> Any:
        from sennit.web import text

        return text("other")

    async with (
        served(app, threads=2, queue=3) as port,
        serve("tcp://127.0.0.1:0", http_server(hello)) as other,
    ):
        asked = [_ask(port) for _ in range(2)]
        for _ in range(2):
            await reactor.defer_to_thread(begun.acquire)
        asked += [_ask(port) for _ in range(3)]
        # They are in the queue once one more is refused.
        while True:
            head, _ = await asyncio.wait_for(asyncio.shield(last := _ask(port)), 10)
            if head.startswith(b"HTTP/1.1 503"):
                break
            asked.append(last)  # pragma: no cover - it came before one of the three
        assert b"retry-after: 1" in head
        assert (await talk(other.port, get()))[1] == b"other"
        gate.set()
        for each in asked:
            assert (await each)[1] == b"done"
    assert (WSGI(app).pool.size, WSGI(app).pool.queue) == (20, 100)


def _ask(port: int) -> asyncio.Future[tuple[bytes, bytes]]:
    return asyncio.ensure_future(talk(port, get()))


async def test_who_leaves_while_waiting_for_a_thread_is_not_served(reactor: Reactor) -> None:
    begun, gate = threading.Event(), threading.Event()
    paths: list[str] = []
    waits, left = asyncio.Event(), asyncio.Event()

    def app(environ: Environ, start: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        begun.set()
        assert gate.wait(10)
        start("200 OK", [])
        return []

    class Told(WSGI):
        def render(self, request: Request) -> Any:
            answer = super().render(request)
            # The first waits for its thread too, for a moment.
            if request.path == "/second":
                waits.set()
            return answer

        def forget(self, queued: Any) -> None:
            super().forget(queued)
            left.set()

    handler = Told(app, threads=1)
    async with serve("tcp://127.0.0.1:0", http_server(handler)) as server:
        first = asyncio.ensure_future(talk(server.port, get("/first")))
        await happens(begun)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/second"))
        await asyncio.wait_for(waits.wait(), 10)
        assert handler.pool.waiting == 1
        reset(writer)
        await asyncio.wait_for(left.wait(), 10)
        assert handler.pool.waiting == 0
        gate.set()
        await first
    handler.close()
    assert paths == ["/first"]


def test_an_input_is_a_file_to_whoever_reads_it() -> None:
    pieces = iter([b"ab", b"c\nd", b""])
    file = io.BufferedReader(Input(lambda: next(pieces)))
    assert file.readline() == b"abc\n"
    assert file.read(0) == b""
    assert file.read() == b"d"
    assert file.read() == b""


def test_a_wrapped_file_is_iterable_and_closed() -> None:
    wrapped = FileWrapper(io.BytesIO(b"abcde"), 2)
    assert [*wrapped] == [b"ab", b"cd", b"e"]
    wrapped.close()
    assert not hasattr(FileWrapper(object()), "close")


def test_it_says_what_it_is() -> None:
    fn: Callable[..., Any] = _never
    assert repr(WSGI(fn)).startswith("<WSGI <function _never")
