"""No answer makes the validator raise, cost more than its limits, or find secure what is not so."""

from __future__ import annotations

import asyncio

from packages.names.tests.signed_tree import SignedZone, Tree
from sennit.names.codes import RRType
from sennit.names.dnssec.algorithms import PrivateKey
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.limits import ValidationLimits, Work
from sennit.names.dnssec.verdict import Security
from sennit.names.errors import MessageFormatError
from sennit.names.message import Message, Question
from sennit.names.name import Name

_TEXT = """
www A 192.0.2.1
*.wild TXT "x"
alias CNAME www
renamed DNAME child.test.
b.ent A 192.0.2.3
"""


def _tree() -> Tree:
    zones = [
        SignedZone("test", _TEXT),
        SignedZone("child.test", _TEXT, nsec3=(b"s", 1)),
        SignedZone("plain.test", _TEXT, signed=False),
    ]
    for number, zone in enumerate(zones):
        # The same keys each time, so that what was found once is found again.
        private = PrivateKey.from_secret(15, bytes((number + 1,)) * 32)
        zone.key = ZoneKey(zone.origin, private, zone.key.dnskey.flags)
    return Tree(*zones)


_TREE = _tree()
_QUESTIONS = [
    ("www.test", "A"),
    ("alias.child.test", "A"),
    ("nothing.child.test", "A"),
    ("x.wild.child.test", "TXT"),
    ("x.wild.test", "TXT"),
    ("www.renamed.test", "A"),
    ("ent.test", "A"),
    ("www.plain.test", "A"),
    ("child.test", "DS"),
    ("child.test", "DNSKEY"),
    ("test", "DNSKEY"),
    ("plain.test", "DS"),
]
_ANSWERS = [_TREE.resolve(Name(name), RRType[rdtype]).to_wire() for name, rdtype in _QUESTIONS]
SEEDS = (
    *[b"\0" + each for each in _ANSWERS],
    *[b"\1" + each for each in _ANSWERS[-4:]],
)


def fuzz(data: bytes) -> None:
    """Take `data` for an answer; or, with a first octet of 1, for what is fetched on the way."""
    try:
        message = Message.from_wire(data[1:])
    except MessageFormatError:
        return
    if len(message.questions) != 1:
        return
    question = message.question
    fetched = data[:1] == b"\1"

    async def fetch(name: Name, rdtype: int) -> Message:
        if fetched and Question(name, rdtype) == question:
            return message
        return await _TREE.fetch(name, rdtype)

    if fetched:
        asked = Question(Name("www.child.test"), RRType.A)
        answer = _TREE.resolve(asked.name, asked.rdtype)
    else:
        asked, answer = question, message
    work = Work(ValidationLimits())
    verdict = asyncio.run(_TREE.validator().judge(answer, asked, fetch, work))
    assert work.signatures <= work.limits.signatures
    assert work.hashes <= work.limits.hashes
    for link in verdict.links:
        if link.security is not Security.SECURE:
            continue
        truth = _TREE.resolve(link.name, link.rdtype)
        if link.rrset is None:
            assert not any(
                each.name == link.name and each.rdtype == link.rdtype for each in truth.answers
            )
            continue
        known = {
            each.rdata
            for each in truth.answers
            if each.name == link.name and each.rdtype == link.rdtype
        }
        assert set(link.rrset.rdatas) == known
        assert link.ttl <= 3600
