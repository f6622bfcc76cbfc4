"""Counters, gauges and histograms, by name and labels, in a registry per reactor.

::

    from sennit.core.ops.metrics import counter

    lookups = counter("myapp_lookups", "Look-ups by kind.", ("kind",))
    by_name = lookups.labels("name")     # keep it: then counting is one method call
    by_name.inc()

A registry belongs to a reactor (`registry_of`), so that two programs in one
process do not count into each other. What is only known when somebody looks
(queues, open connections) is set by a function given to `Registry.before_reading`.

A peer may have a hand in a label's value: a metric has at most `MAX_SERIES`
series; what would be one more is counted with every label ``other``.

Not here: how it is written down (``exposition.py``), and what core itself counts
(``instruments.py``).
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sennit.core.interfaces import IClock

__all__ = [
    "SECONDS",
    "Counter",
    "CounterValue",
    "Gauge",
    "GaugeValue",
    "Histogram",
    "HistogramValue",
    "Registry",
    "counter",
    "gauge",
    "histogram",
    "merge",
    "registry_of",
]

MAX_SERIES: Final = 1_000
"""Combinations of label values of one metric."""

OTHER: Final = "other"
"""The value of every label beyond that."""

SECONDS: Final = (
    0.0001,
    0.0005,
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds of a histogram's buckets when none are given: seconds of a short wait."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_RESERVED: Final = ("_total", "_created", "_bucket", "_count", "_sum", "_info")

V = TypeVar("V", bound="CounterValue | HistogramValue")


class CounterValue:
    """One number that only grows.

    Attributes:
        value: What was counted so far; code that counts often may add to it itself.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, by: float = 1) -> None:
        """Count `by` more."""
        self.value += by


class GaugeValue(CounterValue):
    """One number that grows and shrinks."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is `value` now."""
        self.value = value

    def dec(self, by: float = 1) -> None:
        """It is `by` less."""
        self.value -= by


class HistogramValue:
    """How often values were how large.

    Attributes:
        bounds: Upper bounds of the buckets, each included; a last one without bound follows.
        counts: Values in each bucket, not summed up.
        total: Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)


class _Metric(Generic[V]):
    """A name, and a value for each combination of label values."""

    kind = ""

    def __init__(self, name: str, about: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help = about
        self.label_names = tuple(labels)
        self._series: dict[tuple[str, ...], V] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def labels(self, *values: object) -> V:
        """The value for these labels, in the order of their names; made when first asked for.

        Raises:
            UsageError: There are more or fewer labels.
        """
        key = tuple(map(str, values))
        found = self._series.get(key)
        if found is None:
            if len(key) != len(self.label_names):
                raise UsageError(
                    f"{self.name} has the labels {self.label_names}, and was given {key}"
                )
            if len(self._series) >= MAX_SERIES:
                key = (OTHER,) * len(key)
            found = self._series.setdefault(key, self._new())
        return found

    def clear(self) -> None:
        """Forget every series (for gauges that are set before each reading)."""
        self._series.clear()

    def _new(self) -> V:
        raise TypeError("a metric's own")  # pragma: no cover - overridden

    def samples(self) -> list[dict[str, Any]]:
        """Every series as JSON has it."""
        return [
            {"labels": dict(zip(self.label_names, key, strict=True)), **_shown(value)}
            for key, value in list(self._series.items())
        ]


def _shown(value: CounterValue | HistogramValue) -> dict[str, Any]:
    if isinstance(value, CounterValue):
        return {"value": value.value}
    buckets: list[list[float | str]] = []
    sum_up = 0
    bounds: tuple[float | str, ...] = (*value.bounds, "+Inf")
    for bound, count in zip(bounds, value.counts, strict=True):
        sum_up += count
        buckets.append([bound, sum_up])
    return {"count": sum_up, "sum": value.total, "buckets": buckets}


class Counter(_Metric[CounterValue]):
    """Numbers that only grow, by labels."""

    kind = "counter"

    def _new(self) -> CounterValue:
        return CounterValue()


class Gauge(_Metric[GaugeValue]):
    """Numbers that grow and shrink, by labels.

    Attributes:
        across: How those of several workers make one: ``sum`` or ``max``.
    """

    kind = "gauge"

    def __init__(self, name: str, about: str, labels: Sequence[str], across: str = "sum") -> None:
        super().__init__(name, about, labels)
        self.across = across

    def _new(self) -> GaugeValue:
        return GaugeValue()


class Histogram(_Metric[HistogramValue]):
    """How often values were how large, by labels."""

    kind = "histogram"

    def __init__(
        self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float] = SECONDS
    ) -> None:
        super().__init__(name, about, labels)
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise UsageError(f"the bounds of {name} do not grow: {self.bounds}")

    def _new(self) -> HistogramValue:
        return HistogramValue(self.bounds)


M = TypeVar("M", Counter, Gauge, Histogram)


class Registry:
    """Metrics by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self._before: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """A counter; the one that is there already if it is the same.

        Args:
            name: Without ``_total``, which is added where it is written down.
            about: One sentence for people.
            labels: Their names.

        Raises:
            UsageError: The name is none, or another kind of metric has it.
        """
        return self._metric(Counter(_checked(name), about, _checked_labels(labels)))

    def gauge(
        self, name: str, about: str, labels: Sequence[str] = (), *, across: str = "sum"
    ) -> Gauge:
        """A gauge (see `counter`); `across`: ``sum`` or ``max`` of several workers."""
        return self._metric(Gauge(_checked(name), about, _checked_labels(labels), across))

    def histogram(
        self,
        name: str,
        about: str,
        labels: Sequence[str] = (),
        bounds: Sequence[float] = SECONDS,
    ) -> Histogram:
        """A histogram (see `counter`) with buckets up to each of `bounds`."""
        return self._metric(Histogram(_checked(name), about, _checked_labels(labels), bounds))

    def _metric(self, wanted: M) -> M:
        with self._lock:
            found = self._metrics.setdefault(wanted.name, wanted)
        if not isinstance(found, type(wanted)) or found.label_names != wanted.label_names:
            raise UsageError(
                f"{wanted.name} is a {found.kind} with labels {found.label_names} already, "
                f"and cannot be a {wanted.kind} with labels {wanted.label_names}"
            )
        return found

    def before_reading(self, fn: Callable[[], object]) -> None:
        """Call `fn()` before the metrics are read, to set what is only then known."""
        self._before.append(fn)

    def not_before_reading(self, fn: Callable[[], object]) -> None:
        """Undo `before_reading`."""
        self._before = [each for each in self._before if each != fn]

    def read(self) -> list[dict[str, Any]]:
        """All metrics, as JSON has them: ``name``, ``type``, ``help``, ``samples``.

        A sample has ``labels``, and ``value`` or (of a histogram) ``count``,
        ``sum`` and ``buckets`` (pairs of bound and how many values up to it).
        """
        for fn in list(self._before):
            fn()
        families: list[dict[str, Any]] = []
        for name, metric in sorted(self._metrics.items()):
            family: dict[str, Any] = {
                "name": name,
                "type": metric.kind,
                "help": metric.help,
                "samples": metric.samples(),
            }
            if isinstance(metric, Gauge) and metric.across != "sum":
                family["across"] = metric.across
            families.append(family)
        return families


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name.endswith(_RESERVED):
        raise UsageError(
            f"{name!r} is no name of a metric: letters, digits and '_', "
            f"and none of {', '.join(_RESERVED)} at its end"
        )
    return name


