"""Releases one package: ``hatch run release core minor``.

Writes the new version into its ``_version.py``, turns its news fragments into a section of its
CHANGELOG, commits both and tags the commit ``core-v0.2.0``. Nothing is pushed or uploaded.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from tools.workspace import ROOT, packages

if TYPE_CHECKING:
    from pathlib import Path

    from tools.workspace import Package

__all__ = ["main", "next_version"]


def next_version(current: str, wanted: str) -> str:
    """The version meant by ``major``, ``minor``, ``patch`` or a version in full.

    Raises:
        ValueError: It is not a version, or not later than the current one.
    """
    now = Version(current)
    match wanted:
        case "major":
            return f"{now.major + 1}.0.0"
        case "minor":
            return f"{now.major}.{now.minor + 1}.0"
        case "patch":
            # A pre-release is finished by its own number.
            micro = now.micro if now.is_prerelease else now.micro + 1
            return f"{now.major}.{now.minor}.{micro}"
        case _:
            pass
    try:
        new = Version(wanted)
    except InvalidVersion:
        raise ValueError(f"{wanted!r} is neither a version nor major, minor, patch") from None
    if new <= now:
        raise ValueError(f"{wanted} is not later than {current}")
    return str(new)


def _git(root: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"git {' '.join(arguments)} failed:\n{ran.stderr}")
    return ran.stdout


def _towncrier(package: Package, version: str, *, draft: bool) -> str:
    """Build the CHANGELOG's new section; return what it says where it is a draft."""
    command = [sys.executable, "-m", "towncrier", "build", "--version", version]
    command += ["--config", str(ROOT / "towncrier.toml"), "--dir", str(package.folder)]
    command.append("--draft" if draft else "--yes")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"towncrier failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def _fragments(package: Package) -> list[Path]:
    return sorted(path for path in (package.folder / "news").glob("*.*.md"))


def main(arguments: list[str] | None = None) -> int:
    """Release the package that was named; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="hatch run release",
        description="Bump the version of one package, build its changelog, commit and tag.",
        epilog="example: hatch run release core minor --dry-run",
    )
    found = {package.name: package for package in packages()}
    parser.add_argument("package", choices=found, help="folder under packages/")
    parser.add_argument("version", help="major, minor, patch, or the version itself")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    options = parser.parse_args(arguments)
    package = found[options.package]
    try:
        version = next_version(package.version, options.version)
    except ValueError as error:
        parser.error(str(error))
    tag = f"{package.name}-v{version}"
    if _git(ROOT, "tag", "--list", tag):
        parser.error(f"there is a tag {tag} already")
    if not _fragments(package):
        parser.error(f"packages/{package.name}/news has no fragment: nothing to tell users")
    if options.dry_run:
        print(f"{package.distribution} {package.version} -> {version}, tag {tag}\n")
        print(_towncrier(package, version, draft=True))
        return 0
    if _git(ROOT, "status", "--porcelain", "--", str(package.folder)):
        parser.error(f"packages/{package.name} has changes that are not committed")
    text = package.version_file.read_text(encoding="utf-8")
    package.version_file.write_text(
        re.sub(r'^__version__ = "[^"]+"$', f'__version__ = "{version}"', text, flags=re.MULTILINE),
        encoding="utf-8",
    )
    _towncrier(package, version, draft=False)
    _git(ROOT, "add", "--all", "--", str(package.folder))
    _git(ROOT, "commit", "-q", "-m", f"Release {package.distribution} {version}")
    _git(ROOT, "tag", "-a", tag, "-m", f"{package.distribution} {version}")
    print(f"committed and tagged {tag}; push both when you are content")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
