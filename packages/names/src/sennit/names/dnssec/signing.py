"""Signing zones: which signatures and proofs of absence a zone lacks, and which it has too many.

A `ZoneSigner` is given a zone and a change of its data, and makes the change whole: signatures
of what is new, without those of what is gone, and the chain of NSEC or NSEC3 records mended
where names came or went (`complete`). What is not touched keeps its signatures, which `find_due`
looks through a portion at a time, so that they are made anew before they end, or when the keys
have changed.
Nothing here is ever put into the zone: that is for who keeps it (``upkeep.py``),
together with the change, so that nobody sees one without the other.

What is signed: all that the zone has authority for. Of a delegation that is its DS, and its NSEC;
what stands beneath it, and beneath a DNAME, is not (RFC 4035 §2.2, §2.3).

Sources: RFC 4034, RFC 4035 §2, RFC 5155 §7.1, RFC 7344 (CDS), RFC 9077 (TTL of NSEC), RFC 9276
(NSEC3 without salt and rounds). Not here: which keys there are and when (``rollover.py``), their
files (``keyfiles.py``).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.codes import RRType
from sennit.names.dnssec.denial import nsec3_hash, nsec3_label
from sennit.names.dnssec.numbers import NSEC3_SHA1, OPT_OUT
from sennit.names.dnssec.overlay import ChainOverlay
from sennit.names.errors import DNSUsageError
from sennit.names.message import Record, RRset
from sennit.names.name import Name, trusted
from sennit.names.rdata.basic import SOA
from sennit.names.rdata.dnssec import NSEC, NSEC3, NSEC3PARAM, RRSIG
from sennit.names.zone.chain import Parameters, sort_key
from sennit.names.zone.rules import is_within
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sennit.names.dnssec.keys import ZoneKey
    from sennit.names.rdata import Rdata
    from sennit.names.rdata.dnssec import CDNSKEY, CDS, DNSKEY
    from sennit.names.zone.node import Node
    from sennit.names.zone.zone import Zone

__all__ = ["MADE", "KeySet", "SigningPolicy", "ZoneSigner"]

_RRSIG: Final = int(RRType.RRSIG)
_NSEC: Final = int(RRType.NSEC)
_NSEC3: Final = int(RRType.NSEC3)
_NSEC3PARAM: Final = int(RRType.NSEC3PARAM)
_NS: Final = int(RRType.NS)
_DS: Final = int(RRType.DS)
_SOA: Final = int(RRType.SOA)
_DNSKEY: Final = int(RRType.DNSKEY)
_KEY_TYPES: Final = (_DNSKEY, int(RRType.CDS), int(RRType.CDNSKEY))
"""What is signed by the keys that the parent vouches for."""
MADE: Final = frozenset({_RRSIG, _NSEC, _NSEC3, _NSEC3PARAM, *_KEY_TYPES})
"""Types that are the signer's, whoever put them there."""
_CHAINS: Final = frozenset({_RRSIG, _NSEC, _NSEC3})
"""Types that do not make a name one of the zone's own."""
_CHAIN_SIGNED: Final = frozenset({_NSEC, _NSEC3, _NSEC3PARAM})
"""Types of the chain that have signatures."""

DAY: Final = 86400


