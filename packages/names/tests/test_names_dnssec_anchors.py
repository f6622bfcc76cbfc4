"""Trust anchors: in text, of IANA's file, and followed as keys are rolled (RFC 5011)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.signed_tree import NOW, SignedZone, Tree
from sennit.names.codes import RRType
from sennit.names.dnssec.anchors import (
    ROOT_ANCHORS,
    TrustAnchors,
    anchors_from_text,
    anchors_from_xml,
)
from sennit.names.dnssec.digests import ds_matches
from sennit.names.dnssec.keeper import AnchorKeeper
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.numbers import Algorithm
from sennit.names.dnssec.tracking import HOLD, KeyState, KeyTracker
from sennit.names.dnssec.verdict import Security
from sennit.names.errors import (
    DNSUsageError,
    LookupTimeoutError,
    PresentationError,
    ValidationError,
)
from sennit.names.message import Message, RRset
from sennit.names.name import ROOT, Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.dnssec import DNSKEY, DS, RRSIG

# ── in text ───────────────────────────────────────────────────────────────────

ROOT_KEY_2017 = (
    "257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5em"
    "LvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8"
    "efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/"
    "ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU="
)


def test_the_roots_keys_are_built_in() -> None:
    anchors = TrustAnchors.root()
    assert list(anchors) == [ROOT]
    assert len(anchors) == 1
    assert [each.key_tag for each in anchors.of(ROOT)] == [20326, 38696]
    key = parse_rdata(48, tokens_of(ROOT_KEY_2017))
    first = anchors.of(ROOT)[0]
    assert isinstance(key, DNSKEY)
    assert isinstance(first, DS)
    assert key.key_tag == 20326
    assert ds_matches(first, ROOT, key)
    assert anchors.to_text() == ROOT_ANCHORS


def test_the_roots_keys_are_those_that_debian_ships() -> None:
    """The file of the package dns-root-data, where it is installed."""
    path = Path("/usr/share/dns/root.ds")
    if not path.exists():
        pytest.skip("dns-root-data is not installed")
    assert anchors_from_text(path.read_text()) == anchors_from_text(ROOT_ANCHORS)


def test_anchors_are_read_and_written_as_text() -> None:
    key = ZoneKey.generate(Name("example"), Algorithm.ED25519, sep=True)
    text = f"""
