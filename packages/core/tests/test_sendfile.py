"""Files on their way out: by the kernel, read where it cannot, and in order with all else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import ConnectionAborted, ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from pathlib import Path


class Quiet(Protocol):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.lost: Any = ()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


class Pair:
    """A transport and its peer, which reads all in a thread of its own."""

    def __init__(self, sndbuf: int | None = None) -> None:
        ours, self.peer = socket.socketpair()
        if sndbuf is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.protocol = Quiet()
        sock: Any = socket.SocketType(ours.family, ours.type, ours.proto, ours.detach())
        self.transport = SocketTransport(current_reactor(), sock, self.protocol)
        self.transport.start()

    async def read_all(self) -> bytes:
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        while piece := await loop.sock_recv(self.peer, 65536):
            pieces.append(piece)
        return b"".join(pieces)

    async def __aenter__(self) -> Pair:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.peer.close()
        self.transport.abort()
        async with asyncio.timeout(5):
            while self.protocol.lost == ():
                await asyncio.sleep(0)


@pytest.fixture
def content() -> bytes:
    return b"".join(b"%07d\n" % at for at in range(50_000))


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "count"),
    [
        (0, None),
        (5, None),
        (0, 0),
        (0, 1),
        (7, 100_000),
        (399_999, 1),
        (400_000, None),
        (0, 400_000),
    ],
)
@pytest.mark.parametrize("kind", ["kernel", "read"])
async def test_any_part_of_a_file_is_sent(
    offset: int, count: int | None, kind: str, path: Path, content: bytes
) -> None:
    expected = content[offset:] if count is None else content[offset : offset + count]
    async with Pair(4096) as pair:
        with path.open("rb") if kind == "kernel" else io.BytesIO(content) as file:
            file.seek(3)
            done = pair.transport.sendfile(file, offset, count)
            pair.transport.close()
            assert await pair.read_all() == expected
            assert await done == len(expected)


@pytest.mark.parametrize("kind", ["kernel", "read"])
async def test_it_leaves_in_order_with_what_is_written(
    kind: str, path: Path, content: bytes
) -> None:
    async with Pair(4096) as pair:
        with path.open("rb") if kind == "kernel" else io.BytesIO(content) as file:
            pair.transport.write(b"before ")
            first = pair.transport.sendfile(file, 0, 8)
            pair.transport.write(b"between ")
            second = pair.transport.sendfile(file, 8, 200_000)
            third = pair.transport.sendfile(file, 0, 0)
            pair.transport.write(b" after")
            pair.transport.close()
            expected = b"before " + content[:8] + b"between " + content[8:200_008] + b" after"
            assert await pair.read_all() == expected
            assert [await each for each in (first, second, third)] == [8, 200_000, 0]


async def test_it_leaves_in_order_behind_the_answer_of_an_event(path: Path, content: bytes) -> None:
    class Server(Quiet):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"head ")
            self.transport.sendfile(file)
            self.transport.write(b" tail")
            self.transport.close()

    async with Pair() as pair:
        with path.open("rb") as file:
            server = Server()
            server.transport = pair.transport
            pair.transport.set_protocol(server)
            pair.protocol = server
            pair.peer.send(b"GET")
            assert await pair.read_all() == b"head " + content + b" tail"


async def test_a_file_that_ends_before_count_says_how_much_was_sent(
    path: Path, content: bytes
) -> None:
    async with Pair() as pair:
        with path.open("rb") as file:
            done = pair.transport.sendfile(file, 0, 1_000_000)
            past_the_end = pair.transport.sendfile(file, 1_000_000)
            pair.transport.close()
            assert await pair.read_all() == content
            assert await done == len(content)
            assert await past_the_end == 0


async def test_a_pipe_is_read_from_where_it_is() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb") as other:
        other.write(b"through a pipe")
        other.close()
        async with Pair(4096) as pair:
            done = pair.transport.sendfile(file)
            pair.transport.close()
            assert await pair.read_all() == b"through a pipe"
            assert await done == 14
    with pytest.raises(ValueError, match="seek"):
        FilePiece(_Pipe(b""), 5, None)


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


async def test_what_cannot_seek_loses_nothing_to_a_slow_peer(content: bytes) -> None:
    async with Pair(4096) as pair:
        done = pair.transport.sendfile(_Pipe(content))
        pair.transport.close()
        assert await pair.read_all() == content
        assert await done == len(content)


async def test_producers_wait_while_a_file_is_on_its_way(path: Path) -> None:
    async with Pair(4096) as pair:
        with path.open("rb") as file:
            done = pair.transport.sendfile(file)
            assert pair.protocol.events == ["pause"]
            pair.transport.set_write_buffer_limits(100_000)
            pair.transport.write(b"little")
            await asyncio.sleep(0)
            assert pair.protocol.events == ["pause"]
            room = pair.transport.writable()
            reading = asyncio.ensure_future(pair.read_all())
            await room
            await done
            assert pair.protocol.events == ["pause", "resume"]
            pair.transport.close()
            assert len(await reading) == 400_000 + 6


async def test_a_connection_that_is_lost_midway_fails_every_file(path: Path) -> None:
    async with Pair(4096) as pair:
        with path.open("rb") as file:
            waiting = [pair.transport.sendfile(file) for _ in range(3)]
            await asyncio.sleep(0)
            pair.peer.close()
            for each in waiting:
                with pytest.raises(ConnectionLost) as caught:
                    await each
                assert caught.value.reason == "reset"
            late = pair.transport.sendfile(file)
            with pytest.raises(ConnectionLost):
                await late
            assert pair.transport.close_reason == "reset"


async def test_aborting_fails_it_too(path: Path) -> None:
    async with Pair(4096) as pair:
        with path.open("rb") as file:
            waiting = pair.transport.sendfile(file)
            pair.transport.abort("shed")
            with pytest.raises(ConnectionAborted) as caught:
                await waiting
            assert caught.value.reason == "shed"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("odd")])
@pytest.mark.parametrize("late", [False, True])
async def test_a_file_that_cannot_be_read_ends_its_connection(error: Exception, late: bool) -> None:
    """What was promised of it cannot be sent; nothing that comes behind may take its place."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error

    async with Pair(4096) as pair:
        if late:
            pair.transport.write(b"." * 100_000)
        broken = pair.transport.sendfile(Broken(b"x"))
        pair.transport.write(b"must not be sent")
        reading = asyncio.ensure_future(pair.read_all())
        with pytest.raises(type(error)):
            await broken
        async with asyncio.timeout(5):
            while pair.protocol.lost == ():
                await asyncio.sleep(0)
        assert pair.transport.close_reason == "error"
        assert pair.protocol.lost.__cause__ is error
        assert b"must" not in await reading


