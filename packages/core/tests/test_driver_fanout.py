"""Fan-out to ten thousand members: encoded once, and a slow one hurts nobody."""

from __future__ import annotations

import tracemalloc

from packages.core.tests.sketches.room import Member, RoomEngine
from sennit.core.broadcast import Broadcast
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import Link, memory_pair

MEMBERS = 10_000


class Listener(Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def test_ten_thousand_members_are_told_over_memory_and_one_that_is_slow_is_dropped() -> None:
    clock = Clock()
    members: set[Member] = set()
    listeners = [Listener() for _ in range(MEMBERS)]
    pairs = [
        memory_pair(listener, Member(members), reactor=clock, back=Link(capacity=1024))
        for listener in listeners
    ]
    clock.pump()
    slow = pairs[7].first
    slow.pause_reading()
    pairs[7].second.set_write_buffer_limits(high=1024)

    pairs[0].first.write(b"hello\r\n")
    clock.pump()
    assert sum(each.got == b"hello\r\n" for each in listeners) == MEMBERS - 1

    for _ in range(8):
        pairs[0].first.write(b"x" * 500 + b"\r\n")
        clock.pump()
    assert len(members) == MEMBERS - 1
    assert listeners[7].lost
    assert pairs[7].second.close_reason == "limit:too-slow"
    rest = listeners[:7] + listeners[8:]
    assert not any(each.lost for each in rest)
    assert {len(each.got) for each in rest} == {7 + 8 * 502}


def test_a_message_is_encoded_once_and_shared() -> None:
    members: set[Member] = set()
    transports = [RecordingTransport(Member(members)) for _ in range(1000)]
    for each in transports:
        each.block()

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    transports[0].receive(b"m" * 500 + b"\r\n")
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 250 * len(transports), "each member has its own copy"
    for each in transports:
        each.unblock()
        assert each.written == b"m" * 500 + b"\r\n"


def test_broadcast_takes_the_members_transports() -> None:
    """The house's own fan-out, for octets that need no engine."""
    members: set[Member] = set()
    transports = [RecordingTransport(Member(members)) for _ in range(100)]
    broadcast = Broadcast("close", limit=1000)
    for each in transports:
        broadcast.add(each)
    transports[3].block()
    for _ in range(4):
        broadcast.send(RoomEngine.encode(b"y" * 498))
    assert transports[3].aborted
    assert len(members) == 99
    assert all(len(each.written) == 2000 for each in members_of(transports, 3))


def members_of(transports: list[RecordingTransport], without: int) -> list[RecordingTransport]:
    return transports[:without] + transports[without + 1 :]
