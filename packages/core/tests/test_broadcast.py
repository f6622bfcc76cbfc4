"""Broadcast: one message to many, encoded once, nobody waits for the slow."""

from __future__ import annotations

import time

import pytest

from sennit.core.protocol import Protocol
from sennit.core.stream import Broadcast
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import MemoryTransport, memory_pair


def member() -> RecordingTransport:
    return RecordingTransport(Protocol())


def test_every_member_is_told() -> None:
    members = [member() for _ in range(5)]
    broadcast = Broadcast()
    for each in members:
        broadcast.add(each)
        broadcast.add(each)

    assert broadcast.send(b"hello") == 5
    assert [each.written for each in members] == [b"hello"] * 5
    assert len(broadcast) == 5
    assert list(broadcast) == members


def test_a_message_is_encoded_once_and_its_octets_are_shared() -> None:
    encoded: list[object] = []

    def encode(message: object) -> bytes:
        encoded.append(message)
        return repr(message).encode()

    members = [member() for _ in range(3)]
    broadcast = Broadcast(encode=encode)
    for each in members:
        each.block()
        broadcast.add(each)
    broadcast.send({"a": 1})

    assert encoded == [{"a": 1}]
    assert len({id(each._waiting[0]) for each in members}) == 1


def test_the_sender_can_be_skipped() -> None:
    first, second = member(), member()
    broadcast = Broadcast()
    broadcast.add(first)
    broadcast.add(second)

    assert broadcast.send(b"x", skip=first) == 1
    assert (first.written, second.written) == (b"", b"x")


def test_who_has_left_or_gone_is_told_no_more() -> None:
    left, gone, there = member(), member(), member()
    broadcast = Broadcast()
    for each in (left, gone, there):
        broadcast.add(each)
    broadcast.remove(left)
    broadcast.remove(left)
    gone.lose()

    assert broadcast.send(b"x") == 1
    assert list(broadcast) == [there]
    assert gone not in broadcast


def test_drop_leaves_a_message_out_for_a_member_that_is_slow() -> None:
    slow, quick = member(), member()
    slow.block()
    broadcast = Broadcast("drop", limit=10)
    broadcast.add(slow)
    broadcast.add(quick)
    for text in (b"first message", b"second", b"third"):
        broadcast.send(text)
    slow.unblock()
    broadcast.send(b"fourth")

    assert quick.pieces == [b"first message", b"second", b"third", b"fourth"]
    assert slow.pieces == [b"first message", b"fourth"]
    assert broadcast.dropped == 2


def test_close_aborts_a_member_that_is_slow_with_a_named_reason() -> None:
    slow, quick = member(), member()
    slow.block()
    broadcast = Broadcast("close", limit=10)
    broadcast.add(slow)
    broadcast.add(quick)
    assert broadcast.send(b"first message") == 2
    assert broadcast.send(b"second") == 1

    assert slow.close_reason == "limit:broadcast"
    assert list(broadcast) == [quick]
    assert broadcast.closed == 1


def test_coalesce_keeps_the_latest_of_each_key_until_there_is_room() -> None:
    slow = member()
    slow.block()
    broadcast = Broadcast("coalesce", limit=10)
    broadcast.add(slow)
    broadcast.send(b"a filling message")
    for number in range(100):
        broadcast.send(b"x=%d;" % number, key="x")
        broadcast.send(b"y=%d;" % number, key="y")
    assert slow.get_write_buffer_size() == 17
    slow.unblock()
    broadcast.send(b"x=100;", key="x")

    assert slow.written == b"a filling messagex=99;y=99;x=100;"
    assert broadcast.dropped == 198


def test_coalesce_sends_only_as_much_as_there_is_room_for() -> None:
    slow = member()
    slow.block()
    broadcast = Broadcast("coalesce", limit=10)
    broadcast.add(slow)
    broadcast.send(b"a filling message")
    for number in range(50):
        broadcast.send(b"message %02d" % number, key=number)
    slow.unblock(17)

    assert slow.get_write_buffer_size() <= 20
    while slow.get_write_buffer_size():
        slow.unblock(5)
    assert slow.written == b"a filling message" + b"".join(b"message %02d" % n for n in range(50))


def test_a_member_may_leave_or_join_while_a_message_is_sent() -> None:
    broadcast = Broadcast(limit=4)
    other, new = member(), member()

    class Leaves(Protocol):
        def pause_writing(self) -> None:
            broadcast.remove(other)
            broadcast.add(new)

    leaving = RecordingTransport(Leaves())
    leaving.block()
    leaving.set_write_buffer_limits(high=4)
    broadcast.add(leaving)
    broadcast.add(other)
    broadcast.send(b"hello")

    assert other.written == b""
    assert new.written == b""
    assert list(broadcast) == [leaving, new]


@pytest.mark.parametrize("bad", [{"policy": "wait"}, {"limit": -1}])
def test_odd_policies_and_limits_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Broadcast(**bad)  # type: ignore[arg-type]  # the point of the test


def test_ten_thousand_members_of_whom_one_never_reads_cost_little_and_hold_little() -> None:
    """What a member that never reads holds is bounded, and nobody waits for it."""
    clock = Clock()
    broadcast = Broadcast("drop")
    ends: list[MemoryTransport] = []

    class Reader(Protocol):
        received = 0

        def data_received(self, data: bytes) -> None:
            self.received += len(data)

    readers = [Reader() for _ in range(10_000)]
    for reader in readers:
        first, second, _ = memory_pair(Protocol(), reader, reactor=clock)
        ends.append(second)
        broadcast.add(first)
    ends[0].pause_reading()
    message = bytes(1024)
    begun = time.process_time()
    for _ in range(3):
        assert broadcast.send(message) == 10_000
    per_member = (time.process_time() - begun) / 30_000
    clock.pump()

    assert {reader.received for reader in readers[1:]} == {3 * 1024}
    assert readers[0].received == 0
    # Generous: it is about a microsecond; a Task or a queue per member would be ten or more.
    assert per_member < 20e-6
