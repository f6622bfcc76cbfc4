"""Local zones, blocklists, and what is remembered of servers."""

from __future__ import annotations

import pytest

from packages.names.tests.resolver_upstream import texts
from sennit.names.codes import Rcode, RRType
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.name import Name
from sennit.names.resolver.forward import Forwards, read_server
from sennit.names.resolver.localzones import (
    Blocklist,
    LocalAnswer,
    LocalZone,
    LocalZones,
    default_zones,
    read_blocklist,
)
from sennit.names.resolver.servers import MOST_WAIT, Server, Servers

A = int(RRType.A)
MX = int(RRType.MX)
DATA = ["www 60 IN A 192.0.2.1", "www A 192.0.2.2", "alias CNAME www.home.example.", "@ MX 1 www"]


def said(kind: str, name: str, rdtype: int = A) -> LocalAnswer | None:
    return LocalZone("home.example.", kind, DATA).answer(Name(name), rdtype)


@pytest.mark.parametrize(
    ("kind", "name", "rdtype", "rcode", "answers"),
    [
        ("static", "www.home.example.", A, Rcode.NOERROR, 2),
        ("static", "WWW.home.example.", MX, Rcode.NOERROR, 0),
        ("static", "gone.home.example.", A, Rcode.NXDOMAIN, 0),
        ("static", "home.example.", A, Rcode.NOERROR, 0),
        ("static", "alias.home.example.", A, Rcode.NOERROR, 1),
        ("refuse", "www.home.example.", A, Rcode.NOERROR, 2),
        ("refuse", "gone.home.example.", A, Rcode.REFUSED, 0),
        ("deny", "gone.home.example.", A, None, 0),
        ("redirect", "any.home.example.", MX, Rcode.NOERROR, 1),
        ("redirect", "any.home.example.", A, Rcode.NOERROR, 0),
        ("nxdomain", "www.home.example.", A, Rcode.NXDOMAIN, 0),
        ("nodata", "www.home.example.", A, Rcode.NOERROR, 0),
        ("null", "www.home.example.", A, Rcode.NOERROR, 1),
        ("null", "www.home.example.", MX, Rcode.NOERROR, 0),
        ("transparent", "www.home.example.", MX, Rcode.NOERROR, 0),
    ],
)
def test_each_kind_says_its_own(
    kind: str, name: str, rdtype: int, rcode: int | None, answers: int
) -> None:
    found = said(kind, name, rdtype)
    assert found is not None
    assert (found.rcode, len(found.answers)) == (rcode, answers)
    if rcode in (0, 3) and not answers:
        assert [str(each.name) for each in found.authority] == ["home.example."]


@pytest.mark.parametrize(
    ("kind", "name", "rdtype"),
    [
        ("transparent", "gone.home.example.", A),
        ("typetransparent", "gone.home.example.", A),
        ("typetransparent", "www.home.example.", MX),
    ],
)
def test_what_is_transparent_is_looked_up(kind: str, name: str, rdtype: int) -> None:
    assert said(kind, name, rdtype) is None


def test_the_deepest_zone_answers() -> None:
    zones = LocalZones([LocalZone("example."), LocalZone("a.example.", "transparent")])
    assert zones.answer(Name("x.a.example."), A) is None
    found = zones.answer(Name("x.example."), A)
    assert found is not None
    assert found.rcode == Rcode.NXDOMAIN
    assert zones.answer(Name("x.other."), A) is None


def test_records_of_a_zone_are_its_own() -> None:
    for text in ("www.other.example. A 192.0.2.1", "www A 192.0.2.1\nx A 192.0.2.2", "www A"):
        with pytest.raises(DNSUsageError):
            LocalZone("home.example.", "static", [text])
    with pytest.raises(DNSUsageError):
        LocalZone("home.example.", "elsewhere")


def test_names_that_are_known_elsewhere_are_not_local() -> None:
    """A forward for corp.home.arpa. or 10.in-addr.arpa. takes the default away."""
    zones = LocalZones(default_zones())
    fewer = zones.without([Name("corp.home.arpa."), Name("1.10.in-addr.arpa."), Name(".")])
    assert fewer.answer(Name("x.corp.home.arpa."), A) is None
    assert fewer.answer(Name("5.1.10.in-addr.arpa."), int(RRType.PTR)) is None
    assert fewer.answer(Name("1.168.192.in-addr.arpa."), A) is not None


def test_the_defaults_are_those_of_the_rfcs() -> None:
    zones = LocalZones(default_zones())
    assert len(zones) > 90
    found = zones.answer(Name("1.0.0.127.in-addr.arpa."), int(RRType.PTR))
    assert found is not None
    assert texts(found.answers) == ["1.0.0.127.in-addr.arpa. 10800 IN PTR localhost."]
    found = zones.answer(Name("deep.localhost."), int(RRType.AAAA))
    assert found is not None
    assert texts(found.answers) == ["deep.localhost. 10800 IN AAAA ::1"]
    for public in ("www.example.org.", "8.8.8.8.in-addr.arpa.", "32.172.in-addr.arpa."):
        assert zones.answer(Name(public), A) is None


