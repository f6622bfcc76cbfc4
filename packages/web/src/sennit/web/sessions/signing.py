"""Texts that nobody else can have made: signed by HMAC-SHA-256, with a time and a purpose.

A signed text is ``payload.time.mac`` in base64url. One key signs, it and the old ones verify:
to change keys make the one of today an old one, and take it away once what it signed has
lost its time.

Sources: RFC 2104, RFC 4648 §5. What is signed can be read by whoever holds it.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final, Protocol

from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    class Revealed(Protocol):
        """What a configuration has for a secret (`sennit.core.service.config.Secret`)."""

        def reveal(self) -> str: ...

    Key = str | bytes | Revealed

__all__ = ["Signer"]

MIN_KEY: Final = 16
"""Octets of a key at least: 128 bits, if they are random."""
_MAC: Final = 32


class Signer:
    """Signs and verifies.

    Args:
        key: Signs and verifies: a secret of a configuration, or octets or text of at least
            16 octets, such as ``secrets.token_urlsafe(32)`` gives.
        purpose: What is signed for this is good for nothing else.
        old_keys: Verify.

    Raises:
        WebUsageError: One is too short.
    """

    __slots__ = ("_keys",)

    def __init__(self, key: Key, purpose: str, old_keys: Sequence[Key] = ()) -> None:
        self._keys = [_derived(each, purpose) for each in (key, *old_keys)]

    def __repr__(self) -> str:
        return f"<Signer with {len(self._keys)} keys>"

    def sign(self, payload: bytes, now: float) -> str:
        """A text of these octets that `verify` takes."""
        body = f"{_encoded(payload)}.{int(now):x}"
        mac = hmac.digest(self._keys[0], body.encode("ascii"), "sha256")
        return f"{body}.{_encoded(mac)}"

    def verify(self, text: str) -> tuple[bytes, int] | None:
        """The octets that were signed and when, seconds since the epoch; ``None`` for fakes."""
        body, dot, mac_text = text.rpartition(".")
        payload_text, dot_too, time_text = body.rpartition(".")
        if not dot or not dot_too or not text.isascii() or not 0 < len(time_text) <= 12:
            return None
        mac = _decoded(mac_text)
        octets = body.encode("ascii")
        good = False
        # All of them, so that time does not tell which key is in use.
        for key in self._keys:
            good |= hmac.compare_digest(hmac.digest(key, octets, "sha256"), mac)
        if not good or len(mac) != _MAC:
            return None
        return _decoded(payload_text), int(time_text, 16)


def _derived(key: Key, purpose: str) -> bytes:
    octets = key if isinstance(key, (str, bytes)) else key.reveal()
    if isinstance(octets, str):
        octets = octets.encode()
    if len(octets) < MIN_KEY:
        raise WebUsageError(f"a key has at least {MIN_KEY} octets, random ones")
    return hmac.digest(octets, b"sennit " + purpose.encode(), "sha256")


def _encoded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
