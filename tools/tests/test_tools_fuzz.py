"""The fuzzer finds what is broken, makes it small, and repeats itself; every target holds."""

from __future__ import annotations

import pytest

from tools import fuzz
from tools.workspace import ROOT

TARGETS = {
    f"{file.parents[2].name}-{file.stem.removeprefix('fuzz_')}": file
    for file in sorted(ROOT.glob("packages/*/tests/fuzz/fuzz_*.py"))
}


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


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_a_moment(name: str) -> None:
    """For long: `hatch run fuzz`. The seed is fixed, so that what passes here passes everywhere."""
    target, seeds = fuzz.load_target(TARGETS[name])

    count, _ = fuzz.explore(target, seeds, seed=1, seconds=1.5, runs=500)

    assert count > 1


def test_what_peers_and_people_write_has_targets() -> None:
    parsers = ("framing", "endpoint", "proxy_header", "socks", "sasl", "health")
    assert {f"core-{each}" for each in parsers} | {"web-http1"} <= TARGETS.keys()


def test_all_targets_of_a_package_are_run_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explore(*_: object, **__: object) -> tuple[int, int]:
        return 7, 3

    monkeypatch.setattr(fuzz, "explore", explore)

    assert fuzz.main(["core", "--seconds", "1"]) == 0

    shown = capsys.readouterr().out
    names = [name.removeprefix("core-") for name in TARGETS if name.startswith("core-")]
    assert names
    assert all(f"{name}: 7 inputs held" in shown for name in names)
