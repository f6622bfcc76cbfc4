"""The XML of XML-RPC: calls and answers, read as they are parsed, and written.

The reader is a table of which element may stand in which, fed by a parser that has
no entities, no document type, no processing instructions and no comments, and
fetches nothing (defusedxml over expat). No tree is built: an element becomes its
value when it ends, so depth and size are known while reading.

Sources: the XML-RPC specification (1999, with its notes of 2003); the extensions
``nil`` and ``i8`` as Apache has them. Both are read always and written when asked to.
"""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import MissingExtraError

try:
    from defusedxml.ElementTree import DefusedXMLParser, ParseError
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-web", "rpc") from error

from sennit.web.errors import WebProtocolError
from sennit.web.rpc.errors import APPLICATION_ERROR, RPCError
from sennit.web.rpc.kinds import is_object, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "fault_of",
    "fault_value",
    "read_answer",
    "read_call",
    "write_call",
    "write_fault",
    "write_result",
]

_ATTRIBUTES: Final = 64
_EXTENSIONS: Final = "{http://ws.apache.org/xmlrpc/namespaces/extensions}"
_INT: Final = re.compile(r"[+-]?[0-9]{1,19}").fullmatch
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_DATE: Final = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2}):?([0-9]{2}):?([0-9]{2})"
    r"(?:\.([0-9]{1,6})[0-9]*)?(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
).fullmatch
_BLANK: Final = re.compile(r"[ \t\r\n]*").fullmatch
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search
_METHOD: Final = re.compile(r"[A-Za-z0-9_.:/]{1,256}").fullmatch

_SCALARS: Final = (
    "i4", "int", "i8", "boolean", "string", "double", "dateTime.iso8601", "base64", "nil"
)  # fmt: skip
_CHILDREN: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"methodCall", "methodResponse"}),
    "methodCall": frozenset({"methodName", "params"}),
    "methodResponse": frozenset({"params", "fault"}),
    "params": frozenset({"param"}),
    "param": frozenset({"value"}),
    "fault": frozenset({"value"}),
    "value": frozenset({*_SCALARS, "array", "struct"}),
    "array": frozenset({"data"}),
    "data": frozenset({"value"}),
    "struct": frozenset({"member"}),
    "member": frozenset({"name", "value"}),
}
_WITH_TEXT: Final = frozenset({*_SCALARS, "methodName", "name", "value"})


class _Open:
    """An element that has not ended."""

    __slots__ = ("children", "tag", "text")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.text: list[str] = []
        # Tag and value of what ended in it. (`Any`: values are of any kind.)
        self.children: list[tuple[str, Any]] = []


def _broken(problem: str) -> WebProtocolError:
    return WebProtocolError(problem, "XML-RPC")


class _Reader:
    """What the parser tells of a document."""

    def __init__(self, depth: int) -> None:
        self._stack = [_Open("")]
        self._left = depth

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(attributes) > _ATTRIBUTES:
            raise _broken(f"more than {_ATTRIBUTES} attributes")
        tag = tag.removeprefix(_EXTENSIONS)
        above = self._stack[-1].tag
        if tag not in _CHILDREN.get(above, ()):
            raise _broken(f"{tag[:64]!r} does not belong in {above or 'a document'!r}")
        if tag == "value":
            self._left -= 1
            if self._left < 0:
                raise WebProtocolError("values nested too deeply", "limit:depth")
        self._stack.append(_Open(tag))

    def data(self, text: str) -> None:
        self._stack[-1].text.append(text)

    def comment(self, text: str) -> None:
        raise _broken("a comment")

    def pi(self, target: str, text: str | None = None) -> None:
        raise _broken("a processing instruction")

    def end(self, tag: str) -> None:
        ended = self._stack.pop()
        text = "".join(ended.text)
        tag = ended.tag
        worded = tag in _WITH_TEXT and not ended.children
        if not worded and _BLANK(text) is None:
            raise _broken(f"text in {tag!r}")
        if tag == "value":
            self._left += 1
        self._stack[-1].children.append((tag, _VALUES[tag](ended.children, text)))

    def close(self) -> tuple[str, Any]:
        found: tuple[str, Any] = self._stack[0].children[0]
        return found


# What an element is worth, of what stood in it. (`Any`: values are of any kind.)


def _int(children: Sequence[Any], text: str) -> int:
    return _whole(text, 31)


def _long(children: Sequence[Any], text: str) -> int:
    return _whole(text, 63)


def _whole(text: str, bits: int) -> int:
    text = text.strip(" \t\r\n")
    if _INT(text) is None:
        raise _broken("a number is none")
    value = int(text)
    if not -(1 << bits) <= value < 1 << bits:
        raise _broken("a number is out of range")
    return value


def _boolean(children: Sequence[Any], text: str) -> bool:
    text = text.strip(" \t\r\n")
    if text not in ("0", "1"):
        raise _broken("a boolean is 0 or 1")
    return text == "1"


