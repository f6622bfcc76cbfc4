"""The journal: what was acknowledged is there, whatever happens, and nothing half done."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.transfer_zones import ORIGIN, SOME, anything, change, record, soa, zone
from sennit.names.codes import Rcode
from sennit.names.errors import MessageFormatError, ZoneError
from sennit.names.name import Name
from sennit.names.update.history import Entry, History
from sennit.names.update.journal import Journal, JournalError, decode, encode, replay
from sennit.names.update.message import Update
from sennit.names.update.update import UpdatableZone
from sennit.names.zone.writer import replace_with_lines, write_zone
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sennit.names.zone.zone import Zone


def entry(serial: int) -> Entry:
    changes = change(serial, serial + 1, [], [f"h{serial} 60 A 192.0.2.1", f"h{serial} 60 TXT x"])
    return Entry(serial, serial + 1, changes)


def same(one: list[Entry], other: list[Entry]) -> bool:
    return [encode(each) for each in one] == [encode(each) for each in other]


def begun(path: Path, count: int = 3) -> list[Entry]:
    entries = [entry(serial) for serial in range(1, count + 1)]
    journal, found = Journal.open(path, ORIGIN, 1)
    assert found == []
    journal.append(entries)
    journal.close()
    return entries


def grown(count: int) -> Zone:
    found = zone()
    for serial in range(1, count + 1):
        found.apply(entry(serial).changes)
    return found


# ── the file ──────────────────────────────────────────────────────────────────


def test_what_was_written_is_read(tmp_path: Path) -> None:
    entries = begun(tmp_path / "j")

    journal, found = Journal.open(tmp_path / "j", ORIGIN, 9)

    assert same(found, entries)
    assert (journal.base, journal.cut) == (1, 0)
    journal.close()


def test_a_journal_cut_at_any_octet_has_a_beginning_of_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash cuts off was not acknowledged; all before it is there."""

    # A thousand times; whether the disk has it is not what is looked at here.
    def at_once(descriptor: int) -> None:
        del descriptor

    monkeypatch.setattr(os, "fsync", at_once)
    monkeypatch.setattr(os, "fdatasync", at_once)
    path = tmp_path / "j"
    ends: list[int] = []
    journal, _ = Journal.open(path, ORIGIN, 1)
    head = journal.size
    entries = [entry(serial) for serial in range(1, 4)]
    for each in entries:
        journal.append([each])
        ends.append(journal.size)
    journal.close()
    octets = path.read_bytes()
    for size in range(head, len(octets) + 1):
        path.write_bytes(octets[:size])

        journal, found = Journal.open(path, ORIGIN, 1)

        whole = sum(end <= size for end in ends)
        assert same(found, entries[:whole])
        journal.append([entry(whole + 1)])
        journal.close()
        journal, found = Journal.open(path, ORIGIN, 1)
        journal.close()
        assert len(found) == whole + 1
    assert not (tmp_path / "j.broken").exists()


@given(st.data())
@settings(max_examples=25)
def test_bent_octets_are_seen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("bent") / "j"
    entries = begun(path)
    journal, _ = Journal.open(path, ORIGIN, 1)
    journal.rewrite(entries, 1)
    journal.close()
    octets = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(octets)

    try:
        journal, found = Journal.open(path, ORIGIN, 1)
    except JournalError:
        return  # its beginning is damaged
    journal.close()
    assert len(found) < len(entries)
    assert same(found, entries[: len(found)])


def test_what_looks_damaged_is_kept_beside_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begun(path)
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)

    journal, found = Journal.open(path, ORIGIN, 1)

    assert len(found) == 2
    assert journal.cut == len((tmp_path / "j.broken").read_bytes()) > 0
    journal.close()


@pytest.mark.parametrize("octets", [b"", b"hello", b"sennit journal 1\n"])
def test_a_file_that_is_no_journal_is_refused_and_left(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(octets)

    with pytest.raises(JournalError):
        Journal.open(path, ORIGIN, 1)

    assert path.read_bytes() == octets


def test_the_journal_of_another_zone_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "j")

    with pytest.raises(JournalError, match="another zone"):
        Journal.open(tmp_path / "j", Name("example.net"), 1)


def test_a_journal_begun_anew_has_what_was_to_stay(tmp_path: Path) -> None:
    entries = begun(tmp_path / "j")
    journal, _ = Journal.open(tmp_path / "j", ORIGIN, 1)

    journal.rewrite(entries[1:], 4)
    journal.append([entry(4)])
    journal.close()

    journal, found = Journal.open(tmp_path / "j", ORIGIN, 9)
    assert same(found, [*entries[1:], entry(4)])
    assert journal.base == 4
    assert [each.name for each in tmp_path.iterdir()] == ["j"]
    journal.close()


