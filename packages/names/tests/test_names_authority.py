"""Answers out of zones: the examples of the RFCs, the proofs, and the short way beside the long."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from sennit.names import EDNS, Message, Name, RRType
from sennit.names.authority import Authority
from sennit.names.codes import type_text
from sennit.names.dnssec.denial import nsec3_hash, nsec3_label
from sennit.names.errors import DNSUsageError
from sennit.names.interfaces import IResponder
from sennit.names.message import AA, CD, QR, RD, TC, Record
from sennit.names.request import Request
from sennit.names.zone.data import IZoneData
from sennit.names.zone.zone import Changes, Zone
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from sennit.names.zone.lookup import AnyAnswer

PEER = ("127.0.0.1", 53535)


def zone(text: str, origin: str | None = None) -> Zone:
    return read_zone(text.splitlines(), origin)


def ask(
    authority: Authority,
    name: str,
    rdtype: int,
    *,
    dnssec_ok: bool = False,
    transport: str = "udp",
    flags: int = RD,
    size: int = 1232,
) -> Message:
    query = Message.query(
        name, rdtype, id=7, flags=flags, edns=EDNS(dnssec_ok=True) if dnssec_ok else None
    )
    request = Request(query, query.to_wire(), PEER, transport, max_size=size)
    answer = authority.respond(request)
    assert isinstance(answer, Message)
    return answer


def rows(records: list[Record]) -> list[str]:
    return [f"{each.name} {type_text(each.rdtype)} {each.rdata}" for each in records]


def owners(records: list[Record], rdtype: int) -> list[str]:
    return sorted(str(each.name) for each in records if each.rdtype == rdtype)


# RFC 1034 §6.1: the root's zone and EDU's, as far as the examples need them.
ROOT = zone(
    """\
. 86400 IN SOA SRI-NIC.ARPA. HOSTMASTER\\.SRI-NIC.ARPA. 870611 1800 300 604800 86400
. 86400 NS A.ISI.EDU.
. 86400 NS C.ISI.EDU.
. 86400 NS SRI-NIC.ARPA.
MIL. 86400 NS SRI-NIC.ARPA.
MIL. 86400 NS A.ISI.EDU.
SRI-NIC.ARPA. 86400 A 26.0.0.73
SRI-NIC.ARPA. 86400 A 10.0.0.51
SRI-NIC.ARPA. 86400 MX 0 SRI-NIC.ARPA.
USC-ISIC.ARPA. 86400 CNAME C.ISI.EDU.
ACC.ARPA. 86400 A 26.6.0.65
A.ISI.EDU. 86400 A 26.3.0.103
""",
    ".",
)
EDU = zone(
    """\
EDU. 86400 SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870729 1800 300 604800 86400
EDU. 86400 NS SRI-NIC.ARPA.
EDU. 86400 NS C.ISI.EDU.
ISI.EDU. 172800 NS VAXA.ISI.EDU.
ISI.EDU. 172800 NS A.ISI.EDU.
VAXA.ISI.EDU. 172800 A 10.2.0.27
VAXA.ISI.EDU. 172800 A 128.9.0.33
A.ISI.EDU. 172800 A 26.3.0.103
""",
    "EDU.",
)
NIC = Authority([ROOT, EDU])


def test_an_address_is_answered_with_authority() -> None:
    """RFC 1034 §6.2.1."""
    answer = ask(NIC, "SRI-NIC.ARPA.", 1)
    assert rows(answer.answers) == [
        "SRI-NIC.ARPA. A 26.0.0.73",
        "SRI-NIC.ARPA. A 10.0.0.51",
    ]
    assert answer.flags == QR | AA | RD
    assert not answer.authority


def test_mail_is_answered_with_the_addresses_of_its_host() -> None:
    """RFC 1034 §6.2.3."""
    answer = ask(NIC, "sri-nic.arpa", RRType.MX)
    assert rows(answer.answers) == ["sri-nic.arpa. MX 0 SRI-NIC.ARPA."]
    assert rows(answer.additional) == ["SRI-NIC.ARPA. A 26.0.0.73", "SRI-NIC.ARPA. A 10.0.0.51"]


def test_a_name_without_the_type_and_a_name_that_is_not_there_are_denied() -> None:
    """RFC 1034 §6.2.4, §6.2.5; RFC 2308 §3: the SOA's TTL is the least of both."""
    answer = ask(NIC, "SRI-NIC.ARPA.", RRType.NS)
    assert answer.rcode == 0
    assert not answer.answers
    answer = ask(NIC, "SIR-NIC.ARPA.", 1)
    assert answer.rcode == 3
    assert [(str(each.name), each.rdtype, each.ttl) for each in answer.authority] == [
        (".", 6, 86400)
    ]


