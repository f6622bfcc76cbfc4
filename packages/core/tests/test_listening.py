"""Listeners: batches, limits, refusals, want of descriptors and of memory, Unix sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.interfaces import IListener
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.reactor.pollers import pollers
from sennit.core.transport import binding, listening
from sennit.core.transport.binding import tcp_sockets, unix_socket
from sennit.core.transport.listening import Listener, listen_tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Greeter(Protocol):
    """Says who it is; counts those that are there."""

    greeting = b"hi"

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.greeting)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def listener(factory: Any = Greeter, host: str = "127.0.0.1", **options: Any) -> Listener:
    return Listener(current_reactor(), tcp_sockets(host, 0), factory, **options)


def client(where: Listener, source: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", where.port))
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket, size: int = 65536) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(sock, size)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def gone(*listeners: Listener) -> None:
    for each in listeners:
        each.close()
        for transport in list(each.connections):
            transport.abort()
        await until(lambda: not each.connections)  # noqa: B023 - awaited here


# ── accepting ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("poller", pollers())
def test_connections_are_accepted_and_served(poller: str) -> None:
    async def main(reactor: Reactor) -> None:
        where = listener()
        assert verifyObject(IListener, where)
        assert where.addresses == (InternetAddress("127.0.0.1", where.port),)
        assert str(where.port) in repr(where)
        clients = [client(where) for _ in range(30)]
        for each in clients:
            assert await receive(each) == b"hi"
        assert len(where.connections) == 30
        (one, *_) = where.connections
        assert one.peer in {InternetAddress(*each.getsockname()) for each in clients}
        assert one.local == InternetAddress("127.0.0.1", where.port)
        for each in clients:
            each.close()
        await until(lambda: not where.connections)
        where.close()
        where.close()

    reactor = Reactor(poller)
    reactor.run(main)
    assert reactor.handlers == {}
    assert not reactor.dependants
    reactor.close()


async def test_a_long_queue_is_taken_in_batches_of_a_hundred_at_most() -> None:
    """HARDENING defaults 4: at most 100 accepts in a turn."""
    taken: list[int] = []
    where = listener(paused=True)
    clients = [client(where) for _ in range(300)]
    where.resume_accepting()
    while len(where.connections) < 300:
        before = len(where.connections)
        await asyncio.sleep(0)
        taken.append(len(where.connections) - before)
    assert max(taken) <= 100
    assert max(taken) > 10
    for each in clients:
        each.close()
    await gone(where)


async def test_nagle_is_off() -> None:
    where = listener()
    with client(where) as peer:
        assert await receive(peer) == b"hi"
        (transport,) = where.connections
        view = transport.get_extra_info("socket")
        assert view.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await gone(where)


async def test_accepting_can_be_paused_and_resumed() -> None:
    where = listener(paused=True)
    with client(where) as peer:
        for _ in range(5):
            await asyncio.sleep(0)
        assert not where.connections
        where.resume_accepting()
        where.resume_accepting()
        assert await receive(peer) == b"hi"
        where.pause_accepting()
        where.pause_accepting()
        with client(where) as second:
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(where.connections) == 1
            where.resume_accepting()
            assert await receive(second) == b"hi"
        await gone(where)
        where.resume_accepting()
        assert not where._accepting


async def test_accepting_paused_by_a_factory_stops_within_the_batch() -> None:
    class Once(Greeter):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            where.pause_accepting()

    where = listener(Once, paused=True)
    clients = [client(where) for _ in range(8)]
    for number in (1, 2):
        where.resume_accepting()
        where._acceptors[0]._batch = 8
        await until(lambda: not where._accepting)
        assert len(where.connections) == number
    for each in clients:
        each.close()
    await gone(where)


async def test_closing_in_the_middle_of_a_batch_ends_it() -> None:
    def closing() -> Greeter:
        where.close()
        return Greeter()

    where = listener(closing, paused=True)
    clients = [client(where) for _ in range(4)]
    where._acceptors[0]._batch = 8
    where.resume_accepting()
    await until(lambda: where._closed)
    assert await receive(clients[0]) == b"hi"
    with pytest.raises(ConnectionResetError):
        await receive(clients[3])
    for each in clients:
        each.close()
    await gone(where)


# ── factories ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError(), GeneratorExit()])
async def test_a_factory_that_raises_fails_one_connection_only(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10, defaults 25."""
    fails = [True]

    def factory() -> Greeter:
        if fails.pop() if fails else False:
            raise error
        return Greeter()

    limits = ConnectionLimits()
    where = listener(factory, limits=limits)
    with client(where) as first, client(where) as second:
        assert await receive(first) == b""
        assert await receive(second) == b"hi"
        assert limits.connections == 1
        (record,) = caplog.records
        assert "took a connection" in record.getMessage()
        await gone(where)
    assert limits.connections == 0


