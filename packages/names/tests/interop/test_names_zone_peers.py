"""Our answers beside those of NSD and Knot: the same zones, the same questions."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import Daemon, Peers, dig, drill, kdig, run_tool
from sennit.names import EDNS, Message, Name, Record, RRType
from sennit.names.authority import Authority
from sennit.names.codes import type_text
from sennit.names.message import AA, AD, CD, QR
from sennit.names.request import Request
from sennit.names.server import DNSServer
from sennit.names.serving.listening import serve_dns
from sennit.names.zone.writer import write_zone, zone_lines
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.names.zone.zone import Zone

pytestmark = pytest.mark.interop

LABELS = ["a", "b", "c", "*", "d"]
KINDS = [
    "A 192.0.2.1",
    "A 192.0.2.2",
    "AAAA 2001:db8::1",
    "TXT x",
    "MX 10 a",
    "CNAME a.b",
    "CNAME b.c",
    "NS a.c",
    "NS ns.c.d",
    "DNAME b.d",
    "DS 1 13 2 0011223344556677889900112233445566778899001122334455667788990011",
]
ASKED = [RRType.A, RRType.AAAA, RRType.TXT, RRType.MX, RRType.CNAME, RRType.DS, RRType.NS]


def random_zone(origin: str, luck: random.Random) -> str:
    """Text of a zone that the rules allow, odd as it may be otherwise."""
    sets: dict[str, set[str]] = {}
    for _ in range(luck.randint(3, 14)):
        owner = ".".join(luck.choice(LABELS) for _ in range(luck.randint(1, 3)))
        kind = luck.choice(KINDS)
        rdtype = kind.split()[0]
        # What peers refuse to load or read in a way of their own: aliases beside others, wildcards
        # that delegate or rewrite, DS without NS, anything beneath a DNAME.
        if owner.startswith("*") and rdtype in ("NS", "DNAME", "DS"):
            continue
        if rdtype == "DNAME" and owner in ("d", "b.d"):
            continue  # leads beneath itself, and so deeper and deeper
        there = {each.split()[0] for each in sets.get(owner, ())}
        if rdtype in ("CNAME", "DNAME") and there:
            continue
        if rdtype == "DS" and "NS" not in there:
            continue
        if rdtype == "NS" and there - {"NS"}:
            continue
        if there & {"CNAME", "DNAME"}:
            continue
        sets.setdefault(owner, set()).add(kind)
    cuts = {owner for owner, kinds in sets.items() if any(k[:2] == "NS" for k in kinds)}
    tops = {owner for owner, kinds in sets.items() if any(k[:5] == "DNAME" for k in kinds)}
    lines = [
        "$TTL 300",
        f"$ORIGIN {origin}",
        "@ 3600 SOA ns hostmaster 1 3600 600 86400 60",
        "@ 3600 NS ns",
        "ns A 192.0.2.53",
    ]
    for owner, kinds in sets.items():
        labels = owner.split(".")
        above = {".".join(labels[each:]) for each in range(1, len(labels))}
        if above & tops:
            continue
        if above & cuts and not all(each.startswith(("A ", "AAAA ")) for each in kinds):
            continue
        if any("*" in each for each in labels[1:]) and any(k[:2] == "NS" for k in kinds):
            continue
        lines += [f"{owner} {each}" for each in sorted(kinds)]
    return "\n".join(lines) + "\n"


def random_names(origin: str, luck: random.Random, count: int) -> list[str]:
    found = [
        ".".join([*(luck.choice([*LABELS, "x"]) for _ in range(luck.randint(1, 4))), origin])
        for _ in range(count)
    ]
    return [origin, *found]


def sign(folder: Path, origin: str, zone: str, *words: str) -> str:
    """A zone as ldns-signzone signs it."""
    path = folder / "unsigned.zone"
    path.write_text(zone)
    keys = [
        folder / run_tool_in(folder, "ldns-keygen", "-a", "ECDSAP256SHA256", *kind, origin).strip()
        for kind in (("-k",), ())
    ]
    out = folder / "signed.zone"
    # What others warn of is part of the test.
    run_tool("ldns-signzone", *words, "-f", str(out), "-o", origin, str(path), *map(str, keys))
    return out.read_text()


def run_tool_in(folder: Path, name: str, *words: str) -> str:
    return run_tool("env", "-C", str(folder), name, *words)


class Asker:
    """Asks a peer over one socket."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.connect((daemon.host, daemon.port))
        self._socket.settimeout(5)

    def __call__(self, query: Message) -> Message:
        self._socket.send(query.to_wire())
        return Message.from_wire(self._socket.recv(65535))

    def close(self) -> None:
        self._socket.close()


