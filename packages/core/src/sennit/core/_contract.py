"""What the contracts of the house are made of at run time: zope interfaces, written as protocols.

Type checkers see `typing.Protocol` in its place (``sennit.core.interfaces``).
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import zope.interface
from zope.interface.interface import Attribute as _ZopeAttribute
from zope.interface.interface import InterfaceClass, fromFunction

__all__ = ["Interface"]


class _Contract(InterfaceClass):
    """An interface whose methods are written with ``self`` and attributes as properties."""

    def __init__(
        self,
        name: str,
        bases: Any = (),
        attrs: Any = None,
        __doc__: str | None = None,  # noqa: A002 - zope's names
        __module__: str | None = None,
    ) -> None:
        # Any: what a class statement gives a metaclass.
        converted: dict[str, Any] = {}
        given: dict[str, Any] = attrs or {}
        for key, value in given.items():
            if isinstance(value, FunctionType):
                value = fromFunction(value, imlevel=1, name=key)
            elif isinstance(value, property):
                value = _ZopeAttribute(key, value.__doc__ or "")
            converted[key] = value
        converted.pop("__annotations__", None)
        super().__init__(name, bases, converted, __doc__, __module__)


Interface: Any = _Contract(
    "Interface", (zope.interface.Interface,), {"__doc__": "Base of all contracts."}
)
