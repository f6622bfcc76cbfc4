"""Keys and certificates of services and people: TLSA, SMIMEA, SSHFP, CERT, OPENPGPKEY, CAA, DHCID.

Also HIP, whose keys come with the places that they belong to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.name import Name, read_name
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.codecs import decoded, encoded
from sennit.names.rdata.fields import (
    ALGORITHMS,
    Base64,
    Hex,
    Mnemonic,
    RestText,
    Tag,
    Uint8,
    Uint16,
)

if TYPE_CHECKING:
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["CAA", "CERT", "DHCID", "HIP", "OPENPGPKEY", "SMIMEA", "SSHFP", "TLSA"]

_CERTIFICATES: Final = {
    "PKIX": 1,
    "SPKI": 2,
    "PGP": 3,
    "IPKIX": 4,
    "ISPKI": 5,
    "IPGP": 6,
    "ACPKIX": 7,
    "IACPKIX": 8,
    "URI": 253,
    "OID": 254,
}
"""Types of certificates (RFC 4398 §2.1)."""
CertificateType = Annotated[int, Mnemonic(2, _CERTIFICATES, spoken=True)]
SpokenAlgorithm = Annotated[int, Mnemonic(1, ALGORITHMS, spoken=True)]
_FINGERPRINTS: Final = {1: 20, 2: 32}
"""Octets of a fingerprint, by its type (RFC 4255 §3.1.2, RFC 6594 §3)."""


class TLSA(Rdata, rdtype=52):
    """What a TLS server's certificate has to be (RFC 6698 §2).

    Attributes:
        usage: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
        selector: 0 the whole certificate, 1 its public key.
        matching_type: 0 the octets themselves, 1 SHA-256 of them, 2 SHA-512.
        data: What is compared.
    """

    rule = "RFC 6698 §2.1"

    usage: Uint8
    selector: Uint8
    matching_type: Uint8
    data: Hex

    def validate(self) -> None:
        """There is something to compare."""
        if not self.data:
            raise DNSUsageError("the certificate association data are empty")


class SMIMEA(TLSA, rdtype=53):
    """What the certificate of an S/MIME user has to be (RFC 8162 §2)."""


class SSHFP(Rdata, rdtype=44):
    """A fingerprint of an SSH server's key (RFC 4255 §3)."""

    rule = "RFC 4255 §3.1"

    algorithm: Uint8
    fingerprint_type: Uint8
    fingerprint: Hex

    def validate(self) -> None:
        """A fingerprint is as long as those of its type are."""
        size = _FINGERPRINTS.get(self.fingerprint_type)
        if not self.fingerprint or size not in {None, len(self.fingerprint)}:
            raise DNSUsageError(
                f"a fingerprint of type {self.fingerprint_type} has {size or 'some'} octets, "
                f"not {len(self.fingerprint)}"
            )


class CERT(Rdata, rdtype=37):
    """A certificate (RFC 4398 §2)."""

    rule = "RFC 4398 §2"

    type: CertificateType
    key_tag: Uint16
    algorithm: SpokenAlgorithm
    certificate: Base64

    def validate(self) -> None:
        """There is one."""
        if not self.certificate:
            raise DNSUsageError("there is no certificate in it")


class OPENPGPKEY(Rdata, rdtype=61):
    """A public key of OpenPGP (RFC 7929 §2)."""

    rule = "RFC 7929 §2.1"

    key: Base64

    def validate(self) -> None:
        """There is one."""
        if not self.key:
            raise DNSUsageError("there is no key in it")


class DHCID(Rdata, rdtype=49):
    """Which DHCP client a name belongs to (RFC 4701 §3)."""

    rule = "RFC 4701 §3.1"

    data: Base64

    def validate(self) -> None:
        """There is something."""
        if not self.data:
            raise DNSUsageError("there is no identifier in it")