def ours(authority: Authority, query: Message) -> Message:
    wire = query.to_wire()
    request = Request(query, wire, ("127.0.0.1", 1), max_size=4096)
    found = authority.respond(request)
    assert isinstance(found, Message)
    quick = authority.quick(wire, 512, ("127.0.0.1", 1))
    if quick is not None:
        same = Message.from_wire(quick)
        same.edns = None
        assert seen(same, everything=True) == seen(found, everything=True)
    return found


def seen(message: Message, *, everything: bool = False) -> dict[str, object]:
    """What of a message has to be the same.

    NS of the zone beside a positive answer, and most of the additional section, are everybody's
    own choice.
    """

    def rows(records: list[Record]) -> list[str]:
        return sorted(
            f"{str(each.name).lower()} {each.ttl} {type_text(each.rdtype)} {each.rdata}"
            for each in records
        )

    authority = message.authority
    denies = any(each.rdtype in (RRType.SOA, RRType.NSEC, RRType.NSEC3) for each in authority)
    if not everything and message.answers and not denies and message.flags & AA:
        authority = []
    shown = rows(authority)
    if not everything and message.answers:
        shown = [each for each in shown if not re.search(r" (NS|RRSIG NS|DS|RRSIG DS) ", each)]
    found: dict[str, object] = {
        "rcode": message.rcode,
        "flags": message.flags & (AA | QR),
        "answers": rows(message.answers),
        "authority": shown,
    }
    if everything:
        found["additional"] = rows(message.additional)
    return found


def denied(found: dict[str, object]) -> set[str]:
    rows = found["authority"]
    assert isinstance(rows, list)
    return {str(each) for each in rows}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # rows of text


def differences(
    authority: Authority, ask: Asker, names: list[str], luck: random.Random, *, signed: bool
) -> list[str]:
    found: list[str] = []
    for name in names:
        for rdtype in luck.sample(ASKED, 3):
            query = Message.query(
                Name(name), rdtype, id=luck.randrange(65536), flags=0,
                edns=EDNS(4096, dnssec_ok=signed),
            )  # fmt: skip
            mine, theirs = seen(ours(authority, query)), seen(ask(query))
            if signed and denied(mine) > denied(theirs) and mine["answers"] == theirs["answers"]:
                # NSD leaves out a record at times: of the closest encloser (RFC 5155 §7.2.5), or
                # behind a DNAME. Unbound shows in another test that ours are right.
                mine["authority"] = theirs["authority"]
            if mine != theirs:
                found.append(f"{name} {type_text(rdtype)}\n  ours   {mine}\n  theirs {theirs}")
    return found


