"""An answer as validation sees it: RRsets with their signatures, and proofs by who signed them.

`Answer` is a message taken apart once; `Run` is one validation: the time it happens at, what it
has cost, and what there is to say of it.

Sources: RFC 4035 §3.1 (where the records of DNSSEC stand in an answer), RFC 6672 §2.3 (DNAME).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import EDE, RRClass, RRType
from sennit.names.dnssec.canonical import ttl_limit
from sennit.names.dnssec.denial import NSEC3Denial, NSECDenial
from sennit.names.dnssec.signatures import verify_rrset
from sennit.names.message import rrsets
from sennit.names.rdata.dnssec import NSEC, NSEC3, RRSIG

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sennit.names.dnssec.limits import Work
    from sennit.names.dnssec.signatures import ZoneKeys
    from sennit.names.interfaces import Fetch
    from sennit.names.message import Message, Record, RRset
    from sennit.names.name import Name

__all__ = ["Answer", "Proofs", "Run"]

MAX_DENYING_ZONES: Final = 2
"""Zones whose proofs of one absence are looked at."""

_IN: Final = int(RRClass.IN)
_RRSIG: Final = int(RRType.RRSIG)
_NSEC: Final = int(RRType.NSEC)
_NSEC3: Final = int(RRType.NSEC3)
_SOA: Final = int(RRType.SOA)
_DNAME: Final = int(RRType.DNAME)


class Run:
    """One validation.

    Attributes:
        now: Seconds of the wall clock, which signatures are held to.
        clock: Seconds that only go forward, which what is remembered is held to.
        fetch: Asks for DS and DNSKEY.
        work: What it has cost.
        info_code: The first thing there is to say of why something is not secure.
        reason: The same in words.
    """

    __slots__ = ("clock", "fetch", "info_code", "now", "reason", "work")

    def __init__(self, now: float, clock: float, fetch: Fetch, work: Work) -> None:
        self.now = now
        self.clock = clock
        self.fetch = fetch
        self.work = work
        self.info_code: int | None = None
        self.reason = ""

    def note(self, info_code: int | None, reason: str) -> None:
        """Say why something is not secure, unless that was said already."""
        if not self.reason:
            self.info_code = info_code
            self.reason = reason


class Proofs:
    """The proofs of absence that one zone gives in an answer, verified.

    Attributes:
        denials: What the records of each kind prove.
        rrsets: The records, the zone's SOA among them.
        ttl: Seconds that they may be kept.
        unsupported: Whether names are hashed more often than is done here (RFC 9276 §3.2), so
            that the zone counts as insecure.
    """

    __slots__ = ("denials", "rrsets", "ttl", "unsupported")

    def __init__(self) -> None:
        self.denials: list[NSECDenial | NSEC3Denial] = []
        self.rrsets: list[RRset] = []
        self.ttl = 0
        self.unsupported = False


class Answer:
    """A message taken apart.

    Attributes:
        message: It.
        answers: RRsets of its answer section, by owner and type, without signatures.
        authority: Those of its authority section.
    """

    __slots__ = ("_signatures", "answers", "authority", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._signatures: dict[tuple[Name, int], list[RRSIG]] = {}
        self.answers = self._sets(message.answers)
        self.authority = self._sets(message.authority)

    def _sets(self, records: Iterable[Record]) -> dict[tuple[Name, int], RRset]:
        kept: list[Record] = []
        for record in records:
            if record.rdclass != _IN:
                continue
            if record.rdtype != _RRSIG:
                kept.append(record)
            elif isinstance(record.rdata, RRSIG):
                known = self._signatures.setdefault((record.name, record.rdata.type_covered), [])
                if record.rdata not in known:
                    known.append(record.rdata)
        return {(each.name, each.rdtype): each for each in rrsets(kept)}

    def signatures(self, rrset: RRset) -> list[RRSIG]:
        """Those that came with an RRset."""
        return self._signatures.get((rrset.name, rrset.rdtype), [])

    def signatures_of(self, name: Name) -> bool:
        """Whether there are signatures of records of `name`."""
        return any(owner == name for owner, _ in self._signatures)

    def dname(self, name: Name) -> RRset | None:
        """The DNAME that redirects `name`, the closest above it."""
        above = iter(name.ancestors())
        next(above)
        return next(
            (found for each in above if (found := self.answers.get((each, _DNAME))) is not None),
            None,
        )

    @property
    def soa(self) -> RRset | None:
        """The SOA that an absence comes with."""
        return next((each for (_, rdtype), each in self.authority.items() if rdtype == _SOA), None)

    @property
    def has_denial(self) -> bool:
        """Whether there is an NSEC or NSEC3, signed or not."""
        return any(rdtype in (_NSEC, _NSEC3) for _, rdtype in self.authority)

    def denying_zones(self, name: Name, *, above: bool = False) -> list[Name]:
        """The zones that say by NSEC, NSEC3 or SOA what `name` has not, deepest first.

        Args:
            name: It.
            above: Whether the zone has to stand above the name: DS is its parent's.
        """
        found: dict[Name, None] = {}
        for (owner, rdtype), rrset in self.authority.items():
            if rdtype not in (_NSEC, _NSEC3, _SOA):
                continue
            for each in self.signatures(rrset):
                signer = each.signer
                if (
                    name.is_below(signer)
                    and owner.is_below(signer)
                    and not (above and signer == name and not name.is_root)
                ):
                    found[signer] = None
        return sorted(found, key=len, reverse=True)[:MAX_DENYING_ZONES]

    def denials(self, keys: ZoneKeys, run: Run, algorithms: Collection[int]) -> Proofs:
        """The proofs of one zone, verified.

        Args:
            keys: Its keys.
            run: What is being validated.
            algorithms: Algorithms that count.

        Raises:
            ValidationError: One of these records is not proven. Those that another zone signed
                are passed over.
        """
        nsec: list[tuple[Name, NSEC]] = []
        nsec3: list[tuple[Name, NSEC3]] = []
        proofs = Proofs()
        ttls: list[int] = []
        for (owner, rdtype), rrset in self.authority.items():
            if rdtype not in (_NSEC, _NSEC3, _SOA) or not owner.is_below(keys.zone):
                continue
            if rdtype == _SOA and owner != keys.zone:
                continue  # of a zone beneath, which an alias led to and which may be unsigned
            signatures = self.signatures(rrset)
            if signatures and all(each.signer != keys.zone for each in signatures):
                continue
            run.work.rrset()
            signature = verify_rrset(
                rrset,
                signatures,
                keys,
                now=run.now,
                work=run.work,
                algorithms=algorithms,
            )
            ttls.append(ttl_limit(rrset.ttl, signature, run.now))
            proofs.rrsets.append(rrset)
            for data in rrset.rdatas:
                if isinstance(data, NSEC):
                    nsec.append((owner, data))
                elif isinstance(data, NSEC3):
                    nsec3.append((owner, data))
        proofs.ttl = min(ttls, default=0)
        if nsec:
            proofs.denials.append(NSECDenial(keys.zone, nsec))
        if nsec3:
            hashed = NSEC3Denial(keys.zone, nsec3, run.work)
            proofs.unsupported = hashed.iterations > run.work.limits.iterations
            if proofs.unsupported:
                run.note(
                    EDE.UNSUPPORTED_NSEC3_ITERATIONS,
                    f"{keys.zone} hashes names {hashed.iterations} times more",
                )
            elif hashed.records:
                proofs.denials.append(hashed)
        return proofs
