"""Which NSEC or NSEC3 records of a signed zone prove what an answer says.

Each function gives the keys of the owners whose record is to be sent, in order; an owner may
come twice. With opt-out a name may have no record of its own: then the closest one above it
that has, and the one that covers the next closer name (RFC 5155 §7.2.4).

Sources: RFC 4035 §3.1.3, RFC 5155 §7.2, RFC 9276 §3.1 (iterations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.name import trusted

if TYPE_CHECKING:
    from sennit.names.zone.chain import Chain
    from sennit.names.zone.data import IZoneData

__all__ = ["Prover", "prover_of"]

MAX_ITERATIONS: Final = 500
"""Rounds of hashing beyond which a zone's NSEC3 records are not used: it costs us too much, and
validators do not accept it anyway (RFC 9276 §3.2)."""


def prover_of(zone: IZoneData) -> Prover | None:
    """Who finds the proofs of a zone; ``None`` where it has none."""
    if zone.chain is None:
        return None
    found = Prover(zone.chain, zone.origin.key)
    return found if found.rdtype else None


class Prover:
    """Finds the proofs of one answer.

    Args:
        chain: The zone's.
        origin: Key of its name.

    Attributes:
        rdtype: Of the records: NSEC or NSEC3; 0 where there are none.
    """

    __slots__ = ("_chain", "_hashes", "_origin", "rdtype")

    def __init__(self, chain: Chain, origin: bytes) -> None:
        self._chain = chain
        self._origin = origin
        self._hashes: dict[bytes, bytes] = {}
        parameters = chain.parameters
        usable = parameters is not None and parameters.iterations <= MAX_ITERATIONS
        self.rdtype = 47 if chain.has_nsec else 50 if usable else 0

    def no_name(self, key: bytes, encloser: bytes) -> list[bytes]:
        """The name does not exist, nor a wildcard that it matches."""
        if self.rdtype == 47:
            return self._before(key, b"\1*" + encloser)
        return [
            *self._closest(key),
            *self._covering(b"\1*" + encloser),
        ]

    def no_data(self, key: bytes) -> list[bytes]:
        """The name has no records of the type; also a delegation that is not signed."""
        if self.rdtype == 47:
            return self._before(key)
        return self._closest(key)

    def expanded(self, key: bytes, encloser: bytes) -> list[bytes]:
        """The name does not exist, so that the wildcard beneath `encloser` holds."""
        if self.rdtype == 47:
            return self._before(key)
        return self._covering(_next_closer(key, encloser))

    def no_data_expanded(self, key: bytes, encloser: bytes) -> list[bytes]:
        """The wildcard beneath `encloser` holds, and has no records of the type."""
        if self.rdtype == 47:
            return self._before(key, b"\1*" + encloser)
        return [*self._closest(key), *self._covering(b"\1*" + encloser)]

    def _before(self, *keys: bytes) -> list[bytes]:
        found = [self._chain.before(each) for each in keys]
        return [each for each in found if each is not None]

    def _hash(self, key: bytes) -> bytes:
        found = self._hashes.get(key)
        if found is None:
            from sennit.names.dnssec.denial import nsec3_hash, nsec3_label

            parameters = self._chain.parameters
            assert parameters is not None, "there is an NSEC3 chain"
            digest = nsec3_hash(trusted(key), parameters.salt, parameters.iterations)
            found = self._hashes[key] = nsec3_label(digest).lower()
        return found

    def _covering(self, key: bytes) -> list[bytes]:
        """The record that covers a name, or that is its own."""
        found = self._chain.covering(self._hash(key))
        return [] if found is None else [found]

    def _closest(self, key: bytes) -> list[bytes]:
        """The name's own record, or the closest one above it and what covers the next name."""
        closer = b""
        while not self._chain.has_hash(self._hash(key)):
            if len(key) <= len(self._origin):
                return []  # not even the zone's own name: the chain is broken
            closer, key = key, key[1 + key[0] :]
        return [*self._covering(key), *(self._covering(closer) if closer else [])]


def _next_closer(key: bytes, encloser: bytes) -> bytes:
    """The name one label longer than `encloser`, towards `key` (RFC 5155 §1.3)."""
    start = position = 0
    while len(key) - position > len(encloser):
        start = position
        position += 1 + key[position]
    return key[start:]
