"""DNS over HTTPS, asked: the client of names through the HTTP client of web (RFC 8484).

Neither package imports the other. Asked are a site of our own, and the servers of others that
speak it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme

from packages.names.tests.interop.peers import Peers
from sennit.core import ClientTLS, ServerTLS, serve
from sennit.core.errors import SennitError
from sennit.core.http import web_handler
from sennit.core.plugin import UnknownPluginError
from sennit.core.testing.loopback import free_port
from sennit.names import (
    Message,
    Rcode,
    Record,
    RecursiveResolver,
    ResponseError,
    RRType,
    StubResolver,
    UnreachableError,
)
from sennit.names.client import https
from sennit.names.client.https import HTTPSClient
from sennit.names.edns import EDNS
from sennit.names.errors import DNSProtocolError, DNSUsageError, LookupTimeoutError
from sennit.names.message import RD
from sennit.names.rdata.address import A
from sennit.names.server import DNSServer
from sennit.names.serving.running import announce, withdraw
from sennit.web import HandlerResource, Request, Response, Site, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sennit.names.request import Request as Query

ZONE = "$TTL 60\n@ SOA ns root 1 1 1 1 1\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.7\n"


class Files(NamedTuple):
    """A certificate for 127.0.0.1 and localhost, and who vouches for it."""

    chain: Path
    key: Path
    authority: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    found = Files(folder / "chain.pem", folder / "key.pem", folder / "ca.pem")
    made.private_key_pem.write_to_path(str(found.key))
    for each in made.cert_chain_pems:
        each.write_to_path(str(found.chain), append=True)
    authority.cert_pem.write_to_path(str(found.authority))
    return found


class Zone:
    """Has one address for every name beneath example.test, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def respond(self, request: Query) -> Message:
        self.asked.append(request)
        question = request.message.question
        if not str(question.name).endswith("example.test."):
            return request.message.reply(5)
        reply = request.message.reply()
        if question.rdtype == RRType.A:
            reply.answers.append(Record(question.name, RRType.A, 60, A("192.0.2.7")))
        return reply

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        return None


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
async def url(files: Files, zone: Zone) -> AsyncIterator[str]:
    """A site over TLS with DNS over HTTPS, and pages that are not that."""
    site = Site()

    @site.route("/page")
    def page(request: Request) -> Response:
        return text("no DNS message")

    site.put_child("dns-query", HandlerResource(web_handler("dns", service="client")))
    server = DNSServer(zone, name="client")
    announce(server)
    tls = ServerTLS(str(files.chain), str(files.key))
    async with serve("tls://127.0.0.1:0", site, tls=tls) as running:
        yield f"https://localhost:{running.port}"
    withdraw(server)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_questions_go_by_both_methods_with_an_id_of_zero(
    files: Files, zone: Zone, url: str, method: str
) -> None:
    trusting = ClientTLS(trust=files.authority)
    async with HTTPSClient(f"{url}/dns-query", method=method, tls=trusting) as client:
        for _ in range(2):
            answer = await client.exchange(Message.query("www.example.test", id=77))
            assert [str(each.rdata) for each in answer.answers] == ["192.0.2.7"]
    assert {each.message.id for each in zone.asked} == {0}
    assert {each.transport for each in zone.asked} == {"https"}


async def test_a_resolver_asks_over_https_and_pads(files: Files, zone: Zone, url: str) -> None:
    """RFC 8467 §4.1: a multiple of 128 octets."""
    trusting = ClientTLS(trust=files.authority)
    async with StubResolver([url], hosts=None, tls=trusting) as resolver:
        assert await resolver.a("www.example.test") == ["192.0.2.7"]
        with pytest.raises(ResponseError, match="REFUSED"):
            await resolver.a("www.example.net")
    assert {len(each.wire) % 128 for each in zone.asked} == {0}


async def test_what_is_no_answer_says_what_it_is(files: Files, url: str) -> None:
    trusting = ClientTLS(trust=files.authority)
    message = Message.query("www.example.test")
    for path, kind, why in (
        ("page", DNSProtocolError, "not a DNS message"),
        ("none", UnreachableError, "status 404"),
    ):
        async with HTTPSClient(f"{url}/{path}", method="GET", tls=trusting) as client:
            with pytest.raises(kind, match=why):
                await client.exchange(message)
    async with HTTPSClient(f"{url}/dns-query") as client:
        with pytest.raises(UnreachableError, match=r"certificate|issuer|signed"):
            await client.exchange(message)


