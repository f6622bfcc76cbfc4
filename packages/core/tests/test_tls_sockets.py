"""TLS over real sockets, on the reactor: resets at any point, files, starting and ending."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core import adapt, open_stream, serve
from sennit.core.deferred import Deferred
from sennit.core.interfaces import ITLSTransport
from sennit.core.policy.timeouts import with_timeouts
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.transport.binding import tcp_sockets
from sennit.core.transport.listening import Listener
from sennit.core.transport.stream import SocketTransport
from sennit.core.transport.tls import (
    ClientTLS,
    ServerTLS,
    TLSTransport,
    client_protocol,
    server_factory,
    server_protocol,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
LEAF = CA.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
CHAIN = b"".join(each.bytes() for each in LEAF.cert_chain_pems)
SERVER = ServerTLS(CHAIN, LEAF.private_key_pem.bytes())
TRUST = CA.cert_pem.bytes()


class Echo(Protocol):
    made = 0
    lost = 0

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        type(self).made += 1

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).lost += 1


@pytest.fixture
def echo() -> type[Echo]:
    """A class of its own for each test, with counters of its own."""
    return type("CountingEcho", (Echo,), {})


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    return context


def connect(
    port: int, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    return (context or client_context()).wrap_socket(
        raw, server_hostname="localhost", session=session
    )


def serve_while(
    reactor: Reactor, factory: Any, body: Callable[[int], None], tls: ServerTLS = SERVER
) -> None:
    """Serve with TLS on a port while `body(port)` runs in a thread."""
    failures: list[BaseException] = []

    def main(reactor: Reactor) -> None:
        listener = Listener(reactor, tcp_sockets("127.0.0.1", 0), server_factory(factory, tls))

        def run() -> None:
            try:
                body(listener.port)
            except BaseException as error:
                failures.append(error)
            finally:
                reactor.call_from_thread(reactor.stop)

        threading.Thread(target=run, daemon=True).start()

    reactor.run(main)
    if failures:
        raise failures[0]


def through(sock: ssl.SSLSocket, data: bytes) -> bytes:
    """Send, and read as much meanwhile: by turns, since two threads must not use one session."""
    got, sent = bytearray(), 0
    sock.setblocking(False)
    while len(got) < len(data):
        ready = select.select([sock], [sock] if sent < len(data) else [], [], 20)
        assert any(ready), f"nothing moves after {sent} octets out and {len(got)} back"
        try:
            if sent < len(data):
                sent += sock.send(data[sent : sent + 65536])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            while piece := sock.recv(65536):
                got += piece
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
    sock.settimeout(20)
    return bytes(got)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_standard_librarys_client_is_served(reactor: Reactor, echo: type[Echo]) -> None:
    sent = os.urandom(2_000_000)

    def body(port: int) -> None:
        with connect(port) as sock:
            assert sock.version() == "TLSv1.3"
            assert through(sock, sent) == sent
            sock.unwrap()

    serve_while(reactor, echo, body)
    assert (echo.made, echo.lost) == (1, 1)


def test_a_factory_worn_around_another_is_served(reactor: Reactor, echo: type[Echo]) -> None:
    """A wearing factory shows the inner one's attributes: it is not itself the protocol."""

    def body(port: int) -> None:
        with connect(port) as sock:
            sock.sendall(b"idle or not")
            assert sock.recv(100) == b"idle or not"

    serve_while(reactor, with_timeouts(echo, idle=30), body)
    assert (echo.made, echo.lost) == (1, 1)


def test_the_standard_librarys_client_resumes_its_sessions(
    reactor: Reactor, echo: type[Echo]
) -> None:
    def body(port: int) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context()
            context.maximum_version = version
            session: ssl.SSLSession | None = None
            reused: list[bool | None] = []
            for _ in range(3):
                with connect(port, context, session) as sock:
                    sock.sendall(b"x")
                    assert sock.recv(1) == b"x"
                    session = sock.session
                    reused.append(sock.session_reused)
            assert reused == [False, True, True]

    serve_while(reactor, echo, body)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_reset_or_an_end_at_any_point_of_the_handshake_harms_nobody(
    how: str, reactor: Reactor, echo: type[Echo]
) -> None:
    """HARDENING fault-7: SO_LINGER 0 after every so many octets of what a client sends."""

    class Cutting:
        """A client whose octets end after `limit` of them."""

        def __init__(self, port: int, limit: int) -> None:
            self.raw = socket.create_connection(("127.0.0.1", port), timeout=20)
            self.left = limit

        def talk(self) -> bool:
            """Whether the script was longer than the limit."""
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            done = False
            while True:
                try:
                    if not done:
                        tls.do_handshake()
                        done = True
                        tls.write(b"hello")
                    elif tls.read(5) == b"hello":
                        tls.write(b"good-bye")
                        self.flush(outgoing)
                        return self.left <= 0
                except ssl.SSLWantReadError:
                    pass
                if not self.flush(outgoing):
                    return True
                incoming.write(self.raw.recv(65536))

        def flush(self, outgoing: ssl.MemoryBIO) -> bool:
            data = outgoing.read()[: self.left]
            self.left -= len(data)
            self.raw.sendall(data)
            return self.left > 0

        def end(self) -> None:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.raw.close()

    context = client_context()
    before = 0

    def body(port: int) -> None:
        nonlocal before
        before = open_descriptors()
        limit = 1
        while True:
            client = Cutting(port, limit)
            cut = client.talk()
            client.end()
            if not cut:
                break
            limit += 7 if limit > 16 else 1
        # The server is still there, for everybody else.
        last = Cutting(port, 1 << 20)
        assert not last.talk()
        last.end()

    serve_while(reactor, echo, body)
    assert echo.made > 10
    assert echo.lost == echo.made
    assert open_descriptors() <= before


