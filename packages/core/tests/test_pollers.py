"""The pollers agree: what is ready, what is left out, what happens to descriptors that go."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from sennit.core.reactor.pollers import (
    ERROR,
    HANGUP,
    ONCE,
    PEER_CLOSED,
    READ,
    WRITE,
    default_poller,
    pollers,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from sennit.core.reactor.pollers import Poller


@pytest.fixture(params=pollers())
def poller(request: pytest.FixtureRequest) -> Generator[Poller, None, None]:
    poller = default_poller(request.param)
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Generator[tuple[socket.socket, socket.socket], None, None]:
    first, second = socket.socketpair()
    first.setblocking(False)
    with first, second:
        yield first, second


Pair = tuple[socket.socket, socket.socket]


def test_the_best_is_the_default() -> None:
    assert "select" in pollers()
    best = default_poller()
    named = default_poller(pollers()[0])
    assert type(best) is type(named)
    best.close()
    named.close()


def test_one_that_is_not_here_is_named() -> None:
    with pytest.raises(ValueError, match=r"no poller 'iocp' here; there are: .*select"):
        default_poller("iocp")


def test_readiness_is_told_as_long_as_it_lasts(poller: Poller, pair: Pair) -> None:
    first, second = pair
    fd = first.fileno()
    poller.register(fd, READ)
    assert list(poller.poll(0)) == []
    second.send(b"x")
    assert list(poller.poll(1)) == [(fd, READ)]
    assert list(poller.poll(1)) == [(fd, READ)]
    first.recv(1)
    assert list(poller.poll(0)) == []
    poller.modify(fd, READ | WRITE)
    assert list(poller.poll(1)) == [(fd, WRITE)]
    second.send(b"x")
    assert list(poller.poll(1)) == [(fd, READ | WRITE)]
    poller.modify(fd, WRITE)
    assert list(poller.poll(1)) == [(fd, WRITE)]
    poller.unregister(fd)
    assert list(poller.poll(0)) == []
    poller.register(fd, READ)
    assert list(poller.poll(1)) == [(fd, READ)]


def test_the_end_is_readable(poller: Poller, pair: Pair) -> None:
    first, second = pair
    poller.register(first.fileno(), READ)
    second.close()
    ((fd, mask),) = poller.poll(1)
    assert fd == first.fileno()
    assert mask & (READ | HANGUP)


def test_who_waits_for_nothing_is_told_nothing_twice(poller: Poller, pair: Pair) -> None:
    """DESIGN, Reactor: paused means the peer's end alone, once, where the kernel can."""
    first, second = pair
    poller.register(first.fileno(), PEER_CLOSED | ONCE)
    second.send(b"x")
    assert list(poller.poll(0)) == []
    second.close()
    events = [list(poller.poll(0)) for _ in range(3)]
    assert sum(map(len, events)) <= 1
    poller.modify(first.fileno(), READ)
    ((_, mask),) = poller.poll(1)
    assert mask & READ
    poller.unregister(first.fileno())


def test_a_refused_connection_is_told(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        poller.register(sock.fileno(), WRITE)
        ((fd, mask),) = poller.poll(1)
        assert fd == sock.fileno()
        assert mask & (WRITE | ERROR | HANGUP)
        poller.unregister(fd)


def test_mistakes_are_errors(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    with pytest.raises((OSError, KeyError)):
        poller.modify(fd, READ)
    with pytest.raises((OSError, KeyError)):
        poller.unregister(fd)
    poller.register(fd, READ)
    with pytest.raises(OSError):
        poller.register(fd, READ)
    poller.unregister(fd)
    poller.register(fd, 0)
    assert list(poller.poll(0)) == []
    poller.unregister(fd)


def test_waiting_takes_its_time_and_no_less(poller: Poller) -> None:
    """A timer must not be met by a spin: what is less than a millisecond is rounded up."""
    began = time.monotonic()
    assert list(poller.poll(0.0105)) == []
    assert time.monotonic() - began >= 0.010

    def no_wait() -> float:
        began = time.monotonic()
        assert list(poller.poll(0)) == []
        return time.monotonic() - began

    # Others may have the processor in one of them.
    assert min(no_wait() for _ in range(3)) < 0.5


def test_only_some_can_be_waited_on_themselves(poller: Poller) -> None:
    fd = poller.fileno()
    assert fd is None or fd >= 0


def test_select_refuses_a_number_it_cannot_wait_for() -> None:
    """Else one connection too many would end the loop for all."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1100:
        pytest.skip("this system gives too few descriptors to have one so high")
    import fcntl

    poller = default_poller("select")
    with socket.socket() as sock:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
        high = -1
        try:
            high = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 1050)
            with pytest.raises(OSError, match="select"):
                poller.register(high, READ)
            assert list(poller.poll(0)) == []
        finally:
            if high >= 0:
                socket.close(high)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    poller.close()
