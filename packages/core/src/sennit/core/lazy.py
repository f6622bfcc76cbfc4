"""Packages whose names are loaded from their modules when they are first used."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["lazy_names"]


def lazy_names(
    package: str, rooms: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Give a package its ``__getattr__`` and ``__dir__`` (PEP 562).

    A type checker reads the imports under ``TYPE_CHECKING`` instead::

        if not TYPE_CHECKING:
            __getattr__, __dir__ = lazy_names(__name__, _ROOMS)

    Args:
        package: Its ``__name__``; it has an ``__all__``.
        rooms: Names by the module below the package that they live in.
    """
    home = {name: room for room, names in rooms.items() for name in names}
    namespace = vars(sys.modules[package])

    def load(name: str) -> object:
        room = home.get(name)
        if room is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        value = namespace[name] = getattr(import_module(f"{package}.{room}"), name)
        return value

    return load, lambda: sorted(namespace["__all__"])
