"""A service with another configuration takes over zones that are changed, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.names_service import Asked, a, built, write_zone
from sennit.core.service.tree import StartError
from sennit.names import Update
from sennit.names.client.transfers import update
from sennit.names.codes import RRType
from sennit.names.dnssec.keyfiles import KeyFolder
from sennit.names.errors import DNSUsageError, ResponseError
from sennit.names.name import Name
from sennit.names.serving.running import running_server

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.names.service import DNSService
    from sennit.names.zone.zone import Zone

TEXT = 'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\nzones = ["zones/*.zone"]\n'
TABLE = '[service.names.zone."home.example"]\n'
UPDATE = 'update = ["grant loopback zonesub"]\n'
SIGN = 'sign = {keys = "keys"}\n'
NSEC3 = 'sign = {keys = "keys", nsec3 = true}\n'
ORIGIN = Name("home.example.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_zone(tmp_path, "home.example")
    return tmp_path


def zone_of(service: DNSService) -> Zone:
    found = service.zones.by_origin(ORIGIN)
    assert found is not None
    return found


def types(service: DNSService) -> set[int]:
    return {each.rdtype for each in zone_of(service).records()}


async def add(service: DNSService, name: str) -> None:
    message = Update("home.example").add(f"{name}.home.example", 60, "A", "192.0.2.7")
    await update(message, f"127.0.0.1:{Asked(service).udp}", timeout=5)


async def begun(service: DNSService, reactor: Reactor) -> DNSService:
    await service.prepare(reactor)
    await service.begin()
    return service


async def test_both_have_one_zone_one_journal_and_one_who_signs(
    folder: Path, reactor: Reactor
) -> None:
    old = await begun(built(folder, TEXT + TABLE + UPDATE + SIGN), reactor)
    await add(old, "before")
    new = built(folder, f"{TEXT}rate = 30\n{TABLE}{UPDATE}{SIGN}")
    await new.prepare(reactor)
    await add(old, "meanwhile")
    await new.begin()
    await asyncio.gather(add(old, "late"), add(new, "first"))
    await old.end(0.0)
    await add(new, "behind")

    state = json.loads((folder / "keys/home.example.state").read_text())
    assert len(state["keys"]) == len(list((folder / "keys").glob("K*.private")))
    for name in ("before", "meanwhile", "late", "first", "behind"):
        assert a(await Asked(new)(f"{name}.home.example")) == ["192.0.2.7"]
        node = zone_of(new).get(Name(f"{name}.home.example"))
        assert node is not None
        assert set(node.signatures) == {RRType.A, RRType.NSEC}
    assert len(zone_of(new).watchers) == 1, "the old one is not told any more"
    await new.end(0.0)


async def test_one_that_comes_to_nothing_leaves_the_other_as_it_was(
    folder: Path, reactor: Reactor
) -> None:
    """HARDENING fault-18: also when another service failed after this one had begun."""
    old = await begun(built(folder, TEXT + TABLE + UPDATE + SIGN), reactor)
    table = TABLE + UPDATE.replace("loopback", "192.0.2.1")
    new = await begun(built(folder, TEXT + table + NSEC3), reactor)
    assert RRType.NSEC3 in types(old), "it is one zone"
    with pytest.raises(ResponseError, match="REFUSED"):
        await add(new, "refused")
    await add(old, "allowed")
    await new.end(0.0)

    assert not {RRType.NSEC3, RRType.NSEC3PARAM} & types(old)
    await add(old, "on")
    node = zone_of(old).get(Name("on.home.example"))
    assert node is not None
    assert set(node.signatures) == {RRType.A, RRType.NSEC}
    await old.end(0.0)


async def test_a_zone_is_signed_from_a_reload_on(folder: Path, reactor: Reactor) -> None:
    old = await begun(built(folder, TEXT + TABLE + UPDATE), reactor)
    await add(old, "before")
    new = await begun(built(folder, TEXT + TABLE + UPDATE + NSEC3), reactor)
    await old.end(0.0)
    await add(new, "behind")

    signed = {name for name, node in zone_of(new).nodes.items() if RRType.A in node.signatures}
    assert Name("before.home.example").key in signed
    assert Name("behind.home.example").key in signed
    await new.end(0.0)


async def test_one_that_cannot_sign_as_it_is_to_changes_nothing(
    folder: Path, reactor: Reactor
) -> None:
    old = await begun(built(folder, TEXT + TABLE + UPDATE + SIGN), reactor)
    (folder / "other").write_text("no folder")
    new = built(folder, TEXT + TABLE + UPDATE + SIGN.replace('"keys"', '"other"'))
    await new.prepare(reactor)
    with pytest.raises(StartError, match="other"):
        await new.begin()
    await new.end(0.0)

    await add(old, "on")
    node = zone_of(old).get(Name("on.home.example"))
    assert node is not None
    assert RRType.A in node.signatures
    await old.end(0.0)


async def test_a_zone_that_is_not_updated_any_more_has_what_was_acknowledged(
    folder: Path, reactor: Reactor
) -> None:
    old = await begun(built(folder, TEXT + TABLE + UPDATE), reactor)
    await add(old, "before")
    new = await begun(built(folder, TEXT), reactor)
    await old.end(0.0)

    assert a(await Asked(new)("before.home.example")) == ["192.0.2.7"]
    await new.end(0.0)


async def test_a_signed_zone_goes_on_with_its_file_as_it_is_now(
    folder: Path, reactor: Reactor
) -> None:
    old = await begun(built(folder, TEXT + TABLE + SIGN), reactor)
    serial = zone_of(old).serial
    write_zone(folder, "home.example", 1, "more A 192.0.2.8\n")
    new = await begun(built(folder, f"{TEXT}rate = 30\n{TABLE}{SIGN}"), reactor)
    await old.end(0.0)
    await asyncio.gather(*new._tasks)

    assert a(await Asked(new)("more.home.example")) == ["192.0.2.8"]
    assert zone_of(new).serial > serial
    with pytest.raises(StartError, match="taken up at a restart"):
        await built(folder, TEXT + TABLE + UPDATE + SIGN).prepare(reactor)
    await new.end(0.0)


async def test_another_service_does_not_get_the_zone(folder: Path, reactor: Reactor) -> None:
    text = TEXT + TABLE + UPDATE
    old = await begun(built(folder, text), reactor)
    other = built(folder, text.replace("service.names", "service.other"), "other")
    with pytest.raises(StartError, match="the service names changes that zone"):
        await other.prepare(reactor)
    await add(old, "on")
    await old.end(0.0)
    await other.prepare(reactor)
    await other.end(0.0)


async def test_who_comes_while_a_zone_is_closed_waits_for_its_files(
    folder: Path, reactor: Reactor
) -> None:
    text = TEXT + TABLE + UPDATE
    old = await begun(built(folder, text), reactor)
    await add(old, "before")
    new = built(folder, text)
    await asyncio.gather(old.end(0.0), new.prepare(reactor))
    await new.begin()

    assert a(await Asked(new)("before.home.example")) == ["192.0.2.7"]
    await new.end(0.0)


async def test_another_process_is_told_that_the_zone_is_in_use(
    folder: Path, reactor: Reactor
) -> None:
    service = await begun(built(folder, TEXT + TABLE + UPDATE), reactor)
    await add(service, "before")
    command = [sys.executable, "-m", "sennit.core.service.cli", "up", "names.toml"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=20, check=False
        )

    ended = await reactor.defer_to_thread(run)
    assert ended.returncode != 0
    assert "home.example.zone.journal is in use: another program" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    await add(service, "behind")
    await service.end(0.0)
    assert "behind" in (folder / "zones/home.example.zone").read_text()


@pytest.mark.parametrize("few", [False, True])
async def test_the_collector_does_not_walk_through_many_names(
    folder: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    """bench/README.md, "Without `gc.freeze`"."""
    frozen: list[int] = []
    monkeypatch.setattr("sennit.names.service.MANY_NAMES", 10 if few else 3)
    service = built(folder, TEXT)
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(len(service.zones)))
    await service.prepare(reactor)
    write_zone(folder, "other.example")
    put = await service.prepare_reload()
    assert put is not None
    put()
    await service.end(0.0)
    assert frozen == ([] if few else [1, 2])


def test_the_keys_of_a_zone_are_of_one_program_alone(tmp_path: Path) -> None:
    first, second = KeyFolder(tmp_path, ORIGIN), KeyFolder(tmp_path, ORIGIN)
    first.acquire()
    first.acquire()
    with pytest.raises(DNSUsageError, match="in use by another program"):
        second.acquire()
    other = KeyFolder(tmp_path, Name("other.example"))
    other.acquire()
    other.release()
    first.release()
    second.acquire()
    second.release()


async def test_one_that_comes_to_nothing_leaves_the_other_to_be_found_by_its_name(
    folder: Path, reactor: Reactor
) -> None:
    """DNS over HTTPS asks for it so."""
    old = await begun(built(folder, TEXT), reactor)
    new = await begun(built(folder, f"{TEXT}rate = 30\n"), reactor)
    assert running_server("names") is new.server
    await new.end(0.0)
    assert running_server("names") is old.server
    newer = await begun(built(folder, f"{TEXT}rate = 30\n"), reactor)
    await old.end(0.0)
    assert running_server("names") is newer.server
    await newer.end(0.0)
    assert running_server("names") is None
