"""Which method of an `EngineProtocol` handles which event: found when a class is made.

Not here: what is done with an event (``sennit.core.driver``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, get_args, get_origin, overload

from sennit.core.engine import Belongs, Interrupts, PeerFault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Tables", "adopt", "build_tables", "handles", "union_of"]

S = TypeVar("S")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_CO_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`, without inspect."""

_MARK = "_handles_events"


@overload
def handles(a: type[A], /) -> Callable[[Callable[[S, A], R]], Callable[[S, A], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], /
) -> Callable[[Callable[[S, A | B], R]], Callable[[S, A | B], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], c: type[C], /
) -> Callable[[Callable[[S, A | B | C], R]], Callable[[S, A | B | C], R]]: ...
@overload
def handles(
    a: type[A], b: type[B], c: type[C], d: type[D], /
) -> Callable[[Callable[[S, A | B | C | D], R]], Callable[[S, A | B | C | D], R]]: ...
def handles(*kinds: type) -> Callable[[Any], Any]:
    """Mark the method of an `EngineProtocol` that handles events of these types.

    Args:
        kinds: Types of events, up to four; write one method for more.
    """

    def mark(method: Any) -> Any:
        setattr(method, _MARK, kinds)
        return method

    return mark


def union_of(cls: type, root: type) -> tuple[type, ...]:
    """The event types in the type parameter of the class's `EngineProtocol[…]` base."""
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, root):
            found: list[type] = []
            for argument in get_args(base):
                members = _flatten(argument)
                if isinstance(argument, type) and _is_engine(argument):
                    continue
                found.extend(members)
            if found:
                return tuple(dict.fromkeys(found))
    return ()


def _is_engine(kind: type) -> bool:
    return hasattr(kind, "next_event")


def _flatten(argument: Any) -> list[type]:
    if isinstance(argument, type) and get_origin(argument) is None:
        return [argument]
    return [kind for each in get_args(argument) for kind in _flatten(each)]


class Tables(NamedTuple):
    """How a class deals with each type of event.

    Attributes:
        methods: The method to call, by the event's type.
        begins: The types that begin an exchange.
        extras: Methods to call besides what the driver does itself.
    """

    methods: dict[type, Callable[[Any, Any], object]]
    begins: set[type]
    extras: dict[type, Callable[[Any, Any], object]]


def build_tables(
    cls: type, events: tuple[type, ...], own: Callable[[Any, Any], object]
) -> Tables | None:
    """Find the handlers of a class.

    Args:
        cls: The class; its bases' handlers count, by the name of the method.
        events: Every type the engine emits; empty when nobody said.
        own: What deals with the events that the driver handles itself.

    Returns:
        ``None`` when the class is generic or has no handlers yet.

    Raises:
        TypeError: An event has no handler, or a handler's event is none.
    """
    names: dict[type, str] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            for kind in getattr(member, _MARK, ()):
                names[kind] = name
    if not events:
        if names and not getattr(cls, "__parameters__", ()):
            raise TypeError(
                f"{cls.__qualname__} does not say which events there are: derive from "
                "EngineProtocol[TheEngine, TheUnionOfEvents], or set the attribute events"
            )
        return None
    methods: dict[type, Callable[[Any, Any], object]] = {}
    extras: dict[type, Callable[[Any, Any], object]] = {}
    begins: set[type] = set()
    for kind, name in names.items():
        begin = not issubclass(kind, (Belongs, Interrupts, PeerFault))
        method = getattr(cls, name)
        if not any(issubclass(kind, each) or issubclass(each, kind) for each in events):
            raise TypeError(
                f"{cls.__qualname__}.{name} handles {kind.__qualname__}, which is not among "
                f"the events: {', '.join(each.__qualname__ for each in events)}"
            )
        if begin:
            methods[kind] = method
            begins.add(kind)
            continue
        code = getattr(method, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:
            raise TypeError(
                f"{cls.__qualname__}.{name}: {kind.__qualname__} begins no exchange, "
                "so its handler must be a plain method"
            )
        if issubclass(kind, Belongs):
            methods[kind] = method
        else:
            methods[kind] = own
            extras[kind] = method
    missing: list[str] = []
    for event in events:
        near = next((each for each in event.__mro__ if each in methods), None)
        if near is not None:
            adopt(event, near, methods, begins, extras)
        elif issubclass(event, (Belongs, Interrupts, PeerFault)):
            methods[event] = own
        else:
            missing.append(event.__qualname__)
    if missing:
        raise TypeError(f"{cls.__qualname__} leaves events without a handler: {', '.join(missing)}")
    return Tables(methods, begins, extras)


def adopt(
    kind: type,
    base: type,
    methods: dict[type, Callable[[Any, Any], object]],
    begins: set[type],
    extras: dict[type, Callable[[Any, Any], object]],
) -> None:
    """Deal with events of type `kind` as with those of its base."""
    methods[kind] = methods[base]
    if base in begins:
        begins.add(kind)
    if base in extras:
        extras[kind] = extras[base]
