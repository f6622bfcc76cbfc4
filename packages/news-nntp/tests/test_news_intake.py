"""Which articles are taken in, and where they go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from news_articles import HOST, NOW, composed
from zope.interface.verify import verifyObject

from sennit.core.deferred import gather
from sennit.news.article import format_date, parse
from sennit.news.control import Control
from sennit.news.errors import (
    ArticleError,
    DuplicateError,
    NewsError,
    StoreError,
    TryLaterError,
)
from sennit.news.feeds import Feed
from sennit.news.injection import Injection
from sennit.news.intake import MAX_AWAITED, Intake, IntakePolicy
from sennit.news.interfaces import Filed, History, IIntake, Wanted
from sennit.news.moderation import HeldArticles, posting
from sennit.news.store.memory import MemoryStore
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Fields = dict[str, str | None]

ID = b"<1@example.net>"
PEER = "peer.example.net"


class Time:
    """What time it is."""

    now = NOW

    def __call__(self) -> float:
        return self.now


async def groups(store: MemoryStore) -> MemoryStore:
    for name, status in {
        "misc.test": "y", "misc.other": "y", "local.closed": "n", "old.gone": "x",
        "to.junk": "j", "old.name": "=misc.other", "mod.announce": "m", "junk": "n",
    }.items():  # fmt: skip
        await store.create_group(name, status=status)
    return store


async def taking(
    policy: IntakePolicy | None = None,
    *,
    time: Time | None = None,
    feeds: Sequence[Feed] = (),
    moderators: HeldArticles | None = None,
    store: MemoryStore | None = None,
) -> Intake:
    time = time or Time()
    return Intake(
        await groups(store or MemoryStore(host=HOST, clock=time)),
        path_host=HOST,
        policy=policy,
        feeds=feeds,
        injection=Injection(HOST, trace="plain"),
        moderators=moderators,
        clock=time,
        unique=lambda: "unique",
    )


async def places(intake: Intake, message_id: bytes = ID) -> list[str]:
    """The groups in which an article is."""
    found = [
        group.name
        for group in await intake.store.groups()
        if await intake.store.number_in(group.name, message_id) is not None
    ]
    return sorted(found)


async def test_it_takes_articles_in() -> None:
    intake = await taking()
    assert verifyObject(IIntake, intake)
    assert await intake.wants(ID, PEER) is Wanted.YES

    await intake.take(composed(), PEER, ID)

    article = await intake.store.article(ID)
    assert article is not None
    assert b"Path: news.example.org!!peer.example.net!not-for-mail\r\n" in article.octets
    assert article.body == b"Hello.\r\n"
    assert await places(intake) == ["misc.test"]
    assert await intake.wants(ID, PEER) is Wanted.NO
    with pytest.raises(DuplicateError):
        await intake.take(composed(), PEER, ID)


@pytest.mark.parametrize(
    "octets",
    [b"a@b", b"<../../x@y>", b"<a b@c>", b"<a\0@b>", b"<" + b"a" * 248 + b"@b>", b""],
)
async def test_what_is_no_message_id_is_not_wanted(octets: bytes) -> None:
    """HARDENING nntp-5."""
    assert await (await taking()).wants(octets, PEER) is Wanted.NO


async def test_of_two_peers_that_offer_an_article_one_is_to_send_it() -> None:
    """RFC 4644 §2.4: the other is told 431, and asks again."""
    time = Time()
    intake = await taking(time=time)
    assert await intake.wants(ID, "a") is Wanted.YES
    assert await intake.wants(ID, "b") is Wanted.LATER
    assert await intake.wants(ID, "a") is Wanted.YES
    time.now += 31
    assert await intake.wants(ID, "b") is Wanted.YES
    assert await intake.wants(ID, "a") is Wanted.LATER
    with pytest.raises(ArticleError):
        await intake.take(b"broken", "b", ID)
    assert await intake.wants(ID, "a") is Wanted.YES, "who breaks it off lets the next one"


async def test_articles_that_are_never_sent_are_remembered_up_to_a_bound() -> None:
    intake = await taking(IntakePolicy(offer_wait=1e9))
    for number in range(MAX_AWAITED + 2):
        assert await intake.wants(b"<%d@x>" % number, "a") is Wanted.YES
    assert await intake.wants(b"<%d@x>" % MAX_AWAITED, "b") is Wanted.LATER
    assert await intake.wants(b"<0@x>", "b") is Wanted.YES


async def test_of_two_that_send_one_article_at_once_one_is_a_duplicate(tmp_path: Path) -> None:
    async with SQLiteStore.open(tmp_path / "news.db", host=HOST, clock=lambda: NOW) as store:
        await store.create_group("misc.test")
        intake = Intake(store, path_host=HOST, clock=lambda: NOW)

        async def take(peer: str) -> str:
            try:
                await intake.take(composed(), peer)
            except DuplicateError:
                return "duplicate"
            return "taken"

        told = await gather(take("a"), take("b"), take("c"))

        assert sorted(told) == ["duplicate", "duplicate", "taken"]
        assert await store.number_in("misc.test", ID) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Date": format_date(NOW - 11 * 86400).decode()}, "too old"),
        ({"Date": format_date(NOW + 2 * 86400).decode()}, "in the future"),
        ({"Newsgroups": "no.such"}, "no newsgroup that is here"),
        ({"Newsgroups": "old.gone"}, "no newsgroup that is here"),
        ({"Newsgroups": "to.junk"}, "no newsgroup that is here"),
        ({"Newsgroups": "mod.announce"}, "not approved"),
        ({"Newsgroups": "misc.test,mod.announce"}, "not approved"),
        ({"Newsgroups": ",".join(f"a.{n}" for n in range(51))}, "more than 50 newsgroups"),
        ({"Distribution": "local"}, "unwanted distribution"),
    ],
)
async def test_what_is_not_wanted_is_refused_and_remembered(fields: Fields, reason: str) -> None:
    intake = await taking(IntakePolicy(distributions="*,!local"))

    with pytest.raises(ArticleError, match=reason):
        await intake.take(composed(fields), PEER, ID)

    assert await intake.store.history(ID) is History.GONE
    assert await intake.wants(ID, "b") is Wanted.NO


async def test_what_was_broken_on_its_way_may_come_whole_from_another() -> None:
    intake = await taking()

    with pytest.raises(ArticleError, match="NUL"):
        await intake.take(composed(body=b"a\0\r\n"), PEER, ID)
    with pytest.raises(ArticleError, match="not the one that was offered"):
        await intake.take(composed(), PEER, b"<2@example.net>")

    assert await intake.wants(ID, "b") is Wanted.YES


async def test_refused_articles_are_forgotten_where_configured() -> None:
    intake = await taking(IntakePolicy(remember_refused=False))
    with pytest.raises(ArticleError):
        await intake.take(composed({"Newsgroups": "no.such"}), PEER)
    assert await intake.store.history(ID) is History.UNKNOWN


@pytest.mark.parametrize(
    ("newsgroups", "where"),
    [
        ("misc.test,no.such", ["misc.test"]),
        ("misc.other,misc.test", ["misc.other", "misc.test"]),
        ("local.closed", ["local.closed"]),
        ("old.name", ["misc.other"]),
        ("old.name,misc.other", ["misc.other"]),
        ("no.such", ["junk"]),
        ("to.junk", ["junk"]),
        ("to.junk,misc.test", ["misc.test"]),
        ("old.gone,misc.test", ["misc.test"]),
        ("old.gone,no.such", ["junk"]),
    ],
)
async def test_articles_go_where_the_status_of_groups_says(
    newsgroups: str, where: list[str]
) -> None:
    """RFC 6048 §3.1."""
    intake = await taking(IntakePolicy(junk="junk"))
    await intake.take(composed({"Newsgroups": newsgroups}), PEER)
    assert await places(intake) == where


async def test_what_is_for_closed_groups_alone_is_refused_even_where_the_rest_is_junk() -> None:
    """RFC 6048 §3.1: status x."""
    intake = await taking(IntakePolicy(junk="junk"))

    with pytest.raises(ArticleError, match="no newsgroup"):
        await intake.take(composed({"Newsgroups": "old.gone"}), PEER)


async def test_an_approved_article_goes_into_its_moderated_group() -> None:
    intake = await taking()
    await intake.take(composed({"Newsgroups": "mod.announce", "Approved": "m@x"}), PEER)
    assert await places(intake) == ["mod.announce"]


async def test_an_article_expires_when_it_says_so() -> None:
    store = Noting(host=HOST)
    intake = await taking(store=store)
    await intake.take(composed({"Expires": format_date(NOW + 9).decode()}), PEER)
    assert [(each.received, each.expires) for each in store.filed] == [(NOW, NOW + 9)]


async def test_an_article_is_queued_for_those_that_have_not_had_it() -> None:
    """RFC 5537 §3.6: not to whom Path names, nor back."""
    feeds = [Feed("b"), Feed(PEER), Feed("c", groups="other.*"), Feed("d"), Feed("e")]
    intake = await taking(feeds=feeds)
    woken: list[str] = []
    for feed in feeds:
        intake.watch(feed.name, partial(woken.append, feed.name))

    await intake.take(composed({"Path": f"{PEER}!D!x"}), PEER)

    assert woken == ["b", "e"]
    assert [await intake.store.queue_length(each.name) for each in feeds] == [1, 0, 0, 0, 1]


class Noting(MemoryStore):
    """A store that notes what it is given."""

    def __init__(self, *, host: str) -> None:
        super().__init__(host=host)
        self.filed: list[Filed] = []

    async def add(self, filed: Filed) -> Sequence[tuple[str, int]]:
        self.filed.append(filed)
        return await super().add(filed)


class Full(MemoryStore):
    """A store that cannot write."""

    async def add(self, filed: Filed) -> Sequence[tuple[str, int]]:
        raise StoreError("disk full")


async def test_when_the_store_cannot_write_peers_and_posters_are_told_to_come_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING fault-3; and 25: the log does not grow with each article."""
    intake = await taking(store=Full(host=HOST))
    for _ in range(50):
        with pytest.raises(TryLaterError):
            await intake.take(composed(), PEER, ID)
    assert 0 < caplog.text.count("could not be kept") <= 5
    with pytest.raises(TryLaterError):
        await intake.post(composed(proto=True), poster="", host="", may_approve=False)
    assert await intake.wants(ID, "b") is Wanted.YES


