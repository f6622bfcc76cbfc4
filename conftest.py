"""What holds for every test of the workspace."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from sennit.core.testing.leaks import LostErrors

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


def _collections() -> list[int]:
    """How often garbage of each age was collected."""
    return [each["collections"] for each in gc.get_stats()]


_before = pytest.StashKey[list[int]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note how often garbage was collected before the test."""
    item.stash[_before] = _collections()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """An error that nobody handled fails the test that lost it, not one in which it is freed.

    Sennit's plugin looks after asynchronous tests. Here are all others, and what pytest still
    held then: records of the log, with the frames in them (hence `tryfirst`).
    """
    result = yield
    if isinstance(item, pytest.Function):
        item.funcargs.clear()
    # What the test made is no older than the collections since: 0.1 ms instead of 5.
    before = item.stash[_before]
    older = [now > then for now, then in zip(_collections(), before, strict=True)]
    last = nextitem is None or nextitem.path != item.path
    lost = LostErrors()
    lost.start()
    try:
        gc.collect(2 if last or any(older[1:]) else int(older[0]))
    finally:
        lost.stop()
    if last:
        # What outlives its module stays: reports and caches of thousands of tests, at which each
        # collection would look again.
        gc.freeze()
    if lost.lines:
        pytest.fail("errors that nobody handled:\n" + "\n".join(lost.lines), pytrace=False)
    return result


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
