"""Files observed: what the kernel tells, what looking tells, and both together."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import struct
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core import observe as room
from sennit.core.errors import UsageError
from sennit.core.observe import inotify
from sennit.core.observe.files import Observer, observe
from sennit.core.observe.inotify import Inotify, Raw, parse
from sennit.core.observe.statpoll import Change, Entry, FileEvent, diff, look
from sennit.core.reactor.base import Reactor, current_reactor, run

if TYPE_CHECKING:
    from pathlib import Path

CREATED, MODIFIED, MOVED, REMOVED = Change

KINDS: list[dict[str, Any]] = [{}, {"polling": 0.01}]
"""Both ways must tell the same."""


async def next_of(observer: Observer) -> FileEvent:
    async with asyncio.timeout(10):
        return await anext(observer)


# ── what the kernel says ──────────────────────────────────────────────────────

records = st.lists(
    st.tuples(
        st.integers(-1, 2**31 - 1),
        st.integers(0, 2**32 - 1),
        st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=40),
        st.integers(0, 7),
    )
)


@given(records)
def test_records_are_read_as_they_were_written(found: list[tuple[int, int, str, int]]) -> None:
    data = b""
    for watch, mask, name, padding in found:
        octets = os.fsencode(name)
        octets += bytes(padding + 1) if octets else b""
        data += struct.pack("iIII", watch, mask, 0, len(octets)) + octets
    assert parse(data) == [Raw(watch, mask, name) for watch, mask, name, _ in found]


@given(st.binary(max_size=200))
def test_no_octets_break_it(data: bytes) -> None:
    parse(data)


# ── what looking says ─────────────────────────────────────────────────────────

looks = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Entry, st.just(1), st.integers(1, 5), st.integers(0, 1), st.just(1), st.booleans()),
)


@given(looks, looks)
def test_what_is_told_leads_from_one_look_to_the_next(
    before: dict[str, Entry], after: dict[str, Entry]
) -> None:
    paths = set(before)
    modified: set[str] = set()
    for change, path, source in diff(before, after):
        if change is CREATED:
            assert path not in paths
            paths.add(path)
        elif change is REMOVED:
            paths.remove(path)
        elif change is MOVED:
            assert source is not None
            assert before[source] == after[path]
            paths.remove(source)
            paths.add(path)
        else:
            modified.add(path)
    assert paths == set(after)
    assert modified == {each for each in before if each in after and before[each] != after[each]}


def test_each_folder_on_the_way_through_links_matters(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/cert").write_text("1")
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/cert").symlink_to("../data/cert")
    found = look([str(tmp_path / "etc/cert")], recursive=False)
    assert found.folders == {
        str(tmp_path / "etc"): {"cert"},
        str(tmp_path): {"data"},
        str(tmp_path / "v1"): {"cert"},
    }
    (tmp_path / "loop").symlink_to("loop")
    assert look([str(tmp_path / "loop/x")], recursive=False).entries == {}


# ── both ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS, ids=["inotify", "polling"])
async def test_a_folder_tells_what_happens_in_it(tmp_path: Path, kind: dict[str, Any]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with observe(tmp_path, settle=0.01, **kind) as changes:
        one.write_text("1")
        event = await next_of(changes)
        assert event == FileEvent(CREATED, str(one))
        one.write_text("a longer one")
        assert await next_of(changes) == FileEvent(MODIFIED, str(one))
        one.rename(two)
        assert await next_of(changes) == FileEvent(MOVED, str(two), str(one))
        two.unlink()
        assert await next_of(changes) == FileEvent(REMOVED, str(two))


@pytest.mark.parametrize("kind", KINDS, ids=["inotify", "polling"])
async def test_a_file_that_is_replaced_was_modified(tmp_path: Path, kind: dict[str, Any]) -> None:
    """As editors and certificate clients do: a new file, renamed over the old one."""
    path = tmp_path / "file"
    path.write_text("old")
    async with observe(path, settle=0.01, **kind) as changes:
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").replace(path)
        assert await next_of(changes) == FileEvent(MODIFIED, str(path))
        path.unlink()
        assert await next_of(changes) == FileEvent(REMOVED, str(path))
        path.write_text("again")
        assert await next_of(changes) == FileEvent(CREATED, str(path))


@pytest.mark.parametrize("kind", KINDS, ids=["inotify", "polling"])
async def test_a_link_that_is_swapped_modifies_what_lies_behind(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    """As Kubernetes does with ``..data``."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "cert").write_text(version)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "cert").symlink_to("..data/cert")
    async with observe(tmp_path / "cert", settle=0.01, **kind) as changes:
        (tmp_path / "..next").symlink_to("v2")
        (tmp_path / "..next").replace(tmp_path / "..data")
        assert await next_of(changes) == FileEvent(MODIFIED, str(tmp_path / "cert"))
        (tmp_path / "v2/cert").write_text("in its new place")
        assert await next_of(changes) == FileEvent(MODIFIED, str(tmp_path / "cert"))


