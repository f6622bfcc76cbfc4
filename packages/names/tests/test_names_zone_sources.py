"""Zones that are elsewhere: in SQLite, and made by functions."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core import run
from sennit.names import Message, Name, RRType
from sennit.names.authority import Authority
from sennit.names.client.udp import exchange_udp
from sennit.names.errors import DNSUsageError, ZoneError
from sennit.names.rdata import basic
from sennit.names.request import Request
from sennit.names.server import DNSServer
from sennit.names.serving.listening import serve_dns
from sennit.names.zone.callable import CallableZone
from sennit.names.zone.data import IZoneData
from sennit.names.zone.sqlite import SQLiteZones, path_of
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from pathlib import Path

PEER = ("127.0.0.1", 53535)
TEXT = """\
$ORIGIN example.org.
$TTL 60
@ SOA ns hostmaster 1 1 1 1 30
@ NS ns
@ MX 1 mail
ns A 192.0.2.1
mail A 192.0.2.2
a.b.c TXT "x y" "\\"z"
*.w A 192.0.2.3
al CNAME mail
sub NS ns.sub
ns.sub A 192.0.2.4
dn DNAME w
\\$o\\.dd A 192.0.2.5
"""
ASKED = [
    (name, rdtype)
    for name in (
        "example.org", "mail.example.org", "a.b.c.example.org", "b.c.example.org",
        "x.w.example.org", "al.example.org", "sub.example.org", "z.sub.example.org",
        "q.dn.example.org", "nope.example.org", "x.mail.example.org", "\\$o\\.dd.example.org",
    )
    for rdtype in (1, 15, 16, 2, 43, 255)
]  # fmt: skip


def request(name: str, rdtype: int) -> Request:
    query = Message.query(name, rdtype)
    return Request(query, query.to_wire(), PEER, max_size=1232)


async def ask(authority: Authority, name: str, rdtype: int) -> Message | None:
    answer: Any = authority.respond(request(name, rdtype))
    return answer if answer is None or isinstance(answer, Message) else await answer


async def same(first: Authority, second: Authority) -> None:
    for name, rdtype in ASKED:
        assert await ask(first, name, rdtype) == await ask(second, name, rdtype), (name, rdtype)


def test_a_database_answers_as_memory_does(tmp_path: Path) -> None:
    zone = read_zone(TEXT.splitlines())

    async def main() -> None:
        async with SQLiteZones(tmp_path / "zones.db") as database:
            await database.store(zone)
            zones = await database.zones()
            assert [str(each.origin) for each in zones] == ["example.org."]
            assert verifyObject(IZoneData, zones[0])
            authority = Authority(sources=zones)
            await same(Authority([zone]), authority)
            await same(Authority([zone]), authority)  # out of what is kept
            assert authority.quick(request("mail.example.org", 1).wire, 512, PEER) is None

    asyncio.run(main())


def test_a_change_in_the_database_is_seen_by_its_version(tmp_path: Path) -> None:
    zone = read_zone(TEXT.splitlines())
    path = tmp_path / "zones.db"
    now = 0.0

    async def main() -> None:
        nonlocal now
        async with SQLiteZones(path, recheck=1.0, time=lambda: now) as database:
            await database.store(zone)
            authority = Authority(sources=await database.zones())

            async def seen() -> list[str]:
                answer = await ask(authority, "mail.example.org", 1)
                assert answer is not None
                return [str(each.rdata) for each in answer.answers]

            assert await seen() == ["192.0.2.2"]
            other = sqlite3.connect(path)
            with other:
                other.execute(
                    "UPDATE records SET data = '192.0.2.9' WHERE name = 'mail.example.org.'"
                )
                other.execute("UPDATE zones SET version = version + 1")
            other.close()
            assert await seen() == ["192.0.2.2"], "for a second a change may stay unseen"
            now = 1.5
            assert await seen() == ["192.0.2.9"]

    asyncio.run(main())


def test_a_row_that_is_no_record_and_a_zone_that_is_gone_are_errors(tmp_path: Path) -> None:
    zone = read_zone(TEXT.splitlines())
    path = tmp_path / "zones.db"

    async def main() -> None:
        async with SQLiteZones(path, recheck=0.0) as database:
            await database.store(zone)
            authority = Authority(sources=await database.zones())
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("UPDATE records SET data = 'x' WHERE name = 'mail.example.org.'")
            with pytest.raises(ZoneError, match=r"mail\.example\.org\. A 'x'"):
                await ask(authority, "mail.example.org", 1)
            other.execute("DELETE FROM zones")
            with pytest.raises(ZoneError, match="no longer"):
                await ask(authority, "ns.example.org", 1)
            other.close()

    asyncio.run(main())


def test_names_kept_of_a_database_have_a_limit(tmp_path: Path) -> None:
    zone = read_zone(TEXT.splitlines())

    async def main() -> None:
        async with SQLiteZones(tmp_path / "zones.db", names=5) as database:
            await database.store(zone)
            (source,) = await database.zones()
            authority = Authority(sources=[source])
            for number in range(20):
                await ask(authority, f"n{number}.example.org", 1)
            assert len(source._cache) <= 5

    asyncio.run(main())


def test_it_works_on_the_reactor_too(tmp_path: Path) -> None:
    zone = read_zone(TEXT.splitlines())
    found: list[Message | None] = []

    async def main(reactor: object) -> None:
        async with SQLiteZones(tmp_path / "zones.db") as database:
            await database.store(zone)
            found.append(await ask(Authority(sources=await database.zones()), "al.example.org", 1))

    run(main)
    assert found
    assert found[0] is not None
    assert len(found[0].answers) == 2


def test_paths_turn_labels_around() -> None:
    assert path_of(Name("WWW.a\\.b.org")) == "org.a\\.b.www."
    assert path_of(Name(".")) == ""


def out_of(text: str) -> dict[Name, list[str]]:
    """What a function would know: records in text, by name; and the names between them."""
    zone = read_zone(text.splitlines())
    return {
        node.name: [
            f"{each.ttl} {RRType(each.rdtype).name} {rdata}"
            for each in node.all_sets()
            for rdata in each.rdatas
        ]
        for node in zone.nodes.values()
    }


@pytest.mark.parametrize("waits", [False, True])
def test_a_function_answers_as_memory_does(waits: bool) -> None:
    known = {Name.from_wire(name.key): found for name, found in out_of(TEXT).items()}

    def plain(name: Name, rdtype: int) -> list[str] | None:
        assert rdtype
        return known.get(name)

    async def waiting(name: Name, rdtype: int) -> list[str] | None:
        await asyncio.sleep(0)
        return plain(name, rdtype)

    source = CallableZone("example.org", waiting if waits else plain)
    assert verifyObject(IZoneData, source)
    asyncio.run(same(Authority([read_zone(TEXT.splitlines())]), Authority(sources=[source])))


def test_a_function_gets_the_soa_and_servers_that_it_does_not_give() -> None:
    asked: list[tuple[str, int]] = []

    def records(name: Name, rdtype: int) -> list[Any] | None:
        asked.append((str(name), rdtype))
        return [basic.TXT(strings=(b"now",))] if str(name).startswith("time.") else None

    authority = Authority(
        sources=[CallableZone("fn.example", records, ns=["ns.example.net."], ttl=5)]
    )
    found = authority.respond(request("time.fn.example", 16))
    assert isinstance(found, Message)
    assert [str(each) for each in found.answers] == ['time.fn.example. 5 IN TXT "now"']
    assert asked == [("fn.example.", 2), ("time.fn.example.", 16)]
    missing = authority.respond(request("nope.fn.example", 16))
    assert isinstance(missing, Message)
    assert missing.rcode == 3
    assert missing.authority[0].ttl == 5
    servers = authority.respond(request("fn.example", 2))
    assert isinstance(servers, Message)
    assert len(servers.answers) == 1


async def test_a_function_that_never_ends_is_servfail_in_time() -> None:
    """Each would keep its place among the questions under way, until there is none left."""

    async def records(name: Name, rdtype: int) -> list[str]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError((name, rdtype))

    authority = Authority(sources=[CallableZone("fn.example", records, timeout=0.01)])
    with pytest.raises(ZoneError, match=r"took over 0\.01 s"):
        await ask(authority, "x.fn.example", 1)
    async with serve_dns(DNSServer(authority), "127.0.0.1", 0) as running:
        answer = await exchange_udp(Message.query("x.fn.example", 1), ("127.0.0.1", running.port))
    assert answer.rcode == 2


def test_types_that_no_zone_holds_are_an_error(tmp_path: Path) -> None:
    """OPT or ANY out of a function or a database would be sent as it stands."""
    authority = Authority(
        sources=[CallableZone("fn.example", lambda name, rdtype: ["TYPE41 \\# 0"])]
    )
    with pytest.raises(ZoneError, match="no type that a zone holds"):
        authority.respond(request("x.fn.example", 41))

    async def stored() -> None:
        async with SQLiteZones(tmp_path / "zones") as database:
            await database.store(read_zone(TEXT.splitlines()))
            with sqlite3.connect(tmp_path / "zones") as raw:
                raw.execute("UPDATE records SET type = 'TYPE41', data = '\\# 0' WHERE type = 'TXT'")
            raw.close()
            sources = Authority(sources=await database.zones())
            with pytest.raises(ZoneError, match="no type that a zone holds"):
                await ask(sources, "a.b.c.example.org", 16)

    asyncio.run(stored())


def test_records_of_a_function_that_cannot_be_are_an_error() -> None:
    authority = Authority(
        sources=[CallableZone("fn.example", lambda name, rdtype: ["CNAME a.", "A 192.0.2.1"])]
    )
    with pytest.raises(ZoneError, match="CNAME and other"):
        authority.respond(request("x.fn.example", 1))
    with pytest.raises(DNSUsageError, match="two sources"):
        Authority(
            sources=[CallableZone("a.", lambda n, t: None), CallableZone("a.", lambda n, t: None)]
        )


def test_the_deepest_zone_answers_wherever_it_is() -> None:
    memory = read_zone(TEXT.splitlines())
    authority = Authority(
        [memory],
        sources=[
            CallableZone("c.example.org", lambda name, rdtype: ["A 192.0.2.77"], ns=["ns"]),
            CallableZone("org", lambda name, rdtype: ["A 192.0.2.78"], ns=["ns"]),
        ],
    )

    def seen(name: str) -> list[str]:
        answer = authority.respond(request(name, 1))
        assert isinstance(answer, Message)
        return [str(each.rdata) for each in answer.answers]

    assert seen("mail.example.org") == ["192.0.2.2"]
    assert seen("a.c.example.org") == ["192.0.2.77"]
    assert seen("other.org") == ["192.0.2.78"]
    assert authority.quick(request("mail.example.org", 1).wire, 512, PEER) is not None
    assert authority.quick(request("a.c.example.org", 1).wire, 512, PEER) is None
