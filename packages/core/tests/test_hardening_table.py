"""The table of what the core must survive names tests that are there, and leaves no line out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TABLE = (HERE / "HARDENING.md").read_text(encoding="utf-8")
CORE = range(1, 23)
FAULTS = range(1, 22)


def rows() -> dict[str, str]:
    """What each line's row says of its tests."""
    found: dict[str, str] = {}
    for line in TABLE.splitlines():
        match = re.fullmatch(r"\| ([a-z]+-\d+|\d+) \| [^|]+ \| ([^|]+) \|", line)
        if match is not None:
            assert match[1] not in found, f"{match[1]} has two rows"
            found[match[1]] = match[2]
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a file's tests, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        each.name
        for each in ast.walk(tree)
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
        and each.name.startswith("test_")
    )


def problem(named: str) -> str | None:
    """What is wrong with ``file.py`` or ``file.py::test``; ``None`` when nothing is."""
    name, _, test = named.partition("::")
    path = (ROOT if name.startswith("tests/") else HERE) / name
    if not path.is_file():
        return f"{name} is not there"
    if test and test not in names_in(path):
        return f"{name} has no {test}"
    return None if names_in(path) or not test else f"{name} has no tests"


@pytest.mark.parametrize("line", rows())
def test_every_test_that_the_table_names_is_there(line: str) -> None:
    named = re.findall(r"`([\w/]+\.py(?:::\w+)?)`", rows()[line])
    assert [found for each in named if (found := problem(each))] == []
    assert named or "sennit-" in rows()[line], f"{line} has neither a test nor a package"


def test_every_line_has_its_row() -> None:
    wanted = [f"core-{at}" for at in CORE] + [f"fault-{at}" for at in FAULTS]
    assert [each for each in wanted if each not in rows()] == []


def test_a_name_that_is_wrong_is_found() -> None:
    assert problem("test_tls.py::test_old_versions_are_refused") is None
    assert problem("test_tls.py::test_that_was_never_written") is not None
    assert problem("test_never_written.py") is not None
