"""An engine that fails, wherever the driver calls it: its connection ends, handlers and all.

HARDENING fault-10, default 25.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from sennit.core.deferred import Deferred, shield
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import CLOSED, NEED_DATA, NoEvent
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import memory_pair


@dataclass(slots=True)
class Octet:
    """One octet; its value is its exchange."""

    exchange: int


class BadEngine:
    """An exchange per octet; `fails` names the methods that raise."""

    def __init__(self) -> None:
        self.fails: set[str] = set()
        self.fails_at: dict[str, bytes] = {}
        self._in = bytearray()
        self.out: list[bytes] = []
        self.due: float | None = None
        self._over = False

    def _call(self, name: str) -> None:
        if name in self.fails:
            raise ZeroDivisionError(name)

    def receive_data(self, data: bytes) -> None:
        self._call("receive_data")
        self._in += data
        for name, octet in self.fails_at.items():
            if octet in data:
                self.fails.add(name)
                self._call("receive_data")

    def receive_eof(self) -> None:
        self._call("receive_eof")
        self._over = True

    def close(self) -> None:
        self._call("close")
        self._over = True

    def next_event(self) -> Octet | NoEvent:
        self._call("next_event")
        if not self._in:
            return CLOSED if self._over else NEED_DATA
        return Octet(self._in.pop(0))

    def data_to_send(self) -> list[bytes]:
        self._call("data_to_send")
        out, self.out = self.out, []
        return out

    def next_timeout(self) -> float | None:
        self._call("next_timeout")
        return self.due

    def handle_timeout(self, now: float) -> None:
        self._call("handle_timeout")
        self.due = None

    def release(self) -> bytes:
        return b""

    def internal_error(self, exchange: int) -> None:
        self._call("internal_error")
        self.out.append(b"!")


class Waiting(EngineProtocol[BadEngine, Octet]):
    max_parse = 4

    def __init__(self) -> None:
        super().__init__(BadEngine())
        self.ended = 0
        self.go: Deferred[None] = Deferred()

    @handles(Octet)
    async def octet(self, event: Octet) -> None:
        try:
            await shield(self.go)
        finally:
            self.ended += 1


class Case:
    """A connection with one open exchange, in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.protocol = Waiting()
        self.peer = Protocol()
        self.pair = memory_pair(self.peer, self.protocol, reactor=self.clock)
        self.send(b"a")
        assert self.protocol.open_exchanges == 1

    def send(self, data: bytes) -> None:
        self.pair.first.write(data)
        self.clock.pump()

    def ended_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        """The connection has ended, its handler was cancelled, somebody was told why."""
        self.clock.pump()
        assert self.pair.second.close_reason == "error"
        assert self.protocol.open_exchanges == 0
        assert self.protocol.ended
        errors = [each for each in caplog.records if each.levelno >= logging.ERROR]
        assert errors
        assert all("ZeroDivisionError" in each.getMessage() for each in errors)


ANYWHERE = pytest.mark.parametrize("method", ["receive_data", "next_event", "data_to_send"])


@ANYWHERE
def test_an_engine_that_fails_on_octets(method: str, caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    case.protocol.engine.fails.add(method)
    case.send(b"b")
    case.ended_alone(caplog)


@ANYWHERE
def test_an_engine_that_fails_on_octets_left_for_a_later_turn(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case()
    case.protocol.engine.fails_at[method] = b"z"
    case.send(b"bcdefghijklmz")
    case.ended_alone(caplog)


@pytest.mark.parametrize("method", ["next_timeout", "handle_timeout", "next_event", "data_to_send"])
def test_an_engine_that_fails_when_its_time_comes(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case()
    case.protocol.engine.due = case.clock.time() + 5
    case.protocol.flush()
    case.protocol.engine.fails.add(method)
    case.clock.advance(6)
    case.ended_alone(caplog)


def test_an_engine_that_fails_at_the_end_of_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    case.protocol.engine.fails.add("receive_eof")
    case.pair.first.write_eof()
    case.ended_alone(caplog)


def test_an_engine_that_fails_while_it_is_drained(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    case.protocol.engine.fails.add("close")
    case.protocol.drain()
    case.ended_alone(caplog)


def test_an_engine_that_fails_when_a_handler_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    case.protocol.engine.fails.add("data_to_send")
    case.protocol.go.callback(None)
    case.ended_alone(caplog)


def test_handlers_end_though_the_engine_fails_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    case.protocol.engine.fails.add("data_to_send")
    case.pair.first.abort()
    case.clock.pump()
    assert case.protocol.open_exchanges == 0
    assert case.protocol.ended
