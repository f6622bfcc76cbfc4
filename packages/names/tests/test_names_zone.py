"""Zones in memory: what may be in them, changes, snapshots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.names import Name, Record
from sennit.names.codes import type_from_text
from sennit.names.errors import DNSUsageError, ZoneError
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.zone.chain import sort_key
from sennit.names.zone.rules import FROM_OTHERS, ZoneLimits
from sennit.names.zone.zone import Changes, Zone
from sennit.names.zone.zoneset import ZoneSet

ORIGIN = Name("example.org.")


def record(text: str) -> Record:
    """A record of ``owner ttl type data``; relative names are in example.org."""
    owner, ttl, kind, data = text.split(None, 3)
    rdtype = type_from_text(kind)
    return Record(
        Name(owner, ORIGIN), rdtype, int(ttl), parse_rdata(rdtype, tokens_of(data, ORIGIN))
    )


def records(*texts: str) -> list[Record]:
    return [record(each) for each in texts]


BASE = (
    "@ 3600 SOA ns hostmaster 1 7200 600 86400 300",
    "@ 3600 NS ns",
    "ns 3600 A 192.0.2.1",
)


def zone(*more: str) -> Zone:
    return Zone.from_records(ORIGIN, records(*BASE, *more))


def test_a_zone_has_its_records_and_the_names_between_them() -> None:
    """Names between others exist without records (RFC 4592 §2.2.2)."""
    found = zone("a.b.c 60 A 192.0.2.2", "A.b.C 60 A 192.0.2.3", "a.b.c 60 TXT x")

    assert found.serial == 1
    assert found.soa == record(BASE[0])
    node = found.get(Name("A.B.C.example.org"))
    assert node is not None
    assert node.types == {1, 16}
    assert [str(each) for each in node.rrsets[1].rdatas] == ["192.0.2.2", "192.0.2.3"]
    between = found.get(Name("b.c.example.org"))
    assert between is not None
    assert not between
    assert found.get(Name("x.b.c.example.org")) is None
    assert len(found) == 5
    assert len(list(found.records())) == 6


def test_records_come_soa_first_and_in_canonical_order_where_asked_for() -> None:
    found = zone("z 60 A 192.0.2.2", "a 60 A 192.0.2.2", "b.z 60 A 192.0.2.2")

    stored = [str(each.name) for each in found.records()]
    assert stored[3:] == ["z.example.org.", "a.example.org.", "b.z.example.org."]
    in_order = [
        str(each.name).removesuffix("example.org.") for each in found.records(canonical=True)
    ]
    assert in_order == ["", "", "a.", "ns.", "z.", "b.z."]
    assert next(found.records(canonical=True)).rdtype == 6


def test_repetitions_count_once_and_the_least_ttl_is_the_sets() -> None:
    """RFC 2181 §5, §5.2; names in data are compared without regard to case."""
    found = zone("w 60 MX 5 a", "w 50 MX 5 A", "w 70 MX 6 b")

    rrset = found.rrset(Name("w.example.org"), 15)
    assert rrset is not None
    assert rrset.ttl == 50
    assert len(rrset) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["w 60 CNAME a", "w 60 A 192.0.2.1"], "CNAME and other data"),
        (["w 60 A 192.0.2.1", "x 60 A 192.0.2.1", "w 60 CNAME a"], "CNAME and other data"),
        (["w 60 CNAME a", "w 60 CNAME b"], "2 CNAME records"),
        (["w 60 DNAME a", "w 60 DNAME b"], "2 DNAME records"),
        (["w 60 DNAME a", "w 60 CNAME b"], "CNAME and other data"),
        (["w 60 DNAME a", "w 60 NS b"], "DNAME and NS"),
        (["@ 60 SOA ns h 2 1 1 1 1"], "2 SOA records"),
        (["w 60 SOA ns h 2 1 1 1 1"], "SOA at another name"),
        (["w.example.com. 60 A 192.0.2.1"], "outside the zone"),
        (["wexample.org. 60 A 192.0.2.1"], "outside the zone"),
    ],
)
def test_what_cannot_stand_together_is_refused(more: list[str], said: str) -> None:
    with pytest.raises(ZoneError, match=said):
        zone(*more)


def test_a_zone_needs_soa_and_ns() -> None:
    with pytest.raises(ZoneError, match="no SOA"):
        Zone.from_records(ORIGIN, records(*BASE[1:]))
    with pytest.raises(ZoneError, match="no NS"):
        Zone.from_records(ORIGIN, records(BASE[0]))


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ZoneError) as caught:
        zone("a 60 CNAME b", "a 60 CNAME c", "b.example.com. 60 TXT x")

    assert len(caught.value.problems) == 2


def test_a_hundred_records_of_a_set_are_allowed_to_others_and_not_one_more() -> None:
    """HARDENING dns-13."""
    many = records(*BASE, *(f"w 60 A 192.0.2.{each}" for each in range(100)))
    Zone.from_records(ORIGIN, many, limits=FROM_OTHERS)
    with pytest.raises(ZoneError, match="101 A records; 100 are allowed"):
        Zone.from_records(ORIGIN, [*many, record("w 60 A 192.0.2.200")], limits=FROM_OTHERS)
    assert Zone.from_records(ORIGIN, [*many, record("w 60 A 192.0.2.200")]) is not None


def test_a_hundred_types_at_a_name_are_allowed_to_others_and_not_one_more() -> None:
    """HARDENING dns-13."""
    many = records(*BASE, *(f"w 60 TYPE{each} \\# 1 00" for each in range(1000, 1100)))
    found = Zone.from_records(ORIGIN, many, limits=FROM_OTHERS)
    more = record("w 60 TYPE2000 \\# 1 00")
    with pytest.raises(ZoneError, match="101 types of records; 100 are allowed"):
        Zone.from_records(ORIGIN, [*many, more], limits=FROM_OTHERS)
    with pytest.raises(ZoneError, match="101 types"):
        found.apply(Changes([], [more]), limits=FROM_OTHERS)
    assert found.version == 0


def test_a_zone_of_others_has_an_end() -> None:
    """HARDENING dns-14: the whole is counted, too."""
    with pytest.raises(ZoneError, match="more than 3 records"):
        Zone.from_records(ORIGIN, records(*BASE, "w 60 A 192.0.2.1"), limits=ZoneLimits(records=3))


def test_a_change_is_made_whole_and_told() -> None:
    found = zone("w 60 A 192.0.2.2", "w 60 A 192.0.2.3")
    told: list[Changes] = []
    found.on_change.append(lambda _, changes: told.append(changes))
    changes = Changes(
        records(BASE[0], "w 60 A 192.0.2.2"),
        records("@ 3600 SOA ns hostmaster 2 7200 600 86400 300", "w 30 A 192.0.2.4", "x.y 5 TXT a"),
    )

    found.apply(changes)

    assert found.serial == 2
    assert found.version == 1
    assert told == [changes]
    rrset = found.rrset(Name("w.example.org"), 1)
    assert rrset is not None
    assert [str(each) for each in rrset.rdatas] == ["192.0.2.3", "192.0.2.4"]
    assert rrset.ttl == 30
    assert found.get(Name("y.example.org")) is not None


@pytest.mark.parametrize(
    ("removed", "added", "said"),
    [
        (["w 60 A 192.0.2.9"], ["x 60 A 192.0.2.9"], "not in the zone"),
        ([], ["x 60 A 192.0.2.9", "w 60 CNAME x"], "CNAME and other data"),
        ([BASE[0]], ["x 60 A 192.0.2.9"], "SOA and NS"),
        ([BASE[1]], ["x 60 A 192.0.2.9"], "SOA and NS"),
        ([], ["x 60 A 192.0.2.9", "x.example.com. 60 A 192.0.2.9"], "outside"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(
    removed: list[str], added: list[str], said: str
) -> None:
    found = zone("w 60 A 192.0.2.2")
    before = list(found.records())

    with pytest.raises(ZoneError, match=said):
        found.apply(Changes(records(*removed), records(*added)))

    assert list(found.records()) == before
    assert found.version == 0


def test_empty_names_go_with_the_last_name_beneath_them() -> None:
    found = zone("a.b.c 60 A 192.0.2.2", "d.c 60 A 192.0.2.2", "b.c 60 TXT x")

    found.apply(Changes(records("b.c 60 TXT x")))
    assert found.get(Name("b.c.example.org")) is not None
    found.apply(Changes(records("a.b.c 60 A 192.0.2.2")))
    assert found.get(Name("b.c.example.org")) is None
    assert found.get(Name("c.example.org")) is not None
    found.apply(Changes(records("d.c 60 A 192.0.2.2")))
    assert found.get(Name("c.example.org")) is None
    assert found == zone()


def test_a_snapshot_stays_as_it_is() -> None:
    found = zone("w 60 A 192.0.2.2", "sub 60 NS ns.sub")
    before = found.snapshot()
    known = list(before.records())

    found.apply(Changes(records("w 60 A 192.0.2.2", "sub 60 NS ns.sub"), records("v 60 TXT x")))

    assert list(before.records()) == known
    assert Name("sub.example.org").key in before.cuts
    assert Name("sub.example.org").key not in found.cuts
    before.apply(Changes([], records("u 60 TXT x")))
    assert found.get(Name("u.example.org")) is None


names = st.lists(st.sampled_from(["a", "b", "c", "*"]), min_size=1, max_size=3).map(".".join)
kinds = st.sampled_from(["A 192.0.2.1", "A 192.0.2.2", "TXT x", "MX 1 a", "NS b"])
some = st.lists(st.tuples(names, kinds).map(lambda pair: f"{pair[0]} 60 {pair[1]}"), max_size=12)


@given(some, some)
def test_changing_one_zone_into_another_makes_them_equal(
    first: list[str], second: list[str]
) -> None:
    old, new = zone(*first), zone(*second)
    _ = old.chain
    changes = Changes(
        [each for each in old.records() if each not in set(new.records())],
        [each for each in new.records() if each not in set(old.records())],
    )

    old.apply(changes)

    assert old == new
    assert old.cuts == new.cuts
    assert set(old.nodes) == set(new.nodes)
    old.apply(changes.inverse())
    assert old == zone(*first)


@given(st.lists(st.lists(st.binary(min_size=1, max_size=3), max_size=3), min_size=2, max_size=6))
def test_sorting_by_octets_is_canonical_order(labels: list[list[bytes]]) -> None:
    """RFC 4034 §6.1."""
    found = [Name.from_labels(each) for each in labels]
    assert sorted(found) == sorted(found, key=lambda name: sort_key(name.key))


def test_the_deepest_zone_holds_a_name() -> None:
    above = zone()
    below = Zone.from_records(
        Name("sub.example.org"),
        records("sub 60 SOA ns h 1 1 1 1 1", "sub 60 NS ns"),
    )
    zones = ZoneSet([above, below])

    assert zones.find(Name("a.SUB.example.org")) is below
    assert zones.find(Name("asub.example.org")) is above
    assert zones.find(Name("example.com")) is None
    assert zones.by_origin(ORIGIN) is above
    assert ORIGIN in zones
    assert zones.remove(Name("sub.example.org")) is below
    assert zones.find(Name("a.sub.example.org")) is above
    with pytest.raises(DNSUsageError, match="no zone"):
        zones.remove(Name("sub.example.org"))
    with pytest.raises(DNSUsageError, match="two zones"):
        zones.add(zone())


def test_a_set_tells_of_zones_that_come_go_and_change() -> None:
    zones = ZoneSet()
    told: list[Zone] = []
    zones.on_change.append(told.append)
    first, second = zone(), zone("w 60 A 192.0.2.1")

    zones.add(first)
    first.apply(Changes([], records("v 60 TXT x")))
    assert zones.replace(second) is first
    first.apply(Changes([], records("u 60 TXT x")))
    second.expired = True
    zones.remove(ORIGIN)

    assert told == [first, first, second, second, second]
