"""No answer of an upstream server makes the resolver raise, believe what is not its, or work on.

The octets are the upstream's answer to whatever it is asked, the question put right so that it
is read at all; the first two choose the response code and flags.
"""

from __future__ import annotations

from sennit.names.errors import MessageFormatError
from sennit.names.message import QR, Message, Question
from sennit.names.name import Name
from sennit.names.resolver.bailiwick import Verdict, judge, root_servers
from sennit.names.resolver.cache import Cache
from sennit.names.resolver.limits import ResolverLimits
from sennit.names.resolver.tails import Tails, plain_query

ZONE = Name("org.example.")
ASKED = Name("www.org.example.")


def _answer(sections: str) -> bytes:
    from sennit.names.codes import type_from_text
    from sennit.names.message import Record
    from sennit.names.presentation import tokens_of
    from sennit.names.rdata import parse_rdata

    message = Message(0, QR, questions=[Question(ASKED, 1)])
    for line in sections.splitlines():
        tokens = tokens_of(line)
        section, owner, ttl = tokens.text(), tokens.name(), int(tokens.text())
        rdtype = type_from_text(tokens.text())
        found = Record(owner, rdtype, ttl, parse_rdata(rdtype, tokens))
        getattr(message, section).append(found)
    return message.to_wire()[2:]


SEEDS = (
    _answer("answers www.org.example. 300 A 192.0.2.1"),
    _answer("answers www.org.example. 300 CNAME host.other.example."),
    _answer("answers org.example. 300 DNAME other.example."),
    _answer(
        "authority www.org.example. 300 NS ns.www.org.example.\n"
        "additional ns.www.org.example. 300 A 192.0.2.1"
    ),
    _answer("authority org.example. 300 SOA ns.org.example. a.org.example. 1 2 3 4 5"),
)
LIMITS = ResolverLimits(rrset=5)


def fuzz(data: bytes) -> None:
    """Take `data` as an answer."""
    wire = b"\0\0" + data
    assert plain_query(wire) in (True, False)
    try:
        message = Message.from_wire(wire)
    except MessageFormatError:
        return
    root_servers(message, LIMITS)
    message.flags |= QR
    message.questions = [Question(ASKED, 1)]
    for forwarded in (False, True):
        step = judge(message, ASKED, 1, ZONE, LIMITS, forwarded=forwarded)
        cache = Cache()
        for entry in step.entries:
            assert entry.name.is_below(ZONE)
            assert len(entry.rdatas) <= LIMITS.rrset
            kept = cache.put(entry, 0)
            assert kept.expires <= 86400
        if step.verdict is Verdict.ANSWER:
            assert step.entries
        if step.delegation is not None:
            assert ASKED.is_below(step.delegation.zone)
            assert step.delegation.zone.is_below(ZONE)
            assert step.delegation.zone != ZONE
            assert all(each.is_below(ZONE) for each in step.delegation.glue)
        assert list(cache.dump(0)) is not None
    tails = Tails(5)
    query = Message.query(ASKED).to_wire()
    try:
        whole = message.to_wire()
    except ValueError:
        return
    tails.keep(query, whole, 300, 0)
    for tail in tails.table.values():
        octets = whole[:2] + tail[1] + query[12:] + tail[5].aged(100)
        assert Message.from_wire(octets).questions == message.questions
