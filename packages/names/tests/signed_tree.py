"""Signed zones in memory, and a resolver over them, for tests of validation.

A `SignedZone` is made from text, signed with a key of its own, and answers as an authority does.
It is written apart from the package's own zones and signer, so that neither is tested against
itself. A `Tree` holds several and puts answers together from zone to zone; `Tree.change` lets a
test tamper with them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sennit.names.codes import Rcode, RRType, type_from_text
from sennit.names.dnssec.anchors import TrustAnchors
from sennit.names.dnssec.denial import nsec3_hash, nsec3_label
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.numbers import SEP, ZONE_KEY, Algorithm
from sennit.names.dnssec.validation import Validator
from sennit.names.message import AA, QR, Message, Question, Record, RRset
from sennit.names.name import Name
from sennit.names.presentation import Tokens, split
from sennit.names.rdata import parse_rdata, rdata_from_wire
from sennit.names.rdata.address import A
from sennit.names.rdata.alias import DNAME
from sennit.names.rdata.basic import CNAME
from sennit.names.rdata.dnssec import NSEC, NSEC3, NSEC3PARAM, RRSIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.names.dnssec.verdict import Verdict
    from sennit.names.rdata import Rdata

__all__ = [
    "DENYING",
    "KINDS",
    "NOW",
    "WWW",
    "SignedZone",
    "Tree",
    "changed",
    "grow",
    "unsigned",
    "without",
]

NOW = 1_800_000_000
"""The wall clock of these tests, in seconds."""
TTL = 3600

_NS, _CNAME, _SOA, _DS = (int(RRType[each]) for each in ("NS", "CNAME", "SOA", "DS"))
_DNAME, _DNSKEY = int(RRType.DNAME), int(RRType.DNSKEY)
_RRSIG, _NSEC, _NSEC3 = int(RRType.RRSIG), int(RRType.NSEC), int(RRType.NSEC3)


class SignedZone:
    """A zone.

    Args:
        origin: Its name.
        text: Records without TTL and class, one a line: ``www A 192.0.2.1``.
        signed: Whether it is.
        nsec3: Salt and additional iterations; NSEC when left out.
        opt_out: Whether unsigned delegations have no NSEC3.
        algorithm: Of its one key.
        window: Inception and expiration of its signatures, in seconds from `NOW`.
    """

    def __init__(
        self,
        origin: str,
        text: str = "",
        *,
        signed: bool = True,
        nsec3: tuple[bytes, int] | None = None,
        opt_out: bool = False,
        algorithm: int = Algorithm.ED25519,
        window: tuple[int, int] = (-3600, 86400),
    ) -> None:
        self.origin = Name(origin)
        self.signed = signed
        self.nsec3 = nsec3
        self.opt_out = opt_out
        self.window = window
        self.key = ZoneKey.generate(self.origin, algorithm)
        self.key = ZoneKey(self.origin, self.key.private, ZONE_KEY | SEP)
        self.sets: dict[tuple[Name, int], RRset] = {}
        self.signatures: dict[tuple[Name, int], list[RRSIG]] = {}
        self.add("@ SOA ns hostmaster 1 7200 3600 1209600 300\n@ NS ns\n" + text)

    def add(self, text: str) -> None:
        """Put records in, before signing."""
        for entry in split(text.splitlines()):
            tokens = Tokens(entry.tokens, self.origin)
            name, rdtype = tokens.name(), type_from_text(tokens.text())
            self.put(name, parse_rdata(rdtype, tokens))

    def put(self, name: Name, rdata: Rdata) -> None:
        """Put a record in, before signing."""
        known = self.sets.get((name, rdata.rdtype))
        rdatas = (*known.rdatas, rdata) if known else (rdata,)
        self.sets[name, rdata.rdtype] = RRset(name, rdata.rdtype, TTL, rdatas)

    def is_cut(self, name: Name) -> bool:
        """Whether another zone begins at `name`."""
        return name != self.origin and (name, _NS) in self.sets

    def is_under(self, name: Name) -> bool:
        """Whether `name` is beneath a cut."""
        above = list(name.ancestors())[1:]
        return any(self.is_cut(each) for each in above if each.is_below(self.origin))

    def sign(self) -> None:
        """Make the keys' record, the proofs of absence, and the signatures."""
        if not self.signed:
            return
        self.put(self.origin, self.key.dnskey)
        if self.nsec3 is not None:
            self.put(self.origin, NSEC3PARAM(1, 0, self.nsec3[1], self.nsec3[0]))
        owned = sorted({name for name, _ in self.sets if not self.is_under(name)})
        if self.nsec3 is None:
            for index, name in enumerate(owned):
                following = owned[(index + 1) % len(owned)]
                types = (*self.types(name), _RRSIG, _NSEC)
                self.put(name, NSEC(following, types))
        else:
            self._hash(owned)
        for (name, rdtype), rrset in list(self.sets.items()):
            if self.is_under(name) or (self.is_cut(name) and rdtype not in (_DS, _NSEC)):
                continue
            self.resign(rrset)

    def resign(self, rrset: RRset, window: tuple[int, int] | None = None) -> None:
        """Sign one RRset, in the place of what it was signed with."""
        inception, expiration = window or self.window
        signature = self.key.sign(rrset, NOW + inception, NOW + expiration)
        self.signatures[rrset.name, rrset.rdtype] = [signature]

    def _hash(self, owned: list[Name]) -> None:
        assert self.nsec3 is not None
        salt, iterations = self.nsec3
        names = {
            above
            for name in owned
            if not (self.opt_out and self.is_cut(name) and (name, _DS) not in self.sets)
            for above in name.ancestors()
            if above.is_below(self.origin)
        }
        hashed = sorted((nsec3_hash(name, salt, iterations), name) for name in names)
        for index, (digest, name) in enumerate(hashed):
            following = hashed[(index + 1) % len(hashed)][0]
            types = self.types(name)
            if types and (not self.is_cut(name) or _DS in types):
                types = (*types, _RRSIG)
            self.put(
                self.origin.child(nsec3_label(digest)),
                NSEC3(1, int(self.opt_out), iterations, salt, following, types),
            )

    def types(self, name: Name) -> tuple[int, ...]:
        """The types of `name`, as its NSEC says them, without RRSIG and NSEC."""
        cut = self.is_cut(name)
        return tuple(
            sorted(
                rdtype
                for owner, rdtype in self.sets
                if owner == name and (not cut or rdtype in (_NS, _DS))
            )
        )

    # ── answers ───────────────────────────────────────────────────────────────

    def records(self, rrset: RRset, owner: Name | None = None) -> list[Record]:
        """An RRset with its signatures, of another owner where a wildcard is expanded."""
        name = owner or rrset.name
        found = [Record(name, rrset.rdtype, rrset.ttl, each) for each in rrset.rdatas]
        signatures = self.signatures.get((rrset.name, rrset.rdtype), ())
        return found + [Record(name, _RRSIG, rrset.ttl, each) for each in signatures]

    def exists(self, name: Name) -> bool:
        """Whether `name` is there, if only because of what stands beneath it."""
        return any(owner.is_below(name) and rdtype != _NSEC3 for owner, rdtype in self.sets)

    def answer(self, name: Name, rdtype: int) -> Message:
        """What an authority says, with the records of DNSSEC."""
        message = Message(0, QR | AA, questions=[Question(name, rdtype)])
        for above in reversed(list(name.ancestors())[1:]):
            dname = self.sets.get((above, _DNAME))
            if above.is_below(self.origin) and dname is not None:
                data = dname.rdatas[0]
                assert isinstance(data, DNAME)
                message.answers = self.records(dname)
                target = name.rebased(above, data.target)
                message.answers.append(Record(name, _CNAME, TTL, CNAME(target)))
                return message
        if rdtype == RRType.ANY:
            owned = [rrset for (owner, _), rrset in self.sets.items() if owner == name]
            message.answers = [record for rrset in owned for record in self.records(rrset)]
            return message
        own = next(
            (s for t in (rdtype, _CNAME) if (s := self.sets.get((name, t))) is not None), None
        )
        if own is not None:
            message.answers = self.records(own)
            return message
        closest = next(each for each in name.ancestors() if self.exists(each))
        soa = self.records(self.sets[self.origin, _SOA])
        wildcard = closest.child(b"*")
        if closest != name and self.exists(wildcard):
            made = next(
                (s for t in (rdtype, _CNAME) if (s := self.sets.get((wildcard, t))) is not None),
                None,
            )
            proofs = self.proofs(name, closest, wildcard if made is None else None)
            if made is None:
                message.authority = [*soa, *proofs]
            else:
                message.answers = self.records(made, name)
                message.authority = proofs
            return message
        if closest == name:
            message.authority = [*soa, *self.proofs(name, closest, None)]
            return message
        message.rcode = Rcode.NXDOMAIN
        message.authority = [*soa, *self.proofs(name, closest, wildcard)]
        return message

    def proofs(self, name: Name, closest: Name, wildcard: Name | None) -> list[Record]:
        """The NSEC or NSEC3 records that say what `name` and `wildcard` are, each once."""
        if not self.signed:
            return []
        if closest == name and self.opt_out and self.is_cut(name):
            closest = name.parent
        found: dict[tuple[Name, int], RRset] = {}
        for each in [name] if wildcard is None else [name, wildcard]:
            if self.nsec3 is None:
                for rrset in [self._nsec(each)]:
                    found[rrset.name, _NSEC] = rrset
                continue
            wanted = [each]
            if each == name and closest != name:
                above = [above for above in name.ancestors() if len(above) == len(closest) + 1]
                wanted = [closest, *above]
            for rrset in map(self._nsec3, wanted):
                found[rrset.name, _NSEC3] = rrset
        return [record for rrset in found.values() for record in self.records(rrset)]

    def _nsec(self, name: Name) -> RRset:
        owners = sorted(owner for owner, rdtype in self.sets if rdtype == _NSEC)
        at = [owner for owner in owners if owner <= name]
        return self.sets[at[-1] if at else owners[-1], _NSEC]

    def _nsec3(self, name: Name) -> RRset:
        assert self.nsec3 is not None
        label = nsec3_label(nsec3_hash(name, *self.nsec3))
        owners = sorted(owner.labels[0] for owner, rdtype in self.sets if rdtype == _NSEC3)
        at = [each for each in owners if each <= label]
        return self.sets[self.origin.child(at[-1] if at else owners[-1]), _NSEC3]


