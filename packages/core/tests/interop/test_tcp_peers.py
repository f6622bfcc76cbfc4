"""The programs people have at hand: netcat and curl, against our servers and our clients."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.protocol import Protocol
from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport
    from sennit.core.stream import Stream

pytestmark = pytest.mark.interop

LOOPBACK = "tcp://127.0.0.1:0"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


async def run(*command: str, say: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate(say)
    return out


class Echo(Protocol):
    """Sends back, and keeps the way out open until all has come."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


async def test_netcat_gets_its_words_back() -> None:
    nc = program("nc")
    async with serve(LOOPBACK, Echo) as server:
        assert await run(nc, "-N", "127.0.0.1", str(server.port), say=b"hello\n") == b"hello\n"


async def test_netcat_gets_megabytes_back_under_flow_control() -> None:
    nc = program("nc")
    data = os.urandom(1 << 16) * 64
    async with serve(LOOPBACK, Echo) as server:
        out = await run(nc, "-N", "127.0.0.1", str(server.port), say=data)
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


async def test_netcat_over_a_unix_socket(tmp_path: Path) -> None:
    nc = program("nc")
    path = str(tmp_path / "x.sock")
    async with serve(f"unix:{path}", Echo):
        assert await run(nc, "-N", "-U", path, say=b"hello") == b"hello"


async def patiently(port: int) -> Stream:
    """A stream to a program that has yet to begin to listen."""
    while True:
        try:
            return await open_stream(f"tcp://127.0.0.1:{port}")
        except ConnectionError:
            await asyncio.sleep(0.02)


async def test_netcat_listens_and_we_connect() -> None:
    nc = program("nc")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        nc,
        "-l",
        "-N",
        "127.0.0.1",
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        async with await patiently(port) as stream:
            await stream.send_all(b"from us\n")
            await stream.send_eof()
            assert process.stdin is not None
            process.stdin.write(b"from netcat\n")
            process.stdin.close()
            assert await stream.read_line() == b"from netcat"
        assert process.stdout is not None
        assert await process.stdout.read() == b"from us\n"
        await process.wait()


class OneFile(Protocol):
    """Answers any request with a file, by sendfile, and closes."""

    transport: IStreamTransport

    def __init__(self, path: Path) -> None:
        self.path = path

    def data_received(self, data: bytes) -> None:
        file = self.path.open("rb")
        size = self.path.stat().st_size
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        )
        sending: Any = self.transport.sendfile(file)
        sending.add_finally(file.close)
        self.transport.close()


async def test_curl_gets_a_hundred_mebibytes_octet_for_octet(tmp_path: Path) -> None:
    curl = program("curl")
    path, got = tmp_path / "file", tmp_path / "got"
    path.write_bytes(os.urandom(1 << 20) * 100)
    async with serve(LOOPBACK, lambda: OneFile(path)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        await run(curl, "--silent", "--show-error", "--fail", "--noproxy", "*", "-o", str(got), url)
    assert got.stat().st_size == 100 << 20
    with path.open("rb") as ours, got.open("rb") as theirs:
        assert (
            hashlib.file_digest(ours, "blake2b").digest()
            == hashlib.file_digest(theirs, "blake2b").digest()
        )
