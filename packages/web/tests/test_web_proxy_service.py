"""Proxies as configurations describe them: the key ``proxy``, and ``type = "web-proxy"``."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import serve
from sennit.core.errors import ConfigError
from sennit.core.interfaces import IReactor
from sennit.core.service.loading import load
from sennit.web import Request, Response, http_server, text
from sennit.web.proxy.config import ForwardConfig, UpstreamTable
from sennit.web.proxy.configured import configured_proxy, read_upstream
from sennit.web.proxy.health import HealthRules
from sennit.web.proxy.reverse import ReverseProxy
from sennit.web.proxy.service import ForwardService, try_forward
from sennit.web.service import WebService

if TYPE_CHECKING:
    from sennit.core import Reactor


def tell(request: Request) -> Response:
    """What came: target, host, and whom it is said to be from."""
    return text(
        f"{request.head.target.decode()} {request.host} {request.header('x-forwarded-for')}"
    )


def build(folder: Path, config: str) -> Any:
    file = folder / "sennit.toml"
    file.write_text(config)
    _, built = load(file).build()
    return built["one"]


def fetch(url: str, through: str = "") -> tuple[int, str]:
    handlers = [urllib.request.ProxyHandler({"http": through} if through else {})]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


async def test_a_web_service_hands_requests_on(tmp_path: Path, reactor: IReactor) -> None:
    async with serve("tcp://127.0.0.1:0", http_server(tell)) as behind:
        service = build(
            tmp_path,
            f"""
            [service.one]
            type = "web"
            listen = "tcp://127.0.0.1:0"
            proxy = ["http://127.0.0.1:{behind.port} weight=2", "http://127.0.0.1:1 backup"]
            access_log = "log"
            access_log_style = "common"
            upstream = {{ prefix = "/shop", policy = "least-open", check = "/", host = "inside" }}
            """,
        )
        assert isinstance(service, WebService)
        await service.start(reactor)
        try:
            url = service.urls[0].replace("tcp:", "http:").rstrip("/")
            got = await reactor.defer_to_thread(fetch, f"{url}/shop/cart")
            assert got == (200, "/cart inside 127.0.0.1")
            assert (await reactor.defer_to_thread(fetch, f"{url}/"))[0] == 404
        finally:
            await service.stop()
    log = (tmp_path / "log").read_text().splitlines()
    assert '"GET /shop/cart HTTP/1.1" 200 22' in log[0]


async def test_a_forward_proxy_is_a_service(tmp_path: Path, reactor: IReactor) -> None:
    async with serve("tcp://127.0.0.1:0", http_server(tell)) as other:
        service = build(
            tmp_path,
            """
            [service.one]
            type = "web-proxy"
            listen = "tcp://127.0.0.1:0"
            allow = ["loopback"]
            forwarded = ["x-forwarded"]
            access_log = "log"
            """,
        )
        assert isinstance(service, ForwardService)
        await service.start(reactor)
        try:
            through = service.urls[0].replace("tcp:", "http:")
            url = f"http://127.0.0.1:{other.port}/x"
            got = await reactor.defer_to_thread(fetch, url, through)
            assert got == (200, f"/x 127.0.0.1:{other.port} 127.0.0.1")
            got = await reactor.defer_to_thread(fetch, "http://127.0.0.1:22/", through)
            assert got[0] == 403
        finally:
            await service.stop()
    log = (tmp_path / "log").read_text()
    assert f'"GET {url} HTTP/1.1" 200 ' in log


async def test_a_forward_proxy_asks_for_a_login(tmp_path: Path, reactor: Reactor) -> None:
    from sennit.core.auth.checkers import MemoryUsers
    from sennit.core.service.config import Listen
    from sennit.core.service.tree import ServiceContext

    def no_tls(name: str) -> Any:
        raise AssertionError(name)

    def users(name: str) -> Any:
        assert name == "staff"
        return MemoryUsers({"alice": "wonderland"})

    config = ForwardConfig(
        listen=[Listen("tcp://127.0.0.1:0")],
        allow=["loopback"],
        users="staff",
        login_in_clear=True,
    )
    service = ForwardService(config, ServiceContext("one", tmp_path, no_tls, users=users))
    found: Any = reactor
    async with serve("tcp://127.0.0.1:0", http_server(tell)) as other:
        await service.start(found)
        try:
            place = service.urls[0].removeprefix("tcp://").rstrip("/")
            url = f"http://127.0.0.1:{other.port}/x"
            through = f"http://alice:wonderland@{place}"
            assert (await reactor.defer_to_thread(fetch, url, through))[0] == 200
            assert (await reactor.defer_to_thread(fetch, url, f"http://{place}"))[0] == 407
        finally:
            await service.stop()


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('proxy = ["ftp://a"]', "proxy"),
        ('proxy = ["http://a fast"]', "proxy"),
        ('proxy = ["http://a weight=x"]', "proxy"),
        ("proxy = []", "proxy"),
        ('proxy = ["http://a"]\nupstream = { prefix = "shop" }', "upstream"),
        ('proxy = ["http://a"]\nupstream = { key = "header:x" }', "upstream"),
        ('proxy = ["http://a"]\nupstream = { check = "health" }', "upstream"),
        ('proxy = ["http://a"]\nupstream = { policy = "random" }', "policy"),
        ('proxy = ["http://a"]\nroot = "."', "exactly one"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, lines: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        build(tmp_path, f'[service.one]\ntype = "web"\n{lines}\n')


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"clients": ["here"]}, "clients: 'here' is no network"),
        ({"hosts": ["a b"]}, "hosts: no name"),
        ({"connect_ports": ["https"]}, "connect_ports: 'https' is no port"),
    ],
)
def test_rules_that_cannot_be_read_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ForwardConfig(**options)


def test_a_server_is_one_text() -> None:
    found = read_upstream("http://a:1 weight=2.5 most_open=7 backup", 100, HealthRules())
    assert (found.weight, found.most_open, found.backup) == (2.5, 7, True)
    assert read_upstream("http://a:1", 100, HealthRules()).most_open == 100
    made = configured_proxy(["http://a", "http://b"], UpstreamTable(http2="on"), ["10.0.0.0/8"])
    assert isinstance(made, ReverseProxy)
    assert repr(made) == "<ReverseProxy to http://a/, http://b/>"


def test_a_person_is_told_what_to_try() -> None:
    urls = ["tcp://127.0.0.1:3128", "tls://[::1]:3129", "unix:/run/x"]
    assert try_forward(ForwardConfig(), urls) == [
        "curl -x http://127.0.0.1:3128 https://example.org/",
        "curl -x https://[::1]:3129 https://example.org/",
    ]
    (command,) = try_forward(ForwardConfig(users="staff"), urls[:1])
    assert "--proxy-user NAME:PASSWORD" in command
