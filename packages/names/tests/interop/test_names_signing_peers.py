"""Zones that we sign, looked through by the tools of others; keys given to them and taken back."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

import pytest

from packages.names.tests.interop.peers import Peers, delv, dig, nsupdate, run_tool
from sennit.names.authority import Authority
from sennit.names.dnssec.digests import cds_for
from sennit.names.dnssec.keyfiles import KeyFolder
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.rollover import KeyRole, RolloverPolicy
from sennit.names.dnssec.signing import KeySet, SigningPolicy, ZoneSigner
from sennit.names.dnssec.upkeep import ZoneUpkeep
from sennit.names.message import Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.dnssec import CDNSKEY
from sennit.names.server import DNSServer
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.listening import serve_dns
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.outgoing import TransferOut
from sennit.names.update.policy import Policy
from sennit.names.update.update import UpdatableZone, Updates
from sennit.names.zone.writer import write_zone
from sennit.names.zone.zone import Changes
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.names.zone.zone import Zone

pytestmark = pytest.mark.interop

ORIGIN: Final = Name("sign.example.")
ZONE: Final = """\
$TTL 3600
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
@ MX 10 mail
ns1 A 127.0.0.1
mail A 192.0.2.1
www CNAME web
web A 192.0.2.2
web TXT "some" "text"
*.wild A 192.0.2.3
a.b.c TXT "deep"
sub NS ns.sub
ns.sub A 192.0.2.4
safe NS ns.safe
safe DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.safe A 192.0.2.5
"""
POLICIES: Final = {
    "nsec": SigningPolicy(),
    "nsec3": SigningPolicy(nsec3=True),
    "opt-out": SigningPolicy(nsec3=True, opt_out=True),
    "salted": SigningPolicy(nsec3=True, salt=b"\xab\xcd", iterations=5),
}
ALGORITHMS: Final = {"rsasha256": 8, "rsasha512": 10, "p256": 13, "p384": 14, "ed25519": 15}


def fresh() -> Zone:
    return read_zone(ZONE.splitlines(), ORIGIN)


def key_set(algorithm: int) -> KeySet:
    ksk = ZoneKey.generate(ORIGIN, algorithm, sep=True)
    zsk = ZoneKey.generate(ORIGIN, algorithm)
    record = ksk.dnskey
    as_key = CDNSKEY(record.flags, record.protocol, record.algorithm, record.public_key)
    return KeySet(
        (ksk.dnskey, zsk.dnskey), (ksk,), (zsk,), (cds_for(ORIGIN, ksk.dnskey),), (as_key,)
    )


def look_through(zone: Zone, folder: Path) -> None:
    """Have each tool find nothing wrong."""
    path = folder / "signed.zone"
    write_zone(zone, path)
    run_tool("dnssec-verify", "-o", str(ORIGIN), str(path))
    assert "verified and complete" in run_tool("ldns-verify-zone", str(path))
    run_tool("kzonecheck", "-o", str(ORIGIN), "-d", "on", str(path))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_tools_find_a_signed_zone_sound_and_a_changed_one(
    policy: SigningPolicy, tmp_path: Path
) -> None:
    zone, now = fresh(), time.time()
    signer = ZoneSigner(ORIGIN, key_set(13), policy)
    zone.apply(signer.sign_whole(zone, now))
    look_through(zone, tmp_path)

    def record(label: str, address: str) -> Record:
        return Record(Name(label, ORIGIN), 1, 3600, A(address))

    change = Changes(
        [record("web", "192.0.2.2"), record("*.wild", "192.0.2.3")],
        [record("new", "192.0.2.6"), record("x.y.z", "192.0.2.7"), record("a.b.c", "192.0.2.8")],
    )
    zone.apply(signer.complete(zone, change, now))
    look_through(zone, tmp_path)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_tools_verify_each_algorithm(algorithm: int, tmp_path: Path) -> None:
    zone = fresh()
    zone.apply(ZoneSigner(ORIGIN, key_set(algorithm)).sign_whole(zone, time.time()))

    look_through(zone, tmp_path)


def test_keys_of_dnssec_keygen_are_taken_over(tmp_path: Path) -> None:
    for words in (["-f", "KSK"], []):
        run_tool("dnssec-keygen", "-K", str(tmp_path), "-a", "ECDSAP256SHA256", *words, str(ORIGIN))

    keys, serial = KeyFolder(tmp_path, ORIGIN).load(time.time())

    assert serial is None
    assert {each.role for each in keys} == {KeyRole.KSK, KeyRole.ZSK}
    ksk, zsk = sorted(keys, key=lambda each: each.role.value)
    zone = fresh()
    used = KeySet((ksk.key.dnskey, zsk.key.dnskey), (ksk.key,), (zsk.key,))
    zone.apply(ZoneSigner(ORIGIN, used).sign_whole(zone, time.time()))
    look_through(zone, tmp_path)


@pytest.mark.parametrize("algorithm", [8, 13, 15])
async def test_dnssec_signzone_signs_with_our_keys(algorithm: int, tmp_path: Path) -> None:
    served = UpdatableZone(fresh())
    policy = RolloverPolicy(algorithm=algorithm, zsk_lifetime=86400.0 * 30)
    upkeep = ZoneUpkeep(served, KeyFolder(tmp_path, ORIGIN), policy)
    await upkeep.prepare()
    await upkeep.aclose()
    await served.aclose()
    (tmp_path / "plain.zone").write_text(ZONE)

    run_tool(
        "dnssec-signzone", "-S", "-K", ".", "-o", str(ORIGIN), "-f", "theirs.zone", "plain.zone",
        folder=tmp_path,
    )  # fmt: skip

    run_tool("dnssec-verify", "-o", str(ORIGIN), str(tmp_path / "theirs.zone"))
    theirs = (tmp_path / "theirs.zone").read_text()
    assert all(f" {each.key.tag} " in theirs for each in upkeep.rollover.keys)
    # What the parent is to have is the same by both.
    ours = (tmp_path / f"dsset-{ORIGIN}").read_text()
    assert f"{upkeep.rollover.keys[0].key.tag} {algorithm} 2" in ours


@pytest.mark.parametrize("policy", [SigningPolicy(), SigningPolicy(nsec3=True)], ids=["1", "3"])
async def test_validators_of_others_find_what_we_serve_secure_also_as_it_changes(
    policy: SigningPolicy, peers: Peers, tmp_path: Path
) -> None:
    served = UpdatableZone(fresh(), policy=Policy(["grant loopback zonesub ANY"]))
    upkeep = ZoneUpkeep(served, KeyFolder(tmp_path / "keys", ORIGIN), RolloverPolicy(), policy)
    await upkeep.prepare()
    zones = ZoneSet([served.zone])
    server = DNSServer(
        Dispatcher(
            Authority(zones),
            transfers=TransferOut(zones, AccessList(["loopback"])),
            update=Updates([served]),
        )
    )
    (ds,) = [each.key.ds() for each in upkeep.rollover.keys]
    (tmp_path / "anchor").write_text(f"{ORIGIN} IN DS {ds.to_text()}\n")
    (tmp_path / "anchors").write_text(
        f'trust-anchors {{ "{ORIGIN}" static-ds {ds.key_tag} {ds.algorithm} {ds.digest_type} '
        f'"{ds.digest.hex()}"; }};\n'
    )

    def look(where: tuple[str, int]) -> None:
        unbound = peers.unbound(
            server=f' trust-anchor-file: "{tmp_path}/anchor"\n val-override-date: "0"',
            extra=f"stub-zone:\n name: {ORIGIN}\n stub-addr: {where[0]}@{where[1]}\n",
        )
        nsupdate(
            where,
            [
                f"zone {ORIGIN}",
                f"update add new.{ORIGIN} 60 A 192.0.2.9",
                f"update delete web.{ORIGIN} TXT",
            ],
        )
        for name, rdtype in (
            ("web", "A"),
            ("www", "A"),
            ("new", "A"),
            ("web", "TXT"),
            ("x.wild", "A"),
            ("x.wild", "TXT"),
            ("nothing", "A"),
            ("b.c", "A"),
            ("safe", "DS"),
            ("sub", "DS"),
            ("", "DNSKEY"),
        ):
            whole = f"{name}.{ORIGIN}" if name else str(ORIGIN)
            found = dig((unbound.host, unbound.port), whole, rdtype, "+dnssec")
            assert found.status in ("NOERROR", "NXDOMAIN"), (name, rdtype, found.text)
            assert "ad" in found.flags, (name, rdtype, found.text)
            said = delv(where, tmp_path / "anchors", str(ORIGIN), whole, rdtype)
            assert re.search("; (negative response, )?fully validated", said), said
        whole_zone = run_tool(
            "dig", "-p", str(where[1]), f"@{where[0]}", str(ORIGIN), "AXFR", "+noall", "+answer",
            "+onesoa",
        )  # fmt: skip
        (tmp_path / "moved.zone").write_text(whole_zone)
        run_tool("ldns-verify-zone", str(tmp_path / "moved.zone"))

    async with serve_dns(server, "127.0.0.1", 0) as running:
        await asyncio.to_thread(look, ("127.0.0.1", running.port))
    await upkeep.aclose()
    await served.aclose()
