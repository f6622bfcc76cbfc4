"""Peers that do not read, on real sockets (HARDENING core-7, core-8, core-9, fault-15)."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectionLost, LimitReachedError
from sennit.core.framing.line import LineProtocol
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.stream import Stream, StreamProtocol, pump, stream_handler
from sennit.core.testing.loopback import LoopbackPair, loopback_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from sennit.core.interfaces import IStreamTransport
    from sennit.core.testing.loopback import Kind

KINDS: tuple[Kind, ...] = ("tcp", "unix")
KERNEL = 1024 * 1024
"""Octets that the kernel's buffers hold at most between two ends set to 4 096."""


def run(main: Callable[[Reactor], Awaitable[Any]]) -> Any:
    reactor = Reactor()
    try:

        async def limited(reactor: Reactor) -> Any:
            async with asyncio.timeout(20):
                return await main(reactor)

        return reactor.run(limited, handle_signals=False)
    finally:
        reactor.close()


def connect(first: Protocol, second: Protocol, kind: Kind) -> LoopbackPair:
    return loopback_pair(first, second, kind, buffer=4096)


class End(Protocol):
    """Says when the connection has gone."""

    def __init__(self) -> None:
        self.received = 0
        self.gone: Deferred[Exception | None] = Deferred()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.callback(exc)


