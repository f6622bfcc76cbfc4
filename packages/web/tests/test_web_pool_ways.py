"""The pool's ways to a host: TLS with either version of HTTP, forwarding proxies, Unix sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trustme

from sennit.core import serve
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectError, MissingExtraError, TLSError
from sennit.core.protocol import Protocol
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.web import HTTPServer, Request, Response
from sennit.web.client import dialling
from sennit.web.client.limits import ClientTimeouts, PoolLimits
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.client.proxies import Proxies, Proxy
from sennit.web.errors import RequestTimeoutError, WebUsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

T = TypeVar("T")

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
TRUST = CA.cert_pem.bytes()
_ISSUED = CA.issue_cert("example", key_type=trustme.KeyType.ECDSA)
PAIR = (_ISSUED.cert_chain_pems[0].bytes(), _ISSUED.private_key_pem.bytes())
URL = "https://example/"


def go(clock: Clock, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something to its end."""
    return clock.run(lambda _: coroutine)


class Place:
    """A server of either version, and what it has seen.

    Attributes:
        requests: Every request, in order.
        peers: Connections that were made.
        gates: While one is there, answers wait for it.
    """

    def __init__(self, *, http2: bool = True) -> None:
        self.requests: list[Request] = []
        self.peers = 0
        self.wait: Deferred[None] | None = None
        self.server = HTTPServer(self.answer, http2=http2)

    def build_protocol(self, peer: Any) -> Any:
        self.peers += 1
        return self.server.build_protocol(peer)

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        content = await request.read()
        if self.wait is not None:
            await self.wait
        return Response(content or b"ok")


async def fetch(pool: Pool, request: OutgoingRequest | None = None) -> tuple[bytes, bytes]:
    """Version and content of an answer."""
    response = await pool.send(request or OutgoingRequest("GET", URL))
    return response.version, await response.read()


def tls(**more: Any) -> ClientTLS:
    return ClientTLS(trust=TRUST, **more)


@pytest.mark.parametrize(
    ("server", "client", "version"),
    [
        (True, None, b"2"),
        (True, True, b"2"),
        (True, False, b"1.1"),
        (False, None, b"1.1"),
    ],
)
def test_the_version_is_what_both_speak(
    clock: Clock, memory_network: MemoryNetwork, server: bool, client: bool | None, version: bytes
) -> None:
    """RFC 9113 §3.2."""
    place = Place(http2=server)
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with (
            serve("tls://10.0.0.1:443", place, tls=shown),
            Pool(tls=tls(), http2=client) as pool,
        ):
            for _ in range(3):
                assert await fetch(pool) == (version, b"ok")

    go(clock, main())

    assert place.peers == 1
    assert place.requests[0].host == "example"


