"""Versions of zones: numbers on a circle, of which a half is newer than any one (RFC 1982)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.rdata.basic import SOA

if TYPE_CHECKING:
    from sennit.names.message import Record

__all__ = ["advance", "newer", "serial_of", "with_serial"]

_HALF: Final = 1 << 31
_WHOLE: Final = 1 << 32


def newer(one: int, other: int) -> bool:
    """Whether `one` is newer than `other`.

    Two that are exactly half the circle apart are neither newer (RFC 1982 §3.2).
    """
    return 0 < (one - other) % _WHOLE < _HALF


def advance(serial: int, by: int = 1) -> int:
    """The serial behind this one; never 0, which some take for "unset" (RFC 2136 §4.6).

    Args:
        serial: The version there is.
        by: How far, at most 2147483647 (RFC 1982 §3.1).
    """
    return (serial + by) % _WHOLE or 1


def serial_of(soa: Record) -> int:
    """The serial of an SOA record."""
    rdata = soa.rdata
    assert isinstance(rdata, SOA)
    return rdata.serial


def with_serial(soa: Record, serial: int) -> Record:
    """An SOA record of another version."""
    from sennit.names.message import Record

    old = soa.rdata
    assert isinstance(old, SOA)
    rdata = SOA(
        mname=old.mname,
        rname=old.rname,
        serial=serial,
        refresh=old.refresh,
        retry=old.retry,
        expire=old.expire,
        minimum=old.minimum,
    )
    return Record(soa.name, soa.rdtype, soa.ttl, rdata, soa.rdclass)
