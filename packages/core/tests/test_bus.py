"""Buses and counters: in memory, and over a Unix socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from sennit.core.bus.counting import Counts
from sennit.core.bus.interfaces import IBus, ICounters, ISubscription
from sennit.core.bus.memory import MemoryBus, MemoryCounters
from sennit.core.bus.opening import open_bus
from sennit.core.bus.topics import MAX_MESSAGE, MAX_TOPIC
from sennit.core.bus.unix import MAX_WAITING, BusHub, UnixBus
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.plugin import UnknownPluginError
from sennit.core.reactor.base import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

Heard = list[tuple[str, bytes]]


def hear(heard: Heard) -> Callable[[str, bytes], object]:
    return lambda topic, message: heard.append((topic, message))


async def after(condition: Callable[[], bool], reactor: Reactor) -> None:
    """Wait until something is so, five seconds at most."""
    for _ in range(1000):
        if condition():
            return
        done: Deferred[None] = Deferred()
        reactor.call_later(0.005, done.callback, None)
        await done
    raise AssertionError("it never was")


def in_reactor(main: Callable[[Reactor], Awaitable[None]]) -> None:
    async def bounded(reactor: Reactor) -> None:
        from asyncio import timeout

        async with timeout(20):
            await main(reactor)

    run(bounded)


# ── in memory ─────────────────────────────────────────────────────────────────


def test_a_message_reaches_whoever_subscribes_to_its_topic() -> None:
    bus = MemoryBus()
    one: Heard = []
    many: Heard = []
    bus.subscribe("news", hear(one))
    bus.subscribe("n*", hear(many))
    bus.subscribe("other", hear(one))

    bus.publish("news", b"a")
    bus.publish("nothing", b"b")

    assert one == [("news", b"a")]
    assert many == [("news", b"a"), ("nothing", b"b")]


def test_who_has_closed_hears_nothing_and_may_close_again() -> None:
    bus = MemoryBus()
    heard: Heard = []
    subscription = bus.subscribe("news", hear(heard))

    subscription.close()
    subscription.close()
    bus.publish("news", b"a")

    assert heard == []


def test_all_hear_the_same_order_also_of_answers() -> None:
    bus = MemoryBus()
    heard: Heard = []
    bus.subscribe("a", lambda topic, message: bus.publish("b", b"answer"))
    bus.subscribe("*", hear(heard))

    bus.publish("a", b"question")

    assert [topic for topic, _ in heard] == ["a", "b"]


def test_a_subscriber_that_fails_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING fault-10."""
    bus = MemoryBus()
    heard: Heard = []
    bus.subscribe("a", lambda topic, message: 1 / 0)
    bus.subscribe("a", hear(heard))

    bus.publish("a", b"x")

    assert heard == [("a", b"x")]
    assert "a subscriber failed" in caplog.text


@pytest.mark.parametrize("topic", ["", "x" * (MAX_TOPIC + 1), "a*b", "*a"])
def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    with pytest.raises(UsageError):
        MemoryBus().publish(topic, b"")
    with pytest.raises(UsageError):
        MemoryBus().subscribe(topic, print)


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="octets at most"):
        MemoryBus().publish("a", bytes(MAX_MESSAGE + 1))


def test_a_slow_reader_of_a_stream_misses_the_oldest() -> None:
    async def main(reactor: Reactor) -> None:
        bus = MemoryBus()
        async with bus.messages("a", limit=2) as stream:
            for each in (b"1", b"2", b"3"):
                bus.publish("a", each)
            assert [await anext(stream), await anext(stream)] == [("a", b"2"), ("a", b"3")]
            assert stream.dropped == 1
        assert [each async for each in stream] == []

    in_reactor(main)


def test_what_they_offer_is_in_their_contracts() -> None:
    bus = MemoryBus()
    verifyObject(IBus, bus)
    verifyObject(ICounters, MemoryCounters())
    verifyObject(ISubscription, bus.subscribe("a", print))


