"""XML-RPC over HTTP: functions served, and functions called.

::

    rpc = XMLRPC()

    @rpc.method
    async def add(a: int, b: int) -> int:
        return a + b

    site.put_child("rpc", rpc)

    async with XMLRPCClient("http://localhost:8080/rpc") as client:
        total = await client.call("add", 1, 2)

A server tells of its functions (``system.listMethods`` and its kin) and works on
several calls of one message (``system.multicall``), one after the other.

XML-RPC has no None and no number beyond 32 bits; the extensions ``nil`` and ``i8``
are written unless ``extensions=False``. Its dates have no time zone.

Sources: the XML-RPC specification; "XML-RPC Introspection"; E. Kidd's
``system.multicall``; "Specification for Fault Code Interoperability". Not here:
reading and writing documents (``xml_grammar.py``).
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import typing
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Outcome
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.request import Request
from sennit.web.resource import Resource
from sennit.web.response import Response
from sennit.web.rpc.conversion import XML_VALUES
from sennit.web.rpc.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RPCError,
)
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.kinds import is_list, is_object, type_of
from sennit.web.rpc.limits import RPCLimits
from sennit.web.rpc.posting import PostingCaller, check_posted
from sennit.web.rpc.xml_grammar import (
    fault_of,
    fault_value,
    read_answer,
    read_call,
    write_call,
    write_fault,
    write_result,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sennit.web.client.api import Client
    from sennit.web.client.limits import ClientTimeouts
    from sennit.web.client.urls import URL
    from sennit.web.response import HeadersIn
    from sennit.web.rpc.exposing import Exposed
    from sennit.web.rpc.posting import ISender

__all__ = ["XMLRPC", "XMLRPCBatch", "XMLRPCClient"]

MEDIA_TYPES: Final = ("text/xml", "application/xml")
"""What calls and answers may be called."""
_MULTICALL: Final = "system.multicall"
_SYSTEM: Final[dict[str, tuple[list[list[str]], str]]] = {
    "system.listMethods": ([["array"]], "The names of all methods."),
    "system.methodHelp": ([["string", "string"]], "What a method does."),
    "system.methodSignature": (
        [["array", "string"]],
        "The ways to call a method: for each the type of its result, then those of its parameters.",
    ),
    _MULTICALL: (
        [["array", "array"]],
        "Call several methods, each a struct of methodName and params.",
    ),
}


class XMLRPC(Resource):
    """Functions that others may call; a resource.

    Args:
        methods: The functions, where others serve them too.
        limits: What one message may be.
        extensions: Whether ``nil`` and ``i8`` may be in answers.
        introspection: Whether to tell which functions there are.

    Attributes:
        methods: The functions.
    """

    leaf = True

    def __init__(
        self,
        methods: Methods | None = None,
        *,
        limits: RPCLimits | None = None,
        extensions: bool = True,
        introspection: bool = True,
    ) -> None:
        self.methods = Methods() if methods is None else methods
        self.limits = limits or RPCLimits()
        self.extensions = extensions
        self._introspection = introspection
        self.method = self.methods.method
        self.add_object = self.methods.add_object

    async def render_post(self, request: Request) -> Response:
        """Work on the call that was posted."""
        check_posted(request, MEDIA_TYPES)
        content = await request.read(self.limits.message)
        answer = await self._work_on(content, {Request: request})
        return Response(answer, headers=[(b"content-type", b"text/xml; charset=utf-8")])

    async def _work_on(self, content: bytes, given: Mapping[type, object]) -> bytes:
        try:
            name, arguments = read_call(content, depth=self.limits.depth)
        except WebProtocolError as error:
            return write_fault(RPCError(PARSE_ERROR, str(error)))
        try:
            if name == _MULTICALL:
                result: Any = await self._call_several(arguments, given)
            else:
                result = await self._call(name, arguments, given)
            return write_result(result, extensions=self.extensions)
        except RPCError as error:
            return write_fault(error)
        except ValueError as error:
            # The function gave what it could not: not the caller's fault, nor its business.
            from sennit.core.reactor.lifecycle import log_error

            log_error(error, f"in the result of {name!r}")
            return write_fault(RPCError(INTERNAL_ERROR, "internal error"))

    async def _call(self, name: str, arguments: list[Any], given: Mapping[type, object]) -> Any:
        if name.startswith("system."):
            return self._tell(name, arguments)
        return await self.methods.call(XML_VALUES, name, arguments, {}, given)

    async def _call_several(self, arguments: list[Any], given: Mapping[type, object]) -> list[Any]:
        calls = arguments[0] if len(arguments) == 1 else None
        if not is_list(calls):
            raise RPCError(INVALID_PARAMS, "takes one array of calls")
        if len(calls) > self.limits.batch:
            raise RPCError(INVALID_REQUEST, f"more than {self.limits.batch} calls at once")
        results: list[Any] = []
        for each in calls:
            try:
                name, params = _call_in(each)
                result = await self._call(name, params, given)
                # Seen here that it can be written, so that the others' results are not lost.
                write_result(result, extensions=self.extensions)
                results.append([result])
            except RPCError as error:
                results.append(fault_value(error))
            except ValueError as error:
                from sennit.core.reactor.lifecycle import log_error

                log_error(error, "in a result of system.multicall")
                results.append(fault_value(RPCError(INTERNAL_ERROR, "internal error")))
        return results

    # ── introspection ─────────────────────────────────────────────────────────

    def _tell(self, name: str, arguments: list[Any]) -> Any:
        if not self._introspection or name not in _SYSTEM or name == _MULTICALL:
            raise RPCError(METHOD_NOT_FOUND, "there is no such method")
        if name == "system.listMethods":
            if arguments:
                raise RPCError(INVALID_PARAMS, "takes no arguments")
            return sorted([each.name for each in self.methods] + list(_SYSTEM))
        if len(arguments) != 1 or type(arguments[0]) is not str:
            raise RPCError(INVALID_PARAMS, "takes the name of a method")
        asked = arguments[0]
        if asked in _SYSTEM:
            signatures, about = _SYSTEM[asked]
            return about if name == "system.methodHelp" else signatures
        found = self.methods.find(asked)
        if found is None:
            raise RPCError(METHOD_NOT_FOUND, "there is no such method")
        return found.documentation if name == "system.methodHelp" else _signatures_of(found)


def _call_in(value: Any) -> tuple[str, list[Any]]:
    """One of the calls of a ``system.multicall``.

    Raises:
        RPCError: It is none.
    """
    if not is_object(value):
        raise RPCError(INVALID_REQUEST, "a call is a struct")
    name, params = value.get("methodName"), value.get("params")
    if type(name) is not str or not is_list(params):
        raise RPCError(INVALID_REQUEST, "a call has a methodName and params")
    if name == _MULTICALL:
        raise RPCError(INVALID_REQUEST, "calls of several calls are not nested")
    return name, params


def _signatures_of(found: Exposed) -> list[list[str]] | str:
    """The ways to call a function, each its result's type and its parameters'.

    Where a type has no name of XML-RPC's it is ``"undef"`` as a whole, as is the custom.
    """
    result = _type_name(found.hints.get("return", Any))
    if result is None:
        return "undef"
    names = [result]
    ways: list[list[str]] = []
    least = found.least_positional
    for at, (_, hint) in enumerate(found.parameters):
        if at >= least:
            ways.append(list(names))
        name = _type_name(hint)
        if name is None:
            return ways or "undef"
        names.append(name)
    return [*ways, names]


_TYPES: Final[dict[object, str]] = {
    bool: "boolean",
    int: "int",
    float: "double",
    str: "string",
    bytes: "base64",
    bytearray: "base64",
    datetime: "dateTime.iso8601",
    dict: "struct",
    type(None): "nil",
    None: "nil",
}


def _type_name(hint: Any) -> str | None:
    known = _TYPES.get(hint) if isinstance(hint, abc.Hashable) else None
    if known is not None:
        return known
    found = typing.get_origin(hint) or hint
    if not isinstance(found, type):
        return None
    kind: type[Any] = found
    if issubclass(kind, Enum):
        values: list[Any] = [each.value for each in kind]
        names = {_TYPES.get(type_of(each)) for each in values}
        return names.pop() if len(names) == 1 else None
    if (
        issubclass(kind, dict)
        or kind in (abc.Mapping, abc.MutableMapping)
        or dataclasses.is_dataclass(kind)
        or hasattr(kind, "__struct_fields__")
    ):
        return "struct"
    if issubclass(kind, (list, tuple, set, frozenset)) or kind in (abc.Sequence, abc.Iterable):
        return "array"
    return None


# ── the asking side ───────────────────────────────────────────────────────────


class XMLRPCClient(PostingCaller):
    """Calls functions at a URL.

    Args:
        url: Where they are.
        client: What to send by: a `Client`, whose cookies and login are for its calls too,
            or a `Pool`; a pool of its own when left out.
        headers: Of every request.
        timeouts: How long to wait; the pool's own times when left out.
        limits: What one message may be.
        extensions: Whether ``nil`` and ``i8`` may be sent.
    """

    _wire = XML_VALUES
    _content_type = b"text/xml; charset=utf-8"
    _wanted = MEDIA_TYPES

    def __init__(
        self,
        url: str | URL,
        *,
        client: Client | ISender | None = None,
        headers: HeadersIn = None,
        timeouts: ClientTimeouts | None = None,
        limits: RPCLimits | None = None,
        extensions: bool = True,
    ) -> None:
        super().__init__(url, client=client, headers=headers, timeouts=timeouts, limits=limits)
        self.extensions = extensions

    async def _ask(self, method: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        if named:
            raise WebUsageError("XML-RPC has arguments by position only")
        try:
            arguments = [XML_VALUES.simplify(each) for each in positional]
            message = write_call(method, arguments, extensions=self.extensions)
        except (ValueError, TypeError) as error:
            raise WebUsageError(f"an argument cannot be sent: {error!s:.200}") from error
        return read_answer(await self._post(message), depth=self.limits.depth)

    def batch(self) -> XMLRPCBatch:
        """Calls that leave together: see `XMLRPCBatch`."""
        return XMLRPCBatch(self)

    async def list_methods(self) -> list[str]:
        """The names of the functions there.

        Raises:
            RPCError: The server does not tell.
        """
        found: list[str] = await self.call_as(list[str], "system.listMethods")
        return found


class XMLRPCBatch:
    """Calls that leave in one message, by ``system.multicall``.

    Args:
        client: Whose.
    """

    def __init__(self, client: XMLRPCClient) -> None:
        self._client = client
        self._calls: list[dict[str, Any]] = []

    def call(self, method: str, /, *arguments: Any) -> None:
        """Add a call.

        Raises:
            WebUsageError: There are too many.
        """
        most = self._client.limits.batch
        if len(self._calls) >= most:
            raise WebUsageError(f"a batch of more than {most} calls")
        self._calls.append({"methodName": method, "params": list(arguments)})

    async def send(self) -> list[Outcome[Any]]:
        """Send them; what became of each, in their order.

        Raises:
            RPCError: The server does not take several at once.
            WebProtocolError: What came back is no answer to it.
            WebUsageError: An argument cannot be sent.
        """
        if not self._calls:
            return []
        found = await self._client.call(_MULTICALL, self._calls)
        if not is_list(found) or len(found) != len(self._calls):
            raise WebProtocolError("other answers than there were calls", "system.multicall")
        return [_outcome_in(each) for each in found]


def _outcome_in(value: Any) -> Outcome[Any]:
    if is_list(value):
        if len(value) != 1:
            raise WebProtocolError("a result is an array of one", "system.multicall")
        return Outcome(value[0])
    return Outcome(None, fault_of(value))