; what we believe
example. DNSKEY {key.dnskey}
Example. 3600 IN DS ( {key.ds()} ) ; the same
other 1h DS {key.ds(4)}
"""
    anchors = TrustAnchors.from_text(text)
    assert anchors.of(Name("EXAMPLE")) == (key.dnskey, key.ds())
    assert TrustAnchors.from_text(anchors.to_text()).to_text() == anchors.to_text()
    assert anchors.above(Name("www.example")) == Name("example")
    assert anchors.above(Name("www.elsewhere")) is None
    anchors.replace(Name("example"), [])
    assert anchors.above(Name("www.example")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nexample. A 192.0.2.1", "anchors:2: 'A' is no anchor"),
        ("example. CH DS 1 8 2 00", "class"),
        ("example. DS 1 8 2 0011", "octets"),
        ("example. DNSKEY 1 3 8 AAAA", "no anchor"),
        ("example.", "missing"),
        (" DS 1 8 2 00", "name of its zone"),
        ("example. CDS 0 0 0 00", "no anchor"),
    ],
)
def test_what_is_no_anchor_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(PresentationError, match=words):
        TrustAnchors.from_text(text, "anchors")


XML = """<?xml version="1.0" encoding="UTF-8"?>
<TrustAnchor id="0" source="http://data.iana.org/root-anchors/root-anchors.xml">
<Zone>.</Zone>
<KeyDigest id="a" validFrom="2010-07-15T00:00:00+00:00" validUntil="2019-01-11T00:00:00+00:00">
<KeyTag>19036</KeyTag><Algorithm>8</Algorithm><DigestType>2</DigestType>
<Digest>49AAC11D7B6F6446702E54A1607371607A1A41855200FD2CE1CDDE32F24E8FB5</Digest>
</KeyDigest>
<KeyDigest id="b" validFrom="2017-02-02T00:00:00+00:00">
<KeyTag>20326</KeyTag><Algorithm>8</Algorithm><DigestType>2</DigestType>
<Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D</Digest>
</KeyDigest>
</TrustAnchor>
"""


def test_the_file_of_iana_is_read() -> None:
    """RFC 9718 §2: keys have a beginning, and some an end."""
    assert [
        (zone, record.key_tag)
        for zone, record in anchors_from_xml(XML, "2026-01-31T00:00:00+00:00")
    ] == [(ROOT, 20326)]
    assert [record.key_tag for _, record in anchors_from_xml(XML, "2018-01-01T00:00:00+00:00")] == [
        19036,
        20326,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a/>",
        "<TrustAnchor/>",
        XML.replace("20326", "many"),
        XML.replace("E06D", "xx"),
        XML.replace("2017-02-02", "soon"),
        XML.replace("<TrustAnchor", "<!DOCTYPE x [<!ENTITY a 'b'>]><TrustAnchor"),
        XML + " " * (1 << 20),
    ],
)
def test_what_is_no_file_of_iana_is_refused(text: str) -> None:
    with pytest.raises(PresentationError):
        anchors_from_xml(text, "2026-01-31T00:00:00+00:00")


def test_a_negative_anchor_counts_beneath_it_until_its_time_or_a_closer_anchor() -> None:
    anchors = TrustAnchors.root()
    anchors.distrust(Name("example"), 100.0)
    assert anchors.distrusted(Name("www.example"), 99.0)
    assert not anchors.distrusted(Name("other"), 99.0)
    key = ZoneKey.generate(Name("sub.example"), Algorithm.ED25519)
    anchors.add(Name("sub.example"), key.ds())
    assert not anchors.distrusted(Name("a.sub.example"), 99.0)
    assert not anchors.distrusted(Name("www.example"), 100.0)
    assert not anchors.distrusted(Name("www.example"), 0.0)  # it is gone


# ── RFC 5011 ──────────────────────────────────────────────────────────────────

ZONE = Name("example")
DAY = 86400


@pytest.fixture(scope="module")
def keys() -> list[ZoneKey]:
    return [ZoneKey.generate(ZONE, Algorithm.ED25519, sep=True) for _ in range(4)]


def published(
    now: float, *keys: ZoneKey, by: list[ZoneKey] | None = None, ttl: int = 2 * DAY
) -> tuple[RRset, list[RRSIG]]:
    """The zone's keys, signed by all of them or by some."""
    rrset = RRset(ZONE, RRType.DNSKEY, ttl, [each.dnskey for each in keys])
    moment = int(now)
    signers = list(keys) if by is None else by
    return rrset, [each.sign(rrset, moment - 3600, moment + 10 * DAY) for each in signers]


def states(tracker: KeyTracker) -> dict[int, KeyState]:
    return {each.record.key_tag: each.state for each in tracker.keys}


def test_a_key_that_is_configured_is_believed_once_it_is_seen(keys: list[ZoneKey]) -> None:
    first = keys[0]
    for anchor in (first.ds(), first.dnskey):
        tracker = KeyTracker(ZONE, [anchor])
        assert tracker.anchors() == [anchor]
        said = tracker.observe(*published(NOW, first), NOW)
        assert states(tracker) == {first.tag: KeyState.VALID}
        assert len(said) == 1
        assert tracker.anchors() == [first.dnskey]
        assert tracker.observe(*published(NOW, first), NOW + 1) == []


