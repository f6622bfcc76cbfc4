"""Proofs that something is not there: by the examples of the RFCs, and against zones made up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.signed_tree import SignedZone
from sennit.names.codes import RRType, type_from_text
from sennit.names.dnssec.denial import (
    Cut,
    NSEC3Denial,
    NSECDenial,
    Proof,
    hash_of_label,
    nsec3_hash,
    nsec3_label,
    nsec_covers,
    wildcard_of,
)
from sennit.names.dnssec.limits import TooMuchWorkError, ValidationLimits, Work
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.dnssec import NSEC, NSEC3

EXAMPLE = Name("example")


def nsec(*records: str, zone: Name = EXAMPLE) -> NSECDenial:
    """Out of lines such as ``a.example. b.example. A MX``."""
    found: list[tuple[Name, NSEC]] = []
    for record in records:
        owner, _, rest = record.partition(" ")
        data = parse_rdata(RRType.NSEC, tokens_of(rest))
        assert isinstance(data, NSEC)
        found.append((Name(owner), data))
    return NSECDenial(zone, found)


def nsec3(*records: str, zone: Name = EXAMPLE, work: Work | None = None) -> NSEC3Denial:
    """Out of lines such as ``0p9m….example. 1 1 12 aabbccdd 2t7b… MX``."""
    found: list[tuple[Name, NSEC3]] = []
    for record in records:
        owner, _, rest = record.partition(" ")
        data = parse_rdata(RRType.NSEC3, tokens_of(rest))
        assert isinstance(data, NSEC3)
        found.append((Name(owner), data))
    return NSEC3Denial(zone, found, work)


# ── examples ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
        ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
        ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
        ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
        ("ns2.example", "q04jkcevqvmu85r014c7dkba38o0ji5r"),
        ("W.example", "k8udemvp1j2f7eg6jebps17vp3n8i58h"),
        ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
        ("y.w.example", "ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
        ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
    ],
)
def test_the_hashes_of_rfc_5155(name: str, label: str) -> None:
    digest = nsec3_hash(Name(name), bytes.fromhex("aabbccdd"), 12)
    assert nsec3_label(digest) == label.encode()
    assert hash_of_label(label.upper().encode()) == digest


@pytest.mark.parametrize("label", [b"", b"a", b"!" * 32, b"z" * 32, b"0" * 40])
def test_a_label_that_is_no_hash_is_none(label: bytes) -> None:
    assert hash_of_label(label) is None


# RFC 5155 Appendix A and B: the zone "example", salt aabbccdd, 12 iterations, opt-out.
APEX = (
    "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. 1 1 12 aabbccdd "
    "2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG"
)
NS1 = (
    "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example. 1 1 12 aabbccdd "
    "2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG"
)
A = (
    "35mthgpgcu1qg68fab165klnsnk3dpvl.example. 1 1 12 aabbccdd "
    "b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG"
)
X_W = (
    "b4um86eghhds6nea196smvmlo4ors995.example. 1 1 12 aabbccdd "
    "gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG"
)
Y_W = "ji6neoaepv8b5o6k4ev33abha8ht9fgc.example. 1 1 12 aabbccdd k8udemvp1j2f7eg6jebps17vp3n8i58h"
W = "k8udemvp1j2f7eg6jebps17vp3n8i58h.example. 1 1 12 aabbccdd kohar7mbb8dc2ce8a9qvl8hon4k53uhi"
NS2 = (
    "q04jkcevqvmu85r014c7dkba38o0ji5r.example. 1 1 12 aabbccdd "
    "r53bq7cc2uvmubfu5ocmm6pers9tk9en A RRSIG"
)
WILD = (
    "r53bq7cc2uvmubfu5ocmm6pers9tk9en.example. 1 1 12 aabbccdd "
    "t644ebqk9bibcna874givr6joj62mlhv MX RRSIG"
)


def test_a_name_error_of_rfc_5155() -> None:
    """Appendix B.1: opted out, so that it proves less than it seems to."""
    name = Name("a.c.x.w.example")
    assert nsec3(APEX, X_W, A).absent(name) is Proof.INSECURE
    strict = [each.replace(" 1 1 12 ", " 1 0 12 ") for each in (APEX, X_W, A)]
    assert nsec3(*strict).absent(name) is Proof.SECURE
    found = nsec3(APEX, X_W, A).encloser(name)
    assert found is not None
    assert (found.name, found.next_closer) == (Name("x.w.example"), Name("c.x.w.example"))
    for left_out in range(3):
        rest = [each for index, each in enumerate((APEX, X_W, A)) if index != left_out]
        assert nsec3(*rest).absent(name) is Proof.NONE


def test_no_data_of_rfc_5155() -> None:
    """Appendix B.2, B.2.1: a type that is missing, and an empty non-terminal."""
    assert nsec3(NS1).no_data(Name("ns1.example"), RRType.MX) is Proof.SECURE
    assert nsec3(NS1).no_data(Name("ns1.example"), RRType.A) is Proof.NONE
    assert nsec3(Y_W).no_data(Name("y.w.example"), RRType.A) is Proof.SECURE


def test_a_referral_to_an_unsigned_zone_of_rfc_5155() -> None:
    """Appendix B.3."""
    assert nsec3(A, APEX).no_ds(Name("c.example")) is Cut.INSECURE
    assert nsec3(A).no_ds(Name("c.example")) is Cut.UNKNOWN


def test_a_wildcard_of_rfc_5155() -> None:
    """Appendix B.4: what covers z.w.example is enough, the signature tells the rest."""
    name = Name("a.z.w.example")
    strict = NS2.replace(" 1 1 12 ", " 1 0 12 ")
    assert nsec3(strict).expansion(name, Name("w.example")) is Proof.SECURE
    assert nsec3(NS2).expansion(name, Name("w.example")) is Proof.INSECURE
    assert nsec3(X_W).expansion(name, Name("w.example")) is Proof.NONE


def test_wildcard_no_data_of_rfc_5155() -> None:
    """Appendix B.5."""
    name = Name("a.z.w.example")
    records = [each.replace(" 1 1 12 ", " 1 0 12 ") for each in (W, NS2, WILD)]
    assert nsec3(*records).no_data(name, RRType.AAAA) is Proof.SECURE
    assert nsec3(*records).no_data(name, RRType.MX) is Proof.NONE


def test_the_childs_record_of_rfc_5155_says_nothing_of_its_ds() -> None:
    """Appendix B.6: DS at the apex of the zone that answers; the root has none above it."""
    assert nsec3(APEX).no_data(EXAMPLE, RRType.DS) is Proof.NONE
    assert nsec3(APEX).no_ds(EXAMPLE) is Cut.UNKNOWN
    assert nsec(". a. NS SOA", zone=Name(".")).no_data(Name("."), RRType.DS) is Proof.SECURE


# RFC 4035 Appendix B: the zone "example".
def test_the_answers_of_rfc_4035() -> None:
    apex = "example. a.example. NS SOA MX RRSIG NSEC DNSKEY"
    b = "b.example. ns1.example. NS RRSIG NSEC"
    ns1 = "ns1.example. ns2.example. A RRSIG NSEC"
    wild = "*.w.example. x.w.example. MX RRSIG NSEC"
    x_y = "x.y.w.example. xx.example. MX RRSIG NSEC"
    # B.2 name error, B.3 no data, B.5 unsigned delegation, B.6 wildcard, B.7 wildcard no data.
    assert nsec(b, apex).absent(Name("ml.example")) is Proof.SECURE
    assert nsec(b).absent(Name("ml.example")) is Proof.NONE
    assert nsec(ns1).no_data(Name("ns1.example"), RRType.MX) is Proof.SECURE
    assert nsec(b).no_ds(Name("b.example")) is Cut.INSECURE
    name = Name("a.z.w.example")
    assert nsec(x_y).expansion(name, Name("w.example")) is Proof.SECURE
    assert nsec(x_y).expansion(name, EXAMPLE) is Proof.NONE
    assert nsec(x_y, wild).no_data(name, RRType.AAAA) is Proof.SECURE
    assert nsec(x_y, wild).no_data(name, RRType.MX) is Proof.NONE
    # B.8: DS asked of the child.
    assert nsec(apex).no_data(EXAMPLE, RRType.DS) is Proof.NONE


# ── rules ─────────────────────────────────────────────────────────────────────


def test_an_ancestors_delegation_or_dname_denies_nothing_beneath_it() -> None:
    """RFC 6840 §4.1."""
    below = Name("www.b.example")
    assert nsec("b.example. c.example. NS RRSIG NSEC").absent(below) is Proof.NONE
    apex = "example. b.example. NS SOA RRSIG NSEC"
    assert nsec("b.example. c.example. DNAME RRSIG NSEC", apex).absent(below) is Proof.NONE
    assert nsec("b.example. c.example. A RRSIG NSEC", apex).absent(below) is Proof.SECURE


def test_the_parents_side_of_a_cut_tells_of_its_ds_alone() -> None:
    denial = nsec("b.example. c.example. NS RRSIG NSEC")
    assert denial.no_data(Name("b.example"), RRType.DS) is Proof.SECURE
    assert denial.no_data(Name("b.example"), RRType.A) is Proof.NONE


def test_a_cname_is_no_absence() -> None:
    denial = nsec("b.example. c.example. CNAME RRSIG NSEC")
    assert denial.no_data(Name("b.example"), RRType.A) is Proof.NONE
    assert denial.no_ds(Name("b.example")) is Cut.NONE


def test_any_is_absent_where_nothing_is() -> None:
    """The bitmap never has ANY itself."""
    assert nsec("b.example. c.example. RRSIG NSEC").no_data(Name("b.example"), 255) is Proof.SECURE
    assert nsec("b.example. c.example. A RRSIG NSEC").no_data(Name("b.example"), 255) is Proof.NONE


def test_the_last_record_leads_around_to_the_first() -> None:
    last = "x.example. example. A RRSIG NSEC"
    assert nsec(last, "example. a.example. SOA NS").absent(Name("zz.example")) is Proof.SECURE
    assert nsec(last).absent(Name("zz.other")) is Proof.NONE
    assert nsec_covers(EXAMPLE, EXAMPLE, Name("a.example"))
    assert not nsec_covers(EXAMPLE, EXAMPLE, EXAMPLE)


def test_records_of_elsewhere_prove_nothing() -> None:
    assert not nsec("a.other. b.other. A").records
    assert not nsec3(APEX, zone=Name("other")).records
    deep = APEX.replace(".example.", ".deep.example.", 1)
    assert not nsec3(deep).records


def test_unknown_hashes_and_flags_are_passed_over() -> None:
    """RFC 5155 §8.1, §8.2; and parameters are those of the first record."""
    assert not nsec3(APEX.replace(" 1 1 12 ", " 2 1 12 ")).records
    assert not nsec3(APEX.replace(" 1 1 12 ", " 1 3 12 ")).records
    assert len(nsec3(APEX, NS1.replace(" 12 ", " 13 "), A).records) == 2
    empty = nsec3()
    assert empty.absent(Name("a.example")) is Proof.NONE
    assert empty.no_ds(Name("a.example")) is Cut.UNKNOWN


def test_hashes_are_counted_and_made_once() -> None:
    work = Work(ValidationLimits(hashes=3))
    denial = nsec3(APEX, work=work)
    for _ in range(5):
        denial.matching(Name("a.example"))
        denial.covering(Name("b.example"))
    assert work.hashes == 2
    denial.matching(Name("c.example"))
    with pytest.raises(TooMuchWorkError, match="3 hashes"):
        denial.matching(Name("d.example"))
    denial.matching(Name("not.in.there"))  # costs nothing


def test_a_wildcard_that_would_be_too_long_is_none() -> None:
    long = Name.from_labels([b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61])
    assert wildcard_of(long) is None
    assert wildcard_of(EXAMPLE) == Name("*.example")


# ── zones made up ─────────────────────────────────────────────────────────────

LABELS = st.sampled_from(["a", "b", "*", "c"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
TYPES = st.sampled_from(["A", "TXT"])
DATA = {"A": "192.0.2.1", "TXT": "x", "NS": "ns.example."}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(NAMES, TYPES), max_size=8),
    st.lists(st.sampled_from(["d", "e.a", "f"]), max_size=2, unique=True),
    NAMES,
    TYPES,
    st.booleans(),
)
def test_all_records_of_a_zone_together_prove_what_is_true_and_nothing_else(
    records: list[tuple[str, str]], cuts: list[str], wanted: str, rdtype: str, hashed: bool
) -> None:
    """An attacker may choose among the true proofs; not even all of them lie."""
    lines = [f"{name} {kind} {DATA[kind]}" for name, kind in dict.fromkeys(records)]
    lines += [f"{name} NS ns.{name}" for name in cuts]
    zone = SignedZone("example", "\n".join(lines), nsec3=(b"s", 1) if hashed else None)
    zone.sign()
    denial = (
        NSEC3Denial(
            zone.origin,
            [(n, d) for (n, _), s in zone.sets.items() for d in s.rdatas if isinstance(d, NSEC3)],
        )
        if hashed
        else NSECDenial(
            zone.origin,
            [(n, d) for (n, _), s in zone.sets.items() for d in s.rdatas if isinstance(d, NSEC)],
        )
    )
    name, number = Name(f"{wanted}.example"), type_from_text(rdtype)
    exists = zone.exists(name)
    closest = next(each for each in name.ancestors() if zone.exists(each))
    wildcard = closest.child(b"*")
    source = name if exists else wildcard
    absent = not exists and not zone.exists(wildcard)
    assert (denial.absent(name) is Proof.SECURE) == absent
    no_data = not absent and (source, number) not in zone.sets
    assert (denial.no_data(name, number) is Proof.SECURE) == no_data
    for above in name.ancestors():
        if above != name and above.is_below(zone.origin) and zone.exists(above):
            made = not exists and above == closest
            assert (denial.expansion(name, above) is Proof.SECURE) == made
    for cut in cuts:
        assert denial.no_ds(Name(f"{cut}.example")) is Cut.INSECURE
        assert denial.absent(Name(f"x.{cut}.example")) is Proof.NONE
        assert denial.no_data(Name(f"{cut}.example"), number) is Proof.NONE
    assert denial.no_ds(name) is (Cut.ABSENT if absent else Cut.NONE)
