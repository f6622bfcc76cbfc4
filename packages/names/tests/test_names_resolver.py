"""The resolver as a whole, on a tree of four zones: what it asks, answers and keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from packages.names.tests.client_servers import serve, zone_answers
from packages.names.tests.resolver_upstream import (
    HINTS,
    ORG,
    ORG_ZONE,
    OTHER,
    ROOT,
    TLD,
    internet,
    record,
    resolver,
    run,
    texts,
    truncated,
    zone_server,
)
from sennit.core.interfaces import adapt
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.names.codes import Rcode, RRType
from sennit.names.edns import EDNS
from sennit.names.errors import DNSUsageError, NoSuchNameError, UnreachableError
from sennit.names.interfaces import IResponder
from sennit.names.message import AA, AD, QR, RA, RD, Message
from sennit.names.name import Name
from sennit.names.request import Request
from sennit.names.resolver.limits import ResolverLimits
from sennit.names.resolver.localzones import LocalZone, LocalZones
from sennit.names.resolver.resolver import RecursiveResolver

A = int(RRType.A)


def ask(name: str, rdtype: int = A, flags: int = RD, edns: EDNS | None = None) -> Request:
    message = Message.query(name, rdtype, id=77, flags=flags, edns=edns)
    return Request(message, message.to_wire(), ("127.0.0.1", 4000))


def answer(clock: Clock, found: RecursiveResolver, request: Request) -> Message:
    given = found.respond(request)
    if not isinstance(given, Message):
        given = run(clock, given)  # type: ignore[arg-type]  # a coroutine
    assert isinstance(given, Message)
    return given


def test_a_name_is_found_from_the_root_down(clock: Clock) -> None:
    net = internet()
    found = run(clock, resolver(net, clock).resolve("www.org.example.", A))
    assert texts(found.answers) == [
        "www.org.example. 300 IN A 192.0.2.1",
        "www.org.example. 300 IN A 192.0.2.2",
    ]
    assert found.flags & (QR | RA | RD) == QR | RA | RD
    assert not found.flags & (AA | AD)


def test_servers_are_asked_for_no_more_of_the_name_than_they_need(clock: Clock) -> None:
    """RFC 9156 §3: the root learns the top label, its child one more."""
    net = internet()
    run(clock, resolver(net, clock).resolve("www.org.example.", A))
    assert [each for each in net.asked if each[2] != ". IN NS"] == [
        (ROOT, "udp", "example. IN A"),
        (TLD, "udp", "org.example. IN A"),
        (ORG, "udp", "www.org.example. IN A"),
    ]


def test_empty_names_on_the_way_are_passed_over(clock: Clock) -> None:
    net = internet()
    found = run(clock, resolver(net, clock).resolve("a.b.c.d.org.example.", A))
    assert texts(found.answers) == ["a.b.c.d.org.example. 300 IN A 192.0.2.9"]
    assert net.count(ORG) == 4


def test_a_server_that_denies_names_on_the_way_is_asked_for_the_whole(clock: Clock) -> None:
    """RFC 9156 §2.3: NXDOMAIN for an empty name is wrong, and common."""
    net = internet()
    right = net.servers[ORG]

    def wrong(query: Message, transport: str) -> Message:
        if query.question.name == Name("d.org.example."):
            return query.reply(Rcode.NXDOMAIN, AA)
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = wrong
    found = run(clock, resolver(net, clock).resolve("a.b.c.d.org.example.", A))
    assert texts(found.answers) == ["a.b.c.d.org.example. 300 IN A 192.0.2.9"]
    strict = run(clock, resolver(net, clock, minimise="strict").resolve("a.b.c.d.org.example.", A))
    assert strict.rcode == Rcode.NXDOMAIN


def test_without_minimisation_the_whole_name_is_asked_for_at_once(clock: Clock) -> None:
    net = internet()
    run(clock, resolver(net, clock, minimise="off").resolve("www.org.example.", A))
    assert net.count("", "www.org.example. IN A") == 3


def test_what_is_known_is_not_asked_for_again(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    asked = len(net.asked)
    clock.advance(100)
    again = run(clock, ours.resolve("WWW.org.example.", A))
    assert len(net.asked) == asked
    assert {each.ttl for each in again.answers} <= {199, 200}
    clock.advance(250)
    run(clock, ours.resolve("www.org.example.", A))
    assert len(net.asked) == asked + 1


def test_absence_is_kept_as_long_as_the_soa_says(clock: Clock) -> None:
    """RFC 2308 §5: the lesser of the SOA's TTL and its minimum."""
    net = internet()
    ours = resolver(net, clock)
    for name, rdtype, rcode in (
        ("no.org.example.", A, Rcode.NXDOMAIN),
        ("www.org.example.", int(RRType.MX), Rcode.NOERROR),
    ):
        found = run(clock, ours.resolve(name, rdtype))
        assert (found.rcode, found.answers) == (rcode, [])
        assert [(str(each.name), each.ttl) for each in found.authority] == [("org.example.", 60)]
        asked = len(net.asked)
        clock.advance(50)
        found = run(clock, ours.resolve(name, rdtype))
        assert found.rcode == rcode
        assert len(net.asked) == asked
        clock.advance(15)
        run(clock, ours.resolve(name, rdtype))
        assert len(net.asked) == asked + 1


