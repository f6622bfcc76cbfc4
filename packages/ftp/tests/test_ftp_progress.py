"""Standing still is told once, and in time."""

from __future__ import annotations

import gc
import weakref

from sennit.core.testing.clock import Clock
from sennit.ftp.progress import ProgressWatch


class Moving:
    """Something that moves when it is told to."""

    def __init__(self, clock: Clock, patience: float = 60.0) -> None:
        self.at = 0
        self.clock = clock
        self.stalled: list[float] = []
        self.watch = ProgressWatch(clock, patience, lambda: self.at, self.stop)

    def stop(self) -> None:
        self.stalled.append(self.clock.time())

    def pass_time(self, seconds: int, *, moves: bool = False) -> None:
        for _ in range(seconds):
            self.at += moves
            self.clock.advance(1)


def test_what_stands_still_is_told_once_after_its_time() -> None:
    moving = Moving(Clock())
    begun = moving.clock.time()
    moving.pass_time(300)

    [when] = moving.stalled
    assert 60 <= when - begun <= 75


def test_what_moves_is_left_alone() -> None:
    moving = Moving(Clock())
    moving.pass_time(300, moves=True)
    assert not moving.stalled
    begun = moving.clock.time()
    moving.pass_time(300)

    [when] = moving.stalled
    assert 60 <= when - begun <= 75


def test_standing_still_for_a_reason_does_not_count() -> None:
    moving = Moving(Clock())
    moving.watch.excused = True
    moving.pass_time(300)
    assert not moving.stalled
    moving.watch.excused = False
    moving.watch.forgive()
    begun = moving.clock.time()
    moving.pass_time(300)

    [when] = moving.stalled
    assert 60 <= when - begun <= 75


def test_what_is_forgiven_begins_anew() -> None:
    moving = Moving(Clock())
    for _ in range(10):
        moving.pass_time(59)
        moving.watch.forgive()
    assert not moving.stalled


def test_nobody_looks_any_more_when_it_was_stopped_and_nothing_is_held() -> None:
    moving = Moving(Clock())
    moving.watch.stop()
    moving.watch.stop()
    moving.pass_time(300)
    assert not moving.stalled
    gone = weakref.ref(moving)
    gc.disable()
    try:
        del moving
        assert gone() is None
    finally:
        gc.enable()
