"""SCRAM's stored keys: enough for a server to check a proof, not enough to make one.

The textual form is that of RFC 5803 as PostgreSQL writes it:
``SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY``, the last three in base64.

Sources: RFC 5802 §2.2, §3, §5.1; RFC 7677 (SHA-256); RFC 5803 §3 (the form).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from sennit.core.auth.sasl.grammar import MalformedError, decode_base64, encode_base64

__all__ = [
    "DEFAULT_ITERATIONS",
    "HASHES",
    "MAX_ITERATIONS",
    "MIN_ITERATIONS",
    "ScramKeys",
    "proof_of",
    "salted_password",
]

HASHES: Final = {
    "SCRAM-SHA-1": "sha1",
    "SCRAM-SHA-256": "sha256",
    "SCRAM-SHA-512": "sha512",
}
"""Mechanisms without ``-PLUS``, and their hash as `hashlib` calls it."""

MIN_ITERATIONS: Final = 4096
"""The least that is accepted of a server (RFC 5802 §5.1, RFC 7677 §4)."""
MAX_ITERATIONS: Final = 1_000_000
"""The most: each costs the client, and a server that cheats names the number."""
DEFAULT_ITERATIONS: Final = 100_000
"""Of keys that are made here; the client pays for them at each login."""

MAX_SALT: Final = 256
"""Octets of a salt."""

_FORM = re.compile(
    r"(SCRAM-SHA-(?:1|256|512))\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


def salted_password(mechanism: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    """``Hi(password, salt, iterations)``: the slow part, for a thread."""
    return hashlib.pbkdf2_hmac(HASHES[mechanism], password, salt, iterations)


class ScramKeys:
    """What a server keeps of one user for one hash.

    Attributes:
        mechanism: ``SCRAM-SHA-256`` and its like, without ``-PLUS``.
        salt: Random octets.
        iterations: Of PBKDF2.
        stored_key: ``H(ClientKey)``.
        server_key: What the server proves itself with.
    """

    __slots__ = ("iterations", "mechanism", "salt", "server_key", "stored_key")

    def __init__(
        self, mechanism: str, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes
    ) -> None:
        self.mechanism = mechanism
        self.salt = salt
        self.iterations = iterations
        self.stored_key = stored_key
        self.server_key = server_key

    def __repr__(self) -> str:
        return f"<ScramKeys {self.mechanism} {self.iterations} iterations>"

    @classmethod
    def from_salted(cls, mechanism: str, salted: bytes, salt: bytes, iterations: int) -> ScramKeys:
        """The keys of a password that is salted already (RFC 5802 §3)."""
        name = HASHES[mechanism]
        client_key = hmac.digest(salted, b"Client Key", name)
        return cls(
            mechanism,
            salt,
            iterations,
            hashlib.new(name, client_key).digest(),
            hmac.digest(salted, b"Server Key", name),
        )

    @classmethod
    def derive(cls, mechanism: str, password: bytes, salt: bytes, iterations: int) -> ScramKeys:
        """The keys of a prepared password; slow, for a thread."""
        salted = salted_password(mechanism, password, salt, iterations)
        return cls.from_salted(mechanism, salted, salt, iterations)

    @classmethod
    def made_up(cls, mechanism: str, name: str, secret: bytes, iterations: int) -> ScramKeys:
        """Keys for a user who is not there: the same at each try, and no password fits them.

        So that who asks for a salt learns nothing of which users there are.
        """
        kind = HASHES[mechanism]
        seed = hmac.digest(secret, f"{mechanism}\0{name}".encode(), "sha256")
        size = hashlib.new(kind).digest_size
        stored = hmac.digest(seed, b"stored", "sha512")[:size]
        server = hmac.digest(seed, b"server", "sha512")[:size]
        return cls(mechanism, seed[:16], iterations, stored, server)

    @classmethod
    def parse(cls, text: str) -> ScramKeys:
        """Read the textual form.

        Raises:
            MalformedError: It is not that, or its numbers are out of bounds.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise MalformedError("not SCRAM-…$ITERATIONS:SALT$STOREDKEY:SERVERKEY")
        iterations = int(match[2])
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise MalformedError(
                f"{iterations} iterations, not {MIN_ITERATIONS} to {MAX_ITERATIONS}"
            )
        size = hashlib.new(HASHES[match[1]]).digest_size
        salt, stored, server = (decode_base64(match[at].encode(), MAX_SALT) for at in (3, 4, 5))
        if len(stored) != size or len(server) != size:
            raise MalformedError(f"keys that have not {size} octets")
        return cls(match[1], salt, iterations, stored, server)

    def __str__(self) -> str:
        """The textual form, to be stored; keep it as secret as a hash."""
        salt, stored, server = (
            encode_base64(each).decode("ascii")
            for each in (self.salt, self.stored_key, self.server_key)
        )
        return f"{self.mechanism}${self.iterations}:{salt}${stored}:{server}"

    def proves(self, proof: bytes, message: bytes) -> bool:
        """Whether `proof` was made of the password, for this ``AuthMessage``."""
        name = HASHES[self.mechanism]
        signature = hmac.digest(self.stored_key, message, name)
        if len(proof) != len(signature):
            return False
        client_key = _xor(proof, signature)
        return hmac.compare_digest(hashlib.new(name, client_key).digest(), self.stored_key)

    def signature(self, message: bytes) -> bytes:
        """``ServerSignature`` of an ``AuthMessage``: the server's own proof."""
        return hmac.digest(self.server_key, message, HASHES[self.mechanism])


def proof_of(mechanism: str, salted: bytes, message: bytes) -> bytes:
    """``ClientProof`` of a salted password for an ``AuthMessage`` (RFC 5802 §3)."""
    name = HASHES[mechanism]
    client_key = hmac.digest(salted, b"Client Key", name)
    stored = hashlib.new(name, client_key).digest()
    return _xor(client_key, hmac.digest(stored, message, name))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
