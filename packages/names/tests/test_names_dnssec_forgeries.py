"""Who can mix true records at will, rename them and lie in between, is still not believed."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.signed_tree import SignedZone, Tree
from sennit.names.codes import Rcode, RRType
from sennit.names.dnssec.verdict import Security
from sennit.names.message import Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata.basic import CNAME
from sennit.names.rdata.dnssec import RRSIG

if TYPE_CHECKING:
    from sennit.names.dnssec.verdict import Link

TEXT = """
www A 192.0.2.1
*.wild A 192.0.2.5
real.wild A 192.0.2.6
alias CNAME www
*.named CNAME www
renamed DNAME child.test.
b.ent A 192.0.2.3
"""
LABELS = (
    "www", "x.wild", "real.wild", "wild", "alias", "x.named", "www.renamed", "ent", "b.ent",
    "nothing", "*.wild", "x.www",
)  # fmt: skip
ZONES = ("test", "child.test", "plain.test")
QUESTIONS = [
    *[
        (Name(f"{label}.{zone}"), rdtype)
        for zone in ZONES
        for label in LABELS
        for rdtype in (RRType.A, RRType.TXT)
    ],
    *[(Name(zone), rdtype) for zone in ZONES for rdtype in (RRType.DNSKEY, RRType.SOA)],
    *[(Name(zone), RRType.DS) for zone in ZONES[1:]],
]


@cache
def grown(kind: str) -> Tree:
    nsec3 = {"nsec": None, "nsec3": (b"s", 1)}[kind]
    return Tree(
        SignedZone("test", TEXT, nsec3=nsec3),
        SignedZone("child.test", TEXT, nsec3=nsec3),
        SignedZone("plain.test", TEXT, signed=False),
    )


Pool = list[list[Record]]


@cache
def groups(kind: str) -> Pool:
    """Every RRset of every zone, with its signatures."""
    return [
        zone.records(rrset) for zone in grown(kind).zones.values() for rrset in zone.sets.values()
    ]


@st.composite
def forgeries(draw: st.DrawFn, kind: str, name: Name, rdtype: int) -> Message:
    """An answer: the true one to this question or another, with things put in and left out."""
    tree = grown(kind)
    base, base_type = draw(st.sampled_from([*QUESTIONS, (name, rdtype)]))
    if draw(st.booleans()):
        base, base_type = name, rdtype
    message = tree.resolve(base, base_type)
    pool = groups(kind)
    for section in (message.answers, message.authority):
        for index in draw(st.lists(st.integers(0, len(pool) - 1), max_size=3)):
            section.extend(pool[index])
        thinned: bool = draw(st.booleans())
        if section and thinned:
            gone = draw(st.sampled_from([each.rdtype for each in section]))
            section[:] = [
                each
                for each in section
                if each.rdtype != gone
                and not (isinstance(each.rdata, RRSIG) and each.rdata.type_covered == gone)
            ]
    if draw(st.booleans()):
        # All of the answer is said to be of the name that was asked for.
        message.answers = [
            Record(name, each.rdtype, each.ttl, each.rdata) for each in message.answers
        ]
    if draw(st.integers(0, 4)) == 0:
        lie = CNAME(draw(st.sampled_from(QUESTIONS))[0])
        message.answers.append(Record(name, RRType.CNAME, 60, lie))
    if draw(st.integers(0, 4)) == 0:
        message.answers = [each for each in message.answers if not isinstance(each.rdata, RRSIG)]
    message.rcode = draw(st.sampled_from([message.rcode, Rcode.NOERROR, Rcode.NXDOMAIN]))
    message.questions = [Question(name, rdtype)]
    return message


def is_true(tree: Tree, link: Link, rcode: int) -> bool:
    """Whether a link says what its zone would say."""
    zone = tree.zone_of(link.name.parent if link.rdtype == RRType.DS else link.name)
    assert zone is not None
    truth = zone.answer(link.name, link.rdtype)
    here = {each.rdata for each in truth.answers if each.rdtype == link.rdtype}
    if link.rrset is not None:
        return zone.signed and set(link.rrset.rdatas) == here
    return zone.signed and not here and truth.rcode == rcode


@pytest.mark.parametrize("kind", ["nsec", "nsec3"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_is_secure_is_true(kind: str, data: st.DataObject) -> None:
    tree = grown(kind)
    name, rdtype = data.draw(st.sampled_from(QUESTIONS))
    message = data.draw(forgeries(kind, name, rdtype))
    honest = data.draw(st.booleans())

    async def fetch(wanted: Name, number: int) -> Message:
        if honest:
            return await tree.fetch(wanted, number)
        return data.draw(forgeries(kind, wanted, number))

    verdict = asyncio.run(tree.validator().validate(message, Question(name, rdtype), fetch))
    for link in verdict.links:
        if link.security is Security.SECURE:
            assert is_true(tree, link, message.rcode), (verdict, link, message.rcode)
        elif link.security is Security.INSECURE:
            # Nothing that is signed can be made to look as if it were not.
            assert link.name.is_below(Name("plain.test")), (verdict, link)


@pytest.mark.parametrize("kind", ["nsec", "nsec3"])
def test_the_truth_is_secure(kind: str) -> None:
    """So that the test before this one cannot hold by finding everything bogus."""
    tree = grown(kind)
    for name, rdtype in QUESTIONS:
        message = tree.resolve(name, rdtype)
        verdict = asyncio.run(
            tree.validator().validate(message, Question(name, rdtype), tree.fetch)
        )
        plain = name.is_below(Name("plain.test")) and not (
            rdtype == RRType.DS and name == Name("plain.test")
        )
        assert verdict.security is (Security.INSECURE if plain else Security.SECURE), (name, rdtype)
