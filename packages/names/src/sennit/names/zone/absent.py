"""Answers for names that a zone does not have: one for many names.

Such names are without number, and whoever makes them up means harm, so answers to them are not
worth keeping by name. But what follows the question is the same for all names that are as long
before the zone's name (or the delegation's), to which pointers lead, and that have the same
proof: their `Shape`. `lookups_of` makes it of two made-up names of that shape; where it turns out
to differ, one of their labels stands in the zone, and there is no such answer.

Sources: RFC 1034 §4.3.2 (delegations), RFC 4592 §3.3.1 (the closest encloser), RFC 2308 §3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.codes import Rcode, RRType
from sennit.names.message import Question
from sennit.names.name import trusted
from sennit.names.zone.lookup import Lookup, drive
from sennit.names.zone.rules import CNAME, DNAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.names.zone.lookup import Find
    from sennit.names.zone.node import Node
    from sennit.names.zone.proofs import Prover
    from sennit.names.zone.zone import Zone

__all__ = ["Shape", "lookups_of", "shape_of"]

_DS: Final = int(RRType.DS)
_NXDOMAIN: Final = int(Rcode.NXDOMAIN)


class Shape(NamedTuple):
    """What an answer is about, and where that stands in the question.

    Attributes:
        origin: Key of the zone's name.
        before: Octets of the name asked for that stand before `cut`, or before `origin`.
        cut: Key of the delegation that is referred to; empty for a denial.
        rcode: Response code.
        proof: Owners of the records that prove it.
        opt: What the answer's OPT is of, empty for none; the caller's.
    """

    origin: bytes
    before: int
    cut: bytes
    rcode: int
    proof: tuple[bytes, ...]
    opt: bytes


def shape_of(
    zone: Zone, name: bytes, rdtype: int, prover: Prover | None, opt: bytes
) -> Shape | Node | None:
    """The shape of the answer for a name that the zone does not have, or that it delegated.

    Args:
        zone: The zone that holds the name.
        name: Octets of a question where a name should be, in lower case.
        rdtype: The type asked for.
        prover: Finds proofs, where some are wanted.
        opt: See `Shape`.

    Returns:
        A wildcard's node where that has the records to copy; ``None`` where it takes more.
    """
    origin = zone.origin.key
    nodes, cuts = zone.nodes, zone.cuts
    before, size = 0, len(name) - len(origin)
    if len(name) > 255:
        return None
    encloser = cut = b""
    while True:
        at = name[before:] if before else name
        if at in cuts and at != origin:
            cut = at
        if not encloser and at in nodes:
            encloser = at
        if before >= size:
            break
        length = name[before]
        if not 0 < length < 64:
            return None  # no name
        before += 1 + length
    if before != size or (origin in cuts):
        return None
    if cut:
        if (cut == name and rdtype == _DS) or nodes[cut].packed(DNAME) is not None:
            return None
        return Shape(origin, len(name) - len(cut), cut, 0, (), opt)
    node = nodes.get(b"\1*" + encloser)
    if node is None:
        proof = prover.no_name(name, encloser) if prover else ()
        return Shape(origin, size, b"", _NXDOMAIN, tuple(proof), opt)
    if node.packed(CNAME) is not None:
        return None
    if node.packed(rdtype) is not None:
        return None if prover else node
    proof = prover.no_data_expanded(name, encloser) if prover else ()
    return Shape(origin, size, b"", 0, tuple(proof), opt)


def lookups_of(
    shape: Shape, zone: Zone, find: Find, *, dnssec_ok: bool
) -> Iterator[tuple[Question, Lookup]]:
    """Two answers of a shape, for names that nobody asked for, made of one octet each."""
    for octet in b"\xfe\xff":
        labels, left = b"", shape.before
        while left:
            # A label takes two octets at least.
            taken = min(left, 64) if left != 65 else 63
            labels += bytes((taken - 1,)) + bytes((octet,)) * (taken - 1)
            left -= taken
        question = Question(trusted(labels + (shape.cut or shape.origin)), 1, zone.rdclass)
        lookup = Lookup(find, question, dnssec_ok=dnssec_ok)
        drive(lookup.steps() if shape.cut else lookup.deny(zone, shape.rcode, shape.proof))
        yield question, lookup
