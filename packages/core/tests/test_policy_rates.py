"""Rates: buckets, connections that keep to them, connections that come too fast."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.errors import ConnectionLost
from sennit.core.policy.bucket import TokenBucket
from sennit.core.policy.limits import (
    PER_ADDRESS,
    RATE,
    RATE_PER_ADDRESS,
    AllLimits,
    ConnectionLimits,
    ConnectionRates,
    address_key,
)
from sennit.core.policy.pacing import rate_limited
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import MemoryPair, memory_pair

if TYPE_CHECKING:
    from sennit.core.interfaces import IStreamProtocol

READ = 64 * 1024


class Keep(Protocol):
    """Keeps what it is told, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.data = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        self.lost: list[Exception | None] = []
        self.pauses: list[str] = []
        self.eof = False

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.arrivals.append((self.clock.time(), len(data)))

    def eof_received(self) -> bool:
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")


def pair_of(
    clock: Clock,
    *,
    read: float | TokenBucket | None = None,
    write: float | TokenBucket | None = None,
    total: TokenBucket | None = None,
    inner: IStreamProtocol | None = None,
) -> tuple[Keep, Keep, MemoryPair]:
    """A peer without limits, and a protocol that wears some."""
    peer, worn = Keep(clock), inner or Keep(clock)
    limited = rate_limited(lambda: worn, read=read, write=write, total=total).build_protocol(None)
    assert limited is not None
    return peer, worn, memory_pair(peer, limited, reactor=clock)  # type: ignore[return-value]  # its members are these


# ── buckets ───────────────────────────────────────────────────────────────────


def test_a_bucket_gathers_up_to_its_burst() -> None:
    bucket = TokenBucket(10, burst=30)
    assert bucket.take(30, 0) == 0
    assert bucket.available(1) == 10
    assert bucket.available(100) == 30


def test_what_is_owed_is_waited_for_and_who_comes_later_waits_longer() -> None:
    bucket = TokenBucket(10, burst=10)
    assert bucket.take(20, 0) == pytest.approx(1)
    assert bucket.take(10, 0) == pytest.approx(2)


def test_time_that_seems_to_go_back_gives_nothing() -> None:
    bucket = TokenBucket(10, burst=10)
    bucket.take(10, 5)
    assert bucket.available(4) == 0
    assert bucket.available(5) == 0


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, None), (1, 0), (float("nan"), None)])
def test_a_rate_that_cannot_be_is_refused(rate: float, burst: float | None) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate, burst)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 50)), min_size=1, max_size=40),
    st.floats(0.5, 100),
    st.floats(1, 100),
)
def test_no_span_grants_more_than_burst_and_rate(
    takings: list[tuple[float, float]], rate: float, burst: float
) -> None:
    bucket = TokenBucket(rate, burst)
    now, granted = 0.0, 0.0
    for pause, amount in takings:
        now += pause
        if bucket.try_take(amount, now):
            granted += amount
        assert granted <= burst + rate * now + 1e-6


# ── reading and writing ───────────────────────────────────────────────────────


def test_reading_keeps_to_its_rate_and_loses_nothing() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, read=10_000)
    sent = bytes(range(256)) * 1000
    peer.transport.write(sent)
    for _ in range(600):
        clock.advance(0.1)

    assert bytes(worn.data) == sent
    for when, _ in worn.arrivals:
        until = sum(size for at, size in worn.arrivals if at <= when)
        assert until <= 10_000 + 10_000 * when + READ
    # Neither is it slower than it need be.
    assert worn.arrivals[-1][0] <= len(sent) / 10_000 + 0.2


def test_writing_keeps_to_its_rate_exactly_and_in_order() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, write=10_000)
    sent = bytes(range(256)) * 400
    for at in range(0, len(sent), 1000):
        worn.transport.write(sent[at : at + 1000])
    for _ in range(110):
        clock.advance(0.1)

    assert bytes(peer.data) == sent
    for when, _ in peer.arrivals:
        until = sum(size for at, size in peer.arrivals if at <= when)
        assert until <= 10_000 + 10_000 * when + 1
    assert peer.arrivals[-1][0] <= (len(sent) - 10_000) / 10_000 + 0.2