async def test_what_is_no_piece_of_a_file_is_refused_at_the_call(path: Path) -> None:
    async with Pair() as pair:
        with path.open("rb") as file:
            for offset, count in ((-1, None), (0, -1)):
                with pytest.raises(ValueError, match="octets"):
                    pair.transport.sendfile(file, offset, count)
        with pytest.raises(ValueError, match="closed"):
            pair.transport.sendfile(file)
        assert pair.transport.close_reason is None


async def test_who_stops_waiting_does_not_stop_the_file(path: Path, content: bytes) -> None:
    async with Pair(4096) as pair:
        with path.open("rb") as file:
            waiting = pair.transport.sendfile(file)
            waiting.add_errback(lambda _: None)
            waiting.cancel()
            pair.transport.close()
            assert await pair.read_all() == content


async def test_a_callback_may_write_and_abort() -> None:
    async with Pair(4096) as pair:
        first = pair.transport.sendfile(io.BytesIO(b"one "))
        first.add_callback(lambda _: pair.transport.write(b"." * 200_000))
        second = pair.transport.sendfile(io.BytesIO(b"two "))
        second.add_callback(lambda _: pair.transport.abort())
        third = pair.transport.sendfile(io.BytesIO(b"three"))
        with pytest.raises(ConnectionLost):
            await third
        assert (await pair.read_all()).startswith(b"one two ")


async def test_a_hundred_mebibytes_arrive_octet_for_octet(tmp_path: Path) -> None:
    size = 100 << 20
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    sent = hashlib.blake2b()
    with path.open("wb") as file:
        for at in range(100):
            piece = at.to_bytes(8, "big") + block[8:]
            file.write(piece)
            sent.update(piece)
    received = hashlib.blake2b()
    async with Pair() as pair:
        with path.open("rb") as file:
            done = pair.transport.sendfile(file)
            pair.transport.close()
            loop = asyncio.get_running_loop()
            while piece := await loop.sock_recv(pair.peer, 1 << 18):
                received.update(piece)
            assert await done == size
    assert received.digest() == sent.digest()


async def test_a_file_that_leaves_at_once_pauses_nobody(path: Path, content: bytes) -> None:
    async with Pair() as pair:
        with path.open("rb") as file:
            pair.transport.write(b"head ")
            assert await pair.transport.sendfile(file, 0, 1000) == 1000
            assert pair.protocol.events == []
            pair.transport.close()
            assert await pair.read_all() == b"head " + content[:1000]


async def test_a_thousand_files_each_begun_when_the_last_has_left(path: Path) -> None:
    """Each leaves inside the call, but says so only later: else they would stand in each other."""
    async with Pair() as pair:
        with path.open("rb") as file:
            left = 1000

            def again(_: int) -> None:
                nonlocal left
                left -= 1
                if left:
                    pair.transport.sendfile(file, 0, 10).add_callback(again)

            reading = asyncio.create_task(pair.read_all())
            pair.transport.sendfile(file, 0, 10).add_callback(again)
            while left:
                await asyncio.sleep(0)
            pair.transport.close()
            assert len(await reading) == 10_000
