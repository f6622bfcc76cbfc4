"""Chains of trust: from an anchor through DS and DNSKEY records to the keys of a zone.

A zone that signed something is judged from below: its DS record names the zone that signed
that, and so on up to an anchor, so that as many questions are asked as there are zones, not
labels. Where nothing is signed it is looked for from above, from the closest anchor down, until
an unsigned delegation is proven, or none is and the silence is a fault.

What was found is remembered as long as its signatures and TTLs allow: keys of zones, and names
at which no zone begins.

Sources: RFC 4035 §5.1, §5.2, §4.7 (faults are remembered for seconds), RFC 4509 §3 (SHA-1 is
passed over where there is better), RFC 6840 §5.2, RFC 7646 (negative anchors).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from sennit.names.codes import EDE, Rcode, RRType, rcode_text, type_text
from sennit.names.dnssec.canonical import ttl_limit
from sennit.names.dnssec.denial import Cut
from sennit.names.dnssec.digests import ds_matches
from sennit.names.dnssec.limits import TooMuchWorkError
from sennit.names.dnssec.numbers import REVOKE, SHA1_DIGESTS, algorithm_text
from sennit.names.dnssec.reading import Answer
from sennit.names.dnssec.signatures import ZoneKeys, is_zone_key, verify_rrset
from sennit.names.dnssec.verdict import Security
from sennit.names.errors import DNSError, ValidationError
from sennit.names.rdata.dnssec import DNSKEY, DS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sennit.names.dnssec.anchors import TrustAnchors
    from sennit.names.dnssec.reading import Run
    from sennit.names.message import RRset
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import RRSIG

__all__ = ["Chain", "Zone", "kept", "signers"]

T = TypeVar("T")

MAX_KEPT: Final = 86_400
"""Seconds that anything is remembered at most."""
FAULT_KEPT: Final = 10
"""Seconds that a fault is."""
MAX_ZONES: Final = 10_000
"""Zones that are remembered, and names at which none begins."""
MAX_SIGNERS: Final = 2
"""Zones that are asked whether they signed one RRset."""

_DS: Final = int(RRType.DS)
_DNSKEY: Final = int(RRType.DNSKEY)
_CNAME: Final = int(RRType.CNAME)


class Zone:
    """What is known of a zone.

    Attributes:
        name: The zone.
        security: Whether its records are to be signed.
        keys: Its keys where it is `Security.SECURE`.
        expires: When that has to be looked at anew.
        info_code: Why it is not secure.
        reason: The same in words.
    """

    __slots__ = ("expires", "info_code", "keys", "name", "reason", "security")

    def __init__(
        self,
        name: Name,
        security: Security,
        expires: float,
        keys: ZoneKeys | None = None,
        *,
        info_code: int | None = None,
        reason: str = "",
    ) -> None:
        self.name = name
        self.security = security
        self.keys = keys
        self.expires = expires
        self.info_code = info_code
        self.reason = reason


class _At(Enum):
    """What a delegation's answer says of a name."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    NO_CUT = "no cut"
    NOTHING_BELOW = "nothing below"


class _Step:
    """One answer to a question for DS, judged."""

    __slots__ = ("at", "ds", "expires", "info_code", "parent", "reason")

    def __init__(
        self,
        at: _At,
        expires: float,
        parent: Zone,
        ds: Sequence[DS] = (),
        *,
        info_code: int | None = None,
        reason: str = "",
    ) -> None:
        self.at = at
        self.expires = expires
        self.parent = parent
        self.ds = ds
        self.info_code = info_code
        self.reason = reason


