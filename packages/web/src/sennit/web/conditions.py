"""Conditional and range requests, as pure functions over header values.

Sources: RFC 9110 §8.8 (validators), §13 (preconditions and their order), §14
(ranges). What a client may make expensive is bounded: at most `MAX_RANGES`
ranges, numbers of at most 18 digits, entity tags compared one by one.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from sennit.web.dates import parse_date

if TYPE_CHECKING:
    from sennit.web.request import Request

__all__ = ["MAX_RANGES", "Ranges", "evaluate", "parse_ranges", "range_applies"]

MAX_RANGES: Final = 16
"""Ranges of one request; with more the whole is sent."""

_TAG = re.compile(r'[ \t,]*((?:W/)?"[!#-~\x80-\xff]*+")[ \t]*(?=,|$)').match
_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII).fullmatch
_HUGE: Final = 10**18

Ranges = list[tuple[int, int]]
"""First octet and length of each, in the order they were asked for."""


def _tags(value: str) -> list[str]:
    """The entity tags of a list; those before the first thing that is none."""
    found: list[str] = []
    at = 0
    while (match := _TAG(value, at)) is not None:
        found.append(match[1])
        at = match.end()
    return found


def _matches(value: str, etag: str, *, weakly: bool) -> bool:
    """Whether an If-Match or If-None-Match names a strong entity tag (RFC 9110 §8.8.3.2)."""
    if value.strip() == "*":
        return True
    tags = _tags(value)
    return etag in tags or (weakly and f"W/{etag}" in tags)


def evaluate(request: Request, etag: str, modified: int) -> int:
    """What the preconditions of a GET or HEAD make of it (RFC 9110 §13.2.2).

    Args:
        request: Whose fields are looked at.
        etag: Strong entity tag of what would be sent, with its quotes.
        modified: When that was modified, seconds since the epoch.

    Returns:
        200 to go on, 304 or 412 to answer so.
    """
    given = request.header("if-match")
    if given is not None:
        if not _matches(given, etag, weakly=False):
            return 412
    else:
        given = request.header("if-unmodified-since")
        if given is not None:
            since = parse_date(given)
            if since is not None and modified > since:
                return 412
    given = request.header("if-none-match")
    if given is not None:
        return 304 if _matches(given, etag, weakly=True) else 200
    given = request.header("if-modified-since")
    if given is not None:
        since = parse_date(given)
        if since is not None and modified <= since:
            return 304
    return 200


def range_applies(if_range: str | None, etag: str, modified: int, now: float) -> bool:
    """Whether a Range is to be honoured (RFC 9110 §13.1.5).

    Args:
        if_range: The If-Range field, if there is one.
        etag: Strong entity tag of what would be sent.
        modified: When that was modified.
        now: The wall clock: a date is a strong validator only once its second is over
            (RFC 9110 §8.8.2.2).
    """
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == etag
    return parse_date(if_range) == modified and now - modified >= 1.0


def parse_ranges(value: str, size: int) -> Ranges | None:
    """The ranges that are asked for and can be given.

    Args:
        value: The Range field.
        size: Octets there are.

    Returns:
        ``None`` when the field is to be ignored: another unit, no valid list, too
        many, or ranges that overlap (RFC 9110 §14.2). An empty list when none of
        them can be given: then the answer is 416.
    """
    unit, found, rest = value.partition("=")
    if not found or unit.strip().lower() != "bytes" or rest.count(",") >= 4 * MAX_RANGES:
        return None
    ranges: Ranges = []
    asked = 0
    for spec in rest.split(","):
        spec = spec.strip(" \t")
        if not spec:
            continue
        asked += 1
        match = _SPEC(spec)
        if match is None or asked > MAX_RANGES:
            return None
        first, last = match.groups()
        if first:
            begin = int(first) if len(first) <= 18 else _HUGE
            end = _HUGE if not last or len(last) > 18 else int(last)
            if last and end < begin:
                return None
            if begin < size:
                ranges.append((begin, min(end, size - 1) - begin + 1))
        elif last:
            length = min(int(last) if len(last) <= 18 else _HUGE, size)
            if length:
                ranges.append((size - length, length))
        else:
            return None
    if not asked:
        return None
    in_order = sorted(ranges)
    for (begin, length), (following, _) in itertools.pairwise(in_order):
        if begin + length > following:
            return None
    return ranges
