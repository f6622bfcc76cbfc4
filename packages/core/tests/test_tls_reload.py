"""Certificates are read anew when their files change, and only when what is new works."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from OpenSSL import SSL

from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.service.certificates import CertificateWatch
from sennit.core.service.loading import load
from sennit.core.service.node import Node
from sennit.core.transport.tls import ServerTLS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)


def issue(*names: str) -> tuple[bytes, bytes]:
    made = CA.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    return b"".join(each.bytes() for each in made.cert_chain_pems), made.private_key_pem.bytes()


OLD = issue("localhost")
NEW = issue("localhost", "new.example")


def subject(tls: ServerTLS) -> list[str]:
    """The names that a client of `tls` is shown."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stranger = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    connection = SSL.Connection(tls.context, None)
    connection.set_accept_state()
    for _ in range(5):
        try:
            stranger.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        connection.bio_write(outgoing.read())
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        incoming.write(connection.bio_read(65536))
    shown: Any = stranger.getpeercert()
    return [name for _, name in shown["subjectAltName"]]


class Files:
    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.cert.write_bytes(OLD[0])
        self.key.write_bytes(OLD[1])
        self.tls = ServerTLS(self.cert, self.key)

    async def shows(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while subject(self.tls) != list(names):
                await asyncio.sleep(0.005)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncGenerator[Files, None]:
    files = Files(tmp_path)
    watch = CertificateWatch({"main": files.tls}, settle=0.02)
    await watch.start(current_reactor())
    yield files
    await watch.stop()


async def heard(caplog: pytest.LogCaptureFixture, text: str) -> str:
    async with asyncio.timeout(10):
        while True:
            for record in caplog.records:
                if text in record.getMessage():
                    assert record.levelno == logging.ERROR
                    return record.getMessage()
            await asyncio.sleep(0.005)


async def test_a_new_pair_is_shown(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING defaults 12."""
    caplog.set_level(logging.INFO, "sennit.tls")
    assert subject(files.tls) == ["localhost"]
    files.cert.write_bytes(NEW[0])
    files.key.write_bytes(NEW[1])
    await files.shows("localhost", "new.example")
    async with asyncio.timeout(10):
        while "certificate main: read anew" not in caplog.text:
            await asyncio.sleep(0.001)


async def test_key_first_and_certificate_later_end_well(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-18: in between the old pair stays, though its key has gone from disk."""
    files.key.write_bytes(NEW[1])
    assert str(files.key) in await heard(caplog, "the old ones stay")
    assert subject(files.tls) == ["localhost"]
    files.cert.write_bytes(NEW[0])
    await files.shows("localhost", "new.example")


@pytest.mark.parametrize("bad", [NEW[0][:200], b"", None], ids=["half", "empty", "gone"])
async def test_what_cannot_be_used_leaves_the_old_pair_and_names_the_file(
    files: Files, bad: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-18, defaults 12."""
    if bad is None:
        files.cert.unlink()
    else:
        files.cert.write_bytes(bad)
    assert str(files.cert) in await heard(caplog, "the old ones stay")
    assert subject(files.tls) == ["localhost"]
    files.key.write_bytes(NEW[1])
    files.cert.write_bytes(NEW[0])
    await files.shows("localhost", "new.example")


async def test_a_swap_of_links_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets, and certbot keeps its ``live`` folder."""
    for name, (cert, key) in {"v1": OLD, "v2": NEW}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.crt").write_bytes(cert)
        (tmp_path / name / "tls.key").write_bytes(key)
    (tmp_path / "..data").symlink_to("v1")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    tls = ServerTLS(tmp_path / "tls.crt", tmp_path / "tls.key")
    watch = CertificateWatch({"main": tls}, settle=0.02)
    await watch.start(current_reactor())
    (tmp_path / "..next").symlink_to("v2")
    (tmp_path / "..next").replace(tmp_path / "..data")
    async with asyncio.timeout(10):
        while subject(tls) != ["localhost", "new.example"]:
            await asyncio.sleep(0.005)
    await watch.stop()


async def test_an_error_of_ours_is_logged_and_the_next_change_read(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.tls, "_load_all", lambda: 1 // 0)
        files.cert.write_bytes(NEW[0])
        files.key.write_bytes(NEW[1])
        assert "division" in await heard(caplog, "certificate main: not read anew")
    files.key.touch()
    await files.shows("localhost", "new.example")


def test_its_files_are_all_that_it_was_loaded_from(tmp_path: Path) -> None:
    names = [str(tmp_path / each) for each in ("a", "b", "c")]
    for name, data in zip(names, (OLD[0], OLD[1], CA.cert_pem.bytes()), strict=True):
        with open(name, "wb") as file:
            file.write(data)
    tls = ServerTLS(names[0], names[1], client_ca=names[2], sni=[(OLD[0] + OLD[1], None)])
    assert tls.files == tuple(names)
    assert ServerTLS(*OLD).files == ()


# ── in a node ─────────────────────────────────────────────────────────────────

CONFIG = """
[tls.main]
certificate = "{cert}"
key = "{key}"

[service.echo]
type = "echo"
listen = [{{url = "tls://127.0.0.1:0", tls = "main"}}]
"""


def shown(url: str) -> list[str]:
    """The names that a client is shown at a URL (in a thread)."""
    host, port = url.removeprefix("tls://").rsplit(":", 1)
    context = ssl.create_default_context()
    CA.configure_trust(context)
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        peer: Any = sock.getpeercert()
        return [name for _, name in peer["subjectAltName"]]


def test_a_running_node_takes_up_what_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING defaults 12; also after a reload has named other files."""
    monkeypatch.setattr("sennit.core.service.certificates.SETTLE_SECONDS", 0.02)
    file = tmp_path / "sennit.toml"

    def write(pair: tuple[bytes, bytes], cert: str, key: str) -> None:
        (tmp_path / cert).write_bytes(pair[0])
        (tmp_path / key).write_bytes(pair[1])

    async def main(reactor: Reactor) -> None:
        node = Node(load(file), reactor, read=lambda: load(file))
        await node.start()
        (url,) = node.entries["echo"].urls

        async def shows(*names: str) -> None:
            async with asyncio.timeout(10):
                while await reactor.defer_to_thread(shown, url) != list(names):
                    await asyncio.sleep(0.01)

        await shows("localhost")
        write(NEW, "cert.pem", "key.pem")
        await shows("localhost", "new.example")
        write(OLD, "other.pem", "other.key")
        file.write_text(CONFIG.format(cert="other.pem", key="other.key"))
        await node.reload()
        await shows("localhost")
        write(NEW, "other.pem", "other.key")
        await shows("localhost", "new.example")
        await node.stop(0.1)

    write(OLD, "cert.pem", "key.pem")
    file.write_text(CONFIG.format(cert="cert.pem", key="key.pem"))
    reactor = Reactor()
    reactor.run(main)
    reactor.close()
