"""The records of DNSSEC: keys, signatures, delegations and proofs of what is not there.

They are data here; what they prove is for ``dnssec/``.

Sources: RFC 4034, RFC 5155, RFC 7344 (CDS, CDNSKEY), RFC 8078 (to delete a DS), RFC 4431 (DLV),
RFC 2535 and RFC 2931 (KEY and SIG, which SIG(0) uses), RFC 3755.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Self

from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.name import read_name
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.bitmap import Types, types_of
from sennit.names.rdata.fields import (
    Algorithm,
    Base64,
    CountedBase32,
    CountedHex,
    Hex,
    LowerName,
    PlainName,
    Timestamp,
    TypeNumber,
    Uint8,
    Uint16,
    Uint32,
)

if TYPE_CHECKING:
    from sennit.names.name import Name

__all__ = [
    "CDNSKEY",
    "CDS",
    "DLV",
    "DNSKEY",
    "DS",
    "KEY",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "RRSIG",
    "SIG",
]

_DIGEST_SIZES: Final = {1: 20, 2: 32, 3: 32, 4: 48}
"""Octets of a digest, by its type (RFC 4034 §A.2, RFC 4509, RFC 5933, RFC 6605)."""
_SIGNED: Final = Struct(">HBBIIIH")
_NO_KEY: Final = 0xC000
"""The flags of a KEY that holds none (RFC 2535 §3.1.2)."""


class DS(Rdata, rdtype=43):
    """The key that a delegation is signed with (RFC 4034 §5).

    Attributes:
        key_tag: What narrows the search for the key.
        algorithm: The key's algorithm.
        digest_type: How `digest` was made.
        digest: Of the key's owner and data.
    """

    rule = "RFC 4034 §5.1.4"

    key_tag: Uint16
    algorithm: Algorithm
    digest_type: Uint8
    digest: Hex

    def validate(self) -> None:
        """A digest is as long as those of its type are."""
        size = _DIGEST_SIZES.get(self.digest_type)
        if not self.digest or size not in {None, len(self.digest)}:
            raise DNSUsageError(
                f"a digest of type {self.digest_type} has {size or 'some'} octets, "
                f"not {len(self.digest)}"
            )


class CDS(DS, rdtype=59):
    """The DS that a zone wants its parent to have (RFC 7344 §3.1); ``0 0 0 00``: none."""


class DLV(DS, rdtype=32769):
    """A DS outside of the parent (RFC 4431)."""


class DNSKEY(Rdata, rdtype=48):
    """A public key of a zone (RFC 4034 §2).

    Attributes:
        flags: 256 is a zone's key; 257 one that a DS may speak of; 128 marks a revoked one.
        protocol: 3.
        algorithm: Its number in the registry of DNSSEC's algorithms.
        public_key: Its octets, whose form the algorithm says.
    """

    rule = "RFC 4034 §2.1.4"

    flags: Uint16
    protocol: Uint8
    algorithm: Algorithm
    public_key: Base64

    def validate(self) -> None:
        """There is a key."""
        if not self.public_key and self.flags & _NO_KEY != _NO_KEY:
            raise DNSUsageError("there is no key in it")

    @property
    def key_tag(self) -> int:
        """The number by which RRSIG and DS name the key (RFC 4034 appendix B)."""
        if self.algorithm == 1:
            return int.from_bytes(self.public_key[-3:-1], "big")
        wire = self.wire
        total = sum(wire[::2]) * 256 + sum(wire[1::2])
        return (total + (total >> 16)) & 0xFFFF


class CDNSKEY(DNSKEY, rdtype=60):
    """The key that a zone wants its parent to make a DS of (RFC 7344 §3.2)."""


class KEY(DNSKEY, rdtype=25):
    """A public key of a host or person, for SIG(0) (RFC 2535 §3, RFC 3445)."""


class RRSIG(Rdata, rdtype=46):
    """A signature over an RRset (RFC 4034 §3).

    Attributes:
        type_covered: The type of the RRset.
        algorithm: The key's algorithm.
        labels: Labels of the owner, without the root's and a wildcard's.
        original_ttl: The TTL that was signed, in seconds.
        expiration: When it ends: seconds since 1970, modulo 2**32 (RFC 1982).
        inception: When it begins, likewise.
        key_tag: What narrows the search for the key.
        signer: The zone that signed.
        signature: Its octets.
    """

    rule = "RFC 4034 §3.1.8"

    type_covered: TypeNumber
    algorithm: Algorithm
    labels: Uint8
    original_ttl: Uint32
    expiration: Timestamp
    inception: Timestamp
    key_tag: Uint16
    signer: LowerName
    signature: Base64

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """By hand what the declaration says: signed answers are half signatures."""
        if position + 18 > end:
            raise cut_off()
        signer, behind = read_name(wire, position + 18, names)
        if behind >= end:
            raise MessageFormatError("there is no signature in it", rule=cls.rule)
        self: Self = object.__new__(cls)
        (
            self.type_covered,
            self.algorithm,
            self.labels,
            self.original_ttl,
            self.expiration,
            self.inception,
            self.key_tag,
        ) = _SIGNED.unpack_from(wire, position)
        self.signer = signer
        self.signature = wire[behind:end]
        self._wire = None
        return self

    def validate(self) -> None:
        """There is a signature."""
        if not self.signature:
            raise DNSUsageError("there is no signature in it")


class SIG(RRSIG, rdtype=24):
    """A signature over a message (SIG(0), RFC 2931)."""


class NSEC(Rdata, rdtype=47):
    """The next name of a zone, and what its owner has (RFC 4034 §4).

    Attributes:
        next_name: The next owner in canonical order.
        types: Types at the owner, ascending.
    """

    next_name: PlainName
    types: Types


class NSEC3(Rdata, rdtype=50):
    """The next hashed name of a zone, and what the one that its owner stands for has (RFC 5155 §3).

    Attributes:
        hash_algorithm: 1 is SHA-1.
        flags: 1 is opt-out.
        iterations: Additional times that a name is hashed.
        salt: What is hashed with it.
        next_hashed: The next hash in order.
        types: Types at the name, ascending.
    """

    rule = "RFC 5155 §3.2"

    hash_algorithm: Uint8
    flags: Uint8
    iterations: Uint16
    salt: CountedHex
    next_hashed: CountedBase32
    types: Types

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """By hand what the declaration says: a signed NXDOMAIN has three of them."""
        salt = position + 5
        if salt > end:
            raise cut_off()
        behind_salt = salt + wire[position + 4]
        if behind_salt >= end:
            raise cut_off()
        behind = behind_salt + 1 + wire[behind_salt]
        if behind > end or behind == behind_salt + 1:
            raise MessageFormatError("there is no hash in it", rule=cls.rule)
        self: Self = object.__new__(cls)
        self.hash_algorithm = wire[position]
        self.flags = wire[position + 1]
        self.iterations = wire[position + 2] << 8 | wire[position + 3]
        self.salt = wire[salt:behind_salt]
        self.next_hashed = wire[behind_salt + 1 : behind]
        self.types = types_of(wire[behind:end])
        self._wire = wire[position:end]
        return self

    def validate(self) -> None:
        """There is a hash."""
        if not self.next_hashed:
            raise DNSUsageError("there is no hash in it")


class NSEC3PARAM(Rdata, rdtype=51):
    """How a zone's names are hashed (RFC 5155 §4).

    Attributes:
        hash_algorithm: 1 is SHA-1.
        flags: 0.
        iterations: Additional times that a name is hashed.
        salt: What is hashed with it.
    """

    hash_algorithm: Uint8
    flags: Uint8
    iterations: Uint16
    salt: CountedHex
