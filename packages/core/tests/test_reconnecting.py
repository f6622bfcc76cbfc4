"""A client that keeps a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectError, ReactorError
from sennit.core.interfaces import IStreamProtocol
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, run
from sennit.core.service.client import ReconnectingClient
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport


class World:
    """Servers that answer or do not, and who tried to connect when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.down: set[str] = set()
        self.tries: list[tuple[float, str]] = []
        self.connections: list[RecordingTransport] = []

    def open(
        self, url: str, factory: Callable[[], IStreamProtocol], /
    ) -> Deferred[IStreamProtocol]:
        self.tries.append((round(self.clock.time(), 6), url))
        if url in self.down:
            return fail(ConnectError(f"{url} is down"))
        protocol = factory()
        self.connections.append(RecordingTransport(protocol))
        return succeed(protocol)

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.tries]


def client_of(world: World, *urls: str, **settings: object) -> ReconnectingClient[Protocol]:
    settings.setdefault("jitter", lambda: 1.0)
    return ReconnectingClient("feed", urls or ("a",), Protocol, open=world.open, **settings)  # type: ignore[arg-type]  # settings of several types


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


def started(clock: Clock, client: ReconnectingClient[Protocol]) -> ReconnectingClient[Protocol]:
    """The client, at work."""
    clock.run(lambda _: client.start(clock))  # type: ignore[arg-type]  # the clock is its reactor
    return client


def test_whoever_asks_gets_the_protocol(clock: Clock, world: World) -> None:
    client = started(clock, client_of(world))
    assert clock.run_until(client.connected()) is client.protocol
    assert client.protocol is not None


def test_it_comes_back_when_the_connection_has_gone(clock: Clock, world: World) -> None:
    client = started(clock, client_of(world, min_delay=2))
    first = client.protocol
    clock.advance(100)
    world.connections[0].lose()
    assert client.protocol is None
    waiting = client.connected()
    clock.advance(1.9)
    assert not waiting.called
    clock.advance(0.2)
    assert waiting.called
    assert client.protocol is not first
    assert world.times == [0, 102]


def test_pauses_grow_up_to_the_longest(clock: Clock, world: World) -> None:
    world.down = {"a"}
    started(clock, client_of(world, min_delay=1, max_delay=10, factor=3))
    clock.advance(45)
    assert world.times == [0, 1, 4, 13, 23, 33, 43]


@given(st.floats(0, 1, exclude_max=True))
def test_no_pause_is_shorter_than_half_nor_longer_than_whole(drawn: float) -> None:
    clock = Clock()
    world = World(clock)
    world.down = {"a"}
    started(clock, client_of(world, min_delay=1, max_delay=8, factor=2, jitter=lambda: drawn))
    clock.advance(60)
    pauses = [later - earlier for earlier, later in zip(world.times, world.times[1:], strict=False)]
    for at, pause in enumerate(pauses):
        whole = min(2**at, 8)
        assert whole / 2 - 1e-6 <= pause <= whole + 1e-6


def test_a_connection_that_stood_begins_the_count_anew(clock: Clock, world: World) -> None:
    world.down = {"a"}
    client = started(clock, client_of(world, min_delay=1, good_after=5))
    clock.advance(4)
    assert client.failures == 3
    world.down.clear()
    clock.advance(4)
    assert client.protocol is not None
    clock.advance(6)
    world.connections[-1].lose()
    assert client.failures == 0
    clock.advance(1.1)
    assert client.protocol is not None


def test_a_server_that_accepts_and_closes_is_called_ever_less_often(
    clock: Clock, world: World
) -> None:
    client = started(clock, client_of(world, min_delay=1, good_after=5))
    for _ in range(4):
        world.connections[-1].lose()
        while client.protocol is None:
            clock.advance(0.5)
    assert world.times == [0, 1, 3, 7, 15]


def test_endpoints_are_tried_in_turn_and_only_all_of_them_make_a_pause(
    clock: Clock, world: World
) -> None:
    world.down = {"a", "b"}
    client = started(clock, client_of(world, "a", "b", "c"))
    clock.advance(0)
    assert [url for _, url in world.tries] == ["a", "b", "c"]
    assert world.times == [0, 0, 0]
    assert client.protocol is not None

    world.down = {"a", "b", "c"}
    clock.advance(100)
    world.tries.clear()
    world.connections[-1].lose()
    clock.advance(1.5)
    assert [url for _, url in world.tries] == ["c", "a", "b"]


