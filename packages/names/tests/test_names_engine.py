"""The server's engines: messages of a connection, and datagrams."""

from __future__ import annotations

from typing import Any

import pytest

from sennit.core.address import DatagramPath
from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, PeerFault
from sennit.core.testing.engines import assert_no_io, engine_suite
from sennit.names.codes import Rcode
from sennit.names.engine import DatagramServerEngine, StreamServerEngine
from sennit.names.errors import DNSUsageError
from sennit.names.events import DatagramQuery, StreamQuery
from sennit.names.limits import ServerLimits
from sennit.names.message import QR, TC, Message


def query(name: str = "example.org", number: int = 1) -> bytes:
    return Message.query(name, id=number).to_wire()


def framed(*wires: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in wires)


def answer(engine: Any, event: Any) -> None:
    engine.send_answer(event.exchange, event.wire)


TestStream = engine_suite(
    StreamServerEngine,
    conversations=[
        framed(query()),
        framed(query(), query("a.example", 2), query("b.example", 3)),
        framed(*[query(f"n{n}.example", n) for n in range(40)]),
        framed(query()) + b"\0",
    ],
    answer=answer,
    tokens=[
        b"\0\0",
        b"\0\x0c",
        b"\0\x0c" + bytes(12),
        framed(bytes(11)),
        framed(bytes(2) + b"\x80" + bytes(9)),
    ],
    endless=[b"\xff", b"\0\5abcde"],
    limit=70_000,
    in_order=False,
)


def next_query(engine: StreamServerEngine) -> StreamQuery:
    event = engine.next_event()
    assert isinstance(event, StreamQuery)
    return event


def test_queries_are_answered_in_the_order_of_their_answers() -> None:
    """RFC 7766 §6.2.1.1: the second may be answered first."""
    engine = StreamServerEngine()
    engine.receive_data(framed(query("a.", 1), query("b.", 2)))
    first, second = next_query(engine), next_query(engine)

    engine.send_answer(second.exchange, b"two")
    engine.send_answer(first.exchange, b"one")

    assert engine.next_event() is NEED_DATA
    assert engine.data_to_send() == [b"\0\3two\0\3one"]
    assert engine.data_to_send() == []


def test_an_answer_may_have_several_messages() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query()))
    event = next_query(engine)

    engine.send_part(event.exchange, b"one")
    engine.send_part(event.exchange, b"two")
    engine.drop(event.exchange)

    assert engine.data_to_send() == [b"\0\3one\0\3two"]
    assert engine.in_flight == 0


def test_a_message_without_a_header_ends_the_connection() -> None:
    """HARDENING dns-7: length 0, and every other one that holds no header."""
    for size in (0, 1, 11):
        engine = StreamServerEngine()
        engine.receive_data(framed(bytes(size)) + framed(query()))

        event = engine.next_event()

        assert isinstance(event, PeerFault)
        assert engine.next_event() is CLOSED


def test_what_was_asked_before_a_fault_is_answered() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query()) + b"\0\0")
    event = next_query(engine)

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is PAUSED
    engine.send_answer(event.exchange, b"x")
    assert engine.next_event() is CLOSED


def test_a_response_ends_the_connection() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(Message(1, QR).to_wire()))

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED


def test_no_more_than_32_queries_are_worked_on() -> None:
    """HARDENING dns-7."""
    engine = StreamServerEngine()
    engine.receive_data(framed(*[query()] * 33))
    events = [next_query(engine) for _ in range(32)]

    assert engine.next_event() is PAUSED
    engine.send_answer(events[5].exchange, b"")
    assert isinstance(engine.next_event(), StreamQuery)
    assert engine.next_event() is PAUSED


def test_a_message_has_ten_seconds_from_its_first_octet() -> None:
    """HARDENING dns-7: octets that dribble renew nothing."""
    engine = StreamServerEngine()
    engine.handle_timeout(100.0)
    wire = framed(query())
    for n in range(10):
        engine.handle_timeout(100.0 + n)
        engine.receive_data(wire[n : n + 1])
        assert engine.next_event() is NEED_DATA
    assert engine.next_timeout() == 110.0

    engine.handle_timeout(110.0)

    event = engine.next_event()
    assert isinstance(event, PeerFault)
    assert event.error.rule == "limit:message-time"
    assert engine.next_event() is CLOSED
    assert engine.next_timeout() is None


def test_a_connection_that_idles_is_ended_and_one_at_work_is_not() -> None:
    engine = StreamServerEngine(ServerLimits(idle=5))
    engine.handle_timeout(0.0)
    assert engine.next_timeout() == 5.0
    engine.handle_timeout(4.0)
    engine.receive_data(framed(query()))
    event = next_query(engine)
    assert engine.next_event() is NEED_DATA
    assert engine.next_timeout() is None
    engine.handle_timeout(50.0)
    engine.send_answer(event.exchange, b"late")

    # Nobody told when that was: it wants to be told at once, and may idle from then on.
    assert engine.next_timeout() == 50.0
    engine.handle_timeout(60.0)
    assert engine.next_event() is NEED_DATA
    assert engine.next_timeout() == 65.0
    engine.handle_timeout(65.0)
    assert engine.next_event() is CLOSED