def test_a_name_beneath_a_delegation_is_referred() -> None:
    """RFC 1034 §6.2.6."""
    answer = ask(NIC, "BRL.MIL.", 1)
    assert answer.flags & AA == 0
    assert rows(answer.authority) == ["MIL. NS SRI-NIC.ARPA.", "MIL. NS A.ISI.EDU."]
    assert set(rows(answer.additional)) == {
        "SRI-NIC.ARPA. A 26.0.0.73",
        "SRI-NIC.ARPA. A 10.0.0.51",
        "A.ISI.EDU. A 26.3.0.103",
    }


def test_an_alias_is_followed_into_another_zone_of_ours_and_to_a_referral() -> None:
    """RFC 1034 §6.2.7, §6.2.8: the alias is ours, what is behind it is others'."""
    answer = ask(NIC, "USC-ISIC.ARPA.", 1)
    assert rows(answer.answers) == ["USC-ISIC.ARPA. CNAME C.ISI.EDU."]
    assert answer.flags & AA
    assert rows(answer.authority)[0] == "ISI.EDU. NS VAXA.ISI.EDU."
    assert len(answer.additional) == 3
    assert rows(ask(NIC, "USC-ISIC.ARPA.", RRType.CNAME).answers) == [
        "USC-ISIC.ARPA. CNAME C.ISI.EDU."
    ]


WILD = zone(
    """\
$ORIGIN example.
@ 3600 IN SOA ns hostmaster 1 1 1 1 3600
@ 3600 NS ns.example.com.
@ 3600 NS ns.example.net.
* 3600 TXT "this is a wildcard"
* 3600 MX 10 host1
sub.* 3600 TXT "this is not a wildcard"
host1 3600 A 192.0.2.1
_ssh._tcp.host1 3600 SRV 0 0 22 host1
_ssh._tcp.host2 3600 SRV 0 0 22 host1
subdel 3600 NS ns.example.com.
subdel 3600 NS ns.example.net.
"""
)


@pytest.mark.parametrize(
    ("name", "rdtype", "answers", "rcode"),
    [
        ("host3.example.", RRType.MX, ["host3.example. MX 10 host1.example."], 0),
        ("host3.example.", RRType.A, [], 0),
        ("foo.bar.example.", RRType.TXT, ['foo.bar.example. TXT "this is a wildcard"'], 0),
        ("host1.example.", RRType.MX, [], 0),
        ("sub.*.example.", RRType.MX, [], 0),
        ("_telnet._tcp.host1.example.", RRType.SRV, [], 3),
        ("host.subdel.example.", RRType.A, [], 0),
        ("ghost.*.example.", RRType.MX, [], 3),
    ],
)
def test_wildcards_match_as_the_rfc_says(
    name: str, rdtype: int, answers: list[str], rcode: int
) -> None:
    """RFC 4592 §2.2.1."""
    answer = ask(Authority([WILD]), name, rdtype)
    assert rows(answer.answers) == answers
    assert answer.rcode == rcode
    assert bool(answer.flags & AA) == (name != "host.subdel.example.")


ALIASES = zone(
    """\
$ORIGIN frobozz.example.
$TTL 60
@ SOA ns hostmaster 1 1 1 1 30
@ NS ns
ns A 192.0.2.1
@ DNAME frobozz-division.acme.example.
loop1 CNAME loop2
loop2 CNAME loop1
""".replace("@ DNAME", "sub DNAME")
    + "$GENERATE 1-20 c$ CNAME c${1}\n"
    + f"long DNAME {'a' * 63}.{'b' * 63}.{'c' * 50}.\n"
)


