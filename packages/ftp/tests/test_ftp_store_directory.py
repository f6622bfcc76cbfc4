"""Files in directories of the system: hostile trees, links, broken disks, and kill -9."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packages.ftp.tests.storing import listed, put
from sennit.core import current_reactor, run
from sennit.ftp import DirectoryStore, FilePath, Quota
from sennit.ftp.errors import (
    FileBusyError,
    FileNameError,
    FileUnavailableError,
    NoSpaceError,
    QuotaError,
    StoreError,
)
from sennit.ftp.store import root as root_module
from sennit.ftp.store import writing as writing_module
from sennit.ftp.store.root import Root

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A root, and beside it what nobody may reach."""
    root = tmp_path / "root"
    (root / "d" / "e").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "d" / "file").write_bytes(b"deeper")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"outside")
    before = len(os.listdir("/dev/fd"))
    yield root
    assert len(os.listdir("/dev/fd")) <= before
    assert (tmp_path / "outside" / "secret").read_bytes() == b"outside"
    assert os.listdir(tmp_path / "outside") == ["secret"]


def trial(root: Path, **options: Any) -> Callable[[Callable[[DirectoryStore], Any]], None]:
    """Run a test's coroutine with a store; a decorator."""

    def go(work: Callable[[DirectoryStore], Awaitable[None]]) -> None:
        async def main(_: object) -> None:
            store = DirectoryStore(root, **options)
            try:
                await work(store)
            finally:
                store.close()

        run(main)

    return go


async def refuse_all(store: DirectoryStore, path: FilePath) -> set[str]:
    """Try all there is; give the answers."""
    answers = set[str]()
    for attempt in (
        store.stat(path),
        anext(aiter(store.list_directory(path))),
        store.open_reader(path),
        store.open_writer(path),
        store.open_writer(path, append=True),
        store.open_writer(path, offset=1),
        store.remove_file(path),
        store.remove_directory(path),
        store.rename(path, ("moved",)),
        store.rename(("file",), path),
        store.make_directory(path),
        store.set_mode(path, 0o777),
        store.set_modified(path, 0.0),
    ):
        with pytest.raises(FileUnavailableError) as caught:
            await attempt
        answers.add(str(caught.value))
    return answers


# ── links ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["../outside", "../outside/secret", "/etc", "d", "file", "none"])
def test_links_are_not_there(tree: Path, target: str) -> None:
    """HARDENING ftp-3: a link out, and one that stays, are as what is missing."""
    (tree / "link").symlink_to(target)
    (tree / "d" / "link").symlink_to("../" + target)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        missing = {str(FileUnavailableError())}
        assert set(await listed(store)) == {"d", "file"}
        assert await refuse_all(store, ("link",)) == missing
        assert await refuse_all(store, ("link", "secret")) == missing
        assert await refuse_all(store, ("link", "passwd")) == missing
        assert await refuse_all(store, ("d", "link")) == missing
        assert (tree / "link").is_symlink()


@pytest.mark.parametrize(
    "target",
    [
        "../outside", "../outside/secret", "d/../../outside", "/etc/passwd", "{outside}/secret",
        "link", "none", "d/none/..", "file/..", "../root/../outside",
    ],
)  # fmt: skip
def test_a_link_that_leads_out_or_nowhere_is_not_followed(tree: Path, target: str) -> None:
    target = target.format(outside=tree.parent / "outside")
    (tree / "link").symlink_to(target)

    @trial(tree, follow=True)
    async def _(store: DirectoryStore) -> None:
        assert set(await listed(store)) == {"d", "file"}
        for attempt in (
            store.stat(("link",)),
            store.stat(("link", "secret")),
            store.open_reader(("link",)),
            anext(aiter(store.list_directory(("link",)))),
        ):
            with pytest.raises(FileUnavailableError):
                await attempt
        if target not in {"none", "link"}:
            with pytest.raises(FileUnavailableError):
                await put(store, ("link",), b"x")
            with pytest.raises(FileUnavailableError):
                await put(store, ("link", "x"), b"x")