def test_a_blocklist_is_read_in_its_usual_forms() -> None:
    lines = [
        "# comment",
        "0.0.0.0 ads.example more.example  # two",
        "127.0.0.1 localhost",
        "||tracker.example^",
        "*.wild.example",
        "plain.example",
        "! other comment",
        "",
        "0.0.0.0 0.0.0.0",
    ]
    names = [str(each) for each in read_blocklist(lines)]
    assert names == [
        "ads.example.",
        "more.example.",
        "tracker.example.",
        "wild.example.",
        "plain.example.",
    ]
    with pytest.raises(PresentationError, match="list:2"):
        read_blocklist(["ok.example", "two words"], "list")


def test_what_is_beneath_a_blocked_name_is_blocked_too() -> None:
    block = Blocklist(["ads.example."], "null", allowed=["good.ads.example."])
    zones = LocalZones((), [block])
    found = zones.answer(Name("x.y.ADS.example."), A)
    assert found is not None
    assert found.blocked
    assert texts(found.answers)[0].endswith("A 0.0.0.0")
    assert zones.answer(Name("x.good.ads.example."), A) is None
    assert zones.answer(Name("myads.example."), A) is None
    assert zones.answer(Name("example."), A) is None


def test_a_look_up_in_a_blocklist_costs_the_same_however_long_it_is() -> None:
    import time
    from functools import partial
    from timeit import Timer

    asked = Name("www.some.example.")
    times: list[float] = []
    for size in (10, 100_000):
        block = Blocklist(Name.from_labels([b"n%d" % i, b"example"]) for i in range(size))
        assert len(block) == size
        found = Timer(partial(block.answer, asked, A), timer=time.process_time)
        times.append(min(found.repeat(number=2000, repeat=5)))
    assert times[1] < 4 * times[0]


# ── servers ──────────────────────────────────────────────────────────────────

ZONE = Name("example.")


def test_quick_servers_are_preferred_and_others_tried_now_and_then() -> None:
    chances = [0.5]
    servers = Servers(100, lambda: chances[0])
    quick, slow = ("192.0.2.1", 53), ("192.0.2.2", 53)
    servers.server(quick).answered(0.01)
    servers.server(slow).answered(0.9)
    for chance in (0.1, 0.5, 0.99):
        chances[0] = chance
        chosen = servers.choose([quick, slow], ZONE, 0, set())
        assert chosen is not None
        assert chosen.address == quick
    draws = iter([0.01, 0.99])
    servers = Servers(100, lambda: next(draws))
    servers.server(quick).answered(0.01)
    servers.server(slow).answered(0.9)
    chosen = servers.choose([quick, slow], ZONE, 0, set())
    assert chosen is not None
    assert chosen.address == slow


def test_silent_servers_pause_longer_each_time() -> None:
    server = Server(("192.0.2.1", 53))
    pauses: list[float] = []
    for _ in range(12):
        server.failed(0)
        pauses.append(server.pause)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 300
    assert server.wait() <= MOST_WAIT
    server.answered(0.1)
    assert server.pause == 0


def test_a_server_that_is_lame_for_a_zone_serves_others() -> None:
    servers = Servers(100, lambda: 0.0)
    one = ("192.0.2.1", 53)
    servers.server(one).mark_lame(ZONE, 0)
    assert servers.choose([one], ZONE, 1, set()) is None
    assert servers.choose([one], Name("other."), 1, set()) is not None
    assert servers.choose([one], ZONE, 4000, set()) is not None
    for index in range(100):
        servers.server(one).mark_lame(Name(f"z{index}."), 0)
    assert len(servers.server(one).lame) <= 20


def test_servers_are_remembered_up_to_a_bound() -> None:
    servers = Servers(50, lambda: 0.0)
    for index in range(500):
        servers.server((f"192.0.2.{index}", 53))
    assert len(servers) == 50
    assert servers.statistics(0)["servers"] == 50


# ── forwards ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "address", "transport"),
    [
        ("192.0.2.1", ("192.0.2.1", 53), "udp"),
        ("192.0.2.1:5353", ("192.0.2.1", 5353), "udp"),
        ("2001:db8::1", ("2001:db8::1", 53), "udp"),
        ("tcp://[2001:db8::1]:5353", ("2001:db8::1", 5353), "tcp"),
        ("tls://192.0.2.1", ("192.0.2.1", 853), "tls"),
        ("tls://192.0.2.1#dns.example", ("192.0.2.1", 853), "tls:dns.example"),
        ("https://dns.example/q", ("https://dns.example/q", 443), "https:https://dns.example/q"),
    ],
)
def test_servers_are_written_so(text: str, address: tuple[str, int], transport: str) -> None:
    found = read_server(text)
    assert (found.address, found.transport) == (address, transport)


def test_the_deepest_forward_is_taken_and_ds_is_the_parents() -> None:
    forwards = Forwards({".": ["192.0.2.1"], "corp.example.": ["192.0.2.2"]})
    found = forwards.find(Name("x.corp.example."), A)
    assert found is not None
    assert str(found.zone) == "corp.example."
    found = forwards.find(Name("corp.example."), int(RRType.DS))
    assert found is not None
    assert str(found.zone) == "."
    with pytest.raises(DNSUsageError):
        Forwards({"corp.example.": []})
