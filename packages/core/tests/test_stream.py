"""Streams: coroutines that read and write a connection."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred
from sennit.core.errors import (
    ConnectionDone,
    ConnectionLost,
    EndOfStreamError,
    ProtocolError,
    UsageError,
)
from sennit.core.protocol import Protocol
from sennit.core.stream import RECEIVE_BUFFER, Stream, StreamProtocol, stream_handler
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import Link, MemoryTransport, memory_pair
from sennit.core.transport.tls import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Peer(Protocol):
    """The other end."""

    transport: MemoryTransport  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.lost: Exception | None = None

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


def run(
    body: Callable[[Stream, Peer, Clock], Awaitable[Any]], link: Link | None = None
) -> tuple[Any, Clock]:
    """Run ``body(stream, peer, clock)`` in virtual time."""
    clock = Clock()

    async def main(clock: Clock) -> Any:
        protocol, peer = StreamProtocol(), Peer()
        memory_pair(peer, protocol, reactor=clock, there=link or Link())
        return await body(protocol.stream, peer, clock)

    result = clock.run(main)
    clock.close()
    return result, clock


def send(peer: Peer, data: bytes, *, end: bool = True) -> None:
    peer.transport.write(data)
    if end:
        peer.transport.write_eof()


# ── reading ───────────────────────────────────────────────────────────────────


def test_receive_some_gives_what_there_is_and_nothing_at_the_end() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"hello")
        return [
            await stream.receive_some(3),
            await stream.receive_some(),
            await stream.receive_some(),
        ]

    assert run(body)[0] == [b"hel", b"lo", b""]


def test_a_stream_is_iterated_piece_by_piece() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"abcdef")
        return [piece async for piece in stream]

    assert run(body, Link(chunk=2))[0] == [b"ab", b"cd", b"ef"]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_read_exactly_waits_for_all(chunk: int) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"abcdefghij")
        return [
            await stream.read_exactly(4),
            await stream.read_exactly(0),
            await stream.read_exactly(6),
        ]

    assert run(body, Link(chunk=chunk))[0] == [b"abcd", b"", b"efghij"]


def test_read_exactly_says_what_came_when_the_peer_ends_first() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        send(peer, b"abc")
        with pytest.raises(EndOfStreamError, match="after 3 octets, before 5") as caught:
            await stream.read_exactly(5)
        return caught.value.partial

    assert run(body)[0] == b"abc"


def test_read_exactly_of_more_than_the_buffer_makes_room_for_it() -> None:
    size = 10 * RECEIVE_BUFFER + 1

    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        send(peer, b"x" * size)
        return await stream.read_exactly(size)

    assert len(run(body)[0]) == size


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_read_until_finds_a_separator_however_it_is_cut(chunk: int) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"one--two----three--")
        return [await stream.read_until(b"--") for _ in range(4)]

    assert run(body, Link(chunk=chunk))[0] == [b"one", b"two", b"", b"three"]


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_read_until_has_a_limit_that_counts_octets_before_the_separator(chunk: int) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        send(peer, b"12345--123456--")
        first = await stream.read_until(b"--", 5)
        with pytest.raises(ProtocolError, match="within 5 octets"):
            await stream.read_until(b"--", 5)
        return first

    assert run(body, Link(chunk=chunk))[0] == b"12345"


def test_read_until_refuses_as_soon_as_the_limit_is_passed_without_a_separator() -> None:
    """HARDENING core-9: a line without end costs the limit and one read, no more."""

    async def body(stream: Stream, peer: Peer, clock: Clock) -> int:
        send(peer, b"A" * 1_000_000, end=False)
        with pytest.raises(ProtocolError, match="16384"):
            await stream.read_until(b"\r\n")
        return stream._protocol.size

    assert run(body)[0] <= RECEIVE_BUFFER + 65536


def test_read_line_takes_both_line_ends_or_the_one_it_is_told() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"one\r\ntwo\n\nfour\nstill four\r\n")
        return [
            await stream.read_line(),
            await stream.read_line(),
            await stream.read_line(),
            await stream.read_line(end=b"\r\n"),
        ]

    assert run(body)[0] == [b"one", b"two", b"", b"four\nstill four"]


@pytest.mark.parametrize("line", [b"12345\n", b"12345\r\n", b"1234\n"])
def test_a_line_of_the_limit_passes(line: bytes) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        send(peer, line)
        return await stream.read_line(5)

    assert run(body)[0] == line.rstrip()


def test_a_line_of_one_more_is_refused() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        send(peer, b"123456\n")
        with pytest.raises(ProtocolError):
            await stream.read_line(5)

    run(body)


def test_lines_end_with_the_stream_but_not_in_the_middle_of_one() -> None:
    async def whole(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"one\ntwo\n")
        return [line async for line in stream.lines()]

    async def torn(stream: Stream, peer: Peer, clock: Clock) -> None:
        send(peer, b"one\ntw")
        with pytest.raises(EndOfStreamError):
            async for _ in stream.lines():
                pass

    assert run(whole)[0] == [b"one", b"two"]
    run(torn)


def test_what_came_before_a_reset_can_still_be_read() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[bytes]:
        send(peer, b"last words", end=False)
        got = [await stream.receive_some(5)]
        peer.transport.abort()
        await asyncio.sleep(1)
        got.append(await stream.receive_some())
        with pytest.raises(ConnectionLost) as caught:
            await stream.receive_some()
        assert caught.value.reason == "reset"
        return got

    assert run(body)[0] == [b"last ", b"words"]


def test_a_reader_that_waits_learns_of_the_reset() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        clock.call_later(1, peer.transport.abort)
        with pytest.raises(ConnectionLost, match="reset"):
            await stream.read_exactly(1)

    run(body)


def test_reading_after_ones_own_close_says_so() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        await stream.aclose()
        with pytest.raises(ConnectionDone):
            await stream.receive_some()

    run(body)


def test_two_readers_at_once_are_an_error_of_the_program() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        first = asyncio.ensure_future(stream.receive_some())
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="two coroutines"):
            await stream.receive_some()
        first.cancel()

    run(body)


def test_cancelling_a_read_loses_nothing() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stream.read_exactly(10)
        send(peer, b"01234", end=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stream.read_exactly(10)
        send(peer, b"56789")
        return await stream.read_exactly(10)

    assert run(body)[0] == b"0123456789"


def test_a_stream_nobody_reads_pauses_its_transport_and_goes_on_when_read() -> None:
    """fault-15: what waits is bounded by the buffer and one read."""

    async def body(stream: Stream, peer: Peer, clock: Clock) -> int:
        send(peer, b"x" * 1_000_000)
        await asyncio.sleep(1)
        assert not stream.transport.is_reading()
        most = stream._protocol.size
        got = 0
        async for piece in stream:
            got += len(piece)
            most = max(most, stream._protocol.size)
        assert got == 1_000_000
        return most

    assert run(body)[0] <= RECEIVE_BUFFER + 65536


@pytest.mark.parametrize("value", [0, -1])
def test_asking_for_no_octets_is_a_value_error(value: int) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        with pytest.raises(ValueError):
            await stream.receive_some(value)
        with pytest.raises(ValueError):
            await stream.read_exactly(-1)
        with pytest.raises(ValueError):
            await stream.read_until(b"")

    run(body)


def dribble(size: int) -> float:
    """CPU seconds to read a line of `size` octets that come one by one."""
    protocol = StreamProtocol()
    RecordingTransport(protocol)
    clock = Clock()

    async def main(clock: Clock) -> bytes:
        reading = asyncio.ensure_future(protocol.stream.read_until(b"\n", size))
        await asyncio.sleep(0)
        for _ in range(size):
            protocol.data_received(b"x")
        protocol.data_received(b"\n")
        return await reading

    begun = time.process_time()
    assert len(clock.run(main)) == size
    return time.process_time() - begun


def test_a_line_that_dribbles_in_costs_linear_time() -> None:
    """HARDENING core-10: twice the octets, at most 2.5 times the time."""
    ratios = [dribble(100_000) / dribble(50_000) for _ in range(3)]

    assert min(ratios) < 2.5


def test_many_small_lines_in_one_buffer_cost_linear_time() -> None:
    def measure(count: int) -> float:
        protocol = StreamProtocol(receive_buffer=1 << 24)
        RecordingTransport(protocol)
        protocol.data_received(b"abcdefg\n" * count)
        protocol.eof_received()

        async def main(clock: Clock) -> int:
            return len([line async for line in protocol.stream.lines()])

        begun = time.process_time()
        assert Clock().run(main) == count
        return time.process_time() - begun

    assert min(measure(40_000) / measure(20_000) for _ in range(3)) < 2.5


# ── writing ───────────────────────────────────────────────────────────────────


def test_send_all_sends_and_waits_for_room() -> None:
    size = 20 * 1024 * 1024

    async def body(stream: Stream, peer: Peer, clock: Clock) -> tuple[bool, int]:
        peer.transport.pause_reading()
        clock.call_later(10, peer.transport.resume_reading)
        sending = asyncio.ensure_future(stream.send_all(b"x" * size))
        await asyncio.sleep(5)
        most = stream.transport.get_write_buffer_size()
        waited = not sending.done()
        await sending
        await stream.aclose()
        return waited, most

    (waited, most), _ = run(body)
    assert waited
    assert most <= 64 * 1024 + 64 * 1024


def test_all_that_is_sent_arrives() -> None:
    data = bytes(range(256)) * 2000

    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        await stream.send_all(data)
        await stream.send_all(bytearray(b"more"))
        await stream.send_pieces([b" and", b" more"])
        await stream.aclose()
        await asyncio.sleep(1)
        return bytes(peer.data)

    assert run(body)[0] == data + b"more and more"


def test_sending_on_a_lost_connection_raises() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        peer.transport.abort()
        await asyncio.sleep(1)
        with pytest.raises(ConnectionLost):
            await stream.send_all(b"x")

    run(body)


def test_sending_after_close_raises() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        stream.close()
        with pytest.raises(ConnectionDone):
            await stream.send_all(b"x")

    run(body)


def test_a_sender_that_waits_learns_of_the_loss() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> None:
        peer.transport.pause_reading()
        clock.call_later(1, peer.transport.abort)
        with pytest.raises(ConnectionLost):
            await stream.send_all(b"x" * 1_000_000)

    run(body)


def test_send_eof_ends_the_way_out_only() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> bytes:
        await stream.send_all(b"question")
        await stream.send_eof()
        await asyncio.sleep(1)
        assert peer.ended
        send(peer, b"answer")
        return await stream.read_exactly(6)

    assert run(body)[0] == b"answer"


# ── the end ───────────────────────────────────────────────────────────────────


def test_aclose_waits_until_all_has_left() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> float:
        peer.transport.pause_reading()
        stream.transport.write(b"x" * 200_000)
        clock.call_later(7, peer.transport.resume_reading)
        await stream.aclose()
        return clock.time()

    assert run(body)[0] == 7


def test_aclose_gives_a_peer_that_does_not_read_so_much_time() -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> str | None:
        peer.transport.pause_reading()
        stream.transport.write(b"x" * 200_000)
        await stream.aclose(timeout=5)
        assert clock.time() == 5
        return stream.close_reason

    assert run(body)[0] == "timeout"


def test_the_context_manager_closes_or_aborts() -> None:
    async def good(stream: Stream, peer: Peer, clock: Clock) -> str | None:
        async with stream:
            await stream.send_all(b"bye")
        return stream.close_reason

    async def bad(stream: Stream, peer: Peer, clock: Clock) -> str | None:
        with pytest.raises(LookupError):
            async with stream:
                raise LookupError
        return stream.close_reason

    assert run(good)[0] == "clean"
    assert run(bad)[0] == "aborted"


def test_a_stream_takes_over_a_transport_that_stands() -> None:
    clock = Clock()
    peer, before = Peer(), Peer()
    pair = memory_pair(peer, before, reactor=clock)

    async def main(clock: Clock) -> bytes:
        stream = Stream(pair.second)
        send(peer, b"for the stream")
        return await stream.receive_some()

    assert clock.run(main) == b"for the stream"
    assert not before.data


# ── STARTTLS ──────────────────────────────────────────────────────────────────


def test_octets_in_clear_behind_the_start_of_tls_are_fatal() -> None:
    """HARDENING defaults 11: the plaintext tail is thrown away and the connection closed."""

    async def body(stream: Stream, peer: Peer, clock: Clock) -> str | None:
        send(peer, b"STARTTLS\r\nEVIL\r\n", end=False)
        assert await stream.read_line() == b"STARTTLS"
        with pytest.raises(ProtocolError, match="in clear"):
            await stream.start_tls(object(), server_side=True)
        return stream.close_reason

    assert run(body)[0] == "error"


def test_start_tls_asks_the_transport_and_goes_on_with_the_new_one() -> None:
    protocol = StreamProtocol()
    transport = RecordingTransport(protocol)
    context = object()

    async def main(clock: Clock) -> None:
        await protocol.stream.start_tls(context, server_hostname="example")

    Clock().run(main)
    assert transport.tls[0]["context"] is context
    assert transport.tls[0]["server_hostname"] == "example"


def test_a_stream_in_memory_goes_over_to_tls() -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    server_side = ServerTLS(chain, leaf.private_key_pem.bytes())
    client_side = ClientTLS(trust=authority.cert_pem.bytes())

    async def main(clock: Clock) -> tuple[bytes, bytes]:
        client, server = StreamProtocol(), StreamProtocol()
        memory_pair(client, server, reactor=clock)

        async def serve() -> bytes:
            assert await server.stream.read_line() == b"STARTTLS"
            await server.stream.send_all(b"go\n")
            await server.stream.start_tls(server_side, server_side=True)
            line = await server.stream.read_line()
            await server.stream.send_all(line.upper() + b"\n")
            await server.stream.aclose()
            return line

        async with asyncio.TaskGroup() as group:
            serving = group.create_task(serve())
            await client.stream.send_all(b"STARTTLS\n")
            assert await client.stream.read_line() == b"go"
            await client.stream.start_tls(client_side, server_hostname="localhost")
            await client.stream.send_all(b"secret\n")
            answer = await client.stream.read_line()
            assert await client.stream.receive_some() == b""
            await client.stream.aclose()
        return serving.result(), answer

    with Clock() as clock:
        assert clock.run(main) == (b"secret", b"SECRET")


def test_a_file_is_sent_between_what_is_written() -> None:
    content = bytes(range(256)) * 2000

    async def body(stream: Stream, peer: Peer, clock: Clock) -> tuple[int, int]:
        await stream.send_all(b"<")
        whole = await stream.send_file(io.BytesIO(content))
        part = await stream.send_file(io.BytesIO(content), 10, 20)
        await stream.send_all(b">")
        await stream.aclose()
        with pytest.raises(ConnectionLost):
            await stream.send_file(io.BytesIO(content))
        assert peer.data == b"<" + content + content[10:30] + b">"
        return whole, part

    assert run(body)[0] == (len(content), 20)


@pytest.mark.parametrize("end", ["close", "abort", "peer"])
def test_a_stream_that_has_ended_is_freed_without_the_collector(end: str) -> None:
    async def body(stream: Stream, peer: Peer, clock: Clock) -> list[weakref.ref[Any]]:
        peer.transport.write(b"rest")
        await asyncio.sleep(0.1)
        if end == "peer":
            peer.transport.close()
            assert await stream.read_exactly(4) == b"rest"
            await stream.aclose()
        elif end == "abort":
            stream.abort()
        else:
            await stream.aclose()
        await asyncio.sleep(0.1)
        assert stream._protocol.stream._protocol is stream._protocol
        return [weakref.ref(stream), weakref.ref(stream._protocol)]

    gc.collect()
    gc.disable()
    try:
        traces, _ = run(body)
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()


# ── handlers ──────────────────────────────────────────────────────────────────


def serve_one(
    handler: Callable[[Stream], Any], *, keep_errors: bool = False
) -> tuple[Peer, MemoryTransport, Clock]:
    clock = Clock()
    clock.keep_errors = keep_errors
    peer = Peer()
    protocol = stream_handler(handler).build_protocol(None)
    boxes: list[MemoryTransport] = []

    def connect() -> None:
        here = InternetAddress("192.0.2.1", 80)
        pair = memory_pair(
            peer, protocol, reactor=clock, addresses=(InternetAddress("192.0.2.9", 9), here)
        )
        boxes.append(pair.second)

    clock.call_soon(connect)
    clock.pump()
    return peer, boxes[0], clock


def test_a_handler_serves_a_connection_and_its_end_closes_it() -> None:
    async def handle(stream: Stream) -> None:
        async for line in stream.lines():
            await stream.send_all(line.upper() + b"\n")

    peer, transport, clock = serve_one(handle)
    send(peer, b"hello\nworld\n")
    clock.pump()

    assert peer.data == b"HELLO\nWORLD\n"
    assert peer.ended
    assert transport.close_reason == "clean"


def test_a_handler_is_cancelled_when_its_connection_goes() -> None:
    ended: list[str] = []

    async def handle(stream: Stream) -> None:
        try:
            await Deferred[None]()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    peer, _, clock = serve_one(handle)
    peer.transport.abort()
    clock.pump()

    assert ended == ["cancelled"]


def test_what_a_handler_raises_is_reported_once_and_ends_its_connection() -> None:
    async def handle(stream: Stream) -> None:
        await stream.receive_some()
        raise LookupError("a bug")

    peer, transport, clock = serve_one(handle, keep_errors=True)
    peer.transport.write(b"x")
    clock.pump()

    assert [str(error) for error in clock.errors] == ["a bug"]
    assert transport.close_reason == "error"
    assert isinstance(peer.lost, ConnectionLost)


def test_what_the_peer_does_wrong_is_one_line_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(stream: Stream) -> None:
        await stream.read_line(5)

    with caplog.at_level(logging.INFO, "sennit"):
        peer, transport, clock = serve_one(handle)
        peer.transport.write(b"much too long\n")
        clock.pump()

    assert transport.close_reason == "error"
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.INFO
    assert "192.0.2.9:9" in caplog.text


def test_a_peer_that_resets_or_stops_halfway_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(stream: Stream) -> None:
        await stream.read_exactly(100)

    peer, transport, clock = serve_one(handle)
    send(peer, b"half")
    clock.pump()
    assert transport.close_reason == "error"
    peer, transport, clock = serve_one(handle)
    peer.transport.abort()
    clock.pump()
    assert transport.close_reason == "reset"
    assert caplog.records == []


def test_draining_lets_the_handler_read_what_came_and_then_shows_it_the_end() -> None:
    async def handle(stream: Stream) -> None:
        async for line in stream.lines():
            await stream.send_all(b"<" + line + b">")
        await stream.send_all(b"bye")

    peer, transport, clock = serve_one(handle)
    peer.transport.write(b"one\n")
    clock.pump()
    protocol = transport.get_protocol()
    assert isinstance(protocol, StreamProtocol)
    clock.call_soon(protocol.drain)
    clock.pump()

    assert peer.data == b"<one>bye"
    assert transport.close_reason == "drained"


def test_a_stream_without_a_handler_is_closed_when_drained() -> None:
    protocol = StreamProtocol()
    transport = RecordingTransport(protocol)
    protocol.drain()

    assert transport.close_reason == "drained"
