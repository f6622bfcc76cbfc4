"""The stub resolver among servers that cut, forge, fall silent or contradict themselves."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from packages.names.tests.client_servers import record, serve, zone_answers
from sennit.names.client.stub import FAILURE_TTL, MAX_AT_ONCE, StubResolver
from sennit.names.codes import EDE, Rcode
from sennit.names.dnssec.verdict import Link, Security, Verdict
from sennit.names.errors import (
    LookupTimeoutError,
    ResponseError,
    UnreachableError,
    ValidationError,
)
from sennit.names.message import RA, TC, Message, Question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

ZONE = ("www.example.org 600 A 192.0.2.7",)


def ask(clock: Clock, fn: Callable[[], Awaitable[Any]]) -> Any:
    return clock.run(lambda _: fn())


def cut(query: Message) -> Message:
    """An answer of which nothing has come."""
    return query.reply(flags=RA | TC)


def one_address(query: Message) -> Message:
    """Each name has one."""
    return zone_answers(f"{query.question.name} 60 A 192.0.2.1")(query)


def test_half_an_answer_is_none_over_tcp_either(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 2181 §9: a name is not without records because a server cuts them off."""
    bad = serve(memory_network, cut)
    stub = StubResolver(["10.0.0.53", "10.0.0.54"], hosts=None)
    serve(memory_network, zone_answers(*ZONE), "10.0.0.54")
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]
    assert bad.ways == ["udp", "tcp"]

    alone = StubResolver(["10.0.0.53"], hosts=None)
    with pytest.raises(UnreachableError, match="cuts answers"):
        ask(clock, lambda: alone.a("www.example.org"))
    assert len(bad.asked) == 6


def test_what_is_no_answer_is_a_failed_look_up(clock: Clock, memory_network: MemoryNetwork) -> None:
    """Whoever catches `LookupFailedError` catches it; the stream's fault is its cause."""
    serve(memory_network, lambda query: query.to_wire()[:2] + b"\x80\0\0\7")
    stub = StubResolver(["tcp://10.0.0.53"], hosts=None)
    with pytest.raises(UnreachableError, match="no server gives what is an answer"):
        ask(clock, lambda: stub.a("www.example.org"))


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_a_server_that_refuses_edns_is_asked_without_it_by_either_way(
    way: str, clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 6891 §7."""

    def old(query: Message) -> Message:
        if query.edns is None:
            return zone_answers(*ZONE)(query)
        reply = query.reply(Rcode.FORMERR)
        reply.edns = None
        return reply

    server = serve(memory_network, old)
    stub = StubResolver([f"{way}://10.0.0.53"], hosts=None, cache_size=0)
    for _ in range(2):
        assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]
    assert [each.edns is None for each in server.queries] == [False, True, True]


def test_thousands_of_look_ups_at_once_have_few_sockets(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    most = 0

    def answer(query: Message) -> Message:
        nonlocal most
        most = max(most, len(memory_network.client.sockets))
        return one_address(query)

    serve(memory_network, answer)
    stub = StubResolver(["10.0.0.53"], hosts=None)

    async def main() -> None:
        found = await asyncio.gather(*[stub.a(f"n{n}.example.org") for n in range(1000)])
        assert found == [["192.0.2.1"]] * 1000

    ask(clock, main)
    assert 1 < most <= MAX_AT_ONCE


def test_one_silence_of_many_questions_at_once_counts_once(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, lambda query: None)
    serve(memory_network, one_address, "10.0.0.54")
    stub = StubResolver(["10.0.0.53", "10.0.0.54"], hosts=None, timeout=2)

    async def many() -> None:
        await asyncio.gather(*[stub.a(f"n{n}.example.org") for n in range(20)])

    ask(clock, many)
    server.asked.clear()
    server.answers = one_address
    clock.advance(1.5)  # the first back-off is a second
    ask(clock, lambda: stub.a("again.example.org"))
    assert len(server.asked) == 1


def test_failures_are_kept_for_a_few_seconds(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 9520 §3.2."""
    server = serve(memory_network, lambda query: query.reply(Rcode.SERVFAIL))
    stub = StubResolver(["10.0.0.53"], hosts=None)
    for _ in range(3):
        with pytest.raises(ResponseError, match="SERVFAIL"):
            ask(clock, lambda: stub.a("www.example.org"))
    assert len(server.asked) == 1
    server.answers = zone_answers(*ZONE)
    clock.advance(FAILURE_TTL)
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]


