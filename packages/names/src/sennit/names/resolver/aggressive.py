"""Absences that follow from proofs that are known already: aggressive use of NSEC and NSEC3.

A `Denials` keeps the NSEC and NSEC3 records of validated answers, zone by zone and in their
order, with the SOA. Asked for a name, it looks up the few records that could prove its absence
and hands them to the rules of ``dnssec/denial.py``; what those call secure is answered without
a question to anybody. Records of opt-out spans prove nothing here (RFC 8198 §5.2).

Bounded in zones and in records of each. Source: RFC 8198. Not here: answers out of wildcards.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from sennit.names.codes import RRType
from sennit.names.dnssec.denial import (
    NSEC3Denial,
    NSECDenial,
    Proof,
    nsec3_hash,
    nsec3_label,
    wildcard_of,
)
from sennit.names.dnssec.numbers import NSEC3_SHA1
from sennit.names.dnssec.verdict import Security
from sennit.names.message import Record
from sennit.names.resolver.entries import Entry, Kind, covered_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.name import Name
    from sennit.names.resolver.limits import ResolverLimits

__all__ = ["Denials"]

_NSEC: Final = int(RRType.NSEC)
_NSEC3: Final = int(RRType.NSEC3)
_SOA: Final = int(RRType.SOA)
_RRSIG: Final = int(RRType.RRSIG)
_SPECIAL: Final = frozenset({_NSEC, _NSEC3, _RRSIG, int(RRType.ANY)})

MOST_ITERATIONS: Final = 50
"""Additional iterations of NSEC3 with which hashes are made here (RFC 9276 §3.2)."""


class _Proof:
    """An NSEC, NSEC3 or SOA with its signatures, and when it ends."""

    __slots__ = ("expires", "record", "signatures")

    def __init__(self, record: Record, signatures: list[Record], expires: float) -> None:
        self.record = record
        self.signatures = signatures
        self.expires = expires


class _Zone:
    """What is known of one zone."""

    __slots__ = ("hashed", "keys", "proofs", "salted", "soa")

    def __init__(self) -> None:
        self.soa: _Proof | None = None
        self.hashed = False
        self.salted: tuple[int, bytes] = (0, b"")
        self.keys: list[tuple[bytes, ...]] = []
        """Owners in canonical order; hashes, in base32hex, have the order of their octets."""
        self.proofs: dict[tuple[bytes, ...], _Proof] = {}

    def forget(self) -> None:
        self.keys.clear()
        self.proofs.clear()

    def at_or_before(self, key: tuple[bytes, ...]) -> _Proof | None:
        """The proof of an owner, or of the last one before it; around the end."""
        if not self.keys:
            return None
        index = bisect_right(self.keys, key) - 1
        return self.proofs[self.keys[index]]


class Denials:
    """Proofs of absence, by zone.

    Args:
        limits: How much is kept.
    """

    def __init__(self, limits: ResolverLimits) -> None:
        self._limits = limits
        self._zones: OrderedDict[bytes, _Zone] = OrderedDict()
        self.used = 0

    def __len__(self) -> int:
        """How many records there are."""
        return sum(len(each.keys) for each in self._zones.values())

    # ── in ────────────────────────────────────────────────────────────────────

    def learn(self, zone: Name, entry: Entry, now: float) -> None:
        """Take the proofs of an absence that was validated.

        Args:
            zone: Who signed them.
            entry: The absence.
            now: The time.
        """
        if entry.security is not Security.SECURE or entry.kind is Kind.RECORDS:
            return
        signatures: dict[tuple[bytes, int], list[Record]] = {}
        for record in entry.authority:
            if record.rdtype == _RRSIG:
                key = record.name.key, covered_type(record.rdata)
                signatures.setdefault(key, []).append(record)
        known = self._zones.get(zone.key)
        if known is None:
            known = self._zones[zone.key] = _Zone()
            if len(self._zones) > self._limits.denial_zones:
                self._zones.popitem(last=False)
        else:
            self._zones.move_to_end(zone.key)
        for record in entry.authority:
            if record.rdtype not in (_NSEC, _NSEC3, _SOA) or not record.name.is_below(zone):
                continue
            signed = signatures.get((record.name.key, record.rdtype), [])
            proof = _Proof(record, signed, min(entry.expires, now + record.ttl))
            if record.rdtype == _SOA:
                if record.name == zone:
                    known.soa = proof
            else:
                self._add(known, proof)

    def _add(self, known: _Zone, proof: _Proof) -> None:
        record = proof.record
        data: Any = record.rdata  # NSEC or NSEC3: by its type
        hashed = record.rdtype == _NSEC3
        if hashed:
            salted = data.iterations, data.salt
            if data.hash_algorithm != NSEC3_SHA1 or data.iterations > MOST_ITERATIONS:
                return
            if salted != known.salted:
                known.forget()
                known.salted = salted
        if hashed != known.hashed:
            known.forget()
            known.hashed = hashed
        key = record.name.canonical
        if key not in known.proofs:
            if len(known.keys) >= self._limits.denials:
                # Whichever stands next to it: all are as good as each other.
                gone = known.keys.pop(min(bisect_left(known.keys, key), len(known.keys) - 1))
                del known.proofs[gone]
            known.keys.insert(bisect_left(known.keys, key), key)
        known.proofs[key] = proof

    # ── out ───────────────────────────────────────────────────────────────────

    def answer(self, name: Name, rdtype: int, now: float) -> Entry | None:
        """The absence of a name or type, where it is proved; else ``None``."""
        if rdtype in _SPECIAL or not self._zones:
            return None
        for zone in name.ancestors():
            known = self._zones.get(zone.key)
            if known is not None:
                return self._prove(zone, known, name, rdtype, now)
        return None

    def _prove(self, zone: Name, known: _Zone, name: Name, rdtype: int, now: float) -> Entry | None:
        if known.soa is None or known.soa.expires <= now:
            return None
        if rdtype == int(RRType.DS) and name == zone:
            return None
        made = (
            self._hashed(zone, known, name, rdtype, now)
            if known.hashed
            else self._plain(zone, known, name, rdtype, now)
        )
        if made is None:
            return None
        kind, used = made
        proofs = [known.soa, *used]
        authority: list[Record] = []
        for proof in proofs:
            authority += [proof.record, *proof.signatures]
        expires = min(each.expires for each in proofs)
        entry = Entry(kind, name, rdtype, expires - now, authority=authority, zone=zone)
        entry.expires = expires
        entry.security = Security.SECURE
        self.used += 1
        return entry

    def _plain(
        self, zone: Name, known: _Zone, name: Name, rdtype: int, now: float
    ) -> tuple[Kind, list[_Proof]] | None:
        first = known.at_or_before(name.canonical)
        if first is None or first.expires <= now:
            return None
        used = [first]
        encloser = NSECDenial(zone, _pairs(used)).encloser(name)
        wildcard = None if encloser is None else wildcard_of(encloser)
        if wildcard is not None:
            second = known.at_or_before(wildcard.canonical)
            if second is not None and second is not first and second.expires > now:
                used.append(second)
        denial = NSECDenial(zone, _pairs(used))
        if denial.absent(name) is Proof.SECURE:
            return Kind.NXDOMAIN, used
        if denial.no_data(name, rdtype) is Proof.SECURE:
            return Kind.NODATA, used
        return None

    def _hashed(
        self, zone: Name, known: _Zone, name: Name, rdtype: int, now: float
    ) -> tuple[Kind, list[_Proof]] | None:
        iterations, salt = known.salted
        used: dict[int, _Proof] = {}

        def look(wanted: Name) -> None:
            label = nsec3_label(nsec3_hash(wanted, salt, iterations))
            proof = known.at_or_before((*zone.canonical, label))
            if proof is not None and proof.expires > now:
                used[id(proof)] = proof

        for ancestor in name.ancestors():
            look(ancestor)
            if ancestor == zone:
                break
        denial = NSEC3Denial(zone, _pairs(used.values()))
        encloser = denial.encloser(name)
        wildcard = None if encloser is None else wildcard_of(encloser.name)
        if wildcard is not None:
            look(wildcard)
            denial = NSEC3Denial(zone, _pairs(used.values()))
        if denial.absent(name) is Proof.SECURE:
            return Kind.NXDOMAIN, list(used.values())
        if denial.no_data(name, rdtype) is Proof.SECURE:
            return Kind.NODATA, list(used.values())
        return None

    def flush(self, zone: Name) -> None:
        """Forget what is known of a zone and of those beneath it and above it."""
        for key in list(self._zones):
            if key.endswith(zone.key) or zone.key.endswith(key):
                del self._zones[key]

    def clear(self) -> None:
        """Forget all."""
        self._zones.clear()


def _pairs(proofs: Iterable[_Proof]) -> list[tuple[Name, Any]]:
    return [(each.record.name, each.record.rdata) for each in proofs]
