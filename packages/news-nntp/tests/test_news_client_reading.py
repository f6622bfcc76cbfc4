"""What a client reads: articles whole, as streams and by the hundred, overviews, headers, lists."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from news_scripts import READER, Script, play, serving, talking

from sennit.core.errors import ConnectionLost
from sennit.news.client import NNTPClient
from sennit.news.client_reading import WINDOW
from sennit.news.errors import (
    NNTPPermanentError,
    NNTPProtocolError,
    NNTPTransientError,
    NNTPUsageError,
)
from sennit.news.grammar import stuff
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from news_scripts import Reply

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock

OCTETS = b"Subject: s\r\nMessage-ID: <1@x>\r\n\r\n.dot\r\n..\r\nend\r\n"


async def collect(source: AsyncIterable[object]) -> list[object]:
    """All of it."""
    return [each async for each in source]


def block(head: bytes, octets: bytes) -> bytes:
    """A response with a block."""
    return head + b"\r\n" + stuff(octets) + b".\r\n"


# ── articles ──────────────────────────────────────────────────────────────────


def test_an_article_comes_whole_its_dots_undone() -> None:
    async def main(_: Clock) -> None:
        head, body = OCTETS.split(b"\r\n\r\n")
        replies = {
            b"ARTICLE": block(b"220 7 <1@x> follows", OCTETS),
            b"HEAD": block(b"221 7 <1@x>", head + b"\r\n"),
            b"BODY": block(b"222 7 <1@x>", body),
            b"ARTICLE 9": b"423 no such number\r\n",
            b"ARTICLE <9@x>": b"430 no such article\r\n",
        }
        async with talking(replies) as (news, script):
            article = await news.article(7)
            assert (article.number, article.message_id) == (7, b"<1@x>")
            assert article.octets == OCTETS
            assert article.body == body
            assert article.head == head + b"\r\n"
            assert (await news.article()).octets == OCTETS
            assert (await news.article("<1@x>")).octets == OCTETS
            assert (await news.head(7)).head == head + b"\r\n"
            assert await news.body(7) == body
            for missing in (9, b"<9@x>"):
                with pytest.raises(NNTPTransientError):
                    await news.article(missing)
        assert script.commands(b"ARTICLE") == [
            b"ARTICLE 7", b"ARTICLE", b"ARTICLE <1@x>", b"ARTICLE 9", b"ARTICLE <9@x>",
        ]  # fmt: skip

    play(main)


def test_an_article_is_read_as_it_comes() -> None:
    async def main(_: Clock) -> None:
        octets = OCTETS + b"line\r\n" * 100_000

        replies = {
            b"ARTICLE": block(b"220 7 <1@x>", octets),
            b"BODY": block(b"222 7 <1@x>", b""),
            b"STAT": b"223 8 <2@x>\r\n",
            b"HEAD": b"430 none\r\n",
        }
        async with talking(replies, limits=ClientLimits(max_article=1000)) as (news, _script):
            async with news.open_article(b"<1@x>") as article:
                assert (article.number, article.message_id) == (7, b"<1@x>")
                pieces = [piece async for piece in article]
            assert b"".join(pieces) == octets
            assert len(pieces) > 5
            async with news.open_article(7, part="BODY") as body:
                assert await collect(body) == []
            async with news.open_article(7) as left:
                async for _piece in left:
                    break  # the rest comes all the same, and is thrown away
            assert await news.stat() == (8, b"<2@x>")
            with pytest.raises(NNTPTransientError):
                async with news.open_article(7, part="HEAD"):
                    pass
            with pytest.raises(NNTPProtocolError):
                await news.article(7)

    play(main)


def test_a_stream_is_read_inside_its_block() -> None:
    async def main(_: Clock) -> None:
        async with talking() as (news, _script):
            with pytest.raises(NNTPUsageError):
                aiter(news.open_article(7))
            with pytest.raises(NNTPUsageError):
                news.open_article(7, part="XHDR")

    play(main)


@pytest.mark.parametrize("head", [b"220 1 <1@x>", b"220 no number"])
def test_a_stream_of_which_nothing_is_read_holds_nothing_up(head: bytes) -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"ARTICLE": block(head, b"x" * (1 << 20) + b"\r\n"),
            b"DATE": b"111 20270115080000\r\n",
        }
        async with talking(replies) as (news, _script):
            with suppress(NNTPProtocolError):
                async with news.open_article(1):
                    await asyncio.sleep(1)
            async with asyncio.timeout(50):
                await news.date()

    play(main)


def test_what_is_not_read_stays_with_the_server() -> None:
    """HARDENING fault-15, the client's side: 32 MiB of one article, and a program that is slow."""

    async def main(_: Clock) -> None:
        sent = 0

        async def endless(stream: Stream) -> None:
            nonlocal sent
            await stream.send_all(b"220 7 <1@x>\r\n")
            for _each in range(512):
                await stream.send_all(b"x" * 65534 + b"\r\n")
                sent += 1
            await stream.send_all(b".\r\n")

        async with serving(Script({b"ARTICLE": endless})) as url:
            news = await NNTPClient.connect(url)
            tracemalloc.start()
            size = 0
            async with news.open_article(7) as article:
                await asyncio.sleep(1000)
                assert sent < 16
                async for piece in article:
                    size += len(piece)
            _now, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert size == 32 << 20
            assert peak < 6 << 20
            news.abort()

    play(main)


