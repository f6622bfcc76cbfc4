"""The algorithms of DNSSEC: keys and signatures in the octets of DNSKEY and RRSIG.

A `PublicKey` is read out of the octets of a DNSKEY and verifies; a `PrivateKey` is made, or read
from PEM or from its numbers, and signs. Both know nothing of records: what is signed comes from
``canonical.py``, and which keys are asked from ``validation.py``.

Keys that a peer sent are bounded before they are used: the size of RSA's modulus and exponent
decide what a verification costs.

Sources: RFC 3110 and RFC 5702 (RSA), RFC 6605 (ECDSA), RFC 8080 (EdDSA), RFC 9905 (SHA-1: such
signatures can be verified, and whether they count is the validator's policy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.errors import MissingExtraError
from sennit.names.dnssec.numbers import Algorithm, algorithm_text
from sennit.names.errors import DNSUsageError, MessageFormatError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-names", "dnssec") from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Private: TypeAlias = (
        rsa.RSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey
        | ed448.Ed448PrivateKey
    )
    Public: TypeAlias = (
        rsa.RSAPublicKey
        | ec.EllipticCurvePublicKey
        | ed25519.Ed25519PublicKey
        | ed448.Ed448PublicKey
    )

__all__ = [
    "MAX_RSA_BITS",
    "MAX_RSA_EXPONENT_BITS",
    "MIN_RSA_BITS",
    "SUPPORTED",
    "PrivateKey",
    "PublicKey",
    "rsa_numbers",
]

MIN_RSA_BITS: Final = 1024
"""Bits of the smallest modulus of RSA that is taken: smaller ones are within reach."""
MAX_RSA_BITS: Final = 4096
"""Bits of the largest one (RFC 5702 §2)."""
MAX_RSA_EXPONENT_BITS: Final = 33
"""Bits of an exponent; 65537 is what everybody uses, a large one makes verifying costly."""

_RSA_HASHES: Final[dict[int, type[hashes.SHA1 | hashes.SHA256 | hashes.SHA512]]] = {
    Algorithm.RSASHA1: hashes.SHA1,
    Algorithm.RSASHA1_NSEC3_SHA1: hashes.SHA1,
    Algorithm.RSASHA256: hashes.SHA256,
    Algorithm.RSASHA512: hashes.SHA512,
}
_CURVES: Final[
    dict[int, tuple[type[ec.SECP256R1 | ec.SECP384R1], type[hashes.SHA256 | hashes.SHA384], int]]
] = {
    Algorithm.ECDSAP256SHA256: (ec.SECP256R1, hashes.SHA256, 32),
    Algorithm.ECDSAP384SHA384: (ec.SECP384R1, hashes.SHA384, 48),
}
_EDWARDS: Final[
    dict[
        int,
        tuple[
            type[ed25519.Ed25519PublicKey | ed448.Ed448PublicKey],
            type[ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey],
        ],
    ]
] = {
    Algorithm.ED25519: (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
    Algorithm.ED448: (ed448.Ed448PublicKey, ed448.Ed448PrivateKey),
}

SUPPORTED: Final = frozenset(map(int, (*_RSA_HASHES, *_CURVES, *_EDWARDS)))
"""Algorithms that can be verified and, but for SHA-1's, signed with."""


class PublicKey:
    """The key of a DNSKEY.

    Args:
        algorithm: Its number.
        octets: The public key field.

    Raises:
        MessageFormatError: The octets are no key of this algorithm, or one outside our limits.
        DNSUsageError: The algorithm is not in `SUPPORTED`.
    """

    __slots__ = ("_check", "algorithm", "octets")

    def __init__(self, algorithm: int, octets: bytes) -> None:
        self.algorithm = algorithm
        self.octets = octets
        try:
            self._check = _checker(algorithm, octets)
        except (ValueError, UnsupportedAlgorithm) as error:
            if isinstance(error, DNSUsageError):
                raise
            raise MessageFormatError(
                f"no public key of {algorithm_text(algorithm)}: {error}", rule="RFC 4034 §2.1.4"
            ) from error

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's, of `data`. Never raises."""
        try:
            self._check(signature, data)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            # UnsupportedAlgorithm: an OpenSSL whose policy forbids SHA-1.
            return False
        return True

    def __repr__(self) -> str:
        return f"<PublicKey {algorithm_text(self.algorithm)}, {len(self.octets)} octets>"


