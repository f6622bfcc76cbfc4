"""What an operator should know about a zone that can be loaded, and yet may not work.

`check_zone` looks at what the zone itself tells: it asks nobody. `check_file` reads a file first
and gives what is wrong and what should be known in one report.

Sources: RFC 1034 §4.2.2 (glue), RFC 2181 §10.3 (MX and NS to aliases), RFC 1912 §2 (common
mistakes), RFC 2782 (SRV), RFC 6672 §2.3 (DNAME), RFC 2182 §5 (how many servers).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRType, type_text
from sennit.names.errors import PresentationError, ZoneError
from sennit.names.name import Name, read_name
from sennit.names.zone.node import raw_rdatas, set_ttl
from sennit.names.zone.rules import CNAME, DNAME, FROM_OTHERS, NS, Problem
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.names.zone.node import Node
    from sennit.names.zone.zone import Zone

__all__ = ["Report", "check_file", "check_zone"]

MAX_WARNINGS: Final = 1000
"""Warnings of a zone that are told."""

_A: Final = int(RRType.A)
_AAAA: Final = int(RRType.AAAA)
_DS: Final = int(RRType.DS)
_TARGETS: Final = {NS: 0, int(RRType.MX): 2, int(RRType.SRV): 6}
_AT_A_CUT: Final = frozenset({NS, _DS, _A, _AAAA, int(RRType.NSEC), int(RRType.RRSIG)})


@dataclass(slots=True)
class Report:
    """What came of reading a file.

    Attributes:
        zone: The zone; ``None`` where it is none.
        errors: Why it is none.
        warnings: What should be known.
    """

    zone: Zone | None = None
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def __bool__(self) -> bool:
        """Whether there is a zone."""
        return self.zone is not None


def check_file(path: str | os.PathLike[str], origin: Name | str | None = None) -> Report:
    """Read a zone's file, and tell all about it.

    Args:
        path: The file.
        origin: The zone's name; see `sennit.names.zone.zonefile.read_zone`.
    """
    report = Report()
    try:
        report.zone = read_zone(path, origin)
    except ZoneError as error:
        report.errors += error.problems
    except (OSError, PresentationError) as error:
        report.errors.append(str(error))
    else:
        report.warnings += [str(each) for each in check_zone(report.zone)]
    return report


def check_zone(zone: Zone) -> list[Problem]:
    """What should be known about a zone; empty where nothing is odd."""
    found: list[Problem] = []
    for text in _all(zone):
        found.append(Problem(text))
        if len(found) == MAX_WARNINGS:
            found.append(Problem(f"no more than {MAX_WARNINGS} warnings are told"))
            break
    return found


def _all(zone: Zone) -> Iterator[str]:
    yield from _apex(zone)
    for key, node in zone.nodes.items():
        if not node:
            continue
        name = node.name
        above = _above(zone, key)
        if above is not None:
            kind, cut = above
            hidden = [each for each in node.types if kind == DNAME or each not in (_A, _AAAA)]
            if hidden:
                yield (
                    f"{name}: {', '.join(sorted(map(type_text, hidden)))} cannot be seen beneath "
                    f"the {type_text(kind)} of {cut}"
                )
            continue
        yield from _node(zone, key, node, name)


def _above(zone: Zone, key: bytes) -> tuple[int, Name] | None:
    """The delegation or DNAME that a name is beneath."""
    size = len(zone.origin.key)
    while len(key) > size:
        key = key[1 + key[0] :]
        if key in zone.cuts:
            node = zone.nodes[key]
            return (DNAME if node.packed(DNAME) is not None else NS), node.name
    return None


def _apex(zone: Zone) -> Iterator[str]:
    apex = zone.nodes[zone.origin.key]
    servers = apex.packed(NS)
    if servers is not None and servers[:2] == b"\0\1":
        yield f"{zone.origin}: one NS record; a zone has at least two servers (RFC 2182 §5)"
    numbers = zone.soa.rdata.wire[-16:]
    refresh, retry, expire, minimum = (
        int.from_bytes(numbers[each : each + 4], "big") for each in range(0, 16, 4)
    )
    if retry >= refresh:
        yield f"{zone.origin}: SOA retry {retry} is not below refresh {refresh}"
    if expire < refresh + retry:
        yield f"{zone.origin}: SOA expire {expire} is below refresh and retry together"
    if minimum > 86_400:
        yield f"{zone.origin}: SOA minimum {minimum}: absence is remembered for more than a day"


def _node(zone: Zone, key: bytes, node: Node, name: Name) -> Iterator[str]:
    types = node.types
    is_cut = key in zone.cuts and NS in types and key != zone.origin.key
    if is_cut and types - _AT_A_CUT:
        hidden = sorted(map(type_text, types - _AT_A_CUT))
        yield f"{name}: {', '.join(hidden)} cannot be seen beside the NS of a delegation"
    if _DS in types and not is_cut:
        yield f"{name}: DS without NS"
    if NS in types and name.is_wildcard:
        yield f"{name}: NS of a wildcard delegates nothing (RFC 4592 §4.2)"
    if len(types) > FROM_OTHERS.types:
        yield f"{name}: {len(types)} types of records are more than others take"
    for packed in node.sets:
        count = packed[0] << 8 | packed[1]
        rdtype = packed[4] << 8 | packed[5]
        if count > FROM_OTHERS.rrset:
            yield f"{name}: {count} {type_text(rdtype)} records are more than others take"
        if set_ttl(packed) == 0 and rdtype != CNAME:
            yield f"{name}: the TTL of {type_text(rdtype)} is 0, which nobody may keep"
        if rdtype in _TARGETS:
            for rdata in raw_rdatas(packed):
                host = read_name(rdata, _TARGETS[rdtype], {})[0]
                yield from _host(zone, name, rdtype, host)
        elif rdtype == CNAME:
            target = read_name(next(raw_rdatas(packed)), 0, {})[0]
            if _missing(zone, target):
                yield f"{name}: CNAME to {target}, which does not exist"


def _missing(zone: Zone, host: Name) -> bool:
    """Whether a name would be the zone's own and is not there, nor a wildcard for it."""
    key = host.key
    if not host.is_below(zone.origin) or key in zone.nodes or _above(zone, key) is not None:
        return False
    while key not in zone.nodes:
        key = key[1 + key[0] :]
    return b"\1*" + key not in zone.nodes


def _host(zone: Zone, owner: Name, rdtype: int, host: Name) -> Iterator[str]:
    """What is odd about a host that a record leads to."""
    said = f"{owner}: {type_text(rdtype)} to {host}"
    if host.is_root or not host.is_below(zone.origin):
        return
    node = zone.nodes.get(host.key)
    cut = _above(zone, host.key)
    if node is not None and cut is None and CNAME in node.types:
        yield f"{said}, which is an alias (RFC 2181 §10.3)"
        return
    if node is not None and node.types & {_A, _AAAA}:
        return
    if cut is not None:
        # Beneath a delegation only what that very delegation needs has to be here.
        if rdtype == NS and cut[0] == NS and cut[1] == owner:
            yield f"{said}, beneath itself, without an address: glue is missing"
        return
    if node is None:
        if _missing(zone, host):
            yield f"{said}, which does not exist"
    else:
        yield f"{said}, which has no address"
