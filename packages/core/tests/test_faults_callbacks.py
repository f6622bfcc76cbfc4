"""Bugs in protocols, in each of their methods, over every kind of transport (HARDENING fault-10).

What `test_tcp_transport` asks of TCP and Unix sockets is asked here of all others: the
failure is logged once with its traceback and the method's name, ends its own connection
(a datagram's, that datagram; a process', that call), is told as any end is, and leaves
listener, timers, peers and descriptors as they were. `CancelledError`, `GeneratorExit` and
`MemoryError` are bugs there too; `KeyboardInterrupt` and `SystemExit` end the program, as
`sennit.core.reactor` documents.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core._faultlog import limit
from sennit.core.policy.pacing import rate_limited
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.policy.traffic import with_traffic_log
from sennit.core.protocol import DatagramProtocol, ProcessProtocol, Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.memory import memory_pair
from sennit.core.transport.pipes import Ends, PipeTransport
from sennit.core.transport.tls import ClientTLS, ServerTLS, client_protocol, server_protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ERRORS = [ValueError, asyncio.CancelledError, GeneratorExit, MemoryError]
CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
LEAF = CA.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
SERVER = ServerTLS(
    b"".join(each.bytes() for each in LEAF.cert_chain_pems), LEAF.private_key_pem.bytes()
)
CLIENT = ClientTLS(trust=CA.cert_pem.bytes())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


class Recorder(Protocol):
    """Writes down what it is told, and asks for less before it is told to pause."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[str] = []
        self.size = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connection_made")
        transport.set_write_buffer_limits(20_000, 10_000)

    def data_received(self, data: bytes) -> None:
        self.events.append("data_received")
        self.size += len(data)

    def eof_received(self) -> bool | None:
        self.events.append("eof_received")
        return None

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("connection_lost")


def failing(base: type, method: str, error: BaseException) -> type:
    """The class, one of whose methods has a bug."""

    def broken(self: Any, *args: Any) -> None:
        getattr(base, method)(self, *args)
        raise error

    broken.__name__ = method
    broken.__code__ = broken.__code__.replace(co_name=method)  # what a traceback shows
    return type("Failing", (base,), {method: broken})


# ── streams ───────────────────────────────────────────────────────────────────


def in_memory(ours: Any, theirs: Any) -> None:
    memory_pair(ours, theirs)


def over_pipes(ours: Any, theirs: Any) -> None:
    here, there = os.pipe(), os.pipe()
    reactor = current_reactor()
    PipeTransport(reactor, Ends(here[0], there[1]), ours).start()
    PipeTransport(reactor, Ends(there[0], here[1]), theirs).start()


def over_tls(ours: Any, theirs: Any) -> None:
    client, _ = client_protocol(theirs, CLIENT, "localhost")
    memory_pair(server_protocol(ours, SERVER), client)


def worn(wear: Callable[[Callable[[], Any]], Any]) -> Callable[[Any, Any], None]:
    def join(ours: Any, theirs: Any) -> None:
        memory_pair(wear(lambda: ours).build_protocol(None), theirs)

    return join


