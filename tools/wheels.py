"""Builds each wheel and tries it alone: ``hatch run wheels``.

Each wheel is looked into (no ``sennit/__init__.py``, no tests, ``py.typed`` there, not too
large), installed by itself in an empty environment with nothing but what it requires, and
every module of it imported in a process of its own: bare first, then with each extra. A
module that needs an extra is named in its package's pyproject::

    [tool.sennit.needs-extra]
    "sennit.web.config" = "service"          # a pattern of module names, and the extra
    "sennit.core.testing.*" = ["tls", "cli"] # or several, all of which it needs

and must say so by `MissingExtraError` where that is missing. A module for which the user
brings a program of his own (the pytest plugin) stands under ``needs-package``, and is
imported where that package was added by hand. Extras that are large, or need a compiler or
another system, stand under ``extras-tried-elsewhere``, with where that is.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.workspace import ROOT, Package, packages, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main"]

_IMPORT: Final = """\
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        kind = type(error).__name__
        if kind == "MissingExtraError" and "pip install" not in str(error):
            kind = "MissingExtraError without a pip line"
        print(name, kind, error, sep="\\t")
    else:
        print(name, "ok", "", sep="\\t")
"""


def _uv(*arguments: str) -> None:
    """Run uv, quietly; its output is shown when it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"uv {' '.join(arguments)} failed:\n{ran.stdout}")


def _content(package: Package, wheel: Path) -> Iterator[str]:
    """What is wrong with the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    code = [name for name in names if ".dist-info/" not in name]
    if package.module is None:
        if code:
            yield f"should have no files of its own, has {code[0]}"
        return
    inside = package.module.replace(".", "/") + "/"
    if "sennit/__init__.py" in names:
        yield "has sennit/__init__.py, which hides every other package"
    if f"{inside}py.typed" not in names:
        yield f"has no {inside}py.typed"
    for name in code:
        if not name.startswith(inside):
            yield f"has {name}, which is outside of {inside}"
        if "/tests/" in name or "/test_" in name or "/conftest" in name:
            yield f"has {name}: tests belong to the sdist"
    top = package.folder / "src"
    for _, path in package.modules():
        if str(path.relative_to(top)) not in names:
            yield f"lacks {path.relative_to(top)}"
    limit = table(package.pyproject, "tool", "sennit").get("max-wheel")
    size = wheel.stat().st_size
    if limit is not None and size > limit:
        yield f"has {size} octets, more than {limit}"


def _needs(package: Package, key: str, module: str) -> set[str]:
    """What `module` needs by the patterns of this table of its pyproject."""
    needed: set[str] = set()
    for pattern, value in table(package.pyproject, "tool", "sennit", key).items():
        if fnmatch.fnmatchcase(module, pattern):
            needed.update([value] if isinstance(value, str) else value)
    return needed


def _brings(package: Package, extra: str) -> list[str]:
    """Extras whose requirements come with this one's, as a library of a library does."""
    found: list[str] = table(package.pyproject, "tool", "sennit", "extras-bring").get(extra, [])
    return found