# ── counters ──────────────────────────────────────────────────────────────────


def test_a_window_forgets_what_is_old() -> None:
    counts = Counts()

    assert counts.add("a", 10, 60.0, 0.0) == 10
    assert counts.get("a", 60.0, 59.0) == 10
    # Half of the window before still counts at half of this one.
    assert counts.get("a", 60.0, 90.0) == 5
    assert counts.add("a", 1, 60.0, 90.0) == 6
    assert counts.get("a", 60.0, 1000.0) == 0


def test_a_count_without_a_window_lasts() -> None:
    counts = Counts()

    counts.add("a", 2, None, 0.0)
    assert counts.add("a", 3, None, 1e6) == 5
    counts.reset("a", None)
    assert counts.get("a", None, 1e6) == 0


def test_the_number_of_counters_is_bounded() -> None:
    counts = Counts(limit=10)
    counts.add("kept", 1, None, 0.0)
    for each in range(100):
        counts.add(str(each), 1, None, 0.0)
        counts.add("kept", 1, None, 0.0)

    assert len(counts) == 10
    assert counts.forgotten == 91
    assert counts.get("kept", None, 0.0) == 101


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 5)), max_size=40))
def test_a_window_counts_no_more_than_two_of_them_and_no_less_than_the_last(
    steps: list[tuple[float, int]],
) -> None:
    counts = Counts()
    now = 0.0
    added: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        total = counts.add("a", amount, 10.0, now)
        added.append((now, amount))
        assert total <= sum(each for when, each in added if when >= now - 20.0)
        assert total >= amount


# ── over a Unix socket ────────────────────────────────────────────────────────


def test_clients_of_a_hub_hear_each_other_and_count_together(tmp_path: Path) -> None:
    async def main(reactor: Reactor) -> None:
        hub = BusHub(reactor)
        path = str(tmp_path / "bus.sock")
        await hub.listen(path)
        first, counters = open_bus(f"unix:{path}", reactor)
        second = UnixBus(reactor, path)
        verifyObject(IBus, second)
        verifyObject(ICounters, second)
        await second.when_connected()
        heard: Heard = []
        subscription = second.subscribe("news*", hear(heard))
        # The answer comes after what was said before it.
        await second.get("sync")
        await counters.get("sync") if isinstance(first, UnixBus) and first.connected else None
        if isinstance(first, UnixBus):
            await first.when_connected()
        first.publish("news.today", b"hello")
        second.publish("news", b"to myself")
        await after(lambda: len(heard) == 2, reactor)
        assert sorted(heard) == [("news", b"to myself"), ("news.today", b"hello")]

        assert await counters.add("a", 2) == 2
        assert await second.add("a", 3) == 5
        assert await second.get("a") == 5
        await counters.reset("a")
        assert await second.get("a") == 0
        with pytest.raises(UsageError, match="no time"):
            await second.add("a", window=-1.0)

        subscription.close()
        await second.get("sync")
        first.publish("news", b"unheard")
        await counters.get("sync")
        await second.get("sync")
        assert len(heard) == 2
        await first.close()
        await second.close()
        hub.close()

    in_reactor(main)


def test_the_largest_message_passes_a_hub(tmp_path: Path) -> None:
    async def main(reactor: Reactor) -> None:
        hub = BusHub(reactor)
        path = str(tmp_path / "bus.sock")
        await hub.listen(path)
        bus = UnixBus(reactor, path)
        await bus.when_connected()
        heard: Heard = []
        bus.subscribe("t" * MAX_TOPIC, hear(heard))
        bus.subscribe("end", hear(heard))
        bus.publish("t" * MAX_TOPIC, bytes(MAX_MESSAGE))
        await after(lambda: bool(heard) or bool(hub.dropped), reactor)
        assert (len(heard[0][1]), bus.dropped, hub.dropped) == (MAX_MESSAGE, 0, 0)
        await bus.close()
        hub.close()

    in_reactor(main)


