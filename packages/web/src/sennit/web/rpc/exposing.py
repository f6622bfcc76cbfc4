"""Functions that may be called from elsewhere: which, under which names, with what arguments.

::

    methods = Methods()

    @methods.method
    async def add(a: int, b: int) -> int:
        return a + b

Only what was declared can be called, by a look-up in one table: a name from the
wire never becomes an attribute name, so ``__class__``, ``_secret`` and ``a.b`` are
names that nobody has declared, and no more (HARDENING nev-4).

Arguments are held against the function's annotations (``conversion.py``); a
parameter without one takes whatever the wire has. A parameter annotated with
`Request`, or with `JSONRPCPeer`, is no argument: it is given what it names.

Not here: the protocols (``jsonrpc.py``, ``xmlrpc.py``).
"""

from __future__ import annotations

import inspect
import logging
import re
import typing
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from sennit.web.errors import WebUsageError
from sennit.web.request import Request
from sennit.web.rpc.conversion import JSON_VALUES, XML_VALUES
from sennit.web.rpc.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MismatchError,
    RPCError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sennit.web.rpc.conversion import Values

    # `Any`: a function of somebody else's, of which its annotations tell the rest.
    Function = Callable[..., Any]

__all__ = ["RESERVED", "Exposed", "Methods", "exposed"]

F = TypeVar("F", bound="Callable[..., Any]")

RESERVED: Final = ("rpc.", "system.")
"""Beginnings of names that the protocols keep for themselves."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[./:][A-Za-z][A-Za-z0-9_]*)*").fullmatch
_MARK: Final = "__sennit_exposed__"


class Exposed:
    """One function that may be called.

    Attributes:
        name: What it is called by.
        function: What is called.
        documentation: Its docstring.
        hints: Its annotations by parameter, ``return`` included.
    """

    __slots__ = (
        "_converters",
        "_given",
        "_named",
        "_places",
        "_positional",
        "_required",
        "_spread",
        "_spread_names",
        "documentation",
        "function",
        "hints",
        "name",
    )

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self.function = function
        self.documentation = inspect.getdoc(function) or ""
        self.hints = typing.get_type_hints(function)
        self._positional: list[str] = []
        self._named: set[str] = set()
        self._required: set[str] = set()
        self._given: dict[str, type] = {}
        self._places: dict[str, int] = {}
        self._spread = self._spread_names = ""
        checked: dict[str, Any] = {}
        for each in inspect.signature(function).parameters.values():
            hint = self.hints.get(each.name, Any)
            if hint is Request or getattr(hint, "given_to_methods", False):
                if each.kind is each.POSITIONAL_ONLY or each.kind is each.VAR_POSITIONAL:
                    raise TypeError(f"{each.name!r} of {name!r} has to be known by its name")
                self._given[each.name] = hint
                if each.kind is each.POSITIONAL_OR_KEYWORD:
                    self._places[each.name] = len(self._positional) + len(self._places)
                continue
            checked[each.name] = hint
            if each.kind is each.VAR_POSITIONAL:
                self._spread = each.name
            elif each.kind is each.VAR_KEYWORD:
                self._spread_names = each.name
            else:
                if each.kind is not each.KEYWORD_ONLY:
                    self._positional.append(each.name)
                if each.kind is not each.POSITIONAL_ONLY:
                    self._named.add(each.name)
                if each.default is each.empty:
                    self._required.add(each.name)
        # Both wires at once, so that an annotation which cannot be checked is noticed here.
        self._converters = {
            id(values): {each: values.converter(hint) for each, hint in checked.items()}
            for values in (JSON_VALUES, XML_VALUES)
        }

    def __repr__(self) -> str:
        return f"<Exposed {self.name!r}>"

    @property
    def parameters(self) -> list[tuple[str, Any]]:
        """Name and annotation of what may stand at a position, in order."""
        return [(each, self.hints.get(each, Any)) for each in self._positional]

    @property
    def least_positional(self) -> int:
        """How many of those have to be there."""
        return sum(each in self._required for each in self._positional)

    def bind(
        self,
        values: Values,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        given: Mapping[type, object],
    ) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as the function takes them.

        Args:
            values: Of the wire that they came by.
            positional: Arguments by position, as the wire has them.
            named: Arguments by name.
            given: What parameters annotated with these types get.

        Raises:
            MismatchError: The function does not take these.
        """
        converters = self._converters[id(values)]
        most = len(self._positional)
        if len(positional) > most and not self._spread:
            raise MismatchError(f"takes {most} arguments by position, not {len(positional)}")
        made: list[Any] = []
        missing = set(self._required)
        for at, value in enumerate(positional):
            name = self._positional[at] if at < most else self._spread
            missing.discard(name)
            try:
                made.append(converters[name](value))
            except MismatchError as error:
                error.where.insert(0, name)
                raise
        keywords: dict[str, Any] = {}
        there = set(self._positional[: len(positional)])
        for name, value in named.items():
            known = name if name in self._named else self._spread_names
            if not known or name in self._given:
                raise MismatchError(f"takes no argument {name[:64]!r}")
            if name in there:
                raise MismatchError(f"takes {name!r} once")
            missing.discard(name)
            try:
                keywords[name] = converters[known](value)
            except MismatchError as error:
                error.where.insert(0, name[:64])
                raise
        if missing:
            raise MismatchError(f"the argument {min(missing)!r} is missing")
        for name, kind in self._given.items():
            if kind not in given:
                raise MismatchError("this function cannot be called by this way")
            # In front of an argument that has no name but its position, it has one too.
            at = self._places.get(name, len(made))
            if at < len(made):
                made.insert(at, given[kind])
            else:
                keywords[name] = given[kind]
        return made, keywords