def test_a_producer_is_paused_and_resumed() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, write=100_000)
    worn.transport.write(bytes(300_000))
    assert worn.pauses == ["pause"]
    assert worn.transport.get_write_buffer_size() >= 200_000
    for _ in range(30):
        clock.advance(0.1)
    assert worn.pauses == ["pause", "resume"]
    assert len(peer.data) == 300_000


def test_who_shares_a_bucket_shares_its_rate_fairly() -> None:
    clock = Clock()
    shared = TokenBucket(20_000, burst=1000)
    ends = [pair_of(clock, write=shared) for _ in range(4)]
    for _, worn, _ in ends:
        worn.transport.write(bytes(40_000))
    for _ in range(40):
        clock.advance(0.1)

    got = [len(peer.data) for peer, _, _ in ends]
    assert sum(got) <= 1000 + 20_000 * 4 + 1
    assert min(got) > 0.5 * max(got)


def test_a_total_holds_both_ways() -> None:
    clock = Clock()
    total = TokenBucket(10_000, burst=10_000)
    peer, worn, _ = pair_of(clock, total=total)
    peer.transport.write(bytes(60_000))
    worn.transport.write(bytes(60_000))
    for _ in range(30):
        clock.advance(0.1)
    assert len(peer.data) + len(worn.data) <= 10_000 + 30_000 + READ
    for _ in range(200):
        clock.advance(0.1)
    assert (len(peer.data), len(worn.data)) == (60_000, 60_000)


def test_a_file_keeps_to_the_rate_and_its_place() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, write=50_000)
    worn.transport.write(b"before")
    done = worn.transport.sendfile(io.BytesIO(bytes(200_000)), 10, 150_000)
    worn.transport.write(b"after")
    clock.advance(0.5)
    assert not done.called
    for _ in range(60):
        clock.advance(0.1)

    assert bytes(peer.data) == b"before" + bytes(150_000) + b"after"
    assert done.outcome is not None
    assert done.outcome.value == 150_000
    assert peer.arrivals[-1][0] >= 1.9


def test_a_file_shorter_than_asked_for_ends_where_it_ends() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, write=50_000)
    done = worn.transport.sendfile(io.BytesIO(bytes(70_000)))
    worn.transport.write(b"after")
    for _ in range(30):
        clock.advance(0.1)
    assert bytes(peer.data) == bytes(70_000) + b"after"
    assert done.outcome is not None
    assert done.outcome.value == 70_000


def test_nothing_of_a_file_is_sent_in_its_place_too() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, write=10)
    worn.transport.write(bytes(20))
    done = worn.transport.sendfile(io.BytesIO(b"xyz"), 0, 0)
    worn.transport.write(b"after")
    clock.advance(1)
    clock.advance(10)
    assert done.outcome is not None
    assert done.outcome.value == 0
    assert bytes(peer.data) == bytes(20) + b"after"


@pytest.mark.parametrize("way", ["close", "write_eof"])
def test_an_end_comes_after_what_was_written(way: str) -> None:
    clock = Clock()
    peer, worn, pair = pair_of(clock, write=10_000)
    worn.transport.write(bytes(30_000))
    getattr(worn.transport, way)()
    worn.transport.write(b"too late")
    assert worn.transport.is_closing() is (way == "close")
    clock.advance(1)
    assert len(peer.data) < 30_000
    for _ in range(30):
        clock.advance(0.1)

    assert bytes(peer.data) == bytes(30_000)
    assert peer.eof
    assert pair.second.close_reason == ("clean" if way == "close" else None)


def test_an_abort_waits_for_nothing() -> None:
    clock = Clock()
    _, worn, _ = pair_of(clock, write=10)
    done = worn.transport.sendfile(io.BytesIO(bytes(1000)))
    worn.transport.write(bytes(1000))
    waiting = worn.transport.writable()
    worn.transport.abort()
    clock.pump()

    assert len(worn.lost) == 1
    assert clock.pending == []
    assert done.outcome is not None
    assert isinstance(done.outcome.error, ConnectionLost)
    done.add_errback(lambda error: None)
    assert isinstance(waiting.outcome.error, ConnectionLost)  # type: ignore[attr-defined]  # it is a Deferred while one waits
    waiting.add_errback(lambda error: None)  # type: ignore[attr-defined]  # as above


