"""Zones that are kept signed while they are served, and the files of their keys."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Final

import pytest

from sennit.core.reactor.base import run
from sennit.names.codes import Rcode, RRType
from sennit.names.dnssec import keyfiles
from sennit.names.dnssec.canonical import SignedSet
from sennit.names.dnssec.keyfiles import KeyFolder
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.rollover import KeyRole, KeyState, ManagedKey, RolloverPolicy
from sennit.names.dnssec.upkeep import ZoneUpkeep
from sennit.names.errors import DNSUsageError
from sennit.names.message import Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.dnssec import DNSKEY, RRSIG
from sennit.names.update.update import UpdatableZone
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from sennit.names.rdata import Rdata
    from sennit.names.update.view import View
    from sennit.names.zone.zone import Zone

ORIGIN: Final = Name("example.")
DAY: Final = 86400.0
ZONE: Final = """\
$TTL 3600
@ SOA ns1 hostmaster 7 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
"""


class Wall:
    """The wall clock."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


def fresh(text: str = ZONE) -> Zone:
    return read_zone(text.splitlines(), ORIGIN)


def kept(
    folder: Path, wall: Wall, policy: RolloverPolicy | None = None, **options: Any
) -> tuple[UpdatableZone, ZoneUpkeep]:
    served = UpdatableZone(options.pop("zone", None) or fresh(), options.pop("path", None))
    upkeep = ZoneUpkeep(
        served,
        KeyFolder(folder, ORIGIN),
        policy or RolloverPolicy(zsk_lifetime=30 * DAY),
        wall_clock=wall,
        **options,
    )
    return served, upkeep


def run_with(main: Callable[[], Awaitable[None]]) -> None:
    async def whole(reactor: object) -> None:
        del reactor
        await main()

    run(whole)


def check(zone: Zone, upkeep: ZoneUpkeep) -> set[int]:
    """Each RRset has a good signature of a key that is published; the tags of those in use."""
    published = zone.rrset(ORIGIN, RRType.DNSKEY)
    assert published is not None
    tags = {each.key_tag for each in published.rdatas if isinstance(each, DNSKEY)}
    keys = {each.key.tag: each.key.private.public for each in upkeep.rollover.keys}
    found: set[int] = set()
    for node in zone.nodes.values():
        signed = node.signatures
        assert set(signed) == set(node.rrsets)
        for rdtype, signatures in signed.items():
            rrset = node.get(rdtype)
            assert rrset is not None
            for each in signatures.rdatas:
                assert isinstance(each, RRSIG)
                assert each.key_tag in tags
                octets = SignedSet(rrset).octets(each)
                assert keys[each.key_tag].verify(each.signature, octets)
                found.add(each.key_tag)
    return found


async def settle(upkeep: ZoneUpkeep) -> None:
    """Let the upkeep do all that is due at this time of the wall clock."""
    await upkeep.look()
    while upkeep.signer.sweeping:
        await upkeep.look()


# ── the files ─────────────────────────────────────────────────────────────────


def test_keys_and_where_they_are_in_their_lives_are_kept(tmp_path: Path, wall: Wall) -> None:
    folder = KeyFolder(tmp_path / "keys", ORIGIN)
    assert folder.load(wall.now) == ([], None)
    key = ZoneKey.generate(ORIGIN, 13, sep=True)
    managed = ManagedKey(key, KeyRole.CSK, KeyState.READY, 5.0, swept=6.0, ds=7.0)

    folder.save([managed], [], 42, wall.now)
    (again,), serial = folder.load(wall.now)

    assert serial == 42
    assert again.key.dnskey == key.dnskey
    assert again.state_dict() == managed.state_dict()
    path = folder.path_of(key)
    assert path.name == f"Kexample.+013+{key.tag:05d}.private"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_key_that_is_in_use_and_gone_is_told(tmp_path: Path, wall: Wall) -> None:
    folder = KeyFolder(tmp_path, ORIGIN)
    key = ZoneKey.generate(ORIGIN, 13)
    folder.save([ManagedKey(key, KeyRole.ZSK, KeyState.ACTIVE, 5.0)], [], None, wall.now)
    folder.path_of(key).unlink()

    with pytest.raises(DNSUsageError, match="put it back"):
        folder.load(wall.now)


