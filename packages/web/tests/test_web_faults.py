"""The server under faults: resets at every octet, bugs, slow peers, many of them.

Signals under load stand in ``interop/test_web_signals.py``. The long forms are marked ``soak``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import serve
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Limits, Request, Response, Site, StaticFiles, Timeouts, text
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
from sennit.web.http1.server import HTTP1ServerProtocol

if TYPE_CHECKING:
    from sennit.core import Reactor

MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = (
    b"POST /sum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
)
SCRIPTS = [
    GET + GET,
    b"POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET,
    CHUNKED,
    b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /file/f HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9,20-29\r\n\r\n",
]


def site(root: Path | None = None, **options: Any) -> Site:
    found = Site(**options)

    @found.route("/")
    def hello(request: Request) -> Response:
        return text("hello")

    @found.route("/sum", methods=["POST"])
    async def total(request: Request) -> Response:
        size = 0
        async for chunk in request.body:
            size += len(chunk)
        return text(str(size))

    @found.route("/stream")
    async def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 10_000

        return Response(pieces())

    if root is not None:
        found.put_child("file", StaticFiles(root))
    return found


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def protocols() -> int:
    gc.collect()
    return sum(type(each) is HTTP1ServerProtocol for each in gc.get_objects())


def resident() -> int:
    """Octets of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def settle(quiet: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(10):
        while not quiet():
            await asyncio.sleep(0)


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


# ── resets ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", [HTTP1ServerEngine, H11ServerEngine, HTTPToolsServerEngine])
async def test_a_reset_behind_any_octet_of_a_script_leaves_nothing_behind(
    engine: Any, tmp_path: Path, reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7."""
    (tmp_path / "f").write_bytes(b"x" * 100)
    async with serve("tcp://127.0.0.1:0", site(tmp_path, engine=engine)) as server:

        def play() -> None:
            for script in SCRIPTS:
                for at in range(len(script) + 1):
                    sock = connect(server.port)
                    sock.sendall(script[:at])
                    if at == len(script):
                        assert sock.recv(100).startswith(b"HTTP/1.1 20")
                    reset(sock)

        def warm_up() -> None:
            with connect(server.port) as sock:
                sock.sendall(SCRIPTS[-1][:-2] + b"Connection: close\r\n\r\n")
                while sock.recv(1000):
                    pass

        await reactor.defer_to_thread(warm_up)
        await settle(lambda: protocols() == 0)
        before = open_descriptors()
        await reactor.defer_to_thread(play)
        await settle(lambda: open_descriptors() <= before)
        await settle(lambda: protocols() == 0)
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


# ── bugs ──────────────────────────────────────────────────────────────────────


class Odd(BaseException):
    """Nothing that anybody catches."""


@pytest.mark.parametrize(
    "kind", [ValueError, asyncio.CancelledError, GeneratorExit, MemoryError, Odd]
)
@pytest.mark.parametrize("where", ["plain", "coroutine", "late", "broken"])
async def test_an_exception_in_a_handler_ends_its_request_and_nothing_else(
    kind: type[BaseException], where: str, reactor: Reactor
) -> None:
    """HARDENING fault-10: `BaseException`s too, and those at the next connection go on."""
    found = site()

    @found.route("/plain")
    def plain(request: Request) -> Response:
        raise kind

    @found.route("/coroutine")
    async def coroutine(request: Request) -> Response:
        raise kind

    @found.route("/late")
    async def late(request: Request) -> Response:
        await asyncio.sleep(0)
        raise kind

    @found.route("/broken")
    async def broken(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            raise kind

        return Response(pieces())

    async with serve("tcp://127.0.0.1:0", found) as server:

        def ask() -> tuple[bytes, bytes]:
            with connect(server.port) as other, connect(server.port) as sock:
                other.sendall(GET)
                assert other.recv(1000).endswith(b"hello")
                sock.sendall(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % where.encode())
                try:
                    got = sock.recv(1000)
                except ConnectionResetError:
                    got = b""
                other.sendall(GET)
                return got, other.recv(1000)

        got, others = await reactor.defer_to_thread(ask)
        assert others.endswith(b"hello")
        assert not got.endswith(b"0\r\n\r\n")
        assert not got or where == "broken" or got.startswith(b"HTTP/1.1 500 ")


# ── slow and many ─────────────────────────────────────────────────────────────


def test_a_reader_of_a_kibibyte_a_second_does_not_fill_the_memory() -> None:
    """HARDENING fault-15: a source of 1 GiB is asked for what leaves, and for a little more."""
    made = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(1 << 14):
            made += 1 << 16
            yield bytes(1 << 16)

    with Clock(1000.0) as clock:
        server = Site(clock=clock)

        @server.route("/")
        def handler(request: Request) -> Response:
            return Response(source())

        protocol = server.build_protocol(None)
        transport = RecordingTransport(protocol)
        transport.block()
        clock.call_soon(transport.receive, GET)
        clock.pump()
        taken = 0
        for _ in range(300):
            transport.unblock(1024)
            taken += len(transport.take())
            clock.advance(1.0)
            clock.pump()
            assert made <= taken + 64 * 1024 + (2 << 16)
        assert not transport.closed  # it gets on, if slowly
        assert taken >= 300 * 1024
        transport.lose()
        clock.pump()


def test_a_kept_connection_that_is_idle_holds_little() -> None:
    """HARDENING fault-16: at most 12 KiB each; bench_idle.py holds 10 000 against others."""
    ask = GET[:-2] + b"User-Agent: curl/7.88.1\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"
    with Clock(1000.0) as clock:
        server = site(clock=clock)

        def make() -> RecordingTransport:
            transport = RecordingTransport(server.build_protocol(None))
            transport.receive(ask)
            transport.take()
            return transport

        held = [make() for _ in range(10)]
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            held += [make() for _ in range(500)]
            gc.collect()
            each = (tracemalloc.get_traced_memory()[0] - before) / 500
        finally:
            tracemalloc.stop()
        assert each < 8 * 1024  # the recording transport included; a socket's is smaller


async def churn(reactor: Reactor, connections: int) -> None:
    """Connect, talk, and go in every way there is."""
    async with serve("tcp://127.0.0.1:0", site()) as server:

        def some(count: int) -> None:
            for at in range(count):
                sock = connect(server.port)
                sock.sendall(GET if at % 3 else CHUNKED)
                if at % 2:
                    assert sock.recv(1000).startswith(b"HTTP/1.1 200")
                if at % 5 == 0:
                    reset(sock)
                    continue
                if at % 5 == 1:
                    sock.shutdown(socket.SHUT_WR)
                sock.close()

        tenth = connections // 10
        await reactor.defer_to_thread(some, tenth)
        await settle(lambda: protocols() == 0)
        descriptors = open_descriptors()
        before = resident()
        await reactor.defer_to_thread(some, connections - tenth)
        await settle(lambda: protocols() == 0)
        assert open_descriptors() <= descriptors
        assert resident() - before <= 5 * MIB


async def test_connections_that_come_and_go_leave_nothing_behind(reactor: Reactor) -> None:
    """HARDENING fault-17."""
    await churn(reactor, 3000)


@pytest.mark.soak
@pytest.mark.sennit(timeout=3000)
async def test_a_million_connections_that_come_and_go_leave_nothing_behind(
    reactor: Reactor,
) -> None:
    """HARDENING fault-17, whole."""
    await churn(reactor, 1_000_000)


async def transfer(reactor: Reactor, root: Path, size: int) -> None:
    """Up and down, by file and by stream, in memory that does not grow with the size."""
    with open(root / "big", "wb") as file:
        file.truncate(size)
    found = site(root, limits=Limits(body=size), timeouts=Timeouts())

    @found.route("/down")
    def down(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(size >> 16):
                yield bytes(1 << 16)

        return Response(pieces(), headers={"content-length": str(size)})

    async with serve("tcp://127.0.0.1:0", found) as server:

        def fetch(path: bytes) -> int:
            with connect(server.port) as sock:
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
                got = 0
                while data := sock.recv(1 << 18):
                    got += len(data)
                return got

        def send() -> bytes:
            with connect(server.port) as sock:
                sock.sendall(
                    b"POST /sum HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n" % size
                )
                block = bytes(1 << 18)
                for _ in range(size >> 18):
                    sock.sendall(block)
                return sock.recv(1000)

        await reactor.defer_to_thread(fetch, b"/stream")
        before = resident()
        assert await reactor.defer_to_thread(fetch, b"/file/big") > size
        assert await reactor.defer_to_thread(fetch, b"/down") > size
        assert (await reactor.defer_to_thread(send)).endswith(b"\r\n\r\n%d" % size)
        assert resident() - before <= 8 * MIB


async def test_64_mebibytes_go_up_and_down_in_constant_memory(
    reactor: Reactor, tmp_path: Path
) -> None:
    """HARDENING fault-15."""
    await transfer(reactor, tmp_path, 64 * MIB)


@pytest.mark.soak
@pytest.mark.sennit(timeout=3000)
async def test_a_gibibyte_goes_up_and_down_in_constant_memory(
    reactor: Reactor, tmp_path: Path
) -> None:
    """HARDENING fault-15, whole."""
    await transfer(reactor, tmp_path, 1024 * MIB)
