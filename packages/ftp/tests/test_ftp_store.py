"""What every store keeps to: one set of tests for those there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from zope.interface.verify import verifyObject

from packages.ftp.tests.storing import listed, put, trial
from sennit.ftp import (
    DirectoryStore,
    FilePath,
    IFileStore,
    IReader,
    IWriter,
    MemoryStore,
    Quota,
)
from sennit.ftp.errors import (
    FileBusyError,
    FileNameError,
    FileUnavailableError,
    FTPUsageError,
    NoSpaceError,
    QuotaError,
    RestartError,
)

Store = DirectoryStore | MemoryStore


class Make(Protocol):
    """Makes a store with these files in it; a directory's name ends with a slash."""

    def __call__(self, files: dict[str, bytes] | None = None, **options: Any) -> Store: ...


@pytest.fixture(params=["memory", "directory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[DirectoryStore] = []

    def make(files: dict[str, bytes] | None = None, **options: Any) -> Store:
        if request.param == "memory":
            return MemoryStore(files, **options)
        for name, content in (files or {}).items():
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        made.append(DirectoryStore(tmp_path, **options))
        return made[-1]

    before = set(os.listdir("/dev/fd"))
    yield make
    for each in made:
        each.close()
    assert len(os.listdir("/dev/fd")) <= len(before)
    assert not [each for each in tmp_path.rglob("*") if each.name.endswith(".part")]


async def content(store: IFileStore, path: FilePath) -> bytes:
    """Fetch a file."""
    reader = await store.open_reader(path)
    try:
        return await reader.read(0, 1 << 24)
    finally:
        reader.close()


# ── looking ───────────────────────────────────────────────────────────────────


def test_a_store_and_what_it_opens_are_what_servers_ask_for(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1"})
        assert verifyObject(IFileStore, store)
        reader = await store.open_reader(("a",))
        assert verifyObject(IReader, reader)
        reader.close()
        for how in ({}, {"append": True}):
            writer = await store.open_writer(("a",), **how)
            assert verifyObject(IWriter, writer)
            await writer.abort()


def test_a_file_is_told_as_it_is(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"d/a.txt": b"hello"})
        await store.set_modified(("d", "a.txt"), 1_000_000_000.0)
        await store.set_mode(("d", "a.txt"), 0o640)

        entry = await store.stat(("d", "a.txt"))

        assert (entry.name, entry.kind, entry.size) == ("a.txt", "file", 5)
        assert (entry.modified, entry.mode) == (1_000_000_000.0, 0o640)
        assert (entry.permissions, entry.owner, entry.group) == ("adfrw", "ftp", "ftp")
        assert entry.unique == (await listed(store, ("d",)))["a.txt"].unique != ""


def test_directories_are_told_with_what_may_be_done_in_them(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"d/": b""})
        root, inside = await store.stat(()), await store.stat(("d",))
        assert (root.name, root.kind, root.permissions) == ("", "dir", "celmp")
        assert (inside.name, inside.kind, inside.permissions) == ("d", "dir", "celmpdf")


def test_a_directory_of_many_files_comes_in_batches(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({f"f{number}": b"" for number in range(2500)})
        batches = [list(batch) async for batch in store.list_directory(())]
        assert len(batches) >= 3
        assert sorted(each.name for batch in batches for each in batch) == sorted(
            f"f{number}" for number in range(2500)
        )


def test_a_listing_that_nobody_reads_to_its_end_holds_nothing(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({f"f{number}": b"" for number in range(300)})
        batches: Any = store.list_directory(())  # Any: an async generator, which can be closed
        assert await anext(batches)
        await batches.aclose()


MISSING: list[FilePath] = [
    ("none",),
    ("none", "none"),
    ("file", "below"),
    ("..",),
    ("d", "..", "file"),
    (".",),
    ("",),
    ("d", ""),
    ("d/inside",),
    ("nul\0",),
    ("line\nend",),
    ("line\r",),
    ("\x1b[2J",),
    ("\udcff",),
    ("\u2028",),
    ("x" * 300,),
]


@pytest.mark.parametrize("path", MISSING, ids=repr)
def test_what_is_not_there_or_cannot_be_named_is_missing(make: Make, path: FilePath) -> None:
    """HARDENING ftp-3: traversal, NUL, octets that are not UTF-8; one answer for all."""

    @trial
    async def _() -> None:
        store = make({"file": b"1", "d/inside": b"2"})
        answers = set[str]()
        for attempt in (
            store.stat(path),
            store.open_reader(path),
            store.remove_file(path),
            store.remove_directory(path),
            store.rename(path, ("new",)),
            store.set_mode(path, 0o600),
            store.set_modified(path, 1.0),
            anext(aiter(store.list_directory(path))),
        ):
            with pytest.raises(FileUnavailableError) as caught:
                await attempt
            answers.add(str(caught.value))
        assert len(answers) == 1
        assert set(await listed(store)) == {"file", "d"}


def test_missing_and_forbidden_are_told_alike(make: Make) -> None:
    """HARDENING ftp-3: RFC 2577 §5."""

    @trial
    async def _() -> None:
        store = make({"file": b"1", "d/": b""}, permissions="list")
        answers = set[str]()
        for name in ("file", "none"):
            for attempt in (
                store.open_reader((name,)),
                store.open_writer((name,)),
                store.open_writer((name,), append=True),
                store.open_writer((), unique=True),
                store.remove_file((name,)),
                store.remove_directory((name,)),
                store.make_directory((name,)),
                store.rename((name,), ("new",)),
                store.set_mode((name,), 0o600),
                store.set_modified((name,), 1.0),
            ):
                with pytest.raises(FileUnavailableError) as caught:
                    await attempt
                answers.add(str(caught.value))
        assert len(answers) == 1


def test_the_root_stays_what_it_is(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1"})
        for attempt in (
            store.open_reader(()),
            store.open_writer(()),
            store.make_directory(()),
            store.remove_directory(()),
            store.remove_file(()),
            store.rename((), ("x",)),
            store.rename(("a",), ()),
            store.set_mode((), 0o700),
            store.set_modified((), 1.0),
        ):
            with pytest.raises(FileUnavailableError):
                await attempt


# ── reading ───────────────────────────────────────────────────────────────────


def test_a_file_is_read_from_any_octet(make: Make) -> None:
    @trial
    async def _() -> None:
        octets = bytes(range(256)) * 1024
        store = make({"a": octets})
        reader = await store.open_reader(("a",))
        assert reader.entry.size == len(octets)
        assert await reader.read(5, 7) == octets[5:12]
        assert await reader.read(100, 200_000) == octets[100:200_100]
        assert await reader.read(len(octets), 10) == b""
        reader.close()
        reader.close()
        with pytest.raises(FTPUsageError):
            await reader.read(0, 1)


def test_who_reads_a_file_that_is_replaced_reads_the_old_one(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"old"})
        reader = await store.open_reader(("a",))
        await put(store, ("a",), b"new")
        assert await reader.read(0, 10) == b"old"
        reader.close()
        assert await content(store, ("a",)) == b"new"


def test_directories_are_no_files_and_files_no_directories(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"d/": b"", "f": b"1"})
        for attempt in (
            store.open_reader(("d",)),
            store.open_writer(("d",)),
            store.open_writer(("d",), append=True),
            store.open_writer(("f", "x")),
            store.remove_file(("d",)),
            store.remove_directory(("f",)),
            store.make_directory(("f",)),
            store.make_directory(("d",)),
            store.make_directory(("f", "x")),
            anext(aiter(store.list_directory(("f",)))),
        ):
            with pytest.raises(FileUnavailableError):
                await attempt


# ── writing ───────────────────────────────────────────────────────────────────


def test_a_file_appears_whole_when_it_is_committed(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"d/": b""}, umask=0o027)
        writer = await store.open_writer(("d", "a"))
        assert writer.path == ("d", "a")
        large = bytes(300_000)
        await writer.write([b"one ", bytearray(b"two "), memoryview(b"three")])
        await writer.write([])
        await writer.write([large, b"end"])
        assert await listed(store, ("d",)) == {}
        with pytest.raises(FileUnavailableError):
            await store.open_reader(("d", "a"))
        await writer.commit()
        await writer.abort()
        assert await content(store, ("d", "a")) == b"one two three" + large + b"end"
        assert (await store.stat(("d", "a"))).mode == 0o640


def test_buffers_may_be_used_again_when_they_are_written(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make()
        writer = await store.open_writer(("a",))
        buffer = bytearray(b"first")
        await writer.write([buffer, memoryview(buffer)])
        buffer[:] = b"other"
        await writer.commit()
        assert await content(store, ("a",)) == b"firstfirst"


def test_a_file_that_is_aborted_was_never_there(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"old"})
        for size in (10, 200_000):
            writer = await store.open_writer(("a",))
            await writer.write([bytes(size)])
            await writer.abort()
            await writer.abort()
            for use in (writer.write([b"x"]), writer.commit()):
                with pytest.raises(FTPUsageError):
                    await use
        assert await content(store, ("a",)) == b"old"
        assert set(await listed(store)) == {"a"}


async def broken(store: IFileStore, path: FilePath, octets: bytes, **how: Any) -> bool:
    """Write what is not all of a file; whether it was to stay. (`Any`: of `open_writer`.)"""
    writer = await store.open_writer(path, **how)
    await writer.write([octets])
    keeps = writer.keeps
    await writer.abort()
    await writer.abort()
    with pytest.raises(FTPUsageError):
        await writer.commit()
    return keeps


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_part_of_a_new_file_is_kept_where_that_is_wanted(make: Make, size: int) -> None:
    @trial
    async def _() -> None:
        octets = bytes(range(256)) * 1000
        store = make(keep_broken=True, umask=0o027, quota=Quota(octets=300_000, files=1))
        assert await broken(store, ("a",), octets[:size])
        entry = await store.stat(("a",))
        assert (entry.size, entry.mode) == (size, 0o640)
        with pytest.raises(QuotaError):
            await put(store, ("b",), b"")
        # To go on, by REST or APPE, whichever way it breaks again.
        assert await broken(store, ("a",), octets[size : size + 5], offset=size)
        await put(store, ("a",), octets[size + 5 :], append=True)
        assert await content(store, ("a",)) == octets
        with pytest.raises(QuotaError):
            await put(store, ("a",), bytes(44_001), append=True)


def test_a_part_is_not_kept_in_place_of_anything(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"old": b"old", "d/": b""}, keep_broken=True)
        assert not await broken(store, ("old",), b"new")
        assert not await broken(store, ("d",), b"new", unique=True)
        assert await broken(store, ("d", "empty"), b"")
        for path in ("late", "large"):
            writer = await store.open_writer((path,))
            await writer.write([bytes(10 if path == "late" else 200_000)])
            await put(store, (path,), b"came meanwhile")
            await writer.abort()
            assert await content(store, (path,)) == b"came meanwhile"
        assert await content(store, ("old",)) == b"old"
        assert set(await listed(store)) == {"old", "d", "late", "large"}
        assert await listed(store, ("d",)) == {}


