"""Our client at INN: innd takes what it streams, nnrpd gives it back, by all it has for readers."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack
from time import time
from typing import TYPE_CHECKING

import pytest
import trustme
from inn import GROUPS, end_inn, free_port, inn_running, start_inn
from news_articles import composed

from sennit.core.errors import LoginDenied, TLSError, UsageError
from sennit.core.transport.tls import ClientTLS
from sennit.news.article import format_date
from sennit.news.client import NNTPClient, Offered
from sennit.news.errors import NNTPTransientError
from sennit.news.overview import header_of
from sennit.news.pull import pull
from sennit.news.store.memory import MemoryStore
from sennit.news.store.sqlite import SQLiteStore
from sennit.news.wildmat import Pattern

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator
    from pathlib import Path

    from inn import Inn

    from sennit.core.deferred import Deferred
    from sennit.news.client import Connecting

pytestmark = pytest.mark.interop

__all__ = ["inn_running"]

COUNT = 120
PASSWORD = "flint-stone"


def article(number: int, group: str = "local.test") -> bytes:
    """One of many, each with lines that begin with dots."""
    return composed(
        {
            "Message-ID": f"<{number}@example.net>",
            "Newsgroups": group,
            "Date": format_date(time() - 60).decode(),
            "Subject": f"number {number}",
        },
        body=b"." * (number % 7) + b"\r\n.%d\r\n\r\n.\r\nend %d\r\n" % (number, number),
    )


async def collect(source: AsyncIterable[object]) -> list[object]:
    """All of it."""
    return [each async for each in source]


async def fill(inn: Inn, count: int = COUNT) -> None:
    """Stream articles to innd: all of them under way at once."""
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.port}/", reader=False) as news:
        assert await news.start_streaming()
        checks = [news.check(b"<%d@example.net>" % each) for each in range(1, count + 1)]
        assert {await each for each in checks} == {Offered.WANTED}
        sent: list[Deferred[Offered]] = []
        for each in range(1, count + 1):
            await news.writable()
            sent.append(news.takethis(b"<%d@example.net>" % each, article(each)))
        assert [await each for each in sent] == [Offered.TAKEN] * count
        assert await news.check(b"<1@example.net>") is Offered.UNWANTED
        assert await news.takethis(b"<1@example.net>", article(1)) is Offered.REJECTED
        assert await news.ihave(b"<1@example.net>", article(1)) is Offered.UNWANTED
        assert await news.ihave(b"<one@example.net>", b"no head\r\n") is Offered.REJECTED


async def test_what_is_streamed_to_innd_comes_back_from_nnrpd(inn: Inn) -> None:
    await fill(inn)
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.reader_port}/") as news:
        group = await news.group("local.test")
        assert (group.low, group.high, group.count) == (1, COUNT, COUNT)
        with pytest.raises(NNTPTransientError, match="411"):
            await news.group("no.such.group")
        await news.group("local.test")

        rows = [row async for row in news.over(1, COUNT)]
        assert [row.number for row in rows] == list(range(1, COUNT + 1))
        assert {row.message_id for row in rows} == {
            b"<%d@example.net>" % each for each in range(1, COUNT + 1)
        }
        assert all(row.field("xref") for row in rows)
        assert await collect(news.over(COUNT + 5)) == []

        missing: list[object] = []
        wanted = [*range(1, COUNT + 1), COUNT + 9, b"<none@example.net>", b"<7@example.net>"]
        found = [each async for each in news.fetch(wanted, missing=missing.append)]
        assert missing == [COUNT + 9, b"<none@example.net>"]
        bodies = {each.message_id: each.body for each in found}
        for each in range(1, COUNT + 1):
            octets = article(each)
            assert bodies[b"<%d@example.net>" % each] == octets[octets.find(b"\r\n\r\n") + 4 :]

        async with news.open_article(b"<9@example.net>", part="BODY") as stream:
            body = b"".join([piece async for piece in stream])
        assert body == bodies[b"<9@example.net>"]
        assert (await news.head(1)).octets.startswith(b"Path: ")
        assert await news.stat(5) == (5, rows[4].message_id)
        assert await news.next() == (6, rows[5].message_id)
        assert await news.last() == (5, rows[4].message_id)


async def test_all_lists_of_nnrpd_are_understood(inn: Inn) -> None:
    await fill(inn, 20)
    rights = inn.folder / "etc" / "readers.conf"
    rights.write_text(rights.read_text().replace("access: RPA", "access: RPAN"))  # NEWNEWS, too
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.reader_port}/") as news:
        names = {group.name async for group in news.groups()}
        assert set(GROUPS) <= names
        counts = {group.name: group.count async for group in news.counts("local.*")}
        assert counts == {"local.test": 20, "local.general": 0, "local.moderated": 0}
        about = {name: text async for name, text in news.descriptions("local.test")}
        assert about == {"local.test": "A group"}
        assert [each async for each in news.listgroup("local.test", 5, 7)] == [5, 6, 7]
        assert [number async for number, _ in news.hdr("Subject", 3, 4)] == [3, 4]
        assert {text async for _, text in news.hdr(":lines", 1, 20)} <= {b"5", b"6"}
        found = [each async for each in news.hdr("Subject", 1, pattern="*number*")]
        assert len(found) == 20
        # It takes patterns for the same as we do.
        subjects = [f"number {each}" for each in range(1, 21)]
        for pattern in ("number [1-3]", "number [^]-12]*", "* ?[05]", "\\number \\[", "*,*"):
            theirs = [text async for _, text in news.hdr("Subject", 1, pattern=pattern)]
            ours = [each for each in subjects if Pattern(pattern).matches(each)]
            assert [text.decode() for text in theirs] == ours
        made = {group.name async for group in news.newgroups(0)}
        assert made == set() or set(GROUPS) <= made
        since = time() - 3600
        assert len([each async for each in news.newnews("local.*", since)]) == 20
        assert abs((await news.date()).timestamp() - time()) < 60
        assert await news.help()


async def test_groups_of_nnrpd_are_pulled(inn: Inn) -> None:
    await fill(inn)
    store = MemoryStore()
    url = f"nntp://127.0.0.1:{inn.reader_port}/"
    pulled = await pull(store, url, "local.*", connections=3)
    assert (pulled.added, pulled.known, pulled.refused.total()) == (COUNT, 0, 0)
    group = await store.group("local.moderated")
    assert group is not None
    assert (group.status, group.description) == ("m", "A group")
    pulled = await pull(store, url, "local.*")
    assert (pulled.added, pulled.known) == (0, COUNT)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_groups_of_nnrpd_are_pulled_one_after_the_other(
    inn: Inn, kind: str, tmp_path: Path
) -> None:
    """What both have is fetched once, and filed in both."""
    async with NNTPClient.connect(f"nntp://127.0.0.1:{inn.port}/", reader=False) as news:
        for number in range(1, 41):
            groups = ("local.test", "local.general", "local.general,local.test")[number % 3]
            offered = b"<%d@example.net>" % number
            assert await news.takethis(offered, article(number, groups)) is Offered.TAKEN
    url = f"nntp://127.0.0.1:{inn.reader_port}/"
    async with AsyncExitStack() as stack:
        store: MemoryStore | SQLiteStore = MemoryStore()
        if kind == "sqlite":
            store = await stack.enter_async_context(SQLiteStore.open(tmp_path / "news.db"))
        pulled = await pull(store, url, "local.test")
        assert (pulled.added, pulled.filed, pulled.known) == (26, 0, 0)
        pulled = await pull(store, url, "local.general")
        assert (pulled.added, pulled.filed, pulled.known) == (14, 13, 0)
        assert pulled.octets < 14 * 1000
        pulled = await pull(store, url, "local.*")
        assert (pulled.added, pulled.filed, pulled.known) == (0, 0, 26 + 27)
        for group, count in (("local.test", 26), ("local.general", 27)):
            told = await store.group(group)
            assert told is not None
            assert told.count == count
        async with NNTPClient.connect(url) as news:
            # Each stands in Xref where INN has it, too, by name.
            for number in range(1, 41):
                found = await store.article(b"<%d@example.net>" % number)
                theirs = await news.head(b"<%d@example.net>" % number)
                assert found is not None
                assert _places(found.head) == _places(theirs.octets)


def _places(head: bytes) -> set[bytes]:
    """The groups that Xref names."""
    words = header_of(head, "Xref").split()[1:]
    return {word.partition(b":")[0] for word in words}


# ── logins, TLS, compression ──────────────────────────────────────────────────


@pytest.fixture
def guarded() -> Iterator[tuple[Inn, ClientTLS]]:
    """An INN whose readers log in, with a certificate for localhost; nnrpd is to be started."""
    inn = start_inn(users={"fred": PASSWORD})
    try:
        authority = trustme.CA()
        pem = inn.folder / "etc" / "cert.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
        with (inn.folder / "etc" / "inn.conf").open("a") as file:
            file.write(f"tlscertfile: {pem}\ntlskeyfile: {pem}\n")
        pem.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(pem, "news", "news")
        yield inn, ClientTLS(trust=authority.cert_pem.bytes())
    finally:
        end_inn(inn)


def readers(inn: Inn, *words: str) -> int:
    """Start an nnrpd; its port."""
    port = free_port()
    inn.start("nnrpd", port, "-D", "-f", "-b", "127.0.0.1", "-p", str(port), *words)
    return port


def entering(url: str, trust: ClientTLS, password: str = PASSWORD) -> Connecting:
    """A connection on which somebody logs in."""
    return NNTPClient.connect(
        url, tls=trust, user="fred", password=password, server_hostname="localhost"
    )


async def test_nnrpd_lets_us_in_over_tls_however_it_begins(guarded: tuple[Inn, ClientTLS]) -> None:
    inn, trust = guarded
    plain = f"nntp://127.0.0.1:{readers(inn)}/"
    secure = f"nntps://127.0.0.1:{readers(inn, '-S')}/"
    for url in (plain, secure):
        async with entering(url, trust) as news:
            assert news.logged_in
            assert news.may_post
            assert (await news.group("local.test")).count == 0
        with pytest.raises(TLSError):
            await NNTPClient.connect(url, tls=trust, server_hostname="news.example")
        with pytest.raises(LoginDenied):
            await entering(url, trust, "wrong")


async def test_nnrpd_asks_for_a_login_and_gets_it_where_that_is_allowed(
    guarded: tuple[Inn, ClientTLS],
) -> None:
    inn, _ = guarded
    url = f"nntp://127.0.0.1:{readers(inn)}/"
    async with NNTPClient.connect(url) as news:
        with pytest.raises(NNTPTransientError, match="480"):
            await news.group("local.test")
    with pytest.raises((UsageError, LoginDenied)):
        # By SASL it knows other users, and in clear the password is not shown.
        await NNTPClient.connect(url, user="fred", password=PASSWORD)
    async with NNTPClient.connect(url, user="fred", password=PASSWORD, in_clear=True) as news:
        assert (await news.group("local.test")).count == 0


async def test_nnrpd_and_we_deflate_all(inn: Inn) -> None:
    """RFC 8054."""
    await fill(inn)
    url = f"nntp://127.0.0.1:{inn.reader_port}/"
    async with NNTPClient.connect(url, compress=True) as news:
        assert not news.capabilities.has("COMPRESS", "DEFLATE")  # since it is in use
        await news.group("local.test")
        assert len([row async for row in news.over(1)]) == COUNT
        found = [each async for each in news.fetch(range(1, COUNT + 1))]
        assert len(found) == COUNT
        posted = composed({"Newsgroups": "local.test"}, body=b".\r\n" * 100, proto=True)
        assert await news.post(posted) is not None
