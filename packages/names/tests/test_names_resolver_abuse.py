"""What one zone, server or forged answer may do to names that are not its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from packages.names.tests.resolver_upstream import (
    EXAMPLE_ZONE,
    ORG,
    ORG_ZONE,
    OTHER,
    TLD,
    internet,
    record,
    resolver,
    run,
    zone_server,
)
from packages.names.tests.test_names_resolver_checking import Says
from sennit.core.testing.clock import Clock
from sennit.names.codes import Rcode, RRType
from sennit.names.dnssec.verdict import Link, Security, Verdict
from sennit.names.message import AA, Message, Question
from sennit.names.name import Name
from sennit.names.resolver.limits import ResolverLimits

A = int(RRType.A)
TXT = int(RRType.TXT)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


@pytest.mark.parametrize("code", [Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED, Rcode.FORMERR])
def test_an_error_for_one_type_keeps_nobody_from_the_rest_of_the_zone(
    clock: Clock, code: Rcode
) -> None:
    """A name or type that a server chokes on is no reason to leave its zone unasked."""
    net = internet()
    right = net.servers[ORG]

    def chokes(query: Message, transport: str) -> Message:
        if query.question.rdtype == TXT:
            return query.reply(code)
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = chokes
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("www.org.example.", TXT)).rcode == Rcode.SERVFAIL
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2


def test_a_referral_in_answer_to_ds_keeps_nobody_from_the_rest_of_the_zone(clock: Clock) -> None:
    """A server from before DNSSEC refers to the child; it serves its zone all the same."""
    net = internet()
    right = net.servers[TLD]

    def refers(query: Message, transport: str) -> Message:
        if query.question.rdtype == RRType.DS:
            plain = Message.query(query.question.name, A, id=query.id)
            reply: Message = right(plain, transport)  # type: ignore[assignment]  # at once
            reply.questions = query.questions
            return reply
        return right(query, transport)  # type: ignore[return-value]  # at once

    net.servers[TLD] = refers
    ours = resolver(net, clock)
    run(clock, ours.resolve("org.example.", RRType.DS))
    assert len(run(clock, ours.resolve("host.other.example.", A)).answers) == 1


def test_a_zone_taken_away_does_not_live_on_in_zones_beneath_it(clock: Clock) -> None:
    """Each referral ends with the one that led to it, at the latest (CVE-2022-30698)."""
    net = internet()
    deeper = f"s1.org.example. 86400 NS ns.org.example.\nns.org.example. 3600 A {ORG}\n"
    beneath = """
