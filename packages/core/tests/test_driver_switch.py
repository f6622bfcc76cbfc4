"""Giving a connection to another protocol: nobody of the old one waits for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import NEED_DATA, NoEvent, Untimed
from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import memory_pair


@dataclass(slots=True)
class Octet:
    """One octet; its value is its exchange."""

    exchange: int


class OctetEngine(Untimed):
    """An exchange per octet."""

    def __init__(self) -> None:
        self._in = bytearray()
        self.out: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        self._in += data

    def receive_eof(self) -> None: ...

    def close(self) -> None: ...

    def next_event(self) -> Octet | NoEvent:
        return Octet(self._in.pop(0)) if self._in else NEED_DATA

    def data_to_send(self) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def release(self) -> bytes:
        rest, self._in = bytes(self._in), bytearray()
        return rest

    def internal_error(self, exchange: int) -> None: ...


class Switching(EngineProtocol[OctetEngine, Octet]):
    """``!`` gives the connection away; whatever else waits for room."""

    def __init__(self) -> None:
        super().__init__(OctetEngine())
        self.next = Protocol()
        self.ended: list[BaseException | None] = []

    @handles(Octet)
    def octet(self, event: Octet) -> Deferred[None] | None:
        if event.exchange == ord("!"):
            self.switch_protocol(self.next)
            return None
        if event.exchange == ord("b"):
            self.inbox(event)
        self.engine.out.append(bytes(200_000))
        self.flush()
        work = self.writable()
        assert isinstance(work, Deferred)

        def failed(error: BaseException) -> None:
            self.ended.append(error)

        return work.add_errback(failed)


def test_whoever_waits_for_room_learns_that_it_will_not_come() -> None:
    clock = Clock()
    protocol, peer = Switching(), Protocol()
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.first.pause_reading()
    pair.first.write(b"a")
    clock.pump()
    assert protocol.open_exchanges == 1
    finished = protocol.finished()

    protocol.switch_protocol(protocol.next)
    clock.pump()

    assert [type(each) for each in protocol.ended] == [ConnectionLost]
    assert protocol.open_exchanges == 0
    assert finished.called
    assert protocol.next.transport is pair.second


def test_what_comes_next_may_pause_for_what_was_left_unread() -> None:
    class Full(Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.pause_reading()

    clock = Clock()
    protocol, peer = Switching(), Protocol()
    protocol.next = Full()
    pair = memory_pair(peer, protocol, reactor=clock)
    protocol.max_waiting = 0
    pair.first.pause_reading()
    pair.first.write(b"a")
    clock.pump()
    assert not pair.second.is_reading()
    protocol.engine.receive_data(b"rest")

    protocol.switch_protocol(protocol.next)

    assert not pair.second.is_reading()


def test_an_idle_one_has_finished_when_it_has_given_the_connection_away() -> None:
    clock = Clock()
    protocol, peer = Switching(), Protocol()
    pair = memory_pair(peer, protocol, reactor=clock)
    finished = protocol.finished()
    pair.first.write(b"!")
    clock.pump()

    assert finished.called
    assert pair.second.close_reason is None


def test_two_cannot_wait_at_one_inbox() -> None:
    clock = Clock()
    protocol, peer = Switching(), Protocol()
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.first.pause_reading()
    pair.first.write(b"b")
    clock.pump()
    (handler,) = protocol._open.values()
    inbox = handler.inbox
    assert inbox is not None

    async def main(clock: Clock) -> None:
        first = Deferred.from_coroutine(inbox.get())
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="one inbox"):
            await inbox.get()
        first.cancel()
        first.add_errback(lambda _: None)

    clock.run(main)


class Slow(Switching):
    """The first octet is never answered."""

    @handles(Octet)
    def octet(self, event: Octet) -> Deferred[None]:
        return Deferred()


def test_events_behind_the_change_are_not_dropped_in_silence() -> None:
    clock = Clock()
    protocol, peer = Slow(), Protocol()
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.pump()
    peer.transport.write(b"aa")
    pair.pump()

    with pytest.raises(UsageError, match="next protocol would not see"):
        protocol.switch_protocol(Protocol())

    peer.transport.abort()
    pair.pump()


class Hearing(Protocol):
    """Goes on when the peer sends no more."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.heard.append(b"EOF")
        return True


class Connecting(Switching):
    """Its handler waits for something else than the connection."""

    @handles(Octet)
    def octet(self, event: Octet) -> Deferred[None]:
        return Deferred()


def test_what_comes_next_hears_that_the_peer_had_ended_its_direction_before() -> None:
    """``printf 'CONNECT …' | nc proxy``: the end comes while the target is connected to."""
    clock = Clock()
    protocol, peer, heir = Connecting(), Protocol(), Hearing()
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.first.write(b"a")
    pair.first.write_eof()
    clock.pump()
    protocol.engine.receive_data(b"rest")

    protocol.switch_protocol(heir)
    clock.pump()

    assert heir.heard == [b"rest", b"EOF"]
    assert pair.second.close_reason is None


def test_a_connection_given_away_at_the_end_of_input_stays_if_the_next_protocol_stays() -> None:
    class AtTheEnd(Switching):
        def eof_received(self) -> bool:
            self.engine.receive_data(b"!")
            return super().eof_received()

    clock = Clock()
    protocol, peer, heir = AtTheEnd(), Protocol(), Hearing()
    protocol.next = heir
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.first.write_eof()
    clock.pump()

    assert heir.heard == [b"EOF"]
    assert pair.second.close_reason is None


def test_a_protocol_that_needs_more_input_closes_a_connection_that_has_none() -> None:
    clock = Clock()
    protocol, peer = Connecting(), Protocol()
    pair = memory_pair(peer, protocol, reactor=clock)
    pair.first.write(b"a")
    pair.first.write_eof()
    clock.pump()

    protocol.switch_protocol(protocol.next)
    clock.pump()

    assert pair.second.is_closing()
