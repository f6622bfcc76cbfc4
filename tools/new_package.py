"""Begins a strand: ``hatch run new-package gopher --port 7070``.

Makes ``packages/<folder>`` with all rooms of the house from ``tools/template``, around a tiny
line protocol that works, and makes it known to the workspace: hatch's members, the type
checkers' paths, import-linter's contracts, the umbrella's extras. What comes out passes
`hatch run check` as it is; then the protocol is replaced, room by room.

In the template, ``@name@`` stands for the values below, in file names too:

=================  ===========================================
``folder``         folder under ``packages``: ``conch-ssh``
``distribution``   ``sennit-conch-ssh``
``module``         import name below ``sennit``: ``conch``
``prefix``         begins the names of classes: ``Conch``
``title``          what people call the protocol: ``SSH``
``port``           default TCP port
``core``           the core's version now
``year``           this year
=================  ===========================================
"""

from __future__ import annotations

import argparse
import datetime
import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomlkit

from tools.workspace import ROOT, packages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fill", "main", "register", "tidy", "trial", "write"]

TEMPLATE: Final = ROOT / "tools" / "template"
_PLACE: Final = re.compile(r"@([a-z]+)@")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put the values where the template has their names.

    Raises:
        KeyError: The template asks for a value that there is not.
    """
    return _PLACE.sub(lambda found: values[found[1]], text)


def write(target: Path, values: Mapping[str, str]) -> list[Path]:
    """Make the package; return its files."""
    made: list[Path] = []
    for source in sorted(TEMPLATE.rglob("*")):
        if not source.is_file() or source.suffix == ".pyc":
            continue
        relative = fill(str(source.relative_to(TEMPLATE)), values).removesuffix(".tmpl")
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(fill(source.read_text(encoding="utf-8"), values), encoding="utf-8")
        made.append(path)
    return made


# `Any` below: what a parsed document holds is known by its file only.


def tidy(target: Path, root: Path = ROOT) -> None:
    """Lay the files out: names of another length or order fill the template's lines otherwise."""
    config = ["--config", str(root / "pyproject.toml")]
    for command in (["check", "--quiet", "--fix"], ["format", "--quiet"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, str(target)], cwd=root, check=True
        )


