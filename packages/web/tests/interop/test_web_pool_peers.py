"""The client's pool with servers and proxies of other people, on loops of other people too."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.engine import FilePart
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.core.reactor.base import Reactor, run
from sennit.core.testing.loopback import free_port
from sennit.core.transport.tls import ClientTLS
from sennit.web.client.limits import ClientTimeouts, PoolLimits
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.client.proxies import Proxy
from sennit.web.errors import UnansweredError, WebProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    Main = Callable[[], Coroutine[Any, Any, Any]]

pytestmark = pytest.mark.interop

LIMIT = 15.0
MIB = 1024 * 1024


def need(program: str) -> str:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


class Programs:
    """Programs that run while the tests do; ended by their process ids."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, where: int | Path, *command: str) -> None:
        """Start one, and wait until it listens at a port or a Unix socket."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and process.poll() is None:
            family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
            with socket.socket(family) as probe:
                try:
                    probe.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
                except OSError:
                    time.sleep(0.02)
                else:
                    return
        raise AssertionError(f"{command[0]} does not listen at {where}: {process.poll()}")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.stop()


@pytest.fixture
def running() -> Iterator[Programs]:
    """Programs of one test."""
    made = Programs()
    yield made
    made.stop()


class Web:
    """A running nginx, and what it was given to serve."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.port, self.secure, self.upload = free_port(), free_port(), free_port()
        self.socket = folder / "web.sock"
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        (folder / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
        self.trust = authority.cert_pem.bytes()
        self.big = os.urandom(1024) * 8192
        self.root.mkdir()
        (self.root / "small").write_text("hello\n")
        (self.root / "big").write_bytes(self.big)
        (self.root / "page.html").write_text("<p>hello\n" * 1000)
        folder.chmod(0o755)

    def config(self) -> str:
        folder = self.folder
        return f"""
            daemon off; master_process off; worker_processes 1; pid {folder}/pid;
            error_log {folder}/error.log crit;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; default_type application/octet-stream; types {{ text/html html; }}
                client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
                fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
                client_max_body_size 3m;
                server {{
                    listen 127.0.0.1:{self.port}; listen unix:{self.socket};
                    listen 127.0.0.1:{self.secure} ssl http2;
                    server_name localhost; root {self.root};
                    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
                    keepalive_timeout 65; gzip on; gzip_types text/html;
                    location /few {{ keepalive_requests 2; return 200 "$connection_requests"; }}
                    location /echo {{ proxy_pass http://127.0.0.1:{self.upload}; }}
                    location /close {{ keepalive_timeout 0; return 200 "bye"; }}
                    location /nothing {{ return 444; }}
                }}
            }}"""


@pytest.fixture(scope="module")
def web(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Web:
    nginx = need("nginx")
    made = Web(tmp_path_factory.mktemp("nginx"))
    config = made.folder / "nginx.conf"
    config.write_text(made.config())
    programs.start(made.port, nginx, "-p", str(made.folder), "-c", str(config))
    return made


async def fetch(pool: Pool, url: str, method: str = "GET", **more: Any) -> Any:
    """The response, and its content."""
    response = await pool.send(OutgoingRequest(method, url, **more))
    return response, await response.read()


# ── nginx ─────────────────────────────────────────────────────────────────────


async def test_files_come_whole_in_part_and_not_at_all(web: Web) -> None:
    url = f"http://127.0.0.1:{web.port}"
    async with Pool() as pool:
        response, content = await fetch(pool, f"{url}/big")
        assert (response.status, response.length) == (200, len(web.big))
        assert content == web.big
        response, content = await fetch(pool, f"{url}/big", headers=[(b"range", b"bytes=5-9999")])
        assert (response.status, content) == (206, web.big[5:10_000])
        response, content = await fetch(pool, f"{url}/big", "HEAD")
        assert (response.status, response.length, content) == (200, len(web.big), b"")
        etag = response.header(b"etag")
        response, content = await fetch(pool, f"{url}/big", headers=[(b"if-none-match", etag)])
        assert (response.status, content) == (304, b"")
        response, _ = await fetch(pool, f"{url}/absent")
        assert response.status == 404


async def test_content_in_chunks(web: Web) -> None:
    """nginx compresses as it goes, and so does not know the length."""
    import gzip

    async with Pool() as pool:
        url = f"http://127.0.0.1:{web.port}/page.html"
        response, content = await fetch(pool, url, headers=[(b"accept-encoding", b"gzip")])
        assert response.header(b"transfer-encoding") == b"chunked"
        assert gzip.decompress(content) == (web.root / "page.html").read_bytes()
        response, content = await fetch(pool, url)
        assert response.length == len(content)


async def test_connections_are_kept_as_long_as_the_server_keeps_them(web: Web) -> None:
    async with Pool() as pool:
        url = f"http://127.0.0.1:{web.port}/few"
        seen = [(await fetch(pool, url))[1] for _ in range(6)]
        assert seen == [b"1", b"2", b"1", b"2", b"1", b"2"]
        for _ in range(2):
            response, content = await fetch(pool, f"http://127.0.0.1:{web.port}/close")
            assert (response.header(b"connection"), content) == (b"close", b"bye")
        with pytest.raises(UnansweredError):
            await fetch(pool, f"http://127.0.0.1:{web.port}/nothing")


async def test_many_at_once_over_few_connections(web: Web) -> None:
    async with Pool(limits=PoolLimits(per_host=4)) as pool:
        url = f"http://127.0.0.1:{web.port}/small"
        found = await asyncio.gather(*(fetch(pool, url) for _ in range(200)))
        assert [content for _, content in found] == [b"hello\n"] * 200


@pytest.mark.parametrize(("http2", "version"), [(True, b"2"), (False, b"1.1")])
async def test_either_version_over_tls(web: Web, http2: bool, version: bytes) -> None:
    async with Pool(tls=ClientTLS(trust=web.trust), http2=http2) as pool:
        url = f"https://localhost:{web.secure}"
        found = await asyncio.gather(
            *(fetch(pool, f"{url}/small") for _ in range(20)), fetch(pool, f"{url}/big")
        )
        assert all(response.version == version for response, _ in found)
        assert [content for _, content in found[:-1]] == [b"hello\n"] * 20
        assert found[-1][1] == web.big


@pytest.mark.parametrize("url", ["http://any.example/small", "http+unix://{}/small"])
async def test_at_a_unix_socket(web: Web, url: str) -> None:
    path = str(web.socket)
    named = url.format(path.replace("/", "%2F"))
    async with Pool(unix=path if named == url else None) as pool:
        response, content = await fetch(pool, named)
        assert (response.status, content) == (200, b"hello\n")


async def test_too_much_is_refused_before_it_is_sent(web: Web) -> None:
    """nginx answers 413 to the head: nothing of the content leaves."""
    sent = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += MIB
            yield bytes(MIB)

    async with Pool() as pool:
        url = f"http://127.0.0.1:{web.port}/echo"
        response, _ = await fetch(pool, url, "POST", body=content(), length=64 * MIB)
        assert response.status == 413
        assert sent == 0


# ── an aiohttp server ─────────────────────────────────────────────────────────


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """Says back what it was sent; counts connections by the port of their client."""
    web = pytest.importorskip("aiohttp.web")

    async def answer(request: Any) -> Any:
        if request.path == "/slow":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(3):
                await response.write(b"piece ")
                await asyncio.sleep(0.01)
            return response
        if request.path == "/digest":
            digest = hashlib.sha256()
            size = 0
            async for piece in request.content.iter_any():
                digest.update(piece)
                size += len(piece)
            return web.json_response({"size": size, "digest": digest.hexdigest()})
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=64 * MIB)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_content_in_every_form_arrives_at_aiohttp(echo: str, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    path = tmp_path / "data"
    path.write_bytes(data)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    async with Pool() as pool:
        with open(path, "rb") as file:
            for body, length in (
                (data, None),
                (data[:100], None),
                (b"", None),
                (FilePart(file, 0, len(data)), None),
                (FilePart(file, 7, 100), None),
                (pieces(), None),
                (pieces(), len(data)),
            ):
                request = OutgoingRequest("POST", f"{echo}/", body=body, length=length)
                response = await pool.send(request)
                content = await response.read()
                expected = data
                if isinstance(body, bytes):
                    expected = body
                elif isinstance(body, FilePart):
                    expected = data[body.offset : body.offset + body.length]
                assert content == expected
        _, content = await fetch(pool, f"{echo}/slow")
        assert content == b"piece piece piece "


async def test_a_large_upload_is_taken_as_it_is_read(echo: str) -> None:
    """Fault 15: 48 MiB, and never more than a piece of it here."""
    block = os.urandom(64 * 1024)
    digest = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(48 * 16):
            digest.update(block)
            yield block

    async with Pool() as pool:
        _, content = await fetch(pool, f"{echo}/digest", "PUT", body=pieces())
        assert digest.hexdigest().encode() in content


# ── nghttpd ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("secure", [True, False])
async def test_http2_with_nghttpd(web: Web, running: Programs, secure: bool) -> None:
    nghttpd = need("nghttpd")
    port = free_port()
    options = ["-d", str(web.root), "-a", "127.0.0.1"]
    pair = [str(web.folder / "key.pem"), str(web.folder / "cert.pem")]
    if not secure:
        options.append("--no-tls")
        pair = []
    running.start(port, nghttpd, *options, str(port), *pair)
    tls = ClientTLS(trust=web.trust) if secure else None
    async with Pool(tls=tls, http2=True if secure else "always") as pool:
        url = f"{'https' if secure else 'http'}://localhost:{port}"
        found = await asyncio.gather(*(fetch(pool, f"{url}/big") for _ in range(5)))
        for response, content in found:
            assert response.version == b"2"
            assert content == web.big


# ── proxies ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("login", ["", "alice:s3cret@"])
async def test_tinyproxy_forwards_and_tunnels(
    web: Web, running: Programs, tmp_path: Path, login: str
) -> None:
    tinyproxy = need("tinyproxy")
    port = free_port()
    config = tmp_path / "tinyproxy.conf"
    asks = "BasicAuth alice s3cret\n" if login else ""
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n{asks}"
    )
    running.start(port, tinyproxy, "-d", "-c", str(config))
    trust = ClientTLS(trust=web.trust)
    async with Pool(proxy=f"http://{login}127.0.0.1:{port}", tls=trust) as pool:
        for _ in range(2):
            response, content = await fetch(pool, f"http://127.0.0.1:{web.port}/big")
            assert (response.status, content) == (200, web.big)
            assert response.header(b"via") is not None
        response, content = await fetch(pool, f"https://localhost:{web.secure}/big")
        assert (response.version, content) == (b"2", web.big)
    if login:
        async with Pool(proxy=f"http://127.0.0.1:{port}", tls=trust) as pool:
            response, _ = await fetch(pool, f"http://127.0.0.1:{web.port}/small")
            assert response.status == 407
            with pytest.raises(ConnectError, match="407"):
                await fetch(pool, f"https://localhost:{web.secure}/small")


@pytest.mark.parametrize("login", [None, ("alice", "s3cret")])
async def test_microsocks_tunnels(
    web: Web, running: Programs, login: tuple[str, str] | None
) -> None:
    microsocks = need("microsocks")
    port = free_port()
    options = ["-u", login[0], "-P", login[1]] if login else []
    running.start(port, microsocks, "-i", "127.0.0.1", "-p", str(port), *options)
    proxy = Proxy(f"socks5://127.0.0.1:{port}", *(login or ()))
    async with Pool(proxy=proxy, tls=ClientTLS(trust=web.trust)) as pool:
        response, content = await fetch(pool, f"http://127.0.0.1:{web.port}/big")
        assert (response.status, content) == (200, web.big)
        response, content = await fetch(pool, f"https://localhost:{web.secure}/big")
        assert (response.version, content) == (b"2", web.big)


async def test_a_proxy_that_is_reached_by_tls(web: Web, running: Programs, tmp_path: Path) -> None:
    """haproxy takes TLS off in front of tinyproxy; inside the tunnel there is TLS once more."""
    haproxy, tinyproxy = need("haproxy"), need("tinyproxy")
    port, inner = free_port(), free_port()
    config = tmp_path / "tinyproxy.conf"
    config.write_text(f"Port {inner}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\n")
    running.start(inner, tinyproxy, "-d", "-c", str(config))
    pem = tmp_path / "both.pem"
    pem.write_bytes((web.folder / "cert.pem").read_bytes() + (web.folder / "key.pem").read_bytes())
    front = tmp_path / "haproxy.cfg"
    front.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"listen front\n bind 127.0.0.1:{port} ssl crt {pem}\n server a 127.0.0.1:{inner}\n"
    )
    running.start(port, haproxy, "-f", str(front))
    trust = ClientTLS(trust=web.trust)
    proxy = Proxy(f"https://localhost:{port}", tls=trust)
    async with Pool(proxy=proxy, tls=trust) as pool:
        response, content = await fetch(pool, f"http://127.0.0.1:{web.port}/big")
        assert (response.status, content) == (200, web.big)
        response, content = await fetch(pool, f"https://localhost:{web.secure}/big")
        assert (response.version, content) == (b"2", web.big)


