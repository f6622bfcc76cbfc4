"""Transfers with other servers, both ways: AXFR, IXFR and NOTIFY, signed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.names.tests.interop.peers import dig, kdig, nsupdate, program, run_tool
from packages.names.tests.interop.transfer_ours import (
    HOST,
    KEY,
    ORIGIN,
    ZONE,
    OurCopy,
    Ours,
    tool,
    until,
)
from sennit.core import serve
from sennit.core.testing.loopback import free_port
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.names.codes import Rcode
from sennit.names.errors import TSIGError
from sennit.names.transfer.primary import Primary
from sennit.names.transfer.secondary import SecondaryZone
from sennit.names.tsig import Key, keys_from_text
from sennit.names.update.message import Update
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from pathlib import Path

    from packages.names.tests.interop.peers import Daemon, Peers
    from sennit.names.zone.zone import Zone

pytestmark = pytest.mark.interop

SECRET = KEY.to_text().rpartition(":")[2]
NAMED_KEY = KEY.to_file()
NSD_KEY = f'key:\n name: "{KEY.name}"\n algorithm: hmac-sha256\n secret: "{SECRET}"\n'
KNOT_KEY = f"key:\n  - id: {KEY.name}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n"


def anything(name: Any, rdtype: int) -> bool:
    return True


def text_of(zone: Zone) -> set[str]:
    return {str(each) for each in zone.records() if each.rdtype != 6}


async def change(ours: Ours, name: str) -> int:
    message = Update(ORIGIN).add(name, 60, "A", "192.0.2.1").delete("www", "AAAA").message()
    return await ours.holder.update(message, anything)


# ── we are the copy ───────────────────────────────────────────────────────────


async def test_a_copy_of_bind(peers: Peers, tmp_path: Path) -> None:
    """AXFR, then NOTIFY and IXFR, all of it signed."""
    copy = OurCopy()
    async with copy.running():
        named = await tool(
            peers.named,
            {"example.org": ZONE},
            options="notify-delay 0;",
            zone_options=f'allow-transfer {{ key "{KEY.name}"; }}; allow-update {{ any; }};'
            f"notify explicit; also-notify {{ {HOST} port {copy.port} key {KEY.name}; }};",
            extra=NAMED_KEY,
        )
        zone = await copy.copy(named.port, path=tmp_path / "copy")
        await until(lambda: zone.serial == 1, "the first transfer")
        script = ["zone example.org", "update add new.example.org 60 A 192.0.2.9"]
        await tool(nsupdate, (HOST, named.port), script)
        await until(lambda: zone.serial == 2, "the change")
        assert [each.records for each in zone.history.entries] == [3]  # differences, not the whole
        answer = await tool(dig, (HOST, copy.port), "new.example.org", "A")
        assert answer.data == ["192.0.2.9"]
        theirs = await tool(
            run_tool, "dig", "-p", str(named.port), f"@{HOST}", "-y", KEY.to_text(),
            "example.org", "AXFR", "+onesoa", "+noall", "+answer",
        )  # fmt: skip
    (tmp_path / "theirs").write_text(theirs)
    # What we wrote when it ended is what it has.
    assert read_zone(tmp_path / "copy", origin=ORIGIN) == read_zone(
        tmp_path / "theirs", origin=ORIGIN
    )


async def test_bind_refuses_who_signs_with_another_secret(peers: Peers) -> None:
    named = await tool(
        peers.named,
        {"example.org": ZONE},
        zone_options=f'allow-transfer {{ key "{KEY.name}"; }};',
        extra=NAMED_KEY,
    )
    copy = OurCopy()
    async with copy.running():
        zone = await copy.copy(named.port, Key(KEY.name, b"another" * 5))
        await until(lambda: zone.error, "a complaint")
        assert "BADSIG" in zone.error
        assert zone.serial is None


async def test_a_copy_of_nsd(peers: Peers) -> None:
    copy = OurCopy()
    async with copy.running():
        nsd = await tool(
            peers.nsd,
            {"example.org": ZONE},
            zone_options=f" provide-xfr: {HOST} {KEY.name}\n"
            f" notify: {HOST}@{copy.port} {KEY.name}\n store-ixfr: yes\n create-ixfr: yes\n",
            extra=NSD_KEY,
        )
        zone = await copy.copy(nsd.port)
        await until(lambda: zone.serial == 1, "the first transfer")
        changed = ZONE.replace("hostmaster 1 ", "hostmaster 2 ") + "new IN A 192.0.2.9\n"
        (nsd.folder / "0.zone").write_text(changed)
        nsd.reload()
        await until(lambda: zone.serial == 2, "the change")
        assert [each.records for each in zone.history.entries] == [3]
        answer = await tool(dig, (HOST, copy.port), "new.example.org", "A")
        assert answer.data == ["192.0.2.9"]


async def test_a_copy_of_knot(peers: Peers, tmp_path: Path) -> None:
    (tmp_path / "zone").write_text(ZONE)
    copy = OurCopy()
    async with copy.running():
        knot = await tool(
            peers.knotd,
            extra=f"{KNOT_KEY}remote:\n  - id: ours\n    address: {HOST}@{copy.port}\n"
            f"    key: {KEY.name}\nacl:\n  - id: keyed\n    action: [transfer, update]\n"
            f"    key: {KEY.name}\nzone:\n  - domain: example.org\n    acl: keyed\n"
            f"    file: {tmp_path / 'zone'}\n    notify: ours\n    journal-content: all\n"
            "    semantic-checks: off\n",
            answers="example.org",
        )
        zone = await copy.copy(knot.port)
        await until(lambda: zone.serial == 1, "the first transfer")
        where = f"server {HOST} {knot.port}\nzone example.org\n"
        add = "add new.example.org 60 A 192.0.2.9\nsend\n"
        key = f"hmac-sha256:{KEY.name}:{SECRET}"
        await tool(run_tool, "knsupdate", "-y", key, stdin=where + add)
        await until(lambda: zone.serial not in {None, 1}, "the change")
        assert [each.records for each in zone.history.entries] == [3]
        answer = await tool(dig, (HOST, copy.port), "new.example.org", "A")
        assert answer.data == ["192.0.2.9"]


# ── they are the copy ─────────────────────────────────────────────────────────


async def follows(ours: Ours, peer: Daemon, *, incremental: bool = True) -> None:
    """A peer has our zone, and our changes soon after."""
    where = (HOST, peer.port)
    ours.tell(peer.port)
    assert (await tool(dig, where, "mail.example.org", "MX")).data == ["10 www.example.org."]
    before = dict(ours.transfers.counts)
    for name in ("one", "two"):
        assert await change(ours, name) == Rcode.NOERROR
        await until_served(peer, ours.zone.serial)
    assert (await tool(dig, where, "two.example.org", "A")).data == ["192.0.2.1"]
    assert (await tool(dig, where, "www.example.org", "AAAA")).data == []
    kind = "differences" if incremental else "whole"
    assert ours.transfers.counts[kind] > before[kind]


async def until_served(peer: Daemon, serial: int) -> None:
    found: list[str] = []

    for _ in range(300):
        answer = await tool(dig, (HOST, peer.port), "example.org", "SOA", check=False)
        found = answer.data
        if found and f" {serial} " in found[0]:
            return
    raise AssertionError(f"{peer.name} has {found}, not {serial}:\n{peer.output[-2000:]}")


async def test_bind_is_a_copy_of_ours(peers: Peers, tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        named = await tool(
            peers.named,
            options="notify-delay 0; minimal-any no;",
            extra=f'{NAMED_KEY}zone "example.org" {{ type secondary; file "copy"; '
            f'primaries {{ {HOST} port {ours.port} key "{KEY.name}"; }}; }};',
            answers="example.org",
        )
        await follows(ours, named)


async def test_nsd_is_a_copy_of_ours(peers: Peers, tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        nsd = await tool(
            peers.nsd,
            extra=f'{NSD_KEY}zone:\n name: "example.org"\n zonefile: "copy"\n'
            f" request-xfr: {HOST}@{ours.port} {KEY.name}\n allow-notify: {HOST} NOKEY\n",
            answers="example.org",
        )
        await follows(ours, nsd)


async def test_knot_is_a_copy_of_ours(peers: Peers, tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        knot = await tool(
            peers.knotd,
            {"example.org": tmp_path / "knot-copy"},
            zone_options="    master: ours\n",
            extra=f"{KNOT_KEY}remote:\n  - id: ours\n    address: {HOST}@{ours.port}\n"
            f"    key: {KEY.name}\n",
        )
        await follows(ours, knot)


# ── tools ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "algorithm", ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512",
                  "hmac-sha256-128"]
)  # fmt: skip
async def test_dig_takes_a_zone_with_a_key(tmp_path: Path, algorithm: str) -> None:
    key = Key(KEY.name, KEY.secret, algorithm)
    async with Ours(tmp_path / "zone", key=key).running() as ours:
        answer = await tool(
            run_tool, "dig", "-p", str(ours.port), f"@{HOST}", "-y", key.to_text(),
            "example.org", "AXFR", "+onesoa", "+noall", "+answer",
        )  # fmt: skip
        (tmp_path / "theirs").write_text(answer)
        assert read_zone(tmp_path / "theirs", origin=ORIGIN) == ours.zone


async def test_dig_and_kdig_take_differences(tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        assert await change(ours, "one") == Rcode.NOERROR
        assert await change(ours, "two") == Rcode.NOERROR
        where = (HOST, ours.port)
        # dig wants IXFR over TCP unless told; over UDP it is one message.
        tcp = await tool(dig, where, "example.org", "IXFR=1", "-y", KEY.to_text())
        udp = await tool(dig, where, "example.org", "IXFR=1", "-y", KEY.to_text(), "+notcp")
        now = await tool(dig, where, "example.org", "IXFR=3", "-y", KEY.to_text())
        key = f"hmac-sha256:{KEY.name}:{SECRET}"
        theirs = await tool(kdig, where, "example.org", "IXFR=2", "-y", key)

    serials = re.findall(r"SOA\s+\S+ \S+ (\d+) ", tcp.text)
    assert serials == ["3", "1", "2", "2", "3", "3"]
    assert re.findall(r"SOA\s+\S+ \S+ (\d+) ", udp.text) == serials
    assert re.findall(r"SOA\s+\S+ \S+ (\d+) ", now.text) == ["3"]
    assert re.findall(r"SOA\s+\S+ \S+ (\d+) ", theirs.text) == ["3", "2", "3", "3"]


async def test_dig_is_told_when_a_copy_expires(tmp_path: Path) -> None:
    """RFC 7314: asked with SOA, AXFR and IXFR alike."""
    async with Ours(tmp_path / "zone").running() as ours:
        for what in ("SOA", "IXFR=1", "AXFR"):
            words = ("example.org", what, "-y", KEY.to_text(), "+expire", "+comments")
            told = await tool(dig, (HOST, ours.port), *words)
            assert "; EXPIRE: " in told.text, what


async def test_strangers_get_nothing(tmp_path: Path) -> None:
    async with Ours(tmp_path / "zone").running() as ours:
        where = (HOST, ours.port)
        plain = await tool(dig, where, "example.org", "AXFR", check=False)
        wrong = await tool(
            dig, where, "example.org", "AXFR", "-y", Key(KEY.name, b"x" * 32).to_text(), check=False
        )
        unknown = await tool(
            dig, where, "example.org", "AXFR", "-y", Key("no.such", b"x" * 32).to_text(),
            check=False,
        )  # fmt: skip
    assert "Transfer failed" in plain.text
    assert "BADSIG" in wrong.text or "tsig verify failure" in wrong.text
    assert "BADKEY" in unknown.text or "tsig" in unknown.text


async def test_a_key_of_tsig_keygen_is_read(tmp_path: Path) -> None:
    text = run_tool("tsig-keygen", "-a", "hmac-sha512", "k.example")

    (key,) = keys_from_text(text)

    assert (str(key.name), key.algorithm, len(key.secret)) == ("k.example.", "hmac-sha512", 64)


async def test_a_clock_that_is_wrong_is_told_by_bind(peers: Peers) -> None:
    """BADTIME, with the server's time (RFC 8945 §5.2.3)."""
    import time

    from sennit.names.client.udp import exchange_udp
    from sennit.names.message import Message

    program("named")
    named = await tool(
        peers.named,
        {"example.org": ZONE},
        zone_options=f'allow-query {{ key "{KEY.name}"; }};',
        extra=NAMED_KEY,
    )
    real = time.time
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sennit.names.client.udp.time.time", lambda: real() - 4000)
        with pytest.raises(TSIGError) as caught:
            await exchange_udp(Message.query("www.example.org"), (HOST, named.port), key=KEY)

    assert caught.value.error == Rcode.BADTIME
    assert caught.value.server_time == pytest.approx(real(), abs=5)


