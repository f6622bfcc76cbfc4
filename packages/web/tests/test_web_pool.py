"""The client's pool and its HTTP/1.1 connections, against servers that do as the test says."""

from __future__ import annotations

import asyncio
import gc
import io
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from zope.interface.verify import verifyObject

from sennit.core.deferred import Deferred, fail
from sennit.core.engine import FilePart
from sennit.core.errors import ConnectError, ConnectionLost, PoolFullError
from sennit.core.http import HTTPAnswer, IHTTPClient
from sennit.core.protocol import Protocol
from sennit.web.client.dialling import Dialler
from sennit.web.client.limits import ClientTimeouts, PoolLimits, ResponseLimits
from sennit.web.client.messages import IncomingResponse, OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.errors import (
    BodyTooLargeError,
    RequestTimeoutError,
    UnansweredError,
    WebProtocolError,
    WebUsageError,
)
from sennit.web.plugin import http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer(Protocol):
    """The server's end of one connection; the test plays the server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.received = b""
        self.lost: Exception | str | None = "not yet"

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.server.peers.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.server.on_data is not None:
            self.server.on_data(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc

    def say(self, data: bytes) -> None:
        self.transport.write(data)

    def take(self) -> bytes:
        data, self.received = self.received, b""
        return data


class Server:
    """A place that the client connects to."""

    def __init__(self, network: MemoryNetwork, where: str = "example:80") -> None:
        self.peers: list[Peer] = []
        self.on_data: Callable[[Peer], object] | None = None
        network.listen(where, lambda: Peer(self))

    @property
    def open(self) -> int:
        return sum(peer.lost == "not yet" for peer in self.peers)

    def answer_all(self, answer: bytes = OK) -> None:
        """Answer every whole request at once."""

        def answer_one(peer: Peer) -> None:
            while b"\r\n\r\n" in peer.received:
                _, _, peer.received = peer.received.partition(b"\r\n\r\n")
                peer.say(answer)

        self.on_data = answer_one


@pytest.fixture
def server(memory_network: MemoryNetwork) -> Server:
    return Server(memory_network)


URL = "http://example/"


def get(url: str = URL, **more: Any) -> OutgoingRequest:
    return OutgoingRequest("GET", url, **more)


T = TypeVar("T")


async def fetch(pool: Pool, request: OutgoingRequest | None = None) -> bytes:
    response = await pool.send(request or get())
    return await response.read()


def start(clock: Clock, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin something, and let it go as far as it goes by itself."""
    box: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        box.append(asyncio.ensure_future(coroutine))

    clock.run(lambda _: begin())
    clock.pump()
    return box[0]


