"""The memory transports keep the whole contract of a stream transport."""

from __future__ import annotations

import asyncio
import contextvars
import io
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import InternetAddress
from sennit.core.errors import ConnectionAborted, ConnectionLost, LimitReachedError, ReactorError
from sennit.core.interfaces import IStreamTransport
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import CAPACITY, Link, MemoryPair, memory_pair

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.deferred import Deferred


class Recorder(Protocol):
    """Writes down what it is told."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.calls: list[Any] = []
        self.keep_open = keep_open

    @property
    def data(self) -> bytes:
        return b"".join(call for call in self.calls if isinstance(call, bytes))

    @property
    def names(self) -> list[str]:
        return [call for call in self.calls if isinstance(call, str)]

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.calls.append(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


def make(
    *, there: Link | None = None, keep_open: bool = False
) -> tuple[Recorder, Recorder, MemoryPair]:
    first, second = Recorder(keep_open=keep_open), Recorder(keep_open=keep_open)
    pair = memory_pair(first, second, reactor=Clock(), there=there or Link())
    return first, second, pair


def test_it_provides_the_interface() -> None:
    _, _, pair = make()

    assert verifyObject(IStreamTransport, pair.first)


def test_both_protocols_are_told_that_they_are_connected() -> None:
    first, second, pair = make()

    assert first.calls == ["made"]
    assert second.calls == ["made"]
    assert first.transport is pair.first
    assert second.transport is pair.second


def test_nothing_arrives_before_the_clock_turns() -> None:
    first, second, pair = make()

    first.transport.write(b"hello")
    assert second.data == b""
    pair.pump()
    assert second.data == b"hello"


def test_what_is_written_in_one_turn_arrives_in_one_piece() -> None:
    first, second, pair = make()

    first.transport.write(b"one ")
    first.transport.writelines([b"two ", bytearray(b"three "), memoryview(b"four")])
    pair.pump()

    assert second.calls == ["made", b"one two three four"]


def test_what_is_written_in_data_received_leaves_right_after_it() -> None:
    class Answer(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"a")
            self.transport.write(b"b")

    first, second = Recorder(), Answer()
    pair = memory_pair(first, second, reactor=Clock())
    first.transport.write(b"?")
    pair.pump()

    assert first.calls == ["made", b"ab"]


def test_a_buffer_that_is_changed_after_write_arrives_as_it_was() -> None:
    first, second, pair = make()
    buffer = bytearray(b"before")

    first.transport.write(buffer)
    buffer[:] = b"after!"
    pair.pump()

    assert second.data == b"before"


def test_writing_what_is_no_octets_is_a_type_error() -> None:
    first, _, _ = make()

    with pytest.raises(TypeError):
        first.transport.write("text")  # type: ignore[arg-type]  # the point of the test


def test_a_chunked_link_hands_over_so_many_octets_at_a_time() -> None:
    first, second, pair = make(there=Link(chunk=2))

    first.transport.write(b"hello")
    pair.pump()

    assert second.calls == ["made", b"he", b"ll", b"o"]


def test_a_slow_link_delivers_when_its_latency_has_passed() -> None:
    first, second, pair = make(there=Link(latency=0.25))
    assert isinstance(pair.reactor, Clock)

    first.transport.write(b"hello")
    first.transport.close()
    pair.reactor.advance(0.2)
    assert second.calls == ["made"]
    pair.reactor.advance(0.1)
    assert second.calls == ["made", b"hello", "eof", "lost", None]


# ── flow control ──────────────────────────────────────────────────────────────


def test_a_reader_that_pauses_stops_the_writer_at_the_high_mark() -> None:
    """HARDENING core-7: the producer is paused at the mark and resumed at the low one."""
    first, second, pair = make()
    second.transport.pause_reading()
    written = 0
    while "pause" not in first.calls:
        first.transport.write(b"x" * 4096)
        written += 4096
        pair.pump()
    low, high = first.transport.get_write_buffer_limits()

    assert written <= CAPACITY + high + 4096
    assert high < first.transport.get_write_buffer_size() <= high + 4096
    second.transport.resume_reading()
    pair.pump()
    assert first.names == ["made", "pause", "resume"]
    assert len(second.data) == written
    assert low == 16 * 1024


def test_a_producer_against_a_slow_reader_never_holds_more_than_the_mark_and_one_write() -> None:
    """HARDENING core-7, fault-15: no growth past mark + one write, however much is sent."""
    piece = b"x" * 16384
    most = 0

    class Producer(Recorder):
        paused = False
        left = 64 * 1024 * 1024

        def connection_made(self, transport: IStreamTransport) -> None:
            super().connection_made(transport)
            self.go_on()

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            self.go_on()

        def go_on(self) -> None:
            nonlocal most
            while self.left and not self.paused:
                self.left -= len(piece)
                self.transport.write(piece)
                most = max(most, self.transport.get_write_buffer_size())

    class Reader(Recorder):
        received = 0

        def data_received(self, data: bytes) -> None:
            self.received += len(data)
            self.transport.pause_reading()
            clock.call_later(0.001, self.transport.resume_reading)

    clock = Clock()
    first, second = Producer(), Reader()
    memory_pair(first, second, reactor=clock)
    clock.advance(5)

    assert second.received == 64 * 1024 * 1024
    assert most <= 64 * 1024 + len(piece)


def test_who_only_writes_is_cut_off_at_the_hard_limit(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING core-8: aborted with a named reason when the cap is passed."""
    first, second, pair = make()
    second.transport.pause_reading()
    for _ in range(10_000):
        first.transport.write(b"x" * 65536)
        if first.transport.is_closing():
            break
    assert first.transport.get_write_buffer_size() <= 16 * 1024 * 1024 + 65536
    pair.pump()

    assert first.transport.close_reason == "limit:write-buffer"
    assert isinstance(first.calls[-1], LimitReachedError)
    assert second.transport.close_reason == "reset"
    assert first.transport.get_write_buffer_size() == 0
    assert len(caplog.records) == 1
    assert "limit:write-buffer" in caplog.text


