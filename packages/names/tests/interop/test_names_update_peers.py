"""Updates by other programs, and ours to other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import dig, nsupdate, run_tool
from packages.names.tests.interop.transfer_ours import HOST, KEY, ORIGIN, ZONE, Ours, tool
from sennit.names.client.stream import StreamClient
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import Rcode
from sennit.names.errors import TSIGError
from sennit.names.tsig import Key
from sennit.names.update.message import Update
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from pathlib import Path

    from packages.names.tests.interop.peers import Peers

pytestmark = pytest.mark.interop

SIGN = ["-y", KEY.to_text()]


def texts(ours: Ours) -> set[str]:
    return {each.to_text(ORIGIN) for each in ours.zone.records()}


async def test_nsupdate_changes_our_zone(tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        script = [
            "zone example.org",
            "prereq nxdomain new.example.org",
            "prereq yxdomain www.example.org",
            "prereq yxrrset www.example.org A",
            "prereq nxrrset www.example.org TXT",
            "prereq yxrrset www.example.org A 192.0.2.80",
            "update add new.example.org 60 A 192.0.2.1",
            'update add new.example.org 60 TXT "two words" "and more"',
            "update delete www.example.org AAAA",
            "update delete mail.example.org",
            "update delete ns.sub.example.org A 192.0.2.53",
        ]
        await tool(nsupdate, (HOST, ours.port), script, *SIGN)

        found = texts(ours)
        assert ours.zone.serial == 2
        assert {
            "new 60 IN A 192.0.2.1",
            'new 60 IN TXT "two words" "and more"',
            "www 300 IN A 192.0.2.80",
        } <= found
        gone = ("mail", "ns.sub", "www 300 IN AAAA")
        assert not [each for each in found if each.startswith(gone)]
        answer = await tool(dig, (HOST, ours.port), "new.example.org", "A")
        assert answer.data == ["192.0.2.1"]
    # What was changed stands in the zone file when the server has ended.
    assert read_zone(tmp_path / "zone", origin=ORIGIN) == ours.zone


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("prereq nxdomain www.example.org", "YXDOMAIN"),
        ("prereq yxdomain no.example.org", "NXDOMAIN"),
        ("prereq nxrrset www.example.org A", "YXRRSET"),
        ("prereq yxrrset www.example.org TXT", "NXRRSET"),
        ("prereq yxrrset www.example.org A 192.0.2.99", "NXRRSET"),
        ("update add www.example.net 60 A 192.0.2.1", "NOTZONE"),
    ],
)
async def test_nsupdate_is_told_what_does_not_hold(tmp_path: Path, line: str, code: str) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        script = ["zone example.org", line, "update add new.example.org 60 A 192.0.2.1"]

        said = await tool(nsupdate, (HOST, ours.port), script, *SIGN, check=False)

        assert f"update failed: {code}" in said
        assert ours.zone.serial == 1


async def test_nsupdate_is_refused_without_the_right(tmp_path: Path) -> None:
    policy = [f"grant {KEY.name} subdomain dyn.example.org A"]
    add = "update add {} 60 A 192.0.2.1"
    async with Ours(tmp_path / "zone", policy=policy).running() as ours:

        async def told(name: str, *words: str) -> str:
            script = ["zone example.org", add.format(name)]
            said: str = await tool(nsupdate, (HOST, ours.port), script, *words, check=False)
            return said

        assert "REFUSED" in await told("a.dyn.example.org")
        assert "REFUSED" in await told("www.example.org", *SIGN)
        wrong = Key(KEY.name, b"x" * 32).to_text()
        assert "BADSIG" in await told("a.dyn.example.org", "-y", wrong)
        assert await told("a.dyn.example.org", *SIGN) == ""
        assert ours.zone.serial == 2


async def test_nsupdate_takes_our_key_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.to_file())
    async with Ours(tmp_path / "zone").running() as ours:
        script = ["zone example.org", "update add new.example.org 60 A 192.0.2.1"]

        await tool(nsupdate, (HOST, ours.port), script, "-k", str(tmp_path / "key"), "-v")

        assert ours.zone.serial == 2


async def test_knsupdate_changes_our_zone(tmp_path: Path) -> None:
    secret = KEY.to_text().rpartition(":")[2]
    async with Ours(tmp_path / "zone").running() as ours:
        script = (
            f"server {HOST} {ours.port}\nzone example.org\nprereq nxdomain new.example.org\n"
            "add new.example.org 60 AAAA 2001:db8::1\ndel www.example.org\nsend\n"
        )

        said = await tool(
            run_tool, "knsupdate", "-y", f"hmac-sha256:{KEY.name}:{secret}", stdin=script
        )

        assert "error" not in said
        assert "new 60 IN AAAA 2001:db8::1" in texts(ours)
        assert not [each for each in texts(ours) if each.startswith("www")]


async def test_our_update_changes_a_zone_of_bind(peers: Peers) -> None:
    named = await tool(
        peers.named,
        {"example.org": ZONE},
        zone_options=f'update-policy {{ grant "{KEY.name}" zonesub ANY; }};',
        extra=KEY.to_file(),
    )
    where = (HOST, named.port)
    first = (
        Update(ORIGIN)
        .require("www", "A", "192.0.2.80")
        .require_absent("new")
        .add("new", 60, "A", "192.0.2.1", "192.0.2.2")
        .delete("www", "AAAA")
        .replace("mail", 60, "MX", "20 new.example.org.")
    ).message()

    async with StreamClient(where) as client:
        assert (await client.exchange(first, key=KEY)).rcode == Rcode.NOERROR
        assert (await client.exchange(first, key=KEY)).rcode == Rcode.YXDOMAIN
        with pytest.raises(TSIGError):
            await client.exchange(first, key=Key(KEY.name, b"x" * 32))
    assert (await exchange_udp(first, where)).rcode == Rcode.REFUSED

    assert (await tool(dig, where, "new.example.org")).data == ["192.0.2.1", "192.0.2.2"]
    assert (await tool(dig, where, "www.example.org", "AAAA")).data == []
    assert (await tool(dig, where, "mail.example.org", "MX")).data == ["20 new.example.org."]


async def test_bind_and_we_do_the_same_with_an_update(peers: Peers, tmp_path: Path) -> None:
    """Whatever is passed over, kept or replaced: both zones are alike behind it."""
    updates = [
        Update(ORIGIN).add("alias", 60, "A", "192.0.2.1"),
        Update(ORIGIN).add("www", 60, "CNAME", "mail.example.org."),
        Update(ORIGIN).add("alias", 60, "CNAME", "mail.example.org."),
        Update(ORIGIN).delete("@", "NS"),
        Update(ORIGIN).delete("@", "NS", "ns1.example.org."),
        Update(ORIGIN).delete("@"),
        Update(ORIGIN).delete("@", "SOA"),
        Update(ORIGIN).add("www", 999, "A", "192.0.2.81"),
        Update(ORIGIN).delete("www", "A", "192.0.2.99"),
        Update(ORIGIN).add("a.b.c", 60, "A", "192.0.2.1").delete("a.b.c"),
        Update(ORIGIN).add("@", 60, "TXT", "x").delete("@", "TXT", "y"),
        Update(ORIGIN).delete("*.wild").add("*", 60, "A", "192.0.2.6"),
        Update(ORIGIN).require_absent("b.wild").add("b.wild", 60, "A", "192.0.2.7"),
        Update(ORIGIN).require("c.wild", "TXT").add("c.wild", 60, "A", "192.0.2.7"),
        Update(ORIGIN).add("odd", 60, 65280, "\\# 1 ff"),
    ]
    named = await tool(
        peers.named,
        {"example.org": ZONE},
        zone_options=f'update-policy {{ grant "{KEY.name}" zonesub ANY; }};',
        extra=KEY.to_file(),
    )
    async with (
        Ours(tmp_path / "zone").running() as ours,
        StreamClient((HOST, named.port)) as theirs,
        StreamClient((HOST, ours.port)) as to_us,
    ):
        for each in updates:
            message = each.message()
            codes = [(await client.exchange(message, key=KEY)).rcode for client in (theirs, to_us)]
            assert codes[0] == codes[1], updates.index(each)
        zones: list[str] = []
        for port in (named.port, ours.port):
            text = await tool(
                run_tool, "dig", "-p", str(port), f"@{HOST}", "-y", KEY.to_text(),
                "example.org", "AXFR", "+onesoa", "+noall", "+answer",
            )  # fmt: skip
            zones.append(text)
        (tmp_path / "theirs").write_text(zones[0])
        assert read_zone(tmp_path / "theirs", origin=ORIGIN) == ours.zone
