"""A SOCKS server and connections through proxies, on the loopback interface."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.auth.limits import LoginLimits
from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.socks import SocksRules, SocksServer, _reply_to
from sennit.core.endpoint.socks_engine import Reply, decode_datagram, encode_datagram
from sennit.core.endpoint.tunnel import Proxy
from sennit.core.errors import (
    ConnectError,
    EndpointSyntaxError,
    LoginUnavailableError,
    TLSError,
    UsageError,
)
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.testing.clock import Clock
from sennit.core.testing.loopback import refusing_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK = "tcp://127.0.0.1:0"
OPEN = SocksRules(allow=["loopback"])


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write(b"end")
        self.transport.write_eof()
        return True


class Collector(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.eof = False
        self.lost: Any = ()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool | None:
        self.eof = True
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def via(server: Any) -> str:
    return f"socks5://127.0.0.1:{server.port}"


# ── tunnels ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
@pytest.mark.parametrize("form", ["via", "url"])
async def test_octets_go_both_ways_and_ends_go_one_way(host: str, form: str) -> None:
    shown = f"[{host}]" if ":" in host else host
    proxy = SocksServer(OPEN)
    async with (
        serve(f"tcp://{shown if host != 'localhost' else '127.0.0.1'}:0", Echo) as target,
        serve(LOOPBACK, proxy) as server,
    ):
        place = f"{shown}:{target.port}"
        if form == "via":
            client = await connect(f"tcp://{place}", Collector, via=via(server))
        else:
            url = f"socks5+tcp://{place}?proxy=127.0.0.1:{server.port}"
            client = await connect(url, Collector)
        assert proxy.tunnels == 1
        client.transport.write(b"hello")
        await until(lambda: client.data == b"hello")
        client.transport.write_eof()
        await until(lambda: client.data == b"helloend")
        await until(lambda: client.lost is None)
        await until(lambda: not server.connections and not proxy.tunnels)


async def test_what_a_client_sends_ahead_arrives() -> None:
    async with serve(LOOPBACK, Echo) as target, serve(LOOPBACK, SocksServer(OPEN)) as server:
        stream = await open_stream(server.urls[0])
        port = target.port.to_bytes(2, "big")
        await stream.send_all(b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\0\0\1" + port + b"ahead")
        assert await stream.read_exactly(2) == b"\x05\x00"
        assert (await stream.read_exactly(10))[:2] == b"\x05\x00"
        assert await stream.read_exactly(5) == b"ahead"
        await stream.aclose()


async def test_a_slow_reader_holds_the_other_side_back() -> None:
    """Memory stays bounded: what is not read here is not read there."""
    sent = 0

    class Flood(Protocol):
        paused = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.more()

        def more(self) -> None:
            nonlocal sent
            while not self.paused and sent < 64 << 20:
                self.transport.write(bytes(65536))
                sent += 65536

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            self.more()

    async with serve(LOOPBACK, Flood) as target, serve(LOOPBACK, SocksServer(OPEN)) as server:
        client = await connect(target.urls[0], Collector, via=via(server))
        client.transport.pause_reading()
        last = -1
        quiet = 0
        async with asyncio.timeout(10):
            while quiet < 200:
                await asyncio.sleep(0)
                quiet = quiet + 1 if sent == last else 0
                last = sent
        assert sent < 40 << 20
        (transport,) = server.connections
        assert transport.get_write_buffer_size() < 1 << 20
        client.transport.abort()
        await until(lambda: not server.connections and not target.connections)


@pytest.mark.parametrize("who", ["client", "target"])
async def test_a_reset_goes_to_the_other_side(who: str) -> None:
    ends: list[Collector] = []

    def make() -> Collector:
        ends.append(Collector())
        return ends[-1]

    async with serve(LOOPBACK, make) as target, serve(LOOPBACK, SocksServer(OPEN)) as server:
        client = await connect(target.urls[0], Collector, via=via(server))
        await until(lambda: ends)
        first, second = (client, ends[0]) if who == "client" else (ends[0], client)
        first.transport.abort()
        await until(lambda: second.lost != ())
        assert second.lost is not None
        await until(lambda: not server.connections)


async def test_a_tunnel_on_which_nothing_moves_is_cut() -> None:
    proxy = SocksServer(OPEN, idle=0.02)
    async with serve(LOOPBACK, Echo) as target, serve(LOOPBACK, proxy) as server:
        client = await connect(target.urls[0], Collector, via=via(server))
        await until(lambda: client.lost != ())
        await until(lambda: not proxy.tunnels and not target.connections)


async def test_a_client_that_says_nothing_has_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(LOOPBACK, SocksServer(OPEN, handshake_timeout=0.02)) as server:
        client = await connect(server.urls[0], Collector)
        client.transport.write(b"\x05")
        await until(lambda: client.lost != ())


# ── rules ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fc00::1]",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "[64:ff9b::7f00:1]",
    ],
)
async def test_targets_that_are_not_public_must_be_allowed(host: str) -> None:
    """An open door to the network behind it is what abusers look for."""
    async with serve(LOOPBACK, SocksServer()) as server:
        with pytest.raises(ConnectError, match=r"through socks5://127.*: not allowed"):
            await connect(f"tcp://{host}:80", Collector, via=via(server))


async def test_ports_are_ruled_too() -> None:
    async with serve(LOOPBACK, SocksServer(SocksRules(allow=["any"]))) as server:
        with pytest.raises(ConnectError, match="not allowed"):
            await connect("tcp://127.0.0.1:25", Collector, via=via(server))
    rules = SocksRules(ports=["80", "1024-2000"], deny_ports=["1500"])
    assert [each for each in (79, 80, 1024, 1500, 2000, 2001) if rules.permits_port(each)] == [
        80,
        1024,
        2000,
    ]
    for wrong in ("", "0", "http", "5-4", "65536", "-1"):
        with pytest.raises(UsageError, match="is no port"):
            SocksRules(ports=[wrong])


def test_who_is_not_a_client_is_not_served() -> None:
    server = SocksServer()
    from sennit.core.address import InternetAddress, UnixAddress

    assert server.build_protocol(InternetAddress("192.0.2.1", 5)) is None
    assert server.build_protocol(InternetAddress("127.0.0.1", 5)) is not None
    assert server.build_protocol(UnixAddress("")) is not None
    wide = SocksServer(SocksRules(clients=["192.0.2.0/24"]))
    assert wide.build_protocol(InternetAddress("192.0.2.1", 5)) is not None
    assert wide.build_protocol(InternetAddress("127.0.0.1", 5)) is None


async def test_a_target_that_refuses_is_told_as_such() -> None:
    with refusing_socket() as nobody:
        port = nobody.getsockname()[1]
        async with serve(LOOPBACK, SocksServer(OPEN)) as server:
            with pytest.raises(ConnectError, match="connection refused"):
                await connect(f"tcp://127.0.0.1:{port}", Collector, via=via(server))


@pytest.mark.parametrize(
    ("attempts", "reply"),
    [
        ([OSError(errno.ECONNREFUSED, "")], Reply.CONNECTION_REFUSED),
        ([OSError(errno.ENETUNREACH, "")], Reply.NETWORK_UNREACHABLE),
        ([OSError(errno.EHOSTUNREACH, "")], Reply.HOST_UNREACHABLE),
        ([OSError(errno.ETIMEDOUT, "")], Reply.HOST_UNREACHABLE),
        ([socket.gaierror(-2, "")], Reply.HOST_UNREACHABLE),
        ([OSError(errno.EACCES, "")], Reply.NOT_ALLOWED),
        ([OSError(errno.EACCES, ""), OSError(errno.ECONNREFUSED, "")], Reply.CONNECTION_REFUSED),
        ([OSError(errno.EMFILE, "")], Reply.GENERAL_FAILURE),
        ([], Reply.GENERAL_FAILURE),
    ],
)
def test_each_failure_has_its_reply(attempts: list[BaseException], reply: Reply) -> None:
    """RFC 1928 §6."""
    assert _reply_to(ConnectError("no", attempts)) is reply


# ── logging in ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("later", [False, True])
async def test_logins_are_checked(later: bool, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 1929; nothing of a password is logged or shown."""

    def check(name: str, password: str) -> Any:
        good = (name, password) == ("alice", "s3cret")
        if not later:
            return good
        waiting: Deferred[bool] = Deferred()
        current_reactor().call_soon(waiting.callback, good)
        return waiting

    async with (
        serve(LOOPBACK, Echo) as target,
        serve(LOOPBACK, SocksServer(OPEN, check=check)) as server,
    ):
        proxy = Proxy(via(server), "alice", "s3cret")
        assert "s3cret" not in repr(proxy)
        client = await connect(target.urls[0], Collector, via=proxy)
        client.transport.write(b"x")
        await until(lambda: client.data == b"x")
        client.transport.abort()
        for wrong in (Proxy(via(server), "alice", "other"), via(server)):
            with pytest.raises(ConnectError, match=r"login") as caught:
                await connect(target.urls[0], Collector, via=wrong)
            assert "other" not in str(caught.value)
    assert "s3cret" not in caplog.text


