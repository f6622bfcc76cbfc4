"""pump: everything from one thing to another, no faster than the other takes it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.stream import Stream, StreamProtocol, pump
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import memory_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 2048


def run(body: Callable[[Clock], Awaitable[Any]]) -> Any:
    with Clock() as clock:
        return clock.run(body)


def pair() -> tuple[Stream, Stream]:
    first, second = StreamProtocol(), StreamProtocol()
    memory_pair(first, second)
    return first.stream, second.stream


def test_from_stream_to_stream() -> None:
    async def body(clock: Clock) -> bytes:
        client, inlet = pair()
        outlet, server = pair()
        client.transport.write(DATA)
        client.transport.write_eof()
        got = bytearray()

        async def collect() -> None:
            async for piece in server:
                got.extend(piece)

        import asyncio

        async with asyncio.TaskGroup() as group:
            group.create_task(collect())
            assert await pump(inlet, outlet, end=True) == len(DATA)
        return bytes(got)

    assert run(body) == DATA


def test_a_slow_sink_makes_the_source_wait() -> None:
    """fault-15: between a fast source and a slow sink, no more than the marks is held."""

    async def body(clock: Clock) -> int:
        asked = 0

        def source() -> Iterator[bytes]:
            nonlocal asked
            while asked < 64 * 1024 * 1024:
                asked += 65536
                yield bytes(65536)

        outlet, server = pair()
        server.transport.pause_reading()
        import asyncio

        pumping = asyncio.ensure_future(pump(source(), outlet))
        await asyncio.sleep(1)
        held = asked
        pumping.cancel()
        return held

    assert run(body) <= 6 * 65536


def test_from_a_transport_into_a_function() -> None:
    async def body(clock: Clock) -> bytes:
        near, far = Protocol(), Protocol()
        memory_pair(near, far)
        near.transport.write(b"through the transport")
        near.transport.close()
        got = bytearray()
        assert await pump(far.transport, got.extend) == 21
        return bytes(got)

    assert run(body) == b"through the transport"


def test_into_a_function_that_waits() -> None:
    async def body(clock: Clock) -> float:
        import asyncio

        async def sink(piece: bytes) -> None:
            await asyncio.sleep(1)

        await pump([b"a", b"b", b"c"], sink)
        return clock.time()

    assert run(body) == 3


def test_from_an_async_iterator_in_pieces_of_a_chunk_and_no_more_than_count() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"abcdef"
        yield b""
        yield b"ghij"

    async def body(clock: Clock) -> list[bytes]:
        pieces: list[bytes] = []
        assert await pump(source(), pieces.append, chunk=4, count=7) == 7
        return pieces

    assert run(body) == [b"abcd", b"ef", b"g"]


def test_count_stops_a_stream_exactly_there() -> None:
    async def body(clock: Clock) -> tuple[int, bytes]:
        near, far = pair()
        near.transport.write(b"0123456789")
        sent = await pump(far, lambda piece: None, count=4)
        return sent, await far.receive_some()

    assert run(body) == (4, b"456789")


def test_a_file_goes_into_a_stream_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)

    async def body(clock: Clock) -> tuple[bytes, int]:
        near, far = pair()
        got = bytearray()
        import asyncio

        with path.open("rb") as file:
            file.seek(1000)
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(far, got.extend))
                assert await pump(file, near, count=5000, end=True) == 5000
            return bytes(got), file.tell()

    assert run(body) == (DATA[1000:6000], 6000)


def test_a_stream_goes_into_a_file() -> None:
    async def body(clock: Clock) -> bytes:
        near, far = pair()
        near.transport.write(b"to disk")
        near.transport.close()
        file = io.BytesIO()
        await pump(far, file)
        return file.getvalue()

    assert run(body) == b"to disk"


def test_a_sink_that_breaks_raises() -> None:
    async def body(clock: Clock) -> None:
        near, far = pair()
        far.abort()
        with pytest.raises(ConnectionLost):
            await pump([bytes(65536)] * 100, near)

    run(body)


@pytest.mark.parametrize("bad", [{"chunk": 0}, {"count": -1}])
def test_odd_numbers_are_a_value_error(bad: dict[str, int]) -> None:
    async def body(clock: Clock) -> None:
        with pytest.raises(ValueError):
            await pump([b"x"], print, **bad)  # type: ignore[arg-type]  # one of its numbers

    run(body)


@pytest.mark.parametrize(("source", "sink"), [(b"octets", print), (5, print), ([b"x"], 5)])
def test_what_cannot_be_pumped_is_a_type_error(source: Any, sink: Any) -> None:
    async def body(clock: Clock) -> None:
        with pytest.raises(TypeError, match="pumped"):
            await pump(source, sink)

    run(body)


def test_a_pipe_is_read_in_a_thread_so_that_the_loop_goes_on() -> None:
    reading, writing = os.pipe()
    got = bytearray()

    async def main(reactor: Reactor) -> int:
        reactor.call_soon(os.write, writing, b"from the pipe")
        reactor.call_soon(reactor.call_soon, os.close, writing)
        with os.fdopen(reading, "rb", 0) as pipe:
            return await pump(pipe, got.extend)

    reactor = Reactor()
    try:
        assert reactor.run(main) == 13
    finally:
        reactor.close()
    assert got == b"from the pipe"