@pytest.mark.parametrize("text", ["{", "[]", '{"keys": [{}]}', '{"keys": 3}'])
def test_a_state_that_is_none_is_told_with_its_file(tmp_path: Path, wall: Wall, text: str) -> None:
    (tmp_path / "example.state").write_text(text)

    with pytest.raises(DNSUsageError, match="is no state of keys"):
        KeyFolder(tmp_path, ORIGIN).load(wall.now)


def test_keys_put_there_by_hand_are_taken_by_their_times(tmp_path: Path, wall: Wall) -> None:
    folder = KeyFolder(tmp_path, ORIGIN)
    keys = [ZoneKey.generate(ORIGIN, 15, sep=sep) for sep in (True, False, False, False)]
    folder.save(
        [ManagedKey(each, KeyRole.ZSK, KeyState.AHEAD, wall.now) for each in keys],
        [],
        None,
        wall.now,
    )
    (tmp_path / "example.state").unlink()
    times = ["", "Activate: 20200101000000", "Delete: 20200101000000", "Activate: 20990101000000"]
    for key, line in zip(keys, times, strict=True):
        path = folder.path_of(key)
        path.write_text(path.read_text() + line + "\n")

    found, _ = folder.load(wall.now)

    roles = {each.key.tag: (each.role, each.state) for each in found}
    assert roles == {
        keys[0].tag: (KeyRole.KSK, KeyState.ACTIVE),
        keys[1].tag: (KeyRole.ZSK, KeyState.ACTIVE),
    }


# ── the upkeep ────────────────────────────────────────────────────────────────


def test_a_zone_is_signed_before_it_is_served(tmp_path: Path, wall: Wall) -> None:
    async def main() -> None:
        served, upkeep = kept(tmp_path, wall)
        await upkeep.prepare()

        assert check(served.zone, upkeep) == {each.key.tag for each in upkeep.rollover.keys}
        assert served.zone.serial == 8
        ds = (tmp_path / "dsset-example.").read_text()
        assert ds.startswith(f"example. IN DS {upkeep.rollover.keys[0].key.tag} 13 2 ")
        await upkeep.aclose()

    run_with(main)


def test_an_update_and_its_signatures_are_one_version(tmp_path: Path, wall: Wall) -> None:
    async def main() -> None:
        path = tmp_path / "example.zone"
        path.write_text(ZONE)
        served, upkeep = kept(tmp_path / "keys", wall, path=path)
        await upkeep.prepare()
        serial = served.zone.serial
        new = Record(Name("new.example."), 1, 60, A("192.0.2.9"))

        def edit(view: View) -> int:
            view.add(new)
            return Rcode.NOERROR

        assert await served.edit(edit) == Rcode.NOERROR
        assert served.zone.serial == serial + 1
        check(served.zone, upkeep)
        entry = served.history.entries[-1]
        types = {each.rdtype for each in entry.changes.added}
        assert types >= {RRType.A, RRType.RRSIG, RRType.NSEC}
        await upkeep.aclose()
        await served.aclose(write=False)  # as after kill -9

        again, upkeep = kept(tmp_path / "keys", wall, path=path)
        assert again.zone.serial == serial + 1
        await upkeep.prepare()
        assert again.zone.serial == serial + 1  # all is signed: there is nothing to be done
        assert upkeep.signer.made == 0
        check(again.zone, upkeep)
        await upkeep.aclose()
        await again.aclose()

    run_with(main)


def test_the_serial_of_a_zone_without_a_journal_goes_on(tmp_path: Path, wall: Wall) -> None:
    async def main() -> None:
        serials: list[int] = []
        for _ in range(3):
            served, upkeep = kept(tmp_path, wall)
            await upkeep.prepare()
            check(served.zone, upkeep)
            serials.append(served.zone.serial)
            await upkeep.aclose()
        assert serials == sorted(set(serials))

    run_with(main)


def test_signatures_are_made_anew_before_they_end(tmp_path: Path, wall: Wall) -> None:
    async def main() -> None:
        served, upkeep = kept(tmp_path, wall, RolloverPolicy())
        await upkeep.prepare()
        for _ in range(60):
            wall.now += DAY / 2
            await settle(upkeep)
            ends = [
                each.rdata.expiration
                for each in served.zone.records()
                if isinstance(each.rdata, RRSIG)
            ]
            assert min(ends) > wall.now + 2 * DAY
        check(served.zone, upkeep)
        assert served.zone.serial < 8 + 60
        await upkeep.aclose()

    run_with(main)


