"""INN on the other side: our feed to it, its feed to us, and its readers' server for our client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING

import pytest
from inn import end_inn, inn_running, start_inn, start_nnrpd
from news_articles import HOST, composed

from sennit.core.address import InternetAddress
from sennit.core.endpoint.listen import serve
from sennit.core.reactor.base import current_reactor
from sennit.news.access import Access
from sennit.news.article import format_date, parse
from sennit.news.client import NNTPClient, Offered
from sennit.news.control import Control
from sennit.news.errors import NNTPTransientError
from sennit.news.feeds import Feed, Feeder
from sennit.news.injection import Injection
from sennit.news.intake import Intake
from sennit.news.interfaces import History
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from inn import Inn

pytestmark = pytest.mark.interop

__all__ = ["inn_running"]

GROUP = "local.test"
BODIES = {
    "plain": b"Hello.\r\n",
    "dots": b".\r\n..\r\n...dots\r\n\r\n.\r\nend\r\n",
    "long-lines": b"x" * 5000 + b"\r\n" + b"." * 4096 + b"\r\n",
    "8-bit": bytes(set(range(1, 256)) - {10, 13}) + b"\r\n",
    "blank-lines": b"\r\n\r\n\r\nx\r\n\r\n\r\n",
    "trailing-blanks": b"x \t \r\n \r\n",
    "large": b"0123456789abcdef" * 50_000 + b"\r\n",
}


def article(name: str, body: bytes, **fields: str | None) -> bytes:
    return composed(
        {
            "Message-ID": f"<{name}@example.net>",
            "Newsgroups": GROUP,
            "Date": format_date(time() - 60).decode(),
            "Subject": f"On\r\n {name}",
            "X-8-Bit": "gr\u00fcn",
            **fields,
        },
        body=body,
    )


ARTICLES = {name: article(name, body) for name, body in BODIES.items()}


def essence(octets: bytes) -> bytes:
    """An article without what each server writes itself: Path, and Xref."""
    parsed = parse(octets)
    fields = [each for each in parsed.fields if each[0] not in (b"path", b"xref")]
    return parsed.with_fields(fields).octets


def essences(articles: dict[str, bytes]) -> set[bytes]:
    return {essence(each) for each in articles.values()}


@pytest.fixture
def singly() -> Iterator[Inn]:
    """An INN that does not let peers stream."""
    inn = start_inn(streaming=False)
    try:
        yield inn
    finally:
        end_inn(inn)


async def feed_to(inn: Inn) -> Feeder:
    """Let a feeder offer all articles; it ends when none waits."""
    store = MemoryStore(host=HOST)
    await store.create_group(GROUP)
    feed = Feed("inn.example.net", f"nntp://127.0.0.1:{inn.port}/", window=4)
    feeder = Feeder(store, feed)
    intake = Intake(store, path_host=HOST, feeds=[feed])
    intake.watch(feed.name, feeder.wake)
    empty = asyncio.Event()
    unqueue = store.unqueue

    async def noting(name: str, places: list[int]) -> None:
        await unqueue(name, places)
        if not await store.queue_length(name):
            empty.set()

    store.unqueue = noting  # type: ignore[method-assign, assignment] # to see the last one go
    for octets in ARTICLES.values():
        await intake.take(octets, "peer.example.net")
    await feeder.start(current_reactor())
    async with asyncio.timeout(10):
        await empty.wait()
    await feeder.stop()
    return feeder


async def test_our_feed_streams_to_inn(inn: Inn) -> None:
    feeder = await feed_to(inn)

    assert feeder.error is None
    spooled = inn.spooled(GROUP)
    assert {essence(each) for each in spooled.values()} == essences(ARTICLES)
    assert b"!news.example.org!!peer.example.net!not-for-mail" in b"".join(spooled.values())


async def test_our_feed_offers_inn_one_by_one(singly: Inn) -> None:
    feeder = await feed_to(singly)

    assert feeder.error is None
    assert {essence(each) for each in singly.spooled(GROUP).values()} == essences(ARTICLES)


@asynccontextmanager
async def ours() -> AsyncGenerator[tuple[MemoryStore, int]]:
    """Our server, for whoever is on loopback."""
    store = MemoryStore(host=HOST)
    await store.create_group(GROUP)
    factory = NNTPServerFactory(
        store, Intake(store, path_host=HOST), access=Access(transit=True, name="inn.example.net")
    )
    async with serve("tcp://127.0.0.1:0", factory) as running:
        address = running.addresses[0]
        assert isinstance(address, InternetAddress)
        yield store, address.port


@pytest.mark.parametrize("words", [(), ("-s",)], ids=["streaming", "ihave"])
async def test_inn_feeds_us(inn: Inn, words: tuple[str, ...]) -> None:
    """innxmit has what it offers taken, once each, and octet for octet."""
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.port}/", reader=False) as client:
        assert await client.start_streaming()
        for name, octets in ARTICLES.items():
            sent = client.takethis(f"<{name}@example.net>".encode(), octets)
            assert await sent is Offered.TAKEN, inn.log()
    reactor = current_reactor()
    batch = await reactor.defer_to_thread(
        inn.batch, *(f"<{name}@example.net>" for name in ARTICLES)
    )
    async with ours() as (store, port):
        for _ in range(2):
            # The second time we have them all.
            output = await reactor.defer_to_thread(inn.feed, "127.0.0.1", port, batch, *words)
            assert "rejected" not in output
            group = await store.group(GROUP)
            assert group is not None
            assert group.count == len(ARTICLES)
        kept = [await store.article_at(GROUP, number + 1) for number in range(len(ARTICLES))]
        assert {essence(each.octets) for each in kept if each} == essences(ARTICLES)
        path = parse(kept[0].octets).content(b"path") if kept[0] else b""
        assert path == b"news.example.org!!inn.example.net!peer.example.net!not-for-mail"


async def test_our_client_reads_and_posts_at_nnrpd(inn: Inn) -> None:
    url = f"nntp://127.0.0.1:{inn.reader_port}/"
    async with NNTPClient.connect(url) as client:
        posted = await client.post(composed({"Newsgroups": GROUP}, body=BODIES["dots"], proto=True))
        assert posted is not None
        group = await client.group(GROUP)
        assert (group.count, group.high) == (1, 1)
        (spooled,) = inn.spooled(GROUP).values()
        assert essence(spooled).endswith(b"\r\n\r\n" + BODIES["dots"])


async def test_what_nnrpd_injects_comes_to_us_as_it_is(inn: Inn) -> None:
    """Posted by our client at INN, fed by INN to our server, read there by our client."""
    reactor = current_reactor()
    octets = composed({"Newsgroups": GROUP}, body=BODIES["dots"], proto=True)
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.reader_port}/") as client:
        posted = await client.post(octets)
    assert posted is not None
    async with ours() as (store, port):
        batch = await reactor.defer_to_thread(inn.batch, posted.decode())
        await reactor.defer_to_thread(inn.feed, "127.0.0.1", port, batch)
        kept = await store.article(posted)
        assert kept is not None
        assert kept.body == BODIES["dots"]
        assert b"!.POSTED" in (parse(kept.octets).content(b"path") or b"")


# ── locks (RFC 8315) ──────────────────────────────────────────────────────────


@pytest.fixture
def locking() -> Iterator[Inn]:
    """An INN that obeys who has the key alone, and makes locks for whoever posts at it."""
    inn = start_inn()
    try:
        inn.stop()
        inn.processes.clear()
        etc = inn.folder / "etc"
        for name, more in (
            ("inn.conf", "docancels: require-auth\n"),
            ("inn-secrets.conf", 'cancels {\n canlockuser: [ "user" ]\n}\n'),
        ):
            with (etc / name).open("a") as file:
                file.write(more)
        readers = etc / "readers.conf"
        readers.write_text(readers.read_text().replace("RPA", "RPA\n addcanlockuser: ip"))
        inn.start("innd", inn.port, "-d", "-4", "127.0.0.1", "-P", str(inn.port))
        start_nnrpd(inn)
        yield inn
    finally:
        end_inn(inn)


async def test_inn_obeys_the_keys_that_we_make_and_no_others(locking: Inn) -> None:
    store = MemoryStore(host=HOST)
    await store.create_group(GROUP)
    injection = Injection(HOST, trace="none", lock_key=b"secret")
    intake = Intake(store, path_host=HOST, injection=injection)

    async def post(name: str, poster: str, **fields: str) -> bytes:
        octets = article(name, b"x\r\n", Path=None, **fields)
        await intake.post(octets, poster=poster, host="", may_approve=False)
        kept = await store.article(f"<{name}@example.net>".encode())
        assert kept is not None
        lines = kept.octets.splitlines(True)
        return b"".join(each for each in lines if not each.startswith(b"Xref:"))

    cancel = {"Control": "cancel <first@example.net>", "Subject": "cmsg cancel"}
    url = f"nntp://127.0.0.1:{locking.port}/"
    async with NNTPClient.connect(url, reader=False) as client:
        for name, octets, gone in (
            ("first", await post("first", "ann"), False),
            ("by-eve", await post("by-eve", "eve", **cancel), False),
            ("by-nobody", await post("by-nobody", "", **cancel), False),
            ("by-ann", await post("by-ann", "ann", **cancel), True),
            ("second", await post("second", "ann"), True),
        ):
            sent = await client.takethis(f"<{name}@example.net>".encode(), octets)
            assert sent is Offered.TAKEN, locking.log()
            try:
                await client.stat(b"<first@example.net>")
            except NNTPTransientError:
                assert gone, name
            else:
                assert not gone, name


async def test_we_obey_the_keys_that_inn_makes(locking: Inn) -> None:
    store = MemoryStore(host=HOST)
    await store.create_group(GROUP)
    control = Control(store, path_host=HOST, kinds=["cancel"], clock=time)
    intake = Intake(store, path_host=HOST, control=control)
    async with NNTPClient.connect(f"nntp://127.0.0.1:{locking.reader_port}/") as client:
        target = await client.post(composed({"Newsgroups": GROUP}, proto=True))
        assert target is not None
        (posted,) = locking.spooled(GROUP).values()
        fields = {"Newsgroups": GROUP, "Control": f"cancel {target.decode()}"}
        assert await client.post(composed({**fields}, proto=True)) is not None
    (cancel,) = locking.spooled("control.cancel").values()
    assert locking.spooled(GROUP) == {}, "it has obeyed its own"
    await intake.take(posted, "peer.example.net")
    keyless = composed({**fields, "Date": format_date(time() - 60).decode()})
    await intake.take(keyless, "peer.example.net")
    assert await store.history(target) is History.PRESENT

    await intake.take(cancel, "peer.example.net")
    assert await store.history(target) is History.GONE


async def test_inn_and_we_take_the_same_articles_for_broken(inn: Inn) -> None:
    """HARDENING nntp-2."""
    broken = {
        "no-subject": article("no-subject", b"x\r\n", Subject=None),
        "no-date": article("no-date", b"x\r\n", Date=None),
        "bad-date": article("bad-date", b"x\r\n", Date="yesterday"),
        "no-path": article("no-path", b"x\r\n", Path=None),
        "twice": article("twice", b"x\r\n", SUBJECT="again"),
        "no-blank": article("no-blank", b"x\r\n").replace(b"Subject: On\r\n ", b"Subject:On"),
    }
    async with ours() as (_, port):
        for where in (inn.port, port):
            url = f"nntp://127.0.0.1:{where}/"
            async with NNTPClient.connect(url, reader=False) as client:
                assert await client.start_streaming()
                for name, octets in broken.items():
                    answer = await client.takethis(f"<{name}@example.net>".encode(), octets)
                    assert answer is Offered.REJECTED, (where, name)
