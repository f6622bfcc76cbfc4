"""A strand from the template is whole, and the workspace knows it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from tools import boundaries, new_package
from tools.workspace import ROOT, packages, read_toml

VALUES = {
    "folder": "words-gopher",
    "distribution": "sennit-words-gopher",
    "module": "gopher",
    "prefix": "Gopher",
    "title": "Gopher",
    "port": "7070",
    "core": "0.1",
    "year": "2026",
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pyprojects of this workspace, to be written to."""
    for path in [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    monkeypatch.setattr(boundaries, "ROOT", tmp_path)
    return tmp_path


def test_every_place_of_the_template_is_filled(tmp_path: Path) -> None:
    made = new_package.write(tmp_path / "it", VALUES)

    assert (tmp_path / "it/src/sennit/gopher/engine.py") in made
    for path in made:
        text = path.read_text()
        assert new_package.fill(text, {}) == text, path
        assert "@" not in path.name
        if path.suffix == ".py":
            ast.parse(text)


def test_the_new_package_has_all_rooms(workspace: Path) -> None:
    target = workspace / "packages" / "words-gopher"
    new_package.write(target, VALUES)
    shutil.copyfile(ROOT / "LICENSE", target / "LICENSE")

    [package] = [each for each in packages(workspace) if each.name == "words-gopher"]

    assert package.module == "sennit.gopher"
    assert list(boundaries.rooms([package])) == []
    assert not [problem for _, path in package.modules() for problem in boundaries.unlisted(path)]


def test_the_workspace_knows_it_once(workspace: Path) -> None:
    new_package.write(workspace / "packages" / "words-gopher", VALUES)

    for _ in range(2):
        new_package.register(workspace, VALUES, ["gopher", "burrow"])

    strand = [each for each in packages(workspace) if each.name == "words-gopher"]
    umbrella = [each for each in packages(workspace) if each.name == "sennit"]
    assert list(boundaries.listed(strand + umbrella)) == []
    root = (workspace / "pyproject.toml").read_text()
    assert root.count('path = "packages/words-gopher"') == 1
    assert root.count("(sennit.gopher)") == 1
    extras = read_toml(workspace / "packages/sennit/pyproject.toml")["project"][
        "optional-dependencies"
    ]
    assert extras["gopher"] == ["sennit-words-gopher[service]>=0.1"]
    assert extras["burrow"] == ["sennit[gopher]"]
    assert list(extras)[-1] == "all"
    assert extras["all"][0].count("gopher") == 1


@pytest.mark.parametrize(
    "arguments",
    [["Gopher", "--port", "7070"], ["core", "--port", "7070"], ["class", "--port", "7070"]],
)
def test_a_name_that_cannot_be_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        new_package.main(arguments)

    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
