"""The DNS service's zones as they change: reloads, copies of others', word of changes, crashes."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import program
from packages.names.tests.names_service import (
    KEY,
    KEYS,
    Asked,
    a,
    built,
    context_of,
    running,
    write_zone,
)
from sennit.core.errors import ConfigError
from sennit.core.service.loading import load
from sennit.core.service.node import Node
from sennit.core.service.tree import StartError
from sennit.names import Update
from sennit.names.client.transfers import axfr, notify, update
from sennit.names.config import DNSConfig
from sennit.names.errors import DNSError, ResponseError, TransferError
from sennit.names.service import DNSService, build_dns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

ZONES = 'zones = ["zones/*.zone"]\n'
LISTEN = 'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n'
LIMIT = 20.0
"""Seconds after which anything here has failed."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_zone(tmp_path, "home.example")
    return tmp_path


async def reload(ask: Asked) -> None:
    put = await ask.service.prepare_reload()
    assert put is not None
    put()


async def serial(ask: Asked, zone: str = "home.example") -> int:
    found = await ask(zone, "SOA")
    return int(a(found)[0].split()[2]) if found.answers else -found.rcode


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes by itself."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)  # of services and processes, which tell nobody


# ── files ─────────────────────────────────────────────────────────────────────


async def test_a_reload_takes_up_what_changed_is_new_and_is_gone(
    folder: Path, reactor: Reactor
) -> None:
    write_zone(folder, "old.example")
    write_zone(folder, "same.example")
    async with running(folder, reactor, ZONES) as ask:
        same = ask.service.zones.zones[b"\x04same\x07example\0"]
        write_zone(folder, "home.example", 2, "more A 192.0.2.2\n")
        write_zone(folder, "new.example", 7)
        (folder / "zones/old.example.zone").unlink()
        await reload(ask)
        assert await serial(ask) == 2
        assert a(await ask("more.home.example")) == ["192.0.2.2"]
        assert await serial(ask, "new.example") == 7
        assert (await ask("www.old.example")).rcode == 5
        assert ask.service.zones.zones[b"\x04same\x07example\0"] is same, "not read again"


async def test_a_broken_file_changes_nothing_and_is_told_with_its_line(
    folder: Path, reactor: Reactor
) -> None:
    """HARDENING fault-18."""
    async with running(folder, reactor, ZONES) as ask:
        write_zone(folder, "home.example", 2, "bad A 192.0.2.300\nworse AAAA x\n")
        write_zone(folder, "new.example")
        for _ in range(2):
            with pytest.raises(StartError) as caught:
                await ask.service.prepare_reload()
            said = caught.value.problem.splitlines()
            assert [re.sub(".*/", "", each).split(": ")[0] for each in said] == [
                "home.example.zone:6",
                "home.example.zone:7",
            ]
            assert await serial(ask) == 1
            assert (await ask("www.new.example")).rcode == 5
        write_zone(folder, "home.example", 3)
        await reload(ask)
        assert await serial(ask) == 3
        assert a(await ask("www.new.example")) == ["192.0.2.1"]


async def test_a_file_that_would_be_a_copy_too_is_refused_at_a_reload(
    folder: Path, reactor: Reactor
) -> None:
    copy = '[service.names.secondary."a.example"]\nprimaries = ["127.0.0.1:9"]\n'
    async with running(folder, reactor, ZONES + copy) as ask:
        write_zone(folder, "a.example")
        with pytest.raises(StartError, match=r"a\.example\. has a zone file and is a copy"):
            await ask.service.prepare_reload()


async def test_included_files_are_looked_at_too(folder: Path, reactor: Reactor) -> None:
    (folder / "zones/hosts.inc").write_text("one A 192.0.2.11\n")
    write_zone(folder, "home.example", 1, "$INCLUDE hosts.inc\n")
    async with running(folder, reactor, ZONES) as ask:
        assert a(await ask("one.home.example")) == ["192.0.2.11"]
        (folder / "zones/hosts.inc").write_text("one A 192.0.2.12\nother A 192.0.2.13\n")
        await reload(ask)
        assert a(await ask("one.home.example")) == ["192.0.2.12"]


