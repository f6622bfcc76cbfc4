"""Standard input and output as a transport, and programs as endpoints.

What has standard streams to give away is another process, so these tests run programs.
"""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.parse import parse_endpoint
from sennit.core.endpoint.process import command_of
from sennit.core.errors import EndpointSyntaxError, SpawnError
from sennit.core.protocol import Protocol
from sennit.core.transport.reaping import ProcessStatus, descendants

if TYPE_CHECKING:
    from pathlib import Path

ECHO = """
import os, sys
import sennit.core as S

class Echo(S.Protocol):
    def data_received(self, data):
        self.transport.write(b"<" + data + b">")
    def eof_received(self):
        self.transport.write(b"end")
    def connection_lost(self, exc):
        sys.stderr.write(f"lost {exc!r}\\n")

async def main(reactor):
    async with S.serve("stdio:", Echo) as server:
        try:
            from sennit.core.transport.stdio import stdio_transport
            stdio_transport(reactor, Echo())
        except S.SennitError as error:
            sys.stderr.write(f"{error}\\n")
        await server.listeners[0].wait_ended()

before = len(os.listdir("/proc/self/fd"))
S.run(main)
sys.stderr.write(f"left {len(os.listdir('/proc/self/fd')) - before}\\n")
print("printed")
"""
EXPECTED = "standard input and output are in use already\nlost None\nleft 0\n"


def echo(**options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program above with given standard streams."""
    run: Any = subprocess.run  # its overloads know no such mapping
    found: subprocess.CompletedProcess[bytes] = run(
        [sys.executable, "-W", "error", "-c", ECHO],
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
        **options,
    )
    assert found.stderr.decode() == EXPECTED
    assert found.returncode == 0
    return found


def test_pipes_are_given_up_at_the_end() -> None:
    """What is printed afterwards does not reach who reads the pipe: it has ended."""
    assert echo(input=b"hello", stdout=subprocess.PIPE).stdout == b"<hello>end"


def test_files_are_read_and_written_at_their_place(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"skipped" + b"x" * 300_000)
    with (tmp_path / "in").open("rb") as read, (tmp_path / "out").open("wb") as write:
        os.lseek(read.fileno(), 7, os.SEEK_SET)
        os.write(write.fileno(), b"head:")
        echo(stdin=read, stdout=write)
    written = (tmp_path / "out").read_bytes()
    assert written.startswith(b"head:<x")
    assert written.endswith(b">endprinted\n")
    assert written.count(b"x") == 300_000


def test_nothing_may_be_both() -> None:
    echo(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_one_socket_may_be_both() -> None:
    """As inetd gives it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"hello")
        ours.shutdown(socket.SHUT_WR)
        echo(stdin=theirs, stdout=theirs)
        theirs.close()
        received = b""
        while piece := ours.recv(1000):
            received += piece
    assert received == b"<hello>end"


def test_who_shares_a_pipe_finds_it_blocking_all_the_while() -> None:
    """`O_NONBLOCK` belongs to the open file, which is shared with others."""
    read, write = os.pipe()
    program = ECHO.replace(
        "await server.listeners[0]",
        "import fcntl; sys.stderr.write(str(fcntl.fcntl(1, fcntl.F_GETFL) & os.O_NONBLOCK));"
        "await server.listeners[0]",
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=b"x",
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    assert found.stderr.decode() == EXPECTED.replace("lost", "0lost", 1)
    assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(write)
    assert os.read(read, 100) == b"<x>end"
    os.close(read)


def test_a_terminal_stays_what_it_was() -> None:
    """It blocks again (it always did), and what is printed afterwards is seen on it."""
    ours, theirs = pty.openpty()
    os.write(ours, b"typed\n\x04")
    echo(stdin=theirs, stdout=theirs)
    assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 1000):
            seen += piece
    except OSError:
        pass  # EIO: nobody has it open any more
    os.close(ours)
    # Some kernels echo the end-of-file character, others do not.
    plain = seen.replace(b"\r\n", b"\n").replace(b"^D\b\b", b"")
    assert plain == b"typed\n<typed\n>endprinted\n"


def test_a_stream_reads_and_writes_them() -> None:
    program = """
import sennit.core as S
from sennit.core.endpoint.stdio import open_stdio
async def main(reactor):
    async with await open_stdio() as stream:
        async for line in stream.lines():
            await stream.send_all(line.upper() + b"\\n")
S.run(main)
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=b"a\nb\n",
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert found.stdout == b"A\nB\n"
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program],
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    # Closed, or something the interpreter has opened in its place.
    assert b"standard output is" in closed.stderr


# ── programs as endpoints ─────────────────────────────────────────────────────


def test_a_url_names_a_program_and_its_arguments() -> None:
    endpoint = parse_endpoint("process:/bin/my%20prog?arg=-x&arg=a%26b%3Fc&arg=&arg=%FF")
    assert command_of(endpoint) == [b"/bin/my prog", b"-x", b"a&b?c", b"", b"\xff"]
    assert command_of(parse_endpoint("process:cat")) == [b"cat"]
    with pytest.raises(EndpointSyntaxError, match="given twice"):
        parse_endpoint("process:cat?cwd=/&cwd=/tmp")


async def test_a_program_is_connected_to_like_any_endpoint(tmp_path: Path) -> None:
    async with await open_stream("process:cat") as stream:
        await stream.send_all(b"hello")
        await stream.send_eof()
        assert await stream.read_exactly(5) == b"hello"
        assert await stream.receive_some() == b""
    url = f"process:sh?arg=-c&arg=pwd%3B%20echo%20$0&arg=x&cwd={tmp_path}"
    async with await open_stream(url) as stream:
        assert [line async for line in stream.lines()] == [str(tmp_path).encode(), b"x"]
        process = stream.transport.get_extra_info("process")
        assert process.pid == stream.transport.get_extra_info("pid")
    while process.status is None:
        await Deferred.from_coroutine(_turn())
    assert process.status == ProcessStatus(0)


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0.005)


async def test_the_connection_owns_its_program() -> None:
    stream = await open_stream("process:sleep?arg=100")
    process = stream.transport.get_extra_info("process")
    stream.abort()
    while not process.ended:
        await _turn()
    assert not process.status.success
    assert descendants(os.getpid()) == []


async def test_a_program_that_reads_no_more_may_still_speak() -> None:
    async with await open_stream(
        "process:sh?arg=-c&arg=exec%20<%26-;%20sleep%200.05;echo%20hi"
    ) as it:
        while it.transport.get_write_buffer_size() == 0 and not it.transport.is_closing():
            it.transport.write(b"x" * 1000)
            await _turn()
            if getattr(it.transport, "_out_lost", None) is not None:
                break
        assert await it.read_line() == b"hi"


async def test_what_cannot_be_connected_to_says_so() -> None:
    with pytest.raises(SpawnError, match="cannot start 'no-such-program'"):
        await connect("process:no-such-program", Protocol)
    with pytest.raises(EndpointSyntaxError, match="does not come by itself"):
        await serve("process:cat", Protocol)
    with pytest.raises(EndpointSyntaxError, match="write a path"):
        parse_endpoint("process:")