@given(st.binary(max_size=100))
@settings(max_examples=80)
def test_octets_that_are_no_entry_are_refused(octets: bytes) -> None:
    for given_octets in (octets, encode(entry(1))[:-1] + octets):
        try:
            decode(given_octets)
        except MessageFormatError:
            continue


# ── the disk fails (HARDENING fault-3) ────────────────────────────────────────


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_what_could_not_be_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "j"
    begun(path)
    journal, found = Journal.open(path, ORIGIN, 1)
    before = path.read_bytes()
    real = os.write

    def fail(descriptor: int, *octets: bytes) -> int:
        if octets and len(octets[0]) > 40:
            return real(descriptor, bytes(octets[0][:40]))  # a part of it gets there
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(JournalError):
            journal.append([entry(4)])
    assert path.read_bytes() == before

    journal.append([entry(4)])
    journal.close()
    journal, found = Journal.open(path, ORIGIN, 1)
    journal.close()
    assert len(found) == 4


def test_a_journal_that_cannot_be_cut_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    begun(tmp_path / "j")
    journal, _ = Journal.open(tmp_path / "j", ORIGIN, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        patched.setattr(os, "ftruncate", fail)
        with pytest.raises(JournalError):
            journal.append([entry(4)])

    with pytest.raises(JournalError, match="failed before"):
        journal.append([entry(4)])
    journal.close()


def test_a_journal_is_of_one_program_alone(tmp_path: Path) -> None:
    """Two that append to it, or replace it, would lose what the other one acknowledged."""
    begun(tmp_path / "j")
    journal, _ = Journal.open(tmp_path / "j", ORIGIN, 1)
    with pytest.raises(JournalError, match="is in use"):
        Journal.open(tmp_path / "j", ORIGIN, 1)
    journal.rewrite([], 4)
    with pytest.raises(JournalError, match="is in use"):
        Journal.open(tmp_path / "j", ORIGIN, 1)
    journal.append([entry(4)])
    journal.close()

    journal, found = Journal.open(tmp_path / "j", ORIGIN, 4)
    journal.close()
    assert same(found, [entry(4)])


def test_another_process_is_refused_the_journal(tmp_path: Path) -> None:
    begun(tmp_path / "j")
    journal, _ = Journal.open(tmp_path / "j", ORIGIN, 1)
    program = (
        "import sys\n"
        "from sennit.names.name import Name\n"
        "from sennit.names.update.journal import Journal\n"
        "Journal.open(sys.argv[1], Name('example.org'), 1)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "j")],
        capture_output=True,
        text=True,
        check=False,
    )
    journal.close()
    assert ended.returncode == 1
    assert "is in use: another program" in ended.stderr


def test_a_folder_that_cannot_be_synced_loses_no_later_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new journal has its name by then: what is written to the old one would be gone."""
    begun(tmp_path / "j")
    journal, _ = Journal.open(tmp_path / "j", ORIGIN, 1)
    real = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "no")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no"):
            journal.rewrite([], 4)
        with pytest.raises(JournalError, match="no"):
            journal.append([entry(4)])
    journal.append([entry(4)])
    journal.close()

    journal, found = Journal.open(tmp_path / "j", ORIGIN, 4)
    journal.close()
    assert same(found, [entry(4)])


def test_what_a_crash_left_beside_the_files_is_removed(tmp_path: Path) -> None:
    path = put(tmp_path / "z")
    begun(tmp_path / "z.journal")
    left = [tmp_path / ".z.0123456789ab", tmp_path / ".z.journal.0123456789ab"]
    others = [tmp_path / ".z.journal.swp", tmp_path / ".zz.0123456789ab"]
    for each in left + others:
        each.write_text("half")

    holder = opened(path)

    assert [each.exists() for each in left + others] == [False, False, True, True]
    assert len(holder.history) == 3
    holder.zone.on_change.clear()


def test_nobody_can_read_a_secret_while_its_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    seen: list[int] = []

    def pieces() -> Iterator[str]:
        yield "half of "
        (beside,) = tmp_path.glob(".secret.*")
        seen.append(stat.S_IMODE(beside.stat().st_mode))
        yield "it"

    replace_with_lines(path, pieces())

    assert seen == [0o600]
    assert path.read_text() == "half of it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ── zone file and journal ─────────────────────────────────────────────────────


@pytest.mark.parametrize("merged", [0, 1, 2, 3])
def test_a_zone_is_brought_up_from_whatever_version_its_file_has(merged: int) -> None:
    """Also where a crash came between the zone file's renaming and the journal's."""
    entries = [entry(serial) for serial in range(1, 4)]
    loaded = grown(merged)

    applied = replay(loaded, entries, 1)

    assert applied == entries[merged:]
    assert loaded == grown(3)


def test_a_zone_file_replaced_by_hand_sets_a_journal_aside_that_is_all_in_the_old_one() -> None:
    entries = [entry(serial) for serial in range(1, 4)]

    assert replay(zone(2026), entries, 4) is None
    with pytest.raises(JournalError, match="serial 2026"):
        replay(zone(2026), entries, 1)
    assert replay(zone(2026), [], 1) == []


def test_changes_that_do_not_fit_the_file_are_told() -> None:
    other = Entry(1, 2, change(1, 2, ["nothing 60 A 192.0.2.1"], []))

    with pytest.raises(JournalError, match="does not fit"):
        replay(zone(), [other], 1)


def put(path: Path, given: Zone | None = None) -> Path:
    write_zone(given or zone(), path)
    return path


def opened(path: Path, **options: Any) -> UpdatableZone:
    return UpdatableZone(read_zone(path, origin=ORIGIN), path, **options)


def adding(name: str) -> Any:
    return Update(ORIGIN).add(name, 60, "A", "192.0.2.1").add(name, 60, "TXT", "x").message()


async def make(holder: UpdatableZone, *names: str) -> list[int]:
    return await asyncio.gather(*(holder.update(adding(name), anything) for name in names))


async def test_updates_are_there_after_a_restart_without_an_end(tmp_path: Path) -> None:
    path = put(tmp_path / "z")
    holder = opened(path)
    assert await make(holder, "a", "b") == [Rcode.NOERROR] * 2
    assert await make(holder, "c") == [Rcode.NOERROR]
    await holder.aclose(write=False)
    assert read_zone(path, origin=ORIGIN) == zone()

    again = opened(path)

    assert again.zone == holder.zone
    assert again.zone.serial == 4
    assert [each.old for each in again.history.since(1, 4) or ()] == [1, 2, 3]
    await again.aclose(write=False)


async def test_updates_that_wait_share_one_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = opened(put(tmp_path / "z"))
    real = os.fdatasync
    calls: list[int] = []

    def count(descriptor: int) -> None:
        calls.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", count)

    assert await make(holder, *(f"h{number}" for number in range(50))) == [Rcode.NOERROR] * 50

    assert len(calls) == holder.counts["syncs"] <= 2
    await holder.aclose(write=False)


async def test_nobody_sees_a_change_before_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = opened(put(tmp_path / "z"))
    real = os.fdatasync
    seen: list[int] = []

    def look(descriptor: int) -> None:
        seen.append(holder.zone.serial)
        real(descriptor)
        seen.append(holder.zone.serial)

    monkeypatch.setattr(os, "fdatasync", look)
    await make(holder, "a")

    assert seen == [1, 1]
    assert holder.zone.serial == 2
    await holder.aclose(write=False)


async def test_a_disk_that_fails_is_servfail_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    holder = opened(put(tmp_path / "z"))

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        assert await make(holder, "a", "b") == [Rcode.SERVFAIL] * 2
    assert holder.zone == zone()
    assert "no space" in caplog.text

    assert await make(holder, "c") == [Rcode.NOERROR]
    await holder.aclose(write=False)
    again = opened(tmp_path / "z")
    assert again.zone == holder.zone
    await again.aclose(write=False)


async def test_a_zone_that_somebody_else_changed_meanwhile_is_not_changed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    holder = opened(put(tmp_path / "z"))
    real = Journal.append

    def interfere(journal: Journal, entries: list[Entry]) -> list[int]:
        holder.zone.apply(change(1, 50))
        return real(journal, entries)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", interfere)
        assert await make(holder, "a") == [Rcode.SERVFAIL]

    assert "somebody else" in caplog.text
    await holder.aclose(write=False)
    journal, found = Journal.open(tmp_path / "z.journal", ORIGIN, 1)
    journal.close()
    assert found == []


async def test_the_zone_file_is_written_when_the_journal_is_long_enough(tmp_path: Path) -> None:
    path = put(tmp_path / "z")
    holder = opened(path, compact_at=200)

    await make(holder, "a")
    await make(holder, "b")
    await holder.aclose()

    assert holder.counts["compactions"] >= 1
    assert read_zone(path, origin=ORIGIN) == holder.zone
    again = opened(path)
    assert again.zone == holder.zone
    assert len(again.history) == 2  # what IXFR is to have is kept
    await again.aclose()


async def test_a_zone_that_was_written_while_it_was_read_is_not_taken_for_another(
    tmp_path: Path,
) -> None:
    """A program that ends writes the zone file; one that begins may have read the old one."""
    path = put(tmp_path / "z")
    holder = opened(path, history=History(max_versions=1))
    old = read_zone(path, origin=ORIGIN)
    await make(holder, "a")
    await make(holder, "b")
    await holder.aclose()

    with pytest.raises(ZoneError, match="while it was read"):
        UpdatableZone(old, path)

    again = opened(path)
    assert again.zone == holder.zone
    await again.aclose()


async def test_a_replaced_zone_file_begins_a_new_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path / "z")
    holder = opened(path)
    await make(holder, "a")
    await holder.aclose()
    put(path, zone(2026))

    again = opened(path)

    assert again.zone == zone(2026)
    assert len(again.history) == 0
    assert (tmp_path / "z.journal.old").exists()
    assert "set aside" in caplog.text
    assert await make(again, "b") == [Rcode.NOERROR]
    await again.aclose()


# ── kill -9 (HARDENING fault-6, dns-14) ───────────────────────────────────────

CHILD = """
import asyncio, itertools, sys
from pathlib import Path
from sennit.core import run
from sennit.names.name import Name
from sennit.names.update.message import Update
from sennit.names.update.update import UpdatableZone
from sennit.names.zone.zonefile import read_zone

async def main(reactor):
    path, origin = Path(sys.argv[1]), Name("example.org")
    zone = UpdatableZone(read_zone(path, origin=origin), path, compact_at=3000)
    async def ask(number):
        update = Update(origin).add(f"h{number}", 60, "A", "192.0.2.1")
        update.add(f"h{number}", 60, "TXT", "x").delete(f"h{number - 40}")
        code = await zone.update(update.message(), lambda *_: True)
        sys.stdout.write(f"{number} {code}\\n")
        sys.stdout.flush()
    for number in itertools.count(zone.zone.serial * 1000, 3):
        await asyncio.gather(ask(number), ask(number + 1), ask(number + 2))

run(main)
"""


@pytest.mark.parametrize("lines", [1, 60, 150, 333])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    """The child is killed while it journals and compacts; each update is whole or absent."""
    path = put(tmp_path / "z")
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    acknowledged = [int(line.split()[0]) for line in said if line.endswith(" 0\n")]
    assert len(acknowledged) >= lines

    loaded = read_zone(path, origin=ORIGIN)
    journal, entries = Journal.open(tmp_path / "z.journal", ORIGIN, loaded.serial)
    journal.close()
    replay(loaded, entries, journal.base)

    numbers = {
        int(node.name.labels[0][1:])
        for node in loaded.nodes.values()
        if node.name.labels[0].startswith(b"h")
    }
    last = max(acknowledged)
    # What was acknowledged is there, unless a later one, acknowledged or not, deleted it.
    newest = max(numbers)
    assert newest >= last
    assert {each for each in acknowledged if each > newest - 40} <= numbers
    for number in numbers:
        node = loaded.get(Name(f"h{number}", ORIGIN))
        assert node is not None
        assert node.types == {1, 16}  # never one half of an update


def test_a_crash_at_any_step_of_compaction_leaves_the_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync, rename and directory of both files: whichever is the last to be done."""
    steps = 0
    while True:
        folder = tmp_path / str(steps)
        folder.mkdir()
        path = put(folder / "z")
        left = steps

        def crash(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt  # nothing below looks for it
                left -= 1
                return real(*arguments, **named)

            return call

        journal, _ = Journal.open(folder / "z.journal", ORIGIN, 1)
        entries = [entry(serial) for serial in range(1, 4)]
        journal.append(entries)
        done = False
        with monkeypatch.context() as patched:
            for name in ("fsync", "replace", "rename"):
                patched.setattr(os, name, crash(getattr(os, name)))
            try:
                write_zone(grown(3), path)
                journal.rewrite(entries, 4)
                done = True
            except KeyboardInterrupt:
                pass
        journal.close()

        loaded = read_zone(path, origin=ORIGIN)
        journal, found = Journal.open(folder / "z.journal", ORIGIN, loaded.serial)
        journal.close()
        replay(loaded, found, journal.base)
        assert loaded == grown(3)
        if done:
            break
        steps += 1
    assert steps >= 4


def test_the_sample_zone_is_one() -> None:
    assert zone(1, SOME).soa == soa(1)
    assert record("a 60 A 192.0.2.1").name == Name("a.example.org")
