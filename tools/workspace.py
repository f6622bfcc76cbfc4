"""What is in the workspace: its packages, and what their pyprojects say."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOT", "Package", "Table", "packages", "read_toml", "table"]

ROOT: Final = Path(__file__).resolve().parent.parent

Table = dict[str, Any]
"""A TOML table: what it holds is known only after it was looked at."""


def read_toml(path: Path) -> Table:
    """Parse a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def table(parent: Table, *keys: str) -> Table:
    """The table at this path of keys, or an empty one."""
    for key in keys:
        parent = parent.get(key) or {}
    return parent


@dataclass(frozen=True, slots=True)
class Package:
    """One folder under ``packages``.

    Attributes:
        folder: Where it is.
        pyproject: Its ``pyproject.toml``.
    """

    folder: Path
    pyproject: Table

    @property
    def name(self) -> str:
        """Name of the folder: ``core``."""
        return self.folder.name

    @property
    def distribution(self) -> str:
        """Name on the package index: ``sennit-core``."""
        name: str = self.pyproject["project"]["name"]
        return name

    @property
    def version_file(self) -> Path:
        """The one file in which its version is written."""
        path: str = self.pyproject["tool"]["hatch"]["version"]["path"]
        return self.folder / path

    @property
    def version(self) -> str:
        """What that file says."""
        found = re.search(r'^__version__ = "([^"]+)"$', self.version_file.read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f'{self.version_file}: no line __version__ = "…"')
        return found[1]

    @property
    def module(self) -> str | None:
        """The package it is imported by, ``sennit.core``; None for the umbrella."""
        inside = self.folder / "src" / "sennit"
        names = sorted(each.parent.name for each in inside.glob("*/_version.py"))
        return f"sennit.{names[0]}" if names else None

    @property
    def source(self) -> Path | None:
        """The folder of that package."""
        module = self.module
        return None if module is None else self.folder / "src" / Path(*module.split("."))

    @property
    def is_strand(self) -> bool:
        """Whether it is a protocol family: neither the core nor the umbrella."""
        return self.module not in {None, "sennit.core"}

    @property
    def extras(self) -> dict[str, list[str]]:
        """Its optional dependencies."""
        return table(self.pyproject, "project", "optional-dependencies")

    @property
    def needs_extra(self) -> dict[str, str]:
        """Patterns of modules that cannot be imported bare, and the extra each needs."""
        return table(self.pyproject, "tool", "sennit", "needs-extra")

    def modules(self) -> Iterator[tuple[str, Path]]:
        """Every module of it by its full name, with its file."""
        source = self.source
        if source is None:
            return
        top = self.folder / "src"
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def packages(root: Path = ROOT) -> list[Package]:
    """All packages of the workspace, the core first."""
    found = [
        Package(path.parent, read_toml(path))
        for path in sorted((root / "packages").glob("*/pyproject.toml"))
    ]
    return sorted(found, key=lambda package: (package.name != "core", package.name))