def test_names_beneath_a_dname_are_rewritten() -> None:
    """RFC 6672 §2.2, §5.3.1: with a CNAME made for the name."""
    authority = Authority([ALIASES])
    answer = ask(authority, "x.y.sub.frobozz.example.", 1)
    assert rows(answer.answers) == [
        "sub.frobozz.example. DNAME frobozz-division.acme.example.",
        "x.y.sub.frobozz.example. CNAME x.y.frobozz-division.acme.example.",
    ]
    assert [each.ttl for each in answer.answers] == [60, 60]
    assert answer.rcode == 0
    assert not ask(authority, "sub.frobozz.example.", 1).answers
    assert len(ask(authority, "sub.frobozz.example.", RRType.DNAME).answers) == 1


def test_a_name_that_gets_too_long_is_yxdomain() -> None:
    """RFC 6672 §2.2."""
    answer = ask(Authority([ALIASES]), f"{'d' * 60}.{'e' * 60}.long.frobozz.example.", 1)
    assert answer.rcode == 6
    assert owners(answer.answers, RRType.DNAME) == ["long.frobozz.example."]


def test_loops_and_long_chains_of_aliases_end() -> None:
    """HARDENING dns-10."""
    authority = Authority([ALIASES])
    assert len(ask(authority, "loop1.frobozz.example.", 1).answers) == 2
    assert len(ask(authority, "c1.frobozz.example.", 1).answers) == 11


# ── odd types ─────────────────────────────────────────────────────────────────

MIXED = zone(
    """\
$ORIGIN m.example.
$TTL 60
@ SOA ns hostmaster 1 1 1 1 30
@ NS ns
ns A 192.0.2.1
w A 192.0.2.2
w TXT "a longer one than the address"
srv SRV 0 0 1 .
svc SVCB 1 .
svc A 192.0.2.3
bad MX 1 @
$GENERATE 1-40 many MX $ ns$
$GENERATE 1-40 ns$ A 192.0.2.$
$GENERATE 1-3 turn A 192.0.2.$
wide NS ns.wide
ns.wide A 192.0.2.9
$GENERATE 1-80 wide NS n$.wide
$GENERATE 1-80 n$.wide AAAA 2001:db8::$
"""
)


@pytest.mark.parametrize(
    ("how", "transport", "types"),
    [
        ("hinfo", "udp", [13]),
        ("hinfo", "tcp", [13]),
        ("smallest", "tcp", [1]),
        ("full", "udp", [1]),
        ("full", "tcp", [1, 16]),
    ],
)
def test_any_is_answered_with_little(how: AnyAnswer, transport: str, types: list[int]) -> None:
    """HARDENING dns-6; RFC 8482 §4."""
    answer = ask(Authority([MIXED], any_answer=how), "w.m.example.", 255, transport=transport)
    assert [each.rdtype for each in answer.answers] == types
    assert ask(Authority([MIXED], any_answer=how), "nope.m.example.", 255).rcode == 3


def test_signatures_of_a_name_without_any_are_denied_as_other_types_are() -> None:
    """With the SOA, by which it may be kept that there are none (RFC 2308 §2.2)."""
    found = ask(Authority([MIXED]), "w.m.example.", 46)
    assert not found.answers
    assert [each.rdtype for each in found.authority] == [6]


def test_addresses_are_added_for_thirteen_hosts() -> None:
    """HARDENING dns-13."""
    answer = ask(Authority([MIXED]), "many.m.example.", RRType.MX)
    assert len(answer.answers) == 40
    assert len(answer.additional) == 13
    assert len(ask(Authority([MIXED]), "x.wide.m.example.", 1).additional) <= 13


def test_targets_that_are_none_and_that_are_the_owner() -> None:
    """RFC 2782 (no such service), RFC 9460 §2.5.2 (the owner itself)."""
    assert not ask(Authority([MIXED]), "srv.m.example.", RRType.SRV).additional
    assert rows(ask(Authority([MIXED]), "svc.m.example.", RRType.SVCB).additional) == [
        "svc.m.example. A 192.0.2.3"
    ]


def test_a_referral_without_room_for_its_glue_is_truncated() -> None:
    """RFC 9471 §3.1."""
    text = "\n".join(
        ["$ORIGIN g.example.", "$TTL 60", "@ SOA ns h 1 1 1 1 1", "@ NS ns", "ns A 192.0.2.1"]
        + [f"sub NS n{each}.sub\nn{each}.sub AAAA 2001:db8::{each}" for each in range(12)]
    )
    authority = Authority([zone(text)])
    small = ask(authority, "a.sub.g.example.", 1, size=512)
    assert Message.from_wire(small.to_wire(512)).flags & TC
    large = ask(authority, "a.sub.g.example.", 1, size=1232)
    assert not Message.from_wire(large.to_wire(1232)).flags & TC
    assert len(large.additional) == 12