# ── over TLS (RFC 9103) ───────────────────────────────────────────────────────


async def test_a_zone_is_transferred_over_tls(peers: Peers, tmp_path: Path) -> None:
    """To kdig, to a copy of ours, and from BIND: who serves is known by its certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert("ns.example", HOST)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(chain))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    believed = ClientTLS(trust=str(tmp_path / "ca.pem"))
    async with Ours(tmp_path / "zone").running() as ours:
        tls = ServerTLS(str(chain))
        async with serve(f"tls://{HOST}:0", ours.server, tls=tls) as listening:
            where = (HOST, listening.port)
            signed = ["-y", f"hmac-sha256:{KEY.name}:{SECRET}"]
            theirs = await tool(kdig, where, "example.org", "AXFR", "+tls", *signed)
            assert len(theirs.text.splitlines()) > len(ZONE.splitlines())
            copy = SecondaryZone(
                ORIGIN,
                [Primary(f"tls://{HOST}:{listening.port}#ns.example", KEY, tls=believed)],
                ZoneSet(),
            )
            await copy.start()
            assert await copy.wait() == ours.zone
            await copy.aclose()
            stranger = SecondaryZone(
                ORIGIN, [Primary(f"tls://{HOST}:{listening.port}#ns.example", KEY)], ZoneSet()
            )
            await stranger.start()
            await until(lambda: stranger.error, "a complaint")
            assert stranger.serial is None
            await stranger.aclose()

    port = free_port()
    await tool(
        peers.named,
        {"example.org": ZONE},
        options=f"listen-on port {port} tls ours {{ {HOST}; }};",
        zone_options="allow-transfer transport tls { any; };",
        extra=f'tls ours {{ key-file "{key}"; cert-file "{chain}"; }};',
    )
    copy = SecondaryZone(
        ORIGIN, [Primary(f"tls://{HOST}:{port}#ns.example", tls=believed)], ZoneSet()
    )
    await copy.start()
    assert text_of(await copy.wait()) >= {"www.example.org. 300 IN A 192.0.2.80"}
    await copy.aclose()
