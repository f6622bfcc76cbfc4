"""The client's parts: resolv.conf, hosts, servers by URL, reverse names, selection of targets."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core import run
from sennit.names.client.hosts import parse_hosts
from sennit.names.client.resolvconf import ResolvConf, Watched, parse_resolv_conf
from sennit.names.client.reverse import address_of, classless_zone, reverse_name, reverse_zone
from sennit.names.client.selection import (
    ServiceBinding,
    implicit_mx,
    is_null_mx,
    order_mx,
    order_services,
    order_srv,
    read_service,
    usable_services,
)
from sennit.names.client.servers import Server, server_from_text
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.name import Name
from sennit.names.rdata import rdata_from_wire
from sennit.names.rdata.basic import MX
from sennit.names.rdata.service import SRV
from sennit.names.rdata.svcb import SVCB

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

# ── resolv.conf ───────────────────────────────────────────────────────────────


def test_resolv_conf_says_whom_to_ask_and_how() -> None:
    found = parse_resolv_conf(
        "# made by hand\n"
        "nameserver 192.0.2.53\n"
        "nameserver 2001:db8::53 ; the other one\n"
        "search example.org sub.example.org\n"
        "options ndots:2 timeout:3 attempts:4 rotate edns0 use-vc trust-ad no-aaaa unknown\n"
    )
    assert found == ResolvConf(
        servers=("192.0.2.53", "2001:db8::53"),
        search=(Name("example.org"), Name("sub.example.org")),
        ndots=2,
        timeout=3,
        attempts=4,
        rotate=True,
        use_vc=True,
        trust_ad=True,
        no_aaaa=True,
    )


def test_of_several_search_lists_the_last_counts_and_numbers_have_bounds() -> None:
    """resolv.conf(5)."""
    found = parse_resolv_conf(
        "search a.example b.example\ndomain c.example\noptions timeout:99 ndots:0 attempts:0\n"
    )
    assert found.search == (Name("c.example"),)
    assert (found.timeout, found.ndots, found.attempts) == (30, 0, 1)


def test_lines_that_make_no_sense_are_left_out_and_named() -> None:
    found = parse_resolv_conf(
        "nameserver dns.example\nnameserver\nnameservers 192.0.2.1\noptions ndots:many\n"
        "search a..b\nnameserver 192.0.2.53\n"
    )
    assert found.servers == ("192.0.2.53",)
    assert [each.partition(":")[0] for each in found.problems] == [f"line {n}" for n in range(1, 6)]


def test_without_servers_this_host_is_asked() -> None:
    assert parse_resolv_conf("").servers == ("127.0.0.1", "::1")


@given(st.text(max_size=300))
def test_no_text_breaks_reading_of_either_file(text: str) -> None:
    parse_resolv_conf(text)
    parse_hosts(text)


def test_a_file_is_read_again_when_it_changes_and_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watched = Watched(str(path), str.strip, "nothing", every=1)
    assert watched.get(0) == "nothing"
    path.write_text("one")
    assert watched.get(0.5) == "nothing"
    assert watched.get(2) == "one"
    path.write_text("two")
    os.utime(path, (1, 1))
    assert watched.get(4) == "two"
    path.unlink()
    assert watched.get(6) == "nothing"


# ── hosts ─────────────────────────────────────────────────────────────────────


def test_hosts_have_addresses_of_both_families_and_aliases() -> None:
    found = parse_hosts(
        "127.0.0.1 localhost\n"
        "192.0.2.1\tbox.example box # here\n"
        "2001:db8::1 box.example\n"
        "192.0.2.2 box\n"
        "fe80::1%eth0 link.example\n"
    )
    assert found.addresses(Name("BOX")) == ["192.0.2.1", "192.0.2.2"]
    assert found.addresses(Name("box.example"), 1) == ["192.0.2.1"]
    assert found.addresses(Name("box.example"), 28) == ["2001:db8::1"]
    assert found.addresses(Name("link.example")) == ["fe80::1%eth0"]
    assert found.name("192.0.2.1") == Name("box.example")
    assert found.name("192.0.2.9") is None
    assert not found.has(Name("else.example"))
    assert len(found) == 4


def test_broken_lines_of_hosts_are_named() -> None:
    found = parse_hosts("nonsense box\n192.0.2.1\n192.0.2.1 a..b\n192.0.2.3 good\n")
    assert [each.partition(":")[0] for each in found.problems] == ["line 1", "line 2", "line 3"]
    assert found.has(Name("good"))


# ── servers ───────────────────────────────────────────────────────────────────

PIN = "A" * 43 + "="


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("9.9.9.9", Server("udp", "9.9.9.9", 53), "udp://9.9.9.9"),
        ("9.9.9.9:5353", Server("udp", "9.9.9.9", 5353), "udp://9.9.9.9:5353"),
        ("2620:fe::fe", Server("udp", "2620:fe::fe", 53), "udp://[2620:fe::fe]"),
        ("[2620:fe::fe]:54", Server("udp", "2620:fe::fe", 54), "udp://[2620:fe::fe]:54"),
        ("tcp://9.9.9.9", Server("tcp", "9.9.9.9", 53), "tcp://9.9.9.9"),
        (
            "tls://9.9.9.9#dns.example",
            Server("tls", "9.9.9.9", 853, name="dns.example"),
            "tls://9.9.9.9#dns.example",
        ),
        (
            f"tls://9.9.9.9:8853?pin={PIN}",
            Server("tls", "9.9.9.9", 8853, pins=frozenset({bytes(32)})),
            "tls://9.9.9.9:8853",
        ),
        (
            "tls://9.9.9.9?opportunistic",
            Server("tls", "9.9.9.9", 853, opportunistic=True),
            "tls://9.9.9.9",
        ),
        (
            "https://dns.example",
            Server("https", "dns.example", 443, "https://dns.example/dns-query"),
            "https://dns.example/dns-query",
        ),
        (
            "https://dns.example:8443/q?x=1",
            Server("https", "dns.example", 8443, "https://dns.example:8443/q?x=1"),
            "https://dns.example:8443/q?x=1",
        ),
    ],
)
def test_a_server_is_written_as_a_url(text: str, server: Server, shown: str) -> None:
    assert server_from_text(text) == server
    assert str(server) == shown


@pytest.mark.parametrize(
    "text",
    [
        "dns.example",
        "udp://dns.example",
        "ftp://9.9.9.9",
        "9.9.9.9:0",
        "9.9.9.9:port",
        "[::1]53",
        "tls://9.9.9.9/path",
        "udp://9.9.9.9#name",
        "tls://9.9.9.9?pin=short",
        "tls://9.9.9.9?what=1",
        "https://user:secret@dns.example/",
        "udp://9.9.9.9:99999",
        "https://dns.example/\nx",
        "",
    ],
)
def test_what_is_no_server_says_what_would_be(text: str) -> None:
    with pytest.raises(DNSUsageError) as caught:
        server_from_text(text)
    assert "secret" not in str(caught.value)


# ── reverse names ─────────────────────────────────────────────────────────────


def test_addresses_have_names_and_back() -> None:
    assert str(reverse_name("192.0.2.7")) == "7.2.0.192.in-addr.arpa."
    assert str(reverse_name("2001:db8::7")).startswith("7.0.0.0.")
    for text in ("192.0.2.7", "2001:db8::7"):
        assert str(address_of(reverse_name(text))) == text
    for other in ("www.example.org", "1.2.in-addr.arpa", "300.2.0.192.in-addr.arpa", "x.ip6.arpa"):
        assert address_of(Name(other)) is None
    with pytest.raises(DNSUsageError):
        reverse_name("www.example.org")


def test_zones_of_networks() -> None:
    assert str(reverse_zone("192.0.2.0/24")) == "2.0.192.in-addr.arpa."
    assert str(reverse_zone("10.0.0.0/8")) == "10.in-addr.arpa."
    assert str(reverse_zone("2001:db8::/32")) == "8.b.d.0.1.0.0.2.ip6.arpa."
    with pytest.raises(DNSUsageError, match="RFC 2317"):
        reverse_zone("192.0.2.0/25")
    zone, aliases = classless_zone("192.0.2.128/26")
    assert str(zone) == "128/26.2.0.192.in-addr.arpa."
    assert len(aliases) == 64
    alias = aliases[Name("130.2.0.192.in-addr.arpa")]
    assert str(alias) == "130.128/26.2.0.192.in-addr.arpa."
    with pytest.raises(DNSUsageError, match="RFC 2317"):
        classless_zone("192.0.2.0/24")


def test_a_large_file_is_read_in_a_thread_and_counts_as_it_was_meanwhile(tmp_path: Path) -> None:
    """HARDENING fault-8: a list of 100 000 blocked names keeps no other work waiting."""
    path = tmp_path / "hosts"
    path.write_text("".join(f"0.0.0.0 n{n}.example\n" for n in range(5000)))
    begun, go_on = threading.Event(), threading.Event()
    where: list[int] = []

    def parse(text: str) -> str:
        where.append(threading.get_ident())
        begun.set()
        assert go_on.wait(5)
        return f"{len(text)} characters"

    async def main(reactor: Reactor) -> None:
        watched = Watched(str(path), parse, "nothing", most=90_000)
        first = asyncio.gather(*[watched.fetch(each, reactor) for each in (1.0, 1.1, 9.0)])
        await reactor.defer_to_thread(begun.wait, 5)
        go_on.set()
        assert await first == ["90000 characters"] * 3
        begun.clear()
        go_on.clear()
        path.write_text(" " * 70_000)
        again = asyncio.ensure_future(watched.fetch(20.0, reactor))
        await reactor.defer_to_thread(begun.wait, 5)
        assert await watched.fetch(20.1, reactor) == "90000 characters"
        go_on.set()
        assert await again == "70000 characters"
        begun.clear()
        go_on.clear()
        path.write_text(" " * 80_000)
        given_up = asyncio.ensure_future(watched.fetch(30.0, reactor))
        await reactor.defer_to_thread(begun.wait, 5)
        given_up.cancel()
        await asyncio.wait([given_up])
        go_on.set()
        assert await watched.fetch(30.1, reactor) == "80000 characters"
        path.unlink()
        assert await watched.fetch(40.0, reactor) == "nothing"

    run(main)
    assert len(where) == 4
    assert threading.get_ident() not in where


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    os.mkfifo(path)
    assert Watched(str(path), str.upper, "nothing").get(1.0) == "nothing"


# ── selection ─────────────────────────────────────────────────────────────────


def mx(preference: int, exchange: str) -> MX:
    return MX(preference=preference, exchange=Name(exchange))


def srv(priority: int, weight: int, target: str) -> SRV:
    return SRV(priority=priority, weight=weight, port=5222, target=Name(target))


def test_mail_goes_to_the_lowest_preference_and_equals_take_turns() -> None:
    """RFC 5321 §5.1: those of equal preference in random order."""
    records = [mx(20, "c.example"), mx(10, "a.example"), mx(10, "b.example")]
    first = order_mx(records, lambda n: 0)
    other = order_mx(records, lambda n: n - 1)
    assert [each.preference for each in first] == [10, 10, 20]
    assert {str(first[0].exchange), str(other[0].exchange)} == {"a.example.", "b.example."}


def test_null_mx_and_implicit_mx() -> None:
    assert is_null_mx([mx(0, ".")])
    assert not is_null_mx([mx(0, "."), mx(10, "a.example")])
    assert not is_null_mx([])
    assert implicit_mx(Name("a.example")) == mx(0, "a.example")


def test_services_come_by_priority_and_weight() -> None:
    """RFC 2782: a random number up to the sum, and the first whose running sum reaches it."""
    records = [srv(1, 0, "zero"), srv(1, 3, "three"), srv(1, 1, "one"), srv(0, 0, "best")]
    for chosen, expected in ((0, "zero."), (1, "three."), (3, "three."), (4, "one.")):
        numbers = iter([0, chosen])

        def below(n: int, numbers: object = numbers) -> int:
            return next(numbers, 0)  # type: ignore[call-overload,no-any-return]  # an iterator of int

        found = order_srv(records, below)
        assert str(found[0].target) == "best."
        assert str(found[1].target) == expected
        assert len(found) == 4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535)), max_size=12), st.data())
def test_no_service_is_lost_whatever_chance_says(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    records = [srv(p, w, f"t{n}.example") for n, (p, w) in enumerate(pairs)]
    found = order_srv(records, lambda n: data.draw(st.integers(0, n - 1)))
    assert sorted(map(repr, found)) == sorted(map(repr, records))
    assert [each.priority for each in found] == sorted(each.priority for each in found)


def test_of_thousands_of_places_the_best_thousand_are_ordered() -> None:
    """HARDENING dns-13: choosing by weight costs their number squared."""
    records = [srv(n % 2, 1, f"t{n}.example") for n in range(3000)]
    drawn: list[int] = []

    def below(n: int) -> int:
        drawn.append(n)
        return n - 1

    found = order_srv(records, below)
    assert {each.priority for each in found} == {0}
    assert len(found) == len(set(map(repr, found))) == 1000
    assert drawn == list(range(1001, 1, -1))  # up to the sum of the weights that are left


def test_a_service_that_is_not_offered_has_no_places() -> None:
    assert order_srv([srv(0, 0, ".")]) == []


def svcb(hexadecimal: str) -> SVCB:
    found = rdata_from_wire(64, bytes.fromhex(hexadecimal.replace(" ", "")))
    assert isinstance(found, SVCB)
    return found


TARGET = "03666f6f 076578616d706c65 03636f6d 00"
"""foo.example.com, as in RFC 9460, appendix D."""


def test_service_bindings_are_read_as_the_rfc_has_them() -> None:
    """RFC 9460, appendix D.2: the test vectors."""
    owner = Name("example.com")
    alias = read_service(owner, svcb("0000" + TARGET))
    assert alias.is_alias
    assert str(alias.target) == "foo.example.com."
    own = read_service(owner, svcb("0001 00"))
    assert own.target == owner
    assert read_service(owner, svcb("0010" + TARGET + "0003 0002 0035")).port == 53
    hints = read_service(
        owner,
        svcb(
            "0001" + TARGET + "0006 0020 2001 0db8 0000 0000 0000 0000 0000 0001"
            "2001 0db8 0000 0000 0000 0000 0053 0001"
        ),
    )
    assert hints.ipv6hint == ("2001:db8::1", "2001:db8::53:1")
    sorted_keys = svcb(
        "0010" + TARGET + "0000 0004 0001 0004 0001 0009 02 6832 05 68332d3139 0004 0004 c0000201"
    )
    found = read_service(owner, sorted_keys, (b"http/1.1",))
    assert found.alpn == (b"h2", b"h3-19", b"http/1.1")
    assert found.ipv4hint == ("192.0.2.1",)
    assert usable_services([found]) == [found]


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "00",
        "0001" + TARGET + "0003 0003 003500",
        "0001" + TARGET + "0003 0002 0035 0003 0002 0035",
        "0001" + TARGET + "0004 0003 c00002",
        "0001" + TARGET + "0001 0002 0268",
        "0001" + TARGET + "0003 0009 0035",
    ],
)
def test_malformed_service_bindings_are_faults(hexadecimal: str) -> None:
    with pytest.raises(MessageFormatError):
        svcb(hexadecimal)


def test_bindings_with_mandatory_keys_that_nobody_knows_are_left_out() -> None:
    """RFC 9460 §8: also where the mandatory key is not there at all."""
    known = ServiceBinding(1, Name("a"), mandatory=(3,), parameters={0: b"\0\3", 3: b"\0\1"})
    unknown = ServiceBinding(1, Name("b"), mandatory=(666,), parameters={0: b"\x02\x9a", 666: b""})
    missing = ServiceBinding(1, Name("c"), mandatory=(3,), parameters={0: b"\0\3"})
    assert usable_services([known, unknown, missing]) == [known]


def test_an_alias_among_bindings_counts_alone_and_others_go_by_priority() -> None:
    """RFC 9460 §2.4.1."""
    a, b, c = (ServiceBinding(priority, Name("x")) for priority in (2, 1, 0))
    assert order_services([a, b], lambda n: 0) == [b, a]
    assert order_services([a, c, b], lambda n: 0) == [c]