@pytest.mark.parametrize("peer", ["nsd", "knotd"])
def test_random_zones_are_answered_as_others_answer_them(peers: Peers, peer: str) -> None:
    luck = random.Random(20)
    zones = {f"z{each}.example.": "" for each in range(12)}
    for origin in zones:
        zones[origin] = random_zone(origin, luck)
    authority = Authority([read_zone(text.splitlines(), o) for o, text in zones.items()])
    ask = Asker({"nsd": peers.nsd, "knotd": peers.knotd}[peer](zones))

    wrong: list[str] = []
    for origin in zones:
        names = random_names(origin, luck, 15)
        found = differences(authority, ask, names, luck, signed=False)
        wrong += found

    ask.close()
    assert not wrong, f"{len(wrong)}\n" + "\n\n".join(wrong[:4])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="nsec"),
        pytest.param(("-n", "-t", "5", "-s", "beef"), id="nsec3"),
        pytest.param(("-n", "-p", "-t", "0"), id="opt-out"),
    ],
)
@pytest.mark.parametrize("peer", ["nsd", "knotd"])
def test_signed_zones_are_answered_as_others_answer_them(
    peers: Peers, tmp_path: Path, peer: str, words: tuple[str, ...]
) -> None:
    luck = random.Random(7)
    zones: dict[str, str] = {}
    for number in range(4):
        origin = f"s{number}.example."
        folder = tmp_path / f"zone{number}"
        folder.mkdir()
        zones[origin] = sign(folder, origin, random_zone(origin, luck), *words)
    authority = Authority(
        ZoneSet([read_zone(text.splitlines(), origin) for origin, text in zones.items()])
    )
    ask = Asker({"nsd": peers.nsd, "knotd": peers.knotd}[peer](zones))

    wrong: list[str] = []
    for origin in zones:
        names = random_names(origin, luck, 30)
        # Asked for a name that begins with "*", Knot leaves out half of the proof, and NSD sends
        # a record more than it takes (RFC 4035 §3.1.3.4, RFC 5155 §7.2.3).
        names = [each for each in names if not each.startswith("*")]
        found = differences(authority, ask, names, luck, signed=True)
        wrong += found

    ask.close()
    assert not wrong, f"{len(wrong)}\n" + "\n\n".join(wrong[:4])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="nsec"),
        pytest.param(("-n", "-t", "5", "-s", "beef"), id="nsec3"),
        pytest.param(("-n", "-p", "-t", "0"), id="opt-out"),
    ],
)
async def test_unbound_takes_our_proofs(
    peers: Peers, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Nothing that our server says of signed zones is bogus to a validating resolver.

    With three things it is at odds itself, and calls what BIND and NSD say bogus just as well:
    names with "*" in them that are asked for, also where such a wildcard is there only because
    something is beneath it; and CNAME beneath a DNAME, which all answer with the DNAME and the
    CNAME made of it (RFC 6672 §3.1). Minimised, it takes NXDOMAIN behind an alias for that of the
    alias (RFC 6604 §3).
    """
    zones: list[Zone] = []
    clauses: list[str] = []
    anchors: list[str] = []
    names: list[str] = []
    seen: list[int] = []
    for seed in (3, 11, 22, 29):
        luck = random.Random(seed)
        for number in range(3):
            origin = f"v{number}.s{seed}.test."
            folder = tmp_path / origin
            folder.mkdir()
            lines = random_zone(origin, luck).splitlines(keepends=True)
            plain = "".join(each for each in lines if ".*" not in each)
            zone = read_zone(sign(folder, origin, plain, *words).splitlines(), origin)
            zones.append(zone)
            keys = zone.rrset(zone.origin, RRType.DNSKEY)
            assert keys is not None
            anchors += [f' trust-anchor: "{origin} DNSKEY {each}"' for each in keys.rdatas]
            names += [each for each in random_names(origin, luck, 30) if "*" not in each]
    luck = random.Random(1)
    authority = Authority(zones)
    async with serve_dns(DNSServer(authority), "127.0.0.1", 0) as running:
        clauses += [
            f'stub-zone:\n name: "{zone.origin}"\n stub-addr: 127.0.0.1@{running.port}\n'
            for zone in zones
        ]
        daemon = await asyncio.to_thread(
            peers.unbound,
            server="\n".join(
                [
                    *anchors,
                    ' local-zone: "test." transparent',
                    ' module-config: "validator iterator"',
                    " qname-minimisation: no",
                ]
            ),
            extra="".join(clauses),
        )
        with closing(Asker(daemon)) as ask:
            for name in names:
                for rdtype in luck.sample(ASKED, 2):
                    query = Message.query(
                        Name(name), rdtype, id=len(seen), edns=EDNS(1232, dnssec_ok=True)
                    )
                    found = ours(authority, query)
                    if any(each.rdtype == RRType.NS for each in found.authority):
                        continue  # to servers that are not there
                    if rdtype == RRType.CNAME and any(
                        each.rdtype == RRType.DNAME for each in found.answers
                    ):
                        continue
                    answer = await asyncio.to_thread(ask, query)
                    # Aliases into nowhere are no fault of ours; bogus is (with CD it would
                    # answer).
                    if answer.rcode == 2:
                        query.flags |= CD
                        again = await asyncio.to_thread(ask, query)
                        assert again.rcode == 2, f"{name} {type_text(rdtype)} is bogus"
                    seen.append(answer.flags & AD)
    assert sum(1 for each in seen if each) > 50


RICH = """\
$ORIGIN rich.example.
$TTL 1h
@ IN SOA ns hostmaster.rich.example. ( 2024010101 2h 10m 2w 5m )
@ IN NS ns
@ IN NS ns2.example.net.
@ 300 IN MX 10 mail
ns A 192.0.2.1
mail A 192.0.2.2
 AAAA 2001:db8::2
txt TXT "a \\"quoted\\" word" \\200 "semi;colon" plain
_sip._tcp SRV 1 2 5060 mail
*.wild CNAME mail
a\\.b A 192.0.2.3
sub NS ns.sub
ns.sub A 192.0.2.4
dn DNAME other.example.
caa CAA 0 issue "ca.example"
unknown TYPE65400 \\# 3 010203
ptr PTR mail
$GENERATE 1-3 host-${0,2,d} A 192.0.2.$
$ORIGIN deep.rich.example.
x.y TXT z
"""


async def test_the_tools_print_our_answers() -> None:
    """Plain ones, referrals, aliases and absence, by dig, kdig and drill."""
    zone = read_zone(RICH.splitlines())
    async with serve_dns(DNSServer(Authority([zone])), "127.0.0.1", 0) as running:
        where = ("127.0.0.1", running.port)
        for tool in (dig, kdig, drill):
            found = await asyncio.to_thread(tool, where, "MAIL.rich.example", "AAAA")
            assert found.data == ["2001:db8::2"]
            assert "aa" in found.flags
            found = await asyncio.to_thread(tool, where, "q.wild.rich.example", "A")
            assert [each.type for each in found.answer] == ["CNAME", "A"]
            found = await asyncio.to_thread(tool, where, "x.sub.rich.example", "A")
            assert not found.answer
            assert [each.data for each in found.authority] == ["ns.sub.rich.example."]
            assert [each.data for each in found.additional] == ["192.0.2.4"]
            found = await asyncio.to_thread(tool, where, "nope.rich.example", "A")
            assert found.status == "NXDOMAIN"
            assert found.authority[0].ttl == 300
            found = await asyncio.to_thread(tool, where, "q.dn.rich.example", "A")
            assert [each.type for each in found.answer] == ["DNAME", "CNAME"]


def checkers(path: Path) -> list[tuple[str, ...]]:
    return [
        ("kzonecheck", "-o", "rich.example", str(path)),
        ("named-checkzone", "-k", "ignore", "-i", "none", "rich.example", str(path)),
        ("nsd-checkzone", "rich.example", str(path)),
        ("ldns-read-zone", "-c", str(path)),
    ]


def test_others_read_what_we_write(tmp_path: Path) -> None:
    zone = read_zone(RICH.splitlines())
    path = tmp_path / "written.zone"
    write_zone(zone, path)

    for command in checkers(path):
        run_tool(*command)


def test_we_read_what_others_write(tmp_path: Path) -> None:
    """named-checkzone and ldns-read-zone write a zone in forms of their own."""
    zone = read_zone(RICH.splitlines())
    path = tmp_path / "rich.zone"
    path.write_text(RICH)
    for style in ("full", "relative"):
        out = tmp_path / style
        run_tool(
            "named-checkzone", "-k", "ignore", "-i", "none", "-D", "-o", str(out), "-s", style,
            "rich.example", str(path),
        )  # fmt: skip
        assert read_zone(out, "rich.example") == zone
    write_zone(zone, path)
    canonical = run_tool("ldns-read-zone", "-c", str(path))
    assert read_zone(canonical.splitlines()) == zone


def test_a_zone_that_others_transfer_is_the_one_that_we_read(peers: Peers) -> None:
    """NSD reads what we write, and gives it as AXFR to dig, whose text we read."""
    zone = read_zone(RICH.splitlines())
    daemon = peers.nsd({"rich.example.": "".join(zone_lines(zone))})
    text = run_tool(
        "dig", "-p", str(daemon.port), f"@{daemon.host}", "rich.example.", "AXFR", "+noall",
        "+answer", "+onesoa",
    )  # fmt: skip
    assert read_zone(text.splitlines()) == zone


def test_generate_makes_what_bind_makes(tmp_path: Path) -> None:
    text = (
        "$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n"
        "$GENERATE 0-40/3 h${1,3,x} A 192.0.2.${200}\n"
        "$GENERATE 9-30 ${0,7,n}.x CNAME ${-9,2,o}.y${3,0,X}\n"
        "$GENERATE 1-2 $ TXT \\$$\n"
    )
    path = tmp_path / "zone"
    path.write_text(text)
    out = tmp_path / "out"
    run_tool(
        "named-checkzone",
        "-k",
        "ignore",
        "-i",
        "none",
        "-D",
        "-o",
        str(out),
        "g.example",
        str(path),
    )
    assert read_zone(out, "g.example") == read_zone(path, "g.example")
