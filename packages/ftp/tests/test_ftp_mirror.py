"""Whole trees, both ways, and files of this machine, on the kernel's sockets."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from packages.ftp.tests.talking import factory
from sennit.core import serve
from sennit.core.stream import stream_handler
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import DifferentError, FTPPermanentError, FTPUsageError, TransferError
from sennit.ftp.mirror import Mirrored, Step
from sennit.ftp.store.directory import DirectoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.core.stream import Stream

TREE = {
    "a": b"A" * 10,
    "empty": b"",
    "big": bytes(range(256)) * 8000,
    "one/b ü": b"B",
    "one/two/c": b"C" * 70_000,
    "one/two/d": b"D",
}


def plant(root: Path, files: dict[str, bytes] | None = None) -> Path:
    """Make a tree whose files are of the year 2001, by whole seconds."""
    for at, (name, octets) in enumerate((TREE if files is None else files).items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
        os.utime(path, (1_000_000_000 + at, 1_000_000_000 + at))
    return root


def both(remote: str, here: Path, upload: bool) -> tuple[Any, Any]:
    """Source and target. (`Any`: text and a path, in either order.)"""
    return (here, remote) if upload else (remote, here)


def tree(root: Path) -> dict[str, tuple[bytes, float]]:
    """What a tree holds."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime)
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """What the server has."""
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """What we have."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
async def ftp(there: Path) -> AsyncIterator[FTPClient]:
    """A client of our server."""
    async with (
        serve("tcp://127.0.0.1:0", factory(DirectoryStore(there))) as server,
        FTPClient.connect(f"ftp://u:p@127.0.0.1:{server.port}/") as client,
    ):
        yield client


# ── single files ──────────────────────────────────────────────────────────────


async def test_a_file_comes_whole_with_its_time_and_leaves_nothing_beside(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    plant(there)
    (here / "big").write_bytes(b"old")
    (here / "big").chmod(0o640)

    assert await ftp.get("big", here / "big") == len(TREE["big"])

    assert (here / "big").read_bytes() == TREE["big"]
    assert (here / "big").stat().st_mtime == (there / "big").stat().st_mtime
    assert stat.S_IMODE((here / "big").stat().st_mode) == 0o640
    assert os.listdir(here) == ["big"]


async def test_a_file_that_does_not_come_leaves_the_old_one(ftp: FTPClient, here: Path) -> None:
    (here / "a").write_bytes(b"old")
    with pytest.raises(FTPPermanentError):
        await ftp.get("a", here / "a")
    with pytest.raises(IsADirectoryError):
        await ftp.get("a", here)
    assert os.listdir(here) == ["a"]
    assert (here / "a").read_bytes() == b"old"


async def test_a_file_that_is_resumed_keeps_its_part_until_it_is_whole(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    big = TREE["big"]
    (here / "big.part").write_bytes(big[:100_000])
    with pytest.raises(FTPPermanentError):
        await ftp.get("big", here / "big", resume=True)
    assert os.listdir(here) == ["big.part"]
    plant(there)
    seen: list[int] = []

    def see(done: int, total: int | None) -> None:
        seen.append(done)

    assert await ftp.get("big", here / "big", resume=True, on_progress=see) == len(big)

    assert seen[0] == 100_000
    assert (here / "big").read_bytes() == big
    assert os.listdir(here) == ["big"]


async def test_what_another_program_left_is_gone_on_with(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    """``curl -C -`` and ``wget -c`` leave it under the name itself."""
    plant(there)
    big, name = TREE["big"], here / "big"
    name.write_bytes(big[:100_000])
    seen: list[int] = []

    def see(done: int, total: int | None) -> None:
        seen.append(done)

    # What is refused leaves it as it is.
    (here / "nothing").write_bytes(b"x")
    with pytest.raises(FTPPermanentError):
        await ftp.get("nothing", here / "nothing", resume=True)
    assert sorted(os.listdir(here)) == ["big", "nothing"]

    await ftp.get("big", name, resume=True, on_progress=see)
    assert seen[0] == 100_000
    assert name.read_bytes() == big
    assert name.stat().st_mtime == (there / "big").stat().st_mtime
    await ftp.get("big", name, resume=True)  # there is no more

    # Written before the server's was, it is a piece of something else; longer, likewise.
    for octets, at in ((b"other", 900_000_000), (big + b"x", 1_100_000_000)):
        name.write_bytes(octets)
        os.utime(name, (at, at))
        await ftp.get("big", name, resume=True)
        assert name.read_bytes() == big
    assert sorted(os.listdir(here)) == ["big", "nothing"]


async def test_what_breaks_off_behind_what_another_left_goes_on_with_the_part(here: Path) -> None:
    (here / "f").write_bytes(b"he")
    listing = b"type=file;size=5; f\r\n"
    async with (
        serve("tcp://127.0.0.1:0", stream_handler(Flaky(listing, sent=b"l").handle)) as server,
        FTPClient.connect(f"ftp://127.0.0.1:{server.port}/") as client,
    ):
        with pytest.raises(TransferError, match="3 octets came of 5"):
            await client.get("f", here / "f", resume=True)
        assert os.listdir(here) == ["f.part"]
        assert (here / "f.part").read_bytes() == b"hel"


async def test_a_device_does_not_become_a_file(ftp: FTPClient, there: Path, here: Path) -> None:
    """Whoever runs as root and fetches to /dev/null keeps it."""
    plant(there)
    os.mkfifo(here / "a")
    for resume in (False, True):
        with pytest.raises(OSError, match="no file"):
            await ftp.get("a", here / "a", resume=resume)
    assert os.listdir(here) == ["a"]
    assert stat.S_ISFIFO((here / "a").lstat().st_mode)


async def test_a_part_that_is_a_link_is_not_written_through(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    plant(there)
    (here / "victim").write_bytes(b"mine")
    (here / "a.part").symlink_to(here / "victim")
    with pytest.raises(OSError, match="symbolic"):
        await ftp.get("a", here / "a", resume=True)
    assert (here / "victim").read_bytes() == b"mine"


async def test_a_file_is_sent_with_its_time_and_goes_on_where_it_ended(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    plant(here)
    assert await ftp.put(here / "big", "up") == len(TREE["big"])
    assert (there / "up").stat().st_mtime == (here / "big").stat().st_mtime
    os.truncate(there / "up", 123_456)
    assert await ftp.put(here / "big", "up", resume=True) == len(TREE["big"])
    assert (there / "up").read_bytes() == TREE["big"]
    with (here / "big").open("rb") as file:
        file.seek(1000)
        await ftp.put(file, "tail")
    assert (there / "tail").read_bytes() == TREE["big"][1000:]
    with (here / "out").open("w+b") as file:
        await ftp.get("tail", file)
    assert (here / "out").read_bytes() == TREE["big"][1000:]


@pytest.mark.parametrize("by_path", [False, True])
async def test_what_comes_through_a_pipe_is_sent_as_it_comes(
    ftp: FTPClient, there: Path, by_path: bool
) -> None:
    """``program | sennit ftp put - URL``, and ``put <(program)``."""
    reading, writing = os.pipe()
    os.write(writing, b"made on the way")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        source: Any = f"/dev/fd/{reading}" if by_path else pipe
        with pytest.raises(FTPUsageError, match="resume needs a file"):
            await ftp.put(pipe, "x", resume=True)
        assert await ftp.put(source, "x") == 15
    assert (there / "x").read_bytes() == b"made on the way"


async def test_a_pipe_through_which_nothing_comes_does_not_outlast_a_cancellation(
    ftp: FTPClient, there: Path
) -> None:
    reading, writing = os.pipe()
    begun = asyncio.Event()

    def see(done: int, total: int | None) -> None:
        begun.set()

    with os.fdopen(reading, "rb") as pipe:
        os.write(writing, b"some")
        task = asyncio.ensure_future(ftp.put(pipe, "x", on_progress=see))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        os.close(writing)
    assert await ftp.pwd() == "/"
    assert os.listdir(there) == []


# ── trees ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("upload", [False, True])
async def test_a_tree_is_made_like_another_and_only_once(
    ftp: FTPClient, there: Path, here: Path, upload: bool, parallel: int
) -> None:
    source, target = (here, there) if upload else (there, here)
    plant(source)
    steps: list[Step] = []

    done = await ftp.mirror(*both("", here, upload), parallel=parallel, on_step=steps.append)

    assert tree(target) == tree(source)
    assert (done.copied, done.failed, done.same) == (len(TREE), 0, 0)
    assert done.octets == sum(map(len, TREE.values()))
    assert {each.path for each in steps if each.what in ("get", "put")} == set(TREE)

    again = await ftp.mirror(*both("/", here, upload), parallel=parallel)
    assert again == Mirrored(same=len(TREE))

    (source / "a").write_bytes(b"changed")
    (source / "one/b ü").write_bytes(b"b")  # of the same size
    third = await ftp.mirror(*both(".", here, upload))
    assert (third.copied, third.same) == (2, len(TREE) - 2)
    assert tree(target).keys() == tree(source).keys()
    assert (target / "a").read_bytes() == b"changed"
    assert (target / "one/b ü").read_bytes() == b"b"


@pytest.mark.parametrize("upload", [False, True])
async def test_what_the_original_does_not_have_is_removed_if_asked_for(
    ftp: FTPClient, there: Path, here: Path, upload: bool, tmp_path: Path
) -> None:
    source, target = (here, there) if upload else (there, here)
    plant(source)
    plant(target, {"old": b"x", "gone/deep/er": b"y", "one/stale": b"z"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep").write_bytes(b"mine")
    if not upload:
        (target / "link").symlink_to(tmp_path / "outside")

    kept = await ftp.mirror(*both("", here, upload))
    assert kept.removed == 0
    assert (target / "old").exists()
    done = await ftp.mirror(*both("", here, upload), delete=True)

    assert tree(target) == tree(source)
    assert not (target / "gone").exists()
    assert not (target / "link").is_symlink()
    assert (tmp_path / "outside/keep").read_bytes() == b"mine"
    assert done.removed == (5 if upload else 6)


async def test_nothing_is_written_through_a_link_of_ours(
    ftp: FTPClient, there: Path, here: Path, tmp_path: Path
) -> None:
    """A name of the server must not lead where a link of this machine leads."""
    plant(there, {"dir/x": b"evil", "f": b"good"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    (here / "dir").symlink_to(tmp_path / "outside")
    (here / "f").symlink_to(tmp_path / "file")

    done = await ftp.mirror("", here)

    assert os.listdir(tmp_path / "outside") == []
    assert [path for path, _ in done.failures] == ["dir"]
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert (here / "f").read_bytes() == b"good"
    assert not (here / "f").is_symlink()

    done = await ftp.mirror("", here, delete=True)

    assert (done.removed, done.failed) == (1, 0)
    assert os.listdir(tmp_path / "outside") == []
    assert (here / "dir/x").read_bytes() == b"evil"


@pytest.mark.parametrize("upload", [False, True])
async def test_a_file_that_became_a_directory_and_the_other_way_are_replaced_if_asked_for(
    ftp: FTPClient, there: Path, here: Path, upload: bool
) -> None:
    source, target = (here, there) if upload else (there, here)
    plant(source, {"one/x": b"X", "two": b"2"})
    plant(target, {"one": b"1", "two/y/z": b"Y"})

    done = await ftp.mirror(*both("", here, upload))
    assert {path for path, _ in done.failures} == {"one", "two"}
    assert tree(target).keys() == {"one", "two/y/z"}

    done = await ftp.mirror(*both("", here, upload), delete=True)
    assert (done.failed, done.copied, done.removed) == (0, 2, 4)
    assert tree(target) == tree(source)


async def test_nothing_is_removed_where_a_server_lists_what_is_not_there_as_nothing(
    here: Path,
) -> None:
    """vsftpd does: one letter amiss would cost the whole tree."""
    (here / "mine").write_bytes(b"x")
    flaky = Flaky(b"")
    with pytest.raises(FTPPermanentError, match="CWD"):
        await run_flaky(flaky, here, "/typo", delete=True)
    assert os.listdir(here) == ["mine"]


async def test_links_are_left_where_they_are(ftp: FTPClient, there: Path, here: Path) -> None:
    plant(here, {"f": b"1"})
    (here / "link").symlink_to("f")
    await ftp.mkdir("new")
    done = await ftp.mirror(here, "new/tree")
    assert (done.copied, done.left) == (1, 1)
    assert os.listdir(there / "new/tree") == ["f"]


async def test_a_tree_that_is_not_there_is_an_error(ftp: FTPClient, here: Path) -> None:
    with pytest.raises(FTPPermanentError):
        await ftp.mirror("nothing", here)
    with pytest.raises(FTPUsageError):
        await ftp.mirror("", here, parallel=0)
    for one in ("", here):
        with pytest.raises(FTPUsageError, match="text"):
            await ftp.mirror(one, one)


async def test_a_mirror_that_is_cancelled_ends_soon_and_leaves_no_half_files(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    plant(there, {f"{at:03}": bytes(100_000) for at in range(60)})
    begun = asyncio.Event()

    def see(step: Step) -> None:
        begun.set()

    task = asyncio.ensure_future(ftp.mirror("", here, on_step=see))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(len(octets) == 100_000 for octets, _ in tree(here).values())


class Flaky:
    """A server that says what a test wants to files, and lists what it wants.

    Args:
        listing: What MLSD gives.
        refusals: How often each file is refused with a 4yz.
        sent: What it sends of a file.
    """

    def __init__(self, listing: bytes, refusals: int = 0, sent: bytes = b"hello") -> None:
        self.sent = sent
        self.listing = listing
        self.refusals = refusals
        self.heard: list[str] = []

    async def handle(self, stream: Stream) -> None:
        """One control connection."""
        came: asyncio.Queue[Stream] = asyncio.Queue()

        async def accept(data: Stream) -> None:
            came.put_nowait(data)
            await data.wait_closed()

        await stream.send_all(b"220 hello\r\n")
        async with serve("tcp://127.0.0.1:0", stream_handler(accept)) as server:
            async for line in stream.lines():
                word = line.decode().partition(" ")[0]
                self.heard.append(line.decode())
                if word == "EPSV":
                    await stream.send_all(b"229 (|||%d|)\r\n" % server.port)
                elif word in ("MLSD", "RETR"):
                    data = await came.get()
                    if word == "RETR" and self.refusals:
                        self.refusals -= 1
                        data.abort()
                        await stream.send_all(b"450 busy\r\n")
                        continue
                    await stream.send_all(b"150 comes\r\n")
                    await data.send_all(self.listing if word == "MLSD" else self.sent)
                    await data.aclose()
                    await stream.send_all(b"226 done\r\n")
                else:
                    answers: dict[str, bytes] = {
                        "USER": b"230 in\r\n",
                        "FEAT": b"211-F\r\n MLST type;\r\n211 End\r\n",
                        "TYPE": b"200 ok\r\n",
                        "SIZE": b"213 5\r\n",
                        "REST": b"350 from there\r\n",
                        "PWD": b'257 "/"\r\n',
                        "QUIT": b"221 bye\r\n",
                    }
                    await stream.send_all(answers.get(word, b"500 what?\r\n"))


async def run_flaky(flaky: Flaky, here: Path, top: str = "/", **options: Any) -> Mirrored:
    """Mirror what such a server has."""
    async with (
        serve("tcp://127.0.0.1:0", stream_handler(flaky.handle)) as server,
        FTPClient.connect(f"ftp://127.0.0.1:{server.port}/") as client,
    ):
        return await client.mirror(top, here, parallel=1, **options)


async def test_what_fails_for_now_is_tried_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.ftp.mirror.SHORTEST", 0.001)
    monkeypatch.setattr("sennit.ftp.mirror.LONGEST", 0.001)
    listing = b"type=file;size=5;modify=20260101000000; f\r\n"
    done = await run_flaky(Flaky(listing, 2), here)
    assert (done.copied, done.failed) == (1, 0)

    flaky = Flaky(listing, 9)
    (here / "f").unlink()
    done = await run_flaky(flaky, here, retries=2)
    assert (done.copied, done.failed) == (0, 1)
    assert flaky.heard.count("RETR /f") == 3
    assert os.listdir(here) == []


async def test_names_of_a_server_lead_nowhere_else(here: Path, tmp_path: Path) -> None:
    """HARDENING ftp-8; and where lines could not be read nothing is removed."""
    (here / "mine").write_bytes(b"x")
    names = ["../evil", "/etc/evil", "..", ".", "good", "a/b"]
    listing = "".join(f"type=file;size=5; {name}\r\n" for name in names)
    listing += "type=dir;  ../up\r\ntype=OS.unix=slink:/etc; link\r\n"

    done = await run_flaky(Flaky(listing.encode()), here, delete=True)

    assert sorted(os.listdir(here)) == ["good", "mine"]
    assert sorted(os.listdir(tmp_path)) == ["here"]
    assert (done.copied, done.removed, done.left) == (1, 0, 1)


async def test_a_hash_that_differs_is_an_error_and_leaves_nothing_to_go_on_with(
    ftp: FTPClient, there: Path, here: Path
) -> None:
    plant(there)
    with pytest.raises(FTPUsageError):
        await ftp.get("big", here / "big", check="crc")
    assert await ftp.get("big", here / "big", check="sha-256") == len(TREE["big"])

    for left in ("one.part", "one"):
        (here / left).write_bytes(b"of another file")
        with pytest.raises(DifferentError, match="sha-256 is"):
            await ftp.get("big", here / "one", resume=True, check="sha-256")
        assert os.listdir(here) == ["big"]

    # What is as long and was left by another is no piece of ours to throw away.
    (here / "a").write_bytes(b"other".ljust(len(TREE["a"])))
    with pytest.raises(DifferentError):
        await ftp.get("a", here / "a", resume=True, check="sha-256")
    assert (here / "a").read_bytes().startswith(b"other")