class Producer(End):
    """Writes as long as it may."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.left = total
        self.most = 0
        self.pauses = 0
        self.paused = False

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        self.go_on()

    def pause_writing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_writing(self) -> None:
        self.paused = False
        low, _ = self.transport.get_write_buffer_limits()
        assert self.transport.get_write_buffer_size() <= low
        self.go_on()

    def go_on(self) -> None:
        while self.left and not self.paused:
            piece = bytes(min(16384, self.left))
            self.left -= len(piece)
            self.transport.write(piece)
            self.most = max(self.most, self.transport.get_write_buffer_size())
        if not self.left:
            self.transport.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_producer_is_paused_at_the_high_mark_and_resumed_at_the_low_one(kind: Kind) -> None:
    """HARDENING core-7: no growth past mark + one write, however much is to be sent."""
    total = 32 * 1024 * 1024

    async def main(reactor: Reactor) -> tuple[Producer, End]:
        producer, reader = Producer(total), End()
        pair = connect(producer, reader, kind)
        pair.second.pause_reading()
        await asyncio.sleep(0)
        assert producer.paused
        assert total - producer.left < KERNEL + 2 * 65536
        pair.second.resume_reading()
        await reader.gone
        return producer, reader

    producer, reader = run(main)
    assert reader.received == total
    assert producer.pauses > 10
    assert 65536 < producer.most <= 65536 + 16384


@pytest.mark.parametrize("kind", KINDS)
def test_who_writes_without_asking_is_cut_off_at_the_cap(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING core-8: 64 KiB x 1e4 to a peer that does not read; named reason."""

    async def main(reactor: Reactor) -> tuple[Exception | None, str | None, int, int]:
        writer, reader = End(), End()
        pair = connect(writer, reader, kind)
        pair.second.pause_reading()
        piece = bytes(65536)
        written = most = 0
        for _ in range(10_000):
            writer.transport.write(piece)
            written += len(piece)
            most = max(most, writer.transport.get_write_buffer_size())
            if writer.transport.is_closing():
                break
        error = await writer.gone
        reader.transport.resume_reading()
        await reader.gone
        return error, pair.first.close_reason, written, most

    tracemalloc.start()
    try:
        error, reason, written, _ = run(main)
        _, held = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, LimitReachedError)
    assert reason == error.reason == "limit:write-buffer"
    assert written <= 16 * 1024 * 1024 + KERNEL + 65536
    # The same octets are written again and again, so the memory is what the transport adds.
    assert held < 4 * 1024 * 1024
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "limit:write-buffer" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_between_a_fast_source_and_a_slow_sink_only_the_marks_are_held(kind: Kind) -> None:
    """HARDENING fault-15: a relay of streams whose reader takes a piece now and then."""
    total = 8 * 1024 * 1024

    async def main(reactor: Reactor) -> int:
        source, inlet = StreamProtocol(), StreamProtocol()
        outlet, sink = StreamProtocol(), StreamProtocol()
        loopback_pair(source, inlet, kind, buffer=4096)
        loopback_pair(outlet, sink, kind, buffer=4096)
        most = 0

        async def feed() -> None:
            await pump((bytes(65536) for _ in range(total // 65536)), source.stream, end=True)

        async def relay() -> None:
            assert await pump(inlet.stream, outlet.stream, end=True) == total

        async def drink() -> int:
            nonlocal most
            got = 0
            while piece := await sink.stream.receive_some(65536):
                got += len(piece)
                held = inlet.size + sink.size
                for each in (source, outlet):
                    held += each.transport.get_write_buffer_size()
                most = max(most, held)
                await asyncio.sleep(0)
            return got

        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            group.create_task(relay())
            drinking = group.create_task(drink())
        assert drinking.result() == total
        for each in (source, inlet, outlet, sink):
            each.stream.abort()
        return most

    # Two write buffers and two receive buffers, each its mark and one piece.
    assert run(main) <= 4 * (65536 + 65536)


def test_a_line_without_end_costs_the_limit_and_one_read() -> None:
    """HARDENING core-9: 100 MiB of A against a protocol of lines."""

    class Lines(LineProtocol):
        lost: Deferred[Exception | None]

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.callback(exc)

    async def main(reactor: Reactor) -> tuple[str | None, int]:
        attacker, server = StreamProtocol(), Lines()
        server.lost = Deferred()
        pair = loopback_pair(attacker, server)
        sent = 0
        with pytest.raises(ConnectionLost):
            for _ in range(1600):
                await attacker.stream.send_all(b"A" * 65536)
                sent += 65536
                await asyncio.sleep(0)
        await server.lost
        return pair.second.close_reason, sent

    reason, sent = run(main)
    assert reason == "limit:line"
    assert sent < 100 * 1024 * 1024


# ── streams over real connections ─────────────────────────────────────────────


def test_a_server_and_a_client_of_coroutines() -> None:
    async def shout(stream: Stream) -> None:
        async for line in stream.lines():
            await stream.send_all(line.upper() + b"\n")

    async def main(reactor: Reactor) -> list[bytes]:
        async with (
            serve("tcp://127.0.0.1:0", stream_handler(shout)) as server,
            await open_stream(f"tcp://127.0.0.1:{server.port}") as stream,
        ):
            await stream.send_all(b"hello\nworld\n")
            await stream.send_eof()
            return [line async for line in stream.lines()]

    assert run(main) == [b"HELLO", b"WORLD"]


def test_a_server_that_closes_shows_its_handlers_the_end_of_the_stream() -> None:
    async def shout(stream: Stream) -> None:
        async for line in stream.lines():
            await stream.send_all(line.upper() + b"\n")
        await stream.send_all(b"bye\n")

    async def main(reactor: Reactor) -> list[bytes]:
        server = await serve("tcp://127.0.0.1:0", stream_handler(shout))
        stream = await open_stream(f"tcp://127.0.0.1:{server.port}")
        await stream.send_all(b"hello\n")
        first = await stream.read_line()
        closing = server.close()
        rest = [line async for line in stream.lines()]
        await stream.aclose()
        await closing
        return [first, *rest]

    assert run(main) == [b"HELLO", b"bye"]


def test_a_large_transfer_arrives_whole() -> None:
    data = bytes(range(256)) * 40_000

    async def serve_data(stream: Stream) -> None:
        await stream.send_all(data)

    async def main(reactor: Reactor) -> bytes:
        async with (
            serve("tcp://127.0.0.1:0", stream_handler(serve_data)) as server,
            await open_stream(f"tcp://127.0.0.1:{server.port}") as stream,
        ):
            got = bytearray()
            await pump(stream, got.extend)
            return bytes(got)

    assert run(main) == data