def test_a_part_is_kept_only_for_whom_it_is_of_use(make: Make) -> None:
    """Who may only create could neither go on with it nor send the file again."""

    @trial
    async def _() -> None:
        store = make(keep_broken=True, permissions="list create")
        assert not await broken(store, ("a",), b"half")
        assert await listed(store) == {}


def test_what_was_refused_for_the_quota_is_not_kept(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make(keep_broken=True, quota=Quota(octets=100_000))
        writer = await store.open_writer(("a",))
        await writer.write([bytes(90_000)])
        with pytest.raises(QuotaError):
            await writer.write([bytes(20_000)])
        await writer.abort()
        assert await listed(store) == {}
        await put(store, ("b",), bytes(100_000))


def test_a_file_that_is_replaced_keeps_its_mode(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"old"})
        await store.set_mode(("a",), 0o600)
        await put(store, ("a",), b"new")
        assert (await store.stat(("a",))).mode == 0o600
        assert await content(store, ("a",)) == b"new"


def test_of_two_at_the_same_name_the_last_stands_whole(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make()
        first, second = await store.open_writer(("a",)), await store.open_writer(("a",))
        await first.write([b"first"])
        await second.write([b"2"])
        await second.commit()
        await first.commit()
        assert await content(store, ("a",)) == b"first"


def test_a_file_is_appended_to_where_it_is(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"one"})
        await put(store, ("a",), b"two", append=True)
        await put(store, ("new",), b"whole", append=True)
        writer = await store.open_writer(("a",), append=True)
        await writer.write([b"three"])
        await writer.abort()
        assert await content(store, ("a",)) == b"onetwothree"
        assert await content(store, ("new",)) == b"whole"