def test_keys_are_replaced_by_themselves(tmp_path: Path, wall: Wall) -> None:
    parent: list[Rdata] = []

    async def fetch(origin: Name) -> Iterable[Rdata]:
        assert origin == ORIGIN
        return parent

    async def main() -> None:
        policy = RolloverPolicy(zsk_lifetime=10 * DAY, ksk_lifetime=20 * DAY)
        served, upkeep = kept(tmp_path, wall, policy, fetch_ds=fetch)
        await upkeep.prepare()
        tags = {each.key.tag for each in upkeep.rollover.keys}
        for _ in range(40 * 6):
            wall.now += DAY / 6
            await settle(upkeep)
            check(served.zone, upkeep)
            parent[:] = [each.key.ds() for each in upkeep.rollover.ds_wanted()]
        assert not tags & {each.key.tag for each in upkeep.rollover.keys}
        state = json.loads((tmp_path / "example.state").read_text())
        assert {each["tag"] for each in state["keys"]} == {
            each.key.tag for each in upkeep.rollover.keys
        }
        for tag in tags:
            text = next(tmp_path.glob(f"K*+{tag:05d}.private")).read_text()
            assert "Delete: " in text
        await upkeep.aclose()

    run_with(main)


def test_another_version_of_the_file_takes_the_place_of_the_data(
    tmp_path: Path, wall: Wall
) -> None:
    async def main() -> None:
        served, upkeep = kept(tmp_path, wall)
        await upkeep.prepare()
        serial = served.zone.serial
        made = upkeep.signer.made
        new = fresh(ZONE.replace("192.0.2.2", "192.0.2.3") + "more A 192.0.2.4\n")

        assert await upkeep.replace_data(new)

        assert served.zone.serial == serial + 1
        check(served.zone, upkeep)
        found = served.zone.rrset(Name("www.example."), RRType.A)
        assert found is not None
        assert found.rdatas == (A("192.0.2.3"),)
        assert upkeep.signer.made - made == 5  # www, more, SOA, and two of the chain
        assert len(served.history) == 2
        await upkeep.aclose()

    run_with(main)


def test_the_ds_of_no_key_is_waited_for_at_first(tmp_path: Path, wall: Wall) -> None:
    async def main() -> None:
        _, upkeep = kept(tmp_path, wall)
        await upkeep.prepare()
        with pytest.raises(DNSUsageError, match="waits for its DS"):
            upkeep.ds_seen(upkeep.rollover.keys[0].key.tag)
        await upkeep.aclose()

    run_with(main)


def published(zone: Zone) -> set[int]:
    rrset = zone.rrset(ORIGIN, RRType.DNSKEY)
    assert rrset is not None
    return {each.key_tag for each in rrset.rdatas if isinstance(each, DNSKEY)}


# ── faults ────────────────────────────────────────────────────────────────────