async def test_silence_ends_in_time() -> None:
    class Silent:
        async def fetch(self, *_: object, **__: object) -> None:
            from asyncio import sleep

            await sleep(60)

        async def aclose(self) -> None:
            """Nothing is open."""

    client = HTTPSClient("https://dns.example/", client=Silent())  # type: ignore[arg-type]  # enough of one
    with pytest.raises(LookupTimeoutError):
        await client.exchange(Message.query("www.example.test"), timeout=0.02)


async def test_without_an_http_client_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(**_: object) -> None:
        raise UnknownPluginError("sennit.http_clients", "web", "pip install sennit-web")

    monkeypatch.setattr(https, "http_client", none)
    with pytest.raises(SennitError, match="pip install sennit-web"):
        async with StubResolver(["https://127.0.0.1/"], hosts=None) as resolver:
            await resolver.a("www.example.test")


def test_a_url_that_cannot_be_asked_is_a_mistake() -> None:
    with pytest.raises(DNSUsageError, match="https://HOST"):
        HTTPSClient("ftp://dns.example/")
    with pytest.raises(DNSUsageError, match="POST or GET"):
        HTTPSClient("https://dns.example/", method="PUT")


@pytest.fixture(scope="module")
def others(
    tmp_path_factory: pytest.TempPathFactory, files: Files
) -> Iterator[dict[str, tuple[int, str]]]:
    """Servers of others: port, and the name that they know."""
    peers = Peers(tmp_path_factory.mktemp("peers"))
    ports = {"named": free_port(), "unbound": free_port()}
    try:
        peers.named(
            {"example.test": ZONE},
            options=f"listen-on port {ports['named']} tls local http default {{ 127.0.0.1; }};",
            extra=f'tls local {{ cert-file "{files.chain}"; key-file "{files.key}"; }};',
        )
        peers.unbound(
            server=f" interface: 127.0.0.1@{ports['unbound']}\n https-port: {ports['unbound']}\n"
            f' tls-service-key: "{files.key}"\n tls-service-pem: "{files.chain}"\n'
            ' local-zone: "example.test." static\n local-data: "www.example.test. A 192.0.2.7"\n'
        )
        yield {kind: (port, "www.example.test") for kind, port in ports.items()}
    finally:
        peers.stop()


@pytest.mark.interop
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("kind", ["named", "unbound"])
async def test_servers_of_others(
    kind: str, method: str, others: dict[str, tuple[int, str]], files: Files
) -> None:
    port, name = others[kind]
    trusting = ClientTLS(trust=files.authority)
    url = f"https://127.0.0.1:{port}/dns-query"
    async with HTTPSClient(url, method=method, tls=trusting) as client:
        for _ in range(2):
            answer = await client.exchange(Message.query(name, edns=EDNS()))
            assert [str(each.rdata) for each in answer.answers] == ["192.0.2.7"]


async def test_a_resolver_of_ones_own_forwards_over_https(
    files: Files, zone: Zone, url: str
) -> None:
    """Each question once, padded (RFC 8467 §4.1), over one connection; failures are SERVFAIL."""
    trusting = ClientTLS(trust=files.authority)
    forward = {".": [f"{url}/dns-query"], "broken.test.": [f"{url}/page"]}
    async with RecursiveResolver(forward=forward, tls=trusting) as resolver:
        for _ in range(2):
            assert await resolver.a("www.example.test") == ["192.0.2.7"]
        assert (await resolver.resolve("x.broken.test.", RRType.A)).rcode == Rcode.SERVFAIL
        assert (await resolver.resolve("www.example.net.", RRType.A)).rcode == Rcode.SERVFAIL
    assert [str(each.message.question.name) for each in zone.asked[:2]] == [
        "www.example.test.",
        "www.example.net.",
    ]
    assert {each.message.id for each in zone.asked} == {0}
    assert all(each.message.flags & RD for each in zone.asked)
    assert {len(each.wire) % 128 for each in zone.asked} == {0}
    async with RecursiveResolver(forward={"test.": [f"{url}/dns-query"]}) as resolver:
        refused = await resolver.resolve("www.example.test.", RRType.A)
        assert refused.rcode == Rcode.SERVFAIL  # the system does not vouch for the certificate


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["named", "unbound"])
async def test_a_resolver_of_ones_own_forwards_to_servers_of_others(
    files: Files, others: dict[str, tuple[int, str]], kind: str
) -> None:
    port, name = others[kind]
    forward = {"example.test.": [f"https://localhost:{port}/dns-query"]}
    trusting = ClientTLS(trust=files.authority)
    async with RecursiveResolver(forward=forward, tls=trusting) as resolver:
        assert await resolver.a(name) == ["192.0.2.7"]
        gone = await resolver.resolve("gone.example.test.", RRType.A)
        assert gone.rcode == Rcode.NXDOMAIN