def test_a_link_that_stays_is_followed_where_that_is_wanted(tree: Path) -> None:
    (tree / "dir").symlink_to("d")
    (tree / "abs").symlink_to(tree / "d" / "file")
    (tree / "d" / "up").symlink_to("../d/./e/../file")
    (tree / "d" / "root").symlink_to("..")
    (tree / "d" / "self").symlink_to(tree)

    @trial(tree, follow=True)
    async def _(store: DirectoryStore) -> None:
        kinds = {name: each.kind for name, each in (await listed(store)).items()}
        assert kinds == {"dir": "dir", "abs": "file", "d": "dir", "file": "file"}
        assert set(await listed(store, ("dir", "root", "d", "self"))) == set(kinds)
        for path in (("abs",), ("dir", "up"), ("d", "root", "dir", "self", "d", "file")):
            reader = await store.open_reader(path)
            assert await reader.read(0, 10) == b"deeper"
            reader.close()
        await put(store, ("abs",), b"new")
        assert (tree / "d/file").read_bytes() == b"new"
        assert (tree / "abs").is_symlink()
        await put(store, ("dir", "more"), b"1")
        assert (tree / "d/more").read_bytes() == b"1"
        await store.remove_file(("abs",))
        assert not (tree / "abs").is_symlink()
        assert (tree / "d/file").exists()
        await store.rename(("dir",), ("other",))
        assert (tree / "other").is_symlink()
        assert (await store.stat(("d", "root"))).kind == "dir"


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    for number in range(60):
        (tree / f"l{number}").symlink_to(f"l{number + 1}")
    (tree / "l60").symlink_to("file")

    @trial(tree, follow=True)
    async def _(store: DirectoryStore) -> None:
        for name in ("a", "l0"):
            with pytest.raises(FileUnavailableError):
                await store.stat((name,))
        assert (await store.stat(("l30",))).kind == "file"


def test_permissions_hold_for_where_a_link_leads_too(tree: Path) -> None:
    (tree / "link").symlink_to("d")
    (tree / "flink").symlink_to("d/file")

    @trial(tree, follow=True, permissions={"/": "all", "/d": "nothing"})
    async def _(store: DirectoryStore) -> None:
        for attempt in (
            store.open_reader(("link", "file")),
            store.open_reader(("flink",)),
            store.open_writer(("link", "new")),
            store.open_writer(("flink",)),
            store.rename(("file",), ("link", "file")),
            store.stat(("link", "file")),
            anext(aiter(store.list_directory(("link",)))),
        ):
            with pytest.raises(FileUnavailableError):
                await attempt
        assert "flink" not in await listed(store)


def test_a_directory_with_permissions_keeps_its_name_by_way_of_a_link_too(tree: Path) -> None:
    """Elsewhere others would hold for what is in it."""
    (tree / "d" / "shut").mkdir()
    (tree / "link").symlink_to("d")

    @trial(tree, follow=True, permissions={"/": "all", "/d/shut": "nothing"})
    async def _(store: DirectoryStore) -> None:
        for path in (("d", "shut"), ("link", "shut")):
            with pytest.raises(FileUnavailableError):
                await store.rename(path, ("open",))
            with pytest.raises(FileUnavailableError):
                await store.remove_directory(path)
        await store.rename(("link", "file"), ("moved",))


def test_a_directory_that_becomes_a_link_is_not_followed_halfway(tree: Path) -> None:
    """What an upload has begun in stays its directory, whatever stands at its path later."""

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        writer = await store.open_writer(("d", "new"))
        (tree / "d").rename(tree / "moved")
        (tree / "d").symlink_to("../outside")
        await writer.write([b"1"])
        await writer.commit()
        assert (tree / "moved" / "new").read_bytes() == b"1"
        with pytest.raises(FileUnavailableError):
            await store.open_writer(("d", "new"))


def test_a_name_that_becomes_a_link_is_replaced_and_not_followed(tree: Path) -> None:
    secret = tree.parent / "outside" / "secret"

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        writer = await store.open_writer(("new",))
        (tree / "new").symlink_to(secret)
        await writer.write([b"1"])
        with pytest.raises(FileUnavailableError):
            await writer.commit()
        with pytest.raises(FileUnavailableError):
            await store.open_writer(("new",), append=True)


# ── what else stands in directories ───────────────────────────────────────────