async def test_a_check_that_breaks_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    def check(name: str, password: str) -> bool:
        raise RuntimeError("no database")

    async with serve(LOOPBACK, SocksServer(OPEN, check=check)) as server:
        with pytest.raises(ConnectError, match="does not accept the login"):
            await connect("tcp://127.0.0.1:1", Collector, via=Proxy(via(server), "a", "b"))
    assert "while a SOCKS login was checked" in caplog.text


async def test_a_login_is_found_where_a_url_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "login").write_text("alice:s3:cret\n")
    monkeypatch.setenv("PROXY_LOGIN", "alice:s3:cret")
    seen: list[tuple[str, str]] = []

    def check(*login: str) -> bool:
        seen.append((login[0], login[1]))
        return True

    async with (
        serve(LOOPBACK, Echo) as target,
        serve(LOOPBACK, SocksServer(OPEN, check=check)) as server,
    ):
        base = f"socks5+{target.urls[0]}?proxy=127.0.0.1:{server.port}&login="
        for where in ("env:PROXY_LOGIN", f"file:{tmp_path}/login"):
            client = await connect(base + where, Collector)
            client.transport.abort()
        assert seen == [("alice", "s3:cret")] * 2
        monkeypatch.setenv("PROXY_LOGIN", "alice")
        for where, problem in (
            ("env:NOBODY_SET_THIS", "no variable NOBODY_SET_THIS"),
            ("env:PROXY_LOGIN", "no user:password"),
            ("file:/nowhere", "No such file"),
            ("alice:secret", "env:NAME or file:PATH"),
        ):
            with pytest.raises(EndpointSyntaxError, match=problem):
                await connect(base + where, Collector)


