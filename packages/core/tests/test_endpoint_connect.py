"""Connecting: Happy Eyeballs (RFC 8305), time-outs, cancelling, TLS, streams."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.endpoint import connect as connecting
from sennit.core.endpoint.connect import connect, connect_tcp, connect_unix, open_stream
from sennit.core.errors import ConnectError, EndpointSyntaxError, UsageError
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.testing.loopback import free_port, refusing_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

V4, V6 = socket.AF_INET, socket.AF_INET6


class Client(Protocol):
    def __init__(self) -> None:
        self.lost: Any = ()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


async def end(*clients: Any) -> None:
    for each in clients:
        each.transport.abort()
    async with asyncio.timeout(5):
        while any(each.lost == () for each in clients):
            await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


# ── a world without a network ─────────────────────────────────────────────────


class World:
    """Names and addresses as a test wants them, and what was done to them, in order.

    Attributes:
        log: (seconds since the beginning, what) of every attempt.
        names: Deferreds of the look-ups, by family.
        fates: What becomes of an attempt at a host: a number of `errno`, "hang", "connect".
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[float, str]] = []
        self.names: dict[int, Deferred[Any]] = {}
        self.fates: dict[str, Any] = {}
        self.sockets: list[Fake] = []
        self.began = 0.0
        monkeypatch.setattr(connecting, "look_up", self.look_up)
        monkeypatch.setattr(connecting, "socket", Module(self.make))

    def look_up(self, reactor: Reactor, host: str, port: int, family: int) -> Deferred[Any]:
        self.began = self.began or reactor.time()
        self.names[family] = Deferred()
        return self.names[family]

    def found(self, family: int, *hosts: str) -> None:
        rest = (80,) if family == V4 else (80, 0, 0)
        self.names[family].callback([(family, 1, 6, "", (host, *rest)) for host in hosts])

    def not_found(self, family: int) -> None:
        self.names[family].errback(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))

    def make(self, family: int = V4, kind: int = 1, *args: Any, **options: Any) -> Any:
        fake = Fake(self)
        self.sockets.append(fake)
        return fake

    @property
    def hosts(self) -> list[str]:
        return [host for _, host in self.log]


