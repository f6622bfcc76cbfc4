"""The validator: what of an answer is proven by signatures (RFC 4035 §4, §5).

`Validator.validate` follows an answer from the name that was asked for: alias by alias, each by
itself, to the records at the end or the proof that there are none. Keys come through `fetch`,
which the caller gives: a resolver its own look-up, a stub its server. Nothing here does I/O, and
clocks are passed in.

Whatever peers send ends in a verdict. What one answer may cost is bounded (``limits.py``); past
that it is bogus.

Sources: RFC 4033 §5, RFC 4035 §4.3 and §5, RFC 6840, RFC 5155 §8 and §9.2, RFC 6672 §5.3 (DNAME),
RFC 8914 (reasons), RFC 9276 §3.2 (NSEC3), RFC 9905 (SHA-1).
Not here: single signatures (``signatures.py``), chains of trust (``chain.py``), proofs of
absence (``denial.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.names.codes import EDE, Rcode, RRClass, RRType, type_text
from sennit.names.dnssec.anchors import TrustAnchors
from sennit.names.dnssec.canonical import is_expanded, signed_owner, ttl_limit
from sennit.names.dnssec.chain import Chain
from sennit.names.dnssec.denial import Proof
from sennit.names.dnssec.limits import ValidationLimits, Work
from sennit.names.dnssec.numbers import ALGORITHMS, DIGESTS, SHA1_ALGORITHMS, SHA1_DIGESTS
from sennit.names.dnssec.reading import Answer, Run
from sennit.names.dnssec.verdict import Link, Security, Verdict
from sennit.names.errors import DNSError, DNSUsageError, ValidationError
from sennit.names.interfaces import IValidator
from sennit.names.rdata.alias import DNAME
from sennit.names.rdata.basic import CNAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.dnssec.chain import Zone
    from sennit.names.interfaces import Fetch
    from sennit.names.message import Message, Question, RRset
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import RRSIG

__all__ = ["Validator"]

MAX_ALIASES: Final = 16
"""Aliases that one answer is followed over."""

_CNAME: Final = int(RRType.CNAME)
_DS: Final = int(RRType.DS)
_RRSIG: Final = int(RRType.RRSIG)
_ANY: Final = int(RRType.ANY)


@implementer(IValidator)
class Validator:
    """Validates answers, and remembers the keys it found on the way.

    Args:
        anchors: What is believed; the root's keys of IANA when left out.
        now: Seconds of the wall clock, which signatures are held to.
        clock: Seconds that only go forward, which what is remembered is held to; `now` when
            left out.
        limits: What one answer may cost.
        algorithms: Algorithms that count; a zone with none of them is insecure.
        digests: Digests of DS that count, likewise.
        sha1: Whether what is signed or digested with SHA-1 counts too (RFC 9905 says no).

    Attributes:
        anchors: What is believed; may be changed, with `forget` afterwards.
        algorithms: Algorithms that count.
        validated: Answers by what was found of them.
    """

    def __init__(
        self,
        anchors: TrustAnchors | None = None,
        *,
        now: Callable[[], float],
        clock: Callable[[], float] | None = None,
        limits: ValidationLimits | None = None,
        algorithms: frozenset[int] = ALGORITHMS,
        digests: frozenset[int] = DIGESTS,
        sha1: bool = False,
    ) -> None:
        self.anchors = TrustAnchors.root() if anchors is None else anchors
        self.limits = limits or ValidationLimits()
        self._now = now
        self._clock = clock or now
        if sha1:
            algorithms, digests = algorithms | SHA1_ALGORITHMS, digests | SHA1_DIGESTS
        self.algorithms = algorithms
        self._chain = Chain(self.anchors, algorithms, digests)
        self.validated = dict.fromkeys(Security, 0)

    def forget(self, name: Name | None = None) -> None:
        """Look for the keys at and beneath a name anew; for all of them when left out."""
        self._chain.forget(name)

    async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
        """What is found of an answer. Whatever a peer sent, it is a verdict, no exception.

        Args:
            message: The answer, with its signatures and proofs.
            question: What it answers.
            fetch: Gets DS and DNSKEY records. What it raises as a `DNSError` makes the answer
                bogus.
        """
        verdict = await self.judge(message, question, fetch, Work(self.limits))
        self.validated[verdict.security] += 1
        return verdict

    async def judge(
        self, message: Message, question: Question, fetch: Fetch, work: Work
    ) -> Verdict:
        """The same, counting on a `Work` that the caller can look at."""
        if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return Verdict(Security.INDETERMINATE, reason="an error, which nobody signs")
        if question.rdclass != RRClass.IN:
            return Verdict(Security.INDETERMINATE, reason="only class IN has trust anchors")
        run = Run(self._now(), self._clock(), fetch, work)
        links: list[Link] = []
        try:
            await self._follow(Answer(message), question, run, links)
        except ValidationError as error:
            return Verdict(Security.BOGUS, links, info_code=error.info_code, reason=str(error))
        except DNSError as error:
            return Verdict(Security.BOGUS, links, info_code=EDE.DNSSEC_BOGUS, reason=str(error))
        security = min((link.security for link in links), default=Security.INDETERMINATE)
        if security is Security.SECURE:
            return Verdict(security, links)
        return Verdict(security, links, info_code=run.info_code, reason=run.reason)

    async def _follow(
        self, answer: Answer, question: Question, run: Run, links: list[Link]
    ) -> None:
        """Validate link by link, from the name asked for to the end."""
        name, rdtype = question.name, question.rdtype
        seen: set[Name] = set()
        while name not in seen:
            seen.add(name)
            if len(seen) > MAX_ALIASES:
                raise ValidationError(f"more than {MAX_ALIASES} aliases")
            found = (
                [each for (owner, _), each in answer.answers.items() if owner == name]
                if rdtype == _ANY
                else [each for each in (answer.answers.get((name, rdtype)),) if each is not None]
            )
            if found:
                if answer.message.rcode == Rcode.NXDOMAIN:
                    raise ValidationError(f"{name} has records, and is said not to exist")
                links.extend([await self._records(answer, rrset, run) for rrset in found])
                return
            if rdtype == _RRSIG and answer.signatures_of(name):
                # Signatures are not signed (RFC 4035 §2.2): nothing proves them.
                links.append(Link(name, rdtype, Security.INSECURE, 0))
                run.note(None, "signatures by themselves are not proven")
                return
            target = await self._alias(answer, name, run, links)
            if target is None:
                links.append(await self._absence(answer, name, rdtype, run))
                return
            name = target

    # ── aliases ───────────────────────────────────────────────────────────────

    async def _alias(self, answer: Answer, name: Name, run: Run, links: list[Link]) -> Name | None:
        """Validate the alias at `name`, and give where it leads; ``None`` where there is none."""
        cname = answer.answers.get((name, _CNAME))
        if cname is not None and len(cname) > 1:
            raise ValidationError(f"{name} has several CNAMEs")
        dname = answer.dname(name)
        if dname is not None and (cname is None or not answer.signatures(cname)):
            return await self._redirected(answer, name, dname, cname, run, links)
        if cname is None:
            return None
        links.append(await self._records(answer, cname, run))
        data = cname.rdatas[0]
        return data.target if isinstance(data, CNAME) else None

    async def _redirected(
        self,
        answer: Answer,
        name: Name,
        dname: RRset,
        cname: RRset | None,
        run: Run,
        links: list[Link],
    ) -> Name:
        """Validate a DNAME, and the CNAME that was made from it (RFC 6672 §5.3.1)."""
        data = dname.rdatas[0]
        if len(dname) > 1 or not isinstance(data, DNAME):
            raise ValidationError(f"{dname.name} has several DNAMEs")
        link = await self._records(answer, dname, run)
        links.append(link)
        try:
            target = name.rebased(dname.name, data.target)
        except DNSUsageError as error:
            raise ValidationError(f"{dname.name} leads {name} to a name too long") from error
        if cname is not None:
            made = cname.rdatas[0]
            if not isinstance(made, CNAME) or made.target != target:
                raise ValidationError(f"the CNAME of {name} is not what {dname.name} makes of it")
            links.append(
                Link(
                    name,
                    _CNAME,
                    link.security,
                    min(cname.ttl, link.ttl),
                    rrset=cname,
                    zone=link.zone,
                )
            )
        return target

    # ── records ───────────────────────────────────────────────────────────────

    async def _records(self, answer: Answer, rrset: RRset, run: Run) -> Link:
        """Validate an RRset, and where a wildcard made it that it might."""
        zone, signature = await self._proven(answer, rrset, run)
        if signature is None:
            return Link(rrset.name, rrset.rdtype, zone.security, rrset.ttl, rrset=rrset)
        link = Link(
            rrset.name,
            rrset.rdtype,
            Security.SECURE,
            ttl_limit(rrset.ttl, signature, run.now),
            rrset=rrset,
            zone=zone.name,
        )
        if is_expanded(rrset.name, signature):
            self._expansion(answer, link, zone, signature, run)
        return link

    async def _proven(self, answer: Answer, rrset: RRset, run: Run) -> tuple[Zone, RRSIG | None]:
        above = rrset.rdtype == _DS and not rrset.name.is_root
        proven = await self._chain.prove(rrset, answer.signatures(rrset), run, above=above)
        if proven is None:
            zone = await self._around(rrset.name, rrset.rdtype, run)
            if zone.security is Security.SECURE:
                raise ValidationError(
                    f"{rrset.name} {type_text(rrset.rdtype)} is not signed, which {zone.name} is",
                    EDE.RRSIGS_MISSING,
                )
            proven = zone, None
        if proven[1] is None:
            run.note(proven[0].info_code, proven[0].reason)
        return proven

    async def _around(self, name: Name, rdtype: int, run: Run) -> Zone:
        """The zone in which records of `name` are."""
        above = rdtype == _DS and not name.is_root
        return await self._chain.enclosing(name.parent if above else name, run)

    def _expansion(
        self, answer: Answer, link: Link, zone: Zone, signature: RRSIG, run: Run
    ) -> None:
        """See that nothing stood closer to the name than the wildcard (RFC 4035 §5.3.4)."""
        wildcard = signed_owner(link.name, signature.labels)
        if wildcard is None or zone.keys is None:
            raise ValidationError(f"{link.name} is signed for another name")
        link.encloser = wildcard.parent
        proofs = answer.denials(zone.keys, run, self.algorithms)
        link.proof = tuple(proofs.rrsets)
        if proofs.unsupported:
            link.security = Security.INSECURE
            return
        found = [each.expansion(link.name, link.encloser) for each in proofs.denials]
        if Proof.SECURE in found:
            link.ttl = min(link.ttl, proofs.ttl)
        elif Proof.INSECURE in found:
            link.security = Security.INSECURE
        else:
            raise ValidationError(
                f"{zone.name} does not prove that {link.name} is made from a wildcard",
                EDE.NSEC_MISSING,
            )

    # ── absences ──────────────────────────────────────────────────────────────

    async def _absence(self, answer: Answer, name: Name, rdtype: int, run: Run) -> Link:
        """Validate that there is no such name, or that it has no such type."""
        above = rdtype == _DS and not name.is_root
        fault: ValidationError | None = None
        found = answer.denying_zones(name, above=above)
        for signer in self._chain.within(name, found, above=above):
            zone = await self._chain.zone(signer, run)
            if zone.keys is None:
                run.note(zone.info_code, zone.reason)
                return self._unproven(answer, name, rdtype, zone)
            proofs = answer.denials(zone.keys, run, self.algorithms)
            link = Link(name, rdtype, Security.INSECURE, proofs.ttl, proof=proofs.rrsets)
            if proofs.unsupported:
                return link
            proven = [
                each.absent(name)
                if answer.message.rcode == Rcode.NXDOMAIN
                else each.no_data(name, rdtype)
                for each in proofs.denials
            ]
            if Proof.SECURE in proven:
                link.security = Security.SECURE
                link.zone = signer
                return link
            if Proof.INSECURE in proven:
                run.note(None, f"{signer} leaves room for unsigned delegations (opt-out)")
                return link
            fault = fault or ValidationError(
                f"{signer} does not prove that there is no {name} {type_text(rdtype)}",
                EDE.NSEC_MISSING,
            )
        # The proofs may be about an alias on the way, and this zone have none.
        zone = await self._around(name, rdtype, run)
        if zone.security is Security.SECURE:
            raise fault or ValidationError(
                f"nothing signed by {zone.name} proves that there is no {name} {type_text(rdtype)}",
                EDE.RRSIGS_MISSING if answer.has_denial else EDE.NSEC_MISSING,
            )
        run.note(zone.info_code, zone.reason)
        return self._unproven(answer, name, rdtype, zone)

    def _unproven(self, answer: Answer, name: Name, rdtype: int, zone: Zone) -> Link:
        soa = answer.soa
        return Link(name, rdtype, zone.security, 0 if soa is None else soa.ttl)