def test_requests_side_by_side_share_one_connection_of_http2(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """And only one was dialled, though all came at once."""
    place = Place()
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with serve("tls://10.0.0.1:443", place, tls=shown), Pool(tls=tls()) as pool:
            found = await asyncio.gather(*(fetch(pool) for _ in range(20)))
            assert found == [(b"2", b"ok")] * 20

    go(clock, main())

    assert place.peers == 1


def test_requests_that_came_at_once_are_dialled_for_when_the_server_speaks_http1_only(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place(http2=False)
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        place.wait = Deferred()
        async with serve("tls://10.0.0.1:443", place, tls=shown), Pool(tls=tls()) as pool:
            asked = [asyncio.ensure_future(fetch(pool)) for _ in range(5)]
            await asyncio.sleep(1)
            assert place.peers == 5
            place.wait.callback(None)
            assert await asyncio.gather(*asked) == [(b"1.1", b"ok")] * 5

    go(clock, main())


def test_what_is_to_be_changed_over_to_goes_by_http1_whatever_the_server_speaks(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place()
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with (
            serve("tls://10.0.0.1:443", place, tls=shown),
            Pool(tls=tls(alpn=["h2", "http/1.1"])) as pool,
        ):
            assert await fetch(pool) == (b"2", b"ok")
            fields = [(b"connection", b"upgrade"), (b"upgrade", b"x")]
            for url in (URL, "wss://example/"):
                request = OutgoingRequest("GET", url, fields, upgrade=True)
                assert await fetch(pool, request) == (b"1.1", b"ok")

    go(clock, main())


def test_more_streams_than_may_be_take_another_connection(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place()
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        place.wait = Deferred()
        limits = PoolLimits(streams=2, per_host=2)
        async with (
            serve("tls://10.0.0.1:443", place, tls=shown),
            Pool(tls=tls(), limits=limits) as pool,
        ):
            asked = [asyncio.ensure_future(fetch(pool)) for _ in range(7)]
            await asyncio.sleep(1)
            assert place.peers == 2
            assert len(place.requests) == 4
            place.wait.callback(None)
            assert await asyncio.gather(*asked) == [(b"2", b"ok")] * 7

    go(clock, main())

    assert place.peers == 2


def test_prior_knowledge_needs_no_tls(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 9113 §3.3."""
    place = Place()
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        async with serve("tcp://10.0.0.1:80", place), Pool(http2="always") as pool:
            request = OutgoingRequest("GET", "http://example/")
            assert await fetch(pool, request) == (b"2", b"ok")

    go(clock, main())


def test_an_idle_connection_of_http2_is_kept_for_a_while_only(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place()
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        limits = PoolLimits(idle_time=10)
        async with serve("tcp://10.0.0.1:80", place), Pool(http2="always", limits=limits) as pool:
            request = OutgoingRequest("GET", "http://example/")
            await fetch(pool, request)
            await asyncio.sleep(9)
            await fetch(pool, request)
            assert place.peers == 1
            await asyncio.sleep(11)
            await fetch(pool, request)
            assert place.peers == 2

    go(clock, main())


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(10):
        yield bytes(10_000)


@pytest.mark.parametrize("http2", [True, False])
def test_streamed_content_comes_back(
    clock: Clock, memory_network: MemoryNetwork, http2: bool
) -> None:
    place = Place(http2=http2)
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with serve("tls://10.0.0.1:443", place, tls=shown), Pool(tls=tls()) as pool:
            request = OutgoingRequest("POST", URL, body=pieces())
            version, content = await fetch(pool, request)
            assert version == (b"2" if http2 else b"1.1")
            assert content == bytes(100_000)

    go(clock, main())


@pytest.mark.parametrize("http2", [True, False])
def test_giving_up_at_any_moment_leaves_nothing_behind(
    clock: Clock, memory_network: MemoryNetwork, http2: bool
) -> None:
    """Dialling, shaking hands, asking, waiting, reading: every place is given back."""
    place = Place(http2=http2)
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with serve("tls://10.0.0.1:443", place, tls=shown):
            turns = 0
            while True:
                turns += 1
                async with Pool(tls=tls(), limits=PoolLimits(total=1)) as pool:
                    body = OutgoingRequest("POST", URL, body=pieces())
                    asked = asyncio.ensure_future(fetch(pool, body))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    if asked.done():
                        await asked
                        break
                    asked.cancel()
                    await asyncio.wait([asked])
                    assert asked.cancelled()
                    assert (await fetch(pool))[1] == b"ok"
            assert turns > 5

    go(clock, main())


def test_a_certificate_for_another_name_is_refused(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place()
    memory_network.host("10.0.0.1", name="other")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=place.server.alpn)
        async with serve("tls://10.0.0.1:443", place, tls=shown), Pool(tls=tls()) as pool:
            with pytest.raises(TLSError):
                await fetch(pool, OutgoingRequest("GET", "https://other/"))

    go(clock, main())


def test_a_certificate_of_ones_own_is_shown(clock: Clock, memory_network: MemoryNetwork) -> None:
    place = Place()
    memory_network.host("10.0.0.1", name="example")
    alice = CA.issue_cert("alice@example", key_type=trustme.KeyType.ECDSA)

    async def main() -> None:
        shown = ServerTLS(*PAIR, client_ca=TRUST, require_client_certificate=True)
        async with serve("tls://10.0.0.1:443", place, tls=shown):
            mine = tls(
                certificate=alice.cert_chain_pems[0].bytes(), key=alice.private_key_pem.bytes()
            )
            async with Pool(tls=mine) as pool:
                assert await fetch(pool) == (b"1.1", b"ok")

    go(clock, main())


def test_shaking_hands_counts_as_connecting(clock: Clock, memory_network: MemoryNetwork) -> None:
    memory_network.listen("example:443", Protocol)

    async def main() -> None:
        async with Pool(tls=tls(), timeouts=ClientTimeouts(connect=4)) as pool:
            with pytest.raises(RequestTimeoutError) as caught:
                await fetch(pool)
            assert caught.value.phase == "connect"

    go(clock, main())
    assert clock.time() == pytest.approx(4, abs=0.1)


def test_http2_that_is_wanted_and_not_installed_says_so(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without() -> bool:
        return False

    monkeypatch.setattr(dialling, "has_http2", without)

    async def main() -> None:
        async with Pool(http2=True) as pool:
            await fetch(pool)

    with pytest.raises(MissingExtraError):
        go(clock, main())


def test_a_server_that_knows_another_version_than_the_one_known_is_an_error(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place(http2=False)
    memory_network.host("10.0.0.1", name="example")

    async def main() -> None:
        shown = ServerTLS(*PAIR, alpn=["http/1.1"])
        async with serve("tls://10.0.0.1:443", place, tls=shown):
            both = tls(alpn=["h2", "http/1.1"])
            async with Pool(tls=both, http2="always") as pool:
                with pytest.raises(ConnectError):
                    await fetch(pool)

    go(clock, main())


# ── proxies that forward ──────────────────────────────────────────────────────


class Forwarder(Protocol):
    """Stands where a proxy would, and keeps what it is told."""

    heard: list[bytes]

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def forwarder(network: MemoryNetwork, where: str) -> list[bytes]:
    heard: list[bytes] = []

    def build() -> Forwarder:
        made = Forwarder()
        made.heard = heard
        return made

    network.listen(where, build)
    return heard


def test_a_proxy_that_forwards_is_told_the_whole_url_and_who_asks(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 9112 §3.2.2; and all hosts share its connections."""
    heard = forwarder(memory_network, "proxy:3128")

    async def main() -> None:
        async with Pool(proxy="http://us%65r:secret@proxy:3128") as pool:
            for url in ("http://example/a?b", "http://other:8080/"):
                await fetch(pool, OutgoingRequest("GET", url))
            assert pool._count == 1  # pyright: ignore[reportPrivateUsage]

    go(clock, main())

    login = b"proxy-authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n"
    assert heard == [
        b"GET http://example/a?b HTTP/1.1\r\nhost: example\r\n" + login,
        b"GET http://other:8080/ HTTP/1.1\r\nhost: other:8080\r\n" + login,
    ]


def test_hosts_that_are_excepted_are_asked_directly(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    through = forwarder(memory_network, "proxy:80")
    direct = forwarder(memory_network, "near.example:80")

    async def main() -> None:
        proxies = Proxies({"http": Proxy("http://proxy")}, ["near.example"])
        async with Pool(proxy=proxies) as pool:
            await fetch(pool, OutgoingRequest("GET", "http://near.example/"))
            await fetch(pool, OutgoingRequest("GET", "http://far.example/"))

    go(clock, main())

    assert direct == [b"GET / HTTP/1.1\r\nhost: near.example\r\n\r\n"]
    assert through[0].startswith(b"GET http://far.example/ HTTP/1.1\r\n")


# ── Unix sockets ──────────────────────────────────────────────────────────────


def test_a_unix_socket_serves_all_or_is_named_in_the_url(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    place = Place()

    async def main() -> None:
        async with serve("unix:/run/Web.sock", place):
            of_all = Proxies({"all": Proxy("http://proxy")})
            async with Pool(unix="/run/Web.sock", proxy=of_all) as pool:
                await fetch(pool, OutgoingRequest("GET", "http://any.example/a"))
            async with Pool() as pool:
                url = "http+unix://%2Frun%2FWeb.sock/b"
                await fetch(pool, OutgoingRequest("GET", url))
            async with Pool(unix="/run/a?b") as pool:
                with pytest.raises(WebUsageError):
                    await fetch(pool)

    go(clock, main())

    with pytest.raises(WebUsageError):
        Pool(unix="/run/Web.sock", proxy="http://proxy")
    assert [(each.host, each.path) for each in place.requests] == [
        ("any.example", "/a"),
        ("localhost", "/b"),
    ]
