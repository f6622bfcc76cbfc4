"""The web service: its configuration, its life, what it says when it cannot."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sennit.core.errors import ConfigError
from sennit.core.interfaces import IReactor
from sennit.core.ops.instruments import measure, stop_measuring
from sennit.core.service.loading import load
from sennit.core.service.tree import StartError
from sennit.web.config import WebConfig
from sennit.web.plugin import web
from sennit.web.service import WebService, sample_files, try_web

if TYPE_CHECKING:
    from sennit.core import Reactor

TABLE = '[service.site]\ntype = "web"\nlisten = "tcp://127.0.0.1:0"\nroot = "public"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>Hello")
    return tmp_path


def service(folder: Path, more: str = "") -> WebService:
    file = folder / "sennit.toml"
    file.write_text(TABLE + more)
    _, built = load(file).build()
    found = built["site"]
    assert isinstance(found, WebService)
    return found


async def test_it_serves_its_folder_and_writes_its_log(folder: Path, reactor: IReactor) -> None:
    more = 'access_log = "access.log"\naccess_log_style = "common"\nheaders = { x-y = "z" }\n'
    site = service(folder, more)
    await site.start(reactor)
    url = site.urls[0].replace("tcp:", "http:")

    def fetch() -> tuple[str | None, bytes]:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.headers["x-y"], answer.read()

    got = await reactor.defer_to_thread(fetch)
    await site.stop()
    assert got == ("z", b"<p>Hello")
    log = (folder / "access.log").read_text()
    assert '"GET / HTTP/1.1" 200 8' in log


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("colour = 1\n", "colour"),
        ('index = "index.html"\n', "index"),
        ('index = ["../x"]\n', "../x"),
        ('headers = { x = "a\\r\\nb" }\n', "headers"),
        ("max_head = 0\n", "max_head"),
        ("head_timeout = -1\n", "head_timeout"),
        ('access_log_style = "odd"\n', "access_log_style"),
    ],
)
def test_a_broken_table_gives_one_message(folder: Path, more: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service(folder, more)
    assert words in str(caught.value)
    assert "service.site" in str(caught.value)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="root"):
        service(tmp_path)


async def test_requests_are_counted_once_the_node_is_measured(
    folder: Path, reactor: Reactor
) -> None:
    site = service(folder, 'access_log = "access.log"\naccess_log_style = "json"\n')
    await site.start(reactor)
    url = site.urls[0].replace("tcp:", "http:")

    def fetch() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            content: bytes = answer.read()
            return content

    try:
        await reactor.defer_to_thread(fetch)
        registry = measure(reactor).registry
        assert not any(each["name"] == "sennit_web_requests" for each in registry.read())
        for _ in range(2):
            assert await reactor.defer_to_thread(fetch) == b"<p>Hello"
        (counted,) = [each for each in registry.read() if each["name"] == "sennit_web_requests"]
        (series,) = counted["samples"]
        labels = {"service": "site", "method": "GET", "status": "2xx"}
        assert (series["labels"], series["value"]) == (labels, 2)
    finally:
        await site.stop()
        stop_measuring(reactor)
    lines = (folder / "access.log").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200] * 3


async def test_a_log_that_cannot_be_opened_is_told_before_anything_listens(
    folder: Path, reactor: IReactor
) -> None:
    site = service(folder, 'access_log = "none/access.log"\n')
    with pytest.raises(StartError, match="access_log") as caught:
        await site.start(reactor)
    assert caught.value.key == "access_log"
    assert site.servers == ()


def test_what_it_is_told_reaches_the_server(folder: Path) -> None:
    more = "max_target = 100\nmax_body = 5\nidle_timeout = 7\nbody_rate = 0\nmax_fields = 9\n"
    site = service(folder, more).site
    assert (site.limits.target, site.limits.body, site.limits.fields) == (100, 5, 9)
    assert (site.timeouts.idle, site.timeouts.body_rate) == (7, 0)


def test_the_plugin_describes_it() -> None:
    assert web.config_type() is WebConfig
    assert web.positional == ("root",)
    assert "public/index.html" in sample_files()
    assert try_web(None, ["tcp://127.0.0.1:80", "tls://[::1]:443", "unix:/run/x"]) == [  # type: ignore[arg-type]  # not looked at
        "curl http://127.0.0.1:80/",
        "curl -k https://[::1]:443/",
        "curl --unix-socket /run/x http://localhost/",
    ]