async def test_a_factory_can_refuse() -> None:
    class Choosy:
        def build_protocol(self, peer: Any) -> Greeter | None:
            peers.append(peer)
            return None if len(peers) == 1 else Greeter()

    peers: list[Any] = []
    limits = ConnectionLimits()
    where = listener(Choosy(), limits=limits)
    with client(where) as first, client(where) as second:
        assert await receive(first) == b""
        assert await receive(second) == b"hi"
        assert peers == [InternetAddress(*each.getsockname()) for each in (first, second)]
        assert limits.connections == 1
        await gone(where)


async def test_what_builds_no_protocols_is_refused_and_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    wrong: Any = 5
    with pytest.raises(TypeError, match="builds no protocols"):
        await listen_tcp(current_reactor(), wrong, 0, "127.0.0.1")
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


async def test_the_factory_can_be_changed_for_later_connections() -> None:
    class Other(Greeter):
        greeting = b"new"

    where = listener()
    with client(where) as first:
        assert await receive(first) == b"hi"
        where.set_factory(Other)
        with client(where) as second:
            assert await receive(second) == b"new"
            await gone(where)


@pytest.mark.parametrize("way", ["made", "no method"])
async def test_a_protocol_that_cannot_begin_costs_its_connection_only(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Greeter):
        def connection_made(self, transport: Any) -> None:
            raise ValueError("bad")

    class Nothing:
        def data_received(self, data: bytes) -> None: ...

    limits = ConnectionLimits()
    made: Any = [Bad if way == "made" else Nothing, Greeter]
    where = listener(lambda: made.pop(0)(), limits=limits)
    with client(where) as first, client(where) as second:
        with pytest.raises(ConnectionResetError):
            if not await receive(first):
                raise ConnectionResetError
        assert await receive(second) == b"hi"
        await until(lambda: limits.connections == 1)
        assert len(where.connections) == 1
        assert len(caplog.records) == 1
        await gone(where)


# ── limits ────────────────────────────────────────────────────────────────────


class Polite(Greeter):
    @staticmethod
    def refusal(reason: str) -> bytes:
        return b"too many: " + reason.encode()


