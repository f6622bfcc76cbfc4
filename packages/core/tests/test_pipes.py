"""The stream transport over pipes, FIFOs, terminals and files, on every poller."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pty
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.errors import ConnectionAborted, ConnectionLost, ReactorError
from sennit.core.interfaces import IStreamTransport
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.reactor.pollers import pollers
from sennit.core.transport.pipes import Ends, PipeTransport, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    OnPoller = Callable[[Callable[[Reactor], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=pollers())
def on_poller(request: pytest.FixtureRequest) -> OnPoller:
    """Runs a main on a reactor of each poller, and sees that it leaves nothing."""

    def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
        before = len(os.listdir("/proc/self/fd"))
        reactor = Reactor(request.param)
        try:
            reactor.run(main)
            assert reactor.handlers == {}
            assert not reactor.dependants
        finally:
            reactor.close()
        assert len(os.listdir("/proc/self/fd")) == before

    return run


class Recorder(Protocol):
    """Writes down what it is told."""

    def __init__(self, keep: bool = False) -> None:
        self.events: list[str] = []
        self.data = b""
        self.keep = keep
        self.error: Exception | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return self.keep

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.error = exc
        if not self.ended.done():
            self.ended.set_result(None)


def begun(reactor: Reactor, read_fd: int, write_fd: int, **options: Any) -> Recorder:
    """A transport over descriptors that has begun, by its protocol."""
    recorder = Recorder(**options)
    PipeTransport(reactor, Ends(read_fd, write_fd), recorder).start()
    return recorder


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_pipe_is_read_to_its_end(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, read, -1)
        os.write(write, b"hello")
        os.close(write)
        await recorder.ended
        assert recorder.data == b"hello"
        assert recorder.events == ["made", "eof", "lost"]
        assert recorder.error is None
        assert recorder.transport.close_reason == "clean"

    on_poller(main)


def test_a_pipe_is_written_with_marks_and_waits_for_its_reader(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, -1, write)
        transport = recorder.transport
        data = bytes(range(256)) * 2000
        transport.write(data)
        await turns()
        assert transport.get_write_buffer_size() == len(data) - 65536
        assert recorder.events == ["made", "pause"]
        received = Recorder()
        PipeTransport(reactor, Ends(read, -1), received).start()
        await transport.writable()
        assert recorder.events == ["made", "pause", "resume"]
        transport.write(b"end")
        transport.close()
        await received.ended
        assert received.data == data + b"end"
        assert recorder.error is None

    on_poller(main)


def test_a_paused_reader_holds_the_writer_up_and_costs_no_turns(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, read, -1)
        recorder.transport.pause_reading()
        assert not recorder.transport.is_reading()
        os.write(write, b"waiting")
        os.close(write)
        await asyncio.sleep(0.01)  # as many turns as it likes, if it spins
        assert recorder.data == b""
        assert recorder.events == ["made"]
        pipe: Any = recorder.transport
        assert pipe.waiting_octets() == 7
        # Nothing is registered, so nothing can wake it.
        assert read not in reactor.handlers
        recorder.transport.resume_reading()
        await recorder.ended
        assert recorder.data == b"waiting"

    on_poller(main)


def test_a_reader_that_goes_is_news_to_an_idle_writer(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, -1, write)
        await turns()
        os.close(read)
        await recorder.ended
        assert recorder.error is None

    on_poller(main)


def test_octets_that_nobody_will_read_are_an_error(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, -1, write)
        recorder.transport.write(bytes(200_000))
        await turns()
        os.close(read)
        await recorder.ended
        assert isinstance(recorder.error, ConnectionLost)
        assert isinstance(recorder.error.__cause__, BrokenPipeError)
        recorder.transport.write(b"ignored")

    on_poller(main)


def both_ways() -> tuple[int, int, int, int]:
    """Two pipes: our way in and out, their way in and out."""
    our_in, their_out = os.pipe()
    their_in, our_out = os.pipe()
    return our_in, our_out, their_in, their_out


def test_two_pipes_are_one_connection(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        our_in, our_out, their_in, their_out = both_ways()
        ours = begun(reactor, our_in, our_out, keep=True)
        theirs = begun(reactor, their_in, their_out, keep=True)
        ours.transport.write(b"question")
        ours.transport.write_eof()
        with pytest.raises(ReactorError):
            ours.transport.write(b"more")
        while "eof" not in theirs.events:
            await turns()
        assert theirs.data == b"question"
        theirs.transport.write(bytes(300_000))
        theirs.transport.write_eof()
        await ours.ended
        await theirs.ended
        assert len(ours.data) == 300_000
        assert ours.error is theirs.error is None

    on_poller(main)


def test_a_way_out_that_breaks_leaves_the_way_in(on_poller: OnPoller) -> None:
    """Who reads no more may still have much to say."""

    async def main(reactor: Reactor) -> None:
        our_in, our_out, their_in, their_out = both_ways()
        ours = begun(reactor, our_in, our_out)
        ours.transport.write(bytes(200_000))
        await turns()
        os.close(their_in)
        with pytest.raises(ConnectionLost):
            await ours.transport.writable()
        ours.transport.write(b"ignored")
        ours.transport.write_eof()
        os.write(their_out, b"last words")
        os.close(their_out)
        await ours.ended
        assert ours.data == b"last words"
        assert isinstance(ours.error, ConnectionLost)

    on_poller(main)


def test_abort_and_the_reactors_end_throw_away_what_waits(on_poller: OnPoller) -> None:
    left: list[Recorder] = []

    async def main(reactor: Reactor) -> None:
        read, write = os.pipe()
        recorder = begun(reactor, -1, write)
        recorder.transport.write(bytes(200_000))
        recorder.transport.abort()
        await recorder.ended
        assert isinstance(recorder.error, ConnectionAborted)
        os.close(read)
        read, write = os.pipe()
        left.append(begun(reactor, read, -1))
        left[0].transport.pause_reading()
        await turns()
        left.append(begun(reactor, -1, write))

    on_poller(main)
    assert [each.events[-1] for each in left] == ["lost", "lost"]
    assert left[0].transport.close_reason == "drained"


def test_a_file_and_nothing_are_read_turn_by_turn(on_poller: OnPoller, tmp_path: Path) -> None:
    """What cannot be waited for (EPERM of epoll_ctl) neither blocks nor starves others."""
    (tmp_path / "file").write_bytes(bytes(1_000_000))

    async def main(reactor: Reactor) -> None:
        file = begun(reactor, os.open(tmp_path / "file", os.O_RDONLY), -1)
        file.transport.pause_reading()
        await turns()
        assert file.data == b""
        file.transport.resume_reading()
        while not file.data:
            await turns(1)
        assert len(file.data) < 1_000_000
        await file.ended
        assert len(file.data) == 1_000_000
        nothing = begun(reactor, os.open(os.devnull, os.O_RDWR), -1)
        await nothing.ended
        assert nothing.data == b""
        out = begun(reactor, -1, os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT))
        out.transport.write(b"written")
        out.transport.close()
        await out.ended
        assert (tmp_path / "out").read_bytes() == b"written"

    on_poller(main)


def test_a_full_device_is_an_error(on_poller: OnPoller) -> None:
    async def main(reactor: Reactor) -> None:
        recorder = begun(reactor, -1, os.open("/dev/full", os.O_WRONLY))
        recorder.transport.write(b"x")
        await recorder.ended
        assert isinstance(recorder.error, ConnectionLost)
        assert getattr(recorder.error.__cause__, "errno", None) == errno.ENOSPC

    on_poller(main)


def test_the_end_of_a_terminal_is_an_end(on_poller: OnPoller) -> None:
    """EIO is what a pseudo-terminal says when the other side has gone."""

    async def main(reactor: Reactor) -> None:
        ours, theirs = pty.openpty()
        recorder = begun(reactor, ours, ours)
        os.write(theirs, b"words")
        while not recorder.data:
            await turns()
        recorder.transport.write(b"typed\n")
        await turns()
        assert os.read(theirs, 100) == b"typed\n"
        os.close(theirs)
        await recorder.ended
        assert recorder.data.startswith(b"words")
        assert recorder.error is None

    on_poller(main)


def test_a_file_is_sent_into_a_pipe(on_poller: OnPoller, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)

    async def main(reactor: Reactor) -> None:
        our_in, our_out, their_in, their_out = both_ways()
        ours = begun(reactor, our_in, our_out)
        theirs = begun(reactor, their_in, their_out)
        ours.transport.write(b"<")
        with (tmp_path / "file").open("rb") as file:
            assert await ours.transport.sendfile(file, 10, 250_000) == 250_000
        assert await ours.transport.sendfile(io.BytesIO(b"memory")) == 6
        ours.transport.close()
        await theirs.ended
        assert theirs.data == b"<" + data[10:250_010] + b"memory"

    on_poller(main)


def test_protocols_change_and_lend_buffers(on_poller: OnPoller) -> None:
    class Lender(Recorder):
        data: bytes

        def get_buffer(self, size: int) -> bytearray:
            self.buffer = bytearray(3)
            return self.buffer

        def buffer_updated(self, size: int) -> None:
            self.data = self.data + bytes(self.buffer[:size])

    async def main(reactor: Reactor) -> None:
        our_in, our_out, their_in, their_out = both_ways()
        ours = begun(reactor, our_in, our_out)
        os.write(their_out, b"first")
        while not ours.data:
            await turns()
        ours.transport.pause_reading()
        lender = Lender()
        ours.transport.set_protocol(lender)
        ours.transport.resume_reading()
        os.write(their_out, b"second")
        os.close(their_out)
        await lender.ended
        assert [ours.data, lender.data] == [b"first", b"second"]
        os.close(their_in)

    on_poller(main)


async def test_the_contract_is_kept_and_questions_are_answered() -> None:
    reactor = current_reactor()
    read, write = os.pipe()
    recorder = Recorder()
    transport = PipeTransport(reactor, Ends(read, -1), recorder, pipe="the pipe")
    transport.start()
    assert verifyObject(IStreamTransport, transport)
    assert transport.local is transport.peer is None
    assert transport.get_extra_info("pipe") == "the pipe"
    assert transport.get_extra_info("reactor") is reactor
    assert transport.get_extra_info("peername", 5) == 5
    assert repr(transport) == f"<PipeTransport in={read} out=-1 open>"
    assert kind_of(read) == "pipe"
    os.close(write)
    await recorder.ended
    assert transport.waiting_octets() == 0
    assert transport.fileno() == -1