def test_it_gives_up_when_told_so(clock: Clock, world: World) -> None:
    world.down = {"a"}
    client = started(clock, client_of(world, max_failures=3))
    failures: list[BaseException] = []
    client.on_failure = lambda service, error: failures.append(error)
    waiting = client.connected()
    clock.advance(10)
    with pytest.raises(ConnectError, match="given up after 3"):
        clock.run_until(waiting)
    with pytest.raises(ConnectError, match="a is down"):
        clock.run_until(client.connected())
    assert len(failures) == 1
    assert len(world.tries) == 3
    assert clock.pending == []


def test_waiting_can_end_by_time_and_by_hand(clock: Clock, world: World) -> None:
    world.down = {"a"}
    client = started(clock, client_of(world))
    hurried = client.connected(timeout=0.5)
    client.connected().cancel()
    clock.advance(0.6)
    with pytest.raises(TimeoutError):
        clock.run_until(hurried)
    world.down.clear()
    clock.advance(2)
    assert client.protocol is not None


def test_stopping_ends_the_connection_and_whoever_waits(clock: Clock, world: World) -> None:
    client = started(clock, client_of(world))
    client.close_doors(5)
    clock.pump()
    assert world.connections[0].close_reason == "drained"
    world.connections[0].lose()
    clock.run(lambda _: client.stop(5))
    clock.advance(100)
    assert len(world.tries) == 1
    assert clock.pending == []
    with pytest.raises(ReactorError, match="not running"):
        clock.run_until(client.connected())


def test_stopping_between_two_tries_leaves_nothing(clock: Clock, world: World) -> None:
    world.down = {"a"}
    client = started(clock, client_of(world))
    waiting = client.connected()
    clock.run(lambda _: client.stop())
    with pytest.raises(ReactorError, match="was stopped"):
        clock.run_until(waiting)
    assert clock.pending == []


def test_it_can_be_started_again(clock: Clock, world: World) -> None:
    world.down = {"a"}
    client = started(clock, client_of(world, max_failures=1))
    clock.advance(5)
    clock.run(lambda _: client.stop())
    world.down.clear()
    started(clock, client)
    assert client.protocol is not None


def test_many_clients_do_not_begin_at_once(clock: Clock, world: World) -> None:
    """HARDENING fault-20: no thundering herd."""
    drawn = iter([0.1, 0.9])
    for _ in range(2):
        started(clock, client_of(world, spread=10, jitter=lambda: next(drawn)))
    clock.advance(10)
    assert world.times == [1, 9]


def test_a_change_of_state_is_one_line(
    clock: Clock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sennit.client")
    world.down = {"a"}
    started(clock, client_of(world))
    world.down.clear()
    clock.advance(1.1)
    clock.advance(20)
    world.connections[-1].lose()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "cannot connect to a" in lines[0]
    assert "connected to a" in lines[1]
    assert "lost" in lines[2]


@pytest.mark.parametrize(
    "settings",
    [{"min_delay": 0}, {"min_delay": 9, "max_delay": 8}, {"factor": 0.5}, {"max_failures": 0}],
)
def test_numbers_that_cannot_be_are_refused(world: World, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"min_delay|max_failures"):
        client_of(world, **settings)


def test_a_client_without_an_endpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint"):
        ReconnectingClient("feed", [], Protocol)


def test_over_sockets_it_follows_a_server_that_restarts() -> None:
    class Greeter(Protocol):
        def connection_made(self, transport: object) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]  # any transport will do
            self.transport.write(b"hi")

    class Listens(Protocol):
        heard: asyncio.Event

        def __init__(self) -> None:
            self.heard = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.heard.set()

    async def main(reactor: Reactor) -> int:
        first = await serve("tcp://127.0.0.1:0", Greeter, drain=0)
        url = first.urls[0]
        client = ReconnectingClient(
            "feed", url, Listens, open=partial(connect, timeout=5), min_delay=0.01, max_delay=0.05
        )
        await client.start(reactor)
        before = await client.connected(5)
        await before.heard.wait()
        await first.close(0)
        second = await serve(url, Greeter)
        after = await client.connected(10)
        while after is before:
            await asyncio.sleep(0)
            after = await client.connected(10)
        await after.heard.wait()
        await client.stop()
        await second.close(0)
        return client.failures

    assert run(main) >= 0