async def test_the_surplus_from_one_address_is_told_so_in_the_protocols_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING core-13: 200 connects, 50 stay, one line."""
    limits = ConnectionLimits(count_loopback=True)
    where = listener(Polite, limits=limits)
    clients = [client(where, "127.0.0.2") for _ in range(200)]
    answers = [await receive(each) for each in clients]
    assert answers.count(b"hi") == 50
    assert answers.count(b"too many: limit:connections-per-address") == 150
    with client(where, "127.0.0.3") as other:
        assert await receive(other) == b"hi"
    assert len([each for each in caplog.records if each.name == "sennit"]) == 1
    for each in clients:
        each.close()
    await until(lambda: not where.connections)
    assert limits.connections == 0
    assert limits._by_address == {}
    await gone(where)


@pytest.mark.parametrize("how", ["raises", "is silent"])
async def test_a_refusal_without_words_still_closes(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(Greeter):
        @staticmethod
        def refusal(reason: str) -> bytes:
            raise ValueError("no words")

    limits = ConnectionLimits(max_connections=1)
    where = listener(Raising if how == "raises" else Greeter, limits=limits)
    with client(where) as first, client(where) as second:
        assert await receive(first) == b"hi"
        assert await receive(second) == b""
        await gone(where)
    assert any("no words" in str(each.exc_info) for each in caplog.records) is (how == "raises")


async def test_words_of_refusal_reach_who_has_spoken_first() -> None:
    limits = ConnectionLimits(max_connections=1)
    where = listener(Polite, limits=limits, paused=True)
    with client(where) as first, client(where) as second:
        second.send(b"GET / HTTP/1.1\r\n\r\n")
        where.resume_accepting()
        assert await receive(first) == b"hi"
        assert await receive(second) == b"too many: limit:connections"
        assert await receive(second) == b""
        await gone(where)


async def test_limits_that_raise_fail_one_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd:
        answers: list[Any] = [ValueError("odd"), None]

        def admit(self, peer: Any) -> str | None:
            answer = self.answers.pop(0)
            if answer is not None:
                raise answer
            return None

        def release(self, peer: Any) -> None:
            released.append(peer)

    released: list[Any] = []
    where = listener(limits=Odd())
    with client(where) as first, client(where) as second:
        assert await receive(first) == b""
        assert await receive(second) == b"hi"
        name = second.getsockname()
        await gone(where)
    assert released == [name], "as accept gave it"
    assert len(caplog.records) == 1


# ── when the system has nothing left ──────────────────────────────────────────


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_out_of_descriptors_nobody_spins_and_all_recovers(tmp_path: Path) -> None:
    """HARDENING fault-1: RLIMIT_NOFILE 64, 500 connects, then free."""
    script = textwrap.dedent(
        """
        import logging, resource, sys, time
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
        from sennit.core.protocol import Protocol
        from sennit.core.reactor.base import run
        from sennit.core.transport.binding import tcp_sockets
        from sennit.core.transport.listening import Listener
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        class Echo(Protocol):
            def data_received(self, data):
                if data == b"cpu?":
                    self.transport.write(str(time.process_time()).encode())
                else:
                    self.transport.write(data)

        def main(reactor):
            sockets = tcp_sockets("127.0.0.1", 0)
            listener = Listener(reactor, sockets, Echo)
            print(listener.port, flush=True)
            sys.stdin.close()

        run(main)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    import time

    assert process.stdout is not None
    assert process.stderr is not None
    clients: list[socket.socket] = []
    try:
        port = int(process.stdout.readline())
        alive = socket.create_connection(("127.0.0.1", port), timeout=5)
        alive.sendall(b"x")
        assert alive.recv(1) == b"x"
        clients.extend(socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(500))
        served = shed = 0
        for each in clients:
            try:
                each.sendall(b"?")
                answer = each.recv(1)
            except ConnectionError:
                answer = b""
            served += answer == b"?"
            shed += answer == b""
        assert served + shed == 500
        assert 30 < served < 64
        alive.sendall(b"y")
        assert alive.recv(1) == b"y", "live connections are untouched"

        def cpu() -> float:
            alive.sendall(b"cpu?")
            return float(alive.recv(100))

        before, began = cpu(), time.monotonic()
        time.sleep(0.5)
        assert cpu() - before < 0.2 * (time.monotonic() - began)

        for each in clients:
            each.close()
        freed = time.monotonic()
        again: list[socket.socket] = []
        while time.monotonic() - freed < 2 and len(again) < 10:
            sock = socket.create_connection(("127.0.0.1", port), timeout=2)
            try:
                sock.sendall(b"!")
                if sock.recv(1) == b"!":
                    again.append(sock)
                    continue
            except ConnectionError:
                pass
            sock.close()
        assert len(again) == 10
        for each in [*again, alive]:
            each.close()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=10)
        for each in clients:
            each.close()
    warnings = [line for line in errors.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1, errors
    assert "Too many open files" in warnings[0]
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EMFILE])
async def test_want_of_memory_in_accept_pauses_it(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-2; EMFILE likewise, where even the reserve is gone."""
    monkeypatch.setattr(listening, "PAUSE", 0.02)
    where = listener()
    accept = where._acceptors[0]._accept
    calls = 0

    def failing() -> tuple[int, object]:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise OSError(number, "injected")
        return accept()

    where._acceptors[0]._accept = failing
    if number == errno.EMFILE:
        os.close(where._reserve)
        where._reserve = -1
        monkeypatch.setattr(listening, "_open_reserve", lambda: -1)
    with client(where) as peer:
        assert await receive(peer) == b"hi"
        assert 4 <= calls <= 6
        (record,) = caplog.records
        assert "accepting pauses" in record.getMessage()
        await gone(where)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionAbortedError(errno.ECONNABORTED, "x"),
        OSError(errno.EPROTO, "x"),
        OSError(errno.ENETDOWN, "x"),
        InterruptedError(errno.EINTR, "x"),
    ],
    ids=lambda error: errno.errorcode[error.errno],
)
async def test_an_error_of_the_connection_that_comes_is_passed_over(error: OSError) -> None:
    """accept(2): treat them like EAGAIN."""
    where = listener()
    accept = where._acceptors[0]._accept
    errors = [error]

    def failing() -> tuple[int, object]:
        if errors:
            raise errors.pop()
        return accept()

    where._acceptors[0]._accept = failing
    with client(where) as peer:
        assert await receive(peer) == b"hi"
        await gone(where)


async def test_what_waits_is_accepted_without_word_of_the_poller() -> None:
    where = listener(reserve=False)
    with client(where) as peer:
        assert not where.connections
        where.accept_now()
        assert len(where.connections) == 1
        where.pause_accepting()
        with client(where):
            where.accept_now()
            assert len(where.connections) == 1
        assert await receive(peer) == b"hi"
    await gone(where)


def test_ports_that_are_taken_are_passed_over() -> None:
    [first] = tcp_sockets("127.0.0.1", 0)
    with first:
        taken = first.getsockname()[1]
        [second] = tcp_sockets("127.0.0.1", taken, others=iter((taken, 0)))
        with second:
            assert second.getsockname()[1] not in {0, taken}
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{taken}"):
            tcp_sockets("127.0.0.1", taken, others=(taken,))


async def test_who_knows_when_to_look_needs_no_poller_to_accept() -> None:
    where = listener(reserve=False, paused=True)
    with client(where) as first, client(where) as second:
        for count in 1, 2, 2:
            where.accept_now(paused=True)
            assert len(where.connections) == count
        assert await receive(first) == await receive(second) == b"hi"
        await gone(where)
        where.accept_now(paused=True)


async def test_a_listening_socket_shut_down_under_our_feet_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    where = listener()
    where.sockets[0].shutdown(socket.SHUT_RDWR)
    await until(lambda: where._closed)
    (record,) = caplog.records
    assert "it is closed" in record.getMessage()


async def test_a_connect_storm_leaves_an_active_peer_its_turn() -> None:
    """HARDENING core-12, short: it is answered long before all who wait were taken."""
    reactor = current_reactor()
    where = listener()
    with client(where) as active:
        assert await receive(active) == b"hi"
        (transport,) = where.connections
        where.pause_accepting()
        transport.pause_reading()
        storm = [client(where) for _ in range(300)]
        active.send(b"ping")
        for _ in range(20):
            await asyncio.sleep(0)
        due: list[int] = []
        where.resume_accepting()
        transport.resume_reading()
        reactor.call_later(0, lambda: due.append(len(where.connections)))
        assert await receive(active) == b"ping"
        assert len(where.connections) < 300
        await until(lambda: len(where.connections) == 301)
        assert due
        assert due[0] < 300, "a timer is not late either"
        for each in storm:
            each.close()
        await until(lambda: len(where.connections) == 1)
        await gone(where)


async def test_connections_that_come_and_go_leave_nothing() -> None:
    """HARDENING fault-17, short: descriptors, timers and memory are back at where they were."""
    await _come_and_go(3000, 0)


@pytest.mark.soak
@pytest.mark.sennit(timeout=3000)
async def test_a_million_connections_leave_nothing() -> None:
    """HARDENING fault-17."""
    await _come_and_go(1_000_000, 100_000)


async def _come_and_go(number: int, after: int) -> None:
    import resource

    reactor = current_reactor()
    where = listener(limits=ConnectionLimits())
    await asyncio.sleep(0)
    before = len(os.listdir("/proc/self/fd"))
    timers = len([1 for _, _, call in reactor._heap if call.fn is not None])
    base = 0
    for at in range(number):
        sock = client(where)
        if at % 3 == 0:
            await receive(sock)
        elif at % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            await asyncio.sleep(0)
        sock.close()
        if at == (after or number // 5):
            base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await until(lambda: not where.connections)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len([1 for _, _, call in reactor._heap if call.fn is not None]) == timers
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base <= 5 * 1024
    await gone(where)


# ── where it listens ──────────────────────────────────────────────────────────


async def test_an_empty_host_is_both_families_with_one_port() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    where = listener(host="")
    assert [each.host for each in where.addresses if isinstance(each, InternetAddress)] == [
        "0.0.0.0",
        "::",
    ]
    assert len({each.port for each in where.addresses if isinstance(each, InternetAddress)}) == 1
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.connect((host, where.port))
            sock.setblocking(False)
            assert await receive(sock) == b"hi"
    await gone(where)


def test_a_port_that_is_free_in_one_family_only_is_not_settled_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def unlucky(
        host: str, port: int, backlog: int, reuse_port: bool, others: Sequence[int] = ()
    ) -> list[socket.socket]:
        calls.append(port)
        if len(calls) < 3 or len(calls) > 50:
            raise OSError(errno.EADDRINUSE, "in use")
        return []

    monkeypatch.setattr(binding, "_tcp_sockets", unlucky)
    assert tcp_sockets("", 0) == []
    assert calls == [0, 0, 0]
    calls[:] = [0] * 50
    with pytest.raises(OSError, match="in use"):
        tcp_sockets("", 0)
    assert len(calls) == 50 + binding._PORTS_TRIED + 1
    with pytest.raises(OSError, match="in use"):
        tcp_sockets("", 80)


def test_an_address_in_use_is_named() -> None:
    """HARDENING fault-19."""
    (first,) = tcp_sockets("127.0.0.1", 0)
    with first:
        port = first.getsockname()[1]
        with pytest.raises(OSError) as caught:
            tcp_sockets("127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.strerror == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    (shared,) = tcp_sockets("127.0.0.1", 0, reuse_port=True)
    with shared:
        (other,) = tcp_sockets("127.0.0.1", shared.getsockname()[1], reuse_port=True)
        other.close()


def test_an_address_that_is_not_ours_is_named() -> None:
    for host, shown in (("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80")):
        with pytest.raises(OSError, match="cannot listen on") as caught:
            tcp_sockets(host, 80)
        assert shown in str(caught.value)


async def test_a_name_is_looked_up_and_all_its_addresses_are_used() -> None:
    where: Any = await current_reactor().listen_tcp(Greeter, 0, "localhost")
    assert {each.port for each in where.addresses} == {where.port}
    with client(where) as peer:
        assert await receive(peer) == b"hi"
        await gone(where)
    with pytest.raises(OSError, match=r"cannot listen on nothing\.invalid:80: "):
        await current_reactor().listen_tcp(Greeter, 80, "nothing.invalid")
    with pytest.raises(OSError, match="cannot listen on"):
        await current_reactor().listen_tcp(Greeter, 80, "x" * 70 + ".invalid")


# ── Unix ──────────────────────────────────────────────────────────────────────

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@unix
async def test_a_unix_socket_has_its_mode_and_goes_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    where: Any = await current_reactor().listen_unix(Greeter, path, mode=0o640)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert where.addresses == (UnixAddress(path),)
    assert where.port == 0
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.setblocking(False)
        assert await receive(peer) == b"hi"
        (transport,) = where.connections
        assert transport.peer == UnixAddress("")
        assert transport.local == UnixAddress(path)
        await gone(where)
    assert not os.path.lexists(path)


@unix
async def test_unix_connections_count_in_the_total_and_give_their_place_back(
    tmp_path: Path,
) -> None:
    limits = ConnectionLimits(count_loopback=True, max_per_address=1)
    path = str(tmp_path / "x.sock")
    where: Any = await listening.listen_unix(current_reactor(), Greeter, path, limits=limits)
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.setblocking(False)
            assert await receive(peer) == b"hi"
            (transport,) = where.connections
            assert transport.peer == UnixAddress("")
        await until(lambda: not where.connections)
    assert limits.connections == 0
    assert limits._by_address == {}
    await gone(where)


@unix
async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """HARDENING fault-19."""
    path = str(tmp_path / "x.sock")
    reactor = current_reactor()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    where: Any = await reactor.listen_unix(Greeter, path)
    with pytest.raises(OSError) as caught:
        await reactor.listen_unix(Greeter, path)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.strerror == f"cannot listen on unix:{path}: it is in use"
    await until(lambda: not where.connections)
    await gone(where)


@unix
def test_a_live_socket_with_a_full_queue_is_in_use_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    waiting: list[socket.socket] = []
    with unix_socket(path, backlog=0):
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            if sock.connect_ex(path):
                break
        with pytest.raises(OSError, match="in use"):
            unix_socket(path)
        for each in waiting:
            each.close()


@unix
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    with pytest.raises(FileExistsError, match="a file of that name"):
        unix_socket(str(path))
    assert os.path.lexists(path)


@unix
def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    for path in (str(tmp_path / "missing" / "x.sock"), str(tmp_path / ("x" * 200))):
        with pytest.raises(OSError, match="cannot listen on unix:/") as caught:
            unix_socket(path)
        assert caught.value.errno is not None


@unix
def test_a_socket_whose_mode_cannot_be_set_is_not_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "chmod", refuse)
    path = str(tmp_path / "x.sock")
    with pytest.raises(PermissionError, match="not yours"):
        unix_socket(path)
    assert not os.path.lexists(path)


@unix
async def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    where: Any = await current_reactor().listen_unix(Greeter, path)
    os.unlink(path)
    with unix_socket(path):
        await gone(where)
        assert os.path.lexists(path)


@unix
async def test_a_bad_factory_leaves_no_socket_file(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    wrong: Any = 5
    with pytest.raises(TypeError):
        await current_reactor().listen_unix(wrong, path)
    assert not os.path.lexists(path)


@unix
@pytest.mark.skipif(sys.platform != "linux", reason="Linux' own")
async def test_the_abstract_space_needs_no_file() -> None:
    path = f"@sennit-test-{os.getpid()}"
    where: Any = await current_reactor().listen_unix(Greeter, path)
    assert where.addresses == (UnixAddress(path),)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect("\0" + path[1:])
        peer.setblocking(False)
        assert await receive(peer) == b"hi"
        await gone(where)
    assert not os.path.lexists(path)