class Module:
    """The `socket` module with other sockets."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.socket = make

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)


class Fake:
    """A socket whose attempts end as the world says; a Unix pair underneath."""

    family = socket.AF_UNIX  # so that nothing of TCP is set on it

    def __init__(self, world: World) -> None:
        self.world = world
        self.ours, self.other = socket.socketpair()
        self.closed = False

    def setblocking(self, on: bool) -> None:
        self.ours.setblocking(on)

    def connect_ex(self, address: Any) -> int:
        world = self.world
        world.log.append((current_reactor().time() - world.began, address[0]))
        self.fate = world.fates.get(address[0], "hang")
        if self.fate == "hang":
            # Never writable: its buffer is full.
            try:
                while True:
                    self.ours.send(bytes(65536))
            except BlockingIOError:
                pass
        if self.fate == "now":
            return 0
        if isinstance(self.fate, int) and self.fate < 0:
            return -self.fate
        return errno.EINPROGRESS

    def getsockopt(self, *args: Any) -> int:
        return self.fate if isinstance(self.fate, int) else 0

    def fileno(self) -> int:
        return self.ours.fileno()

    def detach(self) -> int:
        self.other.close()
        return self.ours.detach()

    type = 1
    proto = 0

    def close(self) -> None:
        self.closed = True
        self.ours.close()
        self.other.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Generator[World, None, None]:
    world = World(monkeypatch)
    yield world
    for each in world.sockets:
        each.close()


def attempt(timeout: float = 30.0) -> Deferred[Any]:
    return connect_tcp(current_reactor(), Client, "host.example", 80, timeout=timeout)


async def won(waiting: Deferred[Any], world: World) -> None:
    client: Any = await waiting
    await end(client)
    assert not current_reactor().dependants


async def test_both_families_are_asked_side_by_side_ipv6_first(world: World) -> None:
    """RFC 8305 §3."""
    waiting = attempt()
    assert list(world.names) == [V6, V4]
    world.fates = dict.fromkeys(["6a", "6b", "4a", "4b"], errno.ECONNREFUSED)
    world.found(V6, "6a", "6b")
    world.found(V4, "4a", "4b")
    with pytest.raises(ConnectError) as caught:
        await waiting
    assert world.hosts == ["6a", "4a", "6b", "4b"]
    assert [each.errno for each in caught.value.attempts if isinstance(each, OSError)] == [
        errno.ECONNREFUSED
    ] * 4
    assert str(caught.value) == (
        "cannot connect to host.example:80: 6a:80: Connection refused; 4a:80: Connection refused; "
        "6b:80: Connection refused; 4b:80: Connection refused"
    )
    assert all(each.closed for each in world.sockets)


async def test_an_attempt_that_fails_is_followed_at_once(world: World) -> None:
    """The issue: the next attempt starts at once when one fails."""
    waiting = attempt()
    world.fates = {"6a": errno.ECONNREFUSED, "4a": -errno.ENETUNREACH, "6b": "connect"}
    world.found(V6, "6a", "6b")
    world.found(V4, "4a", "4b")
    await won(waiting, world)
    assert world.hosts == ["6a", "4a", "6b"]
    assert world.log[-1][0] < 0.2


async def test_an_attempt_that_is_silent_is_followed_after_a_quarter_second(world: World) -> None:
    """RFC 8305 §5; the first that stands wins, the others are closed."""
    waiting = attempt()
    world.fates = {"4a": "connect"}
    world.found(V6, "6a", "6b")
    world.found(V4, "4a")
    await won(waiting, world)
    assert world.hosts == ["6a", "4a"]
    assert 0.24 <= world.log[1][0] - world.log[0][0] < 1
    assert world.sockets[0].closed


async def test_ipv4_waits_a_moment_for_ipv6(world: World) -> None:
    """RFC 8305 §3: the resolution delay."""
    waiting = attempt()
    world.fates = {"4a": "connect", "6a": "connect"}
    world.found(V4, "4a")
    await asyncio.sleep(0)
    assert world.hosts == []
    world.found(V6, "6a")
    await won(waiting, world)
    assert world.hosts == ["6a"]


async def test_ipv4_goes_alone_when_ipv6_does_not_come(world: World) -> None:
    waiting = attempt()
    world.fates = {"4a": "connect"}
    world.found(V4, "4a")
    await won(waiting, world)
    assert world.hosts == ["4a"]
    assert 0.045 <= world.log[0][0] < 0.5
    world.not_found(V6)


async def test_ipv4_goes_at_once_when_there_is_no_ipv6(world: World) -> None:
    waiting = attempt()
    world.fates = {"4a": "connect"}
    world.found(V4, "4a")
    world.not_found(V6)
    assert world.hosts == ["4a"]
    await won(waiting, world)


async def test_addresses_that_come_late_are_tried_when_all_others_have_failed(
    world: World,
) -> None:
    waiting = attempt()
    world.fates = {"6a": errno.ECONNREFUSED, "4a": "connect"}
    world.found(V6, "6a")
    await until(lambda: world.sockets[0].closed)
    assert not waiting.called
    world.found(V4, "4a")
    await won(waiting, world)
    assert world.hosts == ["6a", "4a"]


async def test_a_name_without_any_address_says_so(world: World) -> None:
    waiting = attempt()
    world.not_found(V4)
    assert not waiting.called
    world.not_found(V6)
    with pytest.raises(ConnectError, match=r"host\.example:80: Name or service not known$"):
        await waiting
    waiting = attempt()
    world.found(V4)
    world.found(V6)
    with pytest.raises(ConnectError, match="it has no address"):
        await waiting


async def test_no_address_of_one_family_is_not_worth_a_word(world: World) -> None:
    waiting = attempt()
    world.fates = {"4a": errno.ECONNREFUSED}
    world.not_found(V6)
    world.found(V4, "4a")
    with pytest.raises(ConnectError) as caught:
        await waiting
    assert "Name or service" not in str(caught.value)
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("when", ["names", "attempts"])
async def test_the_time_is_for_all_together(when: str, world: World) -> None:
    waiting = attempt(timeout=0.05)
    if when == "attempts":
        world.found(V6, "6a")
        world.found(V4)
    with pytest.raises(ConnectError, match=r"no answer within 0.05 s") as caught:
        await waiting
    if when == "attempts":
        assert "6a:80: no answer" in str(caught.value)
        assert world.sockets[0].closed
    else:
        world.found(V6, "6a")
        world.not_found(V4)
        assert world.hosts == [], "nobody waits any more"
    assert caught.value.attempts


async def test_cancelling_closes_every_attempt(world: World) -> None:
    waiting = attempt()
    world.found(V6, "6a", "6b")
    world.found(V4, "4a")
    await until(lambda: len(world.sockets) == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert all(each.closed for each in world.sockets)
    assert current_reactor().dependants == set()


def test_a_reactor_that_stops_fails_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    errors: list[BaseException] = []

    async def main(reactor: Reactor) -> None:
        connect_tcp(reactor, Client, "host.example", 80).add_errback(errors.append)
        world.found(V6, "6a")

    reactor = Reactor()
    reactor.run(main)
    reactor.close()
    assert "the reactor stopped" in str(errors[0])
    assert world.sockets[0].closed


async def test_an_attempt_that_stands_at_once_leaves_no_timer(world: World) -> None:
    waiting = attempt()
    world.fates = {"6a": "now"}
    world.found(V6, "6a", "6b")
    world.found(V4, "4a")
    await won(waiting, world)
    assert world.hosts == ["6a"]
    assert not any(
        call.fn is not None and "_try_next" in repr(call.fn)
        for _, _, call in current_reactor()._heap
    )


# ── real connections ──────────────────────────────────────────────────────────


async def test_connecting_to_an_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = await connect(f"tcp://127.0.0.1:{port}", Client)
        peer, address = server.accept()
        with peer:
            assert client.transport.peer is not None
            assert str(client.transport.peer) == f"127.0.0.1:{port}"
            view = client.transport.get_extra_info("socket")
            assert view.getsockname() == address
            assert view.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await end(client)


async def test_connecting_to_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = await connect(f"tcp://localhost:{server.getsockname()[1]}", Client)
        server.accept()[0].close()
        await end(client)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_connecting_over_ipv6() -> None:
    with socket.create_server(("::1", 0), family=V6) as server:
        client = await connect(f"tcp://[::1]:{server.getsockname()[1]}", Client)
        server.accept()[0].close()
        await end(client)


async def test_connecting_from_a_local_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        client = await connect(url, Client, local_address=("127.0.0.9", 0))
        peer, address = server.accept()
        assert address[0] == "127.0.0.9"
        peer.close()
        await end(client)
        with pytest.raises(ConnectError, match=r"127\.0\.0\.1"):
            await connect(url, Client, local_address=("192.0.2.1", 0))
        with pytest.raises(ConnectError):
            await connect(url, Client, local_address=("127.0.0.1", 99999))


async def test_a_local_port_is_free_again_when_its_connection_has_ended() -> None:
    """FTP's servers connect from one port, again and again; TIME_WAIT keeps it a minute."""
    port = free_port("127.0.0.9")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        first = await connect(url, Client, local_address=("127.0.0.9", port))
        peer, _ = server.accept()
        first.transport.close()  # this side closes first, and so it is the one that remembers
        await until(lambda: first.lost != ())
        assert peer.recv(1) == b""
        peer.close()
        with socket.create_server(("127.0.0.1", 0)) as other:
            where = f"tcp://127.0.0.1:{other.getsockname()[1]}"
            second = await connect(where, Client, local_address=("127.0.0.9", port))
            other.accept()[0].close()
            await end(second)


