"""Sockets that a service manager passes: sd_listen_fds(3), and endpoints that use them."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.endpoint import systemd
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.systemd import Activation
from sennit.core.errors import ConfigError, EndpointSyntaxError
from sennit.core.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def environ(**changes: str) -> dict[str, str]:
    return {"LISTEN_FDS": "3", "LISTEN_PID": "77", "LISTEN_FDNAMES": "web:mail:web", **changes}


def test_descriptors_have_names_and_the_environment_is_cleared() -> None:
    found = environ(HOME="/")
    passed = Activation(found, 77)
    assert passed.descriptors == [(3, "web"), (4, "mail"), (5, "web")]
    assert found == {"HOME": "/"}
    assert passed.names == ["web", "mail"]
    assert passed.named("web") == [3, 5]
    assert passed.named("4") == [4]
    assert not passed.problem


def test_without_names_all_are_called_unknown() -> None:
    """sd_listen_fds_with_names(3)."""
    passed = Activation({"LISTEN_FDS": "2", "LISTEN_PID": "77"}, 77)
    assert passed.named("") == [3, 4]
    assert passed.named("unknown") == [3, 4]


def test_what_is_for_another_process_is_left_alone() -> None:
    found = environ()
    passed = Activation(found, 78)
    assert found == environ()
    assert passed.descriptors == []
    with pytest.raises(ConfigError, match="the sockets are for process 77, this one is 78"):
        passed.named("web")


@pytest.mark.parametrize(
    ("found", "name", "problem"),
    [
        ({}, "web", "no service manager has passed sockets"),
        (environ(), "", "say which, there are web, mail"),
        (environ(), "ftp", "cannot listen on systemd:ftp: there are web, mail"),
        (environ(), "9", "there are web, mail"),
        (environ(LISTEN_FDS="x"), "web", "LISTEN_FDS is 'x', no number"),
        (environ(LISTEN_FDS="-1"), "web", "no number from 1 to 1024"),
        (environ(LISTEN_FDS="0"), "web", "no number from 1 to 1024"),
        (environ(LISTEN_FDS="99999999999"), "web", "no number from 1 to 1024"),
    ],
)
def test_what_is_missing_is_said(found: dict[str, str], name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Activation(found, 77).named(name)


# ── endpoints ─────────────────────────────────────────────────────────────────


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Collector(Protocol):
    data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Passed:
    """Sockets as a manager would pass them, at whatever numbers they have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets: list[socket.socket] = []
        self.activation = Activation({}, 0)
        monkeypatch.setattr(systemd, "_activation", self.activation)

    def add(self, name: str, sock: socket.socket) -> socket.socket:
        self.sockets.append(sock)
        self.activation.problem = ""
        self.activation.descriptors.append((sock.fileno(), name))
        return sock


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Generator[Passed, None, None]:
    passed = Passed(monkeypatch)
    yield passed
    for each in passed.sockets:
        each.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_several_sockets_of_one_name_are_one_listener(passed: Passed) -> None:
    ports: list[int] = []
    for _ in range(2):
        sock = passed.add("web", socket.create_server(("127.0.0.1", 0)))
        ports.append(sock.getsockname()[1])
    for _ in range(2):  # again: a use takes nothing away
        async with serve("systemd:web", Echo) as server:
            assert server.urls == tuple(f"tcp://127.0.0.1:{port}" for port in ports)
            for url in server.urls:
                client = await connect(url, Collector)
                client.transport.write(b"hello")
                await until(lambda: client.data == b"hello")  # noqa: B023 - it is awaited here
                client.transport.abort()
            assert not any(
                os.get_inheritable(each.fileno())
                for listener in server.listeners
                for each in listener.sockets
            )


async def test_datagram_sockets_are_for_protocols_of_datagrams(passed: Passed) -> None:
    class Echoes:
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, peer: Any) -> None:
            self.transport.sendto(data, peer)

        def error_received(self, exc: Exception) -> None:
            pass

        def connection_lost(self, exc: Exception | None) -> None:
            pass

        def pause_writing(self) -> None:
            pass

        def resume_writing(self) -> None:
            pass

    inherited = passed.add("dns", socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    inherited.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        async with serve("systemd:", Echoes), asyncio.timeout(5):
            client.sendto(b"ping", inherited.getsockname())
            assert await asyncio.get_running_loop().sock_recv(client, 10) == b"ping"


async def test_what_is_no_socket_is_refused_and_no_copy_of_it_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    found = Activation({}, 1)
    found.descriptors, found.problem = [(read_end, "web")], ""
    monkeypatch.setattr(systemd, "_activation", found)
    try:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match=f"systemd:web: descriptor {read_end}: Socket operation"):
            await serve("systemd:web", Echo)
        assert len(os.listdir("/proc/self/fd")) == len(before)
    finally:
        os.close(read_end)
        os.close(write_end)


async def test_sockets_that_do_not_listen_are_refused(passed: Passed) -> None:
    passed.add("web", socket.socket())
    with pytest.raises(OSError, match="systemd:web: it is no listening stream socket"):
        await serve("systemd:web", Echo)
    passed.activation.descriptors.append((999, "gone"))
    with pytest.raises(OSError, match="cannot listen on systemd:gone: descriptor 999: Bad file"):
        await serve("systemd:gone", Echo)
    with pytest.raises(ConfigError, match="there are web, gone"):
        await serve("systemd:ftp", Echo)


async def test_one_does_not_connect_to_a_service_manager() -> None:
    with pytest.raises(EndpointSyntaxError, match="one connects to"):
        await connect("systemd:web", Echo)


async def test_a_proxys_header_is_read_on_inherited_sockets(passed: Passed) -> None:
    sock = passed.add("web", socket.create_server(("127.0.0.1", 0)))
    made: list[Any] = []

    class Seen(Protocol):
        def connection_made(self, transport: Any) -> None:
            made.append(transport)

    async with serve("haproxy+systemd:web", Seen):
        client = await connect(f"haproxy+tcp://127.0.0.1:{sock.getsockname()[1]}", Collector)
        await until(lambda: made)
        assert made[0].peer == client.transport.local
        client.transport.abort()


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_activation", None)
    for name, value in {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}.items():
        monkeypatch.setenv(name, value)
    closed: list[Any] = []

    def set_inheritable(fd: int, inheritable: bool) -> None:
        closed.append((fd, inheritable))

    monkeypatch.setattr(os, "set_inheritable", set_inheritable)
    first = systemd.activation()
    assert systemd.activation() is first
    assert closed == [(3, False)]
    assert "LISTEN_FDS" not in os.environ
