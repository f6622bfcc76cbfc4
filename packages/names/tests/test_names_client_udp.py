"""One question over UDP: what is taken for its answer, and what is not (HARDENING dns-8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import ConnectionLost
from sennit.names.client.udp import MAX_BAD, exchange_udp
from sennit.names.errors import (
    DNSUsageError,
    LookupTimeoutError,
    SpoofedError,
    UnreachableError,
)
from sennit.names.message import QR, TC, Message, Record
from sennit.names.rdata.address import A

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.hosts import Host
    from sennit.core.testing.network import MemoryNetwork

SERVER = ("10.0.0.53", 53)
QUERY = Message.query("www.example.org")


def answer_to(query: Message) -> Message:
    answer = query.reply()
    answer.answers.append(Record(query.question.name, 1, 60, A("192.0.2.7")))
    return answer


class Nameserver:
    """Answers each query by what a function makes of it: a list of datagrams."""

    def __init__(self, answers: Callable[[Message], list[bytes]]) -> None:
        self.answers = answers
        self.asked: list[tuple[Message, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        query = Message.from_wire(data)
        self.asked.append((query, peer))
        for each in self.answers(query):
            self.transport.sendto(each, peer)

    def error_received(self, exc: OSError) -> None:
        """The client has gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The test is over."""

    def pause_writing(self) -> None:
        """Never."""

    def resume_writing(self) -> None:
        """Never."""


def start(network: MemoryNetwork, answers: Callable[[Message], list[bytes]]) -> Nameserver:
    server = Nameserver(answers)
    host = network.host(SERVER[0])
    host.run(network.listen_udp, lambda: server, SERVER[1], SERVER[0])
    return server


def sockets_of(host: Host) -> int:
    return len(host.sockets)


def test_an_answer_comes_back_with_what_it_says(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    start(memory_network, lambda query: [answer_to(query).to_wire()])

    answer = clock.run(lambda _: exchange_udp(QUERY, SERVER))

    assert [str(each) for each in answer.answers] == ["www.example.org. 60 IN A 192.0.2.7"]
    assert sockets_of(memory_network.client) == 0


def test_a_cut_answer_is_an_answer_too(clock: Clock, memory_network: MemoryNetwork) -> None:
    start(memory_network, lambda query: [query.reply(flags=TC).to_wire()])

    assert clock.run(lambda _: exchange_udp(QUERY, SERVER)).flags & TC


def test_each_question_has_a_port_and_an_id_of_its_own(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = start(memory_network, lambda query: [answer_to(query).to_wire()])
    for _ in range(40):
        clock.run(lambda _: exchange_udp(QUERY, SERVER))

    ports = {peer[1] for _, peer in server.asked}
    ids = {query.id for query, _ in server.asked}
    # Of 40 drawn from 64 000 more than one pair alike happens once in 6 000 runs.
    assert len(ports) >= 38
    assert len(ids) >= 38
    assert min(ports) >= 1024


@pytest.mark.parametrize("what", ["id", "question", "type", "query", "octets", "opcode"])
def test_what_is_no_answer_is_dropped_and_the_wait_goes_on(
    clock: Clock, memory_network: MemoryNetwork, what: str
) -> None:
    """RFC 5452 §9.1: id, question, class and type must be the question's."""

    def answers(query: Message) -> list[bytes]:
        forged = answer_to(query)
        forged.answers[0] = Record(query.question.name, 1, 60, A("203.0.113.66"))
        if what == "id":
            forged.id ^= 1
        elif what == "question":
            forged.questions = Message.query("www.example.net").questions
        elif what == "type":
            forged.questions = Message.query("www.example.org", 28).questions
        elif what == "query":
            forged.flags &= ~QR
        elif what == "opcode":
            forged.opcode = 4
        wire = forged.to_wire()
        return [wire[:-3] if what == "octets" else wire, answer_to(query).to_wire()]

    start(memory_network, answers)

    answer = clock.run(lambda _: exchange_udp(QUERY, SERVER))

    assert str(answer.answers[0].rdata) == "192.0.2.7"


