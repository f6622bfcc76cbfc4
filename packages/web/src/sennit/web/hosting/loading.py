"""Finding an application by its name: ``package.module:attribute``.

What is named may be made by a function: ``package.module:make_app()``. Whoever wrote
the name is told what was found in its place, and what would have been right.

The folder in which a program lies is searched behind everything that is installed:
a file of it is never taken for a module of the library's, as it would be were the
folder in front (CWE-427). When that hides the module that was meant, it is told.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ApplicationError", "check_kind", "load_application", "search_folder"]

_TARGET: Final = re.compile(r"((?:\w+\.)*\w+):((?:\w+\.)*\w+)(\(\))?")
_SHOWN: Final = 6
"""Names that a message lists."""


class ApplicationError(WebUsageError):
    """An application cannot be loaded; the text is for the person who named it."""


def search_folder(folder: str | os.PathLike[str]) -> None:
    """Have modules of a folder found, behind all others; harmless when it is done already."""
    path = os.path.abspath(folder)
    if path not in sys.path:
        sys.path.append(path)
        importlib.invalidate_caches()


# `Any` in this module: an application is whatever its author made it.
def load_application(
    target: str, *, factory: bool = False, folder: str | os.PathLike[str] | None = None
) -> Any:
    """The object that ``package.module:attribute`` names.

    Args:
        target: Its name; ``()`` at the end calls what is named, and takes what it returns.
        factory: As ``()`` at the end.
        folder: Where modules are looked for behind those that are installed.

    Raises:
        ApplicationError: There is no such thing, or to import or make it failed.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        problem = f"found {target!r}; allowed is MODULE:NAME, such as shop.web:app"
        if target.endswith(".py") or "/" in target:
            name = target.removesuffix(".py").strip("./").replace("/", ".")
            problem += f" (a module, not a file: {name}:app?)"
        elif re.fullmatch(r"(\w+\.)*\w+", target):
            problem += f" (which object of it: {target}:app?)"
        raise ApplicationError(problem)
    if folder is not None:
        search_folder(folder)
    module = _import(match[1], None if folder is None else os.path.abspath(folder))
    found = _attribute(module, match[2])
    if not (factory or match[3]):
        return found
    if not callable(found):
        raise ApplicationError(
            f"{match[1]}:{match[2]} is no function that makes an application, but {_kind(found)}"
        )
    try:
        return found()
    except Exception as error:
        raise ApplicationError(f"{match[1]}:{match[2]}() failed: {_told(error)}") from error


def _import(name: str, folder: str | None) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise ApplicationError(f"importing {name} failed: {_told(error)}") from error
        raise ApplicationError(_no_module(name, missing, folder)) from error
    except Exception as error:
        raise ApplicationError(f"importing {name} failed: {_told(error)}") from error
    if folder is not None:
        _tell_hidden(module, name.partition(".")[0], folder)
    return module


def _no_module(name: str, missing: str, folder: str | None) -> str:
    problem = f"there is no module {missing!r}"
    if missing != name:
        problem += f" for {name!r}"
    if folder is None:
        return problem
    problem += f", neither installed nor in {folder}"
    if "." not in missing:
        try:
            there = [
                entry.name.removesuffix(".py")
                for entry in os.scandir(folder)
                if entry.name.endswith(".py") or os.path.exists(f"{entry.path}/__init__.py")
            ]
        except OSError:
            return problem
        if close := get_close_matches(missing, there, 1):
            problem += f"; did you mean {close[0]!r}?"
        elif there:
            problem += f"; there are {', '.join(sorted(there)[:_SHOWN])}"
    return problem


def _tell_hidden(module: ModuleType, top: str, folder: str) -> None:
    """Warn when an installed module has taken the place of one in the program's folder."""
    ours = [os.path.join(folder, top, "__init__.py"), os.path.join(folder, f"{top}.py")]
    there = next((each for each in ours if os.path.exists(each)), None)
    spec = importlib.util.find_spec(top)
    if there is None or spec is None or spec.origin is None:
        return
    if not os.path.exists(spec.origin) or os.path.samefile(spec.origin, there):
        return
    import logging

    logging.getLogger("sennit.web").warning(
        "module %s is the installed one (%s), not %s: installed modules come first",
        module.__name__,
        spec.origin,
        there,
    )


def _attribute(module: ModuleType, names: str) -> Any:
    found: Any = module
    where = module.__name__
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            if found is not module:
                raise ApplicationError(f"{where} has no attribute {name!r}") from None
            raise ApplicationError(_no_attribute(module, name)) from None
        where = f"{where}:{name}" if ":" not in where else f"{where}.{name}"
    return found


def _no_attribute(module: ModuleType, name: str) -> str:
    own = [
        each
        for each, value in vars(module).items()
        if not each.startswith("_")
        and callable(value)
        and not inspect.isclass(value)
        and (not inspect.isfunction(value) or value.__module__ == module.__name__)
    ]
    problem = f"module {module.__name__} has no {name!r}"
    if close := get_close_matches(name, [*vars(module)], 1):
        return f"{problem}; did you mean {close[0]!r}?"
    if own:
        return f"{problem}; what could be one there is {', '.join(own[:_SHOWN])}"
    return problem


def _kind(found: object) -> str:
    return f"of type {type(found).__name__}"


def _told(error: BaseException) -> str:
    """An error with the place where it was raised: the innermost line of the program's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        each
        for each in frames
        if each.filename != __file__ and not each.filename.startswith("<frozen importlib")
    ]
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) or not own or "importlib" in own[-1].filename:
        return told
    return f"{told} ({own[-1].filename}, line {own[-1].lineno})"


def check_kind(app: Any, interface: str) -> None:
    """Look whether an object may be an application of this interface.

    Args:
        app: What was loaded.
        interface: ``asgi`` or ``wsgi``.

    Raises:
        ApplicationError: It cannot be called, or is clearly one of another interface.
    """
    if not callable(app):
        raise ApplicationError(f"found an object {_kind(app)}, which cannot be called")
    try:
        # A class would be made anew for each request, as it was in ASGI 2.
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return
    needed = 0
    most: float = 0
    for each in signature.parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            most = float("inf")
        elif each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            most += 1
            needed += each.default is each.empty
    wanted = 3 if interface == "asgi" else 2
    if needed <= wanted <= most:
        return
    takes = f"it takes {needed if needed > wanted else int(most)} arguments"
    if most == 0:
        raise ApplicationError(f"{takes}: if it makes an application, write () behind its name")
    if interface == "asgi":
        hint = {
            1: "that is ASGI 2, which asgiref.compatibility.guarantee_single_callable wraps",
            2: "that is WSGI: give it as wsgi",
        }.get(needed, "an ASGI application takes scope, receive and send")
    else:
        hint = {3: "that is ASGI: give it as asgi"}.get(
            needed, "a WSGI application takes environ and start_response"
        )
    raise ApplicationError(f"{takes}; {hint}")
