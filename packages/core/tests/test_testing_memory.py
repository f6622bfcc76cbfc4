from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import InternetAddress
from sennit.core.errors import ConnectError, ConnectionLost, ReactorError
from sennit.core.interfaces import IListener, IStreamTransport
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.testing.network import MemoryNetwork
from sennit.core.transport.memory import Link

if TYPE_CHECKING:
    from sennit.core.address import Address


class Echo(Protocol):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Keep(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = b""
        self.paused = False
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


# ── RecordingTransport ────────────────────────────────────────────────────────


def test_a_recording_transport_provides_the_interface() -> None:
    assert verifyObject(IStreamTransport, RecordingTransport())


def test_it_records_what_is_written() -> None:
    transport = RecordingTransport(Echo())

    transport.receive(b"hello", cut=2)

    assert transport.pieces == [b"he", b"ll", b"o"]
    assert transport.take() == b"hello"
    assert transport.written == b""


def test_it_records_the_end() -> None:
    keep = Keep()
    transport = RecordingTransport(keep)
    assert transport.reading
    assert not transport.closed

    keep.transport.close("idle")

    assert transport.closed
    assert transport.close_reason == "idle"
    assert not transport.aborted
    assert keep.lost == [None]
    with pytest.raises(ReactorError, match="idle"):
        transport.receive(b"x")


def test_octets_for_a_protocol_that_paused_are_an_error_of_the_test() -> None:
    transport = RecordingTransport(Keep())
    transport.pause_reading()

    with pytest.raises(ReactorError, match="paused"):
        transport.receive(b"x")


def test_it_plays_a_peer_that_goes() -> None:
    keep = Keep()
    transport = RecordingTransport(keep)
    error = ConnectionLost("gone", "reset")

    transport.lose(error)

    assert keep.lost == [error]
    assert transport.close_reason == "reset"


def test_the_end_of_the_peer_closes_unless_the_protocol_keeps_the_way_out() -> None:
    class Open(Keep):
        def eof_received(self) -> bool:
            return True

    closing, keeping = RecordingTransport(Keep()), RecordingTransport(Open())
    closing.receive_eof()
    keeping.receive_eof()

    assert closing.closed
    assert not keeping.closed


def test_a_blocked_one_presses_and_then_aborts() -> None:
    keep = Keep()
    transport = RecordingTransport(keep)
    transport.block()
    transport.write(b"x" * 70_000)
    assert keep.paused
    transport.unblock(60_000)
    assert not keep.paused
    assert len(transport.written) == 60_000

    transport.write(b"x" * 17_000_000)
    assert transport.close_reason == "limit:write-buffer"
    assert transport.aborted


def test_close_waits_for_a_blocked_peer() -> None:
    keep = Keep()
    transport = RecordingTransport(keep)
    transport.block()
    transport.write(b"bye")
    transport.close()
    assert keep.lost == []
    transport.unblock()

    assert transport.written == b"bye"
    assert keep.lost == [None]


def test_files_are_read_into_what_was_written() -> None:
    transport = RecordingTransport(Keep())
    transport.write(b"<")
    done = transport.sendfile(io.BytesIO(b"0123456789"), 2, 5)
    transport.write(b">")

    assert transport.written == b"<23456>"
    assert done.outcome is not None
    assert done.outcome.value == 5


def test_what_the_protocol_raises_is_kept() -> None:
    class Bad(Keep):
        def data_received(self, data: bytes) -> None:
            raise LookupError("no")

    transport = RecordingTransport(Bad())
    transport.receive(b"x")

    assert [str(error) for error in transport.errors] == ["no"]
    assert transport.close_reason == "error"


def test_start_tls_is_recorded() -> None:
    transport = RecordingTransport(Keep())
    context = object()
    transport.start_tls(context, server_side=True)

    assert transport.tls[0]["context"] is context
    assert transport.tls[0]["server_side"] is True


# ── MemoryNetwork ─────────────────────────────────────────────────────────────


def test_who_connects_talks_with_who_listens() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    listener = network.listen("example:7", Echo)
    assert verifyObject(IListener, listener)

    keep = clock.run_until(network.connect("example:7", Keep))
    assert isinstance(keep, Keep)
    keep.transport.write(b"hello")
    clock.pump()

    assert keep.data == b"hello"
    assert keep.transport.peer == InternetAddress("example", 7)
    assert len(listener.connections) == 1
    keep.transport.close()
    clock.pump()
    assert len(listener.connections) == 0


def test_factories_are_given_the_peers_address() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    seen: list[Address | None] = []

    class Factory:
        def build_protocol(self, peer: Address | None) -> Echo:
            seen.append(peer)
            return Echo()

    network.listen("[::1]:80", Factory())
    clock.run_until(network.connect("[::1]:80", Keep, source="[2001:db8::1]:1234"))

    assert seen == [InternetAddress("2001:db8::1", 1234)]


def test_nobody_there_is_a_connect_error() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)

    with pytest.raises(ConnectError, match="example:7: No route to host"):
        clock.run_until(network.connect("example:7", Keep))

    network.listen("example:8", Echo)
    with pytest.raises(ConnectError, match="example:7: Connection refused") as caught:
        clock.run_until(network.connect("example:7", Keep))
    assert [type(each) for each in caught.value.attempts] == [ConnectionRefusedError]


