"""What a validator finds of answers, sound, tampered with, and made to cost much."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from zope.interface.verify import verifyObject

from packages.names.tests.signed_tree import (
    DENYING,
    KINDS,
    NOW,
    WWW,
    SignedZone,
    Tree,
    changed,
    grow,
    unsigned,
    without,
)
from sennit.names.codes import EDE, Rcode, RRType
from sennit.names.dnssec.anchors import TrustAnchors
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.numbers import Algorithm
from sennit.names.dnssec.verdict import Security
from sennit.names.errors import LookupTimeoutError
from sennit.names.interfaces import IValidator
from sennit.names.message import Message, Question
from sennit.names.name import Name
from sennit.names.rdata import rdata_from_wire
from sennit.names.rdata.dnssec import DNSKEY, DS, RRSIG

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.dnssec.verdict import Verdict


@pytest.fixture(params=list(KINDS))
def tree(request: pytest.FixtureRequest) -> Tree:
    return grow(str(request.param))


def test_a_validator_provides_its_interface(tree: Tree) -> None:
    assert verifyObject(IValidator, tree.validator())


@pytest.mark.parametrize(
    ("name", "rdtype", "links"),
    [
        ("www.test", "A", 1),
        ("WWW.Child.TEST", "A", 1),
        ("www.deep.child.test", "A", 1),
        ("x.wild.child.test", "TXT", 1),
        ("x.y.wild.child.test", "TXT", 1),
        ("x.wild.child.test", "A", 1),
        ("nothing.child.test", "A", 1),
        ("no.thing.at.all.test", "A", 1),
        ("ent.child.test", "A", 1),
        ("www.child.test", "MX", 1),
        ("alias.child.test", "A", 2),
        ("out.child.test", "A", 2),
        ("www.renamed.child.test", "A", 3),
        ("nothing.renamed.child.test", "A", 3),
        ("child.test", "DS", 1),
        ("plain.test", "DS", 1),
        ("www.test", "DS", 1),
        ("child.test", "DNSKEY", 1),
        ("test", "DNSKEY", 1),
        ("child.test", "SOA", 1),
        ("www.child.test", "ANY", 1),
    ],
)
def test_what_is_signed_is_secure(tree: Tree, name: str, rdtype: str, links: int) -> None:
    verdict = tree.judge(name, rdtype)
    assert verdict.security is Security.SECURE, verdict
    assert verdict.info_code is None
    assert verdict.reason == ""
    assert len(verdict.links) >= links
    assert 0 < verdict.ttl <= 3600


@pytest.mark.parametrize("name", ["a.plain.test", "nothing.plain.test", "www.island.test"])
def test_what_lies_beneath_an_unsigned_delegation_is_insecure(tree: Tree, name: str) -> None:
    verdict = tree.judge(name)
    assert verdict.security is Security.INSECURE
    assert verdict.links[0].zone is None


def test_an_alias_into_an_unsigned_zone_is_worth_what_that_is(tree: Tree) -> None:
    verdict = tree.judge("into.child.test")
    assert verdict.security is Security.INSECURE
    assert [link.security for link in verdict.links] == [Security.SECURE, Security.INSECURE]


def test_a_wildcard_that_leads_to_an_absence_elsewhere_is_judged_link_by_link(tree: Tree) -> None:
    """The proofs of both zones stand in one section, and one zone may have none."""
    verdict = tree.judge("x.into.test")
    assert verdict.security is Security.INSECURE, verdict
    assert [link.security for link in verdict.links] == [Security.SECURE, Security.INSECURE]
    verdict = tree.judge("x.over.test")
    assert verdict.security is Security.SECURE, verdict
    assert [link.zone for link in verdict.links] == [Name("test"), Name("child.test")]
    for link in verdict.links:
        assert all(each.name.is_below(link.zone or Name(".")) for each in link.proof)


@pytest.mark.parametrize(
    ("name", "rdtype", "edit", "code"),
    [
        ("www.child.test", "A", unsigned, EDE.RRSIGS_MISSING),
        ("www.child.test", "A", changed, EDE.DNSSEC_BOGUS),
        ("out.child.test", "A", changed, EDE.DNSSEC_BOGUS),
        ("nothing.child.test", "A", without(DENYING), EDE.NSEC_MISSING),
        ("www.child.test", "MX", without(DENYING), EDE.NSEC_MISSING),
        ("x.wild.child.test", "TXT", without(DENYING), EDE.NSEC_MISSING),
        ("nothing.child.test", "A", unsigned, EDE.RRSIGS_MISSING),
        ("child.test", "DS", without({RRType.DS}), EDE.NSEC_MISSING),
        ("plain.test", "DS", unsigned, EDE.RRSIGS_MISSING),
        ("www.child.test", "A", without({RRType.A}), EDE.NSEC_MISSING),
    ],
)
def test_what_was_tampered_with_is_bogus(
    tree: Tree, name: str, rdtype: str, edit: Callable[[Message], Message], code: int
) -> None:
    verdict = tree.judge(name, rdtype, edit=edit)
    assert verdict.security is Security.BOGUS
    assert verdict.info_code == code, verdict
    assert verdict.reason


def test_no_delegation_can_be_hidden_by_leaving_its_proof_out(tree: Tree) -> None:
    tree.change = without(DENYING | {int(RRType.DS)})
    for name in ("www.child.test", "a.plain.test"):
        assert tree.judge(name).security is Security.BOGUS


def test_a_signed_zone_cannot_be_passed_off_as_an_unsigned_one(tree: Tree) -> None:
    """An answer without signatures, and a proof about another delegation."""
    tree.change = lambda message: message
    other = tree.ask(Name("plain.test"), RRType.DS)

    def swap(message: Message) -> Message:
        if message.question.rdtype == RRType.DS and message.question.name == Name("child.test"):
            message.answers, message.authority = [], list(other.authority)
        return message

    tree.change = swap
    verdict = tree.judge("www.child.test", edit=unsigned)
    assert verdict.security is Security.BOGUS


def test_nxdomain_and_nodata_are_not_taken_for_each_other(tree: Tree) -> None:
    def denied(message: Message) -> Message:
        message.rcode = Rcode.NXDOMAIN
        return message

    def there(message: Message) -> Message:
        message.rcode = Rcode.NOERROR
        return message

    for name, rdtype in (("www.child.test", "MX"), ("ent.child.test", "A"), ("www.test", "A")):
        assert tree.judge(name, rdtype, edit=denied).security is Security.BOGUS
    assert tree.judge("nothing.child.test", edit=there).security is Security.BOGUS


def test_a_wildcard_answer_is_no_answer_where_the_name_exists(tree: Tree) -> None:
    """Not even beside all the proofs that the zone has."""
    zone = tree.zones[Name("child.test")]
    name = Name("real.wild.child.test")
    message = Message(0, questions=[Question(name, RRType.TXT)])
    message.answers = zone.records(zone.sets[Name("*.wild.child.test"), int(RRType.TXT)], name)
    for (_, rdtype), rrset in zone.sets.items():
        if rdtype in DENYING:
            message.authority += zone.records(rrset)
    verdict = asyncio.run(tree.validator().validate(message, message.question, tree.fetch))
    assert verdict.security is Security.BOGUS
    assert verdict.info_code == EDE.NSEC_MISSING


def test_the_parents_side_of_a_cut_says_nothing_of_the_childs_types() -> None:
    """RFC 6840 §4.1: the NSEC of a delegation has no A, and the child may."""
    tree = grow()
    parent = tree.zones[Name("test")]
    message = Message(0, questions=[Question(Name("child.test"), RRType.A)])
    message.authority = parent.proofs(Name("child.test"), Name("child.test"), None)
    question = message.question
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.BOGUS
    message.rcode = Rcode.NXDOMAIN
    below = Question(Name("www.child.test"), RRType.A)
    verdict = asyncio.run(tree.validator().validate(message, below, tree.fetch))
    assert verdict.security is Security.BOGUS


def test_the_childs_side_of_a_cut_says_nothing_of_its_ds(tree: Tree) -> None:
    """RFC 4035 §5.2: otherwise a child could take itself out of the chain."""
    child = tree.zones[Name("child.test")]
    own = child.proofs(child.origin, child.origin, None)

    def lie(message: Message) -> Message:
        if message.question.rdtype == RRType.DS and message.question.name == child.origin:
            message.answers, message.authority = [], list(own)
        return message

    tree.change = lie
    assert tree.judge("www.child.test").security is Security.BOGUS
    assert tree.judge("www.child.test", edit=unsigned).security is Security.BOGUS


def test_an_opt_out_span_proves_no_absence_and_hides_unsigned_delegations() -> None:
    """RFC 5155 §9.2: such an answer is not authentic data."""
    tree = Tree(
        SignedZone("test", WWW + "zone1 NS ns.zone1\n", nsec3=(b"", 0), opt_out=True),
        SignedZone("child.test", WWW, nsec3=(b"", 0), opt_out=True),
        SignedZone("plain.test", "a A 192.0.2.9", signed=False),
    )
    assert tree.judge("www.child.test").security is Security.SECURE
    assert tree.judge("www.child.test", "MX").security is Security.SECURE
    assert tree.judge("nothing.child.test").security is Security.INSECURE
    assert tree.judge("x.wild.child.test", "TXT").security is Security.INSECURE
    assert tree.judge("a.plain.test").security is Security.INSECURE
    assert tree.judge("plain.test", "DS").security is Security.INSECURE


# ── time ──────────────────────────────────────────────────────────────────────


def test_signatures_are_good_from_inception_to_expiration_with_some_skew(tree: Tree) -> None:
    for moment, security, code in (
        (NOW - 3600 - 299, Security.SECURE, None),
        (NOW - 3600 - 301, Security.BOGUS, EDE.SIGNATURE_NOT_YET_VALID),
        (NOW + 86400 + 299, Security.SECURE, None),
        (NOW + 86400 + 301, Security.BOGUS, EDE.SIGNATURE_EXPIRED),
    ):
        tree.now = float(moment)
        verdict = tree.judge("www.child.test")
        assert verdict.security is security, moment
        assert verdict.info_code == code


def test_nothing_is_kept_longer_than_its_signature_is_good(tree: Tree) -> None:
    zone = tree.zones[Name("child.test")]
    zone.resign(zone.sets[Name("www.child.test"), int(RRType.A)], (-10, 100))
    assert tree.judge("www.child.test").ttl == 100
    assert tree.judge("www.child.test", "MX").ttl == 3600


def test_a_ttl_is_no_longer_than_the_one_that_was_signed(tree: Tree) -> None:
    def raised(message: Message) -> Message:
        for each in message.answers:
            each.ttl = 86400
        return message

    assert tree.judge("www.child.test", edit=raised).ttl == 3600


def test_keys_are_remembered_as_long_as_they_may_be(tree: Tree) -> None:
    validator = tree.validator()
    assert tree.judge("www.child.test", validator=validator).security is Security.SECURE
    first = len(tree.asked)
    assert first == 3  # DNSKEY of test., DS and DNSKEY of child.test.
    for name in ("alias.child.test", "nothing.child.test", "www.test"):
        assert tree.judge(name, validator=validator).security is Security.SECURE
    assert len(tree.asked) == first
    tree.now += 3601
    assert tree.judge("www.child.test", validator=validator).security is Security.SECURE
    assert len(tree.asked) == 2 * first
    validator.forget(Name("child.test"))
    tree.judge("www.child.test", validator=validator)
    assert len(tree.asked) == 2 * first + 2


def test_a_wall_clock_that_jumps_does_not_end_what_is_remembered(tree: Tree) -> None:
    """HARDENING fault-12: what is remembered is held to a clock that only goes forward."""
    validator = tree.validator(clock=lambda: 5.0)
    tree.judge("www.child.test", validator=validator)
    asked = len(tree.asked)
    tree.now += 7200
    assert tree.judge("www.child.test", validator=validator).security is Security.SECURE
    assert len(tree.asked) == asked


def test_faults_are_remembered_for_seconds(tree: Tree) -> None:
    """RFC 4035 §4.7: a zone that is broken is not asked again by every question."""
    validator = tree.validator()
    sound, tree.change = tree.change, unsigned
    assert tree.judge("www.child.test", validator=validator).security is Security.BOGUS
    tree.change = sound
    verdict = tree.judge("www.child.test", validator=validator)
    assert verdict.security is Security.BOGUS
    tree.now += 11
    assert tree.judge("www.child.test", validator=validator).security is Security.SECURE


def test_what_nobody_answers_makes_an_answer_bogus_and_is_not_remembered(tree: Tree) -> None:
    validator = tree.validator()

    async def fails(name: Name, rdtype: int) -> Message:
        raise LookupTimeoutError("nobody answers")

    async def refuses(name: Name, rdtype: int) -> Message:
        return Message(0, rcode=Rcode.SERVFAIL, questions=[Question(name, rdtype)])

    name = Name("www.child.test")
    for fetch in (fails, refuses):
        verdict = asyncio.run(validator.validate(tree.resolve(name, 1), Question(name, 1), fetch))
        assert verdict.security is Security.BOGUS
        assert verdict.info_code == EDE.NO_REACHABLE_AUTHORITY
    assert tree.judge("www.child.test", validator=validator).security is Security.SECURE


# ── anchors ───────────────────────────────────────────────────────────────────


def test_without_an_anchor_above_nothing_can_be_said(tree: Tree) -> None:
    tree.anchors = TrustAnchors([(Name("example"), tree.zones[Name("test")].key.ds())])
    for name in ("www.child.test", "nothing.child.test"):
        verdict = tree.judge(name, edit=unsigned)
        assert verdict.security is Security.INDETERMINATE
        assert verdict.info_code == EDE.DNSSEC_INDETERMINATE
    assert tree.judge("www.child.test").security is Security.INDETERMINATE


def test_an_anchor_may_be_a_key_and_stand_at_an_island(tree: Tree) -> None:
    island = tree.zones[Name("island.test")]
    tree.anchors.add(island.origin, island.key.dnskey)
    assert tree.judge("www.island.test").security is Security.SECURE


@pytest.mark.parametrize("above", ["test", "plain.test"])
@pytest.mark.parametrize("name", ["www.own.plain.test", "nothing.own.plain.test"])
def test_nobody_above_an_anchor_speaks_for_what_is_beneath_it(above: str, name: str) -> None:
    """Signatures that claim to be of an insecure zone do not make insecure what has an anchor."""
    tree = Tree(
        SignedZone("test", WWW),
        SignedZone("plain.test", WWW, signed=False),
        SignedZone("own.plain.test", WWW),
    )
    own = tree.zones[Name("own.plain.test")]
    assert tree.judge(name).security is Security.INSECURE
    tree.anchors.add(own.origin, own.key.ds())
    assert tree.judge(name).security is Security.SECURE

    def claimed(message: Message) -> Message:
        for record in (*message.answers, *message.authority):
            if isinstance(record.rdata, RRSIG):
                record.rdata = rdata_from_wire(RRType.RRSIG, record.rdata.wire)
                assert isinstance(record.rdata, RRSIG)
                record.rdata.signer = Name(above)
        return message

    assert tree.judge(name, edit=claimed).security is Security.BOGUS


def test_a_class_without_anchors_cannot_be_validated(tree: Tree) -> None:
    question = Question(Name("www.test"), RRType.A, 3)
    message = tree.resolve(question.name, RRType.A)
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.INDETERMINATE


def test_a_wrong_anchor_makes_all_bogus(tree: Tree) -> None:
    wrong = ZoneKey.generate(Name("test"), Algorithm.ED25519)
    tree.anchors.replace(Name("test"), [wrong.ds()])
    verdict = tree.judge("www.test")
    assert (verdict.security, verdict.info_code) == (Security.BOGUS, EDE.DNSKEY_MISSING)


def test_a_negative_anchor_switches_validation_off_for_a_while(tree: Tree) -> None:
    """RFC 7646: beneath the name, until its time is over."""
    tree.anchors.distrust(Name("child.test"), NOW + 100)
    for name in ("www.child.test", "www.deep.child.test", "nothing.child.test"):
        assert tree.judge(name, edit=changed).security is Security.INSECURE
    assert tree.judge("www.other.test").security is Security.SECURE
    tree.now += 101
    assert tree.judge("www.child.test", edit=changed).security is Security.BOGUS
    tree.anchors.distrust(Name("child.test"), NOW + 1000)
    tree.anchors.trust_again(Name("child.test"))
    assert tree.judge("www.child.test").security is Security.SECURE


def test_a_revoked_key_verifies_nothing(tree: Tree) -> None:
    """RFC 5011 §2.1."""
    zone = tree.zones[Name("child.test")]
    key = (zone.origin, int(RRType.DNSKEY))
    zone.sets[key].rdatas = (zone.key.revoked().dnskey,)
    zone.key = zone.key.revoked()
    zone.resign(zone.sets[key])
    assert tree.judge("www.child.test").security is Security.BOGUS


def test_a_key_without_the_zone_flag_is_no_key_of_a_zone(tree: Tree) -> None:
    zone = tree.zones[Name("child.test")]
    zone.sets[zone.origin, int(RRType.DNSKEY)].rdatas = (DNSKEY(0, 3, 15, zone.key.private.octets),)
    verdict = tree.judge("www.child.test")
    assert verdict.info_code == EDE.NO_ZONE_KEY_BIT_SET


# ── algorithms ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("algorithm", [8, 10, 13, 14, 15, 16])
def test_each_algorithm_makes_a_zone_secure(algorithm: int) -> None:
    tree = Tree(SignedZone("test", WWW, algorithm=algorithm))
    assert tree.judge("www.test").security is Security.SECURE
    assert tree.judge("nothing.test").security is Security.SECURE
    assert tree.judge("www.test", edit=changed).security is Security.BOGUS


@pytest.mark.parametrize("algorithm", [5, 7])
def test_sha1_counts_only_where_somebody_says_so(algorithm: int) -> None:
    """RFC 9905 §2: as if it were not supported, hence insecure."""
    tree = Tree(SignedZone("test", WWW), SignedZone("old.test", WWW, algorithm=algorithm))
    verdict = tree.judge("www.old.test")
    assert verdict.security is Security.INSECURE
    assert verdict.info_code == EDE.UNSUPPORTED_DNSKEY_ALGORITHM
    validator = tree.validator()
    reasons = {tree.judge("www.old.test", validator=validator).reason for _ in range(2)}
    assert reasons == {verdict.reason}  # what is remembered says why, too
    validator = tree.validator(sha1=True)
    assert tree.judge("www.old.test", validator=validator).security is Security.SECURE
    assert tree.judge("www.old.test", validator=validator, edit=changed).security is Security.BOGUS


def test_a_ds_whose_digest_does_not_count_makes_its_zone_insecure() -> None:
    tree = Tree(SignedZone("test", WWW), SignedZone("child.test", WWW), missing=["child.test"])
    parent, child = tree.zones[Name("test")], tree.zones[Name("child.test")]

    def delegate(*digests: int) -> Verdict:
        for key in [(child.origin, int(RRType.DS)), *[k for k in parent.sets if k[1] == 47]]:
            parent.sets.pop(key, None)
        parent.sets.pop((parent.origin, int(RRType.DNSKEY)))
        for digest in digests:
            parent.put(child.origin, child.key.ds(digest))
        parent.sign()
        return tree.judge("www.child.test")

    verdict = delegate(1)
    assert verdict.security is Security.INSECURE
    assert verdict.info_code == EDE.UNSUPPORTED_DS_DIGEST_TYPE
    assert delegate(1, 4).security is Security.SECURE
    assert delegate(2).security is Security.SECURE


def test_a_weak_digest_does_not_stand_in_for_a_strong_one() -> None:
    """RFC 4509 §3: a SHA-1 DS is passed over where there is a better one."""
    tree = Tree(SignedZone("test", WWW), SignedZone("child.test", WWW), missing=["child.test"])
    parent, child = tree.zones[Name("test")], tree.zones[Name("child.test")]
    good = child.key.ds(2)
    parent.put(child.origin, child.key.ds(1))
    parent.put(child.origin, DS(good.key_tag, good.algorithm, 2, bytes(32)))
    parent.resign(parent.sets[child.origin, int(RRType.DS)])
    assert tree.judge("www.child.test").security is Security.BOGUS
    validator = tree.validator(sha1=True)
    assert tree.judge("www.child.test", validator=validator).security is Security.BOGUS