async def test_a_node_reloads_its_zones_or_keeps_them_all(folder: Path, reactor: Reactor) -> None:
    file = folder / "sennit.toml"
    file.write_text(f'[service.names]\ntype = "dns"\n{LISTEN}{ZONES}')
    node = Node(load(file), reactor)
    await node.start()
    try:
        (entry,) = node.entries.values()
        assert isinstance(entry.service, DNSService)
        ask = Asked(entry.service)
        write_zone(folder, "home.example", 2)
        await node.reload()
        assert await serial(ask) == 2
        write_zone(folder, "home.example", 3, "bad A x\n")
        with pytest.raises(ConfigError, match=r"sennit\.toml:4: \[service\.names\] zones: .*:6: "):
            await node.reload()
        assert await serial(ask) == 2
    finally:
        await node.stop()


async def test_what_is_acknowledged_while_a_changed_service_takes_over_is_kept(
    folder: Path, reactor: Reactor
) -> None:
    file = folder / "sennit.toml"
    text = (
        f'[service.names]\ntype = "dns"\n{LISTEN}{ZONES}'
        '[service.names.zone."home.example"]\nupdate = ["grant loopback zonesub"]\n'
    )
    file.write_text(text)
    node = Node(load(file), reactor, read=lambda: load(file), drain=1.0)
    await node.start()
    acknowledged: list[str] = []

    def service() -> DNSService:
        (entry,) = node.entries.values()
        assert isinstance(entry.service, DNSService)
        return entry.service

    async def change() -> None:
        while True:
            name = f"n{len(acknowledged)}"
            message = Update("home.example").add(f"{name}.home.example", 60, "A", "192.0.2.7")
            await update(message, f"127.0.0.1:{Asked(service()).udp}", timeout=5)
            acknowledged.append(name)

    client = asyncio.ensure_future(change())
    try:
        for number in range(3):
            wanted = (number + 1) * 20
            await until(lambda wanted=wanted: client.done() or len(acknowledged) >= wanted)  # type: ignore[misc]  # bound now
            first = service()
            file.write_text(text.replace(ZONES, f"{ZONES}rate = {number + 30}\n"))
            await node.reload()
            assert service() is not first
        # A broken one gives nothing away either.
        file.write_text(text.replace(ZONES, f'{ZONES}sqlite = "sennit.toml"\n'))
        with pytest.raises(ConfigError, match="not a database"):
            await node.reload()
        count = len(acknowledged)
        await until(lambda: client.done() or len(acknowledged) >= count + 5)
        # One that grants nothing any more.
        file.write_text(text.replace("grant loopback", "grant 192.0.2.1"))
        await node.reload()
        await until(client.done)
        with pytest.raises(ResponseError, match="REFUSED"):
            await client
        ask = Asked(service())
        for each in acknowledged:
            assert a(await ask(f"{each}.home.example")) == ["192.0.2.7"]
    finally:
        client.cancel()
        await node.stop()
    assert set(acknowledged) <= known(folder, "n")


# ── copies ────────────────────────────────────────────────────────────────────


def secondary(primary: Asked, more: str = "") -> str:
    return (
        '[service.names.secondary."home.example"]\n'
        f'primaries = ["tcp://127.0.0.1:{primary.tcp} key:mover.example"]\n{more}{KEYS}'
    )


PRIMARY = (
    f'{ZONES}transfer = ["key:mover.example"]\n'
    '[service.names.zone."home.example"]\n'
    f'update = ["grant mover.example zonesub", "grant loopback name open.home.example A"]\n{KEYS}'
)