def test_a_place_is_taken_once() -> None:
    network = MemoryNetwork(Clock())
    first = network.listen("example:0", Echo)
    assert first.port
    with pytest.raises(OSError, match="already"):
        network.listen(f"example:{first.port}", Echo)
    first.close()
    network.listen(f"example:{first.port}", Echo)


def test_a_factory_that_makes_no_protocol_refuses() -> None:
    class Refuse:
        def build_protocol(self, peer: Address | None) -> None:
            return None

    clock = Clock()
    network = MemoryNetwork(clock)
    network.listen("example:7", Refuse())

    with pytest.raises(ConnectError, match="refused"):
        clock.run_until(network.connect("example:7", Keep))


def test_limits_are_asked_and_told() -> None:
    class Limits:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def admit(self, peer: object) -> str | None:
            self.calls.append("admit")
            return "shed" if self.calls.count("admit") > 1 else None

        def release(self, peer: object) -> None:
            self.calls.append("release")

    clock = Clock()
    network = MemoryNetwork(clock)
    limits = Limits()
    network.listen("example:7", Echo, limits=limits)
    first = clock.run_until(network.connect("example:7", Keep))
    assert isinstance(first, Keep)
    with pytest.raises(ConnectError):
        clock.run_until(network.connect("example:7", Keep))
    first.transport.close()
    clock.pump()

    assert limits.calls == ["admit", "admit", "release"]


def test_a_listener_that_does_not_accept_keeps_connections_waiting() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    listener = network.listen("example:7", Echo)
    listener.pause_accepting()
    connecting = network.connect("example:7", Keep)
    clock.pump()
    assert connecting.outcome is None
    listener.resume_accepting()
    clock.pump()
    assert connecting.outcome is not None


def test_a_connection_can_be_cut_at_an_octet() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    network.listen("example:7", Echo)
    keep = clock.run_until(network.connect("example:7", Keep, back=Link(cut_after=3)))
    assert isinstance(keep, Keep)
    keep.transport.write(b"hello")
    clock.pump()

    assert keep.data == b"hel"
    assert isinstance(keep.lost[0], ConnectionLost)


def test_closing_the_network_ends_everything() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    listener = network.listen("example:7", Echo)
    keep = clock.run_until(network.connect("example:7", Keep))
    assert isinstance(keep, Keep)
    network.close()
    clock.pump()

    assert len(keep.lost) == 1
    assert len(listener.connections) == 0
