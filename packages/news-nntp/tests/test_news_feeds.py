"""What goes on to peers: which articles, and that none is lost or offered for ever."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from news_articles import HOST, NOW, composed, parsed
from news_scripts import Script, play, serving

from sennit.core.errors import ConnectError
from sennit.core.ops.metrics import Registry
from sennit.core.service.backoff import BackOff
from sennit.news.client import NNTPClient
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.feeds import Feed, Feeder
from sennit.news.intake import Intake
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from news_scripts import Reply

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.news.client import Connecting

    Handler = Callable[[Stream], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    ("feed", "fields", "yes"),
    [
        (Feed("b"), {}, True),
        (Feed("b", groups="misc.*,!misc.test"), {}, False),
        (Feed("b", groups="misc.*,!misc.test"), {"Newsgroups": "misc.test,misc.a"}, True),
        (Feed("B"), {"Path": "a!b!c"}, False),
        (Feed("b"), {"Path": "a!c!b"}, True),
        (Feed("b", exclude=["a"]), {"Path": "A!c!d"}, False),
        (Feed("b"), {"Distribution": "local"}, False),
        (Feed("b"), {"Distribution": "local, de"}, True),
        (Feed("b", distributions="de"), {}, False),
        (Feed("b", max_groups=1), {"Newsgroups": "misc.test,misc.a"}, False),
        (Feed("b", max_size=10), {}, False),
    ],
)
def test_an_article_is_for_a_peer_or_not(
    feed: Feed, fields: dict[str, str | None], yes: bool
) -> None:
    """RFC 5537 §3.6."""
    assert feed.takes(parsed(fields)) is yes


@pytest.mark.parametrize("name", ["", "a b", "a!b", "a,b", "gr\u00fcn", "a\r\nb"])
def test_a_peer_has_a_name_that_path_may_have(name: str) -> None:
    with pytest.raises(NNTPUsageError):
        Feed(name)


def test_limits_and_wildmats_are_looked_at_when_a_feed_is_made() -> None:
    with pytest.raises(NNTPUsageError):
        Feed("b", window=0)
    with pytest.raises(NNTPProtocolError):
        Feed("b", groups="[")


class Node:
    """A store with a feeder, and articles in the queue."""

    def __init__(
        self,
        *,
        window: int = 3,
        max_backlog: int = 1000,
        connect: Callable[[], Connecting] | None = None,
    ) -> None:
        self.store = MemoryStore(host=HOST, clock=lambda: NOW)
        self.feed = Feed("b", "nntp://10.0.0.1:119/", window=window, max_backlog=max_backlog)
        self.intake = Intake(self.store, path_host=HOST, feeds=[self.feed], clock=lambda: NOW)
        self.registry = Registry()
        self.feeder = Feeder(
            self.store,
            self.feed,
            connect=connect,
            back_off=BackOff(1.0, 60.0, jitter=0.0),
            registry=self.registry,
        )
        self.intake.watch("b", self.feeder.wake)

    async def add(self, *numbers: int) -> None:
        """Take articles in."""
        if await self.store.group("misc.test") is None:
            await self.store.create_group("misc.test")
        for number in numbers:
            await self.intake.take(composed({"Message-ID": f"<{number}@x>"}), "a")

    async def left(self) -> list[bytes]:
        """What waits still."""
        return [message_id for _, message_id in await self.store.queued("b", 0, 1000)]

    def counted(self) -> dict[str, float]:
        """How many were offered, by answer."""
        found = {
            sample["labels"]["answer"]: sample["value"]
            for family in self.registry.read()
            if family["name"].startswith("sennit_news_offered")
            for sample in family["samples"]
        }
        return {answer: value for answer, value in found.items() if value}


def fed(
    node: Node, replies: Mapping[bytes, Reply], then: Callable[[Script], Coroutine[Any, Any, None]]
) -> Script:
    """Let a node feed a script, and have something done meanwhile."""
    script = Script({b"CAPABILITIES": b"500 what?\r\n", **replies})

    async def main(_: Clock) -> None:
        async with serving(script):
            await node.feeder.begin()
            try:
                await then(script)
            finally:
                await node.feeder.end(1.0)

    play(main)
    return script


def ids(numbers: range) -> list[bytes]:
    return [b"<%d@x>" % number for number in numbers]


def streaming(numbers: range, check: bytes = b"238", take: bytes = b"239") -> dict[bytes, Reply]:
    replies: dict[bytes, Reply] = {b"MODE STREAM": b"203 do\r\n"}
    for each in ids(numbers):
        replies[b"CHECK " + each] = b"%b %b\r\n" % (check, each)
        replies[b"TAKETHIS " + each] = b"%b %b\r\n" % (take, each)
    return replies


def test_a_peer_that_streams_is_asked_and_sent_many_at_a_time() -> None:
    node = Node(window=3)

    async def then(_: Script) -> None:
        await node.add(*range(7))
        await asyncio.sleep(1)
        assert await node.left() == []

    script = fed(node, streaming(range(7)), then)

    assert script.commands(b"CHECK") == [b"CHECK " + each for each in ids(range(7))]
    assert script.commands(b"TAKETHIS") == [b"TAKETHIS " + each for each in ids(range(7))]
    assert b"Path: news.example.org!.MISMATCH.a!peer.example.net!" in script.articles[0]
    assert node.counted() == {"taken": 7}
    offers = [line.split()[0] for line in script.heard if b"@x>" in line]
    assert offers[:4] == [b"CHECK"] * 3 + [b"TAKETHIS"] or offers[:4] == [b"CHECK"] * 4


def test_what_the_peer_has_or_refuses_leaves_the_queue() -> None:
    node = Node()
    replies = streaming(range(3))
    replies[b"CHECK <0@x>"] = b"438 <0@x>\r\n"
    replies[b"TAKETHIS <1@x>"] = b"439 <1@x>\r\n"

    async def then(_: Script) -> None:
        await node.add(0, 1, 2)
        await asyncio.sleep(1)
        assert await node.left() == []

    script = fed(node, replies, then)

    assert len(script.commands(b"TAKETHIS")) == 2
    assert node.counted() == {"unwanted": 1, "rejected": 1, "taken": 1}


@pytest.mark.parametrize("streams", [True, False])
def test_what_the_peer_wants_later_is_offered_later(streams: bool) -> None:
    node = Node()
    replies = streaming(range(2))
    if streams:
        replies[b"CHECK <0@x>"] = [b"431 <0@x>\r\n", b"238 <0@x>\r\n"]
    else:
        replies = {
            b"IHAVE <0@x>": [b"436 later\r\n", b"335 send\r\n"],
            b"IHAVE <1@x>": b"335 send\r\n",
            b"IHAVE article": b"235 thanks\r\n",
        }

    async def then(_: Script) -> None:
        await node.add(0, 1)
        await asyncio.sleep(30)
        assert await node.left() == [b"<0@x>"]
        await asyncio.sleep(31)
        assert await node.left() == []

    script = fed(node, replies, then)

    assert node.counted() == {"later": 1, "taken": 2}
    assert len(script.commands(b"CHECK" if streams else b"IHAVE")) == 3


def test_a_peer_that_does_not_stream_is_offered_one_after_the_other() -> None:
    node = Node()
    replies: dict[bytes, Reply] = {
        b"IHAVE": b"335 send\r\n",
        b"IHAVE <1@x>": b"435 no\r\n",
        b"IHAVE article": [b"235 thanks\r\n", b"437 no\r\n"],
    }

    async def then(_: Script) -> None:
        await node.add(0, 1, 2)
        await asyncio.sleep(1)
        assert await node.left() == []

    script = fed(node, replies, then)

    assert len(script.articles) == 2
    assert node.counted() == {"taken": 1, "unwanted": 1, "rejected": 1}


def test_an_article_that_has_gone_is_not_offered() -> None:
    node = Node()

    async def then(_: Script) -> None:
        await node.add(0, 1)
        await node.store.remove(b"<0@x>")
        await asyncio.sleep(1)
        assert await node.left() == []

    script = fed(node, streaming(range(2)), then)

    assert script.commands(b"TAKETHIS") == [b"TAKETHIS <1@x>"]


def test_while_nothing_waits_there_is_no_connection() -> None:
    node = Node()

    async def then(script: Script) -> None:
        await asyncio.sleep(10)
        assert script.heard == []
        await node.add(0)
        await asyncio.sleep(61)
        assert script.heard[-1] == b"QUIT"
        before = len(script.heard)
        await node.add(1)
        await asyncio.sleep(1)
        assert len(script.heard) > before
        assert await node.left() == []

    fed(node, streaming(range(2)), then)


def test_a_connection_is_used_for_what_comes_while_it_stands() -> None:
    node = Node()

    async def then(_: Script) -> None:
        for number in range(3):
            await node.add(number)
            await asyncio.sleep(20)
        assert await node.left() == []

    script = fed(node, streaming(range(3)), then)

    assert len(script.commands(b"MODE")) == 1


def test_a_peer_that_goes_in_the_middle_gets_the_rest_later() -> None:
    """HARDENING fault-7: nothing is lost, and the pauses grow."""
    node = Node(window=2)
    replies = streaming(range(4))

    async def go(stream: Stream) -> None:
        await stream.aclose()

    answers: list[Reply] = [go, b"239 <1@x>\r\n"]

    async def gone_once(stream: Stream) -> None:
        answer = answers.pop(0)
        if isinstance(answer, bytes):
            await stream.send_all(answer)
        else:
            await go(stream)

    replies[b"TAKETHIS <1@x>"] = gone_once

    async def then(_: Script) -> None:
        await node.add(*range(4))
        await asyncio.sleep(0.5)  # virtual
        assert b"<1@x>" in await node.left()
        assert node.feeder.error is not None
        await asyncio.sleep(1)
        assert await node.left() == []
        assert node.feeder.error is None

    script = fed(node, replies, then)

    assert len(script.commands(b"MODE")) == 2


@pytest.mark.parametrize(
    "answer", [b"400 <0@x> busy\r\n", b"480 <0@x>\r\n", b"238 <other@x>\r\n", b"??\r\n"]
)
def test_a_peer_that_says_something_else_loses_nothing(answer: bytes) -> None:
    node = Node()
    replies = streaming(range(2))
    replies[b"CHECK <0@x>"] = [answer, b"238 <0@x>\r\n"]

    async def then(_: Script) -> None:
        await node.add(0, 1)
        await asyncio.sleep(0.5)  # virtual
        assert await node.left() == [b"<0@x>", b"<1@x>"]
        await asyncio.sleep(2)
        assert await node.left() == []

    fed(node, replies, then)


def test_a_peer_that_is_away_is_tried_again_less_and_less_often() -> None:
    tries: list[float] = []

    async def refuse(clock: Clock) -> None:
        tries.append(clock.time())
        raise ConnectError("refused", [])

    def connect() -> Connecting:
        from sennit.news.client import Connecting

        async def opening() -> NNTPClient:
            await refuse(now[0])
            raise AssertionError("it was refused")

        return Connecting(opening)

    now: list[Clock] = []
    node = Node(connect=connect)

    async def main(clock: Clock) -> None:
        now.append(clock)
        await node.add(0)
        await node.feeder.begin()
        await asyncio.sleep(200)
        await node.feeder.end(1.0)
        assert await node.left() == [b"<0@x>"]

    play(main)
    gaps = [round(b - a) for a, b in pairwise(tries)]
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60]


def test_more_than_may_wait_is_given_up_the_oldest_first() -> None:
    node = Node(max_backlog=4)

    async def then(_: Script) -> None:
        await asyncio.sleep(1)

    async def main(_: Clock) -> None:
        await node.add(*range(10))

    play(main)
    script = fed(node, streaming(range(10)), then)

    assert script.commands(b"CHECK") == [b"CHECK " + each for each in ids(range(6, 10))]
    assert node.counted() == {"given up": 6, "taken": 4}


def test_waking_before_it_runs_or_while_it_works_loses_nothing() -> None:
    node = Node(window=1)
    more = partial(node.add, 1)
    replies = streaming(range(2))

    async def then_more(stream: Stream) -> None:
        await more()
        await stream.send_all(b"239 <0@x>\r\n")

    replies[b"TAKETHIS <0@x>"] = then_more

    async def then(_: Script) -> None:
        await node.add(0)
        await asyncio.sleep(1)
        assert await node.left() == []

    fed(node, replies, then)
