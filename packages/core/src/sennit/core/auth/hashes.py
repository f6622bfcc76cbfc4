"""The kinds of password hash there are, each a line of text that says how it was made.

========================  =====================================================================
``$argon2id$v=19$…``      Argon2id (RFC 9106), PHC string format; from cryptography (extra `auth`)
``$scrypt$ln=…,r=,p=$…``  scrypt (RFC 7914), PHC string format
``$pbkdf2-sha256$…``      PBKDF2 (RFC 8018), also with sha512 and sha1 (``$pbkdf2$``)
``SCRAM-SHA-256$…``       SCRAM's stored keys (RFC 5803), also with 1 and 512
``$5$…``, ``$6$…``        SHA-crypt, as Unix has it
``$2a$``, ``$2b$``, …     bcrypt, where the library of that name is installed
========================  =====================================================================

Everything here is slow on purpose and belongs in a thread
(`sennit.core.auth.passwords`). Parameters are bounded before anything is computed, so
that a line which asks for a gigabyte is a broken line.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from typing import Any, Final

from sennit.core.auth.sasl.grammar import MalformedError
from sennit.core.auth.sasl.keys import ScramKeys
from sennit.core.auth.shacrypt import MAX_ROUNDS as MAX_ROUNDS_SHA_CRYPT
from sennit.core.auth.shacrypt import sha_crypt
from sennit.core.errors import MissingExtraError, UsageError

__all__ = [
    "Argon2Policy",
    "HashError",
    "ScryptPolicy",
    "argon2id",
    "check_form",
    "kind_of",
    "parameters_of",
    "scrypt",
    "verify",
]

MAX_MEMORY: Final = 1024 * 1024
"""KiB that one hash may ask for."""
MAX_PASSES: Final = 100
"""Iterations of Argon2 that one hash may ask for."""
MAX_ROUNDS: Final = 10_000_000
"""Iterations of PBKDF2 that one hash may ask for."""

_ARGON2 = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_SCRYPT = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,3}),p=([0-9]{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_PBKDF2 = re.compile(
    r"\$pbkdf2(?:-(sha1|sha256|sha512))?\$(?:i=)?([0-9]{1,9})\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)"
)
_SHA_CRYPT = re.compile(
    r"\$(?:5|6)\$(?:rounds=([1-9][0-9]{3,8})\$)?[^$:\s]{0,16}\$(?:[./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})"
)
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}")


class HashError(UsageError):
    """A line that is no password hash, or one that cannot be computed here."""


class Argon2Policy:
    """What Argon2id costs (RFC 9106 §4).

    The default is OWASP's first choice for servers (19 MiB, two passes): about 70 ms.

    Args:
        memory: KiB.
        passes: Iterations.
        lanes: Degree of parallelism.
    """

    __slots__ = ("lanes", "memory", "passes")

    kind = "argon2id"

    def __init__(self, memory: int = 19_456, passes: int = 2, lanes: int = 1) -> None:
        if not (8 * lanes <= memory <= MAX_MEMORY and 1 <= passes <= MAX_PASSES and lanes >= 1):
            raise UsageError(
                f"argon2id takes 8 × lanes to {MAX_MEMORY} KiB, 1 to {MAX_PASSES} passes, "
                f"and a lane or more; not {memory}, {passes} and {lanes}"
            )
        self.memory = memory
        self.passes = passes
        self.lanes = lanes

    def hash(self, password: bytes, salt: bytes) -> str:
        """A new hash; `salt` is random."""
        digest = argon2id(password, salt, self.memory, self.passes, self.lanes, 32)
        return self._form(salt, digest)

    def dummy(self, octets: bytes) -> str:
        """A hash that no password has and that costs as much; `octets` are 48 random ones."""
        return self._form(octets[:16], octets[16:48])

    def _form(self, salt: bytes, digest: bytes) -> str:
        head = f"$argon2id$v=19$m={self.memory},t={self.passes},p={self.lanes}"
        return f"{head}${_unpadded(salt)}${_unpadded(digest)}"

    def meets(self, parameters: tuple[int, ...]) -> bool:
        """Whether a hash of these costs an attacker no less."""
        memory, passes, _ = parameters
        return memory >= self.memory and memory * passes >= self.memory * self.passes


class ScryptPolicy:
    """What scrypt costs (RFC 7914 §2). Needs nothing but Python.

    Args:
        log_n: Binary logarithm of the cost; 17 takes 128 MiB and about 400 ms.
        r: Block size.
        p: Parallelization.
    """

    __slots__ = ("log_n", "p", "r")

    kind = "scrypt"

    def __init__(self, log_n: int = 15, r: int = 8, p: int = 1) -> None:
        if not (1 <= log_n <= 24 and r >= 1 and p >= 1 and r << log_n <= MAX_MEMORY * 8):
            raise UsageError(f"scrypt cannot be told ln={log_n}, r={r}, p={p}")
        self.log_n = log_n
        self.r = r
        self.p = p

    def hash(self, password: bytes, salt: bytes) -> str:
        """A new hash; `salt` is random."""
        return self._form(salt, scrypt(password, salt, self.log_n, self.r, self.p, 32))

    def dummy(self, octets: bytes) -> str:
        """A hash that no password has and that costs as much; `octets` are 48 random ones."""
        return self._form(octets[:16], octets[16:48])

    def _form(self, salt: bytes, digest: bytes) -> str:
        head = f"$scrypt$ln={self.log_n},r={self.r},p={self.p}"
        return f"{head}${_unpadded(salt)}${_unpadded(digest)}"

    def meets(self, parameters: tuple[int, ...]) -> bool:
        """Whether a hash of these costs an attacker no less."""
        log_n, r, p = parameters
        return log_n >= self.log_n and r * p << log_n >= self.r * self.p << self.log_n


def kind_of(line: str) -> str:
    """What made a hash: ``argon2id``, ``scrypt``, ``pbkdf2``, ``scram``, ``sha-crypt``, ``bcrypt``.

    Raises:
        HashError: None of these.
    """
    for head, kind in _HEADS:
        if line.startswith(head):
            return kind
    raise HashError(
        "no hash that is known: $argon2id$, $scrypt$, $pbkdf2…$, SCRAM-SHA-…$, $5$, $6$ or $2b$"
    )


_HEADS: Final = (
    ("$argon2id$", "argon2id"),
    ("$scrypt$", "scrypt"),
    ("$pbkdf2", "pbkdf2"),
    ("SCRAM-SHA-", "scram"),
    ("$5$", "sha-crypt"),
    ("$6$", "sha-crypt"),
    ("$2", "bcrypt"),
)
_FORMS: Final = {
    "argon2id": _ARGON2,
    "scrypt": _SCRYPT,
    "pbkdf2": _PBKDF2,
    "sha-crypt": _SHA_CRYPT,
    "bcrypt": _BCRYPT,
}


def check_form(line: str) -> str:
    """Check a hash without computing anything; returns its kind.

    Raises:
        HashError: It is none, or asks for more than it may.
    """
    kind = kind_of(line)
    if kind == "scram":
        try:
            ScramKeys.parse(line)
        except MalformedError as error:
            raise HashError(str(error)) from None
        return kind
    match = _FORMS[kind].fullmatch(line)
    if match is None:
        raise HashError(f"not the form of {kind}")
    if kind in ("argon2id", "scrypt", "pbkdf2"):
        _bounds(kind, match)
    elif kind == "sha-crypt" and match[1] is not None and int(match[1]) > MAX_ROUNDS_SHA_CRYPT:
        raise HashError(f"SHA-crypt takes at most {MAX_ROUNDS_SHA_CRYPT} rounds here")
    return kind


def parameters_of(line: str) -> tuple[int, ...]:
    """The costs that a hash of argon2id or scrypt names: what `meets` of a policy takes."""
    match = _FORMS[check_form(line)].fullmatch(line)
    assert match is not None  # check_form has seen to it
    return int(match[1]), int(match[2]), int(match[3])


def verify(password: bytes, line: str) -> bool:
    """Whether a hash was made of this password; takes as long as it says.

    Raises:
        HashError: It is no hash, or what computes it is not installed.
    """
    kind = check_form(line)
    if kind == "scram":
        keys = ScramKeys.parse(line)
        again = ScramKeys.derive(keys.mechanism, password, keys.salt, keys.iterations)
        return hmac.compare_digest(again.stored_key, keys.stored_key)
    if kind == "sha-crypt":
        # It takes octets as they are, and C libraries stop at a NUL.
        return b"\0" not in password and hmac.compare_digest(sha_crypt(password, line), line)
    if kind == "bcrypt":
        return _bcrypt(password, line)
    match = _FORMS[kind].fullmatch(line)
    assert match is not None  # check_form has seen to it
    salt, digest = (
        _unpadded_octets(match[match.re.groups - 1]),
        _unpadded_octets(match[match.re.groups]),
    )
    if kind == "argon2id":
        memory, passes, lanes = int(match[1]), int(match[2]), int(match[3])
        made = argon2id(password, salt, memory, passes, lanes, len(digest))
    elif kind == "scrypt":
        made = scrypt(password, salt, int(match[1]), int(match[2]), int(match[3]), len(digest))
    else:
        made = hashlib.pbkdf2_hmac(match[1] or "sha1", password, salt, int(match[2]), len(digest))
    return hmac.compare_digest(made, digest)


def argon2id(
    password: bytes, salt: bytes, memory: int, passes: int, lanes: int, length: int
) -> bytes:
    """Argon2id as RFC 9106 has it (version 1.3).

    Raises:
        MissingExtraError: cryptography is not installed.
        HashError: Its OpenSSL is older than 3.2 and has no Argon2.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    except ImportError as error:
        raise MissingExtraError("Argon2id", "sennit-core", "auth") from error
    try:
        made = Argon2id(
            salt=salt, length=length, iterations=passes, lanes=lanes, memory_cost=memory
        )
    except UnsupportedAlgorithm as error:
        raise HashError("Argon2id needs a cryptography built with OpenSSL 3.2 or later") from error
    return made.derive(password)


def scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    """Scrypt as RFC 7914 has it."""
    # What it needs, and a little: OpenSSL refuses to begin with less.
    room = 128 * r * ((1 << log_n) + p + 2) + 65_536
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=r, p=p, maxmem=room, dklen=length)


def _bcrypt(password: bytes, line: str) -> bool:
    try:
        import bcrypt
    except ImportError:
        raise HashError("a hash of bcrypt needs its library: pip install bcrypt") from None
    # 72 octets are all that bcrypt reads; newer versions refuse more rather than cut it.
    library: Any = bcrypt  # Any: it is not a dependency, and may be absent where types are checked
    try:
        return b"\0" not in password and bool(library.checkpw(password[:72], line.encode("ascii")))
    except ValueError as error:
        # A salt whose last bits are not zero, or the kind 2x, which it does not know.
        raise HashError(f"a hash that the library of bcrypt refuses: {error}") from None


def _bounds(kind: str, match: re.Match[str]) -> None:
    salt, digest = _salt_and_digest(match)
    if not (8 <= len(salt) <= 128 and 16 <= len(digest) <= 128):
        raise HashError("a salt has 8 to 128 octets, a digest 16 to 128")
    if kind in ("argon2id", "scrypt"):
        make = Argon2Policy if kind == "argon2id" else ScryptPolicy
        try:
            make(int(match[1]), int(match[2]), int(match[3]))
        except UsageError as error:
            raise HashError(str(error)) from None
    elif not 1 <= int(match[2]) <= MAX_ROUNDS:
        raise HashError(f"PBKDF2 takes 1 to {MAX_ROUNDS} iterations")


def _salt_and_digest(match: re.Match[str]) -> tuple[bytes, bytes]:
    """The last two groups of a form."""
    last = match.re.groups
    return _unpadded_octets(match[last - 1]), _unpadded_octets(match[last])


def _unpadded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def _unpadded_octets(text: str) -> bytes:
    # passlib writes a full stop for the plus.
    text = text.replace(".", "+")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise HashError("broken base64") from None
