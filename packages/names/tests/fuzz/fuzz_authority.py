"""No query makes an authority raise, and the short way says what the long way says."""

from __future__ import annotations

from contextlib import suppress

from sennit.names.authority import Authority
from sennit.names.edns import EDNS
from sennit.names.errors import MessageFormatError
from sennit.names.message import Message
from sennit.names.request import Request
from sennit.names.zone.zonefile import read_zone

_ZONE = """\
$ORIGIN f.example.
$TTL 60
@ SOA a b 1 1 1 1 1
@ NS a
a A 192.0.2.1
*.w MX 1 a
c CNAME x.w
d DNAME w
sub NS ns.sub
ns.sub A 192.0.2.2
"""
_AUTHORITY = Authority([read_zone(_ZONE.splitlines())])

SEEDS = tuple(
    Message.query(name, rdtype, edns=edns).to_wire()
    for name in ("a.f.example", "q.w.f.example", "c.f.example", "z.d.f.example", "sub.f.example")
    for rdtype, edns in ((1, None), (15, EDNS()), (255, EDNS(dnssec_ok=True)))
)


def fuzz(data: bytes) -> None:
    """Answer `data` both ways."""
    quick = _AUTHORITY.quick(data, 512, None)
    with suppress(MessageFormatError):
        query = Message.from_wire(data)
        if len(query.questions) == 1:
            answer = _AUTHORITY.respond(Request(query, data, None))
            if isinstance(answer, Message):
                answer.to_wire(512)
            if quick is not None:
                assert isinstance(answer, Message)
                if query.edns is not None:
                    answer.edns = EDNS(1232, dnssec_ok=query.edns.dnssec_ok)
                assert Message.from_wire(quick) == answer
        return
    assert quick is None