class Tree:
    """Zones that stand above each other; DS records are put where they belong.

    Args:
        zones: The zones, the topmost first.
        missing: Zones whose parent has no DS of them, signed or not.

    Attributes:
        asked: What was fetched: names and types.
        change: What becomes of an answer before it is given; for tests to set.
    """

    def __init__(self, *zones: SignedZone, missing: Iterable[str] = ()) -> None:
        self.zones = {each.origin: each for each in zones}
        self.asked: list[tuple[str, int]] = []
        self.change: Callable[[Message], Message] = lambda message: message
        without = {Name(each) for each in missing}
        for zone in sorted(zones, key=lambda each: -len(each.origin)):
            parent = self.zone_of(zone.origin.parent) if len(zone.origin) else None
            if parent is not None:
                if (zone.origin, _NS) not in parent.sets:
                    parent.add(f"{zone.origin} NS ns.{zone.origin}")
                if zone.signed and zone.origin not in without:
                    parent.put(zone.origin, zone.key.ds())
        for zone in zones:
            zone.sign()
        top = zones[0]
        self.anchors = TrustAnchors([(top.origin, top.key.ds())])
        self.now = float(NOW)

    def zone_of(self, name: Name) -> SignedZone | None:
        """The deepest zone that holds `name`."""
        return next((self.zones[each] for each in name.ancestors() if each in self.zones), None)

    def ask(self, name: Name, rdtype: int) -> Message:
        """The answer of the zone that knows."""
        zone = self.zone_of(name.parent if rdtype == _DS and len(name) else name)
        assert zone is not None
        return self.change(zone.answer(name, rdtype))

    def resolve(self, name: Name, rdtype: int) -> Message:
        """The answer with its aliases followed from zone to zone."""
        whole = message = self.ask(name, rdtype)
        for _ in range(20):
            aliases = [each for each in message.answers if isinstance(each.rdata, CNAME)]
            if not aliases or rdtype == _CNAME:
                break
            target = aliases[-1].rdata
            assert isinstance(target, CNAME)
            message = self.ask(target.target, rdtype)
            whole.answers += message.answers
            whole.authority += message.authority
            whole.rcode = message.rcode
        return whole

    async def fetch(self, name: Name, rdtype: int) -> Message:
        """What a validator asks for."""
        self.asked.append((str(name), rdtype))
        await asyncio.sleep(0)
        return self.ask(name, rdtype)

    def validator(self, **named: object) -> Validator:
        """A validator that believes the topmost zone's key, at `now`."""
        return Validator(self.anchors, now=lambda: self.now, **named)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # passed through

    def judge(
        self,
        name: str,
        rdtype: str = "A",
        validator: Validator | None = None,
        edit: Callable[[Message], Message] | None = None,
    ) -> Verdict:
        """What is found of the answer to a question, changed by `edit`."""
        number = type_from_text(rdtype)
        message = self.resolve(Name(name), number)
        if edit is not None:
            message = edit(message)
        return asyncio.run(
            (validator or self.validator()).validate(
                message, Question(Name(name), number), self.fetch
            )
        )


