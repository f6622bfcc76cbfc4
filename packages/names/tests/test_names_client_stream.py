"""Questions over one connection: pipelined, answered in any order, asked again where it ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.engine import CLOSED, NEED_DATA, PeerFault
from sennit.core.framing.prefix import PrefixProtocol
from sennit.core.testing.engines import engine_suite
from sennit.names.client.stream import StreamClient, TLSProfile
from sennit.names.client_engine import (
    MAX_BAD,
    MAX_GIVEN_UP,
    Answered,
    Finished,
    Part,
    Query,
    StreamEngine,
)
from sennit.names.codes import RRType
from sennit.names.edns import EDNS, Option
from sennit.names.errors import (
    DNSUsageError,
    LookupTimeoutError,
    MessageFormatError,
    UnreachableError,
)
from sennit.names.message import Message, Record
from sennit.names.rdata.address import A

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

SERVER = ("10.0.0.53", 53)


def query(name: str = "www.example.org", **options: Any) -> Query:
    return Query(Message.query(name), **options)


def answer_to(message: Message, address: str = "192.0.2.7") -> Message:
    answer = message.reply()
    answer.answers.append(Record(message.question.name, 1, 60, A(address)))
    return answer


def framed(*messages: Message | bytes) -> bytes:
    wires = [each if isinstance(each, bytes) else each.to_wire() for each in messages]
    return b"".join(len(each).to_bytes(2, "big") + each for each in wires)


def sent(engine: StreamEngine) -> list[Message]:
    whole = b"".join(engine.data_to_send())
    found: list[Message] = []
    while whole:
        size = int.from_bytes(whole[:2], "big")
        found.append(Message.from_wire(whole[2 : 2 + size]))
        whole = whole[2 + size :]
    return found


# ── the engine ────────────────────────────────────────────────────────────────


def test_answers_are_told_apart_by_id_in_whatever_order_they_come() -> None:
    """RFC 7766 §7: responses may come out of order."""
    engine = StreamEngine()
    first = engine.send_command(query("a.example", number=1))
    second = engine.send_command(query("b.example", number=2))
    one, two = sent(engine)

    engine.receive_data(framed(answer_to(two), answer_to(one)))

    events = [engine.next_event(), engine.next_event()]
    assert [each.exchange for each in events if isinstance(each, Answered)] == [second, first]
    assert engine.next_event() is NEED_DATA
    assert engine.in_flight == 0


def test_an_id_that_is_taken_gives_way_to_the_next() -> None:
    engine = StreamEngine()
    for _ in range(3):
        engine.send_command(query(number=0xFFFF))
    assert [each.id for each in sent(engine)] == [0xFFFF, 0, 1]


def test_no_more_than_so_many_questions_wait_for_answers() -> None:
    engine = StreamEngine(max_in_flight=2)
    assert engine.can_send(query())
    engine.send_command(query(number=1))
    engine.send_command(query(number=2))
    assert not engine.can_send(query())


def test_an_answer_to_another_question_is_a_fault_of_its_exchange() -> None:
    engine = StreamEngine()
    exchange = engine.send_command(query(number=5))
    other = answer_to(Message.query("other.example", id=5))

    engine.receive_data(framed(other))

    fault = engine.next_event()
    assert isinstance(fault, PeerFault)
    assert fault.exchange == exchange
    assert isinstance(fault.error, MessageFormatError)


def test_the_answer_to_a_question_given_up_is_dropped_and_frees_its_id() -> None:
    engine = StreamEngine()
    exchange = engine.send_command(query(number=5))
    (asked,) = sent(engine)
    engine.cancel(exchange)
    engine.send_command(query(number=5))
    assert [each.id for each in sent(engine)] == [6]

    engine.receive_data(framed(answer_to(asked)))

    assert engine.next_event() is NEED_DATA
    engine.send_command(query(number=5))
    assert [each.id for each in sent(engine)] == [5]


def test_a_connection_on_which_too_much_was_given_up_takes_no_more() -> None:
    engine = StreamEngine()
    for number in range(MAX_GIVEN_UP + 1):
        engine.cancel(engine.send_command(query(number=number)))
    with pytest.raises(DNSUsageError):
        engine.send_command(query())
    assert engine.next_event() is CLOSED


def test_several_messages_are_parts_until_their_reader_says_so() -> None:
    """RFC 5936 §2.2: a transfer is a number of messages, of which later ones need no question."""
    engine = StreamEngine()
    exchange = engine.send_command(
        Query(Message.query("example.org", RRType.AXFR), number=9, several=True)
    )
    (asked,) = sent(engine)
    first, second = asked.reply(), asked.reply()
    second.questions = []

    engine.receive_data(framed(first, second))

    assert isinstance(engine.next_event(), Part)
    assert isinstance(engine.next_event(), Part)
    engine.finish(exchange)
    assert isinstance(engine.next_event(), Finished)
    assert engine.in_flight == 0


def test_messages_that_answer_nothing_end_the_connection_in_the_end() -> None:
    engine = StreamEngine()
    engine.send_command(query(number=1))

    engine.receive_data(framed(*[answer_to(Message.query("x.example", id=7))] * MAX_BAD))

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED


def test_closing_waits_for_what_was_asked() -> None:
    engine = StreamEngine()
    engine.send_command(query(number=1))
    (asked,) = sent(engine)
    engine.close()
    assert engine.next_event() is NEED_DATA
    engine.receive_data(framed(answer_to(asked)))
    assert isinstance(engine.next_event(), Answered)
    assert engine.next_event() is CLOSED


def test_a_message_too_long_to_say_its_length_is_the_callers_fault() -> None:
    with pytest.raises(DNSUsageError, match="65535"):
        Query(Message.query("example.org"), bytes(0x10000))


@given(st.lists(st.binary(max_size=60)), st.data())
def test_no_octets_make_the_engine_raise_and_cuts_change_nothing(
    pieces: list[bytes], data: st.DataObject
) -> None:
    asked = [query(number=0x0101), query(number=0x0202)]
    whole = framed(*(b"\1\1" + each for each in pieces[:3]), *pieces[3:]) + b"".join(pieces)

    def events(cuts: list[bytes]) -> list[str]:
        engine = StreamEngine()
        for each in asked:
            engine.send_command(each)
        found: list[str] = []
        for cut in cuts:
            engine.receive_data(cut)
            while not isinstance(event := engine.next_event(), type(NEED_DATA)):
                found.append(repr(event))
        return found

    at = data.draw(st.integers(0, len(whole)))
    assert events([whole]) == events([whole[:at], whole[at:]])


def asking() -> StreamEngine:
    """An engine that waits for two answers, and for a number of messages."""
    engine = StreamEngine()
    engine.send_command(query("a.example", number=1))
    engine.send_command(query("b.example", number=2))
    transfer = Message.query("example.org", RRType.AXFR)
    engine.send_command(Query(transfer, number=3, several=True))
    engine.data_to_send()
    return engine


_ONE, _TWO, _THREE = (
    framed(answer_to(Message.query(name, id=number)))
    for number, name in enumerate(("a.example", "b.example", "c.example"), 1)
)

TestEngine = engine_suite(
    asking,
    conversations=[_ONE + _TWO, _TWO + _ONE],
    tokens=[_ONE[:2], _ONE[2:14], _THREE, b"\0\0", b"\0\x0c"],
    endless=[_THREE, framed(b"\xff\xff" + bytes(10)), b"\0\0"],
    in_order=False,
)


# ── the client ────────────────────────────────────────────────────────────────


class Server(PrefixProtocol):
    """Answers what is asked by what a function makes of it."""

    width = 2
    max_length = 0xFFFF
    made: ClassVar[list[Server]]
    behaviour: ClassVar[Callable[[Server, Message], None]]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.made.append(self)
        self.asked: list[Message] = []
        self.gone = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def frame_received(self, frame: bytes) -> None:
        message = Message.from_wire(frame)
        self.asked.append(message)
        type(self).behaviour(self, message)

    def say(self, *messages: Message) -> None:
        self.transport.write(framed(*messages))


def start(network: MemoryNetwork, behaviour: Callable[[Server, Message], None]) -> list[Server]:
    connections: list[Server] = []
    host = network.host(SERVER[0])
    kind = type("Here", (Server,), {"made": connections, "behaviour": staticmethod(behaviour)})
    host.run(network.listen_tcp, kind, SERVER[1], SERVER[0])
    return connections


def plain(server: Server, message: Message) -> None:
    server.say(answer_to(message))


def test_one_connection_serves_question_after_question(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, plain)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            for name in ("a.example", "b.example"):
                answer = await client.exchange(Message.query(name))
                assert str(answer.question.name) == name + "."

    clock.run(main)
    assert len(servers) == 1
    assert servers[0].gone


def test_questions_asked_together_share_a_connection_and_wait_for_none(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    waiting: list[Message] = []

    def last_first(server: Server, message: Message) -> None:
        waiting.append(message)
        if len(waiting) == 50:
            server.say(*[answer_to(each) for each in reversed(waiting)])

    servers = start(memory_network, last_first)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            names = [f"n{number}.example." for number in range(50)]
            answers = await asyncio.gather(
                *[client.exchange(Message.query(name)) for name in names]
            )
            assert [str(each.question.name) for each in answers] == names

    clock.run(main)
    assert len(servers) == 1
    assert len({each.id for each in servers[0].asked}) == 50


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 7766 §6.2.4: what was not answered is asked again over a new connection."""

    def once(server: Server, message: Message) -> None:
        if len(server.asked) == 1:
            server.say(answer_to(message))
        else:
            server.transport.abort()

    servers = start(memory_network, once)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            await client.exchange(Message.query("a.example"))
            await client.exchange(Message.query("b.example"))

    clock.run(main)
    assert [len(each.asked) for each in servers] == [2, 1]


