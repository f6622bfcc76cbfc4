"""Writing HTTP/1.1: status lines and field lines, checked before the first octet leaves.

Whatever an application supplies passes here on its way out: a CR, LF, NUL or any
other control octet in a name, a value or a reason is a `ValueError` at the call
(RFC 9110 §5.5, RFC 9112 §11.1), never a second header or a second response.

Lines that recur are made and checked once and kept, in a table of bounded size.

Sources: RFC 9110 §5, §15; RFC 9112 §4, §5.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

__all__ = [
    "CONNECTION",
    "DATE",
    "LENGTH",
    "OTHER",
    "REASONS",
    "TRANSFER_ENCODING",
    "field_line",
    "status_line",
]

REASONS: Final = {
    100: b"Continue",
    101: b"Switching Protocols",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    425: b"Too Early",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
    511: b"Network Authentication Required",
}
"""Reason phrases by status (RFC 9110 §15, RFC 5842, RFC 6585, RFC 8297, RFC 8470)."""

OTHER, LENGTH, TRANSFER_ENCODING, CONNECTION, DATE = range(5)
"""What a field is to the engine: nothing, or one of those that it watches."""

_KINDS: Final = {
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"date": DATE,
    b"transfer-encoding": TRANSFER_ENCODING,
}
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE = re.compile(rb"[\t -~\x80-\xff]*").fullmatch
_KEPT_AT_MOST: Final = 512
_KEPT_LENGTH: Final = 256
"""Octets of the longest value that is kept: what is longer seldom recurs."""

_lines: dict[tuple[bytes, bytes], tuple[int, bytes]] = {}
_status_lines: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()
}

find_line: Callable[[tuple[bytes, bytes]], tuple[int, bytes] | None] = _lines.get
"""The kind and line of a field that was made before, or ``None``: then call `field_line`."""


def field_line(field: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """The kind of a field and its line, with CRLF.

    Args:
        field: Name and value in octets.

    Raises:
        ValueError: The name is no token, or the value holds CR, LF, NUL or
            another control octet.
        TypeError: They are not octets.
    """
    name, value = field
    if type(name) is not bytes or type(value) is not bytes:
        raise TypeError(f"a field is a pair of bytes, not {field!r:.200}")
    if _NAME(name) is None:
        raise ValueError(f"a field name cannot be {name!r:.100}")
    if _VALUE(value) is None:
        raise ValueError(f"a control octet in the value of {name!r}: {value!r:.100}")
    made = (_KINDS.get(name.lower(), OTHER), b"%b: %b\r\n" % (name, value))
    if len(value) <= _KEPT_LENGTH:
        if len(_lines) >= _KEPT_AT_MOST:
            _lines.clear()
        _lines[field] = made
    return made


def status_line(status: int, reason: bytes | None = None) -> bytes:
    """The first line of a response, with CRLF.

    Raises:
        ValueError: No status, or a control octet in the reason.
    """
    if reason is None:
        line = _status_lines.get(status)
        if line is not None:
            return line
        reason = b""
    if not 100 <= status <= 999:
        raise ValueError(f"a status has three digits: {status!r}")
    if _VALUE(reason) is None:
        raise ValueError(f"a control octet in the reason {reason!r:.100}")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)