def test_marks_can_be_set_and_are_checked() -> None:
    first, second, pair = make(there=Link(capacity=1))
    first.transport.set_write_buffer_limits(high=10, low=3)
    second.transport.pause_reading()

    first.transport.write(b"x" * 12)
    assert first.names == ["made", "pause"]
    assert pair.first.get_write_buffer_size() == 11
    second.transport.resume_reading()
    pair.pump()
    assert first.names == ["made", "pause", "resume"]
    with pytest.raises(ValueError):
        first.transport.set_write_buffer_limits(high=1, low=2)


def test_writable_waits_for_room() -> None:
    clock = Clock()
    first, second = Recorder(), Recorder()
    memory_pair(first, second, reactor=clock)
    order: list[str] = []

    async def main(clock: Clock) -> None:
        await first.transport.writable()
        order.append("free")
        second.transport.pause_reading()
        first.transport.write(b"x" * 300_000)
        clock.call_later(5, second.transport.resume_reading)
        await first.transport.writable()
        order.append(f"at {clock.time():g}")

    clock.run(main)

    assert order == ["free", "at 5"]


def test_writable_fails_when_the_connection_ends_first() -> None:
    clock = Clock()
    first, second = Recorder(), Recorder()
    memory_pair(first, second, reactor=clock)

    async def main(clock: Clock) -> None:
        second.transport.pause_reading()
        first.transport.write(b"x" * 300_000)
        clock.call_later(1, second.transport.abort)
        with pytest.raises(ConnectionLost):
            await first.transport.writable()

    clock.run(main)


# ── pausing ───────────────────────────────────────────────────────────────────


def test_nothing_is_delivered_while_paused_not_even_the_end() -> None:
    first, second, pair = make()
    second.transport.pause_reading()
    first.transport.write(b"hello")
    first.transport.close()
    pair.pump()

    assert second.calls == ["made"]
    assert not second.transport.is_reading()
    second.transport.resume_reading()
    pair.pump()
    assert second.calls == ["made", b"hello", "eof", "lost", None]


