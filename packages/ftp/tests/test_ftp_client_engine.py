"""The client's engine: commands in, replies out, and never a reply for another command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.engine import CLOSED, NEED_DATA, NoEvent, PeerFault
from sennit.ftp.client_engine import (
    GREETING,
    ClientEngine,
    ClientEvent,
    Command,
    Completed,
    Preliminary,
    Unasked,
)
from sennit.ftp.errors import FTPUsageError
from sennit.ftp.replies import Reply


def events(engine: ClientEngine, data: bytes) -> list[ClientEvent | NoEvent]:
    """What comes of some octets, the reason for there being no more included."""
    engine.receive_data(data)
    found: list[ClientEvent | NoEvent] = []
    while not isinstance(event := engine.next_event(), NoEvent):
        found.append(event)
    return [*found, event]


def asked(*words: str) -> ClientEngine:
    """An engine that was greeted and has asked."""
    engine = ClientEngine()
    engine.send_command(GREETING)
    events(engine, b"220 hello\r\n")
    for word in words:
        engine.send_command(Command(word))
    return engine


def test_the_greeting_is_a_reply_to_nothing_said() -> None:
    engine = ClientEngine()
    engine.send_command(GREETING)

    assert engine.data_to_send() == []
    assert not engine.can_send(Command("USER", "x"))
    assert events(engine, b"120 wait\r\n220 hello\r\n") == [
        Preliminary(Reply(120, ("wait",))),
        Completed(Reply(220, ("hello",))),
        NEED_DATA,
    ]
    assert engine.can_send(Command("USER", "x"))


def test_a_command_waits_for_the_reply_to_the_one_before() -> None:
    engine = asked("NOOP")

    assert engine.data_to_send() == [b"NOOP\r\n"]
    assert not engine.can_send(Command("NOOP"))
    events(engine, b"200 ok\r\n")
    assert engine.can_send(Command("NOOP"))


def test_abor_may_follow_a_transfer_and_both_are_answered_in_order() -> None:
    engine = asked("RETR")
    events(engine, b"150 here it comes\r\n")
    assert engine.can_send(Command("ABOR"))
    engine.send_command(Command("ABOR"))
    assert not engine.can_send(Command("ABOR"))

    assert events(engine, b"426 cut\r\n226 aborted\r\n") == [
        Completed(Reply(426, ("cut",))),
        Completed(Reply(226, ("aborted",))),
        NEED_DATA,
    ]


def test_a_421_out_of_the_blue_is_the_end() -> None:
    engine = asked()

    assert events(engine, b"421 idle\r\n") == [Unasked(Reply(421, ("idle",))), CLOSED]


def test_a_421_to_a_command_is_its_reply_and_the_end() -> None:
    assert events(asked("NOOP"), b"421 going\r\n") == [Completed(Reply(421, ("going",))), CLOSED]


def test_a_reply_that_nobody_waits_for_ends_the_connection() -> None:
    engine = asked()
    fault, end = events(engine, b"226 surprise\r\n")

    assert isinstance(fault, PeerFault)
    assert end is CLOSED


def test_preliminary_replies_are_counted() -> None:
    fault = events(asked("RETR"), b"150 x\r\n" * 101)[-2]

    assert isinstance(fault, PeerFault)
    assert fault.error.rule == "limit:preliminary"


def test_closing_says_quit_behind_what_is_open() -> None:
    engine = asked("NOOP")
    engine.data_to_send()
    engine.close()
    engine.close()

    assert engine.data_to_send() == [b"QUIT\r\n"]
    with pytest.raises(FTPUsageError):
        engine.send_command(Command("NOOP"))
    assert events(engine, b"200 ok\r\n221 bye\r\n") == [Completed(Reply(200, ("ok",))), CLOSED]


def test_an_end_within_a_reply_is_a_fault_and_one_between_is_none() -> None:
    for octets, faults in ((b"211-x\r\n", 1), (b"21", 1), (b"", 0)):
        engine = asked("FEAT")
        engine.receive_eof()
        found = events(engine, octets)
        assert found[-1] is CLOSED
        assert sum(isinstance(each, PeerFault) for each in found) == faults


@pytest.mark.parametrize("bad", ["a\r\nDELE x", "a\nb", "a\r", "\0"])
@pytest.mark.parametrize("word", ["CWD", "PASS"])
def test_an_argument_of_more_than_one_line_is_refused(word: str, bad: str) -> None:
    """HARDENING ftp-8: CR/LF in path → ValueError."""
    with pytest.raises(ValueError, match="one line") as raised:
        Command(word, bad)
    assert word != "PASS" or repr(bad) not in str(raised.value)


def test_words_are_words_and_secrets_do_not_show() -> None:
    for word in ("NO OP;", "É", "A\tB"):
        with pytest.raises(FTPUsageError):
            Command(word)
    assert "hunter2" not in repr(Command("PASS", "hunter2"))
    with pytest.raises(FTPUsageError, match="surrogates"):
        Command("CWD", "\ud800").octets()


def test_names_are_utf8_and_come_back_as_they_came() -> None:
    """RFC 2640 §3.1; an octet 255 is doubled (RFC 854)."""
    assert Command("RETR", "ä").octets() == "RETR ä\r\n".encode()
    assert Command("RETR", "\udce4\udcff").octets() == b"RETR \xe4\xff\xff\r\n"


def test_octets_that_were_not_read_are_handed_over() -> None:
    """RFC 4217: what follows 234 in clear is nobody's."""
    engine = asked("AUTH")
    engine.receive_data(b"234 go\r\n230 welcome\r\n")
    assert engine.next_event() == Completed(Reply(234, ("go",)))

    assert engine.release() == b"230 welcome\r\n"
    assert engine.next_event() is CLOSED


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 3))
def test_no_octets_make_it_raise_or_answer_more_than_was_asked(
    pieces: list[bytes], open_: int
) -> None:
    engine = ClientEngine()
    for _ in range(open_):
        engine.send_command(Command("NOOP"))
    completed = 0
    for piece in pieces:
        for event in events(engine, piece):
            completed += isinstance(event, Completed)
    engine.receive_eof()
    assert events(engine, b"")[-1] is CLOSED
    assert completed <= open_


def test_a_command_may_be_taken_for_answered_and_what_comes_late_ends_the_connection() -> None:
    engine = asked("RETR")
    events(engine, b"150 here it comes\r\n")
    engine.conclude(Reply(150, ("done",)))

    assert events(engine, b"") == [Completed(Reply(150, ("done",))), NEED_DATA]
    assert engine.can_send(Command("NOOP"))
    engine.conclude(Reply(150, ("nothing is open",)))
    fault, end = events(engine, b"426 late\r\n")
    assert isinstance(fault, PeerFault)
    assert end is CLOSED


@pytest.mark.parametrize(
    "said", [b"426 cut\r\n200 yes\r\n", b"226 all sent\r\n200 yes\r\n", b"200 yes\r\n"]
)
def test_noop_behind_a_transfer_tells_whether_anything_is_said_of_that(said: bytes) -> None:
    """No reply to RETR is 200 (RFC 959 §5.4): Pure-FTPd says none if it was reset early."""
    engine = asked("RETR")
    events(engine, b"150 here it comes\r\n")
    assert engine.can_send(Command("NOOP"))
    engine.send_command(Command("NOOP"))

    first, second, end = events(engine, said)

    assert isinstance(first, Completed)
    assert first.reply.code == int(said[:3])
    assert second == Completed(Reply(200, ("yes",)))
    assert end is NEED_DATA
    assert engine.can_send(Command("PWD"))
