"""Keys of zones: a private key with what DNS says of it, and how it is kept in files.

A `ZoneKey` signs RRsets. The text form of its private half is the one that BIND's and ldns's
tools write (``Private-key-format``), so that keys can be taken over from them and given back:
lines of a field and its value, in base64 where it is octets; fields about times are kept apart
(`private_fields`), they are for whoever keeps the files.

Sources: RFC 4034 §2, §3; for the private format there is no RFC beyond the examples in RFC 5702
§6, RFC 6605 §6 and RFC 8080 §6.
Not here: when which key signs what (``signing.py``, ``rollover.py``).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from sennit.core.errors import MissingExtraError
from sennit.names.codes import RRType
from sennit.names.dnssec.algorithms import PrivateKey
from sennit.names.dnssec.canonical import SignedSet, label_count
from sennit.names.dnssec.digests import ds_for
from sennit.names.dnssec.numbers import DNSKEY_PROTOCOL, REVOKE, SEP, ZONE_KEY, algorithm_text
from sennit.names.errors import DNSUsageError
from sennit.names.rdata.dnssec import DNSKEY, RRSIG

try:
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-names", "dnssec") from error

if TYPE_CHECKING:
    from sennit.names.message import RRset
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import DS

__all__ = ["ZoneKey", "private_fields", "private_from_text", "private_to_text"]

_RSA_FIELDS: Final = (
    "Modulus",
    "PublicExponent",
    "PrivateExponent",
    "Prime1",
    "Prime2",
    "Exponent1",
    "Exponent2",
    "Coefficient",
)


class ZoneKey:
    """A key of a zone that can sign.

    Args:
        zone: The zone's name.
        private: The key.
        flags: Of its DNSKEY: `ZONE_KEY`, and `SEP` for one that signs the other keys.

    Attributes:
        dnskey: Its record.
        tag: Its tag.
    """

    __slots__ = ("dnskey", "private", "tag", "zone")

    def __init__(self, zone: Name, private: PrivateKey, flags: int = ZONE_KEY) -> None:
        self.zone = zone
        self.private = private
        self.dnskey = DNSKEY(flags, DNSKEY_PROTOCOL, private.algorithm, private.octets)
        self.tag = self.dnskey.key_tag

    @classmethod
    def generate(
        cls, zone: Name, algorithm: int, *, sep: bool = False, bits: int = 2048
    ) -> ZoneKey:
        """A new key; `bits` are those of RSA.

        Raises:
            DNSUsageError: The algorithm is not supported.
        """
        private = PrivateKey.generate(algorithm, bits)
        return cls(zone, private, ZONE_KEY | (SEP if sep else 0))

    @property
    def algorithm(self) -> int:
        """Number of its algorithm."""
        return self.private.algorithm

    @property
    def is_sep(self) -> bool:
        """Whether DS records and trust anchors speak of it."""
        return bool(self.dnskey.flags & SEP)

    def revoked(self) -> ZoneKey:
        """The same key, declared to be trusted no more (RFC 5011 §2.1); its tag is another."""
        return ZoneKey(self.zone, self.private, self.dnskey.flags | REVOKE)

    def ds(self, digest_type: int = 2) -> DS:
        """The DS record that the parent has of it."""
        return ds_for(self.zone, self.dnskey, digest_type)

    def sign(self, rrset: RRset, inception: int, expiration: int) -> RRSIG:
        """The signature of an RRset.

        Args:
            rrset: It, with the TTL that the zone gives it; of a wildcard its own records.
            inception: Seconds of the wall clock from which the signature is good.
            expiration: Seconds until which it is.

        Raises:
            DNSUsageError: The RRset is not of this zone, or of a type that is not signed.
        """
        if not rrset.name.is_below(self.zone):
            raise DNSUsageError(f"{rrset.name} is not in {self.zone}")
        if rrset.rdtype == RRType.RRSIG:
            raise DNSUsageError("signatures are not signed (RFC 4035 §2.2)")

        def signature(octets: bytes) -> RRSIG:
            return RRSIG(
                rrset.rdtype,
                self.algorithm,
                label_count(rrset.name),
                rrset.ttl,
                expiration % (1 << 32),
                inception % (1 << 32),
                self.tag,
                self.zone,
                octets,
            )

        return signature(self.private.sign(SignedSet(rrset).octets(signature(b"\0"))))

    def __repr__(self) -> str:
        return f"<ZoneKey {self.zone} {algorithm_text(self.algorithm)} {self.tag}>"


def private_fields(text: str) -> dict[str, str]:
    """The lines of a private key file: fields with their values, times among them.

    Raises:
        DNSUsageError: It is no such file.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        field, colon, value = line.partition(":")
        if not line.strip() or line.startswith(";"):
            continue
        if not colon:
            raise DNSUsageError("a line of a private key without ':'")  # not shown: it is secret
        fields[field.strip()] = value.strip()
    if not fields.get("Private-key-format", "").startswith("v1."):
        raise DNSUsageError("no private key: its first line is Private-key-format: v1.…")
    return fields


def private_from_text(text: str) -> PrivateKey:
    """The key in a file that BIND's or ldns's tools wrote.

    Raises:
        DNSUsageError: It is no such file, or of an algorithm that is not supported.
    """
    fields = private_fields(text)
    number = fields.get("Algorithm", "").split(" ")[0]
    if not (number.isascii() and number.isdigit() and len(number) <= 3):
        raise DNSUsageError("a private key without the number of its algorithm")
    algorithm = int(number)
    if "PrivateKey" in fields:
        return PrivateKey.from_secret(algorithm, _octets(fields, "PrivateKey"))
    numbers = {name: int.from_bytes(_octets(fields, name), "big") for name in _RSA_FIELDS}
    try:
        key = rsa.RSAPrivateNumbers(
            p=numbers["Prime1"],
            q=numbers["Prime2"],
            d=numbers["PrivateExponent"],
            dmp1=numbers["Exponent1"],
            dmq1=numbers["Exponent2"],
            iqmp=numbers["Coefficient"],
            public_numbers=rsa.RSAPublicNumbers(numbers["PublicExponent"], numbers["Modulus"]),
        ).private_key()
    except ValueError as error:
        raise DNSUsageError("the numbers of a private key of RSA do not agree") from error
    return PrivateKey(algorithm, key)


def _octets(fields: dict[str, str], name: str) -> bytes:
    if name not in fields:
        raise DNSUsageError(f"a private key without {name}")
    try:
        return base64.b64decode(fields[name], validate=True)
    except binascii.Error:
        raise DNSUsageError(f"{name} of a private key is no base64") from None


def private_to_text(key: PrivateKey) -> str:
    """A key as BIND's and ldns's tools read it; lines about times may be put behind it."""
    lines = [
        "Private-key-format: v1.3",
        f"Algorithm: {key.algorithm} ({algorithm_text(key.algorithm)})",
    ]
    if isinstance(key.key, rsa.RSAPrivateKey):
        numbers = key.key.private_numbers()
        values = (
            numbers.public_numbers.n,
            numbers.public_numbers.e,
            numbers.d,
            numbers.p,
            numbers.q,
            numbers.dmp1,
            numbers.dmq1,
            numbers.iqmp,
        )
        for name, value in zip(_RSA_FIELDS, values, strict=True):
            octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
            lines.append(f"{name}: {base64.b64encode(octets).decode()}")
    else:
        lines.append(f"PrivateKey: {base64.b64encode(key.secret()).decode()}")
    return "\n".join(lines) + "\n"
