"""The stub resolver: names, servers, retries, cache, and what it believes."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from packages.names.tests.client_servers import authoritative, record, serve, zone_answers
from sennit.names.client.stub import StubResolver
from sennit.names.codes import Rcode
from sennit.names.dnssec.verdict import Security, Verdict
from sennit.names.errors import (
    DNSUsageError,
    LookupTimeoutError,
    NoDataError,
    NoSuchNameError,
    ResponseError,
    UnreachableError,
    ValidationError,
)
from sennit.names.message import AD, CD, TC, Message, Question
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

SOA = "example.org 3600 SOA ns.example.org. root.example.org. 1 7200 3600 86400 300"
ZONE = (
    "www.example.org 600 A 192.0.2.7",
    "www.example.org 600 AAAA 2001:db8::7",
    "alias.example.org 60 CNAME www.example.org.",
    "www.sub.example.org 60 A 192.0.2.8",
)


def resolver(servers: list[str] | None = None, **options: Any) -> StubResolver:
    options.setdefault("hosts", None)
    return StubResolver(["10.0.0.53"] if servers is None else servers, **options)


def ask(clock: Clock, fn: Callable[[], Awaitable[Any]]) -> Any:
    return clock.run(lambda _: fn())


def test_a_look_up_says_all_that_is_known(clock: Clock, memory_network: MemoryNetwork) -> None:
    serve(memory_network, zone_answers(*ZONE))
    stub = resolver()

    found = ask(clock, lambda: stub.lookup("alias.example.org", "A"))

    assert str(found.question.name) == "alias.example.org."
    assert str(found.canonical_name) == "www.example.org."
    assert [str(each) for each in found.rdatas] == ["192.0.2.7"]
    assert found.ttl == 60
    assert not found.authenticated
    assert isinstance(found.message, Message)


def test_absence_is_told_from_a_name_that_is_not_there(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(memory_network, zone_answers(*ZONE, soa=SOA))
    stub = resolver()
    with pytest.raises(NoDataError, match="no MX"):
        ask(clock, lambda: stub.lookup("www.example.org", "MX"))
    with pytest.raises(NoSuchNameError, match="does not exist"):
        ask(clock, lambda: stub.lookup("none.example.org"))


# ── search list ───────────────────────────────────────────────────────────────


def test_the_search_list_completes_short_names(clock: Clock, memory_network: MemoryNetwork) -> None:
    """resolv.conf(5): below ``ndots`` dots the list comes first, then the name as it is."""
    server = serve(memory_network, zone_answers(*ZONE, soa=SOA))
    stub = resolver(search=["nowhere.example", "example.org"])

    found = ask(clock, lambda: stub.lookup("www"))
    assert str(found.question.name) == "www.example.org."
    assert [str(each.question.name) for each in server.queries] == [
        "www.nowhere.example.",
        "www.example.org.",
    ]
    server.asked.clear()
    ask(clock, lambda: stub.lookup("www.sub"))
    assert [str(each.question.name) for each in server.queries] == [
        "www.sub.",
        "www.sub.nowhere.example.",
        "www.sub.example.org.",
    ]


def test_a_whole_name_is_not_completed(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = serve(memory_network, zone_answers(*ZONE, soa=SOA))
    stub = resolver(search=["example.org"])
    for name in ("www.", Name("www.")):
        with pytest.raises(NoSuchNameError):
            ask(clock, lambda name=name: stub.lookup(name))  # type: ignore[misc]
    assert {str(each.question.name) for each in server.queries} == {"www."}


def test_what_this_host_knows_counts_before_the_search_list(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    """RFC 6761 §6.3, RFC 7686 §2; nsswitch.conf(5): files before DNS."""
    server = serve(
        memory_network,
        zone_answers(
            "localhost.example.org 60 A 203.0.113.1", "router.example.org 60 A 203.0.113.1", soa=SOA
        ),
    )
    path = tmp_path / "hosts"
    path.write_text("10.1.1.1 router\n10.1.1.2 box.example.org\n")
    stub = resolver(search=["example.org"], hosts=str(path))

    async def main() -> None:
        assert await stub.a("localhost") == ["127.0.0.1"]
        assert await stub.a("router") == ["10.1.1.1"]
        assert await stub.a("box") == ["10.1.1.2"]
        with pytest.raises(NoDataError):
            await stub.aaaa("router")
        for name in ("secret.onion", "printer.local"):
            with pytest.raises(NoSuchNameError):
                await stub.a(name)

    ask(clock, main)
    assert server.asked == []


# ── files ─────────────────────────────────────────────────────────────────────


def test_servers_come_from_resolv_conf_which_is_read_again(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    first = serve(memory_network, zone_answers(*ZONE))
    second = serve(memory_network, zone_answers(*ZONE), "10.0.0.54")
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.0.0.53\nsearch example.org\n")
    stub = StubResolver(resolv_conf=str(path), hosts=None, cache_size=0)

    ask(clock, lambda: stub.lookup("www"))
    path.write_text("nameserver 10.0.0.54\n")
    os.utime(path, (1, 1))
    clock.advance(5)
    ask(clock, lambda: stub.lookup("www.example.org"))

    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_without_resolv_conf_this_host_is_asked(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    stub = StubResolver(resolv_conf=str(tmp_path / "none"), hosts=None)

    async def main() -> None:
        assert stub.configuration.servers == ("127.0.0.1", "::1")
        with pytest.raises(UnreachableError):
            await stub.lookup("www.example.org")

    ask(clock, main)


def test_the_hosts_file_answers_before_any_server(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.50 box.example.org box\n2001:db8::50 box.example.org\n")
    server = serve(memory_network, zone_answers(*ZONE))
    stub = resolver(hosts=str(path))

    async def main() -> None:
        assert await stub.addresses("box") == ["192.0.2.50"]
        assert await stub.addresses("BOX.example.org") == ["2001:db8::50", "192.0.2.50"]
        assert [str(each) for each in await stub.reverse("192.0.2.50")] == ["box.example.org."]
        with pytest.raises(NoDataError):
            await stub.aaaa("box")
        path.write_text("192.0.2.51 box\n")
        os.utime(path, (1, 1))
        await asyncio.sleep(5)
        assert await stub.a("box") == ["192.0.2.51"]

    ask(clock, main)
    assert not server.asked


def test_special_names_never_leave_this_host(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 6761 §6.3, §6.4; RFC 7686 §2; RFC 6762 §3."""
    server = serve(memory_network, zone_answers(*ZONE))
    stub = resolver()

    async def main() -> None:
        assert await stub.addresses("localhost") == ["::1", "127.0.0.1"]
        assert await stub.addresses("app.LOCALHOST.") == ["::1", "127.0.0.1"]
        assert [str(each) for each in await stub.reverse("127.0.0.1")] == ["localhost."]
        with pytest.raises(NoDataError):
            await stub.mx("localhost")
        for name in ("x.invalid", "abc.onion", "printer.local", "local"):
            with pytest.raises(NoSuchNameError):
                await stub.a(name)

    ask(clock, main)
    assert not server.asked