async def test_a_copy_follows_its_primary_by_word_of_it_and_passes_updates_on(
    folder: Path, reactor: Reactor
) -> None:
    changed = Update("home.example").add("new.home.example", 60, "A", "192.0.2.7")
    async with running(folder, reactor, PRIMARY) as primary:
        more = 'file = "copy.zone"\ntransfer = ["loopback"]\nforward_updates = ["loopback"]\n'
        async with running(folder, reactor, secondary(primary, more)) as copy:
            await until(lambda: copy.service.zones.zones)
            assert await serial(copy) == 1
            # A change, word of it, and the difference that is fetched then.
            await update(changed, f"127.0.0.1:{primary.udp}", key=KEY)
            with pytest.raises(ResponseError, match="NOTAUTH"):
                await notify("else.example", f"127.0.0.1:{copy.udp}")
            with pytest.raises(ResponseError, match="REFUSED"):
                await notify("home.example", f"127.0.0.1:{copy.udp}")
            await notify("home.example", f"127.0.0.1:{copy.udp}", key=KEY)
            await until(lambda: next(iter(copy.service.zones)).serial == 2)
            assert a(await copy("new.home.example")) == ["192.0.2.7"]
            # An update to the copy goes to the primary, signed by the copy's key there.
            through = Update("home.example").add("open.home.example", 60, "A", "192.0.2.8")
            await update(through, f"127.0.0.1:{copy.udp}")
            assert a(await primary("open.home.example")) == ["192.0.2.8"]
            server = f"127.0.0.1:{copy.tcp}"
            assert len([each async for each in axfr("home.example", server)]) >= 5
    assert (folder / "copy.zone").exists()
    # Nobody is there to ask: the copy is served from its file at once.
    gone = secondary(Asked(built(folder, LISTEN + ZONES)), more).replace(":0 ", ":9 ")
    async with running(folder, reactor, gone) as copy:
        assert a(await copy("new.home.example")) == ["192.0.2.7"]


async def test_a_primary_tells_those_it_was_told_of(folder: Path, reactor: Reactor) -> None:
    write_zone(folder, "quiet.example")
    async with running(folder, reactor, PRIMARY) as primary:
        first = secondary(primary, 'allow_notify = ["loopback"]\n')
        async with running(folder, reactor, first) as copy:
            await until(lambda: copy.service.zones.zones)
            before = await serial(copy)
            text = (
                f'{ZONES}notify = ["127.0.0.1:{copy.udp}"]\nnotify_nameservers = false\n'
                '[service.names.zone."quiet.example"]\nnotify = []\n'
            )
            changed = Update("home.example").add("b.home.example", 60, "A", "192.0.2.7")
            await update(changed, f"127.0.0.1:{primary.udp}", key=KEY)
            write_zone(folder, "home.example", 9)
            async with running(folder, reactor, text) as other:
                # At its start it tells of what it has.
                await until(lambda: other.service._notifier.counts["answered"])
                assert other.service._notifier.counts["sent"] == 1, "nobody of quiet.example"
            await until(lambda: next(iter(copy.service.zones)).serial > before)


@pytest.mark.parametrize(("worker", "tells"), [(0, True), (1, True), (2, False)])
async def test_of_several_workers_one_tells(
    folder: Path, reactor: Reactor, worker: int, tells: bool
) -> None:
    class Told:
        counts = 0

        def start(self) -> None:
            self.counts += 1

        async def aclose(self) -> None:
            pass

    file = folder / "sennit.toml"
    file.write_text(f'[service.names]\ntype = "dns"\n{LISTEN}{ZONES}')
    (configured,) = load(file).services
    assert isinstance(configured.config, DNSConfig)
    service = build_dns(configured.config, context_of(folder, worker))
    service._notifier = told = Told()  # type: ignore[assignment]  # stands in for it
    await service.start(reactor)
    await service.stop()
    assert told.counts == tells


async def test_who_may_not_have_updates_passed_on_is_refused(
    folder: Path, reactor: Reactor
) -> None:
    async with (
        running(folder, reactor, PRIMARY) as primary,
        running(folder, reactor, secondary(primary)) as copy,
    ):
        await until(lambda: copy.service.zones.zones)
        change = Update("home.example").add("open.home.example", 60, "A", "192.0.2.8")
        with pytest.raises(ResponseError, match="REFUSED"):
            await update(change, f"127.0.0.1:{copy.udp}")
        with pytest.raises(TransferError, match="REFUSED"):
            async for _ in axfr("home.example", f"127.0.0.1:{copy.tcp}"):
                raise AssertionError


