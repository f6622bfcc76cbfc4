"""What every store does: one suite, over memory and over SQLite, read at once and in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from zope.interface.verify import verifyObject

from sennit.core.deferred import gather
from sennit.news.article import parse
from sennit.news.errors import DuplicateError, NNTPUsageError, StoreError
from sennit.news.interfaces import Filed, History, IArticleReader, IArticleStore
from sennit.news.overview import overview
from sennit.news.store.memory import MemoryStore
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    Store = MemoryStore | SQLiteStore

NOW = 1_700_000_000.0


def article(
    name: str,
    groups: Sequence[str] = ("misc.test",),
    *,
    subject: str = "A subject",
    more: str = "",
    body: str = "Hello.\r\n",
    received: float = NOW,
    expires: float | None = None,
    feeds: Sequence[str] = (),
) -> Filed:
    """An article that has been taken in: ``<name@example.org>``."""
    parsed = parse(
        (
            f"Path: news.example.org!not-for-mail\r\nFrom: Ann <ann@example.org>\r\n"
            f"Newsgroups: {','.join(groups)}\r\nSubject: {subject}\r\n"
            f"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <{name}@example.org>\r\n"
            f"{more}\r\n{body}"
        ).encode()
    )
    return Filed(
        parsed.message_id,
        parsed.octets,
        parsed.body_at,
        groups=parsed.groups,
        overview=overview(parsed),
        received=received,
        expires=expires,
        feeds=feeds,
    )


def ident(name: str) -> bytes:
    return f"<{name}@example.org>".encode()


def clock() -> float:
    return NOW


async def with_groups(store: Store) -> Store:
    await gather(
        store.create_group("misc.test", description="Tests"), store.create_group("misc.other")
    )
    return store


@pytest.fixture(params=["memory", "sqlite", "sqlite-threads"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Store]:
    """A store with the groups misc.test and misc.other."""
    if request.param == "memory":
        yield await with_groups(MemoryStore(host="news.example.org", clock=clock))
        return
    # Made once: to make one waits for the disk some times.
    first = tmp_path_factory.getbasetemp() / "store-with-groups.db"
    if not first.exists():
        async with SQLiteStore.open(first, clock=clock) as made:
            await with_groups(made)
    path = tmp_path / "news.db"
    path.write_bytes(first.read_bytes())
    threads = request.param == "sqlite-threads"
    async with SQLiteStore.open(
        path, host="news.example.org", clock=clock, threads=threads
    ) as opened:
        yield opened


async def told(store: Store, name: str = "misc.test") -> tuple[int, int, int]:
    group = await store.group(name)
    assert group is not None
    return group.count, group.low, group.high


async def lines(store: Store, low: int, high: int, group: str = "misc.test") -> list[bytes]:
    pieces = [piece async for piece in store.overview(group, low, high)]
    return b"".join(pieces).split(b"\r\n")[:-1]


async def numbers(store: Store, low: int, high: int, group: str = "misc.test") -> list[int]:
    return [each async for piece in store.numbers(group, low, high) for each in piece]


async def filled(store: Store, count: int) -> None:
    await gather(
        *[
            store.add(article(f"n{number}", subject=f"Number {number}", received=NOW + number))
            for number in range(1, count + 1)
        ]
    )


async def test_it_is_a_store_and_may_have_a_reader(store: Store) -> None:
    assert verifyObject(IArticleStore, store)
    if store.now is not None:
        assert verifyObject(IArticleReader, store.now)


# ── groups ────────────────────────────────────────────────────────────────────


async def test_groups_are_told_by_name(store: Store) -> None:
    await store.create_group("alt.first", status="m", description="A\tb", creator="ann")

    groups = await store.groups()

    assert [group.name for group in groups] == ["alt.first", "misc.other", "misc.test"]
    first = groups[0]
    assert (first.status, first.description, first.creator) == ("m", "A b", "ann")
    assert (first.count, first.low, first.high, first.created) == (0, 1, 0, NOW)
    assert await store.group("alt.last") is None


async def test_a_group_that_is_made_again_keeps_its_articles(store: Store) -> None:
    await filled(store, 2)

    await store.create_group("misc.test", status="n", description="Other words")

    group = await store.group("misc.test")
    assert group is not None
    assert (group.status, group.description) == ("n", "Other words")
    assert (group.count, group.low, group.high) == (2, 1, 2)


async def test_a_group_that_cannot_be_is_not_made(store: Store) -> None:
    for name, status, description in (
        ("", "y", ""),
        ("a b", "y", ""),
        ("a..b", "y", ""),
        ("a\r\nb", "y", ""),
        ("misc.new", "q", ""),
        ("misc.new", "=a b", ""),
        ("misc.new", "y", "two\r\nlines"),
    ):
        with pytest.raises(NNTPUsageError):
            await store.create_group(name, status=status, description=description)

    assert len(await store.groups()) == 2


async def test_a_removed_group_takes_along_what_is_nowhere_else(store: Store) -> None:
    await gather(*[store.add(article(f"only{number}")) for number in range(70)])
    await store.add(article("both", ["misc.test", "misc.other"]))

    assert await store.remove_group("misc.test")

    assert await store.group("misc.test") is None
    assert not await store.remove_group("misc.test")
    assert await store.history(ident("only3")) is History.GONE
    assert await store.article(ident("only3")) is None
    assert await store.article(ident("both")) is not None
    assert await store.number_in("misc.other", ident("both")) == 1
    assert await numbers(store, 1, 100) == []
    assert await store.article_at("misc.test", 1) is None


async def test_a_group_made_anew_has_nothing_of_the_one_before(store: Store) -> None:
    await filled(store, 3)
    await store.remove_group("misc.test")
    await store.create_group("misc.test")

    assert await told(store) == (0, 1, 0)
    assert await lines(store, 1, 10) == []


# ── adding ────────────────────────────────────────────────────────────────────


async def test_an_article_is_filed_with_xref_in_all_its_groups(store: Store) -> None:
    await store.add(article("first"))

    places = await store.add(article("x", ["misc.other", "misc.test"], body="1\r\n2\r\n"))

    assert list(places) == [("misc.other", 1), ("misc.test", 2)]
    found = await store.article(ident("x"))
    assert found is not None
    xref = b"Xref: news.example.org misc.other:1 misc.test:2"
    assert found.head.endswith(b"\r\n" + xref + b"\r\n")
    assert found.body == b"1\r\n2\r\n"
    assert found.octets == found.head + b"\r\n" + found.body
    (line,) = await lines(store, 2, 2)
    assert line.split(b"\t") == [
        b"2",
        b"A subject",
        b"Ann <ann@example.org>",
        b"Tue, 14 Nov 2023 22:13:20 +0000",
        ident("x"),
        b"",
        b"%d" % len(found.octets),
        b"2",
        xref,
    ]
    at = await store.article_at("misc.test", 2)
    assert at is not None
    assert (at.octets, at.message_id) == (found.octets, ident("x"))


async def test_what_is_there_is_filed_in_more_groups(store: Store) -> None:
    await store.create_group("misc.third")
    for number in range(1, 40):
        await store.add(article(f"n{number}"))
    await store.add(article("x", body="1\r\n2\r\n"))

    assert list(await store.file_in(ident("n33"), ["misc.other"])) == [("misc.other", 1)]
    places = await store.file_in(
        ident("x"), ["misc.test", "misc.third", "not.here", "misc.other", "misc.third"]
    )

    assert list(places) == [("misc.third", 1), ("misc.other", 2)]
    found = await store.article(ident("x"))
    assert found is not None
    xref = b"Xref: news.example.org misc.test:40 misc.third:1 misc.other:2"
    assert found.head.endswith(b"\r\n" + xref + b"\r\n")
    assert found.head.count(b"Xref") == 1
    assert found.body == b"1\r\n2\r\n"
    for group, number in (("misc.test", 40), ("misc.third", 1), ("misc.other", 2)):
        (line,) = await lines(store, number, number, group)
        assert line.split(b"\t")[-3:] == [b"%d" % len(found.octets), b"2", xref]
        at = await store.article_at(group, number)
        assert at is not None
        assert at.octets == found.octets
        assert await store.number_in(group, ident("x")) == number
        assert (await told(store, group))[::2] == (number, number)
    fields = await store.overview_of(ident("x"))
    assert await lines(store, 40, 40) == [b"40\t" + (fields or b"")]
    # Those beside it in the same rows have kept theirs.
    (line,) = await lines(store, 39, 39)
    assert line.endswith(b"Xref: news.example.org misc.test:39")
    assert list(await store.file_in(ident("x"), ["misc.other"])) == []
    assert await store.add(article("y", ["misc.other"])) == [("misc.other", 3)]


async def test_what_is_not_there_is_filed_nowhere(store: Store) -> None:
    await store.add(article("x"))
    await store.remove(ident("x"))

    for name in ("x", "y"):
        assert list(await store.file_in(ident(name), ["misc.other"])) == []
    assert await told(store, "misc.other") == (0, 1, 0)
    assert await store.history(ident("y")) is History.UNKNOWN


async def test_what_was_filed_later_goes_from_all_its_groups_too(store: Store) -> None:
    await store.add(article("x"))
    await store.add(article("y"))
    for name in "xy":
        await store.file_in(ident(name), ["misc.other"])

    assert await store.drop([("misc.test", 1)], NOW) == 0
    assert await store.history(ident("x")) is History.PRESENT
    # Where it went from, it may be filed again, and its Xref says where it is now.
    assert list(await store.file_in(ident("x"), ["misc.test"])) == [("misc.test", 3)]
    found = await store.article(ident("x"))
    assert found is not None
    assert b"\r\nXref: news.example.org misc.other:1 misc.test:3\r\n" in found.head
    assert await store.remove(ident("x"))
    assert await store.drop([("misc.other", 2), ("misc.test", 2)], NOW) == 1
    assert await told(store, "misc.other") == (0, 3, 2)
    assert await told(store) == (0, 4, 3)


async def test_an_article_is_filed_the_moment_it_is_added(store: Store) -> None:
    adding = store.add(article("x"))
    filing = store.file_in(ident("x"), ["misc.other"])
    removing = store.remove(ident("x"))

    assert await adding == [("misc.test", 1)]
    assert list(await filing) == [("misc.other", 1)]
    assert await removing
    assert await told(store, "misc.other") == (0, 2, 1)


async def test_what_was_there_does_not_come_again(store: Store) -> None:
    await store.add(article("x"))
    await store.add(article("y"))
    await store.remove(ident("y"))
    await store.remember(ident("z"), NOW)

    for name in "xyz":
        with pytest.raises(DuplicateError):
            await store.add(article(name, ["misc.other"]))

    assert await told(store, "misc.other") == (0, 1, 0)
    assert [await store.history(ident(name)) for name in "xyzw"] == [
        History.PRESENT,
        History.GONE,
        History.GONE,
        History.UNKNOWN,
    ]


async def test_of_two_that_come_at_once_one_is_a_duplicate(store: Store) -> None:
    one, other = store.add(article("x")), store.add(article("x", ["misc.other"]))

    assert await one == [("misc.test", 1)]
    with pytest.raises(DuplicateError):
        await other


async def test_groups_that_are_not_there_are_left_out(store: Store) -> None:
    assert await store.add(article("x", ["not.here", "misc.test"])) == [("misc.test", 1)]

    with pytest.raises(StoreError):
        await store.add(article("y", ["not.here"]))
    assert await store.history(ident("y")) is History.UNKNOWN


async def test_a_message_id_is_never_a_path(store: Store, tmp_path: Path) -> None:
    """HARDENING nntp-5: whatever it says, it is looked up, and nothing else (RFC 3977 §3.6)."""

    def there() -> list[Path]:
        # Where `..` would lead, too; not into the folders of other tests.
        return sorted([*tmp_path.rglob("*"), *tmp_path.parent.iterdir()])

    before = there()
    for odd in (b"<../../x@y>", b"</etc/passwd>", b"<%00@x>", b"", b"\0", b"x" * 251, b"'; --"):
        assert await store.history(odd) is History.UNKNOWN
        assert await store.article(odd) is None
        assert await store.overview_of(odd) is None
        await store.remember(odd, NOW)
        assert await store.history(odd) is History.GONE

    assert there() == before


# ── reading ───────────────────────────────────────────────────────────────────


async def test_ranges_give_what_there_is_of_them(store: Store) -> None:
    await filled(store, 700)
    await store.drop([("misc.test", number) for number in (1, 2, 33, 64, 65, 300, 700)], NOW)
    there = [each for each in range(1, 701) if each not in (1, 2, 33, 64, 65, 300, 700)]

    for low, high in (
        (1, 700), (0, 9999), (3, 3), (33, 33), (31, 34), (32, 63), (64, 65), (64, 66), (5, 3),
        (250, 520), (257, 512), (699, 2**31 - 1), (701, 800), (700, 700), (3, 258),
    ):  # fmt: skip
        expected = [each for each in there if low <= each <= high]
        assert await numbers(store, low, high) == expected
        found = await lines(store, low, high)
        assert [int(line.split(b"\t")[0]) for line in found] == expected
        assert [line.split(b"\t")[1] for line in found] == [b"Number %d" % n for n in expected]
    assert await told(store) == (693, 3, 700)


async def test_a_range_of_a_group_that_is_not_there_is_empty(store: Store) -> None:
    assert await numbers(store, 1, 10, "not.here") == []
    assert await lines(store, 1, 10, "not.here") == []
    assert await store.neighbour("not.here", 1, 1) is None
    assert await store.locate("not.here", 1) is None
    assert await store.number_in("not.here", ident("x")) is None


async def test_an_article_is_found_by_number_and_by_message_id(store: Store) -> None:
    await filled(store, 40)
    await store.add(article("x", ["misc.other"]))

    assert await store.locate("misc.test", 33) == ident("n33")
    assert await store.number_in("misc.test", ident("n33")) == 33
    assert await store.number_in("misc.other", ident("n33")) is None
    for number in (0, 41, -1, 2**31 - 1, 2**40):
        assert await store.locate("misc.test", number) is None
        assert await store.article_at("misc.test", number) is None
    fields = await store.overview_of(ident("n33"))
    assert await lines(store, 33, 33) == [b"33\t" + (fields or b"")]
    assert await store.overview_of(ident("none")) is None


async def test_what_changes_between_two_look_ups_is_seen_by_the_second(store: Store) -> None:
    await store.create_group("misc.test")
    for name in "abcd":
        await store.add(article(name))
    assert await store.locate("misc.test", 2) == ident("b")
    assert await store.locate("misc.test", 5) is None

    await store.remove(ident("b"))
    await store.add(article("e"))

    assert await store.locate("misc.test", 2) is None
    assert await store.article_at("misc.test", 2) is None
    for number, name in ((1, "a"), (3, "c"), (4, "d"), (5, "e")):
        assert await store.locate("misc.test", number) == ident(name)
        found = await store.article_at("misc.test", number)
        assert found is not None
        assert found.message_id == ident(name)
    await store.remove_group("misc.test")
    assert await store.locate("misc.test", 3) is None


async def test_neighbours_are_found_over_gaps(store: Store) -> None:
    await filled(store, 200)
    await store.drop([("misc.test", number) for number in range(20, 181)], NOW)

    for number, step, expected in (
        (1, 1, 2), (19, 1, 181), (100, 1, 181), (181, -1, 19), (100, -1, 19), (1, -1, None),
        (200, 1, None), (0, 1, 1), (201, -1, 200), (2**31 - 1, -1, 200), (2**31 - 1, 1, None),
        (32, -1, 19), (31, 1, 181),
    ):  # fmt: skip
        found = await store.neighbour("misc.test", number, step)
        assert found == (None if expected is None else (expected, ident(f"n{expected}")))


async def test_header_fields_come_out_of_the_overview_and_out_of_articles(store: Store) -> None:
    await filled(store, 80)
    await store.add(article("o", more="Organization: The\r\n\tone\r\n", subject="Last"))

    async def headers(name: str, low: int, high: int) -> list[tuple[int, bytes]]:
        found = store.headers("misc.test", low, high, name)
        return [pair async for batch in found for pair in batch]

    assert await headers("Subject", 80, 90) == [(80, b"Number 80"), (81, b"Last")]
    assert await headers("organization", 79, 81) == [(79, b""), (80, b""), (81, b"The one")]
    assert await headers(":lines", 81, 81) == [(81, b"1")]
    assert await headers("XREF", 81, 81) == [(81, b"news.example.org misc.test:81")]
    assert await headers("Newsgroups", 1, 2000) == [(n, b"misc.test") for n in range(1, 82)]
    assert await headers("Newsgroups", 90, 99) == []


async def test_new_news_are_those_that_came_since_in_wanted_groups(store: Store) -> None:
    await filled(store, 5)
    await store.add(article("other", ["misc.other"], received=NOW + 4))
    await store.add(article("late", received=NOW + 2))
    await store.remove(ident("n5"))

    async def since(when: float, *names: str) -> set[bytes]:
        found = store.new_news(when, lambda name: name in names)
        return {each async for batch in found for each in batch}

    assert await since(NOW + 4, "misc.test") == {ident("n4")}
    assert await since(NOW + 2, "misc.test", "misc.other") == {
        ident(name) for name in ("n2", "n3", "n4", "other", "late")
    }
    assert await since(NOW + 10, "misc.test") == set()


# ── going ─────────────────────────────────────────────────────────────────────


async def test_numbers_are_never_given_again_and_low_water_marks_rise(store: Store) -> None:
    """RFC 3977 §6: numbers rise, and an empty group's low-water mark is one above the high."""
    await filled(store, 3)
    for name in ("n1", "n3", "n2"):
        assert await store.remove(ident(name))

    assert await told(store) == (0, 4, 3)
    assert not await store.remove(ident("n1"))
    assert await store.add(article("next")) == [("misc.test", 4)]
    assert await told(store) == (1, 4, 4)