def _checked_labels(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if not _LABEL.fullmatch(name) or name == "le":
            raise UsageError(f"{name!r} is no name of a label")
    return names


_registries: WeakKeyDictionary[object, Registry] = WeakKeyDictionary()


def registry_of(reactor: IClock | None = None) -> Registry:
    """The registry of a reactor; the current one's when left out.

    Raises:
        ReactorNotRunningError: None was given and none runs.
    """
    if reactor is None:
        from sennit.core.reactor.base import current_reactor

        reactor = cast("IClock", current_reactor())
    found = _registries.get(reactor)
    if found is None:
        found = _registries.setdefault(reactor, Registry())
    return found


def counter(name: str, about: str, labels: Sequence[str] = ()) -> Counter:
    """`Registry.counter` of the current reactor."""
    return registry_of().counter(name, about, labels)


def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
    """`Registry.gauge` of the current reactor."""
    return registry_of().gauge(name, about, labels)


def histogram(
    name: str, about: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
) -> Histogram:
    """`Registry.histogram` of the current reactor."""
    return registry_of().histogram(name, about, labels, bounds)


# ── several workers ───────────────────────────────────────────────────────────


def merge(readings: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One reading of several workers': what `Registry.read` gave in each.

    Counters, histograms and most gauges are summed; gauges say if their largest
    is meant (``across``). Series that are in some workers only are kept.
    """
    families: dict[str, dict[str, Any]] = {}
    for reading in readings:
        for family in reading:
            there = families.get(family["name"])
            if there is None:
                there = families[family["name"]] = {**family, "samples": []}
            _add(there, family["samples"])
    return [families[name] for name in sorted(families)]


def _add(family: dict[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    mine = {tuple(sorted(each["labels"].items())): each for each in family["samples"]}
    for sample in samples:
        key = tuple(sorted(sample["labels"].items()))
        there = mine.get(key)
        if there is None:
            copied = dict(sample)
            if "buckets" in copied:
                copied["buckets"] = [list(pair) for pair in copied["buckets"]]
            mine[key] = copied
            family["samples"].append(copied)
        elif "buckets" in there:
            there["count"] += sample["count"]
            there["sum"] += sample["sum"]
            more = dict(map(tuple, sample["buckets"]))
            there["buckets"] = [
                [bound, count + more.get(bound, 0)] for bound, count in there["buckets"]
            ]
        elif family.get("across") == "max":
            there["value"] = max(there["value"], sample["value"])
        else:
            there["value"] += sample["value"]
