"""Values in a request head that have a grammar of their own: targets, hosts, codings.

Called by the gate (``framing.py``), which has seen that their octets may be there.

Sources: RFC 9112 §3.2, §6.1, §6.3; RFC 9110 §4.2.4, §7.2.
"""

from __future__ import annotations

import re

from sennit.web.http1.verdict import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["TCHAR", "is_authority", "is_host", "odd_coding", "other_form"]

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""A character of a token, for patterns."""

is_host = re.compile(
    rb"(?:(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%\-]{1,255})(?::[0-9]{0,5})?)?"
).fullmatch
"""Matches what may stand in Host: a name or an address, and a port; or nothing."""
_ABSOLUTE = re.compile(rb"(?:http|https)://([^/?]++)([/?].*+)?", re.IGNORECASE).fullmatch
is_authority = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%\-]{1,255}):[0-9]{1,5}"
).fullmatch
_TOKENS = re.compile(rb"%b++" % TCHAR).fullmatch

_KNOWN_CODINGS: Final = frozenset(
    {b"compress", b"deflate", b"gzip", b"identity", b"x-compress", b"x-gzip"}
)


def other_form(method: bytes, target: bytes, host: bytes | None) -> tuple[bytes, bytes | None]:
    """Path and authority of a target that is not a path (RFC 9112 §3.2.2-§3.2.4).

    Raises:
        Refused: It is none of the forms, or of one that the method does not have.
    """
    if method == b"CONNECT":
        if is_authority(target) is None:
            raise Refused(400, "CONNECT without an authority", "RFC 9112 §3.2.3")
        return b"", target
    if target == b"*":
        if method != b"OPTIONS":
            raise Refused(400, "the target * without OPTIONS", "RFC 9112 §3.2.4")
        return target, host
    match = _ABSOLUTE(target)
    if match is None or is_host(match[1]) is None:
        raise Refused(400, "the target is no path and no URL", "RFC 9112 §3.2")
    authority: bytes = match[1]
    if host is not None and host.lower() != authority.lower():
        raise Refused(400, "target and Host disagree", "RFC 9112 §3.2.2")
    rest: bytes = match[2] or b"/"
    if rest[0] == 63:
        rest = b"/" + rest
    return rest, authority


def odd_coding(coding: bytes) -> Refused:
    """The answer to a Transfer-Encoding that is not ``chunked`` alone (RFC 9112 §6.1, §6.3)."""
    codings = [each.strip(b" \t").lower() for each in coding.split(b",")]
    unknown = [each for each in codings if each not in _KNOWN_CODINGS and each != b"chunked"]
    if unknown and all(_TOKENS(each) is not None for each in codings):
        return Refused(501, "a transfer coding nobody knows", "RFC 9112 §6.1")
    return Refused(400, "a Transfer-Encoding that is not chunked alone", "RFC 9112 §6.1")
