"""Our client against vsftpd, ProFTPD and Pure-FTPd, plain and over TLS."""

from __future__ import annotations

import io
import os
import random
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

from packages.ftp.tests.interop.peers import SYSTEM_USER, Peers
from sennit.core.errors import TLSError
from sennit.core.transport.tls import ClientTLS
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import FTPPermanentError, FTPReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from packages.ftp.tests.interop.peers import Daemon

pytestmark = pytest.mark.interop

BIG: Final = random.Random(2).randbytes(3_000_000)
NAME: Final = "Ünïcode näme €.txt"
SERVERS: Final[dict[str, Callable[[Peers], Daemon]]] = {
    "vsftpd": lambda peers: peers.vsftpd(),
    "vsftpd over TLS": lambda peers: peers.vsftpd(tls=True),
    "vsftpd over implicit TLS": lambda peers: peers.vsftpd(implicit=True),
    "ProFTPD": lambda peers: peers.proftpd(),
    "ProFTPD over TLS": lambda peers: peers.proftpd(tls=True),
    "ProFTPD over implicit TLS": lambda peers: peers.proftpd(implicit=True),
    "Pure-FTPd": lambda peers: peers.pure_ftpd(),
    "Pure-FTPd over TLS": lambda peers: peers.pure_ftpd(tls=True),
}
CLEARING: Final[dict[str, Callable[[Peers], Daemon]]] = {
    # Where TLS is required for the login and data alone.
    "ProFTPD over TLS": lambda peers: peers.proftpd(tls=True, required="auth+data"),
    "Pure-FTPd over TLS": lambda peers: peers.pure_ftpd(tls=True),
}
"""Those that allow CCC."""


class Peer:
    """A server of others, and how our client reaches it."""

    def __init__(
        self, which: str, peers: Peers, made: dict[str, Callable[[Peers], Daemon]] = SERVERS
    ) -> None:
        self.daemon = made[which](peers)
        self.tls: Any = None  # Literal, as `FTPClient.connect` has it
        if "TLS" in which:
            self.tls = "implicit" if "implicit" in which else "explicit"
        self.trust = ClientTLS(trust=peers.certificate.authority.read_bytes())

    def connect(self, *, active: bool = False, **words: Any) -> Any:
        """Connect to the folder where everything may be done."""
        where = f"localhost:{self.daemon.port}/{self.daemon.directory}"
        return FTPClient.connect(
            f"ftp://{where}",
            user=words.pop("user", self.daemon.user),
            password=words.pop("password", self.daemon.password),
            tls=self.tls,
            client_tls=words.pop("client_tls", self.trust if self.tls else None),
            active=active,
        )

    def folder(self, name: str) -> Path:
        """A new folder, whose files are the server's user's."""
        made = self.daemon.files / name
        made.mkdir()
        self.own(made)
        return made

    def own(self, *paths: Path) -> None:
        """Give them to the server's user."""
        for each in paths:
            shutil.chown(each, SYSTEM_USER, SYSTEM_USER)


@pytest.fixture(scope="module", params=list(SERVERS))
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """Each of the servers in turn, with all tests."""
    peers = Peers()
    try:
        yield Peer(request.param, peers)
    finally:
        peers.stop()


def contents(tree: Path) -> dict[str, bytes | None]:
    """What there is below a folder, by path."""
    return {
        str(each.relative_to(tree)): each.read_bytes() if each.is_file() else None
        for each in tree.rglob("*")
    }


@pytest.mark.parametrize("active", [False, True], ids=["passive", "active"])
async def test_files_go_both_ways(peer: Peer, tmp_path: Path, active: bool) -> None:
    folder = peer.folder(f"both-{active}")
    source = tmp_path / "source"
    source.write_bytes(BIG)
    seen: list[int] = []

    def note(done: int, _total: int | None) -> None:
        seen.append(done)

    async with peer.connect(active=active) as ftp:
        await ftp.cwd(folder.name)
        await ftp.put(source, NAME, on_progress=note)
        await ftp.get(NAME, tmp_path / "back")
        assert await ftp.size(NAME) == len(BIG)

    assert (folder / NAME).read_bytes() == BIG
    assert (tmp_path / "back").read_bytes() == BIG
    assert seen[-1] == len(BIG)
    assert seen == sorted(seen)


async def test_transfers_are_resumed_both_ways(peer: Peer, tmp_path: Path) -> None:
    folder = peer.folder("resumed")
    source = tmp_path / "source"
    source.write_bytes(BIG)
    (folder / "up").write_bytes(BIG[:1_111_111])
    peer.own(folder / "up")
    (tmp_path / "down.part").write_bytes(BIG[:2_222_222])
    begun: list[int] = []

    def note(done: int, _total: int | None) -> None:
        begun.append(done)

    async with peer.connect() as ftp:
        await ftp.cwd(folder.name)
        await ftp.put(source, "up", resume=True)
        await ftp.get("up", tmp_path / "down", resume=True, on_progress=note)

    assert (folder / "up").read_bytes() == BIG
    assert (tmp_path / "down").read_bytes() == BIG
    assert begun[0] >= 2_222_222