def go(clock: Clock, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something to its end."""
    return clock.run(lambda _: coroutine)


def finish(clock: Clock, pool: Pool) -> None:
    go(clock, pool.aclose())


# ── connections are shared ────────────────────────────────────────────────────


def test_requests_one_after_the_other_share_a_connection(clock: Clock, server: Server) -> None:
    server.answer_all()

    async def main(_: Clock) -> None:
        async with Pool() as pool:
            for _n in range(3):
                assert await fetch(pool) == b"ok"

    clock.run(main)

    assert len(server.peers) == 1
    assert server.open == 0


def test_what_is_asked_arrives_as_it_was_asked(clock: Clock, server: Server) -> None:
    server.on_data = lambda peer: peer.say(OK)

    async def main(_: Clock) -> IncomingResponse:
        async with Pool() as pool:
            request = OutgoingRequest(
                "POST", "http://example/a%20b?c=%C3%A4#d", [(b"x-y", b"z")], b"hello"
            )
            response = await pool.send(request)
            await response.read()
            return response

    response = clock.run(main)

    assert server.peers[0].received == (
        b"POST /a%20b?c=%C3%A4 HTTP/1.1\r\nhost: example\r\nx-y: z\r\n"
        b"content-length: 5\r\n\r\nhello"
    )
    assert (response.status, response.reason, response.version) == (200, b"OK", b"1.1")
    assert response.headers == [(b"content-length", b"2")]
    assert response.header(b"content-length") == b"2"
    assert response.header(b"x") is None
    assert response.length == 2


def test_requests_side_by_side_have_a_connection_each(clock: Clock, server: Server) -> None:
    pool = Pool()
    tasks = [start(clock, fetch(pool)) for _ in range(3)]
    assert len(server.peers) == 3
    for peer in server.peers:
        peer.say(OK)
    clock.pump()

    assert [task.result() for task in tasks] == [b"ok"] * 3
    server.answer_all()
    assert go(clock, fetch(pool)) == b"ok"
    assert len(server.peers) == 3
    finish(clock, pool)


def test_a_host_gets_no_more_than_its_share_and_who_waits_is_served_in_order(
    clock: Clock, server: Server
) -> None:
    pool = Pool(limits=PoolLimits(per_host=2))
    tasks = [start(clock, fetch(pool, get(f"http://example/{n}"))) for n in range(5)]
    assert len(server.peers) == 2

    seen: list[bytes] = []
    for at in (1, 0, 1, 0, 1):
        seen.append(server.peers[at].take().split(b" ")[1])
        server.peers[at].say(OK)
        clock.pump()

    assert all(task.result() == b"ok" for task in tasks)
    assert seen == [b"/1", b"/0", b"/2", b"/3", b"/4"]
    assert len(server.peers) == 2
    finish(clock, pool)


def test_too_many_in_all_make_an_idle_connection_give_way(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    servers = [Server(memory_network, f"host{n}:80") for n in range(3)]
    for each in servers:
        each.answer_all()
    pool = Pool(limits=PoolLimits(total=2))

    for n in range(3):
        assert go(clock, fetch(pool, get(f"http://host{n}/"))) == b"ok"
    clock.pump()

    assert [each.open for each in servers] == [0, 1, 1]
    finish(clock, pool)


def test_who_starves_gets_the_next_connection_that_ends_elsewhere(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    one, other = Server(memory_network, "one:80"), Server(memory_network, "other:80")
    pool = Pool(limits=PoolLimits(total=1))
    first = start(clock, fetch(pool, get("http://one/")))
    second = start(clock, fetch(pool, get("http://other/")))
    assert not other.peers

    one.peers[0].say(OK)
    clock.pump()
    assert first.result() == b"ok"
    other.peers[0].say(OK)
    clock.pump()

    assert second.result() == b"ok"
    assert (one.open, other.open) == (0, 1)
    finish(clock, pool)


def test_no_more_wait_than_may(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=1, waiting=1))
    first, second = (start(clock, fetch(pool)) for _ in range(2))
    third = start(clock, fetch(pool))

    assert isinstance(third.exception(), PoolFullError)
    server.answer_all()
    server.peers[0].say(OK)
    clock.pump()
    assert first.result() == second.result() == b"ok"
    finish(clock, pool)


# ── connections are given up ──────────────────────────────────────────────────


def test_an_idle_connection_is_kept_for_a_while_only(clock: Clock, server: Server) -> None:
    server.answer_all()
    pool = Pool(limits=PoolLimits(idle_time=30))
    go(clock, fetch(pool))
    clock.advance(20)
    go(clock, fetch(pool))
    clock.advance(29)
    assert server.open == 1
    clock.advance(2)

    assert server.open == 0
    assert not clock.pending
    finish(clock, pool)


def test_few_idle_connections_are_kept(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(idle_per_host=1))
    tasks = [start(clock, fetch(pool)) for _ in range(3)]
    for peer in server.peers:
        peer.say(OK)
    clock.pump()

    assert all(task.result() == b"ok" for task in tasks)
    assert server.open == 1
    finish(clock, pool)


def test_an_old_connection_takes_no_new_work(clock: Clock, server: Server) -> None:
    server.answer_all()
    pool = Pool(limits=PoolLimits(age=10))
    go(clock, fetch(pool))
    clock.advance(11)
    go(clock, fetch(pool))
    clock.pump()

    assert len(server.peers) == 2
    assert server.open == 1
    finish(clock, pool)


@pytest.mark.parametrize(
    "last", [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"]
)
def test_a_server_that_says_close_is_asked_over_another_connection(
    clock: Clock, server: Server, last: bytes
) -> None:
    server.answer_all(last)
    pool = Pool()
    for _ in range(2):
        assert go(clock, fetch(pool)) == b"ok"
    clock.pump()

    assert len(server.peers) == 2
    assert server.open == 0
    finish(clock, pool)


def test_a_connection_that_speaks_unasked_is_thrown_away(clock: Clock, server: Server) -> None:
    """HARDENING h1-24."""
    server.answer_all()
    pool = Pool()
    go(clock, fetch(pool))
    server.peers[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    clock.pump()
    assert server.open == 0

    assert go(clock, fetch(pool)) == b"ok"
    assert len(server.peers) == 2
    finish(clock, pool)


def test_octets_behind_an_answer_are_nobodys(clock: Clock, server: Server) -> None:
    """HARDENING h1-24: the second answer is not taken for that to the next request."""
    server.answer_all(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    pool = Pool()
    assert go(clock, fetch(pool)) == b"ok"
    assert go(clock, fetch(pool)) == b"ok"

    assert len(server.peers) == 2
    finish(clock, pool)


# ── a server that has just closed ─────────────────────────────────────────────


def close_then_answer(peer: Peer) -> None:
    """Close the connection that was kept, answer on others."""
    if peer is peer.server.peers[0] and peer.take().count(b"second"):
        peer.transport.abort()
    else:
        peer.say(OK)


def test_a_request_that_met_a_closing_server_is_sent_again_once(
    clock: Clock, server: Server
) -> None:
    """RFC 9112 §9.3.1."""
    server.on_data = close_then_answer
    pool = Pool()
    go(clock, fetch(pool))

    assert go(clock, fetch(pool, get("http://example/second"))) == b"ok"
    assert len(server.peers) == 2
    finish(clock, pool)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (OutgoingRequest("POST", "http://example/second", body=b"pay"), False),
        (OutgoingRequest("GET", "http://example/second", repeatable=False), False),
        (OutgoingRequest("POST", "http://example/second", body=b"pay", repeatable=True), True),
        (OutgoingRequest("PUT", "http://example/second", body=b"put"), True),
    ],
)
def test_only_what_may_be_repeated_is(
    clock: Clock, server: Server, request_: OutgoingRequest, told: bool
) -> None:
    server.on_data = close_then_answer
    pool = Pool()
    go(clock, fetch(pool))

    if told:
        assert go(clock, fetch(pool, request_)) == b"ok"
    else:
        with pytest.raises(UnansweredError):
            go(clock, fetch(pool, request_))
    finish(clock, pool)


def test_a_fresh_connection_that_fails_is_an_error(clock: Clock, server: Server) -> None:
    server.on_data = lambda peer: peer.transport.abort()
    pool = Pool()
    with pytest.raises(UnansweredError):
        go(clock, fetch(pool))

    assert len(server.peers) == 1
    finish(clock, pool)


def test_a_server_that_closes_with_408_is_asked_again_over_another_connection(
    clock: Clock, server: Server
) -> None:
    """RFC 9110 §15.5.9: it crossed the request on its way, and answers nothing."""
    late = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

    def answer(peer: Peer) -> None:
        peer.say(late if peer.take().count(b"second") and peer is server.peers[0] else OK)

    server.on_data = answer
    pool = Pool()
    go(clock, fetch(pool))
    assert go(clock, fetch(pool, get("http://example/second"))) == b"ok"
    assert len(server.peers) == 2

    server.on_data = lambda peer: peer.say(late)
    assert go(clock, fetch(pool)) == b""  # over a fresh one it is an answer
    finish(clock, pool)


def test_the_second_try_fails_for_good(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=2))
    tasks = [start(clock, fetch(pool)) for _ in range(2)]
    for peer in server.peers:
        peer.say(OK)
    clock.pump()
    assert all(task.result() == b"ok" for task in tasks)

    server.on_data = lambda peer: peer.transport.abort()
    with pytest.raises(UnansweredError):
        go(clock, fetch(pool))
    # Not over the other idle one, which may be as stale, but over a new one.
    assert len(server.peers) == 3
    finish(clock, pool)


def test_who_needs_a_new_connection_is_not_passed_over_for_one_that_is_kept(
    clock: Clock, server: Server
) -> None:
    pool = Pool(limits=PoolLimits(per_host=2))
    tasks = [start(clock, fetch(pool)) for _ in range(2)]
    for peer in server.peers:
        peer.say(OK)
    clock.pump()
    first, second = server.peers
    # Both connections are at work again, one more waits, and one of the two breaks.
    tasks += [start(clock, fetch(pool)) for _ in range(3)]
    second.transport.abort()
    clock.pump()
    third = server.peers[2]
    assert len(server.peers) == 3
    first.say(OK)
    clock.pump()
    # The one that came free is no good to who has just met such a one: it gives way.
    assert first.lost != "not yet"
    assert len(server.peers) == 4
    third.say(OK)
    server.peers[3].say(OK)
    clock.pump()

    assert all(task.result() == b"ok" for task in tasks)
    finish(clock, pool)


class Untouched(Protocol):
    """A connection of HTTP/2 that gives every request back."""

    version = b"2"
    served = 1
    busy = 0
    room = 1
    ending = False
    begun = 0

    def __init__(self, *_: object) -> None:
        pass

    def begin(self, request: OutgoingRequest) -> Deferred[Any]:
        type(self).begun += 1
        return fail(UnansweredError("go away", untouched=True))

    def close(self) -> None:
        self.transport.close()

    abort = close


def test_what_a_server_gives_back_untouched_is_sent_again_and_not_for_ever(
    clock: Clock, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9113 §8.7: whatever the method is."""

    def make(self: object, multiplexed: bool) -> Untouched:
        return Untouched()

    monkeypatch.setattr(Dialler, "connection", make)
    pool = Pool()
    with pytest.raises(UnansweredError):
        go(clock, fetch(pool, OutgoingRequest("POST", URL, body=b"pay")))

    assert Untouched.begun == 3
    for peer in server.peers:
        peer.transport.close()
    clock.pump()


# ── time ──────────────────────────────────────────────────────────────────────


def test_waiting_for_a_connection_has_a_limit(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=1), timeouts=ClientTimeouts(pool=5))
    first, second = (start(clock, fetch(pool)) for _ in range(2))
    clock.advance(4.9)
    assert not second.done()
    clock.advance(0.2)

    error = second.exception()
    assert isinstance(error, RequestTimeoutError)
    assert (error.phase, error.seconds) == ("pool", 5)
    server.peers[0].say(OK)
    clock.pump()
    assert first.result() == b"ok"
    finish(clock, pool)