def numbered(number: int) -> bytes:
    """An article that says its number."""
    return b"Subject: %d\r\n\r\n.%d\r\n" % (number, number)


def shelf(missing: frozenset[int] = frozenset(), first: bytes = b"") -> dict[bytes, Reply]:
    """Replies of a server that has articles from 1 to 200."""
    replies: dict[bytes, Reply] = {b"STAT": b"223 8 <2@x>\r\n"}
    for each in range(1, 201):
        found = block(b"220 %d <%d@x>" % (each, each), numbered(each))
        replies[b"ARTICLE %d" % each] = (
            b"423 none\r\n"
            if each in missing
            # What is under way before the login.
            else [first, found]
            if first and each <= WINDOW
            else found
        )
    return replies


def test_many_articles_come_in_order_and_the_next_are_asked_for_before() -> None:
    async def main(_: Clock) -> None:
        missing: list[object] = []
        async with talking(shelf(frozenset({3, 150}))) as (news, script):
            found = [article async for article in news.fetch(range(1, 201), missing=missing.append)]
            assert [each.number for each in found] == [
                each for each in range(1, 201) if each not in (3, 150)
            ]
            assert all(each.octets == numbered(each.number) for each in found)
            assert missing == [3, 150]
            before = len(script.heard)
            async for _article in news.fetch(iter(range(1, 201)), window=10):
                await asyncio.sleep(1)
                assert len(script.heard) == before + 10
                break
            assert await news.stat() == (8, b"<2@x>")

    play(main)


def test_fetched_articles_wait_for_who_reads_them() -> None:
    """However many are under way, what waits here is bounded: 50 articles of a MiB."""

    async def main(_: Clock) -> None:
        sent = 0

        async def large(stream: Stream) -> None:
            nonlocal sent
            sent += 1
            await stream.send_all(block(b"220 1 <1@x>", b"x" * (1 << 20) + b"\r\n"))

        async with serving(Script({b"ARTICLE": large})) as url:
            news = await NNTPClient.connect(url)
            source = news.fetch(range(1, 21), window=20)
            await anext(source)
            await asyncio.sleep(100)
            assert sent <= 4
            assert len(await collect(source)) == 19
            await news.aclose()

    play(main)


