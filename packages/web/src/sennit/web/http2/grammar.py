"""Field sections of HTTP/2: what they may say, and a request made of one.

h2 gives the fields as they were sent. Here each is held against RFC 9113 §8.2 and
§8.3; a section that breaks a rule is `Malformed`, which costs its stream and
never reaches an application. Pairs that were good are remembered in a table of
bounded size, as are those that an application sends.

Sources: RFC 9110 §5, §7.2, §8.6, §10.1.1; RFC 9113 §8.1-§8.3, §8.5; RFC 8441 §4.
Not here: priorities (``priority.py``).
"""

from __future__ import annotations

import re

from sennit.web.events import CHUNKED, RequestHead
from sennit.web.http1.targets import is_authority
from sennit.web.http1.targets import is_host as matches_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from sennit.web.limits import Limits

    Field = tuple[bytes, bytes]

__all__ = [
    "Malformed",
    "TooLarge",
    "is_host",
    "is_method",
    "is_path",
    "is_token",
    "outgoing",
    "request_head",
    "response_head",
    "trailer_fields",
]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++").fullmatch
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*+(?<![\t ]))?+)?+").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch
_SCHEME = re.compile(rb"[a-z][a-z0-9+.\-]{0,15}").fullmatch
_PATH = re.compile(rb"/[!\"$-~]*+").fullmatch
_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
_STATUS = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}").fullmatch

_OF_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""Fields that say something of an HTTP/1 connection, and have no place here (§8.2.2)."""
_LOOKED_AT: Final = _OF_CONNECTION | {
    b"content-encoding", b"content-length", b"cookie", b"expect", b"host", b"priority", b"te"
}  # fmt: skip
_NOT_IN_TRAILERS: Final = _OF_CONNECTION | {b"content-length", b"host", b"te", b"trailer"}

_KEPT_AT_MOST: Final = 1024
_KEPT_LENGTH: Final = 256
"""Octets of the longest value that is remembered: what is longer seldom recurs."""

_good: set[Field] = set()
"""Pairs that were found well-formed and need no second look."""
_sent: dict[Field, tuple[int, Field | None]] = {}
"""By field of an application: what it is, and as it is sent."""

PLAIN, LENGTH, DATE = range(3)
"""What a field is to the engine: nothing, or one of those that it watches."""


class Malformed(Exception):  # noqa: N818 - a verdict, which happens to be raised
    """A field section breaks a rule: a stream error of type PROTOCOL_ERROR (§8.1.1).

    Attributes:
        rule: Which.
    """

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class TooLarge(Exception):  # noqa: N818 - likewise
    """A well-formed request that asks too much; it is answered.

    Attributes:
        status: With what.
        head: The request, as far as it is needed for that.
    """

    def __init__(self, status: int, message: str, head: RequestHead) -> None:
        super().__init__(message)
        self.status = status
        self.head = head


def is_method(value: bytes) -> bool:
    """Whether it can be a method."""
    return _METHOD(value) is not None


def is_host(value: bytes) -> bool:
    """Whether it can be an authority, and is not empty."""
    return bool(value) and matches_host(value) is not None


def is_path(value: bytes) -> bool:
    """Whether it can be a path with its query."""
    return _PATH(value) is not None


def is_token(value: bytes) -> bool:
    """Whether it can be the name of a protocol."""
    return _TOKEN(value) is not None


def _check(name: bytes, value: bytes) -> None:
    """Whether a regular field is well-formed (RFC 9113 §8.2.1).

    Raises:
        Malformed: It is not.
    """
    if _NAME(name) is None:
        raise Malformed(f"a field name cannot be {name[:64]!r}", "RFC 9113 §8.2.1")
    if _VALUE(value) is None:
        raise Malformed(f"a bad octet in the value of {name[:64]!r}", "RFC 9113 §8.2.1")
    if name not in _LOOKED_AT and len(value) <= _KEPT_LENGTH:
        if len(_good) >= _KEPT_AT_MOST:
            _good.clear()
        _good.add((name, value))


def _split(
    fields: Iterable[Field], allowed: frozenset[bytes]
) -> tuple[dict[bytes, bytes], list[Field], dict[bytes, bytes]]:
    """Pseudo-header fields, the other fields, and those of them that say something here.

    Raises:
        Malformed: One is not well-formed, or stands where it must not.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = []
    special: dict[bytes, bytes] = {}
    for field in fields:
        name, value = field
        if field in _good:
            headers.append((name, value))
            continue
        if name[:1] == b":":
            if headers or special:
                raise Malformed(f"{name[:64]!r} after a regular field", "RFC 9113 §8.3")
            if name not in allowed or name in pseudo:
                raise Malformed(f"{name[:64]!r} twice, or unknown", "RFC 9113 §8.3")
            pseudo[name] = value
            continue
        _check(name, value)
        if name not in _LOOKED_AT:
            headers.append((name, value))
            continue
        if name in _OF_CONNECTION:
            raise Malformed(f"{name!r} in HTTP/2", "RFC 9113 §8.2.2")
        if name == b"te" and value.lower() != b"trailers":
            raise Malformed(f"te: {value[:64]!r}", "RFC 9113 §8.2.2")
        before = special.get(name)
        if before is None:
            special[name] = value
        elif name == b"cookie":
            # Cut apart for the sake of compression; one field again (§8.2.3).
            special[name] = before + b"; " + value
            continue
        elif name in (b"content-length", b"host"):
            raise Malformed(f"more than one {name.decode()}", "RFC 9110 §8.6")
        else:
            special[name] = before + b", " + value
        if name != b"cookie":
            headers.append((name, value))
    cookie = special.get(b"cookie")
    if cookie is not None:
        headers.append((b"cookie", cookie))
    return pseudo, headers, special


