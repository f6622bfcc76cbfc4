"""A forward proxy on a network in memory: requests, tunnels, rules, logins."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import open_stream, serve
from sennit.core.auth.checkers import MemoryUsers
from sennit.core.auth.portal import Portal, Realm
from sennit.core.stream import Stream, stream_handler
from sennit.core.testing.clock import Clock
from sennit.web import Request, Response, WebUsageError, http_server, text
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.proxy.forward import ForwardProxy
from sennit.web.proxy.rules import ForwardRules

if TYPE_CHECKING:
    from sennit.core.testing.network import MemoryNetwork

PUBLIC = "93.184.216.34"
OPEN = {"clients": ["any"], "connect_ports": ["443", "7000"]}


class Scene:
    """A proxy at ``proxy:3128``, ``example.com`` outside, ``inside`` where nobody may go."""

    def __init__(self, network: MemoryNetwork, clock: Clock) -> None:
        self.network = network
        self.clock = clock
        self.programs: list[tuple[Any, Callable[[], Any]]] = []
        self.serve(network.host(PUBLIC, name="example.com"), 80, http_server(tell))
        self.serve(network.host(PUBLIC), 8080, http_server(tell))
        self.serve(network.host(PUBLIC), 7000, stream_handler(shout))
        self.serve(network.host("10.0.0.5", name="inside"), 80, http_server(tell))
        network.add_name("rebound.example", "10.0.0.5")

    def serve(self, host: Any, port: int, factory: Any) -> None:
        async def run() -> None:
            async with serve(f"tcp://0.0.0.0:{port}", factory) as server:
                await server.wait_closed()

        self.programs.append((host, run))

    def proxy(self, proxy: ForwardProxy, **options: Any) -> None:
        host = self.network.host("10.0.1.1", name="proxy")
        self.serve(host, 3128, http_server(proxy, **options))

    def run(self, main: Callable[[], Awaitable[object]]) -> None:
        """Run a client, and what else there is beside it."""

        async def begin(_: Clock) -> None:
            create = asyncio.get_running_loop().create_task
            running = [create(each(), context=host.context()) for host, each in self.programs]
            try:
                await main()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)

        self.clock.run(begin)


@pytest.fixture
def scene(memory_network: MemoryNetwork, clock: Clock) -> Scene:
    return Scene(memory_network, clock)


async def tell(request: Request) -> Response:
    """What came, as lines."""
    lines = [f"{request.method} {request.head.target.decode()}"]
    lines += [f"{name.decode()}: {value.decode('latin-1')}" for name, value in request.headers]
    content = await request.read()
    return text("\n".join([*lines, content.decode()]))


async def shout(stream: Stream) -> None:
    """Answer in capitals."""
    async for piece in stream:
        await stream.send_all(piece.upper())


async def ask(data: str) -> tuple[int, bytes]:
    """Send octets to the proxy; status and the rest of what comes at once."""
    async with await open_stream("tcp://proxy:3128") as stream:
        await stream.send_all(data.encode())
        head = await stream.read_until(b"\r\n\r\n", 65536)
        content = b""
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length: "):
                content = await stream.read_exactly(int(line[16:]))
        return int(head[9:12]), head + b"\r\n\r\n" + content


def get(url: str, *lines: str, method: str = "GET") -> str:
    host = url.partition("//")[2].partition("/")[0]
    more = "".join(f"{each}\r\n" for each in lines)
    return f"{method} {url} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


def connect(place: str, *lines: str) -> str:
    more = "".join(f"{each}\r\n" for each in lines)
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{more}\r\n"


def test_a_request_in_absolute_form_goes_on(scene: Scene) -> None:
    """RFC 9112 §3.2.2."""
    scene.proxy(ForwardProxy(ForwardRules(**OPEN)))

    async def main() -> None:
        status, came = await ask(
            get(
                "http://example.com/a%2Fb/../c?d#", "Proxy-Connection: keep-alive", "Cookie: a=b",
                "Content-Length: 5", "Proxy-Authorization: Basic eDp5", method="PUT",
            ).replace("#", "")
            + "hello"
        )  # fmt: skip
        assert status == 200
        assert b"\r\nvia: 1.1 sennit\r\n" in came
        assert came.partition(b"\r\n\r\n")[2].split(b"\n") == [
            b"PUT /a%2Fb/../c?d", b"host: example.com", b"cookie: a=b", b"via: 1.1 sennit",
            b"content-length: 5", b"hello",
        ]  # fmt: skip
        status, came = await ask(get("http://example.com:8080/"))
        assert (status, b"host: example.com:8080" in came) == (200, True)

    scene.run(main)


def test_what_asks_nothing_of_a_proxy_is_refused(scene: Scene) -> None:
    scene.proxy(ForwardProxy(ForwardRules(**OPEN)))

    async def main() -> None:
        assert (await ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))[0] == 400
        assert (await ask(get("https://example.com/")))[0] == 501
        assert (await ask(get("ftp://example.com/")))[0] == 400
        assert (await ask(get("http://example.com/", method="TRACE")))[0] == 405
        loop = get("http://example.com/", "Via: " + ", ".join(["1.1 sennit"] * 16))
        assert (await ask(loop))[0] == 508

    scene.run(main)


def test_a_tunnel_carries_octets_and_ends_in_both_directions(scene: Scene) -> None:
    proxy = ForwardProxy(ForwardRules(**OPEN))
    scene.proxy(proxy)

    async def main() -> None:
        async with await open_stream("tcp://proxy:3128") as stream:
            # A client may send at once what is for the server.
            await stream.send_all(connect("example.com:7000").encode() + b"abc")
            head = await stream.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"content-length" not in head
            assert await stream.read_exactly(3) == b"ABC"
            await stream.send_all(b"x" * 300_000)
            assert await stream.read_exactly(300_000) == b"X" * 300_000
            assert proxy.tunnels == 1
            await stream.send_eof()
            assert await stream.receive_some() == b""
        await asyncio.sleep(1)
        assert proxy.tunnels == 0

    scene.run(main)


def test_tunnels_that_lead_nowhere_have_a_status(scene: Scene) -> None:
    rules = ForwardRules(clients=["any"], connect_ports=["1-65535"])
    proxy = ForwardProxy(rules, timeouts=ClientTimeouts(connect=5.0))
    scene.proxy(proxy)
    scene.network.host("93.184.216.40", name="silent.example").vanish()

    async def main() -> None:
        for place, status in (
            ("example.com:81", 502), ("unknown.example:443", 502), ("silent.example:443", 504),
            ("example.com", 400), ("example.com:0", 400), ("example.com:99999", 400),
            ("0x7f.1:443", 400), ("user@example.com:443", 400),
        ):  # fmt: skip
            assert (await ask(connect(place)))[0] == status, place
        assert proxy.tunnels == 0

    scene.run(main)


def test_there_are_only_so_many_tunnels(scene: Scene) -> None:
    scene.proxy(ForwardProxy(ForwardRules(**OPEN), most_tunnels=1, tunnel_idle=60))

    async def main() -> None:
        async with await open_stream("tcp://proxy:3128") as stream:
            await stream.send_all(connect("example.com:7000").encode())
            await stream.read_until(b"\r\n\r\n")
            status, came = await ask(connect("example.com:7000"))
            assert (status, b"retry-after: 10" in came) == (503, True)
            # One in which nothing moves does not stand for ever.
            with pytest.raises(ConnectionError):
                await stream.read_exactly(1)
        assert (await ask(connect("example.com:7000")))[0] == 200

    scene.run(main)


# ── rules ─────────────────────────────────────────────────────────────────────


def test_by_default_only_this_machine_is_served_and_nothing_inside_is_reached(
    scene: Scene,
) -> None:
    """HARDENING default 23: no open proxy, and none into its own network."""
    scene.proxy(ForwardProxy())

    async def strangers() -> None:
        for request in (get("http://example.com/"), connect("example.com:443")):
            assert (await ask(request))[0] == 403

    scene.run(strangers)


def test_addresses_are_held_against_the_rules_when_they_are_connected_to(scene: Scene) -> None:
    """A name that points inside does not get there, and neither does an odd form."""
    scene.proxy(ForwardProxy(ForwardRules(clients=["any"], connect_ports=["80", "443", "7000"])))

    async def main() -> None:
        assert (await ask(get("http://example.com/")))[0] == 200
        for place in (
            "inside", "rebound.example", "10.0.0.5", "127.0.0.1", "localhost", "[::1]",
            "proxy",
        ):  # fmt: skip
            assert (await ask(get(f"http://{place}/")))[0] == 403, place
            assert (await ask(connect(f"{place}:80")))[0] == 403, place
        for place in ("2130706433", "0x7f000001", "127.1"):
            assert (await ask(get(f"http://{place}/")))[0] == 400, place

    scene.run(main)
    for address in ("::ffff:10.0.0.5", "64:ff9b::a00:5", "fe80::1", "169.254.169.254"):
        assert not ForwardRules().permits(address)
    assert ForwardRules().permits(PUBLIC)


def test_what_is_allowed_by_name_is_reached(scene: Scene) -> None:
    scene.proxy(ForwardProxy(ForwardRules(clients=["any"], allow=["10.0.0.5"])))

    async def main() -> None:
        assert (await ask(get("http://inside/")))[0] == 200
        assert (await ask(get("http://rebound.example/")))[0] == 200

    scene.run(main)


def test_ports_and_names_that_may_not_be_asked_for_are_not(scene: Scene) -> None:
    rules = ForwardRules(
        clients=["any"], hosts=["example.com", "*.example.org"], deny_hosts=["secret.example.com"]
    )
    scene.proxy(ForwardProxy(rules))

    async def main() -> None:
        assert (await ask(get("http://example.com/")))[0] == 200
        for url in (
            "http://example.com:25/", "http://example.com:22/", "http://other.example/",
            "http://secret.example.com/", "http://a.secret.example.com/", "http://myexample.com/",
        ):  # fmt: skip
            assert (await ask(get(url)))[0] == 403, url
        for place in ("example.com:80", "example.com:25", "other.example:443"):
            assert (await ask(connect(place)))[0] == 403, place

    scene.run(main)
    assert rules.permits_host("WWW.Example.Org.")
    for names in (["a b"], [""], ["http://a"]):
        with pytest.raises(WebUsageError):
            ForwardRules(hosts=names)
    with pytest.raises(ValueError):
        ForwardRules(connect_ports=["https"])


def test_who_has_to_log_in_is_asked_as_proxies_ask(scene: Scene) -> None:
    """RFC 9110 §11.7: and the server behind never sees it."""
    portal = Portal(Realm(), [MemoryUsers({"alice": "wonderland"})])
    scene.proxy(ForwardProxy(ForwardRules(**OPEN), portal=portal, allow_plaintext=True))

    def login(name: str, password: str) -> str:
        return f"Proxy-Authorization: Basic {b64encode(f'{name}:{password}'.encode()).decode()}"

    async def main() -> None:
        for ask_for in (get, connect):
            what = "http://example.com/" if ask_for is get else "example.com:7000"
            status, came = await ask(ask_for(what))
            assert (status, b'proxy-authenticate: Basic realm="proxy"' in came) == (407, True)
            assert (await ask(ask_for(what, login("alice", "wrong"))))[0] == 407
            status, came = await ask(ask_for(what, login("alice", "wonderland")))
            assert status == 200
            assert b"authorization" not in came.lower()
            wrong = login("alice", "wonderland").removeprefix("Proxy-")
            assert (await ask(ask_for(what, wrong)))[0] == 407

    scene.run(main)


def test_our_own_client_goes_through_it(scene: Scene) -> None:
    portal = Portal(Realm(), [MemoryUsers({"alice": "wonderland"})])
    scene.proxy(ForwardProxy(ForwardRules(**OPEN), portal=portal, allow_plaintext=True))

    async def main() -> None:
        async with Pool(proxy="http://alice:wonderland@proxy:3128") as pool:
            response = await pool.send(OutgoingRequest("GET", "http://example.com/x"))
            assert (await response.read()).startswith(b"GET /x\n")
        async with Pool(proxy="http://alice:wrong@proxy:3128") as pool:
            response = await pool.send(OutgoingRequest("GET", "http://example.com/x"))
            assert response.status == 407
            await response.aclose()

    scene.run(main)


def test_a_pool_that_asks_before_it_connects_asks_for_plain_http_alone(scene: Scene) -> None:
    async def main() -> None:
        async with Pool(permit=lambda address: address != "10.0.0.5", http2=False) as pool:
            response = await pool.send(OutgoingRequest("GET", "http://example.com/"))
            assert response.status == 200
            await response.aclose()
            with pytest.raises(ConnectionError, match="not permitted"):
                await pool.send(OutgoingRequest("GET", "http://inside/"))
            with pytest.raises(WebUsageError):
                await pool.send(OutgoingRequest("GET", "https://example.com/"))

    scene.run(main)