def test_pausing_inside_data_received_holds_the_rest_back() -> None:
    class Sip(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    first, second = Recorder(), Sip()
    pair = memory_pair(first, second, reactor=Clock(), there=Link(chunk=3))
    first.transport.write(b"abcdef")
    pair.pump()
    assert second.data == b"abc"
    second.transport.resume_reading()
    pair.pump()
    assert second.data == b"abcdef"


def test_a_reset_ends_the_connection_also_while_paused() -> None:
    first, second, pair = make()
    second.transport.pause_reading()
    first.transport.write(b"hello")
    pair.pump()
    first.transport.abort()
    pair.pump()

    assert second.names == ["made", "lost"]
    assert second.transport.close_reason == "reset"


# ── the end ───────────────────────────────────────────────────────────────────


def test_close_sends_what_was_written_and_ends_both_ends_in_good_order() -> None:
    first, second, pair = make()
    first.transport.write(b"bye" * 100_000)
    first.transport.close()
    assert first.transport.is_closing()
    pair.pump()

    assert len(second.data) == 300_000
    assert second.names == ["made", "eof", "lost"]
    assert second.calls[-1] is None
    assert first.calls[-1] is None
    assert (first.transport.close_reason, second.transport.close_reason) == ("clean", "clean")


def test_nothing_is_received_after_close() -> None:
    first, second, pair = make()
    second.transport.pause_reading()
    first.transport.write(b"x" * 200_000)
    first.transport.close()
    second.transport.write(b"too late")
    pair.pump()

    assert first.data == b""


def test_abort_throws_away_what_was_written_and_resets_the_other_end() -> None:
    first, second, pair = make()
    first.transport.write(b"never")
    first.transport.abort("shed")
    pair.pump()

    assert second.data == b""
    assert isinstance(first.calls[-1], ConnectionAborted)
    assert first.transport.close_reason == "shed"
    assert isinstance(second.calls[-1], ConnectionLost)
    assert second.transport.close_reason == "reset"


def test_connection_lost_comes_once_and_never_inside_the_call_that_ends_it() -> None:
    first, _, pair = make()
    first.transport.abort()
    first.transport.close()
    first.transport.abort()

    assert first.names == ["made"]
    pair.pump()
    assert first.names == ["made", "lost"]


def test_half_close_leaves_the_way_back_open() -> None:
    first, second, pair = make(keep_open=True)
    assert first.transport.can_write_eof()
    first.transport.write(b"question")
    first.transport.write_eof()
    pair.pump()
    assert second.calls == ["made", b"question", "eof"]

    second.transport.write(b"answer")
    pair.pump()
    assert first.data == b"answer"
    second.transport.write_eof()
    pair.pump()
    assert first.names == ["made", "eof", "lost"]
    assert second.names == ["made", "eof", "lost"]


def test_writing_after_write_eof_is_an_error() -> None:
    first, _, _ = make()
    first.transport.write_eof()

    with pytest.raises(ReactorError):
        first.transport.write(b"x")


def test_writing_after_the_loss_is_ignored() -> None:
    first, second, pair = make()
    first.transport.abort()
    first.transport.write(b"x")
    pair.pump()
    first.transport.write(b"x")

    assert second.data == b""


def test_octets_for_an_end_that_has_closed_are_answered_with_a_reset() -> None:
    first, second, pair = make(keep_open=True)
    first.transport.close()
    pair.pump()
    assert second.names == ["made", "eof"]
    second.transport.write(b"anybody?")
    pair.pump()

    assert second.transport.close_reason == "reset"


def test_a_cut_link_breaks_after_exactly_so_many_octets() -> None:
    first, second, pair = make(there=Link(cut_after=7))
    first.transport.write(b"01234")
    pair.pump()
    first.transport.write(b"56789")
    pair.pump()

    assert second.data == b"0123456"
    assert first.transport.close_reason == second.transport.close_reason == "reset"


def test_a_link_cut_at_the_first_octet_delivers_none() -> None:
    first, second, pair = make(there=Link(cut_after=0))
    first.transport.write(b"x")
    pair.pump()

    assert second.calls[1] == "lost"


# ── protocols ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["data_received", "eof_received", "pause_writing"])
def test_a_protocol_that_raises_loses_its_connection_and_the_error_is_reported(
    method: str,
) -> None:
    first, second, pair = make(keep_open=True)
    clock = pair.reactor
    assert isinstance(clock, Clock)
    clock.keep_errors = True

    def fail(*args: object) -> None:
        raise LookupError(method)

    setattr(second, method, fail)
    if method == "pause_writing":
        second.transport.write(b"x" * 200_000)
    first.transport.write(b"x")
    first.transport.write_eof()
    pair.pump()

    assert [str(error) for error in clock.errors] == [method]
    assert second.transport.close_reason == "error"
    assert first.transport.close_reason == "reset"


def test_a_protocol_that_raises_in_connection_made_loses_its_connection() -> None:
    class Bad(Recorder):
        def connection_made(self, transport: IStreamTransport) -> None:
            raise LookupError("no")

    clock = Clock()
    clock.keep_errors = True
    first, second = Recorder(), Bad()
    pair = memory_pair(first, second, reactor=clock)
    pair.pump()

    assert pair.second.close_reason == "error"
    assert first.names == ["made", "lost"]


def test_set_protocol_changes_who_is_delivered_to() -> None:
    first, second, pair = make()
    third = Recorder()
    second.transport.set_protocol(third)
    first.transport.write(b"for the third")
    pair.pump()

    assert second.data == b""
    assert third.data == b"for the third"
    assert pair.second.get_protocol() is third


def test_a_buffered_protocol_gets_octets_in_its_own_buffer() -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(4)
            self.got: list[bytes] = []

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.got.append(bytes(self.buffer[:nbytes]))

    first, second = Recorder(), Buffered()
    pair = memory_pair(first, second, reactor=Clock())  # type: ignore[arg-type]  # BufferedProtocol has no data_received
    first.transport.write(b"abcdefghij")
    pair.pump()

    assert second.got == [b"abcd", b"efgh", b"ij"]


def test_protocols_are_called_in_the_context_of_the_connections_making() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    class Look(Recorder):
        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())

    clock = Clock()
    token = variable.set("made here")
    first, second = Recorder(), Look()
    memory_pair(first, second, reactor=clock)
    variable.reset(token)
    first.transport.write(b"x")
    clock.pump()

    assert seen == ["made here"]