_REQUEST: Final = frozenset({b":authority", b":method", b":path", b":protocol", b":scheme"})
_RESPONSE: Final = frozenset({b":status"})
_NONE: Final[frozenset[bytes]] = frozenset()


def request_head(
    fields: Sequence[Field], ended: bool, limits: Limits, exchange: int
) -> tuple[RequestHead, bytes]:
    """A request, and its Priority field (RFC 9218).

    Args:
        fields: As they were sent.
        ended: Whether no content follows.
        limits: What is too much.
        exchange: Its stream.

    Raises:
        Malformed: It is none.
        TooLarge: It is one, and too large.
    """
    pseudo, headers, special = _split(fields, _REQUEST)
    method = pseudo.get(b":method", b"")
    if _METHOD(method) is None:
        raise Malformed(f":method cannot be {method[:64]!r}", "RFC 9113 §8.3.1")
    protocol = pseudo.get(b":protocol")
    scheme = pseudo.get(b":scheme", b"")
    path = pseudo.get(b":path", b"")
    authority = pseudo.get(b":authority")
    if method == b"CONNECT" and protocol is None:
        if b":scheme" in pseudo or b":path" in pseudo:
            raise Malformed("CONNECT with :scheme or :path", "RFC 9113 §8.5")
        if authority is None or is_authority(authority) is None:
            raise Malformed("CONNECT without an authority", "RFC 9113 §8.5")
        target = authority
    else:
        _check_target(method, scheme, path, protocol)
        target = path
    host = special.get(b"host")
    if authority is None:
        authority = host
    elif host is not None and host.lower() != authority.lower():
        raise Malformed(":authority and Host disagree", "RFC 9113 §8.3.1")
    if not authority or matches_host(authority) is None:
        raise Malformed(f"no host: {(authority or b'')[:64]!r}", "RFC 9113 §8.3.1")
    if host is None:
        # Whoever asks for it by that name finds it (RFC 9113 §8.3.1).
        headers.insert(0, (b"host", authority))
    length = 0 if ended else CHUNKED
    told = special.get(b"content-length")
    if told is not None:
        if _LENGTH(told) is None:
            raise Malformed(f"content-length: {told[:32]!r}", "RFC 9110 §8.6")
        if ended and int(told):
            raise Malformed("content-length without content", "RFC 9113 §8.1.1")
        length = int(told)
    coding = special.get(b"content-encoding")
    head = RequestHead(
        method,
        target,
        b"2",
        headers,
        authority,
        length,
        expect_continue=not ended and special.get(b"expect", b"").lower() == b"100-continue",
        encoded=coding is not None and coding.lower() not in (b"", b"identity"),
        path=path,
        exchange=exchange,
        scheme=scheme,
        protocol=protocol,
    )
    if len(path) > limits.target:
        raise TooLarge(414, "the target is too long", head)
    if len(fields) > limits.fields or _size_of(fields) > limits.head:
        raise TooLarge(431, "the header section is too large", head)
    return head, special.get(b"priority", b"")