def test_ds_comes_from_the_zone_above() -> None:
    """RFC 4035 §3.1.4.1."""
    above = zone(
        "$ORIGIN a.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nb 60 NS ns.b\n"
        f"b 60 DS 1 13 2 {'00' * 32}\nns.b 60 A 192.0.2.1\n"
    )
    below = zone("$ORIGIN b.a.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    assert len(ask(Authority([above, below]), "b.a.example.", RRType.DS).answers) == 1
    answer = ask(Authority([below]), "b.a.example.", RRType.DS)
    assert rows(answer.authority)[0].startswith("b.a.example. SOA")
    assert ask(Authority([above]), "b.a.example.", 1).flags & AA == 0


def test_names_and_classes_of_others_are_not_answered() -> None:
    query = Message.query("example.net.", 1)
    assert Authority([WILD]).respond(Request(query, query.to_wire(), PEER)) is None
    query = Message.query("example.", 1, rdclass=3)
    assert Authority([WILD]).respond(Request(query, query.to_wire(), PEER)) is None
    assert Authority([WILD]).quick(query.to_wire(), 512, PEER) is None


def test_an_expired_zone_is_servfail_both_ways() -> None:
    """RFC 1035 §3.3.13."""
    one = zone("$ORIGIN e.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    authority = Authority([one])
    query = Message.query("ns.e.example.", 1).to_wire()
    assert authority.quick(query, 512, PEER)
    one.expired = True
    assert authority.quick(query, 512, PEER) is None
    assert ask(authority, "ns.e.example.", 1).rcode == 2


# ── proofs ────────────────────────────────────────────────────────────────────

# RFC 5155 Appendix A, without its signatures: names, types, salt, iterations, opt-out.
NSEC3_NAMES = {
    "example.": "NS SOA MX RRSIG DNSKEY NSEC3PARAM",
    "a.example.": "NS DS RRSIG",
    "ai.example.": "A HINFO AAAA RRSIG",
    "ns1.example.": "A RRSIG",
    "ns2.example.": "A RRSIG",
    "w.example.": "",
    "*.w.example.": "MX RRSIG",
    "x.w.example.": "MX RRSIG",
    "y.w.example.": "",
    "x.y.w.example.": "MX RRSIG",
    "xx.example.": "A HINFO AAAA RRSIG",
}


def nsec3_label_of(name: str) -> str:
    return nsec3_label(nsec3_hash(Name(name), bytes.fromhex("aabbccdd"), 12)).decode()


def nsec3_zone() -> Zone:
    hashes = sorted((nsec3_label_of(name), types) for name, types in NSEC3_NAMES.items())
    lines = [
        "$ORIGIN example.\n$TTL 3600",
        "@ SOA ns1 bugs.x.w 1 3600 300 3600000 3600",
        "@ NS ns1\n@ NS ns2\n@ MX 1 xx\n@ NSEC3PARAM 1 0 12 aabbccdd",
        f"a NS ns1.a\na DS 58470 5 1 {'30' * 20}\nns1.a A 192.0.2.5",
        "ai A 192.0.2.9\nc NS ns1.c\nns1.c A 192.0.2.7",
        "ns1 A 192.0.2.1\nns2 A 192.0.2.2\n*.w MX 1 ai\nx.w MX 1 xx\nx.y.w MX 1 xx",
        "xx A 192.0.2.10",
    ]
    for number, (label, types) in enumerate(hashes):
        following = hashes[(number + 1) % len(hashes)][0]
        lines.append(f"{label} NSEC3 1 1 12 aabbccdd {following} {types}")
    return zone("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "proof"),
    [
        # B.1: the closest encloser, and what covers the next closer name and the wildcard.
        ("a.c.x.w.example.", 1, 3, ["x.w.example.", "example.", "a.example."]),
        # B.2, B.2.1: the name's own; an empty non-terminal has one, too.
        ("ns1.example.", RRType.MX, 0, ["ns1.example."]),
        ("y.w.example.", 1, 0, ["y.w.example."]),
        # B.3: a delegation that opted out.
        ("mc.c.example.", RRType.MX, 0, ["example.", "a.example."]),
        # B.4, B.5: a wildcard that holds, with the type and without.
        ("a.z.w.example.", RRType.MX, 0, ["ns2.example."]),
        ("a.z.w.example.", RRType.AAAA, 0, ["w.example.", "ns2.example.", "*.w.example."]),
        # B.6: DS at the zone's own name.
        ("example.", RRType.DS, 0, ["example."]),
    ],
)
def test_nsec3_proves_what_the_rfc_shows(
    name: str, rdtype: int, rcode: int, proof: list[str]
) -> None:
    """RFC 5155 Appendix B."""
    answer = ask(Authority([nsec3_zone()]), name, rdtype, dnssec_ok=True)
    assert answer.rcode == rcode
    assert owners(answer.authority, RRType.NSEC3) == sorted(
        f"{nsec3_label_of(each)}.example." for each in proof
    )
    assert not owners(ask(Authority([nsec3_zone()]), name, rdtype).authority, RRType.NSEC3)


def test_the_hashes_are_those_of_the_rfc() -> None:
    """RFC 5155 Appendix A."""
    assert nsec3_label_of("example.") == "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"
    assert nsec3_label_of("*.w.example.") == "r53bq7cc2uvmubfu5ocmm6pers9tk9en"


# RFC 4035 Appendix A, without its signatures.
NSEC_ZONE = """\
$ORIGIN example.
$TTL 3600
@ SOA ns1 bugs.x.w 1081539377 3600 300 3600000 3600
@ NS ns1
@ NS ns2
@ MX 1 xx
@ NSEC a NS SOA MX RRSIG NSEC DNSKEY
a NS ns1.a
a NS ns2.a
a DS 57855 5 1 B6DCD485719ADCA18E5F3D48A2331627FDD3636B
a NSEC ai NS DS RRSIG NSEC
ns1.a A 192.0.2.5
ns2.a A 192.0.2.6
ai A 192.0.2.9
ai NSEC b A HINFO AAAA RRSIG NSEC
b NS ns1.b
b NSEC ns1 NS RRSIG NSEC
ns1.b A 192.0.2.7
ns1 A 192.0.2.1
ns1 NSEC ns2 A RRSIG NSEC
ns2 A 192.0.2.2
ns2 NSEC *.w A RRSIG NSEC
*.w MX 1 ai
*.w NSEC x.w MX RRSIG NSEC
x.w MX 1 xx
x.w NSEC x.y.w MX RRSIG NSEC
x.y.w MX 1 xx
x.y.w NSEC xx MX RRSIG NSEC
xx A 192.0.2.10
xx NSEC @ A HINFO AAAA RRSIG NSEC
"""


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "proof", "ds"),
    [
        ("x.w.example.", RRType.MX, 0, [], 0),  # B.1
        ("ml.example.", 1, 3, ["b.example.", "example."], 0),  # B.2
        ("ns1.example.", RRType.MX, 0, ["ns1.example."], 0),  # B.3
        ("mc.a.example.", RRType.MX, 0, [], 1),  # B.4
        ("mc.b.example.", RRType.MX, 0, ["b.example."], 0),  # B.5
        ("a.z.w.example.", RRType.MX, 0, ["x.y.w.example."], 0),  # B.6
        ("a.z.w.example.", RRType.AAAA, 0, ["*.w.example.", "x.y.w.example."], 0),  # B.7
        ("example.", RRType.DS, 0, ["example."], 0),  # B.8
        ("y.w.example.", 1, 0, ["x.w.example."], 0),  # an empty non-terminal
    ],
)
def test_nsec_proves_what_the_rfc_shows(
    name: str, rdtype: int, rcode: int, proof: list[str], ds: int
) -> None:
    """RFC 4035 Appendix B."""
    answer = ask(Authority([zone(NSEC_ZONE)]), name, rdtype, dnssec_ok=True)
    assert answer.rcode == rcode
    assert owners(answer.authority, RRType.NSEC) == proof
    assert len(owners(answer.authority, RRType.DS)) == ds


