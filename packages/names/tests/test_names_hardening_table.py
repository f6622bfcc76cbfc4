"""The table of what names must survive names tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TABLE = (HERE / "HARDENING.md").read_text(encoding="utf-8")
LINES = [
    *(f"dns-{at}" for at in range(1, 15)),
    *(f"fault-{at}" for at in (3, 4, 6, 7, 8, 10, 12, 15, 18)),
]
"""Lines that have to have a row."""


def rows() -> list[tuple[str, str]]:
    """Each row's line, and what it says of its tests; a line may have rows of several rooms."""
    found: list[tuple[str, str]] = []
    for line in TABLE.splitlines():
        match = re.fullmatch(r"\| ([a-z]+-\d+|\d+) \| [^|]+ \| ([^|]+) \|", line)
        if match is not None:
            found.append((match[1], match[2]))
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
    path = HERE / name
    if not path.is_file():
        # Some of it is core's to survive, or that of the workspace.
        path = (ROOT if name.startswith("tests/") else ROOT / "packages/core/tests") / name
    if not path.is_file():
        return f"{name} is not there"
    if test and test not in names_in(path):
        return f"{name} has no {test}"
    return None if names_in(path) or not test else f"{name} has no tests"


def test_every_line_of_the_table_is_a_row() -> None:
    """One with a bar too many would be looked at by nobody."""
    written = [line for line in TABLE.splitlines() if line.startswith("| ")]
    assert len(rows()) == len(written) - 2


@pytest.mark.parametrize(("line", "tests"), rows(), ids=[line for line, _ in rows()])
def test_every_test_that_the_table_names_is_there(line: str, tests: str) -> None:
    named = re.findall(r"`([\w/]+\.py(?:::\w+)?)`", tests)
    assert [found for each in named if (found := problem(each))] == []
    assert named, f"{line} has no test"


def test_every_line_has_its_row() -> None:
    there = {line for line, _ in rows()}
    assert [each for each in LINES if each not in there] == []


def test_a_name_that_is_wrong_is_found() -> None:
    assert problem("test_names_codec_name.py::test_a_pointer_only_goes_back") is None
    assert problem("test_names_codec_name.py::test_that_was_never_written") is not None
