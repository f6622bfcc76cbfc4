"""Whatever happens in whatever order, the pool's books are right and everything ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.web.client.limits import ClientTimeouts, PoolLimits
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from sennit.web.client.hosts import Host

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
ENDINGS = (
    WHOLE,
    WHOLE[:20],
    WHOLE[:-1],
    b"o",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"nonsense\r\n\r\n",
)


class Peer(Protocol):
    """A server's end."""

    def __init__(self, peers: list[Peer]) -> None:
        self.peers = peers
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peers.append(self)

    def data_received(self, data: bytes) -> None:
        self.asked += data.count(b" HTTP/1.1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.peers:
            self.peers.remove(self)


async def content() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(1000)
        await asyncio.sleep(0.5)


async def ask(pool: Pool, method: str, url: str, read: int) -> bytes | None:
    """One of the ways to use a response."""
    body = content() if method == "POST" else None
    response = await pool.send(OutgoingRequest(method, url, body=body))
    if read == 0:
        return await response.read()
    if read == 1:
        async for piece in response.body:
            return piece
    if read == 2:
        await response.aclose()
    return None


def look(pool: Pool) -> None:
    """The books are right."""
    books: Any = pool  # they are nobody else's to see
    hosts: list[Host] = books._all_hosts()
    homes, idle = books._homes, books._idle
    assert books._count == sum(host.count for host in hosts)
    assert books._count == len(homes) + sum(len(host.dials) for host in hosts)
    assert books._count <= pool.limits.total
    assert books._waiting == sum(len(host.waiting) for host in hosts)
    assert set(idle) <= set(homes)
    for host in hosts:
        assert host.count <= pool.limits.per_host
        assert set(host.idle) <= set(idle)
        for connection in host.idle:
            assert connection.room == 1
            assert not connection.busy
        # Nobody waits while there is something to be had, or place for it.
        if host.wants_dial:
            assert not host.idle


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.sampled_from(["GET", "GET", "POST", "HEAD"]),
            st.sampled_from(["http://a/", "http://b/", "http://refused/"]),
            st.integers(0, 3),
        ),
        st.tuples(st.just("say"), st.integers(0, 5), st.sampled_from(ENDINGS)),
        st.tuples(st.just("say"), st.integers(0, 5), st.just(WHOLE)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("reset"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 7.0, 31.0])),
        st.tuples(st.just("turn")),
    ),
    max_size=40,
)


@settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=STEPS, per_host=st.integers(1, 3), total=st.integers(1, 4))
def test_whatever_happens_the_books_are_right(
    steps: list[tuple[Any, ...]], per_host: int, total: int
) -> None:
    tasks: list[asyncio.Task[Any]] = []
    peers: list[Peer] = []

    def begin(clock: Clock, coroutine: Coroutine[Any, Any, Any]) -> None:
        async def add() -> None:
            tasks.append(asyncio.ensure_future(coroutine))

        clock.run(lambda _: add())

    with Clock() as clock:
        network = MemoryNetwork(clock)
        network.host("10.0.0.9", name="refused")
        for name in ("a", "b"):
            network.listen(f"{name}:80", lambda: Peer(peers))
        limits = PoolLimits(
            per_host=per_host, total=total, idle=2, idle_per_host=1, idle_time=30, waiting=4
        )
        pool = Pool(limits=limits, timeouts=ClientTimeouts(read=20, pool=15, total=90))
        for step in steps:
            if step[0] == "ask":
                begin(clock, ask(pool, *step[1:]))
            elif step[0] == "cancel":
                if tasks:
                    number: int = step[1]
                    tasks[number % len(tasks)].cancel()
            elif step[0] == "wait":
                clock.advance(step[1])
            elif step[0] == "turn":
                clock.turn()
            elif peers:
                at: int = step[1]
                peer = peers[at % len(peers)]
                if step[0] == "say":
                    peer.transport.write(step[2])
                elif step[0] == "close":
                    peer.transport.close()
                else:
                    peer.transport.abort()
            if step[0] in ("ask", "wait"):
                clock.pump()
            look(pool)
        clock.pump()
        look(pool)
        clock.advance(100)
        look(pool)
        assert all(task.done() for task in tasks)
        assert pool._waiting == 0  # pyright: ignore[reportPrivateUsage]
        for task in tasks:
            if not task.cancelled():
                task.exception()
        clock.run(lambda _: pool.aclose())
        clock.pump()
        assert peers == []
        assert not clock.pending
        tasks.clear()
        network.close()
