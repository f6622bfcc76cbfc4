"""What a measured reactor counts, and that one which is not measured does nothing for it."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import pytest

from sennit.core import Protocol, open_stream, serve
from sennit.core.ops.instruments import measure, octets, process_metrics, stop_measuring
from sennit.core.ops.metrics import Registry, registry_of
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.protocol import DatagramProtocol
from sennit.core.reactor.base import Reactor, current_meter
from sennit.core.reactor.turning import Turning
from sennit.core.testing.clock import Clock


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def read(reactor: Reactor) -> dict[str, Any]:
    """Name, or name and labels, to value."""
    found: dict[str, Any] = {}
    for family in registry_of(reactor).read():
        for sample in family["samples"]:
            labels = ",".join(sample["labels"].values())
            name = family["name"].removeprefix("sennit_") + (f"{{{labels}}}" if labels else "")
            found[name] = sample.get("value", sample.get("count"))
    return found


def test_a_reactor_that_is_not_measured_runs_the_plain_turns() -> None:
    reactor = Reactor()
    try:
        assert reactor.meter is None
        assert reactor._turns.__func__ is Turning._turns  # type: ignore[attr-defined]  # a bound method has it
    finally:
        reactor.close()


async def test_measuring_begins_and_ends_while_the_reactor_runs(reactor: Reactor) -> None:
    measure(reactor)
    for _ in range(5):
        await asyncio.sleep(0.001)
    turned = read(reactor)["loop_turn_seconds"]
    assert turned >= 4
    stop_measuring(reactor)
    await asyncio.sleep(0.001)
    before = read(reactor)["loop_turn_seconds"]
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert read(reactor)["loop_turn_seconds"] == before
    assert reactor._turns.__func__ is Turning._turns  # type: ignore[attr-defined]  # a bound method has it


async def test_measuring_twice_is_measuring_once(reactor: Reactor) -> None:
    assert measure(reactor) is measure(reactor)


async def test_the_meter_of_the_running_reactor_is_found_while_there_is_one(
    reactor: Reactor,
) -> None:
    assert current_meter() is None
    meter = measure(reactor)
    try:
        assert current_meter() is meter
    finally:
        stop_measuring(reactor)
    assert current_meter() is None


def test_where_no_reactor_runs_and_in_virtual_time_nothing_is_measured() -> None:
    assert current_meter() is None
    found: list[object] = []
    clock = Clock()

    clock.call_soon(lambda: found.append(current_meter()))
    clock.pump()

    assert found == [None]


async def test_connections_and_their_octets_are_counted_by_service(reactor: Reactor) -> None:
    measure(reactor)
    async with serve("tcp://127.0.0.1:0", Echo) as server:
        server.listeners[0].label = "site"
        async with await open_stream(server.urls[0]) as stream:
            for _ in range(10):
                await stream.send_all(b"x" * 1000)
                await stream.read_exactly(1000)
            found = read(reactor)
            assert found["connections_active{site}"] == found["connections_active{client}"] == 1
            assert found["received_bytes{site}"] == found["sent_bytes{site}"] == 10_000
        while server.connections:
            await asyncio.sleep(0)
        found = read(reactor)
        assert found["connections{site}"] == 1
        assert found["connections_active{site}"] == 0
        assert found["connections_closed{site,clean}"] == 1
        assert found["connection_seconds{site}"] == 1
        assert found["received_bytes{site}"] == found["sent_bytes{site}"] == 10_000


async def test_a_connection_that_was_there_before_counts_too(reactor: Reactor) -> None:
    async with (
        serve("tcp://127.0.0.1:0", Echo) as server,
        await open_stream(server.urls[0]) as stream,
    ):
        await stream.send_all(b"x" * 10)
        await stream.read_exactly(10)
        measure(reactor)
        assert read(reactor)["received_bytes{client}"] == 10


async def test_what_is_shed_is_counted_by_its_limit(reactor: Reactor) -> None:
    measure(reactor)
    limits = ConnectionLimits(max_connections=1)
    async with (
        serve("tcp://127.0.0.1:0", Echo, limits=limits) as server,
        await open_stream(server.urls[0]) as first,
    ):
        await first.send_all(b"x")
        await first.read_exactly(1)
        async with await open_stream(server.urls[0]) as second:
            assert await second.receive_some() == b""
    found = read(reactor)
    refused = [value for name, value in found.items() if name.startswith("connections_refused{")]
    reached = [value for name, value in found.items() if name.startswith("limits_reached{")]
    assert refused == reached == [1]


async def test_a_limit_that_ends_a_connection_is_counted_by_name(reactor: Reactor) -> None:
    measure(reactor)
    async with (
        serve("tcp://127.0.0.1:0", Echo) as server,
        await open_stream(server.urls[0]) as stream,
    ):
        await stream.send_all(b"x")
        await stream.read_exactly(1)
        next(iter(server.connections)).abort("limit:idle")
        with pytest.raises(ConnectionError):
            await stream.receive_some()
    assert read(reactor)["limits_reached{,idle}"] == 1


async def test_an_error_of_accept_is_counted_by_its_name(reactor: Reactor) -> None:
    """HARDENING fault-1."""
    measure(reactor)
    async with serve("tcp://127.0.0.1:0", Echo) as server:
        listener = server.listeners[0]
        listener.accept_failed(listener._acceptors[0], OSError(12, "no memory"))
    assert read(reactor)["accept_errors{,ENOMEM}"] == 1


async def test_timers_that_come_late_are_measured(reactor: Reactor) -> None:
    measure(reactor)
    await asyncio.sleep(0.002)
    before = read(reactor)["loop_timer_lag_seconds"]
    await asyncio.sleep(0.002)
    assert read(reactor)["loop_timer_lag_seconds"] > before


async def test_what_is_due_right_after_measuring_began_is_measured(reactor: Reactor) -> None:
    """However long the step that began it took."""
    fired = asyncio.Event()
    reactor.call_later(0.0, fired.set)
    measure(reactor)
    threading.Event().wait(0.002)
    await fired.wait()
    assert read(reactor)["loop_timer_lag_seconds"] == 1


async def test_a_callback_that_keeps_the_loop_is_counted_without_a_watch(reactor: Reactor) -> None:
    """HARDENING fault-11: the counter always."""
    meter = measure(reactor)
    meter.slow = 0.01
    await asyncio.sleep(0.001)
    reactor.call_soon(threading.Event().wait, 0.03)
    await asyncio.sleep(0.001)
    assert read(reactor)["loop_blocking_callbacks"] >= 1


async def test_calls_that_wait_for_a_thread_are_shown_with_their_age(reactor: Reactor) -> None:
    """HARDENING fault-9: the queue's age is in the stats."""
    measure(reactor)
    held = threading.Event()
    waiting: list[Any] = [reactor.defer_to_thread(held.wait)]
    assert reactor._threads is not None
    waiting += [reactor.defer_to_thread(held.wait) for _ in range(reactor._threads.size + 2)]
    await asyncio.sleep(0.02)
    found = read(reactor)
    held.set()
    for each in waiting:
        await each
    assert found["threads_waiting{worker}"] == 3
    assert found["threads_oldest_seconds{worker}"] >= 0.01
    assert read(reactor)["threads_waiting{worker}"] == 0


