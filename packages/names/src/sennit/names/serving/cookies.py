"""DNS cookies, the server's side: a client that shows one has the address it writes.

A server cookie is a keyed hash over the client's cookie, its address and the time, so a
server keeps nothing of any client. All servers with the same secret, whatever their make,
take each other's (RFC 9018 §4): version 1, SipHash-2-4.

`Cookies.roll` begins to use another secret; cookies of the one before are taken as long as
they last (RFC 7873 §5.5, §7.1).

Sources: RFC 7873 §4-§5, RFC 9018 §4; Aumasson and Bernstein, "SipHash: a fast short-input
PRF", 2012. Time is passed in, in seconds since the epoch.
"""

from __future__ import annotations

import hmac
import socket
from struct import Struct
from typing import TYPE_CHECKING, Final

from sennit.names.errors import DNSUsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cookies", "siphash24"]

LIFETIME: Final = 3600
"""Seconds after which a cookie is not taken any more (RFC 9018 §4.3)."""
RENEWED_AFTER: Final = 1800
"""Seconds after which a client gets a fresh one."""
AHEAD: Final = 300
"""Seconds that another server's clock may be ahead of ours."""

_HEAD: Final = b"\1\0\0\0"
"""Version 1, and three octets that are reserved."""
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_TWO_WORDS: Final = Struct("<QQ")
_MAPPED: Final = "::ffff:"


class Cookies:
    """Makes and looks at server cookies.

    Args:
        secret: 16 octets; those of the other servers at the same addresses.
        earlier: Secrets that were in use before, newest first.
        required: Whether a client that asks over UDP with a cookie of its own and none of
            ours is answered BADCOOKIE, and has to ask again.

    Raises:
        DNSUsageError: A secret has not 16 octets.
    """

    __slots__ = ("_secrets", "required")

    def __init__(
        self, secret: bytes, earlier: Sequence[bytes] = (), *, required: bool = False
    ) -> None:
        self._secrets: tuple[bytes, ...] = ()
        for each in (*reversed(earlier), secret):
            self.roll(each)
        self.required = required

    def __repr__(self) -> str:
        return f"<Cookies, {len(self._secrets)} secrets>"

    def roll(self, secret: bytes) -> None:
        """Use this secret from now on; what was made with the last one is still taken.

        Raises:
            DNSUsageError: It has not 16 octets.
        """
        if len(secret) != 16:
            raise DNSUsageError(f"a cookie secret has 16 octets, not {len(secret)}")
        self._secrets = (bytes(secret), *self._secrets[:1])

    def make(self, client: bytes, host: str, now: float) -> bytes:
        """The server cookie for a client's cookie and address, 16 octets."""
        return self._make(self._secrets[0], client, host, int(now) & 0xFFFFFFFF)

    def _make(self, secret: bytes, client: bytes, host: str, when: int) -> bytes:
        head = _HEAD + when.to_bytes(4, "big")
        return head + siphash24(secret, client + head + _packed(host)).to_bytes(8, "little")

    def check(self, client: bytes, server: bytes, host: str, now: float) -> bool:
        """Whether this server cookie is one of ours, for this client, and not too old."""
        if len(server) != 16 or server[0] != 1:
            return False
        # Serial numbers of 32 bits (RFC 1982): what counts is the difference.
        age = int(now) - int.from_bytes(server[4:8], "big") & 0xFFFFFFFF
        if LIFETIME < age < 0x100000000 - AHEAD:
            return False
        # The reserved octets are hashed as they came (RFC 9018 §4.4).
        said = client + server[:8] + _packed(host)
        found = False
        for secret in self._secrets:
            made = siphash24(secret, said).to_bytes(8, "little")
            found |= hmac.compare_digest(made, server[8:])
        return found

    def fresh_enough(self, server: bytes, now: float) -> bool:
        """Whether a cookie that is good may be used on as it is."""
        age = int(now) - int.from_bytes(server[4:8], "big") & 0xFFFFFFFF
        return age <= RENEWED_AFTER


def _packed(host: str) -> bytes:
    """An address in octets, as the client has it; a text that is none as that text's."""
    host = host.partition("%")[0]
    if host.startswith(_MAPPED) and "." in host:
        host = host.removeprefix(_MAPPED)
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return host.encode("utf-8", "replace")


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of some octets under a key of 16, as a number of 64 bits."""
    k0, k1 = _TWO_WORDS.unpack(key)
    v0 = k0 ^ 0x736F6D6570736575
    v1 = k1 ^ 0x646F72616E646F6D
    v2 = k0 ^ 0x6C7967656E657261
    v3 = k1 ^ 0x7465646279746573
    size = len(data)
    whole = size & ~7
    last = int.from_bytes(data[whole:], "little") | (size & 0xFF) << 56
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    for word in (*words, last):
        v3 ^= word
        v0, v1, v2, v3 = _rounds(2, v0, v1, v2, v3)
        v0 ^= word
    v2 ^= 0xFF
    v0, v1, v2, v3 = _rounds(4, v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = v0 + v1 & _MASK
        v1 = (v1 << 13 | v1 >> 51) & _MASK ^ v0
        v0 = (v0 << 32 | v0 >> 32) & _MASK
        v2 = v2 + v3 & _MASK
        v3 = (v3 << 16 | v3 >> 48) & _MASK ^ v2
        v0 = v0 + v3 & _MASK
        v3 = (v3 << 21 | v3 >> 43) & _MASK ^ v0
        v2 = v2 + v1 & _MASK
        v1 = (v1 << 17 | v1 >> 47) & _MASK ^ v2
        v2 = (v2 << 32 | v2 >> 32) & _MASK
    return v0, v1, v2, v3