s1.org.example. 86400 SOA ns.org.example. a. 1 1800 900 604800 60
x.s1.org.example. 1 A 192.0.2.66
y.s1.org.example. 1 A 192.0.2.66
"""
    org = ORG_ZONE + deeper
    calls = {"s1": False}

    def rogue(query: Message, transport: str) -> Message:
        served = (org, beneath) if calls["s1"] else (org,)
        calls["s1"] = query.question.name.is_below(Name("s1.org.example."))
        return zone_server(*served)(query, transport)  # type: ignore[return-value]  # at once

    net.servers[ORG] = rogue
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("x.s1.org.example.", A)).answers
    taken = EXAMPLE_ZONE.replace("org.example. 3600 NS ns.org.example.\n", "", 1)
    net.servers[TLD] = zone_server(taken)
    clock.advance(3700)
    found = run(clock, ours.resolve("y.s1.org.example.", A))
    assert not found.answers


class BogusFor(Says):
    """Finds one type bogus and all others secure."""

    def __init__(self, rdtype: int) -> None:
        super().__init__(Security.SECURE)
        self.rdtype = rdtype

    async def validate(self, message: Message, question: Question, fetch: object) -> Verdict:
        bad = question.rdtype == self.rdtype
        security = Security.BOGUS if bad else Security.SECURE
        return Verdict(security, [Link(question.name, question.rdtype, security, 100)])


@pytest.mark.parametrize("known", [True, False])
def test_a_forged_absence_ends_no_other_types_of_the_name(clock: Clock, known: bool) -> None:
    """What is bad is so for its name and type (RFC 4035 §4.7)."""
    net = internet()
    right = net.servers[ORG]

    def forged(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        if query.question.rdtype == TXT:
            reply.rcode = Rcode.NXDOMAIN
        return reply

    net.servers[ORG] = forged
    ours = resolver(net, clock, validator=BogusFor(TXT))
    if known:
        assert run(clock, ours.resolve("www.org.example.", A)).answers
    asked = len(net.asked)
    assert run(clock, ours.resolve("www.org.example.", TXT)).rcode == Rcode.SERVFAIL
    found = run(clock, ours.resolve("www.org.example.", A))
    assert found.rcode == Rcode.NOERROR
    assert len(found.answers) == 2
    if known:
        assert net.count(ORG, "www.org.example. IN A") == 1
    assert len(net.asked) > asked
    asked = len(net.asked)
    assert run(clock, ours.resolve("www.org.example.", TXT)).rcode == Rcode.SERVFAIL


def test_what_cannot_be_fetched_ahead_is_not_tried_with_each_question(clock: Clock) -> None:
    """RFC 9520 §3.2: failures are remembered, whoever asked."""
    net = internet()
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    net.servers[ORG] = lambda query, transport: query.reply(Rcode.SERVFAIL)
    clock.advance(280)

    async def often() -> int:
        before = len(net.asked)
        for _ in range(20):
            await ours.resolve("www.org.example.", A)
            await asyncio.sleep(0.2)
        return len(net.asked) - before

    assert run(clock, often()) <= 8


@pytest.mark.parametrize("how", ["forward", "stub"])
def test_proofs_of_the_tree_do_not_deny_what_an_operator_has_servers_for(
    clock: Clock, how: str
) -> None:
    """What is known to be absent there says nothing of names that are looked up elsewhere."""
    net = internet()
    net.servers[OTHER] = zone_server(
        "in.corp. 300 SOA a. b. 1 1 1 1 60\nhost.in.corp. 300 A 10.0.0.1"
    )
    ours = resolver(
        net, clock, validator=Says(Security.SECURE), avoid=[], **{how: {"in.corp.": [OTHER]}}
    )
    assert run(clock, ours.resolve("corp.", A)).rcode == Rcode.NXDOMAIN
    assert len(run(clock, ours.resolve("host.in.corp.", A)).answers) == 1


def test_no_delegation_leads_to_this_machine_by_way_of_ipv6(clock: Clock) -> None:
    net = internet()
    net.servers[TLD] = lambda query, transport: _referral(query)
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    assert not [each for each in net.asked if "127.0.0.1" in each[0] or "7f00" in each[0]]


def _referral(query: Message) -> Message:
    reply = query.reply()
    reply.authority = [record("org.example. 300 NS ns.org.example.")]
    reply.additional = [
        record("ns.org.example. 300 AAAA ::ffff:127.0.0.1"),
        record("ns.org.example. 300 AAAA ::127.0.0.1"),
        record("ns.org.example. 300 AAAA 64:ff9b::7f00:1"),
    ]
    return reply


def test_a_loop_of_servers_names_costs_little_however_often_it_is_asked(clock: Clock) -> None:
    """TsuNAME: the servers of two zones are named in each other."""
    net = internet()
    loop = EXAMPLE_ZONE + (
        "one.example. 3600 NS ns1.two.example.\none.example. 3600 NS ns2.two.example.\n"
        "two.example. 3600 NS ns1.one.example.\ntwo.example. 3600 NS ns2.one.example.\n"
    )
    net.servers[TLD] = zone_server(loop)
    ours = resolver(net, clock)

    async def many() -> int:
        await ours.resolve("first.one.example.", A)
        before = len(net.asked)
        for number in range(20):
            await ours.resolve(f"n{number}.one.example.", A)
        return len(net.asked) - before

    assert run(clock, many()) <= 40


def test_an_upstream_answer_with_a_higher_authority_flag_is_only_its_zones(clock: Clock) -> None:
    net = internet()
    right = net.servers[ORG]

    def lies(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        reply.flags |= AA
        reply.answers.append(record("example. 300 DNAME evil.test."))
        return reply

    net.servers[ORG] = lies
    ours = resolver(net, clock)
    run(clock, ours.resolve("www.org.example.", A))
    assert len(run(clock, ours.resolve("host.other.example.", A)).answers) == 1


def _wasteful(query: Message) -> Message:
    """A chain of aliases whose servers cost questions, to a name of somebody else."""
    name = query.question.name
    number = int(name.labels[0][1:])
    reply = query.reply(0, AA)
    target = f"c{number + 1}.org.example." if number < 6 else "host.other.example."
    reply.answers = [record(f"{name} 300 CNAME {target}")]
    return reply


@pytest.mark.parametrize("together", [False, True])
def test_who_has_spent_its_means_before_says_nothing_of_the_name_it_leads_to(
    clock: Clock, together: bool
) -> None:
    """The failure is the question's; the name that its aliases lead to is not remembered for it."""
    net = internet()
    net.servers[ORG] = lambda query, transport: (
        _wasteful(query) if query.question.name.labels[0][:1] == b"c" else query.reply(0, AA)
    )
    # The last link needs more questions than there are left.
    ours = resolver(net, clock, limits=ResolverLimits(question_queries=10))

    async def ask() -> None:
        spent = asyncio.ensure_future(ours.resolve("c0.org.example.", A))
        if together:
            while not net.count(text="other.example."):
                await asyncio.sleep(0.001)
        else:
            assert (await spent).rcode == Rcode.SERVFAIL
        found = await ours.resolve("host.other.example.", A)
        assert len(found.answers) == 1
        await spent

    run(clock, ask())


