"""Cancel-Locks (RFC 8315): who has the key of an article may have it cancelled or superseded.

Cancel-Lock, in an article, has hashes of keys; Cancel-Key, in what cancels or supersedes it, has
keys. One that fits any of the locks is enough. A server that makes locks for its posters
(`key_of`) derives the keys from a secret of its own, the user, and the Message-ID: it need not
remember any. No I/O.

Sources: RFC 8315 §2 (fields), §3.5 (checking), §4 (keys out of a secret). SHA-1 is understood and
never written. Not here: what is done about it (``control.py``, ``injection.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["key_of", "lock_of", "opens"]

MAX_ELEMENTS: Final = 100
"""Keys, or locks, of one field that are looked at."""
MAX_OCTETS: Final = 16_384
"""Octets of a field likewise, whatever stands there."""
# In comments, which may stand between elements, there is nothing to gain: a key has to fit.
_ELEMENT: Final = re.compile(rb"(?<![^\s)])([A-Za-z0-9_-]{1,20}):([A-Za-z0-9+/]+={0,2})(?![^\s(])")


def key_of(secret: bytes, user: str, message_id: bytes) -> bytes:
    """Give the element of Cancel-Key for an article of a user (RFC 8315 §4)."""
    key = hmac.digest(secret, user.encode("utf-8", "surrogateescape") + message_id, "sha256")
    return b"sha256:" + b64encode(key)


def lock_of(key: bytes) -> bytes:
    """Give the element of Cancel-Lock that an element of Cancel-Key fits."""
    scheme, _, text = key.partition(b":")
    # Of the key as it is written, not of what base64 stands for (RFC 8315 §2.1).
    return scheme + b":" + b64encode(hashlib.new(scheme.decode("ascii"), text).digest())


def opens(keys: bytes | None, locks: bytes | None) -> bool:
    """Tell whether one of the keys fits one of the locks (RFC 8315 §3.5).

    Args:
        keys: The content of Cancel-Key; ``None`` without one.
        locks: That of Cancel-Lock of what is to go.
    """
    if not keys or not locks:
        return False
    # Locks are public: how long it takes to find that none fits tells nothing of a key.
    known = set(_elements(locks))
    return any(lock_of(key) in known for key in _elements(keys))


def _elements(content: bytes) -> Iterator[bytes]:
    """Those of a scheme that is known, whose name was written in any case once (RFC 8315 §5.3)."""
    for at, match in enumerate(_ELEMENT.finditer(content[:MAX_OCTETS])):
        scheme = match[1].lower()
        if at >= MAX_ELEMENTS:
            return
        if scheme in (b"sha256", b"sha1"):
            yield scheme + b":" + match[2]
