"""`NNTPClient`: questions, articles that are sent, streaming, the end, and servers that go away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest
from news_scripts import Script, play, serving, talking

from sennit.core.errors import ConnectError, ConnectionLost
from sennit.news.client import NNTPClient, Offered
from sennit.news.errors import (
    NNTPPermanentError,
    NNTPProtocolError,
    NNTPTransientError,
    NNTPUsageError,
)
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock

ARTICLE = b"From: a@x\r\nNewsgroups: t\r\nSubject: s\r\nMessage-ID: <own@x>\r\n\r\n.dot\r\nend\r\n"


# ── questions ─────────────────────────────────────────────────────────────────


def test_a_group_is_selected_and_its_articles_are_told() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"GROUP misc.test": b"211 1234 3000234 3002322 misc.test\r\n",
            b"GROUP": b"411 no such group\r\n",
            b"STAT": b"223 3000234 <1@x>\r\n",
            b"STAT 7": b"423 no\r\n",
            b"NEXT": [b"223 3000237 <2@x>\r\n", b"421 no next\r\n"],
            b"LAST": b"422 no last\r\n",
        }
        async with talking(replies) as (news, script):
            group = await news.group("misc.test")
            assert (group.name, group.count, group.low, group.high) == (
                "misc.test", 1234, 3000234, 3002322,
            )  # fmt: skip
            assert await news.stat() == (3000234, b"<1@x>")
            assert await news.stat(b"<1@x>") == (3000234, b"<1@x>")
            assert await news.next() == (3000237, b"<2@x>")
            assert await news.next() is None
            assert await news.last() is None
            with pytest.raises(NNTPTransientError) as missing:
                await news.stat(7)
            assert missing.value.code == 423
            with pytest.raises(NNTPTransientError, match="GROUP: 411 no such group"):
                await news.group("no.such")
        assert script.heard[-1] == b"QUIT"

    play(main)


def test_the_servers_time_and_help_are_told() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"DATE": [b"111 19990623135624\r\n", b"111 19991323135624\r\n", b"111 today\r\n"],
            b"HELP": b"100 help\r\nfirst\r\n..second\r\n.\r\n",
        }
        async with talking(replies) as (news, _script):
            assert await news.date() == datetime(1999, 6, 23, 13, 56, 24, tzinfo=UTC)
            for _each in range(2):
                with pytest.raises(NNTPProtocolError):
                    await news.date()
            assert await news.help() == [b"first", b".second"]

    play(main)


@pytest.mark.parametrize("bad", ["a b", "a\r\nPOST", "a\nb", "a\0b", "", "a\rb", "\r\n", "x" * 600])
def test_what_is_not_one_word_is_never_sent(bad: str) -> None:
    """HARDENING, defaults 10: refused before the first octet."""

    async def main(_: Clock) -> None:
        async with talking() as (news, script):
            before = list(script.heard)
            with pytest.raises(NNTPUsageError):
                await news.group(bad)
            with pytest.raises(NNTPUsageError):
                await anext(news.groups(bad))
            with pytest.raises(NNTPUsageError):
                await anext(news.hdr(bad, 1, 2))
            with pytest.raises(NNTPUsageError):
                await news.article(bad)
            with pytest.raises(NNTPUsageError):
                news.check(bad.encode())
            assert script.heard == before

    play(main)


@pytest.mark.parametrize("number", [0, -1, 10**18])
def test_a_number_that_no_article_has_is_never_sent(number: int) -> None:
    async def main(_: Clock) -> None:
        async with talking() as (news, _script):
            with pytest.raises(NNTPUsageError):
                await news.stat(number)

    play(main)


def test_a_response_that_is_none_to_the_command_is_told_apart_from_a_refusal() -> None:
    async def main(_: Clock) -> None:
        replies = {b"DATE": b"205 \x1b[2J\r\n", b"GROUP": b"502 \x1b]0;title\x07\r\n"}
        async with talking(replies) as (news, _script):
            with pytest.raises(NNTPProtocolError) as strange:
                await news.date()
            with pytest.raises(NNTPPermanentError) as refused:
                await news.group("a")
        assert r"205 \x1b[2J is no answer to DATE" in str(strange.value)
        assert refused.value.text == r"\x1b]0;title\x07"

    play(main)


# ── sending articles ──────────────────────────────────────────────────────────


def test_an_article_is_posted_its_dots_doubled() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"POST": b"340 go\r\n",
            b"POST article": [b"240 <theirs@x> thanks\r\n", b"240 thanks\r\n", b"441 no\r\n"],
        }
        async with talking(replies) as (news, script):
            assert await news.post(ARTICLE) == b"<theirs@x>"
            assert await news.post(ARTICLE[:-2]) == b"<own@x>"
            with pytest.raises(NNTPTransientError, match="441 no"):
                await news.post(ARTICLE)
        assert script.articles == [ARTICLE.replace(b"\r\n.", b"\r\n..")] * 3

    play(main)


def test_a_message_of_the_email_package_is_posted() -> None:
    async def main(_: Clock) -> None:
        message = EmailMessage()
        message["From"] = "a@example.org"
        message["Newsgroups"] = "misc.test"
        message["Subject"] = "Grüße"
        message.set_content("one\n.\n\nlast\n")
        replies = {b"POST": b"340 go\r\n", b"POST article": b"240 ok\r\n"}
        async with talking(replies) as (news, script):
            assert await news.post(message) is None
        assert b"\r\none\r\n..\r\n\r\nlast\r\n" in script.articles[0]
        assert b"\n" not in script.articles[0].replace(b"\r\n", b"")

    play(main)


def test_who_may_not_post_sends_nothing() -> None:
    async def main(_: Clock) -> None:
        async with talking({b"POST": b"440 read only\r\n"}, greeting=b"201 hi\r\n") as (
            news,
            script,
        ):
            with pytest.raises(NNTPTransientError, match="440 read only"):
                await news.post(ARTICLE)
        assert script.articles == []

    play(main)


@pytest.mark.parametrize("octets", [b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\n.\nQUIT\r\n"])
def test_an_article_with_other_line_ends_is_never_sent(octets: bytes) -> None:
    """RFC 5536 §2.2; who takes LF for an end of line would see commands there."""

    async def main(_: Clock) -> None:
        async with talking() as (news, script):
            with pytest.raises(NNTPUsageError):
                await news.post(octets)
            with pytest.raises(NNTPUsageError):
                await news.ihave(b"<1@x>", octets)
            with pytest.raises(NNTPUsageError):
                news.takethis(b"<1@x>", octets)
        assert script.heard == [b"CAPABILITIES", b"QUIT"]

    play(main)


@pytest.mark.parametrize(
    ("first", "then", "offered"),
    [
        (b"335 send\r\n", b"235 ok\r\n", Offered.TAKEN),
        (b"335 send\r\n", b"436 later\r\n", Offered.LATER),
        (b"335 send\r\n", b"437 bad\r\n", Offered.REJECTED),
        (b"435 no\r\n", b"", Offered.UNWANTED),
        (b"436 later\r\n", b"", Offered.LATER),
    ],
)
def test_an_article_is_offered_and_sent_when_it_is_wanted(
    first: bytes, then: bytes, offered: Offered
) -> None:
    async def main(_: Clock) -> None:
        async with talking({b"IHAVE": first, b"IHAVE article": then}) as (news, script):
            assert await news.ihave(b"<1@x>", ARTICLE) is offered
        assert len(script.articles) == (1 if then else 0)

    play(main)


def test_many_articles_are_checked_and_sent_before_the_first_answer() -> None:
    async def main(_: Clock) -> None:
        gate = asyncio.Event()

        async def answer_late(stream: Stream) -> None:
            await gate.wait()
            await stream.send_all(b"238 <0@x>\r\n")

        replies = {
            b"CHECK <0@x>": answer_late,
            b"CHECK <1@x>": b"438 <1@x>\r\n",
            b"CHECK <2@x>": b"431 <2@x>\r\n",
            b"TAKETHIS <3@x>": b"239 <3@x>\r\n",
            b"TAKETHIS <4@x>": b"439 <4@x>\r\n",
        }
        async with talking(replies) as (news, script):
            answers = [news.check(b"<%d@x>" % each) for each in range(3)]
            answers += [news.takethis(b"<%d@x>" % each, ARTICLE) for each in (3, 4)]
            gate.set()
            assert [await each for each in answers] == [
                Offered.WANTED,
                Offered.UNWANTED,
                Offered.LATER,
                Offered.TAKEN,
                Offered.REJECTED,
            ]
        assert script.articles == [ARTICLE.replace(b"\r\n.", b"\r\n..")] * 2

    play(main)


def test_an_answer_for_another_article_is_no_answer() -> None:
    async def main(_: Clock) -> None:
        replies = {b"CHECK": b"238 <other@x>\r\n", b"TAKETHIS": b"500 what?\r\n"}
        async with talking(replies) as (news, _script):
            with pytest.raises(NNTPProtocolError, match="is answered for"):
                await news.check(b"<1@x>")
            with pytest.raises(NNTPPermanentError):
                await news.takethis(b"<1@x>", ARTICLE)

    play(main)


@pytest.mark.parametrize(
    ("capabilities", "mode", "streams"),
    [
        (b"101 c\r\nVERSION 2\r\nSTREAMING\r\n.\r\n", b"500 what?\r\n", True),
        (b"101 c\r\nVERSION 2\r\nIHAVE\r\n.\r\n", b"203 ok\r\n", False),
        (b"500 what?\r\n", b"203 ok\r\n", True),
        (b"500 what?\r\n", b"500 what?\r\n", False),
    ],
)
def test_a_server_says_whether_it_takes_streams(
    capabilities: bytes, mode: bytes, streams: bool
) -> None:
    """RFC 4644 §2.3: MODE STREAM is for servers without capabilities."""

    async def main(_: Clock) -> None:
        replies = {b"CAPABILITIES": capabilities, b"MODE STREAM": mode}
        async with talking(replies, reader=False) as (news, script):
            assert await news.start_streaming() is streams
        assert script.commands(b"MODE READER") == []

    play(main)


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_block_that_raises_ends_the_connection_without_a_word() -> None:
    async def main(_: Clock) -> None:
        script = Script()
        async with serving(script) as url:
            seen: list[NNTPClient] = []
            with pytest.raises(KeyError):
                async with NNTPClient.connect(url) as news:
                    seen.append(news)
                    raise KeyError("x")
            assert seen[0].closed
        assert script.commands(b"QUIT") == []

    play(main)


def test_a_connection_may_be_awaited_and_closed_by_hand() -> None:
    async def main(_: Clock) -> None:
        script = Script()
        async with serving(script) as url:
            news = await NNTPClient.connect(url)
            assert not news.closed
            await news.aclose()
            await news.aclose()
            assert news.closed
            with pytest.raises(ConnectionLost):
                await news.date()
        assert script.heard == [b"CAPABILITIES", b"QUIT"]

    play(main)


def test_a_server_that_does_not_answer_the_good_bye_is_left() -> None:
    async def main(clock: Clock) -> None:
        async def silent(stream: Stream) -> None:
            await stream.wait_closed()

        async with talking({b"QUIT": silent}) as (news, _script):
            before = clock.time()
        assert news.closed
        assert 4.9 < clock.time() - before < 5.1

    play(main)


def test_who_leaves_in_the_middle_of_a_long_answer_does_not_wait_for_a_good_bye() -> None:
    async def main(clock: Clock) -> None:
        rows = b"".join(b"%d\ta\r\n" % each for each in range(1, 200_000))
        async with talking({b"OVER": b"224 over\r\n" + rows + b".\r\n"}) as (news, script):
            source = news.over(1)
            await anext(source)
            await asyncio.sleep(1)
            before = clock.time()
        assert news.closed
        assert clock.time() - before < 1
        assert b"QUIT" not in script.heard
        with pytest.raises(ConnectionLost):
            async for _row in source:
                pass

    play(main)


def test_nobody_waits_longer_than_a_minute_for_an_octet() -> None:
    async def main(clock: Clock) -> None:
        async def silent(stream: Stream) -> None:
            await stream.wait_closed()

        async def slow(stream: Stream) -> None:
            await stream.send_all(b"100 help\r\n")
            for _ in range(10):
                await asyncio.sleep(50)
                await stream.send_all(b"x\r\n")
            await stream.send_all(b".\r\n")

        script = Script({b"DATE": silent, b"HELP": slow})
        async with serving(script) as url:
            news = await NNTPClient.connect(url)
            await asyncio.sleep(1000)  # while the server owes nothing, nobody is late
            assert await news.help() == [b"x"] * 10
            before = clock.time()
            asked = [asyncio.ensure_future(news.date()) for _each in range(2)]
            for each in asked:
                with pytest.raises(ConnectionLost, match="nothing came from the server in 60 s"):
                    await each
            assert 59.9 < clock.time() - before < 60.1
            assert news.closed

    play(main)


def test_a_server_that_leaves_says_why() -> None:
    async def main(_: Clock) -> None:
        async def leave(stream: Stream) -> None:
            await stream.send_all(b"111 20260101000000\r\n400 idle too long\r\n")
            stream.close()

        async with serving(Script({b"DATE": leave})) as url:
            news = await NNTPClient.connect(url)
            await news.date()
            await asyncio.sleep(1)
            with pytest.raises(ConnectionLost, match="the server left: idle too long"):
                await news.group("a")

    play(main)


@pytest.mark.parametrize("at", range(0, 45, 4))
def test_a_reset_at_any_octet_fails_what_waits_once(at: int) -> None:
    """HARDENING fault-7, the client's side."""
    said = b"200 hello\r\n101 c\r\nVERSION 2\r\n.\r\n111 2026"

    async def main(_: Clock) -> None:
        async def reset(stream: Stream) -> None:
            await stream.send_all(said[:at])
            # What was said has to be there before the reset throws it away.
            await asyncio.sleep(1)
            stream.abort()

        async with serving(reset) as url:
            with pytest.raises((ConnectionLost, ConnectError)):
                async with NNTPClient.connect(url) as news:
                    await news.date()

    play(main)


