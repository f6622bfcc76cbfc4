"""Proofs that something does not exist, out of NSEC or NSEC3 records: functions without I/O.

A `NSECDenial` or `NSEC3Denial` holds records of one zone whose signatures were verified, and
says what they prove of a name. Both answer alike: `absent` (no such name), `no_data` (the name
has no such type, a wildcard that matches it included), `expansion` (an answer made from a
wildcard, to which nothing stood closer) and `no_ds` (what stands where a zone might begin).

The same answers serve aggressive use (RFC 8198): a cache gathers records that it knows to be
secure, asks one of these classes, and takes `Proof.SECURE` alone for an answer of its own.

Sources: RFC 4035 §5.4, RFC 5155 §8 and §9.2, RFC 6840 §4 (records of an ancestor's side),
RFC 7129 (in prose), RFC 9276 §3.2 (iterations).
Not here: signatures (``validation.py``); making such records (``signing.py``).
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum
from hashlib import sha1
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.codes import RRType
from sennit.names.dnssec.numbers import NSEC3_SHA1, OPT_OUT
from sennit.names.name import trusted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sennit.names.dnssec.limits import Work
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import NSEC, NSEC3

__all__ = [
    "Cut",
    "Encloser",
    "NSEC3Denial",
    "NSECDenial",
    "Proof",
    "hash_of_label",
    "nsec3_hash",
    "nsec3_label",
    "nsec_covers",
    "wildcard_of",
]

_NS: Final = int(RRType.NS)
_CNAME: Final = int(RRType.CNAME)
_SOA: Final = int(RRType.SOA)
_DS: Final = int(RRType.DS)
_DNAME: Final = int(RRType.DNAME)
_ANY: Final = int(RRType.ANY)
_OWN_TYPES: Final = frozenset((int(RRType.RRSIG), int(RRType.NSEC)))


class Proof(Enum):
    """What records say to a claim of absence.

    Attributes:
        NONE: They do not prove it.
        SECURE: They do.
        INSECURE: They would, but for unsigned delegations that they leave room for (opt-out).
    """

    NONE = "none"
    SECURE = "secure"
    INSECURE = "insecure"


class Cut(Enum):
    """What stands at a name that has no DS.

    Attributes:
        UNKNOWN: Nothing is proven.
        NONE: No zone begins there.
        ABSENT: There is no such name, nor any beneath it.
        INSECURE: An unsigned zone begins there, or may (opt-out).
    """

    UNKNOWN = "unknown"
    NONE = "none"
    ABSENT = "absent"
    INSECURE = "insecure"


class Encloser(NamedTuple):
    """The deepest name that exists above one that does not (RFC 5155 §8.3).

    Attributes:
        name: It.
        next_closer: The name one label longer, on the way to the one that was asked for.
        opt_out: Whether what covers `next_closer` leaves room for unsigned delegations.
    """

    name: Name
    next_closer: Name
    opt_out: bool


def wildcard_of(name: Name) -> Name | None:
    """``*`` beneath a name; ``None`` where that would be too long."""
    wire = b"\x01*" + name.key
    return trusted(wire) if len(wire) <= 255 else None


def nsec_covers(owner: Name, following: Name, name: Name) -> bool:
    """Whether `name` stands between an NSEC's owner and the next name, in canonical order.

    The last NSEC of a zone leads back to its first name, so that all behind it is covered; it
    is for the caller to see that `name` is in the zone.
    """
    first, last, wanted = owner.canonical, following.canonical, name.canonical
    if first < last:
        return first < wanted < last
    return first < wanted or wanted < last


def _lacks(types: Collection[int], rdtype: int, name: Name) -> bool:
    """Whether a name whose types these are has no `rdtype`, and this side of a cut may say so."""
    if rdtype == _DS:
        # Only the parent knows; the root has none (RFC 4035 §5.2, RFC 6840 §4.1).
        if _SOA in types and not name.is_root:
            return False
    elif _NS in types and _SOA not in types:
        return False  # the child knows
    if rdtype == _ANY:
        return _OWN_TYPES.issuperset(types)
    return rdtype not in types and _CNAME not in types


def _shared(name: Name, other: Name) -> Name:
    """The deepest name above both, or either."""
    above = {each.key for each in other.ancestors()}
    return next(each for each in name.ancestors() if each.key in above)


class NSECDenial:
    """Proofs out of NSEC records.

    Args:
        zone: The zone that signed them; records of other owners are left out.
        records: Owners and data, verified, none of them made from a wildcard.
    """

    __slots__ = ("records", "zone")

    def __init__(self, zone: Name, records: Iterable[tuple[Name, NSEC]]) -> None:
        self.zone = zone
        self.records = [(owner, data) for owner, data in records if owner.is_below(zone)]

    def matching(self, name: Name) -> NSEC | None:
        """The record of `name` itself."""
        return next((data for owner, data in self.records if owner == name), None)

    def covering(self, name: Name) -> tuple[Name, NSEC] | None:
        """The record between whose names `name` would stand, if it may speak of it.

        The record of a delegation (NS without SOA) or of a DNAME says nothing about names
        beneath its owner (RFC 6840 §4.1).
        """
        if not name.is_below(self.zone):
            return None
        for owner, data in self.records:
            if not nsec_covers(owner, data.next_name, name):
                continue
            types = data.types
            if name.is_below(owner) and (_DNAME in types or (_NS in types and _SOA not in types)):
                continue
            return owner, data
        return None

    def encloser(self, name: Name) -> Name | None:
        """The deepest name above `name` that exists; ``None`` where `name` is not covered."""
        found = self.covering(name)
        if found is None:
            return None
        owner, data = found
        return max(_shared(name, owner), _shared(name, data.next_name), key=len)

    def absent(self, name: Name) -> Proof:
        """That there is no `name`, and no wildcard it could have been made from."""
        encloser = self.encloser(name)
        if encloser is None or encloser == name:  # it has names beneath it: it exists
            return Proof.NONE
        wildcard = wildcard_of(encloser)
        # A wildcard that has but names beneath it is there, and matches (RFC 4592 §2.2.2).
        return _proof(wildcard is None or self.encloser(wildcard) not in (None, wildcard))

    def no_data(self, name: Name, rdtype: int) -> Proof:
        """That `name`, or the wildcard that stands for it, has no `rdtype` and no CNAME."""
        own = self.matching(name)
        if own is not None:
            return _proof(_lacks(own.types, rdtype, name))
        encloser = self.encloser(name)
        if encloser is None:
            return Proof.NONE
        if encloser == name:  # an empty non-terminal has nothing at all
            return Proof.SECURE
        wildcard = wildcard_of(encloser)
        if wildcard is None:
            return Proof.NONE
        star = self.matching(wildcard)
        if star is None:
            return _proof(self.encloser(wildcard) == wildcard)
        return _proof(_lacks(star.types, rdtype, name))

    def expansion(self, name: Name, encloser: Name) -> Proof:
        """That nothing stood closer to `name` than the wildcard beneath `encloser`."""
        return _proof(self.encloser(name) == encloser)

    def no_ds(self, name: Name) -> Cut:
        """What stands at `name`, which has no DS."""
        own = self.matching(name)
        if own is not None:
            if not _lacks(own.types, _DS, name):
                # A CNAME stands at no cut; the child's own record says nothing of it.
                return Cut.NONE if _CNAME in own.types and _NS not in own.types else Cut.UNKNOWN
            return Cut.INSECURE if _NS in own.types else Cut.NONE
        encloser = self.encloser(name)
        if encloser is None:
            return Cut.UNKNOWN
        if encloser == name:
            return Cut.NONE
        if self.absent(name) is Proof.SECURE:
            return Cut.ABSENT
        return Cut.NONE if self.no_data(name, _DS) is Proof.SECURE else Cut.UNKNOWN


def _proof(holds: bool) -> Proof:
    return Proof.SECURE if holds else Proof.NONE


def nsec3_hash(name: Name, salt: bytes, iterations: int) -> bytes:
    """The hash of a name, with SHA-1 (RFC 5155 §5)."""
    digest = sha1(name.key + salt, usedforsecurity=False).digest()
    for _ in range(iterations):
        digest = sha1(digest + salt, usedforsecurity=False).digest()
    return digest


def nsec3_label(digest: bytes) -> bytes:
    """A hash as the first label of an owner: base32hex in lower case, without padding."""
    return base64.b32hexencode(digest).rstrip(b"=").lower()


def hash_of_label(label: bytes) -> bytes | None:
    """The hash that a label spells; ``None`` for none."""
    try:
        digest = base64.b32hexdecode(label + b"=" * (-len(label) % 8), casefold=True)
    except (ValueError, binascii.Error):
        return None
    return digest if len(digest) == 20 else None


class NSEC3Denial:
    """Proofs out of NSEC3 records (sections are those of RFC 5155).

    Those of an unknown hash or with unknown flags are left out (RFC 5155 §8.1, §8.2), and so
    are those that have other parameters than the first.

    Args:
        zone: The zone that signed them; records that are not directly beneath it are left out.
        records: Owners and data, verified, none of them made from a wildcard.
        work: Counts the names that are hashed; ``None`` where nobody limits them.

    Attributes:
        iterations: The additional iterations of the hash, 0 where there are no records.
        salt: Its salt.
    """

    __slots__ = ("_hashes", "_work", "iterations", "records", "salt", "zone")

    def __init__(
        self, zone: Name, records: Iterable[tuple[Name, NSEC3]], work: Work | None = None
    ) -> None:
        self.zone = zone
        self.iterations = 0
        self.salt = b""
        self.records: list[tuple[bytes, NSEC3]] = []
        self._hashes: dict[Name, bytes] = {}
        self._work = work
        for owner, data in records:
            if data.hash_algorithm != NSEC3_SHA1 or data.flags & ~OPT_OUT or owner.is_root:
                continue
            digest = hash_of_label(owner.labels[0])
            if digest is None or owner.parent != zone:
                continue
            if not self.records:
                self.iterations, self.salt = data.iterations, data.salt
            elif (data.iterations, data.salt) != (self.iterations, self.salt):
                continue
            self.records.append((digest, data))

    def digest(self, name: Name) -> bytes:
        """The hash of a name, made once.

        Raises:
            TooMuchWorkError: Too many were made for this answer.
        """
        found = self._hashes.get(name)
        if found is None:
            if self._work is not None:
                self._work.hash()
            found = self._hashes[name] = nsec3_hash(name, self.salt, self.iterations)
        return found

    def matching(self, name: Name) -> NSEC3 | None:
        """The record of `name` itself."""
        if not self.records or not name.is_below(self.zone):
            return None
        digest = self.digest(name)
        return next((data for first, data in self.records if first == digest), None)

    def covering(self, name: Name) -> NSEC3 | None:
        """The record between whose hashes that of `name` would stand."""
        if not self.records or not name.is_below(self.zone):
            return None
        digest = self.digest(name)
        for first, data in self.records:
            last = data.next_hashed
            if first < digest < last or (last <= first and (first < digest or digest < last)):
                return data
        return None

    def encloser(self, name: Name) -> Encloser | None:
        """The deepest name above `name`, which does not exist, that does (RFC 5155 §8.3)."""
        closer: Name | None = None
        for each in name.ancestors():
            if not each.is_below(self.zone):
                return None
            found = self.matching(each)
            if found is None:
                closer = each
                continue
            types = found.types
            if closer is None or _DNAME in types or (_NS in types and _SOA not in types):
                return None
            cover = self.covering(closer)
            if cover is None:
                return None
            return Encloser(each, closer, bool(cover.flags & OPT_OUT))
        return None

    def absent(self, name: Name) -> Proof:
        """That there is no `name`, and no wildcard it could have been made from (§8.4)."""
        encloser = self.encloser(name)
        if encloser is None:
            return Proof.NONE
        wildcard = wildcard_of(encloser.name)
        if wildcard is not None and self.covering(wildcard) is None:
            return Proof.NONE
        return Proof.INSECURE if encloser.opt_out else Proof.SECURE

    def no_data(self, name: Name, rdtype: int) -> Proof:
        """That `name`, or the wildcard for it, has no `rdtype` and no CNAME (§8.5 to §8.7)."""
        own = self.matching(name)
        if own is not None:
            return _proof(_lacks(own.types, rdtype, name))
        encloser = self.encloser(name)
        if encloser is None:
            return Proof.NONE
        wildcard = wildcard_of(encloser.name)
        star = None if wildcard is None else self.matching(wildcard)
        if star is not None and _lacks(star.types, rdtype, name):
            return Proof.INSECURE if encloser.opt_out else Proof.SECURE
        # An unsigned delegation has no record of its own; nor has, in an opt-out span, an empty
        # non-terminal that leads to nothing but such delegations (RFC 5155 §7.1, erratum 3441).
        return Proof.INSECURE if encloser.opt_out else Proof.NONE

    def expansion(self, name: Name, encloser: Name) -> Proof:
        """That nothing stood closer to `name` than the wildcard beneath `encloser` (§8.8)."""
        closer = next((each for each in name.ancestors() if len(each) == len(encloser) + 1), None)
        cover = None if closer is None else self.covering(closer)
        if cover is None:
            return Proof.NONE
        return Proof.INSECURE if cover.flags & OPT_OUT else Proof.SECURE

    def no_ds(self, name: Name) -> Cut:
        """What stands at `name`, which has no DS (§8.6, §8.9)."""
        own = self.matching(name)
        if own is not None:
            if not _lacks(own.types, _DS, name):
                return Cut.NONE if _CNAME in own.types and _NS not in own.types else Cut.UNKNOWN
            return Cut.INSECURE if _NS in own.types else Cut.NONE
        encloser = self.encloser(name)
        if encloser is None:
            return Cut.UNKNOWN
        if encloser.opt_out:
            return Cut.INSECURE
        if self.absent(name) is Proof.SECURE:
            return Cut.ABSENT
        return Cut.NONE if self.no_data(name, _DS) is Proof.SECURE else Cut.UNKNOWN