async def test_primary_and_copy_may_be_services_of_one_node(folder: Path, reactor: Reactor) -> None:
    async with running(folder, reactor, PRIMARY) as primary:
        text = secondary(primary).replace("service.names", "service.copy")
        async with running(folder, reactor, text, "copy") as copy:
            await until(lambda: copy.service.zones.zones)
            assert a(await copy("www.home.example")) == ["192.0.2.1"]
            assert a(await primary("www.home.example")) == ["192.0.2.1"]


# ── the plug is pulled ────────────────────────────────────────────────────────


class Up:
    """``sennit up`` as a process, at ports of the system's choice."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sennit.core.service.cli", "up", "sennit.toml"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        timer = threading.Timer(LIMIT, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        table = ""
        for line in self.process.stdout:
            table += line.decode()
            if line == b"ready\n":
                break
        timer.cancel()
        found = re.search(r"udp://127\.0\.0\.1:(\d+)", table)
        assert found is not None, table
        self.udp = int(found[1])

    def end(self, kind: int = signal.SIGKILL) -> int:
        self.process.send_signal(kind)
        status = self.process.wait(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def up(folder: Path) -> Iterator[Callable[[], Up]]:
    """Starts the service; whatever still runs at the end is killed."""
    started: list[Up] = []
    (folder / "sennit.toml").write_text(
        f'[service.names]\ntype = "dns"\n{LISTEN}{ZONES}'
        '[service.names.zone."home.example"]\nupdate = ["grant loopback zonesub"]\n'
    )

    def start() -> Up:
        started.append(Up(folder))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end()


def known(folder: Path, prefix: str) -> set[str]:
    """What the service has after it was started again, out of what it then writes."""
    text = (folder / "zones/home.example.zone").read_text()
    return set(re.findall(rf"^({prefix}\d+)\b", text, re.MULTILINE))


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_kill_9_under_updates_loses_nothing_that_was_acknowledged(
    up: Callable[[], Up], folder: Path, reactor: Reactor, rounds: int
) -> None:
    """HARDENING fault-6, through the whole service."""
    acknowledged: set[str] = set()
    numbers = iter(range(1_000_000))

    async def change(port: int) -> None:
        while True:
            name = f"made{next(numbers)}"
            message = Update("home.example").add(f"{name}.home.example", 60, "A", "192.0.2.7")
            try:
                await update(message, f"127.0.0.1:{port}", timeout=2)
            except DNSError:
                return
            acknowledged.add(name)

    for number in range(rounds):
        node = await reactor.defer_to_thread(up)
        clients = [asyncio.ensure_future(change(node.udp)) for _ in range(8)]
        wanted = (number + 1) * 60
        await until(lambda wanted=wanted: len(acknowledged) >= wanted)  # type: ignore[misc]  # bound now
        node.process.kill()
        await asyncio.gather(*clients)
        await reactor.defer_to_thread(node.end)
    # Whole and in order: it starts, has them all, and writes them into the zone file at its end.
    node = await reactor.defer_to_thread(up)
    assert await reactor.defer_to_thread(node.end, signal.SIGTERM) == 0
    assert acknowledged <= known(folder, "made")
    assert len(known(folder, "made")) - len(acknowledged) <= 8 * rounds


@pytest.mark.interop
def test_kill_9_loses_nothing_that_nsupdate_was_told_is_there(
    up: Callable[[], Up], folder: Path
) -> None:
    """HARDENING fault-6; nsupdate says of each ``send`` whether it was made."""
    nsupdate = program("nsupdate")
    node = up()
    text = f"server 127.0.0.1 {node.udp}\nzone home.example\n"
    done = 0
    with subprocess.Popen(
        [nsupdate, "-t", "2", "-r", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(text)
        for number in range(40):
            client.stdin.write(
                f"update add name{number}.home.example 60 A 192.0.2.7\nsend\nanswer\n"
            )
            for line in client.stdout:
                if "status: NOERROR" in line:
                    done += 1
                    break
        # One more is under way when the plug is pulled.
        client.stdin.write("update add name99.home.example 60 A 192.0.2.7\nsend\n")
        node.end()
        client.kill()
    assert done == 40
    assert up().end(signal.SIGTERM) == 0
    assert {f"name{each}" for each in range(40)} <= known(folder, "name")