def test_connecting_has_a_limit(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host("10.0.0.9", name="silent").vanish()
    pool = Pool(timeouts=ClientTimeouts(connect=3))
    with pytest.raises(RequestTimeoutError) as caught:
        go(clock, fetch(pool, get("http://silent/")))

    assert caught.value.phase == "connect"
    assert clock.time() == pytest.approx(3, abs=0.1)
    finish(clock, pool)


def test_a_host_that_refuses_fails_all_who_wait_for_it(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    memory_network.host("10.0.0.9", name="closed")
    pool = Pool(limits=PoolLimits(per_host=1))
    tasks = [start(clock, fetch(pool, get("http://closed/"))) for _ in range(3)]
    clock.advance(1)

    for task in tasks:
        assert isinstance(task.exception(), ConnectError)
    finish(clock, pool)


def test_an_answer_that_does_not_come_has_a_limit(clock: Clock, server: Server) -> None:
    pool = Pool(timeouts=ClientTimeouts(read=7))
    task = start(clock, fetch(pool))
    clock.advance(6.9)
    server.peers[0].say(b"HTTP/1.1 200 OK\r\n")
    clock.advance(6.9)
    assert not task.done()
    clock.advance(0.2)

    error = task.exception()
    assert isinstance(error, RequestTimeoutError)
    assert error.phase == "read"
    assert server.open == 0
    finish(clock, pool)


def test_all_of_a_request_has_a_limit_where_one_is_set(clock: Clock, server: Server) -> None:
    pool = Pool(timeouts=ClientTimeouts(total=10))
    task = start(clock, fetch(pool))
    server.peers[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    for _ in range(9):
        clock.advance(1)
        server.peers[0].say(b".")
    clock.pump()
    assert not task.done()
    clock.advance(1.1)

    error = task.exception()
    assert isinstance(error, RequestTimeoutError)
    assert error.phase == "total"
    assert server.open == 0
    finish(clock, pool)


def test_waiting_counts_among_the_whole(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=1))
    first = start(clock, fetch(pool))
    second = start(clock, fetch(pool, get(timeouts=ClientTimeouts(total=3))))
    clock.advance(2)
    server.peers[0].say(OK)
    clock.pump()
    assert first.result() == b"ok"
    clock.advance(0.9)
    assert not second.done()
    clock.advance(0.2)

    error = second.exception()
    assert isinstance(error, RequestTimeoutError)
    assert (error.phase, error.seconds) == ("total", 3)
    finish(clock, pool)


def test_a_reader_may_take_its_time(clock: Clock, server: Server) -> None:
    """The read time-out is the server's, not the program's."""
    pool = Pool(timeouts=ClientTimeouts(read=5), responses=ResponseLimits(buffer=1000))

    async def read_late() -> bytes:
        response = await pool.send(get())
        await asyncio.sleep(60)
        return await response.read()

    task = start(clock, read_late())
    server.peers[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + bytes(200_000))
    clock.advance(61)

    assert len(task.result()) == 200_000
    finish(clock, pool)


def test_a_server_that_does_not_take_the_content_has_a_limit(clock: Clock, server: Server) -> None:
    pool = Pool(timeouts=ClientTimeouts(write=5))

    def stop(peer: Peer) -> None:
        peer.transport.pause_reading()

    server.on_data = stop
    request = OutgoingRequest("PUT", URL, body=bytes(900_000))
    task = start(clock, fetch(pool, request))
    clock.advance(11)

    error = task.exception()
    assert isinstance(error, RequestTimeoutError), error
    assert error.phase == "write"
    finish(clock, pool)


# ── requests that are given up ────────────────────────────────────────────────


def test_giving_up_while_waiting_frees_the_place(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=1))
    tasks = [start(clock, fetch(pool)) for _ in range(3)]
    tasks[1].cancel()
    clock.pump()
    assert tasks[1].cancelled()
    server.answer_all()
    server.peers[0].say(OK)
    clock.pump()

    assert tasks[0].result() == tasks[2].result() == b"ok"
    finish(clock, pool)


def test_giving_up_while_dialling_stops_that(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host("10.0.0.9", name="silent").vanish()
    pool = Pool()
    task = start(clock, fetch(pool, get("http://silent/")))
    task.cancel()
    clock.pump()

    assert task.cancelled()
    assert not clock.pending
    finish(clock, pool)


@pytest.mark.parametrize("come", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]])
def test_giving_up_before_the_end_ends_the_connection(
    clock: Clock, server: Server, come: bytes
) -> None:
    """A connection whose answer was not read to its end is never used again."""
    pool = Pool(limits=PoolLimits(per_host=1))
    task = start(clock, fetch(pool))
    server.peers[0].say(come)
    clock.pump()
    task.cancel()
    clock.pump()
    assert task.cancelled()
    if come == OK[:-1]:
        # The response was dropped with its Task.
        gc.collect()
        clock.pump()
    assert server.open == 0

    server.answer_all()
    assert go(clock, fetch(pool)) == b"ok"
    finish(clock, pool)


