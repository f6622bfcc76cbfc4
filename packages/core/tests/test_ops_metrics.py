"""Counters, gauges and histograms; how they are written down, and put together."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.errors import ReactorNotRunningError, UsageError
from sennit.core.ops import metrics
from sennit.core.ops.metrics import (
    Gauge,
    HistogramValue,
    Registry,
    counter,
    gauge,
    histogram,
    merge,
    registry_of,
)
from sennit.core.reactor.base import Reactor


def values(registry: Registry, name: str) -> dict[tuple[str, ...], Any]:
    (family,) = [each for each in registry.read() if each["name"] == name]
    return {tuple(each["labels"].values()): each["value"] for each in family["samples"]}


def test_what_is_counted_is_kept_by_labels() -> None:
    registry = Registry()
    requests = registry.counter("app_requests", "Requests.", ("site", "status"))
    ok = requests.labels("a", 200)
    ok.inc()
    ok.inc(2)
    requests.labels("b", 404).inc()
    assert requests.labels("a", "200") is ok
    assert values(registry, "app_requests") == {("a", "200"): 3, ("b", "404"): 1}


def test_a_gauge_goes_both_ways() -> None:
    registry = Registry()
    level = registry.gauge("level", "Level.").labels()
    level.set(5)
    level.inc()
    level.dec(2.5)
    assert values(registry, "level") == {(): 3.5}


def test_a_histogram_counts_each_value_in_the_first_bucket_that_holds_it() -> None:
    sizes = HistogramValue((1.0, 2.0))
    for size in (0.5, 1.0, 1.5, 2.0, 3.0):
        sizes.observe(size)
    assert sizes.counts == [2, 2, 1]
    assert (sizes.count, sizes.total) == (5, 8.0)


def test_asking_twice_gives_the_same_metric_and_another_kind_is_refused() -> None:
    registry = Registry()
    first = registry.counter("a", "A.", ("x",))
    assert registry.counter("a", "A.", ("x",)) is first
    for wrong in (
        lambda: registry.gauge("a", "A.", ("x",)),
        lambda: registry.counter("a", "A.", ("y",)),
        lambda: first.labels(),
        lambda: first.labels("1", "2"),
    ):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize("name", ["", "1a", "a b", "ä", "a-b", "a_total", "a_bucket", "a\n"])
def test_a_name_that_no_scraper_would_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Registry().counter(name, "A.")


@pytest.mark.parametrize("label", ["", "le", "__x", "a-b", "1"])
def test_a_label_that_no_scraper_would_take_is_refused(label: str) -> None:
    with pytest.raises(UsageError):
        Registry().counter("a", "A.", (label,))


def test_bounds_that_do_not_grow_are_refused() -> None:
    for bounds in ((), (1.0, 1.0), (2.0, 1.0)):
        with pytest.raises(UsageError):
            Registry().histogram("a", "A.", bounds=bounds)


def test_a_label_that_peers_choose_makes_no_more_series_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every count that a peer controls has a limit (HARDENING, defaults)."""
    monkeypatch.setattr(metrics, "MAX_SERIES", 3)
    names = Registry().counter("names", "Names.", ("name",))
    for number in range(100):
        names.labels(f"n{number}").inc()
    assert len(names.samples()) == 4
    assert names.labels("other").value == 97


def test_what_is_only_known_when_asked_is_set_before_reading() -> None:
    registry = Registry()
    queue = [1, 2, 3]
    length = registry.gauge("queue", "Queue.").labels()
    refresh = lambda: length.set(len(queue))  # noqa: E731 - the same object is taken off again
    registry.before_reading(refresh)
    assert values(registry, "queue") == {(): 3}
    queue.clear()
    registry.not_before_reading(refresh)
    assert values(registry, "queue") == {(): 3}


async def test_each_reactor_counts_for_itself(reactor: Reactor) -> None:
    counter("app_things", "Things.").labels().inc()
    gauge("app_level", "Level.").labels().set(1)
    histogram("app_wait", "Wait.").labels().observe(1)
    assert values(registry_of(), "app_things") == {(): 1}
    other = Reactor()
    assert registry_of(other).read() == []
    assert registry_of(other) is registry_of(other)
    other.close()


