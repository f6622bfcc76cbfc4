"""Groups of a server into a store: what is missing, going on, broken connections, odd articles."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from news_scripts import Script, play, serving
from news_serving import article, done, file, filled

from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.core.policy.wrapper import ProtocolWrapper
from sennit.core.reactor.base import current_reactor
from sennit.news.access import Access
from sennit.news.client import NNTPClient
from sennit.news.errors import NNTPProtocolError, NNTPUsageError, StoreError
from sennit.news.interfaces import Filed, History
from sennit.news.pull import Marks, Pulled, pull
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock

URL = "nntp://10.0.0.1:119/"


@asynccontextmanager
async def shelf(store: MemoryStore) -> AsyncGenerator[NNTPServerFactory, None]:
    """A server for readers of a store."""
    factory = NNTPServerFactory(store, access=Access(read="*"))
    async with serve("tcp://10.0.0.1:119", factory):
        yield factory


async def contents(store: MemoryStore | SQLiteStore, group: str) -> list[bytes]:
    """The Message-IDs of a group, in order."""
    found: list[bytes] = []
    async for numbers in store.numbers(group, 1, 1 << 30):
        for number in numbers:
            message_id = await store.locate(group, number)
            assert message_id is not None
            found.append(message_id)
    return found


def test_a_group_is_pulled_and_the_next_time_what_is_new() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(900), MemoryStore(host="here.example")
        seen: list[tuple[int, int]] = []

        def note(pulled: Pulled) -> None:
            seen.append((pulled.done, pulled.total))

        async with shelf(there):
            pulled = await pull(here, URL, "misc.*", progress=note)
            assert (pulled.groups, pulled.added, pulled.known, pulled.total) == (2, 900, 0, 900)
            assert seen[0] == (0, 900)
            assert seen[-1] == (900, 900)
            group = await here.group("misc.test")
            assert group is not None
            assert (group.count, group.description, group.status) == (900, "For tests", "y")
            assert await here.group("secret.board") is None
            assert set(await contents(here, "misc.test")) == set(await contents(there, "misc.test"))

            file(there, article(9999))
            pulled = await pull(here, URL, "misc.test")
            assert (pulled.added, pulled.known) == (1, 900)
        first = await here.article(b"<1@example.net>")
        assert first is not None
        assert first.octets.count(b"\r\nXref: here.example misc.test:") == 1
        assert first.octets.count(b"Xref:") == 1

    play(main)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_came_by_another_group_is_filed_in_the_one_that_is_pulled_later(
    kind: str, tmp_path: Path
) -> None:
    there = filled(3)
    for number in range(10, 300):
        file(there, article(number, "misc.test,misc.empty" if number % 2 else "misc.empty"))
    factory = NNTPServerFactory(there, access=Access(read="*"))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve("tcp://127.0.0.1:0", factory))
        if kind == "memory":
            here: MemoryStore | SQLiteStore = MemoryStore(host="here.example")
        else:
            opening = SQLiteStore.open(tmp_path / "news.db", host="here.example")
            here = await stack.enter_async_context(opening)
        url = server.urls[0]
        pulled = await pull(here, url, "misc.test")
        assert (pulled.added, pulled.filed, pulled.known) == (148, 0, 0)
        assert await here.group("misc.empty") is None

        pulled = await pull(here, url, "misc.empty")

        assert (pulled.added, pulled.filed, pulled.known) == (145, 145, 0)
        assert set(await contents(here, "misc.empty")) == set(await contents(there, "misc.empty"))
        place = await here.number_in("misc.empty", b"<11@example.net>")
        found = await here.article(b"<11@example.net>")
        assert found is not None
        xref = b"Xref: here.example misc.test:4 misc.empty:%d" % (place or 0)
        assert found.head.endswith(b"\r\n" + xref + b"\r\n")
        assert (await here.overview_of(b"<11@example.net>") or b"").endswith(b"\t" + xref)
        pulled = await pull(here, url, "misc.*", connections=3)
        assert (pulled.added, pulled.filed, pulled.known) == (0, 0, 148 + 290)


def test_what_another_connection_brought_meanwhile_is_filed_all_the_same() -> None:
    async def main(_: Clock) -> None:
        there = filled(2)
        file(there, article(10, "misc.test,misc.empty"))

        class Late(MemoryStore):
            """Somebody adds an article between the look-up and `add`."""

            async def add(self, filed: Filed) -> Sequence[tuple[str, int]]:
                if filed.message_id == b"<10@example.net>" and list(filed.groups) == ["misc.empty"]:
                    filed.groups = ["misc.test"]
                    await super().add(filed)
                return await super().add(filed)

        here = Late()
        await here.create_group("misc.test")
        async with shelf(there):
            pulled = await pull(here, URL, "misc.empty")
        assert (pulled.added, pulled.filed, pulled.known) == (0, 1, 0)
        assert await contents(here, "misc.empty") == [b"<10@example.net>"]

    play(main)


@pytest.mark.parametrize("head", [b"Newsgroups: our.own", b"Newsgroups: our own", b"X: y"])
def test_what_is_here_is_not_shown_in_a_group_that_it_does_not_name(head: bytes) -> None:
    """A server may list whatever Message-ID it has heard of; who reads its group may not all."""

    async def main(_: Clock) -> None:
        there, here = filled(1), MemoryStore()
        await here.create_group("our.own")
        octets = head + b"\r\nMessage-ID: <1@example.net>\r\n\r\nFor our eyes.\r\n"
        await here.add(
            Filed(
                b"<1@example.net>",
                octets,
                octets.index(b"For"),
                groups=["our.own"],
                overview=b"\t\t\t<1@example.net>\t\t%d\t1" % len(octets),
                received=0.0,
            )
        )
        async with shelf(there):
            pulled = await pull(here, URL, "misc.test")
        assert (pulled.added, pulled.filed, pulled.known) == (0, 0, 1)
        assert await contents(here, "misc.test") == []

    play(main)


def test_all_that_is_being_filed_is_waited_for_when_one_of_it_fails() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(0), Failing()
        for number in (1, 2):
            file(there, article(number, "misc.test,misc.empty"))
        async with shelf(there):
            await pull(here, URL, "misc.test")
            with pytest.raises(StoreError, match="full"):
                await pull(here, URL, "misc.empty")
            assert await contents(here, "misc.empty") == [b"<2@example.net>"]

    play(main)


class Failing(MemoryStore):
    """Files one at once and in vain, others later."""

    async def file_in(self, message_id: bytes, groups: Sequence[str]) -> Sequence[tuple[str, int]]:
        if message_id == b"<1@example.net>":
            raise StoreError("full")
        for _ in range(100):
            await asyncio.sleep(0)
        return await super().file_in(message_id, groups)


def test_what_has_gone_here_is_not_filed_again() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(2), MemoryStore()
        async with shelf(there):
            await pull(here, URL, "misc.test")
            await here.remove(b"<1@example.net>")
            pulled = await pull(here, URL, "misc.test")
        assert (pulled.added, pulled.filed, pulled.known) == (0, 0, 2)
        assert await contents(here, "misc.test") == [b"<2@example.net>"]

    play(main)


async def test_marks_say_where_to_go_on(tmp_path: Path) -> None:
    there, here = filled(600), MemoryStore()
    path = tmp_path / "marks"
    factory = NNTPServerFactory(there, access=Access(read="*"))
    async with serve("tcp://127.0.0.1:0", factory) as server:
        url = server.urls[0]
        await pull(here, url, "misc.test", marks=Marks(path), name="there")
        assert Marks(path).get("there", "misc.test") == 600
        assert Marks(path).get("there", "other") == 0
        file(there, article(9999))
        pulled = await pull(here, url, "misc.test", marks=Marks(path), name="there")
        assert (pulled.added, pulled.known, pulled.total) == (1, 0, 1)
        # A server whose numbers are below the mark has begun anew.
        marks = Marks(path)
        marks.set("there", "misc.test", 10_000)
        pulled = await pull(here, url, "misc.test", marks=marks, name="there")
        assert (pulled.added, pulled.known, pulled.total) == (0, 601, 601)
    assert [each.name for each in tmp_path.iterdir()] == ["marks"]


@pytest.mark.parametrize("text", ["x", "[]", '{"a": 1}', '{"a": {"b": "c"}}', "\0"])
def test_a_file_that_has_no_marks_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "marks"
    path.write_text(text)
    with pytest.raises(NNTPUsageError, match="remove it"):
        Marks(path)


def test_the_newest_articles_alone_are_pulled_where_that_is_asked_for() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(50), MemoryStore()
        async with shelf(there):
            pulled = await pull(here, URL, "misc.test", limit=5)
        assert pulled.added == 5
        assert await contents(here, "misc.test") == [
            b"<%d@example.net>" % each for each in range(46, 51)
        ]

    play(main)


def test_an_article_of_several_groups_comes_once_and_is_in_all_that_are_pulled() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(0), MemoryStore()
        file(there, article(77, "misc.test,comp.lang.python,secret.board"))
        async with shelf(there):
            pulled = await pull(here, URL, "*,!secret.*", connections=1)
        assert (pulled.added, pulled.known) == (1, 1)
        assert await contents(here, "misc.test") == [b"<77@example.net>"]
        assert await contents(here, "comp.lang.python") == [b"<77@example.net>"]

    play(main)


def test_what_was_expired_here_is_not_pulled_again() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(5), MemoryStore()
        async with shelf(there):
            await pull(here, URL, "misc.test")
            assert await here.remove(b"<3@example.net>")
            pulled = await pull(here, URL, "misc.test")
        assert (pulled.added, pulled.known) == (0, 5)
        assert await here.history(b"<3@example.net>") is History.GONE

    play(main)


def test_a_connection_that_breaks_is_replaced_and_nothing_is_lost() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(999), MemoryStore()
        factory = NNTPServerFactory(there, access=Access(read="*"))
        connections = 0

        class Breaking(ProtocolWrapper):
            """Ends after some commands."""

            left = 8

            def data_received(self, data: bytes) -> None:
                self.left -= 1
                if connections < 8 and not self.left:
                    self.transport.abort()
                else:
                    super().data_received(data)

        class Factory:
            def build_protocol(self, peer: object) -> Breaking:
                nonlocal connections
                connections += 1
                return Breaking(factory.build_protocol(peer))

        async with serve("tcp://10.0.0.1:119", Factory()):
            pulled = await pull(here, URL, "misc.test", connections=2)
        assert connections == 8
        assert len(await contents(here, "misc.test")) == 999
        assert pulled.done == pulled.total == 999

    play(main)


def test_a_server_that_goes_away_for_good_is_told() -> None:
    async def main(clock: Clock) -> None:
        async def leave(stream: Stream) -> None:
            stream.abort()

        replies = {
            b"LIST ACTIVE": b"215 groups\r\na 5 1 y\r\n.\r\n",
            b"GROUP": b"211 5 1 5 a\r\n",
            b"OVER": leave,
        }
        async with serving(Script(replies)) as url:
            began = clock.time()
            with pytest.raises(ConnectionLost):
                await pull(MemoryStore(), url, "a", connections=1)
        # 2, 4, 8 and 16 s, each up to a quarter shorter, so that not all come back at once.
        assert 22.5 <= clock.time() - began <= 30
        with pytest.raises(ConnectError):
            await pull(MemoryStore(), URL, "a")

    play(main)


def test_a_server_that_allows_one_connection_is_pulled_over_that() -> None:
    async def main(_: Clock) -> None:
        there, here = filled(900), MemoryStore()
        factory = NNTPServerFactory(there, access=Access(read="*"))
        connections = 0

        class One:
            def build_protocol(self, peer: object) -> IStreamProtocol | None:
                nonlocal connections
                connections += 1
                return factory.build_protocol(peer) if connections == 1 else None

        async with serve("tcp://10.0.0.1:119", One()):
            pulled = await pull(here, URL, "misc.test", connections=4)
        assert pulled.added == 900

    play(main)


@pytest.mark.parametrize("code", [400, 403, 502])
def test_a_range_that_a_connection_is_refused_is_done_by_another(code: int) -> None:
    """Nothing may be left out in silence."""

    async def main(_: Clock) -> None:
        there, here = filled(600), MemoryStore()
        served = 0
        good = NNTPServerFactory(there, access=Access(read="*"))

        class Refusing(ProtocolWrapper):
            """Refuses what it is asked of overviews."""

            def data_received(self, data: bytes) -> None:
                if data.startswith(b"OVER"):
                    self.transport.write(b"%d not here\r\n" % code)
                else:
                    super().data_received(data)

        class Factory:
            def build_protocol(self, peer: object) -> IStreamProtocol:
                nonlocal served
                served += 1
                made = good.build_protocol(peer)
                return Refusing(made) if served == 2 else made

        async with serve("tcp://10.0.0.1:119", Factory()):
            pulled = await pull(here, URL, "misc.test", connections=2)
        assert (pulled.added, pulled.done) == (600, 600)

    play(main)


def test_a_server_that_leaves_in_the_middle_is_come_back_to() -> None:
    """RFC 3977 §3.2.1.2: 400 in place of an answer."""

    async def main(_: Clock) -> None:
        replies = {
            b"LIST ACTIVE": b"215 groups\r\na 1 1 y\r\n.\r\n",
            b"GROUP": b"211 1 1 1 a\r\n",
            b"OVER": [b"400 restarting\r\n", b"224 o\r\n1\ts\tf\td\t<1@x>\t\t9\t1\r\n.\r\n"],
            b"ARTICLE": b"220 1 <1@x>\r\n" + article(1, "a") + b".\r\n",
        }
        async with serving(Script(replies)) as url:
            pulled = await pull(MemoryStore(), url, "a", connections=1)
        assert pulled.added == 1

    play(main)


def test_more_groups_may_be_named_than_a_command_has_room_for() -> None:
    async def main(_: Clock) -> None:
        here = MemoryStore()
        names = ",".join(f"some.other.group{number}" for number in range(100))
        async with shelf(filled(3)):
            pulled = await pull(here, URL, f"{names},misc.test", connections=1)
        assert (pulled.groups, pulled.added) == (1, 3)

    play(main)


def test_groups_that_cannot_be_are_left_out() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"LIST ACTIVE": b"215 groups\r\na..b 1 1 y\r\nc 1 1 =\r\nd 0 1 y\r\n.\r\n",
            b"LIST NEWSGROUPS": b"215 about\r\nd\t" + b"x" * 9000 + b"\r\n.\r\n",
        }
        here = MemoryStore()
        async with serving(Script(replies)) as url:
            pulled = await pull(here, url, "*", connections=1)
        assert pulled.groups == 1
        assert pulled.refused.total() == 2
        group = await here.group("d")
        assert group is not None
        assert len(group.description) == 512

    play(main)


async def test_marks_of_groups_that_end_at_once_are_all_written(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    reactor = current_reactor()
    for number in range(20):
        marks.set("there", f"group{number}", number)
    await asyncio.gather(*(reactor.defer_to_thread(marks.save) for _ in range(20)))
    assert Marks(tmp_path / "marks").get("there", "group19") == 19


def test_odd_articles_are_counted_and_the_others_kept() -> None:
    async def main(_: Clock) -> None:
        good = article(1, "a")
        replies = {
            b"LIST ACTIVE": b"215 groups\r\na 6 1 m\r\nb 9 1 y\r\n.\r\n",
            b"GROUP": b"211 5 1 5 a\r\n",
            b"OVER": b"224 over\r\n"
            b"1\ts\tf\td\t<1@example.net>\t\t100\t1\r\n"
            b"2\ts\tf\td\t<2@x>\t\t100\t1\r\n"
            b"3\ts\tf\td\t<3@x>\t\t99999999\t1\r\n"
            b"4\ts\tf\td\tno id\t\t100\t1\r\n"
            b"5\ts\tf\td\t<5@x>\t\tlies\t1\r\n"
            b"6\ts\r\n.\r\n",
            b"ARTICLE 1": b"220 1 <1@example.net>\r\n" + good + b".\r\n",
            b"ARTICLE 2": b"423 gone\r\n",
            b"ARTICLE 4": b"220 4 <4@x>\r\nno head\r\n.\r\n",
            b"ARTICLE 5": b"220 5 <5@x>\r\n"
            + article(5, "a", body=b"x" * 3000 + b"\r\n")
            + b".\r\n",
            # A control message: filed in a group that it does not name.
            b"ARTICLE 6": b"220 6 <6@x>\r\n" + article(6, "other.group") + b".\r\n",
        }
        here = MemoryStore()
        async with serving(Script(replies)) as url:
            pulled = await pull(here, url, "a", max_size=2000, connections=1)
        assert (pulled.added, pulled.gone, pulled.known) == (2, 1, 0)
        assert pulled.refused == {"too large": 2, "no empty line, so no body": 1}
        assert await contents(here, "a") == [b"<1@example.net>", b"<6@example.net>"]
        group = await here.group("a")
        assert group is not None
        assert group.status == "m"
        assert await here.group("b") is None

    play(main)


def test_sparse_groups_are_looked_through_in_growing_steps() -> None:
    async def main(_: Clock) -> None:
        script = Script(
            {
                b"LIST ACTIVE": b"215 groups\r\na 1000000 1 y\r\n.\r\n",
                b"GROUP": b"211 0 1 1000000 a\r\n",
                b"OVER": b"423 none\r\n",
            }
        )
        async with serving(script) as url:
            pulled = await pull(MemoryStore(), url, "a")
        assert pulled.done == 1_000_000
        assert len(script.commands(b"OVER")) < 25

    play(main)


def test_a_store_that_is_full_ends_it() -> None:
    async def main(_: Clock) -> None:
        class Full(MemoryStore):
            async def add(self, filed: Filed) -> list[tuple[str, int]]:
                raise StoreError("no room")

        async with shelf(filled(5)):
            with pytest.raises(StoreError):
                await pull(Full(), URL, "misc.test")

    play(main)


def test_a_group_that_goes_meanwhile_is_left_out() -> None:
    async def main(_: Clock) -> None:
        replies = {
            b"LIST ACTIVE": b"215 groups\r\na 900 1 y\r\n.\r\n",
            b"GROUP": b"411 no such group\r\n",
        }
        async with serving(Script(replies)) as url:
            pulled = await pull(MemoryStore(), url, "a")
        assert (pulled.added, pulled.groups) == (0, 1)

    play(main)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(NNTPUsageError):
        done(pull(MemoryStore(), URL, "a", connections=0))
    with pytest.raises(NNTPUsageError):
        done(pull(MemoryStore(), URL, "a", limit=0))
    with pytest.raises(NNTPUsageError):
        done(pull(MemoryStore(), lambda: NNTPClient.connect(URL), "a"))
    with pytest.raises(NNTPProtocolError):
        done(pull(MemoryStore(), URL, "a b"))
