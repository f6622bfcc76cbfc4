"""SHA-crypt: the ``$5$`` and ``$6$`` of Unix password files, to verify them only.

For users who come from ``/etc/shadow`` and the like; a login that succeeds replaces
the hash by one of today's. Nothing here makes new ones.

Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512" (in the public domain),
whose numbered steps the comments name. The interpreter's own `crypt` module, gone in
3.13, asked the C library for the same.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["MAX_ROUNDS", "sha_crypt"]

MAX_ROUNDS: Final = 1_000_000
"""More are refused: each costs about a microsecond and a half."""
DEFAULT_ROUNDS: Final = 5000
"""Where the setting names none."""

_SETTING = re.compile(r"\$([56])\$(?:rounds=([1-9][0-9]{3,8})\$)?([^$:\n]{0,16})(?:\$.*)?")
_DIGITS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Step 22: the order in which octets of the digest are written, three at a time, the last
# group short; -1 stands for nought.
_ORDER: Final = {
    "5": (
        (0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14), (15, 25, 5),
        (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29), (-1, 31, 30),
    ),
    "6": (
        (0, 21, 42), (22, 43, 1), (44, 2, 23), (3, 24, 45), (25, 46, 4), (47, 5, 26),
        (6, 27, 48), (28, 49, 7), (50, 8, 29), (9, 30, 51), (31, 52, 10), (53, 11, 32),
        (12, 33, 54), (34, 55, 13), (56, 14, 35), (15, 36, 57), (37, 58, 16), (59, 17, 38),
        (18, 39, 60), (40, 61, 19), (62, 20, 41), (-1, -1, 63),
    ),
}  # fmt: skip


def sha_crypt(password: bytes, setting: str) -> str:
    """The hash of a password with the kind, rounds and salt of `setting` (a hash, or its head).

    Raises:
        ValueError: The setting is none, or asks for too many rounds.
    """
    match = _SETTING.fullmatch(setting)
    if match is None:
        raise ValueError("not $5$ or $6$, rounds and salt")
    kind, given, salt_text = match.groups()
    rounds = DEFAULT_ROUNDS if given is None else int(given)
    if rounds > MAX_ROUNDS:
        raise ValueError(f"{rounds} rounds, at most {MAX_ROUNDS} are computed")
    hashed = hashlib.sha256 if kind == "5" else hashlib.sha512
    salt = salt_text.encode()
    size = hashed().digest_size
    length = len(password)

    # Steps 4 to 8: digest B.
    b = hashed(password + salt + password).digest()
    # Steps 1 to 12: digest A.
    mixed = bytearray(password + salt)
    mixed += (b * (length // size + 1))[:length]
    bits = length
    while bits:
        mixed += b if bits & 1 else password
        bits >>= 1
    a = hashed(mixed).digest()
    # Steps 13 to 16: P, from as many passwords as it has octets.
    dp = hashed(password * length).digest()
    p = (dp * (length // size + 1))[:length]
    # Steps 17 to 20: S.
    ds = hashed(salt * (16 + a[0])).digest()
    s = ds[: len(salt)]
    # Step 21: the rounds.
    c = a
    for at in range(rounds):
        odd = at & 1
        c = hashed(
            (p if odd else c) + (s if at % 3 else b"") + (p if at % 7 else b"") + (c if odd else p)
        ).digest()
    text = "".join(_group(c, each) for each in _ORDER[kind])
    shown = "" if given is None else f"rounds={rounds}$"
    return f"${kind}${shown}{salt_text}${text}"


def _group(digest: bytes, places: tuple[int, int, int]) -> str:
    value = 0
    for place in places:
        value = value << 8 | (0 if place < 0 else digest[place])
    count = 4 - places.count(-1)
    return "".join(_DIGITS[value >> 6 * at & 63] for at in range(count))
