"""The fuzzer finds what is broken, makes it small, and repeats itself."""

from __future__ import annotations

import pytest

from tools import fuzz


def _breaks_on_two_crs(data: bytes) -> None:
    assert data.count(b"\r") < 2


def test_a_broken_promise_is_found_and_made_small() -> None:
    with pytest.raises(fuzz.BrokenPromiseError) as found:
        fuzz.explore(_breaks_on_two_crs, [b"GET / HTTP/1.1\r\n"], seed=1, seconds=20, runs=20_000)

    assert found.value.data == b"\r\r"
    assert isinstance(found.value.__cause__, AssertionError)


def test_the_same_seed_tries_the_same_inputs() -> None:
    def inputs(seed: int) -> list[bytes]:
        tried: list[bytes] = []
        fuzz.explore(tried.append, [b"a", b"b"], seed=seed, seconds=20, runs=200)
        return tried

    assert inputs(7) == inputs(7)
    assert inputs(7) != inputs(8)


def test_the_seeds_are_tried_first() -> None:
    tried: list[bytes] = []

    fuzz.explore(tried.append, [b"one", b"two"], seed=1, seconds=20, runs=3)

    assert set(tried) == {b"", b"one", b"two"}
