"""The tables of what each package must survive name tests that are there, and leave no line out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]


def _lines(**most: int) -> list[str]:
    return [f"{kind}-{at}" for kind, count in most.items() for at in range(1, count + 1)]


LINES: Final = {
    "core": _lines(core=22, fault=21),
    "web": [
        *_lines(h1=25, h2=9, ws=7, app=4),
        *(f"fault-{at}" for at in (4, 5, 7, 10, 15, 16, 17)),
    ],
    "names": [*_lines(dns=14), *(f"fault-{at}" for at in (3, 4, 6, 7, 8, 10, 12, 15, 18))],
    "ftp": [*_lines(ftp=8), *(f"fault-{at}" for at in (3, 4, 6, 7, 15, 16))],
    "news-nntp": [*_lines(nntp=7), *(f"fault-{at}" for at in (3, 4, 6, 7, 15, 16))],
}
"""Lines that have to have a row, by package."""


@cache
def rows(package: str) -> list[tuple[str, str]]:
    """Each row's line, and what it says of its tests; a line may have rows of several rooms."""
    table = (ROOT / "packages" / package / "tests" / "HARDENING.md").read_text(encoding="utf-8")
    written = [line for line in table.splitlines() if line.startswith("| ")]
    row = re.compile(r"\| ([a-z0-9]+-\d+|\d+) \| [^|]+ \| ([^|]+) \|")
    matches = map(row.fullmatch, written)
    found = [(each[1], each[2]) for each in matches if each is not None]
    # One with a bar too many would be looked at by nobody.
    heads = sum(1 for line in table.splitlines() if re.fullmatch(r"\|[ -]+\|[ -]+\|[ -]+\|", line))
    assert len(found) == len(written) - 2 * heads, f"{package}: a line of the table is no row"
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a file's tests, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        each.name
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and each.name.startswith("test_")
    )


def problem(package: str, named: str) -> str | None:
    """What is wrong with ``file.py`` or ``file.py::test``; ``None`` when nothing is."""
    name, _, test = named.partition("::")
    # Some of it is core's to survive, or that of the workspace.
    places = [ROOT / "packages" / each / "tests" for each in (package, "core")] + [ROOT]
    path = next((each / name for each in places if (each / name).is_file()), None)
    if path is None:
        return f"{name} is not there"
    if test and test not in names_in(path):
        return f"{name} has no {test}"
    return None


CASES: Final = [(package, line, tests) for package in LINES for line, tests in rows(package)]


@pytest.mark.parametrize(
    ("package", "line", "tests"), CASES, ids=[f"{package}-{line}" for package, line, _ in CASES]
)
def test_every_test_that_a_table_names_is_there(package: str, line: str, tests: str) -> None:
    named = re.findall(r"`([\w/]+\.py(?:::\w+)?)`", tests)
    assert [found for each in named if (found := problem(package, each))] == []
    # What another strand is to survive is told so in core's.
    assert named or "sennit-" in tests, f"{line} has neither a test nor a package"


@pytest.mark.parametrize("package", LINES)
def test_every_line_has_its_row(package: str) -> None:
    there = {line for line, _ in rows(package)}
    assert [each for each in LINES[package] if each not in there] == []


def test_each_package_with_a_table_is_looked_at() -> None:
    tables = (ROOT / "packages").glob("*/tests/HARDENING.md")
    assert {each.parts[-3] for each in tables} == set(LINES)


def test_a_name_that_is_wrong_is_found() -> None:
    assert problem("core", "test_tls.py::test_old_versions_are_refused") is None
    assert problem("core", "test_tls.py::test_that_was_never_written") is not None
    assert problem("names", "test_never_written.py") is not None