def test_without_a_reactor_there_is_no_registry_to_be_found() -> None:
    with pytest.raises(ReactorNotRunningError):
        counter("a", "A.")


# ── several workers ───────────────────────────────────────────────────────────


def worker(count: int, age: float, waits: list[float]) -> list[dict[str, Any]]:
    registry = Registry()
    registry.counter("c", "C.", ("x",)).labels("a").inc(count)
    registry.gauge("age", "Age.", across="max").labels().set(age)
    seconds = registry.histogram("h", "H.", bounds=(1.0, 2.0)).labels()
    for wait in waits:
        seconds.observe(wait)
    if count > 5:
        registry.counter("c", "C.", ("x",)).labels("b").inc()
    return registry.read()


def test_workers_are_summed_and_gauges_that_say_so_are_not() -> None:
    first, second = worker(3, 7.0, [0.5, 1.5]), worker(10, 5.0, [1.5, 9.0])
    found = {each["name"]: each["samples"] for each in merge([first, second])}
    assert [(each["labels"], each["value"]) for each in found["c"]] == [
        ({"x": "a"}, 13),
        ({"x": "b"}, 1),
    ]
    assert found["age"][0]["value"] == 7.0
    assert found["h"][0] == {
        "labels": {},
        "count": 4,
        "sum": 12.5,
        "buckets": [[1.0, 1], [2.0, 3], ["+Inf", 4]],
    }
    assert first == worker(3, 7.0, [0.5, 1.5])  # what was merged is as it was
    assert merge([]) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.floats(0, 100), st.lists(st.floats(0, 5), max_size=5)),
        max_size=4,
    )
)
def test_merging_adds_up_however_it_is_split(
    given_workers: list[tuple[int, float, list[float]]],
) -> None:
    readings = [worker(*each) for each in given_workers]
    whole = merge(readings)
    in_two = merge([merge(readings[:2]), merge(readings[2:])])
    assert [each["name"] for each in in_two] == [each["name"] for each in whole]
    for one, two in zip(in_two, whole, strict=True):
        for here, there in zip(one["samples"], two["samples"], strict=True):
            assert here.get("value") == there.get("value")
            assert here.get("buckets") == there.get("buckets")
            assert math.isclose(here.get("sum", 0), there.get("sum", 0), abs_tol=1e-9)


# ── written down ──────────────────────────────────────────────────────────────


def test_a_reading_is_openmetrics_that_the_librarys_own_parser_takes() -> None:
    exposition = pytest.importorskip("sennit.core.ops.exposition")
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    registry = Registry()
    odd = 'a"b\\c\nd'
    registry.counter("c", "Counts.", ("x",)).labels(odd).inc(3)
    registry.gauge("g", "A gauge.").labels().set(2.5)
    waits = registry.histogram("h", "Waits.", ("y",), bounds=(0.1, 1.0)).labels("z")
    for wait in (0.05, 0.5, 5.0):
        waits.observe(wait)
    registry.counter("never", "Never counted.", ("x",))

    media_type, data = exposition.render(registry.read())

    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    assert data.endswith(b"# EOF\n")
    found = {each.name: each for each in parser.text_string_to_metric_families(data.decode())}
    assert found["c"].type == "counter"
    assert found["c"].samples[0].labels == {"x": odd}
    assert found["g"].samples[0].value == 2.5
    buckets = [each.value for each in found["h"].samples if each.name == "h_bucket"]
    assert buckets == [1, 2, 3]
    assert found["never"].samples == []


def test_who_does_not_ask_for_openmetrics_gets_the_older_text() -> None:
    exposition = pytest.importorskip("sennit.core.ops.exposition")
    registry = Registry()
    registry.counter("c", "Counts.").labels().inc()
    for accept in ("", "*/*", "text/plain", "text/html"):
        media_type, data = exposition.render(registry.read(), accept)
        assert media_type.startswith("text/plain; version=")
        assert b"c_total 1.0" in data


def test_only_gauges_differ_in_how_they_are_put_together() -> None:
    assert Gauge("a", "A.", ()).across == "sum"
