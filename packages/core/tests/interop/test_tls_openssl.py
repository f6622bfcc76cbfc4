"""TLS with programs of other people: OpenSSL's s_client and s_server, curl."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.interfaces import ITLSTransport, adapt
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.testing.loopback import free_port
from sennit.core.transport.binding import tcp_sockets
from sennit.core.transport.listening import Listener
from sennit.core.transport.stream import SocketTransport
from sennit.core.transport.tls import ClientTLS, ServerTLS, client_protocol, server_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport

pytestmark = pytest.mark.interop


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


class Files:
    """An authority and a certificate on disk."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", "127.0.0.1")
        client = ca.issue_cert("client@example.org", common_name="a client")
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        self.client = folder / "client.pem"
        ca.cert_pem.write_to_path(str(self.ca))
        self.cert.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(self.key))
        self.client.write_bytes(client.private_key_and_cert_chain_pem.bytes())
        self.folder = folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


class Web(Protocol):
    """The least of HTTP, closing after each answer."""

    body = b"x" * 300_000

    def data_received(self, data: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(self.body)}\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.write(self.body)
        self.transport.close()


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def serve_while(
    reactor: Reactor, factory: Any, tls: ServerTLS, body: Callable[[int], None]
) -> None:
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


@pytest.mark.parametrize("version", ["--tlsv1.2", "--tlsv1.3"])
def test_curl_gets_a_page(version: str, files: Files, reactor: Reactor) -> None:
    curl = need("curl")
    results: list[subprocess.CompletedProcess[bytes]] = []

    def body(port: int) -> None:
        command = [curl, "-sS", version, "--tls-max", version[6:], "--cacert", str(files.ca)]
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{port}/"
            results.append(subprocess.run([*command, url], capture_output=True, timeout=20))

    serve_while(reactor, Web, ServerTLS(files.cert, files.key, alpn=["http/1.1"]), body)
    for result in results:
        assert result.returncode == 0, result.stderr
        assert result.stdout == Web.body


def test_curl_refuses_an_authority_it_does_not_know(files: Files, reactor: Reactor) -> None:
    curl = need("curl")
    codes: list[int] = []

    def body(port: int) -> None:
        command = [curl, "-sS", f"https://localhost:{port}/"]
        codes.append(subprocess.run(command, capture_output=True, timeout=20).returncode)

    serve_while(reactor, Web, ServerTLS(files.cert, files.key), body)
    assert codes == [60]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_resumes_its_session_and_shows_a_certificate(
    version: str, files: Files, reactor: Reactor
) -> None:
    openssl = need("openssl")
    outputs: list[str] = []
    tls = ServerTLS(
        files.cert, files.key, client_ca=files.ca, require_client_certificate=True, alpn=["imap"]
    )

    def body(port: int) -> None:
        saved = str(files.folder / f"session{version}")
        for use in (["-sess_out", saved], ["-sess_in", saved]):
            with subprocess.Popen(
                [
                    openssl,
                    "s_client",
                    "-connect",
                    f"127.0.0.1:{port}",
                    "-servername",
                    "localhost",
                    "-verify_hostname",
                    "localhost",
                    "-verify_return_error",
                    "-CAfile",
                    str(files.ca),
                    "-cert",
                    str(files.client),
                    "-alpn",
                    "imap",
                    version,
                    *use,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(b"hello there\n")
                process.stdin.flush()
                read = b""
                # Only when the echo is there have the tickets come.
                while b"hello there" not in read:
                    piece = os.read(process.stdout.fileno(), 65536)
                    assert piece, read
                    read += piece
                rest, _ = process.communicate(timeout=20)
                outputs.append((read + rest).decode())

    serve_while(reactor, Echo, tls, body)
    assert "ALPN protocol: imap" in outputs[0]
    assert "New, TLSv1" in outputs[0]
    assert "Reused, TLSv1" in outputs[1]


def test_s_client_is_refused_a_renegotiation(files: Files, reactor: Reactor) -> None:
    """RFC 5746: `R` on a line asks for one."""
    openssl = need("openssl")
    outputs: list[bytes] = []

    def body(port: int) -> None:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"R\n")
            process.stdin.flush()
            # It ends by itself: what it asked for was refused, not left unanswered.
            outputs.append(process.stdout.read())
            process.stdin.close()
            process.wait(20)

    serve_while(reactor, Echo, ServerTLS(files.cert, files.key), body)
    assert b"RENEGOTIATING" in outputs[0]
    assert b"no renegotiation" in outputs[0]


def test_keys_are_updated_when_s_client_asks(files: Files, reactor: Reactor) -> None:
    """RFC 8446 §4.6.3: `K` on a line asks for new keys both ways."""
    openssl = need("openssl")
    outputs: list[bytes] = []

    def body(port: int) -> None:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            read = b""
            for line in (b"before\n", b"K\n", b"after\n"):
                process.stdin.write(line)
                process.stdin.flush()
                awaited = b"KEYUPDATE" if line == b"K\n" else line
                while awaited not in read:
                    piece = os.read(process.stdout.fileno(), 65536)
                    assert piece, read
                    read += piece
            process.communicate(timeout=20)
            outputs.append(read)

    serve_while(reactor, Echo, ServerTLS(files.cert, files.key), body)
    assert b"after\n" in outputs[0]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_our_client_gets_a_page_from_s_server(version: str, files: Files, reactor: Reactor) -> None:
    openssl = need("openssl")
    port = free_port()
    server = subprocess.Popen(
        [
            openssl,
            "s_server",
            "-accept",
            f"127.0.0.1:{port}",
            "-cert",
            str(files.cert),
            "-cert_chain",
            str(files.cert),
            "-key",
            str(files.key),
            "-Verify",
            "1",
            "-verify_return_error",
            "-CAfile",
            str(files.ca),
            version,
            "-www",
            "-quiet",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    tls = ClientTLS(trust=files.ca, certificate=files.client)

    class Getter(Protocol):
        def __init__(self, done: Any) -> None:
            self.received = b""
            self.done = done
            self.reused = False

        def connection_made(self, transport: IStreamTransport) -> None:
            super().connection_made(transport)
            self.reused = adapt(ITLSTransport, transport).session_reused
            transport.write(b"GET / HTTP/1.0\r\n\r\n")

        def data_received(self, data: bytes) -> None:
            self.received += data

        def connection_lost(self, exc: Exception | None) -> None:
            self.done.callback(None)

    async def main(reactor: Reactor) -> list[Getter]:
        from sennit.core.deferred import Deferred

        getters: list[Getter] = []
        for _ in range(2):
            sock = connect(port)
            gone: Deferred[None] = Deferred()
            getters.append(Getter(gone))
            lower, connected = client_protocol(getters[-1], tls, "localhost")
            SocketTransport(reactor, sock, lower).start()
            await connected
            await gone
        return getters

    try:
        first, second = reactor.run(main)
    finally:
        server.kill()
        server.wait(10)
    assert b"HTTP/1.0 200 ok" in first.received
    assert not first.reused
    assert second.reused


def connect(port: int) -> socket.socket:
    """A socket to a program that may need a moment to start."""
    deadline = time.monotonic() + 10
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            sock.setblocking(False)
            return sock
