"""What is concluded from proofs that are known (RFC 8198) is what the zone itself would say."""

from __future__ import annotations

from itertools import product

import pytest

from packages.names.tests.signed_tree import SignedZone, Tree
from sennit.names.codes import Rcode, RRType
from sennit.names.dnssec.verdict import Security
from sennit.names.name import Name
from sennit.names.resolver.aggressive import Denials
from sennit.names.resolver.entries import Entry, Kind
from sennit.names.resolver.limits import ResolverLimits

ZONE = Name("test")
TEXT = """\
ns A 192.0.2.1
www A 192.0.2.1
www TXT "text"
deep.er.and.deeper A 192.0.2.2
*.wild TXT "made from a wildcard"
b.wild A 192.0.2.3
alias CNAME www
dname DNAME www
plain NS ns.plain
ns.plain A 192.0.2.4
secret NS ns.secret
z A 192.0.2.5
"""
LABELS = (
    "", "a", "ns", "www", "x.www", "er.and.deeper", "and.deeper", "deeper", "x.deeper",
    "deep.er.and.deeper", "wild", "x.wild", "x.y.wild", "b.wild", "x.b.wild", "*.wild", "alias",
    "x.alias", "dname", "x.dname", "plain", "ns.plain", "x.plain", "secret", "x.secret", "z", "zz",
    "s", "p", "m", "*", "0",
)  # fmt: skip
TYPES = [int(RRType[each]) for each in ("A", "TXT", "NS", "DS", "SOA", "CNAME", "MX")]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("nsec3", [None, (b"", 0), (b"salt", 3)])
@pytest.mark.parametrize("opt_out", [False, True])
def test_nothing_is_concluded_that_is_not_so(
    nsec3: tuple[bytes, int] | None, first: int, opt_out: bool
) -> None:
    zone = SignedZone("test", TEXT, nsec3=nsec3, opt_out=opt_out)
    tree = Tree(zone, SignedZone("secret.test", "www A 192.0.2.6"))
    validator = tree.validator()
    denials = Denials(ResolverLimits())
    questions = [
        (Name(f"{label}.test" if label else "test"), rdtype)
        for label, rdtype in product(LABELS, TYPES)
        if label or rdtype != RRType.DS  # which nobody here has
    ]
    for name, rdtype in questions[first::2]:
        message = tree.ask(name, rdtype)
        if message.answers:
            continue
        verdict = tree.judge(str(name), _text(rdtype), validator)
        kind = Kind.NXDOMAIN if message.rcode == Rcode.NXDOMAIN else Kind.NODATA
        entry = Entry(kind, name, rdtype, 300, authority=message.authority)
        entry.security, entry.expires = verdict.security, 300.0
        link = verdict.links[-1]
        if link.zone is not None:
            denials.learn(link.zone, entry, 0.0)
    assert len(denials) > 3
    concluded = 0
    for name, rdtype in questions:
        found = denials.answer(name, rdtype, 1.0)
        if found is None:
            continue
        concluded += 1
        truth = tree.ask(name, rdtype)
        assert not truth.answers, (name, rdtype, truth.answers)
        said = Rcode.NXDOMAIN if found.kind is Kind.NXDOMAIN else Rcode.NOERROR
        assert truth.rcode == said, (name, rdtype)
        assert not any(each.rdtype == RRType.NS for each in truth.authority), (name, rdtype)
        assert found.security is Security.SECURE
    assert concluded > (10 if opt_out and nsec3 else 40)


def _text(rdtype: int) -> str:
    return RRType(rdtype).name
