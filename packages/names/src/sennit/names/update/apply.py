"""An update worked out: what must hold is looked at, then what is to change is put into a view.

Nothing here waits or writes: `work_out` says which response code the update has, and leaves the
view as it was unless that is NOERROR.

Sources: RFC 2136 §3.2 (prerequisites), §3.3 (permission), §3.4 (changes); RFC 2181 §5.2 (one
TTL per RRset), RFC 6672 §5.2 (DNAME is a single one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import META_TYPES, Rcode, RRType
from sennit.names.rdata.basic import SOA
from sennit.names.transfer.serial import newer
from sennit.names.update.view import View
from sennit.names.zone.rules import FROM_OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.message import Message, Record
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata
    from sennit.names.zone.rules import ZoneLimits

__all__ = ["work_out"]

_ANY_CLASS: Final = 255
_NONE: Final = 254
_ANY: Final = int(RRType.ANY)
_SOA: Final = int(RRType.SOA)
_NS: Final = int(RRType.NS)
_CNAME: Final = int(RRType.CNAME)
_DNAME: Final = int(RRType.DNAME)
_SINGLE: Final = frozenset({_CNAME, _SOA, _DNAME})
_BESIDE_CNAME: Final = frozenset(
    {_CNAME, int(RRType.RRSIG), int(RRType.NSEC), int(RRType.KEY), int(RRType.NSEC3)}
)
"""What a name with a CNAME may have beside it (RFC 4035 §2.5)."""
_WKS: Final = int(RRType.WKS)
_WKS_KEY: Final = 5
"""Octets that records of WKS are told apart by: address and protocol (RFC 2136 §1.1.5)."""


class _Refusal(Exception):  # noqa: N818 - no error: how the answer is found, within this module
    """The update ends with this code."""

    def __init__(self, rcode: int) -> None:
        super().__init__()
        self.rcode = rcode


def work_out(
    view: View,
    message: Message,
    permits: Callable[[Name, int], bool],
    limits: ZoneLimits = FROM_OTHERS,
) -> int:
    """Put an update into a view of its zone.

    Args:
        view: The view; the changes are handed to it if all goes well.
        message: The update; its zone section was looked at already.
        permits: Whether who sent it may change records of a type at a name.
        limits: How many records there may be at a name.

    Returns:
        The response code.
    """
    try:
        _look_at_prerequisites(view, message.answers)
        _scan(view, message.authority)
        draft = View(view)
        for record in message.authority:
            _permit(draft, record, permits)
            _change(draft, record, limits)
    except _Refusal as refusal:
        return refusal.rcode
    draft.commit()
    return Rcode.NOERROR


def _look_at_prerequisites(view: View, records: list[Record]) -> None:
    """RFC 2136 §3.2.5."""
    wanted: dict[tuple[Name, int], set[Rdata]] = {}
    for record in records:
        if record.ttl:
            raise _Refusal(Rcode.FORMERR)
        if not record.name.is_below(view.origin):
            raise _Refusal(Rcode.NOTZONE)
        sets = view.rrsets(record.name)
        if record.rdclass == view.rdclass:
            if record.rdtype in META_TYPES:
                raise _Refusal(Rcode.FORMERR)
            wanted.setdefault((record.name, record.rdtype), set()).add(record.rdata)
            continue
        if record.rdclass not in {_ANY_CLASS, _NONE} or record.rdata.wire:
            raise _Refusal(Rcode.FORMERR)
        if record.rdtype in META_TYPES and record.rdtype != _ANY:
            raise _Refusal(Rcode.FORMERR)
        there = bool(sets) if record.rdtype == _ANY else record.rdtype in sets
        if record.rdclass == _ANY_CLASS and not there:
            raise _Refusal(Rcode.NXDOMAIN if record.rdtype == _ANY else Rcode.NXRRSET)
        if record.rdclass == _NONE and there:
            raise _Refusal(Rcode.YXDOMAIN if record.rdtype == _ANY else Rcode.YXRRSET)
    for (name, rdtype), rdatas in wanted.items():
        found = view.get(name, rdtype)
        if found is None or set(found.rdatas) != rdatas:
            raise _Refusal(Rcode.NXRRSET)


def _scan(view: View, records: list[Record]) -> None:
    """RFC 2136 §3.4.1.3: all of it is looked at before anything changes."""
    for record in records:
        if not record.name.is_below(view.origin):
            raise _Refusal(Rcode.NOTZONE)
        meta = record.rdtype in META_TYPES or not record.rdtype
        if record.rdclass == view.rdclass:
            wrong = meta
        elif record.rdclass == _ANY_CLASS:
            wrong = bool(record.ttl or record.rdata.wire or (meta and record.rdtype != _ANY))
        elif record.rdclass == _NONE:
            wrong = bool(record.ttl or meta)
        else:
            wrong = True
        if wrong:
            raise _Refusal(Rcode.FORMERR)


def _permit(view: View, record: Record, permits: Callable[[Name, int], bool]) -> None:
    name = record.name
    if record.rdtype != _ANY:
        allowed = permits(name, record.rdtype)
    else:
        # All that would go must be allowed to.
        apex = name == view.origin
        allowed = all(
            permits(name, rdtype)
            for rdtype in view.rrsets(name)
            if not (apex and rdtype in {_SOA, _NS})
        )
    if not allowed:
        raise _Refusal(Rcode.REFUSED)


def _change(view: View, record: Record, limits: ZoneLimits) -> None:
    """RFC 2136 §3.4.2.7."""
    name, rdtype = record.name, record.rdtype
    apex = name == view.origin
    if record.rdclass == view.rdclass:
        _add(view, record, limits)
    elif record.rdclass == _ANY_CLASS:
        for each in list(view.rrsets(name)) if rdtype == _ANY else [rdtype]:
            if not (apex and each in {_SOA, _NS}) and view.get(name, each) is not None:
                view.put(name, each, 0, [])
    elif rdtype != _SOA:
        there = view.get(name, rdtype)
        if there is None or (apex and rdtype == _NS and there.rdatas == (record.rdata,)):
            return  # the last NS of the zone stays
        view.remove(name, record.rdata)


def _add(view: View, record: Record, limits: ZoneLimits) -> None:
    name, rdtype = record.name, record.rdtype
    sets = view.rrsets(name)
    if rdtype == _SOA:
        rdata = record.rdata
        if name == view.origin and isinstance(rdata, SOA) and newer(rdata.serial, view.serial):
            view.put(name, rdtype, record.ttl, [rdata])
        return  # an older one is ignored, without a word (§3.4.2.2)
    if rdtype == _CNAME:
        if any(each not in _BESIDE_CNAME for each in sets):
            return
    elif rdtype not in _BESIDE_CNAME and _CNAME in sets:
        return
    if name != view.origin and _DNAME in {rdtype, *sets} and _NS in {rdtype, *sets}:
        return  # RFC 6672 §2.3, in the manner of CNAME
    if rdtype in _SINGLE:
        there = sets.get(rdtype)
        if there is None or there.ttl != record.ttl or there.rdatas != (record.rdata,):
            view.put(name, rdtype, record.ttl, [record.rdata])
        return
    if rdtype == _WKS:
        for each in sets[_WKS].rdatas if _WKS in sets else ():
            if each.wire[:_WKS_KEY] == record.rdata.wire[:_WKS_KEY] and each != record.rdata:
                view.remove(name, each)
    view.add(record)
    after = view.rrsets(name)
    if len(after[rdtype]) > limits.rrset or len(after) > limits.types:
        raise _Refusal(Rcode.REFUSED)