def test_a_file_is_written_anew_from_an_octet_on(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"0123456789"})
        await put(store, ("a",), b"end", offset=4)
        assert await content(store, ("a",)) == b"0123end"
        await put(store, ("a",), b"!", offset=7)
        assert await content(store, ("a",)) == b"0123end!"
        writer = await store.open_writer(("a",), offset=2)
        await writer.abort()
        assert await content(store, ("a",)) == b"0123end!", "nothing came in its place"
        for path, offset in ((("a",), 9), (("none",), 1)):
            with pytest.raises(RestartError):
                await store.open_writer(path, offset=offset)


def test_one_at_a_time_makes_a_file_grow(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"one"})
        writer = await store.open_writer(("a",), append=True)
        for attempt in (
            store.open_writer(("a",), append=True),
            store.open_writer(("a",), offset=1),
        ):
            with pytest.raises(FileBusyError):
                await attempt
        await writer.commit()
        await put(store, ("a",), b"two", append=True)
        assert await content(store, ("a",)) == b"onetwo"


def test_stou_finds_a_name_that_is_free(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"d/": b"", "a.txt": b"there"})
        found = set[FilePath]()
        for path in ((), ("d",), ("a.txt",), ("new.txt",), ("new.txt",), ("d", ".x")):
            writer = await store.open_writer(path, unique=True)
            await writer.write([b"u"])
            found.add(writer.path)
            await writer.commit()
            assert await content(store, writer.path) == b"u"
        assert len(found) == 6
        assert await content(store, ("a.txt",)) == b"there"
        assert {("new.txt",), ("d", ".x")} < found
        assert {len(each) for each in found} == {1, 2}
        assert (
            sorted(each[0].endswith(".txt") for each in found if len(each) == 1)[1:] == [True] * 3
        )


