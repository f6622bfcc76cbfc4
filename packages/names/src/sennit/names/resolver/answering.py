"""The message that links of an answer make: sections, times left, signatures for who wants them.

Sources: RFC 1035 §4.1, RFC 2308 §3 (the SOA of an absence), RFC 6672 §3.1 (the CNAME that a DNAME
makes), RFC 4035 §3.2 (DO, CD, AD), RFC 6840 §5.8 (who is told AD), RFC 8914 (reasons).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import EDE, Rcode, RRType
from sennit.names.dnssec.verdict import Security
from sennit.names.edns import EDNS, Option
from sennit.names.message import AD, QR, RA, RD, Message, Question, Record
from sennit.names.options import ExtendedError
from sennit.names.rdata.basic import CNAME
from sennit.names.resolver.entries import CNAME_TYPE, DNAME_TYPE, Kind

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.resolver.entries import Entry
    from sennit.names.resolver.localzones import LocalAnswer

__all__ = [
    "DROPPED",
    "Found",
    "addressed",
    "compose",
    "error_to",
    "local_to",
    "reason_option",
    "records_of",
    "reply_to",
]

DROPPED: Final = -1
"""In a response code's place: there is no answer."""
_RRSIG: Final = int(RRType.RRSIG)
_SOA: Final = int(RRType.SOA)
_LONGEST_REASON: Final = 120


class Found:
    """What was found for a question: links, and how it ended.

    Attributes:
        links: Each with the name that it was found for and the name that it leads to.
        rcode: The response code.
        stale: Whether one of them is past its end.
        reason: An `EDE` for the client; ``None`` for none.
        text: The same in words.
    """

    __slots__ = ("links", "rcode", "reason", "stale", "text")

    def __init__(self) -> None:
        self.links: list[tuple[Entry, Name, Name | None]] = []
        self.rcode = int(Rcode.NOERROR)
        self.stale = False
        self.reason: int | None = None
        self.text = ""

    def fail(self, reason: int, text: str) -> Found:
        """It ended in SERVFAIL."""
        self.rcode = int(Rcode.SERVFAIL)
        self.reason = reason
        self.text = text
        return self

    @property
    def security(self) -> Security:
        """That of the worst link."""
        return min((entry.security for entry, _, _ in self.links), default=Security.UNCHECKED)

    @property
    def expires(self) -> float:
        """When the first link ends."""
        return min((entry.expires for entry, _, _ in self.links), default=0.0)


def reason_option(reason: int, text: str = "") -> Option:
    """An extended error (RFC 8914 §2)."""
    return ExtendedError(reason, text[:_LONGEST_REASON]).option()


def compose(
    found: Found,
    question: Question,
    *,
    dnssec_ok: bool,
    authentic: bool,
    flags: int,
    now: float,
    stale_ttl: int,
) -> Message:
    """Make the answer.

    Args:
        found: What was found.
        question: What was asked.
        dnssec_ok: Whether signatures and proofs are wanted.
        authentic: Whether the client is told AD.
        flags: RD and CD of the query.
        now: The time.
        stale_ttl: The TTL of what is past its end.
    """
    message = Message(0, QR | RA | RD | flags, rcode=found.rcode, questions=[question])
    if found.rcode != Rcode.SERVFAIL:
        for entry, name, target in found.links:
            over = found.stale and entry.expires <= now
            ttl = stale_ttl if over else entry.remaining(now)
            if entry.kind is Kind.RECORDS:
                message.answers += records_of(entry, name, target, ttl, signed=dnssec_ok)
                if dnssec_ok and entry.authority:
                    message.authority += [_aged(each, ttl) for each in entry.authority]
            else:
                message.authority += [
                    _aged(each, ttl) for each in entry.authority if dnssec_ok or each.rdtype == _SOA
                ]
        if authentic and found.security is Security.SECURE and not found.stale:
            message.flags |= AD
    if found.reason is not None:
        message.edns = EDNS(dnssec_ok=dnssec_ok, options=[reason_option(found.reason, found.text)])
    elif found.stale:
        absent = found.rcode == Rcode.NXDOMAIN
        code = EDE.STALE_NXDOMAIN_ANSWER if absent else EDE.STALE_ANSWER
        message.edns = EDNS(dnssec_ok=dnssec_ok, options=[reason_option(int(code), "")])
    return message


def records_of(
    entry: Entry, name: Name, target: Name | None, ttl: int, *, signed: bool
) -> list[Record]:
    """The records of a link, and the CNAME that a DNAME makes of the name (RFC 6672 §3.1)."""
    # Records of a name appear under the name as it was asked for (RFC 4343 §4.1 lets both be).
    owner = name if entry.rdtype != DNAME_TYPE and name == entry.name else entry.name
    records = [Record(owner, entry.rdtype, ttl, each) for each in entry.rdatas]
    if signed:
        records += [Record(owner, _RRSIG, ttl, each) for each in entry.signatures]
    if entry.rdtype == DNAME_TYPE and target is not None:
        records.append(Record(name, CNAME_TYPE, ttl, CNAME(target)))
    return records


def _aged(record: Record, ttl: int) -> Record:
    return Record(record.name, record.rdtype, min(ttl, record.ttl), record.rdata, record.rdclass)


def reply_to(question: Question, flags: int, rcode: int = 0) -> Message:
    """An empty answer."""
    return Message(0, questions=[question]).reply(rcode, RA | RD | flags)


def error_to(question: Question, flags: int, rcode: int, reason: int) -> Message:
    """An answer that says that there is none, and why."""
    message = reply_to(question, flags, int(rcode))
    message.edns = EDNS(options=[reason_option(int(reason), "")])
    return message


def local_to(local: LocalAnswer, question: Question, flags: int) -> Message:
    """What a local zone says; `DROPPED` for its code where there is to be no answer."""
    if local.rcode is None:
        message = reply_to(question, flags)
        message.rcode = DROPPED
        return message
    message = reply_to(question, flags, local.rcode)
    message.answers = local.answers
    message.authority = local.authority
    if local.blocked:
        message.edns = EDNS(options=[reason_option(int(EDE.BLOCKED), "")])
    return message


def addressed(message: Message, query: Message) -> Message:
    """The answer under the query's id, its question in the query's letters."""
    message.id = query.id
    message.flags = message.flags & ~RD | query.flags & RD
    message.questions = query.questions
    return message