def test_no_timer_is_left_when_the_peer_goes() -> None:
    clock = Clock()
    peer, _, _ = pair_of(clock, read=10, write=10)
    peer.transport.write(bytes(1000))
    clock.pump()
    assert clock.pending
    peer.transport.abort()
    clock.advance(200)
    assert clock.pending == []


def test_a_protocol_that_pauses_reading_is_not_resumed_by_the_rate() -> None:
    clock = Clock()
    peer, worn, _ = pair_of(clock, read=1000)
    peer.transport.write(bytes(2000))
    clock.pump()
    assert not worn.transport.is_reading()
    worn.transport.pause_reading()
    peer.transport.write(b"more")
    clock.advance(10)
    assert len(worn.data) == 2000
    worn.transport.resume_reading()
    clock.pump()
    assert len(worn.data) == 2004


def test_past_the_hard_limit_the_connection_is_aborted() -> None:
    """HARDENING core-8: what waits for its rate is bounded as what waits for the peer is."""
    clock = Clock()
    _, worn, pair = pair_of(clock, write=10)
    for _ in range(17):
        worn.transport.write(bytes(1024 * 1024))
    clock.pump()
    assert pair.second.close_reason == "limit:write-buffer"


# ── connections ───────────────────────────────────────────────────────────────


def test_connections_that_come_too_fast_are_refused_until_time_has_passed() -> None:
    now = [0.0]
    rates = ConnectionRates(2, burst=3, time=lambda: now[0])
    assert [rates.admit(("192.0.2.1", 1)) for _ in range(4)] == [None, None, None, RATE]
    now[0] = 0.5
    assert rates.admit(("192.0.2.1", 1)) is None
    assert rates.refused[RATE] == 1


def test_one_address_does_not_use_up_the_others_rate() -> None:
    rates = ConnectionRates(per_address=1, address_burst=2, time=lambda: 0.0)
    assert [rates.admit(("192.0.2.1", 1)) for _ in range(3)] == [None, None, RATE_PER_ADDRESS]
    assert rates.admit(("192.0.2.2", 1)) is None
    assert [rates.admit(("127.0.0.1", 1)) for _ in range(5)] == [None] * 5


def test_addresses_that_were_refused_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sennit.core.policy.limits.MAX_RATES", 50)
    now = [0.0]
    rates = ConnectionRates(per_address=1, time=lambda: now[0])
    for number in range(500):
        now[0] += 0.001
        rates.admit((f"198.51.{number // 250}.{number % 250}", 1))
    assert len(rates._by_address) <= 50


@pytest.mark.parametrize(
    ("host", "ipv4", "ipv6", "key"),
    [
        ("192.0.2.77", 32, 64, "192.0.2.77"),
        ("192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("192.0.2.77", 0, 64, "0.0.0.0/0"),
        ("::ffff:192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", 32, 64, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", 32, 48, "2001:db8:1::/48"),
        ("2001:db8:1:2:3::4", 32, 128, "2001:db8:1:2:3::4/128"),
    ],
)
def test_a_prefix_makes_one_address_of_many(host: str, ipv4: int, ipv6: int, key: str) -> None:
    assert address_key((host, 1), ipv4, ipv6) == key


def test_hosts_and_networks_are_counted_together() -> None:
    """HARDENING core-13, with a network of several hosts."""
    limits = AllLimits(
        ConnectionLimits(max_per_address=2), ConnectionLimits(max_per_address=3, ipv4_prefix=24)
    )
    first, second = ("192.0.2.1", 1), ("192.0.2.2", 1)
    assert [limits.admit(first) for _ in range(3)] == [None, None, PER_ADDRESS]
    assert [limits.admit(second) for _ in range(2)] == [None, PER_ADDRESS]
    limits.release(first)
    assert limits.admit(second) is None


def test_a_prefix_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 32"):
        ConnectionLimits(ipv4_prefix=33)
    with pytest.raises(ValueError, match="0 to 128"):
        ConnectionRates(1, ipv6_prefix=129)
