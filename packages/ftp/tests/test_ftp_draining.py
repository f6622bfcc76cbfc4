"""Uploads that the thread which writes them receives by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from zope.interface.verify import verifyObject

from packages.ftp.tests.storing import trial
from packages.ftp.tests.talking import Talk, factory
from sennit.core import serve
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.ftp import draining
from sennit.ftp.data import make_connection
from sennit.ftp.draining import GATHERED, Drain
from sennit.ftp.errors import NoSpaceError, TransferError
from sennit.ftp.interfaces import IDrainingWriter
from sennit.ftp.store.directory import DirectoryStore
from sennit.ftp.store.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = bytes(range(256)) * 80_000
WINDOW = 1 << 20


class _Transport:
    """A socket that the loop would read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reactor: Any = None
        self.reading = True
        self.aborted = ""

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.sock, "reactor": self.reactor}[name]

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self, reason: str) -> None:
        self.aborted = reason


@pytest.fixture
def peer() -> Iterator[tuple[Any, _Transport, socket.socket]]:
    """A connection that has been read to some octet, its transport, and the client's end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with client, ours:
        ours.setblocking(False)
        transport = _Transport(ours)
        connection: Any = make_connection(WINDOW, (), (), plain=True)
        connection.connection_made(transport)
        connection.receive()
        yield connection, transport, client


def drained(connection: Any, wanted: int) -> bytes:
    """What a drain gives, once so much has come over loopback."""
    found = b""
    while len(found) < wanted:
        drain = connection.drain()
        while (piece := drain.take()) is not None:
            found += piece
        drain.end()
    return found


def test_what_has_come_is_taken_while_the_loop_does_not_read(
    peer: tuple[Any, _Transport, socket.socket],
) -> None:
    connection, transport, client = peer
    client.sendall(b"abc")
    drain = connection.drain()
    assert not transport.reading
    drain.end()
    assert transport.reading
    assert drained(connection, 3) == b"abc"
    assert connection.received == 3


@pytest.mark.parametrize(("came", "gathered"), [(WINDOW, GATHERED), (WINDOW - 1, WINDOW)])
async def test_of_a_fast_client_less_is_gathered_for_the_next_visit(
    peer: tuple[Any, _Transport, socket.socket], came: int, gathered: int
) -> None:
    connection, _, _ = peer
    connection.drained(came, None)
    waiting = asyncio.ensure_future(connection.take())
    have = 0
    await asyncio.sleep(0)
    while not waiting.done():
        size = min(len(connection.get_buffer(-1)), 64 * 1024)
        connection.buffer_updated(size)
        have += size
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert sum(map(len, await waiting)) == have == gathered


def test_the_end_is_left_for_the_loop_to_see(
    peer: tuple[Any, _Transport, socket.socket],
) -> None:
    connection, transport, client = peer
    client.sendall(b"abc")
    client.shutdown(socket.SHUT_WR)
    assert drained(connection, 3) == b"abc"
    drain = connection.drain()
    assert drain.take() is drain.error is None
    drain.end()
    assert transport.reading
    assert transport.sock.recv(1) == b""


def test_a_reset_is_no_end(peer: tuple[Any, _Transport, socket.socket]) -> None:
    """It is told once: the loop, asking again, would take it for a whole file."""
    connection, transport, client = peer
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    drain = connection.drain()
    assert drain.take() is None
    assert isinstance(drain.error, ConnectionResetError)
    drain.end()
    assert transport.aborted == "reset"
    connection.connection_lost(None)
    with pytest.raises(TransferError, match="broke"):
        connection.take().send(None)


def test_a_fast_client_does_not_keep_the_thread(
    peer: tuple[Any, _Transport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _, client = peer
    monkeypatch.setattr(draining, "MOST", 3)
    monkeypatch.setattr(draining, "AT_ONCE", 2)
    client.sendall(b"abcdef")
    drain = connection.drain()
    assert [bytes(drain.take() or b"") for _ in range(3)] == [b"ab", b"cd", b""]
    drain.end()


def test_a_thread_for_which_others_wait_is_left(
    peer: tuple[Any, _Transport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred fast uploads tripled how long a small one took."""
    connection, transport, client = peer
    monkeypatch.setattr(draining, "AT_ONCE", 2)
    pool = SimpleNamespace(waiting=0)
    transport.reactor = SimpleNamespace(thread_pool=pool)
    client.sendall(b"abcdef")
    drain = connection.drain()
    assert bytes(drain.take() or b"") == b"ab"
    pool.waiting = 1
    assert drain.take() is None
    drain.end()
    assert transport.reading


