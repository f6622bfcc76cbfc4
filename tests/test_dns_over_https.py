"""DNS over HTTPS: the names package answers at a path of the web package's site (RFC 8484).

Neither imports the other; the site has the handler by the name of its plugin. Asked by curl,
which looks a name up at the very site it then asks, and by kdig.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core import ServerTLS, serve
from sennit.core.http import web_handler
from sennit.core.service.loading import load
from sennit.names import Message, Name, Record, RRType
from sennit.names.rdata.address import A
from sennit.names.server import DNSServer
from sennit.names.serving.running import announce, withdraw
from sennit.web import Client, HandlerResource, Request, Response, Site, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.names.request import Request as Query

WWW = "www.example.test"


class Zone:
    """Has one address for one name."""

    def respond(self, request: Query) -> Message:
        question = request.message.question
        found = question.name == Name(WWW)
        reply = request.message.reply(0 if found else 3)
        if found and question.rdtype == RRType.A:
            reply.answers.append(Record(question.name, RRType.A, 60, A("127.0.0.1")))
        return reply

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        return None


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Certificate and key for both names, and who vouches for them."""
    authority = trustme.CA()
    made = authority.issue_cert(WWW, "localhost", "127.0.0.1")
    chain, key, ca = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    made.private_key_pem.write_to_path(str(key))
    for each in made.cert_chain_pems:
        each.write_to_path(str(chain), append=True)
    authority.cert_pem.write_to_path(str(ca))
    return chain, key, ca


@pytest.fixture
async def port(certificates: tuple[Path, Path, Path]) -> AsyncIterator[int]:
    """A site over TLS with DNS over HTTPS, and a page."""
    site = Site()

    @site.route("/")
    def page(request: Request) -> Response:
        return text("found by its name")

    site.put_child("dns-query", HandlerResource(web_handler("dns", service="test")))
    server = DNSServer(Zone(), name="test")
    announce(server)
    tls = ServerTLS(str(certificates[0]), str(certificates[1]))
    async with serve("tls://127.0.0.1:0", site, tls=tls) as running:
        yield running.port
    withdraw(server)


async def run(program: str, *arguments: str | Path, stdin: bytes = b"") -> bytes:
    """What a program prints; the test is skipped where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    process = await asyncio.create_subprocess_exec(
        found,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate(stdin)
    assert process.returncode == 0, error.decode()
    return out


@pytest.mark.interop
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl_finds_a_site_by_asking_it(
    port: int, certificates: tuple[Path, Path, Path], version: str
) -> None:
    out = await run(
        "curl", "-sS", version, "--max-time", "5", "--cacert", certificates[2], "--noproxy", "*",
        "--doh-url", f"https://127.0.0.1:{port}/dns-query", f"https://{WWW}:{port}/",
    )  # fmt: skip
    assert out == b"found by its name"


@pytest.mark.interop
async def test_curl_posts_the_octets_of_a_query(
    port: int, certificates: tuple[Path, Path, Path]
) -> None:
    out = await run(
        "curl", "-sS", "--max-time", "5", "--cacert", certificates[2], "--noproxy", "*",
        "-H", "content-type: application/dns-message", "--data-binary", "@-", "-D", "-",
        f"https://127.0.0.1:{port}/dns-query",
        stdin=Message.query(WWW, id=7).to_wire(),
    )  # fmt: skip
    head, _, content = out.partition(b"\r\n\r\n")
    assert b"cache-control: max-age=60" in head.lower()
    answer = Message.from_wire(content)
    assert answer.id == 7
    assert [str(each) for each in answer.answers] == [f"{WWW}. 60 IN A 127.0.0.1"]


@pytest.mark.interop
@pytest.mark.parametrize("method", ["+https", "+https-get"])
async def test_kdig_asks_by_both_methods(
    port: int, certificates: tuple[Path, Path, Path], method: str
) -> None:
    out = await run(
        "kdig", "@127.0.0.1", "-p", str(port), "+https=/dns-query", method,
        f"+tls-ca={certificates[2]}", "+tls-hostname=localhost", "+short", "+timeout=5", WWW,
    )  # fmt: skip
    assert out == b"127.0.0.1\n"


async def test_a_configuration_has_it_by_name(reactor: Reactor, tmp_path: Path) -> None:
    path = tmp_path / "sennit.toml"
    path.write_text(
        '[service.site]\ntype = "web"\nlisten = ["tcp://127.0.0.1:0"]\n'
        'handlers = [{path = "/dns-query", handler = "dns", options = {service = "test"}}]\n'
    )
    _, built = load(path).build()
    service: Any = built["site"]
    await service.start(reactor)
    server = DNSServer(Zone(), name="test")
    headers = {"content-type": "application/dns-message"}
    try:
        async with Client(base_url=service.urls[0].replace("tcp:", "http:")) as client:
            query = Message.query(WWW).to_wire()
            before = await client.post("/dns-query", content=query, headers=headers)
            announce(server)
            after = await client.post("/dns-query", content=query, headers=headers)
    finally:
        withdraw(server)
        await service.stop()
    assert (before.status, after.status) == (503, 200)
    assert len(Message.from_wire(after.content).answers) == 1