def test_an_absent_name_is_absent_for_every_type(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("no.org.example.", A))
    asked = len(net.asked)
    assert run(clock, ours.resolve("no.org.example.", RRType.MX)).rcode == Rcode.NXDOMAIN
    assert len(net.asked) == asked


def test_aliases_lead_across_zones(clock: Clock) -> None:
    net = internet()
    net.delay = 0
    found = run(clock, resolver(net, clock).resolve("away.org.example.", A))
    assert [str(each) for each in found.answers] == [
        "away.org.example. 300 IN CNAME host.other.example.",
        "host.other.example. 300 IN A 192.0.2.50",
    ]


def test_a_dname_makes_aliases_of_names_beneath_it(clock: Clock) -> None:
    """RFC 6672 §3.1; the second name beneath it takes no question to its owner's server."""
    net = internet()
    net.delay = 0
    ours = resolver(net, clock)
    found = run(clock, ours.resolve("x.old.org.example.", A))
    assert [str(each) for each in found.answers] == [
        "old.org.example. 300 IN DNAME new.org.example.",
        "x.old.org.example. 300 IN CNAME x.new.org.example.",
        "x.new.org.example. 300 IN A 192.0.2.7",
    ]
    before = net.count("", "old.org.example.")
    other = run(clock, ours.resolve("y.old.org.example.", A))
    assert other.rcode == Rcode.NXDOMAIN
    assert net.count("", "old.org.example.") == before


def test_a_dname_is_taken_over_tcp_alone(clock: Clock) -> None:
    """HARDENING dns-9: one forged datagram would take over all that is beneath it."""
    net = internet()
    run(clock, resolver(net, clock).resolve("x.old.org.example.", A))
    assert (ORG, "tcp", "x.old.org.example. IN A") in net.asked


def test_the_same_question_is_asked_once_at_a_time(clock: Clock) -> None:
    """HARDENING dns-8."""
    net = internet()
    ours = resolver(net, clock)

    async def many() -> list[Message]:
        return await asyncio.gather(*(ours.resolve("www.org.example.", A) for _ in range(50)))

    found = run(clock, many())
    assert all(len(each.answers) == 2 for each in found)
    assert net.count("", "www.org.example. IN A") == 1
    assert ours.statistics()["joined"] == 49


def test_a_truncated_answer_is_asked_for_over_tcp(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]

    def cut(query: Message, transport: str) -> Message:
        whole: Message = right(query, transport)  # type: ignore[assignment]  # at once
        return truncated(whole) if transport == "udp" else whole

    net.servers[ORG] = cut
    found = run(clock, resolver(net, clock).resolve("www.org.example.", A))
    assert len(found.answers) == 2
    assert net.asked[-1] == (ORG, "tcp", "www.org.example. IN A")