def test_a_chain_follows_the_changes_of_its_zone() -> None:
    signed = zone(NSEC_ZONE)
    authority = Authority([signed])
    assert owners(ask(authority, "y.example.", 1, dnssec_ok=True).authority, RRType.NSEC) == [
        "example.",
        "xx.example.",
    ]
    gone = [each for each in signed.records() if str(each.name) == "xx.example."]

    signed.apply(Changes(gone, []))

    assert owners(ask(authority, "y.example.", 1, dnssec_ok=True).authority, RRType.NSEC) == [
        "example.",
        "x.y.w.example.",
    ]


def test_too_many_iterations_are_not_worked_off() -> None:
    """RFC 9276 §3.2."""
    text = nsec3_zone()
    lines = [each.to_text() for each in text.records()]
    costly = zone("\n".join(each.replace(" 12 AABBCCDD", " 65535 AABBCCDD") for each in lines))
    answer = ask(Authority([costly]), "nope.example.", 1, dnssec_ok=True)
    assert answer.rcode == 3
    assert not owners(answer.authority, RRType.NSEC3)


# ── the short way ─────────────────────────────────────────────────────────────

ALL = [ROOT, EDU, WILD, ALIASES, MIXED, zone(NSEC_ZONE.replace("example.", "s.example."))]
SOME_NAMES = sorted(
    {str(node.name) for each in ALL for node in each.nodes.values()}
    | {f"x.{node.name}" for each in ALL for node in each.nodes.values() if node.wire != b"\0"}
)
QUICK = Authority(ALL)


