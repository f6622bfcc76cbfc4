"""What a signature signs: an RRset in canonical form, and when that signature is good.

`SignedSet` brings an RRset into canonical order once, however many signatures are tried on it;
`SignedSet.octets` puts the beginning of an RRSIG before it. Signer and validator share it.

Times are 32-bit seconds of the wall clock, compared in serial arithmetic: they wrap in 2106.

Sources: RFC 4034 §3.1 (RRSIG), §6 (canonical form and order), RFC 4035 §5.3 (what a validator
looks at before it verifies), RFC 1982 (serial arithmetic), RFC 6840 §5.1 (names inside NSEC).
Not here: the algorithms (``algorithms.py``), whose keys are asked (``validation.py``).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.names.errors import DNSUsageError
from sennit.names.name import trusted

if TYPE_CHECKING:
    from sennit.names.message import RRset
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import RRSIG

__all__ = [
    "MAX_SKEW",
    "SignedSet",
    "is_expanded",
    "label_count",
    "seconds_left",
    "serial_before",
    "signature_head",
    "signed_owner",
    "ttl_limit",
]

MAX_SKEW: Final = 300
"""Seconds that our clock and a signer's may differ."""

_HEAD: Final = Struct(">HBBIIIH")
_FIXED: Final = Struct(">HHI")
_HALF: Final = 1 << 31
_WHOLE: Final = 1 << 32


def serial_before(first: int, second: int) -> bool:
    """Whether `first` comes before `second` in serial arithmetic of 32 bits (RFC 1982 §3.2)."""
    return 0 < (second - first) % _WHOLE < _HALF


def seconds_left(signature: RRSIG, now: float, skew: int = MAX_SKEW) -> int:
    """For how long a signature is good.

    Args:
        signature: It.
        now: Seconds of the wall clock.
        skew: Seconds that it may be early or late.

    Returns:
        Seconds to its expiration, at least 1 while it is good; 0 when it has expired; -1 when
        its inception is yet to come.
    """
    moment = int(now)
    if serial_before((moment + skew) % _WHOLE, signature.inception):
        return -1
    expiration = signature.expiration
    if serial_before((moment - skew) % _WHOLE, expiration):
        left = (expiration - moment) % _WHOLE
        return left if 0 < left < _HALF else 1
    return 0


def ttl_limit(ttl: int, signature: RRSIG, now: float) -> int:
    """Seconds that an RRset may be kept whose signature was verified (RFC 4035 §5.3.3)."""
    return max(0, min(ttl, signature.original_ttl, seconds_left(signature, now)))


def label_count(name: Name) -> int:
    """The labels of a name as RRSIG counts them: neither the root's nor a leading ``*``."""
    count = len(name)
    return count - 1 if name.is_wildcard else count


def is_expanded(owner: Name, signature: RRSIG) -> bool:
    """Whether the records were made from a wildcard: the signature says fewer labels."""
    return signature.labels < label_count(owner)


def signed_owner(owner: Name, labels: int) -> Name | None:
    """The name that was signed (RFC 4035 §5.3.2): `owner`, or the wildcard it was made from.

    Args:
        owner: Owner of the records as they came.
        labels: The labels field of the RRSIG.

    Returns:
        The name; ``None`` where the field says more labels than there are, which no good
        signature does.
    """
    excess = label_count(owner) - labels
    if excess <= 0:
        return owner if excess == 0 else None
    key = owner.key
    position = 0
    for _ in range(len(owner) - labels):
        position += 1 + key[position]
    return trusted(b"\x01*" + key[position:])


def signature_head(signature: RRSIG) -> bytes:
    """The data of an RRSIG before the signature itself, its signer in lower case."""
    return (
        _HEAD.pack(
            signature.type_covered,
            signature.algorithm,
            signature.labels,
            signature.original_ttl,
            signature.expiration,
            signature.inception,
            signature.key_tag,
        )
        + signature.signer.key
    )


class SignedSet:
    """An RRset in canonical form and order (RFC 4034 §6.2, §6.3).

    Args:
        rrset: It; its TTL does not matter.
    """

    __slots__ = ("_datas", "rrset")

    def __init__(self, rrset: RRset) -> None:
        self.rrset = rrset
        # Sorted before the length stands in front: order is that of the data alone.
        self._datas = [
            len(data).to_bytes(2, "big") + data
            for data in sorted({each.canonical for each in rrset.rdatas})
        ]

    def octets(self, signature: RRSIG) -> bytes:
        """What `signature` signs.

        Raises:
            DNSUsageError: Its labels field says more labels than the owner has.
        """
        rrset = self.rrset
        owner = signed_owner(rrset.name, signature.labels)
        if owner is None:
            raise DNSUsageError(f"{rrset.name} does not have {signature.labels} labels")
        before = owner.key + _FIXED.pack(rrset.rdtype, rrset.rdclass, signature.original_ttl)
        return signature_head(signature) + b"".join([before + data for data in self._datas])
