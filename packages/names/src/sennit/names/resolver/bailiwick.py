"""What of an upstream's answer may be believed: its servers' own zone, and of that what was asked.

`judge` reads an answer as one step of an iteration: the records asked for or the alias in their
place, their absence, a referral, or none of these. All else in the message is passed over, and
nothing of it is kept:

* records that are not of the question's name and type, or of an alias of it;
* the rest of a chain behind an alias: the target is asked again, where it lives (a forwarder,
  whom we trust with all of its zone, is believed for the whole chain);
* name servers in the authority section of an answer, and referrals that do not lead down towards
  the name;
* addresses in the additional section, save the glue of a referral for servers within the zone
  that refers, which reaches those servers and answers no question.

Sources: RFC 2181 §5.4.1, RFC 5452 §6, RFC 2308 §2 (kinds of negative answers), RFC 6672 (DNAME),
RFC 1034 §4.2.1 (glue).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sennit.names.codes import Rcode, RRClass, RRType
from sennit.names.errors import DNSUsageError
from sennit.names.message import AA, QR, Message, Record
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.alias import DNAME
from sennit.names.rdata.basic import CNAME, NS, SOA
from sennit.names.resolver.entries import (
    CNAME_TYPE,
    DNAME_TYPE,
    Credibility,
    Delegation,
    Entry,
    Kind,
    covered_type,
)

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.resolver.limits import ResolverLimits

__all__ = ["Step", "Verdict", "alias_target", "judge", "root_servers"]

_IN = int(RRClass.IN)
_NS = int(RRType.NS)
_SOA = int(RRType.SOA)
_DS = int(RRType.DS)
_RRSIG = int(RRType.RRSIG)
_DENIALS = frozenset({int(RRType.NSEC), int(RRType.NSEC3)})

MOST_PROOF = 24
"""Records kept of an authority section: SOA, NSEC or NSEC3, and their signatures."""


class Verdict(Enum):
    """What an answer is to the iteration."""

    ANSWER = "answer"
    REFERRAL = "referral"
    LAME = "lame"
    """The server does not serve the zone."""
    BROKEN = "broken"
    """An error, or nothing that makes sense."""


class Step:
    """An answer as judged.

    Attributes:
        verdict: What it is.
        entries: Links of the answer, the first of them of the question's name.
        delegation: Where a referral leads.
        ds: The DS records of a referral, with their signatures, as an entry of their own.
        why: What is wrong, in words.
        source: The server that answered.
    """

    __slots__ = ("delegation", "ds", "entries", "source", "verdict", "why")

    def __init__(
        self,
        verdict: Verdict,
        *,
        entries: list[Entry] | None = None,
        delegation: Delegation | None = None,
        ds: Entry | None = None,
        why: str = "",
    ) -> None:
        self.verdict = verdict
        self.entries = entries or []
        self.delegation = delegation
        self.ds = ds
        self.why = why
        self.source: tuple[str, int] | None = None


def judge(
    message: Message,
    name: Name,
    rdtype: int,
    zone: Name,
    limits: ResolverLimits,
    *,
    forwarded: bool = False,
) -> Step:
    """Read an answer.

    Args:
        message: The answer.
        name: What was asked for.
        rdtype: Its type.
        zone: The zone whose server answered; the name is in it.
        limits: How much is believed.
        forwarded: Whether the server is a resolver that was chosen for the zone.
    """
    if not message.flags & QR or len(message.questions) != 1:
        return Step(Verdict.BROKEN, why="no answer to one question")
    asked = message.questions[0]
    if asked.name != name or asked.rdtype != rdtype or asked.rdclass != _IN:
        return Step(Verdict.BROKEN, why="an answer to another question")
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Step(Verdict.BROKEN, why=f"response code {message.rcode}")
    rank = (
        Credibility.AUTHORITATIVE_ANSWER
        if message.flags & AA and not forwarded
        else Credibility.ANSWER
    )
    answers = [each for each in message.answers if each.rdclass == _IN]
    links: list[Entry] = []
    current = name
    while len(links) <= limits.restarts:
        link = _link(answers, message.authority, current, rdtype, zone, rank, limits)
        if isinstance(link, str):
            return Step(Verdict.BROKEN, why=link)
        if link is None:
            break
        links.append(link)
        target = alias_target(link, current, rdtype)
        if target is None or not forwarded or not target.is_below(zone):
            break
        current = target
    authoritative = bool(message.flags & AA) or forwarded
    if links:
        if not authoritative:
            # Out of a cache: of this name it is not to be believed; its zone it may have.
            return Step(Verdict.BROKEN, why="an answer without authority")
        if not forwarded or alias_target(links[-1], current, rdtype) is None:
            return Step(Verdict.ANSWER, entries=links)
    if not links and not forwarded and message.rcode == Rcode.NOERROR:
        referral = _referral(message, name, rdtype, zone, limits)
        if referral is not None:
            return referral
    if not authoritative:
        return Step(Verdict.LAME, why="neither authority nor a referral")
    if message.answers and not links:
        return Step(Verdict.BROKEN, why="records that were not asked for")
    absence = _absence(message, current, rdtype, zone, rank)
    if absence is None:
        if links:
            return Step(Verdict.ANSWER, entries=links)
        return Step(Verdict.BROKEN, why="an absence told by somebody else's SOA")
    return Step(Verdict.ANSWER, entries=[*links, absence])


def alias_target(entry: Entry, name: Name, rdtype: int) -> Name | None:
    """Where an alias leads from a name; ``None`` for what is the answer itself.

    Raises:
        DNSUsageError: The name that a DNAME gives is too long (YXDOMAIN, RFC 6672 §2.2).
    """
    if entry.kind is not Kind.RECORDS or not entry.rdatas:
        return None
    rdata = entry.rdatas[0]
    if entry.rdtype == CNAME_TYPE and rdtype != CNAME_TYPE and isinstance(rdata, CNAME):
        return rdata.target
    if entry.rdtype == DNAME_TYPE and entry.name != name and isinstance(rdata, DNAME):
        return name.rebased(entry.name, rdata.target)
    return None


def _link(
    answers: list[Record],
    authority: list[Record],
    name: Name,
    rdtype: int,
    zone: Name,
    rank: Credibility,
    limits: ResolverLimits,
) -> Entry | str | None:
    """The records of a name in an answer, or its alias; what is wrong with them; or nothing."""
    own: list[Record] = []
    alias: list[Record] = []
    above: list[Record] = []
    for record in answers:
        if record.name.key == name.key:
            if record.rdtype == rdtype:
                own.append(record)
            elif record.rdtype == CNAME_TYPE:
                alias.append(record)
        elif (
            record.rdtype == DNAME_TYPE
            and name.is_below(record.name)
            and record.name.is_below(zone)
        ):
            above.append(record)
    chosen = own or above or alias
    if not chosen:
        return None
    owner, kind = chosen[0].name, chosen[0].rdtype
    rdatas = dict.fromkeys(
        each.rdata for each in chosen[: limits.rrset + 1] if each.name.key == owner.key
    )
    if len(rdatas) > limits.rrset or len(chosen) > limits.rrset:
        return f"more than {limits.rrset} records of one type"
    if not own and len(rdatas) > 1:
        return "an alias with several targets"
    if above and not own:
        try:
            name.rebased(owner, chosen[0].rdata.target)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]  # a DNAME's
        except DNSUsageError:
            return "a DNAME that makes too long a name"
    signatures = [
        each.rdata
        for each in answers
        if each.rdtype == _RRSIG and each.name.key == owner.key and covered_type(each.rdata) == kind
    ][:MOST_PROOF]
    return Entry(
        Kind.RECORDS,
        owner,
        kind,
        min(each.ttl for each in chosen),
        rdatas=tuple(rdatas),
        signatures=signatures,
        authority=_proof(authority, zone, soa=False),
        rank=rank,
        zone=zone,
    )


def _proof(authority: list[Record], zone: Name, *, soa: bool) -> list[Record]:
    """The records of an authority section that prove an absence, with signatures."""
    wanted = _DENIALS | {_SOA} if soa else _DENIALS
    return [
        each
        for each in authority
        if each.rdclass == _IN
        and each.name.is_below(zone)
        and (
            each.rdtype in wanted or (each.rdtype == _RRSIG and covered_type(each.rdata) in wanted)
        )
    ][:MOST_PROOF]


def _absence(
    message: Message, name: Name, rdtype: int, zone: Name, rank: Credibility
) -> Entry | None:
    """NXDOMAIN or NODATA; ``None`` where the SOA is of a zone that has no say."""
    kind = Kind.NXDOMAIN if message.rcode == Rcode.NXDOMAIN else Kind.NODATA
    ttl = 0
    found = False
    for record in message.authority:
        if record.rdtype == _SOA and record.rdclass == _IN and isinstance(record.rdata, SOA):
            if not (name.is_below(record.name) and record.name.is_below(zone)):
                return None
            ttl = min(record.ttl, record.rdata.minimum)
            found = True
    # Without an SOA it may not be kept (RFC 2308 §5).
    return Entry(
        kind,
        name,
        rdtype,
        ttl,
        authority=_proof(message.authority, zone, soa=True) if found else (),
        rank=rank,
        zone=zone,
    )


def _referral(
    message: Message, name: Name, rdtype: int, zone: Name, limits: ResolverLimits
) -> Step | None:
    """Where the authority section leads; ``None`` if it is no referral."""
    cut: Name | None = None
    ttl = 0
    servers: dict[Name, None] = {}
    for record in message.authority:
        if record.rdclass != _IN:
            continue
        if record.rdtype == _SOA:
            return None
        if record.rdtype == _NS and isinstance(record.rdata, NS):
            if cut is None:
                cut, ttl = record.name, record.ttl
            if record.name == cut:
                ttl = min(ttl, record.ttl)
                servers.setdefault(record.rdata.target)
    if cut is None:
        return None
    if len(cut.wire) <= len(zone.wire) or not cut.is_below(zone) or not name.is_below(cut):
        if message.flags & AA:
            return None  # its own NS records, beside an answer that is empty
        return Step(Verdict.LAME, why=f"a referral to {cut}, which does not lead down")
    if rdtype == _DS and cut == name:
        # From before DNSSEC; it serves the zone all the same.
        return Step(Verdict.BROKEN, why="a referral in answer to DS, which the parent has")
    glue: dict[Name, tuple[str, ...]] = {}
    for record in message.additional:
        if (
            record.rdclass == _IN
            and isinstance(record.rdata, A | AAAA)
            and record.name in servers
            and record.name.is_below(zone)
        ):
            known = glue.get(record.name, ())
            address = record.rdata.address
            if len(known) < limits.ns_addresses and address not in known:
                glue[record.name] = (*known, address)
    # Those that can be reached at once come first; of all the others a few.
    ordered = sorted(servers, key=lambda each: each not in glue)[: limits.ns_names]
    return Step(
        Verdict.REFERRAL,
        delegation=Delegation(
            cut,
            ordered,
            {each: glue[each] for each in ordered if each in glue},
            ttl,
        ),
        ds=_delegation_signer(message, cut, zone, limits),
    )


def _delegation_signer(
    message: Message, cut: Name, zone: Name, limits: ResolverLimits
) -> Entry | None:
    """The DS records of a referral, which are the parent's own (RFC 4035 §3.1.4)."""
    records = [
        each
        for each in message.authority
        if each.rdtype == _DS and each.rdclass == _IN and each.name == cut
    ]
    if not records or len(records) > limits.rrset:
        return None
    signatures = [
        each.rdata
        for each in message.authority
        if each.rdtype == _RRSIG and each.name == cut and covered_type(each.rdata) == _DS
    ][:MOST_PROOF]
    return Entry(
        Kind.RECORDS,
        cut,
        _DS,
        min(each.ttl for each in records),
        rdatas=tuple(dict.fromkeys(each.rdata for each in records)),
        signatures=signatures,
        rank=Credibility.AUTHORITATIVE_AUTHORITY,
        zone=zone,
    )


def root_servers(message: Message, limits: ResolverLimits) -> Delegation | None:
    """The root's servers out of the answer to a priming query (RFC 8109 §4).

    Returns:
        ``None`` where it names none that can be reached.
    """
    ttl = limits.max_ttl
    servers: dict[Name, None] = {}
    for record in message.answers:
        if record.rdclass == _IN and record.name.is_root and isinstance(record.rdata, NS):
            servers.setdefault(record.rdata.target)
            ttl = min(ttl, record.ttl)
    glue: dict[Name, tuple[str, ...]] = {}
    for record in message.additional:
        if record.rdclass == _IN and isinstance(record.rdata, A | AAAA) and record.name in servers:
            known = glue.get(record.name, ())
            if len(known) < limits.ns_addresses:
                glue[record.name] = (*known, record.rdata.address)
    if not glue or not message.flags & AA:
        return None
    from sennit.names.name import ROOT

    return Delegation(ROOT, [*glue][: 2 * limits.ns_names], glue, ttl)
