"""The programs of the documentation run as pasted, and print what the page says.

A fenced block of ``python`` or ``sh`` whose first line is ``# docs: NAME`` is a program.
It is run by itself in an empty folder and must end with status 0. When the next fenced
block is ``text``, that is what it prints, where ``…`` stands for anything within a line.
``# needs: redis-server PySide6`` in the second line names programs and modules without
which it is skipped. The Python blocks of the READMEs run, too, and links lead somewhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Program(NamedTuple):
    """One block that runs."""

    page: str
    name: str
    language: str
    text: str
    needs: tuple[str, ...]
    prints: str | None


def programs_of(page: Path) -> list[Program]:
    """The programs of one page, in order."""
    blocks = _FENCE.findall(page.read_text())
    found: list[Program] = []
    for at, (language, text) in enumerate(blocks):
        head = re.match(r"# docs: (\S+)\n(?:# needs: (.*)\n)?", text)
        if language not in ("python", "sh") or head is None:
            continue
        prints = None
        if at + 1 < len(blocks) and blocks[at + 1][0] == "text":
            prints = blocks[at + 1][1]
        needs = tuple((head[2] or "").split())
        found.append(Program(page.name, head[1], language, text, needs, prints))
    return found


PROGRAMS = [program for page in PAGES for program in programs_of(page)]


def missing(need: str) -> bool:
    """Whether neither a program nor a module of this name is there."""
    if shutil.which(need) is not None:
        return False
    try:
        return importlib.util.find_spec(need) is None
    except ModuleNotFoundError:
        return True


def pattern_of(prints: str) -> re.Pattern[str]:
    """The page's output as a pattern, ``…`` for anything within a line."""
    return re.compile(".*".join(re.escape(part) for part in prints.rstrip("\n").split("…")))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: f"{each.page}-{each.name}")
def test_a_program_of_the_documentation_runs_as_pasted(program: Program, tmp_path: Path) -> None:
    absent = [need for need in program.needs if missing(need)]
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")
    if program.language == "python":
        file = tmp_path / f"{program.name}.py"
        command = [sys.executable, "-W", "error", str(file)]
    else:
        file = tmp_path / f"{program.name}.sh"
        command = ["bash", "-euo", "pipefail", str(file)]
    file.write_text(program.text)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    if program.prints is not None:
        expected = pattern_of(program.prints)
        assert expected.fullmatch(done.stdout.rstrip("\n")), (
            f"the page says:\n{program.prints}\nit printed:\n{done.stdout}\n{done.stderr}"
        )


PRINT = {
    "README.md": "b'",
    "packages/core/README.md": "b'",
    "packages/ftp/README.md": "notes.txt 19\n",
    "packages/news-nntp/README.md": "1 First\n",
}
"""What the programs of a README begin to print: what came back."""

READMES = [
    (file, number, text)
    for file in PRINT
    for number, (language, text) in enumerate(_FENCE.findall((ROOT / file).read_text()))
    if language == "python"
]


@pytest.mark.parametrize(("file", "number", "text"), READMES)
def test_a_program_of_a_readme_runs_as_pasted(
    file: str, number: int, text: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", text],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, ""), f"block {number} of {file}: {done.stderr}"
    assert done.stdout.startswith(PRINT[file]), done.stdout


def test_links_lead_somewhere() -> None:
    pages = [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("packages/*/README.md")]
    pages += [*ROOT.glob("packages/*/bench/README.md"), *ROOT.glob("examples/**/README.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_stands_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    names = {page.name for page in PAGES} - {"README.md"}
    assert {name for name in names if f"({name})" not in index} == set()


def test_names_of_programs_are_unique_on_their_page() -> None:
    names = [(each.page, each.name) for each in PROGRAMS]
    assert len(names) == len(set(names))


def test_what_a_program_prints_is_marked_so_that_it_is_looked_at() -> None:
    # A program, its end, and a block that says of no language.
    program = r"^```(?:python|sh)\n# docs: (\S+)\n(?:(?!^```$).*\n)*?```\n"
    plain = re.compile(program + r"\n*```\n", re.MULTILINE)
    found = [f"{page.name}: {name}" for page in PAGES for name in plain.findall(page.read_text())]
    assert found == [], "write ```text"