def _string(children: Sequence[Any], text: str) -> str:
    return text


def _double(children: Sequence[Any], text: str) -> float:
    text = text.strip(" \t\r\n")
    if len(text) > 400 or _DOUBLE(text) is None:
        raise _broken("a number is none")
    value = float(text)
    if not math.isfinite(value):
        raise _broken("a number is out of range")
    return value


def _date(children: Sequence[Any], text: str) -> datetime:
    found = _DATE(text.strip(" \t\r\n"))
    if found is None:
        raise _broken("a date is none")
    parts = [int(each) for each in found.groups()[:6]]
    fraction = int((found[7] or "0").ljust(6, "0"))
    zone: timezone | None = None
    try:
        if found[8]:
            zone = UTC
        elif found[9]:
            ahead = timedelta(hours=int(found[10]), minutes=int(found[11]))
            zone = timezone(-ahead if found[9] == "-" else ahead)
        year, month, day, hour, minute, second = parts
        return datetime(year, month, day, hour, minute, second, fraction, zone)
    except ValueError:
        raise _broken("a date is none") from None


def _base64(children: Sequence[Any], text: str) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _broken("octets are not base64") from None


def _nil(children: Sequence[Any], text: str) -> None:
    if text:
        raise _broken("text in nil")


def _value(children: Sequence[tuple[str, Any]], text: str) -> Any:
    if len(children) > 1:
        raise _broken("two types of one value")
    return children[0][1] if children else text


def _only(children: Sequence[tuple[str, Any]], text: str) -> Any:
    if len(children) != 1:
        raise _broken("not one thing where one belongs")
    return children[0][1]


def _list(children: Sequence[tuple[str, Any]], text: str) -> list[Any]:
    return [value for _, value in children]


def _member(children: Sequence[tuple[str, Any]], text: str) -> tuple[str, Any]:
    if [tag for tag, _ in children] != ["name", "value"]:
        raise _broken("a member has a name and a value")
    return children[0][1], children[1][1]


def _struct(children: Sequence[tuple[str, Any]], text: str) -> dict[str, Any]:
    made: dict[str, Any] = dict(pair for _, pair in children)
    if len(made) != len(children):
        raise _broken("a name comes twice in a struct")
    return made


def _method_call(children: Sequence[tuple[str, Any]], text: str) -> tuple[str, list[Any]]:
    tags = [tag for tag, _ in children]
    if tags not in (["methodName"], ["methodName", "params"]):
        raise _broken("a call has a method's name and parameters")
    method: str = children[0][1].strip(" \t\r\n")
    if _METHOD(method) is None:
        raise _broken("a method's name is none")
    return method, children[1][1] if len(children) > 1 else []


def _method_response(children: Sequence[tuple[str, Any]], text: str) -> tuple[bool, Any]:
    if len(children) != 1:
        raise _broken("an answer has one parameter or a fault")
    tag, value = children[0]
    if tag == "fault":
        return False, value
    if len(value) != 1:
        raise _broken("an answer has one parameter")
    return True, value[0]


_VALUES: Final[dict[str, Callable[[Any, str], Any]]] = {
    "i4": _int,
    "int": _int,
    "i8": _long,
    "boolean": _boolean,
    "string": _string,
    "double": _double,
    "dateTime.iso8601": _date,
    "base64": _base64,
    "nil": _nil,
    "value": _value,
    "param": _only,
    "fault": _only,
    "array": _only,
    "params": _list,
    "data": _list,
    "name": _string,
    "methodName": _string,
    "member": _member,
    "struct": _struct,
    "methodCall": _method_call,
    "methodResponse": _method_response,
}


def _read(data: bytes, depth: int) -> tuple[str, Any]:
    """The document's element and what it is worth.

    Raises:
        WebProtocolError: It is no XML, or not that of XML-RPC.
    """
    try:
        parser = DefusedXMLParser(target=_Reader(depth), forbid_dtd=True)
        parser.feed(data)
        # `Any`: what `_Reader.close` returns, which the stubs do not follow.
        closed: Any = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, WebProtocolError):
            raise
        # What defusedxml refuses is a ValueError, and so is an encoding nobody knows.
        raise _broken(f"no XML that can be read: {error!s:.200}") from None
    found: tuple[str, Any] = closed
    return found


def read_call(data: bytes, *, depth: int = 64) -> tuple[str, list[Any]]:
    """The method's name and the arguments. (`Any`: of every kind that XML-RPC has.)

    Args:
        data: The whole document; its length has been limited already.
        depth: Values within values.

    Raises:
        WebProtocolError: It is no call, or passes a limit.
    """
    tag, value = _read(data, depth)
    if tag != "methodCall":
        raise _broken("a call is expected")
    call: tuple[str, list[Any]] = value
    return call