def test_what_is_no_file_is_listed_and_not_opened(tree: Path) -> None:
    """Nobody waits for the other end of a FIFO."""
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "sock"))

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        kinds = {name: each.kind for name, each in (await listed(store)).items()}
        assert (kinds["fifo"], kinds["sock"]) == ("other", "other")
        for name in ("fifo", "sock"):
            for attempt in (
                store.open_reader((name,)),
                store.open_writer((name,)),
                store.open_writer((name,), append=True),
                store.set_mode((name,), 0o600),
            ):
                with pytest.raises(FileUnavailableError):
                    await attempt
        await store.rename(("fifo",), ("pipe",))
        await store.remove_file(("pipe",))


def test_names_that_cannot_be_told_are_left_out(tree: Path) -> None:
    odd = [b"\xff\xfe", b"line\nend", b"cr\r", b"\x1b[2J", b"\x7f", "\u2028".encode(), b"\xc3"]
    for name in odd:
        (tree / os.fsdecode(name)).write_bytes(b"1")

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        assert set(await listed(store)) == {"d", "file"}
        for name in odd:
            with pytest.raises(FileUnavailableError):
                await store.open_reader((os.fsdecode(name),))


def test_temporary_names_are_nobodys(tree: Path) -> None:
    name = ".sennit-0123456789abcdef.part"
    (tree / name).write_bytes(b"half")

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        writer = await store.open_writer(("new",))
        assert set(await listed(store)) == {"d", "file"}
        with pytest.raises(FileUnavailableError):
            await store.open_reader((name,))
        with pytest.raises(FileNameError):
            await store.open_writer((name,))
        with pytest.raises(FileNameError):
            await store.rename(("file",), (name,))
        await writer.abort()


def test_names_with_a_dot_are_hidden_where_that_is_wanted(tree: Path) -> None:
    (tree / ".ssh").mkdir()
    (tree / ".ssh" / "key").write_bytes(b"1")

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        assert ".ssh" in await listed(store)

    @trial(tree, hidden=False)
    async def _(store: DirectoryStore) -> None:
        assert set(await listed(store)) == {"d", "file"}
        for attempt in (store.open_reader((".ssh", "key")), store.remove_file((".ssh", "key"))):
            with pytest.raises(FileUnavailableError):
                await attempt


