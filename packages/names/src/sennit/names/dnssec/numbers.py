"""The numbers of DNSSEC: algorithms, digests, flags of keys; which of them count.

Sources: the IANA registries "DNS Security Algorithm Numbers" and "DNSSEC Delegation Signer (DS)
Resource Record (RR) Type Digest Algorithms", RFC 4034 §2.1.1, RFC 5011 §7, RFC 9905 (SHA-1).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "ALGORITHMS",
    "DIGESTS",
    "DNSKEY_PROTOCOL",
    "NSEC3_SHA1",
    "OPT_OUT",
    "REVOKE",
    "SEP",
    "SHA1_ALGORITHMS",
    "SHA1_DIGESTS",
    "ZONE_KEY",
    "Algorithm",
    "DigestType",
    "algorithm_text",
]


class Algorithm(IntEnum):
    """Algorithms of keys and signatures; those that are supported here, and a few known by name."""

    DELETE = 0
    RSAMD5 = 1
    DSA = 3
    RSASHA1 = 5
    DSA_NSEC3_SHA1 = 6
    RSASHA1_NSEC3_SHA1 = 7
    RSASHA256 = 8
    RSASHA512 = 10
    ECC_GOST = 12
    ECDSAP256SHA256 = 13
    ECDSAP384SHA384 = 14
    ED25519 = 15
    ED448 = 16
    PRIVATEDNS = 253
    PRIVATEOID = 254


class DigestType(IntEnum):
    """Digests of DS records."""

    SHA1 = 1
    SHA256 = 2
    GOST = 3
    SHA384 = 4


ALGORITHMS: Final = frozenset({8, 10, 13, 14, 15, 16})
"""Algorithms that make a zone secure, unless a program says otherwise."""
DIGESTS: Final = frozenset({2, 4})
"""Digests of DS that count, unless a program says otherwise."""
SHA1_ALGORITHMS: Final = frozenset({5, 7})
"""Algorithms that can be verified, and count only where a program says so (RFC 9905 §2)."""
SHA1_DIGESTS: Final = frozenset({1})
"""The digest of which the same is true."""

ZONE_KEY: Final = 0x0100
"""Flag of a DNSKEY: it signs the records of a zone."""
REVOKE: Final = 0x0080
"""Flag of a DNSKEY: it is trusted no more (RFC 5011 §2.1)."""
SEP: Final = 0x0001
"""Flag of a DNSKEY: it is what DS records and trust anchors speak of (RFC 3757)."""
DNSKEY_PROTOCOL: Final = 3
"""The one value of a DNSKEY's protocol field (RFC 4034 §2.1.2)."""
NSEC3_SHA1: Final = 1
"""The one hash of NSEC3 (RFC 5155 §11)."""
OPT_OUT: Final = 0x01
"""Flag of an NSEC3: unsigned delegations may stand between it and the next (RFC 5155 §3.1.2.1)."""


def algorithm_text(number: int) -> str:
    """``ECDSAP256SHA256``, or ``ALGORITHM99`` for what has no name here."""
    try:
        return Algorithm(number).name.replace("_", "-")
    except ValueError:
        return f"ALGORITHM{number}"