# ── what else there is ────────────────────────────────────────────────────────


async def test_tls_inside_a_tunnel_is_verified_against_the_targets_name() -> None:
    trustme = pytest.importorskip("trustme")
    from sennit.core.transport.tls import ClientTLS, ServerTLS

    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    own = ServerTLS(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
    trust = ClientTLS(trust=ca.cert_pem.bytes())
    async with (
        serve("tls://127.0.0.1:0", Echo, tls=own) as target,
        serve(LOOPBACK, SocksServer(OPEN)) as server,
        serve("tls://127.0.0.1:0", SocksServer(OPEN), tls=own) as hidden,
    ):
        url = f"tls://localhost:{target.port}"
        # The proxy itself over TLS, too, and one behind the other.
        over_tls = Proxy(f"socks5+tls://localhost:{hidden.port}", tls=trust)
        ways: list[Any] = [via(server), over_tls, [via(server), over_tls]]
        for way in ways:
            client = await connect(url, Collector, tls=trust, via=way)
            client.transport.write(b"hello")
            await until(lambda: client.data == b"hello")  # noqa: B023 - it is awaited here
            client.transport.abort()
        with pytest.raises(TLSError):
            await connect(f"tls://127.0.0.1:{target.port}", Collector, tls=trust, via=via(server))
        await until(lambda: not server.connections and not hidden.connections)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"via": "http://a:1"}, r"a proxy is socks5://HOST:PORT or http-connect://"),
        ({"via": "socks5://user:secret@a:1"}, "does not belong into a URL"),
        ({"via": "socks5://a"}, "the port is missing"),
        ({"via": "socks5://:80"}, "a host and a port"),
        ({"via": "socks5+fd:3"}, "reached by tcp"),
        ({"via": []}, "at least one proxy"),
        ({"url": "unix:x", "via": "socks5://a:1"}, "via a proxy to tcp"),
        ({"url": "socks5+tcp://a:1"}, r"say which proxy: \?proxy="),
        ({"url": "socks5+unix:x"}, r"there is no 'socks5\+unix'"),
        ({"url": "socks5+tcp://a:1?proxy=b:2", "via": "socks5://a:1"}, "via a proxy to tcp"),
    ],
)
async def test_what_is_no_way_is_told_at_the_call(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        await connect(options.pop("url", "tcp://127.0.0.1:1"), Collector, **options)
    assert "secret" not in str(caught.value)


async def test_one_does_not_listen_at_a_proxy() -> None:
    with pytest.raises(EndpointSyntaxError, match="one listens elsewhere"):
        await serve("socks5+tcp://127.0.0.1:0?proxy=a:1", Collector)


@pytest.mark.parametrize("kind", ["socks5", "http-connect"])
@pytest.mark.parametrize("how", ["silent", "closes", "nonsense"])
async def test_a_proxy_that_does_not_answer_well_fails_the_connection(kind: str, how: str) -> None:
    class Bad(Protocol):
        def connection_made(self, transport: Any) -> None:
            if how == "closes":
                transport.close()
            elif how == "nonsense":
                transport.write(b"220 mail.example ready\r\n")

    async with serve(LOOPBACK, Bad) as server:
        with pytest.raises(ConnectError, match=f"through {kind}") as caught:
            await connect(
                "tcp://127.0.0.1:1",
                Collector,
                via=f"{kind}://127.0.0.1:{server.port}",
                # The way to the proxy itself is part of it.
                timeout=0.3 if how == "silent" else 5,
            )
        words = {"silent": "no answer in time", "closes": "end", "nonsense": "RFC"}
        assert words[how] in str(caught.value)
        await until(lambda: not server.connections)


async def test_cancelling_ends_the_tunnel_that_is_being_made() -> None:
    async with serve(LOOPBACK, Protocol) as server:
        waiting = connect("tcp://127.0.0.1:1", Collector, via=via(server))
        await until(lambda: server.connections)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: not server.connections)


