"""`DatagramEngineProtocol`, proved with a sketch of an engine that has all that one may have."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest

from sennit.core.address import DatagramPath, InternetAddress
from sennit.core.datagram_driver import DatagramEngineProtocol
from sennit.core.deferred import Deferred
from sennit.core.driver import handles
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.engine import CLOSED, NEED_DATA, Interrupts, NoEvent, Outgoing, PeerFault
from sennit.core.errors import ProtocolError
from sennit.core.protocol import DatagramProtocol
from sennit.core.testing.clock import Clock


@dataclass(slots=True)
class Asked:
    """A question: ``ask ID WORDS``."""

    words: bytes
    path: DatagramPath
    exchange: int


@dataclass(slots=True)
class Withdrawn(Interrupts):
    """``stop ID``."""

    exchange: int


class AskEngine:
    """Questions with numbers; repeats its last answer after ten seconds."""

    def __init__(self) -> None:
        self._in: deque[Asked | Withdrawn | PeerFault] = deque()
        self._out: list[Outgoing] = []
        self._again: Outgoing | None = None
        self._when: float | None = None
        self._now = 0.0
        self._open: dict[int, DatagramPath] = {}
        self._closing = False
        self.times: list[float] = []

    def receive_datagram(self, data: bytes, path: DatagramPath, now: float) -> None:
        self._now = now
        word, _, rest = data.partition(b" ")
        number, _, words = rest.partition(b" ")
        if data == b"crash":
            raise LookupError("an engine with a bug")
        if word == b"ask" and number.isdigit() and not self._closing:
            self._open[int(number)] = path
            self._in.append(Asked(words, path, int(number)))
        elif word == b"stop" and number.isdigit():
            self._in.append(Withdrawn(int(number)))
        else:
            self._out.append((b"what?", path))
            self._in.append(PeerFault(ProtocolError("neither ask nor stop", "sketch §1")))

    def answer(self, exchange: int, words: bytes) -> None:
        self._again = (words, self._open.pop(exchange))
        self._when = self._now + 10
        self._out.append(self._again)

    def next_event(self) -> Asked | Withdrawn | PeerFault | NoEvent:
        if self._in:
            return self._in.popleft()
        return CLOSED if self._closing and not self._open else NEED_DATA

    def datagrams_to_send(self) -> list[Outgoing]:
        out, self._out = self._out, []
        return out

    def next_timeout(self) -> float | None:
        return self._when

    def handle_timeout(self, now: float) -> None:
        self.times.append(now)
        if self._when is not None and now >= self._when and self._again is not None:
            self._out.append(self._again)
            self._when = None

    def internal_error(self, exchange: int) -> None:
        path = self._open.pop(exchange, None)
        if path is not None:
            self._out.append((b"sorry", path))

    def close(self) -> None:
        self._closing = True


class AskServer(DatagramEngineProtocol[AskEngine, Asked | Withdrawn | PeerFault]):
    max_handlers = 3

    def __init__(self, clock: Any = None) -> None:
        super().__init__(AskEngine(), clock=clock)
        self.gates: dict[int, Deferred[bytes]] = {}
        self.cancelled: list[int] = []

    @handles(Asked)
    def answer(self, event: Asked) -> Any:  # ways of answering: at once, a coroutine, a Deferred
        if event.words == b"wait":
            return self.answer_later(event)
        if event.words == b"defer":
            gate: Deferred[bytes] = Deferred()
            self.gates[event.exchange] = gate
            return gate.add_callback(lambda words: self.engine.answer(event.exchange, words))
        if event.words == b"bug":
            raise LookupError("a handler with a bug")
        if event.words == b"odd":
            return 5
        self.engine.answer(event.exchange, event.words.upper())
        return None

    async def answer_later(self, event: Asked) -> None:
        gate: Deferred[bytes] = Deferred()
        self.gates[event.exchange] = gate
        try:
            self.engine.answer(event.exchange, await gate)
        except asyncio.CancelledError:
            self.cancelled.append(event.exchange)
            raise


class Sent:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = ""
        self.fails = 0

    def send_on_path(self, data: bytes, path: DatagramPath) -> None:
        if self.fails:
            self.fails -= 1
            raise ValueError("too long")
        self.sent.append((data, path))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self, reason: str = "clean") -> None:
        self.closed = self.closed or reason


PATH = DatagramPath(("192.0.2.7", 5000), InternetAddress("192.0.2.1", 53))


def driven() -> tuple[AskServer, Sent, Clock]:
    clock = Clock()
    server, transport = AskServer(clock), Sent()
    server.connection_made(transport)
    return server, transport, clock


def say(server: AskServer, *datagrams: bytes) -> None:
    for each in datagrams:
        server.datagram_received_on_path(each, PATH)


def test_an_answer_takes_the_path_of_its_question() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 hello", b"ask 2 again")
    assert transport.sent == [(b"HELLO", PATH), (b"AGAIN", PATH)]
    server.datagram_received(b"ask 3 plain", ("192.0.2.9", 1))
    assert transport.sent[-1] == (b"PLAIN", DatagramPath(("192.0.2.9", 1)))


def test_the_engine_is_told_the_time_when_it_asks_for_it() -> None:
    server, transport, clock = driven()
    say(server, b"ask 1 hello")
    clock.advance(9)
    assert len(transport.sent) == 1
    clock.advance(1)
    assert transport.sent == [(b"HELLO", PATH)] * 2
    clock.advance(100)
    assert len(transport.sent) == 2
    say(server, b"ask 1 hello")
    server.connection_lost(None)
    clock.advance(100)
    assert len(transport.sent) == 3


def test_a_broken_rule_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    server, transport, _ = driven()
    with caplog.at_level(logging.INFO):
        say(server, b"\x1b[2Jnonsense")
    assert transport.sent == [(b"what?", PATH)]
    (record,) = caplog.records
    assert "192.0.2.7" in record.getMessage()
    assert "sketch §1" in record.getMessage()


def test_bugs_cost_one_datagram(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING fault-10."""
    server, transport, _ = driven()
    say(server, b"ask 1 bug", b"crash", b"ask 2 odd", b"ask 3 fine")
    assert [data for data, _ in transport.sent] == [b"sorry", b"sorry", b"FINE"]
    assert "a handler with a bug" in caplog.text
    assert "an engine with a bug" in caplog.text
    assert "handlers return None, a Deferred or a coroutine" in caplog.text
    transport.fails = 1
    say(server, b"ask 4 lost", b"ask 5 sent")
    assert transport.sent[-1][0] == b"SENT"
    assert "too long" in caplog.text