def test_addresses_are_what_the_pair_was_given() -> None:
    here, there = InternetAddress("192.0.2.1", 1), InternetAddress("192.0.2.2", 2)
    pair = memory_pair(Recorder(), Recorder(), reactor=Clock(), addresses=(here, there))

    assert (pair.first.local, pair.first.peer) == (here, there)
    assert (pair.second.local, pair.second.peer) == (there, here)
    assert pair.first.get_extra_info("peername") == there
    assert pair.first.get_extra_info("cipher", "none") == "none"
    assert pair.first.get_extra_info("reactor") is pair.reactor


# ── files ─────────────────────────────────────────────────────────────────────


def test_sendfile_sends_a_piece_of_a_file_in_order(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 50_000)
    first, second, pair = make()
    with path.open("rb") as file:
        first.transport.write(b"<")
        done: Deferred[int] = first.transport.sendfile(file, 3, 400_000)
        first.transport.write(b">")
        pair.pump()

    assert second.data == b"<" + (b"0123456789" * 50_000)[3:400_003] + b">"
    assert done.outcome is not None
    assert done.outcome.value == 400_000
    assert first.names == ["made", "pause", "resume"]


def test_sendfile_stops_at_the_end_of_the_file_and_says_so() -> None:
    first, second, pair = make()
    done = first.transport.sendfile(io.BytesIO(b"short"), 1, 100)
    first.transport.close()
    pair.pump()

    assert second.data == b"hort"
    assert done.outcome is not None
    assert done.outcome.value == 4


def test_sendfile_fails_when_the_connection_ends_first() -> None:
    first, second, pair = make()
    second.transport.pause_reading()
    done = first.transport.sendfile(io.BytesIO(b"x" * 1_000_000))
    pair.pump()
    second.transport.abort()
    pair.pump()

    assert done.outcome is not None
    assert isinstance(done.outcome.error, ConnectionLost)
    done.add_errback(lambda error: None)


def test_a_pair_made_without_a_reactor_brings_a_clock() -> None:
    first, second = Recorder(), Recorder()
    pair = memory_pair(first, second)
    first.transport.write(b"hello")
    pair.pump()

    assert second.data == b"hello"