async def test_a_tunnel_through_an_http_proxy() -> None:
    """RFC 9110 §9.3.6: what comes with the answer is the tunnel's first octets."""

    class Answers(Protocol):
        def data_received(self, data: bytes) -> None:
            if data.startswith(b"CONNECT example.org:80 "):
                self.transport.write(b"HTTP/1.1 200 ok\r\n\r\nwelcome ")
            else:
                self.transport.write(data)

    async with serve(LOOPBACK, Answers) as server:
        place = f"127.0.0.1:{server.port}"
        ways: list[tuple[str, str | None]] = [
            ("tcp://example.org:80", f"http-connect://{place}"),
            (f"http-connect+tcp://example.org:80?proxy={place}", None),
            (f"http-connect+tcp://example.org:80?proxy={server.urls[0]}", None),
        ]
        for url, way in ways:
            client = await connect(url, Collector, via=way)
            client.transport.write(b"x")
            await until(lambda: client.data == b"welcome x")  # noqa: B023 - it is awaited here
            client.transport.abort()


# ── BIND, UDP ASSOCIATE ───────────────────────────────────────────────────────


async def ask(server: Any, command: int, host: bytes, port: int) -> tuple[Any, bytes]:
    stream = await open_stream(server.urls[0])
    request = bytes((5, 1, 0, 5, command, 0, 1)) + host + port.to_bytes(2, "big")
    await stream.send_all(request)
    assert await stream.read_exactly(2) == b"\x05\x00"
    return stream, await stream.read_exactly(10)


@pytest.mark.parametrize("expected", [b"\x7f\0\0\1", b"\x7f\0\0\2"])
async def test_bind_takes_one_connection_from_whom_it_expects(expected: bytes) -> None:
    """RFC 1928 §4, §6."""
    async with serve(LOOPBACK, SocksServer(OPEN, bind=True)) as server:
        stream, reply = await ask(server, 2, expected, 0)
        assert reply[:8] == b"\x05\x00\x00\x01\x7f\0\0\1"
        port = int.from_bytes(reply[8:], "big")
        peer = await connect(f"tcp://127.0.0.1:{port}", Collector)
        if expected[-1] == 1:
            second = await stream.read_exactly(10)
            assert second[:8] == b"\x05\x00\x00\x01\x7f\0\0\1"
            await stream.send_all(b"hello")
            await until(lambda: peer.data == b"hello")
            peer.transport.write(b"back")
            assert await stream.read_exactly(4) == b"back"
            peer.transport.abort()
        else:
            await until(lambda: peer.lost != ())
        await stream.aclose()
        await until(lambda: not server.connections)


async def test_bind_lets_nobody_in_whom_the_rules_shut_out() -> None:
    """A client that expects a host of the guarded networks is not thereby let talk to it."""
    async with serve(LOOPBACK, SocksServer(bind=True)) as server:
        stream, reply = await ask(server, 2, b"\x7f\0\0\1", 0)
        assert reply[1] == Reply.SUCCEEDED
        port = int.from_bytes(reply[8:], "big")
        peer = await connect(f"tcp://127.0.0.1:{port}", Collector)
        await until(lambda: peer.lost != ())
        await stream.aclose()
        await until(lambda: not server.connections)


