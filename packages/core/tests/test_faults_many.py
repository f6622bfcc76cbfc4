"""Many connections: held idle, and opened and closed (HARDENING fault-16, fault-17).

Short forms here; the long ones are marked ``soak``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.tls import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sennit.core.endpoint.listen import Server

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
LEAF = CA.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
CHAIN = b"".join(each.bytes() for each in LEAF.cert_chain_pems)
SERVER = ServerTLS(CHAIN, LEAF.private_key_pem.bytes())
CLIENT = ClientTLS(trust=CA.cert_pem.bytes())

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


# ── opened and closed ─────────────────────────────────────────────────────────


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Talk(Protocol):
    """Says a word, and has its answer."""

    def __init__(self) -> None:
        self.answer: Deferred[None] = Deferred()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        if self.answer.outcome is None:
            self.answer.callback(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer.outcome is None:
            self.answer.errback(exc or ConnectionError("closed"))


def reset(transport: Any) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.close()


def standing() -> tuple[int, int, int]:
    """Descriptors, timers that wait, Deferreds that exist."""
    gc.collect()
    reactor = current_reactor()
    return (
        len(os.listdir("/proc/self/fd")),
        sum(call.fn is not None for _, _, call in reactor._heap),
        sum(isinstance(each, Deferred) for each in gc.get_objects()),
    )


async def visit(at: int, server: Server) -> None:
    """Connect, talk (two times in three), and end in one of several ways; each second over TLS."""
    plain, secure = server.urls
    client = await (connect(secure, Talk, tls=CLIENT) if at % 2 else connect(plain, Talk))
    if at % 3:
        await client.answer
    else:
        client.answer.add_errback(lambda _: None)
    way = at // 2 % 4
    if way == 0:
        client.transport.close()
    elif way == 1:
        client.transport.abort()
    elif way == 2 and not at % 2:
        reset(client.transport)
    else:
        for each in list(server.connections)[:1]:
            each.abort()
        client.transport.close()


async def come_and_go(number: int, after: int) -> int:
    """Octets by which memory grew once `after` connections had come and gone."""
    factory = with_timeouts(Echo, idle=600.0)
    base = 0
    async with serve(["tcp://127.0.0.1:0", "tls://127.0.0.1:0"], factory, tls=SERVER) as server:
        before = standing()
        for at in range(number):
            await visit(at, server)
            if at == after:
                base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await until(lambda: not server.connections)
        await asyncio.sleep(0.01)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        now = standing()
        assert now[0] <= before[0]
        assert now[1] <= before[1]
        assert now[2] <= before[2] + 2
    return (most - base) * 1024


async def test_connections_with_and_without_tls_that_come_and_go_leave_nothing() -> None:
    """HARDENING fault-17, short: descriptors, timers, Deferreds are where they were."""
    assert await come_and_go(600, 300) <= 5 << 20


@pytest.mark.soak
@pytest.mark.sennit(timeout=3000)
async def test_a_hundred_thousand_connections_with_and_without_tls_leave_nothing() -> None:
    """HARDENING fault-17, beside the million of `test_listening`: half of them over TLS."""
    began = time.monotonic()
    grown = await come_and_go(100_000, 10_000)
    print(f"\n{grown / 1024:.0f} KiB after the first 10 000; {time.monotonic() - began:.0f} s")
    assert grown <= 5 << 20


# ── held ──────────────────────────────────────────────────────────────────────

HOLDER = """
    import gc, os, resource, sys
    from sennit.core.endpoint.listen import serve
    from sennit.core.policy.limits import ConnectionLimits
    from sennit.core.policy.timeouts import with_timeouts
    from sennit.core.protocol import Protocol
    from sennit.core.reactor.base import run
    from sennit.core.transport.tls import ServerTLS

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    class Echo(Protocol):
        def data_received(self, data):
            if data == b"rss?":
                gc.collect()
                pages = int(open("/proc/self/statm").read().split()[1])
                data = b"%d" % (pages * os.sysconf("SC_PAGE_SIZE"))
            self.transport.write(data)

    async def main(reactor):
        tls = ServerTLS(*(open(each, "rb").read() for each in sys.argv[1:]))
        there = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"]
        limits = ConnectionLimits(max_connections=20_000)
        async with serve(there, with_timeouts(Echo, idle=600.0), tls=tls, limits=limits) as server:
            print(*(each.rpartition(":")[2] for each in server.urls), flush=True)
            await reactor.defer_to_thread(sys.stdin.read)

    run(main)
"""


def hold(number: int, secure: bool, where: Path) -> tuple[float, float, float, float]:
    """What so many idle connections cost.

    Octets of each; seconds of the server's processor time for an echo before, and then; seconds
    that one takes then.
    """
    (where / "chain").write_bytes(CHAIN)
    (where / "key").write_bytes(LEAF.private_key_pem.bytes())
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(where / "chain"), str(where / "key")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    held: list[socket.socket] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        assert process.stdout is not None
        ports = [int(each) for each in process.stdout.readline().split()]

        def caller(at: int) -> socket.socket:
            sock = socket.socket()
            sock.settimeout(20)
            sock.bind((f"127.0.0.{2 + at % 20}", 0))
            sock.connect(("127.0.0.1", ports[secure]))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not secure:
                return sock
            return context.wrap_socket(sock, server_hostname="localhost")

        def echo(sock: socket.socket, data: bytes) -> float:
            began = time.perf_counter()
            sock.sendall(data)
            assert sock.recv(100)
            return time.perf_counter() - began

        # The first ones pay for what all share.
        held += [caller(at) for at in range(20)]
        active = held[0]

        def size() -> int:
            active.sendall(b"rss?")
            return int(active.recv(100))

        def echoes() -> tuple[float, float]:
            """Seconds of the server's processor time for an echo, and until it is there."""
            schedstat = f"/proc/{process.pid}/schedstat"
            with open(schedstat) as file:
                began = int(file.read().split()[0])
            took = statistics.median(echo(active, b"hello") for _ in range(200))
            with open(schedstat) as file:
                spent = int(file.read().split()[0]) - began
            return spent / 200e9, took

        for each in held:
            echo(each, b"hello")
        idle, _ = echoes()
        before = size()
        for at in range(number):
            held.append(caller(at))
            echo(held[-1], b"hello")
        cost = (size() - before) / number
        return cost, idle, *echoes()
    finally:
        for each in held:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize(("secure", "number", "most"), [(False, 600, 12), (True, 200, 70)])
def test_an_idle_connection_costs_little(
    secure: bool, number: int, most: int, tmp_path: Path
) -> None:
    """HARDENING fault-16, short: 12 KiB each, 70 KiB over TLS; the echo of one beside them."""
    cost, idle, busy, _ = hold(number, secure, tmp_path)
    assert 0 < cost <= most * 1024
    assert 0 < busy <= 3 * idle


@pytest.mark.soak
@pytest.mark.parametrize(("secure", "most"), [(False, 12), (True, 70)])
def test_eight_thousand_idle_connections_cost_little(
    secure: bool, most: int, tmp_path: Path
) -> None:
    """HARDENING fault-16."""
    cost, idle, busy, took = hold(8000, secure, tmp_path)
    print(f"\n{cost / 1024:.1f} KiB each; an echo costs {1e6 * idle:.0f} µs before", end=", ")
    print(f"{1e6 * busy:.0f} beside, and takes {1e6 * took:.0f}")
    assert 0 < cost <= most * 1024
    assert took < 0.005