def test_a_step_of_the_keys_that_cannot_be_written_is_not_made(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a key would be used one day which nobody was ever shown."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        served, upkeep = kept(tmp_path, wall, RolloverPolicy(zsk_lifetime=10 * DAY))
        await upkeep.prepare()
        first = {each.key.tag for each in upkeep.rollover.keys}
        wall.now += 10 * DAY - 3900
        with monkeypatch.context() as patched:
            patched.setattr(keyfiles, "replace_with_lines", full)
            for _ in range(3):
                assert not await upkeep.look()
                assert {each.key.tag for each in upkeep.rollover.keys} == first
                wall.now += 3000
        await settle(upkeep)

        (new,) = published(served.zone) - first
        since = next(each.since for each in upkeep.rollover.keys if each.key.tag == new)
        assert since == wall.now, "when it was shown"
        assert new not in check(served.zone, upkeep), "not before everybody has it"
        await upkeep.aclose()

    run_with(main)


def test_waits_are_counted_from_when_the_zone_shows_a_step(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the journal fails: a key that is said to be out is not."""

    async def never(make: object) -> bool:
        return False

    async def main() -> None:
        served, upkeep = kept(tmp_path, wall, RolloverPolicy(zsk_lifetime=10 * DAY))
        await upkeep.prepare()
        first = published(served.zone)
        wall.now += 10 * DAY - 3900
        with monkeypatch.context() as patched:
            patched.setattr(served, "change", never)
            for _ in range(3):
                assert not await upkeep.look()
                wall.now += 3000
        assert published(served.zone) == first
        await settle(upkeep)

        (new,) = published(served.zone) - first
        assert new not in check(served.zone, upkeep)
        state = json.loads((tmp_path / "example.state").read_text())
        assert wall.now in [each["since"] for each in state["keys"] if each["tag"] == new]
        wall.now += 3600 + 300
        await settle(upkeep)
        assert new in check(served.zone, upkeep)
        await upkeep.aclose()

    run_with(main)


def test_a_step_that_nobody_saw_before_a_restart_counts_from_then(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(make: object) -> bool:
        return False

    async def main() -> None:
        policy = RolloverPolicy(zsk_lifetime=10 * DAY)
        served, upkeep = kept(tmp_path, wall, policy)
        await upkeep.prepare()
        first = published(served.zone)
        wall.now += 10 * DAY - 3900
        with monkeypatch.context() as patched:
            patched.setattr(served, "change", never)
            assert not await upkeep.look()
        await upkeep.aclose()
        wall.now += DAY
        served, upkeep = kept(tmp_path, wall, policy)
        await upkeep.prepare()
        await settle(upkeep)

        (new,) = published(served.zone) - first
        assert new not in check(served.zone, upkeep), "nobody has had it yet"
        wall.now += 3600 + 300
        await settle(upkeep)
        assert new in check(served.zone, upkeep)
        await upkeep.aclose()

    run_with(main)


def test_signatures_from_a_clock_that_was_ahead_are_made_anew_when_it_is_put_right(
    tmp_path: Path, wall: Wall
) -> None:
    """They are not good yet, and would not be looked at before the day they are said to begin."""

    async def main() -> None:
        served, upkeep = kept(tmp_path, wall)
        wall.now += 400 * DAY
        await upkeep.prepare()
        await settle(upkeep)
        wall.now -= 400 * DAY
        await settle(upkeep)

        begins = [
            each.rdata.inception for each in served.zone.records() if isinstance(each.rdata, RRSIG)
        ]
        assert max(begins) <= wall.now
        check(served.zone, upkeep)
        await upkeep.aclose()

    run_with(main)


def test_an_old_key_stays_as_long_as_the_longest_ttl_that_an_update_brought(
    tmp_path: Path, wall: Wall
) -> None:
    async def main() -> None:
        served, upkeep = kept(tmp_path, wall, RolloverPolicy(zsk_lifetime=10 * DAY))
        await upkeep.prepare()
        (old,) = (each for each in upkeep.rollover.keys if each.role is KeyRole.ZSK)

        def edit(view: View) -> int:
            view.add(Record(Name("long.example."), 1, int(5 * DAY), A("192.0.2.9")))
            return Rcode.NOERROR

        assert await served.edit(edit) == Rcode.NOERROR
        gone = 0.0
        begun = wall.now
        while old.key.tag in published(served.zone):
            await settle(upkeep)
            wall.now += DAY / 4
            gone = wall.now - begun
        assert gone > 15 * DAY
        await upkeep.aclose()

    run_with(main)


@pytest.mark.parametrize("left", range(6))
def test_a_folder_where_the_disk_was_full_can_be_read_again(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Whichever of the writes was the first that failed: no key is half there."""
    folder = KeyFolder(tmp_path, ORIGIN)
    first = ManagedKey(ZoneKey.generate(ORIGIN, 13), KeyRole.ZSK, KeyState.ACTIVE, 5.0)
    folder.save([first], [], 1, wall.now)
    second = ManagedKey(ZoneKey.generate(ORIGIN, 13), KeyRole.ZSK, KeyState.PUBLISHED, 6.0)
    real = os.fsync
    count = 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > left:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            folder.save([first, second], [], 2, wall.now)

    keys, _ = folder.load(wall.now)
    assert {each.key.tag for each in keys} >= {first.key.tag}
    assert not list(tmp_path.glob(".*"))
    for path in tmp_path.glob("K*.private"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.with_suffix(".key").exists()


def test_a_file_that_is_no_text_is_told_with_its_path(tmp_path: Path, wall: Wall) -> None:
    (tmp_path / "Kexample.+013+00001.private").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DNSUsageError, match=r"\+00001\.private"):
        KeyFolder(tmp_path, ORIGIN).load(wall.now)