def test_a_server_without_edns_is_asked_without_from_then_on(clock: Clock) -> None:
    """RFC 6891 §7: FORMERR or NOTIMP to what has an OPT."""
    net = internet()
    right = net.servers[ORG]

    def old(query: Message, transport: str) -> Message:
        if query.edns is not None:
            return query.reply(Rcode.FORMERR)
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = old
    ours = resolver(net, clock)
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2
    before = net.count(ORG)
    run(clock, ours.resolve("x.new.org.example.", A))
    assert net.messages[-1].edns is None
    assert net.count(ORG) <= before + 2


def test_a_silent_server_is_left_for_another_and_asked_again_later(clock: Clock) -> None:
    net = internet()
    second = "198.51.100.33"
    both = ORG_ZONE.replace(
        "ns.org.example. 3600 A", f"ns.org.example. 3600 A {second}\nns.org.example. 3600 A"
    )
    net.servers[TLD] = zone_server(
        f"""
        example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
        org.example. 3600 NS ns.org.example.
        ns.org.example. 3600 A {ORG}
        ns.org.example. 3600 A {second}
        """
    )
    net.servers[ORG] = net.servers[second] = zone_server(both)
    net.down.add(ORG)
    ours = resolver(net, clock)
    for index in range(6):
        found = run(clock, ours.resolve(f"n{index}.org.example.", A))
        assert found.rcode == Rcode.NXDOMAIN
    assert net.count(ORG) <= 2  # its pause is respected


def test_a_lost_datagram_is_sent_again(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]
    lost = [0]

    def lossy(query: Message, transport: str) -> Message | None:
        lost[0] += 1
        return None if lost[0] == 1 else right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = lossy
    assert len(run(clock, resolver(net, clock).resolve("www.org.example.", A)).answers) == 2


def test_the_root_is_asked_for_its_servers_once(clock: Clock) -> None:
    """RFC 8109: what it says takes the place of the hints."""
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    run(clock, ours.resolve("nowhere.", A))
    clock.advance(5)
    run(clock, ours.resolve("elsewhere.", A))
    assert net.count("", ". IN NS") == 1
    assert any("a.root." in line for line in ours.dump())


def test_stale_data_are_given_when_nobody_answers(clock: Clock) -> None:
    """RFC 8767 §5: after 1.8 s the client gets them, with a TTL of 30 and an extended error."""
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    clock.advance(1000)
    net.down.update({ROOT, TLD, ORG})
    began = clock.time()
    found = run(clock, ours.resolve("www.org.example.", A))
    assert clock.time() - began == pytest.approx(1.8)
    assert [each.ttl for each in found.answers] == [30, 30]
    assert found.edns is not None
    assert found.edns.options[0].data[:2] == b"\0\x03"
    clock.advance(12)
    began = clock.time()
    run(clock, ours.resolve("www.org.example.", A))
    assert clock.time() == began  # the failure is known: no wait
    clock.advance(90000)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL


def test_a_stale_absence_has_its_own_extended_error(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("no.org.example.", A))
    clock.advance(1000)
    net.down.update({ROOT, TLD, ORG})
    found = run(clock, ours.resolve("no.org.example.", A))
    assert found.rcode == Rcode.NXDOMAIN
    assert found.edns is not None
    assert found.edns.options[0].data[:2] == b"\0\x13"


def test_a_failure_is_kept_for_five_seconds(clock: Clock) -> None:
    """RFC 9520 §3.2."""
    net = internet()
    net.servers[ORG] = lambda query, transport: query.reply(Rcode.SERVFAIL)
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    asked = len(net.asked)
    clock.advance(4)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert len(net.asked) == asked
    clock.advance(60)
    run(clock, ours.resolve("www.org.example.", A))
    assert len(net.asked) > asked


