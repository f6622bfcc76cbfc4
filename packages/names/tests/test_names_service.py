"""The DNS service: each key of its configuration does what its help says, or is told of by name."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.names_service import (
    KEY,
    KEYS,
    Asked,
    a,
    built,
    context_of,
    running,
    write_zone,
)
from sennit.core.errors import ConfigError
from sennit.core.service.loading import load
from sennit.core.service.options import attribute_help
from sennit.core.service.tree import StartError
from sennit.core.testing.leaks import open_descriptors
from sennit.names import (
    Authority,
    DNSServer,
    Message,
    Record,
    RRType,
    Update,
    exchange_udp,
    serve_dns,
)
from sennit.names.client.stream import StreamClient
from sennit.names.client.transfers import axfr, update
from sennit.names.config import (
    DNSConfig,
    KeyTable,
    ResolverTable,
    SecondaryTable,
    SignTable,
    ZoneTable,
)
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSError, LookupTimeoutError, ResponseError, TransferError
from sennit.names.message import RA, TC
from sennit.names.plugin import dns
from sennit.names.rdata.address import A
from sennit.names.service import DNSService, build_dns, sample_files, try_dns
from sennit.names.zone.sqlite import SQLiteZones
from sennit.names.zone.zonefile import read_zone

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.names.request import Request

ZONES = 'zones = ["zones/*.zone"]\n'
NSID, COOKIE, PADDING = 3, 10, 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_zone(tmp_path, "home.example")
    return tmp_path


# ── zones ─────────────────────────────────────────────────────────────────────


async def test_it_answers_from_its_zone_files_over_udp_and_tcp(
    folder: Path, reactor: Reactor
) -> None:
    write_zone(folder, "other.example", more="www AAAA 2001:db8::1\n")
    async with running(folder, reactor, ZONES) as ask:
        assert a(await ask("www.home.example")) == ["192.0.2.1"]
        assert a(await ask("www.home.example", tcp=True)) == ["192.0.2.1"]
        assert a(await ask("www.other.example", "AAAA")) == ["2001:db8::1"]
        assert (await ask("none.home.example")).rcode == 3
        assert (await ask("www.elsewhere.example")).rcode == 5


async def test_sqlite_zones_are_answered_and_found_at_a_reload(
    folder: Path, reactor: Reactor
) -> None:
    async with SQLiteZones(folder / "zones.db") as database:
        await database.store(read_zone(write_zone(folder, "one.example"), "one.example"))
        async with running(folder, reactor, 'sqlite = "zones.db"\n') as ask:
            assert a(await ask("www.one.example")) == ["192.0.2.1"]
            assert (await ask("www.two.example")).rcode == 5
            await database.store(read_zone(write_zone(folder, "two.example"), "two.example"))
            put = await ask.service.prepare_reload()
            assert put is not None
            put()
            assert a(await ask("www.two.example")) == ["192.0.2.1"]
            assert a(await ask("www.one.example")) == ["192.0.2.1"]


# ── who answers for others ────────────────────────────────────────────────────


def provider(request: Request) -> Message:
    """Another resolver: it knows one address, and that of any name."""
    reply = request.message.reply(flags=RA)
    if request.message.question.rdtype == RRType.A:
        reply.answers.append(Record(request.message.question.name, 1, 300, A("192.0.2.99")))
    return reply


async def test_a_resolver_answers_for_all_other_names_as_its_table_says(
    folder: Path, reactor: Reactor
) -> None:
    (folder / "ads.txt").write_text("# of somebody\n0.0.0.0 ads.example\ntracker.example\n")
    async with serve_dns(DNSServer(provider), "127.0.0.1", 0) as elsewhere:
        table = (
            f"{ZONES}[service.names.resolver]\n"
            f'forward = {{"." = ["127.0.0.1:{elsewhere.port}"]}}\n'
            "validate = false\navoid = []\n"
            'local = {"lan.example" = "static", "old.example" = "refuse"}\n'
            'data = ["nas.lan.example 60 A 10.0.0.5", "pin.example 60 A 10.0.0.6", '
            '"pin.example 60 AAAA fd00::6", "5.0.0.10.in-addr.arpa 60 PTR nas.lan.example"]\n'
            'block = ["ads.txt"]\nblock_with = "null"\nallow_names = ["good.ads.example"]\n'
            "prefetch = false\nentries = 100\nstale = 0\nipv6 = false\nmix_case = true\n"
            'minimise = "strict"\nport = 5353\n'
        )
        async with running(folder, reactor, table) as ask:
            assert a(await ask("www.home.example")) == ["192.0.2.1"], "zones come first"
            assert a(await ask("www.far.example")) == ["192.0.2.99"]
            assert a(await ask("nas.lan.example")) == ["10.0.0.5"]
            assert (await ask("none.lan.example")).rcode == 3
            assert (await ask("www.old.example")).rcode == 5
            assert a(await ask("pin.example")) == ["10.0.0.6"]
            assert a(await ask("pin.example", "AAAA")) == ["fd00::6"], "all data of the name"
            assert a(await ask("www.pin.example")) == ["192.0.2.99"], "beneath it is looked up"
            assert a(await ask("5.0.0.10.in-addr.arpa", "PTR")) == ["nas.lan.example."]
            assert (await ask("6.0.0.10.in-addr.arpa", "PTR")).rcode == 3, "private: not asked"
            assert a(await ask("www.ads.example")) == ["0.0.0.0"]
            assert a(await ask("tracker.example")) == ["0.0.0.0"]
            assert a(await ask("good.ads.example")) == ["192.0.2.99"]
            resolver = ask.service.resolver
            assert resolver is not None
            assert resolver.statistics()["upstream_queries"] == 3


async def test_a_blocklist_that_changed_holds_after_a_reload(
    folder: Path, reactor: Reactor
) -> None:
    (folder / "ads.txt").write_text("ads.example\n")
    async with serve_dns(DNSServer(provider), "127.0.0.1", 0) as elsewhere:
        table = (
            "[service.names.resolver]\nvalidate = false\navoid = []\n"
            f'forward = {{"." = ["127.0.0.1:{elsewhere.port}"]}}\nblock = ["ads.txt"]\n'
        )
        async with running(folder, reactor, table) as ask:
            assert (await ask("www.ads.example")).rcode == 3
            for _ in range(3):
                assert a(await ask("www.new.example")) == ["192.0.2.99"]
            (folder / "ads.txt").write_text("new.example\n")
            put = await ask.service.prepare_reload()
            assert put is not None
            put()
            assert a(await ask("www.ads.example")) == ["192.0.2.99"]
            assert (await ask("www.new.example")).rcode == 3, "also out of the cache"
            (folder / "ads.txt").write_text("not a name\n")
            with pytest.raises(ConfigError, match=r"ads\.txt:1"):
                await ask.service.prepare_reload()
            assert (await ask("www.new.example")).rcode == 3


async def test_a_stub_zone_is_asked_of_its_own_servers_and_roots_of_a_file(
    folder: Path, reactor: Reactor
) -> None:
    write_zone(folder, "inner.example")
    inner = ZONES.replace("*", "inner.example")
    async with running(folder, reactor, inner, "inner") as other:
        (folder / "roots").write_text(
            "; of our own\n. 3600000 NS a.root.example.\na.root.example. 3600000 A 127.0.0.1\n"
        )
        table = (
            "[service.names.resolver]\nvalidate = false\navoid = []\nroots = 'roots'\n"
            f'port = {other.udp}\nstub = {{"inner.example" = ["127.0.0.1:{other.udp}"]}}\n'
        )
        async with running(folder, reactor, table) as ask:
            assert a(await ask("www.inner.example")) == ["192.0.2.1"]
            # The "root" is a server that refuses.
            assert (await ask("www.far.example")).rcode == 2


async def test_an_answer_of_ours_says_whether_there_is_recursion_for_who_asks(
    folder: Path, reactor: Reactor
) -> None:
    """RFC 1035 §4.1.1: RA is of the server, not of the zone."""
    for more, told in (
        ("recursion = true\n", RA),
        ("", 0),
        ('[service.names.resolver]\nallow = ["192.0.2.0/24"]\n', 0),
    ):
        async with running(folder, reactor, ZONES + more) as ask:
            for _ in range(3):  # the long way, and the short one
                assert (await ask("www.home.example")).flags & RA == told
            assert (await ask("none.home.example", tcp=True)).flags & RA == told


async def test_strangers_get_no_recursion(folder: Path, reactor: Reactor) -> None:
    more = '[service.names.resolver]\nallow = ["192.0.2.0/24"]\n'
    async with running(folder, reactor, ZONES + more) as ask:
        assert (await ask("www.far.example")).rcode == 5
        assert a(await ask("www.home.example")) == ["192.0.2.1"]


async def test_recursion_is_a_resolver_with_the_defaults(folder: Path, reactor: Reactor) -> None:
    async with running(folder, reactor, "recursion = true\n") as ask:
        assert a(await ask("localhost")) == ["127.0.0.1"]
        assert ask.service.resolver is not None
    assert built(folder, ZONES).resolver is None


# ── how it answers ────────────────────────────────────────────────────────────


async def test_any_and_rotate_and_payload_do_what_they_say(folder: Path, reactor: Reactor) -> None:
    more = "".join(f"many A 192.0.2.{each}\n" for each in range(1, 61))
    write_zone(folder, "home.example", more=more)
    async with running(folder, reactor, f"{ZONES}rotate = true\npayload = 512\n") as ask:
        assert [each.rdtype for each in (await ask("www.home.example", "ANY")).answers] == [13]
        big = EDNS(4096)
        assert (await ask("many.home.example", edns=big)).flags & TC
        firsts = {a(await ask("many.home.example", tcp=True))[0] for _ in range(8)}
        assert len(firsts) > 1
    async with running(folder, reactor, f'{ZONES}any = "full"\npayload = 4096\n') as ask:
        assert len((await ask("home.example", "ANY")).answers) == 1
        everything = await ask("home.example", "ANY", tcp=True)
        assert {each.rdtype for each in everything.answers} == {2, 6}
        whole = await ask("many.home.example", edns=big)
        assert not whole.flags & TC
        assert len(whole.answers) == 60
    async with running(folder, reactor, f'{ZONES}any = "smallest"\n') as ask:
        assert len((await ask("home.example", "ANY")).answers) == 1


async def test_it_tells_its_name_and_has_cookies_with_a_secret_that_servers_share(
    folder: Path, reactor: Reactor
) -> None:
    (folder / "cookie").write_text("e5e973e5a6b2a43f48e7dc849e37bfcf\n")
    told = (
        f'{ZONES}nsid = "ns1"\nidentity = {{"id.server" = "here"}}\n'
        'cookie_secret = {file = "cookie"}\n'
    )
    mine = EDNS(1232, options=[Option(COOKIE, bytes(8)), Option(NSID, b"")])
    async with (
        running(folder, reactor, told) as one,
        running(folder, reactor, told, "two") as two,
        running(folder, reactor, f"{ZONES}cookies = false\n", "three") as three,
    ):
        first = (await one("www.home.example", edns=mine)).edns
        assert first is not None
        options = {each.code: each.data for each in first.options}
        assert options[NSID] == b"ns1"
        assert len(options[COOKIE]) == 24
        again = EDNS(1232, options=[Option(COOKIE, options[COOKIE])])
        second = (await two("www.home.example", edns=again)).edns
        assert second is not None
        assert {each.code for each in second.options} == {COOKIE}
        none = (await three("www.home.example", edns=mine)).edns
        assert none is not None
        assert not none.options
        assert a(await one("id.server", "TXT", rdclass=3)) == ['"here"']
        assert (await three("id.server", "TXT", rdclass=3)).rcode == 5


async def test_rates_and_connections_have_the_limits_that_were_given(
    folder: Path, reactor: Reactor
) -> None:
    limits = "rate = 2\nslip = 0\ncount_loopback = true\nmax_per_address = 1\nmax_connections = 9\n"
    async with running(folder, reactor, f"{ZONES}{limits}in_flight = 3\nidle = 7\n") as ask:
        began = time.monotonic()
        for _ in range(2):
            assert a(await ask("www.home.example")) == ["192.0.2.1"]
        # All at once: one after the other may take so long that each of them is within the rate.
        asked = [ask("www.home.example", timeout=0.2) for _ in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        silent = sum(isinstance(each, LookupTimeoutError) for each in answers)
        assert 10 - silent <= 2 * (time.monotonic() - began)
        given = ask.service.server.limits
        assert (given.in_flight, given.idle, given.connections) == (3, 7, 9)
        query = Message.query("www.home.example")
        async with StreamClient(("127.0.0.1", ask.tcp)) as client:
            assert a(await client.exchange(query)) == ["192.0.2.1"]
            with pytest.raises(DNSError):
                await ask("www.home.example", tcp=True)


async def test_questions_are_logged_where_that_was_asked_for(
    folder: Path, reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(folder, reactor, f"{ZONES}query_log = true\n") as ask:
        await ask("www.home.example")
    assert any("www.home.example" in each.getMessage() for each in caplog.records)


# ── who may have zones, and change them ───────────────────────────────────────


async def whole(ask: Asked, zone: str = "home.example", **options: object) -> int:
    server = f"127.0.0.1:{ask.tcp}"
    return len([each async for each in axfr(zone, server, **options)])  # type: ignore[arg-type]  # a key


async def test_zones_are_given_whole_to_those_who_are_named(folder: Path, reactor: Reactor) -> None:
    write_zone(folder, "open.example")
    text = (
        f'{ZONES}transfer = ["loopback key:mover.example"]\n'
        f'[service.names.zone."open.example"]\ntransfer = ["loopback"]\n{KEYS}'
    )
    async with running(folder, reactor, text) as ask:
        with pytest.raises(TransferError, match="REFUSED"):
            await whole(ask)
        assert await whole(ask, key=KEY) == 4
        assert await whole(ask, "open.example") == 4
    async with running(folder, reactor, ZONES) as ask:
        with pytest.raises(TransferError, match="REFUSED"):
            await whole(ask)


async def test_updates_are_for_those_who_are_named_and_stay_through_a_restart(
    folder: Path, reactor: Reactor
) -> None:
    text = (
        f"{ZONES}"
        '[service.names.zone."home.example"]\n'
        f'update = ["grant mover.example subdomain dyn.home.example A"]\n{KEYS}'
    )
    change = Update("home.example").add("a.dyn.home.example", 60, "A", "192.0.2.7")
    async with running(folder, reactor, text) as ask:
        server = f"127.0.0.1:{ask.udp}"
        with pytest.raises(ResponseError, match="REFUSED"):
            await update(change, server)
        with pytest.raises(ResponseError, match="REFUSED"):
            await update(Update("home.example").add("b", 60, "A", "192.0.2.7"), server, key=KEY)
        await update(change, server, key=KEY)
        assert a(await ask("a.dyn.home.example")) == ["192.0.2.7"]
        # Its file is ours now: one that somebody changes meanwhile is not read again.
        put = await ask.service.prepare_reload()
        assert put is not None
        put()
        assert a(await ask("a.dyn.home.example")) == ["192.0.2.7"]
    async with running(folder, reactor, text) as ask:
        assert a(await ask("a.dyn.home.example")) == ["192.0.2.7"]
        assert a(await ask("home.example", "SOA"))[0].split()[2] == "2"
    async with running(folder, reactor, ZONES) as ask:
        assert a(await ask("a.dyn.home.example")) == ["192.0.2.7"], "written into the zone file"


# ── what is wrong is told by its place ────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing to answer with"),
        (f"{ZONES}colour = 1\n", "colour: found an unknown key"),
        (f'{ZONES}any = "all"\n', "any: "),
        (f"{ZONES}payload = 100\n", "payload: "),
        (f"{ZONES}payload = 65508\n", "payload: "),
        (f"{ZONES}idle = 0\n", "idle: "),
        (f"{ZONES}in_flight = 0\n", "in_flight: "),
        (f"{ZONES}rate = -1\n", "rate: "),
        (f"{ZONES}slip = -1\n", "slip: "),
        (f'{ZONES}cookie_secret = "secret"\n', "cookie_secret: "),
        (f'{ZONES}cookie_secret = {{file = "none"}}\n', "cookie_secret"),
        (f'{ZONES}cookie_secret = {{file = "mover.secret"}}\n', "cookie_secret"),
        (f'{ZONES}transfer = ["somewhere"]\n', "names.toml:4: [service.names] transfer: "),
        (f'{ZONES}transfer = ["key:nobody"]\n', "there is no key nobody.; known are: none"),
        (f'{ZONES}transfer = [""]\n', "write any"),
        (f'{ZONES}notify = ["tls://192.0.2.1"]\n', "notify: found 'tls://192.0.2.1'"),
        (f'{ZONES}notify = ["ns2.example"]\n', "given by its address"),
        (f'{ZONES}notify = ["192.0.2.1 key:nobody"]\n', "there is no key nobody."),
        (f'{ZONES}notify = ["192.0.2.1 mover"]\n', "and perhaps key:NAME behind it"),
        (f'{ZONES}identity = {{"a..b" = "x"}}\n', "identity: "),
        (f'{ZONES}identity = {{"id.server" = "{"x" * 256}"}}\n', "identity.id.server: "),
        (f'{ZONES}sqlite = "none.db"\n', "sqlite: "),
        (f'{ZONES}[service.names.keys.k]\nsecret = {{file = "bad"}}\n', "keys.k.secret: "),
        (f'{ZONES}[service.names.keys.k]\nsecret = "AAAA"\n', "keys.k.secret: "),
        (
            f'{ZONES}[service.names.keys.k]\nalgorithm = "hmac-md5"\nsecret = {{file = "bad"}}\n',
            "keys.k.algorithm: ",
        ),
        (
            f'{ZONES}[service.names.zone."home.example"]\nupdate = ["grant k zonesub"]\n',
            "names.toml:5: [service.names] zone.home.example.update: there is no key k.",
        ),
        (
            f'{ZONES}[service.names.zone."home.example"]\nupdate = ["let k"]\n',
            "write grant|deny WHO NAMES",
        ),
        (
            f'{ZONES}[service.names.zone."home.example"]\nnotify = ["x"]\n',
            "zone.home.example.notify: ",
        ),
        (f'{ZONES}[service.names.zone."a..b"]\n', "zone: "),
        ('[service.names.secondary."a.example"]\n', "primaries"),
        ('[service.names.secondary."a.example"]\nprimaries = []\n', "primaries"),
        (
            '[service.names.secondary."a.example"]\nprimaries = ["https://192.0.2.1"]\n',
            "names.toml:4: [service.names] secondary.a.example.primaries: ",
        ),
        (
            (
                '[service.names.secondary."a.example"]\nprimaries = ["192.0.2.1"]\n'
                'allow_notify = ["key:x"]\n'
            ),
            "names.toml:5: [service.names] secondary.a.example.allow_notify: there is no key x.",
        ),
        (
            (
                '[service.names.secondary."a.example"]\nprimaries = ["192.0.2.1"]\n'
                '[service.names.secondary."A.example."]\nprimaries = ["192.0.2.1"]\n'
            ),
            "is there already",
        ),
        ('[service.names.resolver]\nforward = {"." = ["dns.example"]}\n', "resolver: "),
        ('[service.names.resolver]\nforward = {"a..b" = ["9.9.9.9"]}\n', "resolver.forward: "),
        ('[service.names.resolver]\nallow = ["nobody"]\n', "resolver"),
        ('[service.names.resolver]\nlocal = {"x.example" = "odd"}\n', "resolver.local"),
        ('[service.names.resolver]\ndata = ["x.example A"]\n', "resolver.data: "),
        ('[service.names.resolver]\nblock = ["none.txt"]\n', "resolver.block"),
        ('[service.names.resolver]\nblock = ["bad"]\n', "bad:1: "),
        ('[service.names.resolver]\nroots = "bad"\n', "resolver.roots: "),
        ('[service.names.resolver]\nanchors = "bad"\n', "resolver.anchors: "),
    ],
)
def test_a_broken_table_gives_one_message_with_its_place(
    folder: Path, text: str, words: str
) -> None:
    (folder / "bad").write_text("this is !\n")
    with pytest.raises(ConfigError) as caught:
        built(folder, text)
    assert words in str(caught.value)
    assert "names.toml" in str(caught.value)


def test_a_secret_is_not_in_the_file_and_not_in_what_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        built(folder, f'{ZONES}[service.names.keys.k]\nsecret = "c2VjcmV0c2VjcmV0"\n')
    assert "c2VjcmV0" not in str(caught.value)
    assert "c2VjcmV0" not in repr(built(folder, ZONES + KEYS)._config)


@pytest.mark.parametrize(
    ("zone", "text", "words"),
    [
        ("x A 192.0.2.300\n", ZONES, r"home\.example\.zone:6: .*192\.0\.2\.300"),
        ("", 'zones = ["zones/none.example.zone"]\n', r"none\.example\.zone: No such file"),
        ("", 'zones = ["nowhere/*.zone"]\n', r"no zone file at .*nowhere/\*\.zone"),
        (
            "",
            f'{ZONES}[service.names.zone."home.exmaple"]\n',
            r"no file of a zone home\.exmaple\.; there are: home\.example\.",
        ),
        (
            "",
            f'{ZONES}[service.names.secondary."home.example"]\nprimaries = ["192.0.2.1"]\n',
            "has a zone file and is a copy",
        ),
        (
            "",
            (
                '[service.names.zone."a.example"]\n'
                '[service.names.secondary."a.example"]\nprimaries = ["192.0.2.1"]\n'
            ),
            "say that in its table secondary",
        ),
        ("", 'sqlite = "mover.secret"\n', "sqlite: .*mover.secret: file is not a database"),
    ],
)
async def test_what_is_wrong_with_zones_is_told_and_nothing_is_left_open(
    folder: Path, reactor: Reactor, zone: str, text: str, words: str
) -> None:
    write_zone(folder, "home.example", more=zone)
    before = open_descriptors(files=True)
    with pytest.raises(StartError, match=words):
        async with running(folder, reactor, text):
            raise AssertionError("it started")
    assert open_descriptors(files=True).keys() == before.keys()


async def test_an_address_in_use_closes_what_was_opened(folder: Path, reactor: Reactor) -> None:
    write_zone(folder, "b.example")
    async with running(folder, reactor, ZONES, "first") as first:
        before = open_descriptors(files=True)
        taken = (
            f'listen = ["udp://127.0.0.1:{first.udp}"]\nzones = ["zones/b.example.zone"]\n'
            '[service.names.zone."b.example"]\nupdate = ["grant loopback zonesub"]\n'
        )
        with pytest.raises(StartError, match="in use"):
            async with running(folder, reactor, taken, listen=False):
                raise AssertionError("it started")
        assert open_descriptors(files=True).keys() == before.keys()


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ('[service.names.zone."home.example"]\nupdate = ["grant loopback zonesub"]\n', True),
        ('[service.names.zone."home.example"]\nsign = {keys = "keys"}\n', True),
        ('[service.names.secondary."a.example"]\nprimaries = ["192.0.2.1"]\n', True),
        ("recursion = true\n", False),
    ],
)
def test_workers_are_for_zones_that_nobody_changes(folder: Path, more: str, refused: bool) -> None:
    file = folder / "sennit.toml"
    file.write_text(f'[service.names]\ntype = "dns"\n{ZONES}{more}')
    (configured,) = load(file).services
    assert isinstance(configured.config, DNSConfig)

    def make(worker: int) -> DNSService:
        context = context_of(folder, worker)
        assert isinstance(configured.config, DNSConfig)
        return build_dns(configured.config, context)

    make(0)
    if refused:
        with pytest.raises(ConfigError, match="without workers"):
            make(1)
    else:
        make(1)


# ── what the command line and others see ──────────────────────────────────────


@pytest.mark.parametrize(
    "table", [DNSConfig, KeyTable, ResolverTable, SecondaryTable, SignTable, ZoneTable]
)
def test_every_key_says_what_it_is(table: type) -> None:
    helps = attribute_help(table)
    fields: tuple[str, ...] = getattr(table, "__struct_fields__", ())
    assert fields
    assert [key for key in fields if not helps.get(key)] == []


def test_it_is_tried_by_asking_for_the_first_zone(folder: Path) -> None:
    urls = ["udp://127.0.0.1:5300", "tcp://127.0.0.1:53", "tls://[::1]:853", "unix:/run/x"]
    config = built(folder, ZONES)._config
    write_zone(folder, "zebra.example")
    assert try_dns(config, urls) == [
        "sennit dig @127.0.0.1 -p 5300 home.example. SOA",
        "sennit dig @127.0.0.1 -p 53 home.example. SOA +tcp",
        "sennit dig @::1 -p 853 home.example. SOA +tls",
    ]
    copied = '[service.names.secondary."a.example"]\nprimaries = ["192.0.2.1"]\n'
    assert try_dns(built(folder, copied)._config, urls[:1]) == [
        "sennit dig @127.0.0.1 -p 5300 a.example SOA"
    ]
    assert try_dns(built(folder, "recursion = true\n")._config, urls[:1]) == [
        "sennit dig @127.0.0.1 -p 5300 localhost A"
    ]


def test_a_check_reads_the_zones_and_says_what_is_odd(folder: Path) -> None:
    assert any("two servers" in each for each in built(folder, ZONES).examine())
    write_zone(folder, "zebra.example", more="x A 192.0.2.300\n")
    with pytest.raises(StartError, match=r"zebra\.example\.zone:\d+: .*192\.0\.2\.300"):
        built(folder, ZONES).examine()


async def test_what_a_new_configuration_has_works(tmp_path: Path, reactor: Reactor) -> None:
    for name, text in sample_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert dns.sample == {
        "listen": ["udp://127.0.0.1:5300", "tcp://127.0.0.1:5300"],
        "zones": ["zones/*.zone"],
    }
    async with running(tmp_path, reactor, ZONES) as ask:
        assert a(await ask("www.home.example")) == ["192.0.2.80"]


def test_the_plugin_describes_it() -> None:
    assert dns.config_type() is DNSConfig
    assert dns.positional == ("zones",)


@pytest.mark.sennit(leaks=True)
async def test_the_end_closes_everything(folder: Path, reactor: Reactor) -> None:
    async with SQLiteZones(folder / "zones.db") as database:
        await database.store(read_zone(write_zone(folder, "one.example"), "one.example"))
    (folder / "zones/one.example.zone").unlink()
    text = (
        f'{ZONES}sqlite = "zones.db"\nrecursion = true\nnotify = ["127.0.0.1:9"]\n'
        '[service.names.zone."home.example"]\nupdate = ["grant loopback zonesub"]\n'
        '[service.names.secondary."a.example"]\nprimaries = ["127.0.0.1:9"]\n'
    )
    before = open_descriptors(files=True)
    async with running(folder, reactor, text) as ask:
        await update(Update("home.example").add("x", 60, "A", "192.0.2.7"), f"127.0.0.1:{ask.udp}")
        assert a(await ask("x.home.example", tcp=True)) == ["192.0.2.7"]
        assert a(await ask("www.one.example")) == ["192.0.2.1"]
        assert (await ask("www.a.example")).rcode == 2, "a copy that is not there yet"
    assert open_descriptors(files=True).keys() == before.keys()


async def test_a_server_of_zones_alone_refuses_what_it_does_not_have(
    folder: Path, reactor: Reactor
) -> None:
    zone = read_zone(folder / "zones/home.example.zone", "home.example")
    async with serve_dns(DNSServer(Authority([zone])), "127.0.0.1", 0) as server:
        for name, rdtype, rcode in (
            ("www.home.example", 1, 0),
            ("www.home.example", 1, 0),
            ("www.elsewhere.example", 1, 5),
            (".", 1, 5),
        ):
            query = Message.query(name, rdtype)
            answer = await exchange_udp(query, ("127.0.0.1", server.port))
            assert (name, answer.rcode) == (name, rcode)