def test_a_login_is_given_once_for_all_that_were_asked_for() -> None:
    async def main(_: Clock) -> None:
        replies = shelf(first=b"480 who?\r\n")
        replies[b"AUTHINFO USER"] = b"281 welcome\r\n"
        async with talking(replies, user="fred", password="x", in_clear=True) as (news, script):
            news.capabilities = type(news.capabilities)([b"AUTHINFO USER"])
            found = [article.number async for article in news.fetch(range(1, 201))]
            assert found == list(range(1, 201))
        assert len(script.commands(b"AUTHINFO")) == 1

    play(main)


def test_many_that_are_refused_at_once_wait_for_one_login() -> None:
    """RFC 4643 §2.1: questions that were asked before the login are asked again behind it."""

    async def main(_: Clock) -> None:
        replies = {
            b"DATE": [b"480 who?\r\n"] * 3 + [b"111 20270115080000\r\n"],
            b"AUTHINFO USER": b"281 welcome\r\n",
        }
        async with talking(replies, user="fred", password="x", in_clear=True) as (news, script):
            news.capabilities = type(news.capabilities)([b"AUTHINFO USER"])
            dates = await asyncio.gather(news.date(), news.date(), news.date())
            assert len(set(dates)) == 1
        assert len(script.commands(b"AUTHINFO")) == 1
        assert len(script.commands(b"DATE")) == 6

    play(main)


def test_a_server_that_asks_for_a_login_again_and_again_gets_one() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"DATE": b"480 who?\r\n",
            b"ARTICLE": b"480 who?\r\n",
            b"AUTHINFO USER": b"281 welcome\r\n",
        }
        async with talking(replies, user="fred", password="x", in_clear=True) as (news, script):
            news.capabilities = type(news.capabilities)([b"AUTHINFO USER"])
            with pytest.raises(NNTPTransientError, match="480"):
                await news.date()
            with pytest.raises(NNTPTransientError, match="480"):
                await collect(news.fetch(range(1, 200)))
        assert len(script.commands(b"AUTHINFO")) == 1

    play(main)


def test_what_came_behind_a_refusal_does_not_hold_up_the_login() -> None:
    async def main(_: Clock) -> None:
        replies = shelf()
        replies[b"ARTICLE 1"] = [b"480 who?\r\n", block(b"220 1 <1@x>", b"x\r\n")]
        replies[b"ARTICLE 2"] = block(b"220 2 <2@x>", b"x" * (4 << 20) + b"\r\n")
        replies[b"AUTHINFO USER"] = b"281 welcome\r\n"
        async with talking(replies, user="fred", password="x", in_clear=True) as (news, _script):
            news.capabilities = type(news.capabilities)([b"AUTHINFO USER"])
            async with asyncio.timeout(50):
                found = [article.number async for article in news.fetch(range(1, 4))]
        assert found == [1, 2, 3]

    play(main)


def test_a_refusal_among_many_ends_them_and_not_the_connection() -> None:
    async def main(_: Clock) -> None:
        replies = shelf()
        replies[b"ARTICLE 5"] = b"412 no group\r\n"
        async with talking(replies) as (news, _script):
            with pytest.raises(NNTPTransientError, match="ARTICLE: 412"):
                await collect(news.fetch(range(1, 201)))
            assert await news.stat() == (8, b"<2@x>")
            with pytest.raises(NNTPUsageError):
                await anext(news.fetch([1], part="BODY"))
            with pytest.raises(NNTPUsageError):
                await anext(news.fetch([1], window=0))
            with pytest.raises(NNTPUsageError):
                await collect(news.fetch([1, "x\r\nQUIT"]))
            assert await news.stat() == (8, b"<2@x>")

    play(main)


def test_an_article_without_end_among_many_is_refused() -> None:
    async def main(_: Clock) -> None:
        async def endless(stream: Stream) -> None:
            await stream.send_all(b"220 1 <1@x>\r\n")
            while True:
                await stream.send_all(b"x" * 10_000)

        limits = ClientLimits(max_article=100_000)
        async with serving(Script({b"ARTICLE": endless})) as url:
            news = await NNTPClient.connect(url, limits=limits)
            with pytest.raises(NNTPProtocolError) as refused:
                await collect(news.fetch([1, 2]))
            assert refused.value.rule == "limit:block"
            with pytest.raises(ConnectionLost):
                await news.date()

    play(main)