def test_a_connection_idles_from_its_last_query_on_where_that_was_answered_at_once() -> None:
    engine = StreamServerEngine(ServerLimits(idle=5))
    engine.handle_timeout(4.0)
    engine.receive_data(framed(query()))
    engine.send_answer(next_query(engine).exchange, b"at once")
    assert engine.next_event() is NEED_DATA
    assert engine.next_timeout() == 9.0
    engine.handle_timeout(9.0)
    assert engine.next_event() is CLOSED


def test_the_end_of_the_clients_octets_leaves_time_for_answers() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query()) + b"\0")
    engine.receive_eof()
    event = next_query(engine)

    assert engine.next_event() is PAUSED
    engine.send_answer(event.exchange, b"x")
    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"\0\1x"]


def test_closing_takes_no_more_queries() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query(), query()))
    event = next_query(engine)
    engine.close()
    engine.receive_data(framed(query()))

    assert engine.next_event() is PAUSED
    engine.drop(event.exchange)
    assert engine.next_event() is CLOSED


def test_what_fails_is_servfail_once() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query(number=0x1234)))
    event = next_query(engine)

    engine.internal_error(event.exchange)
    engine.internal_error(event.exchange)

    (sent,) = engine.data_to_send()
    reply = Message.from_wire(sent[2:])
    assert (reply.id, reply.rcode) == (0x1234, Rcode.SERVFAIL)


def test_a_query_is_answered_once_and_not_too_long() -> None:
    engine = StreamServerEngine()
    engine.receive_data(framed(query()))
    event = next_query(engine)

    with pytest.raises(DNSUsageError, match="65535"):
        engine.send_answer(event.exchange, bytes(65_536))
    engine.send_answer(event.exchange, b"")
    with pytest.raises(DNSUsageError, match="no query 1"):
        engine.send_answer(event.exchange, b"")
    with pytest.raises(DNSUsageError):
        engine.send_part(99, b"")


# ── datagrams ─────────────────────────────────────────────────────────────────

PATH = DatagramPath(("192.0.2.1", 4444))


def test_each_datagram_is_a_query_and_its_answer_goes_back() -> None:
    engine = DatagramServerEngine()
    other = DatagramPath(("192.0.2.2", 4444))
    engine.receive_datagram(query("a."), PATH)
    engine.receive_datagram(query("b."), other)
    first, second = engine.next_event(), engine.next_event()
    assert isinstance(first, DatagramQuery)
    assert isinstance(second, DatagramQuery)
    assert engine.next_event() is NEED_DATA

    engine.send_answer(second.exchange, b"two")
    engine.internal_error(first.exchange)
    engine.internal_error(first.exchange)

    (two, to_two), (one, to_one) = engine.datagrams_to_send()
    assert (two, to_two, to_one) == (b"two", other, PATH)
    assert Message.from_wire(bytes(one)).rcode == Rcode.SERVFAIL
    assert "DatagramQuery 1: " in repr(first)


@pytest.mark.parametrize("port", [0, 7, 19, 5300])
def test_ports_that_no_client_asks_from_are_dropped(port: int) -> None:
    """HARDENING dns-4: an answer would begin a loop."""
    engine = DatagramServerEngine(5300)
    engine.receive_datagram(query(), DatagramPath(("192.0.2.1", port)))

    assert engine.next_event() is NEED_DATA
    assert engine.drops == {"port": 1}


def test_what_is_no_query_is_dropped() -> None:
    """HARDENING dns-4."""
    engine = DatagramServerEngine()
    engine.receive_datagram(Message(1, QR | TC).to_wire(), PATH)
    engine.receive_datagram(bytes(11), PATH)
    engine.receive_datagram(b"", PATH)

    assert engine.next_event() is NEED_DATA
    assert engine.drops == {"response": 1, "short": 2}


def test_closing_answers_what_is_under_way() -> None:
    engine = DatagramServerEngine()
    engine.receive_datagram(query(), PATH)
    event = engine.next_event()
    assert isinstance(event, DatagramQuery)
    engine.close()
    engine.receive_datagram(query(), PATH)

    assert engine.next_event() is NEED_DATA
    engine.drop(event.exchange)
    assert engine.next_event() is CLOSED
    with pytest.raises(DNSUsageError):
        engine.send_answer(event.exchange, b"")


@pytest.mark.parametrize("module", ["engine", "events", "limits", "serving.queries"])
def test_engines_bring_no_io(module: str) -> None:
    assert_no_io(f"sennit.names.{module}")
