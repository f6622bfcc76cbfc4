"""Says which contracts a class keeps, without loading zope.interface.

A transport is imported by every program, `sennit.core.interfaces` (and zope
behind it) only by those that ask for adaptation or verification. So the
declaration waits here by name until somebody does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    C = TypeVar("C", bound=type)

__all__ = ["implements"]

_waiting: list[tuple[type, tuple[str, ...]]] = []
_declare: Callable[[type, tuple[str, ...]], None] | None = None


def implements(*names: str) -> Callable[[C], C]:
    """Declare that instances of a class provide interfaces of `sennit.core.interfaces`.

    Args:
        names: The interfaces' names there, such as ``"IStreamTransport"``.
    """

    def mark(cls: C) -> C:
        if _declare is None:
            _waiting.append((cls, names))
        else:
            _declare(cls, names)
        return cls

    return mark


def attach(declare: Callable[[type, tuple[str, ...]], None]) -> None:
    """Hand over what waits, and all that comes later, to `declare` (called once by interfaces)."""
    global _declare
    _declare = declare
    for cls, names in _waiting:
        declare(cls, names)
    _waiting.clear()
