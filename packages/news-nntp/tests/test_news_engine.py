"""The engines of NNTP, by example and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, PeerFault
from sennit.core.testing.engines import engine_suite
from sennit.news.engine import ClientEngine, ServerEngine
from sennit.news.errors import NNTPUsageError
from sennit.news.events import Answered, KeyAsked
from sennit.news.limits import Limits


def said(*data: bytes) -> ServerEngine:
    """A server that has received this."""
    engine = ServerEngine()
    for each in data:
        engine.receive_data(each)
    return engine


def test_a_key_is_asked_for_and_answered() -> None:
    engine = said(b"GET motd\r\n")

    assert engine.next_event() == KeyAsked(b"motd")
    engine.accept_key(b"hello")

    assert engine.data_to_send() == [b"+hello\r\n"]
    assert engine.next_event() is NEED_DATA


def test_a_bare_line_feed_ends_a_line_too() -> None:
    assert said(b"get motd\n").next_event() == KeyAsked(b"motd")


def test_pipelined_commands_come_out_one_by_one() -> None:
    engine = said(b"GET a\r\nGET b\r\n")

    assert engine.next_event() == KeyAsked(b"a")
    assert engine.next_event() is PAUSED
    engine.reject_key(b"no")
    assert engine.next_event() == KeyAsked(b"b")


def test_quit_is_answered_and_is_the_end() -> None:
    engine = said(b"QUIT\r\nGET a\r\n")

    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"+bye\r\n"]


@pytest.mark.parametrize(
    "line", [b"", b"GET", b"GET ", b"GET a b", b"QUIT now", b"\xff", b"GET \0"]
)
def test_a_broken_line_is_a_fault_whose_reply_is_queued(line: bytes) -> None:
    engine = said(line + b"\r\n")

    event = engine.next_event()

    assert isinstance(event, PeerFault)
    assert event.error.rule
    assert engine.data_to_send() == [b"-I do not understand\r\n"]
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize("data", [b"G" * 65, b"GET " + b"a" * 60 + b"\n", b"G" * 100_000])
def test_a_line_has_a_longest_length_whether_it_ends_or_not(data: bytes) -> None:
    engine = ServerEngine(Limits(max_line=64))

    engine.receive_data(data)

    assert isinstance(engine.next_event(), PeerFault)


def test_the_end_of_input_is_the_end_once_all_was_answered() -> None:
    engine = said(b"GET a\r\n")
    engine.receive_eof()

    assert engine.next_event() == KeyAsked(b"a")
    engine.accept_key(b"1")
    assert engine.next_event() is CLOSED
    assert engine.data_to_send() == [b"+1\r\n"]


def test_closing_answers_what_is_open_and_begins_nothing_new() -> None:
    engine = said(b"GET a\r\nGET b\r\n")
    assert engine.next_event() == KeyAsked(b"a")

    engine.close()
    assert engine.next_event() is PAUSED
    engine.accept_key(b"1")

    assert engine.next_event() is CLOSED


def test_a_failure_on_this_side_is_answered_too() -> None:
    engine = said(b"GET a\r\n")
    engine.next_event()

    engine.internal_error()

    assert engine.data_to_send() == [b"-something failed here\r\n"]


def test_what_was_not_read_is_handed_over() -> None:
    assert said(b"GET a\r\n").release() == b"GET a\r\n"


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b"])
def test_a_value_cannot_pass_for_further_lines(value: bytes) -> None:
    engine = said(b"GET a\r\n")
    engine.next_event()

    with pytest.raises(NNTPUsageError):
        engine.accept_key(value)
    engine.accept_key(b"still possible")


def test_nothing_is_answered_that_nobody_asked() -> None:
    with pytest.raises(NNTPUsageError, match="awaits"):
        ServerEngine().accept_key(b"1")


def test_a_client_matches_answers_to_commands_in_order() -> None:
    client = ClientEngine()
    client.send_get(b"a")
    client.send_get(b"b")
    assert client.data_to_send() == [b"GET a\r\n", b"GET b\r\n"]

    client.receive_data(b"+1\r\n-no\r\n")

    assert client.next_event() == Answered(True, b"1")
    assert client.next_event() == Answered(False, b"no")
    assert client.next_event() is NEED_DATA


def test_a_client_takes_no_answer_that_it_did_not_ask_for() -> None:
    client = ClientEngine()

    client.receive_data(b"+1\r\n")

    assert isinstance(client.next_event(), PeerFault)


@pytest.mark.parametrize("key", [b"", b"a b", b"a\r\nQUIT", b"a\0"])
def test_a_key_cannot_pass_for_further_commands(key: bytes) -> None:
    client = ClientEngine()

    with pytest.raises(NNTPUsageError):
        client.send_get(key)
    assert client.data_to_send() == []


def grant(engine: ServerEngine, event: object) -> None:
    """Answer every key by itself."""
    if isinstance(event, KeyAsked):
        engine.accept_key(event.key.replace(b"\r", b""))


TestServerEngine = engine_suite(
    ServerEngine,
    conversations=[b"GET motd\r\nGET other\r\nQUIT\r\n", b"get motd\n"],
    answer=grant,
    tokens=[b"GET a", b"QUIT", b"\r\n", b"\r", b"\n", b"\0", b" ", b"x" * 1025],
    endless=[b"G", b"\r", b"GET "],
    limit=1024,
)
"""What every engine must keep: any split, pipelining, limits, no exception on any octets."""


@given(st.from_regex(rb"[^\0\r\n ]{1,50}", fullmatch=True), st.binary(max_size=50))
def test_what_one_side_says_the_other_understands(key: bytes, value: bytes) -> None:
    value = value.translate(None, b"\0\r\n")
    client, server = ClientEngine(), ServerEngine()

    client.send_get(key)
    server.receive_data(b"".join(client.data_to_send()))
    assert server.next_event() == KeyAsked(key)
    server.accept_key(value)
    client.receive_data(b"".join(server.data_to_send()))

    assert client.next_event() == Answered(True, value)
