"""The resolver against upstream servers that lie, loop, are silent or send too much.

The names of tests' lines are those of HARDENING.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.names.tests.resolver_upstream import (
    EXAMPLE_ZONE,
    ORG,
    ORG_ZONE,
    OTHER,
    ROOT,
    TLD,
    Internet,
    internet,
    record,
    resolver,
    run,
    zone_server,
)
from sennit.core.testing.clock import Clock
from sennit.names.codes import Rcode, RRType
from sennit.names.edns import EDNS, Option
from sennit.names.errors import SpoofedError
from sennit.names.message import AA, Message
from sennit.names.name import Name
from sennit.names.resolver.limits import ResolverLimits

A = int(RRType.A)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def known(net: Internet, ours: object, name: str, rdtype: int = A) -> object:
    """What the cache has of a name, of whatever kind."""
    return ours.cache.find(Name(name), rdtype, 0.0)  # type: ignore[attr-defined]  # a resolver's


# ── dns-8: forged answers ────────────────────────────────────────────────────


def test_after_forged_answers_the_question_goes_over_tcp(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]

    def forged(query: Message, transport: str) -> Message:
        if transport == "udp":
            raise SpoofedError("twenty answers that do not fit")
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = forged
    ours = resolver(net, clock)
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2
    assert net.asked[-1][1] == "tcp"
    assert ours.statistics()["upstream_spoofed"] == 1


def test_an_answer_to_another_question_is_not_used(clock: Clock) -> None:
    net = internet()

    def other(query: Message, transport: str) -> Message:
        reply = Message.query("www.bank.example.").reply(0, AA)
        reply.answers = [record("www.bank.example. 300 A 203.0.113.66")]
        return reply

    net.servers[ORG] = other
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert known(net, ours, "www.bank.example.") is None


def test_a_cookie_that_is_not_ours_is_a_forgery(clock: Clock) -> None:
    """RFC 7873 §5.3."""
    net = internet()
    right = net.servers[ORG]

    def forged(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        assert query.edns is not None
        shown = query.edns.options[0].data
        own = shown[:8] if transport == "tcp" else bytes(8)
        reply.edns = EDNS(options=[Option(10, own + b"server's")])
        return reply

    net.servers[ORG] = forged
    assert len(run(clock, resolver(net, clock).resolve("www.org.example.", A)).answers) == 2
    assert net.asked[-1][1] == "tcp"


def test_a_cookie_is_shown_from_the_second_question_on(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]

    def cooking(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        assert query.edns is not None
        shown = query.edns.options[0].data
        if len(shown) == 8:
            reply = query.reply()
            reply.rcode = int(Rcode.BADCOOKIE)
        reply.edns = EDNS(options=[Option(10, shown[:8] + b"server's")])
        return reply

    net.servers[ORG] = cooking
    assert len(run(clock, resolver(net, clock).resolve("www.org.example.", A)).answers) == 2
    shown = net.messages[-1].edns
    assert shown is not None
    assert shown.options[0].data[8:] == b"server's"


def test_letters_of_random_case_must_come_back(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]

    def lower(query: Message, transport: str) -> Message:
        small = Message.query(Name(str(query.question.name).lower()), query.question.rdtype)
        return right(small if transport == "udp" else query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = lower
    ours = resolver(net, clock, mix_case=True)
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2
    assert net.asked[-1][1] == "tcp"


# ── dns-9: what is not the server's to say ───────────────────────────────────


def poisoned(what: str, section: str) -> Internet:
    net = internet()
    right = net.servers[ORG]

    def poison(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        getattr(reply, section).append(record(what))
        return reply

    net.servers[ORG] = poison
    return net


@pytest.mark.parametrize("section", ["answers", "authority", "additional"])
@pytest.mark.parametrize(
    "what",
    [
        "www.bank.example. 300 A 203.0.113.66",
        "host.other.example. 300 A 203.0.113.66",
        "example. 300 NS ns.evil.example.",
        ". 300 NS ns.evil.example.",
        "org.example. 300 NS ns.evil.example.",
        "other.example. 300 NS ns.evil.example.",
        "ns.example. 300 A 203.0.113.66",
        "example. 300 DNAME evil.example.",
        "other.example. 300 SOA evil. evil. 1 1 1 1 1",
        "second.org.example. 300 A 203.0.113.66",
    ],
)
def test_nothing_else_in_an_answer_is_believed(clock: Clock, what: str, section: str) -> None:
    """RFC 5452 §6, CVE-2025-40778, CVE-2025-11411: neither kept nor followed nor passed on."""
    net = poisoned(what, section)
    ours = resolver(net, clock)
    found = run(clock, ours.resolve("www.org.example.", A))
    assert len(found.answers) == 2
    assert "203.0.113.66" not in " ".join(ours.dump())
    assert "evil" not in " ".join(ours.dump())
    host = run(clock, ours.resolve("host.other.example.", A))
    assert [str(each.rdata) for each in host.answers] == ["192.0.2.50"]


def test_a_target_in_the_wrong_zone_is_asked_for_again(clock: Clock) -> None:
    """A CNAME and the target's address, from one who has only the CNAME."""
    net = poisoned("host.other.example. 300 A 203.0.113.66", "answers")
    ours = resolver(net, clock)
    found = run(clock, ours.resolve("away.org.example.", A))
    assert [str(each.rdata) for each in found.answers] == ["host.other.example.", "192.0.2.50"]
    assert net.count(OTHER, "host.other.example. IN A") == 1