def test_no_aaaa_leaves_ipv6_to_the_hosts_file(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    """resolv.conf(5): only DNS is not asked for AAAA records."""
    server = serve(memory_network, zone_answers(*ZONE))
    conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    conf.write_text("nameserver 10.0.0.53\noptions no-aaaa\n")
    hosts.write_text("2001:db8::1 box\n")
    stub = StubResolver(resolv_conf=str(conf), hosts=str(hosts))

    async def main() -> None:
        assert await stub.addresses("www.example.org") == ["192.0.2.7"]
        with pytest.raises(NoDataError, match=r"resolv\.conf"):
            await stub.aaaa("www.example.org")
        assert await stub.aaaa("box") == ["2001:db8::1"]

    ask(clock, main)
    assert {each.question.rdtype for each in server.queries} == {1}


@pytest.mark.parametrize(("option", "at_once"), [("single-request", 1), ("rotate", 2)])
def test_single_request_asks_for_one_family_after_the_other(
    option: str, at_once: int, clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    """resolv.conf(5): for servers that take two questions at once amiss."""
    times: list[float] = []

    def slow(query: Message) -> Message | None:
        times.append(clock.time())
        return None if query.question.rdtype == 28 else zone_answers(*ZONE)(query)

    serve(memory_network, slow)
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver 10.0.0.53\noptions attempts:1 {option}\n")
    stub = StubResolver(resolv_conf=str(path), hosts=None)

    assert ask(clock, lambda: stub.addresses("www.example.org")) == ["192.0.2.7"]
    assert times.count(0) == at_once
    assert len(times) == 2


# ── servers ───────────────────────────────────────────────────────────────────


def test_the_next_server_is_asked_when_one_is_silent(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    silent = serve(memory_network, lambda query: None)
    good = serve(memory_network, zone_answers(*ZONE), "10.0.0.54")
    stub = resolver(["10.0.0.53", "10.0.0.54"], timeout=2, cache_size=0)

    ask(clock, lambda: stub.lookup("www.example.org"))
    assert clock.time() == pytest.approx(2)
    # It failed just now, so the other comes first.
    ask(clock, lambda: stub.lookup("www.example.org"))
    assert clock.time() == pytest.approx(2)
    assert (len(silent.asked), len(good.asked)) == (1, 2)
    # After a while it has its turn again.
    clock.advance(5)
    silent.answers = zone_answers(*ZONE)
    ask(clock, lambda: stub.lookup("www.example.org"))
    assert len(silent.asked) == 2


@pytest.mark.parametrize("rcode", [Rcode.SERVFAIL, Rcode.REFUSED])
def test_the_next_server_is_asked_when_one_fails(
    clock: Clock, memory_network: MemoryNetwork, rcode: int
) -> None:
    bad = serve(memory_network, lambda query: query.reply(rcode))
    serve(memory_network, zone_answers(*ZONE), "10.0.0.54")
    stub = resolver(["10.0.0.53", "10.0.0.54"])
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]
    assert len(bad.asked) == 1


def test_an_error_of_all_servers_is_the_answer(clock: Clock, memory_network: MemoryNetwork) -> None:
    servers = [serve(memory_network, lambda query: query.reply(2), f"10.0.0.5{n}") for n in (3, 4)]
    stub = resolver(["10.0.0.53", "10.0.0.54"])
    with pytest.raises(ResponseError, match="SERVFAIL") as caught:
        ask(clock, lambda: stub.a("www.example.org"))
    assert caught.value.rcode == Rcode.SERVFAIL
    assert [len(each.asked) for each in servers] == [1, 1]


def test_an_outage_fails_in_time_and_keeps_nothing(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Fault-8: five seconds per try, and a limit over all tries."""
    for host in ("10.0.0.53", "10.0.0.54"):
        serve(memory_network, lambda query: None, host)
    stub = resolver(["10.0.0.53", "10.0.0.54"])

    with pytest.raises(LookupTimeoutError):
        ask(clock, lambda: stub.a("www.example.org"))

    assert clock.time() <= 15
    assert not memory_network.client.sockets
    assert clock.next_timer() is None


def test_servers_take_turns_where_that_is_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    hosts = [f"10.0.0.5{number}" for number in range(3, 6)]
    servers = [serve(memory_network, zone_answers(*ZONE), host) for host in hosts]
    stub = resolver(hosts, rotate=True, cache_size=0)
    for _ in range(6):
        ask(clock, lambda: stub.a("www.example.org"))
    assert [len(each.asked) for each in servers] == [2, 2, 2]


def test_a_cut_answer_is_asked_for_over_tcp(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = serve(
        memory_network, lambda query: query.reply(flags=TC), over_tcp=zone_answers(*ZONE)
    )
    stub = resolver()

    async def main() -> None:
        async with stub:
            assert await stub.a("www.example.org") == ["192.0.2.7"]

    ask(clock, main)
    assert server.ways == ["udp", "tcp"]


def test_no_server_at_all_is_a_mistake() -> None:
    with pytest.raises(DNSUsageError):
        StubResolver([])


# ── cache ─────────────────────────────────────────────────────────────────────


def test_answers_are_kept_as_long_as_they_say(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = serve(memory_network, zone_answers(*ZONE))
    stub = resolver()
    ask(clock, lambda: stub.a("www.example.org"))
    clock.advance(500)
    assert ask(clock, lambda: stub.lookup("WWW.example.org")).ttl == 100
    assert len(server.asked) == 1
    clock.advance(101)
    assert ask(clock, lambda: stub.lookup("www.example.org")).ttl == 600
    assert len(server.asked) == 2


def test_nothing_is_kept_for_more_than_a_day(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = serve(memory_network, zone_answers("www.example.org 2000000000 A 192.0.2.7"))
    stub = resolver()
    assert ask(clock, lambda: stub.lookup("www.example.org")).ttl == 86400
    clock.advance(86401)
    ask(clock, lambda: stub.lookup("www.example.org"))
    assert len(server.asked) == 2


def test_absence_is_kept_by_what_the_soa_says(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 2308 §5: the lesser of the SOA's TTL and its minimum; without a SOA not at all."""
    server = serve(memory_network, zone_answers(soa=SOA))
    stub = resolver()

    def look() -> None:
        with pytest.raises(NoSuchNameError):
            ask(clock, lambda: stub.a("none.example.org"))

    look()
    clock.advance(299)
    look()
    assert len(server.asked) == 1
    clock.advance(2)
    look()
    assert len(server.asked) == 2
    server.answers = zone_answers()
    clock.advance(400)
    look()
    look()
    assert len(server.asked) == 4


def test_no_more_answers_are_kept_than_allowed(clock: Clock, memory_network: MemoryNetwork) -> None:
    names = [f"n{number}.example 600 A 192.0.2.1" for number in range(9)]
    server = serve(memory_network, zone_answers(*names))
    stub = resolver(cache_size=3)
    for number in [0, 1, 2, 0, 3, 0]:
        ask(clock, lambda number=number: stub.a(f"n{number}.example"))  # type: ignore[misc]
    assert len(server.asked) == 4
    ask(clock, lambda: stub.a("n1.example"))
    assert len(server.asked) == 5
    stub.forget()
    ask(clock, lambda: stub.a("n0.example"))
    assert len(server.asked) == 6


def test_the_same_question_is_asked_once_at_a_time(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 5452 §5: many questions alike make a forged answer likelier (dns-8)."""
    server = serve(memory_network, zone_answers(*ZONE))
    stub = resolver(cache_size=0)

    async def main() -> None:
        found = await asyncio.gather(*[stub.a("www.example.org") for _ in range(50)])
        assert found == [["192.0.2.7"]] * 50

    ask(clock, main)
    assert len(server.asked) == 1


def test_one_of_several_may_give_up_and_the_last_ends_the_question(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(memory_network, lambda query: None)
    stub = resolver()

    async def main() -> None:
        first, second = (asyncio.ensure_future(stub.a("www.example.org")) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(0.1)
        assert len(memory_network.client.sockets) == 1
        assert not second.done()
        second.cancel()
        await asyncio.sleep(0.1)
        assert not memory_network.client.sockets
        for each in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await each

    ask(clock, main)


# ── aliases ───────────────────────────────────────────────────────────────────


def test_aliases_that_leave_the_zone_are_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """A server that knows its own zone alone answers with the alias."""
    known = authoritative(zone_answers(*ZONE, "far.example 30 CNAME www.example.org."))

    def only_near(query: Message) -> Message:
        reply = known(query)
        if str(query.question.name) == "far.example.":
            reply.answers = reply.answers[:1]
        return reply

    server = serve(memory_network, only_near)
    stub = resolver()
    found = ask(clock, lambda: stub.lookup("far.example"))
    assert str(found.canonical_name) == "www.example.org."
    assert found.ttl == 30
    assert len(server.asked) == 2


@pytest.mark.parametrize("together", [True, False])
def test_loops_and_long_chains_of_aliases_end(
    clock: Clock, memory_network: MemoryNetwork, together: bool
) -> None:
    """Dns-10: eleven at most, each once, whether they come together or one by one."""

    def endless(query: Message) -> Message:
        reply = query.reply()
        first = int(query.question.name.labels[0])
        for number in range(first, first + (100 if together else 1)):
            reply.answers.append(record(f"{number}.example 60 CNAME {number + 1}.example."))
        return reply

    server = serve(memory_network, endless)
    stub = resolver()
    with pytest.raises(ResponseError, match="lead nowhere"):
        ask(clock, lambda: stub.a("1.example"))
    assert len(server.asked) <= 12
    server.answers = to_itself
    with pytest.raises(ResponseError, match="lead nowhere"):
        ask(clock, lambda: stub.a("a.example"))


def to_itself(query: Message) -> Message:
    reply = query.reply()
    reply.answers.append(record("a.example 60 CNAME a.example."))
    return reply


def silent(query: Message) -> None:
    del query


def test_records_that_were_not_asked_for_are_not_looked_at(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Dns-9: what stands beside the way from the question to its end counts for nothing."""
    extra = record("bank.example 60 A 203.0.113.66")

    def generous(query: Message) -> Message:
        reply = zone_answers(*ZONE)(query)
        reply.answers.append(extra)
        reply.additional.append(extra)
        return reply

    server = serve(memory_network, generous)
    stub = resolver()
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]
    with pytest.raises(LookupTimeoutError):
        server.answers = silent
        ask(clock, lambda: stub.a("bank.example"))


# ── what is believed ──────────────────────────────────────────────────────────


def test_the_servers_word_counts_only_where_it_is_trusted(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    def authentic(query: Message) -> Message:
        reply = zone_answers(*ZONE)(query)
        reply.flags |= AD
        return reply

    server = serve(memory_network, authentic)
    doubting, trusting = resolver(), resolver(trust_ad=True)
    assert not ask(clock, lambda: doubting.lookup("www.example.org")).authenticated
    assert ask(clock, lambda: trusting.lookup("www.example.org")).authenticated
    assert [bool(each.flags & AD) for each in server.queries] == [False, True]


class FakeValidator:
    """Finds what it is told to, and fetches a key."""

    def __init__(self, security: Security) -> None:
        self.security = security

    async def validate(self, message: Message, question: Question, fetch: Any) -> Verdict:
        await fetch(Name("example.org"), 48)
        return Verdict(self.security, info_code=9, reason="signatures of another key")


def test_a_validator_decides_where_there_is_one(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, zone_answers(*ZONE))
    secure = resolver(validator=FakeValidator(Security.SECURE))
    assert ask(clock, lambda: secure.lookup("www.example.org")).authenticated
    assert [each.question.rdtype for each in server.queries] == [1, 48]
    for each in server.queries:
        assert each.flags & CD
        assert each.edns is not None
        assert each.edns.dnssec_ok
    insecure = resolver(validator=FakeValidator(Security.INSECURE))
    assert not ask(clock, lambda: insecure.lookup("www.example.org")).authenticated
    bogus = resolver(validator=FakeValidator(Security.BOGUS))
    with pytest.raises(ValidationError, match="another key") as told:
        ask(clock, lambda: bogus.lookup("www.example.org"))
    assert told.value.info_code == 9
