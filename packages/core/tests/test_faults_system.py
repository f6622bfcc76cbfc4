"""What fails around a program: name servers, its clock, who reads its output (HARDENING)."""

from __future__ import annotations

import asyncio
import glob
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core._pump import pump
from sennit.core.endpoint import names
from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.socks import SocksRules, SocksServer
from sennit.core.errors import ConnectError
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import Stream, stream_handler
from sennit.core.transport.pipes import Ends, PipeTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANYWHERE = "tcp://127.0.0.1:0"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


# ── names and threads ─────────────────────────────────────────────────────────


async def test_while_no_name_server_answers_the_loop_serves_everybody_else(
    monkeypatch: pytest.MonkeyPatch, starved: Callable[[], float]
) -> None:
    """HARDENING fault-8, fault-9: no block above 50 ms, each try fails in its time."""
    monkeypatch.setattr(names, "LOOK_UP_SECONDS", 0.3)
    go = threading.Event()

    known = socket.getaddrinfo

    def black_hole(host: str, *args: Any, **options: Any) -> Any:
        if host.endswith(".example"):
            go.wait(30)
            return []
        return known(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", black_hole)
    reactor = current_reactor()
    late: list[float] = []
    failed: list[float] = []
    began = reactor.time()

    async def call(host: str) -> None:
        with pytest.raises(ConnectError, match="no answer about"):
            await open_stream(f"tcp://{host}.example:80")
        failed.append(reactor.time() - began)

    async def echo(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send_all(chunk)

    try:
        async with serve(ANYWHERE, stream_handler(echo)) as server:
            calls = [asyncio.ensure_future(call(f"host{at}")) for at in range(30)]
            async with await open_stream(server.urls[0]) as stream:
                while not all(each.done() for each in calls):
                    due = reactor.time() + 0.002 - starved()
                    await asyncio.sleep(0.002)
                    late.append(reactor.time() - due - starved())
                    await stream.send_all(b"hello")
                    assert await stream.read_exactly(5) == b"hello"
            await asyncio.gather(*calls)
    finally:
        go.set()
        reactor.resolver_threads, pool = None, reactor.resolver_threads
        assert pool is not None
        pool.close()
    assert len(failed) == 30
    assert max(failed) < 5
    late.sort()
    assert len(late) > 20
    # One in a hundred may be this machine's own affair.
    assert late[len(late) * 99 // 100 - 1] < 0.05


# ── clocks ────────────────────────────────────────────────────────────────────

FAKETIME = sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))
CLOCKS = """
    import sys, time
    from sennit.core.reactor.base import run
    from sennit.core.policy.timeouts import with_timeouts
    from sennit.core.endpoint.listen import serve
    from sennit.core.protocol import Protocol

    async def main(reactor):
        import asyncio
        fired, days = [], set()
        late = reactor.call_later(3600, fired.append, "an hour's")
        async with serve("tcp://127.0.0.1:0", with_timeouts(Protocol, idle=600.0)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(40):
                # Anew every few milliseconds the file is read that the clock is taken from.
                days.add(int(time.time() // 86400))
                with open(sys.argv[1], "w") as file:
                    file.write("+1d" if len(days) % 2 else "-1d")
                await asyncio.sleep(0.005)
            reactor.call_later(0.01, fired.append, "a moment's")
            await asyncio.sleep(0.05)
            assert server.connections, "not idle for ten minutes"
            writer.close()
        late.cancel()
        print(fired, len(days) > 1)

    run(main)
"""


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_a_wall_clock_that_jumps_by_days_moves_no_timer(tmp_path: Path) -> None:
    """HARDENING fault-12: by libfaketime, which the whole process believes."""
    clock = tmp_path / "clock"
    clock.write_text("+0d")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CLOCKS), str(clock)],
        env={
            **os.environ,
            "LD_PRELOAD": FAKETIME[0],
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            # What every program's timers are told by stays as it is.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '["a moment\'s"] True\n'
    assert time.monotonic() - began < 20


# ── who does not read ─────────────────────────────────────────────────────────


class Source(Protocol):
    """Writes as much as is taken, up to `total`; counts."""

    total = 64 << 20

    def __init__(self) -> None:
        self.sent = 0
        self.paused = False
        self.most = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.more()

    def more(self) -> None:
        while not self.paused and self.sent < self.total:
            self.transport.write(bytes(16384))
            self.sent += 16384
            self.most = max(self.most, self.transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.more()


MARK = 64 * 1024
PIECE = 256 * 1024


@pytest.mark.parametrize("way", ["pump", "socks", "haproxy"])
async def test_a_slow_reader_behind_a_relay_costs_no_more_than_the_marks(way: str) -> None:
    """HARDENING fault-15: nothing between a fast source and a slow reader keeps what it sends."""
    sources: list[Source] = []

    def make() -> Source:
        sources.append(Source())
        return sources[-1]

    async def relay(stream: Stream) -> None:
        async with await open_stream(target.urls[0]) as source:
            await pump(source, stream)

    rules = SocksRules(allow=["loopback"])
    async with (
        serve(f"haproxy+{ANYWHERE}" if way == "haproxy" else ANYWHERE, make) as target,
        serve(ANYWHERE, SocksServer(rules)) as socks,
        serve(ANYWHERE, stream_handler(relay)) as pumping,
    ):
        if way == "pump":
            reader = await open_stream(pumping.urls[0])
        elif way == "haproxy":
            reader = await open_stream(target.urls[0])
        else:
            reader = await open_stream(target.urls[0], via=f"socks5://127.0.0.1:{socks.port}")
        await until(lambda: sources and sources[0].paused)
        (source,) = sources
        got = 0
        for _ in range(20):
            # A little, now and then.
            got += len(await reader.read_exactly(1024))
            for server in (target, socks, pumping):
                for transport in server.connections:
                    assert transport.get_write_buffer_size() <= MARK + PIECE
            await asyncio.sleep(0)
        assert source.most <= MARK + 16384
        # All that left is in the kernel's buffers, which have their own bounds.
        assert source.sent < source.total
        # It is only slow: what it asks for comes.
        while got < 8 << 20:
            got += len(await reader.receive_some())
        await reader.aclose()
        await until(lambda: not target.connections and not socks.connections)
        await until(lambda: not pumping.connections)


async def test_a_transport_over_a_fifo_that_nobody_reads_waits_alone(
    tmp_path: Path, starved: Callable[[], float]
) -> None:
    """HARDENING fault-14: standard output's kind, full; the others go on meanwhile."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    out = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    writer = Source()
    began = time.process_time()
    PipeTransport(current_reactor(), Ends(-1, out), writer).start()
    await until(lambda: writer.paused)
    late: list[float] = []
    for _ in range(20):
        due = time.monotonic() + 0.001 - starved()
        await asyncio.sleep(0.001)
        late.append(time.monotonic() - due - starved())
    assert writer.most <= MARK + 16384
    assert max(late) < 0.1
    assert time.process_time() - began < 5
    writer.transport.abort()
    await until(lambda: writer.transport.is_closing())
    await asyncio.sleep(0)
    os.close(keep)