def _check_target(method: bytes, scheme: bytes, path: bytes, protocol: bytes | None) -> None:
    if _SCHEME(scheme) is None:
        raise Malformed(f":scheme cannot be {scheme[:32]!r}", "RFC 9113 §8.3.1")
    if _PATH(path) is None and not (path == b"*" and method == b"OPTIONS"):
        raise Malformed(f":path cannot be {path[:64]!r}", "RFC 9113 §8.3.1")
    if protocol is not None and (method != b"CONNECT" or _TOKEN(protocol) is None):
        raise Malformed(f":protocol {protocol[:64]!r}", "RFC 8441 §4")


def _size_of(fields: Iterable[Field]) -> int:
    """Octets as SETTINGS_MAX_HEADER_LIST_SIZE counts them, without what each costs besides."""
    return sum(len(name) + len(value) for name, value in fields)


def response_head(fields: Sequence[Field]) -> tuple[int, list[Field], int | None]:
    """Status, fields and announced octets of a response.

    Raises:
        Malformed: It is none.
    """
    pseudo, headers, special = _split(fields, _RESPONSE)
    status = pseudo.get(b":status", b"")
    if _STATUS(status) is None:
        raise Malformed(f":status cannot be {status[:32]!r}", "RFC 9113 §8.3.2")
    told = special.get(b"content-length")
    if told is not None and _LENGTH(told) is None:
        raise Malformed(f"content-length: {told[:32]!r}", "RFC 9110 §8.6")
    return int(status), headers, None if told is None else int(told)


def trailer_fields(fields: Sequence[Field], most: int) -> list[Field]:
    """Fields after the content.

    Raises:
        Malformed: One may not stand there, or there are more than `most`.
    """
    if len(fields) > most:
        raise Malformed(f"{len(fields)} trailers", "RFC 9113 §8.1")
    _, headers, special = _split(fields, _NONE)
    for name in special:
        if name in _NOT_IN_TRAILERS:
            raise Malformed(f"{name!r} in trailers", "RFC 9110 §6.5.1")
    return headers


def outgoing(field: Field) -> tuple[int, Field | None]:
    """What a field of an application's is, and as it is sent; ``None`` if it is left out.

    Names are sent in lower case. What concerns a connection of HTTP/1 is left out.

    Raises:
        ValueError: The name is no token, or the value holds CR, LF, NUL or another
            control octet.
        TypeError: They are not octets.
    """
    made = _sent.get(field)
    if made is not None:
        return made
    name, value = field
    if type(name) is not bytes or type(value) is not bytes:
        raise TypeError(f"a field is a pair of bytes, not {field!r:.200}")
    lower = name.lower()
    if _NAME(lower) is None:
        raise ValueError(f"a field name cannot be {name!r:.100}")
    stripped = value.strip(b" \t")
    if _VALUE(stripped) is None:
        raise ValueError(f"a control octet in the value of {name!r}: {value!r:.100}")
    kind = LENGTH if lower == b"content-length" else DATE if lower == b"date" else PLAIN
    made = (kind, None if lower in _OF_CONNECTION else (lower, stripped))
    if len(value) <= _KEPT_LENGTH:
        if len(_sent) >= _KEPT_AT_MOST:
            _sent.clear()
        _sent[field] = made
    return made
