"""The pool's book-keeping on a virtual clock: any order of events keeps its promises."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.core.database.errors import AcquireTimeoutError, PoolClosedError
from sennit.core.database.slots import Slots
from sennit.core.deferred import Deferred
from sennit.core.testing.clock import Clock


class One:
    made = used = 0.0
    suspect = False


class World:
    """Slots whose connections open, live and die as the test says."""

    def __init__(self, size: int, *, checks: bool = True) -> None:
        self.clock = Clock()
        self.opening: list[Deferred[One]] = []
        self.checking: list[tuple[One, Deferred[bool]]] = []
        self.alive: set[One] = set()
        self.held: list[One] = []
        self.waiting: list[Deferred[One]] = []
        self.errors: list[BaseException] = []
        self.slots: Slots[One] = Slots(
            self.clock,
            size,
            open=self.open,
            close=self.alive.remove,
            check=self.check if checks else None,
            check_after=2.0,
            idle_time=10.0,
            max_age=50.0,
        )

    def open(self) -> Deferred[One]:
        self.opening.append(Deferred())
        return self.opening[-1]

    def check(self, one: One) -> Deferred[bool]:
        self.checking.append((one, Deferred()))
        return self.checking[-1][1]

    def acquire(self, timeout: float | None) -> None:
        waiter = self.slots.acquire(timeout)
        self.waiting.append(waiter)
        waiter.add_callbacks(self.held.append, self.errors.append)

    def step(self, what: str, number: int) -> None:
        if what == "acquire":
            self.acquire(5.0)
        elif what == "opened" and self.opening:
            one = One()
            self.alive.add(one)
            self.opening.pop(number % len(self.opening)).callback(one)
        elif what == "refused" and self.opening:
            self.opening.pop(number % len(self.opening)).errback(ConnectionError())
        elif what == "release" and self.held:
            self.slots.release(self.held.pop(number % len(self.held)))
        elif what == "broken" and self.held:
            self.slots.suspect_all()
            self.slots.release(self.held.pop(number % len(self.held)), usable=False)
        elif what == "checked" and self.checking:
            _, answer = self.checking.pop(number % len(self.checking))
            answer.callback(True)
        elif what == "dead" and self.checking:
            _, answer = self.checking.pop(number % len(self.checking))
            answer.errback(ConnectionError())
        elif what == "cancel" and self.waiting:
            waiter = self.waiting.pop(number % len(self.waiting))
            if not waiter.fired:
                waiter.cancel()
        elif what == "time":
            self.clock.advance(number % 4)

    def check_promises(self) -> None:
        slots = self.slots
        assert slots.total <= slots.size
        assert len(self.alive) + len(self.opening) == slots.total
        assert set(slots.busy) == set(self.held)
        assert len(self.held) == len(set(self.held)), "one holder each"
        if slots.waiting:
            # Nobody waits beside a free connection, or beside room for one.
            under_way = len(self.opening) + len(self.checking)
            assert under_way or slots.total == slots.size
            assert not slots.idle or under_way >= slots.waiting


WORDS = "acquire opened refused release broken checked dead cancel time".split()  # noqa: SIM905 - a list of words reads better


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=60),
)
def test_no_order_of_events_exceeds_the_size_or_leaves_anybody_waiting(
    size: int, steps: list[tuple[str, int]]
) -> None:
    world = World(size)
    for what, number in steps:
        world.step(what, number)
        world.check_promises()
    # From here all goes well: everybody is served, or has had an error.
    for _ in range(1000):
        if not world.slots.waiting:
            break
        for what in ("opened", "checked", "release"):
            world.step(what, 0)
            world.check_promises()
    assert not world.slots.waiting
    assert all(waiter.fired for waiter in world.waiting)
    closing = world.slots.close()
    for what in ("opened", "checked", "release"):
        for _ in range(size):
            world.step(what, 0)
    assert closing.outcome is not None
    assert not world.alive
    assert not world.clock.pending, "no timer is left"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7))))
def test_nobody_waits_longer_than_the_limit(size: int, steps: list[tuple[str, int]]) -> None:
    world = World(size)
    for what, number in steps:
        world.step(what, number)
    world.clock.advance(5.0)
    assert not world.slots.waiting
    for error in world.errors:
        assert isinstance(error, (AcquireTimeoutError, ConnectionError, asyncio.CancelledError))
    world.slots.close()
    world.step("opened", 0)


def test_who_waits_longest_is_served_first() -> None:
    world = World(1)
    order: list[int] = []

    def note(one: One, number: int) -> One:
        order.append(number)
        return one

    for number in range(3):
        world.slots.acquire().add_callback(note, number)
    world.step("opened", 0)
    (one,) = world.alive
    world.slots.release(one)
    world.slots.release(one)
    assert order == [0, 1, 2]


def test_what_is_idle_for_long_is_closed_down_to_what_is_kept() -> None:
    world = World(3, checks=False)
    world.slots._min_size = 1
    for _ in range(3):
        world.acquire(None)
        world.step("opened", 0)
    for _ in range(3):
        world.step("release", 0)
    world.clock.advance(9.0)
    assert world.slots.idle == 3
    world.clock.advance(7.0)
    assert world.slots.idle == 1
    world.clock.advance(40.0)
    assert len(world.opening) == 1, "too old: another one is opened in its place"
    assert not world.alive


def test_a_time_limit_while_a_connection_opens_says_that() -> None:
    world = World(1)
    world.acquire(1.0)
    world.clock.advance(1.0)
    (error,) = world.errors
    assert "1 of 1 were being opened" in str(error)
    world.step("opened", 0)
    assert world.slots.idle == 1, "and serves the next one"


def test_a_closed_one_gives_out_nothing_and_ends_with_the_last() -> None:
    world = World(1)
    world.acquire(None)
    world.step("opened", 0)
    world.acquire(None)
    closing = world.slots.close()
    assert closing.outcome is None
    world.acquire(None)
    assert [type(error) for error in world.errors] == [PoolClosedError, PoolClosedError]
    world.step("release", 0)
    assert closing.outcome is not None
