"""JSON of strangers, read within limits, and the messages of JSON-RPC 2.0.

`read_json` takes what RFC 8259 says and no more: UTF-8, no NaN and no infinity, no
name twice in an object, no half of a surrogate pair, numbers of so many digits,
values nested so deeply.

Sources: RFC 8259; RFC 7493 §2 (what is refused beyond it); JSON-RPC 2.0 §4 to §6.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.rpc.errors import INVALID_REQUEST, RPCError
from sennit.web.rpc.kinds import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Identity = str | int | float | None

__all__ = [
    "Answer",
    "Call",
    "read_json",
    "sort_message",
    "write_call",
    "write_error",
    "write_json",
    "write_result",
]

# A text that does not end is taken to the end of all, so that it is looked at once.
_OUTSIDE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL).finditer
_HALVES: Final = re.compile(rb"\\u[dD][89a-fA-F]").search
_SURROGATE: Final = re.compile("[\ud800-\udfff]").search
_RULE: Final = "JSON-RPC 2.0 §4"


def read_json(data: bytes, *, depth: int = 64, digits: int = 1000) -> Any:
    """The value that a text holds. (`Any`: whatever JSON has.)

    Args:
        data: The whole text; its length has been limited already.
        depth: Values within values.
        digits: Digits of a whole number.

    Raises:
        WebProtocolError: It is no JSON, or passes a limit.
    """
    if data.count(b"[") + data.count(b"{") > depth:
        _check_depth(data, depth)

    def whole(text: str) -> int:
        if len(text) > digits:
            raise ValueError(f"a number of more than {digits} digits")
        return int(text)

    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_constant,
            parse_float=_finite,
            parse_int=whole,
        )
    except (ValueError, RecursionError) as error:
        raise WebProtocolError(f"no JSON: {error!s:.200}", "RFC 8259") from None
    if _HALVES(data) is not None:
        _check_texts(found)
    return found


def _check_depth(data: bytes, most: int) -> None:
    depth = 0
    for found in _OUTSIDE(data):
        what = data[found.start()]
        if what in b"[{":
            depth += 1
            if depth > most:
                raise WebProtocolError(f"values nested more than {most} deep", "limit:depth")
        elif what in b"]}":
            depth -= 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice in an object")
    return made


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _check_texts(value: Any) -> None:
    """Halves of surrogate pairs can be escaped, and be written by nobody (RFC 7493 §2.1)."""
    if isinstance(value, str):
        if _SURROGATE(value) is not None:
            raise WebProtocolError("half of a surrogate pair in a text", "RFC 7493 §2.1")
    elif is_list(value):
        for each in value:
            _check_texts(each)
    elif is_object(value):
        for name, each in value.items():
            _check_texts(name)
            _check_texts(each)


def write_json(value: Any) -> bytes:
    """A value as JSON in UTF-8. (`Any`: whatever JSON has.)

    Raises:
        ValueError: It has no JSON.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


# ── messages ──────────────────────────────────────────────────────────────────


class Call:
    """A request, or a notification.

    Attributes:
        method: The function's name.
        positional: Arguments by position.
        named: Arguments by name; there are those or the others.
        identity: What the answer names it by.
        awaited: Whether an answer is wanted at all.
    """

    __slots__ = ("awaited", "identity", "method", "named", "positional")

    def __init__(
        self,
        method: str,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        identity: Identity,
        awaited: bool,
    ) -> None:
        self.method = method
        self.positional = positional
        self.named = named
        self.identity = identity
        self.awaited = awaited


class Answer:
    """A response.

    Attributes:
        identity: Of the request; ``None`` where the other side could not tell it.
        result: What came of it.
        error: Why nothing came of it.
    """

    __slots__ = ("error", "identity", "result")

    def __init__(self, identity: Identity, result: Any, error: RPCError | None) -> None:
        self.identity = identity
        self.result = result
        self.error = error


class _InvalidError(RPCError):
    """A message that is none, with what is known of whose it is."""

    def __init__(self, problem: str, identity: Identity = None) -> None:
        super().__init__(INVALID_REQUEST, problem)
        self.identity = identity


def sort_message(value: Any) -> Call | Answer | bytes:
    """What one JSON value is: a call, an answer, or neither; then the answer to that.

    Args:
        value: One message, not a batch. (`Any`: whatever JSON has.)
    """
    try:
        if not is_object(value):
            raise _InvalidError("a call is an object")
        fields = value
        identity = fields.get("id")
        if not (identity is None or type(identity) in (str, int, float)):
            raise _InvalidError("an id is a text, a number or null")
        if fields.get("jsonrpc") != "2.0":
            raise _InvalidError('"jsonrpc" has to be "2.0"', identity)
        if "method" in fields:
            return _call(fields, identity)
        if ("result" in fields) == ("error" in fields):
            raise _InvalidError("there is neither a method nor an answer", identity)
        return _answer(fields, identity)
    except _InvalidError as error:
        return write_error(error.identity, error)


def _call(fields: dict[str, Any], identity: Identity) -> Call:
    method = fields["method"]
    if type(method) is not str:
        raise _InvalidError("a method's name is a text", identity)
    params = fields.get("params", [])
    awaited = "id" in fields
    if is_list(params):
        return Call(method, params, {}, identity, awaited)
    if is_object(params):
        return Call(method, (), params, identity, awaited)
    raise _InvalidError("params are a list or an object", identity)


def _answer(fields: dict[str, Any], identity: Identity) -> Answer:
    if "result" in fields:
        return Answer(identity, fields["result"], None)
    error = fields["error"]
    if not is_object(error):
        raise _InvalidError("an error is an object", identity)
    code, message = error.get("code"), error.get("message")
    if type(code) is not int or type(message) is not str:
        raise _InvalidError("an error has a number and a message", identity)
    return Answer(identity, None, RPCError(code, message, error.get("data")))


def write_call(
    method: str, positional: Sequence[Any], named: Mapping[str, Any], identity: Identity
) -> bytes:
    """A request; a notification where `identity` is ``None``. Arguments are plain already.

    Raises:
        WebUsageError: There are arguments of both kinds, or one has no JSON.
    """
    if positional and named:
        raise WebUsageError("JSON-RPC has arguments by position or by name, not both in one call")
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if named:
        message["params"] = dict(named)
    elif positional:
        message["params"] = list(positional)
    if identity is not None:
        message["id"] = identity
    try:
        return write_json(message)
    except (ValueError, TypeError) as error:
        raise WebUsageError(f"an argument cannot be sent: {error!s:.200}") from error


def write_result(identity: Identity, result: Any) -> bytes:
    """A response that has come of a call. (`Any`: plain already.)

    Raises:
        ValueError: The result has no JSON.
    """
    return write_json({"jsonrpc": "2.0", "id": identity, "result": result})


def write_error(identity: Identity, error: RPCError) -> bytes:
    """A response that says why nothing has come of a call.

    Raises:
        ValueError: The error's data has no JSON.
    """
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return write_json({"jsonrpc": "2.0", "id": identity, "error": told})
