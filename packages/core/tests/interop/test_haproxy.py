"""The PROXY protocol with haproxy, in front of our server and behind our client."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.address import InternetAddress
from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.proxy_header import ProxyHeader
from sennit.core.protocol import Protocol
from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop

LIMIT = 15.0


class Whoami(Protocol):
    """Says who it takes the peer for, and what else the proxy told."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        header = transport.get_extra_info("proxy_header")
        unique = header.unique_id or b"-"
        transport.write(
            f"{transport.peer} {header.version} {header.authority} {header.tls} ".encode()
            + unique
            + b"\n"
        )


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.02)
        else:
            return
    out = process.communicate(timeout=5)[0] if process.poll() is not None else b""
    raise AssertionError(f"haproxy does not listen on {port}: {out!r}")


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[[str, int], None]]:
    """Runs haproxy with some proxies and waits until it listens."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if shutil.which(program) is None:
        pytest.skip("haproxy is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def run(proxies: str, port: int) -> None:
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 5s\n"
            "    timeout client 15s\n    timeout server 15s\n" + proxies
        )
        process = subprocess.Popen(
            [program, "-db", "-f", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        running.append(process)
        wait_for(port, process)

    yield run
    for each in running:
        each.terminate()
        each.communicate(timeout=LIMIT)


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_haproxy_tells_our_server_who_came(
    how: str, host: str, haproxy: Callable[[str, int], None]
) -> None:
    port = free_port()
    async with serve(f"haproxy+tcp://{host}:0", Whoami) as server:
        haproxy(
            f"listen front\n    bind 127.0.0.1:{port}\n"
            f"    server ours {host}:{server.port} {how}\n",
            port,
        )
        async with await open_stream(f"tcp://127.0.0.1:{port}") as stream:
            line = (await stream.read_line()).decode()
            assert line.split()[:2] == [str(stream.local), "1" if how == "send-proxy" else "2"]


async def test_haproxy_tells_of_tls_and_a_unique_id(
    haproxy: Callable[[str, int], None], tmp_path: Path
) -> None:
    trustme = pytest.importorskip("trustme")
    from sennit.core.transport.tls import ClientTLS

    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    pem = tmp_path / "all.pem"
    pem.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    port, probe = free_port(), free_port()
    async with serve("haproxy+tcp://127.0.0.1:0", Whoami) as server:
        haproxy(
            f"listen front\n    bind 127.0.0.1:{port} ssl crt {pem}\n    unique-id-format id-%pid\n"
            f"    server ours 127.0.0.1:{server.port} send-proxy-v2 "
            "proxy-v2-options ssl,cert-cn,ssl-cipher,authority,unique-id,crc32c\n"
            f"listen probe\n    bind 127.0.0.1:{probe}\n    server none 127.0.0.1:1\n",
            probe,
        )
        trust = ClientTLS(trust=ca.cert_pem.bytes())
        async with await open_stream(
            f"tls://127.0.0.1:{port}", tls=trust, server_hostname="localhost"
        ) as stream:
            line = (await stream.read_line()).decode()
            assert line.startswith(f"{stream.local} 2 localhost <ProxyTLS TLSv1.3 ")
            assert " id-" in line


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("six", [False, True])
async def test_haproxy_believes_our_client(
    version: int, six: bool, haproxy: Callable[[str, int], None]
) -> None:
    """What we tell, it tells on."""
    port = free_port()
    async with serve("haproxy+tcp://127.0.0.1:0", Whoami) as server:
        haproxy(
            f"listen front\n    bind 127.0.0.1:{port} accept-proxy\n"
            f"    server ours 127.0.0.1:{server.port} send-proxy-v2\n",
            port,
        )
        hosts = ("2001:db8::7", "2001:db8::1") if six else ("192.0.2.7", "198.51.100.1")
        source, destination = (InternetAddress(host, 4444) for host in hosts)
        stream = await open_stream(
            f"haproxy+tcp://127.0.0.1:{port}?version={version}",
            proxy_header=ProxyHeader(source, destination),
        )
        async with stream:
            assert (await stream.read_line()).decode().startswith(f"{source} 2 ")


async def test_health_checks_of_haproxy_leave_no_trace(
    haproxy: Callable[[str, int], None],
) -> None:
    """§2: LOCAL, or nothing at all; neither is taken for a client."""
    made: list[object] = []

    class Counting(Whoami):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(transport.get_extra_info("proxy_header"))

    port = free_port()
    async with serve("haproxy+tcp://127.0.0.1:0", Counting) as server:
        haproxy(
            f"listen front\n    bind 127.0.0.1:{port}\n    server ours 127.0.0.1:{server.port} "
            "check inter 100ms send-proxy-v2 check-send-proxy\n",
            port,
        )
        async with await open_stream(f"tcp://127.0.0.1:{port}") as stream:
            await stream.read_line()
        assert any(not each.local for each in made)  # type: ignore[attr-defined]  # headers of the protocols made


async def test_curl_announces_itself(tmp_path: Path) -> None:
    """curl --haproxy-protocol sends version 1."""
    import asyncio

    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")

    class Page(Protocol):
        def data_received(self, data: bytes) -> None:
            who = str(self.transport.peer).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(who), who)
            )
            self.transport.close()

    async with serve("haproxy+tcp://127.0.0.1:0", Page) as server:
        process = await asyncio.create_subprocess_exec(
            curl,
            "-sS",
            "--haproxy-protocol",
            f"http://127.0.0.1:{server.port}/",
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    assert out.startswith(b"127.0.0.1:")
