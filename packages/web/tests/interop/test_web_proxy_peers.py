"""Our proxies between others: curl, wrk, h2load, websockets before; nginx, aiohttp behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core import ClientTLS, ServerTLS, serve
from sennit.core.testing.loopback import free_port
from sennit.web import Limits, Request, Response, Site, connect_websocket, http_server, text
from sennit.web.proxy.checks import HealthCheck
from sennit.web.proxy.forward import ForwardProxy
from sennit.web.proxy.health import HealthRules
from sennit.web.proxy.reverse import ReverseProxy
from sennit.web.proxy.rules import ForwardRules
from sennit.web.proxy.upstream import Upstream, Upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sennit.core import Reactor

pytestmark = pytest.mark.interop

LIMIT = 15.0
MIB = 1024 * 1024

AIOHTTP = """
import asyncio, sys
from aiohttp import WSMsgType, web

async def echo(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    async for piece in request.content.iter_any():
        await answer.write(piece)
    await answer.write_eof()
    return answer

async def ws(request):
    conversation = web.WebSocketResponse(max_msg_size=2**24)
    await conversation.prepare(request)
    async for message in conversation:
        if message.type == WSMsgType.TEXT:
            await conversation.send_str(message.data.upper())
        else:
            await conversation.send_bytes(message.data)
    return conversation

async def hello(request):
    return web.Response(text="hello " + request.headers.get("X-Forwarded-For", "nobody"))

app = web.Application(client_max_size=2**31)
app.add_routes([web.get("/", hello), web.post("/echo", echo), web.get("/ws", ws)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, handle_signals=False)
"""


def need(program: str) -> str:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def start(port: int, *command: str) -> subprocess.Popen[bytes]:
    """Begin a program, and wait until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process
    raise AssertionError(f"{command[0]} does not listen: {process.poll()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@pytest.fixture(scope="module")
def aio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An aiohttp server's port."""
    script = tmp_path_factory.mktemp("aiohttp") / "app.py"
    script.write_text(AIOHTTP)
    port = free_port()
    process = start(port, sys.executable, str(script), str(port))
    yield port
    stop(process)


class Nginx:
    """A running nginx, its ports and what it serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.secure = free_port(), free_port()
        self.socket = folder / "web.sock"
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        (folder / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
        self.trust = authority.cert_pem.bytes()
        root = folder / "root"
        root.mkdir()
        self.big = os.urandom(1024) * 32 * 1024
        (root / "big").write_bytes(self.big)
        (root / "hello").write_text("hello\n")
        (root / "folder").mkdir()
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(
            f"""
            daemon off; master_process off; worker_processes 1; pid {folder}/pid;
            error_log {folder}/error.log crit;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; default_type application/octet-stream; sendfile on;
                client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
                fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
                server {{
                    listen 127.0.0.1:{self.port}; listen unix:{self.socket};
                    listen 127.0.0.1:{self.secure} ssl http2;
                    server_name localhost; root {root};
                    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
                    keepalive_requests 1000000;
                    location = /said {{ return 200 "$scheme $server_protocol $host"; }}
                }}
            }}"""
        )
        nginx, conf = need("nginx"), str(folder / "nginx.conf")
        self.process = start(self.port, nginx, "-p", str(folder), "-c", conf)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    made = Nginx(tmp_path_factory.mktemp("nginx"))
    yield made
    stop(made.process)


def run(*command: str, check: bool = True) -> bytes:
    ran = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert not check or ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def curl(*arguments: str, check: bool = True) -> bytes:
    return run(need("curl"), "-sS", "--max-time", "25", *arguments, check=check)


# ── reverse ───────────────────────────────────────────────────────────────────


async def test_curl_fetches_from_nginx(nginx: Nginx, reactor: Reactor) -> None:
    proxy = ReverseProxy([f"http://127.0.0.1:{nginx.port}"], prefix="/files")
    async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
        url = f"http://127.0.0.1:{server.port}/files"
        got = await reactor.defer_to_thread(curl, f"{url}/big")
        assert hashlib.sha256(got).digest() == hashlib.sha256(nginx.big).digest()
        got = await reactor.defer_to_thread(curl, "-r", "1000-1999", f"{url}/big")
        assert got == nginx.big[1000:2000]
        head = await reactor.defer_to_thread(curl, "-I", f"{url}/big")
        assert b"content-length: %d\r\n" % len(nginx.big) in head.lower()
        head = await reactor.defer_to_thread(curl, "-i", f"{url}/folder")
        # Its redirection to itself is one to us.
        assert f"location: {url}/folder/\r\n".encode() in head.lower()
        head = await reactor.defer_to_thread(curl, "-i", f"{url}/absent")
        assert head.startswith(b"HTTP/1.1 404 ")


async def test_nginx_over_tls_http2_and_a_unix_socket(nginx: Nginx, reactor: Reactor) -> None:
    tls = ClientTLS(trust=nginx.trust)
    ways: list[tuple[str, dict[str, Any], bytes]] = [
        (f"https://localhost:{nginx.secure}", {"tls": tls}, b"https HTTP/1.1 127.0.0.1"),
        (f"https://localhost:{nginx.secure}", {"tls": tls, "http2": True},
         b"https HTTP/2.0 127.0.0.1"),
        ("http+unix://" + str(nginx.socket).replace("/", "%2F"), {}, b"http HTTP/1.1 127.0.0.1"),
    ]  # fmt: skip
    for upstream, options, said in ways:
        proxy = ReverseProxy([upstream], **options)
        async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
            url = f"http://127.0.0.1:{server.port}"
            assert await reactor.defer_to_thread(curl, f"{url}/said") == said
            got = await reactor.defer_to_thread(curl, f"{url}/big")
            assert hashlib.sha256(got).digest() == hashlib.sha256(nginx.big).digest()


async def test_an_upstream_whose_certificate_nobody_vouches_for_is_not_asked(
    nginx: Nginx, reactor: Reactor
) -> None:
    proxy = ReverseProxy([f"https://localhost:{nginx.secure}"])
    async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
        url = f"http://127.0.0.1:{server.port}/said"
        head = await reactor.defer_to_thread(curl, "-i", url)
        assert head.startswith(b"HTTP/1.1 502 ")


async def test_curl_uploads_to_aiohttp_and_gets_it_back(
    aio: int, reactor: Reactor, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(1024) * 8 * 1024)
    proxy = ReverseProxy([f"http://127.0.0.1:{aio}"])
    factory = http_server(proxy, limits=Limits(body=100 * MIB))
    async with proxy, serve("tcp://127.0.0.1:0", factory) as server:
        url = f"http://127.0.0.1:{server.port}/echo"
        extras: list[list[str]] = [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]]
        for extra in extras:
            got = await reactor.defer_to_thread(
                curl, *extra, "-X", "POST", "--data-binary", f"@{sent}", url
            )
            assert got == sent.read_bytes()
        told = await reactor.defer_to_thread(curl, f"http://127.0.0.1:{server.port}/")
        assert told == b"hello 127.0.0.1"


async def test_a_websocket_of_others_goes_through(aio: int) -> None:
    from websockets.asyncio.client import connect

    proxy = ReverseProxy([f"http://127.0.0.1:{aio}"])
    upstream = next(iter(proxy.upstreams))
    async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
        async with connect(f"ws://127.0.0.1:{server.port}/ws", max_size=2**24) as ws:
            await ws.send("hello")
            assert await ws.recv() == "HELLO"
            big = os.urandom(4 * MIB)
            await ws.send(big)
            assert await ws.recv() == big
            assert upstream.open == 1
        async with asyncio.timeout(5):
            while upstream.open:
                await asyncio.sleep(0.01)


async def test_a_websocket_over_http2_goes_on_over_http1(aio: int) -> None:
    """RFC 8441 to us, RFC 6455 to aiohttp."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    tls = ServerTLS(
        certificate=b"".join(each.bytes() for each in issued.cert_chain_pems),
        key=issued.private_key_pem.bytes(),
        alpn=["h2", "http/1.1"],
    )
    proxy = ReverseProxy([f"http://127.0.0.1:{aio}"])
    upstream = next(iter(proxy.upstreams))
    trust = ClientTLS(trust=authority.cert_pem.bytes())
    async with proxy, serve("tls://127.0.0.1:0", http_server(proxy), tls=tls) as server:
        url = f"wss://localhost:{server.port}/ws"
        async with connect_websocket(url, http2=True, tls=trust) as ws:
            await ws.send("hello")
            assert await ws.receive() == "HELLO"
            big = os.urandom(MIB // 2)
            await ws.send(big)
            assert await ws.receive() == big
        async with asyncio.timeout(5):
            while upstream.open:
                await asyncio.sleep(0.01)


async def test_wrk_and_h2load_get_nothing_but_answers(nginx: Nginx, reactor: Reactor) -> None:
    wrk, h2load = need("wrk"), need("h2load")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    tls = ServerTLS(
        certificate=b"".join(each.bytes() for each in issued.cert_chain_pems),
        key=issued.private_key_pem.bytes(),
        alpn=["h2", "http/1.1"],
    )
    proxy = ReverseProxy([f"http://127.0.0.1:{nginx.port}"])
    factory = http_server(proxy)
    async with (
        proxy,
        serve("tcp://127.0.0.1:0", factory) as server,
        serve("tls://127.0.0.1:0", factory, tls=tls) as secure,
    ):
        url = f"http://127.0.0.1:{server.port}/hello"
        told = await reactor.defer_to_thread(run, wrk, "-t1", "-c16", "-d1", url)
        assert b"Non-2xx" not in told
        assert b"Socket errors" not in told
        assert int(re.findall(rb"(\d+) requests in", told)[0]) > 100
        url = f"https://localhost:{secure.port}/hello"
        told = await reactor.defer_to_thread(run, h2load, "-n500", "-c2", "-m10", url)
        assert b"500 succeeded, 0 failed, 0 errored" in told
        assert b"2xx, 0 3xx, 0 4xx, 0 5xx" in told


async def test_an_upstream_that_is_killed_under_load_costs_no_request(reactor: Reactor) -> None:
    """What may be repeated is: with wrk's GETs no answer is an error."""
    wrk = need("wrk")
    script = (
        "import sys; from sennit.core import run, serve; from sennit.web import http_server, text\n"
        "hello = http_server(lambda request: text('hello'))\n"
        "async def main(reactor):\n"
        "    async with serve(f'tcp://127.0.0.1:{sys.argv[1]}', hello) as server:\n"
        "        await server.wait_closed()\n"
        "run(main)\n"
    )
    ports = [free_port(), free_port()]
    processes = [start(port, sys.executable, "-c", script, str(port)) for port in ports]
    upstreams = Upstreams(
        [f"http://127.0.0.1:{port}" for port in ports], health=HealthRules(fall=3, pause=60)
    )
    proxy = ReverseProxy(upstreams)
    try:
        async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
            url = f"http://127.0.0.1:{server.port}/"
            load = reactor.defer_to_thread(run, wrk, "-t1", "-c16", "-d2", url)
            await asyncio.sleep(1)
            processes[0].kill()
            told = await load
            assert b"Non-2xx" not in told
            assert b"Socket errors" not in told
            killed, _ = upstreams
            assert killed.failed >= 1
            assert not killed.health.may_try(asyncio.get_running_loop().time())
    finally:
        for each in processes:
            stop(each)


async def test_checks_notice_that_nginx_has_gone_and_come_back(
    tmp_path: Path, reactor: Reactor
) -> None:
    server_of_files = Nginx(tmp_path)
    check = HealthCheck("/hello", interval=0.05, timeout=1, content=b"hello")
    rules = HealthRules(fall=2, rise=2)
    upstreams = Upstreams([Upstream(f"http://127.0.0.1:{server_of_files.port}", health=rules)])
    upstream = next(iter(upstreams))
    clock = asyncio.get_running_loop().time

    async def until(well: bool) -> None:
        async with asyncio.timeout(LIMIT):
            while upstream.health.may_try(clock()) is not well:
                await asyncio.sleep(0.01)

    try:
        async with ReverseProxy(upstreams, check=check):
            await asyncio.sleep(0.2)
            assert upstream.health.may_try(clock())
            stop(server_of_files.process)
            await until(False)
            server_of_files.process = start(
                server_of_files.port, need("nginx"), "-p", str(tmp_path), "-c",
                str(tmp_path / "nginx.conf"),
            )  # fmt: skip
            await until(True)
    finally:
        stop(server_of_files.process)


async def test_memory_stays_while_much_passes(reactor: Reactor) -> None:
    """HARDENING fault-15: 200 MiB to a reader that takes its time."""
    piece = bytes(64 * 1024)
    count = 3200

    async def source(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(count):
                yield piece

        return Response(pieces())

    async with serve("tcp://127.0.0.1:0", http_server(source)) as behind:
        proxy = ReverseProxy([f"http://127.0.0.1:{behind.port}"])
        async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
            before = _memory()
            most = 0
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.3)
            came = 0
            while data := await reader.read(MIB):
                came += len(data)
                most = max(most, _memory())
            writer.close()
            assert came > count * len(piece)
            assert most - before < 32 * MIB


def _memory() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * 4096


# ── forward ───────────────────────────────────────────────────────────────────


async def test_curl_goes_through_with_requests_and_tunnels(nginx: Nginx, reactor: Reactor) -> None:
    rules = ForwardRules(allow=["loopback"], connect_ports=["1024-65535"])
    proxy = ForwardProxy(rules)
    authority = nginx.folder / "authority.pem"
    authority.write_bytes(nginx.trust)
    async with proxy, serve("tcp://127.0.0.1:0", http_server(proxy)) as server:
        through = ("-x", f"http://127.0.0.1:{server.port}")
        plain = f"http://localhost:{nginx.port}"
        told = await reactor.defer_to_thread(curl, *through, f"{plain}/said")
        assert told == b"http HTTP/1.1 localhost"
        got = await reactor.defer_to_thread(curl, *through, f"{plain}/big")
        assert hashlib.sha256(got).digest() == hashlib.sha256(nginx.big).digest()
        secure = f"https://localhost:{nginx.secure}"
        ca = ("--cacert", str(authority))
        told = await reactor.defer_to_thread(curl, *through, *ca, f"{secure}/said")
        assert told == b"https HTTP/2.0 localhost"
        got = await reactor.defer_to_thread(curl, *through, *ca, f"{secure}/big")
        assert hashlib.sha256(got).digest() == hashlib.sha256(nginx.big).digest()
        told = await reactor.defer_to_thread(curl, *through, "-p", f"{plain}/said")
        assert told == b"http HTTP/1.1 localhost"
    assert proxy.tunnels == 0


async def test_curl_is_told_no(nginx: Nginx, reactor: Reactor) -> None:
    async with serve("tcp://127.0.0.1:0", http_server(ForwardProxy())) as server:
        through = ["-x", f"http://127.0.0.1:{server.port}", "-o", "/dev/null"]
        through += ["-w", "%{http_code} %{http_connect}"]
        for place, code in (
            (f"http://127.0.0.1:{nginx.port}/", b"403 000"),
            ("http://169.254.169.254/", b"403 000"),
            ("http://[::ffff:127.0.0.1]/", b"403 000"),
            ("https://169.254.169.254/", b"000 403"),
            (f"https://localhost:{nginx.secure}/", b"000 403"),
        ):
            told = await reactor.defer_to_thread(curl, *through, place, check=False)
            assert told == code, place


async def test_a_site_and_a_proxy_side_by_side(reactor: Reactor, nginx: Nginx) -> None:
    site = Site()
    proxy = ReverseProxy([f"http://127.0.0.1:{nginx.port}"], prefix="/files")
    site.put_child("files", proxy)

    @site.route("/")
    def here(request: Request) -> Response:
        return text("here")

    async with proxy, serve("tcp://127.0.0.1:0", site) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert await reactor.defer_to_thread(curl, f"{url}/") == b"here"
        assert await reactor.defer_to_thread(curl, f"{url}/files/hello") == b"hello\n"
