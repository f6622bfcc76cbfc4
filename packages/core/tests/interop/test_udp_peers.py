"""Datagrams with other programs: netcat, socat, and asyncio and uvloop at the other end."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.protocol import DatagramProtocol
from sennit.core.reactor.base import current_reactor
from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

PEER = """
import asyncio, sys

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, addr):
        self.transport.sendto(b">" + data[::-1], addr)  # they send none that are empty

async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, (sys.argv[1], 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()

if len(sys.argv) > 2:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Echo(DatagramProtocol):
    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.transport.sendto(data, peer)


class Client(DatagramProtocol):
    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.put_nowait(data)


async def ask(say: bytes, *command: str) -> bytes:
    """What a program prints first when it is told `say`; then it is ended."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(say)
        async with asyncio.timeout(20):
            return await process.stdout.readexactly(len(say))
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_netcat_gets_its_datagram_back(host: str) -> None:
    nc = program("nc")
    shown = f"[{host}]" if ":" in host else host
    async with serve(f"udp://{shown}:0", Echo) as server:
        assert await ask(b"hello\n", nc, "-u", host, str(server.port)) == b"hello\n"


async def test_socat_gets_datagrams_of_every_size_back() -> None:
    socat = program("socat")
    async with serve("udp://127.0.0.1:0", Echo) as server:
        for size in (1, 1000, 60_000):
            data = os.urandom(size)
            command = (socat, "-b", "65536", "-T", "10", "-", f"UDP4:127.0.0.1:{server.port}")
            assert await ask(data, *command) == data


async def test_socat_speaks_over_unix_datagram_sockets(tmp_path: Path) -> None:
    socat = program("socat")
    path, own = str(tmp_path / "echo"), str(tmp_path / "socat")
    listener = await current_reactor().listen_unix_datagram(Echo, path)
    peer = f"UNIX-SENDTO:{path},bind={own}"
    assert await ask(b"hello", socat, "-T", "10", "-", peer) == b"hello"
    listener.close()


async def test_socat_answers_our_client() -> None:
    socat = program("socat")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        socat, "-T", "20", f"UDP4-RECVFROM:{port},bind=127.0.0.1,fork", "EXEC:rev"
    )
    try:
        client = await connect(f"udp://127.0.0.1:{port}", Client)
        async with asyncio.timeout(20):
            while True:
                # Until it listens nobody answers, and the errors that come end nothing.
                client.transport.sendto(b"hello\n")
                try:
                    async with asyncio.timeout(0.2):
                        assert await client.came.get() == b"olleh\n"
                    break
                except TimeoutError:
                    continue
        client.transport.close()
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_other_loops_answer_our_client(loop: str, host: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    extra = ["uvloop"] if loop == "uvloop" else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PEER, host, *extra, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
            shown = f"[{host}]" if ":" in host else host
            client = await connect(f"udp://{shown}:{port}", Client)
            for data in (b"", b"abc", bytes(range(256)) * 200):
                client.transport.sendto(data)
                assert await client.came.get() == b">" + data[::-1]
            client.transport.close()
    finally:
        process.kill()
        await process.wait()


async def test_a_program_of_another_kind_receives_our_descriptors(tmp_path: Path) -> None:
    """Python's own `socket.recv_fds` at the other end, in another process."""
    path = str(tmp_path / "x")
    text = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1]); listening.listen()
    print("ready", flush=True)
    sock, _ = listening.accept()
    data, fds, _, _ = socket.recv_fds(sock, 100, 5)
    sock.sendall(os.read(fds[0], 100))
"""
    from sennit.core.endpoint.connect import open_stream

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"ready\n"
            stream = await open_stream(f"unix:{path}")
            ours, theirs = os.pipe()
            os.write(theirs, b"out of a pipe")
            transport: Any = stream.transport
            transport.send_descriptors([ours], b"x")
            os.close(ours)
            os.close(theirs)
            assert await stream.read_exactly(13) == b"out of a pipe"
            stream.close()
    finally:
        process.kill()
        await process.wait()