class _Trial:
    """One empty environment with one wheel in it."""

    def __init__(self, package: Package, wheels: Path, folder: Path) -> None:
        self._package = package
        self._wheels = wheels
        self._home = folder
        self._python = folder / "bin" / "python"
        if os.name == "nt":
            self._python = folder / "Scripts" / "python.exe"
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))

    def install(self, extras: Sequence[str], also: Sequence[str] = ()) -> None:
        """Install the wheel with these extras, siblings from the wheels just built."""
        name = self._package.distribution
        if extras:
            name += f"[{','.join(extras)}]"
        constraints = self._wheels / "constraints.txt"
        _uv(
            *("pip", "install", "--quiet", "--python", str(self._python)),
            *("--find-links", str(self._wheels), "--constraint", str(constraints)),
            *(name, *also),
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that the wheel installed."""
        program = self._python.with_name(arguments[0])
        # Not in the workspace, or its configuration and sources would be found.
        return subprocess.run(
            [str(program), *arguments[1:]],
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def imports(self, extras: set[str], brought: set[str]) -> Iterator[str]:
        """Import every module alone; say which did not do as it should."""
        for module, _ in self._package.modules():
            if module.rpartition(".")[2] == "__main__":
                continue
            if _needs(self._package, "needs-package", module) - brought:
                continue
            missing = _needs(self._package, "needs-extra", module) - extras
            ran = self.command("python", "-I", "-W", "error", "-c", _IMPORT, module)
            last = ran.stdout.strip().split("\n")[-1]
            _, outcome, text = (*last.split("\t"), "", ran.stderr.strip())[:3]
            wanted = "MissingExtraError" if missing else "ok"
            if outcome != wanted:
                yield f"{module} should give {wanted}, gives {outcome or 'nothing'} {text}"

    def says_what_is_missing(self) -> Iterator[str]:
        """The bare `sennit` command names the line that completes it."""
        ran = self.command("sennit", "--help")
        if ran.returncode == 0 or "pip install" not in ran.stderr or "Traceback" in ran.stderr:
            yield f"`sennit` without its extra should name the pip line, says {ran.stderr!r}"

    def answers(self) -> Iterator[str]:
        """The `sennit` command works."""
        ran = self.command("sennit", "--help")
        if ran.returncode:
            yield f"`sennit --help` fails: {ran.stderr}"


def _try(package: Package, wheels: Path, folder: Path) -> Iterator[str]:
    """Install one wheel alone, bare and with each extra; yield what went wrong."""
    elsewhere = table(package.pyproject, "tool", "sennit", "extras-tried-elsewhere")
    tried = [extra for extra in package.extras if extra not in elsewhere]
    chosen: list[list[str]] = [[], *([extra] for extra in tried)]
    if len(tried) > 1:
        chosen.append(tried)
    everything = table(package.pyproject, "tool", "sennit", "needs-package")
    also = sorted(
        {each for v in everything.values() for each in ([v] if isinstance(v, str) else v)}
    )
    has_command = "sennit" in table(package.pyproject, "project", "scripts")
    for number, extras in enumerate(chosen):
        label = ", ".join(extras) or "bare"
        trial = _Trial(package, wheels, folder / str(number))
        trial.install(extras)
        there = set(extras).union(*(_brings(package, each) for each in extras))
        problems = list(trial.imports(there, set()))
        if has_command and not extras:
            problems += trial.says_what_is_missing()
        if has_command and "cli" in extras:
            problems += trial.answers()
        if package.module is None:
            problems += trial.answers()
        if also and extras and extras == tried:
            trial.install(extras, also)
            problems += trial.imports(set(extras), set(also))
        print(f"  {label}: {'ok' if not problems else 'broken'}", flush=True)
        yield from (f"{package.distribution} ({label}): {problem}" for problem in problems)


def main(arguments: list[str] | None = None) -> int:
    """Build and try the packages that were named, or all; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="hatch run wheels",
        description="Build each wheel, look into it, and install it alone in an empty environment.",
        epilog="example: hatch run wheels core",
    )
    found = packages()
    known = [package.name for package in found]
    parser.add_argument("names", nargs="*", metavar="PACKAGE", help=f"of: {', '.join(known)}")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in known:
            parser.error(f"no package named {name!r}; there are {', '.join(known)}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sennit-wheels-") as scratch:
        wheels = Path(scratch, "wheels")
        wheels.mkdir()
        for package in found:
            # By way of the sdist, so that what it lacks shows.
            _uv("build", "--quiet", "--out-dir", str(wheels), str(package.folder))
        (wheels / ".gitignore").unlink(missing_ok=True)
        # Ours and no other: the index may carry older ones of the same names.
        (wheels / "constraints.txt").write_text(
            "".join(f"{package.distribution}=={package.version}\n" for package in found)
        )
        for package in found:
            if options.names and package.name not in options.names:
                continue
            stem = package.distribution.replace("-", "_")
            [wheel] = wheels.glob(f"{stem}-{package.version}-*.whl")
            print(f"{wheel.name}: {wheel.stat().st_size} octets", flush=True)
            problems += (f"{wheel.name} {problem}" for problem in _content(package, wheel))
            problems += _try(package, wheels, Path(scratch, package.name))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