def test_a_new_key_is_believed_after_thirty_days_and_not_before(keys: list[ZoneKey]) -> None:
    """RFC 5011 §2.4.1."""
    first, second = keys[:2]
    tracker = KeyTracker(ZONE, [first.ds()])
    tracker.observe(*published(NOW, first, second), NOW)
    assert states(tracker)[second.tag] is KeyState.PENDING
    assert tracker.anchors() == [first.dnskey]
    almost = NOW + HOLD - 1
    tracker.observe(*published(almost, first, second), almost)
    assert states(tracker)[second.tag] is KeyState.PENDING
    tracker.observe(*published(almost + 1, first, second), almost + 1)
    assert states(tracker)[second.tag] is KeyState.VALID
    assert tracker.anchors() == [first.dnskey, second.dnskey]
    # …and may now speak for the zone by itself.
    tracker.observe(*published(almost + 2, second, by=[second]), almost + 2)
    assert states(tracker)[first.tag] is KeyState.MISSING


def test_a_long_ttl_makes_the_wait_longer(keys: list[ZoneKey]) -> None:
    """RFC 5011 §2.4.1: 30 days, or the TTL that was signed."""
    tracker = KeyTracker(ZONE, [keys[0].ds()])
    tracker.observe(*published(NOW, *keys[:2], ttl=40 * DAY), NOW)
    later = NOW + 35 * DAY
    tracker.observe(*published(later, *keys[:2]), later)
    assert states(tracker)[keys[1].tag] is KeyState.PENDING


def test_a_new_key_that_goes_away_begins_anew(keys: list[ZoneKey]) -> None:
    """RFC 5011 §2.2: what a thief adds has to stay for a month without being seen."""
    first, second = keys[:2]
    tracker = KeyTracker(ZONE, [first.ds()])
    tracker.observe(*published(NOW, first, second), NOW)
    tracker.observe(*published(NOW + DAY, first), NOW + DAY)
    assert states(tracker) == {first.tag: KeyState.VALID}
    later = NOW + HOLD + DAY
    tracker.observe(*published(later, first, second), later)
    assert states(tracker)[second.tag] is KeyState.PENDING


def test_only_what_a_believed_key_signed_changes_anything(keys: list[ZoneKey]) -> None:
    first, second, third = keys[:3]
    tracker = KeyTracker(ZONE, [first.ds()])
    tracker.observe(*published(NOW, first, second), NOW)
    before = tracker.to_json()
    for by in ([second], [third], []):
        with pytest.raises(ValidationError):
            tracker.observe(*published(NOW, second, third, by=by), NOW + 1)
    with pytest.raises(ValidationError, match="expired"):
        tracker.observe(*published(NOW, first, third), NOW + 20 * DAY)
    assert tracker.to_json() == before


def test_a_missing_key_is_believed_and_may_come_back(keys: list[ZoneKey]) -> None:
    first, second = keys[:2]
    tracker = KeyTracker(ZONE, [first.ds(), second.ds()])
    tracker.observe(*published(NOW, first, second), NOW)
    tracker.observe(*published(NOW + 1, first), NOW + 1)
    assert states(tracker)[second.tag] is KeyState.MISSING
    assert second.dnskey in tracker.anchors()
    tracker.observe(*published(NOW + 2, first, second, by=[second]), NOW + 2)
    assert states(tracker)[second.tag] is KeyState.VALID


def test_a_revoked_key_is_never_believed_again(keys: list[ZoneKey]) -> None:
    """RFC 5011 §2.1: by its own signature; and forgotten after 30 days (§2.4.2)."""
    first, second = keys[:2]
    gone = first.revoked()
    tracker = KeyTracker(ZONE, [first.ds(), second.ds()])
    tracker.observe(*published(NOW, first, second), NOW)
    # The flag alone, without the key's own signature, is a claim that anybody could make.
    tracker.observe(*published(NOW + 1, gone, second, by=[second]), NOW + 1)
    assert states(tracker)[first.tag] is KeyState.MISSING
    tracker.observe(*published(NOW + 2, gone, second), NOW + 2)
    assert states(tracker)[first.tag] is KeyState.REVOKED
    assert tracker.anchors() == [second.dnskey]
    tracker.observe(*published(NOW + 3, first, second), NOW + 3)
    assert states(tracker)[first.tag] is KeyState.REVOKED
    with pytest.raises(ValidationError):
        tracker.observe(*published(NOW + 4, first, by=[first]), NOW + 4)
    later = NOW + 5 + HOLD
    tracker.observe(*published(later, second), later)
    assert first.tag not in states(tracker)


