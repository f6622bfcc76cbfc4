"""The client's engine: responses in order, blocks in pieces, articles that are asked for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, NoEvent, PeerFault
from sennit.core.testing.engines import assert_no_io, converse, cut, describe, engine_suite
from sennit.news.client_engine import (
    BlockReceived,
    ClientEngine,
    Command,
    Greeted,
    Leaving,
    Responded,
    ResponseBegun,
    command,
)
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.grammar import stuff
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from sennit.news.client_engine import ClientEvent


def greeted(*commands: Command, limits: ClientLimits | None = None) -> ClientEngine:
    """An engine that has been greeted, and has sent commands."""
    engine = ClientEngine(limits)
    engine.receive_data(b"200 hello\r\n")
    assert isinstance(engine.next_event(), Greeted)
    for each in commands:
        engine.send_command(each)
    engine.data_to_send()
    return engine


def events(engine: ClientEngine) -> list[ClientEvent]:
    """What there is."""
    found: list[ClientEvent] = []
    while not isinstance(event := engine.next_event(), NoEvent):
        found.append(event)
    return found


def block_of(found: list[ClientEvent]) -> bytes:
    """The octets of the one block in events."""
    return b"".join(
        each.data or b"" for each in found if isinstance(each, (BlockReceived, Responded))
    )


def fault_of(engine: ClientEngine) -> NNTPProtocolError:
    """The rule that the server broke."""
    fault = events(engine)[-1]
    assert isinstance(fault, PeerFault)
    assert isinstance(fault.error, NNTPProtocolError)
    assert engine.next_event() is CLOSED
    return fault.error


class Unfolded(ClientEngine):
    """The engine, whose blocks always are events of their own: how much of one comes at a time is
    decided by where the stream is cut, and what the events say together is not."""

    __slots__ = ("begun", "later")

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.later: deque[ClientEvent] = deque()

    def next_event(self) -> ClientEvent | NoEvent:
        if self.later:
            return self.later.popleft()
        event = super().next_event()
        if isinstance(event, Responded):
            if event.data is not None:
                if not self.begun:
                    self.later.append(ResponseBegun(event.code, event.text))
                if event.data:
                    self.later.append(BlockReceived(event.data))
                event.data = None
            self.begun = False
            self.later.append(event)
            return self.later.popleft()
        self.begun = self.begun or isinstance(event, ResponseBegun)
        return event


def prepared() -> ClientEngine:
    """One with all kinds of commands under way, for the properties."""
    engine = Unfolded()
    engine.receive_data(b"201 hello\r\n")
    engine.next_event()
    for each in (
        command("GROUP", "a.b"),
        command("ARTICLE", "1", max_block=1000),
        command("TAKETHIS", b"<1@x>", article=b".a\r\n", at_once=True),
        command("LISTGROUP", max_block=1000),
        command("POST", article=b"x\r\n", alone=True),
    ):
        engine.send_command(each)
    return engine


TestClientEngine = engine_suite(
    prepared,
    conversations=[
        (
            b"211 3 1 3 a.b\r\n220 1 <1@x>\r\nA: b\r\n\r\n..dot\r\n.\r\n239 <1@x>\r\n"
            b"211 3 1 3 a.b\r\n1\r\n2\r\n.\r\n340 go\r\n240 <2@x> thanks\r\n400 bye\r\n"
        ),
        b"411 none\r\n423 none\r\n439 <1@x>\r\n412 none\r\n440 no\r\n",
        b"211 3 1 3 a.b\r\n220 1 <1@x>\r\n.\r\n439 <1@x>\r\n480 who?\r\n340 go\r\n441 no\r\n",
    ],
    tokens=[
        b"220 1 <1@x>\r\n",
        b"\r\n.\r\n",
        b".",
        b"\r",
        b"\n",
        b"\0",
        b"340 go\r\n",
        b"382 x\r\n",
    ],
    endless=[b"A", b"200 \r", b"\0"],
    limit=512,
)


def test_importing_it_leaves_the_sockets_alone() -> None:
    assert_no_io("sennit.news.client_engine")


def test_nothing_is_sent_before_the_greeting() -> None:
    engine = ClientEngine()

    assert not engine.can_send(command("DATE"))
    engine.receive_data(b"201 no posting\r\n")
    greeting = engine.next_event()

    assert isinstance(greeting, Greeted)
    assert (greeting.code, greeting.text) == (201, b"no posting")
    assert engine.can_send(command("DATE"))


def test_responses_come_in_the_order_of_commands() -> None:
    engine = greeted(command("STAT", "1"), command("STAT", "2"))

    engine.receive_data(b"223 1 <1@x>\r\n423 none\r\n")

    first, second = events(engine)
    assert isinstance(first, Responded)
    assert isinstance(second, Responded)
    assert (first.code, first.text, first.data) == (223, b"1 <1@x>", None)
    assert second.code == 423


def test_a_block_that_comes_whole_is_one_event() -> None:
    engine = greeted(command("ARTICLE", "1"), command("BODY", "2"))

    engine.receive_data(b"220 1 <1@x>\r\nA: b\r\n\r\n..\r\n.\r\n222 2 <2@x>\r\n.\r\n")

    article, body = events(engine)
    assert isinstance(article, Responded)
    assert isinstance(body, Responded)
    assert article.data == b"A: b\r\n\r\n.\r\n"
    assert body.data == b""


def test_a_block_that_comes_in_pieces_is_given_as_it_comes() -> None:
    engine = greeted(command("BODY", "1"))

    engine.receive_data(b"222 1 <1@x>\r\nfirst\r\n")
    begun, piece = events(engine)
    engine.receive_data(b"second\r\n.\r\n")
    (ended,) = events(engine)

    assert isinstance(begun, ResponseBegun)
    assert isinstance(piece, BlockReceived)
    assert isinstance(ended, Responded)
    assert (begun.code, ended.code) == (222, 222)
    assert piece.data + (ended.data or b"") == b"first\r\nsecond\r\n"


def test_211_has_a_block_behind_listgroup_alone() -> None:
    """RFC 3977 §6.1.2.1."""
    engine = greeted(command("GROUP", "a"), command("LISTGROUP", "a"))

    engine.receive_data(b"211 1 5 5 a\r\n211 1 5 5 a\r\n5\r\n.\r\n")

    group, numbers = events(engine)
    assert isinstance(group, Responded)
    assert isinstance(numbers, Responded)
    assert group.data is None
    assert numbers.data == b"5\r\n"


@given(st.lists(st.sampled_from([b".", b"a", b"\r\n", b"\n", b"\r", b"\0"]), max_size=30))
def test_octets_of_a_block_round_trip(pieces: list[bytes]) -> None:
    """HARDENING nntp-1: only CRLF.CRLF ends a block."""
    octets = b"".join(pieces) + b"\r\n"
    for places in ([], [15], list(range(60))):
        engine = greeted(command("BODY", "1"))
        found: list[ClientEvent] = []
        for piece in cut(b"222 1 <1@x>\r\n" + stuff(octets) + b".\r\n", places):
            engine.receive_data(piece)
            found += events(engine)
        assert block_of(found) == octets
        assert isinstance(found[-1], Responded)


@given(st.lists(st.sampled_from([b".", b"a", b"\r\n", b"\n", b"\r"]), max_size=30))
def test_octets_of_an_article_that_is_sent_round_trip(pieces: list[bytes]) -> None:
    """HARDENING nntp-1, the other way: what is sent is what the decoder reads back."""
    octets = b"".join(pieces) + b"\r\n"
    sender = greeted()
    sender.send_command(command("TAKETHIS", b"<1@x>", article=octets, at_once=True))
    line, block = b"".join(sender.data_to_send()).split(b"\r\n", 1)
    assert line == b"TAKETHIS <1@x>"

    reader = greeted(command("BODY", "1"))
    reader.receive_data(b"222 1 <1@x>\r\n" + block)

    assert block_of(events(reader)) == octets
    assert reader.next_event() is NEED_DATA


def test_an_article_is_sent_when_it_is_asked_for() -> None:
    engine = greeted(command("IHAVE", b"<1@x>", article=b"A: b\r\n\r\n.\r\n", alone=True))

    engine.receive_data(b"335 send\r\n")
    assert engine.next_event() is NEED_DATA
    assert b"".join(engine.data_to_send()) == b"A: b\r\n\r\n..\r\n.\r\n"
    engine.receive_data(b"235 thanks\r\n")

    (ended,) = events(engine)
    assert isinstance(ended, Responded)
    assert ended.code == 235


def test_an_article_is_not_sent_twice() -> None:
    engine = greeted(command("POST", article=b"x\r\n", alone=True))
    engine.receive_data(b"340 go\r\n340 again\r\n")

    (ended,) = events(engine)

    assert isinstance(ended, Responded)
    assert ended.code == 340
    assert b"".join(engine.data_to_send()) == b"x\r\n.\r\n"


def test_an_article_that_is_refused_is_not_sent() -> None:
    engine = greeted(command("POST", article=b"x\r\n", alone=True))
    engine.receive_data(b"440 no\r\n")

    events(engine)

    assert engine.data_to_send() == []


def test_nothing_is_sent_behind_a_command_that_stands_alone() -> None:
    """RFC 3977 §3.5."""
    engine = greeted(command("DATE"), command("POST", article=b"x\r\n", alone=True))

    assert not engine.can_send(command("DATE"))
    with pytest.raises(NNTPUsageError):
        engine.send_command(command("DATE"))
    engine.receive_data(b"111 20260101000000\r\n440 no\r\n")
    events(engine)

    assert engine.can_send(command("DATE"))


def test_no_more_commands_are_under_way_than_the_limit_says() -> None:
    engine = greeted(command("DATE"), command("DATE"), limits=ClientLimits(max_pipelined=2))

    assert not engine.can_send(command("DATE"))


def test_closing_says_good_bye_behind_what_is_under_way() -> None:
    engine = greeted(command("POST", article=b"x\r\n", alone=True))

    engine.close()
    assert engine.data_to_send() == []
    engine.receive_data(b"440 no\r\n")
    assert len(events(engine)) == 1
    assert engine.data_to_send() == [b"QUIT\r\n"]
    engine.receive_data(b"205 bye\r\n")

    assert engine.next_event() is CLOSED


def test_closing_before_the_greeting_says_nothing() -> None:
    engine = ClientEngine()
    engine.close()
    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == []


def test_a_server_may_leave_unasked() -> None:
    """RFC 3977 §3.2.1.2: 400, then it closes."""
    engine = greeted()
    engine.receive_data(b"400 idle for too long\r\n")

    (leaving,) = events(engine)

    assert isinstance(leaving, Leaving)
    assert leaving.text == b"idle for too long"
    assert engine.next_event() is CLOSED


def test_after_an_agreement_on_tls_nothing_comes_out() -> None:
    engine = greeted(Command(b"STARTTLS\r\n", "STARTTLS", alone=True, hands_over=True))
    engine.receive_data(b"382 go\r\n200 forged\r\n")

    assert isinstance(engine.next_event(), Responded)
    assert engine.next_event() is PAUSED
    assert not engine.can_send(command("DATE"))
    assert engine.release() == b"200 forged\r\n"


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"hello\r\n", "RFC 3977 §3.2"),
        (b"99 x\r\n", "RFC 3977 §3.2"),
        (b"600 x\r\n", "RFC 3977 §3.2"),
        (b"200x\r\n", "RFC 3977 §3.2"),
        ("²²² x\r\n".encode(), "RFC 3977 §3.2"),
        (b"205 b\0ye\r\n", "line-end"),
        (b"205 b\nye\r\n", "line-end"),
        (b"205 b\rye\r\n", "line-end"),
        (b"205 " + b"x" * 600, "limit:line"),
        (b"205 " + b"x" * 600 + b"\r\n", "limit:line"),
    ],
)
def test_what_is_no_response_ends_the_conversation(octets: bytes, rule: str) -> None:
    """HARDENING, defaults 6 and 9."""
    engine = greeted(command("DATE"))
    engine.receive_data(octets)
    assert fault_of(engine).rule == rule


def test_a_response_to_nothing_ends_the_conversation() -> None:
    engine = greeted()
    engine.receive_data(b"220 1 <1@x>\r\n")
    assert fault_of(engine).rule == "order"


def test_what_is_no_greeting_ends_the_conversation() -> None:
    engine = ClientEngine()
    engine.receive_data(b"220 smtp.example ESMTP\r\n")
    assert fault_of(engine).rule == "RFC 3977 §5.1.1"


@pytest.mark.parametrize("whole", [True, False])
def test_a_block_without_end_ends_the_conversation(whole: bool) -> None:
    engine = greeted(command("ARTICLE", "1", max_block=1000))
    engine.receive_data(b"220 1 <1@x>\r\n" + b"x" * 2000 + (b"\r\n.\r\n" if whole else b""))
    assert fault_of(engine).rule == "limit:block"


def test_where_a_stream_is_cut_changes_no_octet_of_a_long_block() -> None:
    octets = b"".join(b"%d.\r\n..%d\r\n.\n.\r\n" % (each, each) for each in range(50))
    wire = b"222 1 <1@x>\r\n" + stuff(octets) + b".\r\n223 2 <2@x>\r\n"
    for step in (1, 2, 3, 7, 64):
        engine = greeted(command("BODY", "1"), command("STAT", "2"))
        found: list[ClientEvent] = []
        for at in range(0, len(wire), step):
            engine.receive_data(wire[at : at + step])
            found += events(engine)
        assert block_of(found) == octets
        assert describe(found[-1]).name == "Responded"
    assert converse(greeted(command("BODY", "1"), command("STAT", "2")), [wire]).events