def test_a_server_that_gave_something_bogus_is_asked_for_other_links(clock: Clock) -> None:
    """It may be the only one that there is for the next."""

    class OnceBogus(Says):
        async def validate(self, message: Message, question: Question, fetch: object) -> Verdict:
            bad = any("192.0.2.66" in str(each) for each in message.answers)
            bad |= any("evil" in str(each) for each in message.answers)
            security = Security.BOGUS if bad else Security.SECURE
            return Verdict(security, [Link(question.name, question.rdtype, security, 100)])

    net = internet()
    alone = "sub.example. 3600 SOA a. b. 1 1 1 1 60\nhost.sub.example. 300 A 192.0.2.50\n"
    both = "two.example. 3600 SOA a. b. 1 1 1 1 60\nx.two.example. 300 CNAME host.sub.example.\n"
    bad = both.replace("host.sub", "evil.sub")
    net.servers[OTHER] = zone_server(alone, bad)
    net.servers[ORG] = zone_server(both)
    net.servers[TLD] = zone_server(
        EXAMPLE_ZONE
        + "two.example. 3600 NS ns.two.example.\ntwo.example. 3600 NS ms.two.example.\n"
        + f"ns.two.example. 3600 A {OTHER}\nms.two.example. 3600 A {ORG}\n"
        + f"sub.example. 3600 NS ns.sub.example.\nns.sub.example. 3600 A {OTHER}\n"
    )
    for _ in range(10):  # whichever of the two comes first
        ours = resolver(net, clock, validator=OnceBogus(Security.SECURE))
        found = run(clock, ours.resolve("x.two.example.", A))
        assert len(found.answers) == 2


