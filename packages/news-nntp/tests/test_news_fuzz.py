"""The fuzz targets hold on their seeds and on a few changed ones, in every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import fuzz

TARGETS = sorted(Path(__file__).parent.glob("fuzz/fuzz_*.py"))


@pytest.mark.parametrize("path", TARGETS, ids=[path.stem for path in TARGETS])
def test_a_target_holds(path: Path) -> None:
    target, seeds = fuzz.load_target(path)

    count, _ = fuzz.explore(target, seeds, seed=1, seconds=10, runs=500)

    assert count > len(seeds)