def test_when_all_keys_are_revoked_nothing_is_known_any_more(keys: list[ZoneKey]) -> None:
    """RFC 5011 §5; the last key speaks of itself, and needs nobody else."""
    first = keys[0]
    for seen in (True, False):
        tracker = KeyTracker(ZONE, [first.ds()])
        if seen:
            tracker.observe(*published(NOW, first), NOW)
        tracker.observe(*published(NOW + 1, first.revoked()), NOW + 1)
        assert tracker.anchors() == []


def test_keys_without_sep_are_not_followed(keys: list[ZoneKey]) -> None:
    zsk = ZoneKey.generate(ZONE, Algorithm.ED25519)
    tracker = KeyTracker(ZONE, [keys[0].ds()])
    tracker.observe(*published(NOW, keys[0], zsk), NOW)
    assert zsk.tag not in states(tracker)


def test_when_to_ask_again_follows_ttl_and_signatures(keys: list[ZoneKey]) -> None:
    """RFC 5011 §2.3: half of either, an hour to 15 days; sooner after a failure."""
    tracker = KeyTracker(ZONE, [keys[0].ds()])
    for ttl, seconds in ((2 * DAY, DAY), (60, 3600), (60 * DAY, 5 * DAY)):
        tracker.observe(*published(NOW, keys[0], ttl=ttl), NOW)
        assert tracker.refresh_in == seconds
    tracker.failed()
    assert tracker.refresh_in == DAY
    tracker.failed()
    tracker.failed()
    assert tracker.refresh_in == 3600


def test_what_is_followed_survives_as_text(keys: list[ZoneKey]) -> None:
    tracker = KeyTracker(ZONE, [keys[0].ds(), keys[3].ds()])
    tracker.observe(*published(NOW, *keys[:2]), NOW)
    again = KeyTracker.from_json(tracker.to_json())
    assert again.to_json() == tracker.to_json()
    assert again.anchors() == tracker.anchors()
    for text in ("", "{}", "[]", "1", tracker.to_json().replace("valid", "odd"), "{"):
        with pytest.raises(DNSUsageError):
            KeyTracker.from_json(text)


def test_a_flood_of_keys_is_not_followed(keys: list[ZoneKey]) -> None:
    many = [ZoneKey.generate(ZONE, Algorithm.ED25519, sep=True) for _ in range(40)]
    tracker = KeyTracker(ZONE, [keys[0].ds()])
    with pytest.raises(ValidationError, match="keys"):
        tracker.observe(*published(NOW, keys[0], *many, by=[keys[0]]), NOW)
    for begin in (0, 20):
        tracker.observe(*published(NOW, keys[0], *many[begin : begin + 20], by=[keys[0]]), NOW)
    assert len(tracker.keys) <= 32


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 40)), max_size=8))
def test_nobody_is_believed_who_was_not_there_for_thirty_days_or_was_revoked(
    steps: list[tuple[int, int, int]],
) -> None:
    """Any order of keys shown, revoked, left out."""
    keys = _KEYS
    tracker = KeyTracker(ZONE, [keys[0].ds()])
    now = float(NOW)
    first_seen: dict[int, float] = {}
    revoked: set[int] = set()
    for present, withdrawn, days in steps:
        now += days * DAY
        shown = [
            keys[index].revoked() if withdrawn >> index & 1 else keys[index]
            for index in range(4)
            if present >> index & 1
        ]
        if not shown:
            continue
        believed = {_octets(each) for each in tracker.anchors() if isinstance(each, DNSKEY)}
        try:
            tracker.observe(*published(now, *shown), now)
        except ValidationError:
            continue
        for index in range(4):
            octets = keys[index].private.octets
            if not present >> index & 1 or withdrawn >> index & 1:
                first_seen.pop(index, None)
                if present >> index & 1 and octets in believed:
                    revoked.add(index)
            else:
                first_seen.setdefault(index, now)
        for each in tracker.anchors():
            if isinstance(each, DNSKEY):
                index = next(i for i in range(4) if keys[i].private.octets == _octets(each))
                assert index not in revoked or now > NOW + HOLD
                if index and _octets(each) not in believed:
                    assert now - first_seen[index] >= HOLD