async def test_a_group_that_was_told_of_does_not_change(store: Store) -> None:
    before = await store.group("misc.test")
    await filled(store, 1)

    assert before is not None
    assert (before.count, before.high) == (0, 0)


async def test_a_removed_article_leaves_nothing(store: Store) -> None:
    await store.add(article("x", ["misc.test", "misc.other"]))

    assert await store.remove(ident("x"))

    assert await store.article(ident("x")) is None
    assert await store.overview_of(ident("x")) is None
    for group in ("misc.test", "misc.other"):
        assert await told(store, group) == (0, 2, 1)
        assert await store.article_at(group, 1) is None
        assert await lines(store, 1, 9, group) == []


async def test_an_article_goes_when_it_is_in_no_group_any_more(store: Store) -> None:
    await store.add(article("x", ["misc.test", "misc.other"]))

    assert await store.drop([("misc.test", 1), ("misc.test", 7), ("not.here", 1)], NOW) == 0
    assert await store.article(ident("x")) is not None
    assert await store.number_in("misc.test", ident("x")) is None
    assert await store.overview_of(ident("x")) is not None
    assert await store.drop([("misc.other", 1)], NOW) == 1
    assert await store.history(ident("x")) is History.GONE


async def test_the_old_come_oldest_first_and_then_the_expired(store: Store) -> None:
    await store.add(article("young", received=NOW + 30))
    await store.add(article("old", ["misc.test", "misc.other"], received=NOW + 10, expires=NOW))
    await store.add(article("same", received=NOW + 10))
    await store.add(article("short", received=NOW + 30, expires=NOW + 60))
    await store.add(article("long", received=NOW + 30, expires=NOW + 90))

    found = [each async for batch in store.aged(NOW + 30, NOW + 90) for each in batch]

    assert [each.message_id for each in found] == [ident("old"), ident("same"), ident("short")]
    assert list(found[0].places) == [("misc.test", 2), ("misc.other", 1)]
    assert (found[0].received, found[0].expires) == (NOW + 10, NOW)
    assert found[1].expires is None