async def test_a_client_on_a_unix_socket_is_told_that_it_has_no_datagrams(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no address that datagrams could come from; that is no fault of ours."""
    async with serve(f"unix:{tmp_path}/s", SocksServer()) as server:
        stream, reply = await ask(server, 3, bytes(4), 0)
        assert reply[1] == Reply.COMMAND_NOT_SUPPORTED
        await stream.aclose()
    assert not caplog.records


async def test_a_login_that_nobody_can_check_now_is_refused_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever sends more logins than are hashed at a time would fill the log with them."""

    def check(name: str, password: str) -> bool:
        raise LoginUnavailableError("too many logins at a time")

    async with serve(LOOPBACK, SocksServer(OPEN, check=check)) as server:
        with pytest.raises(ConnectError, match="does not accept the login"):
            await open_stream("tcp://127.0.0.1:9", via=Proxy(via(server), "a", "b"))
    assert not caplog.records


async def test_guesses_of_passwords_are_slowed_and_counted_by_address() -> None:
    """Defaults 13: a second for each, and after a number of them no more is heard."""
    checked: list[str] = []

    def check(name: str, password: str) -> bool:
        checked.append(password)
        return password == "right"

    clock = Clock()
    limits = LoginLimits(per_address=2, count_loopback=True, clock=clock)
    async with serve(LOOPBACK, SocksServer(OPEN, check=check, logins=limits)) as server:

        async def guess(password: bytes) -> tuple[Any, Any]:
            stream = await open_stream(server.urls[0])
            await stream.send_all(b"\5\1\2\1\1a" + bytes((len(password),)) + password)
            assert await stream.read_exactly(2) == b"\x05\x02"
            return stream, asyncio.ensure_future(stream.read_exactly(2))

        stream, answer = await guess(b"right")
        assert await answer == b"\x01\x00"
        await stream.aclose()
        for each in (b"one", b"\xff"):
            stream, answer = await guess(each)
            await until(lambda: clock.pending)
            assert not answer.done()
            clock.advance(1.0)
            assert await answer == b"\x01\x01"
            await stream.aclose()
        stream, answer = await guess(b"right")
        assert await answer == b"\x01\x01"
        await stream.aclose()
        assert checked == ["right", "one"]


async def test_what_is_not_offered_is_refused() -> None:
    async with serve(LOOPBACK, SocksServer(OPEN, udp=False)) as server:
        for command in (2, 3, 9):
            stream, reply = await ask(server, command, bytes(4), 0)
            assert reply[1] == Reply.COMMAND_NOT_SUPPORTED
            assert await stream.receive_some() == b""
            await stream.aclose()


async def test_datagrams_are_relayed_for_the_client_alone() -> None:
    """RFC 1928 §7."""
    loop = asyncio.get_running_loop()
    proxy = SocksServer(OPEN)
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    client, target, stranger = socks
    try:
        for each in socks:
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        async with serve(LOOPBACK, proxy) as server:
            stream, reply = await ask(server, 3, bytes(4), 0)
            assert reply[:8] == b"\x05\x00\x00\x01\x7f\0\0\1"
            relay = ("127.0.0.1", int.from_bytes(reply[8:], "big"))
            assert proxy.tunnels == 1
            port = target.getsockname()[1]
            for host in ("127.0.0.1", "localhost"):
                client.sendto(encode_datagram(host, port, b"ping"), relay)
                async with asyncio.timeout(5):
                    data, source = await loop.sock_recvfrom(target, 100)
                assert data == b"ping"
                # Who was not sent to cannot get in, and other clients cannot get out.
                stranger.sendto(b"evil", source)
                stranger.sendto(encode_datagram("127.0.0.1", port, b"evil"), relay)
                client.sendto(b"nonsense", relay)
                target.sendto(b"pong", source)
                async with asyncio.timeout(5):
                    back = await loop.sock_recv(client, 100)
                assert decode_datagram(back) == ("127.0.0.1", port, False, b"pong")
            with pytest.raises(BlockingIOError):
                target.recv(100)
            await stream.aclose()
            await until(lambda: not proxy.tunnels)
    finally:
        for each in socks:
            each.close()