@pytest.mark.parametrize("what", ["failure", "answer"])
def test_giving_up_in_the_moment_of_an_outcome_leaves_nothing_behind(
    clock: Clock, server: Server, what: str
) -> None:
    """Neither an error that nobody takes, nor a connection with an answer that nobody reads."""
    pool = Pool()
    task = start(clock, fetch(pool))
    (connection,) = pool._homes  # pyright: ignore[reportPrivateUsage]

    async def at_once() -> None:
        task.cancel()
        if what == "failure":
            connection.abort("error")
        else:
            connection.data_received(OK[:-1])

    go(clock, at_once())
    clock.pump()

    assert task.cancelled()
    assert server.open == 0
    finish(clock, pool)


def test_a_response_that_is_closed_or_forgotten_gives_its_place_back(
    clock: Clock, server: Server
) -> None:
    pool = Pool(limits=PoolLimits(per_host=1))
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")

    async def close_early() -> None:
        response = await pool.send(get())
        await response.aclose()
        await response.aclose()
        with pytest.raises(ConnectionLost):
            await response.read()

    async def forget() -> None:
        await pool.send(get())

    go(clock, close_early())
    go(clock, forget())
    server.answer_all()
    assert go(clock, fetch(pool)) == b"ok"
    assert len(server.peers) == 3
    finish(clock, pool)


