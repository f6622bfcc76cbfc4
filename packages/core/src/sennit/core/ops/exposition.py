"""Metrics as Prometheus and its kin read them: OpenMetrics, or the older text format.

Written by prometheus-client (extra ``metrics``); what it writes down is what
`Registry.read` gave, or several of them merged, so that a supervisor can do it
for its workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.errors import MissingExtraError

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError("OpenMetrics", "sennit-core", "metrics") from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client import Metric

__all__ = ["OPENMETRICS", "render"]

OPENMETRICS = "application/openmetrics-text"
"""The media type that is chosen when a client names it."""


def render(reading: Sequence[Mapping[str, Any]], accept: str = OPENMETRICS) -> tuple[str, bytes]:
    """Write a reading down.

    Args:
        reading: What `Registry.read` or `merge` gave.
        accept: What the client takes, as its ``Accept`` field says.

    Returns:
        The media type, and the octets.
    """
    encoder, media_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(reading))
    return media_type, encoder(registry)


class _Reading(Collector):
    """A reading, as the library asks for it."""

    def __init__(self, reading: Sequence[Mapping[str, Any]]) -> None:
        self._reading = reading

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for family in self._reading:
            yield _family(family)


def _family(family: Mapping[str, Any]) -> Metric:
    name, about = family["name"], family["help"]
    samples: Sequence[Mapping[str, Any]] = family["samples"]
    names = list(samples[0]["labels"]) if samples else []
    if family["type"] == "histogram":
        histogram = HistogramMetricFamily(name, about, labels=names)
        for each in samples:
            buckets = [(_bound(bound), count) for bound, count in each["buckets"]]
            histogram.add_metric([each["labels"][key] for key in names], buckets, each["sum"])
        return histogram
    kind = CounterMetricFamily if family["type"] == "counter" else GaugeMetricFamily
    plain = kind(name, about, labels=names)
    for each in samples:
        plain.add_metric([each["labels"][key] for key in names], each["value"])
    return plain


def _bound(bound: float | str) -> str:
    return bound if isinstance(bound, str) else repr(float(bound))
