"""The boundary checks see what they are for, on a small workspace with one fault each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import boundaries
from tools.workspace import Package, packages

PYPROJECT = """\
[project]
name = "sennit-{name}"
dynamic = ["version"]
dependencies = {needs}
[tool.hatch.version]
path = "src/sennit/{name}/_version.py"
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, core and gopher, with nothing but their names."""
    monkeypatch.setattr(boundaries, "ROOT", tmp_path)
    for name, needs in (("core", "[]"), ("gopher", '["sennit-core>=0.1"]')):
        source = tmp_path / "packages" / name / "src" / "sennit" / name
        source.mkdir(parents=True)
        (tmp_path / "packages" / name / "pyproject.toml").write_text(
            PYPROJECT.format(name=name, needs=needs)
        )
        (source / "_version.py").write_text('__version__ = "0.1.0"\n')
    return tmp_path


def found(root: Path) -> list[Package]:
    return packages(root)


def gopher(root: Path) -> Path:
    return root / "packages" / "gopher" / "src" / "sennit" / "gopher"


def test_packages_are_found_with_the_core_first(workspace: Path) -> None:
    core, strand = found(workspace)

    assert (core.module, core.version, core.is_strand) == ("sennit.core", "0.1.0", False)
    assert (strand.module, strand.distribution, strand.is_strand) == (
        "sennit.gopher",
        "sennit-gopher",
        True,
    )


def test_an_init_in_the_namespace_is_seen(workspace: Path) -> None:
    assert list(boundaries.namespace(found(workspace))) == []

    (gopher(workspace).parent / "__init__.py").touch()

    [problem] = boundaries.namespace(found(workspace))
    assert "packages/gopher/src/sennit/__init__.py" in problem


def test_a_missing_room_is_named(workspace: Path) -> None:
    problems = list(boundaries.rooms(found(workspace)))

    assert "packages/gopher has no README.md" in problems
    assert "packages/gopher/src/sennit/gopher has no plugin.py" in problems
    assert "packages/core/src/sennit/core has no plugin.py" not in problems


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ('["sennit-core>=0.1"]', ""),
        ('["sennit-core>=0.2"]', "but core is 0.1.0"),
        ('["sennit-core>=0.1,<2"]', "caps sennit-core"),
    ],
)
def test_a_core_that_does_not_exist_yet_or_is_capped_is_refused(
    workspace: Path, needs: str, said: str
) -> None:
    (workspace / "packages/gopher/pyproject.toml").write_text(
        PYPROJECT.format(name="gopher", needs=needs)
    )

    problems = "\n".join(boundaries.versions(found(workspace)))

    assert said in problems
    assert bool(said) is bool(problems)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            '__all__ = ["LIMIT", "Alpha", "beta"]\nLIMIT = 1\nclass Alpha: ...\ndef beta(): ...\n',
            "",
        ),
        ('__all__ = ["A8", "A16"]\nclass A8: ...\nclass A16: ...\n', ""),
        ('__all__ = ["beta", "Alpha"]\nclass Alpha: ...\ndef beta(): ...\n', "not sorted"),
        ('__all__ = ["Alpha"]\nclass Alpha: ...\ndef beta(): ...\n', "beta is public"),
        ('__all__ = ["Alpha", "Alpha"]\nclass Alpha: ...\n', "repeats"),
        ("class Alpha: ...\n", "no __all__"),
        ("__all__ = []\nif TYPE_CHECKING:\n    class Alpha: ...\ndef _beta(): ...\n", ""),
    ],
)
def test_a_list_of_public_names_is_sorted_and_complete(
    workspace: Path, source: str, said: str
) -> None:
    path = gopher(workspace) / "menu.py"
    path.write_text(source)

    problems = "\n".join(boundaries.unlisted(path))

    assert said in problems
    assert bool(said) is bool(problems)
