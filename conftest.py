"""What holds for every test of the workspace."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# How long one example takes depends on who else has the processor; what has to be quick is
# tested as a factor of a control in the same run.
settings.register_profile("sennit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sennit")

_ON_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_collection_finish() -> None:
    """Collecting garbage after a test shall not look at all that was imported: 0.2 s each time."""
    gc.collect()
    gc.freeze()


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that repeats the reason."""
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) else str(where)
    report.outcome = "failed"
    report.longrepr = f"skipped on CI, where every peer must be installed: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI a skipped interop test is a failure: there the peer has to be installed."""
    report = yield
    if (
        _ON_CI
        and report.skipped
        and not hasattr(report, "wasxfail")
        and item.get_closest_marker("interop") is not None
    ):
        _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module of interop tests that skips itself."""
    report = yield
    if _ON_CI and report.skipped and "interop" in collector.path.parts:
        _forbid(report)
    return report