async def test_handlers_run_side_by_side_and_answer_when_they_can() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 wait", b"ask 2 wait", b"ask 3 quick")
    await asyncio.sleep(0)
    assert [data for data, _ in transport.sent] == [b"QUICK"]
    assert server.open_exchanges == 2
    server.gates[2].callback(b"second")
    server.gates[1].callback(b"first")
    while server.open_exchanges:
        await asyncio.sleep(0)
    assert [data for data, _ in transport.sent] == [b"QUICK", b"second", b"first"]


def test_a_handler_may_return_a_deferred() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 defer", b"ask 2 defer")
    server.gates[1].callback(b"now")
    assert [data for data, _ in transport.sent] == [b"now"]
    server.gates[2].errback(LookupError("no"))
    assert [data for data, _ in transport.sent] == [b"now", b"sorry"]


def test_more_than_may_run_are_told_so() -> None:
    """HARDENING default 27: a named bound, counted."""
    server, transport, _ = driven()
    say(server, *[b"ask %d defer" % number for number in range(5)])
    assert server.open_exchanges == server.max_handlers == 3
    assert server.overflows == 2
    assert [data for data, _ in transport.sent] == [b"sorry", b"sorry"]


async def test_an_interruption_cancels_its_exchange_alone() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 wait", b"ask 2 wait")
    await asyncio.sleep(0)
    say(server, b"stop 1", b"stop 9")
    while server.open_exchanges > 1:
        await asyncio.sleep(0)
    assert server.cancelled == [1]
    server.gates[2].callback(b"second")
    while server.open_exchanges:
        await asyncio.sleep(0)
    assert [data for data, _ in transport.sent] == [b"second"]


async def test_the_end_of_the_transport_cancels_handlers() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 wait")
    await asyncio.sleep(0)
    server.connection_lost(None)
    while server.open_exchanges:
        await asyncio.sleep(0)
    assert server.cancelled == [1]
    assert transport.sent == []


async def test_draining_answers_what_is_open_and_begins_nothing() -> None:
    server, transport, _ = driven()
    say(server, b"ask 1 wait")
    await asyncio.sleep(0)
    server.drain()
    server.drain()
    say(server, b"ask 2 new")
    assert [data for data, _ in transport.sent] == [b"what?"]
    assert not transport.closed
    server.gates[1].callback(b"done")
    while not transport.closed:
        await asyncio.sleep(0)
    assert transport.sent[-1][0] == b"done"
    assert transport.closed == "drained"


def test_draining_an_idle_protocol_closes_at_once() -> None:
    server, transport, _ = driven()
    server.drain()
    assert transport.closed == "drained"


def test_a_class_that_forgets_an_event_is_refused() -> None:
    with pytest.raises(TypeError, match="without a handler: Asked"):

        class Forgets(DatagramEngineProtocol[AskEngine, Asked | Withdrawn]):
            pass

        Forgets(AskEngine())

    with pytest.raises(TypeError, match="handles no events"):
        DatagramEngineProtocol(AskEngine())


class Client(DatagramProtocol):
    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.put_nowait(data)


async def test_a_server_of_an_engine_drains_with_its_scope() -> None:
    servers: list[AskServer] = []

    def build() -> AskServer:
        servers.append(AskServer())
        return servers[-1]

    async with serve("udp://127.0.0.1:0", build) as server:
        client = await connect(server.urls[0], Client)
        client.transport.sendto(b"ask 1 hello")
        assert await client.came.get() == b"HELLO"
        client.transport.sendto(b"ask 2 defer")
        while not servers[0].gates:
            await asyncio.sleep(0)
        closing = server.close()
        await asyncio.sleep(0)
        assert len(server.connections) == 1
        servers[0].gates[2].callback(b"late")
        assert await client.came.get() == b"late"
        await closing
        assert not server.connections
        client.transport.close()