async def test_a_refused_connection_names_the_address() -> None:
    with refusing_socket() as nobody:
        port = nobody.getsockname()[1]
        with pytest.raises(ConnectError) as caught:
            await connect(f"tcp://127.0.0.1:{port}", Client)
    text = f"127.0.0.1:{port}: Connection refused"
    assert str(caught.value) == f"cannot connect to 127.0.0.1:{port}: {text}"
    (cause,) = caught.value.attempts
    assert isinstance(cause, OSError)
    assert cause.errno == errno.ECONNREFUSED
    assert caught.value.__cause__ is cause


async def test_what_cannot_be_connected_to_is_refused_at_the_call() -> None:
    reactor = current_reactor()
    for port in (0, -1, 65536):
        with pytest.raises(UsageError, match="port"):
            connect_tcp(reactor, Client, "127.0.0.1", port)
    wrong: Any = 5
    with pytest.raises(TypeError, match="builds no protocols"):
        connect_tcp(reactor, wrong, "127.0.0.1", 80)
    for url, problem in (
        ("tcp://:80", "a host and a port"),
        ("tcp://host:0", "a host and a port"),
        ("fd:3", "one connects to"),
        ("serial:x", "there is no endpoint 'serial'; there are tcp, tls, unix"),
        ("tcp://host", "port is missing"),
    ):
        with pytest.raises(EndpointSyntaxError, match=problem):
            connect(url, Client)
    with pytest.raises(ConnectError, match="nosuch"):
        await connect("tcp://[fe80::1%nosuch]:80", Client)
    assert reactor.dependants == set()