def test_a_connection_given_to_who_has_just_left_goes_to_the_next(
    clock: Clock, server: Server
) -> None:
    pool = Pool(limits=PoolLimits(per_host=1))
    tasks = [start(clock, fetch(pool)) for _ in range(3)]
    server.answer_all()

    async def both() -> None:
        # In one turn: the answer that frees the connection is under way.
        server.peers[0].say(OK)
        tasks[1].cancel()
        await asyncio.sleep(0)

    go(clock, both())
    clock.pump()

    assert tasks[0].result() == tasks[2].result() == b"ok"
    assert len(server.peers) == 1
    finish(clock, pool)


# ── content of requests ───────────────────────────────────────────────────────


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


def test_content_in_pieces_waits_for_100_then_leaves_in_chunks(
    clock: Clock, server: Server
) -> None:
    pool = Pool()
    request = OutgoingRequest(
        "POST", URL, body=pieces(b"one", b"two"), trailers=lambda: [(b"x-sum", b"2")]
    )
    task = start(clock, fetch(pool, request))
    assert server.peers[0].take() == (
        b"POST / HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n"
        b"expect: 100-continue\r\n\r\n"
    )
    server.peers[0].say(b"HTTP/1.1 100 Continue\r\n\r\n")
    clock.pump()
    assert server.peers[0].take() == b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 2\r\n\r\n"
    server.peers[0].say(OK)
    clock.pump()

    assert task.result() == b"ok"
    assert server.open == 1
    finish(clock, pool)


def test_a_server_that_does_not_know_the_expectation_gets_the_content_anyway(
    clock: Clock, server: Server
) -> None:
    """RFC 9110 §10.1.1."""
    pool = Pool(timeouts=ClientTimeouts(expect=1))
    request = OutgoingRequest("POST", URL, body=bytes(2_000_000))
    task = start(clock, fetch(pool, request))
    assert server.peers[0].take().endswith(b"\r\nexpect: 100-continue\r\n\r\n")
    clock.advance(0.9)
    assert not server.peers[0].received
    clock.advance(0.2)
    assert len(server.peers[0].received) == 2_000_000
    server.peers[0].say(OK)
    clock.pump()

    assert task.result() == b"ok"
    finish(clock, pool)


def test_a_refusal_before_the_content_spares_it(clock: Clock, server: Server) -> None:
    pool = Pool()
    asked: list[int] = []

    async def content() -> AsyncIterator[bytes]:
        asked.append(1)
        yield b"never"

    request = OutgoingRequest("POST", URL, body=content())
    task = start(clock, fetch(pool, request))
    server.peers[0].take()
    server.peers[0].say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
    clock.pump()

    assert task.result() == b"no"
    assert not asked
    assert not server.peers[0].received
    assert server.open == 0
    finish(clock, pool)