@pytest.mark.parametrize("kind", KINDS, ids=["inotify", "polling"])
async def test_what_is_not_there_yet_is_noticed(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = tmp_path / "a" / "b" / "file"
    async with observe(path, settle=0.01, **kind) as changes:
        path.parent.mkdir(parents=True)
        path.write_text("x")
        assert await next_of(changes) == FileEvent(CREATED, str(path))
        path.unlink()
        path.parent.rmdir()
        assert await next_of(changes) == FileEvent(REMOVED, str(path))
        path.parent.mkdir()
        path.write_text("y")
        assert await next_of(changes) == FileEvent(CREATED, str(path))


@pytest.mark.parametrize("kind", KINDS, ids=["inotify", "polling"])
async def test_folders_within_folders(tmp_path: Path, kind: dict[str, Any]) -> None:
    async with observe(tmp_path, recursive=True, settle=0.01, **kind) as changes:
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "a/b/file").write_text("x")
        seen: set[str] = set()
        while len(seen) < 3:
            seen.add((await next_of(changes)).path)
        assert seen == {str(tmp_path / each) for each in ("a", "a/b", "a/b/file")}
        (tmp_path / "a/b/file").write_text("longer")
        assert await next_of(changes) == FileEvent(MODIFIED, str(tmp_path / "a/b/file"))


async def test_several_changes_within_the_settle_time_are_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with observe(tmp_path, settle=0.05) as changes:
        for size in range(20):
            path.write_text("x" * size)
        assert await next_of(changes) == FileEvent(CREATED, str(path))
        (tmp_path / "other").write_text("")
        assert await next_of(changes) == FileEvent(CREATED, str(tmp_path / "other"))


async def test_a_folder_that_never_rests_is_told_of_all_the_same(tmp_path: Path) -> None:
    async with observe(tmp_path, settle=0.02) as changes:
        reading = asyncio.ensure_future(next_of(changes))
        number = 0
        while not reading.done():
            (tmp_path / f"file{number}").write_text("x")
            number += 1
            await asyncio.sleep(0.002)
        assert (await reading).change is CREATED


async def test_a_callback_is_called_and_its_errors_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[FileEvent] = []
    both = asyncio.Event()

    def told(event: FileEvent) -> None:
        seen.append(event)
        if len(seen) == 2:
            both.set()
        raise LookupError("in the callback")

    async with observe([tmp_path], told, settle=0.01) as observer:
        (tmp_path / "one").write_text("")
        (tmp_path / "two").write_text("")
        async with asyncio.timeout(10):
            await both.wait()
        with pytest.raises(UsageError, match="callback"):
            await anext(observer)
    assert [event.path for event in seen] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert "in the callback of an observer" in caplog.text