async def test_a_factory_that_fails_closes_the_connection() -> None:
    class Choosy:
        def build_protocol(self, peer: Any) -> None:
            return None

    def broken() -> Client:
        raise ValueError("broken")

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match="broken"):
            await connect(url, broken)
        with pytest.raises(ConnectError, match="refused"):
            await connect(url, Choosy())
        for _ in range(2):
            peer, _ = server.accept()
            with peer:
                assert peer.recv(1) == b""


# ── Unix ──────────────────────────────────────────────────────────────────────

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@unix
async def test_connecting_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        client = await connect(f"unix:{path}", Client)
        assert str(client.transport.peer) == f"unix:{path}"
        await end(client)
    with pytest.raises(ConnectError, match="Connection refused"):
        await connect(f"unix:{path}", Client)
    with pytest.raises(ConnectError, match="No such file"):
        await connect(f"unix:{path}.not", Client)
    with pytest.raises(ConnectError, match="too long"):
        await connect_unix(current_reactor(), Client, "x" * 300)


@unix
@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="Linux' own")
async def test_connecting_in_the_abstract_space() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0sennit-connect-{os.getpid()}")
        server.listen()
        client = await connect(f"unix:@sennit-connect-{os.getpid()}", Client)
        await end(client)


@unix
async def test_a_full_queue_is_waited_for_and_not_taken_for_a_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        waiting: list[socket.socket] = []
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            if sock.connect_ex(path):
                break
        connecting_ = connect_unix(current_reactor(), Client, path)
        assert not connecting_.called
        with pytest.raises(ConnectError, match=r"no answer within 0\.05 s"):
            await connect_unix(current_reactor(), Client, path, timeout=0.05)
        for _ in range(len(waiting) - 1):
            server.accept()[0].close()
        client: Any = await connecting_
        await end(client)
        for each in waiting:
            each.close()


# ── TLS and streams ───────────────────────────────────────────────────────────


async def test_a_stream_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        async with await open_stream(url, local_address=("127.0.0.5", 0)) as stream:
            peer, address = server.accept()
            assert address[0] == "127.0.0.5"
            with peer:
                peer.sendall(b"hello\r\n")
                assert await stream.read_line() == b"hello"
                await stream.send_all(b"bye")
                peer.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(peer, 3) == b"bye"


async def test_tls_that_is_not_asked_for_by_the_url_is_a_mistake() -> None:
    pytest.importorskip("OpenSSL")
    from sennit.core.transport.tls import ClientTLS

    with pytest.raises(EndpointSyntaxError, match="write tls://"):
        connect("tcp://host:80", Client, tls=ClientTLS(verify=False))
    with pytest.raises(EndpointSyntaxError, match="server_hostname"):
        connect("tls+unix:x", Client)


async def test_the_time_covers_the_handshake_too() -> None:
    pytest.importorskip("OpenSSL")
    from sennit.core.errors import SennitError
    from sennit.core.transport.tls import ClientTLS

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tls://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SennitError, match=r"not done after|timed out|timeout"):
            await connect(url, Client, tls=ClientTLS(verify=False), timeout=0.1)
    with refusing_socket() as nobody:
        url = f"tls://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ConnectError, match="refused"):
            await connect(url, Client, tls=ClientTLS(verify=False), timeout=5)


async def test_a_look_up_runs_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from sennit.core.endpoint.names import look_up

    found: list[str] = []

    def resolve(*args: Any) -> list[Any]:
        found.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert await look_up(current_reactor(), "x", 1) == []
    assert found[0].startswith("sennit-resolver")
