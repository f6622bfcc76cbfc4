"""The asking side of both protocols: calls by name, typed results, functions of an interface.

::

    class Calculator(Protocol):
        async def add(self, a: int, b: int) -> int: ...

    calculator = client.proxy(Calculator)
    total = await calculator.add(1, 2)      # an int, or a MismatchError

Not here: how a call gets there (``jsonrpc.py``, ``xmlrpc.py``).
"""

from __future__ import annotations

import collections.abc as abc
import inspect
import typing
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from sennit.core.deferred import Deferred
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sennit.web.rpc.conversion import Converter, Values

__all__ = ["Caller"]

T = TypeVar("T")
_WAITING: Final = (abc.Awaitable, abc.Coroutine, Deferred)


class Caller:
    """What calls functions elsewhere; `_ask` is how.

    Args:
        values: Of the wire that it asks by.
    """

    def __init__(self, values: Values) -> None:
        self._values = values

    async def _ask(self, method: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """The result as the wire has it. (`Any`: it has not been looked at.)"""
        raise AssertionError("a caller knows how to ask")  # pragma: no cover

    async def call(self, method: str, /, *arguments: Any, **named: Any) -> Any:
        """Call a function; its result as the wire has it.

        Args:
            method: Its name.
            arguments: By position.
            named: By name, instead (JSON-RPC only).

        Raises:
            RPCError: The other side refused, or the function failed.
            WebProtocolError: It answered with what is no answer.
            WebUsageError: An argument cannot be sent.
        """
        return await self._ask(method, arguments, named)

    async def call_as(
        self, kind: Callable[..., T] | type[T], method: str, /, *arguments: Any, **named: Any
    ) -> T:
        """`call`, and hold the result against a type.

        Raises:
            MismatchError: The result is something else.
        """
        convert = self._values.converter(kind)
        found: T = convert(await self._ask(method, arguments, named))
        return found

    def proxy(self, interface: Callable[..., T] | type[T], prefix: str = "") -> T:
        """An object with the methods of an interface, each of which is a call.

        Args:
            interface: A `typing.Protocol`, or another class, of coroutine methods. What
                they return is held against what they say that they do.
            prefix: In front of the methods' names, such as ``"files."``.
        """
        results: dict[str, Converter] = {}
        signatures: dict[str, inspect.Signature] = {}
        for name in dir(interface):
            function = inspect.getattr_static(interface, name)
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            hint = typing.get_type_hints(function).get("return", Any)
            if typing.get_origin(hint) in _WAITING:
                hint = typing.get_args(hint)[-1]
            results[name] = self._values.converter(hint)
            signatures[name] = inspect.signature(function)
        if not results:
            raise WebUsageError(f"{interface!r:.100} has no methods to call")
        return cast("T", _Proxy(self, prefix, results, signatures))


class _Proxy:
    """Stands for an object elsewhere."""

    def __init__(
        self,
        caller: Caller,
        prefix: str,
        results: dict[str, Converter],
        signatures: dict[str, inspect.Signature],
    ) -> None:
        self._caller = caller
        self._prefix = prefix
        self._results = results
        self._signatures = signatures

    def __repr__(self) -> str:
        return f"<proxy of {', '.join(sorted(self._results))}>"

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        convert = self._results.get(name)
        if convert is None:
            raise AttributeError(f"the interface has no method {name!r}")
        signature = self._signatures[name]

        async def call(*arguments: Any, **named: Any) -> Any:
            # A call that the interface does not know is a mistake on this side.
            bound = signature.bind(None, *arguments, **named)
            found = await self._caller._ask(self._prefix + name, bound.args[1:], bound.kwargs)
            return convert(found)

        call.__name__ = name
        return call
