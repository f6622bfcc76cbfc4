"""What a value of the wire is, in a way that both type checkers follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeGuard

__all__ = ["is_a", "is_list", "is_object", "type_of"]


def is_a(value: Any, *kinds: type) -> bool:
    """`isinstance`, after which a checker still takes an `Any` for one."""
    return isinstance(value, kinds)


def type_of(value: object) -> type[Any]:
    """`type`, which knows of what when it is asked of an `Any`."""
    return type(value)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is a list. (`Any`: of values of the wire.)"""
    return isinstance(value, list)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it is an object (JSON) or a struct (XML-RPC), whose names are texts."""
    return isinstance(value, dict)
