"""HTTP/2 with strangers: curl, nghttp and h2load ask us; nghttpd and nginx answer our client."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from sennit.core import ClientTLS, ServerTLS, serve
from sennit.core.testing.loopback import free_port
from sennit.web import Request, Response, Site, StaticFiles, text
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool

if TYPE_CHECKING:
    from sennit.core import Reactor, Server

pytestmark = pytest.mark.interop

MIB = 1024 * 1024


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def root(tmp_path: Path, authority: trustme.CA) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "page.html").write_text("<p>Hello\n")
    block = bytes(range(256)) * 4096
    (tmp_path / "files" / "big.bin").write_bytes(block * 10)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(tmp_path / "cert.pem", append=True)
    return tmp_path


def site_of(root: Path) -> Site:
    site = Site()
    site.put_child("files", StaticFiles(root / "files"))

    @site.route("/")
    def hello(request: Request) -> Response:
        return text(f"Hello over {request.version}")

    @site.route("/echo", methods=("POST",))
    async def echo(request: Request) -> Response:
        return Response(request.body)

    @site.route("/extras")
    def extras(request: Request) -> Response:
        request.early_hints("</a.css>; rel=preload")
        return Response(b"content", trailers=lambda: [(b"x-sum", b"42")])

    @site.route("/slowly")
    async def slowly(request: Request) -> Response:
        await asyncio.sleep(0.01)
        return text("Hello")

    return site


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Server]:
    async with serve("tcp://127.0.0.1:0", site_of(root)) as found:
        yield found


@pytest.fixture
async def secure(root: Path) -> AsyncIterator[Server]:
    tls = ServerTLS(root / "cert.pem", root / "key.pem")
    async with serve("tls://127.0.0.1:0", site_of(root), tls=tls) as found:
        yield found


# ── our server ────────────────────────────────────────────────────────────────


@needs("curl")
async def test_curl_agrees_on_http2_over_tls(secure: Server, root: Path, reactor: Reactor) -> None:
    url = f"https://localhost:{secure.port}"
    resolve = f"localhost:{secure.port}:127.0.0.1"

    def ask(*more: str) -> str:
        common = ("curl", "-sS", "--max-time", "25", "--cacert", str(root / "ca.pem"))
        return run(*common, "--resolve", resolve, *more)

    said = await reactor.defer_to_thread(ask, "-w", " %{http_version}", url + "/")
    assert said == "Hello over 2 2"
    out = str(root / "got.bin")
    await reactor.defer_to_thread(ask, "-o", out, url + "/files/big.bin")
    assert Path(out).read_bytes() == (root / "files" / "big.bin").read_bytes()
    older = await reactor.defer_to_thread(ask, "--http1.1", "-w", " %{http_version}", url + "/")
    assert older == "Hello over 1.1 1.1"


@needs("curl")
async def test_curl_with_prior_knowledge_uploads_and_downloads(
    server: Server, root: Path, reactor: Reactor
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    big = root / "files" / "big.bin"
    common = ("curl", "-sS", "--max-time", "25", "--http2-prior-knowledge")

    out = str(root / "got.bin")
    await reactor.defer_to_thread(
        run, *common, "--data-binary", f"@{big}", "-o", out, url + "/echo"
    )
    assert Path(out).read_bytes() == big.read_bytes()
    heads = await reactor.defer_to_thread(run, *common, "-i", url + "/extras")
    assert "HTTP/2 103" in heads
    assert "link: </a.css>; rel=preload" in heads
    assert "x-sum: 42" in heads
    ranged = await reactor.defer_to_thread(
        run, *common, "-r", "5-9", "-w", "%{http_code}", url + "/files/page.html"
    )
    assert ranged.endswith("206")


@needs("nghttp")
async def test_nghttp_finds_nothing_to_complain_about(server: Server, reactor: Reactor) -> None:
    url = f"http://127.0.0.1:{server.port}"

    said = await reactor.defer_to_thread(
        run, "nghttp", "-nv", f"{url}/", f"{url}/extras", f"{url}/files/page.html"
    )

    assert said.count(":status: 200") == 3
    assert "ENABLE_CONNECT_PROTOCOL" in said or "UNKNOWN(0x08):1" in said
    assert "x-sum: 42" in said
    assert "error_code=PROTOCOL_ERROR" not in said
    assert "RST_STREAM" not in said


@needs("h2load")
@pytest.mark.parametrize("path", ["/", "/slowly", "/files/big.bin"])
async def test_h2load_sees_no_error(server: Server, reactor: Reactor, path: str) -> None:
    count = "40" if path.startswith("/files") else "3000"

    said = await reactor.defer_to_thread(
        run, "h2load", "-n", count, "-c", "8", "-m", "32",
        f"http://127.0.0.1:{server.port}{path}",
    )  # fmt: skip

    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in said


@needs("h2load")
async def test_h2load_over_tls_sees_no_error(secure: Server, reactor: Reactor) -> None:
    said = await reactor.defer_to_thread(
        run, "h2load", "-n", "2000", "-c", "4", "-m", "32", f"https://127.0.0.1:{secure.port}/"
    )

    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "Application protocol: h2" in said


@needs("h2load")
async def test_draining_under_load_breaks_no_request(reactor: Reactor) -> None:
    """HARDENING fault-4: every request that was read is answered, and the client has the answer.

    Those that h2load would have sent after the good-bye it counts as failed; the server
    has seen none of them.
    """
    seen = 0
    site = Site()

    @site.route("/slowly")
    async def slowly(request: Request) -> Response:
        nonlocal seen
        seen += 1
        await asyncio.sleep(0.01)
        return text("Hello")

    async with serve("tcp://127.0.0.1:0", site) as server:
        command = ["h2load", "-D", "2", "-c", "8", "-m", "32"]
        command.append(f"http://127.0.0.1:{server.port}/slowly")
        load = reactor.defer_to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
        )
        while seen < 1000:
            await asyncio.sleep(0.01)
        await server.close()
        ran = await load

    found = re.search(r"(\d+) succeeded", ran.stdout)
    assert found is not None, ran.stdout + ran.stderr
    assert int(found[1]) == seen


# ── our client ────────────────────────────────────────────────────────────────


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("it does not listen")


@pytest.fixture
def nghttpd(root: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(root / "files"), "--echo-upload",
         "--trailer", "x-sum: 7", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


NGINX = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p;
    fastcgi_temp_path {root}/f; scgi_temp_path {root}/s; uwsgi_temp_path {root}/u;
    keepalive_requests 20;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
        root {root}/files; client_max_body_size 64m;
        location /post {{ return 200 "posted"; }}
    }}
}}
"""