def test_a_server_that_closes_without_an_answer_is_not_asked_for_ever(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, lambda server, message: server.transport.close())

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            with pytest.raises(UnreachableError, match="without an answer"):
                await client.exchange(Message.query("a.example"))

    clock.run(main)
    assert len(servers) == 1


def test_a_connection_without_questions_is_let_go(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, plain)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER, idle=3) as client:
            await client.exchange(Message.query("a.example"))
            await asyncio.sleep(2.5)
            await client.exchange(Message.query("b.example"))
            await asyncio.sleep(2.5)
            assert not servers[0].gone
            await asyncio.sleep(1)
            assert servers[0].gone
            await client.exchange(Message.query("c.example"))

    clock.run(main)
    assert [len(each.asked) for each in servers] == [2, 1]


def test_the_server_may_say_how_long_a_connection_is_kept(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 7828 §3.2: in units of 100 ms."""

    def generous(server: Server, message: Message) -> None:
        answer = answer_to(message)
        answer.edns = EDNS(options=[Option(11, (300).to_bytes(2, "big"))])
        server.say(answer)

    servers = start(memory_network, generous)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER, idle=3) as client:
            await client.exchange(Message.query("a.example"))
            await asyncio.sleep(29)
            assert not servers[0].gone
            await asyncio.sleep(2)
            assert servers[0].gone

    clock.run(main)


def test_silence_ends_at_the_time_limit_and_costs_only_its_question(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    def not_a(server: Server, message: Message) -> None:
        if str(message.question.name) != "a.example.":
            server.say(answer_to(message))

    servers = start(memory_network, not_a)

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            with pytest.raises(LookupTimeoutError, match="in 2 s"):
                await client.exchange(Message.query("a.example"), timeout=2)
            await client.exchange(Message.query("b.example"))

    clock.run(main)
    assert len(servers) == 1


def test_nobody_there_is_said_at_once(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host(SERVER[0])

    async def main(_: Clock) -> None:
        async with StreamClient(SERVER) as client:
            with pytest.raises(UnreachableError, match="cannot connect"):
                await client.exchange(Message.query("a.example"))

    clock.run(main)


def test_giving_up_while_connecting_leaves_nothing_behind(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, plain)

    async def main(_: Clock) -> None:
        client = StreamClient(SERVER)
        asking = asyncio.ensure_future(client.exchange(Message.query("a.example")))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(10)
        assert all(each.gone for each in servers)
        await client.exchange(Message.query("b.example"))
        await client.aclose()
        with pytest.raises(DNSUsageError, match="closed"):
            await client.exchange(Message.query("c.example"))

    clock.run(main)


def parted(server: Server, message: Message) -> None:
    for number in range(5):
        server.say(answer_to(message, f"192.0.2.{number}"))


def last(message: Message) -> bool:
    return str(message.answers[0].rdata) == "192.0.2.4"


def test_a_conversation_gives_each_message_and_leaves_the_connection_good(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, parted)

    async def main(clock: Clock) -> None:
        async with StreamClient(SERVER) as client:
            for _ in range(2):
                found = [
                    str(each.answers[0].rdata)
                    async for each in client.converse(
                        Message.query("example.org", RRType.AXFR), until=last
                    )
                ]
                assert found == [f"192.0.2.{number}" for number in range(5)]

    clock.run(main)
    assert len(servers) == 1


def test_leaving_a_conversation_before_its_end_closes_the_connection(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = start(memory_network, parted)

    async def main(clock: Clock) -> None:
        async with StreamClient(SERVER) as client:
            talk = client.converse(Message.query("example.org", RRType.AXFR), until=last)
            async for _ in talk:
                break
            await talk.aclose()
            await asyncio.sleep(0.1)
            assert servers[0].gone

    clock.run(main)


def test_a_conversation_whose_end_does_not_come_ends_in_time(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    start(memory_network, plain)

    async def main(clock: Clock) -> None:
        async with StreamClient(SERVER) as client:
            talk = client.converse(Message.query("example.org", RRType.AXFR), until=last, timeout=3)
            with pytest.raises(LookupTimeoutError):
                async for _ in talk:
                    pass

    clock.run(main)
    assert clock.time() == pytest.approx(3)


def test_profiles_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DNSUsageError, match="32 octets"):
        TLSProfile(pins=[b"short"])
    with pytest.raises(DNSUsageError, match="verifies nothing"):
        TLSProfile("dns.example", opportunistic=True)
