"""From a table of the configuration to a service that answers, or to what is wrong with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from sennit.core.errors import ConfigError
from sennit.core.plugin import find_service
from sennit.core.service.loading import load
from sennit.core.service.options import attribute_help
from sennit.core.service.tree import StartError
from sennit.news.client import NNTPClient
from sennit.news.config import AccessTable, ExpireTable, LimitsTable, NewsConfig, PeerTable
from sennit.news.errors import NNTPReplyError
from sennit.news.locks import key_of, lock_of
from sennit.news.overview import header_of
from sennit.news.plugin import news
from sennit.news.service import NewsService, try_news

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.news.interfaces import Filed

LISTEN = 'listen = ["tcp://127.0.0.1:0"]\nname = "news.example"\n'
GROUPS = 'groups = ["local.test  A place to try", "local.news  What is new (Moderated)"]\n'
USERS = '[users.people]\ntype = "file"\nfile = "people"\n'
POST = b"From: ann@example.org\r\nNewsgroups: local.test\r\nSubject: One\r\n\r\nHello.\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with users and a certificate."""
    (tmp_path / "people").write_text("ann:!\n")  # nobody knows her password
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    return tmp_path


def built(folder: Path, text: str, more: str = "") -> NewsService:
    file = folder / "sennit.toml"
    file.write_text(f'[service.news]\ntype = "news"\n{text}{more}')
    _, services = load(file).build()
    found = services["news"]
    assert isinstance(found, NewsService)
    return found


def url_of(service: NewsService) -> str:
    return service.urls[0].replace("tcp://", "nntp://")


@asynccontextmanager
async def running(
    folder: Path, reactor: Reactor, text: str, more: str = ""
) -> AsyncGenerator[NewsService, None]:
    service = built(folder, LISTEN + text, more)
    await service.start(reactor)
    try:
        yield service
    finally:
        await service.stop()


