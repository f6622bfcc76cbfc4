"""Copies of zones: their timers, what they take and what they leave, and word of changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from packages.names.tests.transfer_zones import (
    ORIGIN,
    SOME,
    anything,
    grow,
    messages_of,
    record,
    request,
    soa,
    zone,
)
from sennit.names.authority import Authority as ZoneAuthority
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSUsageError, LookupTimeoutError
from sennit.names.message import AA, Message, Question
from sennit.names.name import Name
from sennit.names.server import DNSServer
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.listening import serve_dns
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.copyfile import load_copy, save_copy
from sennit.names.transfer.incoming import TransferLimits
from sennit.names.transfer.notify import TRIES, Notifier, Target, notify_message
from sennit.names.transfer.outgoing import TransferOut
from sennit.names.transfer.primary import Primary
from sennit.names.transfer.secondary import Secondaries, SecondaryZone
from sennit.names.tsig import Key, Keyring
from sennit.names.update.history import History
from sennit.names.update.message import Update
from sennit.names.update.policy import Policy
from sennit.names.update.update import UpdatableZone, Updates
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork
    from sennit.names.request import Request
    from sennit.names.zone.zone import Changes, Zone

FIRST, SECOND = "10.0.0.1", "10.0.0.2"
KEY = Key("k.example", b"secret" * 5)


async def inline(fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """There are no threads on a virtual clock."""
    return fn(*args, **named)


class Authority:
    """Answers SOA from a zone; what else a test wants it says by its attributes."""

    def __init__(self, zones: ZoneSet) -> None:
        self.zones = zones
        self.asked: list[Request] = []
        self.expire: int | None = None
        self.flags = AA
        self.rcode = 0

    def respond(self, request: Request) -> Message:
        self.asked.append(request)
        answer = request.message.reply(self.rcode, self.flags)
        zone = self.zones.by_origin(request.message.question.name)
        if zone is not None and not self.rcode:
            answer.answers.append(zone.soa)
        if self.expire is not None:
            answer.edns = EDNS(options=[Option(9, self.expire.to_bytes(4, "big"))])
        return answer


class Hostile:
    """Answers transfers with what a test gives."""

    def __init__(self, *answers: list[list[Any]]) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []

    async def respond(self, request: Request) -> Any:
        message = request.message
        self.asked.append(message.question.rdtype)
        for records in self.answers.pop(0) if self.answers else [[soa(1)]]:
            answer = message.reply(flags=AA)
            answer.answers.extend(records)
            yield answer


class Nobody:
    """Answers nothing."""

    def __init__(self, asked: list[Request]) -> None:
        self.asked = asked

    def respond(self, request: Request) -> None:
        self.asked.append(request)

    def quick(self, wire: bytes, size: int, peer: object) -> None:
        """Nothing is plain."""


class Server:
    """A primary on the memory network."""

    def __init__(self, given: Zone, transfers: Any = None, keys: Keyring | None = None) -> None:
        self.zones = ZoneSet([given])
        self.history = History()
        given.on_change.append(self.history.note)
        self.authority = Authority(self.zones)
        self.transfers = transfers or TransferOut(
            self.zones, AccessList(["any"]), history=lambda _: self.history
        )
        dispatcher = Dispatcher(authority=self.authority, transfers=self.transfers)
        self.server = DNSServer(dispatcher, keys=keys)
        self._dispatcher = dispatcher

    def silence(self) -> None:
        """Answer nothing more."""
        self.server.serving.responder = Nobody(self.authority.asked)

    def speak(self) -> None:
        """Answer again."""
        self.server.serving.responder = self._dispatcher

    @property
    def zone(self) -> Zone:
        found = self.zones.by_origin(ORIGIN)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def copy_of(
    network: MemoryNetwork, *servers: Server, key: Key | None = None, **options: Any
) -> AsyncGenerator[tuple[SecondaryZone, ZoneSet]]:
    """A started copy, and the set that it is in."""
    zones = ZoneSet()
    options.setdefault("chance", lambda: 0.0)
    options.setdefault("in_thread", inline)
    async with contextlib.AsyncExitStack() as stack:
        addresses = [FIRST, SECOND][: len(servers)]
        for address, each in zip(addresses, servers, strict=True):
            host = network.host(address)
            await stack.enter_async_context(host.run(serve_dns, each.server, address, 53))
        copy = SecondaryZone(ORIGIN, [Primary(each, key) for each in addresses], zones, **options)
        await copy.start()
        try:
            yield copy, zones
        finally:
            await copy.aclose()


async def settled(copy: SecondaryZone) -> None:
    while copy._task is not None:  # its own Task is what there is to wait for
        await asyncio.wait([copy._task])
        await asyncio.sleep(0)


# ── timers ────────────────────────────────────────────────────────────────────


def test_a_copy_is_taken_and_looked_at_again_when_refresh_says_so(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone(1, refresh=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await settled(copy)
            assert zones.by_origin(ORIGIN) == primary.zone
            grow(primary.zone, "new 60 A 192.0.2.1")
            await asyncio.sleep(990)
            assert copy.serial == 1
            await asyncio.sleep(20)
            assert zones.by_origin(ORIGIN) == primary.zone
            assert primary.transfers.counts == {
                "whole": 1, "differences": 1, "current": 0, "refused": 0, "busy": 0
            }  # fmt: skip
            assert len(copy.history) == 1
            assert copy.status().state == "current"

    clock.run(main)


def test_waits_are_shortened_by_chance_so_that_not_all_come_at_once(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone(1, refresh=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary, chance=lambda: 1.0) as (copy, _zones):
            await settled(copy)
            assert copy.status().next_check == 900.0

    clock.run(main)


def test_a_copy_is_served_until_expire_then_it_is_not_and_then_again(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 1035 §3.3.13 (HARDENING dns-14)."""
    primary = Server(zone(1, refresh=100, retry=10, expire=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await settled(copy)
            held = zones.by_origin(ORIGIN)
            assert held is not None
            primary.silence()
            await asyncio.sleep(990)
            assert not held.expired
            await asyncio.sleep(20)
            assert held.expired
            assert copy.status().state == "expired"
            assert "no answer" in copy.status().error
            primary.speak()
            await asyncio.sleep(30)
            assert not held.expired
            assert copy.status().error == ""

    clock.run(main)


def test_retry_is_used_when_nobody_answers(clock: Clock, memory_network: MemoryNetwork) -> None:
    primary = Server(zone(1, refresh=1000, retry=50))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            primary.silence()
            before = len(primary.authority.asked)
            await asyncio.sleep(1000 + 5 * 55 + 1)
            assert len(primary.authority.asked) - before == 6

    clock.run(main)


def test_a_zone_that_was_never_had_is_tried_for_ever_more_rarely(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone())
    primary.authority.rcode = Rcode.REFUSED

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await asyncio.sleep(3600)
            assert len(zones) == 0
            assert len(primary.authority.asked) < 12
            assert copy.status().state == "missing"
            assert "REFUSED" in copy.status().error
            primary.authority.rcode = 0
            assert (await copy.wait()).serial == 1

    clock.run(main)


@pytest.mark.parametrize(("said", "left"), [(100, 100.0), (5000, 1000.0)])
def test_what_a_primary_that_is_a_copy_itself_says_of_expire_is_heard(
    clock: Clock, memory_network: MemoryNetwork, said: int, left: float
) -> None:
    """RFC 7314 §4: never longer than the SOA says."""
    primary = Server(zone(1, expire=1000))
    primary.authority.expire = said

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            assert copy.status().expires == pytest.approx(left)
            option = primary.authority.asked[0].message.edns
            assert option is not None
            assert option.option(9) is not None

    clock.run(main)


def test_a_copy_of_a_copy_expires_with_it(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 7314 §4: SOA answers tell what is left of the time, along the chain."""
    primary = Server(zone(1, refresh=100, retry=10, expire=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await settled(copy)
            primary.silence()
            await asyncio.sleep(200)
            middle = DNSServer(
                Dispatcher(
                    authority=ZoneAuthority(zones),
                    transfers=TransferOut(zones, AccessList(["any"])),
                )
            )
            host = memory_network.host("10.0.0.7")
            async with host.run(serve_dns, middle, "10.0.0.7", 53):
                last = SecondaryZone(
                    ORIGIN, [Primary("10.0.0.7")], ZoneSet(), in_thread=inline, chance=lambda: 0.0
                )
                await last.start()
                await settled(last)
                try:
                    assert last.serial == 1
                    assert last.status().expires == pytest.approx(copy.status().expires, abs=2)
                    await asyncio.sleep(750)
                    assert last.status().expires == pytest.approx(copy.status().expires, abs=2)
                    await asyncio.sleep(60)
                    assert copy.status().state == last.status().state == "expired"
                finally:
                    await last.aclose()

    clock.run(main)


# ── several primaries, keys ───────────────────────────────────────────────────


def test_the_next_primary_is_asked_when_one_does_not_help(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    silent, good = Server(zone(1)), Server(zone(2))
    silent.silence()

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, silent, good) as (copy, _zones):
            await asyncio.sleep(10)
            assert copy.serial == 2

    clock.run(main)


def test_what_is_not_signed_as_agreed_is_not_taken(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    with_key, without = Server(zone(1), keys=Keyring([KEY])), Server(zone(2))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, without, with_key, key=KEY) as (copy, _zones):
            await asyncio.sleep(20)
            assert copy.serial == 1
            assert {each.key for each in with_key.authority.asked} == {KEY.name}

    clock.run(main)


def test_a_server_without_authority_is_not_believed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone())
    primary.authority.flags = 0

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await asyncio.sleep(10)
            assert copy.serial is None
            assert "authority" in copy.error

    clock.run(main)


@pytest.mark.parametrize("server", ["https://dns.example/dns-query", "not an address"])
def test_a_primary_is_a_server_that_zones_come_from(server: str) -> None:
    with pytest.raises(DNSUsageError):
        Primary(server)
    with pytest.raises(DNSUsageError):
        SecondaryZone(ORIGIN, [], ZoneSet())


# ── what is left (HARDENING dns-14) ───────────────────────────────────────────

NS = record("@ 60 NS ns1")


@pytest.mark.parametrize(
    "messages",
    [
        [[soa(2), NS]],  # no last SOA, and then silence
        [[soa(2), NS], *[[record("a 60 A 192.0.2.1")]] * 100],  # never ends
        [[soa(2), NS, record("www.example.net. 60 A 192.0.2.1"), soa(2)]],
        [[soa(2), NS, soa(3)]],
        [[soa(2), soa(2)]],  # no zone: it has no NS
        [[soa(0x7FFFFFFF + 5)]],  # back
        [[]],
    ],
)
def test_a_transfer_that_goes_wrong_leaves_the_copy(
    clock: Clock, memory_network: MemoryNetwork, messages: list[list[Any]]
) -> None:
    primary = Server(zone(1, refresh=100, retry=10_000, expire=50_000))
    good = primary.transfers

    async def main(_: Clock) -> None:
        limits = TransferLimits(records=50)
        async with copy_of(memory_network, primary, limits=limits) as (copy, zones):
            await settled(copy)
            primary.server.serving.responder = Dispatcher(
                authority=primary.authority, transfers=Hostile(messages, messages)
            )
            grow(primary.zone, "new 60 A 192.0.2.1")
            await asyncio.sleep(600)
            held = zones.by_origin(ORIGIN)
            assert held is not None
            assert held == zone(1, refresh=100, retry=10_000, expire=50_000)
            assert not held.expired
            assert copy.error
            primary.server.serving.responder = Dispatcher(
                authority=primary.authority, transfers=good
            )
            await asyncio.sleep(20_000)
            assert copy.serial == 2

    clock.run(main)


def test_a_serial_that_went_back_is_not_followed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone(10, refresh=100))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            primary.zones.replace(zone(9, refresh=100))
            await asyncio.sleep(300)
            assert copy.serial == 10
            assert "older than ours" in copy.error

    clock.run(main)


def test_differences_that_do_not_fit_are_made_good_by_the_whole_zone(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    primary = Server(zone(1, refresh=100))
    wrong = [[soa(2), soa(1), record("nothing 60 A 192.0.2.1"), soa(2), soa(2)]]
    whole = [[soa(2), NS, record("ns1 60 A 192.0.2.1"), soa(2)]]

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            hostile = Hostile(wrong, whole)
            primary.server.serving.responder = Dispatcher(
                authority=primary.authority, transfers=hostile
            )
            grow(primary.zone, "new 60 A 192.0.2.1")
            await asyncio.sleep(150)
            assert copy.serial == 2
            assert hostile.asked == [RRType.IXFR, RRType.AXFR]

    clock.run(main)


def test_who_sees_a_new_version_finds_its_history(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Else a copy of the copy would be given the whole zone, now and then."""
    primary = Server(zone(1, refresh=100))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await settled(copy)
            held = zones.by_origin(ORIGIN)
            assert held is not None
            lengths: list[int] = []

            def changed(_zone: Zone, _changes: Changes) -> None:
                loop = asyncio.get_running_loop()
                loop.call_soon(lambda: lengths.append(len(copy.history)))

            held.on_change.append(changed)
            grow(primary.zone, "new 60 A 192.0.2.1")
            await asyncio.sleep(150)
            assert copy.serial == 2
            assert lengths == [1]

    clock.run(main)


def test_differences_of_which_one_does_not_fit_leave_the_version_that_was_served(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """All of them or none, also where the whole zone cannot be had either (HARDENING dns-14)."""
    primary = Server(zone(1, refresh=100, retry=10_000))
    steps = [
        [soa(3), soa(1), soa(2), record("www 300 A 192.0.2.80"), record("more 60 A 192.0.2.9")],
        [soa(2), record("nothing 60 A 192.0.2.1"), soa(3), soa(3)],
    ]

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, zones):
            await settled(copy)
            heard: list[Zone] = []
            held = zones.by_origin(ORIGIN)
            assert held is not None
            held.on_change.append(lambda changed, _: heard.append(changed))
            primary.server.serving.responder = Dispatcher(
                authority=primary.authority, transfers=Hostile(steps, [[soa(3), soa(3)]])
            )
            grow(primary.zone)
            grow(primary.zone)
            await asyncio.sleep(150)
            assert copy.serial == 1
            assert zones.by_origin(ORIGIN) == zone(1, refresh=100, retry=10_000)
            assert len(copy.history) == 0
            assert "NS" in copy.error
            # Who listens to the copy still does.
            primary.speak()
            before = len(heard)
            copy.refresh()
            await settled(copy)
            assert copy.serial == 3
            assert len(heard) == before + 2

    clock.run(main)


def test_a_primary_that_lags_behind_what_it_says_confirms_nothing(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Several servers behind one address: one tells of a version, another does not have it."""
    primary = Server(zone(1, refresh=100, retry=10, expire=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            primary.server.serving.responder = Dispatcher(
                authority=primary.authority, transfers=Hostile(*[[[soa(1)]]] * 9)
            )
            grow(primary.zone)
            await asyncio.sleep(105)
            assert copy.serial == 1
            assert "speaks of serial 2, and gives 1" in copy.error
            assert copy.status().next_check <= 10
            primary.speak()
            await asyncio.sleep(10)
            assert copy.serial == 2

    clock.run(main)


def test_a_serial_half_the_circle_away_confirms_nothing(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 1982 §3.2: it is neither newer nor older; that of a primary set back, perhaps."""
    primary = Server(zone(1, refresh=100, expire=1000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            await settled(copy)
            primary.zones.replace(zone(1 + 2**31))
            await asyncio.sleep(1010)
            assert copy.status().state == "expired"
            assert "older than ours" in copy.error

    clock.run(main)


def test_copies_of_one_server_share_the_places_for_transfers(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    del clock, memory_network
    zones = ZoneSet()
    some = [SecondaryZone(Name(f"z{each}.example."), [Primary(FIRST)], zones) for each in range(3)]

    Secondaries(some, max_transfers=2)

    assert len({id(each.slots) for each in some}) == 1
    assert some[0].slots._value == 2  # what it was made with


# ── the file ──────────────────────────────────────────────────────────────────


def test_a_copy_is_kept_and_served_after_a_restart_for_as_long_as_is_left(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    primary = Server(zone(1, refresh=100, retry=100, expire=1000))
    path = tmp_path / "copy"

    async def main(_: Clock) -> None:
        wall = 1_000_000.0
        options: dict[str, Any] = {"path": path, "wall_clock": lambda: wall}
        async with copy_of(memory_network, primary, **options) as (copy, _zones):
            await settled(copy)
        wall += 600
        primary.silence()
        again = ZoneSet()
        copy = SecondaryZone(ORIGIN, [Primary(FIRST)], again, in_thread=inline, **options)
        await copy.start()
        held = again.by_origin(ORIGIN)
        assert held is not None
        assert held == primary.zone
        assert copy.status().expires == 400
        await asyncio.sleep(399)
        assert not held.expired
        await asyncio.sleep(2)
        assert held.expired
        await copy.aclose()
        wall += 400
        third = SecondaryZone(ORIGIN, [Primary(FIRST)], again, in_thread=inline, **options)
        await third.start()
        assert third.status().state == "expired"
        await third.aclose()

    clock.run(main)


def test_differences_reach_the_file_a_moment_later_and_at_the_end(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    from sennit.names.zone.zonefile import read_zone

    primary = Server(zone(1, refresh=100))
    path = tmp_path / "copy"

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary, path=path) as (copy, _zones):
            await settled(copy)
            grow(primary.zone, "new 60 A 192.0.2.1")
            await asyncio.sleep(120)
            assert read_zone(path, origin=ORIGIN) == primary.zone
            grow(primary.zone, "newer 60 A 192.0.2.1")
            copy.refresh()
            await settled(copy)
            assert read_zone(path, origin=ORIGIN) != primary.zone
        assert read_zone(path, origin=ORIGIN) == primary.zone

    clock.run(main)


def test_a_broken_file_is_left_aside_and_the_zone_had_anew(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "copy"
    path.write_text("this is no zone\n")
    primary = Server(zone(1))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary, path=path) as (copy, _zones):
            await settled(copy)
            assert copy.serial == 1

    clock.run(main)


def test_a_crash_at_any_step_of_keeping_a_copy_leaves_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one or the new one, whichever fsync or rename is the last (HARDENING dns-14)."""
    steps = 0
    while True:
        path = tmp_path / str(steps)
        save_copy(path, zone(1), 1000.0, 86400.0)
        left = steps
        done = False

        def crash(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt  # nothing below looks for it
                left -= 1
                return real(*arguments, **named)

            return call

        with monkeypatch.context() as patched:
            for name in ("fsync", "replace"):
                patched.setattr(os, name, crash(getattr(os, name)))
            try:
                save_copy(path, zone(2), 5000.0, 86400.0)
                done = True
            except KeyboardInterrupt:
                pass
        found = load_copy(path, ORIGIN)
        assert found is not None
        assert found.zone in (zone(1), zone(2))
        assert found.expire == 86400
        if found.zone.serial == 1:
            assert found.checked == 1000
        if done:
            assert (found.zone.serial, found.checked) == (2, 5000)
            break
        steps += 1
    assert steps >= 4
    assert load_copy(tmp_path / "none", ORIGIN) is None


# ── NOTIFY ────────────────────────────────────────────────────────────────────


def told(serial: int | None, **options: Any) -> Request:
    message = Message(1, AA, opcode=Opcode.NOTIFY, questions=[Question(ORIGIN, RRType.SOA)])
    if serial is not None:
        message.answers.append(soa(serial))
    return request(message, transport="udp", **options)


def test_word_of_a_primary_is_followed_at_once_and_that_of_strangers_is_not(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 1996 §3.10 (HARDENING dns-14)."""
    primary = Server(zone(1, refresh=100_000, expire=1_000_000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            held = Secondaries([copy])
            await settled(copy)
            asked = len(primary.authority.asked)
            grow(primary.zone, "new 60 A 192.0.2.1")

            assert held.respond(told(2, host="192.0.2.66")).rcode == Rcode.REFUSED
            assert held.respond(told(1, host=FIRST)).rcode == Rcode.NOERROR
            assert copy._task is None  # neither made it look
            answer = held.respond(told(2, host=FIRST))
            assert (answer.rcode, answer.flags & AA) == (Rcode.NOERROR, AA)
            await asyncio.sleep(0)
            assert held.respond(told(2, host=FIRST)).rcode == Rcode.NOERROR
            await settled(copy)
            assert copy.serial == 2
            # Word that came during the look makes one more, a moment later.
            await asyncio.sleep(1.1)
            assert len(primary.authority.asked) - asked == 2

    clock.run(main)


def test_word_in_crowds_makes_no_crowd_of_questions(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Over UDP it may be forged: a look a second is what it brings about at most."""
    primary = Server(zone(1, refresh=10_000))

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary) as (copy, _zones):
            held = Secondaries([copy])
            await settled(copy)
            before = len(primary.authority.asked)
            for _each in range(100):
                held.respond(told(2, host=FIRST))
                await asyncio.sleep(0.1)
            assert 8 <= len(primary.authority.asked) - before <= 12
            grow(primary.zone, "new 60 A 192.0.2.1")
            held.respond(told(2, host=FIRST))
            await asyncio.sleep(1.1)
            assert copy.serial == 2

    clock.run(main)


async def test_word_must_be_signed_where_the_primary_has_a_key() -> None:
    copy = SecondaryZone(
        ORIGIN,
        [Primary("127.0.0.9", KEY)],
        ZoneSet(),
        allow_notify=AccessList(["192.0.2.9"]),
    )

    assert copy.notified(told(None, host="127.0.0.9")) == Rcode.REFUSED
    assert copy.notified(told(None, host="::ffff:127.0.0.9", key="k.example")) == Rcode.NOERROR
    assert copy.notified(told(None, host="127.0.0.9", key="k.example")) == Rcode.NOERROR
    assert copy.notified(told(None, host="192.0.2.9")) == Rcode.NOERROR
    await copy.aclose()


async def test_word_that_is_none_has_its_code() -> None:
    held = Secondaries([SecondaryZone(ORIGIN, [Primary(FIRST)], ZoneSet())])
    other = Message(1, opcode=Opcode.NOTIFY, questions=[Question(Name("x.example"), 6)])
    no_soa = Message(1, opcode=Opcode.NOTIFY, questions=[Question(ORIGIN, 1)])

    assert held.respond(request(other)).rcode == Rcode.NOTAUTH
    assert held.respond(request(no_soa)).rcode == Rcode.FORMERR
    assert held.holds(ORIGIN)
    assert held.history(ORIGIN) is not None
    assert held.history(Name("x.example")) is None
    with pytest.raises(DNSUsageError):
        held.add(SecondaryZone(ORIGIN, [Primary(FIRST)], ZoneSet()))


class Listener:
    """Takes what a `Notifier` sends, in the place of UDP."""

    def __init__(self, failures: int = 0) -> None:
        self.sent: list[tuple[str, int, float]] = []
        self.failures = failures

    async def exchange(
        self, message: Message, server: tuple[str, int], *, timeout: float, **_: Any
    ) -> Message:
        self.sent.append((server[0], message.answers[0].rdata.wire[-17], timeout))
        if self.failures:
            self.failures -= 1
            await asyncio.sleep(timeout)
            raise LookupTimeoutError("silence")
        return message.reply()


def test_secondaries_are_told_once_of_many_changes(clock: Clock) -> None:
    """The servers of NS records but the primary itself, and those that are named besides."""
    changing = zone(1)
    listener = Listener()

    async def main(_: Clock) -> None:
        notifier = Notifier(
            ZoneSet([changing]), [Target("192.0.2.200", 5300)], exchange=listener.exchange
        )
        notifier.start()
        for serial in range(1, 5):
            grow(changing, f"h{serial} 60 A 192.0.2.1")
        await asyncio.sleep(5)
        assert listener.sent == [("192.0.2.200", 5, 5.0), ("192.0.2.2", 5, 5.0)]
        assert notifier.counts == {"sent": 2, "answered": 2, "failed": 0}
        await asyncio.sleep(100)
        grow(changing)
        await asyncio.sleep(5)
        assert len(listener.sent) == 4
        await notifier.aclose()
        grow(changing)
        await asyncio.sleep(5)
        assert len(listener.sent) == 4

    clock.run(main)


def test_a_secondary_that_does_not_answer_is_told_again_with_longer_pauses(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 1996 §3.6: five retries."""
    listener = Listener(failures=TRIES)

    async def main(_: Clock) -> None:
        notifier = Notifier(
            ZoneSet([zone(1)]),
            [Target("192.0.2.200")],
            nameservers=False,
            exchange=listener.exchange,
        )
        notifier.start()
        await asyncio.sleep(1000)
        assert [wait for _, _, wait in listener.sent] == [5, 10, 20, 40, 80, 160]
        assert notifier.counts["failed"] == 1
        await notifier.aclose()

    clock.run(main)
    assert "was not told" in caplog.text


def test_a_new_version_takes_the_place_of_word_that_was_not_heard(clock: Clock) -> None:
    changing = zone(1)
    listener = Listener(failures=1)

    async def main(_: Clock) -> None:
        notifier = Notifier(
            ZoneSet([changing]), [Target("192.0.2.9")], nameservers=False,
            exchange=listener.exchange,
        )  # fmt: skip
        notifier.start(tell=False)
        grow(changing)
        await asyncio.sleep(3)
        grow(changing)
        await asyncio.sleep(100)
        assert [serial for _, serial, _ in listener.sent] == [2, 3]
        await notifier.aclose()

    clock.run(main)


async def test_addresses_of_servers_elsewhere_are_looked_up() -> None:
    async def resolve(name: Name) -> list[str]:
        return ["198.51.100.7"] if name == Name("ns.example.net") else []

    far = zone(1, SOME + "@ 3600 NS ns.example.net.\n")
    notifier = Notifier(ZoneSet([far]), resolve=resolve, own=["192.0.2.2"])

    assert await notifier.targets(far) == [Target("198.51.100.7")]


def test_the_message_says_which_version_there_is() -> None:
    message = notify_message(zone(9))

    assert message.opcode == Opcode.NOTIFY
    assert message.flags & AA
    assert message.answers == [soa(9)]


def test_a_change_reaches_the_copy_by_notify_and_ixfr(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """All of it together: update, NOTIFY, SOA, IXFR, on the wire and signed."""
    changing = zone(1, "@ 3600 NS ns1\n@ 3600 NS ns2\nns2 60 A 10.0.0.9\n", refresh=86400)
    primary = Server(changing, keys=Keyring([KEY]))
    holder = UpdatableZone(
        changing, policy=Policy([f"grant {KEY.name} zonesub"]), history=primary.history
    )

    async def at_primary(message: Message, server: tuple[str, int], **named: Any) -> Message:
        (host,) = [each for each in memory_network.hosts if FIRST in each.addresses]
        with host:
            return await exchange_udp(message, server, **named)

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary, key=KEY) as (copy, zones):
            await settled(copy)
            held = Secondaries([copy])
            server = DNSServer(Dispatcher(notify=held), keys=Keyring([KEY]))
            host = memory_network.host("10.0.0.9")
            # Word comes from where the primary is.
            notifier = Notifier(
                primary.zones,
                [Target("10.0.0.9", key=KEY)],
                nameservers=False,
                exchange=at_primary,
            )
            async with host.run(serve_dns, server, "10.0.0.9", 53):
                notifier.start(tell=False)
                await holder.update(
                    Update(ORIGIN).add("new", 60, "A", "192.0.2.1").message(), anything
                )
                await asyncio.sleep(5)
                assert zones.by_origin(ORIGIN) == changing
                assert copy.serial == 2
                assert notifier.counts["answered"] == 1
                await notifier.aclose()
        await holder.aclose()

    clock.run(main)


# ── updates passed on ─────────────────────────────────────────────────────────


def test_an_update_is_passed_on_to_the_primary(clock: Clock, memory_network: MemoryNetwork) -> None:
    changing = zone(1)
    holder = UpdatableZone(changing, policy=Policy(["grant k.example zonesub"]))
    primary = Server(changing)
    primary.server = DNSServer(
        Dispatcher(
            authority=primary.authority, transfers=primary.transfers, update=Updates([holder])
        ),
        keys=Keyring([KEY]),
    )

    async def main(_: Clock) -> None:
        async with copy_of(memory_network, primary, key=KEY) as (copy, _zones):
            await settled(copy)
            held = Secondaries([copy])
            updates = Updates(
                forward=held.forward,
                forward_for=AccessList(["loopback"]),
                forwarded=held.holds,
            )
            message = Update(ORIGIN).add("new", 60, "A", "192.0.2.1").message(77)
            (answer,) = await messages_of(updates.respond(request(message)))
            assert (answer.id, answer.rcode) == (77, Rcode.NOERROR)
            assert changing.serial == 2
            refused = Update(ORIGIN).add("@", 60, "NS", "ns3.example.org.").message()
            (answer,) = await messages_of(updates.respond(request(refused)))
            assert answer.rcode == Rcode.REFUSED
        (answer,) = await messages_of(updates.respond(request(message)))
        assert answer.rcode == Rcode.SERVFAIL
        await holder.aclose()

    clock.run(main)