class Methods:
    """The table of what may be called; one may be served by several resources."""

    def __init__(self) -> None:
        self._table: dict[str, Exposed] = {}

    def __iter__(self) -> Iterator[Exposed]:
        """What may be called, by the order of names."""
        return iter([self._table[name] for name in sorted(self._table)])

    def __len__(self) -> int:
        return len(self._table)

    def find(self, name: str) -> Exposed | None:
        """What is called by this name."""
        return self._table.get(name)

    async def call(
        self,
        values: Values,
        name: str,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        given: Mapping[type, object],
    ) -> Any:
        """Call a function for somebody; the result as the wire has it. (`Any`: see `Values`.)

        Args:
            values: Of that wire.
            name: What the function is called by.
            positional: Arguments by position, as the wire has them.
            named: Arguments by name.
            given: What parameters annotated with these types get.

        Raises:
            RPCError: What to tell; nothing of an error that the function did not mean to
                be told, which is logged.
        """
        found = self._table.get(name)
        if found is None:
            raise RPCError(METHOD_NOT_FOUND, "there is no such method")
        try:
            arguments, keywords = found.bind(values, positional, named, given)
        except MismatchError as error:
            raise RPCError(INVALID_PARAMS, error.sentence) from None
        try:
            result = found.function(*arguments, **keywords)
            if hasattr(result, "__await__"):
                result = await result
            return values.simplify(result)
        except RPCError:
            raise
        except Exception as error:
            logging.getLogger("sennit.web").error(
                "Unhandled %s in %r, called from elsewhere",
                type(error).__name__,
                found,
                exc_info=error,
            )
            raise RPCError(INTERNAL_ERROR, "internal error") from error

    @overload
    def method(self, function: F) -> F: ...

    @overload
    def method(self, *, name: str) -> Callable[[F], F]: ...

    def method(self, function: F | None = None, *, name: str = "") -> F | Callable[[F], F]:
        """Expose a function, under its own name or another; a decorator with or without brackets.

        Raises:
            WebUsageError: The name cannot be, or there is such a function already.
            TypeError: An annotation that nothing can be held against.
        """
        if function is not None:
            self.add(function)
            return function

        def expose(function: F) -> F:
            self.add(function, name)
            return function

        return expose

    def add(self, function: Function, name: str = "") -> None:
        """Expose a function.

        Args:
            function: Plain, or a coroutine function, or one that returns a Deferred.
            name: What it is called by; its own name when left out.

        Raises:
            WebUsageError: The name cannot be, or there is such a function already.
            TypeError: An annotation that nothing can be held against.
        """
        name = name or function.__name__
        if _NAME(name) is None or name.startswith(RESERVED):
            raise WebUsageError(
                f"a function cannot be called by {name!r:.100}: letters, digits and _, each part "
                f"begun by a letter, and not {' or '.join(RESERVED)} in front"
            )
        if name in self._table:
            raise WebUsageError(f"there is a function {name!r} already")
        self._table[name] = Exposed(name, function)

    def add_object(self, target: object, prefix: str = "") -> None:
        """Expose those methods of an object whose class marked them with `exposed`.

        Args:
            target: The object.
            prefix: In front of the methods' names, such as ``"files."``.

        Raises:
            WebUsageError: It has none, or one cannot be exposed under its name.
        """
        kind = type(target)
        names = [each for each in dir(kind) if hasattr(getattr(kind, each), _MARK)]
        if not names:
            raise WebUsageError(f"{kind.__qualname__} marks no method as exposed")
        for each in names:
            self.add(getattr(target, each), prefix + each)


def exposed(method: F) -> F:
    """Mark a method of a class: `Methods.add_object` exposes it."""
    setattr(method, _MARK, True)
    return method