def _at(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document[key]
    return document


def _append(array: Any, value: object) -> None:
    if value in array.unwrap():
        return
    if "\n" in array.as_string():
        array.add_line(value, indent="    ")
    else:
        array.append(value)


def _insert(table: Any, key: str, line: str) -> None:
    """Put a line before the last of an array, which is the umbrella: it brings all the others."""
    lines = table[key].as_string().splitlines()
    if f"    {line}," in lines:
        return
    lines.insert(-2, f"    {line},")
    table[key] = tomlkit.parse(f"array = {chr(10).join(lines)}")["array"]


def register(root: Path, values: Mapping[str, str], words: Sequence[str]) -> list[Path]:
    """Make the package known to the workspace at `root`; return the files that changed.

    Args:
        root: The workspace.
        values: As for `fill`.
        words: Extras of the umbrella that bring the strand, its own name first.
    """
    path, module = f"packages/{values['folder']}", f"sennit.{values['module']}"
    main_file = root / "pyproject.toml"
    main_toml = tomlkit.parse(main_file.read_text(encoding="utf-8"))
    tool = _at(main_toml, "tool")
    member = f'{{ path = "{path}", features = ["service"] }}'
    _insert(_at(tool, "hatch", "envs", "default", "workspace"), "members", member)
    for folder in ("src", "bench"):
        _append(_at(tool, "mypy")["mypy_path"], f"$MYPY_CONFIG_FILE_DIR/{path}/{folder}")
    _append(_at(tool, "pyright")["extraPaths"], f"{path}/src")
    linter = _at(tool, "importlinter")
    _append(linter["root_packages"], module)
    for contract in linter["contracts"]:
        layers = contract.get("layers")
        if layers is not None and str(layers[-1]) == "sennit.core":
            # The strands' own contract: independent of each other, above the core.
            if f"({module})" not in str(layers[0]):
                layers[0] = f"{layers[0]} | ({module})"
        elif "containers" in contract:
            _append(contract["containers"], module)
        # That engines do no I/O is said of every package's, by wildcards.
    main_file.write_text(tomlkit.dumps(main_toml), encoding="utf-8")

    umbrella_file = root / "packages" / "sennit" / "pyproject.toml"
    umbrella = tomlkit.parse(umbrella_file.read_text(encoding="utf-8"))
    extras = _at(umbrella, "project", "optional-dependencies")
    everything = extras["all"]
    extras.remove("all")
    for word in words:
        wants: Any = tomlkit.array()
        # The words that people search for bring what the strand's own name does.
        own = f"{values['distribution']}[service]>=0.1"
        wants.append(own if word == words[0] else f"sennit[{words[0]}]")
        extras[word] = wants
    # `all` stays the last; it names each strand once, by its own word.
    inside = str(everything[0]).removeprefix("sennit[").removesuffix("]").split(",")
    everything[0] = f"sennit[{','.join(dict.fromkeys([*inside, words[0]]))}]"
    extras["all"] = everything
    umbrella_file.write_text(tomlkit.dumps(umbrella), encoding="utf-8")
    return [main_file, umbrella_file]


def trial() -> int:
    """Begin a strand in a copy of the workspace and check it; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="sennit-trial-") as folder:
        copy = Path(folder, "workspace")
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
        here = "packages/zz-trial"
        sources = [str(each) for each in copy.glob("packages/*/src")]
        site = copy / "site"
        path = [str(copy), str(copy / here / "src"), *sources, str(site)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
        words = ["zz-trial", "--import", "trial", "--port", "7070"]
        for command in (
            ["tools.new_package", *words],
            ["ruff", "format", "--check", "--quiet", here],
            ["ruff", "check", "--quiet", here],
            ["mypy", here],
            ["pyright", here],
            ["tools.boundaries", "--package", "zz-trial"],
            # Where entry points are found: its metadata, beside its sources.
            ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(site), f"./{here}"],
            ["pytest", "--quiet", "-p", "no:cacheprovider", here],
        ):
            ran = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=copy,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            print(f"{' '.join(command[:2])}: {'ok' if not ran.returncode else 'failed'}")
            if ran.returncode:
                print(ran.stdout)
                return 1
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run new-package",
        description="Begin a strand: a package with all rooms of the house.",
        epilog="example: hatch run new-package conch-ssh --import conch --title SSH "
        "--port 8022 --word ssh --word sftp",
    )
    add = parser.add_argument
    add("folder", help="folder under packages/, and the distribution's name after sennit-")
    add("--import", dest="module", metavar="NAME", help="imported as sennit.NAME (default: folder)")
    add("--port", type=int, required=True, help="default TCP port of its service")
    add("--title", help="what people call the protocol (default: the import name, capitalized)")
    add("--prefix", help="begins the names of its classes (default: like the title)")
    add("--word", action="append", default=[], help="one more extra of `sennit` that brings it")
    add("--trial", action="store_true", help="alone: try the template in a copy of the workspace")
    options = parser.parse_args(arguments)
    options.module = options.module or options.folder.replace("-", "_")
    options.title = options.title or options.module.capitalize()
    options.prefix = options.prefix or re.sub(r"\W", "", options.title)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", options.folder):
        parser.error(f"{options.folder!r}: a folder is lower-case words joined by hyphens")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", options.module) or keyword.iskeyword(options.module):
        parser.error(f"{options.module!r} cannot be imported; give another by --import")
    if not options.prefix.isidentifier() or not options.prefix[:1].isupper():
        parser.error(f"{options.prefix!r} cannot begin the name of a class; give one by --prefix")
    if not 0 < options.port < 65536:
        parser.error(f"port {options.port} is not between 1 and 65535")
    for package in packages():
        if package.name == options.folder or package.module == f"sennit.{options.module}":
            parser.error(f"packages/{package.name} has that name already")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Make the package that was described; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--trial"]:
        return trial()
    options = _arguments(given)
    target = ROOT / "packages" / options.folder
    core = next(package for package in packages() if package.name == "core")
    values = {
        "folder": options.folder,
        "distribution": f"sennit-{options.folder}",
        "module": options.module,
        "prefix": options.prefix,
        "title": options.title,
        "port": str(options.port),
        "core": ".".join(core.version.split(".")[:2]),
        "year": str(datetime.datetime.now(tz=datetime.UTC).year),
    }
    try:
        made = write(target, values)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    shutil.copyfile(ROOT / "LICENSE", target / "LICENSE")
    tidy(target)
    changed = register(ROOT, values, [options.module, *options.word])
    print(f"packages/{options.folder}: {len(made) + 1} files")
    for path in changed:
        print(f"{path.relative_to(ROOT)}: made it known")
    print(
        f"\nNow: hatch run pytest packages/{options.folder}\n"
        f"     hatch run sennit {options.module} --help\n"
        f"Then say in its engine.py what the protocol really is."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
