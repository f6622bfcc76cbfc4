"""Connections and refusals of this machine, for tests of what only a kernel does."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.testing import loopback
from sennit.core.testing.loopback import free_port, loopback_sockets, refusing_socket

if TYPE_CHECKING:
    from sennit.core.testing.loopback import RefusingKind

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
HOSTS = {"tcp": "127.0.0.1", "tcp6": "::1", "udp": "127.0.0.1", "udp6": "::1"}


@pytest.mark.parametrize("kind", HOSTS)
def test_nobody_answers_at_the_port_of_a_refusing_socket(kind: RefusingKind) -> None:
    with refusing_socket(kind) as held:
        host, port, *_ = held.getsockname()
        assert host == HOSTS[kind]
        with socket.socket(held.family, held.type) as caller:
            caller.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                # RFC 768 has no connection to refuse: the datagram is what comes back.
                caller.connect((host, port))
                caller.send(b"anybody?")
                caller.recv(100)


@pytest.mark.parametrize("kind", HOSTS)
def test_nobody_else_gets_the_port_of_a_refusing_socket(kind: RefusingKind) -> None:
    """That is what it is for: a number alone is anybody's again."""
    with (
        refusing_socket(kind) as held,
        socket.socket(held.family, held.type) as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind(held.getsockname())


@pytest.mark.parametrize("kind", ["udp", "udp6"])
def test_a_stranger_cannot_send_to_a_refusing_socket(kind: RefusingKind) -> None:
    with refusing_socket(kind) as held, socket.socket(held.family, held.type) as stranger:
        stranger.sendto(b"x", held.getsockname())
        held.setblocking(False)
        # On loopback it would be there already.
        with pytest.raises(BlockingIOError):
            held.recv(100)


@pytest.mark.skipif(not PORTS.exists(), reason="tells by /proc which ports the system gives")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_to_give_is_none_that_the_system_gives(host: str) -> None:
    """Free for TCP and UDP, and given once."""
    low, high = map(int, PORTS.read_text().split())
    found = [free_port(host) for _ in range(50)]
    assert len(set(found)) == 50
    assert not any(low <= each <= high for each in found)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as taken:
            taken.bind((host, found[0]))


def test_where_the_system_gives_all_ports_one_of_those_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback, "system_ports", lambda: range(1024, 65_536))
    assert 1024 <= free_port() <= 65_535


def test_an_address_that_is_not_this_machines_has_no_port_to_give() -> None:
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")


def test_what_is_no_kind_is_told() -> None:
    wrong: Any = "unix"
    with pytest.raises(ValueError, match="udp6, not 'unix'"):
        refusing_socket(wrong)
    wrong = "carrier pigeon"
    with pytest.raises(ValueError, match="unix, not 'carrier pigeon'"):
        loopback_sockets(wrong)