def test_two_that_ask_at_once_get_two_names_and_replace_nobody(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make()
        first = await store.open_writer(("a",), unique=True)
        second = await store.open_writer(("a",), unique=True)
        assert first.path == ("a",) != second.path
        await put(store, ("a",), b"meanwhile")
        with pytest.raises(FileUnavailableError):
            await first.commit()
        await second.commit()
        assert await content(store, ("a",)) == b"meanwhile"


UNNAMEABLE = [
    "a\nb", "a\rb", "a\0b", "\x1b[31m", "\x7f", "\x9b", "\u2028", "\udc80", "a/b", "x" * 256,
    "é" * 128, "..", ".", "",
]  # fmt: skip


@pytest.mark.parametrize("name", UNNAMEABLE, ids=ascii)
def test_names_that_break_listings_cannot_be_given(make: Make, name: str) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b""})
        for attempt in (
            store.open_writer((name,)),
            store.open_writer((name,), append=True),
            store.make_directory((name,)),
            store.rename(("a",), (name,)),
        ):
            with pytest.raises(FileNameError):
                await attempt
        assert set(await listed(store)) == {"a"}


@pytest.mark.parametrize(
    "name", ["a b", " a", "ü", "日本", "a\\b", "~root", "%2e%2e", "👩‍💻", "-rf"]
)
def test_all_other_names_are_names(make: Make, name: str) -> None:
    @trial
    async def _() -> None:
        store = make()
        await put(store, (name,), b"1")
        assert set(await listed(store)) == {name}
        assert await content(store, (name,)) == b"1"
        await store.remove_file((name,))
        await store.make_directory((name,))
        await put(store, (name, name), b"2")
        assert await content(store, (name, name)) == b"2"


