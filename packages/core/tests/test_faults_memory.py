"""Want of memory: in the kernel, and in this process (HARDENING fault-2, fault-21)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.protocol import DatagramProtocol, Protocol
from sennit.core.reactor import lifecycle
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.reactor.pollers import pollers
from sennit.core.testing.loopback import loopback_sockets
from sennit.core.transport import datagrams, listening, stream
from sennit.core.transport.binding import tcp_sockets
from sennit.core.transport.listening import Listener
from sennit.core.transport.pipes import Ends, PipeTransport
from sennit.core.transport.stream import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ERRORS = [OSError(errno.ENOBUFS, "injected"), OSError(errno.ENOMEM, "injected"), MemoryError()]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for memory waits a moment only, in these tests."""
    for module in (stream, datagrams):
        monkeypatch.setattr(module, "RETRY", 0.005)
    monkeypatch.setattr(listening, "PAUSE", 0.005)


class Failing:
    """A call that fails `times`, then does what it should; it counts how often it was asked."""

    def __init__(self, call: Callable[..., Any], error: BaseException, times: int = 3) -> None:
        self.call = call
        self.error = error
        self.left = times
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return self.call(*args)


class Lookalike:
    """A socket one of whose methods is another."""

    def __init__(self, sock: Any, **methods: Any) -> None:
        self._sock = sock
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Collector(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = 0

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


class Lender(asyncio.BufferedProtocol):
    """Lends its buffer."""

    def __init__(self) -> None:
        self.buffer = bytearray(1000)
        self.data = b""
        self.lost = 0

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


class Datagrams(DatagramProtocol):
    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.errors: list[OSError] = []

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.append(data)

    def error_received(self, exc: OSError) -> None:
        self.errors.append(exc)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


# ── the kernel has none ───────────────────────────────────────────────────────


@pytest.mark.parametrize("poller", pollers())
@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kind", [Collector, Lender])
def test_want_of_memory_in_recv_is_waited_out(poller: str, error: Exception, kind: Any) -> None:
    """HARDENING fault-2: no loss on a stream that stands, and no loop that spins."""

    async def main(reactor: Reactor) -> None:
        ours, peer = loopback_sockets("unix")
        recv, recv_into = Failing(ours.recv, error), Failing(ours.recv_into, error)
        sock: Any = Lookalike(ours, recv=recv, recv_into=recv_into)
        protocol = kind()
        transport = SocketTransport(reactor, sock, protocol)
        transport.start()
        peer.send(b"before ")
        await until(lambda: recv.calls + recv_into.calls)
        peer.send(b"after")
        await until(lambda: protocol.data == b"before after")
        assert 4 <= recv.calls + recv_into.calls <= 6
        assert transport.close_reason is None
        # The other way, and flow control, were not touched by it.
        transport.pause_reading()
        transport.resume_reading()
        transport.write(b"answer")
        peer.setblocking(True)
        peer.settimeout(0)
        await until(lambda: select_readable(peer))
        assert peer.recv(100) == b"answer"
        peer.close()
        await until(lambda: protocol.lost == 1)

    run(main, poller)


def select_readable(sock: socket.socket) -> bool:
    import select

    return bool(select.select([sock], [], [], 0)[0])


@pytest.mark.parametrize("poller", pollers())
@pytest.mark.parametrize("how", ["paused", "closed", "reset"])
def test_what_happens_while_memory_is_waited_for_is_not_undone(poller: str, how: str) -> None:
    async def main(reactor: Reactor) -> None:
        ours, peer = loopback_sockets("unix")
        recv = Failing(ours.recv, ERRORS[0], 1)
        sock: Any = Lookalike(ours, recv=recv)
        protocol = Collector()
        transport = SocketTransport(reactor, sock, protocol)
        transport.start()
        peer.send(b"data")
        await until(lambda: recv.calls)
        if how == "paused":
            transport.pause_reading()
            await asyncio.sleep(0.02)
            assert (recv.calls, protocol.data) == (1, b"")
            transport.resume_reading()
        elif how == "closed":
            transport.close()
            peer.close()
        else:
            peer.close()
        if how != "closed":
            await until(lambda: protocol.data == b"data")
            transport.abort()
        await until(lambda: protocol.lost)
        await asyncio.sleep(0.02)
        peer.close()
        assert protocol.lost == 1

    run(main, poller)


def run(main: Any, poller: str | None = None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reactor = Reactor(poller)
    try:
        reactor.run(main)
        assert reactor.handlers == {}
    finally:
        reactor.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_pipe_waits_for_memory_too(error: Exception) -> None:
    """HARDENING fault-2."""

    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        ends = Ends(read, -1)
        ends.recv = reading = Failing(ends.recv, error)
        protocol = Collector()
        PipeTransport(reactor, ends, protocol).start()
        os.write(write, b"hello")
        os.close(write)
        await until(lambda: protocol.lost)
        assert protocol.data == b"hello"
        assert reading.calls <= 6

    run(main)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_datagrams_wait_for_memory(kind: str, error: Exception, tmp_path: Path) -> None:
    """HARDENING fault-2: none is lost that the kernel still has, and the protocol is not told."""

    async def main(reactor: Reactor) -> None:
        if kind == "udp":
            listener: Any = await reactor.listen_udp(Datagrams, 0, "127.0.0.1")
            client: Any = await reactor.connect_udp(Datagrams, "127.0.0.1", listener.port)
        else:
            path = str(tmp_path / "socket")
            listener = await reactor.listen_unix_datagram(Datagrams, path)
            client = await reactor.connect_unix_datagram(Datagrams, path)
        (transport,) = listener.transports
        transport._receive = receive = Failing(transport._receive, error)
        for data in (b"one", b"two"):
            client.transport.sendto(data)
        server = transport.get_protocol()
        await until(lambda: len(server.came) == 2)
        assert server.came == [b"one", b"two"]
        assert server.errors == []
        assert 5 <= receive.calls <= 8
        listener.close()
        client.transport.close()

    run(main)


async def test_a_memory_error_in_accept_pauses_it(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING fault-2, fault-21: one warning, and the connection that waits is served."""
    where = Listener(current_reactor(), tcp_sockets("127.0.0.1", 0), Collector)
    acceptor = where._acceptors[0]
    acceptor._accept = accept = Failing(acceptor._accept, MemoryError())
    with socket.create_connection(("127.0.0.1", where.port)) as peer:
        await until(lambda: where.connections)
        assert 4 <= accept.calls <= 6
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "Cannot allocate memory; accepting pauses" in record.getMessage()
        peer.close()
        await until(lambda: not where.connections)
    where.close()


def test_an_error_that_cannot_even_be_logged_does_not_stop_who_reports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HARDENING fault-21: the loop reports from where nothing may be raised."""
    import logging

    def no_memory(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(logging.Logger, "error", no_memory)
    lifecycle.log_error(MemoryError(), "somewhere")


# ── this process has none ─────────────────────────────────────────────────────

SERVER = """
    import logging, os, resource, sys
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    from packages.core.tests.sketches.mailbox import Append, Command, Event, Idle, MailboxEngine
    from sennit.core.driver import EngineProtocol, handles
    from sennit.core.endpoint.listen import serve
    from sennit.core.framing.line import LineProtocol
    from sennit.core.protocol import DatagramProtocol
    from sennit.core.reactor.base import run
    from sennit.core.stream import stream_handler

    kept = []

    def grow():
        kept.append(bytearray(4 << 30))

    class Lines(LineProtocol):
        def line_received(self, line):
            if line == b"grow":
                grow()
            self.send_line(line)

    class Mail(EngineProtocol[MailboxEngine, Event]):
        def __init__(self):
            super().__init__(MailboxEngine())

        @handles(Command)
        async def command(self, event):
            if event.name == b"SLOW":
                grow()
            self.engine.answer(b"OK")

        @handles(Append, Idle)
        def other(self, event):
            self.transport.abort()

    async def words(stream):
        async for line in stream.lines():
            if line == b"grow":
                grow()
            await stream.send_all(line + b"\\r\\n")

    class Datagrams(DatagramProtocol):
        def datagram_received(self, data, peer):
            if data == b"grow":
                grow()
            self.transport.sendto(data, peer)

    async def main(reactor):
        there = "tcp://127.0.0.1:0"
        async with (
            serve(there, Lines) as lines,
            serve(there, Mail) as mail,
            serve(there, stream_handler(words)) as streams,
        ):
            udp = await reactor.listen_udp(Datagrams, 0, "127.0.0.1")
            await reactor.defer_to_thread(int)
            print(lines.port, mail.port, streams.port, udp.port, flush=True)
            # A GiB beside what is there: the 4 of a request are not to be had.
            size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)
            reactor.call_later(0.01, grow)
            await reactor.defer_to_thread(sys.stdin.read)
            try:
                await reactor.defer_to_thread(grow)
            except MemoryError:
                print("and a thread's", flush=True)

    run(main)
"""


@pytest.fixture
def starved() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Servers of several kinds, in a process with a limit to its memory; and their ports."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, [int(each) for each in process.stdout.readline().split()]
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux'")
def test_a_request_that_is_too_large_ends_that_request_only(
    starved: tuple[subprocess.Popen[str], list[int]],
) -> None:
    """HARDENING fault-21: RLIMIT_AS, and callbacks, handlers, datagrams, timers that want more."""
    process, (lines, mail, streams, udp) = starved

    def caller(port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(sock: socket.socket, words: bytes) -> bytes:
        """The answer, a line; empty when the connection was ended."""
        got = b""
        try:
            sock.sendall(words + b"\r\n")
            while not got.endswith(b"\r\n"):
                data = sock.recv(1000)
                if not data:
                    break
                got += data
        except ConnectionResetError:
            pass
        return got

    with caller(lines) as other, caller(mail) as letters, caller(streams) as words:
        assert ask(other, b"hello") == b"hello\r\n"
        for _ in range(3):
            # A plain protocol has only its connection to lose; an engine says so and goes on.
            with caller(lines) as greedy:
                assert ask(greedy, b"grow") == b""
            assert ask(letters, b"t1 SLOW") == b"t1 NO internal error\r\n"
            assert ask(letters, b"t2 NOOP") == b"t2 OK\r\n"
            with caller(streams) as greedy:
                assert ask(greedy, b"grow") == b""
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(10)
                sock.connect(("127.0.0.1", udp))
                sock.send(b"grow")
                sock.send(b"small")
                assert sock.recv(100) == b"small"
            assert ask(other, b"still here") == b"still here\r\n"
            assert ask(words, b"and here") == b"and here\r\n"
        with caller(lines) as another:
            assert ask(another, b"new") == b"new\r\n"
    out, errors = process.communicate("", timeout=10)
    assert process.returncode == 0, errors
    assert out == "and a thread's\n"
    reported = [line for line in errors.splitlines() if line.startswith(("ERROR", "WARNING"))]
    assert sum("data_received" in line for line in reported) == 3, errors
    assert len(reported) <= 13, errors
    assert all("MemoryError" in line or "SLOW" in line or "Command" in line for line in reported)
