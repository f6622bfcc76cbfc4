"""Signing zones: whole, as they change, and before signatures end."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.names.codes import RRType
from sennit.names.dnssec.canonical import SignedSet
from sennit.names.dnssec.digests import cds_for
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.signing import DAY, KeySet, SigningPolicy, ZoneSigner
from sennit.names.errors import DNSUsageError, ZoneError
from sennit.names.message import Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.alias import DNAME
from sennit.names.rdata.basic import NS, SOA, TXT
from sennit.names.rdata.dnssec import DNSKEY, DS, NSEC, NSEC3, RRSIG
from sennit.names.transfer.serial import with_serial
from sennit.names.zone.zone import Changes, Zone
from sennit.names.zone.zonefile import read_zone

ORIGIN: Final = Name("example.")
NOW: Final = 1_700_000_000.0
ZONE: Final = """\
$TTL 3600
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
www TXT "hello"
*.wild A 192.0.2.3
a.b.c TXT "deep"
sub NS ns.sub
ns.sub A 192.0.2.4
safe NS ns.safe
safe DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.safe A 192.0.2.5
"""

KSK: Final = ZoneKey.generate(ORIGIN, 13, sep=True)
ZSK: Final = ZoneKey.generate(ORIGIN, 13)
OTHER: Final = ZoneKey.generate(ORIGIN, 15)
KEYS: Final = KeySet((KSK.dnskey, ZSK.dnskey), (KSK,), (ZSK,), (cds_for(ORIGIN, KSK.dnskey),))

POLICIES: Final = {
    "nsec": SigningPolicy(),
    "nsec3": SigningPolicy(nsec3=True),
    "opt-out": SigningPolicy(nsec3=True, opt_out=True),
    "salted": SigningPolicy(nsec3=True, salt=b"\xab\xcd", iterations=3),
}


def fresh(text: str = ZONE) -> Zone:
    return read_zone(text.splitlines(), ORIGIN)


def signed(policy: SigningPolicy, zone: Zone | None = None) -> tuple[Zone, ZoneSigner]:
    zone = fresh() if zone is None else zone
    signer = ZoneSigner(ORIGIN, KEYS, policy, chance=lambda: 0.5)
    zone.apply(signer.sign_whole(zone, NOW))
    return zone, signer


def unsigned_part(zone: Zone) -> set[Record]:
    return {each for each in zone.records() if each.rdtype != RRType.RRSIG}


def covered(zone: Zone) -> set[tuple[Name, int, int]]:
    """What is signed, by which keys; each signature is looked at."""
    keys = {each.tag: each.private.public for each in (KSK, ZSK, OTHER)}
    found: set[tuple[Name, int, int]] = set()
    for node in zone.nodes.values():
        for rdtype, signatures in node.signatures.items():
            rrset = node.get(rdtype)
            assert rrset is not None, (node, rdtype)
            for each in signatures.rdatas:
                assert isinstance(each, RRSIG)
                assert keys[each.key_tag].verify(each.signature, SignedSet(rrset).octets(each))
                found.add((node.name, rdtype, each.key_tag))
    return found


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_all_that_the_zone_has_authority_for_is_signed_and_nothing_else(
    policy: SigningPolicy,
) -> None:
    """RFC 4035 §2.2."""
    zone, _ = signed(policy)

    signatures = covered(zone)
    types = {(name, rdtype) for name, rdtype, _ in signatures}
    assert (Name("www.example."), RRType.A) in types
    assert (Name("*.wild.example."), RRType.A) in types
    assert (Name("safe.example."), RRType.DS) in types
    for unsigned in ("sub", "safe"):
        assert (Name(f"{unsigned}.example."), RRType.NS) not in types
        assert (Name(f"ns.{unsigned}.example."), RRType.A) not in types
    by_key = {each[2] for each in signatures if each[1] in (RRType.DNSKEY, RRType.CDS)}
    assert by_key == {KSK.tag}


def test_the_chain_of_nsec_goes_around_the_zone() -> None:
    """RFC 4034 §4.1.1; there is none for glue and empty non-terminals (RFC 4035 §2.3)."""
    zone, _ = signed(SigningPolicy())

    chain: dict[Name, NSEC] = {}
    for node in zone.nodes.values():
        rrset = node.get(RRType.NSEC)
        if rrset is not None:
            rdata = rrset.rdatas[0]
            assert isinstance(rdata, NSEC)
            assert rrset.ttl == 300  # RFC 9077
            chain[node.name] = rdata
    order = sorted(chain)
    assert [chain[each].next_name for each in order] == [*order[1:], order[0]]
    assert Name("ns.sub.example.") not in chain
    assert Name("b.c.example.") not in chain
    assert set(chain[Name("sub.example.")].types) == {RRType.NS, RRType.RRSIG, RRType.NSEC}


def test_opt_out_leaves_delegations_out_that_are_not_signed() -> None:
    """RFC 5155 §6."""
    with_all, _ = signed(SigningPolicy(nsec3=True))
    without, _ = signed(SigningPolicy(nsec3=True, opt_out=True))

    def chain(zone: Zone) -> list[NSEC3]:
        return [each.rdata for each in zone.records() if isinstance(each.rdata, NSEC3)]

    assert len(chain(with_all)) == len(chain(without)) + 1
    assert {each.flags for each in chain(with_all)} == {0}
    assert {each.flags for each in chain(without)} == {1}


LABELS: Final = [
    *("www", "new", "a.b.c", "x.b.c", "b.c", "p.q.r"),
    *("sub", "x.sub", "safe", "*.wild", "ns1"),
]
DATA: Final = [
    A("192.0.2.9"),
    TXT((b"other",)),
    NS(Name("ns1.example.")),
    DS(1, 13, 2, bytes(32)),
    DNAME(Name("else.where.")),
]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@given(
    steps=st.lists(
        st.lists(
            st.tuples(st.booleans(), st.sampled_from(LABELS), st.sampled_from(DATA)),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=15)
def test_what_was_signed_as_it_changed_is_as_if_signed_whole(
    policy: SigningPolicy, steps: list[list[tuple[bool, str, A | TXT | NS | DS | DNAME]]]
) -> None:
    zone, signer = signed(policy)
    plain = fresh()

    for step in steps:
        changes = Changes()
        for adds, label, rdata in step:
            record = Record(Name(label, ORIGIN), rdata.rdtype, 3600, rdata)
            node = plain.get(record.name)
            rrset = None if node is None else node.get(rdata.rdtype)
            there = rrset is not None and rdata in rrset.rdatas
            if there == adds or record in changes.added or record in changes.removed:
                continue
            (changes.added if adds else changes.removed).append(record)
        try:
            plain.apply(changes)
        except ZoneError:
            with pytest.raises(ZoneError):
                signer.complete(zone, changes, NOW)
            continue
        zone.apply(signer.complete(zone, changes, NOW))

    whole, other = signed(policy, plain)
    assert unsigned_part(zone) == unsigned_part(whole)
    assert covered(zone) == covered(whole)
    assert signer.find_due(zone, NOW) == other.find_due(whole, NOW) == []


def test_a_change_signs_what_it_touches_and_its_neighbours_in_the_chain() -> None:
    zone, signer = signed(SigningPolicy())
    before = signer.made

    name = Name("new.example.")
    zone.apply(signer.complete(zone, Changes(added=[Record(name, 1, 60, A("192.0.2.7"))]), NOW))

    # The record, its NSEC, and the NSEC before it.
    assert signer.made - before == 3


@pytest.mark.parametrize("nsec3", [False, True])
def test_a_change_costs_the_same_however_many_names_there_are(nsec3: bool) -> None:
    """Nothing of the zone is copied or counted for it, also where a delegation hides names."""

    def cost(names: int) -> float:
        keys = KeySet((), (), ())
        zone = fresh(ZONE + "".join(f"h{n} A 192.0.2.9\n" for n in range(names)))
        signer = ZoneSigner(ORIGIN, keys, SigningPolicy(nsec3=nsec3))
        zone.apply(signer.sign_whole(zone, NOW))
        nodes = zone.nodes
        times: list[float] = []
        for n in range(20):
            soa = zone.soa
            new = [
                Record(ORIGIN, RRType.SOA, soa.ttl, with_serial(soa, zone.serial + 1).rdata),
                Record(Name(f"new{n}", ORIGIN), 1, 60, A("192.0.2.7")),
                Record(Name(f"h{n}", ORIGIN), 2, 60, NS(Name("ns.elsewhere."))),
            ]
            begun = time.process_time()
            zone.apply(signer.complete(zone, Changes([soa], new), NOW))
            times.append(time.process_time() - begun)
        assert zone.nodes is nodes
        return min(times)

    assert cost(4_000) < 4 * cost(40)


def test_signatures_are_made_anew_before_they_end_a_portion_at_a_time() -> None:
    policy = SigningPolicy(portion=2)
    zone, signer = signed(policy)
    assert signer.find_due(zone, NOW) == []
    later = NOW + policy.validity - policy.refresh

    portions = 0
    while True:
        due = signer.find_due(zone, later)
        assert len(due) <= 2
        zone.apply(signer.complete(zone, Changes(), later, renew=due))
        portions += 1
        if not signer.sweeping:
            break

    assert portions > 3
    assert signer.find_due(zone, later) == []
    ends = [each.rdata.expiration for each in zone.records() if isinstance(each.rdata, RRSIG)]
    assert min(ends) > later + policy.refresh
    covered(zone)


def test_other_keys_take_over_in_a_sweep() -> None:
    zone, signer = signed(SigningPolicy())
    signer.keys = KeySet((KSK.dnskey, ZSK.dnskey, OTHER.dnskey), (KSK,), (OTHER,))
    signer.start_sweep(zone)

    zone.apply(signer.complete(zone, Changes(), NOW, renew=signer.find_due(zone, NOW)))

    assert not signer.sweeping
    assert {tag for _, _, tag in covered(zone)} == {KSK.tag, OTHER.tag}
    assert zone.rrset(ORIGIN, RRType.CDS) is None
    published = zone.rrset(ORIGIN, RRType.DNSKEY)
    assert published is not None
    assert {each.key_tag for each in published.rdatas if isinstance(each, DNSKEY)} == {
        KSK.tag,
        ZSK.tag,
        OTHER.tag,
    }


def test_a_zone_goes_from_nsec_to_nsec3_and_back() -> None:
    zone, _ = signed(SigningPolicy())
    plain = unsigned_part(zone)

    signed(SigningPolicy(nsec3=True), zone)
    assert not any(isinstance(each.rdata, NSEC) for each in zone.records())
    signed(SigningPolicy(), zone)

    assert unsigned_part(zone) == plain
    covered(zone)


def test_another_negative_ttl_makes_the_chain_anew() -> None:
    """RFC 9077 §3."""
    zone, signer = signed(SigningPolicy())
    soa = zone.soa
    assert isinstance(soa.rdata, SOA)
    new = SOA(soa.rdata.mname, soa.rdata.rname, 2, 7200, 900, 1209600, 60)

    change = Changes([soa], [Record(ORIGIN, RRType.SOA, 3600, new)])
    zone.apply(signer.complete(zone, change, NOW))

    ttls = {each.ttl for each in zone.records() if isinstance(each.rdata, NSEC)}
    assert ttls == {60}
    covered(zone)


def test_signatures_of_others_in_a_change_are_left_out() -> None:
    zone, signer = signed(SigningPolicy())
    forged = KSK.sign(fresh().nodes[Name("www.example.").key].rrsets[1], 0, int(NOW))

    change = Changes(added=[Record(Name("www.example."), RRType.RRSIG, 3600, forged)])

    assert not signer.complete(zone, change, NOW)


def test_a_policy_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(DNSUsageError, match="before their end"):
        ZoneSigner(ORIGIN, KEYS, SigningPolicy(validity=3 * DAY))
    with pytest.raises(DNSUsageError, match="100 iterations"):
        ZoneSigner(ORIGIN, KEYS, SigningPolicy(iterations=1000))