# ── other people's loops ──────────────────────────────────────────────────────


def on_sennit(main: Main) -> None:
    async def begin(_: Reactor) -> None:
        await main()

    run(begin)


def on_uvloop(main: Main) -> None:
    pytest.importorskip("uvloop").run(main())


def on_asyncio(main: Main) -> None:
    asyncio.run(main())


@pytest.mark.parametrize("drive", [on_sennit, on_asyncio, on_uvloop])
def test_it_runs_on_whatever_loop_there_is(web: Web, drive: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with Pool(tls=ClientTLS(trust=web.trust), limits=PoolLimits(per_host=3)) as pool:
            urls = [
                f"http://127.0.0.1:{web.port}/small",
                f"http://127.0.0.1:{web.port}/big",
                f"https://localhost:{web.secure}/big",
            ]
            asked = [asyncio.ensure_future(fetch(pool, urls[n % 3])) for n in range(30)]
            asked[4].cancel()
            asked[20].cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            for n, each in enumerate(done):
                if n in (4, 20):
                    assert isinstance(each, asyncio.CancelledError)
                else:
                    assert not isinstance(each, BaseException), each
                    assert each[1] == (b"hello\n" if n % 3 == 0 else web.big)

    drive(main)


# ── faults ────────────────────────────────────────────────────────────────────

SCRIPT = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_a_reset_after_any_octet_is_one_error_and_frees_the_socket() -> None:
    """Fault 7, with the kernel's own resets."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    upto = 0

    async def serve_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SCRIPT[:upto])
        sock = writer.get_extra_info("socket")
        linger = b"\x01\0\0\0\0\0\0\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await asyncio.sleep(0.002)
        writer.transport.abort()

    server = await asyncio.start_server(serve_some, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with Pool() as pool:
        before = descriptors()
        for at in range(len(SCRIPT)):
            upto = at
            with pytest.raises((ConnectionLost, WebProtocolError)):
                await fetch(pool, url)
        await asyncio.sleep(0.05)
        assert descriptors() <= before + 1
    server.close()
    await server.wait_closed()


async def test_a_refusal_in_the_middle_of_an_upload_is_heard() -> None:
    """The server answers, and closes with octets unread: its kernel resets the connection."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        writer.close()

    async def content() -> AsyncIterator[bytes]:
        while True:
            yield bytes(64 * 1024)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with Pool() as pool:
        for body in (bytes(100), bytes(8 * MIB), content()):
            response, said = await fetch(pool, url, "POST", body=body, expect_continue=False)
            assert (response.status, said) == (413, b"no")
    server.close()
    await server.wait_closed()


@pytest.mark.soak
@pytest.mark.parametrize(("secure", "http2"), [(False, False), (True, False), (True, True)])
async def test_a_gibibyte_comes_and_goes_at_constant_memory(
    web: Web, secure: bool, http2: bool
) -> None:
    """The long form of fault 15."""
    import resource

    size = 1 << 30
    with open(web.root / "huge", "wb") as file:
        file.truncate(size)
    taken = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        while taken < size:
            taken += len(await reader.read(1 << 20))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def content() -> AsyncIterator[bytes]:
        block = bytes(1 << 16)
        for _ in range(size // len(block)):
            yield block

    url = f"https://localhost:{web.secure}" if secure else f"http://127.0.0.1:{web.port}"
    async with Pool(tls=ClientTLS(trust=web.trust), http2=http2) as pool:
        await fetch(pool, f"{url}/big")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        response = await pool.send(OutgoingRequest("GET", f"{url}/huge"))
        got = 0
        async for piece in response.body:
            got += len(piece)
        assert got == size
        if not secure:
            server = await asyncio.start_server(swallow, "127.0.0.1", 0)
            where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            _, said = await fetch(
                pool, where, "PUT", body=content(), length=size, expect_continue=False
            )
            assert (said, taken) == (b"ok", size)
            server.close()
            await server.wait_closed()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 24 * 1024, f"{grown} KiB"


@pytest.mark.parametrize("secure", [False, True])
async def test_connections_in_every_mood_leave_nothing_behind(web: Web, secure: bool) -> None:
    """Fault 17, short: connect, talk, give up, drop and close; then count."""
    url = f"https://localhost:{web.secure}" if secure else f"http://127.0.0.1:{web.port}"
    tls = ClientTLS(trust=web.trust) if secure else None
    rounds = 12 if secure else 40

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    async def one(mood: int) -> None:
        limits = PoolLimits(per_host=2)
        timeouts = ClientTimeouts(read=None if mood % 2 else 30)
        async with Pool(tls=tls, http2=mood % 3 == 0, limits=limits, timeouts=timeouts) as pool:
            if mood % 5 == 0:
                response = await pool.send(OutgoingRequest("GET", f"{url}/big"))
                await response.aclose()
            elif mood % 5 == 1:
                asked = asyncio.ensure_future(fetch(pool, f"{url}/big"))
                await asyncio.sleep(0.001 * (mood % 7))
                asked.cancel()
                await asyncio.wait([asked])
            elif mood % 5 == 2:
                await pool.send(OutgoingRequest("GET", f"{url}/big"))
            else:
                await asyncio.gather(*(fetch(pool, f"{url}/small") for _ in range(4)))

    for mood in range(5):
        await one(mood)
    await asyncio.sleep(0.05)
    before = descriptors()
    for mood in range(rounds):
        await one(mood)
    await asyncio.sleep(0.1)
    assert descriptors() <= before + 1