def test_what_became_bogus_is_not_given_stale(clock: Clock) -> None:
    """RFC 8767 §4 is for servers that do not answer, not for answers that are wrong."""

    class Later(Says):
        async def validate(self, message: Message, question: Question, fetch: object) -> Verdict:
            security = Security.BOGUS if clock.time() > 200 else Security.SECURE
            return Verdict(security, [Link(question.name, question.rdtype, security, 300)])

    net = internet()
    ours = resolver(net, clock, validator=Later(Security.SECURE))
    assert run(clock, ours.resolve("www.org.example.", A)).answers
    clock.advance(400)
    assert run(clock, ours.resolve("www.org.example.", A)).rcode == Rcode.SERVFAIL
    net.down = {ORG, TLD}
    for _ in range(3):
        clock.advance(70)
        found = run(clock, ours.resolve("www.org.example.", A))
        assert (found.rcode, found.answers) == (Rcode.SERVFAIL, [])


def test_a_dname_that_leads_into_itself_ends(clock: Clock) -> None:
    """RFC 6672 §2.2 and §5: names grow until they are too long, or the aliases too many."""
    net = internet()
    net.servers[ORG] = zone_server(f"{ORG_ZONE}deep.org.example. 300 DNAME x.deep.org.example.\n")
    ours = resolver(net, clock)
    found = run(clock, ours.resolve("a.deep.org.example.", A))
    assert found.rcode == Rcode.SERVFAIL
    assert len(net.asked) <= 32
    long = ".".join(["a" * 60] * 3)
    net.servers[ORG] = zone_server(f"{ORG_ZONE}deep.org.example. 300 DNAME {long}.org.example.\n")
    ours = resolver(net, clock)
    found = run(clock, ours.resolve(f"{'b' * 50}.{'c' * 40}.deep.org.example.", A))
    assert found.rcode in (Rcode.SERVFAIL, Rcode.YXDOMAIN)


def test_what_may_not_be_kept_is_asked_for_once_by_all_who_wait(clock: Clock) -> None:
    """A storm for a TTL of nothing costs one question at a time."""
    net = internet()
    net.servers[ORG] = zone_server(ORG_ZONE.replace("www.org.example. 300", "www.org.example. 0"))
    ours = resolver(net, clock)

    async def storm() -> None:
        await ours.resolve("alias.org.example.", A)
        before = len(net.asked)
        many = [ours.resolve("www.org.example.", A) for _ in range(100)]
        for found in await asyncio.gather(*many):
            assert len(found.answers) == 2
            assert {each.ttl for each in found.answers} == {0}
        assert len(net.asked) - before == 1
        assert ours.cache.find(Name("www.org.example."), A, clock.time()) is None

    run(clock, storm())


def test_one_alias_beside_the_apex_does_not_take_a_zone_over(clock: Clock) -> None:
    """A CNAME at a zone's own name is one of that name, not of those beneath it."""
    net = internet()
    net.servers[ORG] = zone_server(f"{ORG_ZONE}org.example. 300 CNAME host.other.example.\n")
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("org.example.", A)).answers
    found = run(clock, ours.resolve("www.org.example.", A))
    assert [each.rdtype for each in found.answers] == [A, A]
    assert run(clock, ours.resolve("a.b.c.d.org.example.", A)).answers


def test_an_answer_out_of_a_servers_cache_keeps_nobody_from_the_rest_of_its_zone(
    clock: Clock,
) -> None:
    """A server that resolves, too, gives what it knows of a zone beneath its own without AA."""
    net = internet()
    right = net.servers[ORG]

    def mixed(query: Message, transport: str) -> Message:
        reply: Message = right(query, transport)  # type: ignore[assignment]  # at once
        if query.question.name == Name("alias.org.example."):
            reply.flags &= ~AA
        return reply

    net.servers[ORG] = mixed
    ours = resolver(net, clock)
    assert run(clock, ours.resolve("alias.org.example.", A)).rcode == Rcode.SERVFAIL
    assert len(run(clock, ours.resolve("www.org.example.", A)).answers) == 2