def _octets(record: DNSKEY) -> bytes:
    return record.public_key


_KEYS = [ZoneKey.generate(ZONE, Algorithm.ED25519, sep=True) for _ in range(4)]


# ── kept up to date ───────────────────────────────────────────────────────────


def test_a_keeper_rolls_the_anchor_of_a_validator(tmp_path: Path) -> None:
    """From one key to the next, over restarts; answers stay secure all the while."""
    zone = SignedZone("test", "www A 192.0.2.1")
    tree = Tree(zone)
    path = tmp_path / "anchors.json"
    validator = tree.validator()

    def restarted() -> AnchorKeeper:
        return AnchorKeeper(validator, zone.origin, path, lambda: tree.now)

    keeper = restarted()
    assert keeper.next_refresh == tree.now
    asyncio.run(keeper.refresh(tree.fetch))
    assert path.exists()
    old, new = zone.key, ZoneKey.generate(zone.origin, Algorithm.ED25519, sep=True)
    keyset = zone.sets[zone.origin, int(RRType.DNSKEY)]
    keyset.rdatas = (old.dnskey, new.dnskey)
    for _ in range(33):
        tree.now += DAY
        moment = int(tree.now) - NOW
        for rrset in list(zone.sets.values()):
            zone.resign(rrset, (moment - 10, moment + 40 * DAY))
        assert keeper.next_refresh >= tree.now - DAY
        asyncio.run(keeper.refresh(tree.fetch))
        keeper = restarted()
        assert tree.judge("www.test", validator=validator).security is Security.SECURE
    zone.key = new
    keyset.rdatas = (old.revoked().dnskey, new.dnskey)
    moment = int(tree.now) - NOW
    for rrset in list(zone.sets.values()):
        zone.resign(rrset, (moment - 10, moment + 40 * DAY))
    zone.signatures[zone.origin, int(RRType.DNSKEY)].append(
        old.revoked().sign(keyset, NOW + moment - 10, NOW + moment + DAY)
    )
    asyncio.run(keeper.refresh(tree.fetch))
    assert validator.anchors.of(zone.origin) == (new.dnskey,)
    assert tree.judge("www.test", validator=validator).security is Security.SECURE


def test_a_keeper_that_gets_no_answer_asks_again_sooner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Tree(SignedZone("test"))
    keeper = AnchorKeeper(tree.validator(), Name("test"), None, lambda: tree.now)
    asyncio.run(keeper.refresh(tree.fetch))
    assert keeper.next_refresh == tree.now + 3600

    async def nobody(name: Name, rdtype: int) -> Message:
        raise LookupTimeoutError("nobody answers")

    with caplog.at_level(logging.WARNING, "sennit.names.dnssec"):
        assert asyncio.run(keeper.refresh(nobody)) == []
    assert "nobody answers" in caplog.text
    tree.change = lambda message: Message(0, questions=message.questions)
    assert asyncio.run(keeper.refresh(tree.fetch)) == []


def test_a_keepers_file_is_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = Tree(SignedZone("test"))
    path = tmp_path / "keys"
    for content in (b"nonsense", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(DNSUsageError):
            AnchorKeeper(tree.validator(), Name("test"), path, lambda: tree.now)
    path.write_text(KeyTracker(Name("other")).to_json())
    with pytest.raises(DNSUsageError, match="about other"):
        AnchorKeeper(tree.validator(), Name("test"), path, lambda: tree.now)
    missing = tmp_path / "no" / "folder"
    keeper = AnchorKeeper(tree.validator(), Name("test"), missing, lambda: tree.now)
    with caplog.at_level(logging.ERROR, "sennit.names.dnssec"):
        assert asyncio.run(keeper.refresh(tree.fetch))
    assert "not kept" in caplog.text