class CAA(Rdata, rdtype=257):
    """Who may issue certificates for its owner (RFC 8659 §4).

    Attributes:
        flags: 128 is critical.
        tag: The property, ``issue`` and the like: ASCII letters and digits.
        value: Its value.
    """

    rule = "RFC 8659 §4.1"

    flags: Uint8
    tag: Tag
    value: RestText

    def validate(self) -> None:
        """The tag is a word."""
        if not (self.tag.isascii() and self.tag.isalnum()):
            raise DNSUsageError("a tag has letters and digits alone, and at least one")


class _Servers:
    """Names to the end of the data."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[tuple[Name, ...], int]:
        found: list[Name] = []
        while position < end:
            name, position = read_name(wire, position, names)
            found.append(name)
        return tuple(found), position

    def write(self, value: tuple[Name, ...], writer: Writer) -> None:
        for each in value:
            writer.plain_name(each)

    def parse(self, tokens: Tokens) -> tuple[Name, ...]:
        found: list[Name] = []
        while not tokens.at_end:
            found.append(tokens.name())
        return tuple(found)

    def format(self, value: tuple[Name, ...], origin: Name | None) -> str:
        return " ".join([each.relative_to(origin) for each in value])

    def check(self, value: Any) -> tuple[Name, ...]:
        return tuple(Name(each) if isinstance(each, str) else each for each in value)


class HIP(Rdata, rdtype=55):
    """A host's identity, and where it can be met (RFC 8005 §5).

    Attributes:
        algorithm: Of the key: 1 DSA, 2 RSA, 3 ECDSA.
        hit: The host identity tag.
        public_key: Its octets.
        servers: Rendezvous servers.
    """

    __slots__ = ("algorithm", "hit", "public_key", "servers")

    algorithm: int
    hit: bytes
    public_key: bytes
    servers: tuple[Name, ...]

    def __init__(
        self, algorithm: int, hit: bytes, public_key: bytes, servers: tuple[Name, ...] = ()
    ) -> None:
        if not 0 <= algorithm <= 255 or not 0 < len(hit) <= 255 or not public_key:
            raise DNSUsageError("a HIP record has an algorithm, a tag, and a key")
        self.algorithm = algorithm
        self.hit = bytes(hit)
        self.public_key = bytes(public_key)
        self.servers = _SERVERS.check(servers)
        self._wire = None
        if len(self.public_key) > 0xFFFF:
            raise DNSUsageError(f"a key of {len(self.public_key)} octets is too long")
        self._settle()

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The octets, lengths first."""
        if position + 4 > end:
            raise cut_off()
        algorithm = wire[position + 1]
        tag = position + 4 + wire[position]
        key = tag + int.from_bytes(wire[position + 2 : position + 4], "big")
        if key > end:
            raise cut_off()
        servers, behind = _SERVERS.read(wire, key, end, names)
        if behind != end:
            raise cut_off()
        try:
            return cls(algorithm, wire[position + 4 : tag], wire[tag:key], servers)
        except DNSUsageError as error:
            raise MessageFormatError(str(error), rule="RFC 8005 §5") from None

    def write(self, writer: Writer) -> None:
        """Append the octets."""
        writer.out += bytes((len(self.hit), self.algorithm))
        writer.out += len(self.public_key).to_bytes(2, "big") + self.hit + self.public_key
        _SERVERS.write(self.servers, writer)

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """Algorithm, tag in hex, key in base64 (one word each), servers."""
        algorithm = tokens.number(255)
        hit = decoded(tokens.text(), "hex")
        key = decoded(tokens.text(), "base64")
        servers = _SERVERS.parse(tokens)
        try:
            return cls(algorithm, hit, key, servers)
        except DNSUsageError as error:
            raise PresentationError(str(error)) from None

    def to_text(self, origin: Name | None = None) -> str:
        """Algorithm, tag in hex, key in base64, servers."""
        return (
            f"{self.algorithm} {encoded(self.hit, 'hex')} {encoded(self.public_key, 'base64')} "
            f"{_SERVERS.format(self.servers, origin)}"
        ).rstrip()

    def __repr__(self) -> str:
        return f"HIP({self.to_text()!r})"


_SERVERS: Final = _Servers()