def rsa_numbers(octets: bytes) -> tuple[int, int]:
    """Exponent and modulus out of a public key field (RFC 3110 §2).

    Raises:
        MessageFormatError: The octets do not hold both, or the key is outside our limits.
    """
    length, begin = int.from_bytes(octets[:1], "big"), 1
    if not length:
        length, begin = int.from_bytes(octets[1:3], "big"), 3
    end = begin + length
    if not length or end >= len(octets):
        raise MessageFormatError("a key of RSA that is cut off", rule="RFC 3110 §2")
    exponent = int.from_bytes(octets[begin:end], "big")
    modulus = int.from_bytes(octets[end:], "big")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise MessageFormatError(
            f"a key of RSA with {modulus.bit_length()} bits: {MIN_RSA_BITS} to {MAX_RSA_BITS}",
            rule="RFC 5702 §2",
        )
    if not exponent > 1 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise MessageFormatError("a key of RSA with an odd exponent", rule="RFC 3110 §2")
    return exponent, modulus


def _checker(algorithm: int, octets: bytes) -> Callable[[bytes, bytes], None]:
    """What verifies a signature of data, and raises where it is none."""
    if algorithm in _RSA_HASHES:
        exponent, modulus = rsa_numbers(octets)
        rsa_key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        rsa_hash, scheme = _RSA_HASHES[algorithm](), padding.PKCS1v15()
        return lambda signature, data: rsa_key.verify(signature, data, scheme, rsa_hash)
    if algorithm in _CURVES:
        curve, hash_kind, size = _CURVES[algorithm]
        if len(octets) != 2 * size:
            raise ValueError(f"{len(octets)} octets")
        ec_key = ec.EllipticCurvePublicKey.from_encoded_point(curve(), b"\x04" + octets)
        method = ec.ECDSA(hash_kind())

        def check(signature: bytes, data: bytes) -> None:
            if len(signature) != 2 * size:
                raise InvalidSignature
            ec_key.verify(
                encode_dss_signature(
                    int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
                ),
                data,
                method,
            )

        return check
    if algorithm in _EDWARDS:
        return _EDWARDS[algorithm][0].from_public_bytes(octets).verify
    raise DNSUsageError(f"{algorithm_text(algorithm)} is not supported")