def test_what_is_asked_for_near_its_end_is_fetched_again_before_it(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    before = net.count("", "www.org.example. IN A")
    clock.advance(280)
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.answers[0].ttl < 30
    clock.advance(1)
    assert net.count("", "www.org.example. IN A") == before + 1
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.answers[0].ttl > 290
    assert ours.statistics()["prefetched"] == 1


def test_a_zone_is_forwarded_and_the_answer_believed_whole(clock: Clock) -> None:
    net = internet()
    forwarder = "198.51.100.77"

    def resolve(query: Message, transport: str) -> Message:
        assert query.flags & RD
        reply = query.reply(0, RA)
        reply.answers = [
            record("a.corp.example. 60 CNAME b.corp.example."),
            record("b.corp.example. 60 A 192.0.2.3"),
        ]
        return reply

    net.servers[forwarder] = resolve
    ours = resolver(net, clock, forward={"corp.example.": [f"tcp://{forwarder}:5353"]})
    found = run(clock, ours.resolve("a.corp.example.", A))
    assert len(found.answers) == 2
    assert net.asked == [(forwarder, "tcp", "a.corp.example. IN A")]
    run(clock, ours.resolve("b.corp.example.", A))
    assert len(net.asked) == 1


def test_when_forwarders_fail_the_tree_is_asked_if_that_is_wanted(clock: Clock) -> None:
    from sennit.names.resolver.forward import Forward, read_server

    net = internet()
    zone = Name("org.example.")
    alone = resolver(net, clock, forward={zone: ["198.51.100.99"]})
    assert run(clock, alone.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    servers = [read_server("198.51.100.99")]
    both = resolver(net, clock, forward={zone: Forward(zone, servers, fallback=True)})
    assert len(run(clock, both.resolve("www.org.example.", A)).answers) == 2


def test_a_stub_zone_is_asked_at_the_servers_that_were_named(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock, stub={"org.example.": [ORG]})
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2
    assert {each[0] for each in net.asked} == {ORG}


# ── as a server's responder ──────────────────────────────────────────────────


def test_it_is_a_responder(clock: Clock) -> None:
    ours = resolver(internet(), clock)
    assert adapt(IResponder, ours) is ours


def test_clients_get_id_question_and_flags_back(clock: Clock) -> None:
    ours = resolver(internet(), clock)
    given = answer(clock, ours, ask("wWw.org.example."))
    assert given.id == 77
    assert given.question.name.wire == b"\x03wWw\x03org\x07example\0"
    assert given.flags & (QR | RD | RA) == QR | RD | RA


def test_strangers_and_questions_without_rd_are_refused(clock: Clock) -> None:
    """HARDENING dns-6: recursion is for local networks."""
    ours = resolver(internet(), clock)
    request = ask("www.org.example.")
    request.peer = ("192.0.2.77", 53)
    assert answer(clock, ours, request).rcode == Rcode.REFUSED
    assert answer(clock, ours, ask("www.org.example.", flags=0)).rcode == Rcode.REFUSED
    run(clock, ours.resolve("www.org.example.", A))
    answer(clock, ours, ask("www.org.example."))
    assert ours.quick(ask("www.org.example.").wire, 512, ("192.0.2.77", 53)) is None


def test_any_is_answered_with_hinfo(clock: Clock) -> None:
    """RFC 8482 §4.2."""
    net = internet()
    given = answer(clock, resolver(net, clock), ask("www.org.example.", RRType.ANY))
    assert texts(given.answers) == ['www.org.example. 3600 IN HINFO "RFC8482" ""']
    assert net.asked == []


def test_types_that_are_no_question_are_refused(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    for rdtype in (RRType.AXFR, RRType.IXFR, RRType.TSIG, RRType.OPT, RRType.MAILB, 0):
        assert answer(clock, ours, ask("www.org.example.", rdtype)).rcode == Rcode.NOTIMP
    given = answer(clock, ours, ask("www.org.example.", RRType.NXNAME))
    assert given.rcode == Rcode.FORMERR  # RFC 9824 §3.5
    assert given.edns is not None
    assert given.edns.options[0].data[:2] == b"\0\x1e"
    assert net.asked == []


def test_signatures_may_be_asked_for_by_themselves(clock: Clock) -> None:
    """RFC 4035 §3.2.1: records of DNSSEC are given to who asks for them explicitly."""
    net = internet()
    signature = "13 3 300 20300101000000 20200101000000 1 org.example. AAAA"
    zone = f"{ORG_ZONE}www.org.example. 300 RRSIG A {signature}\n"
    net.servers[ORG] = zone_server(zone + f"www.org.example. 300 RRSIG MX {signature}\n")
    given = answer(clock, resolver(net, clock), ask("www.org.example.", RRType.RRSIG))
    assert [each.rdtype for each in given.answers] == [RRType.RRSIG, RRType.RRSIG]


def test_without_rd_nothing_is_told_but_what_is_local(clock: Clock) -> None:
    """RFC 1034 §4.3.1, RFC 8914 §4.21: others' questions are not to be found out from a cache."""
    ours = resolver(internet(), clock)
    run(clock, ours.resolve("www.org.example.", A))
    given = answer(clock, ours, ask("www.org.example.", flags=0))
    assert given.rcode == Rcode.REFUSED
    assert given.edns is not None
    assert given.edns.options[0].data[:2] == b"\0\x14"
    assert len(answer(clock, ours, ask("localhost.", flags=0)).answers) == 1


LOCAL = LocalZones(
    [
        LocalZone(
            "home.example.",
            "static",
            [
                "out 60 CNAME www.org.example.",
                "in 60 CNAME www.lan.test.",
                "gone 60 CNAME gone.lan.test.",
                "on 60 CNAME off.lan.test.",
                "www 60 CNAME nosuch.org.example.",
            ],
        ),
        LocalZone("lan.test.", "static", ["www 60 A 192.0.2.99", "off 60 CNAME on.home.example."]),
    ]
)


@pytest.mark.parametrize(
    ("name", "code", "given"),
    [
        ("out", 0, ["A 192.0.2.1", "A 192.0.2.2", "CNAME www.org.example."]),
        ("in", 0, ["A 192.0.2.99", "CNAME www.lan.test."]),
        ("gone", 3, ["CNAME gone.lan.test."]),
        ("www", 3, ["CNAME nosuch.org.example."]),
        ("on", 2, []),
    ],
)
def test_local_aliases_are_followed(clock: Clock, name: str, code: int, given: list[str]) -> None:
    """RFC 1034 §4.3.2, step 3a, as far as it is known here and then elsewhere."""
    net = internet()
    ours = resolver(net, clock, local_zones=LOCAL)
    for _ in range(2):  # the second time out of the cache
        found = answer(clock, ours, ask(f"{name}.home.example."))
        assert found.rcode == code
        assert sorted(str(each).partition(" IN ")[2] for each in found.answers) == given
        assert [each.rdtype for each in found.answers[:1]] == [RRType.CNAME][: len(given)]
        program = run(clock, ours.resolve(f"{name}.home.example.", A))
        assert texts(program.answers) == texts(found.answers)
    alone = answer(clock, ours, ask(f"{name}.home.example.", RRType.CNAME))
    assert len(alone.answers) == 1
    assert ours.quick(ask(f"{name}.home.example.").wire, 512, ("127.0.0.1", 1)) is None


def test_local_names_go_nowhere(clock: Clock) -> None:
    """RFC 6761, RFC 6303."""
    net = internet()
    ours = resolver(net, clock)
    assert texts(answer(clock, ours, ask("localhost.")).answers) == [
        "localhost. 10800 IN A 127.0.0.1"
    ]
    for name in ("x.invalid.", "1.1.168.192.in-addr.arpa.", "printer.home.arpa.", "x.onion."):
        assert answer(clock, ours, ask(name)).rcode == Rcode.NXDOMAIN
    assert net.asked == []


def test_denied_names_get_no_answer_and_programs_a_refusal(clock: Clock) -> None:
    zones = LocalZones([LocalZone("ads.example.", "deny")])
    ours = resolver(internet(), clock, local_zones=zones)
    assert ours.respond(ask("x.ads.example.")) is None
    assert run(clock, ours.resolve("x.ads.example.", A)).rcode == Rcode.REFUSED


def test_an_answer_that_was_given_comes_from_its_octets(clock: Clock) -> None:
    ours = resolver(internet(), clock)
    first = answer(clock, ours, ask("www.org.example."))
    request = ask("WWW.Org.example.")
    wire = ours.quick(request.wire, 512, ("127.0.0.1", 1))
    assert wire is not None
    again = Message.from_wire(wire)
    assert again.question.name.wire == request.message.question.name.wire
    assert [each.rdata for each in again.answers] == [each.rdata for each in first.answers]
    assert {each.ttl for each in again.answers} <= {297, 298, 299, 300}
    assert (again.id, again.rcode) == (77, 0)


def test_quick_answers_grow_old_and_end(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock, prefetch=False)
    answer(clock, ours, ask("www.org.example."))
    wire = ask("www.org.example.").wire
    for _ in range(26):
        clock.advance(10)
        found = ours.quick(wire, 512, ("127.0.0.1", 1))
        assert found is not None
        left = 300 - clock.time()
        assert left - 4 <= Message.from_wire(found).answers[0].ttl <= left
    clock.advance(12)
    assert ours.quick(wire, 512, ("127.0.0.1", 1)) is None


def test_types_whose_numbers_are_letters_are_told_apart(clock: Clock) -> None:
    """HTTPS is 65, which is ``A``, whose lower case is 97."""
    ours = resolver(internet(), clock)
    answer(clock, ours, ask("www.org.example.", 65))
    assert ours.quick(ask("www.org.example.", 65).wire, 512, ("127.0.0.1", 1)) is not None
    assert ours.quick(ask("www.org.example.", 97).wire, 512, ("127.0.0.1", 1)) is None


def test_a_quick_answer_has_an_opt_where_the_query_has_one(clock: Clock) -> None:
    ours = resolver(internet(), clock)
    for edns in (EDNS(), EDNS(dnssec_ok=True), EDNS(4096)):
        request = ask("www.org.example.", edns=edns)
        assert ours.quick(request.wire, 512, ("127.0.0.1", 1)) is None
        answer(clock, ours, request)
        wire = ours.quick(request.wire, 512, ("127.0.0.1", 1))
        assert wire is not None
        found = Message.from_wire(wire)
        assert found.edns is not None
        assert found.edns.dnssec_ok == edns.dnssec_ok
        assert found.edns.payload == 1232


def test_a_quick_answer_is_no_longer_than_the_server_lets_datagrams_be(clock: Clock) -> None:
    """Whatever size the client takes, and over whichever transport it was asked for first."""
    request = ask("www.org.example.", edns=EDNS(4096))
    size = len(answer(clock, resolver(internet(), clock), request).to_wire()) + 11
    for payload, kept in ((size, True), (size - 1, False)):
        ours = resolver(internet(), clock, payload=payload)
        answer(clock, ours, request)
        wire = ours.quick(request.wire, 512, ("127.0.0.1", 1))
        assert (wire is not None) == kept
        if wire is not None:
            found = Message.from_wire(wire)
            assert found.edns is not None
            assert found.edns.payload == max(payload, 512)


def test_flushing_forgets_quick_answers_too(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock)
    answer(clock, ours, ask("www.org.example."))
    assert ours.flush("www.org.example.") >= 1
    assert ours.quick(ask("www.org.example.").wire, 512, ("127.0.0.1", 1)) is None
    asked = len(net.asked)
    answer(clock, ours, ask("www.org.example."))
    assert len(net.asked) == asked + 1
    assert ours.flush_zone("example.") >= 3
    ours.clear()
    assert ours.statistics()["entries"] == 0


def test_a_client_has_so_many_questions_at_work(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = lambda query, transport: None
    ours = resolver(net, clock, limits=ResolverLimits(client_jobs=3))

    async def many() -> list[int]:
        given: list[Any] = [ours.respond(ask(f"n{index}.org.example.")) for index in range(5)]
        return [each.rcode for each in await asyncio.gather(*given)]

    began = clock.time()
    assert run(clock, many()) == [Rcode.SERVFAIL] * 5
    assert ours.statistics()["refused"] == 2
    assert clock.time() - began <= 10.1


def test_typed_look_ups_work_on_it(clock: Clock) -> None:
    ours = resolver(internet(), clock)
    assert run(clock, ours.a("www.org.example")) == ["192.0.2.1", "192.0.2.2"]
    with pytest.raises(NoSuchNameError):
        run(clock, ours.mx("no.org.example"))


def test_closing_gives_up_what_is_under_way(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = lambda query, transport: None
    ours = resolver(net, clock)

    async def close_soon() -> Message:
        asked = asyncio.ensure_future(ours.resolve("www.org.example.", A))
        await asyncio.sleep(0.2)
        await ours.aclose()
        return await asked

    began = clock.time()
    assert run(clock, close_soon()).rcode == Rcode.SERVFAIL
    assert clock.time() - began < 1


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(DNSUsageError):
        RecursiveResolver(minimise="never")
    for server in (
        "ns.example",
        "udp://192.0.2.1:0",
        "gopher://192.0.2.1",
        "192.0.2.1\n",
        "udp://192.0.2.1#x",
    ):
        with pytest.raises(DNSUsageError):
            RecursiveResolver(forward={".": [server]})


def test_the_hints_of_iana_are_thirteen() -> None:
    from sennit.names.resolver.hints import ROOT_HINTS

    assert len(ROOT_HINTS) == 13
    assert all(len(each) == 2 for each in ROOT_HINTS.values())


def test_names_of_servers_elsewhere_are_looked_up(clock: Clock) -> None:
    net = internet()
    net.servers[TLD] = zone_server(
        f"""
        example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
        org.example. 3600 NS host.other.example.
        other.example. 3600 NS ns.other.example.
        ns.other.example. 3600 A {OTHER}
        """
    )
    net.servers["192.0.2.50"] = net.servers[ORG]
    found = run(clock, resolver(net, clock).resolve("www.org.example.", A))
    assert len(found.answers) == 2


def test_what_may_not_be_kept_has_a_ttl_of_nothing(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = zone_server(ORG_ZONE + "now.org.example. 0 A 192.0.2.8\n")
    ours = resolver(net, clock)
    for _ in range(2):
        found = run(clock, ours.resolve("now.org.example.", A))
        assert [each.ttl for each in found.answers] == [0]
    assert net.count("", "now.org.example.") == 2


def test_ipv6_is_tried_after_ipv4_where_neither_is_known(clock: Clock) -> None:
    net = internet()
    net.servers[TLD] = zone_server(
        f"""
        example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
        org.example. 3600 NS ns.org.example.
        ns.org.example. 3600 AAAA 2001:db8::1
        ns.org.example. 3600 A {ORG}
        """
    )
    net.servers["2001:db8::1"] = net.servers[ORG]
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    net.down.add(ORG)
    assert len(run(clock, ours.resolve("alias.org.example.", A)).answers) == 3
    assert net.count("2001:db8::1") >= 1


# ── over a network ───────────────────────────────────────────────────────────


def test_forwarders_are_reached_over_udp_and_tcp(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """The carrier that a resolver has by default."""
    serve(memory_network, zone_answers("www.example.org 600 A 192.0.2.7"))
    for scheme, over_tcp in (("udp", 0), ("tcp", 1)):
        ours = RecursiveResolver(forward={".": [f"{scheme}://10.0.0.53"]}, now=clock.time)

        async def ask_and_close(ours: RecursiveResolver = ours) -> Message:
            async with ours:
                return await ours.resolve("www.example.org.", A)

        found = run(clock, ask_and_close())
        assert texts(found.answers) == ["www.example.org. 600 IN A 192.0.2.7"]
        assert ours.statistics()["upstream_tcp"] == over_tcp


def test_the_tree_is_walked_over_a_network_too(clock: Clock, memory_network: MemoryNetwork) -> None:
    def whole(address: str) -> None:
        answering = internet().servers[address]
        serve(memory_network, lambda query: answering(query, "udp"), address)  # type: ignore[arg-type]  # at once

    for address in (ROOT, TLD, ORG, OTHER):
        whole(address)
    ours = RecursiveResolver(root_hints=HINTS, now=clock.time)

    async def ask_and_close() -> Message:
        async with ours:
            return await ours.resolve("away.org.example.", A)

    assert len(run(clock, ask_and_close()).answers) == 2


def test_connections_are_kept_to_so_many_servers(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    from sennit.names.resolver import carrying

    carrier = carrying.Carrier()

    async def many() -> None:
        for index in range(carrying.MOST + 20):
            server = (f"10.1.{index // 250}.{index % 250 + 1}", 53)
            with pytest.raises(UnreachableError):
                await carrier(Message.query("x.example."), server, "tcp", timeout=1)
        assert len(carrier._streams) == carrying.MOST
        await carrier.aclose()

    run(clock, many())
