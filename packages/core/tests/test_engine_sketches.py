"""The three sketch engines keep what every engine must keep."""

from __future__ import annotations

import io

import pytest

from packages.core.tests.sketches.mailbox import (
    Append,
    Command,
    Done,
    Idle,
    LiteralEnd,
    MailboxEngine,
)
from packages.core.tests.sketches.multiplex import End, MultiplexEngine, Opened, frame
from packages.core.tests.sketches.room import RoomEngine, Said
from sennit.core.engine import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    FilePart,
    NoEvent,
    PeerFault,
    Untimed,
)
from sennit.core.errors import ProtocolError
from sennit.core.testing.engines import assert_no_io, converse, engine_suite


def answer_mail(engine: MailboxEngine, event: object) -> None:
    if isinstance(event, Append):
        engine.want_literal()
    elif isinstance(event, Command) and event.name == b"LOGOUT":
        engine.bye()
    elif isinstance(event, (Command, Done, LiteralEnd)):
        engine.answer(b"OK")


TestMailbox = engine_suite(
    MailboxEngine,
    conversations=[
        b"t1 NOOP\r\nt2 APPEND {5}\r\nhello\r\nt3 IDLE\r\nDONE\r\nt4 NOOP\r\nt5 LOGOUT\r\n",
        b"t1 APPEND {0}\r\n\r\nt2 NOOP\r\n",
    ],
    answer=answer_mail,
    tokens=[b"t NOOP", b"t IDLE\r\n", b"DONE", b"\r\n", b"\r", b"\n", b"t APPEND {3}\r\n", b"\0"],
    endless=[b"A", b"A\r", b"t NOOP "],
    limit=2048,
)


def answer_streams(engine: MultiplexEngine, event: object) -> None:
    if isinstance(event, End):
        engine.send(event.exchange, b"thanks", end=True)


TestMultiplex = engine_suite(
    MultiplexEngine,
    conversations=[
        frame(b"O", 1, b"a")
        + frame(b"O", 2)
        + frame(b"D", 1, b"xyz")
        + frame(b"E", 2)
        + frame(b"E", 1)
        + frame(b"O", 3)
        + frame(b"R", 3),
    ],
    answer=answer_streams,
    tokens=[
        frame(k, n, p)
        for k in (b"O", b"D", b"E", b"W", b"R")
        for n in (1, 2)
        for p in (b"", b"\0\5")
    ],
    endless=[b"\xff", frame(b"O", 1)],
    limit=4096,
    in_order=False,
)

TestRoom = engine_suite(
    RoomEngine,
    conversations=[b"hello\r\nworld\r\n"],
    answer=lambda engine, event: engine.relay(event.text),
    tokens=[b"\r\n", b"\r", b"\n", b"word"],
    endless=[b"A", b"\r", b"\n"],
    limit=1024,
)


@pytest.mark.parametrize("module", ["sennit.core.engine"])
def test_engines_bring_no_io(module: str) -> None:
    """STYLE §2: importing an engine leaves socket, ssl, asyncio out of `sys.modules`."""
    assert_no_io(module)


def test_assert_no_io_can_fail() -> None:
    with pytest.raises(AssertionError, match=r"brings .*socket"):
        assert_no_io("socket")


def test_a_command_is_held_back_until_the_one_before_is_answered() -> None:
    """RFC 2920 §3.2 and its kin: pipelined commands are answered in order."""
    engine = MailboxEngine()
    engine.receive_data(b"a NOOP\r\nb NOOP\r\n")

    assert engine.next_event() == Command(b"a", b"NOOP")
    assert engine.next_event() is PAUSED
    engine.answer(b"OK")
    assert engine.next_event() == Command(b"b", b"NOOP")
    assert engine.data_to_send() == [b"a OK\r\n"]
    assert engine.data_to_send() == []


def test_what_belongs_to_the_open_command_comes_out_while_it_waits() -> None:
    engine = MailboxEngine()
    engine.receive_data(b"a IDLE\r\n")
    assert engine.next_event() == Idle(b"a")
    assert engine.next_event() is NEED_DATA
    engine.receive_data(b"DONE\r\nb NOOP\r\n")
    assert engine.next_event() == Done()
    assert engine.next_event() is PAUSED


def test_two_faults_are_equal_when_they_say_the_same() -> None:
    one = PeerFault(ProtocolError("bad", "RFC 1 §1"))
    assert one == PeerFault(ProtocolError("bad", "RFC 1 §1"))
    assert one != PeerFault(ProtocolError("bad", "RFC 1 §2"))
    assert one != PeerFault(ProtocolError("bad", "RFC 1 §1"), 7)
    assert one != "bad"
    assert "bad" in repr(one)


def test_a_file_part_counts_octets_from_zero() -> None:
    with io.BytesIO(b"x") as file:
        assert len(FilePart(file, 0, 1)) == 1
        with pytest.raises(ValueError, match="count octets"):
            FilePart(file, -1, 1)
        with pytest.raises(ValueError, match="count octets"):
            FilePart(file, 0, -1)


def test_reasons_for_no_event_say_their_names() -> None:
    assert [repr(each) for each in NoEvent] == ["NEED_DATA", "PAUSED", "CLOSED"]


class Leaky(Untimed):
    """An engine whose events depend on where the stream was cut: the suite must see it."""

    def __init__(self) -> None:
        self._in = b""
        self._closed = False

    def receive_data(self, data: bytes) -> None:
        self._in = data

    def receive_eof(self) -> None:
        self._closed = True

    close = receive_eof

    def next_event(self) -> Said | NoEvent:
        data, self._in = self._in, b""
        if data:
            return Said(data)
        return CLOSED if self._closed else NEED_DATA

    def data_to_send(self) -> list[bytes]:
        return []

    def release(self) -> bytes:
        return b""


def test_the_suite_finds_an_engine_that_depends_on_the_cut() -> None:
    suite = engine_suite(Leaky, conversations=[b"abc"], examples=20)
    with pytest.raises(AssertionError):
        suite().test_octet_by_octet_is_the_same_as_at_once()


def test_the_suite_finds_an_engine_that_takes_everything() -> None:
    suite = engine_suite(Leaky, conversations=[b"abc"], endless=[b"A"], limit=2048)
    with pytest.raises(AssertionError, match="were taken"):
        suite().test_endless_input_is_refused()


def test_the_suite_finds_events_without_end() -> None:
    class Endless(Leaky):
        def next_event(self) -> Said | NoEvent:
            return Said(b"again")

    with pytest.raises(AssertionError, match="without end"):
        converse(Endless(), [b"x"])


def test_a_conversation_says_what_was_sent_and_why_it_stopped() -> None:
    talk = converse(MultiplexEngine(), [frame(b"O", 1, b"x"), frame(b"E", 1)], answer_streams)
    assert [each.name for each in talk.events] == [Opened.__name__, End.__name__]
    assert talk.sent == frame(b"D", 1, b"thanks") + frame(b"E", 1)
    assert talk.last is NEED_DATA
