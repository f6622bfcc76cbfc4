"""CPU of who asks, per look-up: our stub resolver beside dnspython's, on asyncio, of one NSD.

Nothing is kept: each look-up is a question over UDP, from a socket of its own. `connection` asks
over one TCP connection instead, fifty questions at a time. Counted is the CPU of the asking
process alone, its start included and spread over all look-ups.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench_names_server import addresses, nsd_command

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Look = Callable[[str], Awaitable[object]]

PORT: Final = "SENNIT_BENCH_NAMES"
NAMES: Final = [name for name, _ in addresses(1000)]

lookups = Benchmark("names-lookups", operations=1500, operation="look-up")
together = Benchmark("names-lookups-50-at-once", operations=1500, operation="look-up")
connection = Benchmark("names-connection", operations=3000, operation="question")


async def _look(look: Look, count: int, at_once: int) -> None:
    async def work(first: int) -> None:
        for number in range(first, count, at_once):
            await look(NAMES[number % len(NAMES)])

    await asyncio.gather(*(work(first) for first in range(at_once)))


def _declare(benchmark: Benchmark, at_once: int) -> None:
    @benchmark.code("sennit")
    def sennit(count: int) -> None:
        from sennit.core import run
        from sennit.names.client.stub import StubResolver

        async def begin(_: object) -> None:
            server = f"127.0.0.1:{os.environ[PORT]}"
            async with StubResolver([server], hosts=None, cache_size=0) as resolver:

                async def look(name: str) -> None:
                    assert await resolver.a(name)

                await _look(look, count, at_once)

        run(begin)

    @benchmark.code("dnspython", requires=["dns"])
    def dnspython(count: int) -> None:
        from importlib import import_module

        asyncresolver: Any = import_module("dns.asyncresolver")  # Any: their objects

        async def begin() -> None:
            resolver = asyncresolver.Resolver(configure=False)
            resolver.nameservers = ["127.0.0.1"]
            resolver.port = int(os.environ[PORT])
            resolver.use_edns(0, 0, 1232)

            async def look(name: str) -> None:
                assert await resolver.resolve(name + ".", "A")

            await _look(look, count, at_once)

        asyncio.run(begin())


_declare(lookups, 1)
_declare(together, 50)


@connection.code("sennit")
def sennit_connection(count: int) -> None:
    """Questions over one connection."""
    from sennit.core import run
    from sennit.names.client.stream import StreamClient
    from sennit.names.message import Message

    async def begin(_: object) -> None:
        async with StreamClient(("127.0.0.1", int(os.environ[PORT]))) as client:

            async def look(name: str) -> None:
                assert (await client.exchange(Message.query(name))).answers

            await _look(look, count, 50)

    run(begin)


for each in (lookups, together):
    each.at_most("sennit", 1.0, of="dnspython")


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    import socket

    from sennit.core.testing.loopback import free_port

    port = free_port()
    os.environ[PORT] = str(port)
    process = subprocess.Popen(
        nsd_command(port, folder, 1000), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # nothing tells when it listens
        else:
            return process


if __name__ == "__main__":
    if PORT in os.environ:
        main(lookups, together, connection)
    else:
        with tempfile.TemporaryDirectory() as made:
            server = _serve(Path(made))
            try:
                main(lookups, together, connection)
            finally:
                server.terminate()
                server.wait(10)
