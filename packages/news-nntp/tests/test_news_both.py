"""Client and server of this package: logins, TLS, compression, posts, feeds, and every list."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from news_articles import NOW, composed
from news_scripts import NAME, certificates, play
from news_serving import FakeIntake, filled

from sennit.core.auth.checkers import MemoryUsers
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal, Realm
from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectionLost, LoginDenied
from sennit.news.access import NOBODY, Access
from sennit.news.client import NNTPClient, Offered
from sennit.news.errors import ArticleError, NNTPTransientError
from sennit.news.intake import Intake
from sennit.news.limits import ClientLimits
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sennit.core.testing.clock import Clock
    from sennit.news.client import Connecting

HOST = "10.0.0.1"
ALL = Access("*", "*", transit=True, name="peer.example.net")


@asynccontextmanager
async def shelf(
    store: MemoryStore | None = None,
    intake: object = None,
    *,
    url: str = f"tcp://{HOST}:119",
    **options: Any,  # of the factory
) -> AsyncGenerator[str, None]:
    """Our server; where it is."""
    options.setdefault("access", ALL)
    factory = NNTPServerFactory(filled() if store is None else store, intake, **options)
    certificate = options.get("tls") if url.startswith("tls") else None
    async with serve(url, factory, tls=certificate):
        yield f"nntp{'s' if certificate else ''}://{HOST}:119/"


def portal() -> Portal:
    """Of one user."""
    realm = Realm()

    @realm.provides(Access)
    def open_access(name: str) -> Access:
        return Access("*", "misc.*", name=name)

    return Portal(realm, [MemoryUsers({"alice": "wonder land"})])


def test_all_that_readers_ask_for_is_answered() -> None:
    async def main(_: Clock) -> None:
        async with shelf(filled(40)) as url, NNTPClient.connect(url) as news:
            group = await news.group("misc.test")
            assert (group.count, group.low, group.high) == (40, 1, 40)
            rows = [row async for row in news.over(1)]
            assert [row.number for row in rows] == list(range(1, 41))
            assert rows[1].subject == "the 2th"
            assert rows[1].field("xref") == b"news.example misc.test:2"
            found = [each async for each in news.fetch(range(1, 41))]
            assert [each.message_id for each in found] == [row.message_id for row in rows]
            assert found[1].body == b".a line of dots\r\n..\r\n.\r\n"
            assert len(found[1].octets) == rows[1].size
            assert [number async for number in news.listgroup("misc.test", 3, 5)] == [3, 4, 5]
            assert [text async for _, text in news.hdr("Subject", 2, 2)] == [b"the 2th"]
            assert len([each async for each in news.hdr("From", 1, pattern="*body7@*")]) == 1
            names = [each.name async for each in news.counts()]
            assert sorted(names) == ["comp.lang.python", "misc.empty", "misc.test", "secret.board"]
            about = {name: text async for name, text in news.descriptions("misc.*")}
            assert about["misc.test"] == "For tests"
            made = [each async for each in news.created("misc.test")]
            assert made[0].creator == "usenet@example.net"
            assert len([each async for each in news.newnews("misc.*", 0)]) == 40
            assert [each.name async for each in news.newgroups(0)]
            assert await news.help()
            assert await news.stat() is not None
            with pytest.raises(NNTPTransientError, match="423"):
                await news.article(77)

    play(main)


def test_articles_are_posted_offered_and_streamed() -> None:
    async def main(_: Clock) -> None:
        store = MemoryStore(host="news.example")
        await store.create_group("misc.test")
        intake = Intake(store, path_host="news.example", clock=lambda: NOW)
        async with shelf(store, intake) as url, NNTPClient.connect(url) as news:
            posted = await news.post(composed(proto=True, body=b".\r\n..x\r\n"))
            assert posted is not None
            assert (await news.body(posted)) == b".\r\n..x\r\n"
            with pytest.raises(NNTPTransientError, match="441"):
                await news.post(composed({"Subject": None}, proto=True))
            assert await news.start_streaming()
            offered = [b"<%d@s>" % each for each in range(200)]
            wanted = [news.check(each) for each in offered]
            assert {await each for each in wanted} == {Offered.WANTED}
            sent = [
                news.takethis(each, composed({"Message-ID": each.decode()}, body=b".\r\n"))
                for each in offered
            ]
            assert {await each for each in sent} == {Offered.TAKEN}
            assert await news.check(b"<7@s>") is Offered.UNWANTED
            assert await news.takethis(b"<7@s>", composed({"Message-ID": "<7@s>"})) is (
                Offered.REJECTED
            )
            octets = composed({"Message-ID": "<i@s>"})
            assert await news.ihave(b"<i@s>", octets) is Offered.TAKEN
            assert await news.ihave(b"<i@s>", octets) is Offered.UNWANTED
            assert await news.ihave(b"<j@s>", octets) is Offered.REJECTED
            assert (await news.group("misc.test")).count == 202

    play(main)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from([b".", b"a", b"\r\n", b"\xff", b"\t", b".\r\n"]), max_size=40))
def test_bodies_round_trip_both_ways(pieces: list[bytes]) -> None:
    """HARDENING nntp-1: what one side sends is what the other stores, and gives back."""
    body = b"".join(pieces) + b"\r\n"

    async def main(_: Clock) -> None:
        store = MemoryStore()
        await store.create_group("misc.test")
        intake = Intake(store, path_host="news.example", clock=lambda: NOW)
        for compress in (False, True):
            async with (
                shelf(store, intake, compress=True) as url,
                NNTPClient.connect(url, compress=compress) as news,
            ):
                name = b"<%d@s>" % compress
                octets = composed({"Message-ID": name.decode()}, body=body)
                assert await news.takethis(name, octets) is Offered.TAKEN
                assert await news.body(name) == body
                assert (await news.article(name)).body == body

    play(main)


@pytest.mark.usefixtures("memory_network")
async def test_logins_are_by_scram_over_connections_in_clear() -> None:
    async with shelf(portal=portal(), access=NOBODY) as url:
        async with NNTPClient.connect(url, user="alice", password="wonder land") as news:
            assert news.logged_in
            assert (await news.group("misc.test")).count == 5
        async with NNTPClient.connect(url) as news:
            with pytest.raises(NNTPTransientError, match="480"):
                await news.group("misc.test")


@pytest.mark.usefixtures("memory_network")
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_logins_over_tls_begin_either_way(scheme: str) -> None:
    server, client = certificates()

    def entering(url: str, password: str) -> Connecting:
        return NNTPClient.connect(
            url, tls=client, server_hostname=NAME, user="alice", password=password
        )

    async with shelf(
        url=f"{scheme}://{HOST}:119",
        portal=portal(),
        access=NOBODY,
        tls=server,
        login_limits=LoginLimits(delay=0.0),
    ) as url:
        async with entering(url, "wonder land") as news:
            assert news.logged_in
            assert (await news.group("misc.test")).count == 5
        with pytest.raises(LoginDenied):
            await entering(url, "wrong")


def test_compression_makes_overviews_small_and_changes_nothing() -> None:
    async def main(_: Clock) -> None:
        async with (
            shelf(filled(500), compress=True) as url,
            NNTPClient.connect(url) as plain,
            NNTPClient.connect(url, compress=True) as news,
        ):
            assert "COMPRESS" in plain.capabilities
            assert "COMPRESS" not in news.capabilities
            for each in (plain, news):
                await each.group("misc.test")
            expected = [row.columns async for row in plain.over(1)]
            assert [row.columns async for row in news.over(1)] == expected
            found = [each.octets async for each in news.fetch(range(1, 501))]
            assert found == [each.octets async for each in plain.fetch(range(1, 501))]

    play(main)


def test_who_leaves_in_the_middle_leaves_nothing_behind() -> None:
    async def main(_: Clock) -> None:
        async with shelf(filled(900)) as url:
            news = await NNTPClient.connect(url)
            await news.group("misc.test")
            source = news.fetch(range(1, 901))
            await anext(source)
            news.abort()
            with pytest.raises(ConnectionLost):
                async for _each in source:
                    pass
            waiting = asyncio.ensure_future(news.date())
            with pytest.raises(ConnectionLost):
                await waiting

    play(main)


def test_an_article_too_large_for_the_server_is_refused_and_the_connection_lives() -> None:
    async def main(_: Clock) -> None:
        intake = FakeIntake()
        async with (
            shelf(None, intake) as url,
            NNTPClient.connect(url, limits=ClientLimits(max_article=1000)) as news,
        ):
            assert await news.takethis(b"<1@x>", b"x" * (2 << 20) + b"\r\n") is Offered.REJECTED
            intake.failing = ArticleError("no")
            with pytest.raises(NNTPTransientError, match="441"):
                await news.post(composed(proto=True))
            assert await news.stat(b"<1@example.net>") == (0, b"<1@example.net>")

    play(main)
