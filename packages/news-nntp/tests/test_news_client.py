"""The client's protocol on a recording transport, and both sides over loopback."""

from __future__ import annotations

import pytest

from sennit.core import run, serve
from sennit.core.errors import ConnectionLost
from sennit.core.testing.memory import RecordingTransport
from sennit.news.client import NNTPClientProtocol, get
from sennit.news.errors import NNTPProtocolError, NNTPRefusedError
from sennit.news.server import NNTPServerFactory
from sennit.news.store import MemoryDirectory


def test_answers_go_to_who_asked_in_order() -> None:
    client = NNTPClientProtocol()
    transport = RecordingTransport(client)
    answers: list[object] = []
    client.get(b"a").add_callback(answers.append)
    client.get(b"b").catch((NNTPRefusedError,), lambda error: answers.append(str(error)))
    assert transport.written == b"GET a\r\nGET b\r\n"

    transport.receive(b"+1\r\n-no\r\n", cut=1)

    assert answers == [b"1", "no"]


def test_closing_says_good_bye_and_waits_for_it() -> None:
    client = NNTPClientProtocol()
    transport = RecordingTransport(client)

    client.close()
    assert transport.written == b"QUIT\r\n"
    assert not transport.closed
    transport.receive(b"+bye\r\n")

    assert transport.closed


def test_what_is_no_answer_fails_all_that_wait() -> None:
    client = NNTPClientProtocol()
    transport = RecordingTransport(client)
    errors: list[object] = []
    client.get(b"a").add_errback(errors.append)
    client.get(b"b").add_errback(errors.append)

    transport.receive(b"hello?\r\n")

    assert [type(error) for error in errors] == [NNTPProtocolError] * 2
    assert transport.aborted


def test_the_loss_of_the_connection_fails_all_that_wait() -> None:
    client = NNTPClientProtocol()
    transport = RecordingTransport(client)
    errors: list[object] = []
    client.get(b"a").add_errback(errors.append)

    transport.lose()

    assert [isinstance(error, ConnectionLost) for error in errors] == [True]


def test_an_answer_that_was_given_up_is_skipped() -> None:
    client = NNTPClientProtocol()
    transport = RecordingTransport(client)
    answers: list[object] = []
    given_up = client.get(b"a")
    client.get(b"b").add_callback(answers.append)

    given_up.add_errback(lambda _: None)
    given_up.cancel()
    transport.receive(b"+1\r\n+2\r\n")

    assert answers == [b"2"]


def test_both_sides_understand_each_other() -> None:
    async def main(_: object) -> bytes:
        factory = NNTPServerFactory(MemoryDirectory({b"motd": b"hello"}))
        async with serve("tcp://127.0.0.1:0", factory) as server:
            with pytest.raises(NNTPRefusedError, match="nothing of that name"):
                await get(server.urls[0], b"nothing")
            return await get(server.urls[0], b"motd")

    assert run(main) == b"hello"