def test_answers_from_another_address_or_port_are_never_seen(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    stranger = memory_network.host("10.0.0.66")
    sender = Nameserver(lambda query: [])
    stranger.run(memory_network.listen_udp, lambda: sender, 53, "10.0.0.66")
    aside = Nameserver(lambda query: [])
    memory_network.host(SERVER[0]).run(memory_network.listen_udp, lambda: aside, 5353, SERVER[0])

    server = start(memory_network, lambda query: [])

    async def main(clock: Clock) -> Message:
        asking = asyncio.ensure_future(exchange_udp(QUERY, SERVER))
        while not server.asked:
            await asyncio.sleep(0.001)
        query, peer = server.asked[0]
        forged = answer_to(query)
        forged.answers[0] = Record(query.question.name, 1, 60, A("203.0.113.66"))
        sender.transport.sendto(forged.to_wire(), peer)
        aside.transport.sendto(forged.to_wire(), peer)
        await asyncio.sleep(0.1)
        assert not asking.done()
        server.transport.sendto(answer_to(query).to_wire(), peer)
        return await asking

    assert str(clock.run(main).answers[0].rdata) == "192.0.2.7"


def test_all_ids_in_turn_fail_after_twenty(clock: Clock, memory_network: MemoryNetwork) -> None:
    """65 536 guesses against one question: the caller goes over TCP instead (dns-8)."""

    def answers(query: Message) -> list[bytes]:
        wire = answer_to(query).to_wire()[2:]
        return [(query.id + offset & 0xFFFF).to_bytes(2, "big") + wire for offset in range(1, 2000)]

    start(memory_network, answers)

    with pytest.raises(SpoofedError, match=f"{MAX_BAD} answers"):
        clock.run(lambda _: exchange_udp(QUERY, SERVER))
    assert sockets_of(memory_network.client) == 0


def test_the_case_of_letters_counts_where_that_is_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    def answers(query: Message) -> list[bytes]:
        lower = answer_to(query)
        lower.questions = QUERY.questions
        return [lower.to_wire(), answer_to(query).to_wire()]

    server = start(memory_network, answers)
    mixed = Message.query("wWw.ExamPle.oRg")

    answer = clock.run(lambda _: exchange_udp(mixed, SERVER, match_case=True))
    assert str(answer.question.name) == "wWw.ExamPle.oRg."
    answer = clock.run(lambda _: exchange_udp(mixed, SERVER))
    assert str(answer.question.name) == "www.example.org."
    assert len(server.asked) == 2


def test_an_error_without_the_question_is_an_answer(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """A server that could not read the query has no question to repeat."""

    def answers(query: Message) -> list[bytes]:
        empty = query.reply()
        empty.questions = []
        refused = query.reply(1)
        refused.questions = []
        return [empty.to_wire(), refused.to_wire()]

    start(memory_network, answers)

    assert clock.run(lambda _: exchange_udp(QUERY, SERVER)).rcode == 1


def test_silence_ends_at_the_time_limit(clock: Clock, memory_network: MemoryNetwork) -> None:
    start(memory_network, lambda query: [])

    with pytest.raises(LookupTimeoutError, match=r"10\.0\.0\.53 port 53 in 2 s"):
        clock.run(lambda _: exchange_udp(QUERY, SERVER, timeout=2))
    assert clock.time() == pytest.approx(2)
    assert sockets_of(memory_network.client) == 0


def test_nobody_there_is_said_at_once(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host(SERVER[0])

    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        clock.run(lambda _: exchange_udp(QUERY, SERVER))
    assert isinstance(caught.value.__cause__, OSError)
    assert clock.time() < 1


def test_a_look_up_that_is_given_up_releases_its_socket(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    start(memory_network, lambda query: [])

    async def main(clock: Clock) -> None:
        asking = asyncio.ensure_future(exchange_udp(QUERY, SERVER))
        await asyncio.sleep(0.5)
        assert sockets_of(memory_network.client) == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    clock.run(main)
    assert sockets_of(memory_network.client) == 0
    assert clock.next_timer() is None


def test_a_server_is_an_address_in_digits(clock: Clock, memory_network: MemoryNetwork) -> None:
    with pytest.raises(DNSUsageError, match="in digits"):
        clock.run(lambda _: exchange_udp(QUERY, ("dns.example", 53)))


def test_the_message_asked_with_stays_as_it_was(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    start(memory_network, lambda query: [answer_to(query).to_wire()])
    query = Message.query("www.example.org", id=7)

    clock.run(lambda _: exchange_udp(query, SERVER))

    assert query.id == 7
    assert not issubclass(UnreachableError, ConnectionLost)
