"""The server on the kernel's sockets: sendfile, urgent data, resets, IPv6, what it costs."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.ftp.tests.talking import FILES, Talk, factory, kept, read_all
from sennit.core import ClientTLS, ServerTLS, open_stream, serve
from sennit.core.errors import ConnectionLost
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import FTPError
from sennit.ftp.limits import Limits
from sennit.ftp.store.directory import DirectoryStore
from sennit.ftp.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.ftp.server import FTPServerFactory

LARGE = bytes(range(256)) * 40_000  # more than two windows
CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
MADE = CA.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
PAIR = MADE.private_key_and_cert_chain_pem.bytes()
TRUST = ClientTLS(trust=CA.cert_pem.bytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve."""
    (tmp_path / "motd").write_bytes(FILES["motd"])
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path


async def met(made: FTPServerFactory, host: str = "127.0.0.1") -> AsyncIterator[Talk]:
    """A client that has logged in."""
    async with serve(f"tcp://{host}:0", made) as server:
        talk = await Talk.open(f"tcp://{host}:{server.port}")
        yield talk
        if not talk.stream.transport.is_closing():
            await talk.expect("221", "QUIT")
            await talk.stream.aclose()


async def test_files_of_the_system_pass_both_ways(root: Path) -> None:
    async for talk in met(factory(DirectoryStore(root))):
        assert await talk.fetch("RETR large") == LARGE
        await talk.expect("350", "REST 10000000")
        assert await talk.fetch("RETR large") == LARGE[10_000_000:]
        assert (await talk.store("STOR new", LARGE)).startswith("226")
        assert (root / "new").read_bytes() == LARGE
        await talk.store("APPE new", b"more")
        assert (root / "new").read_bytes() == LARGE + b"more"
        assert sorted((await talk.fetch("NLST")).split()) == [b"large", b"motd", b"new"]
        await talk.expect("213 12", "SIZE motd")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_over_ipv6_too(root: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    async for talk in met(factory(DirectoryStore(root)), "[::1]"):
        talk.host = "[::1]"
        await talk.expect("502", "PASV")
        assert await talk.fetch("RETR motd") == FILES["motd"]
        with socket.socket(socket.AF_INET6) as listening:
            listening.bind(("::1", 0))
            listening.listen(1)
            await talk.expect("200", f"EPRT |2|::1|{listening.getsockname()[1]}|")
            await talk.expect("150", "RETR motd")
            assert (await talk.reply()).startswith("226")
            taken, _ = listening.accept()
            with taken:
                assert taken.recv(100) == FILES["motd"]


def said_urgently(sock: socket.socket) -> None:
    """Telnet's synch: interrupt, then a data mark by urgent data (RFC 959 §4.1.3)."""
    sock.send(b"\xff\xf4\xff", socket.MSG_OOB)
    sock.send(b"\xf2ABOR\r\n")


def ended_urgently(sock: socket.socket) -> None:
    """As Python's ftplib says it: the last octet of the line is the urgent one."""
    sock.send(b"ABOR\r\n", socket.MSG_OOB)


@pytest.mark.parametrize("say", [said_urgently, ended_urgently])
async def test_abor_by_urgent_data_is_heard(root: Path, say: Any) -> None:
    """HARDENING ftp-6."""
    async for talk in met(factory(DirectoryStore(root))):
        data = await talk.data()
        data.transport.pause_reading()
        await talk.expect("150", "STOR new")
        sock = socket.socket(fileno=os.dup(talk.stream.transport.get_extra_info("socket").fileno()))
        with sock:
            say(sock)
        assert (await talk.reply()).startswith("426")
        assert (await talk.reply()).startswith("226")
        await data.aclose(timeout=0)
        assert not (root / "new").exists()
        assert await talk.fetch("RETR motd") == FILES["motd"]


@pytest.mark.parametrize("tls", [False, True])
async def test_our_client_goes_on_with_an_upload_that_a_reset_has_cut(
    root: Path, tls: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("local") / "big"
    source.write_bytes(LARGE)
    made = factory(
        DirectoryStore(root, keep_broken=True),
        tls=ServerTLS(PAIR) if tls else None,
        tls_mode="required" if tls else "off",
    )
    trust: dict[str, Any] = {"tls": "explicit", "client_tls": TRUST} if tls else {}
    async with serve("tcp://127.0.0.1:0", made) as server:
        url = f"ftp://u:p@localhost:{server.port}/"
        async with FTPClient.connect(url, **trust) as ftp:

            def cut(done: int, _total: int | None) -> None:
                if done > 3_000_000 and ftp._current is not None:
                    ftp._current.abort()

            with pytest.raises((ConnectionLost, FTPError)):
                await ftp.put(source, "big", on_progress=cut)
        part = (root / "big").stat().st_size
        assert 0 < part < len(LARGE)
        async with FTPClient.connect(url, **trust) as ftp:
            sent: list[int] = []
            await ftp.put(
                source, "big", resume=True, on_progress=lambda done, total: sent.append(done)
            )
            assert sent[0] >= part
    there = hashlib.sha256((root / "big").read_bytes())
    assert there.digest() == hashlib.sha256(LARGE).digest()
    assert sorted(os.listdir(root)) == ["big", "large", "motd"]


async def test_surplus_connections_are_told_so() -> None:
    """HARDENING ftp-5, core-13: 8 from an address; loopback counts where it is told to."""
    limits = ConnectionLimits(max_per_address=8, count_loopback=True)
    async with serve("tcp://127.0.0.1:0", factory(), limits=limits) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        talks = [await Talk.open(url, login=False) for _ in range(8)]
        stream = await open_stream(url)
        assert await stream.read_line() == b"421 Too many connections"
        assert await stream.receive_some() == b""
        await stream.aclose()
        for talk in talks:
            await talk.expect("221", "QUIT")
            await talk.stream.aclose()


@pytest.mark.parametrize("line", ["RETR large", "STOR new", "LIST"])
async def test_resets_of_either_connection_cost_one_transfer(
    root: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7, ftp-6: nothing stays open."""
    made = factory(DirectoryStore(root))
    protocols = kept(made)
    async with serve("tcp://127.0.0.1:0", made) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        for which in ("data", "control", "both", "before"):
            talk = await Talk.open(url)
            data = await talk.data()
            if which == "before":
                reset(data)
            await talk.stream.send_all(line.encode() + b"\r\n")
            if which == "before":
                assert (await talk.reply())[:3] in ("150", "425", "550")
            else:
                await talk.reply()
            if which in ("data", "both"):
                reset(data)
            if which in ("control", "both"):
                reset(talk.stream)
            else:
                await talk.stream.send_all(b"QUIT\r\n")
                while (await talk.reply())[:3] != "221":
                    pass
                await talk.stream.aclose()
            await protocols[-1].finished()
            await data.aclose(timeout=0)
    assert not [each for each in os.listdir(root) if each not in ("motd", "large")]
    assert "Traceback" not in caplog.text


def reset(stream: Any) -> None:
    """End a connection by RST. (`Any`: a Stream, whose transport has a socket.)"""
    sock = stream.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.transport.abort()


async def test_a_slow_disk_holds_the_client_up_and_not_the_memory() -> None:
    """HARDENING fault-15: two windows are in memory, whatever is sent."""
    gate = asyncio.Event()
    most = 0

    class Slow(MemoryStore):
        pass

    store = Slow(FILES)
    open_writer = store.open_writer

    async def slowly(path: Any, **options: Any) -> Any:
        writer: Any = await open_writer(path, **options)
        write = writer.write

        async def later(pieces: Any) -> None:
            nonlocal most
            await gate.wait()
            transfer = protocols[0]._transfer
            assert transfer is not None
            assert transfer._connection is not None
            most = max(most, transfer._connection._size + sum(map(len, pieces)))
            await write(pieces)

        writer.write = later
        return writer

    store.open_writer = slowly  # type: ignore[method-assign]  # in front of it
    made = factory(store, limits=Limits(window=64 * 1024))
    protocols = kept(made)
    async for talk in met(made):
        data = await talk.data()
        await talk.expect("150", "STOR new")
        sending = asyncio.ensure_future(data.send_all(LARGE))
        for _ in range(50):
            await talk.expect("211", "STAT")
        assert not sending.done()
        gate.set()
        await sending
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        assert await talk.fetch("RETR new") == LARGE
    assert 0 < most <= 64 * 1024 * 5


def test_an_idle_session_takes_little_memory() -> None:
    """HARDENING fault-16: 12 KiB, the transport's own included."""
    clock = Clock()
    made = factory()
    count = 200

    def connect() -> list[RecordingTransport]:
        transports: list[RecordingTransport] = []
        for _ in range(count):
            transport = RecordingTransport()
            protocol = made.build_protocol(None)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            transport.receive(b"USER u\r\nPASS p\r\n")
            transport.take()
            transports.append(transport)
        return transports

    found: list[list[RecordingTransport]] = []
    clock.call_soon(lambda: found.append(connect()))
    clock.pump()
    found.clear()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        clock.call_soon(lambda: found.append(connect()))
        clock.pump()
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    assert each < 12 * 1024
    for transport in found[0]:
        transport.lose()
    clock.pump()


async def test_texts_of_files_are_read_in_pieces(root: Path) -> None:
    async for talk in met(factory(DirectoryStore(root))):
        await talk.expect("200", "TYPE A")
        data = await talk.data()
        await talk.expect("150", "RETR large")
        assert await read_all(data) == LARGE.replace(b"\n", b"\r\n")
        await data.aclose()
        assert (await talk.reply()).startswith("226")