def test_a_referral_does_not_lead_up_or_aside(clock: Clock) -> None:
    for leads_to in (".", "example.", "org.example.", "other.example.", "bank.example."):
        net = internet()

        def aside(query: Message, transport: str, zone: str = leads_to) -> Message:
            reply = query.reply()
            reply.authority = [record(f"{zone} 300 NS ns.evil.example.")]
            reply.additional = [record("ns.evil.example. 300 A 203.0.113.66")]
            return reply

        net.servers[ORG] = aside
        ours = resolver(net, clock)
        assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
        assert net.count("203.0.113.66") == 0
        assert "203.0.113.66" not in " ".join(ours.dump())


def test_glue_reaches_its_servers_and_answers_no_question(clock: Clock) -> None:
    """The parent may lie about the address of a server, and does so for its child alone."""
    net = internet()
    net.servers[TLD] = zone_server(
        EXAMPLE_ZONE.replace(
            "ns.org.example. 3600 A", "ns.org.example. 3600 A 203.0.113.9\nns.org.example. 3600 A"
        )
    )
    net.servers["203.0.113.9"] = net.servers[ORG]
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    found = run(clock, ours.resolve("ns.org.example.", A))
    assert [str(each.rdata) for each in found.answers] == [ORG]


def test_glue_for_servers_outside_the_zone_is_not_used(clock: Clock) -> None:
    net = internet()

    def refer(query: Message, transport: str) -> Message:
        reply = query.reply()
        reply.authority = [record("org.example. 300 NS ns.elsewhere.")]
        reply.additional = [record("ns.elsewhere. 300 A 203.0.113.66")]
        return reply

    net.servers[TLD] = refer
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert net.count("203.0.113.66") == 0


