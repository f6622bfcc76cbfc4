"""The order of a signed zone's names: which NSEC or NSEC3 record covers one that is not there.

`Chain` keeps the sorted names that have such records, and finds the last one before another by
bisection. It is made when the first proof is asked for, and kept up as the zone changes.

Sources: RFC 4034 §6.1 (canonical order), RFC 5155 §3, §7.1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.zone.node import raw_rdatas
from sennit.names.zone.rules import NSEC, NSEC3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sennit.names.zone.node import Node

__all__ = ["Chain", "Parameters", "parameters_of", "sort_key"]

NSEC3PARAM: Final = 51


class Parameters(NamedTuple):
    """How NSEC3 names are hashed (RFC 5155 §3.1).

    Attributes:
        algorithm: 1, SHA-1.
        iterations: More rounds.
        salt: Octets.
    """

    algorithm: int
    iterations: int
    salt: bytes


def sort_key(key: bytes) -> bytes:
    """Octets that sort as a name does in canonical order (RFC 4034 §6.1).

    Labels from the last to the first, each ended by two zero octets; a zero octet in a label
    is followed by a one, so that a label sorts behind each that it begins with.
    """
    labels: list[bytes] = []
    position = 0
    while length := key[position]:
        label = key[position + 1 : position + 1 + length]
        labels.append(label.replace(b"\0", b"\0\1") if b"\0" in label else label)
        position += 1 + length
    labels.reverse()
    return b"\0\0".join(labels)


def parameters_of(packed: bytes) -> list[Parameters]:
    """The parameters in NSEC3 or NSEC3PARAM records; for the latter those in use alone."""
    of_chain = packed[4:6] == b"\0\x33"
    found: list[Parameters] = []
    for rdata in raw_rdatas(packed):
        if of_chain and rdata[1]:
            continue  # RFC 5155 §4.1.2: flags other than zero are to be ignored
        salt = rdata[5 : 5 + rdata[4]]
        found.append(Parameters(rdata[0], rdata[2] << 8 | rdata[3], salt))
    return found


class Chain:
    """The names that have NSEC records, and those that have NSEC3 records, in order.

    Args:
        nodes: The zone's nodes.
        origin: Key of its name.

    Attributes:
        parameters: Those of the NSEC3 chain; ``None`` where there is none.
        has_nsec: Whether there are NSEC records.
    """

    __slots__ = ("_hashes", "_keys", "_names", "_origin", "parameters")

    def __init__(self, nodes: Mapping[bytes, Node], origin: bytes) -> None:
        self._origin = origin
        apex = nodes[origin]
        packed = apex.packed(NSEC3PARAM)
        known = [each for each in parameters_of(packed) if each.algorithm == 1] if packed else []
        self.parameters: Parameters | None = known[0] if known else None
        names: list[tuple[bytes, bytes]] = []
        hashes: list[bytes] = []
        # A zone without proofs has none at its own name, where each chain has its beginning; that
        # saves looking through a million names.
        proven = self.parameters is not None or apex.packed(NSEC) is not None
        for key, node in nodes.items() if proven else ():
            for each in node.sets:
                if each[4:6] == b"\0\x2f":
                    names.append((sort_key(key), key))
                elif each[4:6] == b"\0\x32" and self.parameters in parameters_of(each):
                    hashes.append(key[1 : 1 + key[0]])
        names.sort()
        hashes.sort()
        self._names = [name for name, _ in names]
        self._keys = [key for _, key in names]
        self._hashes = hashes

    @property
    def has_nsec(self) -> bool:
        """Whether there are NSEC records."""
        return bool(self._names)

    def before(self, key: bytes) -> bytes | None:
        """Key of the last name with NSEC that is `key`, or comes before it."""
        if not self._names:
            return None
        return self._keys[bisect_right(self._names, sort_key(key)) - 1]

    def covering(self, hashed: bytes) -> bytes | None:
        """Key of the last NSEC3 owner whose hash is `hashed` (base32hex), or comes before it."""
        hashes = self._hashes
        if not hashes:
            return None
        label = hashes[bisect_right(hashes, hashed) - 1]
        return bytes((len(label),)) + label + self._origin

    def parts(self) -> list[list[bytes]]:
        """What it is made of; see `Zone.parts`."""
        return [self._names, self._keys, self._hashes]

    def has_hash(self, hashed: bytes) -> bool:
        """Whether an NSEC3 owner has this hash."""
        place = bisect_left(self._hashes, hashed)
        return place < len(self._hashes) and self._hashes[place] == hashed

    def has_place(self, place: bytes) -> bool:
        """Whether a name with NSEC sorts by these octets (`sort_key`)."""
        index = bisect_left(self._names, place)
        return index < len(self._names) and self._names[index] == place

    def key_at(self, place: bytes) -> bytes:
        """Key of the name with NSEC that sorts by these octets, which there is."""
        return self._keys[bisect_left(self._names, place)]

    def neighbours(self, place: bytes, *, forward: bool, nsec3: bool) -> Iterator[bytes]:
        """What sorts behind a place (or before it), around the end, up to the place itself."""
        places = self._hashes if nsec3 else self._names
        size = len(places)
        start = bisect_right(places, place) if forward else bisect_left(places, place) - 1
        for step in range(size):
            yield places[(start + step if forward else start - step) % size]

    def change(self, key: bytes, old: Node | None, new: Node | None) -> bool:
        """Take a node's change in; false where the chain has to be made anew."""
        was = old is not None and old.packed(NSEC) is not None
        has = new is not None and new.packed(NSEC) is not None
        if key == self._origin and (
            was != has or (old and old.packed(NSEC3PARAM)) != (new and new.packed(NSEC3PARAM))
        ):
            return False
        if not (self._names or self._hashes or self.parameters):
            return True  # no chain begins at the zone's name
        if was != has:
            name = sort_key(key)
            place = bisect_left(self._names, name)
            if has:
                self._names.insert(place, name)
                self._keys.insert(place, key)
            else:
                del self._names[place], self._keys[place]
        label = key[1 : 1 + key[0]]
        packed = new.packed(NSEC3) if new is not None else None
        has = packed is not None and self.parameters in parameters_of(packed)
        was = self.has_hash(label)
        if has and not was:
            insort(self._hashes, label)
        elif was and not has and old is not None and old.packed(NSEC3) is not None:
            del self._hashes[bisect_left(self._hashes, label)]
        return True
