"""One RRset against the keys of one zone: which of its signatures is good, if any.

What costs little is looked at first (RFC 4035 §5.3.1): who signed, for how many labels, when,
with which key. Only what passes is verified, and every try counts (``limits.py``).

Sources: RFC 4035 §5.3, RFC 6840 §5.4 and §5.12, RFC 5011 §2.1 (revoked keys sign nothing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.names.codes import EDE, RRType, type_text
from sennit.names.dnssec.algorithms import SUPPORTED, PublicKey
from sennit.names.dnssec.canonical import SignedSet, label_count, seconds_left
from sennit.names.dnssec.numbers import DNSKEY_PROTOCOL, REVOKE, ZONE_KEY
from sennit.names.errors import MessageFormatError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sennit.names.dnssec.limits import Work
    from sennit.names.message import RRset
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import DNSKEY, RRSIG

__all__ = ["ZoneKeys", "is_zone_key", "verify_rrset"]

_NEVER_EXPANDED = frozenset(map(int, (RRType.DS, RRType.DNSKEY, RRType.NSEC, RRType.NSEC3)))
"""Types that prove what they prove for their own name alone, not out of a wildcard."""


def is_zone_key(key: DNSKEY, *, revoked: bool = False) -> bool:
    """Whether a DNSKEY may verify the records of its zone; or, revoked, its own revocation."""
    return (
        key.flags & (ZONE_KEY | REVOKE) == (ZONE_KEY | REVOKE if revoked else ZONE_KEY)
        and key.protocol == DNSKEY_PROTOCOL
        and key.algorithm in SUPPORTED
    )


class ZoneKeys:
    """The keys of a zone that verify its records; each is loaded when a signature names it.

    Args:
        zone: The zone.
        records: Its DNSKEY records; those that may not verify are left out.
        revoked: Whether they are revoked ones, which verify their revocation (RFC 5011 §2.1).
    """

    __slots__ = ("_loaded", "_records", "zone")

    def __init__(self, zone: Name, records: Iterable[DNSKEY], *, revoked: bool = False) -> None:
        self.zone = zone
        self._records: dict[tuple[int, int], list[DNSKEY]] = {}
        self._loaded: dict[bytes, PublicKey | None] = {}
        for each in records:
            if is_zone_key(each, revoked=revoked):
                self._records.setdefault((each.key_tag, each.algorithm), []).append(each)

    def candidates(self, signature: RRSIG, most: int) -> list[PublicKey]:
        """The keys that may have made a signature, at most so many of them."""
        named = self._records.get((signature.key_tag, signature.algorithm), ())
        return [key for each in named[:most] if (key := self._load(each)) is not None]

    def _load(self, record: DNSKEY) -> PublicKey | None:
        wire = record.wire
        if wire not in self._loaded:
            try:
                self._loaded[wire] = PublicKey(record.algorithm, record.public_key)
            except MessageFormatError:
                self._loaded[wire] = None
        return self._loaded[wire]

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))


def verify_rrset(
    rrset: RRset,
    signatures: Sequence[RRSIG],
    keys: ZoneKeys,
    *,
    now: float,
    work: Work,
    algorithms: Collection[int],
) -> RRSIG:
    """The signature that proves an RRset.

    Args:
        rrset: It.
        signatures: Signatures that came with it; those of others are passed over.
        keys: The keys of the zone that it is to be signed by.
        now: Seconds of the wall clock.
        work: Counts what is tried.
        algorithms: Those that count.

    Raises:
        ValidationError: None does.
    """
    what = f"{rrset.name} {type_text(rrset.rdtype)}"
    code, reason = EDE.RRSIGS_MISSING, f"{what} is not signed by {keys.zone}"
    limits = work.limits
    canonical: SignedSet | None = None
    looked_at = 0
    for signature in signatures:
        if (
            signature.type_covered != rrset.rdtype
            or signature.signer != keys.zone
            or signature.algorithm not in algorithms
        ):
            continue
        looked_at += 1
        if looked_at > limits.signatures_per_rrset:
            break
        labels = label_count(rrset.name)
        if signature.labels > labels or (
            signature.labels < labels and rrset.rdtype in _NEVER_EXPANDED
        ):
            code, reason = EDE.DNSSEC_BOGUS, f"{what} is signed for another name"
            continue
        left = seconds_left(signature, now)
        if left <= 0:
            code, reason = (
                (EDE.SIGNATURE_EXPIRED, f"the signature of {what} has expired")
                if left == 0
                else (
                    EDE.SIGNATURE_NOT_YET_VALID,
                    f"the signature of {what} is not valid yet",
                )
            )
            continue
        candidates = keys.candidates(signature, limits.keys_per_tag)
        if not candidates:
            code = EDE.DNSKEY_MISSING
            reason = f"{keys.zone} has no key {signature.key_tag} that signed {what}"
            continue
        if canonical is None:
            canonical = SignedSet(rrset)
        octets = canonical.octets(signature)
        for key in candidates:
            work.signature()
            if key.verify(signature.signature, octets):
                return signature
            work.failure()
            code, reason = EDE.DNSSEC_BOGUS, f"the signature of {what} is wrong"
    raise ValidationError(reason, code)