# ── overviews and headers ─────────────────────────────────────────────────────

FORMAT = (
    b"215 order\r\nSubject:\r\nFrom:\r\nDate:\r\nMessage-ID:\r\nReferences:\r\nBytes:\r\n"
    b"Lines:\r\nXref:full\r\n.\r\n"
)
ROW = (
    b"1\tRe: =?utf-8?q?x?=\tA <a@x>\tWed, 1 Jan 2025 00:00:00 +0000\t<1@x>\t<0@x> <00@x>\t1234\t17"
    b"\tXref: x a:1"
)


def test_an_overview_has_what_the_server_says_of_articles() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"LIST OVERVIEW.FMT": FORMAT,
            b"OVER 1-3": block(b"224 over", ROW + b"\r\n2\t\xff\t\r\n"),
            b"OVER 9-": b"423 none in that range\r\n",
            b"OVER <1@x>": block(b"224 over", b"0" + ROW[1:] + b"\r\n"),
            b"OVER <9@x>": b"430 none\r\n",
        }
        async with talking(replies) as (news, script):
            first, second = [row async for row in news.over(1, 3)]
            assert (first.number, first.subject, first.author) == (
                1, "Re: =?utf-8?q?x?=", "A <a@x>",
            )  # fmt: skip
            assert (first.date, first.message_id) == ("Wed, 1 Jan 2025 00:00:00 +0000", b"<1@x>")
            assert (first.references, first.size, first.lines) == ([b"<0@x>", b"<00@x>"], 1234, 17)
            assert first.field("xref") == b"x a:1"
            assert first.field(":bytes") == b"1234"
            assert first.field("keywords") is None
            assert (second.subject, second.size, second.lines) == ("\ufffd", None, None)
            assert (second.references, second.field("xref")) == ([], None)
            assert await collect(news.over(9)) == []
            assert [row.number async for row in news.over(b"<1@x>")] == [0]
            with pytest.raises(NNTPTransientError, match="430"):
                await collect(news.over(b"<9@x>"))
            with pytest.raises(NNTPUsageError):
                await collect(news.over(3, 1))
        assert len(script.commands(b"LIST")) == 1

    play(main)


@pytest.mark.parametrize(
    ("capabilities", "over", "asked"),
    [
        (READER, b"500 what?\r\n", [b"OVER 1-3", b"XOVER 1-3"]),
        (b"101 c\r\nVERSION 2\r\nREADER\r\n.\r\n", b"500 what?\r\n", [b"XOVER 1-3"]),
        (b"500 what?\r\n", b"500 what?\r\n", [b"OVER 1-3", b"XOVER 1-3"]),
        (READER, block(b"224 over", ROW + b"\r\n"), [b"OVER 1-3"]),
    ],
)
def test_servers_that_do_not_know_over_are_asked_by_xover(
    capabilities: bytes, over: bytes, asked: list[bytes]
) -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": capabilities,
            b"OVER": over,
            b"XOVER": block(b"224 over", ROW + b"\r\n"),
        }
        async with talking(replies) as (news, script):
            assert [row.number async for row in news.over(1, 3)] == [1]
        assert [each for each in script.heard if b"OVER 1" in each] == asked

    play(main)


def test_more_overviews_than_were_asked_for_are_the_servers_fault() -> None:
    async def main(_: Clock) -> None:
        rows = b"224 o\r\n" + b"5\ts\tf\td\t<5@x>\t\t1\t1\r\n" * 2
        for reply, low, high in (
            (rows + b".\r\n", 5, 5),
            (rows + b".\r\n", 6, 9),
            (rows.replace(b"\n5", b"\n0") + b".\r\n", 1, None),
        ):
            async with talking({b"OVER": reply}) as (news, _script):
                with pytest.raises(NNTPProtocolError, match="no number of"):
                    await collect(news.over(low, high))
                assert not news.closed
        async with talking({b"OVER": rows + b".\r\n"}) as (news, _script):
            assert len(await collect(news.over(5, 6))) == 2

    play(main)