def test_a_root_that_was_replaced_is_found_a_second_later(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.core.beneath._REOPEN_AFTER", 0.0)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        assert set(await listed(store)) == {"d", "file"}
        tree.rename(tree.parent / "old")
        tree.mkdir()
        assert await listed(store) == {}
        tree.rmdir()
        with pytest.raises(FileUnavailableError):
            await store.stat(())


def test_descriptors_that_ran_out_are_not_for_ever(tree: Path) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        await store.stat(())
        await current_reactor().defer_to_thread(int)  # whose thread needs none later
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(int(each) for each in os.listdir("/dev/fd")) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        held: list[int] = []
        try:
            while True:
                try:
                    held.append(os.dup(0))
                except OSError:
                    break
            for attempt in (store.open_reader(("file",)), store.open_writer(("new",))):
                with pytest.raises(FileBusyError):
                    await attempt
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for each in held:
                os.close(each)
        await put(store, ("new",), b"1")


# ── what a crash left, and what there is ──────────────────────────────────────


def test_leftovers_are_swept_and_uploads_under_way_are_not(tree: Path) -> None:
    stale = [tree / f".sennit-{number:016x}.part" for number in range(3)]
    stale.append(tree / "d" / "e" / ".sennit-00000000000000ff.part")
    for each in stale:
        each.write_bytes(bytes(100))
    like = tree / ".sennit-x.part"
    like.write_bytes(b"somebody's")

    @trial(tree, quota=Quota(octets=1000))
    async def _(store: DirectoryStore) -> None:
        writer = await store.open_writer(("new",))
        assert not any(each.exists() for each in stale)
        store.root.clean()
        await writer.write([b"1" * 100])
        await writer.commit()
        assert (tree / "new").stat().st_size == 100
        assert like.exists()
        assert store.root.usage.octets == 6 + 6 + 10 + 100
        assert store.root.usage.files == 6


def test_a_leftover_does_not_keep_a_directory(tree: Path) -> None:
    (tree / "d" / "e" / ".sennit-00000000000000ff.part").write_bytes(b"1")

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        await store.remove_directory(("d", "e"))
        with pytest.raises(FileUnavailableError):
            await store.remove_directory(("d",))


def test_a_file_that_was_swept_between_making_and_locking_is_made_anew(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = fcntl.flock, 0

    def flock(fd: int, how: int) -> None:
        nonlocal made
        made += 1
        if made == 1:
            [left] = [each for each in tree.iterdir() if each.name.endswith(".part")]
            left.unlink()
        elif made == 2:
            raise BlockingIOError(errno.EAGAIN, "held by who sweeps")
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        store.root.nameless = False
        await put(store, ("new",), b"1")
        assert made == 3
        assert (tree / "new").read_bytes() == b"1"
        store.root.clean()


def test_a_file_that_somebody_else_writes_is_busy(tree: Path) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        with open(tree / "file", "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(FileBusyError):
                await store.open_writer(("file",), append=True)
        await put(store, ("file",), b"!", append=True)


def test_usage_is_counted_once_and_shared_and_again_later(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Root(tree)

    @trial(tree)
    async def _(_: DirectoryStore) -> None:
        first = DirectoryStore(shared, quota=Quota(octets=1000))
        second = DirectoryStore(shared, quota=Quota(octets=500))
        third = DirectoryStore(shared)
        await put(third, ("before",), bytes(100))
        await first.count()
        assert (shared.usage.octets, shared.usage.files) == (112, 5)
        await put(first, ("a",), bytes(300))
        with pytest.raises(QuotaError):
            await put(second, ("b",), bytes(100))
        writer = await first.open_writer(("c",))
        await writer.write([bytes(50)])
        (tree / "outside-of-us").write_bytes(bytes(30))
        monkeypatch.setattr(root_module, "RECOUNT", -1.0)
        await second.count()
        monkeypatch.setattr(root_module, "RECOUNT", 600.0)
        assert (shared.usage.octets, shared.usage.files) == (112 + 300 + 50 + 30, 8)
        await writer.abort()
        assert (shared.usage.octets, shared.usage.files) == (112 + 300 + 30, 7)

    shared.close()


def test_a_deep_tree_is_counted(tree: Path) -> None:
    place = os.open(tree, os.O_RDONLY)
    for _deeper in range(200):
        os.mkdir("n" * 50, dir_fd=place)
        below = os.open("n" * 50, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)

    @trial(tree, quota=Quota(files=1000))
    async def _(store: DirectoryStore) -> None:
        await store.count()
        assert store.root.usage.files == 204


# ── disks that are full or broken (HARDENING fault-3) ─────────────────────────

CALLS = [
    ("writev", 1), ("writev", 2), ("writev", 3), ("fsync", 1), ("rename", 1), ("fsync", 2),
]  # fmt: skip


class Failing:
    """A function of the system that fails at one of its calls."""

    def __init__(self, name: str, at: int, number: int) -> None:
        self.real = getattr(os, name)
        self.at = at
        self.number = number

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.at -= 1
        if self.at == 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.real(*args, **named)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize(("call", "at"), CALLS)
def test_a_disk_that_fails_leaves_the_old_file_and_works_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int, number: int
) -> None:
    """HARDENING fault-3: at each write, fsync, rename and fsync of the directory."""
    pieces = [bytes([each]) * 100_000 for each in range(3)]

    @trial(tree, quota=Quota(octets=10**6))
    async def _(store: DirectoryStore) -> None:
        await store.count()
        before = repr(store.root.usage)
        with monkeypatch.context() as patched:
            patched.setattr(os, call, Failing(call, at, number))
            writer = await store.open_writer(("file",))
            with pytest.raises(NoSpaceError) as caught:
                for each in pieces:
                    await writer.write([each])
                await writer.commit()
            assert caught.value.code == 452
            await writer.abort()
        assert not [each for each in os.listdir(tree) if each.endswith(".part")]
        if (call, at) == ("fsync", 2):
            # It has its name, and nobody was told so: the next one replaces it.
            assert (tree / "file").read_bytes() == b"".join(pieces)
        else:
            assert (tree / "file").read_bytes() == b"inside"
            assert repr(store.root.usage) == before
        await put(store, ("file",), b"again")
        assert (tree / "file").read_bytes() == b"again"
        await store.root.count()
        assert (store.root.usage.octets, store.root.usage.files) == (11, 4)


@pytest.mark.parametrize("call", ["writev", "fsync", "ftruncate"])
def test_a_disk_that_fails_leaves_what_had_arrived_of_a_file_that_grows(
    tree: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    @trial(tree, quota=Quota(octets=10**6))
    async def _(store: DirectoryStore) -> None:
        await store.count()
        writer = await store.open_writer(("file",), append=True)
        with monkeypatch.context() as patched:
            patched.setattr(os, call, Failing(call, 2 if call == "writev" else 1, errno.ENOSPC))
            with pytest.raises(NoSpaceError):
                await writer.write([bytes(70_000)])
                await writer.write([bytes(70_000)])
                await writer.commit()
        size = (tree / "file").stat().st_size
        assert size == {"writev": 70_006, "fsync": 140_006, "ftruncate": 6}[call]
        assert store.root.usage.octets == size + 6
        await put(store, ("file",), b"x", append=True)


@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync"])
def test_names_that_cannot_be_given_are_told(
    tree: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, call, Failing(call, 1, errno.ENOSPC))
            with pytest.raises(NoSpaceError):
                await (
                    store.rename(("file",), ("x",))
                    if call == "rename"
                    else store.make_directory(("x",))
                )
        await store.make_directory(("y",))


def test_a_broken_disk_is_told_to_who_reads(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        reader = await store.open_reader(("file",))
        for length in (10, 100_000):
            with monkeypatch.context() as patched:
                patched.setattr(os, "pread", Failing("pread", 1, errno.EIO))
                with pytest.raises(FileBusyError):
                    await reader.read(0, length)
        assert await reader.read(0, 10) == b"inside"
        reader.close()


def test_a_full_disk_takes_files_again_when_it_has_room(tmp_path: Path) -> None:
    """HARDENING fault-3: a tmpfs of 1 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("only root may mount a small tmpfs")
    try:

        @trial(tmp_path)
        async def _(store: DirectoryStore) -> None:
            await put(store, ("a",), bytes(600_000))
            with pytest.raises(NoSpaceError):
                await put(store, ("b",), bytes(300_000), bytes(300_000))
            with pytest.raises(NoSpaceError):
                await put(store, ("b",), b"1", size=600_000)
            assert os.listdir(tmp_path) == ["a"]
            await store.remove_file(("a",))
            await put(store, ("b",), bytes(600_000))

    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_small_pieces_go_to_the_disk_in_one_visit_of_a_thread(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[object] = []

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        reactor: Any = current_reactor()  # Any: its method is replaced
        real = reactor.defer_to_thread

        def count(work: object, *args: object) -> Any:  # Any: a Deferred of whatever
            visits.append(work)
            return real(work, *args)

        monkeypatch.setattr(reactor, "defer_to_thread", count)
        writer = await store.open_writer(("new",))
        for _ in range(50):
            await writer.write([b"x" * 100])
        await writer.commit()
        assert len(visits) == 1
        reader = await store.open_reader(("new",))
        assert await reader.read(0, 10_000) == b"x" * 5000
        reader.close()
        await listed(store)
        assert len(visits) == 1

    @trial(tree, sync=False)
    async def _(store: DirectoryStore) -> None:
        visits.clear()
        await put(store, ("new",), b"1")
        await store.make_directory(("n",))
        assert visits == []


def test_a_disk_that_takes_no_time_is_not_waited_for_in_a_thread(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[object] = []

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        reactor: Any = current_reactor()  # Any: its method is replaced
        real = reactor.defer_to_thread

        def count(work: object, *args: object) -> Any:  # Any: a Deferred of whatever
            visits.append(work)
            return real(work, *args)

        monkeypatch.setattr(reactor, "defer_to_thread", count)
        monkeypatch.setattr(writing_module, "QUICK", 1e9)
        for _again in range(20):
            await put(store, ("new",), b"1")
        assert len(visits) == 16
        await put(store, ("large",), bytes(100_000))
        assert len(visits) == 18, "many octets are written in a thread at any time"
        monkeypatch.setattr(writing_module, "QUICK", 0.0)
        await put(store, ("new",), b"1")
        assert len(visits) == 18
        await put(store, ("new",), b"1")
        assert len(visits) == 19, "it took time again"


def test_large_files_are_removed_in_a_thread(tree: Path) -> None:
    with open(tree / "large", "wb") as file:
        file.truncate(20 << 20)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        await store.remove_file(("large",))
        assert set(await listed(store)) == {"d", "file"}
        writer = await store.open_writer(("large",))
        piece = bytes(1 << 20)
        for _ in range(17):
            await writer.write([piece] * 1)
        await writer.abort()
        assert len(os.listdir(tree)) == 2


def test_who_is_cancelled_leaves_nothing_behind(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-7: the connection goes while a thread writes."""
    import asyncio

    @trial(tree, quota=Quota(octets=10**6))
    async def _(store: DirectoryStore) -> None:
        writer = await store.open_writer(("new",))
        task = asyncio.ensure_future(writer.write([bytes(200_000)]))
        await asyncio.sleep(0)
        task.cancel()
        await writer.abort()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(os.listdir(tree)) == 2
        assert store.root.usage.octets == 12


# ── kill -9 (HARDENING fault-6) ───────────────────────────────────────────────

CHILD = """
import os, signal, sys
from pathlib import Path
from sennit.core import run
from sennit.ftp.store.directory import DirectoryStore

root, steps, unique = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
size = int(sys.argv[4])
NAMES = ("open", "writev", "fchmod", "fsync", "rename", "link", "unlink", "lstat", "close")

def upload(kill_at):
    left = kill_at
    def counted(real):
        def call(*args, **named):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)
        return call
    async def main(_):
        store = DirectoryStore(root)
        await store.stat(())
        for name in NAMES:
            setattr(os, name, counted(getattr(os, name)))
        writer = await store.open_writer(("file",), unique=unique)
        for piece in (b"a", b"b"):
            await writer.write([piece * size])
        await writer.commit()
        os.write(1, b"226\\n")
    run(main)

for step in range(1, steps + 1):
    (root / "file").write_bytes(b"old")
    pid = os.fork()
    if not pid:
        upload(step)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.write(1, b"step %d %d\\n" % (step, os.waitstatus_to_exitcode(status)))
    sys.stdin.readline()
"""


@pytest.mark.parametrize("size", [100_000, 1_000])
@pytest.mark.parametrize(("unique", "steps"), [(False, 15), (True, 19)])
def test_kill_9_at_any_step_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, unique: bool, steps: int, size: int
) -> None:
    """HARDENING fault-6: before each call of the system; what was acknowledged is there."""
    whole = b"a" * size + b"b" * size
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), str(steps), str(unique), str(size)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdin is not None
        acknowledged = False
        outcomes = set[tuple[bool, int]]()
        for line in child.stdout:
            if line == "226\n":
                acknowledged = True
                continue
            _, step, code = line.split()
            Root(tmp_path).clean()
            found = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
            if unique:
                assert found.pop("file") == b"old"
                assert list(found.values()) in ([], [whole]), step
                new = found != {}
            else:
                assert set(found) == {"file"}
                assert found["file"] in (b"old", whole), step
                new = found["file"] == whole
            assert new or not acknowledged
            outcomes.add((acknowledged, int(code)))
            for each in tmp_path.iterdir():
                each.unlink()
            acknowledged = False
            child.stdin.write("\n")
            child.stdin.flush()
    # The last steps are beyond the end.
    assert {(False, -signal.SIGKILL), (True, 0)} <= outcomes


@pytest.mark.parametrize("rounds", [6, pytest.param(1000, marks=pytest.mark.soak)])
def test_kill_9_at_any_moment_shows_nobody_half_a_file(tmp_path: Path, rounds: int) -> None:
    """HARDENING fault-6: any moment."""
    child_code = """
import itertools, os, sys
from sennit.core import run
from sennit.ftp.store.directory import DirectoryStore

async def main(_):
    store = DirectoryStore(sys.argv[1])
    for number in itertools.count():
        writer = await store.open_writer((f"f{number % 5}",))
        await writer.write([b"%06d" % number * 20_000])
        await writer.commit()
        os.write(1, b"%d\\n" % number)
run(main)
"""
    rng = random.Random(6)
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", child_code, str(tmp_path)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.random() * 0.01)  # not waited for: the moment is to be any
            child.kill()
            last = [int(each) for each in child.stdout.read().split()]
        Root(tmp_path).clean()
        newest: dict[int, int] = {}
        for each in tmp_path.iterdir():
            octets = each.read_bytes()
            assert len(octets) == 120_000
            assert octets == octets[:6] * 20_000
            newest[int(each.name[1:])] = int(octets[:6])
        for number in last:
            assert newest[number % 5] >= number
        for each in tmp_path.iterdir():
            each.unlink()


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "No space left on device"), (errno.EIO, "Input/output error")],
)
def test_an_operator_is_told_what_is_wrong_with_the_disk(
    number: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING defaults 25: who uploads learns that it did not work, and not why."""
    with pytest.raises(StoreError), root_module.WRITING:
        raise OSError(number, os.strerror(number))

    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", f"The files of FTP: {told}")
    ]


def test_errors_of_the_system_are_all_errors_of_stores(tree: Path) -> None:
    for number in errno.errorcode:
        with pytest.raises(StoreError), root_module.WRITING:
            raise OSError(number, os.strerror(number))


NOBODY = """
import asyncio, os, sys
from pathlib import Path
from sennit.core import run
from sennit.ftp.errors import FileUnavailableError
from sennit.ftp.store.directory import DirectoryStore

async def attempts(store, name):
    reader = await store.open_reader((name, "file"))
    reader.close()
    for how in ({}, {"append": True}):
        writer = await store.open_writer((name, "file"), **how)
        await writer.write([b"x" * 100_000])
        await writer.commit()
    await store.make_directory((name, "d"))
    await store.rename((name, "d"), (name, "e"))
    await store.remove_directory((name, "e"))
    [batch async for batch in store.list_directory((name,))]

async def main(_):
    store = DirectoryStore(sys.argv[1])
    await attempts(store, "warm")  # imports all there is
    if os.geteuid() == 0:
        os.seteuid(65534)
    for attempt in (
        store.open_reader(("closed", "file")),
        store.open_reader(("open", "secret")),
        store.open_writer(("fixed", "new")),
        store.open_writer(("fixed", "file")),
        store.make_directory(("fixed", "new")),
        store.rename(("fixed", "file"), ("fixed", "new")),
        store.remove_file(("fixed", "file")),
        store.set_mode(("fixed", "file"), 0o777),
        store.set_modified(("fixed", "file"), 1.0),
        anext(aiter(store.list_directory(("passage",)))),
    ):
        try:
            await attempt
        except FileUnavailableError as error:
            assert str(error) == str(FileUnavailableError())
        else:
            raise AssertionError(attempt)
    reader = await store.open_reader(("passage", "file"))  # to go through takes no right to list
    reader.close()
    await attempts(store, "open")
    print("done")

run(main)
"""


def test_what_the_system_forbids_is_missing_too(tmp_path: Path) -> None:
    """Whoever the server runs as: for root nothing would be forbidden."""
    for name, mode in {
        "warm": 0o777, "open": 0o777, "closed": 0o700, "fixed": 0o755, "passage": 0o711,
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"1")
        (tmp_path / name / "file").chmod(0o666)
        (tmp_path / name).chmod(mode)
    (tmp_path / "open" / "secret").write_bytes(b"1")
    (tmp_path / "open" / "secret").chmod(0)
    if os.geteuid() != 0:
        for name, mode in {"closed": 0, "fixed": 0o500, "passage": 0o300}.items():
            (tmp_path / name).chmod(mode)
    for each in (tmp_path, *tmp_path.parents):
        if each.name.startswith("pytest-") or each == tmp_path:
            each.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("done\n", "")
    for name in ("closed", "fixed", "passage"):
        (tmp_path / name).chmod(0o700)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_all_is_done(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The durability rule: write, fsync, rename, fsync of the directory, and nothing before."""
    calls: list[str] = []

    def recorded(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **named: Any) -> Any:
            what = name
            if name == "fsync":
                directory = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                what = "fsync directory" if directory else "fsync file"
            calls.append(what)
            return real(*args, **named)

        return call

    for name in ("writev", "fsync", "rename", "link", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, recorded(name))

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        if not store.root.nameless:
            pytest.skip("there are no files without a name here")
        await put(store, ("new",), b"1")
        assert calls == ["writev", "fsync file", "link", "fsync directory"]
        calls.clear()
        await put(store, ("new",), b"1")
        assert calls == ["writev", "fsync file", "rename", "fsync directory"]
        calls.clear()
        await put(store, ("new",), b"1", unique=True)
        assert calls == ["writev", "fsync file", "link", "fsync directory"]
        calls.clear()
        store.root.nameless = False
        await put(store, ("newer",), b"1")
        assert calls == ["writev", "fsync file", "rename", "fsync directory"]
        calls.clear()
        await put(store, ("new",), b"1", unique=True)
        assert calls == ["writev", "fsync file", "link", "unlink", "fsync directory"]
        calls.clear()
        await put(store, ("new",), b"1", append=True)
        assert calls == ["writev", "fsync file"]
        calls.clear()
        await store.make_directory(("x",))
        await store.rename(("x",), ("d", "y"))
        assert calls == ["mkdir", "fsync directory", "rename", "fsync directory", "fsync directory"]


def test_what_was_made_while_a_file_had_no_name_is_replaced_where_that_is_allowed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        real, rename = os.fchmod, os.rename

        def fchmod(fd: int, mode: int) -> None:
            for name in ("first", "second"):
                (tree / name).write_bytes(b"somebody's")
            real(fd, mode)

        def sweeping(source: str, target: str, **how: int) -> None:
            store.root.clean()  # of another process, say
            rename(source, target, **how)

        monkeypatch.setattr(os, "fchmod", fchmod)
        monkeypatch.setattr(os, "rename", sweeping)
        await put(store, ("first",), b"ours")
        assert (tree / "first").read_bytes() == b"ours"
        careful = DirectoryStore(tree, permissions="create")
        (tree / "second").unlink()
        with pytest.raises(FileUnavailableError):
            await put(careful, ("second",), b"ours")
        careful.close()
        assert (tree / "second").read_bytes() == b"somebody's"
        assert set(os.listdir(tree)) == {"d", "file", "first", "second"}


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR], ids=errno.errorcode.get)
def test_file_systems_without_nameless_files_take_files_too(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """open(2), O_TMPFILE."""
    real = os.open

    def refusing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        await put(store, ("new",), b"1")
        assert (tree / "new").read_bytes() == b"1"
        assert not store.root.nameless


def test_file_systems_without_links_or_permission_bits_take_files_too(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        monkeypatch.setattr(os, "link", refused)
        monkeypatch.setattr(os, "fchmod", refused)
        await put(store, ("new",), b"1", unique=True)
        await store.make_directory(("x",))
        assert set(os.listdir(tree)) == {"d", "file", "new", "x"}
        monkeypatch.setattr(os, "link", Failing("rename", 1, errno.ENOSPC))
        with pytest.raises(NoSpaceError):
            await put(store, ("other",), b"1", unique=True)
        assert set(os.listdir(tree)) == {"d", "file", "new", "x"}


def test_who_may_not_read_a_file_may_change_its_bits(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def unreadable(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "file" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, mode, dir_fd=dir_fd)

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        monkeypatch.setattr(os, "open", unreadable)
        await store.set_mode(("file",), 0o611)
        assert (tree / "file").stat().st_mode & 0o777 == 0o611


def test_a_time_that_no_file_can_have_is_refused(tree: Path) -> None:
    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        for seconds in (float("nan"), float("inf"), 1e300):
            with pytest.raises(FileUnavailableError):
                await store.set_modified(("file",), seconds)


def test_what_goes_while_it_is_listed_is_left_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        (tree / f"f{number}").touch()

    @trial(tree)
    async def _(store: DirectoryStore) -> None:
        names: list[str] = []
        async for batch in store.list_directory(()):
            names += [each.name for each in batch]
            for path in tree.glob("f*"):
                path.unlink()
        assert 98 <= len(names) < 152