@pytest.mark.parametrize("turns", range(12))
def test_who_gives_connecting_up_leaves_no_connection_behind(turns: int) -> None:
    async def main(_: Clock) -> None:
        open_now: set[Stream] = set()

        async def greet(stream: Stream) -> None:
            open_now.add(stream)
            await stream.send_all(b"200 hello\r\n")
            await stream.wait_closed()
            open_now.discard(stream)

        async with serving(greet) as url:
            connecting = asyncio.ensure_future(_connected(url))
            for _turn in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await asyncio.sleep(1)
            assert not open_now

    play(main)


async def _connected(url: str) -> NNTPClient:
    return await NNTPClient.connect(url)


def test_a_cancelled_question_does_not_disturb_the_next() -> None:
    async def main(_: Clock) -> None:
        replies = {b"DATE": b"111 19990623135624\r\n", b"STAT": b"223 1 <1@x>\r\n"}
        async with talking(replies) as (news, _script):
            asked = asyncio.ensure_future(news.date())
            await asyncio.sleep(0)
            asked.cancel()
            assert await news.stat() == (1, b"<1@x>")

    play(main)


def test_a_server_that_breaks_the_rules_fails_all_that_wait() -> None:
    async def main(_: Clock) -> None:
        async def rubbish(stream: Stream) -> None:
            await stream.send_all(b"\0" * 600)
            await stream.wait_closed()

        async with serving(Script({b"DATE": rubbish})) as url:
            news = await NNTPClient.connect(url, limits=ClientLimits(progress=5))
            asked = [asyncio.ensure_future(news.date()) for _each in range(3)]
            for each in asked:
                with pytest.raises(NNTPProtocolError):
                    await each
            await news.aclose()
            assert news.closed

    play(main)