def test_an_expectation_that_is_refused_is_left_out_the_second_time(
    clock: Clock, server: Server
) -> None:
    """RFC 9110 §10.1.1."""
    pool = Pool()

    def answer(peer: Peer) -> None:
        if b"expect:" in peer.received:
            peer.say(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno")
        elif peer.received.endswith(b"0\r\n\r\n"):
            peer.say(OK)

    server.on_data = answer
    request = OutgoingRequest("POST", URL, body=pieces(b"one", b"two"))

    assert go(clock, fetch(pool, request)) == b"ok"
    assert server.peers[1].received.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    part = FilePart(io.BytesIO(b"abc"), 0, 3, close_file=True)
    request = OutgoingRequest("PUT", URL, body=part, expect_continue=True)
    assert go(clock, fetch(pool, request)) == b"no"
    assert part.file.closed
    finish(clock, pool)


@pytest.mark.parametrize("early", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_content_that_was_begun_is_not_sent_again_for_a_refused_expectation(
    clock: Clock, server: Server, early: bytes
) -> None:
    """What comes in pieces can be had once: the second time it would be empty, and look whole."""
    pool = Pool(timeouts=ClientTimeouts(expect=1))

    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(5)
        yield b"second"

    request = OutgoingRequest("POST", URL, body=content())
    task = start(clock, fetch(pool, request))
    server.peers[0].take()
    server.peers[0].say(early)
    clock.advance(1.1)
    assert b"first" in server.peers[0].received
    server.peers[0].say(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno")
    clock.pump()

    assert task.result() == b"no"
    assert len(server.peers) == 1
    finish(clock, pool)


def test_a_refusal_inside_the_content_stops_it(clock: Clock, server: Server) -> None:
    pool = Pool()
    closed: list[int] = []

    async def content() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
                await asyncio.sleep(1)
        finally:
            closed.append(1)

    request = OutgoingRequest("POST", URL, body=content(), expect_continue=False)
    task = start(clock, fetch(pool, request))
    clock.advance(2.5)
    server.peers[0].say(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")
    clock.pump()

    assert task.result() == b"no"
    assert closed
    assert server.open == 0
    finish(clock, pool)


def test_an_early_answer_lets_the_content_go_on(clock: Clock, server: Server) -> None:
    pool = Pool()
    more: Deferred[None] = Deferred()

    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        await more
        yield b"two"

    request = OutgoingRequest("POST", URL, body=content(), expect_continue=False)
    task = start(clock, fetch(pool, request))
    server.peers[0].say(OK)
    clock.pump()
    assert task.result() == b"ok"
    assert server.open == 1
    server.peers[0].take()
    more.callback(None)
    clock.pump()
    assert server.peers[0].take() == b"3\r\ntwo\r\n0\r\n\r\n"

    server.answer_all()
    assert go(clock, fetch(pool)) == b"ok"
    assert len(server.peers) == 1
    finish(clock, pool)


def test_content_that_fails_fails_the_request_and_its_connection(
    clock: Clock, server: Server
) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        raise OSError("the disk is gone")

    for length, wrong in ((None, OSError), (2, WebUsageError), (5, OSError)):
        pool = Pool()
        request = OutgoingRequest("POST", URL, body=content(), length=length, expect_continue=False)
        with pytest.raises(wrong):
            go(clock, fetch(pool, request))
        clock.pump()
        assert server.open == 0
        finish(clock, pool)


def test_content_is_asked_for_as_the_server_takes_it(clock: Clock, server: Server) -> None:
    """Fault 15: a server that does not read makes the program wait, not the memory grow."""
    pool = Pool(timeouts=ClientTimeouts(write=None, read=None))
    given = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(16 * 1024)

    server.on_data = lambda peer: peer.transport.pause_reading()
    request = OutgoingRequest("POST", URL, body=content(), expect_continue=False)
    task = start(clock, fetch(pool, request))
    clock.advance(60)
    assert 2 < given < 60
    task.cancel()
    clock.pump()
    assert server.open == 0
    finish(clock, pool)


def test_a_part_of_a_file_is_sent_and_closed(clock: Clock, server: Server) -> None:
    def answer_when_whole(peer: Peer) -> None:
        if peer.received.endswith(b"cdef"):
            peer.say(OK)

    server.on_data = answer_when_whole
    file = io.BytesIO(b"abcdefgh")
    pool = Pool()
    request = OutgoingRequest("PUT", URL, body=FilePart(file, 2, 4, close_file=True))

    assert go(clock, fetch(pool, request)) == b"ok"
    clock.pump()
    assert b"content-length: 4\r\n\r\ncdef" in server.peers[0].received
    assert file.closed
    finish(clock, pool)


def test_a_file_that_is_shorter_than_was_said_fails_the_request(
    clock: Clock, server: Server
) -> None:
    pool = Pool()
    request = OutgoingRequest("PUT", URL, body=FilePart(io.BytesIO(b"abc"), 0, 9))
    with pytest.raises((WebUsageError, ConnectionLost)):
        go(clock, fetch(pool, request))
    clock.pump()

    assert server.open == 0
    finish(clock, pool)


@pytest.mark.parametrize(
    "more",
    [
        {"headers": [(b"x", b"a\r\nb")]},
        {"headers": [(b"transfer-encoding", b"chunked")]},
        {"headers": [(b"content-length", b"7")], "body": b"hello"},
        {"length": 4, "body": b"hello"},
    ],
)
def test_what_cannot_be_sent_leaves_the_connection_as_it_was(
    clock: Clock, server: Server, more: dict[str, Any]
) -> None:
    """HARDENING h1-25."""
    server.answer_all()
    pool = Pool()
    go(clock, fetch(pool))
    with pytest.raises(ValueError, match=r"."):
        go(clock, fetch(pool, OutgoingRequest("PUT", URL, **more)))

    assert go(clock, fetch(pool)) == b"ok"
    assert len(server.peers) == 1
    assert server.peers[0].received == b""
    finish(clock, pool)


# ── content of responses ──────────────────────────────────────────────────────


def test_content_comes_piece_by_piece_with_trailers_at_its_end(
    clock: Clock, server: Server
) -> None:
    pool = Pool()
    seen: list[bytes] = []

    async def read() -> IncomingResponse:
        response = await pool.send(get())
        async for piece in response.body:
            seen.append(piece)  # noqa: PERF401 - looked at while it grows
        return response

    task = start(clock, read())
    peer = server.peers[0]
    peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\nx-sum: 2\r\n\r\n"):
        peer.say(piece)
        clock.pump()

    assert seen == [b"one", b"two"]
    assert task.result().trailers == [(b"x-sum", b"2")]
    assert task.result().length is None
    finish(clock, pool)


def test_a_slow_reader_slows_the_server_down(clock: Clock, server: Server) -> None:
    """Fault 15."""
    pool = Pool(responses=ResponseLimits(buffer=64 * 1024))

    async def read(step: Deferred[None]) -> int:
        response = await pool.send(get())
        await step
        got = 0
        async for piece in response.body:
            got += len(piece)
        return got

    step: Deferred[None] = Deferred()
    task = start(clock, read(step))
    peer = server.peers[0]
    peer.transport.set_write_buffer_limits(high=2 << 20, hard=16 << 20)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n")
    peer.say(bytes(1 << 20))
    clock.advance(1)
    # What the client holds and what is under way is bounded: the rest has not left.
    assert peer.transport.get_write_buffer_size() > 300_000
    step.callback(None)
    clock.advance(1)

    assert task.result() == 1 << 20
    finish(clock, pool)


def test_reading_whole_has_a_limit_of_its_own(clock: Clock, server: Server) -> None:
    pool = Pool()
    server.on_data = lambda peer: peer.say(OK)

    async def read(limit: int) -> bytes:
        response = await pool.send(get())
        return await response.read(limit)

    assert go(clock, read(2)) == b"ok"
    with pytest.raises(BodyTooLargeError):
        go(clock, read(1))
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    with pytest.raises(BodyTooLargeError):
        go(clock, read(2))
    clock.pump()
    assert server.open == 0
    finish(clock, pool)


def test_only_one_reads(clock: Clock, server: Server) -> None:
    pool = Pool()
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")

    async def read_twice() -> None:
        response = await pool.send(get())
        first = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        with pytest.raises(WebUsageError):
            await response.read()
        first.cancel()
        await asyncio.wait([first])
        await response.aclose()

    go(clock, read_twice())
    finish(clock, pool)


def test_interim_answers_are_told(clock: Clock, server: Server) -> None:
    told: list[Any] = []
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)
    pool = Pool()

    def tell(status: int, fields: object) -> None:
        told.append((status, fields))

    request = get(on_informational=tell)

    assert go(clock, fetch(pool, request)) == b"ok"
    assert told == [(103, [(b"link", b"</a>")])]

    def fail(status: int, fields: object) -> None:
        raise LookupError(status)

    with pytest.raises(LookupError):
        go(clock, fetch(pool, get(on_informational=fail)))
    finish(clock, pool)


SCRIPT = (
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_connection_that_breaks_at_any_octet_gives_one_error(
    clock: Clock, server: Server, how: str
) -> None:
    """Fault 7; what it held is given back."""
    for at in range(len(SCRIPT)):
        pool = Pool()
        task = start(clock, fetch(pool))
        peer = server.peers[-1]
        peer.say(SCRIPT[:at])
        clock.pump()
        if how == "reset":
            peer.transport.abort()
        else:
            peer.transport.close()
        clock.pump()

        error = task.exception()
        assert isinstance(error, (ConnectionLost, WebProtocolError)), (at, error)
        assert isinstance(error, UnansweredError) == (at == 0)
        assert server.open == 0
        assert pool._homes == {}  # pyright: ignore[reportPrivateUsage]
        finish(clock, pool)
    assert not clock.pending


def test_a_broken_answer_is_the_servers_fault(clock: Clock, server: Server) -> None:
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 200 OK\r\nbad field\r\n\r\n")
    pool = Pool()
    with pytest.raises(WebProtocolError) as caught:
        go(clock, fetch(pool))
    clock.pump()

    assert caught.value.rule == "RFC 9112 §5"
    assert server.open == 0
    finish(clock, pool)


# ── other protocols ───────────────────────────────────────────────────────────


def test_an_upgraded_connection_is_taken_over_with_what_came_already(
    clock: Clock, server: Server
) -> None:
    server.on_data = lambda peer: peer.say(
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst"
    )
    pool = Pool()

    async def talk() -> bytes:
        fields = [(b"connection", b"upgrade"), (b"upgrade", b"echo")]
        response = await pool.send(get(headers=fields, upgrade=True))
        assert response.status == 101
        stream = response.stream()
        with pytest.raises(WebUsageError):
            response.stream()
        first = await stream.receive_some()
        server.on_data = None
        await stream.send_all(b"hello")
        server.peers[0].say(b" second")
        second = await stream.receive_some()
        await stream.aclose()
        return first + second

    assert go(clock, talk()) == b"first second"
    assert server.peers[0].received.endswith(b"hello")
    finish(clock, pool)


def test_a_connection_nobody_takes_over_ends(clock: Clock, server: Server) -> None:
    server.on_data = lambda peer: peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
    pool = Pool()

    async def ask() -> None:
        response = await pool.send(OutgoingRequest("CONNECT", URL))
        assert response.status == 200
        await response.aclose()

    go(clock, ask())
    clock.pump()

    assert server.peers[0].received.startswith(
        b"CONNECT example:80 HTTP/1.1\r\nhost: example:80\r\n"
    )
    assert server.open == 0
    finish(clock, pool)


def test_a_usual_answer_cannot_be_taken_over(clock: Clock, server: Server) -> None:
    server.answer_all()
    pool = Pool()

    async def ask() -> None:
        response = await pool.send(get())
        with pytest.raises(WebUsageError):
            response.stream()

    go(clock, ask())
    finish(clock, pool)


# ── the end ───────────────────────────────────────────────────────────────────


def test_closing_waits_for_what_is_open_and_begins_nothing(clock: Clock, server: Server) -> None:
    pool = Pool(limits=PoolLimits(per_host=1))
    first, second = (start(clock, fetch(pool)) for _ in range(2))
    closing = start(clock, pool.aclose())
    assert isinstance(second.exception(), ConnectionLost)
    assert not closing.done()
    server.peers[0].say(OK)
    clock.pump()

    assert first.result() == b"ok"
    assert closing.done()
    assert server.open == 0
    with pytest.raises(WebUsageError):
        go(clock, fetch(pool))
    finish(clock, pool)


def test_closing_ends_what_takes_too_long(clock: Clock, server: Server) -> None:
    pool = Pool()
    task = start(clock, fetch(pool))
    finish(clock, pool)
    clock.pump()

    assert isinstance(task.exception(), ConnectionLost)
    assert clock.time() == pytest.approx(5)
    assert server.open == 0


def test_closing_stops_dials(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.host("10.0.0.9", name="silent").vanish()
    pool = Pool()
    task = start(clock, fetch(pool, get("http://silent/")))
    finish(clock, pool)
    clock.pump()

    assert isinstance(task.exception(), ConnectionLost)
    assert not clock.pending


# ── for other strands ─────────────────────────────────────────────────────────


def test_strands_that_are_not_about_http_can_ask_by_it(clock: Clock, server: Server) -> None:
    client = http_client()
    assert verifyObject(IHTTPClient, client)
    server.on_data = lambda peer: peer.say(OK)

    async def ask() -> HTTPAnswer:
        async with client as asking:
            return await asking.fetch("POST", URL, [(b"x", b"y")], b"?")

    answer = go(clock, ask())

    assert answer == (200, [(b"content-length", b"2")], b"ok")
    assert b"\r\nx: y\r\ncontent-length: 1\r\n\r\n?" in server.peers[0].received


def test_such_a_question_has_its_limits(clock: Clock, server: Server) -> None:
    async def ask(**limits: Any) -> HTTPAnswer:
        async with http_client() as client:
            return await client.fetch("GET", URL, **limits)

    with pytest.raises(RequestTimeoutError):
        go(clock, ask(timeout=3))
    server.on_data = lambda peer: peer.say(OK)
    with pytest.raises(BodyTooLargeError):
        go(clock, ask(limit=1))