class Chain:
    """Finds the keys of zones, and remembers them.

    Args:
        anchors: What is believed.
        algorithms: Algorithms that count.
        digests: Digests of DS that count.
    """

    def __init__(
        self, anchors: TrustAnchors, algorithms: Collection[int], digests: Collection[int]
    ) -> None:
        self.anchors = anchors
        self.algorithms = algorithms
        self.digests = digests
        self._zones: dict[Name, Zone] = {}
        self._steps: dict[Name, _Step] = {}

    def forget(self, name: Name | None = None) -> None:
        """Look at the zones at and beneath a name anew; at all of them when left out."""
        for kept in (self._zones, self._steps):
            for each in [each for each in kept if name is None or each.is_below(name)]:
                del kept[each]

    # ── zones ─────────────────────────────────────────────────────────────────

    async def zone(self, name: Name, run: Run) -> Zone:
        """What is known of the zone `name`, which signed something.

        Raises:
            ValidationError: Nobody can say, or there is no such zone.
        """
        if self.anchors.distrusted(name, run.now):
            return Zone(name, Security.INSECURE, run.clock, reason="a negative trust anchor")
        known = self._zones.get(name)
        if known is not None:
            if known.expires > run.clock:
                if known.security is Security.BOGUS:
                    raise ValidationError(known.reason, known.info_code or 6)
                return known
            del self._zones[name]
        try:
            found = await self._find(name, run)
        except TooMuchWorkError:
            raise  # is this answer's fault, maybe not the zone's
        except ValidationError as error:
            if error.info_code != EDE.NO_REACHABLE_AUTHORITY:
                self._keep(
                    self._zones,
                    name,
                    Zone(
                        name,
                        Security.BOGUS,
                        run.clock + FAULT_KEPT,
                        info_code=error.info_code,
                        reason=str(error),
                    ),
                )
            raise
        self._keep(self._zones, name, found)
        return found

    async def _find(self, name: Name, run: Run) -> Zone:
        believed = self.anchors.of(name)
        if believed:
            return await self._with_keys(name, believed, run.clock + MAX_KEPT, run)
        if self.anchors.above(name) is None:
            return Zone(
                name,
                Security.INDETERMINATE,
                run.clock + FAULT_KEPT,
                info_code=EDE.DNSSEC_INDETERMINATE,
                reason=f"there is no trust anchor for {name}",
            )
        step = await self._step(name, run)
        if step.parent.security is not Security.SECURE:
            return step.parent
        if step.at is _At.SIGNED:
            return await self._with_keys(name, step.ds, step.expires, run)
        if step.at is _At.UNSIGNED:
            return Zone(
                name,
                Security.INSECURE,
                step.expires,
                info_code=step.info_code,
                reason=step.reason,
            )
        raise ValidationError(f"no zone begins at {name}, which is said to sign", 6)

    async def enclosing(self, name: Name, run: Run) -> Zone:
        """The zone in which `name` is, where nothing signed says so: looked for from above.

        Raises:
            ValidationError: Nobody can say.
        """
        if self.anchors.distrusted(name, run.now):
            return Zone(name, Security.INSECURE, run.clock, reason="a negative trust anchor")
        top = self.anchors.above(name)
        if top is None:
            return await self.zone(name, run)
        found = await self.zone(top, run)
        between = [each for each in name.ancestors() if len(each) > len(top)]
        for each in reversed(between):
            if found.security is not Security.SECURE:
                break
            step = await self._step(each, run, from_above=True)
            if step.at is _At.NOTHING_BELOW:
                break
            if step.at is _At.SIGNED or step.at is _At.UNSIGNED:
                found = await self.zone(each, run)
        return found

    # ── delegations ───────────────────────────────────────────────────────────

    async def _step(self, name: Name, run: Run, *, from_above: bool = False) -> _Step:
        """What stands at `name`, by its DS record or the proof that there is none."""
        known = self._steps.get(name)
        if known is not None:
            if known.expires > run.clock:
                return known
            del self._steps[name]
        answer = await self._ask(name, _DS, run)
        step = await self._judge(name, answer, run)
        if step is None:
            # Nothing in it is signed. Above it there may be an unsigned delegation, which who
            # comes from above has looked for already.
            if not from_above:
                above = await self.enclosing(name.parent, run)
                if above.security is not Security.SECURE:
                    return _Step(_At.UNSIGNED, above.expires, above)
            raise ValidationError(
                f"neither a DS of {name} nor the proof that there is none is signed",
                EDE.RRSIGS_MISSING,
            )
        self._keep(self._steps, name, step)
        return step

    async def _judge(self, name: Name, answer: Answer, run: Run) -> _Step | None:
        """The same from one answer; ``None`` where nothing in it is signed."""
        for rdtype, at in ((_DS, _At.SIGNED), (_CNAME, _At.NO_CUT)):
            rrset = answer.answers.get((name, rdtype))
            if rrset is None:
                continue
            signatures = answer.signatures(rrset)
            proven = await self.prove(rrset, signatures, run, above=True)
            if proven is None:
                return None
            zone, signature = proven
            if signature is None:
                return _Step(_At.UNSIGNED, zone.expires, zone)
            expires = run.clock + kept(ttl_limit(rrset.ttl, signature, run.now))
            if at is _At.NO_CUT:
                return _Step(at, expires, zone)
            if len(rrset) > run.work.limits.ds:
                raise TooMuchWorkError(f"{name} has {len(rrset)} DS records")
            return self._signed(name, rrset, expires, zone)
        dname = answer.dname(name)
        if dname is not None:
            proven = await self.prove(dname, answer.signatures(dname), run)
            if proven is not None and proven[1] is not None:
                ttl = ttl_limit(dname.ttl, proven[1], run.now)
                return _Step(_At.NOTHING_BELOW, run.clock + kept(ttl), proven[0])
        return await self._absent_ds(name, answer, run)

    def _signed(self, name: Name, rrset: RRset, expires: float, parent: Zone) -> _Step:
        """A delegation with DS records, if any of them counts (RFC 4035 §5.2, RFC 4509 §3)."""
        records = [each for each in rrset.rdatas if isinstance(each, DS)]
        spoken = [each for each in records if each.algorithm in self.algorithms]
        counted = [each for each in spoken if each.digest_type in self.digests]
        if any(each.digest_type not in SHA1_DIGESTS for each in counted):
            counted = [each for each in counted if each.digest_type not in SHA1_DIGESTS]
        if counted:
            return _Step(_At.SIGNED, expires, parent, counted)
        if spoken:
            code = EDE.UNSUPPORTED_DS_DIGEST_TYPE
            what = "digests", {str(each.digest_type) for each in spoken}
        else:
            code = EDE.UNSUPPORTED_DNSKEY_ALGORITHM
            what = "algorithms", {algorithm_text(each.algorithm) for each in records}
        reason = f"the {what[0]} of {name} do not count here: {', '.join(sorted(what[1]))}"
        return _Step(_At.UNSIGNED, expires, parent, info_code=code, reason=reason)

    async def _absent_ds(self, name: Name, answer: Answer, run: Run) -> _Step | None:
        for signer in self.within(name, answer.denying_zones(name, above=True), above=True):
            zone = await self.zone(signer, run)
            if zone.keys is None:
                return _Step(_At.UNSIGNED, zone.expires, zone)
            proofs = answer.denials(zone.keys, run, self.algorithms)
            expires = run.clock + kept(proofs.ttl)
            if proofs.unsupported:
                return _Step(
                    _At.UNSIGNED,
                    expires,
                    zone,
                    info_code=EDE.UNSUPPORTED_NSEC3_ITERATIONS,
                    reason=run.reason,
                )
            for denial in proofs.denials:
                cut = denial.no_ds(name)
                if cut is Cut.INSECURE:
                    return _Step(_At.UNSIGNED, expires, zone)
                if cut is Cut.NONE:
                    return _Step(_At.NO_CUT, expires, zone)
                if cut is Cut.ABSENT:
                    return _Step(_At.NOTHING_BELOW, expires, zone)
            raise ValidationError(
                f"{signer} does not prove that {name} has no DS", EDE.NSEC_MISSING
            )
        return None

    # ── keys ──────────────────────────────────────────────────────────────────

    async def _with_keys(
        self, name: Name, believed: Sequence[DS | DNSKEY], expires: float, run: Run
    ) -> Zone:
        """The zone with its DNSKEY records, which one of those that are believed has to sign."""
        answer = await self._ask(name, _DNSKEY, run)
        rrset = answer.answers.get((name, _DNSKEY))
        if rrset is None:
            raise ValidationError(f"{name} shows no DNSKEY", EDE.DNSKEY_MISSING)
        if len(rrset) > run.work.limits.keys:
            raise TooMuchWorkError(f"{name} has {len(rrset)} keys")
        records = [each for each in rrset.rdatas if isinstance(each, DNSKEY)]
        entries = [each for each in records if is_zone_key(each) and self._is(name, each, believed)]
        if not entries:
            flagged = [each for each in records if is_zone_key(each)]
            raise ValidationError(
                f"no key of {name} is the one that is trusted",
                EDE.DNSKEY_MISSING if flagged else EDE.NO_ZONE_KEY_BIT_SET,
            )
        signature = verify_rrset(
            rrset,
            answer.signatures(rrset),
            ZoneKeys(name, entries),
            now=run.now,
            work=run.work,
            algorithms=self.algorithms,
        )
        kept_until = run.clock + kept(ttl_limit(rrset.ttl, signature, run.now))
        return Zone(name, Security.SECURE, min(expires, kept_until), ZoneKeys(name, records))

    def _is(self, name: Name, key: DNSKEY, believed: Sequence[DS | DNSKEY]) -> bool:
        return any(
            each.digest_type in (*self.digests, *SHA1_DIGESTS) and ds_matches(each, name, key)
            if isinstance(each, DS)
            else each.algorithm == key.algorithm
            and each.public_key == key.public_key
            and not each.flags & REVOKE
            for each in believed
        )

    # ── RRsets ────────────────────────────────────────────────────────────────

    async def prove(
        self, rrset: RRset, signatures: Sequence[RRSIG], run: Run, *, above: bool = False
    ) -> tuple[Zone, RRSIG | None] | None:
        """Who signed an RRset, and the signature that proves it.

        Args:
            rrset: It.
            signatures: Those that came with it.
            run: What is being validated.
            above: Whether only a zone above its owner may have signed it (DS).

        Returns:
            The zone and the signature, which is ``None`` where the zone is not secure; ``None``
            where no signature is by a zone that could have.

        Raises:
            ValidationError: The signatures prove nothing.
        """
        run.work.rrset()
        fault: ValidationError | None = None
        for signer in self.within(
            rrset.name, signers(rrset.name, signatures, above=above), above=above
        ):
            try:
                zone = await self.zone(signer, run)
                if zone.keys is None:
                    return zone, None
                return zone, verify_rrset(
                    rrset,
                    signatures,
                    zone.keys,
                    now=run.now,
                    work=run.work,
                    algorithms=self.algorithms,
                )
            except TooMuchWorkError:
                raise
            except ValidationError as error:
                fault = fault or error
        if fault is not None:
            raise fault
        return None

    def within(self, name: Name, found: Sequence[Name], *, above: bool = False) -> list[Name]:
        """Those zones that may speak for `name`: none above the closest anchor.

        Otherwise whoever signs, or only claims to, outside of what is believed could pass a zone
        with an anchor of its own off as insecure.
        """
        anchor = self.anchors.above(name.parent if above and not name.is_root else name)
        return [each for each in found if anchor is None or each.is_below(anchor)]

    async def _ask(self, name: Name, rdtype: int, run: Run) -> Answer:
        run.work.fetch()
        try:
            message = await run.fetch(name, rdtype)
        except ValidationError:
            raise
        except DNSError as error:
            raise ValidationError(
                f"nobody tells {type_text(rdtype)} of {name}: {error}",
                EDE.NO_REACHABLE_AUTHORITY,
            ) from error
        if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            raise ValidationError(
                f"nobody tells {type_text(rdtype)} of {name}: {rcode_text(message.rcode)}",
                EDE.NO_REACHABLE_AUTHORITY,
            )
        return Answer(message)

    @staticmethod
    def _keep(kept: dict[Name, T], name: Name, value: T) -> None:
        kept.pop(name, None)
        while len(kept) >= MAX_ZONES:
            del kept[next(iter(kept))]
        kept[name] = value


def kept(ttl: int) -> int:
    """Seconds that something may be remembered: what is good for none is for this answer."""
    return max(1, min(ttl, MAX_KEPT))


def signers(name: Name, signatures: Sequence[RRSIG], *, above: bool = False) -> list[Name]:
    """The zones that may have signed records of `name`, deepest first, at most `MAX_SIGNERS`.

    Args:
        name: Owner of the records.
        signatures: Signatures of theirs.
        above: Whether the zone has to stand above the name: DS is its parent's.
    """
    found: dict[Name, None] = {}
    for each in signatures:
        signer = each.signer
        if name.is_below(signer) and not (above and signer == name and not name.is_root):
            found[signer] = None
    return sorted(found, key=len, reverse=True)[:MAX_SIGNERS]