@pytest.fixture
def nginx(root: Path) -> Iterator[int]:
    port = free_port()
    conf = root / "nginx.conf"
    conf.write_text(NGINX.format(root=root, port=port))
    process = subprocess.Popen(
        ["nginx", "-e", str(root / "error.log"), "-p", str(root), "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


@needs("nghttpd")
async def test_our_client_fetches_from_nghttpd(nghttpd: int, root: Path) -> None:
    base = f"http://127.0.0.1:{nghttpd}"
    big = (root / "files" / "big.bin").read_bytes()
    async with Pool(http2="always") as pool:
        response = await pool.send(OutgoingRequest("GET", base + "/page.html"))
        assert (response.status, response.version) == (200, b"2")
        assert await response.read() == b"<p>Hello\n"
        assert (b"x-sum", b"7") in response.trailers
        bodies = await asyncio.gather(*[_digest(pool, base + "/big.bin") for _ in range(4)])
        assert set(bodies) == {hashlib.sha256(big).digest()}

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, 2 * MIB, 10_000):
                yield big[at : min(at + 10_000, 2 * MIB)]

        response = await pool.send(OutgoingRequest("POST", base + "/", [], pieces()))
        assert await response.read() == big[: 2 * MIB]
        missing = await pool.send(OutgoingRequest("GET", base + "/none"))
        assert missing.status == 404
        await missing.read()


async def _digest(pool: Pool, url: str) -> bytes:
    response = await pool.send(OutgoingRequest("GET", url))
    digest = hashlib.sha256()
    async for chunk in response.body:
        digest.update(chunk)
    return digest.digest()


@needs("nginx")
async def test_our_client_fetches_from_nginx_and_outlives_its_goodbyes(
    nginx: int, root: Path
) -> None:
    """Every 20 requests nginx says GOAWAY: none of the others may be lost."""
    base = f"https://127.0.0.1:{nginx}"
    async with Pool(http2=True, tls=ClientTLS(trust=root / "ca.pem")) as pool:

        async def one(number: int) -> tuple[int, bytes, bytes]:
            response = await pool.send(OutgoingRequest("GET", base + "/page.html"))
            return response.status, response.version, await response.read()

        for _ in range(5):
            answers = await asyncio.gather(*[one(number) for number in range(30)])
            assert set(answers) == {(200, b"2", b"<p>Hello\n")}
        big = hashlib.sha256((root / "files" / "big.bin").read_bytes()).digest()
        assert await _digest(pool, base + "/big.bin") == big
        posted = await pool.send(OutgoingRequest("POST", base + "/post", [], bytes(MIB)))
        assert (posted.status, await posted.read()) == (200, b"posted")