def test_the_fields_of_headers_are_given_by_number() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"HDR Subject 1-2": block(b"225 headers", b"1 one\r\n2 \r\n"),
            b"HDR :lines 1": block(b"225 headers", b"1 17\r\n"),
            b"HDR Subject <1@x>": block(b"225 headers", b"0 one\r\n"),
            b"HDR From": b"503 not that\r\n",
            b"XHDR From": block(b"221 headers", b"<1@x> A <a@x>\r\n"),
            b"XPAT Subject 1-9 *x*": block(b"221 headers", b"7 six\r\n"),
            b"XPAT Subject 1-9 [st]ix *": block(b"221 headers", b"7 six of them\r\n"),
        }
        async with talking(replies) as (news, _script):
            assert await collect(news.hdr("Subject", 1, 2)) == [(1, b"one"), (2, b"")]
            assert await collect(news.hdr(":lines", 1, 1)) == [(1, b"17")]
            assert await collect(news.hdr("Subject", b"<1@x>")) == [(0, b"one")]
            assert await collect(news.hdr("From", b"<1@x>")) == [(0, b"A <a@x>")]
            assert await collect(news.hdr("Subject", 1, 9, pattern="*x*")) == [(7, b"six")]
            found = await collect(news.hdr("Subject", 1, 9, pattern="[st]ix *"))
            assert found == [(7, b"six of them")]
            with pytest.raises(NNTPUsageError):
                # Words are all that the server would see of it.
                await collect(news.hdr("Subject", 1, 9, pattern="two  blanks"))

    play(main)


@pytest.mark.parametrize("line", [b"x\tsubject", b"\tsubject", b"", b"-1\ts", b"1_0\ts", b"9" * 19])
def test_a_line_that_is_no_overview_is_told(line: bytes) -> None:
    """HARDENING, defaults 8."""

    async def main(_: Clock) -> None:
        replies = {b"OVER": block(b"224 over", line + b"\r\n"), b"STAT": b"223 8 <2@x>\r\n"}
        async with talking(replies) as (news, _script):
            with pytest.raises(NNTPProtocolError):
                await collect(news.over(1, 3))
            assert await news.stat() == (8, b"<2@x>")

    play(main)


def test_a_list_without_end_takes_no_memory_and_a_line_without_end_is_refused() -> None:
    async def main(_: Clock) -> None:
        async def endless(stream: Stream) -> None:
            await stream.send_all(b"224 over\r\n" + b"1\ta\r\n" * 100_000 + b"2\t")
            while True:
                await stream.send_all(b"x" * 10_000)

        async with serving(Script({b"OVER": endless})) as url:
            news = await NNTPClient.connect(url)
            count = 0
            with pytest.raises(NNTPProtocolError) as refused:
                async for _row in news.over(1):
                    count += 1
            assert (count, refused.value.rule) == (100_000, "limit:listed_line")
            news.abort()

    play(main)


def test_who_leaves_a_list_may_go_on_with_something_else() -> None:
    async def main(_: Clock) -> None:
        rows = b"".join(b"%d\ta\r\n" % each for each in range(1, 100_000))
        replies = {b"OVER": block(b"224 over", rows), b"STAT": b"223 8 <2@x>\r\n"}
        async with talking(replies) as (news, _script):
            async for row in news.over(1):
                if row.number == 5:
                    break
            assert await news.stat() == (8, b"<2@x>")

    play(main)


# ── groups and lists ──────────────────────────────────────────────────────────


