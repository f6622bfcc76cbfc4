"""SOCKS and HTTP tunnels with programs of other people: curl, Dante, microsocks, tinyproxy."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.socks import SocksRules, SocksServer
from sennit.core.endpoint.tunnel import Proxy
from sennit.core.errors import ConnectError
from sennit.core.protocol import Protocol
from sennit.core.testing.loopback import free_port, refusing_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

LIMIT = 15.0
OPEN = SocksRules(allow=["loopback"])
PAGE = bytes(range(256)) * 4096


class Page(Protocol):
    """An HTTP server that says one thing."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
        )
        self.transport.write(PAGE)
        self.transport.close()


class Echo(Protocol):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def need(program: str) -> str:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


async def curl(*args: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        need("curl"), "-sS", "-m", "10", *args, stdout=-1, stderr=-1
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    return process.returncode or 0, out, err


# ── our server ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_curl_comes_through_our_server(kind: str, host: str) -> None:
    bound = "[::1]" if host == "[::1]" else "127.0.0.1"
    async with (
        serve(f"tcp://{bound}:0", Page) as page,
        serve("tcp://127.0.0.1:0", SocksServer(OPEN)) as server,
    ):
        proxy = f"127.0.0.1:{server.port}"
        code, out, err = await curl(
            "-4" if host == "localhost" else "-g", kind, proxy, f"http://{host}:{page.port}/"
        )
    assert (code, err) == (0, b"")
    assert out == PAGE


async def test_curl_logs_in_or_stays_out() -> None:
    async def check(name: str, password: str) -> bool:
        return (name, password) == ("alice", "s3cret")

    async with (
        serve("tcp://127.0.0.1:0", Page) as page,
        serve("tcp://127.0.0.1:0", SocksServer(OPEN, check=check)) as server,
    ):
        url = f"http://127.0.0.1:{page.port}/"
        for login, good in (("alice:s3cret@", True), ("alice:wrong@", False), ("", False)):
            code, out, _ = await curl("-x", f"socks5://{login}127.0.0.1:{server.port}", url)
            assert (code == 0) is good
            assert (out == PAGE) is good


async def test_curl_is_told_why_not() -> None:
    with refusing_socket() as nobody:
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        async with serve("tcp://127.0.0.1:0", SocksServer(OPEN)) as server:
            proxy = f"127.0.0.1:{server.port}"
            for url, number in ((closed, b"(5)"), ("http://10.0.0.1/", b"(2)")):
                code, _, err = await curl("--socks5", proxy, url)
                assert code == 97
                assert number in err


# ── our client ────────────────────────────────────────────────────────────────


@pytest.fixture
def running() -> Iterator[Callable[..., None]]:
    """Starts a program and waits until it listens."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(port: int, *command: str) -> None:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.append(process)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"{command[0]} does not listen on {port}: {process.poll()}")

    yield run
    for each in processes:
        each.terminate()
        try:
            each.wait(LIMIT)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait(LIMIT)


async def talk(port: int, via: Any, host: str = "127.0.0.1") -> None:
    async with await open_stream(f"tcp://{host}:{port}", via=via) as stream:
        await stream.send_all(PAGE[:100_000])
        assert await stream.read_exactly(100_000) == PAGE[:100_000]


async def refused(via: Any, problem: str) -> None:
    with pytest.raises(ConnectError, match=problem):
        async with await open_stream("tcp://127.0.0.1:1", via=via):
            pass


async def test_we_go_through_microsocks(running: Callable[..., None]) -> None:
    port = free_port()
    running(port, need("microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", "bob", "-P", "pw")
    url = f"socks5://127.0.0.1:{port}"
    async with serve("tcp://127.0.0.1:0", Echo) as target:
        await talk(target.port, Proxy(url, "bob", "pw"))
        await talk(target.port, Proxy(url, "bob", "pw"), "localhost")
        await refused(Proxy(url, "bob", "wrong"), "login")
        await refused(url, "wants a login")
        await refused(Proxy(url, "bob", "pw"), "refused")


async def test_we_go_through_dante(running: Callable[..., None], tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "danted.conf"
    config.write_text(
        f"internal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nsocksmethod: none\n"
        f"clientmethod: none\nuser.privileged: {getpass.getuser()}\n"
        f"user.unprivileged: {getpass.getuser()}\nlogoutput: stderr\n"
        "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
        "socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
    )
    running(port, need("danted"), "-f", str(config))
    async with serve("tcp://127.0.0.1:0", Echo) as target:
        await talk(target.port, f"socks5://127.0.0.1:{port}")
        await refused(f"socks5://127.0.0.1:{port}", "refused")


async def test_we_go_through_tinyproxy(running: Callable[..., None], tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "tinyproxy.conf"
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nBasicAuth bob pw\n"
        f'LogFile "{tmp_path}/log"\nPidFile "{tmp_path}/pid"\n'
    )
    running(port, need("tinyproxy"), "-d", "-c", str(config))
    url = f"http-connect://127.0.0.1:{port}"
    async with serve("tcp://127.0.0.1:0", Echo) as target:
        await talk(target.port, Proxy(url, "bob", "pw"))
        await refused(Proxy(url, "bob", "wrong"), r"does not accept the login|answers 40[17]")
        await refused(Proxy(url, "bob", "pw"), "the proxy answers 50")


async def test_one_proxy_behind_another(running: Callable[..., None], tmp_path: Path) -> None:
    """microsocks first, our own server behind it."""
    port = free_port()
    running(port, need("microsocks"), "-i", "127.0.0.1", "-p", str(port))
    async with (
        serve("tcp://127.0.0.1:0", Echo) as target,
        serve("tcp://127.0.0.1:0", SocksServer(OPEN)) as ours,
    ):
        await talk(target.port, [f"socks5://127.0.0.1:{port}", f"socks5://127.0.0.1:{ours.port}"])
