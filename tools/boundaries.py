"""Checks what keeps the rooms apart: ``hatch run boundaries``.

* import-linter's contracts (in the root ``pyproject.toml``);
* engines stay light: importing one leaves sockets and event loops unloaded;
* ``sennit`` stays a namespace: no ``__init__.py`` at that level;
* every package has the house's rooms, and is known wherever packages are listed;
* ``__all__`` is sorted and complete, and what a package offers loads only when asked for;
* versions agree.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeGuard

from packaging.requirements import Requirement

from tools.workspace import ROOT, Package, packages, read_toml, table

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHECKS", "main", "unlisted"]

Problems = Iterator[str]

PURE: Final = {"client_engine", "engine", "events", "framing", "grammar", "response_framing"}
"""Modules and rooms that do no I/O, by name."""

HEAVY: Final = ("asyncio", "selectors", "socket", "ssl")
"""What importing a pure module must not load."""

EVERY_PACKAGE: Final = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "news")
EVERY_IMPORT: Final = ("__init__.py", "_version.py", "errors.py", "py.typed")
EVERY_STRAND: Final = ("config.py", "plugin.py", "service.py")


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def contracts(_: list[Package]) -> Problems:
    """The contracts that import-linter knows are kept."""
    ran = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        yield f"import-linter:\n{ran.stdout}{ran.stderr}"


def light_engines(found: list[Package]) -> Problems:
    """No module that does no I/O loads what does."""
    code = (
        "import sys, importlib\n"
        "before = set(sys.modules)\n"
        "importlib.import_module(sys.argv[1])\n"
        "print(*sorted({*sys.argv[2:]} & (set(sys.modules) - before)))\n"
    )
    for package in found:
        for module, _ in package.modules():
            if PURE.isdisjoint(module.split(".")[2:]):
                continue
            ran = _python(code, module, *HEAVY)
            if ran.returncode:
                yield f"{module} cannot be imported alone:\n{ran.stderr}"
            elif ran.stdout.strip():
                yield f"importing {module} loads {ran.stdout.strip()}"


def namespace(found: list[Package]) -> Problems:
    """`sennit` itself belongs to nobody."""
    for package in found:
        init = package.folder / "src" / "sennit" / "__init__.py"
        if init.exists():
            yield f"{init.relative_to(ROOT)} would hide every other package: remove it"


def rooms(found: list[Package]) -> Problems:
    """Who knows one package finds everything in all of them."""
    for package in found:
        here = package.folder.relative_to(ROOT)
        for name in EVERY_PACKAGE:
            if not (package.folder / name).exists():
                yield f"{here} has no {name}"
        source = package.source
        if source is None:
            continue
        wanted = EVERY_IMPORT + (EVERY_STRAND if package.is_strand else ())
        for name in wanted:
            if not (source / name).exists():
                yield f"{source.relative_to(ROOT)} has no {name}"
        if not any((package.folder / "tests").glob("**/test_*.py")):
            yield f"{here} has no tests"
        if not any((package.folder / "bench").glob("bench_*.py")):
            yield f"{here} has no benchmarks"
        if package.is_strand and any(name.endswith(".engine") for name, _ in package.modules()):
            if not any((package.folder / "tests").glob("fuzz/fuzz_*.py")):
                yield f"{here} has an engine and no fuzz target (tests/fuzz/fuzz_*.py)"
            if not any((package.folder / "tests" / "interop").glob("test_*.py")):
                yield f"{here} has no test against a real program (tests/interop/test_*.py)"


def listed(found: list[Package]) -> Problems:
    """The root and the umbrella know every package."""
    root = read_toml(ROOT / "pyproject.toml")
    workspace = table(root, "tool", "hatch", "envs", "default", "workspace")
    members = {member["path"] for member in workspace.get("members", ())}
    umbrella = next((p for p in found if p.distribution == "sennit"), None)
    for package in found:
        path = f"packages/{package.name}"
        if path not in members:
            yield f"{path} is not a member of the hatch workspace (root pyproject.toml)"
        if package.module is None:
            continue
        for where, value in (
            ("tool.mypy.mypy_path", table(root, "tool", "mypy").get("mypy_path", ())),
            ("tool.pyright.extraPaths", table(root, "tool", "pyright").get("extraPaths", ())),
        ):
            if not any(str(each).endswith(f"{path}/src") for each in value):
                yield f"{path}/src is not in {where} (root pyproject.toml)"
        if package.module not in table(root, "tool", "importlinter").get("root_packages", ()):
            yield f"{package.module} is not in tool.importlinter.root_packages"
        if package.is_strand and umbrella is not None:
            mine = [
                extra
                for extra, wants in umbrella.extras.items()
                if any(Requirement(want).name == package.distribution for want in wants)
            ]
            everything = {
                part for want in umbrella.extras.get("all", ()) for part in Requirement(want).extras
            }
            if not mine:
                yield f"no extra of `sennit` brings {package.distribution}"
            elif not everything.intersection(mine):
                yield f"`sennit[all]` does not bring {package.distribution}"


def versions(found: list[Package]) -> Problems:
    """Each version is written once, and no package asks for a core that does not exist yet."""
    core = next(package for package in found if package.module == "sennit.core")
    for package in found:
        if package.module is not None and package.version_file.parent != package.source:
            yield f"{package.name} keeps its version outside of {package.module}"
        if "version" in package.pyproject["project"]:
            yield f"{package.name} writes its version in pyproject.toml too"
        wants = list(package.pyproject["project"].get("dependencies", ()))
        for each in package.extras.values():
            wants += each
        for want in map(Requirement, wants):
            sibling = next((p for p in found if p.distribution == want.name), None)
            if sibling is None:
                continue
            if not want.specifier.contains(sibling.version, prereleases=True):
                yield f"{package.name} requires {want}, but {sibling.name} is {sibling.version}"
            if any(part.operator not in {">=", "!="} for part in want.specifier):
                yield f"{package.name} caps {want.name}: {want}"
            if package.is_strand and sibling is not core and sibling is not package:
                yield f"{package.name} requires {want.name}; a strand depends on the core alone"


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those of its top-level conditions included.

    Save what is there for the type checkers, and its stand-ins at run time.
    """
    for node in body:
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.If):
            yield from _top_level(node.body)
            yield from _top_level(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _top_level(node.body)
        else:
            yield node


def _is_type_checking(node: ast.stmt) -> TypeGuard[ast.If]:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    if isinstance(test, ast.UnaryOp):
        test = test.operand
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _listed_names(tree: ast.Module) -> list[str] | None:
    for node in _top_level(tree.body):
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return list(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                return list(ast.literal_eval(value))
            case _:
                continue
    return None


def _sort_key(name: str) -> tuple[int, list[tuple[str, int]]]:
    """CONSTANTS, then Classes, then the rest: the order that ruff keeps (RUF022).

    Numbers within names go by their value: ``Uint8`` before ``Uint16``.
    """
    parts = [(word, int(digits or -1)) for word, digits in re.findall(r"(\D+|^)(\d*)", name)]
    if len(name) > 1 and name.isupper():
        return 0, parts
    return (1, parts) if name[:1].isupper() else (2, parts)


def unlisted(path: Path) -> Problems:
    """What is wrong with the `__all__` of one module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    where = path.relative_to(ROOT)
    names = _listed_names(tree)
    if path.name.startswith("_") and path.name != "__init__.py":
        return  # a private module offers nothing; its list is a help for its readers
    if names is None:
        if path.name == "__init__.py":
            return  # a room without a front desk: a docstring
        yield f"{where} has no __all__"
        return
    if len(set(names)) != len(names):
        yield f"{where}: __all__ repeats a name"
    if names != sorted(names, key=_sort_key):
        yield f"{where}: __all__ is not sorted"
    defined = {
        node.name
        for node in _top_level(tree.body)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        # A decorated function is there for whom it is registered with (a click group).
        and (isinstance(node, ast.ClassDef) or not node.decorator_list)
    }
    if path.name == "__init__.py":
        # What is loaded lazily is imported for the type checkers.
        for node in tree.body:
            if _is_type_checking(node):
                for each in node.body:
                    if isinstance(each, ast.ImportFrom) and (each.module or "").startswith(
                        "sennit."
                    ):
                        defined |= {alias.asname or alias.name for alias in each.names}
    for name in sorted(defined - set(names), key=_sort_key):
        yield f"{where}: {name} is public and not in __all__"


def offered(found: list[Package]) -> Problems:
    """`__all__` tells the truth, and what a package offers is loaded when it is asked for."""
    code = (
        "import sys, importlib\n"
        "module = importlib.import_module(sys.argv[1])\n"
        "print(*sorted({*sys.argv[2:]} & set(sys.modules)))\n"
        "missing = [name for name in module.__all__ if getattr(module, name, None) is None]\n"
        "print(*missing)\n"
    )
    for package in found:
        for _, path in package.modules():
            yield from unlisted(path)
        if package.module is None:
            continue
        ran = _python(code, package.module, *HEAVY, "OpenSSL", "zope.interface")
        if ran.returncode:
            yield f"{package.module} cannot give what its __all__ names:\n{ran.stderr}"
            continue
        loaded, missing = ran.stdout.split("\n")[:2]
        if loaded:
            yield f"importing {package.module} alone loads {loaded}"
        if missing:
            yield f"{package.module} names in __all__ but does not have: {missing}"


CHECKS: Final[dict[str, Callable[[list[Package]], Problems]]] = {
    check.__name__.replace("_", "-"): check
    for check in (contracts, light_engines, namespace, rooms, listed, versions, offered)
}
"""Every check by the name it is called with."""


_BESIDE: Final = {"core", "sennit"}
"""Packages that the others are compared with."""


def main(arguments: list[str] | None = None) -> int:
    """Run the checks that were named, or all; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="hatch run boundaries",
        description="Check what keeps packages and layers apart.",
        epilog="example: hatch run boundaries rooms versions",
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of: {', '.join(CHECKS)}")
    parser.add_argument(
        "--package", metavar="NAME", help="look at this one only, and at what lists it"
    )
    options = parser.parse_args(arguments)
    for name in options.checks:
        if name not in CHECKS:
            parser.error(f"no check named {name!r}; there are {', '.join(CHECKS)}")
    found = packages()
    count = 0
    for name in options.checks or CHECKS:
        chosen = found
        if options.package is not None:
            seen: set[str] = {options.package}
            if CHECKS[name] in {listed, versions}:
                seen |= _BESIDE
            chosen = [package for package in found if package.name in seen]
        problems = list(CHECKS[name](chosen))
        count += len(problems)
        print(f"{name}: {'ok' if not problems else f'{len(problems)} broken'}")
        for problem in problems:
            print(f"  {problem}")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