async def test_directories_are_read_made_and_removed(peer: Peer) -> None:
    folder = peer.folder("names")
    (folder / NAME).write_bytes(b"x" * 12_345)
    (folder / "sub").mkdir()
    os.utime(folder / NAME, (1_234_567_890, 1_234_567_890))
    peer.own(folder / NAME, folder / "sub")

    async with peer.connect() as ftp:
        await ftp.cwd(folder.name)
        found = {each.name: each for each in await ftp.ls()}
        assert {name: each.kind for name, each in found.items()} == {NAME: "file", "sub": "dir"}
        assert found[NAME].size == 12_345
        # LIST tells the day only of what is old.
        assert abs(found[NAME].modified - 1_234_567_890) < 86_400
        assert set(await ftp.names()) == {NAME, "sub"}
        entry = await ftp.stat(NAME)
        assert (entry.size, entry.modified) == (12_345, 1_234_567_890)
        assert (await ftp.pwd()).endswith(f"/{folder.name}")
        await ftp.mkdir("new")
        await ftp.rename(NAME, "new/other")
        with pytest.raises(FTPPermanentError):
            await ftp.rmdir("new")
        await ftp.remove("new/other")
        await ftp.rmdir("new")
        with pytest.raises(FTPReplyError):
            await ftp.stat("missing")

    assert [each.name for each in folder.iterdir()] == ["sub"]


async def test_a_tree_is_mirrored_both_ways(peer: Peer, tmp_path: Path) -> None:
    folder = peer.folder("mirror")
    source = tmp_path / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    for number in range(12):
        (source / "sub" / f"{number} {NAME}").write_bytes(BIG[: number * 1000])

    async with peer.connect() as ftp:
        sent = await ftp.mirror(source, f"{folder.name}/tree", parallel=3)
        got = await ftp.mirror(f"{folder.name}/tree", tmp_path / "back", parallel=3)
        again = await ftp.mirror(f"{folder.name}/tree", tmp_path / "back", parallel=3)

    assert (sent.copied, got.copied, again.copied, again.same) == (12, 12, 0, 12)

    for copy in (folder / "tree", tmp_path / "back"):
        assert contents(copy) == contents(source)


async def test_a_transfer_that_is_given_up_leaves_the_session(peer: Peer) -> None:
    folder = peer.folder("abort")
    (folder / "huge").write_bytes(bytes(50_000_000))
    (folder / "small").write_bytes(b"small")
    peer.own(folder / "huge", folder / "small")

    async with peer.connect() as ftp:
        await ftp.cwd(folder.name)
        async with ftp.open_reader("huge") as reader:
            assert await reader.read()
        async with ftp.open_reader("small") as reader:
            assert await reader.read() == b"small"
            assert await reader.read() == b""


async def test_streams_carry_what_is_made_on_the_way(peer: Peer) -> None:
    folder = peer.folder("streams")

    async with peer.connect() as ftp:
        await ftp.cwd(folder.name)
        async with ftp.open_writer("made") as writer:
            for number in range(1000):
                await writer.write(b"%d\n" % number)

    assert (folder / "made").read_bytes() == b"".join(b"%d\n" % n for n in range(1000))


async def test_the_text_type_changes_line_ends(peer: Peer, tmp_path: Path) -> None:
    folder = peer.folder("text")
    (tmp_path / "text").write_bytes(b"one\ntwo\n")

    async with peer.connect() as ftp:
        await ftp.cwd(folder.name)
        await ftp.put(tmp_path / "text", "text", ascii=True)
        await ftp.get("text", tmp_path / "back", ascii=True)

    assert (folder / "text").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "back").read_bytes() == b"one\ntwo\n"


async def test_a_wrong_password_is_refused(peer: Peer) -> None:
    if peer.daemon.name == "pure-ftpd":
        return  # it lets four seconds pass first
    if peer.daemon.user == "ftp":
        user, password = "nobody", "wrong"  # anonymous has none that is wrong
    else:
        user, password = peer.daemon.user, "wrong"
    with pytest.raises(FTPPermanentError) as caught:
        async with peer.connect(user=user, password=password):
            pass
    assert caught.value.code == 530


async def test_strangers_certificates_are_refused(peer: Peer, stranger: ClientTLS) -> None:
    if peer.tls is None:
        # TLS that was asked for is never done without.
        with pytest.raises(FTPReplyError):
            async with FTPClient.connect(
                f"ftp://localhost:{peer.daemon.port}/", tls="explicit", client_tls=peer.trust
            ):
                pass
        return
    with pytest.raises(TLSError):
        async with peer.connect(client_tls=stranger):
            pass


@pytest.fixture
def peers() -> Iterator[Peers]:
    """For tests that start servers of their own."""
    made = Peers()
    yield made
    made.stop()


@pytest.mark.parametrize("which", list(CLEARING))
async def test_tls_is_taken_off_the_control_connection(
    which: str, peers: Peers, tmp_path: Path
) -> None:
    """CCC."""
    peer = Peer(which, peers, CLEARING)
    async with peer.connect() as ftp:
        await ftp.clear_control()
        assert not ftp.secure
        await ftp.put(io.BytesIO(BIG), "cleared")
        assert (await ftp.stat("cleared")).size == len(BIG)
        await ftp.get("cleared", tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == BIG
        assert "cleared" in [each.name for each in await ftp.ls()]


async def test_a_server_without_ccc_refuses_it(peers: Peers) -> None:
    async with Peer("vsftpd over TLS", peers).connect() as ftp:
        with pytest.raises(FTPPermanentError):
            await ftp.clear_control()
        assert ftp.secure
        assert await ftp.pwd() == "/pub"


@pytest.fixture(scope="module")
def stranger() -> ClientTLS:
    return ClientTLS(trust=trustme.CA().cert_pem.bytes())