def test_a_socket_pair_can_talk_tls(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    got = bytearray()

    class Client(Protocol):
        def data_received(self, data: bytes) -> None:
            got.extend(data)
            if len(got) == 1_000_000:
                self.transport.close()

    async def main(reactor: Reactor) -> None:
        gone: Deferred[None] = Deferred()

        class Server(Echo):
            def connection_lost(self, exc: Exception | None) -> None:
                gone.callback(None)

        lower, connected = client_protocol(Client(), ClientTLS(trust=TRUST), "localhost")
        SocketTransport(reactor, theirs, server_protocol(Server(), SERVER)).start()
        SocketTransport(reactor, ours, lower).start()
        client: Any = await connected
        assert isinstance(client.transport, TLSTransport)
        client.transport.write(bytes(1_000_000))
        await gone

    reactor.run(main)
    assert len(got) == 1_000_000


def test_a_file_is_sent_under_tls_byte_for_byte(reactor: Reactor, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    path = tmp_path / "file"
    path.write_bytes(content)

    class Sender(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            file = path.open("rb")
            transport.write(b"head")
            transport.sendfile(file).add_finally(file.close)
            transport.write(b"tail")
            transport.close()

    def body(port: int) -> None:
        with connect(port) as sock:
            got = bytearray()
            while data := sock.recv(65536):
                got += data
        assert got == b"head" + content + b"tail"

    serve_while(reactor, Sender, body)


def test_certificates_change_while_connections_stand(
    reactor: Reactor, tmp_path: Path, echo: type[Echo]
) -> None:
    """HARDENING app-4, on a real port."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(CHAIN)
    key.write_bytes(LEAF.private_key_pem.bytes())
    tls = ServerTLS(cert, key)
    renewed = CA.issue_cert("localhost", "new.example", key_type=trustme.KeyType.ECDSA)

    def names(sock: ssl.SSLSocket) -> list[str]:
        shown: Any = sock.getpeercert()
        return [name for _, name in shown["subjectAltName"]]

    def body(port: int) -> None:
        with connect(port) as old:
            assert names(old) == ["localhost"]
            cert.write_bytes(b"".join(each.bytes() for each in renewed.cert_chain_pems))
            key.write_bytes(renewed.private_key_pem.bytes())
            tls.reload()
            with connect(port) as new:
                assert names(new) == ["localhost", "new.example"]
                for sock in (old, new):
                    sock.sendall(b"still here")
                    assert sock.recv(100) == b"still here"

    serve_while(reactor, echo, body, tls)


def test_an_idle_connection_costs_at_most_70_kib(reactor: Reactor, echo: type[Echo]) -> None:
    """The library's record buffers are given back between records."""
    count = 40

    def resident() -> int:
        with open("/proc/self/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))

    def body(port: int) -> None:
        context = client_context()

        def idle() -> socket.socket:
            # The client keeps nothing but its socket, so that the server is what is weighed.
            sock = connect(port, context)
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            kept = socket.socket(fileno=os.dup(sock.fileno()))
            sock.detach()
            return kept

        warm = [idle() for _ in range(10)]
        before = resident()
        many = [idle() for _ in range(count)]
        spent = (resident() - before) / count
        for sock in warm + many:
            sock.close()
        assert spent <= 70, f"{spent:.1f} KiB"

    serve_while(reactor, echo, body)


@pytest.mark.parametrize(
    ("own", "agreed"), [((), "h2"), (("http/1.1",), "http/1.1")], ids=["factory", "certificates"]
)
def test_a_factory_that_says_what_it_speaks_need_not_be_told(
    own: tuple[str, ...], agreed: str, echo: type[Echo], reactor: Reactor
) -> None:
    """RFC 7301: who serves the certificates may say it instead, and then that counts."""

    class Factory:
        alpn = ("h2", "http/1.1")

        def build_protocol(self, peer: object) -> Echo:
            return echo()

    async def main(reactor: Reactor) -> object:
        tls = ServerTLS(CHAIN, LEAF.private_key_pem.bytes(), alpn=own)
        trust = ClientTLS(trust=TRUST, alpn=["h2", "http/1.1"])
        async with serve("tls://127.0.0.1:0", Factory(), tls=tls) as server:
            stream = await open_stream(f"tls://localhost:{server.port}", tls=trust)
            async with stream:
                return adapt(ITLSTransport, stream.transport).alpn_protocol

    assert reactor.run(main) == agreed