class Validator:
    """Finds what it is told to."""

    def __init__(self, security: Security, ttl: int = 0) -> None:
        self.security = security
        self.ttl = ttl
        self.times = 0

    async def validate(self, message: Message, question: Question, fetch: Any) -> Verdict:
        self.times += 1
        link = Link(question.name, question.rdtype, self.security, self.ttl)
        return Verdict(self.security, [link], info_code=EDE.DNSSEC_BOGUS, reason="no key")


def test_a_validated_answer_is_kept_no_longer_than_its_signatures_are_good(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 4035 §5.3.3."""
    server = serve(memory_network, zone_answers(*ZONE))
    validator = Validator(Security.SECURE, 30)
    stub = StubResolver(["10.0.0.53"], hosts=None, validator=validator)
    for seconds, times in ((0, 1), (29, 1), (1, 2)):
        clock.advance(seconds)
        assert ask(clock, lambda: stub.lookup("www.example.org")).authenticated
        assert len(server.asked) == validator.times == times


def test_a_bogus_answer_is_kept_as_one_for_a_few_seconds(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 9520 §2.5, RFC 4035 §4.7."""
    server = serve(memory_network, zone_answers(*ZONE))
    validator = Validator(Security.BOGUS)
    stub = StubResolver(["10.0.0.53"], hosts=None, validator=validator)
    for _ in range(3):
        with pytest.raises(ValidationError, match="no key") as caught:
            ask(clock, lambda: stub.query("www.example.org"))
        assert caught.value.info_code == EDE.DNSSEC_BOGUS
    assert len(server.asked) == 1
    validator.security, validator.ttl = Security.SECURE, 60
    clock.advance(FAILURE_TTL)
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]


def test_sixty_five_thousand_ids_against_one_question_are_not_believed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING dns-8: whichever of them fits is among those that come after the twentieth."""
    forged = record("www.example.org 600 A 203.0.113.66")

    def flood(query: Message) -> list[Message | bytes]:
        reply = query.reply(flags=RA)
        reply.answers = [forged]
        rest = reply.to_wire()[2:]
        # In the order of a forger who does not know the id, the right one last.
        return [((query.id + n) & 0xFFFF).to_bytes(2, "big") + rest for n in range(1, 0x10001)]

    server = serve(memory_network, flood, over_tcp=zone_answers(*ZONE))
    stub = StubResolver(["10.0.0.53"], hosts=None)
    assert ask(clock, lambda: stub.a("www.example.org")) == ["192.0.2.7"]
    assert server.ways == ["udp", "tcp"]


def test_a_question_given_up_leaves_nothing_open(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(memory_network, lambda query: None)

    async def main(server: str) -> None:
        async with StubResolver([server], hosts=None) as stub:
            asking = [asyncio.ensure_future(stub.a(f"n{n}.example.org")) for n in range(300)]
            await asyncio.sleep(1)
            for each in asking:
                each.cancel()
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(each) for each in results} == {asyncio.CancelledError}
            with pytest.raises(LookupTimeoutError):
                await stub.a("other.example.org")  # its turn comes

    for server in ("10.0.0.53", "tcp://10.0.0.53"):
        ask(clock, lambda server=server: main(server))  # type: ignore[misc]
        assert not memory_network.client.sockets
        assert clock.next_timer() is None


def test_connections_to_servers_that_left_the_file_are_closed_too(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    for host in ("10.0.0.53", "10.0.0.54"):
        serve(memory_network, zone_answers(*ZONE), host)
    path = tmp_path / "resolv.conf"

    async def main() -> None:
        async with StubResolver(resolv_conf=str(path), hosts=None, cache_size=0) as stub:
            for host in ("10.0.0.53", "10.0.0.54", "10.0.0.53", "10.0.0.54"):
                path.write_text(f"options use-vc\nnameserver {host}\n")
                # The new file may have the number, size and time of the old one.
                os.utime(path, ns=(0, next(stamps)))
                await asyncio.sleep(1)
                assert await stub.a("www.example.org") == ["192.0.2.7"]

    stamps = iter(range(10**9, 10**10, 10**9))
    ask(clock, main)
    assert clock.next_timer() is None  # none that would let go of an idle connection