class PrivateKey:
    """A key that signs.

    Args:
        algorithm: Its number.
        key: The key itself, of ``cryptography``.

    Raises:
        DNSUsageError: The key is of another kind than the algorithm wants.
    """

    __slots__ = ("_sign", "algorithm", "key", "octets")

    octets: bytes
    """The public key field of its DNSKEY."""

    def __init__(self, algorithm: int, key: Private) -> None:
        self.algorithm = algorithm
        self.key = key
        self._sign, self.octets = _signer(algorithm, key)

    @classmethod
    def generate(cls, algorithm: int, bits: int = 2048) -> PrivateKey:
        """A new key; `bits` are those of RSA, other algorithms have one size."""
        if algorithm in _RSA_HASHES:
            if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
                raise DNSUsageError(f"RSA takes {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, not {bits}")
            return cls(algorithm, rsa.generate_private_key(65537, bits))
        if algorithm in _CURVES:
            return cls(algorithm, ec.generate_private_key(_CURVES[algorithm][0]()))
        if algorithm in _EDWARDS:
            return cls(algorithm, _EDWARDS[algorithm][1].generate())
        raise DNSUsageError(f"{algorithm_text(algorithm)} is not supported")

    @classmethod
    def from_pem(cls, algorithm: int, pem: bytes, password: bytes | None = None) -> PrivateKey:
        """A key in PEM (PKCS #8 or the traditional forms).

        Raises:
            DNSUsageError: It is none, or of another kind than the algorithm wants.
        """
        try:
            key = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise DNSUsageError(f"no private key in PEM: {error}") from error
        if not isinstance(
            key,
            rsa.RSAPrivateKey
            | ec.EllipticCurvePrivateKey
            | ed25519.Ed25519PrivateKey
            | ed448.Ed448PrivateKey,
        ):
            raise DNSUsageError(f"DNSSEC has no algorithm for {type(key).__name__}")
        return cls(algorithm, key)

    @classmethod
    def from_secret(cls, algorithm: int, secret: bytes) -> PrivateKey:
        """A key of ECDSA or EdDSA from its secret number or octets (RFC 6605 §6, RFC 8080 §6).

        Raises:
            DNSUsageError: It is none.
        """
        try:
            if algorithm in _CURVES:
                curve, _, size = _CURVES[algorithm]
                if len(secret) > size:
                    raise DNSUsageError(f"{len(secret)} octets, {size} are needed")
                return cls(algorithm, ec.derive_private_key(int.from_bytes(secret, "big"), curve()))
            if algorithm in _EDWARDS:
                return cls(algorithm, _EDWARDS[algorithm][1].from_private_bytes(secret))
        except ValueError as error:
            raise DNSUsageError(f"no secret of {algorithm_text(algorithm)}: {error}") from error
        raise DNSUsageError(f"{algorithm_text(algorithm)} keeps no single secret")

    def to_pem(self) -> bytes:
        """The key in PEM (PKCS #8), not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def secret(self) -> bytes:
        """The secret octets of a key of ECDSA or EdDSA.

        Raises:
            DNSUsageError: It is one of RSA, which has several numbers.
        """
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            size = _CURVES[Algorithm(self.algorithm)][2]
            return self.key.private_numbers().private_value.to_bytes(size, "big")
        if isinstance(self.key, rsa.RSAPrivateKey):
            raise DNSUsageError("a key of RSA keeps no single secret")
        return self.key.private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, as RRSIG carries it."""
        return self._sign(data)

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return PublicKey(self.algorithm, self.octets)

    def __repr__(self) -> str:
        return f"<PrivateKey {algorithm_text(self.algorithm)}>"  # and never what it is


def _signer(algorithm: int, key: Private) -> tuple[Callable[[bytes], bytes], bytes]:
    """What signs data, and the public key field."""
    if algorithm in _RSA_HASHES and isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
        octets = (
            bytes((len(exponent),)) + exponent + numbers.n.to_bytes((key.key_size + 7) // 8, "big")
        )
        rsa_hash, scheme = _RSA_HASHES[algorithm](), padding.PKCS1v15()
        rsa_sign = key.sign  # bound here: in the function the checkers know the key's kind no more
        return (lambda data: rsa_sign(data, scheme, rsa_hash)), octets
    if algorithm in _CURVES and isinstance(key, ec.EllipticCurvePrivateKey):
        curve, hash_kind, size = _CURVES[algorithm]
        if not isinstance(key.curve, curve):
            raise DNSUsageError(f"{algorithm_text(algorithm)} does not use {key.curve.name}")
        method = ec.ECDSA(hash_kind())
        ec_sign = key.sign
        point = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

        def sign(data: bytes) -> bytes:
            r, s = decode_dss_signature(ec_sign(data, method))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")

        return sign, point[1:]
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) and isinstance(
        key, _EDWARDS[algorithm][1] if algorithm in _EDWARDS else ()
    ):
        return key.sign, key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
    raise DNSUsageError(f"{type(key).__name__} is no key of {algorithm_text(algorithm)}")