def test_names_with_a_dot_can_be_hidden(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1"}, hidden=False)
        with pytest.raises(FileNameError):
            await store.open_writer((".b",))
        with pytest.raises(FileUnavailableError):
            await store.open_writer((".b", "c"))
        with pytest.raises(FileNameError):
            await store.rename(("a",), (".a",))
        with pytest.raises(FileUnavailableError):
            await store.stat((".b",))


# ── directories and names ─────────────────────────────────────────────────────


def test_directories_are_made_and_removed_when_empty(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make(umask=0o077)
        await store.make_directory(("d",))
        await store.make_directory(("d", "e"))
        assert (await store.stat(("d",))).mode == 0o700
        with pytest.raises(FileUnavailableError):
            await store.remove_directory(("d",))
        with pytest.raises(FileUnavailableError):
            await store.make_directory(("none", "e"))
        await store.remove_directory(("d", "e"))
        await store.remove_directory(("d",))
        assert await listed(store) == {}


def test_files_and_directories_get_other_names(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1", "d/x": b"2", "e/": b""})
        await store.rename(("a",), ("d", "b"))
        await store.rename(("d",), ("e", "f"))
        assert await content(store, ("e", "f", "b")) == b"1"
        assert await content(store, ("e", "f", "x")) == b"2"
        await store.rename(("e", "f", "b"), ("e", "f", "x"))
        await store.rename(("e", "f", "x"), ("e", "f", "x"))
        assert await content(store, ("e", "f", "x")) == b"1"
        assert set(await listed(store)) == {"e"}


def test_a_directory_replaces_nothing_and_does_not_go_into_itself(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1", "d/": b"", "e/": b""})
        for source, target in (
            (("d",), ("a",)),
            (("d",), ("e",)),
            (("a",), ("d",)),
            (("d",), ("d", "x")),
            (("none",), ("x",)),
            (("a",), ("none", "x")),
        ):
            with pytest.raises(FileUnavailableError):
                await store.rename(source, target)
        assert set(await listed(store)) == {"a", "d", "e"}


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o10000])
def test_no_more_than_permission_bits_can_be_set(make: Make, mode: int) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1"})
        with pytest.raises(FileUnavailableError):
            await store.set_mode(("a",), mode)


def test_a_file_that_nobody_may_read_can_be_given_back(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1", "d/": b""})
        for path in (("a",), ("d",)):
            await store.set_mode(path, 0)
            await store.set_mode(path, 0o755)
            assert (await store.stat(path)).mode == 0o755


# ── what users may do ─────────────────────────────────────────────────────────


def test_a_directory_to_leave_files_in_shows_none(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make(
            {"pub/a": b"1", "incoming/secret": b"2"},
            permissions={"/": "view", "/incoming": "create"},
        )
        assert (await store.stat(("incoming",))).permissions == "c"
        assert set(await listed(store)) == {"pub", "incoming"}
        await put(store, ("incoming", "new"), b"3")
        for attempt in (
            store.open_reader(("incoming", "new")),
            store.stat(("incoming", "secret")),
            store.open_writer(("incoming", "secret")),
            store.open_writer(("incoming", "secret"), append=True),
            store.open_writer(("pub", "x")),
            store.rename(("incoming", "new"), ("pub", "new")),
            anext(aiter(store.list_directory(("incoming",)))),
        ):
            with pytest.raises(FileUnavailableError):
                await attempt
        assert await content(store, ("pub", "a")) == b"1"


def test_who_may_create_and_not_write_never_replaces_what_came_meanwhile(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make(permissions="create read")
        first, second = await store.open_writer(("a",)), await store.open_writer(("a",))
        await first.write([b"1"])
        await first.commit()
        with pytest.raises(FileUnavailableError):
            await second.commit()
        assert await content(store, ("a",)) == b"1"


def test_a_directory_with_permissions_of_its_own_keeps_its_name(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a/private/x": b"1"}, permissions={"/": "all", "/a/private": "nothing"})
        for path in (("a", "private"), ("a",)):
            with pytest.raises(FileUnavailableError):
                await store.rename(path, ("public",))
            with pytest.raises(FileUnavailableError):
                await store.remove_directory(path)
        assert (await store.stat(("a",))).permissions == "celmp"


def test_going_on_behind_what_is_there_is_less_than_writing_it_anew(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"123"}, permissions="append read list")
        await put(store, ("a",), b"4", append=True)
        await put(store, ("a",), b"5", offset=4)
        assert await content(store, ("a",)) == b"12345"
        for attempt in (store.open_writer(("a",), offset=2), store.open_writer(("a",))):
            with pytest.raises(FileUnavailableError):
                await attempt
        assert (await store.stat(("a",))).permissions == "ar"


# ── how much they may have ────────────────────────────────────────────────────


def test_no_more_octets_than_the_quota(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": bytes(600)}, quota=Quota(octets=1000))
        writer = await store.open_writer(("b",))
        await writer.write([bytes(400)])
        with pytest.raises(QuotaError):
            await writer.write([b"x"])
        assert set(await listed(store)) == {"a"}
        await put(store, ("b",), bytes(400))
        with pytest.raises(QuotaError):
            await put(store, ("b",), b"x", append=True)
        with pytest.raises(QuotaError):
            await store.open_writer(("c",), size=1)
        await put(store, ("empty",))
        await store.remove_file(("a",))
        await put(store, ("c",), bytes(600), size=600)
        assert {name: each.size for name, each in (await listed(store)).items()} == {
            "b": 400, "c": 600, "empty": 0,
        }  # fmt: skip


def test_a_file_can_be_replaced_within_the_quota(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": bytes(900)}, quota=Quota(octets=1000))
        await put(store, ("a",), bytes(600), bytes(400))
        writer = await store.open_writer(("a",))
        with pytest.raises(QuotaError):
            await writer.write([bytes(1001)])
        await put(store, ("a",), bytes(100))
        await put(store, ("b",), bytes(900))
        await put(store, ("b",), bytes(800), offset=100)
        with pytest.raises(QuotaError):
            await put(store, ("b",), bytes(801), offset=100)


def test_what_was_to_be_replaced_cannot_be_removed_to_have_more(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": bytes(900)}, quota=Quota(octets=1000))
        writer = await store.open_writer(("a",))
        await writer.write([bytes(950)])
        await store.remove_file(("a",))
        await put(store, ("b",), bytes(50))
        with pytest.raises(QuotaError):
            await put(store, ("b",), bytes(100), append=True)
        await writer.commit()
        assert sum(each.size for each in (await listed(store)).values()) == 1000


def test_no_more_files_and_directories_than_the_quota(make: Make) -> None:
    @trial
    async def _() -> None:
        store = make({"a": b"1"}, quota=Quota(files=3))
        await store.make_directory(("d",))
        writer = await store.open_writer(("b",))
        for attempt in (
            store.open_writer(("c",)),
            store.make_directory(("e",)),
            store.open_writer((), unique=True),
        ):
            with pytest.raises(QuotaError):
                await attempt
        await writer.abort()
        await put(store, ("b",))
        await put(store, ("b",), b"again")
        await store.rename(("a",), ("b",))
        await put(store, ("c",))
        await store.remove_directory(("d",))
        await store.make_directory(("d",))


def test_all_users_of_the_same_files_are_counted_together() -> None:
    @trial
    async def _() -> None:
        store = MemoryStore({"a": bytes(500)})
        other = store.shared_with(permissions="all", quota=Quota(octets=1000))
        await put(store, ("b",), bytes(400))
        with pytest.raises(QuotaError):
            await put(other, ("c",), bytes(101))
        await put(store, ("c",), bytes(1000))
        assert set(await listed(other)) == {"a", "b", "c"}


def test_what_is_announced_must_fit_on_the_disk(tmp_path: Path) -> None:
    @trial
    async def _() -> None:
        store = DirectoryStore(tmp_path)
        with pytest.raises(NoSpaceError):
            await store.open_writer(("a",), size=1 << 60)
        assert os.listdir(tmp_path) == []
        store.close()


def test_memory_is_given_by_path_and_a_file_is_no_directory() -> None:
    with pytest.raises(FTPUsageError, match="a file already"):
        MemoryStore({"a": b"1", "a/b": b"2"})
    with pytest.raises(FileNameError):
        MemoryStore({"a\nb": b"1"})
