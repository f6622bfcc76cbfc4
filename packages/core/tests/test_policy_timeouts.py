"""Time-outs worn around protocols."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from sennit.core.errors import ConnectionLost
from sennit.core.policy.timeouts import GRACE, Timeouts, with_timeouts
from sennit.core.policy.wrapper import ProtocolWrapper, TransportWrapper
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import MemoryPair, memory_pair

if TYPE_CHECKING:
    from sennit.core.address import Address
    from sennit.core.interfaces import IStreamProtocol


class Keep(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


def wear(
    protocol: IStreamProtocol | None = None,
    *,
    idle: float | None = None,
    total: float | None = None,
) -> tuple[Keep, MemoryPair, Clock]:
    clock = Clock()
    peer = Keep()
    inner = protocol or Keep()
    worn = with_timeouts(lambda: inner, idle=idle, total=total).build_protocol(None)
    assert worn is not None
    return peer, memory_pair(peer, worn, reactor=clock), clock


def test_a_connection_on_which_nothing_comes_is_closed_as_idle() -> None:
    peer, pair, clock = wear(idle=10)
    clock.advance(9.9)
    assert pair.second.close_reason is None
    clock.advance(0.2)

    assert pair.second.close_reason == "idle"
    assert peer.transport.peer is None


def test_octets_put_the_end_off() -> None:
    peer, pair, clock = wear(idle=10)
    for _ in range(10):
        clock.advance(9)
        peer.transport.write(b"x")
        clock.pump()
    assert pair.second.close_reason is None
    clock.advance(9.9)
    assert pair.second.close_reason is None
    clock.advance(0.2)
    assert pair.second.close_reason == "idle"


def test_octets_arm_no_timer() -> None:
    peer, _, clock = wear(idle=10)
    before = clock.pending
    for _ in range(1000):
        peer.transport.write(b"x")
        clock.pump()

    assert clock.pending == before


def test_the_whole_connection_has_its_time_whatever_comes() -> None:
    peer, pair, clock = wear(idle=10, total=25)
    for _ in range(5):
        clock.advance(4.9)
        peer.transport.write(b"x")
        clock.pump()
    assert pair.second.close_reason is None
    clock.advance(0.6)

    assert pair.second.close_reason == "timeout"


def test_a_download_that_makes_progress_is_not_idle() -> None:
    inner = Keep()
    peer, pair, clock = wear(inner, idle=10)
    done = inner.transport.sendfile(io.BytesIO(bytes(1_000_000)))
    for _ in range(20):
        peer.transport.pause_reading()
        clock.advance(8)
        peer.transport.resume_reading()
        clock.turn()
        assert pair.second.close_reason is None
        if done.outcome is not None:
            break
    clock.advance(1.9)

    assert clock.time() > 100
    assert pair.second.close_reason is None
    assert done.outcome is not None
    assert len(peer.data) == 1_000_000


@pytest.mark.parametrize("by_file", [True, False])
def test_a_download_that_stands_still_is_idle(by_file: bool) -> None:
    """HARDENING h1-11, defaults 2: no progress in a transfer."""
    inner = Keep()
    peer, pair, clock = wear(inner, idle=10)
    peer.transport.pause_reading()
    if by_file:
        done = inner.transport.sendfile(io.BytesIO(bytes(1_000_000)))
        done.add_errback(lambda error: None)
    else:
        inner.transport.write(bytes(1_000_000))
    clock.advance(2 * 10 + GRACE + 1)

    assert pair.second.close_reason == "idle"
    assert isinstance(inner.lost[0], ConnectionLost)


def test_a_peer_that_does_not_read_the_farewell_is_aborted_after_the_grace() -> None:
    inner = Keep()
    peer, _, clock = wear(inner, total=10)
    peer.transport.pause_reading()
    inner.transport.write(bytes(1_000_000))
    clock.advance(10)
    assert inner.lost == []
    clock.advance(GRACE)

    assert isinstance(inner.lost[0], ConnectionLost)
    assert inner.lost[0].reason == "timeout"


def test_a_protocol_with_words_for_it_says_them() -> None:
    class Polite(Keep):
        def timed_out(self, reason: str) -> None:
            self.transport.write(b"421 " + reason.encode())
            self.transport.close(reason)

    peer, pair, clock = wear(Polite(), idle=10)
    clock.advance(11)

    assert peer.data == b"421 idle"
    assert pair.second.close_reason == "idle"
    assert clock.pending == []


def test_a_protocol_that_fails_to_say_them_is_aborted() -> None:
    class Bad(Keep):
        def timed_out(self, reason: str) -> None:
            raise LookupError("no words")

    _, pair, clock = wear(Bad(), idle=10)
    with pytest.raises(LookupError):
        clock.advance(11)

    assert pair.second.close_reason == "idle"


def test_no_timer_is_left_behind_by_a_connection_that_has_gone() -> None:
    peer, _, clock = wear(idle=10, total=100)
    assert len(clock.pending) == 1
    peer.transport.abort()
    clock.pump()

    assert clock.pending == []


def test_without_limits_there_is_no_timer() -> None:
    _, _, clock = wear()

    assert clock.pending == []


def test_what_the_protocol_inside_has_is_found() -> None:
    drained: list[bool] = []

    class Drains(Keep):
        def drain(self) -> None:
            drained.append(True)

    worn = with_timeouts(Drains, idle=1).build_protocol(None)
    worn.drain()  # type: ignore[union-attr]  # found through the wrapper

    assert drained == [True]
    assert getattr(with_timeouts(Keep).build_protocol(None), "drain", None) is None


def test_a_refusing_factory_still_refuses() -> None:
    class Refuse:
        def build_protocol(self, peer: Address | None) -> None:
            return None

        def refusal(self, reason: str) -> bytes:
            return reason.encode()

    factory = with_timeouts(Refuse(), idle=1)

    assert factory.build_protocol(None) is None
    assert factory.refusal("shed") == b"shed"


def test_a_buffered_protocol_is_watched_as_well() -> None:
    class Buffered(asyncio.BufferedProtocol):
        got = 0

        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray(10)

        def buffer_updated(self, nbytes: int) -> None:
            self.got += nbytes

    inner = Buffered()
    peer, pair, clock = wear(inner, idle=10)  # type: ignore[arg-type]  # has no data_received
    clock.advance(9)
    peer.transport.write(b"x" * 15)
    clock.advance(9)
    assert inner.got == 15
    assert pair.second.close_reason is None
    clock.advance(2)
    assert pair.second.close_reason == "idle"


def test_a_protocol_that_took_over_is_not_called_idle() -> None:
    inner = Keep()
    _, pair, clock = wear(inner, idle=10)
    pair.second.set_protocol(Keep())
    clock.advance(100)

    assert pair.second.close_reason is None


def test_reset_idle_counts_as_a_sign_of_life() -> None:
    clock = Clock()
    worn = Timeouts(Keep(), idle=10, clock=clock)
    transport = RecordingTransport(worn)
    clock.advance(8)
    worn.reset_idle()
    clock.advance(8)
    assert not transport.closed
    clock.advance(3)
    assert transport.close_reason == "idle"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_odd_numbers_of_seconds_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError):
        with_timeouts(Keep, idle=seconds)
    with pytest.raises(ValueError):
        Timeouts(Keep(), total=seconds)


def test_wrappers_can_be_worn_over_each_other_and_pass_everything_on() -> None:
    inner = Keep()
    clock = Clock()
    worn = ProtocolWrapper(Timeouts(ProtocolWrapper(inner), idle=10, clock=clock))
    transport = RecordingTransport(worn)
    transport.receive(b"hello")
    transport.block()
    transport.write(bytes(100_000))
    transport.unblock()
    clock.advance(11)

    assert inner.data == b"hello"
    assert transport.close_reason == "idle"
    assert inner.lost == [None]


def test_a_wrapped_transport_shows_everything_below_it() -> None:
    below = RecordingTransport(Keep())
    above = TransportWrapper(below)
    above.write(b"x")  # type: ignore[attr-defined]  # found below

    assert below.written == b"x"
    assert above.close_reason is None  # type: ignore[attr-defined]  # found below
