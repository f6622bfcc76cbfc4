"""What moderators do on the command line, beside the server that took the posts."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from news_articles import HOST, composed
from news_running import elsewhere
from news_scripts import Script

from sennit.core.endpoint.listen import serve
from sennit.core.stream import stream_handler
from sennit.news.access import Access
from sennit.news.client import NNTPClient
from sennit.news.intake import Intake
from sennit.news.moderation import HeldArticles
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

MODERATOR = Access("*", "*", approve=True)


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without anything of the machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "news.db.held"


def post(number: int, subject: str = "A post", **more: str) -> bytes:
    fields = {"Message-ID": f"<{number}@example.net>", "Newsgroups": "mod.test", "Date": None}
    return composed({**fields, "Subject": subject, **more}, proto=True)


@asynccontextmanager
async def board(
    folder: Path, access: Access = MODERATOR, posts: int = 2
) -> AsyncGenerator[tuple[str, MemoryStore], None]:
    """A server with a moderated group for which some posts wait."""
    store = MemoryStore(host=HOST)
    await store.create_group("mod.test", status="m")
    intake = Intake(store, path_host=HOST, moderators=HeldArticles(folder))
    factory = NNTPServerFactory(store, intake, access=access)
    async with serve("tcp://127.0.0.1:0", factory) as server:
        url = f"nntp://127.0.0.1:{server.port}/"
        async with NNTPClient.connect(url) as news:
            for number in range(1, posts + 1):
                await news.post(post(number, f"Number {number} \x07"))
        yield url, store


async def waiting(folder: Path) -> list[dict[str, Any]]:
    """What waits, as the command tells it."""
    said = await elsewhere("held", str(folder), "--json")
    found: list[dict[str, Any]] = json.loads(said.out)
    return found


async def test_a_moderator_sees_approves_and_rejects_what_waits_while_the_server_runs(
    folder: Path,
) -> None:
    async with board(folder, posts=3) as (url, store):
        found = await waiting(folder)
        assert {each["group"] for each in found} == {"mod.test"}
        key = {each["subject"][:8]: each["key"] for each in found}
        said = await elsewhere("held", str(folder))
        assert said.out.splitlines()[0].split() == ["key", "since", "group", "from", "subject"]
        assert "Number 2 \\x07" in said.out
        said = await elsewhere("held", str(folder), key["Number 2"][:9])
        assert "Subject: Number 2" in said.out

        said = await elsewhere(
            "approve", url, str(folder), key["Number 1"][:9], "--as", "ed@example.org"
        )
        assert (said.status, said.out) == (0, "approved <1@example.net>\n"), said.error
        said = await elsewhere("reject", str(folder), key["Number 2"])
        assert (said.status, said.out) == (0, "rejected <2@example.net>\n")

        assert [each["key"] for each in await waiting(folder)] == [key["Number 3"]]
        article = await store.article(b"<1@example.net>")
        assert article is not None
        assert b"\r\nApproved: ed@example.org\r\n" in article.octets
        assert await store.article(b"<2@example.net>") is None

        # The store may be named in place of the folder beside it.
        said = await elsewhere("held", str(folder).removesuffix(".held"), "--json")
        assert len(json.loads(said.out)) == 1


async def test_who_may_not_approve_is_told_and_the_post_waits(folder: Path) -> None:
    async with board(folder, Access("*", "*"), posts=1) as (url, _store):
        (held,) = await waiting(folder)
        said = await elsewhere("approve", str(folder), held["key"], "--as", "a@x", "--server", url)
        assert "you may not approve" in said.error
        said = await elsewhere("approve", url, str(folder), held["key"], "--as", "nobody")
        assert "not a mail address" in said.error
        assert await waiting(folder) == [held]


@pytest.mark.parametrize(("stat", "left"), [(b"223 0 <1@example.net>", 0), (b"430 none", 1)])
async def test_what_was_posted_when_the_answer_was_lost_waits_no_more(
    folder: Path, stat: bytes, left: int
) -> None:
    await HeldArticles(folder).submit("mod.test", b"<1@example.net>", post(1))
    (held,) = await waiting(folder)
    replies = {
        b"POST": b"340 go\r\n",
        b"POST article": b"441 duplicate\r\n",
        b"STAT": stat + b"\r\n",
    }
    async with serve("tcp://127.0.0.1:0", stream_handler(Script(replies))) as server:
        said = await elsewhere(
            "approve", f"nntp://127.0.0.1:{server.port}/", str(folder), held["key"], "--as", "a@x"
        )
    assert said.status == left
    assert len(await waiting(folder)) == left


async def test_what_is_named_wrong_is_told(folder: Path) -> None:
    said = await elsewhere("held", str(folder))
    assert "news.db.held" in said.error
    folder.mkdir()
    said = await elsewhere("held", str(folder))
    assert said.out == "nothing waits\n"
    said = await elsewhere("reject", str(folder), "00")
    assert "nothing waits as '00'" in said.error
    queue = HeldArticles(folder)
    for number in range(20):
        await queue.submit("mod.test", b"<%d@example.net>" % number, post(number))
    keys = [each["key"] for each in await waiting(folder)]
    shared = next(key[0] for key in keys if sum(key[0] == other[0] for other in keys) > 1)
    said = await elsewhere("reject", str(folder), shared)
    assert "more than one post waits" in said.error
    said = await elsewhere("approve", str(folder), "--as", "a@x")
    assert "FOLDER KEY" in said.error
    assert len(await waiting(folder)) == 20
