"""Which fields a proxy hands on, takes off and adds.

A message is read whole and written anew: no octet of framing passes through, so
what one side reads as one message the other reads as one (no request smuggling).
What belongs to one connection stays on it (`end_to_end`), Via is added, Max-Forwards
counted.

Sources: RFC 9110 §7.6.1 (Connection), §7.6.2 (Max-Forwards), §7.6.3 (Via), §11.7
(proxies' credentials), §10.1.4 (TE). Not here: who a request came from
(``forwarded.py``); Location and cookies (``translation.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sennit.web.errors import WebUsageError
from sennit.web.proxy.forwarded import says_origin
from sennit.web.response import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    Field = tuple[bytes, bytes]

__all__ = [
    "MAX_VIA",
    "check_pseudonym",
    "check_way",
    "end_to_end",
    "forwards_left",
    "request_fields",
    "trailer_fields",
    "via_field",
]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that belong to one connection, whether Connection names them or not."""

MAX_VIA: Final = 16
"""Proxies that a request may have come through; more is taken for a loop."""

# Never taken off at a client's wish: without them a request means something else.
_KEPT: Final = frozenset({b"host", b"content-length", b"content-encoding", b"content-type"})
_NOT_BEHIND: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"host",
        b"location",
        b"max-forwards",
        b"range",
        b"set-cookie",
        b"trailer",
    }
)
_REFRAMED: Final = frozenset({b"content-length", b"expect", b"host", b"max-forwards", b"via"})
_PSEUDONYM: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[0-9]{1,5})?").fullmatch


def _named(headers: Iterable[Field]) -> set[bytes]:
    """What Connection says belongs to this connection."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(each.strip().lower() for each in value.split(b","))
    return named - _KEPT


def end_to_end(headers: list[Field]) -> list[Field]:
    """Fields without those that belong to the connection they came by.

    Args:
        headers: (lower-case name, value) octet pairs.
    """
    named = _named(headers)
    if not named:
        return [each for each in headers if each[0] not in HOP_BY_HOP]
    return [each for each in headers if each[0] not in HOP_BY_HOP and each[0] not in named]


def request_fields(headers: list[Field]) -> list[Field]:
    """The fields of a request that go on to the next server as they are.

    Without those that frame it, that say whom it came from or through, and that are
    written with an underscore to pass for one of these (many servers take ``X_Real_IP`` for
    ``X-Real-IP``). Host and Expect are up to whoever sends the request.
    """
    kept = [
        each
        for each in end_to_end(headers)
        if each[0] not in _REFRAMED
        and not says_origin(each[0])
        and (b"_" not in each[0] or _is_harmless(each[0]))
    ]
    for name, value in headers:
        if name == b"te" and b"trailers" in value.lower():
            # All that may be said of it to HTTP/2 (RFC 9113 §8.2.2); gRPC asks for it.
            kept.append((b"te", b"trailers"))
            break
    return kept


def _is_harmless(name: bytes) -> bool:
    dashed = name.replace(b"_", b"-")
    return not (says_origin(dashed) or dashed in _REFRAMED or dashed in HOP_BY_HOP)


def trailer_fields(trailers: list[Field]) -> list[Field]:
    """Fields behind content that go on: none that frame it or say how to read it.

    RFC 9110 §6.5.1: those are of no use there, and a danger to whoever believes them.
    """
    return [each for each in end_to_end(trailers) if each[0] not in _NOT_BEHIND]


def via_field(headers: Iterable[Field], version: bytes, pseudonym: str) -> Field:
    """Via, with this proxy behind those that are in it already.

    Args:
        headers: Of the message as it came.
        version: Of HTTP, by which it came.
        pseudonym: What this proxy calls itself.
    """
    before = b", ".join(value for name, value in headers if name == b"via")
    own = (b"2.0" if version == b"2" else version) + b" " + pseudonym.encode("ascii")
    return b"via", b"%b, %b" % (before, own) if before else own


def check_way(headers: Iterable[Field]) -> None:
    """Whether a request has not come through too many proxies already.

    Raises:
        HTTPError: 508, it must be going round.
    """
    steps = sum(value.count(b",") + 1 for name, value in headers if name == b"via")
    if steps >= MAX_VIA:
        raise HTTPError(508)


def check_pseudonym(pseudonym: str) -> None:
    """Whether a proxy can call itself that in Via.

    Raises:
        WebUsageError: It cannot.
    """
    if _PSEUDONYM(pseudonym) is None:
        raise WebUsageError(f"no name for Via: {pseudonym!r:.100}")


def forwards_left(method: str, headers: Iterable[Field]) -> int | None:
    """How many proxies may still hand a request on; ``None`` where nothing is said of it.

    0: it is to be answered here. Of other methods than OPTIONS and TRACE it means nothing.

    Raises:
        HTTPError: 400, it is no number.
    """
    if method not in ("OPTIONS", "TRACE"):
        return None
    for name, value in headers:
        if name == b"max-forwards":
            if not value.isdigit() or len(value) > 9:
                raise HTTPError(400)
            return int(value)
    return None