def test_no_delegation_leads_to_this_machine(clock: Clock) -> None:
    net = internet()
    net.servers[TLD] = zone_server(EXAMPLE_ZONE.replace(ORG, "127.0.0.1"))
    net.servers["127.0.0.1"] = net.servers[ORG]
    assert run(clock, resolver(net, clock).resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert net.count("127.0.0.1") == 0


def test_an_absence_under_a_foreign_soa_is_not_believed(clock: Clock) -> None:
    net = internet()

    def deny(query: Message, transport: str) -> Message:
        reply = query.reply(Rcode.NXDOMAIN, AA)
        reply.authority = [record(". 86400 SOA evil. evil. 1 1 1 1 86400")]
        return reply

    net.servers[ORG] = deny
    assert run(clock, resolver(net, clock).resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL


def test_an_absence_without_soa_is_given_and_not_kept(clock: Clock) -> None:
    """RFC 2308 §5."""
    net = internet()
    net.servers[ORG] = lambda query, transport: query.reply(Rcode.NXDOMAIN, AA)
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.NXDOMAIN
    before = net.count(ORG)
    run(clock, ours.resolve("www.org.example.", A))
    assert net.count(ORG) == before + 1


def test_a_zone_taken_away_by_its_parent_does_not_live_on(clock: Clock) -> None:
    """A child that renews its own NS is no longer believed when the parent's word has ended."""
    net = internet()
    net.servers[TLD] = zone_server(
        EXAMPLE_ZONE.replace("org.example. 3600 NS", "org.example. 60 NS")
    )
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    run(clock, ours.resolve("org.example.", RRType.NS))
    net.servers[TLD] = zone_server(
        "example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300"
    )
    clock.advance(61)
    assert run(clock, ours.resolve("new.org.example.", A)).rcode == Rcode.NXDOMAIN


# ── dns-10: chains and loops ─────────────────────────────────────────────────


def test_aliases_in_a_circle_end(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("loop1.org.example.", A)).rcode == Rcode.SERVFAIL
    asked = len(net.asked)
    assert run(clock, ours.resolve("loop1.org.example.", A)).rcode == Rcode.SERVFAIL
    assert len(net.asked) == asked


def test_aliases_without_end_end_after_eleven(clock: Clock) -> None:
    net = internet()

    def endless(query: Message, transport: str) -> Message:
        reply = query.reply(0, AA)
        label = query.question.name.labels[0]
        number = int(label[1:]) if label[1:].isdigit() else 0
        reply.answers = [record(f"{query.question.name} 300 CNAME n{number + 1}.org.example.")]
        return reply

    net.servers[ORG] = endless
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("n0.org.example.", A)).rcode == Rcode.SERVFAIL
    assert net.count(ORG) <= 12
    assert clock.time() <= 10


def test_servers_that_need_each_other_end_in_time(clock: Clock) -> None:
    net = internet()
    net.servers[TLD] = zone_server(
        """
        example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
        one.example. 3600 NS ns.two.example.
        two.example. 3600 NS ns.one.example.
        """
    )
    ours = resolver(net, clock)

    async def both() -> list[Message]:
        names = ("www.one.example.", "www.two.example.")
        return await asyncio.gather(*(ours.resolve(each, A) for each in names))

    found = run(clock, both())
    assert [each.rcode for each in found] == [Rcode.SERVFAIL] * 2
    assert clock.time() < 2
    asked = len(net.asked)
    run(clock, ours.resolve("www.one.example.", A))
    assert len(net.asked) == asked  # the failure is known


def test_lame_servers_everywhere_end_in_time(clock: Clock) -> None:
    net = internet()
    more = [f"198.51.100.{number}" for number in range(100, 140)]
    net.servers[TLD] = zone_server(
        "example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300\n"
        + "\n".join(
            f"org.example. 3600 NS n{i}.org.example.\nn{i}.org.example. 3600 A {each}"
            for i, each in enumerate(more)
        )
    )
    for each in more:
        net.servers[each] = lambda query, transport: query.reply(Rcode.REFUSED)
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert len(net.asked) <= 33
    assert clock.time() <= 10


def test_silent_servers_end_after_ten_seconds(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = lambda query, transport: None
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert clock.time() <= 10.01


def test_one_question_sends_no_more_than_so_many(clock: Clock) -> None:
    """Delegations without end, each a label deeper, each to servers elsewhere."""
    net = internet()

    def deeper(query: Message, transport: str) -> Message:
        name = query.question.name
        reply = query.reply()
        reply.authority = [record(f"{name} 300 NS ns.{name}")]
        reply.additional = [record(f"ns.{name} 300 A {ORG}")]
        return reply

    net.servers[ORG] = deeper
    ours = resolver(net, clock)
    name = ".".join(["a"] * 100) + ".org.example."
    assert run(clock, ours.resolve(name, A)).rcode == Rcode.SERVFAIL
    assert len(net.asked) <= 33  # one of them primes
    assert clock.time() <= 10


# ── dns-11: fan-out ──────────────────────────────────────────────────────────


def test_of_a_thousand_servers_without_glue_five_are_looked_up(clock: Clock) -> None:
    """CVE-2020-8616."""
    net = internet()

    def fan_out(query: Message, transport: str) -> Message:
        if not query.question.name.is_below(Name("org.example.")):
            return net_tld(query, transport)  # type: ignore[return-value]  # at once
        reply = query.reply()
        reply.authority = [
            record(f"org.example. 300 NS n{i}.victim.other.example.") for i in range(25)
        ]
        if transport == "tcp":
            reply.authority = [
                record(f"org.example. 300 NS n{i}.victim.other.example.") for i in range(1000)
            ]
        return reply

    net_tld = net.servers[TLD]
    net.servers[TLD] = fan_out
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    looked_up = {text for _, _, text in net.asked if text.startswith("n")}
    assert len({each.partition(" ")[0] for each in looked_up}) <= 5
    assert len(net.asked) <= 33


def test_addresses_shared_by_servers_are_asked_once(clock: Clock) -> None:
    """CVE-2026-3592: ten names, a hundred addresses, all the same."""
    net = internet()
    addresses = [f"203.0.113.{number}" for number in range(1, 101)]
    net.servers[TLD] = zone_server(
        "example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300\n"
        + "\n".join(
            f"org.example. 3600 NS n{i}.org.example.\n"
            + "\n".join(f"n{i}.org.example. 3600 A {each}" for each in addresses)
            for i in range(10)
        )
    )
    for each in addresses:
        net.servers[each] = lambda query, transport: query.reply(Rcode.REFUSED)
    run(clock, resolver(net, clock).resolve("www.org.example.", A))
    asked = [each for each, _, _ in net.asked if each.startswith("203.")]
    assert len(asked) <= 6
    assert len(set(asked)) == len(asked)


# ── dns-12: water torture ────────────────────────────────────────────────────


def test_a_zone_under_random_names_leaves_others_alone(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = lambda query, transport: None
    limits = ResolverLimits(zone_fetches=20, cache_entries=200)
    ours = resolver(net, clock, limits=limits)
    times: list[float] = []

    async def torture() -> None:
        tasks = [
            asyncio.ensure_future(ours.resolve(f"r{index}.org.example.", A)) for index in range(500)
        ]
        await asyncio.sleep(0.5)
        for _ in range(20):
            began = clock.time()
            found = await ours.resolve("host.other.example.", A)
            assert len(found.answers) == 1
            ours.flush("host.other.example.")
            times.append(clock.time() - began)
        answers = await asyncio.gather(*tasks)
        assert {each.rcode for each in answers} == {Rcode.SERVFAIL}

    run(clock, torture())
    assert max(times) < 0.1
    assert net.count(ORG) <= 20 * 6
    assert len(ours.cache) <= 200
    assert ours.statistics()["refused"] > 400


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_random_names_that_are_answered_leave_others_and_memory_alone(
    clock: Clock, count: int
) -> None:
    """Each name is denied at once, so that quotas do not help: the cache is bounded."""
    net = internet()
    ours = resolver(net, clock)
    waits: list[float] = []
    before = resident()
    most = 0

    async def torture() -> None:
        nonlocal most
        for first in range(0, count, 100):
            wave = [ours.resolve(f"r{first + i:x}.org.example.", A) for i in range(100)]
            tasks = [asyncio.ensure_future(each) for each in wave]
            ours.flush("host.other.example.")
            began = clock.time()
            found = await ours.resolve("host.other.example.", A)
            waits.append(clock.time() - began)
            assert len(found.answers) == 1
            assert {each.rcode for each in await asyncio.gather(*tasks)} == {Rcode.NXDOMAIN}
            net.asked.clear()
            net.messages.clear()
            most = max(most, len(ours.cache))

    clock.run(lambda _: torture(), limit=86400.0 * 30)
    waits.sort()
    assert waits[len(waits) * 99 // 100] < 0.1
    assert most <= 200_000
    assert ours.cache.octets <= 100 << 20
    grown = resident() - before
    assert grown < 300 << 20
    print(f"{count} names: {most} entries, {ours.cache.octets} octets, {grown} resident")


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# ── dns-13: too much of one thing ────────────────────────────────────────────


def test_five_thousand_addresses_are_refused(clock: Clock) -> None:
    """CVE-2024-1737."""
    net = internet()

    def huge(query: Message, transport: str) -> Message:
        reply = query.reply(0, AA)
        reply.answers = [
            record(f"www.org.example. 300 A 10.{i >> 8}.{i & 255}.1")
            for i in range(20 if transport == "udp" else 3500)
        ]
        if transport == "udp":
            reply.flags |= 0x0200
        return reply

    net.servers[ORG] = huge
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert ours.cache.octets < 100_000


def test_a_hundred_addresses_are_not(clock: Clock) -> None:
    net = internet()
    many = "\n".join(f"many.org.example. 300 A 10.0.0.{i}" for i in range(100))
    net.servers[ORG] = zone_server(ORG_ZONE + many)
    found = run(clock, resolver(net, clock).resolve("many.org.example.", A))
    assert len(found.answers) == 100


def test_a_name_keeps_a_hundred_types(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)

    async def all_types() -> None:
        for rdtype in range(1000, 1300):
            await ours.resolve("www.org.example.", rdtype)

    run(clock, all_types())
    assert ours.cache.refused >= 200
    assert sum("www.org.example." in line for line in ours.dump()) <= 100


def test_additional_records_are_not_looked_for(clock: Clock) -> None:
    """500 MX of one name make 500 records and no additional ones: the set is refused at 100."""
    net = internet()
    mail = "\n".join(f"m.org.example. 300 MX {i} h{i}.org.example." for i in range(100))
    net.servers[ORG] = zone_server(ORG_ZONE + mail)
    found = run(clock, resolver(net, clock).resolve("m.org.example.", RRType.MX))
    assert len(found.answers) == 100
    assert found.additional == []


def test_the_root_itself_may_be_hostile(clock: Clock) -> None:
    net = internet()
    net.servers[ROOT] = lambda query, transport: query.reply(Rcode.NOERROR, AA)
    ours = resolver(net, clock)
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.answers == []
    assert clock.time() <= 10
