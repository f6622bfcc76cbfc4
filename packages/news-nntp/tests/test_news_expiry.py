"""Expiry: rules, bounds, and a store from which what is due goes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.news.errors import NNTPUsageError
from sennit.news.expiry import Expiry, Rule, expire
from sennit.news.interfaces import Filed, History
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.news.expiry import Expired

DAY = 86_400.0
NOW = 1000 * DAY


def filed(
    name: str, groups: Sequence[str], age: float = 0.0, expires: float | None = None
) -> Filed:
    """An article that came `age` days ago, and whose Expires is in `expires` days."""
    octets = b"Subject: x\r\n\r\nHello.\r\n"
    return Filed(
        name.encode(),
        octets,
        14,
        groups=groups,
        overview=b"x\t\t\t<x>\t\t%d\t1" % len(octets),
        received=NOW - age * DAY,
        expires=None if expires is None else NOW + expires * DAY,
    )


async def store_of(*articles: Filed) -> MemoryStore:
    store = MemoryStore(clock=lambda: NOW)
    for name in ("misc.a", "misc.b", "alt.c"):
        await store.create_group(name)
    for each in articles:
        await store.add(each)
    return store


async def left(store: MemoryStore, group: str) -> list[int]:
    return [each async for piece in store.numbers(group, 1, 9999) for each in piece]


# ── rules ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "expires", "due"),
    [
        (Rule(), None, inf),
        (Rule(days=3), None, 3),
        (Rule(days=0), None, 0),
        (Rule(days=3), 1, 1),
        (Rule(days=3), 90, 90),
        (Rule(days=3, minimum=2), 1, 2),
        (Rule(days=3, maximum=30), 90, 30),
        (Rule(days=90, maximum=30), None, 90),
        (Rule(minimum=2, maximum=2), 1, 2),
    ],
)
def test_an_article_is_due_by_age_or_by_its_expires_between_bounds(
    rule: Rule, expires: float | None, due: float
) -> None:
    found = rule.until(NOW, None if expires is None else NOW + expires * DAY)

    assert found == (inf if due == inf else NOW + due * DAY)


def test_the_last_rule_that_fits_a_group_is_its_rule() -> None:
    rules = [Rule("*", days=1), Rule("misc.*,!misc.b", days=2), Rule("misc.a", days=3)]
    expiry = Expiry(rules)

    assert [expiry.rule_for(name).days for name in ("alt.c", "misc.c", "misc.b", "misc.a")] == [
        1,
        2,
        1,
        3,
    ]
    assert Expiry([]).rule_for("misc.a").until(NOW, NOW - DAY) == inf


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": "a,,b"},
        {"days": -1},
        {"days": float("nan")},
        {"count": -1},
        {"minimum": 3, "maximum": 2},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(NNTPUsageError):
        Rule(**wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(NNTPUsageError):
        Expiry([], remembered=-1)


@given(
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(-1e4, 1e4),
)
def test_expires_never_leaves_its_bounds(
    days: float, minimum: float, span: float, expires: float
) -> None:
    rule = Rule(days=days, minimum=minimum, maximum=minimum + span)

    due = rule.until(NOW, NOW + expires * DAY)

    assert NOW + minimum * DAY <= due <= NOW + (minimum + span) * DAY


# ── a store ───────────────────────────────────────────────────────────────────


async def test_what_is_due_goes_and_is_remembered() -> None:
    store = await store_of(
        filed("old", ["misc.a"], age=10),
        filed("kept", ["misc.a"], age=10, expires=1),
        filed("young", ["misc.a"], age=1),
        filed("short", ["misc.a"], age=1, expires=-0.5),
    )

    done = await expire(store, Expiry([Rule("misc.*", days=7, maximum=30)]), NOW)

    assert await left(store, "misc.a") == [2, 3]
    assert (done.removed, done.dropped) == (2, 2)
    assert await store.history(b"old") is History.GONE
    group = await store.group("misc.a")
    assert group is not None
    assert (group.low, group.high, group.count) == (2, 4, 2)


@pytest.mark.parametrize("rule", [Rule(maximum=30), Rule(days=90, maximum=30)])
async def test_what_would_stay_for_years_goes_at_the_maximum(rule: Rule) -> None:
    store = await store_of(
        filed("long", ["misc.a"], age=40, expires=4000),
        filed("new", ["misc.a"], age=20, expires=4000),
        filed("silent", ["misc.a"], age=40),
    )

    await expire(store, Expiry([rule]), NOW)

    assert await left(store, "misc.a") == [2, 3]


async def test_an_article_in_several_groups_goes_from_each_when_it_is_due_there() -> None:
    store = await store_of(filed("x", ["misc.a", "alt.c"], age=10))
    expiry = Expiry([Rule("misc.*", days=7), Rule("alt.*", days=14)])

    first = await expire(store, expiry, NOW)
    assert (first.dropped, first.removed) == (1, 0)
    assert await left(store, "alt.c") == [1]
    second = await expire(store, expiry, NOW + 5 * DAY)

    assert (second.dropped, second.removed) == (1, 1)
    assert await store.article(b"x") is None


async def test_a_group_keeps_no_more_than_its_count_of_the_newest() -> None:
    store = await store_of(*[filed(f"n{n}", ["misc.a", "misc.b"]) for n in range(2500)])
    steps: list[int] = []

    def progress(done: Expired) -> None:
        steps.append(done.dropped)

    expiry = Expiry([Rule("misc.a", count=10), Rule("misc.b", count=5000)])
    done = await expire(store, expiry, NOW, progress=progress)

    assert await left(store, "misc.a") == list(range(2491, 2501))
    assert len(await left(store, "misc.b")) == 2500
    assert (done.dropped, done.removed) == (2490, 0)
    assert steps == sorted(steps)
    assert len(steps) > 2


async def test_what_went_long_ago_is_forgotten() -> None:
    store = await store_of(filed("x", ["misc.a"], age=2))
    expiry = Expiry([Rule(days=1)], remembered=3)
    assert (await expire(store, expiry, NOW)).removed == 1

    assert (await expire(store, expiry, NOW + 2 * DAY)).forgotten == 0
    assert await store.history(b"x") is History.GONE
    done = await expire(store, expiry, NOW + 4 * DAY)

    assert done.forgotten == 1
    assert await store.history(b"x") is History.UNKNOWN
    assert "1 forgotten" in repr(done)


async def test_where_no_rule_fits_nothing_goes() -> None:
    store = await store_of(filed("x", ["misc.a"], age=9999), filed("y", ["misc.a"], expires=-1))

    done = await expire(store, Expiry([Rule("alt.*", days=1)]), NOW)

    assert (done.seen, done.removed) == (2, 0)
    assert await left(store, "misc.a") == [1, 2]