async def test_what_went_is_forgotten_in_time(store: Store) -> None:
    await filled(store, 2)
    await store.drop([("misc.test", 1)], NOW - 100)
    await store.drop([("misc.test", 2)], NOW)
    await store.remember(ident("refused"), NOW - 50)

    assert await store.forget(NOW - 10) == 2

    assert await store.history(ident("n1")) is History.UNKNOWN
    assert await store.history(ident("refused")) is History.UNKNOWN
    assert await store.history(ident("n2")) is History.GONE
    assert await store.add(article("n1")) == [("misc.test", 3)]


async def test_changes_that_come_at_once_are_made_in_order(store: Store) -> None:
    await store.create_group("misc.third")
    changes = [
        store.add(article("a")),
        store.remove(ident("a")),
        store.add(article("b")),
        store.drop([("misc.test", 2)], NOW),
        store.create_group("misc.fourth"),
        store.add(article("c", ["misc.fourth", "misc.third"])),
        store.remove(ident("c")),
        store.add(article("d", ["misc.fourth"], feeds=["peer"])),
        store.unqueue("peer", [1]),
    ]
    await gather(*changes)

    assert await told(store) == (0, 3, 2)
    assert await told(store, "misc.fourth") == (1, 2, 2)
    assert await told(store, "misc.third") == (0, 2, 1)


# ── queues ────────────────────────────────────────────────────────────────────


async def test_articles_wait_for_their_peers_in_order(store: Store) -> None:
    feeds = {0: ["one"], 1: ["one", "two"]}
    await gather(*[store.add(article(f"q{n}", feeds=feeds[n % 2])) for n in range(5)])

    waiting = await store.queued("one", 0, 3)
    rest = await store.queued("one", waiting[-1][0], 10)

    assert [message_id for _, message_id in waiting] == [ident(f"q{n}") for n in range(3)]
    assert [message_id for _, message_id in rest] == [ident("q3"), ident("q4")]
    assert [await store.queue_length(feed) for feed in ("one", "two", "none")] == [5, 2, 0]
    await store.unqueue("one", [place for place, _ in waiting])
    await store.unqueue("one", [waiting[0][0], 10**9])
    assert await store.queue_length("one") == 2
    assert await store.queued("one", 0, 10) == rest
    assert len(await store.queued("two", 0, 10)) == 2
    with pytest.raises(NNTPUsageError):
        await store.queued("one", 0, 0)