STREAMS: dict[str, Callable[[Any, Any], None]] = {
    "memory": in_memory,
    "pipes": over_pipes,
    "tls": over_tls,
    "timeouts": worn(lambda make: with_timeouts(make, idle=60.0)),
    "rates": worn(lambda make: rate_limited(make, read=1e9, write=1e9)),
    "traffic": worn(with_traffic_log),
}
METHODS = [
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_bug_ends_its_connection_and_nothing_else(
    kind: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10: each method, each kind of exception, each kind of stream."""
    for raises in ERRORS:
        caplog.clear()
        await have_a_bug(kind, method, raises("a bug"), caplog)


async def have_a_bug(
    kind: str, method: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    reactor = current_reactor()
    beside = Recorder()
    timers: list[int] = []
    memory_pair(beside, other := Recorder())
    reactor.call_later(0.001, timers.append, 1)
    ours, theirs = failing(Recorder, method, error)(), Recorder()
    STREAMS[kind](ours, theirs)

    def over() -> bool:
        return "connection_lost" in ours.events

    await until(lambda: over() or (ours.events and theirs.events))
    if not over():
        theirs.transport.write(b"data")
        await until(lambda: over() or ours.size)
    if not over():
        theirs.transport.pause_reading()
        for _ in range(30):
            ours.transport.write(bytes(10_000))
        await until(lambda: over() or "pause_writing" in ours.events)
        theirs.transport.resume_reading()
        await until(lambda: over() or "resume_writing" in ours.events)
    if not over():
        theirs.transport.write_eof()
        await until(over)
    assert ours.events.count("connection_lost") == 1
    assert ours.events[-1] == "connection_lost"
    assert method in ours.events
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert method in record.getMessage()
    if method != "connection_lost":
        assert ours.transport.close_reason == "error"
    # The peer learns of the end; the others notice nothing.
    theirs.transport.resume_reading()
    await until(lambda: not theirs.events or "connection_lost" in theirs.events)
    await until(lambda: timers)
    other.transport.write(b"still here")
    await until(lambda: beside.size)
    assert "connection_lost" not in beside.events
    other.transport.close()
    await until(lambda: "connection_lost" in beside.events and "connection_lost" in other.events)


# ── datagrams ─────────────────────────────────────────────────────────────────


class Datagrams(DatagramProtocol):
    """Echoes, and writes down what it is told."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[str] = []
        self.came: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connection_made")

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.events.append("datagram_received")
        self.came.append(data)

    def error_received(self, exc: OSError) -> None:
        self.events.append("error_received")

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("connection_lost")


async def datagram_ends(kind: str, make: Any, where: Path) -> tuple[Any, Any, Any]:
    """A listener whose protocols `make` makes; a transport of it; a client's protocol."""
    reactor = current_reactor()
    if kind == "udp":
        listener: Any = await reactor.listen_udp(make, 0, "127.0.0.1")
        client = await reactor.connect_udp(Datagrams, "127.0.0.1", listener.port)
    else:
        listener = await reactor.listen_unix_datagram(make, str(where / "socket"))
        client = await reactor.connect_unix_datagram(Datagrams, str(where / "socket"))
    return listener, listener.transports[0], client


@pytest.mark.parametrize(
    "method", ["datagram_received", "pause_writing", "resume_writing", "connection_lost"]
)
@pytest.mark.parametrize("kind", ["udp", "unix"])
async def test_a_bug_costs_one_datagram_and_the_transport_goes_on(
    kind: str,
    method: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """HARDENING fault-10: a socket that serves everybody is not closed for one."""
    for raises in ERRORS:
        caplog.clear()
        limit.forget()
        await have_a_datagram_bug(kind, method, raises("a bug"), caplog, tmp_path)


async def have_a_datagram_bug(
    kind: str,
    method: str,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    made: Any = failing(Datagrams, method, error)
    listener, transport, client = await datagram_ends(kind, made, tmp_path)
    server: Any = transport.get_protocol()
    client.transport.sendto(b"one")
    client.transport.sendto(b"two")
    await until(lambda: len(server.came) == 2)
    client_address = client.transport.get_extra_info("sockname")
    if method in ("pause_writing", "resume_writing"):
        blocked = transport._send, transport._sendto

        def full(*_: Any) -> int:
            raise BlockingIOError

        transport._send = transport._sendto = full
        transport.set_write_buffer_limits(1000, 100)
        for number in range(5):
            transport.sendto(b"%d" % number * 400, client_address)
        assert "pause_writing" in server.events
        transport._send, transport._sendto = blocked
        await until(lambda: "resume_writing" in server.events)
        await until(lambda: len(client.came) == 5)
    transport.sendto(b"answer", client_address)
    await until(lambda: client.came[-1:] == [b"answer"])
    listener.close()
    client.transport.close()
    await until(lambda: "connection_lost" in server.events and "connection_lost" in client.events)
    records = [each for each in caplog.records if each.exc_info]
    # Two datagrams, two failures; other methods were called once.
    assert len(records) == (2 if method == "datagram_received" else 1)
    for record in records:
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert method in record.getMessage()


@pytest.mark.parametrize("kind", ["udp", "unix"])
async def test_a_bug_at_the_beginning_of_a_datagram_transport_is_the_callers(
    kind: str, tmp_path: Path
) -> None:
    """HARDENING fault-10: who asked for it is told; no socket is left."""
    before = len(os.listdir("/proc/self/fd"))
    for raises in (ValueError, GeneratorExit, MemoryError):
        made = failing(Datagrams, "connection_made", raises("a bug"))
        with pytest.raises(raises):
            await datagram_ends(kind, made, tmp_path)
        await until(lambda: len(os.listdir("/proc/self/fd")) == before)
        assert list(tmp_path.iterdir()) == []


# ── processes ─────────────────────────────────────────────────────────────────


class Child(ProcessProtocol):
    transport: Any

    def __init__(self) -> None:
        self.events: list[str] = []
        self.said = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.events.append("pipe_data_received")
        self.said += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append("pipe_connection_lost")

    def pause_writing(self, fd: int) -> None:
        self.events.append("pause_writing")

    def resume_writing(self, fd: int) -> None:
        self.events.append("resume_writing")

    def process_exited(self, status: Any) -> None:
        self.events.append("process_exited")

    def process_ended(self, status: Any) -> None:
        self.events.append("process_ended")


@pytest.mark.parametrize(
    "method",
    [
        "connection_made",
        "pipe_data_received",
        "pipe_connection_lost",
        "pause_writing",
        "resume_writing",
        "process_exited",
        "process_ended",
    ],
)
async def test_a_bug_about_a_process_leaves_neither_child_nor_descriptor(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-10: whatever the protocol does, its child is reaped and told of."""
    for raises in ERRORS:
        caplog.clear()
        await have_a_bug_about_a_process(method, raises("a bug"), caplog)


async def have_a_bug_about_a_process(
    method: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    child: Any = failing(Child, method, error)()
    size = 1_000_000
    process: Any = await current_reactor().spawn_process(
        child, ["sh", "-c", f"head -c {size} >/dev/null; echo said"]
    )
    process.write(bytes(size))
    async with asyncio.timeout(10):
        while "process_ended" not in child.events:
            await asyncio.sleep(0.001)
    assert child.events.count("process_ended") == 1
    assert child.events.count("process_exited") == 1
    assert method in child.events
    records = [each for each in caplog.records if each.exc_info]
    assert len(records) == child.events.count(method)
    for record in records:
        assert record.exc_info is not None
        assert record.exc_info[1] is error
    assert method in caplog.text
    async with asyncio.timeout(10):
        while len(os.listdir("/proc/self/fd")) != before:
            await asyncio.sleep(0.001)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