def told_of_articles(service: NewsService, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event for the next article that is kept."""
    told, add = asyncio.Event(), service.store.add

    async def adding(filed: Filed) -> Sequence[tuple[str, int]]:
        try:
            return await add(filed)
        finally:
            told.set()

    monkeypatch.setattr(service.store, "add", adding)
    return told


def test_the_plugin_knows_its_parts_and_is_found() -> None:
    assert news.config_type() is NewsConfig
    assert find_service("news") is news
    assert news.scale == "one"


@pytest.mark.parametrize("struct", [NewsConfig, AccessTable, PeerTable, ExpireTable, LimitsTable])
def test_every_key_has_its_help(
    struct: type[NewsConfig | AccessTable | PeerTable | ExpireTable | LimitsTable],
) -> None:
    helps = attribute_help(struct)
    assert [each for each in struct.__struct_fields__ if not helps.get(each)] == []


async def test_groups_are_there_and_what_is_posted_stays(folder: Path, reactor: Reactor) -> None:
    async with (
        running(folder, reactor, GROUPS + 'post = "local.*"\n') as service,
        NNTPClient.connect(url_of(service)) as client,
    ):
        message_id = await client.post(POST)
    async with (
        running(folder, reactor, GROUPS + 'motd = ["Welcome"]\n') as service,
        NNTPClient.connect(url_of(service)) as client,
    ):
        [local_news, local_test] = await service.store.groups()
        assert (local_test.description, local_test.status) == ("A place to try", "y")
        assert (local_news.description, local_news.status) == ("What is new (Moderated)", "m")
        assert local_test.count == 1
        assert message_id is None or message_id.endswith(b"@news.example>")
        with pytest.raises(NNTPReplyError, match="440"):
            await client.post(POST)


async def test_groups_for_junk_and_control_messages_are_made(
    folder: Path, reactor: Reactor
) -> None:
    async with running(folder, reactor, 'junk = "junk"\ncontrol = ["cancel"]\n') as service:
        groups = await service.store.groups()
        assert [(each.name, each.status) for each in groups] == [("control", "n"), ("junk", "n")]


async def test_what_is_posted_with_a_login_gets_a_lock(folder: Path, reactor: Reactor) -> None:
    (folder / "password").write_text("wonderland\n")
    (folder / "lock.key").write_text("ExampleSecret\n")
    text = GROUPS + 'post = "*"\nusers = "people"\nlogin_in_clear = true\n'
    locks = 'lock_key = {file = "lock.key"}\n'
    users = '[users.people]\ntype = "memory"\npasswords = {ann = {file = "password"}}\n'
    post = POST.replace(b"\r\n\r\n", b"\r\nMessage-ID: <1@news.example>\r\n\r\n")
    async with (
        running(folder, reactor, text + locks, users) as service,
        NNTPClient.connect(
            url_of(service), user="ann", password="wonderland", in_clear=True
        ) as client,
    ):
        assert await client.post(post) == b"<1@news.example>"
        article = await client.article(b"<1@news.example>")
    expected = lock_of(key_of(b"ExampleSecret", "ann", b"<1@news.example>"))
    assert header_of(article.head, "Cancel-Lock") == expected


async def test_what_is_fed_arrives_at_the_peer_and_nowhere_else(
    folder: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other").mkdir()
    there = 'store = "other.db"\n' + GROUPS + '[service.news.peer."news.example"]\n'
    async with running(folder / "other", reactor, there + 'networks = ["loopback"]\n') as other:
        feed = f'[service.news.peer."other.example"]\nurl = "{url_of(other)}"\ngroups = "local.*"\n'
        async with (
            running(folder, reactor, GROUPS + 'post = "*"\n' + feed) as service,
            NNTPClient.connect(url_of(service)) as client,
        ):
            arrived = told_of_articles(other, monkeypatch)
            await client.post(POST)
            await arrived.wait()
            assert [each.count for each in await other.store.groups()] == [0, 1]


async def test_a_service_made_anew_has_the_store_of_the_one_whose_place_it_takes(
    folder: Path, reactor: Reactor
) -> None:
    async with running(folder, reactor, GROUPS + 'post = "*"\n') as old:
        new = built(folder, LISTEN + GROUPS)
        await new.start(reactor)
        try:
            async with NNTPClient.connect(url_of(old)) as client:
                await client.post(POST)
            await old.stop()
            assert [each.count for each in await new.store.groups()] == [0, 1]
        finally:
            await new.stop()


async def test_a_file_that_is_no_store_is_told_of(folder: Path, reactor: Reactor) -> None:
    (folder / "news.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StartError) as caught:
        await built(folder, LISTEN).start(reactor)
    assert caught.value.key == "store"
    assert "another kind of file" in str(caught.value)


async def test_a_folder_that_cannot_be_made_is_told_of(folder: Path, reactor: Reactor) -> None:
    text = LISTEN + 'store = "people/deeper/news.db"\n'
    with pytest.raises(StartError, match=r"folder .*people/deeper cannot be made") as caught:
        await built(folder, text).start(reactor)
    assert caught.value.key == "store"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('groups = ["a..b"]\n', "groups: 'a..b' is no name of a group"),
        ('mode = "none"\n', "mode"),
        ("user = {ann = {}}\n", "user: needs users"),
        ('trace = "hash"\n', 'trace: "hash" needs trace_key'),
        ("remember = 1\n", "remember: is not less than max_age"),
        ('users = "people"\n', "tls: passwords are not to pass in clear"),
        ('name = "a b"\n', "name"),
        ('read = "[x"\n', "[service.news] read"),
        ('post = "[x"\n', "[service.news] post"),
        ('distributions = "[x"\n', "[service.news] distributions"),
        ('junk = "a..b"\n', "[service.news] junk"),
        ('complaints_to = "a\\nb"\n', "[service.news] complaints_to"),
        ('control = ["newgroup"]\nissuers = {"a@b.example" = "["}\n', "[service.news] issuers"),
        ('peer = {x = {networks = ["nowhere"]}}\n', "peer.x.networks"),
        ('store = "/"\n', "[service.news] store: / is a folder"),
        ('peer = {x = {url = "http://x"}}\n', "peer.x.url"),
        ('peer = {"a!b" = {url = "nntp://x"}}\n', "peer.a!b: no name"),
        ('peer = {"a b" = {networks = ["192.0.2.7"]}}\n', "peer.a b: no name"),
        ("expire = [{minimum = 2, maximum = 1}]\n", "expire"),
        ('control = ["sendsys"]\n', "control"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(folder: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(folder, text, USERS)

    assert words in str(caught.value)


def test_commands_to_try_list_the_groups(folder: Path) -> None:
    assert try_news(NewsConfig(), ["tcp://127.0.0.1:1119", "tls://[::1]:563", "unix:x"]) == [
        "sennit news list nntp://127.0.0.1:1119/",
        "sennit news list nntps://[::1]:563/",
    ]
    closed = NewsConfig(users="people", tls="main", read="")
    assert try_news(closed, ["tcp://127.0.0.1:119"]) == [
        "sennit news list nntp://NAME@127.0.0.1:119/"
    ]