def test_groups_are_listed_with_what_is_told_of_them() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"LIST ACTIVE": block(b"215 active", b"a.b 5 1 y\r\nc 0 1 m\r\n"),
            b"LIST ACTIVE a.*": block(b"215 active", b"a.b 5 1 y\r\n"),
            b"LIST COUNTS": block(b"215 counts", b"a.b 5 1 3 y\r\n"),
            b"LIST NEWSGROUPS": block(
                b"215 descriptions", b"a.b\tOne \xc3\xbc.\r\nc  \t Two\r\nd\r\n"
            ),
            b"LIST ACTIVE.TIMES": block(b"215 times", b"a.b 930445408 <u@x> and more\r\n"),
            b"LIST MOTD": b"503 none\r\n",
            b"NEWGROUPS": block(b"231 new", b"a.b 5 1 y\r\n"),
            b"NEWNEWS": block(b"230 new", b"<1@x>\r\n<2@x>\r\n"),
        }
        async with talking(replies) as (news, script):
            first, second = [group async for group in news.groups()]
            assert (first.name, first.low, first.high, first.count, first.status) == (
                "a.b", 1, 5, 5, "y",
            )  # fmt: skip
            assert (second.name, second.count, second.status) == ("c", 0, "m")
            assert [group.name async for group in news.groups("a.*")] == ["a.b"]
            assert [group.count async for group in news.counts()] == [3]
            assert await collect(news.descriptions()) == [
                ("a.b", "One ü."),
                ("c", "Two"),
                ("d", ""),
            ]
            (made,) = [group async for group in news.created()]
            assert (made.created, made.creator) == (930445408.0, "<u@x> and more")
            with pytest.raises(NNTPPermanentError, match="LIST MOTD: 503"):
                await collect(news.listing("MOTD"))
            since = datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
            assert [group.name async for group in news.newgroups(since)] == ["a.b"]
            assert await collect(news.newnews("a.*,!b", since)) == [b"<1@x>", b"<2@x>"]
            assert await collect(news.newnews("*", 0.0)) == [b"<1@x>", b"<2@x>"]
            with pytest.raises(NNTPUsageError):
                await collect(news.newgroups(datetime.now(UTC).replace(tzinfo=None)))
        assert script.heard[-4:-1] == [
            b"NEWGROUPS 20250101 000000 GMT",
            b"NEWNEWS a.*,!b 20250101 000000 GMT",
            b"NEWNEWS * 19700101 000000 GMT",
        ]

    play(main)


def test_servers_without_counts_are_asked_for_active_groups() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"CAPABILITIES": b"500 what?\r\n",
            b"LIST ACTIVE": block(b"215 active", b"a.b 5 1 y\r\n"),
        }
        async with talking(replies) as (news, _script):
            assert [group.count async for group in news.counts()] == [5]

    play(main)


def test_the_numbers_of_a_group_are_listed() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"LISTGROUP": block(b"211 3 1 5 a", b"1\r\n3\r\n5\r\n"),
            b"LISTGROUP a 3-": block(b"211 3 1 5 a", b"3\r\n5\r\n"),
            b"LISTGROUP a 3-4": block(b"211 3 1 5 a", b"3\r\n"),
            b"LISTGROUP b": b"411 none\r\n",
        }
        async with talking(replies) as (news, _script):
            assert await collect(news.listgroup()) == [1, 3, 5]
            assert await collect(news.listgroup("a")) == [1, 3, 5]
            assert await collect(news.listgroup("a", 3)) == [3, 5]
            assert await collect(news.listgroup("a", 3, 4)) == [3]
            with pytest.raises(NNTPTransientError):
                await collect(news.listgroup("b"))

    play(main)


@pytest.mark.parametrize("line", [b"a.b", b"a.b x 1 y", b"a.b 5 1", b"a.b +5 1 y", b"a 1_0 1 y"])
def test_a_line_that_is_no_group_is_told(line: bytes) -> None:
    async def main(_: Clock) -> None:
        replies = {b"LIST ACTIVE": block(b"215 active", line + b"\r\n"), b"GROUP": b"211 x\r\n"}
        async with talking(replies) as (news, _script):
            with pytest.raises(NNTPProtocolError):
                await collect(news.groups())
            with pytest.raises(NNTPProtocolError):
                await news.group("a")

    play(main)