def checked(authority: Authority, query: Message) -> bytes | None:
    """The short way's answer, after it was held against the long way's."""
    wire = query.to_wire()
    quick = authority.quick(wire, 512, PEER)
    if quick is None:
        return None
    edns = query.edns
    size = 512 if edns is None else max(512, min(edns.payload, 1232))
    long_way = authority.respond(Request(query, wire, PEER, max_size=size))
    assert isinstance(long_way, Message)
    if edns is not None:
        long_way.edns = EDNS(1232, dnssec_ok=edns.dnssec_ok)
    assert len(quick) <= size
    found = Message.from_wire(quick)
    assert found == long_way
    assert found.question.name.wire == query.question.name.wire, "its case is kept"
    assert not found.flags & TC
    return quick


@given(
    st.sampled_from(SOME_NAMES),
    st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 46, 47, 65, 255, 252]),
    st.sampled_from([0, RD, CD, RD | CD, RD | 0x20]),
    st.sampled_from([None, (512, False), (1232, True), (0, False), (4096, True), (65535, False)]),
    st.integers(0, 2**32),
)
def test_the_short_way_says_what_the_long_way_says(
    name: str, rdtype: int, flags: int, edns: tuple[int, bool] | None, seed: int
) -> None:
    luck = random.Random(seed)
    mixed = "".join(luck.choice((each.upper(), each.lower())) for each in name)
    query = Message.query(mixed, rdtype, id=seed & 0xFFFF, flags=flags)
    if edns is not None:
        query.edns = EDNS(edns[0], dnssec_ok=edns[1])
    for _ in range(2):  # made, and out of the table
        checked(QUICK, query)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\0\0\x29\4\xd0\0\0\0\0\0\0"]))
def test_no_octets_make_the_short_way_raise(data: bytes, tail: bytes) -> None:
    QUICK.quick(data, 512, PEER)
    QUICK.quick(b"\0\1\1\0\0\1\0\0\0\0\0\0" + data, 512, PEER)
    QUICK.quick(b"\0\1\1\0\0\1\0\0\0\0\0\1" + data + tail, 512, PEER)


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [
        ("SRI-NIC.ARPA.", 1),
        ("sri-nic.arpa.", 15),
        ("w.m.example.", 28),
        ("ns1.s.example.", 1),
        ("example.", 6),
        ("loop1.frobozz.example.", 5),
    ],
)
def test_plain_queries_are_answered_the_short_way(name: str, rdtype: int) -> None:
    for edns in (None, EDNS(), EDNS(4096, dnssec_ok=True)):
        assert checked(QUICK, Message.query(name, rdtype, edns=edns)) is not None