def read_answer(data: bytes, *, depth: int = 64) -> Any:
    """The result that an answer holds. (`Any`: of every kind that XML-RPC has.)

    Raises:
        RPCError: It holds a fault.
        WebProtocolError: It is no answer, or passes a limit.
    """
    tag, value = _read(data, depth)
    if tag != "methodResponse":
        raise _broken("an answer is expected")
    good, found = value
    if good:
        return found
    raise fault_of(found)


def fault_of(value: Any) -> RPCError:
    """The error that a fault's value says.

    Raises:
        WebProtocolError: It says none.
    """
    if is_object(value):
        code, message = value.get("faultCode"), value.get("faultString")
        if type(code) is int and type(message) is str:
            return RPCError(code, message)
    raise _broken("a fault has a faultCode and a faultString")


# ── writing ───────────────────────────────────────────────────────────────────

_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'


def write_call(method: str, arguments: Sequence[Any], *, extensions: bool) -> bytes:
    """A call as a document. Arguments are of the kinds that XML-RPC has.

    Raises:
        ValueError: The name is none, or an argument cannot be written.
    """
    if _METHOD(method) is None:
        raise ValueError(f"a method cannot be called {method!r:.100}")
    out = [_HEAD, f"<methodCall><methodName>{method}</methodName><params>"]
    for each in arguments:
        out.append("<param>")
        _write(each, out, extensions)
        out.append("</param>")
    out.append("</params></methodCall>")
    return "".join(out).encode("utf-8")


def write_result(result: Any, *, extensions: bool) -> bytes:
    """The answer that has a result. (`Any`: of the kinds that XML-RPC has.)

    Raises:
        ValueError: It cannot be written.
    """
    out = [_HEAD, "<methodResponse><params><param>"]
    _write(result, out, extensions)
    out.append("</param></params></methodResponse>")
    return "".join(out).encode("utf-8")


def fault_value(error: RPCError) -> dict[str, Any]:
    """An error as the value of a fault; what XML cannot hold of its text is replaced."""
    message = "".join("\ufffd" if _UNWRITABLE(each) else each for each in error.message)
    code = error.code if -(1 << 31) <= error.code < 1 << 31 else APPLICATION_ERROR
    return {"faultCode": code, "faultString": message}


def write_fault(error: RPCError) -> bytes:
    """The answer that has an error."""
    out = [_HEAD, "<methodResponse><fault>"]
    _write(fault_value(error), out, False)
    out.append("</fault></methodResponse>")
    return "".join(out).encode("utf-8")


def _write(value: Any, out: list[str], extensions: bool) -> None:
    kind = type_of(value)
    if kind is str:
        out.append(f"<value><string>{_text(value)}</string></value>")
    elif kind is bool:
        out.append(f"<value><boolean>{int(value)}</boolean></value>")
    elif kind is int:
        if -(1 << 31) <= value < 1 << 31:
            out.append(f"<value><int>{value}</int></value>")
        elif extensions and -(1 << 63) <= value < 1 << 63:
            out.append(f"<value><i8>{value}</i8></value>")
        else:
            raise ValueError("XML-RPC has whole numbers of 32 bits, as an extension of 64")
    elif kind is float:
        out.append(f"<value><double>{_decimals(value)}</double></value>")
    elif value is None:
        if not extensions:
            raise ValueError("XML-RPC has None as an extension only")
        out.append("<value><nil/></value>")
    elif kind is bytes:
        octets = b64encode(value).decode("ascii")
        out.append(f"<value><base64>{octets}</base64></value>")
    elif kind is datetime:
        if value.tzinfo is not None:
            raise ValueError(
                "XML-RPC's dates have no time zone: send it without, in the one agreed on"
            )
        # strftime leaves out zeros before short years.
        day = f"{value.year:04}{value.month:02}{value.day:02}"
        clock = f"{value.hour:02}:{value.minute:02}:{value.second:02}"
        out.append(f"<value><dateTime.iso8601>{day}T{clock}</dateTime.iso8601></value>")
    elif kind is list:
        out.append("<value><array><data>")
        for each in value:
            _write(each, out, extensions)
        out.append("</data></array></value>")
    elif kind is dict:
        out.append("<value><struct>")
        for name, each in value.items():
            out.append(f"<member><name>{_text(name)}</name>")
            _write(each, out, extensions)
            out.append("</member>")
        out.append("</struct></value>")
    else:
        raise ValueError(f"XML-RPC has no {kind.__qualname__}")


def _decimals(value: float) -> str:
    """A number without exponent, which the specification does not have."""
    text = repr(value)
    return text if "e" not in text else format(Decimal(text), "f")


def _text(text: str) -> str:
    if _UNWRITABLE(text) is not None:
        raise ValueError("a text has characters that XML cannot hold")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A parser makes a line feed of a carriage return that is not escaped.
    return text.replace("\r", "&#13;")