def test_nothing_is_taken_of_a_connection_that_has_ended_or_gone(
    peer: tuple[Any, _Transport, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, transport, client = peer
    client.sendall(b"abc")

    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", none_left)
        assert connection.drain() is None
    drain = connection.drain()
    connection.connection_lost(None)
    assert drain.take() is None
    transport.reading = False
    drain.end()
    assert not transport.reading
    assert connection.drain() is None


# ── stores ────────────────────────────────────────────────────────────────────


def giving(*pieces: bytes) -> Callable[[], bytes | None]:
    left = list(pieces)
    return lambda: left.pop(0) if left else None


@pytest.mark.parametrize("append", [False, True])
def test_a_writer_goes_on_with_what_it_is_given(tmp_path: Path, append: bool) -> None:
    @trial
    async def _() -> None:
        (tmp_path / "old").write_bytes(b"0")
        store = DirectoryStore(tmp_path)
        writer: Any = await store.open_writer(("old" if append else "new",), append=append)
        assert verifyObject(IDrainingWriter, writer)
        assert writer.drains
        await writer.write([b"1"])
        await writer.write_on([b"2", b"3"], giving(b"4" * 100_000, b"5"))
        await writer.write([b"6"])
        await writer.commit()
        wanted = b"123" + b"4" * 100_000 + b"56"
        assert (tmp_path / ("old" if append else "new")).read_bytes() == b"0" * append + wanted
        assert store.root.usage.octets == len(wanted)
        assert store.root.receiving.octets == 0
        store.close()


def test_a_disk_that_fails_meanwhile_leaves_nothing_and_a_right_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-3."""
    real = os.writev
    calls = 0

    def full(fd: int, pieces: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, pieces)

    @trial
    async def _() -> None:
        store = DirectoryStore(tmp_path)
        writer: Any = await store.open_writer(("new",))
        monkeypatch.setattr(os, "writev", full)
        with pytest.raises(NoSpaceError):
            await writer.write_on([b"1"], giving(b"2", b"3"))
        await writer.abort()
        assert not os.listdir(tmp_path)
        assert (store.root.usage.octets, store.root.usage.files) == (0, 0)
        assert (store.root.receiving.octets, store.root.receiving.files) == (0, 0)
        store.close()


def test_who_has_a_quota_is_asked_before_it_is_written(tmp_path: Path) -> None:
    @trial
    async def _() -> None:
        store = DirectoryStore(tmp_path, quota=Quota(octets=10))
        writer: Any = await store.open_writer(("new",))
        assert not writer.drains
        await writer.abort()
        store.close()


# ── servers ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cut", [False, True])
async def test_a_large_upload_is_drained_and_a_reset_leaves_nothing_of_it(
    tmp_path: Path, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-7: half a file is never shown as whole, whoever sees the reset."""
    taken = 0
    real = Drain.take

    def counted(self: Drain) -> memoryview | None:
        nonlocal taken
        piece = real(self)
        taken += 0 if piece is None else len(piece)
        return piece

    monkeypatch.setattr(Drain, "take", counted)
    async with serve("tcp://127.0.0.1:0", factory(DirectoryStore(tmp_path))) as server:
        talk = await Talk.open(f"tcp://127.0.0.1:{server.port}")
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await data.send_all(LARGE)
        if cut:
            sock = data.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await data.aclose(timeout=0)
            assert (await talk.reply()).startswith("426")
            assert not os.listdir(tmp_path)
        else:
            await data.aclose()
            assert (await talk.reply()).startswith("226")
            assert (tmp_path / "new").read_bytes() == LARGE
            assert taken > 0
        await talk.expect("221", "QUIT")
        await talk.stream.aclose()


async def test_what_is_protected_after_all_is_not_drained(tmp_path: Path) -> None:
    """Else records of TLS were written to the file: PROT P after EPSV made the data port."""
    pair = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    made = factory(
        DirectoryStore(tmp_path), tls_mode="optional", tls=ServerTLS(pair), must_resume=False
    )
    trust = ClientTLS(verify=False)
    async with serve("tcp://127.0.0.1:0", made) as server:
        talk = await Talk.open(f"tcp://127.0.0.1:{server.port}", login=False)
        await talk.expect("234", "AUTH TLS")
        await talk.stream.start_tls(trust, server_hostname="localhost")
        await talk.log_in()
        await talk.expect("200", "PBSZ 0")
        await talk.expect("200", "PROT C")
        data = await talk.data()
        await talk.expect("200", "PROT P")
        await talk.expect("150", "STOR new")
        await data.start_tls(trust, server_hostname="localhost")
        await data.send_all(LARGE)
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        assert (tmp_path / "new").read_bytes() == LARGE
        await talk.stream.aclose()
