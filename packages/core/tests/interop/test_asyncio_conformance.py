"""The interpreter's own tests of asyncio, run on the reactor's loop and beside it on uvloop.

`asyncio_suite.py` states the rule by which they are run, the same for every loop.
``asyncio_failures.toml`` lists what fails on the reactor's loop, with the reason, for
the Python it was written for; on others (`hatch run +py=3.13 py:test -m soak`) only
the counts are compared.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
WRITTEN_FOR = (3, 11)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    # Minutes of two processors: once is enough for each change.
    *([] if sys.version_info[:2] == WRITTEN_FOR else [pytest.mark.soak]),
]

Results = dict[str, dict[str, tuple[str, str]]]


def _suite() -> Any:
    """The harness, which is a program of its own, too, and lies in no package."""
    spec = importlib.util.spec_from_file_location("asyncio_suite", HERE / "asyncio_suite.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


suite = _suite()


LIST = tomllib.loads((HERE / "asyncio_failures.toml").read_text(encoding="utf-8"))


def _chance(name: str) -> bool:
    """Whether a test may fail, or not."""
    return any(name.rpartition(".")[0] in group["classes"] for group in LIST["chance"])


def _listed() -> dict[str, str]:
    """Test id → why it fails on the reactor's loop."""
    listed: dict[str, str] = {}
    for group in LIST["failures"]:
        for name in group["tests"]:
            assert name not in listed, f"listed twice: {name}"
            listed[name] = group["reason"]
    return listed


@pytest.fixture(scope="module")
def results() -> Results:
    pytest.importorskip(
        "test.test_asyncio",
        reason="this Python came without its own tests (Debian: libpython3.11-testsuite)",
        exc_type=ImportError,
    )
    pytest.importorskip("uvloop")
    # Said of a test that takes long; this one does.
    faulthandler.cancel_dump_traceback_later()
    found: Results = suite.run_suite(jobs=6)
    for loop, outcomes in found.items():
        print(f"{loop}: {suite.count(outcomes)} of {len(outcomes)} pass")
    return found


def _bad(outcomes: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: why for name, (what, why) in outcomes.items() if what in suite.BAD}


def test_at_least_as_many_pass_as_on_uvloop(results: Results) -> None:
    assert suite.count(results["asyncio"]) > 1500
    assert suite.count(results["sennit"]) >= suite.count(results["uvloop"])


def test_nothing_is_skipped_that_asyncio_runs(results: Results) -> None:
    ran = {name for name, (what, _) in results["asyncio"].items() if what != suite.SKIPPED}
    skipped = {name for name, (what, _) in results["sennit"].items() if what == suite.SKIPPED}
    assert not ran & skipped
    assert set(results["asyncio"]) == set(results["sennit"]) == set(results["uvloop"])


@pytest.mark.skipif(
    "sys.version_info[:2] != (3, 11)", reason="the list is that of Python 3.11's tests"
)
def test_what_fails_is_listed_with_its_reason_and_the_list_is_true(results: Results) -> None:
    listed = _listed()
    bad = _bad(results["sennit"])
    # What fails on asyncio itself is this machine's fault (no IPv6, say).
    excused = _bad(results["asyncio"])
    news = {
        name: why[-600:]
        for name, why in bad.items()
        if name not in listed | excused and not _chance(name)
    }
    assert not news, "fails, and is not listed in asyncio_failures.toml"
    passing = sorted(
        name for name in listed if name in results["sennit"] and name not in bad | excused
    )
    assert not passing, "passes: take it off the list in asyncio_failures.toml"


def test_every_listed_test_exists(results: Results) -> None:
    if sys.version_info[:2] == WRITTEN_FOR:
        assert set(_listed()) <= set(results["asyncio"])


# ── the harness itself ────────────────────────────────────────────────────────


def test_a_test_that_hangs_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "test" / "test_asyncio"
    package.mkdir(parents=True)
    # A portion of a namespace in the place of the interpreter's package.
    (tmp_path / "test" / "__init__.py").touch()
    (tmp_path / "test" / "support.py").touch()
    (package / "__init__.py").touch()
    (package / "utils.py").write_text("class TestCase:\n    close_loop = None\n")
    (package / "test_hang.py").write_text(
        "import os, time, unittest\n"
        "class Tests(unittest.TestCase):\n"
        "    def test_1_passes(self): pass\n"
        "    def test_2_hangs(self): time.sleep(60)\n"
        "    def test_3_passes(self): pass\n"
        "    def test_4_kills_its_process(self): os._exit(3)\n"
        "    def test_5_fails(self): self.fail('no')\n"
        "    def test_6_skips(self): self.skipTest('not here')\n"
        "    @unittest.expectedFailure\n"
        "    def test_7_fails_as_expected(self): self.fail('no')\n"
        "    def test_8_fails_the_first_time(self):\n"
        f"        path = {str(tmp_path / 'tried')!r}\n"
        "        if not os.path.exists(path):\n"
        "            open(path, 'w').close()\n"
        "            self.fail('no')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(suite, "PATIENCE", 1.5)

    outcomes = suite.run_suite(["asyncio"], ["test_hang"], 1)["asyncio"]

    assert {name.rpartition(".")[2][5:]: what for name, (what, _) in outcomes.items()} == {
        "1_passes": suite.PASSED,
        "2_hangs": suite.LATE,
        "3_passes": suite.PASSED,
        "4_kills_its_process": suite.LATE,
        "5_fails": suite.FAILED,
        "6_skips": suite.SKIPPED,
        "7_fails_as_expected": suite.EXPECTED,
        "8_fails_the_first_time": suite.PASSED,
    }
    assert suite.count(outcomes) == 4
