"""The resolver with a validator: what it tells whom, what it keeps, and what proofs answer for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.resolver_upstream import (
    ORG,
    ORG_ZONE,
    TLD,
    internet,
    record,
    resolver,
    run,
    zone_server,
)
from sennit.core.testing.clock import Clock
from sennit.names.codes import EDE, Rcode, RRType
from sennit.names.dnssec.verdict import Link, Security, Verdict
from sennit.names.edns import EDNS
from sennit.names.message import AD, CD, RD, Message, Question, Record, rrsets
from sennit.names.name import Name
from sennit.names.request import Request
from sennit.names.resolver.aggressive import Denials
from sennit.names.resolver.entries import Entry, Kind
from sennit.names.resolver.limits import ResolverLimits

if TYPE_CHECKING:
    from sennit.names.interfaces import Fetch

A = int(RRType.A)
ZONE = Name("org.example.")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


class Says:
    """A validator that says what a test wants."""

    def __init__(self, security: Security, ttl: int = 100, fetches: int = 0) -> None:
        self.security = security
        self.ttl = ttl
        self.fetches = fetches
        self.seen: list[str] = []

    async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
        self.seen.append(str(question))
        for _ in range(self.fetches):
            await fetch(ZONE, RRType.DNSKEY)
        link = Link(
            question.name,
            question.rdtype,
            self.security,
            self.ttl,
            proof=rrsets(message.authority),
            zone=ZONE,
        )
        return Verdict(self.security, [link], info_code=7 if not self.security else None)


def request(name: str, *, flags: int = RD, dnssec_ok: bool = False) -> Request:
    edns = EDNS(dnssec_ok=True) if dnssec_ok else None
    message = Message.query(name, A, id=1, flags=flags, edns=edns)
    return Request(message, message.to_wire(), ("127.0.0.1", 1))


def test_secure_answers_are_told_to_who_asks_for_it(clock: Clock) -> None:
    """RFC 6840 §5.8: AD for who sets DO or AD."""
    ours = resolver(internet(), clock, validator=Says(Security.SECURE))
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.flags & AD
    for flags, dnssec_ok, told in ((RD, False, 0), (RD | AD, False, AD), (RD, True, AD)):
        given = ours.respond(request("www.org.example.", flags=flags, dnssec_ok=dnssec_ok))
        assert isinstance(given, Message)
        assert given.flags & AD == told
    given = ours.respond(request("www.org.example.", flags=RD | CD, dnssec_ok=True))
    assert isinstance(given, Message)
    assert not given.flags & AD


def test_insecure_answers_have_no_ad(clock: Clock) -> None:
    ours = resolver(internet(), clock, validator=Says(Security.INSECURE))
    assert not run(clock, ours.resolve("www.org.example.", A)).flags & AD


def test_bogus_answers_are_servfail_with_the_reason_unless_cd_is_set(clock: Clock) -> None:
    net = internet()
    says = Says(Security.BOGUS)
    ours = resolver(net, clock, validator=says)
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.rcode == Rcode.SERVFAIL
    assert found.answers == []
    assert found.edns is not None
    assert found.edns.options[0].data[:2] == b"\0\x07"
    asked = len(net.asked)
    found = run(clock, ours.resolve("www.org.example.", A, checking_disabled=True))
    assert len(found.answers) == 2
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert len(net.asked) == asked
    assert says.seen == ["www.org.example. IN A"]  # there is no other server to ask


def test_what_is_bogus_is_kept_for_a_minute_at_most(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock, validator=Says(Security.BOGUS))
    run(clock, ours.resolve("www.org.example.", A))
    clock.advance(61)
    asked = len(net.asked)
    run(clock, ours.resolve("www.org.example.", A))
    assert len(net.asked) > asked


def test_what_is_secure_is_kept_no_longer_than_its_signatures(clock: Clock) -> None:
    net = internet()
    ours = resolver(net, clock, validator=Says(Security.SECURE, ttl=20))
    run(clock, ours.resolve("www.org.example.", A))
    asked = len(net.asked)
    clock.advance(21)
    run(clock, ours.resolve("www.org.example.", A))
    assert len(net.asked) > asked


def test_each_link_is_validated_once(clock: Clock) -> None:
    says = Says(Security.SECURE)
    ours = resolver(internet(), clock, validator=says)
    for _ in range(3):
        run(clock, ours.resolve("away.org.example.", A))
    assert says.seen == ["away.org.example. IN CNAME", "host.other.example. IN A"]


def test_an_answer_is_worth_its_worst_link(clock: Clock) -> None:
    class Differs(Says):
        async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
            here = Security.SECURE if question.name.is_below(ZONE) else Security.INSECURE
            return Verdict(here, [Link(question.name, question.rdtype, here, 100)])

    ours = resolver(internet(), clock, validator=Differs(Security.SECURE))
    assert not run(clock, ours.resolve("away.org.example.", A)).flags & AD
    assert run(clock, ours.resolve("www.org.example.", A)).flags & AD


def test_a_validator_that_fails_makes_the_answer_bogus(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Says):
        async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
            raise RuntimeError("a bug")

    ours = resolver(internet(), clock, validator=Fails(Security.SECURE))
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    assert "while validating" in caplog.text


def test_validation_draws_on_the_questions_means(clock: Clock) -> None:
    """HARDENING dns-10: keys are fetched within 32 queries and ten seconds."""
    net = internet()
    right = net.servers[ORG]

    def slow_keys(query: Message, transport: str) -> Message | None:
        if query.question.rdtype == RRType.DNSKEY:
            return None
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = slow_keys
    ours = resolver(net, clock, validator=Says(Security.SECURE, fetches=100))
    run(clock, ours.resolve("www.org.example.", A))
    assert clock.time() <= 10.1
    assert len(net.asked) <= 33


def test_validating_asks_for_the_records_of_dnssec(clock: Clock) -> None:
    net = internet()
    run(clock, resolver(net, clock, validator=Says(Security.SECURE)).resolve("www.org.example.", A))
    assert all(each.edns is not None and each.edns.dnssec_ok for each in net.messages)


def test_what_one_server_forges_is_asked_of_another(clock: Clock) -> None:
    class Looks(Says):
        async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
            forged = any(str(each.rdata) == "203.0.113.66" for each in message.answers)
            here = Security.BOGUS if forged else Security.SECURE
            return Verdict(here, [Link(question.name, question.rdtype, here, 100)])

    second = "198.51.100.33"
    for forger in (ORG, second):
        net = internet()
        net.servers[TLD] = zone_server(
            f"""
            example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
            org.example. 3600 NS ns.org.example.
            ns.org.example. 3600 A {ORG}
            ns.org.example. 3600 A {second}
            """
        )
        net.servers[second] = net.servers[ORG]
        net.servers[forger] = zone_server(ORG_ZONE.replace("192.0.2.9", "203.0.113.66"))
        ours = resolver(net, clock, validator=Looks(Security.SECURE))
        found = run(clock, ours.resolve("a.b.c.d.org.example.", A))
        assert [str(each.rdata) for each in found.answers] == ["192.0.2.9"]
        assert found.flags & AD
        found = run(clock, ours.resolve("a.b.c.d.org.example.", A))
        assert found.flags & AD


# ── RFC 8198 ─────────────────────────────────────────────────────────────────

NSEC_ZONE = [
    record("org.example. 3600 SOA ns.org.example. admin.org.example. 1 1 1 1 300"),
    record("b.org.example. 300 NSEC f.org.example. A RRSIG NSEC"),
    record("org.example. 300 NSEC b.org.example. SOA NS RRSIG NSEC"),
]


def absence(*proofs: Record, ttl: float = 300) -> Entry:
    entry = Entry(
        Kind.NXDOMAIN,
        Name("c.org.example."),
        A,
        ttl,
        authority=list(proofs),
        zone=ZONE,
    )
    entry.security = Security.SECURE
    entry.expires = ttl
    return entry


def test_a_proof_answers_for_names_between_its_own() -> None:
    denials = Denials(ResolverLimits())
    denials.learn(ZONE, absence(*NSEC_ZONE), 0)
    found = denials.answer(Name("d.org.example."), A, 10)
    assert found is not None
    assert (found.kind, found.security) == (Kind.NXDOMAIN, Security.SECURE)
    assert found.expires == 300
    assert denials.answer(Name("b.org.example."), int(RRType.MX), 10) is not None
    for name, rdtype in (
        ("b.org.example.", A),
        ("g.org.example.", A),
        ("d.other.example.", A),
        ("d.org.example.", int(RRType.NSEC)),
    ):
        assert denials.answer(Name(name), rdtype, 10) is None
    assert denials.answer(Name("d.org.example."), A, 301) is None


def test_without_the_wildcards_proof_nothing_is_concluded() -> None:
    denials = Denials(ResolverLimits())
    denials.learn(ZONE, absence(*NSEC_ZONE[:2]), 0)
    assert denials.answer(Name("d.org.example."), A, 10) is None


def test_proofs_that_are_not_secure_are_not_learnt() -> None:
    denials = Denials(ResolverLimits())
    entry = absence(*NSEC_ZONE)
    entry.security = Security.INSECURE
    denials.learn(ZONE, entry, 0)
    assert len(denials) == 0


def test_proofs_are_bounded_in_zones_and_records() -> None:
    denials = Denials(ResolverLimits(denials=10, denial_zones=3))
    for zone_number in range(6):
        zone = Name(f"z{zone_number}.")
        for index in range(50):
            proof = record(f"n{index}.{zone} 300 NSEC n{index}x.{zone} A")
            denials.learn(zone, absence(proof), 0)
    assert len(denials) <= 30
    denials.flush(Name("z5."))
    assert len(denials) <= 20
    denials.clear()
    assert len(denials) == 0


def test_what_is_proved_is_not_asked_for(clock: Clock) -> None:
    """HARDENING dns-12: random names of a signed zone end here."""
    net = internet()
    right = net.servers[ORG]

    def proving(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        if reply.rcode == Rcode.NXDOMAIN:
            reply.authority = list(NSEC_ZONE)
        return reply

    net.servers[ORG] = proving
    ours = resolver(net, clock, validator=Says(Security.SECURE))
    run(clock, ours.resolve("c.org.example.", A))
    asked = len(net.asked)
    for index in range(100):
        found = run(clock, ours.resolve(f"c{index}.org.example.", A))
        assert found.rcode == Rcode.NXDOMAIN
        assert found.flags & AD
    assert len(net.asked) == asked
    assert ours.statistics()["synthesized"] == 100


def test_the_reasons_are_those_of_the_registry(clock: Clock) -> None:
    net = internet()
    net.servers[ORG] = zone_server(ORG_ZONE)
    net.down.add(ORG)
    found = run(clock, resolver(net, clock).resolve("www.org.example.", A))
    assert found.edns is not None
    code = int.from_bytes(found.edns.options[0].data[:2], "big")
    assert code == EDE.NO_REACHABLE_AUTHORITY