class SigningPolicy(NamedTuple):
    """How a zone is signed.

    Attributes:
        validity: Seconds that a signature is good for.
        refresh: Seconds before its end at which it is made anew.
        jitter: Seconds by which ends differ at most, so that not all are made in one moment.
        skew: Seconds before now at which a signature begins, for clocks that are late.
        nsec3: Whether names are hashed in proofs of absence.
        salt: Of the hashes; none is best (RFC 9276 §3.1).
        iterations: More rounds of hashing; likewise.
        opt_out: Whether delegations that are not signed are left out of NSEC3.
        portion: Names that are signed anew in one step at most.
    """

    validity: int = 14 * DAY
    refresh: int = 4 * DAY
    jitter: int = DAY
    skew: int = 3600
    nsec3: bool = False
    salt: bytes = b""
    iterations: int = 0
    opt_out: bool = False
    portion: int = 200

    @property
    def parameters(self) -> Parameters | None:
        """Those of NSEC3, if it is that."""
        return Parameters(NSEC3_SHA1, self.iterations, self.salt) if self.nsec3 else None

    def check(self) -> None:
        """See that it can be kept.

        Raises:
            DNSUsageError: It cannot.
        """
        if not 0 < self.refresh < self.validity - self.jitter:
            raise DNSUsageError(
                f"signatures good for {self.validity} s, less up to {self.jitter} s, cannot be "
                f"made anew {self.refresh} s before their end"
            )
        if self.iterations > 100 or len(self.salt) > 255:
            raise DNSUsageError("validators take at most 100 iterations, and a salt of 255 octets")


class KeySet(NamedTuple):
    """The keys of a zone as they are to be used now.

    Attributes:
        dnskeys: What the zone says its keys are.
        key_signers: Keys that sign these.
        zone_signers: Keys that sign all else.
        cds: What the parent is asked to have.
        cdnskeys: The same as keys.
        ttl: Of these records.
    """

    dnskeys: tuple[DNSKEY, ...]
    key_signers: tuple[ZoneKey, ...]
    zone_signers: tuple[ZoneKey, ...]
    cds: tuple[CDS, ...] = ()
    cdnskeys: tuple[CDNSKEY, ...] = ()
    ttl: int = 3600

    def records(self, rdtype: int) -> tuple[Rdata, ...]:
        """The records of one of the types of keys."""
        return (self.dnskeys, self.cds, self.cdnskeys)[_KEY_TYPES.index(rdtype)]

    def signers(self, rdtype: int) -> tuple[ZoneKey, ...]:
        """Who signs a type."""
        return self.key_signers if rdtype in _KEY_TYPES else self.zone_signers


