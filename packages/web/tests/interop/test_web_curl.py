"""curl and raw sockets against the server: files whole and in part, TLS, pipelining, draining."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from sennit.core import ServerTLS, serve
from sennit.web import Request, Response, Site, StaticFiles

if TYPE_CHECKING:
    from sennit.core import Reactor, Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

MIB = 1024 * 1024


def curl(*arguments: str) -> bytes:
    ran = subprocess.run(
        ["curl", "-sS", "--max-time", "25", "--path-as-is", *arguments],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return ran.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<p>Hello\n")
    block = bytes(range(256)) * 4096
    with open(tmp_path / "big.bin", "wb") as file:
        for n in range(100):
            file.write(block[n:] + block[:n])
    return tmp_path


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Server]:
    files = StaticFiles(root)
    site = Site()
    site.put_child("files", files)

    @site.route("/echo", methods=("POST",))
    async def echo(request: Request) -> Response:
        return Response(request.body)

    async with serve("tcp://127.0.0.1:0", site) as found:
        yield found
    files.close()


async def test_100_mebibytes_arrive_octet_by_octet(
    server: Server, root: Path, reactor: Reactor
) -> None:
    url = f"http://127.0.0.1:{server.port}/files/big.bin"
    got = await reactor.defer_to_thread(curl, url)
    assert len(got) == 100 * MIB
    assert hashlib.sha256(got).digest() == hashlib.sha256((root / "big.bin").read_bytes()).digest()


async def test_a_range_and_a_condition(server: Server, root: Path, reactor: Reactor) -> None:
    url = f"http://127.0.0.1:{server.port}/files/"
    part = await reactor.defer_to_thread(curl, "-r", "1000000-1999999", url + "big.bin")
    assert part == (root / "big.bin").read_bytes()[1_000_000:2_000_000]
    etags = root.parent / "etag"
    await reactor.defer_to_thread(curl, "--etag-save", str(etags), url + "page.html")
    again = await reactor.defer_to_thread(
        curl, "-w", "%{http_code}", "--etag-compare", str(etags), url + "page.html"
    )
    assert again == b"304"


async def test_an_upload_comes_back(server: Server, root: Path, reactor: Reactor) -> None:
    big = root / "upload.bin"
    big.write_bytes((root / "big.bin").read_bytes()[: 5 * MIB])
    url = f"http://127.0.0.1:{server.port}/echo"
    for extra in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:")):
        got = await reactor.defer_to_thread(curl, "-X", "POST", "-T", str(big), *extra, url)
        assert got == big.read_bytes()


async def test_over_tls(root: Path, reactor: Reactor) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    chain, key, trusted = root / "cert.pem", root / "key.pem", root / "ca.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    trusted.write_bytes(authority.cert_pem.bytes())
    files = StaticFiles(root)
    tls = ServerTLS(chain, key)
    async with serve("tls://127.0.0.1:0", Site(files), tls=tls) as server:
        url = f"https://localhost:{server.port}/"
        options = ("--cacert", str(trusted), "--connect-to", f"::127.0.0.1:{server.port}")
        page = await reactor.defer_to_thread(curl, *options, url + "page.html")
        part = await reactor.defer_to_thread(curl, *options, "-r", "0-9999999", url + "big.bin")
    files.close()
    assert page == b"<p>Hello\n"
    assert part == (root / "big.bin").read_bytes()[:10_000_000]


async def test_a_download_outlives_the_servers_close(
    server: Server, root: Path, reactor: Reactor
) -> None:
    """HARDENING fault-4: what SIGTERM does to a download is nothing."""

    def begin() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        sock.sendall(b"GET /files/big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(10).startswith(b"HTTP/1.1")
        return sock

    def finish(sock: socket.socket) -> int:
        size = 0
        with sock:
            while data := sock.recv(MIB):
                size += len(data)
        return size

    sock = await reactor.defer_to_thread(begin)
    closing = server.close()
    size = await reactor.defer_to_thread(finish, sock)
    await closing
    assert size > 100 * MIB


async def test_pipelined_requests_over_a_raw_socket(server: Server, reactor: Reactor) -> None:
    """HARDENING h1-12."""

    def ask() -> bytes:
        one = b"GET /files/page.html HTTP/1.1\r\nHost: a\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
            sock.sendall((one + b"\r\n") * 99 + one + b"Connection: close\r\n\r\n")
            got = b""
            while data := sock.recv(65536):
                got += data
            return got

    got = await reactor.defer_to_thread(ask)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 100
    assert got.count(b"<p>Hello\n") == 100


async def test_a_refused_client_reads_the_answer_though_it_still_sends(
    server: Server, reactor: Reactor
) -> None:
    """RFC 9112 §9.6: no reset takes the answer away."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: <\r\n\r\n")
            for _ in range(50):
                sock.sendall(b"x" * 10_000)
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while data := sock.recv(65536):
                got += data
            return got

    assert (await reactor.defer_to_thread(ask)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
async def test_wrk_sees_no_error(server: Server, reactor: Reactor) -> None:
    def strike() -> str:
        url = f"http://127.0.0.1:{server.port}/files/page.html"
        command = ["wrk", "-t1", "-c64", "-d2s", url]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return ran.stdout

    said = await reactor.defer_to_thread(strike)
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
