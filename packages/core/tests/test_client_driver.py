"""ClientEngineProtocol: requests, pipelining, cancelling, what nobody asked for, loss."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from sennit.core.client_driver import ClientEngineProtocol
from sennit.core.engine import (
    CLOSED,
    NEED_DATA,
    SOLE,
    Belongs,
    Ends,
    Interrupts,
    NoEvent,
    PeerFault,
    Untimed,
)
from sennit.core.errors import ConnectionLost, LimitReachedError, ProtocolError, UsageError
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport


@dataclass(slots=True)
class Part(Belongs):
    data: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Reply(Ends):
    text: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Gone(Interrupts):
    exchange: int = SOLE


@dataclass(slots=True)
class News:
    text: bytes
    exchange: int = SOLE


Event = Part | Reply | Gone | News | PeerFault


class AskEngine(Untimed):
    """Lines: ``+part``, ``=reply``, ``*news``, ``-`` gives up, ``hi`` greets; else a fault."""

    def __init__(self, *, pipelined: bool = True, cancels: bool = False) -> None:
        self._in = b""
        self._out: list[bytes] = []
        self.greeted = False
        self.open = 0
        self.pipelined = pipelined
        self.cancels = cancels
        self.over = False
        self.cancelled = 0

    def receive_data(self, data: bytes) -> None:
        self._in += data

    def receive_eof(self) -> None:
        self.over = True

    def close(self) -> None:
        self._out.append(b"quit\n")
        self.over = True

    def next_event(self) -> Event | NoEvent:
        while True:
            line, found, rest = self._in.partition(b"\n")
            if not found:
                return CLOSED if self.over and not self.open else NEED_DATA
            self._in = rest
            kind, text = line[:1], line[1:]
            if line == b"hi":
                self.greeted = True
            elif kind == b"+":
                return Part(text)
            elif kind == b"=":
                self.open -= 1
                return Reply(text)
            elif kind == b"-":
                self.open -= 1
                return Gone()
            elif kind == b"*":
                return News(text)
            else:
                self.open = 0
                return PeerFault(ProtocolError(f"{line!r}", "RFC 0 §1"))

    def can_send(self, command: bytes) -> bool:
        return self.greeted and (self.pipelined or not self.open)

    def send_command(self, command: bytes) -> int:
        if b"\n" in command:
            raise UsageError("a line end in a command")
        self.open += 1
        self._out.append(command + b"\n")
        return SOLE

    def cancel(self, exchange: int) -> bool:
        self.cancelled += 1
        if self.cancels:
            self.open -= 1
            self._out.append(b"cancel\n")
        return self.cancels

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def release(self) -> bytes:
        return self._in


class Asker(ClientEngineProtocol[AskEngine, bytes, Event, bytes]):
    def __init__(self, engine: AskEngine, clock: Clock | None = None) -> None:
        super().__init__(engine, clock=clock)

    def combine(self, command: bytes, parts: list[Event], end: Event) -> bytes:
        assert isinstance(end, Reply)
        if end.text == b"no":
            raise PermissionError(command)
        return b"".join(each.data for each in parts if isinstance(each, Part)) + end.text


def connected(**options: Any) -> tuple[Asker, RecordingTransport]:
    protocol = Asker(AskEngine(**options))
    transport = RecordingTransport(protocol)
    transport.receive(b"hi\n")
    return protocol, transport


def forget(error: BaseException) -> None:
    pass


def value(deferred: Any) -> Any:
    outcome = deferred.outcome
    assert outcome is not None, "not fired yet"
    if outcome.error is not None:
        deferred.add_errback(forget)
        return outcome.error
    return outcome.value


def test_requests_are_pipelined_and_replies_go_to_them_in_order() -> None:
    protocol, transport = connected()
    one, two = protocol.request(b"one"), protocol.request(b"two")
    assert transport.take() == b"one\ntwo\n"
    assert protocol.busy
    transport.receive(b"+a\n+b\n=1\n=2\n")
    assert value(one) == b"ab1"
    assert value(two) == b"2"
    assert not protocol.busy


def test_requests_wait_for_a_greeting_and_where_pipelining_is_not_allowed() -> None:
    protocol = Asker(AskEngine(pipelined=False))
    transport = RecordingTransport(protocol)
    one, two = protocol.request(b"one"), protocol.request(b"two")
    assert transport.take() == b""
    transport.receive(b"hi\n")
    assert transport.take() == b"one\n"
    transport.receive(b"=1\n")
    assert transport.take() == b"two\n"
    transport.receive(b"=2\n")
    assert (value(one), value(two)) == (b"1", b"2")


def test_a_reply_may_refuse() -> None:
    protocol, transport = connected()
    asked = protocol.request(b"one")
    transport.receive(b"=no\n")
    assert isinstance(value(asked), PermissionError)


def test_a_command_that_cannot_be_said_fails_at_once_and_sends_nothing() -> None:
    """HARDENING defaults 10."""
    protocol, transport = connected()
    assert isinstance(value(protocol.request(b"a\nb")), UsageError)
    assert transport.written == b""
    with pytest.raises(UsageError):
        protocol.converse(b"a\nb")


def test_what_comes_for_an_inbox_that_was_abandoned_is_dropped() -> None:
    protocol, transport = connected()
    inbox = protocol.converse(b"list")
    behind = protocol.request(b"two")
    transport.receive(b"+" + b"x" * 100_000 + b"\n")
    assert not transport.reading

    protocol.abandon(inbox)

    assert transport.reading
    transport.receive(b"+" + b"x" * 100_000 + b"\n=1\n=2\n")
    assert transport.reading
    assert value(behind) == b"2"
    assert not protocol.busy


def test_a_command_whose_inbox_is_abandoned_before_it_left_is_never_sent() -> None:
    protocol = Asker(AskEngine())
    transport = RecordingTransport(protocol)
    protocol.abandon(protocol.converse(b"list"))
    transport.receive(b"hi\n")
    assert transport.written == b""
    assert not protocol.busy


def test_a_request_can_be_awaited() -> None:
    async def main() -> None:
        protocol, transport = connected()
        asyncio.get_running_loop().call_soon(transport.receive, b"=1\n")
        assert await protocol.request(b"one") == b"1"

    asyncio.run(main())


def test_a_long_reply_is_read_as_it_comes() -> None:
    async def main() -> None:
        protocol, transport = connected()
        inbox = protocol.converse(b"list")
        transport.receive(b"+a\n+b\n=end\n")
        assert [type(each) async for each in inbox] == [Part, Part, Reply]
        assert protocol._waiting == 0

    asyncio.run(main())


def test_what_nobody_asked_for_is_a_stream_of_its_own() -> None:
    async def main() -> None:
        protocol, transport = connected()
        transport.receive(b"*dropped\n")
        news = protocol.unsolicited
        asked = protocol.request(b"one")
        transport.receive(b"*first\n=1\n*second\n")
        assert value(asked) == b"1"
        assert news.take() == News(b"first")
        assert news.take() == News(b"second")
        transport.lose()
        assert [each async for each in news] == []
        assert [each async for each in protocol.unsolicited] == []

    asyncio.run(main())


def test_reading_pauses_while_too_much_unsolicited_waits() -> None:
    clock = Clock()
    protocol = Asker(AskEngine(), clock=clock)
    transport = RecordingTransport(protocol)
    news = protocol.unsolicited
    transport.receive(b"*" + b"x" * 1000 + b"\n" + b"*y\n" * 2000)
    clock.pump()
    assert not transport.reading
    assert len(news) == 2001
    while news.take() is not None:
        pass
    assert transport.reading


def test_cancelling_a_request_that_has_not_left_forgets_it() -> None:
    protocol = Asker(AskEngine())
    transport = RecordingTransport(protocol)
    asked = protocol.request(b"one")
    asked.add_errback(forget)
    asked.cancel()
    transport.receive(b"hi\n")
    assert transport.written == b""
    assert not protocol.busy


def test_cancelling_one_that_has_left_throws_its_reply_away() -> None:
    protocol, transport = connected()
    one, two = protocol.request(b"one"), protocol.request(b"two")
    one.add_errback(forget)
    one.cancel()
    transport.receive(b"+part\n=1\n=2\n")
    assert value(two) == b"2"


def test_the_engine_gives_a_request_up_where_the_protocol_can() -> None:
    protocol, transport = connected(cancels=True)
    asked = protocol.request(b"one")
    asked.add_errback(forget)
    transport.take()
    asked.cancel()
    assert transport.take() == b"cancel\n"
    assert not protocol.busy


def test_a_request_that_the_peer_gives_up_fails() -> None:
    protocol, transport = connected()
    asked = protocol.request(b"one")
    transport.receive(b"-\n")
    assert isinstance(value(asked), ConnectionLost)


def test_a_fault_fails_who_waits_and_is_logged_when_nobody_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    protocol, transport = connected()
    asked = protocol.request(b"one")
    transport.receive(b"?\x1b\n")
    assert isinstance(value(asked), ProtocolError)
    assert not caplog.records
    transport.receive(b"?\n")
    assert len(caplog.records) == 1


def test_the_loss_of_the_connection_fails_what_waits() -> None:
    protocol = Asker(AskEngine(pipelined=False))
    transport = RecordingTransport(protocol)
    transport.receive(b"hi\n")
    sent, unsent = protocol.request(b"one"), protocol.request(b"two")
    transport.lose(ConnectionLost("reset", "reset"))
    for each in (sent, unsent, protocol.request(b"three")):
        error = value(each)
        assert isinstance(error, ConnectionLost)
        assert error.reason == "reset"


def test_too_many_waiting_requests_and_too_long_replies_are_refused() -> None:
    class Small(Asker):
        max_requests = 2
        max_reply = 1000

    protocol = Small(AskEngine())
    transport = RecordingTransport(protocol)
    asked = [protocol.request(b"x") for _ in range(3)]
    assert isinstance(value(asked[2]), UsageError)
    transport.receive(b"hi\n")
    transport.receive(b"+" + b"x" * 2000 + b"\n")
    assert isinstance(value(asked[0]), LimitReachedError)
    assert transport.close_reason == "limit:reply"
    assert isinstance(value(asked[1]), ConnectionLost)


def test_requests_stop_at_the_transports_mark_but_replies_are_still_read() -> None:
    protocol, transport = connected()
    transport.block()
    first = protocol.request(b"x" * 100_000)
    second = protocol.request(b"second")
    transport.receive(b"=1\n")
    assert value(first) == b"1"
    assert transport.reading
    transport.unblock()
    assert transport.written.endswith(b"second\n")
    transport.receive(b"=2\n")
    assert value(second) == b"2"


def test_close_says_good_bye_after_the_replies_that_are_awaited() -> None:
    protocol, transport = connected()
    asked = protocol.request(b"one")
    closed = protocol.close()
    assert transport.written == b"one\nquit\n"
    assert isinstance(value(protocol.request(b"late")), ConnectionLost)
    transport.receive(b"=1\n")
    assert value(asked) == b"1"
    assert transport.closed
    assert value(closed) is None


def test_the_end_of_the_stream_fails_what_will_never_be_answered() -> None:
    protocol, transport = connected()
    asked = protocol.request(b"one")
    transport.receive_eof()
    assert isinstance(value(asked), ConnectionLost)
