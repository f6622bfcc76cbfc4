"""The kqueue poller against a `select` module written to kqueue(2): the real one is not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sennit.core.reactor import kqueue
from sennit.core.reactor.kqueue import KqueuePoller
from sennit.core.reactor.pollers import ERROR, READ, WRITE


class Kernel:
    """Filters that are registered, and events that are due."""

    KQ_FILTER_READ, KQ_FILTER_WRITE = -1, -2
    KQ_EV_ADD, KQ_EV_DELETE, KQ_EV_ERROR, KQ_EV_EOF = 1, 2, 0x4000, 0x8000

    def __init__(self) -> None:
        self.registered: set[tuple[int, int]] = set()
        self.due: list[Any] = []

    def kqueue(self) -> Kernel:
        return self

    def kevent(self, ident: int, which: int, flags: int = 1, fflags: int = 0) -> Any:
        return SimpleNamespace(ident=ident, filter=which, flags=flags, fflags=fflags)

    def control(self, changes: list[Any] | None, most: int, timeout: float | None) -> list[Any]:
        for each in changes or []:
            entry = (each.ident, each.filter)
            if each.flags == self.KQ_EV_ADD:
                self.registered.add(entry)
            else:
                self.registered.remove(entry)  # ENOENT in the real one
        due, self.due = self.due[:most], self.due[most:]
        return due

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        self.registered.clear()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(kqueue, "select", found)
    return found


def test_a_filter_is_added_and_deleted_per_direction(kernel: Kernel) -> None:
    poller = KqueuePoller()

    poller.register(5, READ)
    assert kernel.registered == {(5, kernel.KQ_FILTER_READ)}
    poller.modify(5, READ | WRITE)
    assert kernel.registered == {(5, kernel.KQ_FILTER_READ), (5, kernel.KQ_FILTER_WRITE)}
    poller.modify(5, WRITE)
    assert kernel.registered == {(5, kernel.KQ_FILTER_WRITE)}
    poller.unregister(5)
    assert not kernel.registered


def test_events_of_one_descriptor_come_as_one(kernel: Kernel) -> None:
    poller = KqueuePoller()
    poller.register(5, READ | WRITE)
    kernel.due = [kernel.kevent(5, kernel.KQ_FILTER_READ), kernel.kevent(5, kernel.KQ_FILTER_WRITE)]

    assert poller.poll(0) == [(5, READ | WRITE)]


def test_an_end_with_an_error_is_an_error_and_one_without_is_not(kernel: Kernel) -> None:
    """kqueue(2): EV_EOF with the socket's error in fflags."""
    poller = KqueuePoller()
    poller.register(5, READ)
    kernel.due = [kernel.kevent(5, kernel.KQ_FILTER_READ, kernel.KQ_EV_EOF)]
    assert poller.poll(0) == [(5, READ)]
    kernel.due = [kernel.kevent(5, kernel.KQ_FILTER_READ, kernel.KQ_EV_EOF, fflags=104)]
    assert poller.poll(0) == [(5, READ | ERROR)]


def test_registering_twice_is_refused(kernel: Kernel) -> None:
    poller = KqueuePoller()
    poller.register(5, READ)
    with pytest.raises(FileExistsError):
        poller.register(5, READ)
    with pytest.raises(KeyError):
        poller.unregister(6)