class ZoneSigner:
    """Signs one zone.

    Args:
        origin: The zone's name.
        keys: The keys; may be changed, with `start_sweep` afterwards.
        policy: How.
        chance: A random number from 0 to 1, for jitter.

    Attributes:
        keys: As given.
        sweeping: Whether a sweep is under way.
        made: Signatures that were made so far.
    """

    def __init__(
        self,
        origin: Name,
        keys: KeySet,
        policy: SigningPolicy | None = None,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.origin = origin
        self.keys = keys
        self.policy = policy or SigningPolicy()
        self.policy.check()
        self.made = 0
        self._chance = chance
        self._left: Iterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"<ZoneSigner {self.origin} with {len(self.keys.dnskeys)} keys>"

    @property
    def sweeping(self) -> bool:
        """Whether a sweep is under way."""
        return self._left is not None

    # ── what changes are made of ──────────────────────────────────────────────

    def sign_whole(self, zone: Zone, now: float) -> Changes:
        """What makes a zone signed from end to end, whatever it is now; its serial is kept."""
        work = _Work(self, zone, now)
        work.keys()
        for key, node in zone.nodes.items():
            work.signatures(key, node)
        work.whole_chain()
        return work.changes

    def complete(
        self, zone: Zone, changes: Changes, now: float, *, renew: Iterable[bytes] = ()
    ) -> Changes:
        """A change of data with the signatures and proofs that go with it.

        Args:
            zone: The zone as it is, signed.
            changes: What is to change. What it says of signatures, proofs and keys is left out:
                these are ours.
            now: Seconds since 1970.
            renew: Names whose signatures are made anew where they have to be (`find_due`).

        Raises:
            ZoneError: The zone would be none.
        """
        data = Changes(
            [each for each in changes.removed if each.rdtype not in MADE],
            [each for each in changes.added if each.rdtype not in MADE],
        )
        after = zone.trial()
        after.apply(data)
        # Names without data have no signatures either, or they, and empty ones above them, would
        # seem to be there.
        bare = Changes(
            [
                record
                for key in {each.name.key for each in data.removed}
                if (node := after.nodes.get(key)) is not None and node.types <= _CHAINS
                for rrset in node.all_sets()
                for record in rrset.records()
            ]
        )
        after.apply(bare)
        work = _Work(self, after, now)
        work.keys()
        touched: dict[bytes, set[int]] = {}
        for record in (*data.removed, *data.added):
            touched.setdefault(record.name.key, set()).add(record.rdtype)
        names = set(touched)
        for key in touched:
            if (key in zone.cuts) != (key in after.cuts):
                # What is beneath was the zone's own, or is now.
                names.update(_beneath(key, zone), _beneath(key, after))
        for key in names:
            work.signatures(key, after.nodes.get(key), touched.get(key, ()))
        if self._needs_whole_chain(zone, after):
            work.whole_chain()
        else:
            work.mend_chain(set(names), zone)
        for key in renew:
            if key not in names:
                work.signatures(key, after.nodes.get(key))
            work.chain_signatures(key, after.nodes.get(key))
        made = work.changes
        return Changes(data.removed + bare.removed + made.removed, data.added + made.added)

    def _needs_whole_chain(self, zone: Zone, after: Zone) -> bool:
        """Whether all records of the chain change with this."""
        chain = zone.chain
        if self.policy.nsec3:
            there = chain.parameters == self.policy.parameters
        else:
            there = chain.has_nsec
        return not there or _absence_ttl(zone) != _absence_ttl(after)

    # ── signatures that end ───────────────────────────────────────────────────

    def start_sweep(self, zone: Zone) -> None:
        """Begin to look through all of the zone, from its beginning."""
        self._left = iter(list(zone.nodes))

    def find_due(self, zone: Zone, now: float) -> list[bytes]:
        """Names, out of the next portion, with signatures that end soon, lack, or are too many.

        `sweeping` tells whether there is a next portion.
        """
        if self._left is None:
            self.start_sweep(zone)
        assert self._left is not None
        work = _Work(self, zone, now)
        found: list[bytes] = []
        for looked, key in enumerate(self._left, 1):
            node = zone.nodes.get(key)
            if node is not None and work.is_due(key, node):
                found.append(key)
            if len(found) >= self.policy.portion or looked >= 10 * self.policy.portion:
                return found
        self._left = None
        return found

    def sign_record(self, record: Record, now: float) -> list[Record]:
        """The signatures of an RRset that is this one record."""
        rrset = RRset(record.name, record.rdtype, record.ttl, [record.rdata], record.rdclass)
        inception = int(now) - self.policy.skew
        signers = self.keys.signers(record.rdtype)
        self.made += len(signers)
        return [
            Record(
                record.name,
                _RRSIG,
                record.ttl,
                each.sign(rrset, inception, self.lasting(now)),
                record.rdclass,
            )
            for each in signers
        ]

    def lasting(self, now: float) -> int:
        """When a signature that is made now ends: seconds since 1970."""
        return int(now + self.policy.validity - self._chance() * self.policy.jitter)


class _Work:
    """One pass: records that are to go and to come, relative to a zone that is not changed."""

    __slots__ = (
        "_after",
        "_inception",
        "_keys",
        "_linked",
        "_now",
        "_origin",
        "_signer",
        "changes",
    )

    def __init__(self, signer: ZoneSigner, after: Zone, now: float) -> None:
        self._signer = signer
        self._keys = signer.keys  # others may come in the middle
        self._after = after
        self._origin = after.origin.key
        self._now = now
        self._inception = int(now) - signer.policy.skew
        self._linked: set[bytes] = set()
        self.changes = Changes()

    # ── records ───────────────────────────────────────────────────────────────

    def _replace(self, old: RRset | None, new: RRset | None) -> bool:
        """Put one RRset in the place of another; whether they differ."""
        if old is None and new is None:
            return False
        before = set[Record]() if old is None else {*old.records()}
        behind = [] if new is None else new.records()
        if old is not None and new is not None and old.ttl == new.ttl and before == {*behind}:
            return False
        moved = old is not None and new is not None and old.ttl != new.ttl
        self.changes.removed += [each for each in before if moved or each not in behind]
        self.changes.added += [each for each in behind if moved or each not in before]
        return True

    def keys(self) -> None:
        """The records of the zone's keys, signed."""
        keys = self._keys
        after = self._after
        apex = after.nodes[self._origin]
        for rdtype in _KEY_TYPES:
            rdatas = keys.records(rdtype)
            wanted = RRset(after.origin, rdtype, keys.ttl, rdatas, after.rdclass)
            new = wanted if rdatas else None
            changed = self._replace(apex.get(rdtype), new)
            self._sign(after.origin, apex, rdtype, new, again=changed)

    def signatures(self, key: bytes, node: Node | None, again: Iterable[int] = ()) -> None:
        """Signatures of all data of a name; of the types in `again` without looking at theirs."""
        if node is None:
            return
        signed = self._signed_types(key, node)
        name = node.name
        for rdtype in signed:
            self._sign(name, node, rdtype, node.get(rdtype), again=rdtype in again)
        for covered in _covered(node) - signed - MADE:
            self._drop(node.get_signatures(covered))

    def chain_signatures(self, key: bytes, node: Node | None) -> None:
        """Signatures of a name's records of the chain, which are as they are to be."""
        if node is None or key in self._linked:
            return
        for rdtype in node.types & _CHAIN_SIGNED:
            self._sign(node.name, node, rdtype, node.get(rdtype), again=False)

    def is_due(self, key: bytes, node: Node) -> bool:
        """Whether signatures of a name end soon, lack, or are too many."""
        signed = self._signed_types(key, node)
        if _covered(node) - signed - MADE:
            return True
        for rdtype in signed | node.types & (_CHAIN_SIGNED | {*_KEY_TYPES}):
            rrset = node.get(rdtype)
            assert rrset is not None, "it is one of the node's"
            signers = self._keys.signers(rdtype)
            old = node.get_signatures(rdtype)
            if len(self._kept(old, rrset, signers)) != len(signers) or (
                old is not None and len(old) != len(signers)
            ):
                return True
        return False

    def _drop(self, rrset: RRset | None) -> None:
        if rrset is not None:
            self.changes.removed += rrset.records()

    def _signed_types(self, key: bytes, node: Node) -> frozenset[int]:
        """The types of data at a name that are signed."""
        if not node.sets or self._occluded(key):
            return frozenset()
        types = node.types
        if _NS in types and key != self._origin:
            return types & {_DS}
        return types - MADE

    def _sign(
        self, name: Name, node: Node | None, rdtype: int, rrset: RRset | None, *, again: bool
    ) -> None:
        """Give an RRset its signatures; those that are good stay unless it has changed.

        Args:
            name: Its owner.
            node: What is there now, if anything.
            rdtype: Its type.
            rrset: It; ``None`` takes signatures away.
            again: Whether it has changed.
        """
        old = None if node is None else node.get_signatures(rdtype)
        if rrset is None:
            self._drop(old)
            return
        signers = self._keys.signers(rdtype)
        kept = [] if again else self._kept(old, rrset, signers)
        has = {(each.key_tag, each.algorithm) for each in kept}
        made = [self._make(key, rrset) for key in signers if (key.tag, key.algorithm) not in has]
        self._replace(old, RRset(name, _RRSIG, rrset.ttl, [*kept, *made], rrset.rdclass))

    def _kept(self, old: RRset | None, rrset: RRset, signers: Sequence[ZoneKey]) -> list[RRSIG]:
        """Signatures of an RRset, that has not changed, which can stay: one of each key."""
        found: dict[tuple[int, int], RRSIG] = {}
        for each in () if old is None else old.rdatas:
            if isinstance(each, RRSIG) and self._is_good(each, rrset, signers):
                found[each.key_tag, each.algorithm] = each
        return list(found.values())

    def _make(self, key: ZoneKey, rrset: RRset) -> RRSIG:
        self._signer.made += 1
        return key.sign(rrset, self._inception, self._signer.lasting(self._now))

    def _is_good(self, rdata: Rdata, rrset: RRset, signers: Sequence[ZoneKey]) -> bool:
        """Whether a signature can stay (of data that have not changed)."""
        return (
            isinstance(rdata, RRSIG)
            and rdata.original_ttl == rrset.ttl
            and any(
                each.tag == rdata.key_tag and each.algorithm == rdata.algorithm for each in signers
            )
            and _ahead(rdata.expiration, self._now) > self._signer.policy.refresh
            and _ahead(rdata.inception, self._now) <= 0
        )

    def _occluded(self, key: bytes) -> bool:
        """Whether a name is beneath a delegation or a DNAME."""
        cuts, origin = self._after.cuts, self._origin
        if not cuts:
            return False
        while key != origin:
            key = key[1 + key[0] :]
            if key in cuts:
                return True
        return False

    # ── proofs of absence ─────────────────────────────────────────────────────

    def _types(self, key: bytes, node: Node) -> tuple[int, ...] | None:
        """The types in the record of a name in the chain; ``None`` where it has no place in it."""
        if self._occluded(key):
            return None
        policy = self._signer.policy
        own = node.types - _CHAINS - {*_KEY_TYPES, _NSEC3PARAM}
        if key == self._origin:
            keys = self._keys
            own |= {each for each in _KEY_TYPES if keys.records(each)}
            if policy.nsec3:
                own |= {_NSEC3PARAM}
        if _NS in own and key != self._origin:
            own &= {_NS, _DS}
            if policy.nsec3 and policy.opt_out and _DS not in own:
                return None
        if not own:
            # An empty non-terminal has a place among hashes alone (RFC 5155 §7.1).
            return () if policy.nsec3 and not node.sets else None
        if policy.nsec3:
            signed = own if _NS not in own or key == self._origin else own & {_DS}
            return tuple(sorted(own | {_RRSIG} if signed else own))
        return tuple(sorted(own | {_RRSIG, _NSEC}))

    def _place(self, key: bytes) -> bytes:
        """What a name is sorted by in the chain."""
        policy = self._signer.policy
        if not policy.nsec3:
            return sort_key(key)
        return nsec3_label(nsec3_hash(trusted(key), policy.salt, policy.iterations))

    def whole_chain(self) -> None:
        """Make the chain from its beginning to its end."""
        after = self._after
        members: list[tuple[bytes, bytes, tuple[int, ...]]] = []
        for key, node in after.nodes.items():
            types = self._types(key, node)
            if types is not None:
                members.append((self._place(key), key, types))
        members.sort()
        wanted: set[bytes] = set()
        for index, (place, key, types) in enumerate(members):
            following = members[(index + 1) % len(members)]
            wanted.add(self._link(place, key, following[0], following[1], types))
        for key, node in after.nodes.items():
            if key not in wanted:
                self._unlink(node, self._chain_type)
            self._unlink(node, _NSEC if self._chain_type == _NSEC3 else _NSEC3)
        self._parameters()

    @property
    def _chain_type(self) -> int:
        return _NSEC3 if self._signer.policy.nsec3 else _NSEC

    def _unlink(self, node: Node, rdtype: int) -> None:
        """Take a record of a chain away, with its signatures."""
        self._drop(node.get(rdtype))
        self._drop(node.get_signatures(rdtype))

    def _parameters(self) -> None:
        after, policy = self._after, self._signer.policy
        apex = after.nodes[self._origin]
        new: RRset | None = None
        if policy.nsec3:
            rdata = NSEC3PARAM(NSEC3_SHA1, 0, policy.iterations, policy.salt)
            new = RRset(after.origin, _NSEC3PARAM, 0, [rdata], after.rdclass)
        changed = self._replace(apex.get(_NSEC3PARAM), new)
        self._sign(after.origin, apex, _NSEC3PARAM, new, again=changed)

    def _link(
        self, place: bytes, key: bytes, next_place: bytes, next_key: bytes, types: tuple[int, ...]
    ) -> bytes:
        """The record of one name in the chain; key of its owner."""
        after, policy = self._after, self._signer.policy
        rdata: Rdata
        if policy.nsec3:
            owner = trusted(bytes((len(place),)) + place + after.origin.wire)
            rdata = NSEC3(
                NSEC3_SHA1,
                OPT_OUT if policy.opt_out else 0,
                policy.iterations,
                policy.salt,
                _digest(next_place),
                types,
            )
        else:
            owner = after.nodes[key].name
            rdata = NSEC(after.nodes[next_key].name, types)
        node = after.nodes.get(owner.key)
        new = RRset(owner, self._chain_type, _absence_ttl(after), [rdata], after.rdclass)
        old = None if node is None else node.get(self._chain_type)
        changed = self._replace(old, new)
        self._sign(owner, node, self._chain_type, new, again=changed)
        self._linked.add(owner.key)
        return owner.key

    def mend_chain(self, names: set[bytes], before: Zone) -> None:
        """Mend the chain where these names came, went or have other types."""
        after = self._after
        if self._signer.policy.nsec3:
            # Empty non-terminals come and go with what is beneath them.
            for key in tuple(names):
                while key != self._origin:
                    key = key[1 + key[0] :]
                    names.add(key)
        names.add(self._origin)  # its types change with the keys
        chain = ChainOverlay(before, nsec3=self._signer.policy.nsec3)
        types: dict[bytes, tuple[int, ...]] = {}
        links: set[bytes] = set()
        for key in names:
            place = self._place(key)
            node = after.nodes.get(key)
            found = None if node is None else self._types(key, node)
            if found is not None:
                types[place] = found
                links.add(place)
                if chain.add(place, key):
                    links.add(chain.before(place))
            elif chain.remove(place):
                links.add(chain.before(place))
                self._unlink_place(place, key)
        for place in links:
            if not chain.has(place):
                continue
            key = chain.key(place)
            following = chain.after(place)
            known = types.get(place)
            if known is None:
                known = self._known_types(place, key)
            self._link(place, key, following, chain.key(following), known)

    def _owner(self, place: bytes, key: bytes) -> bytes:
        return bytes((len(place),)) + place + self._origin if self._chain_type == _NSEC3 else key

    def _unlink_place(self, place: bytes, key: bytes) -> None:
        node = self._after.nodes.get(self._owner(place, key))
        if node is not None:
            self._unlink(node, self._chain_type)

    def _known_types(self, place: bytes, key: bytes) -> tuple[int, ...]:
        """The types of a name that was not touched, as its record has them."""
        rrset = self._after.nodes[self._owner(place, key)].get(self._chain_type)
        assert rrset is not None, "it is in the chain"
        rdata = rrset.rdatas[0]
        assert isinstance(rdata, NSEC | NSEC3)
        return rdata.types


def _covered(node: Node) -> frozenset[int]:
    """The types that signatures of a name are of."""
    return frozenset(each[14] << 8 | each[15] for each in node.sets if each[4:6] == b"\0\x2e")


def _ahead(stamp: int, now: float) -> int:
    """Seconds from now to a time of RRSIG, which counts modulo 2**32 (RFC 4034 §3.1.5)."""
    return (stamp - int(now) + (1 << 31)) % (1 << 32) - (1 << 31)


def _absence_ttl(zone: Zone) -> int:
    """TTL of the records of the chain (RFC 9077 §3)."""
    soa = zone.soa
    assert isinstance(soa.rdata, SOA)
    return min(soa.ttl, soa.rdata.minimum)


def _digest(label: bytes) -> bytes:
    from sennit.names.dnssec.denial import hash_of_label

    digest = hash_of_label(label)
    assert digest is not None, "we made it"
    return digest


def _beneath(key: bytes, zone: Zone) -> Iterator[bytes]:
    """Keys of the names beneath one."""
    if not zone.has_beneath(key):
        return  # as is mostly so, and found out without looking at all names
    for each in zone.nodes:
        if len(each) > len(key) and is_within(each, key):
            yield each