# ── what the tests have in common ──────────────────────────────────────────────

WWW = """
www A 192.0.2.1
www A 192.0.2.2
*.wild TXT "x"
real.wild TXT "y"
alias CNAME www
out CNAME www.other.test.
into CNAME a.plain.test.
*.into CNAME nothing.plain.test.
*.over CNAME nothing.child.test.
renamed DNAME other.test.
b.ent A 192.0.2.3
loop1 CNAME loop2
loop2 CNAME loop1
"""
KINDS = {"nsec": None, "nsec3": (b"\xaa\xbb", 3)}


def grow(kind: str = "nsec", **named: object) -> Tree:
    """``test.``, with zones beneath it that are signed, not signed, and signed without a DS."""
    nsec3 = KINDS[kind]
    return Tree(
        SignedZone("test", WWW, nsec3=nsec3, **named),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # passed through
        SignedZone("child.test", WWW, nsec3=nsec3),
        SignedZone("other.test", WWW),
        SignedZone("plain.test", "a A 192.0.2.9", signed=False),
        SignedZone("island.test", WWW),
        SignedZone("deep.child.test", WWW, nsec3=nsec3),
        missing=["island.test"],
    )


DENYING = {int(RRType.NSEC), int(RRType.NSEC3)}


def without(rdtypes: set[int]) -> Callable[[Message], Message]:
    """Leaves records of these types, and their signatures, out of answers."""

    def edit(message: Message) -> Message:
        for section in (message.answers, message.authority):
            section[:] = [
                each
                for each in section
                if each.rdtype not in rdtypes
                and not (isinstance(each.rdata, RRSIG) and each.rdata.type_covered in rdtypes)
            ]
        return message

    return edit


def unsigned(message: Message) -> Message:
    """Leaves all signatures out."""
    return without({RRType.RRSIG})(message)


def changed(message: Message) -> Message:
    """Puts another address in the place of each."""
    for record in message.answers:
        if isinstance(record.rdata, A):
            record.rdata = rdata_from_wire(RRType.A, bytes((203, 0, 113, 66)))
    return message