def test_nobody_waits_for_a_bus_that_was_closed(tmp_path: Path) -> None:
    async def main(reactor: Reactor) -> None:
        bus = UnixBus(reactor, str(tmp_path / "none.sock"))
        waiting = bus.when_connected()
        await bus.close()
        with pytest.raises(ConnectionLost):
            await waiting

    in_reactor(main)


def test_a_client_comes_back_and_wants_what_it_wanted(tmp_path: Path) -> None:
    async def main(reactor: Reactor) -> None:
        path = str(tmp_path / "bus.sock")
        bus = UnixBus(reactor, path)
        heard: Heard = []
        bus.subscribe("a", hear(heard))
        bus.publish("a", b"nobody is there")
        assert bus.dropped == 1
        with pytest.raises(ConnectionLost):
            await bus.add("x")

        for message in (b"first", b"second"):
            hub = BusHub(reactor)
            await hub.listen(path)
            await bus.when_connected()
            await bus.get("sync")
            bus.publish("a", message)
            await after(lambda wanted=message: ("a", wanted) in heard, reactor)  # type: ignore[misc]  # a default binds the loop's value
            hub.close()
            await after(lambda: not bus.connected, reactor)
        await bus.close()

    in_reactor(main)


def test_a_slow_client_misses_messages_which_are_counted(tmp_path: Path) -> None:
    """HARDENING fault-15: what waits for it stays within a limit."""

    async def main(reactor: Reactor) -> None:
        hub = BusHub(reactor)
        ours, theirs = socket.socketpair()
        hub.adopt(ours)
        theirs.sendall(b"\0\0\0\2Sa")
        pair = socket.socketpair()
        hub.adopt(pair[0])
        bus = UnixBus(reactor, sock=pair[1])
        await bus.get("sync")
        for _ in range(100):
            bus.publish("a", bytes(100_000))
            await bus.get("sync")

        assert hub.dropped > 50
        slow = next(each for each in hub.clients if each.topics)
        # The limit, and the message that went beyond it.
        assert slow.transport.get_write_buffer_size() <= MAX_WAITING + 100_100

        # Once it reads it learns how many it has missed.
        theirs.setblocking(False)
        data = bytearray()

        def read() -> bool:
            try:
                data.extend(theirs.recv(1 << 20))
            except BlockingIOError:
                pass
            return b"D" + str(hub.dropped).encode() in data

        await after(read, reactor)
        theirs.close()
        await bus.close()
        hub.close()

    in_reactor(main)


@pytest.mark.parametrize(
    "octets",
    [
        b"\0\0\0\1Z",
        b"\xff\xff\xff\xff",
        b"\0\0\0\2P\0",
        b"\0\0\0\3P\x05a",
        b"\0\0\0\4C{}}",
        b"\0\0\0\3C[]",
        b"\0\0\0\2S\xff",
        b"\0\0\0\1S",
    ],
)
def test_nonsense_ends_a_connection_and_no_other(
    octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(reactor: Reactor) -> None:
        hub = BusHub(reactor)
        ours, theirs = socket.socketpair()
        hub.adopt(ours)
        pair = socket.socketpair()
        hub.adopt(pair[0])
        bus = UnixBus(reactor, sock=pair[1])
        theirs.sendall(octets)
        await after(lambda: len(hub.clients) == 1, reactor)
        assert await bus.add("a") == 1
        theirs.close()
        await bus.close()
        hub.close()

    in_reactor(main)


def test_a_bus_that_nobody_brings_is_named() -> None:
    async def main(reactor: Reactor) -> None:
        bus, counters = open_bus("memory:", reactor)
        assert await counters.add("a") == 1
        await bus.close()
        with pytest.raises(UnknownPluginError, match="carrier-pigeon"):
            open_bus("carrier-pigeon://coop", reactor)
        with pytest.raises(UsageError, match="names no socket"):
            open_bus("unix:", reactor)

    in_reactor(main)
