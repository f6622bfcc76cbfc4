"""The resolver of a service: whom it trusts, and how it reaches forwarders over TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import trustme

from packages.names.tests.names_service import a, built, running, write_zone
from packages.names.tests.signed_tree import NOW, SignedZone, Tree
from packages.names.tests.test_names_service import provider
from sennit.core import ServerTLS, serve
from sennit.core.errors import ConfigError
from sennit.core.testing.clock import Clock
from sennit.names.codes import RRType
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.numbers import Algorithm
from sennit.names.dnssec.refreshing import AnchorRefresh
from sennit.names.edns import EDNS
from sennit.names.message import AD, Message
from sennit.names.name import Name
from sennit.names.server import DNSServer

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

DAY = 86_400
SIGNED = """\
zones = ["zones/*.zone"]
[service.authority.zone."home.example"]
sign = {keys = "keys"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_zone(tmp_path, "home.example")
    return tmp_path


async def _until_there(path: Path) -> None:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.01)  # a thread writes it, and tells the service alone


async def test_anchors_of_a_file_are_kept_and_what_was_learned_goes_before_them(
    folder: Path, reactor: Reactor
) -> None:
    async with running(folder, reactor, SIGNED, "authority") as other:
        (folder / "anchors").write_text((folder / "keys" / "dsset-home.example.").read_text())
        table = (
            "[service.names.resolver]\nvalidate = true\navoid = []\nanchors = 'anchors'\n"
            "anchor_state = 'state'\n"
            f'stub = {{"home.example" = ["127.0.0.1:{other.udp}"]}}\n'
        )
        wants = EDNS(dnssec_ok=True)
        async with running(folder, reactor, table) as ask:
            found = await ask("www.home.example", edns=wants)
            assert (a(found)[:1], bool(found.flags & AD)) == (["192.0.2.1"], True)
            await _until_there(folder / "state" / "home.example.json")
        wrong = ZoneKey.generate(Name("home.example"), Algorithm.ED25519, sep=True).ds()
        (folder / "anchors").write_text(f"home.example. IN DS {wrong.to_text()}\n")
        async with running(folder, reactor, table) as ask:
            assert (await ask("www.home.example", edns=wants)).flags & AD
        for path in (folder / "state").iterdir():
            path.unlink()
        async with running(folder, reactor, table) as ask:
            assert (await ask("www.home.example", edns=wants)).rcode == 2
        negative = f'{table}negative_anchors = ["home.example"]\n'
        async with running(folder, reactor, negative) as ask:
            found = await ask("www.home.example", edns=wants)
            assert (a(found)[:1], bool(found.flags & AD)) == (["192.0.2.1"], False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('anchor_state = "state"\nvalidate = false\n', "resolver.anchor_state: nothing is valid"),
        ('anchor_state = "state"\n', "root.json"),
        ('negative_anchors = ["a..b"]\n', "resolver.negative_anchors: "),
        ('trust = "bad"\n', "resolver.trust: "),
    ],
)
def test_whom_it_cannot_trust_is_said_with_its_place(folder: Path, text: str, words: str) -> None:
    (folder / "bad").write_text("no certificate")
    (folder / "state").mkdir()
    (folder / "state" / "root.json").write_text("nonsense")
    with pytest.raises(ConfigError) as caught:
        built(folder, f"[service.names.resolver]\n{text}")
    assert words in str(caught.value)


async def test_forwarders_over_tls_are_known_by_certificates_of_ones_own(
    folder: Path, reactor: Reactor
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("dns.example")
    made.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    authority.cert_pem.write_to_path(str(folder / "ours.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "others.pem"))
    tls = ServerTLS(str(folder / "server.pem"), str(folder / "server.pem"), alpn=["dot"])
    async with serve("tls://127.0.0.1:0", DNSServer(provider), tls=tls) as elsewhere:
        for trust, code in (("ours.pem", 0), ("others.pem", 2)):
            table = (
                f"[service.names.resolver]\nvalidate = false\ntrust = '{trust}'\n"
                f'forward = {{"." = ["tls://127.0.0.1:{elsewhere.port}#dns.example"]}}\n'
            )
            async with running(folder, reactor, table) as ask:
                assert (await ask("www.far.example")).rcode == code


def test_keys_are_asked_for_when_their_time_has_come(tmp_path: Path) -> None:
    """RFC 5011 §2.3 and §2.4.1: a new key is believed after it was there for thirty days."""
    zone = SignedZone("test", window=(-3600, 60 * DAY))
    tree = Tree(zone)
    validator = tree.validator()
    asked: list[float] = []
    with Clock() as clock:

        def now() -> float:
            return NOW + clock.time()

        async def fetch(name: Name, rdtype: int) -> Message:
            asked.append(clock.time())
            return await tree.fetch(name, rdtype)

        refresh = AnchorRefresh(validator, tmp_path / "state", fetch, now)
        new = ZoneKey.generate(zone.origin, Algorithm.ED25519, sep=True)

        async def month(_: Clock) -> None:
            refresh.start()
            await asyncio.sleep(DAY)
            keyset = zone.sets[zone.origin, int(RRType.DNSKEY)]
            keyset.rdatas = (zone.key.dnskey, new.dnskey)
            zone.resign(keyset)
            await asyncio.sleep(20 * DAY)
            assert new.dnskey not in validator.anchors.of(zone.origin)
            await asyncio.sleep(12 * DAY)
            assert new.dnskey in validator.anchors.of(zone.origin)
            await refresh.aclose()
            await refresh.aclose()

        clock.run(month, limit=40 * DAY)
    assert asked[0] == 0
    assert 33 <= len(asked) <= 33 * 25
    assert (tmp_path / "state" / "test.json").exists()