async def test_when_the_kernel_lost_records_everything_is_looked_at(tmp_path: Path) -> None:
    """IN_Q_OVERFLOW of inotify(7)."""
    async with observe(tmp_path, settle=0.01) as changes:
        found = inotify.inotify_of(current_reactor())
        current_reactor().remove_reader(found._fd)
        (tmp_path / "file").write_text("")
        os.read(found._fd, 65536)
        found._tell(Raw(-1, inotify.OVERFLOW, ""))
        assert await next_of(changes) == FileEvent(CREATED, str(tmp_path / "file"))


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
async def test_where_the_kernel_gives_no_more_files_are_looked_at(
    tmp_path: Path,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Inotify, "__init__" if code == errno.EMFILE else "watch", refuse)
    with caplog.at_level(logging.WARNING):
        async with observe(tmp_path / "file", settle=0.01) as changes:
            assert changes.is_polling
            assert os.strerror(code) in caplog.text
            changes._polling = 0.01
            (tmp_path / "file").write_text("")
            assert await next_of(changes) == FileEvent(CREATED, str(tmp_path / "file"))
    for each in list(current_reactor().dependants):
        if isinstance(each, Inotify):
            each.close()


async def test_all_observers_of_a_reactor_share_one_descriptor(tmp_path: Path) -> None:
    async with observe(tmp_path, settle=0.01) as left, observe(tmp_path, settle=0.01) as right:
        assert left._inotify is right._inotify
        (tmp_path / "file").write_text("")
        assert await next_of(left) == await next_of(right)
        left.close()
        (tmp_path / "file").unlink()
        assert (await next_of(right)).change is REMOVED
        kernel = right._inotify
    assert kernel is not None
    assert kernel.closed


async def test_events_that_nobody_reads_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.core.observe.files.PENDING", 3)
    async with observe(tmp_path, settle=0.001) as changes:
        for number in range(3):
            (tmp_path / f"{number}").write_text("")
        async with asyncio.timeout(10):
            while len(changes._events) < 3:
                await asyncio.sleep(0.001)
        (tmp_path / "late").write_text("")
        await asyncio.sleep(0.01)
        assert len(changes._events) == 3
        seen = [(await next_of(changes)).path for _ in range(4)]
    assert seen[3] == str(tmp_path / "late")


async def test_closing_ends_the_one_who_reads(tmp_path: Path) -> None:
    changes = observe(tmp_path)
    reading = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert "inotify" in repr(changes)
    with pytest.raises(UsageError, match="another one"):
        await anext(changes)
    changes.close()
    changes.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    assert [event async for event in changes] == []
    await changes.started
    assert "closed" in repr(changes)


def test_it_closes_with_its_reactor(tmp_path: Path) -> None:
    observers: list[Observer] = []

    async def main(reactor: Reactor) -> None:
        observers.append(observe(tmp_path, lambda _: None))
        await observers[0].started

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert observers[0]._closed
    kernel = observers[0]._inotify
    assert kernel is not None
    assert kernel.closed


def test_a_reactor_that_observed_is_let_go(tmp_path: Path) -> None:
    """What knows its descriptor must not keep it, and all that hangs on it, for ever."""
    gone: list[weakref.ref[Reactor]] = []

    async def main(reactor: Reactor) -> None:
        gone.append(weakref.ref(reactor))
        async with observe(tmp_path):
            pass

    run(main)
    gc.collect()
    assert gone[0]() is None


async def test_wrong_uses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one path"):
        observe([])
    for wrong in ({"settle": -1.0}, {"polling": 0.0}):
        with pytest.raises(UsageError, match="seconds"):
            observe(tmp_path, **wrong)  # type: ignore[arg-type]  # what must be refused


def test_the_package_offers_what_it_lists() -> None:
    assert set(dir(room)) == set(room.__all__)
    assert [getattr(room, name).__name__ for name in room.__all__] == room.__all__
    with pytest.raises(AttributeError):
        _ = room.Nothing  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue]