# ── posts ────────────────────────────────────────────────────────────────────


async def posted(
    intake: Intake, fields: Fields | None = None, *, may_approve: bool = False, poster: str = ""
) -> bytes:
    octets = composed(fields, proto=True)
    return await intake.post(octets, poster=poster, host="192.0.2.7", may_approve=may_approve)


async def test_a_post_is_injected_kept_and_queued() -> None:
    intake = await taking(feeds=[Feed("b")])

    message_id = await posted(intake)

    assert message_id == b"<unique@news.example.org>"
    article = await intake.store.article(message_id)
    assert article is not None
    assert parse(article.octets).content(b"path") == (
        b"news.example.org!.POSTED.192.0.2.7!not-for-mail"
    )
    assert await intake.store.queue_length("b") == 1
    with pytest.raises(DuplicateError):
        await posted(intake)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Newsgroups": "no.such"}, "no newsgroup that is here"),
        ({"Newsgroups": "local.closed"}, "no posts to"),
        ({"Newsgroups": "misc.test,old.gone"}, "no posts to"),
        ({"Approved": "ann@example.org"}, "may not approve"),
        ({"Control": "newgroup x"}, "may not send control"),
        ({"Newsgroups": "mod.announce"}, "nobody moderates"),
        ({"Subject": None}, "no Subject"),
    ],
)
async def test_posts_that_are_not_taken_are_told_why(fields: Fields, reason: str) -> None:
    intake = await taking()
    with pytest.raises(ArticleError, match=reason):
        await posted(intake, fields)
    assert all(group.count == 0 for group in await intake.store.groups())