async def test_log_lines_for_which_there_was_no_room_are_counted(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-14: dropped and counted."""
    from sennit.core.service import output

    measure(reactor)
    before = read(reactor)["log_lines_dropped"]
    monkeypatch.setattr(output, "WAITING", 0)
    log = output.LineWriter(2, notice="{} dropped")
    other = output.LineWriter(1)  # no log: its lines are not counted here
    assert not log.write("x")
    assert not log.write("x")
    assert not other.write("x")
    assert read(reactor)["log_lines_dropped"] == before + 2
    log.close()
    other.close()


async def test_look_ups_of_names_are_counted(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sennit.core.endpoint.names import look_up

    measure(reactor)

    def answer(host: str, *more: object) -> list[object]:
        if host == "no.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert await look_up(reactor, "a.example", 1) == []
    with pytest.raises(OSError, match="unknown"):
        await look_up(reactor, "no.example", 1)
    found = read(reactor)
    assert found["name_lookups{found}"] == found["name_lookups{failed}"] == 1
    assert found["name_lookup_seconds"] == 2


def test_measured_turns_do_the_same_in_the_same_order() -> None:
    """Ready calls, timers, writes and endings, with and without a clock in the turn."""

    def play(measured: bool) -> list[str]:
        reactor = Reactor()
        if measured:
            measure(reactor)
        log: list[str] = []

        async def main(reactor: Reactor) -> None:
            def chain(name: str, left: int) -> None:
                log.append(f"{name}{left}")
                if left:
                    reactor.call_soon(chain, name, left - 1)

            def bad() -> None:
                log.append("bad")
                raise ValueError("expected")

            reactor.report = lambda error, where: log.append(f"{error} {where[:9]}")  # type: ignore[method-assign]  # to read what is told
            reactor.flush_later(lambda: log.append("flush"))
            reactor.ended(lambda: log.append("end"))
            for delay in (0.002, 0.001, 0.0):
                reactor.call_later(delay, log.append, f"timer {delay}")
            reactor.call_later(0.001, log.append, "never").cancel()
            chain("a", 3)
            chain("b", 2)
            reactor.call_soon(bad)
            await asyncio.sleep(0.01)

        try:
            reactor.run(main)
        finally:
            reactor.close()
        return log

    assert play(True) == play(False)


def test_an_interrupt_leaves_measured_turns_as_it_leaves_the_others() -> None:
    reactor = Reactor()
    measure(reactor)

    def interrupt() -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            reactor.run(lambda reactor: reactor.call_soon(interrupt) and None)
        assert reactor.meter is not None
        assert reactor.meter.began == 0
    finally:
        reactor.close()


async def test_the_kernel_counts_no_octets_of_a_unix_socket() -> None:
    here, there = socket.socketpair()
    assert octets(here) is None
    here.close()
    there.close()


async def test_octets_behind_a_reset_and_an_end_are_right(reactor: Reactor) -> None:
    """The peer's FIN counts as an octet of its sequence (RFC 9293 §3.4), not of its data."""
    measure(reactor)
    async with serve("tcp://127.0.0.1:0", Echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"x" * 77)
        await reader.readexactly(77)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        while server.connections:
            await asyncio.sleep(0)
        assert read(reactor)["received_bytes"] == 77
        assert read(reactor)["sent_bytes"] == 77


def test_what_the_process_uses_is_shown_under_its_usual_names() -> None:
    registry = Registry()
    process_metrics(registry)
    found = {each["name"]: each["samples"][0]["value"] for each in registry.read()}
    assert found["process_cpu_seconds"] > 0
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert 3 <= found["process_open_fds"] <= found["process_max_fds"]


class DatagramEcho(DatagramProtocol):
    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.transport.sendto(data, peer)


class PathEcho(DatagramProtocol):
    def datagram_received_on_path(self, data: bytes, path: Any) -> None:
        self.transport.send_on_path(data, path)


@pytest.mark.parametrize("kind", [DatagramEcho, PathEcho])
@pytest.mark.parametrize("before", [True, False])
async def test_datagrams_are_counted_by_service_while_somebody_measures(
    reactor: Reactor, kind: type[DatagramProtocol], before: bool
) -> None:
    if before:
        measure(reactor)
    came: asyncio.Queue[bytes] = asyncio.Queue()

    class Client(DatagramProtocol):
        def datagram_received(self, data: bytes, peer: Any) -> None:
            came.put_nowait(data)

    listener: Any = await reactor.listen_udp(kind, 0, "0.0.0.0", max_size=100)
    listener.label = "site"
    transport: Any = listener.transports[0]
    client: Any = await reactor.connect_udp(Client, "127.0.0.1", listener.port)
    measure(reactor)
    for _ in range(10):
        client.transport.sendto(b"x" * 50)
        assert await came.get() == b"x" * 50
    client.transport.sendto(b"x" * 101)
    client.transport.sendto(b"last")
    assert await came.get() == b"last"
    wanted = {
        "datagrams_received{site}": 12,
        "datagrams_sent{site}": 11,
        "datagram_sent_bytes{site}": 504,
        "datagrams_dropped{site,limit:datagram-size}": 1,
        "datagrams_sent{client}": 12,
        "datagram_sent_bytes{client}": 605,
        "datagrams_received{client}": 11,
        "datagram_received_bytes{client}": 504,
    }
    found = read(reactor)
    assert {name: found[name] for name in wanted} == wanted
    listener.close()
    client.transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found = read(reactor)
    assert {name: found[name] for name in wanted} == wanted
    assert transport.close_reason == "drained"


async def test_datagram_sockets_are_themselves_while_nobody_measures(reactor: Reactor) -> None:
    listener = await reactor.listen_udp(DatagramEcho, 0, "127.0.0.1")
    transport: Any = listener.transports[0]
    assert isinstance(transport._sock, socket.socket)
    measure(reactor)
    assert not isinstance(transport._sock, socket.socket)
    assert transport.get_extra_info("socket").getsockname() == ("127.0.0.1", listener.port)
    stop_measuring(reactor)
    assert isinstance(transport._sock, socket.socket)
    assert transport._receive.__self__ is transport._sock
    listener.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SO_MEMINFO is Linux'")
async def test_what_the_kernel_drops_of_a_full_queue_is_counted(reactor: Reactor) -> None:
    measure(reactor)
    listener = await reactor.listen_udp(DatagramEcho, 0, "127.0.0.1")
    listener.pause_accepting()
    transport: Any = listener.transports[0]
    transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(50):
            sender.sendto(bytes(1000), ("127.0.0.1", listener.port))
    assert read(reactor)["datagrams_dropped{,limit:receive-buffer}"] > 30
    listener.close()
