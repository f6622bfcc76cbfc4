"""What an answer may cost a validator, and the odd answers: aliases, errors, broken keys."""

from __future__ import annotations

import asyncio

import pytest

from packages.names.tests.signed_tree import (
    DENYING,
    KINDS,
    NOW,
    WWW,
    SignedZone,
    Tree,
    grow,
    unsigned,
    without,
)
from sennit.names.codes import EDE, Rcode, RRType
from sennit.names.dnssec.algorithms import PublicKey
from sennit.names.dnssec.limits import ValidationLimits, Work
from sennit.names.dnssec.verdict import Security
from sennit.names.message import Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata import rdata_from_wire
from sennit.names.rdata.basic import CNAME
from sennit.names.rdata.dnssec import DNSKEY, DS, NSEC, NSEC3, RRSIG
from sennit.names.resolver.checking import Checker
from sennit.names.resolver.entries import Entry, Kind
from sennit.names.resolver.limits import ResolverLimits
from sennit.names.resolver.querying import Budget


@pytest.fixture(params=list(KINDS))
def tree(request: pytest.FixtureRequest) -> Tree:
    return grow(str(request.param))


def twin(key: DNSKEY, turn: int) -> DNSKEY:
    """Another key with the same tag: the sum of its words does not mind their order."""
    octets = key.public_key
    words = [octets[index : index + 2] for index in range(0, len(octets), 2)]
    words = words[turn % len(words) :] + words[: turn % len(words)]
    words[turn // len(words) % 8], words[9] = words[9], words[turn // len(words) % 8]
    return DNSKEY(key.flags, key.protocol, key.algorithm, b"".join(words))


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each verification of a signature found, in order."""
    found: list[bool] = []
    verify = PublicKey.verify

    def counted(self: PublicKey, signature: bytes, data: bytes) -> bool:
        found.append(verify(self, signature, data))
        return found[-1]

    monkeypatch.setattr(PublicKey, "verify", counted)
    return found


def test_keytrap_costs_a_fixed_number_of_signatures(verified: list[bool]) -> None:
    """CVE-2023-50387: many keys of one tag, and many signatures that name it."""
    tree = grow()
    zone = tree.zones[Name("child.test")]
    keys = zone.sets[zone.origin, int(RRType.DNSKEY)]
    keys.rdatas = (*[twin(zone.key.dnskey, turn) for turn in range(1, 26)], zone.key.dnskey)
    assert len({each.wire for each in keys.rdatas}) == 26
    zone.resign(keys)
    www = zone.sets[Name("www.child.test"), int(RRType.A)]
    good = zone.signatures[www.name, www.rdtype][0]
    forged: list[RRSIG] = []
    for turn in range(200):
        each = zone.key.sign(www, NOW - 3600, NOW + 86400 + turn)
        each.signature = bytes(64)
        each._wire = None
        forged.append(each)
    zone.signatures[www.name, www.rdtype] = [*forged, good]
    verdict = tree.judge("www.child.test")
    assert verdict.security is Security.BOGUS
    assert "failures" in verdict.reason
    assert len(verified) <= 3 + 9
    assert verified.count(False) <= 9


def test_keytrap_at_the_keys_and_at_the_delegation_is_bounded_too(verified: list[bool]) -> None:
    tree = grow()
    zone, parent = tree.zones[Name("child.test")], tree.zones[Name("test")]
    keys = zone.sets[zone.origin, int(RRType.DNSKEY)]
    keys.rdatas = (*[twin(zone.key.dnskey, turn) for turn in range(1, 60)], zone.key.dnskey)
    zone.resign(keys)
    verdict = tree.judge("www.child.test")
    assert verdict.security is Security.BOGUS
    assert "60 keys" in verdict.reason
    assert len(verified) <= 3
    keys.rdatas = (zone.key.dnskey,)
    zone.resign(keys)
    for turn in range(40):
        parent.put(zone.origin, DS(turn, 15, 2, bytes(32)))
    parent.resign(parent.sets[zone.origin, int(RRType.DS)])
    verdict = tree.judge("www.child.test")
    assert verdict.security is Security.BOGUS
    assert "41 DS" in verdict.reason


def test_many_signatures_of_one_rrset_are_not_all_looked_at(verified: list[bool]) -> None:
    tree = grow()
    zone = tree.zones[Name("child.test")]
    www = zone.sets[Name("www.child.test"), int(RRType.A)]
    expired = [zone.key.sign(www, NOW - 9000 - turn, NOW - 8000) for turn in range(50)]
    zone.signatures[www.name, www.rdtype][:0] = expired
    assert tree.judge("www.child.test").security is Security.BOGUS
    zone.signatures[www.name, www.rdtype][:45] = []
    assert tree.judge("www.child.test").security is Security.SECURE
    assert all(verified)


def test_nsec3_costs_a_fixed_number_of_hashes() -> None:
    """CVE-2023-50868: long names, and as many iterations as a zone likes."""
    tree = Tree(SignedZone("test", WWW, nsec3=(b"salt", 50)))
    validator = tree.validator(limits=ValidationLimits(hashes=20))
    long = ".".join("a" * 60) + ".test"
    work = Work(validator.limits)
    question = Question(Name(long), RRType.A)
    message = tree.resolve(question.name, question.rdtype)
    verdict = asyncio.run(validator.judge(message, question, tree.fetch, work))
    assert verdict.security is Security.BOGUS
    assert "hashes" in verdict.reason
    assert work.hashes == 20
    assert tree.judge(long).security is Security.SECURE  # the longest name there can be is, too


def test_too_many_iterations_make_a_zone_insecure() -> None:
    """RFC 9276 §3.2."""
    tree = Tree(SignedZone("test", WWW), SignedZone("hard.test", WWW, nsec3=(b"", 51)))
    assert tree.judge("www.hard.test").security is Security.SECURE
    verdict = tree.judge("nothing.hard.test")
    assert verdict.security is Security.INSECURE
    assert verdict.info_code == EDE.UNSUPPORTED_NSEC3_ITERATIONS
    limits = ValidationLimits(iterations=60)
    validator = tree.validator(limits=limits)
    assert tree.judge("nothing.hard.test", validator=validator).security is Security.SECURE


def test_a_chain_of_zones_without_end_is_bounded() -> None:
    names = ["test"]
    for turn in range(20):
        names.append(f"z{turn}.{names[-1]}")
    tree = Tree(*[SignedZone(name, WWW) for name in names])
    assert tree.judge(f"www.{names[-1]}").security is Security.SECURE
    validator = tree.validator(limits=ValidationLimits(fetches=10))
    verdict = tree.judge(f"www.{names[-1]}", validator=validator)
    assert verdict.security is Security.BOGUS
    assert "fetches" in verdict.reason


def test_the_fault_of_one_answers_cost_is_not_its_zones(tree: Tree) -> None:
    limits = ValidationLimits(fetches=1)
    validator = tree.validator(limits=limits)
    assert tree.judge("www.deep.child.test", validator=validator).security is Security.BOGUS
    validator.limits = ValidationLimits()
    assert tree.judge("www.deep.child.test", validator=validator).security is Security.SECURE


def test_aliases_in_a_circle_end(tree: Tree) -> None:
    verdict = tree.judge("loop1.child.test")
    assert verdict.security is Security.SECURE
    assert len(verdict.links) == 2


def test_a_cname_that_its_dname_does_not_make_is_bogus(tree: Tree) -> None:
    """RFC 6672 §5.3.1: it is not signed, and has to be what the DNAME says."""

    def elsewhere(message: Message) -> Message:
        for each in message.answers:
            if isinstance(each.rdata, CNAME):
                each.rdata = CNAME(Name("www.plain.test"))
        return message

    assert tree.judge("www.renamed.child.test", edit=elsewhere).security is Security.BOGUS
    without_cname = tree.judge("www.renamed.child.test", edit=without({RRType.CNAME}))
    assert without_cname.security is Security.SECURE


def test_an_alias_that_was_added_is_bogus(tree: Tree) -> None:
    def aliased(message: Message) -> Message:
        cname = CNAME(Name("www.child.test"))
        message.answers[:0] = [Record(Name("bank.child.test"), RRType.CNAME, 60, cname)]
        message.rcode = Rcode.NOERROR
        return message

    message = aliased(tree.resolve(Name("www.child.test"), RRType.A))
    question = Question(Name("bank.child.test"), RRType.A)
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.BOGUS
    assert verdict.info_code == EDE.RRSIGS_MISSING


def test_errors_are_nobodys_proof(tree: Tree) -> None:
    message = Message(0, rcode=Rcode.REFUSED, questions=[Question(Name("www.test"), 1)])
    verdict = asyncio.run(tree.validator().validate(message, message.question, tree.fetch))
    assert verdict.security is Security.INDETERMINATE
    assert verdict.links == ()


def test_signatures_by_themselves_are_not_proven(tree: Tree) -> None:
    zone = tree.zones[Name("test")]
    message = Message(0, questions=[Question(Name("www.test"), RRType.RRSIG)])
    www = zone.sets[Name("www.test"), int(RRType.A)]
    message.answers = [each for each in zone.records(www) if isinstance(each.rdata, RRSIG)]
    verdict = asyncio.run(tree.validator().validate(message, message.question, tree.fetch))
    assert verdict.security is Security.INSECURE


def test_a_verdict_gives_what_caches_need(tree: Tree) -> None:
    validator = tree.validator()
    verdict = tree.judge("nothing.child.test", validator=validator)
    (link,) = verdict.links
    assert link.zone == Name("child.test")
    assert {each.rdtype for each in link.proof} - DENYING == {RRType.SOA}
    assert all(
        isinstance(each.rdata, NSEC | NSEC3) or each.rdtype == RRType.SOA
        for each in verdict.proofs()
    )
    assert verdict.of(Name("NOTHING.child.test"), RRType.A) is link
    wildcard = tree.judge("x.wild.child.test", "TXT").links[0]
    assert wildcard.encloser == Name("wild.child.test")
    assert wildcard.proof
    assert validator.validated[Security.SECURE] == 1
    assert "SECURE" in repr(verdict)
    assert "absence" in repr(link)


def test_a_forged_proof_beside_a_good_one_is_no_proof(tree: Tree) -> None:
    """What a cache may conclude from are the records of `Link.proof` alone."""

    def forged(message: Message) -> Message:
        owner = Name("aaa.child.test")
        message.authority.append(Record(owner, RRType.NSEC, 60, NSEC(Name("zzz.child.test"), ())))
        return message

    assert tree.judge("nothing.child.test", edit=forged).security is Security.BOGUS


def test_a_resolver_concludes_from_verified_proofs_alone(tree: Tree) -> None:
    """RFC 8198: a forged NSEC beside a true one, said to be another zone's, is not kept."""
    zone = tree.zones[Name("child.test")]
    message = zone.answer(Name("nothing.child.test"), RRType.A)
    forged = NSEC(Name("zzz.child.test"), ())
    owner = Name("aaa.child.test")
    signature = RRSIG(RRType.NSEC, 15, 3, 60, NOW + 60, NOW - 60, 1, Name("test"), bytes(64))
    message.authority.append(Record(owner, RRType.NSEC, 60, forged))
    message.authority.append(Record(owner, RRType.RRSIG, 60, signature))
    entry = Entry(
        Kind.NXDOMAIN,
        Name("nothing.child.test"),
        int(RRType.A),
        300,
        authority=message.authority,
        zone=zone.origin,
    )

    async def check() -> None:
        limits = ResolverLimits()

        async def fetch(name: Name, rdtype: int, budget: Budget) -> Message:
            return tree.ask(name, rdtype)

        checker = Checker(tree.validator(), limits, lambda: tree.now, fetch)
        budget = Budget(10, tree.now + 10)
        await checker.check(entry, entry.name, entry.rdtype, budget)
        await checker.aclose()

    asyncio.run(check())
    assert entry.security is Security.SECURE
    assert entry.zone == zone.origin
    assert owner not in {each.name for each in entry.authority}
    assert {each.rdtype for each in entry.authority} >= {int(RRType.SOA), int(RRType.RRSIG)}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_chain_begins_at_the_root(kind: str) -> None:
    tree = Tree(SignedZone(".", "plain A 192.0.2.1", nsec3=KINDS[kind]), SignedZone("test", WWW))
    for name, rdtype in (
        ("www.test", "A"), ("plain", "A"), ("nothing", "A"), ("test", "DS"),
        (".", "DNSKEY"), (".", "DS"), (".", "A"),
    ):  # fmt: skip
        assert tree.judge(name, rdtype).security is Security.SECURE, name
    assert tree.judge(".", "DNSKEY", edit=unsigned).security is Security.BOGUS


@pytest.mark.parametrize("name", ["x.alias.child.test", "x.y.renamed.child.test", "x.www.test"])
def test_no_zone_begins_at_an_alias_or_beneath_it(tree: Tree, name: str) -> None:
    """So that what is unsigned there is not excused by a delegation."""
    question = Question(Name(name), RRType.A)
    message = Message(0, questions=[question])
    address = rdata_from_wire(RRType.A, bytes((203, 0, 113, 66)))
    message.answers = [Record(question.name, RRType.A, 60, address)]
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.BOGUS
    assert verdict.info_code == EDE.RRSIGS_MISSING
    tree.change = unsigned
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.BOGUS


def test_more_aliases_than_are_followed_are_bogus() -> None:
    text = "".join(f"a{number} CNAME a{number + 1}\n" for number in range(18)) + "a18 A 192.0.2.1"
    tree = Tree(SignedZone("test", text))
    assert tree.judge("a4.test").security is Security.SECURE
    verdict = tree.judge("a0.test")
    assert verdict.security is Security.BOGUS
    assert "aliases" in verdict.reason


def test_a_dname_that_leads_to_a_name_too_long_is_bogus() -> None:
    long = ".".join("x" * 60 for _ in range(4))
    tree = Tree(SignedZone("test", f"short DNAME {long}."))
    zone = tree.zones[Name("test")]
    question = Question(Name("a-label-of-some-length.short.test"), RRType.A)
    message = Message(0, questions=[question])
    message.answers = zone.records(zone.sets[Name("short.test"), int(RRType.DNAME)])
    verdict = asyncio.run(tree.validator().validate(message, question, tree.fetch))
    assert verdict.security is Security.BOGUS
    assert "too long" in verdict.reason


def test_a_wildcard_of_a_zone_that_hashes_too_often_is_insecure() -> None:
    tree = Tree(SignedZone("test", WWW, nsec3=(b"", 51)), SignedZone("plain.test", signed=False))
    assert tree.judge("x.wild.test", "TXT").security is Security.INSECURE
    verdict = tree.judge("www.plain.test")
    assert verdict.security is Security.INSECURE
    assert verdict.info_code == EDE.UNSUPPORTED_NSEC3_ITERATIONS


def test_a_signature_with_more_labels_than_the_name_is_none(tree: Tree) -> None:
    zone = tree.zones[Name("child.test")]
    www = zone.sets[Name("www.child.test"), int(RRType.A)]
    for labels in (4, 255):
        odd = zone.key.sign(www, NOW - 3600, NOW + 86400)
        odd.labels = labels
        zone.signatures[www.name, www.rdtype] = [odd]
        verdict = tree.judge("www.child.test")
        assert verdict.security is Security.BOGUS
        assert "another name" in verdict.reason


def test_a_key_that_cannot_be_loaded_signs_nothing(tree: Tree) -> None:
    zone = tree.zones[Name("child.test")]
    keys = zone.sets[zone.origin, int(RRType.DNSKEY)]
    broken = DNSKEY(256, 3, 13, b"no point of the curve")
    keys.rdatas = (*keys.rdatas, broken)
    zone.resign(keys)
    www = zone.sets[Name("www.child.test"), int(RRType.A)]
    good = zone.signatures[www.name, www.rdtype][0]
    odd = RRSIG(1, 13, 3, 3600, NOW + 60, NOW - 60, broken.key_tag, zone.origin, bytes(64))
    zone.signatures[www.name, www.rdtype] = [odd, good]
    assert tree.judge("www.child.test").security is Security.SECURE
    zone.signatures[www.name, www.rdtype] = [odd]
    verdict = tree.judge("www.child.test")
    assert (verdict.security, verdict.info_code) == (Security.BOGUS, EDE.DNSKEY_MISSING)


def test_what_is_remembered_has_a_bound(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sennit.names.dnssec.chain.MAX_ZONES", 2)
    validator = tree.validator()
    for _ in range(2):
        for name in ("www.deep.child.test", "www.other.test", "a.plain.test"):
            assert tree.judge(name, validator=validator).security is not Security.BOGUS
    assert len(validator._chain._zones) <= 2
