"""Connection limits: in total, and per address."""

from __future__ import annotations

import logging

import pytest
from zope.interface.verify import verifyObject

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.interfaces import IPeerLimits
from sennit.core.policy.limits import MAX_LOGGED, ConnectionLimits, address_key
from sennit.core.testing.clock import Clock


def host(text: str) -> InternetAddress:
    return InternetAddress(text, 1234)


def test_it_provides_the_interface() -> None:
    assert verifyObject(IPeerLimits, ConnectionLimits())


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        (host("192.0.2.1"), "192.0.2.1"),
        (host("::ffff:192.0.2.1"), "192.0.2.1"),
        (host("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
        (host("2001:db8:1:2::"), "2001:db8:1:2::/64"),
        (host("fe80::1%eth0"), "fe80::/64"),
        (host("127.8.8.8"), "local"),
        (host("::1"), "local"),
        (host("::ffff:127.0.0.1"), "local"),
        (UnixAddress(""), "local"),
        (None, "local"),
    ],
)
def test_connections_are_counted_by_ipv4_address_and_by_ipv6_64(
    peer: InternetAddress | UnixAddress | None, key: str
) -> None:
    """HARDENING defaults 3."""
    assert address_key(peer) == key


def test_fifty_from_one_address_are_admitted_and_the_surplus_is_not() -> None:
    """HARDENING core-13: 200 connects from one address."""
    limits = ConnectionLimits()
    outcomes = [limits.admit(host("192.0.2.1")) for _ in range(200)]

    assert outcomes == [None] * 50 + ["limit:connections-per-address"] * 150
    assert limits.admit(host("192.0.2.2")) is None
    assert limits.refused["limit:connections-per-address"] == 150
    assert limits.admitted == limits.connections == 51
    assert limits.connections_from(host("192.0.2.1")) == 50


def test_one_ipv6_subscriber_is_one_address() -> None:
    limits = ConnectionLimits(max_per_address=2)

    assert limits.admit(host("2001:db8::1")) is None
    assert limits.admit(host("2001:db8::2")) is None
    assert limits.admit(host("2001:db8::3")) is not None
    assert limits.admit(host("2001:db8:0:1::1")) is None


def test_who_leaves_makes_room() -> None:
    limits = ConnectionLimits(max_per_address=1)
    peer = host("192.0.2.1")
    for _ in range(5):
        assert limits.admit(peer) is None
        assert limits.admit(peer) is not None
        limits.release(peer)

    assert limits.connections == 0
    assert limits._by_address == {}


def test_the_total_counts_everybody() -> None:
    limits = ConnectionLimits(max_connections=3)
    for peer in (host("127.0.0.1"), UnixAddress("/run/x"), host("192.0.2.1")):
        assert limits.admit(peer) is None

    assert limits.admit(host("192.0.2.2")) == "limit:connections"
    assert limits.admit(host("127.0.0.1")) == "limit:connections"
    limits.release(UnixAddress("/run/x"))
    assert limits.admit(host("192.0.2.2")) is None


def test_loopback_and_unix_sockets_count_per_address_only_when_asked_for() -> None:
    free, counted = (
        ConnectionLimits(max_per_address=1, count_loopback=count) for count in (False, True)
    )
    for peer in (host("127.0.0.1"), host("127.0.0.2"), UnixAddress("")):
        assert [free.admit(peer) for _ in range(3)] == [None] * 3
        assert [counted.admit(peer) is None for _ in range(3)] == [True, False, False]


def test_one_log_line_per_address_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING core-13: one log line per address per minute."""
    clock = Clock()
    limits = ConnectionLimits(max_per_address=1, time=clock.time)
    for peer in ("192.0.2.1", "192.0.2.2"):
        for _ in range(100):
            limits.admit(host(peer))
    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "192.0.2.1" in caplog.messages[0]
    assert "limit:connections-per-address" in caplog.messages[0]
    clock.advance(61)
    limits.admit(host("192.0.2.1"))

    assert "98 more since the last line" in caplog.messages[2]


def test_a_crowd_of_addresses_is_not_remembered_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    limits = ConnectionLimits(max_per_address=1, time=clock.time, max_connections=100_000)
    for number in range(3 * MAX_LOGGED):
        peer = host(f"10.{number >> 8 & 255}.{number & 255}.1")
        limits.admit(peer)
        limits.admit(peer)

    assert len(limits._logged) <= MAX_LOGGED + 1
    assert len(caplog.records) <= MAX_LOGGED + 1


@pytest.mark.parametrize("name", ["max_per_address", "max_connections"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        ConnectionLimits(**{name: 0})  # type: ignore[arg-type]  # one of two