async def test_who_may_approve_posts_to_moderated_groups() -> None:
    intake = await taking()
    fields: Fields = {"Newsgroups": "mod.announce", "Approved": "mod@example.org"}
    message_id = await posted(intake, fields, may_approve=True)
    assert await places(intake, message_id) == ["mod.announce"]


async def test_a_post_to_a_moderated_group_waits_until_it_is_approved(tmp_path: Path) -> None:
    """RFC 5537 §3.5.1, §3.9."""
    queue = HeldArticles(tmp_path / "moderation")
    intake = await taking(moderators=queue)

    message_id = await posted(intake, {"Newsgroups": "misc.test,mod.announce"})

    assert await places(intake, message_id) == []
    (held,) = await queue.held()
    assert held.group == "mod.announce"
    assert b"Path:" not in held.octets
    assert b"Injection" not in held.octets
    assert await queue.approve(held.key, posting(intake), "mod@example.org") == message_id
    assert await places(intake, message_id) == ["misc.test", "mod.announce"]
    article = await intake.store.article(message_id)
    assert article is not None
    assert b"Approved: mod@example.org\r\n" in article.octets
    assert await queue.held() == []


# ── control messages ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "control",
    [
        "newgroup evil.group",
        "rmgroup misc.test",
        "sendsys",
        "version",
        "cancel <1@example.net>",
        "",
    ],
)
async def test_control_messages_are_kept_and_not_acted_on(control: str) -> None:
    """HARDENING nntp-6."""
    intake = await taking()
    await intake.take(composed(), PEER)
    before = [group.name for group in await intake.store.groups()]

    await intake.take(
        composed({"Message-ID": "<2@x>", "Control": control, "Approved": "a@b"}), PEER
    )

    assert [group.name for group in await intake.store.groups()] == before
    assert await places(intake, b"<2@x>") == ["misc.test"]
    assert await places(intake) == ["misc.test"]


async def test_control_messages_have_groups_of_their_own_where_there_are_any() -> None:
    store = MemoryStore(host=HOST, clock=lambda: NOW)
    control = Control(store, path_host=HOST, kinds=["newgroup"], clock=lambda: NOW)
    intake = Intake(
        store, path_host=HOST, control=control, policy=IntakePolicy(junk="junk"), clock=lambda: NOW
    )
    await intake.prepare()
    assert [group.name for group in await store.groups()] == ["control", "junk"]
    await store.create_group("control.cancel", status="n")

    await intake.take(composed({"Control": "newgroup a.b", "Newsgroups": "a.b"}), PEER)
    await intake.take(composed({"Control": "cancel <x@y>", "Message-ID": "<2@x>"}), PEER)

    assert await places(intake) == ["control"]
    assert await places(intake, b"<2@x>") == ["control.cancel"]


async def test_errors_are_all_of_one_family() -> None:
    intake = await taking()
    with pytest.raises(NewsError):
        await intake.take(b"", PEER)