def test_what_is_not_plain_goes_the_long_way() -> None:
    from sennit.names import Option

    plain = Message.query("w.m.example.", 1).to_wire()
    assert QUICK.quick(plain, 512, PEER)
    for other in (
        plain[:2] + b"\x81" + plain[3:],  # an answer
        plain[:2] + b"\x11" + plain[3:],  # another opcode
        plain[:5] + b"\2" + plain[6:],  # two questions
        plain + b"\0",
        plain[:-1],
        Message.query("w.m.example.", 1, edns=EDNS(options=[Option(3)])).to_wire(),
        Message.query("w.m.example.", 1, edns=EDNS(version=1)).to_wire(),
        Message.query("w.m.example.", 255).to_wire(),
        Message.query("nope.m.example.", 252).to_wire(),
        Message.query("many.m.example.", 15).to_wire(),  # does not fit
    ):
        assert QUICK.quick(other, 512, PEER) is None
    assert QUICK.quick(Message.query("many.m.example.", 15).to_wire(), 4096, PEER)


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode"),
    [
        ("nope.m.example.", 1, 3),
        ("a.b.nope.m.example.", 15, 3),
        (f"{'x' * 63}.{'y' * 63}.{'z' * 63}.m.example.", 1, 3),
        (f"{'x' * 63}.x.m.example.", 1, 3),
        ("x.sub.m.example.", 1, 0),
        ("a.b.sub.m.example.", 28, 0),
        ("sub.m.example.", 1, 0),
        ("q.wide.m.example.", 1, 0),
        ("a.q.wide.m.example.", 28, 0),
    ],
)
def test_names_that_are_not_there_are_answered_the_short_way(
    name: str, rdtype: int, rcode: int
) -> None:
    """One answer is kept for all names of a shape, so that nobody's names fill the table."""
    text = (
        "$ORIGIN m.example.\n$TTL 60\n@ SOA ns h 1 1 1 1 30\n@ NS ns\nns A 192.0.2.1\n"
        "*.wide A 192.0.2.2\nsub NS ns.sub\nsub NS ns\nns.sub A 192.0.2.3\n"
    )
    authority = Authority([zone(text)], answers=20)
    for edns in (None, EDNS(), EDNS(4096, dnssec_ok=True)):
        quick = checked(authority, Message.query(name, rdtype, edns=edns))
        assert quick is not None
        assert quick[3] & 15 == rcode
        for mark in "-0123456789_":
            other = re.sub("[xqo]", mark, name.removesuffix("m.example.")) + "m.example."
            assert checked(authority, Message.query(other, rdtype, edns=edns)) is not None
    assert len(authority._shaped) <= 3
    assert not authority._plain


def test_proofs_of_absence_are_answered_the_short_way() -> None:
    kept = Authority([zone(NSEC_ZONE)])
    for name in ("nope.example.", "b.example.", "x.y.w.example.", "z.b.example.", "a.z.w.example."):
        for rdtype in (1, 15, 28, 43):
            checked(kept, Message.query(name, rdtype, edns=EDNS(4096, dnssec_ok=True)))
    quick = checked(kept, Message.query("nope.example.", 1, edns=EDNS(4096, dnssec_ok=True)))
    assert quick is not None
    assert {each.rdtype for each in Message.from_wire(quick).authority} == {6, 47}


def test_a_label_of_the_zone_that_stands_in_a_made_up_name_is_no_fault() -> None:
    """What is kept is made of names of the octet 254, and of 255: one may be in the zone."""
    text = (
        "$ORIGIN m.example.\n$TTL 60\n@ SOA ns h 1 1 1 1 30\n@ NS ns\nns A 192.0.2.1\n"
        "sub NS \\254\\254.sub\nsub NS \\255\\255.sub\n\\254\\254.sub A 192.0.2.3\n"
    )
    authority = Authority([zone(text)])
    for name in ("ab.sub.m.example.", "\\254\\254.sub.m.example.", "abc.sub.m.example."):
        for _ in range(2):
            checked(authority, Message.query(name, 1))


@pytest.mark.parametrize(
    "name",
    [
        b"\0\4nope\1m\7example\0",
        b"\x40" + b"x" * 64 + b"\1m\7example\0",
        b"\xc0\x0c\1m\7example\0",
        b"\4nope\1m\7example\0\0",
        b"\x3f" + b"x" * 63 + (b"\x3f" + b"y" * 63) * 3 + b"\1m\7example\0",
        b"\4nop\1m\7example\0",
    ],
)
def test_what_is_no_name_gets_no_short_answer(name: bytes) -> None:
    head = Message.query("m.example.", 1).to_wire()[:12]
    assert QUICK.quick(head + name + b"\0\1\0\1", 512, PEER) is None


def test_a_change_is_seen_at_once_the_short_way() -> None:
    one = zone("$ORIGIN e.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    two = zone("$ORIGIN e.example.\n@ 60 SOA ns h 2 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.2\n")
    zones = ZoneSet([one])
    authority = Authority(zones)
    query = Message.query("ns.e.example.", 1).to_wire()

    def seen() -> list[str]:
        answer = authority.quick(query, 512, PEER)
        assert answer is not None
        return [str(each.rdata) for each in Message.from_wire(answer).answers]

    assert seen() == ["192.0.2.1"]
    added = zone(
        "$ORIGIN e.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.7\n"
    ).rrset(Name("ns.e.example."), 1)
    assert added is not None
    one.apply(Changes([], added.records()))
    assert seen() == ["192.0.2.1", "192.0.2.7"]
    zones.replace(two)
    assert seen() == ["192.0.2.2"]
    zones.remove(two.origin)
    assert authority.quick(query, 512, PEER) is None


def test_a_name_that_comes_is_seen_at_once_the_short_way() -> None:
    made = zone("$ORIGIN e.example.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    authority = Authority([made])
    query = Message.query("new.e.example.", 1)
    quick = checked(authority, query)
    assert quick is not None
    assert quick[3] & 15 == 3
    ns = made.rrset(Name("ns.e.example."), 1)
    assert ns is not None
    made.apply(Changes([], [Record(Name("new.e.example."), 1, 60, ns.rdatas[0])]))
    quick = checked(authority, query)
    assert quick is not None
    assert quick[3] & 15 == 0


def test_the_table_has_an_end() -> None:
    authority = Authority([MIXED], answers=5)
    for number in range(1, 41):
        assert checked(authority, Message.query(f"ns{number}.m.example.", 1)) is not None
    assert len(authority._plain) <= 5


def test_large_sets_are_neither_kept_nor_cut_in_silence() -> None:
    """HARDENING dns-13: thousands of records of a name, which only an operator's own file has."""
    text = (
        "$ORIGIN l.example.\n$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n"
        "$GENERATE 1-5000 huge MX $ h$.example.net.\n$GENERATE 1-5000 wide TXT $\n"
        "$GENERATE 1-300 some TXT $\n"
    )
    authority = Authority([zone(text)])
    for name, rdtype in (("huge", 15), ("wide", 16)):
        query = Message.query(f"{name}.l.example.", rdtype)
        assert authority.quick(query.to_wire(), 0xFFFF, PEER) is None
        long_way = ask(authority, f"{name}.l.example.", rdtype, transport="tcp", size=0xFFFF)
        assert Message.from_wire(long_way.to_wire()).flags & TC
        assert len(long_way.to_wire(512)) <= 512
    query = Message.query("some.l.example.", 16)
    assert authority.quick(query.to_wire(), 512, PEER) is None
    found = authority.quick(query.to_wire(), 0xFFFF, PEER)
    assert found is not None
    assert len(Message.from_wire(found).answers) == 300
    assert not authority._plain


def test_addresses_take_turns_where_that_is_wanted() -> None:
    authority = Authority([MIXED], rotate=True)
    query = Message.query("turn.m.example.", 1)

    def firsts() -> set[str]:
        found: set[str] = set()
        for _ in range(3):
            quick = authority.quick(query.to_wire(), 512, PEER)
            assert quick is not None
            found.add(str(Message.from_wire(quick).answers[0].rdata))
        return found

    assert firsts() == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    assert {
        str(ask(authority, "turn.m.example.", 1).answers[0].rdata) for _ in range(3)
    } == firsts()
    assert [str(each.rdata) for each in ask(QUICK, "turn.m.example.", 1).answers] == [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
    ]


def test_it_is_a_responder_and_zones_are_data() -> None:
    assert verifyObject(IResponder, QUICK)
    assert verifyObject(IZoneData, MIXED)
    with pytest.raises(DNSUsageError, match="any_answer"):
        Authority([], any_answer="none")  # type: ignore[arg-type]  # what a file may say
